//! `algorithm => 'auto'`: a search over the algorithms that serve the task, bounded by time.
//!
//! First all of them with their defaults, a baseline among them, on growing shares of the rows; the better half goes
//! on each time, and the last rung has all rows. Then the two best algorithms are tuned in turn by the Parzen
//! estimator, until the trials or the time are spent. Without a time limit all of it repeats bit for bit.

use super::halving::floor_log;
use super::metric::Goal;
use super::space::{Point, Space};
use super::trial::{Bench, Candidate, Resource};
use super::{Found, check_limits, conclude, defaults, estimate, recipe, tpe};
use crate::algorithms::{self, ALGORITHMS};
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::learner::{Cx, Input};
use crate::params::{Param, Values};
use crate::schema::Task;
use crate::split::Split;
use crate::survey::Survey;
use crate::train::{Request, Setting};
use serde_json::{Map, Value, json};
use std::time::{Duration, Instant};

/// The name that stands for the search.
pub const NAME: &str = "auto";

/// What it takes as parameters.
pub const PARAMS: &[Param] = &[
    Param::float(
        "time_limit",
        60.0,
        0.001,
        1e8,
        "Seconds after which no trial begins or goes on, 60 when left out; the winner is trained after them. null for no limit: then the result repeats bit for bit.",
    )
    .optional(),
    Param::int("trials", 40, 1, 10_000, "The most trials."),
    Param::json("metric", "null", "The metric that trials are compared by; the task's main one by default."),
    Param::json("algorithms", "null", "A list of the algorithms to try; all that serve the task by default."),
];

/// Seconds where the caller says nothing.
const TIME_LIMIT: f64 = 60.0;
/// Folds where the caller says nothing.
const FOLDS: usize = 3;
/// Each rung has so many times the rows of the one before it.
const FACTOR: u64 = 4;
/// The first rung has at least so many rows.
const LEAST_ROWS: u64 = 4000;

