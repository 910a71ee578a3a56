//! `dummy`: a model that looks at no feature, to measure others against: scikit-learn's `DummyRegressor` and
//! `DummyClassifier`.
//!
//! A regression predicts the mean, median, a quantile or a constant of the target; a classification gives the classes'
//! shares, one class, or equal probabilities. scikit-learn's `stratified`, which draws a class at random for each row,
//! is left out: here the same row always gets the same answer. With weights, the median and quantiles are the least
//! target that the wanted share of the weight does not exceed.

use crate::error::{Error, Kind, Result};
use crate::learner::{self, Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The algorithm, for the static list.
pub struct Dummy;

/// What is predicted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Strategy {
    Mean,
    Quantile(f64),
    Prior,
    MostFrequent,
    Uniform,
    Constant(f64),
}

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    strategy: Strategy,
    classes: usize,
    width: usize,
}

/// What a shard found of the target.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partial {
    weight: f64,
    /// The mean of a regression's target.
    mean: f64,
    /// For quantiles: each target with its weight.
    values: Vec<(f64, f64)>,
    /// Weights by class.
    classes: Vec<f64>,
}

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        if self.classes.len() != other.classes.len() {
            return Err(Error::corrupt("sums of other classes cannot be merged"));
        }
        if other.weight > 0.0 {
            let weight = self.weight + other.weight;
            self.mean += (other.mean - self.mean) * (other.weight / weight);
            self.weight = weight;
        }
        self.values.extend(other.values);
        self.classes.iter_mut().zip(&other.classes).for_each(|(a, b)| *a += b);
        Ok(())
    }
}

/// The answer for every row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// One number, or one probability a class.
    pub answer: Vec<f64>,
    /// Features of a row, which are not looked at.
    pub width: usize,
}

impl Learner for Dummy {
    const INFO: Info = Info {
        name: "dummy",
        version: 1,
        summary: "A baseline that looks at no feature: the mean, median, a quantile or a constant; the classes' shares or one class.",
        tasks: &[Task::Regression, Task::Classification],
        input: Input::Native,
        sharding: Sharding::Blocks,
        params: &[
            Param::choice(
                "strategy",
                "auto",
                &["auto", "mean", "median", "quantile", "constant", "prior", "most_frequent", "uniform"],
                "Regression: mean (the default), median, quantile or constant. Classification: prior (the default), most_frequent, uniform or constant.",
            ),
            Param::float("quantile", 0.5, 0.0, 1.0, "The share of targets below the prediction, for strategy quantile."),
            Param::float(
                "constant",
                0.0,
                f64::MIN,
                f64::MAX,
                "The prediction of strategy constant: a value, or a class's number, from 0 in the order of the classes.",
            )
            .optional(),
        ],
    };
    type Params = Params;
    type State = ();
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let classifies = schema.task == Task::Classification;
        let word = values.text("strategy")?;
        let strategy = match (word, classifies) {
            ("auto" | "mean", false) => Strategy::Mean,
            ("median", false) => Strategy::Quantile(0.5),
            ("quantile", false) => Strategy::Quantile(values.float("quantile")?),
            ("auto" | "prior", true) => Strategy::Prior,
            ("most_frequent", true) => Strategy::MostFrequent,
            ("uniform", true) => Strategy::Uniform,
            ("constant", _) => {
                let Some(constant) = values.opt_float("constant")? else {
                    return Err(Error::new(
                        Kind::Parameter,
                        "strategy constant of dummy has no parameter \"constant\"",
                    )
                    .hint(
                        "Say what to predict: params => '{\"strategy\": \"constant\", \"constant\": 1}'.",
                    ));
                };
                let class = constant >= 0.0 && constant < schema.classes as f64 && constant.fract() == 0.0;
                if classifies && !class {
                    let last = schema.classes.saturating_sub(1);
                    let message = format!(
                        "parameter \"constant\" of dummy is {constant}, expected a class's number, 0 .. {last}"
                    );
                    return Err(Error::new(Kind::Parameter, message)
                        .hint("Classes are numbered from 0 in ascending order of their labels."));
                }
                Strategy::Constant(constant)
            }
            _ => {
                let expected = if classifies {
                    "prior, most_frequent, uniform or constant"
                } else {
                    "mean, median, quantile or constant"
                };
                let message = format!(
                    "parameter \"strategy\" of dummy is \"{word}\", expected {expected} for {}",
                    schema.task.name()
                );
                return Err(Error::new(Kind::Parameter, message)
                    .hint("Leave it out for the mean, or the classes' shares."));
            }
        };
        let classes = if classifies { schema.classes } else { 0 };
        Ok(Params { strategy, classes, width: schema.width() })
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        if matches!(params.strategy, Strategy::Quantile(_)) { schema.rows as u64 * 32 } else { 4096 }
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<()> {
        Ok(())
    }

