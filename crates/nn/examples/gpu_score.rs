//! How fast a GPU scores networks, and how far it is from the CPU: `gpu_score [NAME...]`, by default `cnn_small` and
//! `resnet9` on images of 3x32x32 bytes. A part of `bench/gpu.sh`.
//!
//! Prints `NAME images-per-second greatest-difference`, or why there is no GPU.

use nn::cuda::Cuda;
use nn::data::{Inputs, Moments, Normal};
use nn::device::Device;
use nn::network::Shape;
use nn::plan::Plan;
use nn::score::Predictor;
use nn::{Error, presets, weights};
use std::time::Instant;

const IMAGES: usize = 4096;

fn main() -> Result<(), Error> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        names = ["cnn_small", "resnet9"].map(String::from).to_vec();
    }
    let mut cuda = match Cuda::open() {
        Ok(cuda) => cuda,
        Err(e) => {
            println!("skipped: {e}");
            return Ok(());
        }
    };
    println!("device {}", cuda.name());
    let shape = Shape::new(32, 32, 3);
    // A stream of bytes that no network finds constant (Knuth's multiplicative hash).
    let images: Vec<u8> =
        (0..IMAGES * shape.len()).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut moments = Moments::default();
    moments.add(Inputs::Bytes(&images), shape.channels);
    for name in names {
        let network = presets::preset(&name, shape, 0.5, 10);
        let network = network.ok_or_else(|| Error::Shape(format!("no network \"{name}\"")))?;
        let plan = Plan::new(&network)?;
        let first = weights::first(&plan, 1);
        let network = Predictor::new(plan, Normal::new(&moments, shape.channels), first)?;
        let mut loaded = cuda.load(&network)?;
        let mut found = vec![0.0; IMAGES * 10];
        loaded.outputs(&network, Inputs::Bytes(&images), &mut found)?;
        let few = 64;
        let mut expected = vec![0.0; few * 10];
        network.outputs(Inputs::Bytes(&images[..few * shape.len()]), &mut expected)?;
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
