//! Probabilities that mean what they say: Platt's sigmoid and isotonic regression, as scikit-learn's
//! `CalibratedClassifierCV` has them. Learnt from scores of rows that the model did not learn from.
//!
//! Two classes have one map, of the second class; more have one a class against the rest, and the mapped
//! probabilities are divided by their sum.

use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};

/// How calibration maps scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A sigmoid of the log-odds with two parameters (Platt 2000).
    Sigmoid,
    /// A rising step function, interpolated (pool adjacent violators).
    Isotonic,
}

impl Method {
    /// Reads `sigmoid` or `isotonic`.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything else.
    pub fn parse(text: &str) -> Result<Method> {
        match text {
            "sigmoid" => Ok(Method::Sigmoid),
            "isotonic" => Ok(Method::Isotonic),
            _ => {
                let message = format!("calibration is \"{text}\", expected sigmoid or isotonic");
                Err(Error::new(Kind::Parameter, message))
            }
        }
    }
}

/// One class's map from the model's probability to the calibrated one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Map {
    /// `1 / (1 + exp(slope * f + intercept))` of the log-odds `f`.
    Sigmoid { slope: f64, intercept: f64 },
    /// Straight lines between the points; constant beyond them.
    Isotonic { x: Vec<f64>, y: Vec<f64> },
}

/// The maps of all classes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    maps: Vec<Map>,
}

impl Calibration {
    /// Learns from `probabilities`, `classes` a row, with the class number `y` and the weight of each row (an empty
    /// `weight` is 1 everywhere).
    ///
    /// # Errors
    /// `Kind::Data` when a class has no rows, or all of them.
    pub fn learn(
        method: Method,
        probabilities: &[f64],
        classes: usize,
        y: &[f64],
        weight: &[f64],
    ) -> Result<Calibration> {
        let one = |class: usize| {
            let hit: Vec<bool> = y.iter().map(|c| *c as usize == class).collect();
            let hits = hit.iter().filter(|h| **h).count();
            if hits == 0 || hits == hit.len() {
                let message =
                    format!("{hits} of {} rows to calibrate on are of class number {}", hit.len(), class + 1);
                return Err(Error::new(Kind::Data, format!("{message}, expected some of each class")).hint(
                    "Leave rare classes out of the source, or calibrate on more rows: calibration_size.",
                ));
            }
            let p: Vec<f64> = probabilities.iter().skip(class).step_by(classes).copied().collect();
            Ok(match method {
                Method::Sigmoid => sigmoid(&p, &hit, weight),
                Method::Isotonic => isotonic(&p, &hit, weight),
            })
        };
        let maps = if classes == 2 { vec![one(1)?] } else { (0..classes).map(one).collect::<Result<_>>()? };
        Ok(Calibration { maps })
    }

    /// Calibrates the probabilities of one row, in place.
    pub fn apply(&self, row: &mut [f64]) {
        match (&self.maps[..], &mut *row) {
            ([map], [no, yes]) => {
                *yes = map.of(*yes);
                *no = 1.0 - *yes;
            }
            (maps, row) => {
                let mut sum = 0.0;
                for (map, p) in maps.iter().zip(row.iter_mut()) {
                    *p = map.of(*p);
                    sum += *p;
                }
                let equal = 1.0 / row.len().max(1) as f64;
                row.iter_mut().for_each(|p| *p = if sum > 0.0 { *p / sum } else { equal });
            }
        }
    }

    /// What it is, in words.
    pub fn describe(&self) -> String {
        match self.maps.first() {
            Some(Map::Sigmoid { slope, intercept }) if self.maps.len() == 1 => {
                format!("sigmoid, slope {slope:.4}, intercept {intercept:.4}")
            }
            Some(Map::Isotonic { x, .. }) if self.maps.len() == 1 => format!("isotonic, {} points", x.len()),
            Some(Map::Sigmoid { .. }) => format!("sigmoid, {} classes against the rest", self.maps.len()),
            _ => format!("isotonic, {} classes against the rest", self.maps.len()),
        }
    }

    /// Bytes that it holds, about.
    pub(super) fn bytes(&self) -> usize {
        let map = |m: &Map| if let Map::Isotonic { x, .. } = m { 16 * x.len() + 64 } else { 64 };
        self.maps.iter().map(map).sum()
    }

    /// Refuses maps that `apply` could trip over.
    pub(super) fn valid(&self, classes: usize) -> bool {
        let maps = if classes == 2 { 1 } else { classes };
        let probability = |y: &f64| (0.0..=1.0).contains(y);
        self.maps.len() == maps
            && self.maps.iter().all(|map| match map {
                Map::Sigmoid { slope, intercept } => slope.is_finite() && intercept.is_finite(),
                Map::Isotonic { x, y } => {
                    !x.is_empty()
                        && x.len() == y.len()
                        && x.iter().all(|v| v.is_finite())
                        && x.is_sorted()
                        && y.iter().all(probability)
                }
            })
    }
}

