//! Pipelines: steps that follow each other, with parameters and results passed on. Callers: the server's pipelines,
//! which run the steps as jobs.
//!
//! ```json
//! {"parameters": {"day": "2026-01-31"},
//!  "steps": [
//!    {"name": "rows", "do": "sql", "sql": "CREATE TABLE d AS SELECT * FROM sales WHERE day <= ${parameters.day}"},
//!    {"name": "fit", "do": "train", "with": {"model": "m", "source": "d", "target": "y"}, "retries": 2},
//!    {"name": "live", "do": "deploy", "with": {"model": "m", "version": "${fit.version}"}, "timeout": 60}]}
//! ```
//!
//! A step waits for those in `after`, for those whose results it names, and, without `after`, for the one before it. A
//! value that is one reference alone keeps its type. Within `sql` and `source` a reference becomes an SQL literal,
//! quoted; elsewhere it becomes text.

use crate::error::{Error, Kind, Result};
use serde_json::{Map, Value};

/// Steps of one pipeline, at most.
const MOST: usize = 200;

/// A checked pipeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Parameters and what they are by default.
    pub parameters: Map<String, Value>,
    /// The steps, in the order in which they were given.
    pub steps: Vec<Step>,
}

/// A step.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What it does: `sql`, or the name of a verb.
    pub verb: String,
    /// `{"sql": ...}` or `{"with": {...}}`, with references.
    pub command: Value,
    /// The steps that must have succeeded before.
    pub after: Vec<String>,
    /// Times that it is tried again after an error.
    pub retries: i64,
    /// Seconds that it may take.
    pub timeout: Option<f64>,
}

impl Pipeline {
    /// Parses and checks a definition.
    ///
    /// # Errors
    /// `Kind::Parameter` for what is no pipeline: keys that are unknown, steps that are twice, that wait for steps
    /// which are not there, or for themselves.
    pub fn parse(text: &str) -> Result<Pipeline> {
        let document: Value =
            serde_json::from_str(text).map_err(|e| refused(format!("pipeline is not JSON: {e}")))?;
        let document = object("pipeline", &document)?;
        known_keys("pipeline", document, &["parameters", "steps"])?;
        let parameters = match document.get("parameters") {
            None => Map::new(),
            Some(given) => object("parameters of the pipeline", given)?.clone(),
        };
        let steps = document.get("steps").and_then(Value::as_array).filter(|s| !s.is_empty());
        let steps =
            steps.ok_or_else(|| refused("pipeline has no steps, expected an array of them".into()))?;
        if steps.len() > MOST {
            return Err(refused(format!("pipeline has {} steps, expected at most {MOST}", steps.len())));
        }
        let mut parsed: Vec<Step> = vec![];
        for step in steps {
            let step = parse_step(step, parsed.last())?;
            if parsed.iter().any(|s| s.name == step.name) {
                return Err(refused(format!("pipeline has two steps \"{}\"", step.name)));
            }
            parsed.push(step);
        }
        let pipeline = Pipeline { parameters, steps: parsed };
        pipeline.check()?;
        Ok(pipeline)
    }

    /// The parameters of a run.
    ///
    /// # Errors
    /// `Kind::Parameter` for one that the pipeline does not have.
    pub fn with_parameters(&self, text: &str) -> Result<Map<String, Value>> {
        let given: Value =
            serde_json::from_str(text).map_err(|e| refused(format!("parameters are not JSON: {e}")))?;
        let mut parameters = self.parameters.clone();
        for (name, value) in object("parameters", &given)? {
            if !parameters.contains_key(name) {
                let known: Vec<&str> = self.parameters.keys().map(String::as_str).collect();
                let known = if known.is_empty() { "none".into() } else { known.join(", ") };
                return Err(refused(format!(
                    "pipeline has no parameter \"{name}\", expected one of {known}"
                )));
            }
            parameters.insert(name.clone(), value.clone());
        }
        Ok(parameters)
    }

