//! Rows held out of a training to see when it stops getting better: scikit-learn's `early_stopping` of `MLPClassifier` and
//! `MLPRegressor`. The score of an epoch is the share of right answers (of whole sets of labels), or R²; a training ends when more than
//! `n_iter_no_change` epochs in a row did not beat the best one by `tol`, and gives the weights of the best.

use super::images::Images;
use super::params::{Params, Source};
use crate::error::{Error, Result};
use crate::learner::Cx;
use crate::split::Split;
use nn::data::{Inputs, Normal};
use nn::optimizer::Weights;
use nn::score::Predictor;
use serde::{Deserialize, Serialize};

/// Rows scored between two looks at whether to stop.
const BLOCK: usize = 256;

/// When a training ends before its last epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stopping {
    /// The share of the rows that is held out.
    pub fraction: f64,
    /// How many epochs in a row may bring nothing.
    pub patience: usize,
    /// What an epoch must bring.
    pub tol: f64,
}

/// Rows that a shard holds out, as it holds the others.
pub struct HeldOut {
    images: Images,
    numbers: Vec<f32>,
    /// As many a row as the loss takes.
    y: Vec<f64>,
    targets: usize,
    weight: Vec<f64>,
}

/// What a shard trains on; its held-out rows are taken out of it.
pub struct Held<'a> {
    pub images: &'a mut Images,
    pub numbers: &'a mut Vec<f32>,
    pub y: &'a mut Vec<f64>,
    pub weight: &'a mut Vec<f64>,
}

/// Sums over held-out rows, weighted; those of shards add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    weight: f64,
    /// Right answers, or squared errors.
    fit: f64,
    /// Of targets: their sum and that of their squares; 0 with classes.
    sums: [f64; 2],
}

/// The best epoch so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    pub epoch: usize,
    pub score: f64,
    pub loss: f64,
    pub accuracy: f64,
    weights: Vec<f32>,
}

/// How the search for the best epoch stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    pub best: Option<Best>,
    /// Epochs in a row that brought nothing.
    idle: usize,
}

/// Takes the rows at `held` (sorted) out of `values`, `each` values a row.
pub(super) fn part<T: Copy>(values: &mut Vec<T>, held: &[u32], each: usize) -> Vec<T> {
    if values.is_empty() || each == 0 {
        return vec![];
    }
    let mut out = Vec::with_capacity(held.len() * each);
    let (mut next, mut to) = (held.iter().map(|r| *r as usize).peekable(), 0);
    for row in 0..values.len() / each {
        let at = row * each..(row + 1) * each;
        if next.next_if_eq(&row).is_some() {
            out.extend_from_slice(&values[at]);
        } else {
            values.copy_within(at, to);
            to += each;
        }
    }
    values.truncate(to);
    values.shrink_to_fit();
    out
}

impl HeldOut {
    /// Takes a share of the rows, of each class where there are classes. Depends on the rows and the seed alone.
    ///
    /// # Errors
    /// `Kind::Data` for too few rows.
    pub fn take(params: &Params, stopping: &Stopping, from: Held, seed: u64) -> Result<HeldOut> {
        let Held { images, numbers, y, weight } = from;
        let test_size = stopping.fraction;
        let (split, classes) = match params.options.loss.has_classes() {
            true => (Split::Stratified { test_size }, Some(&y[..])),
            false => (Split::Random { test_size }, None),
        };
        let targets = params.targets();
        let parts = split.apply(y.len() / targets, classes, None, seed ^ 0x7a11_da7e)?;
        let each = params.plan.network.input.len();
        Ok(HeldOut {
            images: images.split_off(&parts.test, each),
            numbers: part(numbers, &parts.test, each),
            y: part(y, &parts.test, targets),
            weight: part(weight, &parts.test, 1),
            targets,
        })
    }

    /// How many.
    pub fn rows(&self) -> u64 {
        (self.y.len() / self.targets.max(1)) as u64
    }

