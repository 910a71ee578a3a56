//! Training by groups: rows are dealt to groups in one pass, then each group is fitted by one job of the pool.
//!
//! The result is the same on any number of threads: a group's model depends on its rows and on a seed made of the
//! group's value, and models are put together in the order of the values. A learner that splits its own work over
//! the pool may do so here too, which lets one large group among small ones use all threads.

use super::deal::{Deal, Listed};
use super::model::{Entry, Payload, Stored, schema_of};
use super::{MAX_COLUMNS, UnknownGroup, measure};
use crate::artifact::{self, Card};
use crate::drift::baseline::Predictions;
use crate::error::{Error, Kind, Result};
use crate::frame::Selection;
use crate::learner::{Cx, Observer};
use crate::lineage::Facts;
use crate::metrics;
use crate::prepare::summary::TargetColumns;
use crate::prepare::{FrameRows, Prepared, Roles};
use crate::run::Rows;
use crate::schema::{Schema, Task};
use crate::scorer::{Scorer, measure as metrics_of, measure_clusters, score_all};
use crate::split::{self, Split, Times};
use crate::train::{self, Metric, Recipe, Request, Setting, TimeValues, Trained};
use crate::wire;
use measure::Slice;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

/// Groups that a warning names.
const NAMED: usize = 3;
/// Different warnings of groups that are passed on.
const WARNINGS: usize = 5;
/// A group, fitted and measured.
struct Fit {
    stored: Stored,
    scores: Vec<f64>,
    value: Option<f64>,
    warnings: Vec<String>,
}

/// All groups, fitted and measured.
struct Fitted {
    prepared: Prepared,
    /// A fit a group, or why it has none.
    groups: Vec<std::result::Result<Fit, String>>,
    global: Option<Stored>,
    metrics: Vec<(String, f64)>,
    seconds: [f64; 3],
}

/// Checks what can be checked before any row is read.
///
/// # Errors
/// `Kind::Parameter` for columns named twice or that have another role, for too many, and for a policy without groups.
pub(crate) fn check(request: &Request) -> Result<()> {
    let names = &request.group_by;
    let refuse = |message: String| Err(Error::new(Kind::Parameter, message));
    if names.is_empty() && request.unknown_group.is_some() {
        return Err(Error::new(Kind::Parameter, "unknown_group is given without group_by")
            .hint("Name the columns whose values make the groups: group_by => '{region}'."));
    }
    if names.len() > MAX_COLUMNS {
        return refuse(format!("group_by names {} columns, expected at most {MAX_COLUMNS}", names.len()));
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return refuse(format!("group_by names column \"{name}\" twice"));
        }
        let others = [&request.target, &request.weight, &request.offset];
        if others.into_iter().any(|o| o.as_ref() == Some(name)) {
            return refuse(format!(
                "column \"{name}\" is in group_by and the target, weight or offset at once"
            ));
        }
    }
    Ok(())
}

