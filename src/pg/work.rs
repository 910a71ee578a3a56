//! Long work on threads, inside a server process. Callers: the verbs of `src/api` that train or evaluate.
//!
//! Threads are safe in a server under three rules, which this file keeps, and [`super::store`] for the one that helps to
//! read:
//! 1. the pool is built while all signals are blocked, so that handlers run on the main thread alone;
//! 2. nothing off the main thread calls the server: the job gets a [`Cx`], no more;
//! 3. the main thread waits in steps of 10 ms, and does what the job asks it to, such as going on errands to the worker of
//!    a device. When the statement is to end it sets the stop flag, waits for the job and its threads, and only then lets
//!    the server raise: no thread outlives the statement.
//!
//! Meanwhile the main thread shows progress: as notices, and in `application_name` as
//! `damson: train churn, tree 40/100`, from which the view `damson.progress` reads it.

use super::error::{self, Error, Result};
use super::settings;
use crate::worker::device::errands::Errands;
use engine::learner::{Cx, Observer};
use engine::remote::Errand;
use pgrx::pg_sys;
use std::any::Any;
use std::ffi::CString;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the main thread sleeps between looks at its interrupts: the delay of a cancel.
const STEP: Duration = Duration::from_millis(10);
/// How often `application_name` may change.
const STATUS_EVERY: Duration = Duration::from_millis(250);
/// When the first notice comes; most work is done by then.
const FIRST_NOTICE: Duration = Duration::from_secs(2);
/// How often notices follow.
const NOTICE_EVERY: Duration = Duration::from_secs(5);
/// Bytes of an object's name that `application_name` has room for, of 63.
const NAME_ROOM: usize = 24;

/// What work is called in notices and in `damson.progress`.
#[derive(Debug, Clone, Copy)]
pub struct Title<'a> {
    /// What is done: `train`, `evaluate`.
    pub verb: &'a str,
    /// To what: a model's name.
    pub object: &'a str,
}

/// A metric of one round.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The round, from 0.
    pub round: usize,
    /// Such as `train_loss`.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// What finished work leaves.
#[derive(Debug)]
pub struct Finished<T> {
    /// The job's result.
    pub value: T,
    /// Metrics, in the order in which they came.
    pub metrics: Vec<Metric>,
    /// Warnings; the client has had them.
    pub warnings: Vec<String>,
}

/// Runs `job` on `damson.threads` threads and waits for it. Inside, rayon's current pool is the work's own.
///
/// Raises the server's error when the statement is cancelled, times out or is to end; the job has returned by
/// then, so it must poll `cx.check()`.
///
/// # Errors
/// The job's own; `Kind::Internal` when it panics or threads cannot be had.
pub fn run<T: Send>(
    title: Title,
    seed: u64,
    job: impl FnOnce(&Cx) -> engine::Result<T> + Send,
) -> Result<Finished<T>> {
    Crew::start()?.run(title, seed, job)
}

/// As [`run`], of a job that may ask the main thread for something meanwhile.
///
/// # Errors
/// As there.
pub fn run_with_main<T: Send>(
    title: Title,
    seed: u64,
    job: impl FnOnce(&Cx, MainThread) -> engine::Result<T> + Send,
) -> Result<Finished<T>> {
    Crew::start()?.watched(Display::new(title, settings::progress()), seed, job)
}

/// What a job has the main thread do, which alone may call the server. While it does it looks after interrupts
/// itself, or the server does.
#[derive(Clone)]
pub struct MainThread(Sender<Message>);

impl MainThread {
    /// Asks it to do something, soon. That is dropped undone where the statement ends before.
    pub fn ask(&self, call: impl FnOnce() + Send + 'static) {
        // A main thread that is gone waits for the job to end.
        let _ = self.0.send(Message::Call(Box::new(|_| call())));
    }
}

/// Threads for much work of one statement, one piece after another. Between them the threads sleep.
pub struct Crew(Pool);

