//! Weights and weighted sums of a block's rows by center, in integers: a row that changes its center is taken from one
//! sum and added to another, and what remains is, bit for bit, the sum of the rows that are there now.
//!
//! Values are counted about the block's middle, in units that follow from the widest of them: at most `2^50` units a
//! value, and no sum of all rows overflows.

use crate::dense::vectorized;
use crate::schema::Chunk;

/// Rows brought together before they are added.
const NEAR: usize = 16;
/// The most bits of a value.
const BITS: i32 = 50;

/// What a block's rows lie within.
#[derive(Debug, Default)]
pub struct Span {
    /// About half way between the least and the greatest value of each feature; in few digits, so that differences to
    /// values of few digits are exact.
    pub middle: Vec<f64>,
    /// How far any is from it.
    pub widest: Vec<f64>,
    /// The greatest weight.
    heaviest: f64,
}

impl Span {
    /// That of all rows of a block.
    pub fn of(chunk: &Chunk) -> Span {
        let width = chunk.width();
        let (mut least, mut most) = (vec![f64::INFINITY; width], vec![f64::NEG_INFINITY; width]);
        vectorized(
            #[inline(always)]
            || {
                for row in chunk.x.chunks_exact(width.max(1)) {
                    for ((v, least), most) in row.iter().zip(&mut least).zip(&mut most) {
                        *least = if v < least { *v } else { *least };
                        *most = if v > most { *v } else { *most };
                    }
                }
            },
        );
        let middle = least.iter().zip(&most).map(|(least, most)| {
            let step = (most / 2.0 - least / 2.0) / 1024.0;
            let step = if step > 0.0 { units(step, 0).recip() } else { 0.0 };
            let half = least / 2.0 + most / 2.0;
            if step.is_normal() { (half / step).round() * step } else { half }
        });
        let middle: Vec<f64> = middle.collect();
        let ends = least.iter().zip(&most).zip(&middle);
        let widest = ends.map(|((least, most), middle)| (most - middle).max(middle - least)).collect();
        let heaviest = chunk.weight.iter().copied().fold(0.0, f64::max);
        Span { middle, widest, heaviest: if chunk.weight.is_empty() { 1.0 } else { heaviest } }
    }
}

/// A block's sums by center.
#[derive(Debug, Default)]
pub struct Tally {
    middle: Vec<f64>,
    /// Units in 1, of each feature: powers of two.
    per_one: Vec<f64>,
    weight_per_one: f64,
    sums: Vec<i64>,
    weights: Vec<i64>,
}

/// Units in 1 for values up to `most`.
fn units(most: f64, bits: i32) -> f64 {
    if most > 0.0 && most.is_finite() {
        2f64.powi(bits - most.log2().ceil().clamp(-900.0, 900.0) as i32)
    } else {
        1.0
    }
}

/// To the nearest whole number, of numbers below `2^51`, in a way that vectors have.
#[inline(always)]
fn whole(x: f64) -> i64 {
    const MAGIC: f64 = 6_755_399_441_055_744.0;
    (x + MAGIC).to_bits().wrapping_sub(MAGIC.to_bits()) as i64
}

impl Tally {
    /// Sums of none of a block's rows.
    pub fn new(span: &Span, rows: usize, clusters: usize) -> Tally {
        let bits = BITS.min(61 - rows.max(1).ilog2() as i32);
        Tally {
            middle: span.middle.clone(),
            per_one: span.widest.iter().map(|widest| units(widest * span.heaviest, bits)).collect(),
            weight_per_one: units(span.heaviest, bits),
            sums: vec![0; clusters * span.middle.len()],
            weights: vec![0; clusters],
        }
    }

