//! `damson.drift_quick`: what the planner knows of a relation beside what a model was trained on.

use super::drift::row;
use crate::catalog::baselines;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::planner;
use engine::drift::quick::quick;
use engine::drift::{Choices, compare};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.drift_quick(
    model text,
    relation text,
    method text DEFAULT NULL,
    threshold double precision DEFAULT NULL,
    drift_share double precision DEFAULT 0.5)
RETURNS TABLE (
    "column" text, role text, method text, statistic double precision, p_value double precision,
    threshold double precision, drifted boolean, error double precision)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.drift_quick IS
'Says in milliseconds whether a relation has drifted from what a model was trained on, without reading it.
relation is a table or materialized view that was analyzed; its statistics, which ANALYZE takes from a sample of some
30,000 rows, stand for its rows. So these are estimates: error is NULL, and only distances serve, by default wasserstein
for numbers and jensenshannon for categories and numbers of few values, with the thresholds of damson.drift. Features and
target are compared; columns that you may not read, or of which the server has no statistics, are left out.
Example: SELECT * FROM damson.drift_quick(''churn'', ''customers'') WHERE drifted;';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn drift_quick(
    model: Text,
    relation: Text,
    method: Option<Text>,
    threshold: Option<f64>,
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
        let choices = Choices::parse(method.as_deref(), threshold)?;
        let share = compare::drift_share(drift_share)?;
        let baseline = baselines::find(&model)?;
        Ok(quick(&baseline, &planner::statistics(&relation)?, &choices, share)?)
    });
    TableIterator::new(found.into_iter().map(row))
}
