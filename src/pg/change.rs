//! Whether the catalog changed, by the server's own invalidation messages: they leave at commit and not before,
//! are taken back by a rollback (of a savepoint too), stay in their database, and reach standbys through the WAL.
//! Callers: `src/catalog`, and through it the scorers.
//!
//! One table's messages stand for the whole catalog's: `damson_catalog.models`.

use super::error::{Error, Result};
use super::shim::raw;
use pgrx::pg_sys::{self, Datum, Oid};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

// Only the main thread comes here. Atomics cost less than thread-local cells, once a row.
/// The table that is watched; 0 before the first call. A re-created extension has another one.
static WATCHED: AtomicU32 = AtomicU32::new(0);
static GENERATION: AtomicU64 = AtomicU64::new(1);
static MOMENT: AtomicU64 = AtomicU64::new(1);
/// The time zone when it was last asked for.
static ZONE: AtomicUsize = AtomicUsize::new(0);
/// The snapshot that was active when messages were last taken: `xmin` and `xmax`, `xcnt` and `curcid`.
static SNAPSHOT: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

/// A number that changes whenever the catalog may have: what was read under another number is stale.
///
/// A statement takes waiting messages when it locks its tables. Expressions of PL/pgSQL run on and on without that,
/// each with a snapshot of its own: what a new snapshot shows must not be hidden by a message that still waits.
#[inline]
pub fn generation() -> u64 {
    // SAFETY: these neither raise nor keep anything; a set snapshot is valid.
    unsafe {
        if raw::ActiveSnapshotSet() {
            let now = &*raw::GetActiveSnapshot();
            let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
            let now = [pair(now.xmin.into_inner(), now.xmax.into_inner()), pair(now.xcnt, now.curcid)];
            if SNAPSHOT[0].load(Relaxed) != now[0] || SNAPSHOT[1].load(Relaxed) != now[1] {
                SNAPSHOT[0].store(now[0], Relaxed);
                SNAPSHOT[1].store(now[1], Relaxed);
                MOMENT.fetch_add(1, Relaxed);
                take_messages();
            }
        }
    }
    GENERATION.load(Relaxed)
}

/// A number that changes with the generation, and whenever another snapshot is active or another time zone is set: under
/// the same number the catalog shows the very same rows, and references mean the same versions.
///
/// A commit is visible a little before its messages leave. Who relies on the generation alone may therefore see the
/// commit, miss the message, and keep what is stale; what was read at a moment is true for that moment.
#[inline]
pub fn moment() -> u64 {
    generation();
    let zone = zone();
    if ZONE.load(Relaxed) != zone {
        ZONE.store(zone, Relaxed);
        MOMENT.fetch_add(1, Relaxed);
    }
    MOMENT.load(Relaxed)
}

/// A number that stands for the session's time zone: a process has one description of each.
#[inline]
pub fn zone() -> usize {
    // SAFETY: reads a variable of the server.
    unsafe { pg_sys::session_timezone as usize }
}

#[cold]
fn take_messages() {
    // SAFETY: what every lock of a table does.
    unsafe { pg_sys::AcceptInvalidationMessages() };
}

/// Watches the catalog from now on. Call it before reading what is to be kept.
///
/// # Errors
/// `Kind::Internal` when the extension is half dropped.
pub fn watch() -> Result<()> {
    let table = table()?;
    let before = WATCHED.swap(table.to_u32(), Relaxed);
    if before == 0 {
        // SAFETY: registered once a process, as nothing sets it back to 0.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(changed), Datum::from(0usize)) };
    }
    if before != table.to_u32() {
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
    GENERATION.fetch_add(1, Relaxed);
    MOMENT.fetch_add(1, Relaxed);
}

/// Called by the server at any moment, so it only counts. 0 stands for every relation.
unsafe extern "C-unwind" fn changed(_: Datum, relation: Oid) {
    if relation == pg_sys::InvalidOid || relation.to_u32() == WATCHED.load(Relaxed) {
        bump();
    }
}