/// Trains; see the module's page.
///
/// # Errors
/// Those of any training; and when no group could be trained.
pub(crate) fn train(setting: &Setting, recipe: &Recipe, cx: &Cx) -> Result<Trained> {
    let Setting { frame, request, target, .. } = setting;
    let info = recipe.algorithm.info();
    if target.task == Task::Embedding {
        return Err(Error::new(
            Kind::Unsupported,
            format!("algorithm \"{}\" embeds, which group_by does not serve", info.name),
        )
        .hint("Embeddings of different groups have nothing in common; train a model for each."));
    }
    if target.task == Task::Ranking {
        return Err(Error::new(
            Kind::Unsupported,
            "ranking has groups of its own, and group_by does not serve it",
        )
        .hint("group_column names the queries; leave group_by out."));
    }
    if target.task == Task::Multilabel {
        return Err(Error::new(Kind::Unsupported, "group_by does not serve sets of labels").hint(
            "Train one model with the group's columns among the features, or a model for each group.",
        ));
    }
    let deal = Deal::new(frame, &request.group_by, cx)?;
    let labels = |group: usize| -> Vec<f64> {
        if target.classes.is_empty() {
            vec![]
        } else {
            deal.rows(group).iter().map(|r| target.y[*r as usize]).collect()
        }
    };

    let mut metrics = vec![];
    let mut measured = 0.0;
    if request.folds > 0 {
        let mut all = vec![];
        let mut tests: Vec<Vec<Vec<u32>>> = vec![vec![]; request.folds];
        for group in 0..deal.groups() {
            let labels = labels(group);
            let rows = deal.rows(group).len();
            // A group with fewer rows than folds is trained on in all of them, and tested in none.
            let own = if rows < request.folds {
                vec![vec![]; request.folds]
            } else {
                let labels = (!labels.is_empty()).then_some(&labels[..]);
                split::folds(rows, request.folds, labels, deal.seed(group, request.seed))?
            };
            tests.iter_mut().zip(own).for_each(|(tests, own)| tests.push(own));
        }
        for (fold, tests) in tests.iter().enumerate() {
            let (train, test) = deal.parts(|group| Ok(tests[group].clone()))?;
            if test.rows.is_empty() {
                let message = format!("no group has as many rows as there are folds, {}", request.folds);
                return Err(Error::new(Kind::Data, message).hint("Use fewer folds."));
            }
            let what = format!("fold {} of {}, group", fold + 1, request.folds);
            let mute = Mute { inner: cx.observer };
            let fitted = fit(setting, recipe, &deal, &train, &test, &what, &Cx { observer: &mute, ..*cx })?;
            measured += fitted.seconds.iter().sum::<f64>();
            all.push(fitted.metrics);
        }
        metrics.extend(train::summarise_folds(&all));
    }

    let times = setting.times()?;
    let (train, test) = deal.parts(|group| {
        let labels = labels(group);
        hold_out(&request.split, deal.rows(group), &labels, times.as_ref(), deal.seed(group, request.seed))
    })?;
    let (name, tested) = if test.rows.is_empty() { ("train", &train) } else { ("test", &test) };
    let fitted = fit(setting, recipe, &deal, &train, tested, "group", cx)?;
    metrics.extend(fitted.metrics.into_iter().map(|(metric, value)| Metric {
        split: name.into(),
        name: metric,
        value,
    }));

    let mut warned: Vec<(String, usize, usize)> = vec![];
    let mut entries = vec![];
    let mut models = vec![];
    let global = fitted.global.is_some();
    let (mut train_rows, mut test_rows) = (0, 0);
    for (group, outcome) in fitted.groups.into_iter().enumerate() {
        let (own, held_out) = (train.range(group).len(), test.range(group).len());
        let (value, left_out) = match outcome {
            Ok(fit) => {
                for warning in fit.warnings {
                    match warned.iter_mut().find(|w| w.0 == warning) {
                        Some(known) => known.1 += 1,
                        None => warned.push((warning, 1, group)),
                    }
                }
                models.push(fit.stored);
                (fit.value, String::new())
            }
            Err(reason) => (None, reason),
        };
        if left_out.is_empty() || global {
            train_rows += own;
            test_rows += held_out;
        }
        let (train_rows, test_rows) = if left_out.is_empty() { (own, held_out) } else { (own + held_out, 0) };
        let key = deal.keys[group].clone();
        entries.push(Entry {
            key,
            train_rows: train_rows as u64,
            test_rows: test_rows as u64,
            value,
            left_out,
        });
    }
    warn(&deal, &entries, &warned, cx);

    let classes = target.classes.len();
    let metric = match target.task.supervised() {
        _ if entries.iter().all(|e| e.value.is_none()) => String::new(),
        _ => metrics::headline(target.task, classes).name.to_string(),
    };
    let unknown_group = request.unknown_group.unwrap_or_default();
    let facts = Facts::of(setting, recipe, (&train.rows).into(), cx)?;
    let inputs = deal.columns.iter().chain(&fitted.prepared.inputs).cloned().collect();
    let card = Card {
        decision: crate::decision::Decision::default(),
        algorithm: info.name.into(),
        algorithm_version: info.version,
        task: target.task,
        target: request.target.clone(),
        offset: request.offset.clone(),
        group: request.group.clone(),
        group_by: deal.columns.len(),
        unknown_group,
        classes: target.classes.clone(),
        inputs,
        params: recipe.params.to_json().to_string(),
        preprocess: recipe.options.values.to_json().to_string(),
        seed: request.seed,
        train_rows: train_rows as u64,
        test_rows: test_rows as u64,
        fingerprint: facts.digest.fingerprint(),
        engine_version: env!("CARGO_PKG_VERSION").into(),
    };
    let global = fitted.global.map(|stored| (train_rows as u64, stored));
    let payload = wire::encode(&Payload { metric, entries, models, global })?;
    let artifact = artifact::pack(&card, &fitted.prepared, &payload)?;
    let headline = train::headline(target.task, classes, &metrics);
    let [prepare, fit, evaluate] = fitted.seconds;
    let start = Instant::now();
    let baseline = setting.baseline(&predictions(setting, &artifact, &tested.rows, cx)?, cx)?;
    let remembered = start.elapsed().as_secs_f64();
    let seconds =
        [("prepare", prepare), ("fit", fit), ("evaluate", evaluate + measured), ("baseline", remembered)];
    Ok(Trained { artifact, card, metrics, headline, rounds: vec![], baseline, figures: None, seconds, facts })
}

