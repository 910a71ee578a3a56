//! `xtask bench`: the benchmarks of `bench/`, each a Python script that ends with a line
//! `NAME: ratio R (goal <= G)`, or `NAME: skipped (why)` where it lacks its data. Those lines are gathered in
//! `bench/results.txt`.
//!
//! A benchmark gets `DAMSON_DSN`, a database of the private server with the extension in it, and runs in
//! an environment of its own, because the peers it compares with are large.

use crate::cluster::{Cluster, DEV, ensure_database};
use crate::command::{run as run_command, tee};
use crate::failure::{Context, Result};
use crate::install;
use crate::options::Options;
use crate::tree::Tree;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The benchmarks' database, kept between runs with the data they made.
const DATABASE: &str = "bench";

/// Benchmarks of many minutes, which run only where they are named.
const LONG: [&str; 2] = ["cifar10", "fashion_mnist"];

/// Runs the benchmarks, or the one named.
pub fn run(tree: &Tree, options: &Options) -> Result<()> {
    let wanted = options.rest.first().map(String::as_str);
    let scripts = scripts(tree, wanted)?;
    run_command(Command::new(tree.root.join("scripts/setup.sh")).arg("bench"))?;
    let cluster = Cluster::of(tree, install::into_private(tree, options.major(), &["bench"])?, DEV);
    cluster.start()?;
    ensure_database(&cluster, DATABASE)?;
    renew_extension(&cluster)?;
    let (mut lines, mut broken) = (Vec::new(), Vec::new());
    for script in scripts {
        let mut python = Command::new(tree.build.join("bench-venv/bin/python"));
        python.arg(&script).current_dir(tree.root.join("bench")).env("DAMSON_DSN", cluster.dsn(DATABASE)?);
        let (succeeded, printed) = tee(&mut python)?;
        let found = lines.len();
        lines.extend(printed.lines().filter(|line| is_result(line)).map(str::to_string));
        if !succeeded || lines.len() == found {
            broken.push(script.display().to_string());
        }
    }
    let results = tree.root.join("bench/results.txt");
    let text = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    fs::write(&results, &text).context(|| results.display().to_string())?;
    print!("\n{text}");
    if broken.is_empty() { Ok(()) } else { Err(format!("no result from {}", broken.join(", ")).into()) }
}

/// Makes the extension anew where its SQL has changed since it was made. The data stays; models of former runs go.
fn renew_extension(cluster: &Cluster) -> Result<()> {
    if cluster.query(DATABASE, "SELECT damson.version()").is_err() {
        let sql = "SET client_min_messages = warning; DROP EXTENSION damson CASCADE; CREATE EXTENSION damson";
        cluster.query(DATABASE, sql)?;
    }
    Ok(())
}

/// `bench/NAME.py`, in name order; a name that starts with `_` is a library of the others. Without a name wanted, none of
/// the long ones.
fn scripts(tree: &Tree, wanted: Option<&str>) -> Result<Vec<PathBuf>> {
    let folder = tree.root.join("bench");
    let entries = fs::read_dir(&folder).context(|| folder.display().to_string())?;
    let name = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut scripts: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "py") && !name(path).starts_with('_'))
        .filter(|path| match wanted {
            Some(wanted) => name(path) == wanted,
            None => !LONG.contains(&name(path).as_str()),
        })
        .collect();
    scripts.sort();
    match (scripts.is_empty(), wanted) {
        (true, Some(wanted)) => Err(format!("there is no benchmark bench/{wanted}.py").into()),
        _ => Ok(scripts),
    }
}

/// `scoring: ratio 0.91 (goal <= 1.00)`, or `scoring: skipped (there is no data)`
fn is_result(line: &str) -> bool {
    let Some((name, rest)) = line.split_once(": ") else { return false };
    let found = rest.starts_with("ratio ") && rest.contains(" (goal ") || rest.starts_with("skipped (");
    found && !name.contains(' ') && rest.ends_with(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_a_result_line_from_talk() {
        assert!(is_result("scoring: ratio 0.91 (goal <= 1.00)"));
        assert!(is_result("cifar10: skipped (DAMSON_DATA names no folder that has cifar10)"));
        assert!(!is_result("  skipped kddcup99: no file"));
        assert!(!is_result("so the ratio: ratio 0.91 (goal <= 1.00)"));
        assert!(!is_result("scoring: ratio 0.91"));
    }
}
