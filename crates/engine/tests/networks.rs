//! What networks do beside learning: stop early, go on from checkpoints, embed categories, give what a layer gives, and
//! exchange their weights.

#![allow(clippy::unwrap_used, clippy::panic)]

use engine::algorithms::find;
use engine::artifact::unpack;
use engine::checkpoint::Checkpoint;
use engine::frame::{Column, Data, Dictionary, Frame, Value};
use engine::learner::{Algorithm, Cx, Observer, Silent};
use engine::params::Values;
use engine::run::Table;
use engine::schema::{Schema, Task};
use engine::scorer::Scorer;
use engine::split::Split;
use engine::train::{Request, Trained, train};
use engine::weights::{export, import};
use engine::{Error, Kind, Result};
use safetensors::SafeTensors;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

static NEVER: AtomicBool = AtomicBool::new(false);

fn cnn() -> &'static dyn Algorithm {
    find("cnn").unwrap()
}

/// scikit-learn's digits: 64 pixels from 0 to 1, and the label.
fn digits(rows: usize) -> (Vec<f64>, Vec<f64>) {
    let text = include_str!("reference/data/digits.csv");
    let (mut x, mut y) = (vec![], vec![]);
    for line in text.lines().take(rows) {
        let values: Vec<f64> = line.split(',').map(|v| v.parse().unwrap()).collect();
        x.extend(values[..64].iter().map(|p| p / 16.0));
        y.push(values[64]);
    }
    assert_eq!(y.len(), rows);
    (x, y)
}

#[derive(Default)]
struct Hears {
    metrics: Mutex<Vec<(usize, String, f64)>>,
    /// The states after each round.
    kept: Mutex<Vec<Vec<u8>>>,
}

impl Observer for Hears {
    fn metric(&self, round: usize, name: &str, value: f64) {
        self.metrics.lock().unwrap().push((round, name.into(), value));
    }

    fn checkpoint(&self, _round: usize, _last: bool, state: &dyn Fn() -> Result<Vec<u8>>) -> Result<()> {
        self.kept.lock().unwrap().push(state()?);
        Ok(())
    }
}

fn fit(json: &str, table: &Table, threads: usize, observer: &dyn Observer) -> Result<Vec<u8>> {
    let values = Values::parse("cnn", cnn().info().params, json)?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| cnn().fit(&values, table.schema(), table, &Cx { seed: 3, stop: &NEVER, observer }))
}

fn fact(model: &[u8], table: &Table, name: &str) -> String {
    let rows = cnn().load(model, table.schema()).unwrap().describe(table.schema());
    rows.into_iter().find(|r| r.0 == name).unwrap_or_else(|| panic!("no {name}")).1
}

