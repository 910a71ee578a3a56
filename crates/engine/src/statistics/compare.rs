//! Tests of whether groups of rows differ.

use super::kolmogorov::two_samples;
use super::{number, ranks};
use crate::distributions::{Reference, chi_square_tail, f_tail, normal_tail};
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Frame};
use crate::learner::Cx;
use crate::target::text;
use std::collections::BTreeMap;

/// Which test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Test {
    /// Student's t of two means, variances equal.
    T,
    /// Welch's t of two means.
    Welch,
    /// Pearson's chi-square of independence, with Yates's correction for a table of 2 by 2.
    ChiSquare,
    /// Kolmogorov-Smirnov of two distributions.
    Ks,
    /// Mann and Whitney's U of two distributions, corrected for ties and continuity; exact where a group has at most 8
    /// rows and there are no ties.
    MannWhitney,
    /// One-way analysis of variance of several means.
    Anova,
}

impl Test {
    /// Every test with its name in SQL.
    pub const ALL: [(&'static str, Test); 6] = [
        ("t", Test::T),
        ("welch", Test::Welch),
        ("chi_square", Test::ChiSquare),
        ("ks", Test::Ks),
        ("mann_whitney", Test::MannWhitney),
        ("anova", Test::Anova),
    ];

    /// The test of that name.
    ///
    /// # Errors
    /// `Kind::Parameter`, with the names that there are.
    pub fn parse(name: &str) -> Result<Test> {
        Test::ALL.into_iter().find(|t| t.0 == name).map(|t| t.1).ok_or_else(|| {
            let names: Vec<&str> = Test::ALL.iter().map(|t| t.0).collect();
            Error::new(Kind::Parameter, format!("test is \"{name}\", expected one of {}", names.join(", ")))
        })
    }
}

/// What a test found: names and values, `statistic` and `p_value` first.
pub type Comparison = Vec<(String, f64)>;

/// Values of numbers by group, the groups in the order of their labels.
type Groups = Vec<(String, Vec<f64>)>;

/// Compares the values of column `value` between the groups of column `by`. Rows where either is missing count for
/// nothing.
///
/// # Errors
/// Columns that are not there or of a type that does not serve; too few groups or rows; more than two groups for a
/// test of two.
pub fn compare(frame: &Frame, value: &str, by: &str, test: Test, cx: &Cx) -> Result<Comparison> {
    let (column, by) = (&frame.columns[frame.position(value)?], &frame.columns[frame.position(by)?]);
    cx.check()?;
    if test == Test::ChiSquare {
        return chi_square(column, by);
    }
    let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for i in 0..frame.rows {
        let Some(label) = text(by.value(i)) else { continue };
        match number(column, i) {
            Some(x) => groups.entry(label).or_default().push(x),
            None if column.value(i) == crate::frame::Value::Missing => {}
            None => {
                let message = format!("column \"{value}\" is no number, which this test compares");
                return Err(Error::new(Kind::Type, message).hint("For two columns of labels use chi_square."));
            }
        }
    }
    let groups: Groups = groups.into_iter().collect();
    if groups.len() < 2 || (groups.len() > 2 && test != Test::Anova) {
        let wanted = if test == Test::Anova { "two or more" } else { "two" };
        let message =
            format!("column \"{}\" has {} groups with values, expected {wanted}", by.name, groups.len());
        return Err(Error::new(Kind::Data, message)
            .hint("anova compares more than two groups; a WHERE in the source chooses two of them."));
    }
    cx.check()?;
    match test {
        Test::T | Test::Welch => t(&groups, test == Test::T),
        Test::Ks => ks(&groups),
        Test::MannWhitney => mann_whitney(&groups),
        _ => anova(&groups),
    }
}

fn few(label: &str, found: usize) -> Error {
    let message = format!("group \"{label}\" has {found} rows with values, expected two or more");
    Error::new(Kind::Data, message)
}

fn undefined(what: &str) -> Error {
    Error::new(Kind::Data, format!("the test is undefined: {what}"))
}

/// Mean and the sum of squared distances from it.
fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|x| (x - mean) * (x - mean)).sum())
}

