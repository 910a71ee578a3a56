//! A model measured on rows whose answers are known: metrics with their confidence intervals, by slice, curves,
//! fairness between groups, and two versions side by side. Called by the verbs of evaluation; training measures with
//! [`crate::metrics`], and keeps the [`figures`] of the rows that it did not learn from.

pub mod curves;
mod fairness;
pub mod figures;
mod intervals;
mod labels;
pub mod shadow;

pub use fairness::Fairness;

use crate::decision::Decision;
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Data, Frame, Selection};
use crate::labels::LabelSets;
use crate::learner::Cx;
use crate::prepare::Roles;
use crate::roles;
use crate::schema::Task;
use crate::scorer::Scorer;
use crate::target;
use std::collections::BTreeMap;
use std::sync::Arc;

/// More slices or groups than this are a mistake, such as an identifier.
const MAX_SLICES: usize = 200;

/// The columns of an evaluation beside the features.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns<'a> {
    /// True answers; by default the column that the model was trained on.
    pub target: Option<&'a str>,
    /// Row weights.
    pub weight: Option<&'a str>,
}

/// A model's answers to rows whose truth is known; a value a row in each list, or none.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The model's task.
    pub task: Task,
    /// Its classes; empty for a regression.
    pub classes: Vec<String>,
    /// True values or class numbers, or the numbers of sets of labels.
    pub y: Vec<f64>,
    sets: Option<Arc<LabelSets>>,
    /// Predictions, or calibrated probabilities of all classes row by row.
    pub scores: Vec<f64>,
    /// Weights; empty where all weigh 1.
    pub weight: Vec<f64>,
    group: Vec<u64>,
    decision: Decision,
}

/// One metric of some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// The slice, where there are slices; its value is none where the column is missing.
    pub slice: Option<String>,
    /// Rows that were measured.
    pub rows: usize,
    /// The metric's name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its confidence interval, where there is one.
    pub interval: Option<(f64, f64)>,
}

