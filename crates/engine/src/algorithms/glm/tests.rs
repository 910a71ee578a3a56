//! Agreement with recorded numbers of scikit-learn and statsmodels (`tests/reference/glm.py` made them), and the
//! hard cases: collinear features, separated classes, large offsets, absent classes.

use super::model::Model;
use super::{LeastSquares, Logistic, Multinomial};
use crate::error::{Kind, Result};
use crate::learner::{Algorithm, Cx, Erased, Learner, Model as _, Observer};
use crate::params::Values;
use crate::run::{Table, fit};
use crate::schema::{Schema, Task};
use serde_json::Value;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

#[derive(Default)]
struct Listens {
    warnings: Mutex<Vec<String>>,
    losses: Mutex<Vec<f64>>,
}

impl Observer for Listens {
    fn metric(&self, round: usize, name: &str, value: f64) {
        let mut losses = self.losses.lock().unwrap();
        assert_eq!((name, round), ("train_loss", losses.len()));
        losses.push(value);
    }
    fn warning(&self, message: &str) {
        self.warnings.lock().unwrap().push(message.to_string());
    }
}

struct Outcome {
    model: Model,
    warnings: Vec<String>,
    losses: Vec<f64>,
}

fn train<L: Learner<Model = Model>>(json: &str, table: &Table) -> Result<Outcome> {
    let listens = Listens::default();
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 1, stop: &stop, observer: &listens };
    let params = L::params(&Values::parse(L::INFO.name, L::INFO.params, json)?, table.schema())?;
    let model = fit::<L>(&params, table.schema(), table, &cx)?;
    model.validate(table.schema())?;
    let (warnings, losses) = (listens.warnings.into_inner().unwrap(), listens.losses.into_inner().unwrap());
    Ok(Outcome { model, warnings, losses })
}

fn train_named(algorithm: &str, json: &str, table: &Table) -> Outcome {
    match algorithm {
        "linear" => train::<LeastSquares<false>>(json, table),
        "ridge" => train::<LeastSquares<true>>(json, table),
        "logistic" => train::<Logistic>(json, table),
        _ => train::<Multinomial>(json, table),
    }
    .unwrap()
}

fn reference(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference").join(file);
    std::fs::read_to_string(path).unwrap()
}

fn floats(v: &Value) -> Vec<f64> {
    match v {
        Value::Array(items) => items.iter().flat_map(floats).collect(),
        number => vec![number.as_f64().unwrap()],
    }
}

/// The rows that a recorded case was trained on.
fn recorded_table(case: &Value) -> Table {
    let text = reference(&format!("data/{}.csv", case["data"].as_str().unwrap()));
    let all: Vec<Vec<f64>> =
        text.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect();
    let columns: Vec<usize> = floats(&case["columns"]).iter().map(|c| *c as usize).collect();
    let y: Vec<f64> = all.iter().map(|r| *r.last().unwrap()).collect();
    let n = y.len() as f64;
    let mut x: Vec<f64> = all.iter().flat_map(|r| columns.iter().map(|c| r[*c])).collect();
    let d = columns.len();
    if case["standardise"] == true {
        for j in 0..d {
            let mean = x.iter().skip(j).step_by(d).sum::<f64>() / n;
            let var = x.iter().skip(j).step_by(d).map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
            x.iter_mut().skip(j).step_by(d).for_each(|v| *v = (*v - mean) / var.sqrt());
        }
    }
    let regression = matches!(case["algorithm"].as_str(), Some("linear" | "ridge"));
    let (task, classes) = match regression {
        true => (Task::Regression, 0),
        false => (Task::Classification, y.iter().fold(0.0f64, |a, b| a.max(*b)) as usize + 1),
    };
    let weight = (0..y.len()).map(|i| 1.0 + (i % 3) as f64).collect();
    let table = Table::new(Schema::numeric(d, task, classes, y.len()), x, y).unwrap();
    if case["weighted"] == true { table.with_weight(weight).unwrap() } else { table }
}

/// The largest difference, in units of the largest expected value.
fn apart(found: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-300f64, |a, b| a.max(b.abs()));
    found.iter().zip(expected).fold(0.0f64, |a, (f, e)| a.max((f - e).abs() / scale))
}

