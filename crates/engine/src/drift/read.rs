//! Columns of a frame into distributions: exact ones, to compare, and small ones, to store.

use super::categories::{Categories, LABELS};
use super::numbers::{EXACT, Numbers};
use super::{Distribution, Shape};
use crate::error::Result;
use crate::frame::{Column, Data};
use crate::learner::Cx;
use crate::prepare::extent::Extent;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// Rows of a column that a stored distribution looks at one by one; of more it takes one of each [`run`] of neighbours,
/// by hash. Counts, moments and ends are of all rows, and so is everything of columns with few different values.
const SAMPLE: usize = 1 << 17;
/// Whole numbers within a range of this width are counted rather than sorted.
const RANGE: i64 = 1 << 16;

/// For how many of its rows a stored distribution took one.
pub(super) fn run(rows: u64) -> u64 {
    const FEWEST: u64 = SAMPLE as u64 / 2;
    if rows <= SAMPLE as u64 { 1 } else { rows.div_ceil(FEWEST) }
}

/// The exact distribution of a column; as categories where those are asked for.
///
/// # Errors
/// When the caller asked to stop.
pub fn exact(column: &Column, shape: Option<Shape>, cx: &Cx) -> Result<Distribution> {
    read(column, shape, None, cx)
}

/// The distribution of a column, small enough to store.
///
/// # Errors
/// When the caller asked to stop.
pub fn small(column: &Column, shape: Option<Shape>, cx: &Cx) -> Result<Distribution> {
    small_of(column, shape, None, None, cx)
}

/// As [`small`], with the extent of a column of plain numbers where it is known, and the rows to sample where somebody
/// chose them for all columns.
pub(super) fn small_of(
    column: &Column,
    shape: Option<Shape>,
    extent: Option<&Extent>,
    sampled: Option<&Sampled>,
    cx: &Cx,
) -> Result<Distribution> {
    let mut found = read(column, shape, Some(&Known { extent, sampled }), cx)?;
    found.compress();
    Ok(found)
}

/// What is known of a column whose distribution is to be small.
#[derive(Clone, Copy)]
struct Known<'a> {
    extent: Option<&'a Extent>,
    sampled: Option<&'a Sampled>,
}

/// The rows that a stored distribution looks at.
pub(crate) struct Sampled {
    /// Of so many.
    pub(super) rows: usize,
    picks: Vec<u32>,
}

impl Sampled {
    /// These rows, ascending.
    pub(crate) fn picks(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        let all = if self.rows <= SAMPLE { self.rows } else { self.picks.len() };
        (0..all).map(|i| self.picks.get(i).copied().unwrap_or(i as u32))
    }

    /// How many of them come before a row.
    pub(crate) fn before(&self, row: usize) -> usize {
        if self.rows <= SAMPLE { row } else { self.picks.partition_point(|pick| (*pick as usize) < row) }
    }

    /// One of each run of neighbours, by hash; of few rows none, as all are looked at.
    pub(crate) fn of(rows: usize) -> Sampled {
        let run = run(rows as u64) as usize;
        let hash = |i: usize| crate::fingerprint::hash(crate::frame::Value::Time(i as i64)) as usize;
        let pick = |i: usize| (i + hash(i) % run.min(rows - i)) as u32;
        let picks = if rows <= SAMPLE { vec![] } else { (0..rows).step_by(run).map(pick).collect() };
        Sampled { rows, picks }
    }
}

fn read(column: &Column, shape: Option<Shape>, small: Option<&Known>, cx: &Cx) -> Result<Distribution> {
    cx.check()?;
    Ok(match &column.data {
        Data::Text(d) | Data::Labels(d) => {
            let mut counts = vec![0u64; d.values.len()];
            let mut missing = 0;
            for code in &d.codes {
                *counts.get_mut(*code as usize).unwrap_or(&mut missing) += 1;
            }
            Distribution::Categories(labelled(&d.values, &counts, missing, small.is_some()))
        }
        Data::Bool(v) => {
            let mut counts = [0u64; 3];
            v.iter().for_each(|b| counts[usize::from(*b).min(2)] += 1);
            let mut found = Categories { missing: counts[2], ..Categories::default() };
            found.add(Some("false"), counts[0]);
            found.add(Some("true"), counts[1]);
            Distribution::Categories(found)
        }
        Data::Bytes { .. } | Data::Images(_) => {
            let missing = column.missing.iter().filter(|m| **m).count() as u64;
            Distribution::Opaque { rows: column.len() as u64 - missing, missing }
        }
        _ if shape == Some(Shape::Categories) => {
            // There are few different values in a column of labels, so a small distribution has them all.
            let few = small.map(|known| numbers(column, Some(known), cx)).transpose()?;
            let few = few.filter(Numbers::exact);
            super::baseline::as_labels(&few.map_or_else(|| numbers(column, None, cx), Ok)?)
        }
        _ => Distribution::Numbers(numbers(column, small, cx)?),
    })
}

