//! Dense inner loops for learners: products of a block of rows with itself and with coefficients, exponentials.
//! Called from inside a block, so on one thread (blocks are already parallel). Instructions are picked at run time.
//!
//! Products go through here and not straight to faer for a reason: its x86 kernels return with the upper halves of
//! the vector registers in use, and each plain SSE instruction after that waits for them. Measured: 150 ns an
//! `exp` instead of 4. [`clear_upper`] ends each product.

use faer::linalg::matmul::triangular;
use faer::{Accum, Par, mat::MatMut, mat::MatRef};
use std::hint::black_box;
use triangular::BlockStructure::{Rectangular, TriangularLower};

/// Runs a loop compiled for the machine's own vector instructions. The closure, and what it calls, must be marked
/// `#[inline(always)]`: what is not inlined into it is plain SSE code.
#[inline(always)]
pub fn vectorized<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// Whether loops in [`vectorized`] multiply and add in one instruction; where not, `mul_add` is a slow call.
pub fn fused() -> bool {
    !matches!(pulp::Arch::new(), pulp::Arch::Scalar)
}

/// Makes plain SSE code fast again: a function compiled for AVX ends with `vzeroupper` when it used wide registers.
fn clear_upper() {
    vectorized(
        #[inline(always)]
        || {
            let mut lanes = black_box([0.0f64; 16]);
            lanes.iter_mut().for_each(|v| *v += 1.0);
            black_box(lanes);
        },
    );
}

fn product(g: MatMut<f64>, accum: Accum, a: MatRef<f64>, b: MatRef<f64>) {
    faer::linalg::matmul::matmul(g, accum, a, b, 1.0, Par::Seq);
    clear_upper();
}

/// The most that `rows_at_once` gives.
pub const MAX_ROWS: usize = 512;

/// Rows to work on at once so that a scratch of `width` columns stays in the second-level cache (128 KiB), and a
/// step stays short enough to be cancelled between.
pub fn rows_at_once(width: usize) -> usize {
    ((128 << 10) / 8 / width.max(1)).clamp(32, MAX_ROWS)
}

/// `g += u' u`, lower triangle: `u` is `rows x width`, `g` is `width x width`, both row-major.
pub fn add_square(u: &[f64], rows: usize, width: usize, g: &mut [f64]) {
    let u = MatRef::from_row_major_slice(u, rows, width);
    let g = MatMut::from_row_major_slice_mut(g, width, width);
    triangular::matmul(
        g,
        TriangularLower,
        Accum::Add,
        u.transpose(),
        Rectangular,
        u,
        Rectangular,
        1.0,
        Par::Seq,
    );
    clear_upper();
}

/// `out = u theta'`: `u` is `rows x width`, `theta` is `k x width`, `out` is `rows x k`, all row-major.
pub fn margins(u: &[f64], rows: usize, width: usize, theta: &[f64], k: usize, out: &mut [f64]) {
    let u = MatRef::from_row_major_slice(u, rows, width);
    let theta = MatRef::from_row_major_slice(theta, k, width);
    let out = MatMut::from_row_major_slice_mut(out, rows, k);
    product(out, Accum::Replace, u, theta.transpose());
}

/// `g += r' u`: `r` is `rows x k`, `u` is `rows x width`, `g` is `k x width`, all row-major.
pub fn add_product(r: &[f64], rows: usize, k: usize, u: &[f64], width: usize, g: &mut [f64]) {
    let r = MatRef::from_row_major_slice(r, rows, k);
    let u = MatRef::from_row_major_slice(u, rows, width);
    let g = MatMut::from_row_major_slice_mut(g, k, width);
    product(g, Accum::Add, r.transpose(), u);
}

/// The sum of eight lanes, in the order that all sums here have.
#[inline(always)]
pub fn lanes_sum([a, b, c, d, e, f, g, h]: [f64; 8]) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// The dot product, summed in eight lanes: the order of additions is part of the result.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    for (lane, (x, y)) in lanes.iter_mut().zip(a8.remainder().iter().zip(b8.remainder())) {
        *lane = x * y;
    }
    for (x, y) in a8.zip(b8) {
        for l in 0..8 {
            lanes[l] += x[l] * y[l];
        }
    }
    lanes_sum(lanes)
}

/// The sum, in eight lanes as in [`dot`].
#[inline(always)]
pub fn sum(a: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let a8 = a.chunks_exact(8);
    lanes.iter_mut().zip(a8.remainder()).for_each(|(lane, x)| *lane = *x);
    for x in a8 {
        for l in 0..8 {
            lanes[l] += x[l];
        }
    }
    lanes_sum(lanes)
}

