//! Aliases and their history. A deployment is a row that points an alias at a version and remembers the deployment
//! that it replaced; a rollback is a new row that points where that one did. So history only grows, and rolling
//! back twice goes back two steps.
//!
//! All of it happens under the lock of the model's row: whatever a gate reads of the model, such as the metrics of
//! what is production now, is still so when the deployment commits. When a transaction commits, its deployments get
//! that time, because as-of scoring asks what others saw: nobody sees a deployment before.

use super::audit::note;
use super::gates::Asked;
use super::models::{Model, lock_owned};
use super::reference::{PRODUCTION, alias as check_alias};
use super::{canaries, policies, retention, write};
use crate::pg::change::announce;
use crate::pg::commit;
use crate::pg::datum::TextArray;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use serde_json::json;
use std::cell::RefCell;

/// What became of a deployment.
pub struct Deployed {
    /// The version that the alias means now.
    pub version: i64,
    /// Whether it meant another before.
    pub changed: bool,
}

/// A version that an alias may come to mean.
pub(super) struct Candidate {
    /// Its row.
    pub(super) id: i64,
    /// Its number.
    pub(super) version: i64,
}

/// Points an alias at a version of a model, or at its newest, where that passes the gate and, of an alias that serves
/// rows, the model's own rules.
///
/// # Errors
/// 42704 for the model or the version; 42501 when the model is another's; 22023 for an impossible alias or gate; 55000
/// for a version that expired, does not pass a gate, or awaits approval.
pub fn deploy(model: &str, version: Option<i64>, alias: &str, gate: Option<&str>) -> Result<Deployed> {
    let alias = check_alias(alias)?;
    let gate = gate.map(Asked::parse).transpose()?;
    let model = lock_owned(model, "deploy")?;
    let version = version.unwrap_or(model.last_version);
    place(&model, version, alias, gate, "deploy")
}

/// Points an alias at the version that another one means, the challenger, as [`deploy`] does; a canary of the challenger's
/// is over.
///
/// # Errors
/// As for `deploy`; 42704 for the challenger.
pub fn promote(model: &str, challenger: &str, alias: &str, gate: Option<&str>) -> Result<Deployed> {
    let (alias, challenger) = (check_alias(alias)?, check_alias(challenger)?);
    let gate = gate.map(Asked::parse).transpose()?;
    let model = lock_owned(model, "promote a challenger of")?;
    let sql = "SELECT v.version FROM damson_catalog.aliases a
        JOIN damson_catalog.versions v ON v.id = a.version
        WHERE a.model = $1 AND a.alias = $2";
    let row = write(sql, &[model.id.into(), challenger.into()])?.one()?;
    let version = row.ok_or_else(|| no_alias(&model.name, challenger))?.get(0)?;
    let deployed = place(&model, version, alias, gate, "promote")?;
    if alias == PRODUCTION {
        canaries::end(&model, Some(challenger))?;
    }
    Ok(deployed)
}

fn place(model: &Model, version: i64, alias: &str, gate: Option<Asked>, action: &str) -> Result<Deployed> {
    let sql = "SELECT v.id, a.deployment, a.version IS NOT DISTINCT FROM v.id, p.version,
            v.expired::timestamptz(0)::text
        FROM damson_catalog.versions v
        LEFT JOIN damson_catalog.aliases a ON a.model = v.model AND a.alias = $3
        LEFT JOIN damson_catalog.versions p ON p.id = a.version
        WHERE v.model = $1 AND v.version = $2";
    let row = write(sql, &[model.id.into(), version.into(), alias.into()])?.one()?;
    let row = row.ok_or_else(|| no_version(&model.name, version, model.last_version))?;
    if let Some(at) = row.get::<Option<String>>(4)? {
        return Err(retention::expired(&model.name, version, &at));
    }
    let candidate = Candidate { id: row.get(0)?, version };
    let changed = !row.get::<bool>(2)?;
    let passed = policies::check(model, &candidate, changed.then_some(alias), gate.as_ref())?;
    if changed {
        point(model.id, alias, candidate.id, row.get(1)?, action)?;
        let from: Option<i64> = row.get(3)?;
        note(model, action, &json!({ "alias": alias, "version": version, "from": from, "gates": passed }))?;
        retention::expire(model)?;
    }
    Ok(Deployed { version, changed })
}

