//! The runner on threads: deals rows to shards, merges in a fixed order, asks for the next round.

use crate::error::Result;
use crate::learner::{Cx, Learner, Merge, Sharding, Step};
use crate::schema::{Buffer, Schema};
use rayon::prelude::*;
use std::ops::Range;

/// Encoded rows to train on, read again each round by those learners that need it. Called from many threads.
pub trait Rows: Sync {
    /// How many.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Encodes rows `range` into `into`, replacing what it holds and numbering from `range.start`.
    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()>;
}

/// Rows a block: about 8 MiB of encoded features and images. It depends on the data's shape alone, never on the
/// machine: blocks are where floating-point sums are cut, so the same blocks give the same bits.
pub fn block_rows(schema: &Schema) -> usize {
    let bytes = schema.width() * 8 + schema.image.map_or(0, |i| i.bytes()) + 16;
    ((8 << 20) / bytes).clamp(64, 8192)
}

/// Trains on the current rayon pool.
pub fn fit<L: Learner>(params: &L::Params, schema: &Schema, rows: &dyn Rows, cx: &Cx) -> Result<L::Model> {
    let block = block_rows(schema);
    let blocks = rows.len().div_ceil(block);
    let shards: Vec<Range<usize>> = match L::INFO.sharding {
        Sharding::Blocks => (0..blocks).map(|b| b..b + 1).collect(),
        Sharding::Whole => std::iter::once(0..blocks).collect(),
        Sharding::Exact => {
            let n = rayon::current_num_threads().clamp(1, blocks.max(1));
            (0..n).map(|i| blocks * i / n..blocks * (i + 1) / n).collect()
        }
    };
    let mut locals: Vec<L::Local> = shards.iter().map(|_| L::Local::default()).collect();
    let mut state = L::init(params, schema, cx)?;
    // A wave bounds how many partials wait to be merged; it does not touch the order of merging.
    let wave = rayon::current_num_threads() * 4;
    loop {
        cx.check()?;
        let mut total = L::zero(params, &state);
        for (shards, locals) in shards.chunks(wave).zip(locals.chunks_mut(wave)) {
            let partials: Vec<Result<L::Partial>> = shards
                .par_iter()
                .zip(locals.par_iter_mut())
                .with_max_len(1)
                .map_init(Buffer::default, |buffer, (shard, local)| {
                    let mut partial = L::zero(params, &state);
                    if L::needs_rows(&state, local) {
                        for b in shard.clone() {
                            cx.check()?;
                            rows.read(b * block..((b + 1) * block).min(rows.len()), buffer)?;
                            L::accumulate(params, &state, local, &buffer.chunk(), &mut partial, cx)?;
                        }
                    }
                    L::finish(params, &state, local, &mut partial, cx)?;
                    Ok(partial)
                })
                .collect();
            for partial in partials {
                total.merge(partial?)?;
            }
        }
        match L::update(params, state, total, cx)? {
            Step::Again(next) => state = next,
            Step::Done(model) => return Ok(model),
        }
    }
}
