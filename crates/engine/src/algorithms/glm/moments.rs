//! Weighted second moments of features and target about their means: the first pass of every model here.
//!
//! Each block is centred on its own mean before it is multiplied, and blocks are merged by the formula of Chan,
//! Golub and LeVeque (1983). So a column such as a year or a timestamp keeps its digits.

use crate::dense;
use crate::error::{Error, Result};
use crate::learner::{Cx, Merge};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Where each feature lay in training, and how wide.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Weighted means.
    pub mean: Vec<f64>,
    /// Standard deviations, with the sum of weights as the denominator.
    pub deviation: Vec<f64>,
}

/// Moments of `width` features and, last, the target (for classes, the class's number).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// The sum of weights.
    pub weight: f64,
    /// Weighted means: `width + 1`.
    pub mean: Vec<f64>,
    /// Weighted sums of products about the means: `width + 1` square, row-major, lower triangle.
    pub square: Vec<f64>,
    /// The sum of weights of each class; none in regression.
    pub classes: Vec<f64>,
}

impl Moments {
    /// Of no rows.
    pub fn zero(width: usize, classes: usize) -> Moments {
        let n = width + 1;
        Moments { weight: 0.0, mean: vec![0.0; n], square: vec![0.0; n * n], classes: vec![0.0; classes] }
    }

    /// Adds the rows of a block.
    pub fn add(&mut self, chunk: &Chunk, cx: &Cx) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let d = self.mean.len() - 1;
        let n = d + 1;
        let mut block = Moments::zero(d, self.classes.len());
        // Means are taken about the first row, which makes those of constant columns exact.
        let row = |i: usize| &chunk.x[i * d..(i + 1) * d];
        let (first, mut y_sum) = (row(0), 0.0);
        dense::vectorized(
            #[inline(always)]
            || {
                for i in 0..chunk.rows {
                    let w = chunk.weight(i);
                    block.weight += w;
                    for ((sum, x), x0) in block.mean.iter_mut().zip(row(i)).zip(first) {
                        *sum += w * (x - x0);
                    }
                    y_sum += w * (chunk.y[i] - chunk.y[0]);
                    if let Some(class) = block.classes.get_mut(chunk.y[i] as usize) {
                        *class += w;
                    }
                }
            },
        );
        for (mean, x0) in block.mean.iter_mut().zip(first) {
            *mean = x0 + *mean / block.weight;
        }
        block.mean[d] = chunk.y[0] + y_sum / block.weight;

        let step = dense::rows_at_once(n);
        let mut scratch = vec![0.0; step.min(chunk.rows) * n];
        for start in (0..chunk.rows).step_by(step) {
            cx.check()?;
            let rows = step.min(chunk.rows - start);
            dense::vectorized(
                #[inline(always)]
                || {
                    for (k, z) in scratch.chunks_exact_mut(n).take(rows).enumerate() {
                        let i = start + k;
                        for ((z, x), mean) in z.iter_mut().zip(row(i)).zip(&block.mean) {
                            *z = x - mean;
                        }
                        z[d] = chunk.y[i] - block.mean[d];
                        if !chunk.weight.is_empty() {
                            let root = chunk.weight[i].sqrt();
                            z.iter_mut().for_each(|z| *z *= root);
                        }
                    }
                },
            );
            dense::add_square(&scratch[..rows * n], rows, n, &mut block.square);
        }
        self.merge(block)
    }

    /// Sums of products of the features alone, `width` square, lower triangle: about their means, or about zero.
    pub fn features(&self, centered: bool) -> Vec<f64> {
        let d = self.mean.len() - 1;
        let mut out = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..=i {
                out[i * d + j] = self.product(i, j, centered);
            }
        }
        out
    }

    /// Sums of products of each feature with the target.
    pub fn with_target(&self, centered: bool) -> Vec<f64> {
        let d = self.mean.len() - 1;
        (0..d).map(|j| self.product(d, j, centered)).collect()
    }

    /// The sum of products of columns `i >= j`.
    pub fn product(&self, i: usize, j: usize, centered: bool) -> f64 {
        let about_mean = self.square[i * self.mean.len() + j];
        if centered { about_mean } else { about_mean + self.weight * self.mean[i] * self.mean[j] }
    }

    /// Whether a column does not vary beyond rounding.
    pub fn constant(&self, j: usize) -> bool {
        let noise = 1e-13 * self.mean[j];
        self.product(j, j, true) <= self.weight * noise * noise
    }

    /// The mean and the standard deviation of each feature.
    pub fn spread(&self) -> Spread {
        let d = self.mean.len() - 1;
        let deviation = |j| (self.product(j, j, true) / self.weight).max(0.0).sqrt();
        Spread { mean: self.mean[..d].to_vec(), deviation: (0..d).map(deviation).collect() }
    }

    /// Whether all sums are finite.
    pub fn finite(&self) -> bool {
        self.weight.is_finite() && self.mean.iter().chain(&self.square).all(|v| v.is_finite())
    }
}

impl Merge for Moments {
    fn merge(&mut self, other: Moments) -> Result<()> {
        if (other.mean.len(), other.square.len(), other.classes.len())
            != (self.mean.len(), self.square.len(), self.classes.len())
        {
            return Err(Error::corrupt("moments of another shape cannot be merged"));
        }
        if other.weight == 0.0 {
            return Ok(());
        }
        if self.weight == 0.0 {
            *self = other;
            return Ok(());
        }
        let n = self.mean.len();
        let weight = self.weight + other.weight;
        let delta: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        let between = self.weight * other.weight / weight;
        for i in 0..n {
            let row = i * n..i * n + i + 1;
            let scale = between * delta[i];
            for ((a, b), d) in self.square[row.clone()].iter_mut().zip(&other.square[row]).zip(&delta) {
                *a += b + scale * d;
            }
        }
        let part = other.weight / weight;
        self.mean.iter_mut().zip(&delta).for_each(|(m, d)| *m += part * d);
        self.classes.iter_mut().zip(&other.classes).for_each(|(a, b)| *a += b);
        self.weight = weight;
        Ok(())
    }
}
