//! `ordinal`: ordered classes by cumulative probabilities (proportional odds, McCullagh 1980), by Newton's method.
//!
//! The probability of class `c` or a lower one is `F(threshold[c] - x'w)`, where `F` is the logistic or normal
//! distribution function, or `1 - exp(-exp(.))`: R's `polr`, statsmodels' `OrderedModel`. The order of the classes is that
//! of their labels: numbers ascending, texts by their bytes. Minimises the mean log loss plus `alpha / 2 * |w|^2`. The
//! likelihood is concave in slopes and thresholds together, so its own curvature serves for steps and errors.

use super::inference::{self, CONFIDENCE_LEVEL};
use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::pass::{add, scale_rows, steps};
use super::statistics::Statistics;
use super::{Coordinates, feature_names, largest, no_rows, not_finite, solve};
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The learner.
pub struct Ordinal;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    classes: usize,
    link: Link,
    alpha: f64,
    max_iter: usize,
    tol: f64,
    level: f64,
}

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// Sums at a point.
    Point(Box<Point>),
}

/// Where the descent stands: slopes, then thresholds.
#[derive(Serialize, Deserialize)]
pub struct Point {
    coordinates: Coordinates,
    beta: Vec<f64>,
    #[serde(skip)]
    job: Job,
}

#[derive(Default)]
struct Job {
    spread: Spread,
    l2: Vec<f64>,
    weight: f64,
    base: Vec<f64>,
    objective: f64,
    null: f64,
    passes: usize,
    steps: usize,
    halvings: usize,
}

/// Sums at a point: minus the log-likelihood, its gradient and its Hessian.
#[derive(Serialize, Deserialize)]
pub struct Sums {
    loss: f64,
    gradient: Vec<f64>,
    /// Slopes by slopes: lower triangle.
    slopes: Vec<f64>,
    /// Thresholds by slopes.
    cross: Vec<f64>,
    /// Thresholds by thresholds: lower triangle.
    thresholds: Vec<f64>,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first one.
    Moments(Moments),
    /// At a point.
    Sums(Sums),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Sums(a), Partial::Sums(b)) if a.cross.len() == b.cross.len() => {
                a.loss += b.loss;
                add(&mut a.gradient, &b.gradient);
                add(&mut a.slopes, &b.slopes);
                add(&mut a.cross, &b.cross);
                add(&mut a.thresholds, &b.thresholds);
                Ok(())
            }
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

