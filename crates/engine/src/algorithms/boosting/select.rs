//! Exact order statistics of values that lie on many shards: quantiles of targets and residuals, and the least of the
//! largest gradients.
//!
//! Each search knows a range of values that the sought one lies in. A round counts the values of the range in equal
//! cells; the next range is the one cell that matters. Counts are integers and cells follow from the range, so neither
//! the order of the rows nor their shards matter. Two or three rounds find a value among millions.

use serde::{Deserialize, Serialize};

/// Rounds after which a range is taken as a value: 64 rounds tell any two doubles apart that occur together in practice.
const ROUNDS: usize = 64;
/// Cells of all searches of a round together.
const CELLS: usize = 1 << 16;

/// Values that lie in one cell.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// How many.
    count: u64,
    /// Their weights, in units.
    weight: i128,
    min: f64,
    max: f64,
}

const EMPTY: Cell = Cell { count: 0, weight: 0, min: f64::INFINITY, max: f64::NEG_INFINITY };

/// What a shard counted for each search; empty where it was not asked.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Cells(Vec<Vec<Cell>>);

/// What shards are told of one search: the range, or nothing where it has ended.
pub type Range = Option<[f64; 2]>;

impl Cells {
    /// No counts, for searches in these ranges.
    pub fn new(ranges: &[Range]) -> Cells {
        let cells = (CELLS / ranges.len().max(1)).clamp(16, 1024);
        Cells(ranges.iter().map(|r| vec![EMPTY; if r.is_some() { cells } else { 0 }]).collect())
    }

    /// Counts a value of a search whose range is `range`; values beyond it were counted before.
    #[inline]
    pub fn count(&mut self, search: usize, range: [f64; 2], value: f64, weight: i128) {
        let [low, high] = range;
        let Some(cells) = self.0.get_mut(search) else { return };
        if !(low..=high).contains(&value) {
            return;
        }
        // Monotone in the value, and the range's ends fall into different cells.
        let place = (value - low) * (cells.len() as f64 / (high - low));
        let last = cells.len().saturating_sub(1);
        if let Some(cell) = cells.get_mut((place as usize).min(last)) {
            cell.count += 1;
            cell.weight += weight;
            cell.min = cell.min.min(value);
            cell.max = cell.max.max(value);
        }
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: Cells) {
        if self.0.is_empty() {
            *self = other;
            return;
        }
        for (cells, other) in self.0.iter_mut().zip(other.0) {
            for (a, b) in cells.iter_mut().zip(other) {
                a.count += b.count;
                a.weight += b.weight;
                a.min = a.min.min(b.min);
                a.max = a.max.max(b.max);
            }
        }
    }
}

/// Which value is sought.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sought {
    /// The quantile of values of weight 1, linear between two of them (as LightGBM's `PercentileFun`).
    Quantile(f64),
    /// The first value up to which more than this share of the weight lies (as LightGBM's `WeightedPercentileFun`,
    /// which then steps off it by a rule that depends on the order of ties; not so here).
    Weighted(f64),
    /// The value that so many values are not less than: 1 for the greatest.
    Greatest(u64),
}

/// A search, as the job knows it.
#[derive(Debug, Clone)]
pub struct Search {
    sought: Sought,
    range: [f64; 2],
    /// Values, and their weight, in all; known after the first round.
    total: Option<(u64, i128)>,
    /// Those below the range.
    below: (u64, i128),
    found: Option<f64>,
    rounds: usize,
}

impl Search {
    /// Begins, with a range that no value lies outside of.
    pub fn new(sought: Sought, low: f64, high: f64) -> Search {
        Search { sought, range: [low, high], total: None, below: (0, 0), found: None, rounds: 0 }
    }

    /// What to tell the shards.
    pub fn range(&self) -> Range {
        self.found.is_none().then_some(self.range)
    }

    /// The value; 0 where there were none.
    pub fn found(&self) -> f64 {
        self.found.unwrap_or(0.0)
    }

