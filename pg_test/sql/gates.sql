-- Gates of deployments and standing rules of models, promotion, and what the audit tells of them.
\set ECHO none
\i fixtures/start.sql
\i fixtures/data.sql
-- Version 1 knows little, version 2 more, version 3 was measured on its own rows alone.
SELECT version FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{tenure}', split => 'stratified', seed => 1);
SELECT version FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,spend}', split => 'stratified', seed => 1);
SELECT version FROM damson.train('churn', 'customers', 'churned', 'logistic', features => '{age,spend}', split => 'none', seed => 1);
CREATE FUNCTION live() RETURNS bigint LANGUAGE sql AS $$SELECT version FROM damson.aliases WHERE model = 'churn' AND alias = 'production'$$;
\set ECHO all

SELECT version, split, round(value::numeric, 3) AS auc FROM damson.metrics WHERE metric = 'auc' AND round IS NULL ORDER BY version, split;

-- case: a version that does not pass its gate is not deployed, and the error tells what was found
SELECT expect($$CALL damson.deploy('churn', 2, gate => 'auc > 0.999 and accuracy > 2')$$) ~ '^55000: version 2 of model "churn" does not pass the gate "auc > 0.999 and accuracy > 2"\n  detail: auc is 0\.9[0-9]*, accuracy is 0\.[0-9]*$';
SELECT live();
-- case: one that passes is
CALL damson.deploy('churn', 2, gate => 'auc > 0.9 AND NOT auc < production.auc');
SELECT live();
-- case: what is production now is compared with
SELECT split_part(expect($$CALL damson.deploy('churn', 1, gate => 'auc >= production.auc')$$), E'\n', 1);
SELECT split_part(expect($$CALL damson.deploy('churn', 1, gate => 'test.auc + 0.001 >= production.test.auc')$$), E'\n', 1);
CALL damson.deploy('churn', 2, 'best');
SELECT split_part(expect($$CALL damson.deploy('churn', 1, gate => 'auc >= best.auc')$$), E'\n', 1);
SELECT live();
-- case: metrics of training rows do not stand for the version unless the gate says so
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'auc > 0.5')$$);
CALL damson.deploy('churn', 3, gate => 'train.auc > 0.5');
SELECT live();
CALL damson.rollback('churn');
-- case: what a version does not have is an error that says what it has
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'rmse < 1')$$);
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'nobody.auc < 1')$$);
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'production.rmse < 1')$$) ~ '^22023: gate names "rmse", which version 2 of model "churn" does not have';
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'drift_share < 0.1')$$);
-- case: what is no condition
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'auc')$$);
SELECT expect($$CALL damson.deploy('churn', 3, gate => '')$$);
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'auc > 0.9; DROP TABLE customers')$$);
SELECT expect($$CALL damson.deploy('churn', 3, gate => 'auc > (SELECT 0)')$$);
-- case: a gate is asked although the version is deployed already
SELECT split_part(expect($$CALL damson.deploy('churn', 2, gate => 'auc > 0.999')$$), E'\n', 1);
CALL damson.deploy('churn', 2, gate => 'auc > 0.9');
-- case: a gate is part of its transaction
BEGIN;
CALL damson.deploy('churn', 1);
SELECT split_part(expect($$CALL damson.deploy('churn', 1, 'best', gate => 'auc > production.auc')$$), E'\n', 1);
ROLLBACK;
SELECT live();

-- Standing rules -----------------------------------------------------------------------------------------------

-- case: a model's own gate stands before production
CALL damson.set_policy('churn', gate => 'auc > 0.9');
SELECT * FROM damson.policies;
SELECT split_part(expect($$CALL damson.deploy('churn', 1)$$), E'\n', 1);
SELECT split_part(expect($$CALL damson.deploy('churn', 1, gate => 'auc > 0.1')$$), E'\n', 1);
SELECT live();
-- case: what is production already need not pass anew
CALL damson.set_policy('churn', gate => 'auc > 0.999');
CALL damson.deploy('churn', 2);
CALL damson.set_policy('churn', gate => 'auc > 0.9');
-- case: other aliases serve nobody and are free
CALL damson.deploy('churn', 1, 'challenger');
-- case: what is left out of a policy stays
CALL damson.set_policy('churn', keep_versions => 10);
CALL damson.set_policy('churn', keep_days => 30);
SELECT * FROM damson.policies;
CALL damson.set_policy('churn', keep_versions => 0, keep_days => 0);
SELECT * FROM damson.policies;
-- case: a rollback is the way out and asks no gate
CALL damson.rollback('churn');
SELECT live();
CALL damson.deploy('churn', 2);
-- case: bad policies
SELECT expect($$CALL damson.set_policy('churn', gate => 'auc')$$);
SELECT expect($$CALL damson.set_policy('churn', approver => 'nobody_at_all')$$);
SELECT expect($$CALL damson.set_policy('churn', approver => 'public')$$);
SELECT expect($$CALL damson.set_policy('churn', keep_versions => -1)$$);
SELECT expect($$CALL damson.set_policy('churn', keep_days => 100000000)$$);
SELECT expect($$CALL damson.set_policy('nothing', gate => 'auc > 1')$$);
SELECT expect($$CALL damson.set_policy(NULL, gate => 'auc > 1')$$);
SELECT expect($$CALL damson.approve('churn', 2)$$);
SELECT expect($$CALL damson.approve('nothing', 2)$$);
SELECT expect($$CALL damson.approve('churn', NULL)$$);

-- Promotion ----------------------------------------------------------------------------------------------------

-- case: a challenger must be there and pass the model's gate
SELECT expect($$CALL damson.promote('churn', 'nobody')$$);
SELECT split_part(expect($$CALL damson.promote('churn')$$), E'\n', 1);
SELECT live();
-- case: promotion makes it production, and a rollback takes that back
CALL damson.set_policy('churn', gate => '');
SELECT count(*) FROM damson.policies;
CALL damson.promote('churn', gate => 'auc <= production.auc');
SELECT live();
CALL damson.promote('churn');
CALL damson.rollback('churn');
SELECT live();
SELECT alias, version, action FROM damson.deployments WHERE alias = 'production';
-- case: to another alias
CALL damson.promote('churn', challenger => 'challenger', alias => 'best');
SELECT alias, version FROM damson.aliases;
SELECT expect($$CALL damson.promote('churn', '7')$$);

-- The audit ----------------------------------------------------------------------------------------------------

-- case: the audit tells who did what, with what gates saw; what failed or was rolled back never happened
SELECT model, action, role = current_user AND session_role = session_user AS mine,
       regexp_replace(details::text, '(0\.\d{2})\d+', '\1', 'g') AS details FROM damson.audit;
-- case: it outlives the model, under the names of then
CALL damson.rename_model('churn', 'leaving');
CALL damson.grant_model('leaving', 'public');
CALL damson.revoke_model('leaving', 'public');
CALL damson.revoke_model('leaving', 'public');
CALL damson.drop_model('leaving');
SELECT model, action, details FROM damson.audit ORDER BY at DESC LIMIT 4;
SELECT count(*) FROM damson_catalog.policies;
