//! Statistics of two distributions of numbers that go by the order of the values: each a walk over both. Definitions
//! and small-sample choices are those of SciPy's `ks_2samp`, `wasserstein_distance`, `energy_distance`, `ttest_ind`,
//! `mannwhitneyu`, `anderson_ksamp` and `cramervonmises_2samp`.

use super::numbers::{Numbers, Walk};
use crate::distributions::{Reference, normal_cdf};
use crate::statistics::{at_least, two_samples};
use statrs::function::gamma::ln_gamma;
use std::collections::HashMap;
use std::f64::consts::PI;

/// A statistic with its p-value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Test {
    pub(super) statistic: f64,
    pub(super) p_value: f64,
}

/// The largest distance of the cumulative shares, and Kolmogorov and Smirnov's p-value.
pub(super) fn kolmogorov_smirnov(a: &Numbers, b: &Numbers) -> Test {
    let (n, m) = (a.rows as f64, b.rows as f64);
    let (mut i, mut j, mut statistic) = (0u64, 0u64, 0.0f64);
    for (_, ca, cb) in Walk::new(a, b) {
        (i, j) = (i + ca, j + cb);
        statistic = statistic.max((i as f64 / n - j as f64 / m).abs());
    }
    Test { statistic, p_value: two_samples(statistic, a.rows as usize, b.rows as usize) }
}

/// `integral of |F - G|^power`, by the values of both.
fn cumulative_distance(a: &Numbers, b: &Numbers, power: i32) -> f64 {
    let (n, m) = (a.rows as f64, b.rows as f64);
    let (mut i, mut j, mut before, mut sum) = (0u64, 0u64, None, 0.0);
    for (v, ca, cb) in Walk::new(a, b) {
        if let Some(before) = before {
            sum += (i as f64 / n - j as f64 / m).abs().powi(power) * (v - before);
        }
        (i, j, before) = (i + ca, j + cb, Some(v));
    }
    sum
}

/// Wasserstein's distance in units of the values.
pub(super) fn wasserstein(a: &Numbers, b: &Numbers) -> f64 {
    cumulative_distance(a, b, 1)
}

/// The energy distance.
pub(super) fn energy(a: &Numbers, b: &Numbers) -> f64 {
    (2.0 * cumulative_distance(a, b, 2)).sqrt()
}

/// Student's t of the means, two-sided. Undefined for fewer than two rows on a side and for two constants.
pub(super) fn student(a: &Numbers, b: &Numbers) -> Test {
    let (n, m) = (a.rows as f64, b.rows as f64);
    if a.rows < 1 || b.rows < 1 || a.rows + b.rows < 3 {
        return Test { statistic: f64::NAN, p_value: f64::NAN };
    }
    let df = n + m - 2.0;
    let statistic = (a.mean - b.mean) / ((a.m2 + b.m2) / df * (1.0 / n + 1.0 / m)).sqrt();
    Test { statistic, p_value: Reference::T(df).two_sided(statistic) }
}

/// Mann and Whitney's U of `a`, and the p-value that `a` is the smaller.
pub(super) fn mann_whitney(a: &Numbers, b: &Numbers) -> Test {
    let (n, m) = (a.rows as f64, b.rows as f64);
    let (mut before, mut ranks, mut ties) = (0.0, 0.0, 0.0);
    for (_, ca, cb) in Walk::new(a, b) {
        let t = (ca + cb) as f64;
        ranks += ca as f64 * (before + (t + 1.0) / 2.0);
        ties += t * t * t - t;
        before += t;
    }
    let statistic = ranks - n * (n + 1.0) / 2.0;
    let other = n * m - statistic;
    let p_value = if ties == 0.0 && (a.rows.min(b.rows) <= 8) && a.rows.max(b.rows) <= 100_000 {
        at_least(other as usize, a.rows as usize, b.rows as usize)
    } else {
        let all = n + m;
        let spread = (n * m / 12.0 * (all + 1.0 - ties / (all * (all - 1.0)))).sqrt();
        1.0 - normal_cdf((other - n * m / 2.0 - 0.5) / spread)
    };
    Test { statistic, p_value: p_value.clamp(0.0, 1.0) }
}

