//! One column's values to features: learnt at training, stored with the model, the same code for one row and for
//! a block.

use crate::error::{Error, Kind, Result};
use crate::frame::{ColumnKind, Value};
use crate::prepare::options::{CategoryPolicy, MissingPolicy, Part, Plan};
use crate::prepare::summary::{FOLDS, Level, Moments, Summary, TargetColumns, time_part};
use crate::schema::{Feature, FeatureKind, ImageShape, Unit};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a missing number becomes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Missing {
    /// NaN, for algorithms that know it.
    Keep,
    /// This value.
    Fill(f64),
    /// An error.
    Refuse,
}

/// A number: filled, shifted and scaled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Number {
    /// For a missing one.
    pub missing: Missing,
    /// Subtracted.
    pub center: f64,
    /// Multiplied afterwards.
    pub factor: f64,
    /// Whether infinite values pass.
    pub infinite: bool,
    /// Whether a 0/1 feature follows that says whether it was missing.
    pub indicator: bool,
}

impl Number {
    fn fit(m: &Moments, plan: &Plan) -> Number {
        let native = plan.missing == MissingPolicy::Native;
        let (center, factor) = match plan.scale {
            // A constant column becomes zero, as with scikit-learn's StandardScaler.
            true if m.deviation() > 0.0 => (m.mean, 1.0 / m.deviation()),
            true => (m.mean, 1.0),
            false => (0.0, 1.0),
        };
        let missing = match plan.missing {
            MissingPolicy::Native => Missing::Keep,
            MissingPolicy::Mean => Missing::Fill(m.mean),
            MissingPolicy::Zero => Missing::Fill(0.0),
            MissingPolicy::Error => Missing::Refuse,
        };
        Number { missing, center, factor, infinite: native, indicator: plan.indicator && m.missing > 0 }
    }

    /// Features that it gives.
    pub fn width(&self) -> usize {
        1 + usize::from(self.indicator)
    }

    /// Encodes `x`, where NaN is missing.
    #[inline]
    pub fn put(&self, x: f64, out: &mut [f64]) -> std::result::Result<(), Fault> {
        let filled = if x.is_nan() {
            match self.missing {
                Missing::Keep => x,
                Missing::Fill(v) => v,
                Missing::Refuse => return Err(Fault::Missing),
            }
        } else {
            x
        };
        if filled.is_infinite() && !self.infinite {
            return Err(Fault::Infinite);
        }
        out[0] = (filled - self.center) * self.factor;
        if self.indicator {
            out[1] = f64::from(x.is_nan());
        }
        Ok(())
    }

    /// Encodes values in place, as `put` does for a number without an indicator; false where `put` would fail.
    #[inline(always)]
    pub fn put_all(&self, values: &mut [f64]) -> bool {
        let fill = if let Missing::Fill(v) = self.missing { v } else { f64::NAN };
        let (refuse_missing, refuse_infinite) = (self.missing == Missing::Refuse, !self.infinite);
        let mut bad = false;
        for x in values {
            let filled = if x.is_nan() { fill } else { *x };
            bad |= (refuse_missing & x.is_nan()) | (refuse_infinite & filled.is_infinite());
            *x = (filled - self.center) * self.factor;
        }
        !bad
    }

    fn check(&self) -> bool {
        let fill = match self.missing {
            Missing::Fill(v) => v.is_finite(),
            _ => true,
        };
        fill && self.center.is_finite() && self.factor.is_finite()
    }
}

/// Why a value cannot be encoded. Small, since it is made in inner loops; `explain` names the column.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// It is missing, and the model's policy refuses that.
    Missing,
    /// It is infinite.
    Infinite,
    /// It is of another type.
    Type(&'static str),
    /// It is a text that training never saw, and the policy refuses that.
    Unseen(String),
    /// It is a vector of another length.
    Length(usize),
    /// It is not such an image.
    Image(Error),
}

