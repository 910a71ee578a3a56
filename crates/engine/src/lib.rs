//! Damson's engine: learners, frames, metrics and artifacts. It knows no Postgres.
//!
//! - [`learner`]: the contract of every algorithm; [`algorithms`]: the algorithms and their list.
//! - [`frame`]: a table in memory. [`pictures`]: its images, in memory or outside of it.
//! - [`run`]: trains on threads. [`schema`]: what learners are given.
//! - [`train`]: from a frame to an artifact; [`target`], [`roles`], [`split`], [`prepare`],
//!   [`fingerprint`] are its steps; [`labels`]: sets of labels as a target.
//! - [`init_model`]: a model that a training goes on from; [`checkpoint`]: where one was broken off.
//! - [`decision`]: from probabilities to decisions; [`evaluation`]: metrics with intervals, curves, fairness.
//! - [`groups`]: one model a group of rows, as one model.
//! - [`fold`]: the same training through a server's aggregate.
//! - [`collect`]: rows one at a time, trained on at the end.
//! - [`artifact`]: a model as bytes; [`scorer`]: a model, loaded to score; [`batch`]: many rows at once; [`metrics`]: how good it is;
//!   [`explain`]: why it says so.
//! - [`weights`]: those of networks, for other tools. [`remote`]: networks trained by another process, which owns a device.
//! - [`lineage`]: what a training was made of; [`survey`]: the part of it that is found while rows come in.
//! - [`search`]: for parameters, and for algorithms.
//! - [`statistics`]: columns summed up, correlated and tested, beside the models.
//! - [`stream`]: numbers that are read again rather than held.
//! - [`cron`]: times of schedules; [`gate`]: conditions over metrics; [`pipeline`]: steps that follow.
//! - [`canary`]: which keys go to a canary; [`moment`]: days and times as references to models write them.
//! - [`drift`]: whether rows are still like those that were trained on.
//! - [`distributions`]: tails and quantiles for tests and intervals.
//! - `dense`: the inner loops of linear algebra that learners share. `lean`: numbers in few bytes.
//! - [`params`]: parameters declared as data. [`wire`]: values to bytes. [`error`]: the one error.

pub mod algorithms;
pub mod artifact;
pub mod batch;
pub mod canary;
mod centers;
pub mod checkpoint;
pub mod collect;
pub mod cron;
pub mod decision;
mod dense;
pub mod distributions;
pub mod drift;
pub mod error;
pub mod evaluation;
pub mod explain;
pub mod fingerprint;
pub mod fold;
pub mod frame;
pub mod gate;
pub mod groups;
pub mod init_model;
pub mod labels;
mod lean;
pub mod learner;
pub mod lineage;
pub mod metrics;
pub mod moment;
pub mod params;
pub mod pictures;
pub mod pipeline;
pub mod prepare;
pub mod remote;
pub mod roles;
pub mod run;
pub mod schema;
pub mod scorer;
pub mod search;
pub mod split;
pub mod statistics;
pub mod stream;
pub mod survey;
pub mod target;
pub mod train;
pub mod weights;
pub mod wire;

pub use error::{Error, Kind, Result};
