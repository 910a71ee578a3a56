//! A measurement, not a test: images a second of training on images of 32x32x3. `bench/networks.py` has PyTorch beside it.
//!
//! `cargo test --release -p damson-nn --test speed -- --ignored --nocapture`
#![allow(clippy::unwrap_used)]

use nn::augment::Augment;
use nn::data::{Inputs, Moments, Normal};
use nn::network::{Network, Shape};
use nn::optimizer::{Optimizer, Schedule, Weights};
use nn::plan::Plan;
use nn::presets::preset;
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Isa, Stop, weights};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Seconds of processor time that this process has used: a busy machine does not change it much.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[test]
#[ignore = "a measurement"]
fn images_a_second() {
    let shape = Shape::new(32, 32, 3);
    let deep = r#"[{"type":"conv2d","filters":32},{"type":"relu"},{"type":"conv2d","filters":32},{"type":"relu"},
        {"type":"max_pool2d"},{"type":"conv2d","filters":64},{"type":"relu"},{"type":"conv2d","filters":64},
        {"type":"relu"},{"type":"max_pool2d"},{"type":"flatten"},{"type":"dense","units":128},{"type":"relu"}]"#;
    let rows = 512;
    let mut seed = 1u64;
    let images: Vec<u8> = (0..rows * shape.len())
        .map(|_| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 56) as u8
        })
        .collect();
    let targets: Vec<f32> = (0..rows).map(|i| (i % 10) as f32).collect();
    let mut moments = Moments::default();
    moments.add(Inputs::Bytes(&images), 3);
    for (name, network) in [
        ("four convolutions", Network::from_json(shape, deep, 10).unwrap()),
        ("cnn_small", preset("cnn_small", shape, 0.25, 10).unwrap()),
        ("resnet9", preset("resnet9", shape, 0.0, 10).unwrap()),
    ] {
        let plan = Plan::new(&network).unwrap();
        for isa in [Isa::detect()] {
            for threads in [2] {
                let options = Options {
                    loss: Loss::CrossEntropy { smoothing: 0.0 },
                    optimizer: Optimizer::Adam,
                    learning_rate: 1e-3,
                    schedule: Schedule::Constant,
                    weight_decay: 0.0,
                    clip: 0.0,
                    average: 0.0,
                    batch_size: 64,
                    epochs: 3,
                    augment: Augment::default(),
                    seed: 1,
                };
                let mut trainer = Trainer::with_isa(&plan, Normal::new(&moments, 3), options, isa);
                let mut weights = Weights::new(weights::first(&plan, 1), options.optimizer, false);
                let data = Rows { inputs: Inputs::Bytes(&images).into(), targets: &targets, weights: None };
                let stop = AtomicBool::new(false);
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut best = (f64::MAX, f64::MAX);
                for epoch in 0..2 {
                    let (wall, cpu) = (Instant::now(), processor());
                    pool.install(|| trainer.epoch(&mut weights, data, epoch, Stop(&stop)).unwrap());
                    best.0 = best.0.min(wall.elapsed().as_secs_f64());
                    best.1 = best.1.min(processor() - cpu);
                }
                let (wall, cpu) = (rows as f64 / best.0, rows as f64 / best.1);
                println!(
                    "{name:18} {:8} {threads} threads: {wall:6.0} images/s, {cpu:6.0} a processor second",
                    isa.name()
                );
            }
        }
    }
}
