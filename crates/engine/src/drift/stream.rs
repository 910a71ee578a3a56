//! Detectors of a change in an ordered stream of numbers, such as the errors of a model: ADWIN (Bifet and Gavalda 2007)
//! and Page-Hinkley (Page 1954), which answer as river's (0.26) do. After a change a detector starts anew.

use crate::error::{Error, Kind, Result};
use crate::evaluation::Columns;
use crate::frame::{Column, Data, Frame, Value};
use crate::learner::Cx;
use crate::params::{Param, Values};
use crate::prepare::options::civil;
use crate::prepare::summary::number;
use crate::schema::Task;
use crate::scorer::Scorer;
use crate::target;
use std::collections::VecDeque;

/// A change of a stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The place in the stream at which it was noticed, from 0.
    pub place: usize,
    /// The mean of the stream since the change before, up to this one.
    pub mean_before: f64,
    /// The mean from this change on, up to the next.
    pub mean_after: f64,
}

const ADWIN: &[Param] = &[
    Param::float(
        "delta",
        0.002,
        1e-300,
        1.0,
        "The significance: how likely a change is found where there is none.",
    ),
    Param::int("clock", 32, 1, i64::MAX, "A look for a change every so many values."),
    Param::int(
        "max_buckets",
        5,
        1,
        1_000_000,
        "Buckets of one size that are kept; more remember more precisely.",
    ),
    Param::int("min_window_length", 5, 1, i64::MAX, "The fewest values on a side of a cut."),
    Param::int("grace_period", 10, 0, i64::MAX, "Values before the first look."),
];

const PAGE_HINKLEY: &[Param] = &[
    Param::int("min_instances", 30, 0, i64::MAX, "Values before the first look."),
    Param::float("delta", 0.005, 0.0, f64::MAX, "A change of the mean that is tolerated."),
    Param::float("threshold", 50.0, 0.0, f64::MAX, "The cumulative deviation that is a change."),
    Param::float(
        "alpha",
        0.9999,
        0.0,
        1.0,
        "How much of the cumulative deviation is kept from value to value.",
    ),
    Param::choice(
        "mode",
        "both",
        &["up", "down", "both"],
        "Which changes count: of the mean up, down, or both.",
    ),
];

/// A detector, told apart by name.
pub enum Detector {
    /// A window that shrinks when its ends differ.
    Adwin(Adwin),
    /// A cumulative deviation from the mean.
    PageHinkley(PageHinkley),
}

impl Detector {
    /// The detector of that name, with parameters as a JSON object.
    ///
    /// # Errors
    /// `Kind::Parameter`.
    pub fn parse(name: &str, params: &str) -> Result<Detector> {
        match name {
            "adwin" => {
                let values = Values::parse(name, ADWIN, params)?;
                Ok(Detector::Adwin(Adwin::new(AdwinParams {
                    delta: values.float("delta")?,
                    clock: values.int("clock")? as u64,
                    max_buckets: values.int("max_buckets")? as usize,
                    min_window_length: values.int("min_window_length")? as f64,
                    grace_period: values.int("grace_period")? as f64,
                })))
            }
            "page_hinkley" => {
                let values = Values::parse(name, PAGE_HINKLEY, params)?;
                let mode = values.text("mode")?;
                Ok(Detector::PageHinkley(PageHinkley::new(PageHinkleyParams {
                    min_instances: values.int("min_instances")? as f64,
                    delta: values.float("delta")?,
                    threshold: values.float("threshold")?,
                    alpha: values.float("alpha")?,
                    up: mode != "down",
                    down: mode != "up",
                })))
            }
            _ => Err(Error::new(
                Kind::Parameter,
                format!("method is \"{name}\", expected adwin or page_hinkley"),
            )),
        }
    }

