//! Symmetric positive systems that may be singular: Cholesky's factor of the matrix scaled to a unit diagonal, in
//! column order, leaving out each column that the ones before it already explain.

use crate::dense::dot;
use crate::error::Result;
use crate::learner::Cx;

/// A column is left out when less than this part of its square is new. Sums of squares about the mean carry a
/// relative error near 1e-15, so what is left of a kept column is right to four digits or more.
const NEW: f64 = 1e-11;

/// The factor `L L'` of a scaled matrix.
pub struct Factor {
    width: usize,
    /// Row-major, lower triangle; rows of dropped columns are zero.
    lower: Vec<f64>,
    /// 1 / square root of the diagonal; 0 for dropped columns.
    inverse: Vec<f64>,
    /// Columns left out: they get 0 in every solution.
    pub dropped: Vec<usize>,
}

impl Factor {
    /// Factors `a`, `width` square, of which the lower triangle is read. Takes `width^3 / 6` multiplications.
    pub fn new(a: &[f64], width: usize, cx: &Cx) -> Result<Factor> {
        let mut inverse: Vec<f64> = (0..width)
            .map(|j| a[j * width + j])
            .map(|v| if v > 0.0 { 1.0 / v.sqrt() } else { 0.0 })
            .collect();
        let mut lower = vec![0.0; width * width];
        let mut dropped = vec![];
        for i in 0..width {
            cx.check()?;
            let (done, rest) = lower.split_at_mut(i * width);
            let row = &mut rest[..width];
            for j in 0..i {
                // A dropped column has inverse 0, and so a zero here.
                let pivot = done[j * width + j];
                if pivot > 0.0 {
                    let r = a[i * width + j] * inverse[i] * inverse[j];
                    row[j] = (r - dot(&row[..j], &done[j * width..j * width + j])) / pivot;
                }
            }
            let left = 1.0 - dot(&row[..i], &row[..i]);
            if inverse[i] > 0.0 && left > NEW {
                row[i] = left.sqrt();
            } else {
                row.fill(0.0);
                inverse[i] = 0.0;
                dropped.push(i);
            }
        }
        Ok(Factor { width, lower, inverse, dropped })
    }

    /// Replaces `b` by the solution of `a x = b` on the kept columns.
    pub fn solve(&self, b: &mut [f64]) {
        let (n, l) = (self.width, &self.lower);
        for i in 0..n {
            let pivot = l[i * n + i];
            b[i] = if pivot > 0.0 {
                (b[i] * self.inverse[i] - dot(&l[i * n..i * n + i], &b[..i])) / pivot
            } else {
                0.0
            };
        }
        for i in (0..n).rev() {
            let pivot = l[i * n + i];
            if pivot > 0.0 {
                b[i] /= pivot;
                let x = b[i];
                for (b, l) in b[..i].iter_mut().zip(&l[i * n..i * n + i]) {
                    *b -= l * x;
                }
            }
        }
        b.iter_mut().zip(&self.inverse).for_each(|(b, inv)| *b *= inv);
    }
}
