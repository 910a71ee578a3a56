//! `multinomial`: any number of classes by softmax, with a preconditioned L-BFGS.
//!
//! Minimises the mean log loss plus `|w|^2 / (2 C W)` over one coefficient vector a class (scikit-learn's
//! multinomial `LogisticRegression(C)`). The preconditioner is the fixed bound on the Hessian of Böhning (1992):
//! for directions that sum to zero over classes it is half the features' second moments, the same for every
//! class, so one small factor serves for all. Each pass then costs `2 * classes * features` a row.
//!
//! A class without rows (as a split may leave it) takes no part: its probability is 0.

use super::inference::{self, CONFIDENCE_LEVEL};
use super::lbfgs::{Lbfgs, Next};
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::statistics::Statistics;
use super::{
    C, ClassifierParams, Coordinates, FIT_INTERCEPT, MAX_ITER, TOL, largest, no_rows, not_finite, solve,
};
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The learner.
pub struct Multinomial;

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// The loss and its gradient at a point.
    Gradient(Box<Descent>),
    /// The information at the optimum.
    Information(Box<Information>),
}

/// The information at the optimum of a model without a penalty.
#[derive(Serialize, Deserialize)]
pub struct Information {
    coordinates: Coordinates,
    places: Vec<Option<usize>>,
    theta: Vec<f64>,
    #[serde(skip)]
    model: Option<Box<Model>>,
}

/// The descent between two passes.
#[derive(Serialize, Deserialize)]
pub struct Descent {
    coordinates: Coordinates,
    /// The place of each class among those that have rows; `None` without rows.
    places: Vec<Option<usize>>,
    /// The point to look at: one row of coordinates a class that has rows.
    theta: Vec<f64>,
    #[serde(skip)]
    job: Job,
}

/// What the job alone needs to know.
#[derive(Default)]
struct Job {
    spread: Spread,
    penalty: Vec<f64>,
    weight: f64,
    factor: Option<solve::Factor>,
    search: Lbfgs,
    passes: usize,
    /// The log-likelihood of the classes' shares alone.
    null: f64,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first pass.
    Moments(Moments),
    /// Of the others: the loss and its gradient, without the penalty.
    Gradient(f64, Vec<f64>),
    /// Of the last one: for each pair of classes but the first, products of coordinates times the product of their
    /// probabilities, and on the diagonal times `p (1 - p)`: lower triangles.
    Information(Vec<Vec<f64>>),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Gradient(loss, a), Partial::Gradient(other, b)) if a.len() == b.len() => {
                *loss += other;
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                Ok(())
            }
            (Partial::Information(a), Partial::Information(b)) if a.len() == b.len() => {
                a.iter_mut().zip(&b).for_each(|(a, b)| super::pass::add(a, b));
                Ok(())
            }
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

const PENALTY: Param = Param::choice(
    "penalty",
    "l2",
    &["l2", "none"],
    "Penalty on the coefficients; without one they are relative to the first class, and have standard errors.",
);

impl Learner for Multinomial {
    const INFO: Info = Info {
        name: "multinomial",
        version: 3,
        summary: "Softmax regression of two or more classes, with an L2 penalty, or with standard errors.",
        tasks: &[Task::Classification],
        input: Input::Matrix { scale: true },
        sharding: Sharding::Blocks,
        params: &[C, PENALTY, FIT_INTERCEPT, MAX_ITER, TOL, CONFIDENCE_LEVEL],
    };
    type Params = ClassifierParams;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<ClassifierParams> {
        ClassifierParams::read(values, schema)
    }

    fn memory(_params: &ClassifierParams, schema: &Schema) -> u64 {
        let wide = schema.width() + 1;
        super::memory(wide) + (30 * schema.classes * wide * 8) as u64
    }

