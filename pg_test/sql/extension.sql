-- case: the library and the catalog say the same version
SELECT extversion = damson.version() AS same, extrelocatable FROM pg_extension WHERE extname = 'damson';
-- case: it cannot be made twice
CREATE EXTENSION damson;
-- case: it cannot be moved
ALTER EXTENSION damson SET SCHEMA public;
