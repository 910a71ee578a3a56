//! Where checkpoints of trainings are kept: files beside the database, which outlive an abort and a crash as no row of an
//! open transaction does. Caller: `src/api/train.rs`.
//!
//! ```text
//! pgsql_tmp_damson/<database>/<role>-<key>      in the data directory
//! ```
//! The server's own tools take names that begin with `pgsql_tmp` for what need not be kept: base backups and pg_rewind
//! leave the folder out. The server itself does not clear it when it starts. A file is written under another name, synced
//! and renamed, so it is whole or not there; it is removed when a training of its key commits.
//!
//! A role finds its own files alone. How many days they are kept and how much room those of a role may take are settings.

use super::error::{self, Code, Error, Result};
use super::{role, settings, spi};
use engine::Kind;
use engine::checkpoint::{self, Checkpoint, Seen, Subject};
use engine::learner::{Cx, Observer};
use engine::remote::Errand;
use engine::train::Request;
use pgrx::PgXactCallbackEvent;
use pgrx::pg_sys::{self, Oid};
use std::ffi::{CStr, OsStr};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const ROOT: &str = "pgsql_tmp_damson";
/// What the name of a file ends with while it is written.
const UNFINISHED: &str = ".new";
/// How old such a file is when nobody writes it any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Keeps the checkpoints of one training.
pub struct Keeper {
    subject: Subject,
    folder: PathBuf,
    name: String,
    role: String,
    interval: Duration,
    room: u64,
    broken_off: Mutex<Option<Checkpoint>>,
    /// What the run must say of where it goes on from.
    note: Option<String>,
    last: Mutex<Instant>,
    /// The epoch that was kept because the one after it failed; 0 for none.
    saved: AtomicUsize,
    told: AtomicBool,
}

/// A checkpoint in its file.
pub struct Kept {
    /// What it is of.
    pub seen: Seen,
    /// Its role.
    pub role: Oid,
    /// Its bytes.
    pub bytes: u64,
    /// When it was written.
    pub written: SystemTime,
}

impl Keeper {
    /// For the training of a model by this request, by the current user; none where no checkpoints are kept of it.
    ///
    /// # Errors
    /// Only the server's.
    pub fn of(model: &str, source: &str, request: &Request) -> Result<Option<Keeper>> {
        if settings::keep_checkpoints() == 0 || checkpoint::check(request).is_err() {
            return Ok(None);
        }
        sweep()?;
        let subject = Subject::of(model, source, request)?;
        let role = role::current_user().to_u32().to_string();
        Ok(Some(Keeper {
            name: format!("{role}-{}", subject.key()?),
            subject,
            folder: folder(),
            role,
            interval: settings::checkpoint_interval(),
            room: settings::checkpoint_space(),
            broken_off: Mutex::default(),
            note: None,
            last: Mutex::new(Instant::now()),
            saved: AtomicUsize::new(0),
            told: AtomicBool::new(false),
        }))
    }

