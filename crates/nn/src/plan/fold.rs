//! Batch norms and pools taken into the convolutions before them, for scoring: one pass less over the image.

use super::{Conv, Op, Plan, Route};

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
            plan.append(self, i, &mut moved);
        }
        (plan, weights)
    }

    /// The same network with each 2x2 maximum taken into the convolution before it, where nothing else reads between
    /// them. Weights stay where they are.
    pub fn pooled(&self) -> Plan {
        let mut plan = self.clone();
        let mut moved = vec![0];
        plan.nodes.clear();
        plan.tensors.truncate(1);
        plan.tensors[0].readers.clear();
        for (i, node) in self.nodes.iter().enumerate() {
            let from = node.inputs[0];
            let halves =
                matches!(node.op, Op::Pool { max: true, kernel: [2, 2], stride: [2, 2], before: [0, 0] });
            let to = moved[from];
            if halves
                && to > 0
                && self.tensors[from].readers.len() == 1
                && let Op::Conv(conv) = &mut plan.nodes[to - 1].op
                && (conv.route == Route::Winograd || conv.route == Route::Direct && conv.weights.groups == 1)
                && !conv.pools
            {
                conv.pools = true;
                let (relu, readers) = (plan.tensors[to].relu, std::mem::take(&mut plan.tensors[to].readers));
                plan.tensors[to] = self.tensors[i + 1].clone();
                (plan.tensors[to].relu, plan.tensors[to].readers) = (relu, readers);
                moved.push(to);
                continue;
            }
            plan.append(self, i, &mut moved);
        }
        plan
    }

    /// Adds node `i` of another plan, whose tensors lie in this one at `moved`.
    fn append(&mut self, other: &Plan, i: usize, moved: &mut Vec<usize>) {
        let mut node = other.nodes[i].clone();
        for input in &mut node.inputs {
            *input = moved[*input];
            self.tensors[*input].readers.push(self.nodes.len());
        }
        self.nodes.push(node);
        self.tensors.push(other.tensors[i + 1].clone());
        let last = self.tensors.len() - 1;
        self.tensors[last].readers.clear();
        moved.push(last);
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
