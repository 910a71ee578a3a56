//! Growing one tree: best leaf first, as LightGBM does, with several splits a round.
//!
//! The tree that results is exactly the best-first one. But nodes that will very likely be split are split ahead of
//! their turn, so that a tree takes fewer rounds; a split that turns out not to be part of the tree is forgotten.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::{BinSet, NUMERIC, Node, Trees};
use super::histogram::{Layout, Units};
use super::loss::{draw, mix};
use super::params::Params;
use super::split::{Candidate, Place, Sums, UNBOUND, best, child_bounds, leaf_value};
use crate::error::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// One of so many nodes that may still be split is split ahead of its turn: rounds cost little, less yet where several
/// trees share them, and a fifth of the splits would be forgotten with 4, of few classes' trees half of them.
const AHEAD: usize = 12;

/// Which child of a split is summed over its rows; the other one is the difference to the parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// None: the children will not be split.
    Neither,
    /// The left one.
    Left,
    /// The right one.
    Right,
}

/// A split that shards make. Split `s` makes the nodes `1 + 2 * s` (left) and `2 + 2 * s`; the root is node 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Split {
    /// The node.
    pub node: u32,
    /// The feature's place in the layout.
    pub feature: u32,
    /// The bins that go left.
    pub left: BinSet,
    /// The child to sum.
    pub sum: Side,
    /// Whether the sums stay packed: the node has few rows.
    pub narrow: bool,
}

/// What shards know of the tree in growth.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Growth {
    /// What its integer gradients stand for.
    pub units: Units,
    /// Its splits so far.
    pub splits: Vec<Split>,
    /// The first split whose children this round is to count and sum.
    pub wanted: usize,
}

/// What the job alone knows of the tree in growth.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: Vec<Grown>,
    /// The best-first order up to the first node whose children are not known: it only grows.
    known: Known,
    allowed: Vec<bool>,
    /// The tree's random numbers begin here.
    salt: u64,
}

#[derive(Debug)]
struct Grown {
    sums: Sums,
    depth: usize,
    /// Its value, were it a leaf, before shrinkage; of the root nobody asks.
    value: f64,
    /// What its leaves' values must lie between.
    bounds: [f64; 2],
    /// The features (by number) on the path to it, where it matters which.
    path: Vec<u32>,
    best: Option<Candidate>,
    /// Sums by bin: pairs, or packed where the rows are few.
    histogram: Vec<i64>,
    /// The split that was made of it, perhaps ahead of its turn.
    split: Option<usize>,
}

/// The known part of the best-first order of a tree.
#[derive(Debug, Default)]
struct Known {
    /// Nodes that are split.
    chosen: Vec<usize>,
    /// Nodes that wait for their turn after them.
    waiting: BinaryHeap<Waiting>,
}

/// The best-first order of a tree from where it is not known.
struct Order {
    /// Nodes that are split, or would be if the children of those before them gained nothing.
    unknown: Vec<usize>,
    /// Leaves after all these splits.
    leaves: usize,
    /// The node that was last in turn, of either.
    last: Option<usize>,
}

/// A leaf in the heap: the shallowest first where trees grow by depth, then the greatest gain, of equals the oldest.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Waiting(Reverse<usize>, f64, Reverse<usize>);

impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0).then(self.1.total_cmp(&other.1)).then(self.2.cmp(&other.2))
    }
}

impl Nodes {
    /// A root, from its histogram.
    pub fn root(
        histogram: Vec<i64>,
        rows: u64,
        allowed: Vec<bool>,
        salt: u64,
        growth: &Growth,
        params: &Params,
        bins: &[Bins],
    ) -> Nodes {
        let layout = Layout::new(bins);
        let first = layout.starts.get(1).map_or(0, |end| end * 2);
        let (mut g, mut h) = (0, 0);
        for pair in histogram[..first].as_chunks::<2>().0 {
            g += pair[0];
            h += pair[1];
        }
        let sums = Sums { g, h, rows };
        let lambda_l2 = params.split.lambda_l2;
        let value = leaf_value(growth.units.of(&sums), rows, &params.split, lambda_l2, 0.0, UNBOUND);
        let root = Grown {
            sums,
            depth: 0,
            value,
            bounds: UNBOUND,
            path: vec![],
            best: None,
            histogram,
            split: None,
        };
        let mut nodes = Nodes { nodes: vec![], known: Known::default(), allowed, salt };
        let best = nodes.best_split(&root, 0, &layout, growth, params, bins);
        nodes.nodes.push(Grown { best, ..root });
        nodes.known.waiting.extend(nodes.waiting(0, params));
        nodes
    }

