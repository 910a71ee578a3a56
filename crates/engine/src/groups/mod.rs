//! One model a group of rows, trained in one pass and kept as one model.
//!
//! `deal` deals a frame's rows to groups, [`train`] fits each; [`model`] is what comes of it, in memory and as
//! bytes; [`key`] is how a group is known; [`measure`] says how good all of them are together.
//!
//! What is shared and what is not: preprocessing is learnt once, on the training rows of all groups, so that every
//! group has the same features and one row is encoded without knowing its group. Everything that the algorithm
//! learns is the group's own. A NULL makes a group like any value.

mod deal;
pub mod key;
pub(crate) mod measure;
pub(crate) mod model;
pub(crate) mod train;

use serde::{Deserialize, Serialize};

pub use model::{Entry, Router};

/// More groups than this are refused: they come from a mistake, such as grouping by an identifier.
pub const MAX_GROUPS: usize = 100_000;
/// More columns than this do not name a group.
pub const MAX_COLUMNS: usize = 16;

/// What a model answers to a row of a group that it has no model for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UnknownGroup {
    /// An error that names the group.
    #[default]
    Error,
    /// Nothing: NULL.
    Null,
    /// The answer of a model that was trained on the rows of all groups.
    Global,
}

impl UnknownGroup {
    /// Every policy, in the order of the reference.
    pub const ALL: [UnknownGroup; 3] = [UnknownGroup::Error, UnknownGroup::Null, UnknownGroup::Global];

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            UnknownGroup::Error => "error",
            UnknownGroup::Null => "null",
            UnknownGroup::Global => "global",
        }
    }

    /// The policy of that name.
    pub fn parse(name: &str) -> Option<UnknownGroup> {
        UnknownGroup::ALL.into_iter().find(|u| u.name() == name)
    }
}
