//! A table in memory, as it was read: typed columns with their missing values. It is held once; learners get
//! encoded blocks of it ([`crate::prepare`]), never a second copy.

use crate::error::{Error, Kind, Result};
use crate::pictures::{Picture, Pictures};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The values of a column. All columns of a frame have as many rows.
#[derive(Debug, Clone)]
pub enum Data {
    /// `real`; missing is NaN.
    F32(Vec<f32>),
    /// `double precision` and `numeric`; missing is NaN.
    F64(Vec<f64>),
    /// `smallint` and `integer`; missing by `Column::missing`.
    I32(Vec<i32>),
    /// `bigint`; missing by `Column::missing`.
    I64(Vec<i64>),
    /// `boolean` as 0 and 1; missing is 2.
    Bool(Vec<u8>),
    /// Text, character, enum and uuid: codes into a dictionary; missing is `u32::MAX`.
    Text(Dictionary),
    /// Arrays of text, each read as a set of labels: codes into a dictionary of [`crate::labels::name`]s; missing is
    /// `u32::MAX`.
    Labels(Dictionary),
    /// Dates and timestamps as microseconds since 2000-01-01 00:00; missing is `i64::MIN`.
    Time(Vec<i64>),
    /// Arrays of one length, row by row; a missing row, like a missing element, is NaN.
    Vector {
        /// Elements a row.
        width: usize,
        /// `rows * width` values.
        values: Vec<f32>,
    },
    /// Byte strings, such as images; missing is an empty string at a row that `Column::missing` names.
    Bytes {
        /// Where each row ends in `bytes`.
        ends: Vec<usize>,
        /// All rows, one after another.
        bytes: Vec<u8>,
    },
    /// Images of one shape, decoded; which are missing is in `Column::missing`.
    Images(Arc<Pictures>),
    /// Numbers that are not held: they are read again whenever somebody needs them ([`crate::stream`]).
    Away {
        /// How many there are.
        rows: usize,
    },
}

/// Which rows of a frame, in the order in which they are taken. All of them need no list, which would take as much as a
/// column while a model is trained.
#[derive(Debug, Clone, Copy)]
pub enum Selection<'a> {
    /// All, so many, as they come.
    All(usize),
    /// Those of these numbers.
    Rows(&'a [u32]),
}

impl<'a> From<&'a [u32]> for Selection<'a> {
    fn from(rows: &'a [u32]) -> Self {
        Selection::Rows(rows)
    }
}

impl<'a> From<&'a Vec<u32>> for Selection<'a> {
    fn from(rows: &'a Vec<u32>) -> Self {
        Selection::Rows(rows)
    }
}

impl<'a, const N: usize> From<&'a [u32; N]> for Selection<'a> {
    fn from(rows: &'a [u32; N]) -> Self {
        Selection::Rows(rows)
    }
}

impl<'a> Selection<'a> {
    /// How many.
    pub fn len(&self) -> usize {
        match self {
            Selection::All(rows) => *rows,
            Selection::Rows(rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The row at a place, where there is one.
    #[inline(always)]
    pub fn get(&self, place: usize) -> Option<usize> {
        match self {
            Selection::All(rows) => (place < *rows).then_some(place),
            Selection::Rows(rows) => rows.get(place).map(|row| *row as usize),
        }
    }

    /// All, one after another.
    pub fn iter(self) -> impl Iterator<Item = usize> + 'a {
        (0..self.len()).filter_map(move |place| self.get(place))
    }

    /// All, as a list.
    pub fn list(self) -> Cow<'a, [u32]> {
        match self {
            Selection::All(rows) => (0..rows as u32).collect::<Vec<u32>>().into(),
            Selection::Rows(rows) => rows.into(),
        }
    }

    /// Those at some places, as a list.
    pub fn some(self, places: Range<usize>) -> Cow<'a, [u32]> {
        match self {
            Selection::All(_) => (places.start as u32..places.end as u32).collect::<Vec<u32>>().into(),
            Selection::Rows(rows) => (&rows[places]).into(),
        }
    }

    /// How many of ascending ones come before a row.
    pub fn before(&self, row: usize) -> usize {
        match self {
            Selection::All(rows) => row.min(*rows),
            Selection::Rows(rows) => rows.partition_point(|r| (*r as usize) < row),
        }
    }

