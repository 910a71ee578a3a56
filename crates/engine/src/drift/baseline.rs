//! What a version remembers of the rows that it was trained on: the distribution of every feature, of the target and
//! of the model's predictions, each small enough to store beside the artifact.

use super::Distribution;
use super::categories::Categories;
use super::compare::{Choices, Finding, Side, compare, dataset};
use super::method::Shape;
use super::numbers::{Numbers, Stream};
use super::read::{self, Sampled};
use crate::decision::Decision;
use crate::error::{Error, Kind, Result};
use crate::fold::ColumnType;
use crate::frame::{Column, Data, Dictionary, Frame, Selection, Value};
use crate::learner::Cx;
use crate::prepare::extent::Extent;
use crate::schema::Task;
use crate::scorer::Scorer;
use crate::survey::Survey;
use crate::{labels, target, wire};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The part of a column in a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It is learnt from.
    Feature,
    /// It is to be predicted.
    Target,
    /// What the model predicts: a number, or the class decided for.
    Prediction,
    /// The probability of the second of two classes, or of the likeliest of more.
    Probability,
}

impl Role {
    /// Every role with its name in SQL.
    pub const ALL: [(&'static str, Role); 4] = [
        ("feature", Role::Feature),
        ("target", Role::Target),
        ("prediction", Role::Prediction),
        ("probability", Role::Probability),
    ];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        Role::ALL.iter().find(|r| r.1 == self).map_or("", |r| r.0)
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.iter().find(|r| r.0 == name).map(|r| r.1)
    }
}

/// A column of numbers, summed up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The population's standard deviation.
    pub std: f64,
    /// The smallest value.
    pub min: f64,
    /// The median, of one of the values.
    pub median: f64,
    /// The largest value.
    pub max: f64,
}

/// What is remembered of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnBaseline {
    /// The column; for what the model gives, the name of its role.
    pub name: String,
    /// Its part.
    pub role: Role,
    /// Its values.
    pub distribution: Distribution,
}

impl ColumnBaseline {
    /// The numbers summed up; none for other columns and without a value.
    pub fn summary(&self) -> Option<Summary> {
        let n = super::compare::numbers(&self.distribution).filter(|n| n.rows > 0)?;
        Some(Summary { mean: n.mean, std: n.deviation(), min: n.min, median: n.quantile(0.5), max: n.max })
    }

    /// The distribution as bytes, to store.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn encode(&self) -> Result<Vec<u8>> {
        wire::encode(&self.distribution)
    }

    /// A stored distribution.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that are not one.
    pub fn decode(name: &str, role: &str, bytes: &[u8]) -> Result<ColumnBaseline> {
        let named = |e: Error| Error::new(e.kind, format!("the baseline of column \"{name}\": {e}"));
        let role =
            Role::parse(role).ok_or_else(|| named(Error::corrupt(format!("its role is \"{role}\""))))?;
        let distribution: Distribution = wire::decode(bytes).map_err(named)?;
        distribution.validate().map_err(named)?;
        Ok(ColumnBaseline { name: name.into(), role, distribution })
    }
}

/// What a version remembers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Baseline {
    /// The features in their order, then the target, then what the model gives.
    pub columns: Vec<ColumnBaseline>,
}

/// What a model gave for some rows: columns named by their roles.
#[derive(Debug, Clone, Default)]
pub struct Predictions(Vec<(Role, Column)>);

impl Predictions {
    /// Of a model's scores, a value or a probability a class a row, with what decides by them. An embedding gives nothing.
    pub fn of(task: Task, classes: &[String], scores: &[f64], decision: &Decision) -> Predictions {
        let column = |role: Role, data| (role, Column { name: role.name().into(), data, missing: vec![] });
        let texts = |names: &mut dyn Iterator<Item = String>| {
            let mut found = Dictionary::default();
            for name in names {
                let code = found.intern(&name);
                found.codes.push(code);
            }
            Data::Text(found)
        };
        Predictions(match task {
            Task::Embedding => vec![],
            Task::Classification if classes.len() > 1 => {
                let rows = || scores.chunks_exact(classes.len());
                let name = |p: &[f64]| classes.get(decision.rule.decide(p)).cloned().unwrap_or_default();
                let decided = texts(&mut rows().map(name));
                let sure = |p: &[f64]| match p {
                    [_, second] => *second,
                    all => all.iter().copied().fold(0.0, f64::max),
                };
                vec![
                    column(Role::Prediction, decided),
                    column(Role::Probability, Data::F64(rows().map(sure).collect())),
                ]
            }
            // The set that a row is given, as its target is read.
            Task::Multilabel if !classes.is_empty() => {
                let set = |p: &[f64]| {
                    labels::name(labels::decided(p, decision.least()).map(|label| classes[label].as_str()))
                };
                vec![column(Role::Prediction, texts(&mut scores.chunks_exact(classes.len()).map(set)))]
            }
            Task::Clustering => {
                let (mut found, mut codes) = (Dictionary::default(), HashMap::new());
                for c in scores {
                    let code = *codes.entry(c.to_bits()).or_insert_with(|| found.intern(&c.to_string()));
                    found.codes.push(code);
                }
                vec![column(Role::Prediction, Data::Text(found))]
            }
            _ => vec![column(Role::Prediction, Data::F64(scores.to_vec()))],
        })
    }
}

