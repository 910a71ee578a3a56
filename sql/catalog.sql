-- The catalog: what models are, where they come from, who may use them. Only the extension's functions write here
-- (as the owner of these tables); users look at it through the views of views.sql. Rows of all tables belong to
-- the users, so pg_dump carries them.
--
-- There are no foreign keys: a parallel pg_restore loads the tables of an extension in any order, and clusters of the
-- Greenplum family do not enforce them. The functions keep the references whole, under the lock of the model's row.

CREATE SCHEMA damson_catalog;
CREATE SCHEMA damson_lineage;
CREATE SCHEMA damson_drift;
COMMENT ON SCHEMA damson IS 'Machine learning next to the data: the functions and views that users call';
COMMENT ON SCHEMA damson_catalog IS 'Damson: models, versions, artifacts, aliases, runs, grants; written by its functions only';
COMMENT ON SCHEMA damson_lineage IS 'Damson: what each version was made of';
COMMENT ON SCHEMA damson_drift IS 'Damson: baselines, monitors and measurements';

CREATE TABLE damson_catalog.models (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    owner        regrole NOT NULL,
    task         text NOT NULL,
    description  text,
    last_version bigint NOT NULL DEFAULT 0,
    created      timestamptz NOT NULL DEFAULT now(),
    changed      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE damson_catalog.models IS 'One row a model';
COMMENT ON COLUMN damson_catalog.models.last_version IS
    'The newest version''s number. Raising it locks the row, and a rollback lowers it again: no number is burnt';
COMMENT ON COLUMN damson_catalog.models.changed IS 'When anything of the model last changed: every change locks this row';

CREATE TABLE damson_catalog.runs (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model        bigint NOT NULL,
    status       text NOT NULL CHECK (status IN ('succeeded', 'warned', 'failed')),
    algorithm    text NOT NULL,
    source       text NOT NULL,
    arguments    jsonb NOT NULL,
    seed         bigint NOT NULL,
    train_rows   bigint NOT NULL,
    test_rows    bigint NOT NULL,
    fingerprint  text NOT NULL,
    code_version text NOT NULL,
    timings      jsonb NOT NULL,
    warnings     text[] NOT NULL,
    role         regrole NOT NULL,
    started      timestamptz NOT NULL,
    finished     timestamptz NOT NULL
);
CREATE INDEX runs_of_model ON damson_catalog.runs (model);
COMMENT ON TABLE damson_catalog.runs IS 'One row a training that reached its end';
COMMENT ON COLUMN damson_catalog.runs.arguments IS 'What train was called with';
COMMENT ON COLUMN damson_catalog.runs.fingerprint IS 'A hash of the rows that were read';
COMMENT ON COLUMN damson_catalog.runs.timings IS 'Seconds by phase';

CREATE TABLE damson_catalog.versions (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model             bigint NOT NULL,
    version           bigint NOT NULL CHECK (version > 0),
    algorithm         text NOT NULL,
    algorithm_version integer NOT NULL,
    params            jsonb NOT NULL,
    preprocess        jsonb NOT NULL,
    target            text,
    features          text[] NOT NULL,
    classes           text[] NOT NULL,
    metric            text,
    metric_value      float8,
    artifact_size     bigint NOT NULL,
    artifact_sha256   text NOT NULL,
    run               bigint NOT NULL,
    parent            bigint,
    created_by        regrole NOT NULL,
    created           timestamptz NOT NULL DEFAULT now(),
    expired           timestamptz,
    UNIQUE (model, version)
);
CREATE INDEX versions_of_run ON damson_catalog.versions (run);
COMMENT ON TABLE damson_catalog.versions IS 'One row a trained version of a model; never changed but when it expires';
COMMENT ON COLUMN damson_catalog.versions.parent IS 'The version whose trees it began with (init_model); it may be gone';
COMMENT ON COLUMN damson_catalog.versions.expired IS
    'When its artifact was removed by the model''s policy; all else of it stays';
COMMENT ON COLUMN damson_catalog.versions.metric IS 'The metric that stands for the version in lists; all are in metrics';

CREATE TABLE damson_catalog.artifacts (
    version bigint NOT NULL,
    chunk   integer NOT NULL CHECK (chunk >= 0),
    bytes   bytea NOT NULL,
    PRIMARY KEY (version, chunk)
);
-- Artifacts are compact already: trying to compress them costs time for nothing.
ALTER TABLE damson_catalog.artifacts ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE damson_catalog.artifacts IS 'The bytes of versions, in chunks of 1 MB';

CREATE TABLE damson_catalog.deployments (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model    bigint NOT NULL,
    alias    text COLLATE "C" NOT NULL CHECK (alias <> ''),
    version  bigint NOT NULL,
    previous bigint,
    action   text NOT NULL CHECK (action IN ('train', 'deploy', 'promote', 'rollback')),
    role     regrole NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX deployments_of_model ON damson_catalog.deployments (model);
CREATE INDEX deployments_of_version ON damson_catalog.deployments (version);
COMMENT ON TABLE damson_catalog.deployments IS 'The history of aliases: each row pointed an alias at a version';
COMMENT ON COLUMN damson_catalog.deployments.at IS
    'When its transaction committed, as near as can be told before it does: what name@time looks for';
COMMENT ON COLUMN damson_catalog.deployments.previous IS 'The deployment that a rollback of this one goes back to';

CREATE TABLE damson_catalog.aliases (
    model      bigint NOT NULL,
    alias      text COLLATE "C" NOT NULL CHECK (alias <> ''),
    version    bigint NOT NULL,
    deployment bigint NOT NULL,
    PRIMARY KEY (model, alias)
);
CREATE INDEX aliases_of_version ON damson_catalog.aliases (version);
CREATE INDEX aliases_of_deployment ON damson_catalog.aliases (deployment);
COMMENT ON TABLE damson_catalog.aliases IS 'Which version a name@alias means now';

CREATE TABLE damson_catalog.metrics (
    run   bigint NOT NULL,
    split text NOT NULL,
    round bigint,
    name  text NOT NULL,
    value float8 NOT NULL
);
CREATE INDEX metrics_of_run ON damson_catalog.metrics (run);
COMMENT ON TABLE damson_catalog.metrics IS 'What runs measured';
COMMENT ON COLUMN damson_catalog.metrics.round IS 'The round, tree or epoch; NULL for the finished model';

CREATE TABLE damson_catalog.searches (
    run              bigint PRIMARY KEY,
    method           text NOT NULL,
    metric           text NOT NULL,
    larger_is_better boolean NOT NULL,
    best             bigint NOT NULL,
    limited          boolean NOT NULL
);
COMMENT ON TABLE damson_catalog.searches IS 'One row a run that chose its parameters or algorithm by trials';
COMMENT ON COLUMN damson_catalog.searches.limited IS 'Whether a time limit ended it, so that another run may try other trials';

CREATE TABLE damson_catalog.trials (
    run        bigint NOT NULL,
    trial      bigint NOT NULL CHECK (trial > 0),
    algorithm  text NOT NULL,
    params     jsonb NOT NULL,
    preprocess jsonb NOT NULL,
    resource   bigint NOT NULL,
    value      float8,
    std        float8,
    seconds    float8 NOT NULL,
    status     text NOT NULL CHECK (status IN ('succeeded', 'failed', 'stopped')),
    error      text,
    reused     boolean NOT NULL,
    PRIMARY KEY (run, trial)
);
COMMENT ON TABLE damson_catalog.trials IS 'What searches tried';
COMMENT ON COLUMN damson_catalog.trials.params IS 'The parameters that were given or searched';
COMMENT ON COLUMN damson_catalog.trials.resource IS 'Rows that the trial could use, or what the resource parameter was';
COMMENT ON COLUMN damson_catalog.trials.reused IS 'Whether it has the outcome of an earlier trial that was the same';

CREATE TABLE damson_catalog.grants (
    model     bigint NOT NULL,
    grantee   regrole NOT NULL,
    privilege text NOT NULL CHECK (privilege = 'predict'),
    grantor   regrole NOT NULL,
    at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, grantee, privilege)
);
COMMENT ON TABLE damson_catalog.grants IS 'Who may use a model besides its owner';
COMMENT ON COLUMN damson_catalog.grants.grantee IS 'A role; 0 (shown as -) is everybody';

-- The library looks for this name: by it, it knows that this SQL and itself were made for each other.
CREATE OR REPLACE FUNCTION damson_catalog.sql_@DAMSON_SQL_STAMP@() RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT true';

REVOKE ALL ON SCHEMA damson_catalog, damson_lineage, damson_drift FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA damson_catalog FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damson_catalog FROM PUBLIC;
GRANT USAGE ON SCHEMA damson TO PUBLIC;

-- All rows are the users' own: pg_dump must carry them.
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.models', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.runs', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.versions', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.artifacts', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.deployments', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.aliases', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.metrics', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.searches', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.trials', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.grants', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.models_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.runs_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.versions_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.deployments_id_seq', '');
