//! A session's end of the queue: finds the worker of its database or starts one, hands it a request, waits for the
//! answer. Waiting obeys cancel and timeouts; a request that is given up stays the worker's until it is done with it.

use super::segment::{Control, DONE, FREE, IDLE, LEFT, Outcome, Slot, Stage, Verb, answer_at};
use super::{Kind, damson_device_find, damson_device_lives, damson_device_segment, start};
use pgrx::pg_sys::{self, Datum};
use pgrx::prelude::*;
use std::ffi::CString;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

/// The least bytes of a session's segment.
const LEAST: usize = 64 << 10;
/// How long a worker may take to start and to open its device.
const START: Duration = Duration::from_secs(30);
/// How often a session that waits looks whether the worker is there still.
const LOOK: Duration = Duration::from_millis(500);

/// The slot of this session, for what runs when the process ends.
static SLOT: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

/// Why there is no worker to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It is being started.
    Starting,
    /// It ended for want of work: another one can be had at once.
    Ended,
    /// It died, or cannot be had now; what happened.
    Lost(String),
    /// The machine has no such device; why.
    Nothing(String),
}

/// What a request came to.
pub enum Reply {
    /// The answer.
    Answered,
    /// The worker does not have the model.
    Unknown,
    /// What the worker says.
    Failed(String),
}

/// A mapped segment.
struct Mapped(*mut pg_sys::dsm_segment);

impl Mapped {
    fn address(&self) -> *mut u8 {
        // SAFETY: it is mapped.
        unsafe { pg_sys::dsm_segment_address(self.0).cast() }
    }

