//! The tool's one error type: a sentence to show. Nobody matches on it.

use std::fmt;

/// What went wrong, ready to print.
#[derive(Debug)]
pub struct Failure(String);

/// The result of everything in this tool.
pub type Result<T> = std::result::Result<T, Failure>;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Failure(message)
    }
}

impl From<&str> for Failure {
    fn from(message: &str) -> Self {
        Failure(message.to_string())
    }
}

/// Says what was being done when a lower layer failed.
pub trait Context<T> {
    /// Prefixes the error with `doing()`.
    fn context<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context<S: fmt::Display>(self, doing: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Failure(format!("{}: {e}", doing())))
    }
}
