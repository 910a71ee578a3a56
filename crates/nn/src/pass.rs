//! A group of images through a network, forward and backward, on the current thread.
//!
//! The layers of one group after another, so that its values stay in the cache. Every image is computed by
//! itself, except for sums of weight gradients, which are added image by image: no result depends on how
//! images are grouped. Nothing is allocated here.

use crate::buffer::Buffer;
use crate::kernels::{self, BLOCK, Finish, Isa, Rows, Window, conv_row, weight_grad};
use crate::plan::{Grid, Op, Plan, Tensor, Weights};
use crate::random::Stream;
use crate::{Error, Stop};

/// Values, gradients and scratch of one group.
pub struct Workspace {
    images: usize,
    values: Vec<Buffer>,
    grads: Vec<Buffer>,
    /// For a convolution with a stride: its gradient with the pixels that the stride left out, as zeros.
    spread: Vec<Buffer>,
}

/// Images a group: as many as keep their values within about 2 MiB, a core's own cache.
pub fn group(plan: &Plan, training: bool) -> usize {
    let values = plan.values() * if training { 2 } else { 1 };
    ((1 << 19) / values.max(1)).clamp(1, 16)
}

impl Workspace {
    /// Room for a group of `images`; gradients too when it is for training.
    pub fn new(plan: &Plan, images: usize, training: bool) -> Workspace {
        let values = plan.tensors.iter().map(|t| Buffer::new(t.value.size() * images)).collect();
        let mut work = Workspace { images, values, grads: vec![], spread: vec![] };
        if training {
            work.grads = plan.tensors.iter().map(|t| Buffer::new(t.grad.size() * images)).collect();
            work.spread = (0..plan.ops.len()).map(|i| Buffer::new(spread_len(plan, i))).collect();
        }
        work
    }

    /// Images that it has room for.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The input of image `i`, with its halo.
    pub fn input(&mut self, plan: &Plan, i: usize) -> &mut [f32] {
        let len = plan.tensors[0].value.size();
        &mut self.values[0][i * len..(i + 1) * len]
    }

    /// Outputs of the first `n` images and their gradients: rows of padded length.
    pub fn outputs(&mut self, plan: &Plan, n: usize) -> (&[f32], &mut [f32]) {
        let last = plan.tensors.len() - 1;
        let len = plan.tensors[last].value.size() * n;
        let grads = self.grads.get_mut(last).map(|g| &mut g[..len]);
        (&self.values[last][..len], grads.unwrap_or_default())
    }

    /// For a dense operation: its inputs and the gradients of its outputs, of the first `n` images.
    pub fn dense(&self, plan: &Plan, op: usize, n: usize) -> (&[f32], &[f32]) {
        let (i, o) = (plan.tensors[op].value.size() * n, plan.tensors[op + 1].grad.size() * n);
        (&self.values[op][..i], &self.grads[op + 1][..o])
    }

