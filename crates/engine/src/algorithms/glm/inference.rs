//! From sums over rows to standard errors: the inverse information, and around it the sandwich of White (1980) with
//! the corrections HC0 to HC3 of MacKinnon and White (1985), or with sums over clusters (Liang and Zeger 1986).
//!
//! Weights are frequencies, as statsmodels' `freq_weights`: a row of weight 2 counts as two rows.

use super::family::Rows;
use super::pass::{self, scale_rows, steps};
use super::solve::Factor;
use super::statistics::Statistics;
use super::{Coordinates, not_finite};
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Merge};
use crate::params::{Param, Values};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters of standard errors.
pub const COV_TYPE: Param = Param::choice(
    "cov_type",
    "nonrobust",
    &["nonrobust", "HC0", "HC1", "HC2", "HC3", "cluster"],
    "Covariance of the coefficients: nonrobust, robust to unequal variances (HC0 .. HC3), or clustered by group_column. Penalised models have none.",
);
/// The level of intervals.
pub const CONFIDENCE_LEVEL: Param = Param::float(
    "confidence_level",
    0.95,
    0.5,
    0.999_999,
    "Level of the confidence intervals that damson.coefficients shows.",
);

/// More coefficients than this get no errors: their covariance is a square.
const MOST: usize = 2000;
/// Bytes that the sums of clusters may take in a shard.
const CLUSTER_BYTES: usize = 512 << 20;

/// How errors are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CovType {
    /// From the model's own variance.
    Nonrobust,
    /// White's, with a correction by number.
    Hc(u8),
    /// Sums over groups of rows.
    Cluster,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// How errors are found.
    pub cov_type: CovType,
    /// The level of intervals.
    pub level: f64,
}

impl Request {
    /// Of models that have no errors.
    pub const NONE: Request = Request { cov_type: CovType::Nonrobust, level: 0.95 };

    /// From parameters.
    pub fn read(values: &Values) -> Result<Request> {
        let cov_type = match values.text("cov_type")? {
            "HC0" => CovType::Hc(0),
            "HC1" => CovType::Hc(1),
            "HC2" => CovType::Hc(2),
            "HC3" => CovType::Hc(3),
            "cluster" => CovType::Cluster,
            _ => CovType::Nonrobust,
        };
        Ok(Request { cov_type, level: values.float("confidence_level")? })
    }

    /// Refuses robust errors of a penalised model: its coefficients are biased, and no error would be right.
    pub fn check_penalty(&self, penalised: bool) -> Result<()> {
        if penalised && self.cov_type != CovType::Nonrobust {
            let message = "a penalised model has no standard errors, so cov_type cannot be robust";
            return Err(Error::new(Kind::Parameter, message).hint("Train without a penalty."));
        }
        Ok(())
    }

    /// Whether a sandwich is to be made.
    pub fn robust(&self) -> bool {
        self.cov_type != CovType::Nonrobust
    }
}

/// Whether a model of so many coefficients gets errors; warns when not.
pub fn wanted(coefficients: usize, cx: &Cx) -> bool {
    if coefficients > MOST {
        let message =
            format!("standard errors are left out: {coefficients} coefficients, at most {MOST} get them");
        cx.observer.warning(&message);
    }
    coefficients <= MOST
}

/// A round that sums the squares of scores at a point.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Meat {
    /// How.
    pub cov_type: CovType,
    /// Where the point is.
    pub coordinates: Coordinates,
    /// The point.
    pub beta: Vec<f64>,
    /// The inverse information, full, for leverages (HC2, HC3); else empty.
    pub inverse: Vec<f64>,
    /// Whether rows have a score of one parameter beside the coefficients (in `Rows::cross`).
    pub other: bool,
}

/// The sums of such a round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum MeatSums {
    /// Products of scores: lower triangle.
    Square(Vec<f64>),
    /// Sums of scores by group.
    Clusters(BTreeMap<u64, Vec<f64>>),
}

impl Meat {
    /// Parameters that have scores.
    pub fn width(&self) -> usize {
        self.coordinates.width() + usize::from(self.other)
    }

    /// Of no rows.
    pub fn zero(&self) -> MeatSums {
        match self.cov_type {
            CovType::Cluster => MeatSums::Clusters(BTreeMap::new()),
            _ => MeatSums::Square(vec![0.0; self.width() * self.width()]),
        }
    }

