//! Tables filled with scores: `damson.score_into`. Everything runs with the caller's rights, in one statement of the
//! server, so that rows never leave it.

use super::error::{Code, Error, Result};
use super::query::{from_item, qualified_name};
use super::reads::Reading;
use super::spi;
use crate::catalog::fills::{self, Fill};
use crate::catalog::{graph, resolve};
use engine::Kind;
use engine::artifact::Card;
use engine::frame::unknown_column;
use engine::schema::Task;
use std::time::Instant;

/// What is asked for.
pub struct Asked<'a> {
    /// The table to fill.
    pub table: &'a str,
    /// `name`, `name@alias` or `name@7`.
    pub model: &'a str,
    /// A relation or a SELECT.
    pub source: &'a str,
    /// `insert`, `merge` or `replace`.
    pub mode: &'a str,
    /// The columns that rows are told apart by.
    pub key: Vec<String>,
    /// The column by which rows are known to be new.
    pub incremental: Option<String>,
    /// The columns that are carried besides.
    pub columns: Option<Vec<String>>,
}

/// What was done.
pub struct Filled {
    /// The model's name.
    pub model: String,
    /// Its version.
    pub version: i64,
    /// The table, quoted as SQL does.
    pub table: String,
    /// Whether it was made.
    pub created: bool,
    /// Rows that were written.
    pub rows: i64,
    /// Seconds that it took.
    pub seconds: f64,
}

/// The columns besides scores that are filled.
const STAMPS: [(&str, &str, &str); 2] = [
    ("model_version", "bigint", "$2"),
    ("scored_at", "timestamp with time zone", "pg_catalog.statement_timestamp()"),
];

/// The columns that a model fills: name, type, expression of `$1`, the model, and the row.
pub fn scores(card: &Card) -> Vec<(&'static str, &'static str, &'static str)> {
    match card.task {
        Task::Classification => vec![
            ("prediction", "text", "damson.classify($1, \"damson row\")"),
            (
                "probability",
                "double precision",
                "damson.probability($1, damson.classify($1, \"damson row\"), \"damson row\")",
            ),
        ],
        Task::Multilabel => vec![
            ("prediction", "text[]", "damson.labels($1, \"damson row\")"),
            ("probabilities", "jsonb", "damson.probabilities($1, \"damson row\")"),
        ],
        Task::Embedding => vec![("prediction", "real[]", "damson.embed($1, \"damson row\")")],
        _ => vec![("prediction", "double precision", "damson.predict($1, \"damson row\")")],
    }
}

/// Fills a table.
///
/// # Errors
/// 22023 for arguments that do not go together; 42703 for columns that the source does not have; those of the model,
/// the source and the table.
pub fn fill(asked: &Asked) -> Result<Filled> {
    let clock = Instant::now();
    check(asked)?;
    let resolved = resolve(asked.model)?;
    if resolved.version == 0 {
        return Err(refused("the model is given as text, expected a name")
            .hint("Train it under a name, so that the lineage of the table can be told."));
    }
    let parts = qualified_name(asked.table.trim()).filter(|parts| parts.len() <= 2);
    let table =
        parts.ok_or_else(|| refused(format!("the table \"{}\" is not a relation's name", asked.table)))?;
    let table = table.join(".");
    let reading = Reading::of(asked.source)?;
    let carried = carried(asked, &reading)?;
    let scores = scores(resolved.scorer.card());
    let filled: Vec<_> = scores.iter().chain(&STAMPS).collect();
    if let Some((name, ..)) = filled.iter().find(|(name, ..)| carried.iter().any(|c| c == name)) {
        return Err(refused(format!("the source's column \"{name}\" has the name of one that is filled"))
            .hint("Name the columns to carry: columns => '{id}', or rename it in the source."));
    }
    let from = format!("FROM {}", from_item(asked.source)?);
    let exists = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
    let exists = |table: &str| -> Result<bool> {
        let row = spi::execute(exists, &[table.into()])?.one()?;
        row.ok_or_else(|| Error::internal("to_regclass has no row"))?.get(0)
    };
    let created = !exists(&table)?;
    if created {
        let columns = carried.iter().map(|c| format!("\"damson row\".{}", quoted(c)));
        let columns = columns.chain(filled.iter().map(|(name, of, _)| format!("NULL::{of} AS {name}")));
        let columns: Vec<String> = columns.collect();
        spi::execute(
            &format!("CREATE TABLE {table} AS SELECT {} {from} WITH NO DATA", columns.join(", ")),
            &[],
        )?;
        if !asked.key.is_empty() {
            spi::execute(&format!("ALTER TABLE {table} ADD PRIMARY KEY ({})", list(&asked.key)), &[])?;
        }
    }
    // Two fillings of one table at once would both take the same rows for new.
    let lock = "SELECT pg_catalog.pg_advisory_xact_lock(1684106611, pg_catalog.to_regclass($1)::oid::pg_catalog.int4)
        IS NULL";
    spi::execute(lock, &[(&table).into()])?;
    if asked.mode == "replace" {
        spi::execute(&format!("DELETE FROM {table}"), &[])?;
    }
    let sql = insert(asked, &table, &carried, &filled, &from);
    let reference = format!("{}@{}", resolved.model, resolved.version);
    let written = spi::execute(&sql, &[(&reference).into(), resolved.version.into()])?;
    let rows = written.processed as i64;
    let seconds = clock.elapsed().as_secs_f64();
    let (schema, relation) = graph::relation_now(&table)?;
    let outputs: Vec<String> = scores.iter().map(|(name, ..)| name.to_string()).collect();
    let fill = Fill {
        schema: &schema,
        relation: &relation,
        outputs: &outputs,
        carried: &carried,
        mode: asked.mode,
        key: &asked.key,
        incremental: asked.incremental.as_deref(),
        source: asked.source,
        rows,
        seconds,
    };
    fills::record(&resolved, &fill, &reading)?;
    let (model, version) = (resolved.model.clone(), resolved.version);
    let table = format!("{}.{}", graph::quoted(&schema), graph::quoted(&relation));
    Ok(Filled { model, version, table, created, rows, seconds })
}

