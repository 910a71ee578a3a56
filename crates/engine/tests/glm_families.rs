//! Families, links, penalties and standard errors of the GLM family agree with statsmodels and scikit-learn:
//! `tests/reference/glm_families.py` recorded their numbers. And what is refused, for each learner.

#![allow(clippy::unwrap_used, clippy::panic)] // Helpers of tests count as production code to clippy.

use engine::algorithms::find;
use engine::error::{Error, Kind, Result};
use engine::learner::{Coefficient, Cx, Model, Observer};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Schema, Task, Unit};
use flate2::read::GzDecoder;
use serde_json::Value;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

#[derive(Default)]
struct Listens(Mutex<Vec<String>>);

impl Observer for Listens {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.to_string());
    }
}

struct Fitted {
    model: Box<dyn Model>,
    warnings: Vec<String>,
}

fn train(algorithm: &str, params: &str, table: &Table) -> Result<Fitted> {
    let (listens, stop) = (Listens::default(), AtomicBool::new(false));
    let cx = Cx { seed: 1, stop: &stop, observer: &listens };
    let algorithm = find(algorithm)?;
    let info = algorithm.info();
    let values = Values::parse(info.name, info.params, params)?;
    let bytes = algorithm.fit(&values, table.schema(), table, &cx)?;
    let model = algorithm.load(&bytes, table.schema())?;
    Ok(Fitted { model, warnings: listens.0.into_inner().unwrap() })
}

fn refused(algorithm: &str, params: &str, table: &Table) -> Error {
    train(algorithm, params, table).err().unwrap_or_else(|| panic!("{algorithm} {params} was accepted"))
}

fn told(model: &dyn Model, schema: &Schema) -> Vec<Coefficient> {
    model.coefficients(schema, &vec![Unit::AS_GIVEN; schema.width()])
}

fn fact(model: &dyn Model, schema: &Schema, name: &str) -> Option<f64> {
    model.describe(schema).into_iter().find(|(n, _)| n == name).map(|(_, v)| v.parse().unwrap())
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().map_or(vec![], |items| items.iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect())
}

fn csv(name: &str) -> Vec<Vec<f64>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/reference/data/{name}.csv"));
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| l.split(',').map(|v| v.parse().unwrap()).collect()).collect()
}

/// Columns of a larger set by name, the target last; none where `DAMSON_DATA` does not have it.
fn large(file: &str, columns: &[&str], divide: f64) -> Option<Vec<Vec<f64>>> {
    let path: PathBuf = PathBuf::from(std::env::var_os("DAMSON_DATA")?).join(file);
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).ok()?).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next()?.split(',').collect();
    let places: Vec<usize> =
        columns.iter().map(|c| names.iter().position(|n| n.trim_matches('"') == *c).unwrap()).collect();
    let row = |l: &str| {
        let cells: Vec<&str> = l.split(',').collect();
        let mut row: Vec<f64> = places.iter().map(|p| cells[*p].parse().unwrap()).collect();
        *row.last_mut().unwrap() /= divide;
        row
    };
    Some(lines.map(row).collect())
}

fn rows(data: &str) -> Option<Vec<Vec<f64>>> {
    match data {
        "bike_sharing" => {
            large("bike_sharing/hour.csv.gz", &["hr", "workingday", "temp", "hum", "windspeed", "cnt"], 1.0)
        }
        "california_housing" => large(
            "california_housing/housing.csv.gz",
            &["longitude", "latitude", "housing_median_age", "median_income", "median_house_value"],
            1e5,
        ),
        small => Some(csv(small)),
    }
}

