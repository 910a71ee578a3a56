-- case: the library and the catalog say the same version
SELECT extversion = damson.version() AS same, extrelocatable FROM pg_extension WHERE extname = 'damson';
-- case: it cannot be made twice
CREATE EXTENSION damson;
-- case: it cannot be moved
ALTER EXTENSION damson SET SCHEMA public;
-- case: every function, procedure and view has a summary and an example
SELECT d.kind, d.name
FROM (SELECT 'routine' AS kind, p.oid::regprocedure::text AS name, obj_description(p.oid, 'pg_proc') AS text
      FROM pg_proc p WHERE p.pronamespace = 'damson'::regnamespace
      UNION ALL
      SELECT 'view', c.oid::regclass::text, obj_description(c.oid, 'pg_class')
      FROM pg_class c WHERE c.relnamespace = 'damson'::regnamespace) d
WHERE d.text IS NULL OR d.text !~ '^[A-Z][^\n]*\.\n(.*\n)?Example: [^\n]+;$';
-- case: every function says how it may be used, and nothing is granted on the catalog
SELECT p.proname, p.provolatile, p.proparallel, p.proisstrict, p.prosecdef
FROM pg_proc p WHERE p.pronamespace = 'damson'::regnamespace AND p.prokind = 'f' ORDER BY 1;
SELECT c.relname FROM pg_class c
WHERE c.relnamespace IN ('damson_catalog'::regnamespace, 'damson_lineage'::regnamespace, 'damson_drift'::regnamespace) AND c.relacl::text ~ '[{,]=' ORDER BY 1;
SELECT count(*) = cardinality(max(e.extconfig)) AS all_dumped
FROM pg_extension e, pg_class c
WHERE e.extname = 'damson' AND c.relkind IN ('r', 'S')
    AND c.relnamespace IN ('damson_catalog'::regnamespace, 'damson_lineage'::regnamespace, 'damson_drift'::regnamespace);