impl Learner for Ordinal {
    const INFO: Info = Info {
        name: "ordinal",
        version: 2,
        summary: "Ordinal regression of ordered classes (proportional odds), with standard errors.",
        tasks: &[Task::Classification],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[
            Param::choice(
                "link",
                "logit",
                &["logit", "probit", "cloglog"],
                "Distribution of the cumulative probabilities: logit (proportional odds), probit or cloglog.",
            ),
            Param::float(
                "alpha",
                0.0,
                0.0,
                f64::MAX,
                "Strength of the L2 penalty, added to the mean log loss; with one there are no standard errors.",
            ),
            Param::int("max_iter", 100, 1, 100_000, "Passes over the rows at most."),
            Param::float(
                "tol",
                1e-9,
                1e-14,
                1.0,
                "Training has converged when a step changes no coefficient of standardised features by more than this part of the largest.",
            ),
            CONFIDENCE_LEVEL,
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
            classes: schema.classes,
            link: Link::parse(values.text("link")?).unwrap_or(Link::Logit),
            alpha: values.float("alpha")?,
            max_iter: values.count("max_iter")?,
            tol: values.float("tol")?,
            level: values.float("confidence_level")?,
        })
    }

    fn memory(_params: &Params, schema: &Schema) -> u64 {
        super::memory(schema.width() + schema.classes)
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &Params, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.names.len(), params.classes)),
            State::Point(point) => {
                let (d, k) = (point.coordinates.width(), params.classes - 1);
                Partial::Sums(Sums {
                    loss: 0.0,
                    gradient: vec![0.0; d + k],
                    slopes: vec![0.0; d * d],
                    cross: vec![0.0; k * d],
                    thresholds: vec![0.0; k * k],
                })
            }
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
            (State::Moments, Partial::Moments(moments)) => moments.add(chunk, cx),
            (State::Point(point), Partial::Sums(sums)) => point.add(params.link, chunk, sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => {
                Ok(Step::Again(State::Point(Box::new(Point::begin(params, &moments, cx)?))))
            }
            (State::Point(point), Partial::Sums(sums)) => point.advance(params, sums, cx),
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

/// What one side of a class's interval gives: distribution, density and its slope.
fn side(link: Link, at: f64) -> (f64, f64, f64) {
    if at == f64::INFINITY {
        (1.0, 0.0, 0.0)
    } else if at == f64::NEG_INFINITY {
        (0.0, 0.0, 0.0)
    } else {
        let (density, slope) = link.slopes(at);
        (link.mean(at), density, slope)
    }
}

/// The probability between two points. Far out on the right of a symmetric distribution it is taken on the left.
fn between(link: Link, low: f64, high: f64) -> f64 {
    if low > 0.0 && link != Link::CLogLog {
        side(link, -low).0 - side(link, -high).0
    } else {
        side(link, high).0 - side(link, low).0
    }
}

impl Point {
    /// Slopes of 0, and thresholds at the shares of the classes.
    fn begin(params: &Params, moments: &Moments, cx: &Cx) -> Result<Point> {
        if moments.weight == 0.0 {
            return Err(no_rows());
        }
        if !moments.finite() {
            return Err(not_finite("a sum of squares"));
        }
        if let Some(absent) = moments.classes.iter().position(|w| *w == 0.0) {
            let message =
                format!("class number {absent} has no training rows, and every ordered class needs some");
            return Err(Error::new(Kind::Data, message).hint("Use split => 'stratified', or 'none'."));
        }
        let mut coordinates = Coordinates::of(moments, &params.names, true, params.alpha == 0.0, cx)?;
        // The thresholds are the intercepts.
        coordinates.intercept = false;
        let d = params.names.len();
        let mut beta = vec![0.0; d];
        let mut below = 0.0;
        for class in &moments.classes[..params.classes - 1] {
            below += class / moments.weight;
            beta.push(params.link.predictor(below));
        }
        let null: f64 = moments.classes.iter().map(|w| w * (w / moments.weight).ln()).sum();
        let l2 = coordinates.inverse.iter().map(|inv| params.alpha * inv * inv).collect();
        let job = Job {
            spread: moments.spread(),
            l2,
            weight: moments.weight,
            objective: f64::INFINITY,
            null,
            passes: 1,
            ..Job::default()
        };
        Ok(Point { coordinates, beta, job })
    }

    fn add(&self, link: Link, chunk: &Chunk, sums: &mut Sums, cx: &Cx) -> Result<()> {
        let d = self.coordinates.width();
        let (slopes, thresholds) = self.beta.split_at(d);
        let k = thresholds.len();
        let (mut u, mut margin) = (vec![], vec![]);
        let (mut pull, mut bend, mut mixed) = (vec![], vec![], vec![]);
        for step in steps(d + k, chunk) {
            cx.check()?;
            let rows = step.len();
            u.resize(rows * d, 0.0);
            margin.resize(rows, 0.0);
            self.coordinates.transform(&chunk.x[step.start * d..step.end * d], rows, &mut u);
            dense::margins(&u, rows, d, slopes, 1, &mut margin);
            pull.clear();
            bend.clear();
            mixed.clear();
            mixed.resize(rows * k, 0.0);
            for (r, i) in step.enumerate() {
                let (w, m) = (chunk.weight(i), margin[r] + chunk.offset(i));
                let class = chunk.y[i] as usize;
                if class > k {
                    return Err(Error::internal(format!("a row has class {class} of {}", k + 1)));
                }
                let high = if class == k { f64::INFINITY } else { thresholds[class] - m };
                let low = if class == 0 { f64::NEG_INFINITY } else { thresholds[class - 1] - m };
                let p = between(link, low, high);
                if p.is_nan() || p <= 0.0 {
                    sums.loss = f64::INFINITY;
                    pull.push(0.0);
                    bend.push(0.0);
                    continue;
                }
                sums.loss -= w * p.ln();
                let ((_, fa, sa), (_, fb, sb)) = (side(link, high), side(link, low));
                // Of the log-likelihood, by the upper and the lower end.
                let (a, b) = (fa / p, -fb / p);
                let (aa, bb, ab) = (sa / p - a * a, -sb / p - b * b, -a * b);
                // Both ends fall with the predictor.
                pull.push(w * (a + b));
                bend.push((w * -(aa + 2.0 * ab + bb)).max(0.0).sqrt());
                if class < k {
                    sums.gradient[d + class] -= w * a;
                    sums.thresholds[class * k + class] -= w * aa;
                    mixed[r * k + class] = w * (aa + ab);
                }
                if class > 0 {
                    let below = class - 1;
                    sums.gradient[d + below] -= w * b;
                    sums.thresholds[below * k + below] -= w * bb;
                    mixed[r * k + below] = w * (bb + ab);
                    if class < k {
                        sums.thresholds[class * k + below] -= w * ab;
                    }
                }
            }
            dense::add_product(&pull, rows, 1, &u, d, &mut sums.gradient[..d]);
            dense::add_product(&mixed, rows, k, &u, d, &mut sums.cross);
            scale_rows(&mut u, d, &bend);
            dense::add_square(&u, rows, d, &mut sums.slopes);
        }
        Ok(())
    }

    fn advance(mut self: Box<Self>, params: &Params, sums: Sums, cx: &Cx) -> Result<Step<State, Model>> {
        let (d, n, weight) = (self.coordinates.width(), self.beta.len(), self.job.weight);
        let k = n - d;
        let job = &mut self.job;
        job.passes += 1;
        cx.observer.progress(job.passes, params.max_iter, "passes");
        let loss = sums.loss / weight;
        let objective = loss + self.beta.iter().zip(&job.l2).map(|(b, l)| 0.5 * l * b * b).sum::<f64>();
        let worse = !objective.is_finite() || objective > job.objective * (1.0 + 1e-12);
        let out = job.passes >= params.max_iter;
        if worse && job.halvings < 40 && !out && !job.base.is_empty() {
            job.halvings += 1;
            self.beta.iter_mut().zip(&job.base).for_each(|(b, base)| *b = 0.5 * (*b + base));
            return Ok(Step::Again(State::Point(self)));
        }
        if !objective.is_finite() {
            return Err(not_finite("the loss"));
        }
        cx.observer.metric(job.steps, "train_loss", loss);
        job.steps += 1;
        let mut hessian = vec![0.0; n * n];
        for i in 0..d {
            hessian[i * n..i * n + i + 1].copy_from_slice(&sums.slopes[i * d..i * d + i + 1]);
        }
        for i in 0..k {
            hessian[(d + i) * n..(d + i) * n + d].copy_from_slice(&sums.cross[i * d..(i + 1) * d]);
            hessian[(d + i) * n + d..(d + i) * n + d + i + 1]
                .copy_from_slice(&sums.thresholds[i * k..i * k + i + 1]);
        }
        let mut direction = sums.gradient.clone();
        for j in 0..d {
            direction[j] += weight * job.l2[j] * self.beta[j];
            hessian[j * n + j] += weight * job.l2[j];
        }
        let factor = solve::Factor::new(&hessian, n, cx)?;
        let steep = largest(&direction) / weight;
        factor.solve(&mut direction);
        let size = largest(&self.beta).max(1e-8);
        let left_out = self.coordinates.inverse.iter().filter(|inv| **inv == 0.0).count();
        let flat = factor.dropped.len() > left_out || (largest(&direction) > 1e-3 * size && steep < 1e-9);
        let converged = largest(&direction) <= params.tol * size && !flat && !worse;
        let last = converged || flat || worse || out;
        if worse {
            self.beta.clone_from(&job.base);
        } else {
            job.base.clone_from(&self.beta);
            (job.objective, job.halvings) = (objective, 0);
        }
        if !last || converged {
            self.beta.iter_mut().zip(&direction).for_each(|(b, d)| *b -= d);
        }
        if !last {
            return Ok(Step::Again(State::Point(self)));
        }
        if flat {
            cx.observer.warning(
                "ordinal: the features separate the classes, so the coefficients have no finite optimum; use alpha",
            );
        } else if !converged {
            let passes = self.job.passes;
            cx.observer.warning(&format!(
                "ordinal did not converge in {passes} passes; raise max_iter, or standardise the features"
            ));
        }
        self.model(params, &hessian, loss, converged, cx)
    }

    fn model(
        self,
        params: &Params,
        hessian: &[f64],
        loss: f64,
        converged: bool,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        let (d, n, weight) = (self.coordinates.width(), self.beta.len(), self.job.weight);
        let (slopes, own) = self.beta.split_at(d);
        let (coefficients, shift) = self.coordinates.raw(slopes);
        // `shift` is what the centers take off the function; the thresholds move with it.
        let thresholds: Vec<f64> = own.iter().map(|t| t - shift).collect();
        if !coefficients.iter().chain(&thresholds).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        let statistics = if params.alpha == 0.0 && converged && inference::wanted(n, cx) {
            let (inverse, _) = inference::inverse(hessian, n, cx)?;
            // Slopes by their spreads; a threshold takes its own and, through the centers, every slope.
            let mut map = vec![0.0; n * n];
            for j in 0..d {
                map[j * n + j] = self.coordinates.inverse[j];
                for t in d..n {
                    map[t * n + j] = self.coordinates.inverse[j] * self.coordinates.center[j];
                }
            }
            (d..n).for_each(|t| map[t * n + t] = 1.0);
            let covariance = inference::mapped(&inverse, n, &map, n)?;
            let level = params.level;
            Some(Box::new(Statistics { functions: vec![0], covariance, df: None, level, others: vec![] }))
        } else {
            None
        };
        let likelihood = -loss * weight;
        let rank = (n - self.coordinates.inverse.iter().filter(|inv| **inv == 0.0).count()) as f64;
        let mut facts = vec![
            ("observations".to_string(), weight),
            ("residual df".into(), weight - rank),
            ("log likelihood".into(), likelihood),
            ("aic".into(), 2.0 * (rank - likelihood)),
            ("bic".into(), rank * weight.ln() - 2.0 * likelihood),
            ("deviance".into(), -2.0 * likelihood),
            ("null deviance".into(), -2.0 * self.job.null),
            ("pseudo r2".into(), 1.0 - likelihood / self.job.null),
        ];
        facts.retain(|f| f.1.is_finite());
        Ok(Step::Done(Model {
            response: Response::Ordinal(params.link),
            coefficients,
            intercept: thresholds,
            spread: self.job.spread,
            trace: Trace { iterations: self.job.passes as u32, converged, loss },
            facts,
            statistics,
        }))
    }
}
