//! Trainings in a card against the CPU's: the kernels themselves, run on the CPU by `emulated`, and the real card where there
//! is one.

use super::Cuda;
use super::card::Card;
use super::emulated::Emulated;
use super::tests::{ROWS, cases, plan};
use super::training::Training;
use crate::augment::Augment;
use crate::data::{Inputs, Moments, Normal};
use crate::device::Device;
use crate::network::{Network, Shape};
use crate::optimizer::{Optimizer, Schedule, Weights};
use crate::plan::Plan;
use crate::presets;
use crate::train::{Found, Loss, Options, Rows, Stepper, Trainer};
use crate::{Error, Stop};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

const PLAIN: Optimizer = Optimizer::Sgd { momentum: 0.0, nesterov: false };

fn options(optimizer: Optimizer, batch_size: usize) -> Options {
    Options {
        loss: Loss::CrossEntropy { smoothing: 0.1 },
        optimizer,
        learning_rate: 1.0,
        schedule: Schedule::Constant,
        weight_decay: 0.0,
        clip: 0.0,
        average: 0.0,
        batch_size,
        epochs: 1,
        augment: Augment::default(),
        seed: 5,
    }
}

/// A training's data, and how it begins.
struct Case {
    plan: Plan,
    normal: Normal,
    options: Options,
    start: Weights,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    weights: Vec<f32>,
}

impl Case {
    fn new(plan: Plan, options: Options, rows: usize) -> Case {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let inputs: Vec<f32> =
            (0..rows * plan.network.input.len()).map(|_| random.random_range(0..256) as f32).collect();
        let channels = plan.network.input.channels;
        let mut moments = Moments::default();
        moments.add(Inputs::Numbers(&inputs), channels);
        let start = Weights::new(lively(&plan), options.optimizer, options.average > 0.0);
        let k = plan.outputs();
        let count = rows * options.loss.targets(k);
        let targets = (0..count).map(|i| if count == rows { (i * 7 % k) as f32 } else { (i % 2) as f32 });
        Case {
            normal: Normal::new(&moments, channels),
            targets: targets.collect(),
            weights: (0..rows).map(|i| 0.5 + (i % 3) as f32 / 2.0).collect(),
            start,
            inputs,
            options,
            plan,
        }
    }

    /// So many epochs from the start, with the weights and losses at the end of each.
    fn run<S: Stepper>(&self, trainer: &mut Trainer<S>, epochs: usize) -> (Weights, Vec<Found>) {
        let mut weights = self.start.clone();
        let found = (0..epochs).map(|e| self.epoch(trainer, &mut weights, e).unwrap()).collect();
        (weights, found)
    }

    fn epoch<S: Stepper>(
        &self,
        trainer: &mut Trainer<S>,
        weights: &mut Weights,
        epoch: usize,
    ) -> Result<Found, Error> {
        let go = AtomicBool::new(false);
        // Images go as bytes, as they do from the server.
        let bytes: Vec<u8> = self.inputs.iter().map(|x| *x as u8).collect();
        let inputs = match self.plan.network.input.is_flat() {
            true => Inputs::Numbers(&self.inputs),
            false => Inputs::Bytes(&bytes),
        };
        let rows = Rows { inputs: inputs.into(), targets: &self.targets, weights: Some(&self.weights) };
        trainer.epoch(weights, rows, epoch, Stop(&go))
    }

    fn here(&self) -> Trainer {
        Trainer::new(&self.plan, self.normal.clone(), self.options)
    }

    fn there(&self, card: &Rc<dyn Card>) -> Trainer<Training> {
        let training = Training::new(card, &self.plan, &self.normal, &self.options).unwrap();
        Trainer::on(&self.plan, self.options, training)
    }
}

