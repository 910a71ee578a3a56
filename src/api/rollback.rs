//! `damson.rollback`: an alias goes back to what it meant before.

use crate::catalog::{deployments, reference};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.rollback(model text, alias text DEFAULT 'production')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.rollback(text, text) IS
'Points an alias of a model back at the version that was deployed before.
Called again, it goes back one more deployment; damson.deployments shows the history. It asks no gate, since it goes
back to what was live. Like damson.deploy it is part of your transaction and the owner''s alone.
Example: CALL damson.rollback(''churn'');';
"#)]
fn rollback(model: Text, alias: Option<Text>) {
    answer(|| {
        let alias = alias.as_deref().unwrap_or(reference::PRODUCTION);
        let (version, model) = (deployments::rollback(&model, alias)?, &*model);
        notice!("\"{model}@{alias}\" is version {version} again");
        Ok(())
    })
}
