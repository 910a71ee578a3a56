-- Safe deployment: the rules that a version must meet before it goes live, who did what, and traffic that is shared.
-- Rows belong to the users, as those of catalog.sql, and but for the audit go with their model.

CREATE TABLE damson_catalog.policies (
    model         bigint PRIMARY KEY,
    gate          text,
    approver      regrole,
    keep_versions bigint CHECK (keep_versions > 0),
    keep_days     bigint CHECK (keep_days > 0)
);
COMMENT ON TABLE damson_catalog.policies IS 'The standing rules of models';
COMMENT ON COLUMN damson_catalog.policies.gate IS 'What a version must meet to go live';
COMMENT ON COLUMN damson_catalog.policies.approver IS 'The role of which a member must consent before a version goes live';

CREATE TABLE damson_catalog.approvals (
    version      bigint NOT NULL,
    role         regrole NOT NULL,
    session_role regrole NOT NULL,
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (version, role, session_role)
);
COMMENT ON TABLE damson_catalog.approvals IS 'Versions that somebody other than their deployer lets go live';
COMMENT ON COLUMN damson_catalog.approvals.session_role IS 'Who had logged in';

CREATE TABLE damson_catalog.canaries (
    model bigint PRIMARY KEY,
    alias text COLLATE "C" NOT NULL,
    share float8 NOT NULL CHECK (share > 0 AND share <= 1)
);
COMMENT ON TABLE damson_catalog.canaries IS 'The share of keys that damson.route sends to another alias than production';

CREATE TABLE damson_catalog.audit (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at                timestamptz NOT NULL DEFAULT clock_timestamp(),
    role              regrole NOT NULL,
    role_name         text NOT NULL,
    session_role_name text NOT NULL,
    action            text NOT NULL,
    model             bigint NOT NULL,
    name              text NOT NULL,
    owner             regrole NOT NULL,
    details           jsonb NOT NULL
);
CREATE INDEX audit_of_model ON damson_catalog.audit (model);
COMMENT ON TABLE damson_catalog.audit IS 'Who did what to which model; outlives the model';
COMMENT ON COLUMN damson_catalog.audit.role_name IS 'The role''s name at that time: roles are dropped and renamed';
COMMENT ON COLUMN damson_catalog.audit.name IS 'The model''s name at that time';
COMMENT ON COLUMN damson_catalog.audit.owner IS 'The model''s owner at that time, who may see the row when the model is gone';

CREATE VIEW damson.policies WITH (security_barrier) AS
SELECT m.name AS model, p.gate, p.approver, p.keep_versions, p.keep_days, c.alias AS canary, c.share AS canary_share
FROM damson_catalog.models m
JOIN damson_catalog.visible s ON s.id = m.id
LEFT JOIN damson_catalog.policies p ON p.model = m.id
LEFT JOIN damson_catalog.canaries c ON c.model = m.id
WHERE p.model IS NOT NULL OR c.model IS NOT NULL
ORDER BY m.name;
COMMENT ON VIEW damson.policies IS
'The standing rules of models: gate, approver and retention, and the alias and share of a canary.
damson.set_policy and damson.canary set them; models without any are left out.
Example: SELECT model, gate, approver FROM damson.policies;';

CREATE VIEW damson.approvals WITH (security_barrier) AS
SELECT m.name AS model, v.version, a.role, a.session_role, a.at::timestamptz(0)
FROM damson_catalog.approvals a
JOIN damson_catalog.versions v ON v.id = a.version
JOIN damson_catalog.models m ON m.id = v.model
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY m.name, v.version, a.at;
COMMENT ON VIEW damson.approvals IS
'Which versions were approved, and by whom.
session_role is who had logged in, where a role was taken by SET ROLE.
Example: SELECT version, role, at FROM damson.approvals WHERE model = ''churn'';';

CREATE VIEW damson.audit WITH (security_barrier) AS
SELECT a.at, a.name AS model, a.action, a.role_name AS role, a.session_role_name AS session_role, a.details
FROM damson_catalog.audit a
WHERE pg_catalog.pg_has_role(a.owner::oid, 'USAGE') OR pg_catalog.pg_has_role(a.role::oid, 'USAGE')
    OR EXISTS (SELECT FROM damson_catalog.visible s WHERE s.id = a.model AND s.owned)
ORDER BY a.id;
COMMENT ON VIEW damson.audit IS
'Who did what to which model: to models of your roles, and by your roles.
Trainings, deployments with the metrics that their gates saw, promotions, rollbacks, canaries, policies, approvals, expired
versions, grants, renames and drops; what was rolled back never happened. session_role is who had logged in, where
a role was taken by SET ROLE. Rows are written in the transaction of what they tell of, and stay when a model is dropped.
Example: SELECT at, role, action, details FROM damson.audit WHERE model = ''churn'';';

REVOKE ALL ON damson_catalog.policies, damson_catalog.approvals, damson_catalog.canaries, damson_catalog.audit,
    damson.policies, damson.approvals, damson.audit FROM PUBLIC;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA damson_catalog FROM PUBLIC;
GRANT SELECT ON damson.policies, damson.approvals, damson.audit TO PUBLIC;

SELECT pg_catalog.pg_extension_config_dump('damson_catalog.policies', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.approvals', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.canaries', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.audit', '');
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.audit_id_seq', '');
