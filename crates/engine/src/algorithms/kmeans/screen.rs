//! The nearest center of most rows from a coarse copy of them: two bytes a value, in sums of single precision. What
//! Lloyd's algorithm waits for is memory; a copy of a quarter of the size is there sooner.
//!
//! How far a row is from its copy, and what rounding can do to ‖x‖² - 2xc + ‖c‖², is known. Where that leaves two
//! centers to choose from, the caller compares them exactly, so that a row's center never hangs on the copy. Rows and
//! centers are taken about the middle of their block: single precision could tell nothing apart far from the origin.

use super::tally::Span;
use crate::centers::{Centers, LANES};
use crate::dense::{fused, vectorized};
use crate::schema::Chunk;
use std::ops::Range;

/// Rows compared with a group of centers at once: enough additions under way to hide how long each takes.
const ROWS: usize = 8;
/// Values that are kept together.
const STEP: usize = 16;
/// The greatest number that stands for a value.
const MOST: f64 = 32767.0;
/// More than what squares can lose that are too small for single precision.
const UNDERFLOW: f32 = 1e-34;

/// Values that no border of a cache line cuts.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(32))]
struct Step([i16; STEP]);

/// Coarse rows of a block.
#[derive(Debug, Default)]
pub struct Shadow {
    /// The number of its first row.
    start: usize,
    /// A row's values, in units; 0 after the last.
    steps: Vec<Step>,
    /// Squared lengths of the coarse rows.
    squares: Vec<f32>,
}

/// Bytes of a row of a [`Shadow`].
pub fn shadow_bytes(width: usize) -> usize {
    width.div_ceil(STEP) * size_of::<Step>() + 4
}

impl Shadow {
    /// Replaces what it holds by some of a block's rows.
    pub fn cast(&mut self, chunk: &Chunk, span: &Span, rows: Range<usize>) {
        let (width, each) = (span.middle.len(), span.middle.len().div_ceil(STEP));
        self.start = rows.start;
        self.steps.resize(rows.len() * each, Step::default());
        self.squares.resize(rows.len(), 0.0);
        let units: Vec<f64> = span.widest.iter().map(|widest| widest / MOST).collect();
        let inverse = |unit: &f64| if *unit > 0.0 { 1.0 / unit } else { 0.0 };
        let inverses: Vec<f64> = units.iter().map(inverse).collect();
        let from = chunk.x[rows.start * width..rows.end * width].chunks_exact(width);
        let (to, squares) = (self.steps.chunks_exact_mut(each), &mut self.squares);
        vectorized(
            #[inline(always)]
            || {
                for ((row, to), square) in from.zip(to).zip(squares) {
                    let mut sum = [0.0; STEP];
                    for (at, to) in (0..width).step_by(STEP).zip(to) {
                        let part = at..(at + STEP).min(width);
                        let values = row[part.clone()].iter().zip(&span.middle[part.clone()]);
                        let scales = inverses[part.clone()].iter().zip(&units[part]);
                        for ((sum, to), ((v, middle), (inverse, unit))) in
                            sum.iter_mut().zip(&mut to.0).zip(values.zip(scales))
                        {
                            const MAGIC: f64 = 6_755_399_441_055_744.0;
                            let whole = ((v - middle) * inverse + MAGIC) - MAGIC;
                            let whole = whole.clamp(-MOST, MOST);
                            *to = whole as i32 as i16;
                            *sum += (whole * unit) * (whole * unit);
                        }
                    }
                    *square = sum.iter().sum::<f64>() as f32;
                }
            },
        );
    }
}

/// What single precision says of a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Found {
    /// Its nearest center.
    pub nearest: u32,
    /// At least the distance to it.
    pub upper: f32,
    /// At most the distance to any other.
    pub lower: f32,
    /// Whether another one can be as near.
    pub unsure: bool,
}

