//! The model of the whole family: linear functions of the features, and a link.

use super::link::{Link, sigmoid};
use super::moments::Spread;
use super::statistics::{self, Statistics};
use crate::dense::dot;
use crate::error::{Error, Kind, Result};
use crate::learner::Coefficient;
use crate::schema::{Chunk, Schema, Task, Unit};
use serde::{Deserialize, Serialize};

/// How linear functions become outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// One function; the mean of the target.
    Mean(Link),
    /// One function; the probabilities `1 - p` and `p` of two classes.
    Binary(Link),
    /// One function a class; its softmax.
    Softmax,
    /// One function and ascending thresholds: class `c` or lower has probability `F(threshold[c] - function)`.
    Ordinal(Link),
}

/// How training went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// Passes over the rows.
    pub iterations: u32,
    /// Whether the optimum was reached within the tolerance.
    pub converged: bool,
    /// The mean loss of the training rows without the penalty: squared error, or log loss.
    pub loss: f64,
}

/// Coefficients for features as they come, with `k` functions: one, or one a class for `Softmax`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// How functions become outputs.
    pub response: Response,
    /// `k * width` values, function by function.
    pub coefficients: Vec<f64>,
    /// `k` values; for `Ordinal` the thresholds, one less than classes.
    pub intercept: Vec<f64>,
    /// Each feature in training.
    pub spread: Spread,
    /// How training went.
    pub trace: Trace,
    /// Names and values that describe the fit, such as its log-likelihood.
    pub facts: Vec<(String, f64)>,
    /// How sure the estimates are; none for penalised models.
    pub statistics: Option<Box<Statistics>>,
}

/// Coefficients that `describe` lists; the rest are counted.
const LISTED: usize = 200;

/// Replaces margins by probabilities.
fn softmax(m: &mut [f64]) {
    let max = m.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    m.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = m.iter().sum();
    m.iter_mut().for_each(|v| *v /= sum);
}

impl Model {
    /// Features.
    fn width(&self) -> usize {
        self.spread.deviation.len()
    }
}

impl crate::learner::Model for Model {
    fn outputs(&self) -> usize {
        match self.response {
            Response::Mean(_) => 1,
            Response::Binary(_) => 2,
            Response::Softmax => self.intercept.len(),
            Response::Ordinal(_) => self.intercept.len() + 1,
        }
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let (d, k) = (self.width(), self.outputs());
        let mut finite = true;
        for i in 0..chunk.rows {
            let (x, out) = (&chunk.x[i * d..(i + 1) * d], &mut out[i * k..(i + 1) * k]);
            let offset = chunk.offset(i);
            match self.response {
                Response::Mean(Link::Identity) => {
                    out[0] = self.intercept[0] + dot(x, &self.coefficients) + offset;
                }
                Response::Mean(link) => {
                    out[0] = link.mean(self.intercept[0] + dot(x, &self.coefficients) + offset);
                }
                Response::Binary(Link::Logit) => {
                    let p = sigmoid(self.intercept[0] + dot(x, &self.coefficients) + offset);
                    (out[0], out[1]) = (1.0 - p, p);
                }
                Response::Binary(link) => {
                    // A link that is no distribution function may leave 0 .. 1 where training had no rows.
                    let p =
                        link.mean(self.intercept[0] + dot(x, &self.coefficients) + offset).clamp(0.0, 1.0);
                    (out[0], out[1]) = (1.0 - p, p);
                }
                Response::Ordinal(link) => {
                    let m = dot(x, &self.coefficients) + offset;
                    let mut below = 0.0;
                    for (out, threshold) in out.iter_mut().zip(&self.intercept) {
                        let up_to = link.mean(threshold - m);
                        (*out, below) = ((up_to - below).max(0.0), up_to);
                    }
                    out[k - 1] = 1.0 - below;
                }
                Response::Softmax => {
                    for (c, out) in out.iter_mut().enumerate() {
                        *out = self.intercept[c] + dot(x, &self.coefficients[c * d..(c + 1) * d]);
                    }
                    softmax(out);
                }
            }
            finite &= out[0].is_finite();
        }
        if !finite {
            return Err(Error::new(Kind::Data, "a score is not finite: a feature's value is too large"));
        }
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let (d, k) = (schema.width(), self.intercept.len());
        let (regression, classes) = (schema.task == Task::Regression, schema.classes);
        let ascending = self.intercept.windows(2).all(|t| t[0] <= t[1]);
        let (fits, functions, thresholds) = match self.response {
            Response::Mean(_) => (regression && k == 1, 1, 0),
            Response::Binary(_) => (!regression && classes == 2 && k == 1, 1, 0),
            Response::Softmax => (!regression && classes == k && k >= 2, k, 0),
            Response::Ordinal(_) => (!regression && classes == k + 1 && k >= 1 && ascending, 1, k),
        };
        let known = self.statistics.as_ref().is_none_or(|s| s.fits(d, functions, thresholds));
        if !fits
            || !known
            || self.spread.mean.len() != d
            || self.spread.deviation.len() != d
            || functions.checked_mul(d) != Some(self.coefficients.len())
        {
            return Err(Error::corrupt(format!(
                "a linear model with {} coefficients and {k} intercepts does not fit {d} features and {} classes",
                self.coefficients.len(),
                schema.classes
            )));
        }
        let Spread { mean, deviation } = &self.spread;
        let mut values = self.coefficients.iter().chain(&self.intercept).chain(mean).chain(deviation);
        if !values.all(|v| v.is_finite()) {
            return Err(Error::corrupt("a linear model has a coefficient that is not finite"));
        }
        Ok(())
    }

