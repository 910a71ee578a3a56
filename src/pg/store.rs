//! Staged rows into columns, on the main thread or on a second one. Caller: [`super::receiver`].
//!
//! Of many rows the main thread only stages: what it staged goes to a second thread, which appends it to the columns and
//! looks at them ([`engine::survey`]) while the server goes on with the rows that follow. There are a few stages, which go
//! to and fro, so the main thread waits where the second one is behind. The rules of [`super::work`] hold: signals are
//! blocked in the thread, it calls nothing of the server, and it does not outlive the reading.

use super::columns::{Staged, append, make_room, mark};
use super::error::{Error, Result};
use super::reader::Reader;
use super::work;
use engine::frame::{Column, Data};
use engine::survey::Survey;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// Rows that are appended column by column: staged, they stay in the first-level cache.
pub(super) const BLOCK: usize = 256;
/// Rows that a stage has room for: enough that waking a thread for them costs little. Of wide rows fewer, but a block.
const ROOM: usize = 2048;
/// Bytes of a stage's rows, where there are more than a block.
const BYTES: usize = 1 << 20;
/// Stages on their way.
const STAGES: usize = 8;

/// Rows as they were staged.
pub(super) struct Stage {
    /// Row by row.
    pub bytes: Vec<u8>,
    /// A mark a value, row by row.
    pub nulls: Vec<bool>,
    pub any_null: bool,
    pub rows: usize,
    /// The most rows: some blocks.
    pub room: usize,
    /// Hashes of texts that came up, each with its column.
    pub texts: Vec<(usize, u64)>,
}

impl Stage {
    /// For rows of so many bytes and values.
    pub fn new(stride: usize, width: usize) -> Stage {
        Stage::of(stride, width, (BYTES / stride.max(1) / BLOCK * BLOCK).clamp(BLOCK, ROOM))
    }

    /// For so many rows: some blocks.
    pub fn of(stride: usize, width: usize, room: usize) -> Stage {
        let (bytes, nulls) = (vec![0; stride * room], vec![false; width * room]);
        Stage { bytes, nulls, any_null: false, rows: 0, room, texts: vec![] }
    }

    fn clear(&mut self) {
        if self.any_null {
            self.nulls.fill(false);
            self.any_null = false;
        }
        self.rows = 0;
        self.texts.clear();
    }
}

/// The columns that staged rows are appended to. Those of vectors and byte strings are filled elsewhere: only which of
/// their rows are missing is known here; of texts the codes.
pub(super) struct Store {
    columns: Vec<Column>,
    /// How each is read, and its offset in a staged row.
    layout: Vec<(Reader, usize)>,
    stride: usize,
    rows: usize,
    /// Rows that the server expects.
    expected: usize,
    /// The first row, from 0, with a time that cannot be held, and its column.
    fault: Option<(usize, usize)>,
    survey: Option<Survey>,
    /// Hashes of each column's texts by their codes.
    texts: Vec<Vec<u64>>,
    /// Columns of plain numbers that need not be held.
    lent: Option<Lent>,
}

/// Columns that are let go once there are many rows: of them those are there that nobody has looked at yet.
#[derive(Clone)]
pub(super) struct Lent {
    /// Their places, ascending.
    pub columns: Vec<usize>,
    /// The rows that are held.
    pub most: usize,
}

impl Store {
    /// Empty columns with these names, readers and offsets, for about so many rows.
    pub fn new(
        columns: Vec<(Column, Reader, usize)>,
        stride: usize,
        expected: usize,
        survey: Option<Survey>,
        lent: Option<Lent>,
    ) -> Store {
        // What is filled elsewhere cannot be looked at here.
        let mut survey = survey.filter(|_| columns.iter().all(|c| c.1.width() > 0));
        let lent = lent.filter(|lent| survey.is_some() && !lent.columns.is_empty());
        if let (Some(survey), Some(lent)) = (&mut survey, &lent) {
            survey.watch(lent.columns.clone(), columns.iter().map(|c| c.0.name.as_str()));
        }
        let texts = columns.iter().map(|_| vec![]).collect();
        let (columns, layout) = columns.into_iter().map(|(c, reader, offset)| (c, (reader, offset))).unzip();
        Store { columns, layout, stride, rows: 0, expected, fault: None, survey, texts, lent }
    }

