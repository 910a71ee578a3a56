//! Moments and range of a column of numbers, by one pass in vector code.

use super::summary::Moments;
use crate::dense::vectorized;

/// Values looked at together: they stay in the first-level cache.
pub(crate) const BLOCK: usize = 512;
/// Values folded side by side.
const LANES: usize = 8;

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
    const NONE: Extent = Extent {
        moments: Moments { n: 0, missing: 0, infinite: 0, mean: 0.0, m2: 0.0 },
        min: f64::INFINITY,
        max: f64::NEG_INFINITY,
    };

    /// Of plain numbers.
    pub(crate) fn of<T: Copy + Into<f64>>(values: &[T]) -> Extent {
        let mut all = Extent::NONE;
        let mut block = [0.0; BLOCK];
        for values in values.chunks(BLOCK) {
            let block = &mut block[..values.len()];
            vectorized(
                #[inline(always)]
                || block.iter_mut().zip(values).for_each(|(b, v)| *b = (*v).into()),
            );
            all.add(block);
        }
        all
    }

    /// Of numbers that come one at a time.
    pub(crate) fn all(values: impl Iterator<Item = f64>) -> Extent {
        let mut all = Extent::NONE;
        let mut block = [0.0; BLOCK];
        let mut filled = 0;
        for x in values {
            block[filled] = x;
            filled += 1;
            if filled == BLOCK {
                all.add(&mut block);
                filled = 0;
            }
        }
        all.add(&mut block[..filled]);
        all
    }

    /// Adds a block, which it may put in another order.
    fn add(&mut self, block: &mut [f64]) {
        let (mut min, mut max, finite) = range(block);
        let mut n = block.len();
        if !finite {
            n = 0;
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
            (min, max, _) = range(&block[..n]);
        }
        if n > 0 {
            self.min = self.min.min(min);
            self.max = self.max.max(max);
            self.moments.merge(&Moments::of(&block[..n]));
        }
    }
}

/// The least, the greatest, and whether all are finite.
fn range(block: &[f64]) -> (f64, f64, bool) {
    vectorized(
        #[inline(always)]
        || {
            let mut min = [f64::INFINITY; LANES];
            let mut max = [f64::NEG_INFINITY; LANES];
            // Stays 0 unless a value is infinite or not a number.
            let mut odd = [0.0; LANES];
            each(block, |lane, x| {
                min[lane] = if x < min[lane] { x } else { min[lane] };
                max[lane] = if x > max[lane] { x } else { max[lane] };
                odd[lane] += x * 0.0;
            });
            let min = min.into_iter().fold(f64::INFINITY, f64::min);
            let max = max.into_iter().fold(f64::NEG_INFINITY, f64::max);
            (min, max, odd.into_iter().sum::<f64>() == 0.0)
        },
    )
}

/// Every value, with the lane that it meets: as many side by side as vectors hold.
#[inline(always)]
fn each(values: &[f64], mut meet: impl FnMut(usize, f64)) {
    let chunks = values.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, x) in chunk.iter().enumerate() {
            meet(lane, *x);
        }
    }
    for (lane, x) in rest.iter().enumerate() {
        meet(lane, *x);
    }
}
