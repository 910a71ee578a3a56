//! `damson.evaluate`: a model measured on other rows.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.evaluate(
    model text,
    source text,
    target text DEFAULT NULL,
    weight text DEFAULT NULL,
    slice_by text DEFAULT NULL,
    confidence double precision DEFAULT 0.95)
RETURNS TABLE (
    metric text, value double precision, lower double precision, upper double precision, slice text, "rows" bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.evaluate IS
'Measures a model on rows whose answers are known, with confidence intervals.
model is name, name@alias or name@7. source is a relation''s name or a SELECT; it is read with your rights. target is
the column of true answers, by default the one that the model was trained on; weight a column of row weights. With
slice_by each value of that column is measured by itself (at most 200); slice is NULL where the column is.
lower and upper are DeLong''s for auc, Wilson''s for accuracy, precision, recall and coverage, between order statistics
for medae, and normal with the standard error of the metric''s influence function for the others; NULL where a metric
has none, as those of clusters. Rows count as independent.
Example: SELECT * FROM damson.evaluate(''churn'', ''customers_2026'', slice_by => ''region'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn evaluate(
    model: Text,
    source: Text,
    target: Option<Text>,
    weight: Option<Text>,
    slice_by: Option<Text>,
    confidence: Option<f64>,
) -> TableIterator<
    'static,
    (
        name!(metric, Text),
        name!(value, f64),
        name!(lower, Option<f64>),
        name!(upper, Option<f64>),
        name!(slice, Option<Text>),
        name!(rows, i64),
    ),
> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let slice_by = slice_by.as_deref();
        let asked = Asked { verb: "evaluate", model: &model, source: &source, columns, other: slice_by };
        evaluation::run(asked, |scorer, frame, cx| {
            scorer.evaluate(frame, columns, slice_by, confidence.unwrap_or(0.95), cx)
        })
    });
    TableIterator::new(found.into_iter().map(|m| {
        let (lower, upper) = (m.interval.map(|i| i.0), m.interval.map(|i| i.1));
        (m.name.into(), m.value, lower, upper, m.slice.map(Text), m.rows as i64)
    }))
}
