//! Drift from what a server's planner knows of a relation, without reading it: most common values with their
//! frequencies, and bounds of ranges that hold equally many of the other rows. They come from a sample of some 30,000
//! rows, so only distances are compared: Wasserstein's, and Jensen and Shannon's for categories and few values.

use super::baseline::with_dataset;
use super::categories::Categories;
use super::compare::{Choices, Finding, Side, compare};
use super::method::Shape;
use super::numbers::Numbers;
use super::{Baseline, Distribution, Role};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Silent};
use std::sync::atomic::AtomicBool;

/// Rows that shares are turned into.
const ROWS: f64 = 1e6;
/// Points that a range's rows are spread over.
const POINTS: usize = 16;

/// What a server knows of a column. Values are text, as the server prints them; times are seconds since 2000.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// The column.
    pub column: String,
    /// Whether it is of truth values, which the server prints as `t` and `f`.
    pub boolean: bool,
    /// The share of NULL.
    pub missing: f64,
    /// The most common values.
    pub common: Vec<String>,
    /// The share of rows of each.
    pub frequencies: Vec<f64>,
    /// Bounds, ascending, between which equal shares of the other rows lie; the values in between for texts.
    pub bounds: Vec<String>,
}

impl Statistics {
    /// As a distribution of a shape, or none where the server knows no values.
    fn distribution(&self, shape: Shape) -> Option<Distribution> {
        let rows = |share: f64| (share * ROWS).round().max(0.0) as u64;
        let frequent: f64 = self.frequencies.iter().sum();
        let rest = (1.0 - self.missing - frequent).clamp(0.0, 1.0);
        let missing = rows(self.missing);
        if self.common.is_empty() && self.bounds.is_empty() && self.missing < 1.0 {
            return None;
        }
        if shape == Shape::Categories {
            let mut found = Categories { missing, ..Categories::default() };
            for (label, share) in self.common.iter().zip(&self.frequencies) {
                let label = match label.as_str() {
                    "t" if self.boolean => "true",
                    "f" if self.boolean => "false",
                    other => other,
                };
                found.add(Some(label), rows(*share).max(1));
            }
            found.pooled = rows(rest);
            found.rows += found.pooled;
            return Some(Distribution::Categories(found));
        }
        let number = |text: &String| text.parse::<f64>().ok().filter(|x| x.is_finite());
        let mut pairs: Vec<(f64, u64)> = vec![];
        for (value, share) in self.common.iter().zip(&self.frequencies) {
            pairs.extend(number(value).map(|v| (v + 0.0, rows(*share).max(1))));
        }
        let bounds: Vec<f64> = self.bounds.iter().filter_map(number).collect();
        let each = rest / bounds.len().saturating_sub(1).max(1) as f64 / POINTS as f64;
        for range in bounds.windows(2) {
            for i in 0..POINTS {
                let at = range[0] + (range[1] - range[0]) * ((i as f64 + 0.5) / POINTS as f64);
                pairs.push((at + 0.0, rows(each).max(1)));
            }
        }
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        pairs.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Some(Distribution::Numbers(Numbers::of_counts(pairs.into_iter(), missing, 0, false)))
    }
}

/// Compares a relation with a baseline by the server's statistics: the dataset first, then the features and the target.
///
/// # Errors
/// `Kind::Data` where the server has statistics of none of them; a distance that cannot compare; `Kind::Parameter` for
/// a test, which would need the rows.
pub fn quick(
    baseline: &Baseline,
    statistics: &[Statistics],
    choices: &Choices,
    share: f64,
) -> Result<Vec<Finding>> {
    // So little work that nobody would want to stop it.
    let stop = AtomicBool::new(false);
    let cx = &Cx { seed: 0, stop: &stop, observer: &Silent };
    let choices = choices.distances()?;
    let mut findings = vec![];
    for own in baseline.columns.iter().filter(|c| matches!(c.role, Role::Feature | Role::Target)) {
        let Some(known) = statistics.iter().find(|s| s.column == own.name) else { continue };
        let Some(current) = own.distribution.shape().and_then(|shape| known.distribution(shape)) else {
            continue;
        };
        let reference = Side { distribution: &own.distribution, column: None };
        let current = Side { distribution: &current, column: None };
        let finding = compare(&own.name, Some(own.role), &reference, &current, &choices, cx)?;
        // How far the planner's sample is from the rows is not known.
        findings.push(Finding { error: None, ..finding });
    }
    if findings.is_empty() {
        return Err(Error::new(
            Kind::Data,
            "the server has no statistics of the model's columns in that relation",
        )
        .hint("ANALYZE the relation; you must also be allowed to read the columns, all rows of them."));
    }
    Ok(with_dataset(findings, share))
}
