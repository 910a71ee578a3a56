//! Rows that come one at a time and are scored many at once. Caller: the server's node that batches scoring functions.
//!
//! Scores are those of [`Scorer::score`], row by row, and so are errors: a batch knows the first of its rows that fails
//! by itself, and answers for all rows before it. Neither depends on where batches end, nor on threads.

use crate::error::{Error, Result};
use crate::frame::Value;
use crate::learner::Cx;
use crate::schema::Chunk;
use crate::scorer::{Row, Scorer};
use rayon::prelude::*;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Rows of the first batch: about what somebody looks at.
const FIRST: usize = 16;
/// Rows of the largest batch.
const MOST: usize = 1024;
/// How long a batch should take at most: rows are shown when all of it is scored.
const BATCH_TIME: Duration = Duration::from_millis(200);
/// How long a thread should work before it looks whether it is to stop.
const BLOCK_TIME: Duration = Duration::from_millis(10);
/// Rows of the largest block.
const MOST_OF_BLOCK: usize = 64;
/// Bytes of a block that is computed elsewhere.
const SENT: usize = 4 << 20;

/// Rows to be scored by one model.
#[derive(Default)]
pub struct Batch {
    rows: usize,
    x: Vec<f64>,
    images: Vec<u8>,
    group: Vec<u64>,
    /// Images as they are stored, one after another, where the rows were made by `Scorer::row_to_keep`.
    stored: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    outputs: usize,
    out: Vec<f64>,
    failed: Option<(usize, Error)>,
}

/// The outcome of a block: the first row that failed, if any did, counted from the block's first.
type Failed = Option<(usize, Error)>;

impl Batch {
    /// Forgets all rows, and keeps their memory.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.x.clear();
        self.images.clear();
        self.group.clear();
        self.stored.clear();
        self.ends.clear();
        self.out.clear();
        self.failed = None;
    }

    /// Rows in the batch.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes that its rows take.
    pub fn bytes(&self) -> usize {
        self.x.len() * 8 + self.images.len() + self.group.len() * 8 + self.stored.len() + self.ends.len() * 8
    }

    /// Adds a row whose inputs are all set, and which the model answers.
    #[inline]
    pub fn push(&mut self, row: &Row) {
        self.x.extend_from_slice(&row.x);
        self.group.extend_from_slice(&row.group);
        match &row.kept {
            Some(stored) => {
                self.stored.extend_from_slice(stored);
                self.ends.push(self.stored.len());
            }
            None => self.images.extend_from_slice(&row.image),
        }
        self.rows += 1;
    }

    /// Scores all rows on the current thread pool. Rows of all batches of one scan belong to one `pace`.
    ///
    /// # Errors
    /// `Kind::Cancelled`; what is wrong with a row is that row's own.
    pub fn score(&mut self, scorer: &Scorer, pace: &mut Pace, cx: &Cx) -> Result<()> {
        let started = Instant::now();
        self.outputs = scorer.outputs();
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out.resize(self.rows * self.outputs, 0.0);
        let block = pace.block;
        let found: Vec<Result<Failed>> = out
            .par_chunks_mut(block * self.outputs)
            .enumerate()
            .map(|(b, out)| {
                cx.check()?;
                Ok(self.score_block(scorer, b * block, out, |chunk, out| scorer.model.score(chunk, out)))
            })
            .collect();
        self.out = out;
        for (b, failed) in found.into_iter().enumerate() {
            if let (None, Some((row, e))) = (&self.failed, failed?) {
                self.failed = Some((b * block + row, e));
            }
        }
        pace.note(self.rows, started.elapsed());
        Ok(())
    }

    /// Has all rows computed elsewhere ([`Scorer::sends`]), while the calling thread waits. False where nobody takes them
    /// after all: then they are to be scored here. Rows and `pace` as for `score`; whoever takes them hears of a cancel.
    pub fn send(&mut self, scorer: &Scorer, pace: &mut Pace) -> bool {
        let started = Instant::now();
        let refused = Cell::new(false);
        let compute = |chunk: &Chunk, out: &mut [f64]| {
            if scorer.compute_elsewhere(chunk, out)? {
                return Ok(());
            }
            refused.set(true);
            Err(Error::internal("rows were computed nowhere"))
        };
        self.outputs = scorer.outputs();
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        out.resize(self.rows * self.outputs, 0.0);
        let image = scorer.prepared.image().map_or(0, |shape| shape.bytes());
        let block = (SENT / (image + 8 * scorer.prepared.width()).max(1)).clamp(1, MOST);
        for (b, out) in out.chunks_mut(block * self.outputs).enumerate() {
            let failed = self.score_block(scorer, b * block, out, compute);
            if refused.get() {
                return false;
            }
            if let Some((row, e)) = failed {
                self.failed = Some((b * block + row, e));
                break;
            }
        }
        self.out = out;
        pace.note(self.rows, started.elapsed());
        true
    }

    fn score_block(
        &self,
        scorer: &Scorer,
        first: usize,
        out: &mut [f64],
        compute: impl Fn(&Chunk, &mut [f64]) -> Result<()>,
    ) -> Failed {
        let mut rows = out.len() / self.outputs;
        let mut failed = None;
        let image = scorer.prepared.image().map_or(0, |shape| shape.bytes());
        let mut decoded = vec![];
        if !self.ends.is_empty() {
            decoded.resize(rows * image, 0);
            for (i, into) in decoded.chunks_exact_mut(image.max(1)).enumerate() {
                let at = first + i;
                let start = if at == 0 { 0 } else { self.ends[at - 1] };
                let value = Value::Bytes(&self.stored[start..self.ends[at]]);
                if let Err(e) = scorer.prepared.put(0, value, &mut [], into) {
                    failed = Some((i, e));
                    rows = i;
                    break;
                }
            }
        }
        let (width, groups) = (scorer.prepared.width(), usize::from(!self.group.is_empty()));
        let chunk = |from: usize, to: usize| {
            let (a, b) = (first + from, first + to);
            let images = match self.ends.is_empty() {
                true => &self.images[a * image..b * image],
                false => &decoded[from * image..to * image],
            };
            let (x, group) = (&self.x[a * width..b * width], &self.group[a * groups..b * groups]);
            Chunk { rows: to - from, x, images, group, ..Chunk::default() }
        };
        let out = &mut out[..rows * self.outputs];
        if compute(&chunk(0, rows), out).is_err() {
            for (i, out) in out.chunks_exact_mut(self.outputs).enumerate() {
                if let Err(e) = scorer.model.score(&chunk(i, i + 1), out) {
                    failed = Some((i, e));
                    break;
                }
            }
        }
        scorer.card.decision.calibrate(self.outputs, out);
        failed
    }

    /// What the model answers for a row: as [`Scorer::score`].
    ///
    /// # Errors
    /// Those of the first row that failed; rows after it have none of their own.
    #[inline]
    pub fn scores(&self, row: usize) -> Result<&[f64]> {
        match &self.failed {
            Some((failed, e)) if row >= *failed => Err(e.clone()),
            _ => Ok(&self.out[row * self.outputs..(row + 1) * self.outputs]),
        }
    }
}

