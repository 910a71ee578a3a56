//! What k-means leaves behind: centers, and how it went.

use super::{MAX_CLUSTERS, PIECE};
use crate::centers::Centers;
use crate::error::{Error, Result};
use crate::learner;
use crate::schema::{Chunk, Schema};
use serde::{Deserialize, Serialize};

/// Clusters and features of a center that `describe` shows.
const SHOWN: usize = 50;

/// A clustering: a row belongs to the nearest center, the first of equally near ones.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Model {
    /// The centers, of encoded features.
    pub(super) centers: Centers,
    /// The weight of the training rows of each cluster.
    pub(super) sizes: Vec<f64>,
    /// Sum over the training rows of weight times squared distance to the center.
    pub(super) inertia: f64,
    /// Iterations of Lloyd's algorithm, or mini-batches.
    pub(super) iterations: u64,
    /// Whether the centers came to rest.
    pub(super) converged: bool,
}

impl Model {
    /// The centers, one after another.
    pub fn centers(&self) -> Vec<f64> {
        self.centers.points()
    }

    /// The weight of the training rows of each cluster.
    pub fn sizes(&self) -> &[f64] {
        &self.sizes
    }

    /// Sum over the training rows of weight times squared distance to the nearest center.
    pub fn inertia(&self) -> f64 {
        self.inertia
    }

    /// Iterations of Lloyd's algorithm, or mini-batches.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// Whether the centers came to rest before `max_iter`.
    pub fn converged(&self) -> bool {
        self.converged
    }
}

impl learner::Model for Model {
    fn outputs(&self) -> usize {
        1
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        if chunk.rows == 0 {
            return Ok(());
        }
        let width = chunk.width();
        if !self.centers.has_width(width) || out.len() != chunk.rows {
            return Err(Error::internal(format!(
                "kmeans got {} rows of {width} features and room for {} results",
                chunk.rows,
                out.len()
            )));
        }
        for (x, out) in chunk.x.chunks(PIECE * width).zip(out.chunks_mut(PIECE)) {
            let (mut nearest, mut distance) = ([0; PIECE], [f64::INFINITY; PIECE]);
            let n = out.len();
            self.centers.improve(x, 0, &mut nearest[..n], &mut distance[..n]);
            for (out, nearest) in out.iter_mut().zip(nearest) {
                *out = f64::from(nearest);
            }
        }
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        self.centers.check(schema.width())?;
        let k = self.centers.len();
        let positive = |v: &f64| v.is_finite() && *v >= 0.0;
        if k > MAX_CLUSTERS
            || self.sizes.len() != k
            || !self.sizes.iter().chain([&self.inertia]).all(positive)
        {
            return Err(Error::corrupt(format!(
                "a kmeans model of {k} centers has {} sizes and an inertia of {}",
                self.sizes.len(),
                self.inertia
            )));
        }
        Ok(())
    }

    fn describe(&self, schema: &Schema) -> Vec<(String, String)> {
        let mut rows = vec![
            ("clusters".to_string(), self.centers.len().to_string()),
            ("inertia".to_string(), format!("{:.6}", self.inertia)),
            ("iterations".to_string(), self.iterations.to_string()),
            ("converged".to_string(), self.converged.to_string()),
        ];
        for (c, size) in self.sizes.iter().enumerate().take(SHOWN) {
            rows.push((format!("cluster {c}: size"), size.to_string()));
            let center = schema.features.iter().zip(self.centers.point(c)).take(SHOWN);
            let center: Vec<String> = center.map(|(f, v)| format!("{} {v:.4}", f.name)).collect();
            rows.push((format!("cluster {c}: center"), center.join(", ")));
        }
        rows
    }
}
