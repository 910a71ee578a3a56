//! The extension's settings. They are registered when the library is loaded.

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_sys};
use std::time::Duration;

static THREADS: GucSetting<i32> = GucSetting::<i32>::new(0);
static MAX_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(4 << 20);
static HELD_NUMBERS: GucSetting<i32> = GucSetting::<i32>::new(32 << 10);
static CACHE_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(256 << 10);
static RUNNER: GucSetting<Runner> = GucSetting::<Runner>::new(Runner::Threads);
static MAX_JOBS: GucSetting<i32> = GucSetting::<i32>::new(4);
static MAX_JOBS_PER_ROLE: GucSetting<i32> = GucSetting::<i32>::new(4);
static KEEP_JOBS: GucSetting<i32> = GucSetting::<i32>::new(30);
static CHECKPOINT_INTERVAL: GucSetting<i32> = GucSetting::<i32>::new(10);
static CHECKPOINT_SPACE: GucSetting<i32> = GucSetting::<i32>::new(4 << 20);
static KEEP_CHECKPOINTS: GucSetting<i32> = GucSetting::<i32>::new(7);
static BATCH_SCORING: GucSetting<bool> = GucSetting::<bool>::new(true);
static PROGRESS: GucSetting<bool> = GucSetting::<bool>::new(true);
static DEVICE: GucSetting<Device> = GucSetting::<Device>::new(Device::Auto);
static DEVICE_LATENCY: GucSetting<i32> = GucSetting::<i32>::new(1000);
static DEVICE_MEMORY: GucSetting<i32> = GucSetting::<i32>::new(4 << 20);
static DEVICE_IDLE: GucSetting<i32> = GucSetting::<i32>::new(60);
static PROTECT_SOURCES: GucSetting<Protection> = GucSetting::<Protection>::new(Protection::Warn);

/// Where trainings run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, pgrx::PostgresGucEnum)]
pub enum Runner {
    /// On threads of the session's process, over the rows read into memory.
    #[name = c"threads"]
    Threads,
    /// In an aggregate over the source, which the server may run in parallel, or on the segments of a cluster.
    #[name = c"aggregate"]
    Aggregate,
}

/// Where networks score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, pgrx::PostgresGucEnum)]
pub enum Device {
    /// On a GPU where the machine has one.
    #[name = c"auto"]
    Auto,
    /// In the session.
    #[name = c"cpu"]
    Cpu,
    /// On a GPU, with a warning where that cannot be.
    #[name = c"cuda"]
    Cuda,
    /// In the device's worker, but by the CPU: what the tests of the worker's queue run on. Users are not told.
    #[name = c"software"]
    #[hidden = true]
    Software,
}

/// What happens to commands that break the source of a deployed model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, pgrx::PostgresGucEnum)]
pub enum Protection {
    /// Nothing.
    #[name = c"off"]
    Off,
    /// They give a warning.
    #[name = c"warn"]
    Warn,
    /// They fail.
    #[name = c"refuse"]
    Refuse,
}

impl Runner {
    /// As the setting names it.
    pub fn name(self) -> &'static str {
        match self {
            Runner::Threads => "threads",
            Runner::Aggregate => "aggregate",
        }
    }
}

