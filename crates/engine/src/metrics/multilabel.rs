//! Metrics of sets of labels, as scikit-learn defines them for a multilabel-indicator target.

use super::{Metric, Weights, areas, defined, finite, mean, or_zero};
use crate::labels::{LabelSets, decided};

/// Weights of a label, or of a row's labels: those that are there and were given, that were given, that are there.
#[derive(Clone, Copy, Default)]
struct Counts {
    right: f64,
    given: f64,
    there: f64,
}

impl Counts {
    fn add(&mut self, there: bool, given: bool, weight: f64) {
        self.right += if there && given { weight } else { 0.0 };
        self.given += if given { weight } else { 0.0 };
        self.there += if there { weight } else { 0.0 };
    }

    fn precision(&self) -> f64 {
        or_zero(self.right, self.given)
    }

    fn recall(&self) -> f64 {
        or_zero(self.right, self.there)
    }

    fn f1(&self) -> f64 {
        or_zero(2.0 * self.right, self.given + self.there)
    }

    fn jaccard(&self) -> f64 {
        or_zero(self.right, self.given + self.there - self.right)
    }
}

/// Metrics of labels, from `y` with the number of a set a row, and `probabilities` with a value a label, row by row. A row is
/// given the labels whose probability is at least `at`.
///
/// `accuracy` (rows whose set is right as a whole), `hamming_loss` (the share of labels that are wrong), `f1_micro` (over all
/// labels of all rows), `f1_macro`, `precision_macro` and `recall_macro` (means over labels), `f1_samples` and
/// `jaccard_samples` (means over rows; all of these are 0 where they would divide by 0), and `log_loss`, the mean over labels
/// of each by itself (clipped as for classes). `auc_macro` and `average_precision_macro` are means over labels, left out
/// where all rows or none have a label.
pub fn multilabel(
    y: &[f64],
    sets: &LabelSets,
    probabilities: &[f64],
    at: f64,
    weight: &[f64],
) -> Vec<Metric> {
    let Some(weights) = Weights::new(y.len(), weight) else { return vec![] };
    let labels = sets.labels();
    let known = |set: &f64| *set >= 0.0 && *set < sets.len() as f64 && set.fract() == 0.0;
    if labels == 0
        || y.len().checked_mul(labels) != Some(probabilities.len())
        || !finite(probabilities)
        || !y.iter().all(known)
    {
        return vec![];
    }
    let mut of_label = vec![Counts::default(); labels];
    let mut of_row = vec![Counts::default(); y.len()];
    let (mut right, mut loss) = (vec![true; y.len()], vec![0.0; y.len()]);
    let (mut there, mut given) = (vec![false; labels], vec![false; labels]);
    for (i, p) in probabilities.chunks_exact(labels).enumerate() {
        there.fill(false);
        given.fill(false);
        sets.get(y[i]).iter().for_each(|label| there[*label as usize] = true);
        decided(p, at).for_each(|label| given[label] = true);
        right[i] = there == given;
        for (label, counts) in of_label.iter_mut().enumerate() {
            counts.add(there[label], given[label], weights.of(i));
            of_row[i].add(there[label], given[label], 1.0);
            let p = p[label].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            loss[i] -= if there[label] { p.ln() } else { (1.0 - p).ln() };
        }
    }
    let wrong = |i: usize| of_row[i].given + of_row[i].there - 2.0 * of_row[i].right;
    let mut all = Counts::default();
    of_label.iter().for_each(|c| {
        (all.right, all.given, all.there) = (all.right + c.right, all.given + c.given, all.there + c.there);
    });
    let over_labels = |of: fn(&Counts) -> f64| mean(of_label.iter().map(of));
    let mut metrics = vec![
        ("accuracy", weights.mean(|i| f64::from(u8::from(right[i])))),
        ("hamming_loss", weights.mean(wrong) / labels as f64),
        ("f1_micro", all.f1()),
        ("f1_macro", over_labels(Counts::f1)),
        ("f1_samples", weights.mean(|i| of_row[i].f1())),
        ("jaccard_samples", weights.mean(|i| of_row[i].jaccard())),
        ("precision_macro", over_labels(Counts::precision)),
        ("recall_macro", over_labels(Counts::recall)),
        ("log_loss", weights.mean(|i| loss[i]) / labels as f64),
    ];
    let has = |i: usize, label: usize| sets.get(y[i]).contains(&(label as u32));
    let area = |label: usize| {
        areas(
            (0..y.len()).map(|i| (probabilities[i * labels + label], has(i, label), weights.of(i))).collect(),
        )
    };
    if let Some(found) = (0..labels).map(area).collect::<Option<Vec<_>>>() {
        metrics.push(("auc_macro", mean(found.iter().map(|f| f.0))));
        metrics.push(("average_precision_macro", mean(found.iter().map(|f| f.1))));
    }
    defined(metrics)
}