#[test]
fn stops_early_with_the_weights_of_the_best_epoch() {
    let (x, y) = digits(600);
    let classes = Table::new(Schema::numeric(64, Task::Classification, 10, 600), x.clone(), y).unwrap();
    // How dark a digit is: a line through all pixels.
    let dark: Vec<f64> = x.chunks(64).map(|p| 40.0 + p.iter().sum::<f64>()).collect();
    let numbers = Table::new(Schema::numeric(64, Task::Regression, 0, 600), x, dark).unwrap();
    for (table, least) in [(&classes, 0.85), (&numbers, 0.8)] {
        let json = r#"{"architecture": "mlp", "epochs": 80, "early_stopping": true, "n_iter_no_change": 3, "tol": 0.002,
            "validation_fraction": 0.2, "schedule": "constant", "ema_decay": 0.9}"#;
        let heard = Hears::default();
        let whole = fit(json, table, 2, &heard).unwrap();
        let metrics = heard.metrics.into_inner().unwrap();
        let scores: Vec<f64> = metrics.iter().filter(|m| m.1 == "validation_score").map(|m| m.2).collect();
        assert!(scores.len() > 4 && scores.len() < 80, "{scores:?}");
        assert_eq!(fact(&whole, table, "epochs"), scores.len().to_string());
        let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let first = scores.iter().position(|s| *s == best).unwrap() + 1;
        assert_eq!(fact(&whole, table, "best_epoch"), first.to_string());
        assert_eq!(fact(&whole, table, "best_validation_score"), best.to_string());
        assert!(best > least, "{scores:?}");
        let loss = metrics.iter().find(|m| m.0 == first && m.1 == "train_loss").unwrap().2;
        assert_eq!(fact(&whole, table, "train_loss"), loss.to_string());
        // The same on other threads, and from the checkpoint after any epoch.
        assert!(fit(json, table, 3, &Silent).unwrap() == whole);
        let values = Values::parse("cnn", cnn().info().params, json).unwrap();
        let kept = heard.kept.into_inner().unwrap();
        assert_eq!(kept.len(), scores.len());
        for state in [&kept[1], &kept[first], &kept[kept.len() - 1]] {
            let cx = Cx { seed: 3, stop: &NEVER, observer: &Silent };
            let (again, _) = cnn().fit_again(&values, table.schema(), table, state, &cx).unwrap();
            assert!(again == whole);
        }
        // The best weights are those that a training of so many epochs ends with: the held-out rows are the same.
        let short = json.replace("80", &first.to_string());
        assert!(score(&fit(&short, table, 2, &Silent).unwrap(), table) == score(&whole, table));
    }
}

fn score(model: &[u8], table: &Table) -> Vec<f64> {
    let model = cnn().load(model, table.schema()).unwrap();
    let mut out = vec![0.0; table.schema().rows * model.outputs()];
    model.score(&table.chunk(0..table.schema().rows), &mut out).unwrap();
    out
}

