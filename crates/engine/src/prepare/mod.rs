//! Preprocessing: learnt on the training rows, stored with the model, applied alike to a block and to one row.
//!
//! [`options`] says what a user may ask for, [`summary`] what must be known of a column, [`encode`] what is
//! learnt from it, [`image`] decodes pictures. [`Prepared`] is the whole; [`FrameRows`] lends it to a training.

pub mod encode;
pub(crate) mod extent;
pub mod image;
pub mod options;
pub mod summary;

use crate::dense::vectorized;
use crate::error::{Error, Kind, Result};
use crate::frame::{Column, ColumnKind, Data, Frame, Selection, Value};
use crate::labels::LabelSets;
use crate::lean::Lean;
use crate::learner::{Cx, Input};
use crate::pictures::Pictures;
use crate::run::{Buffers, Rows, edge};
use crate::schema::{Buffer, Chunk, Feature, ImageShape, Schema, Task, Unit};
use crate::stream::Stream;
use encode::{Encoder, UNKNOWN};
use options::Options;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use summary::{Moments, Summary, TargetColumns, fold, number};

/// More features than this are refused: they come from a mistake, such as one-hot encoding of an identifier.
const MAX_FEATURES: usize = 65_536;

/// A column that the model reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputColumn {
    /// Its name.
    pub name: String,
    /// The kind of its values.
    pub kind: ColumnKind,
}

/// Learnt preprocessing: how each input column becomes features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// The columns, in the order in which scalars are bound.
    pub inputs: Vec<InputColumn>,
    encoders: Vec<Encoder>,
    #[serde(skip)]
    offsets: Vec<usize>,
}

impl Prepared {
    /// Learns from rows of a frame. `known` gives the moments of columns over all rows, where they are plain numbers.
    ///
    /// # Errors
    /// Columns that cannot be features, images without a shape, more than one image, too many features.
    #[allow(clippy::too_many_arguments)] // What preprocessing is learnt from.
    pub(crate) fn fit(
        frame: &Frame,
        columns: &[usize],
        rows: Selection,
        options: &Options,
        input: Input,
        target: Option<&TargetColumns>,
        known: impl Fn(usize) -> Option<Moments> + Sync,
        cx: &Cx,
    ) -> Result<Prepared> {
        let shape = options.shape()?;
        // Most columns of numbers need none.
        let list = LazyLock::new(|| rows.list());
        let summaries: Vec<Result<Summary>> = columns
            .par_iter()
            .map(|c| {
                cx.check()?;
                let column = &frame.columns[*c];
                let plan = options.plan(&column.name)?;
                let mut summary = Summary::new(column.kind(), &plan);
                if needs_summary(column, &plan) {
                    match (&mut summary, if rows.len() == frame.rows { known(*c) } else { None }) {
                        (Summary::Numbers(all), Some(known)) => all.fill(known),
                        _ => summary.add_rows(column, &list, &plan, target)?,
                    }
                }
                Ok(summary)
            })
            .collect();
        let summaries = summaries.into_iter().collect::<Result<Vec<_>>>()?;
        let inputs: Vec<InputColumn> = columns
            .iter()
            .map(|c| InputColumn { name: frame.columns[*c].name.clone(), kind: frame.columns[*c].kind() })
            .collect();
        Prepared::from_summaries(inputs, &summaries, options, input, shape, target)
    }

    /// Learns from summaries that were made elsewhere.
    pub fn from_summaries(
        inputs: Vec<InputColumn>,
        summaries: &[Summary],
        options: &Options,
        input: Input,
        shape: Option<ImageShape>,
        target: Option<&TargetColumns>,
    ) -> Result<Prepared> {
        let images = (shape, options.channels_first()?, input == Input::Image);
        let mut encoders = vec![];
        for (i, summary) in inputs.iter().zip(summaries) {
            encoders.push(Encoder::fit(&i.name, summary, i.kind, &options.plan(&i.name)?, images, target)?);
        }
        let mut prepared = Prepared { inputs, encoders, offsets: vec![] };
        let pictures = prepared.encoders.iter().filter(|e| matches!(e, Encoder::Image { .. })).count();
        if pictures > 1 || (pictures == 1 && prepared.inputs.len() > 1) {
            let names: Vec<&str> = prepared.inputs.iter().map(|i| i.name.as_str()).take(20).collect();
            let message =
                format!("a network takes one image column or numbers, found columns {}", names.join(", "));
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Name the image column alone, for example features => '{image}'."));
        }
        prepared.restore()?;
        Ok(prepared)
    }