/// The extents of a frame's columns, each found when somebody first asks: preprocessing, lineage or the baseline.
pub(crate) struct Extents(Vec<OnceLock<Option<Extent>>>);

impl Extents {
    /// Those that a survey knows.
    pub(crate) fn new(frame: &Frame, survey: &Survey) -> Extents {
        match survey.extents(frame) {
            Some(known) => Extents(known.iter().map(|e| OnceLock::from(*e)).collect()),
            None => Extents(frame.columns.iter().map(|_| OnceLock::new()).collect()),
        }
    }

    /// That of a column of numbers, truth values or times.
    pub(crate) fn at(&self, frame: &Frame, column: usize) -> Option<&Extent> {
        self.0[column].get_or_init(|| Extent::of_column(&frame.columns[column])).as_ref()
    }

    /// That of a column of plain numbers.
    pub(crate) fn of_numbers(&self, frame: &Frame, column: usize) -> Option<&Extent> {
        let plain = matches!(
            frame.columns[column].data,
            Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::I64(_) | Data::Away { .. }
        );
        if plain { self.at(frame, column) } else { None }
    }
}

impl Predictions {
    /// What was given, by role.
    pub(super) fn column(&self, role: Role) -> Option<&Column> {
        self.0.iter().find(|p| p.0 == role).map(|p| &p.1)
    }
}

impl Baseline {
    /// Remembers columns of a frame, and predictions. `target` says whether it is to be read as labels.
    ///
    /// # Errors
    /// When the caller asked to stop.
    pub fn record(
        frame: &Frame,
        features: &[usize],
        target: Option<(usize, bool)>,
        predictions: &Predictions,
        cx: &Cx,
    ) -> Result<Baseline> {
        Baseline::by_extents(
            frame,
            features,
            target,
            predictions,
            (&Extents::new(frame, &Survey::default()), &|_| None),
            cx,
        )
    }

