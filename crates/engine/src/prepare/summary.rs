//! What preprocessing must know of a column before it can encode it: moments of numbers, counts of texts.
//! Summaries of parts of a table merge into that of the whole.

use crate::dense::{sum, vectorized};
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, ColumnKind, Data, Value};
use crate::prepare::fetch;
use crate::prepare::options::{Part, Plan};
use crate::schema::ImageShape;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Count, mean and sum of squared deviations of finite numbers; the others are counted (Chan, Golub and LeVeque
/// 1983 for the merge).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Finite values.
    pub n: u64,
    /// Missing values.
    pub missing: u64,
    /// Infinite values.
    pub infinite: u64,
    /// Mean of the finite ones.
    pub mean: f64,
    /// Their sum of squared deviations from the mean.
    pub m2: f64,
}

impl Moments {
    /// Adds one value; NaN is missing.
    pub fn add(&mut self, x: f64) {
        self.add_all(std::iter::once(x));
    }

    /// Adds values, block by block: two passes over a block in cache are exact and need no division a value.
    pub fn add_all(&mut self, values: impl Iterator<Item = f64>) {
        let mut block = [0.0; 512];
        let mut filled = 0;
        for x in values {
            if x.is_finite() {
                block[filled] = x;
                filled += 1;
                if filled == block.len() {
                    self.merge(&Moments::of(&block));
                    filled = 0;
                }
            } else if x.is_nan() {
                self.missing += 1;
            } else {
                self.infinite += 1;
            }
        }
        if filled > 0 {
            self.merge(&Moments::of(&block[..filled]));
        }
    }

    /// Adds rows of a column: as `add_all`, with blocks of neighbours in vector code.
    fn add_rows<T: Copy + Into<f64>>(&mut self, values: &[T], rows: &[u32]) {
        let mut block = [0.0; 512];
        for rows in rows.chunks(block.len()) {
            let block = &mut block[..rows.len()];
            let finite = vectorized(
                #[inline(always)]
                || {
                    fetch(values, rows, block);
                    block.iter().fold(true, |all, x| all & x.is_finite())
                },
            );
            if finite {
                self.merge(&Moments::of(block));
            } else {
                self.add_all(block.iter().copied());
            }
        }
    }

    /// Of finite values, at most 512 of them.
    pub(super) fn of(block: &[f64]) -> Moments {
        let n = block.len() as u64;
        let mut around = [0.0; 512];
        let around = &mut around[..block.len()];
        let (mean, m2) = vectorized(
            #[inline(always)]
            || {
                let mean = sum(block) / n as f64;
                around.iter_mut().zip(block).for_each(|(a, x)| *a = (x - mean) * (x - mean));
                (mean, sum(around))
            },
        );
        Moments { n, mean, m2, ..Moments::default() }
    }

    /// Adds the moments of another part.
    pub fn merge(&mut self, other: &Moments) {
        self.missing += other.missing;
        self.infinite += other.infinite;
        if other.n == 0 {
            return;
        }
        let n = (self.n + other.n) as f64;
        let delta = other.mean - self.mean;
        self.m2 += other.m2 + delta * delta * self.n as f64 * other.n as f64 / n;
        self.mean += delta * other.n as f64 / n;
        self.n += other.n;
    }

    /// The population's standard deviation, as scikit-learn's `StandardScaler` has it.
    pub fn deviation(&self) -> f64 {
        if self.n == 0 { 0.0 } else { (self.m2 / self.n as f64).sqrt() }
    }
}

/// How often a text was seen, and what the target was there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    /// Rows.
    pub rows: u64,
    /// Sums of the target over these rows, by cross-fitting fold and target column; empty when not asked for.
    pub target: Vec<[f64; 2]>,
}

impl Level {
    /// Adds the sums of other rows.
    pub fn merge(&mut self, other: &Level) {
        self.rows += other.rows;
        if self.target.is_empty() {
            self.target = other.target.clone();
        } else {
            for (a, b) in self.target.iter_mut().zip(&other.target) {
                a[0] += b[0];
                a[1] += b[1];
            }
        }
    }
}

/// The summary of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Summary {
    /// One for a number, one a part of a date, one an element of a vector.
    Numbers(Vec<Moments>),
    /// Texts, and the missing ones.
    Texts {
        /// By text.
        levels: BTreeMap<String, Level>,
        /// The missing ones.
        missing: Level,
    },
    /// Images: the shape that the first one with a shape tells.
    Images(Option<ImageShape>),
}

