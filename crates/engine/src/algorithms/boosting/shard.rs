//! What a shard does in a round, and what it keeps between rounds: its rows as bins, their scores, and where each
//! node's rows lie.
//!
//! All of it is a cache. A shard that lost it is offered its rows again, bins them, adds up the trees of the model
//! and repeats the splits of the tree in growth; the same code does that and the ordinary step of one round.

use super::super::trees::sketch::{Finer, Tally};
use super::histogram::{Layout, Panels};
use super::loss::{self, BLOCK, Block, Facts};
use super::model::Boosted;
use super::objective::Objective;
use super::params::Params;
use super::rank::Queries;
use super::tree::{Desk, Found, Tree};
use super::{Partial, Phase, State};
use crate::error::{Error, Kind, Result};
use crate::lean::Lean;
use crate::learner::{Cx, Model};
use crate::run::Buffers;
use crate::schema::Chunk;
use rayon::prelude::*;
use std::ops::Range;

/// A shard's cache.
#[derive(Default)]
pub struct Local {
    pub(super) tallies: Vec<Tally>,
    pub(super) finer: Vec<Finer>,
    /// Whether the rows below are complete.
    pub(super) ready: bool,
    pub(super) rows: usize,
    pub(super) panels: Panels,
    pub(super) y: Lean,
    pub(super) weight: Vec<f64>,
    /// Random bits of a row, from its content: how its gradients are rounded.
    pub(super) noise: Vec<u32>,
    /// Rows held out; empty where none is.
    pub(super) held_out: Vec<bool>,
    /// The group of each row, where rows are ranked.
    pub(super) group: Vec<u64>,
    pub(super) queries: Option<Queries>,
    /// Both derivatives of each row at the start of tree `derived_of`, of objectives that hold them; and what `goss`
    /// ranks the rows by.
    pub(super) derived: Vec<[f64; 2]>,
    pub(super) derived_of: Option<usize>,
    pub(super) importance: Vec<f64>,
    /// The number of the row at each place where numbering starts anew.
    pub(super) numbers: Vec<(usize, u64)>,
    /// Raw scores of the rows after `trees` trees, for each class.
    pub(super) scores: Vec<Vec<f64>>,
    pub(super) trees: usize,
    /// Probabilities of three or more classes at the start of the round of trees, for each class.
    pub(super) chances: Vec<Vec<f32>>,
    /// The trees in growth: the number of the first, and what each knows.
    pub(super) tree: Option<usize>,
    pub(super) growing: Vec<Tree>,
    pub(super) desks: Buffers<Desk>,
}

