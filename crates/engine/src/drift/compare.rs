//! Columns of two sides compared: the reference, and the rows of today.

use super::baseline::Role;
use super::categories::Categories;
use super::method::{FEW, Method, Shape};
use super::numbers::{Numbers, Walk};
use super::ordered::{self, Test};
use super::{Distribution, binned, read};
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, Frame, Value};
use crate::learner::Cx;
use crate::target;
use rayon::prelude::*;
use std::collections::{BTreeMap, HashMap};

/// The share of drifted columns from which a dataset has drifted.
pub const DRIFT_SHARE: f64 = 0.5;

/// What the caller chose of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Choice {
    /// The method; the default one where there is none.
    pub method: Option<Method>,
    /// The threshold; the method's own where there is none.
    pub threshold: Option<f64>,
}

/// What the caller chose, for all columns and for single ones.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Choices {
    /// Whether distances alone are compared, as by default for a large reference.
    distances: bool,
    all: Choice,
    columns: BTreeMap<String, Choice>,
}

impl Choices {
    /// Reads a method's name, or a JSON object of methods by column: `{"age": "psi", "city": {"method": "z",
    /// "threshold": 0.01}}`. A name is meant for all columns that the method can compare.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything else.
    pub fn parse(method: Option<&str>, threshold: Option<f64>) -> Result<Choices> {
        let all = Choice { method: None, threshold: limit(threshold)? };
        let mut choices = Choices { all, ..Choices::default() };
        let Some(text) = method.map(str::trim) else { return Ok(choices) };
        if !text.starts_with('{') {
            choices.all.method = Some(Method::parse(text)?);
            return Ok(choices);
        }
        let wrong = |what: String| {
            Error::new(Kind::Parameter, what).hint(
                "Methods by column are a JSON object: {\"age\": \"psi\", \"city\": {\"method\": \"z\", \"threshold\": 0.01}}.",
            )
        };
        let parsed: BTreeMap<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|e| wrong(format!("method is no JSON object: {e}")))?;
        for (column, value) in parsed {
            let mut choice = Choice { method: None, threshold: choices.all.threshold };
            match &value {
                serde_json::Value::String(name) => choice.method = Some(Method::parse(name)?),
                serde_json::Value::Object(fields) => {
                    for (key, value) in fields {
                        match (key.as_str(), value.as_str(), value.as_f64()) {
                            ("method", Some(name), _) => choice.method = Some(Method::parse(name)?),
                            ("threshold", _, Some(t)) => choice.threshold = limit(Some(t))?,
                            _ => {
                                return Err(wrong(format!(
                                    "method of column \"{column}\" has \"{key}\": {value}, expected a method's name or a threshold"
                                )));
                            }
                        }
                    }
                }
                _ => return Err(wrong(format!("method of column \"{column}\" is {value}, expected a name"))),
            }
            choices.columns.insert(column, choice);
        }
        Ok(choices)
    }

    /// The same, for estimates of a distribution, of which no p-value would mean anything.
    ///
    /// # Errors
    /// `Kind::Parameter` for a test.
    pub(super) fn distances(&self) -> Result<Choices> {
        let mut chosen = self.columns.values().chain([&self.all]).filter_map(|c| c.method);
        match chosen.find(|m| m.tests()) {
            None => Ok(Choices { distances: true, ..self.clone() }),
            Some(test) => {
                let message = format!("method {} is a test, which needs the rows", test.name());
                Err(Error::new(Kind::Parameter, message).hint(
                    "These are distances: wasserstein, jensenshannon, psi, kl_div, hellinger, ed. damson.drift reads the rows.",
                ))
            }
        }
    }

    /// Refuses choices for columns that are not compared.
    ///
    /// # Errors
    /// `Kind::UnknownColumn`.
    pub fn check<'a>(&self, compared: impl Iterator<Item = &'a str> + Clone) -> Result<()> {
        match self.columns.keys().find(|c| !compared.clone().any(|name| name == c.as_str())) {
            None => Ok(()),
            Some(unknown) => {
                let names: Vec<&str> = compared.take(40).collect();
                let message = format!("method names column \"{unknown}\", which is not compared");
                Err(Error::new(Kind::UnknownColumn, message)
                    .hint(format!("These are: {}.", names.join(", "))))
            }
        }
    }

    /// What is to be done for a column of that shape.
    fn of(&self, column: &str, shape: Shape) -> Result<Choice> {
        if let Some(choice) = self.columns.get(column) {
            if let Some(method) = choice.method.filter(|m| !m.serves(shape)) {
                let message = format!(
                    "method {} compares numbers, and column \"{column}\" has categories",
                    method.name()
                );
                return Err(Error::new(Kind::Type, message));
            }
            return Ok(*choice);
        }
        // The threshold of a method means nothing to another: where the chosen one does not serve, all is the default.
        let serves = |m: Method| m.serves(shape) && (shape == Shape::Categories || !m.counts_values());
        Ok(if self.all.method.is_none_or(serves) { self.all } else { Choice::default() })
    }
}

