//! The shared memory between a device's worker and sessions. The worker makes one segment for all: what the device is,
//! what was done, and a slot a session. A session has a segment of its own for what it sends and gets, which the worker
//! maps, so that a block is copied once on its way and once back.
//!
//! Slots change hands by their state alone. What else is in a slot belongs to the session while the state is `IDLE` or
//! `DONE`, and to the worker from `READY` on:
//!
//! ```text
//! FREE -> IDLE -> READY -> BUSY -> DONE -> IDLE     session, session, worker, worker, session
//! any but FREE -> LEFT -> FREE                      session (cancelled, ended), worker
//! ```

use pgrx::pg_sys;
use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// What the library was built from: a worker of another one is none of ours.
const BUILD: &str = env!("DAMSON_BUILD");
/// Batches are counted by their requests: 1, 2, 3-4, 5-8 and so on.
pub const SIZES: usize = 12;

/// Nobody's.
pub const FREE: u32 = 0;
/// A session's, with nothing asked.
pub const IDLE: u32 = 1;
/// Asked.
pub const READY: u32 = 2;
/// The worker is at it.
pub const BUSY: u32 = 3;
/// Answered.
pub const DONE: u32 = 4;
/// The session is gone, or no longer wants the answer.
pub const LEFT: u32 = 5;

/// What a worker is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stage {
    /// The device is being opened.
    Starting = 1,
    /// Blocks are taken.
    Ready = 2,
    /// There is no device; the text says why.
    Nothing = 3,
    /// It ended for want of work, or with the server.
    Ended = 4,
    /// It died with work to do, or was ended.
    Died = 5,
}

/// What a session asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Verb {
    /// Outputs for images of bytes.
    Bytes = 1,
    /// Outputs for numbers.
    Doubles = 2,
    /// A piece of an artifact.
    Load = 3,
    /// A piece of the order of a training.
    Order = 4,
    /// A piece of the weights that an epoch starts from.
    Weights = 5,
    /// An epoch; the answer is the number of bytes that it gives.
    Epoch = 6,
    /// A piece of what it gave.
    Fetch = 7,
}

impl Verb {
    fn of(number: u32) -> Option<Verb> {
        use Verb::{Bytes, Doubles, Epoch, Fetch, Load, Order, Weights};
        let all = [Bytes, Doubles, Load, Order, Weights, Epoch, Fetch];
        all.into_iter().find(|v| *v as u32 == number)
    }

    /// Whether it sends a piece of something, whose bytes in all stand in the place of those of an answer.
    pub fn uploads(self) -> bool {
        matches!(self, Verb::Load | Verb::Order | Verb::Weights)
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// The answer lies behind what was sent.
    Answered = 1,
    /// The worker does not have the model.
    Unknown = 2,
    /// There is a text in place of the answer.
    Failed = 3,
}

/// A text that is written once, before others look.
#[repr(C)]
pub struct Words<const N: usize>(UnsafeCell<[u8; N]>);

impl<const N: usize> Words<N> {
    /// # Safety
    /// Nobody else reads or writes it now.
    pub unsafe fn write(&self, text: &str) {
        let mut bytes = [0; N];
        let mut end = text.len().min(N - 1);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        // SAFETY: the caller's promise.
        unsafe { *self.0.get() = bytes };
    }

    /// # Safety
    /// Nobody writes it now.
    pub unsafe fn read(&self) -> String {
        // SAFETY: the caller's promise.
        let bytes = unsafe { &*self.0.get() };
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(N);
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}

/// What one session asks for.
#[repr(C, align(128))]
pub struct Slot {
    /// `FREE` to `LEFT`.
    pub state: AtomicU32,
    /// The session's process.
    pub pid: AtomicI32,
    latch: AtomicUsize,
    /// The session's segment.
    pub segment: AtomicU32,
    verb: AtomicU32,
    /// Rows of a block; where a piece begins; the number of an epoch.
    pub rows: AtomicU64,
    /// Bytes sent, at the beginning of the session's segment.
    pub sent: AtomicU64,
    /// Bytes of the answer, from the next whole line of 64 on; of what is sent in pieces, its bytes in all.
    pub answer: AtomicU64,
    outcome: AtomicU32,
    /// When it was asked, in microseconds of the monotonic clock.
    pub asked: AtomicI64,
    /// The SHA-256 of the model's artifact, as 64 digits; of a training, its number in 64 digits.
    key: UnsafeCell<[u8; 64]>,
}

impl Slot {
    /// # Safety
    /// The slot is the caller's.
    pub unsafe fn set_key(&self, key: &[u8; 64]) {
        // SAFETY: the caller's promise.
        unsafe { *self.key.get() = *key };
    }

    /// # Safety
    /// The slot is the caller's.
    pub unsafe fn key(&self) -> [u8; 64] {
        // SAFETY: the caller's promise.
        unsafe { *self.key.get() }
    }

    /// What is asked; none for what no session of ours writes.
    pub fn verb(&self) -> Option<Verb> {
        Verb::of(self.verb.load(Ordering::Relaxed))
    }

    /// Hands a request over.
    pub fn ask(&self, verb: Verb) {
        self.verb.store(verb as u32, Ordering::Relaxed);
        self.asked.store(now(), Ordering::Relaxed);
        self.state.store(READY, Ordering::Release);
    }

