//! `glm` and its shorthands `poisson`, `gamma`, `negative_binomial` and `tweedie`: one learner for every family and
//! link, by Newton's method with step halving (iteratively reweighted least squares).
//!
//! Minimises the mean of half the unit deviances plus
//! `alpha * (l1_ratio * |w|_1 + (1 - l1_ratio) / 2 * |w|^2)`, as scikit-learn's `PoissonRegressor` and its siblings,
//! with `alpha` 0 where nobody asks for a penalty, as in statsmodels. The first pass takes moments; the second starts
//! from the targets themselves, as iteratively reweighted least squares do; then one pass a step; one at the optimum for
//! likelihood, deviance and information; and, for robust errors, one more.

use super::family::{Family, Rows};
use super::inference::{self, CONFIDENCE_LEVEL, COV_TYPE, CovType, Meat, MeatSums, Request};
use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::{Moments, Spread};
use super::pass::{self, Sums};
use super::quadratic::Quadratic;
use super::{
    ClassifierParams, Coordinates, FIT_INTERCEPT, feature_names, largest, no_rows, not_finite, solve,
};
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// One of the algorithms below, by its number.
pub struct Generalised<const WHICH: usize>;

/// `glm`: any family and link.
pub const GLM: usize = 0;
/// `poisson`.
pub const POISSON: usize = 1;
/// `gamma`.
pub const GAMMA: usize = 2;
/// `negative_binomial`.
pub const NEGATIVE_BINOMIAL: usize = 3;
/// `tweedie`.
pub const TWEEDIE: usize = 4;

const ALPHA: Param = Param::float(
    "alpha",
    0.0,
    0.0,
    f64::MAX,
    "Strength of the penalty on the coefficients, added to the mean of half the unit deviances; with one there are no standard errors.",
);
const L1_RATIO: Param = Param::float(
    "l1_ratio",
    0.0,
    0.0,
    1.0,
    "Share of the penalty that is on absolute values (lasso); the rest is on squares (ridge).",
);
const MAX_ITER: Param = Param::int("max_iter", 100, 1, 100_000, "Passes over the rows at most.");
const TOL: Param = Param::float(
    "tol",
    1e-9,
    1e-14,
    1.0,
    "Training has converged when a step changes no coefficient of standardised features by more than this part of the largest.",
);
const LINKS: &[&str] =
    &["identity", "log", "logit", "probit", "cloglog", "inverse", "inverse_squared", "sqrt"];
const LINK: Param = Param::choice(
    "link",
    "log",
    LINKS,
    "Link between mean and linear predictor, by statsmodels' names; not every family has every link.",
);
const DISPERSION: Param = Param::float(
    "dispersion",
    1.0,
    1e-6,
    1e6,
    "The alpha of a negative binomial, whose variance is mean + dispersion * mean^2 (NB2); estimated by maximum likelihood where it is left out.",
)
.optional();
const POWER: Param = Param::float(
    "power",
    1.5,
    1.0,
    2.0,
    "Power of the mean that the variance of a Tweedie distribution is proportional to: 1 is Poisson's, 2 is gamma's.",
)
.alias(&["var_power", "tweedie_variance_power"]);

