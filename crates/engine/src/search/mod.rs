//! Search for the parameters with which an algorithm learns a table best, and for the algorithm itself. Callers: the
//! server's `damson.search`, and `damson.train` with `algorithm => 'auto'`.
//!
//! The rows are read once. Every trial is cross-validated on the same folds, with preprocessing learnt anew in each;
//! the best recipe is then trained as [`crate::train::train`] would. Rows that a split holds out have no part in the
//! choice, so that the winner's value on them is honest; `outer_folds` estimate the whole procedure instead, by
//! searching again inside each of them (nested cross-validation).
//!
//! - [`space`]: what may be tried; [`defaults`] where the caller does not say.
//! - `trial`: a recipe tried on the folds. [`metric`]: what trials are compared by.
//! - [`halving`]: the schedules of successive halving and Hyperband. [`tpe`]: the Parzen estimator.
//! - [`auto`]: over algorithms.
//!
//! Without a time limit the trials and their values depend on rows, arguments and seed alone.

pub mod auto;
pub mod defaults;
pub mod halving;
pub mod metric;
pub mod space;
pub mod tpe;
mod trial;

use crate::algorithms;
use crate::error::{Error, Kind, Result};
use crate::frame::Frame;
use crate::learner::{Algorithm, Cx};
use crate::params::{Accepts, Param, Values};
use crate::split::{Split, folds, others};
use crate::survey::Survey;
use crate::train::{Metric, Recipe, Request, Setting, Trained, train_in};
use metric::Goal;
use serde_json::{Map, Value};
use space::{Domain, Point, Space};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use trial::{Bench, Candidate, Resource, mean_and_deviation};

pub use trial::{Status, Trial};

/// Trials where the caller does not say.
const TRIALS: usize = 30;
/// The most trials of a search.
const MAX_TRIALS: usize = space::MAX_GRID;
/// Draws for a point that was not tried yet, before a small space counts as exhausted.
const DRAWS: usize = 100;

/// How points are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Every point of a grid.
    Grid,
    /// Points by chance.
    Random,
    /// Many points on little of the resource, the best on more.
    Halving,
    /// Several such schedules, from bold to careful.
    Hyperband,
    /// Points that resemble the good ones so far.
    Tpe,
}

impl Method {
    const ALL: [(&'static str, Method); 5] = [
        ("tpe", Method::Tpe),
        ("random", Method::Random),
        ("grid", Method::Grid),
        ("halving", Method::Halving),
        ("hyperband", Method::Hyperband),
    ];

    /// The method of that name.
    ///
    /// # Errors
    /// `Kind::Parameter`, with the names that there are.
    pub fn parse(name: &str) -> Result<Method> {
        Method::ALL.into_iter().find(|(n, _)| *n == name).map(|(_, m)| m).ok_or_else(|| {
            let names: Vec<&str> = Method::ALL.iter().map(|(n, _)| *n).collect();
            bad(format!("there is no search method \"{name}\""))
                .hint(format!("There are: {}.", names.join(", ")))
        })
    }
}

/// What to search, beside what to train.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How points are chosen.
    pub method: Method,
    /// The space, a JSON object; none for the algorithm's default.
    pub space: Option<String>,
    /// How many trials; none for 30, or for all that a grid or Hyperband have.
    pub trials: Option<usize>,
    /// Folds of each trial.
    pub folds: usize,
    /// The test rows of each fold, sorted, instead of folds by chance.
    pub given_folds: Option<Vec<Vec<u32>>>,
    /// The metric; none for the task's main one.
    pub metric: Option<String>,
    /// Seconds after which no trial begins or goes on.
    pub time_limit: Option<f64>,
    /// Folds in which the whole search is repeated, or 0.
    pub outer_folds: usize,
    /// What halving and Hyperband give more of: a whole-number parameter; none for rows.
    pub resource: Option<String>,
    /// One candidate of so many goes on to the next rung, with so many times the resource.
    pub factor: usize,
    /// An earlier search, whose trials are not repeated.
    pub known: Option<Known>,
}

/// What an earlier search found.
#[derive(Debug, Clone)]
pub struct Known {
    /// The fingerprint of its rows, as the card of its model has it.
    pub fingerprint: String,
    /// Its trials.
    pub trials: Vec<Trial>,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            method: Method::Tpe,
            space: None,
            trials: None,
            folds: 3,
            given_folds: None,
            metric: None,
            time_limit: None,
            outer_folds: 0,
            resource: None,
            factor: 3,
            known: None,
        }
    }
}

