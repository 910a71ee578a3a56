//! A trained model, loaded to score: one row with no allocation, or a frame on all threads.

use crate::artifact::{self, Card};
use crate::decision::Decision;
use crate::error::{Error, Kind, Result};
use crate::frame::{ColumnKind, Frame, Selection, Value};
use crate::groups::Router;
use crate::groups::{self, model::NOWHERE, model::Route};
use crate::learner::{Coefficient, Cx, Model, Network};
use crate::metrics;
use crate::prepare::encode::Number;
use crate::prepare::summary::Moments;
use crate::prepare::{FrameRows, InputColumn, Prepared, Roles};
use crate::run::{Buffers, Rows, block_rows, scored_rows};
use crate::schema::{Buffer, Chunk, Schema, Task};
use crate::target::{self, Truth};
use crate::{algorithms, labels, roles};
use nn::data::Inputs;
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

/// A model that is ready to score. Shared between callers; each brings its own [`Row`].
pub struct Scorer {
    pub(crate) card: Card,
    pub(crate) prepared: Prepared,
    pub(crate) schema: Schema,
    pub(crate) model: Box<dyn Model>,
    plain: Option<Vec<Number>>,
    /// Of a model with groups.
    router: Option<Router>,
    bytes: usize,
    elsewhere: OnceLock<Box<dyn Elsewhere>>,
}

/// Whoever can run a network in another place than here. One is of one model.
pub trait Elsewhere: Send + Sync {
    /// Whether the calling thread's rows would be taken now, as far as is known.
    fn takes(&self) -> bool;
    /// The network's outputs for a block of some rows, into all of `out`. False where the caller is to compute them; what
    /// `out` holds is then nothing.
    ///
    /// # Errors
    /// Only such as must end the caller's work, too.
    fn outputs(&self, rows: usize, inputs: Inputs, out: &mut [f64]) -> Result<bool>;
}

/// The scratch of one caller: a row's features and its scores, used again and again.
pub struct Row {
    pub(crate) x: Vec<f64>,
    pub(crate) image: Vec<u8>,
    out: Vec<f64>,
    route: Route,
    /// As `Chunk::group`: the number of the model, for a model with groups.
    pub(crate) group: Vec<u64>,
    /// The stored image, where it is kept rather than decoded.
    pub(crate) kept: Option<Vec<u8>>,
}

impl Scorer {
    /// Loads a model from an artifact.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that are not a whole, undamaged artifact; `Kind::Unsupported` for one of an
    /// algorithm version that this engine no longer reads.
    pub fn load(bytes: &[u8]) -> Result<Scorer> {
        let (card, prepared, payload) = artifact::unpack(bytes)?;
        let algorithm = algorithms::find(&card.algorithm)?;
        let known = algorithm.info().version;
        if card.algorithm_version != known {
            let (name, found) = (&card.algorithm, card.algorithm_version);
            let message =
                format!("the model was written by {name} version {found}, this engine reads version {known}");
            return Err(Error::new(Kind::Unsupported, message).hint("Train the model again."));
        }
        let schema = prepared.schema(card.task, card.classes.len(), card.train_rows as usize);
        let (model, router, held): (Box<dyn Model>, _, _) = if card.group_by > 0 {
            let (model, router, held) = groups::model::load(payload, &card, &prepared, algorithm)?;
            (Box::new(model), Some(router), held)
        } else {
            (algorithm.load(payload, &schema)?, None, 0)
        };
        card.decision.validate(card.task, card.classes.len())?;
        let expected = match card.task {
            Task::Classification | Task::Multilabel => card.classes.len(),
            Task::Embedding => model.outputs().max(1),
            _ => 1,
        };
        if model.outputs() != expected {
            return Err(Error::corrupt(format!(
                "the model gives {} values, expected {expected}",
                model.outputs()
            )));
        }
        let plain = prepared.plain_numbers();
        let bytes = bytes.len() * 2 + prepared.bytes() + held + card.decision.bytes();
        let elsewhere = OnceLock::new();
        Ok(Scorer { card, prepared, schema, model, plain, router, bytes, elsewhere })
    }

    /// Whether it is a network.
    pub fn has_layers(&self) -> bool {
        self.model.tensors().is_some()
    }

