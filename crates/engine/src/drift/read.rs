//! Columns of a frame into distributions: exact ones, to compare, and small ones, to store.

use super::categories::{Categories, LABELS};
use super::numbers::{EXACT, Numbers};
use super::radix;
use super::{Distribution, Shape};
use crate::error::Result;
use crate::frame::{Column, Data};
use crate::learner::Cx;
use crate::prepare::summary::Moments;
use std::collections::HashMap;

/// Rows of a column that a stored distribution looks at one by one; of more it takes one of each run of neighbours, by
/// hash. Counts, moments and ends are of all rows, and so is everything of columns with few different values.
pub const SAMPLE: usize = 1 << 17;
/// Whole numbers within a range of this width are counted rather than sorted.
const RANGE: i64 = 1 << 16;

/// The exact distribution of a column; as categories where those are asked for.
///
/// # Errors
/// When the caller asked to stop.
pub fn exact(column: &Column, shape: Option<Shape>, cx: &Cx) -> Result<Distribution> {
    read(column, shape, usize::MAX, cx)
}

/// The distribution of a column, small enough to store.
///
/// # Errors
/// When the caller asked to stop.
pub fn small(column: &Column, shape: Option<Shape>, cx: &Cx) -> Result<Distribution> {
    let mut found = read(column, shape, SAMPLE, cx)?;
    found.compress();
    Ok(found)
}

