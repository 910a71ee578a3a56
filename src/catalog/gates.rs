//! What gates are decided by: the metrics of a version by name, read under the lock of the model's row.
//!
//! - `auc`: the version's own, on rows that had no part in its training: held out (`test`), else outer folds of a
//!   search (`nested`), else folds (`cv`). Never on training rows, unless the gate says `train.auc`.
//! - `split.metric`: of those rows. `alias.metric`, `alias.split.metric`: of what an alias means now.
//! - `drift_share`: of the columns, how many had drifted from the version's baseline when that was last measured.

use super::deployments::Candidate;
use super::models::Model;
use super::write;
use crate::pg::error::{Code, Error, Result};
use engine::Kind;
use engine::gate::Gate;
use serde_json::{Map, Value, json};

/// Where a metric is looked for when a gate does not say of which rows, the most honest first.
const HONEST: [&str; 3] = ["test", "nested", "cv"];

const DRIFT_SHARE: &str = "drift_share";

/// A gate as it was written, and parsed.
pub struct Asked {
    text: String,
    gate: Gate,
}

impl Asked {
    /// Parses a gate.
    ///
    /// # Errors
    /// 22023.
    pub fn parse(text: &str) -> Result<Asked> {
        Ok(Asked { text: text.to_string(), gate: Gate::parse(text)? })
    }
}

/// Refuses a version that does not pass a gate. Gives what the gate saw.
///
/// # Errors
/// 55000 with the metrics that were found; 22023 for a gate that names what the version does not have.
pub(super) fn meet(model: &Model, candidate: &Candidate, asked: &Asked) -> Result<Value> {
    let verdict = asked.gate.decide(|name| metric(model, candidate, name))?;
    let seen: Vec<String> = verdict.values.iter().map(|(name, value)| format!("{name} is {value}")).collect();
    if !verdict.holds {
        let message = format!(
            "version {} of model \"{}\" does not pass the gate \"{}\"",
            candidate.version, model.name, asked.text
        );
        return Err(Error::new(Code::NotReady, message).detail(seen.join(", ")));
    }
    let values: Map<String, Value> = verdict.values.into_iter().map(|(name, v)| (name, json!(v))).collect();
    Ok(json!({ "gate": asked.text, "values": values }))
}

fn metric(model: &Model, candidate: &Candidate, name: &str) -> Result<f64> {
    let found = match name.split_once('.') {
        None => of_version(model, candidate.id, candidate.version, None, name)?,
        Some((first, rest)) => match of_version(model, candidate.id, candidate.version, Some(first), rest) {
            Err(e) if e.code == Code::Engine(Kind::Parameter) => of_alias(model, first, rest, e)?,
            found => found?,
        },
    };
    if found.is_nan() {
        // A condition that is negated would hold.
        let message = format!("\"{name}\" is not a number, so that no gate can be decided by it");
        return Err(Error::new(Code::NotReady, message));
    }
    Ok(found)
}

/// `none` is the error where the model has no such alias.
fn of_alias(model: &Model, alias: &str, name: &str, none: Error) -> Result<f64> {
    let sql = "SELECT v.id, v.version FROM damson_catalog.aliases a JOIN damson_catalog.versions v ON v.id = a.version
        WHERE a.model = $1 AND a.alias = $2";
    let Some(row) = write(sql, &[model.id.into(), alias.into()])?.one()? else { return Err(none) };
    let (id, version) = (row.get(0)?, row.get(1)?);
    match name.split_once('.') {
        None => of_version(model, id, version, None, name),
        Some((split, name)) => of_version(model, id, version, Some(split), name),
    }
}

fn of_version(model: &Model, id: i64, version: i64, split: Option<&str>, name: &str) -> Result<f64> {
    if split.is_none() && name == DRIFT_SHARE {
        return drift_share(model, id, version);
    }
    let sql = "SELECT q.split, q.name, q.value FROM damson_catalog.metrics q
        JOIN damson_catalog.versions v ON v.run = q.run
        WHERE v.id = $1 AND q.round IS NULL ORDER BY q.split, q.name";
    let mut known: Vec<(String, String, f64)> = vec![];
    for row in &write(sql, &[id.into()])? {
        known.push((row.get(0)?, row.get(1)?, row.get(2)?));
    }
    let of = |split: &str| known.iter().find(|(s, n, _)| s == split && n == name).map(|(.., value)| *value);
    let found = match split {
        Some(split) => of(split),
        None => HONEST.into_iter().find_map(of),
    };
    found.ok_or_else(|| {
        let (model, split) = (&model.name, split.map(|s| format!("{s}.")).unwrap_or_default());
        let message = format!("gate names \"{split}{name}\", which version {version} of model \"{model}\" does not have");
        let names: Vec<String> = known.iter().map(|(split, name, _)| format!("{split}.{name}")).collect();
        let hint = if names.is_empty() {
            "Its training measured nothing.".to_string()
        } else {
            format!(
                "It has {}; a metric without a split is of test, nested or cv, and production.metric is of production.",
                names.join(", ")
            )
        };
        Error::new(Kind::Parameter, message).hint(hint)
    })
}

/// The share of the columns that had drifted from the version's baseline when that was last measured.
///
/// # Errors
/// 55000 when it never was.
fn drift_share(model: &Model, id: i64, version: i64) -> Result<f64> {
    super::measurements::newest_drift_share(id)?.ok_or_else(|| {
        let message = format!("no drift of version {version} of model \"{}\" was ever recorded", model.name);
        Error::new(Code::NotReady, message)
            .hint("SELECT damson.run_monitor(name, version => ...) measures it, where CALL damson.monitor(...) has made one.")
    })
}
