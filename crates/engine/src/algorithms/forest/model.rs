//! The model of a decision tree and of forests: trees whose answers are averaged.

use super::super::trees::nodes::{ABREAST, Trees, damaged};
use super::super::trees::shap::Shap;
use crate::error::Result;
use crate::learner::Model;
use crate::schema::{Chunk, Schema, Task};
use serde::{Deserialize, Serialize};

/// The shares of classes in leaves, for three classes or more: most leaves have few.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Leaves {
    /// Where each leaf's shares end.
    ends: Vec<u32>,
    classes: Vec<u32>,
    shares: Vec<f32>,
}

impl Leaves {
    /// Adds a leaf; gives its number, as a node's value.
    pub fn add(&mut self, shares: &[(u32, f32)]) -> f64 {
        self.classes.extend(shares.iter().map(|s| s.0));
        self.shares.extend(shares.iter().map(|s| s.1));
        self.ends.push(self.shares.len() as u32);
        (self.ends.len() - 1) as f64
    }

    /// Whether there are more than can be named.
    pub fn full(&self) -> bool {
        u32::try_from(self.shares.len()).is_err()
    }

    /// A leaf's classes and their shares.
    #[inline]
    fn of(&self, leaf: f64) -> impl Iterator<Item = (u32, f32)> {
        let leaf = leaf as usize;
        let begin = if leaf == 0 { 0 } else { self.ends[leaf - 1] as usize };
        let range = begin..self.ends[leaf] as usize;
        self.classes[range.clone()].iter().copied().zip(self.shares[range].iter().copied())
    }
}

/// A decision tree, a random forest, or extremely randomised trees.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Forest {
    /// Classes, or 0 for numbers.
    pub classes: usize,
    /// The trees. A leaf has the mean target; the share of class 1 of two; or the number of its entry in `leaves`.
    pub trees: Trees,
    /// The shares of three classes or more.
    pub leaves: Leaves,
    /// How good the forest is on the rows that trees left out, where that was asked for.
    pub oob: Vec<(String, f64)>,
}

/// Rows that walk one tree before the next tree is read: their features stay in the first caches.
const BLOCK: usize = 64;

impl Forest {
    /// A forest without trees.
    pub fn new(classes: usize) -> Forest {
        Forest { classes, trees: Trees::default(), leaves: Leaves::default(), oob: vec![] }
    }

    /// Adds a leaf's answer to a row's sums.
    #[inline]
    pub fn add(&self, leaf: u32, out: &mut [f64]) {
        let value = self.trees.nodes[leaf as usize].value;
        match self.classes {
            0 => out[0] += value,
            2 => out[1] += value,
            _ => self.leaves.of(value).for_each(|(class, share)| out[class as usize] += f64::from(share)),
        }
    }

    /// A leaf's answer; of three classes or more, for one of them.
    fn value(&self, leaf: u32, class: usize) -> f64 {
        let value = self.trees.nodes[leaf as usize].value;
        if self.classes <= 2 {
            return value;
        }
        let of_class = self.leaves.of(value).find(|(c, _)| *c as usize == class);
        of_class.map_or(0.0, |(_, share)| f64::from(share))
    }

    /// Turns sums over so many trees into the mean.
    pub fn mean(&self, trees: usize, out: &mut [f64]) {
        match self.classes {
            0 => out[0] /= trees as f64,
            2 => {
                out[1] = (out[1] / trees as f64).clamp(0.0, 1.0);
                out[0] = 1.0 - out[1];
            }
            _ => {
                // Shares are rounded; their sum is not quite the number of trees.
                let sum: f64 = out.iter().sum();
                out.iter_mut().for_each(|p| *p /= sum);
            }
        }
    }

    /// Splits between the root and the deepest leaf of any tree.
    fn depth(&self) -> usize {
        let mut depth = vec![0; self.trees.nodes.len()];
        let mut deepest = 0;
        for (at, node) in self.trees.nodes.iter().enumerate().filter(|(_, n)| n.child != 0) {
            let below = depth[at] + 1;
            deepest = deepest.max(below);
            for child in [node.child as usize, node.child as usize + 1] {
                depth[child] = below;
            }
        }
        deepest
    }
}

