//! Distributions side by side, as bars to draw: those of a baseline and of today's rows.

use super::baseline::{Predictions, Role};
use super::categories::Categories;
use super::numbers::Numbers;
use super::{Baseline, Distribution, read};
use crate::error::Result;
use crate::frame::{Column, ColumnKind, Frame};
use crate::learner::Cx;
use crate::scorer::Scorer;
use crate::target;
use rayon::prelude::*;

/// Bars of a column of numbers.
const BARS: usize = 24;
/// Labels that have a bar of their own, the most frequent ones; also different numbers up to which each has one.
const LABELS: usize = 10;
/// The share of the rows beyond either end whose values count in the bar at the end.
const TAIL: f64 = 0.005;

/// Bars of one or more distributions. Shares are of the rows with a value and sum to 1, unless there are none.
#[derive(Debug, Clone, PartialEq)]
pub enum Bars {
    /// Numbers by range: bar `i` is from edge `i` to edge `i + 1`; the outer ones have what lies beyond.
    Ranges {
        /// Ascending, one more than there are bars.
        edges: Vec<f64>,
        /// Shares by side and bar.
        shares: Vec<Vec<f64>>,
    },
    /// Values, each for itself.
    Values {
        /// What they are; the last one is all others, where `others` says so.
        labels: Vec<String>,
        /// How many values the last bar has together; 0 where each has its own.
        others: usize,
        /// Shares by side and bar.
        shares: Vec<Vec<f64>>,
    },
}

/// A column as it was and as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// The column.
    pub name: String,
    /// Its part in the model, where there is one.
    pub role: Option<Role>,
    /// Whether its numbers are seconds since 2000.
    pub time: bool,
    /// Its values; none where there are none, or byte strings.
    pub bars: Option<Bars>,
    /// The share of rows without a value on each side.
    pub missing: Vec<f64>,
}

impl Bars {
    /// Of distributions of one shape; none where they differ in it, and where no side has a value.
    pub fn of(sides: &[&Distribution]) -> Option<Bars> {
        if sides.iter().all(|s| s.rows() == 0) {
            return None;
        }
        let numbers: Option<Vec<&Numbers>> = sides.iter().map(|s| super::compare::numbers(s)).collect();
        let labels: Option<Vec<&Categories>> = sides.iter().map(|s| super::compare::categories(s)).collect();
        match (numbers, labels) {
            (Some(numbers), _) => Some(of_numbers(&numbers)),
            (_, Some(labels)) => Some(of_labels(&labels)),
            _ => None,
        }
    }
}

fn of_numbers(sides: &[&Numbers]) -> Bars {
    let mut values: Vec<f64> = vec![];
    for side in sides {
        values.extend(side.values.iter().take(LABELS + 1));
    }
    values.sort_by(f64::total_cmp);
    values.dedup();
    if values.len() <= LABELS && sides.iter().all(|s| s.values.len() <= LABELS) {
        let label = |v: &f64| target::text(crate::frame::Value::Number(*v)).unwrap_or_default();
        let shares = sides.iter().map(|side| {
            let mut counts = vec![0.0; values.len()];
            for (v, c) in side.values.iter().zip(&side.counts) {
                counts[values.partition_point(|x| x < v)] += *c as f64;
            }
            in_shares(counts)
        });
        return Bars::Values {
            labels: values.iter().map(label).collect(),
            others: 0,
            shares: shares.collect(),
        };
    }
    let there = || sides.iter().filter(|s| s.rows > 0);
    let mut low = there().map(|s| s.quantile(TAIL)).fold(f64::INFINITY, f64::min);
    let mut high = there().map(|s| s.quantile(1.0 - TAIL)).fold(f64::NEG_INFINITY, f64::max);
    if low >= high {
        low = there().map(|s| s.min).fold(low, f64::min);
        high = there().map(|s| s.max).fold(high, f64::max);
    }
    let whole =
        low.abs().max(high.abs()) < 1e15 && there().all(|s| s.values.iter().all(|v| v.fract() == 0.0));
    let edges: Vec<f64> = if whole {
        // As many whole numbers in each bar, or the numbers would stand as a comb.
        let step = ((high - low + 1.0) / BARS as f64).ceil();
        let bars = ((high - low + 1.0) / step).ceil() as usize;
        (0..=bars).map(|i| low + step * i as f64).collect()
    } else {
        // Not by steps: the ends of the numbers are further apart than a number can say.
        let part = |i: usize| i as f64 / BARS as f64;
        (0..=BARS).map(|i| low * (1.0 - part(i)) + high * part(i)).collect()
    };
    let bars = edges.len() - 1;
    let shares = sides.iter().map(|side| {
        let mut counts = vec![0.0; bars];
        for (v, c) in side.values.iter().zip(&side.counts) {
            counts[edges[1..bars].partition_point(|e| e <= v)] += *c as f64;
        }
        in_shares(counts)
    });
    Bars::Ranges { shares: shares.collect(), edges }
}

