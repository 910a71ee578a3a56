//! `linear` and `ridge`: weighted least squares from one pass, by the normal equations about the means.
//!
//! Minimises `sum of weight * (y - b - x'w)^2 + alpha * |w|^2` (scikit-learn's `LinearRegression` and `Ridge`).
//! Where features are collinear, `linear` keeps the earlier ones and gives the others coefficient 0. Its standard
//! errors come from the same sums, with weights as frequencies; robust ones take a second pass.

use super::inference::{self, CONFIDENCE_LEVEL, COV_TYPE, CovType, Meat, MeatSums, Request};
use super::link::Link;
use super::model::{Model, Response, Trace};
use super::moments::Moments;
use super::{Coordinates, FIT_INTERCEPT, feature_names, no_rows, not_finite, solve, without_offset};
use crate::distributions::f_tail;
use crate::error::{Error, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// `linear`, or `ridge` when `RIDGE`.
pub struct LeastSquares<const RIDGE: bool>;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    alpha: f64,
    fit_intercept: bool,
    request: Request,
}

/// What a pass is about.
#[derive(Serialize, Deserialize)]
pub enum State {
    /// The first pass.
    Moments,
    /// Squares of scores at the solution.
    Meat(Box<Scores>),
}

/// The last round of robust errors.
#[derive(Serialize, Deserialize)]
pub struct Scores {
    meat: Meat,
    #[serde(skip)]
    rest: Option<(Box<Model>, Vec<f64>, f64, usize)>,
}

/// The sums of a pass.
#[derive(Serialize, Deserialize)]
pub enum Partial {
    /// Of the first one.
    Moments(Moments),
    /// Of scores.
    Meat(MeatSums),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Meat(a), Partial::Meat(b)) => a.merge(b),
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

const LINEAR: Info = Info {
    name: "linear",
    version: 3,
    summary: "Linear regression by ordinary or weighted least squares.",
    tasks: &[Task::Regression],
    input: Input::Matrix { scale: false },
    sharding: Sharding::Blocks,
    params: &[FIT_INTERCEPT, COV_TYPE, CONFIDENCE_LEVEL],
};

const RIDGE: Info = Info {
    name: "ridge",
    summary: "Linear regression with an L2 penalty on the coefficients.",
    input: Input::Matrix { scale: true },
    params: &[
        Param::float(
            "alpha",
            1.0,
            0.0,
            f64::MAX,
            "Strength of the L2 penalty: it adds alpha times the sum of squared coefficients to the sum of squared errors.",
        ),
        FIT_INTERCEPT,
    ],
    ..LINEAR
};

impl<const PENALISED: bool> Learner for LeastSquares<PENALISED> {
    const INFO: Info = if PENALISED { RIDGE } else { LINEAR };
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        Ok(Params {
            names: feature_names(schema),
            alpha: if PENALISED { values.float("alpha")? } else { 0.0 },
            fit_intercept: values.bool("fit_intercept")?,
            request: if PENALISED { Request::NONE } else { Request::read(values)? },
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
            State::Meat(scores) => Partial::Meat(scores.meat.zero()),
        }
    }

