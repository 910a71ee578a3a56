//! `naive_bayes`: classes by Bayes' rule, as if the features were independent within a class. One pass.
//!
//! By default a number has a normal distribution in each class (scikit-learn's `GaussianNB`) and a category its
//! smoothed shares (`CategoricalNB`), side by side in one model. `multinomial` takes numbers as counts
//! (`MultinomialNB`), `bernoulli` as above a threshold or not (`BernoulliNB`).
//!
//! A missing feature is left out, of the sums of its row's class in training and of the product in scoring: what is
//! not known says nothing. So is an infinite one. A class without any value of a feature borrows the moments of all.

mod model;
mod sums;
#[cfg(test)]
mod tests;

use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, FeatureKind, Schema, Task};
use model::Likelihood;
pub use model::Model;
use sums::Sums;

/// Counts of classes times categories beyond this are refused: 512 MiB.
const MOST_CELLS: usize = 1 << 26;

/// The algorithm, for the static list.
pub struct NaiveBayes;

/// How a feature is distributed within a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinds {
    /// By mean and variance.
    Gaussian,
    /// As a count.
    Multinomial,
    /// As yes or no.
    Bernoulli,
    /// By category, of which there are so many.
    Categorical(u32),
}

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    /// Of each feature.
    kinds: Vec<Kinds>,
    names: Vec<String>,
    classes: usize,
    var_smoothing: f64,
    alpha: f64,
    binarize: f64,
    fit_prior: bool,
    priors: Option<Vec<f64>>,
}

impl Learner for NaiveBayes {
    const INFO: Info = Info {
        name: "naive_bayes",
        version: 1,
        summary: "Naive Bayes: numbers normal and categories by share within each class, or counts, or yes and no; missing values are left out.",
        tasks: &[Task::Classification],
        input: Input::Native,
        sharding: Sharding::Blocks,
        params: &[
            Param::choice(
                "distribution",
                "gaussian",
                &["gaussian", "multinomial", "bernoulli"],
                "How numbers are distributed within a class; categories always have their shares.",
            ),
            Param::float(
                "var_smoothing",
                1e-9,
                1e-15,
                1.0,
                "Share of the largest variance of a number that is added to all variances, for gaussian.",
            ),
            Param::float("alpha", 1.0, 1e-10, 1e10, "Rows added to each count, for all but gaussian."),
            Param::float("binarize", 0.0, f64::MIN, f64::MAX, "Numbers above it are a yes, for bernoulli."),
            Param::bool("fit_prior", true, "Whether classes have their shares as priors, or equal ones."),
            Param::json("priors", "null", "Priors by class, in the order of the classes; they sum to 1.")
                .alias(&["class_prior"]),
        ],
    };
    type Params = Params;
    type State = ();
    type Local = ();
    type Partial = Sums;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let number = match values.text("distribution")? {
            "multinomial" => Kinds::Multinomial,
            "bernoulli" => Kinds::Bernoulli,
            _ => Kinds::Gaussian,
        };
        let kind = |f: &crate::schema::Feature| match f.kind {
            FeatureKind::Category { levels } => Kinds::Categorical(levels),
            FeatureKind::Numeric => number,
        };
        let kinds: Vec<Kinds> = schema.features.iter().map(kind).collect();
        if kinds.is_empty() {
            return Err(Error::new(
                Kind::Data,
                "naive_bayes found no features in the source, expected at least one",
            ));
        }
        let k = schema.classes;
        let cells: usize =
            kinds.iter().map(|f| if let Kinds::Categorical(n) = f { *n as usize } else { 3 }).sum();
        if cells.saturating_mul(k) > MOST_CELLS {
            let message = format!(
                "naive_bayes would count {cells} categories of {k} classes, at most {MOST_CELLS} in all"
            );
            return Err(
                Error::new(Kind::Data, message).hint("Keep fewer: preprocess => '{\"max_categories\": 64}'.")
            );
        }
        let priors = match values.json("priors")? {
            serde_json::Value::Null => None,
            found => Some(priors(found, k)?),
        };
        Ok(Params {
            kinds,
            names: schema.features.iter().map(|f| f.name.clone()).collect(),
            classes: k,
            var_smoothing: values.float("var_smoothing")?,
            alpha: values.float("alpha")?,
            binarize: values.float("binarize")?,
            fit_prior: values.bool("fit_prior")?,
            priors,
        })
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let waiting = (rayon::current_num_threads() as u64 * 4).min(schema.rows as u64 / 64 + 1) + 3;
        Sums::cells(params) as u64 * 8 * waiting
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<()> {
        Ok(())
    }

