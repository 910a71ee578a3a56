//! Scoring calls of a query, many rows at once: the scoring side of the node of `batch_node.c`, which `batch_plan.c`
//! puts into plans. A call is told of each row as the server would call its function, by [`super::scoring`], which
//! keeps the row's features instead of scoring them; then all rows are scored on threads.
//!
//! Rows are answered in their order. A row that failed is the last of its batch, and its error is raised when the node
//! comes to it: rows before it are answered as if there was no batch.

use super::datum::{Text, Value as _};
use super::error::{self, Error};
use super::scoring::{self, Verb};
use super::{settings, work};
use crate::catalog::{self, Resolved};
use crate::worker::device;
use engine::batch::{Batch, Pace};
use engine::learner::{Cx, Silent};
use engine::scorer::Scorer;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo};
use pgrx::{PgMemoryContexts, pg_guard};
use std::ffi::{c_char, c_int, c_void};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

unsafe extern "C-unwind" {
    fn damson_batch_register();
    fn damson_batch_seen();
}

/// Sets the hooks; called once, by `_PG_init`.
pub fn register() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if !REGISTERED.swap(true, std::sync::atomic::Ordering::Relaxed) {
        // SAFETY: on the main thread; once, as the server refuses a second node of the name.
        unsafe { damson_batch_register() };
    }
}

/// The scoring side of a node.
pub struct Scores {
    calls: Vec<Call>,
    pace: Pace,
    threads: usize,
    crew: Option<work::Crew>,
    /// What `damson_batch_device` gave last.
    device: Vec<u8>,
}

/// A call of a scoring function, with the rows of a batch.
#[derive(Default)]
struct Call {
    verb: Option<Verb>,
    rows: Vec<Outcome>,
    /// Rows that were scored by one loaded model: one part, unless the model was loaded anew in between.
    parts: Vec<Part>,
    /// Parts in use; others are kept for their memory.
    used: usize,
    /// Of the last row.
    failed: Option<Error>,
}

#[derive(Clone, Copy)]
enum Outcome {
    Null,
    Failed,
    Scored { part: u32, at: u32, class: u32 },
}

struct Part {
    model: Rc<Resolved>,
    batch: Batch,
}

impl Call {
    fn clear(&mut self) {
        self.rows.clear();
        self.failed = None;
        // The model may have changed; the memory of one batch is worth keeping.
        self.parts.truncate(1);
        self.parts.iter_mut().for_each(|p| p.batch.clear());
        self.used = 0;
    }

    /// The part of that model, to add a row to.
    #[cold]
    fn begin_part(&mut self, model: Rc<Resolved>) {
        match self.parts.get_mut(self.used) {
            Some(part) => part.model = model,
            None => self.parts.push(Part { model, batch: Batch::default() }),
        }
        self.used += 1;
    }

    fn is_of(&self, scorer: &Scorer) -> bool {
        self.used > 0 && std::ptr::eq(&*self.parts[self.used - 1].model.scorer, scorer)
    }
}

impl Scores {
    fn score(&mut self) -> error::Result<()> {
        let Scores { calls, pace, threads, crew, .. } = self;
        for call in calls {
            for Part { model, batch } in &mut call.parts[..call.used] {
                let scorer = &*model.scorer;
                if batch.rows() == 0 {
                    continue;
                }
                if scorer.sends() && batch.send(scorer, pace) {
                    continue;
                }
                // One row is scored as without a batch, and so are models that are quick.
                if batch.rows() == 1 || !scorer.gains_from_batches() {
                    let go = AtomicBool::new(false);
                    batch.score(scorer, pace, &Cx { seed: 0, stop: &go, observer: &Silent })?;
                    continue;
                }
                let crew = match crew {
                    Some(crew) => crew,
                    None => crew.insert(work::Crew::of(*threads)?),
                };
                crew.run_unseen(0, |cx| batch.score(scorer, pace, cx))?;
            }
        }
        Ok(())
    }
}

/// `damson.batch_scoring`.
///
/// # Safety
/// Called by `batch_plan.c` and `batch_node.c`, as are all functions below.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_on() -> bool {
    settings::batch_scoring()
}

/// Whether a C function is one that scores in batches.
///
/// # Safety
/// See `damson_batch_on`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_serves(address: *const c_void) -> bool {
    scoring::verb_of(address).is_some()
}

/// Whether the model that a text names is scored faster in batches. A name that means none is none: its error belongs to
/// the first row.
///
/// # Safety
/// See `damson_batch_on`; the datum is a text.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_pays(reference: Datum) -> bool {
    // SAFETY: the caller's promise. Without a snapshot the catalog cannot be read.
    unsafe {
        if !pg_sys::ActiveSnapshotSet() {
            return false;
        }
        let reference = Text::read(reference);
        catalog::resolve(&reference).is_ok_and(|resolved| resolved.scorer.gains_from_batches())
    }
}

/// A new one, which lives as long as the context.
///
/// # Safety
/// See `damson_batch_on`; the context is a living one.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_new(
    context: pg_sys::MemoryContext,
    calls: c_int,
    threads: c_int,
) -> *mut Scores {
    let calls = (0..calls).map(|_| Call::default()).collect();
    let threads = if threads > 0 { threads as usize } else { settings::threads() };
    let scores = Scores { calls, pace: Pace::default(), threads, crew: None, device: vec![] };
    PgMemoryContexts::For(context).leak_and_drop_on_delete(scores)
}

