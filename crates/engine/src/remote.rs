//! A training of a network whose epochs another process computes, one that owns a device. The learner sends its rows once, as
//! an order, and for each epoch the weights that it starts from; what comes back are the weights at its end. Everything
//! else, such as checkpoints and early stopping, stays with the learner, and so does the last word: where nobody
//! answers, it computes the epoch itself, from the same weights.
//!
//! [`Away`] is the learner's end, which asks by [`Observer::errand`](crate::learner::Observer::errand); [`Course`] is the other
//! one. Both are the same library, on one machine.

use crate::error::{Error, Kind, Result};
use crate::learner::Cx;
use crate::wire;
use nn::data::{Feed, Images, Inputs, Normal};
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::Plan;
use nn::train::{Found, Options, Rows, Stepper, Trainer};
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are sent at once.
pub const PIECE: usize = 4 << 20;

/// What a learner asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Errand {
    /// Whether somebody takes an order of so many bytes.
    Offer(usize),
    /// A piece of the order.
    Order(Piece),
    /// A piece of the weights that the next epoch starts from.
    Weights(Piece),
    /// That epoch, from 0. The answer is the number of bytes that it gave, in 8.
    Epoch(u64),
    /// So many of them, from the first number on.
    Fetch(usize, usize),
}

/// A part of something long.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// Where it begins.
    pub at: usize,
    /// Bytes of the whole.
    pub len: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a network is trained on, all but the rows' numbers.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    input: Shape,
    layers: String,
    frozen: Vec<String>,
    options: Options,
    normal: Normal,
    positive: Vec<f32>,
    targets: usize,
    weights: Option<usize>,
    /// Values of inputs, and whether they are bytes.
    inputs: (usize, bool),
}

/// A network and how it is to be trained.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    /// The network.
    pub plan: &'a Plan,
    /// Layers that keep their weights.
    pub frozen: &'a [String],
    /// How.
    pub options: &'a Options,
    /// How inputs are normalised.
    pub normal: &'a Normal,
    /// As for [`Trainer::with_positive`].
    pub positive: &'a [f32],
}

/// Cuts what is written to it into pieces of one whole.
struct Cutter<F> {
    buffer: Vec<u8>,
    at: usize,
    len: usize,
    send: F,
}

