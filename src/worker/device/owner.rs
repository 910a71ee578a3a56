//! The worker that owns a device. It sleeps on its latch, takes what sessions ask, makes batches of it, and ends when
//! nothing was asked for a while.
//!
//! Requests that come while a batch is computed are the next batch, so a busy device batches by itself. When the last
//! batch had more requests than wait now, the worker waits for the others, at most `damson.device_latency`: a session
//! that is alone waits for nobody.
//!
//! A training has the device for an epoch at a time; between two steps of it the worker does what else was asked.

mod teaching;

use super::batch::{Batch, Request};
use super::pupils::Pupils;
use super::segment::{BUSY, Control, FREE, LEFT, Outcome, READY, SIZES, Slot, Stage, Verb, answer_at, now};
use super::{Kind, damson_device_reload, damson_device_segment, damson_device_signals, damson_device_slots};
use crate::pg::{settings, work};
use crate::worker::transaction;
use engine::scorer::Scorer;
use nn::cuda::Cuda;
use nn::device::{Device, Loaded, Software};
use pgrx::bgworkers::BackgroundWorker;
use pgrx::pg_sys::{self, Datum};
use pgrx::prelude::*;
use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicPtr};
use std::time::{Duration, Instant};

/// The segment, for what runs when the process ends.
static CONTROL: AtomicPtr<Control> = AtomicPtr::new(std::ptr::null_mut());
/// Whether it ends by itself.
static DONE: AtomicBool = AtomicBool::new(false);

/// What the server starts as the worker of a device.
#[pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn damson_device_main(_argument: Datum) {
    // SAFETY: before signals are let in.
    unsafe { damson_device_signals() };
    let mut words = BackgroundWorker::get_extra().split(' ');
    let kind = words.next().and_then(Kind::parse);
    let database = words.next().and_then(|w| w.parse::<u32>().ok());
    let (Some(kind), Some(database)) = (kind, database) else { return };
    BackgroundWorker::connect_worker_to_spi(None, None);
    if !take_turn(kind, database) {
        return;
    }
    // SAFETY: a number of the server.
    let slots = unsafe { damson_device_slots() }.max(1) as usize;
    // SAFETY: the segment is new, large enough and mapped until the process ends.
    let control = unsafe {
        let segment = damson_device_segment(Control::size(slots), 0);
        if segment.is_null() {
            warning!("no shared memory could be had for the worker of a device");
            return;
        }
        let control = Control::create(pg_sys::dsm_segment_address(segment).cast(), slots);
        CONTROL.store((&raw const *control).cast_mut(), Release);
        pg_sys::before_shmem_exit(Some(leave), Datum::from(0));
        let name = format!("damson device, segment {}", pg_sys::dsm_segment_handle(segment));
        if let Ok(name) = CString::new(name) {
            pg_sys::pgstat_report_appname(name.as_ptr());
        }
        control
    };
    let device: Result<Box<dyn Device>, nn::Error> = work::with_signals_blocked(|| open(kind));
    match device {
        Ok(device) => {
            // SAFETY: nobody reads it before the stage is `Ready`.
            unsafe { control.name.write(&device.name()) };
            control.memory.store(device.memory(), Relaxed);
            control.enter(Stage::Ready);
            wake_all(control);
            let ended = Owner::new(control, device).work();
            DONE.store(ended, Relaxed);
        }
        Err(e) => {
            // SAFETY: as above.
            unsafe { control.reason.write(&e.to_string()) };
            control.enter(Stage::Nothing);
            wake_all(control);
            log!("{e}: networks are scored by the CPU");
            // Whoever asks meanwhile need not look again.
            rest(settings::device_idle());
            DONE.store(true, Relaxed);
        }
    }
}

fn open(kind: Kind) -> Result<Box<dyn Device>, nn::Error> {
    match kind {
        Kind::Software => Ok(Box::new(Software)),
        Kind::Cuda => Ok(Box::new(Cuda::open()?)),
    }
}

/// Runs as the process ends, however it does: sessions that wait must know.
#[pg_guard]
unsafe extern "C-unwind" fn leave(_code: std::ffi::c_int, _argument: Datum) {
    // SAFETY: the segment is mapped until after this.
    let Some(control) = (unsafe { CONTROL.load(Acquire).as_ref() }) else { return };
    control.enter(if DONE.load(Relaxed) { Stage::Ended } else { Stage::Died });
    wake_all(control);
}

fn wake_all(control: &Control) {
    control.slots().iter().filter(|s| s.state.load(Acquire) != FREE).for_each(Slot::wake);
}

