//! The page of a version of a model.

use crate::lineage::Lineage;
use crate::page::{self, Head, ROWS, Section, Tile};
use crate::plot::{self, Measured, Plot, Svg};
use crate::{Result, format};
use engine::drift::Role;
use engine::drift::histogram::Drawn;
use engine::evaluation::figures::{Confusion, Examined, Figures, Part};
use engine::explain::Ranked;
use engine::train::{Metric, RoundMetric};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Columns whose values are drawn.
const COLUMNS: usize = 120;

/// What is known of a version.
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// The model's name.
    pub name: String,
    /// The version's number; none for a model given as text.
    pub version: Option<i64>,
    /// Its description.
    pub description: Option<String>,
    /// What it does.
    pub task: String,
    /// How.
    pub algorithm: String,
    /// The column that it predicts.
    pub target: Option<String>,
    /// Columns that it reads.
    pub features: Vec<String>,
    /// Its classes.
    pub classes: Vec<String>,
    /// What the catalog knows: names and values.
    pub card: Vec<(String, String)>,
    /// What the model says of itself.
    pub says: Vec<(String, String)>,
    /// Parameters, and whether each was given.
    pub params: Vec<Param>,
    /// Options of preprocessing, likewise.
    pub preprocess: Vec<Param>,
    /// Warnings of the training.
    pub warnings: Vec<String>,
    /// The source's text, for whom it is.
    pub source: Option<String>,
    /// Rows that were learnt from.
    pub train_rows: u64,
    /// Rows that were held out.
    pub test_rows: u64,
    /// Seconds that the training took.
    pub seconds: Option<f64>,
    /// When it began.
    pub trained: Option<String>,
    /// By whom.
    pub trained_by: Option<String>,
    /// The metric that stands for the version.
    pub headline: Option<(String, f64)>,
    /// What the training measured of the whole model.
    pub metrics: Vec<Metric>,
    /// What it measured by round.
    pub rounds: Vec<RoundMetric>,
    /// What the rows looked like that it did not learn from.
    pub figures: Option<Figures>,
    /// Whether its answers can be drawn where their truth is known.
    pub drawable: bool,
    /// The relation or SELECT that the caller named, and what was measured of it.
    pub given: Option<(String, Examined)>,
    /// How much each input matters, and how that was found out.
    pub importance: Option<(&'static str, Vec<Ranked>)>,
    /// What the training rows looked like, for whom that is.
    pub columns: Vec<Drawn>,
    /// Where it comes from and where it goes.
    pub lineage: Lineage,
    /// Measurements of drift, the oldest first.
    pub history: Vec<Measured>,
    /// When the page is written.
    pub written: String,
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Whether it was given, and not left as it is by default.
    pub given: bool,
}

/// The page.
///
/// # Errors
/// None that a caller could cause.
pub fn page(model: &Model) -> Result<String> {
    let mut sections = vec![Section { id: "quality", title: "Quality", body: quality(model)? }];
    let mut add = |id, title, body: Option<Markup>| {
        sections.extend(body.map(|body| Section { id, title, body }));
    };
    add("curves", if model.target.is_some() { "Answers" } else { "Curves" }, curves(model)?);
    add("importance", "Importance", importance(model)?);
    add("training", "Learning curves", learning(model)?);
    add("data", "Data", data(model)?);
    add("lineage", "Lineage", Some(lineage(model)?));
    add("drift", "Drift", Some(drift(model)?));
    add("parameters", "Parameters", parameters(model));
    add("card", "Card", Some(card(model)));
    let head = Head {
        kind: "Model report",
        name: &model.name,
        version: model.version,
        lead: lead(model),
        tiles: tiles(model),
        written: &model.written,
    };
    Ok(page::page(&head, sections))
}

fn lead(model: &Model) -> Markup {
    html! {
        @if let Some(text) = &model.description { bdi { (format::cut(text, 600)) } "\n" }
        "A " b { (model.task) } " by " b { (model.algorithm) }
        @if let Some(target) = &model.target { " that predicts " b { bdi { (format::short(target, 120)) } } }
        " from " (format::whole(model.features.len() as i64)) @if model.features.len() == 1 { " column." } @else { " columns." }
    }
}