/// Folds of cross-fitting for target means (scikit-learn's `TargetEncoder`).
pub const FOLDS: usize = 5;

/// The cross-fitting fold of a row.
pub fn fold(seed: u64, row: u64) -> usize {
    (xxhash_rust::xxh3::xxh3_64_with_seed(&row.to_le_bytes(), seed ^ 0x7461_7267_6574) % FOLDS as u64)
        as usize
}

/// What target means are made of: one column of values a row for regression and two classes, one a class for
/// more.
pub struct TargetColumns<'a> {
    /// The target of each row of the frame: a number or a class's number.
    pub y: &'a [f64],
    /// Classes, or 0.
    pub classes: usize,
    /// The seed of cross-fitting.
    pub seed: u64,
}

impl TargetColumns<'_> {
    /// Mean columns that a category gets.
    pub fn width(&self) -> usize {
        if self.classes > 2 { self.classes } else { 1 }
    }

    fn add(&self, level: &mut Level, row: usize) {
        if level.target.is_empty() {
            level.target = vec![[0.0; 2]; FOLDS * self.width()];
        }
        let fold = fold(self.seed, row as u64);
        for k in 0..self.width() {
            let v = if self.classes > 2 { f64::from(self.y[row] as usize == k) } else { self.y[row] };
            let cell = &mut level.target[fold * self.width() + k];
            cell[0] += v;
            cell[1] += 1.0;
        }
    }
}

impl Summary {
    /// The summary of no rows.
    pub fn new(kind: ColumnKind, plan: &Plan) -> Summary {
        match kind {
            ColumnKind::Number | ColumnKind::Bool => Summary::Numbers(vec![Moments::default()]),
            ColumnKind::Time => Summary::Numbers(vec![Moments::default(); plan.dates.len()]),
            ColumnKind::Vector { width } => Summary::Numbers(vec![Moments::default(); width]),
            ColumnKind::Text => Summary::Texts { levels: BTreeMap::new(), missing: Level::default() },
            ColumnKind::Bytes => Summary::Images(None),
            // Refused as a feature before.
            ColumnKind::Labels => Summary::Numbers(vec![]),
        }
    }

    /// Adds one value.
    pub fn add(&mut self, value: Value, plan: &Plan) -> Result<()> {
        match (self, value) {
            (Summary::Numbers(all), Value::Missing) => all.iter_mut().for_each(|m| m.add(f64::NAN)),
            (Summary::Numbers(all), Value::Number(x)) => all.iter_mut().for_each(|m| m.add(x)),
            (Summary::Numbers(all), Value::Bool(b)) => all.iter_mut().for_each(|m| m.add(f64::from(b))),
            (Summary::Numbers(all), Value::Time(t)) => {
                all.iter_mut().zip(&plan.dates).for_each(|(m, p)| m.add(time_part(*p, t)));
            }
            (Summary::Numbers(all), Value::Vector(v)) if v.len() == all.len() => {
                all.iter_mut().zip(v).for_each(|(m, x)| m.add(f64::from(*x)));
            }
            (Summary::Texts { missing, .. }, Value::Missing) => missing.rows += 1,
            (Summary::Texts { levels, .. }, Value::Text(t)) => match levels.get_mut(t) {
                Some(level) => level.rows += 1,
                None => {
                    levels.insert(t.to_string(), Level { rows: 1, target: vec![] });
                }
            },
            (Summary::Images(shape @ None), Value::Picture(p)) => *shape = Some(p.shape()),
            (Summary::Images(shape @ None), Value::Bytes(b)) => *shape = super::image::shape(b)?,
            (Summary::Images(_), Value::Bytes(_) | Value::Picture(_) | Value::Missing) => {}
            _ => return Err(Error::new(Kind::Type, "value is not of the column's type")),
        }
        Ok(())
    }

