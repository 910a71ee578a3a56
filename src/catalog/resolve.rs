//! From a model reference to a loaded model, with the current user's rights. Callers: the scorers, `evaluate` and
//! `describe`.
//!
//! What a name means is read under the snapshot of the calling statement, every time: a cached answer would be wrong
//! under `REPEATABLE READ`, after a rollback, on a standby. A caller may keep the answer for as long as
//! [`generation`](super::generation) stays the same. Loaded models are cached by content.

use super::cache;
use super::deployments::{no_alias, no_version};
use super::models::{denied, missing};
use super::reference::{Reference, Which};
use crate::pg::error::{Error, Result};
use crate::pg::role::current_user;
use crate::pg::{change, settings};
use engine::scorer::Scorer;
use std::rc::Rc;

/// A version of a model that the current user may score with.
pub struct Resolved {
    /// The model's name.
    pub model: String,
    /// The version's number.
    pub version: i64,
    /// The version's row.
    pub(super) id: i64,
    /// The model, loaded.
    pub scorer: Rc<Scorer>,
}

/// What a reference means; `$1` is the model, `$2` the current user, `$3` the alias or the version.
macro_rules! sql {
    ($join:literal) => {
        concat!(
            "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') OR EXISTS (
                SELECT FROM damson_catalog.grants g
                WHERE g.model = m.id AND g.privilege = 'predict'
                  AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($2, g.grantee::oid, 'USAGE'))),
                m.last_version, v.id, v.version, v.artifact_size, v.artifact_sha256
            FROM damson_catalog.models m ",
            $join,
            " WHERE m.name = $1"
        )
    };
}

const BY_ALIAS: &str = sql!(
    "LEFT JOIN damson_catalog.aliases a ON a.model = m.id AND a.alias = $3
    LEFT JOIN damson_catalog.versions v ON v.id = a.version"
);
const BY_VERSION: &str = sql!("LEFT JOIN damson_catalog.versions v ON v.model = m.id AND v.version = $3");

/// The model that `name`, `name@alias` or `name@7` means now.
///
/// # Errors
/// 42704 for a model, alias or version that is not there; 42501 for one that is neither the current user's nor
/// granted; 22023 for an impossible reference; XX001 when the stored artifact is damaged.
pub fn resolve(reference: &str) -> Result<Rc<Resolved>> {
    let Reference { model, which } = Reference::parse(reference)?;
    change::watch()?;
    let (sql, param) = match which {
        Which::Alias(alias) => (BY_ALIAS, alias.into()),
        Which::Version(version) => (BY_VERSION, version.into()),
    };
    let row = super::read_kept(sql, &[model.into(), current_user().into(), param])?.one()?;
    let row = row.ok_or_else(|| missing(model))?;
    if !row.get::<bool>(0)? {
        return Err(
            denied("use", model).hint("Its owner can grant it: CALL damson.grant_model(model, role).")
        );
    }
    let Some(id) = row.get::<Option<i64>>(2)? else {
        return Err(match which {
            Which::Alias(alias) => no_alias(model, alias),
            Which::Version(version) => no_version(model, version, row.get(1)?),
        });
    };
    let version = row.get(3)?;
    let sha256: String = row.get(5)?;
    let scorer = match cache::get(&sha256) {
        Some(scorer) => scorer,
        None => load(id, row.get(4)?, &sha256).map_err(|e| Error {
            message: format!("model \"{model}\" version {version}: {}", e.message),
            ..e
        })?,
    };
    Ok(Rc::new(Resolved { model: model.to_string(), version, id, scorer }))
}

fn load(version: i64, size: i64, sha256: &str) -> Result<Rc<Scorer>> {
    let scorer = Rc::new(Scorer::load(&super::versions::artifact(version, size, sha256)?)?);
    cache::put(sha256, &scorer, settings::cache_memory());
    Ok(scorer)
}
