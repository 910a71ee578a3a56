//! Register tiles: a few pixels by one or two vectors of channels, summed over the whole kernel without leaving
//! the registers. Written once over [`Simd`]; compiled once a kind of CPU.

// Loops by number: they are unrolled into registers, and read like the sums that they are.
#![allow(clippy::needless_range_loop)]

use super::simd::{Portable, Simd};
#[cfg(target_arch = "x86_64")]
use super::simd::{V8, V16};
use super::{BLOCK, Finish, Isa, Kind, Rows, Window};

/// As [`super::conv_row`].
///
/// # Safety
/// `x` holds the window of the last pixel, `w` holds `blocks` blocks, `out` (and the mask) `blocks * BLOCK` values
/// for the last pixel, `(pixels - 1) * step` on, the bias `blocks * BLOCK`.
pub unsafe fn conv_row(
    isa: Isa,
    x: &[f32],
    window: Window,
    w: &[f32],
    blocks: usize,
    (out, step): (&mut [f32], usize),
    finish: Finish,
) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    unsafe fn avx512(x: &[f32], n: Window, w: &[f32], blocks: usize, out: &mut [f32], s: usize, f: Finish) {
        // SAFETY: the caller's promise.
        unsafe { conv_row_of::<V16>(x, n, w, blocks, out, s, f) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(x: &[f32], n: Window, w: &[f32], blocks: usize, out: &mut [f32], s: usize, f: Finish) {
        // SAFETY: the caller's promise.
        unsafe { conv_row_of::<V8>(x, n, w, blocks, out, s, f) }
    }
    // SAFETY: the caller's promise; an `Isa` exists only where the CPU has its features.
    unsafe {
        match isa.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512(x, window, w, blocks, out, step, finish),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2(x, window, w, blocks, out, step, finish),
            Kind::Portable => conv_row_of::<Portable>(x, window, w, blocks, out, step, finish),
        }
    }
}

/// As [`super::weight_grad`].
///
/// # Safety
/// `x` and `dy` hold the last pixel of the last row; `dw` holds `blocks` blocks.
pub unsafe fn weight_grad(
    isa: Isa,
    x: Rows,
    window: Window,
    dy: Rows,
    rows: usize,
    blocks: usize,
    dw: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
    unsafe fn avx512(x: Rows, n: Window, dy: Rows, rows: usize, blocks: usize, dw: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { weight_grad_of::<V16>(x, n, dy, rows, blocks, dw) }
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    unsafe fn avx2(x: Rows, n: Window, dy: Rows, rows: usize, blocks: usize, dw: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { weight_grad_of::<V8>(x, n, dy, rows, blocks, dw) }
    }
    // SAFETY: the caller's promise; an `Isa` exists only where the CPU has its features.
    unsafe {
        match isa.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => avx512(x, window, dy, rows, blocks, dw),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => avx2(x, window, dy, rows, blocks, dw),
            Kind::Portable => weight_grad_of::<Portable>(x, window, dy, rows, blocks, dw),
        }
    }
}

/// Calls `$f::<S, N, $nv>` apart, for the `N` that equals `$n`, at most 12.
macro_rules! by_count {
    ($n:expr, $f:ident, $nv:literal, $args:tt) => {
        match $n {
            1 => by_count!(@ $f, 1, $nv, $args),
            2 => by_count!(@ $f, 2, $nv, $args),
            3 => by_count!(@ $f, 3, $nv, $args),
            4 => by_count!(@ $f, 4, $nv, $args),
            5 => by_count!(@ $f, 5, $nv, $args),
            6 => by_count!(@ $f, 6, $nv, $args),
            7 => by_count!(@ $f, 7, $nv, $args),
            8 => by_count!(@ $f, 8, $nv, $args),
            9 => by_count!(@ $f, 9, $nv, $args),
            10 => by_count!(@ $f, 10, $nv, $args),
            11 => by_count!(@ $f, 11, $nv, $args),
            _ => by_count!(@ $f, 12, $nv, $args),
        }
    };
    (@ $f:ident, $n:literal, $nv:literal, ($($arg:expr),*)) => { S::apart(move || $f::<S, $n, $nv>($($arg),*)) };
}

