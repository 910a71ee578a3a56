//! Training where the rows lie: the same learners, driven through an aggregate of a server.
//!
//! [`train_folded`] is the coordinator. It sends an order, which the caller runs as an aggregate over the source
//! and answers with the merged bytes of all shards: first a summary of the columns, then one order a round. A
//! [`Fold`] is one shard of one order: `attach` and `push` are the transition function, `combine` the combine
//! function, `partial` the serial and final function.

use crate::algorithms;
use crate::artifact::{self, Card};
use crate::decision::Decision;
use crate::drift::baseline::Seen;
use crate::drift::{Baseline, ColumnBaseline, Role};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::RowHasher;
use crate::frame::{Column, ColumnKind, Data, Dictionary, Value, unknown_column};
use crate::groups::UnknownGroup;
use crate::learner::{Cx, Shard};
use crate::lineage::Facts;
use crate::params::Values;
use crate::prepare::options::{Options, Plan};
use crate::prepare::summary::Summary;
use crate::prepare::{InputColumn, Prepared};
use crate::roles;
use crate::run::block_rows;
use crate::schema::{Buffer, Schema, Task};
use crate::split::Split;
use crate::target::{self, Labels, Target};
use crate::train::{Request, Trained};
use crate::wire;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The type of a source column, as far as training asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ColumnType {
    /// `real`, `double precision`, `numeric`.
    Float,
    /// `smallint`, `integer`, `bigint`.
    Integer,
    /// `boolean`.
    Bool,
    /// Texts.
    Text,
    /// Dates and timestamps.
    Time,
    /// Arrays of numbers.
    Vector,
    /// `bytea`.
    Bytes,
}

/// A column that the aggregate reads from each row, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
}

#[derive(Serialize, Deserialize)]
enum Work {
    Summarise {
        preprocess: String,
        algorithm: String,
    },
    Learn {
        algorithm: String,
        params: String,
        prepared: Box<Prepared>,
        task: Task,
        classes: Vec<String>,
        rows: u64,
        /// A weight a class; none where all weigh 1.
        class_weight: Vec<f64>,
        state: Vec<u8>,
    },
}

/// What every shard of a pass is told. Columns are the features, then those of the other roles that there are:
/// target, weight, offset, group.
#[derive(Serialize, Deserialize)]
struct Order {
    columns: Vec<SourceColumn>,
    features: usize,
    target: bool,
    weight: bool,
    offset: bool,
    group: bool,
    seed: u64,
    work: Work,
}

/// More distinct labels than this are not kept: the target is a number, or a mistake.
const LABELS: usize = 1001;

#[derive(Serialize, Deserialize, Default)]
struct Overview {
    rows: u64,
    columns: Vec<Option<(ColumnKind, Summary)>>,
    labels: BTreeMap<String, u64>,
    /// What the rows of each label weigh.
    weights: BTreeMap<String, f64>,
    missing_labels: u64,
    fingerprint: u128,
    /// What the features and the target are like.
    seen: Vec<Seen>,
}

enum Doing {
    Overview {
        overview: Overview,
        plans: Vec<Plan>,
        hasher: RowHasher,
    },
    Round {
        shard: Box<dyn Shard>,
        prepared: Box<Prepared>,
        labels: Option<Labels>,
        class_weight: Vec<f64>,
        buffer: Box<Buffer>,
        block: usize,
    },
}

/// One shard of one order.
pub struct Fold {
    order: Order,
    doing: Doing,
    finished: bool,
}

