//! Decision trees (CART, Breiman et al. 1984), random forests (Breiman 2001) and extremely randomised trees (Geurts
//! et al. 2006) on binned values; missing values and categories as they are. [`isolation`] is apart: it has no target.
//!
//! ```text
//!  Sketch ──▶ (Sketch, finer) ──▶ Grow ──▶ Grow ─ ─▶ Grow ─ ─▶ (OutOfBag)
//!  counts of values               a wave of trees, level    rows that trees left out
//!                                 by level; the next wave
//! ```
//!
//! Many trees grow side by side in one round. Near the root, shards send sums by bin of the features that each node
//! looks at; further down, where that would be more than the rows themselves, they send the rows, and the job grows
//! the rest ([`tree`]). Sums are of whole numbers and all chance is a hash of what it is for: neither threads nor
//! shards nor the order of rows within a node change a bit of the model.
//!
//! - [`facts`] makes whole numbers of targets and weights, [`rows`] keeps and sums rows, [`split`] finds splits;
//! - [`tree`] and [`branch`] are the job's side of a tree, [`shard`] the shard's; [`oob`] measures, [`model`] scores.

mod branch;
mod draw;
mod facts;
pub mod isolation;
mod model;
mod oob;
mod params;
mod rows;
mod shard;
mod split;
#[cfg(test)]
mod tests;
mod tree;

use super::trees::binning::{self, Counting};
use super::trees::bins::Bins;
use super::trees::nodes::Trees;
use super::trees::sketch::{Counts, Refine};
use crate::error::{Error, Kind as Fault, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::Values;
use crate::schema::{Chunk, Schema, Task};
use draw::{mix, tree_salt};
use facts::{Facts, Units};
pub use model::Forest;
use oob::OutOfBag;
use params::Params;
use rayon::prelude::*;
use rows::{CELLS, Format, check_rows, useful};
use serde::{Deserialize, Serialize};
use shard::{Found, Local, Split, Want, Wave};
use std::marker::PhantomData;
use tree::{Ground, Open, Outcome, Tree};

use super::trees::sketch::add_all;

/// Which of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One tree.
    Tree,
    /// Many, on drawn rows.
    Forest,
    /// Many, with drawn thresholds.
    Extra,
}

/// What tells the three apart.
pub trait Grove: Send + Sync + 'static {
    /// Which it is.
    const KIND: Kind;
    /// What it says of itself.
    const INFO: Info;
}

const fn info(name: &'static str, summary: &'static str, params: &'static [crate::params::Param]) -> Info {
    Info {
        name,
        version: 1,
        summary,
        tasks: &[Task::Regression, Task::Classification],
        input: Input::Native,
        sharding: Sharding::Exact,
        params,
    }
}

/// `decision_tree`.
pub struct DecisionTree;
impl Grove for DecisionTree {
    const KIND: Kind = Kind::Tree;
    const INFO: Info = info(
        "decision_tree",
        "One tree of questions (CART), with missing values and categories as they are.",
        params::TREE,
    );
}

/// `random_forest`.
pub struct RandomForest;
impl Grove for RandomForest {
    const KIND: Kind = Kind::Forest;
    const INFO: Info = info(
        "random_forest",
        "The mean of many trees, each grown on rows drawn with replacement and on features drawn at each node.",
        params::FOREST,
    );
}

/// `extra_trees`.
pub struct ExtraTrees;
impl Grove for ExtraTrees {
    const KIND: Kind = Kind::Extra;
    const INFO: Info = info(
        "extra_trees",
        "The mean of many trees whose thresholds are drawn too (extremely randomised trees).",
        params::EXTRA,
    );
}

/// The learner of all three.
pub struct Grower<G>(PhantomData<fn() -> G>);

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Count values, coarsely or (with `State::refine`) more finely.
    Sketch,
    /// Grow a wave of trees.
    Grow,
    /// Measure the forest.
    OutOfBag,
}

