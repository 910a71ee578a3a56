//! Real images to a stated accuracy, the same bits on any number of threads and by rounds elsewhere, and the hard
//! cases. Layers and optimisers are compared with PyTorch in the `nn` crate.

use super::Cnn;
use crate::error::{Kind, Result};
use crate::learner::{Algorithm, Cx, Erased, Model, Observer, Silent};
use crate::params::Values;
use crate::run::Table;
use crate::schema::{ImageShape, Schema, Task};
use std::io::Read;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CNN: Erased<Cnn> = Erased::NEW;

fn values(json: &str) -> Result<Values> {
    Values::parse("cnn", super::params::PARAMS, json)
}

fn fit(json: &str, table: &Table, threads: usize) -> Result<Vec<u8>> {
    fit_watched(json, table, threads, &Silent)
}

fn fit_watched(json: &str, table: &Table, threads: usize, observer: &dyn Observer) -> Result<Vec<u8>> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let values = values(json)?;
    pool.install(|| CNN.fit(&values, table.schema(), table, &cx))
}

fn images(shape: ImageShape, bytes: Vec<u8>, labels: Vec<f64>, classes: usize) -> Table {
    let task = Task::Classification;
    let schema = Schema { image: Some(shape), ..Schema::numeric(0, task, classes, labels.len()) };
    Table::new(schema, vec![], labels).unwrap().with_images(bytes).unwrap()
}

fn unzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

const DIGIT: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };

/// scikit-learn's digits: (label, 64 pixels) a row. Every fifth is for testing.
fn digits() -> [Vec<[u8; 65]>; 2] {
    let all = unzip(include_bytes!("../../../tests/reference/data/digits.bin.gz"));
    let rows = all.as_chunks::<65>().0;
    assert_eq!(rows.len(), 1797);
    let part =
        |test: bool| rows.iter().enumerate().filter(|(i, _)| (i % 5 == 0) == test).map(|(_, r)| *r).collect();
    [part(false), part(true)]
}

fn digit_images(rows: &[[u8; 65]]) -> Table {
    let bytes = rows.iter().flat_map(|r| r[1..].iter().map(|p| p * 15)).collect();
    images(DIGIT, bytes, rows.iter().map(|r| f64::from(r[0])).collect(), 10)
}

fn digit_numbers(rows: &[[u8; 65]]) -> Table {
    let x = rows.iter().flat_map(|r| r[1..].iter().map(|p| f64::from(*p) / 16.0)).collect();
    let y = rows.iter().map(|r| f64::from(r[0])).collect();
    Table::new(Schema::numeric(64, Task::Classification, 10, rows.len()), x, y).unwrap()
}

