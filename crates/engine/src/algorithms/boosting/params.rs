//! The parameters of boosting, checked against each other and against the features.

use super::objective::Objective;
use crate::error::{Error, Kind, Result};
use crate::params::Values;
use crate::schema::{FeatureKind, Schema};
use serde_json::Value;

/// Classes whose trees grow at once, at most.
const ABREAST: usize = 8;

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
    /// Whether shallow leaves are split before deep ones.
    pub depthwise: bool,
    /// What a leaf and a split must satisfy.
    pub split: SplitRules,
    /// The most bins of a feature, without the missing one.
    pub max_bin: usize,
    /// The share of features a tree.
    pub feature_fraction: f64,
    /// The share of a tree's features a node.
    pub feature_fraction_bynode: f64,
    /// Sets of features (by number) that may meet; empty for no constraint.
    pub interactions: Vec<Vec<u32>>,
    /// The share of rows a round; of class 0 and of class 1.
    pub bagging: [f64; 2],
    /// Rounds that learn from the same rows.
    pub bagging_freq: usize,
    /// Gradient-based one-side sampling: the shares of rows with large gradients, and of the others.
    pub goss: Option<[f64; 2]>,
    /// Whether scores begin with the best constant.
    pub boost_from_average: bool,
    /// What the weight of class 1 is multiplied by; none for what evens out the classes.
    pub scale_pos_weight: Option<f64>,
    /// How queries are ranked.
    pub rank: RankRules,
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
    /// The largest value of a leaf, or 0.
    pub max_delta_step: f64,
    /// Rows that a parent's value counts as, or 0.
    pub path_smooth: f64,
    /// One threshold a feature and node.
    pub extra_trees: bool,
    /// 1, -1 or 0 for each feature; empty for all 0.
    pub monotone: Vec<i8>,
    /// The most levels of a category that is split one against the others.
    pub max_cat_to_onehot: usize,
    /// Steadies the order of levels; levels with fewer rows are left out.
    pub cat_smooth: f64,
    /// Added to `lambda_l2` in splits by category.
    pub cat_l2: f64,
    /// The most levels on the left of a split by category.
    pub max_cat_threshold: usize,
    /// The fewest rows of a group of levels.
    pub min_data_per_group: u64,
}

/// How queries are ranked.
#[derive(Debug, Clone)]
pub struct RankRules {
    /// Places at the top that count.
    pub truncation: usize,
    /// Whether queries of different sizes are evened out.
    pub norm: bool,
    /// What a row of each relevance is worth.
    pub gains: Vec<f64>,
}

impl Params {
    /// Reads checked values.
    ///
    /// # Errors
    /// `Kind::Parameter` for values that do not fit each other or the features; those of [`Objective::read`].
    pub fn read(v: &Values, schema: &Schema) -> Result<Params> {
        let objective = Objective::read(v, schema)?;
        let early_stopping_round = v.count("early_stopping_round")?;
        let held_out = v.float("validation_fraction")?;
        let params = Params {
            n_estimators: v.count("n_estimators")?,
            learning_rate: v.float("learning_rate")?,
            num_leaves: v.count("num_leaves")?,
            max_depth: v.opt_count("max_depth")?.unwrap_or(usize::MAX),
            depthwise: v.text("grow_policy")? == "depthwise",
            split: SplitRules {
                min_data_in_leaf: v.count("min_data_in_leaf")? as u64,
                min_sum_hessian_in_leaf: v.float("min_sum_hessian_in_leaf")?,
                lambda_l1: v.float("lambda_l1")?,
                lambda_l2: v.float("lambda_l2")?,
                min_gain_to_split: v.float("min_gain_to_split")?,
                max_delta_step: v.float("max_delta_step")?,
                path_smooth: v.float("path_smooth")?,
                extra_trees: v.bool("extra_trees")?,
                monotone: monotone(v.json("monotone_constraints")?, schema)?,
                max_cat_to_onehot: v.count("max_cat_to_onehot")?,
                cat_smooth: v.float("cat_smooth")?,
                cat_l2: v.float("cat_l2")?,
                max_cat_threshold: v.count("max_cat_threshold")?,
                min_data_per_group: v.count("min_data_per_group")? as u64,
            },
            max_bin: v.count("max_bin")?,
            feature_fraction: v.float("feature_fraction")?,
            feature_fraction_bynode: v.float("feature_fraction_bynode")?,
            interactions: interactions(v.json("interaction_constraints")?, schema)?,
            bagging: bagging(v, objective)?,
            bagging_freq: v.count("bagging_freq")?,
            goss: goss(v)?,
            boost_from_average: v.bool("boost_from_average")?,
            scale_pos_weight: scale_pos_weight(v, objective)?,
            rank: RankRules {
                truncation: v.count("lambdarank_truncation_level")?,
                norm: v.bool("lambdarank_norm")?,
                gains: gains(v.json("label_gain")?)?,
            },
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
        };
        if objective.leaf_quantile().is_some() && params.split.monotone.iter().any(|m| *m != 0) {
            let message = format!(
                "monotone_constraints do not go with objective \"{}\", whose leaves are quantiles",
                objective.name()
            );
            return Err(refused(message).hint("Use objective huber or regression."));
        }
        Ok(params)
    }

