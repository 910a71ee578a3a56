-- Samples of rows. The server's own sampling takes neither strata nor a SELECT, and depends on where rows lie; this
-- one depends on the rows and the seed alone.
CREATE FUNCTION damson.sample(
    row_type anyelement, source text, size bigint, group_column text DEFAULT NULL, balanced boolean DEFAULT false,
    seed bigint DEFAULT 0)
RETURNS SETOF anyelement
LANGUAGE plpgsql STABLE PARALLEL SAFE
AS $function$
DECLARE
    rows_of text;
    stratum text := 'NULL::text';
    chosen text;
BEGIN
    IF source IS NULL OR size IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22004', MESSAGE = 'source and size must not be NULL';
    ELSIF size < 1 THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = pg_catalog.format('size is %s, expected 1 or more', size);
    ELSIF balanced AND group_column IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = '22023', MESSAGE = 'a balanced sample needs groups',
            HINT = 'Name their column: group_column => ''column''.';
    END IF;
    IF source OPERATOR(pg_catalog.~*) '^\s*(\(|(select|with|values|table)\M)' THEN
        rows_of := source;
    ELSE
        rows_of := 'SELECT * FROM ' OPERATOR(pg_catalog.||) source::pg_catalog.regclass::pg_catalog.text;
    END IF;
    IF group_column IS NOT NULL THEN
        stratum := pg_catalog.format('s.%I::pg_catalog.text', group_column);
    END IF;
    IF balanced THEN
        chosen := 'place <= $1 / (up + down - 1)';
    ELSE
        -- Every stratum gets its share to within one row, and all together exactly size rows.
        chosen := 'number * $1 / rows > (number - 1) * $1 / rows';
    END IF;
    RETURN QUERY EXECUTE pg_catalog.format($query$
        SELECT (k.s).* FROM (
            SELECT s, pg_catalog.count(*) OVER () AS rows,
                pg_catalog.row_number() OVER (ORDER BY g, h) AS number,
                pg_catalog.row_number() OVER (PARTITION BY g ORDER BY h) AS place,
                pg_catalog.dense_rank() OVER (ORDER BY g) AS up,
                pg_catalog.dense_rank() OVER (ORDER BY g DESC) AS down
            FROM (SELECT s, %s AS g, pg_catalog.hashtextextended(s::pg_catalog.text, $2) AS h FROM (%s) s) strata
        ) k WHERE %s$query$, stratum, rows_of, chosen) USING size, COALESCE(seed, 0);
END
$function$;
COMMENT ON FUNCTION damson.sample IS
'A sample of a relation''s rows, or of those of a SELECT: the same rows and seed give the same sample.
row_type is NULL of the type of its rows, which is that of the relation. With group_column the sample is stratified: each
of its values keeps its share, to within a row; balanced takes as many rows of each, as far as there are.
Example: SELECT * FROM damson.sample(NULL::customers, ''customers'', 1000, group_column => ''churned'');';
