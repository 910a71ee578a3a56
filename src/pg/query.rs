//! A user's query into a frame. Callers: the verbs of `src/api` that take a `source`.
//!
//! A source is the name of a relation, or one SELECT, WITH, VALUES or TABLE. It runs with the caller's rights, row
//! level security included, under the calling statement's snapshot, read-only, and without anything that would
//! make the order of its rows depend on chance: the same data gives the same frame, hence the same model.
//!
//! The server pushes its rows into `receiver`, which stores them by column.

use super::again::Again;
use super::datum;
use super::error::{Code, Error, Result};
use super::pictures::{Incoming, TempFile};
use super::reader::{Reader, feature_reader, is_plain_real, reader};
use super::receiver::Receiver;
use super::role::{ReadOnly, Settings};
use super::shim::{self, Attribute};
use engine::Kind;
use engine::frame::{Data, Frame, unknown_column};
use engine::pictures::Decoder;
use engine::stream::away;
use engine::survey::Survey;
use engine::train::Request;
use pgrx::pg_sys::{self, DestReceiver, TupleDesc};
use std::ffi::CStr;

/// Which columns of a source are wanted.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All.
    All,
    /// These, in this order; others may be of any type.
    Only(&'a [String]),
    /// All but these, which may be of any type, and need not exist.
    Except(&'a [String]),
}

/// Rows that were read.
pub struct Rows {
    /// The rows.
    pub frame: Frame,
    /// What was found out about them meanwhile.
    pub survey: Survey,
    /// Where their images are, where memory has no room for them: to be dropped when the rows were, on the main thread.
    pub file: Option<TempFile>,
    /// Reads the columns that are away, where some are.
    pub again: Option<Again>,
}

/// Reads a source. `limit` is the bytes that the frame may take.
///
/// # Errors
/// `Kind::Parameter` for a source that is neither a name nor a query; `UnknownColumn` and `Type` for columns that
/// are wanted; `Data` for vectors of uneven length and infinite times; `Memory`. What the query itself does wrong
/// is raised by the server.
pub fn read(source: &str, wanted: Wanted, limit: u64) -> Result<Frame> {
    Ok(read_surveyed(source, wanted, limit, None, false)?.frame)
}

/// Reads a source for a training, and finds out meanwhile what is recorded of its rows, where a thread has the time. Images
/// that a network learns from are decoded, and lie in a file where `damson.max_memory` leaves them no room. Of a source that
/// is `repeatable`, numbers that the training need not hold are away where they would take much.
///
/// # Errors
/// As `read`.
pub fn read_to_train(source: &str, wanted: Wanted, request: &Request, repeatable: bool) -> Result<Rows> {
    let mut rows = read_surveyed(source, wanted, request.max_memory, Some(request), repeatable)?;
    if let Some(pictures) = engine::train::overflow(&mut rows.frame, request)? {
        rows.file = Some(TempFile::of(pictures)?);
    }
    let away = rows.frame.columns.iter().filter(|c| matches!(c.data, Data::Away { .. }));
    let names: Vec<String> = away.map(|c| c.name.clone()).collect();
    rows.again = (!names.is_empty()).then(|| Again::new(source, names));
    Ok(rows)
}

/// Takes the images of a source, where a request learns from them: its only column of bytes without another role.
fn images(request: &Request, picked: &[&SourceColumn], expected: usize) -> Result<Option<(usize, Incoming)>> {
    let mut found = None;
    for column in picked.iter().filter(|c| !request.roles().any(|r| *r == c.name)) {
        if reader(column)? == Reader::Bytes && found.replace(column.position).is_some() {
            return Ok(None);
        }
    }
    let Some(position) = found else { return Ok(None) };
    Ok(Decoder::new(request, expected)?.map(|decoder| (position, Incoming::new(decoder))))
}

fn read_surveyed(
    source: &str,
    wanted: Wanted,
    limit: u64,
    request: Option<&Request>,
    repeatable: bool,
) -> Result<Rows> {
    super::work::return_large_blocks();
    let mut receiver = None;
    run(source, |desc, expected| {
        let columns = columns(desc);
        let picked = pick(&columns, wanted)?;
        if let Some(request) = request {
            let target = |c: &&&SourceColumn| request.target.as_ref() != Some(&c.name);
            picked.iter().filter(target).try_for_each(|c| feature_reader(c).map(|_| ()))?;
        }
        let survey = request.map(|r| Survey::new(r, picked.iter().map(|c| c.name.as_str())));
        let images = request.map_or(Ok(None), |r| images(r, &picked, expected))?;
        let reals = picked.iter().map(|c| (c.name.as_str(), is_plain_real(c)));
        let away = request.filter(|_| repeatable).map_or(vec![], |r| away(r, reals));
        let receiver = receiver.insert(Receiver::new(desc, &picked, expected, limit, survey, images, away)?);
        Ok(receiver.destination())
    })?;
    let receiver = receiver.ok_or_else(|| Error::internal("a query ran without a receiver"))?;
    receiver.finish()
}

/// The names and types of a source's columns; it is not run.
///
/// # Errors
/// As [`read`], for the source itself.
pub fn describe(source: &str) -> Result<Vec<(String, pg_sys::Oid)>> {
    let statement = statement(source)?;
    // SAFETY: on the main thread, in a transaction; trees live in the caller's context.
    unsafe {
        let query = analyze(datum::cstring(&statement))?;
        let desc = pg_sys::ExecCleanTypeFromTL((*query).targetList);
        Ok(columns(desc).into_iter().map(|c| (c.name, c.attribute.oid)).collect())
    }
}

/// Runs a source and keeps nothing of it; gives its rows. With `deform` each row is taken apart, which everybody
/// who reads rows must do: the floor that [`read`] is measured against.
#[cfg(feature = "bench")]
pub fn count(source: &str, deform: bool) -> Result<i64> {
    let mut counter = super::receiver::Counter::new(deform);
    run(source, |_, _| Ok(counter.destination()))?;
    Ok(counter.rows())
}

/// Runs a source into a receiver, which is made when the columns are known, and how many rows the planner expects.
pub(super) fn run(
    source: &str,
    receiver: impl FnOnce(TupleDesc, usize) -> Result<*mut DestReceiver>,
) -> Result<()> {
    let statement = statement(source)?;
    let _read_only = ReadOnly::begin();
    let _settings =
        Settings::set(&[(c"max_parallel_workers_per_gather", c"0"), (c"synchronize_seqscans", c"off")]);
    // SAFETY: trees and plans live in a context of their own, deleted when the query is done. When the server
    // raises an error, the abort of its transaction frees that context with its parent, closes the query, and pops
    // the snapshot.
    unsafe {
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"damson source".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        let caller = pg_sys::MemoryContextSwitchTo(context);
        let result = execute(datum::cstring(&statement), receiver);
        pg_sys::MemoryContextSwitchTo(caller);
        pg_sys::MemoryContextDelete(context);
        result
    }
}

/// SAFETY: the current memory context is the query's own.
unsafe fn execute(
    sql: &CStr,
    receiver: impl FnOnce(TupleDesc, usize) -> Result<*mut DestReceiver>,
) -> Result<()> {
    // SAFETY: the steps of the server's own simple query protocol, in their order.
    unsafe {
        let query = analyze(sql)?;
        let plan = pg_sys::pg_plan_query(query, sql.as_ptr(), 0, std::ptr::null_mut());
        let active = pg_sys::ActiveSnapshotSet();
        pg_sys::PushActiveSnapshot(if active {
            pg_sys::GetActiveSnapshot()
        } else {
            pg_sys::GetTransactionSnapshot()
        });
        let desc = pg_sys::CreateQueryDesc(
            plan,
            sql.as_ptr(),
            pg_sys::GetActiveSnapshot(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        );
        pg_sys::ExecutorStart(desc, 0);
        let expected = (*(*plan).planTree).plan_rows as usize;
        let result = receiver((*desc).tupDesc, expected).map(|dest| {
            (*desc).dest = dest;
            #[cfg(feature = "pg18")]
            pg_sys::ExecutorRun(desc, pg_sys::ScanDirection::ForwardScanDirection, 0);
            #[cfg(not(feature = "pg18"))]
            pg_sys::ExecutorRun(desc, pg_sys::ScanDirection::ForwardScanDirection, 0, true);
        });
        pg_sys::ExecutorFinish(desc);
        pg_sys::ExecutorEnd(desc);
        pg_sys::FreeQueryDesc(desc);
        pg_sys::PopActiveSnapshot();
        result
    }
}

/// Parses one statement.
///
/// SAFETY: on the main thread, in a transaction.
unsafe fn only_statement(sql: &CStr) -> Result<*mut pg_sys::RawStmt> {
    // SAFETY: a list that the server has just made.
    unsafe {
        let statements = pg_sys::pg_parse_query(sql.as_ptr());
        let count = if statements.is_null() { 0 } else { (*statements).length };
        if count != 1 {
            return Err(refused(format!("the source has {count} statements, expected one")));
        }
        Ok((*(*statements).elements).ptr_value.cast())
    }
}

/// Parses and analyses one statement that only reads.
///
/// SAFETY: on the main thread, in a transaction.
pub(super) unsafe fn analyze(sql: &CStr) -> Result<*mut pg_sys::Query> {
    // SAFETY: trees that the server has just made, read by their tags.
    unsafe {
        let raw = only_statement(sql)?;
        let statement = (*raw).stmt;
        if (*statement).type_ != pg_sys::NodeTag::T_SelectStmt {
            let tag = CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(statement)));
            return Err(refused(format!("the source is a {} statement", tag.to_string_lossy())));
        }
        if !(*statement.cast::<pg_sys::SelectStmt>()).intoClause.is_null() {
            return Err(refused("the source has an INTO clause"));
        }
        #[cfg(any(feature = "pg13", feature = "pg14"))]
        let queries =
            pg_sys::pg_analyze_and_rewrite(raw, sql.as_ptr(), std::ptr::null_mut(), 0, std::ptr::null_mut());
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        let queries = pg_sys::pg_analyze_and_rewrite_fixedparams(
            raw,
            sql.as_ptr(),
            std::ptr::null(),
            0,
            std::ptr::null_mut(),
        );
        if queries.is_null() || (*queries).length != 1 {
            return Err(refused("the source is rewritten to more than one query"));
        }
        let query = (*(*queries).elements).ptr_value.cast::<pg_sys::Query>();
        if (*query).commandType != pg_sys::CmdType::CMD_SELECT || (*query).hasModifyingCTE {
            return Err(refused("the source writes"));
        }
        if !(*query).rowMarks.is_null() {
            return Err(refused("the source locks rows"));
        }
        Ok(query)
    }
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message).hint(
        "A source is the name of a table or view, or one SELECT that only reads, without FOR UPDATE or INTO.",
    )
}