    /// Their values, of a list that may be empty.
    pub fn pick<T: Copy>(self, values: &[T]) -> Vec<T> {
        match self {
            _ if values.is_empty() => vec![],
            Selection::All(rows) => values[..rows].to_vec(),
            Selection::Rows(rows) => rows.iter().map(|r| values[*r as usize]).collect(),
        }
    }
}

/// The kind of a column's values: what must agree between training and scoring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ColumnKind {
    /// Any number.
    Number,
    /// True or false.
    Bool,
    /// Text.
    Text,
    /// A date or timestamp.
    Time,
    /// An array of one length.
    Vector {
        /// Elements a row.
        width: usize,
    },
    /// A byte string.
    Bytes,
    /// A set of labels.
    Labels,
}

impl ColumnKind {
    /// Whether a model that learnt from a column of kind `learnt` can read this one.
    pub fn serves_as(self, learnt: ColumnKind) -> bool {
        use ColumnKind::{Bool, Number};
        self == learnt || matches!((self, learnt), (Number | Bool, Number | Bool))
    }
}

/// Strings by code, in order of first appearance.
#[derive(Debug, Clone, Default)]
pub struct Dictionary {
    /// One code a row; `Dictionary::MISSING` for none.
    pub codes: Vec<u32>,
    /// The strings.
    pub values: Vec<String>,
    index: HashMap<String, u32>,
}

impl Dictionary {
    /// The code of a missing value.
    pub const MISSING: u32 = u32::MAX;

    /// The code of a string, which is added when it is new. It does not add a row.
    pub fn intern(&mut self, text: &str) -> u32 {
        if let Some(code) = self.index.get(text) {
            return *code;
        }
        let code = self.values.len() as u32;
        self.values.push(text.to_string());
        self.index.insert(text.to_string(), code);
        code
    }

    /// The string of row `i`, or none where it is missing.
    pub fn get(&self, i: usize) -> Option<&str> {
        self.values.get(self.codes[i] as usize).map(String::as_str)
    }
}

/// A named column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name in the source.
    pub name: String,
    /// Its values.
    pub data: Data,
    /// For `I32`, `I64`, `Bytes` and `Images`: which rows are missing; empty where none is. Unused by the other kinds.
    pub missing: Vec<bool>,
}

impl Column {
    /// Rows.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.len(),
            Data::F64(v) => v.len(),
            Data::I32(v) => v.len(),
            Data::I64(v) | Data::Time(v) => v.len(),
            Data::Bool(v) => v.len(),
            Data::Text(v) | Data::Labels(v) => v.codes.len(),
            Data::Vector { width, values } => values.len().checked_div(*width).unwrap_or(0),
            Data::Bytes { ends, .. } => ends.len(),
            Data::Images(pictures) => pictures.len(),
            Data::Away { rows } => *rows,
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The kind of its values.
    pub fn kind(&self) -> ColumnKind {
        match &self.data {
            Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::I64(_) | Data::Away { .. } => {
                ColumnKind::Number
            }
            Data::Bool(_) => ColumnKind::Bool,
            Data::Text(_) => ColumnKind::Text,
            Data::Labels(_) => ColumnKind::Labels,
            Data::Time(_) => ColumnKind::Time,
            Data::Vector { width, .. } => ColumnKind::Vector { width: *width },
            Data::Bytes { .. } | Data::Images(_) => ColumnKind::Bytes,
        }
    }

    /// Row `i`. Of a column that is away it is missing.
    pub fn value(&self, i: usize) -> Value<'_> {
        let missing = self.missing.get(i).copied().unwrap_or(false);
        match &self.data {
            _ if missing => Value::Missing,
            Data::Away { .. } => Value::Missing,
            Data::F32(v) => Value::number(f64::from(v[i])),
            Data::F64(v) => Value::number(v[i]),
            Data::I32(v) => Value::Number(f64::from(v[i])),
            Data::I64(v) => Value::Number(v[i] as f64),
            Data::Bool(v) if v[i] > 1 => Value::Missing,
            Data::Bool(v) => Value::Bool(v[i] == 1),
            Data::Text(d) | Data::Labels(d) => d.get(i).map_or(Value::Missing, Value::Text),
            Data::Time(v) if v[i] == i64::MIN => Value::Missing,
            Data::Time(v) => Value::Time(v[i]),
            Data::Vector { width, values } => Value::Vector(&values[i * width..(i + 1) * width]),
            Data::Bytes { ends, bytes } => {
                Value::Bytes(&bytes[if i == 0 { 0 } else { ends[i - 1] }..ends[i]])
            }
            Data::Images(pictures) => Value::Picture(pictures.at(i)),
        }
    }
}