fn named(label: &str, what: &str) -> String {
    format!("{what} of {label}")
}

fn t(groups: &Groups, equal: bool) -> Result<Comparison> {
    let [(la, a), (lb, b)] = &groups[..] else { return Err(undefined("there are not two groups")) };
    for (label, values) in groups {
        if values.len() < 2 {
            return Err(few(label, values.len()));
        }
    }
    let (na, nb) = (a.len() as f64, b.len() as f64);
    let ((ma, sa), (mb, sb)) = (moments(a), moments(b));
    let (va, vb) = (sa / (na - 1.0) / na, sb / (nb - 1.0) / nb);
    let pooled = (sa + sb) / (na + nb - 2.0);
    let (error, df) = if equal {
        ((pooled * (1.0 / na + 1.0 / nb)).sqrt(), na + nb - 2.0)
    } else {
        ((va + vb).sqrt(), (va + vb).powi(2) / (va * va / (na - 1.0) + vb * vb / (nb - 1.0)))
    };
    if error == 0.0 {
        return Err(undefined("both groups are constant"));
    }
    let statistic = (ma - mb) / error;
    let student = Reference::T(df);
    let margin = student.two_sided_quantile(0.05) * error;
    Ok(vec![
        ("statistic".into(), statistic),
        ("p_value".into(), student.two_sided(statistic)),
        ("df".into(), df),
        ("difference".into(), ma - mb),
        ("lower (95 %)".into(), ma - mb - margin),
        ("upper (95 %)".into(), ma - mb + margin),
        ("cohen_d".into(), (ma - mb) / pooled.sqrt()),
        (named(la, "mean"), ma),
        (named(lb, "mean"), mb),
        (named(la, "rows"), na),
        (named(lb, "rows"), nb),
    ])
}

fn ks(groups: &Groups) -> Result<Comparison> {
    let [(la, a), (lb, b)] = &groups[..] else { return Err(undefined("there are not two groups")) };
    let sorted = |v: &[f64]| {
        let mut v = v.to_vec();
        v.sort_by(f64::total_cmp);
        v
    };
    let (x, y) = (sorted(a), sorted(b));
    let (mut i, mut j, mut d) = (0, 0, 0.0f64);
    while i < x.len() && j < y.len() {
        let at = x[i].min(y[j]);
        while i < x.len() && x[i] <= at {
            i += 1;
        }
        while j < y.len() && y[j] <= at {
            j += 1;
        }
        d = d.max((i as f64 / x.len() as f64 - j as f64 / y.len() as f64).abs());
    }
    Ok(vec![
        ("statistic".into(), d),
        ("p_value".into(), two_samples(d, x.len(), y.len())),
        (named(la, "rows"), x.len() as f64),
        (named(lb, "rows"), y.len() as f64),
    ])
}

fn mann_whitney(groups: &Groups) -> Result<Comparison> {
    let [(la, a), (lb, b)] = &groups[..] else { return Err(undefined("there are not two groups")) };
    let (na, nb) = (a.len() as f64, b.len() as f64);
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let (ranks, ties) = ranks(&all);
    let u = ranks[..a.len()].iter().sum::<f64>() - na * (na + 1.0) / 2.0;
    let larger = u.max(na * nb - u);
    let p = if ties == 0.0 && a.len().min(b.len()) <= 8 && a.len() * b.len() <= 10_000 {
        2.0 * at_least(larger as usize, a.len(), b.len())
    } else {
        let n = na + nb;
        let spread = (na * nb / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)))).sqrt();
        if spread == 0.0 {
            return Err(undefined("all values are the same"));
        }
        2.0 * normal_tail((larger - na * nb / 2.0 - 0.5) / spread)
    };
    Ok(vec![
        ("statistic".into(), u),
        ("p_value".into(), p.clamp(0.0, 1.0)),
        (format!("share of pairs where {la} is larger"), u / (na * nb)),
        (named(la, "rows"), na),
        (named(lb, "rows"), nb),
    ])
}

