//! What boosting minimises: losses with their derivatives, as LightGBM defines them (`regression_objective.hpp`,
//! `binary_objective.hpp`, `multiclass_objective.hpp`; ranking is in [`super::rank`]).

use super::loss;
use super::model::Link;
use crate::error::{Error, Kind, Result};
use crate::params::Values;
use crate::schema::{Schema, Task};

/// The words of the parameter `objective`.
pub const NAMES: &[&str] = &[
    "auto",
    "regression",
    "regression_l1",
    "huber",
    "quantile",
    "poisson",
    "gamma",
    "tweedie",
    "binary",
    "multiclass",
    "lambdarank",
];

/// What is minimised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Half the squared error.
    Squared,
    /// The absolute error.
    Absolute,
    /// Squared up to an error of `alpha`, linear beyond it.
    Huber {
        /// Where the loss turns linear.
        alpha: f64,
    },
    /// The pinball loss.
    Quantile {
        /// Which quantile.
        alpha: f64,
    },
    /// Minus the log likelihood of counts; the raw score is the log of the mean.
    Poisson {
        /// Raises second derivatives by `exp` of this, against steps that are too long.
        max_delta_step: f64,
    },
    /// Minus the log likelihood of positive numbers whose deviation grows with their mean; a log link.
    Gamma,
    /// Minus the quasi log likelihood of numbers with a mass at zero; a log link.
    Tweedie {
        /// The power of the mean that the variance follows.
        power: f64,
    },
    /// The log loss of two classes.
    Logistic,
    /// The log loss of three or more classes, one tree a class.
    Softmax(usize),
    /// LambdaRank (Burges 2010), on normalised discounted cumulative gain.
    Lambdarank,
}

impl Objective {
    /// The objective that was asked for, or the task's own.
    ///
    /// # Errors
    /// `Kind::Parameter` for one of another task; `Kind::Data` for fewer than two classes.
    pub fn read(v: &Values, schema: &Schema) -> Result<Objective> {
        let asked = v.text("objective")?;
        if schema.task == Task::Classification && schema.classes < 2 {
            let message = format!("the target has {} classes, expected 2 or more", schema.classes);
            return Err(Error::new(Kind::Data, message).hint("Check the filter of the training rows."));
        }
        let alpha = v.float("alpha")?;
        let found = match (schema.task, asked) {
            (Task::Regression, "auto" | "regression") => Objective::Squared,
            (Task::Regression, "regression_l1") => Objective::Absolute,
            (Task::Regression, "huber") => Objective::Huber { alpha },
            (Task::Regression, "quantile") if alpha >= 1.0 => {
                let message =
                    format!("parameter \"alpha\" of boosting is {alpha}, expected a quantile below 1");
                return Err(Error::new(Kind::Parameter, message).hint("The median is 0.5."));
            }
            (Task::Regression, "quantile") => Objective::Quantile { alpha },
            (Task::Regression, "poisson") => {
                Objective::Poisson { max_delta_step: v.float("poisson_max_delta_step")? }
            }
            (Task::Regression, "gamma") => Objective::Gamma,
            (Task::Regression, "tweedie") => Objective::Tweedie { power: v.float("tweedie_variance_power")? },
            (Task::Classification, "auto") if schema.classes == 2 => Objective::Logistic,
            (Task::Classification, "binary") if schema.classes == 2 => Objective::Logistic,
            (Task::Classification, "auto") => Objective::Softmax(schema.classes),
            (Task::Classification, "multiclass") if schema.classes > 2 => Objective::Softmax(schema.classes),
            (Task::Classification, "binary" | "multiclass") => {
                let message = format!("objective \"{asked}\" does not fit {} classes", schema.classes);
                return Err(Error::new(Kind::Parameter, message)
                    .hint("Use binary for two classes, multiclass for more, or leave objective out."));
            }
            (Task::Ranking, "auto" | "lambdarank") => Objective::Lambdarank,
            (Task::Regression | Task::Classification | Task::Ranking, _) => {
                let message = format!("objective \"{asked}\" does not fit the task {}", schema.task.name());
                let known = match schema.task {
                    Task::Regression => "regression, regression_l1, huber, quantile, poisson, gamma, tweedie",
                    Task::Classification => "binary, multiclass",
                    _ => "lambdarank",
                };
                return Err(Error::new(Kind::Parameter, message)
                    .hint(format!("For this task there are: {known}. The argument task chooses another.")));
            }
            _ => {
                return Err(Error::new(Kind::Unsupported, "boosting needs a target, and there is none")
                    .hint("Name a target, or use an algorithm for clustering."));
            }
        };
        Ok(found)
    }

