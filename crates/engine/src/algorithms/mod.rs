//! The algorithms, in one list. Adding one: its file or folder here, its `mod` line, its line in the list.

pub mod boosting;
pub mod cnn;
pub mod dummy;
pub mod forest;
pub mod glm;
pub mod kmeans;
pub mod naive_bayes;
pub mod pca;
mod trees;

use crate::error::{Error, Kind, Result};
use crate::learner::{Algorithm, Erased};
use crate::params::distance;

/// Every algorithm, in the order of the reference.
pub static ALGORITHMS: &[&dyn Algorithm] = &[
    &Erased::<glm::LeastSquares<false>>::NEW,
    &Erased::<glm::LeastSquares<true>>::NEW,
    &Erased::<glm::ElasticNet<false>>::NEW,
    &Erased::<glm::ElasticNet<true>>::NEW,
    &Erased::<glm::Huber>::NEW,
    &Erased::<glm::Quantile>::NEW,
    &Erased::<glm::Logistic>::NEW,
    &Erased::<glm::Multinomial>::NEW,
    &Erased::<glm::Ordinal>::NEW,
    &Erased::<glm::Generalised<{ glm::GLM }>>::NEW,
    &Erased::<glm::Generalised<{ glm::POISSON }>>::NEW,
    &Erased::<glm::Generalised<{ glm::GAMMA }>>::NEW,
    &Erased::<glm::Generalised<{ glm::NEGATIVE_BINOMIAL }>>::NEW,
    &Erased::<glm::Generalised<{ glm::TWEEDIE }>>::NEW,
    &Erased::<kmeans::KMeans>::NEW,
    &Erased::<pca::Pca>::NEW,
    &Erased::<naive_bayes::NaiveBayes>::NEW,
    &Erased::<forest::Grower<forest::DecisionTree>>::NEW,
    &Erased::<forest::Grower<forest::RandomForest>>::NEW,
    &Erased::<forest::Grower<forest::ExtraTrees>>::NEW,
    &Erased::<forest::isolation::IsolationForest>::NEW,
    &Erased::<boosting::Boosting>::NEW,
    &Erased::<cnn::Cnn>::NEW,
    &Erased::<dummy::Dummy>::NEW,
];

/// The algorithm of that name.
///
/// # Errors
/// `Kind::UnknownAlgorithm`, with the nearest name as a hint.
pub fn find(name: &str) -> Result<&'static dyn Algorithm> {
    if let Some(a) = ALGORITHMS.iter().find(|a| a.info().name == name) {
        return Ok(*a);
    }
    let names: Vec<&str> = ALGORITHMS.iter().map(|a| a.info().name).collect();
    let near =
        names.iter().min_by_key(|n| distance(n, name)).filter(|n| distance(n, name) <= 3.min(n.len() - 1));
    let near = near.map(|n| format!("Did you mean \"{n}\"? ")).unwrap_or_default();
    let hint =
        format!("{near}There are: {}. SELECT * FROM damson.algorithms() shows them.", names.join(", "));
    Err(Error::new(Kind::UnknownAlgorithm, format!("there is no algorithm \"{name}\"")).hint(hint))
}
