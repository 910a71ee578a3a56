//! The training loop: one epoch over rows in a random order, in mini-batches.
//!
//! Called by a learner, once an epoch, with the weights to start from. A batch is dealt to lanes, whose number
//! depends on the batch alone; each lane takes its images in order through the network on one thread, and
//! the lanes' gradients are added in order. So results are the same on any number of threads.

use crate::buffer::Buffer;
use crate::data::{self, Augment, Change, Inputs, Normal};
use crate::kernels::{self, BLOCK, Isa};
use crate::optimizer::{self, Optimizer, Schedule, Weights};
use crate::pass::{self, Workspace};
use crate::plan::{Op, Plan};
use crate::random::Stream;
use crate::{Error, Stop, parallel};
use std::sync::Mutex;

/// What the outputs are trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Softmax and cross-entropy: one output a class, targets are class numbers.
    CrossEntropy,
    /// The squared distance of the one output to the target.
    Squared,
}

/// How a network is trained.
#[derive(Debug, Clone, Copy)]
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
    pub inputs: Inputs<'a>,
    /// Their targets: class numbers, or values.
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

/// A dense layer's inputs and output gradients, for all images of a lane.
struct Kept {
    op: usize,
    inputs: Buffer,
    grads: Buffer,
}

/// A fixed share of every batch, with sums of its own.
struct Lane {
    sums: Buffer,
    kept: Vec<Kept>,
    images: usize,
    found: Found,
}

/// Everything that training needs, allocated once.
pub struct Trainer {
    plan: Plan,
    normal: Normal,
    options: Options,
    isa: Isa,
    group: usize,
    /// Weights turned round, by operation, for the gradients of inputs.
    turned: Vec<Buffer>,
    lanes: Vec<Lane>,
    work: Mutex<Vec<Workspace>>,
    grads: Buffer,
    order: Vec<u32>,
}

/// Lanes of a batch: 8 images or more each, at most 16.
fn lanes(batch: usize) -> usize {
    batch.div_ceil(8).clamp(1, 16)
}

/// Bytes that a trainer takes on so many threads, beside the rows and the weights.
pub fn memory(plan: &Plan, batch: usize, threads: usize) -> u64 {
    let dense: usize = plan
        .ops
        .iter()
        .enumerate()
        .filter(|(_, op)| matches!(op, Op::Dense { .. }))
        .map(|(i, _)| plan.tensors[i].value.size() + plan.tensors[i + 1].grad.size())
        .sum();
    let work = plan.values() * 2 * pass::group(plan, true) * threads;
    let sums = plan.conv_weights * lanes(batch) + dense * (batch + 16) + 2 * plan.weights;
    4 * (work + sums) as u64
}

impl Trainer {
    /// Room to train a network with rows that `normal` normalises.
    pub fn new(plan: &Plan, normal: Normal, options: Options) -> Trainer {
        Trainer::with_isa(plan, normal, options, Isa::detect())
    }

    /// The same on a certain kind of CPU.
    pub fn with_isa(plan: &Plan, normal: Normal, options: Options, isa: Isa) -> Trainer {
        let batch = options.batch_size.max(1);
        let n = lanes(batch);
        let most = batch.div_ceil(n);
        let dense = plan.ops.iter().enumerate().filter(|(_, op)| matches!(op, Op::Dense { .. }));
        let dense: Vec<usize> = dense.map(|(i, _)| i).collect();
        let kept = |op: usize| Kept {
            op,
            inputs: Buffer::new(plan.tensors[op].value.size() * most),
            grads: Buffer::new(plan.tensors[op + 1].grad.size() * most),
        };
        let lane = || Lane {
            sums: Buffer::new(plan.conv_weights),
            kept: dense.iter().map(|op| kept(*op)).collect(),
            images: 0,
            found: Found::default(),
        };
        Trainer {
            plan: plan.clone(),
            normal,
            options,
            isa,
            group: pass::group(plan, true),
            turned: (0..plan.ops.len()).map(|i| Buffer::new(pass::turned_len(plan, i))).collect(),
            lanes: (0..n).map(|_| lane()).collect(),
            work: Mutex::default(),
            grads: Buffer::new(plan.weights),
            order: vec![],
        }
    }