/// The rows of a recorded case.
fn recorded(case: &Value) -> Option<Table> {
    let all = rows(case["data"].as_str().unwrap())?;
    let columns: Vec<usize> = floats(&case["columns"]).iter().map(|c| *c as usize).collect();
    let (n, d) = (all.len(), columns.len());
    let mut y: Vec<f64> = all.iter().map(|r| *r.last().unwrap()).collect();
    match case["transform"].as_str() {
        None => {}
        Some("plus_one") => y.iter_mut().for_each(|y| *y += 1.0),
        Some("floor") => y.iter_mut().for_each(|y| *y = y.floor()),
        Some("terciles") => {
            y.iter_mut().for_each(|y| *y = f64::from(u8::from(*y > 100.0) + u8::from(*y > 180.0)));
        }
        Some(other) => panic!("no transform {other}"),
    }
    let mut x: Vec<f64> = all.iter().flat_map(|r| columns.iter().map(|c| r[*c])).collect();
    if case["standardise"] == true {
        for j in 0..d {
            let mean = x.iter().skip(j).step_by(d).sum::<f64>() / n as f64;
            let var = x.iter().skip(j).step_by(d).map(|v| (v - mean) * (v - mean)).sum::<f64>() / n as f64;
            x.iter_mut().skip(j).step_by(d).for_each(|v| *v = (*v - mean) / var.sqrt());
        }
    }
    let (task, classes) = match case["algorithm"].as_str().unwrap() {
        "logistic" | "multinomial" | "ordinal" => {
            (Task::Classification, y.iter().fold(0.0f64, |a, b| a.max(*b)) as usize + 1)
        }
        "glm" if case["data"] == "breast_cancer" => (Task::Classification, 2),
        _ => (Task::Regression, 0),
    };
    let mut table = Table::new(Schema::numeric(d, task, classes, n), x, y).unwrap();
    match &case["weighted"] {
        Value::Bool(true) => {
            table = table.with_weight((0..n).map(|i| 1.0 + (i % 3) as f64).collect()).unwrap()
        }
        Value::Number(c) => {
            let c = c.as_u64().unwrap() as usize;
            table = table.with_weight(all.iter().map(|r| r[c]).collect()).unwrap();
        }
        _ => {}
    }
    if case["offset"] == true {
        table = table.with_offset((0..n).map(|i| 0.1 * (i % 5) as f64).collect()).unwrap();
    }
    if case["clustered"] == true {
        table = table.with_group((0..n).map(|i| (i % 40) as u64).collect()).unwrap();
    }
    Some(table)
}

/// The largest relative difference.
fn apart(found: &[f64], expected: &[f64], floor: f64) -> f64 {
    assert_eq!(found.len(), expected.len(), "{found:?} {expected:?}");
    found.iter().zip(expected).fold(0.0, |worst: f64, (f, e)| {
        let off = (f - e).abs() / e.abs().max(floor);
        if off.is_nan() { f64::INFINITY } else { worst.max(off) }
    })
}