fn of_labels(sides: &[&Categories]) -> Bars {
    let share = |side: &Categories, label: &str| {
        side.counts.get(label).map_or(0.0, |c| *c as f64 / side.rows.max(1) as f64)
    };
    let mut labels: Vec<&String> = sides.iter().flat_map(|s| s.counts.keys()).collect();
    labels.sort();
    labels.dedup();
    let largest = |label: &str| sides.iter().map(|s| share(s, label)).fold(0.0, f64::max);
    let mut ranked: Vec<(f64, &String)> = labels.into_iter().map(|l| (largest(l), l)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    let pooled = sides.iter().any(|s| s.pooled > 0);
    // A last bar for one label would be no shorter than the label's own.
    let own = if ranked.len() > LABELS + 1 { LABELS } else { ranked.len() };
    let others = ranked.len() - own + usize::from(pooled);
    let mut names: Vec<String> = ranked[..own].iter().map(|r| r.1.clone()).collect();
    let shares = sides.iter().map(|side| {
        let mut shares: Vec<f64> = names.iter().map(|l| share(side, l)).collect();
        if others > 0 {
            let rest = if side.rows > 0 { 1.0 - shares.iter().sum::<f64>() } else { 0.0 };
            shares.push(rest.max(0.0));
        }
        shares
    });
    let shares = shares.collect();
    if others > 0 {
        names.push("others".into());
    }
    Bars::Values { labels: names, others, shares }
}

fn in_shares(counts: Vec<f64>) -> Vec<f64> {
    let total: f64 = counts.iter().sum();
    counts.into_iter().map(|c| if total > 0.0 { c / total } else { 0.0 }).collect()
}

fn missing(side: &Distribution) -> f64 {
    if side.all_rows() == 0 { 0.0 } else { side.missing() as f64 / side.all_rows() as f64 }
}

impl Scorer {
    /// The columns of the model's baseline as they were; and, for those that a frame or the predictions for it have, as
    /// they are. Numbers of many rows are drawn by a sample.
    ///
    /// # Errors
    /// When the caller asked to stop.
    pub fn drawn(
        &self,
        baseline: &Baseline,
        now: Option<(&Frame, &Predictions)>,
        cx: &Cx,
    ) -> Result<Vec<Drawn>> {
        let inputs = &self.card().inputs;
        let time = |name: &str| inputs.iter().any(|i| i.name == name && i.kind == ColumnKind::Time);
        let one = |own: &super::ColumnBaseline| {
            let column = now.and_then(|(frame, given)| match own.role {
                Role::Feature | Role::Target => frame.columns.iter().find(|c| c.name == own.name),
                role => given.column(role),
            });
            let then = &own.distribution;
            let now = column.map(|c| read::small(c, then.shape(), cx)).transpose()?;
            let sides: Vec<&Distribution> = [Some(then), now.as_ref()].into_iter().flatten().collect();
            Ok(Drawn {
                name: own.name.clone(),
                role: Some(own.role),
                time: own.role == Role::Feature && time(&own.name),
                bars: Bars::of(&sides),
                missing: sides.iter().map(|s| missing(s)).collect(),
            })
        };
        baseline.columns.par_iter().map(one).collect::<Vec<Result<Drawn>>>().into_iter().collect()
    }
}

/// The columns of that name in both frames, in the order of the first.
///
/// # Errors
/// When the caller asked to stop.
pub fn drawn_between(reference: &Frame, current: &Frame, cx: &Cx) -> Result<Vec<Drawn>> {
    let one = |then: &Column| {
        let Some(now) = current.columns.iter().find(|c| c.name == then.name) else { return Ok(None) };
        let (a, b) = (read::small(then, None, cx)?, read::small(now, None, cx)?);
        Ok(Some(Drawn {
            name: then.name.clone(),
            role: None,
            time: is_time(then) && is_time(now),
            bars: Bars::of(&[&a, &b]),
            missing: vec![missing(&a), missing(&b)],
        }))
    };
    let found: Vec<Result<Option<Drawn>>> = reference.columns.par_iter().map(one).collect();
    found.into_iter().filter_map(Result::transpose).collect()
}

fn is_time(column: &Column) -> bool {
    column.kind() == ColumnKind::Time
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(values: &[(f64, u64)]) -> Distribution {
        Distribution::Numbers(Numbers::of_counts(values.iter().copied(), 0, 0, false))
    }

    fn categories(labels: &[(String, u64)]) -> Distribution {
        let mut found = Categories::default();
        labels.iter().for_each(|(l, c)| found.add(Some(l), *c));
        Distribution::Categories(found)
    }

    #[test]
    fn few_numbers_have_a_bar_each() {
        let (a, b) = (numbers(&[(0.0, 3), (1.0, 1)]), numbers(&[(1.0, 2), (2.5, 2)]));
        let Some(Bars::Values { labels, others, shares }) = Bars::of(&[&a, &b]) else { panic!("ranges") };
        assert_eq!((labels, others), (vec!["0".to_string(), "1".into(), "2.5".into()], 0));
        assert_eq!(shares, [[0.75, 0.25, 0.0], [0.0, 0.5, 0.5]]);
    }

    #[test]
    fn ranges_hold_all_rows_and_tails() {
        let mut far: Vec<(f64, u64)> = (0..1000).map(|i| (f64::from(i) + 0.5, 1)).collect();
        far.push((1e9, 1));
        let (a, b) = (numbers(&far), numbers(&[(500.0, 10)]));
        let Some(Bars::Ranges { edges, shares }) = Bars::of(&[&a, &b]) else { panic!("values") };
        assert_eq!((edges.len(), shares[0].len()), (BARS + 1, BARS));
        assert!(edges[BARS] < 1001.0 && edges.windows(2).all(|e| e[0] < e[1]));
        assert!(shares.iter().all(|s| (s.iter().sum::<f64>() - 1.0).abs() < 1e-12));
        assert_eq!(shares[1].iter().filter(|s| **s > 0.0).count(), 1);
    }

    #[test]
    fn whole_numbers_are_as_many_in_each_bar() {
        let ages: Vec<(f64, u64)> = (17..79).map(|i| (f64::from(i), 1)).collect();
        let Some(Bars::Ranges { edges, shares }) = Bars::of(&[&numbers(&ages)]) else { panic!("values") };
        assert_eq!((edges[0], edges[1], edges.len()), (17.0, 20.0, 22));
        assert!(shares[0][..20].iter().all(|s| (s - 3.0 / 62.0).abs() < 1e-12));
    }

    #[test]
    fn numbers_at_the_ends_of_what_there_is_are_no_fault() {
        let far: Vec<(f64, u64)> = (0..20).map(|i| (f64::from(i - 10) * 1.7e307, 1)).collect();
        let Some(Bars::Ranges { edges, .. }) = Bars::of(&[&numbers(&far)]) else { panic!("values") };
        assert!(edges.iter().all(|e| e.is_finite()));
    }

    #[test]
    fn rare_labels_share_a_bar() {
        let labels: Vec<(String, u64)> = (0..30).map(|i| (format!("l{i:02}"), 31 - i)).collect();
        let a = categories(&labels);
        let Some(Bars::Values { labels, others, shares }) = Bars::of(&[&a]) else { panic!("ranges") };
        assert_eq!((labels.len(), others), (LABELS + 1, 20));
        assert_eq!(labels[0], "l00");
        assert!((shares[0].iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(Bars::of(&[&a, &numbers(&[(1.0, 1)])]), None);
        assert_eq!(Bars::of(&[&categories(&[])]), None);
    }
}
