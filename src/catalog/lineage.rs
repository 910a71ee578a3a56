//! What versions were made of: written with them, and read again. Tables and views are in `sql/lineage.sql`.

use super::resolve::Resolved;
use super::{read, read_kept, write_kept};
use crate::pg::datum::{Float8Array, Jsonb, TextArray};
use crate::pg::error::{Code, Error, Result};
use crate::pg::reads::Reading;
use crate::pg::role::current_user;
use crate::pg::settings::Runner;
use engine::Kind;
use engine::lineage::{ColumnFacts, Facts, Membership};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::rc::Rc;

/// What is known of a training beside its run and its version.
pub struct Origin<'a> {
    /// The source, as it was read.
    pub reading: &'a Reading,
    /// What the engine found in it.
    pub facts: &'a Facts,
    /// Where it was trained.
    pub runner: Runner,
    /// The column of row keys.
    pub key_column: Option<&'a str>,
}

/// Writes the origin of a version.
///
/// # Errors
/// Only faults of the catalog.
pub(super) fn record(version: i64, origin: &Origin) -> Result<()> {
    let Origin { reading, facts, runner, key_column } = origin;
    let sql = "INSERT INTO damson_lineage.origins (version, recipe, runner, search_path, time_zone, snapshot,
            source_rows, row_order, build, libraries, key_column, key_error_rate, used_keys)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let recipe = Jsonb(facts.recipe.clone());
    let libraries = Jsonb::from(&libraries(&reading.server));
    let order = facts.ordered.then(|| facts.digest.row_order());
    let keys = facts.used.as_ref().map(Membership::to_bytes);
    let params = [
        version.into(),
        (&recipe).into(),
        runner.name().into(),
        (&reading.search_path).into(),
        (&reading.time_zone).into(),
        (&reading.snapshot).into(),
        (facts.rows as i64).into(),
        order.as_deref().into(),
        BUILD.into(),
        (&libraries).into(),
        (*key_column).into(),
        facts.used.as_ref().map(|used| used.error_rate()).into(),
        keys.as_deref().into(),
    ];
    write_kept(sql, &params)?;
    record_columns(version, &facts.columns, reading)?;
    let role = |output: &str| facts.columns.iter().find(|c| c.name == output).map(|c| c.role);
    record_reads(Reader::Version(version), reading, &role)
}

/// A hash of the sources of this build.
pub const BUILD: &str = env!("DAMSON_BUILD");

/// The libraries that this build computes with, by name, and the server.
pub fn libraries(server: &str) -> Value {
    let mut all: Value = serde_json::from_str(env!("DAMSON_LIBRARIES")).unwrap_or_else(|_| json!({}));
    all["target"] = json!(env!("DAMSON_TARGET"));
    all["PostgreSQL"] = json!(server);
    all
}

fn record_columns(version: i64, columns: &[ColumnFacts], reading: &Reading) -> Result<()> {
    let texts = |of: &dyn Fn(&ColumnFacts) -> Option<&str>| {
        TextArray(columns.iter().map(|c| of(c).map(String::from)).collect())
    };
    let types = TextArray(columns.iter().map(|c| reading.type_of(&c.name)).collect());
    let numbers = |of: &dyn Fn(&ColumnFacts) -> Option<f64>| {
        Float8Array(columns.iter().map(|c| of(c).unwrap_or(f64::NAN)).collect())
    };
    let count = |n: u64| n as f64;
    let (names, roles) = (texts(&|c| Some(&c.name)), texts(&|c| Some(c.role)));
    let (kinds, tops) = (texts(&|c| Some(c.kind)), texts(&|c| c.top.as_deref()));
    let (missing, distinct) = (numbers(&|c| c.missing.map(count)), numbers(&|c| c.distinct.map(count)));
    let (means, stds) = (numbers(&|c| c.mean), numbers(&|c| c.std));
    let (least, greatest) = (numbers(&|c| c.min), numbers(&|c| c.max));
    let top_rows = numbers(&|c| c.top_rows.map(count));
    let sql =
        "INSERT INTO damson_lineage.columns (version, names, roles, kinds, types, missing, distinct_values,
            means, stds, mins, maxs, tops, top_rows)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)";
    let params = [
        version.into(),
        (&names).into(),
        (&roles).into(),
        (&kinds).into(),
        (&types).into(),
        (&missing).into(),
        (&distinct).into(),
        (&means).into(),
        (&stds).into(),
        (&least).into(),
        (&greatest).into(),
        (&tops).into(),
        (&top_rows).into(),
    ];
    write_kept(sql, &params)?;
    Ok(())
}

