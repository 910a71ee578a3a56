//! What the view `damson.checkpoints` reads. Its SQL stands before the view's, in `sql/checkpoints.sql`.

use crate::pg::datum::Text;
use crate::pg::error::answer;
use crate::pg::{checkpoints as files, role};
use pgrx::pg_sys::Oid;
use pgrx::prelude::*;
use std::time::UNIX_EPOCH;

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // It is that of the SQL function.
fn checkpoints() -> TableIterator<
    'static,
    (
        name!(model, Text),
        name!(algorithm, Text),
        name!(epoch, i64),
        name!(params, Text),
        name!(source, Text),
        name!(role, Oid),
        name!(written, f64),
        name!(bytes, i64),
    ),
> {
    let user = role::current_user();
    let kept = answer(files::all).into_iter().filter(move |k| role::has_role(user, k.role));
    TableIterator::new(kept.map(|k| {
        let subject = k.seen.subject;
        (
            subject.model.into(),
            subject.algorithm.into(),
            k.seen.round as i64,
            subject.params.into(),
            subject.source.into(),
            k.role,
            k.written.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            k.bytes as i64,
        )
    }))
}
