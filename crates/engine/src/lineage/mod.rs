//! What a training was made of: what identifies its rows, what its columns looked like, which rows it learnt from,
//! and how to repeat it. Caller: [`crate::train`]; the server keeps it with the version.
//!
//! It is gathered beside every training, so it must be cheap: one pass over the rows for the digest, one for the
//! columns, in parallel.

mod columns;
mod membership;

pub use columns::ColumnFacts;
pub use membership::Membership;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::Digest;
use crate::frame::Selection;
use crate::learner::Cx;
use crate::params::Values;
use crate::prepare::InputColumn;
use crate::prepare::summary::Summary;
use crate::train::{Recipe, Request, Setting};
use rayon::prelude::*;
use std::time::Instant;

/// What a training was made of.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Rows that were read.
    pub rows: u64,
    /// What identifies them.
    pub digest: Digest,
    /// Whether they came in an order that the digest knows.
    pub ordered: bool,
    /// The columns that had a part in it.
    pub columns: Vec<ColumnFacts>,
    /// The keys of the training rows, where the request names a column of keys.
    pub used: Option<Membership>,
    /// The request, as JSON, with all parameters as they were: training by it again gives the same model.
    pub recipe: String,
    /// Seconds that it took to find out.
    pub seconds: f64,
}

impl Facts {
    /// Of rows in memory, some of which trained.
    ///
    /// # Errors
    /// Those of [`Membership::of`]; when the caller asked to stop.
    pub(crate) fn of(setting: &Setting, recipe: &Recipe, trained: Selection, cx: &Cx) -> Result<Facts> {
        let start = Instant::now();
        let (frame, request) = (setting.frame, setting.request);
        let mut read = setting.used()?;
        for name in [&request.key, &request.time_column].into_iter().flatten() {
            let position = frame.position(name)?;
            if !read.contains(&position) {
                read.push(position);
            }
        }
        let columns = || -> Vec<Result<ColumnFacts>> {
            let of = |c: &usize| {
                let column = &frame.columns[*c];
                cx.check()?;
                Ok(ColumnFacts::of(column, role(request, &column.name), setting.extent(*c)))
            };
            read.par_iter().map(of).collect()
        };
        let (digest, columns) = rayon::join(|| setting.digest(), columns);
        let key = request.key.as_ref().map(|name| frame.position(name)).transpose()?;
        let used = key.map(|k| Membership::of(&frame.columns[k], &trained.list())).transpose()?;
        Ok(Facts {
            rows: frame.rows as u64,
            digest: digest?,
            ordered: true,
            columns: columns.into_iter().collect::<Result<_>>()?,
            used,
            recipe: replay(request, recipe.algorithm.info().name, &recipe.params, &recipe.options.values)?,
            seconds: start.elapsed().as_secs_f64(),
        })
    }

    /// Of rows that were folded where they lay. Their order is not known.
    pub(crate) fn folded(
        request: &Request,
        rows: u64,
        fingerprint: u128,
        inputs: &[InputColumn],
        summaries: &[Summary],
        recipe: [&Values; 2],
    ) -> Result<Facts> {
        let columns = inputs.iter().zip(summaries);
        let mut columns: Vec<ColumnFacts> =
            columns.map(|(input, s)| ColumnFacts::summarised(input, s, role(request, &input.name))).collect();
        for name in [&request.target, &request.weight, &request.offset, &request.group].into_iter().flatten()
        {
            if !columns.iter().any(|c| c.name == *name) {
                columns.push(ColumnFacts::unseen(name, role(request, name)));
            }
        }
        Ok(Facts {
            rows,
            digest: Digest { rows: fingerprint, order: 0 },
            ordered: false,
            columns,
            used: None,
            recipe: replay(request, &request.algorithm, recipe[0], recipe[1])?,
            seconds: 0.0,
        })
    }
}

/// The part that a column has in a training; a column may be a feature and more.
fn role(request: &Request, name: &str) -> &'static str {
    let is = |of: &Option<String>| of.as_deref() == Some(name);
    let feature = request.features.as_ref().is_some_and(|f| f.iter().any(|f| f == name));
    match name {
        _ if is(&request.target) => "target",
        _ if is(&request.weight) => "weight",
        _ if is(&request.offset) => "offset",
        _ if request.group_by.iter().any(|g| g == name) => "group_by",
        _ if feature => "feature",
        _ if is(&request.group) => "group",
        _ if is(&request.time_column) => "time",
        _ if is(&request.key) => "key",
        _ => "feature",
    }
}

fn replay(request: &Request, algorithm: &str, params: &Values, preprocess: &Values) -> Result<String> {
    let request = Request {
        algorithm: algorithm.to_string(),
        params: params.to_json().to_string(),
        preprocess: preprocess.to_json().to_string(),
        ..request.clone()
    };
    serde_json::to_string(&request).map_err(|e| Error::internal(format!("could not write a request: {e}")))
}

/// The request that [`Facts::recipe`] keeps.
///
/// # Errors
/// `Kind::Corrupt` when it is not one.
pub fn request(recipe: &str) -> Result<Request> {
    serde_json::from_str(recipe)
        .map_err(|e| Error::new(Kind::Corrupt, format!("the recorded request cannot be read: {e}")))
}