    /// Looks for a checkpoint to go on from. Says what it found, in words: a notice where all is well, else a warning.
    pub fn find(&mut self) {
        let model = &self.subject.model;
        let path = self.folder.join(&self.name);
        let found = match fs::read(&path) {
            Ok(bytes) => checkpoint::read(&bytes).map_err(|e| e.message),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                match self.others() {
                    Some(how) => error::warn(&format!(
                        "no checkpoint of this training of model \"{model}\", only of one {how}: it begins anew"
                    )),
                    None => pgrx::notice!("no checkpoint of model \"{model}\": the training begins anew"),
                }
                return;
            }
            Err(e) => Err(format!("the checkpoint cannot be read: {e}")),
        };
        match found {
            Ok((subject, checkpoint)) if subject.key().ok() == self.subject.key().ok() => {
                let (round, adjusted) = (checkpoint.round(), self.subject.adjusted(&subject));
                pgrx::notice!("train {model}: goes on after round {round}");
                if !adjusted.is_empty() {
                    let were: Vec<String> = adjusted.iter().map(|(n, v)| format!("{n} {v}")).collect();
                    let were = were.join(", ");
                    self.note = Some(format!("the rounds up to {round} had {were}"));
                }
                self.broken_off = Mutex::new(Some(checkpoint));
            }
            Ok(_) => error::warn("the checkpoint is of another training: this one begins anew"),
            Err(why) => error::warn(&format!("{why}; the training begins anew")),
        }
    }

    /// How another checkpoint of the model differs from what is looked for.
    fn others(&self) -> Option<&'static str> {
        let kept = list(&self.folder).unwrap_or_default();
        let mine = |k: &&Kept| k.role.to_u32().to_string() == self.role;
        let same = |k: &&Kept| k.seen.subject.model == self.subject.model;
        let newest = kept.iter().filter(mine).filter(same).max_by_key(|k| k.written)?;
        Some(self.subject.difference(&newest.seen.subject))
    }

    /// Does work with this as its observer, before the one that is there.
    ///
    /// # Errors
    /// Those of the work, which tell of the checkpoint that a failure left.
    pub fn watch<T>(&self, cx: &Cx, work: impl FnOnce(&Cx) -> engine::Result<T>) -> engine::Result<T> {
        let watching = Watching { keeper: self, cx };
        self.note.iter().for_each(|note| watching.warning(note));
        work(&Cx { observer: &watching, ..*cx }).map_err(|e| match self.saved.load(Relaxed) {
            0 => e,
            epoch => e.hint(format!(
                "What it was after epoch {epoch} is kept: resume => true goes on from there, with a lower learning_rate or \
                 with max_grad_norm."
            )),
        })
    }

    /// Removes the checkpoint when the current transaction commits: the training is done.
    pub fn remove_at_commit(&self) {
        let path = self.folder.join(&self.name);
        pgrx::register_xact_callback(PgXactCallbackEvent::Commit, move || {
            // One that stays is found again by the same training alone, and goes with its age.
            let _ = fs::remove_file(&path);
        });
    }

    /// Writes a checkpoint. Says whether there was room.
    fn write(&self, checkpoint: &Checkpoint, cx: &Cx) -> io::Result<bool> {
        let mode = mode();
        make_folder(&self.folder, mode)?;
        // The state is nearly all of it.
        if !self.make_room(checkpoint.state.len() as u64)? {
            return Ok(false);
        }
        let unfinished = self.folder.join(format!("{}.{}{UNFINISHED}", self.name, std::process::id()));
        let written = (|| {
            let mut options = File::options();
            let file =
                options.write(true).create(true).truncate(true).mode(mode & 0o640).open(&unfinished)?;
            let mut file = Stoppable { file, cx };
            checkpoint::write(&mut file, &self.subject, checkpoint)?;
            file.file.sync_all()?;
            fs::rename(&unfinished, self.folder.join(&self.name))?;
            File::open(&self.folder)?.sync_all()
        })();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.map(|()| true)
    }

    /// Removes the role's oldest checkpoints of other trainings until so many bytes have room.
    fn make_room(&self, bytes: u64) -> io::Result<bool> {
        if bytes > self.room {
            return Ok(false);
        }
        let mut files: Vec<(SystemTime, u64, PathBuf)> = vec![];
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.split('-').next() == Some(&self.role)
                && name != self.name
                && let Ok(about) = entry.metadata()
            {
                files.push((about.modified()?, about.len(), entry.path()));
            }
        }
        files.sort();
        let mut taken: u64 = files.iter().map(|f| f.1).sum();
        for (_, size, path) in files {
            if taken + bytes <= self.room {
                break;
            }
            fs::remove_file(path)?;
            taken -= size;
        }
        Ok(true)
    }
}

/// A file whose writing ends when the training is to stop.
struct Stoppable<'a> {
    file: File,
    cx: &'a Cx<'a>,
}

impl Write for Stoppable<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.cx.check().map_err(|e| io::Error::other(e.message))?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

struct Watching<'a> {
    keeper: &'a Keeper,
    cx: &'a Cx<'a>,
}

