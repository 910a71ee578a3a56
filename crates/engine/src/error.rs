//! The one error of the engine: a kind that a server can map to its own codes, what was found, what was
//! expected, and a hint that says what to do.

/// What went wrong, in classes that a caller can act on. `src/pg/error.rs` maps each to one SQLSTATE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A parameter is unknown, of the wrong type or out of range.
    Parameter,
    /// No algorithm of that name.
    UnknownAlgorithm,
    /// A column that was asked for is not there.
    UnknownColumn,
    /// A column or value has a type that does not serve.
    Type,
    /// The data cannot be learnt from or scored: infinite, constant, empty, one class.
    Data,
    /// A NULL where a value is needed, such as a label.
    Null,
    /// Known, but this algorithm or version does not do it.
    Unsupported,
    /// More memory than the caller allows.
    Memory,
    /// The caller asked to stop.
    Cancelled,
    /// Stored bytes that are not what was written.
    Corrupt,
    /// A fault of the engine itself.
    Internal,
}

/// An error: a message in lower case without a full stop, and where they help a detail and a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The class of the failure.
    pub kind: Kind,
    /// What was found and what was expected.
    pub message: String,
    /// Facts behind the message.
    pub detail: Option<String>,
    /// A sentence that says what to do, ideally a command.
    pub hint: Option<String>,
}

/// The engine's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error of a kind with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into(), detail: None, hint: None }
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

    /// A fault of the engine itself: something that its own checks should have made impossible.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(Kind::Internal, message)
            .hint("This is a bug in Damson; please report it with the statement.")
    }

    /// Stored bytes that are not what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Error::new(Kind::Corrupt, message)
    }
}

impl From<nn::Error> for Error {
    fn from(e: nn::Error) -> Self {
        let kind = match e {
            nn::Error::Cancelled => Kind::Cancelled,
            nn::Error::Shape(_) => Kind::Parameter,
            nn::Error::Data(_) => Kind::Data,
            nn::Error::Corrupt(_) => Kind::Corrupt,
            nn::Error::Memory(_) => Kind::Memory,
            nn::Error::Device(_) | nn::Error::Read(_) => Kind::Internal,
        };
        Error::new(kind, e.to_string())
    }
}
