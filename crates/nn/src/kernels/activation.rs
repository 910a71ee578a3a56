//! Activations and their gradients: plain loops, vectorised by the compiler, with an exponential of our own, so that
//! results are the same with every C library.

use super::{Isa, Kind};

/// `e^x` to about one part in 10^7: Cephes' polynomial on `|r| <= ln(2) / 2`, times a power of two.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let n = (x * std::f32::consts::LOG2_E + ROUND) - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut p = 1.987_569_2e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p * r + c;
    }
    (p * r * r + r + 1.0) * f32::from_bits((((n as i32) + 127) << 23) as u32)
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tangent(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// The normal distribution's share below `x`, with an error below 1e-7 (Abramowitz and Stegun 7.1.26).
#[inline(always)]
fn normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_74) * t + 0.254_829_6) * t;
    let tail = 0.5 * p * exp(-z * z);
    if x > 0.0 { 1.0 - tail } else { tail }
}

/// A function of each value by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// `x`, times the slope where it is negative.
    LeakyRelu(f32),
    /// `x` times the normal distribution's share below it (Hendrycks and Gimpel 2016), not its approximation.
    Gelu,
    /// `x / (1 + e^-x)`.
    Silu,
    /// `1 / (1 + e^-x)`.
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
}

versions! {
    fn unary_leaky(x: &[f32], slope: f32, out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = if *x > 0.0 { *x } else { *x * slope };
        }
    }
}
versions! {
    fn unary_gelu(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = *x * normal(*x);
        }
    }
}
versions! {
    fn unary_silu(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = *x * logistic(*x);
        }
    }
}
versions! {
    fn unary_sigmoid(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = logistic(*x);
        }
    }
}
versions! {
    fn unary_tanh(x: &[f32], out: &mut [f32]) {
        for (o, x) in out.iter_mut().zip(x) {
            *o = tangent(*x);
        }
    }
}
versions! {
    fn slope_leaky(x: &[f32], slope: f32, dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
            *dx = if *x > 0.0 { *dy } else { *dy * slope };
        }
    }
}
versions! {
    fn slope_gelu(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
            // 1 / sqrt(2 pi)
            *dx = *dy * (normal(*x) + *x * 0.398_942_3 * exp(-0.5 * *x * *x));
        }
    }
}
versions! {
    fn slope_silu(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
            let s = logistic(*x);
            *dx = *dy * (s + *x * s * (1.0 - s));
        }
    }
}
versions! {
    fn slope_sigmoid(y: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
            *dx = *dy * *y * (1.0 - *y);
        }
    }
}
versions! {
    fn slope_tanh(y: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, dy), y) in dx.iter_mut().zip(dy).zip(y) {
            *dx = *dy * (1.0 - *y * *y);
        }
    }
}

/// `out = f(x)`.
pub fn forward(isa: Isa, f: Activation, x: &[f32], out: &mut [f32]) {
    match f {
        Activation::Relu => super::relu(isa, x, out),
        Activation::LeakyRelu(slope) => unary_leaky(isa, x, slope, out),
        Activation::Gelu => unary_gelu(isa, x, out),
        Activation::Silu => unary_silu(isa, x, out),
        Activation::Sigmoid => unary_sigmoid(isa, x, out),
        Activation::Tanh => unary_tanh(isa, x, out),
    }
}

/// `dx = dy f'(x)`, where `y = f(x)`.
pub fn backward(isa: Isa, f: Activation, (x, y): (&[f32], &[f32]), dy: &[f32], dx: &mut [f32]) {
    match f {
        Activation::Relu => slope_leaky(isa, x, 0.0, dy, dx),
        Activation::LeakyRelu(slope) => slope_leaky(isa, x, slope, dy, dx),
        Activation::Gelu => slope_gelu(isa, x, dy, dx),
        Activation::Silu => slope_silu(isa, x, dy, dx),
        Activation::Sigmoid => slope_sigmoid(isa, y, dy, dx),
        Activation::Tanh => slope_tanh(isa, y, dy, dx),
    }
}

/// Softmax over the values at `places`; all others become 0.
pub fn softmax(x: &[f32], places: &[u32], out: &mut [f32]) {
    out.fill(0.0);
    let most = places.iter().map(|p| x[*p as usize]).fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f32;
    for p in places {
        let e = exp(x[*p as usize] - most);
        out[*p as usize] = e;
        sum += e;
    }
    for p in places {
        out[*p as usize] /= sum;
    }
}

/// The gradient of [`softmax`], whose result was `y`.
pub fn softmax_grad(y: &[f32], places: &[u32], dy: &[f32], dx: &mut [f32]) {
    dx.fill(0.0);
    let dot: f32 = places.iter().map(|p| y[*p as usize] * dy[*p as usize]).sum();
    for p in places {
        let p = *p as usize;
        dx[p] = y[p] * (dy[p] - dot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_the_standard_library() {
        // erf of 0.5, 1 and 2, from tables.
        for (x, erf) in [(0.5f32, 0.520_499_9f32), (1.0, 0.842_700_8), (2.0, 0.995_322_3)] {
            let x = x * std::f32::consts::SQRT_2;
            assert!((2.0 * normal(x) - 1.0 - erf).abs() < 4e-7, "{x}");
            assert!((normal(x) + normal(-x) - 1.0).abs() < 1e-7, "{x}");
        }
        for i in -2000..2000 {
            let x = i as f32 * 0.02;
            assert!((exp(x) / x.exp() - 1.0).abs() < 3e-7, "{x}: {} {}", exp(x), x.exp());
            assert!((tangent(x) - x.tanh()).abs() < 3e-7, "{x}");
        }
        assert!(exp(-1e9) < 1e-37 && exp(1e9).is_finite());
    }

    #[test]
    fn every_kind_gives_the_same_bits() {
        let x: Vec<f32> = (0..1003).map(|i| (i as f32 - 500.0) * 0.021).collect();
        for f in [Activation::LeakyRelu(0.1), Activation::Gelu, Activation::Silu, Activation::Tanh] {
            let outputs = Isa::available().into_iter().map(|isa| {
                let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
                forward(isa, f, &x, &mut y);
                backward(isa, f, (&x, &y), &x, &mut dx);
                (y, dx)
            });
            let outputs: Vec<_> = outputs.collect();
            assert!(outputs.iter().all(|o| *o == outputs[0]), "{f:?}");
        }
    }
}