fn scores(model: &dyn Model, table: &Table) -> Vec<f64> {
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

fn accuracy(bytes: &[u8], table: &Table) -> f64 {
    let model = CNN.load(bytes, table.schema()).unwrap();
    let (k, n) = (model.outputs(), table.schema().rows);
    let scores = scores(&*model, table);
    let right = scores.chunks(k).zip(table.chunk(0..n).y).filter(|(p, y)| {
        assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        p.iter().all(|q| *q <= p[**y as usize])
    });
    right.count() as f64 / n as f64
}

#[derive(Default)]
struct Listens(Mutex<Vec<(usize, String, f64)>>);

impl Observer for Listens {
    fn metric(&self, round: usize, name: &str, value: f64) {
        self.0.lock().unwrap().push((round, name.into(), value));
    }
}

#[test]
fn learns_digits_as_images_and_as_numbers() {
    let [train, test] = digits();
    let heard = Listens::default();
    let bytes = fit_watched("{}", &digit_images(&train), 2, &heard).unwrap();
    let as_images = accuracy(&bytes, &digit_images(&test));
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.len(), 20);
    assert!(heard[18].2 < heard[0].2 / 5.0, "{heard:?}");
    assert_eq!((heard[19].0, heard[19].1.as_str()), (10, "train_accuracy"));
    let bytes = fit(r#"{"shape": [8, 8, 1]}"#, &digit_numbers(&train), 2).unwrap();
    let as_numbers = accuracy(&bytes, &digit_numbers(&test));
    let bytes = fit(r#"{"architecture": "mlp"}"#, &digit_numbers(&train), 2).unwrap();
    let by_mlp = accuracy(&bytes, &digit_numbers(&test));
    println!("digits: images {as_images:.4}, numbers {as_numbers:.4}, mlp {by_mlp:.4}");
    assert!(as_images >= 0.975 && as_numbers >= 0.975, "{as_images} {as_numbers}");
    assert!(by_mlp >= 0.95, "{by_mlp}");
}

#[test]
fn other_optimizers_and_layers_learn_digits() {
    let [train, test] = digits();
    for json in [
        r#"{"optimizer": "sgd"}"#,
        r#"{"optimizer": "adamw", "weight_decay": 0.01, "schedule": "cosine", "learning_rate": 0.001}"#,
        r#"{"architecture": "lenet", "schedule": "constant", "dropout": 0, "learning_rate": 0.002}"#,
        r#"{"augment": "crop", "epochs": 20}"#,
        r#"{"learning_rate": 0.02, "layers": [{"type": "conv2d", "filters": 24}, {"type": "relu"},
            {"type": "conv2d", "filters": 48, "stride": 2}, {"type": "relu"}, {"type": "global_avg_pool"}]}"#,
    ] {
        let found = accuracy(&fit(json, &digit_images(&train), 2).unwrap(), &digit_images(&test));
        println!("{json}: {found:.4}");
        assert!(found >= 0.95, "{json}: {found}");
    }
}

#[test]
fn gives_the_same_bytes_on_any_number_of_threads() {
    let [train, _] = digits();
    let table = digit_images(&train[..517]);
    let json = r#"{"epochs": 2, "batch_size": 100, "augment": "flip_crop"}"#;
    let one = fit(json, &table, 1).unwrap();
    for threads in [2, 4, 7] {
        assert!(fit(json, &table, threads).unwrap() == one, "{threads} threads");
    }
}

/// Trains by rounds whose shards keep nothing, over `cuts` of the rows.
fn by_rounds(json: &str, table: &Table, cuts: &[usize]) -> Vec<u8> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let values = values(json).unwrap();
    let mut job = CNN.start(&values, table.schema(), &cx).unwrap();
    loop {
        let state = job.state().unwrap();
        let attach = || CNN.attach(&values, table.schema(), &state).unwrap();
        let mut total = attach();
        total.finish(&cx).unwrap();
        for cut in cuts.windows(2) {
            let mut shard = attach();
            shard.accumulate(&table.chunk(cut[0]..cut[1]), &cx).unwrap();
            shard.finish(&cx).unwrap();
            total.combine(&shard.partial().unwrap()).unwrap();
        }
        if let Some(model) = job.update(&total.partial().unwrap(), &cx).unwrap() {
            return model;
        }
    }
}

