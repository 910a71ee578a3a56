//! Client tests: `tests/`, pytest over real connections.
//!
//! What they learn of the server comes by the environment, and `tests/conftest.py` makes fixtures of it.

use super::{TEMPLATE, Tally, heading};
use crate::cluster::Cluster;
use crate::command::tee;
use crate::failure::Result;
use crate::tree::Tree;
use std::process::Command;

/// pytest's exit code when nothing matched.
const NO_TESTS: &str = "no tests ran";

/// Runs the client tests whose name contains `only`.
pub fn all(tree: &Tree, cluster: &Cluster, only: Option<&str>) -> Result<Tally> {
    heading(&format!("PostgreSQL {}: client tests", cluster.server.major));
    let scratch = cluster.folder.join("scratch");
    tree.make_server_folder(&scratch)?;
    let mut pytest = Command::new(tree.python());
    pytest
        .current_dir(tree.root.join("tests"))
        .args(["-m", "pytest", "-q", "-rfEs", "--color=no", "--durations=5", "-p", "no:cacheprovider"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("DAMSON_DSN", cluster.dsn("postgres")?)
        .env(
            "DAMSON_TCP_DSN",
            format!("host=127.0.0.1 port={} user=postgres dbname=postgres", cluster.port()?),
        )
        .env("DAMSON_PASSWORD", cluster.password()?)
        .env("DAMSON_TEMPLATE", TEMPLATE)
        .env("DAMSON_BINDIR", &cluster.server.bindir)
        .env("DAMSON_PG_MAJOR", cluster.server.major.to_string())
        .env("DAMSON_SCRATCH", &scratch)
        .env_remove("RUST_BACKTRACE");
    if let Some(user) = &tree.server_user {
        pytest.env("DAMSON_OS_USER", &user.name);
    }
    if let Some(only) = only {
        pytest.args(["-k", only]);
    }
    let (succeeded, printed) = tee(&mut pytest)?;
    let last = printed.lines().rev().find(|line| line.contains(" in ")).unwrap_or_default();
    let mut tally = pytest_tally(last);
    let ran_none = only.is_some() && (last.contains(NO_TESTS) || last.contains("deselected"));
    if !succeeded && tally.failed == 0 && !(ran_none && tally == Tally::default()) {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads pytest's last line: `2 failed, 3 passed, 1 skipped in 0.12s`. An error is a failure.
fn pytest_tally(line: &str) -> Tally {
    let mut tally = Tally::default();
    let words: Vec<&str> =
        line.trim_matches(['=', ' ']).split([' ', ',']).filter(|w| !w.is_empty()).collect();
    for pair in words.windows(2) {
        let [count, what] = pair else { continue };
        let Ok(count) = count.parse::<usize>() else { continue };
        match *what {
            "passed" => tally.passed += count,
            "failed" | "error" | "errors" => tally.failed += count,
            "skipped" | "xfailed" => tally.skipped += count,
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary_of_pytest() {
        let line = "==== 2 failed, 3 passed, 1 skipped, 4 warnings, 1 error in 0.12s ====";
        assert_eq!(pytest_tally(line), Tally { passed: 3, failed: 3, skipped: 1 });
        assert_eq!(pytest_tally("7 passed in 1.00s"), Tally { passed: 7, failed: 0, skipped: 0 });
        assert_eq!(pytest_tally("no tests ran in 0.01s"), Tally::default());
    }
}