/// `total` cut into the fewest pieces of at most `most`, as even as can be: (start, length) each.
#[inline(always)]
fn pieces(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let n = total.div_ceil(most);
    (0..n).map(move |i| {
        let (from, to) = (total * i / n, total * (i + 1) / n);
        (from, to - from)
    })
}

#[inline(always)]
unsafe fn conv_row_of<S: Simd>(
    x: &[f32],
    window: Window,
    w: &[f32],
    blocks: usize,
    out: &mut [f32],
    channels: usize,
    finish: Finish,
) {
    const { assert!(S::PIXELS <= MOST && S::VALUES <= MOST) };
    // A tile is two vectors wide: two blocks of AVX-512, one block of narrower vectors.
    let wide = 2 * S::LANES / BLOCK;
    let k = window.k();
    let next_w = if wide == 2 { k * BLOCK } else { S::LANES };
    let mut block = 0;
    while block < blocks {
        let pair = block + wide <= blocks;
        for (p, n) in pieces(window.pixels, S::PIXELS) {
            // SAFETY: pixels `p .. p + n` and blocks `block ..` lie within what the caller promised.
            unsafe {
                let at = p * channels + block * BLOCK;
                let x = x.as_ptr().add(p * window.step);
                let w = w.as_ptr().add(block * k * BLOCK);
                let out = out.as_mut_ptr().add(at);
                let finish = match finish {
                    Finish::Plain => Edge::Plain,
                    Finish::Bias(b) => Edge::Bias(b.as_ptr().add(block * BLOCK)),
                    Finish::BiasRelu(b) => Edge::BiasRelu(b.as_ptr().add(block * BLOCK)),
                    Finish::Mask(m) => Edge::Mask(m.as_ptr().add(at)),
                };
                if pair {
                    by_count!(n, conv_tile, 2, (x, window, w, next_w, out, channels, finish));
                } else {
                    by_count!(n, conv_tile, 1, (x, window, w, next_w, out, channels, finish));
                }
            }
        }
        block += if pair { wide } else { 1 };
    }
}

#[derive(Clone, Copy)]
enum Edge {
    Plain,
    Bias(*const f32),
    BiasRelu(*const f32),
    Mask(*const f32),
}

/// Most pixels, or values of a kernel, of a tile.
const MOST: usize = 12;
/// Pixels that share a pointer: an address holds one or two steps more, and so the pointers fit the registers.
const SHARE: usize = 3;
/// Values of a run between two moves of these pointers.
const UNROLL: usize = 4;

/// Adds the products of value `j` of each pixel with its weights.
#[inline(always)]
unsafe fn add_products<S: Simd, const PX: usize, const NV: usize>(
    sum: &mut [[S; NV]; PX],
    from: &[*const f32; MOST.div_ceil(SHARE)],
    step: usize,
    j: usize,
    w: *const f32,
    next_w: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut weight = [S::splat(0.0); NV];
        for v in 0..NV {
            weight[v] = S::load(w.add(v * next_w));
        }
        for p in 0..PX {
            let value = S::splat(*from[p / SHARE].add(p % SHARE * step + j));
            for v in 0..NV {
                sum[p][v] = sum[p][v].add_mul(value, weight[v]);
            }
        }
    }
}