    /// Makes what is not stored, and refuses what later steps could not rely on.
    pub fn restore(&mut self) -> Result<()> {
        if self.inputs.is_empty() || self.inputs.len() != self.encoders.len() {
            return Err(Error::corrupt(
                "the model's preprocessing has no inputs, or not one encoder for each",
            ));
        }
        self.offsets = vec![0];
        for (input, encoder) in self.inputs.iter().zip(&mut self.encoders) {
            let fits = match (&*encoder, input.kind) {
                (Encoder::Number(_), ColumnKind::Number | ColumnKind::Bool)
                | (Encoder::Category(_), ColumnKind::Text)
                | (Encoder::Time(_), ColumnKind::Time)
                | (Encoder::Image { .. } | Encoder::Pixels { .. }, ColumnKind::Bytes) => true,
                (Encoder::Vector(numbers), ColumnKind::Vector { width }) => numbers.len() == width,
                _ => false,
            };
            if !fits || !encoder.restore() {
                return Err(Error::corrupt(format!(
                    "the preprocessing of column \"{}\" is damaged",
                    input.name
                )));
            }
            let end = self.offsets.last().copied().unwrap_or(0) + encoder.width();
            if end > MAX_FEATURES {
                let message = format!(
                    "column \"{}\" brings the features to {end}, at most {MAX_FEATURES} are possible",
                    input.name
                );
                return Err(Error::new(Kind::Data, message)
                    .hint("Leave the column out with features => '{...}', or encode it by preprocess => '{\"categories\": \"target\"}'."));
            }
            self.offsets.push(end);
        }
        Ok(())
    }

    /// Features a row.
    pub fn width(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// The image's shape, where there is one.
    pub fn image(&self) -> Option<ImageShape> {
        self.raw_images().map(|(shape, _)| shape)
    }

    /// The shape of the images, where there are any, and whether raw ones have their channels first.
    pub(crate) fn raw_images(&self) -> Option<(ImageShape, bool)> {
        self.encoders.iter().find_map(|e| match e {
            Encoder::Image { shape, channels_first } => Some((*shape, *channels_first)),
            _ => None,
        })
    }

    /// The features, in the order of `Chunk::x`.
    pub fn features(&self) -> Vec<Feature> {
        self.inputs.iter().zip(&self.encoders).flat_map(|(i, e)| e.features(&i.name)).collect()
    }

    /// What was made of each feature, in the order of [`Prepared::features`].
    pub fn units(&self) -> Vec<Unit> {
        self.encoders.iter().flat_map(Encoder::units).collect()
    }

    /// What a learner is told of these features.
    pub fn schema(&self, task: Task, classes: usize, rows: usize) -> Schema {
        Schema { features: self.features(), image: self.image(), task, classes, positive: vec![], rows }
    }

    /// Encodes one value of one input into a row of features, or into the image.
    #[inline]
    pub fn put(&self, input: usize, value: Value, x: &mut [f64], image: &mut [u8]) -> Result<()> {
        let slots = self.offsets[input]..self.offsets[input + 1];
        self.encoders[input]
            .put(value, None, &mut x[slots], image)
            .map_err(|fault| fault.explain(&self.inputs[input].name, self.inputs[input].kind))
    }

    /// The numbers of all inputs, one feature each, where every input is a plain number: the fast path of scoring.
    pub fn plain_numbers(&self) -> Option<Vec<encode::Number>> {
        self.encoders
            .iter()
            .map(|e| match e {
                Encoder::Number(n) if !n.indicator => Some(*n),
                _ => None,
            })
            .collect()
    }

    /// Sums values of features by input.
    pub fn by_input(&self, features: &[f64]) -> Vec<f64> {
        self.offsets.windows(2).map(|w| features[w[0]..w[1]].iter().sum()).collect()
    }

    /// Bytes that it holds, for a cache's bound.
    pub fn bytes(&self) -> usize {
        let encoder = |e: &Encoder| match e {
            Encoder::Category(c) => c.levels.iter().map(|l| 2 * l.len() + 100).sum(),
            Encoder::Vector(v) => v.len() * 48,
            _ => 200,
        };
        self.encoders.iter().map(encoder).sum::<usize>() + self.inputs.len() * 64
    }

    /// Whether rows are encoded otherwise to train on than to be scored: by means over other rows' targets.
    pub fn knows_rows(&self) -> bool {
        self.encoders.iter().any(|e| matches!(e, Encoder::Category(c) if c.knows_rows()))
    }

    /// Drops what only the training rows need.
    pub fn forget_training(&mut self) {
        for e in &mut self.encoders {
            if let Encoder::Category(c) = e {
                c.forget_training();
            }
        }
    }
}

fn needs_summary(column: &Column, plan: &options::Plan) -> bool {
    match column.kind() {
        ColumnKind::Text | ColumnKind::Bytes => true,
        _ => plan.needs_numbers(),
    }
}

/// Rows that are encoded at once: those of 28 features fill a third of the first-level cache.
const TILE: usize = 64;

/// The values of some rows: a copy where the rows are neighbours, as they are unless some were held out.
#[inline(always)]
fn fetch<T: Copy + Into<f64>>(values: &[T], rows: &[u32], into: &mut [f64]) {
    fetch_after(values, 0, rows, into);
}

/// The same, of values that begin with row `begin`.
#[inline(always)]
fn fetch_after<T: Copy + Into<f64>>(values: &[T], begin: usize, rows: &[u32], into: &mut [f64]) {
    let first = rows.first().map_or(0, |r| *r as usize);
    let neighbours = rows.iter().zip(first as u32..).fold(true, |all, (row, next)| all & (*row == next));
    let at = first.wrapping_sub(begin);
    match values.get(at..at.wrapping_add(rows.len())) {
        Some(values) if neighbours => into.iter_mut().zip(values).for_each(|(x, v)| *x = (*v).into()),
        _ => into.iter_mut().zip(rows).for_each(|(x, i)| *x = values[*i as usize - begin].into()),
    }
}

/// What a frame's rows have beside features: a value a row of the frame each, or none at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Roles<'a> {
    /// Targets; of a multi-label task the numbers of `sets`.
    pub y: &'a [f64],
    /// What the targets of a multi-label task mean.
    pub sets: Option<&'a LabelSets>,
    /// Weights.
    pub weight: &'a [f64],
    /// Offsets of the linear predictor.
    pub offset: &'a [f64],
    /// Numbers of groups.
    pub group: &'a [u64],
}

