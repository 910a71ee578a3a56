//! `damson.performance_drift`: a model's metrics now beside those of its training.

use crate::catalog::{baselines, resolve};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::drift::performance::changes;
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.performance_drift(
    model text, source text, target text DEFAULT NULL, confidence double precision DEFAULT 0.95)
RETURNS TABLE (
    metric text, baseline double precision, value double precision, lower double precision, upper double precision,
    change double precision, degraded boolean)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.performance_drift IS
'Measures a model on rows whose answers have arrived, beside what its training measured.
baseline is the metric on the rows that the training held out, else over its folds, else on its training rows, which
flatters it. lower and upper are the confidence interval of value, as of damson.evaluate; degraded says that the baseline
is better than all of it, and is NULL for metrics without an interval. Leave out the rows whose answers are not there yet.
Example: SELECT * FROM damson.performance_drift(''churn'', ''SELECT * FROM customers_2026 WHERE churned IS NOT NULL'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn performance_drift(
    model: Text,
    source: Text,
    target: Option<Text>,
    confidence: Option<f64>,
) -> TableIterator<
    'static,
    (
        name!(metric, Text),
        name!(baseline, f64),
        name!(value, f64),
        name!(lower, Option<f64>),
        name!(upper, Option<f64>),
        name!(change, f64),
        name!(degraded, Option<bool>),
    ),
> {
    let found = answer(|| {
        let before = baselines::training_metrics(&*resolve(&model)?)?;
        let columns = Columns { target: target.as_deref(), weight: None };
        let asked = Asked { verb: "performance_drift", model: &model, source: &source, columns, other: None };
        let confidence = confidence.unwrap_or(0.95);
        let now = evaluation::run(asked, |scorer, frame, cx| {
            scorer.evaluate(frame, columns, None, confidence, cx)
        })?;
        Ok(changes(&before, now))
    });
    TableIterator::new(found.into_iter().map(|c| {
        let (lower, upper) = c.interval.unzip();
        (c.metric.into(), c.baseline, c.value, lower, upper, c.change, c.degraded)
    }))
}
