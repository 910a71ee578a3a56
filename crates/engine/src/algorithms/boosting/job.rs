//! The job's side of a training: what follows from the sums of a round, and which round comes next.

use super::super::trees::bins::Bins;
use super::super::trees::nodes::Trees;
use super::super::trees::sketch::{self, Cell, Counts};
use super::grow::{self, Growth, Nodes};
use super::histogram::{Layout, Panels, Units};
use super::loss;
use super::model::Boosted;
use super::objective::Objective;
use super::params::Params;
use super::select::{self, Search, Sought};
use super::shard::Local;
use super::tree::{Desk, Found, Tree};
use super::{Partial, Phase, Sample, State};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Step};
use crate::run::Buffers;
use rayon::prelude::*;

/// Up to so many rows, gradients have 31 bits instead of 19, for 19 leave a trace in leaf values. On more rows the
/// rounding, which is fair, averages out, and wider sums would take longer.
const FEW: u64 = 20_000;

/// Bits by which the gradients of more than [`CLASSES`] classes are coarser on more rows.
const COARSER: u32 = 4;

/// Of three classes up to so many, gradients have 31 bits on any number of rows: where few rows are of a class, the
/// second derivatives of most others are so small that with 19 bits leaves get values that are far off (measured on
/// covertype: a log loss of 1.08 on rows held out instead of .35).
const CLASSES: usize = 8;

/// Whether a tree is of one of so few classes.
pub(super) fn few_classes(objective: Objective) -> bool {
    (2..=CLASSES).contains(&objective.scores())
}

/// A tree in growth in one of the shards.
struct Shard<'a> {
    tree: &'a mut Tree,
    panels: &'a Panels,
    desks: &'a Buffers<Desk>,
}

impl State {
    /// Begins with the trees of a model.
    ///
    /// # Errors
    /// `Kind::Parameter` when it minimised another objective.
    pub(super) fn go_on_from(&mut self, params: &Params, model: Boosted) -> Result<()> {
        if model.objective() != params.objective.name() {
            let (before, now) = (model.objective(), params.objective.name());
            let message = format!("the objective is \"{now}\", and that of init_model is \"{before}\"");
            return Err(Error::new(Kind::Parameter, message)
                .hint(format!("Give params => '{{\"objective\": \"{before}\"}}'.")));
        }
        // A model without trees knows nothing.
        if !model.trees.is_empty() {
            self.job.from = model.trees.len() / params.objective.scores();
            self.model = model;
            self.model.forget_layout();
        }
        Ok(())
    }

    /// Counts are in: refine them, or choose the bins.
    pub(super) fn sketched(&mut self, params: &Params, total: Partial) -> Result<()> {
        let features = params.levels.len();
        if self.refine.is_empty() {
            self.facts = total.facts;
            if self.facts.rows == 0 {
                return Err(Error::new(Kind::Data, "there are no rows to learn from")
                    .hint("Check the filter of the training rows."));
            }
            self.weigh_classes(params);
            if params.objective == Objective::Lambdarank && self.facts.y_max >= params.rank.gains.len() as f64
            {
                let (found, known) = (self.facts.y_max, params.rank.gains.len());
                let message =
                    format!("a relevance is {found}, and label_gain has {known} values, from relevance 0");
                return Err(Error::new(Kind::Data, message).hint("Give a value for each relevance."));
            }
            self.job.counts = total.counts;
            self.job.counts.resize_with(features, Counts::default);
        } else {
            for ((counts, refine), finer) in self.job.counts.iter_mut().zip(&self.refine).zip(total.counts) {
                sketch::replace(&mut counts.cells, refine, &finer.cells);
            }
            self.job.refined += 1;
        }
        let rows = self.facts.rows;
        let refine = self
            .job
            .counts
            .iter()
            .map(|c| if c.coarse { sketch::refinements(&c.cells, rows, params.max_bin) } else { vec![] });
        self.refine = refine.collect();
        if self.job.refined < sketch::REFINEMENTS && self.refine.iter().any(|r| !r.is_empty()) {
            return Ok(());
        }
        self.refine.clear();
        let known = &self.model.trees.levels;
        let counts = std::mem::take(&mut self.job.counts);
        let bins = counts.into_iter().zip(&params.levels).enumerate().map(|(f, (counts, levels))| {
            let cells: &[Cell] = &counts.cells;
            match (levels, known.get(f)) {
                (None, _) => Bins::numeric(cells, counts.missing, params.max_bin),
                (Some(_), None) => Bins::category(&counts.levels, counts.missing, params.max_bin),
                // One table of bins serves all trees: that of the model which the training goes on from.
                (Some(_), Some((bins, other))) => {
                    Bins::category_in(bins, *other, &counts.levels, counts.missing)
                }
            }
        });
        self.bins = bins.collect();
        if self.job.from == 0 {
            self.model.trees = Trees::new(&self.bins);
        }
        self.phase = Phase::Start;
        Ok(())
    }

