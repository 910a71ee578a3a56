//! What a shard does in a round, and what it keeps between rounds: its rows as records, and for each tree of the wave
//! where each node's rows lie.
//!
//! All of it is a cache. A shard that lost it is offered its rows again, makes the records, draws the rows of each
//! tree and repeats the splits so far; the same code does that and the ordinary step of one round.

use super::super::trees::binning::Counter;
use super::super::trees::nodes::BinSet;
use super::draw::{Poisson, row_key};
use super::params::{Draw, Params};
use super::rows::{self, CELLS, Format, Records, entry};
use super::{Partial, Phase, State, oob};
use crate::error::{Error, Result};
use crate::learner::Cx;
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// A split that shards make. Split `s` of a tree makes the nodes `1 + 2 * s` (left) and `2 + 2 * s`; the root is 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Split {
    /// The node.
    pub node: u32,
    /// The feature's lane.
    pub lane: u32,
    /// The bins that go left.
    pub left: BinSet,
}

/// What a round asks of a node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Want {
    /// Its tree in the wave.
    pub tree: u32,
    /// Its number.
    pub node: u32,
    /// The lanes to sum by bin; none where the rows themselves are wanted.
    pub lanes: Vec<u32>,
    /// Whether the rows themselves are wanted.
    pub rows: bool,
}

/// Trees that grow side by side.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Wave {
    /// The number of its first tree.
    pub first: u64,
    /// What each tree's rows are drawn with; 0 for a tree that is done.
    pub salts: Vec<u64>,
    /// Each tree's splits so far.
    pub splits: Vec<Vec<Split>>,
    /// What this round asks, tree by tree.
    pub wants: Vec<Want>,
}

/// What a shard found of a wanted node.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Found {
    /// Sums by bin, of one lane after another, bins that there are.
    Sums(Vec<i64>),
    /// The rows, in parts.
    Rows(Vec<Records>),
}

/// A shard's cache.
#[derive(Default)]
pub struct Local {
    counter: Counter,
    /// Whether the rows below are complete.
    ready: bool,
    rows: usize,
    records: Vec<u8>,
    /// What each row's draws are made of; none where all rows are taken.
    keys: Vec<u64>,
    wave: Option<u64>,
    trees: Vec<Dealt>,
    scratch: Vec<u32>,
    by_bin: Vec<i64>,
}

/// Where the rows of a tree lie.
#[derive(Default)]
struct Dealt {
    salt: u64,
    entries: Vec<u32>,
    nodes: Vec<Range<usize>>,
    /// Splits that are made.
    splits: usize,
}

/// Rows between two looks at the stop flag.
const BLOCK: usize = 256;

impl Local {
    /// Whether the next round can go on from here.
    pub fn usable(&self, state: &State) -> bool {
        state.phase == Phase::Grow && self.ready
    }

    /// Folds rows in.
    pub fn accumulate(
        &mut self,
        params: &Params,
        state: &State,
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        match state.phase {
            Phase::Sketch => {
                if state.refine.is_empty() {
                    partial.facts.add(params, chunk)?;
                }
                self.counter.count(&params.levels, &state.refine, chunk, cx)
            }
            Phase::Grow => self.encode(params, state, chunk, cx),
            Phase::OutOfBag => {
                // The trees are grown, and rows come as they are.
                self.records = vec![];
                self.trees = vec![];
                oob::measure(params, state, chunk, &mut partial.oob, cx)
            }
        }
    }

    /// Turns rows into records.
    fn encode(&mut self, params: &Params, state: &State, chunk: &Chunk, cx: &Cx) -> Result<()> {
        if self.ready {
            *self = Local::default();
        }
        rows::check_rows(self.rows + chunk.rows)?;
        let format = state.format()?;
        let width = params.levels.len().max(1);
        let begin = self.records.len();
        self.records.resize(begin + chunk.rows * format.stride, 0);
        let records = &mut self.records[begin..];
        for (block, records) in records.chunks_mut(BLOCK * format.stride).enumerate() {
            cx.check()?;
            let first = block * BLOCK;
            let x = chunk.x.get(first * width..).unwrap_or_default();
            for (lane, f) in state.useful.iter().enumerate() {
                let values = x.get(*f as usize..).unwrap_or_default().iter().step_by(width).copied();
                let bins = records.iter_mut().skip(lane).step_by(format.stride);
                state.bins[*f as usize].fill(values.take(BLOCK), bins);
            }
            for (i, record) in records.chunks_exact_mut(format.stride).enumerate() {
                let row = first + i;
                let y = chunk.y[row];
                let target = if params.classes > 0 { y as i64 } else { state.units.target(y) };
                format.set_target(record, target);
                if format.weighted {
                    format.set_weight(record, state.units.weight(chunk.weight(row)));
                }
                if params.draw != Draw::All {
                    self.keys.push(row_key(chunk.first + row as u64, chunk.row(row), y));
                }
            }
        }
        self.rows += chunk.rows;
        Ok(())
    }

