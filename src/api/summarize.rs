//! `damson.summarize`: the columns of a source, summed up.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::prepare::encode::kind_name;
use engine::statistics;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.summarize(source text)
RETURNS TABLE (
    "column" text, type text, rows bigint, missing bigint, "distinct" bigint, mean double precision,
    std double precision, min double precision, q25 double precision, median double precision, q75 double precision,
    max double precision, top text, top_rows bigint)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.summarize IS
'The columns of a relation or SELECT, summed up: a row a column.
missing counts NULL and NaN, distinct the different values. mean, the sample''s standard deviation, quartiles and ends are
those of numbers, the mean of a boolean its share of true; top is the most frequent text or truth value, with its rows.
Example: SELECT "column", missing, "distinct", mean, median, top FROM damson.summarize(''customers'');';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn summarize(
    source: Text,
) -> TableIterator<
    'static,
    (
        name!(column, Text),
        name!(kind, Text),
        name!(rows, i64),
        name!(missing, i64),
        name!(distinct, i64),
        name!(mean, Option<f64>),
        name!(std, Option<f64>),
        name!(min, Option<f64>),
        name!(q25, Option<f64>),
        name!(median, Option<f64>),
        name!(q75, Option<f64>),
        name!(max, Option<f64>),
        name!(top, Option<Text>),
        name!(top_rows, Option<i64>),
    ),
> {
    let columns = answer(|| {
        let frame = query::read(&source, Wanted::All, settings::max_memory())?;
        let title = work::Title { verb: "summarize", object: "a source" };
        Ok(work::run(title, 0, |cx| statistics::summarize(&frame, cx))?.value)
    });
    TableIterator::new(columns.into_iter().map(|c| {
        let at = |i: usize| c.quantiles.map(|q| q[i]);
        let (top, top_rows) = c.top.clone().unzip();
        (
            c.name.clone().into(),
            kind_name(c.kind).trim_start_matches("an ").trim_start_matches("a ").to_string().into(),
            c.rows as i64,
            c.missing as i64,
            c.distinct as i64,
            c.mean,
            c.std,
            at(0),
            at(1),
            at(2),
            at(3),
            at(4),
            top.map(Text),
            top_rows.map(|n| n as i64),
        )
    }))
}