fn limit(threshold: Option<f64>) -> Result<Option<f64>> {
    match threshold {
        Some(t) if !(t >= 0.0 && t.is_finite()) => {
            Err(Error::new(Kind::Parameter, format!("threshold is {t}, expected a number of 0 or more")))
        }
        t => Ok(t),
    }
}

/// What a comparison found of a column, or of the dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The column; none for the dataset.
    pub column: Option<String>,
    /// Its part in the model; none where there is no model.
    pub role: Option<Role>,
    /// How it was compared: a method's name; `share` for the dataset; `missing` where one side has no values.
    pub method: &'static str,
    /// The test's statistic, or the distance; NaN where it is undefined.
    pub statistic: f64,
    /// The test's p-value.
    pub p_value: Option<f64>,
    /// The threshold of the p-value or the distance.
    pub threshold: f64,
    /// Whether it drifted.
    pub drifted: bool,
    /// By how much the statistic may be off because the reference was stored in little room; 0 for one that is exact,
    /// none where no bound is known.
    pub error: Option<f64>,
}

impl Finding {
    /// The p-value of a test, or the distance: what is compared with the threshold.
    pub fn score(&self) -> f64 {
        self.p_value.unwrap_or(self.statistic)
    }
}

/// The numbers of a finding to nine digits, for reading; none for undefined ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shown {
    /// As [`Finding::statistic`].
    pub statistic: Option<f64>,
    /// As [`Finding::p_value`].
    pub p_value: Option<f64>,
    /// As [`Finding::threshold`].
    pub threshold: Option<f64>,
    /// As [`Finding::error`].
    pub error: Option<f64>,
}

impl Finding {
    /// Its numbers, for reading.
    pub fn shown(&self) -> Shown {
        let short = |x: f64| format!("{x:.8e}").parse().ok().filter(|x: &f64| !x.is_nan());
        Shown {
            statistic: short(self.statistic),
            p_value: self.p_value.and_then(short),
            threshold: short(self.threshold),
            error: self.error.and_then(short),
        }
    }
}

/// One side of a comparison.
pub(super) struct Side<'a> {
    pub(super) distribution: &'a Distribution,
    /// The rows themselves, where they are at hand.
    pub(super) column: Option<&'a Column>,
}

/// Compares a column.
///
/// # Errors
/// A method that cannot compare it; the two sides of different types; when the caller asked to stop.
pub(super) fn compare(
    name: &str,
    role: Option<Role>,
    reference: &Side,
    current: &Side,
    choices: &Choices,
    cx: &Cx,
) -> Result<Finding> {
    let (a, b) = (reference.distribution, current.distribution);
    let mut finding = Finding {
        column: Some(name.to_string()),
        role,
        method: "missing",
        statistic: f64::NAN,
        p_value: None,
        threshold: f64::NAN,
        drifted: false,
        error: Some(0.0),
    };
    let shape = match (a.shape(), b.shape()) {
        (x, y) if x != y => {
            let (before, now) = (a.kind(), b.kind());
            let message = format!("column \"{name}\" has {now} now, expected {before} as in the reference");
            return Err(Error::new(Kind::Type, message)
                .hint("Cast it in a SELECT as source, or leave it out by columns."));
        }
        (Some(shape), _) => shape,
        (None, _) => {
            finding.drifted = (a.rows() == 0) != (b.rows() == 0);
            return Ok(finding);
        }
    };
    let choice = choices.of(name, shape)?;
    if a.rows() == 0 || b.rows() == 0 {
        // Nothing can be computed of nothing; that all values are gone, or that there are some now, is a drift.
        finding.drifted = (a.rows() == 0) != (b.rows() == 0);
        return Ok(finding);
    }
    let size = if choices.distances { u64::MAX } else { a.rows() };
    let method = choice.method.unwrap_or_else(|| Method::default_for(shape, size, distinct(a, b)));
    if method.counts_values() && shape == Shape::Numbers && !(a.exact() && b.exact()) {
        let message = format!(
            "method {} counts every value, and the baseline of column \"{name}\" has more than it keeps",
            method.name()
        );
        return Err(Error::new(Kind::Unsupported, message)
            .hint("Take a method for numbers, such as wasserstein or psi."));
    }
    let (test, error) = statistic(method, reference, current, cx)?;
    finding.method = method.name();
    finding.statistic = test.statistic;
    finding.p_value = method.tests().then_some(test.p_value);
    finding.threshold = choice.threshold.unwrap_or(method.threshold());
    finding.drifted = method.drifted(finding.score(), finding.threshold);
    finding.error = error;
    Ok(finding)
}

