//! The best split of a node, from its sums by bin.
//!
//! Numbers: every threshold between two values of the node, with missing values on either side, as scikit-learn does.
//! Categories: bins in the order of their mean target, which for two classes and for numbers holds the best of all
//! groupings (Fisher 1958; Breiman et al. 1984, theorem 4.5). For more classes there is no such order; the orders by
//! the share of each of the node's eight most frequent classes are tried (one class against the others).
//! Extremely randomised trees (Geurts et al. 2006) draw one threshold, or one group of levels, a feature.

use super::super::trees::bins::{Bins, middle};
use super::super::trees::nodes::BinSet;
use super::draw::{mix, unit};
use super::params::{Criterion, Rules};
use super::rows::{CELLS, Format, Sum};

/// A class is tried against the others in splits by category while it is among so many most frequent ones.
const RIVALS: usize = 8;

/// A split that could be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// How much it lowers the impurity, in the units of sums.
    pub gain: f64,
    /// The feature's lane.
    pub lane: u32,
    /// Bins that go left.
    pub left: BinSet,
    /// Numbers: rows with no greater value go left.
    pub threshold: f64,
    /// Where missing values go.
    pub missing_left: bool,
    /// The sums of the left side.
    pub sums: Vec<i64>,
}

/// The features as splits see them.
pub struct Judge<'a> {
    /// The layout of sums.
    pub format: Format,
    /// What splits must satisfy.
    pub rules: &'a Rules,
    /// The bins of all features.
    pub bins: &'a [Bins],
    /// The least and greatest value of each bin of each feature.
    pub ranges: &'a [Vec<(f64, f64)>],
    /// The feature of each lane.
    pub useful: &'a [u32],
    /// The least weight of a leaf.
    pub min_weight: f64,
}

/// Sums of one side of a split.
trait Side: Clone {
    fn empty(channels: usize) -> Self;
    fn add(&mut self, cell: &[i64]);
    /// Makes this `whole` less `part`.
    fn set_rest(&mut self, whole: &Self, part: &Self);
    fn rows(&self) -> i64;
    fn weight(&self) -> f64;
    /// What the criterion adds up over sides; larger is purer.
    fn score(&self, criterion: Criterion) -> f64;
    /// Along what the levels of a category are ordered.
    fn share(&self, class: usize) -> f64;
    /// The most frequent classes, where there are more than two.
    fn rivals(&self) -> Vec<usize>;
}

fn surprise(x: f64) -> f64 {
    if x > 0.0 { x * x.log2() } else { 0.0 }
}

#[derive(Clone, Copy)]
struct Two {
    rows: i64,
    ones: i64,
}

impl Side for Two {
    fn empty(_: usize) -> Self {
        Two { rows: 0, ones: 0 }
    }
    fn add(&mut self, cell: &[i64]) {
        self.rows += cell[0] & 0xffff_ffff;
        self.ones += cell[0] >> 32;
    }
    fn set_rest(&mut self, whole: &Self, part: &Self) {
        *self = Two { rows: whole.rows - part.rows, ones: whole.ones - part.ones };
    }
    fn rows(&self) -> i64 {
        self.rows
    }
    fn weight(&self) -> f64 {
        self.rows as f64
    }
    fn score(&self, criterion: Criterion) -> f64 {
        let (all, one) = (self.rows as f64, self.ones as f64);
        let zero = (self.rows - self.ones) as f64;
        match criterion {
            Criterion::Entropy => surprise(zero) + surprise(one) - surprise(all),
            _ => (zero * zero + one * one) / all,
        }
    }
    fn share(&self, _: usize) -> f64 {
        self.ones as f64 / self.rows as f64
    }
    fn rivals(&self) -> Vec<usize> {
        vec![1]
    }
}

/// Weights of classes, and where rows are weighted their number.
#[derive(Clone)]
struct Classes<const WEIGHTED: bool> {
    classes: Vec<i64>,
    weight: i64,
    rows: i64,
}

