//! The pipeline from a frame to scores: every kind of column, one row as a block, threads, folds, bad input.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::artifact;
use engine::fold::{ColumnType, Fold, SourceColumn, train_folded};
use engine::frame::{Column, Data, Dictionary, Frame, Value};
use engine::learner::{Cx, Silent};
use engine::scorer::Scorer;
use engine::split::Split;
use engine::train::{Request, Trained, train};
use engine::{Error, Kind};
use std::sync::atomic::AtomicBool;

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 7, stop: &GO, observer: &Silent }
}

fn column(name: &str, data: Data) -> Column {
    Column { name: name.into(), data, missing: vec![] }
}

fn texts(values: impl Iterator<Item = Option<String>>) -> Data {
    let mut d = Dictionary::default();
    for v in values {
        let code = v.map_or(Dictionary::MISSING, |v| d.intern(&v));
        d.codes.push(code);
    }
    Data::Text(d)
}

/// Every kind of column, with missing values, and targets that depend on them.
fn frame(rows: usize) -> Frame {
    let at = |i: usize, k: usize| ((i * 2654435761 + k * 40503) >> 7) % 1000;
    let x = |i: usize| at(i, 1) as f64 / 100.0;
    let color = |i: usize| ["red", "green", "blue", "black"][at(i, 2) % 4];
    let price = |i: usize| 3.0 * x(i) + if color(i) == "red" { 5.0 } else { 0.0 } + at(i, 9) as f64 / 500.0;
    let missing: Vec<bool> = (0..rows).map(|i| at(i, 5) < 50).collect();
    let mut columns = vec![
        column("x", Data::F32((0..rows).map(|i| x(i) as f32).collect())),
        column(
            "z",
            Data::F64((0..rows).map(|i| if at(i, 3) < 100 { f64::NAN } else { at(i, 4) as f64 }).collect()),
        ),
        Column { missing, ..column("n", Data::I32((0..rows).map(|i| at(i, 6) as i32).collect())) },
        column("flag", Data::Bool((0..rows).map(|i| (at(i, 7) % 3) as u8).collect())),
        column("color", texts((0..rows).map(|i| (at(i, 8) > 30).then(|| color(i).to_string())))),
        column("day", Data::Time((0..rows).map(|i| at(i, 10) as i64 * 86_400_000_000).collect())),
        column("v", Data::Vector { width: 2, values: (0..rows * 2).map(|i| at(i, 11) as f32).collect() }),
        column("price", Data::F64((0..rows).map(price).collect())),
    ];
    columns.push(column("dear", Data::Bool((0..rows).map(|i| u8::from(price(i) > 17.0)).collect())));
    Frame { columns, rows }
}

fn request(algorithm: &str, target: Option<&str>) -> Request {
    let features = ["x", "z", "n", "flag", "color", "day", "v"].map(String::from).to_vec();
    Request {
        algorithm: algorithm.into(),
        target: target.map(String::from),
        features: Some(features),
        split: if target.is_some() { Split::Random { test_size: 0.25 } } else { Split::None },
        seed: 7,
        max_memory: 1 << 32,
        ..Request::default()
    }
}

fn metric(t: &Trained, split: &str, name: &str) -> f64 {
    t.metrics.iter().find(|m| m.split == split && m.name == name).map_or(f64::NAN, |m| m.value)
}

const CASES: &[(&str, Option<&str>)] = &[
    ("linear", Some("price")),
    ("ridge", Some("price")),
    ("logistic", Some("dear")),
    ("multinomial", Some("dear")),
    ("boosting", Some("price")),
    ("boosting", Some("dear")),
    ("kmeans", None),
];