impl Crew {
    /// Starts `damson.threads` threads.
    ///
    /// # Errors
    /// `Code::NoWorker` when threads cannot be had.
    pub fn start() -> Result<Crew> {
        return_large_blocks();
        Crew::of(settings::threads())
    }

    /// Starts so many threads.
    ///
    /// # Errors
    /// As for `start`.
    pub fn of(threads: usize) -> Result<Crew> {
        Ok(Crew(Pool::start(threads)?))
    }

    /// As the function [`run`], on these threads.
    ///
    /// # Errors
    /// As there.
    pub fn run<T: Send>(
        &self,
        title: Title,
        seed: u64,
        job: impl FnOnce(&Cx) -> engine::Result<T> + Send,
    ) -> Result<Finished<T>> {
        self.watched(Display::new(title, settings::progress()), seed, |cx, _| job(cx))
    }

    /// The same for work that shows no progress: short pieces of a query's own work.
    ///
    /// # Errors
    /// As for `run`.
    pub fn run_unseen<T: Send>(
        &self,
        seed: u64,
        job: impl FnOnce(&Cx) -> engine::Result<T> + Send,
    ) -> Result<T> {
        let unseen = Display::new(Title { verb: "", object: "" }, false);
        Ok(self.watched(unseen, seed, |cx, _| job(cx))?.value)
    }

    fn watched<T: Send>(
        &self,
        mut display: Display,
        seed: u64,
        job: impl FnOnce(&Cx, MainThread) -> engine::Result<T> + Send,
    ) -> Result<Finished<T>> {
        let pool = &self.0;
        let stop = AtomicBool::new(false);
        let (sender, receiver) = channel();
        let watch = Watch { errands: Mutex::new(Some(sender.clone())), ..Watch::default() };
        let (over, mut errands) = (Mutex::new(None), Errands::default());
        let outcome = pool.rayon()?.in_place_scope(|scope| {
            let (stop, watch, over) = (&stop, &watch, &over);
            scope.spawn(move |_| {
                let cx = Cx { seed, stop, observer: watch };
                let main = MainThread(sender.clone());
                *lock(over) = Some(catch_unwind(AssertUnwindSafe(|| job(&cx, main))));
                // Should the server have raised, nobody listens.
                let _ = sender.send(Message::Over);
            });
            // Should the server raise from below, the scope still waits for the job, which must therefore stop.
            let _guard = StopOnDrop(stop);
            let receiver = receiver;
            loop {
                match receiver.recv_timeout(STEP) {
                    Ok(Message::Over) | Err(RecvTimeoutError::Disconnected) => return lock(over).take(),
                    Ok(Message::Call(call)) => {
                        // An error from here drops what the job waits for; it must know before that it is to stop.
                        let ends = StopOnDrop(stop);
                        call(&mut errands);
                        std::mem::forget(ends);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if ends_statement() {
                    stop.store(true, Ordering::Relaxed);
                    // Whoever waits for what is dropped here learns that it will not be done.
                    while receiver.recv().is_ok_and(|message| !matches!(message, Message::Over)) {}
                    check_for_interrupts();
                    return lock(over).take();
                }
                check_for_interrupts();
                display.show(watch);
            }
        });
        drop(display);
        let value = match outcome {
            Some(Ok(result)) => result?,
            Some(Err(panic)) => return Err(Error::internal(format!("a thread failed: {}", reason(&*panic)))),
            None => return Err(Error::internal("a thread vanished")),
        };
        let (metrics, warnings) = (take(&watch.metrics), take(&watch.warnings));
        warnings.iter().for_each(|w| error::warn(w));
        Ok(Finished { value, metrics, warnings })
    }
}

/// Asks again and again, ever more rarely, until what is asked for is over or `timeout` seconds have gone; gives the last
/// answer. It can be cancelled.
///
/// # Errors
/// Those of `ask`.
pub fn wait_until<T>(timeout: Option<f64>, mut ask: impl FnMut() -> Result<(T, bool)>) -> Result<T> {
    let begun = Instant::now();
    let mut rest = STEP;
    loop {
        let (answer, over) = ask()?;
        if over || timeout.is_some_and(|t| begun.elapsed().as_secs_f64() >= t) {
            return Ok(answer);
        }
        let mut left = rest;
        while !left.is_zero() {
            check_for_interrupts();
            let nap = left.min(STEP);
            std::thread::sleep(nap);
            left -= nap;
        }
        rest = (rest * 2).min(Duration::from_millis(250));
    }
}

/// Makes rayon's global pool this thread alone. The engine's parallel loops may also be reached outside of
/// [`run`], for instance in scoring; without this, rayon would then start threads of its own, with signals open.
pub fn forbid_global_pool() {
    // An error means that the pool exists already, as after a second load of the library.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global();
}

/// Threads of our own. Dropping it, also when the server raises, waits until they are gone: rayon alone only tells
/// them to go.
struct Pool {
    rayon: Option<rayon::ThreadPool>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn start(threads: usize) -> Result<Pool> {
        let mut pool = Pool { rayon: None, threads: vec![] };
        let spawn = |worker: rayon::ThreadBuilder| {
            let thread = std::thread::Builder::new().name(format!("damson-{}", worker.index()));
            pool.threads.push(thread.spawn(|| worker.run())?);
            Ok(())
        };
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads).spawn_handler(spawn);
        let built = with_signals_blocked(|| builder.build());
        pool.rayon = Some(built.map_err(|e| {
            Error::new(error::Code::NoWorker, format!("could not start {threads} threads: {e}"))
                .hint("Lower damson.threads, or raise the limits of the operating system.")
        })?);
        Ok(pool)
    }

    fn rayon(&self) -> Result<&rayon::ThreadPool> {
        self.rayon.as_ref().ok_or_else(|| Error::internal("a pool has ended"))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        drop(self.rayon.take());
        for thread in self.threads.drain(..) {
            // A job's panic was caught in the job, and a worker has no other.
            let _ = thread.join();
        }
        return_small_blocks();
    }
}

/// Runs `f` with all signals blocked in this thread; threads that it starts inherit that.
pub fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: plain calls of the C library on sets of our own; `f` is not to raise.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut old: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut old);
        let result = f();
        libc::pthread_sigmask(libc::SIG_SETMASK, &old, std::ptr::null_mut());
        result
    }
}

