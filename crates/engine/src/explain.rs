//! Why a model says what it says: each input's part in one score, how much each input matters, how a score moves
//! with one input. Callers: the scoring function `explain`, and the verbs `importance` and `partial_dependence`.
//!
//! Everything is by input column as the user knows it: what a column's features add (one for each category, say) is
//! summed.

use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Frame, Value};
use crate::learner::Cx;
use crate::metrics;
use crate::prepare::options::civil;
use crate::prepare::{FrameRows, Roles};
use crate::schema::{Chunk, Task};
use crate::scorer::{Row, Scorer, measure, score_all};
use crate::split::{first_shuffled, shuffled};
use crate::target;
use std::collections::BTreeMap;

/// One row's raw score, split into parts that sum to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The class that the score speaks for, by number: the second of two, the likeliest of many; none where one score
    /// orders several classes.
    pub class: Option<usize>,
    /// The mean score of the training rows; of a linear model the score of their mean, of naive Bayes that of the
    /// classes' priors.
    pub base: f64,
    /// The raw score: on the scale of the linear predictor or of the trees' sum (log odds for classes).
    pub score: f64,
    /// What each input added, in the order of the card's inputs.
    pub contributions: Vec<f64>,
}

/// Which rows of a frame are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Draw {
    /// At most so many.
    pub most: usize,
    /// The seed that they are drawn by, and shuffled.
    pub seed: u64,
}

/// How an input's importance was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Importance {
    /// What splits on it gained; for linear models the effect of one standard deviation. Sums to 1.
    Gain,
    /// How many splits ask about it.
    Split,
}

/// An input and how much it matters.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// The input.
    pub name: String,
    /// Its importance.
    pub importance: f64,
    /// The standard deviation over repeats, where there are repeats.
    pub deviation: Option<f64>,
}

/// The mean score of the rows when an input has one value.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The value, as text.
    pub value: String,
    /// The value as a number, where it is one.
    pub number: Option<f64>,
    /// The mean prediction, or the mean probability of the class.
    pub average: f64,
}

impl Scorer {
    /// Splits a row's raw score by input; every input of the row must be set, as for `score`.
    ///
    /// # Errors
    /// `Kind::Unsupported` for algorithms without an exact answer.
    pub fn explain(&self, row: &mut Row) -> Result<Explanation> {
        let decided = self.decide(self.score(row)?);
        let mut parts = vec![];
        let chunk = Chunk { rows: 1, x: &row.x, images: &row.image, group: &row.group, ..Chunk::default() };
        if !self.model.explain(&chunk, &mut parts)? {
            let message = format!("algorithm \"{}\" has no exact explanations", self.card.algorithm);
            let error = Error::new(Kind::Unsupported, message).hint(
                "damson.importance with method => 'permutation' works for every algorithm with a target.",
            );
            return Err(match self.groups() {
                Some(_) => error.detail("Nor has the model of a group that did not see all classes."),
                None => error,
            });
        }
        let width = self.schema.width() + 1;
        let scores = parts.len() / width;
        let (class, at) = match (self.card.task, scores) {
            (Task::Classification, 1) if self.card.classes.len() > 2 => (None, 0),
            (Task::Classification, 1) => (Some(1), 0),
            (Task::Classification, _) => (Some(decided), decided),
            _ => (None, 0),
        };
        let Some((base, features)) = parts.get(at * width..(at + 1) * width).and_then(<[f64]>::split_last)
        else {
            return Err(Error::internal("an explanation has not one part a feature"));
        };
        let score = base + features.iter().sum::<f64>();
        Ok(Explanation { class, base: *base, score, contributions: self.prepared.by_input(features) })
    }

    /// The number of a class whose probability is asked for: the one named, or the second of two; none for models
    /// without classes.
    ///
    /// # Errors
    /// `Kind::Parameter` for a class that the model does not have, and where one of several must be named.
    pub fn class(&self, name: Option<&str>) -> Result<Option<usize>> {
        let classes = &self.card.classes;
        let shown = || classes.iter().take(40).map(|c| format!("'{c}'")).collect::<Vec<_>>().join(", ");
        match (name, classes.len()) {
            (None, 0) => Ok(None),
            (None, 2) => Ok(Some(1)),
            (None, n) => {
                Err(Error::new(Kind::Parameter, format!("the model has {n} classes, and none is named"))
                    .hint(format!("Name one with class => '...'. It has: {}.", shown())))
            }
            (Some(name), 0) => {
                Err(Error::new(Kind::Parameter, format!("the model has no classes, found class \"{name}\"")))
            }
            (Some(name), _) => match classes.iter().position(|c| c == name) {
                Some(number) => Ok(Some(number)),
                None => Err(Error::new(Kind::Parameter, format!("the model has no class \"{name}\""))
                    .hint(format!("It has: {}.", shown()))),
            },
        }
    }

