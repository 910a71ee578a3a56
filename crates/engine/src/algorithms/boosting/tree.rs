//! A tree in growth as a shard sees it: the gradients it learns from, and its rows by node.

use super::super::trees::sketch::add_all;
use super::grow::{Growth, Side, Split};
use super::histogram::{Derivatives, Layout, Panels, Question, Sums, Units};
use super::loss::{BLOCK, Block};
use crate::error::{Error, Result};
use crate::learner::Cx;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A tree in growth.
#[derive(Default)]
pub struct Tree {
    /// Both derivatives of each row.
    derivatives: Derivatives,
    /// The rows that it learns from, those of a node together.
    pub order: Vec<u32>,
    /// Where the rows of each node stand in `order`.
    nodes: Vec<Range<usize>>,
    /// The splits made so far.
    splits: Vec<Split>,
}

/// What a thread needs to split nodes.
#[derive(Default)]
pub struct Desk {
    sums: Sums,
    rows: Vec<u32>,
}

/// What was found of trees in a round.
#[derive(Default, Serialize, Deserialize)]
pub struct Found {
    /// Sums by bin, one a wanted node, tree by tree: pairs, or packed where the split says so.
    pub histograms: Vec<Vec<i64>>,
    /// Rows of the roots, or of the left children of wanted splits.
    pub rows: Vec<u64>,
}

impl Found {
    /// Adds what another shard found.
    pub fn merge(&mut self, other: Found) {
        add_all(&mut self.rows, &other.rows);
        if self.histograms.is_empty() {
            self.histograms = other.histograms;
        } else {
            let pairs = self.histograms.par_iter_mut().zip(&other.histograms);
            pairs.for_each(|(a, b)| add_all(a, b));
        }
    }
}

impl Tree {
    /// Makes room for the derivatives of so many rows.
    pub fn make_room(&mut self, rows: usize, units: &Units) {
        match &mut self.derivatives {
            Derivatives::Packed(packed) if !units.wide => packed.resize(rows, 0),
            Derivatives::Wide(pairs) if units.wide => pairs.resize(rows, [0; 2]),
            other if units.wide => *other = Derivatives::Wide(vec![[0; 2]; rows]),
            other => *other = Derivatives::Packed(vec![0; rows]),
        }
    }

    /// Rounds the derivatives of up to [`BLOCK`] rows to integers.
    pub fn pack(&mut self, rows: Range<usize>, block: &Block, units: &Units, noise: &[u32], salt: u64) {
        match &mut self.derivatives {
            Derivatives::Packed(packed) => {
                units.pack_rows(&block.g, &block.h, &noise[rows.clone()], salt, &mut packed[rows]);
            }
            Derivatives::Wide(pairs) => units.pack_wide(&block.g, &block.h, &mut pairs[rows]),
        }
    }

    /// Begins a tree of one node, of these rows.
    pub fn plant(&mut self, rows: Vec<u32>) {
        self.order = rows;
        self.splits.clear();
        self.nodes.clear();
        self.nodes.push(0..self.order.len());
    }

    /// The rows of a node.
    pub fn rows_of(&self, node: u32) -> &[u32] {
        let range = self.nodes.get(node as usize).cloned();
        range.and_then(|r| self.order.get(r)).unwrap_or_default()
    }

    /// Finds the root's sums by bin.
    pub fn root(
        &self,
        units: &Units,
        panels: &Panels,
        layout: &Layout,
        desk: &mut Desk,
        found: &mut Found,
        cx: &Cx,
    ) -> Result<()> {
        for rows in self.order.chunks(BLOCK) {
            cx.check()?;
            panels.add(rows, &self.derivatives, &mut desk.sums, units, layout);
        }
        found.histograms.push(panels.take(&mut desk.sums, units, layout, false));
        found.rows.push(self.order.len() as u64);
        Ok(())
    }

