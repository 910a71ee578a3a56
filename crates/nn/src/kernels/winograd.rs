//! Convolutions of 3x3 with stride 1 by Winograd's F(4x4, 3x3) (Lavin and Gray 2016): 36 products of matrices a
//! tile of 4x4 outputs instead of 144 a pixel each. All three passes: outputs, the inputs' gradient (a
//! convolution with the kernel turned round), and the weights' gradient, which is summed in the transformed
//! domain and taken back once.
//!
//! Transformed values are 36 planes, `plane` values apart: inputs `[tile][channel]`, weights `[block][k][BLOCK]`,
//! so that the products are those of [`super::conv_row`] and [`super::weight_grad`].

// Loops by number: they are unrolled into registers, and read like the sums that they are.
#![allow(clippy::needless_range_loop)]

use super::simd::{Portable, Simd};
#[cfg(target_arch = "x86_64")]
use super::simd::{V8, V16};
use super::{BLOCK, Finish, Isa, Kind};

/// Planes of transformed values.
pub const PLANES: usize = 36;

/// A tile's places: where its 6x6 inputs begin, where its 4x4 outputs do, and how many of these there are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tile {
    /// The first of its inputs (or, for gradients of weights, of the outputs' gradients).
    pub from: usize,
    /// The first of its outputs.
    pub to: usize,
    /// The first of its mask.
    pub mask: usize,
    /// Rows of outputs, at most 4.
    pub rows: usize,
    /// Pixels of outputs in each, at most 4.
    pub columns: usize,
}

/// Pixels in memory: values between rows, and between pixels.
#[derive(Debug, Clone, Copy)]
pub struct Pitch {
    /// Values between rows.
    pub row: usize,
    /// Values between rows of the mask, where there is one.
    pub mask: usize,
    /// Values between pixels: the channels.
    pub pixel: usize,
}

