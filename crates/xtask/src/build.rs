//! Cargo: the extension's library for one PostgreSQL version.
//!
//! The default version builds in cargo's own target folder, which plain `cargo build` shares; every other
//! one has a folder of its own beneath, so that switching versions rebuilds nothing.

use crate::command::run;
use crate::failure::Result;
use crate::server::Server;
use crate::tree::Tree;
use std::path::PathBuf;
use std::process::Command;

/// The version that the extension's default feature names.
pub const DEFAULT_MAJOR: u16 = 15;

/// Cargo in the tree's root, set up to build against `server`.
pub fn cargo(tree: &Tree, server: &Server) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    command.current_dir(&tree.root).env("PGRX_PG_CONFIG_PATH", &server.pg_config);
    command
}

/// Builds the extension for `server`, with features beyond the version's, and returns the library.
pub fn library(tree: &Tree, server: &Server, features: &[&str]) -> Result<PathBuf> {
    let mut target = std::env::var_os("CARGO_TARGET_DIR").map_or(tree.root.join("target"), PathBuf::from);
    if target.is_relative() {
        target = tree.root.join(target);
    }
    let mut command = cargo(tree, server);
    command.args(["build", "--release", "-p", "damson", "--lib"]);
    // No feature flags for the default version: the same build as plain `cargo build`, so shared with it.
    if server.major != DEFAULT_MAJOR {
        target = target.join(format!("pg{}", server.major));
        command.args(["--no-default-features", "--features", &format!("pg{}", server.major)]);
    }
    for feature in features {
        command.args(["--features", feature]);
    }
    run(command.arg("--target-dir").arg(&target))?;
    Ok(target.join("release/libdamson.so"))
}
