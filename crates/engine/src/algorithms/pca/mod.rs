//! `pca`: principal components. By the eigenvectors of the covariance, from one pass; or, for wide rows, by a random
//! projection that power iterations sharpen, a pass each (Halko, Martinsson & Tropp, "Finding structure with
//! randomness", 2011, algorithm 4.4). Parameters, signs and variances are scikit-learn's.
//!
//! The covariance of `d` features takes `d * d` numbers and its eigenvectors `6 d^3` multiplications; the projection
//! onto `l` directions takes `d * l` numbers, and a pass `4 d l` multiplications a row. Rows are never held: a pass adds
//! up `X'(X Q)` with X the rows about their means, so shards merge by addition.
//!
//! Variances have `n - 1` as their denominator; with weights, the sum of weights less 1 (a weight counts rows). Each
//! component's entry that is largest in absolute value is positive.

mod eigen;
mod model;
mod moments;
#[cfg(test)]
mod tests;

use crate::dense;
use crate::error::{Error, Kind, Result};
use crate::learner::{Cx, Info, Input, Learner, Merge, Sharding, Step};
use crate::params::{Param, Values};
use crate::schema::{Chunk, Schema, Task};
use eigen::Eigen;
pub use model::Model;
use moments::{Moments, centred};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// The widest rows whose covariance is taken where the caller leaves the choice.
const WIDE: usize = 1000;
/// The widest rows whose covariance is taken at all: it takes 200 MB, and minutes to decompose.
const WIDEST: usize = 5000;

/// The algorithm, for the static list.
pub struct Pca;

/// How many components are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Keep {
    /// So many.
    Count(usize),
    /// As few as have this share of the variance.
    Share(f64),
}

/// Checked parameters.
#[derive(Debug, Clone)]
pub struct Params {
    width: usize,
    keep: Keep,
    whiten: bool,
    /// For wide rows: directions, and power iterations.
    randomized: Option<(usize, usize)>,
}

/// What a pass is for.
#[derive(Debug, Serialize, Deserialize)]
pub enum State {
    /// Means and covariance, or means and variances.
    Moments,
    /// The covariance times directions.
    Project(Projection),
}

/// Directions, and what the job knows beside them.
#[derive(Debug, Serialize, Deserialize)]
pub struct Projection {
    mean: Vec<f64>,
    /// Orthonormal, one a row: `directions * width`.
    directions: Vec<f64>,
    #[serde(skip)]
    total: f64,
    #[serde(skip)]
    weight: f64,
    #[serde(skip)]
    passes: usize,
}

/// The sums of a pass.
#[derive(Debug, Serialize, Deserialize)]
pub enum Partial {
    /// Of the first.
    Moments(Moments),
    /// Of the others: `X'X` times each direction, one a row.
    Images(Vec<f64>),
}

impl Merge for Partial {
    fn merge(&mut self, other: Partial) -> Result<()> {
        match (self, other) {
            (Partial::Moments(a), Partial::Moments(b)) => a.merge(b),
            (Partial::Images(a), Partial::Images(b)) if a.len() == b.len() => {
                a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
                Ok(())
            }
            _ => Err(Error::corrupt("partials of different rounds cannot be merged")),
        }
    }
}

impl Learner for Pca {
    const INFO: Info = Info {
        name: "pca",
        version: 1,
        summary: "Principal components: the directions along which rows vary most; damson.embed gives a row's values along them.",
        tasks: &[Task::Embedding],
        input: Input::Matrix { scale: false },
        sharding: Sharding::Blocks,
        params: &[
            Param::json(
                "n_components",
                "null",
                "Components to keep: how many, or between 0 and 1 the share of the variance that they must explain. By default all.",
            ),
            Param::bool("whiten", false, "Whether each component is divided by its standard deviation."),
            Param::choice(
                "svd_solver",
                "auto",
                &["auto", "covariance_eigh", "randomized"],
                "Eigenvectors of the covariance, or a random projection; by default the latter for more than 1000 features, when less than four fifths of them are asked for.",
            ),
            Param::int("n_oversamples", 10, 0, 10_000, "Directions that the random projection takes beside n_components."),
            Param::int(
                "iterated_power",
                7,
                0,
                1000,
                "Power iterations of the random projection: 7, or 4 when n_components is a tenth of the features or more.",
            )
            .optional(),
        ],
    };
    type Params = Params;
    type State = State;
    type Local = ();
    type Partial = Partial;
    type Model = Model;

