//! Trials: a recipe each, cross-validated on folds that all of them share.
//!
//! Trials on little data run side by side, those on much one after another with all threads each; nor does memory
//! allow more at a time than fit. What a trial finds depends on its recipe and the folds alone, so results are the
//! same on any number of threads. A time limit ends the trials that run when it passes; only which trials there are
//! then depends on the machine.

use super::metric::Goal;
use super::space::tidy;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Observer};
use crate::schema::Schema;
use crate::split::{self, Parts, shuffled};
use crate::train::{Recipe, Setting};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Values (rows times columns) up to which trials run side by side: larger trainings keep all threads busy alone.
const SMALL: usize = 2 << 20;
/// How often a time limit is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// How a trial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has a value.
    Succeeded,
    /// Its parameters do not work on these rows.
    Failed,
    /// The time limit passed.
    Stopped,
}

impl Status {
    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Status::Succeeded => "succeeded",
            Status::Failed => "failed",
            Status::Stopped => "stopped",
        }
    }

    /// The status of that name.
    pub fn parse(name: &str) -> Option<Status> {
        [Status::Succeeded, Status::Failed, Status::Stopped].into_iter().find(|s| s.name() == name)
    }
}

/// One trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Its number, from 1.
    pub number: usize,
    /// The algorithm.
    pub algorithm: String,
    /// The parameters that were given or searched, a JSON object.
    pub params: Value,
    /// The options of preprocessing that were given or searched, a JSON object.
    pub preprocess: Value,
    /// What it could use: rows of the source, or what the resource parameter says.
    pub resource: u64,
    /// The metric's mean over the folds.
    pub value: Option<f64>,
    /// Its standard deviation over the folds (of the population, as scikit-learn's `std_test_score`).
    pub std: Option<f64>,
    /// How long it took.
    pub seconds: f64,
    /// How it ended.
    pub status: Status,
    /// What it failed of.
    pub error: Option<String>,
    /// Whether an earlier trial was the same, whose outcome this has.
    pub reused: bool,
}

/// What is to be tried.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub algorithm: String,
    pub params: Value,
    pub preprocess: Value,
    pub resource: u64,
}

/// What a trial may be given more or less of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// A share of the rows that it trains on.
    Rows,
    /// A whole-number parameter.
    Param(&'static str),
}

/// The folds, and what was tried on them.
pub(super) struct Bench<'a> {
    setting: &'a Setting<'a>,
    /// What trials are compared by.
    pub goal: &'a Goal,
    resource: Resource,
    /// The most of the resource.
    pub most: u64,
    /// In each, any beginning of the training rows is a fair sample of them.
    folds: Vec<Parts>,
    end: Option<Instant>,
    known: HashMap<String, Trial>,
    schemas: HashMap<String, Option<Schema>>,
    /// For progress: trials to come and done, in all.
    pub planned: usize,
    pub trials: Vec<Trial>,
    first_error: Option<Error>,
    warned: Vec<String>,
    cx: &'a Cx<'a>,
}

