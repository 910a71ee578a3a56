//! What is wrong with rows, by themselves and beside a baseline: missing and infinite values, labels that were never
//! seen, numbers out of range, columns without information, rows that are there twice.

use super::compare::{categories, numbers};
use super::{Baseline, Distribution, Role, read};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::hash;
use crate::frame::{Column, Frame};
use crate::learner::Cx;
use rayon::prelude::*;

/// Labels that are named where some were never seen.
const NAMED: usize = 5;
/// Bytes of a label that are shown.
const SHOWN: usize = 40;

/// What was found by one check.
#[derive(Debug, Clone, PartialEq)]
pub struct Issue {
    /// The column; none for the rows as a whole.
    pub column: Option<String>,
    /// What was looked for: `missing`, `infinite`, `empty`, `constant`, `unseen`, `out of range`, `duplicates`.
    pub check: &'static str,
    /// Rows that have it.
    pub rows: u64,
    /// Their share.
    pub share: f64,
    /// The share in the baseline, where it is known.
    pub baseline: Option<f64>,
    /// Whether somebody should look at it.
    pub problem: bool,
    /// In words.
    pub detail: String,
}

/// Looks a frame over; with a baseline, its features and target alone.
///
/// # Errors
/// `Kind::Data` for no rows; columns of the baseline that are not there; when the caller asked to stop.
pub fn quality(frame: &Frame, baseline: Option<&Baseline>, cx: &Cx) -> Result<Vec<Issue>> {
    if frame.rows == 0 {
        return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
    }
    let columns: Vec<(&Column, Option<&Distribution>)> = match baseline {
        None => frame.columns.iter().map(|c| (c, None)).collect(),
        Some(baseline) => {
            let mut found = vec![];
            for own in baseline.columns.iter().filter(|c| matches!(c.role, Role::Feature | Role::Target)) {
                match frame.columns.iter().find(|c| c.name == own.name) {
                    Some(column) => found.push((column, Some(&own.distribution))),
                    None if own.role == Role::Feature => {
                        frame.position(&own.name)?;
                    }
                    None => {}
                }
            }
            found
        }
    };
    let issues: Vec<Result<Vec<Issue>>> =
        columns.par_iter().map(|(column, before)| look(column, *before, cx)).collect();
    let mut all = vec![duplicates(&columns, frame.rows, cx)?];
    for found in issues {
        all.extend(found?);
    }
    all.retain(|i| i.rows > 0);
    Ok(all)
}

fn look(column: &Column, before: Option<&Distribution>, cx: &Cx) -> Result<Vec<Issue>> {
    let now = read::exact(column, before.and_then(Distribution::shape), cx)?;
    let all = now.all_rows() as f64;
    let issue = |check, rows: u64, baseline: Option<f64>, problem, detail: String| Issue {
        column: Some(column.name.clone()),
        check,
        rows,
        share: rows as f64 / all,
        baseline,
        problem,
        detail,
    };
    let mut found = vec![];
    let share_before = before.filter(|b| b.all_rows() > 0).map(|b| b.missing() as f64 / b.all_rows() as f64);
    let missing = now.missing();
    let more =
        before.zip(share_before).is_some_and(|(b, share)| unlikely(missing, all, share, b.all_rows() as f64));
    if now.all_rows() == missing {
        let empty_before = before.is_some_and(|b| b.all_rows() == b.missing());
        found.push(issue("empty", missing, share_before, !empty_before, "no row has a value".into()));
        return Ok(found);
    }
    found.push(issue(
        "missing",
        missing,
        share_before,
        more,
        if more { "more than before".into() } else { String::new() },
    ));
    if let Some(n) = numbers(&now) {
        found.push(issue("infinite", n.infinite, None, true, "counted as missing in statistics".into()));
    }
    if now.distinct() == Some(1) && now.rows() > 1 {
        let constant_before = before.is_some_and(|b| b.distinct() == Some(1));
        let value = match &now {
            Distribution::Numbers(n) => format!("{}", n.min),
            Distribution::Categories(c) => c.counts.keys().next().map(|l| shown(l)).unwrap_or_default(),
            Distribution::Opaque { .. } => String::new(),
        };
        found.push(issue("constant", now.rows(), None, !constant_before, format!("all rows have {value}")));
    }
    let Some(before) = before else { return Ok(found) };
    if let (Some(a), Some(b)) = (numbers(before), numbers(&now))
        && a.rows > 0
    {
        let outside = |v: &f64| *v < a.min || *v > a.max;
        let rows: u64 = b.values.iter().zip(&b.counts).filter(|(v, _)| outside(v)).map(|(_, c)| c).sum();
        // Of as many new rows alike, so many are beyond the ends by chance.
        let expected = 2.0 / (a.rows as f64 + 1.0);
        let problem = rows as f64 > b.rows as f64 * expected + 3.0 * (b.rows as f64 * expected).sqrt() + 1.0;
        let detail = format!("{} .. {}, before {} .. {}", b.min, b.max, a.min, a.max);
        found.push(issue("out of range", rows, Some(0.0), problem, detail));
    }
    if let (Some(a), Some(b)) = (categories(before), categories(&now))
        && a.exact()
    {
        let new: Vec<(&String, &u64)> =
            b.counts.iter().filter(|(label, _)| !a.counts.contains_key(*label)).collect();
        let names: Vec<String> = new.iter().take(NAMED).map(|(label, _)| shown(label)).collect();
        let rest = if new.len() > NAMED { format!(" and {} more", new.len() - NAMED) } else { String::new() };
        let rows = new.iter().map(|(_, c)| **c).sum();
        found.push(issue("unseen", rows, Some(0.0), true, format!("{}{rest}", names.join(", "))));
    }
    Ok(found)
}

/// Whether so many rows of `all` are more than a share of another sample would lead to expect, by three standard
/// errors.
fn unlikely(rows: u64, all: f64, share: f64, others: f64) -> bool {
    let now = rows as f64 / all;
    let both = (now * all + share * others) / (all + others);
    now - share > 3.0 * (both * (1.0 - both) * (1.0 / all + 1.0 / others)).sqrt()
}

fn shown(label: &str) -> String {
    let start: String = label.chars().take(SHOWN).collect();
    if start.len() < label.len() { format!("\"{start}...\"") } else { format!("\"{start}\"") }
}

/// Rows that are the same as one before them in all columns that were looked at.
fn duplicates(columns: &[(&Column, Option<&Distribution>)], rows: usize, cx: &Cx) -> Result<Issue> {
    let blocks = rows.div_ceil(1 << 12);
    let hashes: Vec<Result<Vec<u64>>> = (0..blocks)
        .into_par_iter()
        .map(|block| {
            cx.check()?;
            let rows = block << 12..((block + 1) << 12).min(rows);
            let mut hashes = vec![0u64; rows.len()];
            for (column, _) in columns {
                for (h, i) in hashes.iter_mut().zip(rows.clone()) {
                    *h = h.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash(column.value(i));
                }
            }
            Ok(hashes)
        })
        .collect();
    let mut all = Vec::with_capacity(rows);
    for block in hashes {
        all.extend(block?);
    }
    super::radix::sort(&mut all, &mut vec![], cx)?;
    let twice = all.windows(2).filter(|w| w[0] == w[1]).count() as u64;
    let share = twice as f64 / rows as f64;
    let detail = "rows like one before them in all columns".to_string();
    Ok(Issue {
        column: None,
        check: "duplicates",
        rows: twice,
        share,
        baseline: None,
        problem: false,
        detail,
    })
}
