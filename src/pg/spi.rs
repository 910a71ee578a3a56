//! SQL from Rust: one statement with typed parameters, its rows as Rust values. Callers: `src/catalog`.
//!
//! ```ignore
//! let rows = spi::select("SELECT id, name FROM damson_catalog.models WHERE id = $1", &[id.into()])?;
//! for row in &rows {
//!     let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
//! }
//! ```
//!
//! Rows are copied out before the call returns, so nothing borrowed from the server escapes. An error of the
//! statement travels as a panic, like every error of the server.

use super::datum::{self, Bytes, Float4Array, Float8Array, Jsonb, Text, TextArray, Value as _};
use super::error::{Error, Result};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CStr, c_char};
use std::ops::Deref;

/// A parameter, made by `into()` from a value, a reference or an `Option`; `None` is NULL.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// `boolean`.
    Bool(Option<bool>),
    /// `integer`.
    Int4(Option<i32>),
    /// `bigint`.
    Int8(Option<i64>),
    /// `double precision`.
    Float8(Option<f64>),
    /// `oid`.
    Oid(Option<Oid>),
    /// `text`.
    Text(Option<&'a str>),
    /// `bytea`.
    Bytes(Option<&'a [u8]>),
    /// `jsonb`, from its text.
    Jsonb(Option<&'a Jsonb>),
    /// `text[]`.
    TextArray(Option<&'a TextArray>),
    /// `double precision[]`.
    Float8Array(Option<&'a Float8Array>),
}

macro_rules! param_from {
    ($($variant:ident($type:ty)),* $(,)?) => { $(
        impl<'a> From<$type> for Param<'a> {
            fn from(v: $type) -> Self {
                Param::$variant(Some(v))
            }
        }
        impl<'a> From<Option<$type>> for Param<'a> {
            fn from(v: Option<$type>) -> Self {
                Param::$variant(v)
            }
        }
    )* };
}

param_from!(
    Bool(bool),
    Int4(i32),
    Int8(i64),
    Float8(f64),
    Oid(Oid),
    Text(&'a str),
    Bytes(&'a [u8]),
    Jsonb(&'a Jsonb),
    TextArray(&'a TextArray),
    Float8Array(&'a Float8Array),
);

impl<'a> From<&'a String> for Param<'a> {
    fn from(v: &'a String) -> Self {
        Param::Text(Some(v))
    }
}

impl<'a> From<&'a Text> for Param<'a> {
    fn from(v: &'a Text) -> Self {
        Param::Text(Some(v))
    }
}

impl Param<'_> {
    fn oid(&self) -> Oid {
        match self {
            Param::Bool(_) => pg_sys::BOOLOID,
            Param::Int4(_) => pg_sys::INT4OID,
            Param::Int8(_) => pg_sys::INT8OID,
            Param::Float8(_) => pg_sys::FLOAT8OID,
            Param::Oid(_) => pg_sys::OIDOID,
            Param::Text(_) => pg_sys::TEXTOID,
            Param::Bytes(_) => pg_sys::BYTEAOID,
            Param::Jsonb(_) => pg_sys::JSONBOID,
            Param::TextArray(_) => pg_sys::TEXTARRAYOID,
            Param::Float8Array(_) => pg_sys::FLOAT8ARRAYOID,
        }
    }

    fn write(&self) -> Option<Datum> {
        match *self {
            Param::Bool(v) => v.map(Datum::from),
            Param::Int4(v) => v.map(Datum::from),
            Param::Int8(v) => v.map(Datum::from),
            Param::Float8(v) => v.map(|v| Datum::from(v.to_bits())),
            Param::Oid(v) => v.map(Datum::from),
            Param::Text(v) => v.map(datum::text),
            Param::Bytes(v) => v.map(datum::bytes),
            Param::Jsonb(v) => v.map(Jsonb::write),
            Param::TextArray(v) => v.map(TextArray::write),
            Param::Float8Array(v) => v.map(Float8Array::write),
        }
    }
}

/// A value of a row.
#[derive(Debug, Clone)]
pub enum Cell {
    /// NULL.
    Null,
    /// `boolean`.
    Bool(bool),
    /// `smallint`, `integer` and `bigint`.
    Int(i64),
    /// `real` and `double precision`.
    Float(f64),
    /// `oid`.
    Oid(Oid),
    /// `text`, `varchar` and `name`.
    Text(String),
    /// `bytea`.
    Bytes(Vec<u8>),
    /// `jsonb`, as text.
    Jsonb(Jsonb),
    /// `text[]`.
    TextArray(TextArray),
    /// `real[]`.
    Float4Array(Float4Array),
    /// `double precision[]`.
    Float8Array(Float8Array),
    /// `timestamp with time zone`.
    Time(TimestampWithTimeZone),
}

/// A row of a result; columns count from 0.
#[derive(Debug, Clone)]
pub struct Row(Vec<Cell>);

/// What a statement gave.
#[derive(Debug, Clone)]
pub struct Rows {
    rows: Vec<Row>,
    /// How many rows it returned, inserted, updated or deleted.
    pub processed: u64,
}

impl Deref for Rows {
    type Target = [Row];

    fn deref(&self) -> &[Row] {
        &self.rows
    }
}

impl<'a> IntoIterator for &'a Rows {
    type Item = &'a Row;
    type IntoIter = std::slice::Iter<'a, Row>;

    fn into_iter(self) -> Self::IntoIter {
        self.rows.iter()
    }
}

/// A Rust type that a cell becomes. `Option` admits NULL.
pub trait FromCell: Sized {
    /// The value, or nothing where the cell is of another type.
    fn from_cell(cell: &Cell) -> Option<Self>;
}

macro_rules! from_cell {
    ($($type:ty: $cell:pat => $value:expr),* $(,)?) => { $(
        impl FromCell for $type {
            fn from_cell(cell: &Cell) -> Option<Self> {
                match cell {
                    $cell => $value,
                    _ => None,
                }
            }
        }
    )* };
}

from_cell!(
    bool: Cell::Bool(v) => Some(*v),
    i64: Cell::Int(v) => Some(*v),
    i32: Cell::Int(v) => i32::try_from(*v).ok(),
    f64: Cell::Float(v) => Some(*v),
    Oid: Cell::Oid(v) => Some(*v),
    String: Cell::Text(v) => Some(v.clone()),
    Text: Cell::Text(v) => Some(Text(v.clone())),
    Vec<u8>: Cell::Bytes(v) => Some(v.clone()),
    Jsonb: Cell::Jsonb(v) => Some(v.clone()),
    TextArray: Cell::TextArray(v) => Some(v.clone()),
    Float4Array: Cell::Float4Array(v) => Some(v.clone()),
    Float8Array: Cell::Float8Array(v) => Some(v.clone()),
    TimestampWithTimeZone: Cell::Time(v) => Some(*v),
);

impl<T: FromCell> FromCell for Option<T> {
    fn from_cell(cell: &Cell) -> Option<Self> {
        if matches!(cell, Cell::Null) { Some(None) } else { T::from_cell(cell).map(Some) }
    }
}

impl Row {
    /// Column `i`, counted from 0, as a Rust type.
    ///
    /// # Errors
    /// `Kind::Internal`: the statement is ours, so another type or a NULL is our fault.
    pub fn get<T: FromCell>(&self, i: usize) -> Result<T> {
        let cell = self.0.get(i).ok_or_else(|| Error::internal(format!("a result has no column {i}")))?;
        T::from_cell(cell).ok_or_else(|| {
            let found = if matches!(cell, Cell::Null) { "NULL" } else { "of another type" };
            Error::internal(format!(
                "column {i} of a result is {found}, expected {}",
                std::any::type_name::<T>()
            ))
        })
    }

    /// Takes column `i` out of the row when it is bytes: for artifacts, which are too large to copy.
    ///
    /// # Errors
    /// As for `get`.
    pub fn take_bytes(&mut self, i: usize) -> Result<Vec<u8>> {
        match self.0.get_mut(i).map(|c| std::mem::replace(c, Cell::Null)) {
            Some(Cell::Bytes(b)) => Ok(b),
            _ => Err(Error::internal(format!("column {i} of a result is not bytes"))),
        }
    }
}

impl Rows {
    /// The only row, or none.
    ///
    /// # Errors
    /// `Kind::Internal` for more than one.
    pub fn one(self) -> Result<Option<Row>> {
        match self.rows.len() {
            0 | 1 => Ok(self.rows.into_iter().next()),
            n => Err(Error::internal(format!("a result has {n} rows, expected one"))),
        }
    }

    /// The rows themselves.
    pub fn into_vec(self) -> Vec<Row> {
        self.rows
    }
}

/// Runs a statement that only reads, under the snapshot of the statement that called: it does not see what the
/// calling function itself has written. Works in parallel workers and on a standby.
pub fn select(sql: &str, params: &[Param]) -> Result<Rows> {
    run(sql, params, true)
}

/// Runs any statement; it sees everything that was written before it. Rows come from `RETURNING` or a query.
pub fn execute(sql: &str, params: &[Param]) -> Result<Rows> {
    run(sql, params, false)
}

/// Rows of a user's statement that are told of, at most.
const TOLD: usize = 1000;

/// Runs any statements of a user, with his rights: the rows of the last one as JSON, and how many they were. Types that
/// JSON does not have become text.
///
/// # Errors
/// 0A000 for a statement that ends transactions, which a function must not.
pub fn perform(sql: &str) -> Result<(Vec<serde_json::Map<String, serde_json::Value>>, u64)> {
    let sql = datum::cstring(sql);
    // SAFETY: as for `connected`; the table, where there is one, has its rows until SPI_finish.
    unsafe {
        check(pg_sys::SPI_connect())?;
        let code = pg_sys::SPI_execute(sql.as_ptr(), false, 0);
        if code == pg_sys::SPI_ERROR_TRANSACTION {
            return Err(Error::new(
                engine::Kind::Unsupported,
                "a job cannot begin, commit or roll back transactions",
            )
            .hint("A job is one transaction."));
        }
        let rows = check(code).and_then(|()| told_rows());
        let processed = pg_sys::SPI_processed;
        check(pg_sys::SPI_finish())?;
        Ok((rows?, processed))
    }
}

/// SAFETY: SPI is connected and a statement was run.
unsafe fn told_rows() -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    // SAFETY: the table, where there is one, has `SPI_processed` tuples of its descriptor.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return Ok(vec![]);
        }
        let desc = (*table).tupdesc;
        let mut rows = vec![];
        for i in 0..(pg_sys::SPI_processed as usize).min(TOLD) {
            let tuple = *(*table).vals.add(i);
            let mut row = serde_json::Map::new();
            for c in 1..=(*desc).natts {
                let name = pg_sys::SPI_fname(desc, c);
                let value = pg_sys::SPI_getvalue(tuple, desc, c);
                let text = (!value.is_null()).then(|| datum::utf8(value));
                row.insert(datum::utf8(name), told(pg_sys::SPI_gettypeid(desc, c), text));
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

/// A value of that type, written as text, as JSON.
fn told(oid: Oid, text: Option<String>) -> serde_json::Value {
    let Some(text) = text else { return serde_json::Value::Null };
    let parsed = match oid {
        pg_sys::BOOLOID => return (text == "t").into(),
        pg_sys::INT2OID
        | pg_sys::INT4OID
        | pg_sys::INT8OID
        | pg_sys::FLOAT4OID
        | pg_sys::FLOAT8OID
        | pg_sys::NUMERICOID
        | pg_sys::JSONOID
        | pg_sys::JSONBOID => serde_json::from_str(&text).ok(),
        _ => None,
    };
    parsed.unwrap_or_else(|| text.into())
}

/// As [`select`], with a plan that the session keeps, for all values of the parameters: for what runs once a statement of
/// the user. Planning a join of three tables costs ten times what running it does. The server makes the plan anew when its
/// tables change.
pub fn select_kept(sql: &'static str, params: &[Param]) -> Result<Rows> {
    kept(sql, params, true)
}

/// As [`execute`], with a plan that the session keeps.
pub fn execute_kept(sql: &'static str, params: &[Param]) -> Result<Rows> {
    kept(sql, params, false)
}

fn kept(sql: &'static str, params: &[Param], read_only: bool) -> Result<Rows> {
    thread_local! {
        static PLANS: RefCell<HashMap<&'static str, pg_sys::SPIPlanPtr>> = RefCell::default();
    }
    connected(sql, params, |sql_text, types, values, nulls| {
        let kept = PLANS.with_borrow(|plans| plans.get(sql).copied());
        // SAFETY: SPI is connected; a plan is kept only once it is whole, and then for the life of the process.
        unsafe {
            let plan = match kept {
                Some(plan) => plan,
                None => {
                    let (count, options) = (types.len() as i32, pg_sys::CURSOR_OPT_GENERIC_PLAN as i32);
                    let plan =
                        pg_sys::SPI_prepare_cursor(sql_text.as_ptr(), count, types.as_mut_ptr(), options);
                    if plan.is_null() {
                        return pg_sys::SPI_result;
                    }
                    pg_sys::SPI_keepplan(plan);
                    PLANS.with_borrow_mut(|plans| plans.insert(sql, plan));
                    plan
                }
            };
            pg_sys::SPI_execute_plan(plan, values.as_mut_ptr(), nulls.as_ptr(), read_only, 0)
        }
    })
}

fn run(sql: &str, params: &[Param], read_only: bool) -> Result<Rows> {
    connected(sql, params, |sql, types, values, nulls| {
        let (types_ptr, values_ptr, count) = (types.as_mut_ptr(), values.as_mut_ptr(), types.len() as i32);
        // SAFETY: SPI is connected; as many types, values and marks as the count says.
        unsafe {
            pg_sys::SPI_execute_with_args(
                sql.as_ptr(),
                count,
                types_ptr,
                values_ptr,
                nulls.as_ptr(),
                read_only,
                0,
            )
        }
    })
}

/// Connects, executes with the parameters as types, values and marks for NULL, and copies the rows out.
fn connected(
    sql: &str,
    params: &[Param],
    execute: impl FnOnce(&CStr, &mut [Oid], &mut [Datum], &[c_char]) -> i32,
) -> Result<Rows> {
    let sql = datum::cstring(sql);
    // SAFETY: parameters and rows live in the connection's own memory, which SPI_finish frees after the rows
    // were copied. When the server raises an error in between, the abort of its transaction closes SPI.
    unsafe {
        let code = pg_sys::SPI_connect();
        check(code)?;
        let mut types: Vec<Oid> = params.iter().map(Param::oid).collect();
        let data: Vec<Option<Datum>> = params.iter().map(Param::write).collect();
        let mut values: Vec<Datum> = data.iter().map(|d| d.unwrap_or(Datum::null())).collect();
        let nulls: Vec<c_char> =
            data.iter().map(|d| if d.is_none() { b'n' } else { b' ' } as c_char).collect();
        let code = execute(sql, &mut types, &mut values, &nulls);
        let rows = check(code).and_then(|()| copy_rows());
        let processed = pg_sys::SPI_processed;
        check(pg_sys::SPI_finish())?;
        Ok(Rows { rows: rows?, processed })
    }
}

fn check(code: i32) -> Result<()> {
    if code >= 0 {
        return Ok(());
    }
    // SAFETY: gives a constant string for any code.
    let name = unsafe { CStr::from_ptr(pg_sys::SPI_result_code_string(code)) };
    Err(Error::internal(format!("the server refused a statement: {}", name.to_string_lossy())))
}

/// SAFETY: SPI is connected and a statement was run.
unsafe fn copy_rows() -> Result<Vec<Row>> {
    // SAFETY: the table, where there is one, has `SPI_processed` tuples of its descriptor.
    unsafe {
        let table = pg_sys::SPI_tuptable;
        if table.is_null() {
            return Ok(vec![]);
        }
        let desc = (*table).tupdesc;
        let columns = (*desc).natts;
        let types: Vec<Oid> = (1..=columns).map(|c| pg_sys::SPI_gettypeid(desc, c)).collect();
        let mut rows = Vec::with_capacity(pg_sys::SPI_processed as usize);
        for i in 0..pg_sys::SPI_processed as usize {
            let tuple = *(*table).vals.add(i);
            let cell = |c: i32| {
                let mut null = false;
                let datum = pg_sys::SPI_getbinval(tuple, desc, c, &mut null);
                if null { Ok(Cell::Null) } else { read(types[c as usize - 1], datum) }
            };
            rows.push(Row((1..=columns).map(cell).collect::<Result<_>>()?));
        }
        Ok(rows)
    }
}

/// SAFETY: the datum is of that type.
unsafe fn read(oid: Oid, datum: Datum) -> Result<Cell> {
    let v = datum.value();
    // SAFETY: the caller's promise.
    let cell = unsafe {
        match oid {
            pg_sys::BOOLOID => Cell::Bool(v as u8 != 0),
            pg_sys::INT2OID => Cell::Int(i64::from(v as i16)),
            pg_sys::INT4OID => Cell::Int(i64::from(v as i32)),
            pg_sys::INT8OID => Cell::Int(v as i64),
            pg_sys::FLOAT4OID => Cell::Float(f64::from(f32::from_bits(v as u32))),
            pg_sys::FLOAT8OID => Cell::Float(f64::from_bits(v as u64)),
            pg_sys::OIDOID => Cell::Oid(Oid::from(v as u32)),
            pg_sys::TEXTOID | pg_sys::VARCHAROID => Cell::Text(Text::read(datum).0),
            pg_sys::NAMEOID => Cell::Text(datum::utf8(datum.cast_mut_ptr())),
            pg_sys::BYTEAOID => Cell::Bytes(Bytes::read(datum).0),
            pg_sys::JSONBOID => Cell::Jsonb(Jsonb::read(datum)),
            pg_sys::TEXTARRAYOID => Cell::TextArray(TextArray::read(datum)),
            pg_sys::FLOAT4ARRAYOID => Cell::Float4Array(Float4Array::read(datum)),
            pg_sys::FLOAT8ARRAYOID => Cell::Float8Array(Float8Array::read(datum)),
            pg_sys::TIMESTAMPTZOID => Cell::Time(
                TimestampWithTimeZone::try_from(datum)
                    .map_err(|e| Error::internal(format!("a result has a bad time: {e}")))?,
            ),
            oid => return Err(Error::internal(format!("a result has a column of type {}", oid.to_u32()))),
        }
    };
    Ok(cell)
}
