//! How fast a GPU trains networks, and how far it is from the CPU: `gpu_train [NAME...]`, by default `cnn_small` and `resnet9`
//! on images of 3x32x32 bytes. A part of `bench/gpu.sh`.
//!
//! Prints `NAME images-per-second greatest-difference bytes`, or why there is no GPU. The difference is that of the weights
//! after a short training, in shares of their size; the bytes are those of the card that a training of batches of 512 takes.

mod common;

use nn::augment::Augment;
use nn::data::{Inputs, Normal};
use nn::device::Device;
use nn::optimizer::{Optimizer, Schedule, Weights};
use nn::train::{Loss, Options, Rows, Stepper, Trainer};
use nn::{Error, Stop, weights};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const IMAGES: usize = 8192;
/// Images of the training that is compared.
const FEW: usize = 128;
const BATCH: usize = 512;

fn options(batch_size: usize) -> Options {
    Options {
        loss: Loss::CrossEntropy { smoothing: 0.1 },
        optimizer: Optimizer::Sgd { momentum: 0.9, nesterov: true },
        learning_rate: 0.02,
        schedule: Schedule::OneCycle,
        weight_decay: 5e-4,
        clip: 0.0,
        average: 0.0,
        batch_size,
        epochs: 4,
        augment: Augment { flip: true, crop: true, cutout: 0.25, mixup: 0.0 },
        seed: 1,
    }
}

struct Data {
    images: Vec<u8>,
    labels: Vec<f32>,
    normal: Normal,
    size: usize,
}

impl Data {
    fn epochs<S: Stepper>(
        &self,
        trainer: &mut Trainer<S>,
        weights: &mut Weights,
        epochs: std::ops::Range<usize>,
        n: usize,
    ) -> Result<(), Error> {
        let go = AtomicBool::new(false);
        let inputs = Inputs::Bytes(&self.images[..n * self.size]);
        let rows = Rows { inputs: inputs.into(), targets: &self.labels[..n], weights: None };
        epochs.into_iter().try_for_each(|epoch| trainer.epoch(weights, rows, epoch, Stop(&go)).map(|_| ()))
    }
}

fn main() -> Result<(), Error> {
    let Some(mut cuda) = common::card() else { return Ok(()) };
    let (images, normal) = common::images(IMAGES);
    let labels = (0..IMAGES).map(|i| (i % 10) as f32).collect();
    let data = Data { images, labels, normal, size: common::shape().len() };
    for name in common::names() {
        let plan = common::plan(&name, 0.2)?;
        let start = Weights::new(weights::first(&plan, 1), options(BATCH).optimizer, false);

        let small = options(32);
        let (mut here, mut there) = (start.clone(), start.clone());
        data.epochs(&mut Trainer::new(&plan, data.normal.clone(), small), &mut here, 0..2, FEW)?;
        let on_card = cuda.trainer(&plan, &data.normal, &small)?;
        data.epochs(&mut Trainer::on(&plan, small, on_card), &mut there, 0..2, FEW)?;
        let size = (here.values.iter().map(|x| x * x).sum::<f32>() / here.values.len() as f32).sqrt();
        let pairs = here.values.iter().zip(&there.values);
        let difference = pairs.map(|(a, b)| (a - b).abs() / (a.abs() + size)).fold(0.0, f32::max);

        let large = options(BATCH);
        let bytes = cuda.trainer_bytes(&plan, &data.normal, &large)?;
        let on_card = cuda.trainer(&plan, &data.normal, &large)?;
        let (mut trainer, mut weights) = (Trainer::on(&plan, large, on_card), start);
        let mut best = f64::INFINITY;
        for epoch in 0..4 {
            let begun = Instant::now();
            data.epochs(&mut trainer, &mut weights, epoch..epoch + 1, IMAGES)?;
            // The first one is to get warm.
            if epoch > 0 {
                best = best.min(begun.elapsed().as_secs_f64());
            }
        }
        println!("{name} {:.0} {difference:.2e} {bytes}", IMAGES as f64 / best);
    }
    Ok(())
}
