//! A network in a card: its weights, and room for a group of images. Batches go through group by group, node by node, as
//! `pass` does it on the CPU, with the same plan (batch norms folded) and the same layout in memory.

use super::card::{Card, Kernel, Memory, Plain, Pointers, Shape, Task};
use crate::Error;
use crate::data::Inputs;
use crate::device::Loaded;
use crate::kernels::activation::Activation;
use crate::pass::{self, Batch};
use crate::plan::{self, Conv, Op, Over, Route, Table, Tensor};
use crate::score::Predictor;
use std::rc::Rc;

/// Images of a group.
const MOST: usize = 1024;

/// A network's place in a card.
pub struct Resident {
    card: Rc<dyn Card>,
    memory: plan::Memory,
    /// Images of a group.
    images: usize,
    weights: Memory,
    /// Means of channels, then scales, in f64.
    normal: Memory,
    /// What nodes need besides: the places of channels, or which channels are used.
    places: Vec<Option<Memory>>,
    /// Scales, then shifts, of batch norms that are not folded.
    norms: Vec<Option<Memory>>,
    values: Vec<Memory>,
    sent: Memory,
    outputs: Memory,
    /// Places of the outputs.
    last: Memory,
    out: Vec<f32>,
}

impl Resident {
    /// Takes a network in, with at most `room` bytes for the values of a group of images, and at least one image.
    ///
    /// # Errors
    /// `Error::Memory` when there is no room.
    pub fn new(card: &Rc<dyn Card>, network: &Predictor, room: usize) -> Result<Resident, Error> {
        let (plan, weights, normal) = network.folded();
        let memory = plan::Memory::new(plan, false);
        let images = (room / 4 / memory.image().max(1)).clamp(1, MOST);
        let mut batches: Vec<Batch> = vec![];
        pass::recall(plan, weights, true, &mut batches);
        let (mut places, mut norms) = (vec![], vec![]);
        for (i, node) in plan.nodes.iter().enumerate() {
            let from = &plan.tensors[node.inputs[0]];
            places.push(match &node.op {
                Op::Softmax | Op::GroupNorm { .. } => Some(Memory::of(card, &signed(&from.places()))?),
                Op::Activation(Activation::Sigmoid) => {
                    let mut used = vec![0i32; from.value.channels];
                    from.places().iter().for_each(|p| used[*p as usize] = 1);
                    Some(Memory::of(card, &used)?)
                }
                // One list after the other.
                Op::Concat => {
                    let all: Vec<u32> = node.inputs.iter().flat_map(|t| plan.tensors[*t].places()).collect();
                    Some(Memory::of(card, &signed(&all))?)
                }
                Op::Embedding { numbers, tables } => {
                    let width = plan.tensors[i + 1].value.channels;
                    Some(Memory::of(card, &sources(numbers, tables, width))?)
                }
                _ => None,
            });
            norms.push(match &node.op {
                Op::BatchNorm { .. } => {
                    let both = [&batches[i].scale[..], &batches[i].shift[..]].concat();
                    Some(Memory::of(card, &both)?)
                }
                _ => None,
            });
        }
        let values = memory.values.sizes.iter().map(|n| Memory::zeros(card, 4 * n * images));
        let values = values.collect::<Result<_, _>>()?;
        let (input, last) = (plan.network.input.len(), plan.output());
        let outputs = images * network.plan().outputs();
        Ok(Resident {
            weights: Memory::of(card, weights)?,
            normal: Memory::of(card, &normal.flat())?,
            places,
            norms,
            values,
            sent: Memory::zeros(card, 8 * input * images)?,
            outputs: Memory::zeros(card, 4 * outputs)?,
            last: Memory::of(card, &signed(&last.places()))?,
            out: vec![0.0; outputs],
            memory,
            images,
            card: card.clone(),
        })
    }

    /// Where a tensor lies.
    fn at(&self, tensor: usize) -> u64 {
        self.memory.values.of[tensor].map_or(0, |slot| self.values[slot].at())
    }

    /// Weights from value `from` on.
    fn weight(&self, from: usize) -> u64 {
        self.weights.at() + 4 * from as u64
    }

    fn launch(&self, kernel: Kernel, shape: Shape, task: &Task, pointers: Pointers) -> Result<(), Error> {
        // SAFETY: tensors have room for a group of images; grids, weights and places are those of the plan, whose
        // shapes were checked when it was made, and of which `new` took a copy each as long as the plan says.
        unsafe { self.card.launch(kernel, shape, task, pointers) }
    }