    fn zero(params: &Params, _state: &()) -> Partial {
        Partial { weight: 0.0, mean: 0.0, values: vec![], classes: vec![0.0; params.classes] }
    }

    fn accumulate(
        params: &Params,
        _state: &(),
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        cx.check()?;
        let rows = || (0..chunk.rows).map(|i| (chunk.y[i], chunk.weight(i)));
        let mut block = Dummy::zero(params, &());
        let Some(first) = chunk.y.first() else { return Ok(()) };
        for (y, w) in rows() {
            block.weight += w;
            block.mean += w * (y - first);
            if let Some(class) = block.classes.get_mut(y as usize) {
                *class += w;
            }
        }
        block.mean = first + block.mean / block.weight;
        if matches!(params.strategy, Strategy::Quantile(_)) {
            block.values = rows().collect();
        }
        partial.merge(block)
    }

    fn update(params: &Params, _state: (), total: Partial, cx: &Cx) -> Result<Step<(), Model>> {
        if total.weight == 0.0 {
            return Err(Error::new(Kind::Data, "there are no rows to train on, expected one or more"));
        }
        let k = params.classes;
        if k > 0 && total.classes.iter().filter(|w| **w > 0.0).count() < 2 {
            return Err(Error::new(Kind::Data, "the training rows are of one class, expected two or more")
                .hint("Look at the target with GROUP BY."));
        }
        let one = |class: usize| (0..k).map(|c| f64::from(u8::from(c == class))).collect();
        let answer: Vec<f64> = match params.strategy {
            Strategy::Mean => vec![total.mean],
            Strategy::Quantile(q) => vec![quantile(total.values, q)],
            Strategy::Constant(class) if k > 0 => one(class as usize),
            Strategy::Constant(value) => vec![value],
            Strategy::Prior => total.classes.iter().map(|w| w / total.weight).collect(),
            Strategy::Uniform => vec![1.0 / k as f64; k],
            Strategy::MostFrequent => {
                let mut best = 0;
                for c in 1..k {
                    if total.classes[c] > total.classes[best] {
                        best = c;
                    }
                }
                one(best)
            }
        };
        cx.observer.progress(1, 1, "passes");
        if !answer.iter().all(|v| v.is_finite()) {
            return Err(Error::new(Kind::Data, "the targets are too large: their sum overflows"));
        }
        Ok(Step::Done(Model { answer, width: params.width }))
    }
}

/// The quantile of weighted values, at least one: between neighbours by a line where all weigh the same (numpy's
/// and scikit-learn's default), else the least value up to which the share of weight reaches `q`.
fn quantile(mut values: Vec<(f64, f64)>, q: f64) -> f64 {
    values.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    if values.iter().all(|v| v.1 == values[0].1) {
        let at = q * (values.len() - 1) as f64;
        let (low, part) = (at.floor() as usize, at.fract());
        let (a, b) = (values[low].0, values[(low + 1).min(values.len() - 1)].0);
        // numpy's: exact at both ends.
        return if part < 0.5 { a + (b - a) * part } else { b - (b - a) * (1.0 - part) };
    }
    let total: f64 = values.iter().map(|v| v.1).sum();
    let mut below = 0.0;
    let reaches = |v: &&(f64, f64)| {
        below += v.1;
        below >= q * total
    };
    values.iter().find(reaches).or(values.last()).map_or(0.0, |v| v.0)
}

impl learner::Model for Model {
    fn outputs(&self) -> usize {
        self.answer.len()
    }

    fn score(&self, _chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        out.chunks_exact_mut(self.answer.len()).for_each(|out| out.copy_from_slice(&self.answer));
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let k = if schema.task == Task::Classification { schema.classes } else { 1 };
        let shares = schema.task != Task::Classification
            || (self.answer.iter().all(|p| (0.0..=1.0).contains(p))
                && (self.answer.iter().sum::<f64>() - 1.0).abs() < 1e-6);
        if self.answer.len() != k
            || self.width != schema.width()
            || !shares
            || !self.answer.iter().all(|v| v.is_finite())
        {
            return Err(Error::corrupt(format!(
                "a dummy model of {} values and {} features does not fit {k} and {}",
                self.answer.len(),
                self.width,
                schema.width()
            )));
        }
        Ok(())
    }

    fn describe(&self, schema: &Schema) -> Vec<(String, String)> {
        let name = |c: usize| {
            if schema.classes > 0 { format!("probability of class {c}") } else { "prediction".into() }
        };
        self.answer.iter().enumerate().take(50).map(|(c, v)| (name(c), v.to_string())).collect()
    }
}
