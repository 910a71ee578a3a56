//! `damson.predict`, `damson.classify`, `damson.probability`, `damson.probabilities`, `damson.explain` and
//! `damson.embed`, `damson.embed_layer`. Their code is [`crate::pg::scoring`], which reads the server's call structure itself.

pgrx::extension_sql!(
    r#"
CREATE FUNCTION damson_catalog.scoring_support(internal)
RETURNS internal
LANGUAGE c STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'damson_scoring_support';
COMMENT ON FUNCTION damson_catalog.scoring_support(internal) IS
'Loads the library while the first query that scores is planned, so that its rows are scored in batches';

CREATE FUNCTION damson.predict(model text, VARIADIC features "any")
RETURNS double precision
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_predict';
COMMENT ON FUNCTION damson.predict(text, VARIADIC "any") IS
'The value that a regression predicts for a row, or the number of its cluster.
The features are one row (bound by column name), values (bound by position), one array (an element a column, or the
one array column), or json (bound by key). NULL is a missing value. The model is name (its production), name@alias,
name@7 for a version, or name@2026-01-31 for what was production at the end of that day in the session''s time zone
(a time may follow: name@2026-01-31 12:00).
Example: SELECT h.id, damson.predict(''price'', h) FROM homes h;';

CREATE FUNCTION damson.classify(model text, VARIADIC features "any")
RETURNS text
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_classify';
COMMENT ON FUNCTION damson.classify(text, VARIADIC "any") IS
'The class that a row is decided to be of.
It is the likeliest one, unless the model was trained with a threshold: then the one on the row''s side of it, or the
one of the least expected cost. Features are given as for damson.predict.
Example: SELECT c.id, damson.classify(''churn'', c) FROM customers c;';

CREATE FUNCTION damson.predict_lower(model text, VARIADIC features "any")
RETURNS double precision
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_predict_lower';
COMMENT ON FUNCTION damson.predict_lower(text, VARIADIC "any") IS
'The lower end of the interval that holds a regression''s true value in the share of cases that conformal asked for.
The model was trained with conformal => 0.9 or another coverage. Features are given as for damson.predict.
Example: SELECT h.id, damson.predict_lower(''price'', h), damson.predict_upper(''price'', h) FROM homes h;';

CREATE FUNCTION damson.predict_upper(model text, VARIADIC features "any")
RETURNS double precision
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_predict_upper';
COMMENT ON FUNCTION damson.predict_upper(text, VARIADIC "any") IS
'The upper end of the interval that holds a regression''s true value in the share of cases that conformal asked for.
The model was trained with conformal => 0.9 or another coverage. Features are given as for damson.predict.
Example: SELECT h.id FROM homes h WHERE h.price > damson.predict_upper(''price'', h);';

CREATE FUNCTION damson.prediction_set(model text, VARIADIC features "any")
RETURNS text[]
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_prediction_set';
COMMENT ON FUNCTION damson.prediction_set(text, VARIADIC "any") IS
'The classes that a row may be of: the set holds the true one in the share of cases that conformal asked for.
The model was trained with conformal => 0.9 or another coverage. The sets are the least ambiguous ones (LAC): as small as
they can be, and empty for a row that is unlike all classes. Features are given as for damson.predict.
Example: SELECT c.id FROM customers c WHERE ''yes'' = ANY (damson.prediction_set(''churn'', c));';

CREATE FUNCTION damson.probability(model text, class text, VARIADIC features "any")
RETURNS double precision
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_probability';
COMMENT ON FUNCTION damson.probability(text, text, VARIADIC "any") IS
'The probability that a row is of a class, or that it has a label, between 0 and 1.
It is calibrated where the model was trained with calibration. Features are given as for damson.predict.
Example: SELECT c.id, damson.probability(''churn'', ''yes'', c) FROM customers c ORDER BY 2 DESC LIMIT 10;';

CREATE FUNCTION damson.probabilities(model text, VARIADIC features "any")
RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_probabilities';
COMMENT ON FUNCTION damson.probabilities(text, VARIADIC "any") IS
'The probabilities of all classes of a row, as an object with a key for each class, or for each label.
The probabilities of classes sum to 1; a label has one of its own.
Example: SELECT c.id, damson.probabilities(''churn'', c) FROM customers c;';

CREATE FUNCTION damson.labels(model text, VARIADIC features "any")
RETURNS text[]
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_labels';
COMMENT ON FUNCTION damson.labels(text, VARIADIC "any") IS
'The labels that a row is given by a model of sets of labels (multilabel): those of probability 0.5 or more.
They are sorted by their bytes, and an empty array says that none is. The model was trained on an array of text; with
threshold => ''0.3'' that is the least probability of a label. damson.probability tells that of one label,
damson.probabilities of all. Features are given as for damson.predict.
Example: SELECT p.id FROM photos p WHERE damson.labels(''tags'', p.image) @> ''{beach,sunset}'';';

CREATE FUNCTION damson.explain(model text, VARIADIC features "any")
RETURNS jsonb
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_explain';
COMMENT ON FUNCTION damson.explain(text, VARIADIC "any") IS
'Why a row gets its score: what each column added to it, exactly.
An object with base (the score of the mean training row), contributions (a number a column), score (their sum: the
prediction, its logarithm where the link is one, or for classes the log odds) and the class that the score speaks for:
the second of two, the likeliest of many. boosting has exact Shapley values (TreeSHAP); linear models have coefficient
times distance from the training mean (shap''s LinearExplainer); naive_bayes has what the column''s likelihood adds to the
log odds, with the classes'' priors as the base. Other algorithms have no exact answer: see damson.importance. Features
are given as for damson.predict.
Example: SELECT c.id, damson.explain(''churn'', c)->''contributions'' FROM customers c;';

CREATE FUNCTION damson.embed(model text, VARIADIC features "any")
RETURNS real[]
LANGUAGE c STABLE PARALLEL SAFE COST 100 SUPPORT damson_catalog.scoring_support
AS 'MODULE_PATHNAME', 'damson_embed';
COMMENT ON FUNCTION damson.embed(text, VARIADIC "any") IS
'The numbers that a model without a target makes of a row, such as its principal components.
Of a network it is what the last layer before the outputs gives, for searches by likeness and for models of other
algorithms. Features are given as for damson.predict; NULL is a missing value. damson.embed_layer asks another layer.
Example: SELECT w.id, damson.embed(''shape'', w) FROM wines w;';

CREATE FUNCTION damson.embed_layer(model text, layer text, VARIADIC features "any")
RETURNS real[]
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'damson_embed_layer';
COMMENT ON FUNCTION damson.embed_layer(text, text, VARIADIC "any") IS
'What a layer of a network gives for a row, by the layer''s name or its place from 0.
damson.describe lists the layers; those within a residual or a concat cannot be asked. An image comes row by row and pixel by
pixel, the channels of a pixel together; after a flatten channel by channel, as in PyTorch. Features are given as for
damson.predict.
Example: SELECT p.id, damson.embed_layer(''shapes'', ''stem'', p.image) FROM pictures p;';
"#,
    name = "score",
);
