//! What drift was last recorded of a version, for gates.

use super::write;
use crate::pg::error::Result;

/// The share of columns that had drifted from a version's baseline when that was last recorded; none where it never was.
/// What roles recorded that may not deploy the model does not count: who may only score with it chooses the rows.
///
/// # Errors
/// Only faults of the catalog.
pub fn newest_share(version: i64) -> Result<Option<f64>> {
    let there = "SELECT pg_catalog.to_regclass('damson_drift.measurements') IS NOT NULL";
    let row = write(there, &[])?.one()?;
    if !row.map_or(Ok(false), |row| row.get::<bool>(0))? {
        return Ok(None);
    }
    let sql = "SELECT q.drift_share FROM damson_drift.measurements q
        JOIN damson_catalog.versions v ON v.id = q.version
        JOIN damson_catalog.models m ON m.id = v.model
        WHERE q.version = $1 AND q.drift_share IS NOT NULL
            AND pg_catalog.pg_has_role(q.role::oid, m.owner::oid, 'USAGE')
        ORDER BY q.id DESC LIMIT 1";
    write(sql, &[version.into()])?.one()?.map(|row| row.get(0)).transpose()
}