    /// How much each input matters to the model itself, the most important first; inputs that tie keep their order.
    ///
    /// # Errors
    /// `Kind::Unsupported` where the algorithm has no answer of that kind.
    pub fn importance(&self, kind: Importance) -> Result<Vec<Ranked>> {
        let (features, name) = match kind {
            Importance::Gain => (self.model.importance(&self.schema), "gain"),
            Importance::Split => (self.model.splits(&self.schema), "split"),
        };
        if features.len() != self.schema.width() {
            let message = format!("algorithm \"{}\" has no importance by {name}", self.card.algorithm);
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Use method => 'permutation' with a source to measure on."));
        }
        let mut found = self.prepared.by_input(&features);
        let total: f64 = found.iter().sum();
        if kind == Importance::Gain && total > 0.0 {
            found.iter_mut().for_each(|v| *v /= total);
        }
        let named = self.card.features().iter().zip(found);
        Ok(ranked(
            named.map(|(i, v)| Ranked { name: i.name.clone(), importance: v, deviation: None }).collect(),
        ))
    }

    /// How much worse the task's headline metric becomes when an input's values are shuffled: the mean over
    /// `repeats` (Breiman 2001, Fisher et al. 2019; scikit-learn's `permutation_importance`).
    ///
    /// # Errors
    /// Those of evaluation; a metric that is undefined for the rows.
    pub fn permutation_importance(
        &self,
        frame: &Frame,
        target: Option<&str>,
        repeats: usize,
        draw: Draw,
        cx: &Cx,
    ) -> Result<Vec<Ranked>> {
        let mut rows = draw.rows(frame)?;
        let routes = self.answered(frame, &mut rows)?;
        let known = Roles { group: &routes, ..Roles::default() };
        let Some(name) = target.or(self.card.target.as_deref()).filter(|_| self.card.task.supervised())
        else {
            return Err(Error::new(
                Kind::Unsupported,
                "a model without a target has no permutation importance",
            ));
        };
        let target::Truth { y, sets } =
            target::apply(&frame.columns[frame.position(name)?], self.card.task, &self.card.classes)?;
        let y: Vec<f64> = rows.iter().map(|r| y[*r as usize]).collect();
        let classes = self.card.classes.len();
        let headline = metrics::headline(self.card.task, classes);
        let quality = |source: &FrameRows| -> Result<f64> {
            let scores = score_all(self.model.as_ref(), &self.schema, source, cx)?;
            let roles = Roles { y: &y, sets: sets.as_deref(), ..Roles::default() };
            let found = measure(self.card.task, classes, &scores, roles);
            let value = found.into_iter().find(|(n, _)| n == headline.name).map(|(_, v)| v);
            value.ok_or_else(|| {
                let message = format!("{} is undefined for these {} rows", headline.name, rows.len());
                Error::new(Kind::Data, message).hint("Measure on rows of two or more classes.")
            })
        };
        let mut source = FrameRows::bind(frame, &self.prepared, &rows, known, None)?;
        let whole = quality(&source)?;
        let mut found = vec![];
        let inputs = self.card.features();
        for (input, column) in inputs.iter().enumerate() {
            let mut losses = vec![];
            for repeat in 0..repeats {
                cx.check()?;
                let done = input * repeats + repeat;
                cx.observer.progress(done, inputs.len() * repeats, "shuffle");
                source.replace(input, shuffled(rows.iter().copied(), draw.seed.wrapping_add(done as u64)));
                let loss = whole - quality(&source)?;
                losses.push(if headline.larger_is_better { loss } else { -loss });
            }
            source.restore();
            let mean = losses.iter().sum::<f64>() / repeats as f64;
            let variance = losses.iter().map(|l| (l - mean) * (l - mean)).sum::<f64>() / repeats as f64;
            found.push(Ranked {
                name: column.name.clone(),
                importance: mean,
                deviation: Some(variance.sqrt()),
            });
        }
        Ok(ranked(found))
    }

