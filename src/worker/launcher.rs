//! The launcher of a database: claims what is due, starts its workers, sees to those that ended, lets steps of
//! pipelines go, makes jobs of schedules. Between these it sleeps on its latch, in no transaction; the server wakes it
//! when a worker ends, sessions when they commit a job. When nothing runs and nothing is due it ends, and leaves a clock
//! for what comes later.

use super::clock::Plan;
use super::{job, transaction, turn_tag, wake};
use crate::catalog::{pipelines, queue, schedules};
use crate::pg::{checkpoints, settings};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerStatus, DynamicBackgroundWorker, SignalWakeFlags};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;
use std::time::Duration;

/// What comes within so many seconds is waited for here and not by a clock.
const NEAR: f64 = 2.0;
/// How often the queue is looked at while something is due that cannot begin: the least time between two looks.
const RETRY: f64 = 1.0;
/// How long a clock waits that only stands by for a crash.
const GUARD: f64 = 3600.0;

struct Started {
    job: i64,
    attempt: i64,
    worker: DynamicBackgroundWorker,
}

/// What the server starts as a launcher.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn damson_launcher_main(_argument: Datum) {
    let signals = SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM | SignalWakeFlags::SIGINT;
    BackgroundWorker::attach_signal_handlers(signals);
    let Some(database) = BackgroundWorker::get_extra().parse::<u32>().ok().map(Oid::from) else { return };
    BackgroundWorker::connect_worker_to_spi_by_oid(Some(database), None);
    loop {
        if !take_turn(database) {
            // Somebody is at it, and learns that there is more to do.
            wake();
            return;
        }
        if !work(database) {
            return;
        }
        give_turn(database);
        // What was committed after the last look, and poked a launcher that was about to end.
        let more = transaction::run(|| if installed() { queue::load() } else { Ok((0, 0)) });
        if !matches!(more, Ok((due, _)) if due > 0 && settings::max_jobs() > 0) {
            return;
        }
    }
}

/// Works until there is nothing to do. Says whether it ended by itself.
fn work(database: Oid) -> bool {
    let mut started: Vec<Started> = vec![];
    let begun = transaction::run(|| {
        if !installed() {
            return Ok(false);
        }
        // Of launchers before this one: workers that ended, or never began, with nobody to see it.
        for (job, attempt, lives) in queue::running()? {
            if !lives {
                queue::interrupted(job, attempt, false)?;
            }
        }
        queue::stop_clocks()?;
        Ok(true)
    });
    match begun {
        Ok(true) => {}
        Ok(false) => return false,
        Err(e) => {
            warning!("the launcher of jobs could not begin: {}", e.message);
            return false;
        }
    }
    // Should the server crash, this one brings the work back.
    let guard = super::start_clock(&Plan::after(database, GUARD));
    loop {
        if BackgroundWorker::sighup_received() {
            // SAFETY: what every process does on SIGHUP.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
        }
        let rest = match turn(database, &mut started) {
            Ok(rest) => rest,
            Err(e) => {
                warning!("the launcher of jobs met an error: {}", e.message);
                Next::Sleep(5.0)
            }
        };
        let rest = match rest {
            Next::Sleep(seconds) => seconds,
            Next::End(later) => {
                if let Some(guard) = guard {
                    guard.terminate();
                }
                if let Some(seconds) = later {
                    super::start_clock(&Plan::after(database, seconds));
                }
                return true;
            }
        };
        // SAFETY: tells the server that nothing goes on here.
        unsafe { pg_sys::pgstat_report_activity(pg_sys::BackendState::STATE_IDLE, std::ptr::null()) };
        if !BackgroundWorker::wait_latch(Some(Duration::from_secs_f64(rest.clamp(0.01, 3600.0)))) {
            return false;
        }
        // SAFETY: this process's own latch.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        pgrx::check_for_interrupts!();
    }
}

/// What a launcher does next.
enum Next {
    /// Sleep for so many seconds.
    Sleep(f64),
    /// End, as nothing is to be done, or only in so many seconds.
    End(Option<f64>),
}

