//! The rows of a training with their roles, and what a recipe makes of them: dealing, preparing, fitting, scoring.

use super::{Forecast, Request};
use crate::algorithms;
use crate::decision::{Decision, Plan};
use crate::drift::Baseline;
use crate::drift::baseline::{Extents, Predictions};
use crate::error::{Error, Kind, Result};
use crate::evaluation::figures;
use crate::fingerprint::{Digest, digest};
use crate::frame::{Column, ColumnKind, Data, Frame, Selection, Value};
use crate::lean::Lean;
use crate::learner::{Algorithm, Cx, Input};
use crate::params::Values;
use crate::prepare::extent::Extent;
use crate::prepare::options::Options;
use crate::prepare::summary::{Moments, TargetColumns};
use crate::prepare::{FrameRows, Prepared, Roles};
use crate::roles;
use crate::schema::{Schema, Task};
use crate::scorer::{measure_unsupervised, score_all};
use crate::split::{self, Parts, Split, Times};
use crate::stream::Stream;
use crate::survey::Survey;
use crate::target::{self, Target};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;
use std::time::Instant;

/// What is done with the rows: an algorithm with its parameters, and the options of preprocessing.
#[derive(Clone)]
pub(crate) struct Recipe {
    pub(crate) algorithm: &'static dyn Algorithm,
    pub(crate) params: Values,
    pub(crate) options: Options,
}

impl Recipe {
    /// Checks both JSON objects against what the algorithm declares.
    pub(crate) fn parse(algorithm: &str, params: &str, preprocess: &str) -> Result<Recipe> {
        let algorithm = algorithms::find(algorithm)?;
        let info = algorithm.info();
        let params = Values::parse(info.name, info.params, params)?;
        Ok(Recipe { algorithm, params, options: Options::parse(preprocess, info.input)? })
    }
}

/// The rows with their roles: what is fixed before they are dealt, whatever recipe they are used in.
pub(crate) struct Setting<'a> {
    pub(crate) frame: &'a Frame,
    /// The features.
    pub(crate) columns: Vec<usize>,
    /// With its values, unless `lean` has them.
    pub(crate) target: Target,
    lean: Option<Lean>,
    pub(crate) weight: Vec<f64>,
    offset: Vec<f64>,
    group: Vec<u64>,
    pub(crate) plan: Plan,
    pub(crate) request: &'a Request,
    survey: &'a Survey,
    /// Where columns that are away come from.
    stream: Option<&'a Stream<'a>>,
    extents: Extents,
    digest: OnceLock<Digest>,
}

/// What was found out about a fitted model from some rows.
pub(super) struct Judged {
    pub(super) metrics: Vec<(String, f64)>,
    pub(super) predictions: Predictions,
    /// Its calibrated answers; empty for a model without a target.
    pub(super) scores: Vec<f64>,
}

impl Judged {
    fn new(metrics: Vec<(String, f64)>, predictions: Predictions) -> Judged {
        Judged { metrics, predictions, scores: vec![] }
    }
}

/// One fitted model.
pub(crate) struct Fitted {
    pub(super) prepared: Prepared,
    pub(super) schema: Schema,
    pub(super) payload: Vec<u8>,
    /// What the model answers for the rows it was fitted to, where the fit knew it.
    pub(super) outputs: Option<Vec<f64>>,
    pub(crate) decision: Decision,
    pub(super) prepare_seconds: f64,
    pub(crate) fit_seconds: f64,
}