/// What a search found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The best recipe, trained. Its metrics have the splits `selection` and `selection_std` besides: what the choice
    /// was made by; with outer folds also `nested` and `nested_std`.
    pub trained: Trained,
    /// All trials, in order.
    pub trials: Vec<Trial>,
    /// The place of the best in `trials`.
    pub best: usize,
    /// The metric that trials were compared by, and which way.
    pub goal: Goal,
    /// Whether the time limit ended it.
    pub limited: bool,
}

impl Found {
    /// The trials from the best to the worst, as places in `trials`: those with more of the resource first, those
    /// without a value last.
    pub fn ranking(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.trials.len()).collect();
        order.sort_by(|a, b| {
            let (x, y) = (&self.trials[*a], &self.trials[*b]);
            let loss = |t: &Trial| t.value.map_or(f64::INFINITY, |v| self.goal.loss(v));
            let (worthless, other) = (x.value.is_none(), y.value.is_none());
            worthless
                .cmp(&other)
                .then(y.resource.cmp(&x.resource))
                .then(loss(x).total_cmp(&loss(y)))
                .then(a.cmp(b))
        });
        order
    }
}

/// Checks what can be checked before any row is read.
///
/// # Errors
/// Those of [`crate::train::check`], and everything that the plan can be wrong about.
pub fn check(request: &Request, plan: &Plan) -> Result<()> {
    crate::train::check(&Request { split: supervised_split(request), ..request.clone() })?;
    if request.target.is_none() && request.split != Split::None {
        return Err(bad("without a target there is nothing to measure on held-out rows")
            .hint("Use split => 'none': trials are cross-validated anyway."));
    }
    let algorithm = algorithms::find(&request.algorithm)?;
    let prepared = Prepared::read(request, plan, algorithm)?;
    if plan.method == Method::Grid {
        let points = prepared.space.grid()?.len();
        if let Some(trials) = plan.trials.filter(|t| *t < points) {
            return Err(bad(format!("the grid has {points} points, but trials is {trials}"))
                .hint("Leave trials out, or use method => 'random'."));
        }
    }
    check_limits(plan.trials, plan.folds, plan.time_limit)?;
    if plan.outer_folds == 1 || plan.outer_folds > 100 {
        return Err(bad(format!("outer_folds is {}, expected 0 or 2 .. 100", plan.outer_folds)));
    }
    if plan.outer_folds > 0 && request.split != Split::None {
        return Err(bad("outer folds and a hold-out split exclude each other")
            .hint("Both estimate the winner on rows untouched by the choice: use one."));
    }
    if !(2..=100).contains(&plan.factor) {
        return Err(bad(format!("factor is {}, expected 2 .. 100", plan.factor)));
    }
    if request.target.is_none() && plan.metric.is_none() {
        Goal::of(algorithm.info().unsupervised()?, 0, None)?;
    }
    Ok(())
}

/// Without a target there is no split to check, and the message about folds would mislead.
fn supervised_split(request: &Request) -> Split {
    if request.target.is_some() { request.split } else { Split::None }
}

pub(super) fn check_limits(trials: Option<usize>, folds: usize, time_limit: Option<f64>) -> Result<()> {
    if let Some(trials) = trials.filter(|t| !(1..=MAX_TRIALS).contains(t)) {
        return Err(bad(format!("trials is {trials}, expected 1 .. {MAX_TRIALS}")));
    }
    if !(2..=100).contains(&folds) {
        return Err(bad(format!("folds is {folds}, expected 2 .. 100")));
    }
    match time_limit {
        Some(limit) if !(limit > 0.0 && limit < 1e9) => {
            Err(bad(format!("time_limit is {limit}, expected seconds above 0")))
        }
        _ => Ok(()),
    }
}

/// A plan, read.
struct Prepared {
    space: Space,
    /// Parameters and options that are the same in all trials.
    params: Map<String, Value>,
    options: Map<String, Value>,
    resource: Resource,
    /// The most of a resource that is a parameter.
    most: u64,
}

