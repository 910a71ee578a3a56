//! The parameters of decision trees and forests, with scikit-learn's names and defaults.

use super::{Grove, Kind};
use crate::error::{Error, Kind as Fault, Result};
use crate::params::{Param, Values};
use crate::schema::{FeatureKind, Schema, Task};

const CRITERION: Param = Param::choice(
    "criterion",
    "auto",
    &["auto", "gini", "entropy", "log_loss", "squared_error"],
    "What a split lowers: gini (the default for classes) or entropy (log_loss is another word for it), or squared_error (numbers).",
);
const MAX_DEPTH: Param = Param::int(
    "max_depth",
    0,
    1,
    10_000,
    "The most splits between the root and a leaf; without it trees grow until their leaves are pure or too small to be split.",
)
.optional();
const MIN_SAMPLES_SPLIT: Param = Param::int(
    "min_samples_split",
    2,
    2,
    i64::MAX,
    "The fewest rows of a node that is split; a row that a bootstrap drew twice counts twice.",
);
const MIN_SAMPLES_LEAF: Param =
    Param::int("min_samples_leaf", 1, 1, i64::MAX, "The fewest rows of a leaf.").alias(&["min_data_in_leaf"]);
const MIN_WEIGHT_FRACTION_LEAF: Param = Param::float(
    "min_weight_fraction_leaf",
    0.0,
    0.0,
    0.5,
    "The least weight of a leaf, as a share of the weight of all rows.",
);
const MAX_LEAF_NODES: Param = Param::int(
    "max_leaf_nodes",
    0,
    2,
    i64::MAX,
    "The most leaves of a tree; the splits that lower the impurity most are kept.",
)
.optional();
const MIN_IMPURITY_DECREASE: Param = Param::float(
    "min_impurity_decrease",
    0.0,
    0.0,
    f64::MAX,
    "How much a split must lower the impurity, weighted by the node's share of all rows.",
);
const CCP_ALPHA: Param = Param::float(
    "ccp_alpha",
    0.0,
    0.0,
    f64::MAX,
    "Minimal cost-complexity pruning: what a leaf costs, in impurity; 0 prunes nothing.",
);
const MAX_BIN: Param =
    Param::int("max_bin", 255, 2, 255, "The most bins of a feature, not counting the one of missing values.")
        .alias(&["max_bins"]);
const N_ESTIMATORS: Param =
    Param::int("n_estimators", 100, 1, 100_000, "How many trees.").alias(&["trees", "num_iterations"]);
const MAX_SAMPLES: Param = Param::float(
    "max_samples",
    1.0,
    1e-9,
    1e15,
    "With bootstrap, how many rows a tree draws: a share up to 1, or a whole number above 1; as many as there are by default.",
)
.optional();
const OOB_SCORE: Param = Param::bool(
    "oob_score",
    false,
    "Whether to measure the forest on the rows that each tree left out; damson.metrics shows it as split 'oob'. Needs bootstrap.",
);

const fn max_features(default: &'static str) -> Param {
    Param::json(
        "max_features",
        default,
        "How many features a node looks at, chosen by chance: \"sqrt\", \"log2\", a share such as 0.5 (1.0 is all of them), or a whole number (1 is one). By default all, but the square root of their number in forests of classes.",
    )
}

/// The parameters of `decision_tree`.
pub const TREE: &[Param] = &[
    CRITERION,
    Param::choice(
        "splitter",
        "best",
        &["best", "random"],
        "Whether to take the best threshold of a feature, or one by chance.",
    ),
    MAX_DEPTH,
    MIN_SAMPLES_SPLIT,
    MIN_SAMPLES_LEAF,
    MIN_WEIGHT_FRACTION_LEAF,
    max_features("null"),
    MAX_LEAF_NODES,
    MIN_IMPURITY_DECREASE,
    CCP_ALPHA,
    MAX_BIN,
];

