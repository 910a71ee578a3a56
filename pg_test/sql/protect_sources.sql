-- Commands that break the source of a deployed model: warned of, refused, or let pass.
\set ECHO none
\i fixtures/start.sql
SET client_min_messages = warning;
DROP ROLE IF EXISTS damson_keeper, damson_quiet;
CREATE ROLE damson_keeper;
CREATE ROLE damson_quiet;
GRANT USAGE, CREATE ON SCHEMA public TO damson_keeper, damson_quiet;
CREATE SCHEMA store;
CREATE TABLE store.items AS SELECT i AS id, i * 1.0 AS x, i % 3 AS z, i * 2.0 + i % 2 AS y, 'spare' AS spare FROM generate_series(1, 60) i;
CREATE VIEW store.shown AS SELECT x, z, y FROM store.items;
RESET client_min_messages;
SELECT version FROM damson.train('m', 'SELECT x, y FROM store.shown WHERE z < 2', 'y', 'linear');
SELECT version FROM damson.train('idle', 'SELECT id, y FROM store.items', 'y', 'linear');
\set ECHO all
\t on
-- case: it warns by default, also through views, and lets the command pass
BEGIN;
DROP VIEW store.shown;
ALTER TABLE store.items ALTER x TYPE float8;
ALTER TABLE store.items DROP COLUMN z;
ROLLBACK;
BEGIN;
ALTER TABLE store.items RENAME COLUMN x TO xx;
ALTER TABLE store.items RENAME TO goods;
ROLLBACK;
BEGIN;
ALTER SCHEMA store RENAME TO shop;
ROLLBACK;
BEGIN;
DROP TABLE store.items CASCADE;
ROLLBACK;
BEGIN;
DROP SCHEMA store CASCADE;
ROLLBACK;
-- case: other columns, other tables and new columns are nobody's matter; nor is what broke before
ALTER TABLE store.items DROP COLUMN spare;
ALTER TABLE store.items ADD COLUMN fresh int;
BEGIN;
ALTER TABLE store.items RENAME COLUMN id TO number;
ALTER TABLE store.items ALTER fresh TYPE bigint;
CREATE TABLE other (x int);
DROP TABLE other;
ROLLBACK;
-- case: what only versions need that are not deployed is let go
SELECT version FROM damson.train('idle', 'SELECT x, y FROM store.items', 'y', 'linear');
CALL damson.deploy('idle', 2);
BEGIN;
ALTER TABLE store.items DROP COLUMN id;
ROLLBACK;
-- case: an alias is a deployment
CALL damson.deploy('idle', 1, 'challenger');
BEGIN;
ALTER TABLE store.items DROP COLUMN id;
ROLLBACK;
-- case: refused by setting, and the command is undone
SET damson.protect_sources = 'refuse';
SELECT expect('ALTER TABLE store.items DROP COLUMN id');
SELECT expect('DROP VIEW store.shown');
SELECT expect('ALTER TABLE store.items RENAME TO goods');
SELECT expect('DROP SCHEMA store CASCADE');
SELECT expect('ALTER TABLE store.items DROP COLUMN fresh');
SELECT count(*) FROM store.shown;
-- case: off
SET damson.protect_sources = 'off';
BEGIN;
DROP SCHEMA store CASCADE;
ROLLBACK;
RESET damson.protect_sources;
SELECT expect($$SET damson.protect_sources = 'maybe'$$);
-- case: only a superuser turns it off
SET ROLE damson_keeper;
SELECT expect($$SET damson.protect_sources = 'off'$$);
-- case: another role's model is not named to who may not see it
CREATE TABLE mine AS SELECT i AS x, i * 2.0 AS y FROM generate_series(1, 50) i;
GRANT SELECT ON mine TO damson_quiet;
SET ROLE damson_quiet;
SELECT version FROM damson.train('quiet_model', 'public.mine', 'y', 'linear');
SET ROLE damson_keeper;
BEGIN;
ALTER TABLE mine DROP COLUMN x;
ROLLBACK;
RESET ROLE;
SET damson.protect_sources = 'refuse';
SET ROLE damson_keeper;
SELECT expect('DROP TABLE mine');
RESET ROLE;
RESET damson.protect_sources;
-- case: functions that a source calls are sources
CREATE FUNCTION store.twice(x numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT x * 2';
SELECT version FROM damson.train('called', 'SELECT store.twice(x) AS x, y FROM store.items', 'y', 'linear');
BEGIN;
DROP FUNCTION store.twice;
ROLLBACK;
-- case: after a drop of the model all is free
CALL damson.drop_model('called');
CALL damson.drop_model('idle');
CALL damson.drop_model('m');
DROP SCHEMA store CASCADE;
-- case: it cannot be called by hand
SELECT expect('SELECT damson_lineage.protect_sources()');
\set ECHO none
SET damson.protect_sources = off;
CALL damson.drop_model('quiet_model');
SET client_min_messages = warning;
DROP TABLE mine;
REVOKE ALL ON SCHEMA public FROM damson_keeper, damson_quiet;
DROP ROLE damson_keeper, damson_quiet;
