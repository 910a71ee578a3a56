//! The version that a training goes on from: its bytes, for whoever may have them.

use super::deployments::{no_alias, no_version};
use super::models::{denied, missing};
use super::reference::{Reference, Which};
use super::resolve::of_text;
use super::versions::artifact;
use crate::pg::error::Result;
use crate::pg::role::current_user;
use engine::artifact::{TEXT_PREFIX, from_text, unpack};

/// A version to go on from.
pub struct Parent {
    /// What it is called: `name@7`, or that it was given as text.
    pub name: String,
    /// Its row; none for a model given as text.
    pub id: Option<i64>,
    /// The model's bytes.
    pub artifact: Vec<u8>,
}

macro_rules! sql {
    ($join:literal) => {
        concat!(
            "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE'), m.last_version, v.id, v.version,
                v.artifact_size, v.artifact_sha256 FROM damson_catalog.models m ",
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

/// The version that `name`, `name@alias` or `name@7` means, or the model that a text of `damson.fit` is. What goes on
/// from a model has its trees within, so a grant to score with it is not enough.
///
/// # Errors
/// 42704 for a model, alias or version that is not there; 42501 for a model of another owner; 22023 for an impossible
/// reference; XX001 when the stored artifact is damaged.
pub fn find(reference: &str) -> Result<Parent> {
    if reference.starts_with(TEXT_PREFIX) {
        let artifact = from_text(reference).map_err(of_text)?;
        unpack(&artifact).map_err(of_text)?;
        return Ok(Parent { name: "a model given as text".into(), id: None, artifact });
    }
    let Reference { model, which } = Reference::parse(reference)?;
    let (sql, param) = match which {
        Which::Alias(alias) => (BY_ALIAS, alias.into()),
        Which::Version(version) => (BY_VERSION, version.into()),
    };
    let row = super::read(sql, &[model.into(), current_user().into(), param])?.one()?;
    let row = row.ok_or_else(|| missing(model))?;
    if !row.get::<bool>(0)? {
        return Err(denied("go on from", model).hint(
            "Only its owner may, or a member of its owner: the new model has the trees of the old one.",
        ));
    }
    let Some(id) = row.get::<Option<i64>>(2)? else {
        return Err(match which {
            Which::Alias(alias) => no_alias(model, alias),
            Which::Version(version) => no_version(model, version, row.get(1)?),
        });
    };
    let version: i64 = row.get(3)?;
    let sha256: String = row.get(5)?;
    let bytes = artifact(id, row.get(4)?, &sha256)?;
    Ok(Parent { name: format!("{model}@{version}"), id: Some(id), artifact: bytes })
}