    /// Adds a block. `each` fills `slope` with a row's score by the predictor, `curvature` with its expected
    /// information, and `cross` with its score by the other parameter, from its margin; all per unit of weight.
    pub fn add(
        &self,
        chunk: &Chunk,
        sums: &mut MeatSums,
        cx: &Cx,
        mut each: impl FnMut(&[f64], &mut Rows) -> Result<()>,
    ) -> Result<()> {
        if self.cov_type == CovType::Cluster && chunk.group.is_empty() && chunk.rows > 0 {
            return Err(Error::new(Kind::Parameter, "cov_type \"cluster\" needs the group of each row")
                .hint("Name the column: group_column => 'column'."));
        }
        let (n, p) = (self.coordinates.width(), self.width());
        let mut rows_of = Rows::new();
        let (mut u, mut leverages, mut scores) = (vec![], vec![], vec![]);
        for step in steps(n, chunk) {
            cx.check()?;
            let rows = step.len();
            pass::margins(&self.coordinates, &self.beta, chunk, &step, &mut u, &mut rows_of);
            each(&chunk.y[step.clone()], &mut rows_of)?;
            if !self.inverse.is_empty() {
                leverages.resize(rows * n, 0.0);
                dense::margins(&u, rows, n, &self.inverse, n, &mut leverages);
                for i in 0..rows {
                    let own = i * n..(i + 1) * n;
                    let h = rows_of.curvature[i] * dense::dot(&u[own.clone()], &leverages[own]);
                    let left = (1.0 - h).max(1e-12);
                    let by = if self.cov_type == CovType::Hc(3) { left } else { left.sqrt() };
                    rows_of.slope[i] /= by;
                }
            }
            let Rows { slope, cross, .. } = &mut *rows_of;
            match sums {
                MeatSums::Square(square) => {
                    for (i, at) in step.clone().enumerate() {
                        let root = chunk.weight(at).sqrt();
                        slope[i] *= root;
                        cross[i] *= root;
                    }
                    scale_rows(&mut u, n, slope);
                    if !self.other {
                        dense::add_square(&u, rows, n, square);
                        continue;
                    }
                    scores.clear();
                    for (u, other) in u.chunks_exact(n).zip(&*cross) {
                        scores.extend_from_slice(u);
                        scores.push(*other);
                    }
                    dense::add_square(&scores, rows, p, square);
                }
                MeatSums::Clusters(clusters) => {
                    for (i, at) in step.clone().enumerate() {
                        let weight = chunk.weight(at);
                        let sum = clusters.entry(chunk.group[at]).or_insert_with(|| vec![0.0; p]);
                        let by = slope[i] * weight;
                        sum.iter_mut().zip(&u[i * n..(i + 1) * n]).for_each(|(s, u)| *s += by * u);
                        if self.other {
                            sum[n] += weight * cross[i];
                        }
                    }
                    few_enough(clusters, p)?;
                }
            }
        }
        Ok(())
    }
}

fn few_enough(clusters: &BTreeMap<u64, Vec<f64>>, width: usize) -> Result<()> {
    let bytes = clusters.len() * (width * 8 + 64);
    if bytes > CLUSTER_BYTES {
        let message = format!(
            "clustered errors of {} groups and {width} coefficients need more than {} MiB",
            clusters.len(),
            CLUSTER_BYTES >> 20
        );
        return Err(Error::new(Kind::Memory, message)
            .hint("Use cov_type HC1 where nearly every row is a group of its own, or coarser groups."));
    }
    Ok(())
}