/// The statement that a source stands for: itself, or a relation's rows.
///
/// # Errors
/// 22023 for a source that is neither a name nor a query.
pub fn statement(source: &str) -> Result<String> {
    let source = source.trim();
    if source.is_empty() {
        return Err(refused("the source is empty"));
    }
    let word = source.find(|c: char| !c.is_ascii_alphabetic()).map(|end| (&source[..end], &source[end..]));
    let begins_query = |(word, rest): (&str, &str)| {
        let keyword = ["select", "with", "values", "table"].iter().any(|k| word.eq_ignore_ascii_case(k));
        // `with` alone may be a relation's name, and `values.x` one in a schema.
        keyword && !rest.starts_with(['.', '_', '$', ';']) && !rest.starts_with(|c: char| c.is_alphanumeric())
    };
    if source.starts_with(['(', '-', '/']) || word.is_some_and(begins_query) {
        return Ok(source.to_string());
    }
    match qualified_name(source) {
        Some(parts) => Ok(format!("SELECT * FROM {}", parts.join("."))),
        None => {
            let message = format!("the source {} is neither a relation's name nor a query", excerpt(source));
            Err(refused(message).detail(
                "Names with capitals or other signs are written in double quotes, as everywhere in SQL.",
            ))
        }
    }
}

/// A source as an item of a FROM clause, named `"damson row"`: without what ends its statement or comes after it.
///
/// # Errors
/// 22023 for a source that is not one statement, 42601 for one that is none.
pub fn from_item(source: &str) -> Result<String> {
    let statement = statement(source)?;
    let statement = datum::cstring(&statement);
    // SAFETY: on the main thread, in a transaction; the tree is the one that the server has just made.
    let text = unsafe {
        let raw = only_statement(statement)?;
        let (from, length) = ((*raw).stmt_location.max(0) as usize, (*raw).stmt_len as usize);
        let rest = statement.to_bytes().get(from..).unwrap_or_default();
        // No length means up to the end.
        let text = if length == 0 { rest } else { rest.get(..length).unwrap_or(rest) };
        // A part of a string without NUL.
        let text = std::ffi::CString::new(text).unwrap_or_default();
        datum::utf8(text.as_ptr())
    };
    Ok(format!("({text}\n) AS \"damson row\""))
}