    /// Adds rows of a column.
    pub fn add_rows(
        &mut self,
        column: &Column,
        rows: &[u32],
        plan: &Plan,
        target: Option<&TargetColumns>,
    ) -> Result<()> {
        let at = |i: &u32| *i as usize;
        match (self, &column.data) {
            (Summary::Numbers(all), Data::F32(v)) => all[0].add_rows(v, rows),
            (Summary::Numbers(all), Data::F64(v)) => all[0].add_rows(v, rows),
            (Summary::Numbers(all), Data::I32(v)) if column.missing.is_empty() => all[0].add_rows(v, rows),
            (Summary::Numbers(all), Data::I32(_) | Data::I64(_) | Data::Bool(_)) => {
                all[0].add_all(rows.iter().map(|i| number(column.value(at(i)))));
            }
            (Summary::Numbers(all), Data::Vector { width, values }) => {
                for (k, m) in all.iter_mut().enumerate() {
                    m.add_all(rows.iter().map(|i| f64::from(values[at(i) * width + k])));
                }
            }
            (Summary::Numbers(all), Data::Time(v)) => {
                for (m, part) in all.iter_mut().zip(&plan.dates) {
                    m.add_all(rows.iter().map(|i| time_part(*part, v[at(i)])));
                }
            }
            (Summary::Texts { levels, missing }, Data::Text(d)) => {
                let mut counts = vec![Level::default(); d.values.len()];
                for i in rows.iter().map(at) {
                    let level = counts.get_mut(d.codes[i] as usize).unwrap_or(missing);
                    level.rows += 1;
                    if let Some(target) = target {
                        target.add(level, i);
                    }
                }
                for (text, count) in d.values.iter().zip(counts).filter(|(_, c)| c.rows > 0) {
                    levels.entry(text.clone()).or_default().merge(&count);
                }
            }
            (Summary::Images(shape), Data::Images(pictures)) => *shape = Some(pictures.shape()),
            (Summary::Images(shape), Data::Bytes { .. }) => {
                for i in rows.iter().map(at) {
                    if let Value::Bytes(bytes) = column.value(i) {
                        *shape = super::image::shape(bytes).map_err(|e| {
                            Error::new(e.kind, format!("column \"{}\", row {}: {e}", column.name, i + 1))
                        })?;
                        break;
                    }
                }
            }
            _ => return Err(Error::internal(format!("column \"{}\" changed its type", column.name))),
        }
        Ok(())
    }

    /// Adds the summary of other rows of the same column.
    pub fn merge(&mut self, other: Summary) -> Result<()> {
        match (self, other) {
            (Summary::Numbers(a), Summary::Numbers(b)) if a.len() == b.len() => {
                a.iter_mut().zip(&b).for_each(|(a, b)| a.merge(b));
            }
            (Summary::Texts { levels, missing }, Summary::Texts { levels: more, missing: none }) => {
                missing.merge(&none);
                for (text, level) in more {
                    levels.entry(text).or_default().merge(&level);
                }
            }
            (Summary::Images(a), Summary::Images(b)) => *a = a.or(b),
            _ => return Err(Error::corrupt("summaries of different columns cannot be merged")),
        }
        Ok(())
    }
}

/// A part of a time; infinite times, which the server keeps at the ends of the range, are missing.
pub fn time_part(part: Part, micros: i64) -> f64 {
    if micros == i64::MIN || micros == i64::MAX { f64::NAN } else { part.of(micros) }
}

/// A number of a value that is one; NaN otherwise.
pub fn number(value: Value) -> f64 {
    match value {
        Value::Number(x) => x,
        Value::Bool(b) => f64::from(b),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_parts_are_those_of_the_whole() {
        let values: Vec<f64> = (0..5000).map(|i| ((i * 7919) % 1009) as f64 + 1e6).collect();
        let mut whole = Moments::default();
        whole.add_all(values.iter().copied().chain([f64::NAN, f64::INFINITY]));
        let mut parts = Moments::default();
        for p in values.chunks(777) {
            let mut m = Moments::default();
            p.iter().for_each(|x| m.add(*x));
            parts.merge(&m);
        }
        assert_eq!((whole.n, whole.missing, whole.infinite), (5000, 1, 1));
        let mean = values.iter().sum::<f64>() / 5000.0;
        let sd = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5000.0).sqrt();
        assert!((whole.mean - mean).abs() < 1e-8 && (parts.mean - mean).abs() < 1e-8);
        assert!((whole.deviation() - sd).abs() < 1e-8 && (parts.deviation() - sd).abs() < 1e-8);
    }
}
