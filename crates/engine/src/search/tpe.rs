//! The tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kégl 2011, "Algorithms for Hyper-Parameter
//! Optimization"), multivariate, with the defaults of Optuna 5: the best tenth of the trials against the rest, one
//! kernel a trial over all dimensions together, widths by the neighbours in each dimension, 24 candidates.
//!
//! Proposals come in batches of [`BATCH`], whatever the number of threads: the trials of a batch that were proposed
//! but not yet tried count as bad ones, so that the next proposal goes elsewhere (Optuna's "constant liar").

use super::space::{Domain, Point, Space};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::function::erf::{erfc, erfc_inv};
use std::f64::consts::SQRT_2;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Trials between two looks at the results.
pub const BATCH: usize = 4;
/// Trials at random before the estimator begins.
pub const STARTUP: usize = 10;
/// Candidates of which the most promising is tried.
const CANDIDATES: usize = 24;
/// The weight of the flat prior, in trials.
const PRIOR: f64 = 1.0;

/// The randomness of one trial: its number and the seed, nothing else.
pub fn lots(seed: u64, trial: usize) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(xxh3_64_with_seed(&(trial as u64).to_le_bytes(), seed))
}

/// A tried point and its loss, smaller being better.
pub type Tried = (Point, f64);

/// The next `count` points, for the trials from `first` on. `history` is in the order of trials, without those that
/// failed.
pub fn propose(space: &Space, history: &[Tried], first: usize, count: usize, seed: u64) -> Vec<Point> {
    let mut pending: Vec<Point> = vec![];
    for trial in first..first + count {
        let mut rng = lots(seed, trial);
        let point = if history.len() < STARTUP {
            space.sample(&mut rng)
        } else {
            let (below, above) = split(history, &pending);
            most_promising(&Parzen::new(space, &below), &Parzen::new(space, &above), &mut rng)
        };
        pending.push(point);
    }
    pending
}

/// Good points and the others, each in the order of trials; pending ones are others.
fn split<'a>(history: &'a [Tried], pending: &'a [Point]) -> (Vec<&'a [f64]>, Vec<&'a [f64]>) {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by(|a, b| history[*a].1.total_cmp(&history[*b].1));
    let mut good = vec![false; history.len()];
    order.iter().take(history.len().div_ceil(10).min(25)).for_each(|i| good[*i] = true);
    let of = |kind: bool| {
        history.iter().zip(&good).filter(move |(_, g)| **g == kind).map(|((p, _), _)| p.as_slice())
    };
    (of(true).collect(), of(false).chain(pending.iter().map(Vec::as_slice)).collect())
}

fn most_promising(below: &Parzen, above: &Parzen, rng: &mut impl Rng) -> Point {
    let mut best: Option<(Point, f64)> = None;
    for _ in 0..CANDIDATES {
        let point = below.sample(rng);
        let score = below.log_density(&point) - above.log_density(&point);
        if best.as_ref().is_none_or(|(_, b)| score > *b) {
            best = Some((point, score));
        }
    }
    best.map(|(point, _)| point).unwrap_or_default()
}

/// A density over a space: a mixture of one kernel a point, and a flat prior.
pub struct Parzen<'a> {
    space: &'a Space,
    /// Of each kernel, the prior's last; they sum to 1.
    weights: Vec<f64>,
    axes: Vec<Axis>,
}

/// The kernels in one dimension.
enum Axis {
    /// Normal, cut off at the bounds.
    Normal { mean: Vec<f64>, width: Vec<f64>, low: f64, high: f64 },
    /// A probability a choice.
    Choice(Vec<Vec<f64>>),
}

impl<'a> Parzen<'a> {
    /// The density of points in the order in which they were tried: of more than 25, the older weigh less.
    pub fn new(space: &'a Space, points: &[&[f64]]) -> Parzen<'a> {
        let n = points.len();
        let ramp = n.saturating_sub(25);
        let weight = |i: usize| match (i < ramp, ramp) {
            (false, _) => 1.0,
            (true, 1) => 1.0 / n as f64,
            (true, _) => {
                let first = 1.0 / n as f64;
                first + (1.0 - first) * i as f64 / (ramp - 1) as f64
            }
        };
        let mut weights: Vec<f64> = (0..n).map(weight).chain([PRIOR]).collect();
        let sum: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= sum);
        let axis = |(d, dimension): (usize, &super::space::Dimension)| {
            Axis::new(&dimension.domain, points.iter().map(|p| p[d]).collect())
        };
        Parzen { space, weights, axes: space.dimensions.iter().enumerate().map(axis).collect() }
    }

