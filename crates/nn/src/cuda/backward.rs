//! The gradients of a network in a card: node by node from the last one to the first, as `pass` does it on the CPU.

use super::body::{folding, function, normed, pair};
use super::card::{Kernel, Memory, Shape, Task};
use super::training::{Training, cut, tiles};
use crate::plan::{Conv, Norm, Op, Over, Plan, Route, Table, Tensor};
use crate::{Error, Stop};
use std::ops::Range;

/// What `channel_sums` sums up, by its number.
#[derive(Clone, Copy)]
enum Sums {
    /// Gradients.
    Grads = 0,
    /// Values and squares.
    Values = 1,
    /// Gradients, and these times values.
    Products = 2,
    /// The same with values as a layer or group norm made them.
    Normed = 3,
}

fn is_frozen(plan: &Plan, at: usize) -> bool {
    plan.frozen.iter().any(|f| f.contains(&at))
}

/// What all kernels of a node's gradient get to know: its first input, its output, the gradients of both.
fn task(from: &Tensor, to: &Tensor, n: usize) -> Task {
    Task {
        x: (&from.value).into(),
        y: (&to.grad).into(),
        z: (&from.grad).into(),
        o: (&to.value).into(),
        images: n as i32,
        ..Task::default()
    }
}

fn pixels(tensor: &Tensor, n: usize) -> usize {
    n * tensor.value.height * tensor.value.width
}

impl Training {
    /// From the gradients of the outputs to those of the weights, by way of all tensors that weights lie before.
    pub(super) fn backward(&self, n: usize, stop: Stop) -> Result<(), Error> {
        for i in (0..self.plan.nodes.len()).rev() {
            stop.check()?;
            let Some(dy) = self.grad(i + 1).map(Memory::at) else { continue };
            self.weights_of(i, dy, n)?;
            let (node, mut part) = (&self.plan.nodes[i], 0);
            for (which, input) in node.inputs.iter().enumerate() {
                let from = &self.plan.tensors[*input];
                let channels = part..part + from.shape.channels;
                part = channels.end;
                let Some(dx) = self.grad(*input) else { continue };
                let first =
                    from.readers.last() == Some(&i) && node.inputs[..which].iter().all(|t| t != input);
                // These do not write padded channels.
                let partly = match &node.op {
                    Op::Conv(c) => c.weights.groups > 1,
                    op => matches!(op, Op::GroupNorm { .. } | Op::Softmax | Op::Concat),
                };
                if first && partly {
                    self.body.card.zero(dx.at(), 4 * from.grad.size() * n)?;
                }
                self.input_of(i, which, channels, [dx.at(), dy], !first, n)?;
            }
        }
        Ok(())
    }

