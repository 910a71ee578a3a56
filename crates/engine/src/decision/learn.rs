//! Learns a [`Decision`] from rows that the model did not learn from. Called by the training of each model and of
//! each fold of cross-validation; test rows never come here.
//!
//! | asked | rows that it is learnt from |
//! |---|---|
//! | threshold, calibration | all training rows, each scored by one of five models that did not see it |
//! | the same with `calibration_size` | that share of the training rows, held out from the model |
//! | conformal | `calibration_size` of the training rows (0.2), held out from the model, its calibration and its threshold |
//! | all with `calibration_size` | that share: one half for threshold and calibration, the other for conformal |
//!
//! A threshold with a calibration is tuned on probabilities whose calibration was learnt from other rows.

use super::{Calibration, Conformal, Decision, Plan, Rule, Wish};
use crate::error::{Error, Kind, Result};
use crate::frame::Selection;
use crate::schema::Task;
use crate::split::{Parts, Split, folds, others};

/// The models whose rows score each other out of fold.
const FOLDS: usize = 5;
/// The share that conformal prediction holds out.
const HELD_OUT: f64 = 0.2;

/// Training rows by their use: sorted and disjoint.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Deal {
    /// Rows that the model learns from.
    pub fit: Vec<u32>,
    /// Rows for threshold and calibration; empty where these are learnt out of fold.
    pub tune: Vec<u32>,
    /// Rows for conformal prediction.
    pub conform: Vec<u32>,
}

/// Scores rows.
type Score<'a> = dyn Fn(&[u32]) -> Result<Vec<f64>> + 'a;
/// Scores rows by a model of others.
type ScoreApart<'a> = dyn Fn(&[u32], &[u32]) -> Result<Vec<f64>> + 'a;

/// A training, as far as deciding needs it.
pub(crate) struct Material<'a> {
    pub task: Task,
    pub classes: &'a [String],
    /// Targets of all rows of the frame.
    pub y: &'a [f64],
    /// Weights of all rows of the frame, or none.
    pub weight: &'a [f64],
    pub seed: u64,
    /// Scores of some rows by the model itself.
    pub score: &'a Score<'a>,
    /// Scores of the second rows by a model of the first.
    pub score_apart: &'a ScoreApart<'a>,
}

impl Deal {
    /// Deals the training rows. `split` parts so many rows by share and seed, given their positions in `rows`.
    pub fn new(plan: &Plan, rows: &[u32], split: impl Fn(&[u32], f64, u64) -> Result<Parts>) -> Result<Deal> {
        let part = |rows: &[u32], share: f64, salt: u64| -> Result<(Vec<u32>, Vec<u32>)> {
            let parts = split(rows, share, salt)?;
            let pick = |places: Vec<u32>| places.into_iter().map(|i| rows[i as usize]).collect();
            Ok((pick(parts.train), pick(parts.test)))
        };
        let size = match (plan.size, plan.conformal) {
            (Some(size), _) => size,
            (None, Some(_)) => HELD_OUT,
            (None, None) => return Ok(Deal { fit: rows.to_vec(), ..Deal::default() }),
        };
        let (fit, held) = part(rows, size, 0x00ca_11b8)?;
        Ok(match (plan.size.is_some() && plan.tunes(), plan.conformal.is_some()) {
            (true, true) => {
                let (tune, conform) = part(&held, 0.5, 0x00c0_4f08)?;
                Deal { fit, tune, conform }
            }
            (true, false) => Deal { fit, tune: held, conform: vec![] },
            _ => Deal { fit, tune: vec![], conform: held },
        })
    }
}

/// Parts rows as the training itself is split: the latest rows by time, a share of each class, or any.
pub(crate) fn like(split: &Split, classes: bool, test_size: f64) -> Split {
    match split {
        Split::Time { .. } => Split::Time { test_size },
        _ if classes => Split::Stratified { test_size },
        _ => Split::Random { test_size },
    }
}

