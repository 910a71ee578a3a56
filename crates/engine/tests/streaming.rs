//! A training whose numbers are read again each time makes what one makes that holds them.

#![allow(clippy::unwrap_used, clippy::panic)]

use engine::frame::{Column, Data, Dictionary, Frame};
use engine::learner::{Cx, Silent};
use engine::split::Split;
use engine::stream::{STEP, Source, Take, away};
use engine::survey::Survey;
use engine::train::{Request, Trained, train, train_over};
use engine::{Kind, Result};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// More than a stored distribution looks at one by one.
const ROWS: usize = 140_000;

/// Rows with missing, infinite, constant, few and many values, and columns that are held.
fn frame(rows: usize) -> Frame {
    let noise = |i: usize, k: u64| {
        let mut z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(k << 32);
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 11) as f64 / (1u64 << 53) as f64
    };
    let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
    let singles =
        |value: &dyn Fn(usize) -> f64| Data::F32((0..rows).map(|i| value(i) as f32).collect::<Vec<f32>>());
    let mut text = Dictionary::default();
    for i in 0..rows {
        let code = text.intern(["red", "green", "blue"][(noise(i, 9) * 3.0) as usize]);
        text.codes.push(code);
    }
    let odd = |i: usize| match i % 1009 {
        3 => f64::INFINITY,
        5 => f64::NAN,
        _ => (noise(i, 2) * 8.0).exp(),
    };
    let mut whole = column("whole", Data::I32((0..rows).map(|i| (noise(i, 5) * 90.0) as i32).collect()));
    whole.missing = (0..rows).map(|i| i % 13 == 1).collect();
    let y = (0..rows).map(|i| {
        let z = noise(i, 1) - 0.4 * noise(i, 2) + 0.2 * f64::from(noise(i, 3) > 0.5) + 0.5 * noise(i, 7);
        i32::from(z > 0.55)
    });
    let columns = vec![
        column("a", singles(&|i| noise(i, 1))),
        column("held", Data::Text(text)),
        column("b", Data::F64((0..rows).map(odd).collect())),
        whole,
        column("few", singles(&|i| (noise(i, 3) * 3.0).floor() * 1.1)),
        column("constant", singles(&|_| -7.25)),
        column("nothing", singles(&|_| f64::NAN)),
        column("seldom", singles(&|i| if i == 77 { 1.5 } else { f64::NAN })),
        column("y", Data::I32(y.collect())),
    ];
    Frame { columns, rows }
}

fn request(split: Split) -> Request {
    Request {
        params: r#"{"n_estimators": 12, "num_leaves": 15, "max_bin": 63}"#.into(),
        target: Some("y".into()),
        split,
        seed: 7,
        ..Request::default()
    }
}

fn names(frame: &Frame) -> impl Iterator<Item = &str> + Clone {
    frame.columns.iter().map(|c| c.name.as_str())
}

/// The rows of a frame again; from reading `changes` on, another value in one row.
struct Again {
    frame: Frame,
    away: Vec<usize>,
    readings: AtomicUsize,
    changes: usize,
    given_up: AtomicBool,
}

impl Source for Again {
    fn read(&self, take: &Take) -> Result<()> {
        let reading = self.readings.fetch_add(1, Ordering::Relaxed);
        let blocks: Vec<usize> = (0..self.frame.rows).step_by(3 * STEP).collect();
        let read = |first: &usize| {
            let rows = *first..(first + 3 * STEP).min(self.frame.rows);
            let columns = self.away.iter().map(|c| {
                let column = &self.frame.columns[*c];
                let data = match &column.data {
                    Data::F32(v) => {
                        let mut v = v[rows.clone()].to_vec();
                        if reading >= self.changes && *first == 0 {
                            v.swap(3, 4);
                        }
                        Data::F32(v)
                    }
                    Data::F64(v) => Data::F64(v[rows.clone()].to_vec()),
                    other => panic!("{other:?} is held"),
                };
                Column { name: column.name.clone(), data, missing: vec![] }
            });
            take(*first, &columns.collect::<Vec<_>>())
        };
        blocks.par_iter().map(read).collect::<Vec<Result<()>>>().into_iter().collect()
    }

    fn give_up(&self) {
        self.given_up.store(true, Ordering::Relaxed);
    }
}

