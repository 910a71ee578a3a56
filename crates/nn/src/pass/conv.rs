//! Convolutions of a group of images. The gradient of the input is a convolution, too: of the output's gradient (with
//! zeros where a stride skipped pixels), with inputs and outputs exchanged and the kernel turned round.

use super::joint::Room;
use super::{Held, Pass};
use crate::Error;
use crate::buffer::Buffer;
use crate::kernels::winograd::{self, PLANES, Pitch, Tile};
use crate::kernels::{self, BLOCK, Finish, Isa, Rows, Window, conv_row, weight_grad};
use crate::plan::{Conv, Grid, Plan, Route, Tensor};
use std::ops::Range;

/// Values between planes beyond what they hold, so that they do not meet in one set of the cache.
pub(super) const GAP: usize = 16;
/// Most tiles that are transformed at once.
pub(super) const TILES: usize = 64;
/// Pixels of a 1x1 convolution between two looks at the caller's wish to stop.
const PIXELS: usize = 1 << 10;

/// The memory that a thread needs while it works on one operation.
#[derive(Debug, Default)]
pub struct Scratch {
    inputs: Buffer,
    outputs: Buffer,
    spread: Buffer,
    row: Buffer,
    /// Sums of weight gradients in Winograd's planes, one convolution after another.
    sums: Buffer,
    sums_at: Vec<Range<usize>>,
    /// What joint convolutions hold of the lane at hand, in training.
    pub room: Option<Room>,
}

/// Tiles that are transformed at once: enough to use each weight often, few enough for the cache.
fn tiles(conv: &Conv) -> usize {
    if conv.weights.k / 9 * conv.weights.blocks * BLOCK >= 1 << 14 { TILES } else { TILES / 2 }
}

impl Scratch {
    fn sizes(plan: &Plan, training: bool) -> ([usize; 4], Vec<Range<usize>>) {
        let [mut inputs, mut outputs, mut spread, mut row] = [0; 4];
        let (mut at, mut sums_at) = (0, vec![0..0; plan.nodes.len()]);
        for (i, c) in plan.convolutions() {
            let (from, to) = (&plan.tensors[plan.nodes[i].inputs[0]], &plan.tensors[i + 1]);
            let (a, b) = (from.value.channels, to.value.channels);
            if c.route == Route::Winograd && !(training && c.joint) {
                let most = if training { a.max(b) } else { a };
                inputs = inputs.max(PLANES * (tiles(c) * most + GAP));
                let most = if training { a.max(b) } else { b };
                outputs = outputs.max(PLANES * (tiles(c) * most + GAP));
                if training {
                    sums_at[i] = at..at + PLANES * a * b;
                    at = sums_at[i].end;
                }
            }
            if training && from.trained && c.stride != [1, 1] {
                spread = spread.max(spread_grid(c, from, to).size());
            }
            if c.pools && c.route == Route::Direct {
                row = row.max(4 * to.value.width * b);
            }
            if c.weights.groups > 1 {
                let wide = a.max(b) + 2 * BLOCK * c.weights.groups;
                row = row.max(from.value.width.max(to.value.width) * wide);
            }
        }
        ([inputs, outputs, spread, row], sums_at)
    }

    /// For a network.
    pub fn new(plan: &Plan, training: bool) -> Scratch {
        let ([inputs, outputs, spread, row], sums_at) = Scratch::sizes(plan, training);
        let sums = sums_at.iter().map(|r| r.end).max().unwrap_or(0);
        Scratch {
            inputs: Buffer::new(inputs),
            outputs: Buffer::new(outputs),
            spread: Buffer::new(spread),
            row: Buffer::new(row),
            sums: Buffer::new(sums),
            sums_at,
            room: None,
        }
    }

    /// Values that it takes.
    pub fn len(plan: &Plan, training: bool) -> usize {
        let (sizes, sums_at) = Scratch::sizes(plan, training);
        sizes.iter().sum::<usize>() + sums_at.iter().map(|r| r.end).max().unwrap_or(0)
    }

