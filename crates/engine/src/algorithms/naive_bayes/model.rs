//! What naive Bayes leaves behind: the classes' priors, and each feature's likelihood by class.

use crate::error::{Error, Result};
use crate::learner;
use crate::schema::{Chunk, FeatureKind, Schema, Task};
use serde::{Deserialize, Serialize};

/// Features and classes that `describe` shows.
const SHOWN: usize = 50;

/// The logarithm of a feature's likelihood, with a value a class in each list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Likelihood {
    /// A normal distribution.
    Gaussian {
        /// Means.
        mean: Vec<f64>,
        /// Variances, smoothed.
        variance: Vec<f64>,
        /// `-ln(2 pi variance) / 2`.
        constant: Vec<f64>,
    },
    /// A count: this much for each one counted.
    Multinomial {
        /// Logarithms of shares.
        log: Vec<f64>,
    },
    /// Above a threshold or not.
    Bernoulli {
        /// The threshold.
        above: f64,
        /// For a value above it.
        yes: Vec<f64>,
        /// For another.
        no: Vec<f64>,
    },
    /// A category.
    Categorical {
        /// How many there are.
        levels: u32,
        /// `classes * levels` values.
        log: Vec<f64>,
    },
}

impl Likelihood {
    /// From means and variances.
    pub fn gaussian(mean: Vec<f64>, variance: Vec<f64>) -> Likelihood {
        let constant = variance.iter().map(|v| -0.5 * (std::f64::consts::TAU * v).ln()).collect();
        Likelihood::Gaussian { mean, variance, constant }
    }

    /// Adds a value's logarithms to those of the classes.
    #[inline]
    fn add(&self, x: f64, out: &mut [f64]) {
        if !x.is_finite() {
            return;
        }
        match self {
            Likelihood::Gaussian { mean, variance, constant } => {
                for (((out, m), v), c) in out.iter_mut().zip(mean).zip(variance).zip(constant) {
                    *out += c - 0.5 * (x - m) * (x - m) / v;
                }
            }
            Likelihood::Multinomial { log } => out.iter_mut().zip(log).for_each(|(out, l)| *out += x * l),
            Likelihood::Bernoulli { above, yes, no } => {
                let log = if x > *above { yes } else { no };
                out.iter_mut().zip(log).for_each(|(out, l)| *out += l);
            }
            Likelihood::Categorical { levels, log } => {
                if x >= 0.0 && x < f64::from(*levels) {
                    let log = log[x as usize..].iter().step_by(*levels as usize);
                    out.iter_mut().zip(log).for_each(|(out, l)| *out += l);
                }
            }
        }
    }

    fn fits(&self, k: usize, kind: FeatureKind) -> bool {
        let finite = |v: &[f64], n: usize| v.len() == n && v.iter().all(|v| v.is_finite());
        match (self, kind) {
            (Likelihood::Gaussian { mean, variance, constant }, FeatureKind::Numeric) => {
                [mean, variance, constant].iter().all(|v| finite(v, k)) && variance.iter().all(|v| *v > 0.0)
            }
            (Likelihood::Multinomial { log }, FeatureKind::Numeric) => finite(log, k),
            (Likelihood::Bernoulli { above, yes, no }, FeatureKind::Numeric) => {
                above.is_finite() && finite(yes, k) && finite(no, k)
            }
            (Likelihood::Categorical { levels, log }, FeatureKind::Category { levels: known }) => {
                *levels == known && (*levels as usize).checked_mul(k).is_some_and(|n| finite(log, n))
            }
            _ => false,
        }
    }
}

/// Priors and likelihoods.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Logarithms of the classes' priors; minus infinity for a class without rows.
    pub log_prior: Vec<f64>,
    /// By feature.
    pub likelihoods: Vec<Likelihood>,
}

impl Model {
    /// Replaces `out` by the logarithms of the classes' probabilities.
    pub fn log_probabilities(&self, row: &[f64], out: &mut [f64]) {
        out.copy_from_slice(&self.log_prior);
        row.iter().zip(&self.likelihoods).for_each(|(x, l)| l.add(*x, out));
        let largest = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut top = largest(out);
        if !top.is_finite() || out.iter().any(|v| v.is_nan()) {
            // The row is so far from every class that nothing is left of its likelihoods.
            out.copy_from_slice(&self.log_prior);
            top = largest(out);
        }
        let sum: f64 = out.iter().map(|v| (v - top).exp()).sum();
        let log = top + sum.ln();
        out.iter_mut().for_each(|v| *v -= log);
    }
}

