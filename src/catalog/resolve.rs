//! From a model reference to a loaded model, with the current user's rights. Callers: the scorers, `evaluate` and
//! `describe`.
//!
//! What a name means is read under the snapshot of the calling statement: a cached answer would be wrong under
//! `REPEATABLE READ`, after a rollback, on a standby. An answer of an earlier statement serves only where this
//! statement's snapshot proves it true (`remembered`). A caller may keep the answer for as long as
//! [`generation`](super::generation) stays the same. Loaded models are cached by content.
//!
//! What was production at a time is read from the history of deployments, which have the times of their commits. Only
//! times that are over are answered: before this transaction began, so that no deployment of such a time is yet to come
//! into its snapshots; on a standby before the last commit that it replayed. The answer then stays true, and serves again
//! as long as the model's row is the same, which every deployment changes.

use super::cache;
use super::deployments::{no_alias, no_version};
use super::models::{denied, missing};
use super::reference::{Reference, Which};
use super::remembered::{self, Evidence};
use super::retention;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use crate::pg::row::Place;
use crate::pg::spi::Row;
use crate::pg::{change, settings};
use crate::worker::device::client;
use engine::Kind;
use engine::artifact::{TEXT_PREFIX, from_text};
use engine::moment::Moment;
use engine::scorer::Scorer;
use pgrx::pg_sys::Oid;
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

impl Resolved {
    /// The same version, answering otherwise.
    pub fn with(&self, scorer: Scorer) -> Rc<Resolved> {
        Rc::new(Resolved {
            model: self.model.clone(),
            version: self.version,
            id: self.id,
            scorer: Rc::new(scorer),
        })
    }
}

/// Who may have what a reference means.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Right {
    /// Whoever may score with the model.
    Predict,
    /// Its owner, and members of its owner: for what gives the model itself away.
    Own,
}

/// What a reference means: the row of a version.
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) version: i64,
    size: i64,
    sha256: String,
    evidence: Evidence,
}

impl Found {
    /// The artifact's bytes.
    ///
    /// # Errors
    /// XX001 when it is damaged.
    pub(super) fn artifact(&self) -> Result<Vec<u8>> {
        super::versions::artifact(self.id, self.size, &self.sha256)
    }
}

/// What a reference means; `$1` is the model, `$2` the current user, `$3` the alias or the version. The columns
/// from 6 on say from which rows, and by which role's right; then whether the user is the owner, and when the version
/// expired.
macro_rules! sql {
    ($join:literal, $pointer:literal) => {
        concat!(
            "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') OR g.grantee IS NOT NULL,
                m.last_version, v.id, v.version, v.artifact_size, v.artifact_sha256,
                CASE WHEN pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') THEN m.owner::oid ELSE g.grantee END,
                m.tableoid::text || m.ctid::text, v.tableoid::text || v.ctid::text, ",
            $pointer,
            ",
                CASE WHEN NOT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') THEN g.place END,
                pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE'),
                v.expired::timestamptz(0)::text
            FROM damson_catalog.models m ",
            $join,
            " LEFT JOIN LATERAL (
                SELECT g.grantee::oid AS grantee, g.tableoid::text || g.ctid::text AS place
                FROM damson_catalog.grants g
                WHERE g.model = m.id AND g.privilege = 'predict'
                  AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($2, g.grantee::oid, 'USAGE'))
                ORDER BY g.grantee::oid LIMIT 1) g ON true
            WHERE m.name = $1"
        )
    };
}

const BY_ALIAS: &str = sql!(
    "LEFT JOIN damson_catalog.aliases a ON a.model = m.id AND a.alias = $3
    LEFT JOIN damson_catalog.versions v ON v.id = a.version",
    "a.tableoid::text || a.ctid::text"
);
const BY_VERSION: &str =
    sql!("LEFT JOIN damson_catalog.versions v ON v.model = m.id AND v.version = $3", "NULL::text");

const BY_DAY: &str = sql!(
    "LEFT JOIN LATERAL (
        SELECT d.version, d.tableoid::text || d.ctid::text AS place FROM damson_catalog.deployments d
        WHERE d.model = m.id AND d.alias = 'production' AND d.at < ($3::date + 1)::timestamptz
        ORDER BY d.id DESC LIMIT 1) d ON true
    LEFT JOIN damson_catalog.versions v ON v.id = d.version",
    "d.place"
);
const BY_TIME: &str = sql!(
    "LEFT JOIN LATERAL (
        SELECT d.version, d.tableoid::text || d.ctid::text AS place FROM damson_catalog.deployments d
        WHERE d.model = m.id AND d.alias = 'production' AND d.at <= $3::timestamptz
        ORDER BY d.id DESC LIMIT 1) d ON true
    LEFT JOIN damson_catalog.versions v ON v.id = d.version",
    "d.place"
);

