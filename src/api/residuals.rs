//! `damson.residuals`: a regression's errors row by row.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.residuals(
    model text,
    source text,
    target text DEFAULT NULL,
    key text DEFAULT NULL,
    weight text DEFAULT NULL)
RETURNS TABLE ("row" bigint, key text, actual double precision, predicted double precision, residual double precision,
    standardised double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1000
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.residuals IS
'The errors of a regression row by row: the true value less the prediction.
row counts the source''s rows from 1; key is the column of that name as text, so that rows can be found again.
standardised is the residual less the mean one, over their standard deviation; NULL where that is 0.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights.
Example: SELECT * FROM damson.residuals(''price'', ''homes'', key => ''id'') ORDER BY abs(standardised) DESC LIMIT 10;';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn residuals(
    model: Text,
    source: Text,
    target: Option<Text>,
    key: Option<Text>,
    weight: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(row, i64),
        name!(key, Option<Text>),
        name!(actual, f64),
        name!(predicted, f64),
        name!(residual, f64),
        name!(standardised, Option<f64>),
    ),
> {
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let key = key.as_deref();
        let asked = Asked { verb: "residuals", model: &model, source: &source, columns, other: key };
        evaluation::run(asked, |scorer, frame, cx| {
            let found = scorer.scored(frame, columns, cx)?.residuals()?;
            let keys = key.map(|name| engine::evaluation::keys(frame, name)).transpose()?;
            let key = |i: usize| keys.as_ref().and_then(|keys| keys[i].clone());
            Ok(found.into_iter().enumerate().map(|(i, r)| (i, key(i), r)).collect::<Vec<_>>())
        })
    });
    TableIterator::new(
        found.into_iter().map(|(i, key, r)| {
            (i as i64 + 1, key.map(Text), r.actual, r.predicted, r.residual, r.standardised)
        }),
    )
}
