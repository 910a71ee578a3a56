//! Alarms: whether a window of rows differs from what a model was trained on by more than chance explains. Caller: the
//! server's monitors.
//!
//! Distances say how far apart two samples are, and small samples are far apart by chance alone; tests say what chance
//! explains, and large samples are never quite alike. A column drifts here when both speak: its finding is the one of
//! `damson.drift` (a distance at its threshold, or a test), and a test of two samples refuses that both are of one
//! distribution, at a rate that is kept over all tests of the window (Holm 1979). What is missing is tested beside what
//! is there. So the stated rate is an upper bound of the windows that raise a false alarm, for rows that are drawn
//! independently from what the model was trained on.

use super::baseline::{Baseline, Predictions, Role};
use super::binned::Bins;
use super::compare::{Choices, Finding, Side, compare};
use super::ordered::{Test, kolmogorov_smirnov};
use super::{Distribution, read};
use crate::error::{Error, Kind, Result};
use crate::evaluation::Measurement;
use crate::frame::Frame;
use crate::learner::Cx;
use crate::search::metric::larger_is_better;
use crate::statistics::two_samples;
use rayon::prelude::*;
use serde_json::{Map, Value};
use statrs::function::gamma::{checked_gamma_ur, ln_gamma};
use std::collections::BTreeMap;

/// How often a window without drift may raise an alarm, when nobody said.
const FALSE_POSITIVE_RATE: f64 = 0.01;
/// The share of drifted features from which a window raises an alarm, when nobody said.
const DRIFT_SHARE: f64 = 0.1;
/// Rows that a window must have to be judged, when nobody said.
const MIN_ROWS: u64 = 30;
/// By how much the share of missing values must have changed to be drift.
const MISSING: f64 = 0.1;
/// Numbers of at most so many different values are tested value by value.
const FEW: usize = 20;
/// Rows that a cell of a chi-square test must be expected to have (Cochran 1954).
const EXPECTED: f64 = 5.0;
/// Culprits that a message names.
const NAMED: usize = 5;

/// What raises an alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// How often a window without drift may raise one.
    pub false_positive_rate: f64,
    /// The share of drifted features from which on.
    pub drift_share: f64,
    /// Rows that a window must have to be judged.
    pub min_rows: u64,
    /// Columns that are compared; all where there are none.
    pub columns: Option<Vec<String>>,
    /// Whether predictions are compared.
    pub predictions: bool,
    /// Methods and thresholds of columns.
    pub choices: Choices,
    /// The worst value of each metric that is still well.
    pub metrics: BTreeMap<String, f64>,
}

impl Rules {
    /// Reads rules from JSON: an object with any of `false_positive_rate`, `drift_share`, `min_rows`, `columns`,
    /// `predictions`, `method`, `threshold` and `metrics`.
    ///
    /// # Errors
    /// `Kind::Parameter` for other keys, other types, and values out of range.
    pub fn parse(text: &str) -> Result<Rules> {
        let document: Value =
            serde_json::from_str(text).map_err(|e| refused(format!("thresholds is no JSON object: {e}")))?;
        let given = document.as_object().ok_or_else(|| refused("thresholds is no JSON object".into()))?;
        const KEYS: [&str; 8] = [
            "columns",
            "drift_share",
            "false_positive_rate",
            "method",
            "metrics",
            "min_rows",
            "predictions",
            "threshold",
        ];
        if let Some(unknown) = given.keys().find(|k| !KEYS.contains(&k.as_str())) {
            let message = format!("thresholds has \"{unknown}\", expected {}", KEYS.join(", "));
            return Err(refused(message));
        }
        let rate = number(given, "false_positive_rate")?.unwrap_or(FALSE_POSITIVE_RATE);
        if !(rate > 0.0 && rate <= 0.5) {
            return Err(refused(format!(
                "false_positive_rate is {rate}, expected a share above 0, at most 0.5"
            )));
        }
        let drift_share = number(given, "drift_share")?.unwrap_or(DRIFT_SHARE);
        if !(0.0..=1.0).contains(&drift_share) {
            return Err(refused(format!("drift_share is {drift_share}, expected 0 .. 1")));
        }
        let min_rows = match given.get("min_rows") {
            None => MIN_ROWS,
            Some(v) => v
                .as_u64()
                .filter(|n| (1..=1_000_000_000).contains(n))
                .ok_or_else(|| refused(format!("min_rows is {v}, expected a whole number from 1")))?,
        };
        let predictions = match given.get("predictions") {
            None => true,
            Some(v) => {
                v.as_bool().ok_or_else(|| refused(format!("predictions is {v}, expected true or false")))?
            }
        };
        let method = match given.get("method") {
            None => None,
            Some(Value::String(name)) => Some(name.clone()),
            Some(by_column) => Some(by_column.to_string()),
        };
        Ok(Rules {
            false_positive_rate: rate,
            drift_share,
            min_rows,
            columns: columns(given)?,
            predictions,
            choices: Choices::parse(method.as_deref(), number(given, "threshold")?)?,
            metrics: metrics(given)?,
        })
    }

