//! Isolation forest (Liu, Ting & Zhou 2008): rows that random questions set apart early are strange.
//!
//! ```text
//!  Draw ──────────────────────▶ (Score)
//!  a sample of rows a tree      scores counted, for the threshold of a contamination
//! ```
//!
//! Each tree's rows are the ones with the least hashes of seed, tree and row, so that one pass draws all samples
//! whatever the shards; trees are grown from their samples by the job. The score is scikit-learn's
//! `-score_samples`: 2 to the power of minus the mean path length over `c(max_samples)`, in 0 .. 1, larger for
//! stranger rows. Missing values follow a side of their own: by chance where the node had some, else the side of
//! fewer rows; so do levels of a category that the node did not have. A number whose only variety is to be missing or
//! not is split into just that.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::{ABREAST, BinSet, NUMERIC, Node, Trees, damaged};
use super::draw::{choose, mix, row_key, tree_salt, unit};
use super::split::insert;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Model, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, FeatureKind, Schema, Task};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::{BinaryHeap, VecDeque};

/// The learner.
pub struct IsolationForest;

const DECLARED: &[Param] = &[
    Param::int("n_estimators", 100, 1, 100_000, "How many trees.").alias(&["trees"]),
    Param::float(
        "max_samples",
        256.0,
        1e-9,
        1e9,
        "Rows that a tree is grown from: a whole number above 1, or a share up to 1 of all rows.",
    ),
    Param::float("max_features", 1.0, 1e-6, 1.0, "The share of features that each tree may ask about."),
    Param::float(
        "contamination",
        0.0,
        1e-9,
        0.5,
        "The share of rows taken to be anomalies: damson.describe then shows the score that so many training rows exceed, as threshold.",
    )
    .optional(),
];

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    trees: usize,
    /// Rows a tree, at most.
    samples: usize,
    features: usize,
    contamination: Option<f64>,
    levels: Vec<Option<u32>>,
}

/// What a round starts from.
#[derive(Serialize, Deserialize)]
pub struct State {
    /// The finished trees, when scores are to be counted.
    model: Option<Isolation>,
}

/// A row with what it was drawn by. Greater is worse.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Drawn {
    key: u64,
    row: Vec<f64>,
}

impl Eq for Drawn {}
impl PartialOrd for Drawn {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Drawn {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let bits = |d: &Drawn| d.row.iter().map(|x| x.to_bits()).collect::<Vec<u64>>();
        self.key.cmp(&other.key).then_with(|| bits(self).cmp(&bits(other)))
    }
}

/// What a shard found in a round.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Partial {
    rows: u64,
    /// Rows that a tree takes.
    samples: usize,
    /// Each tree's.
    drawn: Vec<BinaryHeap<Drawn>>,
    /// Rows by score.
    scores: Vec<u64>,
}

/// Cells that scores in 0 .. 1 are counted in.
const GRID: usize = 1 << 16;
/// Rows between two looks at the stop flag.
const BLOCK: usize = 64;

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        self.rows += other.rows;
        super::add_all(&mut self.scores, &other.scores);
        if self.drawn.is_empty() {
            self.drawn = other.drawn;
            return Ok(());
        }
        for (heap, more) in self.drawn.iter_mut().zip(other.drawn) {
            heap.extend(more);
            while heap.len() > self.samples {
                heap.pop();
            }
        }
        Ok(())
    }
}

