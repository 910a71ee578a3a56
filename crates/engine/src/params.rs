//! Parameters of algorithms: declared once as data, so that parsing, error messages, `damson.parameters()` and
//! the reference all come from the same lines.

use crate::error::{Error, Kind, Result};
use serde_json::{Map, Value};

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Accepts {
    /// A whole number within the bounds, both included.
    Int {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A finite number within the bounds, both included.
    Float {
        /// The least.
        min: f64,
        /// The greatest.
        max: f64,
    },
    /// `true` or `false`.
    Bool,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any JSON value; the algorithm checks it further.
    Json,
}

/// The default of a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// No value: the algorithm decides, as the parameter's meaning says.
    None,
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A word.
    Text(&'static str),
    /// A JSON document.
    Json(&'static str),
}

/// One declared parameter.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name, the field's standard one (scikit-learn's or LightGBM's).
    pub name: &'static str,
    /// Other names that are accepted for it.
    pub aliases: &'static [&'static str],
    /// The values it accepts.
    pub accepts: Accepts,
    /// The value it has when the caller says nothing.
    pub default: Default,
    /// One sentence for the reference.
    pub meaning: &'static str,
}

impl Param {
    /// A whole number between `min` and `max`.
    pub const fn int(name: &'static str, default: i64, min: i64, max: i64, meaning: &'static str) -> Self {
        Param {
            name,
            aliases: &[],
            accepts: Accepts::Int { min, max },
            default: Default::Int(default),
            meaning,
        }
    }

    /// A number between `min` and `max`.
    pub const fn float(name: &'static str, default: f64, min: f64, max: f64, meaning: &'static str) -> Self {
        let default = Default::Float(default);
        Param { name, aliases: &[], accepts: Accepts::Float { min, max }, default, meaning }
    }

    /// A truth value.
    pub const fn bool(name: &'static str, default: bool, meaning: &'static str) -> Self {
        Param { name, aliases: &[], accepts: Accepts::Bool, default: Default::Bool(default), meaning }
    }

    /// One of `choices`.
    pub const fn choice(
        name: &'static str,
        default: &'static str,
        choices: &'static [&'static str],
        meaning: &'static str,
    ) -> Self {
        let default = Default::Text(default);
        Param { name, aliases: &[], accepts: Accepts::Choice(choices), default, meaning }
    }

    /// Any JSON value, with its default written as JSON.
    pub const fn json(name: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Param { name, aliases: &[], accepts: Accepts::Json, default: Default::Json(default), meaning }
    }

    /// The same parameter without a default: `Values::opt_*` read it.
    pub const fn optional(mut self) -> Self {
        self.default = Default::None;
        self
    }

    /// The same parameter, with other names accepted for it.
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    /// The type's name for the reference: `integer`, `number`, `boolean`, `text` or `json`.
    pub fn type_name(&self) -> &'static str {
        match self.accepts {
            Accepts::Int { .. } => "integer",
            Accepts::Float { .. } => "number",
            Accepts::Bool => "boolean",
            Accepts::Choice(_) => "text",
            Accepts::Json => "json",
        }
    }

    /// The range in words: `1 .. 1000`, `one of a, b`, `true, false`.
    pub fn range(&self) -> String {
        match self.accepts {
            Accepts::Int { min, max } if max == i64::MAX => format!(">= {min}"),
            Accepts::Int { min, max } => format!("{min} .. {max}"),
            Accepts::Float { min, max } if max == f64::MAX => format!(">= {min}"),
            Accepts::Float { min, max } => format!("{min} .. {max}"),
            Accepts::Bool => "true, false".into(),
            Accepts::Choice(words) => words.join(", "),
            Accepts::Json => "any JSON".into(),
        }
    }

    /// The default in JSON; `null` where there is none.
    pub fn default_json(&self) -> Value {
        match self.default {
            Default::None => Value::Null,
            Default::Int(v) => v.into(),
            Default::Float(v) => v.into(),
            Default::Bool(v) => v.into(),
            Default::Text(v) => v.into(),
            Default::Json(v) => serde_json::from_str(v).unwrap_or(Value::Null),
        }
    }

    fn check(&self, owner: &str, found: &Value) -> Result<()> {
        let fits = match (self.accepts, found) {
            (Accepts::Int { min, max }, v) => whole(v).is_some_and(|n| n >= min && n <= max),
            (Accepts::Float { min, max }, v) => v.as_f64().is_some_and(|x| x >= min && x <= max),
            (Accepts::Bool, v) => v.is_boolean(),
            (Accepts::Choice(words), v) => v.as_str().is_some_and(|w| words.contains(&w)),
            (Accepts::Json, _) => true,
        };
        if fits || (found.is_null() && self.default == Default::None) {
            return Ok(());
        }
        let (name, kind) = (self.name, self.type_name());
        let message =
            format!("parameter \"{name}\" of {owner} is {found}, expected {kind} ({})", self.range());
        Err(Error::new(Kind::Parameter, message).hint(self.meaning))
    }
}

