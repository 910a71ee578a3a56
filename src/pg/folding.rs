//! Training through an aggregate, as the server calls it: `damson.fold(order, row)` and its helpers, which
//! `src/api/fold.rs` declares in SQL. A transition state is one [`Fold`]; between processes it travels as the order and
//! the shard's partial. [`pass`] is the other side: one order over a source.

use super::bind::{self, Scratch};
use super::datum::{Bytes, Value as _};
use super::error::{Error, Result, raise};
use super::reader::Reader;
use super::record::Shape;
use super::role::ReadOnly;
use super::shim::{Record, raw};
use super::{datum, query, spi, work};
use engine::Kind;
use engine::fold::{ColumnType, Fold, SourceColumn};
use engine::frame::Value;
use engine::learner::{Cx, Silent};
use pgrx::PgMemoryContexts;
use pgrx::pg_sys::{self, Datum, FunctionCallInfo, Oid};
use std::sync::atomic::AtomicBool;

/// One shard. It lives in the aggregate's memory context and is dropped with it.
struct State {
    order: Vec<u8>,
    fold: Fold,
    shape: Shape,
    /// Where each of the fold's columns comes from.
    sources: Vec<(usize, Reader)>,
    scratch: Vec<Scratch>,
}

/// Folding a block takes milliseconds, and the executor looks at interrupts between rows.
static NEVER: AtomicBool = AtomicBool::new(false);

fn cx(seed: u64) -> Cx<'static> {
    Cx { seed, stop: &NEVER, observer: &Silent }
}

/// The type of a column, as training asks; none for what an aggregate does not take.
pub(super) fn column_type(reader: Reader) -> Option<ColumnType> {
    Some(match reader {
        Reader::F32 | Reader::F64 | Reader::Numeric => ColumnType::Float,
        Reader::I16 | Reader::I32 | Reader::I64 => ColumnType::Integer,
        Reader::Bool => ColumnType::Bool,
        Reader::Date | Reader::Time => ColumnType::Time,
        Reader::Vector(_) => ColumnType::Vector,
        Reader::Bytes => ColumnType::Bytes,
        Reader::Text | Reader::Padded | Reader::Name | Reader::Char | Reader::Uuid | Reader::Enum => {
            ColumnType::Text
        }
        Reader::Labels => return None,
    })
}

/// The columns of a source that training can read, with a target.
///
/// # Errors
/// As [`query::read`], but for what only rows show; 0A000 for a target that is a set of labels.
pub fn columns(source: &str, target: Option<&str>) -> Result<Vec<SourceColumn>> {
    let found = query::describe(source)?;
    let labels = |(name, oid): &(String, Oid)| {
        target == Some(name.as_str()) && Reader::of(*oid) == Some(Reader::Labels)
    };
    if found.iter().any(labels) {
        return Err(Error::new(Kind::Unsupported, "training in an aggregate does not take sets of labels")
            .hint("SET damson.runner = 'threads'."));
    }
    let column = |(name, oid): (String, Oid)| {
        let kind = Reader::of(oid).and_then(column_type)?;
        Some(SourceColumn { name, kind })
    };
    Ok(found.into_iter().filter_map(column).collect())
}

/// Runs an order over a source, in parallel where the server sees fit; none for a source without rows.
///
/// # Errors
/// What the query or the fold raises comes as the server's error.
pub fn pass(source: &str, order: &[u8]) -> Result<Option<Vec<u8>>> {
    let statement = query::statement(source)?;
    let sql = format!("SELECT damson.fold($1, \"damson row\") FROM ({statement}\n) AS \"damson row\"");
    let _read_only = ReadOnly::begin();
    match spi::select(&sql, &[order.into()])?.one()? {
        Some(row) => row.get::<Option<Vec<u8>>>(0),
        None => Ok(None),
    }
}

impl State {
    fn new(order: Vec<u8>) -> Result<State> {
        let fold = Fold::attach(&order)?;
        let scratch = fold.columns().iter().map(|_| Scratch::new()).collect();
        Ok(State { order, fold, shape: Shape::NONE, sources: vec![], scratch })
    }

