//! What an evaluation looks like: metrics with their intervals, curves, bins, counts and some of the errors, small enough
//! to keep with a version. Callers: training, which keeps those of the rows that it did not learn from, and whoever
//! draws them.
//!
//! The bytes that come back from a table are hostile until [`Figures::decode`] has looked at them.

use super::curves::Strategy;
use super::{Columns, Measurement, Scored};
use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::explain::{Draw, Importance, Ranked};
use crate::fingerprint::hash;
use crate::frame::{Frame, Value};
use crate::labels::LabelSets;
use crate::learner::Cx;
use crate::metrics::areas;
use crate::schema::Task;
use crate::scorer::Scorer;
use crate::wire;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Rows that curves are made of; of more, one of each run of neighbours, by hash. Metrics are of all rows.
pub const DRAWN: usize = 1 << 16;
/// Classes that have curves, the most frequent ones.
pub const CLASSES: usize = 8;
/// Classes that a confusion matrix names, the most frequent ones; the others are one.
pub const LABELS: usize = 20;
/// Points of a curve.
const POINTS: usize = 150;
/// Bins of probabilities that are held against what came true.
const CALIBRATED: usize = 10;
/// Bins of lift.
const LIFTED: usize = 20;
/// Bars of a histogram.
const BARS: usize = 30;
/// Rows whose errors are shown one by one.
const SHOWN: usize = 600;
/// The confidence of the intervals.
const CONFIDENCE: f64 = 0.95;
/// Bytes of a stored label that are believed.
const LABEL_BYTES: usize = 1 << 16;

/// Which rows the figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Those that a training held out.
    Test,
    /// All rows of a training, each scored by the fold that did not learn from it.
    Folds,
    /// Those that a caller gave.
    Given,
}

/// What an evaluation looks like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Which rows it is of.
    pub part: Part,
    /// How many these are.
    pub rows: u64,
    /// How many of them the curves are made of.
    pub drawn: u64,
    /// Metrics of all rows; empty for [`Part::Folds`], whose metrics are means over the folds.
    pub measures: Vec<Measure>,
    /// Classes against the rest: the second of two, or the most frequent ones; or labels, each by itself.
    pub curves: Vec<Curves>,
    /// Rows by true and decided class.
    pub confusion: Option<Confusion>,
    /// The errors of a regression.
    pub errors: Option<Errors>,
}

/// A metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its 95 % confidence interval, where there is one.
    pub interval: Option<(f64, f64)>,
}

/// How a class is told from the rest. Shares and probabilities are within 0 and 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Curves {
    /// The class.
    pub label: String,
    /// The share of rows that are of it.
    pub share: f64,
    /// The area under the ROC curve.
    pub auc: f64,
    /// The average precision.
    pub average_precision: f64,
    /// False and true positive rates.
    pub roc: Vec<(f32, f32)>,
    /// Recall and precision.
    pub pr: Vec<(f32, f32)>,
    /// The mean probability of a bin, the share that came true, and its rows.
    pub calibration: Vec<(f32, f32, u64)>,
    /// The share of rows called first, the share of the class among them, and their lift.
    pub lift: Vec<(f32, f32, f32)>,
    /// Rows of the class by probability, in bars of equal width from 0 to 1.
    pub hits: Vec<u64>,
    /// Rows of the rest, likewise.
    pub misses: Vec<u64>,
}

/// Rows by true and decided class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// The classes that have a row and a column.
    pub labels: Vec<String>,
    /// Classes that share one more row and column, the last.
    pub others: u64,
    /// The rows of the source, true class by true class.
    pub cells: Vec<u64>,
}

impl Confusion {
    /// Rows, and columns, of the matrix.
    pub fn side(&self) -> usize {
        self.labels.len() + usize::from(self.others > 0)
    }
}

