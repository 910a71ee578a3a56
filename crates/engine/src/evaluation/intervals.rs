//! Confidence intervals of metrics in closed form, so that a million rows cost little more than the metrics.
//!
//! | metric | interval |
//! |---|---|
//! | auc | DeLong, DeLong and Clarke-Pearson 1988 |
//! | accuracy, precision, recall, coverage | Wilson 1927 |
//! | medae | between order statistics |
//! | all others | normal, with the standard error of the metric's influence function (the infinitesimal jackknife; Efron 1982) |
//!
//! With weights, `n` is the effective number of rows, `(sum w)^2 / sum w^2` (Kish). Metrics that are none of these, and
//! those of fewer than two rows, have no interval.

use super::Scored;
use crate::distributions::normal_quantile;
use crate::metrics::Confusion;
use crate::schema::Task;

/// Evaluations of cells that a gradient may take.
const MAX_WORK: usize = 20_000_000;

pub(super) struct Intervals<'a> {
    scored: &'a Scored,
    z: f64,
    total: f64,
    decided: Vec<usize>,
}

impl<'a> Intervals<'a> {
    pub fn new(scored: &'a Scored, confidence: f64) -> Intervals<'a> {
        let z = normal_quantile(0.5 + confidence / 2.0);
        let total = (0..scored.rows()).map(|i| scored.weight(i)).sum();
        let classified = scored.task == Task::Classification;
        let decided =
            if classified { (0..scored.rows()).map(|i| scored.decided(i)).collect() } else { vec![] };
        Intervals { scored, z, total, decided }
    }

    /// The interval of a metric with that value.
    pub fn of(&self, name: &str, value: f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let n = s.rows();
        if n < 2 {
            return None;
        }
        let found = match s.task {
            Task::Regression => self.of_regression(name, value),
            Task::Classification => self.of_classification(name, value),
            Task::Multilabel => self.of_labels(name, value),
            _ => None,
        }?;
        let (low, high) = match name {
            "mcc" => (-1.0, 1.0),
            "r2" | "explained_variance" => (f64::NEG_INFINITY, 1.0),
            "rmse" | "mae" | "medae" | "mape" | "log_loss" | "set_size" => (0.0, f64::INFINITY),
            _ => (0.0, 1.0),
        };
        let (lower, upper) = (found.0.max(low), found.1.min(high));
        (lower.is_finite() && upper.is_finite()).then_some((lower, upper))
    }

    fn of_regression(&self, name: &str, value: f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let error = |i: usize| s.y[i] - s.scores[i];
        match name {
            "mae" => self.normal(value, |i| error(i).abs() - value),
            "mape" => self.normal(value, |i| error(i).abs() / s.y[i].abs().max(f64::EPSILON) - value),
            "rmse" if value > 0.0 => {
                self.normal(value, |i| (error(i) * error(i) - value * value) / (2.0 * value))
            }
            "medae" => self.median(|i| error(i).abs()),
            "r2" | "explained_variance" => {
                let (center, bias) = (self.mean(|i| s.y[i]), self.mean(error));
                let bias = if name == "r2" { 0.0 } else { bias };
                let unexplained = self.mean(|i| (error(i) - bias).powi(2));
                let variance = self.mean(|i| (s.y[i] - center).powi(2));
                if variance <= 0.0 {
                    return None;
                }
                let influence = |i: usize| {
                    ((s.y[i] - center).powi(2) * unexplained / variance - (error(i) - bias).powi(2))
                        / variance
                };
                self.normal(value, influence)
            }
            "coverage" => self.wilson(|_| true, |i| s.covers(i)),
            _ => None,
        }
    }

    fn of_classification(&self, name: &str, value: f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let k = s.classes.len();
        match name {
            "accuracy" => self.wilson(|_| true, |i| self.decided[i] == s.y[i] as usize),
            "precision" => self.wilson(|i| self.decided[i] == 1, |i| s.y[i] == 1.0),
            "recall" => self.wilson(|i| s.y[i] == 1.0, |i| self.decided[i] == 1),
            "coverage" => self.wilson(|_| true, |i| s.covers(i)),
            "set_size" => {
                let conformal = s.decision.conformal?;
                self.normal(value, |i| {
                    s.row(i).iter().filter(|p| conformal.includes(**p)).count() as f64 - value
                })
            }
            "log_loss" => {
                let p = |i: usize| s.row(i)[s.y[i] as usize].clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                self.normal(value, |i| -p(i).ln() - value)
            }
            "brier" => self.normal(value, |i| (s.row(i)[1] - s.y[i]).powi(2) - value),
            "auc" => {
                let influence = self.auc(1)?;
                self.plain(value, |i| influence[i])
            }
            "auc_ovr" => {
                let mut sum = vec![0.0; s.rows()];
                for class in 0..k {
                    self.auc(class)?.iter().zip(&mut sum).for_each(|(one, sum)| *sum += one / k as f64);
                }
                self.plain(value, |i| sum[i])
            }
            "average_precision" => {
                let influence = self.average_precision(value);
                self.normal(value, |i| influence[i])
            }
            "f1" | "mcc" | "balanced_accuracy" | "f1_macro" | "precision_macro" | "recall_macro" => {
                self.of_table(name, value)
            }
            _ => None,
        }
    }

    fn of_labels(&self, name: &str, value: f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let number = |b: bool| f64::from(u8::from(b));
        // What precision, recall and F1 of a label are the quotient of, of a row that has it or not and is given it or not.
        let precision = |(there, given): (bool, bool)| [number(there && given), number(given)];
        let recall = |(there, given): (bool, bool)| [number(there && given), number(there)];
        let f1 = |(there, given): (bool, bool)| [2.0 * number(there && given), number(there) + number(given)];
        let of_row = |i: usize, parts: &dyn Fn((bool, bool)) -> [f64; 2]| {
            s.labels(i).map(parts).fold([0.0; 2], |sum, part| [sum[0] + part[0], sum[1] + part[1]])
        };
        let share = |[over, under]: [f64; 2]| if under > 0.0 { over / under } else { 0.0 };
        match name {
            "accuracy" => self.wilson(|_| true, |i| s.wrong_labels(i) == 0.0),
            "hamming_loss" => self.normal(value, |i| s.wrong_labels(i) - value),
            "f1_samples" => self.normal(value, |i| share(of_row(i, &f1)) - value),
            "jaccard_samples" => self.normal(value, |i| {
                let union = |(there, given): (bool, bool)| [number(there && given), number(there || given)];
                share(of_row(i, &union)) - value
            }),
            "f1_micro" => {
                let under = self.mean(|i| of_row(i, &f1)[1]);
                let influence = |[over, own]: [f64; 2]| (over - value * own) / under;
                (under > 0.0).then(|| self.normal(value, |i| influence(of_row(i, &f1))))?
            }
            "f1_macro" => self.of_quotients(value, f1),
            "precision_macro" => self.of_quotients(value, precision),
            "recall_macro" => self.of_quotients(value, recall),
            "log_loss" => self.normal(value, |i| {
                let loss = |(p, (there, _)): (&f64, (bool, bool))| {
                    let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
                    -(if there { p } else { 1.0 - p }).ln()
                };
                s.row(i).iter().zip(s.labels(i)).map(loss).sum::<f64>() / s.classes.len() as f64 - value
            }),
            "auc_macro" => {
                let mut sum = vec![0.0; s.rows()];
                for label in 0..s.classes.len() {
                    let own = s.of_label(label);
                    let influence = Intervals::new(&own, 0.95).auc(1)?;
                    let share = 1.0 / s.classes.len() as f64;
                    influence.iter().zip(&mut sum).for_each(|(one, sum)| *sum += one * share);
                }
                self.plain(value, |i| sum[i])
            }
            _ => None,
        }
    }

    /// The interval of the mean over labels of quotients of sums over rows.
    fn of_quotients(&self, value: f64, parts: impl Fn((bool, bool)) -> [f64; 2]) -> Option<(f64, f64)> {
        let s = self.scored;
        let mut sums = vec![[0.0; 2]; s.classes.len()];
        for i in 0..s.rows() {
            for (sum, part) in sums.iter_mut().zip(s.labels(i).map(&parts)) {
                (0..2).for_each(|k| sum[k] += s.weight(i) * part[k]);
            }
        }
        let influence = |i: usize| {
            let of_label = |(sum, part): (&[f64; 2], [f64; 2])| match sum[1] > 0.0 {
                true => (part[0] - sum[0] / sum[1] * part[1]) * self.total / sum[1],
                false => 0.0,
            };
            sums.iter().zip(s.labels(i).map(&parts)).map(of_label).sum::<f64>() / s.classes.len() as f64
        };
        self.normal(value, influence)
    }

    fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        (0..self.scored.rows()).map(|i| self.scored.weight(i) * value(i)).sum::<f64>() / self.total
    }

