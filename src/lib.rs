//! Damson, the extension: the only code that knows Postgres.
//!
//! ```text
//! crates/engine   learners, frames, metrics, artifacts: pure Rust        crates/nn   the neural engine
//! crates/report   pages and drawings: HTML and SVG
//!        ▲
//! src/api         one file a verb of SQL
//! src/catalog     models, versions, aliases, grants: the only SQL against sql/catalog.sql
//! src/worker      background workers: launcher, jobs, clock
//! src/pg          the server: queries into frames, datums, errors, threads, settings
//! src/lib.rs      this map, and _PG_init
//! ```

use pgrx::prelude::*;

mod api;
pub mod catalog;
pub mod pg;
pub mod worker;

::pgrx::pg_module_magic!(name, version);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::guard::watch();
    pg::settings::register();
    pg::batching::register();
    pg::work::forbid_global_pool();
    worker::register();
}
