//! Drift: whether rows are still like those that a model was trained on. Callers: training, which records a
//! [`Baseline`], and the verbs of drift, which compare.
//!
//! - [`numbers`], [`categories`]: the distribution of a column, exact or small enough to store; `read` makes them of a
//!   frame's columns, `radix` sorts.
//! - [`method`]: the methods by name, with Evidently's defaults; `ordered` and `binned` have the statistics,
//!   `permutation` the one p-value that is drawn.
//! - [`histogram`]: distributions as bars to draw.
//! - [`compare`]: columns of two sides, one row each. [`baseline`]: what a version remembers of its training.
//! - [`alarm`]: whether a window of rows differs by more than chance explains.
//! - [`quick`]: a server's own statistics of a relation as distributions. [`quality`]: what is wrong with the rows.
//! - [`stream`]: ADWIN and Page-Hinkley over an ordered stream of errors. [`performance`]: metrics then and now.
//!
//! Numbers and rules are Evidently's (0.7.23) and SciPy's, to the last digits where both sides are exact. Missing and
//! infinite values take no part in a statistic.

pub mod alarm;
pub mod baseline;
mod binned;
pub mod categories;
pub mod compare;
pub mod histogram;
pub mod method;
pub mod numbers;
mod ordered;
pub mod performance;
mod permutation;
pub mod quality;
pub mod quick;
mod radix;
mod read;
pub mod stream;

pub use baseline::{Baseline, ColumnBaseline, Role};
pub use compare::{Choices, Finding, between};
pub use method::{Method, Shape};
pub(crate) use read::{Few, Sampled, by_sample};
pub use read::{exact, small};

use crate::error::Result;
use categories::Categories;
use numbers::Numbers;
use serde::{Deserialize, Serialize};

/// The distribution of a column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Distribution {
    /// Numbers; also times, in seconds since 2000, and the lengths of arrays.
    Numbers(Numbers),
    /// Labels: texts and truth values.
    Categories(Categories),
    /// Byte strings, of which only the missing are counted.
    Opaque {
        /// Rows with a value.
        rows: u64,
        /// Rows without.
        missing: u64,
    },
}

impl Distribution {
    /// Its shape, where there is something to compare.
    pub fn shape(&self) -> Option<Shape> {
        match self {
            Distribution::Numbers(_) => Some(Shape::Numbers),
            Distribution::Categories(_) => Some(Shape::Categories),
            Distribution::Opaque { .. } => None,
        }
    }

    /// What it is called in SQL.
    pub fn kind(&self) -> &'static str {
        match self {
            Distribution::Numbers(_) => "numbers",
            Distribution::Categories(_) => "categories",
            Distribution::Opaque { .. } => "bytes",
        }
    }

    /// Rows with a value that can be compared.
    pub fn rows(&self) -> u64 {
        match self {
            Distribution::Numbers(n) => n.rows,
            Distribution::Categories(c) => c.rows,
            Distribution::Opaque { rows, .. } => *rows,
        }
    }

    /// Rows without a value; infinite ones have one.
    pub fn missing(&self) -> u64 {
        match self {
            Distribution::Numbers(n) => n.missing,
            Distribution::Categories(c) => c.missing,
            Distribution::Opaque { missing, .. } => *missing,
        }
    }

    /// All rows.
    pub fn all_rows(&self) -> u64 {
        let infinite = if let Distribution::Numbers(n) = self { n.infinite } else { 0 };
        self.rows() + self.missing() + infinite
    }

    /// Whether nothing of it was left out to make it small.
    pub fn exact(&self) -> bool {
        match self {
            Distribution::Numbers(n) => n.exact(),
            Distribution::Categories(c) => c.exact(),
            Distribution::Opaque { .. } => true,
        }
    }

    /// Different values, where all of them are known.
    pub fn distinct(&self) -> Option<usize> {
        match self {
            Distribution::Numbers(n) => n.exact().then_some(n.values.len()),
            Distribution::Categories(c) => c.exact().then_some(c.counts.len()),
            Distribution::Opaque { .. } => None,
        }
    }

    /// Makes it as small as a baseline is to be.
    pub fn compress(&mut self) {
        match self {
            Distribution::Numbers(n) => n.compress(),
            Distribution::Categories(c) => c.compress(),
            Distribution::Opaque { .. } => {}
        }
    }

    fn validate(&self) -> Result<()> {
        match self {
            Distribution::Numbers(n) => n.validate(),
            Distribution::Categories(c) => c.validate(),
            Distribution::Opaque { rows, missing } => match rows.checked_add(*missing) {
                Some(_) => Ok(()),
                None => Err(crate::Error::corrupt("the counts of a column of bytes are damaged")),
            },
        }
    }
}