    /// The same rows answered by a layer of the model, by name or place, or without one by the last before its outputs.
    ///
    /// # Errors
    /// `Kind::Unsupported` for a model without layers; `Kind::Parameter` where there is no such layer.
    pub fn layer(&self, name: Option<&str>) -> Result<Scorer> {
        let Some(model) = self.model.layer(name)? else {
            let algorithm = &self.card.algorithm;
            let message =
                format!("a model of algorithm \"{algorithm}\" has no layers whose values it could give");
            return Err(
                Error::new(Kind::Unsupported, message).hint("Networks have some: algorithm => 'cnn'.")
            );
        };
        let card = Card {
            task: Task::Embedding,
            classes: vec![],
            decision: Decision::default(),
            ..self.card.clone()
        };
        let (prepared, schema, plain) = (self.prepared.clone(), self.schema.clone(), self.plain.clone());
        Ok(Scorer {
            card,
            prepared,
            schema,
            model,
            plain,
            router: None,
            bytes: self.bytes,
            elsewhere: OnceLock::new(),
        })
    }

    /// What the model is.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The groups of a model that has a model for each.
    pub fn groups(&self) -> Option<&Router> {
        self.router.as_ref()
    }

    /// Bytes that it holds in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Values a row: one, or a probability a class.
    pub fn outputs(&self) -> usize {
        self.model.outputs()
    }

    /// The network that the model is, for a device to run; none where it is none.
    pub fn network(&self) -> Option<&dyn Network> {
        self.model.network()
    }

    /// Lets the blocks of a model that is a network be computed elsewhere. The first one stays.
    pub fn send_to(&self, elsewhere: Box<dyn Elsewhere>) {
        if self.model.network().is_some() {
            let _ = self.elsewhere.set(elsewhere);
        }
    }

    /// Whether blocks of rows from this thread are computed elsewhere, as far as is known.
    pub fn sends(&self) -> bool {
        self.elsewhere.get().is_some_and(|e| e.takes())
    }

    /// What the model makes of a block of encoded rows: elsewhere, where somebody takes it, or else on this thread or
    /// the pool that it belongs to.
    ///
    /// # Errors
    /// Those of the algorithm.
    #[inline]
    pub fn compute(&self, chunk: &Chunk, out: &mut [f64]) -> Result<()> {
        if self.compute_elsewhere(chunk, out)? { Ok(()) } else { self.model.score(chunk, out) }
    }

    /// As `compute`, where somebody takes the block; false where nobody does, and nothing is computed.
    pub(crate) fn compute_elsewhere(&self, chunk: &Chunk, out: &mut [f64]) -> Result<bool> {
        if let (Some(elsewhere), Some(network)) = (self.elsewhere.get(), self.model.network()) {
            let out = &mut out[..chunk.rows * self.model.outputs()];
            if elsewhere.outputs(chunk.rows, network.inputs(chunk), out)? {
                return network.finish(out).map(|()| true);
            }
        }
        Ok(false)
    }

    /// A new scratch row.
    pub fn row(&self) -> Row {
        let image = self.prepared.image().map_or(0, |s| s.bytes());
        Row {
            x: vec![0.0; self.prepared.width()],
            image: vec![0; image],
            out: vec![0.0; self.outputs()],
            route: self.router.as_ref().map(Route::new).unwrap_or_default(),
            group: self.router.iter().map(|_| NOWHERE).collect(),
            kept: None,
        }
    }

    /// A new scratch row for a [`Batch`](crate::batch::Batch), which decodes images itself, on its threads. It cannot be
    /// scored.
    pub fn row_to_keep(&self) -> Row {
        let whole = self.prepared.image().is_some() && self.prepared.inputs.len() == 1;
        Row { kept: whole.then(Vec::new), ..self.row() }
    }

    /// Whether many rows are scored so much faster at once that it pays to collect them.
    pub fn gains_from_batches(&self) -> bool {
        self.model.gains_from_batches()
    }

    /// Sets one input of a row. Every input must be set before each `score`.
    ///
    /// # Errors
    /// A value of another type, or one that the model's policies refuse; the column is named.
    #[inline]
    pub fn set(&self, row: &mut Row, input: usize, value: Value) -> Result<()> {
        match &self.router {
            Some(router) if input < self.card.group_by => row.route.set(router, input, value),
            _ => match (&mut row.kept, value) {
                (Some(kept), Value::Bytes(bytes)) => {
                    kept.clear();
                    kept.extend_from_slice(bytes);
                    Ok(())
                }
                _ => self.prepared.put(input - self.card.group_by, value, &mut row.x, &mut row.image),
            },
        }
    }