impl<'a> Setting<'a> {
    /// Reads the roles of a frame's columns, for an algorithm that says what it can read and do. `survey` has what was
    /// found out while the rows came in.
    pub(crate) fn read(
        frame: &'a Frame,
        request: &'a Request,
        algorithm: &dyn Algorithm,
        survey: &'a Survey,
    ) -> Result<Setting<'a>> {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more")
                .hint("Run the source by itself to see why it is empty."));
        }
        let target = read_target(frame, request, algorithm)?;
        Setting::of(frame, request, algorithm, survey, target)
    }

    /// The same, of a target that was read.
    fn of(
        frame: &'a Frame,
        request: &'a Request,
        algorithm: &dyn Algorithm,
        survey: &'a Survey,
        target: Target,
    ) -> Result<Setting<'a>> {
        let setting = Setting {
            frame,
            columns: without_labels(frame, feature_columns(frame, request, algorithm.info().input)?)?,
            target,
            lean: None,
            weight: read_role(frame, &request.weight, roles::weight)?,
            offset: read_role(frame, &request.offset, roles::offset)?,
            group: read_role(frame, &request.group, roles::group)?,
            plan: request.decision.plan()?,
            request,
            survey,
            stream: None,
            extents: Extents::new(frame, survey),
            digest: OnceLock::new(),
        };
        request.decision.check_task(setting.target.task, &setting.target.classes)?;
        if matches!(request.split, Split::Stratified { .. }) && !setting.classifies() {
            return Err(Error::new(
                Kind::Parameter,
                format!("a stratified split needs classes, but this is a {}", setting.target.task.name()),
            )
            .hint("Use split => 'random'."));
        }
        Ok(setting)
    }

    /// As `read`, where columns are away and come from there. The target is held in as few bytes as it needs: it was read
    /// from the frame, which need not have it any more.
    pub(crate) fn over(
        frame: &'a Frame,
        request: &'a Request,
        algorithm: &dyn Algorithm,
        survey: &'a Survey,
        mut target: Target,
        stream: &'a Stream<'a>,
    ) -> Result<Setting<'a>> {
        let lean = Lean::from(&std::mem::take(&mut target.y)[..]);
        Ok(Setting {
            stream: Some(stream),
            lean: Some(lean),
            ..Setting::of(frame, request, algorithm, survey, target)?
        })
    }

    /// The target of each row, or none; made for the moment where it is not held like this.
    fn ys(&self) -> Cow<'_, [f64]> {
        match &self.lean {
            Some(lean) => lean.iter().collect::<Vec<f64>>().into(),
            None => (&self.target.y[..]).into(),
        }
    }

    /// The target of a row.
    pub(crate) fn y(&self, row: usize) -> f64 {
        self.lean.as_ref().map_or_else(|| self.target.y[row], |lean| lean.at(row))
    }

    /// Rows with a target: all or none.
    fn known(&self) -> usize {
        self.lean.as_ref().map_or(self.target.y.len(), Lean::len)
    }

    /// The targets of some rows.
    fn pick_y(&self, rows: Selection) -> Vec<f64> {
        if self.known() == 0 { vec![] } else { rows.iter().map(|row| self.y(row)).collect() }
    }

    /// The extent of a column of numbers, truth values or times.
    pub(crate) fn extent(&self, column: usize) -> Option<&Extent> {
        self.extents.at(self.frame, column)
    }

    /// The moments of a column of plain numbers.
    pub(crate) fn moments(&self, column: usize) -> Option<Moments> {
        self.extents.of_numbers(self.frame, column).map(|extent| extent.moments)
    }

    /// Refuses options for columns that are no features.
    pub(crate) fn check(&self, recipe: &Recipe) -> Result<()> {
        let feature = |n: &str| self.columns.iter().any(|c| self.frame.columns[*c].name == n);
        match recipe.options.named_columns().iter().find(|n| !feature(n)) {
            None => Ok(()),
            Some(unknown) => Err(Error::new(
                Kind::UnknownColumn,
                format!("preprocess names column \"{unknown}\", which is no feature"),
            )
            .hint("Its object \"columns\" has options for single features; those for all stand beside it.")),
        }
    }

    /// Whether there are classes.
    pub(crate) fn classifies(&self) -> bool {
        self.target.task == Task::Classification
    }

    /// The class of each row, where there are classes.
    pub(crate) fn labels(&self) -> Option<Cow<'_, [f64]>> {
        self.classifies().then(|| self.ys())
    }

    /// The rows to train on and those held out; none where all train.
    pub(super) fn held_out(&self) -> Result<Option<Parts>> {
        if self.request.split == Split::None {
            return split::countable(self.frame.rows).map(|_| None);
        }
        self.parts().map(Some)
    }

    /// The same, as lists in any case.
    pub(crate) fn parts(&self) -> Result<Parts> {
        let Setting { frame, request, .. } = self;
        let times = self.times()?;
        let times = times.as_ref().map(|t| match t {
            TimeValues::Whole(v) => Times::Whole(v),
            TimeValues::Numbers(v) => Times::Numbers(v),
        });
        if self.target.task != Task::Ranking {
            return request.split.apply(frame.rows, self.labels().as_deref(), times, request.seed);
        }
        // Whole queries are held out; one happened when its first row did.
        let queries = self.queries();
        let first = |q: &Vec<u32>| q.first().map_or(0, |row| *row as usize);
        let (mut whole, mut numbers) = (vec![], vec![]);
        let times = times.map(|times| match times {
            Times::Whole(v) => {
                whole.extend(queries.iter().map(|q| v[first(q)]));
                Times::Whole(&whole)
            }
            Times::Numbers(v) => {
                numbers.extend(queries.iter().map(|q| v[first(q)]));
                Times::Numbers(&numbers)
            }
        });
        let parts = request.split.apply(queries.len(), None, times, request.seed)?;
        Ok(Parts { train: rows_of(&queries, &parts.train), test: rows_of(&queries, &parts.test) })
    }

    /// The test parts of cross-validation: rows, or for a ranking the rows of whole queries.
    pub(crate) fn folds(&self, k: usize) -> Result<Vec<Vec<u32>>> {
        if self.target.task != Task::Ranking {
            return split::folds(self.frame.rows, k, self.labels().as_deref(), self.request.seed);
        }
        let queries = self.queries();
        let folds = split::folds(queries.len(), k, None, self.request.seed)?;
        Ok(folds.iter().map(|fold| rows_of(&queries, fold)).collect())
    }

    /// The rows of each query, in the order in which queries first appear.
    fn queries(&self) -> Vec<Vec<u32>> {
        let mut places = HashMap::new();
        let mut queries: Vec<Vec<u32>> = vec![];
        for (row, group) in self.group.iter().enumerate() {
            let place = *places.entry(group).or_insert(queries.len());
            queries.resize(queries.len().max(place + 1), vec![]);
            queries[place].push(row as u32);
        }
        queries
    }

    /// When each row happened, where the split asks.
    pub(crate) fn times(&self) -> Result<Option<TimeValues>> {
        match (&self.request.split, &self.request.time_column) {
            (Split::Time { .. }, Some(name)) => {
                read_times(&self.frame.columns[self.frame.position(name)?]).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Parts some rows; the parts are positions among these.
    pub(crate) fn split(&self, split: &Split, rows: &[u32], seed: u64) -> Result<Parts> {
        let these = Selection::Rows(rows);
        let times = self.times()?.map(|times| match times {
            TimeValues::Whole(v) => TimeValues::Whole(these.pick(&v)),
            TimeValues::Numbers(v) => TimeValues::Numbers(these.pick(&v)),
        });
        let times = times.as_ref().map(|t| match t {
            TimeValues::Whole(v) => Times::Whole(v),
            TimeValues::Numbers(v) => Times::Numbers(v),
        });
        let labels = self.classifies().then(|| self.pick_y(these));
        split.apply(rows.len(), labels.as_deref(), times, seed)
    }

    /// The columns that have a part in the training, each once.
    pub(crate) fn used(&self) -> Result<Vec<usize>> {
        let Setting { frame, request, .. } = self;
        let mut used = self.columns.clone();
        for name in request.parts() {
            let position = frame.position(name)?;
            if !used.contains(&position) {
                used.push(position);
            }
        }
        Ok(used)
    }

    /// What identifies the rows, in all columns that have a part in the training.
    pub(crate) fn digest(&self) -> Result<Digest> {
        if let Some(known) = self.digest.get() {
            return Ok(*known);
        }
        let used = self.used()?;
        let found = self.survey.digest(self.frame, &used);
        if found.is_none() && self.stream.is_some() {
            return Err(Error::internal("columns are away that were not digested"));
        }
        Ok(*self.digest.get_or_init(|| found.unwrap_or_else(|| digest(self.frame, &used))))
    }

    /// Learns preprocessing on some rows.
    fn prepare(&self, recipe: &Recipe, rows: Selection, cx: &Cx) -> Result<Prepared> {
        if let Some(init) = &self.request.init_model {
            return Ok(init.prepared.clone());
        }
        let classes = self.target.classes.len();
        // A set of labels is no number to take means of.
        let single = self.known() > 0 && self.target.sets.is_none();
        let y = if single { self.ys() } else { Cow::default() };
        let target = single.then_some(TargetColumns { y: &y, classes, seed: self.request.seed });
        let input = recipe.algorithm.info().input;
        let known = |column| self.moments(column);
        Prepared::fit(self.frame, &self.columns, rows, &recipe.options, input, target.as_ref(), known, cx)
    }

    /// What the algorithm of a recipe would know before its first row.
    pub(crate) fn schema(&self, recipe: &Recipe, rows: Selection, cx: &Cx) -> Result<Schema> {
        let prepared = self.prepare(recipe, rows, cx)?;
        Ok(prepared.schema(self.target.task, self.target.classes.len(), rows.len()))
    }

    /// Features that columns have, before they are encoded.
    pub(crate) fn columns(&self) -> usize {
        self.columns.len()
    }

    /// Learns preprocessing and model from some rows.
    pub(crate) fn fit_model(&self, recipe: &Recipe, rows: Selection, cx: &Cx) -> Result<Fitted> {
        let start = Instant::now();
        let classes = self.target.classes.len();
        if self.classifies() {
            let first = rows.get(0).map(|row| self.y(row));
            if rows.iter().all(|row| Some(self.y(row)) == first) {
                return Err(Error::new(
                    Kind::Data,
                    "the training rows are of one class, expected two or more",
                )
                .hint("Use split => 'stratified', or 'none'."));
            }
        }
        let mut prepared = self.prepare(recipe, rows, cx)?;
        let mut schema = prepared.schema(self.target.task, classes, rows.len());
        let positive = self.positive_weight(rows)?;
        schema.positive = positive.clone().unwrap_or_default();
        Forecast::of(self, recipe, &schema)?.check(self.request.max_memory)?;
        let together;
        let rows = if self.target.task == Task::Ranking {
            // The rows of a query must reach a learner together.
            let mut sorted = rows.list().into_owned();
            sorted.sort_by_key(|row| self.group.get(*row as usize));
            together = sorted;
            Selection::Rows(&together)
        } else {
            rows
        };
        let weight = self.weighted(rows)?;
        let class_weight = self.class_weight(rows)?;
        let roles = Roles { weight: weight.as_deref().unwrap_or(&self.weight), ..self.roles() };
        let init = self.request.init_model.as_deref();
        // Preprocessing that another training learnt is used as in scoring.
        let training = init.is_none().then_some(self.request.seed);
        let source = FrameRows::bind(self.frame, &prepared, rows, roles, training)?;
        let source = source.over(self.stream, self.lean.as_ref());
        let prepare_seconds = start.elapsed().as_secs_f64();
        let start = Instant::now();
        let from = init.map(|i| &i.payload[..]);
        let (algorithm, params) = (recipe.algorithm, &recipe.params);
        let (payload, outputs) = match cx.observer.broken_off() {
            Some(there) => algorithm.fit_again(params, &schema, &source, &there.state, cx)?,
            None => algorithm.fit_from(params, &schema, &source, from, cx)?,
        };
        // Not so where rows were sorted, or are encoded otherwise to train than to score.
        let outputs = outputs.filter(|_| !prepared.knows_rows() && self.target.task != Task::Ranking);
        let fit_seconds = start.elapsed().as_secs_f64();
        prepared.forget_training();
        let decision =
            Decision { class_weight: class_weight.or(positive).unwrap_or_default(), ..Decision::default() };
        Ok(Fitted { prepared, schema, payload, outputs, decision, prepare_seconds, fit_seconds })
    }

    /// Measures a fitted model on some rows.
    pub(crate) fn measure(
        &self,
        recipe: &Recipe,
        fitted: &Fitted,
        rows: Selection,
        cx: &Cx,
    ) -> Result<Vec<(String, f64)>> {
        Ok(self.judged(recipe, fitted, rows, cx)?.metrics)
    }

    /// As `measure`, with what the model predicted; of a model that measures itself, for some of the rows.
    pub(super) fn judged(
        &self,
        recipe: &Recipe,
        fitted: &Fitted,
        rows: Selection,
        cx: &Cx,
    ) -> Result<Judged> {
        if !self.target.task.supervised() {
            let model = recipe.algorithm.load(&fitted.payload, &fitted.schema)?;
            let known = model.metrics();
            if !known.is_empty() {
                let found = known.into_iter().map(|(name, value)| (name.to_string(), value)).collect();
                if self.target.task == Task::Embedding {
                    return Ok(Judged::new(found, Predictions::default()));
                }
                let some = some_rows(rows);
                let source = self.encoded(fitted, (&some).into())?;
                let scores = score_all(model.as_ref(), &fitted.schema, &source, cx)?;
                return Ok(Judged::new(found, self.keep(fitted, &scores)));
            }
            let source = self.encoded(fitted, rows)?;
            let scores = score_all(model.as_ref(), &fitted.schema, &source, cx)?;
            let found = measure_unsupervised(model.as_ref(), &fitted.schema, &source, &scores)?;
            return Ok(Judged::new(found, self.keep(fitted, &scores)));
        }
        Ok(self.judge(fitted, rows, self.score(recipe, fitted, rows, cx)?))
    }

    /// Measures what a fitted model answers for some rows.
    pub(super) fn judge(&self, fitted: &Fitted, rows: Selection, mut scores: Vec<f64>) -> Judged {
        let classes = self.target.classes.len();
        fitted.decision.calibrate(classes, &mut scores);
        let (y, weight) = (self.pick_y(rows), rows.pick(&self.weight));
        let group = rows.pick(&self.group);
        let sets = self.target.sets.as_deref();
        let roles = Roles { y: &y, sets, weight: &weight, offset: &[], group: &group };
        let metrics = fitted.decision.measure(self.target.task, classes, &scores, roles);
        Judged { metrics, predictions: self.keep(fitted, &scores), scores }
    }

    /// Some rows with what a fitted model answers for them.
    pub(super) fn rows(&self, rows: Selection, scores: Vec<f64>) -> figures::Rows {
        let (y, sets) = (self.pick_y(rows), self.target.sets.clone());
        figures::Rows { y, sets, scores, weight: rows.pick(&self.weight) }
    }

    /// Adds a few of the rows of a fold to those that are drawn.
    pub(super) fn draw(&self, rows: &[u32], scores: &[f64], most: usize, drawn: &mut figures::Rows) {
        let outputs = self.target.classes.len().max(1);
        drawn.sets.clone_from(&self.target.sets);
        for place in figures::some_rows(rows.len(), most).into_iter().map(|i| i as usize) {
            let row = rows[place] as usize;
            drawn.y.push(self.y(row));
            drawn.weight.extend(self.weight.get(row));
            drawn.scores.extend_from_slice(&scores[place * outputs..(place + 1) * outputs]);
        }
    }

    /// Scores as what is remembered of them.
    fn keep(&self, fitted: &Fitted, scores: &[f64]) -> Predictions {
        let Target { task, classes, .. } = &self.target;
        Predictions::of(*task, classes, scores, &fitted.decision)
    }

    /// What the rows were like, and what the model gave for them.
    pub(crate) fn baseline(&self, predictions: &Predictions, cx: &Cx) -> Result<Baseline> {
        let Setting { frame, request, .. } = self;
        let mut features =
            request.group_by.iter().map(|name| frame.position(name)).collect::<Result<Vec<_>>>()?;
        features.extend(&self.columns);
        let target = request.target.as_ref().map(|name| frame.position(name)).transpose()?;
        let labels = !self.target.classes.is_empty();
        let target = target.map(|t| (t, labels));
        let away = |column| self.stream.and_then(|s| s.distribution(column));
        Baseline::by_extents(frame, &features, target, predictions, (&self.extents, &away), cx)
    }

    /// The frame's row weights times those of the classes among `rows`, where classes weigh differently.
    pub(crate) fn weighted(&self, rows: Selection) -> Result<Option<Vec<f64>>> {
        let mut weights = vec![];
        self.weigh(rows, 0..self.known() as u32, &mut weights)?;
        Ok(self.plan.class_weight.as_ref().map(|_| weights))
    }

    /// Sets the weights of the rows `of` in `weights`, a value a row of the frame: the row's own, times that of its
    /// class among `rows`. Does nothing where classes do not weigh differently.
    pub(crate) fn weigh(
        &self,
        rows: Selection,
        of: impl Iterator<Item = u32>,
        weights: &mut Vec<f64>,
    ) -> Result<()> {
        let Some(classes) = self.class_weight(rows)? else { return Ok(()) };
        let weight = |row: usize| if self.weight.is_empty() { 1.0 } else { self.weight[row] };
        weights.resize(self.known(), 1.0);
        for row in of.map(|r| r as usize) {
            weights[row] = weight(row) * classes[self.y(row) as usize];
        }
        Ok(())
    }

    /// Scores some rows by a model, as it gives them.
    pub(crate) fn score(
        &self,
        recipe: &Recipe,
        fitted: &Fitted,
        rows: Selection,
        cx: &Cx,
    ) -> Result<Vec<f64>> {
        let model = recipe.algorithm.load(&fitted.payload, &fitted.schema)?;
        score_all(model.as_ref(), &fitted.schema, &self.encoded(fitted, rows)?, cx)
    }

    /// Some rows as a model reads them, to be scored.
    fn encoded<'r>(&'r self, fitted: &'r Fitted, rows: Selection<'r>) -> Result<FrameRows<'r>> {
        let known = Roles { y: &[], sets: None, weight: &[], ..self.roles() };
        Ok(FrameRows::bind(self.frame, &fitted.prepared, rows, known, None)?.over(self.stream, None))
    }

    /// What rows have beside features, a value a row of the frame.
    pub(crate) fn roles(&self) -> Roles<'_> {
        let sets = self.target.sets.as_deref();
        Roles { y: &self.target.y, sets, weight: &self.weight, offset: &self.offset, group: &self.group }
    }

    /// Bytes that the rows take.
    pub(crate) fn bytes(&self) -> u64 {
        let roles = self.target.y.len() + self.weight.len() + self.offset.len() + self.group.len();
        let sets = self.target.sets.as_ref().map_or(0, |s| s.bytes());
        let lean = self.lean.as_ref().map_or(0, Lean::bytes);
        self.frame.bytes() + roles as u64 * 8 + sets + lean
    }
}

