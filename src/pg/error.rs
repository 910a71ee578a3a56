//! Errors on their way to the client: the one place that knows SQLSTATEs.
//!
//! Code of the extension returns [`Result`]; a function of `src/api` wraps its body in [`answer`], which raises
//! the error as the server's own:
//!
//! ```ignore
//! #[pg_extern(volatile, parallel_unsafe)]
//! fn drop_model(model: Text) -> i64 {
//!     answer(|| catalog::drop_model(&model))
//! }
//! ```
//!
//! Errors that the server itself raises (through pgrx) travel as panics and need no care: they unwind, run
//! destructors, and reach the client as they were.

use engine::Kind;
use pgrx::pg_sys;
use pgrx::pg_sys::errcodes::PgSqlErrorCode;
use pgrx::pg_sys::panic::{ErrorReport, ErrorReportable};

/// The class of an error. Those that the engine can meet are its `Kind`; the others only a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A kind of the engine's.
    Engine(Kind),
    /// No model, version or alias of that name (42704).
    NoSuchObject,
    /// A model, version or alias of that name is there already (42710).
    Exists,
    /// The current user may not (42501).
    Privilege,
    /// The object is not in a state that allows it (55000).
    NotReady,
    /// No background worker is free (53000).
    NoWorker,
    /// Two columns of one name (42701).
    DuplicateColumn,
    /// No relation of that name (42P01).
    NoSuchRelation,
    /// Something else depends on the object (2BP01).
    Needed,
    /// A limit that the server's configuration sets (53400).
    Limit,
}

impl From<Kind> for Code {
    fn from(kind: Kind) -> Self {
        Code::Engine(kind)
    }
}

impl Code {
    fn sqlstate(self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Code::Engine(Kind::Parameter) => ERRCODE_INVALID_PARAMETER_VALUE,
            Code::Engine(Kind::UnknownAlgorithm) | Code::NoSuchObject => ERRCODE_UNDEFINED_OBJECT,
            Code::Engine(Kind::UnknownColumn) => ERRCODE_UNDEFINED_COLUMN,
            Code::Engine(Kind::Type) => ERRCODE_DATATYPE_MISMATCH,
            Code::Engine(Kind::Data) => ERRCODE_DATA_EXCEPTION,
            Code::Engine(Kind::Null) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Code::Engine(Kind::Unsupported) => ERRCODE_FEATURE_NOT_SUPPORTED,
            Code::Engine(Kind::Memory) => ERRCODE_OUT_OF_MEMORY,
            Code::Engine(Kind::Cancelled) => ERRCODE_QUERY_CANCELED,
            Code::Engine(Kind::Corrupt) => ERRCODE_DATA_CORRUPTED,
            Code::Engine(Kind::Internal) => ERRCODE_INTERNAL_ERROR,
            Code::Exists => ERRCODE_DUPLICATE_OBJECT,
            Code::Privilege => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Code::NotReady => ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Code::NoWorker => ERRCODE_INSUFFICIENT_RESOURCES,
            Code::DuplicateColumn => ERRCODE_DUPLICATE_COLUMN,
            Code::NoSuchRelation => ERRCODE_UNDEFINED_TABLE,
            Code::Needed => ERRCODE_DEPENDENT_OBJECTS_STILL_EXIST,
            Code::Limit => ERRCODE_CONFIGURATION_LIMIT_EXCEEDED,
        }
    }
}

/// An error that is still a value.
#[derive(Debug, Clone)]
pub struct Error {
    /// Its class.
    pub code: Code,
    /// What was found and what was expected: lower case, no full stop.
    pub message: String,
    /// Facts behind the message.
    pub detail: Option<String>,
    /// A sentence that says what to do, ideally a command.
    pub hint: Option<String>,
}

/// The extension's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a class, or of an engine's kind, with its message.
    pub fn new(code: impl Into<Code>, message: impl Into<String>) -> Self {
        Error { code: code.into(), message: message.into(), detail: None, hint: None }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a detail.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A fault of the extension itself.
    pub fn internal(message: impl Into<String>) -> Self {
        engine::Error::internal(message).into()
    }
}

impl From<engine::Error> for Error {
    fn from(e: engine::Error) -> Self {
        Error { code: Code::Engine(e.kind), message: e.message, detail: e.detail, hint: e.hint }
    }
}

/// Runs the body of an SQL function and raises its error.
pub fn answer<T>(body: impl FnOnce() -> Result<T>) -> T {
    body().unwrap_or_else(|e| raise(e))
}

/// Raises an error. Destructors of all frames above run first.
#[cold]
pub fn raise(e: Error) -> ! {
    let mut report = ErrorReport::new(e.code.sqlstate(), printable(&e.message), "damson");
    if let Some(detail) = &e.detail {
        report = report.set_detail(printable(detail));
    }
    if let Some(hint) = &e.hint {
        report = report.set_hint(printable(hint));
    }
    let raised: std::result::Result<std::convert::Infallible, ErrorReport> = Err(report);
    match raised.unwrap_or_report() {}
}

/// Tells the client something that it must know although the work goes on.
pub fn warn(message: &str) {
    pgrx::warning!("{}", printable(message));
}

/// Tells those who look for it.
pub fn debug(message: &str) {
    pgrx::debug1!("{}", printable(message));
}

/// Messages go out in the server's encoding and end at the first NUL.
fn printable(text: &str) -> String {
    // SAFETY: reads a variable of the server.
    let utf8 = unsafe { pg_sys::GetDatabaseEncoding() } == pg_sys::pg_enc::PG_UTF8 as i32;
    text.chars().flat_map(|c| escape(c, utf8)).collect()
}

fn escape(c: char, utf8: bool) -> impl Iterator<Item = char> {
    let plain = c != '\0' && (utf8 || c.is_ascii());
    plain.then_some(c).into_iter().chain((!plain).then(|| c.escape_unicode()).into_iter().flatten())
}

/// The error of an argument that must not be NULL; arguments count from 0.
pub fn null_argument(index: usize) -> Error {
    Error::new(Kind::Null, format!("argument {} must not be NULL", index + 1))
}