    /// Forgets the sums of nodes `range`.
    pub fn clear(&mut self, range: Range<usize>) {
        for at in self.sums_at[range].iter().cloned() {
            self.sums[at].fill(0.0);
        }
    }

    /// Adds the sums of nodes `range` to the weights' gradients.
    pub fn settle(&self, plan: &Plan, isa: Isa, range: Range<usize>, sums: &mut [f32]) {
        for i in range {
            if let (crate::plan::Op::Conv(c), false) = (&plan.nodes[i].op, self.sums_at[i].is_empty()) {
                let planes = &self.sums[self.sums_at[i].clone()];
                winograd::weight_grad(isa, planes, c.inputs, 0, &mut sums[c.weights.weights()]);
            }
        }
    }
}

/// The output's gradient with the pixels that the stride left out.
fn spread_grid(c: &Conv, from: &Tensor, to: &Tensor) -> Grid {
    let reach = c.reach();
    let mut grid = Grid::new(from.shape, to.grad.channels);
    (grid.top, grid.left) = (reach[0] - c.before[0], reach[1] - c.before[1]);
    (grid.rows, grid.columns) = (from.shape.height + reach[0], from.shape.width + reach[1]);
    grid
}

/// What is done to a convolution's sums.
#[derive(Clone, Copy)]
enum Last<'a> {
    Plain,
    Bias(&'a [f32], bool),
    Mask(&'a Grid, &'a [f32]),
}

/// Images, and how they lie in memory.
#[derive(Clone, Copy)]
struct Images<'a> {
    grid: &'a Grid,
    values: &'a [f32],
}

/// A convolution, forward or for the gradient of its input.
#[derive(Clone, Copy)]
struct Job<'a> {
    c: &'a Conv,
    /// Weights, group after group.
    weights: &'a [f32],
    /// The same in Winograd's planes.
    planes: &'a [f32],
    /// Zeros before the first pixel.
    before: [usize; 2],
    /// Pixels from output to output.
    stride: [usize; 2],
    /// Input channels of a group.
    run: usize,
    /// Output channels of a group.
    each: usize,
    last: Last<'a>,
}

/// Computes the outputs of a group of images.
pub fn forward(
    cx: &Pass,
    i: usize,
    c: &Conv,
    (from, x): Held,
    (to, y): (&Tensor, &mut [f32]),
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let w = &c.weights;
    let job = Job {
        c,
        weights: &cx.weights[w.weights()],
        planes: &cx.prepared[i].planes,
        before: c.before,
        stride: c.stride,
        run: c.inputs,
        each: if w.groups == 1 { to.value.channels } else { w.outputs / w.groups },
        last: Last::Bias(&cx.weights[w.bias()], to.relu),
    };
    job.run(cx, Images { grid: &from.value, values: x }, (&to.value, y), scratch)
}

