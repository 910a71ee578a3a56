//! What a training by groups leaves: a model a group, found by the group's key.

use super::{MAX_COLUMNS, MAX_GROUPS, UnknownGroup, key};
use crate::artifact::Card;
use crate::error::{Error, Kind, Result};
use crate::frame::{Frame, Value};
use crate::learner::{Algorithm, Coefficient, Model};
use crate::prepare::{InputColumn, Prepared};
use crate::schema::{Chunk, Schema, Unit};
use crate::wire;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// The route of a row that no model answers.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// A group of a model, as `damson.groups` shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The group's value: see [`key`].
    pub key: Vec<u8>,
    /// Rows that it was trained on; of a group that was left out, all its rows.
    pub train_rows: u64,
    /// Rows of it that were held out.
    pub test_rows: u64,
    /// The model's main metric in this group, where it is defined.
    pub value: Option<f64>,
    /// Why the group has no model; empty where it has one.
    pub left_out: String,
}

/// A group's own model, in bytes.
#[derive(Serialize, Deserialize)]
pub(crate) struct Stored {
    /// The model's class of each of the group's own, ascending; empty where the group has them all.
    pub classes: Vec<u32>,
    /// The algorithm's payload.
    #[serde(with = "bytes")]
    pub payload: Vec<u8>,
}

/// The payload of a grouped model. There is a `Stored` for each entry that was not left out, in their order.
#[derive(Serialize, Deserialize)]
pub(crate) struct Payload {
    /// The metric of `Entry::value`; empty where there is none.
    pub metric: String,
    /// By ascending key.
    pub entries: Vec<Entry>,
    /// The models.
    pub models: Vec<Stored>,
    /// The model of all rows, and how many these were, where the policy asks for it.
    pub global: Option<(u64, Stored)>,
}

/// Byte strings as such, not number by number.
mod bytes {
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = Vec<u8>;

        fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
            f.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
            Ok(bytes.to_vec())
        }

        fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
            Ok(bytes)
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        deserializer.deserialize_byte_buf(Bytes)
    }
}

/// Finds the model of a row's group.
pub struct Router {
    columns: Vec<InputColumn>,
    routes: HashMap<Box<[u8]>, u32>,
    entries: Vec<Entry>,
    metric: String,
    unknown: UnknownGroup,
    /// The number of the model of all rows: one more than the last group's.
    global: u64,
}

impl Router {
    /// The columns whose values name a group.
    pub fn columns(&self) -> &[InputColumn] {
        &self.columns
    }

    /// All groups, by their values.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The metric of the entries' values; empty where there is none.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Where a row of that group is scored: a number for `Chunk::group`.
    ///
    /// # Errors
    /// `Kind::Data` for an unknown group, when that is the model's policy.
    #[inline]
    pub(crate) fn route(&self, key: &[u8]) -> Result<u64> {
        match self.routes.get(key) {
            Some(number) => Ok(u64::from(*number)),
            None => self.elsewhere(key),
        }
    }

    #[cold]
    fn elsewhere(&self, key: &[u8]) -> Result<u64> {
        match self.unknown {
            UnknownGroup::Global => Ok(self.global),
            UnknownGroup::Null => Ok(NOWHERE),
            UnknownGroup::Error => {
                let found = key::shown(key, &self.columns);
                let left_out = self
                    .entries
                    .binary_search_by(|e| e.key.as_slice().cmp(key))
                    .ok()
                    .map(|i| &self.entries[i]);
                let message = format!("the model knows no group {found}");
                let error = Error::new(Kind::Data, message).hint(
                    "SELECT * FROM damson.groups(model) shows its groups; a model trained with unknown_group => \
                     'null' or 'global' answers to others too.",
                );
                Err(match left_out {
                    Some(e) => error.detail(format!("It was left out of the training: {}.", e.left_out)),
                    None => error,
                })
            }
        }
    }