    /// Whether a round learns from a share of the rows only.
    pub fn samples_rows(&self) -> bool {
        self.goss.is_some() || self.bagging.iter().any(|share| *share < 1.0)
    }

    /// Whether the sizes of derivatives must be measured before each tree, because nothing bounds them.
    pub fn measures(&self) -> bool {
        !self.objective.bounded() || self.goss.is_some()
    }

    /// How many trees grow at once, from tree `first` on: classes of one round, whose trees do not wait for one another.
    pub fn abreast(&self, first: usize) -> usize {
        let scores = self.objective.scores();
        if self.holds_derivatives() { 1 } else { (scores - first % scores).min(ABREAST) }
    }

    /// Whether derivatives are held a row, not made on the way: of all objectives but the three that are most used.
    pub fn holds_derivatives(&self) -> bool {
        use Objective::{Logistic, Softmax, Squared};
        self.goss.is_some() || !matches!(self.objective, Squared | Logistic | Softmax(_))
    }
}

fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}

fn bagging(v: &Values, objective: Objective) -> Result<[f64; 2]> {
    let all = v.float("bagging_fraction")?;
    let [zero, one] = [v.float("neg_bagging_fraction")?, v.float("pos_bagging_fraction")?];
    if zero == 1.0 && one == 1.0 {
        return Ok([all; 2]);
    }
    if objective != Objective::Logistic {
        let message = format!(
            "pos_bagging_fraction and neg_bagging_fraction are for objective \"binary\", not \"{}\"",
            objective.name()
        );
        return Err(refused(message).hint("Use bagging_fraction."));
    }
    if all < 1.0 {
        return Err(refused(
            "bagging_fraction and pos_bagging_fraction or neg_bagging_fraction exclude each other".into(),
        )
        .hint("Give the shares of both classes, or one share for all rows."));
    }
    Ok([zero, one])
}

fn goss(v: &Values) -> Result<Option<[f64; 2]>> {
    if v.text("data_sample_strategy")? != "goss" {
        return Ok(None);
    }
    let rates = [v.float("top_rate")?, v.float("other_rate")?];
    if rates[0] + rates[1] > 1.0 {
        let message = format!("top_rate and other_rate sum to {}, expected at most 1", rates[0] + rates[1]);
        return Err(refused(message).hint("The defaults are 0.2 and 0.1."));
    }
    for name in ["bagging_fraction", "pos_bagging_fraction", "neg_bagging_fraction"] {
        if v.float(name)? < 1.0 {
            return Err(refused(format!("{name} and data_sample_strategy \"goss\" exclude each other"))
                .hint("goss draws the rows itself, by top_rate and other_rate."));
        }
    }
    Ok(Some(rates))
}

