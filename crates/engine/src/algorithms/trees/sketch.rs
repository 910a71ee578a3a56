//! Counts of values, from which bin edges are chosen ([`super::bins`]).
//!
//! A column's values are counted exactly while there are few distinct ones, and else in cells of a fixed grid over
//! the order-preserving integer image of `f64`. Cells that hold too many rows are counted again on a finer grid in
//! the next round. Every count is an integer and every grid depends on totals alone, so the result depends neither
//! on the order of the rows nor on their shards.

use serde::{Deserialize, Serialize};

/// Columns with more distinct values than this are counted on the grid.
const EXACT: usize = 1024;
/// Slots of the table of distinct values: a power of two, at least twice `EXACT`.
const SLOTS: usize = 2048;
/// A cell of the first grid is named by this many low bits cut off: sign, exponent and 4 bits of mantissa stay.
const COARSE: u32 = 48;
/// Rounds of refinement before the cells are taken as they are.
pub const REFINEMENTS: usize = 4;

/// The integer image of a number: `a < b` just when `key(a) < key(b)`. Never called with NaN.
pub fn key(x: f64) -> u64 {
    let bits = (x + 0.0).to_bits();
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

/// The number of an integer image.
pub fn number(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

/// Values between two others, both included, and how many rows have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Rows.
    pub count: u64,
    /// The least image found.
    pub min: u64,
    /// The greatest image found.
    pub max: u64,
}

impl Cell {
    const EMPTY: Cell = Cell { count: 0, min: u64::MAX, max: 0 };

    fn add(&mut self, other: Cell) {
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    #[inline]
    fn count(&mut self, key: u64) {
        self.count += 1;
        if key < self.min {
            self.min = key;
        }
        if key > self.max {
            self.max = key;
        }
    }
}

/// The counts of one column in one round.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Rows without a value.
    pub missing: u64,
    /// Numbers in the first round: sorted cells. In a refinement: the cells of the grids, one after another, empty
    /// ones included.
    pub cells: Vec<Cell>,
    /// Whether each of the cells is one value (first round only).
    pub coarse: bool,
    /// Categories: rows of each level.
    pub levels: Vec<u64>,
}

impl Counts {
    /// Adds another shard's counts of the same round.
    pub fn merge(&mut self, mut other: Counts, refined: bool) {
        self.missing += other.missing;
        add_all(&mut self.levels, &other.levels);
        if refined {
            if self.cells.is_empty() {
                self.cells = other.cells;
            } else {
                self.cells.iter_mut().zip(other.cells).for_each(|(a, b)| a.add(b));
            }
            return;
        }
        if self.coarse != other.coarse {
            let exact = if self.coarse { &mut other } else { &mut *self };
            coarsen(&mut exact.cells);
            self.coarse = true;
        }
        let same = |a: &Cell, b: &Cell| {
            if self.coarse { a.min >> COARSE == b.min >> COARSE } else { a.min == b.min }
        };
        let mut merged: Vec<Cell> = Vec::with_capacity(self.cells.len().max(other.cells.len()));
        let (mut a, mut b) = (self.cells.iter().peekable(), other.cells.iter().peekable());
        while let Some(next) = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.min <= y.min => a.next(),
            (Some(_), None) => a.next(),
            _ => b.next(),
        } {
            match merged.last_mut() {
                Some(last) if same(last, next) => last.add(*next),
                _ => merged.push(*next),
            }
        }
        self.cells = merged;
        if !self.coarse && self.cells.len() > EXACT {
            coarsen(&mut self.cells);
            self.coarse = true;
        }
    }
}

/// Adds element by element; an empty side is zero.
pub fn add_all<T: Copy + std::ops::AddAssign>(into: &mut Vec<T>, from: &[T]) {
    if into.is_empty() {
        into.extend_from_slice(from);
    } else {
        into.iter_mut().zip(from).for_each(|(a, b)| *a += *b);
    }
}

/// From cells of one value to cells of the first grid.
fn coarsen(cells: &mut Vec<Cell>) {
    cells.dedup_by(|next, last| {
        let same = next.min >> COARSE == last.min >> COARSE;
        if same {
            last.add(*next);
        }
        same
    });
}

/// Counts one column of a shard in the first round.
pub enum Tally {
    /// A number: distinct values, while they are few.
    Exact { missing: u64, slots: Vec<(u64, u64)>, used: usize },
    /// A number: pages of 256 cells, by the image's first byte, then its second.
    Grid { missing: u64, pages: Vec<Vec<Cell>> },
    /// A category.
    Levels { missing: u64, levels: Vec<u64> },
}

impl Tally {
    /// An empty count of a number, or of a category with so many levels.
    pub fn new(levels: Option<u32>) -> Tally {
        match levels {
            None => Tally::Exact { missing: 0, slots: vec![(u64::MAX, 0); SLOTS], used: 0 },
            Some(n) => Tally::Levels { missing: 0, levels: vec![0; n as usize] },
        }
    }

