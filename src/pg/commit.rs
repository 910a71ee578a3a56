//! Work just before a transaction commits, when all that it does is known. Caller: `src/catalog/deployments.rs`.

use super::error::{Result, raise};
use pgrx::PgXactCallbackEvent::{PreCommit, PrePrepare};
use pgrx::pg_sys;

/// Runs `work` right before the current transaction commits, or is prepared to; not when it is rolled back. An error of
/// the work rolls the transaction back. It may run more than once, also at the end of a transaction that did not ask for it
/// (after a PREPARE TRANSACTION): it looks for itself what there is to do.
pub fn before(work: fn() -> Result<()>) {
    pgrx::register_xact_callback(PreCommit, move || run(work));
    pgrx::register_xact_callback(PrePrepare, move || run(work));
}

fn run(work: fn() -> Result<()>) {
    // SAFETY: on the main thread, in a transaction that is not over yet, as the server runs deferred triggers. Abort
    // takes the snapshot back where an error jumps over this, and the transaction's end the variable.
    let done = unsafe {
        let before = pg_sys::XactReadOnly;
        // Whoever wrote something and then made his transaction read-only has written it all the same.
        pg_sys::XactReadOnly = false;
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let done = work();
        pg_sys::PopActiveSnapshot();
        pg_sys::XactReadOnly = before;
        done
    };
    done.unwrap_or_else(|e| raise(e));
}