const INFOS: [Info; 5] = [
    Info {
        name: "glm",
        version: 2,
        summary: "Generalised linear model of any family and link, with standard errors.",
        tasks: &[Task::Regression, Task::Classification],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[
            Param::choice(
                "family",
                "gaussian",
                &["gaussian", "binomial", "poisson", "gamma", "negative_binomial", "tweedie"],
                "Family of the target; where it is left out, binomial for classification and gaussian for regression.",
            )
            .optional(),
            Param {
                meaning: "Link between mean and linear predictor, by statsmodels' names; where it is left out, identity for gaussian, logit for binomial and log for the others.",
                ..LINK
            }
            .optional(),
            DISPERSION,
            POWER,
            ALPHA,
            L1_RATIO,
            FIT_INTERCEPT,
            MAX_ITER,
            TOL,
            COV_TYPE,
            CONFIDENCE_LEVEL,
        ],
    },
    Info {
        name: "poisson",
        version: 2,
        summary: "Poisson regression of counts or rates.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[LINK, ALPHA, L1_RATIO, FIT_INTERCEPT, MAX_ITER, TOL, COV_TYPE, CONFIDENCE_LEVEL],
    },
    Info {
        name: "gamma",
        version: 2,
        summary: "Gamma regression of amounts above 0, with a log link by default.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[LINK, ALPHA, L1_RATIO, FIT_INTERCEPT, MAX_ITER, TOL, COV_TYPE, CONFIDENCE_LEVEL],
    },
    Info {
        name: "negative_binomial",
        version: 2,
        summary: "Negative binomial regression (NB2) of counts that vary more than Poisson's.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[
            DISPERSION, LINK, ALPHA, L1_RATIO, FIT_INTERCEPT, MAX_ITER, TOL, COV_TYPE, CONFIDENCE_LEVEL,
        ],
    },
    Info {
        name: "tweedie",
        version: 2,
        summary: "Tweedie regression of amounts of 0 or more, such as claims.",
        tasks: &[Task::Regression],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[POWER, LINK, ALPHA, L1_RATIO, FIT_INTERCEPT, MAX_ITER, TOL, COV_TYPE, CONFIDENCE_LEVEL],
    },
];

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    name: &'static str,
    names: Vec<String>,
    family: Family,
    link: Link,
    /// Whether the negative binomial's dispersion is estimated.
    estimated: bool,
    binary: bool,
    alpha: f64,
    l1_ratio: f64,
    fit_intercept: bool,
    max_iter: usize,
    tol: f64,
    request: Request,
}

/// What is known of an optimum that another learner found.
pub(super) struct Optimum {
    pub spread: Spread,
    pub weight: f64,
    pub passes: usize,
    pub converged: bool,
    pub separated: bool,
}

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// Sums at a point.
    Point(Box<Point>),
    /// Squares of scores at the optimum.
    Meat(Box<Scores>),
}

/// What is asked of the rows at a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// A first step from the targets.
    Start,
    /// A step of Newton's method.
    Step,
    /// All that is known at the optimum.
    Final,
}

/// Where the descent stands.
#[derive(Serialize, Deserialize)]
pub struct Point {
    stage: Stage,
    coordinates: Coordinates,
    beta: Vec<f64>,
    family: Family,
    /// The mean of the targets.
    center: f64,
    /// The predictor of the model that has an intercept alone, beside the offsets.
    null: f64,
    #[serde(skip)]
    job: Job,
}

/// The last round of robust errors.
#[derive(Serialize, Deserialize)]
pub struct Scores {
    meat: Meat,
    family: Family,
    #[serde(skip)]
    rest: Option<(Box<Model>, Vec<f64>, f64, usize)>,
}

#[derive(Default)]
struct Job {
    spread: Spread,
    l1: Vec<f64>,
    l2: Vec<f64>,
    weight: f64,
    /// The best point so far with its `ln dispersion`, and its objective.
    base: (Vec<f64>, f64),
    objective: f64,
    passes: usize,
    steps: usize,
    halvings: usize,
    converged: bool,
    separated: bool,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first one.
    Moments(Moments),
    /// At a point: what its stage asks for; at the last, also with the observed curvature.
    Sums(Sums, Option<Box<Sums>>),
    /// Of scores.
    Meat(MeatSums),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Sums(a, None), Partial::Sums(b, None)) => a.merge(b),
            (Partial::Sums(a, Some(x)), Partial::Sums(b, Some(y))) => {
                a.merge(b)?;
                x.merge(*y)
            }
            (Partial::Meat(a), Partial::Meat(b)) => a.merge(b),
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

/// The other sums of a step: the null model's slope and curvature, the dispersion's two derivatives, and whether
/// there are offsets, and of the first the loss without slopes. Of the last pass: deviance, Pearson's chi-square, log densities, the null model's deviance,
/// and the dispersion's two derivatives.
const OTHERS: usize = 6;

