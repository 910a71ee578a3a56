//! Rows that the server pushes, staged and stored by column. Caller: [`super::query`].
//!
//! The goal is to cost little beyond taking rows apart, which the server must do for everybody (1M rows of 29
//! `real`: 95 ms). Two things matter. Vectors of columns all start at the same place of a page, so a value to each of
//! 29 of them hits one set of the cache 29 times: rows are therefore staged, 256 at a time, and appended column
//! by column. And where all wanted columns lie at fixed offsets, a stored row without NULLs is staged as it is, by
//! one copy, without taking it apart. Of many rows only the staging is done here: [`super::store`] has a second thread
//! append them.

use super::again::{Layout, Sent};
use super::columns::{Building, Fault};
use super::error::{Error, Result};
use super::pictures::Incoming;
use super::query::{Rows, SourceColumn};
use super::reader::{Reader, reader};
use super::settings;
use super::shim::{Attribute, raw};
use super::store::{Away, BLOCK, Lent, Outlet, Stage, Store};
use engine::Kind;
use engine::frame::{Column, Frame};
use engine::stream::STEP;
use engine::survey::Survey;
use pgrx::pg_sys::{self, DestReceiver, MemoryContext, TupleDesc, TupleTableSlot};

/// Rows from which on a second thread stores them: starting one for fewer does not pay.
const MANY: usize = 1 << 15;
/// Bytes of the widest staged rows that are read again: a stage has many of them.
const WIDEST: usize = 1 << 12;

/// Who appends staged rows to the columns.
enum Keeper {
    Here(Box<Store>),
    There(Away),
    /// They go to whoever reads the rows again.
    Passing(Outlet<Sent>),
    /// The one that was here cannot be had.
    Nobody,
}

/// A destination of the server's rows. The server keeps a pointer to it, so it lives in a box.
#[repr(C)]
pub(super) struct Receiver {
    /// First, as the server sees only this.
    base: DestReceiver,
    columns: Vec<Building>,
    /// Attributes that a row must be taken apart to.
    natts: i32,
    /// Where staged bytes begin in a stored row, when rows can be staged as they are.
    stored: Option<usize>,
    /// Whether reading may take the server's memory, freed after each row.
    scratch: Option<MemoryContext>,
    stride: usize,
    stage: Stage,
    keeper: Keeper,
    /// Whether a second thread may store rows.
    threads: bool,
    /// Whether rows are looked at while they come in.
    surveys: bool,
    /// Rows before those that are staged.
    rows: usize,
    row_bytes: u64,
    /// Of them those that are let go, and after how many rows.
    lent_bytes: u64,
    lent_from: usize,
    /// Bytes of strings, vectors and byte strings.
    other_bytes: u64,
    limit: u64,
    /// What is wrong, with the row from 0.
    error: Option<(usize, Error)>,
    /// No more rows are wanted.
    stopped: bool,
}

impl Receiver {
    /// For the columns of a query whose rows are described by `desc`, about `expected` of them. A survey looks at them
    /// where a second thread has the time. `images` takes those of the column at that position of the source. Columns at the
    /// places `away` need not be held.
    ///
    /// # Errors
    /// `Kind::Type` for a column whose type is not supported.
    pub fn new(
        desc: TupleDesc,
        columns: &[&SourceColumn],
        expected: usize,
        limit: u64,
        survey: Option<Survey>,
        images: Option<(usize, Incoming)>,
        away: Vec<usize>,
    ) -> Result<Box<Receiver>> {
        let mut receiver = Receiver::empty(desc, columns, limit)?;
        if let Some((position, images)) = images
            && let Some(column) = receiver.columns.iter_mut().find(|b| b.position == position)
        {
            column.images = Some(images);
        }
        let row_bytes = receiver.row_bytes.max(1);
        // More than may be held is not expected.
        let expected = expected.min((limit / row_bytes) as usize);
        let lent_bytes: u64 = away.iter().map(|c| receiver.columns[*c].reader.row_bytes()).sum();
        let most = (settings::held_numbers() / lent_bytes.max(1)) as usize;
        // Where more are expected few are held: until then all columns would grow together, only to be let go.
        let most = if expected > most { most / 8 } else { most };
        let lent = Some(Lent { columns: away, most }).filter(|_| receiver.stride <= WIDEST);
        let layout = Layout::of(&receiver.columns, receiver.stride);
        let store = Store::new(layout.columns, layout.stride, expected, survey, lent);
        receiver.surveys = store.surveys();
        if let Some(lent) = store.lent() {
            (receiver.lent_bytes, receiver.lent_from) = (lent_bytes, lent.most);
        }
        receiver.keeper = Keeper::Here(Box::new(store));
        Ok(receiver)
    }