impl Fault {
    /// The error for a user.
    pub fn explain(self, column: &str, expected: ColumnKind) -> Error {
        match self {
            Fault::Missing => Error::new(Kind::Null, format!("column \"{column}\" is NULL"))
                .hint("The option \"missing\" of preprocess is \"error\"."),
            Fault::Infinite => Error::new(Kind::Data, format!("column \"{column}\" is infinite"))
                .hint("Filter such rows out, or use an algorithm that takes them, such as boosting."),
            Fault::Type(found) => Error::new(
                Kind::Type,
                format!("column \"{column}\" is {found}, expected {}", kind_name(expected)),
            )
            .hint("Cast it to the type that the model was trained on."),
            Fault::Unseen(text) => {
                let shown: String = text.chars().take(60).collect();
                Error::new(
                    Kind::Data,
                    format!("column \"{column}\" is \"{shown}\", which training never saw"),
                )
                .hint("The option \"unseen\" of preprocess is \"error\".")
            }
            Fault::Length(found) => Error::new(
                Kind::Type,
                format!("column \"{column}\" has {found} elements, expected {}", kind_name(expected)),
            ),
            Fault::Image(e) => Error { message: format!("column \"{column}\": {}", e.message), ..e },
        }
    }
}

/// A kind in words.
pub fn kind_name(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Number => "a number".into(),
        ColumnKind::Bool => "a boolean".into(),
        ColumnKind::Text => "text".into(),
        ColumnKind::Time => "a date or timestamp".into(),
        ColumnKind::Vector { width } => format!("an array of {width} numbers"),
        ColumnKind::Bytes => "bytea".into(),
        ColumnKind::Labels => "an array of text".into(),
    }
}

fn found_name(value: &Value) -> &'static str {
    match value {
        Value::Missing => "NULL",
        Value::Number(_) => "a number",
        Value::Bool(_) => "a boolean",
        Value::Text(_) => "text",
        Value::Time(_) => "a date or timestamp",
        Value::Vector(_) => "an array",
        Value::Bytes(_) | Value::Picture(_) => "bytea",
    }
}

/// Text as features. Codes are `0 .. levels.len()` for kept values, then the rare ones, then the missing ones,
/// where training had such.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Category {
    /// Kept values, most frequent first.
    pub levels: Vec<String>,
    /// Whether rare values have a code.
    pub rare: bool,
    /// Whether missing values have a code.
    pub missing: bool,
    /// Whether an unseen value is an error.
    pub unseen_is_error: bool,
    /// What a code becomes.
    pub how: How,
    #[serde(skip)]
    index: HashMap<String, u32>,
    /// Codes of rare values of training, so that they are told from unseen ones; only where that matters.
    rare_levels: Vec<String>,
    /// Target means without each fold, by fold, code and column: for the training rows.
    #[serde(skip)]
    cross: Vec<f64>,
}

/// What a category's code becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum How {
    /// One 0/1 feature a code; without the first when `drop_first`.
    OneHot {
        /// Whether the most frequent value is the base.
        drop_first: bool,
    },
    /// The code as a number; -1 when unknown.
    Ordinal,
    /// The code as a category; NaN when unknown.
    Native,
    /// The target's means: `means[code * width ..]`, and the overall ones for an unknown code.
    Target {
        /// Columns.
        width: usize,
        /// By code.
        means: Vec<f64>,
        /// Over all rows.
        prior: Vec<f64>,
    },
}

/// The code of a value that has none.
pub const UNKNOWN: u32 = u32::MAX;

/// Weight of the overall mean in a category's mean, in rows.
const SMOOTHING: f64 = 10.0;

