//! What a search may try: named dimensions, each a range of numbers or a list of values, checked against what the
//! algorithm declares.
//!
//! A point has a number a dimension: the value of a range, or the place of a choice in its list. It becomes JSON for
//! the algorithm's parameters and for the options of preprocessing (dimensions named `preprocess.OPTION`).

use crate::error::{Error, Kind, Result};
use crate::learner::Info;
use crate::params::{Accepts, Param, Values};
use crate::prepare::options::OPTIONS;
use rand::Rng;
use serde_json::{Map, Value, json};

/// One number a dimension.
pub type Point = Vec<f64>;

/// The most points of a grid.
pub const MAX_GRID: usize = 10_000;
/// The values of a range in a grid, where the space does not say: a range of fewer whole numbers has all of them.
const GRID_POINTS: usize = 5;
/// What dimensions of preprocessing begin with.
const PREPROCESS: &str = "preprocess.";

/// The values of a dimension.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Numbers, both ends included.
    Range {
        /// The least.
        low: f64,
        /// The greatest: a whole number of steps above `low`.
        high: f64,
        /// Whether magnitudes count, rather than differences.
        log: bool,
        /// The distance of neighbours: 1 or more for whole numbers, none for all numbers.
        step: Option<f64>,
    },
    /// Any of these values.
    Choice(Vec<Value>),
}

/// One dimension.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// The parameter's declared name; options of preprocessing begin with `preprocess.`.
    pub name: String,
    /// Its values.
    pub domain: Domain,
    /// How many of a range a grid takes.
    points: usize,
}

/// All dimensions, in the order of their names.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// The dimensions; one or more.
    pub dimensions: Vec<Dimension>,
}

impl Space {
    /// Reads a JSON object: `{"C": {"float": [0.01, 100], "log": true}, "num_leaves": {"int": [15, 255]},
    /// "penalty": ["l2", "none"], "preprocess.scale": ["standard", "none"]}`. A bare value is a choice of one. Ranges
    /// may have `log`, those of whole numbers a `step`, and both `points`, the number of values that a grid takes.
    ///
    /// # Errors
    /// `Kind::Parameter` for what training would refuse at any end or choice, for empty or impossible ranges, and
    /// for a space without a dimension.
    pub fn parse(json: &str, info: &Info) -> Result<Space> {
        let example = "For example space => '{\"learning_rate\": {\"float\": [0.01, 0.3], \"log\": true}}'.";
        let given: Value = serde_json::from_str(json)
            .map_err(|e| bad(format!("the space is not valid JSON: {e}")).hint(example))?;
        let Value::Object(given) = given else {
            return Err(bad(format!("the space is {given}, expected an object")).hint(example));
        };
        if given.is_empty() {
            return Err(bad("the space is empty, expected one or more parameters").hint(example));
        }
        let mut dimensions: Vec<Dimension> = vec![];
        for (key, found) in &given {
            let (owner, declared, prefix) = match key.strip_prefix(PREPROCESS) {
                Some(_) => ("preprocess", OPTIONS, PREPROCESS),
                None => (info.name, info.params, ""),
            };
            let bare = &key[prefix.len()..];
            let param = find(owner, declared, bare)?;
            let name = format!("{prefix}{}", param.name);
            if dimensions.iter().any(|d| d.name == name) {
                return Err(bad(format!("the space names parameter \"{name}\" twice, under two names")));
            }
            let dimension = read(name, found)?;
            dimension.check(owner, declared, param)?;
            dimensions.push(dimension);
        }
        dimensions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Space { dimensions })
    }

    /// Whether a dimension of that name is there.
    pub fn has(&self, name: &str) -> bool {
        self.dimensions.iter().any(|d| d.name == name)
    }

    /// A point anywhere, each value as likely as the others (each magnitude, with `log`).
    pub fn sample(&self, rng: &mut impl Rng) -> Point {
        self.dimensions.iter().map(|d| d.domain.at(rng.random())).collect()
    }

    /// Every point of the grid, the last dimension moving fastest.
    ///
    /// # Errors
    /// `Kind::Parameter` for more than [`MAX_GRID`].
    pub fn grid(&self) -> Result<Vec<Point>> {
        let axes: Vec<Vec<f64>> = self.dimensions.iter().map(Dimension::axis).collect();
        let size = axes.iter().try_fold(1usize, |n, axis| n.checked_mul(axis.len()));
        let Some(size) = size.filter(|n| *n <= MAX_GRID) else {
            let sizes: Vec<String> = axes.iter().map(|a| a.len().to_string()).collect();
            let message = format!("the grid has {} points, expected at most {MAX_GRID}", sizes.join(" x "));
            return Err(bad(message).hint("Use method => 'random' or 'tpe', or fewer points."));
        };
        let mut points: Vec<Point> = vec![vec![]];
        points.reserve(size);
        for axis in &axes {
            points = points
                .iter()
                .flat_map(|p| axis.iter().map(|v| p.iter().copied().chain([*v]).collect()))
                .collect();
        }
        Ok(points)
    }

    /// A point as parameters and options, over those that are fixed.
    pub fn values(
        &self,
        point: &[f64],
        params: &Map<String, Value>,
        options: &Map<String, Value>,
    ) -> (Value, Value) {
        let (mut params, mut options) = (params.clone(), options.clone());
        for (dimension, x) in self.dimensions.iter().zip(point) {
            match dimension.name.strip_prefix(PREPROCESS) {
                Some(option) => options.insert(option.to_string(), dimension.domain.value(*x)),
                None => params.insert(dimension.name.clone(), dimension.domain.value(*x)),
            };
        }
        (Value::Object(params), Value::Object(options))
    }
}

