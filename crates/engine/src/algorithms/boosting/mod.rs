//! Histogram gradient boosting: regression, two classes, many classes; missing values and categories as they are.
//!
//! Friedman 2001, with LightGBM's choices (Ke et al. 2017): leaf-wise trees on binned values, sums of the smaller
//! child only. Gradients are integers, so sums are exact: the model does not depend on threads or shards.
//!
//! ```text
//!  Sketch ──▶ (Sketch, finer) ──▶ Start ──▶ Root ──▶ Grow ──▶ Grow ─ ─▶ Root ─ ─▶ Final
//!  counts of values               bins,     gradients, sums   splits    next tree  last losses
//!                                 targets   of the root
//! ```
//!
//! - [`super::trees`] counts values, turns them into bytes, and holds grown trees; [`histogram`] sums gradients over
//!   bytes that [`lanes`] may let features share; [`split`] finds splits;
//! - [`grow`] is the job's side of a tree, [`shard`] the shard's; [`loss`] has the objectives; [`model`] scores.

mod grow;
mod histogram;
mod lanes;
mod loss;
mod model;
mod params;
mod shard;
mod split;

use super::trees::bins::Bins;
use super::trees::nodes::Trees;
use super::trees::sketch::{self, Cell, Counts, Refine, add_all};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::Values;
use crate::schema::{Chunk, Schema, Task};
use grow::{Growth, Nodes};
use histogram::Units;
use loss::{Facts, Losses, Targets};
pub use model::Boosted;
use params::{Objective, Params};
use serde::{Deserialize, Serialize};
use shard::Local;

/// The learner.
pub struct Boosting;

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Count values, coarsely or (with `State::refine`) more finely.
    Sketch,
    /// Bin the rows, sum the targets.
    Start,
    /// Begin a tree: gradients, losses, sums of the root.
    Root,
    /// Split nodes.
    Grow,
    /// Only the losses after the last tree.
    Final,
}

/// What a round starts from.
#[derive(Serialize, Deserialize)]
pub struct State {
    phase: Phase,
    refine: Vec<Vec<Refine>>,
    facts: Facts,
    bins: Vec<Bins>,
    model: Boosted,
    growth: Growth,
    /// The leaves of the model's last tree, by its numbers in growth.
    finished: Vec<(u32, f64)>,
    #[serde(skip)]
    job: Work,
}

/// What the job alone needs to know.
#[derive(Default)]
struct Work {
    counts: Vec<Counts>,
    refined: usize,
    targets: Targets,
    nodes: Nodes,
    /// Trees without a split in this round of trees.
    idle: usize,
    /// A bound of first derivatives.
    max_gradient: f64,
    /// The round with the least loss of the rows held out, and that loss.
    best: Option<(usize, f64)>,
    /// Train loss and held-out loss after each round.
    losses: Vec<(f64, Option<f64>)>,
}

/// What a shard found in a round.
#[derive(Default, Serialize, Deserialize)]
pub struct Partial {
    refined: bool,
    counts: Vec<Counts>,
    facts: Facts,
    targets: Targets,
    losses: Losses,
    max_gradient: f64,
    /// One a wanted node.
    histograms: Vec<Vec<i64>>,
    /// Rows of wanted nodes, or of the left children of wanted splits.
    rows: Vec<u64>,
}

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        let refined = self.refined || other.refined;
        if self.counts.is_empty() {
            self.counts = other.counts;
        } else {
            self.counts.iter_mut().zip(other.counts).for_each(|(a, b)| a.merge(b, refined));
        }
        self.facts.merge(&other.facts);
        self.targets.merge(other.targets);
        self.losses.merge(&other.losses);
        self.max_gradient = self.max_gradient.max(other.max_gradient);
        add_all(&mut self.rows, &other.rows);
        if self.histograms.is_empty() {
            self.histograms = other.histograms;
        } else {
            self.histograms.iter_mut().zip(other.histograms).for_each(|(a, b)| add_all(a, &b));
        }
        Ok(())
    }
}

