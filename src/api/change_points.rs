//! `damson.change_points`: when a column changed.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::drift::stream::{self, Detector, Noticed};
use pgrx::prelude::*;

/// A change as a row.
pub(super) fn row(noticed: Noticed) -> (i64, Text, f64, f64) {
    (noticed.row as i64, noticed.at.into(), noticed.mean_before, noticed.mean_after)
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.change_points(
    source text, "column" text, order_by text, method text DEFAULT 'adwin', params text DEFAULT '{}')
RETURNS TABLE ("row" bigint, at text, mean_before double precision, mean_after double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.change_points IS
'Finds when the mean of a column changed, in the order of another.
Rows without a value are left out. The result, method and params are those of damson.concept_drift, which does the same for
the errors of a model.
Example: SELECT * FROM damson.change_points(''readings'', ''temperature'', order_by => ''read_at'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn change_points(
    source: Text,
    column: Text,
    order_by: Text,
    method: Option<Text>,
    params: Option<Text>,
) -> TableIterator<'static, (name!(row, i64), name!(at, Text), name!(mean_before, f64), name!(mean_after, f64))>
{
    let found = answer(|| {
        let method = method.as_deref().unwrap_or("adwin");
        let mut detector = Detector::parse(method, params.as_deref().unwrap_or("{}"))?;
        let mut wanted = vec![column.0.clone()];
        if order_by.0 != column.0 {
            wanted.push(order_by.0.clone());
        }
        let frame = query::read(&source, Wanted::Only(&wanted), settings::max_memory())?;
        let title = work::Title { verb: "change_points", object: "a source" };
        let found = work::run(title, 0, |cx| {
            let ordered = stream::values(&frame, &column, &order_by)?;
            stream::noticed(&mut detector, &ordered, &frame, &order_by, cx)
        })?;
        Ok(found.value)
    });
    TableIterator::new(found.into_iter().map(row))
}
