//! `cnn`: neural networks for images and tables, on the engine of the `nn` crate.
//!
//! The first round copies a shard's rows and measures their means and spreads. Each further round is an epoch:
//! every shard trains from the state's weights on its own rows, and the mean of the shards' weights, by rows, is
//! the next state (local SGD, Stich 2019). With one shard that is plain mini-batch training, exactly.

mod images;
mod layer;
mod model;
mod params;
#[cfg(test)]
mod tests;
mod validation;

use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::Values;
use crate::remote::{Away, Subject};
use crate::run::{block_rows, scored_rows};
use crate::schema::{Chunk, Schema, Task};
use images::Images;
pub use model::Model;
use nn::data::{Inputs, Moments, Normal};
use nn::optimizer::{Optimizer, Weights};
use nn::train::{Found, Options, Rows, Trainer};
pub use params::Params;
use params::Source;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;
use validation::{Held, HeldOut, Watch};

/// The learner.
pub struct Cnn;

/// Where an epoch starts; before the first round, which measures, what it goes on from, if anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum State {
    /// The first round.
    Measure(Option<Origin>),
    /// An epoch.
    Train(Start),
}

/// A model that a training goes on from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Origin {
    weights: Vec<u8>,
    normal: Normal,
}

/// Where an epoch starts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    epoch: usize,
    weights: Weights,
    normal: Normal,
    /// Mean and spread of the targets of a regression, else 0 and 1.
    target: (f64, f64),
    /// The mean weight of a row.
    weight: f64,
    /// With early stopping: the best epoch so far.
    watch: Watch,
}

/// A shard's rows: images as bytes, copied where nobody keeps them; numbers as f32.
#[derive(Default)]
pub struct Local {
    images: Images,
    numbers: Vec<f32>,
    y: Vec<f64>,
    weight: Vec<f64>,
    complete: bool,
    ready: Option<Ready>,
}

/// What training needs of a shard, from the second round on.
struct Ready {
    /// Who computes epochs elsewhere; the trainer is made when one is to be computed here.
    away: Option<Away>,
    trainer: Option<Trainer>,
    held_out: Option<HeldOut>,
    targets: Vec<f32>,
    weights: Option<Vec<f32>>,
}

/// What shards found: measures in the first round, weights in all others.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Partial {
    rows: u64,
    inputs: Moments,
    targets: Moments,
    weight: f64,
    trained: Option<Trained>,
}

/// Weights and what the optimiser remembers, times rows: in f64 such products are exact, so that the mean of
/// one shard is that shard's weights, bit for bit.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Trained {
    values: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    average: Vec<f64>,
    steps: u64,
    loss: f64,
    correct: f64,
    weight: f64,
    held_out: validation::Found,
}

impl Trained {
    fn new(weights: &Weights, rows: u64, found: Found, held_out: validation::Found) -> Trained {
        let times = |v: &[f32]| v.iter().map(|x| f64::from(*x) * rows as f64).collect();
        Trained {
            values: times(&weights.values),
            first: times(&weights.first),
            second: times(&weights.second),
            average: times(&weights.average),
            steps: weights.steps,
            loss: found.loss,
            correct: found.correct,
            weight: found.weight,
            held_out,
        }
    }

    fn mean(&self, rows: u64) -> Weights {
        let mean = |v: &[f64]| v.iter().map(|x| (x / rows as f64) as f32).collect();
        Weights {
            values: mean(&self.values),
            first: mean(&self.first),
            second: mean(&self.second),
            average: mean(&self.average),
            steps: self.steps,
        }
    }
}

impl Merge for Partial {
    fn merge(&mut self, other: Self) -> Result<()> {
        self.rows += other.rows;
        self.inputs.merge(&other.inputs);
        self.targets.merge(&other.targets);
        self.weight += other.weight;
        let Some(theirs) = other.trained else { return Ok(()) };
        let Some(ours) = &mut self.trained else {
            self.trained = Some(theirs);
            return Ok(());
        };
        let pairs = [
            (&mut ours.values, &theirs.values),
            (&mut ours.first, &theirs.first),
            (&mut ours.second, &theirs.second),
            (&mut ours.average, &theirs.average),
        ];
        for (ours, theirs) in pairs {
            if ours.len() != theirs.len() {
                return Err(Error::internal("shards trained networks of different sizes"));
            }
            ours.iter_mut().zip(theirs).for_each(|(a, b)| *a += b);
        }
        // Shards of different sizes take different numbers of steps; Adam's correction forgets them soon.
        ours.steps = ours.steps.max(theirs.steps);
        ours.loss += theirs.loss;
        ours.correct += theirs.correct;
        ours.weight += theirs.weight;
        ours.held_out.add(theirs.held_out);
        Ok(())
    }
}

impl Local {
    fn take(&mut self, params: &Params, chunk: &Chunk) {
        match params.source {
            Source::Images => self.images.take(chunk),
            Source::Features => self.numbers.extend(chunk.x.iter().map(|x| *x as f32)),
        }
        self.y.extend_from_slice(chunk.y);
        self.weight.extend_from_slice(chunk.weight);
    }

