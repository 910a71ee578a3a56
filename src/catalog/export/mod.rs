//! Lineage for other tools: [`openlineage`] events and [`datahub`] metadata, as JSON. What both need is read here; what
//! each makes of it has a file of its own.

pub mod datahub;
pub mod openlineage;

use super::read;
use super::resolve::Resolved;
use crate::pg::datum::TextArray;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use engine::Kind;
use std::collections::BTreeMap;

/// A version, and all that it has to do with.
struct Version {
    database: String,
    /// `host:port` of the server.
    address: String,
    model: String,
    version: i64,
    description: Option<String>,
    algorithm: String,
    task: String,
    params: String,
    target: Option<String>,
    role: String,
    code_version: String,
    server: String,
    metrics: Vec<(String, f64)>,
    training: Activity,
    fills: Vec<Fill>,
}

/// Something that read a source: a training or a filling.
struct Activity {
    /// What tells it from all others, of all servers.
    identity: String,
    /// The source, for those who may see it.
    source: Option<String>,
    /// As ISO 8601 has it, in UTC.
    started: String,
    finished: String,
    /// Milliseconds since 1970.
    finished_ms: i64,
    reads: Vec<Read>,
}

struct Read {
    /// `schema.relation`.
    relation: String,
    kind: String,
    column: Option<String>,
    of_type: Option<String>,
    output: Option<String>,
    role: Option<String>,
}

struct Fill {
    /// `schema.relation`.
    relation: String,
    outputs: Vec<String>,
    carried: Vec<String>,
    rows: i64,
    activity: Activity,
}