    /// The best split of a node that is, or will be, number `node`.
    fn best_split(
        &self,
        grown: &Grown,
        node: usize,
        layout: &Layout,
        growth: &Growth,
        params: &Params,
        bins: &[Bins],
    ) -> Option<Candidate> {
        let salt = mix(self.salt, node as u64);
        let own = self.allowed_in(grown, salt, layout, params);
        let place = Place {
            sums: grown.sums,
            value: grown.value,
            bounds: grown.bounds,
            allowed: own.as_deref().unwrap_or(&self.allowed),
            salt,
        };
        best(&grown.histogram, &place, layout, bins, &params.split, &growth.units)
    }

    /// The features that a node may use, where they are not those of its tree.
    fn allowed_in(&self, grown: &Grown, salt: u64, layout: &Layout, params: &Params) -> Option<Vec<bool>> {
        if params.interactions.is_empty() && params.feature_fraction_bynode >= 1.0 {
            return None;
        }
        let mut allowed = self.allowed.clone();
        allowed.resize(layout.features.len(), true);
        if !params.interactions.is_empty() {
            let whole = |set: &&Vec<u32>| grown.path.iter().all(|f| set.contains(f));
            let sets: Vec<&Vec<u32>> = params.interactions.iter().filter(whole).collect();
            for (allowed, feature) in allowed.iter_mut().zip(&layout.features) {
                *allowed &= grown.path.contains(feature) || sets.iter().any(|set| set.contains(feature));
            }
        }
        if params.feature_fraction_bynode < 1.0 {
            choose(&mut allowed, params.feature_fraction_bynode, |f| draw(salt, 0, f));
        }
        Some(allowed)
    }

    /// Takes in what the shards found of the children of the splits from `growth.wanted` on.
    pub fn take(
        &mut self,
        histograms: Vec<Vec<i64>>,
        rows: &[u64],
        growth: &Growth,
        params: &Params,
        bins: &[Bins],
    ) -> Result<()> {
        let wrong = || Error::internal("the shards' sums do not belong to this round");
        let layout = Layout::new(bins);
        let new = growth.splits.get(growth.wanted..).unwrap_or_default();
        if histograms.len() != new.len() || rows.len() != new.len() {
            return Err(wrong());
        }
        let mut children = Vec::with_capacity(new.len() * 2);
        for ((split, sum), rows) in new.iter().zip(histograms).zip(rows) {
            let parent = self.nodes.get_mut(split.node as usize).ok_or_else(wrong)?;
            let candidate = parent.best.as_ref().ok_or_else(wrong)?;
            let left = Sums { rows: *rows, ..candidate.sums };
            let right = Sums {
                g: parent.sums.g - left.g,
                h: parent.sums.h - left.h,
                rows: parent.sums.rows.saturating_sub(left.rows),
            };
            let mut other = std::mem::take(&mut parent.histogram);
            let (depth, lambda_l2) = (parent.depth + 1, candidate.lambda_l2);
            let feature = layout.features[candidate.feature];
            let values = [left, right].map(|sums| {
                let of = growth.units.of(&sums);
                leaf_value(of, sums.rows, &params.split, lambda_l2, parent.value, parent.bounds)
            });
            let sign = params.split.monotone.get(feature as usize).copied().unwrap_or(0);
            let bounds = child_bounds(parent.bounds, sign, values);
            // They are within already, but for rows that were only estimated when the split was chosen.
            let values = [0, 1].map(|side| values[side].max(bounds[side][0]).min(bounds[side][1]));
            let mut path = parent.path.clone();
            if !params.interactions.is_empty() && !path.contains(&feature) {
                path.push(feature);
            }
            let pair = if split.sum == Side::Neither {
                [vec![], vec![]]
            } else {
                if split.narrow && other.len() == layout.len() {
                    other = growth.units.pack_sums(&other);
                }
                if other.len() != sum.len() {
                    return Err(wrong());
                }
                other.iter_mut().zip(&sum).for_each(|(a, b)| *a -= *b);
                if split.sum == Side::Left { [sum, other] } else { [other, sum] }
            };
            for (((sums, histogram), value), bounds) in
                [left, right].into_iter().zip(pair).zip(values).zip(bounds)
            {
                let (path, best, split) = (path.clone(), None, None);
                let child = Grown { sums, depth, value, bounds, path, best, histogram, split };
                children.push(child);
            }
        }
        let (this, first) = (&*self, self.nodes.len());
        children.par_iter_mut().enumerate().with_max_len(1).for_each(|(i, c)| {
            if !c.histogram.is_empty() && c.depth < params.max_depth {
                c.best = this.best_split(c, first + i, &layout, growth, params, bins);
            }
            if c.best.is_none() {
                c.histogram = vec![];
            }
        });
        self.nodes.append(&mut children);
        Ok(())
    }

