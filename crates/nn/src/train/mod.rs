//! The training loop: one epoch over rows in a random order, in mini-batches.
//!
//! Called by a learner, once an epoch, with the weights to start from. The order of rows, what chance does to each
//! ([`Batch`]), the learning rate and what counts as a failure are decided here; a [`Stepper`] computes the steps: [`Lanes`]
//! on the CPU, or a device.

mod batch;
mod lanes;

use crate::augment::Augment;
use crate::data::{Feed, Normal};
use crate::kernels::Isa;
pub use crate::loss::Loss;
use crate::optimizer::{Optimizer, Schedule, Update, Weights};
use crate::plan::Plan;
use crate::random::Stream;
use crate::{Error, Stop};
pub use batch::Batch;
pub use lanes::{Lanes, memory};
use serde::{Deserialize, Serialize};

/// How a network is trained.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Options {
    /// What for.
    pub loss: Loss,
    /// How a gradient becomes a step.
    pub optimizer: Optimizer,
    /// The full learning rate.
    pub learning_rate: f64,
    /// How it moves over the training.
    pub schedule: Schedule,
    /// L2 penalty, on all weights and biases.
    pub weight_decay: f64,
    /// The length that longer gradients are cut to; 0 for none.
    pub clip: f64,
    /// The share of the weights' moving average that stays at each step; 0 where none is kept.
    pub average: f64,
    /// Rows a step.
    pub batch_size: usize,
    /// Epochs that the training will have in all, for the schedule.
    pub epochs: usize,
    /// How images are varied.
    pub augment: Augment,
    /// The seed of the order, of dropout and of variation.
    pub seed: u64,
}

/// Rows to train on.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// Their inputs.
    pub inputs: Feed<'a>,
    /// Their targets, as many a row as the loss takes: a class number, or values.
    pub targets: &'a [f32],
    /// Their weights, 1 on average; none where all are 1.
    pub weights: Option<&'a [f32]>,
}

/// What an epoch found, before each step on its rows: sums over rows, weighted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Found {
    /// The sum of losses.
    pub loss: f64,
    /// The sum of right answers.
    pub correct: f64,
    /// The sum of weights.
    pub weight: f64,
}

impl Found {
    pub(crate) fn add(&mut self, other: Found) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.weight += other.weight;
    }
}
/// What computes the steps of a training, on weights that it may hold by itself from one step to the next.
pub trait Stepper {
    /// Begins an epoch with these weights.
    ///
    /// # Errors
    /// `Error::Device`, of a device that fails.
    fn begin(&mut self, weights: &Weights) -> Result<(), Error>;
    /// Takes a batch through the network, forward and backward, and takes a step along the gradient of its mean loss; gives
    /// the sums of the losses before it. Where these are not finite, the training ends here.
    ///
    /// # Errors
    /// `Error::Cancelled`; `Error::Device`.
    fn step(
        &mut self,
        weights: &mut Weights,
        batch: &Batch,
        update: Update,
        stop: Stop,
    ) -> Result<Found, Error>;
    /// Leaves the weights as the steps made them, at the end of an epoch.
    ///
    /// # Errors
    /// `Error::Device`.
    fn end(&mut self, weights: &mut Weights) -> Result<(), Error>;
}

impl<S: Stepper + ?Sized> Stepper for Box<S> {
    fn begin(&mut self, weights: &Weights) -> Result<(), Error> {
        (**self).begin(weights)
    }

    fn step(
        &mut self,
        weights: &mut Weights,
        batch: &Batch,
        update: Update,
        stop: Stop,
    ) -> Result<Found, Error> {
        (**self).step(weights, batch, update, stop)
    }

    fn end(&mut self, weights: &mut Weights) -> Result<(), Error> {
        (**self).end(weights)
    }
}

/// Everything that training needs, allocated once.
pub struct Trainer<S = Lanes> {
    plan: Plan,
    options: Options,
    stepper: S,
    order: Vec<u32>,
    positive: Vec<f32>,
}

impl Trainer {
    /// Room to train a network on the CPU with rows that `normal` normalises.
    pub fn new(plan: &Plan, normal: Normal, options: Options) -> Trainer {
        Trainer::with_isa(plan, normal, options, Isa::detect())
    }

    /// The same on a certain kind of CPU.
    pub fn with_isa(plan: &Plan, normal: Normal, options: Options, isa: Isa) -> Trainer {
        Trainer::on(plan, options, Lanes::new(plan, normal, options.batch_size, isa))
    }
}