    /// Weighs two classes as the parameters say.
    fn weigh_classes(&mut self, params: &Params) {
        let (positives, rows) = (self.facts.positives, self.facts.rows);
        let weight = match params.scale_pos_weight {
            Some(scale) => [1.0, scale],
            None if positives == 0 || positives == rows => [1.0; 2],
            None => {
                let (zero, one) = ((rows - positives) as f64, positives as f64);
                [(one / zero).max(1.0), (zero / one).max(1.0)]
            }
        };
        self.facts.weigh_classes(weight);
    }

    /// Begins searches. The next rounds are theirs.
    fn search(&mut self, phase: Phase, searches: Vec<Search>) {
        self.ranges = searches.iter().map(Search::range).collect();
        self.job.searches = searches;
        self.phase = phase;
    }

    /// A round of searches is in. Whether there is another.
    pub(super) fn searched(&mut self, total: &Partial) -> bool {
        let again = select::narrow(&mut self.job.searches, &total.cells);
        self.ranges = self.job.searches.iter().map(Search::range).collect();
        again
    }

    fn quantile(&self, alpha: f64) -> Sought {
        if self.facts.weighted { Sought::Weighted(alpha) } else { Sought::Quantile(alpha) }
    }

    /// Targets are summed: the raw scores to start from.
    pub(super) fn started(&mut self, params: &Params, total: Partial) -> Result<()> {
        let targets = total.targets;
        if targets.rows == 0 || (params.validation_fraction > 0.0 && targets.held_out == 0) {
            let message = format!(
                "{} rows are left to learn from and {} are held out for early stopping, expected at least one each",
                targets.rows, targets.held_out
            );
            return Err(Error::new(Kind::Data, message)
                .hint("Train on more rows, change validation_fraction, or set early_stopping_round to 0."));
        }
        if self.job.from > 0 {
            self.job.targets = targets;
            self.job.max_gradient = total.max_gradient;
            self.begin(params);
            return Ok(());
        }
        self.model.base = targets.base(params.objective, &self.facts)?;
        self.job.targets = targets;
        match params.objective.leaf_quantile() {
            _ if !params.boost_from_average => self.model.base.fill(0.0),
            Some(alpha) => {
                let search = Search::new(self.quantile(alpha), self.facts.y_min, self.facts.y_max);
                self.search(Phase::Base, vec![search]);
                return Ok(());
            }
            None => {}
        }
        self.began(params);
        Ok(())
    }

    /// The raw scores to start from are known.
    pub(super) fn began(&mut self, params: &Params) {
        let base = self.model.base.first().copied().unwrap_or(0.0);
        self.job.max_gradient =
            (self.facts.y_max - base).abs().max((self.facts.y_min - base).abs()) * self.facts.w_max;
        self.begin(params);
    }

    /// Another tree.
    fn begin(&mut self, params: &Params) {
        if params.measures() && self.model.trees.len().is_multiple_of(params.objective.scores()) {
            self.sample = None;
            self.phase = Phase::Measure;
        } else {
            self.root(params);
        }
    }

    /// Gradients are measured: which rows to learn from, or the root.
    pub(super) fn sample(&mut self, params: &Params, total: &Partial) {
        (self.job.max_hessian, self.job.max_importance) = (total.max_hessian, total.max_importance);
        let round = self.model.trees.len() / params.objective.scores();
        let rows = self.job.targets.rows as f64;
        // As in LightGBM, the first rounds see all rows.
        if let Some([top, other]) = params.goss
            && round >= (1.0 / params.learning_rate) as usize
        {
            let top = (rows * top).floor().max(1.0);
            let share = (rows * other).floor().max(1.0) / (rows - top).max(1.0);
            self.sample = Some(Sample { threshold: 0.0, share: share.min(1.0) });
            let search = Search::new(Sought::Greatest(top as u64), 0.0, self.job.max_importance);
            self.search(Phase::Sample, vec![search]);
        } else {
            self.root(params);
        }
    }