/// The errors of a regression: true values less predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    /// Predictions and true values of some rows.
    pub points: Vec<(f32, f32)>,
    /// Mean prediction and mean error of rows of like prediction.
    pub trend: Vec<(f32, f32)>,
    /// Where the first bar of the histogram of errors begins; what is below counts in it.
    pub low: f64,
    /// Where the last bar ends.
    pub high: f64,
    /// Rows by error.
    pub bars: Vec<u64>,
    /// The mean error.
    pub mean: f64,
    /// Half of the errors lie between these two.
    pub middle: (f64, f64),
}

impl Figures {
    /// As bytes, to store.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(self)
    }

    /// Of stored bytes.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that are not figures.
    pub fn decode(bytes: &[u8]) -> Result<Figures> {
        let found: Figures = wire::decode(bytes)
            .map_err(|e| Error::corrupt(format!("the stored figures are damaged: {e}")))?;
        if found.valid() { Ok(found) } else { Err(Error::corrupt("the stored figures are damaged")) }
    }

    /// Without what shows single rows: for those who may use a model but do not own it.
    pub fn without_rows(mut self) -> Figures {
        self.errors.iter_mut().for_each(|e| e.points.clear());
        self
    }

    fn valid(&self) -> bool {
        let measured = |m: &Measure| {
            m.name.len() <= 100 && m.interval.is_none_or(|(low, high)| low.is_finite() && high.is_finite())
        };
        let matrix = |c: &Confusion| {
            c.labels.len() <= LABELS
                && c.cells.len() == c.side() * c.side()
                && c.labels.iter().all(|l| l.len() <= LABEL_BYTES)
        };
        self.measures.len() <= 100
            && self.measures.iter().all(measured)
            && self.curves.len() <= CLASSES
            && self.curves.iter().all(Curves::valid)
            && self.confusion.as_ref().is_none_or(matrix)
            && self.errors.as_ref().is_none_or(Errors::valid)
    }
}

impl Curves {
    fn valid(&self) -> bool {
        let share = |x: f32| (0.0..=1.0).contains(&x);
        let points = |c: &[(f32, f32)]| c.len() <= POINTS && c.iter().all(|p| share(p.0) && share(p.1));
        let lift = |p: &(f32, f32, f32)| share(p.0) && share(p.1) && p.2.is_finite() && p.2 >= 0.0;
        self.label.len() <= LABEL_BYTES
            && [self.share, self.auc, self.average_precision].iter().all(|x| (0.0..=1.0).contains(x))
            && points(&self.roc)
            && points(&self.pr)
            && self.calibration.len() <= CALIBRATED
            && self.calibration.iter().all(|p| share(p.0) && share(p.1))
            && self.lift.len() <= LIFTED
            && self.lift.iter().all(lift)
            && self.hits.len() == BARS
            && self.misses.len() == BARS
    }
}

impl Errors {
    fn valid(&self) -> bool {
        let finite = |p: &(f32, f32)| p.0.is_finite() && p.1.is_finite();
        self.points.len() <= SHOWN
            && self.trend.len() <= SHOWN
            && self.points.iter().chain(&self.trend).all(finite)
            && self.bars.len() == BARS
            && [self.low, self.high, self.mean, self.middle.0, self.middle.1].iter().all(|x| x.is_finite())
            && self.low < self.high
    }
}

/// Rows of a training with their truth, calibrated scores (a value, or a probability a class) and weights.
#[derive(Default)]
pub(crate) struct Rows {
    pub y: Vec<f64>,
    pub sets: Option<Arc<LabelSets>>,
    pub scores: Vec<f64>,
    pub weight: Vec<f64>,
}

impl Rows {
    /// Their figures; none for tasks without curves and where a score is not finite. `known` are the metrics, where
    /// they were measured already.
    pub(crate) fn figures(
        self,
        task: Task,
        classes: &[String],
        decision: &Decision,
        part: Part,
        known: &[(String, f64)],
    ) -> Option<Figures> {
        if !draws(task) || self.y.is_empty() {
            return None;
        }
        let Rows { y, sets, scores, weight } = self;
        let (classes, decision) = (classes.to_vec(), decision.clone());
        let scored = Scored { task, classes, y, sets, scores, weight, group: vec![], decision };
        scored.drawn(part, None, || match part {
            Part::Folds => vec![],
            _ => scored.intervals(known.to_vec(), None, CONFIDENCE),
        })
    }
}