impl<S: Stepper> Trainer<S> {
    /// With steps that are computed there, of this very network and these options.
    pub fn on(plan: &Plan, options: Options, stepper: S) -> Trainer<S> {
        Trainer { plan: plan.clone(), options, stepper, order: vec![], positive: vec![] }
    }

    /// The same, where binary losses count targets of 1 by a weight an output.
    pub fn with_positive(self, positive: Vec<f32>) -> Trainer<S> {
        Trainer { positive, ..self }
    }

    /// Trains one epoch, number `epoch` from 0.
    ///
    /// # Errors
    /// `Error::Cancelled`; `Error::Data` when the loss is no longer finite, or rows do not fit the network; what the
    /// stepper fails with.
    pub fn epoch(
        &mut self,
        weights: &mut Weights,
        rows: Rows,
        epoch: usize,
        stop: Stop,
    ) -> Result<Found, Error> {
        self.epoch_between(weights, rows, epoch, stop, &mut || Ok(()))
    }

    /// The same, which looks after something else between two steps.
    ///
    /// # Errors
    /// As for [`Self::epoch`], and those of `between`, which end the epoch.
    pub fn epoch_between(
        &mut self,
        weights: &mut Weights,
        rows: Rows,
        epoch: usize,
        stop: Stop,
        between: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Found, Error> {
        let n = self.check(weights, rows)?;
        let o = self.options;
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..n as u32);
        Stream::new(o.seed, [epoch as u64, 0, 0]).shuffle(&mut order);
        let batches = n.div_ceil(o.batch_size);
        let diverged = |what: &str| {
            let epoch = epoch + 1;
            Error::Data(format!("the training diverged in epoch {epoch}: its {what} no longer finite"))
        };
        let mut found = Found::default();
        self.stepper.begin(weights)?;
        for (b, images) in order.chunks(o.batch_size).enumerate() {
            stop.check()?;
            between()?;
            if let Some(next) = order.chunks(o.batch_size).nth(b + 1) {
                rows.inputs.expect(next);
            }
            let done = (epoch as f64 + b as f64 / batches as f64) / o.epochs.max(1) as f64;
            let update = Update {
                optimizer: o.optimizer,
                rate: (o.learning_rate * o.schedule.at(done)) as f32,
                decay: o.weight_decay as f32,
                clip: o.clip as f32,
                average: o.average as f32,
            };
            let batch =
                Batch { rows, images, options: &self.options, positive: &self.positive, at: (epoch, b) };
            let sums = self.stepper.step(weights, &batch, update, stop)?;
            if !sums.loss.is_finite() {
                return Err(diverged("loss is"));
            }
            found.add(sums);
        }
        self.stepper.end(weights)?;
        // A relu makes a zero of what is no number, so that the loss alone does not tell.
        if !weights.values.iter().all(|w| w.is_finite()) {
            return Err(diverged("weights are"));
        }
        self.order = order;
        Ok(found)
    }

    /// The number of rows, which all fit.
    fn check(&self, weights: &Weights, rows: Rows) -> Result<usize, Error> {
        let (outputs, loss, plan) = (self.plan.outputs(), self.options.loss, &self.plan);
        let size = plan.network.input.len();
        let n = rows.inputs.len() / size;
        let len = |v: &[f32], none: bool| v.len() == plan.weights || (none && v.is_empty());
        let fits = len(&weights.values, false)
            && len(&weights.first, false)
            && len(&weights.second, matches!(self.options.optimizer, Optimizer::Sgd { .. }))
            && len(&weights.average, self.options.average == 0.0)
            && rows.inputs.len() == n * size
            && rows.targets.len() == n * loss.targets(outputs)
            && rows.weights.is_none_or(|w| w.len() == n)
            && (self.positive.is_empty() || self.positive.len() == outputs)
            && u32::try_from(n).is_ok()
            && plan.output().shape.is_flat()
            && self.options.batch_size > 0;
        if !fits {
            return Err(Error::Data("the rows, weights or options do not fit the network".into()));
        }
        let known = |y: &f32| *y >= 0.0 && (*y as usize) < outputs && y.fract() == 0.0;
        if loss.has_classes() && !rows.targets.iter().all(known) {
            return Err(Error::Data(format!(
                "a target is not a class of the {outputs} that the network has"
            )));
        }
        Ok(n)
    }
}
