//! `damson.promote`: a challenger becomes production.

use crate::catalog::{deployments, reference};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.promote(
    model text, challenger text DEFAULT 'challenger', alias text DEFAULT 'production', gate text DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.promote(text, text, text, text) IS
'Points an alias of a model, production, at the version that another one means, the challenger.
It is damson.deploy of that version, with the same gates and rights; damson.rollback takes it back. A canary of the
challenger ends when it becomes production. The alias challenger stays, until another version is deployed under it.
Example: CALL damson.promote(''churn'', gate => ''auc >= production.auc'');';
"#)]
fn promote(model: Text, challenger: Option<Text>, alias: Option<Text>, gate: Option<Text>) {
    answer(|| {
        let challenger = challenger.as_deref().unwrap_or(reference::CHALLENGER);
        let alias = alias.as_deref().unwrap_or(reference::PRODUCTION);
        let promoted = deployments::promote(&model, challenger, alias, gate.as_deref())?;
        let already = if promoted.changed { "" } else { " already" };
        notice!("\"{}@{alias}\" is version {}{already}", &*model, promoted.version);
        Ok(())
    })
}
