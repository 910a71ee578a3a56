//! One tree as the job sees it: grown from sums near the root; [`super::branch`] grows the rest from rows.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::{BinSet, NUMERIC, Node, Trees};
use super::draw::{choose, mix};
use super::facts::Units;
use super::model::Leaves;
use super::params::Params;
use super::rows::{CELLS, Format, Sum};
use super::split::{Candidate, Judge};
use std::collections::{BinaryHeap, VecDeque};

/// A node of a tree in growth.
#[derive(Debug, Clone, Default)]
pub struct Grown {
    /// What its random choices are drawn from.
    pub key: u64,
    /// Splits above it.
    pub depth: usize,
    /// Rows, those drawn twice counted twice.
    pub rows: i64,
    /// The mean target, or the share of class 1 of two.
    value: f64,
    /// The shares of its classes, where there are three or more: a range of the tree's list.
    shares: (u32, u32),
    /// How much its split lowers the impurity of the tree.
    gain: f64,
    /// The left child's place, the right one is behind it; 0 for a leaf.
    child: u32,
    feature: u32,
    threshold: f64,
    set: u32,
    missing_left: bool,
}

impl Grown {
    /// The same node at its place.
    pub fn at(self, key: u64, depth: usize) -> Grown {
        Grown { key, depth, ..self }
    }
}

/// A tree in growth.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// Its nodes; children stand behind their parents.
    pub nodes: Vec<Grown>,
    sets: Vec<BinSet>,
    /// Classes and their shares.
    shares: Vec<(u32, f32)>,
    /// The weight of all its rows, in units; 0 before the root is known.
    pub weight: f64,
    /// Nodes that still wait for what shards find.
    pub open: usize,
}

/// What all trees of a training have in common.
pub struct Ground<'a> {
    /// The parameters.
    pub params: &'a Params,
    /// The layout of records and sums.
    pub format: Format,
    /// What whole numbers stand for.
    pub units: Units,
    /// The bins of all features.
    pub bins: &'a [Bins],
    /// The least and greatest value of each bin of each feature.
    pub ranges: &'a [Vec<(f64, f64)>],
    /// The feature of each lane.
    pub useful: &'a [u32],
}

impl Ground<'_> {
    /// What values the splits of a tree of such a weight.
    pub fn judge(&self, format: Format, weight: f64) -> Judge<'_> {
        let min_weight = self.params.rules.min_weight_fraction_leaf * weight;
        let (bins, ranges, useful) = (self.bins, self.ranges, self.useful);
        Judge { format, rules: &self.params.rules, bins, ranges, useful, min_weight }
    }

    /// A node with these sums, and whether it must be a leaf. `names` has the class of each place in the sums.
    pub fn node(
        &self,
        format: &Format,
        sums: &[i64],
        names: Option<&[u32]>,
        tree: &mut Tree,
    ) -> (Grown, bool) {
        let (rows, weight) = (format.rows(sums), format.weight(sums));
        let mut node = Grown { rows, set: NUMERIC, ..Grown::default() };
        let rules = &self.params.rules;
        let few = rows < rules.min_samples_split || rows < rules.min_samples_leaf.saturating_mul(2);
        let pure = match format.sum {
            Sum::Mean => {
                node.value = self.units.center + sums[1] as f64 / (weight as f64).max(1.0) * self.units.y;
                false
            }
            Sum::Two => {
                let ones = sums[0] >> 32;
                node.value = ones as f64 / rows.max(1) as f64;
                ones == 0 || ones == rows
            }
            Sum::Classes(k) => {
                let classes = &sums[..k];
                let name = |c: usize| names.and_then(|n| n.get(c).copied()).unwrap_or(c as u32);
                let share = |w: i64| w as f64 / (weight as f64).max(1.0);
                if self.params.classes == 2 {
                    node.value = (0..k).filter(|c| name(*c) == 1).map(|c| share(classes[c])).sum();
                } else {
                    let begin = tree.shares.len() as u32;
                    let found = classes.iter().enumerate().filter(|(_, w)| **w > 0);
                    tree.shares.extend(found.map(|(c, w)| (name(c), share(*w) as f32)));
                    node.shares = (begin, tree.shares.len() as u32);
                }
                classes.iter().filter(|w| **w > 0).count() < 2
            }
        };
        (node, pure || few)
    }

    /// Makes a node ask what was found; `child` is where its left child will stand.
    pub fn question(&self, node: &mut Grown, found: &Candidate, child: usize, tree: &mut Tree) {
        node.child = child as u32;
        node.gain = self.decrease(found, tree.weight);
        node.feature = self.useful[found.lane as usize];
        node.threshold = found.threshold;
        node.missing_left = found.missing_left;
        if self.bins[node.feature as usize].is_category() {
            node.threshold = 0.0;
            node.set = tree.sets.len() as u32;
            tree.sets.push(found.left);
        }
    }

    /// The decrease of impurity, weighted by the node's share of the tree's weight.
    fn decrease(&self, found: &Candidate, weight: f64) -> f64 {
        let unit = if self.format.sum == Sum::Mean { self.units.y * self.units.y } else { 1.0 };
        (found.gain * unit / weight).max(0.0)
    }

    /// Whether a split lowers the impurity enough.
    pub fn enough(&self, found: &Candidate, weight: f64) -> bool {
        // As scikit-learn, with the same allowance for rounding.
        self.decrease(found, weight) + f64::EPSILON >= self.params.rules.min_impurity_decrease
    }

    /// The lanes that a node looks at in its first, second ... attempt.
    pub fn lanes(&self, key: u64, attempt: usize) -> Vec<u32> {
        let count = self.params.max_features;
        choose(mix(key, 1), attempt * count, count, self.useful.len())
    }
}

