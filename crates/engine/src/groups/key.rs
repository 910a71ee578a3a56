//! The value of a group as bytes: what rows are dealt by, what a model is looked up by, and what is stored.
//!
//! One part a column, one after another: a tag, then the value. Parts end where they say, so keys of several columns
//! cannot be confused; and they sort as their values do (NULL first, numbers and times ascending, texts by their
//! bytes). Numbers count by value whatever their type, and truth values are the numbers 0 and 1, as elsewhere.

use crate::error::{Error, Kind, Result};
use crate::frame::{Column, ColumnKind, Data, Value};
use crate::prepare::InputColumn;
use crate::prepare::encode::kind_name;
use crate::prepare::options::Part as TimePart;

const MISSING: u8 = 0;
const NUMBER: u8 = 1;
const TEXT: u8 = 2;
const TIME: u8 = 3;

/// Whole numbers beyond this are not all different as `f64`.
const EXACT: i64 = 1 << 53;

/// Whether a column of this kind can name groups.
pub fn serves(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Number | ColumnKind::Bool | ColumnKind::Text | ColumnKind::Time)
}

/// Refuses a column whose values cannot name groups.
///
/// # Errors
/// `Kind::Type` for arrays and byte strings; `Kind::Data` for whole numbers that are not exact as `f64`.
pub fn check(column: &Column) -> Result<()> {
    let (name, kind) = (&column.name, column.kind());
    if !serves(kind) {
        let message = format!(
            "group column \"{name}\" is {}, expected a number, text, boolean or time",
            kind_name(kind)
        );
        return Err(Error::new(Kind::Type, message));
    }
    if let Data::I64(v) = &column.data
        && let Some(big) = v.iter().find(|v| **v > EXACT || **v < -EXACT)
    {
        let message = format!("group column \"{name}\" is {big}, expected whole numbers of at most 2^53");
        return Err(Error::new(Kind::Data, message)
            .hint(format!("Group by its text: source => 'SELECT {name}::text AS {name}, ...'.")));
    }
    Ok(())
}

/// Appends a value of a column to a key.
///
/// # Errors
/// `Kind::Type` for a value of another kind than the column's.
#[inline]
pub fn put(column: &InputColumn, value: Value, key: &mut Vec<u8>) -> Result<()> {
    match (value, column.kind) {
        (Value::Missing, _) => key.push(MISSING),
        (Value::Number(x), ColumnKind::Number | ColumnKind::Bool) => {
            let bits = (x + 0.0).to_bits(); // -0.0 is 0.0
            put_word(NUMBER, bits ^ (((bits as i64 >> 63) as u64) | 1 << 63), key);
        }
        (Value::Bool(b), ColumnKind::Number | ColumnKind::Bool) => {
            return put(column, Value::Number(f64::from(b)), key);
        }
        (Value::Time(t), ColumnKind::Time) => put_word(TIME, t as u64 ^ 1 << 63, key),
        (Value::Text(t), ColumnKind::Text) => {
            key.push(TEXT);
            for part in t.as_bytes().split_inclusive(|b| *b == 0) {
                key.extend_from_slice(part);
                if part.last() == Some(&0) {
                    key.push(0xff);
                }
            }
            key.extend_from_slice(&[0, 0]);
        }
        _ => {
            let expected = kind_name(column.kind);
            let message = format!("column \"{}\" is of another type, expected {expected}", column.name);
            return Err(
                Error::new(Kind::Type, message).hint("Cast it to the type that the model was trained on.")
            );
        }
    }
    Ok(())
}

fn put_word(tag: u8, word: u64, key: &mut Vec<u8>) {
    let mut part = [tag; 9];
    part[1..].copy_from_slice(&word.to_be_bytes());
    key.extend_from_slice(&part);
}

/// A part of a key, read back.
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// NULL.
    Missing,
    /// A number, or a truth value as 0 or 1.
    Number(f64),
    /// Text.
    Text(String),
    /// Microseconds since 2000-01-01.
    Time(i64),
}

