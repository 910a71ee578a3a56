//! Fitting a model in an aggregate, as the server calls it: `damson.fit` and `damson.fit_with`, which `src/api/fit.rs`
//! declares in SQL. A transition state collects its rows ([`Collection`]); the final function trains on them. Between
//! processes the rows travel as bytes.

use super::bind::{self, Scratch};
use super::datum::{self, Bytes, Text, Value as _};
use super::error::{Error, Result, raise};
use super::folding::{aggregate_function, argument, column_type};
use super::reader::{Reader, type_name};
use super::{settings, work};
use engine::Kind;
use engine::artifact::to_text;
use engine::collect::Collection;
use engine::fold::ColumnType;
use engine::frame::Value;
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo};
use std::cell::Cell;

/// Rows between looks at how much is held.
const STRIDE: usize = 256;

thread_local! {
    /// Bytes that all states of this process hold: a query may have one a group.
    static HELD: Cell<u64> = const { Cell::new(0) };
}

/// The rows of one group. It lives in the aggregate's memory context and is dropped with it.
struct State {
    rows: Collection,
    readers: Vec<Reader>,
    scratch: Vec<Scratch>,
    /// What it has in `HELD`.
    counted: u64,
}

impl Drop for State {
    fn drop(&mut self) {
        HELD.set(HELD.get().saturating_sub(self.counted));
    }
}

impl State {
    fn new(rows: Collection, readers: Vec<Reader>) -> Result<State> {
        let scratch = readers.iter().map(|_| Scratch::new()).collect();
        let mut state = State { rows, readers, scratch, counted: 0 };
        state.count()?;
        Ok(state)
    }

    /// Refuses rows that take more than all states together may.
    fn count(&mut self) -> Result<()> {
        let bytes = self.rows.bytes();
        let held = HELD.get().saturating_sub(self.counted).saturating_add(bytes);
        HELD.set(held);
        self.counted = bytes;
        let limit = settings::max_memory();
        if held <= limit {
            return Ok(());
        }
        let mib = limit >> 20;
        let message = format!("the rows of the aggregate take more than the {mib} MiB that they may");
        Err(Error::new(Kind::Memory, message).hint(
            "Raise damson.max_memory, sample the rows, or train all groups at once by damson.train with group_by.",
        ))
    }
}

/// The readers of the target and the features, which are the arguments from `first` on.
///
/// SAFETY: the structure of a call.
#[cold]
unsafe fn readers(fcinfo: FunctionCallInfo, first: usize) -> Result<Vec<Reader>> {
    // SAFETY: the caller's promise.
    let (function, count) = unsafe { ((*fcinfo).flinfo, (*fcinfo).nargs as usize) };
    let reader = |i: usize| {
        // SAFETY: as above.
        let oid = unsafe { pg_sys::get_fn_expr_argtype(function, i as i32) };
        Reader::of(oid).filter(|r| *r != Reader::Labels).ok_or_else(|| {
            let what = if i == first { "the target".to_string() } else { format!("feature {}", i - first) };
            let message = format!("{what} is of type {}, which cannot be learnt from", type_name(oid, -1));
            Error::new(Kind::Type, message).hint("Cast it to a number, text, a boolean or a time.")
        })
    };
    (first..count).map(reader).collect()
}

/// SAFETY: the structure of a call.
unsafe fn context(fcinfo: FunctionCallInfo) -> Result<pg_sys::MemoryContext> {
    let mut context = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    if unsafe { pg_sys::AggCheckCallContext(fcinfo, &mut context) } == 0 {
        return Err(Error::new(Kind::Unsupported, "this function is a part of the aggregate damson.fit")
            .hint(
                "Call the aggregate: SELECT region, damson.fit('ridge', y, x1, x2) FROM t GROUP BY region.",
            ));
    }
    Ok(context)
}

fn keep(context: pg_sys::MemoryContext, state: State) -> *mut State {
    PgMemoryContexts::For(context).leak_and_drop_on_delete(state)
}