/// What the random choices of a child are drawn from.
pub fn child_key(key: u64, side: u64) -> u64 {
    mix(key, 2 + side)
}

/// A node that waits for what shards find of it.
#[derive(Debug, Clone)]
pub struct Open {
    /// Its tree in the wave.
    pub tree: usize,
    /// Its place in the tree.
    pub node: usize,
    /// Its number among the shards'.
    pub number: u32,
    /// Its sums; none of a root.
    pub sums: Vec<i64>,
    /// How often its features were only constant ones.
    pub attempt: usize,
    /// Rows that it has, or will have if chance is average.
    pub rows: u64,
    /// What its random choices are drawn from.
    pub key: u64,
}

/// What became of an open node.
pub enum Outcome {
    /// No rows were drawn.
    Empty,
    /// A leaf; where it was the root, its sums.
    Leaf(Vec<i64>),
    /// A split, of the node with these sums.
    Split(Vec<i64>, Candidate),
    /// Its features were constant: others are to be looked at.
    Again(Vec<i64>),
    /// All that grows below it.
    Branch(Tree),
}

impl Open {
    /// Decides on a node from its sums by bin, one list a lane.
    pub fn split(&self, ground: &Ground, lanes: &[u32], by_bin: &[i64], weight: f64) -> Outcome {
        let channels = ground.format.channels();
        let mut sums = self.sums.clone();
        if sums.is_empty() {
            sums = vec![0; channels];
            let first = by_bin.chunks_exact(channels).take(CELLS);
            first.for_each(|cell| sums.iter_mut().zip(cell).for_each(|(a, b)| *a += b));
        }
        if ground.format.rows(&sums) == 0 {
            return Outcome::Empty;
        }
        let (node, leaf) = ground.node(&ground.format, &sums, None, &mut Tree::default());
        let weight = if self.depth_is_zero() { ground.format.weight(&sums) as f64 } else { weight };
        if leaf || node.rows == 0 || ground.params.rules.max_depth == 0 {
            return Outcome::Leaf(sums);
        }
        let present: Vec<BinSet> = lanes.iter().map(|_| [u64::MAX; 4]).collect();
        let judge = ground.judge(ground.format, weight);
        let (found, varied) = judge.best(&sums, lanes, by_bin, &present, mix(self.key, 4));
        match found {
            Some(found) if ground.enough(&found, weight) => Outcome::Split(sums, found),
            None if !varied && !ground.lanes(self.key, self.attempt + 1).is_empty() => Outcome::Again(sums),
            _ => Outcome::Leaf(sums),
        }
    }

    fn depth_is_zero(&self) -> bool {
        self.number == 0
    }
}

impl Tree {
    /// A tree whose root waits.
    pub fn seed(key: u64) -> Tree {
        Tree { nodes: vec![Grown { key, set: NUMERIC, ..Grown::default() }], open: 1, ..Tree::default() }
    }

    /// The depth of a node.
    pub fn depth(&self, node: usize) -> usize {
        self.nodes[node].depth
    }

    /// What a node's random choices are drawn from.
    pub fn key(&self, node: usize) -> u64 {
        self.nodes[node].key
    }

    /// Sets what is known of a root by now.
    pub fn settle_root(&mut self, ground: &Ground, sums: &[i64]) {
        if self.nodes.len() == 1 {
            self.weight = ground.format.weight(sums) as f64;
            let key = self.nodes[0].key;
            self.shares.clear();
            let (node, _) = ground.node(&ground.format, sums, None, self);
            self.nodes[0] = Grown { key, ..node };
        }
    }

    /// Splits a node. The children that can be split further, with their sums.
    pub fn split(
        &mut self,
        ground: &Ground,
        at: usize,
        sums: &[i64],
        found: &Candidate,
    ) -> [Option<(usize, Vec<i64>)>; 2] {
        let child = self.nodes.len();
        let mut parent = std::mem::take(&mut self.nodes[at]);
        ground.question(&mut parent, found, child, self);
        let right: Vec<i64> = sums.iter().zip(&found.sums).map(|(a, b)| a - b).collect();
        let mut open = [None, None];
        for (side, sums) in [found.sums.clone(), right].into_iter().enumerate() {
            let (node, leaf) = ground.node(&ground.format, &sums, None, self);
            let (depth, key) = (parent.depth + 1, child_key(parent.key, side as u64));
            self.nodes.push(Grown { depth, key, ..node });
            if !leaf && depth < ground.params.rules.max_depth {
                open[side] = Some((child + side, sums));
            }
        }
        self.nodes[at] = parent;
        open
    }