    /// Finds the fold's columns in the row type.
    #[cold]
    fn bind(&mut self) -> Result<()> {
        let find = |column: &SourceColumn| {
            let at = self.shape.offers.iter().position(|o| o.name.as_ref() == Some(&column.name));
            let at = at.ok_or_else(|| {
                Error::new(Kind::UnknownColumn, format!("the row has no column \"{}\"", column.name))
            })?;
            match Reader::of(self.shape.offers[at].oid) {
                Some(reader) if column_type(reader) == Some(column.kind) => Ok((at, reader)),
                _ => Err(Error::new(Kind::Type, format!("column \"{}\" changed its type", column.name))),
            }
        };
        self.sources = self.fold.columns().iter().map(find).collect::<Result<_>>()?;
        Ok(())
    }

    /// SAFETY: the datum is a row. Frames that call the server unguarded hold nothing to drop but what an abort frees
    /// with the aggregate's context.
    unsafe fn push(&mut self, context: pg_sys::MemoryContext, row: Datum) -> Result<()> {
        // SAFETY: the caller's promise; the values live as long as the row.
        unsafe {
            let mut record = std::mem::zeroed::<Record>();
            raw::damson_record(row, &mut record);
            if self.shape.version != record.version {
                self.shape = Shape::of(context, &record);
                self.bind()?;
            }
            let shape = &mut self.shape;
            raw::damson_record_deform(
                record.tuple,
                shape.desc,
                shape.values.as_mut_ptr(),
                shape.nulls.as_mut_ptr(),
            );
            let mut values = Vec::with_capacity(self.sources.len());
            for (k, ((at, reader), scratch)) in self.sources.iter().zip(&mut self.scratch).enumerate() {
                values.push(if shape.nulls[*at] {
                    Value::Missing
                } else {
                    let name = &self.fold.columns()[k].name;
                    bind::value(*reader, shape.values[*at], scratch).map_err(|f| f.into_error(name, None))?
                });
            }
            let cx = cx(self.fold.seed());
            Ok(self.fold.push(&values, &cx)?)
        }
    }

    /// Ends the shard, which may train for long, and gives its partial.
    fn partial(&mut self) -> Result<Vec<u8>> {
        let seed = self.fold.seed();
        let title = work::Title { verb: "fold", object: "shard" };
        let fold = &mut self.fold;
        Ok(work::run(title, seed, |cx| fold.partial(cx))?.value)
    }

    fn combine(&mut self, partial: &[u8]) -> Result<()> {
        let seed = self.fold.seed();
        let title = work::Title { verb: "fold", object: "shard" };
        let fold = &mut self.fold;
        work::run(title, seed, |cx| fold.combine(partial, cx))?;
        Ok(())
    }

    /// The order and the partial, to travel.
    fn pack(&mut self) -> Result<Vec<u8>> {
        let partial = self.partial()?;
        let mut bytes = (self.order.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.order);
        bytes.extend_from_slice(&partial);
        Ok(bytes)
    }

