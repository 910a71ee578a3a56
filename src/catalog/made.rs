//! Objects that were made for models: functions and views of the users, known by a line of their comments.

use super::write;
use crate::pg::datum::TextArray;
use crate::pg::error::Result;
use crate::pg::role::current_user;
use crate::pg::spi;
use crate::pg::verb::{identifier, quoted};
use serde_json::Value;

/// A column: its name, and its type in `pg_catalog`.
pub(super) type Column = (String, String);

/// What a scorer's type is called.
pub(super) fn row_type(name: &str) -> String {
    format!("{name}_row")
}

/// DDL, with the current user's rights.
pub(super) fn run(sql: &str) -> Result<()> {
    spi::execute(sql, &[]).map(drop)
}

/// Writes what an object was made for: with what, by which verb, for which model.
///
/// # Errors
/// Those of the server.
pub(super) fn comment(
    kind: &str,
    object: &str,
    reference: &str,
    verb: &str,
    model: i64,
    record: &Value,
) -> Result<()> {
    let text =
        format!("Scores rows by model \"{reference}\".\nMade by damson.create_{verb}: {model} {record}");
    run(&format!("COMMENT ON {kind} {object} IS {}", quoted(&text)))
}

/// An object that was made for a model.
pub(super) struct Made {
    /// Whether it is a function, and not a view.
    pub(super) function: bool,
    /// Its schema.
    pub(super) schema: String,
    /// Its name.
    pub(super) name: String,
    /// A function's arguments, by which it is told from others of its name.
    pub(super) types: String,
    /// A function's arguments.
    pub(super) columns: Vec<Column>,
    /// Whose it is.
    pub(super) owner: String,
    /// Whether a change of the model changes it too.
    pub(super) follows: bool,
    /// What it was made with.
    pub(super) record: Value,
    /// What depends on it.
    pub(super) dependents: Vec<String>,
    /// Who may call it, as GRANT says it; none where nobody ever said.
    pub(super) grants: Option<Vec<(Option<String>, bool)>>,
}

impl Made {
    /// As errors name it.
    pub(super) fn shown(&self) -> String {
        let object = format!("{}.{}", identifier(&self.schema), identifier(&self.name));
        if self.function { format!("function {object}") } else { format!("view {object}") }
    }

    /// Drops it, with the current user's rights.
    pub(super) fn drop(&self) -> Result<()> {
        let object = format!("{}.{}", identifier(&self.schema), identifier(&self.name));
        if !self.function {
            return run(&format!("DROP VIEW {object}"));
        }
        run(&format!("DROP FUNCTION {object}({})", self.types))?;
        run(&format!(
            "DROP TYPE IF EXISTS {}.{}",
            identifier(&self.schema),
            identifier(&row_type(&self.name))
        ))
    }
}

/// The objects that were made for a model.
pub(super) fn made_for(model: i64) -> Result<Vec<Made>> {
    let sql = "SELECT o.classid = 'pg_proc'::regclass, o.schema, o.name, o.types, o.names, o.type_names, r.rolname::text,
            (r.oid = $2 OR r.oid = m.owner::oid) AND pg_catalog.pg_has_role($2, r.oid, 'USAGE'), o.mark[2],
            ARRAY(SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, 0)
                FROM pg_catalog.pg_depend d
                WHERE d.refclassid = o.classid AND d.refobjid = o.oid AND d.deptype = 'n'
                    AND (o.classid = 'pg_proc'::regclass OR d.classid <> 'pg_rewrite'::regclass)),
            CASE WHEN o.acl IS NULL THEN NULL ELSE ARRAY(
                SELECT CASE WHEN a.is_grantable THEN '+' ELSE '-' END || coalesce(g.rolname::text, '')
                FROM pg_catalog.aclexplode(o.acl) a LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee
                WHERE a.privilege_type = 'EXECUTE' AND a.grantee <> o.owner AND (a.grantee = 0 OR g.oid IS NOT NULL)) END
        FROM (
            SELECT 'pg_proc'::regclass::oid AS classid, p.oid, n.nspname::text AS schema, p.proname::text AS name,
                (SELECT pg_catalog.string_agg(pg_catalog.format('%I.%I', tn.nspname, t.typname), ', ' ORDER BY a.place)
                 FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(type, place)
                 JOIN pg_catalog.pg_type t ON t.oid = a.type JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace) AS types,
                p.proargnames AS names,
                ARRAY(SELECT t.typname::text FROM pg_catalog.unnest(p.proargtypes) WITH ORDINALITY AS a(type, place)
                      JOIN pg_catalog.pg_type t ON t.oid = a.type ORDER BY a.place) AS type_names,
                p.proowner AS owner, p.proacl AS acl,
                pg_catalog.regexp_match(d.description, E'\\nMade by damson\\\\.create_scorer: (\\\\d{1,18}) (\\\\{[^\\n]*\\\\})$') AS mark
            FROM pg_catalog.pg_description d
            JOIN pg_catalog.pg_proc p ON p.oid = d.objoid AND d.classoid = 'pg_proc'::regclass
            JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
            WHERE d.description LIKE E'%\\nMade by damson.create\\\\_scorer: %'
            UNION ALL
            SELECT 'pg_class'::regclass, c.oid, n.nspname::text, c.relname::text, NULL, NULL, NULL, c.relowner, NULL,
                pg_catalog.regexp_match(d.description, E'\\nMade by damson\\\\.create_scored_view: (\\\\d{1,18}) (\\\\{[^\\n]*\\\\})$')
            FROM pg_catalog.pg_description d
            JOIN pg_catalog.pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass AND c.relkind = 'v'
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
            WHERE d.objsubid = 0 AND d.description LIKE E'%\\nMade by damson.create\\\\_scored\\\\_view: %') o
        JOIN damson_catalog.models m ON m.id = $1 AND o.mark[1] = $1::text
        JOIN pg_catalog.pg_roles r ON r.oid = o.owner
        ORDER BY o.classid, o.oid";
    let rows = write(sql, &[model.into(), current_user().into()])?;
    let mut made = vec![];
    for row in &rows {
        // Users can write comments too.
        let Ok(record) = serde_json::from_str::<Value>(&row.get::<String>(8)?) else { continue };
        let texts = |at: usize| -> Result<Option<Vec<String>>> {
            let found: Option<TextArray> = row.get(at)?;
            Ok(found.map(|t| t.0.into_iter().flatten().collect()))
        };
        let (names, types) = (texts(4)?.unwrap_or_default(), texts(5)?.unwrap_or_default());
        let grant = |text: String| {
            let name = text.get(1..).filter(|name| !name.is_empty()).map(String::from);
            (name, text.starts_with('+'))
        };
        made.push(Made {
            function: row.get(0)?,
            schema: row.get(1)?,
            name: row.get(2)?,
            types: row.get::<Option<String>>(3)?.unwrap_or_default(),
            columns: names.into_iter().zip(types).collect(),
            owner: row.get(6)?,
            follows: row.get(7)?,
            record,
            dependents: texts(9)?.unwrap_or_default(),
            grants: texts(10)?.map(|grants| grants.into_iter().map(grant).collect()),
        });
    }
    Ok(made)
}
