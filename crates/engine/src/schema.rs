//! What a learner knows of the data before it sees a row, and the blocks of rows it then gets.

use crate::pictures::{Kept, Pictures};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The kind of question a model answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// A numeric target; a model gives one number a row.
    Regression,
    /// A target of two or more classes; a model gives one probability a class, in the order of the classes.
    Classification,
    /// No target; a model gives a cluster's number.
    Clustering,
    /// A numeric relevance, compared within groups of rows (queries); a model gives a score to order a group by.
    Ranking,
    /// No target; a model gives an anomaly score, larger for stranger rows.
    Anomaly,
    /// No target; a model gives a vector of numbers.
    Embedding,
    /// A set of labels a row; a model gives one probability a label, in the order of the labels, each by itself.
    Multilabel,
}

impl Task {
    /// Every task, in the order of the reference.
    pub const ALL: [Task; 7] = [
        Task::Regression,
        Task::Classification,
        Task::Multilabel,
        Task::Clustering,
        Task::Ranking,
        Task::Anomaly,
        Task::Embedding,
    ];

    /// Whether the task needs a target.
    pub fn supervised(self) -> bool {
        matches!(self, Task::Regression | Task::Classification | Task::Multilabel | Task::Ranking)
    }

    /// The task's name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Task::Regression => "regression",
            Task::Classification => "classification",
            Task::Clustering => "clustering",
            Task::Ranking => "ranking",
            Task::Anomaly => "anomaly",
            Task::Embedding => "embedding",
            Task::Multilabel => "multilabel",
        }
    }

    /// The task of that name.
    pub fn parse(name: &str) -> Option<Task> {
        Task::ALL.into_iter().find(|t| t.name() == name)
    }
}

/// One encoded feature: a column of `Chunk::x`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// The source column, with what was made of it: `age`, `color=red`, `day.month`, `v[3]`.
    pub name: String,
    /// How to read its values.
    pub kind: FeatureKind,
}

/// How to read the values of a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureKind {
    /// A number.
    Numeric,
    /// The code of a category, `0.0 ..= levels - 1`, without an order; NaN for a value that has none. Only learners of
    /// `Input::Native` get these, and of `Input::Image` where the user asks for them.
    Category {
        /// How many codes there are; a scored row never has another.
        levels: u32,
    },
}

/// What encoding made of a feature: `(value - center) * factor`. For features that are no scaled numbers, `(0, 1)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// Subtracted.
    pub center: f64,
    /// Multiplied afterwards.
    pub factor: f64,
}

impl Unit {
    /// Of a feature that is what the user gave.
    pub const AS_GIVEN: Unit = Unit { center: 0.0, factor: 1.0 };
}

/// The shape of one image: `height * width * channels` bytes, rows first, channels last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageShape {
    /// Pixels down.
    pub height: usize,
    /// Pixels across.
    pub width: usize,
    /// Bytes a pixel.
    pub channels: usize,
}

impl ImageShape {
    /// Bytes of one image.
    pub fn bytes(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// What is known before the first row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schema {
    /// The columns of `Chunk::x`, in order.
    pub features: Vec<Feature>,
    /// The image of each row, where there is one.
    pub image: Option<ImageShape>,
    /// What the model is to do.
    pub task: Task,
    /// Classes of a classification (2 or more), labels of a multi-label task (1 or more), else 0.
    pub classes: usize,
    /// What the loss of each label counts in rows that have it; empty where that is 1. Of a multi-label task alone.
    pub positive: Vec<f64>,
    /// Rows that training will see.
    pub rows: usize,
}

impl Schema {
    /// A schema of `width` numeric features, named `x1` and on.
    pub fn numeric(width: usize, task: Task, classes: usize, rows: usize) -> Schema {
        let feature = |i| Feature { name: format!("x{i}"), kind: FeatureKind::Numeric };
        Schema {
            features: (1..=width).map(feature).collect(),
            image: None,
            task,
            classes,
            positive: vec![],
            rows,
        }
    }

    /// Features a row.
    pub fn width(&self) -> usize {
        self.features.len()
    }

