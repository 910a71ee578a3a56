//! The space that is searched when the caller names none: one table for all algorithms, by the parameters' names.

use super::space::Space;
use crate::error::{Error, Kind, Result};
use crate::learner::Info;
use serde_json::{Map, Value};

/// Parameters worth searching, with ranges that hold most good values. An algorithm's default space is what it
/// declares of them.
const DEFAULTS: &[(&str, &str)] = &[
    ("C", r#"{"float": [0.001, 1000], "log": true}"#),
    ("alpha", r#"{"float": [0.0001, 1000], "log": true}"#),
    ("l1_ratio", r#"{"float": [0, 1]}"#),
    ("var_smoothing", r#"{"float": [1e-12, 0.1], "log": true}"#),
    ("num_leaves", r#"{"int": [7, 255], "log": true}"#),
    ("learning_rate", r#"{"float": [0.01, 0.3], "log": true}"#),
    ("min_data_in_leaf", r#"{"int": [3, 200], "log": true}"#),
    ("lambda_l2", r#"{"float": [0.001, 100], "log": true}"#),
    ("feature_fraction", r#"{"float": [0.4, 1]}"#),
    ("max_depth", r#"{"int": [2, 32], "log": true}"#),
    ("max_features", r#"{"float": [0.1, 1]}"#),
    ("min_samples_leaf", r#"{"int": [1, 50], "log": true}"#),
    ("n_clusters", r#"{"int": [2, 20]}"#),
    ("weight_decay", r#"{"float": [0, 0.1]}"#),
    ("dropout", r#"{"float": [0, 0.6]}"#),
];

/// Where an algorithm gives a name another meaning: nothing is searched there.
const EXCEPT: &[(&str, &str)] = &[
    // Leaves bound the size of boosted trees; alpha is part of what two objectives mean.
    ("boosting", "max_depth"),
    ("boosting", "alpha"),
    // It counts for the elastic-net penalty alone, which is not the default.
    ("logistic", "l1_ratio"),
];

/// The default space of an algorithm, without what `fixed` has.
///
/// # Errors
/// `Kind::Parameter` where nothing is left to search.
pub fn space(info: &Info, fixed: &Map<String, Value>) -> Result<Space> {
    let given = |name: &str| {
        let same = |p: &&crate::params::Param| p.name == name;
        info.params
            .iter()
            .find(same)
            .is_some_and(|p| fixed.keys().any(|k| k == p.name || p.aliases.contains(&k.as_str())))
    };
    let mut chosen = Map::new();
    for (name, range) in DEFAULTS {
        if EXCEPT.contains(&(info.name, name)) || given(name) || !info.params.iter().any(|p| p.name == *name)
        {
            continue;
        }
        let range: Value = serde_json::from_str(range).map_err(|e| Error::internal(e.to_string()))?;
        // A name that is declared with another type or a narrower range has another meaning there.
        let one = Value::Object(Map::from_iter([(name.to_string(), range.clone())]));
        if Space::parse(&one.to_string(), info).is_ok() {
            chosen.insert(name.to_string(), range);
        }
    }
    if chosen.is_empty() {
        return Err(Error::new(Kind::Parameter, format!("{} has no default space to search", info.name)).hint(
            "Name parameters and their ranges: space => '{\"preprocess.scale\": [\"standard\", \"none\"]}'.",
        ));
    }
    Space::parse(&Value::Object(chosen).to_string(), info)
}