    /// Sets all inputs from one array: an element an input where all are numbers, or the one array input.
    pub fn set_f32s(&self, row: &mut Row, values: &[f32]) -> Result<()> {
        match (&self.plain, &self.card.inputs[..]) {
            (Some(numbers), inputs) if values.len() == inputs.len() => {
                self.set_plain(row, numbers, values.iter().map(|v| f64::from(*v)))
            }
            (_, [InputColumn { kind: ColumnKind::Vector { .. }, .. }]) => {
                self.set(row, 0, Value::Vector(values))
            }
            _ => self.set_each(row, values.iter().map(|v| f64::from(*v))),
        }
    }

    /// As `set_f32s`.
    pub fn set_f64s(&self, row: &mut Row, values: &[f64]) -> Result<()> {
        match (&self.plain, &self.card.inputs[..]) {
            (Some(numbers), inputs) if values.len() == inputs.len() => {
                self.set_plain(row, numbers, values.iter().copied())
            }
            (_, [InputColumn { kind: ColumnKind::Vector { .. }, .. }]) => {
                let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
                self.set(row, 0, Value::Vector(&values))
            }
            _ => self.set_each(row, values.iter().copied()),
        }
    }

    #[inline]
    fn set_plain(
        &self,
        row: &mut Row,
        numbers: &[Number],
        mut values: impl Iterator<Item = f64>,
    ) -> Result<()> {
        if let Some(router) = &self.router {
            for (i, v) in values.by_ref().take(self.card.group_by).enumerate() {
                row.route.set(router, i, Value::number(v))?;
            }
        }
        for (i, ((number, x), v)) in numbers.iter().zip(row.x.iter_mut()).zip(values).enumerate() {
            if let Err(fault) = number.put(v, std::slice::from_mut(x)) {
                let input = &self.prepared.inputs[i];
                return Err(fault.explain(&input.name, input.kind));
            }
        }
        Ok(())
    }

    /// For inputs that give more than a feature each, such as one that says whether the value was missing.
    fn set_each(&self, row: &mut Row, values: impl ExactSizeIterator<Item = f64>) -> Result<()> {
        if values.len() != self.card.inputs.len() {
            return Err(self.wrong_count(values.len()));
        }
        for (i, v) in values.enumerate() {
            self.set(row, i, Value::number(v))?;
        }
        Ok(())
    }

    fn wrong_count(&self, found: usize) -> Error {
        let names: Vec<&str> = self.card.inputs.iter().map(|i| i.name.as_str()).take(40).collect();
        let expected = self.card.inputs.len();
        Error::new(Kind::Type, format!("the array has length {found}, expected {expected}"))
            .hint(format!("The model reads, in this order: {}.", names.join(", ")))
    }