    fn unpack(bytes: &[u8]) -> Result<State> {
        let cut = || Error::new(Kind::Corrupt, "a shard's bytes are cut off");
        let (length, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        let length =
            usize::try_from(u64::from_le_bytes(*length)).ok().filter(|n| *n <= rest.len()).ok_or_else(cut)?;
        let (order, partial) = rest.split_at(length);
        let mut state = State::new(order.to_vec())?;
        state.combine(partial)?;
        Ok(state)
    }
}

/// SAFETY: the structure of a call with more than `i` arguments.
pub(super) unsafe fn argument(fcinfo: FunctionCallInfo, i: usize) -> Option<Datum> {
    // SAFETY: the caller's promise.
    let argument = unsafe { &*(*fcinfo).args.as_ptr().add(i) };
    (!argument.isnull).then_some(argument.value)
}

/// The context that the states of the calling aggregate live in.
///
/// SAFETY: the structure of a call.
unsafe fn context(fcinfo: FunctionCallInfo) -> Result<pg_sys::MemoryContext> {
    let mut context = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    if unsafe { pg_sys::AggCheckCallContext(fcinfo, &mut context) } == 0 {
        return Err(Error::new(Kind::Unsupported, "this function is a part of the aggregate damson.fold")
            .hint("Call damson.train, which uses it when damson.runner is aggregate."));
    }
    Ok(context)
}

fn keep(context: pg_sys::MemoryContext, state: State) -> *mut State {
    PgMemoryContexts::For(context).leak_and_drop_on_delete(state)
}

/// SAFETY: the server's call of the transition function.
unsafe fn transition(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: a state that is not NULL was made by `keep` in this aggregate.
    unsafe {
        let context = context(fcinfo)?;
        let state = match argument(fcinfo, 0) {
            Some(state) => state.cast_mut_ptr::<State>(),
            None => {
                let Some(order) = argument(fcinfo, 1) else { return Ok(None) };
                keep(context, State::new(Bytes::read(order).0)?)
            }
        };
        if let Some(row) = argument(fcinfo, 2) {
            (*state).push(context, row)?;
        }
        Ok(Some(Datum::from(state)))
    }
}

/// SAFETY: the server's call of the combine function.
unsafe fn combine(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: states were made by `keep` in this aggregate.
    unsafe {
        let context = context(fcinfo)?;
        match (argument(fcinfo, 0), argument(fcinfo, 1)) {
            (None, None) => Ok(None),
            (Some(a), None) => Ok(Some(a)),
            (None, Some(b)) => {
                let packed = (*b.cast_mut_ptr::<State>()).pack()?;
                Ok(Some(Datum::from(keep(context, State::unpack(&packed)?))))
            }
            (Some(a), Some(b)) => {
                let partial = (*b.cast_mut_ptr::<State>()).partial()?;
                (*a.cast_mut_ptr::<State>()).combine(&partial)?;
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
        Ok(Some(datum::bytes(&(*state.cast_mut_ptr::<State>()).pack()?)))
    }
}

/// SAFETY: the server's call of the deserial function.
unsafe fn deserialize(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: bytes of `serialize`; whatever they are, `unpack` checks them.
    unsafe {
        let context = context(fcinfo)?;
        let Some(bytes) = argument(fcinfo, 0) else { return Ok(None) };
        Ok(Some(Datum::from(keep(context, State::unpack(&Bytes::read(bytes).0)?))))
    }
}

/// SAFETY: the server's call of the final function.
unsafe fn result(fcinfo: FunctionCallInfo) -> Result<Option<Datum>> {
    // SAFETY: the state was made by `keep` in this aggregate.
    unsafe {
        context(fcinfo)?;
        let Some(state) = argument(fcinfo, 0) else { return Ok(None) };
        Ok(Some(datum::bytes(&(*state.cast_mut_ptr::<State>()).partial()?)))
    }
}

/// Functions as the server calls them, each made of a body that gives a datum, none for NULL, or an error.
macro_rules! aggregate_function {
    ($($name:ident, $info:ident, $body:ident, $doc:literal;)*) => { $(
        /// Tells the server how the function is called.
        #[unsafe(no_mangle)]
        pub extern "C" fn $info() -> &'static pg_sys::Pg_finfo_record {
            static V1: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
            &V1
        }

        #[doc = $doc]
        ///
        /// # Safety
        /// The server calls it, as the aggregate's file in `src/api` declares it.
        #[pgrx::pg_guard]
        #[unsafe(no_mangle)]
        pub unsafe extern "C-unwind" fn $name(fcinfo: FunctionCallInfo) -> Datum {
            // SAFETY: the server's call.
            match unsafe { $body(fcinfo) } {
                Ok(Some(datum)) => datum,
                Ok(None) => {
                    // SAFETY: the server's call.
                    unsafe { (*fcinfo).isnull = true };
                    Datum::null()
                }
                Err(e) => raise(e),
            }
        }
    )* };
}
pub(super) use aggregate_function;

aggregate_function! {
    damson_fold_row, pg_finfo_damson_fold_row, transition, "The transition function of `damson.fold`.";
    damson_fold_combine, pg_finfo_damson_fold_combine, combine, "Its combine function.";
    damson_fold_serialize, pg_finfo_damson_fold_serialize, serialize, "Its serial function.";
    damson_fold_deserialize, pg_finfo_damson_fold_deserialize, deserialize, "Its deserial function.";
    damson_fold_result, pg_finfo_damson_fold_result, result, "Its final function.";
}