/// The p-values and statistics of coefficients that are zero but for rounding differ by their errors' digits.
#[test]
fn agrees_with_statsmodels_and_scikit_learn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/glm_families.json");
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = vec![];
    for case in all["cases"].as_array().unwrap() {
        let (algorithm, data) = (case["algorithm"].as_str().unwrap(), case["data"].as_str().unwrap());
        if find(algorithm).is_err() {
            wrong.push(format!("there is no {algorithm}"));
            continue;
        }
        let Some(table) = recorded(case) else {
            println!("skipped: {algorithm} on {data}, which DAMSON_DATA does not have");
            continue;
        };
        let label = format!(
            "{algorithm:17} {data:18} {}{}{}{}",
            case["params"],
            if case["weighted"].is_null() { "" } else { " weighted" },
            if case["offset"] == true { " offset" } else { "" },
            if case["clustered"] == true { " clustered" } else { "" }
        );
        let Fitted { model, warnings } = match train(algorithm, &case["params"].to_string(), &table) {
            Ok(fitted) => fitted,
            Err(e) => {
                wrong.push(format!("{label}: {e}"));
                continue;
            }
        };
        let schema = table.schema();
        let mut rows = told(model.as_ref(), schema);
        if case["params"]["fit_intercept"] == false {
            rows.remove(0);
        }
        let column = |of: fn(&Coefficient) -> f64| rows.iter().map(of).collect::<Vec<f64>>();
        let mut off = vec![];
        let scale = floats(&case["estimate"]).iter().fold(0.0f64, |a, b| a.max(b.abs()));
        // Penalised models are recorded from optimisers that stop at 1e-8 or so of the largest coefficient.
        let exact = !case["std_error"].is_null();
        let floor = if exact { 1e-4 * scale } else { scale };
        off.push(("estimate", apart(&column(|c| c.estimate), &floats(&case["estimate"]), floor)));
        if exact {
            off.push(("std_error", apart(&column(|c| c.std_error), &floats(&case["std_error"]), 0.0)));
        }
        if !case["p_value"].is_null() {
            off.push(("statistic", apart(&column(|c| c.statistic), &floats(&case["statistic"]), 1e-2)));
            off.push(("p_value", apart(&column(|c| c.p_value), &floats(&case["p_value"]), 1e-30)));
            let bounds = [column(|c| c.lower), column(|c| c.upper)].concat();
            let expected = [floats(&case["lower"]), floats(&case["upper"])].concat();
            off.push(("bounds", apart(&bounds, &expected, 1e-4 * scale)));
        }
        for (name, value) in case["facts"].as_object().unwrap() {
            let found = fact(model.as_ref(), schema, name).unwrap_or(f64::NAN);
            let at = ["facts", "alpha"][usize::from(name == "alpha")];
            off.push((at, apart(&[found], &[value.as_f64().unwrap()], 1e-30)));
            if off.last().unwrap().1 > 1e-6 {
                println!("    {name}: {found}, expected {value}");
            }
        }
        let iterations = fact(model.as_ref(), schema, "iterations").unwrap();
        let listed: Vec<String> = off.iter().map(|(n, v)| format!("{n} {v:.0e}")).collect();
        println!("{label} passes {iterations} {}", listed.join(" "));
        let tolerance = if exact { 1e-6 } else { 1e-5 };
        if off.iter().any(|(_, v)| *v > tolerance) || !warnings.is_empty() {
            wrong.push(format!("{label}: {} {warnings:?}", listed.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Numbers in -0.5 .. 0.5 that look random and are the same everywhere.
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
fn targets_that_a_family_does_not_have_are_data_errors() {
    let negative = made(2, 50, Task::Regression, 0, |_, i| i as f64 - 3.0);
    let zero = made(2, 50, Task::Regression, 0, |_, i| i as f64);
    for name in ["poisson", "negative_binomial", "tweedie", "gamma"] {
        let error = refused(name, "{}", &negative);
        assert!(error.kind == Kind::Data && error.message.contains("-3"), "{error}");
    }
    assert!(refused("gamma", "{}", &zero).message.contains("above 0"));
    assert!(refused("glm", r#"{"family": "binomial"}"#, &zero).message.contains("0 .. 1"));
    let nothing = made(2, 50, Task::Regression, 0, |_, _| 0.0);
    assert!(refused("poisson", "{}", &nothing).message.contains("all targets are 0"));
    for name in ["poisson", "negative_binomial", "tweedie", "gamma", "glm"] {
        assert_eq!(refused(name, "{}", &made(2, 0, Task::Regression, 0, |_, _| 1.0)).kind, Kind::Data);
    }
}

#[test]
fn combinations_that_make_no_sense_are_parameter_errors() {
    let table = made(2, 60, Task::Regression, 0, |_, i| 1.0 + (i % 5) as f64);
    let error = refused("poisson", r#"{"link": "probit"}"#, &table);
    assert!(error.kind == Kind::Parameter && error.message.contains("log, identity, sqrt"), "{error}");
    assert!(refused("gamma", r#"{"link": "logarithm"}"#, &table).message.contains("logarithm"));
    assert_eq!(refused("poisson", r#"{"alpha": 1, "cov_type": "HC0"}"#, &table).kind, Kind::Parameter);
    assert_eq!(refused("negative_binomial", r#"{"cov_type": "HC3"}"#, &table).kind, Kind::Unsupported);
    assert_eq!(refused("negative_binomial", r#"{"link": "identity"}"#, &table).kind, Kind::Unsupported);
    for name in ["linear", "poisson"] {
        let error = refused(name, r#"{"cov_type": "cluster"}"#, &table);
        assert!(error.kind == Kind::Parameter && error.hint.unwrap().contains("group_column"));
        let one = table.clone().with_group(vec![7; 60]).unwrap();
        assert_eq!(refused(name, r#"{"cov_type": "cluster"}"#, &one).kind, Kind::Data);
    }
    let classes = made(2, 60, Task::Classification, 2, |_, i| (i % 2) as f64);
    assert_eq!(refused("glm", r#"{"family": "poisson"}"#, &classes).kind, Kind::Parameter);
    assert_eq!(refused("logistic", r#"{"cov_type": "HC0"}"#, &classes).kind, Kind::Parameter);
    let three = made(2, 60, Task::Classification, 3, |_, i| (i % 3) as f64);
    assert!(refused("glm", "{}", &three).hint.unwrap().contains("ordinal"));
}

#[test]
fn separation_and_collinearity_are_warnings() {
    let split = made(2, 200, Task::Classification, 2, |x, _| f64::from(u8::from(x[0] > 0.0)));
    for (name, params) in [("logistic", r#"{"penalty": "none"}"#), ("glm", r#"{"link": "probit"}"#)] {
        let Fitted { model, warnings } = train(name, params, &split).unwrap();
        assert!(warnings.iter().any(|w| w.contains("separate")), "{name}: {warnings:?}");
        assert!(told(model.as_ref(), split.schema()).iter().all(|c| c.std_error.is_nan()));
    }
    let n = 300;
    let x: Vec<f64> = (0..n).flat_map(|i| [noise(i), 2.0 * noise(i), noise(i + n), 5.0]).collect();
    let y = (0..n).map(|i| (3.0 + 4.0 * noise(i) + noise(i + 2 * n)).exp().floor()).collect();
    let table = Table::new(Schema::numeric(4, Task::Regression, 0, n), x, y).unwrap();
    for name in ["linear", "poisson", "negative_binomial", "tweedie"] {
        let Fitted { model, warnings } = train(name, "{}", &table).unwrap();
        assert!(warnings.len() == 1 && warnings[0].ends_with("x2, x4"), "{name}: {warnings:?}");
        let rows = told(model.as_ref(), table.schema());
        for (i, row) in rows.iter().enumerate().take(5) {
            let dropped = i == 2 || i == 4;
            assert_eq!((row.estimate == 0.0, row.std_error.is_nan()), (dropped, dropped), "{name}: {row:?}");
        }
    }
}

#[test]
fn coefficients_are_in_the_users_units() {
    // The same rows, once as they are and once standardised by hand: the table must not change.
    let (n, d) = (400, 2);
    let raw: Vec<f64> = (0..n).flat_map(|i| [100.0 + 30.0 * noise(i), -5.0 + 0.1 * noise(i + n)]).collect();
    let y: Vec<f64> = (0..n).map(|i| (1.0 + 3.0 * noise(i) + 4.0 * noise(i + 3 * n)).exp().floor()).collect();
    let units = [Unit { center: 97.0, factor: 0.04 }, Unit { center: -5.2, factor: 12.0 }];
    let scaled: Vec<f64> =
        raw.iter().enumerate().map(|(i, x)| (x - units[i % d].center) * units[i % d].factor).collect();
    let table = |x: Vec<f64>| Table::new(Schema::numeric(d, Task::Regression, 0, n), x, y.clone()).unwrap();
    for (name, params) in [
        ("linear", r#"{"cov_type": "HC3"}"#),
        ("poisson", "{}"),
        ("negative_binomial", "{}"),
        ("gamma", r#"{"cov_type": "HC0"}"#),
    ] {
        let y: Vec<f64> = y.iter().map(|y| y + 1.0).collect();
        let with = |x: &[f64]| table(x.to_vec());
        let plus = |t: Table, x: &[f64]| Table::new(t.schema().clone(), x.to_vec(), y.clone()).unwrap();
        let (a, b) = (plus(with(&raw), &raw), plus(with(&scaled), &scaled));
        let of_raw = told(train(name, params, &a).unwrap().model.as_ref(), a.schema());
        let of_scaled = train(name, params, &b).unwrap().model.coefficients(b.schema(), &units);
        for (x, y) in of_raw.iter().zip(&of_scaled) {
            let numbers =
                |c: &Coefficient| [c.estimate, c.std_error, c.statistic, c.p_value, c.lower, c.upper];
            assert!(x.std_error.is_finite(), "{name} {x:?}");
            assert!(apart(&numbers(x), &numbers(y), 1e-9) < 1e-6, "{name}\n{x:?}\n{y:?}");
        }
    }
}

#[test]
fn equal_counts_have_no_dispersion() {
    let table = made(1, 500, Task::Regression, 0, |x, _| (10.0 + 10.0 * x[0]).round());
    let warnings = train("negative_binomial", "{}", &table).unwrap().warnings;
    assert!(warnings.iter().any(|w| w.contains("use poisson")), "{warnings:?}");
}
