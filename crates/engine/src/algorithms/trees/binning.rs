//! From rows to bins in a few rounds, for learners that keep the details in [`super::sketch`] and [`super::bins`]:
//! a shard counts with [`Counter`], the job merges and refines with [`Counting`].

use super::bins::Bins;
use super::sketch::{self, Counts, Finer, REFINEMENTS, Refine, Tally};
use crate::error::Result;
use crate::learner::Cx;
use crate::schema::Chunk;

/// Rows that are counted column by column between two looks at the stop flag.
const BLOCK: usize = 256;

/// A shard's counts of one round.
#[derive(Default)]
pub struct Counter {
    tallies: Vec<Tally>,
    finer: Vec<Finer>,
}

impl Counter {
    /// Counts a block of rows: each column from scratch, or (where there is something to refine) in finer cells.
    /// `levels` has each feature's levels where it is a category.
    pub fn count(
        &mut self,
        levels: &[Option<u32>],
        refine: &[Vec<Refine>],
        chunk: &Chunk,
        cx: &Cx,
    ) -> Result<()> {
        let width = levels.len().max(1);
        if refine.is_empty() && self.tallies.is_empty() {
            self.tallies = levels.iter().map(|l| Tally::new(*l)).collect();
        }
        if !refine.is_empty() && self.finer.is_empty() {
            self.finer = refine.iter().map(|r| Finer::new(r)).collect();
        }
        for x in chunk.x.chunks(BLOCK * width) {
            cx.check()?;
            let column = |f: usize| x[f..].iter().step_by(width).copied();
            for (f, tally) in self.tallies.iter_mut().enumerate() {
                tally.count(column(f));
            }
            for (f, (refine, cells)) in refine.iter().zip(&mut self.finer).enumerate() {
                if !refine.is_empty() {
                    cells.count(refine, column(f));
                }
            }
        }
        Ok(())
    }

    /// The counts, to send; the counter is empty afterwards.
    pub fn take(&mut self) -> Vec<Counts> {
        let finer = std::mem::take(&mut self.finer).into_iter().map(Finer::counts);
        std::mem::take(&mut self.tallies).into_iter().map(Tally::counts).chain(finer).collect()
    }
}

/// Adds another shard's counts of the same round.
pub fn merge(into: &mut Vec<Counts>, from: Vec<Counts>, refined: bool) {
    if into.is_empty() {
        *into = from;
    } else {
        into.iter_mut().zip(from).for_each(|(a, b)| a.merge(b, refined));
    }
}

/// The job's counts over all rounds.
#[derive(Default)]
pub struct Counting {
    counts: Vec<Counts>,
    rounds: usize,
}

impl Counting {
    /// Takes in a round of `features` columns over `rows` rows. What to count more finely; empty when the counts
    /// are complete.
    pub fn take(
        &mut self,
        refine: &[Vec<Refine>],
        found: Vec<Counts>,
        features: usize,
        rows: u64,
        max_bin: usize,
    ) -> Vec<Vec<Refine>> {
        if refine.is_empty() {
            self.counts = found;
            self.counts.resize_with(features, Counts::default);
        } else {
            for ((counts, refine), finer) in self.counts.iter_mut().zip(refine).zip(found) {
                sketch::replace(&mut counts.cells, refine, &finer.cells);
            }
            self.rounds += 1;
        }
        let finer = |c: &Counts| if c.coarse { sketch::refinements(&c.cells, rows, max_bin) } else { vec![] };
        let next: Vec<Vec<Refine>> = self.counts.iter().map(finer).collect();
        if self.rounds < REFINEMENTS && next.iter().any(|r| !r.is_empty()) { next } else { vec![] }
    }

    /// The bins, each of at least `min_rows` rows, and the least and the greatest value found in each bin of
    /// values.
    pub fn bins(
        self,
        levels: &[Option<u32>],
        max_bin: usize,
        min_rows: u64,
    ) -> (Vec<Bins>, Vec<Vec<(f64, f64)>>) {
        let of = |(counts, levels): (Counts, &Option<u32>)| {
            if levels.is_some() {
                return (Bins::category(&counts.levels, counts.missing, max_bin), vec![]);
            }
            let bins = Bins::numeric_of(&counts.cells, counts.missing, max_bin, min_rows);
            let mut ranges = vec![(f64::INFINITY, f64::NEG_INFINITY); bins.values];
            for cell in &counts.cells {
                let (low, high) = (sketch::number(cell.min), sketch::number(cell.max));
                if let Some(range) = ranges.get_mut(bins.edges.partition_point(|e| *e < low)) {
                    *range = (range.0.min(low), range.1.max(high));
                }
            }
            (bins, ranges)
        };
        self.counts.into_iter().zip(levels).map(of).unzip()
    }
}