/// A JSON number that is whole, whether written `3` or `3.0`.
fn whole(v: &Value) -> Option<i64> {
    v.as_i64().or_else(|| v.as_f64().filter(|x| x.fract() == 0.0 && x.abs() < 9e15).map(|x| x as i64))
}

/// Checked values of declared parameters: every declared name is present, defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Values(Map<String, Value>);

impl Values {
    /// Checks a JSON object against the declarations of `owner` (an algorithm's name, for messages).
    ///
    /// # Errors
    /// `Kind::Parameter` for anything but an object, an unknown key, a wrong type or a value out of range.
    pub fn parse(owner: &str, declared: &[Param], json: &str) -> Result<Values> {
        let given: Value = if json.trim().is_empty() {
            Value::Object(Map::new())
        } else {
            serde_json::from_str(json).map_err(|e| {
                Error::new(Kind::Parameter, format!("parameters of {owner} are not valid JSON: {e}"))
                    .hint(example(declared))
            })?
        };
        let Value::Object(given) = given else {
            return Err(Error::new(
                Kind::Parameter,
                format!("parameters of {owner} are {given}, expected an object"),
            )
            .hint(example(declared)));
        };
        let mut values: Map<String, Value> =
            declared.iter().map(|p| (p.name.to_string(), p.default_json())).collect();
        let mut seen: Vec<&str> = vec![];
        for (key, found) in &given {
            let Some(p) = declared.iter().find(|p| p.name == key || p.aliases.contains(&key.as_str())) else {
                return Err(unknown(owner, declared, key));
            };
            if seen.contains(&p.name) {
                let message = format!("parameter \"{}\" of {owner} is given twice, under two names", p.name);
                return Err(Error::new(Kind::Parameter, message));
            }
            seen.push(p.name);
            p.check(owner, found)?;
            values.insert(p.name.to_string(), found.clone());
        }
        Ok(Values(values))
    }

