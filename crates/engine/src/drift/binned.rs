//! Statistics of two distributions by the shares of bins: of each category or value, or of ranges of numbers. Bins,
//! filling of empty ones and tests are Evidently's, whose ranges are NumPy's by Sturges's rule.

use super::Distribution;
use super::categories::Categories;
use super::numbers::{Numbers, Walk};
use super::ordered::Test;
use super::permutation;
use crate::distributions::Reference;
use crate::error::Result;
use crate::learner::Cx;
use statrs::function::gamma::checked_gamma_ur;

/// Numbers with more different values in the reference are cut into ranges.
const SINGLE: usize = 20;

/// Rows of each bin on either side, in the order of the values.
#[derive(Debug, Clone, Default)]
pub(super) struct Bins {
    pub(super) reference: Vec<f64>,
    pub(super) current: Vec<f64>,
}

impl Bins {
    fn push(&mut self, reference: f64, current: f64) {
        self.reference.push(reference);
        self.current.push(current);
    }

    /// A bin a value or label. Labels that the reference pooled are one bin, last.
    pub(super) fn of_values(reference: &Distribution, current: &Distribution) -> Bins {
        let mut bins = Bins::default();
        match (reference, current) {
            (Distribution::Numbers(a), Distribution::Numbers(b)) => {
                Walk::new(a, b).for_each(|(_, a, b)| bins.push(a as f64, b as f64));
            }
            (Distribution::Categories(a), Distribution::Categories(b)) => of_labels(a, b, &mut bins),
            _ => {}
        }
        bins
    }

    /// As Evidently's `get_binned_data`: ranges for numbers with many values, else a bin a value.
    pub(super) fn of(reference: &Distribution, current: &Distribution) -> Bins {
        match (reference, current) {
            (Distribution::Numbers(a), Distribution::Numbers(b)) if a.values.len() > SINGLE => {
                Bins::within(a, b, &edges(a, b, (a.rows + b.rows) as f64))
            }
            _ => Bins::of_values(reference, current),
        }
    }

    /// Ranges by the number of different values, as Evidently's Hellinger distance has them.
    fn of_distinct(reference: &Distribution, current: &Distribution) -> Bins {
        match (reference, current) {
            (Distribution::Numbers(a), Distribution::Numbers(b)) => {
                let distinct = Walk::new(a, b).count();
                Bins::within(a, b, &edges(a, b, distinct as f64))
            }
            _ => Bins::of_values(reference, current),
        }
    }

    fn within(a: &Numbers, b: &Numbers, edges: &[f64]) -> Bins {
        Bins { reference: counted(a, edges), current: counted(b, edges) }
    }
}

fn of_labels(a: &Categories, b: &Categories, bins: &mut Bins) {
    let pooled = !a.exact() || !b.exact();
    let (mut rest_a, mut rest_b) = (a.pooled, b.pooled);
    let mut labels: Vec<&String> = a.counts.keys().chain(b.counts.keys()).collect();
    labels.sort_unstable();
    labels.dedup();
    for label in labels {
        let count = |side: &Categories| side.counts.get(label).copied().unwrap_or(0);
        let (x, y) = (count(a), count(b));
        if pooled && (x == 0 && !a.exact() || y == 0 && !b.exact()) {
            // What one side pooled cannot be told apart on the other either.
            (rest_a, rest_b) = (rest_a + x, rest_b + y);
        } else {
            bins.push(x as f64, y as f64);
        }
    }
    if rest_a + rest_b > 0 {
        bins.push(rest_a as f64, rest_b as f64);
    }
}

/// The edges of ranges of one width over both sides, by Sturges's rule for `size` values; whole numbers get no ranges
/// narrower than 1.
pub(super) fn edges(a: &Numbers, b: &Numbers, size: f64) -> Vec<f64> {
    let (mut low, mut high) = (a.min.min(b.min), a.max.max(b.max));
    let span = high - low;
    let mut ranges = 1.0;
    if span > 0.0 {
        let mut width = span / (size.log2() + 1.0);
        if a.whole && b.whole && width < 1.0 {
            width = 1.0;
        }
        ranges = (span / width).ceil();
    } else {
        (low, high) = (low - 0.5, high + 0.5);
    }
    let step = (high - low) / ranges;
    let ranges = ranges as usize;
    (0..=ranges).map(|i| if i == ranges { high } else { i as f64 * step + low }).collect()
}

/// Rows of each range, closed at its lower edge; the last one at both.
pub(super) fn counted(numbers: &Numbers, edges: &[f64]) -> Vec<f64> {
    let last = edges.len().saturating_sub(2);
    let mut counts = vec![0.0; edges.len().saturating_sub(1)];
    let mut range = 0;
    for (v, c) in numbers.values.iter().zip(&numbers.counts) {
        while range < last && *v >= edges[range + 1] {
            range += 1;
        }
        counts[range] += *c as f64;
    }
    counts
}

