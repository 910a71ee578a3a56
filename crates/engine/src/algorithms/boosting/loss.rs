//! Losses, their gradients, and sums that do not depend on the order of rows: what is added up is first rounded to
//! a whole number of a unit that follows from the data's range.

use super::histogram::power_above;
use super::model::Link;
use super::objective::Objective;
use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};

/// The ranges of targets and weights.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Facts {
    /// Rows.
    pub rows: u64,
    /// The least target.
    pub y_min: f64,
    /// The greatest target.
    pub y_max: f64,
    /// The greatest weight.
    pub w_max: f64,
    /// Whether any row weighs other than 1.
    pub weighted: bool,
    /// Rows of class 1.
    pub positives: u64,
    /// What multiplies the weights of rows of class 0, and of class 1, where there are two.
    pub class_weight: [f64; 2],
}

impl Default for Facts {
    fn default() -> Self {
        Facts {
            rows: 0,
            y_min: f64::INFINITY,
            y_max: f64::NEG_INFINITY,
            w_max: 0.0,
            weighted: false,
            positives: 0,
            class_weight: [1.0; 2],
        }
    }
}

impl Facts {
    /// Folds rows in.
    pub fn add(&mut self, objective: Objective, chunk: &Chunk) -> Result<()> {
        self.rows += chunk.rows as u64;
        self.weighted |= chunk.weight.iter().any(|w| *w != 1.0);
        for (i, y) in chunk.y.iter().enumerate() {
            objective.check(*y)?;
            self.positives += u64::from(*y == 1.0);
            self.y_min = self.y_min.min(*y);
            self.y_max = self.y_max.max(*y);
            self.w_max = self.w_max.max(chunk.weight(i));
        }
        Ok(())
    }

    /// Has the classes weigh more or less than their rows do.
    pub fn weigh_classes(&mut self, weight: [f64; 2]) {
        self.class_weight = weight;
        self.weighted |= weight != [1.0; 2];
        self.w_max *= weight[0].max(weight[1]);
    }

    /// The weight of a row.
    pub fn weight(&self, y: f64, weight: f64) -> f64 {
        let [zero, one] = self.class_weight;
        if zero == 1.0 && one == 1.0 { weight } else { weight * if y > 0.5 { one } else { zero } }
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: &Facts) {
        self.rows += other.rows;
        self.y_min = self.y_min.min(other.y_min);
        self.y_max = self.y_max.max(other.y_max);
        self.w_max = self.w_max.max(other.w_max);
        self.weighted |= other.weighted;
        self.positives += other.positives;
    }

    /// What weights are counted in.
    pub fn weight_unit(&self) -> f64 {
        power_above(self.w_max) * 2f64.powi(-40)
    }

    fn target_unit(&self) -> f64 {
        power_above(self.w_max) * power_above(self.y_min.abs().max(self.y_max.abs())) * 2f64.powi(-52)
    }

    /// What losses are counted in: no row that is no worse than the worst guess has more than `2^51` of them (under
    /// a log link, where no guess is the worst: `2^54`, at a loss 16384 times the greatest target).
    pub fn loss_unit(&self, objective: Objective) -> f64 {
        let range = power_above(self.y_max - self.y_min);
        let size = match objective {
            Objective::Squared | Objective::Logistic | Objective::Softmax(_) => range * range,
            Objective::Absolute | Objective::Quantile { .. } => range,
            Objective::Huber { alpha } => range * power_above(alpha).min(range),
            Objective::Poisson { .. } | Objective::Gamma | Objective::Tweedie { .. } => {
                power_above(self.y_max.max(1.0)) * 1024.0
            }
            Objective::Lambdarank => return 2f64.powi(-50),
        };
        power_above(self.w_max) * size * 2f64.powi(-50)
    }
}

/// Sums of targets: what the scores start from.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Targets {
    /// Rows to learn from.
    pub rows: u64,
    /// Rows held out.
    pub held_out: u64,
    weight: i128,
    weight_held_out: i128,
    /// Regression: of weighted targets. Else: weight of each class.
    sums: Vec<i128>,
}

