//! `damson.score_into`: a table filled with the scores of a model.

use crate::pg::datum::{Text, TextArray};
use crate::pg::error::answer;
use crate::pg::filling::{self, Asked};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.score_into(
    table_name text,
    model text,
    source text,
    mode text DEFAULT 'insert',
    key text[] DEFAULT NULL,
    incremental text DEFAULT NULL,
    columns text[] DEFAULT NULL)
RETURNS TABLE (
    model text, version bigint, table_name text, created boolean, "rows" bigint, seconds double precision)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.score_into IS
'Fills a table with the scores of a model, and records which version filled it.
source is a relation''s name or a SELECT. The table gets the columns of key, the one of incremental and those of
columns (all of the source where none of these is given), then prediction (a class for a classification, with its
probability), model_version and scored_at. It is made where it is not there, with key as its primary key. mode is
insert; merge, which updates rows whose key is there; or replace, which deletes the rows of before in the same
transaction. incremental names a column that grows, a key or a time: only rows that are beyond the greatest in the table
are scored, so that calling it again and again goes on. All runs with your rights, on one version, in your transaction;
damson.filled_tables, damson.upstream and damson.downstream know of it.
Example: SELECT * FROM damson.score_into(''churn_scores'', ''churn'', ''customers'', mode => ''merge'', key => ''{id}'');';
"#)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // They are those of the SQL function.
fn score_into(
    table_name: Text,
    model: Text,
    source: Text,
    mode: Option<Text>,
    key: Option<TextArray>,
    incremental: Option<Text>,
    columns: Option<TextArray>,
) -> TableIterator<
    'static,
    (
        name!(model, Text),
        name!(version, i64),
        name!(table_name, Text),
        name!(created, bool),
        name!(rows, i64),
        name!(seconds, f64),
    ),
> {
    let done = answer(|| {
        filling::fill(&Asked {
            table: &table_name,
            model: &model,
            source: &source,
            mode: mode.as_deref().unwrap_or("insert"),
            key: key.map(|k| k.without_nulls("key")).transpose()?.unwrap_or_default(),
            incremental: incremental.map(|c| c.0),
            columns: columns.map(|c| c.without_nulls("columns")).transpose()?,
        })
    });
    let (model, table) = (done.model.into(), done.table.into());
    TableIterator::once((model, done.version, table, done.created, done.rows, done.seconds))
}