impl Prepared {
    fn read(request: &Request, plan: &Plan, algorithm: &dyn Algorithm) -> Result<Prepared> {
        let info = algorithm.info();
        let values = Values::parse(info.name, info.params, &request.params)?;
        let declared = |key: &str| {
            let same = |p: &&Param| p.name == key || p.aliases.contains(&key);
            info.params.iter().find(same)
        };
        let named =
            |(key, value): (String, Value)| (declared(&key).map_or(key, |p| p.name.to_string()), value);
        let mut params: Map<String, Value> = object(&request.params).into_iter().map(named).collect();
        let options = object(&request.preprocess);
        let space = match &plan.space {
            Some(space) => Space::parse(space, info)?,
            None => defaults::space(info, &params)?,
        };
        let fixed = params.keys().cloned().chain(options.keys().map(|k| format!("preprocess.{k}")));
        let twice = fixed.into_iter().find(|name| space.has(name));
        if let Some(name) = twice {
            return Err(bad(format!("\"{name}\" is fixed and in the space at once"))
                .hint("Leave it out of params and preprocess, or out of the space."));
        }
        let rungs = matches!(plan.method, Method::Halving | Method::Hyperband);
        let (resource, most) = match plan.resource.as_deref() {
            None | Some("rows") => (Resource::Rows, 0),
            Some(name) if !rungs => {
                return Err(bad(format!("resource is \"{name}\", which only halving and hyperband take")));
            }
            Some(name) => {
                let param = declared(name);
                let whole = param.filter(|p| matches!(p.accepts, Accepts::Int { .. }));
                let most =
                    whole.and_then(|p| values.opt_count(p.name).ok().flatten().map(|n| (p.name, n as u64)));
                let Some((name, most)) = most.filter(|(_, n)| *n > 0) else {
                    let message =
                        format!("resource is \"{name}\", expected rows or a count that {} takes", info.name);
                    return Err(bad(message)
                        .hint("For example n_estimators of boosting, whose value in params is the most."));
                };
                if space.has(name) {
                    return Err(bad(format!("\"{name}\" is the resource and in the space at once")));
                }
                params.remove(name);
                (Resource::Param(name), most)
            }
        };
        Ok(Prepared { space, params, options, resource, most })
    }

    fn candidate(&self, algorithm: &str, point: &[f64], resource: u64) -> Candidate {
        let (params, preprocess) = self.space.values(point, &self.params, &self.options);
        Candidate { algorithm: algorithm.to_string(), params, preprocess, resource }
    }
}

/// A JSON object that was checked before.
fn object(json: &str) -> Map<String, Value> {
    serde_json::from_str(json).unwrap_or_default()
}

/// Searches, then trains the best recipe, on the current rayon pool.
///
/// # Errors
/// What [`check`] refuses; what the data are wrong about; the first trial's error when all failed;
/// `Kind::Parameter` when the time limit passed before a trial ended.
pub fn search(frame: &Frame, request: &Request, plan: &Plan, cx: &Cx) -> Result<Found> {
    check(request, plan)?;
    let clock = Instant::now();
    let algorithm = algorithms::find(&request.algorithm)?;
    let prepared = Prepared::read(request, plan, algorithm)?;
    let survey = Survey::default();
    let setting = Setting::read(frame, request, algorithm, &survey)?;
    let goal = Goal::of(setting.target.task, setting.target.classes.len(), plan.metric.as_deref())?;
    let rows = setting.parts()?.train;
    if plan.known.as_ref().is_some_and(|k| setting.digest().is_ok_and(|d| d.fingerprint() != k.fingerprint)) {
        return Err(Error::new(Kind::Data, "the rows are not those of the earlier search")
            .hint("Its values would not compare with new ones: search anew, without resume."));
    }

    // The time is shared out evenly, whatever the first ones leave.
    let shares = (plan.outer_folds + 1) as f64;
    let end = |n: usize| {
        plan.time_limit.map(|limit| clock + Duration::from_secs_f64(limit * (n + 1) as f64 / shares))
    };
    let mut nested = vec![];
    if plan.outer_folds > 0 {
        let outer = folds(frame.rows, plan.outer_folds, setting.labels().as_deref(), request.seed)?;
        for (i, test) in outer.iter().enumerate() {
            let left = others(frame.rows, test);
            let mut bench = Bench::new(&setting, &goal, &left, plan.folds, None, cx)?.until(end(i));
            if let Resource::Param(_) = prepared.resource {
                bench = bench.with_resource(prepared.resource.clone(), prepared.most);
            }
            drive(&mut bench, &prepared, plan, request)?;
            let best = bench.best(plan.time_limit)?;
            let recipe = recipe(&bench.trials[best], &prepared.resource)?;
            let fitted = setting.fit(&recipe, (&left).into(), cx)?;
            nested.push(setting.measure(&recipe, &fitted, test.into(), cx)?);
        }
    }
    let given = plan.given_folds.as_deref();
    let mut bench = Bench::new(&setting, &goal, &rows, plan.folds, given, cx)?
        .until(end(plan.outer_folds))
        .knowing(plan.known.as_ref().map_or(&[], |k| &k.trials));
    if let Resource::Param(_) = prepared.resource {
        bench = bench.with_resource(prepared.resource.clone(), prepared.most);
    }
    drive(&mut bench, &prepared, plan, request)?;
    let best = bench.best(plan.time_limit)?;
    let recipe = recipe(&bench.trials[best], &prepared.resource)?;
    conclude(&setting, &recipe, bench, best, &nested, cx)
}

