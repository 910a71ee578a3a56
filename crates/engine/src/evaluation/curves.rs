//! Curves and tables of a model's answers, as scikit-learn defines them: ROC, precision and recall, calibration,
//! confusion, lift, residuals. Weights count as so many rows.

use super::Scored;
use crate::error::{Error, Kind, Result};
use crate::schema::Task;
use std::collections::BTreeMap;

/// A point of the ROC curve: what calling rows positive from `threshold` on gives.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RocPoint {
    /// The least probability that is called positive; infinite where no row is.
    pub threshold: f64,
    /// The share of negatives that are called positive.
    pub fpr: f64,
    /// The share of positives that are.
    pub tpr: f64,
}

/// A point of the curve of precision and recall.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrPoint {
    /// The least probability that is called positive; none where no row is.
    pub threshold: Option<f64>,
    /// The share of rows called positive that are.
    pub precision: f64,
    /// The share of positives that are called so.
    pub recall: f64,
}

/// Rows of like probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CalibrationBin {
    /// Its number, from 1.
    pub bin: usize,
    /// The mean probability.
    pub predicted: f64,
    /// The share of positives.
    pub observed: f64,
    /// Rows.
    pub rows: usize,
}

/// How bins of probabilities are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// At equal distances.
    Uniform,
    /// Into as many rows each.
    Quantile,
}

impl Strategy {
    /// Reads `uniform` or `quantile`.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything else.
    pub fn parse(text: &str) -> Result<Strategy> {
        match text {
            "uniform" => Ok(Strategy::Uniform),
            "quantile" => Ok(Strategy::Quantile),
            _ => Err(Error::new(
                Kind::Parameter,
                format!("strategy is \"{text}\", expected uniform or quantile"),
            )),
        }
    }
}

/// A cell of the confusion matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfusionCell {
    /// The true class.
    pub actual: String,
    /// The class that was decided for.
    pub predicted: String,
    /// Rows.
    pub rows: usize,
    /// What they weigh.
    pub weight: f64,
}

/// Rows of like rank, the likeliest first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LiftBin {
    /// Its number, from 1.
    pub bin: usize,
    /// Rows.
    pub rows: usize,
    /// The least probability in it.
    pub threshold: f64,
    /// The weight of positives in it.
    pub captured: f64,
    /// The share of positives in it.
    pub rate: f64,
    /// That share over the share of positives among all rows.
    pub lift: f64,
    /// The share of all positives that are in this bin or one before.
    pub gain: f64,
    /// The share of positives in the bins up to this one, over that among all rows.
    pub cumulative_lift: f64,
}

/// A regression's error of one row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Residual {
    /// The true value.
    pub actual: f64,
    /// The prediction.
    pub predicted: f64,
    /// The true value less the prediction.
    pub residual: f64,
    /// The residual less the mean one, over their standard deviation; none where that is 0 or unknown.
    pub standardised: Option<f64>,
}

/// Probabilities of one class against the rest, from the highest, with running weights of both kinds.
struct Ranked {
    /// The distinct probabilities, falling.
    at: Vec<f64>,
    /// The weight of positives from each on.
    hits: Vec<f64>,
    /// The weight of negatives from each on.
    alarms: Vec<f64>,
}

impl Ranked {
    fn new(scored: &Scored, class: usize) -> Result<Ranked> {
        let order = ranks(scored, class);
        let (mut at, mut hits, mut alarms) = (vec![], vec![], vec![]);
        let (mut hit, mut alarm) = (0.0, 0.0);
        for tied in order.chunk_by(|a, b| scored.row(*a)[class] == scored.row(*b)[class]) {
            for i in tied {
                *if scored.y[*i] as usize == class { &mut hit } else { &mut alarm } += scored.weight(*i);
            }
            at.push(scored.row(tied[0])[class]);
            hits.push(hit);
            alarms.push(alarm);
        }
        if hit <= 0.0 || alarm <= 0.0 {
            let label = &scored.classes[class];
            let message = if hit > 0.0 {
                format!("the source has only rows of class \"{label}\", expected others too")
            } else {
                format!("the source has no rows of class \"{label}\", expected some")
            };
            return Err(
                Error::new(Kind::Data, message).hint("A curve needs rows of the class and of the rest.")
            );
        }
        Ok(Ranked { at, hits, alarms })
    }
}

fn ranks(scored: &Scored, class: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scored.rows()).collect();
    order.sort_by(|a, b| scored.row(*b)[class].total_cmp(&scored.row(*a)[class]));
    order
}