/// First weights with biases, scales and shifts that are none that a kernel could confuse.
fn lively(plan: &Plan) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(9);
    let mut values = crate::weights::first(plan, 9);
    for (i, node) in plan.nodes.iter().enumerate() {
        let mut stir = |at: usize, from: f32, to: f32| values[at] = random.random_range(from..to);
        match &node.op {
            crate::plan::Op::Conv(c) if c.weights.bias => {
                c.weights.bias().take(c.weights.outputs).for_each(|at| stir(at, -0.1, 0.1));
            }
            crate::plan::Op::BatchNorm { norm, running, .. } => {
                for p in plan.tensors[i + 1].places().into_iter().map(|p| p as usize) {
                    stir(norm.at + p, 0.5, 1.5);
                    stir(norm.shift().start + p, -0.5, 0.5);
                    stir(running + p, -0.5, 0.5);
                    stir(running + norm.width + p, 0.5, 2.0);
                }
            }
            crate::plan::Op::GroupNorm { norm, .. } => {
                for p in plan.tensors[i + 1].places().into_iter().map(|p| p as usize) {
                    stir(norm.at + p, 0.5, 1.5);
                    stir(norm.shift().start + p, -0.5, 0.5);
                }
            }
            _ => {}
        }
    }
    values
}

fn emulated() -> (Rc<Emulated>, Rc<dyn Card>) {
    let emulated = Rc::new(Emulated::new(256 << 20));
    (emulated.clone(), emulated)
}

/// Equal to `tolerance` of the value and of the size of all of them, which counts as 0.001 or more: some gradients are zero
/// but for rounding, as those of a bias before a batch norm.
fn near(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = (expected.iter().map(|x| x * x).sum::<f32>() / expected.len().max(1) as f32).sqrt();
    let size = size.max(1e-3);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance * (b.abs() + size), "{what}[{i}]: the card has {a}, the CPU {b}");
    }
}

fn all_near(found: &Weights, expected: &Weights, tolerance: f32, what: &str) {
    assert_eq!(found.steps, expected.steps, "{what}");
    near(&found.values, &expected.values, tolerance, &format!("{what}: weights"));
    near(&found.first, &expected.first, tolerance, &format!("{what}: first moments"));
    near(&found.second, &expected.second, tolerance, &format!("{what}: second moments"));
    near(&found.average, &expected.average, tolerance, &format!("{what}: averages"));
}

/// The gradients of a case: what the weights lose by one step with a learning rate of 1. Node by node, as layers differ in the
/// size of their gradients.
fn gradients_agree(case: &Case, there: &mut Trainer<impl Stepper>, what: &str) {
    let ((ours, found), (theirs, expected)) = (case.run(there, 1), case.run(&mut case.here(), 1));
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b.abs().max(1e-3);
    assert!(close(found[0].loss, expected[0].loss), "{what}: {found:?} {expected:?}");
    assert_eq!((found[0].correct, found[0].weight), (expected[0].correct, expected[0].weight), "{what}");
    let lost = |w: &Weights| -> Vec<f32> {
        w.values.iter().zip(&case.start.values).map(|(now, then)| then - now).collect()
    };
    let (ours, theirs) = (lost(&ours), lost(&theirs));
    assert!(theirs.iter().any(|g| g.abs() > 1e-4), "{what}: nothing to compare");
    for (i, node) in case.plan.nodes.iter().enumerate() {
        let ranges = match &node.op {
            crate::plan::Op::Conv(c) => vec![c.weights.weights(), c.weights.bias()],
            crate::plan::Op::BatchNorm { norm, running, .. } => {
                vec![norm.scale(), norm.shift(), *running..running + 2 * norm.width]
            }
            crate::plan::Op::GroupNorm { norm, .. } => vec![norm.scale(), norm.shift()],
            crate::plan::Op::Embedding { tables, .. } => {
                tables.iter().map(|t| t.at..t.at + t.len()).collect()
            }
            _ => vec![],
        };
        for range in ranges {
            near(&ours[range.clone()], &theirs[range], 1e-4, &format!("{what}: node {i}"));
        }
    }
}

