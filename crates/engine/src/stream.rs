//! Numbers that are not held: a source that is read again, block by block, whenever a learner asks for its rows.
//! Caller: [`crate::train`], for learners that need their rows a few times only and hold them in a byte a value then.
//!
//! ```text
//!  first reading ──▶ frame: roles, texts, whole numbers      again, each time that rows are asked for
//!                └─▶ survey: digest, extents, few values      source ──▶ blocks of what is away ──▶ encoded ──▶ learner
//! ```
//!
//! Every reading must give the same numbers in the same order as the first. That is checked by their digest before
//! anything comes of them; where they differ, whoever reads is told, and holds the rows.

use crate::algorithms;
use crate::drift::{self, Distribution, Few, Sampled, Shape};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{BLOCK, Digest, Hasher};
use crate::frame::{Column, Data, Frame};
use crate::learner::Cx;
use crate::prepare::extent::Extent;
use crate::prepare::options::Options;
use crate::survey::Survey;
use crate::train::Request;
use rayon::prelude::*;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Rows of a block are a multiple of it, but for the last one.
pub const STEP: usize = BLOCK;

/// Takes a block of rows: the number of its first one, from 0, and the columns that are away, in their order.
pub type Take<'a> = dyn Fn(usize, &[Column]) -> Result<()> + Sync + 'a;

/// Whoever can read the rows again.
pub trait Source: Sync {
    /// Reads all rows once more, and gives each block of the columns that are away to `take`: in any order, from threads
    /// of the current pool.
    ///
    /// # Errors
    /// Those of `take`, and of reading.
    fn read(&self, take: &Take) -> Result<()>;
    /// The rows must be held after all: reading them again did not give what is needed. An error follows.
    fn give_up(&self);
}

/// The places of the columns that a training need not hold, ascending. `reals` has the columns' names, and whether
/// they are `real` or `double precision`.
pub fn away<'a>(request: &Request, reals: impl Iterator<Item = (&'a str, bool)>) -> Vec<usize> {
    let learns = request.decision.plan().is_ok_and(|plan| plan.learns());
    let again = request.folds > 0 || learns || request.init_model.is_some() || request.group.is_some();
    if again || !request.group_by.is_empty() {
        return vec![];
    }
    let Ok(algorithm) = algorithms::find(&request.algorithm) else { return vec![] };
    let options = Options::parse(&request.preprocess, algorithm.info().input);
    let Some(options) = options.ok().filter(|_| algorithm.keeps_rows()) else { return vec![] };
    let feature = |name: &str| match &request.features {
        Some(features) => features.iter().any(|f| f == name),
        None => true,
    };
    let free = |name: &str| {
        let role = request.roles().any(|role| role == name);
        !role && feature(name) && options.plan(name).is_ok_and(|plan| !plan.needs_numbers())
    };
    reals.enumerate().filter(|(_, (name, real))| *real && free(name)).map(|c| c.0).collect()
}

/// A source, and what the first reading found out about the columns that are away.
pub(crate) struct Stream<'a> {
    source: &'a dyn Source,
    /// The places of these columns in the frame, ascending.
    pub(crate) places: &'a [usize],
    hasher: Hasher,
    digest: Digest,
    rows: usize,
    extents: Vec<Extent>,
    few: &'a [Option<Few>],
    sampled: Sampled,
    /// Their distributions, once they were read again.
    distributions: OnceLock<Vec<Distribution>>,
    /// That of a column that was let go since.
    other: Option<(usize, Distribution)>,
}