    /// The values as one JSON object, in the order of declaration.
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.clone())
    }

    fn get(&self, name: &str) -> Result<&Value> {
        self.0.get(name).ok_or_else(|| Error::internal(format!("parameter \"{name}\" is not declared")))
    }

    /// A whole number.
    pub fn int(&self, name: &str) -> Result<i64> {
        whole(self.get(name)?)
            .ok_or_else(|| Error::internal(format!("parameter \"{name}\" is not an integer")))
    }

    /// A whole number that is known to be a count, by its declared range.
    pub fn count(&self, name: &str) -> Result<usize> {
        usize::try_from(self.int(name)?).map_err(|_| {
            Error::internal(format!("parameter \"{name}\" is declared as a count but is negative"))
        })
    }

    /// A number.
    pub fn float(&self, name: &str) -> Result<f64> {
        let v = self.get(name)?.as_f64();
        v.ok_or_else(|| Error::internal(format!("parameter \"{name}\" is not a number")))
    }

    /// A truth value.
    pub fn bool(&self, name: &str) -> Result<bool> {
        let v = self.get(name)?.as_bool();
        v.ok_or_else(|| Error::internal(format!("parameter \"{name}\" is not a boolean")))
    }

    /// A word.
    pub fn text(&self, name: &str) -> Result<&str> {
        let v = self.get(name)?.as_str();
        v.ok_or_else(|| Error::internal(format!("parameter \"{name}\" is not text")))
    }

    /// A number, or none where it was left out.
    pub fn opt_float(&self, name: &str) -> Result<Option<f64>> {
        if self.get(name)?.is_null() { Ok(None) } else { self.float(name).map(Some) }
    }

    /// A count, or none where it was left out.
    pub fn opt_count(&self, name: &str) -> Result<Option<usize>> {
        if self.get(name)?.is_null() { Ok(None) } else { self.count(name).map(Some) }
    }

    /// The JSON value itself.
    pub fn json(&self, name: &str) -> Result<&Value> {
        self.get(name)
    }
}

/// What parameters look like, with one that there is.
fn example(declared: &[Param]) -> String {
    let one = declared.iter().find(|p| p.default != Default::None);
    let pair = one.map(|p| format!("\"{}\": {}", p.name, p.default_json())).unwrap_or_default();
    format!("Write a JSON object, for example '{{{pair}}}'.")
}

fn unknown(owner: &str, declared: &[Param], key: &str) -> Error {
    let names: Vec<&str> = declared.iter().map(|p| p.name).collect();
    let near = names.iter().copied().min_by_key(|n| distance(n, key)).filter(|n| distance(n, key) <= 3);
    let error = Error::new(Kind::Parameter, format!("{owner} has no parameter \"{key}\""));
    match near {
        Some(n) => error.hint(format!("Did you mean \"{n}\"? It has: {}.", names.join(", "))),
        None => error.hint(format!("It has: {}.", names.join(", "))),
    }
}

/// Levenshtein's distance, for "did you mean".
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let cost = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DECLARED: &[Param] = &[
        Param::int("max_iter", 100, 1, 1000, "Rounds.").alias(&["iterations"]),
        Param::float("alpha", 1.0, 0.0, f64::MAX, "Strength."),
        Param::choice("solver", "auto", &["auto", "newton"], "Solver."),
        Param::float("tol", 0.0, 0.0, 1.0, "Tolerance.").optional(),
    ];

    #[test]
    fn fills_defaults_and_reads_aliases() {
        let v = Values::parse("x", DECLARED, r#"{"iterations": 5.0}"#).unwrap();
        assert_eq!((v.count("max_iter").unwrap(), v.float("alpha").unwrap()), (5, 1.0));
        assert_eq!((v.text("solver").unwrap(), v.opt_float("tol").unwrap()), ("auto", None));
    }

    #[test]
    fn refuses_unknown_wrong_and_out_of_range() {
        let bad = |json: &str| Values::parse("x", DECLARED, json).unwrap_err();
        assert!(bad(r#"{"aplha": 1}"#).hint.unwrap().contains("\"alpha\""));
        assert_eq!(
            bad(r#"{"max_iter": 0}"#).message,
            "parameter \"max_iter\" of x is 0, expected integer (1 .. 1000)"
        );
        assert_eq!(bad(r#"{"max_iter": 1.5}"#).kind, Kind::Parameter);
        assert_eq!(bad(r#"{"alpha": "a"}"#).kind, Kind::Parameter);
        assert_eq!(bad(r#"{"solver": "fast"}"#).kind, Kind::Parameter);
        assert_eq!(bad(r#"{"max_iter": 1, "iterations": 2}"#).kind, Kind::Parameter);
        assert_eq!(bad("[1]").kind, Kind::Parameter);
        assert_eq!(bad("{").kind, Kind::Parameter);
    }
}