/// Registers all settings; called once, by `_PG_init`.
pub fn register() {
    GucRegistry::define_int_guc(
        c"damson.threads",
        c"Threads that a training may use, or a query that scores in batches; 0 means all cores.",
        c"No result depends on it.",
        &THREADS,
        0,
        1024,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.max_memory",
        c"Memory that one training or evaluation may take, its rows included.",
        c"A statement that would need more fails with SQLSTATE 53200 before it takes it. Images that a network learns from go to a temporary file where they have no room.",
        &MAX_MEMORY,
        1 << 10,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"damson.held_numbers",
        c"Memory that numbers may take before a training reads them again rather than hold them.",
        c"Only of real and double precision, by algorithms that bin them, from sources that give the same rows again. No result depends on it.",
        &HELD_NUMBERS,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"damson.cache_memory",
        c"Memory that a session may keep for models that it has scored with.",
        c"The least recently used models leave first; the model in use stays whatever its size.",
        &CACHE_MEMORY,
        0,
        i32::MAX,
        GucContext::Userset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_enum_guc(
        c"damson.runner",
        c"Where trainings run: threads, or aggregate.",
        c"threads reads the rows once into memory; aggregate leaves them where they lie and reads them every round.",
        &RUNNER,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"damson.batch_scoring",
        c"Whether queries score many rows at once.",
        c"For models that are faster so, such as networks, a node of the plan collects rows; EXPLAIN shows it. The scores are the same.",
        &BATCH_SCORING,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_bool_guc(
        c"damson.progress",
        c"Whether long work reports its progress.",
        c"As notices to the client, and in the view damson.progress for everybody.",
        &PROGRESS,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"damson.protect_sources",
        c"What commands that break the source of a deployed model do: off, warn, or refuse.",
        c"refuse fails them with SQLSTATE 2BP01. Only superusers may change it.",
        &PROTECT_SOURCES,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.max_jobs",
        c"Jobs of a database that may run at once; 0 lets none begin.",
        c"Each takes a background worker, of which max_worker_processes says how many the server has.",
        &MAX_JOBS,
        0,
        1024,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.max_jobs_per_role",
        c"Jobs of one role that may run at once in a database.",
        c"The others wait, whatever their priority.",
        &MAX_JOBS_PER_ROLE,
        1,
        1024,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.keep_jobs",
        c"Days that jobs are kept for after they ended; -1 keeps them for ever.",
        c"The launcher removes older ones when it has nothing else to do.",
        &KEEP_JOBS,
        -1,
        36500,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.checkpoint_interval",
        c"Seconds between the checkpoints of a training.",
        c"They are written at the end of an epoch; 0 writes one at the end of each.",
        &CHECKPOINT_INTERVAL,
        0,
        86400,
        GucContext::Userset,
        GucFlags::UNIT_S,
    );
    GucRegistry::define_int_guc(
        c"damson.checkpoint_space",
        c"Disk space that the checkpoints of a role may take in a database.",
        c"The oldest ones go first; one that has no room is not written.",
        &CHECKPOINT_SPACE,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"damson.keep_checkpoints",
        c"Days that checkpoints of trainings are kept for; -1 keeps them for ever, 0 writes none.",
        c"Those of a training that commits go at once.",
        &KEEP_CHECKPOINTS,
        -1,
        36500,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_enum_guc(
        c"damson.device",
        c"Where networks score and are trained: auto, cpu, or cuda.",
        c"auto takes a GPU where the machine has one; cuda warns where none can be had. Both then go on with the CPU.",
        &DEVICE,
        GucContext::Userset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.device_latency",
        c"Microseconds that a row may wait for rows of other sessions, to be scored with them.",
        c"Sessions that are alone do not wait.",
        &DEVICE_LATENCY,
        0,
        1_000_000,
        GucContext::Sighup,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"damson.device_memory",
        c"Memory of a device that the models and trainings of a database may take.",
        c"The least recently used models leave first; what needs more is left to the CPU.",
        &DEVICE_MEMORY,
        1 << 10,
        i32::MAX,
        GucContext::Sighup,
        GucFlags::UNIT_KB,
    );
    GucRegistry::define_int_guc(
        c"damson.device_idle",
        c"Seconds without work after which a device is given back and its worker ends.",
        c"The next network that scores or is trained starts another one.",
        &DEVICE_IDLE,
        1,
        86_400,
        GucContext::Sighup,
        GucFlags::UNIT_S,
    );
    // A misspelt name under our prefix is an error (PostgreSQL 15 and later) or a warning, not a silent placeholder.
    // SAFETY: a constant string, on the main thread.
    unsafe {
        #[cfg(any(feature = "pg13", feature = "pg14"))]
        pg_sys::EmitWarningsOnPlaceholders(c"damson".as_ptr());
        #[cfg(not(any(feature = "pg13", feature = "pg14")))]
        pg_sys::MarkGUCPrefixReserved(c"damson".as_ptr());
    }
}

/// Threads to work with: `damson.threads`, or as many as this process may run at once.
pub fn threads() -> usize {
    match THREADS.get() {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n as usize,
    }
}

/// `damson.max_memory` in bytes.
pub fn max_memory() -> u64 {
    MAX_MEMORY.get() as u64 * 1024
}

/// `damson.held_numbers` in bytes.
pub fn held_numbers() -> u64 {
    HELD_NUMBERS.get() as u64 * 1024
}

/// `damson.cache_memory` in bytes.
pub fn cache_memory() -> u64 {
    CACHE_MEMORY.get() as u64 * 1024
}

/// `damson.batch_scoring`.
pub fn batch_scoring() -> bool {
    BATCH_SCORING.get()
}

/// `damson.progress`.
pub fn progress() -> bool {
    PROGRESS.get()
}

/// `damson.runner`.
pub fn runner() -> Runner {
    RUNNER.get()
}

/// `damson.protect_sources`.
pub fn protect_sources() -> Protection {
    PROTECT_SOURCES.get()
}

/// `damson.max_jobs`.
pub fn max_jobs() -> i32 {
    MAX_JOBS.get()
}

/// `damson.max_jobs_per_role`.
pub fn max_jobs_per_role() -> i32 {
    MAX_JOBS_PER_ROLE.get()
}

/// `damson.keep_jobs` in days.
pub fn keep_jobs() -> i32 {
    KEEP_JOBS.get()
}

/// `damson.checkpoint_interval`.
pub fn checkpoint_interval() -> Duration {
    Duration::from_secs(CHECKPOINT_INTERVAL.get() as u64)
}

/// `damson.checkpoint_space` in bytes.
pub fn checkpoint_space() -> u64 {
    CHECKPOINT_SPACE.get() as u64 * 1024
}

/// `damson.keep_checkpoints` in days.
pub fn keep_checkpoints() -> i32 {
    KEEP_CHECKPOINTS.get()
}

/// `damson.device`.
pub fn device() -> Device {
    DEVICE.get()
}

/// `damson.device_latency`.
pub fn device_latency() -> Duration {
    Duration::from_micros(DEVICE_LATENCY.get() as u64)
}

/// `damson.device_memory` in bytes.
pub fn device_memory() -> u64 {
    DEVICE_MEMORY.get() as u64 * 1024
}

/// `damson.device_idle`.
pub fn device_idle() -> Duration {
    Duration::from_secs(DEVICE_IDLE.get() as u64)
}