/// Learns what the plan asks for, with a model trained on `deal.fit`.
pub(crate) fn learn(plan: &Plan, deal: &Deal, material: &Material) -> Result<Decision> {
    let k = material.classes.len();
    let mut decision = plan.given(material.classes)?;
    if plan.tunes() {
        let out_of_fold = deal.tune.is_empty();
        let (rows, mut scores) = if out_of_fold {
            material.out_of_fold(&deal.fit)?
        } else {
            (deal.tune.clone(), (material.score)(&deal.tune)?)
        };
        let these = Selection::from(&rows);
        let (y, weight) = (these.pick(material.y), these.pick(material.weight));
        decision.rows = rows.len() as u64;
        decision.out_of_fold = out_of_fold;
        if let Some(method) = plan.calibration {
            decision.calibration = Some(Calibration::learn(method, &scores, k, &y, &weight)?);
        }
        if let Some(wish @ Wish::Tuned { goal, .. }) = &plan.threshold {
            if let Some(method) = plan.calibration {
                let by_class = folds_of(&y, material)?;
                for test in by_class {
                    let train = others(rows.len(), &test);
                    let map = Calibration::learn(
                        method,
                        &pick_rows(&scores, k, &train),
                        k,
                        &Selection::from(&train).pick(&y),
                        &Selection::from(&train).pick(&weight),
                    )?;
                    for i in test {
                        map.apply(&mut scores[i as usize * k..(i as usize + 1) * k]);
                    }
                }
            }
            let positive = wish.positive(material.classes)?;
            let probability: Vec<f64> = scores.iter().skip(positive).step_by(k).copied().collect();
            let hit: Vec<bool> = y.iter().map(|c| *c as usize == positive).collect();
            let (at, value) = super::threshold::tune(*goal, &probability, &hit, &weight)?;
            decision.rule = Rule::Threshold { positive: positive as u8, at, tuned: Some((*goal, value)) };
        }
    }
    if let Some(coverage) = plan.conformal {
        let rows = &deal.conform;
        let mut scores = (material.score)(rows)?;
        decision.calibrate(k, &mut scores);
        let y = Selection::from(rows).pick(material.y);
        let nonconformity: Vec<f64> = match material.task {
            Task::Regression => y.iter().zip(&scores).map(|(y, s)| (y - s).abs()).collect(),
            _ => y.iter().enumerate().map(|(i, c)| 1.0 - scores[i * k + *c as usize]).collect(),
        };
        decision.conformal =
            Some(Conformal::learn(coverage, &nonconformity, &Selection::from(rows).pick(material.weight))?);
    }
    Ok(decision)
}

impl Material<'_> {
    /// The rows in order, each with the scores of a model that did not learn from it.
    fn out_of_fold(&self, rows: &[u32]) -> Result<(Vec<u32>, Vec<f64>)> {
        let k = self.classes.len();
        let y = Selection::from(rows).pick(self.y);
        let mut scores = vec![0.0; rows.len() * k];
        for test in folds_of(&y, self)? {
            let train: Vec<u32> = others(rows.len(), &test).into_iter().map(|i| rows[i as usize]).collect();
            let tested: Vec<u32> = test.iter().map(|i| rows[*i as usize]).collect();
            let found = (self.score_apart)(&train, &tested)?;
            for (i, from) in test.iter().zip(found.chunks_exact(k)) {
                scores[*i as usize * k..(*i as usize + 1) * k].copy_from_slice(from);
            }
        }
        Ok((rows.to_vec(), scores))
    }
}

/// Folds that share out the rows of each class.
fn folds_of(y: &[f64], material: &Material) -> Result<Vec<Vec<u32>>> {
    for (class, label) in material.classes.iter().enumerate() {
        let rows = y.iter().filter(|c| **c as usize == class).count();
        if rows < FOLDS {
            let message = format!(
                "class \"{label}\" has {rows} rows to learn from, expected {FOLDS} or more: one a fold"
            );
            return Err(Error::new(Kind::Data, message)
                .hint("Leave rare classes out of the source, or train on more rows."));
        }
    }
    folds(y.len(), FOLDS, Some(y), material.seed ^ 0x000f_01d5)
}

fn pick_rows(scores: &[f64], k: usize, rows: &[u32]) -> Vec<f64> {
    rows.iter().flat_map(|i| &scores[*i as usize * k..(*i as usize + 1) * k]).copied().collect()
}
