//! Devices: what runs networks for many callers at once, and trains them. A process owns one, loads networks into it and hands
//! it batches; who that process is and how batches reach it is not known here.
//!
//! A device answers as [`Predictor::outputs`] does, and takes steps as [`Lanes`] does, up to rounding. [`Software`] is these
//! very two: with it, whatever stands between callers and a device is tested on machines that have none.

use crate::Error;
use crate::data::{Inputs, Normal};
use crate::kernels::Isa;
use crate::plan::Plan;
use crate::score::Predictor;
use crate::train::{self, Lanes, Options, Stepper};

/// What runs networks.
pub trait Device {
    /// What it is, in words.
    fn name(&self) -> String;
    /// Bytes of memory that it has; 0 where nobody knows.
    fn memory(&self) -> u64;
    /// Takes a network in. What it gives back may outlive other networks, not the device.
    ///
    /// # Errors
    /// `Error::Memory` when there is no room, `Error::Device` when the device fails, and is to be given up.
    fn load(&mut self, network: &Predictor) -> Result<Box<dyn Loaded>, Error>;
    /// Bytes of the device that [`Device::trainer`] takes.
    ///
    /// # Errors
    /// `Error::Data` where the normalisation does not fit the network.
    fn trainer_bytes(&self, plan: &Plan, normal: &Normal, options: &Options) -> Result<u64, Error>;
    /// Room to train a network there, with rows that `normal` normalises: the weights, what the optimizer remembers, and a
    /// batch with its gradients. Dropping it frees all of that. How much it is is known, and refused, before any of it is
    /// taken.
    ///
    /// # Errors
    /// As for [`Device::load`].
    fn trainer(&mut self, plan: &Plan, normal: &Normal, options: &Options)
    -> Result<Box<dyn Stepper>, Error>;
}

/// A network in a device. Dropping it frees what it holds there.
pub trait Loaded {
    /// Bytes that it holds in the device.
    fn bytes(&self) -> u64;
    /// As [`Predictor::outputs`], of the network that it was loaded from.
    ///
    /// # Errors
    /// `Error::Data` when inputs or `out` do not fit the network; `Error::Memory` and `Error::Device` as for
    /// [`Device::load`].
    fn outputs(&mut self, network: &Predictor, inputs: Inputs, out: &mut [f64]) -> Result<(), Error>;
}

/// The CPU behind the face of a device.
pub struct Software;

struct Here(u64);

impl Device for Software {
    fn name(&self) -> String {
        format!("CPU, {}", Isa::detect().name())
    }

    fn memory(&self) -> u64 {
        0
    }

    fn load(&mut self, network: &Predictor) -> Result<Box<dyn Loaded>, Error> {
        Ok(Box::new(Here(network.bytes() as u64)))
    }

    fn trainer_bytes(&self, plan: &Plan, _normal: &Normal, options: &Options) -> Result<u64, Error> {
        Ok(train::memory(plan, options.batch_size, 1))
    }

    fn trainer(
        &mut self,
        plan: &Plan,
        normal: &Normal,
        options: &Options,
    ) -> Result<Box<dyn Stepper>, Error> {
        Ok(Box::new(Lanes::new(plan, normal.clone(), options.batch_size, Isa::detect())))
    }
}

impl Loaded for Here {
    fn bytes(&self) -> u64 {
        self.0
    }

    fn outputs(&mut self, network: &Predictor, inputs: Inputs, out: &mut [f64]) -> Result<(), Error> {
        network.outputs(inputs, out)
    }
}
