\i fixtures/start.sql
-- No worker starts a job here: what the verbs do to the tables is shown, and what they refuse.
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET damson.max_jobs = 0', current_database()); END $$;
\i fixtures/data.sql
-- case: a job waits until a worker takes it
SELECT damson.submit('SELECT 1', priority => 5, retries => 2, timeout => 60) AS job;
SELECT model, version, job FROM damson.train('price', 'homes', target => 'price', algorithm => 'ridge', seed => 3, wait => false);
SELECT job, kind, about, state, role, priority, attempt, command FROM damson.jobs;
SELECT damson.wait_for_job(1, timeout => 0);
-- case: the order of the queue is priority, then time
SELECT damson.submit('SELECT 2', priority => 9) AS job;
SELECT about FROM damson.jobs ORDER BY priority DESC, job;
-- case: terms are checked
SELECT expect($$SELECT damson.submit('SELECT 1', retries => -1)$$);
SELECT expect($$SELECT damson.submit('SELECT 1', timeout => 0)$$);
SELECT expect($$SELECT damson.submit('SELECT 1', timeout => 'NaN')$$);
SELECT expect($$SELECT damson.submit('SELECT 1', delay => -1)$$);
SELECT expect($$SELECT damson.submit(NULL)$$);
-- case: a training is checked before it is a job
SELECT expect($$SELECT damson.train('a@b', 'homes', wait => false)$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'ridge', '{"alpha": -1}', wait => false)$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', 'nothing', wait => false)$$);
SELECT expect($$SELECT damson.train('m', 'homes', 'price', init_model => 'none', wait => false)$$);
-- case: jobs are cancelled once
CALL damson.cancel_job(1);
SELECT expect($$CALL damson.cancel_job(1)$$);
SELECT expect($$CALL damson.cancel_job(99)$$);
SELECT expect($$SELECT damson.wait_for_job(99)$$);
SELECT job, state FROM damson.jobs;
-- case: a read-only transaction submits nothing
BEGIN READ ONLY;
SELECT damson.submit('SELECT 1');
ROLLBACK;
-- case: schedules are checked
CALL damson.schedule('nightly', '30 2 * * mon-fri', 'SELECT 1', time_zone => 'Europe/Paris', retries => 1);
CALL damson.schedule('nightly', '@weekly', 'SELECT 2');
SELECT name, cron, time_zone, role, to_char(next_due AT TIME ZONE 'UTC', 'Dy HH24:MI') AS due, last_state, command FROM damson.schedules;
SELECT expect($$CALL damson.schedule('x', '* * * *', 'SELECT 1')$$);
SELECT expect($$CALL damson.schedule('x', '* 25 * * *', 'SELECT 1')$$);
SELECT expect($$CALL damson.schedule('x', '0 0 30 2 *', 'SELECT 1')$$);
SELECT expect($$CALL damson.schedule('x', '@daily', 'SELECT 1', time_zone => 'Nowhere')$$);
SELECT expect($$CALL damson.schedule(' x', '@daily', 'SELECT 1')$$);
CALL damson.unschedule('nightly');
CALL damson.unschedule('nightly', missing_ok => true);
SELECT expect($$CALL damson.unschedule('nightly')$$);
-- case: pipelines are checked
SELECT damson.pipeline('p', '{"parameters": {"day": "2026-01-01"}, "steps": [{"name": "a", "sql": "SELECT ${parameters.day}"}, {"name": "b", "do": "train", "with": {"model": "m", "source": "homes"}, "retries": 1}]}') AS run;
SELECT name, run, state, steps, parameters FROM damson.pipelines;
SELECT step, kind, state, after, result FROM damson.steps;
SELECT expect($$SELECT damson.pipeline('q')$$);
SELECT expect($$SELECT damson.pipeline('p', parameters => '{"night": 1}')$$);
SELECT expect($$SELECT damson.pipeline('q', '{"steps": []}')$$);
SELECT expect($$SELECT damson.pipeline('q', 'steps')$$);
SELECT expect($$SELECT damson.pipeline('q', '{"steps": [{"name": "a", "do": "conquer"}]}')$$);
SELECT expect($$SELECT damson.pipeline('q', '{"steps": [{"name": "a", "sql": "SELECT 1", "after": ["a"]}]}')$$);
SELECT expect($$SELECT damson.pipeline('q', '{"steps": [{"name": "a", "sql": "SELECT 1", "retries": 1000}]}')$$);
SELECT expect($$CALL damson.drop_pipeline('p')$$);
SELECT expect($$SELECT damson.rerun_pipeline(1)$$);
SELECT damson.cancel_pipeline(1);
SELECT damson.rerun_pipeline(1);
SELECT damson.cancel_pipeline(1);
CALL damson.drop_pipeline('p');
CALL damson.drop_pipeline('p', missing_ok => true);
SELECT expect($$SELECT damson.cancel_pipeline(1)$$);
SELECT count(*) FROM damson.jobs WHERE pipeline IS NOT NULL;
