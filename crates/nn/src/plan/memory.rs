//! Which tensors share memory: decided once, so that the peak is known before the first step.
//!
//! Training keeps every value until the gradients have passed it; a gradient lives from the last node that reads its
//! tensor to the node that wrote it. Scoring keeps a value until its last reader is done.

use super::Plan;

/// Buffers, and the tensors in them.
#[derive(Debug, Clone, Default)]
pub struct Slots {
    /// The buffer of each tensor; none where a tensor needs none.
    pub of: Vec<Option<usize>>,
    /// Values of each buffer for one image.
    pub sizes: Vec<usize>,
    /// Whether several tensors take turns in it, so that halos must be cleared.
    pub shared: Vec<bool>,
    free: Vec<usize>,
}

impl Slots {
    fn new(tensors: usize) -> Slots {
        Slots { of: vec![None; tensors], ..Slots::default() }
    }

    fn take(&mut self, tensor: usize, size: usize) {
        // The smallest that is large enough, else the largest, which grows.
        let fit = |s: &usize| {
            (
                self.sizes[*s] < size,
                if self.sizes[*s] < size { usize::MAX - self.sizes[*s] } else { self.sizes[*s] },
            )
        };
        let slot = match (0..self.free.len()).min_by_key(|i| fit(&self.free[*i])) {
            Some(i) => {
                let slot = self.free.swap_remove(i);
                self.shared[slot] = true;
                slot
            }
            None => {
                self.sizes.push(0);
                self.shared.push(false);
                self.sizes.len() - 1
            }
        };
        self.sizes[slot] = self.sizes[slot].max(size);
        self.of[tensor] = Some(slot);
    }

    fn give(&mut self, tensor: usize) {
        self.free.extend(self.of[tensor]);
    }

    /// Values of all buffers for one image.
    pub fn total(&self) -> usize {
        self.sizes.iter().sum()
    }
}

/// The memory of a pass.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Where values lie.
    pub values: Slots,
    /// Where gradients lie; nowhere for scoring.
    pub grads: Slots,
    /// Room for one node's share of a gradient that several nodes add to.
    pub spare: usize,
}

impl Memory {
    /// Of a pass through a plan, with gradients or without.
    pub fn new(plan: &Plan, training: bool) -> Memory {
        let n = plan.tensors.len();
        let (mut values, mut grads) = (Slots::new(n), Slots::new(n));
        values.take(0, plan.tensors[0].value.size());
        for (i, node) in plan.nodes.iter().enumerate() {
            values.take(i + 1, plan.tensors[i + 1].value.size());
            if !training {
                for input in &node.inputs {
                    let last = plan.tensors[*input].readers.last() == Some(&i);
                    if last && values.of[*input].is_some_and(|slot| !values.free.contains(&slot)) {
                        values.give(*input);
                    }
                }
            }
        }
        let mut spare = 0;
        if training {
            let grad = |t: usize| plan.tensors[t].grad.size();
            if plan.tensors[n - 1].trained {
                grads.take(n - 1, grad(n - 1));
            }
            for (i, node) in plan.nodes.iter().enumerate().rev() {
                for input in node.inputs.iter().filter(|t| plan.tensors[**t].trained) {
                    if grads.of[*input].is_none() {
                        grads.take(*input, grad(*input));
                    }
                    if plan.tensors[*input].readers.len() > 1 {
                        spare = spare.max(grad(*input));
                    }
                }
                grads.give(i + 1);
            }
        }
        Memory { values, grads, spare }
    }

    /// Values that one image needs.
    pub fn image(&self) -> usize {
        self.values.total() + self.grads.total() + self.spare
    }
}