/// Who read.
pub(super) enum Reader {
    /// The training of a version.
    Version(i64),
    /// A filling of a table.
    Fill(i64),
}

/// Writes what a source read for the columns that have a `role`.
pub(super) fn record_reads(
    reader: Reader,
    reading: &Reading,
    role: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<()> {
    let wanted = |output: &str| role(output).is_some();
    // What is read of a relation stands together: each has a part of the lists of columns.
    let (mut schemas, mut relations, mut kinds) = (vec![], vec![], vec![]);
    let (mut firsts, mut lasts) = (vec![], vec![]);
    let (mut columns, mut types, mut typmods) = (vec![], vec![], vec![]);
    let (mut outputs, mut roles) = (vec![], vec![]);
    let mut last = None;
    for (read, output) in reading.for_columns(&wanted) {
        let (column, of_type, typmod) = match read.column {
            Some((name, of_type, typmod)) => (Some(name), f64::from(of_type.to_u32()), f64::from(typmod)),
            None => (None, f64::NAN, f64::NAN),
        };
        columns.push(column);
        types.push(of_type);
        typmods.push(typmod);
        outputs.push(output.map(String::from));
        roles.push(output.and_then(role).map(String::from));
        let this = Some((read.oid, read.kind));
        if this != last {
            last = this;
            schemas.push(Some(read.schema));
            relations.push(Some(read.relation));
            kinds.push(Some(read.kind.to_string()));
            firsts.push(columns.len() as f64);
            lasts.push(0.0);
        }
        if let Some(last) = lasts.last_mut() {
            *last = columns.len() as f64;
        }
    }
    let (schemas, relations, kinds) = (TextArray(schemas), TextArray(relations), TextArray(kinds));
    let (firsts, lasts) = (Float8Array(firsts), Float8Array(lasts));
    let (columns, types, typmods) = (TextArray(columns), Float8Array(types), Float8Array(typmods));
    let (outputs, roles) = (TextArray(outputs), TextArray(roles));
    let (version, fill) = match reader {
        Reader::Version(id) => (Some(id), None),
        Reader::Fill(id) => (None, Some(id)),
    };
    let sql = "INSERT INTO damson_lineage.reads (version, fill, schema, relation, kind, column_names, types, outputs, roles)
        SELECT $1, $2, q.schema, q.relation, q.kind, ($8)[q.first:q.last],
            (ARRAY(SELECT pg_catalog.format_type(nullif(t.type, 'NaN')::bigint::oid, nullif(t.typmod, 'NaN')::integer)
                FROM unnest($9, $10) AS t(type, typmod)))[q.first:q.last],
            ($11)[q.first:q.last], ($12)[q.first:q.last]
        FROM unnest($3, $4, $5, $6::integer[], $7::integer[]) AS q(schema, relation, kind, first, last)";
    let params = [
        version.into(),
        fill.into(),
        (&schemas).into(),
        (&relations).into(),
        (&kinds).into(),
        (&firsts).into(),
        (&lasts).into(),
        (&columns).into(),
        (&types).into(),
        (&typmods).into(),
        (&outputs).into(),
        (&roles).into(),
    ];
    write_kept(sql, &params)?;
    Ok(())
}

/// What is needed to repeat a training.
pub struct Record {
    /// The source, as the user gave it.
    pub source: String,
    /// The request, as [`engine::lineage::request`] reads it.
    pub recipe: String,
    /// Where it was trained.
    pub runner: String,
    /// What names were looked up in.
    pub search_path: String,
    /// What times were in.
    pub time_zone: String,
    /// Rows that were read.
    pub rows: i64,
    /// A hash of their order.
    pub row_order: Option<String>,
    /// A hash of the sources of the extension.
    pub build: String,
    /// The libraries that it computed with, by name.
    pub libraries: Value,
    /// The SHA-256 of the artifact.
    pub sha256: String,
    /// The model that the training went on from.
    pub init_model: Option<InitModel>,
    /// What was read and is no more as it was.
    pub broken: Vec<super::sources::Break>,
}

/// The model that a training went on from.
pub struct InitModel {
    /// What it was called.
    pub name: String,
    /// Its bytes, where it is there.
    pub artifact: Option<Vec<u8>>,
}

/// What is needed to repeat the training of a version, for its owner.
///
/// # Errors
/// 42501 for others; 0A000 for a model given as text.
pub fn of(model: &Resolved) -> Result<Record> {
    let sql = "SELECT r.source, o.recipe::text, o.runner, o.search_path, o.time_zone, o.source_rows, o.row_order, o.build,
            o.libraries::text, v.artifact_sha256, r.arguments ->> 'init_model', p.id, p.artifact_size,
            p.artifact_sha256
        FROM damson_catalog.versions v
        JOIN damson_catalog.runs r ON r.id = v.run
        JOIN damson_lineage.origins o ON o.version = v.id
        LEFT JOIN damson_catalog.versions p ON p.id = v.parent AND p.expired IS NULL
        WHERE v.id = $1";
    check_owned(model, "reproduce")?;
    let row = read(sql, &[model.id.into()])?.one()?;
    let row = row.ok_or_else(|| unknown(model))?;
    let libraries: String = row.get(8)?;
    let mut init_model = None;
    if let Some(name) = row.get::<Option<String>>(10)? {
        let artifact = match row.get::<Option<i64>>(11)? {
            Some(id) => Some(super::versions::artifact(id, row.get(12)?, &row.get::<String>(13)?)?),
            None => None,
        };
        init_model = Some(InitModel { name, artifact });
    }
    Ok(Record {
        source: row.get(0)?,
        recipe: row.get(1)?,
        runner: row.get(2)?,
        search_path: row.get(3)?,
        time_zone: row.get(4)?,
        rows: row.get(5)?,
        row_order: row.get(6)?,
        build: row.get(7)?,
        libraries: serde_json::from_str(&libraries).unwrap_or_else(|_| json!({})),
        sha256: row.get(9)?,
        init_model,
        broken: super::sources::broken_for(model.id)?,
    })
}

/// Refuses who does not own a model, and models that are nobody's.
fn check_owned(model: &Resolved, what: &str) -> Result<()> {
    let sql = "SELECT pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE')
        FROM damson_catalog.versions v JOIN damson_catalog.models m ON m.id = v.model WHERE v.id = $1";
    match read_kept(sql, &[model.id.into(), current_user().into()])?.one()? {
        Some(row) if row.get::<bool>(0)? => Ok(()),
        Some(_) => {
            Err(super::models::denied(what, &model.model)
                .hint("Only its owner may, or a member of its owner."))
        }
        None => Err(Error::new(Kind::Unsupported, "a model given as text has no lineage")),
    }
}

/// The keys of the rows that trained a version, for its owner.
///
/// # Errors
/// 42501 for others; 55000 where it was trained without a column of keys.
pub fn used_keys(model: &Resolved) -> Result<Rc<Membership>> {
    thread_local! {
        /// The one asked for last: it may take 32 MiB.
        static LAST: RefCell<Option<(i64, u64, Rc<Membership>)>> = const { RefCell::new(None) };
    }
    check_owned(model, "see the rows of")?;
    let generation = super::generation();
    let kept = LAST.with_borrow(|last| match last {
        Some((id, then, used)) if (*id, *then) == (model.id, generation) => Some(used.clone()),
        _ => None,
    });
    if let Some(used) = kept {
        return Ok(used);
    }
    let sql = "SELECT coalesce(o.used_keys, ''::bytea) FROM damson_lineage.origins o WHERE o.version = $1";
    let mut row = read(sql, &[model.id.into()])?.one()?.ok_or_else(|| unknown(model))?;
    let bytes = row.take_bytes(0)?;
    if bytes.is_empty() {
        let message = format!(
            "version {} of model \"{}\" was trained without a column of keys",
            model.version, model.model
        );
        return Err(Error::new(Code::NotReady, message)
            .hint("Train with one: damson.train(..., key_column => 'id')."));
    }
    let used = Rc::new(Membership::from_bytes(&bytes)?);
    LAST.set(Some((model.id, generation, used.clone())));
    Ok(used)
}

/// What goes with a model: its versions' origins, and the fillings of tables by them.
pub(super) const DROP: &[&str] = &[
    "DELETE FROM damson_lineage.reads q USING damson_lineage.fills f, damson_catalog.versions v
        WHERE v.model = $1 AND f.version = v.id AND q.fill = f.id",
    "DELETE FROM damson_lineage.fills f USING damson_catalog.versions v WHERE v.model = $1 AND f.version = v.id",
    "DELETE FROM damson_lineage.reads q USING damson_catalog.versions v WHERE v.model = $1 AND q.version = v.id",
    "DELETE FROM damson_lineage.columns c USING damson_catalog.versions v WHERE v.model = $1 AND c.version = v.id",
    "DELETE FROM damson_lineage.origins o USING damson_catalog.versions v WHERE v.model = $1 AND o.version = v.id",
];

/// The error for a version without an origin, such as one of before there were any.
fn unknown(model: &Resolved) -> Error {
    let message =
        format!("nothing is recorded of how version {} of model \"{}\" was made", model.version, model.model);
    Error::new(Code::NotReady, message)
}
