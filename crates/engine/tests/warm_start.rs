//! Boosting that goes on from a model: against LightGBM's `init_model`, and against one training of all rounds.
//! `reference/warm_start.py` made the recordings.

#![allow(clippy::unwrap_used)]

use engine::algorithms::find;
use engine::decision::Options;
use engine::frame::{Column, Data, Dictionary, Frame};
use engine::init_model::InitModel;
use engine::learner::{Algorithm, Cx, Model, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Feature, FeatureKind, Schema, Task};
use engine::split::Split;
use engine::train::{Request, Trained, train};
use engine::{Error, Kind, Result};
use serde_json::Value;
use std::sync::atomic::AtomicBool;

static NEVER: AtomicBool = AtomicBool::new(false);

fn cx(seed: u64) -> Cx<'static> {
    Cx { seed, stop: &NEVER, observer: &Silent }
}

fn boosting() -> &'static dyn Algorithm {
    find("boosting").unwrap()
}

fn values(json: &str) -> Values {
    Values::parse("boosting", boosting().info().params, json).unwrap()
}

fn fit(table: &Table, params: &str, from: Option<&[u8]>, threads: usize) -> Result<Vec<u8>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let fit = || boosting().fit_from(&values(params), table.schema(), table, from, &cx(5));
    Ok(pool.install(fit)?.0)
}

/// The same with shards that forget everything between rounds.
fn fit_in_shards(table: &Table, params: &str, from: Option<&[u8]>, shards: usize) -> Vec<u8> {
    let (params, schema, cx) = (values(params), table.schema(), cx(5));
    let mut job = boosting().start_from(&params, schema, from, &cx).unwrap();
    loop {
        let state = job.state().unwrap();
        let mut sum = boosting().attach(&params, schema, &state).unwrap();
        sum.finish(&cx).unwrap();
        for s in 0..shards {
            let mut shard = boosting().attach(&params, schema, &state).unwrap();
            let (from, to) = (schema.rows * s / shards, schema.rows * (s + 1) / shards);
            shard.accumulate(&table.chunk(from..to), &cx).unwrap();
            shard.finish(&cx).unwrap();
            sum.combine(&shard.partial().unwrap()).unwrap();
        }
        if let Some(model) = job.update(&sum.partial().unwrap(), &cx).unwrap() {
            return model;
        }
    }
}

fn schema(levels: &[u32], task: Task, classes: usize, rows: usize) -> Schema {
    let features = levels.iter().enumerate().map(|(i, levels)| Feature {
        name: format!("x{i}"),
        kind: if *levels == 0 { FeatureKind::Numeric } else { FeatureKind::Category { levels: *levels } },
    });
    Schema { features: features.collect(), image: None, task, classes, positive: vec![], rows }
}

fn score(bytes: &[u8], table: &Table) -> Vec<f64> {
    let model = boosting().load(bytes, table.schema()).unwrap();
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

fn model(bytes: &[u8], table: &Table) -> Box<dyn Model> {
    boosting().load(bytes, table.schema()).unwrap()
}

fn fact(bytes: &[u8], table: &Table, name: &str) -> String {
    model(bytes, table).describe(table.schema()).into_iter().find(|f| f.0 == name).unwrap().1
}

fn numbers(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// Raw scores as LightGBM has them, of what our model gives.
fn raw(case: &str, classes: usize, out: &[f64]) -> Vec<f64> {
    match classes {
        2 => out.chunks(2).map(|p| (p[1] / p[0]).ln()).collect(),
        0 if case.ends_with("poisson") => out.iter().map(|p| p.ln()).collect(),
        // Raw scores of several classes are known but for a constant.
        _ => out.to_vec(),
    }
}

fn softmax(row: &[f64]) -> Vec<f64> {
    let sum: f64 = row.iter().map(|s| s.exp()).sum();
    row.iter().map(|s| s.exp() / sum).collect()
}

#[test]
fn goes_on_as_lightgbm_does() {
    let reference: Value = serde_json::from_str(include_str!("reference/warm_start.json")).unwrap();
    for case in reference["cases"].as_array().unwrap() {
        let (name, classes) = (case["name"].as_str().unwrap(), case["classes"].as_u64().unwrap() as usize);
        let rows: Vec<Vec<f64>> = case["x"].as_array().unwrap().iter().map(numbers).collect();
        let y = numbers(&case["y"]);
        let task = if classes == 0 { Task::Regression } else { Task::Classification };
        let mut levels = vec![0; rows[0].len()];
        numbers(&case["category"]).iter().for_each(|f| levels[*f as usize] = 8);
        let table = |step: usize, part: usize| {
            let pick = |i: &usize| i % step == part;
            let chosen: Vec<usize> = (0..rows.len()).filter(pick).collect();
            let x = chosen.iter().flat_map(|i| rows[*i].clone()).collect();
            let schema = schema(&levels, task, classes, chosen.len());
            Table::new(schema, x, chosen.iter().map(|i| y[*i]).collect()).unwrap()
        };
        let objective = if name.ends_with("poisson") { "poisson" } else { "auto" };
        let params = format!(
            r#"{{"trees": {}, "num_leaves": 7, "min_data_in_leaf": 10, "learning_rate": 0.2, "min_data_per_group": 10,
                "objective": "{objective}"}}"#,
            case["rounds"]
        );
        let first = fit(&table(2, 0), &params, None, 2).unwrap();
        let both = fit(&table(2, 1), &params, Some(&first), 2).unwrap();
        let all = table(1, 0);
        for (part, what, bytes) in [(0, "first", &first), (1, "both", &both)] {
            let (ours, mut theirs) = (raw(name, classes, &score(bytes, &all)), numbers(&case[what]));
            if classes > 2 {
                theirs = theirs.chunks(classes).flat_map(softmax).collect();
            }
            assert_eq!(ours.len(), theirs.len());
            // Of the rows that it learnt from last: between two values of those a threshold may lie anywhere.
            let width = if classes > 2 { classes } else { 1 };
            let mine = |values: &[f64]| -> Vec<f64> {
                values.chunks(width).skip(part).step_by(2).flatten().copied().collect()
            };
            let (ours, theirs) = (mine(&ours), mine(&theirs));
            let size = theirs.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-6 * size, "{name} {what}: a score differs by {worst}");
        }
    }
}

