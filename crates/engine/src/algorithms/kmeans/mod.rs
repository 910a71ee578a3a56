//! k-means: clusters around centers. Seeded by k-means|| (Bahmani, Moseley, Vattani, Kumar & Vassilvitskii,
//! "Scalable k-means++", 2012), then Lloyd's algorithm. Parameters, stopping rule and `inertia` are
//! scikit-learn's.
//!
//! A round is one pass over the rows; [`Phase`] says which rounds there are. `centers` finds nearest centers,
//! `seeding` draws rows, `model` is the result.
//!
//! Three things differ from the paper, and none from its aim. The first draw takes as many rows as the others
//! instead of one. Each draw takes an exact number of rows, by a race that needs no cost beforehand, so that a
//! round is one pass. And drawn rows are distinct, so that data with fewer distinct rows than clusters are found
//! out after one pass. A cluster that loses all its rows is moved to the row that is farthest from its center, as in
//! scikit-learn.
//!
//! With `batch_size`, [`minibatch`] learns from a sample instead, which one pass draws; then `Finish` measures.
//!
//! A row's part in a draw hangs on the seed and its number. Sums are integers within blocks of rows, merged in order, so the result is the
//! same bits on any number of threads.

mod local;
mod minibatch;
mod model;
mod moments;
mod params;
mod screen;
mod seeding;
mod tally;
#[cfg(test)]
mod tests;

use crate::centers::{Centers, add};
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::Values;
use crate::schema::{Chunk, Schema, Task};
pub use local::Local;
use local::{Cells, Drift, Seeds};
use minibatch::Sample;
pub use model::Model;
use moments::Moments;
use params::{Init, PARAMS, Params};
use screen::shadow_bytes;
use seeding::{Lots, Picks, plus_plus};
use serde::{Deserialize, Serialize};

/// More clusters than anyone reads; centers of so many take memory in each block's sums.
const MAX_CLUSTERS: usize = 65_536;
/// Draws of k-means|| after the first. The paper finds 5 to be plenty and MLlib takes 2.
const DRAWS: usize = 3;
/// Rows between two looks at the stop flag; also what scoring holds on its stack.
const PIECE: usize = 64;

/// The algorithm, for the static list.
pub struct KMeans;

/// What a pass over the rows is for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Phase {
    /// Means and variances, and the first draw: by weight alone.
    Survey,
    /// A draw by weight times squared distance to the candidates so far, one set of them a draw.
    Spread(Vec<Centers>),
    /// The weight of the rows nearest to each candidate.
    Weigh(Vec<Centers>),
    /// Sums of the rows nearest to each center.
    Assign(Centers, Drift),
    /// Inertia and sizes of the final centers.
    Finish(Centers),
    /// The rows farthest from their centers, for clusters without rows.
    Rescue(Centers, Vec<u32>),
}

/// What a round starts from.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Which of `n_init` runs this is.
    run: usize,
    phase: Phase,
    /// Passes of `Assign` so far, over all runs.
    passes: u64,
    /// Of all rows.
    #[serde(skip)]
    moments: Moments,
    /// Shift of all centers, squared, at which they are at rest.
    #[serde(skip)]
    tolerance: f64,
    #[serde(skip)]
    iterations: usize,
    /// Iterations of the runs that are over.
    #[serde(skip)]
    rounds: usize,
    /// Whether the final centers are at rest.
    #[serde(skip)]
    converged: bool,
    /// The best of the runs that are over.
    #[serde(skip)]
    best: Option<Model>,
}

impl State {
    fn first(run: usize, best: Option<Model>, rounds: usize, passes: u64) -> State {
        State {
            run,
            phase: Phase::Survey,
            passes,
            moments: Moments::default(),
            tolerance: 0.0,
            iterations: 0,
            rounds,
            converged: false,
            best,
        }
    }

    /// The pass that gives rows to centers which are not those of the pass before, moved.
    fn assign(&self, points: &[f64], width: usize) -> Phase {
        Phase::Assign(Centers::new(points, width), Drift::none(self.passes + 1))
    }
}

/// What a shard found in a round; which fields it fills depends on the phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Partial {
    moments: Moments,
    picks: Picks,
    /// Rows for mini-batches.
    sample: Sample,
    /// Rows' weight by candidate or center.
    weights: Vec<f64>,
    /// Weighted sums of rows by center.
    sums: Vec<f64>,
    inertia: f64,
}