#[test]
fn agrees_with_scikit_learn_and_statsmodels() {
    let recorded: Value = serde_json::from_str(&reference("glm.json")).unwrap();
    for case in recorded["cases"].as_array().unwrap() {
        let algorithm = case["algorithm"].as_str().unwrap();
        let table = recorded_table(case);
        let mut params = case["params"].clone();
        if matches!(algorithm, "logistic" | "multinomial") {
            params["tol"] = 1e-9.into();
            params["max_iter"] = 1000.into();
        }
        let Outcome { model, warnings, losses } = train_named(algorithm, &params.to_string(), &table);
        let mut scores = vec![0.0; 20 * model.outputs()];
        model.score(&table.chunk(0..20), &mut scores).unwrap();
        let (mut expected, mut own) = (floats(&case["coefficients"]), floats(&case["intercept"]));
        if algorithm == "multinomial" && case["params"]["penalty"] == "none" {
            // Recorded with a sum of 0 over classes; such a model is relative to the first one.
            let (first, first_own) = (expected[..expected.len() / own.len()].to_vec(), own[0]);
            expected.iter_mut().zip(first.iter().cycle()).for_each(|(e, f)| *e -= f);
            own.iter_mut().for_each(|e| *e -= first_own);
        }
        let coefficients = apart(&model.coefficients, &expected);
        let intercept = (model.intercept[0] - own[0]).abs();
        let off = apart(&scores, &floats(&case["scores"]));
        println!(
            "{algorithm:12} {:14} {:40} passes {:3} coefficients {coefficients:.1e} intercept {intercept:.1e} scores {off:.1e}",
            case["data"].as_str().unwrap(),
            case["params"].to_string(),
            model.trace.iterations
        );
        assert!(model.trace.converged && warnings.is_empty(), "{case}: {warnings:?}");
        assert!(coefficients < 1e-6 && off < 1e-6, "{case}");
        assert!(intercept < 1e-6 * (1.0 + own[0].abs()), "{case}");
        assert!(losses.iter().all(|l| l.is_finite()) && *losses.last().unwrap() <= losses[0]);
    }
}

