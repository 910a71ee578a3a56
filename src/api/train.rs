//! `damson.train`: rows in, a registered version out.

use crate::catalog::queue::{self, Terms, Work};
use crate::catalog::versions::{Metric, Run, Training, Version, register};
use crate::catalog::{lineage, models, parent, reference};
use crate::pg::checkpoints::{self, Keeper};
use crate::pg::datum::{Text, TextArray};
use crate::pg::error::{Error, Result, answer};
use crate::pg::query::{self, Wanted};
use crate::pg::reads::Reading;
use crate::pg::settings::Runner;
use crate::pg::{error, folding, settings, work};
use engine::Kind;
use engine::decision::Options;
use engine::fold::train_folded;
use engine::groups::UnknownGroup;
use engine::init_model::InitModel;
use engine::learner::{Cx, Observer};
use engine::schema::Task;
use engine::split::Split;
use engine::stream::Source;
use engine::train::{Request, Trained};
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What `train` was called with. An argument that is NULL has its default.
struct Call {
    model: String,
    source: String,
    description: Option<String>,
    /// The model to go on from.
    init_model: Option<String>,
    /// Whether to go on from a checkpoint.
    resume: bool,
    request: Request,
    /// The arguments that were given, for the run.
    given: Value,
}

pub(super) type Outcome = (String, i64, String, String, i64, i64, Option<String>, Option<f64>, f64);

#[pg_extern(sql = r#"
CREATE FUNCTION damson.train(
    model text,
    source text,
    target text DEFAULT NULL,
    algorithm text DEFAULT 'boosting',
    params text DEFAULT '{}',
    preprocess text DEFAULT '{}',
    features text[] DEFAULT NULL,
    weight text DEFAULT NULL,
    task text DEFAULT NULL,
    split text DEFAULT NULL,
    test_size double precision DEFAULT 0.2,
    time_column text DEFAULT NULL,
    offset_column text DEFAULT NULL,
    group_column text DEFAULT NULL,
    class_weight text DEFAULT NULL,
    threshold text DEFAULT NULL,
    calibration text DEFAULT NULL,
    conformal double precision DEFAULT NULL,
    calibration_size double precision DEFAULT NULL,
    group_by text[] DEFAULT NULL,
    unknown_group text DEFAULT NULL,
    folds bigint DEFAULT 0,
    seed bigint DEFAULT 0,
    description text DEFAULT NULL,
    init_model text DEFAULT NULL,
    key_column text DEFAULT NULL,
    wait boolean DEFAULT true,
    resume boolean DEFAULT false)
RETURNS TABLE (
    model text, version bigint, algorithm text, task text, train_rows bigint, test_rows bigint,
    metric text, value double precision, seconds double precision, job bigint)