impl Fold {
    /// Begins a shard.
    ///
    /// # Errors
    /// `Kind::Corrupt` for bytes that are no order.
    pub fn attach(order: &[u8]) -> Result<Fold> {
        let mut order: Order = wire::decode(order)?;
        let roles = [order.target, order.weight, order.offset, order.group];
        if order.features + roles.into_iter().filter(|r| *r).count() != order.columns.len() {
            return Err(Error::corrupt("the order's columns and roles do not agree"));
        }
        let doing = match &mut order.work {
            Work::Summarise { preprocess, algorithm } => {
                let options = Options::parse(preprocess, algorithms::find(algorithm)?.info().input)?;
                let hasher = RowHasher::new(order.columns.iter().map(|c| c.name.as_str()));
                let columns = vec![None; order.features];
                let features = order.columns.iter().take(order.features);
                let plans = features.map(|c| options.plan(&c.name)).collect::<Result<_>>()?;
                let used = order.columns.iter().take(order.features + usize::from(order.target));
                let seen = used.map(|c| Seen::new(c.kind)).collect();
                Doing::Overview { overview: Overview { columns, seen, ..Overview::default() }, plans, hasher }
            }
            Work::Learn { algorithm, params, prepared, task, classes, rows, class_weight, state } => {
                prepared.restore()?;
                if !class_weight.is_empty() && class_weight.len() != classes.len() {
                    return Err(Error::corrupt("the order's class weights do not fit its classes"));
                }
                if prepared.inputs.len() != order.features {
                    return Err(Error::corrupt("the order's features do not fit its preprocessing"));
                }
                let algorithm = algorithms::find(algorithm)?;
                let schema = prepared.schema(*task, classes.len(), *rows as usize);
                let info = algorithm.info();
                let shard =
                    algorithm.attach(&Values::parse(info.name, info.params, params)?, &schema, state)?;
                Doing::Round {
                    shard,
                    prepared: prepared.clone(),
                    labels: order.target.then(|| Labels::new(*task, classes)),
                    class_weight: class_weight.clone(),
                    buffer: Box::default(),
                    block: block_rows(&schema),
                }
            }
        };
        Ok(Fold { order, doing, finished: false })
    }

    /// The columns to give to `push`, in order.
    pub fn columns(&self) -> &[SourceColumn] {
        &self.order.columns
    }

    /// The training's seed.
    pub fn seed(&self) -> u64 {
        self.order.seed
    }