/// Rows with numbers, missing values and a category of 12 levels.
fn mixed(rows: usize, task: Task, classes: usize) -> Table {
    let mut state = 7u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let (mut x, mut y) = (vec![], vec![]);
    for _ in 0..rows {
        let missing = draw() < 0.2;
        let row = [draw() * 10.0, if missing { f64::NAN } else { draw() }, (draw() * 12.0).floor()];
        let value =
            row[0].sin() * 2.0 + if missing { 1.0 } else { row[1] } + (row[2] * 1.7).cos() + draw() + 3.0;
        y.push(match task {
            Task::Regression => value.max(0.0),
            _ => (value * classes as f64 / 7.0).floor().clamp(0.0, classes as f64 - 1.0),
        });
        x.extend(row);
    }
    Table::new(schema(&[0, 0, 12], task, classes, rows), x, y).unwrap()
}

const REGRESSION: (Task, usize) = (Task::Regression, 0);
const BINARY: (Task, usize) = (Task::Classification, 2);
const CLASSES: (Task, usize) = (Task::Classification, 4);

#[test]
fn two_halves_on_the_same_rows_are_the_whole() {
    for ((task, classes), params) in [
        (BINARY, r#""num_leaves": 9"#),
        (CLASSES, r#""num_leaves": 9"#),
        (BINARY, r#""bagging_fraction": 0.6, "bagging_freq": 3, "feature_fraction": 0.7"#),
        (BINARY, r#""data_sample_strategy": "goss""#),
        (REGRESSION, r#""objective": "regression_l1""#),
        (REGRESSION, r#""objective": "quantile", "alpha": 0.8"#),
        (REGRESSION, r#""objective": "poisson""#),
        (REGRESSION, r#""objective": "huber""#),
        (REGRESSION, r#""num_leaves": 9"#),
        (REGRESSION, r#""num_leaves": 9, "min_data_per_group": 10"#),
    ] {
        let table = mixed(3000, task, classes);
        let rounds = |n: usize| format!(r#"{{"trees": {n}, {params}}}"#);
        let whole = fit(&table, &rounds(24), None, 2).unwrap();
        let half = fit(&table, &rounds(12), None, 2).unwrap();
        let both = fit(&table, &rounds(12), Some(&half), 2).unwrap();
        assert_eq!(fact(&both, &table, "trees"), fact(&whole, &table, "trees"), "{params}");
        assert_eq!(fact(&both, &table, "rounds trained"), "24");
        assert_eq!(both, whole, "{task:?} {params}");
    }
}

#[test]
fn threads_shards_and_repetition_do_not_change_a_byte() {
    let sampled = r#"{"trees": 5, "num_leaves": 12, "bagging_fraction": 0.7, "feature_fraction": 0.8,
        "early_stopping_round": 3}"#;
    for ((task, classes), params) in [
        (REGRESSION, r#"{"trees": 4}"#),
        (BINARY, sampled),
        (CLASSES, r#"{"trees": 4}"#),
        (REGRESSION, sampled),
    ] {
        let first = fit(&mixed(900, task, classes), r#"{"trees": 3, "num_leaves": 6}"#, None, 1).unwrap();
        let table = mixed(20_000, task, classes);
        let one = fit(&table, params, Some(&first), 1).unwrap();
        assert_eq!(one, fit(&table, params, Some(&first), 1).unwrap());
        assert_eq!(one, fit(&table, params, Some(&first), 3).unwrap());
        let small = mixed(1100, task, classes);
        let one = fit(&small, params, Some(&first), 1).unwrap();
        for shards in [1, 3] {
            assert_eq!(one, fit_in_shards(&small, params, Some(&first), shards), "{shards} shards {params}");
        }
    }
}

#[test]
fn early_stopping_keeps_the_first_model_at_least() {
    // Noise: nothing is to be learnt, and the rows held out say so.
    let rows = 2000;
    let noise: Vec<f64> = (0..rows).map(|i| f64::from((i * 7919 + 13) % 1009 % 97)).collect();
    let x = (0..rows).flat_map(|i| [f64::from(i * 31 % 977), f64::from(i % 613), f64::NAN]).collect();
    let of = schema(&[0, 0, 12], Task::Regression, 0, rows as usize);
    let table = Table::new(of, x, noise).unwrap();
    let first = fit(&mixed(900, Task::Regression, 0), r#"{"trees": 3}"#, None, 1).unwrap();
    let params = r#"{"trees": 200, "learning_rate": 0.9, "early_stopping_round": 5, "num_leaves": 63}"#;
    let both = fit(&table, params, Some(&first), 2).unwrap();
    let trees: usize = fact(&both, &table, "trees").parse().unwrap();
    let rounds: usize = fact(&both, &table, "rounds trained").parse().unwrap();
    assert!((3..100).contains(&trees) && rounds == trees + 5, "{trees} trees, {rounds} rounds");
}

#[test]
fn another_objective_or_shape_is_refused() {
    let table = mixed(500, Task::Regression, 0);
    let first = fit(&table, r#"{"trees": 3}"#, None, 1).unwrap();
    let error = fit(&table, r#"{"objective": "huber"}"#, Some(&first), 1).unwrap_err();
    assert_eq!(error.kind, Kind::Parameter);
    assert_eq!(error.message, r#"the objective is "huber", and that of init_model is "regression""#);
    let other = mixed(500, Task::Classification, 2);
    assert_eq!(fit(&other, r#"{"trees": 3}"#, Some(&first), 1).unwrap_err().kind, Kind::Corrupt);
    assert_eq!(fit(&table, r#"{"trees": 3}"#, Some(&first[..40]), 1).unwrap_err().kind, Kind::Corrupt);
    let ridge = find("ridge").unwrap();
    let none = Values::parse("ridge", ridge.info().params, "{}").unwrap();
    let error = ridge.fit_from(&none, table.schema(), &table, Some(&first), &cx(1)).unwrap_err();
    assert!(matches!(error.kind, Kind::Unsupported | Kind::Corrupt));
}

/// Homes: two numbers, a text, a price, a class, and a text column that is a number.
fn homes(rows: usize, from: usize) -> Frame {
    let number = |f: fn(usize) -> f64| Data::F64((from..from + rows).map(f).collect());
    let text = |f: fn(usize) -> &'static str| {
        let mut d = Dictionary::default();
        for i in from..from + rows {
            let code = d.intern(f(i));
            d.codes.push(code);
        }
        Data::Text(d)
    };
    let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
    let columns = vec![
        column("size", number(|i| (i * 7919 % 1009) as f64)),
        column("rooms", number(|i| (i % 7) as f64)),
        column("place", text(|i| ["sea", "hill", "town"][i % 3])),
        column(
            "price",
            number(|i| (i * 7919 % 1009) as f64 * 2.0 + (i % 7) as f64 * 30.0 + (i % 3) as f64 * 100.0),
        ),
        column("kind", text(|i| if i * 7919 % 1009 > 500 { "large" } else { "small" })),
        column("other", text(|i| ["large", "huge"][i % 2])),
    ];
    Frame { rows, columns }
}

fn request(target: &str) -> Request {
    Request {
        target: Some(target.into()),
        features: Some(["size", "rooms", "place"].map(String::from).to_vec()),
        params: r#"{"trees": 10}"#.into(),
        decision: Options::default(),
        split: Split::None,
        seed: 3,
        ..Request::default()
    }
}

fn resumed(trained: &Trained, mut request: Request) -> Result<Request> {
    request.go_on_from(InitModel::open("homes@1", &trained.artifact)?)?;
    Ok(request)
}

#[test]
fn a_training_goes_on_from_an_artifact() {
    let first = train(homes(600, 0), &request("price"), &cx(3)).unwrap();
    let unsaid = Request { features: None, ..request("price") };
    let both = train(homes(600, 0), &resumed(&first, unsaid).unwrap(), &cx(3)).unwrap();
    let whole =
        train(homes(600, 0), &Request { params: r#"{"trees": 20}"#.into(), ..request("price") }, &cx(3))
            .unwrap();
    assert_eq!(both.card.inputs, whole.card.inputs);
    assert_eq!(both.metrics, whole.metrics);
    assert_eq!(both.rounds.last(), whole.rounds.last());
    assert_eq!(both.rounds.first().map(|r| r.round), Some(11));
    // Other rows, of which some are of one class more seldom; categories keep their numbers.
    let first = train(homes(600, 0), &request("kind"), &cx(3)).unwrap();
    let more = train(homes(200, 5000), &resumed(&first, request("kind")).unwrap(), &cx(3)).unwrap();
    assert_eq!(more.card.classes, ["large", "small"]);
    // A model that came out of it serves again.
    assert!(resumed(&more, request("kind")).is_ok());
}

#[test]
fn requests_that_do_not_fit_the_model_are_refused() {
    let price = train(homes(300, 0), &request("price"), &cx(3)).unwrap();
    let kind = train(homes(300, 0), &request("kind"), &cx(3)).unwrap();
    let refused = |first: &Trained, request: Request| -> Error {
        match resumed(first, request) {
            Ok(request) => train(homes(300, 0), &request, &cx(3)).unwrap_err(),
            Err(e) => e,
        }
    };
    for (first, request, expected, message) in [
        (
            &price,
            Request { algorithm: "ridge".into(), ..request("price") },
            Kind::Parameter,
            r#"the algorithm is "ridge", and that of init_model "homes@1" is "boosting""#,
        ),
        (
            &price,
            Request { features: Some(vec!["size".into(), "rooms".into()]), ..request("price") },
            Kind::Parameter,
            r#"features are size, rooms, and those of init_model "homes@1" are size, rooms, place"#,
        ),
        (
            &price,
            Request { task: Some(Task::Classification), ..request("kind") },
            Kind::Parameter,
            r#"task is classification, and that of init_model "homes@1" is regression"#,
        ),
        (
            &price,
            Request { target: None, ..request("x") },
            Kind::Parameter,
            r#"init_model "homes@1" has a target, and no target is named"#,
        ),
        (
            &price,
            request("kind"),
            Kind::Type,
            r#"target column "kind" is not a number, expected one for regression"#,
        ),
        (
            &kind,
            request("other"),
            Kind::Data,
            r#"target column "other" is "huge", which is no class of the model"#,
        ),
        (
            &kind,
            Request { group_by: vec!["place".into()], features: None, ..request("kind") },
            Kind::Unsupported,
            "models by group cannot go on from a model",
        ),
    ] {
        let error = refused(first, request);
        assert_eq!((error.kind, error.message.as_str()), (expected, message));
    }
    let scaled = Request { preprocess: r#"{"missing_indicator": true}"#.into(), ..request("price") };
    assert!(
        refused(&price, scaled)
            .message
            .starts_with(r#"preprocess differs from that of init_model "homes@1""#)
    );
    let ridge = train(
        homes(300, 0),
        &Request { algorithm: "ridge".into(), params: "{}".into(), ..request("price") },
        &cx(3),
    )
    .unwrap();
    let error = refused(&ridge, request("price"));
    assert_eq!(error.kind, Kind::Unsupported);
    assert_eq!(
        error.message,
        r#"init_model "homes@1" is of algorithm "ridge", which cannot go on from a model"#
    );
    assert_eq!(InitModel::open("x", b"no model").unwrap_err().kind, Kind::Corrupt);
    // A column that changed its type.
    let mut frame = homes(300, 0);
    frame.columns.swap(0, 2);
    (frame.columns[0].name, frame.columns[2].name) = ("size".into(), "place".into());
    let error = train(frame, &resumed(&price, request("price")).unwrap(), &cx(3)).unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::Type, r#"column "size" is text, expected a number"#)
    );
}
