//! Moments and range of a column of numbers, by one pass in vector code.

use super::summary::Moments;
use crate::dense::{lanes_sum, vectorized};
use crate::frame::{Column, Data};
use std::ops::Range;

/// Values looked at together: they stay in the first-level cache.
pub(crate) const BLOCK: usize = 512;
/// Values folded side by side.
const LANES: usize = 8;

/// False, true and missing as numbers.
const TRUTH: [f64; 3] = [0.0, 1.0, f64::NAN];
/// Seconds from 1970 to 2000, from where times count.
const EPOCH: f64 = 946_684_800.0;

/// A time as seconds since 1970; NaN where it is missing.
fn seconds(micros: i64) -> f64 {
    if micros == i64::MIN { f64::NAN } else { micros as f64 / 1e6 + EPOCH }
}

/// Moments of the finite numbers, and their range. Moments are those of [`Moments::add_rows`], bit by bit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extent {
    /// Counts, mean and deviations.
    pub moments: Moments,
    /// The least; infinite where there is none.
    pub min: f64,
    /// The greatest; negative and infinite where there is none.
    pub max: f64,
}

impl Extent {
    /// Of no value.
    pub(crate) const NONE: Extent = Extent {
        moments: Moments { n: 0, missing: 0, infinite: 0, mean: 0.0, m2: 0.0 },
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    /// Of plain numbers.
    pub(crate) fn of<T: Copy + Into<f64>>(values: &[T]) -> Extent {
        let mut all = Extent::NONE;
        all.extend(values);
        all
    }

    /// Adds plain numbers that follow: as if all came at once where those before were a multiple of [`BLOCK`].
    pub(crate) fn extend<T: Copy + Into<f64>>(&mut self, values: &[T]) {
        for values in values.chunks(BLOCK) {
            if !self.add_finite(values) {
                let mut block = [0.0; BLOCK];
                block.iter_mut().zip(values).for_each(|(b, v)| *b = (*v).into());
                self.add(&mut block[..values.len()]);
            }
        }
    }

    /// Of numbers that come one at a time.
    pub(crate) fn all(values: impl Iterator<Item = f64>) -> Extent {
        let mut all = Extent::NONE;
        all.extend_by(values);
        all
    }

    /// As [`Extent::extend`], of numbers that come one at a time.
    pub(crate) fn extend_by(&mut self, values: impl Iterator<Item = f64>) {
        let mut block = [0.0; BLOCK];
        let mut filled = 0;
        for x in values {
            block[filled] = x;
            filled += 1;
            if filled == BLOCK {
                self.add(&mut block);
                filled = 0;
            }
        }
        self.add(&mut block[..filled]);
    }

    /// Adds rows of a column that has numbers, truth values or times (in seconds since 1970); false for others. The rows
    /// before must have been a multiple of [`BLOCK`].
    pub(crate) fn extend_rows(&mut self, column: &Column, rows: Range<usize>) -> bool {
        let missing = |i: usize| column.missing.get(i).copied().unwrap_or(false);
        match &column.data {
            Data::F32(v) => self.extend(&v[rows]),
            Data::F64(v) => self.extend(&v[rows]),
            Data::I32(v) if column.missing.is_empty() => self.extend(&v[rows]),
            Data::I32(v) => {
                self.extend_by(rows.map(|i| if missing(i) { f64::NAN } else { f64::from(v[i]) }));
            }
            Data::I64(v) => self.extend_by(rows.map(|i| if missing(i) { f64::NAN } else { v[i] as f64 })),
            Data::Bool(v) => self.extend_by(v[rows].iter().map(|b| TRUTH[usize::from(*b).min(2)])),
            Data::Time(v) => self.extend_by(v[rows].iter().map(|t| seconds(*t))),
            Data::Text(_)
            | Data::Labels(_)
            | Data::Vector { .. }
            | Data::Bytes { .. }
            | Data::Images(_)
            | Data::Away { .. } => return false,
        }
        true
    }

    /// Of a whole column, where it has numbers, truth values or times.
    pub(crate) fn of_column(column: &Column) -> Option<Extent> {
        let mut all = Extent::NONE;
        all.extend_rows(column, 0..column.len()).then_some(all)
    }

    /// Adds a block, which it may put in another order.
    fn add(&mut self, block: &mut [f64]) {
        if self.add_finite(block) {
            return;
        }
        let mut n = 0;
        for i in 0..block.len() {
            if block[i].is_finite() {
                block[n] = block[i];
                n += 1;
            } else if block[i].is_nan() {
                self.moments.missing += 1;
            } else {
                self.moments.infinite += 1;
            }
        }
        self.add_finite(&block[..n]);
    }

    /// Adds a block where all of it is finite; else nothing, and it is false.
    fn add_finite<T: Copy + Into<f64>>(&mut self, block: &[T]) -> bool {
        let (seen, mean, m2) = vectorized(
            #[inline(always)]
            || {
                let mut seen = Seen::NOTHING;
                each(
                    block,
                    #[inline(always)]
                    |x| seen.add(x),
                );
                let mean = lanes_sum(seen.sum) / block.len() as f64;
                let m2 = deviations(block, mean);
                (seen, mean, m2)
            },
        );
        if seen.is_finite() && !block.is_empty() {
            self.min = self.min.min(seen.min());
            self.max = self.max.max(seen.max());
            self.moments.merge(&Moments { n: block.len() as u64, mean, m2, ..Moments::default() });
        }
        seen.is_finite()
    }
}

/// What one pass over a block shows, in lanes that stand side by side as vectors hold them.
struct Seen {
    min: [f64; LANES],
    max: [f64; LANES],
    sum: [f64; LANES],
    /// Stays 0 unless a value is infinite or not a number.
    odd: [f64; LANES],
}

impl Seen {
    const NOTHING: Seen = Seen {
        min: [f64::INFINITY; LANES],
        max: [f64::NEG_INFINITY; LANES],
        sum: [0.0; LANES],
        odd: [0.0; LANES],
    };