impl learner::Model for Model {
    fn outputs(&self) -> usize {
        self.log_prior.len()
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        for (i, out) in out.chunks_exact_mut(self.outputs()).enumerate() {
            self.log_probabilities(chunk.row(i), out);
            out.iter_mut().for_each(|v| *v = v.exp());
            let sum: f64 = out.iter().sum();
            out.iter_mut().for_each(|v| *v /= sum);
        }
        Ok(())
    }

    /// Of two classes, what each feature adds to the log odds of the second: the logarithm of its likelihood in that
    /// class, less that in the other (the weight of evidence, Good 1950). Of more classes, to the logarithm of each
    /// class's probability, less the mean over classes: the softmax of these scores has the probabilities. The base
    /// is the same of the priors.
    fn explain(&self, chunk: &Chunk, out: &mut Vec<f64>) -> Result<bool> {
        let k = self.log_prior.len();
        let known: Vec<bool> = self.log_prior.iter().map(|p| p.is_finite()).collect();
        if k == 2 && known.contains(&false) {
            return Ok(false);
        }
        let rows = known.iter().filter(|known| **known).count() as f64;
        let mean = |v: &[f64]| v.iter().zip(&known).filter(|v| *v.1).map(|v| v.0).sum::<f64>() / rows;
        // A score of class `c` from the logarithms of all classes.
        let score = |v: &[f64], c: usize| if k == 2 { v[1] - v[0] } else { v[c] - mean(v) };
        let (d, scores) = (self.likelihoods.len(), if k == 2 { 1 } else { k });
        let mut logs = vec![0.0; k];
        for i in 0..chunk.rows {
            let begin = out.len();
            out.resize(begin + scores * (d + 1), 0.0);
            let parts = &mut out[begin..];
            for (f, (x, likelihood)) in chunk.row(i).iter().zip(&self.likelihoods).enumerate() {
                logs.fill(0.0);
                likelihood.add(*x, &mut logs);
                (0..scores).for_each(|c| parts[c * (d + 1) + f] = score(&logs, c));
            }
            if parts.iter().any(|v| !v.is_finite()) {
                // As in scoring, nothing is left of the likelihoods.
                parts.fill(0.0);
            }
            (0..scores).for_each(|c| parts[c * (d + 1) + d] = score(&self.log_prior, c));
        }
        Ok(true)
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let k = self.log_prior.len();
        let prior = |p: &f64| p.is_finite() || *p == f64::NEG_INFINITY;
        let fits = schema.task == Task::Classification
            && k == schema.classes
            && k >= 2
            && self.likelihoods.len() == schema.width()
            && self.log_prior.iter().all(prior)
            && self.log_prior.iter().any(|p| p.is_finite())
            && self.likelihoods.iter().zip(&schema.features).all(|(l, f)| l.fits(k, f.kind));
        if !fits {
            return Err(Error::corrupt(format!(
                "a naive_bayes model of {k} classes and {} features does not fit {} and {}",
                self.likelihoods.len(),
                schema.classes,
                schema.width()
            )));
        }
        Ok(())
    }

    fn describe(&self, schema: &Schema) -> Vec<(String, String)> {
        let list = |values: &mut dyn Iterator<Item = f64>| {
            values.take(SHOWN).map(|v| format!("{v:.6}")).collect::<Vec<_>>().join(", ")
        };
        let mut rows = vec![("priors".to_string(), list(&mut self.log_prior.iter().map(|p| p.exp())))];
        for (feature, likelihood) in schema.features.iter().zip(&self.likelihoods).take(SHOWN) {
            let name = &feature.name;
            let mut tell = |what: &str, values: &mut dyn Iterator<Item = f64>| {
                rows.push((format!("{name}: {what} by class"), list(values)));
            };
            match likelihood {
                Likelihood::Gaussian { mean, variance, .. } => {
                    tell("mean", &mut mean.iter().copied());
                    tell("standard deviation", &mut variance.iter().map(|v| v.sqrt()));
                }
                Likelihood::Multinomial { log } => tell("share", &mut log.iter().map(|v| v.exp())),
                Likelihood::Bernoulli { yes, .. } => tell("share of yes", &mut yes.iter().map(|v| v.exp())),
                Likelihood::Categorical { levels, .. } => {
                    rows.push((format!("{name}: categories"), levels.to_string()));
                }
            }
        }
        rows
    }
}