LANGUAGE c VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.train IS
'Trains a new version of a model, and the model itself when it is new.
source is a relation''s name or a SELECT; it is read with your rights. target is the column to predict (an array of
text is the set of a row''s labels, which a cnn learns); without one the model is unsupervised. params are the algorithm''s (see damson.parameters), preprocess says how missing
values, scales and categories are treated; both are JSON objects. features names the columns to learn from (all
others by default), weight a column of row weights, offset_column one that is added to the linear predictor (the log
of an exposure), group_column the group of each row: the query to rank within, or the cluster of dependent rows. task
is regression or classification where the target''s type leaves it open, or ranking, or multilabel for sets of labels.
With group_by, columns whose values deal the rows to groups, each group gets a model of its own, and all of them are
one version; NULL makes a group too. Those columns are the first inputs of the model, before the features, and choose
the group that scores a row. unknown_group says what rows of another group get: error (the default), null, or global,
a model of all rows. Groups that cannot be trained are left out with a warning and are then unknown; see damson.groups.
split holds rows out to test on: random (the default with a target), stratified, time (the latest
rows by time_column) or none; test_size is their share. With folds of 2 or more the model is cross-validated, then
fitted on all rows. The same rows, arguments and seed give the same model.
key_column names a column of row keys, whole numbers or text, which is no feature: damson.used_row then answers whether a
row trained the version. Two bytes a row are kept for that, 32 MiB at most, and no key.
algorithm auto searches over the algorithms that serve the task, for 60 seconds unless params say otherwise (see
damson.parameters(''auto'')); the best becomes the version, and damson.leaderboard shows all. folds are then those of
its trials.
Of a classification: class_weight is what the rows of a class weigh: balanced, or a JSON object of labels and weights.
threshold says how damson.classify decides: tuned for accuracy, balanced_accuracy, f1, mcc or youden; a number; or JSON
such as {"metric": "f1", "positive": "yes"}, {"precision_at_recall": 0.8}, {"recall_at_precision": 0.9},
{"cost": {"fp": 1, "fn": 10}} or {"cost": {"actual": {"decided": 10}}} for the least expected cost (costs that are not
given are 1, and 0 for the right class). calibration is sigmoid or isotonic. conformal, also of a regression, is the
coverage of damson.predict_lower and damson.predict_upper, or of damson.prediction_set.
Of sets of labels: class_weight is what the rows that have a label count in its loss (balanced: as much in all as those
without it), and threshold is a number, the least probability of each label that damson.labels gives.
Rows to test on serve for none of these. Threshold and calibration are learnt out of fold, which trains five models more;
with calibration_size from that share of the training rows, held out. conformal holds that share out too, 0.2 by default.
init_model, a model of boosting or cnn that is yours (name, name@alias or name@7), is gone on from: its trees come first,
and params count the rounds that are added; a network begins with its weights. Features, preprocessing and classes are that model''s, its objective must be
named again; damson.versions shows it as the parent. On the same rows, by the same params and seed, 100 rounds and
100 more are those of 200 at once.
Images of a cnn that have no room in damson.max_memory go to a temporary file, from which batches are read: the same model.
The first version of a model is deployed as production at once, later ones by damson.deploy.
With wait => false a job trains it in the background, once your transaction has committed: job is its number, all else is
NULL, and damson.jobs shows what became of it.
A cnn that is cancelled, fails or is ended by a crash leaves the checkpoint of an epoch, for the same role, arguments and
rows: with resume => true its training goes on there, to the same model as if it had not been broken off, or begins anew
with a notice where there is none (see damson.checkpoints). learning_rate and max_grad_norm may be others then. Jobs that
are begun again do so by themselves.
Example: SELECT * FROM damson.train(''churn'', ''customers'', target => ''churned'', params => ''{"trees": 300}'');';
"#)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)] // They are those of the SQL function.
fn train(
    model: Text,
    source: Text,
    target: Option<Text>,
    algorithm: Option<Text>,
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
    threshold: Option<Text>,
    calibration: Option<Text>,
    conformal: Option<f64>,
    calibration_size: Option<f64>,
    group_by: Option<TextArray>,
    unknown_group: Option<Text>,
    folds: Option<i64>,
    seed: Option<i64>,
    description: Option<Text>,
    init_model: Option<Text>,
    key_column: Option<Text>,
    wait: Option<bool>,
    resume: Option<bool>,
) -> TableIterator<
    'static,
    (
        name!(model, Text),
        name!(version, Option<i64>),
        name!(algorithm, Option<Text>),
        name!(task, Option<Text>),
        name!(train_rows, Option<i64>),
        name!(test_rows, Option<i64>),
        name!(metric, Option<Text>),
        name!(value, Option<f64>),
        name!(seconds, Option<f64>),
        name!(job, Option<i64>),
    ),
