-- Drift: what each version remembers of the rows that it was trained on. Rows belong to the users, as those of
-- catalog.sql, and go with their version.

CREATE TABLE damson_drift.baselines (
    version         bigint NOT NULL,
    position        integer NOT NULL CHECK (position > 0),
    name            text COLLATE "C" NOT NULL,
    role            text NOT NULL CHECK (role IN ('feature', 'target', 'prediction', 'probability')),
    kind            text NOT NULL CHECK (kind IN ('numbers', 'categories', 'bytes')),
    row_count       bigint NOT NULL,
    missing         bigint NOT NULL,
    distinct_values bigint,
    mean            float8,
    std             float8,
    min             float8,
    median          float8,
    max             float8,
    sketch          bytea NOT NULL,
    PRIMARY KEY (version, position)
);
-- Packed already: trying to compress them costs time in the training for little.
ALTER TABLE damson_drift.baselines ALTER COLUMN sketch SET STORAGE EXTERNAL;
COMMENT ON TABLE damson_drift.baselines IS 'One row a column that a version was trained on, or that it gives';
COMMENT ON COLUMN damson_drift.baselines.distinct_values IS 'NULL where there are more than the sketch keeps';
COMMENT ON COLUMN damson_drift.baselines.sketch IS 'The distribution, as the engine packs it';

REVOKE ALL ON damson_drift.baselines FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('damson_drift.baselines', '');

CREATE VIEW damson.baselines WITH (security_barrier) AS
SELECT m.name AS model, v.version, b.name AS "column", b.role, b.kind, b.row_count AS rows, b.missing,
       b.distinct_values AS "distinct", b.mean, b.std, b.min, b.median, b.max,
       pg_catalog.octet_length(b.sketch) AS bytes
FROM damson_drift.baselines b
JOIN damson_catalog.versions v ON v.id = b.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY m.name, v.version, b.position;
COMMENT ON VIEW damson.baselines IS
'What each version remembers of the rows it was trained on: what damson.drift compares with.
A row a feature, the target, and what the model predicted for the rows that it was measured on. Times are in seconds
since 2000, arrays count by their length. distinct is NULL where there are more different values than are kept.
Example: SELECT "column", role, rows, missing, mean, median FROM damson.baselines WHERE model = ''churn'' AND version = 3;';

REVOKE ALL ON damson.baselines FROM PUBLIC;
GRANT SELECT ON damson.baselines TO PUBLIC;
