//! What a source reads: which columns of which relations, through views, subqueries and common table expressions, and
//! into which of the source's own columns each of them goes. It is found in the analysed query, so it holds whatever
//! the rows are. Callers: the verbs that train and that fill tables.
//!
//! What functions read is not seen; the functions themselves are, unless they are the server's own.

use super::error::Result;
use super::{datum, query, shim, spi};
use pgrx::pg_sys::{self, Oid};
use std::collections::BTreeSet;
use std::ffi::c_char;
use std::time::Instant;

/// One thing that is read, as `reads.c` notes it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    relation: u32,
    attribute: i32,
    output: i32,
    kind: u8,
}

/// What [`Read`] is called, as `reads.c` finds it.
#[repr(C)]
pub struct ReadName {
    schema: *const c_char,
    relation: *const c_char,
    column: *const c_char,
    of_type: Oid,
    typmod: i32,
}

/// Something that is read, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Which it is, of its kind.
    pub oid: Oid,
    /// Its schema.
    pub schema: String,
    /// The relation, or the function.
    pub relation: String,
    /// What it is.
    pub kind: &'static str,
    /// The column, with its type and the type's modifier; none for the relation as such.
    pub column: Option<(String, Oid, i32)>,
}

impl Read {
    /// What it is called; none where it is no more. Its relation is locked.
    fn name(&self) -> Option<Named> {
        let mut name = ReadName {
            schema: std::ptr::null(),
            relation: std::ptr::null(),
            column: std::ptr::null(),
            of_type: Oid::INVALID,
            typmod: -1,
        };
        // SAFETY: on the main thread, in a transaction. `reads.c` fills what it returns true for: names are C strings
        // in the current memory context, and only that of a column may be null.
        unsafe {
            shim::damson_read_name(self, &mut name).then(|| Named {
                oid: Oid::from_u32(self.relation),
                schema: datum::utf8(name.schema),
                relation: datum::utf8(name.relation),
                kind: self.kind(),
                column: (!name.column.is_null())
                    .then(|| (datum::utf8(name.column), name.of_type, name.typmod)),
            })
        }
    }

    fn kind(&self) -> &'static str {
        match self.kind {
            b'r' | b'p' => "table",
            b'v' => "view",
            b'm' => "materialized view",
            b'f' => "foreign table",
            b'F' => "function",
            _ => "relation",
        }
    }
}

/// A source as it is about to be read.
#[derive(Debug, Clone)]
pub struct Reading {
    outputs: Vec<String>,
    types: Vec<Oid>,
    reads: BTreeSet<Read>,
    /// Whether it gives the same rows each time that it is read under one snapshot, as far as can be told from it.
    pub repeatable: bool,
    /// The snapshot that it is read under.
    pub snapshot: String,
    /// What its names are looked up in.
    pub search_path: String,
    /// What its times are in.
    pub time_zone: String,
    /// The server's version.
    pub server: String,
    /// Seconds that it took to find out.
    pub seconds: f64,
}

const CONTEXT: &str = "SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text,
    pg_catalog.current_setting('search_path'), pg_catalog.current_setting('TimeZone'),
    pg_catalog.current_setting('server_version')";

impl Reading {
    /// Analyses a source and does not run it. The relations stay locked for the rest of the transaction, so they are
    /// the same when it is run.
    ///
    /// # Errors
    /// As [`query::read`], for the source itself.
    pub fn of(source: &str) -> Result<Reading> {
        let start = Instant::now();
        let statement = query::statement(source)?;
        let row = spi::select_kept(CONTEXT, &[])?.one()?;
        let row = row.ok_or_else(|| super::error::Error::internal("settings have no row"))?;
        // SAFETY: on the main thread, in a transaction; trees live in a context of their own, which an abort frees
        // with its parent. `reads.c` gives as many reads as it counts.
        let (outputs, types, reads, repeatable) = unsafe {
            let context = pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"damson reads".as_ptr(),
                pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
                pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
            );
            let caller = pg_sys::MemoryContextSwitchTo(context);
            let found = query::analyze(datum::cstring(&statement)).map(|tree| {
                let desc = pg_sys::ExecCleanTypeFromTL((*tree).targetList);
                // A domain's values are those of its base type.
                let (outputs, types) = query::columns(desc)
                    .into_iter()
                    .map(|c| (c.name, pg_sys::getBaseType(c.attribute.oid)))
                    .unzip::<_, _, Vec<_>, Vec<_>>();
                let mut reads = std::ptr::null_mut();
                let count = shim::damson_reads(tree, &mut reads) as usize;
                let reads = std::slice::from_raw_parts(reads, count).iter().copied().collect();
                (outputs, types, reads, shim::damson_repeatable(tree))
            });
            pg_sys::MemoryContextSwitchTo(caller);
            pg_sys::MemoryContextDelete(context);
            found?
        };
        Ok(Reading {
            outputs,
            types,
            reads,
            repeatable,
            snapshot: row.get(0)?,
            search_path: row.get(1)?,
            time_zone: row.get(2)?,
            server: row.get(3)?,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// The names of the source's columns.
    pub fn outputs(&self) -> &[String] {
        &self.outputs
    }

    /// The name in `pg_catalog` of the type of a column of the source, of a domain that of its values; none for other
    /// types.
    pub fn type_of(&self, output: &str) -> Option<String> {
        let at = self.outputs.iter().position(|name| name == output)?;
        let of_type = *self.types.get(at)?;
        // SAFETY: on the main thread, in a transaction; it is a C string or null.
        unsafe {
            let name = shim::damson_type_name(of_type);
            (!name.is_null()).then(|| datum::utf8(name))
        }
    }

    /// What is read for the columns of the source that are `wanted`, with the column that it goes into; none where it
    /// only decides which rows there are. Named under the locks that the reading took.
    pub fn for_columns<'a>(
        &'a self,
        wanted: &'a dyn Fn(&str) -> bool,
    ) -> impl Iterator<Item = (Named, Option<&'a str>)> {
        let output = |read: &Read| match read.output {
            0 => None,
            n => self.outputs.get(n as usize - 1).map(String::as_str),
        };
        self.reads
            .iter()
            .map(move |read| (read, output(read)))
            .filter(move |(read, output)| read.output == 0 || output.is_some_and(wanted))
            .filter_map(|(read, output)| Some((read.name()?, output)))
    }
}

/// The server's version.
///
/// # Errors
/// None in practice.
pub fn server_version() -> Result<String> {
    let row = spi::select_kept(CONTEXT, &[])?.one()?;
    row.ok_or_else(|| super::error::Error::internal("settings have no row"))?.get(3)
}