/// The parameters of `random_forest`.
pub const FOREST: &[Param] = &forest(true);
/// The parameters of `extra_trees`.
pub const EXTRA: &[Param] = &forest(false);

const fn forest(bootstrap: bool) -> [Param; 14] {
    [
        N_ESTIMATORS,
        CRITERION,
        MAX_DEPTH,
        MIN_SAMPLES_SPLIT,
        MIN_SAMPLES_LEAF,
        MIN_WEIGHT_FRACTION_LEAF,
        max_features("null"),
        MAX_LEAF_NODES,
        MIN_IMPURITY_DECREASE,
        Param::bool(
            "bootstrap",
            bootstrap,
            "Whether each tree learns from rows drawn with replacement; else from all rows.",
        ),
        MAX_SAMPLES,
        OOB_SCORE,
        CCP_ALPHA,
        MAX_BIN,
    ]
}

/// What a split lowers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// The chance that two rows are of different classes.
    Gini,
    /// The entropy of the classes, in bits.
    Entropy,
    /// The variance of the target.
    SquaredError,
}

/// How many rows a tree draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Draw {
    /// All of them, once.
    All,
    /// As many as this share of them, with replacement.
    Share(f64),
    /// So many, with replacement.
    Rows(f64),
}

impl Draw {
    /// Rows drawn for each row that there is, at most 1.
    pub fn rate(self, rows: u64) -> f64 {
        match self {
            Draw::All => 1.0,
            Draw::Share(share) => share,
            Draw::Rows(n) => (n / (rows.max(1) as f64)).min(1.0),
        }
    }
}

/// What a leaf and a split must satisfy.
#[derive(Debug, Clone)]
pub struct Rules {
    /// What is lowered.
    pub criterion: Criterion,
    /// Whether thresholds are drawn.
    pub random: bool,
    /// The most splits above a leaf.
    pub max_depth: usize,
    /// The fewest rows of a node that is split.
    pub min_samples_split: i64,
    /// The fewest rows of a leaf.
    pub min_samples_leaf: i64,
    /// The least share of the tree's weight in a leaf.
    pub min_weight_fraction_leaf: f64,
    /// The least decrease of impurity.
    pub min_impurity_decrease: f64,
}

/// Checked parameters, with what the schema adds to them.
#[derive(Debug, Clone)]
pub struct Params {
    /// Trees.
    pub trees: usize,
    /// What splits must satisfy.
    pub rules: Rules,
    /// Features that a node looks at.
    pub max_features: usize,
    /// The most leaves of a tree.
    pub max_leaf_nodes: usize,
    /// What a leaf costs.
    pub ccp_alpha: f64,
    /// The most bins of a feature, without the missing one.
    pub max_bin: usize,
    /// How rows are drawn.
    pub draw: Draw,
    /// Whether rows that were left out measure the forest.
    pub oob: bool,
    /// Classes, or 0.
    pub classes: usize,
    /// Each feature: its levels where it is a category.
    pub levels: Vec<Option<u32>>,
}

