//! `damson.describe`: one version as rows to read.

use crate::catalog::{description, resolve};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.describe(model text)
RETURNS TABLE (property text, value text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED ROWS 40
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.describe(text) IS
'Describes one version of a model: how it came about, what it measured, and what the algorithm says of it.
model is name, name@alias or name@7.
Example: SELECT * FROM damson.describe(''churn@3'');';
"#)]
fn describe(model: Text) -> TableIterator<'static, (name!(property, Text), name!(value, Text))> {
    let rows = answer(|| description::describe(&*resolve(&model)?));
    TableIterator::new(rows.into_iter().map(|(name, value)| (name.into(), value.into())))
}
