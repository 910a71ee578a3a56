//! Damson's reports and plots: what the engine knows of a model, of its rows and of their drift, as HTML pages and SVG
//! drawings for people to look at. It knows no server. Caller: the verbs of reports.
//!
//! - [`model`]: the page of a version. [`drift`]: the page of rows then and now.
//! - [`plot`]: single drawings, which the pages are made of.
//! - `page`: what pages have in common. `lineage`: steps of lineage as a graph.
//! - `lines`, `bars`, `matrix`, `graph`: the kinds of drawings; `canvas` makes SVG, `palette` has the colours, `format` the
//!   numbers.
//!
//! Invariants:
//! - A page is one file: no script, nothing that is fetched. Its policy forbids both, should anything slip in.
//! - All text is hostile. HTML is written by maud and SVG by plotters, which escape it; what neither HTML nor XML may hold,
//!   and what would reorder the text around it, is replaced as the page or drawing leaves ([`canvas::clean`]).
//! - Drawings are written in the colours of the light page; a style sheet turns these into those of the dark one.
//! - The same input gives the same bytes. What is shown of it is bounded, so that a page is below 2 MB.

mod bars;
mod canvas;
pub mod drift;
mod format;
mod graph;
pub mod lineage;
mod lines;
mod matrix;
pub mod model;
mod page;
mod palette;
pub mod plot;

pub use engine::{Error, Kind, Result};