impl<const WHICH: usize> Learner for Generalised<WHICH> {
    const INFO: Info = INFOS[WHICH];
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let binary = schema.task == Task::Classification;
        let given = match WHICH {
            GLM | NEGATIVE_BINOMIAL => values.opt_float("dispersion")?,
            _ => None,
        };
        let negative_binomial = Family::NegativeBinomial { alpha: given.unwrap_or(1.0) };
        let tweedie = || -> Result<Family> {
            let power = values.float("power")?;
            // At the ends the density is another family's, with its own exact likelihood.
            Ok(match power {
                1.0 => Family::Poisson,
                2.0 => Family::Gamma,
                _ => Family::Tweedie { power },
            })
        };
        let family = match WHICH {
            POISSON => Family::Poisson,
            GAMMA => Family::Gamma,
            NEGATIVE_BINOMIAL => negative_binomial,
            TWEEDIE => tweedie()?,
            _ => match values.json("family")?.as_str() {
                None if binary => Family::Binomial,
                None | Some("gaussian") => Family::Gaussian,
                Some("binomial") => Family::Binomial,
                Some("poisson") => Family::Poisson,
                Some("gamma") => Family::Gamma,
                Some("tweedie") => tweedie()?,
                Some(_) => negative_binomial,
            },
        };
        let name = Self::INFO.name;
        if binary && schema.classes != 2 {
            let message = format!("{name} takes a target of 2 classes, found {}", schema.classes);
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Use algorithm => 'multinomial', or 'ordinal' for ordered classes."));
        }
        if binary && family != Family::Binomial {
            let message =
                format!("family \"{}\" is for numbers, and the target is of classes", family.name());
            return Err(Error::new(Kind::Parameter, message)
                .hint("Use family binomial, or task => 'regression' for a target of integers."));
        }
        let link = values.json("link")?.as_str().and_then(Link::parse).unwrap_or(family.default_link());
        if !family.links().contains(&link) {
            let can: Vec<&str> = family.links().iter().map(|l| l.name()).collect();
            let message = format!(
                "link \"{}\" does not go with family \"{}\", expected one of {}",
                link.name(),
                family.name(),
                can.join(", ")
            );
            return Err(Error::new(Kind::Parameter, message));
        }
        let estimated = matches!(family, Family::NegativeBinomial { .. }) && given.is_none();
        if estimated && link != Link::Log {
            let message =
                format!("the dispersion is estimated with link \"log\" only, found \"{}\"", link.name());
            return Err(Error::new(Kind::Unsupported, message).hint("Give the dispersion."));
        }
        let request = Request::read(values)?;
        let alpha = values.float("alpha")?;
        request.check_penalty(alpha > 0.0)?;
        if estimated && matches!(request.cov_type, CovType::Hc(2 | 3)) {
            let message = "HC2 and HC3 need leverages, which an estimated dispersion does not have";
            return Err(
                Error::new(Kind::Unsupported, message).hint("Use HC0 or HC1, or give the dispersion.")
            );
        }
        Ok(Params {
            name,
            names: feature_names(schema),
            family,
            link,
            estimated,
            binary,
            alpha,
            l1_ratio: values.float("l1_ratio")?,
            fit_intercept: values.bool("fit_intercept")?,
            max_iter: values.count("max_iter")?,
            tol: values.float("tol")?,
            request,
        })
    }

    fn memory(_params: &Params, schema: &Schema) -> u64 {
        2 * super::memory(schema.width() + 2)
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &Params, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.names.len(), 0)),
            State::Point(point) => {
                let sums = Sums::zero(point.coordinates.width(), params.estimated, OTHERS);
                let second = point.stage == Stage::Final && params.observed();
                Partial::Sums(sums.clone(), second.then(|| Box::new(sums)))
            }
            State::Meat(scores) => Partial::Meat(scores.meat.zero()),
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
                params.family.check(chunk.y)?;
                moments.add(chunk, cx)
            }
            (State::Point(point), Partial::Sums(sums, second)) => point.add(params, chunk, sums, second, cx),
            (State::Meat(scores), Partial::Meat(sums)) => scores.meat.add(chunk, sums, cx, |y, rows| {
                scores_of(scores.family, params, y, rows);
                Ok(())
            }),
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => {
                Ok(Step::Again(State::Point(Box::new(Point::begin(params, params.alpha, &moments, cx)?))))
            }
            (State::Point(point), Partial::Sums(sums, second)) => match point.stage {
                Stage::Start | Stage::Step => point.advance(params, sums, cx),
                Stage::Final => point.finish(params, sums, second, cx),
            },
            (State::Meat(scores), Partial::Meat(sums)) => scores.finish(params, sums),
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