fn shares(counts: &[f64]) -> Vec<f64> {
    let all: f64 = counts.iter().sum();
    counts.iter().map(|c| c / all).collect()
}

/// Shares with something small for nothing: 0.0001, or a millionth of the smallest share where that is no larger.
fn filled(counts: &[f64]) -> Vec<f64> {
    let mut shares = shares(counts);
    let least = shares.iter().copied().filter(|s| *s != 0.0).fold(f64::INFINITY, f64::min);
    let small = if least <= 0.0001 { least / 1e6 } else { 0.0001 };
    shares.iter_mut().filter(|s| **s == 0.0).for_each(|s| *s = small);
    shares
}

/// The population stability index.
pub(super) fn psi(reference: &Distribution, current: &Distribution) -> f64 {
    let bins = Bins::of(reference, current);
    let (p, q) = (filled(&bins.reference), filled(&bins.current));
    p.iter().zip(&q).map(|(p, q)| (p - q) * (p / q).ln()).sum()
}

/// Kullback and Leibler's divergence.
pub(super) fn kl_divergence(reference: &Distribution, current: &Distribution) -> f64 {
    let bins = Bins::of(reference, current);
    relative_entropy(&shares(&filled(&bins.reference)), &shares(&filled(&bins.current)))
}

fn relative_entropy(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q).ln()).sum()
}

/// Jensen and Shannon's distance.
pub(super) fn jensen_shannon(reference: &Distribution, current: &Distribution) -> f64 {
    let bins = Bins::of(reference, current);
    let (p, q) = (shares(&bins.reference), shares(&bins.current));
    let middle: Vec<f64> = p.iter().zip(&q).map(|(p, q)| (p + q) / 2.0).collect();
    ((relative_entropy(&p, &middle) + relative_entropy(&q, &middle)) / 2.0).max(0.0).sqrt()
}

/// Hellinger's distance.
pub(super) fn hellinger(reference: &Distribution, current: &Distribution) -> f64 {
    let bins = Bins::of_distinct(reference, current);
    let (p, q) = (shares(&bins.reference), shares(&bins.current));
    let common: f64 = p.iter().zip(&q).map(|(p, q)| (p * q).sqrt()).sum();
    (1.0 - common.clamp(0.0, 1.0)).sqrt()
}

/// Chi-square of the current counts against what the reference's shares let expect. A value that the reference does not
/// have makes it infinite, and the p-value 0.
pub(super) fn chi_square(reference: &Distribution, current: &Distribution) -> Test {
    let bins = Bins::of_values(reference, current);
    let (n, m): (f64, f64) = (bins.reference.iter().sum(), bins.current.iter().sum());
    let mut statistic = 0.0;
    for (r, c) in bins.reference.iter().zip(&bins.current) {
        let expected = r * (m / n);
        statistic += (c - expected) * (c - expected) / expected;
    }
    let df = bins.reference.len() as f64 - 1.0;
    let p_value = match statistic {
        _ if df < 1.0 => f64::NAN,
        f64::INFINITY => 0.0,
        s if s <= 0.0 => 1.0,
        s => checked_gamma_ur(df / 2.0, s / 2.0).unwrap_or(f64::NAN),
    };
    Test { statistic, p_value }
}

/// The pooled z-test of the share of all values but the smallest, two-sided.
pub(super) fn z(reference: &Distribution, current: &Distribution) -> Test {
    let bins = Bins::of_values(reference, current);
    if bins.reference.len() == 1 {
        return Test { statistic: 0.0, p_value: 1.0 };
    }
    let (n, m): (f64, f64) = (bins.reference.iter().sum(), bins.current.iter().sum());
    let rest = |side: &[f64], all: f64| (all - side.first().copied().unwrap_or(0.0)) / all;
    let (p, q) = (rest(&bins.reference, n), rest(&bins.current, m));
    let both = (p * n + q * m) / (n + m);
    let statistic = (p - q) / (both * (1.0 - both) * (1.0 / n + 1.0 / m)).sqrt();
    Test { statistic, p_value: Reference::Normal.two_sided(statistic) }
}

/// Half the sum of the shares' distances, with the share of permutations of all rows that are as far apart.
/// `sequence` is the bin of each row, the reference's first.
pub(super) fn total_variation(
    reference: &Distribution,
    current: &Distribution,
    sequence: impl FnOnce(usize) -> Vec<u32>,
    cx: &Cx,
) -> Result<Test> {
    let bins = Bins::of_values(reference, current);
    let (p, q) = (shares(&bins.reference), shares(&bins.current));
    let statistic = 0.5 * p.iter().zip(&q).map(|(p, q)| (p - q).abs()).sum::<f64>();
    let counts = |side: &[f64]| side.iter().map(|c| *c as i64).collect::<Vec<_>>();
    let (a, b) = (counts(&bins.reference), counts(&bins.current));
    let p_value = permutation::p_value(&sequence(a.len()), &a, &b, cx)?;
    Ok(Test { statistic, p_value })
}
