//! Outputs of a trained network, on the calling thread or, inside a rayon pool, on its threads.

use crate::augment::Change;
use crate::data::{self, Inputs, Normal};
use crate::kernels::Isa;
use crate::pass::{self, Batch, Pass, Prepared, Scratch, Workspace};
use crate::plan::{Memory, Plan};
use crate::{Error, Stop, parallel};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// A network ready to answer. Scratch is kept between calls, so that one row takes no memory.
pub struct Predictor {
    plan: Plan,
    /// Batch norms folded into convolutions.
    folded: Plan,
    /// Maxima, too, as it runs here.
    pooled: Plan,
    normal: Normal,
    weights: Vec<f32>,
    prepared: Vec<Prepared>,
    norms: Vec<Batch>,
    memory: Arc<Memory>,
    isa: Isa,
    work: Mutex<Vec<(Workspace, Scratch)>>,
}

/// Bytes that a predictor takes on so many threads, with its weights.
pub fn memory(plan: &Plan, threads: usize) -> u64 {
    let memory = Memory::new(plan, false);
    let work = memory.image() * pass::group(&memory) + Scratch::len(plan, false);
    4 * (plan.weights + pass::prepared_len(plan, false) + work * threads.max(1)) as u64
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
        let isa = Isa::detect();
        let (folded, weights) = plan.folded(&weights);
        let (mut prepared, mut norms) = (vec![], vec![]);
        let pooled = folded.pooled();
        pass::prepare(&pooled, isa, &weights, false, &mut prepared);
        pass::recall(&pooled, &weights, true, &mut norms);
        let memory = Arc::new(Memory::new(&pooled, false));
        let work = Mutex::default();
        Ok(Predictor { plan, folded, pooled, normal, weights, prepared, norms, memory, isa, work })
    }

    /// The network.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The network with batch norms folded; its weights; and how its inputs are normalised.
    pub(crate) fn folded(&self) -> (&Plan, &[f32], &Normal) {
        (&self.folded, &self.weights, &self.normal)
    }

    /// Bytes of its weights.
    pub fn bytes(&self) -> usize {
        4 * (self.weights.len() + pass::prepared_len(&self.pooled, false))
    }

    /// Outputs, before any softmax, of all rows of `inputs`: `rows * plan().outputs()` values.
    ///
    /// # Errors
    /// `Error::Data` when inputs or `out` do not fit the network.
    pub fn outputs(&self, inputs: Inputs, out: &mut [f64]) -> Result<(), Error> {
        let (width, rows) = (self.plan.outputs(), self.rows(inputs, out)?);
        let group = pass::group(&self.memory);
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

    /// How many rows there are.
    ///
    /// # Errors
    /// `Error::Data` when inputs or `out` do not fit the network.
    pub fn rows(&self, inputs: Inputs, out: &[f64]) -> Result<usize, Error> {
        let (size, width) = (self.plan.network.input.len(), self.plan.outputs());
        let rows = out.len() / width;
        if inputs.len() != rows * size || out.len() != rows * width {
            let message = format!("{} input values for {rows} rows of {size}", inputs.len());
            return Err(Error::Data(message));
        }
        Ok(rows)
    }

    fn with_work<R>(&self, run: impl FnOnce(&mut (Workspace, Scratch)) -> R) -> R {
        let free = self.work.lock().ok().and_then(|mut free| free.pop());
        let mut work = free.unwrap_or_else(|| {
            (Workspace::new(&self.memory, pass::group(&self.memory)), Scratch::new(&self.pooled, false))
        });
        let result = run(&mut work);
        if let Ok(mut free) = self.work.lock() {
            free.push(work);
        }
        result
    }

    fn group(
        &self,
        (work, scratch): &mut (Workspace, Scratch),
        inputs: Inputs,
        first: usize,
        out: &mut [f64],
    ) -> Result<(), Error> {
        let (plan, width) = (&self.pooled, self.plan.outputs());
        let n = out.len() / width;
        for i in 0..n {
            let grid = plan.tensors[0].value;
            let channels = plan.network.input.channels;
            data::fill(
                inputs,
                first + i,
                channels,
                &self.normal,
                &grid,
                Change::default(),
                work.input(plan, i),
            );
        }
        // A batch to score is short; the caller stops between batches.
        let go = AtomicBool::new(false);
        let cx = Pass {
            plan,
            isa: self.isa,
            weights: &self.weights,
            prepared: &self.prepared,
            norms: &self.norms,
            dropout: None,
            stop: Stop(&go),
        };
        work.forward(&cx, 0..plan.nodes.len(), n, scratch)?;
        let (last, places) = (plan.output(), plan.output().places());
        let values = work.values(plan, plan.tensors.len() - 1, n);
        // An embedding may be an image: pixel by pixel, channel by channel.
        for (out, image) in out.chunks_exact_mut(width).zip(values.chunks_exact(last.value.size())) {
            let rows = (0..last.value.height)
                .flat_map(|r| image[last.value.row(r)].chunks_exact(last.value.channels));
            for (out, pixel) in out.chunks_exact_mut(places.len()).zip(rows) {
                for (out, place) in out.iter_mut().zip(&places) {
                    *out = f64::from(pixel[*place as usize]);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Moments;
    use crate::network::{Network, Shape};
    use crate::plan::Op;
    use crate::weights;

    /// Pools behind a direct convolution, Winograd's with and without relu, and a strided one; a pool of a tensor that
    /// is read twice stays.
    const LAYERS: &str = r#"[{"type":"conv2d","filters":17,"kernel_size":5},{"type":"relu"},{"type":"max_pool2d"},
        {"type":"conv2d","filters":20},{"type":"relu"},{"type":"max_pool2d"},{"type":"conv2d","filters":20},
        {"type":"concat","branches":[[{"type":"max_pool2d"}],[{"type":"max_pool2d"}]]},
        {"type":"conv2d","filters":16,"stride":2},{"type":"batch_norm"},{"type":"max_pool2d"},{"type":"flatten"}]"#;

    #[test]
    fn maxima_in_convolutions_are_those_of_pools() {
        for (height, width) in [(32, 32), (37, 42)] {
            let shape = Shape::new(height, width, 3);
            let plan = Plan::new(&Network::from_json(shape, LAYERS, 5).unwrap()).unwrap();
            let pixels: Vec<u8> = (0..20 * shape.len()).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
            let mut moments = Moments::default();
            moments.add(Inputs::Bytes(&pixels), 3);
            let values = weights::first(&plan, 1);
            let mut predictor = Predictor::new(plan, Normal::new(&moments, 3), values).unwrap();
            let pools = |p: &Plan| p.nodes.iter().filter(|n| matches!(n.op, Op::Pool { .. })).count();
            let plans = [predictor.folded.clone(), predictor.pooled.clone()];
            assert_eq!(plans.each_ref().map(pools), [5, 2]);
            for isa in Isa::available() {
                predictor.isa = isa;
                let mut outputs = |plan: &Plan| {
                    predictor.pooled = plan.clone();
                    predictor.memory = Arc::new(Memory::new(plan, false));
                    predictor.work = Mutex::default();
                    pass::prepare(plan, isa, &predictor.weights, false, &mut predictor.prepared);
                    pass::recall(plan, &predictor.weights, true, &mut predictor.norms);
                    let mut out = vec![0.0; 20 * 5];
                    predictor.outputs(Inputs::Bytes(&pixels), &mut out).unwrap();
                    out
                };
                let out = plans.each_ref().map(&mut outputs);
                assert_eq!(out[0], out[1], "{isa:?}");
                assert!(out[0].iter().all(|x| *x != 0.0));
            }
        }
    }
}
