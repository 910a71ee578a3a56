//! Maxima and means of windows.

use super::{Held, Pass};
use crate::Error;
use crate::kernels;
use crate::plan::Tensor;

/// A pool's windows.
#[derive(Clone, Copy)]
pub struct Window {
    pub max: bool,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub before: [usize; 2],
}

impl Window {
    /// Rows (or pixels) of the input that output `i` sees, of `n`.
    fn range(&self, d: usize, i: usize, n: usize) -> std::ops::Range<usize> {
        let from = (i * self.stride[d]).saturating_sub(self.before[d]);
        from..(i * self.stride[d] + self.kernel[d] - self.before[d]).min(n)
    }

    fn halves(&self) -> bool {
        self.max && self.kernel == [2, 2] && self.stride == [2, 2] && self.before == [0, 0]
    }

    fn share(&self) -> f32 {
        1.0 / (self.kernel[0] * self.kernel[1]) as f32
    }
}

pub fn forward(cx: &Pass, w: Window, (from, x): Held, (to, y): (&Tensor, &mut [f32])) -> Result<(), Error> {
    let (input, output, channels) = (&from.value, &to.value, from.value.channels);
    for (x, y) in x.chunks_exact(input.size()).zip(y.chunks_exact_mut(output.size())) {
        for r in 0..output.height {
            cx.stop.check()?;
            let y = &mut y[output.row(r)];
            if w.halves() {
                let (top, bottom) = (&x[input.row(2 * r)], &x[input.row(2 * r + 1)]);
                kernels::max_pool_2x2(cx.isa, top, bottom, channels, y);
                continue;
            }
            for (p, y) in y.chunks_exact_mut(channels).enumerate() {
                y.fill(if w.max { f32::NEG_INFINITY } else { 0.0 });
                let columns = w.range(1, p, input.width);
                for row in w.range(0, r, input.height) {
                    let x = &x[input.row(row)][columns.start * channels..columns.end * channels];
                    for x in x.chunks_exact(channels) {
                        if w.max {
                            kernels::max_assign(cx.isa, y, x);
                        } else {
                            kernels::add_assign(cx.isa, y, x);
                        }
                    }
                }
                if !w.max {
                    y.iter_mut().for_each(|y| *y *= w.share());
                }
            }
        }
    }
    Ok(())
}

/// The gradient of the input; whether a relu before it is already taken into account.
pub fn backward(
    cx: &Pass,
    w: Window,
    (from, x): Held,
    (to, y): Held,
    dy: &[f32],
    dx: &mut [f32],
) -> Result<bool, Error> {
    let channels = from.value.channels;
    let images = x.chunks_exact(from.value.size()).zip(y.chunks_exact(to.value.size()));
    let grads = dy.chunks_exact(to.grad.size()).zip(dx.chunks_exact_mut(from.grad.size()));
    let (v, g) = (&from.value, &from.grad);
    for ((x, y), (dy, dx)) in images.zip(grads) {
        for r in 0..g.height {
            dx[g.row(r)].fill(0.0);
        }
        for r in 0..to.value.height {
            cx.stop.check()?;
            let (y, dy) = (&y[to.value.row(r)], &dy[to.grad.row(r)]);
            if w.halves() {
                let x = (&x[v.row(2 * r)], &x[v.row(2 * r + 1)]);
                let (upper, lower) = dx[g.row(2 * r).start..].split_at_mut(g.stride());
                let len = g.width * channels;
                let dx = (&mut upper[..len], &mut lower[..len]);
                kernels::max_pool_2x2_grad(cx.isa, x, y, dy, channels, from.relu, dx);
                continue;
            }
            let pixels = y.chunks_exact(channels).zip(dy.chunks_exact(channels));
            for (p, (y, dy)) in pixels.enumerate() {
                let (rows, columns) = (w.range(0, r, v.height), w.range(1, p, v.width));
                if !w.max {
                    for row in rows {
                        let dx = &mut dx[g.row(row)][columns.start * channels..columns.end * channels];
                        for dx in dx.chunks_exact_mut(channels) {
                            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += dy * w.share());
                        }
                    }
                    continue;
                }
                for c in 0..channels {
                    // To the first of equal maxima.
                    'window: for row in rows.clone() {
                        let (i, o) = (v.row(row).start, g.row(row).start);
                        for column in columns.clone() {
                            if x[i + column * channels + c] == y[c] {
                                dx[o + column * channels + c] += dy[c];
                                break 'window;
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(w.halves())
}
