//! Which types a query's columns may have, and how each is read. Callers: [`super::columns`] and
//! [`super::receiver`].

use super::datum;
use super::error::{Error, Result};
use super::query::SourceColumn;
use super::shim::Attribute;
use engine::Kind;
use engine::frame::{Data, Dictionary};
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

/// How a column's datums are read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reader {
    F32,
    F64,
    I16,
    I32,
    I64,
    Bool,
    /// Days since 2000-01-01.
    Date,
    /// Microseconds, since 2000-01-01 or since midnight.
    Time,
    Numeric,
    /// Text and what is stored like it.
    Text,
    /// `char(n)`: trailing blanks mean nothing.
    Padded,
    Name,
    Char,
    Uuid,
    Enum,
    /// An array of elements of this type.
    Vector(Element),
    /// An array of text: a set of labels.
    Labels,
    Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Element {
    F32,
    F64,
    I16,
    I32,
    I64,
}

impl Reader {
    /// The reader of a type, or none where it is not supported.
    pub fn of(oid: Oid) -> Option<Reader> {
        // SAFETY: catalog look-ups.
        let base = unsafe { pg_sys::getBaseType(oid) };
        Some(match base {
            pg_sys::FLOAT4OID => Reader::F32,
            pg_sys::FLOAT8OID => Reader::F64,
            pg_sys::INT2OID => Reader::I16,
            pg_sys::INT4OID => Reader::I32,
            pg_sys::INT8OID => Reader::I64,
            pg_sys::BOOLOID => Reader::Bool,
            pg_sys::DATEOID => Reader::Date,
            pg_sys::TIMEOID | pg_sys::TIMESTAMPOID | pg_sys::TIMESTAMPTZOID => Reader::Time,
            pg_sys::NUMERICOID => Reader::Numeric,
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Reader::Text,
            pg_sys::BPCHAROID => Reader::Padded,
            pg_sys::NAMEOID => Reader::Name,
            pg_sys::CHAROID => Reader::Char,
            pg_sys::UUIDOID => Reader::Uuid,
            pg_sys::BYTEAOID => Reader::Bytes,
            base => match element_type(base) {
                pg_sys::FLOAT4OID => Reader::Vector(Element::F32),
                // The shim turns numeric elements into float8.
                pg_sys::FLOAT8OID | pg_sys::NUMERICOID => Reader::Vector(Element::F64),
                pg_sys::INT2OID => Reader::Vector(Element::I16),
                pg_sys::INT4OID => Reader::Vector(Element::I32),
                pg_sys::INT8OID => Reader::Vector(Element::I64),
                // Elements of any such type are stored as text is.
                pg_sys::TEXTOID | pg_sys::VARCHAROID => Reader::Labels,
                pg_sys::InvalidOid if is_enum(base) => Reader::Enum,
                pg_sys::InvalidOid if is_text(base) => Reader::Text,
                _ => return None,
            },
        })
    }

    /// Bytes of a staged value; 0 for those that are appended at once.
    pub fn width(self) -> usize {
        match self {
            Reader::Bool => 1,
            Reader::I16 => 2,
            Reader::F32 | Reader::I32 | Reader::Date => 4,
            Reader::F64 | Reader::I64 | Reader::Time | Reader::Numeric => 8,
            // Codes of a dictionary.
            Reader::Text | Reader::Padded | Reader::Name | Reader::Char => 4,
            Reader::Uuid | Reader::Enum | Reader::Labels => 4,
            Reader::Vector(_) | Reader::Bytes => 0,
        }
    }

    /// Whether a staged value is the datum itself.
    pub fn is_direct(self) -> bool {
        use Reader::*;
        matches!(self, F32 | F64 | I16 | I32 | I64 | Bool | Date | Time)
    }

    /// An empty column.
    pub fn data(self) -> Data {
        match self {
            Reader::F32 => Data::F32(vec![]),
            Reader::F64 | Reader::Numeric => Data::F64(vec![]),
            Reader::I16 | Reader::I32 => Data::I32(vec![]),
            Reader::I64 => Data::I64(vec![]),
            Reader::Bool => Data::Bool(vec![]),
            Reader::Date | Reader::Time => Data::Time(vec![]),
            Reader::Vector(_) => Data::Vector { width: 0, values: vec![] },
            Reader::Bytes => Data::Bytes { ends: vec![], bytes: vec![] },
            Reader::Labels => Data::Labels(Dictionary::default()),
            _ => Data::Text(Dictionary::default()),
        }
    }

