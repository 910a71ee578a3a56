-- What each version was made of, and which tables versions filled. Written in the transaction of the training or of
-- the filling. Relations and columns are kept by name: a dump that is restored elsewhere means the same ones.

CREATE TABLE damson_lineage.origins (
    version        bigint PRIMARY KEY,
    recipe         jsonb NOT NULL,
    runner         text NOT NULL,
    search_path    text NOT NULL,
    time_zone      text NOT NULL,
    snapshot       text NOT NULL,
    source_rows    bigint NOT NULL,
    row_order      text,
    build          text NOT NULL,
    libraries      jsonb NOT NULL,
    key_column     text,
    key_error_rate float8,
    used_keys      bytea
);
-- Sets of bits look like chance: compressing them costs time for nothing.
ALTER TABLE damson_lineage.origins ALTER COLUMN used_keys SET STORAGE EXTERNAL;
COMMENT ON TABLE damson_lineage.origins IS 'One row a version: what it was made of';
COMMENT ON COLUMN damson_lineage.origins.recipe IS 'The request of the training, with all parameters as they were';
COMMENT ON COLUMN damson_lineage.origins.search_path IS 'What the names of the source were looked up in';
COMMENT ON COLUMN damson_lineage.origins.row_order IS 'A hash of the order of the rows; NULL where it is not known';
COMMENT ON COLUMN damson_lineage.origins.build IS 'A hash of the sources of the extension';
COMMENT ON COLUMN damson_lineage.origins.used_keys IS 'A set of bits that the keys of the training rows are hashed into';

-- A row a version, not a row a column: one that reads a hundred columns is written as fast as one that reads two.
CREATE TABLE damson_lineage.columns (
    version         bigint PRIMARY KEY,
    names           text[] NOT NULL,
    roles           text[] NOT NULL,
    kinds           text[] NOT NULL,
    types           text[] NOT NULL,
    missing         float8[] NOT NULL,
    distinct_values float8[] NOT NULL,
    means           float8[] NOT NULL,
    stds            float8[] NOT NULL,
    mins            float8[] NOT NULL,
    maxs            float8[] NOT NULL,
    tops            text[] NOT NULL,
    top_rows        float8[] NOT NULL
) WITH (toast_tuple_target = 8160);
COMMENT ON TABLE damson_lineage.columns IS
    'One row a version: what the columns of its source looked like, each with its place in all arrays; NaN is not known';
COMMENT ON COLUMN damson_lineage.columns.types IS 'Types in pg_catalog, of a domain that of its values; NULL for other types';
CREATE VIEW damson_lineage.column_facts AS
SELECT c.version, f.place, f.name, f.role, f.kind, f.type, nullif(f.missing, 'NaN')::bigint AS missing,
       nullif(f.distinct_values, 'NaN')::bigint AS distinct_values, nullif(f.mean, 'NaN') AS mean,
       nullif(f.std, 'NaN') AS std, nullif(f.min, 'NaN') AS min, nullif(f.max, 'NaN') AS max, f.top,
       nullif(f.top_rows, 'NaN')::bigint AS top_rows
FROM damson_lineage.columns c
CROSS JOIN LATERAL unnest(c.names, c.roles, c.kinds, c.types, c.missing, c.distinct_values, c.means, c.stds, c.mins,
    c.maxs, c.tops, c.top_rows) WITH ORDINALITY
    AS f(name, role, kind, type, missing, distinct_values, mean, std, min, max, top, top_rows, place);

CREATE TABLE damson_lineage.fills (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    version     bigint NOT NULL,
    schema      text NOT NULL,
    relation    text NOT NULL,
    outputs     text[] NOT NULL,
    carried     text[] NOT NULL,
    mode        text NOT NULL CHECK (mode IN ('insert', 'merge', 'replace')),
    key         text[] NOT NULL,
    incremental text,
    source      text NOT NULL,
    filled_rows bigint NOT NULL,
    snapshot    text NOT NULL,
    role        regrole NOT NULL,
    started     timestamptz NOT NULL,
    finished    timestamptz NOT NULL
);
CREATE INDEX fills_of_version ON damson_lineage.fills (version);
CREATE INDEX fills_of_relation ON damson_lineage.fills (schema, relation);
COMMENT ON TABLE damson_lineage.fills IS 'One row a filling of a table by damson.score_into';
COMMENT ON COLUMN damson_lineage.fills.outputs IS 'The columns that the version filled';
COMMENT ON COLUMN damson_lineage.fills.carried IS 'The columns that came from the source as they were';

