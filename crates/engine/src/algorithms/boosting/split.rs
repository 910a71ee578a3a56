//! The best split of a node, from its histogram. Numbers as in LightGBM's `FindBestThreshold`; categories as in its
//! `FindBestThresholdCategorical` (levels sorted by gradient, Fisher 1958).

use super::super::trees::bins::Bins;
use super::super::trees::nodes::BinSet;
use super::histogram::{Layout, Units};
use super::loss::draw;
use super::params::SplitRules;
use crate::dense;
use std::cmp::Ordering;
use std::ops::Range;

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

/// A node whose split is sought.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its rows.
    pub sums: Sums,
    /// Its own value, which its children are drawn towards.
    pub value: f64,
    /// What its leaves' values must lie between.
    pub bounds: [f64; 2],
    /// The features that may be used; empty for all.
    pub allowed: &'a [bool],
    /// Its random numbers begin here.
    pub salt: u64,
}

/// No bounds.
pub const UNBOUND: [f64; 2] = [f64::NEG_INFINITY, f64::INFINITY];

/// The value of a leaf before shrinkage, from sums of derivatives.
pub fn leaf_value(
    [g, h]: [f64; 2],
    rows: u64,
    rules: &SplitRules,
    l2: f64,
    parent: f64,
    bounds: [f64; 2],
) -> f64 {
    let mut value = if h + l2 > 0.0 { -soft(g, rules.lambda_l1) / (h + l2) } else { 0.0 };
    if rules.max_delta_step > 0.0 {
        value = value.clamp(-rules.max_delta_step, rules.max_delta_step);
    }
    if rules.path_smooth > 0.0 {
        let own = rows as f64 / rules.path_smooth;
        value = (value * own + parent) / (own + 1.0);
    }
    // Bounds meet in one value at worst: they are halves of an interval.
    value.max(bounds[0]).min(bounds[1])
}

fn soft(g: f64, l1: f64) -> f64 {
    if l1 == 0.0 { g } else { (g.abs() - l1).max(0.0).copysign(g) }
}

/// What children's values must lie between, when their values are these and the node was split by a feature that
/// predictions rise (1) or fall (-1) with.
pub fn child_bounds(bounds: [f64; 2], sign: i8, values: [f64; 2]) -> [[f64; 2]; 2] {
    let [low, high] = bounds;
    let middle = (values[0] / 2.0 + values[1] / 2.0).max(low).min(high);
    match sign {
        1 => [[low, middle], [middle, high]],
        -1 => [[middle, high], [low, middle]],
        _ => [bounds; 2],
    }
}

/// Values splits of one node.
struct Judge<'a> {
    rules: &'a SplitRules,
    units: Units,
    place: &'a Place<'a>,
    node: Sums,
    /// Whether a leaf's value is not simply the one that gains most.
    shaped: bool,
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

    /// The rows of one bin. Those of several are summed: LightGBM rounds bin by bin.
    fn rows(&self, h: i64) -> u64 {
        if self.units.constant { h as u64 } else { (h as f64 * self.rows_per_h + 0.5) as i64 as u64 }
    }

    fn heavy(&self, h: i64, rows: u64) -> bool {
        h > 0
            && rows >= self.rules.min_data_in_leaf
            && h as f64 * self.units.h >= self.rules.min_sum_hessian_in_leaf
    }

    /// The gain of a side whose leaf may not have the value that gains most.
    fn shaped_score(&self, g: i64, h: i64, rows: u64, l2: f64, bounds: [f64; 2]) -> [f64; 2] {
        let (g, h) = (g as f64 * self.units.g, h as f64 * self.units.h);
        let value = leaf_value([g, h], rows, self.rules, l2, self.place.value, bounds);
        [-(2.0 * soft(g, self.rules.lambda_l1) * value + (h + l2) * value * value), value]
    }

    /// The gain of putting `(g, h)` on one side, where both sides are heavy enough, and predictions rise or fall as
    /// `sign` wants.
    #[inline]
    fn gain(&self, g: i64, h: i64, rows: u64, l2: f64, sign: i8) -> Option<f64> {
        let (other_h, other_rows) = (self.node.h - h, self.node.rows.saturating_sub(rows));
        if !self.heavy(h, rows) || !self.heavy(other_h, other_rows) {
            return None;
        }
        if !self.shaped {
            return Some(self.score(g, h, l2) + self.score(self.node.g - g, other_h, l2));
        }
        let bounds = self.place.bounds;
        let [one, left] = self.shaped_score(g, h, rows, l2, bounds);
        let [other, right] = self.shaped_score(self.node.g - g, other_h, other_rows, l2, bounds);
        let wrong = (sign > 0 && left > right) || (sign < 0 && left < right);
        (!wrong).then_some(one + other)
    }

    fn sums(&self, g: i64, h: i64, rows: u64) -> Sums {
        Sums { g, h, rows: rows.min(self.node.rows) }
    }
}