/// Computes the gradients of the inputs of a group of images.
pub fn backward(
    cx: &Pass,
    i: usize,
    c: &Conv,
    (from, x): Held,
    (to, dy): Held,
    dx: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let reach = c.reach();
    let job = Job {
        c,
        weights: &cx.prepared[i].turned,
        planes: &cx.prepared[i].turned_planes,
        before: [reach[0] - c.before[0], reach[1] - c.before[1]],
        stride: [1, 1],
        run: if c.route == Route::Depthwise { 1 } else { c.group_outputs() },
        // Without groups, all channels with their padding.
        each: if c.weights.groups == 1 { from.grad.channels } else { c.inputs },
        last: if from.relu { Last::Mask(&from.value, x) } else { Last::Plain },
    };
    if c.stride == [1, 1] {
        return job.run(cx, Images { grid: &to.grad, values: dy }, (&from.grad, dx), scratch);
    }
    let grid = spread_grid(c, from, to);
    let mut spread = std::mem::take(&mut scratch.spread);
    let images = dy.chunks_exact(to.grad.size()).zip(dx.chunks_exact_mut(from.grad.size()));
    for (image, (dy, dx)) in images.enumerate() {
        let wide = &mut spread[..grid.size()];
        wide.fill(0.0);
        for r in 0..to.grad.height {
            for (p, pixel) in dy[to.grad.row(r)].chunks_exact(grid.channels).enumerate() {
                let (row, column) = (grid.top + r * c.stride[0], grid.left + p * c.stride[1]);
                // The last outputs may reach beyond what touches the image.
                if row < grid.rows && column < grid.columns {
                    let at = (row * grid.columns + column) * grid.channels;
                    wide[at..at + grid.channels].copy_from_slice(pixel);
                }
            }
        }
        let last = match job.last {
            Last::Mask(grid, x) => Last::Mask(grid, &x[image * grid.size()..][..grid.size()]),
            other => other,
        };
        Job { last, ..job }.run(cx, Images { grid: &grid, values: wide }, (&from.grad, dx), scratch)?;
    }
    scratch.spread = spread;
    Ok(())
}

