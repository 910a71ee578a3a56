//! Background workers: what goes on when no session waits for it. `shared_preload_libraries` is not needed.
//!
//! - [`launcher`]: one a database while there is something to do. It starts the workers of jobs, sees that they end,
//!   and ends itself when nothing is due.
//! - [`job`]: one a job, connected as the role that submitted it: there is no other role to fall back to.
//! - [`clock`]: one a database while something is due later. It is connected to no database, so that it
//!   holds none, sleeps until the time comes, and starts the launcher. After a crash the server starts it anew, and
//!   with it what the crash ended.
//! - [`device`]: one a database while networks are scored or trained by a GPU. It is connected to no database, either.
//! - [`transaction`]: one transaction, whose errors are values.
//!
//! A session that submits a job starts the launcher when it commits. Where one runs, the second one wakes it and ends.
//! After a restart of the server the first session that uses a model or looks at its jobs does so, or, with
//! `shared_preload_libraries = 'damson'`, the server itself.

pub mod clock;
pub mod device;
pub mod job;
pub mod launcher;
pub mod transaction;

use crate::pg::error;
use pgrx::PgXactCallbackEvent;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::pg_sys::{self, Oid};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

/// How `pg_stat_activity` shows launchers.
pub const LAUNCHER_TYPE: &str = "damson launcher";
/// How it shows clocks; the number of their database follows.
pub const CLOCK_TYPE: &str = "damson clock ";
/// How it shows workers of jobs; the job's number follows.
pub const JOB_TYPE: &str = "damson job ";

/// How `pg_stat_activity` shows the worker of a job.
pub fn job_type(job: i64) -> String {
    format!("{JOB_TYPE}{job}")
}

/// Called when the library is loaded: with `shared_preload_libraries` the server begins where it left off.
pub fn register() {
    device::client::register();
    // SAFETY: reads a variable of the server.
    if unsafe { pg_sys::process_shared_preload_libraries_in_progress } {
        builder("damson starter", "damson_clock_main")
            .set_extra(&clock::Plan::everywhere().to_string())
            .load();
    }
}

fn builder(kind: &str, function: &str) -> BackgroundWorkerBuilder {
    BackgroundWorkerBuilder::new(kind)
        .set_type(kind)
        .set_library("damson")
        .set_function(function)
        .set_start_time(BgWorkerStartTime::RecoveryFinished)
        .set_restart_time(None)
        .enable_spi_access()
}

/// Starts the launcher of a database. Says whether the server had room for it.
fn start_launcher(database: Oid) -> bool {
    let extra = database.to_u32().to_string();
    builder(LAUNCHER_TYPE, "damson_launcher_main").set_extra(&extra).load_dynamic().is_ok()
}

/// Starts a clock of a database; none where the server has no room.
fn start_clock(plan: &clock::Plan) -> Option<DynamicBackgroundWorker> {
    let kind = format!("{CLOCK_TYPE}{}", plan.database);
    let restarts = Some(Duration::from_secs(1));
    builder(&kind, "damson_clock_main")
        .set_extra(&plan.to_string())
        .set_restart_time(restarts)
        .load_dynamic()
        .ok()
}

/// Starts the worker of a job; none where the server has no room.
fn start_job(order: &job::Order) -> Option<DynamicBackgroundWorker> {
    // SAFETY: reads a variable of the server.
    let me = unsafe { pg_sys::MyProcPid };
    let kind = job_type(order.job);
    let builder = builder(&kind, "damson_job_main").set_extra(&order.to_string()).set_notify_pid(me);
    builder.load_dynamic().ok()
}

unsafe extern "C-unwind" {
    /// See `wake.c`.
    fn damson_lock_is_free(tag: *const pg_sys::LOCKTAG) -> bool;
    /// See `wake.c`.
    fn damson_wake(database: Oid, kind: *const std::ffi::c_char);
}

/// A lock that SQL cannot take: of the kind of advisory locks, but with a class that these never have. The launcher of a
/// database holds it.
fn turn_tag(database: Oid) -> pg_sys::LOCKTAG {
    pg_sys::LOCKTAG {
        locktag_field1: database.to_u32(),
        locktag_field2: 0,
        locktag_field3: 0,
        locktag_field4: 0xDA5,
        locktag_type: pg_sys::LockTagType::LOCKTAG_ADVISORY as u8,
        locktag_lockmethodid: pg_sys::USER_LOCKMETHOD as u8,
    }
}

/// Wakes this database's launcher, or starts one where there is none. A launcher looks at the queue once more after it
/// gave the lock back, so what was committed before is seen, whichever of the two this finds. Says whether the server
/// had room.
fn wake() -> bool {
    // SAFETY: a variable of the server, a whole tag and a constant string; neither function raises an error.
    unsafe {
        let database = pg_sys::MyDatabaseId;
        if damson_lock_is_free(&turn_tag(database)) {
            return start_launcher(database);
        }
        damson_wake(database, c"damson launcher".as_ptr());
        true
    }
}

/// Starts or wakes this database's launcher when the current transaction commits, and not if it does not.
pub fn wake_at_commit() {
    static ARMED: AtomicBool = AtomicBool::new(false);
    if ARMED.swap(true, Relaxed) {
        return;
    }
    pgrx::register_xact_callback(PgXactCallbackEvent::Commit, || {
        ARMED.store(false, Relaxed);
        if !wake() {
            error::warn("no background worker is free: jobs wait until one is, see max_worker_processes");
        }
    });
    pgrx::register_xact_callback(PgXactCallbackEvent::Abort, || ARMED.store(false, Relaxed));
}

/// Called by what scores for a session: once a session, starts the launcher where work was left lying, as after a restart
/// of the server.
pub fn look_after_once() {
    static LOOKED: AtomicBool = AtomicBool::new(false);
    if !LOOKED.swap(true, Relaxed) {
        look_after();
    }
}

/// Called by the views of jobs: starts the launcher where work was left lying.
pub fn look_after() {
    // SAFETY: variables and functions of the server that only tell.
    let able = unsafe {
        pg_sys::MyBgworkerEntry.is_null() && pg_sys::ParallelWorkerNumber < 0 && !pg_sys::RecoveryInProgress()
    };
    if able && crate::catalog::queue::is_forgotten().unwrap_or(false) {
        wake();
    }
}
