//! Metrics on rows whose answers have arrived, beside those of the training.

use crate::evaluation::Measurement;
use crate::search::metric::larger_is_better;

/// A metric, then and now.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name.
    pub metric: String,
    /// What the training measured.
    pub baseline: f64,
    /// What it is now.
    pub value: f64,
    /// The confidence interval of what it is now, where there is one.
    pub interval: Option<(f64, f64)>,
    /// Now less then.
    pub change: f64,
    /// Whether it is worse by more than the interval explains; none where there is no interval.
    pub degraded: Option<bool>,
}

/// The metrics that both the training and an evaluation have.
pub fn changes(training: &[(String, f64)], now: Vec<Measurement>) -> Vec<Change> {
    let one = |m: Measurement| {
        let baseline = training.iter().find(|t| t.0 == m.name)?.1;
        let worse = |(low, high): (f64, f64)| {
            if larger_is_better(&m.name) { baseline > high } else { baseline < low }
        };
        Some(Change {
            baseline,
            value: m.value,
            interval: m.interval,
            change: m.value - baseline,
            degraded: m.interval.map(worse),
            metric: m.name,
        })
    };
    now.into_iter().filter_map(one).collect()
}