    /// Where each row of a frame is scored.
    ///
    /// # Errors
    /// A column that is missing or of another kind; those of `route`.
    pub(crate) fn routes(&self, frame: &Frame) -> Result<Vec<u64>> {
        let mut columns = vec![];
        for column in &self.columns {
            columns.push(&frame.columns[frame.position(&column.name)?]);
        }
        let mut key = vec![];
        let one = |i: usize| {
            key.clear();
            for (column, from) in self.columns.iter().zip(&columns) {
                key::put(column, from.value(i), &mut key)?;
            }
            self.route(&key)
        };
        (0..frame.rows).map(one).collect()
    }

    /// As `routes`, for some of the rows: the others, and those of unknown groups, are nowhere, whatever the model
    /// answers to these.
    ///
    /// # Errors
    /// A column that is missing or of another kind.
    pub(crate) fn known_routes(&self, frame: &Frame, rows: &[u32]) -> Result<Vec<u64>> {
        let mut columns = vec![];
        for column in &self.columns {
            columns.push(&frame.columns[frame.position(&column.name)?]);
        }
        let mut routes = vec![NOWHERE; frame.rows];
        let mut key = vec![];
        for row in rows.iter().map(|r| *r as usize) {
            key.clear();
            for (column, from) in self.columns.iter().zip(&columns) {
                key::put(column, from.value(row), &mut key)?;
            }
            routes[row] = self.route(&key).unwrap_or(NOWHERE);
        }
        Ok(routes)
    }

    /// Memory that it takes.
    fn bytes(&self) -> usize {
        self.entries.iter().map(|e| 3 * e.key.len() + e.left_out.len() + 160).sum()
    }
}

/// A row's group, set column by column and looked up when it changed.
#[derive(Default)]
pub(crate) struct Route {
    parts: Vec<Vec<u8>>,
    fresh: Vec<u8>,
    number: Option<u64>,
}

impl Route {
    /// For a router.
    pub fn new(router: &Router) -> Route {
        Route { parts: vec![vec![]; router.columns.len()], fresh: vec![], number: None }
    }

    /// Sets the value of one of the router's columns.
    #[inline]
    pub fn set(&mut self, router: &Router, column: usize, value: Value) -> Result<()> {
        self.fresh.clear();
        key::put(&router.columns[column], value, &mut self.fresh)?;
        if self.fresh != self.parts[column] {
            std::mem::swap(&mut self.fresh, &mut self.parts[column]);
            self.number = None;
        }
        Ok(())
    }

    /// The route of the values that are set.
    #[inline]
    pub fn number(&mut self, router: &Router) -> Result<u64> {
        if let Some(number) = self.number {
            return Ok(number);
        }
        let number = match &self.parts[..] {
            [only] => router.route(only)?,
            parts => {
                self.fresh.clear();
                parts.iter().for_each(|p| self.fresh.extend_from_slice(p));
                router.route(&self.fresh)?
            }
        };
        self.number = Some(number);
        Ok(number)
    }
}

/// All models of a training by groups. `Chunk::group` says which one scores a row: a number that [`Router`] gave.
pub(crate) struct Grouped {
    outputs: usize,
    members: Vec<Member>,
    /// How groups are called, by member.
    names: Vec<String>,
    left_out: usize,
    unknown: UnknownGroup,
}

struct Member {
    model: Box<dyn Model>,
    classes: Vec<u32>,
}

/// The schema of a group's own model.
pub(crate) fn schema_of(whole: &Schema, classes: &[u32], rows: u64) -> Schema {
    let classes = if classes.is_empty() { whole.classes } else { classes.len() };
    Schema { classes, rows: rows as usize, ..whole.clone() }
}

