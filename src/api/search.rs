//! `damson.search`: many trials on rows read once, the best of them a registered version. Also what `damson.train` does
//! for `algorithm => 'auto'`.

use super::train::{
    Learnt, Origin, Outcome, check_task, document, keep, parse_split, parse_task, refused, wanted,
};
use crate::catalog::trials::{self, Search};
use crate::catalog::{models, reference};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Error, Result, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::reads::Reading;
use crate::pg::settings::Runner;
use crate::pg::{settings, work};
use engine::Kind;
use engine::decision::Options;
use engine::frame::Frame;
use engine::learner::Cx;
use engine::search::{Found, Method, Plan, auto, check, search as search_rows};
use engine::train::Request;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;

#[pg_extern(sql = r#"
CREATE FUNCTION damson.search(
    model text,
    source text,
    target text DEFAULT NULL,
    algorithm text DEFAULT 'boosting',
    space text DEFAULT NULL,
    method text DEFAULT 'tpe',
    trials bigint DEFAULT NULL,
    folds bigint DEFAULT 3,
    metric text DEFAULT NULL,
    time_limit double precision DEFAULT NULL,
    resource text DEFAULT 'rows',
    factor bigint DEFAULT 3,
    outer_folds bigint DEFAULT 0,
    resume boolean DEFAULT false,
    params text DEFAULT '{}',
    preprocess text DEFAULT '{}',
    features text[] DEFAULT NULL,
    weight text DEFAULT NULL,
    task text DEFAULT NULL,
    split text DEFAULT 'none',
    test_size double precision DEFAULT 0.2,
    time_column text DEFAULT NULL,
    offset_column text DEFAULT NULL,
    group_column text DEFAULT NULL,
    class_weight text DEFAULT NULL,
    seed bigint DEFAULT 0,
    description text DEFAULT NULL,
    key_column text DEFAULT NULL)
RETURNS TABLE (
    rank bigint, trial bigint, params text, resource bigint, metric text, value double precision,
    std double precision, seconds double precision, status text, error text)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 30
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.search IS
'Searches the parameters with which an algorithm learns a table best, and trains a new version of a model with them.
The result is the leaderboard, the best trial first; damson.trials and damson.leaderboard keep it. space is a JSON
object of parameters: {"int": [15, 255]} and {"float": [0.01, 0.3], "log": true} are ranges, ["a", "b"] a list; ranges
may also have "step" (whole numbers) and "points" (values that a grid takes, 5). A name like "preprocess.scale" searches
an option of preprocessing. Without a space the algorithm has a default one. method is tpe (points that resemble the good
ones so far), random, grid, halving or hyperband (many points on little of the resource, the best of them on more, one
of factor each time); resource is rows or a whole-number parameter such as n_estimators. trials is how many points are
tried: 30, or all of a grid or of Hyperband. Each trial is cross-validated on the same folds, with preprocessing learnt
anew in each, and compared by metric, the task''s main one by default. A trial that fails is recorded, and the search
goes on. After time_limit seconds no trial begins or goes on; without one the same rows, arguments and seed give the
same trials and the same model. The winner''s value flatters it: split holds rows out of the whole search, and
outer_folds of 2 or more repeat the search in each of them, to say how good its winner really is. resume continues an
earlier search of the same model with the same arguments, but for trials and time_limit, without repeating its trials.
The other arguments are those of damson.train.
Example: SELECT * FROM damson.search(''churn'', ''customers'', target => ''churned'', space => ''{"num_leaves": {"int": [7, 127], "log": true}}'', trials => 20);';
"#)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // They are those of the SQL function.
fn search(
    model: Text,
    source: Text,
    target: Option<Text>,
    algorithm: Option<Text>,
    space: Option<Text>,
    method: Option<Text>,
    trials: Option<i64>,
    folds: Option<i64>,
    metric: Option<Text>,
    time_limit: Option<f64>,
    resource: Option<Text>,
    factor: Option<i64>,
    outer_folds: Option<i64>,
    resume: Option<bool>,
    params: Option<Text>,
    preprocess: Option<Text>,
    features: Option<TextArray>,
    weight: Option<Text>,
    task: Option<Text>,
    split: Option<Text>,
    test_size: Option<f64>,
    time_column: Option<Text>,
    offset_column: Option<Text>,
    group_column: Option<Text>,
    class_weight: Option<Text>,
    seed: Option<i64>,
    description: Option<Text>,
    key_column: Option<Text>,
) -> TableIterator<
    'static,
    (
        name!(rank, i64),
        name!(trial, i64),
        name!(params, Text),
        name!(resource, i64),
        name!(metric, Text),
        name!(value, Option<f64>),
        name!(std, Option<f64>),
        name!(seconds, f64),
        name!(status, Text),
        name!(error, Option<Text>),
    ),