> {
    let name = model.clone();
    let done = answer(|| {
        let features = features.map(|f| f.without_nulls("features")).transpose()?;
        let group_by = group_by.map(|g| g.without_nulls("group_by")).transpose()?;
        if group_by.as_ref().is_some_and(|g| g.is_empty()) {
            return Err(refused("group_by is empty, expected one or more column names".into()));
        }
        let given = json!({
            "target": target.as_deref(), "algorithm": algorithm.as_deref(), "params": params.as_deref().map(document),
            "preprocess": preprocess.as_deref().map(document), "features": features, "weight": weight.as_deref(),
            "task": task.as_deref(), "split": split.as_deref(), "test_size": test_size,
            "time_column": time_column.as_deref(), "offset_column": offset_column.as_deref(),
            "group_column": group_column.as_deref(), "class_weight": class_weight.as_deref().map(document),
            "threshold": threshold.as_deref().map(document), "calibration": calibration.as_deref(),
            "conformal": conformal, "calibration_size": calibration_size,
            "group_by": group_by, "unknown_group": unknown_group.as_deref(), "folds": folds, "seed": seed,
            "key_column": key_column.as_deref(),
        });
        let text = |t: Option<Text>| t.map(|t| t.0);
        let folds = folds.unwrap_or(0);
        let supervised = target.is_some();
        let call = Call {
            model: model.0,
            source: source.0,
            description: text(description),
            init_model: text(init_model),
            resume: resume.unwrap_or(false),
            request: Request {
                algorithm: text(algorithm).unwrap_or_else(|| "boosting".into()),
                params: text(params).unwrap_or_else(|| "{}".into()),
                preprocess: text(preprocess).unwrap_or_else(|| "{}".into()),
                target: text(target),
                task: task.as_deref().map(parse_task).transpose()?,
                features,
                weight: text(weight),
                offset: text(offset_column),
                group: text(group_column),
                decision: Options {
                    class_weight: text(class_weight),
                    threshold: text(threshold),
                    calibration: text(calibration),
                    conformal,
                    calibration_size,
                },
                group_by: group_by.unwrap_or_default(),
                unknown_group: unknown_group.as_deref().map(parse_unknown_group).transpose()?,
                split: parse_split(split.as_deref(), test_size.unwrap_or(0.2), supervised && folds == 0)?,
                time_column: text(time_column),
                folds: usize::try_from(folds)
                    .map_err(|_| refused(format!("folds is {folds}, expected 0 or more")))?,
                // Any number will do as a seed; negative ones keep their bits.
                seed: seed.unwrap_or(0) as u64,
                key: text(key_column),
                max_memory: settings::max_memory(),
                threads: settings::threads(),
                init_model: None,
            },
            given,
        };
        if wait.unwrap_or(true) { run(call).map(Ok) } else { later(call).map(Err) }
    });
    let row = match done {
        Ok((model, version, algorithm, task, train_rows, test_rows, metric, value, seconds)) => (
            model.into(),
            Some(version),
            Some(algorithm.into()),
            Some(task.into()),
            Some(train_rows),
            Some(test_rows),
            metric.map(Text),
            value,
            Some(seconds),
            None,
        ),
        Err(job) => (name, None, None, None, None, None, None, None, None, Some(job)),
    };
    TableIterator::once(row)
}

/// Submits a training as a job, after the checks that need no rows. Gives the job's number.
fn later(call: Call) -> Result<i64> {
    let model = reference::model_name(&call.model)?;
    match &call.init_model {
        Some(init_model) => drop(parent::find(init_model)?),
        None if call.request.algorithm == engine::search::auto::NAME => {}
        None => engine::train::check(&call.request)?,
    }
    models::check_trainable(model)?;
    let mut arguments = call.given.clone();
    if call.resume {
        checkpoints::check(&call.request)?;
        arguments["resume"] = true.into();
    }
    arguments["init_model"] = call.init_model.as_deref().into();
    arguments["model"] = model.into();
    arguments["source"] = call.source.as_str().into();
    arguments["description"] = call.description.as_deref().into();
    let command = json!({ "with": arguments });
    queue::submit(&Work { kind: "train", about: Some(model), command: &command }, Terms::default())
}

/// What was learnt, however it was.
pub(super) struct Learnt {
    pub(super) trained: Trained,
    pub(super) warnings: Vec<String>,
    pub(super) read_seconds: f64,
    pub(super) reading: Reading,
    pub(super) runner: Runner,
}

/// Of which call a training is.
pub(super) struct Origin<'a> {
    pub(super) model: &'a str,
    pub(super) source: &'a str,
    pub(super) description: Option<&'a str>,
    /// The arguments that were given, for the run.
    pub(super) given: Value,
    /// The row of the version that it goes on from.
    pub(super) parent: Option<i64>,
    /// When the call began.
    pub(super) clock: Instant,
}

