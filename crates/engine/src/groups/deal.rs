//! Rows dealt to groups, in one pass over the frame.

use super::{MAX_GROUPS, key};
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::learner::Cx;
use crate::prepare::InputColumn;
use std::collections::HashMap;
use std::ops::Range;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Rows between looks at the stop flag.
const STRIDE: usize = 1 << 13;

/// The rows of each group, groups by their values.
pub(super) struct Deal {
    /// The columns whose values name a group.
    pub columns: Vec<InputColumn>,
    /// Their values.
    pub keys: Vec<Vec<u8>>,
    rows: Vec<u32>,
    bounds: Vec<usize>,
}

impl Deal {
    /// Deals a frame's rows by the values of some columns.
    ///
    /// # Errors
    /// Columns that cannot name groups, too many groups, too many rows.
    pub fn new(frame: &Frame, names: &[String], cx: &Cx) -> Result<Deal> {
        let mut columns = vec![];
        let mut from = vec![];
        for name in names {
            let column = &frame.columns[frame.position(name)?];
            key::check(column)?;
            columns.push(InputColumn { name: name.clone(), kind: column.kind() });
            from.push(column);
        }
        if u32::try_from(frame.rows).is_err() {
            let message = format!("there are {} rows, expected fewer than 4294967296", frame.rows);
            return Err(Error::new(Kind::Unsupported, message).hint("Train on a sample of them."));
        }
        let mut numbers: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut of = Vec::with_capacity(frame.rows);
        let (mut value, mut last) = (vec![], None);
        for i in 0..frame.rows {
            if i % STRIDE == 0 {
                cx.check()?;
            }
            value.clear();
            for (column, from) in columns.iter().zip(&from) {
                key::put(column, from.value(i), &mut value)?;
            }
            let number = match &last {
                Some((known, number)) if *known == value => *number,
                _ => {
                    let next = numbers.len() as u32;
                    let number = match numbers.get(&value) {
                        Some(number) => *number,
                        None => *numbers.entry(value.clone()).or_insert(next),
                    };
                    last = Some((value.clone(), number));
                    number
                }
            };
            if numbers.len() > MAX_GROUPS {
                let message = format!("group_by {} makes more than {MAX_GROUPS} groups", names.join(", "));
                return Err(Error::new(Kind::Data, message)
                    .hint("Group by columns with fewer values, such as a region rather than a customer."));
            }
            of.push(number);
        }
        let mut order: Vec<(Vec<u8>, u32)> = numbers.into_iter().collect();
        order.sort_unstable();
        let mut place = vec![0; order.len()];
        order.iter().enumerate().for_each(|(i, (_, number))| place[*number as usize] = i);
        let mut bounds = vec![0; order.len() + 1];
        of.iter().for_each(|number| bounds[place[*number as usize] + 1] += 1);
        (0..order.len()).for_each(|i| bounds[i + 1] += bounds[i]);
        let mut next = bounds.clone();
        let mut rows = vec![0; of.len()];
        for (row, number) in of.iter().enumerate() {
            let slot = &mut next[place[*number as usize]];
            rows[*slot] = row as u32;
            *slot += 1;
        }
        Ok(Deal { columns, keys: order.into_iter().map(|o| o.0).collect(), rows, bounds })
    }

    /// How many there are.
    pub fn groups(&self) -> usize {
        self.keys.len()
    }

    /// A group's rows, in the frame's order.
    pub fn rows(&self, group: usize) -> &[u32] {
        &self.rows[self.bounds[group]..self.bounds[group + 1]]
    }

    /// The seed of a group: its own, and the same wherever the group's rows come from.
    pub fn seed(&self, group: usize, seed: u64) -> u64 {
        xxh3_64_with_seed(&self.keys[group], seed)
    }

    /// A group as people read it.
    pub fn shown(&self, group: usize) -> String {
        key::shown(&self.keys[group], &self.columns)
    }

    /// Rows to train on and rows to test on; `choose` gives the numbers of a group's test rows among its own, sorted.
    pub fn parts(&self, choose: impl Fn(usize) -> Result<Vec<u32>>) -> Result<(Listed, Listed)> {
        let (mut train, mut test) = (Listed::new(), Listed::new());
        for group in 0..self.groups() {
            let rows = self.rows(group);
            let mut left_out = choose(group)?.into_iter().peekable();
            for (i, row) in rows.iter().enumerate() {
                let held_out = left_out.next_if_eq(&(i as u32)).is_some();
                if held_out { &mut test } else { &mut train }.rows.push(*row);
            }
            train.bounds.push(train.rows.len());
            test.bounds.push(test.rows.len());
        }
        Ok((train, test))
    }
}

/// Some rows of each group.
pub(super) struct Listed {
    /// Group by group.
    pub rows: Vec<u32>,
    bounds: Vec<usize>,
}

impl Listed {
    fn new() -> Listed {
        Listed { rows: vec![], bounds: vec![0] }
    }

    /// Where a group's lie among them.
    pub fn range(&self, group: usize) -> Range<usize> {
        self.bounds[group]..self.bounds[group + 1]
    }
}