    /// Adds rows, each with its weight, to the sums of the center named last, and takes them from those of the one
    /// named before it.
    pub fn shift<'a>(&mut self, rows: impl Iterator<Item = (&'a [f64], f64, Option<usize>, usize)>) {
        vectorized(
            #[inline(always)]
            || {
                rows.for_each(
                    #[inline(always)]
                    |(row, weight, from, to)| self.shift_row(row, weight, from, to),
                )
            },
        );
    }

    /// The same of rows that lie apart: of each its number and the center that it left. They are first brought
    /// together: a copy waits for no other, so that many cache misses overlap.
    pub fn shift_apart(&mut self, moves: &[(usize, u32)], nearest: &[u32], chunk: &Chunk) {
        let width = self.middle.len();
        let mut near = vec![0.0; NEAR * width];
        for moves in moves.chunks(NEAR) {
            near.chunks_exact_mut(width)
                .zip(moves)
                .for_each(|(near, (i, _))| near.copy_from_slice(chunk.row(*i)));
            let rows = near.chunks_exact(width).zip(moves);
            self.shift(
                rows.map(|(row, (i, from))| {
                    (row, chunk.weight(*i), Some(*from as usize), nearest[*i] as usize)
                }),
            );
        }
    }

    #[inline(always)]
    fn shift_row(&mut self, row: &[f64], weight: f64, from: Option<usize>, to: usize) {
        let width = self.middle.len();
        let mass = whole(weight * self.weight_per_one);
        self.weights[to] += mass;
        let units = row.iter().zip(&self.middle).zip(&self.per_one);
        let units = units.map(
            #[inline(always)]
            |((v, middle), per_one)| whole(weight * (v - middle) * per_one),
        );
        if let Some(from) = from {
            self.weights[from] -= mass;
            let sums = self.sums[from * width..(from + 1) * width].iter_mut();
            sums.zip(units.clone()).for_each(
                #[inline(always)]
                |(sum, v)| *sum = sum.wrapping_sub(v),
            );
        }
        let sums = self.sums[to * width..(to + 1) * width].iter_mut();
        // Values that are no numbers have been refused, or will be, by their squares.
        sums.zip(units).for_each(
            #[inline(always)]
            |(sum, v)| *sum = sum.wrapping_add(v),
        );
    }

    /// Adds what it has to `weights` and `sums`.
    pub fn add_to(&self, weights: &mut [f64], sums: &mut [f64]) {
        let width = self.middle.len().max(1);
        for (c, (all, own)) in weights.iter_mut().zip(&self.weights).enumerate() {
            let weight = *own as f64 / self.weight_per_one;
            *all += weight;
            let own = self.sums[c * width..(c + 1) * width].iter();
            for (j, (all, own)) in sums[c * width..(c + 1) * width].iter_mut().zip(own).enumerate() {
                *all += *own as f64 / self.per_one[j] + weight * self.middle[j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_left_leave_nothing_behind() {
        let noise =
            |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64;
        let (rows, width) = (3000, 5);
        let x: Vec<f64> = (0..rows * width).map(|i| 1e4 + noise(i) * 10f64.powi(i as i32 % 7 - 3)).collect();
        let weight: Vec<f64> = (0..rows).map(|i| 0.5 + noise(i + 17)).collect();
        let chunk = Chunk { rows, x: &x, weight: &weight, ..Chunk::default() };
        let span = Span::of(&chunk);
        let (mut moved, mut plain) = (Tally::new(&span, rows, 3), Tally::new(&span, rows, 3));
        moved.shift((0..rows).map(|i| (chunk.row(i), chunk.weight(i), None, i % 3)));
        let all: Vec<usize> = (0..rows).filter(|i| i % 3 == 1 || i.is_multiple_of(7)).collect();
        let moves: Vec<(usize, u32)> = all.iter().map(|i| (*i, *i as u32 % 3)).collect();
        moved.shift_apart(&moves, &vec![2; rows], &chunk);
        let place = |i: usize| if i % 3 == 1 || i.is_multiple_of(7) { 2 } else { i % 3 };
        plain.shift((0..rows).map(|i| (chunk.row(i), chunk.weight(i), None, place(i))));
        let read = |tally: &Tally| {
            let (mut weights, mut sums) = (vec![0.0; 3], vec![0.0; 3 * width]);
            tally.add_to(&mut weights, &mut sums);
            (weights, sums)
        };
        let (weights, sums) = read(&moved);
        assert_eq!((&weights, &sums), (&read(&plain).0, &read(&plain).1));
        assert_eq!((weights[1], &sums[width..2 * width]), (0.0, &[0.0; 5][..]));
        for c in [0, 2] {
            let own = || (0..rows).filter(|i| place(*i) == c);
            let weight: f64 = own().map(|i| chunk.weight(i)).sum();
            assert!((weights[c] / weight - 1.0).abs() < 1e-12);
            for j in 0..width {
                let sum: f64 = own().map(|i| chunk.weight(i) * chunk.row(i)[j]).sum();
                assert!((sums[c * width + j] / sum - 1.0).abs() < 1e-12);
            }
        }
    }
}
