//! Rows to train on and rows to test on: hold-out splits and the folds of cross-validation. Called by the
//! training pipeline before it encodes a row.
//!
//! Invariants: the parts are sorted, disjoint and together all rows; they depend on the seed and the data alone,
//! never on threads. Random choices take the rows whose hashes with the seed are least, so that a row keeps its
//! place when `test_size` changes: a smaller test part lies within a larger one.

use crate::error::{Error, Kind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BinaryHeap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How rows are held out for testing. `test_size` is a share of the rows, above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Split {
    /// All rows train.
    None,
    /// Any rows test.
    Random {
        /// The share of rows that test.
        test_size: f64,
    },
    /// Each class gives its share to the test part. A class with one row gives it to training.
    Stratified {
        /// The share of rows that test.
        test_size: f64,
    },
    /// The latest rows test; rows of equal times are ordered by their numbers.
    Time {
        /// The share of rows that test.
        test_size: f64,
    },
}

/// When each row happened.
#[derive(Debug, Clone, Copy)]
pub enum Times<'a> {
    /// Microseconds, or any whole numbers; missing is `i64::MIN`, as in [`crate::frame::Data::Time`].
    Whole(&'a [i64]),
    /// Numbers; missing is NaN.
    Numbers(&'a [f64]),
}

/// The numbers of the rows of both parts, sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Rows to train on.
    pub train: Vec<u32>,
    /// Rows to test on; empty for [`Split::None`].
    pub test: Vec<u32>,
}

impl Split {
    /// Deals `rows` rows into the two parts. Exactly `round(rows * test_size)` rows test, but at least one, and at
    /// least one is left to train; a stratified split falls short of it only where each class must keep a row.
    /// `classes` has a class a row and is read by a stratified split; `times` by one by time.
    ///
    /// # Errors
    /// `Kind::Parameter` for a `test_size` that is not between 0 and 1; `Kind::Data` for fewer than 2 rows, or
    /// when no class has 2; `Kind::Null` for a missing class or time; `Kind::Unsupported` for more than 2^32 - 1
    /// rows; `Kind::Internal` when what the split reads was not given, or is not a value a row.
    pub fn apply(
        &self,
        rows: usize,
        classes: Option<&[f64]>,
        times: Option<Times>,
        seed: u64,
    ) -> Result<Parts> {
        let n = countable(rows)?;
        let test_size = match *self {
            Split::None => return Ok(Parts { train: (0..n).collect(), test: vec![] }),
            Split::Random { test_size } | Split::Stratified { test_size } | Split::Time { test_size } => {
                test_size
            }
        };
        if !(test_size > 0.0 && test_size < 1.0) {
            let message = format!(
                "test_size is {test_size}, expected a share of the rows between 0 and 1, both excluded"
            );
            return Err(Error::new(Kind::Parameter, message)
                .hint("Write 0.2 to hold out a fifth of the rows, or use no split."));
        }
        if rows < 2 {
            return Err(Error::new(
                Kind::Data,
                format!("there are too few rows to hold some out: {rows}, expected at least 2"),
            )
            .hint("Add rows, or train without a split."));
        }
        let count = ((rows as f64 * test_size).round() as usize).clamp(1, rows - 1);
        let test = match self {
            Split::Stratified { .. } => {
                let classes = classes.ok_or_else(|| Error::internal("a stratified split got no classes"))?;
                stratified(&by_class(rows, classes)?, rows, count, seed)?
            }
            Split::Time { .. } => {
                let times = times.ok_or_else(|| Error::internal("a split by time got no times"))?;
                in_time(times, n)?.split_off(rows - count)
            }
            _ => {
                let mut keyed: Vec<(u64, u32)> = hashed(0..n, seed).collect();
                if count < keyed.len() {
                    keyed.select_nth_unstable(count);
                }
                keyed.truncate(count);
                keyed.into_iter().map(|(_, row)| row).collect()
            }
        };
        let test = sorted(test);
        Ok(Parts { train: others(rows, &test), test })
    }
}

/// Deals `rows` rows into `k` test parts whose sizes differ by at most one; the training part of each is
/// [`others`]. With `classes`, a class a row, the rows of each class are spread as evenly.
///
/// # Errors
/// `Kind::Parameter` for fewer than 2 folds; `Kind::Data` for more folds than rows; `Kind::Null` for a missing
/// class; `Kind::Unsupported` for more than 2^32 - 1 rows.
pub fn folds(rows: usize, k: usize, classes: Option<&[f64]>, seed: u64) -> Result<Vec<Vec<u32>>> {
    let n = countable(rows)?;
    if k < 2 {
        return Err(Error::new(Kind::Parameter, format!("folds is {k}, expected at least 2")));
    }
    if k > rows {
        return Err(Error::new(Kind::Data, format!("there are {rows} rows for {k} folds"))
            .hint("Use fewer folds: each needs at least one row."));
    }
    let order = match classes {
        None => shuffled(0..n, seed),
        Some(classes) => {
            by_class(rows, classes)?.into_iter().flat_map(|members| shuffled(members, seed)).collect()
        }
    };
    // Dealing round and round through the classes keeps both the parts and each class's shares even.
    Ok((0..k).map(|fold| sorted(order.iter().copied().skip(fold).step_by(k).collect())).collect())
}

/// The rows of `0 .. rows` that a sorted list leaves out.
pub fn others(rows: usize, sorted: &[u32]) -> Vec<u32> {
    let mut left_out = sorted.iter().copied().peekable();
    (0..rows as u32).filter(|row| left_out.next_if_eq(row).is_none()).collect()
}

/// How many rows there are, where row numbers can name them.
///
/// # Errors
/// `Kind::Unsupported` for more.
pub fn countable(rows: usize) -> Result<u32> {
    u32::try_from(rows).map_err(|_| {
        Error::new(Kind::Unsupported, format!("there are {rows} rows, expected fewer than 4294967296"))
            .hint("Train on a sample of them.")
    })
}

fn one_each(rows: usize, given: usize, what: &str) -> Result<()> {
    if given == rows {
        return Ok(());
    }
    Err(Error::internal(format!("a split of {rows} rows got {given} {what}")))
}

fn sorted(mut rows: Vec<u32>) -> Vec<u32> {
    rows.sort_unstable();
    rows
}

/// Rows by their hashes with the seed.
pub(crate) fn shuffled(rows: impl IntoIterator<Item = u32>, seed: u64) -> Vec<u32> {
    let mut keyed: Vec<(u64, u32)> = hashed(rows, seed).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, row)| row).collect()
}