impl<'a> Bench<'a> {
    /// Folds of some rows. With `given`, those; else `k` of them.
    pub fn new(
        setting: &'a Setting<'a>,
        goal: &'a Goal,
        rows: &[u32],
        k: usize,
        given: Option<&[Vec<u32>]>,
        cx: &'a Cx<'a>,
    ) -> Result<Bench<'a>> {
        let labels = setting.labels();
        let labels = labels.as_deref();
        let seed = setting.request.seed;
        let tests: Vec<Vec<u32>> = match given {
            Some(given) => given.to_vec(),
            None => {
                let own: Option<Vec<f64>> = labels.map(|l| rows.iter().map(|r| l[*r as usize]).collect());
                let dealt = split::folds(rows.len(), k, own.as_deref(), seed)?;
                dealt.into_iter().map(|fold| fold.into_iter().map(|i| rows[i as usize]).collect()).collect()
            }
        };
        let part = |test: Vec<u32>| {
            let left: Vec<u32> = rows.iter().copied().filter(|r| test.binary_search(r).is_err()).collect();
            Parts { train: fairly(left, labels, seed), test }
        };
        Ok(Bench {
            setting,
            goal,
            resource: Resource::Rows,
            most: rows.len() as u64,
            folds: tests.into_iter().map(part).collect(),
            end: None,
            known: HashMap::new(),
            schemas: HashMap::new(),
            planned: 0,
            trials: vec![],
            first_error: None,
            warned: vec![],
            cx,
        })
    }

    /// With another resource than rows, of which there is so much.
    pub fn with_resource(mut self, resource: Resource, most: u64) -> Self {
        self.resource = resource;
        self.most = most;
        self
    }

    /// With a moment at which it ends.
    pub fn until(mut self, end: Option<Instant>) -> Self {
        self.end = end;
        self
    }

    /// With the outcomes of earlier trials on the same rows.
    pub fn knowing(mut self, trials: &[Trial]) -> Self {
        let done = trials.iter().filter(|t| t.status != Status::Stopped);
        self.known.extend(done.map(|t| (key(&t.algorithm, &t.params, &t.preprocess, t.resource), t.clone())));
        self
    }

    /// The fewest rows that scikit-learn's halving begins with: 2 a fold and class; for a parameter, 1.
    pub fn least(&self) -> u64 {
        match self.resource {
            Resource::Rows => (self.folds.len() * 2 * self.setting.target.classes.len().max(1)) as u64,
            Resource::Param(_) => 1,
        }
    }

    /// Whether the time is up.
    pub fn over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }

    /// Tries candidates; gives the numbers of their trials in `trials`, fewer when the time is up.
    pub fn attempt(&mut self, candidates: &[Candidate]) -> Result<std::ops::Range<usize>> {
        let first = self.trials.len();
        let done = AtomicUsize::new(first);
        let mut left = candidates;
        while !left.is_empty() && !self.over() {
            self.cx.check()?;
            let (wave, rest) = left.split_at(self.wave(left)?);
            left = rest;
            let stop = AtomicBool::new(false);
            let cx = Cx { stop: if self.end.is_some() { &stop } else { self.cx.stop }, ..*self.cx };
            let bench = &*self;
            let found: Vec<Result<Outcome>> = within(self.end, self.cx.stop, &stop, || {
                let one = |candidate: &Candidate| {
                    let outcome = bench.outcome(candidate, &cx)?;
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    bench.cx.observer.progress(done, bench.planned.max(done), "trial");
                    Ok(outcome)
                };
                match wave {
                    [alone] => vec![one(alone)],
                    many => many.par_iter().with_max_len(1).map(one).collect(),
                }
            });
            for (candidate, outcome) in wave.iter().zip(found) {
                self.record(candidate, outcome?);
            }
        }
        Ok(first..self.trials.len())
    }

    /// How many of the next candidates run side by side.
    fn wave(&mut self, candidates: &[Candidate]) -> Result<usize> {
        let setting = self.setting;
        let values = self.folds.iter().map(|f| f.train.len()).max().unwrap_or(0) * setting.columns();
        let threads = rayon::current_num_threads();
        if threads < 2 || values > SMALL {
            return Ok(1);
        }
        let mut room = setting.request.max_memory.saturating_sub(setting.frame.bytes());
        let mut count = 0;
        for candidate in candidates.iter().take(threads) {
            let Some(needed) = self.memory(candidate)? else { break };
            if needed > room {
                break;
            }
            room -= needed;
            count += 1;
        }
        Ok(count.max(1))
    }

    /// The bytes that a candidate's training takes; none where it cannot be trained.
    fn memory(&mut self, candidate: &Candidate) -> Result<Option<u64>> {
        let Ok(recipe) = self.recipe(candidate) else { return Ok(Some(0)) };
        let Bench { schemas, folds, setting, cx, .. } = self;
        let shape = format!("{} {}", candidate.algorithm, candidate.preprocess);
        let schema = match schemas.get(&shape) {
            Some(known) => known,
            None => {
                let found = folds.first().map(|f| {
                    let mut rows = f.train.clone();
                    rows.sort_unstable();
                    setting.schema(&recipe, (&rows).into(), cx)
                });
                let found = match found {
                    Some(Err(e)) if e.kind == Kind::Cancelled => return Err(e),
                    found => found.and_then(Result::ok),
                };
                schemas.entry(shape).or_insert(found)
            }
        };
        let threads = setting.request.threads;
        let bytes = |s: &Schema| {
            let images = s.rows * s.image.map_or(0, |i| i.bytes());
            Some(recipe.algorithm.memory(&recipe.params, s, threads).ok()? + images as u64)
        };
        Ok(schema.as_ref().and_then(bytes))
    }

    fn recipe(&self, candidate: &Candidate) -> Result<Recipe> {
        let mut params = candidate.params.clone();
        if let (Resource::Param(name), Value::Object(params)) = (&self.resource, &mut params) {
            params.insert(name.to_string(), candidate.resource.into());
        }
        Recipe::parse(&candidate.algorithm, &params.to_string(), &candidate.preprocess.to_string())
    }

    fn outcome(&self, candidate: &Candidate, cx: &Cx) -> Result<Outcome> {
        let key = key(&candidate.algorithm, &candidate.params, &candidate.preprocess, candidate.resource);
        if let Some(known) = self.known.get(&key) {
            return Ok(Outcome { reused: Some(known.clone()), ..Outcome::default() });
        }
        let clock = Instant::now();
        let quiet = Quiet::default();
        let values = self.measure(candidate, &Cx { observer: &quiet, ..*cx });
        let values = match values {
            Err(e) if e.kind == Kind::Cancelled => {
                self.cx.check()?; // the caller's wish, unless the time is up
                None
            }
            Err(e) if e.kind == Kind::Internal => return Err(e),
            other => Some(other),
        };
        let warning = quiet.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Outcome { values, warning, seconds: clock.elapsed().as_secs_f64(), reused: None })
    }

    /// The metric on each fold.
    fn measure(&self, candidate: &Candidate, cx: &Cx) -> Result<Vec<f64>> {
        let recipe = self.recipe(candidate)?;
        self.setting.check(&recipe)?;
        let share = match self.resource {
            Resource::Rows => candidate.resource as f64 / self.most.max(1) as f64,
            Resource::Param(_) => 1.0,
        };
        let mut values = vec![];
        for fold in &self.folds {
            let count = ((fold.train.len() as f64 * share) as usize).clamp(1, fold.train.len());
            let mut rows = fold.train[..count].to_vec();
            rows.sort_unstable();
            let fitted = self.setting.fit(&recipe, (&rows).into(), cx)?;
            let found = self.setting.measure(&recipe, &fitted, (&fold.test).into(), cx)?;
            let value = found.into_iter().find(|(name, _)| *name == self.goal.metric);
            let undefined = || {
                Error::new(Kind::Data, format!("{} is undefined on the rows of a fold", self.goal.metric))
                    .hint("Use another metric, or fewer folds.")
            };
            values.push(value.map(|(_, v)| v).filter(|v| v.is_finite()).ok_or_else(undefined)?);
        }
        Ok(values)
    }

    fn record(&mut self, candidate: &Candidate, outcome: Outcome) {
        let Candidate { algorithm, params, preprocess, resource } = candidate.clone();
        let number = self.trials.len() + 1;
        let trial = match outcome {
            Outcome { reused: Some(known), .. } => {
                Trial { number, reused: true, params, preprocess, ..known }
            }
            Outcome { values, warning, seconds, .. } => {
                self.warned.extend(warning);
                let (status, error, values) = match values {
                    None => (Status::Stopped, Some("the time limit passed".to_string()), vec![]),
                    Some(Err(e)) => {
                        let message = e.message.clone();
                        self.first_error.get_or_insert(e);
                        (Status::Failed, Some(message), vec![])
                    }
                    Some(Ok(values)) => (Status::Succeeded, None, values),
                };
                let (value, std) = mean_and_deviation(&values).unzip();
                let reused = false;
                Trial {
                    number,
                    algorithm,
                    params,
                    preprocess,
                    resource,
                    value,
                    std,
                    seconds,
                    status,
                    error,
                    reused,
                }
            }
        };
        if trial.status != Status::Stopped {
            let key = key(&trial.algorithm, &trial.params, &trial.preprocess, trial.resource);
            self.known.entry(key).or_insert_with(|| trial.clone());
        }
        self.trials.push(trial);
    }

    /// The loss of a trial by its place in `trials`, where it has one.
    pub fn loss(&self, trial: usize) -> Option<f64> {
        self.trials[trial].value.map(|v| self.goal.loss(v))
    }

    /// The best trial: the least loss among those that had most of the resource, the earliest of equals.
    ///
    /// # Errors
    /// The first trial's own when all failed; `Kind::Parameter` when the time was too short for one.
    pub fn best(&self, limit: Option<f64>) -> Result<usize> {
        if let Some(best) = best_of(&self.trials, self.goal) {
            return Ok(best);
        }
        if let (true, Some(limit)) = (self.trials.iter().all(|t| t.status == Status::Stopped), limit) {
            let message = format!("no trial ended within the time limit of {limit} seconds");
            return Err(Error::new(Kind::Parameter, message)
                .hint("Raise time_limit, or search a sample of the rows."));
        }
        let failed = self.trials.iter().filter(|t| t.status == Status::Failed);
        let known = failed.clone().find_map(|t| t.error.clone()).unwrap_or_default();
        let count = failed.count();
        let error = self.first_error.clone().unwrap_or_else(|| Error::new(Kind::Data, known));
        let message = if count == 1 {
            format!("the only trial failed: {}", error.message)
        } else {
            format!("all {count} trials failed, the first with: {}", error.message)
        };
        Err(Error { message, ..error })
    }

    /// One warning for all that the trials warned of.
    pub fn warn(&self) {
        if let Some(first) = self.warned.first() {
            let count = self.warned.len();
            self.cx
                .observer
                .warning(&format!("{count} of {} trials warned, the first: {first}", self.trials.len()));
        }
    }
}