    /// Adds a value, and says whether the stream has changed.
    pub fn update(&mut self, x: f64) -> bool {
        match self {
            Detector::Adwin(a) => {
                let changed = a.update(x);
                if changed {
                    *a = Adwin::new(a.params);
                }
                changed
            }
            Detector::PageHinkley(p) => {
                let changed = p.update(x);
                if changed {
                    *p = PageHinkley::new(p.params);
                }
                changed
            }
        }
    }

    /// The changes of a stream.
    ///
    /// # Errors
    /// When the caller asked to stop.
    pub fn changes(&mut self, stream: &[f64], cx: &Cx) -> Result<Vec<Change>> {
        let mut places = vec![];
        for (i, x) in stream.iter().enumerate() {
            if i.is_multiple_of(4096) {
                cx.check()?;
            }
            if self.update(*x) {
                places.push(i);
            }
        }
        let mean = |from: usize, to: usize| stream[from..to].iter().sum::<f64>() / (to - from) as f64;
        let one = |(k, place): (usize, &usize)| Change {
            place: *place,
            mean_before: mean(if k == 0 { 0 } else { places[k - 1] }, (*place).max(1)),
            mean_after: mean(*place, places.get(k + 1).copied().unwrap_or(stream.len())),
        };
        Ok(places.iter().enumerate().map(one).collect())
    }
}

/// Checked parameters of ADWIN.
#[derive(Debug, Clone, Copy)]
struct AdwinParams {
    delta: f64,
    clock: u64,
    max_buckets: usize,
    min_window_length: f64,
    grace_period: f64,
}

/// ADWIN: the window as buckets of 1, 2, 4 ... values, the newest and smallest first.
pub struct Adwin {
    params: AdwinParams,
    /// Sum and squared deviations of each bucket, by the logarithm of its size; the oldest first.
    rows: Vec<VecDeque<(f64, f64)>>,
    total: f64,
    deviations: f64,
    width: f64,
    seen: u64,
}

impl Adwin {
    fn new(params: AdwinParams) -> Adwin {
        Adwin { params, rows: vec![VecDeque::new()], total: 0.0, deviations: 0.0, width: 0.0, seen: 0 }
    }

    fn update(&mut self, x: f64) -> bool {
        self.insert(x);
        self.seen += 1;
        let mut changed = false;
        if self.seen.is_multiple_of(self.params.clock) && self.width > self.params.grace_period {
            while self.shrink() {
                changed = true;
            }
        }
        changed
    }

    fn insert(&mut self, x: f64) {
        self.rows[0].push_back((x, 0.0));
        self.width += 1.0;
        if self.width > 1.0 {
            let apart = x - self.total / (self.width - 1.0);
            self.deviations += (self.width - 1.0) * apart * apart / self.width;
        }
        self.total += x;
        // Two buckets of a full row become one of the next.
        let mut row = 0;
        while self.rows[row].len() == self.params.max_buckets + 1 {
            if row + 1 == self.rows.len() {
                self.rows.push(VecDeque::new());
            }
            let (Some((t1, v1)), Some((t2, v2))) = (self.rows[row].pop_front(), self.rows[row].pop_front())
            else {
                return;
            };
            let n = size(row);
            let apart = t1 / n - t2 / n;
            self.rows[row + 1].push_back((t1 + t2, v1 + v2 + n * n * apart * apart / (n + n)));
            if self.rows[row + 1].len() <= self.params.max_buckets {
                return;
            }
            row += 1;
        }
    }

    /// Drops the oldest bucket when some cut of the window has different means on its sides.
    fn shrink(&mut self) -> bool {
        let (mut n0, mut n1, mut u0, mut u1) = (0.0, self.width, 0.0, self.total);
        for row in (0..self.rows.len()).rev() {
            let count = self.rows[row].len();
            for k in 0..count {
                let (n, u) = (size(row), self.rows[row][k].0);
                (n0, n1, u0, u1) = (n0 + n, n1 - n, u0 + u, u1 - u);
                if row == 0 && k == count - 1 {
                    return false;
                }
                let least = self.params.min_window_length;
                if n1 >= least && n0 >= least && self.differ(n0, n1, u0 / n0 - u1 / n1) {
                    self.drop_oldest();
                    return true;
                }
            }
        }
        false
    }

