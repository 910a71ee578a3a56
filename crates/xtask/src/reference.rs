//! `xtask reference`: writes `docs/reference.md` from the comments of an installed extension, so that the reference
//! says what the code says. The tests compare the file with what would be written.

use crate::cluster::{Cluster, DEV, ensure_database};
use crate::command::output;
use crate::failure::{Context, Result};
use crate::install;
use crate::options::Options;
use crate::tree::Tree;
use std::fs;

const DATABASE: &str = "reference";

/// Writes the reference.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let cluster = Cluster::of(tree, install::into_private(tree, options.major(), &[])?, DEV);
    cluster.start()?;
    cluster.query("postgres", &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))?;
    ensure_database(&cluster, DATABASE)?;
    let file = tree.root.join("docs/reference.md");
    fs::write(&file, text(tree, &cluster, DATABASE)?).context(|| file.display().to_string())?;
    println!("wrote {}", file.display());
    Ok(())
}

/// Whether the committed reference is the one that `database` would give.
pub fn is_current(tree: &Tree, cluster: &Cluster, database: &str) -> Result<bool> {
    let file = tree.root.join("docs/reference.md");
    let committed = fs::read_to_string(&file).context(|| file.display().to_string())?;
    let current = text(tree, cluster, database)? == committed;
    if !current {
        eprintln!("docs/reference.md is out of date: run `make reference`");
    }
    Ok(current)
}

fn text(tree: &Tree, cluster: &Cluster, database: &str) -> Result<String> {
    let script = tree.root.join("docs/reference.sql");
    let text =
        output(cluster.client("psql", database)?.args(["-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script))?;
    Ok(format!("{}\n", text.trim_end()))
}
