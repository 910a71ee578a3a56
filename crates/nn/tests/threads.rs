//! Training gives the same bits on any number of threads, whatever the network needs between images.
#![allow(clippy::unwrap_used)]

use nn::augment::Augment;
use nn::data::{Inputs, Moments, Normal};
use nn::network::{Network, Shape};
use nn::optimizer::{Optimizer, Schedule, Weights};
use nn::plan::Plan;
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Stop, weights};
use std::sync::atomic::AtomicBool;

const PLAIN: &str = r#"[{"type":"conv2d","filters":17},{"type":"relu"},{"type":"conv2d","filters":20},{"type":"relu"},
    {"type":"max_pool2d"},{"type":"dropout","rate":0.2},{"type":"group_norm","groups":4}]"#;
const NORMED: &str = r#"[{"type":"conv2d","filters":17,"bias":false},{"type":"batch_norm"},{"type":"relu"},
    {"type":"residual","layers":[{"type":"conv2d","filters":17},{"type":"batch_norm"},{"type":"relu"}]},
    {"type":"depthwise_conv2d","stride":2},{"type":"batch_norm"},{"type":"relu"},{"type":"global_avg_pool"},
    {"type":"dropout","rate":0.2}]"#;

fn train(layers: &str, threads: usize) -> Weights {
    let (shape, rows) = (Shape::new(9, 8, 3), 75);
    let plan = Plan::new(&Network::from_json(shape, layers, 4).unwrap()).unwrap();
    let images: Vec<u8> = (0..rows * shape.len()).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect();
    let targets: Vec<f32> = (0..rows).map(|i| (i * 7 % 4) as f32).collect();
    let mut moments = Moments::default();
    moments.add(Inputs::Bytes(&images), 3);
    let options = Options {
        loss: Loss::CrossEntropy { smoothing: 0.1 },
        optimizer: Optimizer::AdamW,
        learning_rate: 0.003,
        schedule: Schedule::OneCycle,
        weight_decay: 0.01,
        clip: 1.0,
        average: 0.99,
        batch_size: 32,
        epochs: 2,
        augment: Augment { flip: true, crop: true, cutout: 0.3, mixup: 0.3 },
        seed: 3,
    };
    let mut trainer = Trainer::new(&plan, Normal::new(&moments, 3), options);
    let mut weights = Weights::new(weights::first(&plan, 1), options.optimizer, true);
    let data = Rows { inputs: Inputs::Bytes(&images), targets: &targets, weights: None };
    let stop = AtomicBool::new(false);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for epoch in 0..2 {
        pool.install(|| trainer.epoch(&mut weights, data, epoch, Stop(&stop)).unwrap());
    }
    weights
}

#[test]
fn threads_change_nothing() {
    for layers in [PLAIN, NORMED] {
        let one = train(layers, 1);
        assert!(one.values.iter().all(|w| w.is_finite()) && one.steps == 6);
        assert!(one.average != one.values);
        for threads in [2, 4] {
            assert!(train(layers, threads) == one, "{threads} threads");
        }
    }
}
