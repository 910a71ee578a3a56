//! One model a group: each is the model that its rows alone would give, and what happens to rows of other groups.

#![allow(clippy::unwrap_used)] // helpers of tests are tests too

use engine::artifact;
use engine::decision::Options;
use engine::evaluation::Columns;
use engine::explain::{Draw, Importance};
use engine::frame::{Column, Data, Dictionary, Frame, Value};
use engine::groups::UnknownGroup;
use engine::learner::{Cx, Observer, Silent};
use engine::scorer::Scorer;
use engine::split::Split;
use engine::train::{Request, Trained, train};
use engine::{Error, Kind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

static GO: AtomicBool = AtomicBool::new(false);

fn cx() -> Cx<'static> {
    Cx { seed: 7, stop: &GO, observer: &Silent }
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>, Mutex<Vec<String>>);

impl Observer for Heard {
    fn warning(&self, message: &str) {
        self.0.lock().unwrap().push(message.into());
    }
    fn progress(&self, done: usize, total: usize, what: &str) {
        self.1.lock().unwrap().push(format!("{what} {done}/{total}"));
    }
}

fn column(name: &str, data: Data) -> Column {
    Column { name: name.into(), data, missing: vec![] }
}

fn texts<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Data {
    let mut d = Dictionary::default();
    for v in values {
        let code = v.map_or(Dictionary::MISSING, |v| d.intern(v));
        d.codes.push(code);
    }
    Data::Text(d)
}

/// scikit-learn's wine: its 178 rows, with the class and the first four measurements.
fn wine() -> Vec<Vec<f64>> {
    let text = include_str!("reference/data/wine.csv");
    text.lines().map(|l| l.split(',').map(|v| v.trim().parse().unwrap()).collect()).collect()
}

/// The wines, regions dealt by the class: a number, its text (NULL for the third class), and whether it is the first.
fn wines() -> Frame {
    let wine = wine();
    let last = wine[0].len() - 1;
    let at = |k: usize| Data::F64(wine.iter().map(|r| r[k]).collect());
    let class = |r: &Vec<f64>| r[last] as usize;
    let region = texts(wine.iter().map(|r| [Some("north"), Some("south"), None][class(r)]));
    let grade = texts(wine.iter().enumerate().map(|(i, r)| {
        // The south has two of three grades, NULL all three, the north one alone.
        Some(match class(r) {
            0 => "good",
            1 => ["good", "poor"][usize::from(r[9] > 3.0 || i % 7 == 0)],
            _ => ["good", "fair", "poor"][i % 3],
        })
    }));
    let columns = vec![
        column("region", region),
        column("code", Data::I32(wine.iter().map(|r| class(r) as i32).collect())),
        column("first", Data::Bool(wine.iter().map(|r| u8::from(class(r) == 0)).collect())),
        column("malic", at(1)),
        column("ash", at(2)),
        column("color", at(9)),
        column("alcohol", at(0)),
        column("grade", grade),
    ];
    Frame { columns, rows: wine.len() }
}

fn request(algorithm: &str, target: Option<&str>, group_by: &[&str]) -> Request {
    Request {
        algorithm: algorithm.into(),
        target: target.map(String::from),
        features: Some(["malic", "ash", "color"].map(String::from).to_vec()),
        group_by: group_by.iter().map(|g| g.to_string()).collect(),
        seed: 7,
        max_memory: 1 << 32,
        ..Request::default()
    }
}

fn only(frame: &Frame, rows: &[u32]) -> Frame {
    let pick = |c: &Column| {
        let data = match &c.data {
            Data::F64(v) => Data::F64(rows.iter().map(|r| v[*r as usize]).collect()),
            Data::I32(v) => Data::I32(rows.iter().map(|r| v[*r as usize]).collect()),
            Data::Bool(v) => Data::Bool(rows.iter().map(|r| v[*r as usize]).collect()),
            Data::Text(d) => texts(rows.iter().map(|r| d.get(*r as usize))),
            _ => unreachable!("the wines have no such column"),
        };
        column(&c.name, data)
    };
    Frame { columns: frame.columns.iter().map(pick).collect(), rows: rows.len() }
}

