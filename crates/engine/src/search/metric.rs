//! The metric that a search goes by, and which way it is better.

use crate::error::{Error, Kind, Result};
use crate::labels::LabelSets;
use crate::metrics;
use crate::prepare::Roles;
use crate::schema::Task;
use crate::scorer::measure;

/// What trials are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Goal {
    /// The metric's name.
    pub metric: String,
    /// Whether more of it is better.
    pub larger_is_better: bool,
}

/// Metrics of which less is better.
const SMALLER: &[&str] = &[
    "rmse",
    "mae",
    "medae",
    "mape",
    "log_loss",
    "brier",
    "davies_bouldin",
    "ece",
    "expected_calibration_error",
];

impl Goal {
    /// The metric that the caller named, or the task's main one.
    ///
    /// # Errors
    /// `Kind::Parameter` for a metric that the task does not have, or for none named where there is no target.
    pub fn of(task: Task, classes: usize, asked: Option<&str>) -> Result<Goal> {
        let headline = metrics::headline(task, classes);
        let known = names(task, classes);
        let metric = match asked {
            None if task.supervised() => headline.name,
            None => {
                let hint = known.first().map_or_else(
                    || format!("Models for {} cannot be compared.", task.name()),
                    |_| format!("metric => '{}' is one; there are: {}.", headline.name, known.join(", ")),
                );
                return Err(bad("a search without a target needs a metric").hint(hint));
            }
            Some(name) => match known.iter().find(|k| *k == name) {
                Some(known) => known,
                None => {
                    let message = format!("there is no metric \"{name}\" for {}", what(task, classes));
                    return Err(bad(message).hint(format!("There are: {}.", known.join(", "))));
                }
            },
        };
        Ok(Goal { metric: metric.to_string(), larger_is_better: larger_is_better(metric) })
    }

    /// A value as a loss: less is better.
    pub fn loss(&self, value: f64) -> f64 {
        if self.larger_is_better { -value } else { value }
    }
}

/// Whether more of a metric is better.
pub fn larger_is_better(metric: &str) -> bool {
    !SMALLER.contains(&metric) && !["loss", "deviance", "error"].iter().any(|end| metric.ends_with(end))
}

/// The metrics that a task has: those that a few rows, on which all are defined, are measured by.
fn names(task: Task, classes: usize) -> Vec<String> {
    if task == Task::Clustering {
        let x = [0.0, 1.0, 10.0, 12.0];
        return metrics::clustering(&x, 1, &[0.0, 0.0, 1.0, 1.0])
            .into_iter()
            .map(|m| m.0.to_string())
            .collect();
    }
    if task == Task::Multilabel {
        let mut sets = LabelSets::new(1);
        sets.push([]);
        sets.push([0]);
        let found = metrics::multilabel(&[0.0, 1.0], &sets, &[0.0, 1.0], 0.5, &[]);
        return found.into_iter().map(|m| m.0.to_string()).collect();
    }
    let rows = classes.max(2) * 2;
    let y: Vec<f64> = match task {
        Task::Classification => (0..rows).map(|i| (i % classes.max(2)) as f64).collect(),
        _ => (0..rows).map(|i| 1.0 + i as f64).collect(),
    };
    let width = if task == Task::Classification { classes.max(2) } else { 1 };
    let scores: Vec<f64> = match task {
        Task::Classification => vec![1.0 / width as f64; rows * width],
        _ => y.clone(),
    };
    let group = vec![1; rows];
    let roles = Roles { y: &y, sets: None, weight: &[], offset: &[], group: &group };
    measure(task, classes, &scores, roles).into_iter().map(|m| m.0).collect()
}

fn what(task: Task, classes: usize) -> String {
    match (task, classes) {
        (Task::Classification, n) => format!("classification of {n} classes"),
        _ => task.name().to_string(),
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_direction() {
        let larger = [
            "r2",
            "explained_variance",
            "accuracy",
            "balanced_accuracy",
            "auc",
            "auc_ovr",
            "average_precision",
            "f1",
            "f1_macro",
            "f1_micro",
            "f1_samples",
            "jaccard_samples",
            "auc_macro",
            "average_precision_macro",
            "precision",
            "precision_macro",
            "recall",
            "recall_macro",
            "mcc",
            "calinski_harabasz",
            "silhouette",
            "ndcg",
            "map",
            "mrr",
            "d2",
        ];
        for (task, classes) in [
            (Task::Regression, 0),
            (Task::Classification, 2),
            (Task::Classification, 3),
            (Task::Ranking, 0),
            (Task::Multilabel, 3),
            (Task::Clustering, 0),
        ] {
            for name in names(task, classes) {
                let stem = name.split('@').next().unwrap_or("");
                assert_eq!(larger.contains(&stem), larger_is_better(&name), "{name}");
            }
        }
    }

    #[test]
    fn the_headline_is_among_the_metrics() {
        for (task, classes) in [(Task::Regression, 0), (Task::Classification, 2), (Task::Classification, 3)] {
            let goal = Goal::of(task, classes, None).unwrap();
            let headline = metrics::headline(task, classes);
            assert_eq!(
                (goal.metric.as_str(), goal.larger_is_better),
                (headline.name, headline.larger_is_better)
            );
            assert!(names(task, classes).contains(&goal.metric));
        }
    }

    #[test]
    fn refuses_what_the_task_does_not_have() {
        let message = |task, asked| Goal::of(task, 2, asked).unwrap_err().message;
        assert_eq!(message(Task::Regression, Some("auc")), "there is no metric \"auc\" for regression");
        assert_eq!(message(Task::Clustering, None), "a search without a target needs a metric");
        assert!(Goal::of(Task::Clustering, 0, Some("silhouette")).unwrap().larger_is_better);
    }
}