    fn init(_params: &ClassifierParams, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &ClassifierParams, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.width(), params.classes)),
            State::Gradient(descent) => Partial::Gradient(0.0, vec![0.0; descent.theta.len()]),
            State::Information(at) => {
                let (n, k) = (at.coordinates.width(), at.places.iter().flatten().count());
                Partial::Information(vec![vec![0.0; n * n]; k * (k - 1) / 2])
            }
        }
    }

    fn accumulate(
        _params: &ClassifierParams,
        state: &State,
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        match (state, partial) {
            (_, _) if !chunk.offset.is_empty() => Err(Error::new(
                Kind::Unsupported,
                "multinomial takes no offsets: one for all classes changes nothing",
            )
            .hint("Leave offset_column out.")),
            (State::Moments, Partial::Moments(moments)) => moments.add(chunk, cx),
            (State::Gradient(descent), Partial::Gradient(loss, sums)) => descent.add(chunk, loss, sums, cx),
            (State::Information(at), Partial::Information(sums)) => at.add(chunk, sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(
        params: &ClassifierParams,
        state: State,
        total: Partial,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => {
                let descent = Descent::begin(params, &moments, cx)?;
                Ok(Step::Again(State::Gradient(Box::new(descent))))
            }
            (State::Gradient(descent), Partial::Gradient(loss, sums)) => {
                descent.advance(params, loss, sums, cx)
            }
            (State::Information(at), Partial::Information(sums)) => at.finish(params.level, &sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

impl Descent {
    /// The start, from the moments: intercepts are the log shares of the classes.
    fn begin(params: &ClassifierParams, moments: &Moments, cx: &Cx) -> Result<Descent> {
        if moments.weight == 0.0 {
            return Err(no_rows());
        }
        if !moments.finite() {
            return Err(not_finite("a sum of squares"));
        }
        let mut k = 0;
        let place = |w: &f64| (*w > 0.0).then(|| (k, k += 1).0);
        let places: Vec<Option<usize>> = moments.classes.iter().map(place).collect();
        if k < 2 {
            let message =
                format!("the training rows hold {k} class of {}, expected two or more", places.len());
            return Err(Error::new(Kind::Data, message).hint("Look at the target with GROUP BY."));
        }
        if k < places.len() {
            cx.observer.warning(&format!(
                "{} of {} classes have no training rows and get probability 0",
                places.len() - k,
                places.len()
            ));
        }
        let coordinates =
            Coordinates::of(moments, &params.names, params.fit_intercept, params.c.is_none(), cx)?;
        let n = coordinates.width();
        let penalty = coordinates.penalty(params.c, moments.weight);
        let mut bound = coordinates.square(moments);
        for j in 0..n {
            for i in j..n {
                bound[i * n + j] *= 0.5;
            }
            bound[j * n + j] += penalty[j];
        }
        let factor = Some(solve::Factor::new(&bound, n, cx)?);
        let mut theta = vec![0.0; k * n];
        if params.fit_intercept {
            for (class, place) in places.iter().enumerate() {
                if let Some(p) = place {
                    theta[p * n + n - 1] = (moments.classes[class] / moments.weight).ln();
                }
            }
        }
        let spread = moments.spread();
        let present = moments.classes.iter().filter(|w| **w > 0.0);
        let null = present.map(|w| w * (w / moments.weight).ln()).sum();
        let job = Job {
            spread,
            penalty,
            weight: moments.weight,
            factor,
            search: Lbfgs::default(),
            passes: 1,
            null,
        };
        Ok(Descent { coordinates, places, theta, job })
    }

    fn add(&self, chunk: &Chunk, loss: &mut f64, sums: &mut [f64], cx: &Cx) -> Result<()> {
        let (d, n) = (self.coordinates.center.len(), self.coordinates.width());
        let k = self.places.iter().flatten().count();
        let step = dense::rows_at_once(n.max(k)).min(chunk.rows);
        let (mut u, mut p) = (vec![0.0; step * n], vec![0.0; step * k]);
        let (mut own_margins, mut log_sums) = ([0.0; dense::MAX_ROWS], [0.0; dense::MAX_ROWS]);
        for start in (0..chunk.rows).step_by(step.max(1)) {
            cx.check()?;
            let rows = step.min(chunk.rows - start);
            let (u, p) = (&mut u[..rows * n], &mut p[..rows * k]);
            self.coordinates.transform(&chunk.x[start * d..(start + rows) * d], rows, u);
            dense::margins(u, rows, n, &self.theta, k, p);
            let y = &chunk.y[start..start + rows];
            for ((m, y), own) in p.chunks_exact(k).zip(y).zip(&mut own_margins) {
                let Some(Some(place)) = self.places.get(*y as usize).copied() else {
                    return Err(Error::internal(format!("a row has class {y}, which had no rows before")));
                };
                *own = m[place];
            }
            dense::softmax(p, k, &mut log_sums[..rows]);
            for (i, (p, y)) in p.chunks_exact_mut(k).zip(y).enumerate() {
                let w = chunk.weight(start + i);
                *loss += w * (log_sums[i] - own_margins[i]);
                if let Some(Some(place)) = self.places.get(*y as usize) {
                    p[*place] -= 1.0;
                }
                if w != 1.0 {
                    p.iter_mut().for_each(|p| *p *= w);
                }
            }
            dense::add_product(p, rows, k, u, n, sums);
        }
        Ok(())
    }

    fn advance(
        mut self: Box<Self>,
        params: &ClassifierParams,
        loss: f64,
        mut gradient: Vec<f64>,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        let n = self.coordinates.width();
        let job = &mut self.job;
        job.passes += 1;
        cx.observer.progress(job.passes, params.max_iter, "passes");
        let loss = loss / job.weight;
        let mut objective = loss;
        for (theta, gradient) in self.theta.chunks_exact(n.max(1)).zip(gradient.chunks_exact_mut(n.max(1))) {
            for ((g, t), penalty) in gradient.iter_mut().zip(theta).zip(&job.penalty) {
                *g = *g / job.weight + penalty * t;
                objective += 0.5 * penalty * t * t;
            }
        }
        // A step that is too long is shortened; a start that is not finite has no way on.
        if !objective.is_finite() && job.passes == 2 {
            return Err(not_finite("the loss"));
        }
        cx.observer.metric(job.passes - 2, "train_loss", loss);
        // Errors are only as right as the point that they are taken at.
        let tol = if params.c.is_none() { params.tol.min(1e-9) } else { params.tol };
        let mut converged = largest(&gradient) <= tol;
        let out = job.passes >= params.max_iter;
        if !converged {
            let factor = job.factor.as_ref().ok_or_else(|| Error::internal("the job lost its factor"))?;
            let precondition = |v: &mut [f64]| v.chunks_exact_mut(n.max(1)).for_each(|v| factor.solve(v));
            let roughly = largest(&gradient) <= 1e-7;
            match job.search.next(&self.theta, objective, gradient, precondition) {
                Next::At(theta) if !out => {
                    self.theta = theta;
                    return Ok(Step::Again(State::Gradient(self)));
                }
                Next::At(_) => {}
                Next::Stalled(best) => {
                    self.theta = best;
                    converged = roughly;
                }
            }
        }
        if !converged {
            cx.observer.warning(&format!(
                "multinomial did not converge in {} passes; raise max_iter, or use penalty l2 if classes are separable",
                job.passes
            ));
        }
        self.finish(params, converged, loss, cx)
    }

    /// The model for raw features. Adding a vector to every class changes nothing: sums over classes are made 0, or,
    /// without a penalty, the coefficients of the first class, with which the others are then compared.
    fn finish(
        mut self: Box<Self>,
        params: &ClassifierParams,
        converged: bool,
        loss: f64,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        let (d, n) = (self.coordinates.center.len(), self.coordinates.width());
        let k = self.places.iter().flatten().count();
        let (mut functions, mut own): (Vec<Vec<f64>>, Vec<f64>) =
            (0..k).map(|p| self.coordinates.raw(&self.theta[p * n..(p + 1) * n])).unzip();
        let free = params.c.is_none();
        let base = |all: &mut dyn Iterator<Item = f64>| {
            if free { all.next().unwrap_or(0.0) } else { all.sum::<f64>() / k as f64 }
        };
        for j in 0..d {
            let base = base(&mut functions.iter().map(|f| f[j]));
            functions.iter_mut().for_each(|f| f[j] -= base);
        }
        let base = base(&mut own.iter().copied());
        own.iter_mut().for_each(|b| *b -= base);
        if !functions.iter().flatten().chain(&own).chain([&loss]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        let mut coefficients = vec![];
        let mut intercept = vec![];
        for place in &self.places {
            match place {
                Some(p) => {
                    coefficients.extend_from_slice(&functions[*p]);
                    intercept.push(own[*p]);
                }
                None => {
                    coefficients.resize(coefficients.len() + d, 0.0);
                    intercept.push(f64::MIN);
                }
            }
        }
        let (passes, weight) = (self.job.passes, self.job.weight);
        let trace = Trace { iterations: passes as u32, converged, loss };
        let left_out = self.coordinates.inverse.iter().filter(|inv| **inv == 0.0).count();
        let (rank, likelihood, null) = (((k - 1) * (n - left_out)) as f64, -loss * weight, self.job.null);
        let mut facts = vec![("observations".to_string(), weight), ("log likelihood".into(), likelihood)];
        if free {
            facts.extend([
                ("aic".into(), 2.0 * (rank - likelihood)),
                ("bic".into(), rank * weight.ln() - 2.0 * likelihood),
            ]);
        }
        facts.push(("pseudo r2".into(), 1.0 - likelihood / null));
        facts.retain(|f| f.1.is_finite());
        let spread = std::mem::take(&mut self.job.spread);
        let response = Response::Softmax;
        let model = Model { response, coefficients, intercept, spread, trace, facts, statistics: None };
        if !(free && converged && inference::wanted((k - 1) * n, cx)) {
            return Ok(Step::Done(model));
        }
        let Descent { coordinates, places, theta, .. } = *self;
        let model = Some(Box::new(model));
        Ok(Step::Again(State::Information(Box::new(Information { coordinates, places, theta, model }))))
    }
}

impl Information {
    fn add(&self, chunk: &Chunk, sums: &mut [Vec<f64>], cx: &Cx) -> Result<()> {
        let (d, n) = (self.coordinates.center.len(), self.coordinates.width());
        let k = self.places.iter().flatten().count();
        let (mut u, mut p, mut scaled, mut roots) = (vec![], vec![], vec![], vec![]);
        let mut log_sums = [0.0; dense::MAX_ROWS];
        for step in super::pass::steps(n.max(k), chunk) {
            let rows = step.len();
            u.resize(rows * n, 0.0);
            p.resize(rows * k, 0.0);
            self.coordinates.transform(&chunk.x[step.start * d..step.end * d], rows, &mut u);
            dense::margins(&u, rows, n, &self.theta, k, &mut p);
            dense::softmax(&mut p, k, &mut log_sums[..rows]);
            let pairs = (1..k).flat_map(|a| (1..=a).map(move |b| (a, b)));
            for ((a, b), sum) in pairs.zip(sums.iter_mut()) {
                cx.check()?;
                roots.clear();
                for (p, i) in p.chunks_exact(k).zip(step.clone()) {
                    let product = if a == b { p[a] * (1.0 - p[a]) } else { p[a] * p[b] };
                    roots.push((chunk.weight(i) * product).sqrt());
                }
                scaled.clone_from(&u);
                super::pass::scale_rows(&mut scaled, n, &roots);
                dense::add_square(&scaled, rows, n, sum);
            }
        }
        Ok(())
    }

    fn finish(self, level: f64, sums: &[Vec<f64>], cx: &Cx) -> Result<Step<State, Model>> {
        let n = self.coordinates.width();
        let others = self.places.iter().flatten().count() - 1;
        let p = others * n;
        let mut lower = vec![0.0; p * p];
        let pairs = (0..others).flat_map(|a| (0..=a).map(move |b| (a, b)));
        for ((a, b), sum) in pairs.zip(sums) {
            let sign = if a == b { 1.0 } else { -1.0 };
            for i in 0..n {
                for j in 0..=i {
                    let v = sign * sum[i * n + j];
                    lower[(a * n + i) * p + b * n + j] = v;
                    if a != b {
                        lower[(a * n + j) * p + b * n + i] = v;
                    }
                }
            }
        }
        let (inverse, _) = inference::inverse(&lower, p, cx)?;
        let covariance = self.coordinates.raw_covariance(&inverse, others)?;
        let present = self.places.iter().enumerate().filter(|(_, place)| place.is_some()).map(|(c, _)| c);
        let functions = present.skip(1).collect();
        let Some(mut model) = self.model else {
            return Err(Error::internal("the job lost its model"));
        };
        model.statistics =
            Some(Box::new(Statistics { functions, covariance, df: None, level, others: vec![] }));
        Ok(Step::Done(*model))
    }
}