/// Different values on both sides together, as far as the default rules ask.
fn distinct(a: &Distribution, b: &Distribution) -> usize {
    match (a, b) {
        (Distribution::Numbers(a), Distribution::Numbers(b)) => Walk::new(a, b).take(FEW + 1).count(),
        (Distribution::Categories(a), Distribution::Categories(b)) => {
            let pooled = usize::from(!a.exact() || !b.exact()) * 3;
            a.counts.len() + b.counts.keys().filter(|k| !a.counts.contains_key(*k)).take(3).count() + pooled
        }
        _ => 0,
    }
}

/// The statistic, and by how much a stored reference may have moved it.
fn statistic(method: Method, reference: &Side, current: &Side, cx: &Cx) -> Result<(Test, Option<f64>)> {
    let (a, b) = (reference.distribution, current.distribution);
    let bound = if a.exact() && b.exact() { Some(0.0) } else { None };
    let distance = |statistic: f64| Ok((Test { statistic, p_value: f64::NAN }, bound));
    match method {
        Method::Psi => return distance(binned::psi(a, b)),
        Method::KlDivergence => return distance(binned::kl_divergence(a, b)),
        Method::JensenShannon => return distance(binned::jensen_shannon(a, b)),
        Method::Hellinger => return distance(binned::hellinger(a, b)),
        Method::ChiSquare => return Ok((binned::chi_square(a, b), bound)),
        Method::Z => return Ok((binned::z(a, b), bound)),
        Method::Tvd => {
            let sequence = |bins| rows_by_bin(reference, current, bins);
            return Ok((binned::total_variation(a, b, sequence, cx)?, bound));
        }
        _ => {}
    }
    let (Distribution::Numbers(a), Distribution::Numbers(b)) = (a, b) else {
        return Err(Error::internal("a method for numbers was chosen for categories"));
    };
    cx.check()?;
    let (ranks, moved) = (a.rank_error + b.rank_error, a.distance_error + b.distance_error);
    let plain = |statistic: f64, error: f64| Ok((Test { statistic, p_value: f64::NAN }, Some(error)));
    match method {
        Method::Ks => Ok((ordered::kolmogorov_smirnov(a, b), Some(ranks))),
        Method::Wasserstein => {
            let unit = a.deviation().max(0.001);
            plain(ordered::wasserstein(a, b) / unit, moved / unit)
        }
        Method::Energy => plain(ordered::energy(a, b), (2.0 * ranks * moved).sqrt()),
        // Moments are of all rows, whatever was grouped.
        Method::T => Ok((ordered::student(a, b), Some(0.0))),
        Method::MannWhitney => Ok((ordered::mann_whitney(a, b), bound)),
        Method::AndersonDarling => Ok((ordered::anderson_darling(a, b), bound)),
        _ => Ok((ordered::cramer_von_mises(a, b), bound)),
    }
}

