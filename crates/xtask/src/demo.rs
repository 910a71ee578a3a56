//! `xtask demo`: builds, installs, starts the private server, loads real data, and runs `demo/story.sql`
//! through a psql that echoes it.

use crate::cluster::{Cluster, DEV, ensure_database};
use crate::command::run as run_command;
use crate::failure::Result;
use crate::install;
use crate::options::Options;
use crate::tree::Tree;
use std::process::Command;

/// The demo's database; every run makes it anew.
const DATABASE: &str = "demo";

/// Tells the story, and how to go on by hand.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let server = install::into_private(tree, options.major(), &[])?;
    let cluster = Cluster::of(tree, server, DEV);
    cluster.start()?;
    cluster.query("postgres", &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))?;
    ensure_database(&cluster, DATABASE)?;
    run_command(Command::new(tree.python()).arg(tree.root.join("demo/load.py")).arg(cluster.dsn(DATABASE)?))?;
    run_command(
        cluster
            .client("psql", DATABASE)?
            .args(["-a", "-q", "-P", "pager=off", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(tree.root.join("demo/story.sql")),
    )?;
    println!("\nGo on by hand:\n  {}", cluster.psql_command(DATABASE)?);
    println!("`make stop` stops the server, `make clean` removes everything.");
    Ok(())
}