/// Trains the winner on all rows that are not held out, and puts the values of the choice beside its own.
fn conclude(
    setting: &Setting,
    recipe: &Recipe,
    bench: Bench,
    best: usize,
    nested: &[Vec<(String, f64)>],
    cx: &Cx,
) -> Result<Found> {
    bench.warn();
    let (limited, goal) = (bench.over(), bench.goal.clone());
    let trials = bench.trials;
    cx.observer.progress(trials.len(), trials.len(), "trial");
    let mut trained = train_in(setting, recipe, cx)?;
    let mut add = |split: &str, name: &str, value: f64| {
        trained.metrics.push(Metric { split: split.into(), name: name.into(), value });
    };
    if let (Some(value), Some(std)) = (trials[best].value, trials[best].std) {
        add("selection", &goal.metric, value);
        add("selection_std", &goal.metric, std);
    }
    for (name, _) in nested.first().into_iter().flatten() {
        let values: Vec<f64> =
            nested.iter().filter_map(|fold| fold.iter().find(|(n, _)| n == name).map(|m| m.1)).collect();
        if let Some((mean, std)) = mean_and_deviation(&values).filter(|_| values.len() == nested.len()) {
            add("nested", name, mean);
            add("nested_std", name, std);
        }
    }
    let of =
        |split: &str| trained.metrics.iter().find(|m| m.split == split && m.name == goal.metric).cloned();
    trained.headline = of("test").or_else(|| of("nested")).or_else(|| of("selection")).or(trained.headline);
    Ok(Found { trained, trials, best, goal, limited })
}

/// What a trial did, with all of the resource.
fn recipe(trial: &Trial, resource: &Resource) -> Result<Recipe> {
    let mut params = trial.params.clone();
    if let (Resource::Param(name), Value::Object(params)) = (resource, &mut params) {
        params.insert(name.to_string(), trial.resource.into());
    }
    Recipe::parse(&trial.algorithm, &params.to_string(), &trial.preprocess.to_string())
}