    /// One epoch from the state's weights.
    fn train(&mut self, params: &Params, start: &Start, cx: &Cx) -> Result<Trained> {
        let Local { images, numbers, y, weight, ready, .. } = self;
        let each = params.targets();
        let rows = (y.len() / each) as u64
            + ready.as_ref().and_then(|r| r.held_out.as_ref()).map_or(0, HeldOut::rows);
        let mut asks = false;
        let ready = match ready {
            Some(ready) => ready,
            None => {
                let held = Held { images, numbers, y, weight };
                let take = |stopping| HeldOut::take(params, stopping, held, cx.seed);
                let held_out = params.stopping.as_ref().map(take).transpose()?;
                let (mean, spread) = start.target;
                asks = true;
                ready.insert(Ready {
                    away: None,
                    trainer: None,
                    held_out,
                    targets: y.iter().map(|y| ((y - mean) / spread) as f32).collect(),
                    weights: (!weight.is_empty())
                        .then(|| weight.iter().map(|w| (w / start.weight) as f32).collect()),
                })
            }
        };
        let inputs = match params.source {
            Source::Images => images.feed(),
            Source::Features => Inputs::Numbers(numbers).into(),
        };
        let inputs = Rows { inputs, targets: &ready.targets, weights: ready.weights.as_deref() };
        let (plan, positive, normal) = (&*params.plan, &params.positive[..], &start.normal);
        let options = Options { seed: cx.seed, ..params.options };
        if asks {
            let subject = Subject { plan, frozen: &params.frozen, options: &options, normal, positive };
            ready.away = Away::begin(subject, inputs, cx)?;
        }
        let mut weights = start.weights.clone();
        let elsewhere = match &ready.away {
            Some(away) => away.epoch(cx, start.epoch, &mut weights)?,
            None => None,
        };
        let found = match elsewhere {
            Some(found) => found,
            None => {
                ready.away = None;
                let here = || Trainer::new(plan, normal.clone(), options).with_positive(positive.to_vec());
                let trainer = ready.trainer.get_or_insert_with(here);
                trainer.epoch(&mut weights, inputs, start.epoch, nn::Stop(cx.stop))?
            }
        };
        let held_out = match &ready.held_out {
            Some(held) => held.measure(params, &weights, &start.normal, start.target, cx)?,
            None => validation::Found::default(),
        };
        Ok(Trained::new(&weights, rows, found, held_out))
    }
}

