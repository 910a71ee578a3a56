//! `lasso` and `elastic_net`: least squares with a penalty on absolute values, from one pass over the rows.
//!
//! Minimises `sum of weight * (y - b - x'w)^2 / (2 W) + alpha * (l1_ratio * |w|_1 + (1 - l1_ratio) / 2 * |w|^2)`, `W`
//! the sum of weights: scikit-learn's `Lasso` and `ElasticNet`. With `alpha` left out, the whole path is walked from
//! the least penalty that leaves nothing down to `eps` of it, and the best point of it is the model: by an information
//! criterion (as `LassoLarsIC`), or by the error on folds. Folds are kept apart as sums within the same pass; a row's
//! fold follows from its content, so equal rows are never on both sides.

use super::inference;
use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::Moments;
use super::quadratic::Quadratic;
use super::{Coordinates, FIT_INTERCEPT, feature_names, no_rows, not_finite, without_offset};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// `lasso`, or `elastic_net` when `MIXED`.
pub struct ElasticNet<const MIXED: bool>;

const ALPHA: Param = Param::float(
    "alpha",
    1.0,
    0.0,
    f64::MAX,
    "Strength of the penalty; where it is left out, the best of a path by criterion.",
)
.optional();
const L1_RATIO: Param = Param::float(
    "l1_ratio",
    0.5,
    0.0,
    1.0,
    "Share of the penalty that is on absolute values; the rest is on squares.",
);
const ALPHAS: Param = Param::json(
    "alphas",
    "null",
    "The strengths to try, an array of numbers; where it is left out, n_alphas from the least that leaves no coefficient down to eps of it.",
);
const N_ALPHAS: Param = Param::int("n_alphas", 100, 1, 10_000, "Strengths to try along the path.");
const EPS: Param =
    Param::float("eps", 1e-3, 1e-12, 1.0, "The least strength of the path, as a part of the greatest.");
const CRITERION: Param = Param::choice(
    "criterion",
    "cv",
    &["cv", "bic", "aic"],
    "What chooses along the path: the mean squared error on folds, or an information criterion.",
);
const CV: Param =
    Param::int("cv", 5, 2, 20, "Folds that choose along the path; rows are dealt by their content.");

const LASSO: Info = Info {
    name: "lasso",
    version: 2,
    summary: "Linear regression with an L1 penalty, of one strength or the best of a path.",
    tasks: &[Task::Regression],
    input: Input::Matrix { scale: true },
    sharding: Sharding::Blocks,
    params: &[ALPHA, ALPHAS, N_ALPHAS, EPS, CRITERION, CV, FIT_INTERCEPT],
};

const ELASTIC_NET: Info = Info {
    name: "elastic_net",
    summary: "Linear regression with L1 and L2 penalties, of one strength or the best of a path.",
    params: &[ALPHA, L1_RATIO, ALPHAS, N_ALPHAS, EPS, CRITERION, CV, FIT_INTERCEPT],
    ..LASSO
};

/// What chooses along a path.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Criterion {
    /// Folds.
    Folds(usize),
    /// The weight of a degree of freedom: 2, or the logarithm of the number of rows where there is none.
    Information(Option<f64>),
}

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    name: &'static str,
    names: Vec<String>,
    alpha: Option<f64>,
    l1_ratio: f64,
    alphas: Option<Vec<f64>>,
    n_alphas: usize,
    eps: f64,
    criterion: Criterion,
    fit_intercept: bool,
}

impl Params {
    /// Folds whose rows are summed apart.
    fn folds(&self) -> usize {
        match self.criterion {
            Criterion::Folds(k) if self.alpha.is_none() => k,
            _ => 1,
        }
    }
}

/// Moments by fold.
#[derive(Serialize, Deserialize)]
pub struct Folds(Vec<Moments>);

impl Merge for Folds {
    fn merge(&mut self, other: Folds) -> Result<()> {
        if self.0.len() != other.0.len() {
            return Err(Error::corrupt("partials of different folds cannot be merged"));
        }
        self.0.iter_mut().zip(other.0).try_for_each(|(a, b)| a.merge(b))
    }
}

