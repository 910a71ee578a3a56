//! Damson's developer tool. The `Makefile` calls it; it can as well be called by hand with
//! `cargo run --release -q -p xtask -- <verb>`.
//!
//! One file per verb. Every external command is echoed before it runs, and every failure is a value that
//! names the file or the command: nothing here panics.

mod bench;
mod build;
mod cluster;
mod command;
mod demo;
mod failure;
mod install;
mod options;
mod package;
mod reference;
mod server;
mod sql;
mod stamp;
mod test;
mod tree;

use failure::Result;
use options::Options;
use std::process::ExitCode;
use tree::Tree;

const HELP: &str = "\
usage: xtask <verb> [options]

  sql       [--pg N]                        print the extension's SQL, generated from the built library
  install   [--pg N]                        build, and install into the private server N (15, 18, ...)
            --pg-config FILE [--destdir D]  build, and install into the server of this pg_config
  cluster   start|stop|restart|status [--pg N] [--name NAME]
  psql      [--pg N] [psql arguments]       install, start, create the extension, open psql
  check                                     formatting, walls, clippy, rustdoc: what needs no server
  test      [--pg N] [--only NAME] [--accept NAME]
                                            every check and test; --only runs the SQL regression files and
                                            client tests whose name contains NAME; --accept writes what
                                            SQL file NAME prints as its expected output
  demo      [--pg N]                        the story of the README, in SQL that it echoes
  reference [--pg N]                        write docs/reference.md from the extension's comments
  package   --pg-config FILE                a tarball that installs without Rust
  bench     [NAME]                          benchmarks, each printing a ratio
  stop                                      stop every private cluster
  clean                                     stop, and remove what was built
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let verb = arguments.next().unwrap_or_default();
    match run(&verb, arguments.collect()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one verb; `false` when it ran to its end and found failures that it has already shown.
fn run(verb: &str, arguments: Vec<String>) -> Result<bool> {
    let options = Options::parse(arguments)?;
    let tree = Tree::open()?;
    match verb {
        "sql" => sql::print(&tree, &options)?,
        "install" => install::run(&tree, &options)?,
        "cluster" => cluster::run(&tree, &options)?,
        "psql" => cluster::psql(&tree, &options)?,
        "check" => return test::check(&tree),
        "test" => return test::run(&tree, &options),
        "demo" => demo::run(&tree, &options)?,
        "package" => package::run(&tree, &options)?,
        "reference" => reference::run(&tree, &options)?,
        "bench" => bench::run(&tree, &options)?,
        "stop" => cluster::stop_all(&tree)?,
        "clean" => cluster::clean(&tree)?,
        "" | "help" | "--help" | "-h" => print!("{HELP}"),
        other => return Err(format!("no verb '{other}'\n\n{HELP}").into()),
    }
    Ok(true)
}