#[test]
fn learns_from_every_kind_of_column() {
    let linear = train(frame(4000), &request("linear", Some("price")), &cx()).unwrap();
    assert!(metric(&linear, "test", "r2") > 0.9, "{:?}", linear.metrics);
    assert_eq!((linear.card.train_rows, linear.card.test_rows), (3000, 1000));
    let logistic = train(frame(4000), &request("logistic", Some("dear")), &cx()).unwrap();
    assert!(metric(&logistic, "test", "auc") > 0.95, "{:?}", logistic.metrics);
    assert_eq!(logistic.card.classes, ["false", "true"]);
    assert_eq!(logistic.headline.unwrap().name, "auc");
}

#[test]
fn one_row_scores_as_a_block_does() {
    let whole = frame(2000);
    for (algorithm, target) in CASES {
        for preprocess in [
            "{}",
            r#"{"categories": "target", "missing_indicator": true}"#,
            r#"{"categories": "ordinal", "scale": "standard", "max_categories": 2}"#,
        ] {
            if target.is_none() && preprocess.contains("target") {
                continue;
            }
            let request = Request { preprocess: preprocess.into(), ..request(algorithm, *target) };
            let trained = train(whole.clone(), &request, &cx()).unwrap();
            let scorer = Scorer::load(&trained.artifact).unwrap();
            let rows: Vec<u32> = (0..200).collect();
            let block = scorer.score_rows(&whole, &rows, &cx()).unwrap();
            let mut row = scorer.row();
            for (i, expected) in block.chunks(scorer.outputs()).enumerate() {
                for (k, input) in scorer.card().inputs.iter().enumerate() {
                    scorer
                        .set(&mut row, k, whole.columns[whole.position(&input.name).unwrap()].value(i))
                        .unwrap();
                }
                let found = scorer.score(&mut row).unwrap();
                let close =
                    found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-12 * b.abs().max(1.0));
                assert!(close, "{algorithm} {preprocess} row {i}: {found:?} {expected:?}");
            }
        }
    }
}

#[test]
fn artifacts_do_not_depend_on_threads() {
    for (algorithm, target) in CASES {
        let of = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(frame(20_000), &request(algorithm, *target), &cx()).unwrap().artifact)
        };
        let one = of(1);
        assert!(one == of(2) && one == of(4), "{algorithm}");
    }
}

#[test]
fn every_flipped_byte_of_an_artifact_is_an_error() {
    let small =
        Request { features: Some(vec!["x".into(), "color".into()]), ..request("linear", Some("price")) };
    let mut bytes = train(frame(100), &small, &cx()).unwrap().artifact;
    for i in 0..bytes.len() {
        for flip in [0x01, 0x80, 0xff] {
            bytes[i] ^= flip;
            assert_eq!(Scorer::load(&bytes).err().map(|e| e.kind), Some(Kind::Corrupt), "byte {i}");
            bytes[i] ^= flip;
        }
    }
    for n in 0..bytes.len() {
        assert!(Scorer::load(&bytes[..n]).is_err());
    }
    assert!(Scorer::load(&bytes).is_ok());
}

#[test]
fn hostile_artifacts_with_a_true_checksum_never_panic() {
    use sha2::{Digest, Sha256};
    for (algorithm, target) in CASES {
        let trained = train(frame(300), &request(algorithm, *target), &cx()).unwrap();
        let body = trained.artifact.len() - 32;
        let step = (body / 1500).max(1);
        for i in (8..body).step_by(step) {
            for flip in [0x01u8, 0x7f, 0xff] {
                let mut bytes = trained.artifact.clone();
                bytes[i] ^= flip;
                let hash = Sha256::digest(&bytes[..body]);
                bytes[body..].copy_from_slice(&hash);
                if let Ok(scorer) = Scorer::load(&bytes) {
                    let _ = scorer.score_rows(&frame(20), &(0..20).collect::<Vec<u32>>(), &cx());
                    scorer.describe();
                }
            }
        }
    }
}

