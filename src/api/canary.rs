//! `damson.canary` and `damson.route`: a share of the keys for another version.

use crate::catalog::{canaries, reference};
use crate::pg::datum::Text;
use crate::pg::error::{answer, null_argument};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.canary(model text, share double precision, alias text DEFAULT 'challenger')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.canary(text, double precision, text) IS
'Lets damson.route send a share of the keys, 0 to 1, to an alias of a model; 0 ends that.
A key that was sent there stays there while the share grows. The version must meet the model''s rules (damson.set_policy), as
must all that are deployed under the alias meanwhile. A model has one canary. Only the model''s owner may change it.
Example: CALL damson.canary(''churn'', share => 0.1, alias => ''challenger'');';
"#)]
fn canary(model: Text, share: Option<f64>, alias: Option<Text>) {
    answer(|| {
        let share = share.ok_or_else(|| null_argument(1))?;
        canaries::set(&model, share, alias.as_deref().unwrap_or(reference::CHALLENGER))
    })
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.route(model text, key text)
RETURNS text
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.route IS
'The reference that a key is to be scored by: name@production, or the canary''s alias for its share of the keys.
The choice depends on a hash of the key and on the model alone, so that a customer always meets the same version.
Example: SELECT c.id, damson.probability(damson.route(''churn'', c.id::text), ''yes'', c) FROM customers c;';
"#)]
fn route(model: Text, key: Text) -> Text {
    answer(|| canaries::route(&model, &key).map(Text))
}
