//! Histogram gradient boosting: regression with several losses, classes, ranking; missing values and categories as
//! they are.
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
//! Some objectives add rounds: `Base` searches a quantile of the targets, `Measure` finds how large derivatives are,
//! `Sample` the threshold of gradient-based sampling, `Quantiles` the values of a tree's leaves.
//!
//! - [`super::trees`] counts values, turns them into bytes, and holds grown trees; [`histogram`] sums gradients over
//!   bytes that [`lanes`] may let features share; [`split`] finds splits;
//! - [`job`] decides on rounds, [`grow`] on a tree; [`shard`], [`mod@tree`] and [`mod@derive`] do the shard's part;
//!   [`model`] scores;
//! - [`objective`] has the losses, [`rank`] that of rankings, [`loss`] sums them, [`select`] finds quantiles.

mod declared;
mod derive;
mod grow;
mod histogram;
mod job;
mod lanes;
mod loss;
mod model;
mod objective;
mod params;
mod rank;
mod select;
mod shard;
mod split;
mod tree;

use super::trees::bins::Bins;
use super::trees::sketch::{Counts, Refine};
use crate::error::Result;
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::Values;
use crate::schema::{Chunk, Schema, Task};
use grow::{Growth, Nodes};
use loss::{Facts, Losses, Targets};
pub use model::Boosted;
use params::Params;
use select::{Cells, Range, Search};
use serde::{Deserialize, Serialize};
use shard::Local;
use tree::Found;

/// The learner.
pub struct Boosting;

/// What a round is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Phase {
    /// Count values, coarsely or (with `State::refine`) more finely.
    Sketch,
    /// Bin the rows, sum the targets.
    Start,
    /// Search the quantile of targets to begin with.
    Base,
    /// Begin a tree: how large gradients are, and losses.
    Measure,
    /// Search the gradient from which rows are all learnt from.
    Sample,
    /// Begin a tree: gradients, losses, sums of the root.
    Root,
    /// Split nodes.
    Grow,
    /// Search the quantiles of residuals in the leaves.
    Quantiles,
    /// Only the losses after the last tree.
    Final,
}

/// Which rows gradient-based sampling takes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Sample {
    /// All rows that reach this.
    threshold: f64,
    /// This share of the others.
    share: f64,
}

/// What a round starts from.
#[derive(Serialize, Deserialize)]
pub struct State {
    phase: Phase,
    refine: Vec<Vec<Refine>>,
    facts: Facts,
    bins: Vec<Bins>,
    model: Boosted,
    /// The trees in growth: one, or those of several classes.
    growth: Vec<Growth>,
    /// The leaves of the model's last trees, by their numbers in growth: of those that grew together.
    finished: Vec<Vec<(u32, f64)>>,
    /// The leaves of the tree in growth, once it is known.
    leaves: Vec<u32>,
    /// Where values are searched for.
    ranges: Vec<Range>,
    /// The rows of this round of trees, where they are sampled by gradients.
    sample: Option<Sample>,
    #[serde(skip)]
    job: Work,
}

/// What the job alone needs to know.
#[derive(Default)]
struct Work {
    /// Rounds of the model that the training goes on from.
    from: usize,
    counts: Vec<Counts>,
    refined: usize,
    targets: Targets,
    nodes: Vec<Nodes>,
    /// Trees without a split in this round of trees.
    idle: usize,
    /// A bound of first derivatives.
    max_gradient: f64,
    /// A bound of second derivatives, where they are measured.
    max_hessian: f64,
    /// A bound of what rows are ranked by to be sampled.
    max_importance: f64,
    /// The least and the greatest residual, or values beyond.
    residuals: [f64; 2],
    searches: Vec<Search>,
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
    max_hessian: f64,
    max_importance: f64,
    residuals: [f64; 2],
    cells: Cells,
    /// Of all trees in growth.
    grown: Found,
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
        self.max_hessian = self.max_hessian.max(other.max_hessian);
        self.max_importance = self.max_importance.max(other.max_importance);
        let ([low, high], [other_low, other_high]) = (self.residuals, other.residuals);
        self.residuals = [low.min(other_low), high.max(other_high)];
        self.cells.merge(other.cells);
        self.grown.merge(other.grown);
        Ok(())
    }
}

