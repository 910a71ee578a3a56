-- Checkpoints of trainings that were broken off. They are files beside the database (src/pg/checkpoints.rs): a row of
-- the training's own transaction would go with it.

CREATE FUNCTION damson_catalog.checkpoints() RETURNS TABLE (
    model text, algorithm text, epoch bigint, params text, source text, role oid, written float8, bytes bigint)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'checkpoints_wrapper';
COMMENT ON FUNCTION damson_catalog.checkpoints() IS
'The checkpoints of this database that the roles of the current user may go on from';

CREATE VIEW damson.checkpoints WITH (security_barrier) AS
SELECT c.model, c.algorithm, c.epoch, c.params, c.source, c.role::regrole AS role,
       pg_catalog.to_timestamp(c.written)::timestamptz(0) AS written, c.bytes
FROM damson_catalog.checkpoints() c
ORDER BY c.written, c.model;
COMMENT ON VIEW damson.checkpoints IS
'The trainings of your roles that were broken off, and after which epoch: damson.train(..., resume => true) goes on there.
One is kept at the end of an epoch, at most every damson.checkpoint_interval seconds, until its training commits: in files
that a crash leaves in place, for damson.keep_checkpoints days, at most damson.checkpoint_space a role.
Example: SELECT model, epoch, written, pg_size_pretty(bytes) FROM damson.checkpoints;';

REVOKE ALL ON damson.checkpoints FROM PUBLIC;
GRANT SELECT ON damson.checkpoints TO PUBLIC;
