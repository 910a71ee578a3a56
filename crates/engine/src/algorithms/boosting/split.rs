//! The best split of a node, from its histogram. Numbers as in LightGBM's `FindBestThreshold`; categories as in its
//! `FindBestThresholdCategorical` (levels sorted by gradient, Fisher 1958).

use super::super::trees::bins::Bins;
use super::super::trees::nodes::BinSet;
use super::histogram::{Layout, Units};
use super::params::SplitRules;

/// A category with no more bins than this is split one level against the others.
const ONE_HOT: usize = 4;

/// Sums of a node's rows, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sums {
    /// Of first derivatives.
    pub g: i64,
    /// Of second derivatives.
    pub h: i64,
    /// Rows. Of a side that is only considered: estimated from `h`, as in LightGBM; exact where `h` is 1 in each row.
    pub rows: u64,
}

/// A split that could be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// What it gains over its node.
    pub gain: f64,
    /// The feature's place in the layout.
    pub feature: usize,
    /// Bins that go left.
    pub left: BinSet,
    /// Numbers: the last bin of values that goes left.
    pub bin: u8,
    /// Where missing values go.
    pub missing_left: bool,
    /// The left side.
    pub sums: Sums,
    /// `lambda_l2` of the leaves that it makes.
    pub lambda_l2: f64,
}

/// The value of a leaf before shrinkage.
pub fn leaf_value(sums: &Sums, units: &Units, l1: f64, l2: f64) -> f64 {
    let (g, h) = (sums.g as f64 * units.g, sums.h as f64 * units.h);
    if h + l2 > 0.0 { -soft(g, l1) / (h + l2) } else { 0.0 }
}

fn soft(g: f64, l1: f64) -> f64 {
    if l1 == 0.0 { g } else { (g.abs() - l1).max(0.0).copysign(g) }
}

/// Values splits of one node.
struct Judge<'a> {
    rules: &'a SplitRules,
    units: Units,
    node: Sums,
    /// Rows for one unit of `h`.
    rows_per_h: f64,
    /// What a split's gain must exceed.
    floor: f64,
}

impl Judge<'_> {
    fn score(&self, g: i64, h: i64, l2: f64) -> f64 {
        let g = soft(g as f64 * self.units.g, self.rules.lambda_l1);
        g * g / (h as f64 * self.units.h + l2)
    }

    fn rows(&self, h: i64) -> u64 {
        if self.units.constant { h as u64 } else { (h as f64 * self.rows_per_h + 0.5) as u64 }
    }

    fn heavy(&self, h: i64, rows: u64) -> bool {
        h > 0
            && rows >= self.rules.min_data_in_leaf
            && h as f64 * self.units.h >= self.rules.min_sum_hessian_in_leaf
    }

    /// The gain of putting `(g, h)` on one side, where both sides are heavy enough.
    fn gain(&self, g: i64, h: i64, l2: f64) -> Option<f64> {
        let rows = self.rows(h);
        let (other_h, other_rows) = (self.node.h - h, self.node.rows.saturating_sub(rows));
        if !self.heavy(h, rows) || !self.heavy(other_h, other_rows) {
            return None;
        }
        Some(self.score(g, h, l2) + self.score(self.node.g - g, other_h, l2))
    }

    /// Whether the other side is too light already, and would only get lighter.
    fn spent(&self, h: i64) -> bool {
        !self.heavy(self.node.h - h, self.node.rows.saturating_sub(self.rows(h)))
    }

    fn sums(&self, g: i64, h: i64) -> Sums {
        Sums { g, h, rows: self.rows(h).min(self.node.rows) }
    }
}

/// The best split of a node, if any gains enough. `allowed` says which features may be used (empty: all).
pub fn best(
    histogram: &[i64],
    node: &Sums,
    layout: &Layout,
    bins: &[Bins],
    rules: &SplitRules,
    units: &Units,
    allowed: &[bool],
) -> Option<Candidate> {
    let rows_per_h = node.rows as f64 / (node.h as f64).max(1.0);
    let mut judge = Judge { rules, units: *units, node: *node, rows_per_h, floor: 0.0 };
    let whole = judge.score(node.g, node.h, rules.lambda_l2);
    if node.h <= 0 || node.rows < rules.min_data_in_leaf.saturating_mul(2) || !whole.is_finite() {
        return None;
    }
    // What rounding alone can add to the sum of two sides is no gain.
    judge.floor = whole * (1.0 + 1e-13) + rules.min_gain_to_split;
    let mut best: Option<Candidate> = None;
    for (f, (ends, feature)) in layout.starts.windows(2).zip(&layout.features).enumerate() {
        if allowed.get(f) == Some(&false) {
            continue;
        }
        let pairs = histogram[ends[0] * 2..ends[1] * 2].as_chunks::<2>().0;
        let bins = &bins[*feature as usize];
        let found =
            if bins.is_category() { category(&judge, pairs, f) } else { numeric(&judge, pairs, bins, f) };
        if let Some(c) = found
            && best.as_ref().is_none_or(|b| c.gain > b.gain)
        {
            best = Some(c);
        }
    }
    best.map(|b| Candidate { gain: b.gain - whole, ..b })
}