/// Numbers that look random and are the same everywhere.
fn noise(i: usize) -> f64 {
    let x = (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((x ^ (x >> 32)) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
}

fn made(d: usize, n: usize, task: Task, classes: usize, y: impl Fn(&[f64], usize) -> f64) -> Table {
    let x: Vec<f64> = (0..n * d).map(noise).collect();
    let y = (0..n).map(|i| y(&x[i * d..(i + 1) * d], i)).collect();
    Table::new(Schema::numeric(d, task, classes, n), x, y).unwrap()
}

#[test]
fn linear_drops_collinear_and_constant_columns_with_a_warning() {
    let n = 500;
    let x: Vec<f64> = (0..n)
        .flat_map(|i| {
            let (a, b) = (noise(i), noise(i + n));
            [a, 3.7, b, 2.0 * a - b, a]
        })
        .collect();
    let y = (0..n).map(|i| 1.0 + 2.0 * noise(i) - 3.0 * noise(i + n)).collect();
    let table = Table::new(Schema::numeric(5, Task::Regression, 0, n), x, y).unwrap();
    let out = train::<LeastSquares<false>>("{}", &table).unwrap();
    assert!(apart(&out.model.coefficients, &[2.0, 0.0, -3.0, 0.0, 0.0]) < 1e-9, "{:?}", out.model);
    assert!((out.model.intercept[0] - 1.0).abs() < 1e-9 && out.model.trace.loss < 1e-12);
    assert_eq!(out.warnings.len(), 1);
    assert!(
        out.warnings[0].contains("3 of 5") && out.warnings[0].ends_with("x2, x4, x5"),
        "{:?}",
        out.warnings
    );
    // Ridge shares the weight among equal columns, and has nothing to warn of.
    let out = train::<LeastSquares<true>>("{}", &table).unwrap();
    assert!(out.warnings.is_empty() && out.model.coefficients[1] == 0.0);
    assert!((out.model.coefficients[0] - out.model.coefficients[4]).abs() < 1e-6);
}

#[test]
fn keeps_digits_of_columns_far_from_zero() {
    let n = 20_000;
    let x: Vec<f64> = (0..n).flat_map(|i| [1.7e9 + noise(i), 2024.0 + noise(i + n)]).collect();
    let y = (0..n).map(|i| 5.0 * noise(i) - noise(i + n)).collect();
    let table = Table::new(Schema::numeric(2, Task::Regression, 0, n), x, y).unwrap();
    let out = train::<LeastSquares<false>>("{}", &table).unwrap();
    // x itself is only known to 1e-7 there.
    assert!(apart(&out.model.coefficients, &[5.0, -1.0]) < 1e-6, "{:?}", out.model);
}

#[test]
fn one_row_gives_its_own_target() {
    let table = made(3, 1, Task::Regression, 0, |_, _| 7.5);
    for (name, warnings) in [("linear", 1), ("ridge", 0)] {
        let out = train_named(name, "{}", &table);
        assert_eq!((out.model.coefficients, out.model.intercept), (vec![0.0; 3], vec![7.5]));
        assert_eq!(out.warnings.len(), warnings);
    }
}

#[test]
fn no_features_give_the_mean_and_the_shares() {
    let table = made(0, 8, Task::Regression, 0, |_, i| i as f64);
    assert_eq!(train_named("linear", "{}", &table).model.intercept, [3.5]);
    let table = made(0, 8, Task::Classification, 2, |_, i| f64::from(u8::from(i < 2)));
    for name in ["logistic", "multinomial"] {
        let mut out = [0.0; 2];
        train_named(name, "{}", &table).model.score(&table.chunk(0..1), &mut out).unwrap();
        assert!(apart(&out, &[0.75, 0.25]) < 1e-9, "{name} {out:?}");
    }
}

#[test]
fn separated_classes_warn_and_have_not_converged() {
    let full = made(2, 300, Task::Classification, 2, |x, _| f64::from(u8::from(x[0] > 0.1)));
    // Quasi-complete: one side of the plane is pure, the plane itself is mixed.
    let x: Vec<f64> = (0..300)
        .flat_map(|i| [if i % 3 == 0 { 0.0 } else { noise(i).abs() + 0.1 }, noise(i + 900)])
        .collect();
    let y = (0..300).map(|i| f64::from(u8::from(i % 3 != 0 || i % 2 == 0))).collect();
    let quasi = Table::new(Schema::numeric(2, Task::Classification, 2, 300), x, y).unwrap();
    for table in [full, quasi] {
        let out = train_named("logistic", r#"{"penalty": "none"}"#, &table);
        assert!(!out.model.trace.converged && out.warnings[0].contains("separate"), "{:?}", out.warnings);
        let described = out.model.describe(table.schema());
        assert!(described.contains(&("converged".into(), "false".into())));
        let out = train_named("logistic", "{}", &table);
        assert!(out.model.trace.converged && out.warnings.is_empty());
    }
}

#[test]
fn too_few_passes_warn() {
    let table =
        made(4, 400, Task::Classification, 2, |x, i| f64::from(u8::from(x[0] + noise(i + 7777) > 0.0)));
    for name in ["logistic", "multinomial"] {
        let out = train_named(name, r#"{"max_iter": 2, "tol": 1e-12}"#, &table);
        assert!(!out.model.trace.converged && out.warnings[0].contains("max_iter"), "{name}");
    }
}

#[test]
fn logistic_points_three_classes_to_multinomial() {
    let table = made(2, 9, Task::Classification, 3, |_, i| (i % 3) as f64);
    let error = train::<Logistic>("{}", &table).err().unwrap();
    assert_eq!(error.kind, Kind::Unsupported);
    assert!(error.message.contains("found 3") && error.hint.unwrap().contains("multinomial"));
}

#[test]
fn one_class_and_no_rows_are_data_errors() {
    for (classes, n) in [(2, 10), (2, 0)] {
        let table = made(2, n, Task::Classification, classes, |_, _| 1.0);
        assert_eq!(train::<Logistic>("{}", &table).err().unwrap().kind, Kind::Data);
        assert_eq!(train::<Multinomial>("{}", &table).err().unwrap().kind, Kind::Data);
    }
    let table = made(2, 0, Task::Regression, 0, |_, _| 1.0);
    assert_eq!(train::<LeastSquares<false>>("{}", &table).err().unwrap().kind, Kind::Data);
}

#[test]
fn sums_that_overflow_are_data_errors() {
    let huge = |i: usize| if i == 3 { 1e200 } else { noise(i) };
    let x: Vec<f64> = (0..40).map(huge).collect();
    let y: Vec<f64> = (0..20).map(|i| (i % 2) as f64).collect();
    let table =
        |task, classes| Table::new(Schema::numeric(2, task, classes, 20), x.clone(), y.clone()).unwrap();
    assert_eq!(
        train::<LeastSquares<true>>("{}", &table(Task::Regression, 0)).err().unwrap().kind,
        Kind::Data
    );
    assert_eq!(train::<Logistic>("{}", &table(Task::Classification, 2)).err().unwrap().kind, Kind::Data);
    assert_eq!(train::<Multinomial>("{}", &table(Task::Classification, 2)).err().unwrap().kind, Kind::Data);
}

#[test]
fn multinomial_gives_an_absent_class_no_probability() {
    let table = made(3, 600, Task::Classification, 4, |x, i| {
        [0.0, 1.0, 3.0][if x[0] > 0.0 { 1 } else { 2 * (i % 2) }]
    });
    let out = train_named("multinomial", "{}", &table);
    assert!(out.model.trace.converged && out.warnings[0].contains("1 of 4"));
    let mut p = vec![0.0; 4 * 50];
    out.model.score(&table.chunk(0..50), &mut p).unwrap();
    assert!(p.chunks(4).all(|p| p[2] == 0.0 && (p.iter().sum::<f64>() - 1.0).abs() < 1e-12));
}

#[test]
fn two_classes_agree_between_logistic_and_multinomial() {
    // The softmax splits each coefficient over two classes, so the same penalty is half as strong there.
    let table = made(4, 500, Task::Classification, 2, |x, i| {
        f64::from(u8::from(x[0] - x[1] + noise(i + 9999) > 0.0))
    });
    let mut scores = [vec![0.0; 1000], vec![0.0; 1000]];
    let cases = [("logistic", r#"{"C": 1.0, "tol": 1e-10}"#), ("multinomial", r#"{"C": 0.5, "tol": 1e-10}"#)];
    for ((name, json), out) in cases.iter().zip(&mut scores) {
        train_named(name, json, &table).model.score(&table.chunk(0..500), out).unwrap();
    }
    assert!(apart(&scores[0], &scores[1]) < 1e-7, "{}", apart(&scores[0], &scores[1]));
}

#[test]
fn load_refuses_what_does_not_fit() {
    let table = made(3, 50, Task::Regression, 0, |x, _| x[0]);
    let model = train_named("linear", "{}", &table).model;
    let algorithm = Erased::<LeastSquares<false>>::NEW;
    let mut infinite = model.clone();
    infinite.coefficients[1] = f64::INFINITY;
    let mut short = model.clone();
    short.coefficients.pop();
    for bad in [infinite, short] {
        let bytes = crate::wire::encode(&bad).unwrap();
        assert_eq!(algorithm.load(&bytes, table.schema()).err().unwrap().kind, Kind::Corrupt);
    }
    let bytes = crate::wire::encode(&model).unwrap();
    let other = Schema::numeric(4, Task::Regression, 0, 50);
    assert_eq!(algorithm.load(&bytes, &other).err().unwrap().kind, Kind::Corrupt);
}

#[test]
#[ignore = "a measurement: cargo test --release -p damson-engine glm -- --ignored --nocapture"]
fn times_a_million_rows() {
    use std::time::Instant;
    let (n, d) = (1_000_000, 28);
    let signal = |x: &[f64], i: usize| x[0] - 2.0 * x[1] + x[2] * x[3] + noise(i + 1_000_000_007);
    let x: Vec<f64> = (0..n * d).map(noise).collect();
    for (name, task, classes) in [
        ("linear", Task::Regression, 0),
        ("ridge", Task::Regression, 0),
        ("logistic", Task::Classification, 2),
        ("multinomial", Task::Classification, 4),
    ] {
        let y = x.chunks(d).enumerate().map(|(i, x)| match classes {
            0 => signal(x, i),
            k => ((signal(x, i) + 2.0) / 4.0 * k as f64).clamp(0.0, k as f64 - 1.0).floor(),
        });
        let table = Table::new(Schema::numeric(d, task, classes, n), x.clone(), y.collect()).unwrap();
        for threads in [1, 2] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let start = Instant::now();
            let out = pool.install(|| train_named(name, "{}", &table));
            println!(
                "{name:12} {threads} threads {:5.0} ms, {} passes",
                start.elapsed().as_secs_f64() * 1e3,
                out.model.trace.iterations
            );
            if threads == 2 {
                let mut out_row = vec![0.0; out.model.outputs()];
                // A thousand rows, so that the time is not that of reading memory; the best of many batches.
                let batch = |_| {
                    let start = Instant::now();
                    for i in 0..10_000 {
                        let row = std::hint::black_box(i % 1000);
                        out.model.score(&table.chunk(row..row + 1), &mut out_row).unwrap();
                        std::hint::black_box(&out_row);
                    }
                    start.elapsed().as_secs_f64() * 1e5
                };
                let best = (0..200).map(batch).fold(f64::INFINITY, f64::min);
                println!("{name:12} one row scored in {best:.1} ns");
            }
        }
    }
}
