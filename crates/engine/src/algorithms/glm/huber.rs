//! `huber`: linear regression that large errors pull with a bounded force, by Newton's method on coefficients and
//! scale together (Owen 2007).
//!
//! Minimises `sum of weight * (s + H((y - b - x'w) / s) s) + alpha * |w|^2` over `w`, `b` and the scale `s`, where `H(z)`
//! is `z^2` up to `epsilon` and `2 epsilon |z| - epsilon^2` beyond: scikit-learn's `HuberRegressor`. It starts from
//! least squares; the objective is convex and piecewise smooth, so steps are halved until it falls.

use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::pass::Sums;
use super::{Coordinates, FIT_INTERCEPT, feature_names, largest, no_rows, not_finite, solve, without_offset};
use crate::dense;
use crate::error::{Error, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The learner.
pub struct Huber;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    epsilon: f64,
    alpha: f64,
    fit_intercept: bool,
    max_iter: usize,
    tol: f64,
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
    scale: f64,
    #[serde(skip)]
    job: Job,
}

#[derive(Default)]
struct Job {
    spread: Spread,
    l2: Vec<f64>,
    weight: f64,
    base: (Vec<f64>, f64),
    objective: f64,
    passes: usize,
    steps: usize,
    halvings: usize,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first one.
    Moments(Moments),
    /// At a point; the others are the scale's slope and curvature and the weight of large errors.
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

impl Learner for Huber {
    const INFO: Info = Info {
        name: "huber",
        version: 2,
        summary: "Linear regression that is robust to outliers of the target.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: true },
        sharding: Sharding::Blocks,
        params: &[
            Param::float(
                "epsilon",
                1.35,
                1.0,
                1e6,
                "Errors of more than epsilon scales count by their size, smaller ones by their square.",
            ),
            Param::float(
                "alpha",
                0.0001,
                0.0,
                f64::MAX,
                "Strength of the L2 penalty: it adds alpha times the sum of squared coefficients to the sum over rows.",
            ),
            FIT_INTERCEPT,
            Param::int("max_iter", 200, 1, 100_000, "Passes over the rows at most."),
            Param::float(
                "tol",
                1e-9,
                1e-14,
                1.0,
                "Training has converged when a step changes no coefficient of standardised features by more than this part of the largest.",
            ),
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
            epsilon: values.float("epsilon")?,
            alpha: values.float("alpha")?,
            fit_intercept: values.bool("fit_intercept")?,
            max_iter: values.count("max_iter")?,
            tol: values.float("tol")?,
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
            State::Point(point) => Partial::Sums(Sums::zero(point.coordinates.width(), true, 3)),
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
            (State::Point(point), Partial::Sums(sums)) => point.add(params.epsilon, chunk, sums, cx),
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
        let drop = params.alpha == 0.0;
        let coordinates = Coordinates::of(moments, &params.names, params.fit_intercept, drop, cx)?;
        let n = coordinates.width();
        let mut l2: Vec<f64> =
            coordinates.inverse.iter().map(|inv| 2.0 * params.alpha * inv * inv / weight).collect();
        l2.resize(n, 0.0);
        let mut square = coordinates.square(moments);
        for (j, l2) in l2.iter().enumerate() {
            square[j * n + j] += l2;
        }
        let target = moments.with_target(params.fit_intercept);
        let mut beta: Vec<f64> =
            target.iter().zip(&coordinates.inverse).map(|(t, inv)| t * inv / weight).collect();
        if params.fit_intercept {
            beta.push(moments.mean[d]);
        }
        solve::Factor::new(&square, n, cx)?.solve(&mut beta);
        let whole = moments.product(d, d, params.fit_intercept);
        let explained: f64 = (0..d).map(|j| beta[j] * (target[j] * coordinates.inverse[j]) / weight).sum();
        let left = (whole / weight - explained).max(0.0);
        let size = whole / weight;
        let job = Job {
            spread: moments.spread(),
            l2,
            weight,
            objective: f64::INFINITY,
            passes: 1,
            ..Job::default()
        };
        let point = Box::new(Point { coordinates, beta, scale: left.sqrt(), job });
        // No error is left to be robust to.
        if left <= 1e-24 * size.max(1e-300) {
            return point.model(true, left);
        }
        Ok(Step::Again(State::Point(point)))
    }

    fn add(&self, epsilon: f64, chunk: &Chunk, sums: &mut Sums, cx: &Cx) -> Result<()> {
        let s = self.scale;
        sums.add(&self.coordinates, &self.beta, chunk, cx, |y, weight, rows, others| {
            for (i, (y, w)) in y.iter().zip(weight).enumerate() {
                let r = y - rows.margin[i];
                let z = r / s;
                if z.abs() <= epsilon {
                    rows.loss[i] = s + r * z;
                    (rows.slope[i], rows.curvature[i], rows.cross[i]) = (-2.0 * z, 2.0 / s, 2.0 * z / s);
                    others[0] += w * (1.0 - z * z);
                    others[1] += w * 2.0 * z * z / s;
                } else {
                    rows.loss[i] = s + 2.0 * epsilon * r.abs() - epsilon * epsilon * s;
                    (rows.slope[i], rows.curvature[i], rows.cross[i]) =
                        (-2.0 * epsilon * z.signum(), 0.0, 0.0);
                    others[0] += w * (1.0 - epsilon * epsilon);
                    others[2] += w;
                }
            }
            Ok(())
        })
    }

    fn advance(mut self: Box<Self>, params: &Params, sums: Sums, cx: &Cx) -> Result<Step<State, Model>> {
        let (n, weight) = (self.beta.len(), self.job.weight);
        let job = &mut self.job;
        job.passes += 1;
        cx.observer.progress(job.passes, params.max_iter, "passes");
        let loss = sums.loss / weight;
        let objective = loss + self.beta.iter().zip(&job.l2).map(|(b, l)| 0.5 * l * b * b).sum::<f64>();
        let worse = !objective.is_finite() || objective > job.objective * (1.0 + 1e-13);
        let out = job.passes >= params.max_iter;
        if worse && job.halvings < 60 && !out {
            job.halvings += 1;
            self.beta.iter_mut().zip(&job.base.0).for_each(|(b, base)| *b = 0.5 * (*b + base));
            self.scale = 0.5 * (self.scale + job.base.1);
            return Ok(Step::Again(State::Point(self)));
        }
        if !objective.is_finite() {
            return Err(not_finite("the loss"));
        }
        cx.observer.metric(job.steps, "train_loss", loss);
        job.steps += 1;
        let mean = |v: &[f64]| v.iter().map(|v| v / weight).collect::<Vec<f64>>();
        let (mut hessian, mut direction, cross) =
            (mean(&sums.hessian), mean(&sums.gradient), mean(&sums.cross));
        // Rows beyond epsilon have no curvature: a trace of that of least squares keeps every direction finite.
        let trace = 1e-10 / self.scale;
        for j in 0..n {
            direction[j] += job.l2[j] * self.beta[j];
            hessian[j * n + j] += job.l2[j] + trace;
        }
        let factor = solve::Factor::new(&hessian, n, cx)?;
        factor.solve(&mut direction);
        let mut through = cross.clone();
        factor.solve(&mut through);
        let left = sums.others[1] / weight - dense::dot(&cross, &through);
        let slope = sums.others[0] / weight - dense::dot(&cross, &direction);
        // The scale stays above 0, and moves by a factor of 4 at most.
        let mut shift = if left > 1e-12 / self.scale { -slope / left } else { -slope.signum() * self.scale };
        shift = shift.clamp(-0.75 * self.scale, 3.0 * self.scale);
        direction.iter_mut().zip(&through).for_each(|(d, t)| *d += t * shift);
        let size = largest(&self.beta).max(1e-8 * self.scale);
        let settled =
            largest(&direction) <= params.tol * size && shift.abs() <= params.tol.max(1e-10) * self.scale;
        let job = &mut self.job;
        let last = settled || worse || out;
        if worse {
            (self.beta, self.scale) = job.base.clone();
        } else {
            job.base = (self.beta.clone(), self.scale);
            (job.objective, job.halvings) = (objective, 0);
            self.beta.iter_mut().zip(&direction).for_each(|(b, d)| *b -= d);
            self.scale += shift;
        }
        if !last {
            return Ok(Step::Again(State::Point(self)));
        }
        // Where no shorter step helps, the point is as good as rounding allows.
        let roughly = largest(&direction) <= 1e-6 * size;
        let converged = settled || (worse && roughly);
        if !converged {
            let message = format!(
                "huber did not converge in {} passes; raise max_iter, or standardise the features",
                self.job.passes
            );
            cx.observer.warning(&message);
        }
        let outliers = sums.others[2] / weight;
        match self.model(converged, loss)? {
            Step::Done(mut model) => {
                model.facts.push(("outliers".into(), outliers));
                Ok(Step::Done(model))
            }
            again => Ok(again),
        }
    }

    fn model(self: Box<Self>, converged: bool, loss: f64) -> Result<Step<State, Model>> {
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
            facts: vec![("observations".into(), self.job.weight), ("scale".into(), self.scale)],
            statistics: None,
        }))
    }
}