/// Refuses a training that would take more memory than it may.
///
/// # Errors
/// `Kind::Memory`, with the setting that would do.
pub(crate) fn check_memory(needed: u64, allowed: u64) -> Result<()> {
    if needed <= allowed {
        return Ok(());
    }
    let mib = |b: u64| b.div_ceil(1 << 20);
    let (needed, allowed) = (mib(needed), mib(allowed));
    let message = format!("training needs about {needed} MiB, and damson.max_memory allows {allowed} MiB");
    Err(Error::new(Kind::Memory, message).hint(format!(
        "SET damson.max_memory = '{needed}MB', or train on a sample: source => 'SELECT ... TABLESAMPLE SYSTEM (10)'."
    )))
}

/// Rows that a model which measures itself is asked about, to remember what it predicts.
const PREDICTED: usize = 1 << 16;

/// Every so many of the rows, so that few are left.
pub(crate) fn some_rows(rows: Selection) -> Vec<u32> {
    rows.iter().step_by(rows.len().div_ceil(PREDICTED).max(1)).map(|row| row as u32).collect()
}

/// The rows of some queries, sorted.
fn rows_of(queries: &[Vec<u32>], wanted: &[u32]) -> Vec<u32> {
    let mut rows: Vec<u32> = wanted.iter().flat_map(|q| queries[*q as usize].iter().copied()).collect();
    rows.sort_unstable();
    rows
}