/// Whether answers of a task have figures.
pub fn draws(task: Task) -> bool {
    matches!(task, Task::Classification | Task::Multilabel | Task::Regression)
}

/// Places, that of the greatest count first.
fn ordered(rows: &[u64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|c| (std::cmp::Reverse(rows[*c]), *c));
    order
}

/// What a model does with rows that a caller gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Examined {
    /// Rows.
    pub rows: u64,
    /// Metrics of them.
    pub measures: Vec<Measure>,
    /// What the answers look like, for tasks that have figures.
    pub figures: Option<Figures>,
    /// How much each input matters for them, where the model does not know by itself.
    pub importance: Vec<Ranked>,
}

impl Scorer {
    /// Measures the model on rows that have true answers, where its task knows such, and draws its answers. `class` is as
    /// in [`Scored::figures`].
    ///
    /// # Errors
    /// As [`Scorer::evaluate`].
    pub fn examine(
        &self,
        frame: &Frame,
        columns: Columns,
        class: Option<usize>,
        cx: &Cx,
    ) -> Result<Examined> {
        /// Rows that are enough to tell which inputs matter.
        const RANKED: usize = 5000;
        let card = self.card();
        let measure = |m: Measurement| Measure { name: m.name, value: m.value, interval: m.interval };
        let rows = frame.rows as u64;
        if !card.task.supervised() || card.group_by > 0 {
            let found = self.evaluate(frame, columns, None, CONFIDENCE, cx)?;
            let measures = found.into_iter().map(measure).collect();
            return Ok(Examined { rows, measures, ..Examined::default() });
        }
        let scored = self.scored(frame, columns, cx)?;
        let figures = scored.figures(class);
        let measures = match &figures {
            Some(figures) => figures.measures.clone(),
            None => scored.measure(None, CONFIDENCE).into_iter().map(measure).collect(),
        };
        let importance = match self.importance(Importance::Gain) {
            Ok(_) => vec![],
            Err(_) => {
                let draw = Draw { most: RANKED, seed: card.seed };
                // A metric can be undefined for the few rows; then there is none.
                match self.permutation_importance(frame, columns.target, 2, draw, cx) {
                    Err(e) if e.kind == crate::Kind::Cancelled => return Err(e),
                    found => found.unwrap_or_default(),
                }
            }
        };
        Ok(Examined { rows, measures, figures, importance })
    }
}

impl Scored {
    /// What the evaluation looks like; none for a ranking, and where a score is not finite. `class` is the one to set
    /// against the rest; by default the second of two, or each of the most frequent ones.
    pub fn figures(&self, class: Option<usize>) -> Option<Figures> {
        self.drawn(Part::Given, class, || self.measure(None, CONFIDENCE))
    }

    fn drawn(
        &self,
        part: Part,
        class: Option<usize>,
        measured: impl FnOnce() -> Vec<Measurement>,
    ) -> Option<Figures> {
        if !draws(self.task) || !self.scores.iter().chain(&self.y).all(|x| x.is_finite()) {
            return None;
        }
        let measures =
            measured().into_iter().map(|m| Measure { name: m.name, value: m.value, interval: m.interval });
        let measures = measures.collect();
        let few;
        let drawn = if self.rows() > DRAWN {
            few = self.some(&some_rows(self.rows(), DRAWN));
            &few
        } else {
            self
        };
        let classified = self.task == Task::Classification;
        Some(Figures {
            part,
            rows: self.rows() as u64,
            drawn: drawn.rows() as u64,
            measures,
            curves: match self.task {
                Task::Classification => drawn.all_curves(class),
                Task::Multilabel => drawn.label_curves(class),
                _ => vec![],
            },
            confusion: classified.then(|| self.matrix()),
            errors: if self.task == Task::Regression { drawn.errors() } else { None },
        })
    }

