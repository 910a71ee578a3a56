//! What a training records of its rows, found out while they come in. Caller: whoever reads rows into a frame, as they
//! arrive and on a thread that has the time; [`crate::train`] uses what it knows.
//!
//! Rows are looked at in blocks, in their order, so what is found is bit by bit what looking at the whole frame finds,
//! whenever the looks were taken. What was not looked at is found out later: a survey of nothing serves too.

use crate::drift::Few;
use crate::fingerprint::{BLOCK, Digest, Hasher};
use crate::frame::{Column, Data, Frame};
use crate::prepare::extent::Extent;
use crate::train::Request;

/// What is known of the rows of a frame.
#[derive(Default)]
pub struct Survey {
    hasher: Option<Hasher>,
    digest: Digest,
    /// Of each column, where it has one.
    extents: Vec<Option<Extent>>,
    /// The columns that need not be held, what identifies them, and how often each value of each was seen, while they
    /// are few.
    away: Vec<usize>,
    away_hasher: Hasher,
    away_digest: Digest,
    few: Vec<Option<Few>>,
    rows: usize,
}

impl Survey {
    /// Nothing yet, of columns of these names that a request asks for.
    pub fn new<'a>(request: &Request, names: impl Iterator<Item = &'a str> + Clone) -> Survey {
        let places = digested(request, names.clone());
        let hasher = Hasher::new(names.clone().enumerate().filter(|(place, _)| places.contains(place)));
        let extents = names.map(|_| Some(Extent::NONE)).collect();
        Survey { hasher: Some(hasher), extents, ..Survey::default() }
    }

    /// Finds out what must be known of columns that will not be held: those at these places, ascending, of `names`.
    pub fn watch<'a>(&mut self, away: Vec<usize>, names: impl Iterator<Item = &'a str>) {
        self.away_hasher = Hasher::new(names.enumerate().filter(|(place, _)| away.contains(place)));
        self.few = away.iter().map(|_| Some(Few::default())).collect();
        self.away = away;
    }

    /// Rows that it has looked at.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Looks at the rows that have come since, up to `rows` in all: at whole blocks of them. Of each column those rows
    /// are there at least, and at its end: it may have lost its first ones. `texts` has the hashes of each column's
    /// texts by their codes ([`crate::fingerprint::text_hash`]).
    pub fn look(&mut self, columns: &[Column], texts: &[Vec<u64>], rows: usize) {
        while self.rows + BLOCK <= rows {
            self.add(columns, texts, rows, BLOCK);
        }
    }

    /// Looks at the last rows. None may follow.
    pub fn finish(&mut self, columns: &[Column], texts: &[Vec<u64>], rows: usize) {
        self.look(columns, texts, rows);
        if self.rows < rows {
            self.add(columns, texts, rows, rows - self.rows);
        }
    }

    /// Looks at a block. `there` rows have come in all.
    fn add(&mut self, columns: &[Column], texts: &[Vec<u64>], there: usize, rows: usize) {
        let rows = self.rows..self.rows + rows;
        let within = |column: &Column| {
            // Vectors and byte strings may have come to where nobody looks.
            let lost = if is_number(column) { there.saturating_sub(column.len()) } else { 0 };
            rows.start - lost..rows.end - lost
        };
        if let Some(hasher) = &self.hasher {
            self.digest = self.digest.followed_by(&hasher.block_within(columns, texts, rows.len(), within));
        }
        for (extent, column) in self.extents.iter_mut().zip(columns) {
            if extent.as_mut().is_some_and(|e| !e.extend_rows(column, within(column))) {
                *extent = None;
            }
        }
        if !self.away.is_empty() {
            let block = self.away_hasher.block_within(columns, &[], rows.len(), within);
            self.away_digest = self.away_digest.followed_by(&block);
            for (few, place) in self.few.iter_mut().zip(&self.away) {
                if few.as_mut().is_some_and(|f| !f.add(&columns[*place], within(&columns[*place]))) {
                    *few = None;
                }
            }
        }
        self.rows = rows.end;
    }

    /// Whether it is of all rows of a frame.
    fn complete(&self, frame: &Frame) -> bool {
        self.rows == frame.rows && self.extents.len() == frame.columns.len()
    }

    /// The digest of these columns of a frame, where it is known.
    pub(crate) fn digest(&self, frame: &Frame, columns: &[usize]) -> Option<Digest> {
        let mut wanted = columns.to_vec();
        wanted.sort_unstable();
        let known = self.hasher.as_ref().filter(|_| self.complete(frame))?;
        (known.places() == wanted).then_some(self.digest)
    }

    /// What identifies the columns that are away, in their order: of all rows of a frame.
    pub(crate) fn away(&self, frame: &Frame) -> Option<(&[usize], Digest)> {
        (self.complete(frame) && !self.away.is_empty()).then_some((&self.away, self.away_digest))
    }

    /// How often each value of the columns that are away was seen; of those with few.
    pub(crate) fn few(&self) -> &[Option<Few>] {
        &self.few
    }

    /// The extents of a frame's columns, those that are known.
    pub(crate) fn extents(&self, frame: &Frame) -> Option<&[Option<Extent>]> {
        self.complete(frame).then_some(&self.extents)
    }
}

fn is_number(column: &Column) -> bool {
    matches!(column.data, Data::F32(_) | Data::F64(_))
}