impl Learner for Boosting {
    const INFO: Info = Info {
        name: "boosting",
        version: 1,
        summary: "Gradient boosted trees on binned values, with missing values and categories as they are.",
        tasks: &[Task::Regression, Task::Classification],
        input: Input::Native,
        sharding: Sharding::Exact,
        params: params::DECLARED,
    };
    type Params = Params;
    type State = State;
    type Local = Local;
    type Partial = Partial;
    type Model = Boosted;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        shard::check_rows(schema.rows)?;
        Params::read(values, schema)
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let rows = shard::bytes_a_row(schema.width(), params.objective.scores()) as u64;
        schema.rows as u64 * rows + Nodes::memory(params, schema.width())
    }

    fn init(params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State {
            phase: Phase::Sketch,
            refine: vec![],
            facts: Facts::default(),
            bins: vec![],
            model: Boosted::new(params.objective),
            growth: Growth::default(),
            finished: vec![],
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

    fn update(params: &Params, mut state: State, total: Partial, cx: &Cx) -> Result<Step<State, Boosted>> {
        match state.phase {
            Phase::Sketch => state.sketched(params, total)?,
            Phase::Start => state.started(params, total)?,
            Phase::Root => {
                if state.model.trees.len().is_multiple_of(params.objective.scores())
                    && state.measured(params, &total, cx)
                {
                    return Ok(Step::Done(state.model));
                }
                state.rooted(params, total, cx)?;
                return state.grown(params, cx);
            }
            Phase::Grow => {
                let State { growth, job, bins, .. } = &mut state;
                job.nodes.take(total.histograms, &total.rows, growth, params, bins)?;
                return state.grown(params, cx);
            }
            Phase::Final => {
                state.measured(params, &total, cx);
                state.keep_best(params);
                return Ok(Step::Done(state.model));
            }
        }
        Ok(Step::Again(state))
    }
}

impl State {
    /// Counts are in: refine them, or choose the bins.
    fn sketched(&mut self, params: &Params, total: Partial) -> Result<()> {
        let features = params.levels.len();
        if self.refine.is_empty() {
            self.facts = total.facts;
            if self.facts.rows == 0 {
                return Err(Error::new(Kind::Data, "there are no rows to learn from")
                    .hint("Check the filter of the training rows."));
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
        let bins =
            std::mem::take(&mut self.job.counts).into_iter().zip(&params.levels).map(|(counts, levels)| {
                let cells: &[Cell] = &counts.cells;
                match levels {
                    None => Bins::numeric(cells, counts.missing, params.max_bin),
                    Some(_) => Bins::category(&counts.levels, counts.missing, params.max_bin),
                }
            });
        self.bins = bins.collect();
        self.model.trees = Trees::new(&self.bins);
        self.phase = Phase::Start;
        Ok(())
    }

    /// Targets are summed: the raw scores to start from.
    fn started(&mut self, params: &Params, total: Partial) -> Result<()> {
        let targets = total.targets;
        if targets.rows == 0 || (params.validation_fraction > 0.0 && targets.held_out == 0) {
            let message = format!(
                "{} rows are left to learn from and {} are held out for early stopping, expected at least one each",
                targets.rows, targets.held_out
            );
            return Err(Error::new(Kind::Data, message)
                .hint("Train on more rows, change validation_fraction, or set early_stopping_round to 0."));
        }
        self.model.base = targets.base(params.objective, &self.facts)?;
        let base = self.model.base.first().copied().unwrap_or(0.0);
        self.job.max_gradient =
            (self.facts.y_max - base).abs().max((self.facts.y_min - base).abs()) * self.facts.w_max;
        self.job.targets = targets;
        self.begin(params);
        Ok(())
    }

    /// Another tree.
    fn begin(&mut self, params: &Params) {
        let (w, rows) = (self.facts.w_max, self.facts.rows);
        let units = match params.objective {
            Objective::Squared if self.facts.weighted => Units::new(self.job.max_gradient, Some(w), rows),
            Objective::Squared => Units::new(self.job.max_gradient, None, rows),
            Objective::Logistic => Units::new(w, Some(w * 0.25), rows),
            Objective::Softmax(k) => Units::new(w, Some(w * 0.25 * k as f64 / (k as f64 - 1.0)), rows),
        };
        self.growth = Growth { units, ..Growth::default() };
        self.phase = Phase::Root;
    }

    /// Losses after the rounds so far are in. Whether early stopping ends the training.
    fn measured(&mut self, params: &Params, total: &Partial, cx: &Cx) -> bool {
        let round = self.model.trees.len() / params.objective.scores();
        let (train, held_out) = total.losses.means(&self.facts, &self.job.targets);
        self.job.losses.push((train, held_out));
        self.job.max_gradient = total.max_gradient;
        self.model.rounds = round;
        (self.model.train_loss, self.model.valid_loss) = (train, held_out);
        if round > 0 {
            cx.observer.metric(round, "train_loss", train);
            cx.observer.progress(round, params.n_estimators, "rounds of trees");
        }
        let Some(loss) = held_out else { return false };
        if round > 0 {
            cx.observer.metric(round, "valid_loss", loss);
        }
        match self.job.best {
            Some((best, least)) if loss >= least || loss.is_nan() => {
                let stop = round - best >= params.early_stopping_round;
                if stop {
                    self.keep_best(params);
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
    fn keep_best(&mut self, _params: &Params) {
        if let Some((round, _)) = self.job.best {
            self.model.truncate(round);
            if let Some((train, held_out)) = self.job.losses.get(round) {
                (self.model.train_loss, self.model.valid_loss) = (*train, *held_out);
            }
        }
    }

    /// The root's sums are in.
    fn rooted(&mut self, params: &Params, total: Partial, cx: &Cx) -> Result<()> {
        let (Some(histogram), Some(rows)) = (total.histograms.into_iter().next(), total.rows.first()) else {
            return Err(Error::internal("the shards did not sum the root"));
        };
        let allowed = self.features(params, cx);
        self.job.nodes = Nodes::root(histogram, *rows, allowed, &self.growth, params, &self.bins);
        Ok(())
    }

    /// The features that this tree may use; empty for all.
    fn features(&self, params: &Params, cx: &Cx) -> Vec<bool> {
        let useful = self.bins.iter().filter(|b| b.useful()).count();
        if params.feature_fraction >= 1.0 || useful == 0 {
            return vec![];
        }
        let wanted = ((useful as f64 * params.feature_fraction).round() as usize).clamp(1, useful);
        let stream = !(self.model.trees.len() as u64);
        let mut order: Vec<usize> = (0..useful).collect();
        order.sort_by(|a, b| {
            loss::draw(cx.seed, stream, *a as u64)
                .total_cmp(&loss::draw(cx.seed, stream, *b as u64))
                .then(a.cmp(b))
        });
        let mut allowed = vec![false; useful];
        order.iter().take(wanted).for_each(|f| allowed[*f] = true);
        allowed
    }

    /// Splits the next nodes; or ends the tree, and begins the next one, or ends the training.
    fn grown(mut self, params: &Params, cx: &Cx) -> Result<Step<State, Boosted>> {
        self.phase = Phase::Grow;
        if self.job.nodes.plan(&mut self.growth, params) {
            return Ok(Step::Again(self));
        }
        self.finished = self.job.nodes.harvest(&self.growth, params, &self.bins, &mut self.model.trees);
        if u32::try_from(self.model.trees.nodes.len()).is_err() {
            let message = "the trees have more than 4294967295 nodes";
            return Err(Error::new(Kind::Parameter, message).hint("Lower n_estimators or num_leaves."));
        }
        let k = params.objective.scores();
        self.job.idle = if self.finished.len() == 1 { self.job.idle + 1 } else { 0 };
        let largest = self.finished.iter().map(|f| f.1.abs()).fold(0.0, f64::max);
        self.job.max_gradient += largest * self.facts.w_max;
        if !self.model.trees.len().is_multiple_of(k) {
            self.begin(params);
            return Ok(Step::Again(self));
        }
        let rounds = self.model.trees.len() / k;
        if self.job.idle >= k && params.bagging_fraction >= 1.0 && params.feature_fraction >= 1.0 {
            self.model.truncate(rounds - 1);
            self.keep_best(params);
            let message = format!("boosting stopped after {} rounds: no split gains anything", rounds - 1);
            cx.observer.warning(&message);
            return Ok(Step::Done(self.model));
        }
        self.begin(params);
        if rounds >= params.n_estimators {
            self.phase = Phase::Final;
        }
        Ok(Step::Again(self))
    }
}
