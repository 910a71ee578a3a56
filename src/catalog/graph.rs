//! Where versions come from and where they go: from columns to versions that were trained on them, from versions to
//! tables that they filled, and on. Walked level by level; nothing is visited twice, so circles end. A model of which
//! the current user may not know is not there, and what lies behind it is not reached.

use super::read;
use super::resolve::Resolved;
use crate::pg::datum::TextArray;
use crate::pg::error::{Code, Error, Result};
use crate::pg::role::current_user;
use crate::pg::spi::{Param, Row, Rows};
use std::collections::{BTreeSet, HashSet};

/// A step of the walk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Steps from the beginning.
    pub depth: i64,
    /// `table`, `view`, ..., `function`, or `model`.
    pub kind: String,
    /// The relation, quoted as SQL does, or the model's name.
    pub name: String,
    /// The model's version.
    pub version: Option<i64>,
    /// The relation's column; none for the relation as such, and for a model.
    pub column: Option<String>,
    /// The part that it has: of a column in a training, of a table in a filling; `condition` for what only decides
    /// which rows there are.
    pub usage: String,
    /// Where it goes, or where it comes from: a column of a source or table, a version.
    pub of: String,
}

/// Whether user `$1` may know of model `m`.
macro_rules! visible {
    () => {
        "(pg_catalog.pg_has_role($1, m.owner::oid, 'USAGE') OR EXISTS (
            SELECT FROM damson_catalog.grants g
            WHERE g.model = m.id AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($1, g.grantee::oid, 'USAGE'))))"
    };
}

/// What version `$2` was trained on.
const READ_BY_VERSION: &str = "SELECT q.kind, pg_catalog.format('%I.%I', q.schema, q.relation), q.column_name,
        coalesce(q.role, CASE WHEN q.column_name IS NULL THEN 'rows' ELSE 'condition' END), q.output, q.schema,
        q.relation, m.name || '@' || v.version
    FROM damson_lineage.column_reads q
    JOIN damson_catalog.versions v ON v.id = q.version
    JOIN damson_catalog.models m ON m.id = v.model
    WHERE q.version = $2 AND $1 IS NOT NULL";

/// Which version version `$2` went on from.
const PARENT: &str = concat!(
    "SELECT p.id, m.name, p.version, w.name || '@' || v.version
    FROM damson_catalog.versions v
    JOIN damson_catalog.models w ON w.id = v.model
    JOIN damson_catalog.versions p ON p.id = v.parent
    JOIN damson_catalog.models m ON m.id = p.model
    WHERE v.id = $2 AND ",
    visible!()
);

/// Which versions filled table `$2`.`$3` before version `$4` was trained, newest fillings first.
const FILLED_BY: &str = concat!(
    "SELECT DISTINCT ON (f.version) f.version, m.name, v.version, f.outputs, f.carried, f.id, f.mode
    FROM damson_lineage.fills f
    JOIN damson_catalog.versions v ON v.id = f.version
    JOIN damson_catalog.models m ON m.id = v.model
    WHERE f.schema = $2 AND f.relation = $3 AND ",
    visible!(),
    "   AND f.finished <= (SELECT r.finished FROM damson_catalog.versions w
            JOIN damson_catalog.runs r ON r.id = w.run WHERE w.id = $4)
    ORDER BY f.version, f.id DESC"
);

/// What filling `$2` read for its columns that were carried.
const READ_BY_FILL: &str = "SELECT q.kind, pg_catalog.format('%I.%I', q.schema, q.relation), q.column_name,
        coalesce(q.role, CASE WHEN q.column_name IS NULL THEN 'rows' ELSE 'condition' END), q.output, q.schema,
        q.relation
    FROM damson_lineage.column_reads q WHERE q.fill = $2 AND $1 IS NOT NULL";

/// Which versions were trained on table `$2`.`$3`, and, where `$4` is not NULL, on one of these columns of it.
const TRAINED_ON: &str = concat!(
    "SELECT v.id, m.name, v.version, q.column_name,
        coalesce(q.role, CASE WHEN q.column_name IS NULL THEN 'rows' ELSE 'condition' END), q.kind
    FROM (SELECT DISTINCT r.version FROM damson_lineage.reads r
        WHERE r.schema = $2 AND r.relation = $3) r
    JOIN damson_lineage.column_reads q ON q.version = r.version
    JOIN damson_catalog.versions v ON v.id = q.version
    JOIN damson_catalog.models m ON m.id = v.model
    WHERE q.schema = $2 AND q.relation = $3 AND ($4::text[] IS NULL OR q.column_name = ANY ($4)) AND ",
    visible!()
);