impl Learner for Boosting {
    const INFO: Info = Info {
        name: "boosting",
        version: 2,
        summary: "Gradient boosted trees on binned values, with missing values and categories as they are.",
        tasks: &[Task::Regression, Task::Classification, Task::Ranking],
        input: Input::Native,
        sharding: Sharding::Exact,
        params: declared::DECLARED,
    };
    type Params = Params;
    type State = State;
    type Local = Local;
    type Partial = Partial;
    type Model = Boosted;
    const RESUMES: bool = true;
    const KEEPS_ROWS: bool = true;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        shard::check_rows(schema.rows)?;
        Params::read(values, schema)
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let rows = shard::bytes_a_row(schema.width(), params) as u64;
        schema.rows as u64 * rows + Nodes::memory(params, schema.width())
    }

    fn init(params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State {
            phase: Phase::Sketch,
            refine: vec![],
            facts: Facts::default(),
            bins: vec![],
            model: Boosted::new(params.objective),
            growth: vec![],
            finished: vec![],
            leaves: vec![],
            ranges: vec![],
            sample: None,
            job: Work::default(),
        })
    }

    fn resume(params: &Params, schema: &Schema, model: Boosted, cx: &Cx) -> Result<State> {
        let mut state = Boosting::init(params, schema, cx)?;
        state.go_on_from(params, model)?;
        Ok(state)
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

    fn advance(params: &Params, state: State, locals: &mut [Local], cx: &Cx) -> Result<Step<State, Boosted>> {
        match state.phase {
            Phase::Grow => state.grow_out(params, locals, cx),
            _ => Ok(Step::Again(state)),
        }
    }

    fn outputs(model: &Boosted, local: Local, out: Vec<&mut [f64]>) -> bool {
        local.outputs(model, out)
    }

    fn update(params: &Params, mut state: State, total: Partial, cx: &Cx) -> Result<Step<State, Boosted>> {
        match state.phase {
            Phase::Sketch => state.sketched(params, total)?,
            Phase::Start => state.started(params, total)?,
            Phase::Base => {
                if !state.searched(&total) {
                    state.model.base = state.job.searches.iter().map(Search::found).collect();
                    state.began(params);
                }
            }
            Phase::Measure => {
                if state.measured(params, &total, cx) {
                    return Ok(Step::Done(state.model));
                }
                state.sample(params, &total);
            }
            Phase::Sample => {
                if !state.searched(&total) {
                    let threshold = state.job.searches.first().map_or(0.0, Search::found);
                    state.sample = state.sample.map(|s| Sample { threshold, ..s });
                    state.root(params);
                }
            }
            Phase::Root => {
                let first = state.model.trees.len().is_multiple_of(params.objective.scores());
                if first && !params.measures() && state.measured(params, &total, cx) {
                    return Ok(Step::Done(state.model));
                }
                let planned = state.rooted(params, total, cx)?;
                return state.grown(planned, params, cx);
            }
            Phase::Grow => {
                let planned = state.split(params, total)?;
                return state.grown(planned, params, cx);
            }
            Phase::Quantiles => {
                if !state.searched(&total) {
                    let State { job, leaves, .. } = &mut state;
                    job.nodes
                        .iter_mut()
                        .for_each(|n| n.renew(leaves, job.searches.iter().map(Search::found)));
                    return state.harvested(params, cx);
                }
            }
            Phase::Final => {
                state.measured(params, &total, cx);
                state.keep_best();
                return Ok(Step::Done(state.model));
            }
        }
        Ok(Step::Again(state))
    }
}
