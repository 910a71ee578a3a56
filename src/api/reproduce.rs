//! `damson.reproduce`: a version trained again.

use super::train::{in_aggregate, on_threads};
use crate::catalog::lineage::{self, Record};
use crate::catalog::{Resolved, resolve};
use crate::pg::datum::{Text, cstring};
use crate::pg::error::{Result, answer};
use crate::pg::role::Settings;
use crate::pg::settings;
use engine::init_model::InitModel;
use engine::train::Trained;
use pgrx::prelude::*;
use serde_json::Value;

/// A fact of the training, and what it is now.
struct Fact {
    what: String,
    recorded: Option<String>,
    found: Option<String>,
}

#[pg_extern(sql = r#"
CREATE FUNCTION damson.reproduce(model text)
RETURNS TABLE (what text, recorded text, found text, same boolean)
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 12
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
COMMENT ON FUNCTION damson.reproduce(text) IS
'Trains a version again from what was recorded of it, and says whether the artifact is the same, bit for bit.
The first row is the artifact, by its SHA-256. The others are what it was made of, then and now: those that are not the
same say why the artifact is not. Where a relation, a column or the init_model is gone nothing is trained, and the rows
say which.
Nothing is registered. The source is read with your rights, with the search path of then; only the model''s owner may
reproduce it. damson.threads makes no difference.
Example: SELECT * FROM damson.reproduce(''churn@3'') WHERE NOT same;';
"#)]
#[allow(clippy::type_complexity)] // It is that of the SQL function.
fn reproduce(
    model: Text,
) -> TableIterator<
    'static,
    (name!(what, Text), name!(recorded, Option<Text>), name!(found, Option<Text>), name!(same, bool)),
> {
    let facts = answer(|| compare(&*resolve(&model)?));
    TableIterator::new(facts.into_iter().map(|f| {
        let same = f.recorded == f.found;
        (f.what.into(), f.recorded.map(Text), f.found.map(Text), same)
    }))
}

fn compare(model: &Resolved) -> Result<Vec<Fact>> {
    let record = lineage::of(model)?;
    let mut facts = vec![];
    for b in &record.broken {
        let column = b.column.as_ref().map(|c| format!(", column \"{c}\"")).unwrap_or_default();
        let recorded = Some(b.then.clone().unwrap_or_else(|| "there".into()));
        facts.push(Fact {
            what: format!("{} {}{column}", b.kind, b.relation),
            recorded,
            found: b.now.clone(),
        });
    }
    let sha256 = Some(record.sha256.clone());
    let gone = record.init_model.as_ref().filter(|init| init.artifact.is_none());
    if let Some(init) = gone {
        facts.push(Fact { what: "init_model".into(), recorded: Some(init.name.clone()), found: None });
    }
    if gone.is_some() || record.broken.iter().any(|b| b.now.is_none()) {
        facts.insert(0, Fact { what: "artifact".into(), recorded: sha256, found: None });
        return Ok(facts);
    }
    let trained = train(model, &record)?;
    let found = Some(engine::artifact::sha256(&trained.artifact));
    facts.insert(0, Fact { what: "artifact".into(), recorded: sha256, found });
    compare_rows(model, &record, &trained, &mut facts);
    compare_cards(model, &trained, &mut facts);
    compare_code(model, &record, &mut facts)?;
    Ok(facts)
}

fn train(model: &Resolved, record: &Record) -> Result<Trained> {
    let mut request = engine::lineage::request(&record.recipe)?;
    (request.max_memory, request.threads) = (settings::max_memory(), settings::threads());
    if let Some(init) = &record.init_model {
        request.go_on_from(InitModel::open(&init.name, init.artifact.as_deref().unwrap_or_default())?)?;
    }
    let (path, zone) = (cstring(&record.search_path), cstring(&record.time_zone));
    let _settings = Settings::set(&[(c"search_path", path), (c"TimeZone", zone)]);
    let learnt = if record.runner == settings::Runner::Aggregate.name() {
        in_aggregate(&model.model, &record.source, &request, None)?
    } else {
        on_threads(&model.model, &record.source, &request, None, None)?
    };
    Ok(learnt.trained)
}

