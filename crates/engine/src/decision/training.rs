//! A training with its decision: the model on its share of the rows, then what is learnt from the others.

use super::learn::{Deal, Material, learn, like};
use super::{ClassWeight, Decision, Plan, Rule};
use crate::error::Result;
use crate::frame::Selection;
use crate::learner::{Cx, Observer};
use crate::schema::Task;
use crate::train::{Fitted, Recipe, Setting};
use std::time::Instant;

impl Setting<'_> {
    /// Learns preprocessing, model and decision from some rows.
    pub(crate) fn fit(&self, recipe: &Recipe, rows: Selection, cx: &Cx) -> Result<Fitted> {
        let (plan, classes) = (&self.plan, &self.target.classes);
        if !plan.learns() {
            let mut fitted = self.fit_model(recipe, rows, cx)?;
            let class_weight = fitted.decision.class_weight;
            let given = if self.target.task == Task::Multilabel {
                plan.given_labels()?
            } else {
                plan.given(classes)?
            };
            fitted.decision = Decision { class_weight, ..given };
            return Ok(fitted);
        }
        let request = self.request;
        let deal = Deal::new(plan, &rows.list(), |rows, share, salt| {
            let split = like(&request.split, self.classifies(), share);
            self.split(&split, rows, request.seed ^ salt)
        })?;
        let mut fitted = self.fit_model(recipe, (&deal.fit).into(), cx)?;
        let start = Instant::now();
        let quiet = Cx { observer: &Quiet(cx.observer), ..*cx };
        let material = Material {
            task: self.target.task,
            classes,
            y: &self.target.y,
            weight: &self.weight,
            seed: request.seed,
            score: &|rows| self.score(recipe, &fitted, rows.into(), cx),
            score_apart: &|train, test| {
                self.score(recipe, &self.fit_model(recipe, train.into(), &quiet)?, test.into(), cx)
            },
        };
        let learnt = learn(plan, &deal, &material)?;
        let class_weight = fitted.decision.class_weight;
        fitted.decision = Decision { class_weight, ..learnt };
        fitted.fit_seconds += start.elapsed().as_secs_f64();
        Ok(fitted)
    }

    /// A weight a class, as `rows` have it, where classes weigh differently.
    pub(crate) fn class_weight(&self, rows: Selection) -> Result<Option<Vec<f64>>> {
        let Some(wanted) = self.plan.class_weight.as_ref().filter(|_| self.classifies()) else {
            return Ok(None);
        };
        let mut totals = vec![0.0; self.target.classes.len()];
        for row in rows.iter() {
            totals[self.y(row) as usize] += self.weight.get(row).unwrap_or(&1.0);
        }
        wanted.resolve(&self.target.classes, &totals).map(Some)
    }

    /// Of a multi-label task: what the loss of each label counts in rows that have it, as `rows` have it, where that is
    /// asked for. Balanced labels count the rows without the label to those with it.
    pub(crate) fn positive_weight(&self, rows: Selection) -> Result<Option<Vec<f64>>> {
        let (Some(wanted), Some(sets)) = (&self.plan.class_weight, &self.target.sets) else {
            return Ok(None);
        };
        if *wanted != ClassWeight::Balanced {
            return wanted.resolve(&self.target.classes, &[]).map(Some);
        }
        let (mut with, mut all) = (vec![0.0; sets.labels()], 0.0);
        for row in rows.iter() {
            let weight = self.weight.get(row).unwrap_or(&1.0);
            all += weight;
            sets.get(self.y(row)).iter().for_each(|label| with[*label as usize] += weight);
        }
        // A label that all rows have, or none, is left as it is.
        let balance = |with: &f64| if *with > 0.0 && *with < all { (all - with) / with } else { 1.0 };
        Ok(Some(with.iter().map(balance).collect()))
    }
}

impl Plan {
    /// The decision, as far as no rows are needed to find it.
    pub(crate) fn given(&self, classes: &[String]) -> Result<Decision> {
        let rule = self.threshold.as_ref().map(|wish| wish.rule(classes)).transpose()?.flatten();
        Ok(Decision { rule: rule.unwrap_or_default(), ..Decision::default() })
    }

    /// The same of a multi-label task.
    fn given_labels(&self) -> Result<Decision> {
        let rule =
            self.threshold.as_ref().map(|wish| wish.least().map(|at| Rule::Labels { at })).transpose()?;
        Ok(Decision { rule: rule.unwrap_or_default(), ..Decision::default() })
    }
}

/// Passes on the progress of models that are only there to score rows out of fold.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn progress(&self, done: usize, total: usize, what: &str) {
        self.0.progress(done, total, what);
    }
}