    /// The value plus and minus errors of that influence.
    fn plain(&self, value: f64, influence: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
        let square = |i: usize| (self.scored.weight(i) * influence(i)).powi(2);
        let error = (0..self.scored.rows()).map(square).sum::<f64>().sqrt() / self.total;
        Some((value - self.z * error, value + self.z * error))
    }

    /// The same, with the correction for small samples.
    fn normal(&self, value: f64, influence: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
        let n = self.scored.rows() as f64;
        let correction = (n / (n - 1.0)).sqrt();
        self.plain(value, |i| influence(i) * correction)
    }

    /// Wilson's interval of the share of `hit` among the rows that are `counted`.
    fn wilson(&self, counted: impl Fn(usize) -> bool, hit: impl Fn(usize) -> bool) -> Option<(f64, f64)> {
        let (mut sum, mut squares, mut hits) = (0.0, 0.0, 0.0);
        for i in (0..self.scored.rows()).filter(|i| counted(*i)) {
            let w = self.scored.weight(i);
            sum += w;
            squares += w * w;
            hits += if hit(i) { w } else { 0.0 };
        }
        if sum <= 0.0 {
            return None;
        }
        let (n, p, z2) = (sum * sum / squares, hits / sum, self.z * self.z);
        let center = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
        let half = self.z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
        Some((center - half, center + half))
    }

