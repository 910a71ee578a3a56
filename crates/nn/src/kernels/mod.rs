//! The arithmetic: convolution rows, weight gradients and element-wise passes, for AVX-512, AVX2 and any CPU.
//!
//! Callers are the layers and the optimiser. Every function here is safe: it checks the slices that its
//! unsafe inner loop walks. Which kind of CPU runs is found once ([`Isa::detect`]); results are the same for any
//! number of threads, but not across kinds of CPU (fused multiply-add rounds once).
//!
//! Layout: activations are NHWC, and output channels are padded to whole blocks of [`BLOCK`]. Weights are
//! `[channel block][k][BLOCK]`, where `k` runs over (kernel row, kernel column, input channel): a kernel row of
//! a pixel is one contiguous run of the image (or, dilated, a run a kernel column), so that nothing is unrolled
//! into columns (no im2col). Convolutions of 3x3 go through [`winograd`].

/// Compiles a body once a kind of CPU and calls the one of `isa`.
macro_rules! versions {
    ($(#[$doc:meta])* $v:vis fn $name:ident($($a:ident: $t:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        $v fn $name(isa: Isa, $($a: $t),*) {
            #[inline(always)]
            fn body($($a: $t),*) $body
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx2,fma")]
            fn avx512($($a: $t),*) {
                body($($a),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($a: $t),*) {
                body($($a),*)
            }
            match isa.0 {
                // SAFETY: this `Isa` exists only where the CPU has the features.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512 => unsafe { avx512($($a),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => unsafe { avx2($($a),*) },
                Kind::Portable => body($($a),*),
            }
        }
    };
}

pub mod activation;
mod depthwise;
mod elementwise;
pub mod norm;
mod simd;
mod step;
mod tile;
pub mod winograd;

pub use depthwise::{depthwise_grad, depthwise_row};
pub use elementwise::{
    add_assign, add_into, column_sums, max_assign, max_pool_2x2, max_pool_2x2_grad, relu, relu_in_place,
    relu_mask, squares,
};
pub use step::{Adam, Sgd, adam, follow, sgd};

/// Output channels are handled in blocks of so many.
pub const BLOCK: usize = 16;

/// A kind of CPU that is known to run here: only `detect` and `available` make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Kind);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// The best kind that this CPU runs, or of those the one that the environment names: `DAMSON_ISA=avx2`, to compare.
    pub fn detect() -> Isa {
        static FOUND: std::sync::OnceLock<Isa> = std::sync::OnceLock::new();
        *FOUND.get_or_init(|| {
            let (asked, known) = (std::env::var("DAMSON_ISA"), Isa::available());
            let named = asked.ok().and_then(|asked| known.iter().find(|i| i.name() == asked).copied());
            named.unwrap_or(known[0])
        })
    }

    /// All kinds that this CPU runs, the best first.
    pub fn available() -> Vec<Isa> {
        let mut kinds = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                kinds.push(Isa(Kind::Avx512));
            }
            if avx2 {
                kinds.push(Isa(Kind::Avx2));
            }
        }
        kinds.push(Isa(Kind::Portable));
        kinds
    }

    /// Its name, for descriptions.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            Kind::Portable => "portable",
        }
    }
}

/// Where a row of output pixels finds its input: pixel `p` reads, for each of `rows` by `columns` taps, `run`
/// contiguous values from `p * step + row * stride + column * gap`.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Output pixels.
    pub pixels: usize,
    /// Values between the inputs of neighbouring pixels.
    pub step: usize,
    /// Kernel rows.
    pub rows: usize,
    /// Values between kernel rows.
    pub stride: usize,
    /// Runs of a kernel row.
    pub columns: usize,
    /// Values between them.
    pub gap: usize,
    /// Contiguous values of each.
    pub run: usize,
}

impl Window {
    /// Pixels of `run` contiguous values each: the window of a dense layer, or of a 1x1 convolution.
    pub fn points(pixels: usize, step: usize, run: usize) -> Window {
        Window { pixels, step, rows: 1, stride: 0, columns: 1, gap: 0, run }
    }

    /// Values of a kernel.
    pub fn k(&self) -> usize {
        self.rows * self.columns * self.run
    }

    fn span(&self) -> usize {
        let last = (self.pixels - 1) * self.step + (self.rows - 1) * self.stride;
        last + (self.columns - 1) * self.gap + self.run
    }
}

/// Rows of pixels.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    /// From the first pixel on.
    pub values: &'a [f32],
    /// Values between rows.
    pub stride: usize,
    /// Values between pixels.
    pub step: usize,
}