/// What a round starts from.
#[derive(Serialize, Deserialize)]
pub struct State {
    phase: Phase,
    refine: Vec<Vec<Refine>>,
    facts: Facts,
    units: Units,
    format: Option<Format>,
    bins: Vec<Bins>,
    /// The feature of each lane.
    useful: Vec<u32>,
    wave: Wave,
    /// The finished forest, in the last phase.
    model: Forest,
    /// What the rows of each finished tree were drawn with, in the last phase.
    salts: Vec<u64>,
    #[serde(skip)]
    job: Work,
}

/// What the job alone needs to know.
#[derive(Default)]
struct Work {
    counting: Counting,
    ranges: Vec<Vec<(f64, f64)>>,
    /// The wave's trees; those that are done are taken away.
    trees: Vec<Option<Tree>>,
    /// Nodes that shards are to look at, now and later; those of `wave.wants` come first.
    open: Vec<Open>,
    /// How often each tree of the wave drew no row at all.
    again: Vec<u64>,
    forest: Option<Forest>,
    salts: Vec<u64>,
}

/// What a shard found in a round.
#[derive(Default, Serialize, Deserialize)]
pub struct Partial {
    refined: bool,
    counts: Vec<Counts>,
    facts: Facts,
    found: Vec<Found>,
    oob: OutOfBag,
}

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        let refined = self.refined || other.refined;
        binning::merge(&mut self.counts, other.counts, refined);
        self.facts.merge(other.facts);
        self.oob.merge(&other.oob);
        shard::merge(&mut self.found, other.found)
    }
}

/// Bytes of sums, and of rows, that a round may ask for.
const ROUND: u64 = 96 << 20;
/// Bytes that say where the rows of a wave's trees lie.
const WAVE: u64 = 128 << 20;
/// Nodes of no more rows than this are grown from their rows.
const SMALL: u64 = 4096;
/// So are nodes of no more rows than this with some levels to go: brought together, their rows fit in the second
/// cache.
const NEAR: u64 = 32_768;
/// Times that a tree may draw no row.
const PATIENCE: u64 = 1000;

impl<G: Grove> Learner for Grower<G> {
    const INFO: Info = G::INFO;
    type Params = Params;
    type State = State;
    type Local = Local;
    type Partial = Partial;
    type Model = Forest;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        check_rows(schema.rows)?;
        Params::read::<G>(values, schema)
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let rows = schema.rows as u64;
        let format = Format::new(schema.width(), params.classes, true);
        let trees = wave_trees(params, rows) as u64;
        let round = ROUND.min(rows * trees * format.stride as u64) * 2;
        // Of a finished tree: at most as many leaves as rows, and as the limits allow.
        let deepest = 1u64.checked_shl(params.rules.max_depth.min(63) as u32).unwrap_or(u64::MAX);
        let leaves = (rows / params.rules.min_samples_leaf.max(1) as u64 / 2 + 1)
            .min(deepest)
            .min(params.max_leaf_nodes as u64);
        rows * (format.stride as u64 + 8 + trees * 4) + round + leaves * 2 * 40 * params.trees as u64
    }

    fn init(params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State {
            phase: Phase::Sketch,
            refine: vec![],
            facts: Facts::default(),
            units: Units::default(),
            format: None,
            bins: vec![],
            useful: vec![],
            wave: Wave::default(),
            model: Forest::new(params.classes),
            salts: vec![],
            job: Work::default(),
        })
    }

    fn zero(_params: &Params, state: &State) -> Partial {
        Partial { refined: !state.refine.is_empty(), ..Partial::default() }
    }

    fn needs_rows(state: &State, local: &Local) -> bool {
        !local.usable(state)
    }

    fn accumulate(
        params: &Params,
        state: &State,
        local: &mut Local,
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        local.accumulate(params, state, chunk, partial, cx)
    }

    fn finish(
        params: &Params,
        state: &State,
        local: &mut Local,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        local.finish(params, state, partial, cx)
    }

    fn update(params: &Params, mut state: State, total: Partial, cx: &Cx) -> Result<Step<State, Forest>> {
        match state.phase {
            Phase::Sketch => {
                state.sketched(params, total, cx)?;
                Ok(Step::Again(state))
            }
            Phase::Grow => state.grown(params, total.found, cx),
            Phase::OutOfBag => {
                let mut model = std::mem::replace(&mut state.model, Forest::new(params.classes));
                model.oob = total.oob.metrics(params, &state, cx);
                Ok(Step::Done(model))
            }
        }
    }
}

