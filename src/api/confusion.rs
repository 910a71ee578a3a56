//! `damson.confusion`: the confusion matrix.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation::{self, Asked};
use engine::evaluation::Columns;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.confusion(
    model text,
    source text,
    target text DEFAULT NULL,
    weight text DEFAULT NULL)
RETURNS TABLE (actual text, predicted text, "rows" bigint, weight double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.confusion IS
'The confusion matrix of a classification: rows by true class and by the class that damson.classify gives.
Cells without rows are left out. weight is what a cell''s rows weigh: their number, where there is no column of weights.
source is a relation''s name or a SELECT; it is read with your rights. target is the column of true answers, by default
the one that the model was trained on; weight a column of row weights.
Example: SELECT * FROM damson.confusion(''churn'', ''customers_2026'');';
"#)]
fn confusion(
    model: Text,
    source: Text,
    target: Option<Text>,
    weight: Option<Text>,
) -> TableIterator<'static, (name!(actual, Text), name!(predicted, Text), name!(rows, i64), name!(weight, f64))>
{
    let found = answer(|| {
        let columns = Columns { target: target.as_deref(), weight: weight.as_deref() };
        let asked = Asked { verb: "confusion", model: &model, source: &source, columns, other: None };
        evaluation::run(asked, |scorer, frame, cx| {
            scorer.check_classes()?;
            Ok(scorer.scored(frame, columns, cx)?.confusion())
        })
    });
    TableIterator::new(
        found.into_iter().map(|c| (c.actual.into(), c.predicted.into(), c.rows as i64, c.weight)),
    )
}
