//! Models themselves: owners, names, grants.

use super::audit::note;
use super::reference::model_name;
use super::{policies, read_kept, write};
use crate::pg::change::{self, announce};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use crate::pg::spi::Row;
use engine::Kind;
use engine::schema::Task;
use serde_json::json;

/// A model that the current user may change.
pub struct Model {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What all of its versions do.
    pub task: String,
    /// The number of its newest version.
    pub last_version: i64,
}

const FIND: &str = "SELECT m.id, m.task, m.last_version, pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE')
    FROM damson_catalog.models m WHERE m.name = $1";

/// An update, not a lock alone: it makes whoever changes the model under an older snapshot fail (40001), where a lock
/// would let him go on with what he cannot see.
const LOCK: &str =
    "UPDATE damson_catalog.models m SET changed = pg_catalog.clock_timestamp() WHERE m.name = $1
    RETURNING m.id, m.task, m.last_version, pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE')";

/// The error for a model that is not there.
pub fn missing(name: &str) -> Error {
    Error::new(Code::NoSuchObject, format!("model \"{name}\" does not exist"))
        .hint("SELECT name FROM damson.models shows the models that you may use.")
}

/// The error for a user who may not do that with a model.
pub fn denied(what: &str, name: &str) -> Error {
    Error::new(Code::Privilege, format!("permission denied to {what} model \"{name}\""))
}

/// The model of that name, for a user who may change it, and nobody else until the end of the transaction.
///
/// # Errors
/// 42704 when there is none; 42501 when the current user is not its owner, nor a member of its owner. Raises 40001
/// when another transaction changed it after this one's snapshot.
pub fn lock_owned(name: &str, what: &str) -> Result<Model> {
    let name = model_name(name)?;
    change::check_possible();
    let row = write(LOCK, &[name.into(), current_user().into()])?.one()?;
    owned(name, what, &row.ok_or_else(|| missing(name))?)
}

