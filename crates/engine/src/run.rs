//! The runner on threads: deals rows to shards, merges in a fixed order, asks for the next round.

use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Learner, Merge, Model, Sharding, Step};
use crate::schema::{Buffer, Chunk, Schema, Task};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Encoded rows to train on, read again each round by those learners that need it. Called from many threads.
pub trait Rows: Sync {
    /// How many.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The first row from `row` on that begins a group; shards of a ranking are cut there. Rows of a group stand
    /// together.
    fn group_edge(&self, row: usize) -> usize {
        row
    }
    /// Encodes rows `range` into `into`, replacing what it holds and numbering from `range.start`.
    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()>;
    /// Whether rows can only be had by a `pass`, and not by `read`.
    fn streamed(&self) -> bool {
        false
    }
    /// Encodes all rows once, in blocks that `take` gets in any order, from threads of the current pool.
    fn pass(&self, _take: &(dyn Fn(&Chunk) -> Result<()> + Sync), _cx: &Cx) -> Result<()> {
        Err(Error::internal("rows are not read in passes"))
    }
}

/// Rows in memory, already encoded: for callers that hold matrices, and for tests.
///
/// ```
/// use engine::{run::Table, schema::{Schema, Task}};
/// let schema = Schema::numeric(2, Task::Regression, 0, 3);
/// let table = Table::new(schema, vec![1., 0., 2., 1., 3., 0.], vec![1., 2., 3.])?;
/// assert_eq!(table.chunk(1..3).row(0), [2., 1.]);
/// # Ok::<(), engine::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Table {
    schema: Schema,
    x: Vec<f64>,
    images: Vec<u8>,
    y: Vec<f64>,
    weight: Vec<f64>,
    offset: Vec<f64>,
    group: Vec<u64>,
}

impl Table {
    /// A table of `schema.rows` rows, shaped as [`Chunk`] says: features row by row, and `y` empty where there is
    /// no target. The values themselves are the caller's business, as for any other [`Rows`].
    ///
    /// # Errors
    /// `Kind::Data` when a length does not fit the schema.
    pub fn new(schema: Schema, x: Vec<f64>, y: Vec<f64>) -> Result<Table> {
        fits("feature values", x.len(), schema.rows * schema.width(), false)?;
        fits("targets", y.len(), schema.rows * schema.targets(), true)?;
        Ok(Table { schema, x, images: vec![], y, weight: vec![], offset: vec![], group: vec![] })
    }

    /// The same table with one positive weight a row.
    ///
    /// # Errors
    /// `Kind::Data` when there are not as many as rows.
    pub fn with_weight(mut self, weight: Vec<f64>) -> Result<Table> {
        fits("weights", weight.len(), self.schema.rows, true)?;
        self.weight = weight;
        Ok(self)
    }

    /// The same table with one offset a row.
    ///
    /// # Errors
    /// `Kind::Data` when there are not as many as rows.
    pub fn with_offset(mut self, offset: Vec<f64>) -> Result<Table> {
        fits("offsets", offset.len(), self.schema.rows, true)?;
        self.offset = offset;
        Ok(self)
    }

    /// The same table with the number of its group for each row.
    ///
    /// # Errors
    /// `Kind::Data` when there are not as many as rows.
    pub fn with_group(mut self, group: Vec<u64>) -> Result<Table> {
        fits("groups", group.len(), self.schema.rows, true)?;
        self.group = group;
        Ok(self)
    }

    /// The same table with one image a row, of the schema's shape.
    ///
    /// # Errors
    /// `Kind::Data` when there are not as many bytes as the schema asks for.
    pub fn with_images(mut self, images: Vec<u8>) -> Result<Table> {
        let each = self.schema.image.map_or(0, |i| i.bytes());
        fits("image bytes", images.len(), self.schema.rows * each, false)?;
        self.images = images;
        Ok(self)
    }

