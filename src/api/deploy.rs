//! `damson.deploy`: a version becomes what an alias means.

use crate::catalog::{deployments, reference};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.deploy(model text, version bigint DEFAULT NULL, alias text DEFAULT 'production')
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.deploy(text, bigint, text) IS
'Points an alias of a model at a version: at the newest when version is left out.
A bare model name means its alias production. The change is part of your transaction: others see it when you commit,
and a rollback (of a savepoint too) takes it back. Only the model''s owner may deploy.
Example: CALL damson.deploy(''churn'', version => 3);';
"#)]
fn deploy(model: Text, version: Option<i64>, alias: Option<Text>) {
    answer(|| {
        let alias = alias.as_deref().unwrap_or(reference::PRODUCTION);
        let deployed = deployments::deploy(&model, version, alias)?;
        if !deployed.changed {
            let (model, version) = (&*model, deployed.version);
            notice!("\"{model}@{alias}\" is version {version} already");
        }
        Ok(())
    })
}