impl<const WEIGHTED: bool> Side for Classes<WEIGHTED> {
    fn empty(channels: usize) -> Self {
        Classes { classes: vec![0; channels - usize::from(WEIGHTED)], weight: 0, rows: 0 }
    }
    #[inline]
    fn add(&mut self, cell: &[i64]) {
        let mut weight = 0;
        for (a, b) in self.classes.iter_mut().zip(cell) {
            *a += b;
            weight += b;
        }
        self.weight += weight;
        self.rows += if WEIGHTED { cell.last().copied().unwrap_or(0) } else { weight };
    }
    #[inline]
    fn set_rest(&mut self, whole: &Self, part: &Self) {
        for ((rest, whole), part) in self.classes.iter_mut().zip(&whole.classes).zip(&part.classes) {
            *rest = whole - part;
        }
        self.weight = whole.weight - part.weight;
        self.rows = whole.rows - part.rows;
    }
    fn rows(&self) -> i64 {
        self.rows
    }
    fn weight(&self) -> f64 {
        self.weight as f64
    }
    #[inline]
    fn score(&self, criterion: Criterion) -> f64 {
        match criterion {
            Criterion::Entropy => {
                self.classes.iter().map(|c| surprise(*c as f64)).sum::<f64>() - surprise(self.weight as f64)
            }
            // Counts of rows are below 2^31: their squares sum within 64 bits.
            _ if !WEIGHTED => self.classes.iter().map(|c| c * c).sum::<i64>() as f64 / self.weight as f64,
            _ => self.classes.iter().map(|c| *c as f64 * *c as f64).sum::<f64>() / self.weight as f64,
        }
    }
    fn share(&self, class: usize) -> f64 {
        self.classes[class] as f64 / self.weight as f64
    }
    fn rivals(&self) -> Vec<usize> {
        let mut classes: Vec<usize> = (0..self.classes.len()).filter(|c| self.classes[*c] > 0).collect();
        classes.sort_by_key(|c| (std::cmp::Reverse(self.classes[*c]), *c));
        // With two classes the order by one is that by the other, turned.
        if classes.len() == 2 {
            classes.truncate(1);
        }
        classes.truncate(RIVALS);
        classes
    }
}

/// A weight, a weighted target, and where rows are weighted their number.
#[derive(Clone, Copy)]
struct Mean<const WEIGHTED: bool> {
    weight: i64,
    sum: i64,
    rows: i64,
}

impl<const WEIGHTED: bool> Side for Mean<WEIGHTED> {
    fn empty(_: usize) -> Self {
        Mean { weight: 0, sum: 0, rows: 0 }
    }
    fn add(&mut self, cell: &[i64]) {
        self.weight += cell[0];
        self.sum += cell[1];
        self.rows += if WEIGHTED { cell[2] } else { cell[0] };
    }
    fn set_rest(&mut self, whole: &Self, part: &Self) {
        self.weight = whole.weight - part.weight;
        self.sum = whole.sum - part.sum;
        self.rows = whole.rows - part.rows;
    }
    fn rows(&self) -> i64 {
        self.rows
    }
    fn weight(&self) -> f64 {
        self.weight as f64
    }
    fn score(&self, _: Criterion) -> f64 {
        self.sum as f64 * self.sum as f64 / self.weight as f64
    }
    fn share(&self, _: usize) -> f64 {
        self.sum as f64 / self.weight as f64
    }
    fn rivals(&self) -> Vec<usize> {
        vec![0]
    }
}

/// The bins of a set, in order.
pub fn bins_of(set: &BinSet) -> impl Iterator<Item = u8> {
    let words = *set;
    (0..4u8).flat_map(move |word| {
        let mut bits = words[usize::from(word)];
        std::iter::from_fn(move || {
            let bit = bits.trailing_zeros();
            let found = (bits != 0).then_some(word * 64 + bit as u8);
            bits &= bits.wrapping_sub(1);
            found
        })
    })
}

/// Adds a bin to a set.
pub fn insert(set: &mut BinSet, bin: u8) {
    set[usize::from(bin >> 6)] |= 1 << (bin & 63);
}

/// What is the best so far.
struct Best {
    score: f64,
    found: Option<Found>,
}

struct Found {
    place: usize,
    how: How,
}

enum How {
    /// Of a category: the bins that go left.
    Levels(Vec<u8>),
    /// Of a number: the last bin on the left, the first one on the right, and whether missing values go left.
    Gap(u8, Option<u8>, bool),
}