    fn params(values: &Values, schema: &Schema) -> Result<Params> {
        let width = schema.width();
        if width == 0 {
            return Err(Error::new(Kind::Data, "pca found no features in the source, expected at least one")
                .hint("Select at least one column of numbers."));
        }
        let keep = keep(values.json("n_components")?, width)?;
        let solver = values.text("svd_solver")?;
        let few = matches!(keep, Keep::Count(k) if (k as f64) < 0.8 * width as f64);
        let randomized = match (solver, keep) {
            ("randomized", Keep::Share(share)) => {
                let message = format!(
                    "parameter \"n_components\" of pca is {share}, a share, with svd_solver randomized"
                );
                return Err(Error::new(Kind::Parameter, message)
                    .hint("Say how many components there are to be, or take svd_solver covariance_eigh."));
            }
            ("randomized", Keep::Count(k)) => Some(k),
            ("auto", Keep::Count(k)) if width > WIDE && few => Some(k),
            _ => None,
        };
        if randomized.is_none() && width > WIDEST {
            let message = format!("pca by the covariance takes up to {WIDEST} features, found {width}");
            return Err(Error::new(Kind::Unsupported, message)
                .hint("Ask for fewer components, for example params => '{\"n_components\": 50}'."));
        }
        let powers = values.opt_count("iterated_power")?;
        let oversamples = values.count("n_oversamples")?;
        let randomized = randomized.map(|k| {
            let usual = if (k as f64) < 0.1 * width.min(schema.rows) as f64 { 7 } else { 4 };
            ((k + oversamples).min(width), powers.unwrap_or(usual))
        });
        Ok(Params { width, keep, whiten: values.bool("whiten")?, randomized })
    }

    fn memory(params: &Params, schema: &Schema) -> u64 {
        let each = params.randomized.map_or(params.width, |(directions, _)| directions) * params.width;
        let waiting = (rayon::current_num_threads() as u64 * 4).min(schema.rows as u64 / 64 + 1) + 4;
        each as u64 * 8 * waiting
    }

    fn init(_params: &Params, _schema: &Schema, _cx: &Cx) -> Result<State> {
        Ok(State::Moments)
    }

    fn zero(params: &Params, state: &State) -> Partial {
        match state {
            State::Moments => Partial::Moments(Moments::zero(params.width, params.randomized.is_none())),
            State::Project(p) => Partial::Images(vec![0.0; p.directions.len()]),
        }
    }

    fn accumulate(
        params: &Params,
        state: &State,
        _local: &mut (),
        chunk: &Chunk,
        partial: &mut Partial,
        cx: &Cx,
    ) -> Result<()> {
        match (state, partial) {
            (State::Moments, Partial::Moments(moments)) => moments.add(chunk, cx),
            (State::Project(p), Partial::Images(images)) => {
                let d = params.width;
                let l = p.directions.len() / d;
                let mut along = vec![];
                centred(chunk, &p.mean, cx, |z, rows| {
                    along.resize(rows * l, 0.0);
                    dense::margins(z, rows, d, &p.directions, l, &mut along);
                    dense::add_product(&along, rows, l, z, d, images);
                })
            }
            _ => Err(Error::internal("a partial of another round")),
        }
    }

    fn update(params: &Params, state: State, total: Partial, cx: &Cx) -> Result<Step<State, Model>> {
        let d = params.width;
        match (state, total) {
            (State::Moments, Partial::Moments(moments)) => {
                if moments.weight <= 1.0 {
                    return Err(Error::new(Kind::Data, "pca got one row or none, expected two or more"));
                }
                if !moments.finite() {
                    return Err(overflow());
                }
                let freedom = moments.weight - 1.0;
                let (total, weight) = (moments.total() / freedom, moments.weight);
                let Some((directions, powers)) = params.randomized else {
                    let Eigen { values, vectors } = eigen::symmetric(&moments.square, d, cx)?;
                    let values: Vec<f64> = values.iter().map(|v| (v / freedom).max(0.0)).collect();
                    cx.observer.progress(1, 1, "passes");
                    return done(params, values, vectors, moments.mean, total, weight);
                };
                let mut rng = ChaCha8Rng::seed_from_u64(cx.seed);
                let mut start: Vec<f64> = (0..directions * d).map(|_| normal(&mut rng)).collect();
                orthonormalise(&mut start, d, cx)?;
                let mean = moments.mean;
                cx.observer.progress(1, powers + 2, "passes");
                Ok(Step::Again(State::Project(Projection {
                    mean,
                    directions: start,
                    total,
                    weight,
                    passes: 1,
                })))
            }
            (State::Project(mut p), Partial::Images(mut images)) => {
                let (_, powers) = params.randomized.unwrap_or_default();
                p.passes += 1;
                cx.observer.progress(p.passes, powers + 2, "passes");
                if !images.iter().all(|v| v.is_finite()) {
                    return Err(overflow());
                }
                let l = images.len() / d;
                if p.passes < powers + 2 {
                    orthonormalise(&mut images, d, cx)?;
                    p.directions = images;
                    return Ok(Step::Again(State::Project(p)));
                }
                // Rayleigh and Ritz: the eigenvectors of Q'AQ turn the directions into components.
                let mut small = vec![0.0; l * l];
                dense::margins(&images, l, d, &p.directions, l, &mut small);
                for i in 0..l {
                    for j in 0..i {
                        small[i * l + j] = 0.5 * (small[i * l + j] + small[j * l + i]);
                    }
                }
                let Eigen { values, vectors: turn } = eigen::symmetric(&small, l, cx)?;
                let values: Vec<f64> = values.iter().map(|v| (v / (p.weight - 1.0)).max(0.0)).collect();
                let mut vectors = vec![0.0; l * d];
                let columns: Vec<f64> = (0..l * d).map(|at| p.directions[at % l * d + at / l]).collect();
                dense::margins(&turn, l, l, &columns, d, &mut vectors);
                done(params, values, vectors, p.mean, p.total, p.weight)
            }
            _ => Err(Error::internal("a partial of another round")),
        }
    }
}

