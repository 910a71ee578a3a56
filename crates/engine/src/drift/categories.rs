//! The distribution of a column of categories: rows by label.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Labels that a stored distribution keeps; the rarest of more are pooled.
pub const LABELS: usize = 4096;
/// Bytes of labels that it keeps.
const BYTES: usize = 1 << 18;
/// Labels while rows are still counted one at a time.
const WORKING: usize = 16 * LABELS;

/// The distribution of a column of categories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Categories {
    /// Rows of each label, 1 or more.
    pub counts: BTreeMap<String, u64>,
    /// Rows of labels that are not kept.
    pub pooled: u64,
    /// Rows with a label in all.
    pub rows: u64,
    /// Rows without.
    pub missing: u64,
}

impl Categories {
    /// Adds rows of a label, or of none.
    pub(super) fn add(&mut self, label: Option<&str>, rows: u64) {
        match label {
            _ if rows == 0 => {}
            None => self.missing += rows,
            Some(label) => {
                self.rows += rows;
                match self.counts.get_mut(label) {
                    Some(count) => *count += rows,
                    None => {
                        self.counts.insert(label.to_string(), rows);
                        if self.counts.len() > WORKING {
                            self.trim(WORKING / 2, usize::MAX);
                        }
                    }
                }
            }
        }
    }

    /// Whether every label is kept.
    pub fn exact(&self) -> bool {
        self.pooled == 0
    }

    /// Makes it as small as a baseline is to be: the most frequent labels stay, of equals the first by the alphabet.
    pub fn compress(&mut self) {
        self.trim(LABELS, BYTES);
    }

    fn trim(&mut self, labels: usize, bytes: usize) {
        if self.counts.len() <= labels && self.counts.keys().map(String::len).sum::<usize>() <= bytes {
            return;
        }
        let mut all: Vec<(String, u64)> = std::mem::take(&mut self.counts).into_iter().collect();
        all.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut held = 0;
        for (i, (label, rows)) in all.into_iter().enumerate() {
            held += label.len();
            if i < labels && held <= bytes {
                self.counts.insert(label, rows);
            } else {
                held -= label.len();
                self.pooled += rows;
            }
        }
    }

    /// Adds the rows of another part. Labels that one of them pooled count with the pooled of the sum.
    pub fn merge(&mut self, other: Categories) {
        self.pooled += other.pooled;
        self.rows += other.rows;
        self.missing += other.missing;
        for (label, rows) in other.counts {
            *self.counts.entry(label).or_default() += rows;
        }
        if self.counts.len() > WORKING {
            self.trim(WORKING / 2, usize::MAX);
        }
    }

    /// Refuses what comparing could not rely on: the bytes may be hostile.
    pub(super) fn validate(&self) -> Result<()> {
        let sum = |n: u64, c: &u64| n.checked_add(*c).filter(|_| *c > 0);
        let total = self.counts.values().try_fold(self.pooled, sum);
        if total == Some(self.rows) && self.rows.checked_add(self.missing).is_some() {
            return Ok(());
        }
        Err(Error::corrupt("the distribution of a column of categories is damaged"))
    }
}