/// Scores by the predictor, expected information and scores by the dispersion, from margins.
fn scores_of(family: Family, params: &Params, y: &[f64], rows: &mut Rows) {
    for (i, y) in y.iter().enumerate() {
        let m = rows.margin[i];
        let mean = params.link.mean(m);
        let (first, variance) = (params.link.slopes(m).0, family.variance(mean).0.max(1e-300));
        rows.slope[i] = (mean - y) / variance * first;
        rows.curvature[i] = first * first / variance;
        rows.cross[i] = match family {
            Family::NegativeBinomial { alpha } if params.estimated => {
                Family::dispersion(alpha, *y, m).0 / alpha
            }
            _ => 0.0,
        };
    }
}

impl Params {
    /// Two classes by the logit, for `logistic`.
    pub(super) fn logistic(of: &ClassifierParams, l1_ratio: f64, request: Request) -> Params {
        Params {
            name: "logistic",
            names: of.names.clone(),
            family: Family::Binomial,
            link: Link::Logit,
            estimated: false,
            binary: true,
            alpha: of.c.map_or(0.0, |c| 1.0 / c),
            l1_ratio,
            fit_intercept: of.fit_intercept,
            max_iter: of.max_iter,
            tol: (0.01 * of.tol).min(1e-8),
            request,
        }
    }

    /// Whether the last pass must take the observed information beside the expected one.
    fn observed(&self) -> bool {
        self.estimated || self.request.robust()
    }

    fn penalised(&self) -> bool {
        self.alpha > 0.0
    }
}

impl Point {
    /// At an optimum that another learner found: what is left is to look at it. `null` is the predictor of the model
    /// of an intercept alone.
    pub(super) fn optimum(coordinates: Coordinates, beta: Vec<f64>, null: f64, found: Optimum) -> Point {
        let Optimum { spread, weight, passes, converged, separated } = found;
        let job = Job { spread, weight, passes, converged, separated, ..Job::default() };
        let center = Link::Logit.mean(null);
        Point { stage: Stage::Final, coordinates, beta, family: Family::Binomial, center, null, job }
    }

    /// The start from the targets, with a penalty of strength `alpha`.
    pub(super) fn begin(params: &Params, alpha: f64, moments: &Moments, cx: &Cx) -> Result<Point> {
        if moments.weight == 0.0 {
            return Err(no_rows());
        }
        if !moments.finite() {
            return Err(not_finite("a sum of squares"));
        }
        let d = params.names.len();
        let (center, weight) = (moments.mean[d], moments.weight);
        let same = match params.family {
            Family::Binomial => center <= 0.0 || center >= 1.0,
            Family::Gaussian => false,
            _ => center <= 0.0,
        };
        if same {
            let message = format!("all targets are {center}: the best fit has no finite coefficients");
            return Err(Error::new(Kind::Data, message).hint("Look at the target with GROUP BY."));
        }
        let family = match params.family {
            Family::NegativeBinomial { .. } if params.estimated => {
                let variance = moments.product(d, d, true) / weight;
                Family::NegativeBinomial {
                    alpha: ((variance - center) / (center * center)).clamp(0.01, 100.0),
                }
            }
            other => other,
        };
        let null = params.link.predictor(center);
        if !null.is_finite() {
            let message = format!(
                "the mean of the targets is {center}, which link \"{}\" does not reach",
                params.link.name()
            );
            return Err(Error::new(Kind::Data, message).hint("Choose another link."));
        }
        let coordinates =
            Coordinates::of(moments, &params.names, params.fit_intercept, !params.penalised(), cx)?;
        let n = coordinates.width();
        let (mut l1, mut l2): (Vec<f64>, Vec<f64>) = coordinates
            .inverse
            .iter()
            .map(|inv| (alpha * params.l1_ratio * inv, alpha * (1.0 - params.l1_ratio) * inv * inv))
            .unzip();
        l1.resize(n, 0.0);
        l2.resize(n, 0.0);
        let mut constant = vec![0.0; n];
        if params.fit_intercept {
            constant[d] = null;
        }
        let job = Job {
            spread: moments.spread(),
            l1,
            l2,
            weight,
            base: (constant, alpha_of(family).ln()),
            objective: f64::INFINITY,
            passes: 1,
            ..Job::default()
        };
        Ok(Point { stage: Stage::Start, beta: vec![0.0; n], coordinates, family, center, null, job })
    }