#[test]
fn one_shard_that_forgets_equals_training_here() {
    let [train, _] = digits();
    let table = digit_images(&train[..300]);
    for optimizer in ["adam", "sgd"] {
        let json = format!(r#"{{"epochs": 3, "optimizer": "{optimizer}"}}"#);
        assert!(by_rounds(&json, &table, &[0, 300]) == fit(&json, &table, 2).unwrap(), "{optimizer}");
    }
}

#[test]
fn averages_shards_of_different_sizes() {
    let [train, test] = digits();
    let model = by_rounds(r#"{"epochs": 15}"#, &digit_images(&train), &[0, 0, 300, 1000, train.len()]);
    let found = accuracy(&model, &digit_images(&test));
    assert!(found >= 0.95, "{found}");
}

#[test]
fn one_row_scores_as_in_a_batch() {
    let [train, test] = digits();
    let bytes = fit(r#"{"epochs": 1}"#, &digit_images(&train), 2).unwrap();
    let table = digit_images(&test);
    let model = CNN.load(&bytes, table.schema()).unwrap();
    let all = scores(&*model, &table);
    for (i, expected) in all.chunks(10).enumerate().take(50) {
        let mut out = [0.0; 10];
        model.score(&table.chunk(i..i + 1), &mut out).unwrap();
        assert_eq!(out, expected);
    }
}

#[test]
fn learns_a_table_with_mlp() {
    // A curved surface with a large offset, in units of thousands: nothing that a line could fit.
    let n = 4000;
    let x: Vec<f64> = (0..2 * n).map(|i| ((i * 7919 + i / 3) % 1009) as f64 / 500.0 - 1.0).collect();
    let y: Vec<f64> = x.chunks(2).map(|x| 5e5 + 2e3 * (3.0 * x[0]).sin() * x[1]).collect();
    let table = Table::new(Schema::numeric(2, Task::Regression, 0, n), x, y.clone()).unwrap();
    let heard = Listens::default();
    let json = r#"{"architecture": "mlp", "epochs": 30, "dropout": 0}"#;
    let bytes = fit_watched(json, &table, 2, &heard).unwrap();
    let model = CNN.load(&bytes, table.schema()).unwrap();
    let mse = |p: &[f64]| p.iter().zip(&y).map(|(p, y)| (p - y) * (p - y)).sum::<f64>() / n as f64;
    let mean = y.iter().sum::<f64>() / n as f64;
    let (found, spread) = (mse(&scores(&*model, &table)), mse(&vec![mean; n]));
    assert!(found < 0.02 * spread, "{found} {spread}");
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.len(), 30);
    let first = heard[0].2 / spread;
    assert!((0.02..2.0).contains(&first), "losses are in the target's units: {first}");
}

#[test]
fn a_weight_counts_as_so_many_rows() {
    let [train, _] = digits();
    let table = digit_images(&train[..200]);
    let plain = fit(r#"{"epochs": 2}"#, &table, 2).unwrap();
    let even = fit(r#"{"epochs": 2}"#, &table.clone().with_weight(vec![4.0; 200]).unwrap(), 2).unwrap();
    assert!(plain == even, "weights that are all alike change nothing");
    let odd = table.with_weight((0..200).map(|i| 1.0 + (i % 3) as f64).collect()).unwrap();
    assert!(plain != fit(r#"{"epochs": 2}"#, &odd, 2).unwrap());
}

#[test]
fn takes_constant_images_and_one_row() {
    let table = images(DIGIT, vec![7; 128], vec![1.0, 0.0], 2);
    let bytes = fit(r#"{"epochs": 2}"#, &table, 2).unwrap();
    assert!(scores(&*CNN.load(&bytes, table.schema()).unwrap(), &table).iter().all(|p| p.is_finite()));
    let one = Table::new(Schema::numeric(3, Task::Regression, 0, 1), vec![1., 2., 3.], vec![5.]).unwrap();
    let bytes = fit(r#"{"epochs": 2, "architecture": "mlp"}"#, &one, 2).unwrap();
    assert!(scores(&*CNN.load(&bytes, one.schema()).unwrap(), &one)[0].is_finite());
    for labels in [vec![], vec![1.0]] {
        let few = images(DIGIT, vec![7; 64 * labels.len()], labels, 2);
        assert_eq!(fit("{}", &few, 2).unwrap_err().kind, Kind::Data);
    }
}

#[test]
fn says_when_it_diverges() {
    let [train, _] = digits();
    let json = r#"{"optimizer": "sgd", "learning_rate": 10, "schedule": "constant", "epochs": 5}"#;
    let error = fit(json, &digit_images(&train), 2).unwrap_err();
    assert_eq!(error.kind, Kind::Data);
    assert!(error.message.contains("diverged"), "{error}");
}

/// Keeps the checkpoint after a round, and stops there.
struct Breaks(usize, Mutex<Vec<u8>>);

impl Observer for Breaks {
    fn checkpoint(&self, round: usize, _last: bool, state: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        if round == self.0 {
            *self.1.lock().unwrap() = state()?;
            return Err(crate::error::Error::new(Kind::Cancelled, "the power failed"));
        }
        Ok(())
    }
}

#[test]
fn goes_on_from_a_checkpoint_as_if_never_broken() {
    let [train, _] = digits();
    let table = digit_images(&train[..200]);
    let json = r#"{"epochs": 4, "optimizer": "adamw", "ema_decay": 0.99, "augment": "flip_crop", "mixup": 0.2,
        "layers": [{"type": "conv2d", "filters": 16}, {"type": "batch_norm"}, {"type": "relu"},
        {"type": "conv2d", "filters": 16}, {"type": "relu"}, {"type": "dropout", "rate": 0.2}]}"#;
    let whole = fit(json, &table, 2).unwrap();
    let (values, stop) = (values(json).unwrap(), AtomicBool::new(false));
    for round in 1..=4 {
        let breaks = Breaks(round, Mutex::default());
        assert_eq!(fit_watched(json, &table, 2, &breaks).unwrap_err().message, "the power failed");
        let kept = breaks.1.into_inner().unwrap();
        let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
        let (model, _) = CNN.fit_again(&values, table.schema(), &table, &kept, &cx).unwrap();
        assert!(model == whole, "broken after round {round}");
        let damaged = &kept[..kept.len() / 2];
        assert!(CNN.fit_again(&values, table.schema(), &table, damaged, &cx).is_err());
    }
}

fn go_on(json: &str, table: &Table, from: &[u8], observer: &dyn Observer) -> Result<Vec<u8>> {
    let (values, stop) = (values(json)?, AtomicBool::new(false));
    let cx = Cx { seed: 2, stop: &stop, observer };
    Ok(CNN.fit_from(&values, table.schema(), table, Some(from), &cx)?.0)
}

fn tensors(model: &[u8], schema: &Schema) -> Vec<(String, Vec<u8>)> {
    let model: super::Model = crate::wire::decode(model).unwrap();
    model.validate(schema).unwrap();
    let file = safetensors::SafeTensors::deserialize(&model.weights).unwrap();
    let mut tensors: Vec<_> = file.tensors().into_iter().map(|(name, t)| (name, t.data().to_vec())).collect();
    tensors.sort();
    tensors
}

#[test]
fn goes_on_from_a_model_and_leaves_frozen_layers_alone() {
    let [train, test] = digits();
    let (few, schema) = (digit_images(&train[..300]), digit_images(&train[..300]).schema().clone());
    let layers = r#""layers": [{"type": "conv2d", "filters": 16, "name": "sees"}, {"type": "batch_norm"}, {"type": "relu"},
        {"type": "max_pool2d"}, {"type": "conv2d", "filters": 32}, {"type": "relu"}]"#;
    let first = fit(&format!(r#"{{"epochs": 8, {layers}}}"#), &digit_images(&train), 2).unwrap();
    let again = go_on(
        &format!(r#"{{"epochs": 1, "freeze": ["sees", "1"], "learning_rate": 1e-3, {layers}}}"#),
        &few,
        &first,
        &Silent,
    )
    .unwrap();
    let cold = fit(&format!(r#"{{"epochs": 1, {layers}}}"#), &few, 2).unwrap();
    let test = digit_images(&test);
    let (warm, cold) = (accuracy(&again, &test), accuracy(&cold, &test));
    assert!(warm > 0.9 && warm > cold + 0.1, "{warm} {cold}");
    let [before, after] = [&first, &again].map(|m| tensors(m, &schema));
    for ((name, a), (_, b)) in before.iter().zip(&after) {
        let frozen = name.starts_with("sees.") || name.starts_with("1.");
        assert_eq!(a == b, frozen, "{name}");
    }
    // Other outputs begin anew, with a warning; a network of which nothing fits is refused.
    #[derive(Default)]
    struct Warned(Mutex<Vec<String>>);
    impl Observer for Warned {
        fn warning(&self, message: &str) {
            self.0.lock().unwrap().push(message.into());
        }
    }
    let warned = Warned::default();
    let wider = layers.replace("32", "40");
    go_on(&format!(r#"{{"epochs": 1, {wider}}}"#), &few, &first, &warned).unwrap();
    let warned = warned.0.into_inner().unwrap();
    assert!(warned[0].contains("no fitting weights for 4.weight, 4.bias, 7.weight"), "{warned:?}");
    let error = go_on(r#"{"epochs": 1, "architecture": "resnet18"}"#, &few, &first, &Silent).unwrap_err();
    assert!(error.message.contains("no tensor of the weights"), "{error}");
}

#[test]
fn residual_networks_learn_digits() {
    let [train, test] = digits();
    for (json, least) in [
        (
            r#"{"epochs": 4, "layers": [{"type": "conv2d", "filters": 16, "bias": false}, {"type": "batch_norm"},
            {"type": "relu"}, {"type": "residual", "layers": [{"type": "conv2d", "filters": 16}, {"type": "batch_norm"}]},
            {"type": "relu"}, {"type": "max_pool2d"}, {"type": "conv2d", "filters": 32}, {"type": "relu"}]}"#,
            0.95,
        ),
        (
            r#"{"loss": "focal", "cutout": 0.2, "mixup": 0.1, "ema_decay": 0.99, "max_grad_norm": 5,
            "schedule": "step", "step_size": 7, "gamma": 0.3}"#,
            0.95,
        ),
    ] {
        let found = accuracy(&fit(json, &digit_images(&train), 2).unwrap(), &digit_images(&test));
        println!("{json}: {found:.4}");
        assert!(found >= least, "{json}: {found}");
    }
}

#[test]
fn refuses_what_does_not_fit() {
    let table = Schema::numeric(64, Task::Classification, 10, 100);
    let image = Schema { image: Some(DIGIT), ..Schema::numeric(0, Task::Classification, 10, 100) };
    let refuse = |schema: &Schema, json: &str| {
        let values = values(json).unwrap();
        CNN.memory(&values, schema, 2).map(|_| ()).unwrap_err()
    };
    let error = refuse(&table, "{}");
    assert_eq!(error.kind, Kind::Parameter);
    assert!(error.message.contains("needs images") && error.hint.unwrap().contains("\"mlp\""));
    assert!(refuse(&table, r#"{"shape": [8, 8, 3]}"#).message.contains("8x8x3, which is 192 numbers"));
    assert!(refuse(&table, r#"{"shape": [8, 8]}"#).message.contains("[height, width, channels]"));
    assert!(refuse(&table, r#"{"shape": [8, 8, 0]}"#).message.contains("[height, width, channels]"));
    assert!(refuse(&image, r#"{"shape": [8, 8, 1]}"#).message.contains("is for numbers"));
    assert!(
        refuse(&image, r#"{"layers": [{"type": "dense", "units": 3}]}"#).message.contains("layer 0 (dense)")
    );
    assert!(
        refuse(&image, r#"{"layers": [{"type": "convolution"}]}"#).message.contains("layer 0 (convolution)")
    );
    assert!(refuse(&image, r#"{"loss": "huber"}"#).message.contains("does not fit a target of classes"));
    assert!(refuse(&image, r#"{"freeze": ["head"]}"#).message.contains("no layer \"head\" to freeze"));
    assert!(refuse(&image, r#"{"freeze": [3]}"#).message.contains("a list of layers' names"));
    let number = Schema { image: Some(DIGIT), ..Schema::numeric(0, Task::Regression, 0, 100) };
    assert!(refuse(&number, r#"{"loss": "focal"}"#).message.contains("a target of numbers"));
    let both = Schema { image: Some(DIGIT), ..table };
    assert_eq!(refuse(&both, "{}").kind, Kind::Unsupported);
}

#[test]
fn damaged_models_never_crash() {
    let [train, _] = digits();
    let table = digit_images(&train[..20]);
    let json = r#"{"epochs": 1, "layers": [{"type": "conv2d", "filters": 2}]}"#;
    let bytes = fit(json, &table, 1).unwrap();
    let schema = table.schema();
    let mut out = [0.0; 10];
    for i in 0..bytes.len() {
        for bit in [0, 3, 7] {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1 << bit;
            // Refused, or a model that scores: a flipped weight is another weight.
            if let Ok(model) = CNN.load(&damaged, schema) {
                let _ = model.score(&table.chunk(0..1), &mut out);
                model.describe(schema);
            }
        }
    }
    let other = Schema { classes: 9, ..schema.clone() };
    assert_eq!(CNN.load(&bytes, &other).err().unwrap().kind, Kind::Corrupt);
    let image = Some(ImageShape { height: 4, width: 16, channels: 1 });
    assert_eq!(CNN.load(&bytes, &Schema { image, ..schema.clone() }).err().unwrap().kind, Kind::Corrupt);
}

#[test]
fn cancel_returns_at_once_on_large_images() {
    let (side, n) = (256, 64);
    let shape = ImageShape { height: side, width: side, channels: 3 };
    let table = images(shape, vec![9; n * shape.bytes()], (0..n).map(|i| (i % 2) as f64).collect(), 2);
    let json = r#"{"layers": [{"type": "conv2d", "filters": 64}, {"type": "relu"}, {"type": "conv2d", "filters": 64},
        {"type": "relu"}, {"type": "global_avg_pool"}]}"#;
    let (values, stop) = (values(json).unwrap(), AtomicBool::new(false));
    let cx = Cx { seed: 1, stop: &stop, observer: &Silent };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    let late = std::thread::scope(|scope| {
        let training = scope.spawn(|| {
            let error = pool.install(|| CNN.fit(&values, table.schema(), &table, &cx)).unwrap_err();
            assert_eq!(error.kind, Kind::Cancelled);
            Instant::now()
        });
        std::thread::sleep(Duration::from_millis(700));
        let asked = Instant::now();
        stop.store(true, Ordering::Relaxed);
        training.join().unwrap().duration_since(asked)
    });
    assert!(late < Duration::from_millis(100), "{late:?}");
}

#[test]
fn describes_layers_with_shapes_and_parameters() {
    let [train, _] = digits();
    let table = digit_images(&train[..20]);
    let bytes = fit(r#"{"epochs": 1, "architecture": "lenet"}"#, &table, 1).unwrap();
    let rows = CNN.load(&bytes, table.schema()).unwrap().describe(table.schema());
    let find = |name: &str| rows.iter().find(|r| r.0 == name).unwrap().1.clone();
    assert_eq!(find("layer 0"), "conv2d 5x5, 6 filters: 8x8x6, 156 parameters");
    assert_eq!((find("input").as_str(), find("epochs").as_str()), ("8x8x1", "1"));
}

/// A file of Fashion-MNIST (IDX, gzip), without its header; none where `DAMSON_DATA` is not set.
fn fashion(file: &str, header: usize) -> Option<Vec<u8>> {
    let folder = std::env::var_os("DAMSON_DATA")?;
    let path = Path::new(&folder).join("fashion_mnist").join(file);
    Some(unzip(&std::fs::read(path).unwrap())[header..].to_vec())
}

#[test]
#[ignore = "minutes: DAMSON_DATA=... cargo test --release -p damson-engine fashion -- --ignored --nocapture"]
fn fashion_mnist_reaches_90_percent_within_ten_minutes() {
    let part = |stem: &str| {
        let bytes = fashion(&format!("{stem}-images-idx3-ubyte.gz"), 16)?;
        let labels = fashion(&format!("{stem}-labels-idx1-ubyte.gz"), 8)?;
        let shape = ImageShape { height: 28, width: 28, channels: 1 };
        Some(images(shape, bytes, labels.into_iter().map(f64::from).collect(), 10))
    };
    let (Some(train), Some(test)) = (part("train"), part("t10k")) else {
        println!("skipped: DAMSON_DATA is not set");
        return;
    };
    let start = Instant::now();
    let json = std::env::var("DAMSON_CNN_PARAMS").unwrap_or_else(|_| "{}".into());
    let heard = Listens::default();
    let bytes = fit_watched(&json, &train, 2, &heard).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    let found = accuracy(&bytes, &test);
    for (epoch, name, value) in heard.0.into_inner().unwrap() {
        println!("epoch {epoch} {name} {value:.4}");
    }
    println!("Fashion-MNIST {json}: test accuracy {found:.4} in {seconds:.1} s on 2 threads");
    assert!(found >= 0.90 && seconds < 600.0);
}
