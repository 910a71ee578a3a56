//! Losses of one row and their gradients, as PyTorch defines them: the mean over a row's outputs where there are
//! several targets.

use serde::{Deserialize, Serialize};

/// What the outputs are trained for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Loss {
    /// Softmax and cross-entropy: one output a class, targets are class numbers.
    CrossEntropy {
        /// The share of the target that is spread over all classes (Szegedy et al. 2016).
        smoothing: f32,
    },
    /// Cross-entropy, less for rows that are right already: times `(1 - p)^gamma` (Lin et al. 2017).
    Focal {
        /// The power.
        gamma: f32,
    },
    /// The squared distance to the targets.
    Squared,
    /// The squared distance, halved, and beyond `delta` the distance times `delta` (Huber 1964).
    Huber {
        /// Where it becomes straight.
        delta: f32,
    },
    /// Cross-entropy of each output by itself; targets are 0 to 1 each.
    Binary,
    /// The same, less for outputs that are right already: times `(1 - p)^gamma` with the probability of what is true.
    BinaryFocal {
        /// The power.
        gamma: f32,
    },
}

impl Loss {
    /// Whether targets are class numbers, one a row, and not one number an output.
    pub fn has_classes(self) -> bool {
        matches!(self, Loss::CrossEntropy { .. } | Loss::Focal { .. })
    }

    /// Whether an answer is right or wrong, as none is to a number.
    pub fn decides(self) -> bool {
        self.has_classes() || matches!(self, Loss::Binary | Loss::BinaryFocal { .. })
    }

    /// Targets a row.
    pub fn targets(self, outputs: usize) -> usize {
        if self.has_classes() { 1 } else { outputs }
    }

    /// The loss of a row with outputs `z`; its gradient, times `share`, is added to `dz`. `positive` is what the binary losses
    /// of each output count for a target of 1 (PyTorch's `pos_weight`); empty where that is 1.
    pub fn add(self, z: &[f32], target: &[f32], positive: &[f32], share: f32, dz: &mut [f32]) -> f64 {
        if self.has_classes() {
            return self.classes(z, target[0] as usize, share, dz);
        }
        let each = 1.0 / z.len() as f64;
        let mut loss = 0.0f64;
        for (i, ((z, y), dz)) in z.iter().zip(target).zip(dz).enumerate() {
            let (z, y) = (f64::from(*z), f64::from(*y));
            let (value, slope) = match self {
                Loss::Huber { delta } => {
                    let (e, delta) = (z - y, f64::from(delta));
                    if e.abs() <= delta {
                        (e * e / 2.0, e)
                    } else {
                        (delta * (e.abs() - delta / 2.0), delta * e.signum())
                    }
                }
                Loss::Binary | Loss::BinaryFocal { .. } => {
                    let gamma = if let Loss::BinaryFocal { gamma } = self { f64::from(gamma) } else { 0.0 };
                    // The slope of the loss of a 0 at -z is the other way round.
                    let ((one, up), (zero, down)) = (binary(z, gamma), binary(-z, gamma));
                    let weight = positive.get(i).map_or(1.0, |w| f64::from(*w));
                    (weight * y * one + (1.0 - y) * zero, weight * y * up - (1.0 - y) * down)
                }
                _ => ((z - y) * (z - y), 2.0 * (z - y)),
            };
            loss += value * each;
            *dz += (slope * each) as f32 * share;
        }
        loss
    }

    fn classes(self, z: &[f32], class: usize, share: f32, dz: &mut [f32]) -> f64 {
        let most = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = z.iter().map(|z| f64::from(z - most).exp()).sum();
        let log = |z: f32| f64::from(z - most) - sum.ln();
        match self {
            Loss::Focal { gamma } => {
                // With p the class's probability: -(1 - p)^g ln p, whose slope by z_j is
                // (g p (1 - p)^(g - 1) ln p - (1 - p)^g) (1[j = class] - p_j).
                let (g, ln) = (f64::from(gamma), log(z[class]));
                let p = ln.exp();
                // 1 - p, exact also where p is nearly 1.
                let miss = (-ln.exp_m1()).max(0.0);
                let power = |e: f64| if e == 0.0 { 1.0 } else { miss.powf(e) };
                let inner = if miss > 0.0 { g * p * power(g - 1.0) * ln } else { 0.0 };
                let slope = inner - power(g);
                for (j, (dz, z)) in dz.iter_mut().zip(z).enumerate() {
                    let own = if j == class { 1.0 } else { 0.0 };
                    *dz += (slope * (own - log(*z).exp())) as f32 * share;
                }
                -power(g) * ln
            }
            _ => {
                let smoothing = if let Loss::CrossEntropy { smoothing } = self { smoothing } else { 0.0 };
                let even = smoothing / z.len() as f32;
                for (dz, z) in dz.iter_mut().zip(z) {
                    *dz += ((f64::from(z - most).exp() / sum) as f32 - even) * share;
                }
                dz[class] -= (1.0 - smoothing) * share;
                let spread = f64::from(smoothing);
                let mean = if smoothing > 0.0 {
                    z.iter().map(|z| log(*z)).sum::<f64>() / z.len() as f64
                } else {
                    0.0
                };
                -(1.0 - spread) * log(z[class]) - spread * mean
            }
        }
    }