    /// Bytes that a row of the column takes, but for strings, vectors and byte strings.
    pub fn row_bytes(self) -> u64 {
        match self {
            Reader::I16 | Reader::F32 | Reader::I32 => 4,
            Reader::Bool => 1,
            Reader::F64 | Reader::I64 | Reader::Time | Reader::Date | Reader::Numeric => 8,
            Reader::Vector(_) => 0,
            Reader::Bytes => 8,
            _ => 4,
        }
    }
}

fn element_type(array: Oid) -> Oid {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::get_element_type(array) }
}

fn is_enum(oid: Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::type_is_enum(oid) }
}

/// Types such as `citext`, which differ from `text` in their operators alone.
fn is_text(oid: Oid) -> bool {
    // SAFETY: a catalog look-up.
    unsafe { pg_sys::IsBinaryCoercible(oid, pg_sys::TEXTOID) }
}

/// Microseconds since 2000-01-01 of a date, or none where it is infinite or too far away.
pub(super) fn date(days: i32) -> Option<i64> {
    const DAY: i64 = 86_400_000_000;
    let infinite = days == i32::MIN || days == i32::MAX;
    i64::from(days).checked_mul(DAY).filter(|_| !infinite)
}

/// A time, or none where it is infinite.
pub(super) fn time(microseconds: i64) -> Option<i64> {
    (microseconds != i64::MIN && microseconds != i64::MAX).then_some(microseconds)
}

/// The reader of a column.
///
/// # Errors
/// `Kind::Type`, with an expression that would do instead.
pub(super) fn reader(column: &SourceColumn) -> Result<Reader> {
    let Attribute { oid, typmod, .. } = column.attribute;
    Reader::of(oid).ok_or_else(|| unsupported(&column.name, oid, typmod))
}

/// As `reader`, for a column that is to be learnt from.
///
/// # Errors
/// As `reader`; a set of labels is no feature.
pub(super) fn feature_reader(column: &SourceColumn) -> Result<Reader> {
    let Attribute { oid, typmod, .. } = column.attribute;
    match reader(column)? {
        Reader::Labels => Err(unsupported(&column.name, oid, typmod)),
        reader => Ok(reader),
    }
}

/// Whether a column is stored as it is staged, as `real` or `double precision`.
pub(super) fn is_plain_real(column: &SourceColumn) -> bool {
    matches!(Reader::of(column.attribute.oid), Some(Reader::F32 | Reader::F64))
}

fn unsupported(column: &str, oid: Oid, typmod: i32) -> Error {
    let name = type_name(oid, typmod);
    let message = format!("column \"{column}\" is of type {name}, which cannot be learnt from");
    Error::new(Kind::Type, message)
        .hint(format!("Write {} instead, or leave it out.", cast(column, oid, &name)))
}

/// A type's name in SQL.
pub(super) fn type_name(oid: Oid, typmod: i32) -> String {
    // SAFETY: gives a string in the current memory context for any type.
    unsafe { datum::utf8(pg_sys::format_type_with_typemod(oid, typmod)) }
}

/// An expression that makes something useful of a column of another type.
fn cast(column: &str, oid: Oid, name: &str) -> String {
    // SAFETY: quotes in the current memory context.
    let quoted = unsafe { CStr::from_ptr(pg_sys::quote_identifier(datum::cstring(column).as_ptr())) };
    let column = quoted.to_string_lossy();
    match oid {
        pg_sys::JSONOID | pg_sys::JSONBOID => format!("({column}->>'key')::float8"),
        pg_sys::INTERVALOID => format!("extract(epoch FROM {column})"),
        pg_sys::TIMETZOID => format!("{column}::time"),
        pg_sys::MONEYOID => format!("{column}::numeric"),
        pg_sys::POINTOID => format!("{column}[0], {column}[1]"),
        pg_sys::OIDOID | pg_sys::XIDOID => format!("{column}::text::bigint"),
        pg_sys::BITOID | pg_sys::VARBITOID => format!("{column}::text"),
        _ if name == "numeric[]" || name.starts_with("vector") || name.starts_with("halfvec") => {
            format!("{column}::real[]")
        }
        _ if name.ends_with("[]") => format!("array_to_string({column}, ' ')"),
        _ => format!("{column}::text"),
    }
}

/// `char(n)` without the blanks that fill it.
pub(super) fn without_padding(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|b| *b != b' ').map_or(0, |last| last + 1);
    &text[..end]
}

/// `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`.
pub(super) fn uuid(bytes: &[u8; 16]) -> [u8; 36] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 15)];
        at += 2;
    }
    text
}
