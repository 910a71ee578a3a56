//! Single drawings by name. `damson.plot` gives them as files; pages are made of them.

use crate::bars::{self, Bar};
pub use crate::canvas::Svg;
use crate::lines::{self, Axis, Mark, Series, chart, reference};
use crate::palette::series;
use crate::{Error, Kind, Result, format, matrix};
use engine::drift::histogram::{Bars, Drawn};
use engine::evaluation::figures::{Confusion, Curves, Errors, Figures};
use engine::explain::Ranked;
use engine::train::RoundMetric;

/// The size of a drawing over two axes.
const SIZE: (f64, f64) = (500.0, 340.0);
/// The width of drawings with lying bars.
const WIDTH: f64 = 500.0;
/// Inputs whose importance is drawn.
const RANKED: usize = 20;
/// Points of a curve by round.
const ROUNDS: usize = 300;
/// Characters of a name in a legend.
const NAME: usize = 24;

/// What can be drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plot {
    /// The ROC curve.
    Roc,
    /// Precision and recall.
    Pr,
    /// Probabilities against what came true.
    Calibration,
    /// How much is found by calling the likeliest rows first.
    Gain,
    /// How much likelier these are.
    Lift,
    /// Probabilities of either class.
    Probabilities,
    /// The confusion matrix.
    Confusion,
    /// Predictions against true values.
    Predictions,
    /// Errors against predictions.
    Residuals,
    /// How large the errors are.
    Errors,
    /// How much each input matters.
    Importance,
    /// Metrics by round of the training.
    LearningCurve,
    /// Where the model comes from and where it goes.
    Lineage,
    /// A column's values at training, and those of a source.
    Distribution,
}

/// What a drawing is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The figures of an evaluation.
    Figures,
    /// What the model knows by itself.
    Model,
    /// What the catalog knows.
    Catalog,
    /// A column's distribution.
    Column,
}

impl Plot {
    /// Every drawing with its name in SQL.
    pub const ALL: [(&'static str, Plot); 14] = [
        ("roc", Plot::Roc),
        ("pr", Plot::Pr),
        ("calibration", Plot::Calibration),
        ("gain", Plot::Gain),
        ("lift", Plot::Lift),
        ("probabilities", Plot::Probabilities),
        ("confusion", Plot::Confusion),
        ("predictions", Plot::Predictions),
        ("residuals", Plot::Residuals),
        ("errors", Plot::Errors),
        ("importance", Plot::Importance),
        ("learning_curve", Plot::LearningCurve),
        ("lineage", Plot::Lineage),
        ("distribution", Plot::Distribution),
    ];

    /// The drawing of that name.
    ///
    /// # Errors
    /// `Kind::Parameter`, with the names that there are.
    pub fn parse(name: &str) -> Result<Plot> {
        Plot::ALL.into_iter().find(|p| p.0 == name).map(|p| p.1).ok_or_else(|| {
            let names: Vec<&str> = Plot::ALL.iter().map(|p| p.0).collect();
            Error::new(Kind::Parameter, format!("plot is \"{name}\", expected one of {}", names.join(", ")))
        })
    }

    /// Its name in SQL.
    pub fn name(self) -> &'static str {
        Plot::ALL.iter().find(|p| p.1 == self).map_or("", |p| p.0)
    }

    /// What it is made of.
    pub fn needs(self) -> Needs {
        match self {
            Plot::Importance => Needs::Model,
            Plot::LearningCurve | Plot::Lineage => Needs::Catalog,
            Plot::Distribution => Needs::Column,
            _ => Needs::Figures,
        }
    }
}

