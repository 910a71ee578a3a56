//! `damson.fit` and `damson.fit_with`: a model as the result of an aggregate. Their code is [`crate::pg::fitting`].

pgrx::extension_sql!(
    r#"
CREATE FUNCTION damson_catalog.fit_row(internal, text, "any", VARIADIC "any") RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_row';
CREATE FUNCTION damson_catalog.fit_with_row(internal, text, text, "any", VARIADIC "any") RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_with_row';
CREATE FUNCTION damson_catalog.fit_combine(internal, internal) RETURNS internal
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_combine';
CREATE FUNCTION damson_catalog.fit_serialize(internal) RETURNS bytea
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_serialize';
CREATE FUNCTION damson_catalog.fit_deserialize(bytea, internal) RETURNS internal
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_deserialize';
CREATE FUNCTION damson_catalog.fit_result(internal) RETURNS text
LANGUAGE c IMMUTABLE CALLED ON NULL INPUT PARALLEL SAFE AS 'MODULE_PATHNAME', 'damson_fit_result';

CREATE AGGREGATE damson.fit(algorithm text, target "any", VARIADIC features "any") (
    SFUNC = damson_catalog.fit_row,
    STYPE = internal,
    COMBINEFUNC = damson_catalog.fit_combine,
    SERIALFUNC = damson_catalog.fit_serialize,
    DESERIALFUNC = damson_catalog.fit_deserialize,
    FINALFUNC = damson_catalog.fit_result,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE damson.fit(text, "any", VARIADIC "any") IS
'Fits a model to the rows of a group, and gives it as text.
Where a scoring function takes the name of a model it takes this text too. Rows whose target is NULL are left out; a
NULL feature is a missing value; without rows the result is NULL. A target that is a number is regressed on where the
algorithm does that; cast it to text for classes. The features are named x1, x2 and on, and are given to the scoring
functions in the same order. The same rows in the same order give the same text; ORDER BY in the call settles it.
Example: SELECT region, damson.fit(''ridge'', price, sqft, rooms) AS model FROM homes GROUP BY region;';

CREATE AGGREGATE damson.fit_with(algorithm text, params text, target "any", VARIADIC features "any") (
    SFUNC = damson_catalog.fit_with_row,
    STYPE = internal,
    COMBINEFUNC = damson_catalog.fit_combine,
    SERIALFUNC = damson_catalog.fit_serialize,
    DESERIALFUNC = damson_catalog.fit_deserialize,
    FINALFUNC = damson_catalog.fit_result,
    PARALLEL = SAFE);
COMMENT ON AGGREGATE damson.fit_with(text, text, "any", VARIADIC "any") IS
'Fits a model to the rows of a group, with parameters of the algorithm.
As damson.fit; params is a JSON object, see damson.parameters.
Example: SELECT region, damson.fit_with(''ridge'', ''{"alpha": 0.1}'', price, sqft) FROM homes GROUP BY region;';
"#,
    name = "fit",
    requires = ["catalog"],
);