/// `P(U >= u)` without ties: of all ways to order `n` and `m` rows, counted as shares.
pub(crate) fn at_least(u: usize, n: usize, m: usize) -> f64 {
    // share[j][u]: of orders of i and j rows, those with the statistic u.
    let mut before: Vec<Vec<f64>> = (0..=m).map(|_| vec![1.0]).collect();
    for i in 1..=n {
        let mut now = vec![vec![1.0]];
        for j in 1..=m {
            // The largest value is one of the i (then it is above all j) or one of the j.
            let above = i as f64 / (i + j) as f64;
            let mut shares = vec![0.0; i * j + 1];
            before[j].iter().enumerate().for_each(|(u, s)| shares[u + j] += s * above);
            now[j - 1].iter().enumerate().for_each(|(u, s)| shares[u] += s * (1.0 - above));
            now.push(shares);
        }
        before = now;
    }
    before[m].iter().skip(u).sum()
}

fn anova(groups: &Groups) -> Result<Comparison> {
    let rows: f64 = groups.iter().map(|g| g.1.len() as f64).sum();
    let mean = groups.iter().map(|g| g.1.iter().sum::<f64>()).sum::<f64>() / rows;
    let (mut between, mut within) = (0.0, 0.0);
    for (_, values) in groups {
        let (m, s) = moments(values);
        between += values.len() as f64 * (m - mean) * (m - mean);
        within += s;
    }
    let (df1, df2) = (groups.len() as f64 - 1.0, rows - groups.len() as f64);
    if df2 < 1.0 || within == 0.0 {
        return Err(undefined("every group is constant, or has one row"));
    }
    let statistic = between / df1 / (within / df2);
    let mut found = vec![
        ("statistic".into(), statistic),
        ("p_value".into(), f_tail(statistic, df1, df2)),
        ("df between".into(), df1),
        ("df within".into(), df2),
        ("eta_squared".into(), between / (between + within)),
    ];
    for (label, values) in groups.iter().take(20) {
        found.push((named(label, "mean"), moments(values).0));
        found.push((named(label, "rows"), values.len() as f64));
    }
    Ok(found)
}

fn chi_square(a: &Column, b: &Column) -> Result<Comparison> {
    let mut table: BTreeMap<(String, String), f64> = BTreeMap::new();
    let (mut left, mut right): (BTreeMap<String, f64>, BTreeMap<String, f64>) = Default::default();
    let mut rows = 0.0;
    for i in 0..a.len() {
        if let (Some(x), Some(y)) = (text(a.value(i)), text(b.value(i))) {
            *left.entry(x.clone()).or_default() += 1.0;
            *right.entry(y.clone()).or_default() += 1.0;
            *table.entry((x, y)).or_default() += 1.0;
            rows += 1.0;
        }
        if left.len().max(right.len()) > 1000 {
            let message = "a column has more than 1000 different values, expected labels";
            return Err(
                Error::new(Kind::Data, message).hint("Numbers are compared by t, ks or mann_whitney.")
            );
        }
    }
    if left.len() < 2 || right.len() < 2 {
        let (l, r) = (left.len(), right.len());
        let message = format!("the columns have {l} and {r} different values, expected two or more each");
        return Err(Error::new(Kind::Data, message));
    }
    let df = (left.len() - 1) * (right.len() - 1);
    let (mut statistic, mut plain, mut least) = (0.0, 0.0, f64::INFINITY);
    for (x, nx) in &left {
        for (y, ny) in &right {
            let expected = nx * ny / rows;
            let distance = (table.get(&(x.clone(), y.clone())).copied().unwrap_or(0.0) - expected).abs();
            let corrected = if df == 1 { distance - distance.min(0.5) } else { distance };
            statistic += corrected * corrected / expected;
            plain += distance * distance / expected;
            least = least.min(expected);
        }
    }
    let smaller = left.len().min(right.len()) as f64 - 1.0;
    Ok(vec![
        ("statistic".into(), statistic),
        ("p_value".into(), chi_square_tail(statistic, df as f64)),
        ("df".into(), df as f64),
        ("cramers_v".into(), (plain / rows / smaller).sqrt()),
        ("least expected rows".into(), least),
        ("rows".into(), rows),
    ])
}
