//! The contract of every algorithm: a fold with rounds.
//!
//! ```text
//!            params, state                        partials                         state
//!  job ───────────────────────▶ shards ──────────────────────────▶ merged ──▶ update ──▶ again, or the model
//!                               accumulate(chunk)*, finish
//! ```
//!
//! One implementation serves three places: threads of one process ([`crate::run`]), the parallel aggregate of a
//! server or the segments of a cluster ([`Shard`] is exactly sfunc / combinefunc / serialfunc), and scoring.
//!
//! What may happen to an implementation:
//! - a shard may be empty: `accumulate` is never called, `finish` is;
//! - `Local` may be lost between rounds (another process takes the shard): everything must come back from
//!   `Params`, `State` and the rows, which are then offered again;
//! - partials are merged in shard order, each once; `zero` is the identity;
//! - the caller may stop at any `cx.check()`: poll it at least every few milliseconds.

use crate::checkpoint::Checkpoint;
use crate::error::{Error, Kind, Result};
use crate::params::{Param, Values};
use crate::remote::Errand;
use crate::schema::{Chunk, Schema, Task, Unit};
use crate::wire;
use serde::{Serialize, de::DeserializeOwned};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

/// How rows must be encoded for an algorithm, when the user asks for nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// Numbers only: missing values imputed, categories one-hot; standardised when `scale`.
    Matrix {
        /// Whether features are standardised by default.
        scale: bool,
    },
    /// Numbers with NaN for missing, and category codes.
    Native,
    /// One image a row where the source has an image column; else numbers as for `Matrix { scale: true }`.
    Image,
}

/// How rows may be dealt to shards on threads so that the result does not depend on their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharding {
    /// One shard a fixed-size chunk, merged in order: for sums of floating-point numbers. `Local` is a chunk's.
    Blocks,
    /// One shard a thread, any cut: for partials whose merge is exact (integers). `Local` is a thread's.
    Exact,
    /// One shard in all; the learner uses the thread pool itself.
    Whole,
}

/// What an algorithm says of itself; the reference and `damson.algorithms()` are made from it.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// Its name in SQL.
    pub name: &'static str,
    /// Raised when a stored model of an older version can no longer be read.
    pub version: u16,
    /// One sentence.
    pub summary: &'static str,
    /// What it can do.
    pub tasks: &'static [Task],
    /// How its rows are encoded by default.
    pub input: Input,
    /// How its rows may be dealt to threads.
    pub sharding: Sharding,
    /// Its parameters.
    pub params: &'static [Param],
}

impl Info {
    /// What it does without a target.
    ///
    /// # Errors
    /// `Kind::Parameter` for an algorithm that needs one.
    pub fn unsupervised(&self) -> Result<Task> {
        self.tasks.iter().copied().find(|t| !t.supervised()).ok_or_else(|| {
            Error::new(Kind::Parameter, format!("algorithm \"{}\" needs a target", self.name))
                .hint("Name the column to predict: target => 'column'.")
        })
    }
}

/// What is watched from outside while an algorithm works. Called from any thread; must be quick.
pub trait Observer: Sync {
    /// `done` of `total` units (rounds, epochs, trees).
    fn progress(&self, _done: usize, _total: usize, _what: &str) {}
    /// A metric of one round, such as `train_loss`.
    fn metric(&self, _round: usize, _name: &str, _value: f64) {}
    /// A round is over, and `state` gives the bytes from which [`Algorithm::fit_again`] goes on to the very model that
    /// the unbroken training gives. An error ends the training. `last`: the round after it failed, and no other comes.
    fn checkpoint(&self, _round: usize, _last: bool, _state: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        Ok(())
    }
    /// As `checkpoint`, of a whole training: what it can go on from, where there is something. An error ends it.
    fn keep(&self, _last: bool, _checkpoint: &dyn Fn() -> Result<Checkpoint>) -> Result<()> {
        Ok(())
    }
    /// Where a training of the same rows was broken off, to go on from there. Asked once, as it begins.
    fn broken_off(&self) -> Option<Checkpoint> {
        None
    }
    /// Something the user must know although the work goes on, such as non-convergence.
    fn warning(&self, _message: &str) {}
    /// Has somebody else do a part of a network's training, by its number; the answer, or none where the learner is to do it
    /// itself, or where it is to stop. May take as long as an epoch.
    fn errand(&self, _training: u64, _errand: Errand) -> Option<Vec<u8>> {
        None
    }
}

