//! Damson, the extension: the only code that knows Postgres.
//!
//! ```text
//! crates/engine   learners, frames, metrics, artifacts: pure Rust        crates/nn   the neural engine
//!        ▲
//! src/pg          the server: queries into frames, datums, errors, threads, settings
//! src/lib.rs      this map, and _PG_init
//! ```

use pgrx::prelude::*;

pub mod pg;

::pgrx::pg_module_magic!(name, version);

/// Called by the server when it loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::settings::register();
    pg::work::forbid_global_pool();
}

/// The version of the extension's library.
#[pg_extern(immutable, strict, parallel_safe)]
fn library_version() -> &'static std::ffi::CStr {
    c"0.1.0"
}
