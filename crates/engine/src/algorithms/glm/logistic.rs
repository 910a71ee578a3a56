//! `logistic`: two classes, by Newton's method (iteratively reweighted least squares) with step halving.
//!
//! Minimises the mean log loss plus `|w|^2 / (2 C W)` where `W` is the sum of weights: scikit-learn's
//! `LogisticRegression(C)`. It starts from the intercept alone, where the Hessian is a multiple of the moments,
//! so the first pass gives the first step too.
//!
//! What is not that plain case is [`super::generalised`]'s: penalties on absolute values and offsets from the second
//! pass on, and the last passes of a model without a penalty, for its standard errors.

use super::generalised::{self, Generalised, Optimum, Point};
use super::inference::{CONFIDENCE_LEVEL, COV_TYPE, Request};
use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::{
    C, ClassifierParams, Coordinates, FIT_INTERCEPT, MAX_ITER, TOL, largest, no_rows, not_finite, solve,
};
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// What goes on after the plain case.
type Rest = Generalised<{ generalised::GLM }>;

/// The learner.
pub struct Logistic;

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// The loss, its gradient and its Hessian at a point.
    Curvature(Box<Newton>),
    /// What is not the plain case.
    Rest(Box<generalised::State>),
}

/// Newton's method between two passes.
#[derive(Serialize, Deserialize)]
pub struct Newton {
    coordinates: Coordinates,
    /// The point to look at.
    beta: Vec<f64>,
    #[serde(skip)]
    job: JobState,
}

/// What the job alone needs to know.
#[derive(Default)]
struct JobState {
    spread: Spread,
    penalty: Vec<f64>,
    weight: f64,
    /// The best point so far and its objective, from which the last step was taken.
    base: Vec<f64>,
    objective: f64,
    passes: usize,
    halvings: usize,
    /// The log odds of class 1 among all rows.
    null: f64,
}

/// Sums over rows: nothing about the penalty.
#[derive(Serialize, Deserialize)]
pub struct Curvature {
    loss: f64,
    gradient: Vec<f64>,
    hessian: Vec<f64>,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first pass, and whether rows have offsets.
    Moments(Moments, bool),
    /// Of the others.
    Curvature(Curvature),
    /// Of what is not the plain case.
    Rest(Box<generalised::Partial>),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a, offsets), Partial::Moments(b, more)) => {
                *offsets |= more;
                a.merge(b)
            }
            (Partial::Rest(a), Partial::Rest(b)) => a.merge(*b),
            (Partial::Curvature(a), Partial::Curvature(b)) if a.hessian.len() == b.hessian.len() => {
                a.loss += b.loss;
                a.gradient.iter_mut().zip(b.gradient).for_each(|(a, b)| *a += b);
                a.hessian.iter_mut().zip(b.hessian).for_each(|(a, b)| *a += b);
                Ok(())
            }
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

/// Mean log losses below this, without a penalty, mean that a hyperplane separates the classes.
const SEPARATED: f64 = 1e-9;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    plain: ClassifierParams,
    rest: generalised::Params,
    /// Whether the penalty is on squares alone.
    smooth: bool,
}

const PENALTY: Param = Param::choice(
    "penalty",
    "l2",
    &["l2", "l1", "elasticnet", "none"],
    "Penalty on the coefficients: squares, absolute values, both, or none; without one there are standard errors.",
);
const L1_RATIO: Param = Param::float(
    "l1_ratio",
    0.5,
    0.0,
    1.0,
    "Share of an elasticnet penalty that is on absolute values; the rest is on squares.",
);