impl Local {
    /// Whether the next round can go on from here.
    pub fn usable(&self, state: &State) -> bool {
        let trees = state.model.trees.len();
        match state.phase {
            Phase::Sketch => false,
            _ if !self.ready => false,
            _ => {
                self.trees == trees
                    || (self.trees + state.finished.len() == trees && self.tree == Some(self.trees))
            }
        }
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
            Phase::Sketch if state.refine.is_empty() => self.count(params, chunk, &mut partial.facts, cx),
            Phase::Sketch => self.count_finer(state, chunk, cx),
            _ => self.bin(params, state, chunk, cx),
        }
    }

    fn count(&mut self, params: &Params, chunk: &Chunk, facts: &mut Facts, cx: &Cx) -> Result<()> {
        if self.tallies.is_empty() {
            self.tallies = params.levels.iter().map(|l| Tally::new(*l)).collect();
        }
        if params.objective == Objective::Lambdarank && chunk.group.len() != chunk.rows {
            return Err(Error::new(Kind::Parameter, "there is no column of groups to rank within")
                .hint("Name the column of queries: group_column => 'query'."));
        }
        facts.add(params.objective, chunk)?;
        let width = params.levels.len().max(1);
        for x in chunk.x.chunks(BLOCK * width) {
            cx.check()?;
            for (f, tally) in self.tallies.iter_mut().enumerate() {
                tally.count(x[f..].iter().step_by(width).copied());
            }
        }
        Ok(())
    }

    fn count_finer(&mut self, state: &State, chunk: &Chunk, cx: &Cx) -> Result<()> {
        if self.finer.is_empty() {
            self.finer = state.refine.iter().map(|r| Finer::new(r)).collect();
        }
        let width = state.refine.len().max(1);
        for x in chunk.x.chunks(BLOCK * width) {
            cx.check()?;
            for (f, (refine, cells)) in state.refine.iter().zip(&mut self.finer).enumerate() {
                if !refine.is_empty() {
                    cells.count(refine, x[f..].iter().step_by(width).copied());
                }
            }
        }
        Ok(())
    }

    /// Turns rows into bins, and gives them the scores of the model so far.
    fn bin(&mut self, params: &Params, state: &State, chunk: &Chunk, cx: &Cx) -> Result<()> {
        if self.ready {
            *self = Local::default();
        }
        let layout = Layout::new(&state.bins);
        if self.rows == 0 {
            self.panels = Panels::new(layout.features.len(), chunk.rows);
        }
        let (from, width) = (self.rows, params.levels.len().max(1));
        self.panels.grow(chunk.rows);
        for (block, x) in chunk.x.chunks(BLOCK * width).enumerate() {
            cx.check()?;
            for (lane, f) in layout.features.iter().enumerate() {
                let values = x[*f as usize..].iter().step_by(width).copied();
                state.bins[*f as usize].fill(values, self.panels.column_mut(lane, from + block * BLOCK));
            }
        }
        self.y.extend(chunk.y);
        if state.facts.weighted {
            let facts = &state.facts;
            self.weight.extend((0..chunk.rows).map(|i| facts.weight(chunk.y[i], chunk.weight(i))));
        }
        self.noise.extend((0..chunk.rows).map(|i| loss::noise(chunk.row(i), chunk.y[i], chunk.weight(i))));
        self.numbers.push((from, chunk.first));
        if params.validation_fraction > 0.0 {
            let held_out = |n: u64| loss::draw(cx.seed, 0, n) < params.validation_fraction;
            if params.objective == Objective::Lambdarank {
                // Whole queries.
                self.held_out.extend(chunk.group.iter().map(|g| held_out(*g)));
            } else {
                self.held_out.extend((chunk.first..chunk.first + chunk.rows as u64).map(held_out));
            }
        }
        if params.objective == Objective::Lambdarank {
            self.group.extend_from_slice(chunk.group);
        }
        self.rows += chunk.rows;
        // Scores: of a round of trees in growth, the probabilities are those at its start.
        let k = state.model.base.len();
        let trees = state.model.trees.len();
        let start = trees / k * k;
        if trees > 0 {
            self.scores.resize(k, vec![]);
            self.chances.resize(if start < trees { k } else { 0 }, vec![]);
            for (at, x) in chunk.x.chunks(BLOCK * width).enumerate() {
                cx.check()?;
                let rows = BLOCK.min(chunk.rows - at * BLOCK);
                let mut scores: Vec<f64> = (0..rows).flat_map(|_| state.model.base.iter().copied()).collect();
                state.model.add_trees(0, start, x, width, &mut scores, k);
                if start < trees {
                    let begin = from + at * BLOCK;
                    let columns: Vec<Vec<f64>> =
                        (0..k).map(|c| scores.iter().skip(c).step_by(k).copied().collect()).collect();
                    self.chances.iter_mut().for_each(|c| c.resize(begin + rows, 0.0));
                    let chances = self.chances.iter_mut().map(|c| &mut c[begin..]);
                    loss::softmax(columns.iter().map(|c| &c[..]), chances, &mut Block::default());
                    state.model.add_trees(start, trees, x, width, &mut scores, k);
                }
                for (class, column) in self.scores.iter_mut().enumerate() {
                    column.extend(scores.iter().skip(class).step_by(k));
                }
            }
        }
        self.trees = trees;
        Ok(())
    }

    /// Ends the shard's round.
    pub fn finish(&mut self, params: &Params, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        match state.phase {
            Phase::Sketch if state.refine.is_empty() => {
                partial.counts = std::mem::take(&mut self.tallies).into_iter().map(Tally::counts).collect();
                return Ok(());
            }
            Phase::Sketch => {
                partial.counts = std::mem::take(&mut self.finer).into_iter().map(Finer::counts).collect();
                return Ok(());
            }
            _ => {}
        }
        if !self.ready && self.rows == 0 {
            self.trees = state.model.trees.len();
            self.panels = Panels::new(Layout::new(&state.bins).features.len(), 0);
        }
        if !self.ready {
            self.panels.share(&Layout::new(&state.bins), cx)?;
            self.ready = true;
        }
        if !self.usable(state) {
            return Err(Error::internal("a shard was not offered the rows that it had lost"));
        }
        match state.phase {
            Phase::Start => return self.sum_targets(params, state, partial, cx),
            Phase::Base => return self.search_targets(state, partial, cx),
            _ => {}
        }
        if self.scores.is_empty() {
            self.scores = state.model.base.iter().map(|base| vec![*base; self.rows]).collect();
        }
        if self.trees < state.model.trees.len() {
            self.add_grown_trees(state, cx)?;
        }
        match state.phase {
            Phase::Measure => return self.derive(params, state, partial, cx),
            Phase::Final if params.holds_derivatives() => return self.derive(params, state, partial, cx),
            Phase::Sample => {
                self.derive(params, state, &mut Partial::default(), cx)?;
                return self.search_importance(state, partial, cx);
            }
            _ => {}
        }
        if self.tree != Some(self.trees) {
            self.begin_trees(params, state, partial, cx)?;
        }
        let layout = Layout::new(&state.bins);
        let Local { growing, panels, desks, .. } = self;
        // Shards have more or fewer of the rows that are to be summed: a thread that is done helps out with another's trees.
        let trees = growing.par_iter_mut().zip(&state.growth).with_max_len(1).map(|(tree, growth)| {
            desks.lend(|desk| {
                let mut found = Found::default();
                if state.phase == Phase::Root {
                    tree.root(&growth.units, panels, &layout, desk, &mut found, cx)?;
                }
                tree.split(growth, panels, &layout, desk, &mut found, cx)?;
                Ok(found)
            })
        });
        for found in trees.collect::<Result<Vec<Found>>>()? {
            partial.grown.histograms.extend(found.histograms);
            partial.grown.rows.extend(found.rows);
        }
        match state.phase {
            Phase::Quantiles => self.search_residuals(state, partial, cx),
            _ => Ok(()),
        }
    }

    /// Writes what a finished model answers for the rows, unless it is not the one that the scores are of.
    pub fn outputs(mut self, model: &Boosted, out: Vec<&mut [f64]>) -> bool {
        let (rows, scores) = (self.rows, std::mem::take(&mut self.scores));
        let width = model.outputs();
        let known = self.ready && self.trees == model.trees.len() && scores.len() == model.base.len();
        if !known || out.iter().map(|part| part.len()).sum::<usize>() != rows * width {
            return false;
        }
        // Its memory goes before that of the answers comes.
        drop(self);
        let mut from = 0;
        for part in out {
            let rows = from..from + part.len() / width.max(1);
            for (class, scores) in scores.iter().enumerate() {
                let places = part.iter_mut().skip(class).step_by(width);
                places.zip(&scores[rows.clone()]).for_each(|(out, score)| *out = *score);
            }
            model.answer(part);
            from = rows.end;
        }
        true
    }

    fn sum_targets(&mut self, params: &Params, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        let mut first = vec![];
        if params.objective == Objective::Lambdarank {
            first.resize(self.rows, 0.0);
            self.queries(params).firsts().for_each(|row| first[row as usize] = 1.0);
        }
        for (i, y) in self.y.iter().enumerate() {
            if i % 4096 == 0 {
                cx.check()?;
            }
            // Scores are there already where a training goes on from a model.
            if let [scores] = &self.scores[..]
                && let Some(score) = scores.get(i)
            {
                let w = self.weight.get(i).copied().unwrap_or(1.0);
                partial.max_gradient = partial.max_gradient.max(((score - y) * w).abs());
            }
            // A query counts once, by its first row.
            let w = first.get(i).or(self.weight.get(i)).copied().unwrap_or(1.0);
            partial.targets.add(params.objective, &state.facts, y, w, self.held_out.get(i) == Some(&true));
        }
        Ok(())
    }

    /// Adds the values of the trees that have just been grown.
    fn add_grown_trees(&mut self, state: &State, cx: &Cx) -> Result<()> {
        for (tree, leaves) in self.growing.iter().zip(&state.finished) {
            let class = self.trees % state.model.base.len();
            tree.add_values(leaves, &self.panels, &mut self.scores[class], cx)?;
            self.trees += 1;
        }
        Ok(())
    }

    /// Gradients of new trees, and the rows that they learn from. At the start of a round of trees also the losses.
    fn begin_trees(&mut self, params: &Params, state: &State, partial: &mut Partial, cx: &Cx) -> Result<()> {
        let k = state.model.base.len();
        let (round, first) = (self.trees / k, self.trees % k);
        self.growing.resize_with(state.growth.len(), Tree::default);
        self.growing
            .iter_mut()
            .zip(&state.growth)
            .for_each(|(t, growth)| t.make_room(self.rows, &growth.units));
        self.tree = Some(self.trees);
        if params.holds_derivatives() {
            self.derive(params, state, partial, cx)?;
            self.pack(state, cx)?;
        } else {
            self.pack_derived(params, state, first, partial, cx)?;
        }
        let mut rows = self.growing.first_mut().map_or(vec![], |tree| std::mem::take(&mut tree.order));
        self.choose_rows(params, state, round, cx.seed, &mut rows);
        let Some((one, others)) = self.growing.split_first_mut() else {
            return Err(Error::corrupt("the state has no tree in growth"));
        };
        others.iter_mut().for_each(|tree| tree.plant(rows.clone()));
        one.plant(rows);
        Ok(())
    }

    /// Makes and rounds derivatives of the classes from `first` on.
    fn pack_derived(
        &mut self,
        params: &Params,
        state: &State,
        first: usize,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        let k = state.model.base.len();
        let per_unit = 1.0 / state.facts.loss_unit(params.objective);
        let mut block = Block::default();
        let mut room = [0.0; BLOCK];
        for from in (0..self.rows).step_by(BLOCK) {
            cx.check()?;
            let rows = from..(from + BLOCK).min(self.rows);
            if k > 1 && first == 0 {
                self.find_chances(rows.clone(), &mut block);
            }
            let y = self.y.block(rows.clone(), &mut room);
            let weight = self.weight.get(rows.clone()).filter(|w| !w.is_empty());
            for (i, (tree, growth)) in self.growing.iter_mut().zip(&state.growth).enumerate() {
                let class = first + i;
                match params.objective {
                    Objective::Squared => block.squared(&self.scores[0][rows.clone()], y),
                    Objective::Logistic => block.logistic(&self.scores[0][rows.clone()], y),
                    _ => block.softmax(&self.chances[class][rows.clone()], y, class, k),
                }
                if let Some(weight) = weight {
                    block.weigh(weight);
                }
                if class == 0 {
                    let held_out = self.held_out.get(rows.clone()).unwrap_or_default();
                    partial.losses.add(&block.few(rows.len(), per_unit, held_out));
                    partial.max_gradient = partial.max_gradient.max(block.max_gradient(rows.len()));
                }
                let salt = loss::salt(cx.seed, self.trees + i);
                tree.pack(rows.clone(), &block, &growth.units, &self.noise, salt);
            }
        }
        Ok(())
    }

    /// The probabilities of the classes for up to [`BLOCK`] rows by their scores; their losses stand in `block` then.
    pub(super) fn find_chances(&mut self, rows: Range<usize>, block: &mut Block) {
        let Local { chances, scores, y, .. } = self;
        chances.resize(scores.len(), vec![]);
        chances.iter_mut().for_each(|c| c.resize(self.rows, 0.0));
        let chances = chances.iter_mut().map(|c| &mut c[rows.clone()]);
        loss::softmax(scores.iter().map(|s| &s[rows.clone()]), chances, block);
        block.lose(y.block(rows.clone(), &mut [0.0; BLOCK]), |row, class| scores[class][rows.start + row]);
    }

    fn choose_rows(&self, params: &Params, state: &State, round: usize, seed: u64, order: &mut Vec<u32>) {
        order.clear();
        let bagging = params.bagging.iter().any(|share| *share < 1.0);
        let stream = (round / params.bagging_freq * params.bagging_freq) as u64 + 1;
        if !bagging && state.sample.is_none() && self.held_out.is_empty() {
            order.extend(0..self.rows as u32);
            return;
        }
        let ends = self.numbers.iter().skip(1).map(|n| n.0).chain([self.rows]);
        for ((from, first), to) in self.numbers.iter().zip(ends) {
            for row in *from..to {
                let number = first + (row - from) as u64;
                let held_out = self.held_out.get(row) == Some(&true);
                let share = match &state.sample {
                    Some(sample) if self.importance[row] < sample.threshold => sample.share,
                    Some(_) => 1.0,
                    None => params.bagging[usize::from(self.y.at(row) == 1.0)],
                };
                let left_out = share < 1.0 && loss::draw(seed, stream, number) >= share;
                if !held_out && !left_out {
                    order.push(row as u32);
                }
            }
        }
    }
}

/// An estimate of a shard's bytes a row.
pub fn bytes_a_row(features: usize, params: &Params) -> usize {
    let scores = params.objective.scores();
    let chances = if scores > 1 { scores * 4 } else { 0 };
    let held = if params.holds_derivatives() { 16 + 8 + 8 + 16 } else { 0 };
    let target = if params.objective.classes().is_some_and(|k| k <= 256) { 1 } else { 8 };
    features.next_multiple_of(4)
        + target
        + 8
        + 4
        + 1
        + scores * 8
        + chances
        + (8 + 4) * params.abreast(0)
        + 4
        + held
}

/// Refuses more rows in one shard than row numbers can name.
pub fn check_rows(rows: usize) -> Result<()> {
    if rows > u32::MAX as usize {
        let message = format!("{rows} rows, expected at most {}", u32::MAX);
        return Err(Error::new(Kind::Unsupported, message).hint("Train on a sample of the rows."));
    }
    Ok(())
}
