//! `damson.deploy`: a version becomes what an alias means.

use crate::catalog::{deployments, reference};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.deploy(
    model text, version bigint DEFAULT NULL, alias text DEFAULT 'production', gate text DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.deploy(text, bigint, text, text) IS
'Points an alias of a model at a version: at the newest when version is left out.
A bare model name means its alias production. The change is part of your transaction: others see it when you commit,
and a rollback (of a savepoint too) takes it back. Only the model''s owner may deploy.
gate is a condition that the version must meet, checked in the same transaction, such as auc > 0.9 and
drift_share < 0.1. A metric is what the training measured on rows that it held out, else over folds; train.auc is that of
the training rows, production.auc that of what an alias means now, and drift_share that which a monitor of the owner''s
last recorded of the version. There are + - * /, comparisons, and, or, not and brackets. For production, and for the
alias of a canary, the model''s own gate and approver count too: see damson.set_policy.
Example: CALL damson.deploy(''churn'', version => 3, gate => ''auc > 0.9 and auc >= production.auc'');';
"#)]
fn deploy(model: Text, version: Option<i64>, alias: Option<Text>, gate: Option<Text>) {
    answer(|| {
        let alias = alias.as_deref().unwrap_or(reference::PRODUCTION);
        let deployed = deployments::deploy(&model, version, alias, gate.as_deref())?;
        if !deployed.changed {
            let (model, version) = (&*model, deployed.version);
            notice!("\"{model}@{alias}\" is version {version} already");
        }
        Ok(())
    })
}