/// What the model gives for some of the rows that it was measured on.
fn predictions(setting: &Setting, artifact: &[u8], rows: &[u32], cx: &Cx) -> Result<Predictions> {
    let scorer = Scorer::load(artifact)?;
    let mut rows = train::some_rows(rows.into());
    rows.sort_unstable();
    let scores = scorer.score_known_groups(setting.frame, &rows, cx)?;
    Ok(Predictions::of(setting.target.task, &setting.target.classes, &scores, &scorer.card.decision))
}

/// The numbers of a group's test rows among its own, sorted; none where the group is too small to hold any out.
fn hold_out(
    split: &Split,
    rows: &[u32],
    labels: &[f64],
    times: Option<&TimeValues>,
    seed: u64,
) -> Result<Vec<u32>> {
    let (mut whole, mut numbers) = (vec![], vec![]);
    match times {
        Some(TimeValues::Whole(t)) => whole = rows.iter().map(|r| t[*r as usize]).collect(),
        Some(TimeValues::Numbers(t)) => numbers = rows.iter().map(|r| t[*r as usize]).collect(),
        None => {}
    }
    let times = times.map(|t| match t {
        TimeValues::Whole(_) => Times::Whole(&whole),
        TimeValues::Numbers(_) => Times::Numbers(&numbers),
    });
    let labels = (!labels.is_empty()).then_some(labels);
    match split.apply(rows.len(), labels, times, seed) {
        Ok(parts) => Ok(parts.test),
        Err(e) if e.kind == Kind::Data => Ok(vec![]),
        Err(e) => Err(e),
    }
}

/// One warning of what was left out, and one of each thing that groups warn of.
fn warn(deal: &Deal, entries: &[Entry], warned: &[(String, usize, usize)], cx: &Cx) {
    let left_out: Vec<usize> = (0..entries.len()).filter(|g| !entries[*g].left_out.is_empty()).collect();
    if !left_out.is_empty() {
        let named: Vec<String> = left_out
            .iter()
            .take(NAMED)
            .map(|g| format!("{} ({})", deal.shown(*g), entries[*g].left_out))
            .collect();
        let more = if left_out.len() > NAMED { "; ..." } else { "" };
        cx.observer.warning(&format!(
            "{} of {} groups could not be trained and are left out: {}{more}",
            left_out.len(),
            entries.len(),
            named.join("; ")
        ));
    }
    for (message, groups, first) in warned.iter().take(WARNINGS) {
        let others = if *groups > 1 { format!(" and {} more", groups - 1) } else { String::new() };
        cx.observer.warning(&format!("group {}{others}: {message}", deal.shown(*first)));
    }
    if warned.len() > WARNINGS {
        cx.observer.warning(&format!("groups gave {} more warnings", warned.len() - WARNINGS));
    }
}

