//! What a shard keeps between rounds, so that most rows are not looked at again: its rows, the nearest candidate of
//! each while candidates are drawn, and in Lloyd's algorithm bounds on distances.
//!
//! The bounds are Hamerly's ("Making k-means even faster", 2010): one on the distance to the own center, one on that
//! to any other. Centers that move by little leave most rows between them, and those need no distances. Of both bounds
//! only the difference matters, and of that only when what centers have moved since uses it up: so a row that stays
//! is read, but not written. The others are looked at by a coarse copy ([`super::screen`]), exactly where that
//! leaves a doubt. Bounds give way to rounding, and sums are integers ([`super::tally`]): the bits are those of a shard
//! that kept nothing.

use super::PIECE;
use super::screen::{Found, Screen, Shadow};
use super::tally::{Span, Tally};
use crate::centers::{Centers, TILE};
use crate::dense::vectorized;
use crate::error::Result;
use crate::learner::Cx;
use crate::schema::Chunk;
use std::cmp::Ordering;
use std::ops::Range;

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

/// In Lloyd's algorithm: each row's center, how far centers may move before another can be nearer, and sums by center.
#[derive(Debug, Default)]
pub struct Cells {
    first: u64,
    round: u64,
    nearest: Vec<u32>,
    /// What `spent` must stay below for the row's center to remain the nearest.
    until: Vec<f32>,
    /// Of each center: how far, since the rows were first looked at, it and any other may have come closer in sum.
    spent: Vec<f64>,
    /// What the rows lie within.
    span: Span,
    /// A coarse copy of the rows, where they are kept.
    shadow: Shadow,
    /// Sums of the rows; of none where that would take much memory.
    tally: Tally,
}

impl Cells {
    /// Adds the weights of the rows nearest to each center to `weights`, and their weighted sums to `sums`. Where
    /// `keeps`, it may hold a copy of the rows.
    pub fn assign(
        &mut self,
        centers: &Centers,
        drift: &Drift,
        chunk: &Chunk,
        keeps: bool,
        (weights, sums): (&mut [f64], &mut [f64]),
        cx: &Cx,
    ) -> Result<()> {
        let (rows, k) = (chunk.rows, centers.len());
        let follows = drift.own.len() == k
            && self.first == chunk.first
            && self.nearest.len() == rows
            && self.round + 1 == drift.round;
        let remembers = k <= rows / 8;
        if follows {
            for ((spent, own), others) in self.spent.iter_mut().zip(&drift.own).zip(&drift.others) {
                *spent = (*spent + own + others) * (1.0 + 4.0 * f64::EPSILON);
            }
        } else {
            let (span, spent) = (Span::of(chunk), vec![0.0; k]);
            let (nearest, until) = (vec![0; rows], vec![f32::NEG_INFINITY; rows]);
            let (shadow, tally) = Default::default();
            *self = Cells { first: chunk.first, round: 0, nearest, until, spent, span, shadow, tally };
            if keeps {
                self.shadow.cast(chunk, &self.span, 0..rows);
            }
            if remembers {
                self.tally = Tally::new(&self.span, rows, k);
            }
        }
        self.round = drift.round;
        let mut screen = Screen::new(centers, &self.span);
        let mut once = if remembers { Tally::default() } else { Tally::new(&self.span, rows, k) };
        let spent: Vec<f32> = self.spent.iter().map(|s| above(*s)).collect();
        let mut moves = vec![];
        for from in (0..rows).step_by(PIECE) {
            cx.check()?;
            let piece = from..(from + PIECE).min(rows);
            if !keeps {
                self.shadow.cast(chunk, &self.span, piece.clone());
            }
            self.move_rows((centers, &mut screen), &spent, chunk, piece.clone(), &mut moves);
            let Cells { tally, nearest, .. } = self;
            if !follows || !remembers {
                let tally = if remembers { tally } else { &mut once };
                let rows = piece.map(|i| (chunk.row(i), chunk.weight(i), None, nearest[i] as usize));
                tally.shift(rows);
                moves.clear();
            }
        }
        self.tally.shift_apart(&moves, &self.nearest, chunk);
        if remembers { &self.tally } else { &once }.add_to(weights, sums);
        Ok(())
    }

