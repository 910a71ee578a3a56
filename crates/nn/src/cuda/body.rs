//! The nodes of a network in a card, and the values of a group of images: what scoring and training share. Nodes are
//! computed as `pass` does it on the CPU, with the same plan and the same layout in memory.

use super::card::{Card, Kernel, Memory, Pointers, Shape, Task};
use crate::Error;
use crate::kernels::activation::Activation;
use crate::pass::{self, Batch};
use crate::plan::{self, Conv, Op, Over, Plan, Route, Table, Tensor};
use std::rc::Rc;

/// Lists of a batch norm, a value a channel each: scale and shift; and in training mean, slope, offset and spread.
const LISTS: [usize; 2] = [2, 6];

/// A network's nodes in a card.
pub struct Body {
    pub card: Rc<dyn Card>,
    pub memory: plan::Memory,
    pub weights: Memory,
    /// What nodes need besides: the places of channels, or which channels are used.
    places: Vec<Option<Memory>>,
    /// What batch norms do to each channel, list after list.
    norms: Vec<Option<Memory>>,
    /// In training, where each image's random stream of a dropout layer begins.
    streams: Vec<Option<Memory>>,
    values: Vec<Memory>,
}

impl Body {
    /// Takes a network in, with room for a group of `images`.
    ///
    /// # Errors
    /// `Error::Memory` when there is no room.
    pub fn new(
        card: &Rc<dyn Card>,
        plan: &Plan,
        weights: &[f32],
        images: usize,
        training: bool,
    ) -> Result<Body, Error> {
        let memory = plan::Memory::new(plan, training);
        let mut batches: Vec<Batch> = vec![];
        pass::recall(plan, weights, true, &mut batches);
        let (mut places, mut norms, mut streams) = (vec![], vec![], vec![]);
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
                    let mut lists = [&batches[i].scale[..], &batches[i].shift[..]].concat();
                    lists.resize(LISTS[usize::from(training)] * batches[i].scale.len(), 0.0);
                    Some(Memory::of(card, &lists)?)
                }
                _ => None,
            });
            streams.push(match &node.op {
                Op::Dropout { .. } if training => Some(Memory::zeros(card, 8 * images)?),
                _ => None,
            });
        }
        let values = memory.values.sizes.iter().map(|n| Memory::zeros(card, 4 * n * images));
        let values = values.collect::<Result<_, _>>()?;
        let weights = Memory::of(card, weights)?;
        Ok(Body { card: card.clone(), memory, weights, places, norms, streams, values })
    }

    /// Where a tensor lies.
    pub fn at(&self, tensor: usize) -> u64 {
        self.memory.values.of[tensor].map_or(0, |slot| self.values[slot].at())
    }

    /// Weights from value `from` on.
    pub fn weight(&self, from: usize) -> u64 {
        self.weights.at() + 4 * from as u64
    }

    pub fn launch(&self, kernel: Kernel, shape: Shape, task: &Task, pointers: Pointers) -> Result<(), Error> {
        // SAFETY: tensors have room for a group of images; grids, weights and places are those of the plan, whose
        // shapes were checked when it was made, and of which `new` took a copy each as long as the plan says.
        unsafe { self.card.launch(kernel, shape, task, pointers) }
    }

    /// Where a node's list of places lies.
    pub fn places(&self, node: usize) -> u64 {
        self.places[node].as_ref().map_or(0, Memory::at)
    }

    /// Where a batch norm's lists lie.
    pub fn norm(&self, node: usize) -> Option<&Memory> {
        self.norms[node].as_ref()
    }

    /// Where a dropout layer's streams lie.
    pub fn streams(&self, node: usize) -> Option<&Memory> {
        self.streams[node].as_ref()
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> u64 {
        let lists = self.places.iter().chain(&self.norms).chain(&self.streams).flatten();
        lists.chain(&self.values).chain([&self.weights]).map(|m| m.len() as u64).sum()
    }

    /// Zeroes what a tensor's memory holds, where it is shared with others and the first node to write does not write all.
    pub fn clear(&self, tensor: usize, to: &Tensor, n: usize) -> Result<(), Error> {
        match self.memory.values.of[tensor].filter(|slot| self.memory.values.shared[*slot]) {
            Some(slot) => self.card.zero(self.values[slot].at(), 4 * to.value.size() * n),
            None => Ok(()),
        }
    }

    /// Zeroes what the tensors before it left, where a node does not write all of its own.
    fn clean(&self, tensor: usize, to: &Tensor, op: &Op, n: usize) -> Result<(), Error> {
        let partly = to.value.has_halo() || matches!(op, Op::GroupNorm { .. } | Op::Concat | Op::Conv(_));
        if partly { self.clear(tensor, to, n) } else { Ok(()) }
    }

    /// Computes a node for the first `n` images.
    ///
    /// # Errors
    /// `Error::Device`.
    pub fn node(&self, plan: &Plan, i: usize, n: usize) -> Result<(), Error> {
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
        let places = self.places(i);
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
                let (kind, a) = function(*f);
                self.launch(Kernel::Activation, all, &Task { kind, a, ..task }, [y, x, 0, 0, places])
            }
            Op::Softmax => {
                let task = Task { places: from.places().len() as i32, ..task };
                self.launch(Kernel::Softmax, Shape::items(pixels), &task, [y, x, 0, 0, places])
            }
            Op::Embedding { .. } => self.launch(Kernel::Embed, all, &task, [y, x, self.weight(0), 0, places]),
            Op::Dropout { rate, .. } => match self.streams(i) {
                Some(starts) => {
                    self.launch(Kernel::Dropout, all, &Task { a: *rate, ..task }, [y, x, starts.at(), 0, 0])
                }
                None => self.launch(Kernel::Copy, all, &task, [y, x, 0, 0, 0]),
            },
            Op::BatchNorm { norm, .. } => {
                let a = self.norm(i).map_or(0, Memory::at);
                self.launch(Kernel::Scale, all, &task, [y, x, a, a + 4 * norm.width as u64, 0])
            }
            Op::GroupNorm { norm, over } => {
                let (task, sets) = normed(task, from, *over, norm.epsilon);
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
        let task = folding(task, c, to);
        let outputs = task.outputs as usize;
        let pointers = [y, x, self.weight(w.weights().start), self.weight(w.bias().start), 0];
        let pixels = n * to.value.height * to.value.width;
        if depthwise {
            return self.launch(Kernel::Depthwise, Shape::items(pixels * to.value.channels), &task, pointers);
        }
        let grid = [pixels.div_ceil(64) as u32, outputs.div_ceil(64) as u32, w.groups as u32];
        self.launch(Kernel::Conv, Shape { grid, block: [16, 16, 1] }, &task, pointers)
    }
}