    /// Whether it looks at the rows, and hashes of texts are wanted.
    pub fn surveys(&self) -> bool {
        self.survey.is_some()
    }

    /// What it may let go.
    pub fn lent(&self) -> Option<&Lent> {
        self.lent.as_ref()
    }

    /// Its columns, with the rows that were appended since they were last cleared.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Forgets the rows, of columns of plain numbers.
    pub fn clear(&mut self) {
        self.rows = 0;
        for column in &mut self.columns {
            match &mut column.data {
                Data::F32(v) => v.clear(),
                Data::F64(v) => v.clear(),
                _ => {}
            }
        }
    }

    /// The first row, from 0, with a time that cannot be held, and its column.
    pub fn fault(&self) -> Option<(usize, usize)> {
        self.fault
    }

    /// Appends staged rows, and empties the stage.
    pub fn append(&mut self, stage: &mut Stage) {
        let width = self.columns.len();
        for from in (0..stage.rows).step_by(BLOCK) {
            let rows = BLOCK.min(stage.rows - from);
            let bytes = &stage.bytes[from * self.stride..];
            let null = |row: usize, c: usize| stage.any_null && stage.nulls[(from + row) * width + c];
            for (c, (column, (reader, offset))) in self.columns.iter_mut().zip(&self.layout).enumerate() {
                let staged = Staged { stage: bytes, stride: self.stride, offset: *offset, rows };
                let bad = append(column, *reader, staged).err().filter(|row| !null(*row, c));
                let fault = bad.map(|row| (self.rows + row, c));
                self.fault = [self.fault, fault].into_iter().flatten().min();
                if stage.any_null {
                    // Columns that lost rows are shorter.
                    let lost = match &column.data {
                        Data::F32(v) => self.rows + rows - v.len(),
                        Data::F64(v) => self.rows + rows - v.len(),
                        _ => 0,
                    };
                    (0..rows)
                        .filter(|row| null(*row, c))
                        .for_each(|row| mark(column, self.rows + row - lost));
                }
            }
            self.rows += rows;
        }
        stage.texts.iter().for_each(|(column, hash)| self.texts[*column].push(*hash));
        stage.clear();
    }

    /// Makes room for the rows that are expected, where they come in large blocks of memory: what is not filled is only
    /// addresses, and what grows from small to large is filled twice.
    fn make_room(&mut self) {
        let lent = self.lent.as_ref().filter(|lent| self.expected > lent.most);
        for (place, column) in self.columns.iter_mut().enumerate() {
            if lent.is_none_or(|lent| !lent.columns.contains(&place)) {
                make_room(column, self.expected);
            }
        }
    }

    fn look(&mut self) {
        if let Some(survey) = &mut self.survey {
            survey.look(&self.columns, &self.texts, self.rows);
            if let Some(lent) = self.lent.as_ref().filter(|lent| self.rows > lent.most) {
                lent.columns.iter().for_each(|c| let_go(&mut self.columns[*c], self.rows - survey.rows()));
            }
        }
    }

    /// Looks at rows where no other thread does, as far as columns are to be let go.
    pub fn look_here(&mut self) {
        if self.lent.is_some() {
            self.look();
        }
    }

    fn look_at_the_rest(&mut self) {
        if let Some(survey) = &mut self.survey {
            survey.finish(&self.columns, &self.texts, self.rows);
        }
    }

    /// The columns, and what was found out about them. Those that lost rows are away.
    pub fn into_parts(mut self) -> (Vec<Column>, Survey) {
        let lent = self.lent.take().filter(|lent| self.rows > lent.most);
        if let Some(lent) = lent {
            self.look_at_the_rest();
            lent.columns.iter().for_each(|c| self.columns[*c].data = Data::Away { rows: self.rows });
        }
        (self.columns, self.survey.unwrap_or_default())
    }
}

/// Keeps the last rows of a column of plain numbers.
fn let_go(column: &mut Column, kept: usize) {
    fn shorten<T>(values: &mut Vec<T>, kept: usize) {
        values.drain(..values.len() - kept.min(values.len()));
        // Memory that was taken while all rows were held.
        if values.capacity() > 8 * ROOM {
            values.shrink_to(4 * ROOM);
        }
    }
    match &mut column.data {
        Data::F32(v) => shorten(v, kept),
        Data::F64(v) => shorten(v, kept),
        _ => {}
    }
}

