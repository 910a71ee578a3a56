//! How sure the coefficients are: their covariance, and what follows from it for the user's own columns.

use super::model::{Model, Response};
use crate::distributions::Reference;
use crate::learner::Coefficient;
use crate::schema::{Schema, Unit};
use serde::{Deserialize, Serialize};

/// What is known of the estimates beside their values.
///
/// Parameters are numbered: for each function, its slopes and then its intercept; after them the thresholds; after
/// them the other ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// The functions whose parameters have errors, of the model's; for an ordinal model the one function has no
    /// intercept but thresholds.
    pub functions: Vec<usize>,
    /// The covariance of the parameters, lower triangle, row by row; zero where a parameter is not estimated.
    pub covariance: Vec<f64>,
    /// Residual degrees of freedom of Student's t; none for the normal distribution.
    pub df: Option<f64>,
    /// The level of confidence intervals.
    pub level: f64,
    /// Other estimated parameters, such as a negative binomial's `alpha`.
    pub others: Vec<(String, f64)>,
}

impl Statistics {
    /// How many parameters a model of such a shape has.
    pub fn parameters(&self, features: usize, thresholds: usize) -> usize {
        let own = features + usize::from(thresholds == 0);
        self.functions.len() * own + thresholds + self.others.len()
    }

    /// Whether it can belong to such a model: sizes fit, numbers are finite.
    pub fn fits(&self, features: usize, functions: usize, thresholds: usize) -> bool {
        let p = self.parameters(features, thresholds);
        self.functions.len() <= functions
            && self.functions.iter().all(|f| *f < functions)
            && p < 1 << 20
            && self.covariance.len() == p * (p + 1) / 2
            && self.covariance.iter().chain(self.others.iter().map(|o| &o.1)).all(|v| v.is_finite())
            && self.level > 0.0
            && self.level < 1.0
            && self.df.is_none_or(f64::is_finite)
    }

    fn covariance(&self, i: usize, j: usize) -> f64 {
        let (i, j) = (i.max(j), i.min(j));
        self.covariance.get(i * (i + 1) / 2 + j).copied().unwrap_or(0.0)
    }

    /// The variance of a sum of parameters, each by a factor.
    fn variance(&self, parts: &[(usize, f64)]) -> f64 {
        let mut sum = 0.0;
        for (i, a) in parts {
            for (j, b) in parts {
                sum += a * b * self.covariance(*i, *j);
            }
        }
        sum
    }
}

/// A coefficient from its estimate and variance; without a variance all else is unknown.
fn told(
    class: Option<usize>,
    term: String,
    estimate: f64,
    variance: f64,
    reference: Reference,
    quantile: f64,
) -> Coefficient {
    let std_error = if variance > 0.0 { variance.sqrt() } else { f64::NAN };
    let statistic = estimate / std_error;
    Coefficient {
        class,
        term,
        estimate,
        std_error,
        statistic,
        p_value: reference.two_sided(statistic),
        lower: estimate - quantile * std_error,
        upper: estimate + quantile * std_error,
    }
}

/// The coefficients of a model for columns in the user's units. A slope is multiplied by its feature's factor; what
/// the centers add moves to the intercept, or to every threshold; the covariance follows exactly.
pub fn coefficients(model: &Model, schema: &Schema, units: &[Unit]) -> Vec<Coefficient> {
    let d = schema.width();
    if units.len() != d {
        return vec![];
    }
    let statistics = model.statistics.as_deref();
    let reference = match statistics.and_then(|s| s.df) {
        Some(df) => Reference::T(df),
        None => Reference::Normal,
    };
    let quantile = statistics.map_or(f64::NAN, |s| reference.two_sided_quantile(1.0 - s.level));
    let ordinal = matches!(model.response, Response::Ordinal(_));
    let softmax = model.response == Response::Softmax;
    let functions = if ordinal { 1 } else { model.intercept.len() };
    let own = d + usize::from(!ordinal);
    let mut rows = vec![];
    for f in 0..functions {
        // Where a function has no errors but others do, it is the one that they are compared with.
        let at = statistics.and_then(|s| s.functions.iter().position(|x| *x == f));
        // A class without training rows has the least of intercepts, and nothing to show.
        if (statistics.is_some() && at.is_none()) || (softmax && model.intercept[f] == f64::MIN) {
            continue;
        }
        let class = softmax.then_some(f);
        let slopes = &model.coefficients[f * d..(f + 1) * d];
        let variance = |parts: &[(usize, f64)]| match (statistics, at) {
            (Some(s), Some(_)) => s.variance(parts),
            _ => f64::NAN,
        };
        let base = at.unwrap_or(0) * own;
        let shift: f64 = slopes.iter().zip(units).map(|(b, u)| b * u.factor * u.center).sum();
        let moved = |sign: f64, own: usize| -> Vec<(usize, f64)> {
            let slopes = units.iter().enumerate().map(|(j, u)| (base + j, sign * u.factor * u.center));
            slopes.filter(|p| p.1 != 0.0).chain([(own, 1.0)]).collect()
        };
        if !ordinal {
            let variance = variance(&moved(-1.0, base + d));
            let intercept = model.intercept[f] - shift;
            rows.push(told(class, "intercept".into(), intercept, variance, reference, quantile));
        }
        for (j, (slope, unit)) in slopes.iter().zip(units).enumerate() {
            let variance = variance(&[(base + j, unit.factor)]);
            let name = schema.features[j].name.clone();
            rows.push(told(class, name, slope * unit.factor, variance, reference, quantile));
        }
        if ordinal {
            for (t, threshold) in model.intercept.iter().enumerate() {
                let variance = variance(&moved(1.0, d + t));
                rows.push(told(
                    Some(t),
                    "threshold".into(),
                    threshold + shift,
                    variance,
                    reference,
                    quantile,
                ));
            }
        }
    }
    if let Some(s) = statistics {
        let thresholds = if ordinal { model.intercept.len() } else { 0 };
        let first = s.parameters(d, thresholds) - s.others.len();
        for (i, (name, value)) in s.others.iter().enumerate() {
            let variance = s.variance(&[(first + i, 1.0)]);
            rows.push(told(None, name.clone(), *value, variance, reference, quantile));
        }
    }
    rows
}