    /// Counts the values of a column.
    pub fn count(&mut self, values: impl Iterator<Item = f64>) {
        for x in values {
            match self {
                Tally::Exact { missing, .. } | Tally::Grid { missing, .. } if x.is_nan() => *missing += 1,
                Tally::Exact { slots, used, .. } => {
                    let key = key(x);
                    let mut i = (key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize;
                    while slots[i].0 != key && slots[i].1 != 0 {
                        i = (i + 1) % SLOTS;
                    }
                    *used += usize::from(slots[i].1 == 0);
                    slots[i] = (key, slots[i].1 + 1);
                    if *used > EXACT {
                        self.spill();
                    }
                }
                Tally::Grid { pages, .. } => count_coarse(pages, key(x)),
                Tally::Levels { missing, levels } => match levels.get_mut(x as usize) {
                    Some(count) if x >= 0.0 => *count += 1,
                    _ => *missing += 1,
                },
            }
        }
    }

    /// From distinct values to the grid.
    fn spill(&mut self) {
        if let Tally::Exact { missing, slots, .. } = self {
            let mut pages: Vec<Vec<Cell>> = vec![vec![]; 256];
            for (key, count) in slots.iter().filter(|s| s.1 > 0) {
                page(&mut pages, *key).add(Cell { count: *count, min: *key, max: *key });
            }
            *self = Tally::Grid { missing: *missing, pages };
        }
    }

    /// The counts, to send.
    pub fn counts(self) -> Counts {
        match self {
            Tally::Exact { missing, slots, .. } => {
                let filled = slots.into_iter().filter(|s| s.1 > 0);
                let mut cells: Vec<Cell> =
                    filled.map(|(key, count)| Cell { count, min: key, max: key }).collect();
                cells.sort_unstable_by_key(|c| c.min);
                Counts { missing, cells, coarse: false, levels: vec![] }
            }
            Tally::Grid { missing, pages } => {
                let cells = pages.into_iter().flatten().filter(|c| c.count > 0).collect();
                Counts { missing, cells, coarse: true, levels: vec![] }
            }
            Tally::Levels { missing, levels } => Counts { missing, levels, ..Counts::default() },
        }
    }
}

fn page(pages: &mut [Vec<Cell>], key: u64) -> &mut Cell {
    let page = &mut pages[(key >> 56) as usize];
    if page.is_empty() {
        page.resize(256, Cell::EMPTY);
    }
    &mut page[(key >> COARSE) as usize & 255]
}

fn count_coarse(pages: &mut [Vec<Cell>], key: u64) {
    page(pages, key).count(key);
}

/// A cell to be counted again, cut into `parts` of `1 << shift` images each.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Refine {
    /// The cell's least image.
    pub min: u64,
    /// The cell's greatest image.
    pub max: u64,
    /// The size of a part.
    pub shift: u32,
    /// Where its parts begin among the column's.
    pub first: u32,
    /// How many parts.
    pub parts: u32,
}

/// The cells that hold more than their share of `total` rows and more than one value, with finer grids for them.
pub fn refinements(cells: &[Cell], total: u64, max_bin: usize) -> Vec<Refine> {
    let share = (total / (max_bin as u64 * 4)).max(1);
    let mut first = 0;
    let heavy = cells.iter().filter(|c| c.min < c.max && c.count > share);
    heavy
        .map(|c| {
            let wanted = (c.count / share * 4).clamp(8, 4096);
            let span = c.max - c.min;
            let shift = 64 - (span / wanted).leading_zeros();
            let parts = (span >> shift) as u32 + 1;
            let refine = Refine { min: c.min, max: c.max, shift, first, parts };
            first += parts;
            refine
        })
        .collect()
}

/// Counts one column of a shard in a round of refinement.
pub struct Finer {
    cells: Vec<Cell>,
    /// The first grid's number of the first cell that is refined.
    base: u64,
    /// From there on: how many refined cells lie before each cell of the first grid, and one entry more. Most values
    /// find theirs without a search.
    before: Vec<u16>,
}

impl Finer {
    /// Empty cells.
    pub fn new(refine: &[Refine]) -> Finer {
        let cells = vec![Cell::EMPTY; refine.last().map_or(0, |r| (r.first + r.parts) as usize)];
        let base = refine.first().map_or(0, |r| r.min >> COARSE);
        let end = refine.last().map_or(base, |r| (r.max >> COARSE) + 1);
        let mut before = Vec::with_capacity((end - base) as usize + 1);
        let mut count = 0;
        for grid in base..=end {
            // There are at most a few for each bin.
            while refine.get(count).is_some_and(|r| r.max >> COARSE < grid) {
                count += 1;
            }
            before.push(count as u16);
        }
        Finer { cells, base, before }
    }