/// At most `most` of the points, the first and the last among them, evenly along `place`, which does not fall.
fn thin<T: Copy>(points: Vec<T>, most: usize, place: impl Fn(&T) -> f64) -> Vec<T> {
    let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else { return points };
    if points.len() <= most {
        return points;
    }
    let (start, length) = (place(&first), place(&last) - place(&first));
    let mut kept: Vec<usize> = (0..most)
        .map(|i| {
            let wanted = start + length * i as f64 / (most - 1).max(1) as f64;
            points.partition_point(|p| place(p) < wanted).min(points.len() - 1)
        })
        .collect();
    kept.push(points.len() - 1);
    kept.dedup();
    if kept.len() > most {
        kept.remove(kept.len() - 2);
    }
    kept.into_iter().map(|i| points[i]).collect()
}

impl Scored {
    /// The ROC curve of a class against the rest, without points on a straight line between others
    /// (`drop_intermediate` of scikit-learn's `roc_curve`), and no more than `points`, evenly along the curve.
    ///
    /// # Errors
    /// `Kind::Data` where all rows or none are of the class.
    pub fn roc(&self, class: usize, points: usize) -> Result<Vec<RocPoint>> {
        let Ranked { at, hits, alarms } = Ranked::new(self, class)?;
        let n = at.len();
        let (positives, negatives) = (hits[n - 1], alarms[n - 1]);
        let bent = |v: &[f64], i: usize| v[i + 1] - 2.0 * v[i] + v[i - 1] != 0.0;
        let mut curve = vec![RocPoint { threshold: f64::INFINITY, fpr: 0.0, tpr: 0.0 }];
        for i in (0..n).filter(|i| *i == 0 || *i + 1 == n || bent(&hits, *i) || bent(&alarms, *i)) {
            curve.push(RocPoint { threshold: at[i], fpr: alarms[i] / negatives, tpr: hits[i] / positives });
        }
        Ok(thin(curve, points, |p| p.fpr + p.tpr))
    }

    /// Precision and recall of a class against the rest at rising thresholds, the last point with no row called
    /// positive; without points whose recall is that of both neighbours, and no more than `points`.
    ///
    /// # Errors
    /// `Kind::Data` where all rows or none are of the class.
    pub fn pr_curve(&self, class: usize, points: usize) -> Result<Vec<PrPoint>> {
        let Ranked { at, hits, alarms } = Ranked::new(self, class)?;
        let n = at.len();
        let moves = |i: usize| hits[i] != hits[i - 1] || hits[i + 1] != hits[i];
        let mut curve = vec![PrPoint { threshold: None, precision: 1.0, recall: 0.0 }];
        for i in (0..n).filter(|i| *i == 0 || *i + 1 == n || moves(*i)) {
            let precision = hits[i] / (hits[i] + alarms[i]);
            curve.push(PrPoint { threshold: Some(at[i]), precision, recall: hits[i] / hits[n - 1] });
        }
        let mut curve = thin(curve, points, |p| p.recall);
        curve.reverse();
        Ok(curve)
    }

    /// Probabilities of a class against what came true, in at most `bins` bins; empty bins are left out. A
    /// probability on the edge of two bins belongs to the lower one.
    pub fn calibration(&self, class: usize, bins: usize, strategy: Strategy) -> Vec<CalibrationBin> {
        let edges: Vec<f64> = match strategy {
            Strategy::Uniform => (1..bins).map(|b| b as f64 / bins as f64).collect(),
            Strategy::Quantile => {
                let mut sorted: Vec<f64> = (0..self.rows()).map(|i| self.row(i)[class]).collect();
                sorted.sort_by(f64::total_cmp);
                (1..bins).map(|b| quantile(&sorted, b as f64 / bins as f64)).collect()
            }
        };
        let mut sums = vec![(0.0, 0.0, 0.0, 0usize); bins];
        for i in 0..self.rows() {
            let (p, w) = (self.row(i)[class], self.weight(i));
            let sum = &mut sums[edges.partition_point(|e| *e < p)];
            sum.0 += w * p;
            sum.1 += if self.y[i] as usize == class { w } else { 0.0 };
            sum.2 += w;
            sum.3 += 1;
        }
        let bin = |(b, (p, hits, weight, rows)): (usize, (f64, f64, f64, usize))| {
            (rows > 0).then(|| CalibrationBin {
                bin: b + 1,
                predicted: p / weight,
                observed: hits / weight,
                rows,
            })
        };
        sums.into_iter().enumerate().filter_map(bin).collect()
    }

