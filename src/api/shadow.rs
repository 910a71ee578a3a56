//! `damson.shadow`: a challenger scored beside its champion.

use crate::catalog::reference;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::evaluation;
use engine::evaluation::{Columns, shadow::compare};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.shadow(
    model text,
    source text,
    challenger text DEFAULT 'challenger',
    champion text DEFAULT 'production',
    target text DEFAULT NULL)
RETURNS TABLE (
    metric text, champion double precision, challenger double precision, value double precision, "rows" bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.shadow IS
'Scores rows by two versions of a model and compares them: nobody meets the challenger''s answers.
source is a relation''s name or a SELECT; it is read with your rights. challenger and champion are aliases, version
numbers or days. agreement is the share of rows with the very same answer; mean, and the share of each class, are of the
answers. The differences are between predictions, or between the probabilities of a row as their total variation
distance; correlation is Pearson''s, of the second class of two. With target, the column of true answers, come the
metrics of damson.evaluate. value is the challenger''s less the champion''s, or the measure of both.
Example: SELECT * FROM damson.shadow(''churn'', ''customers_today'', challenger => ''challenger'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn shadow(
    model: Text,
    source: Text,
    challenger: Option<Text>,
    champion: Option<Text>,
    target: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(metric, Text),
        name!(champion, Option<f64>),
        name!(challenger, Option<f64>),
        name!(value, f64),
        name!(rows, i64),
    ),
> {
    let found = answer(|| {
        let model = reference::model_name(&model)?;
        let of =
            |which: Option<Text>, default: &str| format!("{model}@{}", which.as_deref().unwrap_or(default));
        let models = (of(champion, reference::PRODUCTION), of(challenger, reference::CHALLENGER));
        let columns = target.as_deref().map(|target| Columns { target: Some(target), weight: None });
        evaluation::run_both((&models.0, &models.1), &source, columns, |champion, challenger, frame, cx| {
            compare(champion, challenger, frame, columns, cx)
        })
    });
    TableIterator::new(found.into_iter().map(|c| {
        let (champion, challenger) = c.pair.unzip();
        (c.name.into(), champion, challenger, c.value, c.rows as i64)
    }))
}