/// What a convolution's kernels need to know of it.
pub fn folding(task: Task, c: &Conv, to: &Tensor) -> Task {
    let w = &c.weights;
    let outputs = if w.groups == 1 { to.value.channels } else { w.outputs / w.groups };
    Task {
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
    }
}

/// What a layer or group norm's kernels need to know of it, and how many sets an image has.
pub fn normed(task: Task, from: &Tensor, over: Over, epsilon: f32) -> (Task, usize) {
    let (kind, groups, sets) = match over {
        Over::Pixel => (0, 1, from.value.height * from.value.width),
        Over::Groups(groups) => (1, groups, groups),
    };
    let places = from.places().len() as i32;
    (Task { kind, groups: groups as i32, places, a: epsilon, ..task }, sets)
}

/// A function's number, and its slope if it has one.
pub fn function(f: Activation) -> (i32, f32) {
    match f {
        Activation::Relu => (0, 0.0),
        Activation::LeakyRelu(slope) => (1, slope),
        Activation::Gelu => (2, 0.0),
        Activation::Silu => (3, 0.0),
        Activation::Sigmoid => (4, 0.0),
        Activation::Tanh => (5, 0.0),
    }
}

pub fn pair(sides: [usize; 2]) -> [i32; 2] {
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

pub fn signed(places: &[u32]) -> Vec<i32> {
    places.iter().map(|p| *p as i32).collect()
}
