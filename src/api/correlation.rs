//! `damson.correlation`: the correlations of a source's numeric columns.

use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Error, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::{settings, work};
use engine::Kind;
use engine::statistics::{Method, correlations};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.correlation(source text, columns text[] DEFAULT NULL, method text DEFAULT 'pearson')
RETURNS TABLE (column1 text, column2 text, correlation double precision, p_value double precision, rows bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 100
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.correlation IS
'The correlation of every pair of numeric columns of a relation or SELECT.
method is pearson, spearman or kendall (tau-b). Each pair counts the rows where both have a value; p_value is the two-sided
one of no correlation. columns chooses columns. NULL where a column is constant.
Example: SELECT * FROM damson.correlation(''homes'') ORDER BY abs(correlation) DESC NULLS LAST LIMIT 10;';
"#)]
#[allow(clippy::type_complexity)] // It is the SQL function's result.
fn correlation(
    source: Text,
    columns: Option<TextArray>,
    method: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(column1, Text),
        name!(column2, Text),
        name!(correlation, Option<f64>),
        name!(p_value, Option<f64>),
        name!(rows, i64),
    ),
> {
    let pairs = answer(|| {
        let method = match method.as_deref().unwrap_or("pearson") {
            "pearson" => Method::Pearson,
            "spearman" => Method::Spearman,
            "kendall" => Method::Kendall,
            other => {
                let message = format!("method is \"{other}\", expected pearson, spearman or kendall");
                return Err(Error::new(Kind::Parameter, message));
            }
        };
        let columns = columns.map(|c| c.without_nulls("columns")).transpose()?;
        let wanted = columns.as_deref().map_or(Wanted::All, Wanted::Only);
        let frame = query::read(&source, wanted, settings::max_memory())?;
        let title = work::Title { verb: "correlation", object: "a source" };
        Ok(work::run(title, 0, |cx| correlations(&frame, method, cx))?.value)
    });
    TableIterator::new(pairs.into_iter().map(|p| (p.a.into(), p.b.into(), p.value, p.p_value, p.rows as i64)))
}