/// Stages that go round: filled ones away, emptied ones back.
pub(super) struct Outlet<T> {
    filled: Sender<T>,
    empty: Receiver<Stage>,
    /// Stages that were made.
    stages: usize,
    most: usize,
}

impl<T> Outlet<T> {
    /// For so many stages.
    pub fn new(filled: Sender<T>, empty: Receiver<Stage>, most: usize) -> Outlet<T> {
        Outlet { filled, empty, stages: 1, most }
    }

    /// Sends something; false where nobody takes it any more.
    pub fn send(&self, what: T) -> bool {
        self.filled.send(what).is_ok()
    }

    /// Sends staged rows, and gives an empty stage for those that follow. False where nobody takes them any more.
    pub fn send_rows(
        &mut self,
        stage: &mut Stage,
        new: impl FnOnce() -> Stage,
        wrap: impl FnOnce(Stage) -> T,
    ) -> bool {
        let free = match self.empty.try_recv() {
            Ok(free) => Some(free),
            Err(_) if self.stages < self.most => {
                self.stages += 1;
                Some(new())
            }
            Err(_) => self.empty.recv().ok(),
        };
        free.is_some_and(|free| self.send(wrap(std::mem::replace(stage, free))))
    }
}

/// A store on a thread of its own. Dropping it, also when the server raises, waits until the thread is gone.
pub(super) struct Away {
    /// None once no more rows follow.
    outlet: Option<Outlet<Stage>>,
    thread: Option<JoinHandle<Option<Box<Store>>>>,
    /// Nobody wants the rows any more.
    stop: Arc<AtomicBool>,
    /// A row cannot be held.
    failed: Arc<AtomicBool>,
}

impl Away {
    /// Sends a store to a thread of its own; gives it back where none is to be had, as it serves as well where it is.
    pub fn begin(store: Box<Store>) -> std::result::Result<Away, Box<Store>> {
        let (filled, stages) = channel::<Stage>();
        let (back, empty) = channel();
        let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, fails) = (stop.clone(), failed.clone());
        // It travels once there is a thread: one that cannot be started drops what it was to do.
        let (give, take) = channel::<Box<Store>>();
        let job = move || {
            let mut store = take.recv().ok()?;
            store.make_room();
            for mut stage in stages {
                if stopped.load(Ordering::Relaxed) {
                    return None;
                }
                store.append(&mut stage);
                if store.fault().is_some() {
                    fails.store(true, Ordering::Relaxed);
                }
                // After the last rows nobody takes it.
                let _ = back.send(stage);
                store.look();
            }
            store.look_at_the_rest();
            Some(store)
        };
        let builder = std::thread::Builder::new().name("damson-read".into());
        match work::with_signals_blocked(|| builder.spawn(job)) {
            Ok(thread) => match give.send(store) {
                Ok(()) => {
                    let outlet = Some(Outlet::new(filled, empty, STAGES));
                    Ok(Away { outlet, thread: Some(thread), stop, failed })
                }
                Err(refused) => Err(refused.0),
            },
            Err(_) => Err(store),
        }
    }

    /// Whether rows need not follow, as one that was sent cannot be held.
    pub fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// Sends staged rows, and gives an empty stage for those that follow. False where the thread is gone: `finish` says
    /// why.
    pub fn send(&mut self, stage: &mut Stage, new: impl FnOnce() -> Stage) -> bool {
        self.outlet.as_mut().is_some_and(|outlet| outlet.send_rows(stage, new, |stage| stage))
    }

    /// Waits for the store with all rows that were sent.
    ///
    /// # Errors
    /// `Kind::Internal` when the thread failed.
    pub fn finish(mut self) -> Result<Box<Store>> {
        drop(self.outlet.take());
        let ended = self.thread.take().map(JoinHandle::join);
        match ended {
            Some(Ok(Some(store))) => Ok(store),
            Some(Err(panic)) => Err(Error::internal(format!("a thread failed: {}", work::reason(&*panic)))),
            _ => Err(Error::internal("a thread vanished")),
        }
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.outlet.take());
        // What a thread says that is not wanted any more is of no use.
        self.thread.take().map(JoinHandle::join);
    }
}
