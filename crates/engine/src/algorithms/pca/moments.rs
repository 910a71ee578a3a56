//! Sums over rows: means and second moments about them, all of them or the diagonal, and products with directions.

use crate::dense;
use crate::error::{Error, Result};
use crate::learner::{Cx, Merge};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Weight, means and sums of squared deviations: the square matrix (lower triangle, row-major) or, of wide rows, its
/// diagonal. Blocks are centred on their own means and merged by the formula of Chan, Golub and LeVeque (1983).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The sum of weights.
    pub weight: f64,
    /// Weighted means.
    pub mean: Vec<f64>,
    /// Sums of products about the means: `width` square, or `width`.
    pub square: Vec<f64>,
}

impl Moments {
    /// Of no rows.
    pub fn zero(width: usize, full: bool) -> Moments {
        Moments {
            weight: 0.0,
            mean: vec![0.0; width],
            square: vec![0.0; if full { width * width } else { width }],
        }
    }

    fn is_full(&self) -> bool {
        self.square.len() == self.mean.len() * self.mean.len()
    }

    /// Adds the rows of a block.
    pub fn add(&mut self, chunk: &Chunk, cx: &Cx) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let d = self.mean.len();
        let mut block = Moments::zero(d, self.is_full());
        let row = |i: usize| &chunk.x[i * d..(i + 1) * d];
        // About the first row, which makes the means of constant columns exact.
        let first = row(0);
        dense::vectorized(
            #[inline(always)]
            || {
                for i in 0..chunk.rows {
                    let w = chunk.weight(i);
                    block.weight += w;
                    for ((sum, x), x0) in block.mean.iter_mut().zip(row(i)).zip(first) {
                        *sum += w * (x - x0);
                    }
                }
            },
        );
        for (mean, x0) in block.mean.iter_mut().zip(first) {
            *mean = x0 + *mean / block.weight;
        }
        centred(chunk, &block.mean, cx, |z, rows| {
            if block.square.len() == d {
                for z in z.chunks_exact(d) {
                    block.square.iter_mut().zip(z).for_each(|(s, z)| *s += z * z);
                }
            } else {
                dense::add_square(z, rows, d, &mut block.square);
            }
        })?;
        self.merge(block)
    }

    /// The sum of the variances' numerators.
    pub fn total(&self) -> f64 {
        let stride = if self.is_full() { self.mean.len() + 1 } else { 1 };
        self.square.iter().step_by(stride).sum()
    }

    /// Whether all sums are finite.
    pub fn finite(&self) -> bool {
        self.weight.is_finite() && self.mean.iter().chain(&self.square).all(|v| v.is_finite())
    }
}

/// Calls `each` with rows about `mean`, times the roots of their weights, a few at a time.
pub fn centred(chunk: &Chunk, mean: &[f64], cx: &Cx, mut each: impl FnMut(&[f64], usize)) -> Result<()> {
    let d = mean.len();
    let step = dense::rows_at_once(d).min(chunk.rows.max(1));
    let mut scratch = vec![0.0; step * d];
    for start in (0..chunk.rows).step_by(step) {
        cx.check()?;
        let rows = step.min(chunk.rows - start);
        let z = &mut scratch[..rows * d];
        dense::vectorized(
            #[inline(always)]
            || {
                let x = &chunk.x[start * d..(start + rows) * d];
                for (z, x) in z.chunks_exact_mut(d).zip(x.chunks_exact(d)) {
                    z.iter_mut().zip(x).zip(mean).for_each(|((z, x), m)| *z = x - m);
                }
                for (z, w) in z.chunks_exact_mut(d).zip(chunk.weight.iter().skip(start)) {
                    let root = w.sqrt();
                    z.iter_mut().for_each(|z| *z *= root);
                }
            },
        );
        each(z, rows);
    }
    Ok(())
}

impl Merge for Moments {
    fn merge(&mut self, other: Moments) -> Result<()> {
        if (other.mean.len(), other.square.len()) != (self.mean.len(), self.square.len()) {
            return Err(Error::corrupt("moments of another shape cannot be merged"));
        }
        if other.weight == 0.0 {
            return Ok(());
        }
        if self.weight == 0.0 {
            *self = other;
            return Ok(());
        }
        let (d, full) = (self.mean.len(), self.is_full());
        let weight = self.weight + other.weight;
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let between = self.weight * other.weight / weight;
        for i in 0..d {
            let row = if full { i * d..i * d + i + 1 } else { i..i + 1 };
            let left = if full { &delta[..=i] } else { &delta[i..=i] };
            let scale = between * delta[i];
            for ((a, b), d) in self.square[row.clone()].iter_mut().zip(&other.square[row]).zip(left) {
                *a += b + scale * d;
            }
        }
        let part = other.weight / weight;
        self.mean.iter_mut().zip(&delta).for_each(|(m, d)| *m += part * d);
        self.weight = weight;
        Ok(())
    }
}
