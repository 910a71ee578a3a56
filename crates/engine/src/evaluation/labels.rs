//! Rows of a multi-label task that were scored: label by label.

use super::Scored;
use crate::decision::{Decision, Rule};
use crate::labels::decided;
use crate::schema::Task;

impl Scored {
    /// Of each label of row `i`, whether it is there and whether it is given.
    pub(super) fn labels(&self, i: usize) -> impl Iterator<Item = (bool, bool)> + '_ {
        let mut flags = vec![(false, false); self.classes.len()];
        let there = self.sets.as_ref().map_or(&[][..], |s| s.get(self.y[i]));
        there.iter().for_each(|label| flags[*label as usize].0 = true);
        decided(self.row(i), self.decision.least()).for_each(|label| flags[label].1 = true);
        flags.into_iter()
    }

    /// The share of the labels that row `i` is wrongly given or not given.
    pub(crate) fn wrong_labels(&self, i: usize) -> f64 {
        let wrong = self.labels(i).filter(|(there, given)| there != given).count();
        wrong as f64 / self.classes.len().max(1) as f64
    }

    /// Rows that have each label.
    pub(super) fn label_rows(&self) -> Vec<u64> {
        let mut rows = vec![0; self.classes.len()];
        let Some(sets) = &self.sets else { return rows };
        self.y.iter().flat_map(|set| sets.get(*set)).for_each(|label| rows[*label as usize] += 1);
        rows
    }

    /// The rows of a multi-label task as those of two classes: without a label, and with it.
    pub(super) fn of_label(&self, label: usize) -> Scored {
        let has = |set: &f64| self.sets.as_ref().is_some_and(|s| s.get(*set).contains(&(label as u32)));
        let rule = Rule::Threshold { positive: 1, at: self.decision.least(), tuned: None };
        Scored {
            task: Task::Classification,
            classes: vec![String::new(), self.classes[label].clone()],
            y: self.y.iter().map(|set| f64::from(u8::from(has(set)))).collect(),
            sets: None,
            scores: (0..self.rows()).flat_map(|i| [1.0 - self.row(i)[label], self.row(i)[label]]).collect(),
            weight: self.weight.clone(),
            group: vec![],
            decision: Decision { rule, ..Decision::default() },
        }
    }
}