/// Loads a grouped model.
///
/// # Errors
/// `Kind::Corrupt` for what no training wrote; whatever the algorithm finds wrong with its payloads.
pub(crate) fn load(
    bytes: &[u8],
    card: &Card,
    prepared: &Prepared,
    algorithm: &dyn Algorithm,
) -> Result<(Grouped, Router, usize)> {
    let bad = |why: &str| Error::corrupt(format!("the stored groups are damaged: {why}"));
    let columns = card.group_columns().to_vec();
    if columns.is_empty() || columns.len() > MAX_COLUMNS || columns.iter().any(|c| !key::serves(c.kind)) {
        return Err(bad("their columns cannot name groups"));
    }
    let Payload { metric, entries, models, global } = wire::decode(bytes)?;
    let trained = entries.iter().filter(|e| e.left_out.is_empty()).count();
    if entries.len() > MAX_GROUPS || trained != models.len() || trained == 0 {
        return Err(bad("there is not a model for each group"));
    }
    if entries.windows(2).any(|w| w[0].key >= w[1].key) {
        return Err(bad("they are not in order"));
    }
    if entries.iter().any(|e| key::read(&e.key, &columns).is_none()) {
        return Err(bad("the value of one is impossible"));
    }
    let unknown = card.unknown_group;
    if (unknown == UnknownGroup::Global) != global.is_some() {
        return Err(bad("the model of all rows does not fit the policy"));
    }
    let whole = prepared.schema(card.task, card.classes.len(), card.train_rows as usize);
    let outputs = if whole.classes > 0 { whole.classes } else { 1 };
    let member = |stored: Stored, rows: u64| {
        let classes = &stored.classes;
        let few = classes.len() == 1 || classes.last().is_some_and(|c| *c as usize >= whole.classes);
        if few || classes.windows(2).any(|w| w[0] >= w[1]) {
            return Err(bad("the classes of one are impossible"));
        }
        let schema = schema_of(&whole, classes, rows);
        let model = algorithm.load(&stored.payload, &schema)?;
        if model.outputs() != if schema.classes > 0 { schema.classes } else { 1 } {
            return Err(bad("a model answers another question"));
        }
        Ok(Member { model, classes: stored.classes })
    };
    let alive = || entries.iter().filter(|e| e.left_out.is_empty());
    let mut members = Vec::with_capacity(models.len() + 1);
    for (entry, stored) in alive().zip(models) {
        members.push(member(stored, entry.train_rows)?);
    }
    let routes = alive().zip(0..).map(|(e, i)| (e.key.clone().into_boxed_slice(), i)).collect();
    let names = alive().map(|e| key::shown(&e.key, &columns)).collect();
    if let Some((rows, stored)) = global {
        members.push(member(stored, rows)?);
    }
    let left_out = entries.len() - trained;
    let router = Router { columns, routes, entries, metric, unknown, global: trained as u64 };
    let held = router.bytes() + members.len() * 200;
    Ok((Grouped { outputs, members, names, left_out, unknown }, router, held))
}

impl Grouped {
    /// Runs of rows of one group: their model, if they have one, and their place.
    fn runs<'a>(
        &'a self,
        chunk: &'a Chunk,
    ) -> impl Iterator<Item = (Option<&'a Member>, std::ops::Range<usize>)> {
        let mut at = 0;
        chunk.group.chunk_by(|a, b| a == b).map(move |run| {
            let range = at..at + run.len();
            at = range.end;
            (usize::try_from(run[0]).ok().and_then(|i| self.members.get(i)), range)
        })
    }
}

/// Rows `range` of a block.
fn part<'a>(chunk: &Chunk<'a>, range: &std::ops::Range<usize>) -> Chunk<'a> {
    let (d, image) = (chunk.width(), chunk.images.len().checked_div(chunk.rows).unwrap_or(0));
    let offset = if chunk.offset.is_empty() { 0..0 } else { range.clone() };
    Chunk {
        rows: range.len(),
        first: chunk.first + range.start as u64,
        x: &chunk.x[range.start * d..range.end * d],
        images: &chunk.images[range.start * image..range.end * image],
        y: &[],
        weight: &[],
        offset: &chunk.offset[offset],
        group: &[],
        kept: None,
    }
}

