//! A network in a card that is trained: the weights, what the optimizer remembers, and a batch with its gradients stay there.
//! To the card go the images of a batch as they are, with what chance does to each, and the gradients of its outputs; from it
//! come the outputs, and at the end of an epoch the weights. Losses are computed here, by [`Batch::judge`], as everywhere.

use super::body::{Body, signed};
use super::card::{Card, Kernel, Memory, Plain, Pointers, Shape, Task};
use super::forecast;
use crate::augment::Change;
use crate::data::{Feed, Inputs, Normal};
use crate::optimizer::{self, Optimizer, Update, Weights};
use crate::pass;
use crate::plan::{Conv, Op, Over, Plan, Route};
use crate::train::{Batch, Found, Options, Stepper};
use crate::{Error, Stop};
use std::ops::Range;
use std::rc::Rc;

/// Blocks of threads that sums over pixels are spread over.
const BLOCKS: usize = 1024;
/// The least pixels of a part of such a sum.
const PART: usize = 256;
/// Weights a block of threads that sums squares.
const SQUARES: usize = 1 << 14;

/// A training's place in a card.
pub struct Training {
    pub(super) plan: Plan,
    pub(super) body: Body,
    /// Rows a batch, at most.
    batch: usize,
    /// Gradients of tensors.
    slots: Vec<Memory>,
    /// The gradient of the weights.
    pub(super) gradient: Memory,
    first: Memory,
    second: Memory,
    average: Memory,
    /// Means of channels, then scales, in f64.
    normal: Memory,
    sent: Memory,
    changes: Memory,
    shares: Memory,
    /// Outputs without padding, and their gradients.
    scores: Memory,
    /// Places of the outputs, and the outputs of places.
    last: Memory,
    of: Memory,
    /// Parts of sums.
    pub(super) parts: Memory,
    /// Mean and spread of each set of a layer or group norm.
    pub(super) sets: Memory,
    /// Which set of an image each channel of a group norm belongs to.
    pub(super) groups: Vec<Option<Memory>>,
    squares: Memory,
    share: Memory,
    open: Vec<Range<usize>>,
    mixes: bool,
    here: Here,
}

/// What a batch is put together in.
#[derive(Default)]
struct Here {
    sent: Vec<u8>,
    changes: Vec<i32>,
    shares: Vec<f32>,
    starts: Vec<u64>,
    outputs: Vec<f32>,
    gradient: Vec<f32>,
}

/// How a sum over so many pixels is cut, where each part has so many blocks of threads: parts, and pixels each. The number of
/// parts never falls as pixels grow.
pub(super) fn cut(pixels: usize, blocks: usize) -> (usize, usize) {
    let parts = (BLOCKS / blocks.max(1)).clamp(1, BLOCKS).min(pixels.div_ceil(PART)).max(1);
    (parts, pixels.div_ceil(parts))
}

/// Blocks of threads for the gradient of a convolution's weights: across, and down.
pub(super) fn tiles(c: &Conv) -> [usize; 2] {
    let w = &c.weights;
    if c.route == Route::Depthwise {
        return [w.blocks, w.k];
    }
    [w.k.div_ceil(64), (w.blocks * 16).div_ceil(64) * w.groups]
}

/// Bytes of the largest parts of sums that a training needs.
fn parts(plan: &Plan, batch: usize) -> usize {
    let of = |(i, node): (usize, &crate::plan::Node)| {
        let to = &plan.tensors[i + 1];
        let pixels = batch * to.value.height * to.value.width;
        let channels = to.grad.channels;
        let sums = cut(pixels, channels.div_ceil(16)).0 * 2 * 8 * channels;
        match &node.op {
            Op::Conv(c) => {
                let [a, b] = tiles(c);
                sums.max(4 * cut(pixels, a * b).0 * c.weights.weights().len())
            }
            Op::BatchNorm { .. } | Op::GroupNorm { .. } => sums,
            _ => 0,
        }
    };
    plan.nodes.iter().enumerate().map(of).max().unwrap_or(0)
}

/// Sets of all layer and group norms of a batch, at most.
fn sets(plan: &Plan, batch: usize) -> usize {
    let of = |node: &crate::plan::Node| match &node.op {
        Op::GroupNorm { over: Over::Groups(groups), .. } => batch * groups,
        Op::GroupNorm { .. } => {
            let grid = &plan.tensors[node.inputs[0]].value;
            batch * grid.height * grid.width
        }
        _ => 0,
    };
    plan.nodes.iter().map(of).max().unwrap_or(0)
}

