//! Which features share a byte of a row: those of which at most one has another bin than its most frequent one in
//! any row, such as the columns of a one-hot code (the bundles of Ke et al. 2017, section 4, without conflicts).
//!
//! Sharing loses nothing: a feature's sums over its most frequent bin are the total less those over its other bins.
//! So each shard shares as its own rows allow, and the sums are the same.

use super::histogram::{Both, Layout};
use crate::error::Result;
use crate::learner::Cx;

/// Codes of a lane.
const CODES: usize = 256;
/// Rows that are looked at to find features that may share.
const SAMPLE: usize = 1 << 14;
/// A feature with more than one row in so many outside its most frequent bin stays alone.
const SPARSE: usize = 2;
/// Rows between two looks at the stop flag.
const BLOCK: usize = 1 << 14;

/// Where a feature's bins are.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Place {
    lane: usize,
    /// Shared lanes: the code of the feature's first bin that is not `default`. Code 0 is the default of all.
    first: usize,
    /// Shared lanes: the most frequent bin; none where the feature is alone and codes are bins.
    default: Option<usize>,
}

/// The lanes of a shard's rows.
#[derive(Debug, Default)]
pub struct Lanes {
    /// Of each feature.
    places: Vec<Place>,
    /// Bins of each feature where that matters.
    bins: Vec<usize>,
    lanes: usize,
}

impl Lanes {
    /// One lane a feature.
    pub fn apart(features: usize) -> Lanes {
        let places = (0..features).map(|lane| Place { lane, first: 0, default: None }).collect();
        Lanes { places, bins: vec![0; features], lanes: features }
    }

    /// Bytes a row: lanes, rounded up to a number that has kernels.
    pub fn stride(&self) -> usize {
        self.lanes.next_multiple_of(4)
    }

    /// A feature's lane, and its bin for each code of that lane.
    pub fn codes(&self, feature: usize) -> (usize, [u8; CODES]) {
        let Place { lane, first, default } = self.places[feature];
        let bin = |code: usize| match default {
            None => code,
            Some(default) => match code.checked_sub(first) {
                Some(i) if i + 1 < self.bins[feature] => i + usize::from(i >= default),
                _ => default,
            },
        };
        (lane, std::array::from_fn(|code| bin(code) as u8))
    }

    /// Sums by bin, from those by code, which are set back to zero. Packed ones are of no more rows than a run has: they do
    /// not overflow, and so neither do their differences.
    pub fn packed<B: Both>(&self, sums: &mut [[B; CODES]], layout: &Layout) -> Vec<B> {
        let mut out = Vec::with_capacity(layout.len() / 2);
        // That of all rows, which is the same in each lane.
        let shared = self.places.iter().find(|p| p.default.is_some());
        let sum = |of: &[B]| of.iter().fold(B::ZERO, |sum, b| sum.plus(*b));
        let total = shared.map_or(B::ZERO, |place| sum(&sums[place.lane]));
        for (place, ends) in self.places.iter().zip(layout.starts.windows(2)) {
            let (sums, bins) = (&mut sums[place.lane], ends[1] - ends[0]);
            match place.default {
                None => out.extend(sums[..bins].iter_mut().map(|sum| std::mem::replace(sum, B::ZERO))),
                // The columns of a one-hot code.
                Some(default) if bins == 2 => {
                    let (other, rest) = (sums[place.first], total.minus(sums[place.first]));
                    out.extend(if default == 0 { [rest, other] } else { [other, rest] });
                }
                Some(default) => {
                    let others = &sums[place.first..place.first + bins - 1];
                    out.extend_from_slice(&others[..default]);
                    out.push(total.minus(sum(others)));
                    out.extend_from_slice(&others[default..]);
                }
            }
        }
        let mut cleared = usize::MAX;
        for place in self.places.iter().filter(|p| p.default.is_some()) {
            if place.lane != cleared {
                sums[place.lane] = [B::ZERO; CODES];
                cleared = place.lane;
            }
        }
        out
    }
}

