//! `damson.fold`: the aggregate through which `damson.train` learns where the rows lie, when `damson.runner` says so.
//! Its code is [`crate::pg::folding`].

pgrx::extension_sql!(
    r#"
CREATE FUNCTION damson_catalog.fold_row(internal, bytea, record) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fold_row';
CREATE FUNCTION damson_catalog.fold_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fold_combine';
CREATE FUNCTION damson_catalog.fold_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fold_serialize';
CREATE FUNCTION damson_catalog.fold_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fold_deserialize';
CREATE FUNCTION damson_catalog.fold_result(internal) RETURNS bytea
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fold_result';

CREATE AGGREGATE damson.fold("order" bytea, "row" record) (
    SFUNC = damson_catalog.fold_row,
    STYPE = internal,
    COMBINEFUNC = damson_catalog.fold_combine,
    SERIALFUNC = damson_catalog.fold_serialize,
    DESERIALFUNC = damson_catalog.fold_deserialize,
    FINALFUNC = damson_catalog.fold_result,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE damson.fold(bytea, record) IS
'One round of a training, over rows.
For damson.train when damson.runner is aggregate. Nobody calls it by hand: the order is made by damson.train, and the
result is what a shard of the rows found.
Example: SET damson.runner = ''aggregate'';';
"#,
    name = "fold",
    requires = ["catalog"],
);