    /// The mean score of the rows when input `name` has each of up to `points` values that occur: all where there
    /// are few, the most frequent texts, else quantiles between the 5th and the 95th percentile (Friedman 2001). `class` is
    /// the class whose probability is averaged.
    ///
    /// # Errors
    /// An input or class that the model does not have, a column without values.
    pub fn partial_dependence(
        &self,
        frame: &Frame,
        name: &str,
        class: Option<usize>,
        points: usize,
        draw: Draw,
        cx: &Cx,
    ) -> Result<Vec<Point>> {
        let inputs = self.card.features();
        let Some(input) = inputs.iter().position(|i| i.name == name) else {
            let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).take(40).collect();
            return Err(Error::new(Kind::UnknownColumn, format!("the model does not read \"{name}\""))
                .hint(format!("It reads: {}.", names.join(", "))));
        };
        let mut rows = draw.rows(frame)?;
        let routes = self.answered(frame, &mut rows)?;
        let known = Roles { group: &routes, ..Roles::default() };
        let column = &frame.columns[frame.position(name)?];
        let mut source = FrameRows::bind(frame, &self.prepared, &rows, known, None)?;
        let mut found = vec![];
        let grid = grid(column, &rows, points)?;
        for (done, row) in grid.iter().enumerate() {
            cx.check()?;
            cx.observer.progress(done, grid.len(), "value");
            source.replace(input, vec![*row; rows.len()]);
            let scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
            let outputs = self.model.outputs();
            let at = class.unwrap_or(0);
            let sum: f64 = scores.chunks_exact(outputs).map(|s| s[at]).sum();
            let value = column.value(*row as usize);
            let number = match value {
                Value::Number(x) => Some(x),
                _ => None,
            };
            found.push(Point { value: shown(value), number, average: sum / rows.len() as f64 });
        }
        Ok(found)
    }
}

fn ranked(mut found: Vec<Ranked>) -> Vec<Ranked> {
    found.sort_by(|a, b| b.importance.total_cmp(&a.importance));
    found
}

impl Draw {
    /// The rows, in order.
    fn rows(self, frame: &Frame) -> Result<Vec<u32>> {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
        }
        if frame.rows <= self.most {
            return Ok((0..frame.rows as u32).collect());
        }
        let mut rows = first_shuffled(0..frame.rows as u32, self.seed, self.most);
        rows.sort_unstable();
        Ok(rows)
    }
}

/// Rows that have the values to look at, in the order of the values.
fn grid(column: &Column, rows: &[u32], points: usize) -> Result<Vec<u32>> {
    let name = &column.name;
    let none = || Error::new(Kind::Data, format!("column \"{name}\" has only missing values"));
    let mut texts: BTreeMap<String, (usize, u32)> = BTreeMap::new();
    let mut numbers: Vec<(f64, u32)> = vec![];
    for row in rows {
        match column.value(*row as usize) {
            Value::Missing => {}
            Value::Number(x) => numbers.push((x, *row)),
            Value::Time(t) => numbers.push((t as f64, *row)),
            value @ (Value::Text(_) | Value::Bool(_)) => {
                texts.entry(shown(value)).or_insert((0, *row)).0 += 1
            }
            Value::Vector(_) | Value::Bytes(_) | Value::Picture(_) => {
                return Err(Error::new(Kind::Type, format!("column \"{name}\" is no single value")));
            }
        }
    }
    if !texts.is_empty() {
        let mut common: Vec<(String, (usize, u32))> = texts.into_iter().collect();
        common.sort_by(|a, b| b.1.0.cmp(&a.1.0).then(a.0.cmp(&b.0)));
        common.truncate(points);
        common.sort();
        return Ok(common.into_iter().map(|c| c.1.1).collect());
    }
    numbers.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let all = numbers.clone();
    numbers.dedup_by(|a, b| a.0 == b.0);
    if numbers.is_empty() {
        return Err(none());
    }
    if numbers.len() <= points {
        return Ok(numbers.into_iter().map(|n| n.1).collect());
    }
    let last = (all.len() - 1) as f64;
    let at = |i: usize| (last * (0.05 + 0.9 * i as f64 / (points - 1).max(1) as f64)).round() as usize;
    let mut chosen: Vec<(f64, u32)> = (0..points).map(|i| all[at(i)]).collect();
    chosen.dedup_by(|a, b| a.0 == b.0);
    Ok(chosen.into_iter().map(|c| c.1).collect())
}

fn shown(value: Value) -> String {
    match value {
        Value::Number(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(t) => t.to_string(),
        Value::Time(t) => timestamp(t),
        _ => String::new(),
    }
}

/// Microseconds since 2000-01-01 as a date, with the time of day where it is not midnight.
pub fn timestamp(t: i64) -> String {
    const DAY: i64 = 86_400_000_000;
    let (days, seconds) = (t.div_euclid(DAY), t.rem_euclid(DAY) / 1_000_000);
    let (year, month, of_month) = civil(days);
    let date = format!("{year:04}-{month:02}-{of_month:02}");
    if seconds == 0 {
        return date;
    }
    format!("{date} {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_dates() {
        let day = 86_400_000_000;
        assert_eq!(timestamp(0), "2000-01-01");
        assert_eq!(timestamp(59 * day + 3_661_000_000), "2000-02-29 01:01:01");
        assert_eq!(timestamp(-day), "1999-12-31");
        assert_eq!(timestamp(9821 * day), "2026-11-21");
    }
}