    /// The rate that the comparison of columns keeps: half, where metrics have the other half.
    fn rate(&self) -> f64 {
        if self.metrics.is_empty() { self.false_positive_rate } else { self.false_positive_rate / 2.0 }
    }

    /// The confidence of the intervals that metrics must lie beyond their limits with: one side of each is looked at.
    pub fn confidence(&self) -> f64 {
        1.0 - self.false_positive_rate / self.metrics.len().max(1) as f64
    }
}

fn number(given: &Map<String, Value>, key: &str) -> Result<Option<f64>> {
    match given.get(key) {
        None => Ok(None),
        Some(v) => match v.as_f64() {
            Some(x) => Ok(Some(x)),
            None => Err(refused(format!("{key} is {v}, expected a number"))),
        },
    }
}

fn columns(given: &Map<String, Value>) -> Result<Option<Vec<String>>> {
    let Some(value) = given.get("columns") else { return Ok(None) };
    let names =
        value.as_array().filter(|a| !a.is_empty()).map(|a| a.iter().map(|v| v.as_str().map(String::from)));
    match names.and_then(Iterator::collect) {
        Some(names) => Ok(Some(names)),
        None => Err(refused(format!("columns is {value}, expected an array of one or more names"))),
    }
}

fn metrics(given: &Map<String, Value>) -> Result<BTreeMap<String, f64>> {
    let Some(value) = given.get("metrics") else { return Ok(BTreeMap::new()) };
    let limits = value.as_object().map(|o| o.iter().map(|(k, v)| Some((k.clone(), v.as_f64()?))));
    limits.and_then(Iterator::collect).ok_or_else(|| {
        refused(format!("metrics is {value}, expected an object of metrics and their limits"))
            .hint("For example {\"metrics\": {\"auc\": 0.8, \"log_loss\": 0.5}}.")
    })
}

/// What was found of a column, the p-values of its values and of what is missing, and the shares missing then and now.
type Judged = (Finding, [f64; 2], [f64; 2]);

/// A column of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// What `damson.drift` says of it. `drifted` says whether it drifted here, by the rules of this module.
    pub finding: Finding,
    /// The p-value of the test that both sides are alike, after the correction for all tests of the window; the
    /// smaller one of values and of what is missing.
    pub significance: f64,
    /// The share of rows without a value then.
    pub missing_before: f64,
    /// And now.
    pub missing_now: f64,
}

impl Watched {
    /// The significance to three digits, for reading.
    pub fn shown(&self) -> f64 {
        format!("{:.2e}", self.significance).parse().unwrap_or(self.significance)
    }
}

/// A metric of a window that has a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limited {
    /// What was measured.
    pub measured: Measurement,
    /// The worst value that is still well.
    pub limit: f64,
    /// Whether it is worse, by more than its interval explains.
    pub exceeded: bool,
}

/// What a window says.
#[derive(Debug, Clone, PartialEq)]
pub struct Watch {
    /// The share of features that drifted; NaN where none is compared.
    pub drift_share: f64,
    /// The columns.
    pub columns: Vec<Watched>,
    /// The metrics that have limits.
    pub metrics: Vec<Limited>,
    /// Whether this is an alarm.
    pub alarm: bool,
}

impl Watch {
    /// The names of what raised the alarm or would have: drifted columns, then metrics.
    pub fn culprits(&self) -> Vec<String> {
        let mut all = self.drifted();
        all.extend(self.exceeded());
        all
    }

    fn drifted(&self) -> Vec<String> {
        let columns = self.columns.iter().filter(|c| c.finding.drifted);
        columns.filter_map(|c| c.finding.column.clone()).collect()
    }

    fn exceeded(&self) -> Vec<String> {
        self.metrics.iter().filter(|m| m.exceeded).map(|m| m.measured.name.clone()).collect()
    }

    /// In words, for an alert.
    pub fn message(&self) -> String {
        let named = |names: &[String]| {
            let more = match names.len().saturating_sub(NAMED) {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            format!("{}{more}", names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", "))
        };
        let (drifted, exceeded) = (self.drifted(), self.exceeded());
        let mut parts = vec![];
        if !drifted.is_empty() {
            let share = if self.drift_share > 0.0 { self.drift_share * 100.0 } else { 0.0 };
            parts.push(format!("drifted: {} ({share:.0} % of the features)", named(&drifted)));
        }
        if !exceeded.is_empty() {
            parts.push(format!("beyond its limit: {}", named(&exceeded)));
        }
        parts.join("; ")
    }
}