fn tiles(model: &Model) -> Vec<Tile> {
    let mut tiles = vec![];
    if let Some((name, value)) = &model.headline {
        let part = ["test", "cv", "train"]
            .into_iter()
            .find(|s| model.metrics.iter().any(|m| m.split == *s && m.name == *name));
        let interval =
            model.figures.iter().flat_map(|f| &f.measures).find(|m| m.name == *name && part == Some("test"));
        let interval = interval.and_then(|m| m.interval);
        let range = |(low, high)| format!("{} – {}, ", format::measure(low), format::measure(high));
        let of = match part {
            Some("test") => "on held-out rows",
            Some("cv") => "mean over folds",
            Some("train") => "on the training rows",
            _ => "",
        };
        tiles.push(Tile::number(
            name,
            format::measure(*value),
            format!("{}{of}", interval.map(range).unwrap_or_default()),
        ));
    }
    if let Some((_, given)) = &model.given {
        let shown = model.headline.as_ref().and_then(|h| given.measures.iter().find(|m| m.name == h.0));
        if let Some(m) = shown.or(given.measures.first()) {
            let range = |(low, high)| format!("{} – {}, ", format::measure(low), format::measure(high));
            let more = format!("{}on the source", m.interval.map(range).unwrap_or_default());
            tiles.push(Tile::number(&format!("{} now", m.name), format::measure(m.value), more));
        }
    }
    let held = match model.test_rows {
        0 => "none held out".to_string(),
        n => format!("{} more held out", format::whole(n as i64)),
    };
    tiles.push(Tile::number("training rows", format::whole(model.train_rows as i64), held));
    if !model.classes.is_empty() {
        let names: Vec<String> = model.classes.iter().take(3).map(|c| format::short(c, 14)).collect();
        let more = if model.classes.len() > 3 { ", …" } else { "" };
        let count = format::whole(model.classes.len() as i64);
        tiles.push(Tile::number("classes", count, format!("{}{more}", names.join(", "))));
    }
    if let Some(at) = &model.trained {
        let (day, hour) = at.split_once(' ').unwrap_or((at, ""));
        let took = model.seconds.map_or(String::new(), |s| format!(" in {} s", format::number(s)));
        let by = model.trained_by.as_ref().map_or(String::new(), |r| format!(" by {}", format::short(r, 30)));
        tiles.push(Tile::number("trained", day.into(), format!("{hour}{took}{by}")));
    }
    tiles
}

/// A column of the table of metrics: a value by metric, with what is said of how sure it is.
type ByMetric = BTreeMap<String, (f64, Option<String>)>;

fn quality(model: &Model) -> Result<Markup> {
    let mut names: Vec<&str> = model.headline.iter().map(|h| h.0.as_str()).collect();
    let mut columns: Vec<(String, ByMetric)> = vec![];
    let range = |(low, high): (f64, f64)| format!("{} – {}", format::measure(low), format::measure(high));
    if let Some((_, given)) = &model.given {
        for m in &given.measures {
            if !names.contains(&m.name.as_str()) {
                names.push(&m.name);
            }
        }
        let of = given.measures.iter().map(|m| (m.name.clone(), (m.value, m.interval.map(range))));
        columns.push(("source".into(), of.collect()));
    }
    let mut splits: Vec<&str> = vec![];
    for m in model.metrics.iter().filter(|m| m.split != "cv_std") {
        if !splits.contains(&m.split.as_str()) {
            splits.push(&m.split);
        }
        if !names.contains(&m.name.as_str()) {
            names.push(&m.name);
        }
    }
    let known = |name: &str| {
        let found = model.figures.iter().filter(|f| f.part == Part::Test).flat_map(|f| &f.measures);
        found.clone().find(|m| m.name == name).and_then(|m| m.interval)
    };
    let deviation = |name: &str| {
        model
            .metrics
            .iter()
            .find(|m| m.split == "cv_std" && m.name == name)
            .map(|m| format!("± {}", format::measure(m.value)))
    };
    for split in splits {
        let sure = |name: &str| match split {
            "test" => known(name).map(range),
            "cv" => deviation(name),
            _ => None,
        };
        let of = model.metrics.iter().filter(|m| m.split == split);
        columns.push((split.into(), of.map(|m| (m.name.clone(), (m.value, sure(&m.name)))).collect()));
    }
    let about = |split: &str| match split {
        "source" => "95 % interval",
        "test" => "held out, 95 % interval",
        "cv" => "mean over folds ± deviation",
        "train" => "training rows",
        "oob" => "out of bag",
        "nested" => "outer folds",
        _ => "",
    };
    let beside = beside(model)?;
    Ok(html! {
        @if let Some((source, given)) = &model.given {
            p.muted {
                "Measured on " b { (format::whole(given.rows as i64)) } " rows of " code { bdi { (format::short(source, 160)) } }
                ", beside what the training measured."
            }
        } @else if model.test_rows > 0 {
            p.muted { "Measured on " b { (format::whole(model.test_rows as i64)) } " rows that the training held out and did not learn from." }
        } @else if model.metrics.iter().any(|m| m.split == "cv") {
            p.muted { "Measured by cross-validation: each row by a model that did not learn from it." }
        } @else if model.target.is_some() && !model.metrics.is_empty() {
            p.note {
                "No rows were held out: the model is measured on the rows that it learnt from, which flatters it. "
                "Name others: " code { "damson.report('…', source => '…')" } "."
            }
        }
        @if names.is_empty() {
            p.muted { "Nothing was measured." }
        } @else {
            div class="grid half" { div.card { h3 { "Metrics" } div.scroll { table.stacked[columns.len() > 1] {
                tr {
                    th { "" }
                    @for (split, _) in &columns { th.n { (split) br; small { (about(split)) } } }
                }
                @for name in names.iter().take(ROWS) {
                    tr {
                        td { bdi { (format::short(name, 60)) } }
                        @for (_, values) in &columns {
                            td.n {
                                @if let Some((value, sure)) = values.get(*name) {
                                    (format::measure(*value))
                                    @if let Some(sure) = sure { " " small { (sure) } }
                                }
                            }
                        }
                    }
                }
            } } } @if let Some(card) = beside { (card) } }
        }
        @for warning in model.warnings.iter().take(20) {
            p.note { "The training warned: " bdi { (format::cut(warning, 600)) } }
        }
    })
}