impl Map {
    fn of(&self, p: f64) -> f64 {
        match self {
            Map::Sigmoid { slope, intercept } => 1.0 / (1.0 + (slope * log_odds(p) + intercept).exp()),
            Map::Isotonic { x, y } => {
                let next = x.partition_point(|v| *v < p);
                match (next.checked_sub(1), x.get(next)) {
                    (None, _) => y[0],
                    (Some(last), None) => y[last],
                    (Some(last), Some(_)) => {
                        let share = (p - x[last]) / (x[next] - x[last]);
                        y[last] + (y[next] - y[last]) * share
                    }
                }
            }
        }
    }
}

/// Finite for all probabilities: within 36.04 either way.
fn log_odds(p: f64) -> f64 {
    let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
    (p / (1.0 - p)).ln()
}

fn weight_of(weight: &[f64], i: usize) -> f64 {
    if weight.is_empty() { 1.0 } else { weight[i] }
}

/// Platt's sigmoid, with his smoothed targets, by Newton's method with a line search (Lin, Lin and Weng 2007).
fn sigmoid(p: &[f64], hit: &[bool], weight: &[f64]) -> Map {
    let f: Vec<f64> = p.iter().map(|p| log_odds(*p)).collect();
    let total = |kind: bool| -> f64 {
        (0..hit.len()).filter(|i| hit[*i] == kind).map(|i| weight_of(weight, i)).sum()
    };
    let (hits, misses) = (total(true), total(false));
    let (high, low) = ((hits + 1.0) / (hits + 2.0), 1.0 / (misses + 2.0));
    let target = |i: usize| if hit[i] { high } else { low };
    let loss = |a: f64, b: f64| -> f64 {
        let one = |i: usize| {
            // -t ln(s) - (1 - t) ln(1 - s) of s = 1 / (1 + exp(z)), without overflow.
            let z = a * f[i] + b;
            weight_of(weight, i) * (target(i) * z + (-z).max(0.0) + (-z.abs()).exp().ln_1p())
        };
        (0..f.len()).map(one).sum()
    };
    let (mut a, mut b) = (0.0, ((misses + 1.0) / (hits + 1.0)).ln());
    let mut best = loss(a, b);
    for _ in 0..100 {
        let (mut h11, mut h22, mut h21) = (1e-12, 1e-12, 0.0);
        let (mut g1, mut g2) = (0.0, 0.0);
        for (i, f) in f.iter().enumerate() {
            let (w, s) = (weight_of(weight, i), 1.0 / (1.0 + (a * f + b).exp()));
            let (d1, d2) = (w * (target(i) - s), w * s * (1.0 - s));
            h11 += f * f * d2;
            h22 += d2;
            h21 += f * d2;
            g1 += f * d1;
            g2 += d1;
        }
        if g1.abs().max(g2.abs()) <= 1e-11 * (hits + misses) {
            break;
        }
        let determinant = h11 * h22 - h21 * h21;
        let (step_a, step_b) = (-(h22 * g1 - h21 * g2) / determinant, -(h11 * g2 - h21 * g1) / determinant);
        let slope = g1 * step_a + g2 * step_b;
        let mut size = 1.0;
        let better = loop {
            let (next_a, next_b) = (a + size * step_a, b + size * step_b);
            let next = loss(next_a, next_b);
            if next <= best + 1e-4 * size * slope {
                break Some((next_a, next_b, next));
            }
            size /= 2.0;
            if size < 1e-10 {
                break None;
            }
        };
        let Some((next_a, next_b, next)) = better.filter(|n| n.0.is_finite() && n.1.is_finite()) else {
            break;
        };
        (a, b, best) = (next_a, next_b, next);
    }
    Map::Sigmoid { slope: a, intercept: b }
}

/// Isotonic regression of hits on probabilities: equal probabilities become one point, adjacent violators are
/// pooled, and of each run of equal values the first and the last point are kept.
fn isotonic(p: &[f64], hit: &[bool], weight: &[f64]) -> Map {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    /// Points with the same value.
    struct Pool {
        first: f64,
        last: f64,
        weight: f64,
        hits: f64,
    }
    let mut pools: Vec<Pool> = vec![];
    for tied in order.chunk_by(|a, b| p[*a] == p[*b]) {
        let all: f64 = tied.iter().map(|i| weight_of(weight, *i)).sum();
        let hits: f64 = tied.iter().filter(|i| hit[**i]).map(|i| weight_of(weight, *i)).sum();
        let mut pool = Pool { first: p[tied[0]], last: p[tied[0]], weight: all, hits };
        while let Some(before) = pools.pop_if(|b| b.hits * pool.weight >= pool.hits * b.weight) {
            pool.first = before.first;
            pool.weight += before.weight;
            pool.hits += before.hits;
        }
        pools.push(pool);
    }
    let (mut x, mut y) = (vec![], vec![]);
    for pool in pools {
        let value = (pool.hits / pool.weight).clamp(0.0, 1.0);
        x.push(pool.first);
        y.push(value);
        if pool.last > pool.first {
            x.push(pool.last);
            y.push(value);
        }
    }
    Map::Isotonic { x, y }
}
