//! The server: all that touches its memory, its threads and its C functions.
//!
//! - [`datum`]: values of variable length, in and out. [`spi`]: SQL from Rust.
//! - [`query`]: runs a user's query into a frame; `receiver` takes its rows, `store` and `columns`
//!   keep them, `reader` knows their types; [`pictures`] decodes images, and keeps them in a file where memory has no room.
//! - [`reads`]: which columns a query reads, and where they go.
//! - [`scoring`]: the functions that score, once a row; `bind` gives them the features. [`batching`]: many rows at once,
//!   by a node in the plan.
//! - [`again`]: rows read again for columns that a training does not hold.
//! - [`evaluation`]: rows with true answers, scored.
//! - [`monitoring`]: what a monitor does when it runs.
//! - [`folding`]: the aggregate that trains where the rows lie; `record` keeps the columns of row values.
//! - [`fitting`]: the aggregates whose result is a model. [`filling`]: tables filled with scores.
//! - [`work`]: long work on threads, cancelled and watched. [`checkpoints`]: what a training that is broken off leaves.
//! - [`verb`]: verbs of SQL as data, for jobs.
//! - [`shim`]: the C functions of `shim.c`.
//! - [`change`]: whether the catalog changed. [`commit`]: work just before a transaction commits.
//! - [`guard`]: whether SQL and library fit each other. [`protection`]: the event
//!   trigger on sources.
//! - `memory`: the allocator. [`planner`]: the server's statistics of a relation.
//! - [`error`]: errors and their SQLSTATEs. [`role`]: whose rights code runs with. [`settings`]: `damson.*`.

pub mod again;
pub mod batching;
mod bind;
pub mod change;
pub mod checkpoints;
mod columns;
pub mod commit;
pub mod datum;
pub mod error;
pub mod evaluation;
pub mod filling;
pub mod fitting;
pub mod folding;
pub mod guard;
mod memory;
pub mod monitoring;
pub mod pictures;
pub mod planner;
pub mod protection;
pub mod query;
mod reader;
pub mod reads;
mod receiver;
mod record;
pub mod role;
pub mod row;
pub mod scoring;
pub mod settings;
pub mod shim;
pub mod spi;
mod store;
pub mod verb;
pub mod work;
