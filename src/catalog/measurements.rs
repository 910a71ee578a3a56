//! What monitors measured: the history of drift. Tables and views are in `sql/monitors.sql`.

use super::monitors::{Monitor, Window};
use super::resolve::Resolved;
use super::write;
use crate::pg::datum::{Jsonb, TextArray};
use crate::pg::error::{Error, Result};
use crate::pg::role::{Settings, current_user};
use engine::drift::alarm::Watch;
use serde_json::{Value, json};

/// What became of a window.
pub struct Measured<'a> {
    /// The monitor.
    pub monitor: &'a Monitor,
    /// The version that was measured.
    pub version: &'a Resolved,
    /// Whether it was one that is not watched yet.
    pub candidate: bool,
    /// The window; none where the monitor has none.
    pub window: Option<&'a Window>,
    /// Its rows.
    pub rows: i64,
    /// What it says; none where it has too few rows.
    pub watch: Option<&'a Watch>,
    /// Seconds that it took.
    pub seconds: f64,
}

impl Measured<'_> {
    /// In a word.
    pub fn state(&self) -> &'static str {
        match self.watch {
            None => "too few rows",
            Some(watch) if watch.alarm => "alarm",
            Some(_) => "silent",
        }
    }
}

/// Writes a measurement. Gives its number.
///
/// # Errors
/// Only faults of the catalog.
pub fn record(measured: &Measured) -> Result<i64> {
    let sql = "INSERT INTO damson_drift.measurements (monitor, model, version, role, candidate, window_from, window_until,
            row_count, state, drift_share, culprits, seconds)
        VALUES ($1, $2, $3, $4::regrole, $5, $6::timestamptz, $7::timestamptz, $8, $9, $10, $11, $12)
        RETURNING id";
    let culprits = measured.watch.map(Watch::culprits).unwrap_or_default();
    let culprits = TextArray(culprits.into_iter().map(Some).collect());
    let params = [
        (&measured.monitor.name).into(),
        measured.monitor.model.into(),
        measured.version.id.into(),
        current_user().into(),
        measured.candidate.into(),
        measured.window.map(|w| w.from.as_str()).into(),
        measured.window.map(|w| w.until.as_str()).into(),
        measured.rows.into(),
        measured.state().into(),
        measured.watch.map(|w| w.drift_share).filter(|s| !s.is_nan()).into(),
        (&culprits).into(),
        measured.seconds.into(),
    ];
    let _settings = Settings::set(&[(c"DateStyle", c"ISO, YMD")]);
    let id: i64 =
        write(sql, &params)?.one()?.ok_or_else(|| Error::internal("an insert returned no row"))?.get(0)?;
    if let Some(watch) = measured.watch {
        record_findings(id, watch)?;
    }
    Ok(id)
}

fn record_findings(measurement: i64, watch: &Watch) -> Result<()> {
    let columns = watch.columns.iter().map(|c| {
        let shown = c.finding.shown();
        json!({
            "name": c.finding.column, "role": c.finding.role.map(|r| r.name()), "method": c.finding.method,
            "statistic": shown.statistic, "p_value": shown.p_value, "threshold": shown.threshold,
            "significance": c.shown(), "missing_before": c.missing_before, "missing_now": c.missing_now,
            "drifted": c.finding.drifted,
        })
    });
    let metrics = watch.metrics.iter().map(|m| {
        json!({
            "name": m.measured.name, "role": "metric", "method": "limit", "statistic": m.measured.value,
            "threshold": m.limit, "drifted": m.exceeded,
        })
    });
    let rows = Jsonb::from(&columns.chain(metrics).collect::<Value>());
    let sql = "INSERT INTO damson_drift.findings (measurement, place, name, role, method, statistic, p_value, threshold,
            significance, missing_before, missing_now, drifted)
        SELECT $1, q.place, q.f ->> 'name', q.f ->> 'role', q.f ->> 'method', (q.f ->> 'statistic')::float8,
            (q.f ->> 'p_value')::float8, (q.f ->> 'threshold')::float8, (q.f ->> 'significance')::float8,
            (q.f ->> 'missing_before')::float8, (q.f ->> 'missing_now')::float8, (q.f ->> 'drifted')::boolean
        FROM pg_catalog.jsonb_array_elements($2) WITH ORDINALITY AS q(f, place)";
    write(sql, &[measurement.into(), (&rows).into()])?;
    Ok(())
}

/// The drift share of the newest measurement of a version, for gates. Only what a role measured counts that may act as
/// the model's owner: another's source could say anything.
///
/// # Errors
/// Only faults of the catalog.
pub fn newest_drift_share(version: i64) -> Result<Option<f64>> {
    let sql = "SELECT q.drift_share FROM damson_drift.measurements q
        JOIN damson_catalog.models m ON m.id = q.model
        JOIN pg_catalog.pg_roles r ON r.oid = q.role::oid
        WHERE q.version = $1 AND q.drift_share IS NOT NULL AND pg_catalog.pg_has_role(r.oid, m.owner::oid, 'USAGE')
        ORDER BY q.id DESC LIMIT 1";
    Ok(match write(sql, &[version.into()])?.one()? {
        None => None,
        Some(row) => row.get(0)?,
    })
}
