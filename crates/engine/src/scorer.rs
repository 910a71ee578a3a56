//! A trained model, loaded to score: one row with no allocation, or a frame on all threads.

use crate::artifact::{self, Card};
use crate::error::{Error, Kind, Result};
use crate::frame::{ColumnKind, Frame, Value};
use crate::learner::{Cx, Model};
use crate::metrics;
use crate::prepare::encode::Number;
use crate::prepare::summary::Moments;
use crate::prepare::{FrameRows, InputColumn, Prepared, Roles};
use crate::run::{Buffers, Rows, block_rows};
use crate::schema::{Buffer, Chunk, Schema, Task};
use crate::{algorithms, roles, target};
use rayon::prelude::*;

/// A model that is ready to score. Shared between callers; each brings its own [`Row`].
pub struct Scorer {
    pub(crate) card: Card,
    pub(crate) prepared: Prepared,
    pub(crate) schema: Schema,
    pub(crate) model: Box<dyn Model>,
    plain: Option<Vec<Number>>,
    bytes: usize,
}

/// The scratch of one caller: a row's features and its scores, used again and again.
pub struct Row {
    pub(crate) x: Vec<f64>,
    pub(crate) image: Vec<u8>,
    out: Vec<f64>,
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
        let model = algorithm.load(payload, &schema)?;
        let expected = match card.task {
            Task::Classification => card.classes.len(),
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
        let bytes = bytes.len() * 2 + prepared.bytes();
        Ok(Scorer { card, prepared, schema, model, plain, bytes })
    }

    /// What the model is.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Bytes that it holds in memory, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Values a row: one, or a probability a class.
    pub fn outputs(&self) -> usize {
        self.model.outputs()
    }

    /// A new scratch row.
    pub fn row(&self) -> Row {
        let image = self.prepared.image().map_or(0, |s| s.bytes());
        Row { x: vec![0.0; self.prepared.width()], image: vec![0; image], out: vec![0.0; self.outputs()] }
    }

    /// Sets one input of a row. Every input must be set before each `score`.
    ///
    /// # Errors
    /// A value of another type, or one that the model's policies refuse; the column is named.
    #[inline]
    pub fn set(&self, row: &mut Row, input: usize, value: Value) -> Result<()> {
        self.prepared.put(input, value, &mut row.x, &mut row.image)
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
    fn set_plain(&self, row: &mut Row, numbers: &[Number], values: impl Iterator<Item = f64>) -> Result<()> {
        for (i, ((number, x), v)) in numbers.iter().zip(row.x.iter_mut()).zip(values).enumerate() {
            if let Err(fault) = number.put(v, std::slice::from_mut(x)) {
                let input = &self.card.inputs[i];
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

    /// Scores a row whose inputs are all set: the prediction, the cluster, or a probability a class.
    #[inline]
    pub fn score<'r>(&self, row: &'r mut Row) -> Result<&'r [f64]> {
        let chunk = Chunk { rows: 1, x: &row.x, images: &row.image, ..Chunk::default() };
        self.model.score(&chunk, &mut row.out)?;
        Ok(&row.out)
    }

    /// The number of the likeliest class; ties go to the first.
    pub fn best(probabilities: &[f64]) -> usize {
        let mut best = 0;
        for (i, p) in probabilities.iter().enumerate() {
            if *p > probabilities[best] {
                best = i;
            }
        }
        best
    }

    /// Scores some rows of a frame on the current thread pool: `rows.len() * outputs()` values.
    pub fn score_rows(&self, frame: &Frame, rows: &[u32], cx: &Cx) -> Result<Vec<f64>> {
        let source = FrameRows::bind(frame, &self.prepared, rows, Roles::default(), None)?;
        score_all(self.model.as_ref(), &self.schema, &source, cx)
    }

    /// Measures the model on a frame that has its target, by default the column that it was trained on.
    ///
    /// # Errors
    /// Columns that are missing or of another type, labels that the model does not know.
    pub fn evaluate(&self, frame: &Frame, target: Option<&str>, cx: &Cx) -> Result<Vec<(String, f64)>> {
        if frame.rows == 0 {
            return Err(Error::new(Kind::Data, "the source has no rows, expected one or more"));
        }
        let rows: Vec<u32> = (0..frame.rows as u32).collect();
        let role = |name: &Option<String>| name.as_ref().map(|n| frame.position(n)).transpose();
        let offset = role(&self.card.offset)?.map(|c| roles::read(&frame.columns[c], roles::offset));
        let group = role(&self.card.group)?.map(|c| roles::read(&frame.columns[c], roles::group));
        let (offset, group) =
            (offset.transpose()?.unwrap_or_default(), group.transpose()?.unwrap_or_default());
        let known = Roles { offset: &offset, group: &group, ..Roles::default() };
        let source = FrameRows::bind(frame, &self.prepared, &rows, known, None)?;
        let scores = score_all(self.model.as_ref(), &self.schema, &source, cx)?;
        if !self.card.task.supervised() {
            return measure_unsupervised(self.model.as_ref(), &self.schema, &source, &scores);
        }
        let Some(name) = target.or(self.card.target.as_deref()) else {
            return Err(Error::internal("the model does not know its target"));
        };
        let y = target::apply(&frame.columns[frame.position(name)?], self.card.task, &self.card.classes)?;
        Ok(measure(self.card.task, self.card.classes.len(), &scores, Roles { y: &y, ..known }))
    }

    /// The model as rows to read: what it is, then what its algorithm says of it.
    pub fn describe(&self) -> Vec<(String, String)> {
        let mut rows = self.model.describe(&self.schema);
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
    let (block, outputs) = (block_rows(schema), model.outputs());
    let mut out = vec![0.0; rows.len() * outputs];
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
        Task::Ranking | Task::Clustering | Task::Anomaly | Task::Embedding => vec![],
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

/// The metrics of a task without a target. Those of clusters need the encoded rows; where these are many, a fixed
/// stride of them is measured.
pub fn measure_unsupervised(
    model: &dyn Model,
    schema: &Schema,
    rows: &dyn Rows,
    scores: &[f64],
) -> Result<Vec<(String, f64)>> {
    if schema.task == Task::Embedding {
        return measure_embedding(model, schema, rows, scores);
    }
    /// Values of encoded rows that are held at once: 256 MiB.
    const HELD: usize = 32 << 20;
    let stride = (rows.len() * schema.width().max(1)).div_ceil(HELD).max(1);
    if schema.task != Task::Clustering {
        return Ok(vec![]);
    }
    let (mut x, mut kept) = (vec![], vec![]);
    let mut buffer = Buffer::default();
    let block = block_rows(schema);
    for start in (0..rows.len()).step_by(block) {
        rows.read(start..(start + block).min(rows.len()), &mut buffer)?;
        let chunk = buffer.chunk();
        for i in (0..chunk.rows).filter(|i| (start + i).is_multiple_of(stride)) {
            x.extend_from_slice(chunk.row(i));
            kept.push(scores[start + i]);
        }
    }
    let found = metrics::clustering(&x, schema.width(), &kept);
    Ok(found.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}