    /// Ends the shard's round.
    pub fn finish(&mut self, params: &Params, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        match state.phase {
            Phase::Sketch => {
                partial.counts = self.counter.take();
                return Ok(());
            }
            Phase::OutOfBag => return Ok(()),
            Phase::Grow => {}
        }
        self.ready = true;
        let format = state.format()?;
        let wave = &state.wave;
        if self.wave != Some(wave.first) {
            self.wave = Some(wave.first);
            self.trees.clear();
        }
        self.trees.resize_with(wave.salts.len(), Dealt::default);
        for (tree, salt) in self.trees.iter_mut().zip(&wave.salts) {
            if *salt == 0 {
                *tree = Dealt::default();
            }
        }
        let poisson = Poisson::new(params.draw.rate(state.facts.rows));
        for want in &wave.wants {
            let lost = || Error::internal("a node is wanted that is not there");
            let salt = wave.salts.get(want.tree as usize).copied().ok_or_else(lost)?;
            let splits = wave.splits.get(want.tree as usize).ok_or_else(lost)?;
            let tree = self.trees.get_mut(want.tree as usize).ok_or_else(lost)?;
            if tree.salt != salt {
                tree.draw(salt, self.rows, &self.keys, &poisson, cx)?;
            }
            for split in splits.iter().skip(tree.splits) {
                tree.split(&format, &self.records, split, &mut self.scratch, cx)?;
            }
            tree.splits = splits.len();
            let range = tree.nodes.get(want.node as usize).cloned().ok_or_else(lost)?;
            let entries = &tree.entries[range];
            if want.rows {
                let found = if entries.is_empty() {
                    vec![]
                } else {
                    vec![Records::of(&format, &self.records, entries, cx)?]
                };
                partial.found.push(Found::Rows(found));
                continue;
            }
            let size = CELLS * format.channels();
            self.by_bin.clear();
            self.by_bin.resize(want.lanes.len() * size, 0);
            rows::sum(&format, &self.records, entries, &want.lanes, &mut self.by_bin, cx)?;
            let mut sums = vec![];
            for (lane, cells) in want.lanes.iter().zip(self.by_bin.chunks_exact(size)) {
                let bins = state.useful.get(*lane as usize).and_then(|f| state.bins.get(*f as usize));
                let filled = bins.ok_or_else(lost)?.total() * format.channels();
                sums.extend_from_slice(&cells[..filled]);
            }
            partial.found.push(Found::Sums(sums));
        }
        Ok(())
    }
}

impl Dealt {
    /// Draws the tree's rows anew.
    fn draw(&mut self, salt: u64, rows: usize, keys: &[u64], poisson: &Poisson, cx: &Cx) -> Result<()> {
        *self = Dealt { salt, ..Dealt::default() };
        if keys.is_empty() {
            self.entries = (0..rows).map(|row| entry(row, 1)).collect();
        } else {
            self.entries = vec![0; rows];
            let mut taken = 0;
            for (block, keys) in keys.chunks(BLOCK * 16).enumerate() {
                cx.check()?;
                for (i, key) in keys.iter().enumerate() {
                    let times = poisson.draw(salt, *key);
                    self.entries[taken] = entry(block * BLOCK * 16 + i, times);
                    taken += usize::from(times > 0);
                }
            }
            self.entries.truncate(taken);
        }
        self.nodes.push(0..self.entries.len());
        Ok(())
    }

    fn split(
        &mut self,
        format: &Format,
        records: &[u8],
        split: &Split,
        scratch: &mut Vec<u32>,
        cx: &Cx,
    ) -> Result<()> {
        let range = self.nodes.get(split.node as usize).cloned();
        let range = range.ok_or_else(|| Error::internal("a split of a node that is not there"))?;
        let entries = &mut self.entries[range.clone()];
        let left = rows::partition(format, records, entries, scratch, split.lane, &split.left, cx)?;
        self.nodes.push(range.start..range.start + left);
        self.nodes.push(range.start + left..range.end);
        Ok(())
    }
}

/// Adds what another shard found of the same wanted nodes.
pub fn merge(into: &mut Vec<Found>, from: Vec<Found>) -> Result<()> {
    if into.is_empty() {
        *into = from;
        return Ok(());
    }
    for (a, b) in into.iter_mut().zip(from) {
        match (a, b) {
            (Found::Sums(a), Found::Sums(b)) => super::add_all(a, &b),
            (Found::Rows(a), Found::Rows(b)) => a.extend(b),
            _ => return Err(Error::internal("shards found different things of one node")),
        }
    }
    Ok(())
}