/// As [`lock_owned`] for whoever may change the model besides its owner; says whether the current user owns it. The
/// caller checks what he may.
///
/// # Errors
/// As for `lock_owned`, but 42501.
pub(super) fn lock(name: &str) -> Result<(Model, bool)> {
    let name = model_name(name)?;
    change::check_possible();
    let row = write(LOCK, &[name.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| missing(name))?;
    Ok((model(name, &row)?, row.get(3)?))
}

fn owned(name: &str, what: &str, row: &Row) -> Result<Model> {
    if !row.get::<bool>(3)? {
        return Err(denied(what, name).hint("Only its owner may, or a member of its owner."));
    }
    model(name, row)
}

fn model(name: &str, row: &Row) -> Result<Model> {
    Ok(Model { id: row.get(0)?, name: name.into(), task: row.get(1)?, last_version: row.get(2)? })
}

/// Checks early what registering a version would refuse at the end of the training. Gives the model's task, where
/// there is a model already.
///
/// # Errors
/// 22023 for an impossible name; 42501 when the model is another's.
pub fn check_trainable(name: &str) -> Result<Option<Task>> {
    let name = model_name(name)?;
    change::check_possible();
    let Some(row) = read_kept(FIND, &[name.into(), current_user().into()])?.one()? else { return Ok(None) };
    Ok(Task::parse(&owned(name, "train", &row)?.task))
}

/// The error for a version that would answer another question than the versions before it.
pub fn other_task(name: &str, task: &str, found: &str) -> engine::Error {
    let message = format!("model \"{name}\" is for {task}, but this version is for {found}");
    engine::Error::new(Kind::Parameter, message)
        .hint("Those who score a model rely on its task: train under another name, or say the task.")
}

/// Renames a model.
///
/// # Errors
/// 42704, 42501, also where the model has an approver; 42710 when the new name is taken.
pub fn rename(name: &str, new_name: &str) -> Result<()> {
    let new_name = model_name(new_name)?;
    let model = lock_owned(name, "rename")?;
    policies::check_name(&model, "rename")?;
    let taken = "SELECT 1 FROM damson_catalog.models m WHERE m.name = $1";
    if !write(taken, &[new_name.into()])?.is_empty() {
        return Err(Error::new(Code::Exists, format!("model \"{new_name}\" exists already")));
    }
    let sql = "UPDATE damson_catalog.models SET name = $2 WHERE id = $1";
    note(&model, "rename", &json!({ "new_name": new_name }))?;
    write(sql, &[model.id.into(), new_name.into()])?;
    announce()?;
    super::scorers::rename(model.id, name, new_name)
}

/// What goes with a model, from the leaves up.
const DROP: &[&str] = &[
    "DELETE FROM damson_catalog.figures f USING damson_catalog.versions v
        WHERE v.model = $1 AND f.version = v.id",
    "DELETE FROM damson_drift.baselines b USING damson_catalog.versions v
        WHERE v.model = $1 AND b.version = v.id",
    "DELETE FROM damson_catalog.artifacts a USING damson_catalog.versions v
        WHERE v.model = $1 AND a.version = v.id",
    "DELETE FROM damson_catalog.metrics q USING damson_catalog.runs r WHERE r.model = $1 AND q.run = r.id",
    "DELETE FROM damson_catalog.trials t USING damson_catalog.runs r WHERE r.model = $1 AND t.run = r.id",
    "DELETE FROM damson_catalog.searches q USING damson_catalog.runs r WHERE r.model = $1 AND q.run = r.id",
    "DELETE FROM damson_catalog.aliases WHERE model = $1",
    "DELETE FROM damson_catalog.deployments WHERE model = $1",
    "DELETE FROM damson_catalog.grants WHERE model = $1",
    "DELETE FROM damson_catalog.versions WHERE model = $1",
    "DELETE FROM damson_catalog.runs WHERE model = $1",
    "DELETE FROM damson_catalog.models WHERE id = $1",
];

/// Drops a model with its versions, aliases, runs and grants. Says whether there was one.
///
/// # Errors
/// 42501, also where the model has an approver; 42704 unless `missing_ok`.
pub fn drop(name: &str, missing_ok: bool) -> Result<bool> {
    let model = match lock_owned(name, "drop") {
        Err(e) if missing_ok && e.code == Code::NoSuchObject => return Ok(false),
        model => model?,
    };
    policies::check_name(&model, "drop")?;
    note(&model, "drop", &json!({ "versions": model.last_version }))?;
    super::scorers::drop_all(model.id)?;
    for sql in super::lineage::DROP.iter().chain(policies::DROP).chain(super::monitors::DROP).chain(DROP) {
        write(sql, &[model.id.into()])?;
    }
    announce()?;
    Ok(true)
}

/// Grants a privilege on a model to a role, or to everybody (`public`).
///
/// # Errors
/// 42704 for the model or the role; 42501; 22023 for an unknown privilege.
pub fn grant(name: &str, role: &str, privilege: &str) -> Result<()> {
    check_privilege(privilege)?;
    let model = lock_owned(name, "grant privileges on")?;
    let sql = "INSERT INTO damson_catalog.grants (model, grantee, privilege, grantor)
        VALUES ($1, $2::regrole, $3, $4::regrole) ON CONFLICT DO NOTHING";
    let grantee = role_id(role)?;
    write(sql, &[model.id.into(), grantee.into(), privilege.into(), current_user().into()])?;
    note(&model, "grant", &json!({ "role": role, "privilege": privilege }))?;
    announce()
}

/// Takes a grant back. Says whether there was one.
///
/// # Errors
/// As for `grant`.
pub fn revoke(name: &str, role: &str, privilege: &str) -> Result<bool> {
    check_privilege(privilege)?;
    let model = lock_owned(name, "revoke privileges on")?;
    let sql = "DELETE FROM damson_catalog.grants
        WHERE model = $1 AND grantee = $2::regrole AND privilege = $3";
    let gone = write(sql, &[model.id.into(), role_id(role)?.into(), privilege.into()])?.processed > 0;
    if gone {
        note(&model, "revoke", &json!({ "role": role, "privilege": privilege }))?;
    }
    announce()?;
    Ok(gone)
}

fn check_privilege(privilege: &str) -> Result<()> {
    if privilege == "predict" {
        return Ok(());
    }
    Err(Error::new(Kind::Parameter, format!("privilege \"{privilege}\" is unknown, expected \"predict\""))
        .hint("It allows to score, evaluate and describe a model; all else is the owner's."))
}

/// The role of that name; `InvalidOid` for `public`.
///
/// # Errors
/// 42704.
pub(super) fn role_id(role: &str) -> Result<pgrx::pg_sys::Oid> {
    if role.eq_ignore_ascii_case("public") {
        return Ok(pgrx::pg_sys::InvalidOid);
    }
    let sql = "SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = $1::name";
    let row = write(sql, &[role.into()])?.one()?;
    let row = row.ok_or_else(|| Error::new(Code::NoSuchObject, format!("role \"{role}\" does not exist")))?;
    row.get(0)
}