/// The frame's columns to learn from.
fn feature_columns(frame: &Frame, request: &Request, input: Input) -> Result<Vec<usize>> {
    let role = |name: &str| request.roles().any(|r| r == name);
    for name in request.roles() {
        frame.position(name)?;
    }
    if let Some(names) = &request.features {
        let mut columns = vec![];
        for name in names {
            let position = frame.position(name)?;
            if [&request.target, &request.weight, &request.offset].into_iter().flatten().any(|r| r == name) {
                let message =
                    format!("column \"{name}\" is a feature and the target, weight or offset at once");
                return Err(Error::new(Kind::Parameter, message));
            }
            if request.group_by.contains(name) {
                let message = format!("column \"{name}\" is a feature and in group_by at once");
                return Err(Error::new(Kind::Parameter, message)
                    .hint("Within a group it does not vary; leave it out of the features."));
            }
            if columns.contains(&position) {
                return Err(Error::new(Kind::Parameter, format!("feature \"{name}\" is named twice")));
            }
            columns.push(position);
        }
        if columns.is_empty() {
            return Err(Error::new(Kind::Parameter, "features is empty, expected one or more column names"));
        }
        return Ok(columns);
    }
    let free: Vec<usize> = (0..frame.columns.len()).filter(|c| !role(&frame.columns[*c].name)).collect();
    let images: Vec<usize> =
        free.iter().copied().filter(|c| frame.columns[*c].kind() == ColumnKind::Bytes).collect();
    match (&free[..], &images[..]) {
        ([], _) => Err(Error::new(Kind::Data, "the source has no column left to learn from")),
        // A table of images usually has identifiers beside them; a network reads the images.
        (_, [one]) if input == Input::Image => Ok(vec![*one]),
        _ => Ok(free),
    }
}

