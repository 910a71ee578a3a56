//! Arguments of a scoring function to a model's inputs. Caller: [`super::scoring`].
//!
//! Binding happens once a query and model, by types and names alone; it refuses what cannot fit. Afterwards
//! each row only converts datums. The functions that convert call the server without a guard, so they hold
//! nothing to drop meanwhile.

use super::columns::Fault;
use super::datum::ArrayView;
use super::error::{Error, Result};
use super::reader::{Element, Reader, date, time, type_name, uuid, without_padding};
use super::shim::{self, raw};
use engine::Kind;
use engine::artifact::Card;
use engine::frame::{ColumnKind, Value};
use engine::prepare::InputColumn;
use engine::prepare::encode::kind_name;
use engine::scorer::{Row, Scorer};
use pgrx::pg_sys::{self, Datum, Oid};

/// How the features come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Form {
    /// An argument an input, by position.
    Scalars,
    /// One array: an element an input, or the one array input.
    Array(Element),
    /// One row, by name.
    Record,
    /// One document of `json`, or else `jsonb`, by key.
    Document {
        /// Whether it is `json`, which is stored as text.
        text: bool,
    },
}

impl Form {
    /// Of arguments of these types.
    pub fn of(types: &[Oid]) -> Form {
        let [only] = types else { return Form::Scalars };
        // SAFETY: catalog look-ups.
        let (base, row) = unsafe { (pg_sys::getBaseType(*only), pg_sys::type_is_rowtype(*only)) };
        match Reader::of(*only) {
            _ if row => Form::Record,
            _ if base == pg_sys::JSONBOID => Form::Document { text: false },
            _ if base == pg_sys::JSONOID => Form::Document { text: true },
            Some(Reader::Vector(element)) => Form::Array(element),
            _ => Form::Scalars,
        }
    }
}

/// Where an input's value comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    /// The argument, or the row's attribute, from 0.
    at: usize,
    reader: Reader,
}

/// A column that is offered: an argument, or an attribute of a row.
pub(super) struct Offer {
    /// Its name; arguments have none.
    pub name: Option<String>,
    /// Its type.
    pub oid: Oid,
}

/// Binds arguments to inputs by position.
///
/// # Errors
/// `Kind::Type` for another number of arguments, or a type that does not fit.
pub(super) fn by_position(model: &str, card: &Card, types: &[Oid]) -> Result<Vec<Source>> {
    if types.len() != card.inputs.len() {
        let (found, expected) = (types.len(), card.inputs.len());
        let values = if found == 1 { "value" } else { "values" };
        let message = format!("model \"{model}\" got {found} {values}, expected {expected}");
        let shown: Vec<String> = types.iter().take(40).map(|oid| type_name(*oid, -1)).collect();
        let text = matches!(types, [only] if [pg_sys::UNKNOWNOID, pg_sys::TEXTOID].contains(only));
        let cast = if text { " A document needs a cast: '{...}'::jsonb." } else { "" };
        return Err(Error::new(Kind::Type, message)
            .detail(format!("Given types: {}.", shown.join(", ")))
            .hint(format!("The model reads, in this order: {}.{cast}", names(&card.inputs))));
    }
    let offers = types.iter().map(|oid| Offer { name: None, oid: *oid });
    card.inputs.iter().zip(offers).enumerate().map(|(at, (input, offer))| fit(input, at, &offer)).collect()
}

/// Binds a row's attributes to inputs by name.
///
/// # Errors
/// `Kind::UnknownColumn` where the row lacks one, `Kind::Type` for a type that does not fit.
pub(super) fn by_name(card: &Card, offers: &[Offer]) -> Result<Vec<Source>> {
    let find = |input: &InputColumn| {
        let at = offers.iter().position(|o| o.name.as_ref() == Some(&input.name));
        let at = at.ok_or_else(|| {
            let found: Vec<&str> = offers.iter().filter_map(|o| o.name.as_deref()).take(40).collect();
            Error::new(Kind::UnknownColumn, format!("the row has no column \"{}\"", input.name))
                .detail(format!("It has: {}.", found.join(", ")))
                .hint(format!(
                    "The model reads: {}. Name them in a subquery, as ROW(...) has no names.",
                    names(&card.inputs)
                ))
        })?;
        fit(input, at, &offers[at])
    };
    card.inputs.iter().map(find).collect()
}

