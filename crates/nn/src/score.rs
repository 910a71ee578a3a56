//! Outputs of a trained network, on the calling thread or, inside a rayon pool, on its threads.

use crate::data::{self, Change, Inputs, Normal};
use crate::kernels::Isa;
use crate::pass::{self, Workspace};
use crate::plan::Plan;
use crate::{Error, Stop, parallel};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

/// A network ready to answer. Scratch is kept between calls, so that one row takes no memory.
pub struct Predictor {
    plan: Plan,
    normal: Normal,
    weights: Vec<f32>,
    isa: Isa,
    work: Mutex<Vec<Workspace>>,
}

impl Predictor {
    /// Of these weights.
    ///
    /// # Errors
    /// `Error::Corrupt` when the weights or the normalisation are not those of this network.
    pub fn new(plan: Plan, normal: Normal, weights: Vec<f32>) -> Result<Predictor, Error> {
        if weights.len() != plan.weights || !normal.is_valid(plan.network.input.channels) {
            return Err(Error::Corrupt("the weights or the normalisation are not this network's".into()));
        }
        Ok(Predictor { plan, normal, weights, isa: Isa::detect(), work: Mutex::default() })
    }

    /// The network.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Outputs, before any softmax, of all rows of `inputs`: `rows * plan().outputs()` values.
    ///
    /// # Errors
    /// `Error::Data` when inputs or `out` do not fit the network.
    pub fn outputs(&self, inputs: Inputs, out: &mut [f64]) -> Result<(), Error> {
        let (size, width) = (self.plan.network.input.len(), self.plan.outputs());
        let rows = out.len() / width;
        if inputs.len() != rows * size || out.len() != rows * width {
            let message = format!("{} input values for {rows} rows of {size}", inputs.len());
            return Err(Error::Data(message));
        }
        let group = pass::group(&self.plan, false);
        if rows <= group || rayon::current_thread_index().is_none() {
            let mut groups = out.chunks_mut(group * width).enumerate();
            return self
                .with_work(|work| groups.try_for_each(|(g, out)| self.group(work, inputs, g * group, out)));
        }
        let mut groups: Vec<&mut [f64]> = out.chunks_mut(group * width).collect();
        let results = parallel::each(&mut groups, |g, out| {
            self.with_work(|work| self.group(work, inputs, g * group, out))
        });
        results.into_iter().collect()
    }

    fn with_work<R>(&self, run: impl FnOnce(&mut Workspace) -> R) -> R {
        let free = self.work.lock().ok().and_then(|mut free| free.pop());
        let mut work =
            free.unwrap_or_else(|| Workspace::new(&self.plan, pass::group(&self.plan, false), false));
        let result = run(&mut work);
        if let Ok(mut free) = self.work.lock() {
            free.push(work);
        }
        result
    }

    fn group(
        &self,
        work: &mut Workspace,
        inputs: Inputs,
        first: usize,
        out: &mut [f64],
    ) -> Result<(), Error> {
        let (plan, width) = (&self.plan, self.plan.outputs());
        let n = out.len() / width;
        for i in 0..n {
            let grid = &plan.tensors[0].value;
            data::fill(inputs, first + i, &self.normal, grid, Change::default(), work.input(plan, i));
        }
        // A batch to score is short; the caller stops between batches.
        let go = AtomicBool::new(false);
        work.forward(plan, self.isa, &self.weights, n, None, Stop(&go))?;
        let (values, _) = work.outputs(plan, n);
        for (out, z) in out.chunks_exact_mut(width).zip(values.chunks_exact(values.len() / n)) {
            for (out, z) in out.iter_mut().zip(z) {
                *out = f64::from(*z);
            }
        }
        Ok(())
    }
}