/// The bin of each row with a value, the reference's first: in the rows' order where they are at hand.
fn rows_by_bin(reference: &Side, current: &Side, bins: usize) -> Vec<u32> {
    let last = bins.saturating_sub(1) as u32;
    let mut out = vec![];
    match (reference.distribution, current.distribution) {
        (Distribution::Numbers(a), Distribution::Numbers(b)) => {
            let places: HashMap<u64, u32> =
                Walk::new(a, b).zip(0..).map(|((v, ..), i)| (v.to_bits(), i)).collect();
            let place = |v: f64| places.get(&(v + 0.0).to_bits()).copied();
            for (side, own) in [(reference, a), (current, b)] {
                match side.column {
                    Some(column) => out.extend((0..column.len()).filter_map(|i| match column.value(i) {
                        Value::Number(x) => place(x),
                        _ => None,
                    })),
                    None => {
                        for (v, c) in own.values.iter().zip(&own.counts) {
                            out.extend(std::iter::repeat_n(place(*v).unwrap_or(last), *c as usize));
                        }
                    }
                }
            }
        }
        (Distribution::Categories(a), Distribution::Categories(b)) => {
            let kept = |label: &String| {
                (a.exact() || a.counts.contains_key(label)) && (b.exact() || b.counts.contains_key(label))
            };
            let mut labels: Vec<&String> =
                a.counts.keys().chain(b.counts.keys()).filter(|l| kept(l)).collect();
            labels.sort_unstable();
            labels.dedup();
            let places: HashMap<&str, u32> = labels.iter().map(|l| l.as_str()).zip(0..).collect();
            let place = |label: &str| places.get(label).copied().unwrap_or(last);
            for (side, own) in [(reference, a), (current, b)] {
                match side.column {
                    Some(column) => out.extend(
                        (0..column.len())
                            .filter_map(|i| target::text(column.value(i)).map(|label| place(&label))),
                    ),
                    None => {
                        for (label, c) in &own.counts {
                            out.extend(std::iter::repeat_n(place(label), *c as usize));
                        }
                        out.extend(std::iter::repeat_n(last, own.pooled as usize));
                    }
                }
            }
        }
        _ => {}
    }
    out
}

/// Whether a dataset drifted, by the share of its columns that did. Columns that cannot be compared do not count.
pub(super) fn dataset(findings: &[Finding], share: f64) -> Finding {
    let (drifted, all) = findings.iter().fold((0.0, 0.0), |(d, n), f| (d + f64::from(f.drifted), n + 1.0));
    let statistic = if all == 0.0 { f64::NAN } else { drifted / all };
    Finding {
        column: None,
        role: None,
        method: "share",
        statistic,
        p_value: None,
        threshold: share,
        drifted: statistic >= share,
        error: Some(0.0),
    }
}

/// Checks the share of columns that a caller gave.
///
/// # Errors
/// `Kind::Parameter` unless it is within 0 and 1.
pub fn drift_share(given: Option<f64>) -> Result<f64> {
    let share = given.unwrap_or(DRIFT_SHARE);
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(Error::new(Kind::Parameter, format!("drift_share is {share}, expected 0 .. 1")))
}

/// Compares the columns that two frames have in common, in the order of the reference: the dataset first, then each
/// column. `columns` chooses some.
///
/// # Errors
/// Columns that one of them lacks or that differ in type; no rows; no common columns.
pub fn between(
    reference: &Frame,
    current: &Frame,
    columns: Option<&[String]>,
    choices: &Choices,
    share: f64,
    cx: &Cx,
) -> Result<Vec<Finding>> {
    for (what, frame) in [("reference", reference), ("source", current)] {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, format!("the {what} has no rows, expected one or more")));
        }
    }
    let pairs: Vec<(&Column, &Column)> = match columns {
        Some(names) => {
            let find = |name: &String| {
                Ok((&reference.columns[reference.position(name)?], &current.columns[current.position(name)?]))
            };
            names.iter().map(find).collect::<Result<_>>()?
        }
        None => {
            let other = |c: &Column| current.columns.iter().find(|o| o.name == c.name);
            reference.columns.iter().filter_map(|c| Some((c, other(c)?))).collect()
        }
    };
    if pairs.is_empty() {
        return Err(Error::new(Kind::UnknownColumn, "the reference and the source have no column in common"));
    }
    choices.check(pairs.iter().map(|(c, _)| c.name.as_str()))?;
    let findings: Vec<Result<Finding>> = pairs
        .par_iter()
        .map(|(a, b)| {
            let (x, y) = (read::exact(a, None, cx)?, read::exact(b, None, cx)?);
            let (x, y) =
                (Side { distribution: &x, column: Some(a) }, Side { distribution: &y, column: Some(b) });
            compare(&a.name, None, &x, &y, choices, cx)
        })
        .collect();
    let findings = findings.into_iter().collect::<Result<Vec<_>>>()?;
    let mut all = vec![dataset(&findings, share)];
    all.extend(findings);
    Ok(all)
}

/// The labels of a distribution of categories, or nothing.
pub(super) fn categories(distribution: &Distribution) -> Option<&Categories> {
    if let Distribution::Categories(c) = distribution { Some(c) } else { None }
}

/// The numbers of a distribution, or nothing.
pub(super) fn numbers(distribution: &Distribution) -> Option<&Numbers> {
    if let Distribution::Numbers(n) = distribution { Some(n) } else { None }
}