    fn zero(params: &Params, _state: &()) -> Sums {
        Sums::zero(params)
    }

    fn accumulate(
        params: &Params,
        _state: &(),
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Sums,
        cx: &Cx,
    ) -> Result<()> {
        partial.add(params, chunk, cx)
    }

    fn update(params: &Params, _state: (), total: Sums, cx: &Cx) -> Result<Step<(), Model>> {
        let (k, d) = (params.classes, params.kinds.len());
        let weight: f64 = total.classes.iter().sum();
        if weight == 0.0 {
            return Err(Error::new(Kind::Data, "there are no rows to train on, expected one or more"));
        }
        if total.classes.iter().filter(|w| **w > 0.0).count() < 2 {
            return Err(Error::new(Kind::Data, "the training rows are of one class, expected two or more")
                .hint("Look at the target with GROUP BY."));
        }
        if !total.finite() {
            return Err(Error::new(Kind::Data, "the features are too large: their squares overflow")
                .hint("Scale them: preprocess => '{\"scale\": \"standard\"}'."));
        }
        let prior: Vec<f64> = match &params.priors {
            Some(given) => given.clone(),
            None if params.fit_prior => total.classes.iter().map(|w| w / weight).collect(),
            None => vec![1.0 / k as f64; k],
        };
        let gaussian = |j: &usize| params.kinds[*j] == Kinds::Gaussian;
        let pooled: Vec<(f64, f64, f64)> = (0..d).map(|j| total.pooled(j)).collect();
        let largest = (0..d).filter(gaussian).map(|j| pooled[j].2).fold(0.0, f64::max);
        // Where nothing varies there is no scale to take a share of.
        let epsilon = if largest > 0.0 { params.var_smoothing * largest } else { params.var_smoothing };
        let alpha = params.alpha;
        // Multinomial: the smoothed sum of all counts of a class.
        let counted: Vec<f64> = (0..k)
            .map(|c| {
                (0..d)
                    .filter(|j| params.kinds[*j] == Kinds::Multinomial)
                    .map(|j| total.sum(c, j) + alpha)
                    .sum()
            })
            .collect();
        let likelihoods = (0..d).map(|j| {
            let of_classes = |f: &dyn Fn(usize) -> f64| (0..k).map(f).collect::<Vec<f64>>();
            match params.kinds[j] {
                Kinds::Gaussian => {
                    let (n, mean, variance) = pooled[j];
                    let at = |c: usize| match total.count(c, j) {
                        0.0 if n == 0.0 => (0.0, 1.0),
                        0.0 => (mean, variance),
                        _ => (total.mean(c, j), total.variance(c, j)),
                    };
                    let variance = of_classes(&|c| at(c).1 + epsilon);
                    Likelihood::gaussian(of_classes(&|c| at(c).0), variance)
                }
                Kinds::Multinomial => Likelihood::Multinomial {
                    log: of_classes(&|c| ((total.sum(c, j) + alpha) / counted[c]).ln()),
                },
                Kinds::Bernoulli => {
                    let share = |c: usize| (total.sum(c, j) + alpha) / (total.count(c, j) + 2.0 * alpha);
                    Likelihood::Bernoulli {
                        above: params.binarize,
                        yes: of_classes(&|c| share(c).ln()),
                        no: of_classes(&|c| (1.0 - share(c)).ln()),
                    }
                }
                Kinds::Categorical(levels) => {
                    let all = alpha * f64::from(levels);
                    let share = |c: usize, v: &f64| ((v + alpha) / (total.count(c, j) + all)).ln();
                    let log = (0..k).flat_map(|c| total.categories(c, j).iter().map(move |v| share(c, v)));
                    Likelihood::Categorical { levels, log: log.collect() }
                }
            }
        });
        cx.observer.progress(1, 1, "passes");
        let log_prior = prior.iter().map(|p| p.ln()).collect();
        Ok(Step::Done(Model { log_prior, likelihoods: likelihoods.collect() }))
    }
}

fn priors(found: &serde_json::Value, k: usize) -> Result<Vec<f64>> {
    let given: Option<Vec<f64>> =
        found.as_array().and_then(|all| all.iter().map(|v| v.as_f64().filter(|p| *p > 0.0)).collect());
    match given {
        Some(p) if p.len() == k && (p.iter().sum::<f64>() - 1.0).abs() < 1e-8 => Ok(p),
        _ => {
            let message = format!(
                "parameter \"priors\" of naive_bayes is {found}, expected {k} positive numbers that sum to 1"
            );
            Err(Error::new(Kind::Parameter, message)
                .hint("One for each class, in ascending order of their labels."))
        }
    }
}
