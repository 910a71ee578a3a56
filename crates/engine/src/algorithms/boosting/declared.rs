//! The declarations of boosting's parameters: LightGBM's names and defaults, with scikit-learn's and XGBoost's as
//! aliases.

use super::objective;
use crate::params::Param;

/// The declarations that `damson.parameters('boosting')` shows.
pub const DECLARED: &[Param] = &[
    Param::choice(
        "objective",
        "auto",
        objective::NAMES,
        "What is minimised; auto takes regression, binary, multiclass or lambdarank, as the task is.",
    )
    .alias(&["loss"]),
    Param::int("n_estimators", 100, 1, 100_000, "How many rounds; each grows one tree, or one a class.")
        .alias(&["trees", "num_iterations", "max_iter"]),
    Param::float("learning_rate", 0.1, 1e-6, 1.0, "How much of each tree is added to the sum.")
        .alias(&["eta"]),
    Param::int("num_leaves", 31, 2, 32_768, "The most leaves of a tree.")
        .alias(&["max_leaf_nodes", "max_leaves"]),
    Param::int(
        "max_depth",
        0,
        1,
        10_000,
        "The most splits between the root and a leaf; no bound by default.",
    )
    .optional(),
    Param::choice(
        "grow_policy",
        "leafwise",
        &["leafwise", "depthwise"],
        "Which leaf is split next: the one that gains most, or those nearest to the root first.",
    ),
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
        .alias(&["min_split_gain", "gamma"]),
    Param::float(
        "max_delta_step",
        0.0,
        0.0,
        f64::MAX,
        "The largest size of a leaf's value before learning_rate; 0 for no bound.",
    ),
    Param::float(
        "path_smooth",
        0.0,
        0.0,
        f64::MAX,
        "Draws a leaf's value towards its parent's, the more so the fewer rows it has next to this number.",
    ),
    Param::int("max_bin", 255, 2, 255, "The most bins of a feature, not counting the one of missing values.")
        .alias(&["max_bins"]),
    Param::float("feature_fraction", 1.0, 0.001, 1.0, "The share of features that each tree may use.")
        .alias(&["colsample_bytree"]),
    Param::float(
        "feature_fraction_bynode",
        1.0,
        0.001,
        1.0,
        "The share of the tree's features that each node may use.",
    )
    .alias(&["colsample_bynode", "max_features"]),
    Param::bool("extra_trees", false, "Try one random threshold a feature and node, not all of them."),
    Param::choice(
        "data_sample_strategy",
        "bagging",
        &["bagging", "goss"],
        "Which rows a round learns from: a random share, or those of large gradients and some of the others.",
    ),
    Param::float("bagging_fraction", 1.0, 0.001, 1.0, "The share of rows that each round learns from.")
        .alias(&["subsample"]),
    Param::int("bagging_freq", 1, 1, 100_000, "Draw the rows anew each so many rounds.")
        .alias(&["subsample_freq"]),
    Param::float(
        "pos_bagging_fraction",
        1.0,
        0.001,
        1.0,
        "As bagging_fraction, for the rows of the second of two classes.",
    ),
    Param::float(
        "neg_bagging_fraction",
        1.0,
        0.001,
        1.0,
        "As bagging_fraction, for the rows of the first of two classes.",
    ),
    Param::float("top_rate", 0.2, 0.0001, 1.0, "For goss: the share of rows, of the largest gradients, to keep."),
    Param::float("other_rate", 0.1, 0.0001, 1.0, "For goss: the share of all rows to draw from the others."),
    Param::bool("boost_from_average", true, "Begin with the best constant, not with 0."),
    Param::float(
        "alpha",
        0.9,
        1e-6,
        f64::MAX,
        "For huber: the error from which the loss is linear; quantile: which quantile, below 1.",
    )
    .alias(&["quantile"]),
    Param::float(
        "poisson_max_delta_step",
        0.7,
        1e-6,
        100.0,
        "For poisson: steadies steps by raising second derivatives to exp of this.",
    ),
    Param::float(
        "tweedie_variance_power",
        1.5,
        1.0,
        1.999,
        "For tweedie: the power of the mean that the variance follows; 1 is Poisson, near 2 gamma.",
    ),
    Param::float("scale_pos_weight", 1.0, 1e-9, 1e9, "For binary: the weight of rows of the second class."),
    Param::bool("is_unbalance", false, "For binary: weigh the rarer class so that both weigh the same.")
        .alias(&["unbalance"]),
    Param::int(
        "lambdarank_truncation_level",
        30,
        1,
        1_000_000,
        "For lambdarank: how many places at the top of a query count.",
    ),
    Param::bool("lambdarank_norm", true, "For lambdarank: even out queries of different sizes."),
    Param::json(
        "label_gain",
        "null",
        "For lambdarank: what a row of relevance 0, 1, 2, .. is worth, as a JSON array; 2^relevance - 1 by default.",
    )
    .optional(),
    Param::json(
        "monotone_constraints",
        "null",
        "Has 1 or -1 for features that predictions must rise or fall with, 0 for others: an object by feature name, or an array.",
    )
    .optional()
    .alias(&["monotonic_cst", "monotone_constraint"]),
    Param::json(
        "interaction_constraints",
        "null",
        "Sets of features that may meet on a path down a tree, as arrays of feature names; others are not used.",
    )
    .optional()
    .alias(&["interaction_cst"]),
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
    Param::int(
        "max_cat_to_onehot",
        4,
        1,
        255,
        "A category with no more levels than this is split one level against the others.",
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
