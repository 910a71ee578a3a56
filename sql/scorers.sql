-- Functions and views that were made for models. They are objects of the users: what they are for is told by a line of
-- their comments, which goes with them wherever they are renamed, moved, given or dumped to. So nothing of them is
-- stored here, and nothing can be mistaken for one of them.

CREATE VIEW damson.scorers WITH (security_barrier) AS
SELECT m.name AS model, o.mark[3] AS alias, o.mark[1] AS kind, o.object, o.owner
FROM (
    SELECT pg_catalog.format('%I.%I(%s)', n.nspname, p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid)) AS object,
           p.proowner::regrole AS owner, pg_catalog.regexp_match(d.description,
               E'\nMade by damson\\.create_(scorer|scored_view): (\\d{1,18}) .*"alias":"((?:[^"\\\\]|\\\\.)*)"') AS mark
    FROM pg_catalog.pg_description d
    JOIN pg_catalog.pg_proc p ON p.oid = d.objoid
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE d.classoid = 'pg_catalog.pg_proc'::regclass AND d.description LIKE E'%\nMade by damson.create\\_scorer: %'
    UNION ALL
    SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), c.relowner::regrole, pg_catalog.regexp_match(d.description,
               E'\nMade by damson\\.create_(scorer|scored_view): (\\d{1,18}) .*"alias":"((?:[^"\\\\]|\\\\.)*)"')
    FROM pg_catalog.pg_description d
    JOIN pg_catalog.pg_class c ON c.oid = d.objoid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classoid = 'pg_catalog.pg_class'::regclass AND d.objsubid = 0 AND c.relkind = 'v'
        AND d.description LIKE E'%\nMade by damson.create\\_scored\\_view: %') o
JOIN damson_catalog.models m ON m.id = o.mark[2]::bigint
JOIN damson_catalog.visible s ON s.id = m.id
ORDER BY m.name, o.object;
COMMENT ON VIEW damson.scorers IS
'The functions of damson.create_scorer and the views of damson.create_scored_view, by model.
They are known by a line of their comment: who changes that makes them objects like any other.
Example: SELECT object, alias, kind, owner FROM damson.scorers WHERE model = ''churn'';';

REVOKE ALL ON damson.scorers FROM PUBLIC;
GRANT SELECT ON damson.scorers TO PUBLIC;