impl<F: FnMut(Piece) -> Result<bool>> Cutter<F> {
    /// False where nobody wants more.
    fn write(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(PIECE - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = rest;
            if self.buffer.len() == PIECE && !self.flush()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn floats(&mut self, values: &[f32]) -> Result<bool> {
        for values in values.chunks(PIECE / 4) {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_ne_bytes()).collect();
            if !self.write(&bytes)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn images(&mut self, images: &dyn Images, rows: &[u32]) -> Result<bool> {
        let mut space = vec![];
        for row in rows {
            if !self.write(images.image(*row, &mut space)?)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<bool> {
        if self.buffer.is_empty() {
            return Ok(true);
        }
        let bytes = std::mem::take(&mut self.buffer);
        let piece = Piece { at: self.at, len: self.len, bytes };
        self.at += piece.bytes.len();
        (self.send)(piece)
    }
}

/// The lists of weights, in the order in which they are sent.
fn lists(w: &Weights) -> [&Vec<f32>; 4] {
    [&w.values, &w.first, &w.second, &w.average]
}

/// Bytes of weights: how many values each list has, the steps, and the lists.
fn weights_len(w: &Weights) -> usize {
    40 + 4 * lists(w).map(Vec::len).iter().sum::<usize>()
}

fn weights_head(w: &Weights) -> Vec<u8> {
    let numbers = lists(w).into_iter().map(|l| l.len() as u64).chain([w.steps]);
    numbers.flat_map(u64::to_ne_bytes).collect()
}

fn weights_bytes(w: &Weights) -> Vec<u8> {
    let mut bytes = weights_head(w);
    for list in lists(w) {
        bytes.extend(list.iter().flat_map(|v| v.to_ne_bytes()));
    }
    bytes
}

fn weights_of(bytes: &[u8]) -> Result<Weights> {
    let damaged = || Error::corrupt("the weights of a training are damaged");
    let (head, mut rest) = bytes.split_at_checked(40).ok_or_else(damaged)?;
    let numbers: Vec<u64> = head.as_chunks::<8>().0.iter().map(|b| u64::from_ne_bytes(*b)).collect();
    let mut list = |i: usize| -> Result<Vec<f32>> {
        let len = usize::try_from(numbers[i]).ok().and_then(|n| n.checked_mul(4)).ok_or_else(damaged)?;
        let (these, others) = rest.split_at_checked(len).ok_or_else(damaged)?;
        rest = others;
        Ok(floats(these))
    };
    let (values, first, second, average) = (list(0)?, list(1)?, list(2)?, list(3)?);
    if !rest.is_empty() {
        return Err(damaged());
    }
    Ok(Weights { values, first, second, average, steps: numbers[4] })
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
}

/// The learner's end of a training that somebody else computes.
#[derive(Debug)]
pub struct Away {
    /// Which training: of two in one process, each gets its own answers or none.
    number: u64,
}

impl Away {
    /// Sends the order. None where nobody takes it.
    ///
    /// # Errors
    /// `Kind::Cancelled`.
    pub fn begin(subject: Subject, rows: Rows, cx: &Cx) -> Result<Option<Away>> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        let away = Away { number: NUMBERS.fetch_add(1, Ordering::Relaxed) };
        let Subject { plan, frozen, options, normal, positive } = subject;
        let (bytes, are_bytes) = match rows.inputs {
            Feed::Here(Inputs::Bytes(_)) | Feed::Kept { .. } => (rows.inputs.len(), true),
            Feed::Here(Inputs::Numbers(v)) => (4 * v.len(), false),
            Feed::Here(Inputs::Doubles(_)) => return Ok(None),
        };
        let head = wire::encode(&Order {
            input: plan.network.input,
            layers: plan.network.to_json(),
            frozen: frozen.to_vec(),
            options: *options,
            normal: normal.clone(),
            positive: positive.to_vec(),
            targets: rows.targets.len(),
            weights: rows.weights.map(<[f32]>::len),
            inputs: (rows.inputs.len(), are_bytes),
        })?;
        let len = 8 + head.len() + 4 * (rows.targets.len() + rows.weights.map_or(0, <[f32]>::len)) + bytes;
        if away.ask(cx, Errand::Offer(len))?.is_none() {
            return Ok(None);
        }
        let send = |piece| Ok(away.ask(cx, Errand::Order(piece))?.is_some());
        let mut cutter = Cutter { buffer: vec![], at: 0, len, send };
        let taken = cutter.write(&(head.len() as u64).to_ne_bytes())?
            && cutter.write(&head)?
            && cutter.floats(rows.targets)?
            && cutter.floats(rows.weights.unwrap_or_default())?
            && match rows.inputs {
                Feed::Here(Inputs::Bytes(v)) => cutter.write(v)?,
                Feed::Here(Inputs::Numbers(v)) => cutter.floats(v)?,
                Feed::Here(Inputs::Doubles(_)) => false,
                Feed::Kept { images, rows } => cutter.images(images, rows)?,
            }
            && cutter.flush()?;
        Ok(taken.then_some(away))
    }

    /// An epoch from these weights, which become those at its end. None where it is to be computed here, from the weights as
    /// they are.
    ///
    /// # Errors
    /// `Kind::Cancelled`; `Kind::Data` where the training diverged.
    pub fn epoch(&self, cx: &Cx, epoch: usize, weights: &mut Weights) -> Result<Option<Found>> {
        let send = |piece| Ok(self.ask(cx, Errand::Weights(piece))?.is_some());
        let mut cutter = Cutter { buffer: vec![], at: 0, len: weights_len(weights), send };
        let [values, first, second, average] = lists(weights);
        let sent = cutter.write(&weights_head(weights))?
            && cutter.floats(values)?
            && cutter.floats(first)?
            && cutter.floats(second)?
            && cutter.floats(average)?
            && cutter.flush()?;
        let Some(len) = (if sent { self.ask(cx, Errand::Epoch(epoch as u64))? } else { None }) else {
            return Ok(None);
        };
        let len = len.first_chunk::<8>().map_or(0, |b| u64::from_ne_bytes(*b)) as usize;
        let mut bytes = vec![];
        while bytes.len() < len {
            let Some(more) = self.ask(cx, Errand::Fetch(bytes.len(), (len - bytes.len()).min(PIECE)))? else {
                return Ok(None);
            };
            if more.is_empty() {
                return Ok(None);
            }
            bytes.extend(more);
        }
        // One that is not what it should be is as good as none.
        let Ok(reply) = Reply::read(&bytes) else { return Ok(None) };
        match reply {
            Reply::Diverged(text) => Err(Error::new(Kind::Data, text)),
            Reply::Trained(found, after) => {
                let lens = |w: &Weights| lists(w).map(Vec::len);
                if lens(&after) != lens(weights) {
                    return Ok(None);
                }
                *weights = after;
                Ok(Some(found))
            }
        }
    }

    fn ask(&self, cx: &Cx, errand: Errand) -> Result<Option<Vec<u8>>> {
        cx.check()?;
        let answer = cx.observer.errand(self.number, errand);
        // Who is to stop gets no answer, and must not take that for a refusal.
        cx.check()?;
        Ok(answer)
    }
}

/// What an epoch came to.
enum Reply {
    Trained(Found, Weights),
    Diverged(String),
}

impl Reply {
    fn write(&self) -> Vec<u8> {
        match self {
            Reply::Trained(found, weights) => {
                let mut bytes = vec![0];
                let numbers = [found.loss, found.correct, found.weight];
                bytes.extend(numbers.into_iter().flat_map(f64::to_ne_bytes));
                bytes.extend(weights_bytes(weights));
                bytes
            }
            Reply::Diverged(text) => [&[1], text.as_bytes()].concat(),
        }
    }

    fn read(bytes: &[u8]) -> Result<Reply> {
        let damaged = || Error::corrupt("the answer of a training is damaged");
        let (kind, rest) = bytes.split_first().ok_or_else(damaged)?;
        if *kind == 1 {
            return Ok(Reply::Diverged(String::from_utf8_lossy(rest).into_owned()));
        }
        let (numbers, rest) = rest.split_at_checked(24).ok_or_else(damaged)?;
        let numbers: Vec<f64> = numbers.as_chunks::<8>().0.iter().map(|b| f64::from_ne_bytes(*b)).collect();
        let found = Found { loss: numbers[0], correct: numbers[1], weight: numbers[2] };
        Ok(Reply::Trained(found, weights_of(rest)?))
    }
}

/// The other end: an order, and what computes its steps.
pub struct Course {
    order: Vec<u8>,
    /// Where images lie in the order; numbers are taken out of it.
    images: Option<usize>,
    numbers: Vec<f32>,
    targets: Vec<f32>,
    weights: Option<Vec<f32>>,
    trainer: Trainer<Box<dyn Stepper>>,
}

impl Course {
    /// From an order. `place` makes room for the training on a device, or refuses.
    ///
    /// # Errors
    /// `nn::Error::Corrupt` and `nn::Error::Shape` for an order that is none; those of `place`.
    pub fn open(
        order: Vec<u8>,
        place: impl FnOnce(&Plan, &Normal, &Options) -> std::result::Result<Box<dyn Stepper>, nn::Error>,
    ) -> std::result::Result<Course, nn::Error> {
        let damaged = || nn::Error::Corrupt("the order of a training is damaged".into());
        let (head, mut rest) = order.split_first_chunk::<8>().ok_or_else(damaged)?;
        let mut take = |len: Option<usize>| {
            let (these, others) = rest.split_at_checked(len.ok_or_else(damaged)?).ok_or_else(damaged)?;
            rest = others;
            Ok::<_, nn::Error>(these)
        };
        let head = take(usize::try_from(u64::from_ne_bytes(*head)).ok())?;
        let told: Order = wire::decode(head).map_err(|_| damaged())?;
        let targets = floats(take(told.targets.checked_mul(4))?);
        let weights = match told.weights {
            Some(n) => Some(floats(take(n.checked_mul(4))?)),
            None => None,
        };
        let (len, bytes) = told.inputs;
        let inputs = take(if bytes { Some(len) } else { len.checked_mul(4) })?;
        let numbers = if bytes { vec![] } else { floats(inputs) };
        let images = bytes.then_some(order.len() - len);
        if !rest.is_empty() {
            return Err(damaged());
        }
        let network = Network::restore(told.input, &told.layers)?;
        let plan = Plan::with_frozen(&network, &told.frozen)?;
        let stepper = place(&plan, &told.normal, &told.options)?;
        let trainer = Trainer::on(&plan, told.options, stepper).with_positive(told.positive);
        let order = if bytes { order } else { vec![] };
        Ok(Course { order, images, numbers, targets, weights, trainer })
    }

    /// Bytes of this process's memory that it holds, beside the device's.
    pub fn bytes(&self) -> u64 {
        let weights = self.weights.as_ref().map_or(0, Vec::len);
        (self.order.len() + 4 * (self.numbers.len() + self.targets.len() + weights)) as u64
    }

    /// An epoch from these weights; gives what [`Away::epoch`] reads. `between` is called between two steps, and ends it by
    /// an error.
    ///
    /// # Errors
    /// `nn::Error::Corrupt` for weights that are none; `nn::Error::Device`; those of `between`.
    pub fn epoch(
        &mut self,
        epoch: u64,
        weights: &[u8],
        between: &mut dyn FnMut() -> std::result::Result<(), nn::Error>,
    ) -> std::result::Result<Vec<u8>, nn::Error> {
        let mut weights = weights_of(weights).map_err(|e| nn::Error::Corrupt(e.to_string()))?;
        let inputs = match self.images {
            Some(at) => Inputs::Bytes(&self.order[at..]),
            None => Inputs::Numbers(&self.numbers),
        };
        let inputs = inputs.into();
        let rows = Rows { inputs, targets: &self.targets, weights: self.weights.as_deref() };
        // Who stops it does so by `between`.
        let go = std::sync::atomic::AtomicBool::new(false);
        let found = self.trainer.epoch_between(&mut weights, rows, epoch as usize, nn::Stop(&go), between);
        match found {
            Ok(found) => Ok(Reply::Trained(found, weights).write()),
            Err(nn::Error::Data(text)) => Ok(Reply::Diverged(text).write()),
            Err(e) => Err(e),
        }
    }
}

/// What the other end holds of one learner: pieces as they come, and the course that they make.
#[derive(Default)]
pub struct Desk {
    number: u64,
    order: Vec<u8>,
    course: Option<Course>,
    weights: Vec<u8>,
    result: Vec<u8>,
}

/// Adds a piece to what came before it. True where it was the last one.
fn gather(whole: &mut Vec<u8>, at: usize, len: usize, bytes: &[u8]) -> std::result::Result<bool, nn::Error> {
    if at == 0 {
        whole.clear();
        whole.reserve_exact(len);
    }
    if whole.len() != at || bytes.len() > len - at.min(len) {
        *whole = vec![];
        return Err(nn::Error::Corrupt("the pieces of a training do not fit together".into()));
    }
    whole.extend_from_slice(bytes);
    Ok(whole.len() == len)
}

impl Desk {
    /// Takes a piece of the order of training `number`: `bytes` from `at` on, of `len`. The last one opens the course, for
    /// which `place` makes room; the first one ends the course before it. Whether it is open now.
    ///
    /// # Errors
    /// `nn::Error::Corrupt` for pieces that do not fit together; those of [`Course::open`].
    pub fn order(
        &mut self,
        number: u64,
        at: usize,
        len: usize,
        bytes: &[u8],
        place: impl FnOnce(&Plan, &Normal, &Options) -> std::result::Result<Box<dyn Stepper>, nn::Error>,
    ) -> std::result::Result<bool, nn::Error> {
        if at == 0 {
            *self = Desk { number, ..Desk::default() };
        }
        if self.number != number || !gather(&mut self.order, at, len, bytes)? {
            return Ok(false);
        }
        self.course = Some(Course::open(std::mem::take(&mut self.order), place)?);
        Ok(true)
    }

    /// Bytes of this process's memory that it holds.
    pub fn bytes(&self) -> u64 {
        let pieces = self.order.capacity() + self.weights.capacity() + self.result.capacity();
        pieces as u64 + self.course.as_ref().map_or(0, Course::bytes)
    }

    /// Whether this is the training that it has a course for.
    pub fn knows(&self, number: u64) -> bool {
        self.number == number && self.course.is_some()
    }

    /// Takes a piece of the weights of the next epoch.
    ///
    /// # Errors
    /// `nn::Error::Corrupt` for pieces that do not fit together.
    pub fn weights(&mut self, at: usize, len: usize, bytes: &[u8]) -> std::result::Result<(), nn::Error> {
        gather(&mut self.weights, at, len, bytes).map(|_| ())
    }

    /// Computes an epoch, as [`Course::epoch`]; gives the number of bytes that can be fetched.
    ///
    /// # Errors
    /// As there.
    pub fn epoch(
        &mut self,
        epoch: u64,
        between: &mut dyn FnMut() -> std::result::Result<(), nn::Error>,
    ) -> std::result::Result<usize, nn::Error> {
        let Some(course) = &mut self.course else {
            return Err(nn::Error::Corrupt("there is no order of this training".into()));
        };
        self.result = vec![];
        self.result = course.epoch(epoch, &std::mem::take(&mut self.weights), between)?;
        Ok(self.result.len())
    }

    /// So many bytes of the result, from `at` on, as far as it goes.
    pub fn fetch(&self, at: usize, len: usize) -> &[u8] {
        let from = at.min(self.result.len());
        &self.result[from..(from + len).min(self.result.len())]
    }
}
