//! The neural engine: layers, gradients and the training loop. It knows neither Postgres nor the learner contract.

/// What can go wrong in the neural engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// Layers that do not fit each other or the input; names the layer, the shape found and the shape needed.
    #[error("{0}")]
    Shape(String),
    /// Training data that cannot be learnt from, or a training that diverged.
    #[error("{0}")]
    Data(String),
    /// Stored weights that are not what was written.
    #[error("{0}")]
    Corrupt(String),
}
