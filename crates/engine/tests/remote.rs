//! Networks whose epochs somebody else computes, and what becomes of the training where that one stops to answer.

#![allow(clippy::unwrap_used, clippy::panic)]

use engine::algorithms::find;
use engine::learner::{Algorithm, Cx, Observer, Silent};
use engine::params::Values;
use engine::remote::{Desk, Errand};
use engine::run::Table;
use engine::schema::{ImageShape, Schema, Task};
use engine::{Kind, Result};
use nn::device::{Device, Software};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};

fn cnn() -> &'static dyn Algorithm {
    find("cnn").unwrap()
}

fn fit(json: &str, table: &Table, observer: &dyn Observer) -> Result<Vec<u8>> {
    let never = AtomicBool::new(false);
    let values = Values::parse("cnn", cnn().info().params, json)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| cnn().fit(&values, table.schema(), table, &Cx { seed: 3, stop: &never, observer }))
}

fn text(i: usize) -> u8 {
    ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8
}

fn images() -> Table {
    let shape = ImageShape { height: 9, width: 8, channels: 2 };
    let rows = 150;
    let schema = Schema { image: Some(shape), ..Schema::numeric(0, Task::Classification, 3, rows) };
    let labels: Vec<f64> = (0..rows).map(|i| (i % 3) as f64).collect();
    let bytes = (0..rows * shape.bytes()).map(text).collect();
    Table::new(schema, vec![], labels).unwrap().with_images(bytes).unwrap()
}

fn numbers() -> Table {
    let rows = 200;
    let x: Vec<f64> = (0..rows * 5).map(|i| f64::from(text(i)) / 50.0).collect();
    let y: Vec<f64> = x.chunks(5).map(|x| 3.0 * x[0] - x[3] + 7.0).collect();
    let weight = (0..rows).map(|i| 1.0 + (i % 2) as f64).collect();
    Table::new(Schema::numeric(5, Task::Regression, 0, rows), x, y).unwrap().with_weight(weight).unwrap()
}

/// What is asked, and where the answer goes.
type Asked = (u64, Errand, Sender<Option<Vec<u8>>>);

/// The other end, a thread of this process, on the CPU. It answers no errand from number `until` on.
struct Other {
    desk: Mutex<Sender<Asked>>,
    until: usize,
    errands: AtomicUsize,
    epochs: AtomicUsize,
}

impl Other {
    fn until(until: usize) -> Other {
        let (desk, asked) = channel::<Asked>();
        std::thread::spawn(move || {
            let mut desk = Desk::default();
            for (training, errand, answer) in asked {
                answer.send(answered(&mut desk, training, errand)).unwrap();
            }
        });
        Other { desk: Mutex::new(desk), until, errands: AtomicUsize::new(0), epochs: AtomicUsize::new(0) }
    }
}

fn answered(desk: &mut Desk, training: u64, errand: Errand) -> Option<Vec<u8>> {
    let nothing = Some(vec![]);
    match errand {
        Errand::Offer(_) => nothing,
        Errand::Order(piece) => {
            let place = |plan: &_, normal: &_, options: &_| Software.trainer(plan, normal, options);
            desk.order(training, piece.at, piece.len, &piece.bytes, place).unwrap();
            nothing
        }
        Errand::Weights(_) | Errand::Epoch(_) if !desk.knows(training) => None,
        Errand::Weights(piece) => {
            desk.weights(piece.at, piece.len, &piece.bytes).unwrap();
            nothing
        }
        Errand::Epoch(epoch) => {
            let len = desk.epoch(epoch, &mut || Ok(())).unwrap();
            Some((len as u64).to_ne_bytes().to_vec())
        }
        Errand::Fetch(at, len) => Some(desk.fetch(at, len).to_vec()),
    }
}

impl Observer for Other {
    fn errand(&self, training: u64, errand: Errand) -> Option<Vec<u8>> {
        if self.errands.fetch_add(1, Ordering::Relaxed) >= self.until {
            return None;
        }
        if let Errand::Epoch(_) = errand {
            self.epochs.fetch_add(1, Ordering::Relaxed);
        }
        let (answer, heard) = channel();
        self.desk.lock().unwrap().send((training, errand, answer)).unwrap();
        heard.recv().unwrap()
    }
}

const IMAGES: &str = r#"{"epochs": 3, "batch_size": 32, "augment": "flip_crop", "mixup": 0.4, "ema_decay": 0.9, "freeze": ["0"],
    "layers": [{"type": "conv2d", "filters": 5}, {"type": "batch_norm"}, {"type": "relu"}, {"type": "dropout", "rate": 0.2},
               {"type": "global_avg_pool"}]}"#;
const NUMBERS: &str = r#"{"architecture": "mlp", "epochs": 3, "optimizer": "sgd", "early_stopping": true}"#;

#[test]
fn a_training_elsewhere_is_the_training_here() {
    for (json, table) in [(IMAGES, images()), (NUMBERS, numbers())] {
        let here = fit(json, &table, &Silent).unwrap();
        let other = Other::until(usize::MAX);
        assert!(fit(json, &table, &other).unwrap() == here);
        assert_eq!(other.epochs.into_inner(), 3);
        // Wherever it is left alone, it goes on here, to the same end.
        let errands = other.errands.into_inner();
        assert_eq!(errands, 2 + 3 * 3);
        for until in 0..errands {
            assert!(fit(json, &table, &Other::until(until)).unwrap() == here, "{until} of {errands}");
        }
    }
}

#[test]
fn one_that_diverges_elsewhere_ends_as_it_does_here() {
    let json = r#"{"architecture": "mlp", "epochs": 3, "learning_rate": 10.0, "optimizer": "sgd", "schedule": "constant",
        "momentum": 0.9999}"#;
    let here = fit(json, &numbers(), &Silent).unwrap_err();
    assert!(here.kind == Kind::Data && here.message.contains("diverged"), "{here:?}");
    assert_eq!(fit(json, &numbers(), &Other::until(usize::MAX)).unwrap_err().message, here.message);
}

#[test]
fn orders_that_are_none_are_refused() {
    let place = |plan: &_, normal: &_, options: &_| Software.trainer(plan, normal, options);
    let mut desk = Desk::default();
    for order in [&[][..], &[7], &[255; 8], &[255; 100], &[0; 8], &[0; 100]] {
        assert!(!matches!(desk.order(1, 0, order.len(), order, place), Ok(true)), "{order:?}");
        assert!(!desk.knows(1));
        assert!(desk.epoch(0, &mut || Ok(())).is_err());
    }
    assert!(desk.order(1, 5, 10, &[0; 5], place).is_err());
    assert!(desk.order(1, 0, 3, &[0; 5], place).is_err());
    assert!(matches!(desk.order(1, 0, 10, &[0; 5], place), Ok(false)));
    // Another training's pieces are not taken for this one's.
    assert!(matches!(desk.order(2, 5, 10, &[0; 5], place), Ok(false)));
    assert_eq!(desk.fetch(3, 8), [0u8; 0]);
}