const VERSION: &str = "SELECT pg_catalog.current_database()::text,
        coalesce(pg_catalog.host(pg_catalog.inet_server_addr()), 'localhost') || ':'
            || pg_catalog.current_setting('port'),
        m.name, v.version, m.description, v.algorithm, m.task, v.params::text, v.target,
        pg_catalog.pg_get_userbyid(r.role::oid)::text, r.code_version, pg_catalog.current_setting('server_version'),
        'run ' || r.id || ' ' || v.artifact_sha256 || ' ' || r.finished::text,
        CASE WHEN pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') THEN r.source END,
        pg_catalog.to_char(r.started AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
        pg_catalog.to_char(r.finished AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
        (EXTRACT(EPOCH FROM r.finished) * 1000)::bigint, v.run
    FROM damson_catalog.versions v
    JOIN damson_catalog.models m ON m.id = v.model
    JOIN damson_catalog.runs r ON r.id = v.run
    WHERE v.id = $1";

const METRICS: &str = "SELECT q.split || ' ' || q.name, q.value FROM damson_catalog.metrics q
    WHERE q.run = $1 AND q.round IS NULL ORDER BY q.split, q.name";

const READS: &str = "SELECT q.schema || '.' || q.relation, q.kind, q.column_name, q.type, q.output, q.role
    FROM damson_lineage.column_reads q WHERE q.version = $1 OR q.fill = $2
    ORDER BY q.schema, q.relation, q.column_name, q.output";

const FILLS: &str =
    "SELECT DISTINCT ON (f.schema, f.relation) f.id, f.schema || '.' || f.relation, f.outputs, f.carried,
        f.filled_rows, 'fill ' || f.id || ' ' || f.finished::text,
        CASE WHEN pg_catalog.pg_has_role($2, f.role::oid, 'USAGE') THEN f.source END,
        pg_catalog.to_char(f.started AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
        pg_catalog.to_char(f.finished AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'),
        (EXTRACT(EPOCH FROM f.finished) * 1000)::bigint
    FROM damson_lineage.fills f WHERE f.version = $1
    ORDER BY f.schema, f.relation, f.id DESC";

/// Reads a version for the current user, who may use it.
fn version(model: &Resolved) -> Result<Version> {
    let row = read(VERSION, &[model.id.into(), current_user().into()])?.one()?;
    let Some(row) = row else {
        return Err(Error::new(Code::Engine(Kind::Unsupported), "a model given as text has no lineage"));
    };
    let metrics = read(METRICS, &[row.get::<i64>(17)?.into()])?;
    let metrics = metrics.iter().map(|m| Ok((m.get(0)?, m.get(1)?))).collect::<Result<_>>()?;
    let mut fills = vec![];
    for f in &read(FILLS, &[model.id.into(), current_user().into()])? {
        let names = |a: TextArray| a.0.into_iter().flatten().collect();
        let activity = Activity {
            identity: f.get(5)?,
            source: f.get(6)?,
            started: f.get(7)?,
            finished: f.get(8)?,
            finished_ms: f.get(9)?,
            reads: reads(None, Some(f.get(0)?))?,
        };
        fills.push(Fill {
            relation: f.get(1)?,
            outputs: names(f.get(2)?),
            carried: names(f.get(3)?),
            rows: f.get(4)?,
            activity,
        });
    }
    Ok(Version {
        database: row.get(0)?,
        address: row.get(1)?,
        model: row.get(2)?,
        version: row.get(3)?,
        description: row.get(4)?,
        algorithm: row.get(5)?,
        task: row.get(6)?,
        params: row.get(7)?,
        target: row.get(8)?,
        role: row.get(9)?,
        code_version: row.get(10)?,
        server: row.get(11)?,
        metrics,
        training: Activity {
            identity: row.get(12)?,
            source: row.get(13)?,
            started: row.get(14)?,
            finished: row.get(15)?,
            finished_ms: row.get(16)?,
            reads: reads(Some(model.id), None)?,
        },
        fills,
    })
}

fn reads(version: Option<i64>, fill: Option<i64>) -> Result<Vec<Read>> {
    let rows = read(READS, &[version.into(), fill.into()])?;
    let one = |row: &crate::pg::spi::Row| {
        Ok(Read {
            relation: row.get(0)?,
            kind: row.get(1)?,
            column: row.get(2)?,
            of_type: row.get(3)?,
            output: row.get(4)?,
            role: row.get(5)?,
        })
    };
    rows.iter().map(one).collect()
}

impl Activity {
    /// The relations that hold rows, with the columns of them that were read and their types. Views pass on what
    /// these hold.
    fn tables(&self) -> BTreeMap<&str, BTreeMap<&str, &str>> {
        let mut tables: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for r in self.reads.iter().filter(|r| r.holds_rows()) {
            let columns = tables.entry(&r.relation).or_default();
            if let (Some(column), Some(of_type)) = (&r.column, &r.of_type) {
                columns.insert(column, of_type);
            }
        }
        tables
    }

    /// For each column of the source that has a part, the columns that go into it.
    fn outputs(&self) -> BTreeMap<&str, Vec<&Read>> {
        let mut outputs: BTreeMap<&str, Vec<&Read>> = BTreeMap::new();
        for r in &self.reads {
            if let (Some(output), true, Some(_)) = (&r.output, r.holds_rows(), &r.column) {
                outputs.entry(output).or_default().push(r);
            }
        }
        outputs
    }

    /// The columns that only decide which rows there are.
    fn conditions(&self) -> impl Iterator<Item = (&str, &str)> {
        let conditions = self.reads.iter().filter(|r| r.output.is_none() && r.holds_rows());
        conditions.filter_map(|r| Some((r.relation.as_str(), r.column.as_deref()?)))
    }

    /// A UUID (version 8 of RFC 9562) made of what tells the activity from others.
    fn uuid(&self, database: &str) -> String {
        let hash = engine::artifact::sha256(format!("damson {database} {}", self.identity).as_bytes());
        format!("{}-{}-8{}-a{}-{}", &hash[..8], &hash[8..12], &hash[13..16], &hash[17..20], &hash[20..32])
    }
}

impl Read {
    fn holds_rows(&self) -> bool {
        !matches!(self.kind.as_str(), "view" | "function")
    }
}

impl Fill {
    /// The columns of the source that go into a column of the table: itself where it was carried, else what the
    /// version scored.
    fn sources<'a>(&'a self, column: &str) -> Vec<&'a Read> {
        let carried = self.carried.iter().any(|c| c == column);
        let scored = |r: &Read| r.role.as_deref().is_some_and(|role| role.contains("feature"));
        let goes = |r: &&Read| if carried { r.output.as_deref() == Some(column) } else { scored(r) };
        self.activity.reads.iter().filter(|r| r.holds_rows() && r.column.is_some()).filter(goes).collect()
    }
}
