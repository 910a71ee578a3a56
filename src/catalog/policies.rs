//! What stands between a version and the rows that it would serve: a model's standing gate, and the consent of a
//! second role. They hold for `production` and for the alias of a canary, as both serve rows.
//!
//! Once a model has an approver, the name is what the approver looks after: only members of that role change the gate
//! or the approver, and rename or drop the model, since another one could then take its name.

use super::audit::note;
use super::deployments::{Candidate, no_version};
use super::gates::{self, Asked};
use super::models::{Model, denied, lock, role_id};
use super::reference::PRODUCTION;
use super::{retention, write};
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::{current_user, has_role, in_restricted_operation, session_user};
use engine::Kind;
use pgrx::pg_sys::Oid;
use serde_json::{Value, json};

/// Changes of a model's standing rules; none leaves what there is.
pub struct Changes<'a> {
    /// What a version must meet to go live; empty for no gate.
    pub gate: Option<&'a str>,
    /// The role that must consent; empty for none.
    pub approver: Option<&'a str>,
    /// How many of the newest versions are kept; 0 for all.
    pub keep_versions: Option<i64>,
    /// For how many days versions are kept; 0 for ever.
    pub keep_days: Option<i64>,
}

/// Changes the standing rules of a model.
///
/// # Errors
/// 22023 for a gate that is none and numbers out of range; 42704 for the model or the approver; 42501.
pub fn set(name: &str, changes: &Changes) -> Result<()> {
    let gate = changes.gate.filter(|g| !g.trim().is_empty());
    gate.map(Asked::parse).transpose()?;
    for (what, days) in [("keep_versions", changes.keep_versions), ("keep_days", changes.keep_days)] {
        if let Some(n) = days.filter(|n| !(0..=1_000_000).contains(n)) {
            let message = format!("{what} is {n}, expected 0 (for no limit) to 1000000");
            return Err(Error::new(Kind::Parameter, message));
        }
    }
    let (model, owned) = lock(name)?;
    let guarded = changes.gate.is_some() || changes.approver.is_some();
    let free = changes.keep_versions.is_some() || changes.keep_days.is_some();
    let known = approver(&model)?;
    let approves = known.as_ref().is_some_and(|(role, _)| has_role(current_user(), *role));
    if !owned && (free || !approves) {
        return Err(denied("set the policy of", name).hint("Only its owner may, or a member of its owner."));
    }
    if let Some((_, role)) = known.filter(|_| guarded && !approves) {
        return Err(denied("change the gate or the approver of", name)
            .hint(format!("Only members of role {role} may, which approves its versions.")));
    }
    let role = match changes.approver.filter(|r| !r.is_empty()) {
        None => None,
        Some(role) => match role_id(role)? {
            Oid::INVALID => {
                return Err(Error::new(Kind::Parameter, "the approver is public, expected a role"));
            }
            id => Some(id),
        },
    };
    let sql = "INSERT INTO damson_catalog.policies AS p (model, gate, approver, keep_versions, keep_days)
        VALUES ($1, $2, $3::regrole, NULLIF($4, 0), NULLIF($5, 0))
        ON CONFLICT (model) DO UPDATE SET
            gate = CASE WHEN $6 THEN excluded.gate ELSE p.gate END,
            approver = CASE WHEN $7 THEN excluded.approver ELSE p.approver END,
            keep_versions = CASE WHEN $4 IS NULL THEN p.keep_versions ELSE excluded.keep_versions END,
            keep_days = CASE WHEN $5 IS NULL THEN p.keep_days ELSE excluded.keep_days END";
    let params = [
        model.id.into(),
        gate.into(),
        role.into(),
        changes.keep_versions.into(),
        changes.keep_days.into(),
        changes.gate.is_some().into(),
        changes.approver.is_some().into(),
    ];
    write(sql, &params)?;
    let sql = "DELETE FROM damson_catalog.policies p WHERE p.model = $1
        AND p.gate IS NULL AND p.approver IS NULL AND p.keep_versions IS NULL AND p.keep_days IS NULL";
    write(sql, &[model.id.into()])?;
    let details = json!({
        "gate": changes.gate, "approver": changes.approver, "keep_versions": changes.keep_versions,
        "keep_days": changes.keep_days,
    });
    note(&model, "set_policy", &details)?;
    retention::expire(&model).map(drop)
}

/// The role whose members consent to versions of a model, and its name.
fn approver(model: &Model) -> Result<Option<(Oid, String)>> {
    let sql = "SELECT p.approver::oid, p.approver::text FROM damson_catalog.policies p
        WHERE p.model = $1 AND p.approver IS NOT NULL";
    write(sql, &[model.id.into()])?.one()?.map(|row| Ok((row.get(0)?, row.get(1)?))).transpose()
}

/// Refuses to take a name away that an approver looks after.
///
/// # Errors
/// 42501 for who is no member of the model's approver, where it has one.
pub(super) fn check_name(model: &Model, what: &str) -> Result<()> {
    match approver(model)? {
        Some((role, name)) if !has_role(current_user(), role) => Err(denied(what, &model.name)
            .hint(format!("Only members of role {name} may, which approves its versions."))),
        _ => Ok(()),
    }
}