impl Category {
    fn fit(
        levels: &std::collections::BTreeMap<String, Level>,
        none: &Level,
        plan: &Plan,
        width: usize,
    ) -> Category {
        let mut by_rows: Vec<(&String, &Level)> = levels.iter().collect();
        by_rows.sort_by(|a, b| b.1.rows.cmp(&a.1.rows).then(a.0.cmp(b.0)));
        let frequent = by_rows.iter().take_while(|(_, l)| l.rows >= plan.min_frequency).count();
        let (kept, rare) = by_rows.split_at(frequent.min(plan.max_categories));
        let native = plan.categories == CategoryPolicy::Native;
        let missing = none.rows > 0 && !native;
        let how = match plan.categories {
            CategoryPolicy::OneHot => How::OneHot { drop_first: false },
            CategoryPolicy::Dummy => How::OneHot { drop_first: true },
            CategoryPolicy::Ordinal => How::Ordinal,
            CategoryPolicy::Native => How::Native,
            CategoryPolicy::Target => How::Target { width, means: vec![], prior: vec![] },
        };
        let mut category = Category {
            levels: kept.iter().map(|(t, _)| (*t).clone()).collect(),
            rare: !rare.is_empty(),
            missing,
            unseen_is_error: plan.unseen_is_error,
            how,
            index: HashMap::new(),
            rare_levels: if plan.unseen_is_error {
                rare.iter().map(|(t, _)| (*t).clone()).collect()
            } else {
                vec![]
            },
            cross: vec![],
        };
        if plan.categories == CategoryPolicy::Target {
            let mut cells: Vec<Level> = kept.iter().map(|(_, l)| (*l).clone()).collect();
            if category.rare {
                let mut all = Level::default();
                rare.iter().for_each(|(_, l)| all.merge(l));
                cells.push(all);
            }
            if missing {
                cells.push(none.clone());
            }
            category.fit_means(&cells, width);
        }
        category.reindex();
        category
    }

    /// Smoothed means by code, over all folds and without each fold (Micci-Barreca 2001; cross-fitting as in
    /// scikit-learn's `TargetEncoder`, so that a training row does not see its own target).
    fn fit_means(&mut self, cells: &[Level], width: usize) {
        let sum = |cell: &Level, k: usize, skip: Option<usize>| {
            let folds = (0..FOLDS).filter(|f| Some(*f) != skip);
            let cells = folds.filter_map(|f| cell.target.get(f * width + k));
            cells.fold([0.0; 2], |s, c| [s[0] + c[0], s[1] + c[1]])
        };
        // One overall mean for all folds: a fold's own would betray the sum of the rows left out.
        let overall = |k: usize| {
            let all = cells.iter().map(|c| sum(c, k, None)).fold([0.0; 2], |a, b| [a[0] + b[0], a[1] + b[1]]);
            if all[1] > 0.0 { all[0] / all[1] } else { 0.0 }
        };
        let prior: Vec<f64> = (0..width).map(overall).collect();
        let means = |skip: Option<usize>| -> Vec<f64> {
            let mean = |cell: &Level, k: usize| {
                let s = sum(cell, k, skip);
                (s[0] + SMOOTHING * prior[k]) / (s[1] + SMOOTHING)
            };
            cells.iter().flat_map(|c| (0..width).map(|k| mean(c, k)).collect::<Vec<_>>()).collect()
        };
        self.cross = (0..FOLDS).flat_map(|f| means(Some(f))).collect();
        let means = means(None);
        self.how = How::Target { width, means, prior };
    }

    fn reindex(&mut self) {
        self.index = self.levels.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect();
        if self.rare {
            let rare = self.levels.len() as u32;
            self.index.extend(self.rare_levels.iter().map(|t| (t.clone(), rare)));
        }
    }

    /// Codes that there are.
    pub fn codes(&self) -> usize {
        self.levels.len() + usize::from(self.rare) + usize::from(self.missing)
    }

    /// Features that it gives.
    pub fn width(&self) -> usize {
        match &self.how {
            How::OneHot { drop_first } => self.codes().saturating_sub(usize::from(*drop_first)),
            How::Ordinal | How::Native => 1,
            How::Target { width, .. } => *width,
        }
    }