    fn check(&self) -> Result<()> {
        for step in &self.steps {
            for needed in &step.after {
                if !self.steps.iter().any(|s| s.name == *needed) {
                    return Err(refused(format!(
                        "step \"{}\" waits for step \"{needed}\", which is not there",
                        step.name
                    )));
                }
            }
            for (from, field) in references(&step.command)? {
                if from == "parameters" && !self.parameters.contains_key(first(&field)) {
                    return Err(refused(format!(
                        "step \"{}\" names parameter \"{}\", which is not there",
                        step.name,
                        first(&field)
                    )));
                }
            }
        }
        // Whatever is ready goes; what never is waits for itself.
        let mut done: Vec<&str> = vec![];
        loop {
            let ready = |s: &&Step| {
                !done.contains(&s.name.as_str()) && s.after.iter().all(|a| done.contains(&a.as_str()))
            };
            match self.steps.iter().find(ready) {
                Some(step) => done.push(&step.name),
                None => break,
            }
        }
        match self.steps.iter().find(|s| !done.contains(&s.name.as_str())) {
            None => Ok(()),
            Some(step) => Err(refused(format!("step \"{}\" waits for itself", step.name))),
        }
    }
}

fn parse_step(step: &Value, before: Option<&Step>) -> Result<Step> {
    let step = object("a step", step)?;
    let name = step.get("name").and_then(Value::as_str).unwrap_or_default();
    let plain = name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if name.is_empty() || name.len() > 63 || !plain || name == "parameters" {
        return Err(refused(format!(
            "a step is named \"{name}\", expected 1 to 63 letters, digits and underscores, not \"parameters\""
        )));
    }
    let what = format!("step \"{name}\"");
    known_keys(&what, step, &["name", "do", "with", "sql", "after", "retries", "timeout"])?;
    let verb = step.get("do").map_or(Some("sql"), Value::as_str).unwrap_or_default().to_string();
    let command = match (verb.as_str(), step.get("sql"), step.get("with")) {
        ("sql", Some(Value::String(sql)), None) => serde_json::json!({ "sql": sql }),
        ("sql", ..) => {
            return Err(refused(format!("{what} does sql, expected the key sql with a statement")));
        }
        (_, None, Some(with)) => serde_json::json!({ "with": object(&format!("with of {what}"), with)? }),
        (_, None, None) => serde_json::json!({ "with": {} }),
        _ => return Err(refused(format!("{what} does {verb}, expected the key with and not sql"))),
    };
    let mut after: Vec<String> = match step.get("after") {
        None => before.map(|b| b.name.clone()).into_iter().collect(),
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(|n| n.as_str().map(String::from)).collect()
        }
        Some(_) => return Err(refused(format!("after of {what} is no array of names"))),
    };
    after.extend(references(&command)?.into_iter().map(|(from, _)| from).filter(|from| from != "parameters"));
    let mut needed: Vec<String> = vec![];
    after.into_iter().for_each(|name| {
        if !needed.contains(&name) {
            needed.push(name);
        }
    });
    let number = |key: &str| match step.get(key) {
        None => Ok(None),
        Some(v) => {
            v.as_f64().map(Some).ok_or_else(|| refused(format!("{key} of {what} is {v}, expected a number")))
        }
    };
    let retries = number("retries")?.unwrap_or(0.0) as i64;
    Ok(Step { name: name.to_string(), verb, command, after: needed, retries, timeout: number("timeout")? })
}

/// A step's command with values instead of references. `results` has the result of each step that succeeded.
///
/// # Errors
/// `Kind::Parameter` for a reference to what is not there.
pub fn resolve(
    command: &Value,
    parameters: &Map<String, Value>,
    results: &Map<String, Value>,
) -> Result<Value> {
    let look_up = |from: &str, field: &str| {
        let whole = if from == "parameters" {
            field.split_once('.').map_or(parameters.get(field), |(name, _)| parameters.get(name))
        } else {
            results.get(from)
        };
        let path =
            if from == "parameters" { field.split_once('.').map_or("", |(_, rest)| rest) } else { field };
        let steps = path.split('.').filter(|s| !s.is_empty());
        let found = steps.fold(whole, |value, key| match value {
            Some(Value::Array(items)) => key.parse::<usize>().ok().and_then(|i| items.get(i)),
            Some(value) => value.get(key),
            None => None,
        });
        found.cloned().ok_or_else(|| {
            let known = results.get(from).and_then(Value::as_object);
            let known = known.map(|o| o.keys().cloned().collect::<Vec<_>>().join(", ")).unwrap_or_default();
            let e = refused(format!("there is no value ${{{from}.{field}}}"));
            if known.is_empty() { e } else { e.hint(format!("The result of step \"{from}\" has: {known}.")) }
        })
    };
    replace(command, false, &look_up)
}