/// Consents to a version going live, as a member of the role that the model's policy names.
///
/// # Errors
/// 42704 for the model or the version; 55000 where no approver is asked for; 42501 for who is no member of it.
pub fn approve(name: &str, version: i64) -> Result<()> {
    if in_restricted_operation() {
        return Err(
            denied("approve versions of", name).hint("An index or a materialized view approves nothing.")
        );
    }
    let (model, owned) = lock(name)?;
    let Some((role, role_name)) = approver(&model)? else {
        if !owned {
            return Err(denied("approve versions of", name));
        }
        return Err(Error::new(Code::NotReady, format!("model \"{name}\" asks for no approval"))
            .hint("CALL damson.set_policy(model, approver => role) makes it ask."));
    };
    if !has_role(current_user(), role) {
        return Err(
            denied("approve versions of", name).hint(format!("Only members of role {role_name} may."))
        );
    }
    let sql = "SELECT v.id FROM damson_catalog.versions v WHERE v.model = $1 AND v.version = $2";
    let row = write(sql, &[model.id.into(), version.into()])?.one()?;
    let id: i64 = row.ok_or_else(|| no_version(name, version, model.last_version))?.get(0)?;
    let sql = "INSERT INTO damson_catalog.approvals (version, role, session_role) VALUES ($1, $2::regrole, $3::regrole)
        ON CONFLICT DO NOTHING";
    write(sql, &[id.into(), current_user().into(), session_user().into()])?;
    note(&model, "approve", &json!({ "version": version }))
}

/// Refuses a version that may not become what an alias means; none where it is that already. The gate of the call counts
/// always, the model's own rules for aliases that serve rows. Gives what the gates saw, where there were any.
///
/// # Errors
/// 55000 with the metrics that were found, or the role whose consent is missing; 22023 for a gate that names what there
/// is not.
pub(super) fn check(
    model: &Model,
    candidate: &Candidate,
    alias: Option<&str>,
    gate: Option<&Asked>,
) -> Result<Value> {
    let mut passed = vec![];
    if let Some(asked) = gate {
        passed.push(gates::meet(model, candidate, asked)?);
    }
    let sql = "SELECT p.gate FROM damson_catalog.policies p WHERE p.model = $1
        AND ($2 = $3 OR EXISTS (SELECT FROM damson_catalog.canaries c WHERE c.model = p.model AND c.alias = $2))";
    if let Some(row) = write(sql, &[model.id.into(), alias.into(), PRODUCTION.into()])?.one()? {
        passed.extend(go_live(model, candidate, row.get(0)?)?);
    }
    Ok(if passed.is_empty() { Value::Null } else { passed.into() })
}

/// Refuses a version that the model's own rules do not let serve rows.
///
/// # Errors
/// As for `check`.
pub(super) fn check_live(model: &Model, candidate: &Candidate) -> Result<()> {
    check(model, candidate, Some(PRODUCTION), None).map(drop)
}

fn go_live(model: &Model, candidate: &Candidate, gate: Option<String>) -> Result<Option<Value>> {
    let passed = match gate {
        Some(gate) => Some(gates::meet(model, candidate, &Asked::parse(&gate)?)?),
        None => None,
    };
    if let Some((_, role)) = approver(model)?
        && !is_approved(model, candidate)?
    {
        let (version, name) = (candidate.version, &model.name);
        let message = format!("version {version} of model \"{name}\" awaits the approval of role {role}");
        return Err(Error::new(Code::NotReady, message).hint(
            "A member of it who cannot act as the one that deploys calls damson.approve(model, version).",
        ));
    }
    Ok(passed)
}

/// Whether somebody consented who is a member of the approver now and cannot be who deploys. Either is known by two
/// roles, the one that acts and the one that logged in: SET ROLE changes the first, and code of one role that another
/// runs unawares (a SECURITY DEFINER trigger), or a job that was submitted under SET ROLE, has the one or the other. So
/// nobody may be, or be a member of, both one of the approval's two roles and one of the deployer's.
fn is_approved(model: &Model, candidate: &Candidate) -> Result<bool> {
    // PostgreSQL 16 makes who creates a role a member who may only grant it: that one cannot act as the role.
    let sql = "WITH RECURSIVE actors AS (
            SELECT r.role AS role, r.role AS actor FROM (
                SELECT $2::oid AS role UNION SELECT $3::oid
                UNION SELECT a.role::oid FROM damson_catalog.approvals a WHERE a.version = $1
                UNION SELECT a.session_role::oid FROM damson_catalog.approvals a WHERE a.version = $1) r
            UNION
            SELECT s.role, g.member FROM pg_catalog.pg_auth_members g JOIN actors s ON g.roleid = s.actor
            WHERE coalesce((pg_catalog.to_jsonb(g) ->> 'inherit_option')::boolean, true)
                OR coalesce((pg_catalog.to_jsonb(g) ->> 'set_option')::boolean, true)
        )
        SELECT EXISTS (
            SELECT FROM damson_catalog.approvals a
            JOIN damson_catalog.policies p ON p.model = $4
            WHERE a.version = $1 AND pg_catalog.pg_has_role(a.role::oid, p.approver::oid, 'USAGE')
                AND NOT EXISTS (
                    SELECT FROM actors x JOIN actors y ON x.actor = y.actor
                    WHERE x.role IN ($2, $3) AND y.role IN (a.role::oid, a.session_role::oid)))";
    let params = [candidate.id.into(), current_user().into(), session_user().into(), model.id.into()];
    let row = write(sql, &params)?.one()?;
    row.ok_or_else(|| Error::internal("a select returned no row"))?.get(0)
}

/// What goes with a model.
pub(super) const DROP: &[&str] = &[
    "DELETE FROM damson_catalog.approvals a USING damson_catalog.versions v WHERE v.model = $1 AND a.version = v.id",
    "DELETE FROM damson_catalog.policies WHERE model = $1",
    "DELETE FROM damson_catalog.canaries WHERE model = $1",
];