/// What is done to sums before they are stored.
#[derive(Debug, Clone, Copy)]
pub enum Finish<'a> {
    /// Nothing.
    Plain,
    /// The bias of each channel is added.
    Bias(&'a [f32]),
    /// The bias is added and negatives become zero.
    BiasRelu(&'a [f32]),
    /// Kept where this value, of the same place, is positive; else zero: the gradient of relu.
    Mask(&'a [f32]),
}

/// One row of a convolution, or dense outputs of `pixels` rows: `out[p][c] = finish(sum_k x[p][k] * w[k][c])`.
///
/// `w` is `[blocks][k][BLOCK]`; pixel `p`'s `blocks * BLOCK` outputs (and mask) begin at `p * step`.
pub fn conv_row(
    isa: Isa,
    x: &[f32],
    window: Window,
    w: &[f32],
    out: &mut [f32],
    step: usize,
    finish: Finish,
) {
    if window.pixels == 0 || window.k() == 0 {
        return;
    }
    let blocks = w.len() / (window.k() * BLOCK);
    let n = (window.pixels - 1) * step + blocks * BLOCK;
    assert!(x.len() >= window.span() && out.len() >= n, "a convolution row reaches out of its buffers");
    match finish {
        Finish::Plain => {}
        Finish::Bias(b) | Finish::BiasRelu(b) => assert!(b.len() >= blocks * BLOCK, "the bias is too short"),
        Finish::Mask(m) => assert!(m.len() >= n, "the mask is too short"),
    }
    // SAFETY: `x` holds the last value of the last pixel's window, `out` (and mask, bias) hold all pixels and
    // blocks, `w` holds `blocks` whole blocks by the division above; the CPU has the features by `Isa`.
    unsafe { tile::conv_row(isa, x, window, w, blocks, (out, step), finish) }
}

/// Adds the weight gradient of `rows` rows: `dw[k][c] += sum_p x[p][k] * dy[p][c]`.
///
/// `x` starts at the first pixel's window; `dy` at the first pixel's gradient, of which as many blocks are used as
/// `dw` has, which is `[blocks][window.k()][BLOCK]`.
pub fn weight_grad(isa: Isa, x: Rows, window: Window, dy: Rows, rows: usize, dw: &mut [f32]) {
    if rows == 0 || window.pixels == 0 || window.k() == 0 {
        return;
    }
    let blocks = dw.len() / (window.k() * BLOCK);
    assert!(
        x.values.len() >= (rows - 1) * x.stride + window.span()
            && dy.values.len() >= (rows - 1) * dy.stride + (window.pixels - 1) * dy.step + blocks * BLOCK
            && x.step == window.step,
        "a weight gradient reaches out of its buffers"
    );
    // SAFETY: as in `conv_row`, for the last of `rows` rows.
    unsafe { tile::weight_grad(isa, x, window, dy, rows, blocks, dw) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut s = seed;
        let mut next = || {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (s >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn every_kind_agrees_with_the_plain_sum() {
        for isa in Isa::available() {
            for (pixels, channels, kernel, blocks) in
                [(1, 3, 3, 1), (29, 16, 3, 2), (7, 5, 1, 3), (15, 1, 5, 5)]
            {
                let stride = (pixels + 2 * kernel) * channels;
                let whole = Window {
                    pixels,
                    step: channels,
                    rows: kernel,
                    stride,
                    columns: 1,
                    gap: 0,
                    run: kernel * channels,
                };
                let dilated = Window { columns: kernel, gap: 2 * channels, run: channels, ..whole };
                let window = if blocks == 3 { whole } else { dilated };
                let (k, c, rows) = (window.k(), blocks * BLOCK, 3);
                let x = numbers((rows + kernel + 1) * window.stride, 1);
                let w = numbers(k * c, 2);
                let bias = numbers(c, 3);
                let at = |row: usize, p: usize, j: usize| {
                    let (tap, i) = (j / window.run, j % window.run);
                    let (r, column) = (tap / window.columns, tap % window.columns);
                    f64::from(x[(row + r) * window.stride + p * channels + column * window.gap + i])
                };
                let mut out = vec![0.0; pixels * c];
                conv_row(isa, &x, window, &w, &mut out, c, Finish::BiasRelu(&bias));
                for (p, o) in (0..pixels).flat_map(|p| (0..c).map(move |o| (p, o))) {
                    let sum: f64 = (0..k)
                        .map(|j| at(0, p, j) * f64::from(w[(o / BLOCK * k + j) * BLOCK + o % BLOCK]))
                        .sum();
                    let want = (sum + f64::from(bias[o])).max(0.0);
                    assert!((want - f64::from(out[p * c + o])).abs() < 1e-5, "{isa:?} {p} {o}");
                }
                let mask = out.clone();
                let mut kept = vec![0.0; pixels * c];
                conv_row(isa, &x, window, &w, &mut kept, c, Finish::Mask(&mask));
                assert!(kept.iter().zip(&mask).all(|(k, m)| *m > 0.0 || *k == 0.0), "{isa:?}");
                let dy = numbers(rows * pixels * c, 4);
                let mut dw = vec![1.0; k * c];
                let x_rows = Rows { values: &x, stride: window.stride, step: channels };
                let dy_rows = Rows { values: &dy, stride: pixels * c, step: c };
                weight_grad(isa, x_rows, window, dy_rows, rows, &mut dw);
                for (j, o) in (0..k).flat_map(|j| (0..c).map(move |o| (j, o))) {
                    let mut want = 1.0;
                    for (row, p) in (0..rows).flat_map(|r| (0..pixels).map(move |p| (r, p))) {
                        want += at(row, p, j) * f64::from(dy[(row * pixels + p) * c + o]);
                    }
                    let found = f64::from(dw[(o / BLOCK * k + j) * BLOCK + o % BLOCK]);
                    assert!((want - found).abs() < 1e-4, "{isa:?} {j} {o}: {want} {found}");
                }
            }
        }
    }
}
