//! `linear` and `ridge`: weighted least squares from one pass, by the normal equations about the means.
//!
//! Minimises `sum of weight * (y - b - x'w)^2 + alpha * |w|^2` (scikit-learn's `LinearRegression` and `Ridge`).
//! Where features are collinear, `linear` keeps the earlier ones and gives the others coefficient 0.

use super::model::{Link, Model, Trace};
use super::moments::Moments;
use super::{FIT_INTERCEPT, feature_names, no_rows, not_finite, solve, warn_dropped};
use crate::error::Result;
use crate::learner::{Cx, Info, Input, Learner, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};

/// `linear`, or `ridge` when `RIDGE`.
pub struct LeastSquares<const RIDGE: bool>;

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    names: Vec<String>,
    alpha: f64,
    fit_intercept: bool,
}

const LINEAR: Info = Info {
    name: "linear",
    version: 1,
    summary: "Linear regression by ordinary or weighted least squares.",
    tasks: &[Task::Regression],
    input: Input::Matrix { scale: false },
    sharding: Sharding::Blocks,
    params: &[FIT_INTERCEPT],
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
    type State = ();
    type Local = ();
    type Partial = Moments;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        Ok(Params {
            names: feature_names(schema),
            alpha: if PENALISED { values.float("alpha")? } else { 0.0 },
            fit_intercept: values.bool("fit_intercept")?,
        })
    }

    fn memory(_params: &Params, schema: &Schema) -> u64 {
        super::memory(schema.width() + 1)
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<()> {
        Ok(())
    }

    fn zero(params: &Params, _state: &()) -> Moments {
        Moments::zero(params.names.len(), 0)
    }

    fn accumulate(
        _params: &Params,
        _state: &(),
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Moments,
        cx: &Cx,
    ) -> Result<()> {
        partial.add(chunk, cx)
    }

    fn update(params: &Params, _state: (), total: Moments, cx: &Cx) -> Result<Step<(), Model>> {
        if total.weight == 0.0 {
            return Err(no_rows());
        }
        if !total.finite() {
            return Err(not_finite("a sum of squares"));
        }
        let (d, centered) = (params.names.len(), params.fit_intercept);
        let square = total.features(centered);
        let mut penalised = square.clone();
        for j in 0..d {
            let diagonal = &mut penalised[j * d + j];
            // Rounding must not pass for a signal: a constant column explains nothing beside the intercept.
            *diagonal = if centered && total.constant(j) { 0.0 } else { *diagonal + params.alpha };
        }
        let factor = solve::Factor::new(&penalised, d, cx)?;
        if params.alpha == 0.0 {
            warn_dropped(&factor.dropped, &params.names, cx);
        }
        let target = total.with_target(centered);
        let mut coefficients = target.clone();
        factor.solve(&mut coefficients);
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
        let loss = ((total.product(d, d, centered) + fitted) / total.weight).max(0.0);
        if !coefficients.iter().chain([&intercept, &loss]).all(|v| v.is_finite()) {
            return Err(not_finite("a coefficient"));
        }
        cx.observer.metric(0, "train_loss", loss);
        cx.observer.progress(1, 1, "passes");
        Ok(Step::Done(Model {
            link: Link::Identity,
            coefficients,
            intercept: vec![intercept],
            spread: total.spread(),
            trace: Trace { iterations: 1, converged: true, loss },
        }))
    }
}