    fn len(&self) -> usize {
        // SAFETY: it is mapped.
        unsafe { pg_sys::dsm_segment_map_length(self.0) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by us, once. A process that is about to end may have lost all mappings already, but then it
        // runs no destructors.
        unsafe { pg_sys::dsm_detach(self.0) };
    }
}

/// A worker, and this session's slot.
pub struct Link {
    kind: Kind,
    control: &'static Control,
    slot: Option<&'static Slot>,
    memory: Option<Mapped>,
    /// Dropped last: the others lie in it.
    _segment: Mapped,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Link {
    /// The worker of that kind in this database, started where there is none. `wait` for it to be ready.
    ///
    /// # Errors
    /// Why there is none. A statement that is to end while it waits ends as the server does that.
    pub fn open(kind: Kind, wait: bool) -> Result<Link, Trouble> {
        if let Some(link) = Link::find(kind) {
            return link.wait(wait);
        }
        let Some(worker) = start(kind) else {
            let reason = "no background worker is free, see max_worker_processes";
            return Err(Trouble::Lost(reason.into()));
        };
        if !wait {
            return Err(Trouble::Starting);
        }
        let begun = Instant::now();
        while begun.elapsed() < START {
            if let Some(link) = Link::find(kind) {
                return link.wait(wait);
            }
            let ended = matches!(worker.pid(), Err(e) if !is_yet_to_start(e));
            if ended {
                // Another one was faster.
                return match Link::find(kind) {
                    Some(link) => link.wait(wait),
                    None => Err(Trouble::Lost("the worker of the device did not start".into())),
                };
            }
            sleep(Duration::from_millis(2));
        }
        Err(Trouble::Lost("the worker of the device did not start in time".into()))
    }

    /// The worker that is there.
    pub fn find(kind: Kind) -> Option<Link> {
        // SAFETY: reads a variable of the server, and its list of processes; a segment may be gone by now.
        unsafe {
            let name = CString::new(kind.worker_type(pg_sys::MyDatabaseId.to_u32())).ok()?;
            let handle = damson_device_find(name.as_ptr());
            if handle == 0 {
                return None;
            }
            let segment = damson_device_segment(0, handle);
            if segment.is_null() {
                return None;
            }
            let segment = Mapped(segment);
            let control = Control::open(segment.address().cast(), segment.len())?;
            if matches!(control.stage(), Stage::Ended | Stage::Died) {
                return None;
            }
            Some(Link { kind, control, slot: None, memory: None, _segment: segment })
        }
    }

    fn wait(self, wait: bool) -> Result<Link, Trouble> {
        let begun = Instant::now();
        loop {
            match self.state() {
                Ok(()) => return Ok(self),
                Err(Trouble::Starting) if wait && begun.elapsed() < START => {
                    sleep(Duration::from_millis(2));
                }
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// Whether the worker takes requests.
    pub fn state(&self) -> Result<(), Trouble> {
        match self.control.stage() {
            Stage::Ready => Ok(()),
            Stage::Starting if self.lives() => Err(Trouble::Starting),
            // SAFETY: it was written before the stage was.
            Stage::Nothing => Err(Trouble::Nothing(unsafe { self.control.reason.read() })),
            Stage::Ended => Err(Trouble::Ended),
            Stage::Starting | Stage::Died => Err(Trouble::Lost("the worker of the device died".into())),
        }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the worker tells.
    pub fn control(&self) -> &Control {
        self.control
    }

    fn lives(&self) -> bool {
        // SAFETY: only tells.
        unsafe { damson_device_lives(self.control.pid) }
    }

    /// This session's slot, with a segment that has room for so much.
    fn slot(&mut self, room: usize) -> Result<&'static Slot, Trouble> {
        let slot = match self.slot {
            Some(slot) => slot,
            None => {
                let slot = self.control.slots().iter().find(|s| s.state.load(Relaxed) == FREE && s.claim());
                let slot = slot.ok_or_else(|| Trouble::Lost("the device serves too many sessions".into()))?;
                SLOT.store((&raw const *slot).cast_mut(), Relaxed);
                leave_at_exit();
                self.slot = Some(slot);
                slot
            }
        };
        if self.memory.as_ref().is_none_or(|m| m.len() < room) {
            self.memory = None;
            // SAFETY: a segment of our own.
            let segment = unsafe { damson_device_segment(room.max(LEAST).next_power_of_two(), 0) };
            if segment.is_null() {
                return Err(Trouble::Lost("there is no room in shared memory for the device".into()));
            }
            self.memory = Some(Mapped(segment));
            // SAFETY: it is mapped.
            slot.segment.store(unsafe { pg_sys::dsm_segment_handle(segment) }, Relaxed);
        }
        Ok(slot)
    }

    /// Asks, and waits. What `answer` bytes come back go to `take`. `rows` is that of [`Slot::rows`].
    ///
    /// # Errors
    /// Why there is no answer; the link is then to be dropped. A statement that is to end while it waits ends as the
    /// server does that, which drops the link, too.
    pub fn ask(
        &mut self,
        verb: Verb,
        key: &[u8; 64],
        rows: u64,
        sent: &[u8],
        answer: usize,
        take: impl FnOnce(&[u8]),
    ) -> Result<Reply, Trouble> {
        let from = answer_at(sent.len());
        // What goes wrong is told in the place of the answer.
        let room = from + if verb.uploads() { 512 } else { answer.max(512) };
        self.state()?;
        let slot = self.slot(room)?;
        let Some(memory) = &self.memory else { return Err(Trouble::Ended) };
        // SAFETY: the slot is ours, and so is the memory, which is large enough.
        unsafe {
            slot.set_key(key);
            std::ptr::copy_nonoverlapping(sent.as_ptr(), memory.address(), sent.len());
        }
        slot.rows.store(rows, Relaxed);
        slot.sent.store(sent.len() as u64, Relaxed);
        slot.answer.store(answer as u64, Relaxed);
        slot.ask(verb);
        self.control.wake();
        let mut looked = Instant::now();
        while slot.state.load(Acquire) != DONE {
            self.state()?;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                if !self.lives() {
                    return Err(Trouble::Lost("the worker of the device died".into()));
                }
            }
            // An error from here unwinds: who holds the link then drops it.
            sleep(LOOK);
        }
        let Some(memory) = &self.memory else { return Err(Trouble::Ended) };
        let bytes = |len: usize| {
            let len = len.min(memory.len() - from);
            // SAFETY: the slot is ours again, and so is the memory.
            unsafe { std::slice::from_raw_parts(memory.address().add(from), len) }
        };
        let reply = match slot.outcome() {
            Outcome::Answered => {
                if !verb.uploads() {
                    take(bytes(answer));
                }
                Reply::Answered
            }
            Outcome::Unknown => Reply::Unknown,
            Outcome::Failed => {
                let text = String::from_utf8_lossy(bytes(slot.answer.load(Relaxed) as usize));
                let none = "the worker of the device could not map this session's memory";
                Reply::Failed(if text.is_empty() { none.into() } else { text.into_owned() })
            }
        };
        slot.state.store(IDLE, Relaxed);
        Ok(reply)
    }

    fn leave(&mut self) {
        SLOT.store(std::ptr::null_mut(), Relaxed);
        if let Some(slot) = self.slot.take() {
            slot.state.swap(LEFT, AcqRel);
            self.control.wake();
        }
    }
}

fn is_yet_to_start(status: pgrx::bgworkers::BackgroundWorkerStatus) -> bool {
    matches!(status, pgrx::bgworkers::BackgroundWorkerStatus::NotYetStarted)
}

/// Sleeps until somebody wakes this session, at most so long; then attends to interrupts.
fn sleep(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let time = time.as_millis().max(1) as std::ffi::c_long;
    // SAFETY: this process's own latch.
    unsafe {
        pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, time, pg_sys::PG_WAIT_EXTENSION);
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
}

/// Has the slot left when the process ends, once a process.
fn leave_at_exit() {
    static ARMED: std::sync::Once = std::sync::Once::new();
    // SAFETY: a function that stays.
    ARMED.call_once(|| unsafe { pg_sys::before_shmem_exit(Some(leave), Datum::from(0)) });
}

#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: std::ffi::c_int, _argument: Datum) {
    // SAFETY: the segment that it lies in is mapped as long as the link is there, which takes it away.
    if let Some(slot) = unsafe { SLOT.swap(std::ptr::null_mut(), AcqRel).as_ref() } {
        slot.state.swap(LEFT, AcqRel);
    }
}
