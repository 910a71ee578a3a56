-- From scores to decisions: class weights, thresholds, calibration, conformal prediction.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
\set ECHO all

-- Class weights -----------------------------------------------------------------------------------------------

-- case: a class that weighs more is found more often
SELECT count(*) FROM damson.train('plain', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}');
SELECT count(*) FROM damson.train('heavy', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}', class_weight => '{"yes": 9}');
SELECT count(*) FILTER (WHERE damson.classify('heavy', c) = 'yes') > count(*) FILTER (WHERE damson.classify('plain', c) = 'yes') AS more FROM customers c;
-- case: balanced, on threads and in an aggregate
SELECT count(*) FROM damson.train('even', 'customers', target => 'churned', split => 'none', class_weight => 'balanced', params => '{"trees": 10}');
SET damson.runner = 'aggregate';
SELECT count(*) FROM damson.train('even_too', 'customers', target => 'churned', split => 'none', class_weight => 'balanced', params => '{"trees": 10}');
RESET damson.runner;
SELECT count(*) FILTER (WHERE abs(damson.probability('even', 'yes', c) - damson.probability('even_too', 'yes', c)) > 1e-9) AS differ FROM customers c;
-- case: the run keeps what was asked
SELECT model, arguments->'class_weight' AS class_weight FROM damson.runs WHERE model IN ('heavy', 'even') ORDER BY 1;
-- case: a class that the target does not have
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"maybe": 2}')$$);
-- case: weights that are none
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"yes": 0}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => '{"yes": "a lot"}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', class_weight => 'balance')$$);
-- case: class weights of a regression, and without a target
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', class_weight => 'balanced')$$);
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'kmeans', features => '{sqft}', class_weight => 'balanced')$$);

-- Thresholds --------------------------------------------------------------------------------------------------

-- case: a threshold tuned for a metric decides, and is shown
SELECT count(*) FROM damson.train('tuned', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}', threshold => 'f1');
SELECT property, value ~ '^(f1: )?0[.]' AS number FROM damson.describe('tuned') WHERE property LIKE 'threshold%' OR property = 'decided from' ORDER BY 1;
SELECT value AS decided_from FROM damson.describe('tuned') WHERE property = 'decided from';
SELECT count(*) FILTER (WHERE (damson.classify('tuned', c) = 'yes') <> (damson.probability('tuned', 'yes', c) >= t.at)) AS differ
FROM customers c, (SELECT value::float8 AS at FROM damson.describe('tuned') WHERE property = 'threshold of yes') t;
-- case: a number, and costs
SELECT count(*) FROM damson.train('given', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}', threshold => '0.25');
SELECT count(*) FROM damson.train('costs', 'customers', target => 'churned', algorithm => 'logistic', features => '{age,plan,tenure}', threshold => '{"cost": {"fp": 1, "fn": 3}}');
SELECT count(*) FILTER (WHERE damson.classify('given', c) <> damson.classify('costs', c)) AS differ, count(*) FILTER (WHERE damson.classify('given', c) <> damson.classify('plain', c)) > 0 AS moved FROM customers c;
SELECT property, value FROM damson.describe('costs') WHERE property LIKE '%cost%' OR property LIKE 'threshold%' ORDER BY 1;
-- case: costs of three classes
SELECT count(*) FROM damson.train('dear_rose', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal}', threshold => '{"cost": {"rose": {"lily": 50, "iris": 50}}}');
SELECT count(*) FROM damson.train('any_flower', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal}');
SELECT count(*) FILTER (WHERE damson.classify('dear_rose', f) = 'rose') > count(*) FILTER (WHERE damson.classify('any_flower', f) = 'rose') AS more FROM flowers f;
-- case: in an aggregate costs serve, and a threshold to tune is refused
SET damson.runner = 'aggregate';
SELECT count(*) FROM damson.train('costs_too', 'customers', target => 'churned', algorithm => 'logistic', split => 'none', threshold => '{"cost": {"fn": 3}}');
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', split => 'none', threshold => 'f1')$$);
RESET damson.runner;
-- case: a threshold of a regression, of three classes, of nothing that it knows
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', threshold => 'f1')$$);
SELECT expect($$SELECT damson.train('m', 'flowers', target => 'species', threshold => 'f1')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', threshold => 'f3')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', threshold => '1.5')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', threshold => '{"metric": "f1", "positive": "maybe"}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', threshold => '{"cost": {"maybe": {"yes": 1}}}')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', threshold => '{"cost"')$$);