    /// Rows by true and decided class, those cells that have any.
    pub fn confusion(&self) -> Vec<ConfusionCell> {
        let mut cells: BTreeMap<(usize, usize), (usize, f64)> = BTreeMap::new();
        for i in 0..self.rows() {
            let cell = cells.entry((self.y[i] as usize, self.decided(i))).or_default();
            cell.0 += 1;
            cell.1 += self.weight(i);
        }
        let one = |((actual, predicted), (rows, weight)): ((usize, usize), (usize, f64))| ConfusionCell {
            actual: self.classes[actual].clone(),
            predicted: self.classes[predicted].clone(),
            rows,
            weight,
        };
        cells.into_iter().map(one).collect()
    }

    /// How much likelier the rows of the highest probabilities are of a class, in `bins` bins of equal weight. Rows of
    /// equal probability stay together, in the bin of their middle; a bin that is left without rows is left out.
    ///
    /// # Errors
    /// `Kind::Data` where all rows or none are of the class.
    pub fn lift(&self, class: usize, bins: usize) -> Result<Vec<LiftBin>> {
        let Ranked { at, hits, alarms } = Ranked::new(self, class)?;
        let n = at.len();
        let (positives, all) = (hits[n - 1], hits[n - 1] + alarms[n - 1]);
        let base = positives / all;
        let mut rows = vec![0usize; n];
        let order = ranks(self, class);
        for (count, tied) in
            rows.iter_mut().zip(order.chunk_by(|a, b| self.row(*a)[class] == self.row(*b)[class]))
        {
            *count = tied.len();
        }
        let mut found: Vec<LiftBin> = vec![];
        let mut first = 0;
        let upto = |i: usize| if i == 0 { (0.0, 0.0) } else { (hits[i - 1], hits[i - 1] + alarms[i - 1]) };
        let bin_of = |i: usize| {
            let middle = (upto(i).1 + upto(i + 1).1) / 2.0;
            ((middle / all * bins as f64) as usize).min(bins - 1)
        };
        for i in 0..n {
            if i + 1 < n && bin_of(i + 1) == bin_of(i) {
                continue;
            }
            let ((hits_before, all_before), (hits_now, all_now)) = (upto(first), upto(i + 1));
            let (captured, weight) = (hits_now - hits_before, all_now - all_before);
            found.push(LiftBin {
                bin: bin_of(i) + 1,
                rows: rows[first..=i].iter().sum(),
                threshold: at[i],
                captured,
                rate: captured / weight,
                lift: captured / weight / base,
                gain: hits_now / positives,
                cumulative_lift: hits_now / all_now / base,
            });
            first = i + 1;
        }
        Ok(found)
    }

    /// The errors of a regression, row by row.
    ///
    /// # Errors
    /// `Kind::Unsupported` for another task.
    pub fn residuals(&self) -> Result<Vec<Residual>> {
        if self.task != Task::Regression {
            let message = format!("residuals are a regression's, but the model does {}", self.task.name());
            return Err(Error::new(Kind::Unsupported, message).hint("Use damson.confusion for classes."));
        }
        let errors: Vec<f64> = self.y.iter().zip(&self.scores).map(|(y, p)| y - p).collect();
        let total: f64 = (0..self.rows()).map(|i| self.weight(i)).sum();
        let mean = (0..self.rows()).map(|i| self.weight(i) * errors[i]).sum::<f64>() / total;
        let square = |i: usize| self.weight(i) * (errors[i] - mean) * (errors[i] - mean);
        let n = self.rows() as f64;
        let deviation = ((0..self.rows()).map(square).sum::<f64>() / total * n / (n - 1.0)).sqrt();
        let one = |(i, e): (usize, &f64)| Residual {
            actual: self.y[i],
            predicted: self.scores[i],
            residual: *e,
            standardised: (deviation.is_finite() && deviation > 0.0).then(|| (e - mean) / deviation),
        };
        Ok(errors.iter().enumerate().map(one).collect())
    }
}

/// The expected calibration error in ten bins of equal width: the mean distance of probability and outcome, of the
/// second of two classes, or of the likeliest one of more.
pub(super) fn calibration_error(scored: &Scored) -> f64 {
    let mut sums = [(0.0, 0.0); 10];
    let mut total = 0.0;
    for i in 0..scored.rows() {
        let row = scored.row(i);
        let class = if row.len() == 2 { 1 } else { crate::decision::Rule::Likeliest.decide(row) };
        let (p, w) = (row[class], scored.weight(i));
        let bin = ((p * 10.0).ceil() as usize).clamp(1, 10) - 1;
        sums[bin].0 += w * p;
        sums[bin].1 += if scored.y[i] as usize == class { w } else { 0.0 };
        total += w;
    }
    sums.iter().map(|(p, hits)| (p - hits).abs()).sum::<f64>() / total
}

/// Between the two nearest of sorted values, as numpy's `percentile`.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    let high = sorted[(low + 1).min(sorted.len() - 1)];
    sorted[low] + (high - sorted[low]) * part
}
