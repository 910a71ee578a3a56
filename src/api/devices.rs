//! What the view `damson.devices` shows. Its SQL stands before the view, in `sql/devices.sql`.

use crate::pg::datum::{Jsonb, Text};
use crate::worker::device::state::{self, Found};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // It is the view's row.
fn devices() -> TableIterator<
    'static,
    (
        name!(device, Text),
        name!(state, Text),
        name!(name, Option<Text>),
        name!(reason, Option<Text>),
        name!(pid, Option<i32>),
        name!(memory, Option<i64>),
        name!(models, Option<i64>),
        name!(model_memory, Option<i64>),
        name!(requests, Option<i64>),
        name!(rows, Option<i64>),
        name!(batches, Option<i64>),
        name!(largest_batch, Option<i64>),
        name!(batch_sizes, Option<Jsonb>),
        name!(waited, Option<i64>),
        name!(computed, Option<i64>),
        name!(trainings, Option<i64>),
        name!(training_memory, Option<i64>),
        name!(epochs, Option<i64>),
    ),
> {
    TableIterator::new(state::all().into_iter().map(|found| {
        let Found { device, state, name, reason, worker } = found;
        let of = |value: fn(&state::Worker) -> i64| worker.as_ref().map(value);
        (
            device.into(),
            state.into(),
            name.map(Text),
            reason.map(Text),
            worker.as_ref().map(|w| w.pid),
            of(|w| w.memory).filter(|m| *m > 0),
            of(|w| w.models),
            of(|w| w.model_memory),
            of(|w| w.requests),
            of(|w| w.rows),
            of(|w| w.batches),
            of(|w| w.largest_batch),
            worker.as_ref().map(|w| Jsonb(w.batch_sizes.clone())),
            of(|w| w.waited),
            of(|w| w.computed),
            of(|w| w.trainings),
            of(|w| w.training_memory),
            of(|w| w.epochs),
        )
    }))
}
