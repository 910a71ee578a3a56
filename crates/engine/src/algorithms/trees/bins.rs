//! Bins: from a value to one byte. Edges are put between counted values as LightGBM does (`GreedyFindBin`, Ke et al.
//! 2017): about as many rows a bin, a bin of its own for a value that is very common.

use super::sketch::{Cell, number};
use serde::{Deserialize, Serialize};

/// The fewest rows of a bin, as in LightGBM.
const MIN_DATA_IN_BIN: u64 = 3;
/// The most levels of a category with a bin of their own: one byte, less the bin of the others.
const MAX_LEVELS: usize = 254;

/// The bins of one feature: `values` bins in order, then one for missing values (of a category: for levels too rare
/// to have their own, also).
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Bins {
    /// Numbers: bin `i` holds `edges[i - 1] < x <= edges[i]`.
    pub edges: Vec<f64>,
    /// Categories: the bin of each code; empty for numbers.
    pub levels: Vec<u8>,
    /// Bins of values, 255 at most.
    pub values: usize,
    /// Whether rows lie in the bin of missing values.
    pub missing: bool,
}

impl Bins {
    /// The bins of a number, from its counted values.
    pub fn numeric(cells: &[Cell], missing: u64, max_bin: usize) -> Bins {
        Bins::numeric_of(cells, missing, max_bin, MIN_DATA_IN_BIN)
    }

    /// The same with at least `min_rows` rows in each bin.
    pub fn numeric_of(cells: &[Cell], missing: u64, max_bin: usize, min_rows: u64) -> Bins {
        let edges = edges(cells, max_bin, min_rows.max(1));
        let values = if cells.is_empty() { 0 } else { edges.len() + 1 };
        Bins { edges, levels: vec![], values, missing: missing > 0 }
    }

    /// The bins of a category, from the rows of each code: the most frequent first.
    pub fn category(rows: &[u64], missing: u64, max_bin: usize) -> Bins {
        let mut order: Vec<usize> = (0..rows.len()).filter(|c| rows[*c] > 0).collect();
        order.sort_by_key(|c| (std::cmp::Reverse(rows[*c]), *c));
        let kept = order.len().min(max_bin).min(MAX_LEVELS);
        let mut levels = vec![kept as u8; rows.len()];
        for (bin, code) in order.iter().take(kept).enumerate() {
            levels[*code] = bin as u8;
        }
        Bins { edges: vec![], levels, values: kept, missing: missing > 0 || order.len() > kept }
    }

    /// The bins of a category whose levels have them already: `other` bins, and the next one for all other levels.
    pub fn category_in(levels: &[u8], other: u8, rows: &[u64], missing: u64) -> Bins {
        let rare = levels.iter().zip(rows).any(|(bin, rows)| *bin == other && *rows > 0);
        let values = usize::from(other);
        Bins { edges: vec![], levels: levels.to_vec(), values, missing: missing > 0 || rare }
    }

    /// Bins that rows lie in, the missing one included.
    pub fn total(&self) -> usize {
        self.values + usize::from(self.missing)
    }

    /// Whether a split could tell rows apart.
    pub fn useful(&self) -> bool {
        self.total() > 1
    }

    /// Whether it is a category.
    pub fn is_category(&self) -> bool {
        !self.levels.is_empty()
    }

    /// Writes the bins of a column.
    pub fn fill<'a>(&self, values: impl Iterator<Item = f64>, out: impl Iterator<Item = &'a mut u8>) {
        let missing = self.values as u8;
        if self.is_category() {
            for (x, out) in values.zip(out) {
                *out = level(&self.levels, missing, x);
            }
        } else {
            for (x, out) in values.zip(out) {
                *out = if x.is_nan() { missing } else { self.edges.partition_point(|e| *e < x) as u8 };
            }
        }
    }
}

/// The bin of a category's code; `other` for a missing or unknown one.
pub fn level(levels: &[u8], other: u8, code: f64) -> u8 {
    if code >= 0.0 { levels.get(code as usize).copied().unwrap_or(other) } else { other }
}

/// The greatest value of a bin, put half way to the next one, and never on the next one.
fn between(low: u64, high: u64) -> f64 {
    middle(number(low), number(high))
}