/// The parts of a key, or none for bytes that [`put`] would not have written for these columns.
pub fn read(mut key: &[u8], columns: &[InputColumn]) -> Option<Vec<Part>> {
    let whole = key;
    let mut parts = vec![];
    for column in columns {
        let (tag, rest) = key.split_first()?;
        key = rest;
        parts.push(match (*tag, column.kind) {
            (MISSING, _) => Part::Missing,
            (NUMBER, ColumnKind::Number | ColumnKind::Bool) => {
                let word = word(&mut key)?;
                let bits = word ^ (((!word as i64 >> 63) as u64) | 1 << 63);
                Part::Number(Some(f64::from_bits(bits)).filter(|x| !x.is_nan())?)
            }
            (TIME, ColumnKind::Time) => Part::Time((word(&mut key)? ^ 1 << 63) as i64),
            (TEXT, ColumnKind::Text) => {
                let mut text = vec![];
                loop {
                    let end = key.iter().position(|b| *b == 0)?;
                    text.extend_from_slice(&key[..end]);
                    let next = *key.get(end + 1)?;
                    key = &key[end + 2..];
                    match next {
                        0 => break,
                        0xff => text.push(0),
                        _ => return None,
                    }
                }
                Part::Text(String::from_utf8(text).ok()?)
            }
            _ => return None,
        });
    }
    // Written again it must be the same: one group has one key.
    let mut again = vec![];
    for (part, column) in parts.iter().zip(columns) {
        put(column, part.value(), &mut again).ok()?;
    }
    (key.is_empty() && again == whole).then_some(parts)
}

fn word(key: &mut &[u8]) -> Option<u64> {
    let (word, rest) = key.split_first_chunk::<8>()?;
    *key = rest;
    Some(u64::from_be_bytes(*word))
}

impl Part {
    fn value(&self) -> Value<'_> {
        match self {
            Part::Missing => Value::Missing,
            Part::Number(x) => Value::Number(*x),
            Part::Text(t) => Value::Text(t),
            Part::Time(t) => Value::Time(*t),
        }
    }

    /// As JSON: text, a number, a truth value, a time as text, or null.
    pub fn json(&self, kind: ColumnKind) -> serde_json::Value {
        match self {
            Part::Missing => serde_json::Value::Null,
            Part::Number(x) if kind == ColumnKind::Bool => (*x != 0.0).into(),
            Part::Number(x) if x.fract() == 0.0 && x.abs() <= EXACT as f64 => (*x as i64).into(),
            // Infinite numbers have no JSON.
            Part::Number(x) if !x.is_finite() => x.to_string().into(),
            Part::Number(x) => (*x).into(),
            Part::Text(t) => t.as_str().into(),
            Part::Time(t) => time(*t).into(),
        }
    }

    fn shown(&self, kind: ColumnKind) -> String {
        const LONGEST: usize = 60;
        match self.json(kind) {
            serde_json::Value::Null => "NULL".into(),
            serde_json::Value::String(s) if s.chars().count() > LONGEST => {
                format!("{}...", s.chars().take(LONGEST).collect::<String>())
            }
            serde_json::Value::String(s) => s,
            other => other.to_string(),
        }
    }
}

/// `2024-02-29 12:30:00.5`, without what is zero at its end.
fn time(micros: i64) -> String {
    let part = |p: TimePart| p.of(micros) as i64;
    let (year, month, day) = (part(TimePart::Year), part(TimePart::Month), part(TimePart::Day));
    let date = format!("{year:04}-{month:02}-{day:02}");
    let rest = micros.rem_euclid(86_400_000_000);
    if rest == 0 {
        return date;
    }
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let clock = format!("{date} {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if fraction == 0 {
        return clock;
    }
    format!("{clock}.{fraction:06}").trim_end_matches('0').to_string()
}

/// A key as people read it: `region = north, year = 2024`.
pub fn shown(key: &[u8], columns: &[InputColumn]) -> String {
    let parts = read(key, columns).unwrap_or_default();
    let one =
        |(part, column): (&Part, &InputColumn)| format!("{} = {}", column.name, part.shown(column.kind));
    parts.iter().zip(columns).map(one).collect::<Vec<_>>().join(", ")
}