    /// Class numbers, the most frequent first.
    fn by_frequency(&self) -> Vec<usize> {
        let mut rows = vec![0u64; self.classes.len()];
        self.y.iter().for_each(|c| rows[*c as usize] += 1);
        ordered(&rows)
    }

    /// Of each label by itself, or of one.
    fn label_curves(&self, label: Option<usize>) -> Vec<Curves> {
        let mut labels = match label {
            Some(label) => vec![label],
            None => ordered(&self.label_rows()).into_iter().take(CLASSES).collect(),
        };
        labels.sort_unstable();
        labels.into_par_iter().filter_map(|label| self.of_label(label).curves(1)).collect()
    }

    fn all_curves(&self, class: Option<usize>) -> Vec<Curves> {
        let mut classes = match class {
            Some(class) => vec![class],
            None if self.classes.len() == 2 => vec![1],
            None => self.by_frequency().into_iter().take(CLASSES).collect(),
        };
        classes.sort_unstable();
        classes.into_par_iter().filter_map(|class| self.curves(class)).collect()
    }

    /// None where all rows or none are of the class.
    fn curves(&self, class: usize) -> Option<Curves> {
        let one = |i: usize| (self.row(i)[class], self.y[i] as usize == class, self.weight(i));
        let (auc, average_precision) = areas((0..self.rows()).map(one).collect())?;
        let (roc, pr) = (self.roc(class, POINTS).ok()?, self.pr_curve(class, POINTS).ok()?);
        let mut calibration = self.calibration(class, CALIBRATED, Strategy::Uniform);
        calibration.retain(|b| b.predicted.is_finite() && b.observed.is_finite());
        let lift = self.lift(class, LIFTED).ok()?;
        let total: f64 = lift.iter().map(|b| b.rows as f64).sum();
        let mut seen = 0.0;
        let lift = lift.iter().map(|b| {
            seen += b.rows as f64;
            ((seen / total) as f32, b.gain.clamp(0.0, 1.0) as f32, b.cumulative_lift as f32)
        });
        let (mut hits, mut misses) = (vec![0; BARS], vec![0; BARS]);
        let (mut of_class, mut total) = (0.0, 0.0);
        for i in 0..self.rows() {
            let (p, hit, weight) = one(i);
            let bar = ((p * BARS as f64) as usize).min(BARS - 1);
            let counts = if hit { &mut hits } else { &mut misses };
            counts[bar] += 1;
            total += weight;
            of_class += if hit { weight } else { 0.0 };
        }
        let within = |x: f64| x.clamp(0.0, 1.0) as f32;
        Some(Curves {
            label: self.classes[class].clone(),
            share: of_class / total,
            auc: auc.clamp(0.0, 1.0),
            average_precision: average_precision.clamp(0.0, 1.0),
            roc: roc.iter().map(|p| (within(p.fpr), within(p.tpr))).collect(),
            pr: pr.iter().map(|p| (within(p.recall), within(p.precision))).collect(),
            calibration: calibration
                .iter()
                .map(|b| (within(b.predicted), within(b.observed), b.rows as u64))
                .collect(),
            lift: lift.collect(),
            hits,
            misses,
        })
    }

    fn matrix(&self) -> Confusion {
        let mut named: Vec<usize> = self.by_frequency().into_iter().take(LABELS).collect();
        named.sort_unstable();
        let others = self.classes.len() - named.len();
        let side = named.len() + usize::from(others > 0);
        let mut place = vec![side.saturating_sub(1); self.classes.len()];
        named.iter().enumerate().for_each(|(i, class)| place[*class] = i);
        let mut cells = vec![0; side * side];
        for i in 0..self.rows() {
            cells[place[self.y[i] as usize] * side + place[self.decided(i)]] += 1;
        }
        let labels = named.iter().map(|c| self.classes[*c].clone()).collect();
        Confusion { labels, others: others as u64, cells }
    }

