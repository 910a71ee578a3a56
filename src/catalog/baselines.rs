//! What versions remember of the rows that they were trained on, for drift.

use super::reference::Reference;
use super::resolve::{Resolved, Right, locate};
use super::write_kept;
use crate::pg::datum::{Float8Array, TextArray};
use crate::pg::error::{Code, Error, Result};
use crate::pg::spi::Param;
use engine::artifact::TEXT_PREFIX;
use engine::drift::baseline::Summary;
use engine::drift::{Baseline, ColumnBaseline, Distribution};

/// Bytes of sketches that one statement writes.
const STATEMENT: usize = 16 << 20;

/// Writes the baseline of a new version.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn insert(version: i64, baseline: &Baseline) -> Result<()> {
    let (mut sketches, mut ends, mut first) = (vec![], vec![], 0);
    for (at, column) in baseline.columns.iter().enumerate() {
        sketches.extend(column.encode()?);
        ends.push(sketches.len() as f64);
        if sketches.len() >= STATEMENT || at + 1 == baseline.columns.len() {
            insert_some(version, first, &baseline.columns[first..=at], &sketches, &ends)?;
            sketches.clear();
            ends.clear();
            first = at + 1;
        }
    }
    Ok(())
}

/// Writes columns of a baseline: their sketches one after the other, and where each ends. A statement a column would
/// take as long as a small training.
fn insert_some(
    version: i64,
    first: usize,
    columns: &[ColumnBaseline],
    sketches: &[u8],
    ends: &[f64],
) -> Result<()> {
    let texts = |of: &dyn Fn(&ColumnBaseline) -> &str| {
        TextArray(columns.iter().map(|c| Some(of(c).to_string())).collect())
    };
    let counts = |of: &dyn Fn(&Distribution) -> Option<u64>| {
        Float8Array(columns.iter().map(|c| of(&c.distribution).map_or(f64::NAN, |n| n as f64)).collect())
    };
    let summaries: Vec<_> = columns.iter().map(ColumnBaseline::summary).collect();
    let numbers = |of: &dyn Fn(&Summary) -> f64| {
        Float8Array(summaries.iter().map(|s| s.as_ref().map_or(f64::NAN, of)).collect())
    };
    let sql = "INSERT INTO damson_drift.baselines (version, position, name, role, kind, row_count, missing,
            distinct_values, mean, std, min, median, max, sketch)
        SELECT $1, $2 + c.place, c.name, c.role, c.kind, c.row_count, c.missing, nullif(c.distinct_values, 'NaN'),
            nullif(c.mean, 'NaN'), nullif(c.std, 'NaN'), nullif(c.min, 'NaN'), nullif(c.median, 'NaN'),
            nullif(c.max, 'NaN'), substring($3 FROM c.first::integer + 1 FOR (c.last - c.first)::integer)
        FROM (SELECT u.*, lag(u.last, 1, 0) OVER (ORDER BY u.place) AS first
            FROM unnest($4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) WITH ORDINALITY AS u(name, role, kind,
                row_count, missing, distinct_values, mean, std, min, median, max, last, place)) c";
    let texts = [texts(&|c| &c.name), texts(&|c| c.role.name()), texts(&|c| c.distribution.kind())];
    let numbers = [
        counts(&|d| Some(d.all_rows())),
        counts(&|d| Some(d.missing())),
        counts(&|d| d.distinct().map(|n| n as u64)),
        numbers(&|s| s.mean),
        numbers(&|s| s.std),
        numbers(&|s| s.min),
        numbers(&|s| s.median),
        numbers(&|s| s.max),
        Float8Array(ends.to_vec()),
    ];
    let mut params: Vec<Param> = vec![version.into(), (first as i64).into(), sketches.into()];
    params.extend(texts.iter().map(Param::from));
    params.extend(numbers.iter().map(Param::from));
    write_kept(sql, &params)?;
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