impl Learner for Logistic {
    const INFO: Info = Info {
        name: "logistic",
        version: 3,
        summary: "Logistic regression of two classes, with a penalty, or with standard errors.",
        tasks: &[Task::Classification],
        input: Input::Matrix { scale: true },
        sharding: Sharding::Blocks,
        params: &[C, PENALTY, L1_RATIO, FIT_INTERCEPT, MAX_ITER, TOL, COV_TYPE, CONFIDENCE_LEVEL],
    };
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        if schema.classes > 2 {
            let message = format!("logistic takes a target of 2 classes, found {}", schema.classes);
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Use algorithm => 'multinomial', or 'ordinal' for ordered classes."));
        }
        let plain = ClassifierParams::read(values, schema)?;
        let l1_ratio = match values.text("penalty")? {
            "l1" => 1.0,
            "elasticnet" => values.float("l1_ratio")?,
            _ => 0.0,
        };
        let request = Request::read(values)?;
        request.check_penalty(plain.c.is_some())?;
        let rest = generalised::Params::logistic(&plain, l1_ratio, request);
        Ok(Params { plain, rest, smooth: l1_ratio == 0.0 })
    }

    fn memory(_params: &Params, schema: &Schema) -> u64 {
        2 * super::memory(schema.width() + 1)
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &Params, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.plain.width(), 2), false),
            State::Curvature(newton) => {
                let n = newton.coordinates.width();
                let (gradient, hessian) = (vec![0.0; n], vec![0.0; n * n]);
                Partial::Curvature(Curvature { loss: 0.0, gradient, hessian })
            }
            State::Rest(rest) => Partial::Rest(Box::new(Rest::zero(&params.rest, rest))),
        }
    }

    fn accumulate(
        params: &Params,
        state: &State,
        local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        match (state, partial) {
            (State::Moments, Partial::Moments(moments, offsets)) => {
                *offsets |= !chunk.offset.is_empty();
                moments.add(chunk, cx)
            }
            (State::Curvature(newton), Partial::Curvature(sums)) => newton.add(chunk, sums, cx),
            (State::Rest(rest), Partial::Rest(sums)) => {
                Rest::accumulate(&params.rest, rest, local, chunk, sums, cx)
            }
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments, offsets)) => {
                check_classes(&moments)?;
                if params.smooth && !offsets {
                    let newton = Newton::begin(&params.plain, &moments, cx)?;
                    return Ok(Step::Again(State::Curvature(Box::new(newton))));
                }
                let alpha = params.plain.c.map_or(0.0, |c| 1.0 / (c * moments.weight));
                let point = Point::begin(&params.rest, alpha, &moments, cx)?;
                Ok(Step::Again(State::Rest(Box::new(generalised::State::Point(Box::new(point))))))
            }
            (State::Curvature(newton), Partial::Curvature(sums)) => newton.advance(&params.plain, sums, cx),
            (State::Rest(rest), Partial::Rest(sums)) => match Rest::update(&params.rest, *rest, *sums, cx)? {
                Step::Again(rest) => Ok(Step::Again(State::Rest(Box::new(rest)))),
                Step::Done(model) => Ok(Step::Done(model)),
            },
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

/// Refuses rows of one class, or none.
fn check_classes(moments: &Moments) -> Result<()> {
    if moments.weight == 0.0 {
        return Err(no_rows());
    }
    if !moments.finite() {
        return Err(not_finite("a sum of squares"));
    }
    if moments.classes.contains(&0.0) {
        let only = usize::from(moments.classes[1] > 0.0);
        let message = format!("all training rows have class {only} (of 0 and 1), expected both");
        return Err(Error::new(Kind::Data, message).hint("Look at the target with GROUP BY."));
    }
    Ok(())
}

impl Newton {
    /// The first step, from the moments.
    fn begin(params: &ClassifierParams, moments: &Moments, cx: &Cx) -> Result<Newton> {
        let (d, weight) = (params.width(), moments.weight);
        let share = moments.classes[1] / weight;
        let coordinates =
            Coordinates::of(moments, &params.names, params.fit_intercept, params.c.is_none(), cx)?;
        let penalty = coordinates.penalty(params.c, weight);
        let n = coordinates.width();

        // At w = 0 every row has the same probability p: the Hessian is p (1 - p) times the second moments.
        let mut base = vec![0.0; n];
        let p = if params.fit_intercept { share } else { 0.5 };
        if params.fit_intercept {
            base[d] = (p / (1.0 - p)).ln();
        }
        let mut hessian = coordinates.square(moments);
        hessian.iter_mut().for_each(|h| *h *= p * (1.0 - p));
        let mut beta = moments.with_target(params.fit_intercept);
        beta.resize(n, 0.0);
        for j in 0..d {
            // sum (y - p) u, where p is the mean of y or, without an intercept, a half
            let off = if params.fit_intercept { 0.0 } else { p * moments.mean[j] };
            beta[j] = (beta[j] / weight - off) * coordinates.inverse[j];
            hessian[j * n + j] += penalty[j];
        }
        solve::Factor::new(&hessian, n, cx)?.solve(&mut beta);
        beta.iter_mut().zip(&base).for_each(|(b, base)| *b += base);
        let objective = -(share * p.ln() + (1.0 - share) * (1.0 - p).ln());
        cx.observer.metric(0, "train_loss", objective);
        let spread = moments.spread();
        let job = JobState {
            spread,
            penalty,
            weight,
            base,
            objective,
            passes: 1,
            halvings: 0,
            null: (share / (1.0 - share)).ln(),
        };
        Ok(Newton { coordinates, beta, job })
    }