impl Merge for MeatSums {
    fn merge(&mut self, other: MeatSums) -> Result<()> {
        match (self, other) {
            (MeatSums::Square(a), MeatSums::Square(b)) if a.len() == b.len() => pass::add(a, &b),
            (MeatSums::Clusters(a), MeatSums::Clusters(b)) => {
                for (group, scores) in b {
                    let width = scores.len();
                    let sum = a.entry(group).or_insert_with(|| vec![0.0; width]);
                    if sum.len() != width {
                        return Err(Error::corrupt("scores of another shape cannot be merged"));
                    }
                    pass::add(sum, &scores);
                    few_enough(a, width)?;
                }
            }
            _ => return Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
        Ok(())
    }
}

impl MeatSums {
    /// The sandwich `bread * meat * bread` with its small-sample factor; `bread` is the full inverse information
    /// (observed), `weight` the number of rows, `rank` that of coefficients.
    pub fn sandwich(self, cov_type: CovType, bread: &[f64], weight: f64, rank: usize) -> Result<Vec<f64>> {
        let p = (bread.len() as f64).sqrt() as usize;
        let k = rank as f64;
        let (mut meat, factor) = match self {
            MeatSums::Square(square) => {
                (square, if cov_type == CovType::Hc(1) { weight / (weight - k) } else { 1.0 })
            }
            MeatSums::Clusters(clusters) => {
                let groups = clusters.len() as f64;
                if groups < 2.0 {
                    return Err(Error::new(
                        Kind::Data,
                        "clustered errors need two groups or more, found one",
                    )
                    .hint("Look at group_column with GROUP BY."));
                }
                let mut square = vec![0.0; p * p];
                for scores in clusters.values() {
                    dense::add_square(scores, 1, p, &mut square);
                }
                // Stata's and statsmodels' correction.
                (square, groups / (groups - 1.0) * (weight - 1.0) / (weight - k))
            }
        };
        for i in 0..p {
            for j in 0..i {
                meat[j * p + i] = meat[i * p + j];
            }
        }
        // B M B, where both are symmetric: rows of B times M, then times rows of B.
        let (mut half, mut whole) = (vec![0.0; p * p], vec![0.0; p * p]);
        dense::margins(bread, p, p, &meat, p, &mut half);
        dense::margins(&half, p, p, bread, p, &mut whole);
        whole.iter_mut().for_each(|v| *v *= factor);
        Ok(whole)
    }
}

/// The inverse of a symmetric matrix from its lower triangle, full; zero in rows and columns that depend on others.
pub fn inverse(lower: &[f64], width: usize, cx: &Cx) -> Result<(Vec<f64>, usize)> {
    let factor = Factor::new(lower, width, cx)?;
    let mut full = vec![0.0; width * width];
    for (j, row) in full.chunks_exact_mut(width.max(1)).enumerate() {
        cx.check()?;
        row[j] = 1.0;
        factor.solve(row);
    }
    for j in &factor.dropped {
        for i in 0..width {
            full[i * width + j] = 0.0;
            full[j * width + i] = 0.0;
        }
    }
    Ok((full, width - factor.dropped.len()))
}

/// `map * covariance * map'`, lower triangle row by row; `covariance` is `width` square and full, `map` is
/// `rows x width`.
pub fn mapped(covariance: &[f64], width: usize, map: &[f64], rows: usize) -> Result<Vec<f64>> {
    let (mut half, mut whole) = (vec![0.0; rows * width], vec![0.0; rows * rows]);
    dense::margins(map, rows, width, covariance, width, &mut half);
    dense::margins(&half, rows, width, map, rows, &mut whole);
    let packed: Vec<f64> = (0..rows).flat_map(|i| whole[i * rows..=i * rows + i].to_vec()).collect();
    if !packed.iter().all(|v| v.is_finite()) {
        return Err(not_finite("a standard error"));
    }
    Ok(packed)
}

impl Coordinates {
    /// The covariance of the raw slopes and intercept of each function and of the parameters after them, from that of
    /// their coordinates (full): lower triangle, row by row.
    pub fn raw_covariance(&self, covariance: &[f64], functions: usize) -> Result<Vec<f64>> {
        let (d, n) = (self.center.len(), self.width());
        let p = (covariance.len() as f64).sqrt() as usize;
        let others = p - functions * n;
        let raw = functions * (d + 1) + others;
        let mut map = vec![0.0; raw * p];
        for f in 0..functions {
            let (row, column) = (f * (d + 1), f * n);
            for j in 0..d {
                map[(row + j) * p + column + j] = self.inverse[j];
                map[(row + d) * p + column + j] = -self.inverse[j] * self.center[j];
            }
            if self.intercept {
                map[(row + d) * p + column + d] = 1.0;
            }
        }
        for o in 0..others {
            map[(raw - others + o) * p + p - others + o] = 1.0;
        }
        mapped(covariance, p, &map, raw)
    }

    /// The statistics of a model of one function, from the covariance of its coordinates.
    pub fn statistics(&self, covariance: &[f64], level: f64, df: Option<f64>) -> Result<Box<Statistics>> {
        let covariance = self.raw_covariance(covariance, 1)?;
        Ok(Box::new(Statistics { functions: vec![0], covariance, df, level, others: vec![] }))
    }
}