    /// For columns of plain numbers that are read again, to pass on.
    ///
    /// # Errors
    /// As for `new`.
    pub fn passing(
        desc: TupleDesc,
        columns: &[&SourceColumn],
        outlet: Outlet<Sent>,
    ) -> Result<Box<Receiver>> {
        let mut receiver = Receiver::empty(desc, columns, u64::MAX)?;
        receiver.stage = Stage::of(receiver.stride, columns.len(), STEP);
        receiver.stopped = !outlet.send(Sent::Layout(Layout::of(&receiver.columns, receiver.stride)));
        receiver.keeper = Keeper::Passing(outlet);
        Ok(receiver)
    }

    /// Passes on the last rows.
    pub fn pass_on(mut self: Box<Self>) {
        if self.stage.rows > 0 {
            self.flush();
        }
    }

    /// Without anybody who appends its rows.
    fn empty(desc: TupleDesc, columns: &[&SourceColumn], limit: u64) -> Result<Box<Receiver>> {
        let readers: Vec<Reader> = columns.iter().map(|c| reader(c)).collect::<Result<_>>()?;
        let stored = stored_offsets(desc, columns, &readers);
        let mut stride = 0;
        let mut building = vec![];
        for (i, (column, &reader)) in columns.iter().zip(&readers).enumerate() {
            let offset = stored.as_ref().map_or(stride, |s| s.offsets[i]);
            stride += reader.width();
            building.push(Building {
                column: Column { name: column.name.clone(), data: reader.data(), missing: vec![] },
                reader,
                position: column.position,
                offset,
                unknown: 0,
                labels: vec![],
                hashed: 0,
                images: None,
            });
        }
        let stride = stored.as_ref().map_or(stride, |s| s.length);
        let scratch = readers.iter().any(|r| !r.is_direct()).then(scratch_context);
        let row_bytes: u64 = readers.iter().map(|r| r.row_bytes()).sum();
        Ok(Box::new(Receiver {
            base: DestReceiver {
                receiveSlot: Some(receive),
                rStartup: Some(startup),
                rShutdown: Some(nothing),
                rDestroy: Some(nothing),
                mydest: pg_sys::CommandDest::DestNone,
            },
            natts: columns.iter().map(|c| c.position as i32 + 1).max().unwrap_or(0),
            stored: stored.map(|s| s.start),
            scratch,
            stride,
            stage: Stage::new(stride, building.len()),
            threads: settings::threads() > 1,
            surveys: false,
            keeper: Keeper::Nobody,
            rows: 0,
            row_bytes,
            lent_bytes: 0,
            lent_from: 0,
            other_bytes: 0,
            limit,
            error: None,
            stopped: false,
            columns: building,
        }))
    }

    /// What the server is given.
    pub fn destination(&mut self) -> *mut DestReceiver {
        (self as *mut Receiver).cast()
    }

    /// The frame, when all rows are in, and what was found out about it.
    pub fn finish(mut self: Box<Self>) -> Result<Rows> {
        self.flush();
        let store = match std::mem::replace(&mut self.keeper, Keeper::Nobody) {
            Keeper::Here(store) => store,
            Keeper::There(away) => away.finish()?,
            Keeper::Passing(_) | Keeper::Nobody => {
                return Err(Error::internal("rows were read and are not there"));
            }
        };
        // Of what is wrong the first row is told, whoever noticed it.
        let error = self.error.take();
        if let Some((row, column)) = store.fault()
            && error.as_ref().is_none_or(|(other, _)| row < *other)
        {
            return Err(Fault::Infinite.into_error(&self.columns[column].column.name, Some(row + 1)));
        }
        if let Some((_, error)) = error {
            return Err(error);
        }
        let rows = self.rows;
        let (stored, survey) = store.into_parts();
        let (mut columns, mut file) = (Vec::with_capacity(self.columns.len()), None);
        for (b, stored) in std::mem::take(&mut self.columns).into_iter().zip(stored) {
            if b.unknown > 0 {
                let message =
                    format!("column \"{}\" is NULL in all rows, so its length is unknown", b.column.name);
                return Err(Error::new(Kind::Data, message).hint("Leave the column out."));
            }
            let (column, kept) = b.into_column(stored, rows)?;
            columns.push(column);
            file = kept.or(file);
        }
        Ok(Rows { frame: Frame { columns, rows }, survey, file, again: None })
    }

