//! Rows with true answers, scored: what the verbs of evaluation have in common.

use super::error::Result;
use super::query::{self, Wanted};
use super::{settings, work};
use crate::catalog::resolve;
use engine::artifact::Card;
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
    let mut wanted = vec![];
    want_inputs(&mut wanted, scorer.card());
    want_roles(&mut wanted, scorer.card(), columns);
    want(&mut wanted, other);
    let frame = query::read(source, Wanted::Only(&wanted), settings::max_memory())?;
    let title = work::Title { verb, object: &resolved.model };
    Ok(work::run(title, scorer.card().seed, |cx| job(scorer, &frame, cx))?.value)
}

/// As [`run`], with two models, by their references, on the same rows; true answers are read where `columns` are given.
///
/// # Errors
/// As for `run`.
pub fn run_both<T: Send>(
    models: (&str, &str),
    source: &str,
    columns: Option<Columns>,
    job: impl FnOnce(&Scorer, &Scorer, &Frame, &Cx) -> engine::Result<T> + Send,
) -> Result<T> {
    let (champion, challenger) = (resolve(models.0)?, resolve(models.1)?);
    let (a, b) = (&*champion.scorer, &*challenger.scorer);
    let mut wanted = vec![];
    for card in [a.card(), b.card()] {
        want_inputs(&mut wanted, card);
        if let Some(columns) = columns {
            want_roles(&mut wanted, card, columns);
        }
    }
    let frame = query::read(source, Wanted::Only(&wanted), settings::max_memory())?;
    let title = work::Title { verb: "shadow", object: &champion.model };
    Ok(work::run(title, a.card().seed, |cx| job(a, b, &frame, cx))?.value)
}

fn want<'a>(wanted: &mut Vec<String>, names: impl IntoIterator<Item = &'a str>) {
    for name in names {
        if !wanted.iter().any(|w| w == name) {
            wanted.push(name.to_string());
        }
    }
}

/// What the model reads.
fn want_inputs(wanted: &mut Vec<String>, card: &Card) {
    want(wanted, card.inputs.iter().map(|i| i.name.as_str()));
}

/// What it is measured by.
fn want_roles(wanted: &mut Vec<String>, card: &Card, columns: Columns) {
    let target = columns.target.or(card.target.as_deref());
    let roles = [target, card.offset.as_deref(), card.group.as_deref(), columns.weight];
    want(wanted, roles.into_iter().flatten());
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