/// Trains as a server does that reads rows again; gives also how often it read them.
fn streamed(frame: &Frame, request: &Request, changes: usize, threads: usize) -> (Result<Trained>, Again) {
    let reals = frame.columns.iter().map(|c| (&c.name[..], matches!(c.data, Data::F32(_) | Data::F64(_))));
    let away = away(request, reals);
    assert_eq!(away, [0, 2, 4, 5, 6, 7]);
    let mut survey = Survey::new(request, names(frame));
    survey.watch(away.clone(), names(frame));
    let texts = frame.columns.iter().map(|c| match &c.data {
        Data::Text(d) => d.values.iter().map(|t| engine::fingerprint::text_hash(t)).collect(),
        _ => vec![],
    });
    let texts: Vec<Vec<u64>> = texts.collect();
    // What came first is gone when the last rows come.
    let mut rest = frame.clone();
    for rows in [STEP, 5 * STEP + 1, frame.rows / 2] {
        survey.look(&rest.columns, &texts, rows.min(frame.rows));
    }
    let gone = survey.rows();
    for c in &away {
        match &mut rest.columns[*c].data {
            Data::F32(v) => drop(v.drain(..gone)),
            Data::F64(v) => drop(v.drain(..gone)),
            _ => {}
        }
    }
    survey.finish(&rest.columns, &texts, frame.rows);
    away.iter().for_each(|c| rest.columns[*c].data = Data::Away { rows: frame.rows });
    let again = Again {
        frame: frame.clone(),
        away,
        readings: AtomicUsize::new(0),
        changes,
        given_up: AtomicBool::new(false),
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let stop = AtomicBool::new(false);
    let trained = pool.install(|| {
        let cx = Cx { seed: request.seed, stop: &stop, observer: &Silent };
        train_over(rest, &survey, Some(&again), request, &cx)
    });
    (trained, again)
}

#[test]
fn makes_what_a_training_makes_that_holds_its_rows() {
    let frame = frame(ROWS);
    let stop = AtomicBool::new(false);
    for split in [Split::None, Split::Stratified { test_size: 0.3 }] {
        let request = request(split);
        let cx = Cx { seed: request.seed, stop: &stop, observer: &Silent };
        let held = train(frame.clone(), &request, &cx).unwrap();
        for threads in [1, 3] {
            let (trained, again) = streamed(&frame, &request, usize::MAX, threads);
            let trained = trained.unwrap();
            assert!(trained.artifact == held.artifact, "{split:?}, {threads} threads");
            assert_eq!(trained.metrics, held.metrics);
            assert_eq!(trained.rounds, held.rounds);
            assert_eq!(trained.figures, held.figures);
            assert_eq!(
                (trained.facts.digest, &trained.facts.columns),
                (held.facts.digest, &held.facts.columns)
            );
            for (ours, theirs) in trained.baseline.columns.iter().zip(&held.baseline.columns) {
                // As text, as some have no least number.
                assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            }
            assert_eq!(trained.baseline.columns.len(), held.baseline.columns.len());
            assert!(!again.given_up.load(Ordering::Relaxed));
            let readings = again.readings.load(Ordering::Relaxed);
            assert!(readings <= 7, "{readings}");
        }
    }
}

#[test]
fn few_rows_have_exact_distributions() {
    let frame = frame(3 * STEP + 17);
    let request = request(Split::None);
    let stop = AtomicBool::new(false);
    let cx = Cx { seed: request.seed, stop: &stop, observer: &Silent };
    let held = train(frame.clone(), &request, &cx).unwrap();
    let (trained, _) = streamed(&frame, &request, usize::MAX, 2);
    let trained = trained.unwrap();
    assert!(trained.artifact == held.artifact);
    assert_eq!(format!("{:?}", trained.baseline), format!("{:?}", held.baseline));
}

#[test]
fn other_rows_are_told_and_nothing_is_made_of_them() {
    let frame = frame(5 * STEP);
    for changes in 0..3 {
        let (trained, again) = streamed(&frame, &request(Split::None), changes, 2);
        let error = trained.unwrap_err();
        assert_eq!(error.kind, Kind::Data);
        assert!(error.message.contains("when it was read again"), "{error}");
        assert!(again.given_up.load(Ordering::Relaxed));
        assert_eq!(again.readings.load(Ordering::Relaxed), changes + 1);
    }
}

#[test]
fn what_needs_its_rows_holds_them() {
    let all = |request: &Request| away(request, [("a", true), ("w", true), ("n", false)].into_iter());
    let base = || Request { target: Some("y".into()), ..Request::default() };
    assert_eq!(all(&base()), [0, 1]);
    assert_eq!(all(&Request { weight: Some("w".into()), ..base() }), [0]);
    assert_eq!(all(&Request { features: Some(vec!["w".into()]), ..base() }), [1]);
    let none: [Request; 6] = [
        Request { folds: 3, ..base() },
        Request { algorithm: "linear_regression".into(), ..base() },
        Request { group: Some("n".into()), ..base() },
        Request { group_by: vec!["n".into()], ..base() },
        Request { preprocess: r#"{"indicator": true}"#.into(), ..base() },
        Request { preprocess: r#"{"missing": "mean"}"#.into(), ..base() },
    ];
    for request in none {
        assert_eq!(all(&request), [0; 0], "{request:?}");
    }
    let one = r#"{"columns": {"a": {"missing": "mean"}}}"#;
    assert_eq!(all(&Request { preprocess: one.into(), ..base() }), [1]);
}