/// Adds a row. The target is argument `first`, the parameters are argument 2 where that is not the target.
///
/// SAFETY: the server's call of a transition function.
unsafe fn transition(fcinfo: FunctionCallInfo, first: usize) -> Result<Option<Datum>> {
    // SAFETY: a state that is not NULL was made by `keep` in this aggregate; datums are of the declared types.
    unsafe {
        let context = context(fcinfo)?;
        let text = |i: usize| argument(fcinfo, i).map(|d| Text::read(d).0);
        let state = match argument(fcinfo, 0) {
            Some(state) => state.cast_mut_ptr::<State>(),
            None => {
                let Some(algorithm) = text(1) else {
                    return Err(Error::new(Kind::Null, "the algorithm must not be NULL"));
                };
                let params = if first == 2 { None } else { text(2) };
                let readers = readers(fcinfo, first)?;
                let kinds: Vec<ColumnType> = readers.iter().filter_map(|r| column_type(*r)).collect();
                let rows = Collection::new(&algorithm, params.as_deref().unwrap_or("{}"), &kinds)?;
                keep(context, State::new(rows, readers)?)
            }
        };
        let state = &mut *state;
        if state.readers.is_empty() {
            state.readers = readers(fcinfo, first)?;
            state.scratch = state.readers.iter().map(|_| Scratch::new()).collect();
        }
        let State { rows, readers, scratch, .. } = state;
        let mut values = Vec::with_capacity(readers.len());
        for (k, (reader, scratch)) in readers.iter().zip(scratch).enumerate() {
            values.push(match argument(fcinfo, first + k) {
                None => Value::Missing,
                Some(datum) => {
                    let name = || if k == 0 { "y".to_string() } else { format!("x{k}") };
                    bind::value(*reader, datum, scratch).map_err(|f| f.into_error(&name(), None))?
                }
            });
        }
        rows.push(&values)?;
        if rows.rows().is_multiple_of(STRIDE) {
            // Rarely, as both are texts.
            let (algorithm, params) = (text(1), if first == 2 { None } else { text(2) });
            rows.check_same(algorithm.as_deref().unwrap_or_default(), params.as_deref().unwrap_or("{}"))?;
            drop(values);
            state.count()?;
        }
        Ok(Some(Datum::from(&raw mut *state)))
    }
}

/// SAFETY: the server's call of the transition function of `damson.fit`.
unsafe fn row(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the caller's promise.
    unsafe { transition(fcinfo, 2) }
}

/// SAFETY: the server's call of the transition function of `damson.fit_with`.
unsafe fn row_with(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the caller's promise.
    unsafe { transition(fcinfo, 3) }
}

/// SAFETY: the server's call of the combine function.
unsafe fn combine(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: states were made by `keep` in this aggregate.
    unsafe {
        let context = context(fcinfo)?;
        let state = |d: Datum| &mut *d.cast_mut_ptr::<State>();
        match (argument(fcinfo, 0), argument(fcinfo, 1)) {
            (None, None) => Ok(None),
            (Some(a), None) => Ok(Some(a)),
            (None, Some(b)) => {
                // The other state lives no longer than this call.
                let rows = Collection::unpack(&state(b).rows.pack()?)?;
                Ok(Some(Datum::from(keep(context, State::new(rows, vec![])?))))
            }
            (Some(a), Some(b)) => {
                state(a).rows.merge(&state(b).rows)?;
                state(a).count()?;
                Ok(Some(a))
            }
        }
    }
}

/// SAFETY: the server's call of the serial function.
unsafe fn serialize(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the state was made by `keep` in this aggregate.
    unsafe {
        context(fcinfo)?;
        let Some(state) = argument(fcinfo, 0) else { return Ok(None) };
        Ok(Some(datum::bytes(&(*state.cast_mut_ptr::<State>()).rows.pack()?)))
    }
}

/// SAFETY: the server's call of the deserial function.
unsafe fn deserialize(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: bytes of `serialize`; whatever they are, `unpack` checks them.
    unsafe {
        let context = context(fcinfo)?;
        let Some(bytes) = argument(fcinfo, 0) else { return Ok(None) };
        let rows = Collection::unpack(&Bytes::read(bytes).0)?;
        Ok(Some(Datum::from(keep(context, State::new(rows, vec![])?))))
    }
}

/// SAFETY: the server's call of the final function.
unsafe fn result(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the state was made by `keep` in this aggregate; what `fn_extra` points at lives as long as the query.
    unsafe {
        context(fcinfo)?;
        let Some(state) = argument(fcinfo, 0) else { return Ok(None) };
        let function = (*fcinfo).flinfo;
        // One crew of threads for all groups of a query.
        if (*function).fn_extra.is_null() {
            let crew =
                PgMemoryContexts::For((*function).fn_mcxt).leak_and_drop_on_delete(work::Crew::start()?);
            (*function).fn_extra = crew.cast();
        }
        let crew = &*(*function).fn_extra.cast::<work::Crew>();
        let rows = &(*state.cast_mut_ptr::<State>()).rows;
        let title = work::Title { verb: "fit", object: rows.recipe().0 };
        let limit = settings::max_memory();
        let fitted = crew.run(title, 0, |cx| rows.train(limit, cx))?.value;
        Ok(fitted.map(|artifact| datum::text(&to_text(&artifact))))
    }
}

aggregate_function! {
    damson_fit_row, pg_finfo_damson_fit_row, row, "The transition function of `damson.fit`.";
    damson_fit_with_row, pg_finfo_damson_fit_with_row, row_with, "The transition function of `damson.fit_with`.";
    damson_fit_combine, pg_finfo_damson_fit_combine, combine, "Their combine function.";
    damson_fit_serialize, pg_finfo_damson_fit_serialize, serialize, "Their serial function.";
    damson_fit_deserialize, pg_finfo_damson_fit_deserialize, deserialize, "Their deserial function.";
    damson_fit_result, pg_finfo_damson_fit_result, result, "Their final function.";
}