/// Finds features that can share lanes, and moves the rows' bins together, in place.
pub fn share(rows: &mut Vec<u8>, layout: &Layout, cx: &Cx) -> Result<Lanes> {
    let features = layout.features.len();
    let apart = Lanes::apart(features);
    let stride = apart.stride();
    let count = rows.len() / stride.max(1);
    let bins: Vec<usize> = layout.starts.windows(2).map(|ends| ends[1] - ends[0]).collect();
    let mut defaults = candidates(rows, stride, count, &bins);
    let bundles = bundle(rows, stride, count, &bins, &defaults);
    // The sample's word is checked on every row; whoever breaks it stays alone.
    for from in (0..count).step_by(BLOCK) {
        cx.check()?;
        let block = &rows[from * stride..(from + BLOCK).min(count) * stride];
        for bundle in &bundles {
            let mut owner = [false; BLOCK];
            for f in bundle {
                let Some(default) = defaults[*f] else { continue };
                let values = || block.iter().skip(*f).step_by(stride).map(|bin| usize::from(*bin) != default);
                if values().zip(&owner).any(|(here, taken)| here & taken) {
                    defaults[*f] = None;
                } else {
                    values().zip(&mut owner).for_each(|(here, taken)| *taken |= here);
                }
            }
        }
    }
    let mut shared: Vec<Vec<usize>> = vec![];
    for bundle in bundles {
        let kept: Vec<usize> = bundle.into_iter().filter(|f| defaults[*f].is_some()).collect();
        if kept.len() > 1 {
            shared.push(kept);
        }
    }
    if shared.is_empty() {
        rows.shrink_to_fit();
        return Ok(apart);
    }
    let lanes = Lanes::shared(&shared, &defaults, bins);
    let to = lanes.stride();
    let alone: Vec<(usize, usize)> = lanes
        .places
        .iter()
        .enumerate()
        .filter(|(_, p)| p.default.is_none())
        .map(|(f, p)| (f, p.lane))
        .collect();
    let together: Vec<(usize, Place, usize)> = lanes
        .places
        .iter()
        .enumerate()
        .filter_map(|(f, p)| p.default.map(|default| (f, *p, default)))
        .collect();
    let (mut old, mut new) = (vec![0; stride], vec![0; to]);
    for row in 0..count {
        if row % BLOCK == 0 {
            cx.check()?;
        }
        old.copy_from_slice(&rows[row * stride..(row + 1) * stride]);
        new.fill(0);
        for (f, lane) in &alone {
            new[*lane] = old[*f];
        }
        for (f, place, default) in &together {
            let bin = usize::from(old[*f]);
            if bin != *default {
                new[place.lane] = (place.first + bin - usize::from(bin > *default)) as u8;
            }
        }
        rows[row * to..(row + 1) * to].copy_from_slice(&new);
    }
    rows.truncate(count * to);
    rows.shrink_to_fit();
    Ok(lanes)
}

impl Lanes {
    fn shared(bundles: &[Vec<usize>], defaults: &[Option<usize>], bins: Vec<usize>) -> Lanes {
        let mut lanes = Lanes { bins, ..Lanes::apart(defaults.len()) };
        let mut taken = vec![false; defaults.len()];
        for (lane, bundle) in bundles.iter().enumerate() {
            let mut first = 1;
            for f in bundle {
                taken[*f] = true;
                lanes.places[*f] = Place { lane, first, default: defaults[*f] };
                first += lanes.bins[*f] - 1;
            }
        }
        lanes.lanes = bundles.len();
        for f in (0..taken.len()).filter(|f| !taken[*f]) {
            lanes.places[f] = Place { lane: lanes.lanes, first: 0, default: None };
            lanes.lanes += 1;
        }
        lanes
    }
}

/// The rows of the sample.
fn sample(count: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(SAMPLE);
    (0..taken).map(move |i| i * count / taken)
}

/// The most frequent bin of each feature that is rarely outside of it, judged by a sample.
fn candidates(rows: &[u8], stride: usize, count: usize, bins: &[usize]) -> Vec<Option<usize>> {
    let mut found = vec![None; bins.len()];
    for (f, found) in found.iter_mut().enumerate() {
        let mut seen = [0usize; CODES];
        sample(count).for_each(|row| seen[usize::from(rows[row * stride + f])] += 1);
        let default = (0..CODES).max_by_key(|bin| seen[*bin]).unwrap_or(0);
        let others = count.min(SAMPLE) - seen[default];
        if count > 0 && others * SPARSE <= count.min(SAMPLE) && default < bins[f] {
            *found = Some(default);
        }
    }
    found
}