/// How large batches are: they begin small, since the caller may want few rows, and grow as long as they are quick.
#[derive(Debug, Clone)]
pub struct Pace {
    rows: usize,
    block: usize,
    /// Rows that are scored in `BATCH_TIME`.
    quick: usize,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { rows: FIRST, block: 1, quick: MOST }
    }
}

impl Pace {
    /// Rows that the next batch may have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Begins anew, for a scan from the beginning.
    pub fn again(&mut self) {
        self.rows = FIRST.min(self.quick);
    }

    fn note(&mut self, rows: usize, took: Duration) {
        let each = took.as_secs_f64() / rows.max(1) as f64;
        let within = |time: Duration| if each > 0.0 { (time.as_secs_f64() / each) as usize } else { MOST };
        self.quick = within(BATCH_TIME).clamp(FIRST, MOST);
        self.rows = (2 * rows).clamp(FIRST, self.quick);
        self.block = within(BLOCK_TIME).clamp(1, MOST_OF_BLOCK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_grow_while_they_are_quick() {
        let mut pace = Pace::default();
        let mut sizes = vec![];
        for _ in 0..8 {
            sizes.push(pace.rows());
            pace.note(pace.rows(), Duration::from_micros(100 * pace.rows() as u64));
        }
        assert_eq!(sizes, [16, 32, 64, 128, 256, 512, 1024, 1024]);
        pace.again();
        assert_eq!(pace.rows(), 16);
        // 50 ms a row: as few as a batch may have, and a look at the stop flag after each.
        pace.note(16, Duration::from_millis(800));
        assert_eq!((pace.rows(), pace.block), (16, 1));
    }
}
