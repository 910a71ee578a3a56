//! The neural engine: layers, gradients and the training loop. It knows neither Postgres nor the learner contract.
//!
//! - [`network`]: a network as its user describes it, or by name ([`presets`]); [`plan`]: the same, ready to run.
//! - [`data`]: images and their normalisation; [`augment`]: how they vary. [`train`]: the training loop; [`loss`]: what
//!   it lowers; [`optimizer`]: its steps. [`score`]: outputs of a trained network. [`weights`]: first weights, and
//!   weights as safetensors.
//! - [`pass`]: a group of images forward and backward. [`kernels`]: the arithmetic, by kind of CPU.
//! - [`device`]: what a process owns that runs networks for others, and trains them; [`cuda`]: a GPU.
//!
//! Results are the same, bit for bit, on any number of threads: images are dealt to a fixed number of lanes, and
//! their sums are added in order.

pub mod augment;
mod buffer;
pub mod cuda;
pub mod data;
pub mod device;
mod kernels;
pub mod loss;
pub mod network;
pub mod optimizer;
mod parallel;
mod pass;
pub mod plan;
pub mod presets;
mod random;
pub mod score;
pub mod train;
pub mod weights;

pub use kernels::Isa;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Memory that is not there.
    #[error("{0}")]
    Memory(String),
    /// A device that is not there, or that failed.
    #[error("{0}")]
    Device(String),
    /// Inputs that could not be read where they are kept.
    #[error("{0}")]
    Read(String),
}

/// The caller's wish to stop; asked at least once a row of an image.
#[derive(Debug, Clone, Copy)]
pub struct Stop<'a>(pub &'a AtomicBool);

impl Stop<'_> {
    /// An error when the caller asked to stop.
    pub fn check(self) -> Result<(), Error> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}
