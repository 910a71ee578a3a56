//! For `make bench` alone (feature `bench`). `bench_read`: what reading costs, and what it could not cost less.
//! `bench_score`: what scoring costs the engine.

use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Error, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::work;
use engine::Kind;
use engine::frame::Selection;
use pgrx::prelude::*;
use std::time::Instant;

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

/// Reads some columns of a source and forgets them; gives the microseconds of the reading alone. `bench/lineage.py`
/// declares it.
#[pg_extern(sql = false)]
fn bench_read_columns(source: Text, columns: TextArray) -> i64 {
    answer(|| {
        let columns = columns.without_nulls("columns")?;
        let clock = Instant::now();
        // The frame goes after the clock was looked at.
        let _frame = query::read(&source, Wanted::Only(&columns), u64::MAX)?;
        Ok::<i64, Error>(clock.elapsed().as_micros() as i64)
    })
}

/// Reads a source and scores it by the engine, in batches on all threads: the milliseconds of the scoring alone.
/// `bench/batch.py` declares it.
#[pg_extern(sql = false)]
fn bench_score(source: Text, model: Text) -> f64 {
    answer(|| {
        let resolved = crate::catalog::resolve(&model)?;
        let scorer = &*resolved.scorer;
        let frame = query::read(&source, Wanted::All, u64::MAX)?;
        let title = work::Title { verb: "score", object: &resolved.model };
        let scored = work::run(title, 0, |cx| {
            let started = Instant::now();
            scorer.score_rows(&frame, Selection::All(frame.rows), cx)?;
            Ok(started.elapsed())
        })?;
        Ok(scored.value.as_secs_f64() * 1e3)
    })
}
