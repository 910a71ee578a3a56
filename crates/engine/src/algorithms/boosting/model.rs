//! The model: trees over raw feature values, and how they score.
//!
//! All nodes of all trees stand in one list, each tree breadth first, the two children of a node side by side, so
//! that a step down a tree reads one node of 24 bytes. Children stand behind their parents: a walk always ends.

use super::bins::level;
use super::params::Objective;
use crate::error::{Error, Result};
use crate::learner::Model;
use crate::schema::{Chunk, FeatureKind, Schema, Task};
use serde::{Deserialize, Serialize};

/// A set of bins.
pub type BinSet = [u64; 4];

/// Whether a set has a bin.
pub fn has(set: &BinSet, bin: u8) -> bool {
    set[usize::from(bin >> 6)] >> (bin & 63) & 1 == 1
}

/// A leaf or a question.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// A leaf: its value. A question about a number: rows with `x <= value` go left.
    pub value: f64,
    /// The left child's place; the right one is behind it. 0 in a leaf.
    pub child: u32,
    /// The feature asked about.
    pub feature: u32,
    /// A question about a category: the place of its set; levels whose bin is in the set go left.
    pub set: u32,
    /// Where rows go that have no value.
    pub missing_left: bool,
}

/// `Node::set` of a question about a number.
pub const NUMERIC: u32 = u32::MAX;

/// Boosted trees. The learner's state carries one that grows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Boosted {
    /// How raw scores become outputs.
    task: Task,
    /// The raw scores before the first tree.
    pub base: Vec<f64>,
    /// Where each tree begins; trees of one round stand together, one a raw score.
    pub trees: Vec<u32>,
    /// The nodes.
    pub nodes: Vec<Node>,
    /// What each question gained; 0 for leaves.
    pub gains: Vec<f32>,
    /// Training rows that reached each node.
    pub rows: Vec<u64>,
    /// Sets of bins of categories.
    pub sets: Vec<BinSet>,
    /// The bin of each level of each category, and the bin of the others; empty for numbers.
    pub levels: Vec<(Vec<u8>, u8)>,
    /// The loss of the training rows after the last tree.
    pub train_loss: f64,
    /// The loss of the rows held out after the last tree, where there are such rows.
    pub valid_loss: Option<f64>,
    /// Rounds that were trained, of which the last ones may have been dropped by early stopping.
    pub rounds: usize,
}

/// Rows that walk one tree before the next tree is read: their features stay in the first caches.
const BLOCK: usize = 64;
/// Rows that walk a tree side by side.
const ABREAST: usize = 8;

impl Boosted {
    /// A model without trees.
    pub fn new(objective: Objective, features: usize) -> Boosted {
        let task = if objective == Objective::Squared { Task::Regression } else { Task::Classification };
        Boosted {
            task,
            base: vec![0.0; objective.scores()],
            trees: vec![],
            nodes: vec![],
            gains: vec![],
            rows: vec![],
            sets: vec![],
            levels: vec![(vec![], 0); features],
            train_loss: 0.0,
            valid_loss: None,
            rounds: 0,
        }
    }

    /// The value of the leaf that a row reaches in the tree that begins at `root`.
    #[inline]
    fn leaf(&self, root: u32, row: &[f64]) -> f64 {
        let mut at = root;
        while self.nodes[at as usize].child != 0 {
            at = self.step(at, row);
        }
        self.nodes[at as usize].value
    }

    /// Where a row that is at `at` goes next: to a child, or nowhere from a leaf.
    #[inline]
    fn step(&self, at: u32, row: &[f64]) -> u32 {
        let node = &self.nodes[at as usize];
        let x = row[node.feature as usize];
        let left = if node.set != NUMERIC {
            let (levels, other) = &self.levels[node.feature as usize];
            has(&self.sets[node.set as usize], level(levels, *other, x))
        } else {
            // Without short cuts, so that nothing has to be guessed.
            (x <= node.value) | (node.missing_left & x.is_nan())
        };
        if node.child == 0 { at } else { node.child + u32::from(!left) }
    }

    /// The leaves that rows reach side by side: their walks do not wait for one another.
    #[inline]
    fn leaves(&self, root: u32, rows: &[f64], features: usize) -> [f64; ABREAST] {
        let mut at = [root; ABREAST];
        loop {
            let mut moved = 0;
            for (at, row) in at.iter_mut().zip(rows.chunks_exact(features)) {
                let next = self.step(*at, row);
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                return at.map(|at| self.nodes[at as usize].value);
            }
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
            for (t, root) in self.trees.iter().enumerate().take(to).skip(from) {
                for (x, out) in x.chunks(ABREAST * features).zip(out.chunks_mut(ABREAST * width)) {
                    if x.len() == ABREAST * features {
                        let values = self.leaves(*root, x, features);
                        out.chunks_exact_mut(width).zip(values).for_each(|(out, value)| out[t % k] += value);
                    } else {
                        for (row, out) in x.chunks_exact(features).zip(out.chunks_exact_mut(width)) {
                            out[t % k] += self.leaf(*root, row);
                        }
                    }
                }
            }
        }
    }

