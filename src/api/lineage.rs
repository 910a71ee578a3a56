//! `damson.upstream` and `damson.downstream`: where models come from, and where they go.

use crate::catalog::graph::{self, Step};
use crate::catalog::resolve;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

type Row = (i64, Text, Text, Option<i64>, Option<Text>, Text, Text);

#[pg_extern(sql = r#"
CREATE FUNCTION damson.upstream(model text)
RETURNS TABLE (depth bigint, kind text, name text, version bigint, "column" text, "usage" text, "of" text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 50
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.upstream(text) IS
'What a version of a model was made of, down to columns, and through tables that other versions filled.
Each row is something that was read: a table, a view or a function (column is NULL for the relation as such), or a
version of a model that had filled one of these tables by damson.score_into, or that the training went on from. usage is the part that a column had
(feature, target, ...; condition where it only decided which rows there are; carried and feature of a filling), and of
says what it went into: a version, with the column of its source. Models that you may not see are left out, with what
lies behind them.
Example: SELECT depth, kind, name, "column", "usage" FROM damson.upstream(''churn@3'');';
"#)]
#[allow(clippy::type_complexity)] // It is that of the SQL function.
fn upstream(
    model: Text,
) -> TableIterator<
    'static,
    (
        name!(depth, i64),
        name!(kind, Text),
        name!(name, Text),
        name!(version, Option<i64>),
        name!(column, Option<Text>),
        name!(usage, Text),
        name!(of, Text),
    ),
> {
    TableIterator::new(answer(|| graph::upstream(&*resolve(&model)?)).into_iter().map(row))
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.downstream(relation text, column_name text DEFAULT NULL)
RETURNS TABLE (depth bigint, kind text, name text, version bigint, "column" text, "usage" text, "of" text)
LANGUAGE c STABLE CALLED ON NULL INPUT PARALLEL RESTRICTED ROWS 50
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.downstream IS
'What becomes of a relation, or of one of its columns: models trained on it, tables that they filled, and on.
The rows of kind model are versions that were trained on it, also through views; usage is the part that of, the column,
had. Those of kind table are columns that damson.score_into filled; usage is how, and of says by which version or from
which column. Models that you may not see are left out, with what lies behind them.
Example: SELECT depth, kind, name, version, "column", "of" FROM damson.downstream(''customers'', ''age'');';
"#)]
#[allow(clippy::type_complexity)] // It is that of the SQL function.
fn downstream(
    relation: Text,
    column_name: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(depth, i64),
        name!(kind, Text),
        name!(name, Text),
        name!(version, Option<i64>),
        name!(column, Option<Text>),
        name!(usage, Text),
        name!(of, Text),
    ),
> {
    let steps = answer(|| {
        let (schema, relation) = graph::relation(&relation)?;
        graph::downstream(&schema, &relation, column_name.as_deref())
    });
    TableIterator::new(steps.into_iter().map(row))
}

fn row(s: Step) -> Row {
    (s.depth, s.kind.into(), s.name.into(), s.version, s.column.map(Text), s.usage.into(), s.of.into())
}