/// Trees that grow side by side: as many as memory allows, whatever the threads.
fn wave_trees(params: &Params, rows: u64) -> usize {
    ((WAVE / (rows.max(1) * 4)).clamp(1, 128) as usize).min(params.trees)
}

impl State {
    /// The layout of records and sums, once the values are counted.
    fn format(&self) -> Result<Format> {
        self.format.ok_or_else(|| Error::internal("rows are wanted before their values were counted"))
    }

    fn ground<'a>(&'a self, params: &'a Params) -> Result<Ground<'a>> {
        let (format, units) = (self.format()?, self.units);
        let (bins, ranges, useful) = (&self.bins, &self.job.ranges, &self.useful);
        Ok(Ground { params, format, units, bins, ranges, useful })
    }

    /// Counts are in: refine them, or choose the bins.
    fn sketched(&mut self, params: &Params, total: Partial, cx: &Cx) -> Result<()> {
        if self.refine.is_empty() {
            self.facts = total.facts;
            self.facts.check(params)?;
        }
        let features = params.levels.len();
        let (rows, counting) = (self.facts.rows, &mut self.job.counting);
        self.refine = counting.take(&self.refine, total.counts, features, rows, params.max_bin);
        if !self.refine.is_empty() {
            return Ok(());
        }
        let counting = std::mem::take(&mut self.job.counting);
        (self.bins, self.job.ranges) = counting.bins(&params.levels, params.max_bin, 1);
        self.useful = useful(&self.bins);
        self.units = self.facts.units(params);
        self.format = Some(Format::new(self.useful.len(), params.classes, self.facts.weighted));
        let mut forest = Forest::new(params.classes);
        forest.trees = Trees::new(&self.bins);
        self.job.forest = Some(forest);
        self.phase = Phase::Grow;
        self.begin(params, 0, cx);
        self.plan(params)
    }

    /// Another wave, from tree `first` on.
    fn begin(&mut self, params: &Params, first: usize, cx: &Cx) {
        let count = wave_trees(params, self.facts.rows).min(params.trees - first);
        let numbers = (first..first + count).map(|t| t as u64);
        self.wave = Wave {
            first: first as u64,
            salts: numbers.clone().map(|t| tree_salt(cx.seed, t, 0)).collect(),
            splits: vec![vec![]; count],
            wants: vec![],
        };
        let rows = (self.facts.rows as f64 * params.draw.rate(self.facts.rows)) as u64;
        let key = |tree: u64| mix(cx.seed, !tree);
        self.job.again = vec![0; count];
        self.job.trees = numbers.clone().map(|t| Some(Tree::seed(key(t)))).collect();
        let root = |(tree, t)| Open { tree, node: 0, number: 0, sums: vec![], attempt: 0, rows, key: key(t) };
        self.job.open = numbers.enumerate().map(root).collect();
    }