> {
    let (found, ranking) = answer(|| {
        let clock = Instant::now();
        let features = features.map(|f| f.without_nulls("features")).transpose()?;
        let given = json!({
            "target": target.as_deref(), "algorithm": algorithm.as_deref(), "space": space.as_deref().map(document),
            "method": method.as_deref(), "trials": trials, "folds": folds, "metric": metric.as_deref(),
            "time_limit": time_limit, "resource": resource.as_deref(), "factor": factor, "outer_folds": outer_folds,
            "resume": resume, "params": params.as_deref().map(document),
            "preprocess": preprocess.as_deref().map(document), "features": features, "weight": weight.as_deref(),
            "task": task.as_deref(), "split": split.as_deref(), "test_size": test_size,
            "time_column": time_column.as_deref(), "offset_column": offset_column.as_deref(),
            "group_column": group_column.as_deref(), "class_weight": class_weight.as_deref().map(document),
            "seed": seed, "key_column": key_column.as_deref(),
        });
        let text = |t: Option<Text>| t.map(|t| t.0);
        let method = text(method).unwrap_or_else(|| "tpe".into());
        let request = Request {
            algorithm: text(algorithm).unwrap_or_else(|| "boosting".into()),
            params: text(params).unwrap_or_else(|| "{}".into()),
            preprocess: text(preprocess).unwrap_or_else(|| "{}".into()),
            target: text(target),
            task: task.as_deref().map(parse_task).transpose()?,
            features,
            weight: text(weight),
            offset: text(offset_column),
            group: text(group_column),
            decision: Options { class_weight: text(class_weight), ..Options::default() },
            split: parse_split(split.as_deref(), test_size.unwrap_or(0.2), false)?,
            time_column: text(time_column),
            folds: 0,
            // Any number will do as a seed; negative ones keep their bits.
            seed: seed.unwrap_or(0) as u64,
            key: text(key_column),
            max_memory: settings::max_memory(),
            threads: settings::threads(),
            ..Request::default()
        };
        let mut plan = Plan {
            method: Method::parse(&method)?,
            space: text(space),
            trials: trials.map(|n| count("trials", n)).transpose()?,
            folds: count("folds", folds.unwrap_or(3))?,
            given_folds: None,
            metric: text(metric),
            time_limit,
            outer_folds: count("outer_folds", outer_folds.unwrap_or(0))?,
            resource: text(resource),
            factor: count("factor", factor.unwrap_or(3))?,
            known: None,
        };
        let name = reference::model_name(&model)?;
        // What can be refused is refused before any row is read.
        check(&request, &plan)?;
        check_runner()?;
        let known_task = models::check_trainable(name)?;
        if resume == Some(true) {
            plan.known = Some(trials::earlier(name, &source, &without_nulls(given.clone()))?);
        }
        let (found, learnt) = on_threads(
            name,
            &source,
            &request,
            |frame| match known_task {
                Some(known) => check_task(name, known, engine::train::task(frame, &request)?),
                None => Ok(()),
            },
            |frame, cx| search_rows(frame, &request, &plan, cx),
        )?;
        let ranking = found.ranking();
        let origin = Origin {
            model: name,
            source: &source,
            description: description.as_deref(),
            given,
            parent: None,
            clock,
        };
        let (found, _) = register(origin, &method, found, learnt)?;
        Ok((found, ranking))
    });
    let rows: Vec<_> = (1..)
        .zip(ranking)
        .map(|(rank, place)| {
            let t = &found.trials[place];
            (
                rank,
                t.number as i64,
                searched(&t.params, &t.preprocess).into(),
                t.resource as i64,
                found.goal.metric.as_str().into(),
                t.value,
                t.std,
                t.seconds,
                t.status.name().into(),
                t.error.as_deref().map(Text::from),
            )
        })
        .collect();
    TableIterator::new(rows)
}