    /// Zeroes what the tensors before it left, where a node does not write all of its own.
    fn clean(&self, tensor: usize, to: &Tensor, op: &Op, n: usize) -> Result<(), Error> {
        let Some(slot) = self.memory.values.of[tensor] else { return Ok(()) };
        let partly = to.value.has_halo() || matches!(op, Op::GroupNorm { .. } | Op::Concat | Op::Conv(_));
        if partly && self.memory.values.shared[slot] {
            self.card.zero(self.values[slot].at(), 4 * to.value.size() * n)?;
        }
        Ok(())
    }

    fn group(&mut self, network: &Predictor, sent: (&[u8], i32), n: usize) -> Result<(), Error> {
        let (plan, ..) = network.folded();
        let first = &plan.tensors[0];
        if let Some(slot) = self.memory.values.of[0].filter(|s| self.memory.values.shared[*s]) {
            self.card.zero(self.values[slot].at(), 4 * first.value.size() * n)?;
        }
        self.card.write(self.sent.at(), sent.0)?;
        let channels = plan.network.input.channels;
        let task = Task {
            y: (&first.value).into(),
            images: n as i32,
            kind: sent.1,
            places: channels as i32,
            ..Task::default()
        };
        let items = Shape::items(n * first.value.height * first.value.width * channels);
        self.launch(Kernel::Input, items, &task, [self.at(0), self.sent.at(), self.normal.at(), 0, 0])?;
        for i in 0..plan.nodes.len() {
            self.node(plan, i, n)?;
        }
        let last = plan.output();
        let places = last.places().len();
        let task =
            Task { y: (&last.value).into(), images: n as i32, places: places as i32, ..Task::default() };
        let items = Shape::items(n * last.value.height * last.value.width * places);
        let from = self.at(plan.tensors.len() - 1);
        self.launch(Kernel::Gather, items, &task, [self.outputs.at(), from, 0, 0, self.last.at()])
    }

    fn node(&self, plan: &plan::Plan, i: usize, n: usize) -> Result<(), Error> {
        let node = &plan.nodes[i];
        let (from, to) = (&plan.tensors[node.inputs[0]], &plan.tensors[i + 1]);
        if self.memory.values.of[i + 1].is_none() {
            return Ok(());
        }
        self.clean(i + 1, to, &node.op, n)?;
        let task = Task {
            x: (&from.value).into(),
            y: (&to.value).into(),
            images: n as i32,
            relu: i32::from(to.relu),
            ..Task::default()
        };
        let (x, y) = (self.at(node.inputs[0]), self.at(i + 1));
        let pixels = n * to.value.height * to.value.width;
        let all = Shape::items(pixels * to.value.channels);
        let places = self.places[i].as_ref().map_or(0, Memory::at);
        match &node.op {
            Op::Conv(c) => self.conv(c, to, task, n, [x, y]),
            Op::Pool { max, kernel, stride, before } => {
                let task = Task {
                    kernel: pair(*kernel),
                    stride: pair(*stride),
                    before: pair(*before),
                    kind: i32::from(*max),
                    ..task
                };
                self.launch(Kernel::Pool, all, &task, [y, x, 0, 0, 0])
            }
            Op::Flatten => {
                let items = n * from.value.height * from.value.width * from.value.channels;
                self.launch(Kernel::Flatten, Shape::items(items), &task, [y, x, 0, 0, 0])
            }
            Op::Activation(f) => {
                let (kind, a) = match f {
                    Activation::Relu => (0, 0.0),
                    Activation::LeakyRelu(slope) => (1, *slope),
                    Activation::Gelu => (2, 0.0),
                    Activation::Silu => (3, 0.0),
                    Activation::Sigmoid => (4, 0.0),
                    Activation::Tanh => (5, 0.0),
                };
                self.launch(Kernel::Activation, all, &Task { kind, a, ..task }, [y, x, 0, 0, places])
            }
            Op::Softmax => {
                let task = Task { places: from.places().len() as i32, ..task };
                self.launch(Kernel::Softmax, Shape::items(pixels), &task, [y, x, 0, 0, places])
            }
            Op::Embedding { .. } => self.launch(Kernel::Embed, all, &task, [y, x, self.weight(0), 0, places]),
            Op::Dropout { .. } => self.launch(Kernel::Copy, all, &task, [y, x, 0, 0, 0]),
            Op::BatchNorm { norm, .. } => {
                let a = self.norms[i].as_ref().map_or(0, Memory::at);
                self.launch(Kernel::Scale, all, &task, [y, x, a, a + 4 * norm.width as u64, 0])
            }
            Op::GroupNorm { norm, over } => {
                let (kind, groups, sets) = match over {
                    Over::Pixel => (0, 1, from.value.height * from.value.width),
                    Over::Groups(groups) => (1, *groups, *groups),
                };
                let task = Task {
                    kind,
                    groups: groups as i32,
                    places: from.places().len() as i32,
                    a: norm.epsilon,
                    ..task
                };
                let (a, b) = (self.weight(norm.scale().start), self.weight(norm.shift().start));
                self.launch(Kernel::Norm, Shape::blocks(n * sets), &task, [y, x, a, b, places])
            }
            Op::Add => {
                let other = node.inputs[1];
                let task = Task { z: (&plan.tensors[other].value).into(), ..task };
                self.launch(Kernel::Add, all, &task, [y, x, self.at(other), 0, 0])
            }
            Op::Concat => {
                let mut part = 0;
                for input in &node.inputs {
                    let from = &plan.tensors[*input];
                    let count = from.shape.channels;
                    let task =
                        Task { x: (&from.value).into(), places: count as i32, part: part as i32, ..task };
                    let list = places + 4 * part as u64;
                    let pointers = [y, self.at(*input), 0, 0, list];
                    self.launch(Kernel::Concat, Shape::items(pixels * count), &task, pointers)?;
                    part += count;
                }
                Ok(())
            }
        }
    }