    /// Counts values in the finer cells; what lies outside of them was counted before.
    pub fn count(&mut self, refine: &[Refine], values: impl Iterator<Item = f64>) {
        for x in values {
            if x.is_nan() {
                continue;
            }
            let key = key(x);
            let grid = (key >> COARSE).wrapping_sub(self.base) as usize;
            let Some([from, to]) = self.before.get(grid..).and_then(|b| b.first_chunk()) else { continue };
            let Some(near) = refine.get(usize::from(*from)..usize::from(*to)) else { continue };
            let i = if near.len() > 1 { near.partition_point(|r| r.max < key) } else { 0 };
            if let Some(r) = near.get(i)
                && key >= r.min
                && key <= r.max
                && let Some(cell) = self.cells.get_mut(r.first as usize + ((key - r.min) >> r.shift) as usize)
            {
                cell.count(key);
            }
        }
    }

    /// The counts, to send.
    pub fn counts(self) -> Counts {
        Counts { cells: self.cells, ..Counts::default() }
    }
}

/// Puts the finer cells in the place of those that were refined.
pub fn replace(cells: &mut Vec<Cell>, refine: &[Refine], finer: &[Cell]) {
    let mut next = Vec::with_capacity(cells.len() + finer.len());
    let mut waiting = refine.iter().peekable();
    for cell in cells.iter() {
        match waiting.peek() {
            Some(r) if r.min == cell.min => {
                let parts = finer.iter().skip(r.first as usize).take(r.parts as usize);
                next.extend(parts.filter(|c| c.count > 0));
                waiting.next();
            }
            _ => next.push(*cell),
        }
    }
    *cells = next;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(values: &[f64]) -> Counts {
        let mut tally = Tally::new(None);
        tally.count(values.iter().copied());
        tally.counts()
    }

    #[test]
    fn images_keep_the_order() {
        let sorted = [f64::NEG_INFINITY, -1e300, -1.0, -1e-300, 0.0, 5e-324, 1.0, 1e300, f64::INFINITY];
        assert!(sorted.windows(2).all(|w| key(w[0]) < key(w[1])));
        assert!(sorted.iter().all(|x| number(key(*x)) == *x));
        assert_eq!(key(-0.0), key(0.0));
    }

    #[test]
    fn counts_do_not_depend_on_shards_or_order() {
        let values: Vec<f64> = (0..5000u64).map(|i| ((i * 7919) % 4093) as f64 / 7.0 - 100.0).collect();
        let whole = counts(&values);
        assert!(whole.coarse);
        for cut in [0, 1, 700, 1500, 4999] {
            let (a, b) = values.split_at(cut);
            for (a, b) in [(a, b), (b, a)] {
                let mut sum = counts(a);
                sum.merge(counts(b), false);
                assert_eq!((&sum.cells, sum.coarse), (&whole.cells, true));
            }
        }
    }

    #[test]
    fn refinement_separates_values_that_share_a_coarse_cell() {
        let values: Vec<f64> = (0..4000).map(|i| 1.0e9 + f64::from(i)).collect();
        let mut cells = counts(&values).cells;
        assert_eq!(cells.len(), 1);
        for _ in 0..REFINEMENTS {
            let refine = refinements(&cells, 4000, 255);
            let mut parts = Finer::new(&refine);
            parts.count(&refine, values.iter().copied());
            replace(&mut cells, &refine, &parts.cells);
        }
        assert_eq!(cells.iter().map(|c| c.count).sum::<u64>(), 4000);
        assert!(cells.iter().all(|c| c.count <= 4), "{}", cells.len());
        assert!(cells.windows(2).all(|w| w[0].max < w[1].min));
    }

    #[test]
    fn finer_cells_are_found_wherever_they_lie() {
        let far = [-1e300, -3.0, -2.9, -1e-9, 0.0, 1e-9, 0.1, 0.11, 2.0, 2.0001, 1e12];
        let values: Vec<f64> = (0..60_000)
            .map(|i| far[i % 11] * (1.0 + (i / 11) as f64 / if i % 3 == 0 { 1e3 } else { 1e9 }))
            .collect();
        let mut cells = counts(&values).cells;
        for _ in 0..REFINEMENTS {
            let refine = refinements(&cells, 60_000, 255);
            let mut parts = Finer::new(&refine);
            parts.count(&refine, values.iter().copied().chain([f64::NAN, f64::MAX, f64::NEG_INFINITY]));
            for r in &refine {
                let within = values.iter().filter(|x| (r.min..=r.max).contains(&key(**x))).count() as u64;
                let found = &parts.cells[r.first as usize..(r.first + r.parts) as usize];
                assert_eq!(found.iter().map(|c| c.count).sum::<u64>(), within);
            }
            replace(&mut cells, &refine, &parts.cells);
        }
        assert_eq!(cells.iter().map(|c| c.count).sum::<u64>(), 60_000);
    }
}