    /// Finds the centers of at most `PIECE` rows. Adds those that changed theirs to `moves`, with the one before.
    fn move_rows(
        &mut self,
        (centers, screen): (&Centers, &mut Screen),
        spent: &[f32],
        chunk: &Chunk,
        rows: Range<usize>,
        moves: &mut Vec<(usize, u32)>,
    ) {
        let most = spent.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // What is not a number is open too.
        let open_at = |until: f32, spent: f32| !matches!(until.partial_cmp(&spent), Some(Ordering::Greater));
        let mut maybe = [0u8; PIECE];
        vectorized(
            #[inline(always)]
            || {
                for (maybe, until) in maybe.iter_mut().zip(&self.until[rows.clone()]) {
                    *maybe = u8::from((*until <= most) | until.is_nan());
                }
            },
        );
        let (mut open, mut n) = ([0; PIECE], 0);
        for (eight, maybe) in maybe.as_chunks::<8>().0.iter().enumerate() {
            let mut left = u64::from_le_bytes(*maybe);
            while left != 0 {
                let i = rows.start + eight * 8 + left.trailing_zeros() as usize / 8;
                left &= left - 1;
                open[n] = i;
                n += usize::from(open_at(self.until[i], spent[self.nearest[i] as usize]));
            }
        }
        let mut found = [Found::default(); PIECE];
        screen.look(&self.shadow, &open[..n], &mut found[..n]);
        let (mut unsure, mut left) = ([0; PIECE], 0);
        let mut settle = |i: usize, c: u32, lower: f64, upper: f64| {
            if self.nearest[i] != c {
                moves.push((i, self.nearest[i]));
                self.nearest[i] = c;
            }
            self.until[i] = below(self.spent[c as usize] + (lower - upper));
        };
        for (i, found) in open[..n].iter().zip(&found) {
            if found.unsure {
                unsure[left] = *i;
                left += 1;
            } else {
                settle(*i, found.nearest, f64::from(found.lower), f64::from(found.upper));
            }
        }
        let (more, less) = (1.0 + slack(chunk.width()), 1.0 - slack(chunk.width()));
        for tile in unsure[..left].chunks(TILE) {
            let last = tile.len() - 1;
            let found = vectorized(
                #[inline(always)]
                || centers.two_nearest(std::array::from_fn(|r| chunk.row(tile[r.min(last)]))),
            );
            for (i, (c, first, second)) in tile.iter().zip(found) {
                settle(*i, c, second.sqrt() * less - TINY, first.sqrt() * more + TINY);
            }
        }
    }
}

/// The same or a little less, in single precision.
fn below(v: f64) -> f32 {
    // Where there is no other center, bounds are infinite.
    let v = if v < 1e30 { v } else { 1e30 };
    (v - v.abs() * 2.0 * f64::from(f32::EPSILON) - 1e-30) as f32
}

/// The same or a little more, in single precision.
fn above(v: f64) -> f32 {
    (v + v.abs() * 2.0 * f64::from(f32::EPSILON) + 1e-30) as f32
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
        for (rows, width, k, keeps) in [
            (1500, 3, 5, true),
            (700, 1, 1, true),
            (1300, 11, 20, false),
            (200, 2, 30, true),
            (300, 28, 8, true),
        ] {
            let x: Vec<f64> = (0..rows * width).map(noise).collect();
            let weight: Vec<f64> = (0..rows).map(|i| 1.0 + noise(7 * i)).collect();
            let chunk = Chunk { rows, first: 10, x: &x, weight: &weight, ..Chunk::default() };
            let mut points: Vec<f64> = (0..k * width).map(|i| noise(i + 5)).collect();
            let (mut kept, mut drift, mut undecided) = (Cells::default(), Drift::none(1), 0);
            for round in 1..40 {
                let centers = Centers::new(&points, width);
                let sums = |cells: &mut Cells, drift: &Drift| {
                    let (mut weights, mut sums) = (vec![0.0; k], vec![0.0; k * width]);
                    cells.assign(&centers, drift, &chunk, keeps, (&mut weights, &mut sums), &cx).unwrap();
                    (weights, sums)
                };
                let before = kept.until.clone();
                let found = sums(&mut kept, &drift);
                let (expected, plain) = (sums(&mut Cells::default(), &Drift::none(round)), &kept.nearest);
                assert_eq!(found, expected, "{rows} {width} {k} round {round}");
                let (mut nearest, mut distance) = (vec![0; rows], vec![f64::INFINITY; rows]);
                centers.improve(&x, 0, &mut nearest, &mut distance);
                assert_eq!((plain, found.0.len()), (&nearest, k));
                undecided += before.iter().zip(&kept.until).filter(|(b, u)| u != b).count();
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