    /// What learners are told of it.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Rows `range`, lent without a copy. The range must lie within the table.
    pub fn chunk(&self, range: Range<usize>) -> Chunk<'_> {
        let (d, image, targets) = (self.schema.width(), self.image_bytes(), self.schema.targets());
        let one = |length: usize| if length == 0 { 0..0 } else { range.clone() };
        Chunk {
            rows: range.len(),
            first: range.start as u64,
            x: &self.x[range.start * d..range.end * d],
            images: &self.images[range.start * image..range.end * image],
            y: &self.y[if self.y.is_empty() { 0..0 } else { range.start * targets..range.end * targets }],
            weight: &self.weight[one(self.weight.len())],
            offset: &self.offset[one(self.offset.len())],
            group: &self.group[one(self.group.len())],
            kept: None,
        }
    }

    fn image_bytes(&self) -> usize {
        if self.images.is_empty() { 0 } else { self.schema.image.map_or(0, |i| i.bytes()) }
    }
}

fn fits(what: &str, found: usize, expected: usize, or_none: bool) -> Result<()> {
    if found == expected || (or_none && found == 0) {
        return Ok(());
    }
    Err(Error::new(Kind::Data, format!("the table has {found} {what}, expected {expected}")))
}

impl Rows for Table {
    fn len(&self) -> usize {
        self.schema.rows
    }

    fn group_edge(&self, row: usize) -> usize {
        edge(&self.group, row, |i| i)
    }

    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()> {
        into.clear(range.start as u64);
        let chunk = self.chunk(range);
        into.rows = chunk.rows;
        into.x.extend_from_slice(chunk.x);
        into.images.extend_from_slice(chunk.images);
        into.y.extend_from_slice(chunk.y);
        into.weight.extend_from_slice(chunk.weight);
        into.offset.extend_from_slice(chunk.offset);
        into.group.extend_from_slice(chunk.group);
        Ok(())
    }
}

/// Buffers that threads take and give back. A new one a block would cost more than the block's work: large memory
/// goes back to the system when it is freed, and each page is cleared when it comes again.
#[derive(Default)]
pub struct Buffers<B = Buffer>(Mutex<Vec<B>>);

impl<B: Default> Buffers<B> {
    /// Lends a buffer, with anything in it.
    pub fn lend<T>(&self, work: impl FnOnce(&mut B) -> T) -> T {
        let free = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = free().pop();
        let mut buffer = taken.unwrap_or_default();
        let done = work(&mut buffer);
        free().push(buffer);
        done
    }
}

/// The first row from `row` on whose group is not that of the row before; `place` says where a row's group is listed.
pub fn edge(group: &[u64], row: usize, place: impl Fn(usize) -> usize) -> usize {
    let same =
        |row: &usize| row.checked_sub(1).is_some_and(|b| group.get(place(b)) == group.get(place(*row)));
    if group.is_empty() { row } else { (row..).find(|row| !same(row)).unwrap_or(row) }
}

/// Rows a block: about 8 MiB of encoded features and images. It depends on the data's shape alone, never on the
/// machine: blocks are where floating-point sums are cut, so the same blocks give the same bits.
pub fn block_rows(schema: &Schema) -> usize {
    let bytes = schema.width() * 8 + schema.image.map_or(0, |i| i.bytes()) + 8 * schema.targets() + 8;
    ((8 << 20) / bytes).clamp(64, 8192)
}

/// Rows that are scored at once: images fewer, as each thread has a block of its own. No sum is cut here.
pub(crate) fn scored_rows(schema: &Schema) -> usize {
    let most = schema.image.map_or(usize::MAX, |i| ((1 << 20) / i.bytes().max(1)).max(1));
    block_rows(schema).min(most)
}

/// Trains on the current rayon pool.
pub fn fit<L: Learner>(params: &L::Params, schema: &Schema, rows: &dyn Rows, cx: &Cx) -> Result<L::Model> {
    Ok(fit_from::<L>(params, schema, rows, (0, L::init(params, schema, cx)?), cx)?.0)
}

