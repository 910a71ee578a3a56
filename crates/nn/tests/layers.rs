//! Every kind of layer against PyTorch: outputs, gradients, running means, and the names of weights, as recorded by
//! `reference/record_layers.py`.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLAIN, near, normal_of, numbers, one_step};
use nn::data::Inputs;
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::Plan;
use nn::score::Predictor;
use nn::train::{Loss, Rows, Trainer};
use nn::{Stop, weights};
use safetensors::SafeTensors;
use std::sync::atomic::AtomicBool;

const RECORDED: &[u8] = include_bytes!("reference/layers.safetensors");

fn bn() -> &'static str {
    r#"{"type":"batch_norm"}"#
}

fn cases() -> Vec<(&'static str, Shape, String)> {
    let (bn, relu) = (bn(), r#"{"type":"relu"}"#);
    let conv = |filters: usize, more: &str| format!(r#"{{"type":"conv2d","filters":{filters}{more}}}"#);
    let plain = r#","bias":false"#;
    let half = r#","stride":2,"padding":1"#;
    let point = r#","kernel_size":1"#;
    let depthwise = |more: &str| format!(r#"{{"type":"depthwise_conv2d"{more}}}"#);
    let flatten = r#"{"type":"flatten"}"#;
    let norms = [
        &conv(20, plain),
        bn,
        relu,
        &conv(12, ""),
        r#"{"type":"group_norm","groups":3}"#,
        relu,
        r#"{"type":"layer_norm"}"#,
        flatten,
        r#"{"type":"dense","units":18}"#,
        bn,
        r#"{"type":"silu"}"#,
        r#"{"type":"layer_norm"}"#,
    ];
    let inner = [&conv(16, ""), bn, relu, &conv(16, ""), bn].join(",");
    let narrow = [&conv(24, half), bn].join(",");
    let beside = [&conv(24, r#","kernel_size":1,"stride":2,"bias":false"#), bn].join(",");
    let inner = format!(r#"{{"type":"residual","layers":[{inner}]}}"#);
    let narrow = format!(r#"{{"type":"residual","layers":[{narrow}],"shortcut":[{beside}]}}"#);
    let residual =
        [&conv(16, plain), bn, relu, &inner, relu, &narrow, relu, r#"{"type":"global_avg_pool"}"#, flatten];
    let branch = [&conv(5, ""), relu].join(",");
    let pooled =
        [r#"{"type":"avg_pool2d","kernel_size":3,"stride":1,"padding":1}"#, &conv(17, point)].join(",");
    let joined = format!(r#"{{"type":"concat","branches":[[],[{branch}],[{pooled}]]}}"#);
    let concat = [&conv(6, point), relu, &joined, &conv(8, ""), r#"{"type":"global_max_pool"}"#, flatten];
    let mobile = [
        &conv(20, half),
        bn,
        relu,
        &depthwise(""),
        bn,
        relu,
        &conv(33, r#","kernel_size":1,"bias":false"#),
        bn,
        relu,
        &depthwise(half),
        r#"{"type":"tanh"}"#,
        flatten,
    ];
    let tall = r#","kernel_size":[3,1],"stride":[2,1],"padding":[1,0],"groups":4"#;
    let groups = [
        &conv(32, r#","groups":2"#),
        r#"{"type":"gelu"}"#,
        &conv(64, r#","groups":2,"dilation":2,"padding":2"#),
        r#"{"type":"sigmoid"}"#,
        &conv(12, tall),
        r#"{"type":"leaky_relu","slope":0.2}"#,
        &conv(9, ""),
        r#"{"type":"softmax"}"#,
        r#"{"type":"max_pool2d","kernel_size":3,"stride":2,"padding":1}"#,
        flatten,
    ];
    let series = [
        r#"{"type":"conv1d","filters":7,"kernel_size":5}"#,
        relu,
        r#"{"type":"conv1d","filters":6,"stride":2,"padding":1}"#,
        r#"{"type":"tanh"}"#,
        r#"{"type":"conv1d","filters":5,"dilation":3}"#,
        r#"{"type":"silu"}"#,
        flatten,
    ];
    let list = |layers: &[&str]| format!("[{}]", layers.join(","));
    vec![
        ("norms", Shape::new(8, 7, 3), list(&norms)),
        ("residual", Shape::new(9, 8, 3), list(&residual)),
        ("concat", Shape::new(6, 7, 3), list(&concat)),
        ("mobile", Shape::new(9, 8, 3), list(&mobile)),
        ("groups", Shape::new(7, 6, 4), list(&groups)),
        ("series", Shape::new(1, 31, 2), list(&series)),
    ]
}

/// The tensors under the prefixes, a later one's before an earlier one's, as our weights.
fn read(file: &SafeTensors, plan: &Plan, prefixes: &[String]) -> Vec<f32> {
    let mut views = std::collections::BTreeMap::new();
    for prefix in prefixes {
        for (name, view) in file.tensors() {
            if let Some(name) = name.strip_prefix(prefix.as_str()) {
                views.insert(name.to_string(), view);
            }
        }
    }
    weights::load(plan, &safetensors::serialize(views, None).unwrap()).unwrap()
}

/// Compares gradients tensor by tensor, so that a difference has a name.
fn same_tensors(plan: &Plan, found: &[f32], expected: &[f32], trained: usize, case: &str) {
    let only = |v: &[f32]| -> Vec<f32> {
        v[..trained].iter().copied().chain(vec![0.0; v.len() - trained]).collect()
    };
    let saved = [only(found), only(expected)].map(|v| weights::save(plan, &v).unwrap());
    let [found, expected] = [&saved[0], &saved[1]].map(|b| SafeTensors::deserialize(b).unwrap());
    for name in expected.names() {
        near(&numbers(&found, name), &numbers(&expected, name), 0.01, &format!("{case}: gradient of {name}"));
    }
}

#[test]
fn layers_agree_with_pytorch() {
    let file = SafeTensors::deserialize(RECORDED).unwrap();
    for (name, shape, layers) in cases() {
        let plan = Plan::new(&Network::from_json(shape, &layers, 4).unwrap()).unwrap();
        let under = |what: &str| format!("{name}/{what}/");
        let start = read(&file, &plan, &[under("start")]);
        let inputs = numbers(&file, &format!("{name}/inputs"));
        let targets = numbers(&file, &format!("{name}/labels"));
        let normal = normal_of(Inputs::Numbers(&inputs), shape.channels);

        let expected = numbers(&file, &format!("{name}/outputs"));
        let mut outputs = vec![0.0; expected.len()];
        let model = Predictor::new(plan.clone(), normal.clone(), start.clone()).unwrap();
        model.outputs(Inputs::Numbers(&inputs), &mut outputs).unwrap();
        let outputs: Vec<f32> = outputs.iter().map(|x| *x as f32).collect();
        near(&outputs, &expected, 0.01, &format!("{name}: outputs"));

        let options = one_step(Loss::CrossEntropy { smoothing: 0.1 }, targets.len());
        let mut trainer = Trainer::new(&plan, normal, options);
        let mut after = Weights::new(start.clone(), PLAIN, false);
        let rows = Rows { inputs: Inputs::Numbers(&inputs).into(), targets: &targets, weights: None };
        let stop = AtomicBool::new(false);
        let found = trainer.epoch(&mut after, rows, 0, Stop(&stop)).unwrap();
        near(&[(found.loss / found.weight) as f32], &numbers(&file, &format!("{name}/loss")), 0.01, name);
        let trained = plan.trained;
        let gradient: Vec<f32> = start.iter().zip(&after.values).map(|(a, b)| a - b).collect();
        let expected = read(&file, &plan, &[under("start"), under("gradient")]);
        same_tensors(&plan, &gradient, &expected, trained, name);
        if trained < plan.weights {
            let expected = read(&file, &plan, &[under("start"), under("after")]);
            near(&after.values[trained..], &expected[trained..], 0.01, &format!("{name}: running"));
        }
        // And back under the same names.
        let saved = weights::save(&plan, &start).unwrap();
        assert_eq!(weights::load(&plan, &saved).unwrap(), start);
        for (name, tensor) in SafeTensors::deserialize(&saved).unwrap().tensors() {
            assert_eq!(tensor, file.tensor(&format!("{}{name}", under("start"))).unwrap(), "{name}");
        }
    }
}

#[test]
fn losses_agree_with_pytorch() {
    let file = SafeTensors::deserialize(RECORDED).unwrap();
    let of = |name: &str| numbers(&file, &format!("loss/{name}"));
    let z = of("given/z");
    for (name, loss, targets) in [
        ("smoothed", Loss::CrossEntropy { smoothing: 0.15 }, "classes"),
        ("squared", Loss::Squared, "y"),
        ("huber", Loss::Huber { delta: 0.7 }, "y"),
        ("binary", Loss::Binary, "binary"),
        ("focal", Loss::Focal { gamma: 2.0 }, "classes"),
    ] {
        let targets = of(&format!("given/{targets}"));
        let (rows, each) = (z.len() / 4, loss.targets(4));
        let (mut value, mut gradient) = (0.0, vec![0.0; z.len()]);
        for (i, (z, dz)) in z.chunks(4).zip(gradient.chunks_mut(4)).enumerate() {
            value += loss.add(z, &targets[i * each..][..each], &[], 1.0 / rows as f32, dz);
        }
        near(&[(value / rows as f64) as f32], &of(name), 0.01, name);
        near(&gradient, &of(&format!("{name}/gradient")), 0.01, name);
    }
}