CREATE TABLE damson_lineage.reads (
    version      bigint,
    fill         bigint,
    schema       text NOT NULL,
    relation     text NOT NULL,
    kind         text NOT NULL,
    column_names text[] NOT NULL,
    types        text[] NOT NULL,
    outputs      text[] NOT NULL,
    roles        text[] NOT NULL,
    CHECK ((version IS NULL) <> (fill IS NULL))
) WITH (toast_tuple_target = 8160);
CREATE INDEX reads_of_version ON damson_lineage.reads (version) WHERE version IS NOT NULL;
CREATE INDEX reads_of_fill ON damson_lineage.reads (fill) WHERE fill IS NOT NULL;
CREATE INDEX reads_of_relation ON damson_lineage.reads (schema, relation);
COMMENT ON TABLE damson_lineage.reads IS 'One row a relation or function that the source of a training or filling read';
COMMENT ON COLUMN damson_lineage.reads.column_names IS 'The columns of it that were read; NULL for the relation or function as such';
COMMENT ON COLUMN damson_lineage.reads.outputs IS
    'The column of the source that each goes into; NULL where it only decides which rows there are';
CREATE VIEW damson_lineage.column_reads AS
SELECT r.version, r.fill, r.schema, r.relation, r.kind, q.column_name, q.type, q.output, q.role
FROM damson_lineage.reads r
CROSS JOIN LATERAL unnest(r.column_names, r.types, r.outputs, r.roles) AS q(column_name, type, output, role);

REVOKE ALL ON ALL TABLES IN SCHEMA damson_lineage FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damson_lineage FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('damson_lineage.origins', '');
SELECT pg_catalog.pg_extension_config_dump('damson_lineage.columns', '');
SELECT pg_catalog.pg_extension_config_dump('damson_lineage.fills', '');
SELECT pg_catalog.pg_extension_config_dump('damson_lineage.reads', '');
SELECT pg_catalog.pg_extension_config_dump('damson_lineage.fills_id_seq', '');

CREATE VIEW damson.lineage WITH (security_barrier) AS
SELECT m.name AS model, v.version,
       (SELECT pm.name || '@' || pv.version
        FROM damson_catalog.versions pv
        JOIN damson_catalog.models pm ON pm.id = pv.model
        JOIN damson_catalog.visible ps ON ps.id = pm.id
        WHERE pv.id = v.parent) AS parent,
       v.algorithm, o.source_rows, r.train_rows, r.test_rows,
       r.fingerprint, o.row_order, o.snapshot, r.seed, v.params, v.preprocess, r.code_version, o.build, o.libraries,
       r.role, r.started, r.finished, o.key_column, o.key_error_rate, o.runner,
       CASE WHEN s.owned THEN r.source END AS source, o.search_path, v.artifact_sha256
FROM damson_lineage.origins o
JOIN damson_catalog.versions v ON v.id = o.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
JOIN damson_catalog.runs r ON r.id = v.run
ORDER BY m.name, v.version;
COMMENT ON VIEW damson.lineage IS
'What each version was made of: rows, snapshot, parameters, seed, code, who and when.
parent is the version that it went on from (init_model). fingerprint is the same for the same rows in any order,
row_order for the same order too. build is a hash of the
extension''s sources. key_error_rate is how often damson.used_row says yes for a row that was not used. The source''s
text is shown to the model''s owner only: it may hold values.
Example: SELECT version, source_rows, fingerprint, role, started FROM damson.lineage WHERE model = ''churn'';';

CREATE VIEW damson.lineage_columns WITH (security_barrier) AS
SELECT m.name AS model, v.version, pg_catalog.format('%I.%I', q.schema, q.relation) AS relation, q.kind,
       q.column_name AS "column", q.type, q.output, q.role
