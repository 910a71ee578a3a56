//! The distribution of a column of numbers: its values in ascending order, each with its rows.
//!
//! Of rows that are at hand it is exact. What a baseline stores is small: up to [`EXACT`] different values are kept as
//! they are; more become about [`GROUPS`] groups of as many rows each, a group's mean for its values. How far that may
//! move a cumulative share and the Wasserstein distance is known from the grouping and kept beside it, so that whoever
//! compares can say how far a statistic may be off (the triangle inequality). Distributions of parts merge into that of
//! the whole; their errors add up by rows.

use super::radix;
use crate::error::{Error, Result};
use crate::learner::Cx;
use serde::{Deserialize, Serialize};

/// Different values that a stored distribution keeps as they are.
pub const EXACT: usize = 2048;
/// Groups of a stored distribution with more different values.
pub const GROUPS: usize = 1024;
/// Groups while parts are still merged.
const WORKING: usize = 4 * GROUPS;

/// The distribution of a column of numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Numbers {
    /// Values in ascending order, each once.
    pub values: Vec<f64>,
    /// Rows of each value, 1 or more.
    pub counts: Vec<u64>,
    /// Finite values in all.
    pub rows: u64,
    /// Missing values.
    pub missing: u64,
    /// Infinite values. For drift they count as missing.
    pub infinite: u64,
    /// The mean of the finite ones.
    pub mean: f64,
    /// Their sum of squared distances from the mean.
    pub m2: f64,
    /// The smallest; NaN where there is none.
    pub min: f64,
    /// The largest; NaN where there is none.
    pub max: f64,
    /// Whether the column's type is of whole numbers and no value is missing: bins are then no narrower than 1.
    pub whole: bool,
    /// By how much a cumulative share may be off; 0 where the values are exact.
    pub rank_error: f64,
    /// The Wasserstein distance that the exact distribution may be away, in units of the values.
    pub distance_error: f64,
}

impl Numbers {
    /// Of sorted finite values, and how many others there were.
    pub(super) fn of_sorted(
        sorted: impl Iterator<Item = f64>,
        missing: u64,
        infinite: u64,
        whole: bool,
    ) -> Numbers {
        let mut found = Numbers { missing, infinite, min: f64::NAN, max: f64::NAN, ..Numbers::default() };
        let room = sorted.size_hint().0.min(1 << 17);
        found.values.reserve(room);
        found.counts.reserve(room);
        for x in sorted {
            match found.values.last() {
                Some(last) if *last == x => {
                    if let Some(count) = found.counts.last_mut() {
                        *count += 1;
                    }
                }
                _ => {
                    found.values.push(x);
                    found.counts.push(1);
                }
            }
        }
        found.whole = whole && missing + infinite == 0;
        found.sum_up();
        found
    }

    /// Of values with their rows, in ascending order.
    pub(super) fn of_counts(
        counts: impl Iterator<Item = (f64, u64)>,
        missing: u64,
        infinite: u64,
        whole: bool,
    ) -> Numbers {
        let (values, counts) = counts.filter(|c| c.1 > 0).unzip();
        let whole = whole && missing + infinite == 0;
        let mut found = Numbers { values, counts, missing, infinite, whole, ..Numbers::default() };
        found.sum_up();
        found
    }

    /// Rows, moments and ends from the values.
    fn sum_up(&mut self) {
        self.rows = self.counts.iter().sum();
        self.min = self.values.first().copied().unwrap_or(f64::NAN);
        self.max = self.values.last().copied().unwrap_or(f64::NAN);
        let n = self.rows as f64;
        let pairs = || self.values.iter().zip(&self.counts).map(|(v, c)| (*v, *c as f64));
        // Around a value of the middle, so that nothing cancels.
        let about = self.values.get(self.values.len() / 2).copied().unwrap_or(0.0);
        let mean =
            if self.rows == 0 { 0.0 } else { about + pairs().map(|(v, c)| (v - about) * c).sum::<f64>() / n };
        let m2 = pairs().map(|(v, c)| (v - mean) * (v - mean) * c).sum();
        (self.mean, self.m2) = (mean, m2);
    }

