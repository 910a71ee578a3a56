//! Whether the catalog changed, by the server's own invalidation messages: they leave at commit and not before,
//! are taken back by a rollback (of a savepoint too), stay in their database, and reach standbys through the WAL.
//! Callers: `src/catalog`, and through it the scorers.
//!
//! One table's messages stand for the whole catalog's: `damson_catalog.models`.

use super::error::{Error, Result};
use pgrx::pg_sys::{self, Datum, Oid};
use std::cell::Cell;

thread_local! {
    /// The table that is watched; 0 before the first call. A re-created extension has another one.
    static WATCHED: Cell<Oid> = const { Cell::new(pg_sys::InvalidOid) };
    static GENERATION: Cell<u64> = const { Cell::new(1) };
}

/// A number that changes whenever the catalog may have: what was read under another number is stale.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Watches the catalog from now on. Call it before reading what is to be kept.
///
/// # Errors
/// `Kind::Internal` when the extension is half dropped.
pub fn watch() -> Result<()> {
    let table = table()?;
    let before = WATCHED.replace(table);
    if before == pg_sys::InvalidOid {
        // SAFETY: registered once a process, as nothing sets the cell back.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), Datum::from(0usize)) };
    }
    if before != table {
        bump();
    }
    Ok(())
}

/// Tells everybody who watches that the catalog changed, if and when this transaction commits.
///
/// # Errors
/// As for `watch`.
pub fn announce() -> Result<()> {
    let table = table()?;
    // SAFETY: queues a message about a table that is there.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(table) };
    Ok(())
}

/// Raises the server's error in a read-only transaction or on a standby: before long work, not after it.
pub fn check_possible() {
    // SAFETY: a constant string; the server raises or returns.
    unsafe { pg_sys::PreventCommandIfReadOnly(c"a change of models".as_ptr()) };
}

fn table() -> Result<Oid> {
    // SAFETY: look-ups by constant names.
    let table = unsafe {
        match pg_sys::get_namespace_oid(c"damson_catalog".as_ptr(), true) {
            pg_sys::InvalidOid => pg_sys::InvalidOid,
            schema => pg_sys::get_relname_relid(c"models".as_ptr(), schema),
        }
    };
    if table == pg_sys::InvalidOid {
        return Err(Error::internal("the table damson_catalog.models is missing"));
    }
    Ok(table)
}

fn bump() {
    GENERATION.set(GENERATION.get() + 1);
}

/// Called by the server at any moment, so it only counts. 0 stands for every relation.
unsafe extern "C-unwind" fn changed(_: Datum, relation: Oid) {
    if relation == pg_sys::InvalidOid || relation == WATCHED.get() {
        bump();
    }
}