FROM damson_lineage.column_reads q
JOIN damson_catalog.versions v ON v.id = q.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY m.name, v.version, relation, q.column_name, q.output;
COMMENT ON VIEW damson.lineage_columns IS
'The columns of tables and views that each version really read, through views, subqueries and joins.
output is the column of the source that one goes into, and role its part in the training; both are NULL where the
column only decides which rows there are (conditions, joins, groups). column is NULL for the relation as such.
Example: SELECT relation, "column", output, role FROM damson.lineage_columns WHERE model = ''churn'' AND version = 3;';

CREATE VIEW damson.training_columns WITH (security_barrier) AS
SELECT m.name AS model, v.version, c.name AS "column", c.role, c.kind, c.missing, c.distinct_values, c.mean, c.std,
       CASE WHEN c.kind = 'time' THEN (pg_catalog.to_timestamp(c.min) AT TIME ZONE 'UTC')::text ELSE c.min::text END AS min,
       CASE WHEN c.kind = 'time' THEN (pg_catalog.to_timestamp(c.max) AT TIME ZONE 'UTC')::text ELSE c.max::text END AS max,
       c.top, c.top_rows
FROM damson_lineage.column_facts c
JOIN damson_catalog.versions v ON v.id = c.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id AND s.owned
ORDER BY m.name, v.version, c.place;
COMMENT ON VIEW damson.training_columns IS
'What the columns looked like that your versions were trained on, held-out rows included.
std is that of the population. top is the most frequent text. Only a model''s owner sees them: they hold values.
Example: SELECT "column", role, missing, mean, min, max FROM damson.training_columns WHERE model = ''churn'';';

CREATE VIEW damson.filled_tables WITH (security_barrier) AS
SELECT pg_catalog.format('%I.%I', f.schema, f.relation) AS relation, m.name AS model, v.version, f.mode,
       f.filled_rows, f.outputs, f.incremental, f.role, f.started, f.finished,
       CASE WHEN pg_catalog.pg_has_role(f.role::oid, 'USAGE') THEN f.source END AS source
FROM damson_lineage.fills f
JOIN damson_catalog.versions v ON v.id = f.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY f.id;
COMMENT ON VIEW damson.filled_tables IS
'Which version filled which table, and when: one row a call of damson.score_into.
The source''s text is shown to the role that filled the table only.
Example: SELECT relation, model, version, filled_rows, finished FROM damson.filled_tables;';

REVOKE ALL ON damson.lineage, damson.lineage_columns, damson.training_columns, damson.filled_tables FROM PUBLIC;
GRANT SELECT ON damson.lineage, damson.lineage_columns, damson.training_columns, damson.filled_tables TO PUBLIC;

-- A deployed model whose source breaks is noticed when it breaks, not when it is to be trained again.
CREATE FUNCTION damson_lineage.protect_sources() RETURNS event_trigger
LANGUAGE c AS 'MODULE_PATHNAME', 'damson_protect_sources';
REVOKE ALL ON FUNCTION damson_lineage.protect_sources() FROM PUBLIC;
COMMENT ON FUNCTION damson_lineage.protect_sources() IS
    'Warns of, or refuses, commands that break what a deployed model was trained on; see damson.protect_sources';

CREATE EVENT TRIGGER damson_sources_before ON ddl_command_start
    WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER SCHEMA',
        'ALTER TYPE', 'ALTER FUNCTION', 'DROP TABLE', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP FOREIGN TABLE',
        'DROP SCHEMA', 'DROP TYPE', 'DROP DOMAIN', 'DROP FUNCTION', 'DROP OWNED')
    EXECUTE FUNCTION damson_lineage.protect_sources();
CREATE EVENT TRIGGER damson_sources_after ON ddl_command_end
    WHEN TAG IN ('ALTER TABLE', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'ALTER FOREIGN TABLE', 'ALTER SCHEMA',
        'ALTER TYPE', 'ALTER FUNCTION', 'DROP TABLE', 'DROP VIEW', 'DROP MATERIALIZED VIEW', 'DROP FOREIGN TABLE',
        'DROP SCHEMA', 'DROP TYPE', 'DROP DOMAIN', 'DROP FUNCTION', 'DROP OWNED')
    EXECUTE FUNCTION damson_lineage.protect_sources();