/// Forgets the rows of the batch; `again` for a scan from the beginning.
///
/// # Safety
/// See `damson_batch_on`; `scores` are living ones, here and below.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_clear(scores: *mut Scores, again: bool) {
    // SAFETY: the caller's promise.
    let scores = unsafe { &mut *scores };
    scores.calls.iter_mut().for_each(Call::clear);
    if again {
        scores.pace.again();
    }
}

/// Adds a row to a call, as the server would call the function. False where it failed.
///
/// # Safety
/// See `damson_batch_clear`; the structure is of a call of a scoring function, always the same one for a call.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_add(
    scores: *mut Scores,
    call: c_int,
    fcinfo: FunctionCallInfo,
) -> bool {
    // SAFETY: the caller's promise. While the server is called without a guard, nothing here is to be dropped.
    unsafe {
        let scores = &mut *scores;
        let call = &mut scores.calls[call as usize];
        let verb = match call.verb {
            Some(verb) => verb,
            None => *call.verb.insert(scoring::begin(fcinfo)),
        };
        let outcome = match scoring::set(fcinfo, verb) {
            Ok(None) => Outcome::Null,
            Ok(Some((scorer, row, class))) => {
                if !call.is_of(scorer) {
                    call.begin_part(scoring::current(fcinfo));
                }
                let part = call.used - 1;
                let batch = &mut call.parts[part].batch;
                let at = batch.rows();
                batch.push(row);
                Outcome::Scored { part: part as u32, at: at as u32, class: class as u32 }
            }
            Err(e) => {
                call.failed = Some(e);
                Outcome::Failed
            }
        };
        call.rows.push(outcome);
        !matches!(outcome, Outcome::Failed)
    }
}

/// How many rows the next batch may have.
///
/// # Safety
/// See `damson_batch_clear`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_rows(scores: *mut Scores) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { (*scores).pace.rows() as c_int }
}

/// Bytes that the batch holds, about.
///
/// # Safety
/// See `damson_batch_clear`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_bytes(scores: *mut Scores) -> usize {
    // SAFETY: the caller's promise.
    let scores = unsafe { &*scores };
    scores.calls.iter().flat_map(|c| &c.parts[..c.used]).map(|p| p.batch.bytes()).sum()
}

/// Scores the rows of the batch. It can be cancelled.
///
/// # Safety
/// See `damson_batch_clear`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_score(scores: *mut Scores) {
    // SAFETY: the caller's promise.
    error::answer(|| unsafe { (*scores).score() })
}

/// What a call answers for a row, in the current memory context. Raises the error of a row that failed.
///
/// # Safety
/// See `damson_batch_clear`; the row is one of the batch, which was scored.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_result(
    scores: *mut Scores,
    call: c_int,
    row: c_int,
    isnull: *mut bool,
) -> Datum {
    // SAFETY: the caller's promise.
    let (scores, isnull) = unsafe { (&*scores, &mut *isnull) };
    let call = &scores.calls[call as usize];
    *isnull = false;
    error::answer(|| match (call.rows[row as usize], call.verb) {
        (Outcome::Scored { part, at, class }, Some(verb)) => {
            let part = &call.parts[part as usize];
            scoring::make(verb, &part.model.scorer, part.batch.scores(at as usize)?, class as usize)
        }
        (Outcome::Failed, _) => {
            Err(call.failed.clone().unwrap_or_else(|| Error::internal("a row failed for no reason")))
        }
        _ => {
            *isnull = true;
            Ok(Datum::null())
        }
    })
}

/// Ends the threads.
///
/// # Safety
/// See `damson_batch_clear`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_end(scores: *mut Scores) {
    // SAFETY: the caller's promise.
    let scores = unsafe { &mut *scores };
    scores.crew = None;
    scores.calls.iter_mut().for_each(|c| *c = Call::default());
}

/// Where rows are scored, for EXPLAIN; a C string that lives until it is asked for again.
///
/// # Safety
/// See `damson_batch_clear`.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_batch_device(scores: *mut Scores) -> *const c_char {
    // SAFETY: the caller's promise.
    let scores = unsafe { &mut *scores };
    scores.device = device::wanted().map_or("cpu", |w| w.kind.name()).bytes().chain([0]).collect();
    scores.device.as_ptr().cast()
}

/// Tells the server how `damson_scoring_support` is called.
#[unsafe(no_mangle)]
pub extern "C" fn pg_finfo_damson_scoring_support() -> &'static pg_sys::Pg_finfo_record {
    static V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &V1
}

/// `damson_catalog.scoring_support`: the support function of all scoring functions. It has no advice for the planner: that
/// the planner asks loads the library before the first query that scores is planned to its end.
///
/// # Safety
/// The server calls it, as `src/api/score.rs` declares it.
#[pg_guard]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn damson_scoring_support(_fcinfo: FunctionCallInfo) -> Datum {
    // SAFETY: on the main thread.
    unsafe { damson_batch_seen() };
    Datum::null()
}
