//! `damson.grant_model` and `damson.revoke_model`.

use crate::catalog::models;
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

const PREDICT: &str = "predict";

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.grant_model(model text, role text, privilege text DEFAULT 'predict')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.grant_model(text, text, text) IS
'Lets a role use a model: score with it, evaluate it, describe it and see it in the views.
role is a role''s exact name, or public for everybody. The one privilege is predict; to train, deploy, rename and drop
stays the owner''s and that of members of the owner. Only the model''s owner may grant.
Example: CALL damson.grant_model(''churn'', role => ''analyst'');';
"#)]
fn grant_model(model: Text, role: Text, privilege: Option<Text>) {
    answer(|| models::grant(&model, &role, privilege.as_deref().unwrap_or(PREDICT)))
}

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.revoke_model(model text, role text, privilege text DEFAULT 'predict')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.revoke_model(text, text, text) IS
'Takes back what damson.grant_model gave.
A grant that is not there is a notice and not an error. Only the model''s owner may revoke.
Example: CALL damson.revoke_model(''churn'', role => ''analyst'');';
"#)]
fn revoke_model(model: Text, role: Text, privilege: Option<Text>) {
    answer(|| {
        let privilege = privilege.as_deref().unwrap_or(PREDICT);
        if !models::revoke(&model, &role, privilege)? {
            notice!("role \"{}\" has no {privilege} grant on model \"{}\"", &*role, &*model);
        }
        Ok(())
    })
}