impl Learner for IsolationForest {
    const INFO: Info = Info {
        name: "isolation_forest",
        version: 1,
        summary: "Scores how strange a row is, by how early random questions set it apart.",
        tasks: &[Task::Anomaly],
        input: Input::Native,
        sharding: Sharding::Exact,
        params: DECLARED,
    };
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Isolation;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let given = values.float("max_samples")?;
        if given > 1.0 && given.fract() != 0.0 {
            let message = format!(
                "parameter \"max_samples\" of isolation_forest is {given}, expected a share up to 1 or a whole number above 1"
            );
            return Err(Error::new(Kind::Parameter, message).hint("256 rows are enough for most data."));
        }
        let wanted = if given <= 1.0 { (given * schema.rows as f64) as usize } else { given as usize };
        let width = schema.width();
        Ok(Params {
            trees: values.count("n_estimators")?,
            samples: wanted.min(schema.rows).max(1),
            features: ((values.float("max_features")? * width as f64) as usize).clamp(1, width.max(1)),
            contamination: values.opt_float("contamination")?,
            levels: schema
                .features
                .iter()
                .map(|f| match f.kind {
                    FeatureKind::Numeric => None,
                    FeatureKind::Category { levels } => Some(levels),
                })
                .collect(),
        })
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let row = schema.width() as u64 * 8 + 64;
        params.trees as u64 * params.samples as u64 * row * 3
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State { model: None })
    }

    fn zero(params: &Params, state: &State) -> Partial {
        let heaps = if state.model.is_some() { 0 } else { params.trees };
        let drawn = (0..heaps).map(|_| BinaryHeap::new()).collect();
        Partial { samples: params.samples, drawn, ..Partial::default() }
    }

    fn accumulate(
        params: &Params,
        state: &State,
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        partial.rows += chunk.rows as u64;
        if let Some(model) = &state.model {
            cx.check()?;
            partial.scores.resize(GRID, 0);
            let mut out = vec![0.0; chunk.rows];
            model.score(chunk, &mut out)?;
            out.iter().for_each(|s| partial.scores[((s * GRID as f64) as usize).min(GRID - 1)] += 1);
            return Ok(());
        }
        let salts: Vec<u64> = (0..params.trees as u64).map(|t| tree_salt(cx.seed, t, 0)).collect();
        for i in 0..chunk.rows {
            if i % BLOCK == 0 {
                cx.check()?;
            }
            let row = chunk.row(i);
            let own = row_key(chunk.first + i as u64, row, 0.0);
            for (salt, heap) in salts.iter().zip(&mut partial.drawn) {
                let key = mix(*salt, own);
                if heap.len() >= params.samples && heap.peek().is_some_and(|worst| worst.key < key) {
                    continue;
                }
                // -0.0 is 0.0, so that equal rows are equal to the bit.
                heap.push(Drawn { key, row: row.iter().map(|x| x + 0.0).collect() });
                if heap.len() > params.samples {
                    heap.pop();
                }
            }
        }
        Ok(())
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Isolation>> {
        if total.rows == 0 {
            return Err(Error::new(Kind::Data, "there are no rows to learn from")
                .hint("Check the filter of the training rows."));
        }
        if let (Some(mut model), Some(share)) = (state.model, params.contamination) {
            model.threshold = Some(threshold(&total.scores, share * total.rows as f64));
            return Ok(Step::Done(model));
        }
        let samples: Vec<Vec<Vec<f64>>> = total
            .drawn
            .into_iter()
            .map(|heap| heap.into_sorted_vec().into_iter().map(|d| d.row).collect())
            .collect();
        let bins = level_bins(params, &samples);
        let grown: Vec<Result<Plain>> = samples
            .par_iter()
            .enumerate()
            .with_max_len(1)
            .map(|(t, rows)| Plain::grow(params, rows, &bins, mix(cx.seed, !(t as u64)), cx))
            .collect();
        let taken = samples.first().map_or(0, Vec::len) as u64;
        let mut model = Isolation { trees: Trees::new(&bins), samples: taken, threshold: None };
        for tree in grown {
            tree?.harvest(&mut model.trees);
        }
        Ok(if params.contamination.is_some() {
            Step::Again(State { model: Some(model) })
        } else {
            Step::Done(model)
        })
    }
}

/// The least score of the cells above which there are no more rows than wanted.
fn threshold(scores: &[u64], wanted: f64) -> f64 {
    let mut above = 0;
    for (cell, rows) in scores.iter().enumerate().rev() {
        above += rows;
        if above as f64 > wanted {
            return (cell + 1) as f64 / GRID as f64;
        }
    }
    0.0
}

/// Bins for the levels of categories, from the samples.
fn level_bins(params: &Params, samples: &[Vec<Vec<f64>>]) -> Vec<Bins> {
    let of = |(f, levels): (usize, &Option<u32>)| {
        let Some(levels) = levels else { return Bins::default() };
        let mut rows = vec![0; *levels as usize];
        for row in samples.iter().flatten() {
            if let Some(rows) = rows.get_mut(row[f] as usize).filter(|_| row[f] >= 0.0) {
                *rows += 1;
            }
        }
        Bins::category(&rows, 0, 255)
    };
    params.levels.iter().enumerate().map(of).collect()
}

