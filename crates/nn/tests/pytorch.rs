//! Outputs, gradients and optimisers against PyTorch's, recorded by `reference/record.py`.
#![allow(clippy::unwrap_used)]

use nn::augment::Augment;
use nn::data::{Inputs, Moments, Normal};
use nn::network::{Network, Shape};
use nn::optimizer::{Optimizer, Schedule, Weights};
use nn::plan::Plan;
use nn::score::Predictor;
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Stop, weights};
use safetensors::SafeTensors;
use std::sync::atomic::AtomicBool;

const RECORDED: &[u8] = include_bytes!("reference/pytorch.safetensors");
const LAYERS: &str = r#"[{"type":"conv2d","filters":6},{"type":"relu"},{"type":"max_pool2d"},
    {"type":"conv2d","filters":20,"kernel_size":4},{"type":"relu"},
    {"type":"avg_pool2d","kernel_size":3,"stride":2},
    {"type":"conv2d","filters":5,"kernel_size":2,"stride":2,"padding":"valid"},{"type":"relu"},
    {"type":"flatten"},{"type":"dense","units":18},{"type":"relu"}]"#;

struct Recorded {
    file: SafeTensors<'static>,
    plan: Plan,
    normal: Normal,
}

impl Recorded {
    fn open() -> Recorded {
        let file = SafeTensors::deserialize(RECORDED).unwrap();
        let plan = Plan::new(&Network::from_json(Shape::new(19, 14, 3), LAYERS, 4).unwrap()).unwrap();
        let mut moments = Moments::default();
        moments.add(Inputs::Bytes(file.tensor("images").unwrap().data()), 3);
        Recorded { normal: Normal::new(&moments, 3), file, plan }
    }

    fn images(&self) -> Vec<u8> {
        self.file.tensor("images").unwrap().data().to_vec()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        let tensor = self.file.tensor(name).unwrap();
        tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    /// The tensors under a prefix, as our weights.
    fn weights(&self, prefix: &str) -> Vec<f32> {
        let under = |name: &str| name.strip_prefix(prefix)?.strip_prefix('/').map(str::to_string);
        let views = self.file.tensors().into_iter().filter_map(|(name, view)| {
            let name = under(&name)?;
            (name.ends_with("weight") || name.ends_with("bias")).then_some((name, view))
        });
        weights::load(&self.plan, &safetensors::serialize(views, None).unwrap()).unwrap()
    }

    fn train(&self, optimizer: Optimizer, rate: f64, decay: f64, steps: usize) -> (Vec<f32>, Weights) {
        let (images, targets) = (self.images(), self.values("labels"));
        let options = Options {
            loss: Loss::CrossEntropy { smoothing: 0.0 },
            optimizer,
            learning_rate: rate,
            schedule: Schedule::Constant,
            weight_decay: decay,
            clip: 0.0,
            average: 0.0,
            batch_size: targets.len(),
            epochs: steps,
            augment: Augment::default(),
            seed: 1,
        };
        let mut trainer = Trainer::new(&self.plan, self.normal.clone(), options);
        let mut weights = Weights::new(self.weights("start"), optimizer, false);
        let rows = Rows { inputs: Inputs::Bytes(&images).into(), targets: &targets, weights: None };
        let stop = AtomicBool::new(false);
        let losses = (0..steps).map(|epoch| {
            let found = trainer.epoch(&mut weights, rows, epoch, Stop(&stop)).unwrap();
            (found.loss / found.weight) as f32
        });
        (losses.collect(), weights)
    }
}

fn near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len() as f32).sqrt();
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance * (b.abs() + size), "{what}[{i}]: {a}, PyTorch has {b}");
    }
}

#[test]
fn outputs_agree_with_pytorch() {
    let recorded = Recorded::open();
    let model =
        Predictor::new(recorded.plan.clone(), recorded.normal.clone(), recorded.weights("start")).unwrap();
    let expected = recorded.values("start/outputs");
    let mut out = vec![0.0; expected.len()];
    model.outputs(Inputs::Bytes(&recorded.images()), &mut out).unwrap();
    let out: Vec<f32> = out.iter().map(|x| *x as f32).collect();
    near(&out, &expected, 1e-4, "outputs");
}

#[test]
fn gradients_agree_with_pytorch() {
    let recorded = Recorded::open();
    let (loss, after) = recorded.train(Optimizer::Sgd { momentum: 0.0, nesterov: false }, 1.0, 0.0, 1);
    near(&loss, &recorded.values("gradient/loss"), 1e-5, "loss");
    // The step lost the gradient, and what rounding the weight took.
    let gradient: Vec<f32> =
        recorded.weights("start").iter().zip(&after.values).map(|(a, b)| a - b).collect();
    near(&gradient, &recorded.weights("gradient"), 1e-4, "gradient");
}

#[test]
fn optimizers_agree_with_pytorch() {
    let recorded = Recorded::open();
    let sgd = |momentum, nesterov| Optimizer::Sgd { momentum, nesterov };
    for (name, optimizer, rate, decay) in [
        ("sgd", sgd(0.9, false), 0.05, 0.01),
        ("nesterov", sgd(0.8, true), 0.05, 0.0),
        ("adam", Optimizer::Adam, 0.01, 0.01),
        ("adamw", Optimizer::AdamW, 0.01, 0.1),
    ] {
        let (losses, after) = recorded.train(optimizer, rate, decay, 6);
        near(&losses, &recorded.values(&format!("{name}/loss")), 1e-4, name);
        near(&after.values, &recorded.weights(name), 2e-4, name);
    }
}