impl Judge<'_> {
    /// The best split of a node with sums `node`, and whether any of the features has more than one value in it.
    /// The sums by bin of feature `lanes[i]` begin at `i * CELLS * channels`; `present` has the bins that may hold
    /// rows. `key` is what random choices are drawn from.
    pub fn best(
        &self,
        node: &[i64],
        lanes: &[u32],
        by_bin: &[i64],
        present: &[BinSet],
        key: u64,
    ) -> (Option<Candidate>, bool) {
        match (self.format.sum, self.format.weighted) {
            (Sum::Two, _) => self.find::<Two>(node, lanes, by_bin, present, key),
            (Sum::Classes(_), false) => self.find::<Classes<false>>(node, lanes, by_bin, present, key),
            (Sum::Classes(_), true) => self.find::<Classes<true>>(node, lanes, by_bin, present, key),
            (Sum::Mean, false) => self.find::<Mean<false>>(node, lanes, by_bin, present, key),
            (Sum::Mean, true) => self.find::<Mean<true>>(node, lanes, by_bin, present, key),
        }
    }

    fn find<S: Side>(
        &self,
        sums: &[i64],
        lanes: &[u32],
        by_bin: &[i64],
        present: &[BinSet],
        key: u64,
    ) -> (Option<Candidate>, bool) {
        let channels = self.format.channels();
        let mut node = S::empty(channels);
        node.add(sums);
        let whole = node.score(self.rules.criterion);
        // Numbers are split only where that gains more than rounding could; classes as long as they are mixed.
        let floor = if self.format.sum == Sum::Mean { whole * (1.0 + 1e-13) } else { f64::NEG_INFINITY };
        let mut best = Best { score: floor, found: None };
        let mut varied = false;
        let mut filled = [0; CELLS + 1];
        let mut scratch = [S::empty(channels), S::empty(channels)];
        let by_lane = by_bin.chunks_exact(CELLS * channels);
        for (place, ((lane, cells), present)) in lanes.iter().zip(by_lane).zip(present).enumerate() {
            let feature = self.useful[*lane as usize] as usize;
            let cell = |bin: u8| &cells[usize::from(bin) * channels..][..channels];
            // Bins that do hold rows.
            let mut count = 0;
            for bin in bins_of(present) {
                filled[count] = bin;
                count += usize::from(self.format.rows(cell(bin)) > 0);
                if count == CELLS {
                    break;
                }
            }
            let filled = &filled[..count];
            if filled.len() < 2 {
                continue;
            }
            varied = true;
            let key = mix(key, !(feature as u64));
            if self.bins[feature].is_category() {
                self.category(&node, filled, cell, place, key, &mut best);
            } else {
                self.number(&node, filled, cell, feature, place, key, &mut best, &mut scratch);
            }
        }
        let Best { score, found } = best;
        let candidate = found.map(|found| {
            let cells = &by_bin[found.place * CELLS * channels..][..CELLS * channels];
            self.candidate::<S>(&node, found, score - whole, lanes, cells, channels)
        });
        (candidate, varied)
    }

    /// The score of a split, where both sides may be leaves.
    #[inline]
    fn score<S: Side>(&self, left: &S, right: &S) -> Option<f64> {
        let least = left.rows().min(right.rows());
        if least < self.rules.min_samples_leaf.max(1) {
            return None;
        }
        if self.min_weight > 0.0 && left.weight().min(right.weight()) < self.min_weight {
            return None;
        }
        Some(left.score(self.rules.criterion) + right.score(self.rules.criterion))
    }

    #[allow(clippy::too_many_arguments)]
    fn number<'c, S: Side>(
        &self,
        node: &S,
        filled: &[u8],
        cell: impl Fn(u8) -> &'c [i64],
        feature: usize,
        place: usize,
        key: u64,
        best: &mut Best,
        scratch: &mut [S; 2],
    ) {
        let missing = self.bins[feature].values as u8;
        let (values, has_missing) = match filled.split_last() {
            Some((last, values)) if *last == missing => (values, true),
            _ => (filled, false),
        };
        let only = self.rules.random.then(|| self.draw(values, feature, key));
        let [left, right] = scratch;
        for missing_left in [false, true] {
            left.set_rest(node, node);
            if missing_left {
                left.add(cell(missing));
            }
            for (i, bin) in values.iter().enumerate() {
                left.add(cell(*bin));
                let next = values.get(i + 1).copied();
                if next.is_none() && (missing_left || !has_missing) {
                    break;
                }
                // A drawn place; the one behind all values only where there is no other.
                if only.is_some_and(|only| only != i) {
                    continue;
                }
                right.set_rest(node, left);
                if let Some(score) = self.score(left, right)
                    && score > best.score
                {
                    best.score = score;
                    best.found = Some(Found { place, how: How::Gap(*bin, next, missing_left) });
                }
            }
            if !has_missing {
                break;
            }
        }
    }

    /// The place of a threshold drawn between the least and the greatest value: the last of `values` on the left.
    fn draw(&self, values: &[u8], feature: usize, key: u64) -> usize {
        let ranges = &self.ranges[feature];
        let range = |bin: u8| ranges.get(usize::from(bin)).copied().unwrap_or((0.0, 0.0));
        let (Some(first), Some(last)) = (values.first(), values.last()) else { return 0 };
        let (low, high) = (range(*first).0, range(*last).1);
        let most = values.len().saturating_sub(2);
        let drawn = low + (high - low) * unit(key);
        if !drawn.is_finite() {
            return ((unit(key) * (most + 1) as f64) as usize).min(most);
        }
        values.partition_point(|b| range(*b).0 <= drawn).saturating_sub(1).min(most)
    }

    fn category<'c, S: Side>(
        &self,
        node: &S,
        filled: &[u8],
        cell: impl Fn(u8) -> &'c [i64],
        place: usize,
        key: u64,
        best: &mut Best,
    ) {
        let channels = self.format.channels();
        let mut try_split = |bins: &[u8], left: &S| {
            let mut right = S::empty(channels);
            right.set_rest(node, left);
            if let Some(score) = self.score(left, &right)
                && score > best.score
            {
                best.score = score;
                best.found = Some(Found { place, how: How::Levels(bins.to_vec()) });
            }
        };
        if self.rules.random {
            // Each level by a coin; the first and the last in a random order are apart, so that no side is empty.
            let mut order = filled.to_vec();
            order.sort_by_key(|bin| mix(key, u64::from(*bin)));
            let count = order.len();
            let goes = |i: usize, bin: u8| i == 0 || (i + 1 < count && mix(!key, u64::from(bin)) & 1 == 1);
            let bins: Vec<u8> =
                order.iter().enumerate().filter(|(i, b)| goes(*i, **b)).map(|(_, b)| *b).collect();
            let mut left = S::empty(channels);
            bins.iter().for_each(|b| left.add(cell(*b)));
            try_split(&bins, &left);
            return;
        }
        for class in node.rivals() {
            let share = |bin: u8| {
                let mut side = S::empty(channels);
                side.add(cell(bin));
                side.share(class)
            };
            let mut order: Vec<(f64, u8)> = filled.iter().map(|bin| (share(*bin), *bin)).collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let order: Vec<u8> = order.into_iter().map(|o| o.1).collect();
            let mut left = S::empty(channels);
            for taken in 1..order.len() {
                left.add(cell(order[taken - 1]));
                try_split(&order[..taken], &left);
            }
        }
    }

    fn candidate<S: Side>(
        &self,
        node: &S,
        found: Found,
        gain: f64,
        lanes: &[u32],
        cells: &[i64],
        channels: usize,
    ) -> Candidate {
        let lane = lanes[found.place];
        let feature = self.useful[lane as usize] as usize;
        let bins = &self.bins[feature];
        let cell = |bin: usize| &cells[bin * channels..][..channels];
        let seen = |bin: usize| self.format.rows(cell(bin)) > 0;
        let (missing, mut left, mut threshold) = (bins.values, [0; 4], 0.0);
        match &found.how {
            How::Levels(bins) => bins.iter().for_each(|b| insert(&mut left, *b)),
            How::Gap(last, next, missing_left) => {
                (0..=*last).for_each(|b| insert(&mut left, b));
                if *missing_left {
                    insert(&mut left, missing as u8);
                }
                let range = |bin: u8| self.ranges[feature].get(usize::from(bin)).copied();
                threshold = match (range(*last), next.and_then(range)) {
                    (Some(low), Some(high)) => middle(low.1, high.0),
                    // All values go left, and missing ones right.
                    _ => f64::INFINITY,
                };
            }
        }
        let mut sums = vec![0; channels];
        for bin in bins_of(&left) {
            sums.iter_mut().zip(cell(usize::from(bin))).for_each(|(a, b)| *a += b);
        }
        // What this node saw no row of goes where most rows go.
        if self.format.rows(&sums) * 2 >= node.rows() {
            let unseen = match found.how {
                How::Levels(_) => 0..=missing,
                How::Gap(..) => missing..=missing,
            };
            unseen.filter(|bin| !seen(*bin)).for_each(|bin| insert(&mut left, bin as u8));
        }
        let missing_left = super::super::trees::nodes::has(&left, missing as u8);
        Candidate { gain, lane, left, threshold, missing_left, sums }
    }
}