    fn add(
        &self,
        params: &Params,
        chunk: &Chunk,
        sums: &mut Sums,
        second: &mut Option<Box<Sums>>,
        cx: &Cx,
    ) -> Result<()> {
        let (family, link) = (self.family, params.link);
        let alpha = alpha_of(family);
        match self.stage {
            Stage::Start => sums.add(&self.coordinates, &self.beta, chunk, cx, |y, _, rows, _| {
                let mut offset = [0.0; dense::MAX_ROWS];
                for (i, y) in y.iter().enumerate() {
                    offset[i] = rows.margin[i];
                    let m = link.predictor(family.start(*y, self.center));
                    rows.margin[i] = if m.is_finite() { m } else { self.null };
                }
                family.rows(link, y, rows);
                for (i, offset) in offset.iter().enumerate().take(y.len()) {
                    // The gradient of the working squares at 0: a step from there solves them.
                    rows.slope[i] -= rows.curvature[i] * (rows.margin[i] - offset);
                }
                Ok(())
            })?,
            Stage::Step => {
                sums.add(&self.coordinates, &self.beta, chunk, cx, |y, weight, rows, others| {
                    family.rows(link, y, rows);
                    if params.estimated {
                        for (i, (y, w)) in y.iter().zip(weight).enumerate() {
                            let m = rows.margin[i];
                            let (once, twice, cross) = Family::dispersion(alpha, *y, m);
                            others[2] += w * once;
                            others[3] += w * twice;
                            rows.cross[i] = cross;
                            rows.loss[i] = -family.log_density(*y, link.mean(m));
                        }
                    }
                    Ok(())
                })?
            }
            Stage::Final => {
                sums.add(&self.coordinates, &self.beta, chunk, cx, |y, weight, rows, others| {
                    for (i, (y, w)) in y.iter().zip(weight).enumerate() {
                        let mean = link.mean(rows.margin[i]);
                        let variance = family.variance(mean).0.max(1e-300);
                        others[0] += w * family.deviance(*y, mean);
                        others[1] += w * (y - mean) * (y - mean) / variance;
                        others[2] += w * family.log_density(*y, mean) + family.trials(*y, *w);
                    }
                    scores_of(family, params, y, rows);
                    Ok(())
                })?;
                if let Some(second) = second {
                    self.add_observed(params, chunk, second, cx)?;
                }
            }
        }
        self.add_null(params, chunk, sums);
        if self.stage == Stage::Start {
            self.add_constant(params, chunk, sums);
        }
        Ok(())
    }

    /// The observed information, which may be negative in single rows.
    fn add_observed(&self, params: &Params, chunk: &Chunk, sums: &mut Sums, cx: &Cx) -> Result<()> {
        let (family, link) = (self.family, params.link);
        let alpha = alpha_of(family);
        sums.add(&self.coordinates, &self.beta, chunk, cx, |y, weight, rows, others| {
            for (i, (y, w)) in y.iter().zip(weight).enumerate() {
                let m = rows.margin[i];
                rows.curvature[i] = family.observed(link, *y, m);
                (rows.loss[i], rows.slope[i]) = (0.0, 0.0);
                if params.estimated {
                    let (once, twice, cross) = Family::dispersion(alpha, *y, m);
                    // By alpha itself: d/dalpha = (1 / alpha) d/dt
                    others[5] += w * (twice - once) / (alpha * alpha);
                    rows.cross[i] = cross / alpha;
                }
            }
            Ok(())
        })
    }

    /// The loss without slopes, which the first step must not exceed.
    fn add_constant(&self, params: &Params, chunk: &Chunk, sums: &mut Sums) {
        let (family, link) = (self.family, params.link);
        let own = if params.fit_intercept { self.null } else { 0.0 };
        let mut rows = Rows::new();
        for step in pass::steps(1, chunk) {
            for (margin, i) in rows.margin.iter_mut().zip(step.clone()) {
                *margin = own + chunk.offset(i);
            }
            let y = &chunk.y[step.clone()];
            family.rows(link, y, &mut rows);
            for (k, i) in step.enumerate() {
                let loss = if params.estimated {
                    -family.log_density(y[k], link.mean(rows.margin[k]))
                } else {
                    rows.loss[k]
                };
                sums.others[5] += chunk.weight(i) * loss;
            }
        }
    }

