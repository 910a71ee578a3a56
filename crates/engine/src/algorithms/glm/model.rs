//! The model of the whole family: linear functions of the features, and a link.

use crate::dense::dot;
use crate::error::{Error, Kind, Result};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// How linear functions become outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// The value itself.
    Identity,
    /// One function; the probabilities `1 - p` and `p` of two classes.
    Logit,
    /// One function a class; its softmax.
    Softmax,
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

/// Coefficients for features as they come, with `k = 1` function, or one a class for `Softmax`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// The link.
    pub link: Link,
    /// `k * width` values, function by function.
    pub coefficients: Vec<f64>,
    /// `k` values.
    pub intercept: Vec<f64>,
    /// The standard deviation of each feature in training.
    pub spread: Vec<f64>,
    /// How training went.
    pub trace: Trace,
}

/// Coefficients that `describe` lists; the rest are counted.
const LISTED: usize = 200;

/// `1 / (1 + exp(-m))` without overflow.
fn sigmoid(m: f64) -> f64 {
    let e = (-m.abs()).exp();
    if m >= 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) }
}

/// Replaces margins by probabilities.
fn softmax(m: &mut [f64]) {
    let max = m.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    m.iter_mut().for_each(|v| *v = (*v - max).exp());
    let sum: f64 = m.iter().sum();
    m.iter_mut().for_each(|v| *v /= sum);
}

impl crate::learner::Model for Model {
    fn outputs(&self) -> usize {
        if self.link == Link::Logit { 2 } else { self.intercept.len() }
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let (d, k) = (self.spread.len(), self.outputs());
        let mut finite = true;
        for i in 0..chunk.rows {
            let (x, out) = (&chunk.x[i * d..(i + 1) * d], &mut out[i * k..(i + 1) * k]);
            match self.link {
                Link::Identity => out[0] = self.intercept[0] + dot(x, &self.coefficients),
                Link::Logit => {
                    let p = sigmoid(self.intercept[0] + dot(x, &self.coefficients));
                    (out[0], out[1]) = (1.0 - p, p);
                }
                Link::Softmax => {
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
        let fits = match self.link {
            Link::Identity => schema.task == Task::Regression && k == 1,
            Link::Logit => schema.task == Task::Classification && schema.classes == 2 && k == 1,
            Link::Softmax => schema.task == Task::Classification && schema.classes == k && k >= 2,
        };
        if !fits || self.spread.len() != d || k.checked_mul(d) != Some(self.coefficients.len()) {
            return Err(Error::corrupt(format!(
                "a linear model with {} coefficients and {k} intercepts does not fit {d} features and {} classes",
                self.coefficients.len(),
                schema.classes
            )));
        }
        let mut values = self.coefficients.iter().chain(&self.intercept).chain(&self.spread);
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
        let d = schema.width();
        let prefix =
            |c: usize| if self.link == Link::Softmax { format!("class {c} ") } else { String::new() };
        for (c, intercept) in self.intercept.iter().enumerate() {
            rows.push((format!("{}intercept", prefix(c)), intercept.to_string()));
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
        let (d, k) = (self.spread.len(), self.intercept.len());
        let effect = |j: usize| (0..k).map(|c| self.coefficients[c * d + j].abs()).sum::<f64>() / k as f64;
        (0..d).map(|j| effect(j) * self.spread[j]).collect()
    }
}