    /// Scores a row whose inputs are all set: the prediction, the cluster, or a probability a class. NaN where the
    /// model answers nothing: to groups that it does not know, when that is its policy.
    ///
    /// # Errors
    /// `Kind::Data` for a group that the model does not know, when that is its policy; the algorithm's.
    #[inline]
    pub fn score<'r>(&self, row: &'r mut Row) -> Result<&'r [f64]> {
        self.find_group(row)?;
        let chunk = Chunk { rows: 1, x: &row.x, images: &row.image, group: &row.group, ..Chunk::default() };
        self.compute(&chunk, &mut row.out)?;
        self.card.decision.calibrate(row.out.len(), &mut row.out);
        Ok(&row.out)
    }

    /// Whether the model answers to a row whose inputs are all set. It does not where it does not know the row's
    /// group and its policy is to say nothing.
    ///
    /// # Errors
    /// As `score`, for an unknown group.
    #[inline]
    pub fn answers(&self, row: &mut Row) -> Result<bool> {
        self.find_group(row)?;
        Ok(row.group.first() != Some(&NOWHERE))
    }

    /// Looks the row's group up, for a model with groups.
    #[inline]
    pub(crate) fn find_group(&self, row: &mut Row) -> Result<()> {
        if let Some(router) = &self.router {
            let number = row.route.number(router)?;
            row.group.iter_mut().for_each(|g| *g = number);
        }
        Ok(())
    }

    /// The number of the class that a row's scores decide for: the likeliest, unless the model has a rule of its own.
    #[inline]
    pub fn decide(&self, probabilities: &[f64]) -> usize {
        self.card.decision.rule.decide(probabilities)
    }

    /// The numbers of the labels that a row is given by the probabilities of all labels.
    pub fn labels<'s>(&self, probabilities: &'s [f64]) -> impl Iterator<Item = usize> + use<'s> {
        labels::decided(probabilities, self.card.decision.least())
    }

    /// The interval around a regression's score, where the model knows one.
    #[inline]
    pub fn interval(&self, score: f64) -> Option<(f64, f64)> {
        let half = self.card.decision.conformal?.quantile;
        Some((score - half, score + half))
    }

    /// The numbers of the classes that a row may be of by its scores, where the model knows how sure it is.
    pub fn set_of<'s>(&self, probabilities: &'s [f64]) -> Option<impl Iterator<Item = usize> + use<'s>> {
        let conformal = self.card.decision.conformal?;
        let within = move |(_, p): &(usize, &f64)| conformal.includes(**p);
        Some(probabilities.iter().enumerate().filter(within).map(|(class, _)| class))
    }

    /// Scores rows of a frame on the current thread pool: `rows.len() * outputs()` values.
    pub fn score_rows<'a>(&self, frame: &Frame, rows: impl Into<Selection<'a>>, cx: &Cx) -> Result<Vec<f64>> {
        let routes = self.routes(frame)?;
        let roles = Roles { group: &routes, ..Roles::default() };
        let source = FrameRows::bind(frame, &self.prepared, rows.into(), roles, None)?;
        let mut scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        self.card.decision.calibrate(self.outputs(), &mut scores);
        Ok(scores)
    }

    /// Scores all rows of a frame that has the other columns that the model was trained with.
    pub(crate) fn score_known(&self, frame: &Frame, cx: &Cx) -> Result<Vec<f64>> {
        let offset = match &self.card.offset {
            Some(name) => roles::read(&frame.columns[frame.position(name)?], roles::offset)?,
            None => vec![],
        };
        let known = Roles { offset: &offset, ..Roles::default() };
        let source = FrameRows::bind(frame, &self.prepared, Selection::All(frame.rows), known, None)?;
        let mut scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        self.card.decision.calibrate(self.outputs(), &mut scores);
        Ok(scores)
    }

    /// For a model with groups: scores those of some rows whose group it knows.
    pub(crate) fn score_known_groups(&self, frame: &Frame, rows: &[u32], cx: &Cx) -> Result<Vec<f64>> {
        let routes = self.router.as_ref().map_or(Ok(vec![]), |r| r.known_routes(frame, rows))?;
        let there = |row: &&u32| routes.get(**row as usize).is_some_and(|r| *r != NOWHERE);
        let rows: Vec<u32> = rows.iter().filter(there).copied().collect();
        let known = Roles { group: &routes, ..Roles::default() };
        let source = FrameRows::bind(frame, &self.prepared, &rows, known, None)?;
        let mut scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        self.card.decision.calibrate(self.outputs(), &mut scores);
        Ok(scores)
    }

    /// For a model with groups: where each row of a frame is scored; rows that are not are taken out of `rows`.
    pub(crate) fn answered(&self, frame: &Frame, rows: &mut Vec<u32>) -> Result<Vec<u64>> {
        let routes = self.routes(frame)?;
        if !routes.is_empty() {
            rows.retain(|r| routes[*r as usize] != NOWHERE);
            if rows.is_empty() {
                return Err(Error::new(Kind::Data, "the model knows the group of no row of the source")
                    .hint("SELECT * FROM damson.groups(model) shows its groups."));
            }
        }
        Ok(routes)
    }

    /// For a model with groups: where each row of a frame is scored.
    fn routes(&self, frame: &Frame) -> Result<Vec<u64>> {
        self.router.as_ref().map_or(Ok(vec![]), |r| r.routes(frame))
    }

    /// Measures the model on a frame that has its target, by default the column that it was trained on.
    ///
    /// # Errors
    /// Columns that are missing or of another type, labels that the model does not know.
    pub(crate) fn evaluate_whole(
        &self,
        frame: &Frame,
        target: Option<&str>,
        cx: &Cx,
    ) -> Result<Vec<(String, f64)>> {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
        }
        let role = |name: &Option<String>| name.as_ref().map(|n| frame.position(n)).transpose();
        let offset = role(&self.card.offset)?.map(|c| roles::read(&frame.columns[c], roles::offset));
        let group = role(&self.card.group)?.map(|c| roles::read(&frame.columns[c], roles::group));
        let (offset, group) =
            (offset.transpose()?.unwrap_or_default(), group.transpose()?.unwrap_or_default());
        if self.router.is_some() {
            let known = Roles { offset: &offset, group: &group, ..Roles::default() };
            return self.evaluate_groups(frame, target, known, cx);
        }
        let known = Roles { offset: &offset, group: &group, ..Roles::default() };
        let source = FrameRows::bind(frame, &self.prepared, Selection::All(frame.rows), known, None)?;
        let scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        if !self.card.task.supervised() {
            return measure_unsupervised(self.model.as_ref(), &self.schema, &source, &scores);
        }
        let Truth { y, sets } = self.target(frame, target)?;
        let roles = Roles { y: &y, sets: sets.as_deref(), ..known };
        Ok(measure(self.card.task, self.card.classes.len(), &scores, roles))
    }

    fn target(&self, frame: &Frame, target: Option<&str>) -> Result<Truth> {
        let Some(name) = target.or(self.card.target.as_deref()) else {
            return Err(Error::internal("the model does not know its target"));
        };
        target::apply(&frame.columns[frame.position(name)?], self.card.task, &self.card.classes)
    }

    /// As `evaluate`. Rows that the model answers nothing to count nowhere.
    fn evaluate_groups(
        &self,
        frame: &Frame,
        target: Option<&str>,
        known: Roles,
        cx: &Cx,
    ) -> Result<Vec<(String, f64)>> {
        let mut rows: Vec<u32> = (0..frame.rows as u32).collect();
        let routes = self.answered(frame, &mut rows)?;
        // Group by group: a model scores many rows at once.
        rows.sort_by_key(|r| routes[*r as usize]);
        let roles = Roles { group: &routes, ..known };
        let source = FrameRows::bind(frame, &self.prepared, &rows, roles, None)?;
        let scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        if !self.card.task.supervised() {
            let mut ranges = vec![];
            let mut end = 0;
            for run in rows.chunk_by(|a, b| routes[*a as usize] == routes[*b as usize]) {
                ranges.push(end..end + run.len());
                end += run.len();
            }
            return groups::measure::unsupervised(&self.schema, &source, &scores, &ranges);
        }
        let rows = Selection::Rows(&rows);
        let y = rows.pick(&self.target(frame, target)?.y);
        let (weight, offset, group) =
            (rows.pick(known.weight), rows.pick(known.offset), rows.pick(known.group));
        let roles = Roles { y: &y, sets: None, weight: &weight, offset: &offset, group: &group };
        Ok(measure(self.card.task, self.card.classes.len(), &scores, roles))
    }

    /// The coefficients for the columns as the user knows them, with the label of the class each is of; empty where
    /// the model has none.
    pub fn coefficients(&self) -> Vec<(Option<&str>, Coefficient)> {
        let units = self.prepared.units();
        let label = |class: usize| self.card.classes.get(class).map(String::as_str);
        let found = self.model.coefficients(&self.schema, &units).into_iter();
        found.map(|c| (c.class.and_then(label), c)).collect()
    }

    /// The model as rows to read: what it is, then what its algorithm says of it.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut rows = self.card.decision.describe(&self.card.classes);
        rows.extend(self.model.describe(&self.schema));
        let importance = self.model.importance(&self.schema);
        let mut ranked: Vec<(usize, f64)> =
            importance.into_iter().enumerate().filter(|(_, g)| *g > 0.0).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = ranked.iter().map(|r| r.1).sum();
        for (feature, gain) in ranked.into_iter().take(20) {
            let name = self.schema.features.get(feature).map_or("", |f| f.name.as_str());
            rows.push((format!("importance of {name}"), format!("{:.4}", gain / total)));
        }
        rows
    }
}

