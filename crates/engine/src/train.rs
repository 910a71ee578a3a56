//! Training, whole: from a frame and a request to an artifact with its metrics.
//!
//! read target → hold rows out → learn preprocessing on the training rows → fit → measure → pack. With folds, the
//! same on each fold first; then the model is fitted on all rows.

mod forecast;
mod recorder;
mod setting;

pub(crate) use forecast::Forecast;
pub use forecast::overflow;
pub(crate) use setting::{Fitted, Recipe, Setting, TimeValues, check_memory, some_rows};

use self::recorder::Recorder;
use self::setting::{Judged, read_target};
use crate::algorithms;
use crate::artifact::{self, Card};
use crate::decision;
use crate::drift::Baseline;
use crate::error::{Error, Kind, Result};
use crate::evaluation::figures::{self, Figures, Part};
use crate::frame::{Frame, Selection};
use crate::groups::{self, UnknownGroup};
use crate::init_model::InitModel;
use crate::learner::Cx;
use crate::lineage::Facts;
use crate::metrics;
use crate::params::Values;
use crate::prepare::options::Options;
use crate::schema::Task;
use crate::split::{self, Split};
use crate::stream::{Source, Stream};
use crate::survey::Survey;
use crate::target::Target;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What to train. As JSON it is kept with a version, so that the training can be repeated.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Request {
    /// The algorithm's name.
    pub algorithm: String,
    /// Its parameters, a JSON object.
    pub params: String,
    /// Options of preprocessing, a JSON object.
    pub preprocess: String,
    /// The target column; none for clustering.
    pub target: Option<String>,
    /// The task, where the target's type leaves it open.
    pub task: Option<Task>,
    /// The columns to learn from, in the order in which scalars will be bound; none for all that have no other role.
    pub features: Option<Vec<String>>,
    /// A column of row weights.
    pub weight: Option<String>,
    /// A column of offsets of the linear predictor.
    pub offset: Option<String>,
    /// A column of groups: queries to rank within, clusters of dependent rows.
    pub group: Option<String>,
    /// What classes weigh, and how probabilities become decisions.
    pub decision: decision::Options,
    /// Columns that deal the rows to groups with a model each; none for one model.
    pub group_by: Vec<String>,
    /// What rows of other groups are answered, with `group_by`.
    pub unknown_group: Option<UnknownGroup>,
    /// How rows are held out.
    pub split: Split,
    /// The column that `Split::Time` orders by.
    pub time_column: Option<String>,
    /// Folds of cross-validation, or 0.
    pub folds: usize,
    /// The seed of all randomness.
    pub seed: u64,
    /// A column of row keys, by which [`Membership`](crate::lineage::Membership) remembers the training rows.
    pub key: Option<String>,
    /// Bytes that the frame and the training may take.
    #[serde(skip, default = "no_limit")]
    pub max_memory: u64,
    /// Threads of the training, for the forecast of its memory.
    #[serde(skip, default = "cores")]
    pub threads: usize,
    /// The model that the training goes on from; set by [`Request::go_on_from`].
    #[serde(skip)]
    pub init_model: Option<Arc<InitModel>>,
}

fn no_limit() -> u64 {
    u64::MAX
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

impl Request {
    /// All columns that have a role, so that none of them is a feature unless it is named as one.
    pub fn roles(&self) -> impl Iterator<Item = &String> {
        let Request { target, weight, offset, group, time_column, key, .. } = self;
        [target, weight, offset, group, time_column, key].into_iter().flatten().chain(&self.group_by)
    }

    /// The columns beside the features that have a part in what is learnt; the time where rows are split by it.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &String> {
        let Request { target, weight, offset, group, .. } = self;
        let time = self.time_column.as_ref().filter(|_| matches!(self.split, Split::Time { .. }));
        [target, weight, offset, group].into_iter().flatten().chain(&self.group_by).chain(time)
    }
}

