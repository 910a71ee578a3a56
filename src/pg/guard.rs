//! Refuses the extension's functions where the SQL in the database and the loaded library were not made for each
//! other: a function called by another signature than it has would read arguments that are not there.
//!
//! That happens after new files were installed and before `ALTER EXTENSION damson UPDATE`; and to sessions that loaded
//! the old library and go on after it. The install script makes a function with the stamp of its SQL as a name, and
//! the library looks for it: when it is loaded, and again whenever functions of the database have changed, before the
//! next function is looked up (`needs_fmgr_hook`, which the server asks once a function and statement).
//!
//! The event trigger (`super::protection`) is let through: it reads no arguments, and a DBA who has not updated the
//! extension yet must be able to drop tables. It asks [`sql_fits`] itself, and warns.

use super::error::{Code, Error, raise};
use super::shim::{damson_is_ours, damson_sql_fits};
use pgrx::pg_sys::{self, Datum, Oid};
use std::ffi::CStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The name of the function that the install script of this library makes.
const STAMP: &str = concat!("sql_", env!("DAMSON_SQL_STAMP"), "\0");

/// Whether the SQL was found to fit, and nothing has changed since.
static FITS: AtomicBool = AtomicBool::new(false);
static BEFORE: OnceLock<pg_sys::needs_fmgr_hook_type> = OnceLock::new();

/// Checks from now on; called once, by `_PG_init`. Raises where the check fails at once: the server then does not
/// keep the library as loaded, and comes here again with the next call.
pub fn watch() {
    // SAFETY: `_PG_init` runs on the main thread. A snapshot is active where a function is about to be called, and not
    // while a session preloads libraries: that must not fail, and functions are asked for later.
    unsafe {
        if pg_sys::ActiveSnapshotSet() && !for_an_event_trigger() && fits() == Fit::No {
            raise(stale());
        }
        if BEFORE.set(pg_sys::needs_fmgr_hook).is_ok() {
            pg_sys::needs_fmgr_hook = Some(needed);
            pg_sys::CacheRegisterSyscacheCallback(
                pg_sys::SysCacheIdentifier::PROCNAMEARGSNSP as _,
                Some(changed),
                Datum::from(0usize),
            );
        }
    }
}

/// What is wrong where SQL and library do not fit each other.
pub const STALE: &str = concat!(
    "the SQL objects of extension damson in this database do not fit its library ",
    env!("CARGO_PKG_VERSION")
);

fn stale() -> Error {
    Error::new(Code::NotReady, STALE)
        .hint("ALTER EXTENSION damson UPDATE; where that was done after this session began, connect again.")
}

/// Whether the SQL in the database and this library were made for each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// They were not.
    No,
    /// They were.
    Yes,
    /// There is no extension, or it is just being made or updated.
    Open,
}

/// Looks whether SQL and library fit each other; within a transaction.
pub fn sql_fits() -> Fit {
    if FITS.load(Relaxed) {
        return Fit::Yes;
    }
    // SAFETY: the caller is in a transaction.
    unsafe { fits() }
}

/// Looks for the stamp.
unsafe fn fits() -> Fit {
    // SAFETY: in a transaction; the name ends with its zero byte.
    let fit = match unsafe { damson_sql_fits(STAMP.as_ptr().cast()) } {
        0 => Fit::No,
        1 => Fit::Yes,
        _ => Fit::Open,
    };
    FITS.store(fit == Fit::Yes, Relaxed);
    fit
}

/// Whether the server loads the library to fire an event trigger, for which it has a memory context of its own.
unsafe fn for_an_event_trigger() -> bool {
    // SAFETY: on the main thread there is a current context, whose name is a string of the server.
    unsafe { CStr::from_ptr((*pg_sys::CurrentMemoryContext).name) == c"event trigger context" }
}

/// Asked by the server before a function is called, once a look-up. It never needs to be told of calls.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn needed(function: Oid) -> bool {
    // SAFETY: the server asks within a transaction, or we look no further.
    unsafe {
        if !FITS.load(Relaxed)
            && pg_sys::IsTransactionState()
            && fits() == Fit::No
            && damson_is_ours(function)
        {
            raise(stale());
        }
        match BEFORE.get() {
            Some(Some(before)) => before(function),
            _ => false,
        }
    }
}

/// Called by the server at any moment when a function has changed, so it only notes it.
unsafe extern "C-unwind" fn changed(_: Datum, _: std::ffi::c_int, _: u32) {
    FITS.store(false, Relaxed);
}