impl Job<'_> {
    fn run(
        &self,
        cx: &Pass,
        x: Images,
        (grid, y): (&Grid, &mut [f32]),
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        if self.c.route == Route::Winograd {
            return self.winograd(cx, x, (grid, y), scratch);
        }
        let masked = matches!(self.last, Last::Mask(mask, _) if mask.has_halo());
        if self.c.pools {
            return self.pooled_rows(cx, x, (grid, y), &mut scratch.row);
        }
        let single = self.c.taps() == 1 && self.stride == [1, 1] && self.c.weights.groups == 1;
        if single && self.c.route == Route::Direct && !x.grid.has_halo() && !grid.has_halo() && !masked {
            return self.points(cx, x, grid.channels, y);
        }
        let images = x.values.chunks_exact(x.grid.size()).zip(y.chunks_exact_mut(grid.size()));
        for (image, (values, y)) in images.enumerate() {
            let x = Images { values, ..x };
            for r in 0..grid.height {
                cx.stop.check()?;
                let mask = match self.last {
                    Last::Mask(mask, values) => &values[image * mask.size()..][mask.row(r)],
                    _ => &[],
                };
                self.row(cx, x, r, grid, &mut y[grid.row(r)], mask, &mut scratch.row);
            }
        }
        Ok(())
    }

    /// Rows of maxima of two by two outputs.
    fn pooled_rows(
        &self,
        cx: &Pass,
        x: Images,
        (grid, y): (&Grid, &mut [f32]),
        spare: &mut [f32],
    ) -> Result<(), Error> {
        let (wide, isa) = (Grid { width: 2 * grid.width, ..*grid }, cx.isa);
        let (top, bottom) = spare[..2 * wide.width * wide.channels].split_at_mut(wide.width * wide.channels);
        let images = x.values.chunks_exact(x.grid.size()).zip(y.chunks_exact_mut(grid.size()));
        for (values, y) in images {
            for r in 0..grid.height {
                cx.stop.check()?;
                self.row(cx, Images { values, ..x }, 2 * r, &wide, top, &[], &mut []);
                self.row(cx, Images { values, ..x }, 2 * r + 1, &wide, bottom, &[], &mut []);
                kernels::max_pool_2x2(isa, top, bottom, grid.channels, &mut y[grid.row(r)]);
            }
        }
        Ok(())
    }

    /// What is done to the outputs from `first` on.
    fn finish<'f>(&'f self, first: usize, mask: &'f [f32]) -> Finish<'f> {
        match self.last {
            Last::Plain => Finish::Plain,
            Last::Bias(bias, false) => Finish::Bias(&bias[first..]),
            Last::Bias(bias, true) => Finish::BiasRelu(&bias[first..]),
            Last::Mask(..) => Finish::Mask(&mask[first..]),
        }
    }

    /// A 1x1 convolution or dense layer: all pixels of all images are one matrix.
    fn points(&self, cx: &Pass, x: Images, channels: usize, y: &mut [f32]) -> Result<(), Error> {
        let run = x.grid.channels;
        for (i, (x, y)) in x.values.chunks(PIXELS * run).zip(y.chunks_mut(PIXELS * channels)).enumerate() {
            cx.stop.check()?;
            let mask = match self.last {
                Last::Mask(_, mask) => &mask[i * PIXELS * channels..][..y.len()],
                _ => &[],
            };
            let window = Window::points(x.len() / run, run, run);
            conv_row(cx.isa, x, window, self.weights, y, channels, self.finish(0, mask));
        }
        Ok(())
    }

    /// One row of outputs.
    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        cx: &Pass,
        x: Images,
        r: usize,
        grid: &Grid,
        y: &mut [f32],
        mask: &[f32],
        spare: &mut [f32],
    ) {
        let (c, isa, step) = (self.c, cx.isa, grid.channels);
        let first = x.grid.at(r * self.stride[0], 0, self.before);
        let window = c.window(x.grid, grid.width, self.stride[1], self.run);
        if c.route == Route::Depthwise {
            let finish = self.finish(0, mask);
            kernels::depthwise_row(isa, &x.values[first..], window, self.weights, y, step, finish);
            return;
        }
        let groups = c.weights.groups;
        for (g, weights) in self.weights.chunks_exact(self.weights.len() / groups).enumerate() {
            let (x, at) = (&x.values[first + g * self.run..], g * self.each);
            if self.each.is_multiple_of(BLOCK) {
                conv_row(isa, x, window, weights, &mut y[at..], step, self.finish(at, mask));
                continue;
            }
            // The group's padding would fall on its neighbour's channels.
            let wide = weights.len() / window.k();
            let out = &mut spare[..grid.width * wide];
            conv_row(isa, x, window, weights, out, wide, Finish::Plain);
            for (p, out) in out.chunks_exact(wide).enumerate() {
                let y = &mut y[p * step + at..][..self.each];
                y.copy_from_slice(&out[..self.each]);
                match self.last {
                    Last::Plain => {}
                    Last::Bias(bias, relu) => {
                        for (y, b) in y.iter_mut().zip(&bias[at..]) {
                            *y = if relu { (*y + b).max(0.0) } else { *y + b };
                        }
                    }
                    Last::Mask(..) => kernels::relu_mask(isa, y, &mask[p * step + at..][..self.each]),
                }
            }
        }
    }

    fn winograd(
        &self,
        cx: &Pass,
        x: Images,
        (grid, y): (&Grid, &mut [f32]),
        scratch: &mut Scratch,
    ) -> Result<(), Error> {
        let (isa, a, b, most) = (cx.isa, x.grid.channels, grid.channels, tiles(self.c));
        let (plane, out_plane) = (most * a + GAP, most * b + GAP);
        // Where maxima are taken, two rows and columns of outputs are one.
        let each = if self.c.pools { 2 } else { 1 };
        let all = Tiling::every(each, grid, y.len());
        let from = (x.grid, self.before);
        let mask = if let Last::Mask(mask, _) = self.last { mask } else { grid };
        // Of a joint convolution, the products are there already, of all tiles.
        let room = if self.c.joint { scratch.room.as_ref() } else { None };
        let ready = room.map(|r| if matches!(self.last, Last::Bias(..)) { &r.outputs } else { &r.inputs });
        let out_plane = if ready.is_some() { all.count * b + GAP } else { out_plane };
        for first in (0..all.count).step_by(most) {
            cx.stop.check()?;
            let mut room = [Tile::default(); TILES];
            let tiles = all.fill(first, &mut room[..most], from, (grid, mask));
            let n = tiles.len();
            if ready.is_none() {
                let pitch = Pitch { row: x.grid.stride(), mask: 0, pixel: a };
                winograd::inputs(isa, x.values, tiles, pitch, &mut scratch.inputs, plane);
                for (p, weights) in self.planes.chunks_exact(a * b).enumerate() {
                    let x = &scratch.inputs[p * plane..][..n * a];
                    let out = &mut scratch.outputs[p * out_plane..][..n * b];
                    conv_row(isa, x, Window::points(n, a, a), weights, out, b, Finish::Plain);
                }
            }
            let sums = ready.map_or(&scratch.outputs[..], |ready| &ready[first * b..]);
            let finish = match self.last {
                Last::Mask(_, values) => Finish::Mask(values),
                _ => self.finish(0, &[]),
            };
            let pitch = Pitch { row: grid.stride(), mask: mask.stride(), pixel: b };
            match self.last {
                Last::Bias(bias, relu) if self.c.pools => {
                    winograd::pooled(isa, sums, out_plane, tiles, pitch, y, (bias, relu));
                }
                _ => winograd::outputs(isa, sums, out_plane, tiles, pitch, y, finish),
            }
        }
        Ok(())
    }
}

