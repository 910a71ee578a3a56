//! What devices there are and what they did, for the view `damson.devices`.

use super::client;
use super::link::Trouble;
use super::segment::{Control, SIZES};
use super::{Kind, has_gpu, wanted};
use crate::pg::settings;
use nn::device::{Device, Software};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A device.
pub struct Found {
    /// `cpu`, `cuda` or `software`.
    pub device: &'static str,
    /// `ready`, `starting`, `none`, `unused` or `lost`.
    pub state: &'static str,
    /// What it is.
    pub name: Option<String>,
    /// Why it does not serve.
    pub reason: Option<String>,
    /// Its worker.
    pub worker: Option<Worker>,
}

/// What a worker tells.
pub struct Worker {
    /// Its process.
    pub pid: i32,
    /// Bytes of the device's memory; 0 where nobody knows.
    pub memory: i64,
    /// Models in it.
    pub models: i64,
    /// Bytes that these take.
    pub model_memory: i64,
    /// Requests answered.
    pub requests: i64,
    /// Their rows.
    pub rows: i64,
    /// Batches computed.
    pub batches: i64,
    /// The most requests of one.
    pub largest_batch: i64,
    /// Batches by their number of requests, as JSON: `{"1": 10, "2": 3, "3-4": 5}`.
    pub batch_sizes: String,
    /// Microseconds that requests waited for their batches.
    pub waited: i64,
    /// Microseconds that batches took.
    pub computed: i64,
    /// Trainings in it.
    pub trainings: i64,
    /// Bytes that these take.
    pub training_memory: i64,
    /// Epochs trained.
    pub epochs: i64,
}

/// The CPU, and the device that the settings ask for, whose worker is started to look. A GPU that they do not ask for is
/// not looked for.
pub fn all() -> Vec<Found> {
    let cpu =
        Found { device: "cpu", state: "ready", name: Some(Software.name()), reason: None, worker: None };
    let Some(wanted) = wanted() else {
        let reason = match settings::device() {
            settings::Device::Auto if !has_gpu() => "the system knows no GPU",
            _ => "damson.device = cpu",
        };
        let state = if reason.starts_with("the") { "none" } else { "unused" };
        let cuda = Found { device: "cuda", state, name: None, reason: Some(reason.into()), worker: None };
        return vec![cpu, cuda];
    };
    let device = wanted.kind.name();
    let other = match client::look(wanted, |control| serving(wanted.kind, control)) {
        Ok(found) => found,
        Err(trouble) => {
            let (state, reason) = match trouble {
                Trouble::Starting | Trouble::Ended => ("starting", None),
                Trouble::Lost(text) => ("lost", Some(text)),
                Trouble::Nothing(text) => ("none", Some(text)),
            };
            Found { device, state, name: None, reason, worker: None }
        }
    };
    vec![cpu, other]
}

fn serving(kind: Kind, control: &Control) -> Found {
    let read = |number: &AtomicU64| i64::try_from(number.load(Relaxed)).unwrap_or(i64::MAX);
    let worker = Worker {
        pid: control.pid,
        memory: read(&control.memory),
        models: read(&control.models),
        model_memory: read(&control.used),
        requests: read(&control.requests),
        rows: read(&control.rows),
        batches: read(&control.batches),
        largest_batch: read(&control.largest),
        batch_sizes: sizes(&control.sizes),
        waited: read(&control.waited),
        computed: read(&control.computed),
        trainings: read(&control.trainings),
        training_memory: read(&control.training_used),
        epochs: read(&control.epochs),
    };
    // SAFETY: it was written before the stage became `Ready`.
    let name = unsafe { control.name.read() };
    Found { device: kind.name(), state: "ready", name: Some(name), reason: None, worker: Some(worker) }
}

fn sizes(sizes: &[AtomicU64; SIZES]) -> String {
    let mut object = serde_json::Map::new();
    for (i, count) in sizes.iter().enumerate() {
        let count = count.load(Relaxed);
        if count > 0 {
            let (from, to) = (if i == 0 { 1 } else { (1u64 << (i - 1)) + 1 }, 1u64 << i);
            let name = if from == to { to.to_string() } else { format!("{from}-{to}") };
            object.insert(name, count.into());
        }
    }
    serde_json::Value::Object(object).to_string()
}
