//! What a shard keeps between rounds, so that most rows are not looked at again: its rows, the nearest candidate of
//! each while candidates are drawn, and in Lloyd's algorithm bounds on distances.
//!
//! The bounds are Hamerly's ("Making k-means even faster", 2010): one on the distance to the own center, one on that
//! to any other. Centers that move by little leave most rows between them, and those need no distances. Bounds give
//! way to rounding, and sums are made anew, in the order of the rows, where a row joined or left: the bits are those
//! of a shard that kept nothing.

use super::PIECE;
use super::centers::{Centers, TILE, add};
use crate::dense::vectorized;
use crate::error::Result;
use crate::learner::Cx;
use crate::schema::Chunk;

/// Added to bounds for squares that underflow.
const TINY: f64 = 1e-150;

/// What a shard keeps.
#[derive(Debug, Default)]
pub struct Local {
    /// Its rows.
    pub block: Block,
    /// What the drawing of candidates needs.
    pub seeds: Seeds,
    /// What Lloyd's algorithm needs.
    pub cells: Cells,
}

/// The shard's rows, where it has but one block of them.
#[derive(Debug, Default)]
pub struct Block {
    first: u64,
    rows: usize,
    x: Vec<f64>,
    weight: Vec<f64>,
    /// Blocks seen; a second one is not held, nor is the first then.
    blocks: usize,
    /// Whether the round's rows came from outside and are done.
    pub served: bool,
}

impl Block {
    /// Whether the rows are here.
    pub fn held(&self) -> bool {
        self.blocks == 1 && !self.x.is_empty()
    }

    /// Copies a block that came from outside.
    pub fn hold(&mut self, chunk: &Chunk) {
        let same = (self.first, self.rows) == (chunk.first, chunk.rows);
        if self.blocks == 0 || (self.blocks == 1 && same && !self.served) {
            (self.first, self.rows, self.blocks) = (chunk.first, chunk.rows, 1);
            self.x = chunk.x.to_vec();
            self.weight = chunk.weight.to_vec();
        } else {
            *self = Block { blocks: 2, ..Block::default() };
        }
    }

    /// The rows.
    pub fn chunk(&self) -> Chunk<'_> {
        Chunk { rows: self.rows, first: self.first, x: &self.x, weight: &self.weight, ..Chunk::default() }
    }
}

/// While candidates are drawn: each row's nearest so far.
#[derive(Debug, Default)]
pub struct Seeds {
    run: usize,
    first: u64,
    /// Sets of candidates accounted for.
    sets: usize,
    /// The candidate's number, over all sets.
    pub nearest: Vec<u32>,
    /// The squared distance to it.
    pub distance: Vec<f64>,
}

impl Seeds {
    /// Brings `nearest` and `distance` up to date with all sets of candidates.
    pub fn follow(&mut self, run: usize, sets: &[Centers], chunk: &Chunk, cx: &Cx) -> Result<()> {
        // A block that is up to date already can only be another block of the shard.
        let same = self.run == run && self.first == chunk.first && self.distance.len() == chunk.rows;
        if !same || self.sets >= sets.len() {
            let (nearest, distance) = (vec![0; chunk.rows], vec![f64::INFINITY; chunk.rows]);
            *self = Seeds { run, first: chunk.first, sets: 0, nearest, distance };
        }
        let mut base = sets[..self.sets].iter().map(Centers::len).sum::<usize>() as u32;
        for set in &sets[self.sets..] {
            let rows = chunk.x.chunks(PIECE * chunk.width());
            for (x, (nearest, distance)) in
                rows.zip(self.nearest.chunks_mut(PIECE).zip(self.distance.chunks_mut(PIECE)))
            {
                cx.check()?;
                set.improve(x, base, nearest, distance);
            }
            base += set.len() as u32;
        }
        self.sets = sets.len();
        Ok(())
    }
}

/// How far centers moved since the round before.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Drift {
    /// The round of Lloyd's algorithm, counted over all runs.
    pub round: u64,
    /// Of each center, at least the distance; empty where the centers are not those of the round before, moved.
    own: Vec<f64>,
    /// For each center, the most of the others.
    others: Vec<f64>,
}

impl Drift {
    /// A round whose centers come from elsewhere.
    pub fn none(round: u64) -> Drift {
        Drift { round, ..Drift::default() }
    }

