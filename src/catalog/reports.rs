//! What reports show of a version: its card, what it measured, what it looks like, where it comes from and how it drifted.
//! Whoever may use a model sees what `damson.describe` and the views show; what holds values of rows is its owner's.

use super::resolve::Resolved;
use super::{description, graph, read, read_kept, write_kept};
use crate::pg::datum::TextArray;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use engine::evaluation::figures::{self as drawn, Figures};
use engine::train::{Metric, RoundMetric};
use report::lineage::{Lineage, Step};
use report::model::{Model, Param};
use report::plot::Measured;
use serde_json::Value;

/// Tables that a version filled whose further way is followed.
const FOLLOWED: usize = 5;

/// Writes the figures of a new version.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn insert(version: i64, figures: Option<&Figures>) -> Result<()> {
    let Some(figures) = figures else { return Ok(()) };
    let bytes = figures.encode()?;
    let sql = "INSERT INTO damson_catalog.figures (version, bytes) VALUES ($1, $2)";
    write_kept(sql, &[version.into(), bytes.as_slice().into()])?;
    Ok(())
}

/// Whether the current user owns a model. One that is given as text is whose it is.
///
/// # Errors
/// Only faults of the catalog.
pub fn owned(model: &Resolved) -> Result<bool> {
    let sql = "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE')
        FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE v.id = $1";
    read_kept(sql, &[model.id.into(), current_user().into()])?.one()?.map_or(Ok(true), |row| row.get(0))
}

/// What the answers of a version look like for rows that it did not learn from; without single rows for those who do not
/// own it.
///
/// # Errors
/// XX001 for damaged bytes.
pub fn figures(model: &Resolved) -> Result<Option<Figures>> {
    let sql = "SELECT f.bytes FROM damson_catalog.figures f WHERE f.version = $1";
    let Some(mut row) = read_kept(sql, &[model.id.into()])?.one()? else { return Ok(None) };
    let found = Figures::decode(&row.take_bytes(0)?)?;
    Ok(Some(if owned(model)? { found } else { found.without_rows() }))
}

/// The metrics of a version by round.
///
/// # Errors
/// Only faults of the catalog.
pub fn rounds(model: &Resolved) -> Result<Vec<RoundMetric>> {
    let sql = "SELECT q.name, q.round, q.value FROM damson_catalog.metrics q
        JOIN damson_catalog.versions v ON v.run = q.run
        WHERE v.id = $1 AND q.round IS NOT NULL ORDER BY q.name, q.round";
    let rows = read(sql, &[model.id.into()])?;
    let one = |row: &crate::pg::spi::Row| {
        Ok(RoundMetric { name: row.get(0)?, round: row.get::<i64>(1)?.max(0) as usize, value: row.get(2)? })
    };
    rows.iter().map(one).collect()
}

fn metrics(model: &Resolved) -> Result<Vec<Metric>> {
    let sql = "SELECT q.split, q.name, q.value FROM damson_catalog.metrics q
        JOIN damson_catalog.versions v ON v.run = q.run
        WHERE v.id = $1 AND q.round IS NULL ORDER BY q.split, q.name";
    let rows = read(sql, &[model.id.into()])?;
    rows.iter().map(|row| Ok(Metric { split: row.get(0)?, name: row.get(1)?, value: row.get(2)? })).collect()
}

/// Where a version comes from and where it goes, as far as the current user may see it.
///
/// # Errors
/// 0A000 for a model given as text.
pub fn lineage(model: &Resolved) -> Result<Lineage> {
    let step = |s: graph::Step| Step {
        kind: s.kind,
        name: s.name,
        version: s.version,
        column: s.column,
        usage: s.usage,
        of: s.of,
    };
    let upstream = graph::upstream(model)?.into_iter().map(step).collect();
    let (mut filled, mut downstream) = (vec![], vec![]);
    for (i, table) in graph::filled(model)?.into_iter().enumerate() {
        if i < FOLLOWED {
            downstream.extend(graph::downstream(&table.schema, &table.relation, None)?.into_iter().map(step));
        }
        filled.push((table.shown, table.outputs));
    }
    Ok(Lineage { own: format!("{}@{}", model.model, model.version), upstream, filled, downstream })
}

/// What monitors of the current user's roles measured of a version, the oldest first.
///
/// # Errors
/// Only faults of the catalog.
pub fn drift_history(model: &Resolved) -> Result<Vec<Measured>> {
    /// Measurements that are shown, the newest ones.
    const MOST: i64 = 1000;
    let sql = "SELECT q.monitor, EXTRACT(EPOCH FROM coalesce(q.window_until, q.measured) - '2000-01-01 00:00:00+00')::float8,
            q.row_count, q.drift_share, q.state, q.culprits
        FROM damson_drift.measurements q
        WHERE q.version = $1 AND NOT q.candidate AND pg_catalog.pg_has_role($2, q.role::oid, 'USAGE')
        ORDER BY q.id DESC LIMIT $3";
    let mut found = vec![];
    for row in &read(sql, &[model.id.into(), current_user().into(), MOST.into()])? {
        found.push(Measured {
            by: row.get(0)?,
            at: row.get(1)?,
            rows: row.get::<i64>(2)?.max(0) as u64,
            share: row.get(3)?,
            state: row.get(4)?,
            culprits: row.get::<TextArray>(5)?.0.into_iter().flatten().collect(),
        });
    }
    found.reverse();
    Ok(found)
}