/// Rows and columns of a confusion matrix that stands beside the metrics.
const SMALL: usize = 12;

/// The drawing that says most about the metrics.
fn beside(model: &Model) -> Result<Option<Markup>> {
    let Some(figures) = drawn(model) else { return Ok(None) };
    if let Some(errors) = &figures.errors {
        let about = format!(
            "Half of them lie between {} and {}, their mean is {}.",
            format::number(errors.middle.0),
            format::number(errors.middle.1),
            format::number(errors.mean)
        );
        let svg = plot::of_figures(Plot::Errors, figures)?;
        return Ok(Some(drawing("Errors", &about, &svg)));
    }
    match &figures.confusion {
        Some(matrix) if matrix.side() <= SMALL => Ok(Some(confusion(matrix)?)),
        _ => Ok(None),
    }
}

fn drawing(title: &str, about: &str, svg: &Svg) -> Markup {
    html! { div.card { h3 { (title) } p.muted { (about) } (page::wide(svg)) } }
}

fn confusion(matrix: &Confusion) -> Result<Markup> {
    let about =
        "Rows by true and decided class; a cell is the stronger the larger its share of the true class.";
    Ok(drawing("Confusion matrix", about, &plot::confusion(matrix)?))
}

/// The figures that are drawn: those of the caller's rows, else those of the training.
fn drawn(model: &Model) -> Option<&Figures> {
    model.given.as_ref().and_then(|g| g.1.figures.as_ref()).or(model.figures.as_ref())
}