/// The first of [`shuffled`] rows, as many as are wanted.
pub(crate) fn first_shuffled(rows: impl IntoIterator<Item = u32>, seed: u64, wanted: usize) -> Vec<u32> {
    let mut first = BinaryHeap::new();
    for keyed in hashed(rows, seed) {
        if first.len() < wanted {
            first.push(keyed);
        } else if let Some(mut last) = first.peek_mut()
            && keyed < *last
        {
            *last = keyed;
        }
    }
    first.into_sorted_vec().into_iter().map(|(_, row)| row).collect()
}

/// Rows with their hashes.
fn hashed(rows: impl IntoIterator<Item = u32>, seed: u64) -> impl Iterator<Item = (u64, u32)> {
    rows.into_iter().map(move |row| (xxh3_64_with_seed(&row.to_le_bytes(), seed), row))
}

/// Rows from the earliest to the latest.
fn in_time(times: Times, n: u32) -> Result<Vec<u32>> {
    let (given, missing) = match times {
        Times::Whole(t) => (t.len(), t.iter().position(|t| *t == i64::MIN)),
        Times::Numbers(t) => (t.len(), t.iter().position(|t| t.is_nan())),
    };
    one_each(n as usize, given, "times")?;
    if let Some(row) = missing {
        return Err(Error::new(Kind::Null, format!("the time of row {} is missing", row + 1))
            .hint("A split by time needs a time in every row: leave out rows without one in the source."));
    }
    let mut order: Vec<u32> = (0..n).collect();
    // Both sorts are stable: equal times stay in the order of their rows. Adding 0.0 makes -0.0 equal to 0.0.
    match times {
        Times::Whole(t) => order.sort_by_key(|i| t[*i as usize]),
        Times::Numbers(t) => {
            order.sort_by(|a, b| (t[*a as usize] + 0.0).total_cmp(&(t[*b as usize] + 0.0)));
        }
    }
    Ok(order)
}

