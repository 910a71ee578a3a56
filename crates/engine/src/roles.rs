//! Columns that say something of a row other than a feature or the target: its weight, its offset, its group.
//! One value at a time, for a frame's rows and for an aggregate's alike.

use crate::error::{Error, Kind, Result};
use crate::fingerprint;
use crate::frame::{Column, Value};

/// A row's weight: a number above 0.
///
/// # Errors
/// Anything else; the column and what was found are named.
pub fn weight(column: &str, value: Value) -> Result<f64> {
    match value {
        Value::Number(w) if w > 0.0 && w.is_finite() => Ok(w),
        Value::Number(w) => {
            Err(Error::new(Kind::Data, format!("weight column \"{column}\" is {w}, expected above 0")))
        }
        Value::Missing => Err(Error::new(Kind::Null, format!("weight column \"{column}\" is NULL"))),
        _ => Err(Error::new(Kind::Type, format!("weight column \"{column}\" is not a number"))),
    }
}

/// A row's offset: a finite number.
///
/// # Errors
/// As [`weight`].
pub fn offset(column: &str, value: Value) -> Result<f64> {
    match value {
        Value::Number(x) if x.is_finite() => Ok(x),
        Value::Number(x) => Err(Error::new(
            Kind::Data,
            format!("offset column \"{column}\" is {x}, expected a finite number"),
        )),
        Value::Missing => Err(Error::new(Kind::Null, format!("offset column \"{column}\" is NULL"))),
        _ => Err(Error::new(Kind::Type, format!("offset column \"{column}\" is not a number"))),
    }
}

/// The number of a row's group: a hash of its value, the same on every shard.
///
/// # Errors
/// A missing value: a row without a group belongs nowhere.
pub fn group(column: &str, value: Value) -> Result<u64> {
    match value {
        Value::Missing => Err(Error::new(Kind::Null, format!("group column \"{column}\" is NULL"))),
        value => Ok(fingerprint::hash(value)),
    }
}

/// The role of every row of a column; an error says which row.
pub fn read<T>(column: &Column, role: impl Fn(&str, Value) -> Result<T>) -> Result<Vec<T>> {
    let one = |i: usize| {
        role(&column.name, column.value(i)).map_err(|e| e.detail(format!("Row {} of the source.", i + 1)))
    };
    (0..column.len()).map(one).collect()
}
