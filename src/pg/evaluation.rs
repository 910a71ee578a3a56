//! Rows with true answers, scored: what the verbs of evaluation have in common.

use super::error::Result;
use super::query::{self, Wanted};
use super::{settings, work};
use crate::catalog::resolve;
use engine::evaluation::Columns;
use engine::frame::Frame;
use engine::learner::Cx;
use engine::scorer::Scorer;

/// What is measured on what.
pub struct Asked<'a> {
    /// The verb, for progress.
    pub verb: &'a str,
    /// `name`, `name@alias` or `name@7`.
    pub model: &'a str,
    /// A relation or a SELECT.
    pub source: &'a str,
    /// The columns with a role.
    pub columns: Columns<'a>,
    /// Another column to read.
    pub other: Option<&'a str>,
}

/// Reads the source with the caller's rights and runs `job` on it, on threads.
///
/// # Errors
/// Those of the reference, the source and the job.
pub fn run<T: Send>(
    asked: Asked,
    job: impl FnOnce(&Scorer, &Frame, &Cx) -> engine::Result<T> + Send,
) -> Result<T> {
    let Asked { verb, model, source, columns, other } = asked;
    let resolved = resolve(model)?;
    let scorer = &*resolved.scorer;
    let card = scorer.card();
    let mut wanted: Vec<String> = card.inputs.iter().map(|i| i.name.clone()).collect();
    let roles = [
        columns.target.or(card.target.as_deref()),
        card.offset.as_deref(),
        card.group.as_deref(),
        columns.weight,
        other,
    ];
    for name in roles.into_iter().flatten() {
        if !wanted.iter().any(|w| w == name) {
            wanted.push(name.to_string());
        }
    }
    let frame = query::read(source, Wanted::Only(&wanted), settings::max_memory())?;
    let title = work::Title { verb, object: &resolved.model };
    Ok(work::run(title, card.seed, |cx| job(scorer, &frame, cx))?.value)
}

/// A count that an argument gives, within bounds.
///
/// # Errors
/// `Kind::Parameter` outside of them.
pub fn count(name: &str, given: Option<i64>, default: i64, least: i64, most: i64) -> Result<usize> {
    let value = given.unwrap_or(default);
    if !(least..=most).contains(&value) {
        let message = format!("{name} is {value}, expected {least} .. {most}");
        return Err(super::error::Error::new(engine::Kind::Parameter, message));
    }
    Ok(value as usize)
}