    /// Takes in the counts of a round.
    fn narrow(&mut self, cells: &[Cell]) {
        if self.found.is_some() {
            return;
        }
        let mut filled = cells.iter().filter(|c| c.count > 0).peekable();
        if filled.peek().is_none() {
            self.found = Some(0.0);
            return;
        }
        let inside = filled.clone().fold((0, 0), |(n, w), c| (n + c.count, w + c.weight));
        let (rows, weight) = *self.total.get_or_insert(inside);
        self.rounds += 1;
        // The cells that the wanted ranks lie in, from 0: one rank, or two neighbours of which `bias` tells the share.
        let mut below = self.below;
        match self.sought {
            Sought::Weighted(alpha) => {
                let threshold = weight as f64 * alpha;
                let mut at = None;
                for cell in filled {
                    at = Some((cell, below));
                    if (below.1 + cell.weight) as f64 > threshold {
                        break;
                    }
                    below = (below.0 + cell.count, below.1 + cell.weight);
                }
                if let Some((cell, below)) = at {
                    self.enter(cell, below, cell.min);
                }
            }
            Sought::Quantile(_) | Sought::Greatest(_) => {
                let (low, high, bias) = match self.sought {
                    Sought::Greatest(k) => {
                        let rank = rows - k.clamp(1, rows);
                        (rank, rank, 0.0)
                    }
                    Sought::Quantile(alpha) | Sought::Weighted(alpha) => {
                        // Counted from the greatest, as LightGBM does, so that rounding is the same.
                        let place = (rows - 1) as f64 * (1.0 - alpha);
                        let above = (place as u64).min(rows - 1);
                        let high = rows - 1 - above;
                        (high.saturating_sub(1), high, if high == 0 { 0.0 } else { place - above as f64 })
                    }
                };
                let between = |low: f64, high: f64| high - (high - low) * bias;
                let mut before: Option<&Cell> = None;
                for cell in filled {
                    if high < below.0 + cell.count {
                        match before {
                            // The lower rank is the last one of the cells before.
                            Some(other) if low < below.0 => self.found = Some(between(other.max, cell.min)),
                            _ if cell.count == 2 && high == low + 1 => {
                                self.found = Some(between(cell.min, cell.max));
                            }
                            _ => self.enter(cell, below, cell.min),
                        }
                        return;
                    }
                    below.0 += cell.count;
                    before = Some(cell);
                }
            }
        }
    }

    /// Goes on within a cell; the search is over where it is one value.
    fn enter(&mut self, cell: &Cell, below: (u64, i128), value: f64) {
        if cell.min >= cell.max || self.rounds >= ROUNDS {
            self.found = Some(value);
        } else {
            self.range = [cell.min, cell.max];
            self.below = below;
        }
    }
}

/// Takes in a round's counts for all searches. Whether any of them goes on.
pub fn narrow(searches: &mut [Search], cells: &Cells) -> bool {
    for (search, cells) in searches.iter_mut().zip(&cells.0) {
        search.narrow(cells);
    }
    searches.iter().any(|s| s.found.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(values: &[f64], weights: &[i128], sought: Sought) -> (f64, usize) {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mut searches = [Search::new(sought, low, high)];
        for round in 1.. {
            let ranges: Vec<Range> = searches.iter().map(Search::range).collect();
            let mut total = Cells::default();
            for (values, weights) in values.chunks(7).zip(weights.chunks(7)) {
                let mut cells = Cells::new(&ranges);
                for (v, w) in values.iter().zip(weights) {
                    cells.count(0, ranges[0].unwrap(), *v, *w);
                }
                total.merge(cells);
            }
            if !narrow(&mut searches, &total) {
                return (searches[0].found(), round);
            }
        }
        unreachable!()
    }

    #[test]
    fn quantiles_are_those_of_sorted_values() {
        let spread: Vec<f64> = (0..5000u64).map(|i| ((i * 7919) % 4999) as f64 * 0.37 - 500.0).collect();
        let mut skewed: Vec<f64> = spread.iter().map(|v| (v / 50.0).exp()).collect();
        skewed[17] = 1e18;
        let tied: Vec<f64> = (0..100).map(|i| f64::from(i % 3)).collect();
        for values in [spread, skewed, tied, vec![3.0], vec![1.0, 2.0], vec![5.0; 40]] {
            let ones = vec![1; values.len()];
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let n = sorted.len();
            for alpha in [0.001, 0.25, 0.5, 0.9, 0.999] {
                let place = (n - 1) as f64 * (1.0 - alpha);
                let above = place as usize;
                let (high, bias) = (n - 1 - above, place - above as f64);
                let low = high.saturating_sub(1);
                let wanted = sorted[high] - (sorted[high] - sorted[low]) * bias;
                let (found, rounds) = search(&values, &ones, Sought::Quantile(alpha));
                assert_eq!(found, wanted, "{n} {alpha}");
                assert!(rounds < 12, "{rounds}");
            }
            for k in [1, 2, n as u64 / 3 + 1] {
                let k = k.min(n as u64);
                assert_eq!(search(&values, &ones, Sought::Greatest(k)).0, sorted[n - k as usize]);
            }
        }
    }

    #[test]
    fn weighted_quantiles_pass_their_share() {
        let values: Vec<f64> = (0..999u64).map(|i| ((i * 37) % 997) as f64).collect();
        let weights: Vec<i128> = (0..999).map(|i| 1 + i % 5).collect();
        let mut pairs: Vec<(f64, i128)> = values.iter().copied().zip(weights.iter().copied()).collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: i128 = weights.iter().sum();
        for alpha in [0.01, 0.5, 0.77] {
            let mut sum = 0;
            let wanted = pairs.iter().find(|p| {
                sum += p.1;
                sum as f64 > total as f64 * alpha
            });
            assert_eq!(search(&values, &weights, Sought::Weighted(alpha)).0, wanted.unwrap().0);
        }
    }
}
