//! Aliases and their history. A deployment is a row that points an alias at a version and remembers the deployment
//! that it replaced; a rollback is a new row that points where that one did. So history only grows, and rolling
//! back twice goes back two steps.

use super::models::{Model, lock_owned};
use super::reference::alias as check_alias;
use super::write;
use crate::pg::change::announce;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;

/// What became of a deployment.
pub struct Deployed {
    /// The version that the alias means now.
    pub version: i64,
    /// Whether it meant another before.
    pub changed: bool,
}

/// Points an alias at a version of a model, or at its newest.
///
/// # Errors
/// 42704 for the model or the version; 42501 when the model is another's; 22023 for an impossible alias.
pub fn deploy(model: &str, version: Option<i64>, alias: &str) -> Result<Deployed> {
    let alias = check_alias(alias)?;
    let model = lock_owned(model, "deploy")?;
    let version = version.unwrap_or(model.last_version);
    let sql = "SELECT v.id, a.deployment, a.version IS NOT DISTINCT FROM v.id
        FROM damson_catalog.versions v
        LEFT JOIN damson_catalog.aliases a ON a.model = v.model AND a.alias = $3
        WHERE v.model = $1 AND v.version = $2";
    let row = write(sql, &[model.id.into(), version.into(), alias.into()])?.one()?;
    let row = row.ok_or_else(|| no_version(&model.name, version, model.last_version))?;
    let changed = !row.get::<bool>(2)?;
    if changed {
        point(model.id, alias, row.get(0)?, row.get(1)?, "deploy")?;
    }
    Ok(Deployed { version, changed })
}

/// Points an alias back at the version that it meant before. Gives that version's number.
///
/// # Errors
/// 42704 for the model or the alias; 42501; 55000 when there was nothing before.
pub fn rollback(model: &str, alias: &str) -> Result<i64> {
    let alias = check_alias(alias)?;
    let model = lock_owned(model, "roll back")?;
    let sql = "SELECT p.version, v.version, p.previous
        FROM damson_catalog.aliases a
        JOIN damson_catalog.deployments d ON d.id = a.deployment
        LEFT JOIN damson_catalog.deployments p ON p.id = d.previous
        LEFT JOIN damson_catalog.versions v ON v.id = p.version
        WHERE a.model = $1 AND a.alias = $2";
    let row = write(sql, &[model.id.into(), alias.into()])?.one()?;
    let row = row.ok_or_else(|| no_alias(&model.name, alias))?;
    let Some(version) = row.get::<Option<i64>>(0)? else {
        let message = format!("alias \"{alias}\" of model \"{}\" has no earlier deployment", model.name);
        return Err(Error::new(Code::NotReady, message).hint(format!(
            "CALL damson.deploy(...) chooses any version; there are 1 to {}.",
            model.last_version
        )));
    };
    point(model.id, alias, version, row.get(2)?, "rollback")?;
    row.get(1)
}

/// Gives the first version of a model its alias.
pub(super) fn point_first(model: &Model, version: i64) -> Result<()> {
    point(model.id, super::reference::PRODUCTION, version, None, "train")
}

fn point(model: i64, alias: &str, version: i64, previous: Option<i64>, action: &str) -> Result<()> {
    let sql = "WITH d AS (
            INSERT INTO damson_catalog.deployments (model, alias, version, previous, action, role)
            VALUES ($1, $2, $3, $4, $5, $6::regrole)
            RETURNING id, model, alias, version)
        INSERT INTO damson_catalog.aliases AS a (model, alias, version, deployment)
        SELECT d.model, d.alias, d.version, d.id FROM d
        ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version, deployment = excluded.deployment";
    let role = current_user().into();
    write(sql, &[model.into(), alias.into(), version.into(), previous.into(), action.into(), role])?;
    announce()
}

/// The error for a version that a model does not have.
pub fn no_version(model: &str, version: i64, last: i64) -> Error {
    Error::new(Code::NoSuchObject, format!("model \"{model}\" has no version {version}"))
        .hint(format!("It has versions 1 to {last}; damson.versions shows them."))
}

/// The error for an alias that a model does not have.
pub fn no_alias(model: &str, alias: &str) -> Error {
    Error::new(Code::NoSuchObject, format!("model \"{model}\" has no alias \"{alias}\""))
        .hint("damson.aliases shows them; CALL damson.deploy(model, version, alias) makes one.")
}