fn names(inputs: &[InputColumn]) -> String {
    let names: Vec<&str> = inputs.iter().map(|i| i.name.as_str()).take(40).collect();
    let more = if inputs.len() > names.len() { ", ..." } else { "" };
    format!("{}{more}", names.join(", "))
}

fn fit(input: &InputColumn, at: usize, offer: &Offer) -> Result<Source> {
    // A literal without a type is read as a C string: NULL fits anywhere, and text where text is wanted.
    let unknown = offer.oid == pg_sys::UNKNOWNOID;
    let reader = if unknown { Some(Reader::Name) } else { Reader::of(offer.oid) };
    match reader.filter(|r| unknown || fits(*r, input.kind)) {
        Some(reader) => Ok(Source { at, reader }),
        None => {
            let (found, expected) = (type_name(offer.oid, -1), kind_name(input.kind));
            let message = match &offer.name {
                Some(name) => format!("column \"{name}\" is of type {found}, expected {expected}"),
                None => {
                    format!("value {} is of type {found}, expected {expected} for \"{}\"", at + 1, input.name)
                }
            };
            Err(Error::new(Kind::Type, message).hint("Cast it to the type that the model was trained on."))
        }
    }
}

fn is_number(reader: Reader) -> bool {
    use Reader::*;
    matches!(reader, F32 | F64 | I16 | I32 | I64 | Bool | Numeric)
}

fn fits(reader: Reader, kind: ColumnKind) -> bool {
    use Reader::*;
    match kind {
        ColumnKind::Number | ColumnKind::Bool => is_number(reader),
        ColumnKind::Text => matches!(reader, Text | Padded | Name | Char | Uuid | Enum),
        ColumnKind::Time => matches!(reader, Date | Time),
        ColumnKind::Vector { .. } => matches!(reader, Vector(_)),
        ColumnKind::Bytes => reader == Bytes,
        // No model reads one.
        ColumnKind::Labels => false,
    }
}

/// Whether all values are numbers, so that they can be set at once.
pub(super) fn all_numbers(sources: &[Source]) -> bool {
    sources.iter().all(|s| is_number(s.reader))
}

/// Room for one row, used again and again.
pub(super) struct Scratch {
    numbers: Vec<f64>,
    vector: Vec<f32>,
    text: [u8; 36],
}

impl Scratch {
    /// Empty.
    pub fn new() -> Scratch {
        Scratch { numbers: vec![], vector: vec![], text: [0; 36] }
    }
}

/// Sets all inputs of a row, all of them numbers.
///
/// # Safety
/// `get` gives the datums that the sources were bound to. It is called without a guard.
#[inline]
pub(super) unsafe fn set_numbers(
    scorer: &Scorer,
    row: &mut Row,
    sources: &[Source],
    scratch: &mut Scratch,
    get: impl Fn(usize) -> (Datum, bool),
) -> engine::Result<()> {
    scratch.numbers.resize(sources.len(), 0.0);
    for (x, source) in scratch.numbers.iter_mut().zip(sources) {
        let (datum, null) = get(source.at);
        // SAFETY: the caller's promise.
        *x = if null { f64::NAN } else { unsafe { number(source.reader, datum) } };
    }
    scorer.set_f64s(row, &scratch.numbers)
}

/// SAFETY: the datum is of that type.
#[inline(always)]
unsafe fn number(reader: Reader, datum: Datum) -> f64 {
    let v = datum.value();
    match reader {
        Reader::F64 => f64::from_bits(v as u64),
        Reader::F32 => f64::from(f32::from_bits(v as u32)),
        Reader::I16 => f64::from(v as i16),
        Reader::I32 => f64::from(v as i32),
        Reader::I64 => v as i64 as f64,
        Reader::Bool => f64::from(v as u8 != 0),
        // SAFETY: the caller's promise; binding admits no other reader.
        _ => unsafe { raw::damson_numeric(datum) },
    }
}

