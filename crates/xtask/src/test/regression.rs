//! SQL regression: `pg_test/sql/NAME.sql` goes through psql, and what comes out is compared with
//! `pg_test/expected/NAME.out` (or `NAME_1.out`, for a version that words something differently).
//!
//! Every file runs in a database of its own, a copy of one that holds nothing but the extension; psql runs
//! in `pg_test/`, so that files name fixtures as `fixtures/...`. A line `-- case: what it shows` starts a
//! case, and each case counts as a test; a file without such lines counts as one.

use super::{TEMPLATE, Tally, heading};
use crate::cluster::Cluster;
use crate::failure::{Context, Result};
use crate::tree::Tree;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The database that each file finds itself in.
const DATABASE: &str = "regression";

/// What starts a case.
const CASE: &str = "-- case:";

/// Runs every file whose name contains `only`.
pub fn all(tree: &Tree, cluster: &Cluster, only: Option<&str>) -> Result<Tally> {
    let files = files(tree, only)?;
    let mut total = Tally::default();
    if !files.is_empty() {
        heading(&format!("PostgreSQL {}: SQL regression", cluster.server.major));
    }
    for file in files {
        let started = Instant::now();
        let actual = output_of(tree, cluster, &file)?;
        let (tally, told) = judge(tree, &file, &actual)?;
        let verdict = if tally.failed == 0 { "ok    " } else { "FAILED" };
        println!(
            "{verdict} {:24} {:4} cases {:7.1} s",
            name(&file),
            tally.passed + tally.failed,
            started.elapsed().as_secs_f64()
        );
        print!("{told}");
        total.add(tally);
    }
    Ok(total)
}

/// Writes what file `wanted` prints as its expected output. On another version than the default one the
/// alternative file is written, and only when the output differs.
pub fn accept(tree: &Tree, cluster: &Cluster, wanted: &str) -> Result<()> {
    let files = files(tree, Some(wanted))?;
    let file = files.iter().find(|file| name(file) == wanted);
    let file = file.ok_or_else(|| format!("there is no pg_test/sql/{wanted}.sql"))?;
    let actual = output_of(tree, cluster, file)?;
    let expected = |suffix: &str| tree.root.join(format!("pg_test/expected/{wanted}{suffix}.out"));
    let main = cluster.server.major == crate::build::DEFAULT_MAJOR;
    if !main && fs::read_to_string(expected("")).is_ok_and(|text| text == actual) {
        println!("the output is as in {}", expected("").display());
        return Ok(());
    }
    let target = expected(if main { "" } else { "_1" });
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).context(|| folder.display().to_string())?;
    }
    fs::write(&target, &actual).context(|| target.display().to_string())?;
    println!("{actual}\nwritten: {}; read it before you commit it", target.display());
    Ok(())
}

fn files(tree: &Tree, only: Option<&str>) -> Result<Vec<PathBuf>> {
    let folder = tree.root.join("pg_test/sql");
    let entries = fs::read_dir(&folder).context(|| folder.display().to_string())?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "sql"))
        .filter(|path| only.is_none_or(|only| name(path).contains(only)))
        .collect();
    files.sort();
    Ok(files)
}