    /// Drops the trees of the rounds from `rounds` on.
    pub fn truncate(&mut self, rounds: usize) {
        let trees = rounds * self.base.len();
        if let Some(end) = self.trees.get(trees) {
            let end = *end as usize;
            self.nodes.truncate(end);
            self.gains.truncate(end);
            self.rows.truncate(end);
            self.trees.truncate(trees);
            let used =
                self.nodes.iter().filter(|n| n.child != 0 && n.set != NUMERIC).map(|n| n.set + 1).max();
            self.sets.truncate(used.unwrap_or(0) as usize);
        }
    }
}

impl Model for Boosted {
    fn outputs(&self) -> usize {
        match self.task {
            Task::Classification => self.base.len().max(2),
            _ => 1,
        }
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let width = self.outputs();
        for row in out.chunks_exact_mut(width) {
            row[..self.base.len()].copy_from_slice(&self.base);
        }
        if chunk.width() > 0 {
            self.add_trees(0, self.trees.len(), chunk.x, chunk.width(), out, width);
        }
        match (self.task, self.base.len()) {
            (Task::Classification, 1) => {
                for row in out.chunks_exact_mut(2) {
                    let p = 1.0 / (1.0 + (-row[0]).exp());
                    row[0] = 1.0 - p;
                    row[1] = p;
                }
            }
            (Task::Classification, _) => out.chunks_exact_mut(width).for_each(softmax),
            _ => {}
        }
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        let fail = |what: &str| Err(Error::corrupt(format!("the stored trees are damaged: {what}")));
        let scores = match schema.task {
            Task::Classification if schema.classes > 2 => schema.classes,
            _ => 1,
        };
        if self.task != schema.task || self.base.len() != scores || self.levels.len() != schema.width() {
            return fail("they are not of this model's shape");
        }
        if self.base.iter().any(|b| !b.is_finite()) || !self.trees.len().is_multiple_of(scores) {
            return fail("they are not complete");
        }
        if self.nodes.len() != self.gains.len() || self.nodes.len() != self.rows.len() {
            return fail("their lists differ in length");
        }
        for (feature, (levels, _)) in schema.features.iter().zip(&self.levels) {
            let wanted = match feature.kind {
                FeatureKind::Numeric => 0,
                FeatureKind::Category { levels } => levels as usize,
            };
            if levels.len() != wanted {
                return fail("a category has other levels");
            }
        }
        let ends = self.trees.iter().skip(1).map(|t| *t as usize).chain([self.nodes.len()]);
        let mut begin = 0;
        for (tree, end) in self.trees.iter().zip(ends) {
            if *tree as usize != begin || end <= begin || end > self.nodes.len() {
                return fail("a tree has no nodes");
            }
            for (i, n) in self.nodes.iter().enumerate().take(end).skip(begin) {
                let child = n.child as usize;
                if n.value.is_nan() || (child == 0 && !n.value.is_finite()) {
                    return fail("a value is not a number");
                }
                if child == 0 {
                    // Walks side by side look at a feature in leaves too.
                    if n.set != NUMERIC || n.feature != 0 {
                        return fail("a leaf asks a question");
                    }
                    continue;
                }
                let numeric = self.levels.get(n.feature as usize).map(|l| l.0.is_empty());
                let set = if n.set == NUMERIC { None } else { Some((n.set as usize) < self.sets.len()) };
                match (numeric, set) {
                    (Some(true), None) | (Some(false), Some(true)) => {}
                    _ => return fail("a question does not fit its feature"),
                }
                if child <= i || child + 1 >= end {
                    return fail("a branch leads nowhere");
                }
            }
            begin = end;
        }
        if begin != self.nodes.len() {
            return fail("nodes belong to no tree");
        }
        Ok(())
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        let leaves = self.nodes.iter().filter(|n| n.child == 0).count();
        let mut facts = vec![
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

    fn importance(&self, schema: &Schema) -> Vec<f64> {
        let mut sums = vec![0.0; schema.width()];
        for (node, gain) in self.nodes.iter().zip(&self.gains) {
            if let (true, Some(sum)) = (node.child != 0, sums.get_mut(node.feature as usize)) {
                *sum += f64::from(*gain);
            }
        }
        sums
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