impl Training {
    /// Takes the room that the training needs, after having made sure that it is there.
    ///
    /// # Errors
    /// `Error::Memory`, with the bytes needed and those free.
    pub fn new(
        card: &Rc<dyn Card>,
        plan: &Plan,
        normal: &Normal,
        options: &Options,
    ) -> Result<Training, Error> {
        let needed = Training::memory(plan, normal, options)?;
        let (free, _) = card.memory()?;
        if needed > free {
            return Err(Error::Memory(format!(
                "training takes {needed} bytes of the GPU's memory, of which {free} are free"
            )));
        }
        Training::take(card, plan, normal, options)
    }

    /// Bytes that it takes of a card.
    ///
    /// # Errors
    /// None but those of a plan or normalisation that do not fit each other.
    pub fn memory(plan: &Plan, normal: &Normal, options: &Options) -> Result<u64, Error> {
        forecast::bytes(|card| Training::take(card, plan, normal, options))
    }

    fn take(card: &Rc<dyn Card>, plan: &Plan, normal: &Normal, options: &Options) -> Result<Training, Error> {
        if !normal.is_valid(plan.network.input.channels) || !plan.output().shape.is_flat() {
            return Err(Error::Data("the rows or options do not fit the network".into()));
        }
        let (batch, weights) = (options.batch_size.max(1), plan.weights);
        let body = Body::new(card, plan, &vec![0.0; weights], batch, true)?;
        let slots = body.memory.grads.sizes.iter().map(|n| Memory::zeros(card, 4 * n * batch));
        let slots = slots.collect::<Result<_, _>>()?;
        let (input, outputs, last) = (plan.network.input.len(), plan.outputs(), plan.output());
        let mixes = options.augment.mixup > 0.0;
        let sent = if mixes { 2 * batch } else { batch };
        let mut of = vec![-1i32; last.value.channels];
        last.places().iter().enumerate().for_each(|(i, p)| of[*p as usize] = i as i32);
        let open: Vec<Range<usize>> = optimizer::open(plan);
        let squares = open.iter().map(|r| r.len().div_ceil(SQUARES)).sum::<usize>();
        let second = if matches!(options.optimizer, Optimizer::Sgd { .. }) { 0 } else { weights };
        let average = if options.average > 0.0 { weights } else { 0 };
        let mut groups = vec![];
        for node in &plan.nodes {
            let Op::GroupNorm { over, .. } = &node.op else {
                groups.push(None);
                continue;
            };
            let from = &plan.tensors[node.inputs[0]];
            let (places, mut of) = (from.places(), vec![-1i32; from.value.channels]);
            let each = if let Over::Groups(n) = over { places.len() / n } else { places.len() };
            places.iter().enumerate().for_each(|(i, p)| of[*p as usize] = (i / each.max(1)) as i32);
            groups.push(Some(Memory::of(card, &of)?));
        }
        let zeros = |values: usize| Memory::zeros(card, 4 * values);
        Ok(Training {
            slots,
            gradient: zeros(weights)?,
            first: zeros(weights)?,
            second: zeros(second)?,
            average: zeros(average)?,
            normal: Memory::of(card, &normal.flat())?,
            sent: Memory::zeros(card, 8 * input * sent)?,
            changes: zeros(8 * sent)?,
            shares: zeros(batch)?,
            scores: zeros(batch * outputs)?,
            last: Memory::of(card, &signed(&last.places()))?,
            of: Memory::of(card, &of)?,
            parts: Memory::zeros(card, parts(plan, batch))?,
            sets: zeros(2 * sets(plan, batch))?,
            groups,
            squares: Memory::zeros(card, 8 * squares)?,
            share: zeros(1)?,
            open,
            mixes,
            here: Here::default(),
            plan: plan.clone(),
            body,
            batch,
        })
    }

    /// Where a tensor's gradient lies, if it has one.
    pub(super) fn grad(&self, tensor: usize) -> Option<&Memory> {
        self.body.memory.grads.of[tensor].map(|slot| &self.slots[slot])
    }

    pub(super) fn launch(
        &self,
        kernel: Kernel,
        shape: Shape,
        task: &Task,
        pointers: Pointers,
    ) -> Result<(), Error> {
        self.body.launch(kernel, shape, task, pointers)
    }