/// Trains by `algorithm => 'auto'`: a search over algorithms, whose winner is registered under its own name.
pub(super) fn automatic(origin: Origin, request: &Request) -> Result<Outcome> {
    auto::check(request)?;
    check_runner()?;
    let model = origin.model;
    let known_task = models::check_trainable(model)?;
    let (found, learnt) = on_threads(
        model,
        origin.source,
        request,
        |frame| match known_task {
            Some(known) => check_task(model, known, auto::task(frame, request)?),
            None => Ok(()),
        },
        |frame, cx| auto::search(frame, request, cx),
    )?;
    Ok(register(origin, auto::NAME, found, learnt)?.1)
}

/// What a search found, but for the winner, which is to be registered.
struct Leaderboard {
    trials: Vec<engine::search::Trial>,
    goal: engine::search::metric::Goal,
}

/// Reads the rows and searches on threads; gives what was found, and the winner as a training's outcome.
fn on_threads(
    model: &str,
    source: &str,
    request: &Request,
    check_target: impl FnOnce(&Frame) -> engine::Result<()> + Send,
    job: impl FnOnce(&Frame, &Cx) -> engine::Result<Found> + Send,
) -> Result<(Found, Learnt)> {
    let clock = Instant::now();
    let reading = Reading::of(source)?;
    let frame = match wanted(request) {
        Some(columns) => query::read(source, Wanted::Only(&columns), request.max_memory)?,
        None => query::read(source, Wanted::All, request.max_memory)?,
    };
    let read_seconds = clock.elapsed().as_secs_f64();
    let title = work::Title { verb: "search", object: model };
    let work::Finished { value: found, warnings, .. } = work::run(title, request.seed, |cx| {
        check_target(&frame)?;
        job(&frame, cx)
    })?;
    let trained = found.trained.clone();
    Ok((found, Learnt { trained, warnings, read_seconds, reading, runner: Runner::Threads }))
}

/// Registers the winner, and records the trials beside it.
fn register(origin: Origin, method: &str, found: Found, learnt: Learnt) -> Result<(Leaderboard, Outcome)> {
    let model = origin.model;
    let outcome = keep(origin, learnt)?;
    let Found { trials, best, goal, limited, .. } = found;
    let search = Search {
        method,
        metric: &goal.metric,
        larger_is_better: goal.larger_is_better,
        best: best + 1,
        limited,
        trials: &trials,
    };
    trials::record(model, outcome.1, &search)?;
    Ok((Leaderboard { trials, goal }, outcome))
}

/// A search holds its rows in memory: trials by rounds of an aggregate would read them hundreds of times.
fn check_runner() -> Result<()> {
    match settings::runner() {
        Runner::Threads => Ok(()),
        Runner::Aggregate => Err(Error::new(Kind::Unsupported, "a search does not run in an aggregate")
            .hint("SET damson.runner = 'threads'; it reads the rows into memory once.")),
    }
}

/// Parameters and options of preprocessing in one object, named as in a space.
fn searched(params: &Value, preprocess: &Value) -> String {
    let mut all = params.as_object().cloned().unwrap_or_default();
    for (name, value) in preprocess.as_object().into_iter().flatten() {
        all.insert(format!("preprocess.{name}"), value.clone());
    }
    Value::Object(all).to_string()
}

fn without_nulls(mut given: Value) -> Value {
    if let Value::Object(given) = &mut given {
        given.retain(|_, v| !v.is_null());
    }
    given
}

fn count(name: &str, found: i64) -> Result<usize> {
    usize::try_from(found).map_err(|_| refused(format!("{name} is {found}, expected 0 or more")))
}