/// Reads the rows into memory and trains on threads.
pub(super) fn on_threads(
    model: &str,
    source: &str,
    request: &Request,
    known: Option<Task>,
    keeper: Option<&Keeper>,
) -> Result<Learnt> {
    let clock = Instant::now();
    let reading = Reading::of(source)?;
    let wanted = wanted(request);
    let mut repeatable = reading.repeatable;
    loop {
        let wanted = wanted.as_ref().map_or(Wanted::All, |columns| Wanted::Only(columns));
        let rows = query::read_to_train(source, wanted, request, repeatable)?;
        // The file of images, if any, lasts until the work is done.
        let query::Rows { frame, survey, file: _file, again } = rows;
        let read_seconds = clock.elapsed().as_secs_f64();
        let title = work::Title { verb: "train", object: model };
        let found = work::run_with_main(title, request.seed, |cx, main| {
            if let Some(known) = known {
                check_task(model, known, engine::train::task(&frame, request)?)?;
            }
            if let Some(again) = &again {
                again.read_by(main);
            }
            let source = again.as_ref().map(|again| again as &dyn Source);
            match keeper {
                Some(keeper) => {
                    keeper.watch(cx, |cx| engine::train::train_over(frame, &survey, source, request, cx))
                }
                None => engine::train::train_over(frame, &survey, source, request, cx),
            }
        });
        match found {
            Err(e) if repeatable && again.is_some_and(|again| again.given_up()) => {
                error::warn(&format!("{}; its rows are held now", e.message));
                repeatable = false;
            }
            found => {
                let work::Finished { value: trained, warnings, .. } = found?;
                return Ok(Learnt { trained, warnings, read_seconds, reading, runner: Runner::Threads });
            }
        }
    }
}

/// Trains by rounds of an aggregate over the source.
pub(super) fn in_aggregate(
    model: &str,
    source: &str,
    request: &Request,
    known: Option<Task>,
) -> Result<Learnt> {
    let reading = Reading::of(source)?;
    let columns = folding::columns(source, request.target.as_deref())?;
    let watch = Warnings::default();
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: request.seed, stop: &stop, observer: &watch };
    // An error of the server travels as a panic; one of ours must keep its code through the engine.
    let mut failed = None;
    let mut pass = |order: &[u8]| {
        folding::pass(source, order).map_err(|e| {
            let stopped = engine::Error::internal(e.message.clone());
            failed = Some(e);
            stopped
        })
    };
    let trained = train_folded(&columns, request, &mut pass, &cx);
    if let Some(e) = failed {
        return Err(e);
    }
    let trained = trained?;
    if let Some(known) = known {
        check_task(model, known, trained.card.task)?;
    }
    let warnings = watch.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    warnings.iter().for_each(|w| error::warn(w));
    Ok(Learnt { trained, warnings, read_seconds: 0.0, reading, runner: Runner::Aggregate })
}

/// Keeps warnings.
#[derive(Default)]
struct Warnings(Mutex<Vec<String>>);

impl Observer for Warnings {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(message.to_string());
    }
}

fn run(call: Call) -> Result<Outcome> {
    let Call { model, source, description, init_model, resume, mut request, mut given } = call;
    let clock = Instant::now();
    let model = reference::model_name(&model)?;
    let mut parent = None;
    if let Some(init_model) = init_model {
        let found = parent::find(&init_model)?;
        request.go_on_from(InitModel::open(&found.name, &found.artifact)?)?;
        given["init_model"] = found.name.into();
        parent = found.id;
    }
    let origin = Origin { model, source: &source, description: description.as_deref(), given, parent, clock };
    if resume {
        checkpoints::check(&request)?;
    }
    if request.algorithm == engine::search::auto::NAME {
        return super::search::automatic(origin, &request);
    }
    // What can be refused is refused before any row is read.
    engine::train::check(&request)?;
    let known = models::check_trainable(model)?;
    let learnt = match settings::runner() {
        Runner::Threads => {
            let mut keeper = Keeper::of(model, &source, &request)?;
            if let Some(keeper) = keeper.as_mut().filter(|_| resume) {
                keeper.find();
            }
            let learnt = on_threads(model, &source, &request, known, keeper.as_ref())?;
            keeper.iter().for_each(Keeper::remove_at_commit);
            learnt
        }
        Runner::Aggregate => in_aggregate(model, &source, &request, known)?,
    };
    keep(origin, learnt)
}