impl Baseline {
    /// Judges a window. `measured` is what the model's metrics are on it, where `rules` has limits of some.
    ///
    /// # Errors
    /// As [`Baseline::compare`]; `Kind::Parameter` for a limit of a metric that was not measured.
    pub fn watch(
        &self,
        frame: &Frame,
        predictions: &Predictions,
        measured: Vec<Measurement>,
        rules: &Rules,
        cx: &Cx,
    ) -> Result<Watch> {
        let pairs = self.pairs(frame, predictions, rules.columns.as_deref())?;
        rules.choices.check(pairs.iter().map(|p| p.0.name.as_str()))?;
        let judged: Vec<Result<Judged>> = pairs
            .par_iter()
            .map(|(own, column)| {
                let current = read::exact(column, own.distribution.shape(), cx)?;
                let then = Side { distribution: &own.distribution, column: None };
                let now = Side { distribution: &current, column: Some(column) };
                let finding = compare(&own.name, Some(own.role), &then, &now, &rules.choices, cx)?;
                let tests = [of_values(&own.distribution, &current), of_missing(&own.distribution, &current)];
                Ok((finding, tests, [missing_share(&own.distribution), missing_share(&current)]))
            })
            .collect();
        let judged = judged.into_iter().collect::<Result<Vec<_>>>()?;
        let tests: Vec<f64> = judged.iter().flat_map(|j| j.1).collect();
        let corrected = holm(&tests);
        let rate = rules.rate();
        let mut columns = vec![];
        for ((mut finding, _, [before, now]), p) in judged.into_iter().zip(corrected.chunks_exact(2)) {
            let gone = p[1] <= rate && (before - now).abs() >= MISSING;
            finding.drifted = finding.method != "missing" && finding.drifted && p[0] <= rate || gone;
            let significance = p[0].min(p[1]);
            columns.push(Watched { finding, significance, missing_before: before, missing_now: now });
        }
        let metrics = limited(measured, rules)?;
        let of = |role: fn(Role) -> bool| columns.iter().filter(move |c| c.finding.role.is_some_and(role));
        let features = of(|r| r == Role::Feature).count() as f64;
        let drifted = of(|r| r == Role::Feature).filter(|c| c.finding.drifted).count() as f64;
        let drift_share = if features > 0.0 { drifted / features } else { f64::NAN };
        let alarm = drifted > 0.0 && drift_share >= rules.drift_share
            || of(|r| r != Role::Feature).any(|c| c.finding.drifted)
            || metrics.iter().any(|m| m.exceeded);
        Ok(Watch { drift_share, columns, metrics, alarm })
    }
}

/// The metrics that have limits, with them.
fn limited(measured: Vec<Measurement>, rules: &Rules) -> Result<Vec<Limited>> {
    if let Some(unknown) = rules.metrics.keys().find(|name| !measured.iter().any(|m| m.name == **name)) {
        let names: Vec<&str> = measured.iter().map(|m| m.name.as_str()).collect();
        return Err(refused(format!(
            "metrics has \"{unknown}\", expected some of {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )));
    }
    let one = |measured: Measurement| {
        let limit = *rules.metrics.get(&measured.name)?;
        let (low, high) = measured.interval.unwrap_or((measured.value, measured.value));
        let exceeded = if larger_is_better(&measured.name) { high < limit } else { low > limit };
        Some(Limited { measured, limit, exceeded })
    };
    Ok(measured.into_iter().filter_map(one).collect())
}

/// P-values made larger so that, with all of them, the smallest is below `x` with a probability of at most `x` where
/// nothing is there to be found (Holm 1979). Undefined ones take no part and become 1.
fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).filter(|i| !p[*i].is_nan()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]).then(a.cmp(b)));
    let mut out = vec![1.0; p.len()];
    let mut least = 0.0f64;
    for (done, i) in order.iter().enumerate() {
        least = least.max((p[*i] * (order.len() - done) as f64).min(1.0));
        out[*i] = least;
    }
    out
}

/// Rows without a value that could be compared.
fn absent(distribution: &Distribution) -> u64 {
    distribution.all_rows() - distribution.rows()
}

fn missing_share(distribution: &Distribution) -> f64 {
    let absent = if matches!(distribution, Distribution::Opaque { .. }) {
        distribution.missing()
    } else {
        absent(distribution)
    };
    match distribution.all_rows() {
        0 => 0.0,
        all => absent as f64 / all as f64,
    }
}