impl Targets {
    /// Folds a row in.
    pub fn add(&mut self, objective: Objective, facts: &Facts, y: f64, w: f64, held_out: bool) {
        let weight = (w / facts.weight_unit()).round() as i128;
        if held_out {
            self.held_out += 1;
            self.weight_held_out += weight;
            return;
        }
        self.rows += 1;
        self.weight += weight;
        let (place, amount) = match objective.classes() {
            None => (0, (y * w / facts.target_unit()).round() as i128),
            Some(_) => (y as usize, weight),
        };
        if self.sums.len() <= place {
            self.sums.resize(place + 1, 0);
        }
        self.sums[place] += amount;
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: Targets) {
        self.rows += other.rows;
        self.held_out += other.held_out;
        self.weight += other.weight;
        self.weight_held_out += other.weight_held_out;
        self.sums.resize(self.sums.len().max(other.sums.len()), 0);
        self.sums.iter_mut().zip(other.sums).for_each(|(a, b)| *a += b);
    }

    /// The weight of the rows learnt from, or held out.
    pub fn weight(&self, facts: &Facts, held_out: bool) -> f64 {
        (if held_out { self.weight_held_out } else { self.weight }) as f64 * facts.weight_unit()
    }

    /// The raw scores that minimise the loss before there is a tree; those of a quantile are found by
    /// [`super::select`].
    pub fn base(&self, objective: Objective, facts: &Facts) -> Result<Vec<f64>> {
        let share =
            |class: usize| self.sums.get(class).copied().unwrap_or(0) as f64 / (self.weight as f64).max(1.0);
        if objective.classes().is_some() {
            if self.sums.iter().filter(|s| **s > 0).count() < 2 {
                let class = self.sums.iter().position(|s| *s > 0).unwrap_or(0);
                let message = format!(
                    "all {} rows to learn from are of one class (number {class}), expected two or more",
                    self.rows
                );
                return Err(Error::new(Kind::Data, message).hint("Check the filter of the training rows."));
            }
            let [zero, one] = facts.class_weight;
            return Ok(match objective {
                Objective::Softmax(k) => (0..k).map(|c| share(c).max(1e-15).ln()).collect(),
                // The scores begin at the share that the classes have, whatever they weigh.
                _ => vec![((share(1) / one) / (share(0) / zero)).ln()],
            });
        }
        let mean = if facts.y_min == facts.y_max {
            facts.y_min
        } else {
            let sum = self.sums.first().copied().unwrap_or(0) as f64 * facts.target_unit();
            sum / (self.weight as f64 * facts.weight_unit())
        };
        if objective.link() == Link::Log {
            if mean <= 0.0 {
                let message =
                    format!("all targets are 0, expected one above 0 for objective \"{}\"", objective.name());
                return Err(Error::new(Kind::Data, message)
                    .hint("Check the filter of the training rows, or choose objective regression."));
            }
            return Ok(vec![mean.ln()]);
        }
        Ok(vec![if objective == Objective::Lambdarank { 0.0 } else { mean }])
    }
}

/// Sums of losses.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct Losses {
    train: i128,
    held_out: i128,
}

/// Sums of the losses of a few rows, 256 at most: they fit in 64 bits.
#[derive(Default)]
pub struct FewLosses([i64; 2]);

impl FewLosses {
    /// Folds a row in: its loss over the [`Facts::loss_unit`].
    #[inline]
    pub fn add(&mut self, units: f64, held_out: bool) {
        self.0[usize::from(held_out)] += units.clamp(-(2f64.powi(54)), 2f64.powi(54)) as i64;
    }
}

impl Losses {
    /// Folds the losses of a few rows in.
    pub fn add(&mut self, few: &FewLosses) {
        self.train += i128::from(few.0[0]);
        self.held_out += i128::from(few.0[1]);
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: &Losses) {
        self.train += other.train;
        self.held_out += other.held_out;
    }

    /// The mean loss of the rows learnt from, and of the rows held out.
    pub fn means(&self, objective: Objective, facts: &Facts, targets: &Targets) -> (f64, Option<f64>) {
        let unit = facts.loss_unit(objective);
        let mean = |sum: i128, held_out| sum as f64 * unit / targets.weight(facts, held_out);
        (mean(self.train, false), (targets.held_out > 0).then(|| mean(self.held_out, true)))
    }
}

