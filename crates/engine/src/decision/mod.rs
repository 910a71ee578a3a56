//! From a learner's raw probabilities to a decision: calibration, then a rule that decides, and how sure it is.
//! Asked for by [`Options`], learnt by `learn` on rows that the model did not learn from, stored with the model as a
//! [`Decision`], and applied by the scorer to one row and to a block alike.

pub mod calibration;
pub mod class_weight;
pub mod conformal;
mod learn;
pub mod threshold;
mod training;

pub use calibration::{Calibration, Method};
pub use class_weight::ClassWeight;
pub use conformal::Conformal;
pub use threshold::{Rule, Wish};

use crate::error::{Error, Kind, Result};
use crate::metrics;
use crate::prepare::Roles;
use crate::schema::Task;
use crate::scorer::measure;
use serde::{Deserialize, Serialize};

/// What a training is asked for beyond its algorithm, as the user wrote it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// `balanced`, or a JSON object of labels and weights; see [`ClassWeight`].
    pub class_weight: Option<String>,
    /// A metric, a number or a JSON object; see [`Wish`].
    pub threshold: Option<String>,
    /// `sigmoid` or `isotonic`; see [`Method`].
    pub calibration: Option<String>,
    /// The coverage of intervals or sets, above 0 and below 1.
    pub conformal: Option<f64>,
    /// The share of the training rows that are held out to learn these from. Without it a threshold and a
    /// calibration are learnt out of fold, and conformal prediction holds out a fifth.
    pub calibration_size: Option<f64>,
}

/// Options, read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub class_weight: Option<ClassWeight>,
    pub threshold: Option<Wish>,
    pub calibration: Option<Method>,
    pub conformal: Option<f64>,
    pub size: Option<f64>,
}

impl Options {
    /// Checks what can be checked before any row is read.
    ///
    /// # Errors
    /// `Kind::Parameter` for what cannot be read.
    pub fn check(&self) -> Result<()> {
        self.plan().map(|_| ())
    }

    pub(crate) fn plan(&self) -> Result<Plan> {
        let share = |name: &str, given: Option<f64>| match given {
            Some(x) if !(x > 0.0 && x < 1.0) => {
                let message = format!("{name} is {x}, expected a share between 0 and 1, both excluded");
                Err(Error::new(Kind::Parameter, message))
            }
            given => Ok(given),
        };
        let plan = Plan {
            class_weight: self.class_weight.as_deref().map(ClassWeight::parse).transpose()?,
            threshold: self.threshold.as_deref().map(Wish::parse).transpose()?,
            calibration: self.calibration.as_deref().map(Method::parse).transpose()?,
            conformal: share("conformal", self.conformal)?,
            size: share("calibration_size", self.calibration_size)?,
        };
        if plan.size.is_some() && !plan.learns() {
            return Err(Error::new(
                Kind::Parameter,
                "calibration_size holds rows out, but there is nothing to learn from them",
            )
            .hint("It goes with a threshold to tune, calibration, or conformal."));
        }
        Ok(plan)
    }

    /// Checks them against the task and the classes.
    ///
    /// # Errors
    /// `Kind::Parameter` for options that the task cannot have, and for labels that are no classes.
    pub(crate) fn check_task(&self, task: Task, classes: &[String]) -> Result<()> {
        let classified = [
            ("class_weight", self.class_weight.is_some() && task != Task::Multilabel),
            ("threshold", self.threshold.is_some() && task != Task::Multilabel),
            ("calibration", self.calibration.is_some()),
        ];
        if let Some((name, _)) = classified.iter().find(|o| o.1 && task != Task::Classification) {
            let message = format!("{name} needs a classification, but this is {}", task.name());
            return Err(
                Error::new(Kind::Parameter, message).hint("Leave it out, or use task => 'classification'.")
            );
        }
        if self.conformal.is_some() && !matches!(task, Task::Classification | Task::Regression) {
            let message =
                format!("conformal needs a regression or a classification, but this is {}", task.name());
            return Err(Error::new(Kind::Parameter, message).hint("Leave it out."));
        }
        let plan = self.plan()?;
        if let Some(weights) = plan.class_weight {
            weights.resolve(classes, &vec![1.0; classes.len()])?;
        }
        if task == Task::Multilabel {
            return plan.threshold.map_or(Ok(()), |wish| wish.least().map(|_| ()));
        }
        plan.threshold.map_or(Ok(()), |wish| wish.rule(classes).map(|_| ()))
    }
}

impl Plan {
    /// Whether a threshold or a calibration is to be learnt from scores.
    pub fn tunes(&self) -> bool {
        self.calibration.is_some() || self.threshold.as_ref().is_some_and(Wish::tunes)
    }

    /// Whether anything is to be learnt from rows beside the model's.
    pub fn learns(&self) -> bool {
        self.tunes() || self.conformal.is_some()
    }
}

/// What was learnt, stored with the model. The default decides for the likeliest class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// A weight a class, as the training used them; empty where all weighed 1.
    pub class_weight: Vec<f64>,
    /// How probabilities are calibrated.
    pub calibration: Option<Calibration>,
    /// How they decide.
    pub rule: Rule,
    /// Intervals or sets.
    pub conformal: Option<Conformal>,
    /// The rows that calibration and threshold were learnt from; 0 where there was nothing to learn.
    pub rows: u64,
    /// Whether these were scored out of fold; else they were held out.
    pub out_of_fold: bool,
}