/// The place of the best trial, where one succeeded.
pub(super) fn best_of(trials: &[Trial], goal: &Goal) -> Option<usize> {
    let scored = |t: &Trial| t.value.map(|v| (t.resource, goal.loss(v)));
    let most = trials.iter().filter_map(scored).map(|s| s.0).max()?;
    let full =
        trials.iter().enumerate().filter_map(|(i, t)| scored(t).filter(|s| s.0 == most).map(|s| (i, s.1)));
    full.min_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0))).map(|(i, _)| i)
}

#[derive(Default)]
struct Outcome {
    /// The metric a fold; none when the time was up.
    values: Option<Result<Vec<f64>>>,
    warning: Option<String>,
    seconds: f64,
    reused: Option<Trial>,
}

/// Keeps the first warning of a trial; dozens of trials would drown the user in theirs.
#[derive(Default)]
struct Quiet(Mutex<Option<String>>);

impl Observer for Quiet {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| message.to_string());
    }
}

/// Runs a job; meanwhile a thread sets `stop` at the end of the time, or when the caller's own flag is set. A thread
/// started by the pool's threads has their signals blocked too, and it ends with the job.
fn within<T>(end: Option<Instant>, caller: &AtomicBool, stop: &AtomicBool, job: impl FnOnce() -> T) -> T {
    let Some(end) = end else { return job() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if Instant::now() >= end || caller.load(Ordering::Relaxed) {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                std::thread::sleep(LOOK);
            }
        });
        let _done = SetOnDrop(&done);
        job()
    })
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Rows in an order of which any beginning is a fair sample: by chance, each class spread evenly.
fn fairly(rows: Vec<u32>, labels: Option<&[f64]>, seed: u64) -> Vec<u32> {
    let order = shuffled(rows, seed);
    let Some(labels) = labels else { return order };
    let mut sizes: HashMap<u64, usize> = HashMap::new();
    let class = |row: u32| labels[row as usize].to_bits();
    let ranks: Vec<usize> = order
        .iter()
        .map(|row| {
            let size = sizes.entry(class(*row)).or_default();
            *size += 1;
            *size - 1
        })
        .collect();
    let place = |i: usize| (ranks[i] as f64 + 0.5) / sizes.get(&class(order[i])).map_or(1.0, |s| *s as f64);
    let mut places: Vec<(f64, u32)> = (0..order.len()).map(|i| (place(i), order[i])).collect();
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    places.into_iter().map(|(_, row)| row).collect()
}

/// What makes two trials the same, however their numbers are written.
fn key(algorithm: &str, params: &Value, preprocess: &Value, resource: u64) -> String {
    fn plain(v: &Value) -> Value {
        match v {
            Value::Number(n) => n.as_f64().map_or_else(|| v.clone(), |x| tidy(x).into()),
            Value::Array(a) => a.iter().map(plain).collect(),
            Value::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
            other => other.clone(),
        }
    }
    json!([algorithm, plain(params), plain(preprocess), resource]).to_string()
}

/// Mean and standard deviation (of the population); none of no values.
pub(super) fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    if values.is_empty() {
        return None;
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    Some((mean, variance.sqrt()))
}
