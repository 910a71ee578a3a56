//! How users name models: `name`, `name@alias`, `name@7`, `name@2026-01-31`. The one place that knows the rules.
//!
//! A name or an alias is 1 to 128 bytes of any text without `@`, without blanks at its ends and without control
//! characters, that does not begin with `damson:`; quotes are letters like others. An alias is not a whole number, which would be a version,
//! and does not begin as a day does: that is the version that was production then.

use crate::pg::error::{Code, Error, Result};
use engine::Kind;
use engine::artifact::TEXT_PREFIX;
use engine::moment::{Moment, looks_like};

/// The alias that a bare name means.
pub const PRODUCTION: &str = "production";
/// The alias of what may become production.
pub const CHALLENGER: &str = "challenger";

const LONGEST: usize = 128;

/// A parsed reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The model's name.
    pub model: &'a str,
    /// Which of its versions.
    pub which: Which<'a>,
}

/// Which version of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which<'a> {
    /// The one that an alias points at.
    Alias(&'a str),
    /// The one of that number.
    Version(i64),
    /// The one that was production at a time, or at the end of a day.
    At(Moment<'a>),
}

impl<'a> Reference<'a> {
    /// Parses `name`, `name@alias`, `name@7` or `name@2026-01-31`.
    ///
    /// # Errors
    /// 22023 for a name, alias or day that could not exist.
    pub fn parse(text: &'a str) -> Result<Self> {
        let Some((model, suffix)) = text.split_once('@') else {
            check("model name", text)?;
            return Ok(Reference { model: text, which: Which::Alias(PRODUCTION) });
        };
        check("model name", model)?;
        if suffix.bytes().all(|b| b.is_ascii_digit()) && !suffix.is_empty() {
            let version = suffix.parse().ok().filter(|v| *v > 0);
            let version = version.ok_or_else(|| {
                refused(format!("version {suffix} of model \"{model}\" is out of range, expected 1 or more"))
            })?;
            return Ok(Reference { model, which: Which::Version(version) });
        }
        if looks_like(suffix) {
            return Ok(Reference { model, which: Which::At(Moment::parse(suffix)?) });
        }
        check("alias", suffix)?;
        Ok(Reference { model, which: Which::Alias(suffix) })
    }
}

/// What stands after the `@` of a reference, or what a bare name means.
pub fn suffix(reference: &str) -> &str {
    reference.split_once('@').map_or(PRODUCTION, |parts| parts.1)
}

/// A model's name alone, as verbs take it that change the model.
///
/// # Errors
/// 22023 for a name that could not exist.
pub fn model_name(text: &str) -> Result<&str> {
    check("model name", text)?;
    Ok(text)
}

/// The name of a schedule, a pipeline and the like, by the rules for models' names.
///
/// # Errors
/// 22023 for a name that could not exist.
pub fn check_name<'a>(what: &str, text: &'a str) -> Result<&'a str> {
    check(what, text)?;
    Ok(text)
}

/// An alias.
///
/// # Errors
/// 22023 for an alias that could not exist, such as a whole number or a day.
pub fn alias(text: &str) -> Result<&str> {
    check("alias", text)?;
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refused(format!("alias \"{text}\" is a whole number, which would mean a version"))
            .hint("Pick an alias with a letter in it, for example \"champion\"."));
    }
    if looks_like(text) {
        return Err(refused(format!("alias \"{text}\" begins with a day, which would mean production then"))
            .hint("Pick an alias that begins with a letter, for example \"champion\"."));
    }
    Ok(text)
}

fn check(what: &str, text: &str) -> Result<()> {
    let fault = if text.is_empty() {
        "is empty".to_string()
    } else if text.len() > LONGEST {
        let start: String = text.chars().take(20).collect();
        return Err(refused(format!(
            "{what} \"{start}...\" has {} bytes, expected at most {LONGEST}",
            text.len()
        )));
    } else if text.contains('@') {
        return Err(refused(format!("{what} \"{text}\" contains \"@\""))
            .hint("\"@\" separates a model's name from an alias or version: name@alias, name@7."));
    } else if text.starts_with(TEXT_PREFIX) {
        format!("begins with \"{TEXT_PREFIX}\", as models given as text do")
    } else if text.trim() != text {
        "begins or ends with a blank".to_string()
    } else if text.chars().any(char::is_control) {
        "contains a control character".to_string()
    } else {
        return Ok(());
    };
    Err(refused(format!("{what} \"{text}\" {fault}")))
}

fn refused(message: String) -> Error {
    Error::new(Code::Engine(Kind::Parameter), message)
}