    /// Sorts values of any kind.
    pub(super) fn of(values: impl Iterator<Item = f64>, whole: bool, cx: &Cx) -> Result<Numbers> {
        let (mut keys, mut missing, mut infinite) = (Vec::with_capacity(values.size_hint().0), 0, 0);
        for x in values {
            if x.is_finite() {
                keys.push(radix::key64(x));
            } else if x.is_nan() {
                missing += 1;
            } else {
                infinite += 1;
            }
        }
        radix::sort(&mut keys, &mut vec![], cx)?;
        Ok(Numbers::of_sorted(keys.into_iter().map(radix::of64), missing, infinite, whole))
    }

    /// Sorts values that are stored as `real`.
    pub(super) fn of_reals(values: impl Iterator<Item = f32>, cx: &Cx) -> Result<Numbers> {
        let (mut keys, mut missing, mut infinite) = (Vec::with_capacity(values.size_hint().0), 0, 0);
        for x in values {
            match x {
                _ if x.is_finite() => keys.push(radix::key32(x)),
                _ if x.is_nan() => missing += 1,
                _ => infinite += 1,
            }
        }
        radix::sort(&mut keys, &mut vec![], cx)?;
        Ok(Numbers::of_sorted(keys.into_iter().map(radix::of32), missing, infinite, false))
    }

    /// Whether the values are those that there were, and not groups of them.
    pub fn exact(&self) -> bool {
        self.rank_error == 0.0 && self.distance_error == 0.0
    }

    /// The population's standard deviation.
    pub fn deviation(&self) -> f64 {
        if self.rows == 0 { f64::NAN } else { (self.m2 / self.rows as f64).sqrt() }
    }

    /// The value below which a share of the rows lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = share * self.rows as f64;
        let mut seen = 0.0;
        for (v, c) in self.values.iter().zip(&self.counts) {
            seen += *c as f64;
            if seen >= wanted {
                return *v;
            }
        }
        self.max
    }

    /// Makes it as small as a baseline is to be.
    pub fn compress(&mut self) {
        self.group(EXACT, GROUPS);
    }

    /// Groups the values where there are more than `limit`.
    fn group(&mut self, limit: usize, groups: usize) {
        if self.values.len() <= limit || self.rows == 0 {
            return;
        }
        let quota = (self.rows as f64 / groups as f64).max(1.0);
        let mut to = Numbers { values: vec![], counts: vec![], ..*self };
        let (mut largest, mut moved) = (0u64, 0.0);
        let mut from = 0;
        while from < self.values.len() {
            let (mut end, mut rows) = (from + 1, self.counts[from]);
            // A value with rows enough stands alone.
            while end < self.values.len() && (rows as f64) < quota && (self.counts[end] as f64) < quota {
                rows += self.counts[end];
                end += 1;
            }
            let members = || self.values[from..end].iter().zip(&self.counts[from..end]);
            let first = self.values[from];
            let mean = first + members().map(|(v, c)| (v - first) * (*c as f64 / rows as f64)).sum::<f64>();
            let mean = if mean.is_finite() { mean.clamp(first, self.values[end - 1]) } else { first };
            if end - from > 1 {
                largest = largest.max(rows);
                moved += members().map(|(v, c)| (v - mean).abs() * *c as f64).sum::<f64>();
            }
            to.values.push(mean);
            to.counts.push(rows);
            from = end;
        }
        to.rank_error = (self.rank_error + largest as f64 / self.rows as f64).min(1.0);
        to.distance_error = self.distance_error + moved / self.rows as f64;
        *self = to;
    }

    /// Adds the rows of another part.
    pub fn merge(&mut self, other: &Numbers) {
        self.missing += other.missing;
        self.infinite += other.infinite;
        if other.rows == 0 {
            self.whole &= other.missing + other.infinite == 0;
            return;
        }
        if self.rows == 0 {
            let (missing, infinite) = (self.missing, self.infinite);
            *self = Numbers { missing, infinite, ..other.clone() };
            self.whole &= missing + infinite == 0;
            return;
        }
        let rows = self.rows + other.rows;
        let (a, b) = (self.rows as f64 / rows as f64, other.rows as f64 / rows as f64);
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * a * other.rows as f64;
        self.mean += delta * b;
        self.rank_error = a * self.rank_error + b * other.rank_error;
        self.distance_error = a * self.distance_error + b * other.distance_error;
        let (values, counts) = Walk::new(self, other).map(|(v, a, b)| (v, a + b)).unzip();
        (self.values, self.counts, self.rows) = (values, counts, rows);
        (self.min, self.max) = (self.min.min(other.min), self.max.max(other.max));
        self.whole &= other.whole;
        self.group(WORKING, WORKING);
    }

    /// Refuses what comparing could not rely on: the bytes may be hostile.
    pub(super) fn validate(&self) -> Result<()> {
        let ascending =
            self.values.windows(2).all(|w| w[0] < w[1]) && self.values.iter().all(|v| v.is_finite());
        let total = self.counts.iter().try_fold(0u64, |sum, c| sum.checked_add(*c).filter(|_| *c > 0));
        let ends = match (self.values.first(), self.values.last()) {
            (Some(first), Some(last)) => self.min <= *first && *last <= self.max,
            _ => true,
        };
        let moments = self.rows == 0 || (self.mean.is_finite() && self.m2 >= 0.0);
        let errors = (0.0..=1.0).contains(&self.rank_error) && self.distance_error >= 0.0;
        let others = self.rows.checked_add(self.missing).and_then(|n| n.checked_add(self.infinite)).is_some();
        let whole = self.values.len() == self.counts.len() && total == Some(self.rows);
        if ascending && ends && moments && errors && others && whole {
            return Ok(());
        }
        Err(Error::corrupt("the distribution of a column of numbers is damaged"))
    }
}

