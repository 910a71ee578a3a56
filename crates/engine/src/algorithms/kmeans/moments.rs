//! Weight, means and variances of the features, of which the scale of `tol` is made.

use super::same_length;
use crate::centers::add;
use crate::error::Result;
use crate::learner::Merge;
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Weight, means and sums of squared deviations of the features.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Moments {
    /// Sum of weights; 0 before the first row.
    pub weight: f64,
    mean: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    /// Those of a block of at least one row.
    pub fn of(chunk: &Chunk) -> Moments {
        let width = chunk.width();
        let weight: f64 = (0..chunk.rows).map(|i| chunk.weight(i)).sum();
        let mut mean = vec![0.0; width];
        for i in 0..chunk.rows {
            add(&mut mean, chunk.row(i), chunk.weight(i) / weight);
        }
        let mut squares = vec![0.0; width];
        for i in 0..chunk.rows {
            for ((square, v), mean) in squares.iter_mut().zip(chunk.row(i)).zip(&mean) {
                *square += chunk.weight(i) * (v - mean) * (v - mean);
            }
        }
        Moments { weight, mean, squares }
    }

    /// The sum over all rows of weight times squared distance to the center that each was given to, from the weights
    /// and sums of rows by center. Exact but for rounding, relative to the same sum about the mean.
    pub fn inertia(&self, centers: &[f64], weights: &[f64], sums: &[f64]) -> f64 {
        let width = self.mean.len().max(1);
        let mut inertia: f64 = self.squares.iter().sum();
        for ((center, weight), sum) in centers.chunks_exact(width).zip(weights).zip(sums.chunks_exact(width))
        {
            for ((c, sum), mean) in center.iter().zip(sum).zip(&self.mean) {
                let apart = c - mean;
                inertia += weight * apart * apart - 2.0 * apart * (sum - weight * mean);
            }
        }
        if inertia < 0.0 { 0.0 } else { inertia }
    }

    /// The mean over features of their variances.
    pub fn variance(&self) -> f64 {
        self.squares.iter().sum::<f64>() / self.weight / self.squares.len().max(1) as f64
    }
}

impl Merge for Moments {
    /// Chan, Golub & LeVeque's update of both.
    fn merge(&mut self, other: Self) -> Result<()> {
        if other.weight == 0.0 {
            return Ok(());
        }
        if self.weight == 0.0 {
            *self = other;
            return Ok(());
        }
        same_length(&self.mean, &other.mean)?;
        same_length(&self.squares, &other.squares)?;
        let weight = self.weight + other.weight;
        let apart = self.weight * (other.weight / weight);
        for (j, (mean, square)) in self.mean.iter_mut().zip(&mut self.squares).enumerate() {
            let shift = other.mean[j] - *mean;
            *mean += shift * (other.weight / weight);
            *square += other.squares[j] + shift * shift * apart;
        }
        self.weight = weight;
        Ok(())
    }
}