    /// Makes the splits that are new, and sums the sides that are wanted.
    pub fn split(
        &mut self,
        growth: &Growth,
        panels: &Panels,
        layout: &Layout,
        desk: &mut Desk,
        found: &mut Found,
        cx: &Cx,
    ) -> Result<()> {
        let units = &growth.units;
        for (s, split) in growth.splits.iter().enumerate().skip(self.splits.len()) {
            let range = self.nodes.get(split.node as usize).cloned();
            let range = range.ok_or_else(|| Error::internal("a split of a node that is not there"))?;
            let wanted = s >= growth.wanted && split.sum != Side::Neither;
            let sum = wanted.then_some((units, layout));
            let middle = range.start + self.partition(range.clone(), split, panels, sum, desk, cx)?;
            self.nodes.push(range.start..middle);
            self.nodes.push(middle..range.end);
            self.splits.push(split.clone());
            if s >= growth.wanted {
                found.rows.push((middle - range.start) as u64);
                let mut take = || panels.take(&mut desk.sums, units, layout, split.narrow);
                found.histograms.push(if wanted { take() } else { vec![] });
            }
        }
        Ok(())
    }

    /// Orders a node's rows by side, each side as it was; gives the rows on the left. With `sum`, the side that the
    /// split wants is summed on the way, while its rows are in the cache.
    fn partition(
        &mut self,
        range: Range<usize>,
        split: &Split,
        panels: &Panels,
        sum: Option<(&Units, &Layout)>,
        desk: &mut Desk,
        cx: &Cx,
    ) -> Result<usize> {
        let question = panels.question(split.feature as usize, &split.left);
        let rows = &mut self.order[range];
        let Desk { sums, rows: scratch } = desk;
        let (mut l, mut r) = (0, 0);
        for from in (0..rows.len()).step_by(BLOCK) {
            if from % (BLOCK * 64) == 0 {
                cx.check()?;
            }
            let (first_l, first_r) = (l, r);
            let to = (from + BLOCK).min(rows.len());
            // It grows as far as rows go right: a tree's first splits would else double what lists of rows take.
            scratch.resize(scratch.len().max(r + BLOCK), 0);
            let scratch = &mut scratch[..r + BLOCK];
            // In a loop of its own, as then no look at a row waits for another one's.
            let mut left = [false; BLOCK];
            for (left, row) in left.iter_mut().zip(&rows[from..to]) {
                *left = panels.goes_left(&question, *row);
            }
            for (i, left) in (from..to).zip(left) {
                let row = rows[i];
                rows[l] = row;
                scratch[r] = row;
                l += usize::from(left);
                r += usize::from(!left);
            }
            if let Some((units, layout)) = sum {
                let side = if split.sum == Side::Left { &rows[first_l..l] } else { &scratch[first_r..r] };
                panels.add(side, &self.derivatives, sums, units, layout);
            }
        }
        rows[l..].copy_from_slice(&scratch[..r]);
        Ok(l)
    }

    /// Adds the values of its leaves to the raw scores of all rows.
    pub fn add_values(
        &self,
        leaves: &[(u32, f64)],
        panels: &Panels,
        scores: &mut [f64],
        cx: &Cx,
    ) -> Result<()> {
        for (node, value) in leaves {
            cx.check()?;
            for row in self.rows_of(*node) {
                scores[*row as usize] += value;
            }
        }
        if self.order.len() < scores.len() { self.walk_others(leaves, panels, scores, cx) } else { Ok(()) }
    }

    /// Rows that it did not learn from walk down its splits.
    fn walk_others(&self, leaves: &[(u32, f64)], panels: &Panels, scores: &mut [f64], cx: &Cx) -> Result<()> {
        let mut values: Vec<Option<f64>> = vec![None; self.splits.len() * 2 + 1];
        let mut split_of: Vec<Option<usize>> = vec![None; self.splits.len() * 2 + 1];
        for (node, value) in leaves {
            if let Some(v) = values.get_mut(*node as usize) {
                *v = Some(*value);
            }
        }
        self.splits.iter().enumerate().for_each(|(s, split)| split_of[split.node as usize] = Some(s));
        let questions: Vec<Question> =
            self.splits.iter().map(|s| panels.question(s.feature as usize, &s.left)).collect();
        let mut learnt = vec![false; scores.len()];
        self.order.iter().for_each(|row| learnt[*row as usize] = true);
        for (row, _) in learnt.iter().enumerate().filter(|(_, learnt)| !**learnt) {
            if row % 1024 == 0 {
                cx.check()?;
            }
            let mut node = 0;
            while values[node].is_none() {
                let Some(s) = split_of[node] else { break };
                node = 1 + 2 * s + usize::from(!panels.goes_left(&questions[s], row as u32));
            }
            scores[row] += values[node].unwrap_or(0.0);
        }
        Ok(())
    }
}