/// Rows of a frame, encoded block by block as they are asked for.
pub struct FrameRows<'a> {
    frame: &'a Frame,
    prepared: &'a Prepared,
    /// The frame's column of each input.
    columns: Vec<usize>,
    rows: Selection<'a>,
    roles: Roles<'a>,
    /// An input whose values come from other rows, one for each of `rows`.
    replaced: Option<(usize, Vec<u32>)>,
    /// For text columns: the code of each dictionary entry.
    codes: Vec<Vec<u32>>,
    /// The inputs that are one number a row and nothing more, with how they are encoded; ascending.
    plain: Vec<(usize, encode::Number)>,
    /// Where columns that are away come from, and the place of each input among them.
    stream: Option<&'a Stream<'a>>,
    away: Vec<Option<usize>>,
    /// Targets of the frame's rows, where the roles have none.
    lean: Option<&'a Lean>,
    /// The seed of cross-fitting, when these are the rows that the preprocessing was learnt on.
    training: Option<u64>,
}

impl<'a> FrameRows<'a> {
    /// Binds a frame's columns to the inputs by name. `rows` are the rows to give. `training` is the seed that the preprocessing was learnt with, on these rows.
    ///
    /// # Errors
    /// A column that is not there or of another kind, a text that the model refuses.
    pub fn bind(
        frame: &'a Frame,
        prepared: &'a Prepared,
        rows: impl Into<Selection<'a>>,
        roles: Roles<'a>,
        training: Option<u64>,
    ) -> Result<FrameRows<'a>> {
        let rows = rows.into();
        let mut columns = vec![];
        let mut codes = vec![];
        for (input, encoder) in prepared.inputs.iter().zip(&prepared.encoders) {
            let position = frame.position(&input.name)?;
            let column = &frame.columns[position];
            if !column.kind().serves_as(input.kind) {
                let (found, expected) = (encode::kind_name(column.kind()), encode::kind_name(input.kind));
                return Err(Error::new(
                    Kind::Type,
                    format!("column \"{}\" is {found}, expected {expected}", input.name),
                )
                .hint("Cast it to the type that the model was trained on."));
            }
            codes.push(match (encoder, &column.data) {
                (Encoder::Category(c), Data::Text(d)) => {
                    let code = |t: &String| match c.code(Some(t)) {
                        Ok(code) => Ok(code),
                        Err(fault) => Err(fault.explain(&input.name, input.kind)),
                    };
                    d.values.iter().map(code).collect::<Result<Vec<u32>>>()?
                }
                _ => vec![],
            });
            columns.push(position);
        }
        let numbers = columns.iter().zip(&prepared.encoders).enumerate();
        let plain = numbers.filter_map(|(input, (column, encoder))| {
            let column = &frame.columns[*column];
            let direct =
                matches!(column.data, Data::F32(_) | Data::F64(_) | Data::I32(_) | Data::Away { .. });
            match encoder {
                Encoder::Number(n) if direct && column.missing.is_empty() && !n.indicator => {
                    Some((input, *n))
                }
                _ => None,
            }
        });
        let plain = plain.collect();
        let away = vec![None; columns.len()];
        Ok(FrameRows {
            frame,
            prepared,
            columns,
            rows,
            roles,
            replaced: None,
            codes,
            plain,
            stream: None,
            away,
            lean: None,
            training,
        })
    }

    /// Reads the columns that are away from there, with these targets. The rows must be ascending then.
    pub(crate) fn over(mut self, stream: Option<&'a Stream<'a>>, y: Option<&'a Lean>) -> FrameRows<'a> {
        self.lean = y;
        let place = |column: &usize| stream.and_then(|s| s.places.binary_search(column).ok());
        self.away = self.columns.iter().map(place).collect();
        self.stream = stream.filter(|_| self.away.iter().any(Option::is_some));
        self
    }

    /// An input's column, and the row that it begins with.
    #[inline(always)]
    fn column<'b>(&'b self, input: usize, block: &Block<'b>) -> (&'b Column, usize) {
        match self.away[input].and_then(|at| block.columns.get(at)) {
            Some(column) => (column, block.first),
            None => (&self.frame.columns[self.columns[input]], 0),
        }
    }

    /// Takes the values of one input from other rows, one for each row given.
    pub fn replace(&mut self, input: usize, rows: Vec<u32>) {
        self.replaced = (rows.len() == self.rows.len()).then_some((input, rows));
    }

    /// Takes all values from their own rows again.
    pub fn restore(&mut self) {
        self.replaced = None;
    }

    /// Images that stay where they are, to be come back for.
    fn kept(&self) -> Option<&Arc<Pictures>> {
        let (column, encoder) = self.columns.first().zip(self.prepared.encoders.first())?;
        match (&self.frame.columns[*column].data, encoder) {
            (Data::Images(pictures), Encoder::Image { shape, .. })
                if pictures.shape() == *shape && self.replaced.is_none() =>
            {
                Some(pictures)
            }
            _ => None,
        }
    }

    /// Encodes all columns of plain numbers into `x`, tile by tile; false where one of them holds what its encoder
    /// refuses, to be found by `read_column`.
    fn read_numbers(&self, rows: &[u32], block: &Block, x: &mut [f64]) -> bool {
        let width = self.prepared.width();
        let mut all = true;
        vectorized(
            #[inline(always)]
            || {
                for (rows, x) in rows.chunks(TILE).zip(x.chunks_mut(TILE * width.max(1))) {
                    let mut tile = [0.0; TILE];
                    let tile = &mut tile[..rows.len()];
                    for (input, number) in &self.plain {
                        let (column, begin) = self.column(*input, block);
                        match &column.data {
                            Data::F32(v) => fetch_after(v, begin, rows, tile),
                            Data::F64(v) => fetch_after(v, begin, rows, tile),
                            Data::I32(v) => fetch_after(v, begin, rows, tile),
                            _ => continue,
                        }
                        all &= number.put_all(tile);
                        let slot = self.prepared.offsets[*input];
                        for (x, v) in x.chunks_exact_mut(width).zip(&*tile) {
                            x[slot] = *v;
                        }
                    }
                }
            },
        );
        all
    }

    fn read_column(&self, input: usize, rows: &[u32], block: &Block, into: &mut Buffer) -> Result<()> {
        let (column, begin) = self.column(input, block);
        let encoder = &self.prepared.encoders[input];
        let width = self.prepared.width();
        let slots = self.prepared.offsets[input]..self.prepared.offsets[input + 1];
        let image = self.prepared.image().map_or(0, |s| s.bytes());
        let explain = |i: usize, fault: encode::Fault| {
            let e = fault.explain(&column.name, self.prepared.inputs[input].kind);
            let detail = format!("Row {} of the source.", i + 1);
            e.detail(detail)
        };
        let mut numbers = |n: &encode::Number, value: &dyn Fn(usize) -> f64| -> Result<()> {
            for (r, i) in rows.iter().map(|i| *i as usize).enumerate() {
                n.put(value(i - begin), &mut into.x[r * width + slots.start..r * width + slots.end])
                    .map_err(|f| explain(i, f))?;
            }
            Ok(())
        };
        match (encoder, &column.data) {
            (Encoder::Number(n), Data::F32(v)) => numbers(n, &|i| f64::from(v[i])),
            (Encoder::Number(n), Data::F64(v)) => numbers(n, &|i| v[i]),
            (Encoder::Number(n), Data::I32(v)) if column.missing.is_empty() => {
                numbers(n, &|i| f64::from(v[i]))
            }
            (Encoder::Number(n), _) => numbers(n, &|i| number(column.value(i))),
            (Encoder::Category(c), Data::Text(d)) => {
                let codes = &self.codes[input];
                let none = c.code(None).unwrap_or(UNKNOWN);
                for (r, i) in rows.iter().map(|i| *i as usize).enumerate() {
                    let code = codes.get(d.codes[i] as usize).copied().unwrap_or(none);
                    let fold = self.training.map(|seed| fold(seed, i as u64));
                    c.put(code, fold, &mut into.x[r * width + slots.start..r * width + slots.end]);
                }
                Ok(())
            }
            _ => {
                for (r, i) in rows.iter().map(|i| *i as usize).enumerate() {
                    let x = &mut into.x[r * width + slots.start..r * width + slots.end];
                    let picture = if matches!(encoder, Encoder::Image { .. }) {
                        &mut into.images[r * image..(r + 1) * image]
                    } else {
                        &mut []
                    };
                    encoder.put(column.value(i - begin), None, x, picture).map_err(|f| explain(i, f))?;
                }
                Ok(())
            }
        }
    }
}