    /// Hands the answer over and wakes the session, if it still waits.
    pub fn answer(&self, outcome: Outcome) {
        self.outcome.store(outcome as u32, Ordering::Relaxed);
        if self.state.compare_exchange(BUSY, DONE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.wake();
        }
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        let found = self.outcome.load(Ordering::Relaxed);
        let known = [Outcome::Answered, Outcome::Unknown];
        known.into_iter().find(|o| *o as u32 == found).unwrap_or(Outcome::Failed)
    }

    /// Makes a free slot this process's. False when another one was faster.
    pub fn claim(&self) -> bool {
        let taken = self.state.compare_exchange(FREE, IDLE, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        if taken {
            // SAFETY: variables of the server.
            unsafe {
                self.pid.store(pg_sys::MyProcPid, Ordering::Relaxed);
                self.latch.store(pg_sys::MyLatch as usize, Ordering::Relaxed);
            }
            self.segment.store(0, Ordering::Relaxed);
        }
        taken
    }

    /// Wakes the session.
    pub fn wake(&self) {
        wake(&self.latch);
    }
}

/// The head of the worker's segment; the slots follow it.
#[repr(C, align(128))]
pub struct Control {
    build: [u8; 32],
    /// How many slots there are.
    slots: u32,
    /// The worker's process.
    pub pid: i32,
    stage: AtomicU32,
    latch: AtomicUsize,
    /// What the device is.
    pub name: Words<128>,
    /// Why there is none.
    pub reason: Words<384>,
    /// Bytes of memory of the device.
    pub memory: AtomicU64,
    /// Bytes that models take of it.
    pub used: AtomicU64,
    /// Models in the device.
    pub models: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Their rows.
    pub rows: AtomicU64,
    /// Batches computed.
    pub batches: AtomicU64,
    /// The most requests of a batch.
    pub largest: AtomicU64,
    /// Batches by their requests.
    pub sizes: [AtomicU64; SIZES],
    /// Microseconds that requests waited before their batch began.
    pub waited: AtomicU64,
    /// Microseconds that batches took.
    pub computed: AtomicU64,
    /// Trainings that have their place in the device.
    pub trainings: AtomicU64,
    /// Bytes that they take of it.
    pub training_used: AtomicU64,
    /// Epochs trained.
    pub epochs: AtomicU64,
}

impl Control {
    /// Bytes of a segment with so many slots.
    pub fn size(slots: usize) -> usize {
        size_of::<Control>() + slots * size_of::<Slot>()
    }

    /// Makes a segment of zeros one with that many slots, of this process.
    ///
    /// # Safety
    /// The memory is of `size(slots)` bytes, aligned to a line, and nobody else's yet.
    pub unsafe fn create<'a>(at: *mut Control, slots: usize) -> &'a Control {
        // SAFETY: the caller's promise; zeros are valid for all fields.
        unsafe {
            std::ptr::write_bytes(at.cast::<u8>(), 0, Control::size(slots));
            (*at).build = build();
            (*at).slots = slots as u32;
            (*at).pid = pg_sys::MyProcPid;
            (*at).latch = AtomicUsize::new(pg_sys::MyLatch as usize);
            (*at).stage = AtomicU32::new(Stage::Starting as u32);
            &*at
        }
    }

    /// The segment that is there, if a worker of this very library made it.
    ///
    /// # Safety
    /// Memory of `len` bytes that stays mapped.
    pub unsafe fn open<'a>(at: *mut Control, len: usize) -> Option<&'a Control> {
        if at.is_null() || len < size_of::<Control>() {
            return None;
        }
        // SAFETY: the caller's promise.
        let control = unsafe { &*at };
        (control.build == build() && len >= Control::size(control.slots as usize)).then_some(control)
    }

    /// All slots.
    pub fn slots(&self) -> &[Slot] {
        let first = (&raw const *self).wrapping_add(1).cast::<Slot>();
        // SAFETY: they follow the head, in the same segment; both are whole lines.
        unsafe { std::slice::from_raw_parts(first, self.slots as usize) }
    }

    /// What the worker is at.
    pub fn stage(&self) -> Stage {
        let found = self.stage.load(Ordering::Acquire);
        let known = [Stage::Starting, Stage::Ready, Stage::Nothing, Stage::Ended];
        known.into_iter().find(|s| *s as u32 == found).unwrap_or(Stage::Died)
    }

    /// Says what the worker is at.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u32, Ordering::Release);
    }

    /// Wakes the worker.
    pub fn wake(&self) {
        wake(&self.latch);
    }
}

fn build() -> [u8; 32] {
    let mut build = [0; 32];
    let name = format!("damson {BUILD}");
    let len = name.len().min(32);
    build[..len].copy_from_slice(&name.as_bytes()[..len]);
    build
}

fn wake(latch: &AtomicUsize) {
    let latch = latch.load(Ordering::Relaxed) as *mut pg_sys::Latch;
    if !latch.is_null() {
        // SAFETY: the latch of a process's place in the server's own memory, which all processes map alike. Should
        // another process have the place by now, it wakes for nothing.
        unsafe { pg_sys::SetLatch(latch) };
    }
}

/// Where the answer begins behind so many bytes sent.
pub fn answer_at(sent: usize) -> usize {
    sent.next_multiple_of(64)
}

/// Microseconds of the monotonic clock, which all processes read alike.
pub fn now() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a plain call of the C library on a place of our own.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec * 1_000_000 + time.tv_nsec / 1000
}