#[test]
fn early_stopping_needs_rows_to_hold_out() {
    let table = Table::new(Schema::numeric(2, Task::Regression, 0, 1), vec![1.0, 2.0], vec![3.0]).unwrap();
    let error = fit(r#"{"architecture": "mlp", "early_stopping": true}"#, &table, 1, &Silent).unwrap_err();
    assert_eq!(error.kind, Kind::Data);
    for bad in [r#"{"validation_fraction": 1}"#, r#"{"n_iter_no_change": 0}"#, r#"{"tol": -1}"#] {
        assert_eq!(fit(bad, &table, 1, &Silent).unwrap_err().kind, Kind::Parameter, "{bad}");
    }
}

/// A column of towns that decides nearly all, beside two numbers.
fn towns(rows: usize) -> Frame {
    let mut towns = Dictionary::default();
    let (mut a, mut b, mut label) = (vec![], vec![], Dictionary::default());
    for i in 0..rows {
        let (town, noise) = (i * 7 % 40, (i * 31 % 17) as f64 / 17.0);
        let name = format!("town {town}");
        let code = if i % 50 == 0 { Dictionary::MISSING } else { towns.intern(&name) };
        towns.codes.push(code);
        a.push(noise);
        b.push(((i * 13 % 23) as f64).sin());
        let code = label.intern(if (town * town) % 3 == 0 { "up" } else { "down" });
        label.codes.push(code);
    }
    let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
    let columns = vec![
        column("a", Data::F64(a)),
        column("town", Data::Text(towns)),
        column("b", Data::F64(b)),
        column("label", Data::Text(label)),
    ];
    Frame { rows, columns }
}

fn request(params: &str, preprocess: &str) -> Request {
    Request {
        algorithm: "cnn".into(),
        params: params.into(),
        preprocess: preprocess.into(),
        target: Some("label".into()),
        split: Split::Random { test_size: 0.25 },
        seed: 4,
        ..Request::default()
    }
}

fn trained(frame: Frame, request: &Request) -> Result<Trained> {
    train(frame, request, &Cx { seed: request.seed, stop: &NEVER, observer: &Silent })
}

const NATIVE: &str = r#"{"categories": "native"}"#;

#[test]
fn embeds_categories_and_knows_missing_and_unseen_ones() {
    let params = r#"{"architecture": "mlp", "epochs": 30, "embedding_dim": 6}"#;
    let model = trained(towns(2000), &request(params, NATIVE)).unwrap();
    let found = model.headline.as_ref().unwrap();
    assert!(found.name == "auc" && found.value > 0.99, "{found:?}");
    let scorer = Scorer::load(&model.artifact).unwrap();
    let file = export(&model.artifact).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    // 40 towns, and a row for those that training never saw.
    assert_eq!(file.tensor("0.0.weight").unwrap().shape(), [41, 6]);
    assert_eq!(file.tensor("2.weight").unwrap().shape(), [128, 8]);
    let ask = |town: Value| {
        let mut row = scorer.row();
        for (i, value) in [Value::Number(0.5), town, Value::Number(0.1)].into_iter().enumerate() {
            scorer.set(&mut row, i, value).unwrap();
        }
        scorer.score(&mut row).unwrap().to_vec()
    };
    let (known, missing, unseen) =
        (ask(Value::Text("town 3")), ask(Value::Missing), ask(Value::Text("atlantis")));
    assert!(known[1] > 0.9, "{known:?}");
    assert_eq!(missing, unseen);
    assert_ne!(known, missing);
    // By layers: the embedding comes first.
    let layers =
        r#"{"epochs": 2, "layers": [{"type": "embedding", "name": "codes"}, {"type": "dense", "units": 8}]}"#;
    let model = trained(towns(400), &request(layers, NATIVE)).unwrap();
    let embedded = Scorer::load(&model.artifact).unwrap().layer(Some("codes")).unwrap();
    // 1.6 * 41^0.56, and the two numbers.
    assert_eq!(embedded.outputs(), 13 + 2);
}

#[test]
fn refuses_categories_that_no_layer_takes() {
    let refused =
        |params: &str, preprocess: &str| trained(towns(100), &request(params, preprocess)).unwrap_err();
    let error = refused(r#"{"layers": [{"type": "dense", "units": 3}]}"#, NATIVE);
    assert!(
        error.kind == Kind::Parameter && error.message.contains("does not begin with an embedding"),
        "{error}"
    );
    let error = refused(r#"{"layers": [{"type": "embedding"}]}"#, "{}");
    assert!(error.message.contains("no feature is a category"), "{error}");
    let given =
        r#"{"layers": [{"type": "embedding", "tables": [{"feature": 1, "categories": 3, "dim": 2}]}]}"#;
    assert!(refused(given, NATIVE).message.contains("gives its tables"));
    let error = refused(r#"{"architecture": "mlp", "mixup": 0.2}"#, NATIVE);
    assert!(error.message.contains("\"mixup\" of cnn mixes numbers"), "{error}");
}

fn numbers(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect()
}

#[test]
fn gives_what_a_layer_gives() {
    let params = r#"{"epochs": 3, "layers": [{"type": "dense", "units": 12, "name": "wide"}, {"type": "tanh"},
        {"type": "residual", "layers": [{"type": "dense", "units": 12}]}, {"type": "dropout", "rate": 0.5}]}"#;
    let model = trained(towns(300), &request(params, "{}")).unwrap();
    let scorer = Scorer::load(&model.artifact).unwrap();
    let ask = |scorer: &Scorer| {
        let mut row = scorer.row();
        for (i, value) in
            [Value::Number(0.3), Value::Text("town 5"), Value::Number(-0.4)].into_iter().enumerate()
        {
            scorer.set(&mut row, i, value).unwrap();
        }
        scorer.score(&mut row).unwrap().to_vec()
    };
    // The last layer before the outputs, through their weights, is what the model answers.
    let last = ask(&scorer.layer(None).unwrap());
    assert_eq!((last.len(), &last), (12, &ask(&scorer.layer(Some("3")).unwrap())));
    let file = export(&model.artifact).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let (weight, bias) = (numbers(&file, "4.weight"), numbers(&file, "4.bias"));
    let z: Vec<f64> = weight
        .chunks(12)
        .zip(&bias)
        .map(|(w, b)| b + w.iter().zip(&last).map(|(w, x)| w * x).sum::<f64>())
        .collect();
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    for (z, p) in z.iter().zip(ask(&scorer)) {
        assert!((z.exp() / sum - p).abs() < 1e-6, "{z} {p}");
    }
    let (wide, flat) = (ask(&scorer.layer(Some("wide")).unwrap()), ask(&scorer.layer(Some("1")).unwrap()));
    for (x, y) in wide.iter().zip(flat) {
        assert!((x.tanh() - y).abs() < 1e-5);
    }
    let error = scorer.layer(Some("2.layers.0")).err().unwrap();
    assert!(
        error.kind == Kind::Parameter && error.hint.unwrap() == "It has: wide, 1, 2, 3, 4.",
        "{}",
        error.message
    );
    let other = Request { algorithm: "logistic".into(), params: "{}".into(), ..request("{}", "{}") };
    let other = Scorer::load(&trained(towns(300), &other).unwrap().artifact).unwrap();
    assert_eq!(other.layer(None).err().unwrap().kind, Kind::Unsupported);
}

#[test]
fn weights_go_out_and_come_back() {
    let params = r#"{"epochs": 2, "layers": [{"type": "dense", "units": 5}, {"type": "batch_norm"}, {"type": "relu"}]}"#;
    let a = trained(towns(300), &request(params, "{}")).unwrap().artifact;
    let faster = params.replace("\"epochs\"", "\"learning_rate\": 0.02, \"epochs\"");
    let b = trained(towns(300), &request(&faster, "{}")).unwrap().artifact;
    let tensors = export(&a).unwrap();
    assert_ne!(tensors, export(&b).unwrap());
    let (c, _) = import(&b, &tensors).unwrap();
    assert_eq!(export(&c).unwrap(), tensors);
    let probability = |artifact: &[u8]| {
        let scorer = Scorer::load(artifact).unwrap();
        let frame = towns(300);
        scorer.score_rows(
            &frame,
            &(0..300).collect::<Vec<u32>>(),
            &Cx { seed: 0, stop: &NEVER, observer: &Silent },
        )
    };
    assert!(probability(&c).unwrap() == probability(&a).unwrap());
    let (card, prepared, payload) = unpack(&c).unwrap();
    let schema = prepared.schema(card.task, card.classes.len(), 300);
    let told = cnn().load(payload, &schema).unwrap().describe(&schema);
    assert!(told.contains(&("weights".into(), "imported".into())), "{told:?}");
    // Every byte of the file's head and some of its tensors, one flip each: refused, or other weights.
    let refused = |bytes: &[u8]| -> Option<Error> { import(&b, bytes).err() };
    for i in (0..tensors.len()).step_by(3) {
        let mut damaged = tensors.clone();
        damaged[i] ^= 0x80;
        if let Some(e) = refused(&damaged) {
            assert!(e.kind == Kind::Data && e.hint.is_some(), "{e}");
        }
        assert_eq!(refused(&tensors[..i]).unwrap().kind, Kind::Data);
    }
    let wider = trained(towns(300), &request(&params.replace('5', "6"), "{}")).unwrap().artifact;
    let error = import(&wider, &tensors).err().unwrap();
    assert!(
        error.message.contains("tensor \"0.weight\" is F32 of [5, 43], expected F32 of [6, 43]"),
        "{error}"
    );
    let other = Request { algorithm: "logistic".into(), params: "{}".into(), ..request("{}", "{}") };
    let other = trained(towns(300), &other).unwrap().artifact;
    assert_eq!(export(&other).err().unwrap().kind, Kind::Unsupported);
    assert_eq!(import(&other, &tensors).err().unwrap().kind, Kind::Unsupported);
}

/// Keeps checkpoints of whole trainings, ends one of them, and has them gone on from.
#[derive(Default)]
struct Keeps {
    ends_at: usize,
    kept: Mutex<Vec<Checkpoint>>,
    from: Mutex<Option<Checkpoint>>,
    said: Mutex<String>,
}

impl Observer for Keeps {
    fn keep(&self, _last: bool, make: &dyn Fn() -> Result<Checkpoint>) -> Result<()> {
        let checkpoint = make()?;
        let round = checkpoint.round();
        self.kept.lock().unwrap().push(checkpoint);
        match round == self.ends_at && round > 0 {
            true => Err(Error::new(Kind::Cancelled, "the power failed")),
            false => Ok(()),
        }
    }

    fn broken_off(&self) -> Option<Checkpoint> {
        self.from.lock().unwrap().take()
    }

    fn warning(&self, message: &str) {
        self.said.lock().unwrap().push_str(message);
    }
}

#[test]
fn whole_trainings_go_on_from_checkpoints_of_the_fit_that_counts() {
    let params = r#"{"architecture": "mlp", "epochs": 4}"#;
    for request in [
        request(params, NATIVE),
        Request { folds: 3, split: Split::None, ..request(params, "{}") },
        Request {
            decision: engine::decision::Options {
                threshold: Some("f1".into()),
                calibration: Some("sigmoid".into()),
                ..Default::default()
            },
            ..request(params, "{}")
        },
    ] {
        let whole = trained(towns(300), &request).unwrap();
        let watched = |frame: Frame, keeps: &Keeps| {
            train(frame, &request, &Cx { seed: 4, stop: &NEVER, observer: keeps })
        };
        let keeps = Keeps { ends_at: 3, ..Keeps::default() };
        assert_eq!(watched(towns(300), &keeps).unwrap_err().message, "the power failed");
        // Of the folds, and of the models that scores are learnt from, none is kept.
        let kept = keeps.kept.into_inner().unwrap();
        assert_eq!(kept.iter().map(Checkpoint::round).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let from = Keeps { from: Mutex::new(kept.last().cloned()), ..Keeps::default() };
        let again = watched(towns(300), &from).unwrap();
        assert!(again.artifact == whole.artifact);
        assert_eq!((&again.rounds, &again.metrics), (&whole.rounds, &whole.metrics));
        assert_eq!(from.kept.into_inner().unwrap().len(), 0);
        // Other rows begin anew.
        let from = Keeps { from: Mutex::new(kept.last().cloned()), ..Keeps::default() };
        let other = watched(towns(299), &from).unwrap();
        assert!(other.artifact == trained(towns(299), &request).unwrap().artifact);
        assert!(from.said.into_inner().unwrap().contains("not those of the checkpoint"));
    }
}

/// Digits with the labels that they have: `even`, `round` (0, 6, 8, 9), `large` (above 4). 1, 2 and 3 have few or none.
fn labels_of(digit: f64) -> Vec<&'static str> {
    let known = [
        ("even", digit % 2.0 == 0.0),
        ("large", digit > 4.0),
        ("round", [0.0, 6.0, 8.0, 9.0].contains(&digit)),
    ];
    known.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
}

fn labelled(rows: usize) -> Frame {
    let (x, y) = digits(rows);
    let mut sets = Dictionary::default();
    for digit in &y {
        let code = sets.intern(&engine::labels::name(labels_of(*digit)));
        sets.codes.push(code);
    }
    let column = |name: &str, data| Column { name: name.into(), data, missing: vec![] };
    let pixels = Data::Vector { width: 64, values: x.iter().map(|v| *v as f32).collect() };
    Frame { columns: vec![column("pixels", pixels), column("traits", Data::Labels(sets))], rows }
}

fn train_labels(frame: Frame, params: &str, class_weight: Option<&str>, threads: usize) -> Result<Trained> {
    let decision =
        engine::decision::Options { class_weight: class_weight.map(str::to_string), ..Default::default() };
    let request = Request {
        algorithm: "cnn".into(),
        params: params.into(),
        target: Some("traits".into()),
        decision,
        split: Split::Random { test_size: 0.25 },
        seed: 2,
        max_memory: u64::MAX,
        ..Request::default()
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| train(frame, &request, &Cx { seed: 2, stop: &NEVER, observer: &Silent }))
}

#[test]
fn learns_sets_of_labels_on_any_number_of_threads() {
    let params = r#"{"architecture": "mlp", "epochs": 15}"#;
    let whole = train_labels(labelled(1200), params, None, 2).unwrap();
    assert_eq!(
        (whole.card.task, &whole.card.classes[..]),
        (Task::Multilabel, &["even", "large", "round"].map(String::from)[..])
    );
    let headline = whole.headline.unwrap();
    assert_eq!((headline.name.as_str(), headline.split.as_str()), ("f1_micro", "test"));
    assert!(headline.value > 0.93, "{}", headline.value);
    let metric = |name: &str| whole.metrics.iter().find(|m| m.name == name).unwrap().value;
    assert!(metric("accuracy") > 0.85 && metric("hamming_loss") < 0.06 && metric("auc_macro") > 0.97);
    assert!(train_labels(labelled(1200), params, None, 1).unwrap().artifact == whole.artifact);
    assert!(train_labels(labelled(1200), params, None, 3).unwrap().artifact == whole.artifact);

    let scorer = Scorer::load(&whole.artifact).unwrap();
    let (x, y) = digits(40);
    let mut row = scorer.row();
    let cx = Cx { seed: 0, stop: &NEVER, observer: &Silent };
    let together = scorer.score_rows(&labelled(40), &(0..40).collect::<Vec<u32>>(), &cx).unwrap();
    let mut right = 0;
    for (i, (pixels, digit)) in x.chunks(64).zip(&y).enumerate() {
        scorer.set_f64s(&mut row, pixels).unwrap();
        let p = scorer.score(&mut row).unwrap().to_vec();
        assert_eq!(p, together[3 * i..3 * (i + 1)]);
        assert!(p.len() == 3 && p.iter().all(|p| (0.0..=1.0).contains(p)));
        let given: Vec<&str> = scorer.labels(&p).map(|l| scorer.card().classes[l].as_str()).collect();
        right += usize::from(given == labels_of(*digit));
    }
    assert!(right >= 32, "{right}");
    // What was remembered of the answers is the set that a row is given.
    let remembered: Vec<&str> = whole.baseline.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(remembered, ["pixels", "traits", "prediction"]);
}

#[test]
fn weights_of_labels_move_their_probabilities() {
    let params = r#"{"architecture": "mlp", "epochs": 3}"#;
    let mean = |trained: &Trained| -> Vec<f64> {
        let scorer = Scorer::load(&trained.artifact).unwrap();
        let cx = Cx { seed: 0, stop: &NEVER, observer: &Silent };
        let rows: Vec<u32> = (0..600).collect();
        let scores = scorer.score_rows(&labelled(600), &rows, &cx).unwrap();
        (0..3).map(|l| scores.iter().skip(l).step_by(3).sum::<f64>() / 600.0).collect()
    };
    let plain = mean(&train_labels(labelled(600), params, None, 2).unwrap());
    let heavy = train_labels(labelled(600), params, Some(r#"{"round": 20}"#), 2).unwrap();
    assert_eq!(heavy.card.decision.class_weight, [1.0, 1.0, 20.0]);
    let heavy = mean(&heavy);
    assert!(heavy[2] > plain[2] + 0.1 && (heavy[0] - plain[0]).abs() < 0.1, "{plain:?} {heavy:?}");
    let balanced =
        train_labels(labelled(600), params, Some("balanced"), 2).unwrap().card.decision.class_weight;
    let with = |name| digits(600).1.iter().filter(|d| labels_of(**d).contains(&name)).count() as f64;
    // Of the training rows, which are three quarters of all.
    for (weight, name) in balanced.iter().zip(["even", "large", "round"]) {
        let of_all = (600.0 - with(name)) / with(name);
        assert!((weight / of_all - 1.0).abs() < 0.2, "{name}: {weight} of {of_all}");
    }
}

#[test]
fn early_stopping_holds_sets_of_labels_out() {
    let params = r#"{"architecture": "mlp", "epochs": 60, "early_stopping": true, "n_iter_no_change": 2, "tol": 0.01,
        "validation_fraction": 0.2, "loss": "focal"}"#;
    let trained = train_labels(labelled(600), params, None, 2).unwrap();
    let scores: Vec<f64> =
        trained.rounds.iter().filter(|r| r.name == "validation_score").map(|r| r.value).collect();
    assert!(scores.len() > 3 && scores.len() < 60 && scores.iter().all(|s| (0.0..=1.0).contains(s)));
    assert!(scores.iter().copied().fold(0.0, f64::max) > 0.7, "{scores:?}");
}

#[test]
fn refuses_a_model_of_labels_that_claims_to_be_of_classes() {
    let params = r#"{"architecture": "mlp", "epochs": 1}"#;
    let whole = train_labels(labelled(200), params, None, 1).unwrap();
    let (card, prepared, payload) = unpack(&whole.artifact).unwrap();
    for (task, classes) in [
        (Task::Classification, card.classes.clone()),
        (Task::Multilabel, vec!["even".to_string()]),
        (Task::Multilabel, vec![]),
        (Task::Regression, vec![]),
        (Task::Regression, card.classes.clone()),
    ] {
        let false_card = engine::artifact::Card { task, classes, ..card.clone() };
        let packed = engine::artifact::pack(&false_card, &prepared, payload).unwrap();
        assert_eq!(Scorer::load(&packed).err().map(|e| e.kind), Some(Kind::Corrupt), "{task:?}");
    }
    for at in [f64::NAN, -0.5, 1.5] {
        let mut false_card = card.clone();
        false_card.decision.rule = engine::decision::Rule::Labels { at };
        let packed = engine::artifact::pack(&false_card, &prepared, payload).unwrap();
        assert_eq!(Scorer::load(&packed).err().map(|e| e.kind), Some(Kind::Corrupt), "{at}");
    }
}

#[test]
fn a_training_of_labels_goes_on_to_the_same_model() {
    let (x, y) = digits(400);
    let has = |digit: &f64| {
        let own = labels_of(*digit);
        ["even", "large", "round"].map(|label| f64::from(u8::from(own.contains(&label))))
    };
    let mut schema = Schema::numeric(64, Task::Multilabel, 3, 400);
    schema.positive = vec![1.0, 2.0, 3.0];
    let table = Table::new(schema, x, y.iter().flat_map(has).collect()).unwrap();
    let json = r#"{"architecture": "mlp", "epochs": 6}"#;
    let heard = Hears::default();
    let whole = fit(json, &table, 2, &heard).unwrap();
    let metrics = heard.metrics.into_inner().unwrap();
    assert_eq!(metrics.iter().filter(|m| m.1 == "train_accuracy").count(), 6);
    let values = Values::parse("cnn", cnn().info().params, json).unwrap();
    let kept = heard.kept.into_inner().unwrap();
    assert_eq!(kept.len(), 6);
    for state in &kept {
        let cx = Cx { seed: 3, stop: &NEVER, observer: &Silent };
        let (again, _) = cnn().fit_again(&values, table.schema(), &table, state, &cx).unwrap();
        assert!(again == whole);
    }
    // The weights of positives have their part in it.
    let plain = Schema { positive: vec![], ..table.schema().clone() };
    let chunk = table.chunk(0..400);
    let plain = Table::new(plain, chunk.x.to_vec(), chunk.y.to_vec()).unwrap();
    assert!(fit(json, &plain, 2, &Silent).unwrap() != whole);
}