/// Whether a pending interrupt ends the statement, or the process without unwinding.
fn ends_statement() -> bool {
    // SAFETY: flags that signal handlers of this thread set.
    unsafe {
        let set = |flag: *const pg_sys::sig_atomic_t| flag.read_volatile() != 0;
        set(&raw const pg_sys::InterruptPending)
            && (set(&raw const pg_sys::QueryCancelPending) || set(&raw const pg_sys::ProcDiePending))
    }
}

fn check_for_interrupts() {
    pgrx::check_for_interrupts!();
}

/// Makes this process give large blocks back to the system as soon as they are freed. By default the allocator
/// learns from the first large one to keep those that follow, in a heap of each thread, where nothing but more work
/// of that thread frees them: 56 of 60 MB stayed. Only sessions that read rows or train are changed.
pub(super) fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: two numbers of the allocator's own.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 8 << 20);
    }
}

/// Small blocks, which [`return_large_blocks`] does not concern, add up in training too.
pub(super) fn return_small_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: only returns free memory to the system.
    unsafe {
        libc::malloc_trim(0);
    }
}

pub(super) fn reason(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("for a reason unknown")
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[derive(Clone, PartialEq)]
struct Step {
    done: usize,
    total: usize,
    what: String,
}

/// What the job sends to the main thread.
enum Message {
    /// Something to do there, with its way to a device.
    Call(Box<dyn FnOnce(&mut Errands) + Send>),
    /// It has returned.
    Over,
}

/// What the job tells, from any of its threads.
#[derive(Default)]
struct Watch {
    errands: Mutex<Option<Sender<Message>>>,
    step: Mutex<Option<Step>>,
    metrics: Mutex<Vec<Metric>>,
    warnings: Mutex<Vec<String>>,
}

/// A panic while it was held leaves plain data behind, so the lock is as good as ever.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take<T: Default>(mutex: &Mutex<T>) -> T {
    std::mem::take(&mut lock(mutex))
}

