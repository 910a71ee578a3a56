//! Statistics of a frame beside the models: columns summed up, their correlations, and tests of hypotheses.
//! Callers: the verbs `summarize`, `correlation` and `statistical_test`.
//!
//! Definitions, defaults and small-sample choices are SciPy's; [`kolmogorov`] has its distributions of the
//! Kolmogorov-Smirnov statistic.

mod compare;
mod correlation;
mod kolmogorov;
mod summary;

pub(crate) use compare::at_least;
pub use compare::{Comparison, Test, compare};
pub use correlation::{Correlation, Method, correlations};
pub(crate) use kolmogorov::two_samples;
pub use summary::{ColumnSummary, summarize};

use crate::frame::{Column, Value};

/// A value as a number, where it is one: truth values count 0 and 1.
fn number(column: &Column, row: usize) -> Option<f64> {
    match column.value(row) {
        Value::Number(x) => Some(x),
        Value::Bool(b) => Some(f64::from(b)),
        _ => None,
    }
}

/// Ranks from 1, ties at their mean rank; and the sum of `t^3 - t` over ties of `t`.
fn ranks(values: &[f64]) -> (Vec<f64>, f64) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut ties = 0.0;
    let mut from = 0;
    while from < order.len() {
        let mut to = from;
        while to < order.len() && values[order[to]] == values[order[from]] {
            to += 1;
        }
        let rank = (from + 1 + to) as f64 / 2.0;
        order[from..to].iter().for_each(|i| ranks[*i] = rank);
        let t = (to - from) as f64;
        ties += t * t * t - t;
        from = to;
    }
    (ranks, ties)
}
