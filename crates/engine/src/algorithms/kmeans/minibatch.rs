//! k-means by mini-batches (Sculley, "Web-scale k-means clustering", 2010), with scikit-learn's rules for when to stop
//! and for centers that few rows are near to.
//!
//! One pass over the rows samples about [`BATCHES`] batches of them, by a hash of a row's number and the seed. The steps
//! then need the sample alone, which lies in one place, and a last pass measures inertia and sizes on all rows. The
//! sample is ordered by the hash, so the result does not depend on how rows are dealt to shards.

use super::params::{Init, Params};
use super::seeding::{Lots, identity, plus_plus};
use super::{PIECE, finite};
use crate::centers::{Centers, add};
use crate::error::{Error, Kind, Result};
use crate::learner::Cx;
use crate::schema::Chunk;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Batches in the sample; where more steps are taken, it is shuffled and read again.
pub const BATCHES: usize = 100;
/// Rows in the sample for each cluster, at least.
const ROWS_A_CLUSTER: usize = 20;
/// Batches without a new least inertia that end a run, as in scikit-learn.
const PATIENCE: usize = 10;
/// A center to which less than this share of the fullest one's rows went is put on another row, as in scikit-learn.
const STARVED: f64 = 0.01;

/// The share of the rows that is sampled.
pub fn share(rows: usize, batch: usize, clusters: usize) -> f64 {
    let wanted = batch.saturating_mul(BATCHES).max(clusters.saturating_mul(ROWS_A_CLUSTER));
    if wanted >= rows { 1.0 } else { wanted as f64 / rows as f64 }
}

/// Sampled rows: their hashes and numbers, weights and features.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Sample {
    keys: Vec<(f64, u64)>,
    weights: Vec<f64>,
    x: Vec<f64>,
}

impl Sample {
    /// Takes its share of a block.
    pub fn take(&mut self, chunk: &Chunk, share: f64, lots: Lots) {
        // Keys are exponentially distributed.
        let limit = -(-share).ln_1p();
        for i in 0..chunk.rows {
            let number = chunk.first + i as u64;
            let key = lots.key(number, 1.0);
            if key < limit {
                self.keys.push((key, number));
                self.weights.push(chunk.weight(i));
                self.x.extend_from_slice(chunk.row(i));
            }
        }
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: Sample) {
        self.keys.extend(other.keys);
        self.weights.extend(other.weights);
        self.x.extend(other.x);
    }

    /// The rows by their keys.
    fn ordered(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.keys.len() as u32).collect();
        let key = |i: &u32| self.keys[*i as usize];
        order.sort_unstable_by(|a, b| key(a).0.total_cmp(&key(b).0).then(key(a).1.cmp(&key(b).1)));
        order
    }

    fn row(&self, i: u32, width: usize) -> &[f64] {
        &self.x[i as usize * width..(i as usize + 1) * width]
    }

    /// The distinct rows among some, with their weights.
    fn distinct(&self, rows: &[u32], width: usize) -> (Vec<f64>, Vec<f64>) {
        let (mut places, mut points, mut weights) = (HashMap::new(), vec![], vec![]);
        for i in rows {
            let row = self.row(*i, width);
            let place = *places.entry(identity(row)).or_insert(weights.len());
            if place == weights.len() {
                points.extend_from_slice(row);
                weights.push(0.0);
            }
            weights[place] += self.weights[*i as usize];
        }
        (points, weights)
    }
}

/// What the steps come to.
pub struct Found {
    /// The centers, one after another.
    pub points: Vec<f64>,
    /// Batches.
    pub steps: usize,
    /// Whether inertia ceased to fall before `max_iter` readings of the sample.
    pub converged: bool,
}