fn replace(value: &Value, in_sql: bool, look_up: &dyn Fn(&str, &str) -> Result<Value>) -> Result<Value> {
    Ok(match value {
        Value::String(text) => {
            let pieces = split(text)?;
            if let ([Piece::Reference(from, field)], false) = (&pieces[..], in_sql) {
                return look_up(from, field);
            }
            let mut whole = String::new();
            for piece in pieces {
                match piece {
                    Piece::Text(text) => whole.push_str(text),
                    Piece::Reference(from, field) => {
                        let value = look_up(from, field)?;
                        whole.push_str(&if in_sql { literal(&value) } else { plain(&value) });
                    }
                }
            }
            whole.into()
        }
        Value::Array(items) => items.iter().map(|v| replace(v, in_sql, look_up)).collect::<Result<_>>()?,
        Value::Object(map) => {
            let mut replaced = Map::new();
            for (key, v) in map {
                let in_sql = in_sql || matches!(key.as_str(), "sql" | "source");
                // A source that is a reference alone is a table's name, and no literal.
                let alone = key == "source"
                    && v.as_str().is_some_and(|t| matches!(split(t).as_deref(), Ok([Piece::Reference(..)])));
                replaced.insert(key.clone(), replace(v, in_sql && !alone, look_up)?);
            }
            replaced.into()
        }
        other => other.clone(),
    })
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}

/// A literal of SQL, whatever the setting of backslashes.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".into(),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
        other => {
            let text = plain(other).replace('\'', "''");
            if text.contains('\\') {
                format!(" E'{}'", text.replace('\\', "\\\\"))
            } else {
                format!("'{text}'")
            }
        }
    }
}

enum Piece<'a> {
    Text(&'a str),
    Reference(&'a str, &'a str),
}

fn split(text: &str) -> Result<Vec<Piece<'_>>> {
    let mut pieces = vec![];
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let after = &rest[start + 2..];
        let inside = after.find('}').map(|end| &after[..end]);
        let reference =
            inside.and_then(|i| i.split_once('.')).filter(|(a, b)| !a.is_empty() && !b.is_empty());
        let Some(((from, field), inside)) = reference.zip(inside) else {
            return Err(refused(format!(
                "\"{rest}\" has a ${{ without a step or parameters, a point, a name and }}"
            ))
            .hint("For example ${parameters.day} or ${fit.version}."));
        };
        if start > 0 {
            pieces.push(Piece::Text(&rest[..start]));
        }
        pieces.push(Piece::Reference(from, field));
        rest = &after[inside.len() + 1..];
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

/// What a command refers to: steps (or `parameters`) and fields.
fn references(value: &Value) -> Result<Vec<(String, String)>> {
    let mut found = vec![];
    match value {
        Value::String(text) => found.extend(split(text)?.into_iter().filter_map(|piece| match piece {
            Piece::Reference(from, field) => Some((from.to_string(), field.to_string())),
            Piece::Text(_) => None,
        })),
        Value::Array(items) => {
            for item in items {
                found.extend(references(item)?);
            }
        }
        Value::Object(map) => {
            for item in map.values() {
                found.extend(references(item)?);
            }
        }
        _ => {}
    }
    Ok(found)
}

fn first(field: &str) -> &str {
    field.split('.').next().unwrap_or(field)
}

