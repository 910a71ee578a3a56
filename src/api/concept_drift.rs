//! `damson.concept_drift`: when the errors of a model changed.

use super::change_points::row;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::drift::stream::{self, Detector};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.concept_drift(
    model text, source text, order_by text, target text DEFAULT NULL, method text DEFAULT 'adwin',
    params text DEFAULT '{}')
RETURNS TABLE ("row" bigint, at text, mean_before double precision, mean_after double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.concept_drift IS
'Finds when a model''s errors changed, in rows whose answers are known, in the order of a column.
The error of a row is 1 for a wrong class and 0 for the right one, the share of wrong labels of a set, or the distance of a
number from its prediction. A row
a change: at which row it was noticed, counted from 1, what order_by was there, and the mean error since the change before
and up to the next. Nothing is returned where nothing changed. method is adwin or page_hinkley, params a JSON object, as
river has them: of adwin delta (0.002), clock (32), max_buckets (5), min_window_length (5), grace_period (10); of
page_hinkley min_instances (30), delta (0.005), threshold (50), alpha (0.9999), mode (up, down, both).
Example: SELECT * FROM damson.concept_drift(''churn'', ''answered'', order_by => ''answered_at'', params => ''{"delta": 0.01}'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn concept_drift(
    model: Text,
    source: Text,
    order_by: Text,
    target: Option<Text>,
    method: Option<Text>,
    params: Option<Text>,
) -> TableIterator<'static, (name!(row, i64), name!(at, Text), name!(mean_before, f64), name!(mean_after, f64))>
{
    let found = answer(|| {
        let method = method.as_deref().unwrap_or("adwin");
        let mut detector = Detector::parse(method, params.as_deref().unwrap_or("{}"))?;
        let target = target.as_deref();
        let columns = Columns { target, weight: None };
        let other = Some(&*order_by);
        let asked = Asked { verb: "concept_drift", model: &model, source: &source, columns, other };
        evaluation::run(asked, |scorer, frame, cx| {
            let ordered = stream::errors(scorer, frame, target, &order_by, cx)?;
            stream::noticed(&mut detector, &ordered, frame, &order_by, cx)
        })
    });
    TableIterator::new(found.into_iter().map(row))
}