/// `e^x` to 1 ulp or two, without branches so that loops over it become vector code. Clamped to
/// `-708 ..= 709`: never 0, never infinite. NaN stays NaN.
#[inline(always)]
pub fn exp(x: f64) -> f64 {
    // x = n ln 2 + r, |r| <= ln 2 / 2; adding 1.5 * 2^52 rounds to n and leaves it in the low bits.
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    let x = x.clamp(-708.0, 709.0);
    let t = x * std::f64::consts::LOG2_E + MAGIC;
    let n = t - MAGIC;
    let r = (x - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's series: the first term left out is 5e-18.
    let mut p = 1.0 / 6_227_020_800.0;
    for c in
        [479_001_600.0, 39_916_800.0, 3_628_800.0, 362_880.0, 40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0]
    {
        p = p * r + 1.0 / c;
    }
    p = (p * r + 1.0) * r + 1.0;
    f64::from_bits(p.to_bits().wrapping_add(t.to_bits() << 52))
}

/// `ln(1 + e)` for `0 <= e <= 1`, without branches.
#[inline(always)]
pub fn ln_1p(e: f64) -> f64 {
    // 2 artanh(s) by its series in s^2 <= 1/9: the first term left out is 2e-18.
    let s = e / (2.0 + e);
    let q = s * s;
    let mut p = 1.0 / 35.0;
    for i in (0..17).rev() {
        p = p * q + 1.0 / f64::from(2 * i + 1);
    }
    2.0 * s * p
}

/// Replaces rows of `k` margins by their softmax; `log_sum` gets the log of each row's sum of exponentials.
pub fn softmax(m: &mut [f64], k: usize, log_sum: &mut [f64]) {
    vectorized(
        #[inline(always)]
        || {
            for (m, top) in m.chunks_exact_mut(k).zip(log_sum.iter_mut()) {
                *top = m.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                m.iter_mut().for_each(|v| *v -= *top);
            }
            m.iter_mut().for_each(|v| *v = exp(*v));
        },
    );
    for (m, top) in m.chunks_exact_mut(k).zip(log_sum) {
        let total: f64 = m.iter().sum();
        *top += total.ln();
        m.iter_mut().for_each(|v| *v /= total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_1p_agree_with_the_standard_library() {
        for i in -70_000i32..70_000 {
            let x = f64::from(i) * 0.010_1;
            assert!((exp(x) / x.exp() - 1.0).abs() < 5e-16, "exp {x}");
            let e = f64::from(i.abs()) / 70_000.0;
            assert!((ln_1p(e) - e.ln_1p()).abs() <= 1e-15 * e.ln_1p(), "ln_1p {e}");
        }
        assert!(exp(f64::NAN).is_nan() && exp(-1e9) > 0.0 && exp(-1e9) < 1e-307 && exp(1e9).is_finite());
    }

    #[test]
    fn products_agree_with_plain_loops() {
        let (rows, n, k) = (37, 11, 3);
        let u: Vec<f64> = (0..rows * n).map(|i| ((i * 7919) % 101) as f64 - 50.0).collect();
        let theta: Vec<f64> = (0..k * n).map(|i| ((i * 31) % 13) as f64 - 6.0).collect();
        // Whole numbers: every order of additions gives the same.
        let (mut m, mut g, mut square) = (vec![0.0; rows * k], vec![1.0; k * n], vec![2.0; n * n]);
        margins(&u, rows, n, &theta, k, &mut m);
        add_product(&m, rows, k, &u, n, &mut g);
        add_square(&u, rows, n, &mut square);
        let at = |i: usize, j: usize| u[i * n + j];
        for c in 0..k {
            for i in 0..rows {
                assert_eq!(m[i * k + c], (0..n).map(|j| at(i, j) * theta[c * n + j]).sum::<f64>());
            }
            for j in 0..n {
                assert_eq!(g[c * n + j], 1.0 + (0..rows).map(|i| m[i * k + c] * at(i, j)).sum::<f64>());
            }
        }
        for a in 0..n {
            for b in 0..=a {
                assert_eq!(square[a * n + b], 2.0 + (0..rows).map(|i| at(i, a) * at(i, b)).sum::<f64>());
            }
        }
        assert_eq!(sum(&u), u.iter().sum::<f64>());
        assert_eq!(dot(&u, &u), u.iter().map(|x| x * x).sum::<f64>());
    }
}