    /// What a network's answers are worth; `target` is the mean and the spread of a regression's targets.
    pub fn measure(
        &self,
        params: &Params,
        weights: &Weights,
        normal: &Normal,
        target: (f64, f64),
        cx: &Cx,
    ) -> Result<Found> {
        let predictor = Predictor::new((*params.plan).clone(), normal.clone(), weights.to_score().to_vec())?;
        let outputs = params.plan.outputs();
        let mut scores = vec![0.0; self.rows() as usize * outputs];
        let each = params.plan.network.input.len();
        for (i, scores) in scores.chunks_mut(BLOCK * outputs).enumerate() {
            cx.check()?;
            let rows = i * BLOCK..i * BLOCK + scores.len() / outputs;
            match params.source {
                Source::Images => self.images.score(rows, &predictor, scores)?,
                Source::Features => {
                    let numbers = &self.numbers[rows.start * each..rows.end * each];
                    predictor.outputs(Inputs::Numbers(numbers), scores)?;
                }
            }
        }
        let mut found = Found::default();
        let targets = self.y.chunks_exact(self.targets.max(1));
        for (i, (row, y)) in scores.chunks_exact(outputs).zip(targets).enumerate() {
            let weight = self.weight.get(i).copied().unwrap_or(1.0);
            found.weight += weight;
            if params.options.loss.decides() {
                let answer: Vec<f32> = row.iter().map(|z| *z as f32).collect();
                let y: Vec<f32> = y.iter().map(|y| *y as f32).collect();
                let right = params.options.loss.is_right(&answer, &y);
                found.fit += if right { weight } else { 0.0 };
                continue;
            }
            let error = target.0 + target.1 * row[0] - y[0];
            // Around the mean, so that squares keep their digits.
            let y = y[0] - target.0;
            found.fit += weight * error * error;
            found.sums = [found.sums[0] + weight * y, found.sums[1] + weight * y * y];
        }
        Ok(found)
    }
}

impl Found {
    /// Adds another shard's.
    pub fn add(&mut self, other: Found) {
        self.weight += other.weight;
        self.fit += other.fit;
        self.sums = [self.sums[0] + other.sums[0], self.sums[1] + other.sums[1]];
    }

    /// The share of right answers, or R².
    fn score(&self, classes: bool) -> f64 {
        if classes {
            return self.fit / self.weight;
        }
        let spread = self.sums[1] - self.sums[0] * self.sums[0] / self.weight;
        // Targets that are all alike: as scikit-learn's r2_score.
        match (spread > 0.0, self.fit > 0.0) {
            (true, _) => 1.0 - self.fit / spread,
            (false, true) => 0.0,
            (false, false) => 1.0,
        }
    }
}

impl Watch {
    /// Notes an epoch, whose weights are those to score with. Gives its score, and whether the training is to end.
    ///
    /// # Errors
    /// `Kind::Internal` where no shard held rows out.
    pub fn note(
        &mut self,
        stopping: &Stopping,
        classes: bool,
        found: Found,
        (epoch, loss, accuracy): (usize, f64, f64),
        weights: &Weights,
    ) -> Result<(f64, bool)> {
        if found.weight <= 0.0 {
            return Err(Error::internal("no rows were held out to stop by"));
        }
        let score = found.score(classes);
        let best = self.best.as_ref().map_or(f64::NEG_INFINITY, |b| b.score);
        self.idle = if score < best + stopping.tol { self.idle + 1 } else { 0 };
        if score > best || self.best.is_none() {
            let weights = weights.to_score().to_vec();
            self.best = Some(Best { epoch, score, loss, accuracy, weights });
        }
        Ok((score, self.idle > stopping.patience))
    }
}

impl Best {
    /// Its weights, those to score with.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_rows_together_and_in_order() {
        let mut values = vec![0, 1, 10, 11, 20, 21, 30, 31];
        assert_eq!(part(&mut values, &[1, 3], 2), [10, 11, 30, 31]);
        assert_eq!(values, [0, 1, 20, 21]);
        assert_eq!(part(&mut Vec::<u8>::new(), &[1], 2), [0; 0]);
    }

    #[test]
    fn ends_after_more_idle_epochs_than_may_be() {
        let stopping = Stopping { fraction: 0.1, patience: 1, tol: 0.05 };
        let mut watch = Watch::default();
        let mut note = |epoch: usize, right: f64| {
            let weights = Weights {
                values: vec![epoch as f32],
                first: vec![],
                second: vec![],
                average: vec![],
                steps: 0,
            };
            let found = Found { weight: 10.0, fit: right, sums: [0.0; 2] };
            watch.note(&stopping, true, found, (epoch, 0.0, 0.0), &weights).unwrap()
        };
        // The second is the best, but not by tol.
        assert_eq!([note(1, 5.0), note(2, 5.1), note(3, 4.0)], [(0.5, false), (0.51, false), (0.4, true)]);
        let best = watch.best.unwrap();
        assert_eq!((best.epoch, best.weights()), (2, &[2.0][..]));
    }

    #[test]
    fn r_squared_is_scikit_learns() {
        // r2_score([3, -0.5, 2, 7], [2.5, 0.0, 2, 8]) = 0.9486081370449679
        let (y, z) = ([3.0, -0.5, 2.0, 7.0], [2.5, 0.0, 2.0, 8.0]);
        let mut found = Found::default();
        for (y, z) in y.iter().zip(z) {
            let y: f64 = *y;
            found.add(Found { weight: 1.0, fit: (y - z) * (y - z), sums: [y, y * y] });
        }
        assert!((found.score(false) - 0.948_608_137_044_967_9).abs() < 1e-12);
    }
}