fn check(asked: &Asked) -> Result<()> {
    let Asked { mode, key, incremental, .. } = asked;
    match *mode {
        "insert" => Ok(()),
        "merge" if key.is_empty() => Err(refused("mode is merge, and no key tells rows apart")
            .hint("Name the columns that do: key => '{id}'.")),
        "merge" => Ok(()),
        "replace" if incremental.is_some() => {
            Err(refused("mode is replace, and incremental would leave the rows of before out")
                .hint("Use mode => 'insert' or 'merge' with incremental."))
        }
        "replace" => Ok(()),
        other => Err(refused(format!("mode is \"{other}\", expected insert, merge or replace"))),
    }
}

/// The columns of the source that go into the table as they are: those that have a part and those asked for; all
/// where neither is said.
fn carried(asked: &Asked, reading: &Reading) -> Result<Vec<String>> {
    let known = reading.outputs();
    let named = asked.key.iter().chain(&asked.incremental).chain(asked.columns.iter().flatten());
    let mut carried: Vec<String> = vec![];
    for name in named {
        if !known.contains(name) {
            return Err(unknown_column(name, known.iter().map(String::as_str)).into());
        }
        if !carried.contains(name) {
            carried.push(name.clone());
        }
    }
    if carried.is_empty() && asked.columns.is_none() {
        carried = known.to_vec();
    }
    let twice = carried.iter().find(|c| known.iter().filter(|k| k == c).count() > 1);
    match twice {
        None => Ok(carried),
        Some(name) => {
            Err(Error::new(Code::DuplicateColumn, format!("the source has two columns \"{name}\"")))
        }
    }
}

fn insert(
    asked: &Asked,
    table: &str,
    carried: &[String],
    filled: &[&(&str, &str, &str)],
    from: &str,
) -> String {
    let names: Vec<String> =
        carried.iter().map(|c| quoted(c)).chain(filled.iter().map(|f| f.0.to_string())).collect();
    let values: Vec<String> = carried
        .iter()
        .map(|c| format!("\"damson row\".{}", quoted(c)))
        .chain(filled.iter().map(|f| f.2.to_string()))
        .collect();
    let mut sql = format!("INSERT INTO {table} ({}) SELECT {} {from}", names.join(", "), values.join(", "));
    if let Some(column) = &asked.incremental {
        let column = quoted(column);
        let last = format!("(SELECT pg_catalog.max(t.{column}) FROM {table} AS t)");
        sql.push_str(&format!(
            " WHERE {last} IS NULL OR \"damson row\".{column} OPERATOR(pg_catalog.>) {last}"
        ));
    }
    if asked.mode == "merge" {
        let others = names.iter().filter(|n| !asked.key.iter().any(|k| quoted(k) == **n));
        let set: Vec<String> = others.map(|n| format!("{n} = excluded.{n}")).collect();
        sql.push_str(&format!(" ON CONFLICT ({}) DO UPDATE SET {}", list(&asked.key), set.join(", ")));
    }
    sql
}

fn list(names: &[String]) -> String {
    names.iter().map(|n| quoted(n)).collect::<Vec<_>>().join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(Kind::Parameter, message)
}
