//! The page of rows then and now.

use crate::page::{self, Head, ROWS, Section, Tile};
use crate::plot;
use crate::{Result, format};
use engine::drift::Finding;
use engine::drift::histogram::Drawn;
use engine::drift::quality::Issue;
use maud::{Markup, html};
use std::collections::BTreeMap;

/// Columns whose values are drawn.
const COLUMNS: usize = 120;

/// What was found by comparing rows.
#[derive(Debug, Clone, Default)]
pub struct Drift {
    /// What is compared: a model, or a relation.
    pub name: String,
    /// The version, where it is a model.
    pub version: Option<i64>,
    /// What it is compared with: the relation or SELECT of today's rows.
    pub source: String,
    /// Rows then.
    pub rows_then: u64,
    /// Rows now.
    pub rows_now: u64,
    /// The dataset's row, and those of columns.
    pub findings: Vec<Finding>,
    /// The columns' values.
    pub columns: Vec<Drawn>,
    /// Whether labels of the reference may be shown.
    pub issues: Vec<Issue>,
    /// When the page is written.
    pub written: String,
}

/// The page.
///
/// # Errors
/// None that a caller could cause.
pub fn page(drift: &Drift) -> Result<String> {
    let columns: Vec<&Finding> = drift.findings.iter().filter(|f| f.column.is_some()).collect();
    let drifted = columns.iter().filter(|f| f.drifted).count();
    let dataset = drift.findings.iter().find(|f| f.column.is_none());
    let (then, now) = match drift.version {
        Some(_) => ("training", "source"),
        None => ("reference", "source"),
    };
    let mut tiles = vec![];
    if let Some(found) = dataset {
        let shown = found.shown();
        let share =
            shown.statistic.map_or(String::new(), |s| format!("{} of its columns", format::percent(s)));
        let from =
            shown.threshold.map_or(String::new(), |t| format!(", from {} on it has", format::percent(t)));
        let verdict = if found.drifted { "has drifted" } else { "has not drifted" };
        tiles.push(Tile::words("the dataset", verdict.into(), format!("{share}{from}")));
    }
    tiles.push(Tile::number(
        "columns that drifted",
        drifted.to_string(),
        format!("of {} compared", columns.len()),
    ));
    tiles.push(Tile::number(&format!("rows, {then}"), format::whole(drift.rows_then as i64), String::new()));
    tiles.push(Tile::number(&format!("rows, {now}"), format::whole(drift.rows_now as i64), String::new()));
    let problems = drift.issues.iter().filter(|i| i.problem).count();
    if drift.version.is_some() {
        tiles.push(Tile::number("problems of the rows", problems.to_string(), "see Data quality".into()));
    }
    let mut sections = vec![
        Section { id: "columns", title: "Columns", body: table(&columns) },
        Section { id: "values", title: "Values then and now", body: values(drift, &columns, then, now)? },
    ];
    if !drift.issues.is_empty() {
        sections.push(Section { id: "quality", title: "Data quality", body: quality(&drift.issues) });
    }
    let head = Head {
        kind: "Drift report",
        name: &drift.name,
        version: drift.version,
        lead: html! {
            @if drift.version.is_some() { "The rows that it was trained on, compared with " } @else { "Compared with " }
            b { bdi { (format::short(&drift.source, 200)) } } "."
        },
        tiles,
        written: &drift.written,
    };
    Ok(page::page(&head, sections))
}

/// Drifted ones first; of these, those of the model's own answers.
fn sorted<'a>(columns: &[&'a Finding]) -> Vec<&'a Finding> {
    let mut all = columns.to_vec();
    all.sort_by_key(|f| !f.drifted);
    all
}

fn table(columns: &[&Finding]) -> Markup {
    let write = |x: Option<f64>| x.map_or("–".to_string(), format::number);
    html! {
        p.muted { "A test says that a column has drifted when its p-value is below the threshold, a distance when it is above." }
        div.card { div.scroll { table {
            tr { th { "column" } th { "" } th { "role" } th { "method" } th.n { "statistic" } th.n { "p-value" } th.n { "threshold" } }
            @for f in sorted(columns).iter().take(ROWS) {
                @let shown = f.shown();
                tr {
                    td { bdi { (format::short(f.column.as_deref().unwrap_or(""), 80)) } }
                    td { (page::verdict(f.drifted)) }
                    td { (f.role.map_or("column", |r| r.name())) }
                    td { (f.method) }
                    td.n { (write(shown.statistic)) } td.n { (write(shown.p_value)) } td.n { (write(shown.threshold)) }
                }
            }
            @if columns.len() > ROWS { tr { td { "…" } td colspan="6" { (columns.len() - ROWS) " more columns" } } }
        } } }
    }
}

fn values(drift: &Drift, columns: &[&Finding], then: &str, now: &str) -> Result<Markup> {
    let order: BTreeMap<&str, usize> =
        sorted(columns).iter().enumerate().filter_map(|(i, f)| Some((f.column.as_deref()?, i))).collect();
    let found: BTreeMap<&str, bool> =
        columns.iter().filter_map(|f| Some((f.column.as_deref()?, f.drifted))).collect();
    let mut drawn: Vec<&Drawn> =
        drift.columns.iter().filter(|c| order.contains_key(c.name.as_str())).collect();
    drawn.sort_by_key(|c| order.get(c.name.as_str()).copied());
    let (mut cards, mut bytes): (Vec<Markup>, usize) = (vec![], 0);
    for column in drawn.iter().take(COLUMNS) {
        if bytes > page::DRAWINGS {
            break;
        }
        let svg = column.bars.as_ref().map(|_| plot::distribution(column, true)).transpose()?;
        let card = html! {
            div.card {
                h3 {
                    bdi { (format::short(&column.name, 80)) } " "
                    @if let Some(drifted) = found.get(column.name.as_str()) { (page::verdict(*drifted)) }
                }
                p.muted {
                    @match column.missing[..] {
                        [a, b] if a > 0.0 || b > 0.0 => { (format::percent(a)) " missing then, " (format::percent(b)) " now" }
                        _ => { "none missing" }
                    }
                    @if column.bars.is_none() { ", no values to draw" }
                }
                @if let Some(svg) = svg { (page::drawing(&svg)) }
            }
        };
        bytes += card.0.len();
        cards.push(card);
    }
    Ok(html! {
        @if drift.columns.is_empty() {
            p.muted { "The values of the training are its owner's; you may use the model, and see how far they moved." }
        } @else {
            (page::sides(then, now))
            @if drawn.len() > cards.len() { p.muted { "Of " (drawn.len()) " columns " (cards.len()) " are drawn, drifted ones first." } }
            div.small { @for card in cards { (card) } }
        }
    })
}

fn quality(issues: &[Issue]) -> Markup {
    html! {
        p.muted { "What is to be said of the rows of today, beside those of the training." }
        div.card { div.scroll { table {
            tr { th { "column" } th { "check" } th { "" } th.n { "rows" } th.n { "share" } th.n { "before" } th { "" } }
            @for issue in issues.iter().take(ROWS) {
                tr {
                    td { bdi { (issue.column.as_deref().map_or("all rows".to_string(), |c| format::short(c, 80))) } }
                    td { (issue.check) }
                    td { @if issue.problem { span class="tag alert" { "problem" } } }
                    td.n { (format::whole(issue.rows as i64)) }
                    td.n { (format::percent(issue.share)) }
                    td.n { @if let Some(b) = issue.baseline { (format::percent(b)) } }
                    td { bdi { (format::short(&issue.detail, 120)) } }
                }
            }
        } } }
    }
}
