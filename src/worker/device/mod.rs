//! The worker of a device, and how sessions reach it. A device (a GPU, its memory, the models in it) belongs to one
//! background worker a database and kind of device; neither the postmaster nor a session ever touches it.
//!
//! - [`segment`]: the memory that they share. [`owner`]: the worker. [`batch`]: requests made one batch. [`pupils`]: trainings.
//! - [`link`]: a session's end: it finds a worker or starts one, asks, and waits. [`client`]: what it asks for a model.
//!   [`errands`]: what it asks for a training.
//! - [`state`]: what `damson.devices` shows.
//!
//! A worker is connected to no database, so that it holds none, reads no table and has no rights: a session sends the
//! artifact of a model that it resolved under its own snapshot and rights, and then asks by the artifact's SHA-256,
//! which the worker has checked. Who does not know an artifact cannot name it.
//!
//! The rows of a training come from the session, too. Whatever goes wrong, the session computes its rows or its epochs itself,
//! with a warning, and looks for a worker again later.

pub mod batch;
pub mod client;
pub mod errands;
pub mod link;
pub mod owner;
pub mod pupils;
pub mod segment;
pub mod state;

use crate::pg::settings;
use pgrx::bgworkers::{BackgroundWorkerBuilder, BgWorkerStartTime, DynamicBackgroundWorker};
use pgrx::pg_sys;
use std::path::Path;

/// How `pg_stat_activity` shows workers of devices; the kind and the number of their database follow.
pub const DEVICE_TYPE: &str = "damson device ";

unsafe extern "C-unwind" {
    /// See `device.c`, as for all of these.
    fn damson_device_find(kind: *const std::ffi::c_char) -> u32;
    fn damson_device_lives(pid: std::ffi::c_int) -> bool;
    fn damson_device_segment(size: usize, handle: u32) -> *mut pg_sys::dsm_segment;
    fn damson_device_signals();
    fn damson_device_reload() -> bool;
    fn damson_device_slots() -> std::ffi::c_int;
}

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A GPU.
    Cuda,
    /// The CPU in its place.
    Software,
}

impl Kind {
    /// Its name in settings and views.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cuda => "cuda",
            Kind::Software => "software",
        }
    }

    fn parse(name: &str) -> Option<Kind> {
        [Kind::Cuda, Kind::Software].into_iter().find(|k| k.name() == name)
    }

    /// How its workers are shown in this database.
    fn worker_type(self, database: u32) -> String {
        format!("{DEVICE_TYPE}{} {database}", self.name())
    }
}

/// What the settings ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// The kind.
    pub kind: Kind,
    /// Whether the user named it, and is to know where it cannot be had.
    pub named: bool,
}

/// What `damson.device` asks for; none for the CPU. Whether there is a GPU is seen from the files that its driver's
/// kernel module makes: the driver itself is for the worker to touch.
pub fn wanted() -> Option<Wanted> {
    match settings::device() {
        settings::Device::Cpu => None,
        settings::Device::Cuda => Some(Wanted { kind: Kind::Cuda, named: true }),
        settings::Device::Software => Some(Wanted { kind: Kind::Software, named: true }),
        settings::Device::Auto => has_gpu().then_some(Wanted { kind: Kind::Cuda, named: false }),
    }
}

fn has_gpu() -> bool {
    static FOUND: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    // The second one is that of Windows' Linux.
    *FOUND.get_or_init(|| ["/dev/nvidiactl", "/dev/dxg"].iter().any(|file| Path::new(file).exists()))
}

/// Starts a worker; none where the server has no room. On a standby, too.
fn start(kind: Kind) -> Option<DynamicBackgroundWorker> {
    // SAFETY: reads variables of the server.
    let (database, me) = unsafe { (pg_sys::MyDatabaseId.to_u32(), pg_sys::MyProcPid) };
    let name = kind.worker_type(database);
    BackgroundWorkerBuilder::new(&name)
        .set_type(&name)
        .set_library("damson")
        .set_function("damson_device_main")
        .enable_spi_access()
        // After the line above, which would have it wait for the end of a recovery.
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(None)
        .set_extra(&format!("{} {database}", kind.name()))
        .set_notify_pid(me)
        .load_dynamic()
        .ok()
}
