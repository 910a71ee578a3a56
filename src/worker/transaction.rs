//! A transaction of a background worker. Whatever goes wrong in it, be it the extension's error, the server's or a
//! panic, undoes it and becomes a value.

use crate::catalog::queue::Failure;
use crate::pg::error::{Result, raise};
use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::{CaughtError, ErrorReportWithLevel};
use pgrx::pg_sys::{self, errcodes::PgSqlErrorCode};
use std::panic::AssertUnwindSafe;

/// Runs `body` in a transaction of its own and commits it.
///
/// # Errors
/// What ended it; by then nothing of it is left.
pub fn run<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, Failure> {
    let mut body = Some(body);
    // SAFETY: the order in which the server's own workers call these; an error of any of them is caught, and ends the
    // transaction before the next one begins.
    let outcome = PgTryBuilder::new(AssertUnwindSafe(|| unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        // A role's own defaults must not keep a job's end from being written.
        pg_sys::XactReadOnly = false;
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
        let value = match body.take() {
            Some(body) => body().unwrap_or_else(|e| raise(e)),
            None => raise(crate::pg::error::Error::internal("a transaction ran twice")),
        };
        if pg_sys::ActiveSnapshotSet() {
            pg_sys::PopActiveSnapshot();
        }
        pg_sys::CommitTransactionCommand();
        Ok(value)
    }))
    .catch_others(|e| Err(failure(e)))
    .catch_rust_panic(|e| Err(failure(e)))
    .execute();
    if outcome.is_err() {
        // SAFETY: a transaction is open, failed as it may be.
        unsafe { pg_sys::AbortCurrentTransaction() };
    }
    outcome
}

fn failure(e: CaughtError) -> Failure {
    let report: ErrorReportWithLevel = match e {
        CaughtError::PostgresError(report) | CaughtError::ErrorReport(report) => report,
        CaughtError::RustPanic { ereport, .. } => ereport,
    };
    let mut message = report.message().to_string();
    for (what, text) in [("detail", report.detail()), ("hint", report.hint())] {
        if let Some(text) = text {
            message.push_str(&format!("\n{what}: {text}"));
        }
    }
    Failure { sqlstate: sqlstate(report.sql_error_code()), message }
}

/// The five characters of a code, of which the server keeps six bits each.
fn sqlstate(code: PgSqlErrorCode) -> String {
    let code = code as u32;
    (0..5).map(|i| char::from((code >> (6 * i) & 0x3f) as u8 + b'0')).collect()
}