impl Params {
    /// Reads checked values.
    pub fn read<G: Grove>(v: &Values, schema: &Schema) -> Result<Params> {
        let name = G::INFO.name;
        let classes = match schema.task {
            Task::Regression => 0,
            Task::Classification if schema.classes >= 2 => schema.classes,
            Task::Classification => {
                let message = format!("the target has {} classes, expected 2 or more", schema.classes);
                return Err(Error::new(Fault::Data, message).hint("Check the filter of the training rows."));
            }
            _ => {
                let message = format!("{name} needs a target, and there is none");
                return Err(Error::new(Fault::Unsupported, message)
                    .hint("Name the column to predict: target => 'column'."));
            }
        };
        let forest = G::KIND != Kind::Tree;
        let bootstrap = forest && v.bool("bootstrap")?;
        let max_samples = if forest { v.opt_float("max_samples")? } else { None };
        let oob = forest && v.bool("oob_score")?;
        if !bootstrap && (oob || max_samples.is_some()) {
            let what = if oob { "oob_score" } else { "max_samples" };
            let message = format!("{name} has {what} without bootstrap, and then every tree takes all rows");
            return Err(
                Error::new(Fault::Parameter, message).hint(format!("Set bootstrap to true, or drop {what}."))
            );
        }
        let draw = match max_samples {
            _ if !bootstrap => Draw::All,
            None => Draw::Share(1.0),
            Some(share) if share <= 1.0 => Draw::Share(share),
            Some(rows) if rows.fract() == 0.0 => Draw::Rows(rows),
            Some(other) => {
                let message = format!(
                    "parameter \"max_samples\" of {name} is {other}, expected a share up to 1 or a whole number above 1"
                );
                return Err(Error::new(Fault::Parameter, message));
            }
        };
        let max_leaf_nodes = v.opt_count("max_leaf_nodes")?.unwrap_or(usize::MAX);
        let max_depth = v.opt_count("max_depth")?.unwrap_or(usize::MAX);
        let random = match G::KIND {
            Kind::Tree => v.text("splitter")? == "random",
            kind => kind == Kind::Extra,
        };
        Ok(Params {
            trees: if forest { v.count("n_estimators")? } else { 1 },
            rules: Rules {
                criterion: criterion(name, v.text("criterion")?, classes)?,
                random,
                // A tree of so many leaves is no deeper than that.
                max_depth: max_depth.min(max_leaf_nodes.saturating_sub(1)),
                min_samples_split: v.int("min_samples_split")?,
                min_samples_leaf: v.int("min_samples_leaf")?,
                min_weight_fraction_leaf: v.float("min_weight_fraction_leaf")?,
                min_impurity_decrease: v.float("min_impurity_decrease")?,
            },
            max_features: features::<G>(v, schema.width(), classes)?,
            max_leaf_nodes,
            ccp_alpha: v.float("ccp_alpha")?,
            max_bin: v.count("max_bin")?,
            draw,
            oob,
            classes,
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

fn criterion(name: &str, given: &str, classes: usize) -> Result<Criterion> {
    match (given, classes > 0) {
        ("auto" | "gini", true) => Ok(Criterion::Gini),
        ("entropy" | "log_loss", true) => Ok(Criterion::Entropy),
        ("auto" | "squared_error", false) => Ok(Criterion::SquaredError),
        (_, classes) => {
            let (task, expected) = if classes {
                ("classification", "gini, entropy or log_loss")
            } else {
                ("regression", "squared_error")
            };
            let message = format!("criterion of {name} is \"{given}\", expected {expected} for a {task}");
            Err(Error::new(Fault::Parameter, message).hint("Leave criterion out for the usual one."))
        }
    }
}

/// The number of features that a node looks at.
fn features<G: Grove>(v: &Values, width: usize, classes: usize) -> Result<usize> {
    let given = v.json("max_features")?;
    let whole = |x: f64| (x as usize).clamp(1, width.max(1));
    let n = width as f64;
    if given.is_null() {
        return Ok(if G::KIND != Kind::Tree && classes > 0 { whole(n.sqrt()) } else { width.max(1) });
    }
    let found = match (given.as_str(), given.as_u64(), given.as_f64()) {
        (Some("sqrt"), ..) => Some(whole(n.sqrt())),
        (Some("log2"), ..) => Some(whole(n.log2())),
        (_, Some(count), _) if count >= 1 && count <= width as u64 => Some(count as usize),
        (_, None, Some(share)) if share > 0.0 && share <= 1.0 => Some(whole(share * n)),
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!(
            "parameter \"max_features\" of {} is {given}, expected \"sqrt\", \"log2\", a share above 0 and up to 1.0, or a whole number in 1 .. {width}",
            G::INFO.name
        );
        Error::new(Fault::Parameter, message).hint("0.5 is half of the features, 5 is five of them.")
    })
}