fn of_class(class: i32) -> Vec<u32> {
    let Data::I32(codes) = &wines().columns[1].data else { return vec![] };
    (0..codes.len() as u32).filter(|r| codes[*r as usize] == class).collect()
}

fn score(scorer: &Scorer, values: &[Value]) -> Result<Vec<f64>, Error> {
    let mut row = scorer.row();
    for (i, value) in values.iter().enumerate() {
        scorer.set(&mut row, i, *value)?;
    }
    scorer.score(&mut row).map(<[f64]>::to_vec)
}

fn refused(request: &Request) -> Error {
    train(wines(), request, &cx()).unwrap_err()
}

fn metric(t: &Trained, split: &str, name: &str) -> f64 {
    t.metrics.iter().find(|m| m.split == split && m.name == name).map_or(f64::NAN, |m| m.value)
}

#[test]
fn each_group_is_the_model_of_its_rows_alone() {
    let whole = wines();
    for algorithm in ["linear", "boosting"] {
        let grouped = train(wines(), &request(algorithm, Some("alcohol"), &["region"]), &cx()).unwrap();
        let scorer = Scorer::load(&grouped.artifact).unwrap();
        let all: Vec<u32> = (0..whole.rows as u32).collect();
        let scores = scorer.score_rows(&whole, &all, &cx()).unwrap();
        for class in 0..3 {
            let rows = of_class(class);
            let one = train(only(&whole, &rows), &request(algorithm, Some("alcohol"), &[]), &cx()).unwrap();
            let one = Scorer::load(&one.artifact).unwrap();
            let expected = one.score_rows(&whole, &rows, &cx()).unwrap();
            for (row, expected) in rows.iter().zip(expected) {
                let found = scores[*row as usize];
                assert!(
                    (found - expected).abs() < 1e-9 * expected.abs(),
                    "{algorithm} {class}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn classes_are_balanced_within_each_group() {
    #[allow(clippy::needless_update)] // It may have more fields some day.
    let decision = Options { class_weight: Some("balanced".into()), ..Options::default() };
    let request = |group_by: &[&str]| Request {
        decision: decision.clone(),
        unknown_group: (!group_by.is_empty()).then_some(UnknownGroup::Null),
        ..request("boosting", Some("grade"), group_by)
    };
    let whole = wines();
    let grouped = train(wines(), &request(&["region"]), &cx()).unwrap();
    let scorer = Scorer::load(&grouped.artifact).unwrap();
    for (class, kept) in [(1, vec![1, 2]), (2, vec![0, 1, 2])] {
        let rows = of_class(class);
        let one = train(only(&whole, &rows), &request(&[]), &cx()).unwrap();
        let one = Scorer::load(&one.artifact).unwrap();
        let expected = one.score_rows(&whole, &rows, &cx()).unwrap();
        let found = scorer.score_rows(&whole, &rows, &cx()).unwrap();
        for (found, expected) in found.chunks(3).zip(expected.chunks(kept.len())) {
            assert!(
                kept.iter().zip(expected).all(|(c, p)| (found[*c] - p).abs() < 1e-5),
                "{found:?} {expected:?}"
            );
        }
    }
}

#[test]
fn explains_by_the_groups_own_model() {
    let request = Request {
        unknown_group: Some(UnknownGroup::Null),
        ..request("boosting", Some("alcohol"), &["region"])
    };
    let whole = wines();
    let scorer = Scorer::load(&train(wines(), &request, &cx()).unwrap().artifact).unwrap();
    let mut row = scorer.row();
    for i in [0, 70, 170] {
        for (input, column) in [0, 3, 4, 5].into_iter().enumerate() {
            scorer.set(&mut row, input, whole.columns[column].value(i)).unwrap();
        }
        let found = scorer.explain(&mut row).unwrap();
        assert_eq!(found.contributions.len(), 3);
        let score = scorer.score_rows(&whole, &[i as u32], &cx()).unwrap()[0];
        assert!((found.score - score).abs() < 1e-9, "{found:?} {score}");
        assert!(scorer.answers(&mut row).unwrap());
    }
    scorer.set(&mut row, 0, Value::Text("east")).unwrap();
    assert!(!scorer.answers(&mut row).unwrap());
    let draw = Draw { most: 100, seed: 1 };
    let found = scorer.permutation_importance(&whole, None, 2, draw, &cx()).unwrap();
    assert_eq!(found.len(), 3);
    let names: Vec<String> =
        scorer.importance(Importance::Gain).unwrap().into_iter().map(|r| r.name).collect();
    assert!(names.contains(&"color".to_string()) && names.len() == 3);
    let points = scorer.partial_dependence(&whole, "color", None, 5, draw, &cx()).unwrap();
    assert!(points.iter().all(|p| p.average > 11.0 && p.average < 15.0), "{points:?}");
}

#[test]
fn group_columns_are_the_first_inputs() {
    let grouped = train(wines(), &request("linear", Some("alcohol"), &["region", "first"]), &cx()).unwrap();
    let scorer = Scorer::load(&grouped.artifact).unwrap();
    let card = scorer.card();
    let names: Vec<&str> = card.inputs.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["region", "first", "malic", "ash", "color"]);
    assert_eq!((card.group_columns().len(), card.features().len()), (2, 3));
    let scores = scorer.score_rows(&wines(), &[0], &cx()).unwrap();
    let row = |region, first| {
        let frame = wines();
        let x = |c: usize| frame.columns[c].value(0);
        score(&scorer, &[region, first, x(3), x(4), x(5)])
    };
    assert_eq!(row(Value::Text("north"), Value::Bool(true)).unwrap(), scores);
    assert_eq!(row(Value::Text("north"), Value::Number(1.0)).unwrap(), scores);
    // NULL is a group of its own.
    assert_ne!(row(Value::Missing, Value::Bool(false)).unwrap(), scores);
    let unknown = row(Value::Text("north"), Value::Bool(false)).unwrap_err();
    assert_eq!(unknown.message, "the model knows no group region = north, first = false");
    assert_eq!(row(Value::Number(1.0), Value::Bool(true)).unwrap_err().kind, Kind::Type);
}

#[test]
fn numbers_choose_groups_in_arrays_too() {
    let grouped = train(wines(), &request("ridge", Some("alcohol"), &["code"]), &cx()).unwrap();
    let scorer = Scorer::load(&grouped.artifact).unwrap();
    let frame = wines();
    let all: Vec<u32> = (0..frame.rows as u32).collect();
    let scores = scorer.score_rows(&frame, &all, &cx()).unwrap();
    let mut row = scorer.row();
    for (i, expected) in scores.iter().enumerate() {
        let values: Vec<f64> = [1, 3, 4, 5]
            .iter()
            .map(|c| match frame.columns[*c].value(i) {
                Value::Number(x) => x,
                _ => f64::NAN,
            })
            .collect();
        scorer.set_f64s(&mut row, &values).unwrap();
        assert_eq!(scorer.score(&mut row).unwrap(), [*expected]);
    }
    assert_eq!(scorer.set_f64s(&mut row, &[1.0]).unwrap_err().kind, Kind::Type);
}

#[test]
fn unknown_groups_follow_the_policy() {
    let strange = [Value::Text("east"), Value::Number(2.0), Value::Number(2.0), Value::Number(5.0)];
    let of = |policy| {
        let request = Request { unknown_group: policy, ..request("linear", Some("alcohol"), &["region"]) };
        let trained = train(wines(), &request, &cx()).unwrap();
        Scorer::load(&trained.artifact).unwrap()
    };
    for policy in [None, Some(UnknownGroup::Error)] {
        let e = score(&of(policy), &strange).unwrap_err();
        assert_eq!((e.kind, &*e.message), (Kind::Data, "the model knows no group region = east"));
    }
    assert!(score(&of(Some(UnknownGroup::Null)), &strange).unwrap()[0].is_nan());
    let global = score(&of(Some(UnknownGroup::Global)), &strange).unwrap();
    let one = train(wines(), &request("linear", Some("alcohol"), &[]), &cx()).unwrap();
    let one = score(&Scorer::load(&one.artifact).unwrap(), &strange[1..]).unwrap();
    assert!((global[0] - one[0]).abs() < 1e-9, "{global:?} {one:?}");
}

#[test]
fn groups_with_fewer_classes_keep_their_columns_apart() {
    let request = Request {
        unknown_group: Some(UnknownGroup::Null),
        ..request("multinomial", Some("grade"), &["region"])
    };
    let heard = Heard::default();
    let trained = train(wines(), &request, &Cx { observer: &heard, ..cx() }).unwrap();
    assert_eq!(trained.card.classes, ["fair", "good", "poor"]);
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let frame = wines();
    let south = scorer.score_rows(&frame, &of_class(1), &cx()).unwrap();
    assert!(south.chunks(3).all(|p| p[0] == 0.0 && p[1] > 0.0 && (p[1] + p[2] - 1.0).abs() < 1e-9));
    let third = scorer.score_rows(&frame, &of_class(2), &cx()).unwrap();
    assert!(third.chunks(3).all(|p| p[0] > 0.0));
    // The north has one class: it is left out, told of once, and answered like an unknown group.
    let north = scorer.score_rows(&frame, &of_class(0), &cx()).unwrap();
    assert!(north.iter().all(|p| p.is_nan()));
    let warnings = heard.0.into_inner().unwrap();
    let expected = "1 of 3 groups could not be trained and are left out: region = north (its training rows are of one class)";
    assert_eq!(warnings.iter().filter(|w| w.contains("left out")).collect::<Vec<_>>(), [expected]);
    assert_eq!(trained.card.train_rows, 178 - 59);
    let groups = scorer.groups().unwrap();
    assert_eq!(groups.metric(), "accuracy");
    let rows: Vec<(u64, bool)> = groups.entries().iter().map(|e| (e.train_rows, e.value.is_some())).collect();
    assert_eq!(rows, [(48, true), (59, false), (71, true)]);
    assert!(heard.1.into_inner().unwrap().contains(&"group 3/3".to_string()));
}

#[test]
fn left_out_groups_use_the_global_model() {
    let request = Request {
        unknown_group: Some(UnknownGroup::Global),
        ..request("multinomial", Some("grade"), &["region"])
    };
    let trained = train(wines(), &request, &cx()).unwrap();
    assert_eq!(trained.card.train_rows, 178);
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let north = scorer.score_rows(&wines(), &of_class(0), &cx()).unwrap();
    assert!(north.chunks(3).all(|p| p.iter().all(|p| *p > 0.0)));
}

#[test]
fn all_groups_failing_is_an_error() {
    let request = request("logistic", Some("first"), &["code"]);
    let e = refused(&request);
    assert_eq!(e.kind, Kind::Data);
    assert_eq!(
        e.message,
        "none of 3 groups could be trained; the first, code = 0: its training rows are of one class"
    );
}

#[test]
fn rows_are_held_out_within_each_group() {
    let split = Split::Random { test_size: 0.25 };
    let request = Request { split, ..request("linear", Some("alcohol"), &["region"]) };
    let trained = train(wines(), &request, &cx()).unwrap();
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let groups = scorer.groups().unwrap();
    let rows: Vec<(u64, u64)> = groups.entries().iter().map(|e| (e.train_rows, e.test_rows)).collect();
    assert_eq!(rows, [(36, 12), (44, 15), (53, 18)]);
    assert_eq!((trained.card.train_rows, trained.card.test_rows), (133, 45));
    // The square of the overall error is the mean of the groups', weighted by rows.
    let square: f64 = groups.entries().iter().map(|e| e.value.unwrap().powi(2) * e.test_rows as f64).sum();
    let rmse = metric(&trained, "test", "rmse");
    assert!((rmse - (square / 45.0).sqrt()).abs() < 1e-12, "{rmse}");
    assert_eq!(trained.headline.unwrap().name, "rmse");
    // What is measured again on the rows that it was trained on is the same as for one model.
    let none = Request { split: Split::None, ..request };
    let trained = train(wines(), &none, &cx()).unwrap();
    let again = Scorer::load(&trained.artifact)
        .unwrap()
        .evaluate(&wines(), Columns::default(), None, 0.95, &cx())
        .unwrap();
    let again = again.iter().find(|m| m.name == "rmse").unwrap().value;
    assert!((again - metric(&trained, "train", "rmse")).abs() < 1e-12);
}

#[test]
fn folds_are_dealt_within_groups() {
    let request = Request { folds: 3, ..request("ridge", Some("alcohol"), &["region"]) };
    let trained = train(wines(), &request, &cx()).unwrap();
    let (cv, own) = (metric(&trained, "cv", "rmse"), metric(&trained, "train", "rmse"));
    assert!(cv > own && cv < 2.0 * own, "{cv} {own}");
    assert_eq!(trained.card.train_rows, 178);
    let many = Request { folds: 90, ..request };
    assert_eq!(refused(&many).kind, Kind::Data);
}

#[test]
fn clusters_are_each_groups_own() {
    let request = Request { params: r#"{"n_clusters": 3}"#.into(), ..request("kmeans", None, &["region"]) };
    let trained = train(wines(), &request, &cx()).unwrap();
    let silhouette = metric(&trained, "train", "silhouette");
    assert!(silhouette > 0.2 && silhouette < 1.0, "{:?}", trained.metrics);
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let again = scorer.evaluate(&wines(), Columns::default(), None, 0.95, &cx()).unwrap();
    assert!((again.iter().find(|m| m.name == "silhouette").unwrap().value - silhouette).abs() < 1e-9);
}

#[test]
fn threads_do_not_change_a_byte() {
    for (algorithm, target) in [("linear", Some("alcohol")), ("boosting", Some("grade")), ("kmeans", None)] {
        let split = if target.is_some() { Split::Random { test_size: 0.2 } } else { Split::None };
        let unknown_group = Some(UnknownGroup::Null);
        let request = Request { split, unknown_group, ..request(algorithm, target, &["region"]) };
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(wines(), &request, &cx())).unwrap().artifact
        };
        let one = with(1);
        assert!(one == with(2) && one == with(7), "{algorithm}");
        // The order of groups in the source does not matter to their models, only that of rows within a group.
        let mut rows: Vec<u32> = of_class(2);
        rows.extend(of_class(0));
        rows.extend(of_class(1));
        let turned = train(only(&wines(), &rows), &request, &cx()).unwrap();
        let (a, b) = (Scorer::load(&one).unwrap(), Scorer::load(&turned.artifact).unwrap());
        assert_eq!(a.card().fingerprint, b.card().fingerprint);
        let all: Vec<u32> = (0..178).collect();
        let scores = |s: &Scorer| s.score_rows(&wines(), &all, &cx()).unwrap();
        assert!(
            scores(&a)
                .iter()
                .zip(scores(&b))
                .all(|(a, b)| (a - b).abs() < 1e-6 || (a.is_nan() && b.is_nan())),
            "{algorithm}"
        );
    }
}

#[test]
fn small_groups_train_on_all_their_rows() {
    let group = texts((0..41).map(|i| Some(if i == 40 { "lonely" } else { "many" })));
    let numbers = |k: i32| Data::F64((0..41).map(|i| f64::from((i * k) % 17)).collect());
    let columns = vec![column("g", group), column("x", numbers(3)), column("y", numbers(5))];
    let split = Split::Random { test_size: 0.25 };
    let request = Request { split, features: None, ..request("ridge", Some("y"), &["g"]) };
    let trained = train(Frame { columns, rows: 41 }, &request, &cx()).unwrap();
    let scorer = Scorer::load(&trained.artifact).unwrap();
    let rows: Vec<(u64, u64)> =
        scorer.groups().unwrap().entries().iter().map(|e| (e.train_rows, e.test_rows)).collect();
    assert_eq!(rows, [(1, 0), (30, 10)]);
    assert_eq!(score(&scorer, &[Value::Text("lonely"), Value::Number(3.0)]).unwrap(), [13.0]);
}

#[test]
fn refuses_bad_requests() {
    let base = request("linear", Some("alcohol"), &["region"]);
    let with = |group_by: &[&str]| Request {
        decision: Options::default(),
        group_by: group_by.iter().map(|g| g.to_string()).collect(),
        ..base.clone()
    };
    assert_eq!(refused(&with(&["regio"])).kind, Kind::UnknownColumn);
    assert_eq!(refused(&with(&["region", "region"])).kind, Kind::Parameter);
    assert_eq!(refused(&with(&["alcohol"])).kind, Kind::Parameter);
    assert_eq!(refused(&with(&["ash"])).kind, Kind::Parameter); // a feature too
    let names: Vec<String> = (0..17).map(|i| format!("c{i}")).collect();
    assert_eq!(refused(&Request { group_by: names, ..base.clone() }).kind, Kind::Parameter);
    let policy = Request { unknown_group: Some(UnknownGroup::Null), ..with(&[]) };
    assert_eq!(refused(&policy).kind, Kind::Parameter);
    assert_eq!(refused(&Request { max_memory: 1000, ..base.clone() }).kind, Kind::Memory);
    // Errors that are no group's fault end the training.
    assert_eq!(
        refused(&Request { split: Split::Random { test_size: 2.0 }, ..base.clone() }).kind,
        Kind::Parameter
    );
    let rows = 100_001;
    let x = || Data::F64((0..rows).map(f64::from).collect());
    let columns = vec![column("id", x()), column("x", x()), column("y", x())];
    let request = Request { features: None, ..request("linear", Some("y"), &["id"]) };
    let e = train(Frame { columns, rows: rows as usize }, &request, &cx()).unwrap_err();
    assert_eq!((e.kind, &*e.message), (Kind::Data, "group_by id makes more than 100000 groups"));
}

#[test]
fn stops_when_asked() {
    let stop = AtomicBool::new(false);
    struct StopAt<'a>(&'a AtomicBool);
    impl Observer for StopAt<'_> {
        fn progress(&self, done: usize, _total: usize, _what: &str) {
            if done > 50 {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let rows = 20_000;
    let numbers = |k: i32| Data::F64((0..rows).map(|i| f64::from((i * k) % 1009)).collect());
    let groups = Data::I32((0..rows).map(|i| i % 1000).collect());
    let columns = vec![column("g", groups), column("x", numbers(31)), column("y", numbers(57))];
    let request = Request { features: None, ..request("boosting", Some("y"), &["g"]) };
    let observer = StopAt(&stop);
    let cx = Cx { seed: 7, stop: &stop, observer: &observer };
    let e = train(Frame { columns, rows: rows as usize }, &request, &cx).unwrap_err();
    assert_eq!(e.kind, Kind::Cancelled);
}

#[test]
fn hostile_bytes_are_refused() {
    let trained = train(wines(), &request("ridge", Some("alcohol"), &["region"]), &cx()).unwrap();
    let (card, prepared, payload) = artifact::unpack(&trained.artifact).unwrap();
    let load = |card: &artifact::Card, payload: &[u8]| {
        Scorer::load(&artifact::pack(card, &prepared, payload).unwrap()).map(|_| ()).unwrap_err().kind
    };
    for cut in 0..payload.len() {
        assert_eq!(load(&card, &payload[..cut]), Kind::Corrupt);
    }
    // Whatever a byte becomes, loading says no or gives a model that scores without harm.
    for at in 0..payload.len() {
        for flip in [1u8, 0x80, 0xff] {
            let mut bytes = payload.to_vec();
            bytes[at] ^= flip;
            if let Ok(scorer) = Scorer::load(&artifact::pack(&card, &prepared, &bytes).unwrap()) {
                let _ = scorer.score_rows(&wines(), &[0, 60, 170], &cx());
                let _ = scorer.describe();
            }
        }
    }
    let mut other = card.clone();
    other.group_by = 9;
    assert_eq!(load(&other, payload), Kind::Corrupt);
    let mut other = card.clone();
    other.unknown_group = UnknownGroup::Global;
    assert_eq!(load(&other, payload), Kind::Corrupt);
    let mut other = card.clone();
    other.group_by = 0;
    other.inputs = prepared.inputs.clone();
    assert_eq!(load(&other, payload), Kind::Corrupt);
}
