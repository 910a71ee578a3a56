//! `damson.partial_dependence`: how a model's answer moves with one input.

use super::importance::within;
use crate::catalog::resolve;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::explain::Draw;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.partial_dependence(
    model text,
    source text,
    feature text,
    class text DEFAULT NULL,
    points bigint DEFAULT 20,
    max_rows bigint DEFAULT 10000,
    seed bigint DEFAULT 0)
RETURNS TABLE (value text, number double precision, average double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 20
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.partial_dependence IS
'The mean answer of a model over the rows of source, when one column has each of several values.
The values are those that occur: all where there are at most points of them, the most frequent texts, or quantiles from
5 % to 95 %. number is the value of a numeric column. The answer is the prediction, or the probability of class (for two
classes the second one where none is named). At most max_rows rows are drawn from source by seed.
Example: SELECT value, average FROM damson.partial_dependence(''churn'', ''customers'', ''age'', class => ''yes'');';
"#)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // They are those of the SQL function.
fn partial_dependence(
    model: Text,
    source: Text,
    feature: Text,
    class: Option<Text>,
    points: Option<i64>,
    max_rows: Option<i64>,
    seed: Option<i64>,
) -> TableIterator<'static, (name!(value, Text), name!(number, Option<f64>), name!(average, f64))> {
    let found = answer(|| {
        let resolved = resolve(&model)?;
        let scorer = &*resolved.scorer;
        let points = within("points", points.unwrap_or(20), 2, 1000)?;
        let most = within("max_rows", max_rows.unwrap_or(10_000), 1, i64::from(u32::MAX))?;
        let class = scorer.class(class.as_deref())?;
        let wanted: Vec<String> = scorer.card().inputs.iter().map(|i| i.name.clone()).collect();
        let frame = query::read(&source, Wanted::Only(&wanted), settings::max_memory())?;
        let title = work::Title { verb: "dependence", object: &resolved.model };
        let seed = seed.unwrap_or(0) as u64;
        let work = work::run(title, seed, |cx| {
            scorer.partial_dependence(&frame, &feature, class, points, Draw { most, seed }, cx)
        })?;
        Ok(work.value)
    });
    TableIterator::new(found.into_iter().map(|p| (p.value.into(), p.number, p.average)))
}