    /// Trains one epoch, number `epoch` from 0.
    ///
    /// # Errors
    /// `Error::Cancelled`; `Error::Data` when the loss is no longer finite, or rows do not fit the network.
    pub fn epoch(
        &mut self,
        weights: &mut Weights,
        rows: Rows,
        epoch: usize,
        stop: Stop,
    ) -> Result<Found, Error> {
        self.check(weights, rows)?;
        let n = rows.targets.len();
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..n as u32);
        Stream::new(self.options.seed, [epoch as u64, 0, 0]).shuffle(&mut order);
        let batches = n.div_ceil(self.options.batch_size);
        let mut found = Found::default();
        for (b, batch) in order.chunks(self.options.batch_size).enumerate() {
            let sums = self.gradient(&weights.values, rows, batch, (epoch, b), stop)?;
            if !sums.loss.is_finite() {
                let at =
                    format!("the training diverged in epoch {}: its loss is no longer finite", epoch + 1);
                return Err(Error::Data(at));
            }
            found.loss += sums.loss;
            found.correct += sums.correct;
            found.weight += sums.weight;
            let o = &self.options;
            let done = (epoch as f64 + b as f64 / batches as f64) / o.epochs.max(1) as f64;
            let rate = (o.learning_rate * o.schedule.at(done)) as f32;
            optimizer::step(self.isa, o.optimizer, rate, o.weight_decay as f32, weights, &self.grads);
        }
        self.order = order;
        Ok(found)
    }

    fn check(&self, weights: &Weights, rows: Rows) -> Result<(), Error> {
        let n = rows.targets.len();
        let outputs = self.plan.outputs();
        let fits = weights.values.len() == self.plan.weights
            && weights.first.len() == self.plan.weights
            && (weights.second.len() == self.plan.weights
                || matches!(self.options.optimizer, Optimizer::Sgd { .. }))
            && rows.inputs.len() == n * self.plan.network.input.len()
            && rows.weights.is_none_or(|w| w.len() == n)
            && u32::try_from(n).is_ok()
            && self.normal.is_valid(self.plan.network.input.channels)
            && (self.options.loss == Loss::CrossEntropy || outputs == 1)
            && self.options.batch_size > 0;
        if !fits {
            return Err(Error::Data("the rows, weights or options do not fit the network".into()));
        }
        let known = |y: &f32| *y >= 0.0 && (*y as usize) < outputs && y.fract() == 0.0;
        if self.options.loss == Loss::CrossEntropy && !rows.targets.iter().all(known) {
            return Err(Error::Data(format!(
                "a target is not a class of the {outputs} that the network has"
            )));
        }
        Ok(())
    }

    /// The gradient of the mean loss of a batch, which stays in `self.grads`; the sums of its losses.
    fn gradient(
        &mut self,
        weights: &[f32],
        rows: Rows,
        batch: &[u32],
        at: (usize, usize),
        stop: Stop,
    ) -> Result<Found, Error> {
        self.turn(weights);
        let n = lanes(batch.len());
        let mut shares: Vec<(&mut Lane, &[u32], usize)> = vec![];
        for (i, lane) in self.lanes.iter_mut().take(n).enumerate() {
            let (from, to) = (batch.len() * i / n, batch.len() * (i + 1) / n);
            shares.push((lane, &batch[from..to], from));
        }
        let step = Step {
            plan: &self.plan,
            isa: self.isa,
            options: &self.options,
            normal: &self.normal,
            turned: &self.turned,
            weights,
            rows,
            at,
            share: 1.0 / batch.len() as f32,
            stop,
        };
        let (work, group) = (&self.work, self.group);
        let results = parallel::each(&mut shares, |_, (lane, images, first)| {
            let free = work.lock().ok().and_then(|mut free| free.pop());
            let mut space = free.unwrap_or_else(|| Workspace::new(step.plan, group, true));
            let result = step.lane(&mut space, lane, images, *first);
            if let Ok(mut free) = work.lock() {
                free.push(space);
            }
            result
        });
        results.into_iter().collect::<Result<(), Error>>()?;
        self.add_convolutions(n);
        self.add_dense(n);
        let mut found = Found::default();
        for lane in &self.lanes[..n] {
            found.loss += lane.found.loss;
            found.correct += lane.found.correct;
            found.weight += lane.found.weight;
        }
        Ok(found)
    }

    /// Prepares the weights for the gradients of inputs.
    fn turn(&mut self, weights: &[f32]) {
        let plan = &self.plan;
        let mut blocks: Vec<(usize, usize, &mut [f32])> = vec![];
        for (op, turned) in self.turned.iter_mut().enumerate() {
            let (taps, w) = match plan.ops[op] {
                Op::Conv { kernel, weights, .. } => (kernel * kernel, weights),
                Op::Dense { weights } => (1, weights),
                _ => continue,
            };
            let len = taps * w.blocks * BLOCK * BLOCK;
            blocks.extend(turned.chunks_mut(len).enumerate().map(|(b, out)| (op, b, out)));
        }
        parallel::each(&mut blocks, |_, (op, block, out)| pass::turn(plan, *op, weights, *block, out));
    }

    /// Adds the lanes' sums of convolutions, lane by lane.
    fn add_convolutions(&mut self, n: usize) {
        const PIECE: usize = 1 << 12;
        let (lanes, isa) = (&self.lanes[..n], self.isa);
        let mut pieces: Vec<&mut [f32]> = self.grads[..self.plan.conv_weights].chunks_mut(PIECE).collect();
        parallel::each(&mut pieces, |i, piece| {
            let at = i * PIECE..i * PIECE + piece.len();
            piece.copy_from_slice(&lanes[0].sums[at.clone()]);
            for lane in &lanes[1..] {
                kernels::add_assign(isa, piece, &lane.sums[at.clone()]);
            }
        });
    }

    /// The gradients of dense layers, from what the lanes kept, image by image.
    fn add_dense(&mut self, n: usize) {
        let (plan, lanes, isa) = (&self.plan, &self.lanes[..n], self.isa);
        let mut rest = &mut self.grads[plan.conv_weights..];
        let mut pieces: Vec<(usize, usize, &mut [f32])> = vec![];
        let mut biases: Vec<(usize, &mut [f32])> = vec![];
        let dense = plan
            .ops
            .iter()
            .filter_map(|op| if let Op::Dense { weights } = op { Some(weights) } else { None });
        for (i, w) in dense.enumerate() {
            let (values, more) = rest.split_at_mut(w.weights().len());
            let (bias, more) = more.split_at_mut(w.bias().len());
            rest = more;
            biases.push((i, bias));
            // Two blocks are a vector tile's width.
            pieces.extend(values.chunks_mut(2 * w.k * BLOCK).enumerate().map(|(b, out)| (i, 2 * b, out)));
        }
        parallel::each(&mut pieces, |_, (i, block, out)| {
            out.fill(0.0);
            for lane in lanes {
                let kept = &lane.kept[*i];
                let Op::Dense { weights: w } = plan.ops[kept.op] else { return };
                let window = pass::dense_window(w, lane.images);
                let inputs = kernels::Rows { values: &kept.inputs, stride: 0, step: w.k };
                let grads = &kept.grads[*block * BLOCK..];
                let grads = kernels::Rows { values: grads, stride: 0, step: w.blocks * BLOCK };
                kernels::weight_grad(isa, inputs, window, grads, 1, out);
            }
        });
        for (i, bias) in biases {
            bias.fill(0.0);
            for lane in lanes {
                kernels::column_sums(isa, &lane.kept[i].grads[..lane.images * bias.len()], bias);
            }
        }
    }
}