fn compare_rows(model: &Resolved, record: &Record, trained: &Trained, facts: &mut Vec<Fact>) {
    let card = model.scorer.card();
    let mut add = |what: &str, recorded: Option<String>, found: Option<String>| {
        facts.push(Fact { what: what.into(), recorded, found });
    };
    let now = &trained.facts;
    add("rows", Some(record.rows.to_string()), Some(now.rows.to_string()));
    add("fingerprint of the rows", Some(card.fingerprint.clone()), Some(now.digest.fingerprint()));
    if record.row_order.is_some() {
        add("order of the rows", record.row_order.clone(), now.ordered.then(|| now.digest.row_order()));
    }
    let parts = |train: u64, test: u64| Some(format!("{train} to train on, {test} to test on"));
    let found = &trained.card;
    add("split", parts(card.train_rows, card.test_rows), parts(found.train_rows, found.test_rows));
}

/// What the models say of themselves.
fn compare_cards(model: &Resolved, trained: &Trained, facts: &mut Vec<Fact>) {
    let (then, now) = (model.scorer.card(), &trained.card);
    let mut add = |what: String, recorded: Option<String>, found: Option<String>| {
        facts.push(Fact { what, recorded, found });
    };
    add("algorithm".into(), Some(then.algorithm.clone()), Some(now.algorithm.clone()));
    let version = |v: u16| Some(v.to_string());
    add("algorithm version".into(), version(then.algorithm_version), version(now.algorithm_version));
    for (what, all, then, now) in [
        ("parameter", "parameters", &then.params, &now.params),
        ("preprocess", "preprocessing", &then.preprocess, &now.preprocess),
    ] {
        let differing = differing(&document(then), &document(now));
        if differing.is_empty() {
            let count =
                |text: &str| Some(format!("{} of them", document(text).as_object().map_or(0, |o| o.len())));
            add(all.to_string(), count(then), count(now));
        }
        for (name, then, now) in differing {
            add(format!("{what} {name}"), then, now);
        }
    }
    add("seed".into(), Some(then.seed.to_string()), Some(now.seed.to_string()));
    let columns = |card: &engine::artifact::Card| {
        let named = |i: &engine::prepare::InputColumn| format!("{} {:?}", i.name, i.kind);
        Some(card.inputs.iter().map(named).collect::<Vec<_>>().join(", "))
    };
    if columns(then) != columns(now) {
        add("columns".into(), columns(then), columns(now));
    }
    if then.classes != now.classes {
        add("classes".into(), Some(then.classes.join(", ")), Some(now.classes.join(", ")));
    }
}

fn compare_code(model: &Resolved, record: &Record, facts: &mut Vec<Fact>) -> Result<()> {
    let card = model.scorer.card();
    let mut add = |what: String, recorded: Option<String>, found: Option<String>| {
        facts.push(Fact { what, recorded, found });
    };
    let version = env!("CARGO_PKG_VERSION");
    add("code version".into(), Some(card.engine_version.clone()), Some(version.into()));
    add("code build".into(), Some(record.build.clone()), Some(lineage::BUILD.into()));
    let now = lineage::libraries(&crate::pg::reads::server_version()?);
    for (name, then, now) in differing(&record.libraries, &now) {
        add(format!("library {name}"), then, now);
    }
    Ok(())
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// The keys of two objects whose values differ, with both values.
fn differing(then: &Value, now: &Value) -> Vec<(String, Option<String>, Option<String>)> {
    let empty = serde_json::Map::new();
    let (then, now) = (then.as_object().unwrap_or(&empty), now.as_object().unwrap_or(&empty));
    let shown = |v: Option<&Value>| v.map(Value::to_string);
    let others = now.keys().filter(|k| !then.contains_key(*k));
    let differs = |k: &&String| then.get(*k) != now.get(*k);
    then.keys()
        .chain(others)
        .filter(differs)
        .map(|k| (k.clone(), shown(then.get(k)), shown(now.get(k))))
        .collect()
}