    /// As `record`, with what is known of the frame's columns, and the distributions of those that are away.
    pub(crate) fn by_extents<'f>(
        frame: &Frame,
        features: &[usize],
        target: Option<(usize, bool)>,
        predictions: &Predictions,
        (extents, away): (&Extents, &(dyn Fn(usize) -> Option<&'f Distribution> + Sync)),
        cx: &Cx,
    ) -> Result<Baseline> {
        let of = |role, c: usize, shape| (role, &frame.columns[c], Some(c), shape);
        let features = features.iter().map(|c| of(Role::Feature, *c, None));
        let target = target.map(|(c, labels)| of(Role::Target, c, labels.then_some(Shape::Categories)));
        let given = predictions.0.iter().map(|(role, column)| (*role, column, None, None));
        let columns: Vec<_> = features.chain(target).chain(given).collect();
        let mut sampled: Vec<Sampled> = vec![];
        for (_, column, ..) in &columns {
            if !sampled.iter().any(|s| s.rows == column.len()) {
                sampled.push(Sampled::of(column.len()));
            }
        }
        let columns: Vec<Result<ColumnBaseline>> = columns
            .into_par_iter()
            .map(|(role, column, position, shape)| {
                if matches!(column.data, Data::Away { .. }) {
                    let known = position.and_then(away).cloned();
                    let distribution =
                        known.ok_or_else(|| Error::internal("a column is away, and unknown"))?;
                    return Ok(ColumnBaseline { name: column.name.clone(), role, distribution });
                }
                let extent = position.and_then(|c| extents.of_numbers(frame, c));
                let sampled = sampled.iter().find(|s| s.rows == column.len());
                let distribution = read::small_of(column, shape, extent, sampled, cx)?;
                Ok(ColumnBaseline { name: column.name.clone(), role, distribution })
            })
            .collect();
        Ok(Baseline { columns: columns.into_iter().collect::<Result<_>>()? })
    }

    /// What it remembers of the columns that a frame has.
    pub fn within(&self, frame: &Frame) -> Baseline {
        let there = |c: &&ColumnBaseline| frame.columns.iter().any(|column| column.name == c.name);
        Baseline { columns: self.columns.iter().filter(there).cloned().collect() }
    }

    /// The rows that it remembers.
    pub fn rows(&self) -> u64 {
        let features = self.columns.iter().filter(|c| c.role == Role::Feature);
        features.map(|c| c.distribution.all_rows()).max().unwrap_or(0)
    }

    /// The columns that a source must have to be compared: features, but for those left out by `chosen`.
    pub fn features<'a>(&'a self, chosen: Option<&'a [String]>) -> impl Iterator<Item = &'a str> {
        let wanted = move |c: &&ColumnBaseline| chosen.is_none_or(|names| names.contains(&c.name));
        self.columns.iter().filter(|c| c.role == Role::Feature).filter(wanted).map(|c| c.name.as_str())
    }

    /// The target, where one was remembered and not left out by `chosen`.
    pub fn target(&self, chosen: Option<&[String]>) -> Option<&str> {
        let name = self.columns.iter().find(|c| c.role == Role::Target).map(|c| c.name.as_str());
        name.filter(|name| chosen.is_none_or(|names| names.iter().any(|n| n == name)))
    }

    /// Whether something that the model gives is compared.
    pub fn predicts(&self, chosen: Option<&[String]>) -> bool {
        let given = |c: &&ColumnBaseline| matches!(c.role, Role::Prediction | Role::Probability);
        self.columns.iter().filter(given).any(|c| chosen.is_none_or(|names| names.contains(&c.name)))
    }

    /// Compares a frame, and what the model gives for it, with what is remembered: the dataset first, by the share of
    /// drifted features, then each column. Columns that the frame does not have are left out, unless `chosen` names
    /// them.
    ///
    /// # Errors
    /// Columns that are named and not there, or that changed their type; no rows; when the caller asked to stop.
    pub fn compare(
        &self,
        frame: &Frame,
        predictions: &Predictions,
        chosen: Option<&[String]>,
        choices: &Choices,
        share: f64,
        cx: &Cx,
    ) -> Result<Vec<Finding>> {
        let pairs = self.pairs(frame, predictions, chosen)?;
        choices.check(pairs.iter().map(|p| p.0.name.as_str()))?;
        let findings: Vec<Result<Finding>> = pairs
            .par_iter()
            .map(|(own, column)| {
                let current = read::exact(column, own.distribution.shape(), cx)?;
                let reference = Side { distribution: &own.distribution, column: None };
                let current = Side { distribution: &current, column: Some(column) };
                compare(&own.name, Some(own.role), &reference, &current, choices, cx)
            })
            .collect();
        let findings = findings.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(with_dataset(findings, share))
    }

    /// Each column that is remembered, with the one of today: of a frame, or of what the model gives for it.
    pub(super) fn pairs<'a>(
        &'a self,
        frame: &'a Frame,
        predictions: &'a Predictions,
        chosen: Option<&[String]>,
    ) -> Result<Vec<(&'a ColumnBaseline, &'a Column)>> {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more")
                .hint("Run the source by itself to see why it is empty."));
        }
        for name in chosen.into_iter().flatten() {
            if !self.columns.iter().any(|c| c.name == *name) {
                let names = self.columns.iter().map(|c| c.name.as_str());
                return Err(crate::frame::unknown_column(name, names));
            }
        }
        let mut pairs = vec![];
        for own in &self.columns {
            if chosen.is_some_and(|names| !names.contains(&own.name)) {
                continue;
            }
            match own.role {
                Role::Feature => pairs.push((own, &frame.columns[frame.position(&own.name)?])),
                Role::Target => {
                    pairs.extend(frame.columns.iter().find(|c| c.name == own.name).map(|c| (own, c)));
                }
                role => pairs.extend(predictions.column(role).map(|c| (own, c))),
            }
        }
        Ok(pairs)
    }
}