    /// Its name, as the parameter has it.
    pub fn name(self) -> &'static str {
        match self {
            Objective::Squared => "regression",
            Objective::Absolute => "regression_l1",
            Objective::Huber { .. } => "huber",
            Objective::Quantile { .. } => "quantile",
            Objective::Poisson { .. } => "poisson",
            Objective::Gamma => "gamma",
            Objective::Tweedie { .. } => "tweedie",
            Objective::Logistic => "binary",
            Objective::Softmax(_) => "multiclass",
            Objective::Lambdarank => "lambdarank",
        }
    }

    /// Raw scores a row, which is also trees a round.
    pub fn scores(self) -> usize {
        match self {
            Objective::Softmax(k) => k,
            _ => 1,
        }
    }

    /// Classes, where the target is a class.
    pub fn classes(self) -> Option<usize> {
        match self {
            Objective::Logistic => Some(2),
            Objective::Softmax(k) => Some(k),
            _ => None,
        }
    }

    /// How raw scores become predictions.
    pub fn link(self) -> Link {
        match self {
            Objective::Poisson { .. } | Objective::Gamma | Objective::Tweedie { .. } => Link::Log,
            Objective::Logistic => Link::Logit,
            Objective::Softmax(_) => Link::Softmax,
            _ => Link::Identity,
        }
    }

    /// Whether the second derivative is 1 in every row (of weight 1).
    pub fn constant_hessian(self) -> bool {
        use Objective::{Absolute, Huber, Quantile, Squared};
        matches!(self, Squared | Absolute | Huber { .. } | Quantile { .. })
    }

    /// Whether the range of the targets bounds the derivatives.
    pub fn bounded(self) -> bool {
        self.constant_hessian() || self.classes().is_some()
    }

    /// The quantile of residuals that a leaf takes as its value, where derivatives do not tell it.
    pub fn leaf_quantile(self) -> Option<f64> {
        match self {
            Objective::Absolute => Some(0.5),
            Objective::Quantile { alpha } => Some(alpha),
            _ => None,
        }
    }

    /// Refuses targets that it has no loss for.
    pub fn check(self, y: f64) -> Result<()> {
        let expected = match self {
            Objective::Logistic | Objective::Softmax(_) => {
                if y >= 0.0 && (y as usize) < self.classes().unwrap_or(0) {
                    return Ok(());
                }
                "a class"
            }
            _ if !y.is_finite() => "a finite number",
            Objective::Poisson { .. } | Objective::Tweedie { .. } if y < 0.0 => "0 or more",
            Objective::Gamma if y <= 0.0 => "more than 0",
            Objective::Lambdarank if !(0.0..=30.0).contains(&y) || y.fract() != 0.0 => {
                "a whole relevance of 0 .. 30"
            }
            _ => return Ok(()),
        };
        let message = format!("a target is {y}, expected {expected} for objective \"{}\"", self.name());
        Err(Error::new(Kind::Data, message).hint("Choose another objective, or leave these rows out."))
    }

    /// First and second derivative, and loss, of a row with one raw score. Not for classes beyond two, nor ranking.
    #[inline]
    pub fn derive(self, score: f64, y: f64) -> [f64; 3] {
        let error = score - y;
        match self {
            Objective::Squared => [error, 1.0, error * error],
            Objective::Absolute => {
                // Unlike `signum`, 0 for no error.
                let sign = f64::from(i8::from(error > 0.0) - i8::from(error < 0.0));
                [sign, 1.0, error.abs()]
            }
            Objective::Huber { alpha } if error.abs() <= alpha => [error, 1.0, 0.5 * error * error],
            Objective::Huber { alpha } => [alpha.copysign(error), 1.0, alpha * (error.abs() - 0.5 * alpha)],
            Objective::Quantile { alpha } if error >= 0.0 => [1.0 - alpha, 1.0, (1.0 - alpha) * error],
            Objective::Quantile { alpha } => [-alpha, 1.0, -alpha * error],
            Objective::Poisson { max_delta_step } => {
                let mean = score.exp();
                [mean - y, mean * max_delta_step.exp(), mean - y * score]
            }
            Objective::Gamma => {
                let ratio = y * (-score).exp();
                [1.0 - ratio, ratio, ratio + score]
            }
            Objective::Tweedie { power } => {
                let (low, high) = ((1.0 - power) * score, (2.0 - power) * score);
                let (low, high) = (y * low.exp(), high.exp());
                let (g, h) = (high - low, (2.0 - power) * high - (1.0 - power) * low);
                [g, h, high / (2.0 - power) - low / (1.0 - power)]
            }
            Objective::Logistic => {
                let (g, h, loss) = loss::logistic(score, y);
                [g, h, loss]
            }
            Objective::Softmax(_) | Objective::Lambdarank => [0.0; 3],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_the_losses() {
        let objectives = [
            (Objective::Huber { alpha: 0.9 }, 1.0),
            (Objective::Quantile { alpha: 0.3 }, 1.0),
            (Objective::Absolute, 1.0),
            (Objective::Poisson { max_delta_step: 0.0 }, 1.0),
            (Objective::Gamma, 1.0),
            (Objective::Tweedie { power: 1.3 }, 1.0),
            (Objective::Logistic, 1.0),
            (Objective::Squared, 0.5),
        ];
        for (objective, scale) in objectives {
            for (score, y) in [(0.3, 1.0), (-1.2, 1.0), (2.1, 0.0), (0.45, 0.0), (-3.0, 1.0)] {
                let (step, at) = (1e-5, |s: f64| objective.derive(s, y)[2] * scale);
                let [g, h, _] = objective.derive(score, y);
                let slope = (at(score + step) - at(score - step)) / (2.0 * step);
                assert!((g - slope).abs() < 1e-6 * (1.0 + g.abs()), "{objective:?} {score} {y}: {g} {slope}");
                if !objective.constant_hessian() {
                    let bend = (at(score + step) - 2.0 * at(score) + at(score - step)) / (step * step);
                    assert!((h - bend).abs() < 1e-3 * (1.0 + h.abs()), "{objective:?}: {h} {bend}");
                }
            }
        }
    }
}