impl Scorer {
    /// Scores all rows of a frame that has true answers.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a model without a target; `Kind::Data` for no rows; columns that are missing or of
    /// another type; labels that the model does not know.
    pub fn scored(&self, frame: &Frame, columns: Columns, cx: &Cx) -> Result<Scored> {
        let card = self.card();
        if !card.task.supervised() {
            let message =
                format!("the model does {}, which has no true answers to compare with", card.task.name());
            return Err(Error::new(Kind::Unsupported, message));
        }
        if card.group_by > 0 {
            return Err(Error::new(
                Kind::Unsupported,
                "models by group are measured as a whole, by damson.evaluate",
            ));
        }
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
        }
        let Some(name) = columns.target.or(card.target.as_deref()) else {
            return Err(Error::internal("the model does not know its target"));
        };
        let target::Truth { y, sets } =
            target::apply(&frame.columns[frame.position(name)?], card.task, &card.classes)?;
        let weight = match columns.weight {
            Some(name) => roles::read(&frame.columns[frame.position(name)?], roles::weight)?,
            None => vec![],
        };
        let group = match &card.group {
            Some(name) => roles::read(&frame.columns[frame.position(name)?], roles::group)?,
            None => vec![],
        };
        let scores = self.score_known(frame, cx)?;
        let decision = card.decision.clone();
        Ok(Scored {
            task: card.task,
            classes: card.classes.clone(),
            y,
            sets,
            scores,
            weight,
            group,
            decision,
        })
    }

    /// The class that is set against the rest: the one named, or the second of two.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a model that is no classification; `Kind::Parameter` for a class that it does not
    /// have, and where one of several must be named.
    pub fn positive(&self, name: Option<&str>) -> Result<usize> {
        self.check_classes()?;
        self.class(name)?.ok_or_else(|| Error::internal("a classification has no classes"))
    }

    /// As [`Scorer::positive`], for a model of labels too: then it is the number of the label, which is named where there are
    /// several.
    ///
    /// # Errors
    /// As [`Scorer::positive`].
    pub fn against_rest(&self, name: Option<&str>) -> Result<usize> {
        let card = self.card();
        if card.task != Task::Multilabel {
            return self.positive(name);
        }
        if name.is_none() && card.classes.len() > 1 {
            let labels: Vec<String> = card.classes.iter().take(40).map(|c| format!("'{c}'")).collect();
            let message = format!("the model has {} labels, and none is named", card.classes.len());
            return Err(Error::new(Kind::Parameter, message)
                .hint(format!("Name one with class => '...'. It has: {}.", labels.join(", "))));
        }
        Ok(name.map_or(Ok(Some(0)), |name| self.class(Some(name)))?.unwrap_or(0))
    }

    /// Scores all rows of a frame to set a class against the rest; its number in the answers. Of a model of labels these
    /// are two classes, without the label and with it.
    ///
    /// # Errors
    /// As [`Scorer::scored`] and [`Scorer::against_rest`].
    pub fn scored_against_rest(
        &self,
        frame: &Frame,
        columns: Columns,
        class: Option<&str>,
        cx: &Cx,
    ) -> Result<(Scored, usize)> {
        let class = self.against_rest(class)?;
        let scored = self.scored(frame, columns, cx)?;
        Ok(if scored.task == Task::Multilabel { (scored.of_label(class), 1) } else { (scored, class) })
    }

    /// Refuses a model that is no classification.
    ///
    /// # Errors
    /// `Kind::Unsupported`.
    pub fn check_classes(&self) -> Result<()> {
        if self.card().task == Task::Classification {
            return Ok(());
        }
        let message = format!("this needs a classification, but the model does {}", self.card().task.name());
        Err(Error::new(Kind::Unsupported, message)
            .hint("SELECT * FROM damson.evaluate(model, source) measures every model."))
    }

    /// Measures the model on a frame: all its rows, or those of each value of the column `slice_by`. Intervals are of
    /// `confidence`, between 0 and 1.
    ///
    /// # Errors
    /// As [`Scorer::scored`]; `Kind::Parameter` for an impossible confidence; `Kind::Data` for too many slices.
    pub fn evaluate(
        &self,
        frame: &Frame,
        columns: Columns,
        slice_by: Option<&str>,
        confidence: f64,
        cx: &Cx,
    ) -> Result<Vec<Measurement>> {
        if !(confidence > 0.0 && confidence < 1.0) {
            let message =
                format!("confidence is {confidence}, expected a share between 0 and 1, both excluded");
            return Err(Error::new(Kind::Parameter, message));
        }
        if !self.card().task.supervised() || self.card().group_by > 0 {
            if slice_by.is_some() || columns.weight.is_some() {
                let message =
                    format!("{} is measured as a whole, without slices and weights", self.card().task.name());
                return Err(Error::new(Kind::Unsupported, message));
            }
            let found = self.evaluate_whole(frame, columns.target, cx)?;
            let one =
                |(name, value)| Measurement { slice: None, rows: frame.rows, name, value, interval: None };
            return Ok(found.into_iter().map(one).collect());
        }
        let scored = self.scored(frame, columns, cx)?;
        let Some(name) = slice_by else { return Ok(scored.measure(None, confidence)) };
        let mut found = vec![];
        for (slice, rows) in slices(&frame.columns[frame.position(name)?])? {
            cx.check()?;
            found.extend(scored.some(&rows).measure(slice, confidence));
        }
        Ok(found)
    }
}

/// The values of a column as text, to find its rows again.
///
/// # Errors
/// `Kind::UnknownColumn`; `Kind::Type` for a column that is no text, boolean or number.
pub fn keys(frame: &Frame, name: &str) -> Result<Vec<Option<String>>> {
    let column = &frame.columns[frame.position(name)?];
    (0..column.len()).map(|i| label(column, i)).collect()
}

/// A value to tell rows apart by; none where it is missing.
fn label(column: &Column, i: usize) -> Result<Option<String>> {
    if matches!(
        column.data,
        Data::Time(_) | Data::Labels(_) | Data::Vector { .. } | Data::Bytes { .. } | Data::Images(_)
    ) {
        let message =
            format!("column \"{}\" is no text, boolean or number to tell rows apart by", column.name);
        return Err(Error::new(Kind::Type, message).hint("Cast it to text in the source."));
    }
    Ok(target::text(column.value(i)))
}