fn object<'a>(what: &str, value: &'a Value) -> Result<&'a Map<String, Value>> {
    value.as_object().ok_or_else(|| refused(format!("{what} is {}, expected a JSON object", kind(value))))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn known_keys(what: &str, map: &Map<String, Value>, known: &[&str]) -> Result<()> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) => Err(refused(format!("{what} has a key \"{key}\", expected {}", known.join(", ")))),
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(steps: Value) -> Result<Pipeline> {
        Pipeline::parse(&json!({"parameters": {"day": "x", "n": 3}, "steps": steps}).to_string())
    }

    fn after(pipeline: &Pipeline) -> Vec<Vec<&str>> {
        pipeline.steps.iter().map(|s| s.after.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn steps_wait_for_those_before_them_and_for_those_that_they_name() {
        let pipeline = parse(json!([
            {"name": "a", "sql": "SELECT 1"},
            {"name": "b", "do": "train", "with": {"model": "m"}},
            {"name": "c", "do": "train", "with": {"model": "m"}, "after": []},
            {"name": "d", "do": "deploy", "with": {"version": "${b.version}", "gate": "auc > ${parameters.n}"}, "after": ["c"]},
        ]));
        assert_eq!(after(&pipeline.unwrap()), [vec![], vec!["a"], vec![], vec!["c", "b"]]);
    }

    #[test]
    fn refuses_what_cannot_run() {
        for steps in [
            json!([]),
            json!([{"sql": "SELECT 1"}]),
            json!([{"name": "a b", "sql": "SELECT 1"}]),
            json!([{"name": "a"}]),
            json!([{"name": "a", "sql": "x", "colour": 1}]),
            json!([{"name": "a", "sql": "x"}, {"name": "a", "sql": "x"}]),
            json!([{"name": "a", "sql": "x", "after": ["b"]}]),
            json!([{"name": "a", "sql": "x", "after": ["b"]}, {"name": "b", "sql": "x"}]),
            json!([{"name": "a", "sql": "${a.b}"}]),
            json!([{"name": "a", "sql": "${parameters.no}"}]),
            json!([{"name": "a", "sql": "${day}"}]),
            json!([{"name": "a", "sql": "${parameters.day"}]),
            json!([{"name": "a", "do": "train", "sql": "x"}]),
            json!([{"name": "parameters", "sql": "x"}]),
            json!([{"name": "a", "sql": "x", "timeout": "soon"}]),
        ] {
            assert_eq!(parse(steps.clone()).map_err(|e| e.kind), Err(Kind::Parameter), "{steps}");
        }
        assert!(Pipeline::parse("{").is_err());
        assert!(Pipeline::parse("{\"steps\": 3}").is_err());
    }

    #[test]
    fn references_become_values() {
        let parameters = json!({"day": "2026-01-31", "n": 3, "deep": {"a": [1, 2]}});
        let results = json!({"fit": {"version": 7, "metric": "auc", "evil": "a'; DROP TABLE t; --\\"}});
        let done = |command: Value| {
            resolve(&command, parameters.as_object().unwrap(), results.as_object().unwrap())
                .map_err(|e| e.message)
        };
        assert_eq!(done(json!({"with": {"version": "${fit.version}"}})), Ok(json!({"with": {"version": 7}})));
        assert_eq!(
            done(json!({"with": {"model": "m_${parameters.n}"}})),
            Ok(json!({"with": {"model": "m_3"}}))
        );
        assert_eq!(done(json!({"with": {"n": "${parameters.deep.a.1}"}})), Ok(json!({"with": {"n": 2}})));
        assert_eq!(
            done(json!({"sql": "SELECT ${parameters.day}, ${fit.version}, ${fit.evil}"})),
            Ok(json!({"sql": "SELECT '2026-01-31', 7,  E'a''; DROP TABLE t; --\\\\'"}))
        );
        let source = json!({"with": {"source": "SELECT * FROM t WHERE d < ${parameters.day}"}});
        assert_eq!(done(source), Ok(json!({"with": {"source": "SELECT * FROM t WHERE d < '2026-01-31'"}})));
        assert_eq!(
            done(json!({"with": {"source": "${fit.metric}"}})),
            Ok(json!({"with": {"source": "auc"}}))
        );
        assert_eq!(done(json!({"sql": "${fit.evil}"})), Ok(json!({"sql": " E'a''; DROP TABLE t; --\\\\'"})));
        assert_eq!(done(json!({"sql": "${fit.nothing}"})), Err("there is no value ${fit.nothing}".into()));
    }

    #[test]
    fn parameters_of_a_run_are_those_of_the_pipeline() {
        let pipeline = parse(json!([{"name": "a", "sql": "SELECT 1"}])).unwrap();
        let given = pipeline.with_parameters("{\"n\": 5}").unwrap();
        assert_eq!(Value::Object(given), json!({"day": "x", "n": 5}));
        assert!(pipeline.with_parameters("{\"m\": 5}").is_err());
        assert!(pipeline.with_parameters("[]").is_err());
    }
}
