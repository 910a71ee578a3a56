//! Agreement with scikit-learn (`tests/reference/pca.py` recorded its numbers), wide rows, and the hard cases.

use super::{Model, Pca};
use crate::error::{Kind, Result};
use crate::learner::{Cx, Learner, Model as _, Silent};
use crate::params::Values;
use crate::run::{Table, fit};
use crate::schema::{Schema, Task};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::AtomicBool;

fn train(params: &Value, table: &Table) -> Result<Model> {
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: 5, stop: &stop, observer: &Silent };
    let values = Values::parse("pca", Pca::INFO.params, &params.to_string())?;
    let model = fit::<Pca>(&Pca::params(&values, table.schema())?, table.schema(), table, &cx)?;
    model.validate(table.schema())?;
    Ok(model)
}

fn table(x: Vec<f64>, width: usize) -> Table {
    let schema = Schema::numeric(width, Task::Embedding, 0, x.len() / width);
    Table::new(schema, x, vec![]).unwrap()
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().map_or_else(|| vec![v.as_f64().unwrap()], |items| items.iter().flat_map(floats).collect())
}

fn assert_near(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= tolerance * e.abs().max(1.0), "{what}: value {i} is {f}, not {e}");
    }
}

fn noise(i: usize) -> f64 {
    ((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1 << 24) as f64 - 0.5
}

#[test]
fn agrees_with_scikit_learn() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let all: Value = serde_json::from_str(&read("pca.json")).unwrap();
    for case in all["cases"].as_array().unwrap() {
        let text = read(&format!("data/{}.csv", case["data"].as_str().unwrap()));
        let values = |l: &str| l.split(',').map(|v| v.parse().unwrap()).collect::<Vec<f64>>();
        let mut rows: Vec<Vec<f64>> = text.lines().map(values).collect();
        rows.iter_mut().for_each(|r| r.truncate(r.len() - 1));
        let (n, width) = (rows.len(), rows[0].len());
        let mut x = rows.concat();
        for j in (0..width).filter(|_| case["standardise"] == true) {
            let mean = rows.iter().map(|r| r[j]).sum::<f64>() / n as f64;
            let deviation = (rows.iter().map(|r| (r[j] - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
            x.iter_mut().skip(j).step_by(width).for_each(|v| *v = (*v - mean) / deviation);
        }
        let table = table(x, width);
        let model = train(&case["params"], &table).unwrap();
        let name = format!("{} {}", case["data"], case["params"]);
        assert_near(&model.components, &floats(&case["components"]), 1e-8, &name);
        assert_near(&model.explained_variance, &floats(&case["explained_variance"]), 1e-10, &name);
        let ratio = model.explained_variance_ratio();
        assert_near(&ratio, &floats(&case["explained_variance_ratio"]), 1e-10, &name);
        let k = model.outputs();
        let mut scores = vec![0.0; n * k];
        model.score(&table.chunk(0..n), &mut scores).unwrap();
        let some: Vec<f64> = scores.chunks(k).step_by(50).flatten().copied().collect();
        assert_near(&some, &floats(&case["rows"]), 1e-8, &name);
        // The way back loses what the other components have.
        let mut back = vec![0.0; n * width];
        assert!(model.restore(&scores, &mut back));
        let lost: f64 = table.chunk(0..n).x.iter().zip(&back).map(|(a, b)| (a - b) * (a - b)).sum();
        let share = 1.0 - lost / (n as f64 - 1.0) / model.total_variance;
        assert!((share - model.metrics()[0].1).abs() < 1e-10, "{name}: {share}");
    }
}

#[test]
fn projection_of_wide_rows_finds_the_components_of_their_covariance() {
    // 60 rows of 1200 features, which vary along 5 directions and a little along all others.
    let (n, d) = (60, 1200);
    let value = |i: usize, j: usize| {
        let strong = |c: usize| 10.0 / (c + 1) as f64 * noise(i * 31 + c) * noise(7_000_003 + c * d + j);
        7.0 + (0..5).map(strong).sum::<f64>() + 1e-3 * noise(50_000_017 + i * d + j)
    };
    let wide = table((0..n * d).map(|at| value(at / d, at % d)).collect(), d);
    let exact = train(&json!({"n_components": 4, "svd_solver": "covariance_eigh"}), &wide).unwrap();
    let found = train(&json!({"n_components": 4}), &wide).unwrap();
    assert_near(&found.explained_variance, &exact.explained_variance, 1e-9, "variances");
    assert_near(&found.components, &exact.components, 1e-8, "components");
    assert!((found.total_variance / exact.total_variance - 1.0).abs() < 1e-12);
}

#[test]
fn a_weight_counts_rows() {
    let x: Vec<f64> = (0..90).map(noise).collect();
    let weight: Vec<f64> = (0..30).map(|i| (1 + i % 3) as f64).collect();
    let twice = |i: usize| x[i * 3..i * 3 + 3].repeat(1 + i % 3);
    let a = train(&json!({}), &table(x.clone(), 3).with_weight(weight).unwrap()).unwrap();
    let b = train(&json!({}), &table((0..30).flat_map(twice).collect(), 3)).unwrap();
    assert_near(&a.components, &b.components, 1e-12, "components");
    assert_near(&a.explained_variance, &b.explained_variance, 1e-12, "variances");
}

#[test]
fn refuses_wrong_parameters_and_one_row() {
    let ten = table((0..30).map(noise).collect(), 3);
    let refused = |params: Value| train(&params, &ten).unwrap_err();
    for wrong in [json!(0), json!(4), json!(1.5), json!(-0.5), json!("all"), json!([2])] {
        let error = refused(json!({"n_components": wrong}));
        assert!(error.kind == Kind::Parameter && error.message.contains("n_components"), "{error}");
    }
    assert_eq!(refused(json!({"n_components": 0.5, "svd_solver": "randomized"})).kind, Kind::Parameter);
    assert_eq!(train(&json!({}), &table(vec![1.0, 2.0], 2)).unwrap_err().kind, Kind::Data);
    let huge = table(vec![1e200, -1e200, 0.0, 1.0], 1);
    assert_eq!(train(&json!({}), &huge).unwrap_err().kind, Kind::Data);
}

#[test]
fn constant_columns_have_no_part_in_components() {
    let x: Vec<f64> = (0..40).flat_map(|i| [noise(i), 3.0, noise(i + 99)]).collect();
    let model = train(&json!({}), &table(x, 3)).unwrap();
    assert_eq!(model.explained_variance[2], 0.0);
    assert!(model.components[1] == 0.0 && model.components[4] == 0.0);
    let same = train(&json!({"whiten": true}), &table(vec![2.0; 12], 3)).unwrap();
    let mut out = vec![1.0; 6];
    same.score(&table(vec![2.0; 6], 3).chunk(0..2), &mut out).unwrap();
    assert_eq!((out, same.metrics()[0].1), (vec![0.0; 6], 0.0));
}
