//! What a training leaves behind: a run with its metrics, a version with its artifact, and, for the first version
//! of a model, the model itself and its alias. All of it in the transaction of the training, and only at its end:
//! nothing is half registered, and no lock is held while a model trains.

use super::models::{Model, denied, other_task};
use super::write_kept;
use crate::pg::change::announce;
use crate::pg::datum::{Jsonb, TextArray};
use crate::pg::error::{Error, Result};
use crate::pg::role::current_user;
use engine::drift::Baseline;
use engine::evaluation::figures::Figures;
use serde_json::json;
use std::time::Instant;

/// Bytes of an artifact in one row.
const CHUNK: usize = 1 << 20;

/// A finished training.
pub struct Training<'a> {
    /// The model's name.
    pub model: &'a str,
    /// What the model does.
    pub task: &'a str,
    /// The model's description; none leaves the one that it has.
    pub description: Option<&'a str>,
    /// The run.
    pub run: Run<'a>,
    /// The version.
    pub version: Version<'a>,
    /// What it was made of.
    pub origin: super::lineage::Origin<'a>,
    /// What the rows were like.
    pub baseline: &'a Baseline,
    /// What its answers look like for rows that it did not learn from.
    pub figures: Option<&'a Figures>,
}

/// How a version came about.
pub struct Run<'a> {
    /// The source, as the user gave it.
    pub source: &'a str,
    /// The arguments of the call, as a JSON object.
    pub arguments: &'a serde_json::Value,
    /// The seed.
    pub seed: i64,
    /// Rows that were learnt from.
    pub train_rows: i64,
    /// Rows that were held out.
    pub test_rows: i64,
    /// A hash of the rows.
    pub fingerprint: &'a str,
    /// The engine's version.
    pub code_version: &'a str,
    /// Seconds by phase, as a JSON object.
    pub timings: &'a serde_json::Value,
    /// Warnings that the user was given.
    pub warnings: &'a [String],
    /// Seconds since it began.
    pub seconds: f64,
    /// What was measured.
    pub metrics: &'a [Metric],
}

/// One measurement.
pub struct Metric {
    /// `train`, `test`, `validation`.
    pub split: String,
    /// The round; none for the finished model.
    pub round: Option<i64>,
    /// Its name.
    pub name: String,
    /// Its value; may be NaN where it is undefined.
    pub value: f64,
}

/// The version itself.
pub struct Version<'a> {
    /// The algorithm's name.
    pub algorithm: &'a str,
    /// The algorithm's version.
    pub algorithm_version: i32,
    /// All parameters, as JSON.
    pub params: &'a str,
    /// All of the preprocessing's parameters, as JSON.
    pub preprocess: &'a str,
    /// The target column.
    pub target: Option<&'a str>,
    /// The columns that scoring needs, in order.
    pub features: Vec<String>,
    /// The classes, in order.
    pub classes: &'a [String],
    /// The metric that stands for the version in lists.
    pub headline: Option<(&'a str, f64)>,
    /// The row of the version that the training went on from.
    pub parent: Option<i64>,
    /// The artifact.
    pub artifact: &'a [u8],
    /// Its SHA-256.
    pub sha256: &'a str,
}

/// Registers a finished training. Gives the version's number: one more than the model's newest, also when
/// others train the same model at the same time.
///
/// # Errors
/// 42501 when the model is another's; 22023 when it does another task. Raises 40001 under `REPEATABLE READ` when
/// another transaction trained the model meanwhile.
pub fn register(training: &Training) -> Result<i64> {
    let model = next_version(training)?;
    let run = insert_run(model.id, training)?;
    insert_metrics(run, training.run.metrics)?;
    let version = insert_version(&model, run, &training.version)?;
    insert_artifact(version, training.version.artifact)?;
    let start = Instant::now();
    super::lineage::record(version, &training.origin)?;
    // For the benchmark: the run is written by now.
    crate::pg::error::debug(&format!("lineage written in {:.6} s", start.elapsed().as_secs_f64()));
    let start = Instant::now();
    super::baselines::insert(version, training.baseline)?;
    crate::pg::error::debug(&format!("baseline written in {:.6} s", start.elapsed().as_secs_f64()));
    let details = json!({ "version": model.last_version, "algorithm": training.version.algorithm });
    super::audit::note(&model, "train", &details)?;
    super::reports::insert(version, training.figures)?;
    if model.last_version == 1 {
        super::deployments::point_first(&model, version)?;
    }
    super::retention::expire(&model)?;
    announce()?;
    Ok(model.last_version)
}

/// Creates the model where it is new, locks it, and takes its next version number.
fn next_version(training: &Training) -> Result<Model> {
    let name = training.model;
    let sql = "INSERT INTO damson_catalog.models (name, owner, task) VALUES ($1, $2::regrole, $3)
        ON CONFLICT (name) DO NOTHING";
    write_kept(sql, &[name.into(), current_user().into(), training.task.into()])?;
    let sql = "UPDATE damson_catalog.models m
        SET last_version = m.last_version + 1, changed = pg_catalog.clock_timestamp(),
            description = coalesce($2, m.description)
        WHERE m.name = $1
        RETURNING m.id, m.task, m.last_version, pg_catalog.pg_has_role($3, m.owner::oid, 'USAGE')";
    let row = write_kept(sql, &[name.into(), training.description.into(), current_user().into()])?.one()?;
    // Between the two statements another session can only have dropped or renamed it.
    let row = row.ok_or_else(|| super::models::missing(name))?;
    if !row.get::<bool>(3)? {
        return Err(denied("train", name));
    }
    let task: String = row.get(1)?;
    if task != training.task {
        return Err(other_task(name, &task, training.task).into());
    }
    Ok(Model { id: row.get(0)?, name: name.to_string(), task, last_version: row.get(2)? })
}

