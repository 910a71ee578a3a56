//! The rows of a training, read again for those of its columns that are not held: [`engine::stream`]. Caller: `api::train`.
//!
//! ```text
//!  main thread: query ──▶ stages ──▶ channel ──▶ threads of the training: blocks of columns ──▶ learner
//!                            ▲                                   │
//!                            └───────── emptied ─────────────────┘
//! ```
//!
//! The main thread alone may call the server, so the training sends it an errand ([`super::work::MainThread`]): the query
//! runs once more under the statement's snapshot. Stages go round between them, so neither gets far ahead. Where either
//! ends early the other finds its channel closed.

use super::columns::Building;
use super::error::Result;
use super::query::{self, Wanted};
use super::reader::Reader;
use super::receiver::Receiver;
use super::store::{Outlet, Stage, Store};
use super::work::{MainThread, lock};
use engine::frame::Column;
use engine::stream::{STEP, Source, Take};
use engine::{Error, Kind};
use rayon::prelude::*;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender, channel};

/// Bytes of a block's rows, about, where they are more than one step.
const BLOCK: usize = 1 << 20;
/// The most steps of a block.
const STEPS: usize = 4;
/// Stages that are filled while the threads have theirs.
const AHEAD: usize = 4;

/// A source whose columns are away in part.
pub struct Again {
    source: String,
    /// The columns that are away, in the frame's order.
    names: Vec<String>,
    main: Mutex<Option<MainThread>>,
    given_up: AtomicBool,
}

/// How staged rows are to be read.
pub(super) struct Layout {
    pub columns: Vec<(Column, Reader, usize)>,
    pub stride: usize,
}

impl Layout {
    /// Of columns that are read from rows of so many bytes.
    pub fn of(columns: &[Building], stride: usize) -> Layout {
        Layout { columns: columns.iter().map(|b| (b.column.clone(), b.reader, b.offset)).collect(), stride }
    }
}

/// What the main thread sends.
pub(super) enum Sent {
    /// First, how the rows are to be read.
    Layout(Layout),
    /// Then rows.
    Rows(Stage),
}

/// The errand: a query, and where its rows go.
struct Order {
    source: String,
    names: Vec<String>,
    outlet: Outlet<Sent>,
    done: Sender<std::result::Result<(), Error>>,
}

/// What the threads take blocks from, one at a time.
struct Intake {
    /// None when nothing more is wanted.
    stages: Option<mpsc::Receiver<Sent>>,
    /// The row that comes next.
    next: usize,
    /// Stages of a block.
    steps: usize,
}

impl Again {
    /// Columns of a source that was read once.
    pub fn new(source: &str, names: Vec<String>) -> Again {
        let (main, given_up) = (Mutex::new(None), AtomicBool::new(false));
        Again { source: source.to_string(), names, main, given_up }
    }

    /// Has rows read there from now on.
    pub fn read_by(&self, main: MainThread) {
        *lock(&self.main) = Some(main);
    }

    /// Whether the rows must be held after all.
    pub fn given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }
}

impl Source for Again {
    fn read(&self, take: &Take) -> engine::Result<()> {
        let broken_off = || Error::new(Kind::Cancelled, "reading the source again was broken off");
        let main = lock(&self.main).clone().ok_or_else(broken_off)?;
        let threads = rayon::current_num_threads();
        let (filled, stages) = channel();
        let (back, empty) = channel();
        let (done, outcome) = channel();
        let outlet = Outlet::new(filled, empty, threads * STEPS + AHEAD);
        let order = Order { source: self.source.clone(), names: self.names.clone(), outlet, done };
        main.ask(move || order.run());
        let layout = match stages.recv() {
            Ok(Sent::Layout(layout)) => layout,
            _ => return Err(outcome.recv().ok().and_then(engine::Result::err).unwrap_or_else(broken_off)),
        };
        let steps = (BLOCK / (layout.stride * STEP).max(1)).clamp(1, STEPS);
        let intake = Mutex::new(Intake { stages: Some(stages), next: 0, steps });
        let work = |_| {
            let found = consume(&intake, &layout, &back, take);
            if found.is_err() {
                // The main thread sees its channel closed and stops the query.
                lock(&intake).stages = None;
            }
            found
        };
        let found: Vec<engine::Result<()>> = (0..threads).into_par_iter().with_max_len(1).map(work).collect();
        lock(&intake).stages = None;
        drop(back);
        // Stages and blocks are gone, before what the learner keeps comes.
        drop(layout);
        super::work::return_small_blocks();
        found.into_iter().collect::<engine::Result<()>>()?;
        outcome.recv().unwrap_or_else(|_| Err(broken_off()))
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// Takes blocks until there are none.
fn consume(intake: &Mutex<Intake>, layout: &Layout, back: &Sender<Stage>, take: &Take) -> engine::Result<()> {
    let mut store = Store::new(layout.columns.clone(), layout.stride, 0, None, None);
    loop {
        let (first, stages) = lock(intake).block();
        if stages.is_empty() {
            return Ok(());
        }
        for mut stage in stages {
            store.append(&mut stage);
            // After the last rows nobody takes it.
            let _ = back.send(stage);
        }
        take(first, store.columns())?;
        store.clear();
    }
}

impl Intake {
    /// The next block: the number of its first row, and its stages; none at the end.
    fn block(&mut self) -> (usize, Vec<Stage>) {
        let first = self.next;
        let mut block = vec![];
        while block.len() < self.steps
            && let Some(stages) = &self.stages
        {
            match stages.recv() {
                Ok(Sent::Rows(stage)) => {
                    self.next += stage.rows;
                    block.push(stage);
                }
                _ => self.stages = None,
            }
        }
        (first, block)
    }
}

impl Order {
    fn run(self) {
        let Order { source, names, outlet, done } = self;
        let found = read(&source, &names, outlet);
        let found =
            found.map_err(|e| Error { detail: e.detail, hint: e.hint, ..Error::new(Kind::Data, e.message) });
        // A training that was stopped meanwhile does not listen any more.
        let _ = done.send(found);
    }
}

fn read(source: &str, names: &[String], outlet: Outlet<Sent>) -> Result<()> {
    let mut receiver = None;
    query::run(source, |desc, _| {
        let columns = query::columns(desc);
        let picked = query::pick(&columns, Wanted::Only(names))?;
        let receiver = receiver.insert(Receiver::passing(desc, &picked, outlet)?);
        Ok(receiver.destination())
    })?;
    if let Some(receiver) = receiver {
        receiver.pass_on();
    }
    Ok(())
}