/// Rows whose losses and derivatives are found together.
pub const BLOCK: usize = 256;

/// The derivatives and losses of up to [`BLOCK`] rows.
pub struct Block {
    /// First derivatives.
    pub g: [f64; BLOCK],
    /// Second derivatives.
    pub h: [f64; BLOCK],
    loss: [f64; BLOCK],
}

impl Default for Block {
    fn default() -> Self {
        Block { g: [0.0; BLOCK], h: [1.0; BLOCK], loss: [0.0; BLOCK] }
    }
}

impl Block {
    fn rows<'a>(
        &'a mut self,
        scores: &'a [f64],
        y: &'a [f64],
    ) -> impl Iterator<Item = (&'a f64, &'a f64, &'a mut f64, &'a mut f64, &'a mut f64)> {
        let Block { g, h, loss } = self;
        let rows = scores.iter().zip(y).zip(g).zip(h).zip(loss);
        rows.map(|((((s, y), g), h), loss)| (s, y, g, h, loss))
    }

    /// Of the squared error.
    pub fn squared(&mut self, scores: &[f64], y: &[f64]) {
        for (score, y, g, h, loss) in self.rows(scores, y) {
            (*g, *h) = (score - y, 1.0);
            *loss = *g * *g;
        }
    }

    /// Of the log loss of raw scores for class 0 or 1.
    pub fn logistic(&mut self, scores: &[f64], y: &[f64]) {
        dense::vectorized(
            #[inline(always)]
            || {
                for (score, y, g, h, loss) in self.rows(scores, y) {
                    (*g, *h, *loss) = logistic(*score, *y);
                }
            },
        );
    }

    /// Of the log loss of one of `k` classes, by its probabilities.
    pub fn softmax(&mut self, chances: &[f32], y: &[f64], class: usize, k: usize) {
        let (class, scale) = (class as f64, softmax_scale(k));
        dense::vectorized(
            #[inline(always)]
            || {
                for (((p, y), g), h) in chances.iter().zip(y).zip(&mut self.g).zip(&mut self.h) {
                    [*g, *h] = softmax_derivatives(*p, *y == class, scale);
                }
            },
        );
    }

    /// After [`softmax`], the losses: less the raw score of each row's class, that `score` gives by row and class.
    pub fn lose(&mut self, y: &[f64], score: impl Fn(usize, usize) -> f64) {
        for (row, (loss, y)) in self.loss.iter_mut().zip(y).enumerate() {
            *loss -= score(row, *y as usize);
        }
    }

    /// The loss of a row.
    pub fn loss(&self, row: usize) -> f64 {
        self.loss[row]
    }

    /// Has rows count as their weights say.
    pub fn weigh(&mut self, weight: &[f64]) {
        for (i, w) in weight.iter().enumerate() {
            self.g[i] *= w;
            self.h[i] *= w;
            self.loss[i] *= w;
        }
    }

    /// The losses of the first rows, in units; `held_out` is empty where none is.
    pub fn few(&self, rows: usize, per_unit: f64, held_out: &[bool]) -> FewLosses {
        let mut few = FewLosses::default();
        for (i, loss) in self.loss[..rows].iter().enumerate() {
            few.add(loss * per_unit, held_out.get(i) == Some(&true));
        }
        few
    }

    /// The size of the greatest first derivative of the first rows.
    pub fn max_gradient(&self, rows: usize) -> f64 {
        self.g[..rows].iter().fold(0.0, |max, g| g.abs().max(max))
    }
}

/// Derivatives and log loss of a raw score for class 0 or 1.
#[inline(always)]
pub fn logistic(score: f64, y: f64) -> (f64, f64, f64) {
    let e = dense::exp(-score.abs());
    let (big, small) = (1.0 / (1.0 + e), e / (1.0 + e));
    let p = if score >= 0.0 { big } else { small };
    // The loss is ln(1 + exp(-margin)).
    let margin = if y > 0.5 { score } else { -score };
    (p - y, big * small, log_of_one_and(e) + (-margin).max(0.0))
}