fn name(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Where the output of a run is left for reading.
fn result_file(tree: &Tree, file: &Path) -> Result<PathBuf> {
    let folder = tree.build.join("results");
    fs::create_dir_all(&folder).context(|| folder.display().to_string())?;
    Ok(folder.join(format!("{}.out", name(file))))
}

/// Runs one file in a fresh database and returns what psql printed.
fn output_of(tree: &Tree, cluster: &Cluster, file: &Path) -> Result<String> {
    cluster.query("postgres", &format!("DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)"))?;
    cluster.query("postgres", &format!("CREATE DATABASE {DATABASE} TEMPLATE {TEMPLATE}"))?;
    let result = result_file(tree, file)?;
    let open = |file: &Path| File::open(file).context(|| file.display().to_string());
    let out = File::create(&result).context(|| result.display().to_string())?;
    let err = out.try_clone().context(|| result.display().to_string())?;
    let status = cluster
        .client("psql", DATABASE)?
        .args(["-a", "-q", "-P", "pager=off", "-v", "ON_ERROR_STOP=0"])
        .current_dir(tree.root.join("pg_test"))
        .env(
            "PGOPTIONS",
            "-c statement_timeout=600s -c datestyle=ISO -c intervalstyle=postgres -c damson.progress=off",
        )
        .env("PGCLIENTENCODING", "UTF8")
        .env("LC_ALL", "C.UTF-8")
        .env_remove("COLUMNS")
        .stdin(open(file)?)
        .stdout(Stdio::from(out))
        .stderr(Stdio::from(err))
        .status()
        .context(|| "psql")?;
    let mut text = fs::read(&result).context(|| result.display().to_string())?;
    if !status.success() {
        // psql fails when it lost the server; its message alone may not show it.
        text.extend_from_slice(format!("psql: {status}\n").as_bytes());
        fs::write(&result, &text).context(|| result.display().to_string())?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Counts the cases of one file, and words the difference when there is one.
fn judge(tree: &Tree, file: &Path, actual: &str) -> Result<(Tally, String)> {
    let name = name(file);
    let mut nearest: Option<(Tally, PathBuf)> = None;
    for suffix in ["", "_1", "_2"] {
        let path = tree.root.join(format!("pg_test/expected/{name}{suffix}.out"));
        let Ok(bytes) = fs::read(&path) else { continue };
        let tally = compare(&String::from_utf8_lossy(&bytes), actual);
        if nearest.as_ref().is_none_or(|(best, _)| tally.failed < best.failed) {
            nearest = Some((tally, path));
        }
    }
    match nearest {
        None => {
            let told = format!(
                "  no pg_test/expected/{name}.out; to write it: cargo run --release -p xtask -- test --accept {name}\n"
            );
            Ok((Tally::one(false), told))
        }
        Some((tally, _)) if tally.failed == 0 => Ok((tally, String::new())),
        Some((tally, path)) => {
            // diff exits with 1 when it has something to show.
            let diff = Command::new("diff").arg("-U3").arg(&path).arg(result_file(tree, file)?).output();
            let diff = diff.context(|| "diff")?;
            Ok((tally, String::from_utf8_lossy(&diff.stdout).into_owned()))
        }
    }
}

/// Compares case by case: a case holds when it came out word for word.
fn compare(expected: &str, actual: &str) -> Tally {
    let (wanted, got) = (cases(expected), cases(actual));
    // What stands before the first case is no case of its own, unless it is the whole file or it differs.
    let lead = usize::from(wanted.len() > 1 && wanted.first() == got.first());
    let held = wanted.iter().filter(|case| got.contains(case)).count();
    let new = got.iter().filter(|case| !wanted.contains(case)).count();
    let failed = (wanted.len() - held).max(new).max(usize::from(expected != actual));
    Tally { passed: (wanted.len() - lead).saturating_sub(failed), failed, skipped: 0 }
}

/// The text before the first case, then each case.
fn cases(text: &str) -> Vec<String> {
    let mut cases = vec![String::new()];
    for line in text.split_inclusive('\n') {
        if line.starts_with(CASE) {
            cases.push(String::new());
        }
        if let Some(case) = cases.last_mut() {
            case.push_str(line);
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "set up\n-- case: one\n1\n-- case: two\n2\n";

    #[test]
    fn counts_each_case_and_not_the_lines_before_them() {
        assert_eq!(compare(FILE, FILE), Tally { passed: 2, failed: 0, skipped: 0 });
        assert_eq!(compare("plain\n", "plain\n"), Tally { passed: 1, failed: 0, skipped: 0 });
    }

    #[test]
    fn fails_the_case_that_differs_and_keeps_the_others() {
        let tally = compare(FILE, &FILE.replace("\n2\n", "\n3\n"));
        assert_eq!(tally, Tally { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(compare("plain\n", "other\n"), Tally { passed: 0, failed: 1, skipped: 0 });
    }

    #[test]
    fn fails_when_only_the_lead_or_the_order_differs() {
        assert_eq!(compare(FILE, &FILE.replace("set", "sat")).failed, 1);
        assert_eq!(compare(FILE, "set up\n-- case: two\n2\n-- case: one\n1\n").failed, 1);
    }

    #[test]
    fn fails_a_case_that_is_missing_and_a_case_that_is_new() {
        assert_eq!(compare(FILE, "set up\n-- case: two\n2\n"), Tally { passed: 1, failed: 1, skipped: 0 });
        assert_eq!(compare(FILE, &format!("{FILE}-- case: three\n")).failed, 1);
        assert_eq!(compare(FILE, "").failed, 3);
    }
}