fn read(column: &Column, shape: Option<Shape>, most: usize, cx: &Cx) -> Result<Distribution> {
    cx.check()?;
    Ok(match &column.data {
        Data::Text(d) => {
            let mut counts = vec![0u64; d.values.len()];
            let mut missing = 0;
            for code in &d.codes {
                *counts.get_mut(*code as usize).unwrap_or(&mut missing) += 1;
            }
            Distribution::Categories(labelled(&d.values, &counts, missing, most != usize::MAX))
        }
        Data::Bool(v) => {
            let mut counts = [0u64; 3];
            v.iter().for_each(|b| counts[usize::from(*b).min(2)] += 1);
            let mut found = Categories { missing: counts[2], ..Categories::default() };
            found.add(Some("false"), counts[0]);
            found.add(Some("true"), counts[1]);
            Distribution::Categories(found)
        }
        Data::Bytes { .. } => {
            let missing = column.missing.iter().filter(|m| **m).count() as u64;
            Distribution::Opaque { rows: column.len() as u64 - missing, missing }
        }
        _ if shape == Some(Shape::Categories) => {
            // There are few different values in a column of labels.
            super::baseline::as_labels(&numbers(column, usize::MAX, cx)?)
        }
        _ => Distribution::Numbers(numbers(column, most, cx)?),
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

/// The distribution of a column that holds numbers, times (in seconds since 2000), or arrays (their lengths).
fn numbers(column: &Column, most: usize, cx: &Cx) -> Result<Numbers> {
    let rows = column.len();
    let present = |i: usize| !column.missing.get(i).copied().unwrap_or(false);
    match &column.data {
        Data::F32(v) if rows <= most => {
            let mut keys = Vec::with_capacity(rows);
            let (mut missing, mut infinite) = (0, 0);
            for x in v {
                match x {
                    _ if x.is_finite() => keys.push(radix::key32(*x)),
                    _ if x.is_nan() => missing += 1,
                    _ => infinite += 1,
                }
            }
            radix::sort(&mut keys, &mut vec![], cx)?;
            Ok(Numbers::of_sorted(keys.into_iter().map(radix::of32), missing, infinite, false))
        }
        Data::F32(v) => sampled(rows, |i| f64::from(v[i]), false, most, cx),
        Data::F64(v) if rows <= most => Numbers::of(v.iter().copied(), false, cx),
        Data::F64(v) => sampled(rows, |i| v[i], false, most, cx),
        Data::I32(v) => {
            let values = || v.iter().enumerate().filter(|(i, _)| present(*i)).map(|(_, v)| i64::from(*v));
            if let Some(counted) = counted(values, rows as u64) {
                return Ok(counted);
            }
            let value = |i: usize| if present(i) { f64::from(v[i]) } else { f64::NAN };
            if rows <= most {
                Numbers::of((0..rows).map(value), true, cx)
            } else {
                sampled(rows, value, true, most, cx)
            }
        }
        Data::I64(v) => {
            let values = || v.iter().enumerate().filter(|(i, _)| present(*i)).map(|(_, v)| *v);
            if let Some(counted) = counted(values, rows as u64) {
                return Ok(counted);
            }
            let value = |i: usize| if present(i) { v[i] as f64 } else { f64::NAN };
            if rows <= most {
                Numbers::of((0..rows).map(value), true, cx)
            } else {
                sampled(rows, value, true, most, cx)
            }
        }
        Data::Time(v) => {
            let value = |i: usize| match v[i] {
                i64::MIN => f64::NAN,
                i64::MAX => f64::INFINITY,
                micros => micros as f64 / 1e6,
            };
            if rows <= most {
                Numbers::of((0..rows).map(value), false, cx)
            } else {
                sampled(rows, value, false, most, cx)
            }
        }
        Data::Vector { width, values } => {
            let value = |i: usize| {
                let row = &values[i * width..(i + 1) * width];
                row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
            };
            if rows <= most {
                Numbers::of((0..rows).map(value), false, cx)
            } else {
                sampled(rows, value, false, most, cx)
            }
        }
        // The other kinds hold no numbers.
        _ => Ok(Numbers { missing: rows as u64, min: f64::NAN, max: f64::NAN, ..Numbers::default() }),
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

/// The distribution of many rows by a sample of them.
fn sampled(rows: usize, value: impl Fn(usize) -> f64, whole: bool, most: usize, cx: &Cx) -> Result<Numbers> {
    let mut all = Moments::default();
    let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut block = [0.0; 512];
    for start in (0..rows).step_by(block.len()) {
        if start.is_multiple_of(1 << 20) {
            cx.check()?;
        }
        let block = &mut block[..(rows - start).min(512)];
        block.iter_mut().enumerate().for_each(|(i, x)| *x = value(start + i));
        all.add_block(block);
        for x in block.iter().filter(|x| x.is_finite()) {
            min = if *x < min { *x } else { min };
            max = if *x > max { *x } else { max };
        }
    }
    let run = rows.div_ceil(most);
    let pick = |i: usize| {
        i + (crate::fingerprint::hash(crate::frame::Value::Time(i as i64)) as usize) % run.min(rows - i)
    };
    let sample = Numbers::of((0..rows).step_by(run).map(|i| value(pick(i))), whole, cx)?;
    if sample.values.len() <= EXACT / 2
        && let Some(found) = counted_values(rows, &value, &sample, whole)
    {
        return Ok(found);
    }
    let mut found = sample;
    if found.rows == 0 || all.n < found.rows {
        // So few values that the sample met none of them: all rows, then.
        return Numbers::of((0..rows).map(value), whole, cx);
    }
    found.compress();
    let (seen, there) = (found.rows as f64, all.n as f64);
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
    found.rows = all.n;
    (found.missing, found.infinite) = (all.missing, all.infinite);
    (found.mean, found.m2, found.min, found.max) = (all.mean, all.m2, min, max);
    found.whole = whole && all.missing + all.infinite == 0;
    // What a sample of that size may be off with 95 % confidence (Dvoretzky, Kiefer and Wolfowitz), and two standard
    // errors of the cumulative shares, summed over the range.
    found.rank_error = (found.rank_error + 1.36 / seen.sqrt()).min(1.0);
    found.distance_error += 2.0 * spread / seen.sqrt();
    Ok(found)
}

/// All rows, counted by value, where the sample met few different ones and the others bring few more.
fn counted_values(
    rows: usize,
    value: &impl Fn(usize) -> f64,
    sample: &Numbers,
    whole: bool,
) -> Option<Numbers> {
    let mut places: HashMap<u64, usize> =
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
