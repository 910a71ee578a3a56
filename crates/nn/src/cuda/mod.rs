//! A GPU as a device, by NVIDIA's driver, which is looked for when it is asked for: the library builds, loads and passes its
//! tests on machines that have none.
//!
//! - [`card`]: what is asked of a card. [`driver`]: the real one.
//! - [`body`]: a network's nodes in it. [`resident`]: a network that scores. [`training`]: one that is trained, and
//!   [`backward`]: its gradients. [`forecast`]: the memory that it takes.
//! - `kernels.cu`, `training.cu`: the kernels; `kernels.ptx`, made of it for cards of compute capability 7.5 and up, is part of the
//!   library. `make ptx` makes it anew, after a change, with the compiler that `scripts/ptx.sh` gets from PyPI; a test
//!   compares what it was made of with what is there.
//! - `emulate.h`, `emulate.cpp`: the same kernels on the CPU, for the tests.
//!
//! All of a card's memory is taken when a network is loaded or its training begins, so batches and steps need none. Only the
//! thread that opened a card uses it.

mod backward;
mod body;
mod card;
mod driver;
#[cfg(test)]
mod emulated;
mod forecast;
mod resident;
#[cfg(test)]
mod tests;
mod training;
#[cfg(test)]
mod training_tests;

use crate::Error;
use crate::data::Normal;
use crate::device::{Device, Loaded};
use crate::plan::Plan;
use crate::score::Predictor;
use crate::train::{Options, Stepper};
use card::Card;
use std::rc::Rc;

/// The kernels, as the driver compiles them for its card.
const PTX: &str = include_str!("kernels.ptx");

/// Bytes of values that a group of images may take.
const ROOM: usize = 256 << 20;

/// A GPU.
pub struct Cuda {
    card: Rc<dyn Card>,
}

impl Cuda {
    /// The first GPU of the machine, or of those that CUDA_VISIBLE_DEVICES names.
    ///
    /// # Errors
    /// `Error::Device`: no driver, no GPU, or one that is too old.
    pub fn open() -> Result<Cuda, Error> {
        Ok(Cuda { card: Rc::new(driver::Driver::open()?) })
    }
}

impl Device for Cuda {
    fn name(&self) -> String {
        self.card.name()
    }

    fn memory(&self) -> u64 {
        self.card.memory().map_or(0, |(_, all)| all)
    }

    fn load(&mut self, network: &Predictor) -> Result<Box<dyn Loaded>, Error> {
        Ok(Box::new(resident::Resident::new(&self.card, network, ROOM)?))
    }

    fn trainer_bytes(&self, plan: &Plan, normal: &Normal, options: &Options) -> Result<u64, Error> {
        training::Training::memory(plan, normal, options)
    }

    fn trainer(
        &mut self,
        plan: &Plan,
        normal: &Normal,
        options: &Options,
    ) -> Result<Box<dyn Stepper>, Error> {
        Ok(Box::new(training::Training::new(&self.card, plan, normal, options)?))
    }
}