/// All tiles of a group of images, in order.
pub(super) struct Tiling {
    down: usize,
    across: usize,
    sides: [usize; 2],
    each: usize,
    pub count: usize,
}

impl Tiling {
    /// Of the outputs in `grid`, of which there are `len` values.
    pub fn new(grid: &Grid, len: usize) -> Tiling {
        Tiling::every(1, grid, len)
    }

    /// The same, where `each` by `each` outputs become one pixel of the grid.
    fn every(each: usize, grid: &Grid, len: usize) -> Tiling {
        let sides = [each * grid.height, each * grid.width];
        let (down, across) = (sides[0].div_ceil(4), sides[1].div_ceil(4));
        let count = len / grid.size() * down * across;
        Tiling { down, across, sides, each, count }
    }

    /// Places of tiles from number `first` on, as many as there are and fit. Inputs begin `before` pixels before
    /// the outputs.
    pub fn fill<'t>(
        &self,
        first: usize,
        room: &'t mut [Tile],
        (from, before): (&Grid, [usize; 2]),
        (to, mask): (&Grid, &Grid),
    ) -> &'t [Tile] {
        let n = room.len().min(self.count - first);
        for (i, tile) in room[..n].iter_mut().enumerate() {
            let (image, place) =
                ((first + i) / (self.down * self.across), (first + i) % (self.down * self.across));
            let (row, column) = (place / self.across * 4, place % self.across * 4);
            *tile = Tile {
                from: image * from.size() + from.at(row, column, before),
                to: image * to.size() + to.at(row / self.each, column / self.each, [0, 0]),
                mask: image * mask.size() + mask.at(row / self.each, column / self.each, [0, 0]),
                rows: (self.sides[0] - row).min(4),
                columns: (self.sides[1] - column).min(4),
            };
        }
        &room[..n]
    }
}

/// Adds the gradients of a convolution's weights and biases. Those of Winograd's stay in the scratch until they are
/// settled.
pub fn weight_grads(
    cx: &Pass,
    i: usize,
    c: &Conv,
    (from, x): Held,
    (to, dy): Held,
    sums: &mut [f32],
    scratch: &mut Scratch,
) -> Result<(), Error> {
    if c.joint || cx.plan.is_frozen(c) {
        return Ok(());
    }
    let (w, isa) = (&c.weights, cx.isa);
    if w.bias {
        for dy in dy.chunks_exact(to.grad.size()) {
            for r in 0..to.grad.height {
                kernels::column_sums(isa, &dy[to.grad.row(r)], &mut sums[w.bias()]);
            }
        }
    }
    if c.route == Route::Winograd {
        return winograd_grads(cx, i, c, (from, x), (to, dy), scratch);
    }
    for (x, dy) in x.chunks_exact(from.value.size()).zip(dy.chunks_exact(to.grad.size())) {
        direct_grads(cx, c, (&from.value, x), (&to.grad, dy), &mut sums[w.weights()], &mut scratch.row)?;
    }
    Ok(())
}

