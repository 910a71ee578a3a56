//! Gradients of every layer against finite differences of the loss. A step of plain gradient descent with a
//! learning rate of 1 shows the gradient: it is what the weights lose.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLAIN, normal_of, one_step};
use nn::data::Inputs;
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::Plan;
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Isa, Stop, weights};
use std::sync::atomic::AtomicBool;

struct Case {
    plan: Plan,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    weights: Option<Vec<f32>>,
    loss: Loss,
    isa: Isa,
}

fn numbers(n: usize, seed: u64) -> Vec<f32> {
    let mut s = seed;
    let mut next = || {
        s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (s >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

impl Case {
    /// The loss at `values`, and the gradient.
    fn at(&self, values: &[f32]) -> (f64, Vec<f64>) {
        let n = self.inputs.len() / self.plan.network.input.len();
        let options = Options { seed: 5, ..one_step(self.loss, n) };
        let channels = self.plan.network.input.channels;
        let normal = normal_of(Inputs::Numbers(&self.inputs), channels);
        let mut trainer = Trainer::with_isa(&self.plan, normal, options, self.isa);
        let mut weights = Weights::new(values.to_vec(), PLAIN, false);
        let inputs = Inputs::Numbers(&self.inputs).into();
        let rows = Rows { inputs, targets: &self.targets, weights: self.weights.as_deref() };
        let stop = AtomicBool::new(false);
        let found = trainer.epoch(&mut weights, rows, 0, Stop(&stop)).unwrap();
        // Running means and variances are no weights.
        let trained = &weights.values[..self.plan.trained];
        let gradient = values.iter().zip(trained).map(|(a, b)| f64::from(*a) - f64::from(*b));
        (found.loss / n as f64, gradient.collect())
    }
}

fn case(shape: Shape, layers: &str, loss: Loss, isa: Isa) -> Case {
    let (rows, outputs) = (11, if loss == Loss::Squared { 1 } else { 3 });
    let plan = Plan::new(&Network::from_json(shape, layers, outputs).unwrap()).unwrap();
    let targets = match loss {
        Loss::CrossEntropy { .. } | Loss::Focal { .. } => (0..rows).map(|i| (i * 7 % 3) as f32).collect(),
        Loss::Binary => (0..rows * outputs).map(|i| (i * 5 % 3) as f32 / 2.0).collect(),
        _ => numbers(rows * outputs, 9),
    };
    Case { plan, inputs: numbers(rows * shape.len(), 1), targets, weights: None, loss, isa }
}

/// Compares the slope of the loss along random directions, and along single weights of each layer.
fn check(case: &Case, what: &str) {
    let mut start = weights::first(&case.plan, 3);
    // Biases away from zero, as they are after some training.
    let saved = weights::save(&case.plan, &start).unwrap();
    assert_eq!(weights::load(&case.plan, &saved).unwrap(), start);
    let live: Vec<usize> = (0..case.plan.trained).filter(|i| start[*i] != 0.0).collect();
    let (_, gradient) = case.at(&start);
    let biases: Vec<usize> =
        (0..case.plan.trained).filter(|i| start[*i] == 0.0 && gradient[*i] != 0.0).collect();
    for (i, value) in biases.iter().zip(numbers(biases.len(), 8)) {
        start[*i] = 0.1 * value;
    }
    let (_, gradient) = case.at(&start);
    let all: Vec<usize> = live.into_iter().chain(biases).collect();
    assert!(all.len() > case.plan.parameters() / 2, "{what}: too few weights have a gradient");
    for seed in 0..6 {
        let mut direction = vec![0.0f32; start.len()];
        for (i, value) in all.iter().zip(numbers(all.len(), 100 + seed)) {
            direction[*i] = value;
        }
        let length = direction.iter().map(|d| f64::from(*d).powi(2)).sum::<f64>().sqrt();
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        let loss = |step: f64| {
            let moved: Vec<f32> = start
                .iter()
                .zip(&direction)
                .map(|(w, d)| (f64::from(*w) + step / length * f64::from(*d)) as f32)
                .collect();
            case.at(&moved).0
        };
        // Fourth order: the loss is f32, so the step must not be small.
        let h = 4e-3;
        let slope = (8.0 * (loss(h) - loss(-h)) - (loss(2.0 * h) - loss(-2.0 * h))) / (12.0 * h);
        let expected: f64 =
            gradient.iter().zip(&direction).map(|(g, d)| g * f64::from(*d)).sum::<f64>() / length;
        assert!(
            (slope - expected).abs() < 4e-3 * norm.max(0.05),
            "{what} on {}, direction {seed}: slope {slope}, gradient {expected}, norm {norm}",
            case.isa.name()
        );
    }
}

const CROSS: Loss = Loss::CrossEntropy { smoothing: 0.0 };
const CONV: &str = r#"{"type":"conv2d","filters":5}"#;

#[test]
fn every_layer_agrees_with_finite_differences() {
    let nets = [
        ("dense", Shape::flat(7), r#"[{"type":"dense","units":19}]"#.to_string()),
        ("dense, relu", Shape::flat(7), r#"[{"type":"dense","units":40},{"type":"relu"}]"#.into()),
        ("conv2d same", Shape::new(6, 5, 2), format!("[{CONV}]")),
        ("conv2d twice", Shape::new(6, 5, 2), format!(r#"[{CONV},{{"type":"conv2d","filters":34}}]"#)),
        (
            "conv2d even",
            Shape::new(6, 7, 1),
            format!(r#"[{CONV},{{"type":"conv2d","filters":18,"kernel_size":4}}]"#),
        ),
        (
            "conv2d valid",
            Shape::new(8, 7, 1),
            format!(r#"[{CONV},{{"type":"conv2d","filters":3,"kernel_size":5,"padding":"valid"}}]"#),
        ),
        (
            "conv2d stride, same",
            Shape::new(9, 8, 1),
            format!(r#"[{CONV},{{"type":"conv2d","filters":3,"stride":2}},{{"type":"conv2d","filters":3}}]"#),
        ),
        (
            "conv2d stride 3 of 2, valid",
            Shape::new(9, 11, 3),
            format!(
                r#"[{CONV},{{"type":"conv2d","filters":3,"kernel_size":2,"stride":3,"padding":"valid"}}]"#
            ),
        ),
        (
            "conv2d 1x1",
            Shape::new(4, 4, 3),
            format!(r#"[{CONV},{{"type":"conv2d","filters":3,"kernel_size":1}}]"#),
        ),
        ("max_pool2d", Shape::new(7, 6, 2), format!(r#"[{CONV},{{"type":"relu"}},{{"type":"max_pool2d"}}]"#)),
        (
            "max_pool2d overlapping",
            Shape::new(7, 8, 2),
            format!(r#"[{CONV},{{"type":"max_pool2d","kernel_size":3,"stride":2}},{CONV}]"#),
        ),
        (
            "avg_pool2d",
            Shape::new(7, 8, 2),
            format!(
                r#"[{CONV},{{"type":"relu"}},{{"type":"avg_pool2d","kernel_size":3,"stride":2}},{{"type":"relu"}},{CONV}]"#
            ),
        ),
        (
            "global_avg_pool",
            Shape::new(7, 8, 2),
            format!(r#"[{CONV},{{"type":"relu"}},{{"type":"global_avg_pool"}}]"#),
        ),
        (
            "conv2d by winograd",
            Shape::new(9, 7, 1),
            format!(r#"[{CONV},{{"type":"relu"}},{CONV},{{"type":"relu"}},{{"type":"conv2d","filters":34}}]"#),
        ),
        (
            "conv2d by winograd, valid and full",
            Shape::new(9, 8, 1),
            format!(
                r#"[{CONV},{{"type":"conv2d","filters":7,"padding":"valid"}},
                {{"type":"conv2d","filters":4,"padding":2}},{CONV}]"#
            ),
        ),
        (
            "conv2d oblong",
            Shape::new(9, 8, 2),
            format!(
                r#"[{CONV},{{"type":"conv2d","filters":7,"kernel_size":[3,1],"stride":[2,1],"padding":[1,0]}},
                {{"type":"relu"}},{{"type":"conv2d","filters":4,"kernel_size":[1,4]}}]"#
            ),
        ),
        (
            "conv2d dilated",
            Shape::new(9, 8, 2),
            format!(
                r#"[{CONV},{{"type":"conv2d","filters":7,"dilation":2}},{{"type":"relu"}},
                {{"type":"conv2d","filters":4,"dilation":[1,3],"padding":2,"stride":[1,2]}}]"#
            ),
        ),
        (
            "conv2d in groups",
            Shape::new(5, 6, 2),
            r#"[{"type":"conv2d","filters":6,"groups":2},{"type":"relu"},{"type":"conv2d","filters":32,"groups":2},
            {"type":"relu"},{"type":"conv2d","filters":64,"groups":2},{"type":"relu"},
            {"type":"conv2d","filters":8,"groups":4,"kernel_size":1},{"type":"conv2d","filters":6,"groups":2,"stride":2}]"#
                .into(),
        ),
        (
            "depthwise_conv2d",
            Shape::new(7, 6, 3),
            r#"[{"type":"depthwise_conv2d"},{"type":"relu"},{"type":"conv2d","filters":20,"kernel_size":1},{"type":"relu"},
            {"type":"depthwise_conv2d","stride":2},{"type":"relu"},{"type":"depthwise_conv2d","dilation":2,"bias":false}]"#
                .into(),
        ),
        (
            "conv1d",
            Shape::new(1, 23, 2),
            r#"[{"type":"conv1d","filters":6,"kernel_size":5},{"type":"relu"},{"type":"conv1d","filters":4,"stride":2},
            {"type":"relu"},{"type":"conv1d","filters":5,"dilation":3,"padding":1},{"type":"max_pool2d","kernel_size":[1,2]}]"#
                .into(),
        ),
        (
            "pools with padding",
            Shape::new(7, 8, 2),
            format!(
                r#"[{CONV},{{"type":"max_pool2d","kernel_size":3,"stride":2,"padding":1}},{CONV},
                {{"type":"avg_pool2d","kernel_size":[3,2],"stride":1,"padding":1}},{CONV}]"#
            ),
        ),
        ("global_max_pool", Shape::new(5, 5, 2), format!(r#"[{CONV},{{"type":"global_max_pool"}}]"#)),
        (
            "batch_norm",
            Shape::new(6, 5, 2),
            format!(
                r#"[{{"type":"batch_norm"}},{CONV},{{"type":"batch_norm"}},{{"type":"silu"}},{CONV},{{"type":"batch_norm"}},
                {{"type":"flatten"}},{{"type":"batch_norm"}},{{"type":"dense","units":7}},{{"type":"batch_norm"}},{{"type":"silu"}}]"#
            ),
        ),
        (
            "layer_norm",
            Shape::new(4, 5, 3),
            format!(
                r#"[{{"type":"layer_norm"}},{CONV},{{"type":"layer_norm"}},{{"type":"relu"}},{{"type":"flatten"}},
                {{"type":"layer_norm"}},{{"type":"dense","units":7}},{{"type":"layer_norm"}}]"#
            ),
        ),
        (
            "group_norm",
            Shape::new(4, 5, 4),
            r#"[{"type":"group_norm","groups":2},{"type":"conv2d","filters":6},{"type":"group_norm","groups":3},
            {"type":"relu"},{"type":"conv2d","filters":32},{"type":"group_norm","groups":1}]"#
                .into(),
        ),
        (
            "residual",
            Shape::new(6, 5, 3),
            format!(
                r#"[{{"type":"residual","layers":[{{"type":"conv2d","filters":3}},{{"type":"relu"}}]}},{CONV},
                {{"type":"residual","layers":[{{"type":"relu"}},{CONV},{{"type":"relu"}},{CONV}]}},{{"type":"relu"}},
                {{"type":"residual","layers":[{{"type":"conv2d","filters":18,"stride":2}},{{"type":"batch_norm"}}],
                "shortcut":[{{"type":"conv2d","filters":18,"kernel_size":1,"stride":2,"bias":false}},{{"type":"batch_norm"}}]}},
                {{"type":"relu"}},{{"type":"residual","layers":[]}}]"#
            ),
        ),
        (
            "concat",
            Shape::new(6, 5, 3),
            format!(
                r#"[{{"type":"concat","branches":[[],[{CONV},{{"type":"relu"}}],[{{"type":"conv2d","filters":17,"kernel_size":1}}]]}},
                {CONV},{{"type":"relu"}},{{"type":"concat","branches":[[{{"type":"flatten"}}],[{{"type":"global_avg_pool"}}]]}},
                {{"type":"dense","units":9}}]"#
            ),
        ),
        (
            "dropout",
            Shape::new(6, 6, 2),
            format!(
                r#"[{CONV},{{"type":"relu"}},{{"type":"dropout","rate":0.3}},{CONV},{{"type":"flatten"}},
                {{"type":"dropout","rate":0.5}},{{"type":"dense","units":9}},{{"type":"dropout","rate":0.2}}]"#
            ),
        ),
    ];
    for isa in Isa::available() {
        for (what, shape, layers) in &nets {
            check(&case(*shape, layers, CROSS, isa), what);
        }
        for f in ["leaky_relu", "gelu", "silu", "sigmoid", "tanh", "softmax"] {
            let net = format!(r#"[{CONV},{{"type":"{f}"}},{CONV}]"#);
            check(&case(Shape::new(4, 5, 2), &net, CROSS, isa), f);
            let net = format!(
                r#"[{{"type":"dense","units":21}},{{"type":"{f}"}},{{"type":"dense","units":9}},{{"type":"{f}"}}]"#
            );
            check(&case(Shape::flat(6), &net, CROSS, isa), f);
        }
        let net = format!("[{CONV}]");
        check(&case(Shape::new(5, 5, 1), &net, Loss::Squared, isa), "squared loss");
        for loss in [
            Loss::CrossEntropy { smoothing: 0.2 },
            Loss::Focal { gamma: 2.0 },
            Loss::Huber { delta: 0.5 },
            Loss::Binary,
        ] {
            check(&case(Shape::new(5, 5, 1), &net, loss, isa), &format!("{loss:?}"));
        }
        let mut weighted = case(Shape::new(5, 5, 1), &net, CROSS, isa);
        weighted.weights = Some((0..11).map(|i| 0.5 + 0.1 * i as f32).collect());
        check(&weighted, "weighted rows");
    }
}
