//! Generalised linear models: `linear`, `ridge`, `logistic` and `multinomial`.
//!
//! All four begin with one pass that takes the second moments of features and target about their means
//! ([`moments`]). That settles `linear` and `ridge`. `logistic` has its first Newton step from it without reading
//! a row again, and then takes one pass a step; `multinomial` has its preconditioner, and then takes one pass a
//! gradient. The model is the same for all: [`model::Model`].
//!
//! Invariants: sums are cut at blocks and merged in order, so results are the same bits on any number of threads.
//! The lower triangle of a symmetric matrix is stored row by row in a full square; the rest is never read.
//!
//! Whether features are standardised is the pipeline's business ([`crate::learner::Input::Matrix`]): `linear` leaves them as they
//! are, so that coefficients keep their units; the others have a penalty, which means the same for every feature
//! only when features have one scale. Inside, all four work on centred or standardised sums, for accuracy.

mod lbfgs;
mod least_squares;
mod logistic;
mod model;
mod moments;
mod multinomial;
mod solve;
#[cfg(test)]
mod tests;

pub use least_squares::LeastSquares;
pub use logistic::Logistic;
pub use multinomial::Multinomial;

use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::Cx;
use crate::params::{Param, Values};
use crate::schema::Schema;
use moments::Moments;
use serde::{Deserialize, Serialize};

const FIT_INTERCEPT: Param =
    Param::bool("fit_intercept", true, "Whether the model has an intercept. It is never penalised.");

/// What `logistic` and `multinomial` take: scikit-learn's names, and its scaling of `C`.
const CLASSIFIER: &[Param] = &[
    Param::float(
        "C",
        1.0,
        1e-10,
        1e10,
        "Inverse strength of the L2 penalty: the model minimises C * sum of log losses + half the sum of squared coefficients.",
    )
    .alias(&["c"]),
    Param::choice("penalty", "l2", &["l2", "none"], "Penalty on the coefficients."),
    FIT_INTERCEPT,
    Param::int("max_iter", 200, 1, 100_000, "Passes over the rows at most."),
    Param::float(
        "tol",
        1e-6,
        1e-14,
        1.0,
        "Training has converged when no component of the gradient of the mean loss, for standardised features, exceeds it.",
    ),
];

/// Checked parameters of `logistic` and `multinomial`.
#[derive(Debug, Clone)]
pub struct ClassifierParams {
    names: Vec<String>,
    classes: usize,
    c: Option<f64>,
    fit_intercept: bool,
    max_iter: usize,
    tol: f64,
}

impl ClassifierParams {
    fn width(&self) -> usize {
        self.names.len()
    }

    fn read(values: &Values, schema: &Schema) -> Result<Self> {
        let c = values.float("C")?;
        Ok(ClassifierParams {
            names: feature_names(schema),
            classes: schema.classes,
            c: (values.text("penalty")? == "l2").then_some(c),
            fit_intercept: values.bool("fit_intercept")?,
            max_iter: values.count("max_iter")?,
            tol: values.float("tol")?,
        })
    }
}

/// Where the optimiser works: features centred and divided by their spread, `u = (x - center) * inverse`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Coordinates {
    center: Vec<f64>,
    /// 1 / spread; 0 for features that are left out, whose coefficient is 0.
    inverse: Vec<f64>,
    /// A last coordinate that is always 1.
    intercept: bool,
}

impl Coordinates {
    /// Coordinates after the first pass. Constant features are left out, and without a penalty also those that
    /// depend linearly on the ones before them, with a warning.
    fn of(moments: &Moments, params: &ClassifierParams, cx: &Cx) -> Result<Coordinates> {
        let d = params.width();
        let square = moments.features(params.fit_intercept);
        let mut keep: Vec<bool> = (0..d).map(|j| !(params.fit_intercept && moments.constant(j))).collect();
        if params.c.is_none() {
            let dropped = solve::Factor::new(&square, d, cx)?.dropped;
            warn_dropped(&dropped, &params.names, cx);
            dropped.iter().for_each(|j| keep[*j] = false);
        }
        let spread = |j: usize| (square[j * d + j] / moments.weight).sqrt();
        let inverse = (0..d).map(|j| if keep[j] && spread(j) > 0.0 { 1.0 / spread(j) } else { 0.0 });
        let center = if params.fit_intercept { moments.mean[..d].to_vec() } else { vec![0.0; d] };
        Ok(Coordinates { center, inverse: inverse.collect(), intercept: params.fit_intercept })
    }

