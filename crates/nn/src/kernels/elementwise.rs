//! Element-wise passes: plain loops, compiled once a kind of CPU and vectorised by the compiler. Without sums
//! across elements or fused multiply-adds, they give the same bits everywhere.

use super::{BLOCK, Isa, Kind};

versions! {
    /// `a += b`.
    pub fn add_assign(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a += b;
        }
    }
}

versions! {
    /// `a = max(a, b)`; not a number where either is none.
    pub fn max_assign(a: &mut [f32], b: &[f32]) {
        for (a, b) in a.iter_mut().zip(b) {
            *a = if *b > *a || b.is_nan() { *b } else { *a };
        }
    }
}

versions! {
    /// `sums[c] += sum_p x[p][c]`, for pixels of `sums.len()` channels.
    pub fn column_sums(x: &[f32], sums: &mut [f32]) {
        let channels = sums.len();
        for (b, sums) in sums.chunks_exact_mut(BLOCK).enumerate() {
            let mut total = [0.0f32; BLOCK];
            for pixel in x.chunks_exact(channels) {
                for (t, v) in total.iter_mut().zip(&pixel[b * BLOCK..(b + 1) * BLOCK]) {
                    *t += v;
                }
            }
            for (s, t) in sums.iter_mut().zip(total) {
                *s += t;
            }
        }
    }
}

versions! {
    /// `out = max(x, 0)`.
    pub fn relu(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = if *x > 0.0 { *x } else { 0.0 };
        }
    }
}

versions! {
    /// `x = max(x, 0)`.
    pub fn relu_in_place(x: &mut [f32]) {
        for x in x.iter_mut() {
            *x = if *x > 0.0 { *x } else { 0.0 };
        }
    }
}

versions! {
    /// Zeroes a gradient where `y`, the output of relu, is not positive.
    pub fn relu_mask(grad: &mut [f32], y: &[f32]) {
        for (g, y) in grad.iter_mut().zip(y) {
            *g = if *y > 0.0 { *g } else { 0.0 };
        }
    }
}

versions! {
    /// One row of 2x2 maxima: `top` and `bottom` are neighbouring rows of pixels of `channels` values.
    pub fn max_pool_2x2(top: &[f32], bottom: &[f32], channels: usize, out: &mut [f32]) {
        let pairs = top.chunks_exact(2 * channels).zip(bottom.chunks_exact(2 * channels));
        for (out, (top, bottom)) in out.chunks_exact_mut(channels).zip(pairs) {
            let ((a, b), (c, d)) = (top.split_at(channels), bottom.split_at(channels));
            for i in 0..channels {
                let (p, q) = (if b[i] > a[i] { b[i] } else { a[i] }, if d[i] > c[i] { d[i] } else { c[i] });
                out[i] = if q > p { q } else { p };
            }
        }
    }
}

versions! {
    /// The gradient of [`max_pool_2x2`] for two rows of input: it goes to the first of equal maxima. With `relu`,
    /// to none where the maximum is not positive (the input came out of a relu).
    pub fn max_pool_2x2_grad(
        x: (&[f32], &[f32]),
        y: &[f32],
        dy: &[f32],
        channels: usize,
        relu: bool,
        dx: (&mut [f32], &mut [f32]),
    ) {
        let inputs = x.0.chunks_exact(2 * channels).zip(x.1.chunks_exact(2 * channels));
        let grads = dx.0.chunks_exact_mut(2 * channels).zip(dx.1.chunks_exact_mut(2 * channels));
        let outputs = y.chunks_exact(channels).zip(dy.chunks_exact(channels));
        for (((x0, x1), (g0, g1)), (y, dy)) in inputs.zip(grads).zip(outputs) {
            let ((a, b), (c, _)) = (x0.split_at(channels), x1.split_at(channels));
            let ((ga, gb), (gc, gd)) = (g0.split_at_mut(channels), g1.split_at_mut(channels));
            for i in 0..channels {
                let (m, g) = (y[i], if relu && y[i] <= 0.0 { 0.0 } else { dy[i] });
                let (ia, ib, ic) = (a[i] == m, b[i] == m, c[i] == m);
                ga[i] = if ia { g } else { 0.0 };
                gb[i] = if !ia & ib { g } else { 0.0 };
                gc[i] = if !ia & !ib & ic { g } else { 0.0 };
                gd[i] = if ia | ib | ic { 0.0 } else { g };
            }
        }
    }
}

versions! {
    /// `out = a + b`.
    pub fn add_into(a: &[f32], b: &[f32], out: &mut [f32]) {
        for ((o, a), b) in out.iter_mut().zip(a).zip(b) {
            *o = a + b;
        }
    }
}

/// The sum of squares, in a fixed order.
pub fn squares(x: &[f32]) -> f64 {
    let mut sums = [0.0f64; BLOCK];
    for block in x.chunks(BLOCK) {
        for (s, x) in sums.iter_mut().zip(block) {
            *s += f64::from(*x) * f64::from(*x);
        }
    }
    sums.iter().sum()
}