/// A number half way between two, that is never the higher one.
pub fn middle(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    if middle >= low && middle < high { middle } else { low }
}

fn edges(cells: &[Cell], max_bin: usize, min_rows: u64) -> Vec<f64> {
    let mut edges = vec![];
    let total: u64 = cells.iter().map(|c| c.count).sum();
    let pairs = cells.iter().zip(cells.iter().skip(1));
    if cells.len() <= max_bin {
        let mut rows = 0;
        for (cell, next) in pairs {
            rows += cell.count;
            if rows >= min_rows {
                edges.push(between(cell.max, next.min));
                rows = 0;
            }
        }
        return edges;
    }
    let max_bin = (total / min_rows).clamp(1, max_bin as u64);
    let share = total as f64 / max_bin as f64;
    let big = |c: &Cell| c.count as f64 >= share;
    let mut bins_left = max_bin - cells.iter().filter(|c| big(c)).count() as u64;
    let mut rows_left: u64 = cells.iter().filter(|c| !big(c)).map(|c| c.count).sum();
    let mut wanted = rows_left as f64 / bins_left.max(1) as f64;
    let mut rows = 0;
    for (cell, next) in pairs {
        if edges.len() as u64 + 1 >= max_bin {
            break;
        }
        if !big(cell) {
            rows_left -= cell.count;
        }
        rows += cell.count;
        let full = rows as f64 >= wanted;
        if big(cell) || full || (big(next) && rows as f64 >= (wanted * 0.5).max(1.0)) {
            edges.push(between(cell.max, next.min));
            rows = 0;
            if !big(cell) {
                bins_left = bins_left.saturating_sub(1);
                wanted = rows_left as f64 / bins_left.max(1) as f64;
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::super::sketch::key;
    use super::*;

    fn cells(values: &[(f64, u64)]) -> Vec<Cell> {
        values.iter().map(|(x, count)| Cell { count: *count, min: key(*x), max: key(*x) }).collect()
    }

    fn bin(bins: &Bins, x: f64) -> u8 {
        let mut out = [0];
        bins.fill(std::iter::once(x), out.iter_mut());
        out[0]
    }

    #[test]
    fn few_values_have_a_bin_each() {
        let bins = Bins::numeric(&cells(&[(-1.0, 5), (0.0, 3), (2.0, 9)]), 1, 255);
        assert_eq!((bins.edges.as_slice(), bins.total()), ([-0.5, 1.0].as_slice(), 4));
        assert_eq!([-9.0, -0.5, -0.4, 1.0, 1.1, f64::NAN].map(|x| bin(&bins, x)), [0, 0, 1, 1, 2, 3]);
    }

    #[test]
    fn many_values_share_bins_of_like_size() {
        let values: Vec<(f64, u64)> =
            (0..5000).map(|i| (f64::from(i), if i == 80 { 3000 } else { 1 })).collect();
        let bins = Bins::numeric(&cells(&values), 0, 50);
        assert!((48..=50).contains(&bins.values), "{}", bins.values);
        let common = bin(&bins, 80.0);
        assert!(bin(&bins, 81.0) > common && bin(&bins, 79.0) < common);
    }

    #[test]
    fn infinite_values_keep_their_bins() {
        let bins = Bins::numeric(&cells(&[(f64::NEG_INFINITY, 5), (1.0, 5), (f64::INFINITY, 5)]), 0, 255);
        assert_eq!([f64::NEG_INFINITY, 1.0, f64::INFINITY].map(|x| bin(&bins, x)), [0, 1, 2]);
    }

    #[test]
    fn rare_levels_share_the_bin_of_missing_values() {
        let rows: Vec<u64> = (0..400).map(|c| if c == 7 { 0 } else { 1000 - c }).collect();
        let bins = Bins::category(&rows, 0, 255);
        assert_eq!((bins.values, bins.missing), (254, true));
        assert_eq!(
            [0.0, 7.0, 255.0, 399.0, 1e9, f64::NAN].map(|x| bin(&bins, x)),
            [0, 254, 254, 254, 254, 254]
        );
        assert_eq!(bin(&bins, 254.0), 253);
    }
}
