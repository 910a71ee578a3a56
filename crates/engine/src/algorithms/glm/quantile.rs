//! `quantile`: linear regression of a quantile, by an interior point method in the coefficients alone.
//!
//! Minimises `sum of weight * check(y - b - x'w) / W + alpha * |w|_1`, where `check(r)` is `quantile * r` for positive and
//! `(quantile - 1) * r` for negative errors: scikit-learn's `QuantileRegressor`, statsmodels' `QuantReg` (Koenker and
//! Bassett 1978). As a linear programme an error is the difference of two parts above 0. With a logarithmic barrier on
//! them, both follow from the error in closed form, so a row keeps nothing between passes: what is left is a
//! smooth convex function of the coefficients. Newton's method follows its minimum as the barrier goes to 0; each pass
//! also gives the direction in which the minimum moves.

use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::pass::Sums;
use super::{Coordinates, FIT_INTERCEPT, feature_names, no_rows, not_finite, solve, without_offset};
use crate::dense;
use crate::error::{Error, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The learner.
pub struct Quantile;

/// The barrier at the end, as a part of the errors' spread: coefficients are right to about its size.
const END: f64 = 1e-10;
/// The barrier's factor from one center to the next: with smaller ones Newton's method takes more passes in all.
const SHRINK: f64 = 0.5;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    quantile: f64,
    alpha: f64,
    fit_intercept: bool,
    max_iter: usize,
}

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// Sums at a point.
    Point(Box<Point>),
}

/// Where the descent stands.
#[derive(Serialize, Deserialize)]
pub struct Point {
    coordinates: Coordinates,
    beta: Vec<f64>,
    /// The barrier's strength, in units of the target.
    barrier: f64,
    #[serde(skip)]
    job: Job,
}

#[derive(Default)]
struct Job {
    spread: Spread,
    l1: Vec<f64>,
    weight: f64,
    end: f64,
    /// The best point at this barrier and its objective.
    base: Vec<f64>,
    objective: f64,
    /// The objective's slope along the last step, and how much of it was taken.
    slope: f64,
    step: f64,
    passes: usize,
    halvings: usize,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first one.
    Moments(Moments),
    /// At a point; the other sum is the loss itself.
    Sums(Sums),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Sums(a), Partial::Sums(b)) => a.merge(b),
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

/// The check function with a barrier.
struct Smooth {
    value: f64,
    slope: f64,
    curvature: f64,
    /// The slope's derivative by the barrier.
    moves: f64,
}

/// At error `r`: the least of `t u + (1 - t) v - m ln u - m ln v` over `u - v = r`.
#[inline(always)]
fn smooth(r: f64, t: f64, m: f64) -> Smooth {
    let a = r.abs();
    let s = (a * a + 4.0 * m * m).sqrt();
    // The part on the error's side, and the other one, which is small: written without cancellation.
    let (far, near) = (0.5 * (a + s) + m, m + 2.0 * m * m / (s + a));
    let rest = 2.0 * m / (s * (s + a));
    // For r > 0: v is near, slope = m / v - (1 - t).
    let pull = m / near;
    let curvature = rest * (m / near) * (m / near);
    let moves = -rest * m * a / (near * near);
    let (u, v, slope, moves) =
        if r >= 0.0 { (far, near, pull - (1.0 - t), moves) } else { (near, far, t - pull, -moves) };
    Smooth { value: t * u + (1.0 - t) * v - m * (u / m).ln() - m * (v / m).ln(), slope, curvature, moves }
}