/// Takes the steps of a run.
///
/// # Errors
/// `Kind::Data` for a sample with fewer distinct rows than clusters, and for features that are too large.
pub fn learn(params: &Params, sample: &Sample, batch: usize, run: usize, cx: &Cx) -> Result<Found> {
    let (k, width) = (params.clusters, params.width);
    let mut order = sample.ordered();
    let batch = batch.min(order.len()).max(1);
    let mut points = first(params, sample, &order, batch, run, cx)?;
    let mut counts = vec![0.0; k];
    let smooth = (2.0 * batch as f64 / (order.len() as f64 + 1.0)).min(1.0);
    let (mut mean, mut least, mut idle, mut since, mut steps) = (None, f64::INFINITY, 0, 0, 0);
    let mut x = vec![];
    for reading in 0..params.max_iter {
        if reading > 0 {
            let lots = Lots::new(cx.seed, run, reading);
            order.sort_by_cached_key(|i| {
                let (key, number) = sample.keys[*i as usize];
                (lots.key(number, 1.0).to_bits(), key.to_bits())
            });
        }
        // What is left over waits for another order: batches of one size have inertias that compare.
        for rows in order.chunks_exact(batch) {
            cx.check()?;
            x.clear();
            rows.iter().for_each(|i| x.extend_from_slice(sample.row(*i, width)));
            let weight = |i: usize| sample.weights[rows[i] as usize];
            let inertia = step(&mut points, &mut counts, &x, width, weight, cx)?;
            steps += 1;
            since += rows.len();
            if counts.contains(&0.0) || since >= 10 * k {
                since = 0;
                feed(&mut points, &mut counts, &x, width);
            }
            cx.observer.progress(steps, params.max_iter.saturating_mul(order.len() / batch), "batches");
            // The first batch says how good the first centers were.
            if steps > 1 {
                let now = mean.map_or(inertia, |m: f64| m * (1.0 - smooth) + inertia * smooth);
                mean = Some(now);
                (least, idle) = if now < least { (now, 0) } else { (least, idle + 1) };
                if idle >= PATIENCE {
                    return Ok(Found { points, steps, converged: true });
                }
            }
        }
    }
    Ok(Found { points, steps, converged: false })
}

/// The centers to begin with: from a few batches, or all of the sample where they have too few distinct rows.
fn first(
    params: &Params,
    sample: &Sample,
    order: &[u32],
    batch: usize,
    run: usize,
    cx: &Cx,
) -> Result<Vec<f64>> {
    let (k, width) = (params.clusters, params.width);
    if let Init::Given(centers) = &params.init {
        return Ok(centers.points());
    }
    let few = order.len().min(3 * batch.max(k));
    let (mut points, mut weights) = sample.distinct(&order[..few], width);
    if weights.len() < k {
        (points, weights) = sample.distinct(order, width);
    }
    if weights.len() < k {
        let message = format!(
            "the {} rows sampled for mini-batches have {} distinct ones, expected at least n_clusters = {k}",
            order.len(),
            weights.len()
        );
        return Err(Error::new(Kind::Data, message)
            .hint("Lower \"n_clusters\", raise \"batch_size\", or leave it out to learn from all rows."));
    }
    let chosen = match params.init {
        Init::Random => (0..k).collect(),
        _ => plus_plus(&points, width, &weights, k, Lots::new(cx.seed, run, 0), cx)?,
    };
    Ok(chosen.iter().flat_map(|c| points[c * width..(c + 1) * width].iter().copied()).collect())
}

/// Moves each center to the mean of all rows that went to it so far; gives the batch's mean inertia before that.
fn step(
    points: &mut [f64],
    counts: &mut [f64],
    x: &[f64],
    width: usize,
    weight: impl Fn(usize) -> f64,
    cx: &Cx,
) -> Result<f64> {
    let centers = Centers::new(points, width);
    let mut sums = vec![0.0; points.len()];
    let mut weights = vec![0.0; counts.len()];
    let (mut inertia, mut total) = (0.0, 0.0);
    for (p, x) in x.chunks(PIECE * width).enumerate() {
        cx.check()?;
        let n = x.len() / width;
        let (mut nearest, mut distance) = ([0; PIECE], [f64::INFINITY; PIECE]);
        centers.improve(x, 0, &mut nearest[..n], &mut distance[..n]);
        for (i, row) in x.chunks_exact(width).enumerate() {
            let (c, w) = (nearest[i] as usize, weight(p * PIECE + i));
            add(&mut sums[c * width..(c + 1) * width], row, w);
            weights[c] += w;
            inertia += w * distance[i];
            total += w;
        }
    }
    let parts = points.chunks_exact_mut(width).zip(sums.chunks_exact(width));
    for ((point, sum), (count, weight)) in parts.zip(counts.iter_mut().zip(&weights)) {
        if *weight > 0.0 {
            *count += weight;
            let rate = 1.0 / *count;
            point.iter_mut().zip(sum).for_each(|(v, s)| *v += (s - weight * *v) * rate);
        }
    }
    finite(inertia / total)
}

/// Puts starved centers on rows of the batch, which come in random order, with the count of the least of the others.
fn feed(points: &mut [f64], counts: &mut [f64], x: &[f64], width: usize) {
    let most = counts.iter().copied().fold(0.0, f64::max);
    let starved: Vec<usize> = (0..counts.len()).filter(|c| counts[*c] < STARVED * most).collect();
    let least = counts.iter().copied().filter(|n| *n >= STARVED * most).fold(f64::INFINITY, f64::min);
    // At most half of the batch becomes centers.
    let rows = x.len() / width / 2;
    for (c, row) in starved.into_iter().zip(x.chunks_exact(width).take(rows)) {
        points[c * width..(c + 1) * width].copy_from_slice(row);
        counts[c] = least;
    }
}
