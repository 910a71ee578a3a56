//! Canaries: a share of the keys that `damson.route` sends to another alias than production.

use super::audit::note;
use super::deployments::{Candidate, no_alias};
use super::models::{Model, denied, lock_owned, missing};
use super::reference::{PRODUCTION, alias as check_alias, model_name};
use super::{moment, policies, write};
use crate::pg::change;
use crate::pg::error::{Error, Result};
use crate::pg::role::current_user;
use engine::Kind;
use engine::canary::chosen;
use pgrx::pg_sys::Oid;
use serde_json::json;
use std::cell::RefCell;

/// Sends a share of the keys to an alias, or none any more. The version that the alias means serves rows from then on, so
/// it must meet the model's rules, and so must those that are deployed under the alias later.
///
/// # Errors
/// 22023 for a share that is none, and for production; 42704 for an alias that is not there; 42501; 55000 where the
/// model's rules do not let the version serve.
pub fn set(name: &str, share: f64, alias: &str) -> Result<()> {
    let alias = check_alias(alias)?;
    if !(0.0..=1.0).contains(&share) {
        return Err(Error::new(Kind::Parameter, format!("share is {share}, expected 0 to 1"))
            .hint("0.1 sends a tenth of the keys to the canary, 0 none any more."));
    }
    if alias == PRODUCTION {
        return Err(Error::new(Kind::Parameter, "production cannot be its own canary"));
    }
    let model = lock_owned(name, "change the canary of")?;
    if share == 0.0 {
        return end(&model, None);
    }
    let sql = "SELECT v.id, v.version FROM damson_catalog.aliases a JOIN damson_catalog.versions v ON v.id = a.version
        WHERE a.model = $1 AND a.alias = $2";
    let row = write(sql, &[model.id.into(), alias.into()])?.one()?;
    let row = row.ok_or_else(|| no_alias(&model.name, alias))?;
    let candidate = Candidate { id: row.get(0)?, version: row.get(1)? };
    policies::check_live(&model, &candidate)?;
    let sql = "INSERT INTO damson_catalog.canaries (model, alias, share) VALUES ($1, $2, $3)
        ON CONFLICT (model) DO UPDATE SET alias = excluded.alias, share = excluded.share";
    write(sql, &[model.id.into(), alias.into(), share.into()])?;
    note(&model, "canary", &json!({ "alias": alias, "share": share, "version": candidate.version }))?;
    change::announce()
}

/// Ends the canary of a model, or only one of that alias.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn end(model: &Model, alias: Option<&str>) -> Result<()> {
    let sql = "DELETE FROM damson_catalog.canaries c WHERE c.model = $1 AND c.alias = coalesce($2, c.alias)
        RETURNING c.alias";
    if let Some(row) = write(sql, &[model.id.into(), alias.into()])?.one()? {
        note(model, "canary", &json!({ "alias": row.get::<String>(0)?, "share": 0 }))?;
        change::announce()?;
    }
    Ok(())
}

/// Where the keys of a model go, as long as the catalog and the user are the same.
struct Routing {
    moment: u64,
    user: Oid,
    name: String,
    model: i64,
    canary: Option<(String, f64)>,
}

thread_local! {
    /// The last model that was asked for: a query asks for one model, row by row.
    static LAST: RefCell<Option<Routing>> = const { RefCell::new(None) };
}

/// The reference by which a key is to be scored, for who may score with the model.
///
/// # Errors
/// 22023 for a name that cannot be one; 42704 for a model that is not there; 42501.
pub fn route(name: &str, key: &str) -> Result<String> {
    let (user, now) = (current_user(), moment());
    let known = LAST.with_borrow(|last| {
        last.as_ref().filter(|l| l.moment == now && l.user == user && l.name == name).map(|l| l.to(key))
    });
    if let Some(reference) = known {
        return Ok(reference);
    }
    change::watch()?;
    // Taken before the catalog is read: what changes meanwhile must be seen as a change afterwards.
    let routing = find(name, user, moment())?;
    let reference = routing.to(key);
    LAST.set(Some(routing));
    Ok(reference)
}

impl Routing {
    fn to(&self, key: &str) -> String {
        match &self.canary {
            Some((alias, share)) if chosen(self.model as u64, key, *share) => {
                format!("{}@{alias}", self.name)
            }
            _ => format!("{}@{PRODUCTION}", self.name),
        }
    }
}

fn find(name: &str, user: Oid, moment: u64) -> Result<Routing> {
    let name = model_name(name)?;
    let sql = "SELECT m.id, pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') OR EXISTS (
                SELECT FROM damson_catalog.grants g
                WHERE g.model = m.id AND g.privilege = 'predict'
                    AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($2, g.grantee::oid, 'USAGE'))),
            a.alias, c.share
        FROM damson_catalog.models m
        LEFT JOIN (damson_catalog.canaries c
            JOIN damson_catalog.aliases a ON a.model = c.model AND a.alias = c.alias) ON c.model = m.id
        WHERE m.name = $1";
    let row = super::read_kept(sql, &[name.into(), user.into()])?.one()?;
    let row = row.ok_or_else(|| missing(name))?;
    if !row.get::<bool>(1)? {
        return Err(denied("use", name).hint("Its owner can grant it: CALL damson.grant_model(model, role)."));
    }
    let (alias, share): (Option<String>, Option<f64>) = (row.get(2)?, row.get(3)?);
    Ok(Routing { moment, user, name: name.into(), model: row.get(0)?, canary: alias.zip(share) })
}