/// Labels with their rows; the most frequent ones where only some are to be kept.
fn labelled(labels: &[String], counts: &[u64], missing: u64, few: bool) -> Categories {
    let mut found = Categories { missing, rows: counts.iter().sum(), ..Categories::default() };
    let mut order: Vec<usize> = (0..labels.len()).filter(|i| counts[*i] > 0).collect();
    if few && order.len() > LABELS {
        order.sort_by(|a, b| counts[*b].cmp(&counts[*a]).then_with(|| labels[*a].cmp(&labels[*b])));
        found.pooled = order[LABELS..].iter().map(|i| counts[*i]).sum();
        order.truncate(LABELS);
    }
    found.counts = order.into_iter().map(|i| (labels[i].clone(), counts[i])).collect();
    found
}

/// The distribution of a column that holds numbers, times (in seconds since 2000), or arrays (their lengths); of many
/// rows a sample where it is to be small.
fn numbers(column: &Column, small: Option<&Known>, cx: &Cx) -> Result<Numbers> {
    let rows = column.len();
    let small = small.filter(|_| rows > SAMPLE);
    let present = |i: usize| !column.missing.get(i).copied().unwrap_or(false);
    match &column.data {
        Data::F32(v) => {
            let real = Stored { whole: false, real: true };
            match small {
                None => Numbers::of_reals(v.iter().copied(), cx),
                Some(known) => sampled(rows, |i| f64::from(v[i]), real, known, || Extent::of(v), cx),
            }
        }
        Data::F64(v) => few(rows, |i| v[i], false, small, cx),
        Data::I32(v) => {
            let values = || v.iter().enumerate().filter(|(i, _)| present(*i)).map(|(_, v)| i64::from(*v));
            if let Some(counted) = counted(values, rows as u64) {
                return Ok(counted);
            }
            few(rows, |i| if present(i) { f64::from(v[i]) } else { f64::NAN }, true, small, cx)
        }
        Data::I64(v) => {
            let values = || v.iter().enumerate().filter(|(i, _)| present(*i)).map(|(_, v)| *v);
            if let Some(counted) = counted(values, rows as u64) {
                return Ok(counted);
            }
            few(rows, |i| if present(i) { v[i] as f64 } else { f64::NAN }, true, small, cx)
        }
        Data::Time(v) => {
            let value = |i: usize| match v[i] {
                i64::MIN => f64::NAN,
                i64::MAX => f64::INFINITY,
                micros => micros as f64 / 1e6,
            };
            few(rows, value, false, small, cx)
        }
        Data::Vector { width, values } => {
            let value = |i: usize| {
                let row = &values[i * width..(i + 1) * width];
                row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
            };
            few(rows, value, false, small, cx)
        }
        // The other kinds hold no numbers.
        _ => Ok(Numbers { missing: rows as u64, min: f64::NAN, max: f64::NAN, ..Numbers::default() }),
    }
}

/// Of all rows, or of a sample where it is to be small.
fn few(
    rows: usize,
    value: impl Fn(usize) -> f64,
    whole: bool,
    small: Option<&Known>,
    cx: &Cx,
) -> Result<Numbers> {
    let Some(known) = small else { return Numbers::of((0..rows).map(value), whole, cx) };
    cx.check()?;
    let extent = || Extent::all((0..rows).map(&value));
    sampled(rows, &value, Stored { whole, real: false }, known, extent, cx)
}

/// How a column stores its numbers.
#[derive(Clone, Copy)]
struct Stored {
    /// As integers.
    whole: bool,
    /// As `real`.
    real: bool,
}

