//! What a source reads: which columns of which relations, through views, subqueries and common table expressions, and
//! into which of the source's own columns each of them goes. It is found in the analysed query, so it holds whatever
//! the rows are. Callers: the verbs that train and that fill tables.
//!
//! What functions read is not seen; the functions themselves are, unless they are the server's own.

use super::error::Result;
use super::{datum, query, shim, spi};
use pgrx::pg_sys::{self, Oid};
use std::collections::BTreeSet;
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

impl Read {
    /// The relation, or the function.
    pub fn object(&self) -> Oid {
        Oid::from(self.relation)
    }

    /// The column's number; 0 for the relation as such.
    pub fn attribute(&self) -> i32 {
        self.attribute
    }

    /// The kind of relation, as `pg_class` has it, or `F` for a function.
    pub fn kind(&self) -> char {
        char::from(self.kind)
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

    /// The type of a column of the source, of a domain that of its values.
    pub fn type_of(&self, output: &str) -> Option<Oid> {
        let at = self.outputs.iter().position(|name| name == output)?;
        self.types.get(at).copied()
    }

    /// What is read for the columns of the source that are `wanted`, with the column that it goes into; none where it
    /// only decides which rows there are.
    pub fn for_columns<'a>(
        &'a self,
        wanted: &'a dyn Fn(&str) -> bool,
    ) -> impl Iterator<Item = (Read, Option<&'a str>)> {
        let output = |read: &Read| match read.output {
            0 => None,
            n => self.outputs.get(n as usize - 1).map(String::as_str),
        };
        self.reads
            .iter()
            .map(move |read| (*read, output(read)))
            .filter(move |(read, output)| read.output == 0 || output.is_some_and(wanted))
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