impl Observer for Watch {
    fn progress(&self, done: usize, total: usize, what: &str) {
        *lock(&self.step) = Some(Step { done, total, what: what.to_string() });
    }

    fn metric(&self, round: usize, name: &str, value: f64) {
        lock(&self.metrics).push(Metric { round, name: name.to_string(), value });
    }

    fn warning(&self, message: &str) {
        lock(&self.warnings).push(message.to_string());
    }

    fn errand(&self, training: u64, errand: Errand) -> Option<Vec<u8>> {
        let (reply, answer) = channel();
        let call = move |errands: &mut Errands| drop(reply.send(errands.run(training, errand)));
        let sender = lock(&self.errands).clone()?;
        sender.send(Message::Call(Box::new(call))).ok()?;
        answer.recv().ok().flatten()
    }
}

/// Progress as the outside sees it. Dropping it restores `application_name`, also when the server raises.
struct Display<'a> {
    title: Title<'a>,
    shown: Option<Step>,
    noticed: Option<Step>,
    status_at: Instant,
    notice_at: Instant,
    on: bool,
}

impl<'a> Display<'a> {
    fn new(title: Title<'a>, on: bool) -> Self {
        let now = Instant::now();
        let display =
            Display { title, shown: None, noticed: None, status_at: now, notice_at: now + FIRST_NOTICE, on };
        if display.on {
            report_status(&display.status(None));
        }
        display
    }

    fn show(&mut self, watch: &Watch) {
        let now = Instant::now();
        if !self.on || (now < self.status_at && now < self.notice_at) {
            return;
        }
        let Some(step) = lock(&watch.step).clone() else { return };
        if now >= self.status_at && self.shown.as_ref() != Some(&step) {
            self.status_at = now + STATUS_EVERY;
            report_status(&self.status(Some(&step)));
            self.shown = Some(step.clone());
        }
        if now >= self.notice_at && self.noticed.as_ref() != Some(&step) {
            self.notice_at = now + NOTICE_EVERY;
            self.noticed = Some(step.clone());
            let Title { verb, object } = self.title;
            let Step { done, total, what } = step;
            pgrx::notice!("{verb} {object}: {what} {done} of {total}");
        }
    }

    /// Fits the 63 bytes of `application_name` for all but absurd counts.
    fn status(&self, step: Option<&Step>) -> String {
        let Title { verb, object } = self.title;
        let mut end = object.len().min(NAME_ROOM);
        while !object.is_char_boundary(end) {
            end -= 1;
        }
        let object = &object[..end];
        match step {
            None => format!("damson: {verb} {object}"),
            Some(Step { done, total, what }) => format!("damson: {verb} {object}, {what} {done}/{total}"),
        }
    }
}

impl Drop for Display<'_> {
    fn drop(&mut self) {
        if self.on {
            // SAFETY: a setting of the server, a string or none; the function copies it.
            unsafe {
                let name = pg_sys::application_name;
                pg_sys::pgstat_report_appname(if name.is_null() { c"".as_ptr() } else { name });
            }
        }
    }
}

fn report_status(status: &str) {
    // The server's own rule for application names, in all its encodings.
    let ascii: String = status.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect();
    if let Ok(ascii) = CString::new(ascii) {
        // SAFETY: the function copies the string.
        unsafe { pg_sys::pgstat_report_appname(ascii.as_ptr()) };
    }
}
