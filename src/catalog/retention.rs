//! Versions that a model's policy does not keep: their artifacts are removed, all else of them stays. What they would
//! have scored is then an error that says so.
//!
//! Never removed: the newest version, what an alias means, and what one rollback of an alias would bring back. The days
//! of a version count from when it was made, or from when the last alias left it if that is later: so as-of scoring
//! reaches at least as far back as `keep_days`.

use super::audit::note;
use super::models::{Model, lock_owned};
use super::{read, write_kept};
use crate::pg::change::announce;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use serde_json::json;

/// Expires the versions whose time has come. Gives their numbers and the bytes of their artifacts.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn expire(model: &Model) -> Result<Vec<(i64, i64)>> {
    let sql = "WITH old AS (
            SELECT v.id FROM damson_catalog.versions v JOIN damson_catalog.policies p ON p.model = v.model
            WHERE v.model = $1 AND v.expired IS NULL AND v.version < $2
                AND (p.keep_versions IS NOT NULL OR p.keep_days IS NOT NULL)
                AND (p.keep_versions IS NULL OR v.version <= $2 - p.keep_versions)
                AND (p.keep_days IS NULL OR greatest(v.created, (
                    SELECT pg_catalog.max(n.at) FROM damson_catalog.deployments d
                    CROSS JOIN LATERAL (
                        SELECT f.at FROM damson_catalog.deployments f
                        WHERE f.model = d.model AND f.alias = d.alias AND f.id > d.id
                        ORDER BY f.id LIMIT 1) n
                    WHERE d.version = v.id))
                    < pg_catalog.now() - pg_catalog.make_interval(days => p.keep_days::integer))
                AND NOT EXISTS (
                    SELECT FROM damson_catalog.aliases a
                    JOIN damson_catalog.deployments d ON d.id = a.deployment
                    LEFT JOIN damson_catalog.deployments b ON b.id = d.previous
                    WHERE a.model = v.model AND v.id IN (a.version, b.version))
        ), gone AS (
            DELETE FROM damson_catalog.artifacts a USING old WHERE a.version = old.id
        )
        UPDATE damson_catalog.versions v SET expired = pg_catalog.now() FROM old WHERE v.id = old.id
        RETURNING v.version, v.artifact_size";
    let mut expired: Vec<(i64, i64)> = vec![];
    for row in &write_kept(sql, &[model.id.into(), model.last_version.into()])? {
        expired.push((row.get(0)?, row.get(1)?));
    }
    if !expired.is_empty() {
        expired.sort_unstable();
        let versions: Vec<i64> = expired.iter().map(|(version, _)| *version).collect();
        note(model, "expire", &json!({ "versions": versions }))?;
        announce()?;
    }
    Ok(expired)
}

/// Expires versions of one model, or of all that the current user owns: model, version and bytes of each.
///
/// # Errors
/// 42704 and 42501 for a model that is named.
pub fn expire_versions(name: Option<&str>) -> Result<Vec<(String, i64, i64)>> {
    let names = match name {
        Some(name) => vec![name.to_string()],
        None => {
            let sql =
                "SELECT m.name FROM damson_catalog.models m JOIN damson_catalog.policies p ON p.model = m.id
                WHERE (p.keep_versions IS NOT NULL OR p.keep_days IS NOT NULL)
                    AND pg_catalog.pg_has_role($1, m.owner::oid, 'USAGE')
                ORDER BY m.name";
            read(sql, &[current_user().into()])?.iter().map(|row| row.get(0)).collect::<Result<_>>()?
        }
    };
    let mut found = vec![];
    for one in names {
        let model = match lock_owned(&one, "expire versions of") {
            // Dropped or renamed since.
            Err(e) if name.is_none() && e.code == Code::NoSuchObject => continue,
            model => model?,
        };
        found.extend(expire(&model)?.into_iter().map(|(version, bytes)| (one.clone(), version, bytes)));
    }
    Ok(found)
}

/// The error for a version whose artifact is gone.
pub(super) fn expired(model: &str, version: i64, at: &str) -> Error {
    Error::new(Code::NotReady, format!("version {version} of model \"{model}\" expired at {at}")).hint(
        "The model's policy keeps no such old versions, see damson.policies; damson.runs tells how it was trained.",
    )
}