/// The same, from the state after so many rounds; with what the model answers for the rows, where the shards know it.
pub fn fit_from<L: Learner>(
    params: &L::Params,
    schema: &Schema,
    rows: &dyn Rows,
    (mut round, mut state): (usize, L::State),
    cx: &Cx,
) -> Result<(L::Model, Option<Vec<f64>>)> {
    let block = block_rows(schema);
    let blocks = rows.len().div_ceil(block);
    let shards: Vec<Range<usize>> = match L::INFO.sharding {
        Sharding::Blocks => (0..blocks).map(|b| b * block..((b + 1) * block).min(rows.len())).collect(),
        Sharding::Whole => std::iter::once(0..rows.len()).collect(),
        Sharding::Exact => {
            let n = rayon::current_num_threads().clamp(1, blocks.max(1));
            let cut = |i: usize| match (blocks * i / n * block).min(rows.len()) {
                row if schema.task == Task::Ranking && row < rows.len() => rows.group_edge(row),
                row => row,
            };
            (0..n).map(|i| cut(i)..cut(i + 1)).collect()
        }
    };
    let mut locals: Vec<L::Local> = shards.iter().map(|_| L::Local::default()).collect();
    // The rows of each shard where they come in passes, in its order.
    let mut dealt: Vec<Vec<Range<usize>>> = vec![];
    if rows.streamed() && L::INFO.sharding != Sharding::Exact {
        return Err(Error::internal("rows that come in passes are dealt to shards of fixed blocks"));
    }
    let buffers = Buffers::default();
    loop {
        cx.check()?;
        let total = if rows.streamed() {
            streamed_round::<L>(params, &state, rows, &mut locals, &mut dealt, cx)
        } else {
            one_round::<L>(params, &state, (rows, block), &shards, &mut locals, &buffers, cx)
        };
        let total = match total {
            Ok(total) => total,
            Err(e) => {
                // What was good until now must not be lost with what these rows led to.
                if e.kind == Kind::Data && L::ADJUSTABLE.is_some() {
                    let kept = cx.observer.checkpoint(round, true, &|| encoded::<L>(round, &state));
                    kept.unwrap_or_else(|e| cx.observer.warning(&e.message));
                }
                return Err(e);
            }
        };
        let step = match L::update(params, state, total, cx)? {
            Step::Again(next) if !locals.iter().any(|local| L::needs_rows(&next, local)) => {
                L::advance(params, next, &mut locals, cx)?
            }
            step => step,
        };
        match step {
            Step::Again(next) => {
                (round, state) = (round + 1, next);
                if L::ADJUSTABLE.is_some() {
                    cx.observer.checkpoint(round, false, &|| encoded::<L>(round, &state))?;
                }
            }
            Step::Done(model) => {
                if !rows.streamed() {
                    dealt = shards.into_iter().map(|rows| vec![rows]).collect();
                }
                let outputs = put_together::<L>(&model, locals, &dealt, rows.len());
                return Ok((model, outputs));
            }
        }
    }
}

/// What all shards find in a round, of rows that come in passes. Blocks are dealt to the shards in turn; `dealt` says
/// which have which.
fn streamed_round<L: Learner>(
    params: &L::Params,
    state: &L::State,
    rows: &dyn Rows,
    locals: &mut [L::Local],
    dealt: &mut Vec<Vec<Range<usize>>>,
    cx: &Cx,
) -> Result<L::Partial> {
    let mut partials: Vec<L::Partial> = locals.iter().map(|_| L::zero(params, state)).collect();
    if locals.iter().any(|local| L::needs_rows(state, local)) {
        let shards: Vec<Mutex<_>> = locals
            .iter_mut()
            .zip(&mut partials)
            .map(|(local, partial)| Mutex::new((local, partial, vec![])))
            .collect();
        let next = AtomicUsize::new(0);
        let take = |chunk: &Chunk| {
            let shard = next.fetch_add(1, Ordering::Relaxed) % shards.len();
            let mut shard = shards[shard].lock().unwrap_or_else(PoisonError::into_inner);
            let (local, partial, rows) = &mut *shard;
            let first = chunk.first as usize;
            rows.push(first..first + chunk.rows);
            L::accumulate(params, state, local, chunk, partial, cx)
        };
        rows.pass(&take, cx)?;
        let shards = shards.into_iter().map(|s| s.into_inner().unwrap_or_else(PoisonError::into_inner).2);
        *dealt = shards.collect();
    }
    let shards = locals.par_iter_mut().zip(partials).with_max_len(1).map(|(local, mut partial)| {
        L::finish(params, state, local, &mut partial, cx)?;
        Ok(partial)
    });
    let mut total = L::zero(params, state);
    for partial in shards.collect::<Vec<Result<L::Partial>>>() {
        total.merge(partial?)?;
    }
    Ok(total)
}