impl Rows for FrameRows<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn group_edge(&self, row: usize) -> usize {
        edge(self.roles.group, row, |i| self.rows.get(i).unwrap_or(usize::MAX))
    }

    fn streamed(&self) -> bool {
        self.stream.is_some()
    }

    fn pass(&self, take: &(dyn Fn(&Chunk) -> Result<()> + Sync), cx: &Cx) -> Result<()> {
        let stream = self.stream.ok_or_else(|| Error::internal("rows are not read in passes"))?;
        let buffers = Buffers::default();
        let give = |first: usize, columns: &[Column]| {
            let end = first + columns.first().map_or(0, Column::len);
            let range = self.rows.before(first)..self.rows.before(end);
            if range.is_empty() {
                return Ok(());
            }
            buffers.lend(|buffer| {
                self.encode(range, &Block { first, columns }, buffer)?;
                take(&buffer.chunk())
            })
        };
        stream.pass(&give, cx)
    }

    fn read(&self, range: Range<usize>, into: &mut Buffer) -> Result<()> {
        if self.stream.is_some() {
            return Err(Error::internal("rows are read in passes only"));
        }
        self.encode(range, &Block { first: 0, columns: &[] }, into)
    }
}

/// Rows of the columns that are away, from one on.
struct Block<'b> {
    first: usize,
    columns: &'b [Column],
}