fn insert_run(model: i64, training: &Training) -> Result<i64> {
    let run = &training.run;
    let sql = "INSERT INTO damson_catalog.runs (model, status, algorithm, source, arguments, seed, train_rows,
            test_rows, fingerprint, code_version, timings, warnings, role, started, finished)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::regrole,
            pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $14), pg_catalog.clock_timestamp())
        RETURNING id";
    let warnings = texts(run.warnings);
    let (arguments, timings) = (Jsonb::from(run.arguments), Jsonb::from(run.timings));
    let params = [
        model.into(),
        if run.warnings.is_empty() { "succeeded" } else { "warned" }.into(),
        training.version.algorithm.into(),
        run.source.into(),
        (&arguments).into(),
        run.seed.into(),
        run.train_rows.into(),
        run.test_rows.into(),
        run.fingerprint.into(),
        run.code_version.into(),
        (&timings).into(),
        (&warnings).into(),
        current_user().into(),
        run.seconds.into(),
    ];
    returned_id(sql, &params)
}

/// All in one statement: boosting reports some thousands. They travel as JSON, in which NaN is a string.
fn insert_metrics(run: i64, metrics: &[Metric]) -> Result<()> {
    let number = |v: f64| serde_json::Number::from_f64(v).map_or_else(|| v.to_string().into(), Into::into);
    let row = |m: &Metric| {
        let value: serde_json::Value = number(m.value);
        serde_json::json!({"split": m.split, "round": m.round, "name": m.name, "value": value})
    };
    let rows = Jsonb::from(&metrics.iter().map(row).collect());
    let sql = "INSERT INTO damson_catalog.metrics (run, split, round, name, value)
        SELECT $1, q.split, q.round, q.name, q.value
        FROM pg_catalog.jsonb_to_recordset($2)
            AS q(split text, round bigint, name text, value double precision)";
    write_kept(sql, &[run.into(), (&rows).into()])?;
    Ok(())
}

fn insert_version(model: &Model, run: i64, version: &Version) -> Result<i64> {
    let sql = "INSERT INTO damson_catalog.versions (model, version, algorithm, algorithm_version, params, preprocess,
            target, features, classes, metric, metric_value, artifact_size, artifact_sha256, run, created_by, parent)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::regrole, $16)
        RETURNING id";
    let (features, classes) = (texts(&version.features), texts(version.classes));
    let (algorithm_params, preprocess) = (Jsonb(version.params.into()), Jsonb(version.preprocess.into()));
    let params = [
        model.id.into(),
        model.last_version.into(),
        version.algorithm.into(),
        version.algorithm_version.into(),
        (&algorithm_params).into(),
        (&preprocess).into(),
        version.target.into(),
        (&features).into(),
        (&classes).into(),
        version.headline.map(|(name, _)| name).into(),
        version.headline.map(|(_, value)| value).into(),
        (version.artifact.len() as i64).into(),
        version.sha256.into(),
        run.into(),
        current_user().into(),
        version.parent.into(),
    ];
    returned_id(sql, &params)
}

/// Writes the bytes of a version.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn insert_artifact(version: i64, artifact: &[u8]) -> Result<()> {
    let sql = "INSERT INTO damson_catalog.artifacts (version, chunk, bytes) VALUES ($1, $2, $3)";
    for (number, chunk) in (0i32..).zip(artifact.chunks(CHUNK)) {
        write_kept(sql, &[version.into(), number.into(), chunk.into()])?;
    }
    Ok(())
}

/// The bytes of a version, for whoever was allowed to have them.
///
/// # Errors
/// `Kind::Corrupt` when they are not those that were stored.
pub fn artifact(version: i64, size: i64, sha256: &str) -> Result<Vec<u8>> {
    let sql = "SELECT c.bytes FROM damson_catalog.artifacts c WHERE c.version = $1 AND c.chunk = $2";
    let mut bytes: Vec<u8> = vec![];
    for number in 0i32.. {
        let Some(mut row) = super::read(sql, &[version.into(), number.into()])?.one()? else { break };
        let chunk = row.take_bytes(0)?;
        bytes.extend_from_slice(&chunk);
    }
    if bytes.len() as i64 != size {
        let message = format!("the stored artifact has {} bytes, expected {size}", bytes.len());
        return Err(damaged(message));
    }
    let found = engine::artifact::sha256(&bytes);
    if found != sha256 {
        let message = format!("the stored artifact has SHA-256 {found}, expected {sha256}");
        return Err(damaged(message));
    }
    Ok(bytes)
}

fn damaged(message: String) -> Error {
    let error = engine::Error::corrupt(message);
    error.hint("Restore the table damson_catalog.artifacts from a backup, or train the model again.").into()
}

/// The number that an insert returned.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn returned_id(sql: &'static str, params: &[crate::pg::spi::Param]) -> Result<i64> {
    let row = write_kept(sql, params)?.one()?;
    row.ok_or_else(|| Error::internal("an insert returned no row"))?.get(0)
}

fn texts(values: &[String]) -> TextArray {
    TextArray(values.iter().cloned().map(Some).collect())
}
