//! What a search tried: written with the version that it chose, and read again to go on where an earlier one ended.

use super::{read, write};
use crate::pg::datum::Jsonb;
use crate::pg::error::{Code, Error, Result};
use engine::search::{Known, Status, Trial};
use serde_json::{Value, json};

/// A finished search.
pub struct Search<'a> {
    /// How trials were chosen.
    pub method: &'a str,
    /// What they were compared by.
    pub metric: &'a str,
    /// Whether more of it is better.
    pub larger_is_better: bool,
    /// The number of the best trial.
    pub best: usize,
    /// Whether a time limit ended it.
    pub limited: bool,
    /// All trials.
    pub trials: &'a [Trial],
}

/// Writes a search beside the run of the version that it made.
///
/// # Errors
/// Only faults of the catalog.
pub fn record(model: &str, version: i64, search: &Search) -> Result<()> {
    let sql = "INSERT INTO damson_catalog.searches (run, method, metric, larger_is_better, best, limited)
        SELECT v.run, $3, $4, $5, $6, $7
        FROM damson_catalog.versions v
        JOIN damson_catalog.models m ON m.id = v.model
        WHERE m.name = $1 AND v.version = $2
        RETURNING run";
    let params = [
        model.into(),
        version.into(),
        search.method.into(),
        search.metric.into(),
        search.larger_is_better.into(),
        (search.best as i64).into(),
        search.limited.into(),
    ];
    let run = write(sql, &params)?.one()?;
    let run: i64 = run.ok_or_else(|| Error::internal("a search's version is not there"))?.get(0)?;
    let row = |t: &Trial| {
        json!({
            "trial": t.number, "algorithm": t.algorithm, "params": t.params, "preprocess": t.preprocess,
            "resource": t.resource, "value": t.value, "std": t.std, "seconds": t.seconds, "status": t.status.name(),
            "error": t.error, "reused": t.reused,
        })
    };
    let rows = Jsonb::from(&search.trials.iter().map(row).collect());
    let sql = "INSERT INTO damson_catalog.trials (run, trial, algorithm, params, preprocess, resource, value, std,
            seconds, status, error, reused)
        SELECT $1, t.trial, t.algorithm, t.params, t.preprocess, t.resource, t.value, t.std, t.seconds, t.status,
            t.error, t.reused
        FROM pg_catalog.jsonb_to_recordset($2)
            AS t(trial bigint, algorithm text, params jsonb, preprocess jsonb, resource bigint, value double precision,
                std double precision, seconds double precision, status text, error text, reused boolean)";
    write(sql, &[run.into(), (&rows).into()])?;
    Ok(())
}

/// The newest search of a model with these arguments, but for how long it goes on.
///
/// # Errors
/// 55000 when there is none.
pub fn earlier(model: &str, source: &str, arguments: &Value) -> Result<Known> {
    let sql = "SELECT r.id, r.fingerprint
        FROM damson_catalog.runs r
        JOIN damson_catalog.models m ON m.id = r.model
        JOIN damson_catalog.searches q ON q.run = r.id
        WHERE m.name = $1 AND r.source = $2
            AND r.arguments - '{trials,time_limit,outer_folds,resume}'::text[]
                = $3::jsonb - '{trials,time_limit,outer_folds,resume}'::text[]
        ORDER BY r.id DESC LIMIT 1";
    let arguments = Jsonb::from(arguments);
    let Some(run) = read(sql, &[model.into(), source.into(), (&arguments).into()])?.one()? else {
        let message = format!("there is no search of model \"{model}\" with these arguments to resume");
        return Err(Error::new(Code::NotReady, message).hint(
            "Only trials, time_limit and outer_folds may differ. SELECT * FROM damson.runs shows the arguments of earlier ones.",
        ));
    };
    let sql = "SELECT t.trial, t.algorithm, t.params::text, t.preprocess::text, t.resource, t.value, t.std, t.seconds,
            t.status, t.error
        FROM damson_catalog.trials t WHERE t.run = $1 ORDER BY t.trial";
    let rows = read(sql, &[run.get::<i64>(0)?.into()])?;
    let document = |text: String| {
        serde_json::from_str(&text)
            .map_err(|e| Error::internal(format!("a trial's parameters are damaged: {e}")))
    };
    let trials = rows.iter().map(|row| {
        let status: String = row.get(8)?;
        Ok(Trial {
            number: row.get::<i64>(0)? as usize,
            algorithm: row.get(1)?,
            params: document(row.get(2)?)?,
            preprocess: document(row.get(3)?)?,
            resource: row.get::<i64>(4)? as u64,
            value: row.get(5)?,
            std: row.get(6)?,
            seconds: row.get(7)?,
            status: Status::parse(&status)
                .ok_or_else(|| Error::internal(format!("a trial is \"{status}\"")))?,
            error: row.get(9)?,
            reused: true,
        })
    });
    Ok(Known { fingerprint: run.get(1)?, trials: trials.collect::<Result<_>>()? })
}