/// Centers about the same point as the rows of a [`Shadow`].
#[derive(Debug)]
pub struct Screen {
    width: usize,
    /// For each group of eight, feature by feature: -2c, for values in units.
    lanes: Vec<[f32; LANES]>,
    /// ‖c‖²; infinite in lanes left over, which are nearest to nothing.
    starts: Vec<[f32; LANES]>,
    /// The length of the longest.
    longest: f32,
    /// How far a row can be from its copy.
    apart: f32,
    /// What a squared distance can be off by, for each unit of (‖x‖ + ‖c‖)²: a multiple of the bound for a chain
    /// of `width` roundings.
    error: f32,
    /// Rows brought together.
    near: Vec<[f32; STEP]>,
}

impl Screen {
    /// That of a block, by its span.
    pub fn new(centers: &Centers, span: &Span) -> Screen {
        let width = span.middle.len();
        let groups = centers.len().div_ceil(LANES);
        let mut lanes = vec![[0.0; LANES]; groups * width];
        let mut starts = vec![[f32::INFINITY; LANES]; groups];
        let mut longest = 0.0f64;
        for c in 0..centers.len() {
            let mut square = 0.0;
            for (j, (v, (middle, widest))) in
                centers.point(c).zip(span.middle.iter().zip(&span.widest)).enumerate()
            {
                let v = v - middle;
                lanes[c / LANES * width + j][c % LANES] = (-2.0 * v * (widest / MOST)) as f32;
                square += v * v;
            }
            starts[c / LANES][c % LANES] = square as f32;
            longest = if square > longest { square } else { longest };
        }
        let units: f64 = span.widest.iter().map(|widest| (widest / MOST) * (widest / MOST)).sum();
        Screen {
            width,
            lanes,
            starts,
            longest: longest.sqrt() as f32,
            apart: (units.sqrt() * 0.5001) as f32,
            error: (width + 16) as f32 * 2.0 * f32::EPSILON,
            near: vec![],
        }
    }

    /// What can be told of the rows `which` of a shadow.
    pub fn look(&mut self, shadow: &Shadow, which: &[usize], found: &mut [Found]) {
        // Where multiplication and addition are not fused nothing would be gained.
        if !fused() {
            found.iter_mut().for_each(|f| f.unsure = true);
            return;
        }
        let each = self.width.div_ceil(STEP);
        let mut near = std::mem::take(&mut self.near);
        near.resize(which.len().next_multiple_of(ROWS) * each, [0.0; STEP]);
        let this = &*self;
        vectorized(
            #[inline(always)]
            || {
                // A copy waits for no other, so that many cache misses overlap.
                for (near, i) in near.chunks_exact_mut(each).zip(which) {
                    let row = &shadow.steps[(i - shadow.start) * each..][..each];
                    for (near, step) in near.iter_mut().zip(row) {
                        for (near, v) in near.iter_mut().zip(step.0) {
                            *near = f32::from(v);
                        }
                    }
                }
                let tiles = near.chunks_exact(ROWS * each);
                for ((which, found), tile) in which.chunks(ROWS).zip(found.chunks_mut(ROWS)).zip(tiles) {
                    let (nearest, best, second) = this.two_least(tile);
                    let mut square = [0.0; ROWS];
                    for (square, i) in square.iter_mut().zip(which) {
                        *square = shadow.squares[i - shadow.start];
                    }
                    let mut all = [Found::default(); ROWS];
                    for r in 0..ROWS {
                        let reach = square[r].sqrt() + this.longest;
                        let off = this.error * reach * reach + UNDERFLOW;
                        let (first, second) = (square[r] + best[r] + off, square[r] + second[r] - off);
                        let first = if first > 0.0 { first } else { 0.0 };
                        let second = if second > 0.0 { second } else { 0.0 };
                        let upper = (first.sqrt() + this.apart) * (1.0 + 4.0 * f32::EPSILON);
                        let lower = second.sqrt() * (1.0 - 4.0 * f32::EPSILON) - this.apart;
                        // What is not a number is unsure too.
                        let sure = (upper < lower) & (off < f32::INFINITY);
                        all[r] = Found { nearest: nearest[r], upper, lower, unsure: !sure };
                    }
                    found.iter_mut().zip(all).for_each(|(found, all)| *found = all);
                }
            },
        );
        self.near = near;
    }