fn same_length(a: &[f64], b: &[f64]) -> Result<()> {
    if a.len() == b.len() {
        return Ok(());
    }
    Err(Error::internal(format!("sums of two rounds meet: {} and {} values", a.len(), b.len())))
}

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        same_length(&self.weights, &other.weights)?;
        same_length(&self.sums, &other.sums)?;
        self.moments.merge(other.moments)?;
        self.picks.merge(other.picks)?;
        self.sample.merge(other.sample);
        add(&mut self.weights, &other.weights, 1.0);
        add(&mut self.sums, &other.sums, 1.0);
        self.inertia += other.inertia;
        Ok(())
    }
}

/// Calls `each` with a row's number, its nearest center and the squared distance to it.
fn assign(centers: &Centers, chunk: &Chunk, cx: &Cx, mut each: impl FnMut(usize, usize, f64)) -> Result<()> {
    for (p, x) in chunk.x.chunks(PIECE * chunk.width()).enumerate() {
        cx.check()?;
        let n = x.len() / chunk.width();
        let (mut nearest, mut distance) = ([0; PIECE], [f64::INFINITY; PIECE]);
        centers.improve(x, 0, &mut nearest[..n], &mut distance[..n]);
        for (i, (nearest, distance)) in nearest.iter().zip(distance).take(n).enumerate() {
            each(p * PIECE + i, *nearest as usize, distance);
        }
    }
    Ok(())
}

impl Phase {
    /// A number for each draw of a run, so that each has its own lots.
    fn round(&self) -> usize {
        match self {
            Phase::Spread(sets) | Phase::Weigh(sets) => sets.len(),
            _ => 0,
        }
    }
}