impl Observer for Watching<'_> {
    fn progress(&self, done: usize, total: usize, what: &str) {
        self.cx.observer.progress(done, total, what);
    }

    fn metric(&self, round: usize, name: &str, value: f64) {
        self.cx.observer.metric(round, name, value);
    }

    fn warning(&self, message: &str) {
        self.cx.observer.warning(message);
    }

    fn errand(&self, training: u64, errand: Errand) -> Option<Vec<u8>> {
        self.cx.observer.errand(training, errand)
    }

    fn keep(&self, last: bool, make: &dyn Fn() -> engine::Result<Checkpoint>) -> engine::Result<()> {
        let keeper = self.keeper;
        let mut at = keeper.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !last && at.elapsed() < keeper.interval {
            return Ok(());
        }
        let checkpoint = make()?;
        // Before the first epoch there is nothing to lose.
        if checkpoint.round() == 0 {
            return Ok(());
        }
        let written = keeper.write(&checkpoint, self.cx);
        // A training that is to stop says so itself; a disk that is full must not end one.
        self.cx.check()?;
        let why = match written {
            Ok(true) => {
                let saved = if last { checkpoint.round() } else { 0 };
                keeper.saved.store(saved, Relaxed);
                None
            }
            Ok(false) => {
                let needed = checkpoint.state.len().div_ceil(1 << 20);
                Some(format!("it takes {needed} MB, more than damson.checkpoint_space"))
            }
            Err(e) => Some(e.to_string()),
        };
        if let Some(why) = why
            && !keeper.told.swap(true, Relaxed)
        {
            self.warning(&format!("no checkpoint of the training is kept: {why}"));
        }
        *at = Instant::now();
        Ok(())
    }

    fn broken_off(&self) -> Option<Checkpoint> {
        self.keeper.broken_off.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The error of a resume where nothing is kept.
pub fn not_kept() -> Error {
    let message = "no checkpoints are kept, as damson.keep_checkpoints is 0";
    Error::new(Code::NotReady, message).hint("Leave resume out, or set damson.keep_checkpoints.")
}

/// Refuses to go on from checkpoints where none are kept.
///
/// # Errors
/// 0A000 for a training that keeps none; 55000 where the setting says so.
pub fn check(request: &Request) -> Result<()> {
    checkpoint::check(request)?;
    if settings::runner() == settings::Runner::Aggregate {
        let message = "trainings in an aggregate keep no checkpoints to go on from";
        return Err(Error::new(Kind::Unsupported, message).hint("SET damson.runner = threads;"));
    }
    if settings::keep_checkpoints() == 0 { Err(not_kept()) } else { Ok(()) }
}

/// The checkpoints of this database, of all roles.
///
/// # Errors
/// `Kind::Internal` where the folder cannot be read.
pub fn all() -> Result<Vec<Kept>> {
    list(&folder()).map_err(|e| Error::internal(format!("the checkpoints cannot be listed: {e}")))
}

fn list(folder: &Path) -> io::Result<Vec<Kept>> {
    let mut kept = vec![];
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(kept),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let role = name.split('-').next().and_then(|r| r.parse::<u32>().ok());
        // A file may go while it is looked at.
        let (Some(role), Ok(mut file), false) = (role, File::open(entry.path()), name.ends_with(UNFINISHED))
        else {
            continue;
        };
        if let (Ok(seen), Ok(about)) = (checkpoint::peek(&mut file), file.metadata()) {
            let written = about.modified()?;
            kept.push(Kept { seen, role: Oid::from(role), bytes: about.len(), written });
        }
    }
    Ok(kept)
}

/// Removes the files that are too old, those of roles that are gone, and the folders of databases that are.
///
/// # Errors
/// Only the server's: a file that cannot be removed stays.
pub fn sweep() -> Result<()> {
    let Ok(databases) = fs::read_dir(root()) else { return Ok(()) };
    let oids = |sql: &str| -> Result<Vec<u32>> {
        spi::select(sql, &[])?.iter().map(|row| Ok(row.get::<Oid>(0)?.to_u32())).collect()
    };
    let living = oids("SELECT d.oid FROM pg_catalog.pg_database d")?;
    let roles = oids("SELECT r.oid FROM pg_catalog.pg_roles r")?;
    let days = settings::keep_checkpoints();
    let limit = u64::try_from(days).ok().map(|days| Duration::from_secs(86400 * days));
    for database in databases.flatten() {
        let of = database.file_name().to_string_lossy().parse::<u32>();
        if of.is_ok_and(|of| !living.contains(&of)) {
            let _ = fs::remove_dir_all(database.path());
            continue;
        }
        for file in fs::read_dir(database.path()).into_iter().flatten().flatten() {
            let name = file.file_name().to_string_lossy().into_owned();
            let age = file.metadata().and_then(|m| m.modified()).map(|at| at.elapsed().unwrap_or_default());
            let Ok(age) = age else { continue };
            let role = name.split('-').next().and_then(|r| r.parse::<u32>().ok());
            let orphan = role.is_none_or(|r| !roles.contains(&r));
            let abandoned = name.ends_with(UNFINISHED) && age > ABANDONED;
            if orphan || abandoned || limit.is_some_and(|limit| age > limit) {
                let _ = fs::remove_file(file.path());
            }
        }
    }
    Ok(())
}

/// The data directory.
fn data() -> PathBuf {
    // SAFETY: a variable of the server, set once at its start.
    let path = unsafe { CStr::from_ptr(pg_sys::DataDir) };
    PathBuf::from(OsStr::from_bytes(path.to_bytes()))
}

fn root() -> PathBuf {
    data().join(ROOT)
}

fn folder() -> PathBuf {
    // SAFETY: reads a variable of the server.
    root().join(unsafe { pg_sys::MyDatabaseId }.to_u32().to_string())
}

/// The rights of the data directory, which new files get too: a group may read it or not.
fn mode() -> u32 {
    fs::metadata(data()).map_or(0o700, |m| 0o700 | m.permissions().mode() & 0o050)
}

fn make_folder(folder: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(folder)
}