/// What is tried first, where the engine has it and it serves the task; cheap ones first.
const LINEUP: &[(&str, &str)] = &[
    ("dummy", "{}"),
    ("naive_bayes", "{}"),
    ("linear", "{}"),
    ("ridge", "{}"),
    ("logistic", "{}"),
    ("multinomial", "{}"),
    ("decision_tree", "{}"),
    ("extra_trees", "{}"),
    ("random_forest", "{}"),
    ("boosting", "{}"),
    ("boosting", r#"{"num_leaves": 15, "learning_rate": 0.05, "n_estimators": 200}"#),
    ("boosting", r#"{"num_leaves": 63, "learning_rate": 0.05, "n_estimators": 200}"#),
];

struct Wish {
    time_limit: Option<f64>,
    trials: usize,
    metric: Option<String>,
    algorithms: Option<Vec<String>>,
}

impl Wish {
    fn read(json: &str) -> Result<Wish> {
        let values = Values::parse(NAME, PARAMS, json)?;
        // Left out is 60 seconds, null is no limit.
        let said =
            serde_json::from_str::<Map<String, Value>>(json).is_ok_and(|o| o.contains_key("time_limit"));
        let text = |v: &Value| v.as_str().map(String::from);
        let wrong = |name: &str, found: &Value, expected: &str| {
            bad(format!("parameter \"{name}\" of {NAME} is {found}, expected {expected}"))
        };
        let metric = match values.json("metric")? {
            Value::Null => None,
            found => Some(text(found).ok_or_else(|| wrong("metric", found, "text"))?),
        };
        let algorithms = match values.json("algorithms")? {
            Value::Null => None,
            found => {
                let names: Option<Vec<String>> = found.as_array().and_then(|a| a.iter().map(text).collect());
                let names = names.filter(|n| !n.is_empty());
                Some(names.ok_or_else(|| wrong("algorithms", found, "a list of one or more names"))?)
            }
        };
        for name in algorithms.iter().flatten() {
            algorithms::find(name)?;
        }
        Ok(Wish {
            time_limit: values.opt_float("time_limit")?.or((!said).then_some(TIME_LIMIT)),
            trials: values.count("trials")?,
            metric,
            algorithms,
        })
    }
}

/// Checks what can be checked before any row is read.
///
/// # Errors
/// `Kind::Parameter` for parameters that it does not take, and where there is no target.
pub fn check(request: &Request) -> Result<()> {
    Wish::read(&request.params)?;
    request.decision.check()?;
    if request.target.is_none() {
        return Err(
            bad("algorithm \"auto\" needs a target").hint("Name the column to predict: target => 'column'.")
        );
    }
    if !request.group_by.is_empty() {
        return Err(Error::new(Kind::Unsupported, "algorithm \"auto\" does not train a model a group")
            .hint("Search first, then train with group_by and the algorithm that was best."));
    }
    if request.folds > 0 {
        check_limits(None, request.folds, None)?;
        if request.split != Split::None {
            return Err(bad("cross-validation and a hold-out split exclude each other")
                .hint("Leave folds out: trials are cross-validated within the training rows anyway."));
        }
    }
    if matches!(request.split, Split::Time { .. }) && request.time_column.is_none() {
        return Err(bad("a split by time needs a time column").hint("Name it: time_column => 'column'."));
    }
    Ok(())
}

/// The task that would be found, from the target alone.
///
/// # Errors
/// Those of the target.
pub fn task(frame: &Frame, request: &Request) -> Result<Task> {
    crate::train::task(
        frame,
        &Request { algorithm: "boosting".into(), params: "{}".into(), ..request.clone() },
    )
}

/// Searches over algorithms, then trains the best, on the current rayon pool. The request's `folds` are those of the
/// trials, 3 for 0; its `preprocess` holds for all of them.
///
/// # Errors
/// As for [`super::search`].
pub fn search(frame: &Frame, request: &Request, cx: &Cx) -> Result<Found> {
    check(request)?;
    let clock = Instant::now();
    let wish = Wish::read(&request.params)?;
    let folds = if request.folds == 0 { FOLDS } else { request.folds };
    // Boosting reads every kind of column and does every task that is tried.
    let request = &Request { folds: 0, ..request.clone() };
    let survey = Survey::default();
    let setting = Setting::read(frame, request, algorithms::find("boosting")?, &survey)?;
    let (task, classes) = (setting.target.task, setting.target.classes.len());
    let goal = Goal::of(task, classes, wish.metric.as_deref())?;
    let rows = setting.parts()?.train;
    let end = wish.time_limit.map(|limit| clock + Duration::from_secs_f64(limit));
    let mut bench = Bench::new(&setting, &goal, &rows, folds, None, cx)?.until(end);
    bench.planned = wish.trials;
    let preprocess: Value = serde_json::from_str(&request.preprocess).unwrap_or_else(|_| json!({}));

    let mut left = lineup(task, classes, wish.algorithms.as_deref(), &preprocess)?;
    left.truncate(wish.trials);
    for resource in shares(rows.len() as u64) {
        left.truncate(wish.trials - bench.trials.len().min(wish.trials));
        left.iter_mut().for_each(|c| c.resource = resource);
        let tried = bench.attempt(&left)?;
        let mut scored: Vec<(f64, Candidate)> =
            tried.zip(left).filter_map(|(t, c)| bench.loss(t).map(|loss| (loss, c))).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        scored.truncate(scored.len().div_ceil(2).max(3));
        left = scored.into_iter().map(|(_, c)| c).collect();
    }

    let mut tuned: Vec<Tuned> = vec![];
    for candidate in &left {
        let info = algorithms::find(&candidate.algorithm)?.info();
        if tuned.len() < 2 && !tuned.iter().any(|t| t.name == info.name) {
            let space = defaults::space(info, &Map::new()).ok();
            tuned.extend(space.map(|space| Tuned { name: info.name, space, history: vec![], tried: 0 }));
        }
    }
    while bench.trials.len() < wish.trials && !bench.over() && !tuned.is_empty() {
        for Tuned { name, space, history, tried } in &mut tuned {
            let count = tpe::BATCH.min(wish.trials - bench.trials.len().min(wish.trials));
            let candidate = |point: &Point| {
                let (params, _) = space.values(point, &Map::new(), &Map::new());
                Candidate {
                    algorithm: name.to_string(),
                    params,
                    preprocess: preprocess.clone(),
                    resource: rows.len() as u64,
                }
            };
            estimate(&mut bench, space, history, *tried, *tried + count, request.seed, &candidate)?;
            *tried += count;
        }
    }
    let best = bench.best(wish.time_limit)?;
    let recipe = recipe(&bench.trials[best], &Resource::Rows)?;
    conclude(&setting, &recipe, bench, best, &[], cx)
}

/// An algorithm that is tuned.
struct Tuned {
    name: &'static str,
    space: Space,
    history: Vec<tpe::Tried>,
    tried: usize,
}

/// Rows a rung: all at last, a quarter of the next before that, but never few.
fn shares(rows: u64) -> Vec<u64> {
    let rungs = floor_log(rows / LEAST_ROWS.min(rows.max(1)), FACTOR).min(3);
    (0..=rungs).rev().map(|i| rows / FACTOR.pow(i)).collect()
}

/// What is tried first: of the list, or of the named ones, those that serve.
fn lineup(
    task: Task,
    classes: usize,
    named: Option<&[String]>,
    preprocess: &Value,
) -> Result<Vec<Candidate>> {
    let serves = |name: &str| {
        ALGORITHMS.iter().map(|a| a.info()).any(|info| {
            info.name == name
                && info.tasks.contains(&task)
                && info.input != Input::Image
                && !(name == "logistic" && classes > 2)
                && !(name == "multinomial" && classes == 2)
        })
    };
    let mut wanted: Vec<(String, &str)> = match named {
        None => LINEUP.iter().map(|(name, params)| (name.to_string(), *params)).collect(),
        Some(names) => {
            let listed = LINEUP
                .iter()
                .filter(|(name, _)| names.iter().any(|n| n == name))
                .map(|(n, p)| (n.to_string(), *p));
            let unlisted = names.iter().filter(|name| !LINEUP.iter().any(|(n, _)| n == *name));
            listed.chain(unlisted.map(|n| (n.clone(), "{}"))).collect()
        }
    };
    wanted.retain(|(name, _)| serves(name));
    if wanted.is_empty() {
        let which = if named.is_some() { "named" } else { "that are searched" };
        let message = format!("none of the algorithms {which} does {}", task.name());
        return Err(bad(message).hint("SELECT name, tasks FROM damson.algorithms() shows which do."));
    }
    let candidate = |(algorithm, params): (String, &str)| Candidate {
        algorithm,
        params: serde_json::from_str(params).unwrap_or_else(|_| json!({})),
        preprocess: preprocess.clone(),
        resource: 0,
    };
    Ok(wanted.into_iter().map(candidate).collect())
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}