/// A drawing of an evaluation.
///
/// # Errors
/// `Kind::Unsupported` where the model's task has no such figures; `Kind::Data` where the rows leave them undefined.
pub fn of_figures(plot: Plot, figures: &Figures) -> Result<Svg> {
    let classified = figures.confusion.is_some();
    let curves = || match &figures.curves[..] {
        [] if classified => {
            Err(Error::new(Kind::Data, "the rows are of one class, expected two or more for a curve"))
        }
        [] => Err(unsupported(plot, "classification")),
        curves => Ok(curves),
    };
    let errors = || match &figures.errors {
        None if classified => Err(unsupported(plot, "regression")),
        None => Err(Error::new(Kind::Data, "the errors are not finite")),
        Some(errors) => Ok(errors),
    };
    let points = || match errors()? {
        e if e.points.is_empty() => Err(Error::new(
            Kind::Unsupported,
            format!("plot {} shows single rows of the training, which are its owner's", plot.name()),
        )
        .hint("Name rows of your own: source => 'relation or SELECT'.")),
        e => Ok(e),
    };
    match plot {
        Plot::Roc => roc(curves()?),
        Plot::Pr => pr(curves()?),
        Plot::Calibration => calibration(curves()?),
        Plot::Gain => gain(curves()?),
        Plot::Lift => lift(curves()?),
        Plot::Probabilities => probabilities(&curves()?[0]),
        Plot::Confusion => {
            let matrix = figures.confusion.as_ref().ok_or_else(|| unsupported(plot, "classification"))?;
            confusion(matrix)
        }
        Plot::Predictions => predictions(points()?),
        Plot::Residuals => residuals(points()?),
        Plot::Errors => error_bars(errors()?),
        _ => Err(Error::internal("a plot of something else than figures")),
    }
}

fn unsupported(plot: Plot, task: &str) -> Error {
    Error::new(Kind::Unsupported, format!("plot {} needs a {task}", plot.name()))
        .hint("SELECT * FROM damson.help('plot'); tells which plots there are.")
}

fn pairs(points: &[(f32, f32)]) -> Vec<(f64, f64)> {
    points.iter().map(|p| (f64::from(p.0), f64::from(p.1))).collect()
}

/// A series a class; with one class, its name is not worth a legend unless there is a number to tell.
fn by_class(
    curves: &[Curves],
    mark: Mark,
    value: fn(&Curves) -> Option<f64>,
    points: fn(&Curves) -> Vec<(f64, f64)>,
) -> Vec<Series> {
    let one = |(i, c): (usize, &Curves)| {
        let name = format::short(&c.label, NAME);
        let name = value(c).map_or(name.clone(), |v| format!("{name} · {v:.3}"));
        Series { name, points: points(c), colour: series(i), mark }
    };
    curves.iter().enumerate().map(one).collect()
}

fn roc(curves: &[Curves]) -> Result<Svg> {
    let mut all = vec![reference("", (0.0, 0.0), (1.0, 1.0))];
    all.extend(by_class(curves, Mark::Line, |c| Some(c.auc), |c| pairs(&c.roc)));
    chart("ROC curve", SIZE, &Axis::share("false positive rate"), &Axis::share("true positive rate"), &all)
}

fn pr(curves: &[Curves]) -> Result<Svg> {
    let mut all = vec![];
    if let [one] = curves {
        all.push(reference("", (0.0, one.share), (1.0, one.share)));
    }
    all.extend(by_class(curves, Mark::Line, |c| Some(c.average_precision), |c| pairs(&c.pr)));
    chart("Precision and recall", SIZE, &Axis::share("recall"), &Axis::share("precision"), &all)
}

fn calibration(curves: &[Curves]) -> Result<Svg> {
    let mut all = vec![reference("", (0.0, 0.0), (1.0, 1.0))];
    // A share of a few rows says little, and its point looks as good as any.
    let points = |c: &Curves| {
        let enough = c.calibration.iter().filter(|b| b.2 >= 10).count() >= 2;
        let drawn = c.calibration.iter().filter(|b| !enough || b.2 >= 10);
        drawn.map(|b| (f64::from(b.0), f64::from(b.1))).collect()
    };
    all.extend(by_class(curves, Mark::LineAndDots, |_| None, points));
    chart("Calibration", SIZE, &Axis::share("mean probability"), &Axis::share("share that came true"), &all)
}

fn gain(curves: &[Curves]) -> Result<Svg> {
    let mut all = vec![reference("", (0.0, 0.0), (1.0, 1.0))];
    let points = |c: &Curves| {
        std::iter::once((0.0, 0.0)).chain(c.lift.iter().map(|b| (f64::from(b.0), f64::from(b.1)))).collect()
    };
    all.extend(by_class(curves, Mark::Line, |_| None, points));
    chart(
        "Gain",
        SIZE,
        &Axis::share("share of rows, likeliest first"),
        &Axis::share("share of the class found"),
        &all,
    )
}