fn scale_pos_weight(v: &Values, objective: Objective) -> Result<Option<f64>> {
    let (scale, even) = (v.float("scale_pos_weight")?, v.bool("is_unbalance")?);
    if scale == 1.0 && !even {
        return Ok(Some(1.0));
    }
    if objective != Objective::Logistic {
        let message = format!(
            "scale_pos_weight and is_unbalance are for objective \"binary\", not \"{}\"",
            objective.name()
        );
        return Err(refused(message).hint("Give a weight column to weigh rows in any way."));
    }
    if scale != 1.0 && even {
        return Err(refused("scale_pos_weight and is_unbalance exclude each other".into())
            .hint("is_unbalance chooses the weight itself."));
    }
    Ok(if even { None } else { Some(scale) })
}

/// The place of a feature that a parameter names.
fn feature(name: &str, parameter: &str, schema: &Schema) -> Result<usize> {
    schema.features.iter().position(|f| f.name == name).ok_or_else(|| {
        let names: Vec<&str> = schema.features.iter().map(|f| f.name.as_str()).take(40).collect();
        refused(format!("{parameter} names \"{name}\", which is no feature"))
            .hint(format!("The features are: {}.", names.join(", ")))
    })
}

fn monotone(json: &Value, schema: &Schema) -> Result<Vec<i8>> {
    let sign = |v: &Value| match v.as_i64() {
        Some(sign @ -1..=1) => Ok(sign as i8),
        _ => Err(refused(format!("monotone_constraints has {v}, expected 1, 0 or -1"))
            .hint("1 for predictions that rise with the feature, -1 for ones that fall.")),
    };
    let mut signs = vec![0; schema.width()];
    match json {
        Value::Null => return Ok(vec![]),
        Value::Object(by_name) => {
            for (name, v) in by_name {
                signs[feature(name, "monotone_constraints", schema)?] = sign(v)?;
            }
        }
        Value::Array(list) if list.len() == schema.width() => {
            for (into, v) in signs.iter_mut().zip(list) {
                *into = sign(v)?;
            }
        }
        Value::Array(list) => {
            let (found, expected) = (list.len(), schema.width());
            return Err(refused(format!("monotone_constraints has {found} values, expected {expected}"))
                .hint("Give one for each feature, or an object by feature name."));
        }
        other => {
            return Err(refused(format!("monotone_constraints is {other}, expected an object or an array"))
                .hint("Write {\"monotone_constraints\": {\"area\": 1}}."));
        }
    }
    for (f, _) in schema.features.iter().zip(&signs).filter(|(_, s)| **s != 0) {
        if f.kind != FeatureKind::Numeric {
            return Err(refused(format!("monotone_constraints names \"{}\", which is a category", f.name))
                .hint("Only numbers have an order that predictions could follow."));
        }
    }
    Ok(if signs.iter().any(|s| *s != 0) { signs } else { vec![] })
}

fn interactions(json: &Value, schema: &Schema) -> Result<Vec<Vec<u32>>> {
    let wrong = || {
        refused(format!("interaction_constraints is {json}, expected arrays of feature names"))
            .hint("Write {\"interaction_constraints\": [[\"area\", \"rooms\"], [\"age\"]]}.")
    };
    if json.is_null() {
        return Ok(vec![]);
    }
    let sets = json.as_array().filter(|a| !a.is_empty()).ok_or_else(wrong)?;
    sets.iter()
        .map(|set| {
            let names = set.as_array().filter(|a| !a.is_empty()).ok_or_else(wrong)?;
            let place = |name: &Value| {
                Ok(feature(name.as_str().ok_or_else(wrong)?, "interaction_constraints", schema)? as u32)
            };
            names.iter().map(place).collect()
        })
        .collect()
}

fn gains(json: &Value) -> Result<Vec<f64>> {
    let wrong = || {
        refused(format!(
            "label_gain is {json}, expected 2 to 31 numbers from 0 up, none below the one before"
        ))
        .hint("The default is [0, 1, 3, 7, 15, ...].")
    };
    if json.is_null() {
        return Ok((0..31).map(|l| f64::from((1u32 << l) - 1)).collect());
    }
    let list = json.as_array().filter(|a| (2..=31).contains(&a.len())).ok_or_else(wrong)?;
    let gains = list.iter().map(|v| v.as_f64().filter(|x| *x >= 0.0)).collect::<Option<Vec<f64>>>();
    gains.filter(|g| g.windows(2).all(|w| w[0] <= w[1])).ok_or_else(wrong)
}