    /// Coordinates a row.
    fn width(&self) -> usize {
        self.center.len() + usize::from(self.intercept)
    }

    /// Mean second moments of the coordinates, `width()` square, lower triangle: the first pass in these units.
    fn square(&self, moments: &Moments) -> Vec<f64> {
        let (d, wide) = (self.center.len(), self.width());
        let raw = moments.features(self.intercept);
        let mut square = vec![0.0; wide * wide];
        for i in 0..d {
            for j in 0..=i {
                square[i * wide + j] = raw[i * d + j] * self.inverse[i] * self.inverse[j] / moments.weight;
            }
        }
        if self.intercept {
            square[wide * wide - 1] = 1.0;
        }
        square
    }

    /// Writes rows of `x` in coordinates into `u`, `width()` values a row.
    fn transform(&self, x: &[f64], rows: usize, u: &mut [f64]) {
        let (d, wide) = (self.center.len(), self.width());
        dense::vectorized(
            #[inline(always)]
            || {
                for i in 0..rows {
                    let from = &x[i * d..(i + 1) * d];
                    let to = &mut u[i * wide..(i + 1) * wide];
                    for (((to, x), center), inverse) in
                        to.iter_mut().zip(from).zip(&self.center).zip(&self.inverse)
                    {
                        *to = (x - center) * inverse;
                    }
                    if self.intercept {
                        to[d] = 1.0;
                    }
                }
            },
        );
    }

    /// The strength of the penalty on each coordinate, in units of the mean loss: `lambda * inverse^2`.
    fn penalty(&self, c: Option<f64>, weight: f64) -> Vec<f64> {
        let lambda = c.map_or(0.0, |c| 1.0 / (c * weight));
        let mut each: Vec<f64> = self.inverse.iter().map(|inv| lambda * inv * inv).collect();
        each.resize(self.width(), 0.0);
        each
    }

    /// Coefficients and the intercept, for raw features, from those of the coordinates.
    fn raw(&self, beta: &[f64]) -> (Vec<f64>, f64) {
        let coefficients: Vec<f64> = beta.iter().zip(&self.inverse).map(|(b, inv)| b * inv).collect();
        let shift: f64 = coefficients.iter().zip(&self.center).map(|(w, c)| w * c).sum();
        let own = if self.intercept { beta[self.center.len()] } else { 0.0 };
        (coefficients, own - shift)
    }
}

fn no_rows() -> Error {
    Error::new(Kind::Data, "there are no rows to train on")
}

fn not_finite(what: &str) -> Error {
    Error::new(Kind::Data, format!("{what} is not finite: values or weights are too large"))
        .hint("Scale the features, or look for outliers with min() and max().")
}

/// Bytes of training: a square of sums for each partial that may wait to be merged, and a few for solving.
fn memory(width: usize) -> u64 {
    let squares = rayon::current_num_threads() * 4 + 4;
    (squares * width * width * 8) as u64
}

/// The largest absolute value.
fn largest(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |a, b| a.max(b.abs()))
}

fn feature_names(schema: &Schema) -> Vec<String> {
    schema.features.iter().map(|f| f.name.clone()).collect()
}

fn warn_dropped(dropped: &[usize], names: &[String], cx: &Cx) {
    if dropped.is_empty() {
        return;
    }
    let mut listed: Vec<&str> = dropped.iter().take(10).map(|j| names[*j].as_str()).collect();
    if dropped.len() > listed.len() {
        listed.push("...");
    }
    cx.observer.warning(&format!(
        "{} of {} features got coefficient 0, being constant or a linear combination of earlier ones: {}",
        dropped.len(),
        names.len(),
        listed.join(", ")
    ));
}