/// An observer that looks away.
pub struct Silent;
impl Observer for Silent {}

/// What every step may know of its surroundings. The number of threads is not here: learners use the rayon pool
/// that they run in, and their results must not depend on its size.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The seed of all randomness.
    pub seed: u64,
    /// Set when the caller wants to stop.
    pub stop: &'a AtomicBool,
    /// Who watches.
    pub observer: &'a dyn Observer,
}

impl Cx<'_> {
    /// An error when the caller asked to stop.
    pub fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Cancelled, "training was cancelled"));
        }
        Ok(())
    }
}

/// Sums of shards. Associative; the learner's `zero` is the identity.
pub trait Merge {
    /// Adds another shard's sum to this one.
    fn merge(&mut self, other: Self) -> Result<()>;
}

/// The outcome of a round.
pub enum Step<S, M> {
    /// Another round, from this state.
    Again(S),
    /// The model.
    Done(M),
}

/// An algorithm, written once. See the module's page for the rules.
pub trait Learner: Send + Sync + 'static {
    /// What it says of itself.
    const INFO: Info;
    /// Parameters, existing only when valid.
    type Params: Send + Sync + Clone;
    /// What a round starts from: small, sent to every shard. Fields that only the job needs are `#[serde(skip)]`.
    type State: Serialize + DeserializeOwned + Send + Sync;
    /// What a shard keeps between rounds; a cache.
    type Local: Default + Send;
    /// What a shard found in a round.
    type Partial: Merge + Serialize + DeserializeOwned + Send;
    /// The result.
    type Model: Model + Serialize + DeserializeOwned;
    /// Whether a training can go on from a model: whether there is a `resume`.
    const RESUMES: bool = false;
    /// Whether shards are offered their rows a few times only, and hold in `Local` what they need of them from then on, so
    /// that the rows may be read from elsewhere each time rather than held. Needs `Sharding::Exact`.
    const KEEPS_ROWS: bool = false;
    /// Set where `State` has in its bytes all that the rounds to come depend on, so that checkpoints are kept: the names of
    /// the parameters that may be others when a training goes on from one.
    const ADJUSTABLE: Option<&'static [&'static str]> = None;

    /// Checks what the declarations alone cannot: parameters against each other and against the data's shape.
    fn params(values: &Values, schema: &Schema) -> Result<Self::Params>;
    /// An estimate of the bytes that training takes beyond the rows themselves, and beyond a copy of their images.
    fn memory(params: &Self::Params, schema: &Schema) -> u64;
    /// The same on so many threads, by what they are for, where that helps to take less.
    fn memory_parts(params: &Self::Params, schema: &Schema, _threads: usize) -> Vec<(&'static str, u64)> {
        vec![("the training", Self::memory(params, schema))]
    }
    /// The first state.
    fn init(params: &Self::Params, schema: &Schema, cx: &Cx) -> Result<Self::State>;
    /// The first state of a training that goes on from a model, which is valid for the schema.
    ///
    /// # Errors
    /// `Kind::Unsupported` where the algorithm cannot; `Kind::Parameter` for parameters that do not fit the model.
    fn resume(
        _params: &Self::Params,
        _schema: &Schema,
        _model: Self::Model,
        _cx: &Cx,
    ) -> Result<Self::State> {
        let message = format!("algorithm \"{}\" cannot go on from a model", Self::INFO.name);
        Err(Error::new(Kind::Unsupported, message)
            .hint("Leave init_model out, or use algorithm boosting or cnn."))
    }
    /// The identity of `merge`.
    fn zero(params: &Self::Params, state: &Self::State) -> Self::Partial;
    /// Whether this round needs the shard's rows again, or `local` has all it needs.
    fn needs_rows(_state: &Self::State, _local: &Self::Local) -> bool {
        true
    }
    /// Folds a block of rows of the shard.
    fn accumulate(
        params: &Self::Params,
        state: &Self::State,
        local: &mut Self::Local,
        chunk: &Chunk,
        partial: &mut Self::Partial,
        cx: &Cx,
    ) -> Result<()>;
    /// Called once a round for each shard, after its last block.
    fn finish(
        _params: &Self::Params,
        _state: &Self::State,
        _local: &mut Self::Local,
        _partial: &mut Self::Partial,
        _cx: &Cx,
    ) -> Result<()> {
        Ok(())
    }
    /// Takes rounds by itself where all shards are in one process and none needs its rows: what it comes to is what the
    /// rounds would. Called before each such round.
    fn advance(
        _params: &Self::Params,
        state: Self::State,
        _locals: &mut [Self::Local],
        _cx: &Cx,
    ) -> Result<Step<Self::State, Self::Model>> {
        Ok(Step::Again(state))
    }
    /// Writes what the model answers for the rows that a shard holds, in their order, where the shard knows it already:
    /// exactly what `Model::score` gives. `out` is as long as that, in parts. False where it does not know.
    fn outputs(_model: &Self::Model, _local: Self::Local, _out: Vec<&mut [f64]>) -> bool {
        false
    }
    /// Decides on the next round from the sum of all shards.
    fn update(
        params: &Self::Params,
        state: Self::State,
        total: Self::Partial,
        cx: &Cx,
    ) -> Result<Step<Self::State, Self::Model>>;
}