    /// The root of another tree, with the units of its gradients.
    pub(super) fn root(&mut self, params: &Params) {
        let (w, rows) = (self.facts.w_max, self.facts.rows);
        let measured = self.job.max_gradient;
        let (g, h) = match params.objective {
            Objective::Squared => (measured, 1.0),
            Objective::Huber { alpha } => (measured.min(alpha * w), 1.0),
            Objective::Absolute | Objective::Quantile { .. } => (w, 1.0),
            Objective::Logistic => (w, 0.25),
            Objective::Softmax(k) => (w, 0.25 * k as f64 / (k as f64 - 1.0)),
            _ => (measured, self.job.max_hessian / w),
        };
        let times = self.sample.map_or(1.0, |s| 1.0 / s.share);
        let constant = params.objective.constant_hessian() && !self.facts.weighted && params.goss.is_none();
        let units = Units::new(g * times, (!constant).then_some(h * w * times), rows);
        // Without a bound, one row's derivatives may dwarf all others'.
        let units = if rows <= FEW || !params.objective.bounded() || few_classes(params.objective) {
            units.finer()
        } else if params.objective.scores() > CLASSES {
            // Of many classes most rows belong clearly to others: with coarser units their derivatives are mostly 0, and
            // such rows need no sums.
            units.coarser(COARSER)
        } else {
            units
        };
        let count = params.abreast(self.model.trees.len());
        self.growth = vec![Growth { units, ..Growth::default() }; count];
        self.phase = Phase::Root;
    }

    /// Losses after the rounds so far are in. Whether early stopping ends the training.
    pub(super) fn measured(&mut self, params: &Params, total: &Partial, cx: &Cx) -> bool {
        let round = self.model.trees.len() / params.objective.scores();
        let (train, held_out) = total.losses.means(params.objective, &self.facts, &self.job.targets);
        self.job.losses.push((train, held_out));
        (self.job.max_gradient, self.job.residuals) = (total.max_gradient, total.residuals);
        self.model.rounds = round;
        (self.model.train_loss, self.model.valid_loss) = (train, held_out);
        let from = self.job.from;
        if round > from {
            cx.observer.metric(round, "train_loss", train);
            cx.observer.progress(round, from + params.n_estimators, "rounds of trees");
        }
        let Some(loss) = held_out else { return false };
        if round > from {
            cx.observer.metric(round, "valid_loss", loss);
        }
        match self.job.best {
            Some((best, least)) if loss >= least || loss.is_nan() => {
                let stop = round - best >= params.early_stopping_round;
                if stop {
                    self.keep_best();
                }
                stop
            }
            _ => {
                self.job.best = Some((round, loss));
                false
            }
        }
    }

    /// Drops the rounds behind the one that was best on the rows held out.
    pub(super) fn keep_best(&mut self) {
        if let Some((round, _)) = self.job.best {
            self.model.truncate(round);
            if let Some((train, held_out)) = self.job.losses.get(round - self.job.from) {
                (self.model.train_loss, self.model.valid_loss) = (*train, *held_out);
            }
        }
    }

    /// The roots' sums are in: plans their splits. Whether there are any.
    pub(super) fn rooted(&mut self, params: &Params, total: Partial, cx: &Cx) -> Result<bool> {
        if total.grown.histograms.len() != self.growth.len() || total.grown.rows.len() != self.growth.len() {
            return Err(Error::internal("the shards did not sum the roots"));
        }
        let roots =
            total.grown.histograms.into_par_iter().zip(total.grown.rows).zip(&self.growth).enumerate();
        let nodes = roots.map(|(i, ((histogram, rows), growth))| {
            let tree = self.model.trees.len() + i;
            let salt = loss::mix(loss::mix(cx.seed, 1 << 40), tree as u64);
            let allowed = self.features(params, tree, cx);
            Nodes::root(histogram, rows, allowed, salt, growth, params, &self.bins)
        });
        self.job.nodes = nodes.collect();
        let count = self.growth.len();
        let mut any = false;
        for (nodes, growth) in self.job.nodes.iter_mut().zip(&mut self.growth) {
            any |= nodes.plan(growth, count, params);
        }
        Ok(any)
    }

    /// The children of the last splits are in: plans the next ones. Whether there are any.
    pub(super) fn split(&mut self, params: &Params, total: Partial) -> Result<bool> {
        let State { growth, job, bins, .. } = self;
        let count = growth.len();
        let (mut histograms, mut rows) = (total.grown.histograms.into_iter(), total.grown.rows.into_iter());
        let found: Vec<(Vec<Vec<i64>>, Vec<u64>)> = growth
            .iter()
            .map(|growth| growth.splits.len() - growth.wanted)
            .map(|new| (histograms.by_ref().take(new).collect(), rows.by_ref().take(new).collect()))
            .collect();
        let trees = job.nodes.par_iter_mut().zip(growth).zip(found).with_max_len(1);
        trees
            .map(|((nodes, growth), (histograms, rows))| {
                nodes.take(histograms, &rows, growth, params, bins)?;
                Ok(nodes.plan(growth, count, params))
            })
            .try_reduce(|| false, |one, other| Ok(one | other))
    }