    /// The logarithm of the density at a point; of its probability in dimensions with steps or choices.
    pub fn log_density(&self, point: &[f64]) -> f64 {
        let of = |k: usize| {
            let axes = self.axes.iter().zip(&self.space.dimensions).zip(point);
            self.weights[k].ln() + axes.map(|((axis, d), x)| axis.log_density(&d.domain, k, *x)).sum::<f64>()
        };
        let logs: Vec<f64> = (0..self.weights.len()).map(of).collect();
        let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        most + logs.iter().map(|l| (l - most).exp()).sum::<f64>().ln()
    }

    /// A point at random.
    pub fn sample(&self, rng: &mut impl Rng) -> Point {
        let k = pick(&self.weights, rng);
        let axes = self.axes.iter().zip(&self.space.dimensions);
        axes.map(|(axis, d)| axis.sample(&d.domain, k, rng)).collect()
    }
}

impl Axis {
    fn new(domain: &Domain, points: Vec<f64>) -> Axis {
        let n = points.len();
        if let Domain::Choice(values) = domain {
            let flat = 1.0 / values.len() as f64;
            if n == 0 {
                return Axis::Choice(vec![vec![flat; values.len()]]);
            }
            let prior = PRIOR / (n + 1) as f64;
            let total = 1.0 + prior * values.len() as f64;
            let kernel = |x: &f64| {
                (0..values.len()).map(|c| (prior + f64::from(u8::from(c == *x as usize))) / total).collect()
            };
            return Axis::Choice(points.iter().map(kernel).chain([vec![flat; values.len()]]).collect());
        }
        let (low, high) = domain.bounds();
        let mut mean: Vec<f64> = points.iter().map(|x| domain.forth(*x)).collect();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by(|a, b| mean[*a].total_cmp(&mean[*b]));
        let mut width = vec![high - low; n];
        let least = (high - low) / (n as f64 + 2.0).min(100.0);
        for (place, i) in order.iter().enumerate() {
            let left = place.checked_sub(1).map(|p| mean[*i] - mean[order[p]]);
            let right = order.get(place + 1).map(|p| mean[*p] - mean[*i]);
            let distance = match (left, right) {
                (Some(a), Some(b)) => a.max(b),
                // At the ends the neighbour counts and the bound does not, unless there is no neighbour.
                (Some(a), None) | (None, Some(a)) => a,
                (None, None) => (mean[*i] - low).max(high - mean[*i]),
            };
            width[*i] = distance.max(least).min(high - low);
        }
        mean.push((low + high) / 2.0);
        width.push(high - low);
        Axis::Normal { mean, width, low, high }
    }

    fn log_density(&self, domain: &Domain, k: usize, x: f64) -> f64 {
        match self {
            Axis::Choice(kernels) => kernels[k][x as usize].ln(),
            Axis::Normal { mean, width, low, high } => {
                if low >= high {
                    return 0.0; // a range of one value
                }
                let z = |x: f64| (x - mean[k]) / width[k];
                let mass = between(z(*low), z(*high));
                let Domain::Range { step: Some(step), .. } = domain else {
                    let at = z(domain.forth(x));
                    return -0.5 * at * at - (width[k] * mass).ln() - 0.5 * std::f64::consts::TAU.ln();
                };
                let edge = |x: f64| z(domain.forth(x));
                between(edge(x - step / 2.0), edge(x + step / 2.0)).ln() - mass.ln()
            }
        }
    }

    fn sample(&self, domain: &Domain, k: usize, rng: &mut impl Rng) -> f64 {
        match self {
            Axis::Choice(kernels) => pick(&kernels[k], rng) as f64,
            Axis::Normal { mean, width, low, high } => {
                let u: f64 = rng.random();
                if low >= high {
                    return domain.nearest(domain.back(*low));
                }
                // The mean lies within the bounds, so neither tail is far out.
                let below = |x: f64| erfc(-(x - mean[k]) / width[k] / SQRT_2) / 2.0;
                let (a, b) = (below(*low), below(*high));
                let z = -SQRT_2 * erfc_inv(2.0 * (a + u * (b - a)));
                domain.nearest(domain.back((mean[k] + width[k] * z).clamp(*low, *high)))
            }
        }
    }
}

/// The probability of a standard normal number between `a` and `b`, taken in the tail where it is exact.
fn between(a: f64, b: f64) -> f64 {
    if a > 0.0 {
        (erfc(a / SQRT_2) - erfc(b / SQRT_2)) / 2.0
    } else {
        (erfc(-b / SQRT_2) - erfc(-a / SQRT_2)) / 2.0
    }
}

/// A place, each as likely as its weight.
fn pick(weights: &[f64], rng: &mut impl Rng) -> usize {
    let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
    for (i, w) in weights.iter().enumerate() {
        left -= w;
        if left < 0.0 {
            return i;
        }
    }
    weights.len() - 1
}
