-- Help in psql, from the comments that the reference is made of: it says what the installed version does.
CREATE FUNCTION damson.help(topic text DEFAULT NULL)
RETURNS TABLE (help text)
LANGUAGE sql STABLE CALLED ON NULL INPUT PARALLEL SAFE ROWS 40
SET search_path = pg_catalog, pg_temp
AS $$
WITH asked AS (
    SELECT coalesce(pg_catalog.lower(pg_catalog.btrim(topic)), '') AS full_name,
           pg_catalog.regexp_replace(coalesce(pg_catalog.lower(pg_catalog.btrim(topic)), ''), '^damson\.|\(.*\)$', '', 'g') AS word
), things AS (
    SELECT p.proname::text AS name, pg_catalog.obj_description(p.oid, 'pg_proc') AS about,
           CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind,
           CASE p.prokind WHEN 'p' THEN 'CALL damson.' ELSE 'damson.' END || p.proname || '('
               || pg_catalog.regexp_replace(CASE WHEN p.pronargs = 0 THEN '' ELSE
                    E'\n    ' || pg_catalog.replace(pg_catalog.pg_get_function_arguments(p.oid), ', ', E',\n    ') END,
                    '\n    IN ', E'\n    ', 'g') || ')'
               || CASE WHEN p.prokind = 'p' THEN '' ELSE E'\nRETURNS ' || pg_catalog.replace(
                    pg_catalog.pg_get_function_result(p.oid), ', ', E',\n    ') END AS signature
    FROM pg_catalog.pg_proc p
    WHERE p.pronamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'damson')
    UNION ALL
    SELECT c.relname::text, pg_catalog.obj_description(c.oid, 'pg_class'), 'view',
           'damson.' || c.relname || E'\n    ' || (
               SELECT pg_catalog.string_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, a.atttypmod), E'\n    ' ORDER BY a.attnum)
               FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)
    FROM pg_catalog.pg_class c
    WHERE c.relkind = 'v'
        AND c.relnamespace = (SELECT n.oid FROM pg_catalog.pg_namespace n WHERE n.nspname = 'damson')
), known AS (
    SELECT name, kind, about, signature, pg_catalog.split_part(about, E'\n', 1) AS summary FROM things
    WHERE about IS NOT NULL
), methods AS (
    SELECT a.name, a.summary, a.tasks FROM damson.algorithms() a
    UNION ALL VALUES ('preprocess', 'What damson.train takes as preprocess.', NULL),
                     ('auto', 'A search over algorithms.', NULL)
), settings AS (
    SELECT s.name, pg_catalog.concat_ws(' ', s.setting, s.unit) AS setting, s.short_desc, s.extra_desc
    FROM pg_catalog.pg_settings s WHERE s.name LIKE 'damson.%' AND damson.version() IS NOT NULL
), lines AS (
    -- What there is.
    SELECT 1 AS part, '' AS sort, v.n AS line, v.text
    FROM asked, (VALUES
        (1, 'Damson: machine learning next to the data.'),
        (2, 'SELECT * FROM damson.help(''train''); tells of one function, view, algorithm or setting; any word is searched for.'),
        (3, '')) AS v(n, text)
    WHERE word = ''
    UNION ALL
    SELECT 2, CASE k.kind WHEN 'view' THEN '2' ELSE '1' END || k.name, 1,
           pg_catalog.format('%-24s %s', k.name || CASE k.kind WHEN 'view' THEN '' ELSE '()' END, k.summary)
    FROM known k, asked WHERE word = ''
    UNION ALL
    SELECT 3, '', v.n, v.text
    FROM asked, (VALUES (1, ''), (2, pg_catalog.format('%-24s %s', 'Algorithms:', (SELECT pg_catalog.string_agg(m.name, ', ' ORDER BY m.name) FROM methods m
            WHERE m.tasks IS NOT NULL) || '.')),
        (3, pg_catalog.format('%-24s %s', 'Settings:', 'SELECT * FROM damson.help(''settings'');')),
        (4, pg_catalog.format('%-24s %s', 'In psql:', 'SELECT * FROM damson.help(''psql'');'))) AS v(n, text)
    WHERE word = ''
    UNION ALL
    -- One function or view.
    SELECT 4, k.signature, l.n, l.text
    FROM known k, asked,
         pg_catalog.regexp_split_to_table(k.signature || E'\n\n' || k.about, E'\n') WITH ORDINALITY AS l(text, n)
    WHERE k.name = word
    UNION ALL
    -- An algorithm with its parameters.
    SELECT 5, '', v.n, v.text
    FROM methods m, asked, LATERAL (
        SELECT 1 AS n, pg_catalog.format('%-24s %s', m.name, pg_catalog.concat_ws(' ', m.summary, 'Tasks: ' || m.tasks || '.')) AS text
        UNION ALL SELECT 2, ''
        UNION ALL
        SELECT 2 + o.n, pg_catalog.format('%-24s %s', p.name, pg_catalog.concat_ws(' ', p.meaning,
            '(' || pg_catalog.concat_ws('; ', p.range, 'default ' || p."default") || ')'))
        FROM damson.parameters(m.name) WITH ORDINALITY AS p(name, type, "default", range, meaning, aliases, number),
             LATERAL (SELECT p.number AS n) o) v
    WHERE m.name = word AND NOT EXISTS (SELECT FROM known k WHERE k.name = word)
    UNION ALL
    -- Settings.
    SELECT 6, s.name, v.n, v.text
    FROM settings s, asked, LATERAL (VALUES
        (1, pg_catalog.format('%-24s %s', s.name, s.setting)), (2, '    ' || s.short_desc), (3, '    ' || s.extra_desc)) AS v(n, text)
    WHERE word = 'settings' OR full_name = s.name OR 'damson.' || word = s.name
    UNION ALL
    -- psql itself.
    SELECT 6, '', v.n, v.text
    FROM asked, (VALUES
        (1, 'What makes results fit a terminal of 80 to 120 columns:'),
        (2, ''),
        (3, 'SET extra_float_digits = -9;    six digits of each number, as many as are read'),
        (4, '\x auto                         rows that do not fit, such as those of damson.runs, a line a column'),
        (5, '\pset null ''-''                  NULLs that are seen'),
        (6, 'SET damson.progress = off;      no notices of long trainings'),
        (7, ''),
        (8, 'And what does not belong into one, from a shell:'),
        (9, ''),
        (10, 'psql -Atc "SELECT damson.report(''churn'')" > churn.html'),
        (11, 'psql -Atc "SELECT damson.plot(''churn'', ''roc'')" > roc.svg')) AS v(n, text)
    WHERE word = 'psql'
)
SELECT w.text
FROM (
    SELECT part, sort, line, text FROM lines
    UNION ALL
    -- Any other word.
    SELECT 7, k.name, 1, pg_catalog.format('%-24s %s', k.name || CASE k.kind WHEN 'view' THEN '' ELSE '()' END, k.summary)
    FROM known k, asked
    WHERE NOT EXISTS (SELECT FROM lines) AND pg_catalog.strpos(pg_catalog.lower(k.name || ' ' || k.about), word) > 0
    UNION ALL
    SELECT 8, '', 1, pg_catalog.format('Nothing is known of "%s"; SELECT * FROM damson.help(); shows what there is.', topic)
    FROM asked
    WHERE NOT EXISTS (SELECT FROM lines) AND NOT EXISTS (
        SELECT FROM known k WHERE pg_catalog.strpos(pg_catalog.lower(k.name || ' ' || k.about), word) > 0)
) f
-- Lists with long texts are broken at blanks, the texts kept in their column.
CROSS JOIN LATERAL pg_catalog.regexp_split_to_table(
    CASE WHEN pg_catalog.length(f.text) <= 110 OR f.part IN (1, 4) THEN f.text
        ELSE pg_catalog.rtrim(pg_catalog.substr(f.text, 1, 25) || pg_catalog.regexp_replace(pg_catalog.substr(f.text, 26),
            '(.{1,84})( +|$)', E'\\1\n                         ', 'g'), E' \n') END, E'\n')
    WITH ORDINALITY AS w(text, n)
ORDER BY f.part, f.sort COLLATE "C", f.line, w.n
$$;
COMMENT ON FUNCTION damson.help(text) IS
'Help on a function, a view, an algorithm, a setting or psql; without a topic, what there is.
A topic that is none of these is searched for in all texts.
Example: SELECT * FROM damson.help(''score_into'');';