    /// Computes the outputs of the first `n` images. `dropout` gives the random stream of an image and layer, in
    /// training.
    pub fn forward(
        &mut self,
        plan: &Plan,
        isa: Isa,
        weights: &[f32],
        n: usize,
        dropout: Option<&dyn Fn(usize, usize) -> Stream>,
        stop: Stop,
    ) -> Result<(), Error> {
        for (i, op) in plan.ops.iter().enumerate() {
            let (before, after) = self.values.split_at_mut(i + 1);
            let (from, to) = (plan.tensors[i], plan.tensors[i + 1]);
            let (x, y) = (&before[i][..from.value.size() * n], &mut after[0][..to.value.size() * n]);
            stop.check()?;
            match *op {
                Op::Dense { weights: w } => {
                    let rows = dense_window(w, n);
                    let finish = bias(&weights[w.bias()], to.relu);
                    conv_row(isa, x, rows, &weights[w.weights()], y, finish);
                }
                Op::Dropout { rate, layer } => {
                    let images = x.chunks(from.value.size()).zip(y.chunks_mut(to.value.size()));
                    for (image, (x, y)) in images.enumerate() {
                        let mut stream = dropout.map(|d| d(image, layer));
                        for r in 0..from.value.height {
                            let (x, y) = (&x[from.value.row(r)], &mut y[to.value.row(r)]);
                            match &mut stream {
                                Some(stream) => stream.thin(rate, x, y),
                                None => y.copy_from_slice(x),
                            }
                        }
                    }
                }
                _ => {
                    for (x, y) in x.chunks(from.value.size()).zip(y.chunks_mut(to.value.size())) {
                        forward_image(*op, isa, weights, (&from, x), (&to, y), stop)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// From the gradients of the outputs to those of all weights of convolutions, which are added to `sums`.
    /// The gradients of dense weights are left to the caller, over all groups at once ([`Workspace::dense`]).
    #[allow(clippy::too_many_arguments)]
    pub fn backward(
        &mut self,
        plan: &Plan,
        isa: Isa,
        turned: &[Buffer],
        n: usize,
        sums: &mut [f32],
        dropout: &dyn Fn(usize, usize) -> Stream,
        stop: Stop,
    ) -> Result<(), Error> {
        let first = plan.ops.iter().position(|op| matches!(op, Op::Conv { .. } | Op::Dense { .. }));
        for i in (first.unwrap_or(0)..plan.ops.len()).rev() {
            let (from, to) = (plan.tensors[i], plan.tensors[i + 1]);
            let (before, after) = self.grads.split_at_mut(i + 1);
            let dx = &mut before[i][..from.grad.size() * n];
            let dy = &after[0][..to.grad.size() * n];
            let x = &self.values[i][..from.value.size() * n];
            let y = &self.values[i + 1][..to.value.size() * n];
            stop.check()?;
            match plan.ops[i] {
                Op::Dense { weights: w } => {
                    if w.grad_input {
                        let outputs = w.blocks * BLOCK;
                        let rows =
                            Window { pixels: n, step: outputs, runs: 1, run: outputs, stride: outputs };
                        let finish = if from.relu { Finish::Mask(x) } else { Finish::Plain };
                        conv_row(isa, dy, rows, &turned[i], dx, finish);
                    }
                }
                Op::Dropout { rate, layer } => {
                    for image in 0..n {
                        let (dx, dy, x) = (
                            &mut dx[image * from.grad.size()..][..from.grad.size()],
                            &dy[image * to.grad.size()..][..to.grad.size()],
                            &x[image * from.value.size()..][..from.value.size()],
                        );
                        let mut stream = dropout(image, layer);
                        for r in 0..from.value.height {
                            stream.thin(rate, &dy[to.grad.row(r)], &mut dx[from.grad.row(r)]);
                        }
                        mask(isa, &from, x, dx);
                    }
                }
                op => {
                    for image in 0..n {
                        let dx = &mut dx[image * from.grad.size()..][..from.grad.size()];
                        let dy = &dy[image * to.grad.size()..][..to.grad.size()];
                        let x = &x[image * from.value.size()..][..from.value.size()];
                        let y = &y[image * to.value.size()..][..to.value.size()];
                        if let Op::Conv { .. } = op {
                            let spread = &mut self.spread[i];
                            let (x, dy) = ((&from, x), (&to, dy));
                            conv_backward(op, isa, &turned[i], x, dy, dx, sums, spread, stop)?;
                        } else {
                            backward_image(op, isa, (&from, x), (&to, y), dy, dx);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn bias(values: &[f32], relu: bool) -> Finish<'_> {
    if relu { Finish::BiasRelu(values) } else { Finish::Bias(values) }
}

/// The rows of a dense layer as pixels of a convolution with a kernel of one.
pub fn dense_window(w: Weights, rows: usize) -> Window {
    Window { pixels: rows, step: w.k, runs: 1, run: w.k, stride: w.k }
}

fn conv_window(kernel: usize, stride: usize, input: &Grid, output: &Grid) -> Window {
    Window {
        pixels: output.width,
        step: stride * input.channels,
        runs: kernel,
        run: kernel * input.channels,
        stride: input.stride(),
    }
}

/// Zeroes the gradient of a tensor that came out of a relu where it is not positive.
fn mask(isa: Isa, from: &Tensor, x: &[f32], dx: &mut [f32]) {
    if from.relu {
        for r in 0..from.value.height {
            kernels::relu_mask(isa, &mut dx[from.grad.row(r)], &x[from.value.row(r)]);
        }
    }
}

fn forward_image(
    op: Op,
    isa: Isa,
    weights: &[f32],
    (from, x): (&Tensor, &[f32]),
    (to, y): (&Tensor, &mut [f32]),
    stop: Stop,
) -> Result<(), Error> {
    let (input, output) = (&from.value, &to.value);
    let channels = input.channels;
    match op {
        Op::Conv { kernel, stride, weights: w, .. } => {
            let window = conv_window(kernel, stride, input, output);
            let finish = bias(&weights[w.bias()], to.relu);
            for r in 0..output.height {
                stop.check()?;
                let x = &x[r * stride * input.stride()..];
                conv_row(isa, x, window, &weights[w.weights()], &mut y[output.row(r)], finish);
            }
        }
        Op::MaxPool { kernel: 2, stride: 2 } => {
            for r in 0..output.height {
                let (top, bottom) = (&x[input.row(2 * r)], &x[input.row(2 * r + 1)]);
                kernels::max_pool_2x2(isa, top, bottom, channels, &mut y[output.row(r)]);
            }
        }
        Op::MaxPool { kernel, stride } => {
            for r in 0..output.height {
                stop.check()?;
                for (p, y) in y[output.row(r)].chunks_exact_mut(channels).enumerate() {
                    y.fill(f32::NEG_INFINITY);
                    for row in 0..kernel {
                        let x = &x[input.row(r * stride + row)][p * stride * channels..][..kernel * channels];
                        for x in x.chunks_exact(channels) {
                            for (y, x) in y.iter_mut().zip(x) {
                                *y = if *x > *y || x.is_nan() { *x } else { *y };
                            }
                        }
                    }
                }
            }
        }
        Op::AvgPool { height, width, stride } => {
            let share = 1.0 / (height * width) as f32;
            for r in 0..output.height {
                stop.check()?;
                for (p, y) in y[output.row(r)].chunks_exact_mut(channels).enumerate() {
                    y.fill(0.0);
                    for row in 0..height {
                        let x = &x[input.row(r * stride + row)][p * stride * channels..][..width * channels];
                        for x in x.chunks_exact(channels) {
                            kernels::add_assign(isa, y, x);
                        }
                    }
                    y.iter_mut().for_each(|y| *y *= share);
                }
            }
        }
        Op::Flatten => {
            for (r, y) in y.chunks_exact_mut(input.width * channels).enumerate() {
                y.copy_from_slice(&x[input.row(r)]);
            }
        }
        Op::Relu => {
            for r in 0..input.height {
                kernels::relu(isa, &x[input.row(r)], &mut y[output.row(r)]);
            }
        }
        // Run over the whole group, by the caller.
        Op::Dense { .. } | Op::Dropout { .. } => {}
    }
    Ok(())
}

/// The gradient of the input of an operation without weights.
fn backward_image(
    op: Op,
    isa: Isa,
    (from, x): (&Tensor, &[f32]),
    (to, y): (&Tensor, &[f32]),
    dy: &[f32],
    dx: &mut [f32],
) {
    let channels = from.value.channels;
    match op {
        Op::MaxPool { kernel: 2, stride: 2 } => {
            let stride = from.grad.stride();
            for r in 0..to.value.height {
                let (v, g) = (&from.value, &from.grad);
                let x = (&x[v.row(2 * r)], &x[v.row(2 * r + 1)]);
                let (upper, lower) = dx[g.row(2 * r).start..].split_at_mut(stride);
                let len = g.width * channels;
                let (y, dy) = (&y[to.value.row(r)], &dy[to.grad.row(r)]);
                let dx = (&mut upper[..len], &mut lower[..len]);
                kernels::max_pool_2x2_grad(isa, x, y, dy, channels, from.relu, dx);
            }
            // What an odd last row or column holds was in no window; it was zero from the start and stays so.
        }
        Op::MaxPool { kernel, stride } => {
            clear(from, dx);
            for r in 0..to.value.height {
                let outputs = y[to.value.row(r)].chunks_exact(channels);
                let outputs = outputs.zip(dy[to.grad.row(r)].chunks_exact(channels));
                for (p, (y, dy)) in outputs.enumerate() {
                    for c in 0..channels {
                        'window: for row in 0..kernel {
                            let (i, o) = (from.value.row(r * stride + row), from.grad.row(r * stride + row));
                            for column in 0..kernel {
                                let at = (p * stride + column) * channels + c;
                                if x[i.start + at] == y[c] {
                                    dx[o.start + at] += dy[c];
                                    break 'window;
                                }
                            }
                        }
                    }
                }
            }
            mask(isa, from, x, dx);
        }
        Op::AvgPool { height, width, stride } => {
            clear(from, dx);
            let share = 1.0 / (height * width) as f32;
            for r in 0..to.value.height {
                for (p, dy) in dy[to.grad.row(r)].chunks_exact(channels).enumerate() {
                    for row in 0..height {
                        let row = from.grad.row(r * stride + row);
                        let dx = &mut dx[row][p * stride * channels..][..width * channels];
                        for dx in dx.chunks_exact_mut(channels) {
                            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * share);
                        }
                    }
                }
            }
            mask(isa, from, x, dx);
        }
        Op::Flatten => {
            for (r, dy) in dy.chunks_exact(from.value.width * channels).enumerate() {
                dx[from.grad.row(r)].copy_from_slice(dy);
            }
            mask(isa, from, x, dx);
        }
        Op::Relu => {
            for r in 0..from.value.height {
                let dx = &mut dx[from.grad.row(r)];
                dx.copy_from_slice(&dy[to.grad.row(r)]);
                kernels::relu_mask(isa, dx, &y[to.value.row(r)]);
            }
            mask(isa, from, x, dx);
        }
        // By the caller.
        Op::Conv { .. } | Op::Dense { .. } | Op::Dropout { .. } => {}
    }
}

fn clear(from: &Tensor, dx: &mut [f32]) {
    for r in 0..from.grad.height {
        dx[from.grad.row(r)].fill(0.0);
    }
}

/// A convolution's gradients of one image: its weights' are added to `sums`, its input's set.
#[allow(clippy::too_many_arguments)]
fn conv_backward(
    op: Op,
    isa: Isa,
    turned: &[f32],
    (from, x): (&Tensor, &[f32]),
    (to, dy): (&Tensor, &[f32]),
    dx: &mut [f32],
    sums: &mut [f32],
    spread: &mut [f32],
    stop: Stop,
) -> Result<(), Error> {
    let Op::Conv { kernel, stride, top, left, weights: w } = op else { return Ok(()) };
    let (input, output) = (&from.value, &to.grad);
    let window = conv_window(kernel, stride, input, output);
    // About 128 pixels at once: their inputs and gradients stay in the first-level cache for all tiles.
    let rows = (128 / output.width).clamp(1, output.height);
    for r in (0..output.height).step_by(rows) {
        stop.check()?;
        let rows = rows.min(output.height - r);
        let values = &x[r * stride * input.stride()..];
        let x = Rows { values, stride: stride * input.stride(), step: window.step };
        let values = &dy[output.row(r).start..];
        let dy = Rows { values, stride: output.stride(), step: output.channels };
        weight_grad(isa, x, window, dy, rows, &mut sums[w.weights()]);
    }
    for r in 0..output.height {
        kernels::column_sums(isa, &dy[output.row(r)], &mut sums[w.bias()]);
    }
    if !w.grad_input {
        return Ok(());
    }
    // A convolution, of stride 1, of the output's gradient (with a halo, and zeros where the stride skipped).
    let channels = output.channels;
    let columns = input.width + kernel - 1;
    let dy = if stride == 1 {
        dy
    } else {
        for r in 0..output.height {
            for (p, pixel) in dy[output.row(r)].chunks_exact(channels).enumerate() {
                let (row, column) = (kernel - 1 - top + r * stride, kernel - 1 - left + p * stride);
                // The last outputs may reach beyond what touches the image.
                if row < input.height + kernel - 1 && column < columns {
                    spread[(row * columns + column) * channels..][..channels].copy_from_slice(pixel);
                }
            }
        }
        spread
    };
    let window = Window {
        pixels: input.width,
        step: channels,
        runs: kernel,
        run: kernel * channels,
        stride: columns * channels,
    };
    for r in 0..input.height {
        stop.check()?;
        let dy = &dy[r * columns * channels..];
        let finish = if from.relu { Finish::Mask(&x[input.row(r)]) } else { Finish::Plain };
        conv_row(isa, dy, window, turned, &mut dx[from.grad.row(r)], finish);
    }
    Ok(())
}

fn spread_len(plan: &Plan, op: usize) -> usize {
    match plan.ops[op] {
        Op::Conv { kernel, stride, weights, .. } if stride > 1 && weights.grad_input => {
            let (input, output) = (plan.tensors[op].value, plan.tensors[op + 1].value);
            (input.height + kernel - 1) * (input.width + kernel - 1) * output.channels
        }
        _ => 0,
    }
}

/// Room for the weights of operation `op` as its input's gradient needs them: outputs and inputs exchanged, the
/// kernel turned round. Empty where no gradient goes on.
pub fn turned_len(plan: &Plan, op: usize) -> usize {
    match plan.ops[op] {
        Op::Conv { weights, kernel, .. } if weights.grad_input => {
            kernel * kernel * plan.tensors[op].value.channels * weights.blocks * BLOCK
        }
        Op::Dense { weights } if weights.grad_input => weights.k * weights.blocks * BLOCK,
        _ => 0,
    }
}

/// Fills block `block` (of input channels) of the turned weights of operation `op`.
pub fn turn(plan: &Plan, op: usize, weights: &[f32], block: usize, out: &mut [f32]) {
    let (w, taps) = match plan.ops[op] {
        Op::Conv { weights, kernel, .. } => (weights, kernel * kernel),
        Op::Dense { weights } => (weights, 1),
        _ => return,
    };
    let (channels, outputs) = (w.k / taps, w.blocks * BLOCK);
    let weights = &weights[w.weights()];
    for (tap, out) in out.chunks_exact_mut(outputs * BLOCK).enumerate() {
        for (b, out) in out.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
            let at = (b * w.k + (taps - 1 - tap) * channels + block * BLOCK) * BLOCK;
            let from = &weights[at..at + BLOCK * BLOCK];
            for (o, out) in out.chunks_exact_mut(BLOCK).enumerate() {
                for (i, out) in out.iter_mut().enumerate() {
                    *out = from[i * BLOCK + o];
                }
            }
        }
    }
}
