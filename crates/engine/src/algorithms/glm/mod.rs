//! Generalised linear models and their relatives.
//!
//! | file | algorithms | how |
//! |---|---|---|
//! | [`least_squares`] | `linear`, `ridge` | normal equations, one pass |
//! | [`elastic_net`] | `lasso`, `elastic_net` | coordinate descent on the sums of one pass, over a path |
//! | [`generalised`] | `glm`, `poisson`, `gamma`, `negative_binomial`, `tweedie` | Newton's method, one pass a step |
//! | [`logistic`] | `logistic` | the same, with its first step from the first pass |
//! | [`multinomial`] | `multinomial` | preconditioned L-BFGS, one pass a gradient |
//! | [`ordinal`] | `ordinal` | Newton's method on slopes and thresholds |
//! | [`huber`] | `huber` | Newton's method on slopes and scale |
//! | [`quantile`] | `quantile` | an interior point method in the slopes alone |
//!
//! All begin with one pass that takes the second moments of features and target about their means ([`moments`]), and
//! then work in [`Coordinates`]: centred features of unit spread. [`family`] and [`link`] know the distributions,
//! [`pass`] sums gradients and Hessians over rows, [`quadratic`] minimises penalties on absolute values, [`inference`]
//! makes covariances, and [`statistics`] what `damson.coefficients` shows of them. The model is the same for all:
//! [`model::Model`].
//!
//! Invariants: sums are cut at blocks and merged in order, so results are the same bits on any number of threads.
//! The lower triangle of a symmetric matrix is stored row by row in a full square; the rest is never read.
//!
//! Whether features are standardised is the pipeline's business ([`crate::learner::Input::Matrix`]): where nothing
//! is penalised by default they stay as they are, so that coefficients keep their units; the others have a penalty, which
//! means the same for every feature only when features have one scale.

mod elastic_net;
mod family;
mod generalised;
mod huber;
mod inference;
mod lbfgs;
mod least_squares;
mod link;
mod logistic;
mod model;
mod moments;
mod multinomial;
mod ordinal;
mod pass;
mod quadratic;
mod quantile;
mod solve;
mod statistics;
#[cfg(test)]
mod tests;

pub use elastic_net::ElasticNet;
pub use generalised::{GAMMA, GLM, Generalised, NEGATIVE_BINOMIAL, POISSON, TWEEDIE};
pub use huber::Huber;
pub use least_squares::LeastSquares;
pub use logistic::Logistic;
pub use multinomial::Multinomial;

pub use ordinal::Ordinal;
pub use quantile::Quantile;

use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::Cx;
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema};
use moments::Moments;
use serde::{Deserialize, Serialize};

const FIT_INTERCEPT: Param =
    Param::bool("fit_intercept", true, "Whether the model has an intercept. It is never penalised.");

/// Parameters of `logistic` and `multinomial`: scikit-learn's names, and its scaling of `C`.
const C: Param = Param::float(
    "C",
    1.0,
    1e-10,
    1e10,
    "Inverse strength of the penalty: the model minimises C * sum of log losses + the penalty (l2: half the sum of squared coefficients).",
)
.alias(&["c"]);
const MAX_ITER: Param = Param::int("max_iter", 200, 1, 100_000, "Passes over the rows at most.");
const TOL: Param = Param::float(
    "tol",
    1e-6,
    1e-14,
    1.0,
    "Training has converged when no component of the gradient of the mean loss, for standardised features, exceeds it.",
);

/// Checked parameters of `logistic` and `multinomial`.
#[derive(Debug, Clone)]
pub struct ClassifierParams {
    names: Vec<String>,
    classes: usize,
    c: Option<f64>,
    fit_intercept: bool,
    max_iter: usize,
    tol: f64,
    level: f64,
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
            c: (values.text("penalty")? != "none").then_some(c),
            fit_intercept: values.bool("fit_intercept")?,
            max_iter: values.count("max_iter")?,
            tol: values.float("tol")?,
            level: values.float("confidence_level")?,
        })
    }
}

/// Where the optimiser works: features centred and divided by their spread, `u = (x - center) * inverse`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Coordinates {
    center: Vec<f64>,
    /// 1 / spread; 0 for features that are left out, whose coefficient is 0.
    inverse: Vec<f64>,
    /// A last coordinate that is always 1.
    intercept: bool,
}

impl Coordinates {
    /// Coordinates after the first pass. Constant features are left out; so are, with `drop_collinear` (for models
    /// without a penalty), those that depend linearly on the ones before them, with a warning.
    fn of(
        moments: &Moments,
        names: &[String],
        fit_intercept: bool,
        drop_collinear: bool,
        cx: &Cx,
    ) -> Result<Coordinates> {
        let d = names.len();
        let square = moments.features(fit_intercept);
        let mut keep: Vec<bool> = (0..d).map(|j| !(fit_intercept && moments.constant(j))).collect();
        if drop_collinear {
            let dropped = solve::Factor::new(&square, d, cx)?.dropped;
            warn_dropped(&dropped, names, cx);
            dropped.iter().for_each(|j| keep[*j] = false);
        }
        let spread = |j: usize| (square[j * d + j] / moments.weight).sqrt();
        let inverse = (0..d).map(|j| if keep[j] && spread(j) > 0.0 { 1.0 / spread(j) } else { 0.0 });
        let center = if fit_intercept { moments.mean[..d].to_vec() } else { vec![0.0; d] };
        Ok(Coordinates { center, inverse: inverse.collect(), intercept: fit_intercept })
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

/// The block with the offsets taken off the targets, for models whose mean is the predictor itself.
fn without_offset<R>(chunk: &Chunk, work: impl FnOnce(&Chunk) -> R) -> R {
    if chunk.offset.is_empty() {
        return work(chunk);
    }
    let y: Vec<f64> = chunk.y.iter().zip(chunk.offset).map(|(y, o)| y - o).collect();
    work(&Chunk { y: &y, offset: &[], ..*chunk })
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