impl Model for Forest {
    fn outputs(&self) -> usize {
        self.classes.max(1)
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let (width, features) = (self.outputs(), chunk.width());
        out.fill(0.0);
        if features == 0 {
            for out in out.chunks_exact_mut(width) {
                self.trees.roots.iter().for_each(|root| self.add(*root, out));
            }
        } else {
            for (x, out) in chunk.x.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK * width)) {
                for root in &self.trees.roots {
                    for (x, out) in x.chunks(ABREAST * features).zip(out.chunks_mut(ABREAST * width)) {
                        if x.len() == ABREAST * features {
                            let leaves = self.trees.leaves(*root, x, features);
                            for (out, leaf) in out.chunks_exact_mut(width).zip(leaves) {
                                self.add(leaf, out);
                            }
                        } else {
                            for (row, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(width)) {
                                self.add(self.trees.leaf(*root, row), out);
                            }
                        }
                    }
                }
            }
        }
        out.chunks_exact_mut(width).for_each(|out| self.mean(self.trees.len(), out));
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let classes = if schema.task == Task::Classification { schema.classes } else { 0 };
        let task = matches!(schema.task, Task::Regression | Task::Classification);
        if !task || self.classes != classes || self.trees.is_empty() {
            return Err(damaged("they are not of this model's shape"));
        }
        self.trees.validate(schema)?;
        let fits = |value: f64| match classes {
            0 => true,
            2 => (0.0..=1.0).contains(&value),
            _ => value >= 0.0 && value.fract() == 0.0 && (value as usize) < self.leaves.ends.len(),
        };
        if !self.trees.nodes.iter().filter(|n| n.child == 0).all(|n| fits(n.value)) {
            return Err(damaged("a leaf has no answer"));
        }
        let Leaves { ends, classes: named, shares } = &self.leaves;
        let mut begin = 0;
        for end in ends {
            if *end <= begin {
                return Err(damaged("a leaf has no classes"));
            }
            begin = *end;
        }
        if named.len() != shares.len() || begin as usize != shares.len() {
            return Err(damaged("their leaves differ in length"));
        }
        let share = |s: &f32| *s > 0.0 && *s <= 1.0;
        if named.iter().any(|c| *c as usize >= classes) || !shares.iter().all(share) {
            return Err(damaged("a leaf has a class that is not there"));
        }
        Ok(())
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        let leaves = self.trees.nodes.iter().filter(|n| n.child == 0).count();
        vec![
            ("trees".into(), self.trees.len().to_string()),
            ("leaves".into(), leaves.to_string()),
            ("depth".into(), self.depth().to_string()),
        ]
    }

    /// The decrease of impurity by each feature's splits, each tree's scaled to sum to 1, as scikit-learn's
    /// `feature_importances_`.
    fn importance(&self, schema: &Schema) -> Vec<f64> {
        let mut sums = vec![0.0; schema.width()];
        let trees = &self.trees;
        let ends = trees.roots.iter().skip(1).copied().chain([trees.nodes.len() as u32]);
        for (begin, end) in trees.roots.iter().zip(ends) {
            let range = *begin as usize..end as usize;
            let gains = &trees.gains[range.clone()];
            let all: f64 = gains.iter().map(|g| f64::from(*g)).sum();
            if all > 0.0 {
                for (node, gain) in trees.nodes[range].iter().zip(gains).filter(|(n, _)| n.child != 0) {
                    if let Some(sum) = sums.get_mut(node.feature as usize) {
                        *sum += f64::from(*gain) / all;
                    }
                }
            }
        }
        let all: f64 = sums.iter().sum();
        if all > 0.0 {
            sums.iter_mut().for_each(|s| *s /= all);
        }
        sums
    }

    fn splits(&self, schema: &Schema) -> Vec<f64> {
        self.trees.splits_by_feature(schema.width())
    }

    /// Of the mean target, of the probability of class 1 of two, or of the probability of each class.
    fn explain(&self, chunk: &Chunk, out: &mut Vec<f64>) -> Result<bool> {
        let (k, width) = (if self.classes > 2 { self.classes } else { 1 }, chunk.width() + 1);
        out.clear();
        out.resize(chunk.rows * k * width, 0.0);
        let mut shap = Shap::default();
        for (i, out) in out.chunks_exact_mut(k * width).enumerate() {
            for (class, phi) in out.chunks_exact_mut(width).enumerate() {
                let value = |leaf: u32| self.value(leaf, class) / self.trees.len() as f64;
                for tree in 0..self.trees.len() {
                    shap.add(&self.trees, tree, chunk.row(i), &value, phi);
                }
            }
        }
        Ok(true)
    }

    fn estimates(&self) -> Vec<(String, String, f64)> {
        self.oob.iter().map(|(name, value)| ("oob".to_string(), name.clone(), *value)).collect()
    }
}