impl Scorer {
    /// What the model gives for the rows of a frame; for a model with groups, of those whose group it knows.
    ///
    /// # Errors
    /// Columns that are missing or of another type; when the caller asked to stop.
    pub fn predictions(&self, frame: &Frame, cx: &Cx) -> Result<Predictions> {
        let card = self.card();
        if card.task == Task::Embedding {
            return Ok(Predictions::default());
        }
        let scores = if card.group_by > 0 {
            self.score_known_groups(frame, &Selection::All(frame.rows).list(), cx)?
        } else {
            self.score_known(frame, cx)?
        };
        Ok(Predictions::of(card.task, &card.classes, &scores, &card.decision))
    }
}

/// Puts the dataset's row before those of its columns: features alone say whether it drifted.
pub(super) fn with_dataset(findings: Vec<Finding>, share: f64) -> Vec<Finding> {
    let features: Vec<Finding> = findings.iter().filter(|f| f.role == Some(Role::Feature)).cloned().collect();
    let mut all = vec![];
    if !features.is_empty() {
        all.push(dataset(&features, share));
    }
    all.extend(findings);
    all
}

/// A baseline in the making, from rows that are seen one at a time; those of shards merge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Seen {
    Numbers(Stream),
    Categories(Categories),
    Opaque { rows: u64, missing: u64 },
}

impl Seen {
    /// Nothing yet, of a column of that type.
    pub(crate) fn new(kind: ColumnType) -> Seen {
        match kind {
            ColumnType::Float | ColumnType::Time | ColumnType::Vector => Seen::Numbers(Stream::new(false)),
            ColumnType::Integer => Seen::Numbers(Stream::new(true)),
            ColumnType::Bool | ColumnType::Text => Seen::Categories(Categories::default()),
            ColumnType::Bytes => Seen::Opaque { rows: 0, missing: 0 },
        }
    }

    /// Adds a value.
    pub(crate) fn push(&mut self, value: Value) {
        match (self, value) {
            (Seen::Numbers(s), Value::Number(x)) => s.push(x),
            (Seen::Numbers(s), Value::Time(i64::MAX)) => s.push(f64::INFINITY),
            (Seen::Numbers(s), Value::Time(micros)) => s.push(micros as f64 / 1e6),
            (Seen::Numbers(s), Value::Vector(v)) => {
                s.push(v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt());
            }
            (Seen::Numbers(s), _) => s.push(f64::NAN),
            (Seen::Categories(c), Value::Text(t)) => c.add(Some(t), 1),
            (Seen::Categories(c), Value::Bool(b)) => c.add(Some(if b { "true" } else { "false" }), 1),
            (Seen::Categories(c), _) => c.add(None, 1),
            (Seen::Opaque { missing, .. }, Value::Missing) => *missing += 1,
            (Seen::Opaque { rows, .. }, _) => *rows += 1,
        }
    }

    /// Adds the rows of another shard.
    pub(crate) fn merge(&mut self, other: Seen) -> Result<()> {
        match (self, other) {
            (Seen::Numbers(a), Seen::Numbers(b)) => a.merge(b),
            (Seen::Categories(a), Seen::Categories(b)) => a.merge(b),
            (Seen::Opaque { rows, missing }, Seen::Opaque { rows: more, missing: none }) => {
                (*rows, *missing) = (*rows + more, *missing + none);
            }
            _ => return Err(Error::corrupt("the baselines of different columns cannot be merged")),
        }
        Ok(())
    }

    /// What is remembered of it; numbers become labels where they are those of a classification.
    pub(crate) fn finish(self, labels: bool) -> Distribution {
        match self {
            Seen::Numbers(s) => {
                let numbers = s.finish();
                if labels && numbers.exact() { as_labels(&numbers) } else { Distribution::Numbers(numbers) }
            }
            Seen::Categories(mut c) => {
                c.compress();
                Distribution::Categories(c)
            }
            Seen::Opaque { rows, missing } => Distribution::Opaque { rows, missing },
        }
    }
}

/// Numbers as the labels that they are printed as.
pub(super) fn as_labels(numbers: &Numbers) -> Distribution {
    let mut found = Categories { missing: numbers.missing + numbers.infinite, ..Categories::default() };
    for (value, rows) in numbers.values.iter().zip(&numbers.counts) {
        found.add(target::text(Value::Number(*value)).as_deref(), *rows);
    }
    Distribution::Categories(found)
}
