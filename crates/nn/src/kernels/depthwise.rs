//! Convolutions of each channel by itself. Weights are `[channel block][tap][BLOCK]`.

use super::{BLOCK, Finish, Isa, Kind, Rows, Window};

versions! {
    fn taps(x: &[f32], n: Window, w: &[f32], block: usize, step: usize, out: &mut [f32]) {
        for p in 0..n.pixels {
            let mut sum = [0.0f32; BLOCK];
            for (tap, w) in w.chunks_exact(BLOCK).enumerate() {
                let at = p * n.step + tap / n.columns * n.stride + tap % n.columns * n.gap + block * BLOCK;
                for ((s, x), w) in sum.iter_mut().zip(&x[at..at + BLOCK]).zip(w) {
                    *s += x * w;
                }
            }
            out[p * step + block * BLOCK..][..BLOCK].copy_from_slice(&sum);
        }
    }
}

versions! {
    fn finish_row(out: &mut [f32], step: usize, pixels: usize, bias: &[f32], relu: bool) {
        for p in 0..pixels {
            for (o, b) in out[p * step..][..bias.len()].iter_mut().zip(bias) {
                let y = *o + b;
                *o = if relu && y <= 0.0 { 0.0 } else { y };
            }
        }
    }
}

versions! {
    fn grads(x: Rows, n: Window, dy: Rows, rows: usize, block: usize, dw: &mut [f32]) {
        for (tap, dw) in dw.chunks_exact_mut(BLOCK).enumerate() {
            let at = tap / n.columns * n.stride + tap % n.columns * n.gap + block * BLOCK;
            let mut sum = [0.0f32; BLOCK];
            for row in 0..rows {
                for p in 0..n.pixels {
                    let x = &x.values[row * x.stride + p * n.step + at..][..BLOCK];
                    let dy = &dy.values[row * dy.stride + p * dy.step + block * BLOCK..][..BLOCK];
                    for ((s, x), dy) in sum.iter_mut().zip(x).zip(dy) {
                        *s += x * dy;
                    }
                }
            }
            for (dw, s) in dw.iter_mut().zip(sum) {
                *dw += s;
            }
        }
    }
}

/// One row of a depthwise convolution: `out[p][c] = finish(sum_tap x[p][tap][c] * w[tap][c])`. The window's `run` is
/// not used: a tap is all channels of a pixel.
pub fn depthwise_row(
    isa: Isa,
    x: &[f32],
    n: Window,
    w: &[f32],
    out: &mut [f32],
    step: usize,
    finish: Finish,
) {
    let size = n.rows * n.columns * BLOCK;
    for (block, w) in w.chunks_exact(size).enumerate() {
        taps(isa, x, n, w, block, step, out);
    }
    match finish {
        Finish::Plain => {}
        Finish::Bias(bias) => finish_row(isa, out, step, n.pixels, bias, false),
        Finish::BiasRelu(bias) => finish_row(isa, out, step, n.pixels, bias, true),
        Finish::Mask(mask) => super::relu_mask(isa, out, mask),
    }
}

/// Adds the weight gradient of `rows` rows of a depthwise convolution.
pub fn depthwise_grad(isa: Isa, x: Rows, n: Window, dy: Rows, rows: usize, dw: &mut [f32]) {
    let size = n.rows * n.columns * BLOCK;
    for (block, dw) in dw.chunks_exact_mut(size).enumerate() {
        grads(isa, x, n, dy, rows, block, dw);
    }
}
