//! One version as rows to read: what the catalog knows of it, what it reads, and what the model says of itself.

use super::resolve::Resolved;
use crate::pg::error::Result;
use crate::pg::role::current_user;
use engine::frame::ColumnKind;

/// Classes that are shown by name; a target can have thousands.
const CLASSES: usize = 50;

/// The properties that the catalog knows, in the order in which they are shown. The source's text may hold values of
/// rows, so it is the owner's alone.
const SQL: &str = "SELECT d.place::bigint, d.name, d.value FROM (
    SELECT p.place, p.name, p.value
    FROM damson_catalog.versions v
    JOIN damson_catalog.models m ON m.id = v.model
    JOIN damson_catalog.runs r ON r.id = v.run
    CROSS JOIN LATERAL (VALUES
        (1, 'model', m.name),
        (2, 'version', v.version::text),
        (3, 'aliases', (SELECT pg_catalog.string_agg(a.alias, ', ' ORDER BY a.alias)
                        FROM damson_catalog.aliases a WHERE a.version = v.id)),
        (4, 'description', m.description),
        (5, 'task', m.task),
        (6, 'algorithm', v.algorithm),
        (7, 'owner', m.owner::text),
        (8, 'granted to', (SELECT pg_catalog.string_agg(
                                CASE WHEN g.grantee = 0::regrole THEN 'public' ELSE g.grantee::text END,
                                ', ' ORDER BY g.grantee::text)
                           FROM damson_catalog.grants g WHERE g.model = m.id)),
        (9, 'source', CASE WHEN pg_catalog.pg_has_role($2, m.owner::oid, 'USAGE') THEN r.source END),
        (10, 'train rows', r.train_rows::text),
        (11, 'test rows', r.test_rows::text),
        (12, 'data fingerprint', r.fingerprint),
        (13, 'seed', r.seed::text),
        (14, 'trained by', r.role::text),
        (15, 'trained at', r.started::timestamptz(0)::text),
        (16, 'seconds', pg_catalog.round(EXTRACT(EPOCH FROM r.finished - r.started)::numeric, 3)::text),
        (17, 'warnings', NULLIF(pg_catalog.array_to_string(r.warnings, '; '), '')),
        (18, 'code version', r.code_version),
        (19, 'artifact bytes', v.artifact_size::text),
        (20, 'artifact sha256', v.artifact_sha256)
    ) AS p(place, name, value)
    WHERE v.id = $1 AND p.value IS NOT NULL
    UNION ALL
    SELECT 21, q.split || ' ' || q.name, q.value::text
    FROM damson_catalog.metrics q
    JOIN damson_catalog.versions v ON v.run = q.run
    WHERE v.id = $1 AND q.round IS NULL
    UNION ALL
    SELECT 22, 'params.' || e.key, e.value
    FROM damson_catalog.versions v, pg_catalog.jsonb_each_text(v.params) e
    WHERE v.id = $1 AND e.value IS NOT NULL
    UNION ALL
    SELECT 23, 'preprocess.' || e.key, e.value
    FROM damson_catalog.versions v, pg_catalog.jsonb_each_text(v.preprocess) e
    WHERE v.id = $1 AND e.value IS NOT NULL
    ) AS d (place, name, value)
    ORDER BY d.place, d.name";

/// What the catalog knows: a place in the order, names and values.
pub(super) fn properties(resolved: &Resolved) -> Result<Vec<(i64, String, String)>> {
    let rows = super::read(SQL, &[resolved.id.into(), current_user().into()])?;
    rows.iter().map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).collect()
}

/// Names and values.
///
/// # Errors
/// Only faults of the catalog.
pub fn describe(resolved: &Resolved) -> Result<Vec<(String, String)>> {
    let mut properties: Vec<(String, String)> =
        properties(resolved)?.into_iter().map(|(_, name, value)| (name, value)).collect();
    let card = resolved.scorer.card();
    properties.extend(card.target.clone().map(|t| ("target".to_string(), t)));
    if !card.classes.is_empty() {
        properties.push(("classes".to_string(), classes(&card.classes)));
    }
    // In the order in which scalars are bound.
    for (what, inputs) in [("group", card.group_columns()), ("feature", card.features())] {
        for (i, input) in inputs.iter().enumerate() {
            properties.push((format!("{what} {}", i + 1), format!("{} ({})", input.name, kind(input.kind))));
        }
    }
    properties.extend(resolved.scorer.describe());
    Ok(properties)
}

fn classes(all: &[String]) -> String {
    match all.get(..CLASSES) {
        Some(first) if all.len() > CLASSES => format!("{}, ... ({} in all)", first.join(", "), all.len()),
        _ => all.join(", "),
    }
}

fn kind(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Number => "number".into(),
        ColumnKind::Bool => "boolean".into(),
        ColumnKind::Text => "text".into(),
        ColumnKind::Time => "time".into(),
        ColumnKind::Vector { width } => format!("array of {width}"),
        ColumnKind::Bytes => "bytes".into(),
        ColumnKind::Labels => "labels".into(),
    }
}
