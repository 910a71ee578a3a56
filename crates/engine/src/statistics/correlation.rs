//! Correlations of numeric columns, pairwise on the rows where both have a value.

use super::{number, ranks};
use crate::distributions::Reference;
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, ColumnKind, Frame};
use crate::learner::Cx;
use rayon::prelude::*;
use std::cmp::Ordering;

/// Which correlation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Of the values.
    Pearson,
    /// Of their ranks.
    Spearman,
    /// Kendall's tau-b: of the order of pairs.
    Kendall,
}

/// The correlation of two columns.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlation {
    /// The first column.
    pub a: String,
    /// The second column.
    pub b: String,
    /// The coefficient; none where a column is constant or there are fewer than two rows.
    pub value: Option<f64>,
    /// The two-sided p-value of no correlation: by Student's t, for tau by the normal approximation.
    pub p_value: Option<f64>,
    /// Rows where both have a value.
    pub rows: u64,
}

/// The correlations of all pairs of numeric columns, in the order of the columns.
///
/// # Errors
/// `Kind::Data` for fewer than two numeric columns.
pub fn correlations(frame: &Frame, method: Method, cx: &Cx) -> Result<Vec<Correlation>> {
    let numeric = |c: &&Column| matches!(c.kind(), ColumnKind::Number | ColumnKind::Bool);
    let columns: Vec<&Column> = frame.columns.iter().filter(numeric).collect();
    if columns.len() < 2 {
        let message = format!("the source has {} numeric columns, expected two or more", columns.len());
        return Err(Error::new(Kind::Data, message));
    }
    let pairs: Vec<(usize, usize)> =
        (0..columns.len()).flat_map(|a| (a + 1..columns.len()).map(move |b| (a, b))).collect();
    pairs
        .par_iter()
        .map(|(a, b)| {
            cx.check()?;
            Ok(pair(columns[*a], columns[*b], method))
        })
        .collect::<Vec<Result<_>>>()
        .into_iter()
        .collect()
}

fn pair(a: &Column, b: &Column, method: Method) -> Correlation {
    let both = (0..a.len()).filter_map(|i| Some((number(a, i)?, number(b, i)?)));
    let (x, y): (Vec<f64>, Vec<f64>) = both.unzip();
    let n = x.len() as f64;
    let (value, p_value) = match method {
        Method::Pearson => (pearson(&x, &y), None),
        Method::Spearman => (pearson(&ranks(&x).0, &ranks(&y).0), None),
        Method::Kendall => kendall(&x, &y).unzip(),
    };
    let p_value = p_value.or_else(|| {
        let r = value?;
        let statistic = r.abs() * ((n - 2.0) / ((1.0 - r) * (1.0 + r)).max(f64::MIN_POSITIVE)).sqrt();
        Some(Reference::T(n - 2.0).two_sided(statistic)).filter(|p| !p.is_nan())
    });
    Correlation { a: a.name.clone(), b: b.name.clone(), value, p_value, rows: x.len() as u64 }
}

fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    if x.len() < 2 {
        return None;
    }
    let (mx, my) = (x.iter().sum::<f64>() / n, y.iter().sum::<f64>() / n);
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        xx += (a - mx) * (a - mx);
        yy += (b - my) * (b - my);
        xy += (a - mx) * (b - my);
    }
    let constant = |v: &[f64]| v.iter().all(|a| *a == v[0]);
    if constant(x) || constant(y) || xx == 0.0 || yy == 0.0 {
        return None;
    }
    Some((xy / xx.sqrt() / yy.sqrt()).clamp(-1.0, 1.0))
}

/// Tau-b and its p-value (Knight 1966: discordant pairs are the swaps of a merge sort).
fn kendall(x: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    let n = x.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| x[*a].total_cmp(&x[*b]).then(y[*a].total_cmp(&y[*b])));
    let ties = |same: &dyn Fn(usize, usize) -> bool| {
        // Pairs tied, and the sums that the variance needs.
        let (mut pairs, mut third, mut weighted) = (0.0, 0.0, 0.0);
        let mut from = 0;
        while from < n {
            let mut to = from + 1;
            while to < n && same(from, to) {
                to += 1;
            }
            let t = (to - from) as f64;
            pairs += t * (t - 1.0) / 2.0;
            third += t * (t - 1.0) * (t - 2.0);
            weighted += t * (t - 1.0) * (2.0 * t + 5.0);
            from = to;
        }
        (pairs, third, weighted)
    };
    let (tx, tx3, txw) = ties(&|a, b| x[order[a]] == x[order[b]]);
    let (both, ..) = ties(&|a, b| x[order[a]] == x[order[b]] && y[order[a]] == y[order[b]]);
    let mut sorted: Vec<f64> = order.iter().map(|i| y[*i]).collect();
    let discordant = swaps(&mut sorted);
    let (ty, ty3, tyw) = ties(&|a, b| sorted[a] == sorted[b]);
    let m = n as f64;
    let all = m * (m - 1.0) / 2.0;
    if n < 2 || tx == all || ty == all {
        return None;
    }
    let difference = all - tx - ty + both - 2.0 * discordant;
    let tau = (difference / (all - tx).sqrt() / (all - ty).sqrt()).clamp(-1.0, 1.0);
    let pairs = m * (m - 1.0);
    let variance = (pairs * (2.0 * m + 5.0) - txw - tyw) / 18.0
        + 2.0 * tx * ty / pairs
        + if n > 2 { tx3 * ty3 / (9.0 * pairs * (m - 2.0)) } else { 0.0 };
    Some((tau, Reference::Normal.two_sided(difference / variance.sqrt())))
}

/// Sorts, and counts the pairs that were out of order.
fn swaps(values: &mut [f64]) -> f64 {
    let n = values.len();
    let mut count = 0.0;
    let mut width = 1;
    let mut merged = Vec::with_capacity(n);
    while width < n {
        merged.clear();
        for from in (0..n).step_by(2 * width) {
            let (middle, to) = ((from + width).min(n), (from + 2 * width).min(n));
            let (mut a, mut b) = (from, middle);
            while a < middle || b < to {
                let right = b < to && (a == middle || values[b].total_cmp(&values[a]) == Ordering::Less);
                if right {
                    count += (middle - a) as f64;
                }
                let from = if right { &mut b } else { &mut a };
                merged.push(values[*from]);
                *from += 1;
            }
        }
        values.copy_from_slice(&merged);
        width *= 2;
    }
    count
}
