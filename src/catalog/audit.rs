//! Who did what to which model. A row is written in the transaction of what it tells of: what was rolled back never
//! happened.

use super::models::Model;
use super::write_kept;
use crate::pg::datum::Jsonb;
use crate::pg::error::Result;
use crate::pg::role::{current_user, session_user};
use serde_json::Value;

/// Writes that the current user did something to a model, before the model is gone. `details` is an object; keys
/// whose value is null are left out.
///
/// # Errors
/// Only faults of the catalog.
pub fn note(model: &Model, action: &str, details: &Value) -> Result<()> {
    let sql = "INSERT INTO damson_catalog.audit (role, role_name, session_role_name, action, model, name, owner, details)
        SELECT $1::regrole, pg_catalog.pg_get_userbyid($1)::text, pg_catalog.pg_get_userbyid($2)::text, $3, m.id, $5,
            m.owner, pg_catalog.jsonb_strip_nulls($6)
        FROM damson_catalog.models m WHERE m.id = $4";
    let details = Jsonb::from(details);
    let params = [
        current_user().into(),
        session_user().into(),
        action.into(),
        model.id.into(),
        (&model.name).into(),
        (&details).into(),
    ];
    write_kept(sql, &params)?;
    Ok(())
}