/// A trained model. It scores batches only; one row is a batch of one.
pub trait Model: Send + Sync + 'static {
    /// Values a row: one for regression and clustering, one a class for classification.
    fn outputs(&self) -> usize;
    /// Scores a block into `out`, `chunk.rows * outputs()` values row by row: predictions, cluster numbers, or the
    /// probabilities of the classes (in `0 ..= 1`, summing to 1). Takes no memory a row: batches of one are the
    /// common case.
    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()>;
    /// Whether a block of many rows takes far less time a row than blocks of one do, on several threads above all.
    fn gains_from_batches(&self) -> bool {
        false
    }
    /// Refuses a model that does not fit its schema, so that `score` can rely on every index. Called after each
    /// load: the bytes may be hostile.
    fn validate(&self, schema: &Schema) -> Result<()>;
    /// What `damson.describe` shows: names and values, such as coefficients or the number of trees.
    fn describe(&self, schema: &Schema) -> Vec<(String, String)>;
    /// How good the model knows itself to be on its training rows, for tasks without a target: names and values.
    /// Empty where that is measured from its scores.
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        vec![]
    }
    /// Makes encoded rows `x` of their scores, as near as the model can: the way back of an embedding. False, with
    /// `x` untouched, where there is none.
    fn restore(&self, _scores: &[f64], _x: &mut [f64]) -> bool {
        false
    }
    /// How much each feature matters to the model, in the order of `schema.features`; empty where it has no answer.
    fn importance(&self, _schema: &Schema) -> Vec<f64> {
        vec![]
    }
    /// How many splits of the model's trees ask about each feature, in the order of `schema.features`; empty where
    /// there are no trees.
    fn splits(&self, _schema: &Schema) -> Vec<f64> {
        vec![]
    }
    /// Metrics that the training found by the way, such as those on rows that trees left out: the split (`oob`), the
    /// name, the value.
    fn estimates(&self) -> Vec<(String, String, f64)> {
        vec![]
    }
    /// A model that answers what one of its layers gives: by name or place, or without one the last before its outputs.
    /// None where there are no layers.
    fn layer(&self, _name: Option<&str>) -> Result<Option<Box<dyn Model>>> {
        Ok(None)
    }
    /// Its weights as safetensors; none where it is no network.
    fn tensors(&self) -> Option<&[u8]> {
        None
    }
    /// The bytes of the same network with other weights; none where it is no network.
    ///
    /// # Errors
    /// `Kind::Corrupt` for safetensors that do not fit.
    fn with_tensors(&self, _tensors: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
    /// The coefficients with their statistics, in the order to be shown and for the columns as the user knows them:
    /// `units` says what was made of each feature. Empty where the model has none.
    fn coefficients(&self, _schema: &Schema, _units: &[Unit]) -> Vec<Coefficient> {
        vec![]
    }
    /// Splits each row's raw score into what each feature added to it: `chunk.rows * scores * (width + 1)` values,
    /// for each row and raw score one a feature and then the base value; they sum to the raw score. False, with
    /// `out` untouched, where the model has no exact answer.
    fn explain(&self, _chunk: &Chunk, _out: &mut Vec<f64>) -> Result<bool> {
        Ok(false)
    }
    /// The network that it is, for a device to run; none where it is no network.
    fn network(&self) -> Option<&dyn Network> {
        None
    }
}

