//! What a session asks for a model: its network's outputs, for a block of rows. `catalog::resolve` gives each loaded
//! network a client; from then on `Scorer::compute` asks it first.

use super::link::{Link, Reply, Trouble};
use super::segment::{Control, Verb};
use super::{Wanted, wanted};
use crate::catalog;
use crate::pg::error;
use engine::scorer::{Elsewhere, Scorer};
use nn::data::Inputs;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::{Mutex, OnceLock};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Bytes of a request, and of a piece of a model.
const PIECE: usize = 4 << 20;
/// How long after a worker was lost the next one is looked for.
const RETRY: Duration = Duration::from_secs(1);
/// The same while one is starting.
const RETRY_STARTING: Duration = Duration::from_millis(100);
/// The same where there is no device at all, or where it does not take a model.
const RETRY_NOTHING: Duration = Duration::from_secs(60);

/// The thread that may call the server.
static MAIN: OnceLock<ThreadId> = OnceLock::new();

thread_local! {
    // Never dropped: when the process ends, what the link lies in is gone before thread-locals are.
    static SESSION: ManuallyDrop<RefCell<Session>> = ManuallyDrop::new(RefCell::default());
}

/// What this session knows of its device.
#[derive(Default)]
struct Session {
    wanted: Option<Wanted>,
    link: Option<Link>,
    /// Until when nobody is asked.
    until: Option<Instant>,
    /// What the user was told last.
    told: String,
}

/// Called when the library is loaded.
pub fn register() {
    let _ = MAIN.set(std::thread::current().id());
}

/// The way of one model to a device.
struct Client {
    /// The SHA-256 of its artifact.
    key: [u8; 64],
    /// The version that has the artifact, and its bytes.
    version: i64,
    size: i64,
    /// Until when the device does not want it.
    refused: Mutex<Option<Instant>>,
}

/// Lets a loaded model be computed by a device, where it is a network and there is one. The version's artifact is what
/// the current user was allowed to load.
pub fn attach(scorer: &Scorer, version: i64, size: i64, sha256: &str) {
    if let Ok(key) = sha256.as_bytes().try_into() {
        scorer.send_to(Box::new(Client { key, version, size, refused: Mutex::default() }));
    }
}

impl Elsewhere for Client {
    fn takes(&self) -> bool {
        wanted_here().is_some()
    }

    fn outputs(&self, rows: usize, inputs: Inputs, out: &mut [f64]) -> engine::Result<bool> {
        let Some(wanted) = wanted_here().filter(|_| rows > 0) else { return Ok(false) };
        // What is called from below scores nothing; should it, it does so by itself.
        let ask = |s: &ManuallyDrop<RefCell<Session>>| {
            s.try_borrow_mut().is_ok_and(|mut s| s.outputs(wanted, self, rows, inputs, out))
        };
        Ok(SESSION.with(ask))
    }
}

/// What the settings ask for, on the main thread; nothing on others, which cannot ask.
fn wanted_here() -> Option<Wanted> {
    (MAIN.get() == Some(&std::thread::current().id())).then(wanted).flatten()
}

/// What the worker that the settings ask for tells; it is started where there is none. A session maps a worker's segment
/// once, so this goes by the link that it may have.
pub fn look<R>(wanted: Wanted, read: impl FnOnce(&Control) -> R) -> Result<R, Trouble> {
    SESSION.with(|session| {
        let mut session = session.try_borrow_mut().map_err(|_| Trouble::Starting)?;
        session.want(wanted);
        let link = match session.link.take().filter(|link| link.state().is_ok()) {
            Some(link) => link,
            None => Link::open(wanted.kind, true)?,
        };
        let found = read(link.control());
        session.link = Some(link);
        Ok(found)
    })
}

/// Lends the way to the worker that the settings ask for, started where there is none. A session maps a worker's segment
/// once, so this is the link that it may have; whoever has it drops it.
pub fn lend(wanted: Wanted) -> Result<Link, Trouble> {
    SESSION.with(|session| {
        let mut session = session.try_borrow_mut().map_err(|_| Trouble::Starting)?;
        session.want(wanted);
        match session.link.take().filter(|link| link.state().is_ok()) {
            Some(link) => Ok(link),
            None => match Link::open(wanted.kind, true) {
                // It was about to end.
                Err(Trouble::Ended) => Link::open(wanted.kind, true),
                opened => opened,
            },
        }
    })
}

/// Why a request came to nothing.
enum Refusal {
    /// The worker's trouble.
    Trouble(Trouble),
    /// This model's.
    Model(String),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Refusal::Trouble(trouble)
    }
}

impl Session {
    /// Forgets what was known of another device.
    fn want(&mut self, wanted: Wanted) {
        if self.wanted != Some(wanted) {
            *self = Session { wanted: Some(wanted), ..Session::default() };
        }
    }