    /// The code of a text, or of a missing one.
    pub fn code(&self, text: Option<&str>) -> std::result::Result<u32, Fault> {
        let Some(text) = text else {
            return Ok(if self.missing { (self.codes() - 1) as u32 } else { UNKNOWN });
        };
        match self.index.get(text) {
            Some(code) => Ok(*code),
            None if self.unseen_is_error => Err(Fault::Unseen(text.to_string())),
            None if self.rare => Ok(self.levels.len() as u32),
            None => Ok(UNKNOWN),
        }
    }

    /// Writes the features of a code; `fold` is given for training rows.
    #[inline]
    pub fn put(&self, code: u32, fold: Option<usize>, out: &mut [f64]) {
        match &self.how {
            How::OneHot { drop_first } => {
                out.fill(0.0);
                let slot = (code as usize).wrapping_sub(usize::from(*drop_first));
                if let Some(x) = out.get_mut(slot) {
                    *x = 1.0;
                }
            }
            How::Ordinal => out[0] = if code == UNKNOWN { -1.0 } else { f64::from(code) },
            How::Native => out[0] = if code == UNKNOWN { f64::NAN } else { f64::from(code) },
            How::Target { width, means, prior } => {
                let start = code as usize * width;
                let found = match fold {
                    Some(f) if !self.cross.is_empty() => self
                        .cross
                        .get(f * means.len()..(f + 1) * means.len())
                        .and_then(|c| c.get(start..start + width)),
                    _ => means.get(start..start.saturating_add(*width)),
                };
                out.copy_from_slice(found.unwrap_or(prior));
            }
        }
    }

    fn names(&self, column: &str) -> Vec<String> {
        let mut codes: Vec<String> = self.levels.iter().map(|t| format!("{column}={t}")).collect();
        if self.rare {
            codes.push(format!("{column}=(rare)"));
        }
        if self.missing {
            codes.push(format!("{column}=(missing)"));
        }
        match &self.how {
            How::OneHot { drop_first } => codes.split_off(usize::from(*drop_first).min(codes.len())),
            How::Ordinal | How::Native => vec![column.to_string()],
            How::Target { width: 1, .. } => vec![format!("mean of {column}")],
            How::Target { width, .. } => {
                (0..*width).map(|k| format!("mean of {column}, class {}", k + 1)).collect()
            }
        }
    }
}

/// How one column of the source becomes features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Encoder {
    /// A number or boolean.
    Number(Number),
    /// Text.
    Category(Category),
    /// A date: one number a part.
    Time(Vec<(Part, Number)>),
    /// An array: one number an element.
    Vector(Vec<Number>),
    /// An image that stays an image.
    Image {
        /// Its shape.
        shape: ImageShape,
        /// Whether raw bytes have their channels first.
        channels_first: bool,
    },
    /// An image whose pixels become numbers.
    Pixels {
        /// Its shape.
        shape: ImageShape,
        /// Whether raw bytes have their channels first.
        channels_first: bool,
        /// How a pixel is encoded.
        number: Number,
    },
}

impl Encoder {
    /// Learns from a column's summary. `shape` is the declared shape of raw images; `as_image` keeps them images.
    pub fn fit(
        column: &str,
        summary: &Summary,
        kind: ColumnKind,
        plan: &Plan,
        images: (Option<ImageShape>, bool, bool),
        target: Option<&TargetColumns>,
    ) -> Result<Encoder> {
        let (declared, channels_first, as_image) = images;
        Ok(match (summary, kind) {
            (Summary::Numbers(m), ColumnKind::Number | ColumnKind::Bool) => {
                Encoder::Number(Number::fit(&m[0], plan))
            }
            (Summary::Numbers(m), ColumnKind::Time) => {
                Encoder::Time(plan.dates.iter().zip(m).map(|(p, m)| (*p, Number::fit(m, plan))).collect())
            }
            (Summary::Numbers(m), ColumnKind::Vector { .. }) => {
                Encoder::Vector(m.iter().map(|m| Number::fit(m, plan)).collect())
            }
            (Summary::Texts { levels, missing }, ColumnKind::Text) => {
                if plan.categories == CategoryPolicy::Target && target.is_none() {
                    let message =
                        format!("column \"{column}\" cannot be encoded by the target: there is none");
                    return Err(Error::new(Kind::Parameter, message));
                }
                Encoder::Category(Category::fit(
                    levels,
                    missing,
                    plan,
                    target.map_or(1, TargetColumns::width),
                ))
            }
            (Summary::Images(found), ColumnKind::Bytes) => {
                let Some(shape) = declared.or(*found) else {
                    let message = format!("column \"{column}\" is bytea whose image shape is not known");
                    return Err(Error::new(Kind::Type, message).hint(
                        "Give it, for example preprocess => '{\"image\": [28, 28, 1]}', or leave the column out with features => '{...}'.",
                    ));
                };
                if as_image {
                    Encoder::Image { shape, channels_first }
                } else {
                    let moments = Moments { n: 1, mean: 127.5, m2: 73.9 * 73.9, ..Moments::default() };
                    Encoder::Pixels { shape, channels_first, number: Number::fit(&moments, plan) }
                }
            }
            _ => return Err(Error::internal(format!("column \"{column}\" has the summary of another type"))),
        })
    }

