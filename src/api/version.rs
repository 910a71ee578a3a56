//! `damson.version`.

use crate::pg::datum::Text;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.version()
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.version() IS
'The version of the library that this session runs.
Example: SELECT damson.version();';
"#)]
fn version() -> Text {
    env!("CARGO_PKG_VERSION").into()
}