/// A model that is a network: [`Model::score`] in three steps, the second of which a device may do.
pub trait Network {
    /// The network, ready to run.
    fn predictor(&self) -> Result<&nn::score::Predictor>;
    /// What it is fed of a block of rows.
    fn inputs<'c>(&self, chunk: &Chunk<'c>) -> nn::data::Inputs<'c>;
    /// Makes the rows' scores of its outputs, in place.
    fn finish(&self, out: &mut [f64]) -> Result<()>;
}

/// A coefficient and how sure it is. What the model does not know is NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficient {
    /// The class it is of, by number; none where there is one set of coefficients.
    pub class: Option<usize>,
    /// The feature, or `intercept`, or another parameter of the model.
    pub term: String,
    /// The coefficient, for the columns as the user knows them (not standardised).
    pub estimate: f64,
    /// Its standard error.
    pub std_error: f64,
    /// Estimate by error: t or z.
    pub statistic: f64,
    /// The two-sided p-value of the statistic.
    pub p_value: f64,
    /// The confidence interval's lower end.
    pub lower: f64,
    /// The confidence interval's upper end.
    pub upper: f64,
}

/// The object-safe face of a learner: what a server sees, in bytes where bytes must travel.
pub trait Algorithm: Send + Sync {
    /// What it says of itself.
    fn info(&self) -> &'static Info;
    /// Bytes that training would take beyond the rows on so many threads, by what they are for.
    fn memory_parts(
        &self,
        params: &Values,
        schema: &Schema,
        threads: usize,
    ) -> Result<Vec<(&'static str, u64)>>;
    /// All of them.
    fn memory(&self, params: &Values, schema: &Schema, threads: usize) -> Result<u64> {
        Ok(self.memory_parts(params, schema, threads)?.iter().map(|part| part.1).sum())
    }
    /// Whether a training can go on from a model.
    fn resumes(&self) -> bool;
    /// Whether its shards hold what they need of their rows, so that nobody else need.
    fn keeps_rows(&self) -> bool;
    /// Where checkpoints are kept: the parameters that may be others when a training goes on from one.
    fn adjustable(&self) -> Option<&'static [&'static str]>;
    /// Trains on the threads of the current rayon pool; gives the model's bytes.
    fn fit(&self, params: &Values, schema: &Schema, rows: &dyn crate::run::Rows, cx: &Cx) -> Result<Vec<u8>> {
        Ok(self.fit_from(params, schema, rows, None, cx)?.0)
    }
    /// The same, from the bytes of a model to go on from, where there is one. Gives also what the model answers for
    /// the rows, where the training knows it already.
    fn fit_from(
        &self,
        params: &Values,
        schema: &Schema,
        rows: &dyn crate::run::Rows,
        from: Option<&[u8]>,
        cx: &Cx,
    ) -> Result<(Vec<u8>, Option<Vec<f64>>)>;
    /// The same, from where a training was broken off: from the bytes of a checkpoint of it, with the same
    /// parameters, rows and seed.
    fn fit_again(
        &self,
        params: &Values,
        schema: &Schema,
        rows: &dyn crate::run::Rows,
        checkpoint: &[u8],
        cx: &Cx,
    ) -> Result<(Vec<u8>, Option<Vec<f64>>)>;
    /// Begins a training whose shards live elsewhere.
    fn start(&self, params: &Values, schema: &Schema, cx: &Cx) -> Result<Box<dyn Job>> {
        self.start_from(params, schema, None, cx)
    }
    /// The same, from the bytes of a model to go on from, where there is one.
    fn start_from(
        &self,
        params: &Values,
        schema: &Schema,
        from: Option<&[u8]>,
        cx: &Cx,
    ) -> Result<Box<dyn Job>>;
    /// A shard of a round, from the job's state.
    fn attach(&self, params: &Values, schema: &Schema, state: &[u8]) -> Result<Box<dyn Shard>>;
    /// A model from its bytes, validated against its schema.
    fn load(&self, bytes: &[u8], schema: &Schema) -> Result<Box<dyn Model>>;
}

