//! What the server's planner knows of a relation's columns, with the caller's rights: the view `pg_stats` shows the
//! columns that he may read, of relations all of whose rows he may read.

use super::datum::{Float4Array, TextArray};
use super::error::Result;
use super::role::Settings;
use super::spi;
use engine::drift::quick::Statistics;
use pgrx::pg_sys::{self, Oid};

/// Times as seconds since 2000, in UTC; other values as they are printed. Arrays and what else has no order of its
/// own is left out.
const SQL: &str = "SELECT DISTINCT ON (s.attname) s.attname::text, a.atttypid = 'bool'::regtype, s.null_frac::float8,
        CASE
            WHEN s.most_common_vals IS NULL THEN NULL
            WHEN a.atttypid = 'timestamptz'::regtype THEN ARRAY(
                SELECT (EXTRACT(epoch FROM x) - 946684800)::text FROM unnest(s.most_common_vals::text::timestamptz[]) x)
            WHEN a.atttypid IN ('timestamp'::regtype, 'date'::regtype) THEN ARRAY(
                SELECT (EXTRACT(epoch FROM x) - 946684800)::text FROM unnest(s.most_common_vals::text::timestamp[]) x)
            ELSE s.most_common_vals::text::text[]
        END,
        s.most_common_freqs,
        CASE
            WHEN s.histogram_bounds IS NULL THEN NULL
            WHEN a.atttypid = 'timestamptz'::regtype THEN ARRAY(
                SELECT (EXTRACT(epoch FROM x) - 946684800)::text FROM unnest(s.histogram_bounds::text::timestamptz[]) x)
            WHEN a.atttypid IN ('timestamp'::regtype, 'date'::regtype) THEN ARRAY(
                SELECT (EXTRACT(epoch FROM x) - 946684800)::text FROM unnest(s.histogram_bounds::text::timestamp[]) x)
            ELSE s.histogram_bounds::text::text[]
        END
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = s.attname
    JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE c.oid = $1 AND t.typcategory <> 'A'
    ORDER BY s.attname, s.inherited DESC";

/// The statistics of a relation's columns.
///
/// # Errors
/// A relation that is not there is the server's error.
pub fn statistics(relation: &str) -> Result<Vec<Statistics>> {
    let row = spi::select("SELECT $1::pg_catalog.regclass::pg_catalog.oid", &[relation.into()])?.one()?;
    let oid: Oid = row.map_or(Ok(pg_sys::InvalidOid), |row| row.get(0))?;
    let _path = Settings::set(&[(c"search_path", c"pg_catalog, pg_temp")]);
    let rows = spi::select(SQL, &[oid.into()])?;
    let texts = |list: Option<TextArray>| list.map_or(vec![], |l| l.0.into_iter().flatten().collect());
    let one = |row: &spi::Row| {
        Ok(Statistics {
            column: row.get(0)?,
            boolean: row.get(1)?,
            missing: row.get(2)?,
            common: texts(row.get(3)?),
            frequencies: row
                .get::<Option<Float4Array>>(4)?
                .map_or(vec![], |f| f.0.into_iter().map(f64::from).collect()),
            bounds: texts(row.get(5)?),
        })
    };
    rows.iter().map(one).collect()
}
