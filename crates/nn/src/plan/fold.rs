//! Batch norms and pools taken into the convolutions before them, for scoring: one pass less over the image.

use super::{Conv, Op, Plan, Route, Tensor};

impl Plan {
    /// The same network with each batch norm taken into the convolution or dense layer before it, where nothing else
    /// reads between them; and its weights.
    pub fn folded(&self, weights: &[f32]) -> (Plan, Vec<f32>) {
        let mut weights = weights.to_vec();
        let plan = self.merged(|op, between, conv| {
            let (Op::BatchNorm { norm, running, .. }, false) = (op, between.relu) else { return false };
            scale(conv, norm.width, &mut weights, |o, w| {
                let mean = w[running + o];
                let a = w[norm.at + o] / (w[running + norm.width + o] + norm.epsilon).sqrt();
                (a, w[norm.at + norm.width + o] - mean * a)
            });
            true
        });
        (plan, weights)
    }

    /// The same network with each 2x2 maximum taken into the convolution before it, where nothing else reads between
    /// them. Weights stay where they are.
    pub fn pooled(&self) -> Plan {
        self.merged(|op, _, conv| {
            let halves = matches!(op, Op::Pool { max: true, kernel: [2, 2], stride: [2, 2], before: [0, 0] });
            let takes =
                conv.route == Route::Winograd || conv.route == Route::Direct && conv.weights.groups == 1;
            let taken = halves && takes && !conv.pools;
            conv.pools |= taken;
            taken
        })
    }

    /// The same network without the nodes that `take` takes into the convolution before them. It is asked of those
    /// that alone read the tensor between, and told both.
    fn merged(&self, mut take: impl FnMut(&Op, &Tensor, &mut Conv) -> bool) -> Plan {
        let mut plan = self.clone();
        // Where each old tensor is in the new plan.
        let mut moved = vec![0];
        plan.nodes.clear();
        plan.tensors.truncate(1);
        plan.tensors[0].readers.clear();
        for (i, node) in self.nodes.iter().enumerate() {
            let from = node.inputs[0];
            let (between, after, to) = (&self.tensors[from], &self.tensors[i + 1], moved[from]);
            if from > 0
                && matches!(self.nodes[from - 1].op, Op::Conv(_))
                && between.readers.len() == 1
                && let Op::Conv(conv) = &mut plan.nodes[to - 1].op
                && take(&node.op, between, conv)
            {
                plan.tensors[to] =
                    Tensor { relu: between.relu || after.relu, readers: vec![], ..after.clone() };
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