    /// None where the errors have no extent that could be drawn.
    fn errors(&self) -> Option<Errors> {
        let mut errors: Vec<f64> = self.y.iter().zip(&self.scores).map(|(y, p)| y - p).collect();
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        let sorted = {
            errors.sort_by(f64::total_cmp);
            errors
        };
        let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
        let (mut low, mut high) = (at(0.005), at(0.995));
        if low == high {
            let half = (low.abs() * 0.5).max(0.5);
            (low, high) = (low - half, high + half);
        }
        let mut bars = vec![0; BARS];
        for e in &sorted {
            bars[(((e - low) / (high - low) * BARS as f64) as usize).min(BARS - 1)] += 1;
        }
        let mut order: Vec<usize> = (0..self.rows()).collect();
        order.sort_by(|a, b| self.scores[*a].total_cmp(&self.scores[*b]));
        let trend = order.chunks(self.rows().div_ceil(15).max(10)).map(|rows| {
            let n = rows.len() as f64;
            let predicted = rows.iter().map(|i| self.scores[*i]).sum::<f64>() / n;
            let error = rows.iter().map(|i| self.y[*i] - self.scores[*i]).sum::<f64>() / n;
            (predicted as f32, error as f32)
        });
        let points = some_rows(self.rows(), SHOWN)
            .into_iter()
            .map(|i| (self.scores[i as usize] as f32, self.y[i as usize] as f32));
        let finite = |p: &(f32, f32)| p.0.is_finite() && p.1.is_finite();
        let found = Errors {
            points: points.filter(finite).collect(),
            trend: trend.filter(finite).collect(),
            low,
            high,
            bars,
            mean,
            middle: (at(0.25), at(0.75)),
        };
        found.valid().then_some(found)
    }
}