    /// Asks for the next nodes: the first trees first, so that they are done and out of memory early.
    fn plan(&mut self, params: &Params) -> Result<()> {
        let mut open = std::mem::take(&mut self.job.open);
        open.sort_by_key(|o| o.tree);
        let ground = self.ground(params)?;
        let by_lane = (CELLS * ground.format.channels() * 8) as u64;
        let (mut sums, mut rows) = (0, 0);
        let (mut wants, mut asked, mut later) = (vec![], vec![], vec![]);
        for open in open {
            let lanes = params.max_features.min(self.useful.len()) as u64;
            let record = ground.format.stride as u64 + 1;
            let depth =
                self.job.trees.get(open.tree).and_then(|t| t.as_ref()).map_or(0, |t| t.depth(open.node));
            let levels = params.rules.max_depth.saturating_sub(depth);
            let few = if levels > 2 { NEAR } else { SMALL };
            let small = lanes == 0 || open.rows <= few.max(lanes * by_lane / record);
            let (budget, cost) =
                if small { (&mut rows, open.rows * record) } else { (&mut sums, lanes * by_lane) };
            if *budget > 0 && *budget + cost > ROUND {
                later.push(open);
                continue;
            }
            *budget += cost;
            let lanes = if small { vec![] } else { ground.lanes(open.key, open.attempt) };
            wants.push(Want { tree: open.tree as u32, node: open.number, lanes, rows: small });
            asked.push(open);
        }
        self.wave.wants = wants;
        asked.extend(later);
        self.job.open = asked;
        Ok(())
    }

    /// What shards found of the wanted nodes is in.
    fn grown(mut self, params: &Params, found: Vec<Found>, cx: &Cx) -> Result<Step<State, Forest>> {
        let wrong = || Error::internal("the shards' sums do not belong to this round");
        let wants = std::mem::take(&mut self.wave.wants);
        if found.len() != wants.len() {
            return Err(wrong());
        }
        let waiting = self.job.open.split_off(wants.len().min(self.job.open.len()));
        let open = std::mem::replace(&mut self.job.open, waiting);
        let mut trees = std::mem::take(&mut self.job.trees);
        let ground = self.ground(params)?;
        let of = |open: &Open| trees.get(open.tree).and_then(|t| t.as_ref()).ok_or_else(wrong);
        let decide = |(open, (want, found)): (&Open, (&Want, Found))| -> Result<Outcome> {
            let tree = of(open)?;
            match found {
                Found::Sums(sums) => {
                    cx.check()?;
                    let by_bin = self.spread(&ground.format, want, &sums)?;
                    Ok(open.split(&ground, &want.lanes, &by_bin, tree.weight))
                }
                Found::Rows(parts) => {
                    let depth = tree.depth(open.node);
                    let branch = branch::grow(&ground, parts, open.key, depth, tree.weight, cx)?;
                    Ok(branch.map_or(Outcome::Empty, Outcome::Branch))
                }
            }
        };
        let outcomes: Vec<Result<Outcome>> =
            open.par_iter().zip(wants.par_iter().zip(found)).with_max_len(4).map(decide).collect();
        let (mut next, mut splits) = (vec![], vec![]);
        let mut made: Vec<usize> = self.wave.splits.iter().map(Vec::len).collect();
        for (open, outcome) in open.into_iter().zip(outcomes) {
            let tree = trees.get_mut(open.tree).and_then(|t| t.as_mut()).ok_or_else(wrong)?;
            let made = made.get_mut(open.tree).ok_or_else(wrong)?;
            tree.open -= 1;
            match outcome? {
                Outcome::Empty => {
                    tree.open += 1;
                    next.push((true, open));
                }
                Outcome::Leaf(sums) => tree.settle_root(&ground, &sums),
                Outcome::Again(sums) => {
                    tree.settle_root(&ground, &sums);
                    tree.open += 1;
                    next.push((false, Open { sums, attempt: open.attempt + 1, ..open }));
                }
                Outcome::Branch(branch) => tree.graft(open.node, branch),
                Outcome::Split(sums, found) => {
                    tree.settle_root(&ground, &sums);
                    let children = tree.split(&ground, open.node, &sums, &found);
                    splits.push((open.tree, Split { node: open.number, lane: found.lane, left: found.left }));
                    for (side, child) in children.into_iter().enumerate() {
                        let Some((node, sums)) = child else { continue };
                        tree.open += 1;
                        let (rows, key) = (ground.format.rows(&sums) as u64, tree.key(node));
                        let number = (1 + 2 * *made + side) as u32;
                        let (tree, attempt) = (open.tree, 0);
                        next.push((false, Open { tree, node, number, sums, attempt, rows, key }));
                    }
                    *made += 1;
                }
            }
        }
        self.job.trees = trees;
        for (tree, split) in splits {
            self.wave.splits.get_mut(tree).ok_or_else(wrong)?.push(split);
        }
        for (empty, open) in next {
            if empty {
                self.draw_again(params, open.tree, cx)?;
            }
            self.job.open.push(open);
        }
        self.harvest(params, cx)
    }

