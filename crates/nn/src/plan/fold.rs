//! Batch norms folded into the convolutions before them, for scoring: one pass less over the image.

use super::{Conv, Op, Plan};

impl Plan {
    /// The same network with each batch norm taken into the convolution or dense layer before it, where nothing else
    /// reads between them; and its weights.
    pub fn folded(&self, weights: &[f32]) -> (Plan, Vec<f32>) {
        let (mut plan, mut weights) = (self.clone(), weights.to_vec());
        // Where each old tensor is in the new plan.
        let mut moved = vec![0];
        plan.nodes.clear();
        plan.tensors.truncate(1);
        plan.tensors[0].readers.clear();
        for (i, node) in self.nodes.iter().enumerate() {
            let from = node.inputs[0];
            let before = if from > 0 { Some(&self.nodes[from - 1].op) } else { None };
            let alone = self.tensors[from].readers.len() == 1 && !self.tensors[from].relu;
            if let (Op::BatchNorm { norm, running, .. }, Some(Op::Conv(conv)), true) =
                (&node.op, before, alone)
            {
                scale(conv, norm.width, &mut weights, |o, w| {
                    let mean = w[running + o];
                    let a = w[norm.at + o] / (w[running + norm.width + o] + norm.epsilon).sqrt();
                    (a, w[norm.at + norm.width + o] - mean * a)
                });
                let to = moved[from];
                let (readers, order) =
                    (std::mem::take(&mut plan.tensors[to].readers), self.tensors[i + 1].order.clone());
                plan.tensors[to] = self.tensors[i + 1].clone();
                (plan.tensors[to].readers, plan.tensors[to].order) = (readers, order);
                moved.push(to);
                continue;
            }
            let mut node = node.clone();
            for input in &mut node.inputs {
                *input = moved[*input];
                plan.tensors[*input].readers.push(plan.nodes.len());
            }
            plan.nodes.push(node);
            plan.tensors.push(self.tensors[i + 1].clone());
            let last = plan.tensors.len() - 1;
            plan.tensors[last].readers.clear();
            moved.push(last);
        }
        (plan, weights)
    }
}

/// Multiplies each output's weights, and multiplies its bias and adds to it.
fn scale(conv: &Conv, width: usize, weights: &mut [f32], by: impl Fn(usize, &[f32]) -> (f32, f32)) {
    let w = conv.weights;
    for o in 0..w.outputs.min(width) {
        let (a, b) = by(o, weights);
        for k in 0..w.k {
            weights[w.place(o, k)] *= a;
        }
        let bias = w.bias().start + o;
        weights[bias] = weights[bias] * a + b;
    }
}
