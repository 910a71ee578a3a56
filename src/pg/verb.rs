//! Verbs of SQL as data: what jobs do. A command is `{"sql": text}`, or `{"with": {argument: value}}` of a function
//! or procedure of schema `damson`. Caller: the workers of jobs, connected as the role that asks.

use super::datum::Jsonb;
use super::error::{Error, Result};
use super::spi;
use engine::Kind;
use serde_json::{Map, Value, json};

/// Does it, with the rights of the current user. Gives the first row of what came back, or for a verb that measures
/// its metrics by name, or how many rows there were.
///
/// # Errors
/// 22023 for a command that is none; all errors of the statement.
pub fn perform(verb: &str, command: &Value) -> Result<Option<Jsonb>> {
    let sql = match (command["sql"].as_str(), command["with"].as_object()) {
        (Some(sql), _) => sql.to_string(),
        (None, Some(arguments)) => call(verb, arguments)?,
        (None, None) => return Err(refused(format!("a command of {verb} has neither sql nor arguments"))),
    };
    let (rows, processed) = spi::perform(&sql)?;
    Ok(summary(verb, rows, processed, command).map(|v| Jsonb::from(&v)))
}

fn summary(verb: &str, rows: Vec<Map<String, Value>>, processed: u64, command: &Value) -> Option<Value> {
    let measures = |row: &Map<String, Value>| row.contains_key("metric") && row.contains_key("value");
    if (verb == "evaluate" || rows.len() > 1) && rows.iter().all(measures) && !rows.is_empty() {
        let mut metrics = Map::new();
        for mut row in rows.into_iter().filter(|r| r.get("slice").is_none_or(Value::is_null)) {
            if let (Some(Value::String(name)), Some(value)) = (row.remove("metric"), row.remove("value")) {
                metrics.insert(name, value);
            }
        }
        return Some(metrics.into());
    }
    let only = if rows.len() == 1 { rows.into_iter().next() } else { None };
    match only {
        Some(row) => Some(row.into()),
        None if processed > 0 => Some(json!({ "rows": processed })),
        // Of a procedure: what it was called with, so that other steps can name it.
        None => command.get("with").cloned(),
    }
}

fn call(verb: &str, arguments: &Map<String, Value>) -> Result<String> {
    let arguments: Vec<String> = arguments
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(name, value)| format!("{} => {}", identifier(name), literal(value)))
        .collect();
    let (name, arguments) = (identifier(verb), arguments.join(", "));
    Ok(if crate::catalog::pipelines::is_procedure(verb)? {
        format!("CALL damson.{name}({arguments})")
    } else {
        format!("SELECT * FROM damson.{name}({arguments})")
    })
}

/// A name in quotes.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\"").replace('\0', ""))
}

/// A value as a literal whose type the function that takes it decides; an array of plain values is one of SQL's, all
/// else is JSON.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        // In quotes too: a number may be meant for an argument that is text.
        Value::Bool(_) | Value::Number(_) => quoted(&value.to_string()),
        Value::String(text) => quoted(text),
        Value::Array(items) if items.iter().all(|v| !v.is_array() && !v.is_object()) => {
            let element = |v: &Value| match v {
                Value::Null => "NULL".to_string(),
                Value::String(t) => format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\"")),
                other => other.to_string(),
            };
            let items: Vec<String> = items.iter().map(element).collect();
            quoted(&format!("{{{}}}", items.join(",")))
        }
        other => quoted(&other.to_string()),
    }
}

/// A text literal that is right whatever `standard_conforming_strings` says.
pub fn quoted(text: &str) -> String {
    let text = text.replace('\0', "").replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}
