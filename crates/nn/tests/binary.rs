//! Sets of labels against PyTorch, as recorded by `reference/record_binary.py`: losses with weights of positives, and the
//! gradients of a network trained by one.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLAIN, near, normal_of, numbers, one_step};
use nn::Stop;
use nn::data::Inputs;
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::Plan;
use nn::train::{Loss, Rows, Trainer};
use safetensors::SafeTensors;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

const RECORDED: &[u8] = include_bytes!("reference/binary.safetensors");
const LABELS: usize = 5;

/// The recorded tensors under a prefix, as weights.
fn read(file: &SafeTensors, plan: &Plan, prefix: &str) -> Vec<f32> {
    let named = file.tensors().into_iter();
    let views: BTreeMap<String, _> =
        named.filter_map(|(name, view)| Some((name.strip_prefix(prefix)?.to_string(), view))).collect();
    nn::weights::load(plan, &safetensors::serialize(views, None).unwrap()).unwrap()
}

#[test]
fn binary_losses_agree_with_pytorch() {
    let file = SafeTensors::deserialize(RECORDED).unwrap();
    let [z, y, weight] = ["z", "y", "weight"].map(|name| numbers(&file, &format!("given/{name}")));
    let rows = z.len() / LABELS;
    for (name, loss, positive) in [
        ("plain", Loss::Binary, &[][..]),
        ("weighted", Loss::Binary, &weight[..]),
        ("focal", Loss::BinaryFocal { gamma: 2.0 }, &[]),
        ("focal weighted", Loss::BinaryFocal { gamma: 1.5 }, &weight),
    ] {
        assert_eq!(loss.targets(LABELS), LABELS);
        let (mut value, mut gradient) = (0.0, vec![0.0; z.len()]);
        let given = z.chunks(LABELS).zip(y.chunks(LABELS)).zip(gradient.chunks_mut(LABELS));
        for ((z, y), dz) in given {
            value += loss.add(z, y, positive, 1.0 / rows as f32, dz);
        }
        near(&[(value / rows as f64) as f32], &numbers(&file, &format!("loss/{name}")), 0.0, name);
        near(&gradient, &numbers(&file, &format!("loss/{name}/gradient")), 0.0, name);
    }
}

#[test]
fn a_network_of_labels_has_pytorchs_gradients() {
    let file = SafeTensors::deserialize(RECORDED).unwrap();
    let shape = Shape::new(6, 7, 3);
    let layers = r#"[{"type":"conv2d","filters":8},{"type":"relu"},{"type":"flatten"}]"#;
    let plan = Plan::new(&Network::from_json(shape, layers, LABELS).unwrap()).unwrap();
    let start = read(&file, &plan, "start/");
    let (inputs, targets) = (numbers(&file, "network/x"), numbers(&file, "network/y"));
    let options = one_step(Loss::Binary, targets.len() / LABELS);
    let mut trainer = Trainer::new(&plan, normal_of(Inputs::Numbers(&inputs), shape.channels), options)
        .with_positive(numbers(&file, "given/weight"));
    let mut after = Weights::new(start.clone(), PLAIN, false);
    let rows = Rows { inputs: Inputs::Numbers(&inputs).into(), targets: &targets, weights: None };
    let stop = AtomicBool::new(false);
    let found = trainer.epoch(&mut after, rows, 0, Stop(&stop)).unwrap();
    near(&[(found.loss / found.weight) as f32], &numbers(&file, "network/loss"), 0.0, "loss");
    let gradient: Vec<f32> = start.iter().zip(&after.values).map(|(a, b)| a - b).collect();
    near(&gradient, &read(&file, &plan, "gradient/"), 0.0, "gradient");

    // Weights that are not one an output are refused.
    let mut trainer = trainer.with_positive(vec![1.0; 2]);
    assert!(trainer.epoch(&mut after, rows, 0, Stop(&stop)).is_err());
}
