//! Whether what versions read is still there, by the names and types that were recorded.

use super::{write, write_kept};
use crate::pg::error::Result;
use crate::pg::role::current_user;
use crate::pg::spi::Row;

/// Something that a version read and that is no more as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// The relation's kind, such as `table`.
    pub kind: String,
    /// The relation, quoted as SQL does.
    pub relation: String,
    /// The column; none for the relation itself.
    pub column: Option<String>,
    /// Its type then.
    pub then: Option<String>,
    /// Its type now, where it is there.
    pub now: Option<String>,
    /// A deployed version that read it; none for one of which the current user may not know.
    pub model: Option<String>,
}

impl Break {
    /// As a message.
    pub fn shown(&self) -> String {
        let model = match &self.model {
            Some(model) => format!("the deployed model \"{model}\""),
            None => "a deployed model of another role".to_string(),
        };
        let Break { kind, relation, .. } = self;
        match (&self.column, &self.then, &self.now) {
            (Some(column), Some(then), Some(now)) => format!(
                "column \"{column}\" of {kind} {relation} is {now} now, and {model} was trained on {then}"
            ),
            (Some(column), ..) => {
                format!("{kind} {relation} has no column \"{column}\" now, which {model} was trained on")
            }
            (None, ..) => format!("there is no {kind} {relation} now, which {model} was trained on"),
        }
    }
}

/// What of the reads `q` is no more as it was; a relation that is gone is told once, without its columns.
macro_rules! breaks {
    ($of:literal, $model:literal) => {
        concat!(
            "SELECT DISTINCT q.kind, pg_catalog.format('%I.%I', q.schema, q.relation),
                CASE WHEN c.oid IS NOT NULL THEN q.column_name END, CASE WHEN c.oid IS NOT NULL THEN q.type END,
                pg_catalog.format_type(a.atttypid, a.atttypmod), ",
            $model,
            " FROM ",
            $of,
            " LEFT JOIN pg_catalog.pg_namespace n ON n.nspname = q.schema::name
            LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = q.relation::name
            LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = q.column_name::name
                AND NOT a.attisdropped
            WHERE CASE WHEN q.kind = 'function' THEN NOT EXISTS (
                    SELECT FROM pg_catalog.pg_proc p WHERE p.pronamespace = n.oid AND p.proname = q.relation::name)
                ELSE c.oid IS NULL
                    OR q.column_name IS NOT NULL
                    AND pg_catalog.format_type(a.atttypid, a.atttypmod) IS DISTINCT FROM q.type END"
        )
    };
}

const DEPLOYED: &str = breaks!(
    "(SELECT DISTINCT a.version FROM damson_catalog.aliases a) d
    JOIN damson_catalog.versions v ON v.id = d.version
    JOIN damson_catalog.models m ON m.id = v.model
    JOIN damson_lineage.column_reads q ON q.version = v.id",
    "CASE WHEN pg_catalog.pg_has_role($1, m.owner::oid, 'USAGE') OR EXISTS (
        SELECT FROM damson_catalog.grants g
        WHERE g.model = m.id AND (g.grantee = 0::regrole OR pg_catalog.pg_has_role($1, g.grantee::oid, 'USAGE')))
        THEN m.name || '@' || v.version END"
);

const OF_VERSION: &str =
    breaks!("(SELECT r.* FROM damson_lineage.column_reads r WHERE r.version = $1) q", "NULL::text");

/// What deployed versions read and is no more as it was. Models that the current user may not know of have no name.
///
/// # Errors
/// Only faults of the catalog.
pub fn broken() -> Result<std::collections::BTreeSet<Break>> {
    write_kept(DEPLOYED, &[current_user().into()])?.iter().map(read).collect()
}

/// What one version read and is no more as it was.
///
/// # Errors
/// As for `broken`.
pub(super) fn broken_for(version: i64) -> Result<Vec<Break>> {
    write(OF_VERSION, &[version.into()])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<Break> {
    Ok(Break {
        kind: row.get(0)?,
        relation: row.get(1)?,
        column: row.get(2)?,
        then: row.get(3)?,
        now: row.get(4)?,
        model: row.get(5)?,
    })
}