/// At most so many of the first `rows` numbers, one of each run of neighbours, by hash.
pub(crate) fn some_rows(rows: usize, most: usize) -> Vec<u32> {
    let run = rows.div_ceil(most.max(1)).max(1);
    let pick = |start: usize| start + hash(Value::Time(start as i64)) as usize % run.min(rows - start);
    (0..rows).step_by(run).map(|start| pick(start) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("class {i}")).collect()
    }

    /// Rows of two classes whose probabilities lie apart, more or less.
    fn two(rows: usize) -> Scored {
        let y: Vec<f64> = (0..rows).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
        let noise = |i: usize| (hash(Value::Time(i as i64)) % 1000) as f64 / 1000.0;
        let p = |i: usize| 0.5 * noise(i) + 0.4 * y[i];
        let scores = (0..rows).flat_map(|i| [1.0 - p(i), p(i)]).collect();
        Scored::new(&labels(2), y, scores, vec![]).unwrap()
    }

    #[test]
    fn curves_are_those_of_the_verbs() {
        let scored = two(5000);
        let found = scored.figures(None).unwrap();
        let curve = &found.curves[0];
        let auc = found.measures.iter().find(|m| m.name == "auc").unwrap();
        assert!((curve.auc - auc.value).abs() < 1e-12);
        let roc = scored.roc(1, POINTS).unwrap();
        assert!(roc.iter().zip(&curve.roc).all(|(a, b)| a.fpr as f32 == b.0 && a.tpr as f32 == b.1));
        assert_eq!(curve.roc.len(), roc.len());
        assert_eq!(curve.hits.iter().sum::<u64>(), 1667);
        assert_eq!(curve.misses.iter().sum::<u64>(), 3333);
        let matrix = found.confusion.unwrap();
        assert_eq!(matrix.cells.iter().sum::<u64>(), 5000);
        assert_eq!((found.rows, found.drawn), (5000, 5000));
        assert_eq!(scored.figures(Some(0)).unwrap().curves[0].label, "class 0");
    }

    #[test]
    fn many_rows_are_drawn_by_some_and_measured_whole() {
        let scored = two(200_000);
        let found = scored.figures(None).unwrap();
        assert_eq!(found.rows, 200_000);
        assert!(found.drawn as usize <= DRAWN && found.drawn as usize > DRAWN / 3);
        // Rows in a pattern of three are drawn as they are, not every fourth one.
        assert!((found.curves[0].share - 1.0 / 3.0).abs() < 0.01, "{}", found.curves[0].share);
        assert_eq!(found.confusion.as_ref().unwrap().cells.iter().sum::<u64>(), 200_000);
        assert!(found.encode().unwrap().len() < 8000);
    }

    #[test]
    fn many_classes_share_a_row_of_the_matrix() {
        let n = 30;
        let y: Vec<f64> = (0..900).map(|i| f64::from(i % n as u32)).collect();
        let scores =
            y.iter().flat_map(|c| (0..n).map(|k| if k == *c as usize { 0.8 } else { 0.2 / 29.0 })).collect();
        let found = Scored::new(&labels(n), y, scores, vec![]).unwrap().figures(None).unwrap();
        let matrix = found.confusion.as_ref().unwrap();
        assert_eq!((matrix.labels.len(), matrix.others, matrix.side()), (LABELS, 10, LABELS + 1));
        assert_eq!(matrix.cells.iter().sum::<u64>(), 900);
        assert_eq!(matrix.cells[matrix.side() * matrix.side() - 1], 300);
        assert_eq!(found.curves.len(), CLASSES);
    }

    #[test]
    fn errors_are_true_values_less_predictions() {
        let y: Vec<f64> = (0..1000).map(f64::from).collect();
        let scores = y.iter().map(|y| y - 2.0).collect();
        let found = Scored::new(&[], y, scores, vec![]).unwrap().figures(None).unwrap();
        let errors = found.errors.clone().unwrap();
        assert_eq!((errors.mean, errors.middle), (2.0, (2.0, 2.0)));
        assert_eq!(errors.bars.iter().sum::<u64>(), 1000);
        assert!(errors.points.len() <= SHOWN && errors.points.iter().all(|(p, y)| y - p == 2.0));
        assert!(errors.trend.iter().all(|t| t.1 == 2.0));
        assert!(found.without_rows().errors.unwrap().points.is_empty());
    }

    #[test]
    fn one_row_one_class_and_infinite_scores_are_no_faults() {
        let one = Scored::new(&labels(2), vec![1.0], vec![0.2, 0.8], vec![]).unwrap().figures(None).unwrap();
        assert!(one.curves.is_empty());
        assert!(one.confusion.is_some());
        let one = Scored::new(&[], vec![1.0], vec![0.5], vec![]).unwrap().figures(None).unwrap();
        assert_eq!(one.errors.unwrap().bars.iter().sum::<u64>(), 1);
        let broken = Scored::new(&[], vec![1.0, 2.0], vec![f64::INFINITY, 1.0], vec![]).unwrap();
        assert_eq!(broken.figures(None), None);
        let huge = Scored::new(&[], vec![1e300, -1e300], vec![0.0, 1.0], vec![]).unwrap();
        assert!(huge.figures(None).unwrap().errors.unwrap().points.is_empty());
    }

    #[test]
    fn stored_figures_come_back_and_damaged_ones_do_not() {
        let found = two(500).figures(None).unwrap();
        let bytes = found.encode().unwrap();
        assert_eq!(Figures::decode(&bytes).unwrap(), found);
        assert!(Figures::decode(&bytes[1..]).is_err());
        let mut wrong = found.clone();
        wrong.curves[0].roc[3].0 = f32::NAN;
        assert!(Figures::decode(&wrong.encode().unwrap()).is_err());
        let mut wrong = found.clone();
        wrong.curves[0].hits.clear();
        assert!(Figures::decode(&wrong.encode().unwrap()).is_err());
        let mut wrong = found;
        wrong.confusion.as_mut().unwrap().others = 1;
        assert!(Figures::decode(&wrong.encode().unwrap()).is_err());
    }
}