    /// Puts a branch in the place of a node.
    pub fn graft(&mut self, at: usize, branch: Tree) {
        let Tree { nodes, sets, shares, weight, .. } = branch;
        let (first, first_set, first_share) =
            (self.nodes.len() as u32, self.sets.len() as u32, self.shares.len() as u32);
        if at == 0 {
            self.weight = weight;
        }
        self.sets.extend(sets);
        self.shares.extend(shares);
        for (i, mut node) in nodes.into_iter().enumerate() {
            if node.child != 0 {
                // The branch's root takes the node's place, so that all others move up by one.
                node.child += first - 1;
            }
            if node.set != NUMERIC {
                node.set += first_set;
            }
            node.shares = (node.shares.0 + first_share, node.shares.1 + first_share);
            if i == 0 {
                self.nodes[at] = node;
            } else {
                self.nodes.push(node);
            }
        }
    }

    /// Adds the finished tree to the model.
    pub fn harvest(mut self, params: &Params, trees: &mut Trees, leaves: &mut Leaves) {
        if params.max_leaf_nodes < usize::MAX {
            self.keep_best(params.max_leaf_nodes);
        }
        if params.ccp_alpha > 0.0 {
            self.prune(params.ccp_alpha);
        }
        let begin = trees.nodes.len();
        trees.roots.push(begin as u32);
        let mut queue = VecDeque::from([0]);
        let mut next = begin + 1;
        while let Some(at) = queue.pop_front() {
            let grown = &self.nodes[at];
            trees.rows.push(grown.rows as u64);
            if grown.child == 0 {
                let shares = grown.shares.0 as usize..grown.shares.1 as usize;
                let value = if params.classes > 2 { leaves.add(&self.shares[shares]) } else { grown.value };
                trees.nodes.push(Node { value, child: 0, feature: 0, set: NUMERIC, missing_left: false });
                trees.gains.push(0.0);
                continue;
            }
            let mut set = NUMERIC;
            if grown.set != NUMERIC {
                set = trees.sets.len() as u32;
                trees.sets.push(self.sets[grown.set as usize]);
            }
            let (value, feature, missing_left) = (grown.threshold, grown.feature, grown.missing_left);
            trees.nodes.push(Node { value, child: next as u32, feature, set, missing_left });
            trees.gains.push(grown.gain as f32);
            next += 2;
            queue.extend([grown.child as usize, grown.child as usize + 1]);
        }
    }

    /// Keeps the splits that a tree would have which is grown best split first up to so many leaves. Splits do not
    /// depend on one another, so that the order can be repeated afterwards.
    fn keep_best(&mut self, most: usize) {
        /// The greatest gain first, of equals the older node.
        #[derive(PartialEq)]
        struct Waiting(f64, std::cmp::Reverse<usize>);
        impl Eq for Waiting {}
        impl PartialOrd for Waiting {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                Some(self.cmp(other))
            }
        }
        impl Ord for Waiting {
            fn cmp(&self, other: &Self) -> std::cmp::Ordering {
                self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
            }
        }
        let mut heap = BinaryHeap::new();
        let mut kept = vec![false; self.nodes.len()];
        let mut leaves = 1;
        let push = |heap: &mut BinaryHeap<Waiting>, nodes: &[Grown], at: usize| {
            if nodes[at].child != 0 {
                heap.push(Waiting(nodes[at].gain, std::cmp::Reverse(at)));
            }
        };
        push(&mut heap, &self.nodes, 0);
        while leaves < most
            && let Some(Waiting(_, std::cmp::Reverse(at))) = heap.pop()
        {
            kept[at] = true;
            leaves += 1;
            let child = self.nodes[at].child as usize;
            push(&mut heap, &self.nodes, child);
            push(&mut heap, &self.nodes, child + 1);
        }
        for (node, kept) in self.nodes.iter_mut().zip(kept) {
            if !kept {
                node.child = 0;
            }
        }
    }

    /// Minimal cost-complexity pruning (Breiman et al. 1984, chapter 3): the smallest subtree that minimises the
    /// impurity of its leaves plus `alpha` for each. A split is kept when its branch lowers the impurity by more
    /// than its leaves cost. Children stand behind their parents, so that one pass from the end decides all.
    fn prune(&mut self, alpha: f64) {
        let mut worth = vec![0.0f64; self.nodes.len()];
        for at in (0..self.nodes.len()).rev() {
            let node = &mut self.nodes[at];
            if node.child == 0 {
                continue;
            }
            let child = node.child as usize;
            let kept = node.gain - alpha + worth[child] + worth[child + 1];
            if kept > 0.0 {
                worth[at] = kept;
            } else {
                node.child = 0;
            }
        }
    }
}
