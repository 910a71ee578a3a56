//! Which tables versions filled.

use super::lineage::{Reader, record_reads};
use super::resolve::Resolved;
use super::write;
use crate::pg::datum::TextArray;
use crate::pg::error::{Error, Result};
use crate::pg::reads::Reading;
use crate::pg::role::current_user;

/// A table that was filled.
pub struct Fill<'a> {
    /// Its schema.
    pub schema: &'a str,
    /// Its name.
    pub relation: &'a str,
    /// The columns that the version filled.
    pub outputs: &'a [String],
    /// The columns that came from the source as they were.
    pub carried: &'a [String],
    /// `insert`, `merge` or `replace`.
    pub mode: &'a str,
    /// The columns that rows are told apart by.
    pub key: &'a [String],
    /// The column by which rows were known to be new.
    pub incremental: Option<&'a str>,
    /// The source, as the user gave it.
    pub source: &'a str,
    /// Rows that were written.
    pub rows: i64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// Writes that a version filled a table, and what the source read.
///
/// # Errors
/// Only faults of the catalog.
pub fn record(model: &Resolved, fill: &Fill, reading: &Reading) -> Result<()> {
    let sql = "INSERT INTO damson_lineage.fills (version, schema, relation, outputs, carried, mode, key, incremental,
            source, filled_rows, snapshot, role, started, finished)
        SELECT v.id, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::regrole,
            pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => $13), pg_catalog.clock_timestamp()
        FROM damson_catalog.versions v WHERE v.id = $1
        RETURNING id";
    let array = |names: &[String]| TextArray(names.iter().cloned().map(Some).collect());
    let (outputs, carried, key) = (array(fill.outputs), array(fill.carried), array(fill.key));
    let params = [
        model.id.into(),
        fill.schema.into(),
        fill.relation.into(),
        (&outputs).into(),
        (&carried).into(),
        fill.mode.into(),
        (&key).into(),
        fill.incremental.into(),
        fill.source.into(),
        fill.rows.into(),
        (&reading.snapshot).into(),
        current_user().into(),
        fill.seconds.into(),
    ];
    let row = write(sql, &params)?.one()?;
    let id: i64 = row.ok_or_else(|| Error::internal("the version that fills a table is gone"))?.get(0)?;
    let inputs = &model.scorer.card().inputs;
    let role = |output: &str| {
        let carried = fill.carried.iter().any(|c| c == output);
        match (carried, inputs.iter().any(|i| i.name == output)) {
            (true, true) => Some("carried, feature"),
            (true, false) => Some("carried"),
            (false, true) => Some("feature"),
            (false, false) => None,
        }
    };
    record_reads(Reader::Fill(id), reading, &role)
}
