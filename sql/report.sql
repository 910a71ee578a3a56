-- Reports: what the answers of each version look like for rows that it did not learn from. Rows belong to the users, as
-- those of catalog.sql, and go with their version.

CREATE TABLE damson_catalog.figures (
    version bigint PRIMARY KEY,
    bytes   bytea NOT NULL
);
-- Packed already: trying to compress them costs time in the training for little.
ALTER TABLE damson_catalog.figures ALTER COLUMN bytes SET STORAGE EXTERNAL;
COMMENT ON TABLE damson_catalog.figures IS 'Curves, bins and counts of the rows that a training did not learn from';
COMMENT ON COLUMN damson_catalog.figures.bytes IS 'As the engine packs them';

REVOKE ALL ON damson_catalog.figures FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('damson_catalog.figures', '');
