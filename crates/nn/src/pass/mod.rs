//! A group of images through a network, forward and backward, node by node, on the current thread.
//!
//! Every image is computed by itself, except for sums of weight gradients, which are added image by image: no
//! result depends on how images are grouped. What needs all images of a batch (batch norm) is worked out by the
//! caller between two ranges of nodes. Nothing is allocated here.

mod conv;
mod embedding;
mod joint;
mod norm;
mod pool;
mod prepare;

use crate::buffer::Buffer;
use crate::kernels::{self, Isa, activation};
use crate::plan::{Grid, Memory, Op, Plan, Tensor};
use crate::random::Stream;
use crate::{Error, Stop};
pub use conv::Scratch;
pub use joint::{Joint, Room};
pub use norm::{Batch, Gathered, recall};
pub use prepare::{Prepared, prepare, prepared_len};
use std::ops::Range;
use std::sync::Arc;

/// Values and gradients of a group of images.
pub struct Workspace {
    images: usize,
    memory: Arc<Memory>,
    values: Vec<Buffer>,
    grads: Vec<Buffer>,
    spare: Buffer,
}

/// What all groups of a pass share.
#[derive(Clone, Copy)]
pub struct Pass<'a> {
    /// The network.
    pub plan: &'a Plan,
    /// The kind of CPU.
    pub isa: Isa,
    /// Its weights.
    pub weights: &'a [f32],
    /// The same, made ready for convolutions: one a node.
    pub prepared: &'a [Prepared],
    /// What batch norms do to each channel: one a node.
    pub norms: &'a [Batch],
    /// The random stream of an image and layer, in training.
    pub dropout: Option<&'a (dyn Fn(usize, usize) -> Stream + Sync)>,
    /// The caller's wish to stop.
    pub stop: Stop<'a>,
}

/// The inputs and output gradients of an operation whose weights' gradient waits for the batch, for all images of a
/// lane.
pub struct Kept {
    /// The operation.
    pub node: usize,
    /// Its inputs, image by image.
    pub inputs: Buffer,
    /// The gradients of its outputs.
    pub grads: Buffer,
}

/// Where gradients of weights go.
pub struct Sums<'a> {
    /// Those that are summed image by image.
    pub images: &'a mut [f32],
    /// What those need that wait for the batch.
    pub kept: &'a mut [Kept],
    /// Images kept before this group's.
    pub first: usize,
}

impl Sums<'_> {
    fn keep(&mut self, node: usize, (from, x): Held, (to, dy): Held) {
        let Some(kept) = self.kept.iter_mut().find(|k| k.node == node) else { return };
        for (values, grid, out) in [(x, &from.value, &mut kept.inputs), (dy, &to.grad, &mut kept.grads)] {
            let width = grid.channels;
            let room = out[self.first * width..].chunks_exact_mut(width);
            for (image, out) in values.chunks_exact(grid.size()).zip(room) {
                out.copy_from_slice(&image[grid.row(0)]);
            }
        }
    }
}

/// Images a group, where no layer needs a batch: as many as keep their values within about 2 MiB, a core's own cache.
pub fn group(memory: &Memory) -> usize {
    ((1 << 19) / memory.image().max(1)).clamp(1, 16)
}

/// A tensor with the values of some images of it.
type Held<'a> = (&'a Tensor, &'a [f32]);

impl Workspace {
    /// Room for a group of `images`.
    pub fn new(memory: &Arc<Memory>, images: usize) -> Workspace {
        let room = |sizes: &[usize]| sizes.iter().map(|n| Buffer::new(n * images)).collect();
        Workspace {
            images,
            values: room(&memory.values.sizes),
            grads: room(&memory.grads.sizes),
            spare: Buffer::new(memory.spare * images),
            memory: memory.clone(),
        }
    }

    /// Images that it has room for.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The values of a tensor of the first `n` images.
    pub fn values(&self, plan: &Plan, tensor: usize, n: usize) -> &[f32] {
        let len = plan.tensors[tensor].value.size() * n;
        self.memory.values.of[tensor].map_or(&[], |slot| &self.values[slot][..len])
    }

    /// The gradient of a tensor of the first `n` images.
    pub fn grads(&self, plan: &Plan, tensor: usize, n: usize) -> &[f32] {
        let len = plan.tensors[tensor].grad.size() * n;
        self.memory.grads.of[tensor].map_or(&[], |slot| &self.grads[slot][..len])
    }

    /// The input of image `i`, with its halo cleared.
    pub fn input(&mut self, plan: &Plan, i: usize) -> &mut [f32] {
        let grid = &plan.tensors[0].value;
        let slot = self.memory.values.of[0].unwrap_or(0);
        let image = &mut self.values[slot][i * grid.size()..(i + 1) * grid.size()];
        if self.memory.values.shared[slot] {
            grid.clear_halo(image);
        }
        image
    }