    /// The gradient of the input number `which` of a node, whose channels lie in the output's at `part`, if they do.
    fn input_of(
        &self,
        i: usize,
        which: usize,
        part: Range<usize>,
        [dx, dy]: [u64; 2],
        add: bool,
        n: usize,
    ) -> Result<(), Error> {
        let node = &self.plan.nodes[i];
        let input = node.inputs[which];
        let (from, to) = (&self.plan.tensors[input], &self.plan.tensors[i + 1]);
        let (x, y) = (self.body.at(input), self.body.at(i + 1));
        let task = Task { relu: i32::from(from.relu), add: i32::from(add), ..task(from, to, n) };
        let all = Shape::items(pixels(from, n) * from.grad.channels);
        let places = self.body.places(i);
        match &node.op {
            Op::Conv(c) => {
                let task = folding(task, c, to);
                let pointers = [dx, dy, self.body.weight(c.weights.weights().start), x, 0];
                if c.route == Route::Depthwise {
                    return self.launch(Kernel::DepthwiseGrad, all, &task, pointers);
                }
                let across = pixels(from, n).div_ceil(64) as u32;
                let grid = [across, c.inputs.div_ceil(64) as u32, c.weights.groups as u32];
                self.launch(Kernel::ConvGrad, Shape { grid, block: [16, 16, 1] }, &task, pointers)
            }
            Op::Pool { max, kernel, stride, before } => {
                let (kernel, stride, before) = (pair(*kernel), pair(*stride), pair(*before));
                let task = Task { kernel, stride, before, kind: i32::from(*max), ..task };
                self.launch(Kernel::PoolGrad, all, &task, [dx, dy, x, y, 0])
            }
            Op::Flatten => self.launch(Kernel::FlattenGrad, all, &task, [dx, dy, x, 0, 0]),
            Op::Activation(f) => {
                let (kind, a) = function(*f);
                self.launch(Kernel::ActivationGrad, all, &Task { kind, a, ..task }, [dx, dy, x, y, 0])
            }
            Op::Softmax => {
                let task = Task { places: from.places().len() as i32, ..task };
                self.launch(Kernel::SoftmaxGrad, Shape::items(pixels(from, n)), &task, [dx, dy, x, y, places])
            }
            Op::Dropout { rate, .. } => {
                let starts = self.body.streams(i).map_or(0, Memory::at);
                self.launch(Kernel::DropoutGrad, all, &Task { a: *rate, ..task }, [dx, dy, x, starts, 0])
            }
            Op::BatchNorm { .. } => {
                let norm = self.body.norm(i).map_or(0, Memory::at);
                self.launch(Kernel::ScaleGrad, all, &task, [dx, dy, x, norm, 0])
            }
            Op::GroupNorm { norm, over } => {
                let (task, sets) = normed(task, from, *over, norm.epsilon);
                let pointers = [dx, dy, x, self.body.weight(norm.scale().start), places];
                self.launch(Kernel::NormGrad, Shape::blocks(n * sets), &task, pointers)
            }
            Op::Add => self.launch(Kernel::CopyGrad, all, &task, [dx, dy, x, 0, 0]),
            Op::Concat => {
                let task = Task { places: part.len() as i32, part: part.start as i32, ..task };
                let items = Shape::items(pixels(from, n) * part.len());
                let list = places + 4 * part.start as u64;
                self.launch(Kernel::ConcatGrad, items, &task, [dx, dy, x, 0, list])
            }
            // It reads the network's input, whose gradient nobody wants.
            Op::Embedding { .. } => Ok(()),
        }
    }

    /// The gradients of a node's weights, and what a batch norm's input needs.
    fn weights_of(&self, i: usize, dy: u64, n: usize) -> Result<(), Error> {
        let node = &self.plan.nodes[i];
        let (from, to) = (&self.plan.tensors[node.inputs[0]], &self.plan.tensors[i + 1]);
        let (x, task) = (self.body.at(node.inputs[0]), task(from, to, n));
        match &node.op {
            Op::Conv(c) if !self.plan.is_frozen(c) => self.conv_weights(c, to, task, [x, dy], n),
            Op::BatchNorm { norm, frozen: false, .. } => {
                let lists = self.body.norm(i).map_or(0, Memory::at);
                let means = lists + 8 * norm.width as u64;
                let task = self.sum(Sums::Products, to, task, [x, dy, means, 0], n)?;
                let pointers = [lists, self.parts.at(), self.gradient_at(norm.at), 0, 0];
                self.launch(Kernel::Differentiate, Shape::items(norm.width), &task, pointers)
            }
            Op::GroupNorm { norm, over } if !is_frozen(&self.plan, norm.at) => {
                self.norm_weights(i, norm, *over, task, [x, dy], n)
            }
            Op::Embedding { numbers, tables } => self.table_weights(numbers.len(), tables, task, [x, dy]),
            _ => Ok(()),
        }
    }

    fn gradient_at(&self, weight: usize) -> u64 {
        self.gradient.at() + 4 * weight as u64
    }

    /// Sums up each channel of `to`, in parts; gives the task for what adds these up.
    fn sum(
        &self,
        sums: Sums,
        to: &Tensor,
        task: Task,
        [x, dy, a, of]: [u64; 4],
        n: usize,
    ) -> Result<Task, Error> {
        let across = to.grad.channels.div_ceil(16);
        let (parts, part) = cut(pixels(to, n), across);
        let task = Task { kind: sums as i32, part: part as i32, k: parts as i32, ..task };
        let shape = Shape { grid: [across as u32, parts as u32, 1], block: [16, 16, 1] };
        self.launch(Kernel::ChannelSums, shape, &task, [self.parts.at(), x, dy, a, of])?;
        Ok(task)
    }