/// The rows of each class, classes in ascending order.
fn by_class(rows: usize, classes: &[f64]) -> Result<Vec<Vec<u32>>> {
    one_each(rows, classes.len(), "classes")?;
    if let Some(row) = classes.iter().position(|c| c.is_nan()) {
        return Err(Error::new(Kind::Null, format!("the class of row {} is missing", row + 1))
            .hint("Leave out rows without a label in the source."));
    }
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by(|a, b| classes[*a as usize].total_cmp(&classes[*b as usize]));
    Ok(order.chunk_by(|a, b| classes[*a as usize] == classes[*b as usize]).map(<[u32]>::to_vec).collect())
}

/// The test rows of a stratified split: to each class its share rounded down, and the rest one by one to the
/// classes that lost most by rounding (equal ones in class order), while a class keeps a row to train on.
fn stratified(members: &[Vec<u32>], rows: usize, count: usize, seed: u64) -> Result<Vec<u32>> {
    if members.iter().all(|m| m.len() < 2) {
        return Err(Error::new(Kind::Data, format!("each of {} classes has one row", members.len())).hint(
            "A stratified split needs a class with at least 2 rows; use a random split, or check that the target is \
             a class.",
        ));
    }
    // Whole numbers, so that equal remainders are equal: class size * count = quota * rows + remainder.
    let share = |m: &Vec<u32>| m.len() as u128 * count as u128;
    let mut quotas: Vec<usize> = members.iter().map(|m| (share(m) / rows as u128) as usize).collect();
    let mut by_loss: Vec<usize> = (0..members.len()).collect();
    by_loss.sort_by_key(|c| std::cmp::Reverse(share(&members[*c]) % rows as u128));
    let mut left = count - quotas.iter().sum::<usize>();
    while left > 0 {
        let before = left;
        for c in &by_loss {
            if left > 0 && quotas[*c] + 1 < members[*c].len() {
                quotas[*c] += 1;
                left -= 1;
            }
        }
        if left == before {
            break;
        }
    }
    let take = |(m, quota): (&Vec<u32>, &usize)| {
        let mut order = shuffled(m.iter().copied(), seed);
        order.truncate(*quota);
        order
    };
    Ok(members.iter().zip(&quotas).flat_map(take).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_once(parts: &Parts, rows: usize) {
        let all = sorted([&parts.train[..], &parts.test[..]].concat());
        assert_eq!(all, (0..rows as u32).collect::<Vec<_>>());
        assert!(parts.train.is_sorted() && parts.test.is_sorted());
    }

    #[test]
    fn the_first_of_shuffled_rows_are_those() {
        let all = shuffled(0..1000, 7);
        for wanted in [0, 1, 30, 999, 1000, 2000] {
            assert_eq!(first_shuffled(0..1000, 7, wanted), all[..wanted.min(1000)]);
        }
    }

    #[test]
    fn random_split_has_exact_counts_and_follows_the_seed() {
        for (rows, test_size, expected) in
            [(10, 0.2, 2), (1000, 0.333, 333), (7, 0.5, 4), (2, 0.01, 1), (2, 0.99, 1), (100, 0.999, 99)]
        {
            let split = Split::Random { test_size };
            let parts = split.apply(rows, None, None, 3).unwrap();
            all_once(&parts, rows);
            assert_eq!(parts.test.len(), expected, "{rows} rows, {test_size}");
            assert_eq!(parts, split.apply(rows, None, None, 3).unwrap());
        }
        let of = |seed| Split::Random { test_size: 0.2 }.apply(1000, None, None, seed).unwrap().test;
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn smaller_random_test_part_lies_within_a_larger() {
        let of = |test_size| Split::Random { test_size }.apply(500, None, None, 9).unwrap().test;
        let (small, large) = (of(0.1), of(0.3));
        assert!(small.iter().all(|row| large.binary_search(row).is_ok()));
    }

    #[test]
    fn random_split_does_not_favour_a_place() {
        let test = Split::Random { test_size: 0.5 }.apply(10_000, None, None, 0).unwrap().test;
        let early = test.iter().filter(|row| **row < 5000).count();
        // 2500 expected; the standard deviation of the count is 25.
        assert!((2400..2600).contains(&early), "{early} of 5000 test rows lie in the first half");
    }

    #[test]
    fn no_split_trains_on_all_rows() {
        assert_eq!(
            Split::None.apply(3, None, None, 0).unwrap(),
            Parts { train: vec![0, 1, 2], test: vec![] }
        );
        assert!(Split::None.apply(0, None, None, 0).unwrap().train.is_empty());
    }

    #[test]
    fn stratified_split_keeps_shares_and_total() {
        // 70, 20 and 10 rows, and one class with a single row, which must train.
        let classes: Vec<f64> =
            (0..101).map(|i| [0.0, 1.0, 2.0, 3.0][i / 70 + (i / 90) + (i / 100)]).collect();
        let parts = Split::Stratified { test_size: 0.25 }.apply(101, Some(&classes), None, 5).unwrap();
        all_once(&parts, 101);
        let of = |class: f64| parts.test.iter().filter(|row| classes[**row as usize] == class).count();
        assert_eq!(parts.test.len(), 25);
        assert_eq!(of(3.0), 0);
        assert!((17..=18).contains(&of(0.0)) && of(1.0) == 5 && (2..=3).contains(&of(2.0)));
    }

    #[test]
    fn stratified_split_leaves_every_class_a_row_to_train_on() {
        let classes = [0.0, 0.0, 1.0, 1.0, 2.0];
        let parts = Split::Stratified { test_size: 0.9 }.apply(5, Some(&classes), None, 5).unwrap();
        all_once(&parts, 5);
        assert_eq!(parts.test.len(), 2);
        assert!(parts.train.contains(&4));
    }

    #[test]
    fn time_split_takes_the_latest_and_breaks_ties_by_row() {
        let times = [5, 1, 9, 9, 9, 0];
        let split = Split::Time { test_size: 0.34 };
        let parts = split.apply(6, None, Some(Times::Whole(&times)), 0).unwrap();
        assert_eq!(parts, Parts { train: vec![0, 1, 2, 5], test: vec![3, 4] });
        let numbers = [0.0, -0.0, f64::NEG_INFINITY, 0.5];
        let parts = Split::Time { test_size: 0.5 }.apply(4, None, Some(Times::Numbers(&numbers)), 0).unwrap();
        assert_eq!(parts.test, [1, 3]);
    }

    #[test]
    fn refuses_what_cannot_be_split() {
        let kind = |split: Split, rows, classes: Option<&[f64]>, times: Option<Times>| {
            split.apply(rows, classes, times, 0).unwrap_err().kind
        };
        for test_size in [0.0, 1.0, -0.5, 1.5, f64::NAN] {
            assert_eq!(kind(Split::Random { test_size }, 10, None, None), Kind::Parameter);
        }
        let (random, time) = (Split::Random { test_size: 0.5 }, Split::Time { test_size: 0.5 });
        let stratified = Split::Stratified { test_size: 0.5 };
        assert_eq!(kind(random, 1, None, None), Kind::Data);
        assert_eq!(kind(random, 0, None, None), Kind::Data);
        assert_eq!(kind(random, 1 << 32, None, None), Kind::Unsupported);
        assert_eq!(kind(time, 2, None, Some(Times::Whole(&[1, i64::MIN]))), Kind::Null);
        assert_eq!(kind(time, 2, None, Some(Times::Numbers(&[f64::NAN, 1.0]))), Kind::Null);
        assert_eq!(kind(time, 2, None, Some(Times::Whole(&[1]))), Kind::Internal);
        assert_eq!(kind(stratified, 2, Some(&[0.0, f64::NAN]), None), Kind::Null);
        assert_eq!(kind(stratified, 3, Some(&[0.0, 1.0, 2.0]), None), Kind::Data);
        assert_eq!(kind(stratified, 3, None, None), Kind::Internal);
        assert_eq!(folds(3, 1, None, 0).unwrap_err().kind, Kind::Parameter);
        assert_eq!(folds(3, 4, None, 0).unwrap_err().kind, Kind::Data);
        assert_eq!(folds(2, 2, Some(&[0.0, f64::NAN]), 0).unwrap_err().kind, Kind::Null);
    }

    #[test]
    fn folds_are_even_disjoint_and_complete() {
        let classes: Vec<f64> = (0..103).map(|i| f64::from(u8::from(i % 10 == 0))).collect();
        for classes in [None, Some(&classes[..])] {
            let folds = folds(103, 5, classes, 7).unwrap();
            assert_eq!(sorted(folds.concat()), (0..103).collect::<Vec<_>>());
            for fold in &folds {
                assert!((20..=21).contains(&fold.len()) && fold.is_sorted());
                assert_eq!(others(103, fold).len(), 103 - fold.len());
                if let Some(classes) = classes {
                    let ones = fold.iter().filter(|row| classes[**row as usize] == 1.0).count();
                    assert!((2..=3).contains(&ones), "11 rows of class 1 in 5 folds, one has {ones}");
                }
            }
        }
    }
}