    /// Adds a row, a value a column.
    pub fn push(&mut self, values: &[Value], cx: &Cx) -> Result<()> {
        let Order { columns, features, target: has_target, .. } = &self.order;
        if values.len() != columns.len() {
            return Err(Error::internal(format!(
                "a row has {} values, expected {}",
                values.len(),
                columns.len()
            )));
        }
        match &mut self.doing {
            Doing::Overview { overview, plans, hasher } => {
                overview.rows += 1;
                hasher.add(values);
                overview.seen.iter_mut().zip(values).for_each(|(seen, value)| seen.push(*value));
                for (i, (value, column)) in values.iter().zip(columns).take(*features).enumerate() {
                    let plan = &plans[i];
                    if overview.columns[i].is_none()
                        && let Some(kind) = kind_of(column.kind, *value)
                    {
                        overview.columns[i] = Some((kind, Summary::new(kind, plan)));
                    }
                    if let Some((_, summary)) = &mut overview.columns[i] {
                        summary
                            .add(*value, plan)
                            .map_err(|e| Error::new(e.kind, format!("column \"{}\": {e}", column.name)))?;
                    }
                }
                if *has_target {
                    match target::text(values[*features]) {
                        None => overview.missing_labels += 1,
                        Some(label) => {
                            if overview.labels.len() < LABELS || overview.labels.contains_key(&label) {
                                let weight = match (self.order.weight, columns.get(*features + 1)) {
                                    (true, Some(c)) => roles::weight(&c.name, values[*features + 1])?,
                                    _ => 1.0,
                                };
                                *overview.weights.entry(label.clone()).or_default() += weight;
                                *overview.labels.entry(label).or_default() += 1;
                            }
                        }
                    }
                }
                Ok(())
            }
            Doing::Round { shard, prepared, labels, class_weight, buffer, block } => {
                let width = prepared.width();
                let image = prepared.image().map_or(0, |s| s.bytes());
                let (x, pictures) = (buffer.x.len(), buffer.images.len());
                buffer.x.resize(x + width, 0.0);
                buffer.images.resize(pictures + image, 0);
                for (i, value) in values.iter().take(*features).enumerate() {
                    prepared.put(i, *value, &mut buffer.x[x..], &mut buffer.images[pictures..])?;
                }
                let mut others = columns.iter().zip(values).skip(*features);
                let mut next = |there: bool| if there { others.next() } else { None };
                if let (Some(labels), Some((column, value))) = (labels, next(*has_target)) {
                    buffer.y.push(labels.number(&column.name, *value)?);
                }
                let weight =
                    next(self.order.weight).map(|(c, value)| roles::weight(&c.name, *value)).transpose()?;
                let class = buffer.y.last().and_then(|y| class_weight.get(*y as usize));
                if weight.is_some() || class.is_some() {
                    buffer.weight.push(weight.unwrap_or(1.0) * class.unwrap_or(&1.0));
                }
                if let Some((column, value)) = next(self.order.offset) {
                    buffer.offset.push(roles::offset(&column.name, *value)?);
                }
                if let Some((column, value)) = next(self.order.group) {
                    buffer.group.push(roles::group(&column.name, *value)?);
                }
                buffer.rows += 1;
                if buffer.rows == *block {
                    shard.accumulate(&buffer.chunk(), cx)?;
                    let next = buffer.first + buffer.rows as u64;
                    buffer.clear(next);
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self, cx: &Cx) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        self.finished = true;
        match &mut self.doing {
            Doing::Overview { overview, hasher, .. } => overview.fingerprint = hasher.sum,
            Doing::Round { shard, buffer, .. } => {
                if buffer.rows > 0 {
                    shard.accumulate(&buffer.chunk(), cx)?;
                    buffer.clear(0);
                }
                shard.finish(cx)?;
            }
        }
        Ok(())
    }

    /// Adds the bytes of another shard of the same order. No rows may follow.
    pub fn combine(&mut self, partial: &[u8], cx: &Cx) -> Result<()> {
        self.finish(cx)?;
        match &mut self.doing {
            Doing::Overview { overview, .. } => overview.merge(wire::decode(partial)?),
            Doing::Round { shard, .. } => shard.combine(partial),
        }
    }

    /// Ends the shard and gives its bytes. No rows may follow.
    pub fn partial(&mut self, cx: &Cx) -> Result<Vec<u8>> {
        self.finish(cx)?;
        match &self.doing {
            Doing::Overview { overview, .. } => wire::encode(overview),
            Doing::Round { shard, .. } => shard.partial(),
        }
    }
}

impl Overview {
    fn merge(&mut self, other: Overview) -> Result<()> {
        if self.columns.len() != other.columns.len() || self.seen.len() != other.seen.len() {
            return Err(Error::corrupt("overviews of different sources cannot be merged"));
        }
        for (mine, theirs) in self.seen.iter_mut().zip(other.seen) {
            mine.merge(theirs)?;
        }
        self.rows += other.rows;
        self.missing_labels += other.missing_labels;
        self.fingerprint = self.fingerprint.wrapping_add(other.fingerprint);
        for (label, rows) in other.labels {
            if self.labels.len() < LABELS || self.labels.contains_key(&label) {
                *self.weights.entry(label.clone()).or_default() +=
                    other.weights.get(&label).copied().unwrap_or(0.0);
                *self.labels.entry(label).or_default() += rows;
            }
        }
        for (mine, theirs) in self.columns.iter_mut().zip(other.columns) {
            match (mine, theirs) {
                (Some((a, mine)), Some((b, theirs))) if *a == b => mine.merge(theirs)?,
                (Some(_), Some(_)) => {
                    return Err(Error::new(Kind::Data, "arrays of a column differ in length"));
                }
                (mine @ None, theirs) => *mine = theirs,
                (Some(_), None) => {}
            }
        }
        Ok(())
    }
}

/// The kind of a column's values; that of arrays is known from the first one.
fn kind_of(kind: ColumnType, value: Value) -> Option<ColumnKind> {
    match (kind, value) {
        (ColumnType::Float | ColumnType::Integer, _) => Some(ColumnKind::Number),
        (ColumnType::Bool, _) => Some(ColumnKind::Bool),
        (ColumnType::Text, _) => Some(ColumnKind::Text),
        (ColumnType::Time, _) => Some(ColumnKind::Time),
        (ColumnType::Bytes, _) => Some(ColumnKind::Bytes),
        (ColumnType::Vector, Value::Vector(v)) => Some(ColumnKind::Vector { width: v.len() }),
        (ColumnType::Vector, _) => None,
    }
}

/// The target that an overview tells of: task and classes, without any row's number.
fn read_target(column: &SourceColumn, overview: &Overview, request: &Request) -> Result<Target> {
    let info = algorithms::find(&request.algorithm)?.info();
    if overview.missing_labels > 0 {
        let (name, missing) = (&column.name, overview.missing_labels);
        let message =
            format!("target column \"{name}\" is NULL or NaN in {missing} of {} rows", overview.rows);
        return Err(Error::new(Kind::Null, message)
            .hint(format!("Leave these rows out: source => 'SELECT ... WHERE {name} IS NOT NULL'.")));
    }
    // The distinct labels, as a column of the target's type, tell as much as the rows would.
    let number = |text: &String| text.parse().unwrap_or(f64::NAN);
    let labels = overview.labels.keys();
    let data = match column.kind {
        ColumnType::Float => Data::F64(labels.map(number).collect()),
        ColumnType::Integer => Data::I64(labels.map(|t| number(t) as i64).collect()),
        ColumnType::Bool => Data::Bool(labels.map(|t| u8::from(t == "true")).collect()),
        _ => {
            let mut dictionary = Dictionary::default();
            for text in labels {
                let code = dictionary.intern(text);
                dictionary.codes.push(code);
            }
            Data::Text(dictionary)
        }
    };
    let distinct = Column { name: column.name.clone(), data, missing: vec![] };
    match &request.init_model {
        Some(init) => init.target(&distinct),
        None => target::learn(&distinct, request.task, info.tasks, info.name),
    }
}

/// Runs an order as an aggregate over the source and gives its bytes, or none when the source has no rows.
pub type Pass<'a> = dyn FnMut(&[u8]) -> Result<Option<Vec<u8>>> + 'a;

/// Trains through `run`; `columns` are the source's columns.
///
/// # Errors
/// As [`crate::train::train`]; and `Kind::Unsupported` for hold-out splits and folds, which need the rows at hand.
pub fn train_folded(columns: &[SourceColumn], request: &Request, run: &mut Pass, cx: &Cx) -> Result<Trained> {
    crate::train::check(request)?;
    if request.split != Split::None || request.folds > 0 {
        return Err(Error::new(Kind::Unsupported, "training in an aggregate does not hold rows out").hint(
            "Use split => 'none' and measure with damson.evaluate, or SET damson.runner = 'threads'.",
        ));
    }
    if !request.group_by.is_empty() {
        return Err(Error::new(Kind::Unsupported, "training in an aggregate does not deal rows to groups")
            .hint("SET damson.runner = 'threads', or use damson.fit with GROUP BY."));
    }
    if request.task == Some(Task::Ranking) {
        return Err(Error::new(
            Kind::Unsupported,
            "training in an aggregate does not rank: it would part queries",
        )
        .hint("SET damson.runner = 'threads'."));
    }
    if request.key.is_some() {
        return Err(Error::new(
            Kind::Unsupported,
            "training in an aggregate does not keep the keys of its rows",
        )
        .hint("Leave key_column out, or SET damson.runner = 'threads'."));
    }
    let plan = request.decision.plan()?;
    if plan.learns() {
        let message =
            "training in an aggregate does not hold rows out for threshold, calibration and conformal";
        return Err(Error::new(Kind::Unsupported, message).hint("SET damson.runner = 'threads'."));
    }
    let algorithm = algorithms::find(&request.algorithm)?;
    let info = algorithm.info();
    let find = |name: &String| {
        let names = columns.iter().map(|c| c.name.as_str());
        columns.iter().find(|c| c.name == *name).cloned().ok_or_else(|| unknown_column(name, names))
    };
    let target = request.target.as_ref().map(find).transpose()?;
    let mut others = vec![];
    for name in [&request.weight, &request.offset, &request.group].into_iter().flatten() {
        others.push(find(name)?);
    }
    let role = |c: &SourceColumn| Some(c) == target.as_ref() || others.contains(c);
    let mut features: Vec<SourceColumn> = match &request.features {
        Some(names) => names.iter().map(find).collect::<Result<_>>()?,
        None => columns.iter().filter(|c| !role(c)).cloned().collect(),
    };
    let images: Vec<SourceColumn> =
        features.iter().filter(|c| c.kind == ColumnType::Bytes).cloned().collect();
    if request.features.is_none() && info.input == crate::learner::Input::Image && images.len() == 1 {
        features = images;
    }
    if features.is_empty() || features.iter().any(role) {
        return Err(Error::new(Kind::Parameter, "the features are empty, or one of them has another role"));
    }
    let mut all = features.clone();
    all.extend(target.clone());
    all.extend(others.clone());
    let order = |work| {
        wire::encode(&Order {
            columns: all.clone(),
            features: features.len(),
            target: target.is_some(),
            weight: request.weight.is_some(),
            offset: request.offset.is_some(),
            group: request.group.is_some(),
            seed: request.seed,
            work,
        })
    };
    let start = std::time::Instant::now();
    let summarise = Work::Summarise { preprocess: request.preprocess.clone(), algorithm: info.name.into() };
    let overview: Overview = match run(&order(summarise)?)? {
        Some(bytes) => wire::decode(&bytes)?,
        None => return Err(Error::new(Kind::Data, "the source has no rows, expected one or more")),
    };
    let learnt = target.as_ref().map(|t| read_target(t, &overview, request)).transpose()?;
    let mut inputs = vec![];
    let mut summaries = vec![];
    for (column, found) in features.iter().zip(overview.columns) {
        let (kind, summary) = found.ok_or_else(|| {
            Error::new(Kind::Data, format!("column \"{}\" has no arrays, only NULLs", column.name))
        })?;
        inputs.push(InputColumn { name: column.name.clone(), kind });
        summaries.push(summary);
    }
    let options = Options::parse(&request.preprocess, info.input)?;
    let prepared = match &request.init_model {
        Some(init) => {
            init.check_inputs(&inputs)?;
            init.prepared.clone()
        }
        None => Prepared::from_summaries(inputs, &summaries, &options, info.input, options.shape()?, None)?,
    };
    let (task, classes) = match learnt {
        Some(t) => (t.task, t.classes),
        None => (info.unsupervised()?, vec![]),
    };
    request.decision.check_task(task, &classes)?;
    let class_weight = match plan.class_weight {
        Some(ref wanted) => {
            let total = |label: &String| overview.weights.get(label).copied().unwrap_or(0.0);
            wanted.resolve(&classes, &classes.iter().map(total).collect::<Vec<_>>())?
        }
        None => vec![],
    };
    let given = plan.given(&classes)?;
    let mut baseline = Baseline::default();
    for (i, (column, seen)) in features.iter().chain(&target).zip(overview.seen).enumerate() {
        let role = if i < features.len() { Role::Feature } else { Role::Target };
        let distribution = seen.finish(role == Role::Target && !classes.is_empty());
        baseline.columns.push(ColumnBaseline { name: column.name.clone(), role, distribution });
    }
    let schema: Schema = prepared.schema(task, classes.len(), overview.rows as usize);
    let params = Values::parse(info.name, info.params, &request.params)?;
    let prepare_seconds = start.elapsed().as_secs_f64();

    let start = std::time::Instant::now();
    let from = request.init_model.as_ref().map(|init| &init.payload[..]);
    let mut job = algorithm.start_from(&params, &schema, from, cx)?;
    let payload = loop {
        cx.check()?;
        let work = Work::Learn {
            algorithm: info.name.into(),
            params: params.to_json().to_string(),
            prepared: Box::new(prepared.clone()),
            task,
            classes: classes.clone(),
            rows: overview.rows,
            class_weight: class_weight.clone(),
            state: job.state()?,
        };
        let Some(partial) = run(&order(work)?)? else {
            return Err(Error::new(Kind::Data, "the source had rows at first and has none now"));
        };
        if let Some(payload) = job.update(&partial, cx)? {
            break payload;
        }
    };
    let card = Card {
        algorithm: info.name.into(),
        algorithm_version: info.version,
        task,
        target: request.target.clone(),
        offset: request.offset.clone(),
        group: request.group.clone(),
        group_by: 0,
        unknown_group: UnknownGroup::default(),
        decision: Decision { class_weight, ..given },
        classes,
        inputs: prepared.inputs.clone(),
        params: params.to_json().to_string(),
        preprocess: options.values.to_json().to_string(),
        seed: request.seed,
        train_rows: overview.rows,
        test_rows: 0,
        fingerprint: format!("{:032x}", overview.fingerprint),
        engine_version: env!("CARGO_PKG_VERSION").into(),
    };
    let facts = Facts::folded(
        request,
        overview.rows,
        overview.fingerprint,
        &prepared.inputs,
        &summaries,
        [&params, &options.values],
    )?;
    let artifact = artifact::pack(&card, &prepared, &payload)?;
    // The baseline is a part of the first pass.
    let seconds = [
        ("prepare", prepare_seconds),
        ("fit", start.elapsed().as_secs_f64()),
        ("evaluate", 0.0),
        ("baseline", 0.0),
    ];
    Ok(Trained {
        artifact,
        card,
        metrics: vec![],
        headline: None,
        rounds: vec![],
        baseline,
        figures: None,
        seconds,
        facts,
    })
}
