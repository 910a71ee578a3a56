//! How fast a GPU scores networks, and how far it is from the CPU: `gpu_score [NAME...]`, by default `cnn_small` and
//! `resnet9` on images of 3x32x32 bytes. A part of `bench/gpu.sh`.
//!
//! Prints `NAME images-per-second greatest-difference`, or why there is no GPU.

mod common;

use nn::data::Inputs;
use nn::device::Device;
use nn::score::Predictor;
use nn::{Error, weights};
use std::time::Instant;

const IMAGES: usize = 4096;

fn main() -> Result<(), Error> {
    let Some(mut cuda) = common::card() else { return Ok(()) };
    let (images, normal) = common::images(IMAGES);
    for name in common::names() {
        let plan = common::plan(&name, 0.5)?;
        let first = weights::first(&plan, 1);
        let network = Predictor::new(plan, normal.clone(), first)?;
        let mut loaded = cuda.load(&network)?;
        let mut found = vec![0.0; IMAGES * 10];
        loaded.outputs(&network, Inputs::Bytes(&images), &mut found)?;
        let few = 64;
        let mut expected = vec![0.0; few * 10];
        network.outputs(Inputs::Bytes(&images[..few * common::shape().len()]), &mut expected)?;
        let size = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt();
        let difference = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / size).fold(0.0, f64::max);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let begun = Instant::now();
            loaded.outputs(&network, Inputs::Bytes(&images), &mut found)?;
            best = best.min(begun.elapsed().as_secs_f64());
        }
        println!("{name} {:.0} {difference:.2e}", IMAGES as f64 / best);
    }
    Ok(())
}