/// The best split of a node, if any gains enough. The histogram is of pairs, or packed.
pub fn best(
    histogram: &[i64],
    place: &Place,
    layout: &Layout,
    bins: &[Bins],
    rules: &SplitRules,
    units: &Units,
) -> Option<Candidate> {
    let node = &place.sums;
    let rows_per_h = node.rows as f64 / (node.h as f64).max(1.0);
    let shaped = !rules.monotone.is_empty() || rules.max_delta_step > 0.0 || rules.path_smooth > 0.0;
    let mut judge = Judge { rules, units: *units, place, node: *node, shaped, rows_per_h, floor: 0.0 };
    let whole = if shaped {
        judge.shaped_score(node.g, node.h, node.rows, rules.lambda_l2, UNBOUND)[0]
    } else {
        judge.score(node.g, node.h, rules.lambda_l2)
    };
    if node.h <= 0 || node.rows < rules.min_data_in_leaf.saturating_mul(2) || !whole.is_finite() {
        return None;
    }
    // What rounding alone can add to the sum of two sides is no gain.
    judge.floor = whole + whole.abs() * 1e-13 + rules.min_gain_to_split;
    let mut best: Option<Candidate> = None;
    let mut scan = Scan::EMPTY;
    let (packed, mask) = (histogram.len() * 2 == layout.len(), (1i64 << units.shift) - 1);
    let mut unpacked = [[0; 2]; 256];
    for (f, (ends, feature)) in layout.starts.windows(2).zip(&layout.features).enumerate() {
        if place.allowed.get(f) == Some(&false) {
            continue;
        }
        let pairs = if packed {
            let wide = &mut unpacked[..ends[1] - ends[0]];
            for (pair, p) in wide.iter_mut().zip(&histogram[ends[0]..ends[1]]) {
                *pair = [p >> units.shift, p & mask];
            }
            &*wide
        } else {
            histogram[ends[0] * 2..ends[1] * 2].as_chunks::<2>().0
        };
        let bins = &bins[*feature as usize];
        let found = if bins.is_category() {
            category(&judge, pairs, f)
        } else {
            let sign = rules.monotone.get(*feature as usize).copied().unwrap_or(0);
            numeric(&judge, pairs, bins, f, sign, &mut scan)
        };
        // The next has to gain more.
        if let Some(c) = found {
            judge.floor = c.gain;
            best = Some(c);
        }
    }
    best.map(|b| Candidate { gain: b.gain - whole, ..b })
}

/// A set of the bins `0 ..= last`.
fn up_to(last: u8) -> BinSet {
    let full = usize::from(last >> 6);
    std::array::from_fn(|word| match word.cmp(&full) {
        Ordering::Less => u64::MAX,
        Ordering::Equal => u64::MAX >> (63 - (last & 63)),
        Ordering::Greater => 0,
    })
}

fn add(set: &mut BinSet, bin: u8) {
    set[usize::from(bin >> 6)] |= 1 << (bin & 63);
}

/// The only one of `0 .. choices` that may be tried, where random thresholds are wanted.
fn only(judge: &Judge, feature: usize, choices: usize) -> Option<usize> {
    judge.rules.extra_trees.then(|| {
        let at = draw(judge.place.salt, 1, feature as u64) * choices as f64;
        (at as usize).min(choices.saturating_sub(1))
    })
}

/// A feature's possible splits, side by side: sums of the bins up to each.
struct Scan {
    /// The last bin on the left: with the empty ones behind it.
    bin: [u8; 256],
    sums: [[i64; 2]; 256],
    g: [f64; 256],
    h: [f64; 256],
    rows: [f64; 256],
    /// Of the splits that were weighed last.
    gain: [f64; 256],
    weighed: Range<usize>,
    len: usize,
}

impl Scan {
    const EMPTY: Scan = Scan {
        bin: [0; 256],
        sums: [[0; 2]; 256],
        g: [0.0; 256],
        h: [0.0; 256],
        rows: [0.0; 256],
        gain: [0.0; 256],
        weighed: 0..0,
        len: 0,
    };