    /// SAFETY: `row` points to a stored row that is staged as it is.
    unsafe fn stage_stored(&mut self, row: *const u8, start: usize) {
        // SAFETY: the stage has room for a row of `stride` bytes more, and the row has them from `start` on.
        unsafe {
            let to = self.stage.bytes.as_mut_ptr().add(self.stage.rows * self.stride);
            std::ptr::copy_nonoverlapping(row.add(start), to, self.stride);
        }
    }

    /// SAFETY: the slot holds a row of the source, taken apart to `natts`. Nothing to drop is held while the server
    /// may raise.
    unsafe fn stage_values(&mut self, slot: *mut TupleTableSlot) {
        let width = self.columns.len();
        for (i, b) in self.columns.iter_mut().enumerate() {
            // SAFETY: as many values and marks as attributes; the stage has room for a row more.
            unsafe {
                let null = *(*slot).tts_isnull.add(b.position);
                let datum = *(*slot).tts_values.add(b.position);
                let to = self.stage.bytes.as_mut_ptr().add(self.stage.rows * self.stride + b.offset);
                if null {
                    self.stage.nulls[self.stage.rows * width + i] = true;
                    self.stage.any_null = true;
                    b.push_null();
                    continue;
                }
                let v = datum.value();
                match b.reader.width() {
                    _ if !b.reader.is_direct() => match b.convert(datum, to) {
                        Ok(bytes) => self.other_bytes += bytes,
                        Err(e) => {
                            let row = self.rows + self.stage.rows;
                            let error = || (row, e.into_error(&b.column.name, Some(row + 1)));
                            self.error.get_or_insert_with(error);
                            self.stopped = true;
                        }
                    },
                    1 => *to = v as u8,
                    2 => to.cast::<u16>().write_unaligned(v as u16),
                    4 => to.cast::<u32>().write_unaligned(v as u32),
                    _ => to.cast::<u64>().write_unaligned(v as u64),
                }
            }
        }
    }

    /// After each block of rows.
    fn check(&mut self) {
        let rows = self.rows + self.stage.rows;
        let gone = if rows > self.lent_from { (rows - self.lent_from) as u64 * self.lent_bytes } else { 0 };
        let images: u64 = self.columns.iter().filter_map(|b| b.images.as_ref()).map(Incoming::bytes).sum();
        let held = rows as u64 * self.row_bytes - gone + self.other_bytes + images;
        if held > self.limit && self.error.is_none() {
            let mib = self.limit >> 20;
            let message = format!("{rows} rows of the source take more than the {mib} MiB that they may");
            let error = Error::new(Kind::Memory, message).hint(
                "Sample the source, for example with TABLESAMPLE SYSTEM (10), or raise damson.max_memory.",
            );
            self.error = Some((rows, error));
        }
        if self.stage.rows == self.stage.room || matches!(self.keeper, Keeper::Here(_)) {
            self.flush();
        }
        self.stopped |= self.error.is_some();
    }

    /// Has the staged rows appended to the columns.
    fn flush(&mut self) {
        if self.surveys {
            let texts = &mut self.stage.texts;
            for (i, b) in self.columns.iter_mut().enumerate() {
                texts.extend(b.new_texts().map(|hash| (i, hash)));
            }
        }
        self.rows += self.stage.rows;
        match &mut self.keeper {
            Keeper::Here(store) => {
                store.append(&mut self.stage);
                store.look_here();
                self.stopped |= store.fault().is_some();
            }
            Keeper::Passing(outlet) => {
                let (stride, width) = (self.stride, self.columns.len());
                let new = || Stage::of(stride, width, STEP);
                self.stopped |= !outlet.send_rows(&mut self.stage, new, Sent::Rows);
            }
            Keeper::There(away) => {
                let (stride, width) = (self.stride, self.columns.len());
                let sent = away.send(&mut self.stage, || Stage::new(stride, width));
                self.stopped |= !sent || away.failed();
            }
            Keeper::Nobody => self.stopped = true,
        }
        if self.threads && self.rows >= MANY {
            self.keeper = match std::mem::replace(&mut self.keeper, Keeper::Nobody) {
                Keeper::Here(store) => match Away::begin(store) {
                    Ok(away) => Keeper::There(away),
                    Err(store) => {
                        self.threads = false;
                        Keeper::Here(store)
                    }
                },
                there => there,
            };
        }
    }
}