/// The declared parameter of a name or alias; the error is that of training.
fn find(owner: &str, declared: &'static [Param], key: &str) -> Result<&'static Param> {
    match declared.iter().find(|p| p.name == key || p.aliases.contains(&key)) {
        Some(param) => Ok(param),
        None => Err(Values::parse(owner, declared, &json!({key: 0}).to_string())
            .err()
            .unwrap_or_else(|| Error::internal("an undeclared parameter was accepted"))),
    }
}

fn read(name: String, found: &Value) -> Result<Dimension> {
    let points = GRID_POINTS;
    let Value::Object(range) = found else {
        let choices = match found {
            Value::Array(choices) => choices.clone(),
            one => vec![one.clone()],
        };
        if choices.is_empty() {
            return Err(bad(format!("the space of \"{name}\" is empty, expected one or more values")));
        }
        return Ok(Dimension { name, domain: Domain::Choice(choices), points });
    };
    let known = ["int", "float", "log", "step", "points"];
    if let Some(key) = range.keys().find(|k| !known.contains(&k.as_str())) {
        return Err(shape(&name, found).detail(format!("It has no key \"{key}\".")));
    }
    let (ends, whole) = match (range.get("int"), range.get("float")) {
        (Some(ends), None) => (ends, true),
        (None, Some(ends)) => (ends, false),
        _ => return Err(shape(&name, found)),
    };
    let [low, high] = ends.as_array().map_or(&[][..], |a| a) else { return Err(shape(&name, found)) };
    let (Some(low), Some(mut high)) = (low.as_f64(), high.as_f64()) else { return Err(shape(&name, found)) };
    let fits = |v: f64| v.is_finite() && (!whole || (v.fract() == 0.0 && v.abs() < 9e15));
    if !fits(low) || !fits(high) {
        let kind = if whole { "whole numbers" } else { "finite numbers" };
        return Err(bad(format!("the range of \"{name}\" is {ends}, expected {kind}")));
    }
    if low > high {
        return Err(bad(format!("the range of \"{name}\" is empty: {ends}"))
            .hint("Write the least value first, the greatest second."));
    }
    let log = match range.get("log") {
        None => false,
        Some(Value::Bool(log)) => *log,
        Some(_) => return Err(shape(&name, found)),
    };
    if log && low <= 0.0 {
        return Err(bad(format!(
            "the range of \"{name}\" is {ends}, expected values above 0 for a logarithm"
        ))
        .hint("Leave \"log\" out, or begin above 0."));
    }
    let count = |key: &str, default: usize| match range.get(key) {
        None => Ok(default),
        Some(v) => match v.as_u64().and_then(|v| usize::try_from(v).ok()) {
            Some(v @ 1..=MAX_GRID) => Ok(v),
            _ => Err(bad(format!("\"{key}\" of the range of \"{name}\" is {v}, expected 1 .. {MAX_GRID}"))),
        },
    };
    let step = match (whole, range.contains_key("step")) {
        (false, true) => {
            return Err(bad(format!("the range of \"{name}\" has a step, which whole numbers alone have")));
        }
        (false, false) => None,
        (true, _) => Some(count("step", 1)? as f64),
    };
    if let Some(step) = step {
        high = low + ((high - low) / step).floor() * step;
    }
    let points = count("points", GRID_POINTS)?;
    Ok(Dimension { name, domain: Domain::Range { low, high, log, step }, points })
}

impl Dimension {
    /// Refuses what training would refuse: both ends, every choice.
    fn check(&self, owner: &str, declared: &[Param], param: &Param) -> Result<()> {
        let values = match &self.domain {
            Domain::Choice(values) => values.clone(),
            Domain::Range { step, .. } => {
                if matches!(param.accepts, Accepts::Int { .. }) && step.is_none() {
                    let message = format!(
                        "parameter \"{}\" of {owner} is an integer, found a range of all numbers",
                        param.name
                    );
                    return Err(bad(message).hint("Write {\"int\": [least, greatest]}."));
                }
                vec![self.domain.at_end(false), self.domain.at_end(true)]
            }
        };
        for value in values {
            Values::parse(owner, declared, &json!({param.name: value}).to_string())?;
        }
        Ok(())
    }

    /// The values that a grid takes.
    fn axis(&self) -> Vec<f64> {
        match &self.domain {
            Domain::Choice(values) => (0..values.len()).map(|i| i as f64).collect(),
            Domain::Range { low, high, step: Some(step), .. } if (high - low) / step < self.points as f64 => {
                (0..=((high - low) / step) as usize).map(|i| low + i as f64 * step).collect()
            }
            Domain::Range { low, .. } if self.points == 1 => vec![*low],
            Domain::Range { low, high, .. } => {
                let share = |i: usize| i as f64 / (self.points - 1) as f64;
                let at = |t: f64| {
                    let (a, b) = (self.domain.forth(*low), self.domain.forth(*high));
                    self.domain.back(a * (1.0 - t) + b * t)
                };
                let mut axis: Vec<f64> =
                    (0..self.points).map(|i| self.domain.nearest(at(share(i)))).collect();
                axis.dedup();
                axis
            }
        }
    }
}

impl Domain {
    /// The value at a share `u` (0 to 1) of the domain.
    fn at(&self, u: f64) -> f64 {
        match self {
            Domain::Choice(values) => (u * values.len() as f64).floor().min(values.len() as f64 - 1.0),
            Domain::Range { .. } => {
                let (a, b) = self.bounds();
                self.nearest(self.back(a + u * (b - a)))
            }
        }
    }

    fn at_end(&self, greatest: bool) -> Value {
        match self {
            Domain::Range { low, high, .. } => self.value(if greatest { *high } else { *low }),
            Domain::Choice(_) => Value::Null,
        }
    }

    /// The ends, half a step outwards, on the scale on which values are equally likely.
    pub(super) fn bounds(&self) -> (f64, f64) {
        match self {
            Domain::Choice(values) => (0.0, values.len() as f64),
            Domain::Range { low, high, step, .. } => {
                let half = step.unwrap_or(0.0) / 2.0;
                (self.forth(low - half), self.forth(high + half))
            }
        }
    }

    /// To the scale on which values are equally likely.
    pub(super) fn forth(&self, x: f64) -> f64 {
        if matches!(self, Domain::Range { log: true, .. }) { x.ln() } else { x }
    }

    /// From the scale on which values are equally likely.
    pub(super) fn back(&self, x: f64) -> f64 {
        if matches!(self, Domain::Range { log: true, .. }) { x.exp() } else { x }
    }

    /// The nearest value of the domain.
    pub(super) fn nearest(&self, x: f64) -> f64 {
        match self {
            Domain::Choice(_) => x,
            Domain::Range { low, high, step, .. } => step
                .map_or_else(|| tidy(x), |step| low + ((x - low) / step).round() * step)
                .clamp(*low, *high),
        }
    }

    /// As JSON.
    fn value(&self, x: f64) -> Value {
        match self {
            Domain::Choice(values) => values.get(x as usize).cloned().unwrap_or(Value::Null),
            Domain::Range { step: Some(_), .. } => (x as i64).into(),
            Domain::Range { .. } => x.into(),
        }
    }
}

/// To 12 digits: people can read these, and they are the same number again after a journey through JSON.
pub(super) fn tidy(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}

fn shape(name: &str, found: &Value) -> Error {
    bad(format!("the space of \"{name}\" is {found}, expected a range or a list of values")).hint(
        "Write {\"int\": [1, 9]}, {\"float\": [0.1, 10], \"log\": true} or [\"a\", \"b\"]; ranges may have log, step and points.",
    )
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}
