//! Versions whose weights came from outside: a version's network, preprocessing and classes with other weights.

use super::models::{Model, denied};
use super::{audit, parent, reference, retention, versions, write};
use crate::pg::change::{announce, check_possible};
use crate::pg::datum::Jsonb;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use engine::artifact::sha256;
use engine::{Kind, weights};
use serde_json::json;

/// The weights of the version that a reference means, as safetensors, for its owner.
///
/// # Errors
/// As [`parent::find`]; 0A000 for a model that is no network.
pub fn export(reference: &str) -> Result<Vec<u8>> {
    Ok(weights::export(&owned(reference, "export the weights of")?.artifact)?)
}

/// A new version of a model: the version that a reference means, with other weights. Gives its number.
///
/// # Errors
/// As [`export`]; 22000 for safetensors that do not fit.
pub fn import(reference: &str, tensors: &[u8], description: Option<&str>) -> Result<i64> {
    check_possible();
    let template = owned(reference, "import weights into")?;
    let Some(id) = template.id else {
        let message = "weights are imported into a model of the catalog, found one given as text";
        return Err(Error::new(Kind::Parameter, message)
            .hint("Name the model: damson.import_weights('shapes', ...)."));
    };
    let (artifact, card) = weights::import(&template.artifact, tensors)?;
    let model = next_version(id, description)?;
    let (brought, hash) = (sha256(tensors), sha256(&artifact));
    let arguments = Jsonb::from(&json!({ "weights_of": template.name, "weights_sha256": brought }));
    let run = insert_run(id, &arguments, &brought, &card.engine_version)?;
    let sql = "INSERT INTO damson_catalog.versions (model, version, algorithm, algorithm_version, params, preprocess,
            target, features, classes, artifact_size, artifact_sha256, run, created_by, parent)
        SELECT v.model, $2, v.algorithm, v.algorithm_version, v.params, v.preprocess, v.target, v.features, v.classes,
            $3, $4, $5, $6::regrole, v.id
        FROM damson_catalog.versions v WHERE v.id = $1
        RETURNING id";
    let params = [
        id.into(),
        model.last_version.into(),
        (artifact.len() as i64).into(),
        (&hash).into(),
        run.into(),
        current_user().into(),
    ];
    let version = versions::returned_id(sql, &params)?;
    versions::insert_artifact(version, &artifact)?;
    // The rows that the weights learnt from are not known: those of the template stand for them, without its answers.
    let sql = "INSERT INTO damson_drift.baselines (version, position, name, role, kind, row_count, missing,
            distinct_values, mean, std, min, median, max, sketch)
        SELECT $2, b.position, b.name, b.role, b.kind, b.row_count, b.missing, b.distinct_values, b.mean, b.std, b.min,
            b.median, b.max, b.sketch
        FROM damson_drift.baselines b WHERE b.version = $1 AND b.role IN ('feature', 'target')";
    write(sql, &[id.into(), version.into()])?;
    let details = json!({ "version": model.last_version, "from": template.name, "sha256": brought });
    audit::note(&model, "import_weights", &details)?;
    retention::expire(&model)?;
    announce()?;
    Ok(model.last_version)
}

fn owned(reference: &str, what: &str) -> Result<parent::Parent> {
    parent::find(reference).map_err(|e| match (e.code, reference::Reference::parse(reference)) {
        (Code::Privilege, Ok(parsed)) => {
            denied(what, parsed.model).hint("Only its owner may, or a member of its owner.")
        }
        _ => e,
    })
}

/// Locks the model of a version, and takes its next number.
fn next_version(template: i64, description: Option<&str>) -> Result<Model> {
    let sql = "UPDATE damson_catalog.models m
        SET last_version = m.last_version + 1, changed = pg_catalog.clock_timestamp(),
            description = coalesce($2, m.description)
        FROM damson_catalog.versions v WHERE v.id = $1 AND m.id = v.model
        RETURNING m.id, m.name, m.task, m.last_version";
    let row = write(sql, &[template.into(), description.into()])?.one()?;
    let row = row.ok_or_else(|| Error::new(Code::NoSuchObject, "the model was dropped meanwhile"))?;
    Ok(Model { id: row.get(0)?, name: row.get(1)?, task: row.get(2)?, last_version: row.get(3)? })
}

fn insert_run(template: i64, arguments: &Jsonb, sha256: &str, code_version: &str) -> Result<i64> {
    let sql = "INSERT INTO damson_catalog.runs (model, status, algorithm, source, arguments, seed, train_rows,
            test_rows, fingerprint, code_version, timings, warnings, role, started, finished)
        SELECT v.model, 'succeeded', v.algorithm, 'imported weights', $2, 0, 0, 0, $3, $4, '{}', '{}', $5::regrole,
            pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp()
        FROM damson_catalog.versions v WHERE v.id = $1
        RETURNING id";
    let params =
        [template.into(), arguments.into(), sha256.into(), code_version.into(), current_user().into()];
    versions::returned_id(sql, &params)
}