fn excerpt(source: &str) -> String {
    let shown: String = source.chars().take(60).collect();
    if shown.len() < source.len() { format!("{shown}...") } else { shown }
}

/// The parts of a relation's name, each quoted, or none where it is not one.
pub(super) fn qualified_name(source: &str) -> Option<Vec<String>> {
    let quoted = |name: String| format!("\"{}\"", name.replace('"', "\"\""));
    Some(names(source)?.into_iter().map(quoted).collect())
}

/// The parts of an object's name, as the server would read it, or none where it is not one.
pub fn names(source: &str) -> Option<Vec<String>> {
    let mut parts = vec![];
    let mut rest = source;
    loop {
        let (name, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_identifier(quoted)?,
            None => {
                let end = rest.find(|c: char| !is_name(c)).unwrap_or(rest.len());
                let name = &rest[..end];
                if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
                    return None;
                }
                (name.to_ascii_lowercase(), &rest[end..])
            }
        };
        parts.push(name);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() && parts.len() <= 3 => return Some(parts),
            None => return None,
        }
    }
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// A quoted identifier after its first quote, and what follows its last.
fn quoted_identifier(quoted: &str) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('"')?;
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return (!name.is_empty()).then_some((name, rest)),
        }
    }
}

/// A column of a source.
pub(super) struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its position, from 0.
    pub position: usize,
    /// As the server describes it.
    pub attribute: Attribute,
}