    /// Outputs of the first `n` images and their gradients: rows of padded length.
    pub fn outputs(&mut self, plan: &Plan, n: usize) -> (&[f32], &mut [f32]) {
        let last = plan.tensors.len() - 1;
        let tensor = &plan.tensors[last];
        let (len, grad_len) = (tensor.value.size() * n, tensor.grad.size() * n);
        let values = self.memory.values.of[last].map_or(&[][..], |s| &self.values[s][..len]);
        let grads = self.memory.grads.of[last].map(|s| &mut self.grads[s][..grad_len]);
        (values, grads.unwrap_or_default())
    }

    /// Computes nodes `range` for the first `n` images.
    pub fn forward(
        &mut self,
        cx: &Pass,
        range: Range<usize>,
        n: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        for i in range {
            cx.stop.check()?;
            let Some(slot) = self.memory.values.of[i + 1] else { continue };
            let mut buffer = std::mem::take(&mut self.values[slot]);
            let to = &cx.plan.tensors[i + 1];
            let y = &mut buffer[..to.value.size() * n];
            if self.memory.values.shared[slot] {
                clear_halos(&to.value, y);
            }
            let result = self.forward_node(cx, i, (to, y), n, scratch);
            self.values[slot] = buffer;
            result?;
        }
        Ok(())
    }

