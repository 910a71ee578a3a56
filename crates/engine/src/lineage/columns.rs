//! What a column looked like: a few numbers, cheap enough to be kept with every version.

use crate::frame::{Column, ColumnKind, Data, Dictionary, Value};
use crate::prepare::InputColumn;
use crate::prepare::extent::Extent;
use crate::prepare::summary::Summary;

/// A column in a few numbers. Those that its kind does not have, or that were not seen, are none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ColumnFacts {
    /// Its name in the source.
    pub name: String,
    /// The part that it has: `feature`, `target`, `weight`, `offset`, `group`, `group_by`, `time`, `key`.
    pub role: &'static str,
    /// `number`, `boolean`, `text`, `time`, `vector`, `bytes`.
    pub kind: &'static str,
    /// Rows without a value; of vectors, elements without one.
    pub missing: Option<u64>,
    /// Different texts.
    pub distinct: Option<u64>,
    /// Mean of the finite numbers; of booleans, the share of those that are true.
    pub mean: Option<f64>,
    /// Their standard deviation, of the population.
    pub std: Option<f64>,
    /// The least number; of times, seconds since 1970.
    pub min: Option<f64>,
    /// The greatest one.
    pub max: Option<f64>,
    /// The most frequent text, the first in alphabetical order among several.
    pub top: Option<String>,
    /// Rows with it.
    pub top_rows: Option<u64>,
}

impl ColumnFacts {
    /// Of a column in memory, and what is known of its numbers already.
    pub(crate) fn of(column: &Column, role: &'static str, known: Option<&Extent>) -> ColumnFacts {
        let facts =
            ColumnFacts { name: column.name.clone(), role, kind: kind(column.kind()), ..Self::default() };
        let extent = || known.copied().or_else(|| Extent::of_column(column));
        match &column.data {
            Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::I64(_) | Data::Bool(_) | Data::Away { .. } => {
                facts.numbers(&extent().unwrap_or(Extent::NONE))
            }
            Data::Vector { values, .. } => facts.numbers(&Extent::of(values)),
            Data::Time(_) => {
                let found = facts.numbers(&extent().unwrap_or(Extent::NONE));
                ColumnFacts { mean: None, std: None, ..found }
            }
            Data::Text(d) | Data::Labels(d) => facts.texts(d),
            Data::Bytes { .. } | Data::Images(_) => {
                let missing = (0..column.len()).filter(|i| column.value(*i) == Value::Missing).count();
                ColumnFacts { missing: Some(missing as u64), ..facts }
            }
        }
    }

    /// Of a column that was only summarised.
    pub(crate) fn summarised(input: &InputColumn, summary: &Summary, role: &'static str) -> ColumnFacts {
        let facts = ColumnFacts { name: input.name.clone(), role, kind: kind(input.kind), ..Self::default() };
        match summary {
            Summary::Numbers(all) if input.kind == ColumnKind::Number || input.kind == ColumnKind::Bool => {
                let m = all.first().copied().unwrap_or_default();
                let (mean, std) = (Some(m.mean), Some(m.deviation()));
                ColumnFacts { missing: Some(m.missing), mean, std, ..facts }
            }
            Summary::Texts { levels, missing } => {
                let top = levels.iter().max_by(|a, b| a.1.rows.cmp(&b.1.rows).then(b.0.cmp(a.0)));
                ColumnFacts {
                    missing: Some(missing.rows),
                    distinct: Some(levels.len() as u64),
                    top: top.map(|t| t.0.clone()),
                    top_rows: top.map(|t| t.1.rows),
                    ..facts
                }
            }
            Summary::Numbers(_) | Summary::Images(_) => facts,
        }
    }

    /// Of a column of which nothing is known but its part.
    pub(crate) fn unseen(name: &str, role: &'static str) -> ColumnFacts {
        ColumnFacts { name: name.to_string(), role, kind: "unknown", ..Self::default() }
    }

    fn numbers(self, found: &Extent) -> ColumnFacts {
        let Extent { moments, min, max } = *found;
        let some = |x: f64| (moments.n > 0).then_some(x);
        ColumnFacts {
            missing: Some(moments.missing),
            mean: some(moments.mean),
            std: some(moments.deviation()),
            min: some(min),
            max: some(max),
            ..self
        }
    }

    fn texts(self, d: &Dictionary) -> ColumnFacts {
        let mut counts = vec![0u64; d.values.len()];
        let mut missing = 0;
        for code in &d.codes {
            match counts.get_mut(*code as usize) {
                Some(count) => *count += 1,
                None => missing += 1,
            }
        }
        let there = || counts.iter().zip(&d.values).filter(|(count, _)| **count > 0);
        let top = there().max_by(|a, b| a.0.cmp(b.0).then(b.1.cmp(a.1)));
        ColumnFacts {
            missing: Some(missing),
            distinct: Some(there().count() as u64),
            top: top.map(|t| t.1.clone()),
            top_rows: top.map(|t| *t.0),
            ..self
        }
    }
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Number => "number",
        ColumnKind::Bool => "boolean",
        ColumnKind::Text => "text",
        ColumnKind::Time => "time",
        ColumnKind::Vector { .. } => "vector",
        ColumnKind::Bytes => "bytes",
        ColumnKind::Labels => "labels",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(data: Data, missing: Vec<bool>) -> Column {
        Column { name: "a".into(), data, missing }
    }

    #[test]
    fn numbers_have_moments_and_a_range() {
        let mut values: Vec<f64> = (0..2000).map(|i| f64::from(i % 101)).collect();
        values[7] = f64::NAN;
        values[1500] = f64::INFINITY;
        let finite: Vec<f64> = values.iter().copied().filter(|x| x.is_finite()).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let std = (finite.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
        let found = ColumnFacts::of(&column(Data::F64(values), vec![]), "feature", None);
        assert_eq!((found.missing, found.min, found.max), (Some(1), Some(0.0), Some(100.0)));
        assert!((found.mean.unwrap() - mean).abs() < 1e-12 && (found.std.unwrap() - std).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_said_of_what_is_all_missing() {
        let found = ColumnFacts::of(&column(Data::I32(vec![0, 0]), vec![true, true]), "target", None);
        assert_eq!((found.missing, found.mean, found.min, found.max), (Some(2), None, None, None));
        let found = ColumnFacts::of(&column(Data::F32(vec![]), vec![]), "target", None);
        assert_eq!((found.missing, found.mean), (Some(0), None));
    }

    #[test]
    fn texts_have_a_most_frequent_one() {
        let mut d = Dictionary::default();
        for text in ["b", "a", "c", "a", "b"] {
            let code = d.intern(text);
            d.codes.push(code);
        }
        d.codes.push(Dictionary::MISSING);
        d.intern("never in a row");
        let found = ColumnFacts::of(&column(Data::Text(d), vec![]), "feature", None);
        assert_eq!((found.missing, found.distinct), (Some(1), Some(3)));
        assert_eq!((found.top.as_deref(), found.top_rows), (Some("a"), Some(2)));
    }

    #[test]
    fn times_are_seconds_since_1970() {
        let found =
            ColumnFacts::of(&column(Data::Time(vec![i64::MIN, 0, 86_400_000_000]), vec![]), "time", None);
        assert_eq!(
            (found.missing, found.min, found.max),
            (Some(1), Some(946_684_800.0), Some(946_771_200.0))
        );
        assert_eq!(found.mean, None);
    }
}