    fn conv(&self, c: &Conv, to: &Tensor, task: Task, n: usize, [x, y]: [u64; 2]) -> Result<(), Error> {
        let w = &c.weights;
        let depthwise = c.route == Route::Depthwise;
        let outputs = if w.groups == 1 { to.value.channels } else { w.outputs / w.groups };
        let task = Task {
            kernel: pair(c.kernel),
            stride: pair(c.stride),
            dilation: pair(c.dilation),
            before: pair(c.before),
            inputs: c.inputs as i32,
            outputs: outputs as i32,
            blocks: w.blocks as i32,
            groups: w.groups as i32,
            k: w.k as i32,
            ..task
        };
        let pointers = [y, x, self.weight(w.weights().start), self.weight(w.bias().start), 0];
        let pixels = n * to.value.height * to.value.width;
        if depthwise {
            return self.launch(Kernel::Depthwise, Shape::items(pixels * to.value.channels), &task, pointers);
        }
        let grid = [pixels.div_ceil(64) as u32, outputs.div_ceil(64) as u32, w.groups as u32];
        self.launch(Kernel::Conv, Shape { grid, block: [16, 16, 1] }, &task, pointers)
    }
}

impl Loaded for Resident {
    fn bytes(&self) -> u64 {
        let fixed = [&self.weights, &self.normal, &self.sent, &self.outputs, &self.last];
        let lists = self.places.iter().chain(&self.norms).flatten();
        fixed.into_iter().chain(lists).chain(&self.values).map(|m| m.len() as u64).sum()
    }

    fn outputs(&mut self, network: &Predictor, inputs: Inputs, out: &mut [f64]) -> Result<(), Error> {
        network.rows(inputs, out)?;
        let (size, width) = (network.plan().network.input.len(), network.plan().outputs());
        for (g, out) in out.chunks_mut(self.images * width).enumerate() {
            let n = out.len() / width;
            let these = g * self.images * size..(g * self.images + n) * size;
            let sent = match inputs {
                Inputs::Bytes(v) => (&v[these], 0),
                Inputs::Doubles(v) => (Plain::bytes(&v[these]), 1),
                Inputs::Numbers(v) => (Plain::bytes(&v[these]), 2),
            };
            self.group(network, sent, n)?;
            let values = &mut self.out[..out.len()];
            self.card.read(self.outputs.at(), Plain::bytes_mut(values))?;
            out.iter_mut().zip(values).for_each(|(o, v)| *o = f64::from(*v));
        }
        Ok(())
    }
}

fn pair(sides: [usize; 2]) -> [i32; 2] {
    sides.map(|n| n as i32)
}

/// What an embedding's channels are made of, as the kernel `embed` reads it.
fn sources(numbers: &[u32], tables: &[Table], width: usize) -> Vec<i32> {
    let numbers = numbers.iter().map(|place| [*place as i32, -1, 0, 0]);
    let rows = tables.iter().flat_map(|t| {
        (0..t.dim).map(|d| [t.feature as i32, (t.at + d) as i32, t.dim as i32, t.categories as i32 - 1])
    });
    let padding = std::iter::repeat([0, -2, 0, 0]);
    numbers.chain(rows).chain(padding).take(width).flatten().collect()
}

fn signed(places: &[u32]) -> Vec<i32> {
    places.iter().map(|p| *p as i32).collect()
}
