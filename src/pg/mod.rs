//! The server: all that touches its memory, its threads and its C functions.
//!
//! - [`datum`]: values of variable length, in and out. [`spi`]: SQL from Rust.
//! - [`query`]: runs a user's query into a frame.
//! - [`work`]: long work on threads, cancelled and watched.
//! - [`shim`]: the C functions of `shim.c`.
//! - [`change`]: whether the catalog changed.
//! - [`error`]: errors and their SQLSTATEs. [`role`]: whose rights code runs with. [`settings`]: `damson.*`.

pub mod change;
pub mod datum;
pub mod error;
pub mod role;
pub mod settings;
pub mod shim;
pub mod spi;
pub mod work;
