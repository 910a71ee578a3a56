//! What is kept of a training while it runs: the rounds of the fit that counts, and its checkpoints.

use super::{RoundMetric, Setting};
use crate::checkpoint::Checkpoint;
use crate::error::Result;
use crate::learner::{Cx, Observer};
use crate::remote::Errand;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Passes everything on, and keeps the rounds of the fit that counts. Checkpoints are of that fit too.
pub(super) struct Recorder<'a> {
    inner: &'a dyn Observer,
    setting: &'a Setting<'a>,
    pub(super) rounds: Mutex<Vec<RoundMetric>>,
    /// Where the fit that counts goes on from.
    broken_off: Mutex<Option<Checkpoint>>,
    pub(super) on: AtomicBool,
}

impl<'a> Recorder<'a> {
    pub(super) fn of(setting: &'a Setting<'a>, cx: &Cx<'a>) -> Result<Recorder<'a>> {
        let mut recorder = Recorder {
            inner: cx.observer,
            setting,
            rounds: Mutex::default(),
            broken_off: Mutex::default(),
            on: AtomicBool::new(false),
        };
        if let Some(checkpoint) = cx.observer.broken_off() {
            if checkpoint.rows == setting.digest()? {
                recorder.rounds = Mutex::new(checkpoint.rounds.clone());
                recorder.broken_off = Mutex::new(Some(checkpoint));
            } else {
                cx.observer.warning("the rows are not those of the checkpoint: the training begins anew");
            }
        }
        Ok(recorder)
    }
}

impl Observer for Recorder<'_> {
    fn progress(&self, done: usize, total: usize, what: &str) {
        self.inner.progress(done, total, what);
    }

    fn metric(&self, round: usize, name: &str, value: f64) {
        if self.on.load(Ordering::Relaxed) {
            let mut rounds = self.rounds.lock().unwrap_or_else(|e| e.into_inner());
            rounds.push(RoundMetric { round, name: name.into(), value });
        }
        self.inner.metric(round, name, value);
    }

    fn checkpoint(&self, _round: usize, last: bool, state: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        if !self.on.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.inner.keep(last, &|| {
            let rounds = self.rounds.lock().unwrap_or_else(|e| e.into_inner()).clone();
            Ok(Checkpoint { rows: self.setting.digest()?, rounds, state: state()? })
        })
    }

    fn broken_off(&self) -> Option<Checkpoint> {
        let on = self.on.load(Ordering::Relaxed);
        self.broken_off.lock().unwrap_or_else(|e| e.into_inner()).take_if(|_| on)
    }

    fn warning(&self, message: &str) {
        self.inner.warning(message);
    }

    fn errand(&self, training: u64, errand: Errand) -> Option<Vec<u8>> {
        self.inner.errand(training, errand)
    }
}