impl<const MIXED: bool> Learner for ElasticNet<MIXED> {
    const INFO: Info = if MIXED { ELASTIC_NET } else { LASSO };
    type Params = Params;
    type State = ();
    type Local = ();
    type Partial = Folds;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let name = Self::INFO.name;
        let alpha = values.opt_float("alpha")?;
        let l1_ratio = if MIXED { values.float("l1_ratio")? } else { 1.0 };
        let alphas = strengths(name, values.json("alphas")?)?;
        let criterion = match values.text("criterion")? {
            "aic" => Criterion::Information(Some(2.0)),
            "bic" => Criterion::Information(None),
            _ => Criterion::Folds(values.count("cv")?),
        };
        if l1_ratio == 0.0 && alpha.is_none() && alphas.is_none() {
            let message = "with l1_ratio 0 no strength leaves all coefficients 0, so a path has no start";
            return Err(Error::new(Kind::Parameter, message).hint("Give alpha, or alphas."));
        }
        let (n_alphas, eps) = (values.count("n_alphas")?, values.float("eps")?);
        let (names, fit_intercept) = (feature_names(schema), values.bool("fit_intercept")?);
        Ok(Params { name, names, alpha, l1_ratio, alphas, n_alphas, eps, criterion, fit_intercept })
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        super::memory(schema.width() + 1) * params.folds() as u64
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<()> {
        Ok(())
    }

    fn zero(params: &Params, _state: &()) -> Folds {
        Folds(vec![Moments::zero(params.names.len(), 0); params.folds()])
    }

    fn accumulate(
        _params: &Params,
        _state: &(),
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Folds,
        cx: &Cx,
    ) -> Result<()> {
        without_offset(chunk, |chunk| match &mut partial.0[..] {
            [all] => all.add(chunk, cx),
            folds => add_by_fold(chunk, folds, cx),
        })
    }

    fn update(params: &Params, _state: (), total: Folds, cx: &Cx) -> Result<Step<(), Model>> {
        let mut all = Moments::zero(params.names.len(), 0);
        for fold in &total.0 {
            all.merge(fold.clone())?;
        }
        if all.weight == 0.0 {
            return Err(no_rows());
        }
        if !all.finite() {
            return Err(not_finite("a sum of squares"));
        }
        let net = Net::new(params, &all, cx)?;
        let Some(alpha) = params.alpha else {
            return along_path(params, &net, &all, &total.0, cx).map(Step::Done);
        };
        let mut b = vec![0.0; net.coordinates.width()];
        net.solve(alpha, &mut b, cx)?;
        let fit = net.fit(&b, &all);
        cx.observer.metric(0, "train_loss", fit.error);
        net.model(params, fit, alpha, &all).map(Step::Done)
    }
}

/// The strengths that the user gave, from the greatest.
fn strengths(name: &str, given: &serde_json::Value) -> Result<Option<Vec<f64>>> {
    if given.is_null() {
        return Ok(None);
    }
    let refused = || {
        let message = format!(
            "parameter \"alphas\" of {name} is {given}, expected an array of 1 to 10000 numbers above 0"
        );
        Error::new(Kind::Parameter, message)
    };
    let items = given.as_array().filter(|a| !a.is_empty() && a.len() <= 10_000).ok_or_else(refused)?;
    let mut alphas = vec![];
    for item in items {
        alphas.push(item.as_f64().filter(|a| *a > 0.0 && a.is_finite()).ok_or_else(refused)?);
    }
    alphas.sort_by(|a, b| b.total_cmp(a));
    Ok(Some(alphas))
}

/// Deals the rows of a block to folds by a hash of their content.
fn add_by_fold(chunk: &Chunk, folds: &mut [Moments], cx: &Cx) -> Result<()> {
    let mut rows: Vec<Vec<usize>> = vec![vec![]; folds.len()];
    for i in 0..chunk.rows {
        let mut hash = Xxh3::with_seed(cx.seed);
        for v in chunk.row(i).iter().chain([&chunk.y[i]]) {
            hash.update(&v.to_le_bytes());
        }
        rows[(hash.digest() % folds.len() as u64) as usize].push(i);
    }
    for (rows, fold) in rows.iter().zip(folds) {
        let mut x = Vec::with_capacity(rows.len() * chunk.width());
        rows.iter().for_each(|i| x.extend_from_slice(chunk.row(*i)));
        let of = |v: &[f64]| if v.is_empty() { vec![] } else { rows.iter().map(|i| v[*i]).collect() };
        let (y, weight) = (of(chunk.y), of(chunk.weight));
        fold.add(&Chunk { rows: rows.len(), x: &x, y: &y, weight: &weight, group: &[], ..*chunk }, cx)?;
    }
    Ok(())
}

/// Coefficients for raw features, with their mean squared error.
struct Fit {
    coefficients: Vec<f64>,
    intercept: f64,
    nonzero: usize,
    error: f64,
}

/// The quadratic of some rows, in coordinates of unit spread.
struct Net {
    coordinates: Coordinates,
    quadratic: Quadratic,
    square: Vec<f64>,
    linear: Vec<f64>,
    l1_ratio: f64,
    name: &'static str,
}