    fn differ(&self, n0: f64, n1: f64, apart: f64) -> bool {
        let sure = (2.0 * self.width.ln() / self.params.delta).ln();
        let least = self.params.min_window_length;
        let m = 1.0 / (n0 - least + 1.0) + 1.0 / (n1 - least + 1.0);
        let cut = (2.0 * m * (self.deviations / self.width) * sure).sqrt() + 2.0 / 3.0 * sure * m;
        apart.abs() > cut
    }

    fn drop_oldest(&mut self) {
        let last = self.rows.len() - 1;
        let Some((u, v)) = self.rows[last].pop_front() else { return };
        let n = size(last);
        self.width -= n;
        self.total -= u;
        let apart = u / n - self.total / self.width;
        self.deviations -= v + n * self.width * apart * apart / (n + self.width);
        if self.rows[last].is_empty() && last > 0 {
            self.rows.pop();
        }
    }
}

/// Values of a bucket of a row.
fn size(row: usize) -> f64 {
    (row as f64).exp2()
}

/// Checked parameters of Page-Hinkley.
#[derive(Debug, Clone, Copy)]
struct PageHinkleyParams {
    min_instances: f64,
    delta: f64,
    threshold: f64,
    alpha: f64,
    up: bool,
    down: bool,
}

/// Page-Hinkley: deviations from the running mean, summed up, and how far the sum is from its extremes.
pub struct PageHinkley {
    params: PageHinkleyParams,
    n: f64,
    mean: f64,
    increase: f64,
    decrease: f64,
    least: f64,
    most: f64,
}

impl PageHinkley {
    fn new(params: PageHinkleyParams) -> PageHinkley {
        PageHinkley {
            params,
            n: 0.0,
            mean: 0.0,
            increase: 0.0,
            decrease: 0.0,
            least: f64::INFINITY,
            most: -1.0,
        }
    }

    fn update(&mut self, x: f64) -> bool {
        let PageHinkleyParams { min_instances, delta, threshold, alpha, up, down } = self.params;
        self.n += 1.0;
        self.mean += (x - self.mean) / self.n;
        let apart = x - self.mean;
        self.increase = alpha * self.increase + apart - delta;
        self.decrease = alpha * self.decrease + apart + delta;
        self.least = self.least.min(self.increase);
        self.most = self.most.max(self.decrease);
        self.n >= min_instances
            && ((up && self.increase - self.least > threshold)
                || (down && self.most - self.decrease > threshold))
    }
}

/// A change of a stream of rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Noticed {
    /// The place in the stream, from 1.
    pub row: usize,
    /// What the column was there that the rows are ordered by.
    pub at: String,
    /// As [`Change::mean_before`].
    pub mean_before: f64,
    /// As [`Change::mean_after`].
    pub mean_after: f64,
}

/// The changes of an ordered stream of a frame's rows.
///
/// # Errors
/// As [`Detector::changes`].
pub fn noticed(
    detector: &mut Detector,
    stream: &Ordered,
    frame: &Frame,
    by: &str,
    cx: &Cx,
) -> Result<Vec<Noticed>> {
    let column = &frame.columns[frame.position(by)?];
    let one = |c: Change| Noticed {
        row: c.place + 1,
        at: shown(column.value(stream.rows[c.place] as usize)),
        mean_before: c.mean_before,
        mean_after: c.mean_after,
    };
    Ok(detector.changes(&stream.values, cx)?.into_iter().map(one).collect())
}