/// The mean path length of an unsuccessful search in a binary tree of `n` rows: what a leaf of so many would take.
fn path_length(n: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    match n {
        n if n <= 1.0 => 0.0,
        n if n <= 2.0 => 1.0,
        n => 2.0 * ((n - 1.0).ln() + EULER) - 2.0 * (n - 1.0) / n,
    }
}

/// A grown tree, breadth first; children behind their parents.
#[derive(Default)]
struct Plain {
    nodes: Vec<(Node, u64)>,
    sets: Vec<BinSet>,
}

/// A question that sets some rows of a node apart.
struct Question {
    feature: usize,
    threshold: f64,
    set: Option<BinSet>,
    missing_left: bool,
}

impl Plain {
    fn grow(params: &Params, rows: &[Vec<f64>], bins: &[Bins], key: u64, cx: &Cx) -> Result<Plain> {
        let most = (params.samples.max(2) as f64).log2().ceil() as u32;
        let features = choose(mix(key, 0), 0, params.features, params.levels.len());
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        let mut tree = Plain::default();
        let mut queue = VecDeque::from([(0..order.len(), 0u32, mix(key, 1))]);
        let mut next = 1;
        while let Some((range, depth, key)) = queue.pop_front() {
            cx.check()?;
            let here = &mut order[range.clone()];
            let question =
                if depth < most && here.len() > 1 { ask(rows, here, &features, bins, key) } else { None };
            let count = here.len() as u64;
            let Some(Question { feature, threshold, set, missing_left }) = question else {
                let value = f64::from(depth) + path_length(count as f64);
                let leaf = Node { value, child: 0, feature: 0, set: NUMERIC, missing_left: false };
                tree.nodes.push((leaf, count));
                continue;
            };
            let left = |row: &u32| {
                let x = rows[*row as usize][feature];
                match &set {
                    Some(set) => super::super::trees::nodes::has(set, bin_of(&bins[feature], x)),
                    None => x <= threshold || (missing_left && x.is_nan()),
                }
            };
            let (mut on_left, on_right): (Vec<u32>, Vec<u32>) = here.iter().partition(|row| left(row));
            let middle = range.start + on_left.len();
            on_left.extend(on_right);
            here.copy_from_slice(&on_left);
            let set = set.map_or(NUMERIC, |set| {
                tree.sets.push(set);
                tree.sets.len() as u32 - 1
            });
            let node = Node { value: threshold, child: next, feature: feature as u32, set, missing_left };
            tree.nodes.push((node, count));
            next += 2;
            queue.push_back((range.start..middle, depth + 1, mix(key, 2)));
            queue.push_back((middle..range.end, depth + 1, mix(key, 3)));
        }
        Ok(tree)
    }

    fn harvest(self, trees: &mut Trees) {
        let (first, first_set) = (trees.nodes.len() as u32, trees.sets.len() as u32);
        trees.roots.push(first);
        trees.sets.extend(self.sets);
        for (mut node, rows) in self.nodes {
            if node.child != 0 {
                node.child += first;
            }
            if node.set != NUMERIC {
                node.set += first_set;
            }
            trees.nodes.push(node);
            trees.gains.push(0.0);
            trees.rows.push(rows);
        }
    }
}

fn bin_of(bins: &Bins, x: f64) -> u8 {
    super::super::trees::bins::level(&bins.levels, bins.values as u8, x)
}

