//! What needs no server: formatting, the walls, clippy, rustdoc, and the crates' own tests.

use super::{Tally, heading};
use crate::build;
use crate::command::{succeeds, tee};
use crate::failure::{Context, Result};
use crate::server::Server;
use crate::tree::Tree;
use std::fs;
use std::path::{Path, PathBuf};

/// Where `unsafe` may stand: the doors to the server, and the kernels of the neural engine.
const UNSAFE_ALLOWED: [&str; 4] = ["src/pg/", "src/worker/", "crates/nn/src/kernels", "crates/nn/src/cuda"];

/// Words that the pure crates must not know.
const SERVER_WORDS: [&str; 4] = ["pgrx", "pg_sys", "postgres", "greenplum"];

/// Formatting, walls, clippy and rustdoc: each counts as one test.
pub fn all(tree: &Tree) -> Result<Tally> {
    let server = Server::installed(tree, build::DEFAULT_MAJOR)?;
    let cargo = |arguments: &[&str]| {
        let mut command = build::cargo(tree, &server);
        command.args(arguments);
        command
    };
    let mut tally = Tally::default();
    heading("Formatting");
    tally.add(Tally::one(succeeds(&mut cargo(&["fmt", "--all", "--check"]))?));
    heading("The walls between the engine and the server");
    let breaches = breaches(tree)?;
    breaches.iter().for_each(|breach| eprintln!("{breach}"));
    tally.add(Tally::one(breaches.is_empty()));
    heading("Clippy");
    let clippy =
        ["clippy", "--release", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"];
    tally.add(Tally::one(succeeds(&mut cargo(&clippy))?));
    heading("Rustdoc");
    let doc = ["doc", "--release", "--quiet", "--workspace", "--no-deps", "--document-private-items"];
    tally.add(Tally::one(succeeds(cargo(&doc).env("RUSTDOCFLAGS", "--deny warnings"))?));
    Ok(tally)
}

/// The tests of every crate but the extension, whose tests run in a server.
pub fn crates(tree: &Tree) -> Result<Tally> {
    heading("Tests of the crates");
    let server = Server::installed(tree, build::DEFAULT_MAJOR)?;
    let mut command = build::cargo(tree, &server);
    command.args(["test", "--release", "--quiet", "--no-fail-fast", "--workspace", "--exclude", "damson"]);
    let (succeeded, printed) = tee(&mut command)?;
    let mut tally = cargo_tally(&printed);
    if !succeeded && tally.failed == 0 {
        // It did not compile, or a test program died.
        tally.failed = 1;
    }
    Ok(tally)
}

/// Sums the lines `test result: ok. 3 passed; 0 failed; 1 ignored; ...`.
fn cargo_tally(printed: &str) -> Tally {
    let mut tally = Tally::default();
    for line in printed.lines().filter_map(|line| line.trim().strip_prefix("test result: ")) {
        let count = |what: &str| {
            line.split([';', '.'])
                .find_map(|part| part.trim().strip_suffix(what))
                .and_then(|number| number.trim().parse::<usize>().ok())
                .unwrap_or(0)
        };
        tally.add(Tally { passed: count("passed"), failed: count("failed"), skipped: count("ignored") });
    }
    tally
}

/// Every line of the sources that breaks one of the walls.
fn breaches(tree: &Tree) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for folder in ["src", "crates"] {
        sources(&tree.root.join(folder), &mut files)?;
    }
    files.sort();
    let mut found = Vec::new();
    for path in files {
        let file = path.strip_prefix(&tree.root).unwrap_or(&path).display().to_string();
        let text = fs::read_to_string(&path).context(|| &file)?;
        for (number, line) in text.lines().enumerate() {
            if let Some(why) = breach(&file, line) {
                found.push(format!("{file}:{}: {why}: {}", number + 1, line.trim()));
            }
        }
    }
    Ok(found)
}

/// The Rust files and manifests under `folder`.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).context(|| folder.display().to_string())?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, files)?;
        } else if path.extension().is_some_and(|e| e == "rs") || path.ends_with("Cargo.toml") {
            files.push(path);
        }
    }
    Ok(())
}

/// Why this line of this file may not be, if it may not.
fn breach(file: &str, line: &str) -> Option<&'static str> {
    let code = line.split("//").next().unwrap_or_default();
    let pure =
        ["crates/engine/", "crates/nn/", "crates/report/"].iter().any(|folder| file.starts_with(folder));
    let lower = code.to_lowercase();
    let prose = file.ends_with(".toml") && lower.starts_with("description");
    if pure && !prose && SERVER_WORDS.iter().any(|word| lower.contains(word)) {
        return Some("the pure crates name no server");
    }
    if file.starts_with("src/") && !file.starts_with("src/api/") && code.contains("#[pg_extern") {
        return Some("#[pg_extern] stands in src/api alone");
    }
    let is_unsafe = words(code).any(|word| word == "unsafe");
    if file.ends_with(".rs") && is_unsafe && !UNSAFE_ALLOWED.iter().any(|place| file.starts_with(place)) {
        return Some("unsafe stands in src/pg, src/worker and the kernels of crates/nn alone");
    }
    None
}

/// The identifiers of a line of code, strings left out.
fn words(code: &str) -> impl Iterator<Item = &str> {
    let outside = code.split('"').step_by(2);
    outside.flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_the_results_of_several_test_programs() {
        let printed = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s\n\
                       noise\n\
                       test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.0s\n";
        assert_eq!(cargo_tally(printed), Tally { passed: 13, failed: 2, skipped: 1 });
    }

    #[test]
    fn finds_each_breach_of_the_walls() {
        let broken = [
            ("crates/engine/src/frame.rs", "use pgrx::prelude::*;"),
            ("crates/nn/Cargo.toml", "pgrx = \"=0.18.1\""),
            ("crates/engine/src/run.rs", "let x = pg_sys::work_mem;"),
            ("src/catalog/models.rs", "#[pg_extern(stable)]"),
            ("src/api/train.rs", "let x = unsafe { f() };"),
            ("crates/engine/src/run.rs", "unsafe impl Send for A {}"),
        ];
        for (file, line) in broken {
            assert!(breach(file, line).is_some(), "{file}: {line}");
        }
    }

    #[test]
    fn lets_pass_what_is_allowed() {
        let fine = [
            ("crates/engine/src/lib.rs", "//! knows no Postgres"),
            ("src/api/train.rs", "#[pg_extern(stable)]"),
            ("src/pg/datum.rs", "unsafe { f() }"),
            ("crates/nn/src/kernels/avx512.rs", "unsafe fn dot() {}"),
            ("src/api/train.rs", "#![deny(unsafe_op_in_unsafe_fn)] // unsafe"),
            ("crates/xtask/src/x.rs", "let unsafe_places = 4;"),
            ("crates/nn/Cargo.toml", "description = \"pure Rust that knows no Postgres\""),
        ];
        for (file, line) in fine {
            assert_eq!(breach(file, line), None, "{file}: {line}");
        }
    }
}
