//! Convolutions that training takes all images of a batch through together: the same bits on any number of threads, and
//! the same step as one convolution after another.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLAIN, normal_of, one_step};
use nn::data::Inputs;
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::{Op, Plan};
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Isa, Stop, weights};
use std::sync::atomic::AtomicBool;

/// Two of 256 by 256 channels, one of which makes the image smaller; both with a bias, or both without.
fn layers(bias: bool) -> String {
    let conv = |more: &str| format!(r#"{{"type":"conv2d","filters":256,"bias":{bias}{more}}}"#);
    format!(
        r#"[{{"type":"conv2d","filters":256}},{{"type":"relu"}},{},{{"type":"batch_norm"}},{{"type":"relu"}},
            {{"type":"residual","layers":[{},{{"type":"batch_norm"}}]}},{{"type":"global_avg_pool"}}]"#,
        conv(r#","padding":"valid""#),
        conv(""),
    )
}

/// One step over 40 rows, the network's state afterwards, and how many of its convolutions are joint.
fn step(bias: bool, frozen: &[String], isa: Isa, threads: usize) -> (Plan, Weights, usize) {
    let (shape, rows) = (Shape::new(8, 7, 3), 40);
    let network = Network::from_json(shape, &layers(bias), 3).unwrap();
    let plan = Plan::with_frozen(&network, frozen).unwrap();
    let images: Vec<u8> = (0..rows * shape.len()).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    let targets: Vec<f32> = (0..rows).map(|i| (i * 7 % 3) as f32).collect();
    let options =
        Options { learning_rate: 0.1, seed: 3, ..one_step(Loss::CrossEntropy { smoothing: 0.0 }, rows) };
    let mut trainer = Trainer::with_isa(&plan, normal_of(Inputs::Bytes(&images), 3), options, isa);
    let mut weights = Weights::new(weights::first(&plan, 1), PLAIN, false);
    let data = Rows { inputs: Inputs::Bytes(&images).into(), targets: &targets, weights: None };
    let stop = AtomicBool::new(false);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| trainer.epoch(&mut weights, data, 0, Stop(&stop)).unwrap());
    let joint = plan.nodes.iter().filter(|n| matches!(&n.op, Op::Conv(c) if c.joint)).count();
    (plan, weights, joint)
}

/// The gradient of every weight by name, times the learning rate.
fn moved(plan: &Plan, weights: &Weights) -> Vec<(String, Vec<f32>)> {
    let tensors = |values: &[f32]| {
        let bytes = weights::save(plan, values).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all: Vec<(String, Vec<f32>)> = file
            .tensors()
            .into_iter()
            .map(|(name, t)| {
                (name, t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect())
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let (before, after) = (tensors(&weights::first(plan, 1)), tensors(&weights.values));
    let each = before.into_iter().zip(after);
    each.map(|((name, a), (_, b))| (name, a.iter().zip(&b).map(|(a, b)| b - a).collect())).collect()
}

#[test]
fn a_joint_step_is_that_of_one_convolution_after_another() {
    for isa in Isa::available() {
        let ((plan, weights, joint), (other, others, none)) =
            (step(false, &[], isa, 2), step(true, &[], isa, 2));
        assert_eq!((joint, none), (2, 0));
        let other = moved(&other, &others);
        let mut kernels = 0;
        for (name, a) in moved(&plan, &weights) {
            let (_, b) = other.iter().find(|(n, _)| *n == name).unwrap();
            let most = b.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far <= 2e-4 * most + 1e-7, "{isa:?} {name}: {far} of {most}");
            kernels += usize::from(a.len() == 256 * 256 * 9 && most > 1e-5);
        }
        assert_eq!(kernels, 2);
    }
}

#[test]
fn threads_change_no_bit_of_a_joint_step() {
    let (_, one, _) = step(false, &[], Isa::detect(), 1);
    for threads in [2, 4] {
        assert!(step(false, &[], Isa::detect(), threads).1 == one, "{threads} threads");
    }
}

#[test]
fn a_frozen_joint_convolution_keeps_its_weights() {
    let (plan, weights, joint) = step(false, &["2".into(), "3".into()], Isa::detect(), 2);
    assert_eq!(joint, 2);
    for (name, moves) in moved(&plan, &weights) {
        let frozen = name.starts_with("2.") || name.starts_with("3.");
        assert_eq!(moves.iter().all(|m| *m == 0.0), frozen, "{name}");
    }
}