    /// Features that it gives.
    pub fn width(&self) -> usize {
        match self {
            Encoder::Number(n) => n.width(),
            Encoder::Category(c) => c.width(),
            Encoder::Time(parts) => parts.iter().map(|(_, n)| n.width()).sum(),
            Encoder::Vector(numbers) => numbers.iter().map(Number::width).sum(),
            Encoder::Image { .. } => 0,
            Encoder::Pixels { shape, number, .. } => shape.bytes() * number.width(),
        }
    }

    /// Encodes one value into this column's features `x`, or into `image`. `fold` is given for training rows.
    #[inline]
    pub fn put(
        &self,
        value: Value,
        fold: Option<usize>,
        x: &mut [f64],
        image: &mut [u8],
    ) -> std::result::Result<(), Fault> {
        match (self, value) {
            (Encoder::Number(n), Value::Number(v)) => n.put(v, x),
            (Encoder::Number(n), Value::Bool(v)) => n.put(f64::from(v), x),
            (Encoder::Number(n), Value::Missing) => n.put(f64::NAN, x),
            (Encoder::Category(c), Value::Text(t)) => {
                c.put(c.code(Some(t))?, fold, x);
                Ok(())
            }
            (Encoder::Category(c), Value::Missing) => {
                c.put(c.code(None)?, fold, x);
                Ok(())
            }
            (Encoder::Time(parts), Value::Time(_) | Value::Missing) => {
                let t = if let Value::Time(t) = value { t } else { i64::MIN };
                put_all(parts.iter().map(|(p, n)| (n, time_part(*p, t))), x)
            }
            (Encoder::Vector(numbers), Value::Vector(v)) => {
                if v.len() != numbers.len() {
                    return Err(Fault::Length(v.len()));
                }
                put_all(numbers.iter().zip(v).map(|(n, v)| (n, f64::from(*v))), x)
            }
            (Encoder::Vector(numbers), Value::Missing) => put_all(numbers.iter().map(|n| (n, f64::NAN)), x),
            (Encoder::Image { shape, channels_first }, Value::Bytes(b)) => {
                super::image::decode(b, *shape, *channels_first, image).map_err(Fault::Image)
            }
            (Encoder::Image { shape, .. }, Value::Picture(p)) => p.copy(*shape, image).map_err(Fault::Image),
            (Encoder::Image { .. }, Value::Missing) => {
                Err(Fault::Image(Error::new(Kind::Null, "the image is NULL")))
            }
            (Encoder::Pixels { shape, channels_first, number }, Value::Bytes(b)) => {
                let mut pixels = vec![0; shape.bytes()];
                super::image::decode(b, *shape, *channels_first, &mut pixels).map_err(Fault::Image)?;
                put_all(pixels.iter().map(|v| (number, f64::from(*v))), x)
            }
            (Encoder::Pixels { shape, number, .. }, Value::Missing) => {
                put_all((0..shape.bytes()).map(|_| (number, f64::NAN)), x)
            }
            (_, other) => Err(Fault::Type(found_name(&other))),
        }
    }