/// Fits a model a group on `train`, measures it on `test`.
fn fit(
    setting: &Setting,
    recipe: &Recipe,
    deal: &Deal,
    train: &Listed,
    test: &Listed,
    what: &str,
    cx: &Cx,
) -> Result<Fitted> {
    let Setting { frame, request, target, .. } = setting;
    let algorithm = recipe.algorithm;
    let start = Instant::now();
    let classes = target.classes.len();
    let targets =
        (!target.y.is_empty()).then_some(TargetColumns { y: &target.y, classes, seed: request.seed });
    let mut rows = train.rows.clone();
    rows.sort_unstable();
    let known = |column| setting.moments(column);
    let input = algorithm.info().input;
    let mut prepared = Prepared::fit(
        frame,
        &setting.columns,
        (&rows).into(),
        &recipe.options,
        input,
        targets.as_ref(),
        known,
        cx,
    )?;
    drop(rows);
    let schema = prepared.schema(target.task, classes, train.rows.len());
    let held = AtomicU64::new(afford(setting, recipe, deal, train, &schema)?);
    let seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let groups = deal.groups();
    // Classes are balanced within each group, and for the model of all rows among all.
    let mut weights = vec![];
    for group in 0..groups {
        let rows = &train.rows[train.range(group)];
        setting.weigh(rows.into(), rows.iter().copied(), &mut weights)?;
    }
    let own = setting.roles();
    let roles = if weights.is_empty() { own } else { Roles { weight: &weights, ..own } };
    let source = FrameRows::bind(frame, &prepared, &train.rows, roles, Some(request.seed))?;
    let known = Roles { y: &[], weight: &[], ..own };
    let tested = FrameRows::bind(frame, &prepared, &test.rows, known, None)?;
    let (done, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = Work {
        setting,
        recipe,
        deal,
        schema: &schema,
        source: &source,
        tested: &tested,
        train,
        test,
        held: &held,
    };
    // Large groups first, so that none is left to one thread at the end. A loop a thread rather than a job a group: a
    // thread that waits for help with its group must not begin another within it.
    let mut order: Vec<usize> = (0..groups).collect();
    order.sort_by_key(|g| std::cmp::Reverse(train.range(*g).len()));
    let next = AtomicUsize::new(0);
    let found = rayon::broadcast(|_| {
        let mut found = vec![];
        while let Some(group) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let outcome = work.group(*group, cx);
            if outcome.as_ref().is_err_and(fatal) {
                stop.store(true, Ordering::Relaxed);
            }
            found.push((*group, outcome));
            cx.observer.progress(done.fetch_add(1, Ordering::Relaxed) + 1, groups, what);
        }
        found
    });
    cx.check()?;
    let mut found: Vec<(usize, Result<Fit>)> = found.into_iter().flatten().collect();
    found.sort_by_key(|f| f.0);
    if stop.load(Ordering::Relaxed) {
        let failed = found.into_iter().filter_map(|f| f.1.err()).find(fatal);
        return Err(failed.unwrap_or_else(|| Error::internal("a group failed without an error")));
    }
    let outcomes: Vec<std::result::Result<Fit, String>> =
        found.into_iter().map(|f| f.1.map_err(|e| e.message)).collect();
    if let Some(first) =
        outcomes.iter().position(|o| o.is_err()).filter(|_| outcomes.iter().all(|o| o.is_err()))
    {
        let reason = outcomes[first].as_ref().err().cloned().unwrap_or_default();
        let message =
            format!("none of {groups} groups could be trained; the first, {}: {reason}", deal.shown(first));
        return Err(Error::new(Kind::Data, message)
            .hint("Group by columns with fewer values, or take an algorithm that needs fewer rows."));
    }
    let global = match request.unknown_group.unwrap_or_default() {
        UnknownGroup::Global => {
            let weights = setting.weighted((&train.rows).into())?;
            let roles = Roles { weight: weights.as_deref().unwrap_or(own.weight), ..own };
            let source = FrameRows::bind(frame, &prepared, &train.rows, roles, Some(request.seed))?;
            Some(fit_global(recipe, &schema, &source, &target.y, train, cx)?)
        }
        _ => None,
    };
    let fit_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let metrics = work.measure(&outcomes, global.as_ref(), cx)?;
    let seconds = [seconds, fit_seconds, start.elapsed().as_secs_f64()];
    drop((source, tested));
    prepared.forget_training();
    Ok(Fitted { prepared, groups: outcomes, global, metrics, seconds })
}

