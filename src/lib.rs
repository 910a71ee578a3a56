//! Damson, the extension: the only code that knows Postgres.

use pgrx::prelude::*;

::pgrx::pg_module_magic!(name, version);

/// The version of the extension's library.
#[pg_extern(immutable, strict, parallel_safe)]
fn library_version() -> &'static std::ffi::CStr {
    c"0.1.0"
}