    /// The next splits; none when the tree is complete. So many `trees` grow at once.
    pub fn plan(&mut self, growth: &mut Growth, trees: usize, params: &Params) -> bool {
        self.follow(params);
        let first = growth.splits.len();
        growth.wanted = first;
        // By depth, all nodes of a level that may be split will be.
        let share = if params.depthwise { 1 } else { AHEAD * trees.max(1) };
        let ahead = if params.num_leaves <= share {
            1
        } else {
            let left = params.num_leaves.saturating_sub(self.best_first(params, 1).leaves);
            left.div_ceil(share).max(1)
        };
        let Order { unknown: waiting, leaves, last, .. } = self.best_first(params, ahead);
        for node in waiting {
            // No node is left to be split after it, whatever its children gain.
            let last = leaves == params.num_leaves && last == Some(node);
            let Some(grown) = self.nodes.get_mut(node) else { continue };
            let Some(candidate) = &grown.best else { continue };
            let left = candidate.sums.rows.min(grown.sums.rows);
            let right = grown.sums.rows - left;
            // Where the sides' rows are known exactly, it is known that they are too few to be split.
            let few = params.split.min_data_in_leaf.saturating_mul(2);
            let few = growth.units.constant && left.max(right) < few;
            let barren = few || grown.depth + 1 >= params.max_depth;
            let sum = match (last || barren, left <= right) {
                (true, _) => Side::Neither,
                (_, true) => Side::Left,
                _ => Side::Right,
            };
            grown.split = Some(growth.splits.len());
            let feature = candidate.feature as u32;
            let narrow = growth.units.narrow(grown.sums.rows);
            growth.splits.push(Split { node: node as u32, feature, left: candidate.left, sum, narrow });
        }
        self.forget_hopeless(params);
        growth.splits.len() > first
    }

    /// Drops the sums of nodes that cannot be split any more, whatever the children of those before them gain: half of
    /// what would else be held at once.
    fn forget_hopeless(&mut self, params: &Params) {
        let mut hopeful = vec![false; self.nodes.len()];
        self.best_first(params, usize::MAX).unknown.into_iter().for_each(|node| hopeful[node] = true);
        for (grown, hopeful) in self.nodes.iter_mut().zip(hopeful) {
            if grown.split.is_none() && !hopeful {
                grown.histogram = vec![];
            }
        }
    }

    /// A node that may be split, as it waits.
    fn waiting(&self, node: usize, params: &Params) -> Option<Waiting> {
        let grown = self.nodes.get(node)?;
        let depth = if params.depthwise { grown.depth } else { 0 };
        Some(Waiting(Reverse(depth), grown.best.as_ref()?.gain, Reverse(node)))
    }

    /// The children of a node, where they are known.
    fn children(&self, node: usize) -> Option<[usize; 2]> {
        let split = self.nodes[node].split?;
        (2 + 2 * split < self.nodes.len()).then_some([1 + 2 * split, 2 + 2 * split])
    }

    /// Follows the best-first order as far as it is known by now.
    fn follow(&mut self, params: &Params) {
        while self.known.chosen.len() + 1 < params.num_leaves
            && let Some(Waiting(.., Reverse(node))) = self.known.waiting.peek()
            && let Some(children) = self.children(*node)
        {
            self.known.chosen.push(*node);
            self.known.waiting.pop();
            let children = children.map(|node| self.waiting(node, params));
            self.known.waiting.extend(children.into_iter().flatten());
        }
    }