impl Stored {
    fn sort(self, values: impl Iterator<Item = f64>, cx: &Cx) -> Result<Numbers> {
        if self.real {
            Numbers::of_reals(values.map(|x| x as f32), cx)
        } else {
            Numbers::of(values, self.whole, cx)
        }
    }
}

/// Whole numbers, counted, where they lie within a narrow range.
fn counted<I: Iterator<Item = i64>>(values: impl Fn() -> I, rows: u64) -> Option<Numbers> {
    let (low, high) = values().fold((i64::MAX, i64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    let width = high.checked_sub(low).filter(|w| (0..RANGE).contains(w))?;
    let mut counts = vec![0u64; width as usize + 1];
    let mut there = 0;
    for v in values() {
        counts[(v - low) as usize] += 1;
        there += 1;
    }
    let pairs = counts.into_iter().enumerate().map(|(i, c)| ((low + i as i64) as f64, c));
    Some(Numbers::of_counts(pairs, rows - there, 0, true))
}

/// The distribution of many rows by a sample of them; `extent` finds that of all where it is not known.
fn sampled(
    rows: usize,
    value: impl Fn(usize) -> f64,
    stored: Stored,
    known: &Known,
    extent: impl FnOnce() -> Extent,
    cx: &Cx,
) -> Result<Numbers> {
    let own;
    let picks = match known.sampled.filter(|s| s.rows == rows) {
        Some(chosen) => &chosen.picks,
        None => {
            own = Sampled::of(rows);
            &own.picks
        }
    };
    let sample = stored.sort(picks.iter().map(|i| value(*i as usize)), cx)?;
    if sample.values.len() <= EXACT / 2
        && let Some(found) = counted_values(rows, &value, &sample, stored.whole)
    {
        return Ok(found);
    }
    let all = known.extent.copied().unwrap_or_else(extent);
    if sample.rows == 0 || all.moments.n < sample.rows {
        // So few values that the sample met none of them: all rows, then.
        return stored.sort((0..rows).map(value), cx);
    }
    Ok(scaled(sample, &all, stored))
}

/// The distribution of a column of plain numbers that was sampled while it was read: `sample` has its rows of
/// [`Sampled`], `few` all of its values where these are few. None where that does not tell it.
///
/// # Errors
/// When the caller asked to stop.
pub(crate) fn by_sample(
    rows: usize,
    sample: &Column,
    extent: &Extent,
    few: Option<&Few>,
    cx: &Cx,
) -> Result<Option<Distribution>> {
    let stored = Stored { whole: false, real: matches!(sample.data, Data::F32(_)) };
    let mut found = match &sample.data {
        Data::F32(v) => Numbers::of_reals(v.iter().copied(), cx)?,
        Data::F64(v) => Numbers::of(v.iter().copied(), false, cx)?,
        _ => return Ok(None),
    };
    if rows > SAMPLE {
        let counted = few.filter(|_| found.values.len() <= EXACT / 2);
        let nothing = found.rows == 0 || extent.moments.n < found.rows;
        found = match counted.or(few.filter(|_| nothing)) {
            Some(few) => few.numbers(extent, stored),
            None if nothing => return Ok(None),
            None => scaled(found, extent, stored),
        };
    }
    found.compress();
    Ok(Some(Distribution::Numbers(found)))
}

/// The different finite values of a column and the rows of each, while there are at most [`EXACT`] values.
#[derive(Default)]
pub(crate) struct Few(HashMap<u64, u64, BuildHasherDefault<Spread>>);

impl Few {
    /// Adds rows of a column of plain numbers; false where there are too many values.
    pub(crate) fn add(&mut self, column: &Column, rows: Range<usize>) -> bool {
        match &column.data {
            Data::F32(v) => self.extend(v[rows].iter().map(|x| f64::from(*x))),
            Data::F64(v) => self.extend(v[rows].iter().copied()),
            _ => false,
        }
    }

    fn extend(&mut self, values: impl Iterator<Item = f64>) -> bool {
        for x in values.filter(|x| x.is_finite()) {
            *self.0.entry((x + 0.0).to_bits()).or_default() += 1;
            if self.0.len() > EXACT {
                return false;
            }
        }
        true
    }

    fn numbers(&self, extent: &Extent, stored: Stored) -> Numbers {
        let mut counts: Vec<(f64, u64)> =
            self.0.iter().map(|(bits, n)| (f64::from_bits(*bits), *n)).collect();
        counts.sort_by(|a, b| a.0.total_cmp(&b.0));
        let moments = &extent.moments;
        Numbers::of_counts(counts.into_iter(), moments.missing, moments.infinite, stored.whole)
    }
}

/// The distribution of all rows, of which `extent` tells the moments, by that of a sample.
fn scaled(sample: Numbers, extent: &Extent, stored: Stored) -> Numbers {
    let (mut found, all, moments) = (sample, extent, extent.moments);
    found.compress();
    let (seen, there) = (found.rows as f64, moments.n as f64);
    let mut below = 0.0;
    let (mut rows_below, mut spread) = (0u64, 0.0);
    let mut before = found.values.first().copied().unwrap_or(0.0);
    for (v, c) in found.values.iter().zip(&mut found.counts) {
        let share: f64 = below / seen;
        spread += (share * (1.0 - share)).max(0.0).sqrt() * (v - before);
        (below, before) = (below + *c as f64, *v);
        let upto = (below / seen * there).round() as u64;
        *c = upto - rows_below;
        rows_below = upto;
    }
    found.rows = moments.n;
    (found.missing, found.infinite) = (moments.missing, moments.infinite);
    (found.mean, found.m2, found.min, found.max) = (moments.mean, moments.m2, all.min, all.max);
    found.whole = stored.whole && moments.missing + moments.infinite == 0;
    // What a sample of that size may be off with 95 % confidence (Dvoretzky, Kiefer and Wolfowitz), and two standard
    // errors of the cumulative shares, summed over the range.
    found.rank_error = (found.rank_error + 1.36 / seen.sqrt()).min(1.0);
    found.distance_error += 2.0 * spread / seen.sqrt();
    found
}

/// All rows, counted by value, where the sample met few different ones and the others bring few more.
fn counted_values(
    rows: usize,
    value: &impl Fn(usize) -> f64,
    sample: &Numbers,
    whole: bool,
) -> Option<Numbers> {
    let mut places: HashMap<u64, usize, BuildHasherDefault<Spread>> =
        sample.values.iter().enumerate().map(|(i, v)| (v.to_bits(), i)).collect();
    let mut counts: Vec<(f64, u64)> = sample.values.iter().map(|v| (*v, 0)).collect();
    let (mut missing, mut infinite) = (0, 0);
    let mut last = (f64::NAN, 0);
    for x in (0..rows).map(value) {
        if x == last.0 {
            counts[last.1].1 += 1;
        } else if x.is_finite() {
            let x = x + 0.0;
            let place = *places.entry(x.to_bits()).or_insert(counts.len());
            if place == counts.len() {
                if counts.len() == EXACT {
                    return None;
                }
                counts.push((x, 0));
            }
            counts[place].1 += 1;
            last = (x, place);
        } else if x.is_nan() {
            missing += 1;
        } else {
            infinite += 1;
        }
    }
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    Some(Numbers::of_counts(counts.into_iter(), missing, infinite, whole))
}

/// A hash of bits that are unlike already; whoever chose the values chose few of them, or none is counted.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|b| self.write_u64(u64::from(*b)));
    }

    fn write_u64(&mut self, bits: u64) {
        let mixed = (self.0 ^ bits ^ bits >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 29;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learner::Silent;
    use std::sync::atomic::AtomicBool;

    /// What judges a stored distribution relies on the run to know how many rows it looked at.
    #[test]
    fn a_stored_distribution_knows_as_much_as_its_sample() {
        let stop = AtomicBool::new(false);
        let cx = Cx { seed: 0, stop: &stop, observer: &Silent };
        for (rows, expected) in [(1000, 1), (SAMPLE, 1), (SAMPLE + 1, 3), (400_000, 7)] {
            assert_eq!(run(rows as u64), expected);
            let values =
                (0..rows as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as f64).collect();
            let column = Column { name: "x".into(), data: Data::F64(values), missing: vec![] };
            let Ok(Distribution::Numbers(found)) = small(&column, None, &cx) else {
                panic!("it is of numbers")
            };
            assert_eq!(found.rows, rows as u64);
            let looked_at = rows.div_ceil(expected as usize) as f64;
            assert!(expected == 1 || found.rank_error > 1.36 / looked_at.sqrt());
            assert!(found.rank_error < 1.36 / looked_at.sqrt() + 0.002, "{rows}: {}", found.rank_error);
        }
    }
}