    /// The model of an intercept alone, where offsets leave it no closed form.
    fn add_null(&self, params: &Params, chunk: &Chunk, sums: &mut Sums) {
        let (family, link) = (self.family, params.link);
        if self.stage == Stage::Final {
            for i in 0..chunk.rows {
                let mean = link.mean(self.null + chunk.offset(i));
                sums.others[3] += chunk.weight(i) * family.deviance(chunk.y[i], mean);
            }
        } else if !chunk.offset.is_empty() {
            let mut rows = Rows::new();
            for step in pass::steps(1, chunk) {
                for (margin, offset) in rows.margin.iter_mut().zip(&chunk.offset[step.clone()]) {
                    *margin = self.null + offset;
                }
                family.rows(link, &chunk.y[step.clone()], &mut rows);
                for (k, i) in step.enumerate() {
                    sums.others[0] += chunk.weight(i) * rows.slope[k];
                    sums.others[1] += chunk.weight(i) * rows.curvature[k];
                }
            }
            sums.others[4] += 1.0;
        }
    }

    /// Where the quadratic about this point, with the penalty, is least; and the change of `ln dispersion`.
    /// And whether the curvature tells all coordinates apart, as it did not in a likelihood that is flat.
    fn step(&self, params: &Params, sums: &Sums, cx: &Cx) -> Result<(Vec<f64>, f64, bool)> {
        let (n, job) = (self.beta.len(), &self.job);
        let mean = |v: &[f64]| v.iter().map(|v| v / job.weight).collect::<Vec<f64>>();
        let (mut hessian, gradient) = (mean(&sums.hessian), mean(&sums.gradient));
        let (once, twice) = (sums.others[2] / job.weight, sums.others[3] / job.weight);
        let bounded = |t: f64| t.clamp(-1.0, 1.0);
        if params.alpha * params.l1_ratio > 0.0 {
            let mut linear: Vec<f64> = gradient.iter().map(|g| -g).collect();
            for i in 0..n {
                for j in 0..=i {
                    let h = hessian[i * n + j];
                    linear[i] += h * self.beta[j];
                    if i != j {
                        linear[j] += h * self.beta[i];
                    }
                }
            }
            let mut target = self.beta.clone();
            if !Quadratic::new(&hessian, linear).minimise(&job.l1, &job.l2, &mut target, cx)? {
                cx.observer
                    .warning(&format!("{}: the coordinate descent of a step did not settle", params.name));
            }
            let shift = if params.estimated && twice > 0.0 { bounded(-once / twice) } else { 0.0 };
            return Ok((target, shift, true));
        }
        let mut direction = gradient;
        for j in 0..n {
            direction[j] += job.l2[j] * self.beta[j];
            hessian[j * n + j] += job.l2[j];
        }
        let factor = solve::Factor::new(&hessian, n, cx)?;
        factor.solve(&mut direction);
        let mut shift = 0.0;
        if params.estimated && self.stage == Stage::Step {
            // Both together, by elimination; where the likelihood is not concave in the dispersion, its slope's sign.
            let cross = mean(&sums.cross);
            let mut through = cross.clone();
            factor.solve(&mut through);
            let left = twice - dense::dot(&cross, &through);
            let slope = once - dense::dot(&cross, &direction);
            shift = bounded(if left > 0.0 { -slope / left } else { -slope.signum() });
            direction.iter_mut().zip(&through).for_each(|(d, t)| *d += t * shift);
        }
        let left_out = self.coordinates.inverse.iter().filter(|inv| **inv == 0.0).count();
        let target = self.beta.iter().zip(&direction).map(|(b, d)| b - d).collect();
        Ok((target, shift, factor.dropped.len() <= left_out))
    }