/// One value, as it is scored: lent from a column, or from a server's own memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// NULL, or NaN.
    Missing,
    /// A number, never NaN.
    Number(f64),
    /// A truth value.
    Bool(bool),
    /// Text, or the name of a set of labels.
    Text(&'a str),
    /// Microseconds since 2000-01-01 00:00.
    Time(i64),
    /// An array; elements may be NaN for missing.
    Vector(&'a [f32]),
    /// A byte string.
    Bytes(&'a [u8]),
    /// A decoded image.
    Picture(Picture<'a>),
}

impl Value<'_> {
    /// A number, or missing when it is NaN.
    pub fn number(x: f64) -> Self {
        if x.is_nan() { Value::Missing } else { Value::Number(x) }
    }
}

/// The error for a column that the source does not have; `names` are those it has.
pub fn unknown_column<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Error {
    let names: Vec<&str> = names.take(40).collect();
    let has = if names.is_empty() { "It has none.".into() } else { format!("It has: {}.", names.join(", ")) };
    Error::new(Kind::UnknownColumn, format!("the source has no column \"{name}\"")).hint(has)
}

/// A table in memory.
#[derive(Debug, Clone, Default)]
pub struct Frame {
    /// Its columns, each of `rows` values.
    pub columns: Vec<Column>,
    /// Rows.
    pub rows: usize,
}

impl Frame {
    /// The position of a column.
    ///
    /// # Errors
    /// `Kind::UnknownColumn`, with the columns that there are.
    pub fn position(&self, name: &str) -> Result<usize> {
        let names = self.columns.iter().map(|c| c.name.as_str());
        self.columns.iter().position(|c| c.name == name).ok_or_else(|| unknown_column(name, names))
    }

    /// Bytes that the frame holds.
    pub fn bytes(&self) -> u64 {
        let column = |c: &Column| {
            c.missing.len()
                + match &c.data {
                    Data::F32(v) => v.len() * 4,
                    Data::F64(v) => v.len() * 8,
                    Data::I32(v) => v.len() * 4,
                    Data::I64(v) | Data::Time(v) => v.len() * 8,
                    Data::Bool(v) => v.len(),
                    Data::Text(d) | Data::Labels(d) => {
                        d.codes.len() * 4 + d.values.iter().map(|s| s.len() * 2 + 80).sum::<usize>()
                    }
                    Data::Vector { values, .. } => values.len() * 4,
                    Data::Bytes { ends, bytes } => ends.len() * 8 + bytes.len(),
                    Data::Images(pictures) => pictures.bytes() as usize,
                    Data::Away { .. } => 0,
                }
        };
        self.columns.iter().map(column).sum::<usize>() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_are_those_of_the_whole_list() {
        let list: Vec<u32> = (0..7).collect();
        let (all, rows) = (Selection::All(7), Selection::from(&list));
        assert_eq!((all.len(), rows.len()), (7, 7));
        assert!(all.iter().eq(rows.iter()) && all.list() == rows.list());
        assert_eq!(all.some(2..5), rows.some(2..5));
        for place in 0..9 {
            assert_eq!(all.get(place), rows.get(place));
            assert_eq!(all.before(place), rows.before(place));
        }
        let values: Vec<f64> = (0..7).map(f64::from).collect();
        assert_eq!(all.pick(&values), rows.pick(&values));
        assert!(all.pick::<f64>(&[]).is_empty() && rows.pick::<f64>(&[]).is_empty());
        assert!(Selection::All(0).is_empty());
    }

    #[test]
    fn some_rows_come_in_their_own_order() {
        let rows = Selection::from(&[4, 1, 6]);
        assert_eq!(rows.iter().collect::<Vec<_>>(), [4, 1, 6]);
        assert_eq!(*rows.some(1..3), [1, 6]);
        assert_eq!(rows.pick(&[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), [0.4, 0.1, 0.6]);
        assert_eq!(Selection::from(&[1, 4, 6]).before(5), 2);
    }
}
