//! What versions remember of the rows that they were trained on, for drift.

use super::reference::Reference;
use super::resolve::{Resolved, Right, locate};
use super::write_kept;
use crate::pg::error::{Code, Error, Result};
use engine::artifact::TEXT_PREFIX;
use engine::drift::{Baseline, ColumnBaseline};

/// Writes the baseline of a new version.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn insert(version: i64, baseline: &Baseline) -> Result<()> {
    let sql = "INSERT INTO damson_drift.baselines (version, position, name, role, kind, row_count, missing,
            distinct_values, mean, std, min, median, max, sketch)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";
    for (position, column) in (1i32..).zip(&baseline.columns) {
        let sketch = column.encode()?;
        let summary = column.summary();
        let params = [
            version.into(),
            position.into(),
            (&column.name).into(),
            column.role.name().into(),
            column.distribution.kind().into(),
            (column.distribution.all_rows() as i64).into(),
            (column.distribution.missing() as i64).into(),
            column.distribution.distinct().map(|n| n as i64).into(),
            summary.map(|s| s.mean).into(),
            summary.map(|s| s.std).into(),
            summary.map(|s| s.min).into(),
            summary.map(|s| s.median).into(),
            summary.map(|s| s.max).into(),
            sketch.as_slice().into(),
        ];
        write_kept(sql, &params)?;
    }
    Ok(())
}

/// The baseline of a version that was resolved.
///
/// # Errors
/// 55000 for a version that has none; XX001 for a damaged one.
pub fn of(resolved: &Resolved) -> Result<Baseline> {
    read(resolved.id, &resolved.model, resolved.version)
}

/// The baseline of the version that `name`, `name@alias` or `name@7` means now, without loading the model.
///
/// # Errors
/// 42704, 42501 and 22023 as for any reference to a model; 55000 for a version that has none.
pub fn find(reference: &str) -> Result<Baseline> {
    if reference.starts_with(TEXT_PREFIX) {
        return Err(none("the model given as text"));
    }
    let parsed = Reference::parse(reference)?;
    let found = locate(parsed, Right::Predict)?;
    read(found.id, parsed.model, found.version)
}

fn read(version: i64, model: &str, number: i64) -> Result<Baseline> {
    let sql = "SELECT b.name, b.role, b.sketch FROM damson_drift.baselines b WHERE b.version = $1 ORDER BY b.position";
    let mut columns = vec![];
    for mut row in super::read_kept(sql, &[version.into()])?.into_vec() {
        let (name, role): (String, String) = (row.get(0)?, row.get(1)?);
        columns.push(ColumnBaseline::decode(&name, &role, &row.take_bytes(2)?)?);
    }
    if columns.is_empty() {
        return Err(none(&format!("model \"{model}\" version {number}")));
    }
    Ok(Baseline { columns })
}

fn none(what: &str) -> Error {
    Error::new(Code::NotReady, format!("{what} remembers nothing of the rows that it was trained on"))
        .hint("damson.train records it; damson.drift_between compares two relations without a model.")
}

/// The metrics that the training of a version measured: on rows held out where there were such, else over folds, else
/// on the training rows.
///
/// # Errors
/// Only faults of the catalog.
pub fn training_metrics(resolved: &Resolved) -> Result<Vec<(String, f64)>> {
    let sql = "SELECT q.name, q.value FROM damson_catalog.metrics q
        JOIN damson_catalog.versions v ON v.run = q.run
        WHERE v.id = $1 AND q.round IS NULL AND q.split = (
            SELECT s.split FROM damson_catalog.metrics s
            WHERE s.run = v.run AND s.round IS NULL AND s.split IN ('test', 'cv', 'train')
            ORDER BY pg_catalog.array_position(ARRAY['test', 'cv', 'train'], s.split) LIMIT 1)";
    let rows = super::read(sql, &[resolved.id.into()])?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?))).collect()
}
