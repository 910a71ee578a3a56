//! DataHub: metadata change proposals, in the form of its metadata files (`datahub ingest`, source `file`). The model is
//! an `mlModelGroup`, the version an `mlModel`, the training a `dataProcessInstance`; the rows of the training are a
//! dataset of their own, because only datasets have lineage by columns there. All values are strings.

use super::{Activity, Fill, Read, Version, version};
use crate::catalog::Resolved;
use crate::pg::error::Result;
use serde_json::{Value, json};

/// The proposals for a version, as one array. `env` is DataHub's environment, such as `PROD`.
///
/// # Errors
/// 0A000 for a model given as text.
pub fn proposals(model: &Resolved, env: &str) -> Result<Value> {
    let v = version(model)?;
    let names = Names { v: &v, env: part(env) };
    let mut all = vec![
        proposal("mlModelGroup", &names.group(), "mlModelGroupProperties", group(&v)),
        proposal("mlModel", &names.model(), "mlModelProperties", names.properties()),
        proposal("dataProcessInstance", &names.run(), "dataProcessInstanceProperties", run(&v)),
        proposal("dataProcessInstance", &names.run(), "mlTrainingRunProperties", names.training()),
        proposal(
            "dataProcessInstance",
            &names.run(),
            "dataProcessInstanceInput",
            json!({"inputs": [names.rows()]}),
        ),
        proposal(
            "dataProcessInstance",
            &names.run(),
            "dataProcessInstanceOutput",
            json!({"outputs": [names.model()]}),
        ),
        proposal("dataset", &names.rows(), "upstreamLineage", names.rows_lineage()),
    ];
    for fill in &v.fills {
        let table = names.table(&fill.relation);
        all.push(proposal("dataset", &table, "upstreamLineage", names.fill_lineage(fill)));
    }
    Ok(Value::Array(all))
}

fn proposal(entity: &str, urn: &str, aspect: &str, content: Value) -> Value {
    json!({
        "entityType": entity, "entityUrn": urn, "changeType": "UPSERT", "aspectName": aspect,
        "aspect": {"json": content},
    })
}

fn group(v: &Version) -> Value {
    json!({
        "name": v.model, "description": v.description.clone().unwrap_or_default(),
        "customProperties": {"task": v.task, "database": v.database},
    })
}

fn run(v: &Version) -> Value {
    json!({
        "name": format!("train {}@{}", v.model, v.version),
        "type": "BATCH_AD_HOC",
        "created": stamp(v, &v.training),
        "customProperties": {"code_version": v.code_version, "server": v.server, "started": v.training.started},
    })
}

fn stamp(v: &Version, activity: &Activity) -> Value {
    json!({"time": activity.finished_ms, "actor": format!("urn:li:corpuser:{}", part(&v.role))})
}

struct Names<'a> {
    v: &'a Version,
    env: String,
}

impl Names<'_> {
    fn model(&self) -> String {
        let v = self.v;
        let name = format!("{}.{}@{}", part(&v.database), part(&v.model), v.version);
        format!("urn:li:mlModel:(urn:li:dataPlatform:damson,{name},{})", self.env)
    }

    fn group(&self) -> String {
        let v = self.v;
        let name = format!("{}.{}", part(&v.database), part(&v.model));
        format!("urn:li:mlModelGroup:(urn:li:dataPlatform:damson,{name},{})", self.env)
    }

    fn run(&self) -> String {
        format!("urn:li:dataProcessInstance:{}", self.v.training.uuid(&self.v.database))
    }

    /// The rows that it was trained on.
    fn rows(&self) -> String {
        let v = self.v;
        let name = format!("{}.{}@{}.rows", part(&v.database), part(&v.model), v.version);
        format!("urn:li:dataset:(urn:li:dataPlatform:damson,{name},{})", self.env)
    }

    fn table(&self, relation: &str) -> String {
        let name = format!("{}.{}", part(&self.v.database), part(relation));
        format!("urn:li:dataset:(urn:li:dataPlatform:postgres,{name},{})", self.env)
    }

    fn properties(&self) -> Value {
        let v = self.v;
        let mut properties = json!({
            "name": format!("{}@{}", v.model, v.version),
            "version": {"versionTag": v.version.to_string()},
            "type": v.algorithm,
            "date": v.training.finished_ms,
            "hyperParams": self.parameters(),
            "trainingMetrics": self.metrics(),
            "trainingJobs": [self.run()],
            "groups": [self.group()],
            "customProperties": {"task": v.task, "code_version": v.code_version},
        });
        if let Some(target) = &v.target {
            properties["customProperties"]["target"] = json!(target);
        }
        properties
    }

    fn training(&self) -> Value {
        json!({
            "id": self.v.training.uuid(&self.v.database), "hyperParams": self.parameters(),
            "trainingMetrics": self.metrics(),
        })
    }

    fn parameters(&self) -> Vec<Value> {
        let params: Value = serde_json::from_str(&self.v.params).unwrap_or_default();
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), String::from);
        let params = params.as_object().cloned().unwrap_or_default();
        params.iter().map(|(name, value)| json!({"name": name, "value": text(value)})).collect()
    }

    fn metrics(&self) -> Vec<Value> {
        let metrics = self.v.metrics.iter();
        metrics.map(|(name, value)| json!({"name": name, "value": value.to_string()})).collect()
    }

    fn rows_lineage(&self) -> Value {
        let training = &self.v.training;
        let rows = self.rows();
        let fine: Vec<Value> =
            training.outputs().iter().map(|(output, from)| self.field(&rows, output, from)).collect();
        self.lineage(training, fine)
    }

    fn fill_lineage(&self, fill: &Fill) -> Value {
        let table = self.table(&fill.relation);
        let fine = fill.carried.iter().chain(&fill.outputs).filter_map(|column| {
            let from = fill.sources(column);
            (!from.is_empty()).then(|| self.field(&table, column, &from))
        });
        self.lineage(&fill.activity, fine.collect())
    }

    fn lineage(&self, activity: &Activity, fine: Vec<Value>) -> Value {
        let upstream = |relation: &str| {
            json!({
                "dataset": self.table(relation), "type": "TRANSFORMED", "auditStamp": stamp(self.v, activity),
            })
        };
        let upstreams: Vec<Value> = activity.tables().keys().map(|relation| upstream(relation)).collect();
        json!({"upstreams": upstreams, "fineGrainedLineages": fine})
    }

    fn field(&self, dataset: &str, column: &str, from: &[&Read]) -> Value {
        let field = |dataset: &str, column: &str| format!("urn:li:schemaField:({dataset},{})", part(column));
        let upstreams: Vec<String> =
            from.iter().filter_map(|r| Some(field(&self.table(&r.relation), r.column.as_deref()?))).collect();
        json!({
            "upstreamType": "FIELD_SET", "upstreams": upstreams, "downstreamType": "FIELD",
            "downstreams": [field(dataset, column)], "confidenceScore": 1.0,
        })
    }
}

/// A part of a URN: what has a meaning there is written as its code.
fn part(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, ',' | '(' | ')' | '%' | ':' | '\u{241f}') || c.is_whitespace() || c.is_control() {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| out.push_str(&format!("%{b:02X}")));
        } else {
            out.push(c);
        }
    }
    out
}