/// Sets all inputs of a row, whatever they are.
///
/// # Safety
/// As for `set_numbers`.
pub(super) unsafe fn set_values(
    scorer: &Scorer,
    row: &mut Row,
    sources: &[Source],
    scratch: &mut Scratch,
    get: impl Fn(usize) -> (Datum, bool),
) -> Result<()> {
    for (input, source) in sources.iter().enumerate() {
        let (datum, null) = get(source.at);
        if null {
            scorer.set(row, input, Value::Missing)?;
            continue;
        }
        // SAFETY: the caller's promise.
        let value = unsafe { value(source.reader, datum, scratch) };
        match value {
            Ok(value) => scorer.set(row, input, value)?,
            Err(fault) => {
                let name = &scorer.card().inputs[input].name;
                return Err(fault.into_error(name, None));
            }
        }
    }
    Ok(())
}

/// One value.
///
/// # Safety
/// The datum is of that type. Text lives as long as the current memory context.
pub(super) unsafe fn value<'a>(
    reader: Reader,
    datum: Datum,
    scratch: &'a mut Scratch,
) -> std::result::Result<Value<'a>, Fault> {
    let v = datum.value();
    let mut len = 0;
    // SAFETY: the caller's promise.
    let bytes: &[u8] = unsafe {
        let data = match reader {
            Reader::Date => return date(v as i32).map(Value::Time).ok_or(Fault::Infinite),
            Reader::Time => return time(v as i64).map(Value::Time).ok_or(Fault::Infinite),
            Reader::Bool => return Ok(Value::Bool(v as u8 != 0)),
            Reader::Vector(element) => {
                floats(datum, element, &mut scratch.vector);
                return Ok(Value::Vector(&scratch.vector));
            }
            Reader::Char => {
                scratch.text[0] = v as u8;
                len = 1;
                scratch.text.as_ptr().cast()
            }
            Reader::Uuid => {
                scratch.text = uuid(&*datum.cast_mut_ptr::<[u8; 16]>());
                len = scratch.text.len();
                scratch.text.as_ptr().cast()
            }
            Reader::Bytes => raw::damson_bytes(datum, &mut len),
            Reader::Text | Reader::Padded => raw::damson_text(datum, &mut len),
            Reader::Name => raw::damson_utf8(datum.cast_mut_ptr(), &mut len),
            Reader::Enum => raw::damson_enum(datum, &mut len),
            _ => return Ok(Value::number(number(reader, datum))),
        };
        std::slice::from_raw_parts(data.cast(), len)
    };
    match reader {
        Reader::Bytes => Ok(Value::Bytes(bytes)),
        Reader::Padded => text(without_padding(bytes)),
        _ => text(bytes),
    }
}

fn text(bytes: &[u8]) -> std::result::Result<Value<'_>, Fault> {
    std::str::from_utf8(bytes).map(Value::Text).map_err(|_| Fault::NotUtf8)
}

/// SAFETY: the datum is an array of such elements.
unsafe fn floats(datum: Datum, element: Element, into: &mut Vec<f32>) {
    let mut view = ArrayView::EMPTY;
    into.clear();
    // SAFETY: the caller's promise.
    unsafe {
        raw::damson_array(datum, &mut view);
        match element {
            Element::F32 => view.extend::<f32, _>(into, |x| x),
            Element::F64 => view.extend::<f64, _>(into, |x| x as f32),
            Element::I16 => view.extend::<i16, _>(into, f32::from),
            Element::I32 => view.extend::<i32, _>(into, |x| x as f32),
            Element::I64 => view.extend::<i64, _>(into, |x| x as f32),
        }
    }
}