impl Learner for Quantile {
    const INFO: Info = Info {
        name: "quantile",
        version: 2,
        summary: "Linear regression of a quantile of the target, such as the median.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: true },
        sharding: Sharding::Blocks,
        params: &[
            Param::float("quantile", 0.5, 1e-6, 0.999_999, "The quantile to predict; 0.5 is the median."),
            Param::float(
                "alpha",
                0.0,
                0.0,
                f64::MAX,
                "Strength of the L1 penalty: it adds alpha times the sum of absolute coefficients to the mean loss.",
            ),
            FIT_INTERCEPT,
            Param::int("max_iter", 1000, 1, 100_000, "Passes over the rows at most."),
        ],
    };
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        Ok(Params {
            names: feature_names(schema),
            quantile: values.float("quantile")?,
            alpha: values.float("alpha")?,
            fit_intercept: values.bool("fit_intercept")?,
            max_iter: values.count("max_iter")?,
        })
    }

    fn memory(_params: &Params, schema: &Schema) -> u64 {
        super::memory(schema.width() + 1)
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &Params, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.names.len(), 0)),
            State::Point(point) => Partial::Sums(Sums::zero(point.coordinates.width(), true, 1)),
        }
    }

    fn accumulate(
        params: &Params,
        state: &State,
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        match (state, partial) {
            (State::Moments, Partial::Moments(moments)) => {
                without_offset(chunk, |chunk| moments.add(chunk, cx))
            }
            (State::Point(point), Partial::Sums(sums)) => point.add(params.quantile, chunk, sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => Point::begin(params, &moments, cx),
            (State::Point(point), Partial::Sums(sums)) => point.advance(params, sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

impl Point {
    /// The least squares solution; where it is exact, it is the model.
    fn begin(params: &Params, moments: &Moments, cx: &Cx) -> Result<Step<State, Model>> {
        if moments.weight == 0.0 {
            return Err(no_rows());
        }
        if !moments.finite() {
            return Err(not_finite("a sum of squares"));
        }
        let (d, weight) = (params.names.len(), moments.weight);
        let coordinates =
            Coordinates::of(moments, &params.names, params.fit_intercept, params.alpha == 0.0, cx)?;
        let n = coordinates.width();
        let mut l1: Vec<f64> = coordinates.inverse.iter().map(|inv| params.alpha * inv).collect();
        l1.resize(n, 0.0);
        let target = moments.with_target(params.fit_intercept);
        let pulls: Vec<f64> =
            target.iter().zip(&coordinates.inverse).map(|(t, inv)| t * inv / weight).collect();
        let mut beta = pulls.clone();
        if params.fit_intercept {
            beta.push(moments.mean[d]);
        }
        solve::Factor::new(&coordinates.square(moments), n, cx)?.solve(&mut beta);
        let whole = moments.product(d, d, params.fit_intercept) / weight;
        let left = (whole - dense::dot(&pulls, &beta[..d])).max(0.0);
        let scale = left.sqrt();
        let job = Job {
            spread: moments.spread(),
            l1,
            weight,
            end: END * scale,
            objective: f64::INFINITY,
            passes: 1,
            ..Job::default()
        };
        let point = Box::new(Point { coordinates, beta, barrier: 0.5 * scale, job });
        // Every quantile of an exact fit is that fit.
        if left <= 1e-24 * whole.max(1e-300) && params.alpha == 0.0 {
            return point.model(params, true, 0.0);
        }
        Ok(Step::Again(State::Point(point)))
    }

    fn add(&self, quantile: f64, chunk: &Chunk, sums: &mut Sums, cx: &Cx) -> Result<()> {
        let barrier = self.barrier;
        sums.add(&self.coordinates, &self.beta, chunk, cx, |y, weight, rows, others| {
            for (i, (y, w)) in y.iter().zip(weight).enumerate() {
                let r = y - rows.margin[i];
                let at = smooth(r, quantile, barrier);
                (rows.loss[i], rows.slope[i]) = (at.value, -at.slope);
                (rows.curvature[i], rows.cross[i]) = (at.curvature, -at.moves);
                others[0] += w * if r >= 0.0 { quantile * r } else { (quantile - 1.0) * r };
            }
            Ok(())
        })
    }

    fn advance(mut self: Box<Self>, params: &Params, sums: Sums, cx: &Cx) -> Result<Step<State, Model>> {
        let (n, weight) = (self.beta.len(), self.job.weight);
        let job = &mut self.job;
        job.passes += 1;
        let loss = sums.others[0] / weight;
        let mut objective = sums.loss / weight;
        let mean = |v: &[f64]| v.iter().map(|v| v / weight).collect::<Vec<f64>>();
        let (mut hessian, mut gradient, mut moves) =
            (mean(&sums.hessian), mean(&sums.gradient), mean(&sums.cross));
        for j in (0..n).filter(|j| job.l1[*j] > 0.0) {
            // An absolute value is twice the check function of the median.
            let (by, at) = (2.0 * job.l1[j], smooth(self.beta[j], 0.5, self.barrier));
            objective += by * at.value;
            gradient[j] += by * at.slope;
            hessian[j * n + j] += by * at.curvature;
            moves[j] += by * at.moves;
        }
        if !objective.is_finite() {
            return Err(not_finite("the loss"));
        }
        let out = job.passes >= params.max_iter;
        let worse = objective > job.objective + 1e-13 * job.objective.abs();
        if worse && job.halvings < 30 && !out {
            job.halvings += 1;
            // The minimum of the parabola through what is known, within bounds.
            let rise = objective - job.objective - job.slope * job.step;
            let best = -0.5 * job.slope * job.step / rise;
            let by = if best.is_finite() { best.clamp(0.1, 0.5) } else { 0.1 };
            job.step *= by;
            self.beta.iter_mut().zip(&job.base).for_each(|(b, base)| *b = base + by * (*b - base));
            return Ok(Step::Again(State::Point(self)));
        }
        let factor = solve::Factor::new(&hessian, n, cx)?;
        let mut direction = gradient.clone();
        factor.solve(&mut direction);
        // What Newton's step can still gain, against the barrier's own distance from the optimum.
        let gain = 0.5 * dense::dot(&gradient, &direction);
        let centered = gain <= 0.1 * self.barrier || worse;
        let done = centered && self.barrier <= job.end;
        cx.observer.progress(job.passes, params.max_iter, "passes");
        if done || out {
            cx.observer.metric(0, "train_loss", loss);
            if !done {
                let message = format!("quantile did not converge in {} passes; raise max_iter", job.passes);
                cx.observer.warning(&message);
            }
            self.beta.iter_mut().zip(&direction).for_each(|(b, d)| *b -= d);
            return self.model(params, done, loss);
        }
        if centered {
            // On to the next barrier, along the way that its minimum moves.
            let next = (self.barrier * SHRINK).max(job.end);
            factor.solve(&mut moves);
            let by = next - self.barrier;
            self.beta.iter_mut().zip(&direction).zip(&moves).for_each(|((b, d), m)| *b -= d + by * m);
            self.barrier = next;
            (job.objective, job.halvings) = (f64::INFINITY, 0);
        } else {
            job.base.clone_from(&self.beta);
            (job.objective, job.halvings) = (objective, 0);
            (job.slope, job.step) = (-2.0 * gain, 1.0);
            self.beta.iter_mut().zip(&direction).for_each(|(b, d)| *b -= d);
        }
        Ok(Step::Again(State::Point(self)))
    }

    fn model(mut self: Box<Self>, params: &Params, converged: bool, loss: f64) -> Result<Step<State, Model>> {
        if params.alpha > 0.0 {
            // A coefficient at its kink is 0; the barrier leaves it a little to the side.
            let close = 1e4 * self.barrier;
            let kinked = self.beta.iter_mut().zip(&self.job.l1).filter(|(_, l1)| **l1 > 0.0);
            kinked.filter(|(b, _)| b.abs() <= close).for_each(|(b, _)| *b = 0.0);
        }
        let (coefficients, intercept) = self.coordinates.raw(&self.beta);
        if !coefficients.iter().chain([&intercept, &loss]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        Ok(Step::Done(Model {
            response: Response::Mean(Link::Identity),
            coefficients,
            intercept: vec![intercept],
            spread: self.job.spread,
            trace: Trace { iterations: self.job.passes as u32, converged, loss },
            facts: vec![("observations".into(), self.job.weight)],
            statistics: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smooth_slopes_are_those_of_its_value() {
        for r in [-3.0, -0.01, 0.0, 0.002, 1.5] {
            for m in [0.5, 0.01] {
                let h = 1e-6;
                let (at, t) = (smooth(r, 0.3, m), 0.3);
                let (low, high) = (smooth(r - h, t, m), smooth(r + h, t, m));
                // The value is up to m ln m, which does not depend on r.
                assert!(((high.value - low.value) / (2.0 * h) - at.slope).abs() < 1e-6, "{r} {m}");
                assert!(((high.slope - low.slope) / (2.0 * h) / at.curvature - 1.0).abs() < 1e-4, "{r} {m}");
                let (less, more) = (smooth(r, t, m - h).slope, smooth(r, t, m + h).slope);
                assert!(((more - less) / (2.0 * h) - at.moves).abs() < 1e-4, "{r} {m}");
            }
        }
        assert!((smooth(2.0, 0.3, 1e-12).value - 0.6).abs() < 1e-9);
        assert!((smooth(-2.0, 0.3, 1e-12).value - 1.4).abs() < 1e-9);
    }
}