    fn add(&self, chunk: &Chunk, sums: &mut Curvature, cx: &Cx) -> Result<()> {
        let (d, n) = (self.coordinates.center.len(), self.coordinates.width());
        let step = dense::rows_at_once(n).min(chunk.rows);
        let (mut u, mut residual) = (vec![0.0; step * n], vec![0.0; step]);
        let ones = [1.0; dense::MAX_ROWS];
        for start in (0..chunk.rows).step_by(step.max(1)) {
            cx.check()?;
            let rows = step.min(chunk.rows - start);
            let (u, residual) = (&mut u[..rows * n], &mut residual[..rows]);
            self.coordinates.transform(&chunk.x[start * d..(start + rows) * d], rows, u);
            dense::margins(u, rows, n, &self.beta, 1, residual);
            // In place: margins become residuals; losses and the roots of the Hessian's weights are kept aside.
            let (mut losses, mut roots) = ([0.0; dense::MAX_ROWS], [0.0; dense::MAX_ROWS]);
            let y = &chunk.y[start..start + rows];
            let weight = if chunk.weight.is_empty() { &ones[..] } else { &chunk.weight[start..start + rows] };
            dense::vectorized(
                #[inline(always)]
                || {
                    let rows = residual.iter_mut().zip(y).zip(weight).zip(&mut losses).zip(&mut roots);
                    for ((((r, y), w), loss), root) in rows {
                        let m = *r;
                        let e = dense::exp(-m.abs());
                        let p = (if m >= 0.0 { 1.0 } else { e }) / (1.0 + e);
                        // -log likelihood: log(1 + exp(m)) - y m
                        *loss = w * (m.max(0.0) + dense::ln_1p(e) - y * m);
                        *root = (w * p * (1.0 - p)).sqrt();
                        *r = w * (p - y);
                    }
                },
            );
            sums.loss += dense::sum(&losses[..rows]);
            dense::add_product(residual, rows, 1, u, n, &mut sums.gradient);
            dense::vectorized(
                #[inline(always)]
                || {
                    for (u, root) in u.chunks_exact_mut(n.max(1)).zip(roots) {
                        u.iter_mut().for_each(|u| *u *= root);
                    }
                },
            );
            dense::add_square(u, rows, n, &mut sums.hessian);
        }
        Ok(())
    }

    fn advance(
        mut self: Box<Self>,
        params: &ClassifierParams,
        mut sums: Curvature,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        let n = self.beta.len();
        let job = &mut self.job;
        job.passes += 1;
        cx.observer.progress(job.passes, params.max_iter, "passes");
        let loss = sums.loss / job.weight;
        let penalty = self.beta.iter().zip(&job.penalty).map(|(b, p)| 0.5 * p * b * b).sum::<f64>();
        let objective = loss + penalty;
        let rose = objective.is_nan() || objective > job.objective + 1e-12 * job.objective.abs();
        if rose && job.halvings < 40 && job.passes < params.max_iter {
            job.halvings += 1;
            self.beta.iter_mut().zip(&job.base).for_each(|(b, base)| *b = 0.5 * (*b + base));
            return Ok(Step::Again(State::Curvature(self)));
        }
        if !objective.is_finite() {
            return Err(not_finite("the loss"));
        }
        cx.observer.metric(job.passes - 1, "train_loss", loss);

        for j in 0..n {
            sums.gradient[j] = sums.gradient[j] / job.weight + job.penalty[j] * self.beta[j];
            for i in j..n {
                sums.hessian[i * n + j] /= job.weight;
            }
            sums.hessian[j * n + j] += job.penalty[j];
        }
        let mut direction = sums.gradient.clone();
        solve::Factor::new(&sums.hessian, n, cx)?.solve(&mut direction);
        // Where classes are separable the gradient vanishes while the steps do not: both must be small.
        let settled = largest(&direction) <= 1e-3 * (1.0 + largest(&self.beta));
        let converged = largest(&sums.gradient) <= params.tol && settled && !rose;
        let separated =
            params.c.is_none() && (loss < SEPARATED || (!settled && largest(&sums.gradient) < SEPARATED));
        let last = converged || separated || rose || job.passes >= params.max_iter;
        if !last {
            job.base.clone_from(&self.beta);
            job.objective = objective;
            job.halvings = 0;
        }
        if !last || converged {
            // After convergence the step is free, and squares the error that is left.
            self.beta.iter_mut().zip(&direction).for_each(|(b, step)| *b -= step);
        }
        if !last {
            return Ok(Step::Again(State::Curvature(self)));
        }
        if separated {
            cx.observer.warning(
                "logistic: the features separate the two classes, so the coefficients have no finite optimum; use penalty l2",
            );
        } else if !converged {
            cx.observer.warning(&format!(
                "logistic did not converge in {} passes; raise max_iter, or standardise the features",
                job.passes
            ));
        }
        if params.c.is_none() {
            let JobState { spread, weight, passes, null, .. } = self.job;
            let found = Optimum { spread, weight, passes, converged, separated };
            let point = Point::optimum(self.coordinates, self.beta, null, found);
            return Ok(Step::Again(State::Rest(Box::new(generalised::State::Point(Box::new(point))))));
        }
        let (coefficients, intercept) = self.coordinates.raw(&self.beta);
        if !coefficients.iter().chain([&intercept]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        let iterations = self.job.passes as u32;
        Ok(Step::Done(Model {
            response: Response::Binary(Link::Logit),
            coefficients,
            intercept: vec![intercept],
            spread: self.job.spread,
            trace: Trace { iterations, converged, loss },
            facts: vec![],
            statistics: None,
        }))
    }
}