/// Refuses sets of labels as features.
fn without_labels(frame: &Frame, columns: Vec<usize>) -> Result<Vec<usize>> {
    match columns.iter().map(|c| &frame.columns[*c]).find(|c| c.kind() == ColumnKind::Labels) {
        None => Ok(columns),
        Some(Column { name, .. }) => {
            let message = format!("column \"{name}\" is an array of text, which cannot be learnt from");
            Err(Error::new(Kind::Type, message)
                .hint(format!("Write array_to_string({name}, ' ') instead, or leave it out; an array of text can be the target.")))
        }
    }
}

pub(super) fn read_target(frame: &Frame, request: &Request, algorithm: &dyn Algorithm) -> Result<Target> {
    let info = algorithm.info();
    match (&request.target, &request.init_model) {
        (Some(name), Some(init)) => init.target(&frame.columns[frame.position(name)?]),
        (Some(name), None) => {
            target::learn(&frame.columns[frame.position(name)?], request.task, info.tasks, info.name)
        }
        (None, _) => Ok(Target::none(info.unsupervised()?)),
    }
}

fn read_role<T>(
    frame: &Frame,
    column: &Option<String>,
    role: impl Fn(&str, Value) -> Result<T>,
) -> Result<Vec<T>> {
    column.as_ref().map_or(Ok(vec![]), |name| roles::read(&frame.columns[frame.position(name)?], role))
}

/// The values of a time column.
pub(crate) enum TimeValues {
    Whole(Vec<i64>),
    Numbers(Vec<f64>),
}

fn read_times(column: &Column) -> Result<TimeValues> {
    match &column.data {
        Data::Time(v) => Ok(TimeValues::Whole(v.clone())),
        Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::I64(_) => Ok(TimeValues::Numbers(
            (0..column.len()).map(|i| crate::prepare::summary::number(column.value(i))).collect(),
        )),
        _ => Err(Error::new(
            Kind::Type,
            format!("time column \"{}\" is neither a date, a timestamp nor a number", column.name),
        )),
    }
}