/// An attribute of a query's rows.
pub(super) fn attribute(desc: TupleDesc, position: usize) -> Attribute {
    let mut attribute = std::mem::MaybeUninit::uninit();
    // SAFETY: the description of a query's result, as long as the query; the shim fills the attribute.
    unsafe {
        shim::damson_attribute(desc, position as i32, attribute.as_mut_ptr());
        attribute.assume_init()
    }
}

/// The columns of a query's rows.
pub(super) fn columns(desc: TupleDesc) -> Vec<SourceColumn> {
    let column = |position| {
        let attribute = attribute(desc, position);
        // SAFETY: an attribute's name ends in NUL.
        SourceColumn { name: unsafe { datum::utf8(attribute.name) }, position, attribute }
    };
    // SAFETY: the description of a query's result.
    (0..unsafe { (*desc).natts } as usize).map(column).collect()
}

pub(super) fn pick<'a>(columns: &'a [SourceColumn], wanted: Wanted) -> Result<Vec<&'a SourceColumn>> {
    let picked: Vec<&SourceColumn> = match wanted {
        Wanted::All => columns.iter().collect(),
        Wanted::Except(names) => columns.iter().filter(|c| !names.contains(&c.name)).collect(),
        Wanted::Only(names) => {
            let find = |name: &String| {
                let names = columns.iter().map(|c| c.name.as_str());
                columns
                    .iter()
                    .find(|c| c.name == *name)
                    .ok_or_else(|| Error::from(unknown_column(name, names)))
            };
            names.iter().map(find).collect::<Result<_>>()?
        }
    };
    for column in &picked {
        if columns.iter().any(|c| c.name == column.name && c.position != column.position) {
            let message = format!("the source has two columns \"{}\"", column.name);
            return Err(Error::new(Code::DuplicateColumn, message)
                .hint("Name the columns of the SELECT instead of taking *, and rename one with AS."));
        }
    }
    Ok(picked)
}