fn lift(curves: &[Curves]) -> Result<Svg> {
    let mut all = vec![reference("", (0.0, 1.0), (1.0, 1.0))];
    let points = |c: &Curves| c.lift.iter().map(|b| (f64::from(b.0), f64::from(b.2))).collect();
    all.extend(by_class(curves, Mark::LineAndDots, |_| None, points));
    chart("Lift", SIZE, &Axis::share("share of rows, likeliest first"), &Axis::of("lift"), &all)
}

fn probabilities(curve: &Curves) -> Result<Svg> {
    let bars = |rows: &[u64]| -> Vec<(f64, f64)> {
        let total = rows.iter().sum::<u64>().max(1) as f64;
        let n = rows.len().max(1) as f64;
        rows.iter().enumerate().map(|(i, r)| ((i as f64 + 0.5) / n, *r as f64 / total)).collect()
    };
    let width = 0.92 / curve.hits.len().max(1) as f64;
    let label = format::short(&curve.label, NAME);
    let all = [
        Series {
            name: "the rest".into(),
            points: bars(&curve.misses),
            colour: series(7),
            mark: Mark::Bars(width),
        },
        Series { name: label.clone(), points: bars(&curve.hits), colour: series(0), mark: Mark::Bars(width) },
    ];
    let axis = format!("probability of {label}");
    let y = Axis { write: format::percent, ..Axis::of("share of rows") };
    chart("Probabilities by true class", SIZE, &Axis::share(&axis), &y, &all)
}

/// The confusion matrix.
///
/// # Errors
/// None that a caller could cause.
pub fn confusion(found: &Confusion) -> Result<Svg> {
    matrix::confusion("Confusion matrix: rows by true and decided class", found)
}

fn predictions(errors: &Errors) -> Result<Svg> {
    let points = pairs(&errors.points);
    let all = points.iter().flat_map(|p| [p.0, p.1]);
    let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    let series = [
        reference("", (low, low), (high, high)),
        Series { name: String::new(), points, colour: series(0), mark: Mark::Dots },
    ];
    chart("Predictions and true values", SIZE, &Axis::of("prediction"), &Axis::of("true value"), &series)
}

fn residuals(errors: &Errors) -> Result<Svg> {
    let points: Vec<(f64, f64)> = pairs(&errors.points).into_iter().map(|(p, y)| (p, y - p)).collect();
    let ends = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.0), h.max(p.0)));
    let series = [
        reference("", (ends.0, 0.0), (ends.1, 0.0)),
        Series { name: String::new(), points, colour: series(0), mark: Mark::Dots },
        Series {
            name: "mean error".into(),
            points: pairs(&errors.trend),
            colour: series(1),
            mark: Mark::Line,
        },
    ];
    chart(
        "Errors by prediction",
        SIZE,
        &Axis::of("prediction"),
        &Axis::of("true value − prediction"),
        &series,
    )
}

fn error_bars(errors: &Errors) -> Result<Svg> {
    let total = errors.bars.iter().sum::<u64>().max(1) as f64;
    let step = (errors.high - errors.low) / errors.bars.len().max(1) as f64;
    let bar = |(i, rows): (usize, &u64)| (errors.low + step * (i as f64 + 0.5), *rows as f64 / total);
    let points = errors.bars.iter().enumerate().map(bar).collect();
    let bars = [Series { name: String::new(), points, colour: series(0), mark: Mark::Bars(step * 0.92) }];
    let x = Axis { range: Some((errors.low, errors.high)), ..Axis::of("true value − prediction") };
    let y = Axis { write: format::percent, ..Axis::of("share of rows") };
    chart("Errors", SIZE, &x, &y, &bars)
}

/// How much each input matters.
///
/// # Errors
/// None that a caller could cause.
pub fn importance(ranked: &[Ranked]) -> Result<Svg> {
    let one = |r: &Ranked| Bar {
        label: r.name.clone(),
        values: vec![r.importance],
        notes: vec![format::number(r.importance)],
    };
    let bars: Vec<Bar> = ranked.iter().take(RANKED).map(one).collect();
    bars::lying("Importance", 720.0, &[], &bars)
}