/// The rows of each value of a column, missing ones last.
fn slices(column: &Column) -> Result<Vec<(Option<String>, Vec<u32>)>> {
    let mut of: BTreeMap<(bool, String), Vec<u32>> = BTreeMap::new();
    for i in 0..column.len() {
        let label = label(column, i)?;
        let label = (label.is_none(), label.unwrap_or_default());
        of.entry(label).or_default().push(i as u32);
        if of.len() > MAX_SLICES {
            let message =
                format!("column \"{}\" has more than {MAX_SLICES} values to group rows by", column.name);
            return Err(Error::new(Kind::Data, message)
                .hint("Group them in the source, such as width_bucket(age, 0, 100, 10) AS ages."));
        }
    }
    Ok(of.into_iter().map(|((missing, label), rows)| ((!missing).then_some(label), rows)).collect())
}

impl Scored {
    /// Scores of rows with their truth, decided for the likeliest class; `classes` is empty for a regression.
    ///
    /// # Errors
    /// `Kind::Data` for lengths that do not agree.
    pub fn new(classes: &[String], y: Vec<f64>, scores: Vec<f64>, weight: Vec<f64>) -> Result<Scored> {
        let task = if classes.is_empty() { Task::Regression } else { Task::Classification };
        let known = |c: &f64| classes.is_empty() || (*c >= 0.0 && *c < classes.len() as f64);
        let fits = y.len().checked_mul(classes.len().max(1)) == Some(scores.len());
        if !fits || !(weight.is_empty() || weight.len() == y.len()) || !y.iter().all(known) {
            return Err(Error::new(Kind::Data, "targets, scores and weights do not fit each other"));
        }
        let decision = Decision::default();
        Ok(Scored { task, classes: classes.to_vec(), y, sets: None, scores, weight, group: vec![], decision })
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.y.len()
    }

    /// The weight of row `i`.
    pub fn weight(&self, i: usize) -> f64 {
        self.weight.get(i).copied().unwrap_or(1.0)
    }

    /// The probabilities of row `i`, or its prediction.
    pub fn row(&self, i: usize) -> &[f64] {
        let k = self.classes.len().max(1);
        &self.scores[i * k..(i + 1) * k]
    }

    /// The class that row `i` is decided to be of.
    pub fn decided(&self, i: usize) -> usize {
        self.decision.rule.decide(self.row(i))
    }

    fn some(&self, rows: &[u32]) -> Scored {
        let these = Selection::Rows(rows);
        Scored {
            task: self.task,
            classes: self.classes.clone(),
            y: these.pick(&self.y),
            sets: self.sets.clone(),
            scores: rows.iter().flat_map(|i| self.row(*i as usize)).copied().collect(),
            weight: these.pick(&self.weight),
            group: these.pick(&self.group),
            decision: self.decision.clone(),
        }
    }

    fn metrics(&self) -> Vec<(String, f64)> {
        let sets = self.sets.as_deref();
        let roles = Roles { y: &self.y, sets, weight: &self.weight, offset: &[], group: &self.group };
        let mut found = self.decision.measure(self.task, self.classes.len(), &self.scores, roles);
        if self.task == Task::Classification && !found.is_empty() {
            found.push(("calibration_error".into(), curves::calibration_error(self)));
        }
        found
    }

    /// All metrics with their intervals, of a confidence between 0 and 1.
    pub fn measure(&self, slice: Option<String>, confidence: f64) -> Vec<Measurement> {
        self.intervals(self.metrics(), slice, confidence)
    }

    /// Metrics with their intervals.
    fn intervals(
        &self,
        metrics: Vec<(String, f64)>,
        slice: Option<String>,
        confidence: f64,
    ) -> Vec<Measurement> {
        let intervals = intervals::Intervals::new(self, confidence);
        let one = |(name, value): (String, f64)| {
            let interval = intervals.of(&name, value);
            Measurement { slice: slice.clone(), rows: self.rows(), name, value, interval }
        };
        metrics.into_iter().map(one).collect()
    }

    fn covers(&self, i: usize) -> bool {
        self.decision.covers(self.task, self.classes.len(), &self.scores, &self.y, i)
    }
}
