//! `damson.drift_between`: the rows of two sources beside each other, without a model.

use super::drift::{Asked, find_between, row};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.drift_between(
    reference text,
    source text,
    method text DEFAULT NULL,
    threshold double precision DEFAULT NULL,
    columns text[] DEFAULT NULL,
    drift_share double precision DEFAULT 0.5)
RETURNS TABLE (
    "column" text, role text, method text, statistic double precision, p_value double precision,
    threshold double precision, drifted boolean, error double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.drift_between IS
'Compares the rows of two relations or SELECTs, column by column, without a model.
Both are read with your rights, once, and the numbers are those of Evidently on the same rows: error is always 0. Columns
are those of the same name in both, or those that columns names. The first row is the dataset, whose statistic is the
share of drifted columns. method, threshold and drift_share are as in damson.drift; the reference has the part of the
baseline.
Example: SELECT * FROM damson.drift_between(''orders_2025'', ''orders_2026'', method => ''psi'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn drift_between(
    reference: Text,
    source: Text,
    method: Option<Text>,
    threshold: Option<f64>,
    columns: Option<TextArray>,
    drift_share: Option<f64>,
) -> TableIterator<
    'static,
    (
        name!(column, Option<Text>),
        name!(role, Text),
        name!(method, Text),
        name!(statistic, Option<f64>),
        name!(p_value, Option<f64>),
        name!(threshold, Option<f64>),
        name!(drifted, bool),
        name!(error, Option<f64>),
    ),
> {
    let found = answer(|| {
        let asked = Asked::parse(method, threshold, columns, drift_share)?;
        Ok(find_between(&reference, &source, &asked, |_, _, _| Ok(()))?.0)
    });
    TableIterator::new(found.into_iter().map(row))
}