/// What the catalog and the model know of a version: all of a report but what is measured for it.
///
/// # Errors
/// Only faults of the catalog.
pub fn of(model: &Resolved) -> Result<Model> {
    let scorer = &*model.scorer;
    let card = scorer.card();
    let mut found = Model {
        name: model.model.clone(),
        task: card.task.name().into(),
        algorithm: card.algorithm.clone(),
        target: card.target.clone(),
        features: card.features().iter().map(|i| i.name.clone()).collect(),
        classes: card.classes.clone(),
        drawable: drawn::draws(card.task) && card.group_by == 0,
        // Importance has a part of its own.
        says: scorer.describe().into_iter().filter(|s| !s.0.starts_with("importance of ")).collect(),
        train_rows: card.train_rows,
        test_rows: card.test_rows,
        written: now()?,
        ..Model::default()
    };
    if model.id == 0 {
        found.params = params(&card.params, &Value::Null, &[]);
        found.preprocess = params(&card.preprocess, &Value::Null, &[]);
        return Ok(found);
    }
    let sql = "SELECT m.description, EXTRACT(EPOCH FROM r.finished - r.started)::float8, r.started::timestamptz(0)::text,
            r.role::text, v.metric, v.metric_value, r.warnings,
            CASE WHEN pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') THEN r.source END, r.arguments::text
        FROM damson_catalog.versions v
        JOIN damson_catalog.models m ON m.id = v.model
        JOIN damson_catalog.runs r ON r.id = v.run
        WHERE v.id = $1";
    let row = read_kept(sql, &[model.id.into(), current_user().into()])?.one()?;
    let row = row.ok_or_else(|| Error::new(Code::NoSuchObject, "the version is gone"))?;
    let arguments: String = row.get(8)?;
    let arguments: Value = serde_json::from_str(&arguments).unwrap_or_default();
    let metric: Option<String> = row.get(4)?;
    let value: Option<f64> = row.get(5)?;
    found.version = Some(model.version);
    found.description = row.get(0)?;
    found.seconds = row.get(1)?;
    found.trained = row.get(2)?;
    found.trained_by = row.get(3)?;
    found.headline = metric.zip(value);
    found.warnings = row.get::<TextArray>(6)?.0.into_iter().flatten().collect();
    found.source = row.get(7)?;
    let declared = engine::algorithms::find(&card.algorithm)?.info().params;
    found.params = params(&card.params, &arguments["params"], declared);
    found.preprocess = params(&card.preprocess, &arguments["preprocess"], &[]);
    // Those are shown elsewhere.
    let elsewhere = ["model", "version", "description", "source", "warnings"];
    let known = description::properties(model)?.into_iter().filter(|p| p.0 <= 20);
    found.card = known.map(|p| (p.1, p.2)).filter(|p| !elsewhere.contains(&p.0.as_str())).collect();
    found.metrics = metrics(model)?;
    found.rounds = rounds(model)?;
    found.figures = figures(model)?;
    found.lineage = lineage(model)?;
    found.history = drift_history(model)?;
    Ok(found)
}

/// The time, as this session writes it.
///
/// # Errors
/// Only faults of the server.
pub fn now() -> Result<String> {
    let row = read("SELECT pg_catalog.clock_timestamp()::timestamptz(0)::text", &[])?.one()?;
    row.map_or(Ok(String::new()), |row| row.get(0))
}

/// The entries of a JSON object, those that were given first, by this name or by another that `declared` knows.
fn params(all: &str, given: &Value, declared: &[engine::params::Param]) -> Vec<Param> {
    let Ok(Value::Object(all)) = serde_json::from_str::<Value>(all) else { return vec![] };
    let text = |v: Value| match v {
        Value::String(s) => s,
        other => other.to_string(),
    };
    let named = |name: &str| {
        let others = declared.iter().find(|p| p.name == name).map_or(&[][..], |p| p.aliases);
        given.get(name).is_some() || others.iter().any(|other| given.get(*other).is_some())
    };
    let mut found: Vec<Param> = all
        .into_iter()
        .filter(|(_, v)| !v.is_null())
        .map(|(name, value)| Param { given: named(&name), value: text(value), name })
        .collect();
    found.sort_by_key(|p| !p.given);
    found
}
