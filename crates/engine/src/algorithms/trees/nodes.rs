//! Grown trees over raw feature values, and how rows walk them.
//!
//! All nodes of all trees stand in one list, each tree breadth first, the two children of a node side by side, so
//! that a step down a tree reads one node of 24 bytes. Children stand behind their parents: a walk always ends.

use super::bins::{Bins, level};
use crate::error::{Error, Result};
use crate::schema::{FeatureKind, Schema};
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

/// Rows that walk a tree side by side.
pub const ABREAST: usize = 8;

/// Grown trees.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Trees {
    /// Where each tree begins.
    pub roots: Vec<u32>,
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
}

impl Trees {
    /// No trees, over features that are binned so.
    pub fn new(bins: &[Bins]) -> Trees {
        let other = |b: &Bins| if b.is_category() { b.values as u8 } else { 0 };
        Trees { levels: bins.iter().map(|b| (b.levels.clone(), other(b))).collect(), ..Trees::default() }
    }

    /// How many trees there are.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The leaf that a row reaches in the tree that begins at `root`.
    #[inline]
    pub fn leaf(&self, root: u32, row: &[f64]) -> u32 {
        let mut at = root;
        while self.nodes[at as usize].child != 0 {
            at = self.next(at, row);
        }
        at
    }

    /// Where a row that is at `at` goes next: to a child, or nowhere from a leaf.
    #[inline]
    pub fn next(&self, at: u32, row: &[f64]) -> u32 {
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
    pub fn leaves(&self, root: u32, rows: &[f64], features: usize) -> [u32; ABREAST] {
        let mut at = [root; ABREAST];
        loop {
            let mut moved = 0;
            for (at, row) in at.iter_mut().zip(rows.chunks_exact(features)) {
                let next = self.next(*at, row);
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                return at;
            }
        }
    }

    /// Drops the trees from `trees` on.
    pub fn truncate(&mut self, trees: usize) {
        if let Some(end) = self.roots.get(trees) {
            let end = *end as usize;
            self.nodes.truncate(end);
            self.gains.truncate(end);
            self.rows.truncate(end);
            self.roots.truncate(trees);
            let used =
                self.nodes.iter().filter(|n| n.child != 0 && n.set != NUMERIC).map(|n| n.set + 1).max();
            self.sets.truncate(used.unwrap_or(0) as usize);
        }
    }

    /// How many questions ask about each feature.
    pub fn splits_by_feature(&self, features: usize) -> Vec<f64> {
        let mut counts = vec![0.0; features];
        for node in self.nodes.iter().filter(|n| n.child != 0) {
            if let Some(count) = counts.get_mut(node.feature as usize) {
                *count += 1.0;
            }
        }
        counts
    }

    /// What each feature's questions gained in all.
    pub fn gain_by_feature(&self, features: usize) -> Vec<f64> {
        let mut sums = vec![0.0; features];
        for (node, gain) in self.nodes.iter().zip(&self.gains) {
            if let (true, Some(sum)) = (node.child != 0, sums.get_mut(node.feature as usize)) {
                *sum += f64::from(*gain);
            }
        }
        sums
    }

    /// Refuses trees that do not fit a schema, so that a walk can rely on every index.
    pub fn validate(&self, schema: &Schema) -> Result<()> {
        let fail = |what: &str| Err(damaged(what));
        if self.levels.len() != schema.width() {
            return fail("they are not of this model's shape");
        }
        if self.nodes.len() != self.gains.len() || self.nodes.len() != self.rows.len() {
            return fail("their lists differ in length");
        }
        for (feature, (levels, other)) in schema.features.iter().zip(&self.levels) {
            let wanted = match feature.kind {
                FeatureKind::Numeric => 0,
                FeatureKind::Category { levels } => levels as usize,
            };
            if levels.len() != wanted || levels.iter().any(|bin| bin > other) {
                return fail("a category has other levels");
            }
        }
        let ends = self.roots.iter().skip(1).map(|t| *t as usize).chain([self.nodes.len()]);
        let mut begin = 0;
        for (tree, end) in self.roots.iter().zip(ends) {
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
}

/// The error for stored trees that are not whole.
pub fn damaged(what: &str) -> Error {
    Error::corrupt(format!("the stored trees are damaged: {what}"))
}