    fn advance(mut self: Box<Self>, params: &Params, sums: Sums, cx: &Cx) -> Result<Step<State, Model>> {
        self.job.passes += 1;
        cx.observer.progress(self.job.passes, params.max_iter, "passes");
        let mut null_settled = true;
        if sums.others[4] > 0.0 && sums.others[1] > 0.0 {
            let step = (sums.others[0] / sums.others[1]).clamp(-5.0, 5.0);
            null_settled = step.abs() <= 1e-10 * (1.0 + self.null.abs());
            self.null -= step;
        }
        if self.stage == Stage::Start {
            (self.beta, ..) = self.step(params, &sums, cx)?;
            self.job.objective = match sums.others[5] / self.job.weight {
                constant if constant.is_finite() => constant,
                _ => f64::INFINITY,
            };
            self.stage = Stage::Step;
            return Ok(Step::Again(State::Point(self)));
        }
        let job = &mut self.job;
        let loss = sums.loss / job.weight;
        let penalty = self.beta.iter().zip(&job.l1).zip(&job.l2);
        let objective = loss + penalty.map(|((b, l1), l2)| l1 * b.abs() + 0.5 * l2 * b * b).sum::<f64>();
        let worse =
            !objective.is_finite() || objective > job.objective + 1e-11 * job.objective.abs().max(1e-3);
        let out = job.passes >= params.max_iter;
        let here = alpha_of(self.family).ln();
        if worse && job.halvings < 40 && !out {
            job.halvings += 1;
            self.beta.iter_mut().zip(&job.base.0).for_each(|(b, base)| *b = 0.5 * (*b + base));
            self.family = with_alpha(self.family, (0.5 * (here + job.base.1)).exp());
            return Ok(Step::Again(State::Point(self)));
        }
        if !objective.is_finite() {
            return Err(not_finite("the loss"));
        }
        cx.observer.metric(job.steps, "train_loss", loss);
        let (target, shift, curved) = self.step(params, &sums, cx)?;
        let job = &mut self.job;
        job.steps += 1;
        let moved: Vec<f64> = target.iter().zip(&self.beta).map(|(a, b)| a - b).collect();
        let size = largest(&self.beta).max(1e-8);
        let settled = largest(&moved) <= params.tol * size && shift.abs() <= params.tol.max(1e-8);
        job.converged = settled && null_settled && curved && !worse;
        let floor = params.estimated && (here + shift) < (1e-6f64).ln();
        // A likelihood without a finite optimum: the gradient is gone and the steps are not.
        job.separated = !params.penalised()
            && params.family == Family::Binomial
            && (!curved
                || loss < 1e-9
                || (largest(&moved) > 1e-3 * size && largest(&sums.gradient) / job.weight < 1e-9));
        let last = job.converged || job.separated || worse || floor || out;
        if !last {
            job.base = (self.beta.clone(), here);
            job.objective = objective;
            job.halvings = 0;
        }
        if worse {
            self.beta.clone_from(&job.base.0);
        } else {
            self.beta = target;
            self.family = with_alpha(self.family, (here + shift).exp());
        }
        if !last {
            return Ok(Step::Again(State::Point(self)));
        }
        if floor {
            cx.observer.warning(
                "negative_binomial: the counts vary no more than Poisson's, so the dispersion went to 0; use poisson",
            );
        } else if job.separated {
            cx.observer.warning(&format!(
                "{}: the features separate the two classes, so the coefficients have no finite optimum; use alpha",
                params.name
            ));
        } else if !job.converged {
            cx.observer.warning(&format!(
                "{} did not converge in {} passes; raise max_iter, or standardise the features",
                params.name, job.passes
            ));
        }
        self.stage = Stage::Final;
        Ok(Step::Again(State::Point(self)))
    }