    /// Grows the trees whose next splits are planned to their ends. No tree waits for another one: rounds would cost a
    /// fifth of the time where several trees of some ten thousand rows grow at once.
    pub(super) fn grow_out(
        mut self,
        params: &Params,
        locals: &mut [Local],
        cx: &Cx,
    ) -> Result<Step<State, Boosted>> {
        let State { growth, job, bins, .. } = &mut self;
        let (count, layout) = (growth.len(), Layout::new(bins));
        let mut shards: Vec<Vec<Shard>> = growth.iter().map(|_| vec![]).collect();
        for Local { growing, panels, desks, .. } in locals {
            let (panels, desks) = (&*panels, &*desks);
            shards.iter_mut().zip(growing).for_each(|(of, tree)| of.push(Shard { tree, panels, desks }));
        }
        let trees = job.nodes.par_iter_mut().zip(growth).zip(&mut shards).with_max_len(1);
        trees.try_for_each(|((nodes, growth), shards)| {
            while growth.splits.len() > growth.wanted {
                cx.check()?;
                let parts = shards.par_iter_mut().with_max_len(1).map(|Shard { tree, panels, desks }| {
                    let mut found = Found::default();
                    desks.lend(|desk| tree.split(growth, panels, &layout, desk, &mut found, cx))?;
                    Ok(found)
                });
                let mut total = Found::default();
                parts.collect::<Result<Vec<Found>>>()?.into_iter().for_each(|found| total.merge(found));
                nodes.take(total.histograms, &total.rows, growth, params, bins)?;
                nodes.plan(growth, count, params);
            }
            Ok::<(), Error>(())
        })?;
        self.grown(false, params, cx)
    }

    /// The features that a tree may use; empty for all.
    fn features(&self, params: &Params, tree: usize, cx: &Cx) -> Vec<bool> {
        let useful = self.bins.iter().filter(|b| b.useful()).count();
        if params.feature_fraction >= 1.0 || useful == 0 {
            return vec![];
        }
        let stream = !(tree as u64);
        let mut allowed = vec![true; useful];
        grow::choose(&mut allowed, params.feature_fraction, |f| loss::draw(cx.seed, stream, f));
        allowed
    }

    /// Makes the splits that are planned; where there are none, ends the trees, or first has its leaves' values searched
    /// for.
    pub(super) fn grown(mut self, planned: bool, params: &Params, cx: &Cx) -> Result<Step<State, Boosted>> {
        self.phase = Phase::Grow;
        if planned {
            return Ok(Step::Again(self));
        }
        // Objectives of several scores search no quantiles.
        self.leaves = self.job.nodes.first().map_or(vec![], Nodes::leaves);
        match params.objective.leaf_quantile() {
            Some(alpha) if !self.leaves.is_empty() => {
                let [low, high] = self.job.residuals;
                let search = Search::new(self.quantile(alpha), low, high);
                self.search(Phase::Quantiles, vec![search; self.leaves.len()]);
                Ok(Step::Again(self))
            }
            _ => self.harvested(params, cx),
        }
    }

    /// Takes the finished trees into the model; and begins the next ones, or ends the training.
    pub(super) fn harvested(mut self, params: &Params, cx: &Cx) -> Result<Step<State, Boosted>> {
        let State { job, bins, model, .. } = &mut self;
        let finished = job.nodes.iter().map(|nodes| nodes.harvest(params, bins, &mut model.trees));
        self.finished = finished.collect();
        if u32::try_from(self.model.trees.nodes.len()).is_err() {
            let message = "the trees have more than 4294967295 nodes";
            return Err(Error::new(Kind::Parameter, message).hint("Lower n_estimators or num_leaves."));
        }
        let k = params.objective.scores();
        for leaves in &self.finished {
            self.job.idle = if leaves.len() == 1 { self.job.idle + 1 } else { 0 };
        }
        let largest = self.finished.iter().flatten().map(|f| f.1.abs()).fold(0.0, f64::max);
        self.job.max_gradient += largest * self.facts.w_max;
        if !self.model.trees.len().is_multiple_of(k) {
            self.begin(params);
            return Ok(Step::Again(self));
        }
        let rounds = self.model.trees.len() / k;
        let features = params.feature_fraction.min(params.feature_fraction_bynode) < 1.0;
        if self.job.idle >= k && !params.samples_rows() && !features && !params.split.extra_trees {
            self.model.truncate(rounds - 1);
            self.keep_best();
            let message = format!("boosting stopped after {} rounds: no split gains anything", rounds - 1);
            cx.observer.warning(&message);
            return Ok(Step::Done(self.model));
        }
        self.begin(params);
        if rounds >= self.job.from + params.n_estimators {
            self.phase = Phase::Final;
        }
        Ok(Step::Again(self))
    }
}