-- Calibration -------------------------------------------------------------------------------------------------

-- case: both methods, out of fold and held out
SELECT count(*) FROM damson.train('sure', 'customers', target => 'churned', params => '{"trees": 20}', calibration => 'sigmoid');
SELECT count(*) FROM damson.train('steps', 'customers', target => 'churned', params => '{"trees": 20}', calibration => 'isotonic', calibration_size => 0.4);
SELECT m.name, d.property, regexp_replace(d.value, '[-0-9.]+[0-9]', 'N', 'g') AS value
FROM unnest(ARRAY['sure', 'steps']) AS m(name), damson.describe(m.name) d WHERE d.property IN ('calibration', 'decided from', 'train rows', 'test rows') ORDER BY 1, 2;
SELECT bool_and(abs(damson.probability('sure', 'yes', c) + damson.probability('sure', 'no', c) - 1) < 1e-12) AS sums FROM customers c;
-- case: three classes
SELECT count(*) FROM damson.train('flower', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal}', calibration => 'isotonic');
SELECT bool_and(abs((SELECT sum(p.value::float8) FROM jsonb_each_text(damson.probabilities('flower', f)) p) - 1) < 1e-12) AS sums FROM flowers f;
-- case: what cannot be calibrated
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', calibration => 'platt')$$);
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', calibration => 'sigmoid')$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', calibration_size => 0.2)$$);
SELECT expect($$SELECT damson.train('m', 'customers', target => 'churned', calibration => 'sigmoid', calibration_size => 1.2)$$);
-- case: too few rows of a class
SELECT expect($$SELECT damson.train('m', $q$SELECT * FROM customers WHERE churned = 'no' OR id IN (SELECT min(id) FROM customers WHERE churned = 'yes' GROUP BY plan)$q$, target => 'churned', split => 'none', calibration => 'sigmoid')$$);

-- Conformal prediction ----------------------------------------------------------------------------------------

-- case: intervals of a regression
SELECT count(*) FROM damson.train('price', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms}', conformal => 0.8);
SELECT bool_and(damson.predict_lower('price', h) < damson.predict('price', h) AND damson.predict('price', h) < damson.predict_upper('price', h)) AS around,
       abs(avg((h.price BETWEEN damson.predict_lower('price', h) AND damson.predict_upper('price', h))::int) - 0.8) < 0.12 AS covers FROM homes h;
SELECT metric FROM damson.metrics WHERE model = 'price' AND split = 'test' AND metric IN ('coverage', 'interval_width') ORDER BY 1;
SELECT property, value FROM damson.describe('price') WHERE property IN ('conformal coverage', 'conformal rows', 'train rows', 'test rows') ORDER BY 1;
-- case: sets of a classification
SELECT count(*) FROM damson.train('species', 'flowers', target => 'species', algorithm => 'multinomial', features => '{petal}', conformal => 0.9);
SELECT abs(avg((f.species = ANY (damson.prediction_set('species', f)))::int) - 0.9) < 0.1 AS covers FROM flowers f;
SELECT pg_typeof(damson.prediction_set('species', 0.1::float4)), damson.prediction_set(NULL, 0.1::float4) IS NULL AS null_model;
-- case: a model without, and one of another task
SELECT expect($$SELECT damson.prediction_set('tuned', c) FROM customers c$$);
SELECT expect($$SELECT damson.predict_lower('species', f) FROM flowers f$$);
SELECT expect($$SELECT damson.prediction_set('price', h) FROM homes h$$);
SELECT count(*) FROM damson.train('blunt', 'homes', target => 'price', algorithm => 'linear', features => '{sqft,rooms}');
SELECT expect($$SELECT damson.predict_upper('blunt', h) FROM homes h$$);
-- case: coverage that is none, and more than the rows can promise
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', conformal => 1.5)$$);
SELECT expect($$SELECT damson.train('m', 'homes', target => 'price', conformal => 0.99)$$);
SELECT expect($$SELECT damson.train('m', 'homes', algorithm => 'kmeans', features => '{sqft}', conformal => 0.9)$$);
-- case: everything at once, cross-validated
SELECT metric IS NOT NULL AS measured FROM damson.train('whole', 'customers', target => 'churned', algorithm => 'logistic', folds => 3,
    class_weight => 'balanced', threshold => 'mcc', calibration => 'sigmoid', conformal => 0.8, calibration_size => 0.5);