/// Groups of candidates that no row of the sample puts together, each of them to the first group that has room.
fn bundle(
    rows: &[u8],
    stride: usize,
    count: usize,
    bins: &[usize],
    defaults: &[Option<usize>],
) -> Vec<Vec<usize>> {
    let mut groups: Vec<(Vec<usize>, Vec<bool>, usize)> = vec![];
    for (f, default) in defaults.iter().enumerate() {
        let Some(default) = default else { continue };
        let outside: Vec<bool> =
            sample(count).map(|row| usize::from(rows[row * stride + f]) != *default).collect();
        let codes = bins[f] - 1;
        let fits = |taken: &[bool]| !taken.iter().zip(&outside).any(|(a, b)| *a & *b);
        match groups.iter_mut().find(|(_, taken, used)| used + codes <= CODES && fits(taken)) {
            Some((group, taken, used)) => {
                group.push(f);
                *used += codes;
                taken.iter_mut().zip(&outside).for_each(|(a, b)| *a |= *b);
            }
            None => groups.push((vec![f], outside, 1 + codes)),
        }
    }
    groups.into_iter().map(|(group, ..)| group).filter(|group| group.len() > 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Silent;
    use std::sync::atomic::AtomicBool;

    /// Rows of features whose most frequent bins are the first, one in the middle, and the last; no two of them are
    /// outside theirs in a row. The fourth is in all bins alike, and stays alone.
    fn rows(bins: &[usize], defaults: &[usize], stride: usize) -> Vec<u8> {
        let mut rows = vec![];
        for i in 0..4000usize {
            let mut row = vec![0; stride];
            defaults.iter().zip(&mut row).for_each(|(default, bin)| *bin = *default as u8);
            // Every other bin of the feature whose turn it is.
            let f = i % 40;
            if f < defaults.len() {
                row[f] = ((defaults[f] + 1 + i / 40 % (bins[f] - 1)) % bins[f]) as u8;
            }
            row[defaults.len()] = (i % bins[defaults.len()]) as u8;
            rows.extend(row);
        }
        rows
    }

    #[test]
    fn shared_lanes_keep_every_bin_of_every_row() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        // The last case fills a lane to its last code: 1 + 100 + 155 = 256.
        for (bins, defaults) in [
            (vec![6, 5, 9, 7], vec![0, 2, 8]),
            (vec![2, 2, 2, 200], vec![1, 0, 1]),
            (vec![101, 156, 7], vec![50, 155]),
            (vec![101, 157, 7], vec![0, 3]),
        ] {
            let features: Vec<u32> = (0..bins.len() as u32).collect();
            let starts: Vec<usize> = std::iter::once(0)
                .chain(bins.iter().scan(0, |at, b| {
                    *at += b;
                    Some(*at)
                }))
                .collect();
            let layout = Layout { features, starts };
            let stride = Lanes::apart(bins.len()).stride();
            let before = rows(&bins, &defaults, stride);
            let mut after = before.clone();
            let lanes = share(&mut after, &layout, &cx).unwrap();
            let full = bins.iter().take(defaults.len()).map(|b| b - 1).sum::<usize>() + 1 > CODES;
            assert_eq!(lanes.lanes < bins.len(), !full, "{bins:?}: the features share a lane where they fit");
            let to = lanes.stride();
            assert_eq!(after.len(), before.len() / stride * to);
            for (row, (old, new)) in before.chunks(stride).zip(after.chunks(to)).enumerate() {
                for (f, expected) in old.iter().enumerate().take(bins.len()) {
                    let (lane, codes) = lanes.codes(f);
                    assert_eq!(codes[usize::from(new[lane])], *expected, "{bins:?}: row {row}, feature {f}");
                }
            }
            // Sums by code become sums by bin.
            let mut sums = vec![[0i64; CODES]; lanes.lanes];
            let mut expected = vec![0; layout.starts[bins.len()]];
            for (row, (old, new)) in before.chunks(stride).zip(after.chunks(to)).enumerate() {
                let value = row as i64 % 13 - 6;
                (0..lanes.lanes).for_each(|lane| sums[lane][usize::from(new[lane])] += (value << 20) + 1);
                for (start, bin) in layout.starts.iter().zip(old).take(bins.len()) {
                    expected[start + usize::from(*bin)] += (value << 20) + 1;
                }
            }
            assert_eq!(lanes.packed(&mut sums, &layout), expected, "{bins:?}");
            assert!(sums.iter().flatten().all(|s| *s == 0), "{bins:?}: sums are left behind");
        }
    }
}