impl Default for Request {
    /// Boosting with its defaults on all rows, without a target.
    fn default() -> Self {
        Request {
            algorithm: "boosting".into(),
            params: "{}".into(),
            preprocess: "{}".into(),
            target: None,
            task: None,
            features: None,
            weight: None,
            offset: None,
            group: None,
            decision: Default::default(),
            group_by: vec![],
            unknown_group: None,
            split: Split::None,
            time_column: None,
            folds: 0,
            seed: 0,
            key: None,
            max_memory: u64::MAX,
            threads: cores(),
            init_model: None,
        }
    }
}

/// A metric of a whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Of which rows: `train`, `test`, `cv` (the mean over folds), `cv_std`, or what the algorithm itself measured
    /// (`oob`).
    pub split: String,
    /// Its name, scikit-learn's.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// A metric of one round of training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoundMetric {
    /// The round, epoch or tree, from 1.
    pub round: usize,
    /// Its name, such as `train_loss`.
    pub name: String,
    /// Its value.
    pub value: f64,
}

/// A trained model with all that is known of its making.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The model, to store.
    pub artifact: Vec<u8>,
    /// What it is.
    pub card: Card,
    /// How good it is.
    pub metrics: Vec<Metric>,
    /// The one metric to show: the task's main one, on the rows that were not trained on where there are such.
    pub headline: Option<Metric>,
    /// How training went.
    pub rounds: Vec<RoundMetric>,
    /// What the rows were like, to tell later whether others still are.
    pub baseline: Baseline,
    /// What its answers look like for rows that it did not learn from, where there are such.
    pub figures: Option<Figures>,
    /// Seconds taken by preprocessing, fitting, measuring, and remembering what the rows were like.
    pub seconds: [(&'static str, f64); 4],
    /// What it was made of.
    pub facts: Facts,
}

/// Checks what can be checked before any row is read: the algorithm, its parameters, the options.
pub fn check(request: &Request) -> Result<()> {
    let algorithm = algorithms::find(&request.algorithm)?;
    let info = algorithm.info();
    Values::parse(info.name, info.params, &request.params)?;
    Options::parse(&request.preprocess, info.input)?;
    request.decision.check()?;
    let decision::Options { class_weight: _, ref threshold, ref calibration, ref conformal, .. } =
        request.decision;
    if !request.group_by.is_empty() && (threshold.is_some() || calibration.is_some() || conformal.is_some()) {
        let message = "models by group do not learn thresholds, calibration and conformal prediction";
        return Err(Error::new(Kind::Unsupported, message).hint("Leave them out, or train without group_by."));
    }
    if request.target.is_none() {
        info.unsupervised()?;
    }
    if request.target.is_none() && (request.split != Split::None || request.folds > 0) {
        return Err(Error::new(
            Kind::Parameter,
            "without a target there is nothing to measure on held-out rows",
        )
        .hint("Use split => 'none' and no folds."));
    }
    if request.task == Some(Task::Ranking) && request.group.is_none() {
        return Err(Error::new(Kind::Parameter, "a ranking needs a column of groups to rank within")
            .hint("Name the column of queries: group_column => 'query'."));
    }
    if matches!(request.split, Split::Time { .. }) && request.time_column.is_none() {
        return Err(Error::new(Kind::Parameter, "a split by time needs a time column")
            .hint("Name it: time_column => 'column'."));
    }
    groups::train::check(request)?;
    if let Some(init) = &request.init_model {
        init.check(request)?;
    }
    if request.folds == 1 || request.folds > 100 {
        return Err(Error::new(
            Kind::Parameter,
            format!("folds is {}, expected 0 or 2 .. 100", request.folds),
        ));
    }
    if request.folds > 0 && request.split != Split::None {
        return Err(Error::new(Kind::Parameter, "cross-validation and a hold-out split exclude each other")
            .hint("Use split => 'none' with folds: each row is tested once, and the model is fitted on all rows."));
    }
    Ok(())
}

/// The task that `train` would find, from the target alone.
///
/// # Errors
/// Those of `train` about the algorithm and the target.
pub fn task(frame: &Frame, request: &Request) -> Result<Task> {
    Ok(read_target(frame, request, algorithms::find(&request.algorithm)?)?.task)
}

/// Trains a model on the current rayon pool.
///
/// # Errors
/// Everything that the request, the data or the algorithm can be wrong about; nothing is kept of a failed training.
pub fn train(frame: Frame, request: &Request, cx: &Cx) -> Result<Trained> {
    train_surveyed(frame, &Survey::default(), request, cx)
}

/// The same, with what was found out while the rows came in. It changes the time that training takes, and nothing else.
///
/// # Errors
/// As `train`.
pub fn train_surveyed(frame: Frame, survey: &Survey, request: &Request, cx: &Cx) -> Result<Trained> {
    train_over(frame, survey, None, request, cx)
}

/// The same, of a frame whose columns may be away, to be read from a source again: those of [`crate::stream::away`].
/// The model is the same, bit by bit.
///
/// # Errors
/// As `train`; those of the source.
pub fn train_over(
    mut frame: Frame,
    survey: &Survey,
    source: Option<&dyn Source>,
    request: &Request,
    cx: &Cx,
) -> Result<Trained> {
    check(request)?;
    let recipe = Recipe::parse(&request.algorithm, &request.params, &request.preprocess)?;
    let Some(mut stream) = Stream::of(&frame, survey, source)? else {
        return train_in(&Setting::read(&frame, request, recipe.algorithm, survey)?, &recipe, cx);
    };
    let target = read_target(&frame, request, recipe.algorithm)?;
    if let Some(name) = &request.target {
        let column = frame.position(name)?;
        stream.let_go(&mut frame.columns[column], column, !target.classes.is_empty(), cx)?;
    }
    let setting = Setting::over(&frame, request, recipe.algorithm, survey, target, &stream)?;
    train_in(&setting, &recipe, cx)
}

/// Trains by a recipe on rows that were read: holds out and cross-validates as the request says.
pub(crate) fn train_in(setting: &Setting, recipe: &Recipe, cx: &Cx) -> Result<Trained> {
    let (frame, request, info) = (setting.frame, setting.request, recipe.algorithm.info());
    setting.check(recipe)?;
    if !request.group_by.is_empty() {
        return groups::train::train(setting, recipe, cx);
    }
    let recorder = Recorder::of(setting, cx)?;
    let cx = &Cx { observer: &recorder, ..*cx };
    let classes = setting.target.classes.len();

    let mut metrics = vec![];
    let mut measured = 0.0;
    let mut out_of_fold = figures::Rows::default();
    if request.folds > 0 {
        let folds = setting.folds(request.folds)?;
        let mut all: Vec<Vec<(String, f64)>> = vec![];
        for (i, test) in folds.iter().enumerate() {
            cx.observer.progress(i, request.folds, "fold");
            let left = split::others(frame.rows, test);
            let fitted = setting.fit(recipe, (&left).into(), cx)?;
            let start = Instant::now();
            let judged = setting.judged(recipe, &fitted, test.into(), cx)?;
            setting.draw(test, &judged.scores, figures::DRAWN / request.folds, &mut out_of_fold);
            all.push(judged.metrics);
            measured += start.elapsed().as_secs_f64();
        }
        metrics.extend(summarise_folds(&all));
    }
    let parts = setting.held_out()?;
    let (train, test) = match &parts {
        Some(parts) => (Selection::from(&parts.train), Selection::from(&parts.test)),
        None => (Selection::All(frame.rows), Selection::All(0)),
    };
    recorder.on.store(true, Ordering::Relaxed);
    let mut fitted = setting.fit(recipe, train, cx)?;
    recorder.on.store(false, Ordering::Relaxed);

    let start = Instant::now();
    let (name, rows) = if test.is_empty() { ("train", train) } else { ("test", test) };
    // Rows that a decision was learnt from were not fitted to: then all are scored.
    let known = fitted.outputs.take().filter(|o| name == "train" && o.len() == rows.len() * classes.max(1));
    let Judged { metrics: found, predictions, scores } = match known {
        Some(outputs) => setting.judge(&fitted, rows, outputs),
        None => setting.judged(recipe, &fitted, rows, cx)?,
    };
    let held_out = match (name, setting.target.task.supervised()) {
        ("test", true) => setting.rows(rows, scores),
        _ => figures::Rows::default(),
    };
    let (drawn, part) = match held_out.y.is_empty() {
        true => (out_of_fold, Part::Folds),
        false => (held_out, Part::Test),
    };
    let Target { task, classes: labels, .. } = &setting.target;
    let figures = drawn.figures(*task, labels, &fitted.decision, part, &found);
    metrics.extend(found.into_iter().map(|(metric, value)| Metric {
        split: name.into(),
        name: metric,
        value,
    }));
    let own = recipe.algorithm.load(&fitted.payload, &fitted.schema)?.estimates();
    metrics.extend(own.into_iter().map(|(split, name, value)| Metric { split, name, value }));
    measured += start.elapsed().as_secs_f64();

    let facts = Facts::of(setting, recipe, train, cx)?;
    let card = Card {
        algorithm: info.name.into(),
        algorithm_version: info.version,
        task: setting.target.task,
        target: request.target.clone(),
        offset: request.offset.clone(),
        group: request.group.clone(),
        group_by: 0,
        unknown_group: UnknownGroup::default(),
        classes: setting.target.classes.clone(),
        decision: fitted.decision.clone(),
        inputs: fitted.prepared.inputs.clone(),
        params: recipe.params.to_json().to_string(),
        preprocess: recipe.options.values.to_json().to_string(),
        seed: request.seed,
        train_rows: fitted.schema.rows as u64,
        test_rows: test.len() as u64,
        fingerprint: facts.digest.fingerprint(),
        engine_version: env!("CARGO_PKG_VERSION").into(),
    };
    let artifact = artifact::pack(&card, &fitted.prepared, &fitted.payload)?;
    let start = Instant::now();
    let baseline = setting.baseline(&predictions, cx)?;
    let remembered = start.elapsed().as_secs_f64();
    let rounds = recorder.rounds.into_inner().unwrap_or_else(|e| e.into_inner());
    let headline = headline(setting.target.task, classes, &metrics);
    let seconds = [
        ("prepare", fitted.prepare_seconds),
        ("fit", fitted.fit_seconds),
        ("evaluate", measured),
        ("baseline", remembered),
    ];
    Ok(Trained { artifact, card, metrics, headline, rounds, baseline, figures, seconds, facts })
}

/// Means and standard deviations over folds, of the metrics that every fold has.
pub(crate) fn summarise_folds(folds: &[Vec<(String, f64)>]) -> Vec<Metric> {
    let mut out = vec![];
    for (name, _) in folds.first().into_iter().flatten() {
        let values: Vec<f64> =
            folds.iter().filter_map(|f| f.iter().find(|(n, _)| n == name).map(|(_, v)| *v)).collect();
        if values.len() == folds.len() {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / values.len() as f64;
            out.push(Metric { split: "cv".into(), name: name.clone(), value: mean });
            out.push(Metric { split: "cv_std".into(), name: name.clone(), value: variance.sqrt() });
        }
    }
    out
}

/// The task's main metric, on held-out rows where there are such; where the data leave it undefined, the first that
/// is defined.
pub(crate) fn headline(task: Task, classes: usize, metrics: &[Metric]) -> Option<Metric> {
    let main = metrics::headline(task, classes).name;
    let of = |split: &str| {
        let mut there = metrics.iter().filter(|m| m.split == split);
        let first = there.clone().next();
        there.find(|m| m.name == main).or(first).cloned()
    };
    ["test", "cv", "train"].into_iter().find_map(of)
}
