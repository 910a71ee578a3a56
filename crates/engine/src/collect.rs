//! Rows collected one at a time, by one process or several, and trained on at the end: what an aggregate of SQL needs
//! to fit a model a group. Caller: the aggregates `damson.fit` and `damson.fit_with`.
//!
//! The first value of a row is the target, `y`; the others are the features `x1`, `x2` and on. Rows without a target
//! are left out, as aggregates leave out NULL. Whether a number is regressed on follows from the target's type alone,
//! not from its values, so that all groups of a query do the same.

use crate::error::{Error, Kind, Result};
use crate::fold::ColumnType;
use crate::frame::{Column, Data, Dictionary, Frame, Value};
use crate::learner::Cx;
use crate::schema::Task;
use crate::train::{Recipe, Request, train};
use crate::{algorithms, wire};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Bytes that a dictionary's string takes beyond its own.
const STRING: u64 = 80;

/// The values of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Store {
    /// Missing is NaN.
    Numbers(Vec<f64>),
    /// Missing is 2.
    Bools(Vec<u8>),
    /// Missing is `Dictionary::MISSING`.
    Texts { codes: Vec<u32>, values: Vec<String> },
    /// Missing is `i64::MIN`.
    Times(Vec<i64>),
    /// Missing are NaNs. The width is 0 until an array came; `rows` are those before it.
    Vectors { width: usize, values: Vec<f32>, before: usize },
    /// Byte strings, one after another.
    Bytes { ends: Vec<usize>, bytes: Vec<u8>, missing: Vec<bool> },
}

/// Rows to train on, with what is to be trained.
#[derive(Debug, Serialize, Deserialize)]
pub struct Collection {
    algorithm: String,
    params: String,
    kinds: Vec<ColumnType>,
    columns: Vec<Store>,
    rows: usize,
    bytes: u64,
    #[serde(skip)]
    codes: Vec<HashMap<String, u32>>,
}

impl Collection {
    /// No rows yet. `kinds` are the types of the target and of the features.
    ///
    /// # Errors
    /// An unknown algorithm, parameters that it does not take, no features.
    pub fn new(algorithm: &str, params: &str, kinds: &[ColumnType]) -> Result<Collection> {
        Recipe::parse(algorithm, params, "{}")?;
        if kinds.len() < 2 {
            return Err(Error::new(Kind::Parameter, "there are no features, expected one or more"));
        }
        let store = |kind: &ColumnType| match kind {
            ColumnType::Float | ColumnType::Integer => Store::Numbers(vec![]),
            ColumnType::Bool => Store::Bools(vec![]),
            ColumnType::Text => Store::Texts { codes: vec![], values: vec![] },
            ColumnType::Time => Store::Times(vec![]),
            ColumnType::Vector => Store::Vectors { width: 0, values: vec![], before: 0 },
            ColumnType::Bytes => Store::Bytes { ends: vec![], bytes: vec![], missing: vec![] },
        };
        Ok(Collection {
            algorithm: algorithm.into(),
            params: params.into(),
            kinds: kinds.to_vec(),
            columns: kinds.iter().map(store).collect(),
            rows: 0,
            bytes: 0,
            codes: vec![HashMap::new(); kinds.len()],
        })
    }