/// The p-value that the values of both sides are of one distribution; NaN where there is nothing to compare.
fn of_values(then: &Distribution, now: &Distribution) -> f64 {
    if then.rows() == 0 || now.rows() == 0 {
        return f64::NAN;
    }
    match (then, now) {
        (Distribution::Numbers(a), Distribution::Numbers(b)) => {
            let few = a.exact() && a.values.len() <= FEW && b.values.len() <= FEW;
            if few {
                return homogeneous(&Bins::of_values(then, now));
            }
            let Test { statistic, p_value } = kolmogorov_smirnov(a, b);
            let error = a.rank_error + b.rank_error;
            if error == 0.0 {
                return p_value;
            }
            // What storing may have moved it by explains as much of it.
            let rows = a.rows.div_ceil(read::run(a.rows + a.missing + a.infinite)) as usize;
            match statistic - error {
                d if d > 0.0 => two_samples(d, rows, b.rows as usize),
                _ => 1.0,
            }
        }
        (Distribution::Categories(_), Distribution::Categories(_)) => {
            homogeneous(&Bins::of_values(then, now))
        }
        _ => f64::NAN,
    }
}

/// Pearson's test that two samples are of one distribution, rare cells pooled so that all are expected to be full enough.
fn homogeneous(bins: &Bins) -> f64 {
    let (n, m): (f64, f64) = (bins.reference.iter().sum(), bins.current.iter().sum());
    let smaller = n.min(m) / (n + m);
    let mut cells: Vec<(f64, f64)> = vec![];
    let mut rest = (0.0, 0.0);
    for cell in bins.reference.iter().copied().zip(bins.current.iter().copied()) {
        if (cell.0 + cell.1) * smaller >= EXPECTED {
            cells.push(cell);
        } else {
            rest = (rest.0 + cell.0, rest.1 + cell.1);
        }
    }
    if (rest.0 + rest.1) * smaller >= EXPECTED {
        cells.push(rest);
    } else if let Some(least) = cells.iter_mut().min_by(|a, b| (a.0 + a.1).total_cmp(&(b.0 + b.1))) {
        *least = (least.0 + rest.0, least.1 + rest.1);
    }
    if cells.len() < 2 {
        return 1.0;
    }
    let apart = |found: f64, expected: f64| (found - expected) * (found - expected) / expected;
    let statistic: f64 =
        cells.iter().map(|(a, b)| apart(*a, (a + b) * n / (n + m)) + apart(*b, (a + b) * m / (n + m))).sum();
    if statistic <= 0.0 {
        return 1.0;
    }
    checked_gamma_ur((cells.len() - 1) as f64 / 2.0, statistic / 2.0).unwrap_or(f64::NAN)
}

/// The p-value that as large a share is missing on both sides: by chi-square where enough is, else exactly (Fisher),
/// twice the smaller tail.
fn of_missing(then: &Distribution, now: &Distribution) -> f64 {
    let count = |d: &Distribution| {
        if matches!(d, Distribution::Opaque { .. }) { d.missing() } else { absent(d) }
    };
    let (n, m) = (then.all_rows(), now.all_rows());
    let (a, b) = (count(then), count(now));
    if n == 0 || m == 0 || a + b == 0 || a + b == n + m {
        return f64::NAN;
    }
    let rare = (a + b).min(n + m - a - b) as f64 * n.min(m) as f64 / (n + m) as f64;
    if rare >= EXPECTED {
        let bins =
            Bins { reference: vec![a as f64, (n - a) as f64], current: vec![b as f64, (m - b) as f64] };
        return homogeneous(&bins);
    }
    // Of a + b missing ones among n + m rows, b are in the window of m.
    let ln_choose =
        |n: u64, k: u64| ln_gamma(n as f64 + 1.0) - ln_gamma(k as f64 + 1.0) - ln_gamma((n - k) as f64 + 1.0);
    let all = ln_choose(n + m, a + b);
    let chance = |k: u64| (ln_choose(m, k) + ln_choose(n, a + b - k) - all).exp();
    let (first, last) = ((a + b).saturating_sub(n), m.min(a + b));
    let tail = |up: bool| {
        let mut sum = 0.0;
        let mut k = b;
        loop {
            let p = chance(k);
            sum += p;
            let end = if up { k >= last } else { k <= first };
            // Beyond the middle they only become smaller.
            if end || p < sum * 1e-12 {
                return sum;
            }
            k = if up { k + 1 } else { k - 1 };
        }
    };
    (2.0 * tail(true).min(tail(false))).min(1.0)
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}
