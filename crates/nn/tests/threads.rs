//! Training gives the same bits on any number of threads, whatever the network needs between images and whoever keeps
//! them.
#![allow(clippy::unwrap_used)]

use nn::augment::Augment;
use nn::data::{Feed, Images, Inputs, Moments, Normal};
use nn::network::{Network, Shape};
use nn::optimizer::{Optimizer, Schedule, Weights};
use nn::plan::Plan;
use nn::train::{Loss, Options, Rows, Trainer};
use nn::{Error, Stop, weights};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const PLAIN: &str = r#"[{"type":"conv2d","filters":17},{"type":"relu"},{"type":"conv2d","filters":20},{"type":"relu"},
    {"type":"max_pool2d"},{"type":"dropout","rate":0.2},{"type":"group_norm","groups":4}]"#;
const NORMED: &str = r#"[{"type":"conv2d","filters":17,"bias":false},{"type":"batch_norm"},{"type":"relu"},
    {"type":"residual","layers":[{"type":"conv2d","filters":17},{"type":"batch_norm"},{"type":"relu"}]},
    {"type":"depthwise_conv2d","stride":2},{"type":"batch_norm"},{"type":"relu"},{"type":"global_avg_pool"},
    {"type":"dropout","rate":0.2}]"#;

const ROWS: usize = 75;
const SHAPE: Shape = Shape { height: 9, width: 8, channels: 3 };

fn images() -> Vec<u8> {
    (0..ROWS * SHAPE.len()).map(|i| ((i * 2_654_435_761) >> 7) as u8).collect()
}

/// Images behind two others, the last one first, which are copied out as they would be from a file.
#[derive(Debug)]
struct Kept {
    images: Vec<u8>,
    expected: Mutex<BTreeSet<u32>>,
    damaged: Option<u32>,
}

impl Kept {
    fn new() -> Kept {
        let images = images().chunks(SHAPE.len()).rev().flatten().copied().collect();
        Kept { images, expected: Mutex::default(), damaged: None }
    }

    fn rows() -> Vec<u32> {
        (0..ROWS as u32).rev().collect()
    }
}

impl Images for Kept {
    fn size(&self) -> usize {
        SHAPE.len()
    }

    fn image<'a>(&'a self, number: u32, space: &'a mut Vec<u8>) -> Result<&'a [u8], Error> {
        if self.damaged == Some(number) {
            return Err(Error::Read("the disk is gone".into()));
        }
        space.clear();
        space.extend_from_slice(&self.images[number as usize * SHAPE.len()..][..SHAPE.len()]);
        Ok(space)
    }

    fn expect(&self, numbers: &mut dyn Iterator<Item = u32>) {
        self.expected.lock().unwrap().extend(numbers);
    }
}

fn train(layers: &str, threads: usize) -> Weights {
    feed(layers, threads, Inputs::Bytes(&images()).into()).unwrap()
}

fn feed(layers: &str, threads: usize, inputs: Feed) -> Result<Weights, Error> {
    let (shape, rows) = (SHAPE, ROWS);
    let plan = Plan::new(&Network::from_json(shape, layers, 4).unwrap()).unwrap();
    let images = images();
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
    let data = Rows { inputs, targets: &targets, weights: None };
    let stop = AtomicBool::new(false);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for epoch in 0..2 {
        pool.install(|| trainer.epoch(&mut weights, data, epoch, Stop(&stop)))?;
    }
    Ok(weights)
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

#[test]
fn images_that_others_keep_change_nothing() {
    for layers in [PLAIN, NORMED] {
        let (kept, rows) = (Kept::new(), Kept::rows());
        let found = feed(layers, 2, Feed::Kept { images: &kept, rows: &rows }).unwrap();
        assert!(found == train(layers, 1));
        // All but those of the first batch of an epoch, which differ from epoch to epoch.
        assert!(kept.expected.lock().unwrap().len() > ROWS - 32);
    }
}

#[test]
fn an_image_that_cannot_be_read_ends_the_training() {
    let (kept, rows) = (Kept { damaged: Some(40), ..Kept::new() }, Kept::rows());
    let found = feed(PLAIN, 2, Feed::Kept { images: &kept, rows: &rows });
    assert_eq!(found.err().unwrap(), Error::Read("the disk is gone".into()));
}