/// Tries what the method chooses.
fn drive(bench: &mut Bench, prepared: &Prepared, plan: &Plan, request: &Request) -> Result<()> {
    let (name, seed, most) = (&request.algorithm, request.seed, bench.most);
    let full = |point: &Point| prepared.candidate(name, point, most);
    let trials = plan.trials.unwrap_or(TRIALS);
    match plan.method {
        Method::Grid => {
            let points = prepared.space.grid()?;
            bench.planned = points.len();
            bench.attempt(&points.iter().map(full).collect::<Vec<_>>())?;
        }
        Method::Random => {
            let points = distinct(&prepared.space, trials, seed);
            bench.planned = points.len();
            bench.attempt(&points.iter().map(full).collect::<Vec<_>>())?;
        }
        Method::Tpe => {
            bench.planned = trials;
            if let Some(points) = whole(&prepared.space, trials) {
                bench.planned = points.len();
                bench.attempt(&points.iter().map(full).collect::<Vec<_>>())?;
                return Ok(());
            }
            let mut history: Vec<tpe::Tried> = vec![];
            estimate(bench, &prepared.space, &mut history, 0, trials, seed, &full)?;
        }
        Method::Halving => {
            let points = candidates(&prepared.space, trials, seed);
            let rungs = halving::halving(points.len(), plan.factor, bench.least(), most);
            bench.planned = rungs.iter().map(|r| r.candidates).sum();
            climb(bench, prepared, name, &points, &rungs)?;
        }
        Method::Hyperband => {
            // As many units as the resource can be cut into, but no more than the paper's 81 for a factor of 3.
            let eta = plan.factor as u64;
            let powers = halving::floor_log(most / bench.least().max(1), eta).min(4);
            let units = eta.pow(powers);
            let mut brackets = halving::hyperband(units, plan.factor);
            for rung in brackets.iter_mut().flatten() {
                rung.resource = most * rung.resource / units;
            }
            let mut left = plan.trials.unwrap_or(MAX_TRIALS);
            bench.planned = brackets.iter().flatten().map(|r| r.candidates).sum();
            let points = distinct(
                &prepared.space,
                brackets.iter().filter_map(|b| b.first()).map(|r| r.candidates).sum(),
                seed,
            );
            let mut rest = &points[..];
            for bracket in &brackets {
                let wanted = bracket.first().map_or(0, |r| r.candidates).min(left).min(rest.len());
                let (own, others) = rest.split_at(wanted);
                (rest, left) = (others, left - wanted);
                climb(bench, prepared, name, own, bracket)?;
            }
        }
    }
    Ok(())
}

/// Tries points of the estimator, `from` those numbers on, until there are `trials` of them or the time is up.
fn estimate(
    bench: &mut Bench,
    space: &Space,
    history: &mut Vec<tpe::Tried>,
    from: usize,
    trials: usize,
    seed: u64,
    candidate: &dyn Fn(&Point) -> Candidate,
) -> Result<()> {
    let mut number = from;
    while number < trials && !bench.over() {
        // Before the estimator begins nothing is waited for.
        let batch = if number < tpe::STARTUP { tpe::STARTUP - number } else { tpe::BATCH };
        let points = tpe::propose(space, history, number, batch.min(trials - number), seed);
        let tried = bench.attempt(&points.iter().map(candidate).collect::<Vec<_>>())?;
        number += points.len();
        for (trial, point) in tried.zip(points) {
            history.extend(bench.loss(trial).map(|loss| (point, loss)));
        }
    }
    Ok(())
}

/// Climbs rungs: of the candidates on each, the best go on to the next.
fn climb(
    bench: &mut Bench,
    prepared: &Prepared,
    name: &str,
    points: &[Point],
    rungs: &[halving::Rung],
) -> Result<()> {
    let mut left: Vec<&Point> = points.iter().collect();
    for rung in rungs {
        left.truncate(rung.candidates);
        let wanted: Vec<Candidate> =
            left.iter().map(|p| prepared.candidate(name, p, rung.resource)).collect();
        let tried = bench.attempt(&wanted)?;
        let mut scored: Vec<(f64, &Point)> =
            tried.zip(&left).filter_map(|(t, p)| bench.loss(t).map(|loss| (loss, *p))).collect();
        if bench.over() {
            break;
        }
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        left = scored.into_iter().map(|(_, p)| p).collect();
    }
    Ok(())
}

/// The candidates of halving: the whole space where it is small enough, else points by chance.
fn candidates(space: &Space, trials: usize, seed: u64) -> Vec<Point> {
    whole(space, trials).unwrap_or_else(|| distinct(space, trials, seed))
}

/// Every point of a space of choices that has no more than so many.
fn whole(space: &Space, trials: usize) -> Option<Vec<Point>> {
    let listed = space.dimensions.iter().all(|d| matches!(d.domain, Domain::Choice(_)));
    space.grid().ok().filter(|grid| listed && grid.len() <= trials)
}

/// Points by chance, no two the same; fewer where the space has no more.
fn distinct(space: &Space, count: usize, seed: u64) -> Vec<Point> {
    let mut points: Vec<Point> = vec![];
    let mut seen: HashSet<Vec<u64>> = HashSet::new();
    for trial in 0..count {
        let mut rng = tpe::lots(seed, trial);
        let mut draws = (0..DRAWS).map(|_| space.sample(&mut rng));
        points.extend(draws.find(|p| seen.insert(p.iter().map(|x| x.to_bits()).collect())));
    }
    points
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}