    /// Sends the images of a batch, and has them varied and normalised.
    fn fill(&mut self, batch: &Batch) -> Result<(), Error> {
        let (input, n) = (self.plan.network.input, batch.images.len());
        let here = &mut self.here;
        here.sent.clear();
        here.changes.clear();
        here.shares.clear();
        let numbers = |c: &Change| {
            let [top, bottom, left, right] = c.hole;
            let sides = [c.down as i32, c.right as i32, top as i32, bottom as i32, left as i32, right as i32];
            let [down, across, top, bottom, left, right] = sides;
            [i32::from(c.flip), down, across, top, bottom, left, right, 0]
        };
        let mut space = vec![];
        let mut row = |row: u32, sent: &mut Vec<u8>| {
            let (inputs, at) = batch.rows.inputs.of(row, &mut space)?;
            let these = at * input.len()..(at + 1) * input.len();
            match inputs {
                Inputs::Bytes(v) => sent.extend_from_slice(&v[these]),
                Inputs::Doubles(v) => sent.extend_from_slice(Plain::bytes(&v[these])),
                Inputs::Numbers(v) => sent.extend_from_slice(Plain::bytes(&v[these])),
            }
            Ok::<(), Error>(())
        };
        let mut partners = vec![];
        for (i, image) in batch.images.iter().enumerate() {
            let varied = batch.variation(input, i);
            row(*image, &mut here.sent)?;
            here.changes.extend(numbers(&varied.own));
            here.shares.push(varied.share);
            partners.push(varied.partner);
        }
        if self.mixes {
            for (partner, change) in partners {
                row(partner, &mut here.sent)?;
                here.changes.extend(numbers(&change));
            }
        }
        self.sent.put(&here.sent)?;
        self.changes.put(&here.changes)?;
        self.shares.put(&here.shares)?;
        let kind = match batch.rows.inputs {
            Feed::Here(Inputs::Bytes(_)) | Feed::Kept { .. } => 0,
            Feed::Here(Inputs::Doubles(_)) => 1,
            Feed::Here(Inputs::Numbers(_)) => 2,
        };
        let grid = &self.plan.tensors[0].value;
        let (images, places) = (n as i32, input.channels as i32);
        let task = Task { y: grid.into(), images, kind, places, ..Task::default() };
        let pointers =
            [self.body.at(0), self.sent.at(), self.normal.at(), self.shares.at(), self.changes.at()];
        self.launch(Kernel::Images, Shape::items(n * input.len()), &task, pointers)
    }

    /// Computes all nodes for the first `n` images of a batch.
    fn forward(&mut self, batch: &Batch, n: usize, stop: Stop) -> Result<(), Error> {
        for i in 0..self.plan.nodes.len() {
            stop.check()?;
            match &self.plan.nodes[i].op {
                Op::Dropout { stream, .. } => {
                    let starts = &mut self.here.starts;
                    starts.clear();
                    starts.extend((0..n).map(|image| batch.stream(image, *stream as u64).start()));
                    if let Some(memory) = self.body.streams(i) {
                        memory.put(starts)?;
                    }
                }
                Op::BatchNorm { frozen: false, .. } => self.measure(i, n)?,
                _ => {}
            }
            self.body.node(&self.plan, i, n)?;
        }
        Ok(())
    }

    /// From the outputs of a batch to their gradients.
    fn turn(&mut self, batch: &Batch, n: usize) -> Result<Found, Error> {
        let (tensor, k) = (self.plan.tensors.len() - 1, self.plan.outputs());
        let last = self.plan.output();
        let task = Task {
            x: (&last.value).into(),
            y: (&last.value).into(),
            images: n as i32,
            places: k as i32,
            relu: i32::from(last.relu),
            ..Task::default()
        };
        let pointers = [self.scores.at(), self.body.at(tensor), 0, 0, self.last.at()];
        self.launch(Kernel::Gather, Shape::items(n * k), &task, pointers)?;
        let mut here = std::mem::take(&mut self.here);
        here.outputs.resize(n * k, 0.0);
        here.gradient.resize(n * k, 0.0);
        self.scores.get(&mut here.outputs)?;
        let mut found = Found::default();
        let rows = here.outputs.chunks_exact(k).zip(here.gradient.chunks_exact_mut(k));
        for (i, (outputs, gradient)) in rows.enumerate() {
            found.add(batch.judge(i, outputs, gradient));
        }
        if let Some(grad) = self.grad(tensor) {
            self.scores.put(&here.gradient)?;
            let task = Task { y: (&last.grad).into(), ..task };
            let pointers = [grad.at(), self.scores.at(), self.body.at(tensor), 0, self.of.at()];
            self.launch(Kernel::Scatter, Shape::items(n * last.grad.channels), &task, pointers)?;
        }
        self.here = here;
        Ok(found)
    }