    /// The values at the shares of weight that the median lies between.
    fn median(&self, value: impl Fn(usize) -> f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let mut pairs: Vec<(f64, f64)> = (0..s.rows()).map(|i| (value(i), s.weight(i))).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let squares: f64 = pairs.iter().map(|p| p.1 * p.1).sum();
        let half = self.z / 2.0 / (self.total * self.total / squares).sqrt();
        let at = |share: f64| {
            let mut sum = 0.0;
            let place = pairs.iter().position(|p| {
                sum += p.1;
                sum >= share * self.total
            });
            place.or(pairs.len().checked_sub(1)).map(|i| pairs[i].0)
        };
        Some((at(0.5 - half)?, at(0.5 + half)?))
    }

    /// Each row's part in the area of a class against the rest, scaled to DeLong's variance.
    fn auc(&self, class: usize) -> Option<Vec<f64>> {
        let s = self.scored;
        let positive = |i: usize| s.y[i] as usize == class;
        let mut order: Vec<usize> = (0..s.rows()).collect();
        order.sort_by(|a, b| s.row(*a)[class].total_cmp(&s.row(*b)[class]));
        let total = |kind: bool| -> (f64, f64) {
            let of = (0..s.rows()).filter(|i| positive(*i) == kind);
            of.fold((0.0, 0.0), |(w, n), i| (w + s.weight(i), n + 1.0))
        };
        let ((hits, positives), (misses, negatives)) = (total(true), total(false));
        if positives < 2.0 || negatives < 2.0 {
            return None;
        }
        // The share of the other kind that a row stands on the right side of, ties counting half.
        let mut place = vec![0.0; s.rows()];
        let (mut positives_below, mut negatives_below) = (0.0, 0.0);
        for tied in order.chunk_by(|a, b| s.row(*a)[class] == s.row(*b)[class]) {
            let here = |kind: bool| -> f64 {
                tied.iter().filter(|i| positive(**i) == kind).map(|i| s.weight(*i)).sum()
            };
            let (positives_here, negatives_here) = (here(true), here(false));
            for i in tied {
                place[*i] = if positive(*i) {
                    (negatives_below + negatives_here / 2.0) / misses
                } else {
                    (hits - positives_below - positives_here / 2.0) / hits
                };
            }
            positives_below += positives_here;
            negatives_below += negatives_here;
        }
        let area = (0..s.rows()).filter(|i| positive(*i)).map(|i| s.weight(i) * place[i]).sum::<f64>() / hits;
        for (i, place) in place.iter_mut().enumerate() {
            let (weight, count) = if positive(i) { (hits, positives) } else { (misses, negatives) };
            *place = (*place - area) * self.total / weight * (count / (count - 1.0)).sqrt();
        }
        Some(place)
    }