/// A number, or a time as ISO 8601 writes it, in UTC.
fn shown(value: Value) -> String {
    match value {
        Value::Time(micros) => {
            let seconds = micros.div_euclid(1_000_000);
            let (year, month, day) = civil(seconds.div_euclid(86_400));
            let second = seconds.rem_euclid(86_400);
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
        }
        value => target::text(value).unwrap_or_default(),
    }
}

/// A stream in the order of a column, with the place of each value in the frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordered {
    /// Values in order.
    pub values: Vec<f64>,
    /// The row of each.
    pub rows: Vec<u32>,
}

/// The rows of a frame in ascending order of a column; of equals in the order in which they came.
///
/// # Errors
/// A column that is not there, that has no order, or that is missing in a row.
fn order(frame: &Frame, by: &str) -> Result<Vec<u32>> {
    let column = &frame.columns[frame.position(by)?];
    let mut rows: Vec<u32> = (0..frame.rows as u32).collect();
    if let Some(i) = (0..frame.rows).find(|i| column.value(*i) == Value::Missing) {
        let message = format!("column \"{by}\", which orders the rows, is NULL in row {}", i + 1);
        return Err(Error::new(Kind::Null, message));
    }
    match &column.data {
        Data::Time(v) => rows.sort_by_key(|i| v[*i as usize]),
        Data::I64(v) => rows.sort_by_key(|i| v[*i as usize]),
        Data::F32(_) | Data::F64(_) | Data::I32(_) => {
            let value = |i: &u32| number(column.value(*i as usize));
            rows.sort_by(|a, b| value(a).total_cmp(&value(b)));
        }
        _ => {
            let message = format!("column \"{by}\", which orders the rows, is neither a number nor a time");
            return Err(Error::new(Kind::Type, message));
        }
    }
    Ok(rows)
}

/// The values of a column of numbers in the order of another; rows without a value are left out.
///
/// # Errors
/// Columns that are not there or of another type; no values.
pub fn values(frame: &Frame, column: &str, by: &str) -> Result<Ordered> {
    let of: &Column = &frame.columns[frame.position(column)?];
    let rows = order(frame, by)?;
    let mut found = Ordered { values: vec![], rows: vec![] };
    for row in rows {
        match of.value(row as usize) {
            Value::Missing => continue,
            Value::Number(x) if x.is_infinite() => {
                let message = format!("column \"{column}\" is infinite in row {}", row + 1);
                return Err(Error::new(Kind::Data, message));
            }
            Value::Number(x) => found.values.push(x),
            Value::Bool(b) => found.values.push(f64::from(b)),
            _ => {
                return Err(Error::new(
                    Kind::Type,
                    format!("column \"{column}\" is no number, which a stream is of"),
                ));
            }
        }
        found.rows.push(row);
    }
    if found.values.is_empty() {
        return Err(Error::new(Kind::Data, "the source has no rows with a value, expected one or more"));
    }
    Ok(found)
}

/// The errors of a model in the order of a column: 1 for a wrong class and 0 for the right one, the share of wrong labels, or
/// the distance of a number from the prediction.
///
/// # Errors
/// As [`Scorer::scored`]; `Kind::Unsupported` for a ranking.
pub fn errors(scorer: &Scorer, frame: &Frame, target: Option<&str>, by: &str, cx: &Cx) -> Result<Ordered> {
    let rows = order(frame, by)?;
    let scored = scorer.scored(frame, Columns { target, weight: None }, cx)?;
    let error = |i: usize| match scored.task {
        Task::Classification => f64::from(u8::from(scored.decided(i) != scored.y[i] as usize)),
        Task::Multilabel => scored.wrong_labels(i),
        _ => (scored.row(i)[0] - scored.y[i]).abs(),
    };
    if scored.task == Task::Ranking {
        return Err(Error::new(Kind::Unsupported, "the scores of a ranking have no errors by row"));
    }
    let values = rows.iter().map(|i| error(*i as usize)).collect();
    Ok(Ordered { values, rows })
}