/// Anderson and Darling's statistic of two samples, ties at their mid-rank (Scholz and Stephens 1987), standardised;
/// the p-value is interpolated between the critical values of their table, and stays within 0.001 and 0.25.
pub(super) fn anderson_darling(a: &Numbers, b: &Numbers) -> Test {
    let (n, m) = (a.rows as f64, b.rows as f64);
    let all = n + m;
    let (mut before, mut before_a, mut before_b, mut values) = (0.0, 0.0, 0.0, 0);
    let (mut sum_a, mut sum_b) = (0.0, 0.0);
    for (_, ca, cb) in Walk::new(a, b) {
        let (ca, cb) = (ca as f64, cb as f64);
        let ties = ca + cb;
        let middle = before + ties / 2.0;
        let denominator = middle * (all - middle) - all * ties / 4.0;
        let part = |seen: f64, c: f64, size: f64| {
            let apart = all * (seen + c / 2.0) - middle * size;
            ties / all * apart * apart / denominator
        };
        sum_a += part(before_a, ca, n);
        sum_b += part(before_b, cb, m);
        (before, before_a, before_b, values) = (before + ties, before_a + ca, before_b + cb, values + 1);
    }
    if values < 2 || all < 4.0 {
        return Test { statistic: f64::NAN, p_value: f64::NAN };
    }
    let found = (sum_a / n + sum_b / m) * (all - 1.0) / all;
    // The variance, equation 4, for two samples.
    let harmonic = 1.0 / n + 1.0 / m;
    let (mut h, mut g) = (0.0, 0.0);
    for i in 1..all as u64 - 1 {
        h += 1.0 / (all - i as f64);
        g += h / (i as f64 + 1.0);
    }
    h += 1.0;
    let k = 2.0;
    let c3 = (4.0 * g - 6.0) * (k - 1.0) + (10.0 - 6.0 * g) * harmonic;
    let c2 = (2.0 * g - 4.0) * k * k + 8.0 * h * k + (2.0 * g - 14.0 * h - 4.0) * harmonic - 8.0 * h
        + 4.0 * g
        - 6.0;
    let c1 = (6.0 * h + 2.0 * g - 2.0) * k * k
        + (4.0 * h - 4.0 * g + 6.0) * k
        + (2.0 * h - 6.0) * harmonic
        + 4.0 * h;
    let c0 = (2.0 * h + 6.0) * k * k - 4.0 * h * k;
    let variance = (((c3 * all + c2) * all + c1) * all + c0) / ((all - 1.0) * (all - 2.0) * (all - 3.0));
    let statistic = (found - (k - 1.0)) / variance.sqrt();
    Test { statistic, p_value: anderson_darling_tail(statistic) }
}

/// Critical values for two samples, with the logarithms of their levels: a parabola by least squares.
fn anderson_darling_tail(statistic: f64) -> f64 {
    const LEVELS: [f64; 7] = [0.25, 0.1, 0.05, 0.025, 0.01, 0.005, 0.001];
    const B0: [f64; 7] = [0.675, 1.281, 1.645, 1.96, 2.326, 2.573, 3.085];
    const B1: [f64; 7] = [-0.245, 0.25, 0.678, 1.149, 1.822, 2.364, 3.615];
    const B2: [f64; 7] = [-0.105, -0.305, -0.362, -0.391, -0.396, -0.345, -0.154];
    let critical: Vec<f64> = (0..7).map(|i| B0[i] + B1[i] + B2[i]).collect();
    if statistic.is_nan() {
        return f64::NAN;
    }
    if statistic < critical[0] {
        return LEVELS[0];
    }
    if statistic > critical[6] {
        return LEVELS[6];
    }
    // Around the mean of the critical values, for the normal equations' sake.
    let center = critical.iter().sum::<f64>() / 7.0;
    let (mut s, mut t) = ([0.0; 5], [0.0; 3]);
    for (c, level) in critical.iter().zip(LEVELS) {
        let x = c - center;
        let mut power = 1.0;
        for (k, s) in s.iter_mut().enumerate() {
            *s += power;
            if k < 3 {
                t[k] += power * level.ln();
            }
            power *= x;
        }
    }
    let det = |m: [[f64; 3]; 3]| {
        m[0][0] * (m[1][1] * m[2][2] - m[1][2] * m[2][1]) - m[0][1] * (m[1][0] * m[2][2] - m[1][2] * m[2][0])
            + m[0][2] * (m[1][0] * m[2][1] - m[1][1] * m[2][0])
    };
    let m = [[s[0], s[1], s[2]], [s[1], s[2], s[3]], [s[2], s[3], s[4]]];
    let solved = |column: usize| {
        let mut with = m;
        (0..3).for_each(|row| with[row][column] = t[row]);
        det(with) / det(m)
    };
    let x = statistic - center;
    (solved(0) + solved(1) * x + solved(2) * x * x).exp()
}