/// What all lanes of a step share.
struct Step<'a> {
    plan: &'a Plan,
    isa: Isa,
    options: &'a Options,
    normal: &'a Normal,
    turned: &'a [Buffer],
    weights: &'a [f32],
    rows: Rows<'a>,
    /// Epoch and batch.
    at: (usize, usize),
    /// The share of a row in the mean loss.
    share: f32,
    stop: Stop<'a>,
}

impl Step<'_> {
    /// Takes a lane's images, the first of which is number `first` of the batch, forward and backward.
    fn lane(&self, work: &mut Workspace, lane: &mut Lane, images: &[u32], first: usize) -> Result<(), Error> {
        let (plan, o) = (self.plan, self.options);
        lane.sums.fill(0.0);
        lane.found = Found::default();
        lane.images = 0;
        let place = |image: usize, use_: u64| {
            Stream::new(o.seed, [1 + self.at.0 as u64, ((self.at.1 as u64) << 32) | image as u64, use_])
        };
        for (g, group) in images.chunks(work.images()).enumerate() {
            let (n, first) = (group.len(), first + g * work.images());
            for (i, row) in group.iter().enumerate() {
                self.stop.check()?;
                let change = if o.augment == Augment::default() {
                    Change::default()
                } else {
                    o.augment.draw(plan.network.input, &mut place(first + i, u64::MAX))
                };
                let grid = &plan.tensors[0].value;
                data::fill(self.rows.inputs, *row as usize, self.normal, grid, change, work.input(plan, i));
            }
            let dropout = |image: usize, layer: usize| place(first + image, layer as u64);
            work.forward(plan, self.isa, self.weights, n, Some(&dropout), self.stop)?;
            let (outputs, grads) = work.outputs(plan, n);
            let width = outputs.len() / n;
            for (i, row) in group.iter().enumerate() {
                let (z, dz) = (&outputs[i * width..][..width], &mut grads[i * width..][..width]);
                let weight = self.rows.weights.map_or(1.0, |w| w[*row as usize]);
                let target = self.rows.targets[*row as usize];
                let (loss, correct) = loss(o.loss, &z[..plan.outputs()], target, weight * self.share, dz);
                lane.found.loss += loss * f64::from(weight);
                lane.found.correct += if correct { f64::from(weight) } else { 0.0 };
                lane.found.weight += f64::from(weight);
            }
            work.backward(plan, self.isa, self.turned, n, &mut lane.sums, &dropout, self.stop)?;
            for kept in &mut lane.kept {
                let (x, dy) = work.dense(plan, kept.op, n);
                kept.inputs[lane.images * x.len() / n..][..x.len()].copy_from_slice(x);
                kept.grads[lane.images * dy.len() / n..][..dy.len()].copy_from_slice(dy);
            }
            lane.images += n;
        }
        Ok(())
    }
}

/// The loss of one row and whether its answer is right; `dz` is the gradient, times `share`.
fn loss(loss: Loss, z: &[f32], target: f32, share: f32, dz: &mut [f32]) -> (f64, bool) {
    match loss {
        Loss::Squared => {
            let error = z[0] - target;
            dz[0] = 2.0 * error * share;
            (f64::from(error) * f64::from(error), false)
        }
        Loss::CrossEntropy => {
            let class = target as usize;
            let most = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = z.iter().map(|z| f64::from(z - most).exp()).sum();
            for (dz, z) in dz.iter_mut().zip(z) {
                *dz = (f64::from(z - most).exp() / sum) as f32 * share;
            }
            dz[class] -= share;
            let right = z.iter().position(|z| *z == most) == Some(class);
            (sum.ln() - f64::from(z[class] - most), right)
        }
    }
}
