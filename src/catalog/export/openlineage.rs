//! OpenLineage 2-0-2: a COMPLETE event for the training, and one for the last filling of each table that the version
//! filled. <https://openlineage.io/spec/2-0-2/OpenLineage.json>

use super::{Activity, Fill, Read, Version, version};
use crate::catalog::Resolved;
use crate::pg::error::Result;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

const PRODUCER: &str = concat!("urn:damson:", env!("CARGO_PKG_VERSION"));
const SPEC: &str = "https://openlineage.io/spec";

/// The events of a version. Datasets are named within `namespace`, by default `postgres://host:port`.
///
/// # Errors
/// 0A000 for a model given as text.
pub fn events(model: &Resolved, namespace: Option<&str>) -> Result<Vec<Value>> {
    let v = version(model)?;
    let default = format!("postgres://{}", v.address);
    let space = Space { v: &v, namespace: namespace.unwrap_or(&default) };
    let training = space.training();
    Ok(std::iter::once(training).chain(v.fills.iter().map(|fill| space.filling(fill))).collect())
}

struct Space<'a> {
    v: &'a Version,
    namespace: &'a str,
}

impl Space<'_> {
    fn training(&self) -> Value {
        let v = self.v;
        let read = v.training.outputs();
        let fields: Vec<Value> = read
            .iter()
            .map(|(name, from)| {
                let role = from.first().and_then(|r| r.role.clone());
                json!({"name": name, "description": role.unwrap_or_default()})
            })
            .collect();
        let mut model = self.model();
        model["facets"]["schema"] = facet("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields }));
        model["facets"]["columnLineage"] = self.columns(&v.training, &read);
        self.event(&v.training, "TRAINING", &format!("train.{}", v.model), self.inputs(&v.training), model)
    }

    fn filling(&self, fill: &Fill) -> Value {
        let names: Vec<&String> = fill.carried.iter().chain(&fill.outputs).collect();
        let read: BTreeMap<&str, Vec<&Read>> =
            names.iter().map(|name| (name.as_str(), fill.sources(name))).collect();
        let fields: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        let table = json!({
            "namespace": self.namespace,
            "name": self.name(&fill.relation),
            "facets": {
                "schema": facet("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields })),
                "columnLineage": self.columns(&fill.activity, &read),
                "datasetType": facet("1-0-1", "DatasetTypeDatasetFacet", json!({"datasetType": "TABLE"})),
            },
            "outputFacets": {
                "outputStatistics":
                    facet("1-0-2", "OutputStatisticsOutputDatasetFacet", json!({"rowCount": fill.rows})),
            },
        });
        let mut inputs = self.inputs(&fill.activity);
        inputs.push(self.model());
        let job = format!("score_into.{}.{}", self.v.model, fill.relation);
        self.event(&fill.activity, "SCORING", &job, inputs, table)
    }

    fn event(&self, activity: &Activity, kind: &str, job: &str, inputs: Vec<Value>, output: Value) -> Value {
        let v = self.v;
        let mut job_facets = Map::new();
        let of_type = json!({"processingType": "BATCH", "integration": "DAMSON", "jobType": kind});
        job_facets.insert("jobType".into(), facet("2-0-4", "JobTypeJobFacet", of_type));
        if let Some(source) = &activity.source {
            let sql = json!({"query": source, "dialect": "postgres"});
            job_facets.insert("sql".into(), facet("1-1-0", "SQLJobFacet", sql));
        }
        let engine = json!({"version": v.code_version, "name": format!("Damson on PostgreSQL {}", v.server)});
        json!({
            "eventType": "COMPLETE",
            "eventTime": activity.finished,
            "producer": PRODUCER,
            "schemaURL": format!("{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"),
            "run": {
                "runId": activity.uuid(&v.database),
                "facets": {
                    "processing_engine": facet("1-1-1", "ProcessingEngineRunFacet", engine),
                    "nominalTime": facet("1-0-1", "NominalTimeRunFacet", json!({
                        "nominalStartTime": activity.started, "nominalEndTime": activity.finished,
                    })),
                },
            },
            "job": {"namespace": self.namespace, "name": self.name(job), "facets": job_facets},
            "inputs": inputs,
            "outputs": [output],
        })
    }

    fn inputs(&self, activity: &Activity) -> Vec<Value> {
        let table = |(relation, columns): (&str, BTreeMap<&str, &str>)| {
            let fields: Vec<Value> =
                columns.iter().map(|(name, of_type)| json!({"name": name, "type": of_type})).collect();
            let facets = json!({"schema": facet("1-2-0", "SchemaDatasetFacet", json!({ "fields": fields }))});
            json!({"namespace": self.namespace, "name": self.name(relation), "facets": facets})
        };
        activity.tables().into_iter().map(table).collect()
    }

    fn model(&self) -> Value {
        let v = self.v;
        json!({
            "namespace": self.namespace,
            "name": self.name(&format!("damson.{}", v.model)),
            "facets": {
                "datasetType":
                    facet("1-0-1", "DatasetTypeDatasetFacet", json!({"datasetType": "MODEL", "subType": v.algorithm})),
                "version": facet("1-0-1", "DatasetVersionDatasetFacet", json!({"datasetVersion": v.version.to_string()})),
            },
        })
    }

    fn columns(&self, activity: &Activity, outputs: &BTreeMap<&str, Vec<&Read>>) -> Value {
        let input = |relation: &str, column: &str, how: &[&str; 2]| {
            json!({
                "namespace": self.namespace, "name": self.name(relation), "field": column,
                "transformations": [{"type": how[0], "subtype": how[1]}],
            })
        };
        let direct =
            |r: &&Read| Some(input(&r.relation, r.column.as_deref()?, &["DIRECT", "TRANSFORMATION"]));
        let mut fields = Map::new();
        for (output, from) in outputs {
            let from: Vec<Value> = from.iter().filter_map(direct).collect();
            fields.insert(output.to_string(), json!({ "inputFields": from }));
        }
        let conditions: Vec<Value> =
            activity.conditions().map(|(r, c)| input(r, c, &["INDIRECT", "FILTER"])).collect();
        facet("1-2-0", "ColumnLineageDatasetFacet", json!({"fields": fields, "dataset": conditions}))
    }

    fn name(&self, of: &str) -> String {
        format!("{}.{of}", self.v.database)
    }
}

fn facet(version: &str, name: &str, mut content: Value) -> Value {
    content["_producer"] = json!(PRODUCER);
    content["_schemaURL"] = json!(format!("{SPEC}/facets/{version}/{name}.json#/$defs/{name}"));
    content
}