/// Points an alias back at the version that it meant before. Gives that version's number. Back to what was production
/// goes without gates: it is the way out.
///
/// # Errors
/// 42704 for the model or the alias; 42501; 55000 when there was nothing before, when that expired, and when a canary
/// would serve what the model's rules do not let live.
pub fn rollback(model: &str, alias: &str) -> Result<i64> {
    let alias = check_alias(alias)?;
    let model = lock_owned(model, "roll back")?;
    let sql = "SELECT p.version, v.version, p.previous, c.version, v.expired::timestamptz(0)::text
        FROM damson_catalog.aliases a
        JOIN damson_catalog.versions c ON c.id = a.version
        JOIN damson_catalog.deployments d ON d.id = a.deployment
        LEFT JOIN damson_catalog.deployments p ON p.id = d.previous
        LEFT JOIN damson_catalog.versions v ON v.id = p.version
        WHERE a.model = $1 AND a.alias = $2";
    let row = write(sql, &[model.id.into(), alias.into()])?.one()?;
    let row = row.ok_or_else(|| no_alias(&model.name, alias))?;
    let Some(id) = row.get::<Option<i64>>(0)? else {
        let message = format!("alias \"{alias}\" of model \"{}\" has no earlier deployment", model.name);
        return Err(Error::new(Code::NotReady, message).hint(format!(
            "CALL damson.deploy(...) chooses any version; there are 1 to {}.",
            model.last_version
        )));
    };
    let (version, from): (i64, i64) = (row.get(1)?, row.get(3)?);
    if let Some(at) = row.get::<Option<String>>(4)? {
        return Err(retention::expired(&model.name, version, &at));
    }
    if alias != PRODUCTION {
        policies::check(&model, &Candidate { id, version }, Some(alias), None)?;
    }
    point(model.id, alias, id, row.get(2)?, "rollback")?;
    note(&model, "rollback", &json!({ "alias": alias, "version": version, "from": from }))?;
    retention::expire(&model)?;
    Ok(version)
}

/// Gives the first version of a model its alias.
pub(super) fn point_first(model: &Model, version: i64) -> Result<()> {
    point(model.id, PRODUCTION, version, None, "train")
}

fn point(model: i64, alias: &str, version: i64, previous: Option<i64>, action: &str) -> Result<()> {
    let sql = "WITH d AS (
            INSERT INTO damson_catalog.deployments (model, alias, version, previous, action, role)
            VALUES ($1, $2, $3, $4, $5, $6::regrole)
            RETURNING id, model, alias, version),
        a AS (
            INSERT INTO damson_catalog.aliases AS a (model, alias, version, deployment)
            SELECT d.model, d.alias, d.version, d.id FROM d
            ON CONFLICT (model, alias) DO UPDATE SET version = excluded.version, deployment = excluded.deployment)
        SELECT d.id FROM d";
    let role = current_user().into();
    let row =
        write(sql, &[model.into(), alias.into(), version.into(), previous.into(), action.into(), role])?
            .one()?;
    stamp_at_commit(row.ok_or_else(|| Error::internal("an insert returned no row"))?.get(0)?);
    announce()?;
    super::scorers::follow(model, alias)
}

thread_local! {
    /// The deployments of this transaction; some may have been rolled back with a savepoint.
    static FRESH: RefCell<Vec<i64>> = const { RefCell::new(vec![]) };
}

fn stamp_at_commit(deployment: i64) {
    let first = FRESH.with_borrow_mut(|fresh| {
        fresh.push(deployment);
        fresh.len() == 1
    });
    if first {
        commit::before(stamp);
        pgrx::register_xact_callback(pgrx::PgXactCallbackEvent::Abort, || {
            FRESH.take();
        });
    }
}

/// One time for all of them: no other session sees one without the others.
fn stamp() -> Result<()> {
    let fresh = FRESH.take();
    if fresh.is_empty() {
        return Ok(());
    }
    let fresh = TextArray(fresh.iter().map(|id| Some(id.to_string())).collect());
    let sql = "UPDATE damson_catalog.deployments d SET at = s.at
        FROM (SELECT pg_catalog.clock_timestamp() AS at) s
        WHERE d.id = ANY ($1::bigint[])";
    write(sql, &[(&fresh).into()])?;
    Ok(())
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
