//! What all learners of trees share: values counted and turned into bins, and grown trees that are walked.
//!
//! - [`sketch`] counts the values of columns, mergeably; [`bins`] turns them into one byte each; [`binning`] is the
//!   rounds that this takes;
//! - [`nodes`] holds grown trees, over raw values: a model needs no bins; [`walk`] lays them
//!   out for scoring; [`shap`] says what each feature added.

pub mod binning;
pub mod bins;
pub mod nodes;
pub mod shap;
pub mod sketch;
pub mod walk;
