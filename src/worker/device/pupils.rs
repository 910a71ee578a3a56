//! The trainings that a worker has taken: a place in the device each, and whose epoch comes next. Called by `owner` alone.

use super::batch::Request;
use super::segment::Verb;
use engine::remote::Desk;
use nn::Error;
use nn::data::Normal;
use nn::plan::Plan;
use nn::train::{Options, Stepper};
use std::collections::{HashMap, VecDeque};

/// Most trainings of which a worker holds the rows.
const MOST: usize = 64;

/// A learner's training.
#[derive(Default)]
pub struct Pupil {
    desk: Desk,
    /// Bytes that it takes of the device.
    bytes: u64,
}

impl Pupil {
    /// As [`Desk::epoch`].
    ///
    /// # Errors
    /// As there.
    pub fn epoch(
        &mut self,
        epoch: u64,
        between: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<usize, Error> {
        self.desk.epoch(epoch, between)
    }
}

/// All of them, by their session's slot.
#[derive(Default)]
pub struct Pupils {
    all: HashMap<usize, Pupil>,
    waiting: VecDeque<Request>,
    /// Of whom an epoch is being computed: its slot, and its bytes.
    busy: Option<(usize, u64)>,
}

/// The number of a training, as a key holds it.
pub fn key_of(training: u64) -> [u8; 64] {
    let mut key = [b'0'; 64];
    for (at, digit) in key.iter_mut().rev().zip(training.to_string().bytes().rev()) {
        *at = digit;
    }
    key
}

fn number_of(request: &Request) -> u64 {
    std::str::from_utf8(&request.key).ok().and_then(|k| k.parse().ok()).unwrap_or(0)
}

impl Pupils {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty() && self.busy.is_none()
    }

    /// Those that have their place in the device.
    pub fn trainings(&self) -> u64 {
        let placed = self.all.values().filter(|p| p.bytes > 0).count();
        (placed + usize::from(self.busy.is_some())) as u64
    }

    /// Bytes that they take of the device.
    pub fn used(&self) -> u64 {
        self.all.values().map(|p| p.bytes).sum::<u64>() + self.busy.map_or(0, |(_, bytes)| bytes)
    }

    /// The same without one of them.
    pub fn used_beside(&self, slot: usize) -> u64 {
        self.used() - self.all.get(&slot).map_or(0, |p| p.bytes)
    }

    /// Whether a session's training is the one that a request is about.
    pub fn knows(&self, request: &Request) -> bool {
        self.all.get(&request.slot).is_some_and(|p| p.desk.knows(number_of(request)))
    }

    /// Takes a piece of an order. After the last one `place` makes room in the device, and says how many bytes it is. Rows
    /// of all trainings may take `limit` bytes of this process.
    ///
    /// # Errors
    /// Those of [`Desk::order`]; of `place`; `Error::Memory` where there are too many.
    pub fn order(
        &mut self,
        request: &Request,
        sent: &[u8],
        limit: u64,
        place: impl FnOnce(&Plan, &Normal, &Options) -> Result<(Box<dyn Stepper>, u64), Error>,
    ) -> Result<(), Error> {
        let (at, len) = (request.rows, request.answer);
        if self.all.len() >= MOST && !self.all.contains_key(&request.slot) {
            return Err(Error::Memory(format!("the device has {MOST} trainings already")));
        }
        let others = self.all.iter().filter(|(slot, _)| **slot != request.slot);
        let held = others.map(|(_, p)| p.desk.bytes()).sum::<u64>().saturating_add(len as u64);
        if at == 0 && held > limit {
            return Err(Error::Memory(format!(
                "rows of trainings take {held} bytes of the worker, damson.max_memory is {limit} there"
            )));
        }
        let Pupil { desk, bytes } = self.all.entry(request.slot).or_default();
        if at == 0 {
            *bytes = 0;
        }
        let done = desk.order(number_of(request), at, len, sent, |plan, normal, options| {
            let (stepper, taken) = place(plan, normal, options)?;
            *bytes = taken;
            Ok(stepper)
        });
        if done.is_err() {
            self.all.remove(&request.slot);
        }
        done.map(|_| ())
    }

    /// Takes a piece of the weights of the next epoch.
    ///
    /// # Errors
    /// Those of [`Desk::weights`].
    pub fn weights(&mut self, request: &Request, sent: &[u8]) -> Result<(), Error> {
        match self.all.get_mut(&request.slot) {
            Some(pupil) => pupil.desk.weights(request.rows, request.answer, sent),
            None => Ok(()),
        }
    }

    /// A piece of what the last epoch gave.
    pub fn fetch(&self, slot: usize, at: usize, len: usize) -> &[u8] {
        self.all.get(&slot).map_or(&[], |p| p.desk.fetch(at, len))
    }

    /// Puts an epoch into the line.
    pub fn wait(&mut self, request: Request) {
        debug_assert!(request.verb == Verb::Epoch);
        self.waiting.push_back(request);
    }

    /// The epoch whose turn it is.
    pub fn next(&self) -> Option<&Request> {
        self.waiting.front()
    }

    /// Begins it: the pupil is the caller's until `end`.
    pub fn begin(&mut self) -> Option<(Request, Pupil)> {
        let request = self.waiting.pop_front()?;
        let pupil = self.all.remove(&request.slot)?;
        self.busy = Some((request.slot, pupil.bytes));
        Some((request, pupil))
    }

    /// Ends it.
    pub fn end(&mut self, slot: usize, pupil: Pupil) {
        self.busy = None;
        self.all.insert(slot, pupil);
    }

    /// Forgets what a session left; false while its epoch is being computed.
    pub fn leave(&mut self, slot: usize) -> bool {
        if self.busy.is_some_and(|(busy, _)| busy == slot) {
            return false;
        }
        self.waiting.retain(|r| r.slot != slot);
        self.all.remove(&slot);
        true
    }
}