/// Sets all inputs from one array. Elements that lie as the engine wants them are not copied.
///
/// # Safety
/// The datum is an array of such elements.
#[inline]
pub(super) unsafe fn set_array(
    scorer: &Scorer,
    row: &mut Row,
    element: Element,
    datum: Datum,
    scratch: &mut Scratch,
) -> engine::Result<()> {
    let mut view = ArrayView::EMPTY;
    // SAFETY: the view is of such elements, and lives as long as the row is scored.
    unsafe {
        raw::damson_array(datum, &mut view);
        let count = view.count as usize;
        let aligned = view.nulls.is_null() && (view.data as usize).is_multiple_of(size_of::<f64>());
        let halved = view.nulls.is_null() && (view.data as usize).is_multiple_of(size_of::<f32>());
        match element {
            Element::F32 if halved => {
                scorer.set_f32s(row, std::slice::from_raw_parts(view.data.cast(), count))
            }
            Element::F64 if aligned => {
                scorer.set_f64s(row, std::slice::from_raw_parts(view.data.cast(), count))
            }
            _ => {
                scratch.numbers.clear();
                match element {
                    Element::F32 => view.extend::<f32, _>(&mut scratch.numbers, f64::from),
                    Element::F64 => view.extend::<f64, _>(&mut scratch.numbers, |x| x),
                    Element::I16 => view.extend::<i16, _>(&mut scratch.numbers, f64::from),
                    Element::I32 => view.extend::<i32, _>(&mut scratch.numbers, f64::from),
                    Element::I64 => view.extend::<i64, _>(&mut scratch.numbers, |x| x as f64),
                }
                scorer.set_f64s(row, &scratch.numbers)
            }
        }
    }
}

/// Sets all inputs from a JSON document, by key.
///
/// # Errors
/// `Kind::UnknownColumn` for a key that is not there, `Kind::Type` for a value of another type.
pub(super) fn set_json(scorer: &Scorer, row: &mut Row, json: &str, scratch: &mut Scratch) -> Result<()> {
    let document: serde_json::Value = serde_json::from_str(json)
        .map_err(|e| Error::internal(format!("the server's JSON is not JSON: {e}")))?;
    let serde_json::Value::Object(document) = document else {
        return Err(Error::new(Kind::Type, "the document is not an object")
            .hint("Write an object with a key for each column, such as '{\"age\": 39}'."));
    };
    for (i, input) in scorer.card().inputs.iter().enumerate() {
        let found = document.get(&input.name).ok_or_else(|| {
            Error::new(Kind::UnknownColumn, format!("the document has no key \"{}\"", input.name)).hint(
                format!(
                    "The model reads: {}. A missing value is written as null.",
                    names(&scorer.card().inputs)
                ),
            )
        })?;
        let value = json_value(input, found, &mut scratch.vector)?;
        scorer.set(row, i, value)?;
    }
    Ok(())
}

fn json_value<'a>(
    input: &InputColumn,
    found: &'a serde_json::Value,
    vector: &'a mut Vec<f32>,
) -> Result<Value<'a>> {
    use serde_json::Value as Json;
    let value = match (found, input.kind) {
        (Json::Null, _) => Some(Value::Missing),
        (Json::Bool(b), ColumnKind::Bool | ColumnKind::Number) => Some(Value::Bool(*b)),
        (Json::Number(n), ColumnKind::Number | ColumnKind::Bool) => n.as_f64().map(Value::number),
        (Json::String(s), ColumnKind::Text) => Some(Value::Text(s)),
        (Json::String(s), ColumnKind::Time) => {
            // SAFETY: the shim copies `len` bytes; what is no time is the server's error.
            let t = unsafe { shim::damson_timestamp(s.as_ptr().cast(), s.len()) };
            let t = time(t).ok_or_else(|| Fault::Infinite.into_error(&input.name, None))?;
            Some(Value::Time(t))
        }
        (Json::Array(elements), ColumnKind::Vector { .. }) => {
            vector.clear();
            for e in elements {
                match (e.as_f64(), e.is_null()) {
                    (Some(x), _) => vector.push(x as f32),
                    (None, true) => vector.push(f32::NAN),
                    (None, false) => return Err(unfit(input, found)),
                }
            }
            Some(Value::Vector(vector))
        }
        _ => None,
    };
    value.ok_or_else(|| unfit(input, found))
}

fn unfit(input: &InputColumn, found: &serde_json::Value) -> Error {
    let shown: String = found.to_string().chars().take(60).collect();
    let message = format!("key \"{}\" is {shown}, expected {}", input.name, kind_name(input.kind));
    let error = Error::new(Kind::Type, message);
    match input.kind {
        ColumnKind::Bytes => error.hint("Give the bytea as an argument of its own."),
        _ => error,
    }
}