#[inline(always)]
unsafe fn conv_tile<S: Simd, const PX: usize, const NV: usize>(
    x: *const f32,
    window: Window,
    w: *const f32,
    next_w: usize,
    out: *mut f32,
    channels: usize,
    finish: Edge,
) {
    // SAFETY: all offsets stay within the tile, which the caller placed within its buffers.
    unsafe {
        let mut sum = [[S::splat(0.0); NV]; PX];
        if let Edge::Bias(b) | Edge::BiasRelu(b) = finish {
            for v in 0..NV {
                let bias = S::load(b.add(v * S::LANES));
                for s in &mut sum {
                    s[v] = bias;
                }
            }
        }
        let mut w = w;
        for (row, column) in (0..window.rows).flat_map(|r| (0..window.columns).map(move |c| (r, c))) {
            let x = x.add(row * window.stride + column * window.gap);
            let mut from = [x; MOST.div_ceil(SHARE)];
            for i in 0..PX.div_ceil(SHARE) {
                from[i] = x.add(i * SHARE * window.step);
            }
            for _ in 0..window.run / UNROLL {
                for j in 0..UNROLL {
                    add_products::<S, PX, NV>(&mut sum, &from, window.step, j, w.add(j * BLOCK), next_w);
                }
                w = w.add(UNROLL * BLOCK);
                for i in 0..PX.div_ceil(SHARE) {
                    from[i] = from[i].add(UNROLL);
                }
            }
            for _ in 0..window.run % UNROLL {
                add_products::<S, PX, NV>(&mut sum, &from, window.step, 0, w, next_w);
                w = w.add(BLOCK);
                for i in 0..PX.div_ceil(SHARE) {
                    from[i] = from[i].add(1);
                }
            }
        }
        for p in 0..PX {
            for v in 0..NV {
                let at = p * channels + v * S::LANES;
                let s = match finish {
                    Edge::Plain | Edge::Bias(_) => sum[p][v],
                    Edge::BiasRelu(_) => sum[p][v].relu(),
                    Edge::Mask(m) => sum[p][v].where_positive(S::load(m.add(at))),
                };
                s.store(out.add(at));
            }
        }
    }
}

#[inline(always)]
unsafe fn weight_grad_of<S: Simd>(
    x: Rows,
    window: Window,
    dy: Rows,
    rows: usize,
    blocks: usize,
    dw: &mut [f32],
) {
    let wide = 2 * S::LANES / BLOCK;
    let k = window.k();
    let next_w = if wide == 2 { k * BLOCK } else { S::LANES };
    let mut block = 0;
    while block < blocks {
        let pair = block + wide <= blocks;
        for tap in 0..window.rows * window.columns {
            let at = tap / window.columns * window.stride + tap % window.columns * window.gap;
            for (i, n) in pieces(window.run, S::VALUES) {
                // SAFETY: values `i .. i + n` of tap `tap`, in the pixels and blocks the caller promised.
                unsafe {
                    let x = (x.values.as_ptr().add(at + i), x.stride, x.step);
                    let dy = (dy.values.as_ptr().add(block * BLOCK), dy.stride, dy.step);
                    let dw = dw.as_mut_ptr().add((block * k + tap * window.run + i) * BLOCK);
                    if pair {
                        by_count!(n, grad_tile, 2, (x, dy, rows, window.pixels, dw, next_w));
                    } else {
                        by_count!(n, grad_tile, 1, (x, dy, rows, window.pixels, dw, next_w));
                    }
                }
            }
        }
        block += if pair { wide } else { 1 };
    }
}

#[inline(always)]
unsafe fn grad_tile<S: Simd, const N: usize, const NV: usize>(
    (x, x_row, x_step): (*const f32, usize, usize),
    (dy, dy_row, dy_step): (*const f32, usize, usize),
    rows: usize,
    pixels: usize,
    dw: *mut f32,
    next_w: usize,
) {
    // SAFETY: all offsets stay within the rows and pixels, which the caller placed within its buffers.
    unsafe {
        let mut sum = [[S::splat(0.0); NV]; N];
        for i in 0..N {
            for v in 0..NV {
                sum[i][v] = S::load(dw.add(i * BLOCK + v * next_w));
            }
        }
        for row in 0..rows {
            let (mut x, mut dy) = (x.add(row * x_row), dy.add(row * dy_row));
            for _ in 0..pixels {
                let mut g = [S::splat(0.0); NV];
                for v in 0..NV {
                    g[v] = S::load(dy.add(v * S::LANES));
                }
                for i in 0..N {
                    let value = S::splat(*x.add(i));
                    for v in 0..NV {
                        sum[i][v] = sum[i][v].add_mul(value, g[v]);
                    }
                }
                x = x.wrapping_add(x_step);
                dy = dy.wrapping_add(dy_step);
            }
        }
        for i in 0..N {
            for v in 0..NV {
                sum[i][v].store(dw.add(i * BLOCK + v * next_w));
            }
        }
    }
}