/// Metrics by round of the training: a drawing a metric, those of like name in one.
///
/// # Errors
/// None that a caller could cause.
pub fn learning_curves(rounds: &[RoundMetric]) -> Result<Vec<Svg>> {
    /// `train_loss` and `valid_loss` are both of the loss.
    fn metric(name: &str) -> &str {
        let parts = ["train_", "valid_", "validation_", "test_"];
        parts.iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name)
    }
    let mut names: Vec<&str> = vec![];
    for r in rounds {
        if !names.contains(&r.name.as_str()) {
            names.push(&r.name);
        }
    }
    let mut metrics: Vec<&str> = vec![];
    for name in &names {
        if !metrics.contains(&metric(name)) {
            metrics.push(metric(name));
        }
    }
    let draw = |of: &&str| {
        let series = names.iter().filter(|n| metric(n) == *of).enumerate().map(|(i, name)| {
            let points: Vec<(f64, f64)> =
                rounds.iter().filter(|r| r.name == *name).map(|r| (r.round as f64, r.value)).collect();
            let step = points.len().div_ceil(ROUNDS).max(1);
            let last = points.last().copied();
            let mut points: Vec<(f64, f64)> = points.into_iter().step_by(step).collect();
            if points.last() != last.as_ref() {
                points.extend(last);
            }
            let mark = if points.len() == 1 { Mark::Dots } else { Mark::Line };
            Series { name: format::short(name, NAME), points, colour: series(i), mark }
        });
        let title = format!("{} by round", format::short(of, NAME));
        let y = format::short(of, NAME);
        chart(&title, SIZE, &Axis::of("round"), &Axis::of(&y), &series.collect::<Vec<_>>())
    };
    metrics.iter().take(6).map(draw).collect()
}

/// A column's values: at training, and now where there are two sides. Small ones are for pages with many.
///
/// # Errors
/// `Kind::Data` where there are no values.
pub fn distribution(drawn: &Drawn, small: bool) -> Result<Svg> {
    let width = if small { 300.0 } else { WIDTH };
    let title = format!("Values of {}", drawn.name);
    match &drawn.bars {
        None => Err(Error::new(Kind::Data, format!("column \"{}\" has no values to draw", drawn.name))),
        Some(Bars::Ranges { edges, shares }) => {
            let write = if drawn.time { format::time } else { format::number };
            let height = if small { 120.0 } else { 260.0 };
            bars::ranges(&title, (width, height), edges, shares, write)
        }
        Some(Bars::Values { labels, others, shares }) => {
            let one = |(i, label): (usize, &String)| Bar {
                label: match *others > 0 && i + 1 == labels.len() {
                    true => format!("({} others)", format::whole(*others as i64)),
                    false if label.is_empty() => "(empty text)".into(),
                    false => label.clone(),
                },
                values: shares.iter().map(|s| s.get(i).copied().unwrap_or(0.0)).collect(),
                notes: shares.iter().map(|s| format::percent(s.get(i).copied().unwrap_or(0.0))).collect(),
            };
            let bars: Vec<Bar> = labels.iter().enumerate().map(one).collect();
            bars::lying(&title, width, &[], &bars)
        }
    }
}

/// A measurement of drift, made at some time.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// When, in seconds since 2000.
    pub at: f64,
    /// Who looked: a monitor's name.
    pub by: String,
    /// Rows that were looked at.
    pub rows: u64,
    /// The share of columns that had drifted, where it could be told.
    pub share: Option<f64>,
    /// What was said of it: `silent`, `alarm`, ...
    pub state: String,
    /// The columns and metrics that were named.
    pub culprits: Vec<String>,
}

/// The shares of drifted columns over time.
///
/// # Errors
/// None that a caller could cause.
pub fn drift_history(measured: &[Measured]) -> Result<Svg> {
    let mut names: Vec<&str> = vec![];
    for m in measured {
        if !names.contains(&m.by.as_str()) {
            names.push(&m.by);
        }
    }
    let mut all: Vec<Series> = vec![];
    for (i, name) in names.iter().take(8).enumerate() {
        let points =
            measured.iter().filter(|m| m.by == *name).filter_map(|m| Some((m.at, m.share?))).collect();
        let name = if names.len() > 1 { format::short(name, NAME) } else { String::new() };
        all.push(Series { name, points, colour: series(i), mark: Mark::LineAndDots });
    }
    // A day is enough to tell measurements apart on an axis.
    let day = |seconds: f64| format::short(&format::time((seconds / 86_400.0).floor() * 86_400.0), 10);
    let (x, y) = (Axis { write: day, ..Axis::of("") }, Axis::share("share of drifted columns"));
    lines::chart("Drift over time", (1000.0, 240.0), &x, &y, &all)
}