    /// Takes a step along the gradient: step number `t`, from 1.
    fn update(&self, update: Update, t: u64) -> Result<(), Error> {
        let open = || self.open.iter().filter(|r| !r.is_empty());
        let gradient = |from: usize| self.gradient.at() + 4 * from as u64;
        if update.clip > 0.0 {
            let mut sums = 0;
            for range in open() {
                let blocks = range.len().div_ceil(SQUARES);
                let task = Task { part: range.len() as i32, k: sums as i32, ..Task::default() };
                let pointers = [self.squares.at(), gradient(range.start), 0, 0, 0];
                self.launch(Kernel::Squares, Shape::blocks(blocks), &task, pointers)?;
                sums += blocks;
            }
            let task = Task { part: sums as i32, a: update.clip, ..Task::default() };
            let pointers = [self.share.at(), self.squares.at(), 0, 0, 0];
            self.launch(Kernel::Clip, Shape::blocks(1), &task, pointers)?;
            for range in open() {
                let task = Task { part: range.len() as i32, ..Task::default() };
                let pointers = [gradient(range.start), self.share.at(), 0, 0, 0];
                self.launch(Kernel::Shrink, Shape::items(range.len()), &task, pointers)?;
            }
        }
        let share = update.share(t);
        for range in open() {
            let place = |m: &Memory| if m.len() == 0 { 0 } else { m.at() + 4 * range.start as u64 };
            let task = Task { part: range.len() as i32, ..Task::default() };
            let (w, g) = (self.body.weight(range.start), gradient(range.start));
            let (m, v, average) = (place(&self.first), place(&self.second), place(&self.average));
            let items = Shape::items(range.len());
            match update.optimizer {
                Optimizer::Sgd { momentum, nesterov } => {
                    let c = [update.rate, momentum, update.decay, share, 0.0, 0.0];
                    let task = Task { c, kind: i32::from(nesterov), ..task };
                    self.launch(Kernel::Sgd, items, &task, [w, g, m, 0, average])?;
                }
                Optimizer::Adam | Optimizer::AdamW => {
                    let a = update.adam(t);
                    let task = Task { c: [a.rate, a.scale, a.decay, share, a.shrink, 0.0], ..task };
                    self.launch(Kernel::Adam, items, &task, [w, g, m, v, average])?;
                }
            }
        }
        Ok(())
    }

    /// Where the four lists of weights lie, in the order of [`Weights`].
    fn lists(&self) -> [&Memory; 4] {
        [&self.body.weights, &self.first, &self.second, &self.average]
    }
}

impl Stepper for Training {
    fn begin(&mut self, weights: &Weights) -> Result<(), Error> {
        let Weights { values, first, second, average, .. } = weights;
        let pairs = self.lists().into_iter().zip([values, first, second, average]);
        if pairs.clone().any(|(memory, list)| memory.len() != 4 * list.len()) {
            return Err(Error::Data("the weights do not fit the training".into()));
        }
        for (memory, list) in pairs {
            memory.put(list)?;
        }
        // What frozen batch norms do is known now, for the whole epoch.
        let mut norms = vec![];
        pass::recall(&self.plan, &weights.values, false, &mut norms);
        for (i, norm) in norms.iter().enumerate() {
            if let (Op::BatchNorm { frozen: true, .. }, Some(lists)) =
                (&self.plan.nodes[i].op, self.body.norm(i))
            {
                lists.put(&[&norm.scale[..], &norm.shift, &norm.mean, &norm.slope, &norm.offset].concat())?;
            }
        }
        Ok(())
    }

    fn step(
        &mut self,
        weights: &mut Weights,
        batch: &Batch,
        update: Update,
        stop: Stop,
    ) -> Result<Found, Error> {
        let n = batch.images.len();
        if n > self.batch {
            return Err(Error::Data(format!("a batch of {n} rows, expected {} at most", self.batch)));
        }
        self.fill(batch)?;
        self.forward(batch, n, stop)?;
        let found = self.turn(batch, n)?;
        if found.loss.is_finite() {
            self.backward(n, stop)?;
            weights.steps += 1;
            self.update(update, weights.steps)?;
        }
        Ok(found)
    }

    fn end(&mut self, weights: &mut Weights) -> Result<(), Error> {
        let Weights { values, first, second, average, .. } = &mut *weights;
        for (memory, list) in self.lists().into_iter().zip([values, first, second, average]) {
            memory.get(list)?;
        }
        // Running means and variances are no weights that move: their average is what they are.
        if !weights.average.is_empty() {
            let running = self.plan.trained..;
            weights.average[running.clone()].copy_from_slice(&weights.values[running]);
        }
        Ok(())
    }
}
