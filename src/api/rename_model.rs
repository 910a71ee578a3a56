//! `damson.rename_model`.

use crate::catalog::models;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.rename_model(model text, new_name text)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.rename_model(text, text) IS
'Gives a model another name; its versions, aliases and grants stay.
Only the model''s owner may rename it; where it has an approver (damson.set_policy), he must be a member of that too.
Example: CALL damson.rename_model(''churn'', new_name => ''churn_eu'');';
"#)]
fn rename_model(model: Text, new_name: Text) {
    answer(|| models::rename(&model, &new_name))
}