impl Learner for KMeans {
    const INFO: Info = Info {
        name: "kmeans",
        version: 1,
        summary: "Clusters around centers: k-means|| seeding and Lloyd's algorithm, or mini-batches; predicts the \
                  number of the nearest center.",
        tasks: &[Task::Clustering],
        input: Input::Matrix { scale: true },
        sharding: Sharding::Blocks,
        params: PARAMS,
    };
    type Params = Params;
    type State = State;
    type Local = Local;
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        Params::checked(values, schema)
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let per_draw = match params.init {
            Init::Parallel(draw) => draw,
            _ => params.clusters,
        };
        let row = params.width as u64 * 8 + 64;
        // Sums and candidates of the blocks whose partials wait to be merged, and `Local`.
        let waiting = (rayon::current_num_threads() as u64 * 4).min(schema.rows as u64 / 64 + 1) + 2;
        let draws = (DRAWS as u64 + 1) * per_draw as u64 * row;
        // A row's candidate, its center with a bound, the row itself in both precisions, and its part in the sums of
        // its block.
        let kept = if params.keeps { (params.width * 8 + shadow_bytes(params.width)) as u64 } else { 0 };
        let local = schema.rows as u64 * (12 + 8 + kept + params.width as u64);
        // The sample, and once more while it is merged.
        let sampled = params.batch.map_or(0, |(_, share)| (schema.rows as f64 * share) as u64 * row * 2);
        let local = if params.batch.is_some() { 0 } else { local };
        draws + waiting * (params.clusters.max(per_draw)) as u64 * row + local + sampled
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::first(0, None, 0, 0))
    }

    fn zero(params: &Params, state: &State) -> Partial {
        let (draw, weights, sums) = match (&state.phase, &params.init) {
            (Phase::Survey, _) if params.batch.is_some() => (0, 0, 0),
            (Phase::Survey | Phase::Spread(_), Init::Parallel(draw)) => (*draw, 0, 0),
            (Phase::Survey | Phase::Spread(_), Init::Random) => (params.clusters, 0, 0),
            (Phase::Survey | Phase::Spread(_), Init::Given(_)) => (0, 0, 0),
            (Phase::Weigh(sets), _) => (0, sets.iter().map(Centers::len).sum(), 0),
            (Phase::Assign(centers, _), _) => (0, centers.len(), centers.len() * params.width),
            (Phase::Finish(centers), _) => (0, centers.len(), 0),
            (Phase::Rescue(_, empty), _) => (empty.len(), 0, 0),
        };
        Partial {
            moments: Moments::default(),
            picks: Picks::new(draw),
            sample: Sample::default(),
            weights: vec![0.0; weights],
            sums: vec![0.0; sums],
            inertia: 0.0,
        }
    }

    fn needs_rows(_state: &State, local: &Local) -> bool {
        !local.block.held()
    }

    fn accumulate(
        params: &Params,
        state: &State,
        local: &mut Local,
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        let width = params.width;
        if chunk.rows == 0 {
            return Ok(());
        }
        if chunk.width() != width {
            return Err(Error::internal(format!("kmeans got {} features, expected {width}", chunk.width())));
        }
        if params.keeps {
            local.block.hold(chunk);
        }
        local.block.served = true;
        pass(params, state, (&mut local.seeds, &mut local.cells), chunk, partial, cx)
    }

    fn finish(
        params: &Params,
        state: &State,
        local: &mut Local,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        let Local { block, seeds, cells } = local;
        if !std::mem::take(&mut block.served) && block.held() {
            pass(params, state, (seeds, cells), &block.chunk(), partial, cx)?;
        }
        Ok(())
    }

    fn update(params: &Params, mut state: State, mut total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        let k = params.clusters;
        let phase = std::mem::replace(&mut state.phase, Phase::Survey);
        state.phase = match phase {
            Phase::Survey => {
                if total.moments.weight == 0.0 {
                    return Err(Error::new(
                        Kind::Data,
                        "kmeans got no rows, expected at least one a cluster",
                    ));
                }
                state.tolerance = params.tol * total.moments.variance();
                state.moments = std::mem::take(&mut total.moments);
                if let Some((batch, _)) = params.batch {
                    let found = minibatch::learn(params, &total.sample, batch, state.run, cx)?;
                    (state.iterations, state.converged) = (found.steps, found.converged);
                    state.phase = Phase::Finish(Centers::new(&found.points, params.width));
                    return Ok(Step::Again(state));
                }
                match &params.init {
                    Init::Given(centers) => state.assign(&centers.points(), params.width),
                    _ if total.picks.len() < k => return Err(too_few_distinct(total.picks.len(), k)),
                    Init::Random => state.assign(&total.picks.points(), params.width),
                    Init::Parallel(_) => {
                        Phase::Spread(vec![Centers::new(&total.picks.points(), params.width)])
                    }
                }
            }
            Phase::Spread(mut sets) => {
                let found = total.picks.len();
                if found > 0 {
                    sets.push(Centers::new(&total.picks.points(), params.width));
                }
                if found > 0 && sets.len() <= DRAWS { Phase::Spread(sets) } else { Phase::Weigh(sets) }
            }
            Phase::Weigh(sets) => {
                let lots = Lots::new(cx.seed, state.run, sets.len());
                let points: Vec<f64> = sets.iter().flat_map(Centers::points).collect();
                let chosen = plus_plus(&points, params.width, &total.weights, k, lots, cx)?;
                let row = |c: &usize| points[c * params.width..(c + 1) * params.width].iter().copied();
                let chosen: Vec<f64> = chosen.iter().flat_map(row).collect();
                state.assign(&chosen, params.width)
            }
            Phase::Assign(centers, _) => return iterate(params, state, &centers, &total, cx),
            Phase::Finish(centers) => return finish_run(params, state, centers, total, cx),
            Phase::Rescue(centers, empty) => {
                if total.picks.len() == 0 {
                    return Err(too_few_distinct(k - empty.len(), k));
                }
                let mut points = centers.points();
                for (c, row) in empty.iter().zip(total.picks.points().chunks_exact(params.width)) {
                    let c = *c as usize;
                    points[c * params.width..(c + 1) * params.width].copy_from_slice(row);
                }
                state.assign(&points, params.width)
            }
        };
        Ok(Step::Again(state))
    }
}