    fn accumulate(
        _params: &Params,
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
            (State::Meat(scores), Partial::Meat(sums)) => scores.meat.add(chunk, sums, cx, |y, rows| {
                for (i, y) in y.iter().enumerate() {
                    rows.slope[i] = rows.margin[i] - y;
                    rows.curvature[i] = 1.0;
                }
                Ok(())
            }),
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => solved(params, &moments, cx),
            (State::Meat(scores), Partial::Meat(sums)) => {
                let Scores { meat, rest } = *scores;
                let Some((mut model, bread, weight, rank)) = rest else {
                    return Err(Error::internal("the job lost its model"));
                };
                let covariance = sums.sandwich(meat.cov_type, &bread, weight, rank)?;
                let level = params.request.level;
                model.statistics = Some(meat.coordinates.statistics(&covariance, level, None)?);
                Ok(Step::Done(*model))
            }
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

/// The solution of the normal equations.
fn solved(params: &Params, total: &Moments, cx: &Cx) -> Result<Step<State, Model>> {
    if total.weight == 0.0 {
        return Err(no_rows());
    }
    if !total.finite() {
        return Err(not_finite("a sum of squares"));
    }
    let (d, centered) = (params.names.len(), params.fit_intercept);
    let coordinates = Coordinates::of(total, &params.names, centered, params.alpha == 0.0, cx)?;
    let square = total.features(centered);
    let mut penalised = square.clone();
    for j in 0..d {
        let diagonal = &mut penalised[j * d + j];
        // Rounding must not pass for a signal: a constant column explains nothing beside the intercept.
        *diagonal = if centered && total.constant(j) { 0.0 } else { *diagonal + params.alpha };
    }
    let target = total.with_target(centered);
    let mut coefficients = target.clone();
    solve::Factor::new(&penalised, d, cx)?.solve(&mut coefficients);
    let shift: f64 = coefficients.iter().zip(&total.mean).map(|(w, m)| w * m).sum();
    let intercept = if centered { total.mean[d] - shift } else { 0.0 };

    // |y - Xw|^2 = y'y - 2 w'X'y + w'X'X w
    let mut fitted = 0.0;
    for i in 0..d {
        for j in 0..i {
            fitted += 2.0 * coefficients[i] * coefficients[j] * square[i * d + j];
        }
        fitted += coefficients[i] * (coefficients[i] * square[i * d + i] - 2.0 * target[i]);
    }
    let whole = total.product(d, d, centered);
    let residual = (whole + fitted).max(0.0);
    let loss = residual / total.weight;
    if !coefficients.iter().chain([&intercept, &loss]).all(|v| v.is_finite()) {
        return Err(not_finite("a coefficient"));
    }
    cx.observer.metric(0, "train_loss", loss);
    cx.observer.progress(1, 1, "passes");
    let mut model = Model {
        response: Response::Mean(Link::Identity),
        coefficients,
        intercept: vec![intercept],
        spread: total.spread(),
        trace: Trace { iterations: 1, converged: true, loss },
        facts: vec![],
        statistics: None,
    };
    let n = coordinates.width();
    let rank = coordinates.inverse.iter().filter(|i| **i > 0.0).count() + usize::from(centered);
    let df = total.weight - rank as f64;
    if params.alpha > 0.0 || df <= 0.0 || !inference::wanted(n, cx) {
        return Ok(Step::Done(model));
    }
    model.facts = facts(total, centered, whole, residual, rank);
    let mut products = coordinates.square(total);
    products.iter_mut().for_each(|v| *v *= total.weight);
    let (inverse, _) = inference::inverse(&products, n, cx)?;
    if !params.request.robust() {
        let scale = residual / df;
        let covariance: Vec<f64> = inverse.iter().map(|v| v * scale).collect();
        model.statistics = Some(coordinates.statistics(&covariance, params.request.level, Some(df))?);
        return Ok(Step::Done(model));
    }
    let own = model.coefficients.iter().zip(&coordinates.inverse);
    let mut beta: Vec<f64> = own.map(|(w, inv)| if *inv > 0.0 { w / inv } else { 0.0 }).collect();
    if centered {
        beta.push(total.mean[d]);
    }
    let cov_type = params.request.cov_type;
    let leverages = if matches!(cov_type, CovType::Hc(2 | 3)) { inverse.clone() } else { vec![] };
    let meat = Meat { cov_type, coordinates, beta, inverse: leverages, other: false };
    let rest = Some((Box::new(model), inverse, total.weight, rank));
    Ok(Step::Again(State::Meat(Box::new(Scores { meat, rest }))))
}

/// What statsmodels' summary says of an ordinary least squares fit; `whole` is the total sum of squares.
fn facts(total: &Moments, centered: bool, whole: f64, residual: f64, rank: usize) -> Vec<(String, f64)> {
    let (n, k) = (total.weight, rank as f64);
    let (df, model_df) = (n - k, k - f64::from(u8::from(centered)));
    let likelihood = -0.5 * n * ((residual / n).ln() + (2.0 * std::f64::consts::PI).ln() + 1.0);
    let r2 = 1.0 - residual / whole;
    let f = (whole - residual) / model_df / (residual / df);
    let mut facts = vec![
        ("observations".to_string(), n),
        ("residual df".into(), df),
        ("log likelihood".into(), likelihood),
        ("aic".into(), 2.0 * (k - likelihood)),
        ("bic".into(), k * n.ln() - 2.0 * likelihood),
        ("deviance".into(), residual),
        ("null deviance".into(), whole),
        ("scale".into(), residual / df),
        ("r2".into(), r2),
        ("adjusted r2".into(), 1.0 - (1.0 - r2) * (n - f64::from(u8::from(centered))) / df),
        ("f statistic".into(), f),
        ("f p-value".into(), f_tail(f, model_df, df)),
    ];
    facts.retain(|f| f.1.is_finite());
    facts
}