/// Which tables were filled from table `$2`.`$3`, likewise; the last columns are the columns that it went into.
const FILLED_FROM: &str = concat!(
    "SELECT DISTINCT f.schema, f.relation, pg_catalog.format('%I.%I', f.schema, f.relation), q.column_name, f.mode,
        CASE q.role WHEN 'carried' THEN ARRAY[q.output] WHEN 'feature' THEN f.outputs
            WHEN 'carried, feature' THEN pg_catalog.array_append(f.outputs, q.output)
            ELSE pg_catalog.array_cat(f.outputs, f.carried) END, m.name || '@' || v.version
    FROM (SELECT DISTINCT r.fill FROM damson_lineage.reads r
        WHERE r.schema = $2 AND r.relation = $3) r
    JOIN damson_lineage.column_reads q ON q.fill = r.fill
    JOIN damson_lineage.fills f ON f.id = q.fill
    JOIN damson_catalog.versions v ON v.id = f.version
    JOIN damson_catalog.models m ON m.id = v.model
    WHERE q.schema = $2 AND q.relation = $3 AND q.column_name IS NOT NULL
        AND ($4::text[] IS NULL OR q.column_name = ANY ($4)) AND ",
    visible!()
);

/// Which tables version `$2` filled.
const FILLED_WITH: &str =
    "SELECT DISTINCT f.schema, f.relation, pg_catalog.format('%I.%I', f.schema, f.relation),
        NULL::text, f.mode, f.outputs
    FROM damson_lineage.fills f WHERE f.version = $2 AND $1 IS NOT NULL";

/// What a version was made of: columns of tables and views, and, where a table was filled by versions, these and what
/// they were made of.
///
/// # Errors
/// `Kind::Internal` for a model given as text, which has no lineage.
pub fn upstream(model: &Resolved) -> Result<Vec<Step>> {
    if model.id == 0 {
        return Err(Error::new(engine::Kind::Unsupported, "a model given as text has no lineage"));
    }
    let mut steps = BTreeSet::new();
    let mut seen: HashSet<i64> = HashSet::from([model.id]);
    let mut level = vec![model.id];
    let mut depth = 1;
    while !level.is_empty() {
        let mut next = vec![];
        for version in std::mem::take(&mut level) {
            let mut relations: BTreeSet<(String, String)> = BTreeSet::new();
            for row in &read(READ_BY_VERSION, &[current_user().into(), version.into()])? {
                let of: String = row.get(7)?;
                steps.insert(read_step(row, depth, &of)?);
                relations.insert((row.get(5)?, row.get(6)?));
            }
            if let Some(row) = read(PARENT, &[current_user().into(), version.into()])?.one()? {
                let (kind, usage) = ("model".to_string(), "init_model".to_string());
                let (name, number, of) = (row.get(1)?, Some(row.get(2)?), row.get(3)?);
                steps.insert(Step { depth, kind, name, version: number, column: None, usage, of });
                let id = row.get(0)?;
                if seen.insert(id) {
                    next.push(id);
                }
            }
            for (schema, relation) in &relations {
                let params = [current_user().into(), schema.into(), relation.into(), version.into()];
                for row in &read(FILLED_BY, &params)? {
                    let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
                    let number: i64 = row.get(2)?;
                    let table = format!("{}.{}", quoted(schema), quoted(relation));
                    steps.insert(Step {
                        depth: depth + 1,
                        kind: "model".into(),
                        name,
                        version: Some(number),
                        column: None,
                        usage: row.get(6)?,
                        of: table.clone(),
                    });
                    let fill: i64 = row.get(5)?;
                    for row in &read(READ_BY_FILL, &[current_user().into(), fill.into()])? {
                        steps.insert(read_step(row, depth + 1, &table)?);
                    }
                    if seen.insert(id) {
                        next.push(id);
                    }
                }
            }
        }
        level = next;
        depth += 2;
    }
    Ok(steps.into_iter().collect())
}

/// A table that a version filled.
pub struct Filled {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub relation: String,
    /// Both, as SQL shows them.
    pub shown: String,
    /// The columns that the version filled.
    pub outputs: Vec<String>,
}

/// The tables that a version filled, each once.
///
/// # Errors
/// Only faults of the catalog.
pub fn filled(model: &Resolved) -> Result<Vec<Filled>> {
    let mut tables: Vec<Filled> = vec![];
    for row in &read(FILLED_WITH, &[current_user().into(), model.id.into()])? {
        let shown: String = row.get(2)?;
        let outputs = row.get::<TextArray>(5)?.0.into_iter().flatten();
        match tables.iter_mut().find(|t| t.shown == shown) {
            Some(table) => table.outputs.extend(outputs),
            None => {
                let outputs = outputs.collect();
                tables.push(Filled { schema: row.get(0)?, relation: row.get(1)?, shown, outputs });
            }
        }
    }
    Ok(tables)
}

