//! The parameters of k-means: declared, and checked.

use super::MAX_CLUSTERS;
use super::minibatch;
use crate::centers::Centers;
use crate::error::{Error, Kind, Result};
use crate::params::{Param, Values};
use crate::schema::Schema;

/// What the reference says of them.
pub const PARAMS: &[Param] = &[
    Param::int("n_clusters", 8, 1, MAX_CLUSTERS as i64, "Clusters to form.").alias(&["k"]),
    Param::int(
        "max_iter",
        300,
        1,
        100_000,
        "Most iterations of Lloyd's algorithm in a run; with batch_size most readings of the sample.",
    ),
    Param::float(
        "tol",
        1e-4,
        0.0,
        f64::MAX,
        "Of Lloyd's algorithm: the centers are at rest when the squares of their shifts sum to no more than this times the mean \
                 variance of the features.",
    ),
    Param::json(
        "init",
        "\"k-means||\"",
        "First centers: \"k-means||\", \"random\" (rows), or an array of them, each an array of encoded \
                 features.",
    ),
    Param::int("n_init", 1, 1, 1000, "Runs from different first centers; the best is kept."),
    Param::float(
        "oversampling_factor",
        2.0,
        1.0,
        100.0,
        "Rows that k-means|| takes in each of its 4 draws, as a multiple of n_clusters.",
    ),
    Param::int(
        "batch_size",
        1024,
        1,
        10_000_000,
        "Rows a step of mini-batch k-means, which samples 100 batches in one pass, begins by k-means++ on some of \
         them, and ends when the inertia of batches has not fallen for 10 steps; left out, all rows are in each step.",
    )
    .optional(),
];

/// Values of encoded rows that shards keep between rounds: 1 GiB. Where there are more, each round encodes them.
const MAX_KEPT: usize = 128 << 20;

/// Where the first centers come from.
#[derive(Debug, Clone)]
pub enum Init {
    /// k-means||, with this many rows a draw.
    Parallel(usize),
    /// As many rows as clusters.
    Random,
    /// The caller.
    Given(Centers),
}

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    /// Centers.
    pub clusters: usize,
    /// Encoded features.
    pub width: usize,
    /// As declared.
    pub max_iter: usize,
    /// As declared.
    pub tol: f64,
    /// As declared.
    pub n_init: usize,
    /// First centers.
    pub init: Init,
    /// Rows a mini-batch, and the share of all rows that is sampled for them.
    pub batch: Option<(usize, f64)>,
    /// Whether shards keep their encoded rows between rounds.
    pub keeps: bool,
}

impl Params {
    /// Checks the declared values against each other and the data's shape.
    pub fn checked(values: &Values, schema: &Schema) -> Result<Params> {
        let clusters = values.count("n_clusters")?;
        let width = schema.width();
        if width == 0 {
            return Err(Error::new(
                Kind::Data,
                "kmeans found no features in the source, expected at least one",
            )
            .hint("Select at least one column to cluster by."));
        }
        let n_init = values.count("n_init")?;
        let init = match values.json("init")? {
            serde_json::Value::String(s) if s == "random" => Init::Random,
            serde_json::Value::String(s) if s == "k-means||" => {
                Init::Parallel((values.float("oversampling_factor")? * clusters as f64).ceil() as usize)
            }
            serde_json::Value::Array(given) => {
                if n_init > 1 {
                    let message = format!(
                        "parameter \"n_init\" of kmeans is {n_init}, but \"init\" gives the first centers"
                    );
                    return Err(Error::new(Kind::Parameter, message)
                        .hint("All runs would be the same: leave \"n_init\" at 1, or \"init\" out."));
                }
                Init::Given(given_centers(given, clusters, width)?)
            }
            other => {
                let message = format!(
                    "parameter \"init\" of kmeans is {other}, expected \"k-means||\", \"random\" or an array of centers"
                );
                return Err(Error::new(Kind::Parameter, message)
                    .hint("\"k-means||\" is k-means++ for many rows, and the default."));
            }
        };
        let (max_iter, tol) = (values.count("max_iter")?, values.float("tol")?);
        let batch = values.opt_count("batch_size")?;
        let batch = batch.map(|rows| (rows, minibatch::share(schema.rows, rows, clusters)));
        let keeps = batch.is_none() && schema.rows.saturating_mul(width) <= MAX_KEPT;
        Ok(Params { clusters, width, max_iter, tol, n_init, init, batch, keeps })
    }
}

/// The array that the caller gave as first centers.
fn given_centers(given: &[serde_json::Value], clusters: usize, width: usize) -> Result<Centers> {
    let point = |v: &serde_json::Value| -> Option<Vec<f64>> {
        let point: Vec<f64> = v.as_array()?.iter().map(|x| x.as_f64()).collect::<Option<_>>()?;
        (point.len() == width).then_some(point)
    };
    let points: Option<Vec<Vec<f64>>> = given.iter().map(point).collect();
    match points {
        Some(points) if points.len() == clusters => Ok(Centers::new(&points.concat(), width)),
        _ => {
            let message = format!(
                "parameter \"init\" of kmeans has {} elements, expected {clusters} centers (n_clusters), each an array \
                 of {width} numbers",
                given.len()
            );
            Err(Error::new(Kind::Parameter, message).hint(
                "Its numbers are of encoded features: standardised, and one for each value of a category.",
            ))
        }
    }
}