    /// The features' names and kinds.
    pub fn features(&self, column: &str) -> Vec<Feature> {
        let numeric = |name: String| Feature { name, kind: FeatureKind::Numeric };
        let number = |name: String, n: &Number| {
            let mut all = vec![numeric(name.clone())];
            if n.indicator {
                all.push(numeric(format!("{name} is missing")));
            }
            all
        };
        match self {
            Encoder::Number(n) => number(column.to_string(), n),
            Encoder::Category(c) => {
                let native = matches!(c.how, How::Native);
                let kind = if native {
                    FeatureKind::Category { levels: c.codes() as u32 }
                } else {
                    FeatureKind::Numeric
                };
                c.names(column).into_iter().map(|name| Feature { name, kind }).collect()
            }
            Encoder::Time(parts) => {
                parts.iter().flat_map(|(p, n)| number(format!("{column}.{}", p.name()), n)).collect()
            }
            Encoder::Vector(numbers) => numbers
                .iter()
                .enumerate()
                .flat_map(|(i, n)| number(format!("{column}[{}]", i + 1), n))
                .collect(),
            Encoder::Image { .. } => vec![],
            Encoder::Pixels { shape, number: n, .. } => {
                (0..shape.bytes()).flat_map(|i| number(format!("{column}[{}]", i + 1), n)).collect()
            }
        }
    }

    /// What was made of each feature.
    pub fn units(&self) -> Vec<Unit> {
        let number = |n: &Number| {
            let mut all = vec![Unit { center: n.center, factor: n.factor }];
            all.resize(n.width(), Unit::AS_GIVEN);
            all
        };
        match self {
            Encoder::Number(n) => number(n),
            Encoder::Category(_) | Encoder::Image { .. } => vec![Unit::AS_GIVEN; self.width()],
            Encoder::Time(parts) => parts.iter().flat_map(|(_, n)| number(n)).collect(),
            Encoder::Vector(numbers) => numbers.iter().flat_map(number).collect(),
            Encoder::Pixels { shape, number: n, .. } => (0..shape.bytes()).flat_map(|_| number(n)).collect(),
        }
    }

    /// Makes what is not stored, and refuses what `put` could not rely on. Called after each load.
    pub fn restore(&mut self) -> bool {
        match self {
            Encoder::Number(n) => n.check(),
            Encoder::Time(parts) => parts.iter().all(|(_, n)| n.check()),
            Encoder::Vector(numbers) => numbers.iter().all(Number::check),
            Encoder::Image { shape, .. } => shape_is_sane(shape),
            Encoder::Pixels { shape, number, .. } => shape_is_sane(shape) && number.check(),
            Encoder::Category(c) => {
                c.reindex();
                c.levels.len() <= 65_534
                    && match &c.how {
                        How::Target { width, means, prior } => {
                            (1..=65_536).contains(width)
                                && prior.len() == *width
                                && means.len() == c.codes() * width
                                && means.iter().chain(prior).all(|m| m.is_finite())
                        }
                        _ => true,
                    }
            }
        }
    }
}

fn shape_is_sane(shape: &ImageShape) -> bool {
    let side = 1..=16_384;
    side.contains(&shape.height) && side.contains(&shape.width) && (1..=16).contains(&shape.channels)
}

fn put_all<'a>(
    values: impl Iterator<Item = (&'a Number, f64)>,
    x: &mut [f64],
) -> std::result::Result<(), Fault> {
    let mut at = 0;
    for (number, v) in values {
        number.put(v, &mut x[at..])?;
        at += number.width();
    }
    Ok(())
}

impl Category {
    /// Whether there are means that only training rows see.
    pub fn knows_rows(&self) -> bool {
        !self.cross.is_empty()
    }

    /// Drops the means that only training rows see.
    pub fn forget_training(&mut self) {
        self.cross = vec![];
    }
}