/// The version that a reference means under the calling statement's snapshot, for a current user who has the right.
///
/// # Errors
/// 42704 for a model, alias or version that is not there; 42501 without the right; 22023 for a time that is not over;
/// 55000 for a version that expired.
pub(super) fn locate(Reference { model, which }: Reference, right: Right) -> Result<Found> {
    let (sql, param) = match which {
        Which::Alias(alias) => (BY_ALIAS, alias.into()),
        Which::Version(version) => (BY_VERSION, version.into()),
        Which::At(moment) => (if moment.day { BY_DAY } else { BY_TIME }, moment.text.into()),
    };
    let row = super::read_kept(sql, &[model.into(), current_user().into(), param])?.one()?;
    let row = row.ok_or_else(|| missing(model))?;
    match right {
        Right::Predict if !row.get::<bool>(0)? => {
            return Err(
                denied("use", model).hint("Its owner can grant it: CALL damson.grant_model(model, role).")
            );
        }
        Right::Own if !row.get::<bool>(11)? => {
            return Err(denied("go on from", model).hint(
                "Only its owner may, or a member of its owner: the new model has the trees of the old one.",
            ));
        }
        _ => {}
    }
    if let Which::At(moment) = which {
        check_over(moment)?;
    }
    let Some(id) = row.get::<Option<i64>>(2)? else {
        return Err(match which {
            Which::Alias(alias) => no_alias(model, alias),
            Which::Version(version) => no_version(model, version, row.get(1)?),
            Which::At(moment) => never_deployed(model, moment),
        });
    };
    let version = row.get(3)?;
    if let Some(at) = row.get::<Option<String>>(12)? {
        return Err(retention::expired(model, version, &at));
    }
    let evidence = evidence(&row)?;
    Ok(Found { id, version, size: row.get(4)?, sha256: row.get(5)?, evidence })
}

/// Refuses a time of which the history may not be whole yet.
fn check_over(moment: Moment) -> Result<()> {
    let sql = "SELECT t.at <= pg_catalog.now(), pg_catalog.pg_is_in_recovery()
            AND coalesce(t.at > pg_catalog.pg_last_xact_replay_timestamp(), true)
        FROM (SELECT CASE WHEN $2 THEN ($1::date + 1)::timestamptz ELSE $1::timestamptz END AS at) t";
    let row = super::read_kept(sql, &[moment.text.into(), moment.day.into()])?.one()?;
    let row = row.ok_or_else(|| Error::internal("a select returned no row"))?;
    let text = moment.text;
    if !row.get::<bool>(0)? {
        return Err(if moment.day {
            Error::new(Kind::Parameter, format!("the day {text} is not over"))
                .hint("A day means the version that was production at its end; a time may be given: 2026-01-31 12:00.")
        } else {
            Error::new(Kind::Parameter, format!("the time {text} is after the beginning of the transaction"))
        });
    }
    if row.get(1)? {
        let message = format!("this standby does not know yet what was production at {text}");
        return Err(Error::new(Code::NotReady, message)
            .hint("It has replayed no transaction that the primary committed after that."));
    }
    Ok(())
}

fn never_deployed(model: &str, moment: Moment) -> Error {
    let by = if moment.day { "at the end of" } else { "at" };
    let message = format!("model \"{model}\" had no production {by} {}", moment.text);
    Error::new(Code::NoSuchObject, message).hint("damson.deployments shows its history.")
}

/// The model that `name`, `name@alias` or `name@7` means now or `name@2026-01-31` meant then, or the one that a text of
/// `damson.fit` is.
///
/// # Errors
/// 42704 for a model, alias or version that is not there; 42501 for one that is neither the current user's nor
/// granted; 22023 for an impossible reference; 55000 for a version that expired; XX001 when the stored artifact is damaged.
pub fn resolve(reference: &str) -> Result<Rc<Resolved>> {
    if reference.starts_with(TEXT_PREFIX) {
        return fitted(reference);
    }
    if let Some(resolved) = remembered::find(reference) {
        return Ok(resolved);
    }
    let parsed = Reference::parse(reference)?;
    crate::worker::look_after_once();
    change::watch()?;
    // Taken before the catalog is read: what changes meanwhile must be seen as a change afterwards.
    let generation = change::generation();
    let found = locate(parsed, Right::Predict)?;
    let (model, id, version) = (parsed.model.to_string(), found.id, found.version);
    let scorer = match cache::get(&found.sha256) {
        Some(scorer) => scorer,
        None => load(&found).map_err(|e| Error {
            message: format!("model \"{model}\" version {version}: {}", e.message),
            ..e
        })?,
    };
    let resolved = Rc::new(Resolved { model, version, id, scorer });
    remembered::keep(reference, generation, &resolved, found.sha256, found.evidence);
    Ok(resolved)
}

/// What the statements above say of it.
fn evidence(row: &Row) -> Result<Evidence> {
    let mut rows = vec![];
    for column in 7..11 {
        if let Some(place) = row.get::<Option<String>>(column)? {
            let place = Place::parse(&place);
            rows.push(
                place.ok_or_else(|| Error::internal("the server wrote the place of a row unlike a place"))?,
            );
        }
    }
    let role: Oid = row.get(6)?;
    Ok(Evidence { rows, role: (role != Oid::INVALID).then_some(role) })
}

/// A model that is no version of any: the text that `damson.fit` gave. Who has it has the model.
fn fitted(text: &str) -> Result<Rc<Resolved>> {
    let scorer = from_text(text).and_then(|artifact| Scorer::load(&artifact)).map_err(of_text)?;
    let model = format!("fitted {}", scorer.card().algorithm);
    Ok(Rc::new(Resolved { model, version: 0, id: 0, scorer: Rc::new(scorer) }))
}

/// An error about a model that was given as text.
pub(super) fn of_text(e: engine::Error) -> Error {
    Error {
        message: format!("the model given as text: {}", e.message),
        hint: Some("Take the text as damson.fit gave it.".into()),
        ..e.into()
    }
}

fn load(found: &Found) -> Result<Rc<Scorer>> {
    let scorer = Rc::new(Scorer::load(&found.artifact()?)?);
    client::attach(&scorer, found.id, found.size, &found.sha256);
    cache::put(&found.sha256, &scorer, settings::cache_memory());
    Ok(scorer)
}