    fn describe(&self, schema: &Schema) -> Vec<(String, String)> {
        let trace = &self.trace;
        let mut rows = vec![
            ("iterations".into(), trace.iterations.to_string()),
            ("converged".into(), trace.converged.to_string()),
            ("train_loss".into(), trace.loss.to_string()),
        ];
        rows.extend(self.facts.iter().map(|(name, value)| (name.clone(), value.to_string())));
        let d = schema.width();
        let prefix =
            |c: usize| if self.response == Response::Softmax { format!("class {c} ") } else { String::new() };
        let ordinal = matches!(self.response, Response::Ordinal(_));
        for (c, intercept) in self.intercept.iter().enumerate() {
            let name = if ordinal { format!("threshold {c}") } else { format!("{}intercept", prefix(c)) };
            rows.push((name, intercept.to_string()));
        }
        for (i, value) in self.coefficients.iter().take(LISTED).enumerate() {
            let name = &schema.features[i % d].name;
            rows.push((format!("{}coefficient {name}", prefix(i / d)), value.to_string()));
        }
        if self.coefficients.len() > LISTED {
            rows.push(("more coefficients".into(), (self.coefficients.len() - LISTED).to_string()));
        }
        rows
    }

    /// The mean over functions of the absolute effect of one standard deviation.
    fn importance(&self, _schema: &Schema) -> Vec<f64> {
        let d = self.width();
        let k = self.coefficients.len().checked_div(d).unwrap_or(0).max(1);
        let effect = |j: usize| (0..k).map(|c| self.coefficients[c * d + j].abs()).sum::<f64>() / k as f64;
        (0..d).map(|j| effect(j) * self.spread.deviation[j]).collect()
    }

    /// Of each function, `coefficient * (value - training mean)` a feature, and the function at the means: the Shapley
    /// values for features that are independent (Lundberg and Lee 2017, corollary 1; `shap.LinearExplainer`).
    fn explain(&self, chunk: &Chunk, out: &mut Vec<f64>) -> Result<bool> {
        let (d, mean) = (self.width(), &self.spread.mean);
        let constants: Vec<f64> = match self.response {
            // Of two classes, the log odds (or the link's scale) of the second; of more, what thresholds cut.
            Response::Ordinal(_) if self.intercept.len() == 1 => vec![-self.intercept[0]],
            Response::Ordinal(_) => vec![0.0],
            _ => self.intercept.clone(),
        };
        for i in 0..chunk.rows {
            for (c, constant) in constants.iter().enumerate() {
                let coefficients = &self.coefficients[c * d..(c + 1) * d];
                let row = chunk.row(i).iter().zip(mean).zip(coefficients);
                out.extend(row.map(|((x, m), b)| b * (x - m)));
                out.push(constant + dot(mean, coefficients));
            }
        }
        match out.iter().all(|v| v.is_finite()) {
            true => Ok(true),
            false => Err(Error::new(Kind::Data, "a score is not finite: a feature's value is too large")),
        }
    }

    fn coefficients(&self, schema: &Schema, units: &[Unit]) -> Vec<Coefficient> {
        statistics::coefficients(self, schema, units)
    }
}