    /// Sums the bins up. What can be done for several bins at once stands in loops of its own.
    fn fill(&mut self, judge: &Judge, pairs: &[[i64; 2]]) {
        let pairs = &pairs[..pairs.len().min(256)];
        let (constant, rows_per_h) = (judge.units.constant, judge.rows_per_h);
        let Scan { bin: bins, sums, g, h, rows, gain: own, .. } = self;
        dense::vectorized(
            #[inline(always)]
            || {
                for (own, pair) in own.iter_mut().zip(pairs) {
                    let h = pair[1] as f64;
                    *own = if constant { h } else { (h * rows_per_h + 0.5).trunc() };
                }
            },
        );
        let (mut sum, mut all, mut next) = ([0; 2], 0.0, 0);
        for (bin, (pair, own)) in pairs.iter().zip(&*own).enumerate() {
            // Small nodes leave most bins empty: their splits are the one before. Without a branch, as which ones are
            // empty cannot be foreseen.
            next += usize::from(bin == 0 || (pair[0] | pair[1]) != 0);
            sum = [sum[0] + pair[0], sum[1] + pair[1]];
            // Exact: rows are below 2^53.
            all += own;
            let at = next - 1;
            bins[at] = bin as u8;
            sums[at] = sum;
            rows[at] = all;
        }
        dense::vectorized(
            #[inline(always)]
            || {
                for ((g, h), sum) in g.iter_mut().zip(h).zip(&sums[..next]) {
                    (*g, *h) = (sum[0] as f64, sum[1] as f64);
                }
            },
        );
        self.len = next;
    }

    /// Rows of all bins.
    fn all_rows(&self) -> i64 {
        self.len.checked_sub(1).map_or(0, |last| self.rows[last] as i64)
    }

    /// What each split gains, with `more` on the left beside its bins; minus infinity where a side is too light. Gives
    /// the greatest gain.
    fn weigh(&mut self, judge: &Judge, l2: f64, more: [i64; 3]) -> f64 {
        let (rules, units) = (judge.rules, judge.units);
        let least = rules.min_data_in_leaf as f64;
        let [more_g, more_h, more_rows] = more.map(|v| v as f64);
        let (node_g, node_h, node_rows) = (judge.node.g as f64, judge.node.h as f64, judge.node.rows as f64);
        // Rows only grow from split to split: those with too few on a side stand at the ends.
        let rows = &self.rows[..self.len.min(256)];
        let left = |rows: &f64| (rows + more_rows).max(0.0);
        let start = rows.partition_point(|rows| left(rows) < least);
        let end = rows.partition_point(|rows| node_rows - left(rows) >= least);
        self.weighed = start..end.max(start);
        let weighed = self.weighed.clone();
        let sums = self.g[weighed.clone()].iter().zip(&self.h[weighed.clone()]).zip(&rows[weighed.clone()]);
        let gain = &mut self.gain[weighed];
        dense::vectorized(
            #[inline(always)]
            || {
                let heavy = |h: f64, n: f64| {
                    (h > 0.0) & (n >= least) & (h * units.h >= rules.min_sum_hessian_in_leaf)
                };
                let score = |g: f64, h: f64| {
                    let g = ((g * units.g).abs() - rules.lambda_l1).max(0.0);
                    g * g / (h * units.h + l2)
                };
                for (((g, h), rows), gain) in sums.zip(&mut *gain) {
                    let (g, h) = (g + more_g, h + more_h);
                    let rows = rows + more_rows;
                    let rows = if rows > 0.0 { rows } else { 0.0 };
                    let sum = score(g, h) + score(node_g - g, node_h - h);
                    let both = heavy(h, rows) & heavy(node_h - h, node_rows - rows);
                    *gain = if both { sum } else { f64::NEG_INFINITY };
                }
                let mut lanes = [f64::NEG_INFINITY; 8];
                for eight in gain.chunks(8) {
                    for (lane, gain) in lanes.iter_mut().zip(eight) {
                        *lane = if gain > lane { *gain } else { *lane };
                    }
                }
                lanes.iter().fold(f64::NEG_INFINITY, |a, b| if *b > a { *b } else { a })
            },
        )
    }

    /// The last bin on the left of the split that gains so much; of equal ones the last.
    fn at(&self, gain: f64) -> Option<u8> {
        let weighed = self.weighed.clone();
        let at = self.gain[weighed.clone()].iter().rposition(|g| *g == gain)?;
        self.bin[weighed].get(at).copied()
    }
}

