//! What naive Bayes must know of the rows: for each class and feature the weight of its values, their mean and
//! squared deviations or their sum, or their weights by category.

use super::{Kinds, Params};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Merge};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Rows between two looks at the stop flag.
const STEP: usize = 512;

/// Sums by class. Merged by the formula of Chan, Golub and LeVeque (1983).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sums {
    width: usize,
    /// Weights of the classes.
    pub classes: Vec<f64>,
    /// Weights of values that are not missing: `classes * width`.
    count: Vec<f64>,
    /// Their means.
    mean: Vec<f64>,
    /// Their squared deviations from them.
    square: Vec<f64>,
    /// Where each feature's categories begin in `categories`, and past the last; empty ranges for numbers.
    begins: Vec<usize>,
    /// Weights by category: for each categorical feature `classes * levels`.
    categories: Vec<f64>,
}

impl Sums {
    /// Values that the sums hold.
    pub fn cells(params: &Params) -> usize {
        let levels = |f: &Kinds| if let Kinds::Categorical(n) = f { *n as usize } else { 0 };
        params.classes * (1 + params.kinds.len() * 3 + params.kinds.iter().map(levels).sum::<usize>())
    }

    /// Of no rows.
    pub fn zero(params: &Params) -> Sums {
        let (k, d) = (params.classes, params.kinds.len());
        let mut begins = vec![0];
        for kind in &params.kinds {
            let levels = if let Kinds::Categorical(n) = kind { *n as usize } else { 0 };
            begins.push(begins.last().copied().unwrap_or(0) + k * levels);
        }
        let zeros = || vec![0.0; k * d];
        let categories = vec![0.0; begins.last().copied().unwrap_or(0)];
        Sums {
            width: d,
            classes: vec![0.0; k],
            count: zeros(),
            mean: zeros(),
            square: zeros(),
            begins,
            categories,
        }
    }

    /// Adds the rows of a block.
    ///
    /// # Errors
    /// `Kind::Data` for a negative count.
    pub fn add(&mut self, params: &Params, chunk: &Chunk, cx: &Cx) -> Result<()> {
        let d = self.width;
        let mut block = Sums::zero(params);
        // Means first, then deviations from them: exact, and free of divisions a value.
        let known = |x: f64| if x.is_finite() { 1.0 } else { 0.0 };
        for start in (0..chunk.rows).step_by(STEP) {
            cx.check()?;
            for i in start..(start + STEP).min(chunk.rows) {
                let (c, w, row) = (chunk.y[i] as usize, chunk.weight(i), chunk.row(i));
                let Some(class) = block.classes.get_mut(c) else {
                    return Err(Error::internal(format!("naive_bayes got class {c} of {}", params.classes)));
                };
                *class += w;
                let cells = c * d..(c + 1) * d;
                let sums = block.count[cells.clone()].iter_mut().zip(&mut block.mean[cells]);
                for (((n, sum), x), kind) in sums.zip(row).zip(&params.kinds) {
                    *n += w * known(*x);
                    *sum += match kind {
                        Kinds::Bernoulli => w * known(*x) * f64::from(u8::from(*x > params.binarize)),
                        _ if x.is_finite() => w * x,
                        _ => 0.0,
                    };
                }
            }
        }
        block.mean.iter_mut().zip(&block.count).for_each(|(m, n)| *m = if *n > 0.0 { *m / n } else { 0.0 });
        for i in 0..chunk.rows {
            let (c, w, row) = (chunk.y[i] as usize, chunk.weight(i), chunk.row(i));
            let cells = c * d..(c + 1) * d;
            for (((square, mean), x), (j, kind)) in block.square[cells.clone()]
                .iter_mut()
                .zip(&block.mean[cells])
                .zip(row)
                .zip(params.kinds.iter().enumerate())
            {
                match kind {
                    Kinds::Gaussian if x.is_finite() => *square += w * (x - mean) * (x - mean),
                    Kinds::Multinomial if *x < 0.0 => {
                        let name = &params.names[j];
                        return Err(Error::new(
                            Kind::Data,
                            format!("feature \"{name}\" is {x}, expected counts of 0 or more for distribution multinomial"),
                        )
                        .hint("Use distribution gaussian, or leave the column out."));
                    }
                    Kinds::Categorical(levels) if *x >= 0.0 && *x < f64::from(*levels) => {
                        block.categories[self.begins[j] + c * *levels as usize + *x as usize] += w;
                    }
                    _ => {}
                }
            }
        }
        self.merge(block)
    }

    /// The weight of the values of a class.
    pub fn count(&self, c: usize, j: usize) -> f64 {
        self.count[c * self.width + j]
    }

    /// Their mean.
    pub fn mean(&self, c: usize, j: usize) -> f64 {
        self.mean[c * self.width + j]
    }

    /// Their variance.
    pub fn variance(&self, c: usize, j: usize) -> f64 {
        self.square[c * self.width + j] / self.count(c, j)
    }

    /// Their sum.
    pub fn sum(&self, c: usize, j: usize) -> f64 {
        self.mean(c, j) * self.count(c, j)
    }

    /// The weights of a class by category.
    pub fn categories(&self, c: usize, j: usize) -> &[f64] {
        let all = &self.categories[self.begins[j]..self.begins[j + 1]];
        let levels = all.len() / self.classes.len().max(1);
        &all[c * levels..(c + 1) * levels]
    }

    /// Weight, mean and variance of a feature over all classes; the variance of no values is 0.
    pub fn pooled(&self, j: usize) -> (f64, f64, f64) {
        let (mut n, mut mean, mut square) = (0.0, 0.0, 0.0);
        for c in (0..self.classes.len()).filter(|c| self.count(*c, j) > 0.0) {
            let more = self.count(c, j);
            let delta = self.mean(c, j) - mean;
            square += self.square[c * self.width + j] + delta * delta * n * more / (n + more);
            mean += delta * more / (n + more);
            n += more;
        }
        (n, mean, if n > 0.0 { square / n } else { 0.0 })
    }

    /// Whether all sums are finite.
    pub fn finite(&self) -> bool {
        [&self.classes, &self.count, &self.mean, &self.square, &self.categories]
            .into_iter()
            .flatten()
            .all(|v| v.is_finite())
    }
}

impl Merge for Sums {
    fn merge(&mut self, other: Sums) -> Result<()> {
        if (self.width, self.classes.len(), &self.begins, self.categories.len(), self.mean.len())
            != (other.width, other.classes.len(), &other.begins, other.categories.len(), other.mean.len())
            || [&other.count, &other.square].iter().any(|v| v.len() != self.mean.len())
        {
            return Err(Error::corrupt("sums of another shape cannot be merged"));
        }
        for i in 0..self.mean.len() {
            let (a, b) = (self.count[i], other.count[i]);
            if b > 0.0 {
                let n = a + b;
                let delta = other.mean[i] - self.mean[i];
                self.square[i] += other.square[i] + delta * delta * a * (b / n);
                self.mean[i] += delta * (b / n);
                self.count[i] = n;
            }
        }
        self.classes.iter_mut().zip(&other.classes).for_each(|(a, b)| *a += b);
        self.categories.iter_mut().zip(&other.categories).for_each(|(a, b)| *a += b);
        Ok(())
    }
}