/// A read as a step; `of` is whose it was.
fn read_step(row: &Row, depth: i64, of: &str) -> Result<Step> {
    let output: Option<String> = row.get(4)?;
    Ok(Step {
        depth,
        kind: row.get(0)?,
        name: row.get(1)?,
        version: None,
        column: row.get(2)?,
        usage: row.get(3)?,
        of: output.map_or_else(|| of.to_string(), |output| format!("{of}.{}", quoted(&output))),
    })
}

/// What becomes of a relation, or of one of its columns: versions that were trained on it, tables that these filled,
/// tables that were filled from it, and what becomes of them.
///
/// # Errors
/// 42P01 where nothing of that name was ever read and no such relation is there.
pub fn downstream(schema: &str, relation: &str, column: Option<&str>) -> Result<Vec<Step>> {
    type Node = (String, String, Option<Vec<String>>);
    let start: Node = (schema.into(), relation.into(), column.map(|c| vec![c.to_string()]));
    let mut steps = BTreeSet::new();
    let mut seen: HashSet<Node> = HashSet::from([start.clone()]);
    let mut versions: HashSet<i64> = HashSet::new();
    let mut level = vec![start];
    let mut depth = 1;
    while !level.is_empty() {
        let mut next: Vec<Node> = vec![];
        for (schema, relation, columns) in std::mem::take(&mut level) {
            let array = columns.map(|c| TextArray(c.into_iter().map(Some).collect()));
            let params = [current_user().into(), (&schema).into(), (&relation).into(), array.as_ref().into()];
            let mut trained = BTreeSet::new();
            for row in &read(TRAINED_ON, &params)? {
                let (name, number): (String, i64) = (row.get(1)?, row.get(2)?);
                let column: Option<String> = row.get(3)?;
                let table = format!("{}.{}", quoted(&schema), quoted(&relation));
                let of = column.as_ref().map_or_else(|| table.clone(), |c| format!("{table}.{}", quoted(c)));
                let usage = row.get(4)?;
                let kind = "model".to_string();
                steps.insert(Step { depth, kind, name, version: Some(number), column: None, usage, of });
                trained.insert((row.get::<i64>(0)?, format!("{}@{number}", row.get::<String>(1)?)));
            }
            let mut filled = vec![];
            for row in read(FILLED_FROM, &params)?.into_vec() {
                let by: String = row.get(6)?;
                let source: String = row.get(3)?;
                let of = format!("{}.{}.{} by {by}", quoted(&schema), quoted(&relation), quoted(&source));
                filled.push((depth, row, of));
            }
            for (id, name) in trained {
                if versions.insert(id) {
                    let rows = read(FILLED_WITH, &[current_user().into(), id.into()])?;
                    filled.extend(rows.into_vec().into_iter().map(|row| (depth + 1, row, name.clone())));
                }
            }
            for (depth, row, of) in filled {
                let outputs: TextArray = row.get(5)?;
                let outputs: Vec<String> = outputs.0.into_iter().flatten().collect();
                for column in &outputs {
                    steps.insert(Step {
                        depth,
                        kind: "table".into(),
                        name: row.get(2)?,
                        version: None,
                        column: Some(column.clone()),
                        usage: row.get(4)?,
                        of: of.clone(),
                    });
                }
                let node: Node = (row.get(0)?, row.get(1)?, Some(outputs));
                if seen.insert(node.clone()) {
                    next.push(node);
                }
            }
        }
        level = next;
        depth += 2;
    }
    Ok(steps.into_iter().collect())
}

/// The schema and the name of a relation that is there.
///
/// # Errors
/// 42P01 where it is not, and the server's own for what cannot be a name.
pub fn relation(name: &str) -> Result<(String, String)> {
    named(name, crate::pg::spi::select)
}

/// As [`relation`], also for one that the calling statement made itself.
///
/// # Errors
/// As for [`relation`].
pub fn relation_now(name: &str) -> Result<(String, String)> {
    named(name, crate::pg::spi::execute)
}

fn named(name: &str, run: fn(&str, &[Param]) -> Result<Rows>) -> Result<(String, String)> {
    // With the caller's search path: this reads no table of the catalog.
    let sql = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
        WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass($1)";
    let row = run(sql, &[name.into()])?.one()?;
    let row = row.ok_or_else(|| {
        Error::new(Code::NoSuchRelation, format!("relation \"{name}\" does not exist"))
            .hint("Names with capitals or other signs are written in double quotes, as everywhere in SQL.")
    })?;
    Ok((row.get(0)?, row.get(1)?))
}

/// An identifier as SQL shows it.
pub fn quoted(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_string() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}
