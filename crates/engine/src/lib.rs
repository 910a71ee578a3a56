//! Damson's engine: learners, frames, metrics and artifacts. It knows no Postgres.
//!
//! - [`learner`]: the contract of every algorithm; [`algorithms`]: the algorithms and their list.
//! - [`frame`]: a table in memory.
//! - [`run`]: trains on threads. [`schema`]: what learners are given.
//! - [`split`]: rows to train and to test on. [`metrics`]: how good predictions are.
//! - [`params`]: parameters declared as data. [`wire`]: values to bytes. [`error`]: the one error.

pub mod algorithms;
pub mod error;
pub mod frame;
pub mod learner;
pub mod metrics;

pub mod params;
pub mod run;
pub mod schema;
pub mod split;
pub mod wire;

pub use error::{Error, Kind, Result};