    /// Whether a row's answer is right: the greatest output is the class's, or all outputs are on the targets' side.
    pub fn is_right(self, z: &[f32], target: &[f32]) -> bool {
        match self {
            Loss::CrossEntropy { .. } | Loss::Focal { .. } => {
                let most = z.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                z.iter().position(|z| *z == most) == Some(target[0] as usize)
            }
            Loss::Binary | Loss::BinaryFocal { .. } => {
                z.iter().zip(target).all(|(z, y)| (*z > 0.0) == (*y > 0.5))
            }
            Loss::Squared | Loss::Huber { .. } => false,
        }
    }
}

/// The loss of an output `z` whose target is 1, `-(1 - p)^gamma ln p` with `p` its probability, and its slope.
fn binary(z: f64, gamma: f64) -> (f64, f64) {
    // ln(1 + e^-z), which never overflows so.
    let loss = (-z).max(0.0) + (-z.abs()).exp().ln_1p();
    let (p, miss) = (1.0 / (1.0 + (-z).exp()), 1.0 / (1.0 + z.exp()));
    let power = if gamma == 0.0 { 1.0 } else { miss.powf(gamma) };
    (power * loss, -power * (gamma * p * loss + miss))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_losses() {
        let z = [0.3f32, -1.2, 2.4, 0.0];
        for (loss, target) in [
            (Loss::CrossEntropy { smoothing: 0.0 }, vec![1.0]),
            (Loss::CrossEntropy { smoothing: 0.2 }, vec![2.0]),
            (Loss::Focal { gamma: 0.0 }, vec![0.0]),
            (Loss::Focal { gamma: 2.0 }, vec![2.0]),
            (Loss::Squared, vec![0.5, 0.0, 2.0, -1.0]),
            (Loss::Huber { delta: 0.7 }, vec![0.5, 0.0, 2.0, -1.0]),
            (Loss::Binary, vec![1.0, 0.0, 0.3, 1.0]),
            (Loss::BinaryFocal { gamma: 2.0 }, vec![1.0, 0.0, 0.3, 1.0]),
        ] {
            let (mut gradient, weights) = ([0.0; 4], [1.0, 3.0, 0.5, 2.0]);
            loss.add(&z, &target, &weights, 1.0, &mut gradient);
            for i in 0..4 {
                let at = |h: f32| {
                    let mut z = z;
                    z[i] += h;
                    (loss.add(&z, &target, &weights, 0.0, &mut [0.0; 4]), f64::from(z[i]))
                };
                let ((more, right), (less, left)) = (at(1e-3), at(-1e-3));
                let slope = (more - less) / (right - left);
                assert!((slope - f64::from(gradient[i])).abs() < 3e-4, "{loss:?} {i}: {slope} {gradient:?}");
            }
        }
    }

    #[test]
    fn extreme_outputs_stay_finite() {
        let z = [90.0f32, -90.0, 0.0];
        for loss in [
            Loss::CrossEntropy { smoothing: 0.1 },
            Loss::Focal { gamma: 2.0 },
            Loss::Focal { gamma: 0.5 },
            Loss::Binary,
            Loss::BinaryFocal { gamma: 2.0 },
            Loss::BinaryFocal { gamma: 0.5 },
        ] {
            for class in [0.0, 1.0] {
                let mut gradient = [0.0; 3];
                let value = loss.add(&z, &[class, 1.0, 0.0], &[], 1.0, &mut gradient);
                assert!(
                    value.is_finite() && gradient.iter().all(|g| g.is_finite()),
                    "{loss:?}: {gradient:?}"
                );
            }
        }
    }
}