/// Spreads the probabilities of a group's own classes, row by row at the beginning of `out`, over all classes; those
/// that the group never saw are 0.
pub(crate) fn spread(classes: &[u32], all: usize, rows: usize, out: &mut [f64]) {
    let few = classes.len();
    // From the end: a value is moved to a place that no value still lies before.
    for row in (0..rows).rev() {
        let mut free = (row + 1) * all;
        for (i, class) in classes.iter().enumerate().rev() {
            let (value, to) = (out[row * few + i], row * all + *class as usize);
            out[to..free].fill(0.0);
            out[to] = value;
            free = to;
        }
        out[row * all..free].fill(0.0);
    }
}

impl Model for Grouped {
    fn outputs(&self) -> usize {
        self.outputs
    }

    fn score(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        let k = self.outputs;
        for (member, range) in self.runs(chunk) {
            let rows = range.len();
            let out = &mut out[range.start * k..range.end * k];
            match member {
                None => out.fill(f64::NAN),
                Some(m) if m.classes.is_empty() => m.model.score(&part(chunk, &range), out)?,
                Some(m) => {
                    m.model.score(&part(chunk, &range), &mut out[..rows * m.classes.len()])?;
                    spread(&m.classes, k, rows, out);
                }
            }
        }
        Ok(())
    }

    fn validate(&self, _schema: &Schema) -> Result<()> {
        Ok(()) // `load` did.
    }

    fn describe(&self, _schema: &Schema) -> Vec<(String, String)> {
        vec![
            ("groups".into(), self.names.len().to_string()),
            ("groups left out".into(), self.left_out.to_string()),
            ("unknown group".into(), self.unknown.name().into()),
        ]
    }

    /// The mean over groups of each feature's share.
    fn importance(&self, schema: &Schema) -> Vec<f64> {
        let mut mean = vec![];
        for member in &self.members[..self.names.len()] {
            let own = member.model.importance(schema);
            let total: f64 = own.iter().sum();
            mean.resize(own.len(), 0.0);
            if total > 0.0 {
                mean.iter_mut().zip(own).for_each(|(m, g)| *m += g / total / self.names.len() as f64);
            }
        }
        mean
    }

    fn splits(&self, schema: &Schema) -> Vec<f64> {
        let mut sum = vec![];
        for own in self.members[..self.names.len()].iter().map(|m| m.model.splits(schema)) {
            sum.resize(own.len(), 0.0);
            sum.iter_mut().zip(own).for_each(|(s, n)| *s += n);
        }
        sum
    }

    /// Those of each group, with the group's name before the term.
    fn coefficients(&self, schema: &Schema, units: &[Unit]) -> Vec<Coefficient> {
        let mut all = vec![];
        for (member, name) in self.members.iter().zip(&self.names) {
            let own = schema_of(schema, &member.classes, schema.rows as u64);
            for mut c in member.model.coefficients(&own, units) {
                c.term = format!("{name}: {}", c.term);
                if let Some(own) = c.class {
                    c.class = member.classes.get(own).map(|c| *c as usize).or(c.class);
                }
                all.push(c);
            }
        }
        all
    }

    fn explain(&self, chunk: &Chunk, out: &mut Vec<f64>) -> Result<bool> {
        let before = out.len();
        for (member, range) in self.runs(chunk) {
            let exact = match member {
                Some(m) if m.classes.is_empty() => m.model.explain(&part(chunk, &range), out)?,
                _ => false,
            };
            if !exact {
                out.truncate(before);
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spreads_probabilities_in_place() {
        for (classes, all, rows) in
            [(vec![0, 2], 3, 4), (vec![1, 2], 3, 1), (vec![1, 3, 4], 7, 5), (vec![5, 6], 7, 2)]
        {
            let few = classes.len();
            let mut out = vec![f64::NAN; rows * all];
            (0..rows * few).for_each(|i| out[i] = i as f64 + 1.0);
            spread(&classes, all, rows, &mut out);
            for row in 0..rows {
                for class in 0..all {
                    let own = classes.iter().position(|c| *c as usize == class);
                    let expected = own.map_or(0.0, |i| (row * few + i) as f64 + 1.0);
                    assert_eq!(out[row * all + class], expected, "{classes:?} row {row} class {class}");
                }
            }
        }
    }
}