/// Becomes the worker of that device in that database, unless there is one. One that is about to end may hold the place
/// a moment longer.
fn take_turn(kind: Kind, database: u32) -> bool {
    let mut tag = crate::worker::turn_tag(database.into());
    tag.locktag_field2 = 1 + kind as u32;
    (0..20).any(|i| {
        std::thread::sleep(Duration::from_millis(i));
        let taken = transaction::run(|| {
            // SAFETY: a lock of the process, which leaves with it.
            Ok(unsafe { pg_sys::LockAcquire(&tag, pg_sys::ExclusiveLock as i32, true, true) })
        });
        matches!(taken, Ok(outcome) if outcome != pg_sys::LockAcquireResult::LOCKACQUIRE_NOT_AVAIL)
    })
}

/// Sleeps until it is woken, at most so long. Ends the process when it is to end.
fn nap(time: Duration) {
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    let time = time.as_millis().clamp(1, 3_600_000) as std::ffi::c_long;
    // SAFETY: this process's own latch.
    unsafe { pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, time, pg_sys::PG_WAIT_EXTENSION) };
    attend();
}

fn attend() {
    // SAFETY: this process's own latch, and what every process does on SIGHUP.
    unsafe {
        pg_sys::ResetLatch(pg_sys::MyLatch);
        if damson_device_reload() {
            pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP);
        }
    }
    pgrx::check_for_interrupts!();
}

fn rest(time: Duration) {
    let end = Instant::now() + time;
    while let Some(left) = end.checked_duration_since(Instant::now()).filter(|t| !t.is_zero()) {
        nap(left);
    }
}

/// A model in the device.
struct Held {
    scorer: Scorer,
    loaded: Box<dyn Loaded>,
    used: u64,
}

/// A session's segment, mapped here.
struct Mapped {
    handle: u32,
    segment: *mut pg_sys::dsm_segment,
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: attached by us, once.
        unsafe { pg_sys::dsm_detach(self.segment) };
    }
}

/// An artifact that is being sent.
struct Upload {
    key: [u8; 64],
    bytes: Vec<u8>,
}

struct Owner<'a> {
    control: &'a Control,
    device: Box<dyn Device>,
    models: HashMap<[u8; 64], Held>,
    mapped: HashMap<usize, Mapped>,
    uploads: HashMap<usize, Upload>,
    pupils: Pupils,
    pending: Vec<Request>,
    batch: Batch,
    /// Requests of the last batch.
    expected: usize,
    clock: u64,
    /// The device failed: nothing more can be done with it.
    broken: bool,
}