    /// Each lane with its value. One loop a figure: compilers make vector code of these.
    #[inline(always)]
    fn add(&mut self, values: &[f64]) {
        self.min.iter_mut().zip(values).for_each(|(m, x)| *m = if *x < *m { *x } else { *m });
        self.max.iter_mut().zip(values).for_each(|(m, x)| *m = if *x > *m { *x } else { *m });
        self.sum.iter_mut().zip(values).for_each(|(s, x)| *s += x);
        self.odd.iter_mut().zip(values).for_each(|(o, x)| *o += x * 0.0);
    }

    fn min(&self) -> f64 {
        self.min.into_iter().fold(f64::INFINITY, f64::min)
    }

    fn max(&self) -> f64 {
        self.max.into_iter().fold(f64::NEG_INFINITY, f64::max)
    }

    fn is_finite(&self) -> bool {
        self.odd.into_iter().sum::<f64>() == 0.0
    }
}

/// The sum of squares around the mean.
#[inline(always)]
fn deviations<T: Copy + Into<f64>>(block: &[T], mean: f64) -> f64 {
    let mut lanes = [0.0; LANES];
    each(
        block,
        #[inline(always)]
        |x| lanes.iter_mut().zip(x).for_each(|(s, x)| *s += (x - mean) * (x - mean)),
    );
    lanes_sum(lanes)
}

/// Every value, a lane each, in the order of [`crate::dense::sum`]: first those that do not fill all lanes.
#[inline(always)]
fn each<T: Copy + Into<f64>>(values: &[T], mut meet: impl FnMut(&[f64])) {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    lanes.iter_mut().zip(rest).for_each(|(lane, x)| *lane = (*x).into());
    // Their order among each other is that of addition: the few first.
    meet(&lanes[..rest.len()]);
    for chunk in chunks {
        meet(&chunk.map(Into::into));
    }
}