/// A random question about the first feature, in a random order, that is not the same in all rows.
fn ask(rows: &[Vec<f64>], here: &[u32], features: &[u32], bins: &[Bins], key: u64) -> Option<Question> {
    let of = |feature: usize| here.iter().map(move |r| rows[*r as usize][feature]);
    let mut order = features.to_vec();
    for turn in 0..order.len() {
        // A random order, one by one: the first is nearly always good.
        let place = (u128::from(mix(key, 64 + turn as u64)) * (order.len() - turn) as u128) >> 64;
        order.swap(turn, turn + place as usize);
        let feature = order[turn] as usize;
        let coin = mix(key, 5) & 1 == 1;
        if bins[feature].is_category() {
            let mut rows_of = [0u32; 256];
            of(feature).for_each(|x| rows_of[usize::from(bin_of(&bins[feature], x))] += 1);
            let mut present: Vec<u8> = (0..=255u8).filter(|b| rows_of[usize::from(*b)] > 0).collect();
            if present.len() < 2 {
                continue;
            }
            present.sort_by_key(|b| mix(!key, u64::from(*b)));
            let last = present.len() - 1;
            let goes =
                |(i, b): &(usize, &u8)| *i == 0 || (*i < last && mix(!key, 512 + u64::from(**b)) & 1 == 1);
            let mut set = [0; 4];
            let mut on_left = 0;
            for (_, bin) in present.iter().enumerate().filter(goes) {
                insert(&mut set, *bin);
                on_left += rows_of[usize::from(*bin)] as usize;
            }
            let fewer_left = on_left * 2 < here.len();
            let absent = (0..=bins[feature].values).filter(|b| fewer_left && rows_of[*b] == 0);
            absent.for_each(|b| insert(&mut set, b as u8));
            return Some(Question { feature, threshold: 0.0, set: Some(set), missing_left: false });
        }
        let (low, high, missing) = of(feature)
            .fold((f64::INFINITY, f64::NEG_INFINITY, 0), |(low, high, missing), x| {
                (low.min(x), high.max(x), missing + usize::from(x.is_nan()))
            });
        if missing == here.len() || (low >= high && missing == 0) {
            continue;
        }
        if low >= high {
            // Present or missing is all that tells rows apart.
            return Some(Question { feature, threshold: f64::INFINITY, set: None, missing_left: false });
        }
        let (from, to) = (low.max(-1e300), high.min(1e300));
        let drawn = from + (to - from) * unit(mix(key, 6));
        let threshold = if drawn >= low && drawn < high { drawn } else { low };
        let on_left = of(feature).filter(|x| *x <= threshold).count();
        let missing_left = if missing > 0 { coin } else { on_left * 2 < here.len() };
        return Some(Question { feature, threshold, set: None, missing_left });
    }
    None
}

/// A trained isolation forest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Isolation {
    /// The trees; a leaf has the path length of its rows.
    trees: Trees,
    /// Rows that each tree was grown from.
    samples: u64,
    /// The score that the wanted share of training rows exceeds.
    threshold: Option<f64>,
}

impl Model for Isolation {
    fn outputs(&self) -> usize {
        1
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        out.fill(0.0);
        let (trees, features) = (&self.trees, chunk.width());
        let value = |leaf: u32| trees.nodes[leaf as usize].value;
        if features == 0 {
            out.iter_mut().for_each(|out| trees.roots.iter().for_each(|root| *out += value(*root)));
        } else {
            for (x, out) in chunk.x.chunks(BLOCK * features).zip(out.chunks_mut(BLOCK)) {
                for root in &trees.roots {
                    for (x, out) in x.chunks(ABREAST * features).zip(out.chunks_mut(ABREAST)) {
                        if x.len() == ABREAST * features {
                            let leaves = trees.leaves(*root, x, features);
                            out.iter_mut().zip(leaves).for_each(|(out, leaf)| *out += value(leaf));
                        } else {
                            for (row, out) in x.chunks_exact(features).zip(out) {
                                *out += value(trees.leaf(*root, row));
                            }
                        }
                    }
                }
            }
        }
        let usual = path_length(self.samples as f64) * trees.len() as f64;
        for out in out {
            *out = (-if usual > 0.0 { *out / usual } else { 1.0 }).exp2();
        }
        Ok(())
    }

    fn validate(&self, schema: &Schema) -> Result<()> {
        if schema.task != Task::Anomaly || self.trees.is_empty() {
            return Err(damaged("they are not of this model's shape"));
        }
        if self.trees.nodes.iter().any(|n| n.child == 0 && n.value < 0.0)
            || self.threshold.is_some_and(|t| !(0.0..=1.0).contains(&t))
        {
            return Err(damaged("a path has no length"));
        }
        self.trees.validate(schema)
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        let leaves = self.trees.nodes.iter().filter(|n| n.child == 0).count();
        let mut facts = vec![
            ("trees".into(), self.trees.len().to_string()),
            ("leaves".into(), leaves.to_string()),
            ("rows a tree".into(), self.samples.to_string()),
        ];
        if let Some(threshold) = self.threshold {
            facts.push(("threshold".into(), format!("{threshold:.6}")));
        }
        facts
    }
}