    /// What is to be trained: the algorithm and its parameters.
    pub fn recipe(&self) -> (&str, &str) {
        (&self.algorithm, &self.params)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that the rows take, about.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Adds a row, unless its target is missing.
    ///
    /// # Errors
    /// A value of another type, an array of another length.
    pub fn push(&mut self, values: &[Value]) -> Result<()> {
        if values.len() != self.columns.len() {
            return Err(Error::internal("a row has another number of values than those before"));
        }
        if values[0] == Value::Missing {
            return Ok(());
        }
        for (i, value) in values.iter().enumerate() {
            self.bytes += put(&mut self.columns[i], &mut self.codes[i], *value, self.rows)
                .map_err(|e| Error::new(e.kind, format!("column \"{}\": {e}", name(i))))?;
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds the rows of another collection of the same.
    ///
    /// # Errors
    /// `Kind::Parameter` when something else is to be trained on them.
    pub fn merge(&mut self, other: &Collection) -> Result<()> {
        self.check_same(&other.algorithm, &other.params)?;
        if other.kinds != self.kinds {
            return Err(Error::corrupt("collections of different columns cannot be merged"));
        }
        let frame = other.frame();
        for row in 0..other.rows {
            let values: Vec<Value> = frame.columns.iter().map(|c| c.value(row)).collect();
            self.push(&values)?;
        }
        Ok(())
    }

    /// Refuses rows that something else is to be trained on: the algorithm and its parameters are constants.
    ///
    /// # Errors
    /// `Kind::Parameter`.
    pub fn check_same(&self, algorithm: &str, params: &str) -> Result<()> {
        if (algorithm, params) == (&self.algorithm, &self.params) {
            return Ok(());
        }
        Err(Error::new(Kind::Parameter, "the algorithm and its parameters vary from row to row")
            .hint("They must be the same for all rows of a group; give them as constants."))
    }

    /// The rows, to travel.
    ///
    /// # Errors
    /// None that a caller could cause.
    pub fn pack(&self) -> Result<Vec<u8>> {
        wire::encode(self)
    }

    /// Rows that travelled.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that no collection packs to.
    pub fn unpack(bytes: &[u8]) -> Result<Collection> {
        let mut c: Collection = wire::decode(bytes)?;
        let empty = Collection::new(&c.algorithm, &c.params, &c.kinds)?;
        let same = |(a, b): (&Store, &Store)| std::mem::discriminant(a) == std::mem::discriminant(b);
        let whole = c.columns.iter().all(|store| sound(store, c.rows));
        if c.columns.len() != c.kinds.len() || !empty.columns.iter().zip(&c.columns).all(same) || !whole {
            return Err(Error::corrupt("the collected rows are damaged"));
        }
        c.codes = c
            .columns
            .iter()
            .map(|store| match store {
                Store::Texts { values, .. } => values.iter().cloned().zip(0..).collect(),
                _ => HashMap::new(),
            })
            .collect();
        Ok(c)
    }

    fn frame(&self) -> Frame {
        let column = |(i, store): (usize, &Store)| {
            let mut marks = vec![];
            let data = match store {
                Store::Numbers(v) => Data::F64(v.clone()),
                Store::Bools(v) => Data::Bool(v.clone()),
                Store::Times(v) => Data::Time(v.clone()),
                Store::Texts { codes, values } => {
                    let mut dictionary = Dictionary::default();
                    values.iter().for_each(|v| {
                        dictionary.intern(v);
                    });
                    dictionary.codes = codes.clone();
                    Data::Text(dictionary)
                }
                Store::Vectors { width, values, .. } if *width > 0 => {
                    Data::Vector { width: *width, values: values.clone() }
                }
                // All missing, so of any length.
                Store::Vectors { .. } => Data::Vector { width: 1, values: vec![f32::NAN; self.rows] },
                Store::Bytes { ends, bytes, missing } => {
                    marks = missing.clone();
                    Data::Bytes { ends: ends.clone(), bytes: bytes.clone() }
                }
            };
            Column { name: name(i), data, missing: marks }
        };
        Frame { columns: self.columns.iter().enumerate().map(column).collect(), rows: self.rows }
    }

    /// Trains on the rows; none without rows. Gives the model's artifact.
    ///
    /// # Errors
    /// Those of any training.
    pub fn train(&self, max_memory: u64, cx: &Cx) -> Result<Option<Vec<u8>>> {
        if self.rows == 0 {
            return Ok(None);
        }
        let tasks = algorithms::find(&self.algorithm)?.info().tasks;
        let number = matches!(self.kinds[0], ColumnType::Float | ColumnType::Integer);
        let request = Request {
            algorithm: self.algorithm.clone(),
            params: self.params.clone(),
            target: Some(name(0)),
            task: (number && tasks.contains(&Task::Regression)).then_some(Task::Regression),
            seed: cx.seed,
            max_memory,
            ..Request::default()
        };
        Ok(Some(train(self.frame(), &request, cx)?.artifact))
    }
}

fn name(column: usize) -> String {
    if column == 0 { "y".into() } else { format!("x{column}") }
}

/// Appends a value; gives the bytes that it takes.
fn put(store: &mut Store, known: &mut HashMap<String, u32>, value: Value, rows: usize) -> Result<u64> {
    match (store, value) {
        (Store::Numbers(v), value) => {
            v.push(match value {
                Value::Number(x) => x,
                Value::Missing => f64::NAN,
                _ => return Err(other_type()),
            });
            Ok(8)
        }
        (Store::Bools(v), value) => {
            v.push(match value {
                Value::Bool(b) => u8::from(b),
                Value::Missing => 2,
                _ => return Err(other_type()),
            });
            Ok(1)
        }
        (Store::Times(v), value) => {
            v.push(match value {
                Value::Time(t) => t,
                Value::Missing => i64::MIN,
                _ => return Err(other_type()),
            });
            Ok(8)
        }
        (Store::Texts { codes, .. }, Value::Missing) => {
            codes.push(Dictionary::MISSING);
            Ok(4)
        }
        (Store::Texts { codes, values }, Value::Text(t)) => {
            if let Some(code) = known.get(t) {
                codes.push(*code);
                return Ok(4);
            }
            let code = u32::try_from(values.len()).ok().filter(|c| *c != Dictionary::MISSING);
            let code = code.ok_or_else(|| Error::new(Kind::Data, "there are too many different texts"))?;
            codes.push(code);
            values.push(t.to_string());
            known.insert(t.to_string(), code);
            Ok(4 + 2 * t.len() as u64 + STRING)
        }
        (Store::Vectors { width: 0, before, .. }, Value::Missing) => {
            *before += 1;
            Ok(0)
        }
        (Store::Vectors { width, values, .. }, Value::Missing) => {
            values.resize(values.len() + *width, f32::NAN);
            Ok(4 * *width as u64)
        }
        (Store::Vectors { width, values, before }, Value::Vector(v)) => {
            if v.is_empty() || (*width > 0 && v.len() != *width) {
                let expected = if *width > 0 { format!("{width}") } else { "one or more".into() };
                let message = format!("the array has {} elements, expected {expected}", v.len());
                return Err(Error::new(Kind::Data, message));
            }
            *width = v.len();
            values.resize(rows * *width, f32::NAN);
            *before = 0;
            values.extend_from_slice(v);
            Ok(4 * *width as u64)
        }
        (Store::Bytes { ends, bytes, missing }, value) => {
            let new = match value {
                Value::Bytes(b) => b,
                Value::Missing => &[],
                _ => return Err(other_type()),
            };
            missing.push(value == Value::Missing);
            bytes.extend_from_slice(new);
            ends.push(bytes.len());
            Ok(new.len() as u64 + 9)
        }
        _ => Err(other_type()),
    }
}

fn other_type() -> Error {
    Error::new(Kind::Type, "a value is of another type than those before")
}

/// Whether a column that travelled has as many values as it should, and they mean something.
fn sound(store: &Store, rows: usize) -> bool {
    match store {
        Store::Numbers(v) => v.len() == rows,
        Store::Bools(v) => v.len() == rows && v.iter().all(|b| *b <= 2),
        Store::Times(v) => v.len() == rows,
        Store::Texts { codes, values } => {
            let known = |c: &u32| *c == Dictionary::MISSING || (*c as usize) < values.len();
            codes.len() == rows && codes.iter().all(known)
        }
        Store::Vectors { width: 0, values, before } => values.is_empty() && *before == rows,
        Store::Vectors { width, values, before } => {
            rows.checked_mul(*width) == Some(values.len()) && *before == 0
        }
        Store::Bytes { ends, bytes, missing } => {
            let last = ends.last().copied().unwrap_or(0);
            ends.len() == rows && missing.len() == rows && ends.is_sorted() && last == bytes.len()
        }
    }
}