    /// Values a row of `Chunk::y`.
    pub fn targets(&self) -> usize {
        if self.task == Task::Multilabel { self.classes } else { 1 }
    }
}

/// A block of encoded rows, lent to a learner or a model.
///
/// Shapes: with `n = rows` and `d = schema.width()`, `x` has `n * d` values row by row; `images` has
/// `n * image.bytes()` bytes or none; `y` has `n` values in training (a class's number, or the numeric target;
/// of a multi-label task `n * classes`, row by row, 1 for each label that the row has and 0 for the others)
/// and none in scoring; `weight` has `n` positive values, or none where every row weighs 1.
/// `NaN` in `x` means missing, and reaches only learners of `Input::Native`. Infinite values never arrive
/// except at those. `y`, `weight` and `offset` are finite. `offset` has `n` values that are added to the linear
/// predictor (or none), `group` the number of each row's group (or none): a query to rank within, a cluster of
/// dependent rows. Group numbers are hashes of the group's value, the same on every shard.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chunk<'a> {
    /// Rows in the block.
    pub rows: usize,
    /// The number of the first row within its shard; rows are numbered on from it. For sampling.
    pub first: u64,
    /// Encoded features, row-major.
    pub x: &'a [f64],
    /// Images, one after another.
    pub images: &'a [u8],
    /// Targets.
    pub y: &'a [f64],
    /// Weights.
    pub weight: &'a [f64],
    /// Offsets of the linear predictor.
    pub offset: &'a [f64],
    /// Groups.
    pub group: &'a [u64],
    /// Where the rows' images stay, for a learner that comes back for single ones and then needs no copy of its own.
    pub kept: Option<Kept<'a>>,
}

impl<'a> Chunk<'a> {
    /// Features a row.
    pub fn width(&self) -> usize {
        self.x.len().checked_div(self.rows).unwrap_or(0)
    }

    /// The features of row `i`.
    pub fn row(&self, i: usize) -> &'a [f64] {
        let d = self.width();
        &self.x[i * d..(i + 1) * d]
    }

    /// The weight of row `i`.
    pub fn weight(&self, i: usize) -> f64 {
        if self.weight.is_empty() { 1.0 } else { self.weight[i] }
    }

    /// The offset of row `i`.
    pub fn offset(&self, i: usize) -> f64 {
        if self.offset.is_empty() { 0.0 } else { self.offset[i] }
    }
}

/// A block of encoded rows that owns its memory and is filled again and again.
#[derive(Debug, Default, Clone)]
pub struct Buffer {
    /// Rows now in the block.
    pub rows: usize,
    /// The number of the first row.
    pub first: u64,
    /// As `Chunk::x`.
    pub x: Vec<f64>,
    /// As `Chunk::images`.
    pub images: Vec<u8>,
    /// As `Chunk::y`.
    pub y: Vec<f64>,
    /// As `Chunk::weight`.
    pub weight: Vec<f64>,
    /// As `Chunk::offset`.
    pub offset: Vec<f64>,
    /// As `Chunk::group`.
    pub group: Vec<u64>,
    /// As `Chunk::kept`.
    kept: Option<(Arc<Pictures>, Vec<u32>)>,
}

impl Buffer {
    /// The block, to lend.
    pub fn chunk(&self) -> Chunk<'_> {
        let Buffer { rows, first, x, images, y, weight, offset, group, kept } = self;
        let kept = kept.as_ref().map(|(pictures, rows)| Kept { pictures, rows });
        Chunk { rows: *rows, first: *first, x, images, y, weight, offset, group, kept }
    }

    /// Says where the images of the block's rows stay.
    pub(crate) fn keep(&mut self, pictures: &Arc<Pictures>, rows: &[u32]) {
        self.kept = Some((pictures.clone(), rows.to_vec()));
    }

    /// Empties it; the next rows are numbered from `first`.
    pub fn clear(&mut self, first: u64) {
        self.rows = 0;
        self.first = first;
        self.x.clear();
        self.images.clear();
        self.y.clear();
        self.weight.clear();
        self.offset.clear();
        self.group.clear();
        self.kept = None;
    }
}