/// Whether an error ends the training, rather than leave its group out.
fn fatal(e: &Error) -> bool {
    matches!(e.kind, Kind::Cancelled | Kind::Memory | Kind::Internal | Kind::Corrupt)
}

/// What a training takes before it has a model, in bytes.
///
/// # Errors
/// `Kind::Memory` when that is more than it may.
fn afford(setting: &Setting, recipe: &Recipe, deal: &Deal, train: &Listed, schema: &Schema) -> Result<u64> {
    let largest = (0..deal.groups()).map(|g| train.range(g).len()).max().unwrap_or(0);
    // Each is trained on one thread, among others.
    let one = recipe.algorithm.memory(&recipe.params, &schema_of(schema, &[], largest as u64), 1)?;
    let all = match setting.request.unknown_group.unwrap_or_default() {
        UnknownGroup::Global => recipe.algorithm.memory(&recipe.params, schema, setting.request.threads)?,
        _ => 0,
    };
    // The order of rows, that of each part, and that of the preprocessing.
    let lists = (train.rows.len() * 3 * size_of::<u32>()) as u64;
    let needed = setting.bytes() + lists + all.max(one * rayon::current_num_threads() as u64);
    train::check_memory(needed, setting.request.max_memory)?;
    Ok(needed)
}

fn fit_global(
    recipe: &Recipe,
    schema: &Schema,
    source: &dyn Rows,
    y: &[f64],
    train: &Listed,
    cx: &Cx,
) -> Result<Stored> {
    let first = train.rows.first().map(|r| y.get(*r as usize));
    if schema.classes > 0 && train.rows.iter().all(|r| Some(y.get(*r as usize)) == first) {
        return Err(Error::new(Kind::Data, "the training rows are of one class, expected two or more"));
    }
    let payload = recipe.algorithm.fit(&recipe.params, schema, source, cx)?;
    Ok(Stored { classes: vec![], payload })
}

/// What the job of a group is given.
struct Work<'a> {
    setting: &'a Setting<'a>,
    recipe: &'a Recipe,
    deal: &'a Deal,
    schema: &'a Schema,
    source: &'a dyn Rows,
    tested: &'a dyn Rows,
    train: &'a Listed,
    test: &'a Listed,
    held: &'a AtomicU64,
}

