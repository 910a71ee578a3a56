//! Elastic nets on a quadratic: coordinate descent with covariance updates (Friedman, Hastie and Tibshirani 2010),
//! then the exact solution on the coordinates that are left. It needs sums of products only, never a row.

use super::solve::Factor;
use crate::error::Result;
use crate::learner::Cx;

/// A quadratic `b'Hb / 2 - q'b`.
pub struct Quadratic {
    width: usize,
    /// `H`, symmetric and full.
    square: Vec<f64>,
    linear: Vec<f64>,
}

/// Sweeps over the coordinates before giving up; each costs at most `width^2`.
const SWEEPS: usize = 20_000;
/// A sweep that moves no coordinate by more than this part of the largest, in units of the quadratic, ends the descent.
const SETTLED: f64 = 1e-9;

impl Quadratic {
    /// From the lower triangle of `H`.
    pub fn new(lower: &[f64], linear: Vec<f64>) -> Quadratic {
        let n = linear.len();
        let mut square = lower.to_vec();
        for i in 0..n {
            for j in 0..i {
                square[j * n + i] = lower[i * n + j];
            }
        }
        Quadratic { width: n, square, linear }
    }

    /// Minimises it plus `sum of l1 |b| + l2 b^2 / 2` from where `b` is; false when the descent did not settle.
    pub fn minimise(&self, l1: &[f64], l2: &[f64], b: &mut [f64], cx: &Cx) -> Result<bool> {
        let n = self.width;
        let row = |j: usize| &self.square[j * n..(j + 1) * n];
        let mut rest = self.linear.clone();
        for j in (0..n).filter(|j| b[*j] != 0.0) {
            rest.iter_mut().zip(row(j)).for_each(|(r, h)| *r -= h * b[j]);
        }
        let mut active_only = false;
        let mut settled = false;
        for sweep in 0..SWEEPS {
            if sweep % 16 == 0 {
                cx.check()?;
            }
            let (mut moved, mut size) = (0.0f64, 0.0f64);
            for j in 0..n {
                let diagonal = self.square[j * n + j];
                if diagonal + l2[j] <= 0.0 || (active_only && b[j] == 0.0) {
                    continue;
                }
                let pull = rest[j] + diagonal * b[j];
                let new = soft(pull, l1[j]) / (diagonal + l2[j]);
                let step = new - b[j];
                if step != 0.0 {
                    rest.iter_mut().zip(row(j)).for_each(|(r, h)| *r -= h * step);
                    b[j] = new;
                }
                let unit = diagonal.sqrt();
                moved = moved.max(step.abs() * unit);
                size = size.max(new.abs() * unit);
            }
            let quiet = moved <= SETTLED * size;
            if quiet && !active_only {
                settled = true;
                break;
            }
            // Between full sweeps only what is not zero moves.
            active_only = !quiet;
        }
        self.polish(l1, l2, b, cx)?;
        Ok(settled)
    }

    /// Solves for the coordinates that are not zero, their signs given; kept when the signs come out the same.
    fn polish(&self, l1: &[f64], l2: &[f64], b: &mut [f64], cx: &Cx) -> Result<()> {
        let active: Vec<usize> = (0..self.width).filter(|j| b[*j] != 0.0).collect();
        let k = active.len();
        let mut h = vec![0.0; k * k];
        for (a, i) in active.iter().enumerate() {
            for (c, j) in active[..=a].iter().enumerate() {
                h[a * k + c] = self.square[i * self.width + j];
            }
            h[a * k + a] += l2[*i];
        }
        let factor = Factor::new(&h, k, cx)?;
        let mut exact: Vec<f64> = active.iter().map(|j| self.linear[*j] - l1[*j] * b[*j].signum()).collect();
        factor.solve(&mut exact);
        let same = active.iter().zip(&exact).all(|(j, e)| e.signum() == b[*j].signum() && e.is_finite());
        if factor.dropped.is_empty() && same {
            active.iter().zip(exact).for_each(|(j, e)| b[*j] = e);
        }
        Ok(())
    }
}

/// The soft threshold.
fn soft(x: f64, by: f64) -> f64 {
    if x > by {
        x - by
    } else if x < -by {
        x + by
    } else {
        0.0
    }
}