impl Net {
    fn new(params: &Params, moments: &Moments, cx: &Cx) -> Result<Net> {
        let mut coordinates = Coordinates::of(moments, &params.names, params.fit_intercept, false, cx)?;
        // Centred features need no intercept coordinate: it follows from the means.
        coordinates.intercept = false;
        let (d, weight) = (params.names.len(), moments.weight);
        let raw = moments.features(params.fit_intercept);
        let mut square = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                square[i * d + j] = raw[i * d + j] * coordinates.inverse[i] * coordinates.inverse[j] / weight;
            }
        }
        let target = moments.with_target(params.fit_intercept);
        let linear: Vec<f64> =
            target.iter().zip(&coordinates.inverse).map(|(t, inv)| t * inv / weight).collect();
        let quadratic = Quadratic::new(&square, linear.clone());
        Ok(Net { coordinates, quadratic, square, linear, l1_ratio: params.l1_ratio, name: params.name })
    }

    fn penalties(&self, alpha: f64) -> (Vec<f64>, Vec<f64>) {
        let each = |inv: &f64| (alpha * self.l1_ratio * inv, alpha * (1.0 - self.l1_ratio) * inv * inv);
        self.coordinates.inverse.iter().map(each).unzip()
    }

    fn solve(&self, alpha: f64, b: &mut [f64], cx: &Cx) -> Result<()> {
        let (l1, l2) = self.penalties(alpha);
        if !self.quadratic.minimise(&l1, &l2, b, cx)? {
            let message = format!("{}: the coordinate descent did not settle at alpha {alpha}", self.name);
            cx.observer.warning(&message);
        }
        Ok(())
    }

    /// The least strength that leaves every coefficient 0.
    fn greatest(&self) -> f64 {
        let pull = self.linear.iter().zip(&self.coordinates.inverse);
        let most = pull.map(|(q, inv)| if *inv > 0.0 { q.abs() / inv } else { 0.0 }).fold(0.0, f64::max);
        most / self.l1_ratio
    }

    /// The degrees of freedom: coefficients that are not 0, or, with a penalty on squares, the trace of the hat matrix.
    fn freedom(&self, alpha: f64, b: &[f64], cx: &Cx) -> Result<f64> {
        let active: Vec<usize> = (0..b.len()).filter(|j| b[*j] != 0.0).collect();
        if self.l1_ratio == 1.0 {
            return Ok(active.len() as f64);
        }
        let (n, k, l2) = (b.len(), active.len(), self.penalties(alpha).1);
        let mut h = vec![0.0; k * k];
        for (a, i) in active.iter().enumerate() {
            for (c, j) in active[..=a].iter().enumerate() {
                h[a * k + c] = self.square[i * n + j];
            }
            h[a * k + a] += l2[*i];
        }
        // trace (H + L)^-1 H = k - trace (H + L)^-1 L
        let (inverse, rank) = inference::inverse(&h, k, cx)?;
        Ok(rank as f64 - active.iter().enumerate().map(|(a, i)| inverse[a * k + a] * l2[*i]).sum::<f64>())
    }

    fn fit(&self, b: &[f64], moments: &Moments) -> Fit {
        let d = b.len();
        let (coefficients, shift) = self.coordinates.raw(b);
        let centered = self.coordinates.center.iter().any(|c| *c != 0.0);
        let intercept = if centered { moments.mean[d] + shift } else { 0.0 };
        let error = mean_square(moments, &coefficients, intercept);
        Fit { coefficients, intercept, nonzero: b.iter().filter(|b| **b != 0.0).count(), error }
    }

    fn model(&self, params: &Params, fit: Fit, alpha: f64, all: &Moments) -> Result<Model> {
        let d = params.names.len();
        if !fit.coefficients.iter().chain([&fit.intercept, &fit.error]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        let mut facts = vec![
            ("alpha".to_string(), alpha),
            ("nonzero coefficients".into(), fit.nonzero as f64),
            ("observations".into(), all.weight),
            ("r2".into(), 1.0 - fit.error * all.weight / all.product(d, d, params.fit_intercept)),
        ];
        facts.retain(|f| f.1.is_finite());
        Ok(Model {
            response: Response::Mean(Link::Identity),
            coefficients: fit.coefficients,
            intercept: vec![fit.intercept],
            spread: all.spread(),
            trace: Trace { iterations: 1, converged: true, loss: fit.error },
            facts,
            statistics: None,
        })
    }
}

/// The mean squared error of a linear function on rows of which only moments are known.
fn mean_square(moments: &Moments, w: &[f64], intercept: f64) -> f64 {
    let d = w.len();
    let mut sum = moments.product(d, d, true);
    for i in (0..d).filter(|i| w[*i] != 0.0) {
        for j in 0..i {
            sum += 2.0 * w[i] * w[j] * moments.product(i, j, true);
        }
        sum += w[i] * (w[i] * moments.product(i, i, true) - 2.0 * moments.product(d, i, true));
    }
    let bias = moments.mean[d] - intercept - w.iter().zip(&moments.mean).map(|(w, m)| w * m).sum::<f64>();
    (sum.max(0.0) / moments.weight) + bias * bias
}