    fn conv_weights(
        &self,
        c: &Conv,
        to: &Tensor,
        task: Task,
        [x, dy]: [u64; 2],
        n: usize,
    ) -> Result<(), Error> {
        let w = &c.weights;
        if w.bias {
            let sums = Task { kind: 0, ..self.sum(Sums::Grads, to, task, [x, dy, 0, 0], n)? };
            let pointers = [self.gradient_at(w.bias().start), self.parts.at(), 0, 0, 0];
            self.launch(Kernel::Settle, Shape::items(to.grad.channels), &sums, pointers)?;
        }
        let [a, b] = tiles(c);
        let (parts, part) = cut(pixels(to, n), a * b);
        let task = Task { part: part as i32, ..folding(task, c, to) };
        let pointers = [self.parts.at(), x, dy, 0, 0];
        let (kernel, grid) = if c.route == Route::Depthwise {
            (Kernel::DepthwiseWeights, [a as u32, parts as u32, b as u32])
        } else {
            (Kernel::ConvWeights, [a as u32, b as u32, parts as u32])
        };
        self.launch(kernel, Shape { grid, block: [16, 16, 1] }, &task, pointers)?;
        let len = w.weights().len();
        let task = Task { kind: parts as i32, part: len as i32, ..Task::default() };
        let pointers = [self.gradient_at(w.weights().start), self.parts.at(), 0, 0, 0];
        self.launch(Kernel::Collect, Shape::items(len), &task, pointers)
    }

    fn norm_weights(
        &self,
        i: usize,
        norm: &Norm,
        over: Over,
        task: Task,
        [x, dy]: [u64; 2],
        n: usize,
    ) -> Result<(), Error> {
        let (from, to) = (&self.plan.tensors[self.plan.nodes[i].inputs[0]], &self.plan.tensors[i + 1]);
        let (whole, sets) = normed(task, from, over, norm.epsilon);
        let pointers = [self.sets.at(), x, 0, 0, self.body.places(i)];
        self.launch(Kernel::NormMoments, Shape::blocks(n * sets), &whole, pointers)?;
        let groups = if let Over::Groups(groups) = over { groups as i32 } else { 0 };
        let of = self.groups[i].as_ref().map_or(0, Memory::at);
        let task = Task { groups, ..task };
        let sums = Task { kind: 1, ..self.sum(Sums::Normed, to, task, [x, dy, self.sets.at(), of], n)? };
        let pointers = [self.gradient_at(norm.at), self.parts.at(), 0, 0, 0];
        self.launch(Kernel::Settle, Shape::items(norm.width), &sums, pointers)
    }

    fn table_weights(
        &self,
        numbers: usize,
        tables: &[Table],
        task: Task,
        [x, dy]: [u64; 2],
    ) -> Result<(), Error> {
        let mut at = numbers;
        for table in tables {
            let task = Task {
                inputs: table.feature as i32,
                outputs: at as i32,
                k: table.dim as i32,
                kind: table.categories as i32,
                ..task
            };
            at += table.dim;
            let pointers = [self.gradient_at(table.at), x, dy, 0, 0];
            let items = Shape::items(table.categories * table.dim);
            self.launch(Kernel::EmbedWeights, items, &task, pointers)?;
        }
        Ok(())
    }

    /// Takes the mean and variance of a batch norm's input from a batch.
    pub(super) fn measure(&self, i: usize, n: usize) -> Result<(), Error> {
        let node = &self.plan.nodes[i];
        let Op::BatchNorm { norm, running, momentum, .. } = &node.op else { return Ok(()) };
        let (from, to) = (&self.plan.tensors[node.inputs[0]], &self.plan.tensors[i + 1]);
        let x = self.body.at(node.inputs[0]);
        let task = self.sum(Sums::Values, to, task(from, to, n), [x, 0, 0, 0], n)?;
        let task = Task { a: norm.epsilon, c: [*momentum, 0.0, 0.0, 0.0, 0.0, 0.0], ..task };
        let lists = self.body.norm(i).map_or(0, Memory::at);
        let (weights, running) = (self.body.weight(norm.at), self.body.weight(*running));
        let pointers = [lists, self.parts.at(), weights, running, x];
        self.launch(Kernel::Measure, Shape::items(norm.width), &task, pointers)
    }
}
