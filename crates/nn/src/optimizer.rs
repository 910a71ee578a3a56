//! Optimisers and learning-rate schedules, with PyTorch's rules, so that its recipes carry over.

use crate::kernels::{self, Adam, Isa, Sgd};
use crate::parallel;
use crate::plan::Plan;
use serde::{Deserialize, Serialize};
use std::ops::Range;

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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Schedule {
    /// Not at all.
    Constant,
    /// Down to zero along half a cosine.
    Cosine,
    /// Up from a 25th for the first 30 %, then down to nearly zero (Smith 2018; PyTorch's `OneCycleLR`).
    OneCycle,
    /// Down by a factor at steps of equal length (PyTorch's `StepLR`).
    Step {
        /// The share of the training after which each comes.
        every: f64,
        /// What the rate is multiplied with there.
        factor: f64,
    },
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
            // A hair more, lest rounding put off a step that is due.
            Schedule::Step { every, factor } => factor.powi((done / every + 1e-9) as i32),
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
    /// Their moving average, which is what scores; empty where none is kept.
    pub average: Vec<f32>,
    /// Steps taken.
    pub steps: u64,
}

impl Weights {
    /// First weights without any steps; `averages` where a moving average is to be kept.
    pub fn new(values: Vec<f32>, optimizer: Optimizer, averages: bool) -> Weights {
        let second = match optimizer {
            Optimizer::Sgd { .. } => vec![],
            _ => vec![0.0; values.len()],
        };
        let average = if averages { values.clone() } else { vec![] };
        Weights { first: vec![0.0; values.len()], second, average, values, steps: 0 }
    }

    /// Those to score with: the average where there is one.
    pub fn to_score(&self) -> &[f32] {
        if self.average.is_empty() { &self.values } else { &self.average }
    }
}

/// Weights a piece of work.
const PIECE: usize = 1 << 14;
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;

/// How a gradient becomes a step, with all that is done to it before.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// The rule.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub rate: f32,
    /// L2 penalty, or how AdamW shrinks weights.
    pub decay: f32,
    /// The length that longer gradients are cut to; 0 for none.
    pub clip: f32,
    /// The share of the moving average that stays at each step; 0 where none is kept.
    pub average: f32,
}

impl Update {
    /// The constants of Adam's step number `t`, from 1.
    pub(crate) fn adam(&self, t: u64) -> Adam {
        let (t, apart) = (t as f64, self.optimizer == Optimizer::AdamW);
        Adam {
            rate: (f64::from(self.rate) / (1.0 - f64::from(BETA1).powf(t))) as f32,
            beta1: BETA1,
            beta2: BETA2,
            scale: (1.0 / (1.0 - f64::from(BETA2).powf(t)).sqrt()) as f32,
            epsilon: 1e-8,
            decay: if apart { 0.0 } else { self.decay },
            shrink: if apart { 1.0 - self.rate * self.decay } else { 1.0 },
        }
    }

    /// The share of the weights of step number `t` in their moving average.
    pub(crate) fn share(&self, t: u64) -> f32 {
        let t = t as f64;
        1.0 - self.average.min(((1.0 + t) / (10.0 + t)) as f32)
    }
}

/// The trained weights that are not frozen.
pub(crate) fn open(plan: &Plan) -> Vec<Range<usize>> {
    let (mut open, mut from) = (vec![], 0);
    for frozen in &plan.frozen {
        open.push(from..frozen.start);
        from = frozen.end;
    }
    open.push(from..plan.trained);
    open
}

/// The same in pieces.
fn pieces(plan: &Plan) -> Vec<Range<usize>> {
    let cut = |r: Range<usize>| r.clone().step_by(PIECE).map(move |at| at..(at + PIECE).min(r.end));
    open(plan).into_iter().flat_map(cut).collect()
}

/// Those pieces of `values`; nothing of an empty list.
fn parts<'a>(mut values: &'a mut [f32], pieces: &[Range<usize>]) -> Vec<&'a mut [f32]> {
    let (mut parts, mut at) = (vec![], 0);
    for piece in pieces {
        if values.is_empty() {
            parts.push(&mut [][..]);
            continue;
        }
        let (_, rest) = values.split_at_mut(piece.start - at);
        let (part, rest) = rest.split_at_mut(piece.len());
        (values, at) = (rest, piece.end);
        parts.push(part);
    }
    parts
}

/// Takes one step along the gradient `g`.
pub fn step(isa: Isa, plan: &Plan, update: Update, weights: &mut Weights, g: &mut [f32]) {
    weights.steps += 1;
    let pieces = pieces(plan);
    let Update { optimizer, rate, decay, .. } = update;
    if update.clip > 0.0 {
        let squares = parallel::each(&mut parts(g, &pieces), |_, g| kernels::squares(g));
        let length = squares.iter().sum::<f64>().sqrt();
        if length > f64::from(update.clip) {
            // PyTorch's clip_grad_norm_.
            let share = (f64::from(update.clip) / (length + 1e-6)) as f32;
            parallel::each(&mut parts(g, &pieces), |_, g| g.iter_mut().for_each(|g| *g *= share));
        }
    }
    let (adam, share) = (update.adam(weights.steps), update.share(weights.steps));
    let (values, first) = (parts(&mut weights.values, &pieces), parts(&mut weights.first, &pieces));
    let (second, average) = (parts(&mut weights.second, &pieces), parts(&mut weights.average, &pieces));
    let mut all: Vec<_> =
        values.into_iter().zip(first).zip(second).zip(average).zip(parts(g, &pieces)).collect();
    parallel::each(&mut all, |_, ((((w, m), v), average), g)| {
        match optimizer {
            Optimizer::Sgd { momentum, nesterov } => {
                kernels::sgd(isa, w, g, m, Sgd { rate, momentum, nesterov, decay });
            }
            Optimizer::Adam | Optimizer::AdamW => kernels::adam(isa, w, g, m, v, adam),
        }
        kernels::follow(isa, average, w, share);
    });
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
        let step = Schedule::Step { every: 0.25, factor: 0.1 };
        let rates: Vec<f64> = [0.0, 0.24, 0.25, 0.7, 0.75].map(|t| step.at(t)).to_vec();
        assert!(
            rates.iter().zip([1.0, 1.0, 0.1, 0.01, 0.001]).all(|(a, b)| (a - b).abs() < 1e-12),
            "{rates:?}"
        );
        assert!(one.at(0.15) > 0.5 && one.at(0.6) < 0.7 && one.at(1.0) < 1e-5);
    }
}