/// Scores all rows, block by block, on the current thread pool.
pub fn score_all(model: &dyn Model, schema: &Schema, rows: &dyn Rows, cx: &Cx) -> Result<Vec<f64>> {
    let (block, outputs) = (scored_rows(schema), model.outputs());
    let mut out = vec![0.0; rows.len() * outputs];
    if rows.streamed() {
        let whole = Mutex::new(&mut out);
        let score = |chunk: &Chunk| {
            let mut scores = vec![0.0; chunk.rows * outputs];
            model.score(chunk, &mut scores)?;
            let first = chunk.first as usize * outputs;
            let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
            whole[first..first + scores.len()].copy_from_slice(&scores);
            Ok(())
        };
        rows.pass(&score, cx)?;
        return Ok(out);
    }
    let buffers = Buffers::default();
    out.par_chunks_mut(block * outputs)
        .enumerate()
        .map(|(b, out)| {
            cx.check()?;
            buffers.lend(|buffer| {
                rows.read(b * block..((b + 1) * block).min(rows.len()), buffer)?;
                model.score(&buffer.chunk(), out)
            })
        })
        .collect::<Vec<Result<()>>>()
        .into_iter()
        .collect::<Result<()>>()?;
    Ok(out)
}

/// The metrics of scores against a target; a value a scored row in each list of `roles`.
pub fn measure(task: Task, classes: usize, scores: &[f64], roles: Roles) -> Vec<(String, f64)> {
    let found = match task {
        Task::Regression => metrics::regression(roles.y, scores, roles.weight),
        Task::Classification => metrics::classification(roles.y, scores, classes, roles.weight),
        Task::Ranking => metrics::ranking(roles.y, scores, roles.group),
        Task::Multilabel => return Decision::default().measure(task, classes, scores, roles),
        Task::Clustering | Task::Anomaly | Task::Embedding => vec![],
    };
    found.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// The share of the rows' variance that is left when they are made of their embedding again.
fn measure_embedding(
    model: &dyn Model,
    schema: &Schema,
    rows: &dyn Rows,
    scores: &[f64],
) -> Result<Vec<(String, f64)>> {
    let (block, k) = (block_rows(schema), model.outputs());
    let (mut buffer, mut restored) = (Buffer::default(), vec![]);
    let mut moments = vec![Moments::default(); schema.width()];
    let mut lost = 0.0;
    for start in (0..rows.len()).step_by(block) {
        let end = (start + block).min(rows.len());
        rows.read(start..end, &mut buffer)?;
        restored.resize(buffer.x.len(), 0.0);
        if !model.restore(&scores[start * k..end * k], &mut restored) {
            return Ok(vec![]);
        }
        lost += buffer.x.iter().zip(&restored).map(|(x, r)| (x - r) * (x - r)).sum::<f64>();
        for (j, m) in moments.iter_mut().enumerate() {
            m.add_all(buffer.x.iter().skip(j).step_by(schema.width()).copied());
        }
    }
    let total: f64 = moments.iter().map(|m| m.m2).sum();
    let share = 1.0 - lost / total;
    let found = [("explained_variance", share), ("mse", lost / (rows.len() * schema.width()).max(1) as f64)];
    Ok(found.into_iter().filter(|m| m.1.is_finite()).map(|(name, v)| (name.to_string(), v)).collect())
}

/// The metrics of a task without a target, which need the encoded rows.
pub fn measure_unsupervised(
    model: &dyn Model,
    schema: &Schema,
    rows: &dyn Rows,
    scores: &[f64],
) -> Result<Vec<(String, f64)>> {
    if schema.task == Task::Embedding {
        return measure_embedding(model, schema, rows, scores);
    }
    measure_clusters(schema, rows, scores)
}

/// The metrics of clusters; none for other tasks.
pub(crate) fn measure_clusters(
    schema: &Schema,
    rows: &dyn Rows,
    scores: &[f64],
) -> Result<Vec<(String, f64)>> {
    if schema.task != Task::Clustering {
        return Ok(vec![]);
    }
    let buffers = Buffers::default();
    let read = |range: Range<usize>, x: &mut Vec<f64>| {
        buffers.lend(|buffer| {
            rows.read(range, buffer)?;
            std::mem::swap(x, &mut buffer.x);
            Ok(())
        })
    };
    let found = metrics::clustering_by(schema.width(), scores, block_rows(schema), read)?;
    Ok(found.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