impl<'a> Owner<'a> {
    fn new(control: &'a Control, device: Box<dyn Device>) -> Owner<'a> {
        Owner {
            control,
            device,
            models: HashMap::new(),
            mapped: HashMap::new(),
            uploads: HashMap::new(),
            pupils: Pupils::default(),
            pending: vec![],
            batch: Batch::default(),
            expected: 1,
            clock: 0,
            broken: false,
        }
    }

    /// Works until nothing was asked for `damson.device_idle`: true; or until the device fails: false. What was asked of it
    /// is then not answered: that the process ends is answer enough.
    fn work(&mut self) -> bool {
        let mut last = Instant::now();
        loop {
            attend();
            self.collect();
            if self.pending.is_empty() && self.pupils.next().is_none() {
                let idle = settings::device_idle();
                // A learner may be at something else for long.
                if !self.pupils.is_empty() {
                    nap(idle);
                    last = Instant::now();
                    continue;
                }
                if last.elapsed() >= idle {
                    // From here on sessions start another worker; those that were faster are told.
                    self.control.enter(Stage::Ended);
                    return true;
                }
                nap(idle - last.elapsed());
                continue;
            }
            self.linger();
            self.serve();
            self.teach();
            last = Instant::now();
            if self.broken {
                warning!("the device failed; its worker ends, and the next one starts anew");
                return false;
            }
        }
    }

    /// Takes what was asked, and lets go of what sessions left.
    fn collect(&mut self) {
        for (i, slot) in self.control.slots().iter().enumerate() {
            match slot.state.load(Acquire) {
                READY if slot.state.compare_exchange(READY, BUSY, AcqRel, Acquire).is_ok() => {
                    self.take(i, slot);
                }
                LEFT if self.pending.iter().all(|r| r.slot != i) && self.pupils.leave(i) => {
                    self.mapped.remove(&i);
                    self.uploads.remove(&i);
                    self.tell();
                    slot.state.store(FREE, Release);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, i: usize, slot: &Slot) {
        let handle = slot.segment.load(Relaxed);
        if self.mapped.get(&i).is_none_or(|m| m.handle != handle) {
            self.mapped.remove(&i);
            // SAFETY: a number that a session wrote; nothing is there when the session is gone.
            let segment = unsafe { damson_device_segment(0, handle) };
            if segment.is_null() {
                slot.answer.store(0, Relaxed);
                slot.answer(Outcome::Failed);
                return;
            }
            self.mapped.insert(i, Mapped { handle, segment });
        }
        let (Some(mapped), Some(verb)) = (self.mapped.get(&i), slot.verb()) else {
            slot.answer.store(0, Relaxed);
            slot.answer(Outcome::Failed);
            return;
        };
        // SAFETY: the segment is mapped; the slot is the worker's while it is busy.
        let (memory, key) = unsafe {
            let memory = pg_sys::dsm_segment_address(mapped.segment).cast();
            ((memory, pg_sys::dsm_segment_map_length(mapped.segment)), slot.key())
        };
        self.pending.push(Request {
            slot: i,
            memory,
            verb,
            key,
            rows: slot.rows.load(Relaxed) as usize,
            sent: slot.sent.load(Relaxed) as usize,
            answer: slot.answer.load(Relaxed) as usize,
            asked: slot.asked.load(Relaxed),
        });
    }

    /// Waits for as many requests as the last batch had, until the first one has waited long enough.
    fn linger(&mut self) {
        let bound = settings::device_latency().as_micros() as i64;
        let first = self.pending.iter().map(|r| r.asked).min().unwrap_or(0);
        while self.pending.len() < self.expected && now() - first < bound {
            std::thread::sleep(Duration::from_micros(20));
            pgrx::check_for_interrupts!();
            self.collect();
        }
    }

    fn serve(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let (mut blocks, others): (Vec<Request>, Vec<Request>) =
            pending.into_iter().partition(|r| matches!(r.verb, Verb::Bytes | Verb::Doubles));
        if !blocks.is_empty() {
            self.expected = blocks.len();
        }
        for request in others {
            if request.verb == Verb::Load {
                self.piece(&request);
            } else {
                self.attend_pupil(&request);
            }
        }
        while let Some(first) = blocks.first().copied().filter(|_| !self.broken) {
            let same = |r: &Request| r.key == first.key && r.verb == first.verb;
            let (these, others): (Vec<Request>, Vec<Request>) = blocks.into_iter().partition(same);
            blocks = self.blocks(these);
            blocks.extend(others);
        }
    }

    fn slot(&self, request: &Request) -> &'a Slot {
        &self.control.slots()[request.slot]
    }

    fn fail(&self, request: &Request, text: &str) {
        // SAFETY: the segment is mapped as long as the session's slot is busy, or left and not yet free.
        unsafe { request.fail(self.slot(request), text) };
    }

    /// Computes one batch of requests for one model; gives back those that it had no room for.
    fn blocks(&mut self, mut requests: Vec<Request>) -> Vec<Request> {
        let Some(held) = requests.first().and_then(|r| self.models.get_mut(&r.key)) else {
            requests.iter().for_each(|r| self.slot(r).answer(Outcome::Unknown));
            return vec![];
        };
        self.clock += 1;
        held.used = self.clock;
        let Some(Ok(network)) = held.scorer.network().map(|n| n.predictor()) else {
            requests.iter().for_each(|r| self.fail(r, "the model is no network"));
            return vec![];
        };
        let slots = self.control.slots();
        requests.retain(|r| {
            let fits = r.fits(network);
            if !fits {
                // SAFETY: as in `fail`.
                unsafe { r.fail(&slots[r.slot], "the block does not fit the network") };
            }
            fits
        });
        self.batch.clear();
        // SAFETY: as in `fail`: nobody else writes what was sent.
        let taken = requests.iter().take_while(|r| unsafe { self.batch.add(r) }).count();
        let rest = requests.split_off(taken);
        if requests.is_empty() {
            return rest;
        }
        let begun = now();
        let (inputs, out) = self.batch.parts();
        let computed = held.loaded.outputs(network, inputs, out);
        let control = self.control;
        match computed {
            Ok(()) => {
                // Counted first: who has the answer may look at the numbers at once.
                control
                    .waited
                    .fetch_add(requests.iter().map(|r| (begun - r.asked).max(0) as u64).sum(), Relaxed);
                control.computed.fetch_add((now() - begun).max(0) as u64, Relaxed);
                control.requests.fetch_add(requests.len() as u64, Relaxed);
                control.rows.fetch_add(self.batch.rows as u64, Relaxed);
                control.batches.fetch_add(1, Relaxed);
                control.largest.fetch_max(requests.len() as u64, Relaxed);
                let size = requests.len().next_power_of_two().ilog2() as usize;
                control.sizes[size.min(SIZES - 1)].fetch_add(1, Relaxed);
                let mut values = &self.batch.out[..];
                for request in &requests {
                    let (these, others) = values.split_at(request.answer / 8);
                    values = others;
                    // SAFETY: the answer fits into the segment, which is mapped.
                    unsafe {
                        let to = request.memory.0.add(answer_at(request.sent)).cast();
                        std::ptr::copy_nonoverlapping(these.as_ptr(), to, these.len());
                    }
                    self.slot(request).answer(Outcome::Answered);
                }
            }
            Err(e) => {
                if matches!(e, nn::Error::Device(_)) {
                    log!("{e}");
                    self.broken = true;
                    return vec![];
                }
                requests.iter().for_each(|r| self.fail(r, &e.to_string()));
                if matches!(e, nn::Error::Memory(_)) {
                    self.models.clear();
                    self.tell();
                }
            }
        }
        rest
    }

    /// Takes a piece of an artifact; after the last one the model is loaded.
    fn piece(&mut self, request: &Request) {
        if self.models.contains_key(&request.key) {
            self.uploads.remove(&request.slot);
            return self.slot(request).answer(Outcome::Answered);
        }
        let limit = settings::device_memory();
        if request.answer as u64 > limit {
            let text = format!("the model has {} bytes, damson.device_memory is {limit}", request.answer);
            return self.fail(request, &text);
        }
        if request.rows == 0 {
            self.uploads.insert(request.slot, Upload { key: request.key, bytes: vec![] });
        }
        let Some(upload) = self.uploads.get_mut(&request.slot).filter(|u| u.key == request.key) else {
            return self.fail(request, "a piece of a model came before its beginning");
        };
        // SAFETY: the segment is mapped, and the session waits.
        let bytes = unsafe { request.bytes() };
        if upload.bytes.len() != request.rows || upload.bytes.len() + bytes.len() > request.answer {
            self.uploads.remove(&request.slot);
            return self.fail(request, "the pieces of a model do not fit together");
        }
        upload.bytes.extend_from_slice(bytes);
        if upload.bytes.len() < request.answer {
            return self.slot(request).answer(Outcome::Answered);
        }
        let whole = self.uploads.remove(&request.slot).map(|u| u.bytes).unwrap_or_default();
        match self.load(request.key, &whole) {
            Ok(()) => self.slot(request).answer(Outcome::Answered),
            Err(text) if self.broken => log!("{text}"),
            Err(text) => self.fail(request, &text),
        }
    }

    fn load(&mut self, key: [u8; 64], artifact: &[u8]) -> Result<(), String> {
        if engine::artifact::sha256(artifact).as_bytes() != key {
            return Err("the model is not the one that it was announced as".into());
        }
        let scorer = Scorer::load(artifact).map_err(|e| e.to_string())?;
        let network = scorer.network().ok_or("the model is no network")?;
        let network = network.predictor().map_err(|e| e.to_string())?;
        let limit = settings::device_memory();
        let loaded = loop {
            match self.device.load(network) {
                // The device may have less than it was to have.
                Err(nn::Error::Memory(_)) if !self.models.is_empty() => self.evict(),
                Err(e) => {
                    self.broken |= matches!(e, nn::Error::Device(_));
                    return Err(e.to_string());
                }
                Ok(loaded) => break loaded,
            }
        };
        let (bytes, trainings) = (loaded.bytes(), self.pupils.used());
        if bytes.saturating_add(trainings) > limit {
            return Err(format!(
                "the model takes {bytes} bytes of the device, damson.device_memory is {limit}"
            ));
        }
        while self.used() + trainings + bytes > limit {
            self.evict();
        }
        self.clock += 1;
        self.models.insert(key, Held { scorer, loaded, used: self.clock });
        self.tell();
        Ok(())
    }

    fn used(&self) -> u64 {
        bytes_of(&self.models)
    }

    /// Drops the model that was used least recently.
    fn evict(&mut self) {
        drop_oldest(&mut self.models);
        self.tell();
    }

    fn tell(&self) {
        self.control.models.store(self.models.len() as u64, Relaxed);
        self.control.used.store(self.used(), Relaxed);
        self.control.trainings.store(self.pupils.trainings(), Relaxed);
        self.control.training_used.store(self.pupils.used(), Relaxed);
    }
}

fn bytes_of(models: &HashMap<[u8; 64], Held>) -> u64 {
    models.values().map(|m| m.loaded.bytes()).sum()
}

fn drop_oldest(models: &mut HashMap<[u8; 64], Held>) {
    let oldest = models.iter().min_by_key(|(_, m)| m.used).map(|(key, _)| *key);
    oldest.map(|key| models.remove(&key));
}
