//! A clock: sleeps until a time, then starts the launcher of a database. It is connected to no database, so that
//! one can be dropped while its schedules wait; it holds no snapshot and does not wake before its time.

use super::transaction;
use crate::pg::error::Error;
use pgrx::bgworkers::{BackgroundWorker, SignalWakeFlags};
use pgrx::pg_sys::{self, Datum, Oid};
use pgrx::prelude::*;
use std::fmt;
use std::time::Duration;

/// When and for whom a clock goes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// The database; 0 for all of them.
    pub database: u32,
    /// When, in the server's microseconds.
    pub at: i64,
    /// Where recovery would begin, as the clock was set: it moves when the server recovers, so that a clock which is
    /// started anew after a crash knows it.
    pub redo: u64,
}

impl Plan {
    /// In so many seconds.
    pub fn after(database: Oid, seconds: f64) -> Plan {
        // SAFETY: functions of the server that only tell.
        let (now, redo) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetRedoRecPtr()) };
        let later = (seconds.clamp(0.0, 1e9) * 1e6) as i64;
        Plan { database: database.to_u32(), at: now + later, redo }
    }

    /// At once, in all databases.
    pub fn everywhere() -> Plan {
        Plan { database: 0, at: i64::MIN, redo: 0 }
    }

    fn parse(text: &str) -> Option<Plan> {
        let mut words = text.split(' ');
        let plan = Plan {
            database: words.next()?.parse().ok()?,
            at: words.next()?.parse().ok()?,
            redo: words.next()?.parse().ok()?,
        };
        words.next().is_none().then_some(plan)
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {} {}", self.database, self.at, self.redo)
    }
}

/// What the server starts as a clock.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn damson_clock_main(_argument: Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi(None, None);
    let Some(plan) = Plan::parse(BackgroundWorker::get_extra()) else { return };
    loop {
        // SAFETY: functions of the server that only tell.
        let (now, redo) = unsafe { (pg_sys::GetCurrentTimestamp(), pg_sys::GetRedoRecPtr()) };
        if now >= plan.at || redo != plan.redo {
            break;
        }
        let rest = Duration::from_micros(plan.at.saturating_sub(now).max(1000) as u64);
        if !BackgroundWorker::wait_latch(Some(rest.min(Duration::from_secs(86_400)))) {
            return;
        }
        // SAFETY: this process's own latch.
        unsafe { pg_sys::ResetLatch(pg_sys::MyLatch) };
        pgrx::check_for_interrupts!();
    }
    let found = transaction::run(|| if plan.database == 0 { databases() } else { one(plan.database) });
    for database in found.unwrap_or_default() {
        if !super::start_launcher(database) {
            warning!("no background worker is free to look after jobs; see max_worker_processes");
        }
    }
}

/// The database, if it is there still.
fn one(database: u32) -> Result<Vec<Oid>, Error> {
    let oid = Oid::from(database);
    // SAFETY: a look-up by number; the name is the caller's to free, with the transaction's memory.
    let name = unsafe { pg_sys::get_database_name(oid) };
    Ok(if name.is_null() { vec![] } else { vec![oid] })
}

/// All databases that can be connected to. There is no database to run SQL in, so the shared catalog is read as is.
fn databases() -> Result<Vec<Oid>, Error> {
    let mut found = vec![];
    // SAFETY: a catalog is opened, scanned and closed, in a transaction; rows of it have its layout.
    unsafe {
        let table = pg_sys::table_open(pg_sys::DatabaseRelationId, pg_sys::AccessShareLock as i32);
        let scan = pg_sys::table_beginscan_catalog(table, 0, std::ptr::null_mut());
        loop {
            let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
            if tuple.is_null() {
                break;
            }
            let header = (*tuple).t_data;
            let row =
                header.cast::<u8>().add((*header).t_hoff as usize).cast::<pg_sys::FormData_pg_database>();
            if (*row).datallowconn && !(*row).datistemplate {
                found.push((*row).oid);
            }
        }
        if let Some(end) = (*(*(*scan).rs_rd).rd_tableam).scan_end {
            end(scan);
        }
        pg_sys::table_close(table, pg_sys::AccessShareLock as i32);
    }
    Ok(found)
}