/// A set of the bins `0 ..= last`.
fn up_to(last: u8) -> BinSet {
    let mut set = [0; 4];
    for bin in 0..=last {
        add(&mut set, bin);
    }
    set
}

fn add(set: &mut BinSet, bin: u8) {
    set[usize::from(bin >> 6)] |= 1 << (bin & 63);
}

fn numeric(judge: &Judge, pairs: &[[i64; 2]], bins: &Bins, feature: usize) -> Option<Candidate> {
    let l2 = judge.rules.lambda_l2;
    let [missing_g, missing_h] = if bins.missing { pairs.get(bins.values).copied()? } else { [0, 0] };
    let mut best = judge.floor;
    let mut found: Option<(u8, bool, i64, i64)> = None;
    // Of splits that are equal, because empty bins lie between them, the last one is taken.
    for missing_left in [false, true] {
        let (mut g, mut h) = if missing_left { (missing_g, missing_h) } else { (0, 0) };
        let last = if !missing_left && missing_h > 0 { bins.values } else { bins.values.saturating_sub(1) };
        let (mut judged, mut best_so_far) = (false, false);
        for (bin, pair) in pairs.iter().enumerate().take(last) {
            if judged && *pair == [0, 0] {
                // Small nodes leave most bins empty: the split is the one before, and gains the same.
                if let (true, Some(found)) = (best_so_far, &mut found) {
                    found.0 = bin as u8;
                }
                continue;
            }
            g += pair[0];
            h += pair[1];
            (judged, best_so_far) = (true, false);
            if judge.spent(h) {
                break;
            }
            if let Some(gain) = judge.gain(g, h, l2)
                && (gain > best || (gain == best && found.is_some()))
            {
                best = gain;
                found = Some((bin as u8, missing_left, g, h));
                best_so_far = true;
            }
        }
        if missing_h == 0 {
            break;
        }
    }
    let (bin, missing_left, g, h) = found?;
    let sums = judge.sums(g, h);
    // Without missing values to learn from, they go where most rows go.
    let missing_left = if missing_h > 0 { missing_left } else { sums.rows * 2 >= judge.node.rows };
    let mut left = up_to(bin);
    if missing_left {
        add(&mut left, bins.values as u8);
    }
    Some(Candidate { gain: best, feature, left, bin, missing_left, sums, lambda_l2: l2 })
}

fn category(judge: &Judge, pairs: &[[i64; 2]], feature: usize) -> Option<Candidate> {
    let rules = judge.rules;
    let mut best = judge.floor;
    let candidate = |gain: f64, bins: &[u8], g: i64, h: i64, lambda_l2: f64| {
        let mut left = [0; 4];
        bins.iter().for_each(|b| add(&mut left, *b));
        Candidate { gain, feature, left, bin: 0, missing_left: false, sums: judge.sums(g, h), lambda_l2 }
    };
    if pairs.len() <= ONE_HOT {
        let mut found = None;
        for (bin, [g, h]) in pairs.iter().enumerate() {
            if let Some(gain) = judge.gain(*g, *h, rules.lambda_l2)
                && gain > best
            {
                best = gain;
                found = Some((bin as u8, *g, *h));
            }
        }
        return found.map(|(bin, g, h)| candidate(best, &[bin], g, h, rules.lambda_l2));
    }
    let l2 = rules.lambda_l2 + rules.cat_l2;
    let mut order: Vec<(f64, u8)> = vec![];
    for (bin, [g, h]) in pairs.iter().enumerate() {
        if *h > 0 && judge.rows(*h) as f64 >= rules.cat_smooth {
            let steady = *h as f64 * judge.units.h + rules.cat_smooth;
            order.push((*g as f64 * judge.units.g / steady, bin as u8));
        }
    }
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut found: Option<(bool, usize, i64, i64)> = None;
    let most = rules.max_cat_threshold.min(order.len().div_ceil(2));
    for backwards in [false, true] {
        let (mut g, mut h, mut group) = (0, 0, 0);
        for taken in 0..most {
            let bin = order[if backwards { order.len() - 1 - taken } else { taken }].1;
            let [pair_g, pair_h] = pairs[usize::from(bin)];
            g += pair_g;
            h += pair_h;
            group += judge.rows(pair_h);
            let rows = judge.rows(h);
            if !judge.heavy(h, rows) {
                continue;
            }
            let rest = judge.node.rows.saturating_sub(rows);
            if rest < rules.min_data_per_group || !judge.heavy(judge.node.h - h, rest) {
                break;
            }
            if group < rules.min_data_per_group {
                continue;
            }
            group = 0;
            if let Some(gain) = judge.gain(g, h, l2)
                && gain > best
            {
                best = gain;
                found = Some((backwards, taken + 1, g, h));
            }
        }
    }
    let (backwards, count, g, h) = found?;
    let bins: Vec<u8> = if backwards {
        order.iter().rev().take(count).map(|o| o.1).collect()
    } else {
        order.iter().take(count).map(|o| o.1).collect()
    };
    Some(candidate(best, &bins, g, h, l2))
}