/// Walks the path, and gives the best point.
fn along_path(params: &Params, net: &Net, all: &Moments, folds: &[Moments], cx: &Cx) -> Result<Model> {
    let alphas = match &params.alphas {
        Some(given) => given.clone(),
        None => {
            let (top, n) = (net.greatest(), params.n_alphas);
            if top <= 0.0 || !top.is_finite() {
                let message = "no feature says anything of the target, so a path has no start";
                return Err(Error::new(Kind::Data, message).hint("Give alpha, or look at the features."));
            }
            let part = |i: usize| params.eps.powf(i as f64 / (n - 1).max(1) as f64);
            (0..n).map(|i| top * part(i)).collect()
        }
    };
    // Each point's cost, less is better.
    let costs = match params.criterion {
        Criterion::Folds(_) => fold_errors(params, &alphas, folds, cx)?,
        Criterion::Information(_) => vec![f64::NAN; alphas.len()],
    };
    let variance = match params.criterion {
        Criterion::Folds(_) => f64::NAN,
        Criterion::Information(_) => unexplained(params, net, all, cx)?,
    };
    let mut b = vec![0.0; net.coordinates.width()];
    let mut best: Option<(f64, f64, Fit)> = None;
    for (i, alpha) in alphas.iter().enumerate() {
        net.solve(*alpha, &mut b, cx)?;
        let fit = net.fit(&b, all);
        let (name, cost) = match params.criterion {
            Criterion::Folds(_) => ("cv_loss", costs[i]),
            Criterion::Information(each) => {
                let freedom = net.freedom(*alpha, &b, cx)?;
                let fitted =
                    all.weight * ((2.0 * std::f64::consts::PI * variance).ln() + fit.error / variance);
                let name = if each.is_some() { "aic" } else { "bic" };
                (name, fitted + each.unwrap_or(all.weight.ln()) * freedom)
            }
        };
        cx.observer.metric(i, "alpha", *alpha);
        cx.observer.metric(i, "nonzero", fit.nonzero as f64);
        cx.observer.metric(i, "train_loss", fit.error);
        cx.observer.metric(i, name, cost);
        cx.observer.progress(i + 1, alphas.len(), "strengths");
        if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
            best = Some((cost, *alpha, fit));
        }
    }
    let Some((cost, alpha, fit)) = best else { return Err(Error::internal("a path without points")) };
    let mut model = net.model(params, fit, alpha, all)?;
    let name = match params.criterion {
        Criterion::Folds(_) => "cv_loss",
        Criterion::Information(Some(_)) => "aic",
        Criterion::Information(None) => "bic",
    };
    if cost.is_finite() {
        model.facts.push((name.into(), cost));
    }
    Ok(model)
}

/// The error of each strength on each fold, of models trained on the others: the mean over folds.
fn fold_errors(params: &Params, alphas: &[f64], folds: &[Moments], cx: &Cx) -> Result<Vec<f64>> {
    let mut errors = vec![0.0; alphas.len()];
    let held: Vec<usize> = (0..folds.len()).filter(|f| folds[*f].weight > 0.0).collect();
    if held.len() < 2 {
        let message = "there are too few different rows to choose a strength by folds";
        return Err(Error::new(Kind::Data, message).hint("Give alpha."));
    }
    for out in &held {
        let mut rest = Moments::zero(params.names.len(), 0);
        for fold in held.iter().filter(|f| *f != out) {
            rest.merge(folds[*fold].clone())?;
        }
        let net = Net::new(params, &rest, cx)?;
        let mut b = vec![0.0; net.coordinates.width()];
        for (alpha, error) in alphas.iter().zip(&mut errors) {
            net.solve(*alpha, &mut b, cx)?;
            let fit = net.fit(&b, &rest);
            *error += mean_square(&folds[*out], &fit.coefficients, fit.intercept) / held.len() as f64;
        }
    }
    Ok(errors)
}

/// The variance that all features together leave, which scales the information criterion.
fn unexplained(params: &Params, net: &Net, all: &Moments, cx: &Cx) -> Result<f64> {
    let n = net.coordinates.width();
    let factor = super::solve::Factor::new(&net.square, n, cx)?;
    let mut b = net.linear.clone();
    factor.solve(&mut b);
    let rank = n - factor.dropped.len() + usize::from(params.fit_intercept);
    let df = all.weight - rank as f64;
    let variance = net.fit(&b, all).error * all.weight / df;
    if !(df > 0.0 && variance > 0.0) {
        let message = format!(
            "an information criterion needs more rows than features, found {} rows and {n} features",
            all.weight
        );
        return Err(Error::new(Kind::Data, message).hint("Use criterion cv, or give alpha."));
    }
    Ok(variance)
}