    /// Each row's part in the average precision of class 1: its own precision, and what it does to that of others.
    fn average_precision(&self, value: f64) -> Vec<f64> {
        let s = self.scored;
        let positive = |i: usize| s.y[i] == 1.0;
        let mut order: Vec<usize> = (0..s.rows()).collect();
        order.sort_by(|a, b| s.row(*b)[1].total_cmp(&s.row(*a)[1]));
        let positives: f64 = (0..s.rows()).filter(|i| positive(*i)).map(|i| s.weight(i)).sum();
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| s.row(*a)[1] == s.row(*b)[1]).collect();
        let (mut hits, mut called) = (0.0, 0.0);
        let stages: Vec<(f64, f64, f64)> = groups
            .iter()
            .map(|tied| {
                let here: f64 = tied.iter().filter(|i| positive(**i)).map(|i| s.weight(*i)).sum();
                hits += here;
                called += tied.iter().map(|i| s.weight(*i)).sum::<f64>();
                (here, hits / called, called)
            })
            .collect();
        // From the lowest threshold up: what a positive and a negative row add to all precisions at or below theirs.
        let mut influence = vec![0.0; s.rows()];
        let (mut gain, mut loss) = (0.0, 0.0);
        for (tied, (here, precision, called)) in groups.iter().zip(&stages).rev() {
            gain += here * (1.0 - precision) / called;
            loss += here * precision / called;
            for i in *tied {
                let part = if positive(*i) { precision - value + gain } else { -loss };
                influence[*i] = part * self.total / positives;
            }
        }
        influence
    }

    /// A metric of the confusion matrix, by its gradient in the cells.
    fn of_table(&self, name: &str, value: f64) -> Option<(f64, f64)> {
        let s = self.scored;
        let k = s.classes.len();
        let mut cells = std::collections::BTreeMap::<(usize, usize), (f64, f64)>::new();
        for i in 0..s.rows() {
            let cell = cells.entry((s.y[i] as usize, self.decided[i])).or_default();
            cell.0 += s.weight(i);
            cell.1 += s.weight(i) * s.weight(i);
        }
        if cells.len().saturating_mul(k) > MAX_WORK {
            return None;
        }
        let mut table = Confusion::new(k, cells.iter().map(|((a, p), (w, _))| (*a, *p, *w)));
        let step = 1e-6 * self.total;
        let mut variance = 0.0;
        for ((actual, predicted), (_, squares)) in &cells {
            let mut moved = |by: f64| {
                table.add(*actual, *predicted, by);
                let found = table.metric(name);
                table.add(*actual, *predicted, -by);
                found
            };
            let slope = (moved(step)? - moved(-step)?) / (2.0 * step);
            variance += squares * slope * slope;
        }
        let n = s.rows() as f64;
        let error = (variance * n / (n - 1.0)).sqrt();
        Some((value - self.z * error, value + self.z * error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Decision;
    use crate::labels::LabelSets;
    use std::sync::Arc;

    /// 500 rows with sets of four labels, one of them rare; the same everywhere.
    fn scored(rows: &[usize]) -> Scored {
        let noise = |i: usize, salt: usize| {
            let x = ((i * 4 + salt) as u64 ^ 0x5DEE).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 53) as f64
        };
        let has = |i: usize, label: usize| noise(i, label) < [0.5, 0.3, 0.4, 0.1][label];
        let mut sets = LabelSets::new(4);
        (0..16).for_each(|set: usize| sets.push((0..4).filter(|label| set >> label & 1 == 1)));
        let set = |i: &usize| (0..4).map(|label| usize::from(has(*i, label)) << label).sum::<usize>() as f64;
        let p = |i: usize, label: usize| {
            let signal = if has(i, label) { 0.2 } else { -0.2 };
            (0.5 + signal + 0.9 * (noise(i + 10_007, label) - 0.5)).clamp(0.01, 0.99)
        };
        Scored {
            task: Task::Multilabel,
            classes: ["a", "b", "c", "d"].map(String::from).to_vec(),
            y: rows.iter().map(set).collect(),
            sets: Some(Arc::new(sets)),
            scores: rows.iter().flat_map(|i| (0..4).map(move |label| p(*i, label))).collect(),
            weight: vec![],
            group: vec![],
            decision: Decision::default(),
        }
    }

    #[test]
    fn intervals_of_labels_are_as_wide_as_the_bootstraps() {
        let all: Vec<usize> = (0..500).collect();
        let measured = scored(&all).measure(None, 0.95);
        let mut state = 11u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % 500
        };
        let mut sums = vec![[0.0; 2]; measured.len()];
        const DRAWS: usize = 600;
        for _ in 0..DRAWS {
            let rows: Vec<usize> = (0..500).map(|_| draw()).collect();
            for (sum, (_, value)) in sums.iter_mut().zip(scored(&rows).metrics()) {
                (sum[0], sum[1]) = (sum[0] + value, sum[1] + value * value);
            }
        }
        for (m, [sum, squares]) in measured.iter().zip(sums) {
            let mean = sum / DRAWS as f64;
            let deviation = (squares / DRAWS as f64 - mean * mean).sqrt();
            let Some((low, high)) = m.interval else {
                assert_eq!(m.name, "average_precision_macro");
                continue;
            };
            assert!(low < m.value && m.value < high, "{m:?}");
            let ratio = (high - low) / (2.0 * 1.96 * deviation);
            assert!((0.88..1.12).contains(&ratio), "{}: {ratio}", m.name);
        }
    }
}