/// What scoring is tested with, and what only gradients are particular about.
fn layers() -> Vec<(&'static str, Shape, String)> {
    let image = Shape::new(9, 8, 3);
    let conv = |more: &str| format!(r#"{{"type":"conv2d","filters":20{more}}}"#);
    let mut cases = cases();
    cases.extend([
        (
            "strides that leave a rest",
            Shape::new(11, 10, 3),
            format!("[{},{}]", conv(""), conv(r#","kernel_size":[2,3],"stride":[3,2],"padding":"valid""#)),
        ),
        (
            "dilation, stride and groups at once",
            Shape::new(11, 10, 3),
            format!(
                "[{},{{\"type\":\"relu\"}},{}]",
                conv(""),
                conv(r#","dilation":2,"stride":2,"padding":2,"groups":4"#)
            ),
        ),
        (
            "a depthwise stride with padding",
            image,
            format!(
                r#"[{},{{"type":"relu"}},{{"type":"depthwise_conv2d","kernel_size":3,"stride":2,"padding":1}}]"#,
                conv("")
            ),
        ),
        (
            "a tensor read three times",
            image,
            format!(
                r#"[{},{{"type":"relu"}},{{"type":"concat","branches":[[],[{{"type":"softmax"}}],[{{"type":"group_norm","groups":5}}]]}},{}]"#,
                conv(""),
                conv(r#","groups":4"#)
            ),
        ),
        (
            "a norm behind a flatten",
            image,
            format!(r#"[{},{{"type":"relu"}},{{"type":"flatten"}},{{"type":"layer_norm"}}]"#, conv("")),
        ),
        (
            "a batch norm of the input",
            image,
            format!(r#"[{{"type":"batch_norm"}},{}]"#, conv(r#","bias":false"#)),
        ),
        (
            "overlapping maxima of equal values",
            image,
            format!(
                r#"[{},{{"type":"relu"}},{{"type":"max_pool2d","kernel_size":3,"stride":1,"padding":1}}]"#,
                conv("")
            ),
        ),
    ]);
    cases
}

#[test]
fn gradients_of_every_layer_agree_with_the_cpu() {
    let (emulated, card) = emulated();
    for (what, shape, layers) in layers() {
        let case = Case::new(plan(shape, &layers), options(PLAIN, ROWS), ROWS);
        let mut there = case.there(&card);
        gradients_agree(&case, &mut there, what);
        drop(there);
        assert_eq!(emulated.used(), 0, "{what}: memory is left");
    }
}

#[test]
fn gradients_of_every_loss_agree_with_the_cpu() {
    let (_, card) = emulated();
    for loss in [
        Loss::CrossEntropy { smoothing: 0.0 },
        Loss::Focal { gamma: 2.0 },
        Loss::Squared,
        Loss::Huber { delta: 0.5 },
        Loss::Binary,
        Loss::BinaryFocal { gamma: 1.5 },
    ] {
        let plan = plan(Shape::flat(6), r#"[{"type":"dense","units":20},{"type":"tanh"}]"#);
        let case = Case::new(plan, Options { loss, ..options(PLAIN, ROWS) }, ROWS);
        gradients_agree(&case, &mut case.there(&card), &format!("{loss:?}"));
    }
}

/// A network of all that images are trained with: strides, batch norms, a residual, dropout.
const RESIDUAL: &str = r#"[{"type":"conv2d","filters":12,"bias":false},{"type":"batch_norm"},{"type":"relu"},
    {"type":"residual","layers":[{"type":"conv2d","filters":16,"stride":2,"padding":1,"bias":false},{"type":"batch_norm"},
        {"type":"relu"},{"type":"conv2d","filters":16,"bias":false},{"type":"batch_norm"}],
     "shortcut":[{"type":"conv2d","filters":16,"kernel_size":1,"stride":2,"bias":false},{"type":"batch_norm"}]},
    {"type":"relu"},{"type":"dropout","rate":0.2},{"type":"global_avg_pool"}]"#;

#[test]
fn every_optimizer_agrees_with_the_cpu() {
    let (_, card) = emulated();
    let sgd = |nesterov| Optimizer::Sgd { momentum: 0.9, nesterov };
    for optimizer in [sgd(false), sgd(true), Optimizer::Adam, Optimizer::AdamW] {
        for clip in [0.0, 0.05] {
            let options = Options {
                learning_rate: 0.003,
                weight_decay: 0.1,
                clip,
                average: 0.9,
                schedule: Schedule::OneCycle,
                epochs: 2,
                loss: Loss::Binary,
                ..options(optimizer, 4)
            };
            let layers =
                r#"[{"type":"dense","units":20,"name":"still"},{"type":"tanh"},{"type":"dense","units":5}]"#;
            let network = Network::from_json(Shape::flat(6), layers, 4).unwrap();
            // With a layer that keeps its weights, and a last batch that is short.
            let plan = Plan::with_frozen(&network, &["still".into()]).unwrap();
            let case = Case::new(plan, options, 11);
            let ((ours, _), (theirs, _)) =
                (case.run(&mut case.there(&card), 2), case.run(&mut case.here(), 2));
            assert_ne!(theirs.values, case.start.values);
            all_near(&ours, &theirs, 1e-4, &format!("{optimizer:?}, clipped at {clip}"));
            let still = case.plan.frozen[0].clone();
            assert_eq!(ours.values[still.clone()], case.start.values[still]);
        }
    }
}

#[test]
fn frozen_batch_norms_stay_and_hand_on_what_they_should() {
    let (_, card) = emulated();
    let network = Network::from_json(Shape::new(8, 8, 3), RESIDUAL, 4).unwrap();
    let plan = Plan::with_frozen(&network, &["1".into(), "3".into()]).unwrap();
    let case = Case::new(plan, options(PLAIN, ROWS), ROWS);
    gradients_agree(&case, &mut case.there(&card), "frozen");
}

fn whole(network: &Network) -> Case {
    let options = Options {
        learning_rate: 0.02,
        weight_decay: 1e-3,
        clip: 2.0,
        average: 0.9,
        schedule: Schedule::OneCycle,
        epochs: 2,
        augment: Augment { flip: true, crop: true, cutout: 0.3, mixup: 0.4 },
        ..options(Optimizer::Sgd { momentum: 0.9, nesterov: true }, 8)
    };
    Case::new(Plan::new(network).unwrap(), options, 20)
}

fn networks() -> [(&'static str, Network); 2] {
    let shape = Shape::new(8, 8, 3);
    [
        ("cnn_small", presets::preset("cnn_small", shape, 0.3, 4).unwrap()),
        ("residual", Network::from_json(shape, RESIDUAL, 4).unwrap()),
    ]
}

/// Rounding differs and grows from step to step: 2 epochs of 3 steps stay within 0.1 % of the weights' size.
fn trainings_agree(case: &Case, there: &mut Trainer<impl Stepper>, what: &str) {
    let ((ours, found), (theirs, expected)) = (case.run(there, 2), case.run(&mut case.here(), 2));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a.loss - b.loss).abs() < 1e-3 * b.loss, "{what}: {found:?} {expected:?}");
        assert_eq!(a.weight, b.weight);
    }
    all_near(&ours, &theirs, 1e-3, what);
    // The same again, bit for bit.
    assert_eq!(case.run(there, 2), (ours, found), "{what}");
}

#[test]
fn whole_trainings_agree_with_the_cpu_and_repeat() {
    let (_, card) = emulated();
    for (what, network) in networks() {
        let case = whole(&network);
        trainings_agree(&case, &mut case.there(&card), what);
    }
}

#[test]
fn nothing_depends_on_the_order_of_threads_and_blocks() {
    let (emulated, card) = emulated();
    for (what, shape, layers) in layers() {
        let options = Options { clip: 0.5, ..options(Optimizer::Adam, ROWS) };
        let case = Case::new(plan(shape, &layers), options, ROWS);
        let mut there = case.there(&card);
        emulated.backwards.set(false);
        let forth = case.run(&mut there, 1);
        emulated.backwards.set(true);
        assert!(case.run(&mut there, 1) == forth, "{what}");
    }
}

#[test]
fn a_training_goes_on_where_another_one_stopped() {
    let (_, card) = emulated();
    let case = whole(&networks()[1].1);
    let (mut here, mut there) = (case.here(), case.there(&card));
    let (expected, _) = case.run(&mut here, 2);
    let mut weights = case.start.clone();
    case.epoch(&mut there, &mut weights, 0).unwrap();
    // What a checkpoint holds.
    let kept: Weights = serde_json::from_value(serde_json::to_value(&weights).unwrap()).unwrap();
    let (mut on_card, mut on_cpu) = (kept.clone(), kept);
    case.epoch(&mut there, &mut on_card, 1).unwrap();
    case.epoch(&mut here, &mut on_cpu, 1).unwrap();
    all_near(&on_card, &expected, 1e-3, "card, card");
    all_near(&on_cpu, &expected, 1e-3, "card, CPU");
    assert_eq!(on_card, case.run(&mut there, 2).0, "unbroken");
}

#[test]
fn the_memory_is_known_before_and_refused_where_it_is_not_there() {
    for (what, network) in networks() {
        for mixup in [0.0, 0.4] {
            let mut case = whole(&network);
            case.options.augment.mixup = mixup;
            let needed = Training::memory(&case.plan, &case.normal, &case.options).unwrap();
            let emulated = Rc::new(Emulated::new(needed as usize));
            let card: Rc<dyn Card> = emulated.clone();
            let mut there = case.there(&card);
            assert_eq!(emulated.used(), needed as usize, "{what}");
            case.run(&mut there, 1);
            assert_eq!(emulated.used(), needed as usize, "{what}: steps take memory");
            drop(there);
            let emulated = Rc::new(Emulated::new(needed as usize - 1));
            let card: Rc<dyn Card> = emulated.clone();
            let refused = Training::new(&card, &case.plan, &case.normal, &case.options);
            let Err(Error::Memory(text)) = refused.map(|_| ()) else { panic!("{what}: not refused") };
            assert!(text.contains(&needed.to_string()), "{text}");
            assert_eq!(emulated.most(), 0, "{what}: something was taken");
        }
    }
}

#[test]
fn stops_between_steps_when_it_is_asked_to() {
    let (_, card) = emulated();
    let case = whole(&networks()[1].1);
    let mut there = case.there(&card);
    let bytes: Vec<u8> = case.inputs.iter().map(|x| *x as u8).collect();
    let rows = Rows { inputs: Inputs::Bytes(&bytes).into(), targets: &case.targets, weights: None };
    let stop = AtomicBool::new(false);
    let (mut weights, mut steps) = (case.start.clone(), 0);
    let mut between = || {
        steps += 1;
        stop.store(steps == 2, Ordering::Relaxed);
        Ok(())
    };
    let ended = there.epoch_between(&mut weights, rows, 0, Stop(&stop), &mut between);
    assert_eq!((ended, steps), (Err(Error::Cancelled), 2));
    // It is none the worse for it.
    let (again, _) = case.run(&mut there, 1);
    assert_eq!(again, case.run(&mut case.there(&card), 1).0);
    let mut refuses = || Err(Error::Device("enough".into()));
    stop.store(false, Ordering::Relaxed);
    let ended = there.epoch_between(&mut weights, rows, 0, Stop(&stop), &mut refuses);
    assert_eq!(ended, Err(Error::Device("enough".into())));
}

#[test]
fn says_that_it_diverged() {
    let (_, card) = emulated();
    let mut case = whole(&networks()[1].1);
    case.options.learning_rate = 1e30;
    case.options.clip = 0.0;
    let mut there = case.there(&card);
    let ended = (0..2).try_for_each(|e| case.epoch(&mut there, &mut case.start.clone(), e).map(|_| ()));
    let Err(Error::Data(text)) = ended else { panic!("{ended:?}") };
    assert!(text.contains("diverged in epoch 1"), "{text}");
}

#[test]
fn the_real_card_trains_as_the_cpu_does() {
    let mut cuda = match Cuda::open() {
        Ok(cuda) => cuda,
        Err(e) => return println!("skipped: {e}"),
    };
    for (what, shape, layers) in layers() {
        let case = Case::new(plan(shape, &layers), options(PLAIN, ROWS), ROWS);
        let trainer = cuda.trainer(&case.plan, &case.normal, &case.options).unwrap();
        gradients_agree(&case, &mut Trainer::on(&case.plan, case.options, trainer), what);
        println!("{what}: gradients agree");
    }
    for (what, network) in networks() {
        let case = whole(&network);
        let trainer = cuda.trainer(&case.plan, &case.normal, &case.options).unwrap();
        trainings_agree(&case, &mut Trainer::on(&case.plan, case.options, trainer), what);
        println!("{what}: trainings agree");
    }
}