    /// Of centers with squared shifts `squares`.
    pub fn new(round: u64, squares: &[f64], width: usize) -> Drift {
        let own: Vec<f64> = squares.iter().map(|s| s.sqrt() * (1.0 + slack(width)) + TINY).collect();
        let mut most = [0.0f64; 2];
        for v in &own {
            most = if *v > most[0] { [*v, most[0]] } else { [most[0], most[1].max(*v)] };
        }
        let others = own.iter().map(|v| if *v == most[0] { most[1] } else { most[0] }).collect();
        Drift { round, own, others }
    }
}

/// Many times what rounding can change in the square root of a sum of `width` squares, relative to it.
fn slack(width: usize) -> f64 {
    (width + 16) as f64 * 4.0 * f64::EPSILON
}

/// Rows whose sums are made together.
fn group_rows(clusters: usize) -> usize {
    (PIECE * clusters).clamp(512, 8192)
}

/// In Lloyd's algorithm: each row's center, bounds on its distances, and the sums of each group of rows.
#[derive(Debug, Default)]
pub struct Cells {
    first: u64,
    round: u64,
    nearest: Vec<u32>,
    /// At least the distance to the own center.
    upper: Vec<f64>,
    /// At most the distance to any other.
    lower: Vec<f64>,
    /// For each group of rows, its weights by center; empty where that would take much memory.
    weights: Vec<f64>,
    /// Likewise the weighted sums of rows.
    sums: Vec<f64>,
}

impl Cells {
    /// Adds the weights of the rows nearest to each center to `weights`, and their weighted sums to `sums`.
    pub fn assign(
        &mut self,
        centers: &Centers,
        drift: &Drift,
        chunk: &Chunk,
        (weights, sums): (&mut [f64], &mut [f64]),
        cx: &Cx,
    ) -> Result<()> {
        let (rows, k, width) = (chunk.rows, centers.len(), chunk.width());
        let group = group_rows(k);
        let follows = drift.own.len() == k
            && self.first == chunk.first
            && self.nearest.len() == rows
            && self.round + 1 == drift.round;
        let remembers = k <= rows / 8;
        if !follows {
            let groups = if remembers { rows.div_ceil(group) } else { 0 };
            *self = Cells {
                first: chunk.first,
                round: 0,
                nearest: vec![0; rows],
                upper: vec![f64::INFINITY; rows],
                lower: vec![0.0; rows],
                weights: vec![0.0; groups * k],
                sums: vec![0.0; groups * k * width],
            };
        }
        self.round = drift.round;
        let (mut once_weights, mut once_sums) = (vec![], vec![]);
        if !remembers {
            (once_weights, once_sums) = (vec![0.0; k], vec![0.0; k * width]);
        }
        for (g, start) in (0..rows).step_by(group).enumerate() {
            let end = (start + group).min(rows);
            let mut changed = vec![!follows || !remembers; k];
            for from in (start..end).step_by(PIECE) {
                cx.check()?;
                let to = (from + PIECE).min(end);
                self.move_rows(centers, follows.then_some(drift), chunk, from..to, &mut changed);
            }
            let (group_weights, group_sums) = if remembers {
                let at = g * k;
                (&mut self.weights[at..at + k], &mut self.sums[at * width..(at + k) * width])
            } else {
                (&mut once_weights[..], &mut once_sums[..])
            };
            if changed.contains(&true) {
                sum_again(&changed, &self.nearest[start..end], chunk, start, group_weights, group_sums);
            }
            add(weights, group_weights, 1.0);
            add(sums, group_sums, 1.0);
        }
        Ok(())
    }

