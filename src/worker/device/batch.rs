//! Requests made one batch: those of one model that are there at the same time. Called by `owner` alone.

use super::segment::{Outcome, Slot, Verb, answer_at};
use nn::data::Inputs;
use nn::score::Predictor;

/// Rows of a batch: more do not make a device faster, and would make the others wait.
const ROWS: usize = 4096;
/// Bytes of inputs of a batch.
const BYTES: usize = 64 << 20;

/// A request that the worker has taken.
#[derive(Clone, Copy)]
pub struct Request {
    /// Its slot's number.
    pub slot: usize,
    /// The session's segment, as it is mapped here, and its bytes.
    pub memory: (*mut u8, usize),
    /// What is asked.
    pub verb: Verb,
    /// The SHA-256 of the model's artifact.
    pub key: [u8; 64],
    /// Rows, or where a piece begins.
    pub rows: usize,
    /// Bytes sent.
    pub sent: usize,
    /// Bytes of the answer, or of the whole artifact.
    pub answer: usize,
    /// When it was asked.
    pub asked: i64,
}

impl Request {
    /// What was sent.
    ///
    /// # Safety
    /// The segment is mapped, and the session waits.
    pub unsafe fn bytes(&self) -> &[u8] {
        let len = self.sent.min(self.memory.1);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(self.memory.0, len) }
    }

    /// Answers with a text.
    ///
    /// # Safety
    /// As for `bytes`.
    pub unsafe fn fail(&self, slot: &Slot, text: &str) {
        let from = answer_at(self.sent).min(self.memory.1);
        let room = self.memory.1 - from;
        let mut end = text.len().min(room);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        // SAFETY: the caller's promise; the text fits.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.memory.0.add(from), end) };
        slot.answer.store(end as u64, std::sync::atomic::Ordering::Relaxed);
        slot.answer(Outcome::Failed);
    }

    /// Writes an answer; false where it does not fit.
    ///
    /// # Safety
    /// As for `bytes`.
    pub unsafe fn give(&self, bytes: &[u8]) -> bool {
        let from = answer_at(self.sent);
        let fits = bytes.len() <= self.answer && from.saturating_add(bytes.len()) <= self.memory.1;
        if fits {
            // SAFETY: the caller's promise, and it fits.
            unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.0.add(from), bytes.len()) };
        }
        fits
    }

    /// Whether it is of the size that the network wants.
    pub fn fits(&self, network: &Predictor) -> bool {
        let (values, outputs) = (network.plan().network.input.len(), network.plan().outputs());
        let each = if self.verb == Verb::Bytes { 1 } else { 8 };
        let end = answer_at(self.sent).checked_add(self.answer);
        self.rows.checked_mul(values * each) == Some(self.sent)
            && self.rows.checked_mul(outputs * 8) == Some(self.answer)
            && end.is_some_and(|end| end <= self.memory.1)
    }
}

/// The inputs of a batch, one request after another, and its outputs.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    doubles: Vec<f64>,
    /// The outputs, when they have been computed.
    pub out: Vec<f64>,
    /// Rows in it.
    pub rows: usize,
}

impl Batch {
    /// Empties it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.doubles.clear();
        self.out.clear();
        self.rows = 0;
    }

    /// Adds a request that fits the network. False, and nothing added, where the batch is full.
    ///
    /// # Safety
    /// As for `Request::bytes`.
    pub unsafe fn add(&mut self, request: &Request) -> bool {
        let bytes = self.bytes.len() + 8 * self.doubles.len();
        if self.rows > 0 && (self.rows + request.rows > ROWS || bytes + request.sent > BYTES) {
            return false;
        }
        // SAFETY: the caller's promise.
        let sent = unsafe { request.bytes() };
        if request.verb == Verb::Bytes {
            self.bytes.extend_from_slice(sent);
        } else {
            let doubles = sent.chunks_exact(8).map(|b| {
                let mut value = [0; 8];
                value.copy_from_slice(b);
                f64::from_ne_bytes(value)
            });
            self.doubles.extend(doubles);
        }
        self.rows += request.rows;
        self.out.resize(self.out.len() + request.answer / 8, 0.0);
        true
    }

    /// The inputs, and room for the outputs.
    pub fn parts(&mut self) -> (Inputs<'_>, &mut [f64]) {
        let inputs =
            if self.doubles.is_empty() { Inputs::Bytes(&self.bytes) } else { Inputs::Doubles(&self.doubles) };
        (inputs, &mut self.out)
    }
}