/// The places of the columns that a training's digest is of. `Setting::used` decides, and is asked once the rows are
/// there; what is wrong here is digested again.
fn digested<'a>(request: &Request, names: impl Iterator<Item = &'a str>) -> Vec<usize> {
    let is = |role: &Option<String>, name: &str| role.as_deref() == Some(name);
    let has_part = |name: &str| request.parts().any(|part| part == name);
    let feature = |name: &str| match &request.features {
        Some(features) => features.iter().any(|f| f == name),
        None => !is(&request.time_column, name) && !is(&request.key, name),
    };
    names.enumerate().filter(|(_, name)| has_part(name) || feature(name)).map(|(place, _)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{digest, text_hash};
    use crate::frame::Dictionary;
    use crate::split::Split;

    const ROWS: usize = 3 * BLOCK + 777;

    fn frame() -> Frame {
        let mut d = Dictionary::default();
        for i in 0..ROWS {
            let code = if i % 11 == 3 { Dictionary::MISSING } else { d.intern(&format!("t{}", i % 37)) };
            d.codes.push(code);
        }
        let reals = (0..ROWS).map(|i| if i % 97 == 0 { f32::NAN } else { (i as f32).sin() }).collect();
        let doubles = (0..ROWS).map(|i| if i == 2500 { f64::INFINITY } else { (i as f64).sqrt() }).collect();
        let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
        let whole = (0..ROWS as i32).map(|i| i.wrapping_mul(-71)).collect();
        let mut late = column("late", Data::I32(whole));
        late.missing = (0..ROWS).map(|i| i == BLOCK + 5).collect();
        let columns = vec![
            column("a", Data::F32(reals)),
            column("b", Data::F64(doubles)),
            late,
            column("n", Data::I64((0..ROWS as i64).map(|i| i << 40).collect())),
            column("y", Data::Bool((0..ROWS).map(|i| (i % 3) as u8).collect())),
            column("t", Data::Time((0..ROWS as i64).map(|i| if i == 9 { i64::MIN } else { i }).collect())),
            column("c", Data::Text(d)),
        ];
        Frame { columns, rows: ROWS }
    }

    fn texts(frame: &Frame) -> Vec<Vec<u64>> {
        let of = |c: &Column| match &c.data {
            Data::Text(d) => d.values.iter().map(|t| text_hash(t)).collect(),
            _ => vec![],
        };
        frame.columns.iter().map(of).collect()
    }

    fn names(frame: &Frame) -> impl Iterator<Item = &str> + Clone {
        frame.columns.iter().map(|c| c.name.as_str())
    }

    #[test]
    fn knows_what_the_whole_frame_shows_however_the_rows_came() {
        let frame = frame();
        let texts = texts(&frame);
        let request = Request { target: Some("y".into()), ..Request::default() };
        let all: Vec<usize> = (0..frame.columns.len()).collect();
        for steps in [vec![ROWS], vec![1, BLOCK - 1, BLOCK, 2 * BLOCK + 5], vec![100, 3 * BLOCK, ROWS]] {
            let mut survey = Survey::new(&request, names(&frame));
            steps.into_iter().for_each(|rows| survey.look(&frame.columns, &texts, rows));
            assert_eq!(survey.digest(&frame, &all), None);
            survey.finish(&frame.columns, &texts, ROWS);
            assert_eq!(survey.digest(&frame, &all), Some(digest(&frame, &all)));
            let extents = survey.extents(&frame).unwrap();
            for (column, extent) in frame.columns.iter().zip(extents) {
                assert_eq!(*extent, Extent::of_column(column), "{}", column.name);
            }
        }
    }

    /// A value that is missing late makes a column be read otherwise from there on.
    #[test]
    fn a_late_missing_value_changes_nothing() {
        let frame = frame();
        let texts = texts(&frame);
        let mut early = frame.clone();
        early.columns[2].missing.clear();
        let mut survey = Survey::new(&Request::default(), names(&frame));
        survey.look(&early.columns, &texts, BLOCK);
        survey.finish(&frame.columns, &texts, ROWS);
        let all: Vec<usize> = (0..frame.columns.len()).collect();
        assert_eq!(survey.digest(&frame, &all), Some(digest(&frame, &all)));
        assert_eq!(survey.extents(&frame).unwrap()[2], Extent::of_column(&frame.columns[2]));
    }

    #[test]
    fn digests_the_columns_that_have_a_part() {
        let named = |n: &str| Some(n.to_string());
        let places = |request: &Request| digested(request, ["a", "b", "k", "t", "y"].into_iter());
        let all =
            Request { target: named("y"), key: named("k"), time_column: named("t"), ..Request::default() };
        assert_eq!(places(&all), [0, 1, 4]);
        let by_time = Request { split: Split::Time { test_size: 0.2 }, ..all.clone() };
        assert_eq!(places(&by_time), [0, 1, 3, 4]);
        let some = Request { features: Some(vec!["b".into(), "k".into()]), ..all };
        assert_eq!(places(&some), [1, 2, 4]);
    }

    #[test]
    fn other_columns_or_rows_are_not_known() {
        let frame = frame();
        let texts = texts(&frame);
        let mut survey = Survey::new(&Request::default(), names(&frame));
        survey.finish(&frame.columns, &texts, ROWS);
        assert_eq!(survey.digest(&frame, &[0, 1]), None);
        let fewer = Frame { rows: ROWS - 1, ..frame };
        assert_eq!(survey.digest(&fewer, &(0..7).collect::<Vec<_>>()), None);
        assert!(survey.extents(&fewer).is_none());
        assert!(Survey::default().extents(&fewer).is_none());
    }
}