    /// Whether the outputs came.
    fn outputs(
        &mut self,
        wanted: Wanted,
        client: &Client,
        rows: usize,
        inputs: Inputs,
        out: &mut [f64],
    ) -> bool {
        self.want(wanted);
        let waits = |until: &Option<Instant>| until.is_some_and(|t| Instant::now() < t);
        if waits(&self.until) || client.refused.lock().is_ok_and(|until| waits(&until)) {
            return false;
        }
        for attempt in 0..2 {
            // Taken out: should the statement be cancelled, the link is dropped, and the request with it.
            let link = match self.link.take() {
                Some(link) => Ok(link),
                None => Link::open(wanted.kind, wanted.named),
            };
            let mut link = match link {
                Ok(link) => link,
                Err(Trouble::Ended) if attempt == 0 => continue,
                Err(trouble) => {
                    self.fail(wanted, trouble);
                    return false;
                }
            };
            match client.ask(&mut link, rows, inputs, out) {
                Ok(()) => {
                    self.link = Some(link);
                    self.told.clear();
                    return true;
                }
                Err(Refusal::Trouble(Trouble::Ended)) if attempt == 0 => {}
                Err(Refusal::Trouble(trouble)) => {
                    self.fail(wanted, trouble);
                    return false;
                }
                Err(Refusal::Model(text)) => {
                    self.link = Some(link);
                    if let Ok(mut until) = client.refused.lock() {
                        *until = Some(Instant::now() + RETRY_NOTHING);
                    }
                    self.tell(&text);
                    return false;
                }
            }
        }
        false
    }

    fn fail(&mut self, wanted: Wanted, trouble: Trouble) {
        let (rest, text) = match trouble {
            Trouble::Starting | Trouble::Ended => (RETRY_STARTING, None),
            Trouble::Lost(text) => (RETRY, Some(text)),
            // Who lets the machine decide is content with what it has.
            Trouble::Nothing(text) => (RETRY_NOTHING, wanted.named.then_some(text)),
        };
        self.until = Some(Instant::now() + rest);
        if let Some(text) = text {
            self.tell(&text);
        }
    }

    /// Once, until it is right again.
    fn tell(&mut self, text: &str) {
        if self.told != text {
            self.told = text.to_string();
            error::warn(&format!("networks are scored by the CPU: {text}"));
        }
    }
}

impl Client {
    /// The outputs of a block, in as many requests as it takes.
    fn ask(&self, link: &mut Link, rows: usize, inputs: Inputs, out: &mut [f64]) -> Result<(), Refusal> {
        let mut bytes: Vec<u8> = vec![];
        let (verb, sent) = match inputs {
            Inputs::Bytes(sent) => (Verb::Bytes, sent),
            Inputs::Doubles(values) => {
                bytes.extend(values.iter().flat_map(|v| v.to_ne_bytes()));
                (Verb::Doubles, &bytes[..])
            }
            Inputs::Numbers(values) => {
                bytes.extend(values.iter().flat_map(|v| f64::from(*v).to_ne_bytes()));
                (Verb::Doubles, &bytes[..])
            }
        };
        let (row_in, row_out) = (sent.len() / rows, out.len() / rows);
        let at_once = (PIECE / (row_in + 8 * row_out).max(1)).max(1);
        for (sent, out) in sent.chunks(row_in * at_once).zip(out.chunks_mut(row_out * at_once)) {
            let rows = (out.len() / row_out) as u64;
            if !self.piece(link, verb, rows, sent, out)? {
                self.send(link)?;
                if !self.piece(link, verb, rows, sent, out)? {
                    return Err(Refusal::Model("the device has no room for all models in use".into()));
                }
            }
        }
        Ok(())
    }

    /// One request. False where the worker does not have the model.
    fn piece(
        &self,
        link: &mut Link,
        verb: Verb,
        rows: u64,
        sent: &[u8],
        out: &mut [f64],
    ) -> Result<bool, Refusal> {
        let room = size_of_val(&*out);
        let take = |answer: &[u8]| {
            for (o, b) in out.iter_mut().zip(answer.as_chunks::<8>().0) {
                *o = f64::from_ne_bytes(*b);
            }
        };
        match link.ask(verb, &self.key, rows, sent, room, take)? {
            Reply::Answered => Ok(true),
            Reply::Unknown => Ok(false),
            Reply::Failed(text) => Err(Refusal::Model(text)),
        }
    }

    /// Sends the artifact.
    fn send(&self, link: &mut Link) -> Result<(), Refusal> {
        let sha256 = String::from_utf8_lossy(&self.key);
        let artifact = catalog::versions::artifact(self.version, self.size, &sha256);
        let artifact = artifact.map_err(|e| Refusal::Model(e.message))?;
        for (i, piece) in artifact.chunks(PIECE).enumerate() {
            let at = (i * PIECE) as u64;
            if let Reply::Failed(text) = link.ask(Verb::Load, &self.key, at, piece, artifact.len(), |_| {})? {
                return Err(Refusal::Model(text));
            }
        }
        Ok(())
    }
}
