//! The parameters of boosting, with LightGBM's names and defaults, and scikit-learn's as aliases.

use crate::error::{Error, Kind, Result};
use crate::params::{Param, Values};
use crate::schema::{FeatureKind, Schema, Task};

/// The declarations that `damson.parameters('boosting')` shows.
pub const DECLARED: &[Param] = &[
    Param::int("n_estimators", 100, 1, 100_000, "How many rounds; each grows one tree, or one a class.")
        .alias(&["trees", "num_iterations", "max_iter"]),
    Param::float("learning_rate", 0.1, 1e-6, 1.0, "How much of each tree is added to the sum."),
    Param::int("num_leaves", 31, 2, 32_768, "The most leaves of a tree.").alias(&["max_leaf_nodes"]),
    Param::int(
        "max_depth",
        0,
        1,
        10_000,
        "The most splits between the root and a leaf; no bound by default.",
    )
    .optional(),
    Param::int("min_data_in_leaf", 20, 1, i64::MAX, "The fewest rows of a leaf.")
        .alias(&["min_samples_leaf", "min_child_samples"]),
    Param::float(
        "min_sum_hessian_in_leaf",
        1e-3,
        0.0,
        f64::MAX,
        "The least sum of second derivatives of a leaf.",
    )
    .alias(&["min_child_weight"]),
    Param::float("lambda_l2", 0.0, 0.0, f64::MAX, "Penalty on the squares of leaf values.")
        .alias(&["l2_regularization", "reg_lambda"]),
    Param::float("lambda_l1", 0.0, 0.0, f64::MAX, "Penalty on the sizes of leaf values.")
        .alias(&["reg_alpha"]),
    Param::float("min_gain_to_split", 0.0, 0.0, f64::MAX, "The least gain that a split must bring.")
        .alias(&["min_split_gain"]),
    Param::int("max_bin", 255, 2, 255, "The most bins of a feature, not counting the one of missing values.")
        .alias(&["max_bins"]),
    Param::float("feature_fraction", 1.0, 0.001, 1.0, "The share of features that each tree may use.")
        .alias(&["colsample_bytree"]),
    Param::float("bagging_fraction", 1.0, 0.001, 1.0, "The share of rows that each round learns from.")
        .alias(&["subsample"]),
    Param::int(
        "early_stopping_round",
        0,
        0,
        100_000,
        "Stop after so many rounds without a better loss on the rows held out; 0 for never.",
    )
    .alias(&["early_stopping_rounds", "n_iter_no_change"]),
    Param::float(
        "validation_fraction",
        0.1,
        0.001,
        0.9,
        "The share of rows held out when early_stopping_round is above 0.",
    ),
    Param::float(
        "cat_smooth",
        10.0,
        0.0,
        f64::MAX,
        "Levels of a category with fewer rows than this are not told apart; it also steadies their order.",
    ),
    Param::float("cat_l2", 10.0, 0.0, f64::MAX, "As lambda_l2, in splits by category."),
    Param::int("max_cat_threshold", 32, 1, 255, "The most levels on the named side of a split by category."),
    Param::int(
        "min_data_per_group",
        100,
        1,
        i64::MAX,
        "The fewest rows of a group of levels in a split by category.",
    ),
];

/// Checked parameters, with what the schema adds to them.
#[derive(Debug, Clone)]
pub struct Params {
    /// Rounds.
    pub n_estimators: usize,
    /// Shrinkage of each tree.
    pub learning_rate: f64,
    /// The most leaves of a tree.
    pub num_leaves: usize,
    /// The most splits above a leaf.
    pub max_depth: usize,
    /// What a leaf and a split must satisfy.
    pub split: SplitRules,
    /// The most bins of a feature, without the missing one.
    pub max_bin: usize,
    /// The share of features a tree.
    pub feature_fraction: f64,
    /// The share of rows a round.
    pub bagging_fraction: f64,
    /// Patience, or 0.
    pub early_stopping_round: usize,
    /// The share of rows held out; 0 without early stopping.
    pub validation_fraction: f64,
    /// What is minimised.
    pub objective: Objective,
    /// Each feature: its levels where it is a category.
    pub levels: Vec<Option<u32>>,
}

/// What a split must satisfy, and how it is valued.
#[derive(Debug, Clone)]
pub struct SplitRules {
    /// The fewest rows of a leaf.
    pub min_data_in_leaf: u64,
    /// The least sum of second derivatives of a leaf.
    pub min_sum_hessian_in_leaf: f64,
    /// Penalty on sizes.
    pub lambda_l1: f64,
    /// Penalty on squares.
    pub lambda_l2: f64,
    /// The least gain.
    pub min_gain_to_split: f64,
    /// Steadies the order of levels; levels with fewer rows are left out.
    pub cat_smooth: f64,
    /// Added to `lambda_l2` in splits by category.
    pub cat_l2: f64,
    /// The most levels on the left of a split by category.
    pub max_cat_threshold: usize,
    /// The fewest rows of a group of levels.
    pub min_data_per_group: u64,
}

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Half the squared error.
    Squared,
    /// The log loss of two classes.
    Logistic,
    /// The log loss of three or more classes, one tree a class.
    Softmax(usize),
}

impl Objective {
    /// Raw scores a row, which is also trees a round.
    pub fn scores(self) -> usize {
        match self {
            Objective::Squared | Objective::Logistic => 1,
            Objective::Softmax(k) => k,
        }
    }
}

impl Params {
    /// Reads checked values.
    pub fn read(v: &Values, schema: &Schema) -> Result<Params> {
        let objective = match schema.task {
            Task::Regression => Objective::Squared,
            Task::Classification if schema.classes == 2 => Objective::Logistic,
            Task::Classification => Objective::Softmax(schema.classes),
            _ => {
                return Err(Error::new(Kind::Unsupported, "boosting needs a target, and there is none")
                    .hint("Name a target, or use an algorithm for clustering."));
            }
        };
        if schema.task == Task::Classification && schema.classes < 2 {
            let message = format!("the target has {} classes, expected 2 or more", schema.classes);
            return Err(Error::new(Kind::Data, message).hint("Check the filter of the training rows."));
        }
        let early_stopping_round = v.count("early_stopping_round")?;
        let held_out = v.float("validation_fraction")?;
        Ok(Params {
            n_estimators: v.count("n_estimators")?,
            learning_rate: v.float("learning_rate")?,
            num_leaves: v.count("num_leaves")?,
            max_depth: v.opt_count("max_depth")?.unwrap_or(usize::MAX),
            split: SplitRules {
                min_data_in_leaf: v.count("min_data_in_leaf")? as u64,
                min_sum_hessian_in_leaf: v.float("min_sum_hessian_in_leaf")?,
                lambda_l1: v.float("lambda_l1")?,
                lambda_l2: v.float("lambda_l2")?,
                min_gain_to_split: v.float("min_gain_to_split")?,
                cat_smooth: v.float("cat_smooth")?,
                cat_l2: v.float("cat_l2")?,
                max_cat_threshold: v.count("max_cat_threshold")?,
                min_data_per_group: v.count("min_data_per_group")? as u64,
            },
            max_bin: v.count("max_bin")?,
            feature_fraction: v.float("feature_fraction")?,
            bagging_fraction: v.float("bagging_fraction")?,
            early_stopping_round,
            validation_fraction: if early_stopping_round > 0 { held_out } else { 0.0 },
            objective,
            levels: schema
                .features
                .iter()
                .map(|f| match f.kind {
                    FeatureKind::Numeric => None,
                    FeatureKind::Category { levels } => Some(levels),
                })
                .collect(),
        })
    }
}
