//! What principal component analysis leaves behind: directions, and how much varies along each.

use crate::error::{Error, Kind, Result};
use crate::learner;
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// Components and features of one that `describe` shows.
const SHOWN: usize = 50;

/// A linear map onto the principal components.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Means of the features.
    pub mean: Vec<f64>,
    /// Directions of unit length, `k * width` values, the one that varies most first.
    pub components: Vec<f64>,
    /// The variance along each.
    pub explained_variance: Vec<f64>,
    /// The sum of the features' variances.
    pub total_variance: f64,
    /// Whether each is divided by its standard deviation.
    pub whiten: bool,
    /// The weight of the training rows.
    pub weight: f64,
}

impl Model {
    /// The share of the total variance along each component; 0 where nothing varies.
    pub fn explained_variance_ratio(&self) -> Vec<f64> {
        let share = |v: &f64| if self.total_variance > 0.0 { v / self.total_variance } else { 0.0 };
        self.explained_variance.iter().map(share).collect()
    }

    /// What a component's value is divided by: scikit-learn's, with its bound against directions without variance.
    fn deviation(&self, c: usize) -> f64 {
        if self.whiten { self.explained_variance[c].sqrt().max(f64::EPSILON) } else { 1.0 }
    }
}

impl learner::Model for Model {
    fn outputs(&self) -> usize {
        self.explained_variance.len()
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let (d, k) = (self.mean.len(), self.outputs());
        for i in 0..chunk.rows {
            let x = &chunk.x[i * d..(i + 1) * d];
            for (c, out) in out[i * k..(i + 1) * k].iter_mut().enumerate() {
                let direction = &self.components[c * d..(c + 1) * d];
                let along: f64 = x.iter().zip(&self.mean).zip(direction).map(|((x, m), w)| (x - m) * w).sum();
                *out = along / self.deviation(c);
                if !out.is_finite() {
                    let message = "a component is not finite: a feature's value is too large";
                    return Err(Error::new(Kind::Data, message));
                }
            }
        }
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let (d, k) = (schema.width(), self.explained_variance.len());
        let lengths = self.mean.len() == d && k.checked_mul(d) == Some(self.components.len());
        if schema.task != Task::Embedding || k == 0 || k > d || !lengths {
            return Err(Error::corrupt(format!("a pca model of {k} components does not fit {d} features")));
        }
        let parts = [&self.mean, &self.components, &self.explained_variance];
        let finite =
            parts.into_iter().flatten().chain([&self.total_variance, &self.weight]).all(|v| v.is_finite());
        if !finite || self.explained_variance.iter().any(|v| *v < 0.0) || self.total_variance < 0.0 {
            return Err(Error::corrupt("a pca model has a value that is not finite, or a negative variance"));
        }
        Ok(())
    }

    fn describe(&self, schema: &Schema) -> Vec<(String, String)> {
        let ratio = self.explained_variance_ratio();
        let mut rows = vec![
            ("components".to_string(), self.outputs().to_string()),
            ("explained_variance_ratio".to_string(), format!("{:.6}", ratio.iter().sum::<f64>())),
            ("whiten".to_string(), self.whiten.to_string()),
        ];
        for (c, direction) in self.components.chunks_exact(self.mean.len().max(1)).enumerate().take(SHOWN) {
            let name = |what: &str| format!("component {}: {what}", c + 1);
            rows.push((name("explained_variance"), format!("{:.6}", self.explained_variance[c])));
            rows.push((name("explained_variance_ratio"), format!("{:.6}", ratio[c])));
            let loadings = schema.features.iter().zip(direction).take(SHOWN);
            let loadings: Vec<String> = loadings.map(|(f, v)| format!("{} {v:.4}", f.name)).collect();
            rows.push((name("loadings"), loadings.join(", ")));
        }
        rows
    }

    /// The variance that the components take from each feature.
    fn importance(&self, schema: &Schema) -> Vec<f64> {
        let d = schema.width();
        let part = |j: usize| {
            let along = self.explained_variance.iter().enumerate();
            along.map(|(c, v)| v * self.components[c * d + j] * self.components[c * d + j]).sum()
        };
        (0..d).map(part).collect()
    }

    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![("explained_variance", self.explained_variance_ratio().iter().sum())]
    }

    fn restore(&self, scores: &[f64], x: &mut [f64]) -> bool {
        let d = self.mean.len();
        for (x, scores) in x.chunks_exact_mut(d.max(1)).zip(scores.chunks_exact(self.outputs())) {
            x.copy_from_slice(&self.mean);
            for (c, score) in scores.iter().enumerate() {
                let along = score * self.deviation(c);
                x.iter_mut().zip(&self.components[c * d..(c + 1) * d]).for_each(|(x, w)| *x += along * w);
            }
        }
        true
    }
}