/// A key as a JSON object with a key a column.
pub fn json(key: &[u8], columns: &[InputColumn]) -> String {
    let parts = read(key, columns).unwrap_or_default();
    let pairs = parts.iter().zip(columns).map(|(part, c)| (c.name.clone(), part.json(c.kind)));
    serde_json::Value::Object(pairs.collect()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: ColumnKind) -> InputColumn {
        InputColumn { name: name.into(), kind }
    }

    fn key(columns: &[InputColumn], values: &[Value]) -> Vec<u8> {
        let mut key = vec![];
        for (column, value) in columns.iter().zip(values) {
            put(column, *value, &mut key).unwrap();
        }
        key
    }

    #[test]
    fn keys_come_back_and_sort_as_their_values() {
        let text = [column("t", ColumnKind::Text)];
        let texts = ["", "\0", "\0\0", "\0a", "a", "a\0", "a\0b", "ab", "b"];
        let keys: Vec<Vec<u8>> = texts.iter().map(|t| key(&text, &[Value::Text(t)])).collect();
        assert!(keys.is_sorted());
        for (t, k) in texts.iter().zip(&keys) {
            assert_eq!(read(k, &text).unwrap(), [Part::Text(t.to_string())]);
        }
        let number = [column("n", ColumnKind::Number)];
        let numbers = [f64::NEG_INFINITY, -1e300, -1.5, -0.0, 1e-300, 2.0, 1e300, f64::INFINITY];
        let keys: Vec<Vec<u8>> = numbers.iter().map(|x| key(&number, &[Value::Number(*x)])).collect();
        assert!(keys.is_sorted());
        for (x, k) in numbers.iter().zip(&keys) {
            assert_eq!(read(k, &number).unwrap(), [Part::Number(*x)]);
        }
        assert_eq!(key(&number, &[Value::Number(-0.0)]), key(&number, &[Value::Number(0.0)]));
        assert_eq!(key(&number, &[Value::Bool(true)]), key(&number, &[Value::Number(1.0)]));
        let time = [column("d", ColumnKind::Time)];
        assert!(key(&time, &[Value::Time(-5)]) < key(&time, &[Value::Time(3)]));
        assert!(key(&time, &[Value::Missing]) < key(&time, &[Value::Time(i64::MIN + 1)]));
    }

    #[test]
    fn keys_of_two_columns_do_not_run_into_each_other() {
        let two = [column("a", ColumnKind::Text), column("b", ColumnKind::Text)];
        let of = |a, b| key(&two, &[Value::Text(a), Value::Text(b)]);
        assert_ne!(of("a", "bc"), of("ab", "c"));
        assert_ne!(of("a\0", "b"), of("a", "\0b"));
        assert_eq!(shown(&of("x", "y z"), &two), "a = x, b = y z");
        assert_eq!(json(&of("x", "y"), &two), r#"{"a":"x","b":"y"}"#);
    }

    #[test]
    fn refuses_bytes_that_were_never_a_key() {
        let text = [column("t", ColumnKind::Text)];
        let good = key(&text, &[Value::Text("north")]);
        for cut in 0..good.len() {
            assert_eq!(read(&good[..cut], &text), None);
        }
        assert_eq!(read(&[&good[..], &[0]].concat(), &text), None);
        assert_eq!(read(&[TEXT, 0xc3, 0, 0], &text), None); // half a character
        assert_eq!(read(&[TEXT, 0, 1], &text), None);
        assert_eq!(read(&key(&[column("n", ColumnKind::Number)], &[Value::Number(1.0)]), &text), None);
        let number = [column("n", ColumnKind::Number)];
        let of = |bits: u64| [&[NUMBER][..], &(bits ^ 1 << 63).to_be_bytes()].concat();
        assert!(read(&of(1.0f64.to_bits()), &number).is_some());
        assert_eq!(read(&of(f64::NAN.to_bits()), &number), None);
        assert_eq!(read(&[&[NUMBER][..], &(!(-0.0f64).to_bits()).to_be_bytes()].concat(), &number), None);
    }

    #[test]
    fn shows_times_and_truth() {
        assert_eq!(time(0), "2000-01-01");
        assert_eq!(time(-1), "1999-12-31 23:59:59.999999");
        assert_eq!(time(762_530_400_500_000), "2024-02-29 14:00:00.5");
        let flag = [column("f", ColumnKind::Bool)];
        assert_eq!(shown(&key(&flag, &[Value::Bool(true)]), &flag), "f = true");
        assert_eq!(shown(&key(&flag, &[Value::Missing]), &flag), "f = NULL");
    }

    #[test]
    fn refuses_columns_that_name_no_group() {
        let of = |data| check(&Column { name: "g".into(), data, missing: vec![] }).map_err(|e| e.kind);
        assert_eq!(of(Data::Vector { width: 1, values: vec![1.0] }), Err(Kind::Type));
        assert_eq!(of(Data::I64(vec![1, (1 << 53) + 1])), Err(Kind::Data));
        assert_eq!(of(Data::I64(vec![1 << 53])), Ok(()));
        let mut key = vec![];
        assert_eq!(
            put(&column("t", ColumnKind::Text), Value::Number(1.0), &mut key).unwrap_err().kind,
            Kind::Type
        );
    }
}
