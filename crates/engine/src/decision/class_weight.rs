//! Weights of classes: they multiply the weights of rows before a learner sees them, as scikit-learn's
//! `class_weight` does, so that every classifier has them.

use crate::error::{Error, Kind, Result};
use serde_json::Value;

/// What each class weighs.
#[derive(Debug, Clone, PartialEq)]
pub enum ClassWeight {
    /// As much as every other: a class's rows weigh `total / (classes * its own total)`.
    Balanced,
    /// As given by label; 1 for labels that are not given.
    Given(Vec<(String, f64)>),
}

impl ClassWeight {
    /// Reads `balanced`, or a JSON object of labels and weights.
    ///
    /// # Errors
    /// `Kind::Parameter` for anything else, and for weights that are not above 0.
    pub fn parse(text: &str) -> Result<ClassWeight> {
        if text.trim() == "balanced" {
            return Ok(ClassWeight::Balanced);
        }
        let refused = || {
            let message = format!(
                "class_weight is \"{text}\", expected balanced or a JSON object of labels and weights"
            );
            Error::new(Kind::Parameter, message).hint("Such as class_weight => '{\"yes\": 5, \"no\": 1}'.")
        };
        let Ok(Value::Object(given)) = serde_json::from_str::<Value>(text) else { return Err(refused()) };
        if given.is_empty() {
            return Err(refused());
        }
        let one = |(label, weight): (String, Value)| match weight.as_f64() {
            Some(w) if w > 0.0 && w.is_finite() => Ok((label, w)),
            _ => {
                let message =
                    format!("the class weight of \"{label}\" is {weight}, expected a number above 0");
                Err(Error::new(Kind::Parameter, message))
            }
        };
        Ok(ClassWeight::Given(given.into_iter().map(one).collect::<Result<_>>()?))
    }

    /// A weight a class, for classes whose rows weigh `totals`. A class without rows weighs 1.
    ///
    /// # Errors
    /// `Kind::Parameter` for a label that is no class.
    pub fn resolve(&self, classes: &[String], totals: &[f64]) -> Result<Vec<f64>> {
        match self {
            ClassWeight::Balanced => {
                let present = totals.iter().filter(|t| **t > 0.0).count() as f64;
                let all: f64 = totals.iter().sum();
                Ok(totals.iter().map(|t| if *t > 0.0 { all / (present * t) } else { 1.0 }).collect())
            }
            ClassWeight::Given(given) => {
                let mut weights = vec![1.0; classes.len()];
                for (label, weight) in given {
                    weights[class_number("class_weight", classes, label)?] = *weight;
                }
                Ok(weights)
            }
        }
    }
}

/// The number of a class that an argument names.
///
/// # Errors
/// `Kind::Parameter` for a label that is no class.
pub(super) fn class_number(argument: &str, classes: &[String], label: &str) -> Result<usize> {
    classes.iter().position(|c| c == label).ok_or_else(|| {
        let shown: Vec<&str> = classes.iter().map(String::as_str).take(40).collect();
        let message = format!("{argument} names class \"{label}\", which the target does not have");
        Error::new(Kind::Parameter, message).hint(format!("Its classes are: {}.", shown.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_classes_weigh_the_same_in_all() {
        let classes = ["a".to_string(), "b".into(), "c".into()];
        let balanced = ClassWeight::parse("balanced").unwrap();
        // scikit-learn: compute_class_weight('balanced', classes=[0, 1], y=[0] * 6 + [1] * 2) is [2/3, 2].
        assert_eq!(balanced.resolve(&classes[..2], &[6.0, 2.0]).unwrap(), [8.0 / 12.0, 2.0]);
        assert_eq!(balanced.resolve(&classes, &[6.0, 0.0, 2.0]).unwrap(), [8.0 / 12.0, 1.0, 2.0]);
    }

    #[test]
    fn labels_that_are_not_given_weigh_one() {
        let classes = ["no".to_string(), "yes".into()];
        let given = ClassWeight::parse(r#"{"yes": 5}"#).unwrap();
        assert_eq!(given.resolve(&classes, &[1.0, 1.0]).unwrap(), [1.0, 5.0]);
    }

    #[test]
    fn refuses_unknown_labels_and_weights_that_are_none() {
        for bad in
            ["blanced", "{", "{}", "[1]", r#"{"a": 0}"#, r#"{"a": -1}"#, r#"{"a": "2"}"#, r#"{"a": null}"#]
        {
            assert_eq!(ClassWeight::parse(bad).unwrap_err().kind, Kind::Parameter, "{bad}");
        }
        let error =
            ClassWeight::parse(r#"{"maybe": 2}"#).unwrap().resolve(&["no".into()], &[1.0]).unwrap_err();
        assert_eq!((error.kind, error.hint.as_deref()), (Kind::Parameter, Some("Its classes are: no.")));
    }
}