/// The model of the first of all components.
fn done(
    params: &Params,
    mut values: Vec<f64>,
    mut vectors: Vec<f64>,
    mean: Vec<f64>,
    total_variance: f64,
    weight: f64,
) -> Result<Step<State, Model>> {
    let d = params.width;
    let k = match params.keep {
        Keep::Count(k) => k,
        Keep::Share(share) => {
            let mut sum = 0.0;
            let enough = values.iter().position(|v| {
                sum += v;
                sum > share * total_variance
            });
            enough.map_or(values.len(), |last| last + 1)
        }
    };
    // No more directions than rows can vary; scikit-learn's bound is the number of rows.
    let k = k.min(weight.max(1.0) as usize).min(values.len()).max(1);
    values.truncate(k);
    vectors.truncate(k * d);
    for v in vectors.chunks_exact_mut(d) {
        let largest = v.iter().copied().fold(0.0f64, |m, x| if x.abs() > m.abs() { x } else { m });
        if largest < 0.0 {
            v.iter_mut().for_each(|x| *x = -*x);
        }
    }
    Ok(Step::Done(Model {
        mean,
        components: vectors,
        explained_variance: values,
        total_variance,
        whiten: params.whiten,
        weight,
    }))
}

fn keep(found: &serde_json::Value, width: usize) -> Result<Keep> {
    let refused = |expected: String| {
        Error::new(
            Kind::Parameter,
            format!("parameter \"n_components\" of pca is {found}, expected {expected}"),
        )
        .hint("A whole number is how many; a number between 0 and 1 the share of the variance to explain.")
    };
    if found.is_null() {
        return Ok(Keep::Count(width));
    }
    match (found.as_u64(), found.as_f64()) {
        (Some(k), _) if k >= 1 && k <= width as u64 => Ok(Keep::Count(k as usize)),
        (None, Some(share)) if share > 0.0 && share < 1.0 => Ok(Keep::Share(share)),
        (_, Some(_)) => {
            Err(refused(format!("1 .. {width}, the number of features, or a share between 0 and 1")))
        }
        _ => Err(refused("a number".into())),
    }
}

fn overflow() -> Error {
    Error::new(Kind::Data, "the features of pca are too large: their squares overflow")
        .hint("Scale them: preprocess => '{\"scale\": \"standard\"}'.")
}

/// A number from the normal distribution (Box & Muller 1958).
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Makes rows orthonormal, by Gram and Schmidt, twice for each. A row within the span of those before it becomes
/// the first unit vector that is not.
fn orthonormalise(rows: &mut [f64], d: usize, cx: &Cx) -> Result<()> {
    let mut unit = 0;
    for i in 0..rows.len() / d {
        cx.check()?;
        let (done, rest) = rows.split_at_mut(i * d);
        let row = &mut rest[..d];
        loop {
            let before = dense::dot(row, row).sqrt();
            for _ in 0..2 {
                for other in done.chunks_exact(d) {
                    let part = dense::dot(row, other);
                    row.iter_mut().zip(other).for_each(|(x, o)| *x -= part * o);
                }
            }
            let left = dense::dot(row, row).sqrt();
            if left > 1e-12 * before {
                row.iter_mut().for_each(|x| *x /= left);
                break;
            }
            if unit == d {
                return Err(Error::internal("no direction is left to project onto"));
            }
            row.fill(0.0);
            row[unit] = 1.0;
            unit += 1;
        }
    }
    Ok(())
}