#[test]
fn folds_measure_each_row_once_and_fit_on_all() {
    let request = Request { folds: 4, split: Split::None, ..request("ridge", Some("price")) };
    let t = train(frame(2000), &request, &cx()).unwrap();
    assert_eq!((t.card.train_rows, t.card.test_rows), (2000, 0));
    assert!(metric(&t, "cv", "r2") > 0.9 && metric(&t, "cv_std", "r2") < 0.1);
    assert_eq!(t.headline.unwrap().split, "cv");
}

#[test]
fn target_means_do_not_leak_the_target() {
    // A category a pair of rows, with a random target: in-sample means would predict it, cross-fitted ones cannot.
    let rows = 4000;
    let noise = |i: usize| (xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes()) % 1000) as f64;
    let frame = Frame {
        columns: vec![
            column("id", texts((0..rows).map(|i| Some(format!("c{}", i / 2))))),
            column("y", Data::F64((0..rows).map(noise).collect())),
        ],
        rows,
    };
    let request = Request {
        features: None,
        split: Split::None,
        preprocess: r#"{"categories": "target", "max_categories": 60000}"#.into(),
        ..request("linear", Some("y"))
    };
    let t = train(frame, &request, &cx()).unwrap();
    let slope: f64 = Scorer::load(&t.artifact)
        .unwrap()
        .describe()
        .iter()
        .find(|(k, _)| k.contains("mean of id"))
        .and_then(|(_, v)| v.parse().ok())
        .unwrap();
    assert!(slope.abs() < 0.5, "the model trusts the leaked mean: {slope}");
}

fn refused(frame: Frame, request: &Request) -> Error {
    train(frame, request, &cx()).unwrap_err()
}

