//! `damson.drop_model`.

use crate::catalog::models;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.drop_model(model text, missing_ok boolean DEFAULT false)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.drop_model(text, boolean) IS
'Drops a model with all of its versions, aliases, runs and grants.
With missing_ok, a model that does not exist is a notice and not an error. Only the model''s owner may drop it; where
it has an approver (damson.set_policy), he must be a member of that too. What damson.audit tells of it stays.
Example: CALL damson.drop_model(''churn'', missing_ok => true);';
"#)]
fn drop_model(model: Text, missing_ok: Option<bool>) {
    answer(|| {
        if !models::drop(&model, missing_ok.unwrap_or(false))? {
            notice!("model \"{}\" does not exist, skipping", &*model);
        }
        Ok(())
    })
}
