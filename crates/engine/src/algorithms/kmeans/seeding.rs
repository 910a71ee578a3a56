//! Where k-means begins: rows drawn by weight, and k-means++ on the rows so drawn.
//!
//! Rows are drawn by a race (Efraimidis & Spirakis, "Weighted random sampling with a reservoir", 2006): each row
//! gets the key -ln(u) / weight with u a hash of its number, and the least keys win. A draw so needs one pass, no
//! total beforehand, and has exactly the wanted size; it does not depend on how rows are dealt to shards. Equal
//! rows count as one whose weight is the sum of theirs, so that the drawn are distinct.

use crate::centers::{Centers, LANES};
use crate::error::{Error, Result};
use crate::learner::{Cx, Merge};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The distinct rows with the least keys, at most `limit`, in the order of their keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Picks {
    limit: usize,
    picks: Vec<(f64, Vec<f64>)>,
}

impl Picks {
    /// None yet, of at most `limit`.
    pub fn new(limit: usize) -> Picks {
        Picks { limit, picks: vec![] }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.picks.len()
    }

    /// Offers rows, each by its key and its number in `x`, which has `width` features a row.
    pub fn offer(&mut self, mut keys: Vec<(f64, usize)>, x: &[f64], width: usize) {
        if self.picks.len() == self.limit {
            let worst = self.picks.last().map_or(f64::NEG_INFINITY, |p| p.0);
            keys.retain(|k| k.0 < worst);
        }
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        // The first few are enough, but where many rows are equal.
        let few = keys.len().min(4 * self.limit + 16);
        if few < keys.len() {
            keys.select_nth_unstable_by(few, order);
        }
        let (few, rest) = keys.split_at_mut(few);
        let mut seen = HashSet::new();
        let mut best = vec![];
        for part in [few, rest] {
            if best.len() == self.limit {
                break;
            }
            part.sort_unstable_by(order);
            for (key, i) in part {
                let row = &x[*i * width..(*i + 1) * width];
                if best.len() < self.limit && seen.insert(identity(row)) {
                    best.push((*key, row.to_vec()));
                }
            }
        }
        self.join(best);
    }

    fn join(&mut self, others: Vec<(f64, Vec<f64>)>) {
        if others.is_empty() {
            return;
        }
        self.picks.extend(others);
        self.picks.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut seen = HashSet::new();
        self.picks.retain(|(_, row)| seen.insert(identity(row)));
        self.picks.truncate(self.limit);
    }

    /// The rows, one after another.
    pub fn points(&self) -> Vec<f64> {
        self.picks.iter().flat_map(|(_, row)| row.iter().copied()).collect()
    }
}

impl Merge for Picks {
    fn merge(&mut self, other: Self) -> Result<()> {
        if self.limit != other.limit {
            return Err(Error::internal(format!(
                "drawn rows of two rounds meet: at most {} and at most {}",
                self.limit, other.limit
            )));
        }
        self.join(other.picks);
        Ok(())
    }
}

/// What equal rows share; 0.0 and -0.0 are equal.
pub fn identity(row: &[f64]) -> Vec<u64> {
    row.iter().map(|v| (v + 0.0).to_bits()).collect()
}

/// The random numbers of one round: one a row, the same wherever the row is read.
#[derive(Debug, Clone, Copy)]
pub struct Lots(u64);

impl Lots {
    /// Those of a round of a run.
    pub fn new(seed: u64, run: usize, round: usize) -> Lots {
        let place = [(run as u64).to_le_bytes(), (round as u64).to_le_bytes()].concat();
        Lots(xxh3_64_with_seed(&place, seed))
    }

    /// The race's key of a row.
    pub fn key(&self, row: u64, weight: f64) -> f64 {
        let hash = xxh3_64_with_seed(&row.to_le_bytes(), self.0);
        // 53 bits, as numbers above 0 and up to 1.
        let u = ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64;
        -u.ln() / weight
    }
}