fn curves(model: &Model) -> Result<Option<Markup>> {
    let Some(figures) = drawn(model) else {
        return Ok(model.drawable.then(|| html! {
            p.muted {
                "Curves need rows that the model did not learn from. None were kept at its training; name some: "
                code { "damson.report('…', source => '…')" } "."
            }
        }));
    };
    let rows = format::whole(figures.rows as i64);
    let part = match figures.part {
        Part::Test => format!("Of {rows} rows that the training held out."),
        Part::Folds => format!(
            "Of {} rows, each scored by the fold that did not learn from it.",
            format::whole(figures.rows as i64)
        ),
        Part::Given => format!("Of {rows} rows of the source."),
    };
    let some = match figures.drawn < figures.rows && figures.part != Part::Folds {
        true => format!(" Curves are drawn from {} of them.", format::whole(figures.drawn as i64)),
        false => String::new(),
    };
    let mut cards: Vec<Markup> = vec![];
    let card = |title: &str, about: &str, plot: Plot| -> Result<Markup> {
        let svg = plot::of_figures(plot, figures)?;
        Ok(drawing(title, about, &svg))
    };
    if !figures.curves.is_empty() {
        let many = figures.curves.len() > 1;
        let against = if many {
            "Each class against the rest, with its area under the curve."
        } else {
            "With the area under the curve."
        };
        cards.push(card("ROC curve", against, Plot::Roc)?);
        cards.push(card("Precision and recall", "With the average precision.", Plot::Pr)?);
        cards.push(card(
            "Calibration",
            "On the line, probabilities come true as often as they say. Bins of fewer than 10 rows are left out.",
            Plot::Calibration,
        )?);
        if !many {
            cards.push(card(
                "Probabilities",
                "The further apart the classes, the better they are told apart.",
                Plot::Probabilities,
            )?);
        }
        cards.push(card(
            "Gain",
            "How much of the class is found by calling the likeliest rows first.",
            Plot::Gain,
        )?);
        cards.push(card("Lift", "How much likelier these rows are than any.", Plot::Lift)?);
    }
    if let Some(errors) = &figures.errors
        && !errors.points.is_empty()
    {
        cards.push(card(
            "Predictions and true values",
            "Some rows; on the line, predictions are right.",
            Plot::Predictions,
        )?);
        cards.push(card(
            "Errors by prediction",
            "Without a pattern, nothing is left to learn.",
            Plot::Residuals,
        )?);
    }
    let matrix = figures.confusion.as_ref().filter(|m| m.side() > SMALL);
    let matrix = matrix.map(confusion).transpose()?;
    Ok(Some(html! {
        p.muted { (part) (some) }
        @if let Some(card) = matrix { (card) }
        div.grid { @for card in cards { (card) } }
    }))
}

fn importance(model: &Model) -> Result<Option<Markup>> {
    let Some((method, ranked)) = model.importance.as_ref().filter(|i| !i.1.is_empty()) else {
        return Ok(None);
    };
    let about = match *method {
        "permutation" => {
            "How much worse the headline metric becomes when the values of a column are shuffled."
        }
        _ => {
            "How much each column contributes to the model: what splits on it gained or, in linear models, the effect of one standard deviation. Sums to 1."
        }
    };
    let svg = plot::importance(ranked)?;
    let table = (ranked.len() > 20).then(|| html! {
        details {
            summary { "All " (format::whole(ranked.len() as i64)) " columns" }
            table {
                tr { th { "column" } th.n { "importance" } }
                @for r in ranked.iter().take(ROWS) {
                    tr { td { bdi { (format::short(&r.name, 80)) } } td.n { (format::number(r.importance)) } }
                }
            }
        }
    });
    Ok(Some(html! { p.muted { (about) } div.card { (page::drawing(&svg)) @if let Some(t) = table { (t) } } }))
}

fn learning(model: &Model) -> Result<Option<Markup>> {
    if model.rounds.is_empty() {
        return Ok(None);
    }
    let drawings = plot::learning_curves(&model.rounds)?;
    Ok(Some(html! {
        p.muted { "What the training measured round by round." }
        div class="grid half" { @for svg in &drawings { div.card { (page::drawing(svg)) } } }
    }))
}

fn data(model: &Model) -> Result<Option<Markup>> {
    if model.columns.is_empty() {
        return Ok(None);
    }
    // What matters most comes first among the features.
    let place: BTreeMap<&str, usize> = model
        .importance
        .iter()
        .flat_map(|i| i.1.iter().enumerate())
        .map(|(i, r)| (r.name.as_str(), i))
        .collect();
    let mut order: Vec<&Drawn> = model.columns.iter().collect();
    order.sort_by_key(|c| {
        let role = match c.role {
            Some(Role::Target) => 0,
            Some(Role::Prediction | Role::Probability) => 1,
            _ => 2,
        };
        (role, place.get(c.name.as_str()).copied().unwrap_or(usize::MAX))
    });
    let (mut cards, mut bytes): (Vec<Markup>, usize) = (vec![], 0);
    for column in order.iter().take(COLUMNS) {
        if bytes > page::DRAWINGS {
            break;
        }
        let svg = column.bars.as_ref().map(|_| plot::distribution(column, true)).transpose()?;
        let missing = column.missing.first().copied().unwrap_or(0.0);
        let card = html! {
            div.card {
                h3 { bdi { (format::short(&column.name, 80)) } }
                p.muted {
                    (column.role.map_or("", Role::name))
                    @if missing > 0.0 { ", " (format::percent(missing)) " missing" }
                    @if column.bars.is_none() { ", no values to draw" }
                }
                @if let Some(svg) = svg { (page::drawing(&svg)) }
            }
        };
        bytes += card.0.len();
        cards.push(card);
    }
    Ok(Some(html! {
        p.muted {
            "What the rows of the training looked like, and what the model gave for those that it was measured on."
            @if model.columns.len() > cards.len() {
                " Of " (format::whole(model.columns.len() as i64)) " columns the " (cards.len()) " that matter most are drawn."
            }
        }
        div.small { @for card in cards { (card) } }
    }))
}

