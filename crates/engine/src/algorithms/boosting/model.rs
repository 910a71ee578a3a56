//! The model: boosted trees, and how they score.

use super::super::trees::nodes::{ABREAST, Trees, damaged};
use super::super::trees::shap::Shap;
use super::super::trees::walk::Walk;
use super::objective::Objective;
use crate::error::Result;
use crate::learner::Model;
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// How raw scores become predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Link {
    /// They are the predictions.
    Identity,
    /// Their exponentials are.
    Log,
    /// One is the log odds of the second of two classes.
    Logit,
    /// One a class: logs of probabilities, but for a constant.
    Softmax,
}

/// Boosted trees. The learner's state carries one that grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boosted {
    /// How raw scores become outputs.
    link: Link,
    /// What was minimised, by its name.
    objective: String,
    /// The raw scores before the first tree.
    pub base: Vec<f64>,
    /// The trees; those of one round stand together, one a raw score.
    pub trees: Trees,
    /// The loss of the training rows after the last tree.
    pub train_loss: f64,
    /// The loss of the rows held out after the last tree, where there are such rows.
    pub valid_loss: Option<f64>,
    /// Rounds that were trained, of which the last ones may have been dropped by early stopping.
    pub rounds: usize,
    /// The finished trees, laid out for scoring when they are first scored with; none where that does not serve.
    #[serde(skip)]
    walk: OnceLock<Option<Walk>>,
}

/// Rows that walk one tree before the next tree is read: their features stay in the first caches.
const BLOCK: usize = 64;

impl Boosted {
    /// A model without trees.
    pub fn new(objective: Objective) -> Boosted {
        Boosted {
            link: objective.link(),
            objective: objective.name().into(),
            base: vec![0.0; objective.scores()],
            trees: Trees::default(),
            train_loss: 0.0,
            valid_loss: None,
            rounds: 0,
            walk: OnceLock::new(),
        }
    }

    /// Adds trees `from .. to` to raw scores, `width` apart: the score of row `i` and tree `t` is at
    /// `i * width + t % base.len()`. Sums are taken in the order of the trees.
    pub fn add_trees(
        &self,
        from: usize,
        to: usize,
        x: &[f64],
        features: usize,
        out: &mut [f64],
        width: usize,
    ) {
        let (k, features) = (self.base.len(), features.max(1));
        for (x, out) in x.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK * width)) {
            for (t, root) in self.trees.roots.iter().enumerate().take(to).skip(from) {
                for (x, out) in x.chunks(ABREAST * features).zip(out.chunks_mut(ABREAST * width)) {
                    if x.len() == ABREAST * features {
                        for (out, leaf) in
                            out.chunks_exact_mut(width).zip(self.trees.leaves(*root, x, features))
                        {
                            out[t % k] += self.trees.nodes[leaf as usize].value;
                        }
                    } else {
                        for (row, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(width)) {
                            out[t % k] += self.trees.nodes[self.trees.leaf(*root, row) as usize].value;
                        }
                    }
                }
            }
        }
    }

    /// What was minimised, by its name.
    pub fn objective(&self) -> &str {
        &self.objective
    }

    /// Drops what was made for scoring: trees will be added.
    pub fn forget_layout(&mut self) {
        self.walk = OnceLock::new();
    }

    /// Makes outputs of raw scores, which stand first in each row's place.
    pub fn answer(&self, out: &mut [f64]) {
        let width = self.outputs();
        match self.link {
            Link::Identity => {}
            // A prediction too large for a number is the largest one.
            Link::Log => out.iter_mut().for_each(|v| *v = v.exp().min(f64::MAX)),
            Link::Logit => {
                for row in out.chunks_exact_mut(2) {
                    let p = 1.0 / (1.0 + (-row[0]).exp());
                    row[0] = 1.0 - p;
                    row[1] = p;
                }
            }
            Link::Softmax => out.chunks_exact_mut(width).for_each(softmax),
        }
    }

    /// Drops the trees of the rounds from `rounds` on.
    pub fn truncate(&mut self, rounds: usize) {
        self.walk = OnceLock::new();
        self.trees.truncate(rounds * self.base.len());
    }
}

impl Model for Boosted {
    fn outputs(&self) -> usize {
        match self.link {
            Link::Logit => 2,
            Link::Softmax => self.base.len(),
            Link::Identity | Link::Log => 1,
        }
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let width = self.outputs();
        for row in out.chunks_exact_mut(width) {
            row[..self.base.len()].copy_from_slice(&self.base);
        }
        if chunk.width() > 0 {
            match self.walk.get_or_init(|| Walk::new(&self.trees)) {
                Some(walk) => walk.add(chunk.x, chunk.width(), self.base.len(), out, width),
                None => self.add_trees(0, self.trees.len(), chunk.x, chunk.width(), out, width),
            }
        }
        self.answer(out);
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let (scores, fits) = match (schema.task, schema.classes) {
            (Task::Regression, _) => (1, matches!(self.link, Link::Identity | Link::Log)),
            (Task::Ranking, _) => (1, self.link == Link::Identity),
            (Task::Classification, 2) => (1, self.link == Link::Logit),
            (Task::Classification, k) => (k, self.link == Link::Softmax),
            _ => (0, false),
        };
        if !fits || self.base.len() != scores {
            return Err(damaged("they are not of this model's shape"));
        }
        if self.base.iter().any(|b| !b.is_finite()) || !self.trees.len().is_multiple_of(scores) {
            return Err(damaged("they are not complete"));
        }
        self.trees.validate(schema)
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        let leaves = self.trees.nodes.iter().filter(|n| n.child == 0).count();
        let mut facts = vec![
            ("objective".into(), self.objective.clone()),
            ("trees".into(), self.trees.len().to_string()),
            ("leaves".into(), leaves.to_string()),
            ("rounds trained".into(), self.rounds.to_string()),
            ("best iteration".into(), (self.trees.len() / self.base.len().max(1)).to_string()),
            ("train loss".into(), format!("{:.6}", self.train_loss)),
        ];
        if let Some(loss) = self.valid_loss {
            facts.push(("validation loss".into(), format!("{loss:.6}")));
        }
        facts
    }

    fn splits(&self, schema: &Schema) -> Vec<f64> {
        self.trees.splits_by_feature(schema.width())
    }

    fn explain(&self, chunk: &Chunk, out: &mut Vec<f64>) -> Result<bool> {
        let (k, width) = (self.base.len(), chunk.width() + 1);
        out.resize(chunk.rows * k * width, 0.0);
        let mut shap = Shap::default();
        for (i, out) in out.chunks_exact_mut(k * width).enumerate() {
            for (phi, base) in out.chunks_exact_mut(width).zip(&self.base) {
                phi.fill(0.0);
                phi[width - 1] = *base;
            }
            for tree in 0..self.trees.len() {
                let phi = &mut out[tree % k * width..(tree % k + 1) * width];
                shap.add(&self.trees, tree, chunk.row(i), &|leaf| self.trees.nodes[leaf as usize].value, phi);
            }
        }
        Ok(true)
    }

    fn importance(&self, schema: &Schema) -> Vec<f64> {
        self.trees.gain_by_feature(schema.width())
    }
}

/// Raw scores to probabilities, in place.
fn softmax(row: &mut [f64]) {
    let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for s in row.iter_mut() {
        *s = (*s - max).exp();
        sum += *s;
    }
    row.iter_mut().for_each(|s| *s /= sum);
}
