//! `damson.approve`: a second role consents to a version.

use crate::catalog::policies;
use crate::pg::datum::Text;
use crate::pg::error::{answer, null_argument};
use pgrx::prelude::*;

#[pg_extern(sql = r#"
CREATE PROCEDURE damson.approve(model text, version bigint)
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON PROCEDURE damson.approve(text, bigint) IS
'Consents to a version becoming production, where the model''s policy asks for it.
Members of the approver that damson.set_policy named may. Who deploys must be somebody else: nobody may be, or be a member
of, both a role that approved and a role that deploys, the acting or the logged-in one; so approve and deploy as yourself,
not under SET ROLE. An approval counts as long as who gave it is a member of the approver. damson.approvals shows them.
Example: CALL damson.approve(''churn'', version => 3);';
"#)]
fn approve(model: Text, version: Option<i64>) {
    answer(|| policies::approve(&model, version.ok_or_else(|| null_argument(1))?))
}
