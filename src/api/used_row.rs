//! `damson.used_row`: whether a row trained a model.

use crate::catalog::{lineage, resolve};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.used_row(model text, key text)
RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.used_row(text, text) IS
'Whether the row of that key was among those that a version learnt from; rows held out to test on were not.
The version was trained with key_column, and key is a value of it, as text. false is certain; true is wrong for the
share of unused rows that damson.lineage shows as key_error_rate, one in 2,000 up to 15 million rows. Only the model''s
owner may ask.
Example: SELECT c.id FROM customers c WHERE damson.used_row(''churn@3'', c.id::text);';
"#)]
fn used_row(model: Text, key: Text) -> bool {
    answer(|| Ok(lineage::used_keys(&*resolve(&model)?)?.has(&key)?))
}