fn numeric(
    judge: &Judge,
    pairs: &[[i64; 2]],
    bins: &Bins,
    feature: usize,
    sign: i8,
    scan: &mut Scan,
) -> Option<Candidate> {
    let l2 = judge.rules.lambda_l2;
    let [missing_g, missing_h] = if bins.missing { pairs.get(bins.values).copied()? } else { [0, 0] };
    let mut best = judge.floor;
    let mut found: Option<(u8, bool)> = None;
    let only = only(judge, feature, bins.values.saturating_sub(usize::from(missing_h == 0)));
    let values = pairs.get(..bins.values)?;
    // One split: it is not worth to lay it out.
    let plain = !judge.shaped && only.is_none() && (values.len() != 2 || missing_h > 0);
    if plain {
        scan.fill(judge, values);
    }
    // Rounded rows are summed over the side without the missing values; without any, over the right side.
    let counted = match (judge.units.constant, plain) {
        (true, _) => 0,
        (_, true) => scan.all_rows(),
        (_, false) => values.iter().map(|p| judge.rows(p[1]) as i64).sum(),
    };
    let before = |missing_left: bool| {
        let (g, h) = if missing_left { (missing_g, missing_h) } else { (0, 0) };
        let from_right = !judge.units.constant && (missing_left || missing_h == 0);
        let rows = match (from_right, missing_left) {
            (true, _) => judge.node.rows as i64 - counted,
            (false, true) => missing_h,
            _ => 0,
        };
        [g, h, rows]
    };
    // Of splits that are equal, because empty bins lie between them, the last one is taken.
    for missing_left in [false, true] {
        let sums = before(missing_left);
        if plain {
            let gain = scan.weigh(judge, l2, sums);
            if (gain > best || (gain == best && found.is_some()))
                && let Some(bin) = scan.at(gain)
            {
                best = gain;
                found = Some((bin, missing_left));
            }
        } else {
            let last =
                if !missing_left && missing_h > 0 { values.len() } else { values.len().saturating_sub(1) };
            let [mut g, mut h, mut rows] = sums;
            for (bin, pair) in values.iter().enumerate().take(last) {
                g += pair[0];
                h += pair[1];
                rows += judge.rows(pair[1]) as i64;
                if only.is_none_or(|only| only == bin)
                    && let Some(gain) = judge.gain(g, h, rows.max(0) as u64, l2, sign)
                    && (gain > best || (gain == best && found.is_some()))
                {
                    best = gain;
                    found = Some((bin as u8, missing_left));
                }
            }
        }
        if missing_h == 0 {
            break;
        }
    }
    let (bin, missing_left) = found?;
    let mut sums = before(missing_left);
    for pair in &pairs[..=usize::from(bin)] {
        sums = [sums[0] + pair[0], sums[1] + pair[1], sums[2] + judge.rows(pair[1]) as i64];
    }
    let sums = judge.sums(sums[0], sums[1], sums[2].max(0) as u64);
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
    let candidate = |gain: f64, bins: &[u8], g: i64, h: i64, rows: u64, lambda_l2: f64| {
        let mut left = [0; 4];
        bins.iter().for_each(|b| add(&mut left, *b));
        Candidate {
            gain,
            feature,
            left,
            bin: 0,
            missing_left: false,
            sums: judge.sums(g, h, rows),
            lambda_l2,
        }
    };
    if pairs.len() <= rules.max_cat_to_onehot {
        let mut found = None;
        let only = only(judge, feature, pairs.len());
        for (bin, [g, h]) in pairs.iter().enumerate() {
            if only.is_none_or(|only| only == bin)
                && let Some(gain) = judge.gain(*g, *h, judge.rows(*h), rules.lambda_l2, 0)
                && gain > best
            {
                best = gain;
                found = Some((bin as u8, *g, *h));
            }
        }
        return found.map(|(bin, g, h)| candidate(best, &[bin], g, h, judge.rows(h), rules.lambda_l2));
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
    let mut found: Option<(bool, usize, i64, i64, u64)> = None;
    let most = rules.max_cat_threshold.min(order.len().div_ceil(2));
    let only = only(judge, feature, most);
    for backwards in [false, true] {
        let (mut g, mut h, mut rows, mut group) = (0, 0, 0, 0);
        for taken in 0..most {
            let bin = order[if backwards { order.len() - 1 - taken } else { taken }].1;
            let [pair_g, pair_h] = pairs[usize::from(bin)];
            g += pair_g;
            h += pair_h;
            rows += judge.rows(pair_h);
            group += judge.rows(pair_h);
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
            if only.is_none_or(|only| only == taken)
                && let Some(gain) = judge.gain(g, h, rows, l2, 0)
                && gain > best
            {
                best = gain;
                found = Some((backwards, taken + 1, g, h, rows));
            }
        }
    }
    let (backwards, count, g, h, rows) = found?;
    let bins: Vec<u8> = if backwards {
        order.iter().rev().take(count).map(|o| o.1).collect()
    } else {
        order.iter().take(count).map(|o| o.1).collect()
    };
    Some(candidate(best, &bins, g, h, rows, l2))
}