fn lineage(model: &Model) -> Result<Markup> {
    if model.lineage.is_empty() {
        return Ok(html! { p.muted { "Nothing is recorded of where this model comes from." } });
    }
    let (svg, left_out) = model.lineage.draw()?;
    Ok(html! {
        p.muted {
            "The relations whose columns it was trained on, and the tables that it filled, as far as you may see them."
            @if left_out > 0 { " " (left_out) " more are not drawn: " code { "damson.upstream" } " and " code { "damson.downstream" } " list them." }
        }
        div.card { (page::wide(&svg)) }
        @if let Some(source) = &model.source {
            details { summary { "The source as it was given" } pre { (format::cut(source, 8000)) } }
        }
    })
}

fn drift(model: &Model) -> Result<Markup> {
    if model.history.is_empty() {
        return Ok(html! {
            p.muted { "No monitor has looked at this model yet. " code { "damson.drift_report('…', '…')" } " compares rows of today with those of the training." }
        });
    }
    let svg = plot::drift_history(&model.history)?;
    Ok(html! {
        div.card { (page::wide(&svg)) }
        details {
            summary { "Measurements" }
            div.scroll { table {
                tr { th { "when" } th { "monitor" } th.n { "rows" } th.n { "drifted columns" } th { "" } th { "named" } }
                @for m in model.history.iter().rev().take(ROWS) {
                    tr {
                        td { (format::time(m.at.floor())) } td { bdi { (format::short(&m.by, 80)) } }
                        td.n { (format::whole(m.rows as i64)) }
                        td.n { (m.share.map_or("–".to_string(), format::percent)) }
                        td { span class=(if m.state == "alarm" { "tag alert" } else { "tag" }) { (format::short(&m.state, 40)) } }
                        td { @for (i, c) in m.culprits.iter().take(20).enumerate() { @if i > 0 { ", " } bdi { (format::short(c, 60)) } } }
                    }
                }
            } }
        }
    })
}

fn parameters(model: &Model) -> Option<Markup> {
    if model.params.is_empty() && model.preprocess.is_empty() {
        return None;
    }
    let list = |title: &str, params: &[Param]| {
        html! {
            @if !params.is_empty() {
                div.card {
                    h3 { (title) }
                    table {
                        @for p in params.iter().take(ROWS) {
                            tr {
                                td.key { (format::short(&p.name, 100)) }
                                td.long { bdi { (format::cut(&p.value, 600)) } @if p.given { " " span.tag { "given" } } }
                            }
                        }
                    }
                }
            }
        }
    };
    Some(html! {
        p.muted { "Everything that is not marked as given was left as it is by default." }
        div.grid { (list("Algorithm", &model.params)) (list("Preprocessing", &model.preprocess)) }
    })
}

fn card(model: &Model) -> Markup {
    let pair = |p: &'_ (String, String)| (p.0.clone(), p.1.clone());
    let card: Vec<(String, String)> = model.card.iter().map(pair).collect();
    let features: Vec<String> = model.features.iter().take(ROWS).map(|f| format::short(f, 80)).collect();
    let classes: Vec<String> = model.classes.iter().take(100).map(|c| format::short(c, 80)).collect();
    html! {
        div.grid {
            div.card {
                h3 { "What the catalog knows" }
                (page::table(card.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
            }
            div.card {
                h3 { "What the model says of itself" }
                (page::table(model.says.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
                @if !classes.is_empty() {
                    details {
                        summary { (format::whole(model.classes.len() as i64)) " classes" }
                        p.muted { @for (i, c) in classes.iter().enumerate() { @if i > 0 { ", " } bdi { (c) } } @if model.classes.len() > 100 { ", …" } }
                    }
                }
                details {
                    summary { (format::whole(model.features.len() as i64)) " columns, in the order of scalars" }
                    p.muted { @for (i, f) in features.iter().enumerate() { @if i > 0 { ", " } bdi { (f) } } @if model.features.len() > ROWS { ", …" } }
                }
            }
        }
    }
}