/// Folds a block of rows into what the round asks for.
fn pass(
    params: &Params,
    state: &State,
    (seeds, cells): (&mut Seeds, &mut Cells),
    chunk: &Chunk,
    partial: &mut Partial,
    cx: &Cx,
) -> Result<()> {
    let width = params.width;
    let lots = Lots::new(cx.seed, state.run, state.phase.round());
    let key = |i: usize, weight: f64| (lots.key(chunk.first + i as u64, weight), i);
    match &state.phase {
        Phase::Survey => {
            partial.moments.merge(Moments::of(chunk))?;
            if let Some((_, share)) = params.batch {
                partial.sample.take(chunk, share, lots);
            } else if !matches!(params.init, Init::Given(_)) {
                let keys = (0..chunk.rows).map(|i| key(i, chunk.weight(i))).collect();
                partial.picks.offer(keys, chunk.x, width);
            }
        }
        Phase::Spread(sets) => {
            seeds.follow(state.run, sets, chunk, cx)?;
            let apart = seeds.distance.iter().enumerate().filter(|(_, d)| **d > 0.0);
            let keys = apart.map(|(i, d)| key(i, chunk.weight(i) * d)).collect();
            partial.picks.offer(keys, chunk.x, width);
        }
        Phase::Weigh(sets) => {
            seeds.follow(state.run, sets, chunk, cx)?;
            for (i, c) in seeds.nearest.iter().enumerate() {
                partial.weights[*c as usize] += chunk.weight(i);
            }
            *seeds = Seeds::default();
        }
        Phase::Assign(centers, drift) => {
            let sums = (&mut partial.weights[..], &mut partial.sums[..]);
            cells.assign(centers, drift, chunk, params.keeps, sums, cx)?;
        }
        Phase::Finish(centers) => {
            let Partial { weights, inertia, .. } = partial;
            assign(centers, chunk, cx, |i, c, distance| {
                weights[c] += chunk.weight(i);
                *inertia += chunk.weight(i) * distance;
            })?;
        }
        Phase::Rescue(centers, _) => {
            let mut keys = vec![];
            assign(centers, chunk, cx, |i, _, distance| {
                if distance > 0.0 {
                    keys.push((-distance, i));
                }
            })?;
            partial.picks.offer(keys, chunk.x, width);
        }
    }
    Ok(())
}

/// Ends an iteration of Lloyd's algorithm, of which `total` has the sums.
fn iterate(
    params: &Params,
    mut state: State,
    centers: &Centers,
    total: &Partial,
    cx: &Cx,
) -> Result<Step<State, Model>> {
    let width = params.width;
    let mut points = centers.points();
    let inertia = finite(state.moments.inertia(&points, &total.weights, &total.sums))?;
    cx.observer.metric(state.rounds + state.iterations, "inertia", inertia);
    state.iterations += 1;
    state.passes += 1;
    cx.observer.progress(state.iterations, params.max_iter, "iterations");
    let (mut shifts, mut empty) = (vec![0.0; params.clusters], vec![]);
    for (c, (point, shift)) in points.chunks_exact_mut(width).zip(&mut shifts).enumerate() {
        if total.weights[c] == 0.0 {
            empty.push(c as u32);
            continue;
        }
        for (v, sum) in point.iter_mut().zip(&total.sums[c * width..(c + 1) * width]) {
            let mean = sum / total.weights[c];
            *shift += (mean - *v) * (mean - *v);
            *v = mean;
        }
    }
    let shift: f64 = shifts.iter().sum();
    let next = Centers::new(&points, width);
    let last = state.iterations >= params.max_iter;
    state.converged = shift <= state.tolerance;
    state.phase = if !empty.is_empty() && !last {
        Phase::Rescue(next, empty)
    } else if last || state.converged {
        Phase::Finish(next)
    } else {
        Phase::Assign(next, Drift::new(state.passes + 1, &shifts, width))
    };
    Ok(Step::Again(state))
}

/// The inertia, where distances did not overflow.
fn finite(inertia: f64) -> Result<f64> {
    if inertia.is_finite() {
        return Ok(inertia);
    }
    Err(Error::new(Kind::Data, "the features of kmeans are too large: squared distances overflow")
        .hint("Scale the features: they are standardised by default."))
}

/// Ends a run; the next begins, or the best is the model.
fn finish_run(
    params: &Params,
    mut state: State,
    centers: Centers,
    total: Partial,
    cx: &Cx,
) -> Result<Step<State, Model>> {
    let model = Model {
        centers,
        sizes: total.weights,
        inertia: finite(total.inertia)?,
        iterations: state.iterations as u64,
        converged: state.converged,
    };
    let best = match state.best.take() {
        Some(best) if best.inertia <= model.inertia => best,
        _ => model,
    };
    state.run += 1;
    if state.run < params.n_init {
        let rounds = state.rounds + state.iterations;
        return Ok(Step::Again(State::first(state.run, Some(best), rounds, state.passes)));
    }
    if !best.converged {
        cx.observer.warning(&format!(
            "kmeans did not converge in {} iterations; raise \"max_iter\" or \"tol\"",
            best.iterations
        ));
    }
    Ok(Step::Done(best))
}

fn too_few_distinct(distinct: usize, clusters: usize) -> Error {
    let message = format!("the data has {distinct} distinct rows, expected at least n_clusters = {clusters}");
    Error::new(Kind::Data, message).hint(format!("Set \"n_clusters\" to {distinct} or less, or add columns."))
}