/// The coordinator of a training whose shards live elsewhere.
pub trait Job: Send {
    /// The state that shards of this round start from.
    fn state(&self) -> Result<Vec<u8>>;
    /// Ends a round with the merged partial of all shards; the model's bytes when it was the last.
    fn update(&mut self, partial: &[u8], cx: &Cx) -> Result<Option<Vec<u8>>>;
}

/// One shard of one round: a Postgres aggregate's transition state.
pub trait Shard: Send {
    /// Folds a block of rows.
    fn accumulate(&mut self, chunk: &Chunk, cx: &Cx) -> Result<()>;
    /// Ends the shard's round: call once, after the last block and before `combine` or `partial`.
    fn finish(&mut self, cx: &Cx) -> Result<()>;
    /// Adds the partial of another finished shard.
    fn combine(&mut self, partial: &[u8]) -> Result<()>;
    /// The partial, to send.
    fn partial(&self) -> Result<Vec<u8>>;
}

/// Makes an [`Algorithm`] of a [`Learner`].
pub struct Erased<L>(PhantomData<fn() -> L>);

impl<L> Erased<L> {
    /// The one value, for the static list.
    pub const NEW: Self = Erased(PhantomData);
}

struct JobOf<L: Learner> {
    params: L::Params,
    state: Option<L::State>,
    schema: Schema,
}

struct ShardOf<L: Learner> {
    params: L::Params,
    state: L::State,
    local: L::Local,
    partial: L::Partial,
}

/// The first state, from a model's bytes where there are some.
fn begin<L: Learner>(params: &L::Params, schema: &Schema, from: Option<&[u8]>, cx: &Cx) -> Result<L::State> {
    let Some(bytes) = from else { return L::init(params, schema, cx) };
    let model: L::Model = wire::decode(bytes)?;
    model.validate(schema)?;
    L::resume(params, schema, model, cx)
}

/// The model's bytes after the rounds that follow `begun`, and what it answers for the rows, where the fit knew it.
fn fitted<L: Learner>(
    params: &L::Params,
    schema: &Schema,
    rows: &dyn crate::run::Rows,
    begun: (usize, L::State),
    cx: &Cx,
) -> Result<(Vec<u8>, Option<Vec<f64>>)> {
    let (model, outputs) = crate::run::fit_from::<L>(params, schema, rows, begun, cx)?;
    model.validate(schema)?;
    Ok((wire::encode(&model)?, outputs))
}