    /// A tree drew no row at all: it draws anew.
    fn draw_again(&mut self, params: &Params, tree: usize, cx: &Cx) -> Result<()> {
        let again = self.job.again.get_mut(tree).filter(|a| **a < PATIENCE).ok_or_else(|| {
            let message = format!("trees draw no row out of {}", self.facts.rows);
            Error::new(Fault::Data, message).hint("Raise max_samples, or set bootstrap to false.")
        })?;
        *again += 1;
        if let Some(salt) = self.wave.salts.get_mut(tree).filter(|_| params.draw != params::Draw::All) {
            *salt = tree_salt(cx.seed, self.wave.first + tree as u64, *again);
        }
        Ok(())
    }

    /// The sums by bin, each lane with room for all bins that there could be.
    fn spread(&self, format: &Format, want: &Want, sums: &[i64]) -> Result<Vec<i64>> {
        let wrong = || Error::internal("the shards' sums do not belong to this round");
        let size = CELLS * format.channels();
        let mut by_bin = vec![0; want.lanes.len() * size];
        let mut from = 0;
        for (lane, cells) in want.lanes.iter().zip(by_bin.chunks_exact_mut(size)) {
            let bins = self.useful.get(*lane as usize).and_then(|f| self.bins.get(*f as usize));
            let filled = bins.ok_or_else(wrong)?.total() * format.channels();
            let found = sums.get(from..from + filled).ok_or_else(wrong)?;
            cells.get_mut(..filled).ok_or_else(wrong)?.copy_from_slice(found);
            from += filled;
        }
        Ok(by_bin)
    }

    /// Takes the trees that are done into the forest, in order; then asks for more, begins another wave, or ends.
    fn harvest(mut self, params: &Params, cx: &Cx) -> Result<Step<State, Forest>> {
        let none = || Error::internal("the forest is gone");
        let forest = self.job.forest.as_mut().ok_or_else(none)?;
        let mut done = 0;
        for (i, place) in self.job.trees.iter_mut().enumerate() {
            if place.as_ref().is_some_and(|t| t.open > 0) {
                break;
            }
            done = i + 1;
            if let Some(tree) = place.take() {
                tree.harvest(params, &mut forest.trees, &mut forest.leaves);
                if u32::try_from(forest.trees.nodes.len()).is_err() || forest.leaves.full() {
                    let message = "the trees have more than 4294967295 nodes";
                    return Err(
                        Error::new(Fault::Parameter, message).hint("Lower n_estimators or max_depth.")
                    );
                }
                if let Some(salt) = self.wave.salts.get_mut(i) {
                    self.job.salts.push(std::mem::take(salt));
                }
                if let Some(splits) = self.wave.splits.get_mut(i) {
                    *splits = vec![];
                }
                cx.observer.progress(forest.trees.len(), params.trees, "trees");
            }
        }
        if done == self.job.trees.len() {
            let first = forest.trees.len();
            if first >= params.trees {
                let forest = self.job.forest.take().ok_or_else(none)?;
                if !params.oob {
                    return Ok(Step::Done(forest));
                }
                self.model = forest;
                self.salts = std::mem::take(&mut self.job.salts);
                self.wave = Wave::default();
                self.phase = Phase::OutOfBag;
                return Ok(Step::Again(self));
            }
            self.begin(params, first, cx);
        }
        self.plan(params)?;
        Ok(Step::Again(self))
    }
}
