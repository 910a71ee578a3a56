//! What the worker does for trainings.

use super::{Owner, attend, bytes_of, drop_oldest};
use crate::pg::settings;
use crate::worker::device::batch::Request;
use crate::worker::device::segment::{LEFT, Outcome, Verb};
use pgrx::prelude::*;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

impl Owner<'_> {
    /// Does what a learner asks; an epoch when its turn comes.
    pub(super) fn attend_pupil(&mut self, request: &Request) {
        // SAFETY: the segment is mapped, and the session waits.
        let sent = unsafe { request.bytes() };
        let done = match request.verb {
            Verb::Order => self.order(request, sent),
            Verb::Epoch if self.pupils.knows(request) => return self.pupils.wait(*request),
            Verb::Weights if self.pupils.knows(request) => self.pupils.weights(request, sent),
            Verb::Fetch if self.pupils.knows(request) => Ok(()),
            _ => return self.slot(request).answer(Outcome::Unknown),
        };
        match done {
            Ok(()) if request.verb == Verb::Fetch => {
                self.give(request, self.pupils.fetch(request.slot, request.rows, request.answer));
            }
            Ok(()) => self.slot(request).answer(Outcome::Answered),
            Err(nn::Error::Device(text)) => {
                log!("{text}");
                self.broken = true;
            }
            Err(e) => self.fail(request, &e.to_string()),
        }
    }

    /// Answers with bytes.
    fn give(&self, request: &Request, bytes: &[u8]) {
        // SAFETY: as in `fail`.
        match unsafe { request.give(bytes) } {
            true => self.slot(request).answer(Outcome::Answered),
            false => self.fail(request, "an answer does not fit"),
        }
    }

    /// Takes a piece of an order; after the last one the training has its place in the device, for which models leave.
    fn order(&mut self, request: &Request, sent: &[u8]) -> Result<(), nn::Error> {
        let (limit, others) = (settings::device_memory(), self.pupils.used_beside(request.slot));
        let Owner { device, models, pupils, .. } = self;
        let result = pupils.order(request, sent, settings::max_memory(), |plan, normal, options| {
            let bytes = device.trainer_bytes(plan, normal, options)?;
            if bytes.saturating_add(others) > limit {
                return Err(nn::Error::Memory(format!(
                    "the training takes {bytes} bytes of the device, damson.device_memory is {limit}"
                )));
            }
            while !models.is_empty() && bytes + others + bytes_of(models) > limit {
                drop_oldest(models);
            }
            loop {
                match device.trainer(plan, normal, options) {
                    Err(nn::Error::Memory(_)) if !models.is_empty() => drop_oldest(models),
                    made => return Ok((made?, bytes)),
                }
            }
        });
        self.tell();
        result
    }

    /// Computes the epoch whose turn it is.
    pub(super) fn teach(&mut self) {
        let Some((request, mut pupil)) = self.pupils.begin().filter(|_| !self.broken) else { return };
        let slot = self.slot(&request);
        let outcome = pupil.epoch(request.rows as u64, &mut || {
            attend();
            self.collect();
            self.serve();
            match () {
                () if self.broken => Err(nn::Error::Device("the device failed meanwhile".into())),
                () if slot.state.load(Acquire) == LEFT => Err(nn::Error::Cancelled),
                () => Ok(()),
            }
        });
        self.pupils.end(request.slot, pupil);
        match outcome {
            Ok(len) => {
                self.control.epochs.fetch_add(1, Relaxed);
                self.give(&request, &(len as u64).to_ne_bytes());
            }
            Err(nn::Error::Device(text)) => {
                log!("{text}");
                self.broken = true;
            }
            // Nobody waits any longer.
            Err(nn::Error::Cancelled) => {}
            Err(e) => self.fail(&request, &e.to_string()),
        }
    }
}