/// Of one image, whose pixels are walked by rows.
fn direct_grads(
    cx: &Pass,
    c: &Conv,
    (input, x): (&Grid, &[f32]),
    (output, dy): (&Grid, &[f32]),
    sums: &mut [f32],
    spare: &mut [f32],
) -> Result<(), Error> {
    let (isa, groups) = (cx.isa, c.weights.groups);
    let each = c.weights.outputs / groups;
    let window = c.window(input, output.width, c.stride[1], c.inputs);
    let ragged = groups > 1 && !each.is_multiple_of(BLOCK);
    // About 128 pixels at once: their inputs and gradients stay in the first-level cache for all tiles.
    let most = if ragged { 1 } else { (128 / output.width).clamp(1, output.height) };
    for r in (0..output.height).step_by(most) {
        cx.stop.check()?;
        let rows = most.min(output.height - r);
        let first = input.at(r * c.stride[0], 0, c.before);
        let (x_stride, stride, step) = (c.stride[0] * input.stride(), output.stride(), output.channels);
        let dy = &dy[output.row(r).start..];
        if c.route == Route::Depthwise {
            let x = Rows { values: &x[first..], stride: x_stride, step: window.step };
            kernels::depthwise_grad(isa, x, window, Rows { values: dy, stride, step }, rows, sums);
            continue;
        }
        for (g, sums) in sums.chunks_exact_mut(c.weights.group_len()).enumerate() {
            let x = Rows { values: &x[first + g * c.inputs..], stride: x_stride, step: window.step };
            if !ragged {
                let dy = Rows { values: &dy[g * each..], stride, step };
                weight_grad(isa, x, window, dy, rows, sums);
                continue;
            }
            // The neighbour's gradients are none of this group's padding.
            let wide = c.weights.blocks * BLOCK;
            let own = &mut spare[..output.width * wide];
            own.fill(0.0);
            for (own, dy) in own.chunks_exact_mut(wide).zip(dy.chunks_exact(step)) {
                own[..each].copy_from_slice(&dy[g * each..][..each]);
            }
            weight_grad(isa, x, window, Rows { values: own, stride: 0, step: wide }, 1, sums);
        }
    }
    Ok(())
}

fn winograd_grads(
    cx: &Pass,
    i: usize,
    c: &Conv,
    (from, x): Held,
    (to, dy): Held,
    scratch: &mut Scratch,
) -> Result<(), Error> {
    let (isa, a, b, most) = (cx.isa, from.value.channels, to.grad.channels, tiles(c));
    let (plane, grad_plane) = (most * a + GAP, most * b + GAP);
    let all = Tiling::new(&to.grad, dy.len());
    for first in (0..all.count).step_by(most) {
        cx.stop.check()?;
        let mut room = [Tile::default(); TILES];
        let tiles = all.fill(first, &mut room[..most], (&from.value, c.before), (&to.grad, &to.grad));
        let n = tiles.len();
        let pitch = Pitch { row: from.value.stride(), mask: 0, pixel: a };
        winograd::inputs(isa, x, tiles, pitch, &mut scratch.inputs, plane);
        let tiles = all.fill(first, &mut room[..most], (&to.grad, [0, 0]), (&to.grad, &to.grad));
        let pitch = Pitch { row: to.grad.stride(), mask: 0, pixel: b };
        winograd::grads(isa, dy, tiles, pitch, &mut scratch.outputs, grad_plane);
        let sums = &mut scratch.sums[scratch.sums_at[i].clone()];
        for (p, sums) in sums.chunks_exact_mut(a * b).enumerate() {
            let x = Rows { values: &scratch.inputs[p * plane..], stride: 0, step: a };
            let dy = Rows { values: &scratch.outputs[p * grad_plane..], stride: 0, step: b };
            weight_grad(isa, x, Window::points(n, a, a), dy, 1, sums);
        }
    }
    Ok(())
}