const G: [[f32; 3]; 6] = [
    [0.25, 0.0, 0.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
    [0.0, 0.0, 1.0],
];

versions! {
    /// Transforms one block of weights, `[9][k][BLOCK]`, into its part of each plane, `[k][BLOCK]`.
    pub fn weights(w: &[f32], planes: &mut [&mut [f32]]) {
        let run = w.len() / 9;
        for at in (0..run).step_by(BLOCK) {
            let mut half = [[[0.0f32; BLOCK]; 3]; 6];
            for r in 0..6 {
                for b in 0..3 {
                    for a in 0..3 {
                        let w = &w[(a * 3 + b) * run + at..][..BLOCK];
                        for o in 0..BLOCK {
                            half[r][b][o] += G[r][a] * w[o];
                        }
                    }
                }
            }
            for r in 0..6 {
                for s in 0..6 {
                    let out = &mut planes[r * 6 + s][at..at + BLOCK];
                    for o in 0..BLOCK {
                        out[o] = G[s][0] * half[r][0][o] + G[s][1] * half[r][1][o] + G[s][2] * half[r][2][o];
                    }
                }
            }
        }
    }
}

versions! {
    /// Takes the sums of a weight gradient back: adds planes `[blocks][k][BLOCK]`, from block `first` on, to `dw`,
    /// `[blocks][9][k][BLOCK]`.
    pub fn weight_grad(sums: &[f32], k: usize, first: usize, dw: &mut [f32]) {
        let (plane, run) = (sums.len() / PLANES, k * BLOCK);
        for (block, dw) in dw.chunks_exact_mut(9 * run).enumerate() {
            let block = first + block;
            for at in (0..run).step_by(BLOCK) {
                let mut half = [[[0.0f32; BLOCK]; 6]; 3];
                for s in 0..6 {
                    for r in 0..6 {
                        let sums = &sums[(r * 6 + s) * plane + block * run + at..][..BLOCK];
                        for a in 0..3 {
                            for o in 0..BLOCK {
                                half[a][s][o] += G[r][a] * sums[o];
                            }
                        }
                    }
                }
                for a in 0..3 {
                    for b in 0..3 {
                        let dw = &mut dw[(a * 3 + b) * run + at..][..BLOCK];
                        for s in 0..6 {
                            for o in 0..BLOCK {
                                dw[o] += G[s][b] * half[a][s][o];
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Compiles a generic loop once a kind of CPU and calls the one of `isa`.
macro_rules! by_kind {
    ($isa:expr, $f:ident($($a:ident: $t:ty),*)) => {{
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
        unsafe fn avx512($($a: $t),*) {
            // SAFETY: the caller's promise.
            unsafe { $f::<V16>($($a),*) }
        }
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma")]
        unsafe fn avx2($($a: $t),*) {
            // SAFETY: the caller's promise.
            unsafe { $f::<V8>($($a),*) }
        }
        // SAFETY: the caller's promise; an `Isa` exists only where the CPU has its features.
        unsafe {
            match $isa.0 {
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => avx512($($a),*),
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => avx2($($a),*),
                Kind::Portable => $f::<Portable>($($a),*),
            }
        }
    }};
}

/// Values that a square of `n` pixels a side spans.
fn span(n: usize, pitch: Pitch) -> usize {
    (n - 1) * pitch.row + n * pitch.pixel
}

/// Transforms the 6x6 inputs of tiles: plane `p`, tile `t` is `out[p * plane + t * channels ..]`.
pub fn inputs(isa: Isa, x: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize) {
    check(tiles, x.len(), span(6, pitch), pitch, out.len(), plane);
    // SAFETY: all 6x6 pixels of each tile lie in `x`, all tiles of each plane in `out`, by the check; channels are
    // whole blocks, so whole vectors.
    by_kind!(isa, inputs_of(x: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize))
}

/// Transforms the 4x4 gradients of tiles for the gradient of weights.
pub fn grads(isa: Isa, dy: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize) {
    check(tiles, dy.len(), span(4, pitch), pitch, out.len(), plane);
    // SAFETY: as in `inputs`, for 4x4 pixels.
    by_kind!(isa, grads_of(dy: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize))
}

fn check(tiles: &[Tile], len: usize, span: usize, pitch: Pitch, out: usize, plane: usize) {
    let inside = tiles.iter().all(|t| t.from + span <= len);
    let fits = planes_hold(tiles.len() * pitch.pixel, plane, out);
    assert!(inside && fits && pitch.pixel.is_multiple_of(BLOCK), "a tile reaches out of its buffers");
}

/// Whether `len` values fit each plane of a buffer that begins within the first one.
fn planes_hold(len: usize, plane: usize, buffer: usize) -> bool {
    plane >= len && buffer >= (PLANES - 1) * plane + len
}

/// Takes products back to the outputs of tiles, and finishes them.
pub fn outputs(
    isa: Isa,
    sums: &[f32],
    plane: usize,
    tiles: &[Tile],
    pitch: Pitch,
    out: &mut [f32],
    finish: Finish,
) {
    let mask = if let Finish::Mask(mask) = finish { mask.len() } else { usize::MAX };
    let inside = tiles.iter().all(|t| {
        let span = |row: usize| (t.rows.max(1) - 1) * row + t.columns * pitch.pixel;
        let masked = t.mask.saturating_add(span(pitch.mask)) <= mask;
        t.rows <= 4 && t.columns <= 4 && t.to + span(pitch.row) <= out.len() && masked
    });
    let bias = if let Finish::Bias(b) | Finish::BiasRelu(b) = finish { b.len() } else { usize::MAX };
    let fits = planes_hold(tiles.len() * pitch.pixel, plane, sums.len()) && bias >= pitch.pixel;
    assert!(inside && fits && pitch.pixel.is_multiple_of(BLOCK), "a tile reaches out of its buffers");
    // SAFETY: the outputs (and mask) of each tile, the bias of each channel and all planes lie in their buffers.
    by_kind!(
        isa,
        outputs_of(sums: &[f32], plane: usize, tiles: &[Tile], pitch: Pitch, out: &mut [f32], finish: Finish)
    )
}

/// Takes products back to the outputs of tiles, adds the bias and, with `relu`, makes negatives zero; of these, the
/// largest of each two by two. Tiles have an even number of rows and columns, and `to` is where the first maximum goes.
pub fn pooled(
    isa: Isa,
    sums: &[f32],
    plane: usize,
    tiles: &[Tile],
    pitch: Pitch,
    out: &mut [f32],
    (bias, relu): (&[f32], bool),
) {
    let inside = tiles.iter().all(|t| {
        let last = (t.rows.max(2) / 2 - 1) * pitch.row + t.columns / 2 * pitch.pixel;
        t.rows <= 4 && t.columns <= 4 && t.rows % 2 == 0 && t.columns % 2 == 0 && t.to + last <= out.len()
    });
    let fits = planes_hold(tiles.len() * pitch.pixel, plane, sums.len()) && bias.len() >= pitch.pixel;
    assert!(inside && fits && pitch.pixel.is_multiple_of(BLOCK), "a tile reaches out of its buffers");
    // SAFETY: the maxima of each tile, the bias of each channel and all planes lie in their buffers.
    by_kind!(
        isa,
        pooled_of(
            sums: &[f32], plane: usize, tiles: &[Tile], pitch: Pitch, out: &mut [f32], bias: &[f32], relu: bool
        )
    )
}

/// `B^T d`, Lavin and Gray's.
#[inline(always)]
unsafe fn to_inputs<S: Simd>(d: [S; 6]) -> [S; 6] {
    // SAFETY: the caller's promise: the CPU has the features.
    unsafe {
        let (two, four, five) = (S::splat(2.0), S::splat(4.0), S::splat(-5.0));
        let minus = S::splat(-4.0);
        let a = d[4].add_mul(minus, d[2]);
        let b = d[3].add_mul(minus, d[1]);
        let c = d[4].sub(d[2]);
        let e = S::splat(0.0).add_mul(two, d[3].sub(d[1]));
        [
            d[4].add_mul(five, d[2]).add_mul(four, d[0]),
            a.add(b),
            a.sub(b),
            c.add(e),
            c.sub(e),
            d[5].add_mul(five, d[3]).add_mul(four, d[1]),
        ]
    }
}

/// `A^T m`.
#[inline(always)]
unsafe fn to_outputs<S: Simd>(m: [S; 6]) -> [S; 4] {
    // SAFETY: the caller's promise: the CPU has the features.
    unsafe {
        let (s1, d1, s2, d2) = (m[1].add(m[2]), m[1].sub(m[2]), m[3].add(m[4]), m[3].sub(m[4]));
        [
            m[0].add(s1.add(s2)),
            d1.add_mul(S::splat(2.0), d2),
            s1.add_mul(S::splat(4.0), s2),
            d1.add_mul(S::splat(8.0), d2).add(m[5]),
        ]
    }
}

/// `A y`.
#[inline(always)]
unsafe fn to_grads<S: Simd>(y: [S; 4]) -> [S; 6] {
    // SAFETY: the caller's promise: the CPU has the features.
    unsafe {
        let (e, o) = (y[0].add(y[2]), y[1].add(y[3]));
        let e4 = y[0].add_mul(S::splat(4.0), y[2]);
        let o2 = S::splat(0.0).add_mul(S::splat(2.0), y[1]).add_mul(S::splat(8.0), y[3]);
        [y[0], e.add(o), e.sub(o), e4.add(o2), e4.sub(o2), y[3]]
    }
}

#[inline(always)]
unsafe fn inputs_of<S: Simd>(x: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize) {
    for (t, tile) in tiles.iter().enumerate() {
        for c in (0..pitch.pixel).step_by(S::LANES) {
            // SAFETY: 6x6 pixels from the tile's first on, and 36 planes, which the caller checked.
            unsafe {
                let x = x.as_ptr().add(tile.from + c);
                let out = out.as_mut_ptr().add(t * pitch.pixel + c);
                let mut half = [[S::splat(0.0); 6]; 6];
                for j in 0..6 {
                    let mut d = [S::splat(0.0); 6];
                    for i in 0..6 {
                        d[i] = S::load(x.add(i * pitch.row + j * pitch.pixel));
                    }
                    let q = to_inputs(d);
                    for i in 0..6 {
                        half[i][j] = q[i];
                    }
                }
                for i in 0..6 {
                    let q = to_inputs(half[i]);
                    for j in 0..6 {
                        q[j].store(out.add((i * 6 + j) * plane));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn grads_of<S: Simd>(dy: &[f32], tiles: &[Tile], pitch: Pitch, out: &mut [f32], plane: usize) {
    for (t, tile) in tiles.iter().enumerate() {
        for c in (0..pitch.pixel).step_by(S::LANES) {
            // SAFETY: 4x4 pixels from the tile's first on, and 36 planes, which the caller checked.
            unsafe {
                let dy = dy.as_ptr().add(tile.from + c);
                let out = out.as_mut_ptr().add(t * pitch.pixel + c);
                let mut half = [[S::splat(0.0); 4]; 6];
                for j in 0..4 {
                    let mut d = [S::splat(0.0); 4];
                    for i in 0..4 {
                        d[i] = S::load(dy.add(i * pitch.row + j * pitch.pixel));
                    }
                    let q = to_grads(d);
                    for i in 0..6 {
                        half[i][j] = q[i];
                    }
                }
                for i in 0..6 {
                    let q = to_grads(half[i]);
                    for j in 0..6 {
                        q[j].store(out.add((i * 6 + j) * plane));
                    }
                }
            }
        }
    }
}

/// `A^T m` of each column of a tile's products.
#[inline(always)]
unsafe fn columns_of<S: Simd>(sums: *const f32, plane: usize) -> [[S; 6]; 4] {
    // SAFETY: the caller's promise: 36 planes.
    unsafe {
        let mut half = [[S::splat(0.0); 6]; 4];
        for j in 0..6 {
            let mut m = [S::splat(0.0); 6];
            for i in 0..6 {
                m[i] = S::load(sums.add((i * 6 + j) * plane));
            }
            let q = to_outputs(m);
            for i in 0..4 {
                half[i][j] = q[i];
            }
        }
        half
    }
}

#[inline(always)]
unsafe fn pooled_of<S: Simd>(
    sums: &[f32],
    plane: usize,
    tiles: &[Tile],
    pitch: Pitch,
    out: &mut [f32],
    bias: &[f32],
    relu: bool,
) {
    for (t, tile) in tiles.iter().enumerate() {
        for c in (0..pitch.pixel).step_by(S::LANES) {
            // SAFETY: 36 planes, the tile's maxima and the biases, which the caller checked.
            unsafe {
                let half = columns_of::<S>(sums.as_ptr().add(t * pitch.pixel + c), plane);
                let out = out.as_mut_ptr().add(tile.to + c);
                let bias = S::load(bias.as_ptr().add(c));
                for i in 0..tile.rows / 2 {
                    let mut rows = [to_outputs(half[2 * i]), to_outputs(half[2 * i + 1])];
                    for y in rows.iter_mut().flatten() {
                        *y = if relu { y.add(bias).relu() } else { y.add(bias) };
                    }
                    for j in 0..tile.columns / 2 {
                        let [top, bottom] = [0, 1].map(|r| rows[r][2 * j].max(rows[r][2 * j + 1]));
                        top.max(bottom).store(out.add(i * pitch.row + j * pitch.pixel));
                    }
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn outputs_of<S: Simd>(
    sums: &[f32],
    plane: usize,
    tiles: &[Tile],
    pitch: Pitch,
    out: &mut [f32],
    finish: Finish,
) {
    for (t, tile) in tiles.iter().enumerate() {
        for c in (0..pitch.pixel).step_by(S::LANES) {
            // SAFETY: 36 planes and the tile's outputs, mask and biases, which the caller checked.
            unsafe {
                let half = columns_of::<S>(sums.as_ptr().add(t * pitch.pixel + c), plane);
                let out = out.as_mut_ptr().add(tile.to + c);
                for i in 0..tile.rows {
                    let q = to_outputs(half[i]);
                    for j in 0..tile.columns {
                        let at = i * pitch.row + j * pitch.pixel;
                        let y = match finish {
                            Finish::Plain => q[j],
                            Finish::Bias(b) => q[j].add(S::load(b.as_ptr().add(c))),
                            Finish::BiasRelu(b) => q[j].add(S::load(b.as_ptr().add(c))).relu(),
                            Finish::Mask(m) => {
                                let at = tile.mask + i * pitch.mask + j * pitch.pixel;
                                q[j].where_positive(S::load(m.as_ptr().add(at + c)))
                            }
                        };
                        y.store(out.add(at));
                    }
                }
            }
        }
    }
}