impl Decision {
    /// Calibrates scores, `classes` a row, in place.
    #[inline]
    pub fn calibrate(&self, classes: usize, scores: &mut [f64]) {
        if let Some(calibration) = &self.calibration {
            scores.chunks_exact_mut(classes).for_each(|row| calibration.apply(row));
        }
    }

    /// The least probability of a label that a row is given, of a multi-label task.
    pub fn least(&self) -> f64 {
        if let Rule::Labels { at } = self.rule { at } else { 0.5 }
    }

    /// The metrics of calibrated scores against a target; a value a scored row in each list of `roles`. Those that
    /// need one class a row take the one that is decided for. Conformal prediction adds `coverage`, and
    /// `interval_width` or `set_size`, the mean number of classes in a set.
    pub fn measure(&self, task: Task, classes: usize, scores: &[f64], roles: Roles) -> Vec<(String, f64)> {
        let mut found = match (task, &self.rule) {
            (Task::Classification, Rule::Threshold { .. } | Rule::Cost { .. }) => {
                let decided: Vec<usize> =
                    scores.chunks_exact(classes).map(|row| self.rule.decide(row)).collect();
                let found = metrics::decisions(roles.y, scores, &decided, classes, roles.weight);
                found.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
            }
            (Task::Multilabel, _) => {
                let found =
                    roles.sets.map(|s| metrics::multilabel(roles.y, s, scores, self.least(), roles.weight));
                found.unwrap_or_default().into_iter().map(|(name, value)| (name.to_string(), value)).collect()
            }
            _ => measure(task, classes, scores, roles),
        };
        let Some(conformal) = self.conformal else { return found };
        let weight = |i: usize| if roles.weight.is_empty() { 1.0 } else { roles.weight[i] };
        let total: f64 = (0..roles.y.len()).map(weight).sum();
        let mean = |value: &dyn Fn(usize) -> f64| -> f64 {
            (0..roles.y.len()).map(|i| weight(i) * value(i)).sum::<f64>() / total
        };
        if found.is_empty() || total <= 0.0 {
            return found;
        }
        found.push((
            "coverage".into(),
            mean(&|i| f64::from(u8::from(self.covers(task, classes, scores, roles.y, i)))),
        ));
        found.push(match task {
            Task::Regression => ("interval_width".into(), 2.0 * conformal.quantile),
            _ => {
                let size = |i: usize| {
                    let row = &scores[i * classes..(i + 1) * classes];
                    row.iter().filter(|p| conformal.includes(**p)).count() as f64
                };
                ("set_size".into(), mean(&size))
            }
        });
        found
    }

    /// Whether the interval or set of row `i` holds its truth.
    pub(crate) fn covers(&self, task: Task, classes: usize, scores: &[f64], y: &[f64], i: usize) -> bool {
        self.conformal.is_some_and(|c| match task {
            Task::Regression => (y[i] - scores[i]).abs() <= c.quantile,
            _ => c.includes(scores[i * classes + y[i] as usize]),
        })
    }

    /// Refuses what scoring could trip over: the bytes may be hostile.
    ///
    /// # Errors
    /// `Kind::Corrupt`.
    pub fn validate(&self, task: Task, classes: usize) -> Result<()> {
        let classified = task == Task::Classification && classes > 1;
        let labelled = task == Task::Multilabel && classes > 0;
        let plain = self.calibration.is_none()
            && (self.rule == Rule::Likeliest || labelled && matches!(self.rule, Rule::Labels { .. }))
            && (self.class_weight.is_empty() || labelled);
        let weights = self.class_weight.is_empty() || self.class_weight.len() == classes;
        let fits = (classified || plain)
            && weights
            && self.class_weight.iter().all(|w| w.is_finite() && *w > 0.0)
            && self.calibration.as_ref().is_none_or(|c| c.valid(classes))
            && self.rule.valid(classes)
            && (labelled || !matches!(self.rule, Rule::Labels { .. }))
            && self.conformal.is_none_or(|c| c.valid() && (classified || task == Task::Regression));
        if fits { Ok(()) } else { Err(Error::corrupt("the stored decision does not fit the model")) }
    }

    /// What it is, as names and values for people.
    pub fn describe(&self, classes: &[String]) -> Vec<(String, String)> {
        let mut rows: Vec<(String, String)> = vec![];
        for (class, weight) in classes.iter().zip(&self.class_weight).take(50) {
            rows.push((format!("class weight of {class}"), format!("{weight:.6}")));
        }
        rows.extend(self.calibration.as_ref().map(|c| ("calibration".to_string(), c.describe())));
        rows.extend(self.rule.describe(classes));
        if self.rows > 0 {
            let how = if self.out_of_fold { "scored out of fold" } else { "held out" };
            rows.push(("decided from".into(), format!("{} rows {how}", self.rows)));
        }
        if let Some(c) = self.conformal {
            rows.push(("conformal coverage".into(), c.coverage.to_string()));
            rows.push(("conformal quantile".into(), format!("{:.6}", c.quantile)));
            rows.push(("conformal rows".into(), c.rows.to_string()));
        }
        rows
    }

    /// Bytes that it holds, about.
    pub fn bytes(&self) -> usize {
        self.calibration.as_ref().map_or(0, Calibration::bytes) + 200
    }
}