impl FrameRows<'_> {
    fn encode(&self, range: Range<usize>, block: &Block, into: &mut Buffer) -> Result<()> {
        let rows = &*self.rows.some(range.clone());
        let gone = |input| matches!(self.column(input, block).0.data, Data::Away { .. });
        if (0..self.columns.len()).any(gone) {
            return Err(Error::internal("a column is away, and nobody reads it"));
        }
        into.clear(range.start as u64);
        into.rows = rows.len();
        into.x.resize(rows.len() * self.prepared.width(), 0.0);
        into.images.resize(rows.len() * self.prepared.image().map_or(0, |s| s.bytes()), 0);
        if let Some(pictures) = self.kept() {
            into.keep(pictures, rows);
        }
        let done = self.read_numbers(rows, block, &mut into.x);
        for input in 0..self.columns.len() {
            let other = match &self.replaced {
                Some((replaced, others)) if *replaced == input => Some(&others[range.clone()]),
                _ => None,
            };
            let missing = !done || self.plain.binary_search_by_key(&input, |p| p.0).is_err();
            if missing || other.is_some() {
                self.read_column(input, other.unwrap_or(rows), block, into)?;
            }
        }
        let Roles { y, sets, weight, offset, group } = self.roles;
        let single = match sets {
            Some(sets) => {
                rows.iter().filter(|_| !y.is_empty()).for_each(|i| sets.add_row(y[*i as usize], &mut into.y));
                &[]
            }
            None => y,
        };
        if let Some(lean) = self.lean {
            into.y.extend(rows.iter().map(|i| lean.at(*i as usize)));
        }
        for (from, into) in [(single, &mut into.y), (weight, &mut into.weight), (offset, &mut into.offset)] {
            if !from.is_empty() {
                into.extend(rows.iter().map(|i| from[*i as usize]));
            }
        }
        if !group.is_empty() {
            into.group.extend(rows.iter().map(|i| group[*i as usize]));
        }
        Ok(())
    }
}