/// The values of two distributions in ascending order, each with its rows on either side.
pub(super) struct Walk<'a> {
    a: &'a Numbers,
    b: &'a Numbers,
    i: usize,
    j: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(a: &'a Numbers, b: &'a Numbers) -> Walk<'a> {
        Walk { a, b, i: 0, j: 0 }
    }
}

impl Iterator for Walk<'_> {
    type Item = (f64, u64, u64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let Walk { a, b, i, j } = self;
        match (a.values.get(*i), b.values.get(*j)) {
            (Some(x), Some(y)) if x == y => {
                (*i, *j) = (*i + 1, *j + 1);
                Some((*x, a.counts[*i - 1], b.counts[*j - 1]))
            }
            (Some(x), y) if y.is_none_or(|y| x < y) => {
                *i += 1;
                Some((*x, a.counts[*i - 1], 0))
            }
            (_, Some(y)) => {
                *j += 1;
                Some((*y, 0, b.counts[*j - 1]))
            }
            _ => None,
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let (a, b) = (self.a.values.len() - self.i, self.b.values.len() - self.j);
        (a.max(b), Some(a + b))
    }
}

/// Numbers that are seen one at a time, in little memory: blocks are sorted as they fill, and merged in pairs of a size,
/// so that a value is regrouped only as often as the rows can be halved. Those of shards merge.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Stream {
    block: Vec<f64>,
    levels: Vec<Option<Numbers>>,
    whole: bool,
}

/// Values of a block.
const BLOCK: usize = 1 << 14;

impl Stream {
    pub(super) fn new(whole: bool) -> Stream {
        Stream { whole, ..Stream::default() }
    }

    pub(super) fn push(&mut self, x: f64) {
        self.block.push(x);
        if self.block.len() == BLOCK {
            let block = self.take();
            self.carry(block);
        }
    }

    fn take(&mut self) -> Numbers {
        let block = std::mem::take(&mut self.block);
        let (mut keys, mut missing, mut infinite) = (vec![], 0, 0);
        for x in block {
            match x {
                _ if x.is_finite() => keys.push(radix::key64(x)),
                _ if x.is_nan() => missing += 1,
                _ => infinite += 1,
            }
        }
        radix::sort_block(&mut keys);
        Numbers::of_sorted(keys.into_iter().map(radix::of64), missing, infinite, self.whole)
    }

    fn carry(&mut self, mut part: Numbers) {
        for level in &mut self.levels {
            match level.take() {
                Some(before) => {
                    let mut sum = before;
                    sum.merge(&part);
                    part = sum;
                }
                None => {
                    *level = Some(part);
                    return;
                }
            }
        }
        self.levels.push(Some(part));
    }

    /// Adds the values of another shard.
    pub(super) fn merge(&mut self, other: Stream) {
        for part in other.levels.into_iter().flatten() {
            self.carry(part);
        }
        other.block.into_iter().for_each(|x| self.push(x));
    }

    /// All of it, as small as a baseline is to be.
    pub(super) fn finish(mut self) -> Numbers {
        let mut all = self.take();
        for part in std::mem::take(&mut self.levels).into_iter().flatten() {
            let mut sum = part;
            sum.merge(&all);
            all = sum;
        }
        all.compress();
        all
    }
}
