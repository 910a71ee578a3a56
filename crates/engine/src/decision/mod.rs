//! From a learner's probabilities to a decision, and what training may be asked for on the way.

pub mod class_weight;

pub use class_weight::ClassWeight;

use crate::error::{Error, Kind, Result};
use crate::schema::Task;

/// What a training is asked for beyond its algorithm, as the user wrote it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// `balanced`, or a JSON object of labels and weights; see [`ClassWeight`].
    pub class_weight: Option<String>,
}

impl Options {
    /// Checks what can be checked before any row is read.
    ///
    /// # Errors
    /// `Kind::Parameter` for what cannot be read.
    pub fn check(&self) -> Result<()> {
        self.class_weight().map(|_| ())
    }

    /// Checks them against the task.
    ///
    /// # Errors
    /// `Kind::Parameter` for options that the task cannot have.
    pub fn check_task(&self, task: Task) -> Result<()> {
        if self.class_weight.is_some() && task != Task::Classification {
            return Err(Error::new(
                Kind::Parameter,
                format!("class_weight needs a classification, but this is {}", task.name()),
            )
            .hint("Leave it out, or use task => 'classification'."));
        }
        Ok(())
    }

    /// What classes weigh, where the user says so.
    pub(crate) fn class_weight(&self) -> Result<Option<ClassWeight>> {
        self.class_weight.as_deref().map(ClassWeight::parse).transpose()
    }
}
