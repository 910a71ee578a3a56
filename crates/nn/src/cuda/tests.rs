//! Every kind of layer in a card against the CPU: the kernels themselves, run on the CPU by `emulated`, and the real card
//! where there is one.

use super::card::{Card, Task};
use super::emulated::Emulated;
use super::resident::Resident;
use super::{Cuda, PTX};
use crate::Error;
use crate::data::{Inputs, Moments, Normal};
use crate::device::{Device, Loaded};
use crate::network::{Network, Shape};
use crate::plan::{Op, Plan};
use crate::presets;
use crate::score::Predictor;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};
use std::rc::Rc;

/// Rows of a case: more than a group of the small cards below has.
pub const ROWS: usize = 5;

pub fn cases() -> Vec<(&'static str, Shape, String)> {
    let image = Shape::new(9, 8, 3);
    let list = |layers: &str| format!("[{layers}]");
    let conv = |more: &str| format!(r#"{{"type":"conv2d","filters":20{more}}}"#);
    let after = |layer: &str| list(&format!(r#"{},{layer}"#, r#"{"type":"conv2d","filters":20}"#));
    let bn = r#"{"type":"batch_norm"}"#;
    let residual = format!(
        r#"{{"type":"residual","layers":[{},{bn},{{"type":"relu"}},{}],"shortcut":[{}]}}"#,
        conv(r#","stride":2,"padding":1"#),
        conv(""),
        conv(r#","kernel_size":1,"stride":2"#)
    );
    let concat = format!(
        r#"{{"type":"concat","branches":[[],[{},{{"type":"relu"}}],[{{"type":"avg_pool2d","kernel_size":3,"stride":1,"padding":1}}]]}}"#,
        conv(r#","kernel_size":1"#)
    );
    vec![
        ("conv 3x3", image, list(&conv(""))),
        ("conv 3x3 of 20 channels", image, after(&conv(""))),
        ("conv 5x5 stride 2", image, list(&conv(r#","kernel_size":5,"stride":2"#))),
        ("conv 1x1", image, after(&conv(r#","kernel_size":1"#))),
        ("conv dilated", image, after(&conv(r#","dilation":2,"padding":2"#))),
        ("conv 3x1 valid", image, list(&conv(r#","kernel_size":[3,1],"padding":"valid","bias":false"#))),
        ("conv of 4 groups", image, after(&conv(r#","groups":4"#))),
        (
            "conv of 2 wide groups",
            image,
            list(&format!("{},{}", conv("").replace("20", "32"), conv(r#","groups":2"#).replace("20", "64"))),
        ),
        ("conv1d", Shape::new(1, 31, 2), list(r#"{"type":"conv1d","filters":7,"kernel_size":5,"stride":2}"#)),
        ("depthwise", image, after(r#"{"type":"depthwise_conv2d"}"#)),
        (
            "depthwise stride 2",
            image,
            after(r#"{"type":"depthwise_conv2d","kernel_size":5,"stride":2,"padding":2}"#),
        ),
        ("max_pool2d", image, after(r#"{"type":"max_pool2d"}"#)),
        ("max_pool2d 3x3", image, after(r#"{"type":"max_pool2d","kernel_size":3,"stride":2,"padding":1}"#)),
        ("avg_pool2d", image, after(r#"{"type":"avg_pool2d","kernel_size":3,"stride":2,"padding":1}"#)),
        ("global_avg_pool", image, after(r#"{"type":"global_avg_pool"}"#)),
        ("global_max_pool", image, after(r#"{"type":"global_max_pool"}"#)),
        ("batch_norm", image, list(&format!("{},{bn},{}", conv(""), conv("")))),
        (
            "batch_norm alone",
            image,
            list(&format!(r#"{},{{"type":"gelu"}},{bn},{{"type":"relu"}}"#, conv(""))),
        ),
        ("layer_norm", image, after(r#"{"type":"layer_norm"}"#)),
        ("group_norm", image, after(&format!(r#"{{"type":"group_norm","groups":5}},{}"#, conv("")))),
        ("relu", image, after(r#"{"type":"relu"}"#)),
        ("leaky_relu", image, after(r#"{"type":"leaky_relu","slope":0.2}"#)),
        ("gelu", image, after(r#"{"type":"gelu"}"#)),
        ("silu", image, after(r#"{"type":"silu"}"#)),
        ("sigmoid", image, after(&format!(r#"{{"type":"sigmoid"}},{}"#, conv("")))),
        ("tanh", image, after(r#"{"type":"tanh"}"#)),
        ("softmax", image, after(&format!(r#"{{"type":"softmax"}},{}"#, conv("")))),
        ("dropout", image, after(r#"{"type":"dropout","rate":0.5}"#)),
        (
            "flatten and dense",
            image,
            after(r#"{"type":"flatten"},{"type":"dense","units":37},{"type":"relu"}"#),
        ),
        (
            "norm of a row",
            Shape::flat(13),
            list(r#"{"type":"dense","units":37},{"type":"layer_norm"},{"type":"silu"}"#),
        ),
        (
            "embedding",
            Shape::flat(5),
            list(
                r#"{"type":"embedding","tables":[{"feature":1,"categories":7,"dim":3},{"feature":4,"categories":12,"dim":5}]},
                {"type":"dense","units":9}"#,
            ),
        ),
        ("residual", image, after(&format!(r#"{{"type":"relu"}},{residual},{{"type":"relu"}}"#))),
        ("concat", image, after(&format!("{concat},{}", conv("")))),
    ]
}

/// A network whose weights are none that a kernel could confuse, and inputs for it.
fn ready(plan: Plan, seed: u64) -> (Predictor, Vec<f64>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut weights = crate::weights::first(&plan, seed);
    for (i, node) in plan.nodes.iter().enumerate() {
        let tensor = &plan.tensors[i + 1];
        match &node.op {
            Op::Conv(c) => {
                for o in 0..c.weights.outputs {
                    weights[c.weights.bias().start + o] = random.random_range(-0.5..0.5);
                }
            }
            Op::BatchNorm { norm, running, .. } => {
                for p in tensor.places() {
                    weights[norm.at + p as usize] = random.random_range(0.5..1.5);
                    weights[norm.shift().start + p as usize] = random.random_range(-0.5..0.5);
                    weights[running + p as usize] = random.random_range(-0.5..0.5);
                    weights[running + norm.width + p as usize] = random.random_range(0.5..2.0);
                }
            }
            Op::GroupNorm { norm, .. } => {
                for p in tensor.places() {
                    weights[norm.at + p as usize] = random.random_range(0.5..1.5);
                    weights[norm.shift().start + p as usize] = random.random_range(-0.5..0.5);
                }
            }
            _ => {}
        }
    }
    let inputs: Vec<f64> =
        (0..ROWS * plan.network.input.len()).map(|_| random.random_range(0..256).into()).collect();
    let mut moments = Moments::default();
    let channels = plan.network.input.channels;
    moments.add(Inputs::Doubles(&inputs), channels);
    (Predictor::new(plan, Normal::new(&moments, channels), weights).unwrap(), inputs)
}

fn near(found: &[f64], expected: &[f64], what: &str) {
    let size = (expected.iter().map(|x| x * x).sum::<f64>() / expected.len() as f64).sqrt().max(0.01);
    for (i, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < 1e-4 * (b.abs() + size), "{what}[{i}]: the card has {a}, the CPU {b}");
    }
}

/// Compares; `load` takes a network into a card.
fn agrees(what: &str, plan: Plan, load: &mut dyn FnMut(&Predictor) -> Box<dyn Loaded>) {
    let (network, doubles) = ready(plan, 7);
    let bytes: Vec<u8> = doubles.iter().map(|x| *x as u8).collect();
    let floats: Vec<f32> = doubles.iter().map(|x| *x as f32).collect();
    let mut expected = vec![0.0; ROWS * network.plan().outputs()];
    network.outputs(Inputs::Doubles(&doubles), &mut expected).unwrap();
    assert!(expected.iter().any(|x| x.abs() > 1e-3), "{what}: nothing to compare");
    let mut loaded = load(&network);
    assert!(loaded.bytes() > 0);
    // Every kind of inputs; and what the last batch left is not seen by the next one.
    for inputs in [Inputs::Doubles(&doubles), Inputs::Bytes(&bytes), Inputs::Numbers(&floats)] {
        let mut found = vec![f64::NAN; expected.len()];
        loaded.outputs(&network, inputs, &mut found).unwrap();
        near(&found, &expected, what);
    }
    let mut short = vec![0.0; expected.len() - 1];
    assert!(matches!(loaded.outputs(&network, Inputs::Doubles(&doubles), &mut short), Err(Error::Data(_))));
}

pub fn plan(shape: Shape, layers: &str) -> Plan {
    Plan::new(&Network::from_json(shape, layers, 4).unwrap()).unwrap()
}

#[test]
fn every_layer_agrees_with_the_cpu() {
    let emulated = Rc::new(Emulated::new(64 << 20));
    let card: Rc<dyn Card> = emulated.clone();
    for (what, shape, layers) in cases() {
        let plan = plan(shape, &layers);
        // Two rows at a time.
        let room = 8 * crate::plan::Memory::new(&plan, false).image();
        agrees(what, plan, &mut |n| Box::new(Resident::new(&card, n, room).unwrap()));
        assert_eq!(emulated.used(), 0, "{what}: memory is left");
    }
}

#[test]
fn an_image_of_a_layer_inside_agrees_too() {
    let card: Rc<dyn Card> = Rc::new(Emulated::new(64 << 20));
    let network =
        Network::from_json(Shape::new(9, 8, 3), r#"[{"type":"conv2d","filters":20,"name":"here"}]"#, 4);
    let plan = Plan::new(&network.unwrap().up_to("here").unwrap()).unwrap();
    assert_eq!(plan.outputs(), 9 * 8 * 20);
    agrees("up to a layer", plan, &mut |n| Box::new(Resident::new(&card, n, 1 << 20).unwrap()));
}

#[test]
fn says_when_there_is_no_room_and_leaves_nothing_behind() {
    let emulated = Rc::new(Emulated::new(20_000));
    let card: Rc<dyn Card> = emulated.clone();
    let (network, _) = ready(plan(Shape::new(9, 8, 3), r#"[{"type":"conv2d","filters":32}]"#), 1);
    assert!(matches!(Resident::new(&card, &network, 1 << 20), Err(Error::Memory(_))));
    assert_eq!(emulated.used(), 0);
}

#[test]
fn the_real_card_agrees_with_the_cpu() {
    let mut cuda = match Cuda::open() {
        Ok(cuda) => cuda,
        Err(e) => {
            println!("skipped: {e}");
            assert!(
                !std::path::Path::new("/dev/nvidiactl").exists() || !e.to_string().contains("no CUDA driver")
            );
            return;
        }
    };
    println!("{}: {} bytes", cuda.name(), cuda.memory());
    let mut load = |n: &Predictor| cuda.load(n).unwrap();
    for (what, shape, layers) in cases() {
        agrees(what, plan(shape, &layers), &mut load);
        println!("{what}: agrees");
    }
    for (name, shape) in [
        ("lenet", Shape::new(28, 28, 1)),
        ("cnn_small", Shape::new(32, 32, 3)),
        ("resnet9", Shape::new(32, 32, 3)),
    ] {
        agrees(name, Plan::new(&presets::preset(name, shape, 0.5, 10).unwrap()).unwrap(), &mut load);
        println!("{name}: agrees");
    }
}

#[test]
fn the_compiled_kernels_are_those_of_the_source() {
    let source = Sha256::digest(concat!(include_str!("kernels.cu"), include_str!("training.cu")));
    let source: String = source.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(PTX.lines().next().unwrap(), format!("// kernels.cu {source}"), "make ptx makes them anew");
    assert!(PTX.contains(".target sm_75"));
    for kernel in super::card::Kernel::ALL {
        assert!(PTX.contains(&format!(".visible .entry {}(", kernel.name())), "{}", kernel.name());
    }
    // The driver takes arguments by their bytes: the two sides must mean the same ones.
    let argument = format!(".align 4 .b8 conv_param_0[{}]", size_of::<Task>());
    assert!(PTX.contains(&argument), "a task has {} bytes", size_of::<Task>());
}
