//! Embeddings of categories against PyTorch, as recorded by `reference/record_embedding.py`, and what they refuse.
#![allow(clippy::unwrap_used)]

mod common;

use common::{PLAIN, near, normal_of, numbers, one_step};
use nn::data::Inputs;
use nn::network::{Network, Shape};
use nn::optimizer::Weights;
use nn::plan::Plan;
use nn::score::Predictor;
use nn::train::{Loss, Rows, Trainer};
use nn::{Stop, weights};
use safetensors::SafeTensors;
use std::sync::atomic::AtomicBool;

const RECORDED: &[u8] = include_bytes!("reference/embedding.safetensors");
const LAYERS: &str = r#"[{"type":"embedding","tables":[{"feature":1,"categories":7,"dim":3},
    {"feature":4,"categories":12,"dim":5}]},{"type":"dense","units":9},{"type":"batch_norm"},{"type":"relu"}]"#;

fn plan(layers: &str) -> Result<Plan, nn::Error> {
    Plan::new(&Network::from_json(Shape::flat(5), layers, 4)?)
}

#[test]
fn embeddings_agree_with_pytorch() {
    let file = SafeTensors::deserialize(RECORDED).unwrap();
    let plan = plan(LAYERS).unwrap();
    let views =
        file.tensors().into_iter().filter_map(|(n, v)| Some((n.strip_prefix("start/")?.to_string(), v)));
    let start =
        weights::load(&plan, &safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap()).unwrap();
    let (inputs, targets) = (numbers(&file, "inputs"), numbers(&file, "labels"));
    let mut normal = normal_of(Inputs::Numbers(&inputs), 5);
    plan.network.codes().for_each(|c| normal.leave(c));

    let expected = numbers(&file, "outputs");
    let mut outputs = vec![0.0; expected.len()];
    let model = Predictor::new(plan.clone(), normal.clone(), start.clone()).unwrap();
    model.outputs(Inputs::Numbers(&inputs), &mut outputs).unwrap();
    near(&outputs.iter().map(|x| *x as f32).collect::<Vec<_>>(), &expected, 0.01, "outputs");

    let options = one_step(Loss::CrossEntropy { smoothing: 0.0 }, targets.len());
    let mut trainer = Trainer::new(&plan, normal, options);
    let mut after = Weights::new(start.clone(), PLAIN, false);
    let rows = Rows { inputs: Inputs::Numbers(&inputs).into(), targets: &targets, weights: None };
    let stop = AtomicBool::new(false);
    let found = trainer.epoch(&mut after, rows, 0, Stop(&stop)).unwrap();
    near(&[(found.loss / found.weight) as f32], &numbers(&file, "loss"), 0.01, "loss");
    let gradient: Vec<f32> = start.iter().zip(&after.values).map(|(a, b)| a - b).collect();
    // Variances below zero are none, so the running ones are left out.
    let trained = gradient[..plan.trained].iter().copied().chain(vec![0.0; plan.weights - plan.trained]);
    let saved = weights::save(&plan, &trained.collect::<Vec<_>>()).unwrap();
    let saved = SafeTensors::deserialize(&saved).unwrap();
    let mut compared = 0;
    for name in file.names().into_iter().filter_map(|n| n.strip_prefix("gradient/")) {
        near(&numbers(&saved, name), &numbers(&file, &format!("gradient/{name}")), 0.01, name);
        compared += 1;
    }
    assert_eq!(compared, 8);
    assert_eq!(plan.parameters(), 7 * 3 + 12 * 5 + 12 * 9 + 2 * 9 + 10 * 4);
}

#[test]
fn gradients_agree_with_finite_differences() {
    let plan = plan(&LAYERS.replace(r#"{"type":"batch_norm"},"#, "")).unwrap();
    let inputs = [0.3, 2.0, -1.0, 0.5, 11.0, -0.2, 6.0, 0.4, 1.5, f32::NAN, 1.0, 2.0, 0.1, -0.7, 3.0];
    let start: Vec<f32> = weights::first(&plan, 3).iter().map(|w| w * 3.0).collect();
    let at = |values: &[f32]| {
        let options = one_step(Loss::CrossEntropy { smoothing: 0.0 }, 3);
        let mut trainer = Trainer::new(
            &plan,
            normal_of(Inputs::Numbers(&[1.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0, -1.0, -1.0, 0.0]), 5),
            options,
        );
        let mut after = Weights::new(values.to_vec(), PLAIN, false);
        let rows = Rows { inputs: Inputs::Numbers(&inputs).into(), targets: &[0.0, 3.0, 1.0], weights: None };
        let stop = AtomicBool::new(false);
        let found = trainer.epoch(&mut after, rows, 0, Stop(&stop)).unwrap();
        (found.loss / 3.0, values.iter().zip(&after.values).map(|(a, b)| a - b).collect::<Vec<f32>>())
    };
    let (_, gradient) = at(&start);
    let mut seen = 0;
    for i in (0..plan.trained).filter(|i| gradient[*i].abs() > 0.02) {
        let moved = |h: f32| {
            let mut values = start.clone();
            values[i] += h;
            at(&values).0
        };
        let slope = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        assert!((slope - f64::from(gradient[i])).abs() < 2e-2, "{i}: {slope}, {}", gradient[i]);
        seen += 1;
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn refuses_tables_that_do_not_fit() {
    let refused = |tables: &str, more: &str| {
        plan(&format!(r#"[{more}{{"type":"embedding","tables":[{tables}]}}]"#)).unwrap_err().to_string()
    };
    let table = |f: usize, c: usize, d: usize| format!(r#"{{"feature":{f},"categories":{c},"dim":{d}}}"#);
    assert!(refused(&table(5, 3, 2), "").contains("a table of feature 5, expected each of 0 .. 5"));
    assert!(refused(&[table(1, 3, 2), table(1, 3, 2)].join(","), "").contains("once at most"));
    assert!(refused(&table(1, 0, 2), "").contains("0 categories by 2"));
    assert!(refused(&table(1, usize::MAX, 2), "").contains("weights in all"));
    assert!(refused(&table(1, 3, 2), r#"{"type":"relu"},"#).contains("needs to be the first layer"));
    let image = Network::from_json(Shape::new(4, 4, 1), r#"[{"type":"embedding"}]"#, 4).unwrap();
    assert!(Plan::new(&image).unwrap_err().to_string().contains("a row of numbers"));
}
