//! `bench_read`, for `make bench` alone (feature `bench`): what reading costs, and what it could not cost less.

use crate::pg::datum::Text;
use crate::pg::error::{Error, answer};
use crate::pg::query::{self, Wanted};
use engine::Kind;
use pgrx::prelude::*;

/// Reads a source and forgets it: into a frame ("frame"), only taken apart ("deform"), or not looked at ("scan").
/// `bench/read.py` declares it, so that the extension's SQL is the same with and without the feature.
#[pg_extern(sql = false)]
fn bench_read(source: Text, what: Text) -> i64 {
    answer(|| match what.as_ref() {
        "frame" => Ok(query::read(&source, Wanted::All, u64::MAX)?.rows as i64),
        "deform" => query::count(&source, true),
        "scan" => query::count(&source, false),
        other => Err(Error::new(Kind::Parameter, format!("cannot read as {other}"))),
    })
}
