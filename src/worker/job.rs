//! The worker of one job. It is connected as the role that submitted the job: the server itself checks that the role
//! may log in and connect, there is no other user to go back to by `RESET ROLE`, and what the role may do is decided
//! when the job runs.
//!
//! Three transactions: the first takes the job and finds what to do, the second does it and writes that it is
//! done, the third comes only after an error and writes that. After that of a monitor a fourth raises an alert.

use super::transaction;
use crate::catalog::alerts;
use crate::catalog::queue::{self, Begun};
use crate::pg::checkpoints;
use crate::pg::error::{Error, Result};
use crate::pg::spi;
use engine::train::Request;
use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;
use serde_json::Value;
use std::fmt;

unsafe extern "C-unwind" {
    /// The server's own handler.
    fn die(signal: std::ffi::c_int);
}

/// Which job, which of its starts, where, and as whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The job.
    pub job: i64,
    /// The start.
    pub attempt: i64,
    /// The database.
    pub database: u32,
    /// The role.
    pub role: u32,
}

impl Order {
    fn parse(text: &str) -> Option<Order> {
        let mut words = text.split(' ');
        let order = Order {
            job: words.next()?.parse().ok()?,
            attempt: words.next()?.parse().ok()?,
            database: words.next()?.parse().ok()?,
            role: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(order)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {} {}", self.job, self.attempt, self.database, self.role)
    }
}

/// What the server starts as the worker of a job.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn damson_job_main(_argument: Datum) {
    // SAFETY: before signals are let in. The handler that a session has: it only notes the wish to end, so that threads
    // of a training end before the process does.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        pg_sys::pqsignal(libc::SIGTERM, Some(die));
        #[cfg(feature = "pg18")]
        pg_sys::pqsignal_be(libc::SIGTERM, Some(die));
        pg_sys::BackgroundWorkerUnblockSignals();
    }
    let Some(order) = Order::parse(BackgroundWorker::get_extra()) else { return };
    let Order { job, attempt, database, role } = order;
    // Without a role the server would take its own superuser.
    if role == 0 {
        return;
    }
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(Oid::from(database)), Some(Oid::from(role)));
    let title = crate::pg::datum::cstring(&super::job_type(job)).to_owned();
    // SAFETY: the function copies the string. It also makes the job's time begin, for damson.progress.
    unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_RUNNING, title.as_ptr()) };
    // SAFETY: reads a variable of the server.
    let pid = unsafe { pg_sys::MyProcPid };
    let begun = transaction::run(|| {
        let begun = queue::begin(job, attempt, pid)?;
        if let Some(begun) = &begun {
            apply(begun)?;
        }
        Ok(begun)
    });
    // The monitor that watches; not one that measures a version for a pipeline, whose steps tell how it ended.
    let watches = |b: &Begun| b.kind == "run_monitor" && b.command["with"]["version"].is_null();
    let monitor = match &begun {
        Ok(Some(b)) if watches(b) => b.command["with"]["name"].as_str().map(String::from),
        _ => None,
    };
    let failure = match begun {
        Ok(None) => return,
        Ok(Some(begun)) => match transaction::run(|| perform(&begun, job, attempt)) {
            Ok(()) => return,
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    log!("job {job} failed: {}", failure.message);
    if let Err(e) = transaction::run(|| queue::fail(job, attempt, &failure)) {
        warning!("job {job} failed, and that could not be written: {}", e.message);
        return;
    }
    // A transaction of its own: what cannot be told must not hide that the job failed.
    if let Some(monitor) = monitor
        && let Err(e) = transaction::run(|| alerts::failed(job, &monitor, &failure.message))
    {
        warning!("no alert could be raised for the job {job}: {}", e.message);
    }
}

/// The settings of the session that submitted the job, with the rights of its role.
fn apply(begun: &Begun) -> Result<()> {
    for (name, value) in begun.settings.as_object().into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        spi::execute("SELECT pg_catalog.set_config($1, $2, false)", &[name.into(), value.into()])?;
    }
    Ok(())
}

/// Whether checkpoints are kept of what a command trains.
fn goes_on(command: &Value) -> bool {
    let with = &command["with"];
    let groups = with["group_by"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let request = Request {
        algorithm: with["algorithm"].as_str().unwrap_or_default().into(),
        group_by: groups.map(String::from).collect(),
        ..Request::default()
    };
    checkpoints::check(&request).is_ok()
}

fn perform(begun: &Begun, job: i64, attempt: i64) -> Result<()> {
    let mut command = begun.command.clone();
    // A training that was broken off goes on from its checkpoint, where its algorithm keeps some.
    if attempt > 1 && begun.kind == "train" && goes_on(&command) {
        command["with"]["resume"] = true.into();
    }
    let result = crate::pg::verb::perform(&begun.kind, &command)?;
    // The transaction goes on for a moment with statements of ours: what the job left of its own must not touch them.
    queue::succeed(job, attempt, result.as_ref()).map_err(|e: Error| e.hint("What it did is undone."))
}