impl<'a> Stream<'a> {
    /// Of a frame whose columns are away in part. None where none is.
    ///
    /// # Errors
    /// `Kind::Internal` when the survey does not know them, or there is no source.
    pub(crate) fn of(
        frame: &Frame,
        survey: &'a Survey,
        source: Option<&'a dyn Source>,
    ) -> Result<Option<Stream<'a>>> {
        let gone = |c: &Column| matches!(c.data, Data::Away { .. });
        let missing: Vec<usize> = (0..frame.columns.len()).filter(|c| gone(&frame.columns[*c])).collect();
        if missing.is_empty() {
            return Ok(None);
        }
        let unknown = || Error::internal("columns are away that cannot be read again");
        let source = source.ok_or_else(unknown)?;
        let (places, digest) = survey.away(frame).ok_or_else(unknown)?;
        let known = survey.extents(frame).ok_or_else(unknown)?;
        let extents: Option<Vec<Extent>> = places.iter().map(|p| known[*p]).collect();
        if places != missing || survey.few().len() != places.len() {
            return Err(unknown());
        }
        let names = places.iter().map(|p| frame.columns[*p].name.as_str());
        Ok(Some(Stream {
            source,
            places,
            hasher: Hasher::new(names.enumerate()),
            digest,
            rows: frame.rows,
            extents: extents.ok_or_else(unknown)?,
            few: survey.few(),
            sampled: Sampled::of(frame.rows),
            distributions: OnceLock::new(),
            other: None,
        }))
    }

    /// Remembers the distribution of a column of whole numbers, to be read as labels perhaps, and lets its values go:
    /// nobody will ask for them again.
    ///
    /// # Errors
    /// When the caller asked to stop.
    pub(crate) fn let_go(&mut self, column: &mut Column, place: usize, labels: bool, cx: &Cx) -> Result<()> {
        if matches!(column.data, Data::I32(_) | Data::I64(_)) {
            self.other = Some((place, drift::small(column, labels.then_some(Shape::Categories), cx)?));
            *column =
                Column { name: column.name.clone(), data: Data::Away { rows: self.rows }, missing: vec![] };
        }
        Ok(())
    }

    /// Reads all rows once more.
    ///
    /// # Errors
    /// Those of `take` and of the source; when other rows come than the first time.
    pub(crate) fn pass(&self, take: &Take, cx: &Cx) -> Result<()> {
        let digests = Mutex::new(vec![Digest::default(); self.rows.div_ceil(BLOCK)]);
        let sample = self.distributions.get().is_none().then(|| Mutex::new(Vec::new()));
        let seen = Mutex::new(0);
        self.source.read(&|first, columns| {
            cx.check()?;
            let rows = columns.first().map_or(0, Column::len);
            let same = columns.len() == self.places.len() && columns.iter().all(|c| c.len() == rows);
            if !same || first % BLOCK != 0 || first + rows > self.rows {
                return Err(self.other_rows());
            }
            let blocks = (0..rows).step_by(BLOCK);
            let found = blocks.map(|from| self.hasher.block(columns, &[], from..(from + BLOCK).min(rows)));
            let found: Vec<Digest> = found.collect();
            lock(&digests)[first / BLOCK..][..found.len()].copy_from_slice(&found);
            *lock(&seen) += rows;
            if let Some(sample) = &sample {
                self.gather(&mut lock(sample), first, columns)?;
            }
            take(first, columns)
        })?;
        let found = digests.into_inner().unwrap_or_else(PoisonError::into_inner);
        let found = found.iter().fold(Digest::default(), Digest::followed_by);
        if found != self.digest || *lock(&seen) != self.rows {
            return Err(self.other_rows());
        }
        if let Some(sample) = sample {
            let sample = sample.into_inner().unwrap_or_else(PoisonError::into_inner);
            let _ = self.distributions.set(self.sum_up(&sample, cx)?);
        }
        Ok(())
    }

    /// The distribution of a column that is away.
    pub(crate) fn distribution(&self, place: usize) -> Option<&Distribution> {
        if let Some((_, other)) = self.other.as_ref().filter(|other| other.0 == place) {
            return Some(other);
        }
        let at = self.places.binary_search(&place).ok()?;
        self.distributions.get()?.get(at)
    }

    /// Keeps the rows of a block that distributions look at.
    fn gather(&self, sample: &mut Vec<Column>, first: usize, columns: &[Column]) -> Result<()> {
        if sample.is_empty() {
            let all = self.sampled.picks().len();
            for column in columns {
                let data = match column.data {
                    Data::F32(_) => Data::F32(vec![0.0; all]),
                    Data::F64(_) => Data::F64(vec![0.0; all]),
                    _ => return Err(Error::internal("a column that was away holds no plain numbers")),
                };
                sample.push(Column { name: column.name.clone(), data, missing: vec![] });
            }
        }
        let rows = columns.first().map_or(0, Column::len);
        let (from, to) = (self.sampled.before(first), self.sampled.before(first + rows));
        let picks = || self.sampled.picks().skip(from).take(to - from).map(|pick| pick as usize - first);
        for (kept, column) in sample.iter_mut().zip(columns) {
            match (&mut kept.data, &column.data) {
                (Data::F32(kept), Data::F32(v)) => {
                    kept[from..to].iter_mut().zip(picks()).for_each(|(kept, i)| *kept = v[i]);
                }
                (Data::F64(kept), Data::F64(v)) => {
                    kept[from..to].iter_mut().zip(picks()).for_each(|(kept, i)| *kept = v[i]);
                }
                _ => return Err(self.other_rows()),
            }
        }
        Ok(())
    }

    fn sum_up(&self, sample: &[Column], cx: &Cx) -> Result<Vec<Distribution>> {
        let columns = sample.par_iter().zip(&self.extents).zip(self.few);
        let found = columns.map(|((column, extent), few)| {
            let found = drift::by_sample(self.rows, column, extent, few.as_ref(), cx)?;
            found.ok_or_else(|| self.other_rows())
        });
        found.collect::<Vec<Result<Distribution>>>().into_iter().collect()
    }

    /// The rows must be held.
    fn other_rows(&self) -> Error {
        self.source.give_up();
        Error::new(Kind::Data, "the source gave other rows, or another order, when it was read again")
            .hint("Run it in a transaction, and give it an ORDER BY.")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
