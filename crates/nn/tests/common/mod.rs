//! What the tests against recorded numbers share.
#![allow(dead_code, clippy::unwrap_used)]

use nn::augment::Augment;
use nn::data::{Inputs, Moments, Normal};
use nn::optimizer::{Optimizer, Schedule};
use nn::train::{Loss, Options};
use safetensors::SafeTensors;

/// The optimizer of [`one_step`].
pub const PLAIN: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false };

/// One step over all rows, after which the weights have moved by their gradient.
pub fn one_step(loss: Loss, rows: usize) -> Options {
    Options {
        loss,
        optimizer: PLAIN,
        learning_rate: 1.0,
        schedule: Schedule::Constant,
        weight_decay: 0.0,
        clip: 0.0,
        average: 0.0,
        batch_size: rows,
        epochs: 1,
        augment: Augment::default(),
        seed: 1,
    }
}

/// How inputs of so many channels are normalised by what they are themselves.
pub fn normal_of(inputs: Inputs, channels: usize) -> Normal {
    let mut moments = Moments::default();
    moments.add(inputs, channels);
    Normal::new(&moments, channels)
}

/// A recorded tensor.
pub fn numbers(file: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Equal to 1e-4 of the value and of the tensor's size, which counts as `least` or more: some gradients are zero but for
/// rounding, as those of a bias before a batch norm.
pub fn near(found: &[f32], expected: &[f32], least: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt().max(least);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < 1e-4 * (b.abs() + size), "{what}[{i}]: {a}, PyTorch has {b}");
    }
}