/// Cramer and von Mises's T of two samples, ties at their mid-rank (Anderson 1962): the p-value is exact up to 20 rows
/// a side, and that of the limit beyond. Undefined for fewer than two rows on a side.
pub(super) fn cramer_von_mises(a: &Numbers, b: &Numbers) -> Test {
    let (n, m) = (a.rows as f64, b.rows as f64);
    if a.rows < 2 || b.rows < 2 {
        return Test { statistic: f64::NAN, p_value: f64::NAN };
    }
    // The sum of (rank in both - rank in one)^2 over a tie of `c` rows that follow `own` of their side.
    let tie = |rank: f64, own: f64, c: f64| {
        let d = rank - own;
        c * d * d - d * c * (c + 1.0) + c * (c + 1.0) * (2.0 * c + 1.0) / 6.0
    };
    let (mut before_a, mut before_b, mut sum_a, mut sum_b) = (0.0, 0.0, 0.0, 0.0);
    for (_, ca, cb) in Walk::new(a, b) {
        let (ca, cb) = (ca as f64, cb as f64);
        let rank = before_a + before_b + (ca + cb + 1.0) / 2.0;
        sum_a += tie(rank, before_a, ca);
        sum_b += tie(rank, before_b, cb);
        (before_a, before_b) = (before_a + ca, before_b + cb);
    }
    let u = n * sum_a + m * sum_b;
    let (product, all) = (n * m, n + m);
    let statistic = u / (product * all) - (4.0 * product - 1.0) / (6.0 * all);
    let p_value = if a.rows.max(b.rows) <= 20 {
        cramer_von_mises_exact(u, a.rows as i64, b.rows as i64)
    } else {
        let expected = (1.0 + 1.0 / all) / 6.0;
        let variance = (all + 1.0) * (4.0 * product * all - 3.0 * (n * n + m * m) - 2.0 * product)
            / (45.0 * all * all * 4.0 * product);
        let standard = 1.0 / 6.0 + (statistic - expected) / (45.0 * variance).sqrt();
        if standard < 0.003 { 1.0 } else { (1.0 - cramer_von_mises_limit(standard)).max(0.0) }
    };
    Test { statistic, p_value }
}

/// `P(U >= u)` of samples of `m` and `n`, by counting orders (Xiao, Gordon and Yakovlev 2007).
fn cramer_von_mises_exact(u: f64, m: i64, n: i64) -> f64 {
    let mut g = (m, n);
    while g.1 != 0 {
        g = (g.1, g.0 % g.1);
    }
    let lcm = m / g.0 * n;
    let (a, b) = (lcm / m, lcm / n);
    let product = (m * n) as f64;
    let zeta = ((lcm * lcm * (m + n)) as f64 * (6.0 * u - product * (4.0 * product - 1.0))
        / (6.0 * product * product))
        .floor();
    // For each number of rows of the first sample: how many orders have which statistic so far.
    let mut tables: Vec<HashMap<i64, f64>> = vec![HashMap::new(); m as usize + 1];
    tables[0].insert(0, 1.0);
    for i in 0..=n {
        let mut along: HashMap<i64, f64> = HashMap::new();
        for (j, table) in tables.iter_mut().enumerate() {
            for (value, ways) in table.drain() {
                *along.entry(value).or_default() += ways;
            }
            let step = (a * j as i64 - b * i).pow(2);
            along = along.into_iter().map(|(value, ways)| (value + step, ways)).collect();
            table.clone_from(&along);
        }
    }
    let last = &tables[m as usize];
    let total: f64 = last.values().sum();
    last.iter().filter(|(value, _)| **value as f64 >= zeta).map(|(_, ways)| ways).sum::<f64>() / total
}

/// The limit's distribution function (Csorgo and Faraway 1996), whose series ends as SciPy's does.
fn cramer_von_mises_limit(x: f64) -> f64 {
    let mut sum = 0.0;
    for k in 0..1_000_000 {
        let k = f64::from(k);
        let y = 4.0 * k + 1.0;
        let q = y * y / (16.0 * x);
        let u = (ln_gamma(k + 0.5) - ln_gamma(k + 1.0)).exp() / (PI.powf(1.5) * x.sqrt());
        let term = u * y.sqrt() * (-2.0 * q).exp() * bessel_quarter(q);
        sum += term;
        if term.abs() < 1e-7 {
            break;
        }
    }
    sum
}

/// `exp(x) K(x)` of the modified Bessel function of order 1/4: the integral of `exp(-x (cosh t - 1)) cosh(t / 4)` by
/// the trapezoidal rule, which converges like the integrand decays.
fn bessel_quarter(x: f64) -> f64 {
    const STEP: f64 = 1.0 / 16.0;
    let mut sum = 0.5;
    for i in 1..10_000 {
        let t = f64::from(i) * STEP;
        let term = (-x * (t.cosh() - 1.0)).exp() * (t / 4.0).cosh();
        sum += term;
        if term < 1e-17 * sum {
            break;
        }
    }
    sum * STEP
}