    /// The best-first order from there on, with at most `limit` nodes whose children are not known.
    fn best_first(&self, params: &Params, limit: usize) -> Order {
        let mut heap = self.known.waiting.clone();
        let mut order = Order { unknown: vec![], leaves: self.known.chosen.len() + 1, last: None };
        while order.leaves < params.num_leaves
            && order.unknown.len() < limit
            && let Some(Waiting(.., Reverse(node))) = heap.pop()
        {
            order.leaves += 1;
            order.last = Some(node);
            match self.nodes[node].split {
                Some(_) => {
                    let children = self.children(node).into_iter().flatten();
                    heap.extend(children.filter_map(|node| self.waiting(node, params)));
                }
                None => order.unknown.push(node),
            }
        }
        order
    }

    /// The nodes of the finished tree that are its leaves, in the order of the model; none where there is no split.
    pub fn leaves(&self) -> Vec<u32> {
        let mut split = vec![None; self.nodes.len()];
        for node in &self.known.chosen {
            split[*node] = self.nodes[*node].split;
        }
        let mut queue = VecDeque::from([0]);
        let mut leaves = vec![];
        while let Some(node) = queue.pop_front() {
            match split[node] {
                Some(made) => queue.extend([1 + 2 * made, 2 + 2 * made]),
                None => leaves.push(node as u32),
            }
        }
        if leaves.len() > 1 { leaves } else { vec![] }
    }

    /// Gives leaves values that were found otherwise.
    pub fn renew(&mut self, leaves: &[u32], values: impl Iterator<Item = f64>) {
        for (leaf, value) in leaves.iter().zip(values) {
            if let Some(n) = self.nodes.get_mut(*leaf as usize) {
                n.value = value;
            }
        }
    }

    /// Adds the finished tree to the model. Gives the values of its leaves by node, for the shards' scores.
    pub fn harvest(&self, params: &Params, bins: &[Bins], trees: &mut Trees) -> Vec<(u32, f64)> {
        let layout = Layout::new(bins);
        let mut split = vec![false; self.nodes.len()];
        self.known.chosen.iter().for_each(|node| split[*node] = true);
        let mut leaves = vec![];
        let begin = trees.nodes.len();
        trees.roots.push(begin as u32);
        let mut queue = VecDeque::from([0]);
        let mut next = begin + 1;
        while let Some(node) = queue.pop_front() {
            let grown = &self.nodes[node];
            trees.rows.push(grown.sums.rows);
            let question = grown.best.as_ref().zip(grown.split).filter(|_| split[node]);
            let Some((candidate, made)) = question else {
                // A tree without a split has learnt nothing.
                let value = if node == 0 { 0.0 } else { grown.value * params.learning_rate };
                leaves.push((node as u32, value));
                trees.nodes.push(Node { value, child: 0, feature: 0, set: NUMERIC, missing_left: false });
                trees.gains.push(0.0);
                continue;
            };
            let feature = layout.features[candidate.feature];
            let bins = &bins[feature as usize];
            let child = next as u32;
            let missing_left = candidate.missing_left;
            trees.nodes.push(if bins.is_category() {
                let set = trees.sets.len() as u32;
                trees.sets.push(candidate.left);
                Node { value: 0.0, child, feature, set, missing_left }
            } else {
                // The last bin has no edge: all values go left, and missing ones right.
                let value = bins.edges.get(usize::from(candidate.bin)).copied().unwrap_or(f64::INFINITY);
                Node { value, child, feature, set: NUMERIC, missing_left }
            });
            trees.gains.push(candidate.gain as f32);
            next += 2;
            queue.extend([1 + 2 * made, 2 + 2 * made]);
        }
        leaves
    }

    /// Bytes that the histograms of a tree in growth may take.
    pub fn memory(params: &Params, features: usize) -> u64 {
        (params.num_leaves as u64 + 4) * features as u64 * 256 * 16
    }
}

/// Leaves a share of what is allowed, one at least: those whose draws are least.
pub fn choose(allowed: &mut [bool], share: f64, draw: impl Fn(u64) -> f64) {
    let mut order: Vec<usize> = (0..allowed.len()).filter(|f| allowed[*f]).collect();
    let wanted = ((order.len() as f64 * share).round() as usize).max(1);
    order.sort_by(|a, b| draw(*a as u64).total_cmp(&draw(*b as u64)).then(a.cmp(b)));
    order.into_iter().skip(wanted).for_each(|f| allowed[f] = false);
}
