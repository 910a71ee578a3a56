//! What versions remember of the rows that they were trained on, for drift.

use super::deployments::{no_alias, no_version};
use super::models::{denied, missing};
use super::reference::{Reference, Which};
use super::resolve::Resolved;
use super::write;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
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
        write(sql, &params)?;
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

/// What a version of a model is allowed to whom.
macro_rules! sql {
    ($join:literal) => {
        concat!(
            "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') OR EXISTS (
                    SELECT FROM damson_catalog.grants g
                    WHERE g.model = m.id AND g.privilege = 'predict'
                      AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($2, g.grantee::oid, 'USAGE'))),
                m.last_version, v.id, v.version
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

/// The baseline of the version that `name`, `name@alias` or `name@7` means now, without loading the model.
///
/// # Errors
/// 42704, 42501 and 22023 as for any reference to a model; 55000 for a version that has none.
pub fn find(reference: &str) -> Result<Baseline> {
    if reference.starts_with(TEXT_PREFIX) {
        return Err(none("the model given as text"));
    }
    let Reference { model, which } = Reference::parse(reference)?;
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
    match row.get::<Option<i64>>(2)? {
        Some(id) => read(id, model, row.get(3)?),
        None => Err(match which {
            Which::Alias(alias) => no_alias(model, alias),
            Which::Version(version) => no_version(model, version, row.get(1)?),
        }),
    }
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
