//! Steps of optimisers over runs of weights, compiled once a kind of CPU.

use super::{Isa, Kind};

/// The constants of a step of stochastic gradient descent, as in PyTorch's `SGD`.
#[derive(Debug, Clone, Copy)]
pub struct Sgd {
    pub rate: f32,
    pub momentum: f32,
    pub nesterov: bool,
    pub decay: f32,
}

versions! {
    /// One step of gradient descent with momentum `m`.
    pub fn sgd(w: &mut [f32], g: &[f32], m: &mut [f32], c: Sgd) {
        for ((w, g), m) in w.iter_mut().zip(g).zip(m) {
            let g = g + c.decay * *w;
            *m = c.momentum * *m + g;
            *w -= c.rate * if c.nesterov { g + c.momentum * *m } else { *m };
        }
    }
}

/// The constants of a step of Adam, as in PyTorch's `Adam` and `AdamW`.
#[derive(Debug, Clone, Copy)]
pub struct Adam {
    /// `rate / (1 - beta1^t)`.
    pub rate: f32,
    pub beta1: f32,
    pub beta2: f32,
    /// `1 / sqrt(1 - beta2^t)`.
    pub scale: f32,
    pub epsilon: f32,
    /// Added to the gradient, times the weight (Adam).
    pub decay: f32,
    /// What a weight is multiplied with first (AdamW), 1 for none.
    pub shrink: f32,
}

versions! {
    /// One step of Adam with moments `m` and `v`.
    pub fn adam(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: Adam) {
        for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
            let x = *w * c.shrink;
            let g = g + c.decay * x;
            *m = c.beta1 * *m + (1.0 - c.beta1) * g;
            *v = c.beta2 * *v + (1.0 - c.beta2) * g * g;
            *w = x - c.rate * *m / (v.sqrt() * c.scale + c.epsilon);
        }
    }
}

versions! {
    /// The moving average of weights: `mean += share * (w - mean)`.
    pub fn follow(mean: &mut [f32], w: &[f32], share: f32) {
        for (m, w) in mean.iter_mut().zip(w) {
            *m += share * (w - *m);
        }
    }
}