/// One look at everything.
fn turn(database: Oid, started: &mut Vec<Started>) -> Result<Next, queue::Failure> {
    let mut ended: Vec<(i64, i64)> = vec![];
    started.retain(|s| {
        let gone = matches!(s.worker.pid(), Err(BackgroundWorkerStatus::Stopped));
        if gone {
            ended.push((s.job, s.attempt));
        }
        !gone
    });
    let (limit, limit_of_role) = (settings::max_jobs(), settings::max_jobs_per_role());
    let claimed = transaction::run(|| {
        if !installed() {
            return Ok(vec![]);
        }
        for (job, attempt) in &ended {
            // Does nothing where the worker wrote how the job ended.
            queue::interrupted(*job, *attempt, true)?;
        }
        queue::expire()?;
        if limit == 0 {
            return Ok(vec![]);
        }
        schedules::make_jobs()?;
        pipelines::promote()?;
        queue::claim(limit.into(), limit_of_role.into())
    })?;
    let mut refused = vec![];
    for claim in claimed {
        let order = job::Order {
            job: claim.id,
            attempt: claim.attempt,
            database: database.to_u32(),
            role: claim.role.to_u32(),
        };
        match super::start_job(&order) {
            Some(worker) => started.push(Started { job: claim.id, attempt: claim.attempt, worker }),
            None => refused.push(claim),
        }
    }
    let (next, (due, running)) = transaction::run(|| {
        if !installed() {
            return Ok((None, (0, 0)));
        }
        for claim in &refused {
            queue::unclaim(claim)?;
        }
        // What should have been by now waits for a row that somebody holds.
        let next = queue::next_event()?.map(|seconds| if seconds > 0.0 { seconds } else { RETRY });
        let rest = (next, queue::load()?);
        if started.is_empty() && rest.1.1 == 0 && rest.1.0 == 0 && rest.0.is_none_or(|n| n > NEAR) {
            queue::stop_clocks()?;
            if settings::keep_jobs() >= 0 {
                queue::forget(settings::keep_jobs())?;
            }
            checkpoints::sweep()?;
        }
        Ok(rest)
    })?;
    if running > 0 || !started.is_empty() {
        // What is due waits for a place, which a worker's end gives; or for a row that somebody holds.
        let rest = if due > 0 && running < limit.into() { RETRY } else { 3600.0 };
        let lost = if running > started.len() as i64 { 10.0 } else { 3600.0 };
        return Ok(Next::Sleep(next.unwrap_or(3600.0).min(rest).min(lost)));
    }
    if limit == 0 {
        return Ok(Next::End(None));
    }
    if due > 0 {
        return Ok(Next::Sleep(RETRY));
    }
    Ok(match next {
        Some(seconds) if seconds <= NEAR => Next::Sleep(seconds),
        later => Next::End(later),
    })
}

/// Whether the extension is here; it can be dropped at any time.
fn installed() -> bool {
    // SAFETY: look-ups by constant names.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"damson_catalog".as_ptr(), true);
        schema != pg_sys::InvalidOid
            && pg_sys::get_relname_relid(c"jobs".as_ptr(), schema) != pg_sys::InvalidOid
    }
}

/// Becomes the launcher of a database, unless there is one.
fn take_turn(database: Oid) -> bool {
    let tag = turn_tag(database);
    // A session that only tests it holds it for a moment.
    (0..5).any(|i| {
        std::thread::sleep(Duration::from_millis(3 * i));
        let taken = transaction::run(|| {
            // SAFETY: a lock of the session, which leaves with the process.
            Ok(unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, true, true) })
        });
        matches!(taken, Ok(outcome) if outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL)
    })
}

fn give_turn(database: Oid) {
    let tag = turn_tag(database);
    // SAFETY: what `take_turn` took.
    let _ = transaction::run(|| Ok(unsafe { pg_sys::LockRelease(&tag, pg_sys::ExclusiveLock as i32, true) }));
}
