//! What pages have in common: their frame, tiles, tables of names and values, drawings.

use crate::canvas::{Svg, clean};
use crate::{format, palette};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// Characters of a value in a table.
const VALUE: usize = 2000;
/// Rows of a table.
pub(crate) const ROWS: usize = 300;
/// Bytes of a page, about; a part that would make it larger is left out.
const PAGE: usize = 1_900_000;
/// Bytes of the drawings of columns.
pub(crate) const DRAWINGS: usize = 900_000;
/// Pixels that a drawing has room for within the widest page.
const ROOM: f64 = 1030.0;

/// A part of a page; `id` is one word of ours.
pub(crate) struct Section {
    pub id: &'static str,
    pub title: &'static str,
    pub body: Markup,
}

/// What stands at the head of a page.
pub(crate) struct Head<'a> {
    /// What the page is.
    pub kind: &'a str,
    /// What it is about.
    pub name: &'a str,
    /// The version's number, where it is about one.
    pub version: Option<i64>,
    /// A sentence or so below it.
    pub lead: Markup,
    /// Figures in large type.
    pub tiles: Vec<Tile>,
    /// When the page was written.
    pub written: &'a str,
}

/// A figure in large type.
pub(crate) struct Tile {
    pub name: String,
    pub value: String,
    pub more: String,
    /// Whether the value is words, which are set smaller.
    pub words: bool,
}

impl Tile {
    pub(crate) fn number(name: &str, value: String, more: String) -> Tile {
        Tile { name: name.into(), value, more, words: false }
    }

    pub(crate) fn words(name: &str, value: String, more: String) -> Tile {
        Tile { name: name.into(), value, more, words: true }
    }
}

/// A whole page.
pub(crate) fn page(head: &Head, mut sections: Vec<Section>) -> String {
    let bytes = |sections: &[Section]| sections.iter().map(|s| s.body.0.len()).sum::<usize>();
    while bytes(&sections) > PAGE {
        let Some(largest) = sections.iter_mut().max_by_key(|s| s.body.0.len()) else { break };
        largest.body =
            html! { p.muted { "This part is left out: it would make the page larger than 2 MB." } };
    }
    let title = match head.version {
        Some(version) => format!("{} @{version} – {}", format::short(head.name, 100), head.kind),
        None => format!("{} – {}", format::short(head.name, 100), head.kind),
    };
    // Nothing may run and nothing may be fetched, whatever the page holds.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                // Our own text alone, without a character that HTML would read.
                style { (PreEscaped(include_str!("style.css"))) (PreEscaped(palette::style())) }
            }
            body {
                header {
                    div {
                        p.eyebrow { (head.kind) }
                        h1 {
                            bdi { (format::cut(head.name, 300)) }
                            @if let Some(version) = head.version { span.version { " @" (version) } }
                        }
                        p.lead { (head.lead) }
                        nav {
                            @for s in &sections { a href={ "#" (s.id) } { (s.title) } }
                        }
                    }
                }
                main {
                    div.tiles {
                        @for t in &head.tiles {
                            div.tile {
                                div.name { (t.name) }
                                div class=(if t.words { "value words" } else { "value" }) { (t.value) }
                                div.more { (t.more) }
                            }
                        }
                    }
                    @for s in sections {
                        section id=(s.id) {
                            h2 { (s.title) }
                            (s.body)
                        }
                    }
                }
                footer { "Written by Damson " (env!("CARGO_PKG_VERSION")) " on " (head.written) "." }
            }
        }
    };
    clean(&page.into_string())
}

/// A drawing within a page.
pub(crate) fn drawing(svg: &Svg) -> Markup {
    html! { figure { (PreEscaped(svg.within_page())) } }
}

/// A drawing that may be wider than the page.
pub(crate) fn wide(svg: &Svg) -> Markup {
    if svg.width() <= ROOM {
        return drawing(svg);
    }
    html! { div.scroll { (drawing(svg)) } }
}

/// Names and values.
pub(crate) fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a str)>) -> Markup {
    let rows: Vec<_> = rows.take(ROWS + 1).collect();
    html! {
        table {
            @for (name, value) in rows.iter().take(ROWS) {
                tr { td.key { bdi { (format::short(name, 200)) } } td.long { bdi { (format::cut(value, VALUE)) } } }
            }
            @if rows.len() > ROWS { tr { td.key { "…" } td { "There is more." } } }
        }
    }
}

/// Whether something holds, in a word.
pub(crate) fn verdict(drifted: bool) -> Markup {
    html! { @if drifted { span class="tag alert" { "drifted" } } @else { span class="tag good" { "steady" } } }
}

/// The colours of two sides.
pub(crate) fn sides(then: &str, now: &str) -> Markup {
    html! {
        p.key-line {
            span { span class="swatch s0" {} (then) }
            span { span class="swatch s1" {} (now) }
        }
    }
}
