//! Columns, summed up.

use super::number;
use crate::error::Result;
use crate::fingerprint::hash;
use crate::frame::{Column, ColumnKind, Frame, Value};
use crate::learner::Cx;
use rayon::prelude::*;
use std::collections::HashMap;

/// What a column holds. What does not apply to its type is none.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// The kind of its values.
    pub kind: ColumnKind,
    /// Rows.
    pub rows: u64,
    /// Rows without a value.
    pub missing: u64,
    /// Different values.
    pub distinct: u64,
    /// The mean; of truth values the share of true.
    pub mean: Option<f64>,
    /// The sample standard deviation, from two values on.
    pub std: Option<f64>,
    /// Minimum, quartiles and maximum, interpolated linearly between neighbours.
    pub quantiles: Option<[f64; 5]>,
    /// The most frequent text or truth value, and its rows.
    pub top: Option<(String, u64)>,
}

/// Sums up every column, in parallel by column.
pub fn summarize(frame: &Frame, cx: &Cx) -> Result<Vec<ColumnSummary>> {
    frame
        .columns
        .par_iter()
        .map(|column| {
            cx.check()?;
            Ok(one(column))
        })
        .collect::<Vec<Result<_>>>()
        .into_iter()
        .collect()
}

fn one(column: &Column) -> ColumnSummary {
    let rows = column.len();
    let mut missing = 0;
    let mut numbers = vec![];
    let mut hashes = Vec::with_capacity(rows);
    let mut texts: HashMap<&str, u64> = HashMap::new();
    for i in 0..rows {
        match column.value(i) {
            Value::Missing => missing += 1,
            value => {
                hashes.push(hash(value));
                match value {
                    Value::Text(t) => *texts.entry(t).or_default() += 1,
                    Value::Bool(b) => *texts.entry(if b { "true" } else { "false" }).or_default() += 1,
                    _ => {}
                }
                numbers.extend(number(column, i));
            }
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    numbers.sort_by(f64::total_cmp);
    let n = numbers.len() as f64;
    let mean = (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / n);
    let std = mean
        .filter(|_| numbers.len() > 1)
        .map(|mean| (numbers.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (n - 1.0)).sqrt());
    let quantiles = (!numbers.is_empty() && column.kind() == ColumnKind::Number)
        .then(|| [0.0, 0.25, 0.5, 0.75, 1.0].map(|q| quantile(&numbers, q)));
    // Of texts that are as frequent, the first by the alphabet.
    let top = texts.into_iter().max_by(|a, b| a.1.cmp(&b.1).then(b.0.cmp(a.0)));
    ColumnSummary {
        name: column.name.clone(),
        kind: column.kind(),
        rows: rows as u64,
        missing,
        distinct: hashes.len() as u64,
        mean,
        std,
        quantiles,
        top: top.map(|(t, n)| (t.to_string(), n)),
    }
}

/// The quantile of sorted numbers, as NumPy's `linear`.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    if low == high { low } else { low + (high - low) * at.fract() }
}