    /// The nearest center of each row, what its squared distance exceeds ‖x‖² by, and the same of the second.
    #[inline(always)]
    fn two_least(&self, tile: &[[f32; STEP]]) -> ([u32; ROWS], [f32; ROWS], [f32; ROWS]) {
        let (mut nearest, mut best, mut second) = ([0; ROWS], [f32::INFINITY; ROWS], [f32::INFINITY; ROWS]);
        let mut first = 0;
        for (group, start) in self.lanes.chunks_exact(self.width).zip(&self.starts) {
            let sums = sums(tile, group, start);
            for c in 0..LANES {
                let column = sums.map(
                    #[inline(always)]
                    |lanes| lanes[c],
                );
                for (r, sum) in column.into_iter().enumerate() {
                    let nearer = sum < best[r];
                    let passed = if nearer { best[r] } else { sum };
                    second[r] = if passed < second[r] { passed } else { second[r] };
                    nearest[r] = if nearer { first + c as u32 } else { nearest[r] };
                    best[r] = if nearer { sum } else { best[r] };
                }
            }
            first += LANES as u32;
        }
        (nearest, best, second)
    }
}

/// `start` plus the product of each row of a tile with a group's lanes.
#[inline(always)]
fn sums(tile: &[[f32; STEP]], group: &[[f32; LANES]], start: &[f32; LANES]) -> [[f32; LANES]; ROWS] {
    let each = tile.len() / ROWS;
    let rows: [&[[f32; STEP]]; ROWS] = std::array::from_fn(|r| &tile[r * each..(r + 1) * each]);
    let mut sums = [*start; ROWS];
    for (at, lanes) in group.chunks(STEP).enumerate() {
        let x: [&[f32; STEP]; ROWS] = rows.map(|row| &row[at]);
        for (j, lanes) in lanes.iter().enumerate().take(STEP) {
            for (sums, x) in sums.iter_mut().zip(x) {
                for (sum, lane) in sums.iter_mut().zip(lanes) {
                    *sum = x[j].mul_add(*lane, *sum);
                }
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_wherever_it_is_sure() {
        let noise =
            |i: usize| ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64;
        for (at, spread) in [(0.0, 1.0), (1e6, 1.0), (0.0, 1e-25), (0.0, 1e25), (3.0, 1e12)] {
            for (rows, width, k) in [(50, 1, 3), (37, 28, 8), (64, 100, 21)] {
                let value = |i: usize| at + spread * noise(i);
                let x: Vec<f64> = (0..rows * width).map(value).collect();
                let points: Vec<f64> = (0..k * width).map(|i| value(i + 7_777)).collect();
                let chunk = Chunk { rows, x: &x, ..Chunk::default() };
                let span = Span::of(&chunk);
                let (centers, mut shadow) = (Centers::new(&points, width), Shadow::default());
                shadow.cast(&chunk, &span, 3..rows);
                let which: Vec<usize> = (3..rows).rev().collect();
                let mut found = vec![Found::default(); which.len()];
                Screen::new(&centers, &span).look(&shadow, &which, &mut found);
                let mut sure = 0;
                for (i, found) in which.iter().zip(found).filter(|(_, f)| !f.unsure) {
                    let far = |c: usize| -> f64 {
                        let point = &points[c * width..(c + 1) * width];
                        chunk.row(*i).iter().zip(point).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
                    };
                    let mut order: Vec<usize> = (0..k).collect();
                    order.sort_by(|a, b| far(*a).total_cmp(&far(*b)));
                    assert_eq!(found.nearest as usize, order[0]);
                    assert!(far(order[0]) <= f64::from(found.upper), "{} {}", far(order[0]), found.upper);
                    assert!(far(order[1]) >= f64::from(found.lower), "{} {}", far(order[1]), found.lower);
                    sure += 1;
                }
                let telling = fused() && (1e-6..1e18).contains(&spread);
                assert!(!telling || sure > rows / 2, "{at} {spread} {width}: {sure} of {rows}");
            }
        }
    }
}
