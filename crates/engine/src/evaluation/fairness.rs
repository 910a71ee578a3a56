//! How a classifier treats groups of people, by fairlearn's definitions.

use super::{Scored, slices};
use crate::error::{Error, Kind, Result};
use crate::frame::Column;

/// One measure, of a group or between the groups.
#[derive(Debug, Clone, PartialEq)]
pub struct Fairness {
    /// The group; none for a measure between groups.
    pub group: Option<String>,
    /// The measure.
    pub name: &'static str,
    /// Its value; none where it is undefined.
    pub value: Option<f64>,
    /// Rows of the group, or all.
    pub rows: usize,
}

/// Weights of the four outcomes.
#[derive(Default)]
struct Outcomes {
    hits: f64,
    alarms: f64,
    misses: f64,
    rejections: f64,
}

impl Outcomes {
    fn selection(&self) -> Option<f64> {
        let called = self.hits + self.alarms;
        share(called, called + self.misses + self.rejections)
    }

    fn tpr(&self) -> Option<f64> {
        share(self.hits, self.hits + self.misses)
    }

    fn fpr(&self) -> Option<f64> {
        share(self.alarms, self.alarms + self.rejections)
    }
}

fn share(part: f64, whole: f64) -> Option<f64> {
    (whole > 0.0).then(|| part / whole)
}

impl Scored {
    /// Measures each group of a column, where `class` is the favourable outcome, then what lies between the groups:
    /// `demographic_parity_difference` and `_ratio` (of selection rates), and `equalized_odds_difference` and `_ratio`
    /// (the worse one of true and false positive rates). Groups where a rate is undefined have no part in it.
    ///
    /// # Errors
    /// `Kind::Null` for rows without a group; `Kind::Data` for fewer than two groups, or too many.
    pub fn fairness(&self, class: usize, groups: &Column) -> Result<Vec<Fairness>> {
        let slices = slices(groups)?;
        if let Some((None, rows)) = slices.last() {
            let message = format!("group column \"{}\" is NULL in {} rows", groups.name, rows.len());
            return Err(
                Error::new(Kind::Null, message).hint("Name them in the source: coalesce(..., 'unknown').")
            );
        }
        if slices.len() < 2 {
            let message =
                format!("group column \"{}\" has {} value, expected two or more", groups.name, slices.len());
            return Err(Error::new(Kind::Data, message));
        }
        let mut found = vec![];
        let (mut selections, mut tprs, mut fprs) = (vec![], vec![], vec![]);
        for (group, rows) in slices {
            let mut o = Outcomes::default();
            for i in rows.iter().map(|r| *r as usize) {
                let place = match (self.y[i] as usize == class, self.decided(i) == class) {
                    (true, true) => &mut o.hits,
                    (false, true) => &mut o.alarms,
                    (true, false) => &mut o.misses,
                    (false, false) => &mut o.rejections,
                };
                *place += self.weight(i);
            }
            let all = o.hits + o.alarms + o.misses + o.rejections;
            let measures = [
                ("selection_rate", o.selection()),
                ("true_positive_rate", o.tpr()),
                ("false_positive_rate", o.fpr()),
                ("precision", share(o.hits, o.hits + o.alarms)),
                ("accuracy", share(o.hits + o.rejections, all)),
            ];
            found.extend(measures.map(|(name, value)| Fairness {
                group: group.clone(),
                name,
                value,
                rows: rows.len(),
            }));
            selections.extend(o.selection());
            tprs.extend(o.tpr());
            fprs.extend(o.fpr());
        }
        let between = |rates: &[f64]| {
            let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
            let most = rates.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            (rates.len() > 1).then_some((most - least, share(least, most)))
        };
        let parity = between(&selections);
        let odds = [between(&tprs), between(&fprs)];
        let measures = [
            ("demographic_parity_difference", parity.map(|p| p.0)),
            ("demographic_parity_ratio", parity.and_then(|p| p.1)),
            ("equalized_odds_difference", odds.iter().flatten().map(|o| o.0).reduce(f64::max)),
            ("equalized_odds_ratio", odds.iter().flatten().filter_map(|o| o.1).reduce(f64::min)),
        ];
        found.extend(measures.map(|(name, value)| Fairness { group: None, name, value, rows: self.rows() }));
        Ok(found)
    }
}