    /// Finds the centers of at most `PIECE` rows, and marks those that rows joined or left.
    fn move_rows(
        &mut self,
        centers: &Centers,
        drift: Option<&Drift>,
        chunk: &Chunk,
        rows: std::ops::Range<usize>,
        changed: &mut [bool],
    ) {
        let (nearest, upper, lower) =
            (&mut self.nearest[rows.clone()], &mut self.upper[rows.clone()], &mut self.lower[rows.clone()]);
        let mut open = [0usize; PIECE];
        let mut n = 0;
        if let Some(drift) = drift {
            for (i, ((c, upper), lower)) in nearest.iter().zip(&mut *upper).zip(&mut *lower).enumerate() {
                *upper = (*upper + drift.own[*c as usize]) * (1.0 + 2.0 * f64::EPSILON);
                *lower = (*lower - drift.others[*c as usize]) * (1.0 - 2.0 * f64::EPSILON);
                open[n] = i;
                // What is not a number is open too.
                n += usize::from(!matches!(upper.partial_cmp(&lower), Some(std::cmp::Ordering::Less)));
            }
        } else {
            open.iter_mut().enumerate().for_each(|(i, o)| *o = i);
            n = rows.len();
        }
        let width = chunk.width();
        let more = 1.0 + slack(width);
        let less = 1.0 - slack(width);
        let row = |i: usize| &chunk.x[(rows.start + i) * width..(rows.start + i + 1) * width];
        vectorized(
            #[inline(always)]
            || {
                for tile in open[..n].chunks(TILE) {
                    let last = tile.len() - 1;
                    let found = centers.two_nearest(std::array::from_fn(|r| row(tile[r.min(last)])));
                    for (i, (c, first, second)) in tile.iter().zip(found) {
                        if nearest[*i] != c {
                            changed[nearest[*i] as usize] = true;
                            changed[c as usize] = true;
                            nearest[*i] = c;
                        }
                        upper[*i] = first.sqrt() * more + TINY;
                        lower[*i] = second.sqrt() * less - TINY;
                    }
                }
            },
        );
    }
}

/// Makes the sums of the centers anew that rows joined or left.
fn sum_again(
    changed: &[bool],
    nearest: &[u32],
    chunk: &Chunk,
    start: usize,
    weights: &mut [f64],
    sums: &mut [f64],
) {
    let width = chunk.width();
    for (c, _) in changed.iter().enumerate().filter(|(_, changed)| **changed) {
        weights[c] = 0.0;
        sums[c * width..(c + 1) * width].fill(0.0);
    }
    vectorized(
        #[inline(always)]
        || {
            for (i, c) in nearest.iter().enumerate() {
                let c = *c as usize;
                if changed[c] {
                    let weight = chunk.weight(start + i);
                    weights[c] += weight;
                    let row = &chunk.x[(start + i) * width..(start + i + 1) * width];
                    add(&mut sums[c * width..(c + 1) * width], row, weight);
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Silent;
    use std::sync::atomic::AtomicBool;

    /// Numbers without a pattern, between 0 and 1.
    fn noise(i: usize) -> f64 {
        ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64
    }

    #[test]
    fn bounds_change_no_bit() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        // The last remembers no sums.
        for (rows, width, k) in [(1500, 3, 5), (700, 1, 1), (1300, 11, 20), (200, 2, 30)] {
            let x: Vec<f64> = (0..rows * width).map(noise).collect();
            let weight: Vec<f64> = (0..rows).map(|i| 1.0 + noise(7 * i)).collect();
            let chunk = Chunk { rows, first: 10, x: &x, weight: &weight, ..Chunk::default() };
            let mut points: Vec<f64> = (0..k * width).map(|i| noise(i + 5)).collect();
            let (mut kept, mut drift, mut undecided) = (Cells::default(), Drift::none(1), 0);
            for round in 1..40 {
                let centers = Centers::new(&points, width);
                let sums = |cells: &mut Cells, drift: &Drift| {
                    let (mut weights, mut sums) = (vec![0.0; k], vec![0.0; k * width]);
                    cells.assign(&centers, drift, &chunk, (&mut weights, &mut sums), &cx).unwrap();
                    (weights, sums)
                };
                let before = kept.upper.clone();
                let found = sums(&mut kept, &drift);
                let (expected, plain) = (sums(&mut Cells::default(), &Drift::none(round)), &kept.nearest);
                assert_eq!(found, expected, "{rows} {width} {k} round {round}");
                let (mut nearest, mut distance) = (vec![0; rows], vec![f64::INFINITY; rows]);
                centers.improve(&x, 0, &mut nearest, &mut distance);
                assert_eq!((plain, found.0.len()), (&nearest, k));
                undecided += before.iter().zip(&kept.upper).filter(|(b, u)| u <= b).count();
                // Some centers move to their means, some stay, and one jumps now and then.
                let mut squares = vec![0.0; k];
                for c in (0..k).filter(|c| !(c + round as usize).is_multiple_of(3) && found.0[*c] > 0.0) {
                    for j in 0..width {
                        let to = found.1[c * width + j] / found.0[c];
                        let to = if round % 16 == 0 && c == 1 { noise(j + 99) } else { to };
                        let v = &mut points[c * width + j];
                        squares[c] += (to - *v) * (to - *v);
                        *v = to;
                    }
                }
                drift = Drift::new(round + 1, &squares, width);
            }
            assert!(k == 1 || undecided > 0, "no row was looked at again: nothing is tested");
        }
    }
}
