//! Optimisers and learning-rate schedules, with PyTorch's rules, so that its recipes carry over.

use crate::kernels::{self, Adam, Isa, Sgd};
use crate::parallel;
use serde::{Deserialize, Serialize};

/// How a gradient becomes a step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Optimizer {
    /// Gradient descent: `m = momentum * m + g`, and a step along `m`, or along `g + momentum * m` (Nesterov).
    Sgd {
        /// The share of the last step that stays.
        momentum: f32,
        /// Whether the step looks ahead.
        nesterov: bool,
    },
    /// Kingma and Ba 2015, with their constants 0.9, 0.999 and 1e-8; weight decay adds to the gradient.
    Adam,
    /// The same, but weight decay shrinks the weights themselves (Loshchilov and Hutter 2019).
    AdamW,
}

/// How the learning rate moves over the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Down to zero along half a cosine.
    Cosine,
    /// Up from a 25th for the first 30 %, then down to nearly zero (Smith 2018; PyTorch's `OneCycleLR`).
    OneCycle,
}

impl Schedule {
    /// The learning rate, as a share of the full one, when `done` of the training is done, `0 ..= 1`.
    pub fn at(self, done: f64) -> f64 {
        let down = |from: f64, to: f64, part: f64| {
            to + (from - to) * (1.0 + (std::f64::consts::PI * part).cos()) / 2.0
        };
        match self {
            Schedule::Constant => 1.0,
            Schedule::Cosine => down(1.0, 0.0, done),
            Schedule::OneCycle if done < 0.3 => down(1.0 / 25.0, 1.0, done / 0.3),
            Schedule::OneCycle => down(1.0, 1.0 / 250_000.0, (done - 0.3) / 0.7),
        }
    }
}

/// Weights with what the optimiser remembers of each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// The weights, in the plan's order.
    pub values: Vec<f32>,
    /// Momentum, or Adam's first moment.
    pub first: Vec<f32>,
    /// Adam's second moment; empty for gradient descent.
    pub second: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

impl Weights {
    /// First weights without any steps.
    pub fn new(values: Vec<f32>, optimizer: Optimizer) -> Weights {
        let second = match optimizer {
            Optimizer::Sgd { .. } => vec![],
            _ => vec![0.0; values.len()],
        };
        Weights { first: vec![0.0; values.len()], second, values, steps: 0 }
    }
}

/// Weights a piece of work.
const PIECE: usize = 1 << 14;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;

/// Takes one step of `optimizer` with learning rate `rate` along the gradient `g`.
pub fn step(isa: Isa, optimizer: Optimizer, rate: f32, decay: f32, weights: &mut Weights, g: &[f32]) {
    weights.steps += 1;
    let (values, first) = (weights.values.chunks_mut(PIECE), weights.first.chunks_mut(PIECE));
    let pieces = values.zip(first).zip(g.chunks(PIECE));
    match optimizer {
        Optimizer::Sgd { momentum, nesterov } => {
            let constants = Sgd { rate, momentum, nesterov, decay };
            let mut pieces: Vec<_> = pieces.collect();
            parallel::each(&mut pieces, |_, ((w, m), g)| kernels::sgd(isa, w, g, m, constants));
        }
        Optimizer::Adam | Optimizer::AdamW => {
            let (apart, t) = (optimizer == Optimizer::AdamW, weights.steps as f64);
            let constants = Adam {
                rate: (f64::from(rate) / (1.0 - f64::from(BETA1).powf(t))) as f32,
                beta1: BETA1,
                beta2: BETA2,
                scale: (1.0 / (1.0 - f64::from(BETA2).powf(t)).sqrt()) as f32,
                epsilon: 1e-8,
                decay: if apart { 0.0 } else { decay },
                shrink: if apart { 1.0 - rate * decay } else { 1.0 },
            };
            let mut pieces: Vec<_> = pieces.zip(weights.second.chunks_mut(PIECE)).collect();
            parallel::each(&mut pieces, |_, (((w, m), g), v)| kernels::adam(isa, w, g, m, v, constants));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_start_peak_and_end_where_they_should() {
        assert_eq!((Schedule::Constant.at(0.0), Schedule::Constant.at(1.0)), (1.0, 1.0));
        assert!(Schedule::Cosine.at(0.0) == 1.0 && Schedule::Cosine.at(1.0).abs() < 1e-12);
        let one = Schedule::OneCycle;
        assert!((one.at(0.0) - 0.04).abs() < 1e-12 && (one.at(0.3) - 1.0).abs() < 1e-12);
        assert!(one.at(0.15) > 0.5 && one.at(0.6) < 0.7 && one.at(1.0) < 1e-5);
    }
}
