-- Help in psql.
\set ECHO none
\i fixtures/start.sql
\t on
\set ECHO all
-- case: a function
SELECT * FROM damson.help('used_row');
SELECT count(*) FROM damson.help('damson.used_row()') WHERE help LIKE '%used_row%';
-- case: a procedure and a view
SELECT * FROM damson.help('rollback') LIMIT 3;
SELECT * FROM damson.help('aliases') LIMIT 4;
-- case: an algorithm
SELECT * FROM damson.help('ridge') LIMIT 4;
SELECT count(*) > 5 FROM damson.help('preprocess');
-- case: a setting
SELECT * FROM damson.help('damson.max_memory');
SELECT count(*) > 10 FROM damson.help('settings');
-- case: any word
SELECT * FROM damson.help('OpenLineage');
SELECT * FROM damson.help('xyzzy');
-- case: without a topic, all that there is is named, on lines that fit
SELECT help FROM damson.help() LIMIT 2;
SELECT p.proname FROM pg_proc p WHERE p.pronamespace = 'damson'::regnamespace AND obj_description(p.oid, 'pg_proc') IS NOT NULL
    AND NOT EXISTS (SELECT FROM damson.help() h WHERE h.help LIKE p.proname || '() %');
SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'damson'::regnamespace AND c.relkind = 'v'
    AND NOT EXISTS (SELECT FROM damson.help() h WHERE h.help LIKE c.relname || ' %');
SELECT max(length(help)) <= 150 AS fits FROM damson.help();
-- case: words that mean something to patterns are words
SELECT count(*) FROM damson.help('%');
SELECT count(*) FROM damson.help('\');
SELECT count(*) > 10 FROM damson.help(NULL);
-- case: psql
SELECT * FROM damson.help('psql');
