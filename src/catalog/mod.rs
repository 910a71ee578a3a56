//! The catalog: the only SQL against the tables of `sql/catalog.sql`. Callers: `src/api`.
//!
//! - [`mod@reference`]: `name`, `name@alias`, `name@7`.
//! - [`mod@resolve`]: from a reference to a loaded model, with the current user's rights; `cache` keeps the loaded,
//!   `remembered` what references meant.
//! - [`models`]: owners, names, grants. [`versions`]: what a training leaves behind, [`trials`]: what a
//!   search does besides. [`deployments`]: aliases.
//! - [`policies`]: what stands between a version and production, [`gates`] by metrics; [`canaries`]: keys that another
//!   version serves; [`retention`]: versions that expire; [`audit`]: who did what.
//! - [`parent`]: the version that a training goes on from; [`weights`]: versions with weights from outside.
//! - [`queue`]: jobs; [`schedules`] make them again and again, [`pipelines`] one after the other.
//! - [`monitors`]: what watches models by itself; [`measurements`]: what they saw, [`alerts`]: what they raised.
//! - [`scorers`]: functions and views made for models, which `made` finds again.
//! - [`baselines`]: what versions remember of their rows, for drift.
//! - [`description`]: one version as rows to read; [`reports`]: as a page to look at.
//! - [`lineage`]: what versions were made of; [`sources`]: whether it is still there; [`fills`]: which tables
//!   versions filled; [`graph`]: all of that, walked up and down;
//!   [`export`]: for other tools.
//!
//! Invariants: every statement names its objects with their schemas and runs as the tables' owner
//! ([`crate::pg::role`]); rights of the current user are checked here and nowhere else; whatever writes ends
//! with an announcement ([`crate::pg::change`]).

pub mod alerts;
pub mod audit;
pub mod baselines;
mod cache;
pub mod canaries;
pub mod deployments;
pub mod description;
pub mod export;
pub mod fills;
pub mod gates;
pub mod graph;
pub mod lineage;
mod made;
pub mod measurements;
pub mod models;
pub mod monitors;
pub mod parent;
pub mod pipelines;
pub mod policies;
pub mod queue;
pub mod reference;
mod remembered;
pub mod reports;
pub mod resolve;
pub mod retention;
pub mod schedules;
pub mod scorers;
pub mod sources;
pub mod trials;
pub mod versions;
pub mod weights;

use crate::pg::error::Result;
use crate::pg::role;
use crate::pg::spi::{self, Param, Rows};
use std::ffi::CStr;

pub use crate::pg::change::{generation, moment};
pub use resolve::{Resolved, resolve};

pgrx::extension_sql_file!("../../sql/catalog.sql", name = "catalog", bootstrap);
pgrx::extension_sql_file!("../../sql/views.sql", name = "views", requires = ["catalog"]);
pgrx::extension_sql_file!("../../sql/lineage.sql", name = "lineage", requires = ["catalog", "views"]);
pgrx::extension_sql_file!("../../sql/help.sql", name = "help", finalize);
pgrx::extension_sql_file!("../../sql/jobs.sql", name = "jobs", requires = ["views"]);
pgrx::extension_sql_file!("../../sql/checkpoints.sql", name = "checkpoints", requires = ["views"]);
pgrx::extension_sql_file!("../../sql/drift.sql", name = "drift", requires = ["catalog", "views"]);
pgrx::extension_sql_file!("../../sql/deployment.sql", name = "deployment", requires = ["views"]);
pgrx::extension_sql_file!("../../sql/report.sql", name = "report", requires = ["catalog"]);
pgrx::extension_sql_file!("../../sql/monitors.sql", name = "monitors", requires = ["drift", "jobs"]);
pgrx::extension_sql_file!("../../sql/devices.sql", name = "devices", requires = ["catalog"]);
pgrx::extension_sql_file!("../../sql/scorers.sql", name = "scorers", requires = ["views"]);
pgrx::extension_sql_file!("../../sql/sample.sql", name = "sample", requires = ["catalog"]);

/// The schema whose owner owns the tables.
const SCHEMA: &CStr = c"damson_catalog";

/// Reads under the snapshot of the calling statement.
fn read(sql: &str, params: &[Param]) -> Result<Rows> {
    role::as_owner_of(SCHEMA, || spi::select(sql, params))
}

/// As `read`, for what runs once a statement of the user.
fn read_kept(sql: &'static str, params: &[Param]) -> Result<Rows> {
    role::as_owner_of(SCHEMA, || spi::select_kept(sql, params))
}

/// Writes, or reads what is committed by now.
fn write(sql: &str, params: &[Param]) -> Result<Rows> {
    role::as_owner_of(SCHEMA, || spi::execute(sql, params))
}

/// As `write`, for what runs once a training.
fn write_kept(sql: &'static str, params: &[Param]) -> Result<Rows> {
    role::as_owner_of(SCHEMA, || spi::execute_kept(sql, params))
}