impl Work<'_> {
    fn group(&self, group: usize, cx: &Cx) -> Result<Fit> {
        cx.check()?;
        let Setting { request, target, .. } = self.setting;
        let Recipe { algorithm, params, .. } = self.recipe;
        let range = self.train.range(group);
        let quiet = Quiet::default();
        let cx = &Cx { seed: self.deal.seed(group, request.seed), stop: cx.stop, observer: &quiet };
        let all = self.schema.classes;
        let mut numbers = vec![];
        let mut classes: Vec<u32> = vec![];
        if all > 0 {
            let mut seen = vec![false; all];
            self.train.rows[range.clone()].iter().for_each(|r| seen[target.y[*r as usize] as usize] = true);
            classes.extend((0..all as u32).filter(|c| seen[*c as usize]));
            if classes.len() < 2 {
                return Err(Error::new(Kind::Data, "its training rows are of one class"));
            }
            if classes.len() == all {
                classes.clear();
            } else {
                numbers = vec![0.0; all];
                classes.iter().enumerate().for_each(|(own, c)| numbers[*c as usize] = own as f64);
            }
        }
        if range.is_empty() {
            return Err(Error::new(Kind::Data, "it has no rows to train on"));
        }
        let schema = schema_of(self.schema, &classes, range.len() as u64);
        let rows = Slice { rows: self.source, range, classes: &numbers };
        let stored = Stored { payload: algorithm.fit(params, &schema, &rows, cx)?, classes };
        let (scores, value) = self.score(&stored, group, cx)?;
        let more = (stored.payload.len() + scores.len() * 8) as u64;
        let held = self.held.fetch_add(more, Ordering::Relaxed) + more;
        train::check_memory(held, request.max_memory)?;
        Ok(Fit { stored, scores, value, warnings: quiet.into_warnings() })
    }

    /// The scores of a group's test rows, for all classes, and the group's main metric.
    fn score(&self, stored: &Stored, group: usize, cx: &Cx) -> Result<(Vec<f64>, Option<f64>)> {
        let range = self.test.range(group);
        if range.is_empty() {
            return Ok((vec![], None));
        }
        let trained = self.train.range(group).len() as u64;
        let schema = schema_of(self.schema, &stored.classes, trained);
        let model = self.recipe.algorithm.load(&stored.payload, &schema)?;
        let rows = Slice { rows: self.tested, range: range.clone(), classes: &[] };
        let mut scores = score_all(model.as_ref(), &schema, &rows, cx)?;
        if !stored.classes.is_empty() {
            scores.resize(range.len() * self.schema.classes, 0.0);
            super::model::spread(&stored.classes, self.schema.classes, range.len(), &mut scores);
        }
        let (task, classes) = (self.schema.task, self.schema.classes);
        let found = if task.supervised() {
            let picked = self.roles(range);
            metrics_of(task, classes, &scores, picked.lend())
        } else {
            measure_clusters(&schema, &rows, &scores)?
        };
        let name = metrics::headline(task, classes).name;
        Ok((scores, found.into_iter().find(|m| m.0 == name).map(|m| m.1)))
    }

    fn roles(&self, range: Range<usize>) -> Picked {
        let rows = Selection::Rows(&self.test.rows[range]);
        let Roles { y, weight, offset, group, .. } = self.setting.roles();
        Picked {
            y: rows.pick(y),
            weight: rows.pick(weight),
            offset: rows.pick(offset),
            group: rows.pick(group),
        }
    }

    /// The metrics of all groups together.
    fn measure(
        &self,
        groups: &[std::result::Result<Fit, String>],
        global: Option<&Stored>,
        cx: &Cx,
    ) -> Result<Vec<(String, f64)>> {
        let outputs = self.schema.classes.max(1);
        let mut scores = vec![f64::NAN; self.test.rows.len() * outputs];
        let mut unanswered = vec![];
        for (group, outcome) in groups.iter().enumerate() {
            let range = self.test.range(group);
            match outcome {
                Ok(fit) => scores[range.start * outputs..range.end * outputs].copy_from_slice(&fit.scores),
                Err(_) => unanswered.push(range),
            }
        }
        if let Some(global) = global.filter(|_| unanswered.iter().any(|r| !r.is_empty())) {
            let model = self.recipe.algorithm.load(&global.payload, self.schema)?;
            for range in &unanswered {
                let rows = Slice { rows: self.tested, range: range.clone(), classes: &[] };
                let found = score_all(model.as_ref(), self.schema, &rows, cx)?;
                scores[range.start * outputs..range.end * outputs].copy_from_slice(&found);
            }
        }
        if self.schema.task.supervised() {
            let picked = self.roles(0..self.test.rows.len());
            return Ok(measure::supervised(self.schema, outputs, &scores, picked.lend()));
        }
        let ranges: Vec<Range<usize>> =
            (0..groups.len()).filter(|g| groups[*g].is_ok()).map(|g| self.test.range(g)).collect();
        measure::unsupervised(self.schema, self.tested, &scores, &ranges)
    }
}

/// Roles of some rows.
struct Picked {
    y: Vec<f64>,
    weight: Vec<f64>,
    offset: Vec<f64>,
    group: Vec<u64>,
}

impl Picked {
    fn lend(&self) -> Roles<'_> {
        Roles { y: &self.y, sets: None, weight: &self.weight, offset: &self.offset, group: &self.group }
    }
}

/// Watches one group: its progress is nobody's business, its warnings are told once for all groups.
#[derive(Default)]
struct Quiet(Mutex<Vec<String>>);

impl Quiet {
    fn into_warnings(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(|e| e.into_inner())
    }
}

impl Observer for Quiet {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap_or_else(|e| e.into_inner()).push(message.to_string());
    }
}

/// Passes progress on, nothing else.
struct Mute<'a> {
    inner: &'a dyn Observer,
}

impl Observer for Mute<'_> {
    fn progress(&self, done: usize, total: usize, what: &str) {
        self.inner.progress(done, total, what);
    }
}