impl Learner for Cnn {
    const INFO: Info = Info {
        name: "cnn",
        version: 3,
        summary: "Neural networks: convolutional ones for images, dense ones for tables.",
        tasks: &[Task::Classification, Task::Regression, Task::Multilabel],
        input: Input::Image,
        sharding: Sharding::Whole,
        params: params::PARAMS,
    };
    type Params = Params;
    type State = State;
    type Local = Local;
    type Partial = Partial;
    type Model = Model;
    const RESUMES: bool = true;
    /// What helps a training over the place where it diverged.
    const ADJUSTABLE: Option<&'static [&'static str]> = Some(&["learning_rate", "max_grad_norm"]);

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        params::read(values, schema)
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        Cnn::memory_parts(params, schema, 1).iter().map(|part| part.1).sum()
    }

    fn memory_parts(params: &Params, schema: &Schema, threads: usize) -> Vec<(&'static str, u64)> {
        let row = match params.source {
            // The number of its image.
            Source::Images => 4,
            Source::Features => 4 * params.plan.network.input.len(),
        };
        // Targets and a weight, as they come and as the network takes them, and the order.
        let rows = schema.rows as u64 * (row + 12 * schema.targets() + 16) as u64;
        let block = schema.rows.min(block_rows(schema)) as u64;
        let input = schema.width() * 8 + schema.image.map_or(0, |i| i.bytes()) + schema.targets() * 8 + 8;
        let (plan, options) = (&params.plan, &params.options);
        let vectors = 2
            + u64::from(!matches!(options.optimizer, Optimizer::Sgd { .. }))
            + u64::from(options.average > 0.0);
        // In the state, in training, and in f64 between them.
        let mut weights = plan.weights as u64 * vectors * (4 + 4 + 8);
        if params.stopping.is_some() {
            // Those of the best epoch, and those that score what is held out.
            weights += plan.weights as u64 * 2 * 4 + nn::score::memory(plan, threads);
        }
        let (block, batch) = (block * input as u64, nn::train::memory(plan, options.batch_size, threads));
        // Later rows are scored, a block a thread, by a model that is packed up in memory, too.
        let scored_rows = schema.rows.min(scored_rows(schema) * threads) as u64;
        let scored =
            scored_rows * input as u64 + nn::score::memory(plan, threads) + 4 * 4 * plan.weights as u64;
        vec![
            ("rows as the network takes them", rows),
            ("a block of them as it is read", block),
            ("weights and what is kept of them", weights),
            ("a batch on its way", batch),
            ("scoring beyond that", scored.saturating_sub(block + weights + batch)),
        ]
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Measure(None))
    }

    fn resume(_params: &Params, _schema: &Schema, model: Model, _cx: &Cx) -> Result<State> {
        Ok(State::Measure(Some(Origin { weights: model.weights, normal: model.normal })))
    }

    fn zero(_params: &Params, _state: &State) -> Partial {
        Partial::default()
    }

    fn needs_rows(_state: &State, local: &Local) -> bool {
        !local.complete
    }

    fn accumulate(
        params: &Params,
        state: &State,
        local: &mut Local,
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        cx.check()?;
        if chunk.rows == 0 || local.complete {
            return Ok(());
        }
        local.take(params, chunk);
        if let State::Measure(_) = state {
            let inputs = match params.source {
                Source::Images => Inputs::Bytes(chunk.images),
                Source::Features => Inputs::Doubles(chunk.x),
            };
            partial.inputs.add(inputs, params.plan.network.input.channels);
            partial.targets.add(Inputs::Doubles(chunk.y), params.targets());
            partial.weight += (0..chunk.rows).map(|i| chunk.weight(i)).sum::<f64>();
        }
        Ok(())
    }

    fn finish(
        params: &Params,
        state: &State,
        local: &mut Local,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        local.complete = true;
        let held_out = local.ready.as_ref().and_then(|r| r.held_out.as_ref()).map_or(0, HeldOut::rows);
        let rows = (local.y.len() / params.targets()) as u64 + held_out;
        partial.rows = rows;
        let State::Train(start) = state else { return Ok(()) };
        if rows == 0 {
            return Ok(());
        }
        partial.trained = Some(local.train(params, start, cx)?);
        Ok(())
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        let options = &params.options;
        if total.rows == 0 {
            return Err(Error::new(Kind::Data, "there are no rows to train on"));
        }
        let start = match state {
            State::Measure(origin) => {
                return Ok(Step::Again(State::Train(begin(params, origin, &total, cx)?)));
            }
            State::Train(start) => start,
        };
        let trained =
            total.trained.ok_or_else(|| Error::internal("a round of cnn came back without weights"))?;
        let weights = trained.mean(total.rows);
        let epoch = start.epoch + 1;
        // Squared and Huber's losses are in the square of the target's unit.
        let unit = start.target.1 * start.target.1;
        let (loss, accuracy) = (unit * trained.loss / trained.weight, trained.correct / trained.weight);
        cx.observer.metric(epoch, "train_loss", loss);
        if options.loss.decides() {
            cx.observer.metric(epoch, "train_accuracy", accuracy);
        }
        let mut watch = start.watch;
        let mut ends = epoch >= options.epochs;
        if let Some(stopping) = &params.stopping {
            let (classes, about) = (options.loss.decides(), (epoch, loss, accuracy));
            let (score, idle) = watch.note(stopping, classes, trained.held_out, about, &weights)?;
            cx.observer.metric(epoch, "validation_score", score);
            ends |= idle;
        }
        cx.observer.progress(epoch, options.epochs, "epochs");
        if !ends {
            return Ok(Step::Again(State::Train(Start { epoch, weights, watch, ..start })));
        }
        let best = watch.best;
        let (loss, accuracy) = best.as_ref().map_or((loss, accuracy), |b| (b.loss, b.accuracy));
        let to_score = best.as_ref().map_or(weights.to_score(), |b| b.weights());
        Ok(Step::Done(Model {
            source: params.source,
            input: params.plan.network.input,
            layers: params.plan.network.to_json(),
            weights: nn::weights::save(&params.plan, to_score)?,
            normal: start.normal,
            target: start.target,
            classes: params.classes,
            multilabel: params.multilabel,
            epochs: epoch,
            best: best.map(|b| (b.epoch, b.score)),
            loss,
            accuracy,
            ready: OnceLock::new(),
        }))
    }
}

/// The first epoch's start, from what the first round measured.
fn begin(params: &Params, origin: Option<Origin>, total: &Partial, cx: &Cx) -> Result<Start> {
    let (plan, options) = (&params.plan, &params.options);
    let classes = options.loss.has_classes();
    if classes && total.targets.is_constant(0) {
        let message = "the training rows are of one class, expected two or more";
        return Err(Error::new(Kind::Data, message));
    }
    let channels = plan.network.input.channels;
    let mut values = nn::weights::first(plan, cx.seed);
    let mut normal = Normal::new(&total.inputs, channels);
    plan.network.codes().for_each(|feature| normal.leave(feature));
    if let Some(origin) = origin {
        let (_, left) = nn::weights::transfer(plan, &origin.weights, &mut values)?;
        if !left.is_empty() {
            let layers = left.join(", ");
            cx.observer.warning(&format!(
                "the model to go on from has no fitting weights for {layers}: they begin anew"
            ));
        }
        // Its weights mean what they mean for inputs as it saw them.
        if origin.normal.is_valid(channels) {
            normal = origin.normal;
        }
    }
    Ok(Start {
        epoch: 0,
        weights: Weights::new(values, options.optimizer, options.average > 0.0),
        normal,
        target: if options.loss.decides() { (0.0, 1.0) } else { total.targets.of(0) },
        weight: total.weight / total.rows as f64,
        watch: Watch::default(),
    })
}