/// What the model answers for the rows that the shards hold, in the order of the rows; none where a shard does not know.
fn put_together<L: Learner>(
    model: &L::Model,
    locals: Vec<L::Local>,
    dealt: &[Vec<Range<usize>>],
    rows: usize,
) -> Option<Vec<f64>> {
    let width = model.outputs();
    let mut all = vec![0.0; rows * width];
    // Each shard writes where its rows stand.
    let mut order: Vec<(usize, usize)> =
        dealt.iter().enumerate().flat_map(|(shard, rows)| (0..rows.len()).map(move |i| (shard, i))).collect();
    // An empty part stands before the one that begins where it does.
    order.sort_unstable_by_key(|(shard, i)| (dealt[*shard][*i].start, dealt[*shard][*i].end));
    let mut parts: Vec<Vec<&mut [f64]>> =
        dealt.iter().map(|rows| rows.iter().map(|_| Default::default()).collect()).collect();
    let (mut rest, mut begin) = (&mut all[..], 0);
    for (shard, i) in order {
        let Range { start, end } = dealt[shard][i].clone();
        let (_, from) = std::mem::take(&mut rest).split_at_mut_checked(start.checked_sub(begin)? * width)?;
        let (part, after) = from.split_at_mut_checked(end.checked_sub(start)? * width)?;
        (parts[shard][i], rest, begin) = (part, after, end);
    }
    let known = locals.into_par_iter().zip(parts).with_max_len(1);
    let known =
        known.map(|(local, parts)| L::outputs(model, local, parts)).reduce(|| true, |one, other| one & other);
    known.then_some(all)
}

/// What [`fit_from`] goes on from after so many rounds.
fn encoded<L: Learner>(round: usize, state: &L::State) -> Result<Vec<u8>> {
    crate::wire::encode(&(round as u64, state))
}

/// What all shards find in a round.
fn one_round<L: Learner>(
    params: &L::Params,
    state: &L::State,
    (rows, block): (&dyn Rows, usize),
    shards: &[Range<usize>],
    locals: &mut [L::Local],
    buffers: &Buffers,
    cx: &Cx,
) -> Result<L::Partial> {
    // A wave bounds how many partials wait to be merged; it does not touch the order of merging.
    let wave = rayon::current_num_threads() * 4;
    let mut total = L::zero(params, state);
    for (shards, locals) in shards.chunks(wave).zip(locals.chunks_mut(wave)) {
        let partials: Vec<Result<L::Partial>> = shards
            .par_iter()
            .zip(locals.par_iter_mut())
            .with_max_len(1)
            .map(|(shard, local)| {
                let mut partial = L::zero(params, state);
                if L::needs_rows(state, local) {
                    buffers.lend(|buffer| {
                        for start in shard.clone().step_by(block) {
                            cx.check()?;
                            rows.read(start..(start + block).min(shard.end), buffer)?;
                            L::accumulate(params, state, local, &buffer.chunk(), &mut partial, cx)?;
                        }
                        Ok::<(), Error>(())
                    })?;
                }
                L::finish(params, state, local, &mut partial, cx)?;
                Ok(partial)
            })
            .collect();
        for partial in partials {
            total.merge(partial?)?;
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_reads_what_it_lends() {
        let schema = Schema::numeric(2, Task::Regression, 0, 3);
        let table = Table::new(schema, (0..6).map(f64::from).collect(), vec![7.0, 8.0, 9.0]).unwrap();
        let table = table.with_weight(vec![1.0, 2.0, 3.0]).unwrap();
        let mut buffer = Buffer::default();
        table.read(1..3, &mut buffer).unwrap();
        assert_eq!((buffer.rows, buffer.first), (2, 1));
        assert_eq!((buffer.chunk().row(1), buffer.y[0], buffer.weight[1]), (&[4.0, 5.0][..], 8.0, 3.0));
    }

    #[test]
    fn table_refuses_lengths_that_do_not_fit() {
        let schema = || Schema::numeric(2, Task::Regression, 0, 3);
        assert_eq!(Table::new(schema(), vec![0.0; 5], vec![]).unwrap_err().kind, Kind::Data);
        assert_eq!(Table::new(schema(), vec![0.0; 6], vec![0.0]).unwrap_err().kind, Kind::Data);
        let table = Table::new(schema(), vec![0.0; 6], vec![]).unwrap();
        assert_eq!(table.with_weight(vec![1.0; 4]).unwrap_err().kind, Kind::Data);
    }
}