/// Registers what was learnt as a new version.
pub(super) fn keep(origin: Origin, learnt: Learnt) -> Result<Outcome> {
    let Origin { model, source, description, mut given, parent, clock } = origin;
    let Learnt { trained, warnings, read_seconds, reading, runner } = learnt;
    let key_column = given["key_column"].as_str().map(String::from);
    let Trained { artifact, card, .. } = &trained;
    let headline = trained.headline.as_ref();
    let mut timings = json!({"read": rounded(read_seconds)});
    for (phase, seconds) in &trained.seconds {
        timings[*phase] = json!(rounded(*seconds));
    }
    timings["lineage"] = json!(rounded(reading.seconds + trained.facts.seconds));
    if let Value::Object(given) = &mut given {
        given.retain(|_, v| !v.is_null());
    }
    let (train_rows, test_rows) = (card.train_rows as i64, card.test_rows as i64);
    let version = register(&Training {
        model,
        task: card.task.name(),
        description,
        run: Run {
            source,
            arguments: &given,
            seed: card.seed as i64,
            train_rows,
            test_rows,
            fingerprint: &card.fingerprint,
            code_version: &card.engine_version,
            timings: &timings,
            warnings: &warnings,
            seconds: clock.elapsed().as_secs_f64(),
            metrics: &measurements(&trained),
        },
        version: Version {
            algorithm: &card.algorithm,
            algorithm_version: i32::from(card.algorithm_version),
            params: &card.params,
            preprocess: &card.preprocess,
            target: card.target.as_deref(),
            features: card.features().iter().map(|i| i.name.clone()).collect(),
            classes: &card.classes,
            headline: headline.map(|m| (m.name.as_str(), m.value)),
            parent,
            artifact,
            sha256: &engine::artifact::sha256(artifact),
        },
        origin: lineage::Origin {
            reading: &reading,
            facts: &trained.facts,
            runner,
            key_column: key_column.as_deref(),
        },
        baseline: &trained.baseline,
        figures: trained.figures.as_ref(),
    })?;
    Ok((
        model.to_string(),
        version,
        card.algorithm.clone(),
        card.task.name().to_string(),
        train_rows,
        test_rows,
        headline.map(|m| m.name.clone()),
        headline.map(|m| m.value),
        rounded(clock.elapsed().as_secs_f64()),
    ))
}

/// The columns that have a role, where the caller chose the features; else all.
pub(super) fn wanted(request: &Request) -> Option<Vec<String>> {
    let mut columns: Vec<String> = vec![];
    for name in request.features.as_ref()?.iter().chain(request.roles()) {
        if !columns.contains(name) {
            columns.push(name.clone());
        }
    }
    Some(columns)
}

/// Refuses before the training what registering would refuse after it.
pub(super) fn check_task(model: &str, known: Task, found: Task) -> engine::Result<()> {
    if known == found { Ok(()) } else { Err(models::other_task(model, known.name(), found.name())) }
}

/// The finished model's metrics, then those by round. A round's metric says its split in its name (`train_loss`).
fn measurements(trained: &Trained) -> Vec<Metric> {
    let whole = trained.metrics.iter().map(|m| Metric {
        split: m.split.clone(),
        round: None,
        name: m.name.clone(),
        value: m.value,
    });
    let rounds = trained.rounds.iter().map(|m| Metric {
        split: "train".into(),
        round: Some(m.round as i64),
        name: m.name.clone(),
        value: m.value,
    });
    whole.chain(rounds).collect()
}

pub(super) fn parse_task(name: &str) -> Result<Task> {
    Task::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Task::ALL.iter().map(|t| t.name()).collect();
        refused(format!("task is \"{name}\", expected one of {}", known.join(", ")))
    })
}

fn parse_unknown_group(name: &str) -> Result<UnknownGroup> {
    UnknownGroup::parse(name)
        .ok_or_else(|| refused(format!("unknown_group is \"{name}\", expected error, null or global")))
}

pub(super) fn parse_split(name: Option<&str>, test_size: f64, hold_out: bool) -> Result<Split> {
    match name {
        Some("random") => Ok(Split::Random { test_size }),
        None if hold_out => Ok(Split::Random { test_size }),
        Some("stratified") => Ok(Split::Stratified { test_size }),
        Some("time") => Ok(Split::Time { test_size }),
        Some("none") | None => Ok(Split::None),
        Some(other) => {
            Err(refused(format!("split is \"{other}\", expected random, stratified, time or none")))
        }
    }
}

/// JSON as JSON; what is not JSON stays text until the engine refuses it.
pub(super) fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Seconds to the microsecond, for reading.
fn rounded(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e6
}

pub(super) fn refused(message: String) -> Error {
    Error::new(Kind::Parameter, message)
}