impl<L: Learner> Algorithm for Erased<L> {
    fn info(&self) -> &'static Info {
        &L::INFO
    }

    fn memory_parts(
        &self,
        params: &Values,
        schema: &Schema,
        threads: usize,
    ) -> Result<Vec<(&'static str, u64)>> {
        Ok(L::memory_parts(&L::params(params, schema)?, schema, threads))
    }

    fn resumes(&self) -> bool {
        L::RESUMES
    }

    fn keeps_rows(&self) -> bool {
        L::KEEPS_ROWS && L::INFO.sharding == Sharding::Exact
    }

    fn adjustable(&self) -> Option<&'static [&'static str]> {
        L::ADJUSTABLE
    }

    fn fit_from(
        &self,
        params: &Values,
        schema: &Schema,
        rows: &dyn crate::run::Rows,
        from: Option<&[u8]>,
        cx: &Cx,
    ) -> Result<(Vec<u8>, Option<Vec<f64>>)> {
        let params = L::params(params, schema)?;
        let state = begin::<L>(&params, schema, from, cx)?;
        fitted::<L>(&params, schema, rows, (0, state), cx)
    }

    fn fit_again(
        &self,
        params: &Values,
        schema: &Schema,
        rows: &dyn crate::run::Rows,
        checkpoint: &[u8],
        cx: &Cx,
    ) -> Result<(Vec<u8>, Option<Vec<f64>>)> {
        let params = L::params(params, schema)?;
        let (round, state): (u64, L::State) = wire::decode(checkpoint)?;
        fitted::<L>(&params, schema, rows, (round as usize, state), cx)
    }

    fn start_from(
        &self,
        params: &Values,
        schema: &Schema,
        from: Option<&[u8]>,
        cx: &Cx,
    ) -> Result<Box<dyn Job>> {
        let params = L::params(params, schema)?;
        let state = Some(begin::<L>(&params, schema, from, cx)?);
        Ok(Box::new(JobOf::<L> { params, state, schema: schema.clone() }))
    }

    fn attach(&self, params: &Values, schema: &Schema, state: &[u8]) -> Result<Box<dyn Shard>> {
        let params = L::params(params, schema)?;
        let state: L::State = wire::decode(state)?;
        let partial = L::zero(&params, &state);
        Ok(Box::new(ShardOf::<L> { params, state, local: L::Local::default(), partial }))
    }

    fn load(&self, bytes: &[u8], schema: &Schema) -> Result<Box<dyn Model>> {
        let model: L::Model = wire::decode(bytes)?;
        model.validate(schema)?;
        Ok(Box::new(model))
    }
}

impl<L: Learner> Job for JobOf<L> {
    fn state(&self) -> Result<Vec<u8>> {
        match &self.state {
            Some(state) => wire::encode(state),
            None => Err(Error::internal("the job is done and has no next round")),
        }
    }

    fn update(&mut self, partial: &[u8], cx: &Cx) -> Result<Option<Vec<u8>>> {
        let state =
            self.state.take().ok_or_else(|| Error::internal("the job is done and has no next round"))?;
        match L::update(&self.params, state, wire::decode(partial)?, cx)? {
            Step::Again(state) => {
                self.state = Some(state);
                Ok(None)
            }
            Step::Done(model) => {
                model.validate(&self.schema)?;
                wire::encode(&model).map(Some)
            }
        }
    }
}

impl<L: Learner> Shard for ShardOf<L> {
    fn accumulate(&mut self, chunk: &Chunk, cx: &Cx) -> Result<()> {
        L::accumulate(&self.params, &self.state, &mut self.local, chunk, &mut self.partial, cx)
    }

    fn finish(&mut self, cx: &Cx) -> Result<()> {
        L::finish(&self.params, &self.state, &mut self.local, &mut self.partial, cx)
    }

    fn combine(&mut self, partial: &[u8]) -> Result<()> {
        self.partial.merge(wire::decode(partial)?)
    }

    fn partial(&self) -> Result<Vec<u8>> {
        wire::encode(&self.partial)
    }
}
