//! One pass of Newton's method over rows: the loss, its gradient and its Hessian at a point, as sums over blocks. A
//! row's part depends on its linear predictor alone, so the sums are three products of matrices.

use super::Coordinates;
use super::family::Rows;
use crate::dense;
use crate::error::{Error, Result};
use crate::learner::{Cx, Merge};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// Sums over rows, each times its weight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sums {
    /// Of losses.
    pub loss: f64,
    /// Of slopes times coordinates.
    pub gradient: Vec<f64>,
    /// Of curvatures times products of coordinates: lower triangle.
    pub hessian: Vec<f64>,
    /// Of the cross derivatives by the predictor and one other parameter, times coordinates; or none.
    pub cross: Vec<f64>,
    /// Whatever else the rows add up to.
    pub others: Vec<f64>,
}

impl Sums {
    /// Of no rows.
    pub fn zero(width: usize, with_cross: bool, others: usize) -> Sums {
        Sums {
            loss: 0.0,
            gradient: vec![0.0; width],
            hessian: vec![0.0; width * width],
            cross: vec![0.0; if with_cross { width } else { 0 }],
            others: vec![0.0; others],
        }
    }

    /// Adds the rows of a block at the point `beta`. `each` gets the targets and weights of a step's rows, fills what
    /// they give from their margins, per unit of weight, and may add to the other sums.
    pub fn add(
        &mut self,
        coordinates: &Coordinates,
        beta: &[f64],
        chunk: &Chunk,
        cx: &Cx,
        mut each: impl FnMut(&[f64], &[f64], &mut Rows, &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        let n = coordinates.width();
        let mut rows_of = Rows::new();
        let (mut u, mut scaled) = (vec![], vec![]);
        for step in steps(n, chunk) {
            cx.check()?;
            let rows = step.len();
            margins(coordinates, beta, chunk, &step, &mut u, &mut rows_of);
            let ones = [1.0; dense::MAX_ROWS];
            let weight = if chunk.weight.is_empty() { &ones[..rows] } else { &chunk.weight[step.clone()] };
            each(&chunk.y[step.clone()], weight, &mut rows_of, &mut self.others)?;
            let Rows { loss, slope, curvature, cross, .. } = &mut *rows_of;
            for (i, w) in weight.iter().enumerate() {
                loss[i] *= w;
                slope[i] *= w;
                cross[i] *= w;
                curvature[i] *= w;
            }
            self.loss += dense::sum(&loss[..rows]);
            dense::add_product(&slope[..rows], rows, 1, &u, n, &mut self.gradient);
            if !self.cross.is_empty() {
                dense::add_product(&cross[..rows], rows, 1, &u, n, &mut self.cross);
            }
            let curvature = &mut curvature[..rows];
            if curvature.iter().any(|c| *c < 0.0) {
                // Observed curvatures of other links than the canonical one may be negative.
                scaled.clone_from(&u);
                scale_rows(&mut scaled, n, curvature);
                dense::add_product(&scaled, rows, n, &u, n, &mut self.hessian);
            } else {
                curvature.iter_mut().for_each(|c| *c = c.sqrt());
                scale_rows(&mut u, n, curvature);
                dense::add_square(&u, rows, n, &mut self.hessian);
            }
        }
        Ok(())
    }
}

impl Merge for Sums {
    fn merge(&mut self, other: Sums) -> Result<()> {
        let shape = |s: &Sums| (s.gradient.len(), s.hessian.len(), s.cross.len(), s.others.len());
        if shape(self) != shape(&other) {
            return Err(Error::corrupt("sums of another shape cannot be merged"));
        }
        self.loss += other.loss;
        add(&mut self.gradient, &other.gradient);
        add(&mut self.hessian, &other.hessian);
        add(&mut self.cross, &other.cross);
        add(&mut self.others, &other.others);
        Ok(())
    }
}

/// `a += b`.
pub fn add(a: &mut [f64], b: &[f64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
}

/// Cuts a block so that a step's coordinates stay in the cache.
pub fn steps(width: usize, chunk: &Chunk) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
    let (rows, step) = (chunk.rows, dense::rows_at_once(width));
    (0..rows).step_by(step).map(move |start| start..(start + step).min(rows))
}

/// Writes the coordinates of some rows, and their linear predictors with the offsets.
pub fn margins(
    coordinates: &Coordinates,
    beta: &[f64],
    chunk: &Chunk,
    step: &std::ops::Range<usize>,
    u: &mut Vec<f64>,
    rows_of: &mut Rows,
) {
    let (d, n, rows) = (coordinates.center.len(), coordinates.width(), step.len());
    u.resize(rows * n, 0.0);
    coordinates.transform(&chunk.x[step.start * d..step.end * d], rows, u);
    dense::margins(u, rows, n, beta, 1, &mut rows_of.margin[..rows]);
    if !chunk.offset.is_empty() {
        add(&mut rows_of.margin[..rows], &chunk.offset[step.clone()]);
    }
}

/// Multiplies each row of `width` values by its factor.
pub fn scale_rows(u: &mut [f64], width: usize, factors: &[f64]) {
    dense::vectorized(
        #[inline(always)]
        || {
            for (u, factor) in u.chunks_exact_mut(width.max(1)).zip(factors) {
                u.iter_mut().for_each(|u| *u *= factor);
            }
        },
    );
}