    fn forward_node(
        &self,
        cx: &Pass,
        i: usize,
        (to, y): (&Tensor, &mut [f32]),
        n: usize,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let (node, isa) = (&cx.plan.nodes[i], cx.isa);
        let held = |t: usize| (&cx.plan.tensors[t], self.values(cx.plan, t, n));
        let (from, x) = held(node.inputs[0]);
        let rows = |x: &[f32], y: &mut [f32], each: &mut dyn FnMut(&[f32], &mut [f32])| {
            for (x, y) in x.chunks_exact(from.value.size()).zip(y.chunks_exact_mut(to.value.size())) {
                for r in 0..from.value.height {
                    each(&x[from.value.row(r)], &mut y[to.value.row(r)]);
                }
            }
        };
        match &node.op {
            Op::Conv(c) => conv::forward(cx, i, c, (from, x), (to, y), scratch)?,
            Op::Embedding { numbers, tables } => {
                embedding::forward((numbers, tables), cx.weights, (from, x), (to, y));
            }
            Op::Pool { max, kernel, stride, before } => {
                let window = pool::Window { max: *max, kernel: *kernel, stride: *stride, before: *before };
                pool::forward(cx, window, (from, x), (to, y))?;
            }
            Op::Flatten => {
                let (x, y) = (x.chunks_exact(from.value.size()), y.chunks_exact_mut(to.value.size()));
                for (x, y) in x.zip(y) {
                    for (r, y) in y.chunks_exact_mut(from.value.width * from.value.channels).enumerate() {
                        y.copy_from_slice(&x[from.value.row(r)]);
                    }
                }
            }
            Op::Activation(f) => {
                rows(x, y, &mut |x, y| activation::forward(isa, *f, x, y));
                if *f == activation::Activation::Sigmoid {
                    // A sigmoid makes 0.5 of the zeros in padded channels.
                    let places = from.places();
                    let padding: Vec<usize> =
                        (0..from.value.channels).filter(|c| !places.contains(&(*c as u32))).collect();
                    if !padding.is_empty() {
                        rows(x, y, &mut |_, y| {
                            for pixel in y.chunks_exact_mut(from.value.channels) {
                                padding.iter().for_each(|c| pixel[*c] = 0.0);
                            }
                        });
                    }
                }
            }
            Op::Softmax => {
                let places = from.places();
                let channels = from.value.channels;
                rows(x, y, &mut |x, y| {
                    for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
                        activation::softmax(x, &places, y);
                    }
                });
            }
            Op::Dropout { rate, stream } => {
                let images = x.chunks_exact(from.value.size()).zip(y.chunks_exact_mut(to.value.size()));
                for (image, (x, y)) in images.enumerate() {
                    let mut stream = cx.dropout.map(|d| d(image, *stream));
                    for r in 0..from.value.height {
                        let (x, y) = (&x[from.value.row(r)], &mut y[to.value.row(r)]);
                        match &mut stream {
                            Some(stream) => stream.thin(*rate, x, y),
                            None => y.copy_from_slice(x),
                        }
                    }
                }
            }
            Op::BatchNorm { .. } => {
                let batch = &cx.norms[i];
                rows(x, y, &mut |x, y| kernels::norm::scale(isa, x, &batch.scale, &batch.shift, to.relu, y));
            }
            Op::GroupNorm { norm, over } => norm::forward(cx, norm, *over, (from, x), (to, y))?,
            Op::Add => {
                let (other, b) = held(node.inputs[1]);
                let images = x.chunks_exact(from.value.size()).zip(b.chunks_exact(other.value.size()));
                for ((a, b), y) in images.zip(y.chunks_exact_mut(to.value.size())) {
                    for r in 0..from.value.height {
                        let y = &mut y[to.value.row(r)];
                        kernels::add_into(isa, &a[from.value.row(r)], &b[other.value.row(r)], y);
                        if to.relu {
                            kernels::relu_in_place(isa, y);
                        }
                    }
                }
            }
            Op::Concat => {
                let mut at = 0;
                for input in &node.inputs {
                    let (from, x) = held(*input);
                    let places = from.places();
                    let images = x.chunks_exact(from.value.size()).zip(y.chunks_exact_mut(to.value.size()));
                    for (x, y) in images {
                        for r in 0..from.value.height {
                            let x = x[from.value.row(r)].chunks_exact(from.value.channels);
                            for (x, y) in x.zip(y[to.value.row(r)].chunks_exact_mut(to.value.channels)) {
                                for (y, place) in y[at..].iter_mut().zip(&places) {
                                    *y = x[*place as usize];
                                }
                            }
                        }
                    }
                    at += from.shape.channels;
                }
            }
        }
        Ok(())
    }

    /// From the gradients of what nodes `range` give to those of what they read, last node first. Gradients of
    /// weights are added to `sums`; those that wait for the batch are left to the caller.
    pub fn backward(
        &mut self,
        cx: &Pass,
        range: Range<usize>,
        n: usize,
        sums: &mut Sums,
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        for i in range.rev() {
            cx.stop.check()?;
            let Some(out) = self.memory.grads.of[i + 1] else { continue };
            let node = &cx.plan.nodes[i];
            let dy = std::mem::take(&mut self.grads[out]);
            let result = self.backward_node(
                cx,
                i,
                &dy[..cx.plan.tensors[i + 1].grad.size() * n],
                n,
                sums.images,
                scratch,
            );
            self.grads[out] = dy;
            result?;
            if let Op::Conv(c) = &node.op {
                let (from, to) = (node.inputs[0], i + 1);
                let (x, dy) = (self.values(cx.plan, from, n), self.grads(cx.plan, to, n));
                let (from, to) = (&cx.plan.tensors[from], &cx.plan.tensors[to]);
                if c.late {
                    sums.keep(i, (from, x), (to, dy));
                } else {
                    conv::weight_grads(cx, i, c, (from, x), (to, dy), sums.images, scratch)?;
                }
            }
            if let Op::Embedding { numbers, tables } = &node.op {
                let (from, to) = (node.inputs[0], i + 1);
                let (x, dy) = (self.values(cx.plan, from, n), self.grads(cx.plan, to, n));
                let (from, to) = (&cx.plan.tensors[from], &cx.plan.tensors[to]);
                embedding::weight_grads((numbers, tables), (from, x), (to, dy), sums.images);
            }
        }
        Ok(())
    }

    /// The gradients of all that a node reads.
    fn backward_node(
        &mut self,
        cx: &Pass,
        i: usize,
        dy: &[f32],
        n: usize,
        sums: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let node = &cx.plan.nodes[i];
        let mut at = 0;
        for (which, input) in node.inputs.iter().enumerate() {
            let from = &cx.plan.tensors[*input];
            let channels = at..at + from.shape.channels;
            at = channels.end;
            // Norms sum their weights' gradients on the way, and so run even where nobody wants their input's.
            let slot = self.memory.grads.of[*input];
            if slot.is_none() && !matches!(node.op, Op::GroupNorm { .. }) {
                continue;
            }
            let first = from.readers.last() == Some(&i) && node.inputs[..which].iter().all(|t| t != input);
            let mut buffer = match slot {
                Some(slot) if first => std::mem::take(&mut self.grads[slot]),
                Some(_) => std::mem::take(&mut self.spare),
                None => Buffer::new(from.grad.size() * n),
            };
            let dx = &mut buffer[..from.grad.size() * n];
            if slot.is_some_and(|s| self.memory.grads.shared[s]) || !first {
                clear_halos(&from.grad, dx);
            }
            let result = self.backward_input(cx, i, which, channels, dy, dx, n, sums, scratch);
            match slot {
                Some(slot) if first => self.grads[slot] = buffer,
                Some(slot) => {
                    let share = &buffer[..from.grad.size() * n];
                    kernels::add_assign(cx.isa, &mut self.grads[slot][..from.grad.size() * n], share);
                    self.spare = buffer;
                }
                None => {}
            }
            result?;
        }
        Ok(())
    }

    /// What a node hands on to the input number `which`, set in `dx`.
    #[allow(clippy::too_many_arguments)]
    fn backward_input(
        &self,
        cx: &Pass,
        i: usize,
        which: usize,
        part: Range<usize>,
        dy: &[f32],
        dx: &mut [f32],
        n: usize,
        sums: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let (node, isa) = (&cx.plan.nodes[i], cx.isa);
        let (input, to) = (node.inputs[which], &cx.plan.tensors[i + 1]);
        let (from, x) = (&cx.plan.tensors[input], self.values(cx.plan, input, n));
        let y = self.values(cx.plan, i + 1, n);
        // Rows of the input, the output, the output's gradient and the input's gradient.
        type Row<'r> = (&'r [f32], &'r [f32], &'r [f32], &'r mut [f32]);
        let rows = |dx: &mut [f32], each: &mut dyn FnMut(Row)| {
            for image in 0..n {
                let x = &x[image * from.value.size()..][..from.value.size()];
                let y = &y[image * to.value.size()..][..to.value.size()];
                let dy = &dy[image * to.grad.size()..][..to.grad.size()];
                let dx = &mut dx[image * from.grad.size()..][..from.grad.size()];
                for r in 0..from.value.height {
                    let dx = &mut dx[from.grad.row(r)];
                    each((&x[from.value.row(r)], &y[to.value.row(r)], &dy[to.grad.row(r)], dx));
                }
            }
        };
        match &node.op {
            Op::Conv(c) => return conv::backward(cx, i, c, (from, x), (to, dy), dx, scratch),
            Op::Pool { max, kernel, stride, before } => {
                let window = pool::Window { max: *max, kernel: *kernel, stride: *stride, before: *before };
                if pool::backward(cx, window, (from, x), (to, y), dy, dx)? {
                    return Ok(());
                }
            }
            Op::Flatten => {
                for (dy, dx) in dy.chunks_exact(to.grad.size()).zip(dx.chunks_exact_mut(from.grad.size())) {
                    for (r, dy) in dy.chunks_exact(from.value.width * from.value.channels).enumerate() {
                        dx[from.grad.row(r)].copy_from_slice(dy);
                    }
                }
            }
            Op::Activation(f) => {
                rows(dx, &mut |(x, y, dy, dx)| activation::backward(isa, *f, (x, y), dy, dx));
            }
            Op::Softmax => {
                let (places, channels) = (from.places(), from.value.channels);
                rows(dx, &mut |(_, y, dy, dx)| {
                    let pixels = y.chunks_exact(channels).zip(dy.chunks_exact(channels));
                    for ((y, dy), dx) in pixels.zip(dx.chunks_exact_mut(channels)) {
                        activation::softmax_grad(y, &places, dy, dx);
                    }
                });
            }
            Op::Dropout { rate, stream } => {
                let images = dy.chunks_exact(to.grad.size()).zip(dx.chunks_exact_mut(from.grad.size()));
                for (image, (dy, dx)) in images.enumerate() {
                    let mut stream = cx.dropout.map(|d| d(image, *stream));
                    for r in 0..from.value.height {
                        let (dy, dx) = (&dy[to.grad.row(r)], &mut dx[from.grad.row(r)]);
                        match &mut stream {
                            Some(stream) => stream.thin(*rate, dy, dx),
                            None => dx.copy_from_slice(dy),
                        }
                    }
                }
            }
            Op::BatchNorm { .. } => {
                let b = &cx.norms[i];
                rows(dx, &mut |(x, _, dy, dx)| {
                    kernels::norm::grad(isa, x, dy, &b.mean, (&b.scale, &b.slope, &b.offset), dx);
                });
            }
            Op::GroupNorm { norm, over } => {
                norm::backward(cx, norm, *over, (from, x), (to, dy), dx, sums)?;
            }
            // It reads the network's input, whose gradient nobody wants.
            Op::Embedding { .. } => return Ok(()),
            Op::Add => rows(dx, &mut |(_, _, dy, dx)| dx.copy_from_slice(dy)),
            Op::Concat => {
                let (places, channels) = (from.places(), from.value.channels);
                rows(dx, &mut |(_, _, dy, dx)| {
                    dx.fill(0.0);
                    for (dy, dx) in dy.chunks_exact(to.grad.channels).zip(dx.chunks_exact_mut(channels)) {
                        for (dy, place) in dy[part.clone()].iter().zip(&places) {
                            dx[*place as usize] = *dy;
                        }
                    }
                });
            }
        }
        if from.relu {
            for (x, dx) in x.chunks_exact(from.value.size()).zip(dx.chunks_exact_mut(from.grad.size())) {
                for r in 0..from.value.height {
                    kernels::relu_mask(isa, &mut dx[from.grad.row(r)], &x[from.value.row(r)]);
                }
            }
        }
        Ok(())
    }
}

fn clear_halos(grid: &Grid, values: &mut [f32]) {
    if grid.has_halo() {
        values.chunks_exact_mut(grid.size()).for_each(|image| grid.clear_halo(image));
    }
}
