//! Sets of labels: what the target of a multi-label task is, row by row, and how such sets are written.
//!
//! In a frame a set is its [`name`], a code of a dictionary; a training numbers the sets that occur ([`LabelSets`]), so that
//! a row's target is one number there as for other tasks; a learner gets a 0 or 1 a label.

use crate::error::{Error, Kind, Result};

/// A set as text: a JSON list of its labels, each once, sorted by their bytes.
pub fn name<'a>(labels: impl IntoIterator<Item = &'a str>) -> String {
    let mut labels: Vec<&str> = labels.into_iter().collect();
    labels.sort_unstable();
    labels.dedup();
    serde_json::Value::from(labels).to_string()
}

/// The labels of a set's [`name`].
///
/// # Errors
/// `Kind::Internal` for other text.
pub fn parse(name: &str) -> Result<Vec<String>> {
    serde_json::from_str(name).map_err(|_| Error::new(Kind::Internal, format!("{name} is no set of labels")))
}

/// Numbered sets of numbered labels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSets {
    labels: usize,
    /// Where each set ends in `members`.
    ends: Vec<usize>,
    members: Vec<u32>,
}

impl LabelSets {
    /// None yet, of so many labels.
    pub fn new(labels: usize) -> LabelSets {
        LabelSets { labels, ends: vec![], members: vec![] }
    }

    /// Adds a set, whose number is that of sets before it. Its labels are below the number of labels, each once.
    pub fn push(&mut self, members: impl IntoIterator<Item = usize>) {
        self.members.extend(members.into_iter().map(|m| m as u32));
        self.ends.push(self.members.len());
    }

    /// Sets.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Labels that there are.
    pub fn labels(&self) -> usize {
        self.labels
    }

    /// The labels of the set of that number; none for a number that there is not.
    pub fn get(&self, number: f64) -> &[u32] {
        let at = number as usize;
        let from = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or(0);
        self.ends.get(at).and_then(|end| self.members.get(from..*end)).unwrap_or_default()
    }

    /// Appends a row of `Chunk::y`: a 1 for each label of the set, a 0 for the others.
    pub fn add_row(&self, number: f64, to: &mut Vec<f64>) {
        let from = to.len();
        to.resize(from + self.labels, 0.0);
        self.get(number).iter().for_each(|label| to[from + *label as usize] = 1.0);
    }

    /// Bytes that they take.
    pub fn bytes(&self) -> u64 {
        (self.ends.len() * 8 + self.members.len() * 4) as u64
    }
}

/// The numbers of the labels whose probability is at least `at`.
pub fn decided(probabilities: &[f64], at: f64) -> impl Iterator<Item = usize> + '_ {
    probabilities.iter().enumerate().filter(move |(_, p)| **p >= at).map(|(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_has_one_name() {
        assert_eq!(name(["b", "a\"", "b"]), r#"["a\"","b"]"#);
        assert_eq!(name([]), "[]");
        for labels in [&["a", "b"][..], &[], &["", "NULL", "{x}"]] {
            let mut sorted = labels.to_vec();
            sorted.sort_unstable();
            assert_eq!(parse(&name(labels.iter().copied())).unwrap(), sorted);
        }
        assert!(parse("{a,b}").is_err());
    }

    #[test]
    fn sets_become_rows_of_zeros_and_ones() {
        let mut sets = LabelSets::new(3);
        sets.push([0, 2]);
        sets.push([]);
        sets.push([1]);
        let mut rows = vec![];
        [2.0, 1.0, 0.0].iter().for_each(|s| sets.add_row(*s, &mut rows));
        assert_eq!(rows, [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0]);
        assert_eq!(sets.get(9.0), [0u32; 0]);
    }
}
