//! `xtask test`: every check and every test, and one closing line that counts them all.
//!
//! The order is cheapest first. A failure does not end the run: the rest still tells something, and the
//! closing line and the exit code tell the failure.

mod checks;
mod clients;
mod regression;

use crate::cluster::{Cluster, ensure_database};
use crate::failure::Result;
use crate::install;
use crate::options::Options;
use crate::reference;
use crate::tree::Tree;

/// The versions that a full run covers: Debian's, and the newest.
const MAJORS: [u16; 2] = [15, 18];

/// The cluster that a run makes, and removes when all went well.
const CLUSTER: &str = "test";

/// The database that holds nothing but the extension; tests start from copies of it.
const TEMPLATE: &str = "damson_template";

/// How many tests went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that held.
    pub passed: usize,
    /// Those that did not, counting a runner that could not run as one.
    pub failed: usize,
    /// Those that said they could not run here.
    pub skipped: usize,
}

impl Tally {
    /// One test, passed or failed.
    pub fn one(passed: bool) -> Tally {
        Tally { passed: usize::from(passed), failed: usize::from(!passed), skipped: 0 }
    }

    /// Adds another count.
    pub fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Runs what the options ask for; `false` when something failed.
pub fn run(tree: &Tree, options: &Options) -> Result<bool> {
    if let Some(name) = &options.accept {
        let cluster = fresh_cluster(tree, options.major())?;
        regression::accept(tree, &cluster, name)?;
        return cluster.remove().map(|()| true);
    }
    let majors = options.pg.map_or(MAJORS.to_vec(), |major| vec![major]);
    let only = options.only.as_deref();
    let (mut tally, mut parts) = (Tally::default(), Vec::new());
    let mut note = |part: String, count: Tally| {
        tally.add(count);
        parts.push(format!("{part}: {count}"));
    };
    if only.is_none() {
        note("checks".to_string(), checks::all(tree)?);
        note("crates".to_string(), checks::crates(tree)?);
    }
    for major in majors {
        heading(&format!("PostgreSQL {major}: build, install, start"));
        let cluster = match fresh_cluster(tree, major) {
            Ok(cluster) => cluster,
            Err(failure) => {
                eprintln!("error: {failure}");
                note(format!("PostgreSQL {major}"), Tally::one(false));
                continue;
            }
        };
        let mut count = regression::all(tree, &cluster, only)?;
        // Settings and signatures print alike on every version; one look is enough.
        if only.is_none() && major == MAJORS[0] {
            count.add(Tally::one(reference::is_current(tree, &cluster, TEMPLATE)?));
        }
        note(format!("PostgreSQL {major}, SQL"), count);
        let clients = clients::all(tree, &cluster, only)?;
        note(format!("PostgreSQL {major}, clients"), clients);
        count.add(clients);
        if count.failed == 0 {
            cluster.remove()?;
        } else {
            cluster.stop()?;
            eprintln!("the server's log: {}", cluster.log().display());
        }
    }
    heading("Summary");
    if only.is_some() && tally == Tally::default() {
        return Err(format!("no test's name contains '{}'", only.unwrap_or_default()).into());
    }
    println!("{}\n{tally}", parts.join("\n"));
    Ok(tally.failed == 0)
}

/// The checks alone, as a first look before a commit.
pub fn check(tree: &Tree) -> Result<bool> {
    let tally = checks::all(tree)?;
    println!("\n{tally}");
    Ok(tally.failed == 0)
}

/// Prints what comes next.
fn heading(text: &str) {
    println!("\n== {text}");
}

/// Builds, installs, and starts an empty cluster with the template database in it.
fn fresh_cluster(tree: &Tree, major: u16) -> Result<Cluster<'_>> {
    let cluster = Cluster::of(tree, install::into_private(tree, major, &[])?, CLUSTER);
    cluster.remove()?;
    cluster.start()?;
    ensure_database(&cluster, TEMPLATE)?;
    Ok(cluster)
}