#[test]
fn bad_input_is_refused_by_name() {
    let base = request("linear", Some("price"));
    let with = |f: &dyn Fn(&mut Request)| {
        let mut r = base.clone();
        f(&mut r);
        refused(frame(50), &r)
    };
    assert_eq!(with(&|r| r.algorithm = "boostign".into()).kind, Kind::UnknownAlgorithm);
    assert_eq!(with(&|r| r.target = Some("prize".into())).kind, Kind::UnknownColumn);
    assert_eq!(with(&|r| r.features = Some(vec!["q".into()])).kind, Kind::UnknownColumn);
    assert_eq!(with(&|r| r.features = Some(vec![])).kind, Kind::Parameter);
    assert_eq!(with(&|r| r.features = Some(vec!["price".into()])).kind, Kind::Parameter);
    assert_eq!(with(&|r| r.target = None).kind, Kind::Parameter);
    let day = |r: &mut Request| {
        r.target = Some("day".into());
        r.features = Some(vec!["x".into()]);
    };
    assert_eq!(with(&day).kind, Kind::Type);
    let weight = |r: &mut Request| {
        r.weight = Some("z".into());
        r.features = Some(vec!["x".into()]);
    };
    assert_eq!(with(&weight).kind, Kind::Null);
    assert_eq!(with(&|r| r.folds = 3).kind, Kind::Parameter);
    assert_eq!(with(&|r| r.max_memory = 1000).kind, Kind::Memory);
    assert_eq!(with(&|r| r.preprocess = r#"{"columns": {"nope": {}}}"#.into()).kind, Kind::UnknownColumn);
    assert_eq!(with(&|r| r.preprocess = r#"{"missing": "error"}"#.into()).kind, Kind::Null);
    let mut infinite = frame(50);
    infinite.columns[0] =
        column("x", Data::F32((0..50).map(|i| if i == 40 { f32::INFINITY } else { 1.0 }).collect()));
    assert_eq!(refused(infinite, &Request { split: Split::None, ..base.clone() }).kind, Kind::Data);
    let empty = Frame {
        rows: 0,
        columns: frame(1).columns.into_iter().map(|c| Column { data: Data::F64(vec![]), ..c }).collect(),
    };
    assert_eq!(refused(empty, &base).kind, Kind::Data);
}

#[test]
fn scoring_refuses_wrong_values_by_column() {
    let t = train(frame(200), &request("linear", Some("price")), &cx()).unwrap();
    let scorer = Scorer::load(&t.artifact).unwrap();
    let mut row = scorer.row();
    let e = scorer.set(&mut row, 0, Value::Text("a")).unwrap_err();
    assert_eq!((e.kind, e.message.as_str()), (Kind::Type, "column \"x\" is text, expected a number"));
    assert!(scorer.set(&mut row, 0, Value::Number(f64::INFINITY)).is_err());
    assert!(scorer.set(&mut row, 6, Value::Vector(&[1.0])).unwrap_err().message.contains("1 elements"));
    assert!(scorer.set_f32s(&mut row, &[1.0, 2.0]).unwrap_err().message.contains("length 2, expected 7"));
    scorer.set(&mut row, 4, Value::Text("never seen")).unwrap();
}

/// Runs an order over a frame as an aggregate on `shards` workers would.
fn aggregate(frame: &Frame, shards: usize, order: &[u8]) -> engine::Result<Option<Vec<u8>>> {
    let mut partials = vec![];
    for s in 0..shards {
        let mut fold = Fold::attach(order)?;
        let columns: Vec<usize> =
            fold.columns().iter().map(|c| frame.position(&c.name)).collect::<Result<_, _>>()?;
        for i in frame.rows * s / shards..frame.rows * (s + 1) / shards {
            let values: Vec<Value> = columns.iter().map(|c| frame.columns[*c].value(i)).collect();
            fold.push(&values, &cx())?;
        }
        partials.push(fold.partial(&cx())?);
    }
    let mut first = Fold::attach(order)?;
    for p in &partials {
        first.combine(p, &cx())?;
    }
    first.partial(&cx()).map(Some)
}

#[test]
fn an_aggregate_trains_the_same_model() {
    let whole = frame(3000);
    let columns: Vec<SourceColumn> = [
        ("x", ColumnType::Float),
        ("z", ColumnType::Float),
        ("n", ColumnType::Integer),
        ("flag", ColumnType::Bool),
        ("color", ColumnType::Text),
        ("day", ColumnType::Time),
        ("v", ColumnType::Vector),
        ("price", ColumnType::Float),
        ("dear", ColumnType::Bool),
    ]
    .map(|(name, kind)| SourceColumn { name: name.into(), kind })
    .to_vec();
    for (algorithm, target) in CASES.iter().filter(|(a, _)| *a != "kmeans") {
        // An iterative learner stops within its tolerance of the optimum, so it is asked for more here.
        let params =
            if *algorithm == "multinomial" { r#"{"tol": 1e-10, "max_iter": 1000}"# } else { "{}" }.into();
        let request = Request { split: Split::None, params, ..request(algorithm, *target) };
        let threads = train(whole.clone(), &request, &cx()).unwrap();
        let rows: Vec<u32> = (0..500).collect();
        let expected = Scorer::load(&threads.artifact).unwrap().score_rows(&whole, &rows, &cx()).unwrap();
        for shards in [1, 3] {
            let t = train_folded(&columns, &request, &mut |order| aggregate(&whole, shards, order), &cx())
                .unwrap();
            assert_eq!(t.card.fingerprint, threads.card.fingerprint, "{algorithm}");
            assert_eq!(t.card.classes, threads.card.classes);
            let found = Scorer::load(&t.artifact).unwrap().score_rows(&whole, &rows, &cx()).unwrap();
            let far = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far < 1e-6, "{algorithm} on {shards} shards: {far}");
            if *algorithm == "boosting" {
                assert!(
                    t.artifact == threads.artifact,
                    "{algorithm} on {shards} shards is not the same to the bit"
                );
            }
        }
    }
}

#[test]
fn a_card_survives_packing() {
    let t = train(frame(100), &request("linear", Some("price")), &cx()).unwrap();
    let (card, _, _) = artifact::unpack(&t.artifact).unwrap();
    assert_eq!(card, t.card);
    assert_eq!(artifact::sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}