/// Takes one row. It returns false when no more rows are wanted.
#[pgrx::pg_guard]
unsafe extern "C-unwind" fn receive(slot: *mut TupleTableSlot, me: *mut DestReceiver) -> bool {
    // SAFETY: the server passes the receiver that it was given, and a slot with a row of the query. This frame
    // holds nothing to drop, so errors may jump over it.
    unsafe {
        let me = &mut *me.cast::<Receiver>();
        let row = match me.stored {
            Some(_) => raw::damson_row(slot, me.natts),
            None => std::ptr::null(),
        };
        if let (Some(start), false) = (me.stored, row.is_null()) {
            me.stage_stored(row, start);
        } else {
            raw::damson_deform(slot, me.natts);
            if let Some(scratch) = me.scratch {
                let caller = pg_sys::CurrentMemoryContext;
                pg_sys::CurrentMemoryContext = scratch;
                me.stage_values(slot);
                pg_sys::CurrentMemoryContext = caller;
                raw::MemoryContextReset(scratch);
            } else {
                me.stage_values(slot);
            }
        }
        me.stage.rows += 1;
        if me.stage.rows % BLOCK == 0 {
            me.check();
        }
        !me.stopped
    }
}

unsafe extern "C-unwind" fn startup(_: *mut DestReceiver, _: i32, _: TupleDesc) {}

unsafe extern "C-unwind" fn nothing(_: *mut DestReceiver) {}

/// SAFETY is the server's: the context is a child of the query's and goes with it.
fn scratch_context() -> MemoryContext {
    // SAFETY: as above.
    unsafe {
        pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"damson row".as_ptr(),
            pg_sys::ALLOCSET_DEFAULT_MINSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        )
    }
}

struct Stored {
    /// Where the first wanted column begins in a stored row.
    start: usize,
    /// Bytes from there to the end of the last.
    length: usize,
    /// Of each wanted column, from `start`.
    offsets: Vec<usize>,
}

/// Where the columns lie in a stored row without NULLs, when all of them lie before anything of variable length and
/// are staged as they are stored.
fn stored_offsets(desc: TupleDesc, columns: &[&SourceColumn], readers: &[Reader]) -> Option<Stored> {
    if columns.is_empty() || readers.iter().any(|r| !r.is_direct()) {
        return None;
    }
    let last = columns.iter().map(|c| c.position).max()?;
    let mut ends = vec![];
    let mut begins = vec![];
    let mut at = 0usize;
    for i in 0..=last {
        let Attribute { len, align, dropped, .. } = super::query::attribute(desc, i);
        if len < 0 || dropped {
            return None;
        }
        at = at.next_multiple_of(align.max(1) as usize);
        begins.push(at);
        at += len as usize;
        ends.push(at);
    }
    let start = columns.iter().map(|c| begins[c.position]).min()?;
    let offsets = columns.iter().map(|c| begins[c.position] - start).collect();
    Some(Stored { start, length: ends[last] - start, offsets })
}

/// A destination that counts rows, for benchmarks.
#[cfg(feature = "bench")]
#[repr(C)]
pub(super) struct Counter {
    base: DestReceiver,
    deform: bool,
    rows: i64,
}

#[cfg(feature = "bench")]
impl Counter {
    /// With `deform`, rows are taken apart.
    pub fn new(deform: bool) -> Box<Counter> {
        let base = DestReceiver {
            receiveSlot: Some(count),
            rStartup: Some(startup),
            rShutdown: Some(nothing),
            rDestroy: Some(nothing),
            mydest: pg_sys::CommandDest::DestNone,
        };
        Box::new(Counter { base, deform, rows: 0 })
    }

    /// What the server is given.
    pub fn destination(&mut self) -> *mut DestReceiver {
        &raw mut self.base
    }

    /// How many came.
    pub fn rows(&self) -> i64 {
        self.rows
    }
}

#[cfg(feature = "bench")]
unsafe extern "C-unwind" fn count(slot: *mut TupleTableSlot, me: *mut DestReceiver) -> bool {
    // SAFETY: as for `receive`.
    unsafe {
        let me = &mut *me.cast::<Counter>();
        if me.deform {
            raw::damson_deform(slot, (*(*slot).tts_tupleDescriptor).natts);
        }
        me.rows += 1;
    }
    true
}