/// Chooses `k` of the weighted `points`, by their numbers: greedy k-means++ (Arthur & Vassilvitskii 2007), which
/// draws a few points by weight times squared distance and keeps the one that lowers the cost most, as
/// scikit-learn does. The points must be distinct and at least `k`.
pub fn plus_plus(
    points: &[f64],
    width: usize,
    weight: &[f64],
    k: usize,
    lots: Lots,
    cx: &Cx,
) -> Result<Vec<usize>> {
    let mut rng = ChaCha8Rng::seed_from_u64(lots.0);
    let n = weight.len();
    let trials = (2 + (k as f64).ln() as usize).min(LANES);
    let point = |i: usize| &points[i * width..(i + 1) * width];
    let mut distance = vec![1.0; n];
    let mut lanes = vec![[0.0; LANES]; n];
    let mut chosen: Vec<usize> = Vec::with_capacity(k);
    while chosen.len() < k {
        cx.check()?;
        let draws = if chosen.is_empty() { 1 } else { trials };
        let share: Vec<f64> = weight.iter().zip(&distance).map(|(w, d)| w * d).collect();
        let total: f64 = share.iter().sum();
        let trial: Vec<usize> = (0..draws)
            .map(|_| draw(&share, rng.random::<f64>() * total))
            // Squared distances of distinct points can underflow to 0: then any point not yet chosen will do.
            .map(|drawn| drawn.or_else(|| (0..n).find(|i| !chosen.contains(i))).unwrap_or(0))
            .collect();
        let rows: Vec<f64> = trial.iter().flat_map(|i| point(*i).iter().copied()).collect();
        Centers::new(&rows, width).distances(points, &mut lanes);
        if chosen.is_empty() {
            distance.fill(f64::INFINITY);
        }
        let cost = |t: usize| -> f64 {
            lanes.iter().zip(&distance).zip(weight).map(|((l, d), w)| w * d.min(l[t])).sum()
        };
        let costs: Vec<f64> = (0..draws).map(cost).collect();
        let mut best = 0;
        for t in 1..draws {
            if costs[t] < costs[best] {
                best = t;
            }
        }
        for (d, l) in distance.iter_mut().zip(&lanes) {
            *d = d.min(l[best]);
        }
        chosen.push(trial[best]);
    }
    Ok(chosen)
}

/// The place of `at` in the running sum of `share`, among those above 0.
fn draw(share: &[f64], at: f64) -> Option<usize> {
    let (mut sum, mut last) = (0.0, None);
    for (i, s) in share.iter().enumerate().filter(|(_, s)| **s > 0.0) {
        sum += s;
        last = Some(i);
        if sum > at {
            break;
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Silent;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn draws_distinct_rows_the_same_for_any_cut() {
        let x: Vec<f64> = (0..400).flat_map(|i| [f64::from(i % 50), 1.0]).collect();
        let lots = Lots::new(1, 0, 0);
        let of = |cut: usize| {
            let mut all = Picks::new(20);
            for (b, rows) in x.chunks(cut * 2).enumerate() {
                let mut part = Picks::new(20);
                let keys = (0..rows.len() / 2).map(|i| (lots.key((b * cut + i) as u64, 1.0), i)).collect();
                part.offer(keys, rows, 2);
                all.merge(part).unwrap();
            }
            all
        };
        let whole = of(400);
        assert_eq!((whole.len(), &whole), (20, &of(7)));
        let mut points: Vec<f64> = whole.points().chunks(2).map(|p| p[0]).collect();
        points.sort_by(f64::total_cmp);
        points.dedup();
        assert_eq!(points.len(), 20);
    }

    #[test]
    fn draws_in_proportion_to_weight() {
        // Row 0 weighs as much as the other nine together: it should win half of the races.
        let wins = (0..4000)
            .filter(|round| {
                let lots = Lots::new(5, 0, *round);
                let first = lots.key(0, 9.0);
                (1..10).all(|row| lots.key(row, 1.0) > first)
            })
            .count();
        // The standard deviation of the count is 32.
        assert!((1870..2130).contains(&wins), "{wins} of 4000");
    }

    #[test]
    fn refuses_to_merge_draws_of_two_rounds() {
        assert!(Picks::new(1).merge(Picks::new(2)).is_err());
    }

    #[test]
    fn plus_plus_takes_one_point_of_each_clump() {
        let (stop, clumps) = (AtomicBool::new(false), 6);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        let points: Vec<f64> =
            (0..60).map(|i| f64::from(i % clumps) * 100.0 + f64::from(i) / 100.0).collect();
        let mut found: Vec<usize> = plus_plus(&points, 1, &[1.0; 60], 6, Lots::new(3, 0, 0), &cx)
            .unwrap()
            .iter()
            .map(|i| i % 6)
            .collect();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn plus_plus_takes_points_too_near_to_square() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        let mut found = plus_plus(&[0.0, 1e-200, 2e-200], 1, &[1.0; 3], 3, Lots::new(3, 0, 0), &cx).unwrap();
        found.sort_unstable();
        assert_eq!(found, [0, 1, 2]);
    }
}
