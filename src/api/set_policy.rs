//! `damson.set_policy`: what stands between a version and production, and how long versions are kept.

use crate::catalog::policies::{self, Changes};
use crate::pg::datum::Text;
use crate::pg::error::answer;
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.set_policy(
    model text,
    gate text DEFAULT NULL,
    approver text DEFAULT NULL,
    keep_versions bigint DEFAULT NULL,
    keep_days bigint DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.set_policy(text, text, text, bigint, bigint) IS
'Sets standing rules of a model; those that are left out stay as they are.
gate is a condition as of damson.deploy that every version must meet to become production, or what a canary serves;
an empty text ends it. approver is a role of which a member, other than who deploys, must first consent (damson.approve);
from then on only its members change the gate or the approver, or rename or drop the model. An empty text ends it.
Versions that are not among the newest keep_versions, and that no alias meant for keep_days days, lose their artifacts with the
next change of the model or by damson.expire_versions; scoring with one is then an error. What an alias means, what a
rollback would bring back and the newest version are always kept. 0 ends either limit; a version is kept by any of them.
Rollbacks ask no gate. Only the model''s owner may set rules.
Example: CALL damson.set_policy(''churn'', gate => ''auc > 0.8 and auc >= production.auc'', keep_versions => 20);';
"#)]
fn set_policy(
    model: Text,
    gate: Option<Text>,
    approver: Option<Text>,
    keep_versions: Option<i64>,
    keep_days: Option<i64>,
) {
    answer(|| {
        let changes =
            Changes { gate: gate.as_deref(), approver: approver.as_deref(), keep_versions, keep_days };
        policies::set(&model, &changes)
    })
}