/// `ln(1 + e)` for `e` in `0 ..= 1`, by the series of `2 * atanh(e / (2 + e))`; the error is below 1e-12. Three times
/// as fast as `ln_1p`, and the same on each machine.
#[inline(always)]
fn log_of_one_and(e: f64) -> f64 {
    let t = e / (2.0 + e);
    let s = t * t;
    let high = 1.0 / 15.0 + s * (1.0 / 17.0 + s * (1.0 / 19.0 + s * (1.0 / 21.0 + s / 23.0)));
    let low = 1.0 / 7.0 + s * (1.0 / 9.0 + s * (1.0 / 11.0 + s / 13.0));
    let low = 1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * low));
    2.0 * t * (low + high * (s * s * s) * (s * s * s) * s)
}

/// What LightGBM multiplies the second derivatives of `k` classes by.
pub fn softmax_scale(k: usize) -> f64 {
    k as f64 / (k as f64 - 1.0)
}

/// Derivatives of the log loss by the score of a class that has probability `p`, and is the row's own or not.
#[inline(always)]
pub fn softmax_derivatives(p: f32, own: bool, scale: f64) -> [f64; 2] {
    let p = f64::from(p);
    [if own { p - 1.0 } else { p }, p * (1.0 - p) * scale]
}

/// The probabilities of classes from the raw scores of up to [`BLOCK`] rows, class by class. The losses in `block`
/// become the logs of the rows' sums of exponentials; [`Block::lose`] makes losses of them.
pub fn softmax<'a>(
    scores: impl Iterator<Item = &'a [f64]> + Clone,
    chances: impl Iterator<Item = &'a mut [f32]>,
    block: &mut Block,
) {
    let (mut max, mut sum) = ([f64::NEG_INFINITY; BLOCK], [0.0; BLOCK]);
    let mut chances: Vec<&mut [f32]> = chances.collect();
    dense::vectorized(
        #[inline(always)]
        || {
            for scores in scores.clone() {
                max.iter_mut().zip(scores).for_each(|(max, s)| *max = if *s > *max { *s } else { *max });
            }
            for (scores, chances) in scores.zip(&mut chances) {
                for (((s, max), sum), chance) in scores.iter().zip(&max).zip(&mut sum).zip(chances.iter_mut())
                {
                    let e = dense::exp(s - max);
                    *sum += e;
                    *chance = e as f32;
                }
            }
            for chances in &mut chances {
                chances.iter_mut().zip(&sum).for_each(|(chance, sum)| *chance /= *sum as f32);
            }
        },
    );
    let rows = chances.first().map_or(0, |c| c.len());
    for ((loss, sum), max) in block.loss.iter_mut().zip(&sum).zip(&max).take(rows) {
        *loss = sum.ln() + max;
    }
}

/// A fair hash of two numbers (splitmix64).
pub fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_add(b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A number in `0 .. 1` for row or feature `number` in draw `stream`.
pub fn draw(seed: u64, stream: u64, number: u64) -> f64 {
    (mix(mix(seed, stream), number) >> 11) as f64 * 2f64.powi(-53)
}

/// Random bits from a row's content.
pub fn noise(row: &[f64], y: f64, w: f64) -> u32 {
    let step = |h: u64, x: &f64| (h.rotate_left(23) ^ x.to_bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mix(row.iter().chain([&y, &w]).fold(0, step), 0) >> 32) as u32
}

/// What makes a row's random bits new for a tree.
pub fn salt(seed: u64, tree: usize) -> u64 {
    mix(seed, !(tree as u64)) | 1
}

/// A row's random bits for a tree.
#[inline(always)]
pub fn renew(noise: u32, salt: u64) -> u32 {
    ((u64::from(noise) ^ (salt >> 32)).wrapping_mul(salt) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_is_the_logarithm() {
        for i in 0..=1000 {
            let e = f64::from(i) / 1000.0;
            assert!((log_of_one_and(e) - e.ln_1p()).abs() < 1e-12, "{e}");
        }
    }
}