    fn finish(
        self: Box<Self>,
        params: &Params,
        sums: Sums,
        second: Option<Box<Sums>>,
        cx: &Cx,
    ) -> Result<Step<State, Model>> {
        let (n, weight, family) = (self.coordinates.width(), self.job.weight, self.family);
        let [deviance, pearson, densities, null_deviance, ..] = sums.others[..] else {
            return Err(Error::internal("sums of another round"));
        };
        let (inverse, rank) = inference::inverse(&sums.hessian, n, cx)?;
        let df = weight - rank as f64;
        let scale = if family.dispersed() { pearson / df } else { 1.0 };
        // Gaussian likelihoods are concentrated: the variance is that of maximum likelihood, as in statsmodels.
        let concentrated = family == Family::Gaussian && params.link == Link::Identity;
        let likelihood = family.log_likelihood(
            densities,
            deviance,
            weight,
            if concentrated { deviance / weight } else { scale },
        );
        let parameters = (rank + usize::from(params.estimated)) as f64;
        let mut facts = vec![
            ("observations".to_string(), weight),
            ("residual df".into(), df),
            ("log likelihood".into(), likelihood),
            ("aic".into(), 2.0 * (parameters - likelihood)),
            ("bic".into(), parameters * weight.ln() - 2.0 * likelihood),
            ("deviance".into(), deviance),
            ("null deviance".into(), null_deviance),
            ("deviance explained".into(), 1.0 - deviance / null_deviance),
            ("pearson chi2".into(), pearson),
            ("scale".into(), scale),
        ];
        if params.estimated {
            facts.push(("dispersion".into(), alpha_of(family)));
        }
        facts.retain(|f| f.1.is_finite());
        let (coefficients, intercept) = self.coordinates.raw(&self.beta);
        if !coefficients.iter().chain([&intercept]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        let response =
            if params.binary { Response::Binary(params.link) } else { Response::Mean(params.link) };
        let job = self.job;
        let mut model = Model {
            response,
            coefficients,
            intercept: vec![intercept],
            spread: job.spread,
            trace: Trace {
                iterations: job.passes as u32,
                converged: job.converged,
                loss: 0.5 * deviance / weight,
            },
            facts,
            statistics: None,
        };
        let sure = !params.penalised()
            && !job.separated
            && df > 0.0
            && scale.is_finite()
            && inference::wanted(n, cx);
        if !sure {
            return Ok(Step::Done(model));
        }
        // The observed information, with that of the dispersion last.
        let bread = match second {
            None => inverse.iter().map(|v| v * scale).collect(),
            Some(second) => observed_inverse(&second, params.estimated, cx)?,
        };
        if !params.request.robust() {
            let mut statistics = self.coordinates.statistics(&bread, params.request.level, None)?;
            if params.estimated {
                statistics.others.push(("dispersion".into(), alpha_of(family)));
            }
            model.statistics = Some(statistics);
            return Ok(Step::Done(model));
        }
        let cov_type = params.request.cov_type;
        let inverse = if matches!(cov_type, CovType::Hc(2 | 3)) { inverse } else { vec![] };
        let meat = Meat {
            cov_type,
            coordinates: self.coordinates,
            beta: self.beta,
            inverse,
            other: params.estimated,
        };
        let rest = Some((Box::new(model), bread, weight, rank + usize::from(params.estimated)));
        Ok(Step::Again(State::Meat(Box::new(Scores { meat, family, rest }))))
    }
}

/// The inverse of the observed information, full; with the dispersion's as the last row and column.
fn observed_inverse(sums: &Sums, estimated: bool, cx: &Cx) -> Result<Vec<f64>> {
    let n = sums.gradient.len();
    if !estimated {
        return Ok(inference::inverse(&sums.hessian, n, cx)?.0);
    }
    let p = n + 1;
    let mut lower = vec![0.0; p * p];
    for i in 0..n {
        lower[i * p..i * p + i + 1].copy_from_slice(&sums.hessian[i * n..i * n + i + 1]);
    }
    lower[n * p..n * p + n].copy_from_slice(&sums.cross);
    lower[n * p + n] = sums.others[5];
    Ok(inference::inverse(&lower, p, cx)?.0)
}

impl Scores {
    fn finish(self, params: &Params, sums: MeatSums) -> Result<Step<State, Model>> {
        let Some((mut model, bread, weight, rank)) = self.rest else {
            return Err(Error::internal("the job lost its model"));
        };
        let covariance = sums.sandwich(self.meat.cov_type, &bread, weight, rank)?;
        let mut statistics = self.meat.coordinates.statistics(&covariance, params.request.level, None)?;
        if params.estimated {
            statistics.others.push(("dispersion".into(), alpha_of(self.family)));
        }
        model.statistics = Some(statistics);
        Ok(Step::Done(*model))
    }
}

fn alpha_of(family: Family) -> f64 {
    if let Family::NegativeBinomial { alpha } = family { alpha } else { 1.0 }
}

fn with_alpha(family: Family, alpha: f64) -> Family {
    if let Family::NegativeBinomial { .. } = family { Family::NegativeBinomial { alpha } } else { family }
}
