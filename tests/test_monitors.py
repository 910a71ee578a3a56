"""Monitors: what drifts is found by the next run, and what comes of it; with nobody's rights but their role's."""

import json
import re

import psycopg
import pytest
from conftest import one, wait_for
from flights import load_flights
from test_jobs import finished, workers

DENIED = psycopg.errors.InsufficientPrivilege
ROWS = "SELECT i * 37 % 101 / 10.0 AS x, 'k' || i * 7 % 3 AS kind, 3 * (i * 37 % 101) / 10.0 AS y FROM generate_series(1, 500) i"
SHIFTED = ROWS.replace("/ 10.0 AS x", "/ 10.0 + 20 AS x")


def train(connection, model="m", source="mine"):
    connection.execute("SELECT damson.train(%s, %s, 'y', 'ridge', split => 'none')", [model, source])


@pytest.fixture
def alice(db, connect, role):
    """A connection of a role with the model m over her own table; `db` is the superuser."""
    role("monitor_alice")
    db.execute("CREATE SCHEMA hers AUTHORIZATION monitor_alice")
    connection = connect(user="monitor_alice")
    connection.execute("SET search_path = hers")
    connection.execute(f"CREATE TABLE mine AS {ROWS}")
    connection.execute(f"CREATE TABLE now AS {SHIFTED}")
    train(connection)
    return connection


def pipeline_ended(db, run):
    state = "SELECT state FROM damson.pipelines WHERE run = %s"
    return wait_for(lambda: (s := one(db, state, run)) != "running" and s, "the retraining to end", 300)


def run_at(db, name, until=None):
    sql = "SELECT state, drift_share, culprits, alert, pipeline_run, version FROM damson.run_monitor(%s, until => %s)"
    return db.execute(sql, [name, until]).fetchone()


def test_planted_drift_in_flights_is_found_retrained_and_promoted(db, connect, data, measured):
    """Real flights on a made clock: dealt to hours by chance, so that no hour differs from another but the last."""
    load_flights(db, data)
    db.execute("SET TimeZone = 'UTC'")
    # 105 hours until half an hour from now. From an hour ago on distances are in kilometres, and one carrier has left.
    db.execute("CREATE TABLE traffic AS SELECT now() + interval '30 minutes' - interval '105 hours'"
               " * ((hashint8(id)::bigint + 2147483648) / 4294967296.0) AS at, dep_delay, carrier, origin, distance, hour, arr_delay"
               " FROM flights")
    db.execute("UPDATE traffic SET distance = distance * 1.609 WHERE at >= now() - interval '1 hour'")
    db.execute("DELETE FROM traffic WHERE at >= now() - interval '1 hour' AND carrier = 'EV'")
    db.execute("CREATE INDEX ON traffic (at)")
    db.execute("ANALYZE traffic")
    columns = "dep_delay, carrier, origin, distance, hour, arr_delay"
    source = f"SELECT {columns} FROM traffic WHERE at < now() - interval '101 hours' - interval '1 minute' ORDER BY at"
    db.execute("SELECT damson.train('delay', %s, 'arr_delay', params => '{\"n_estimators\": 60, \"num_leaves\": 15}')", [source])
    # The table holds the outcome of the past only; what the new version learns from is what the window saw, and before.
    recent = (f"SELECT {columns} FROM traffic WHERE at >= ${{parameters.from}}::timestamptz"
              " AND at < ${parameters.until}::timestamptz ORDER BY at")
    db.execute("CREATE TABLE told (what jsonb)")
    db.execute("CREATE FUNCTION tell(alert jsonb) RETURNS void LANGUAGE sql AS 'INSERT INTO public.told VALUES (alert)'")
    db.execute("CALL damson.monitor('delay', 'traffic', schedule => '@hourly', time_column => 'at', window_size => '1 hour',"
               " action => 'promote', gate => 'r2 > 0.7 and drift_share < 0.1', on_alert => 'tell', retrain_source => %s)", [recent])
    # The same test alone, without a distance that it must exceed, and from one column on.
    db.execute("CALL damson.monitor('delay', 'traffic', NULL, 'at', '1 hour', name => 'test alone',"
               " thresholds => '{\"false_positive_rate\": 0.05, \"drift_share\": 0, \"method\": \"psi\", \"threshold\": 0}')")
    now = one(db, "SELECT now()")
    false, alone = 0, 0
    for hours in range(1, 101):
        until = one(db, "SELECT (%s - %s * interval '1 hour')::text", now, hours)
        false += run_at(db, "delay", until)[0] == "alarm"
        alone += run_at(db, "test alone", until)[0] == "alarm"
    # Of 100 windows, 1 and 5 are expected at most; more than 4 and 12 come once in three hundred times.
    assert false <= 4 and alone <= 12, (false, alone)
    rows = one(db, "SELECT round(avg(rows)) FROM damson.drift_history WHERE state <> 'too few rows'")
    assert one(db, "SELECT count(*) FROM damson.drift_history WHERE state = 'too few rows'") == 0
    measured(f"100 windows of {rows} flights without drift: {false} false alarms (1 % stated), {alone} by the tests alone (5 %)")

    before = one(db, "SELECT count(*) FROM damson.alerts")
    listener = connect()
    listener.execute("LISTEN damson_alert")
    # Its time has come.
    db.execute("UPDATE damson_catalog.schedules SET next_due = now() WHERE name = 'monitor delay'")
    one(db, "SELECT count(*) FROM damson.jobs")
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.alerts") > before, "the alert", 120)
    note = json.loads(next(listener.notifies(timeout=30)).payload)
    alert, run, culprits = db.execute("SELECT alert, pipeline_run, culprits FROM damson.alerts JOIN damson.drift_history USING (run)"
                                      " ORDER BY alert DESC LIMIT 1").fetchone()
    assert note == {"alert": alert, "monitor": "delay"}
    assert {"distance", "carrier"} <= set(culprits.split(", "))
    ended = pipeline_ended(db, run)
    steps = db.execute("SELECT step, state, error FROM damson.steps WHERE run = %s ORDER BY job", [run]).fetchall()
    assert ended == "succeeded", steps
    assert [s[:2] for s in steps] == [(s, "succeeded") for s in ("fit", "challenger", "measure", "promote")]
    # The tables tell the story.
    assert one(db, "SELECT last_state FROM damson.schedules") == "succeeded"
    assert db.execute("SELECT version, state, candidate FROM damson.drift_history ORDER BY run DESC LIMIT 2").fetchall() == [
        (2, "silent", True), (1, "alarm", False)]
    assert one(db, "SELECT outcome FROM damson.alerts WHERE alert = %s", alert) == "version 2 is production"
    assert db.execute("SELECT alias, version FROM damson.aliases ORDER BY 1").fetchall() == [("challenger", 2), ("production", 2)]
    wait_for(lambda: one(db, "SELECT call_state FROM damson.alerts WHERE alert = %s", alert) == "succeeded", "the call")
    told = one(db, "SELECT what FROM told ORDER BY what -> 'alert' DESC LIMIT 1")
    assert (told["alert"], told["version"], told["pipeline_run"]) == (alert, 1, run)
    # What is production now finds nothing in the same window.
    assert run_at(db, "delay")[0] == "silent"


def test_a_gate_keeps_what_is_worse_from_going_live(db):
    db.execute(f"CREATE TABLE mine AS {ROWS}; CREATE TABLE shifted AS {SHIFTED}")
    train(db)
    db.execute("CALL damson.monitor('m', 'shifted', NULL, action => 'promote', gate => 'drift_share < 0.1')")
    *_, alert, run, _ = run_at(db, "m")
    assert pipeline_ended(db, run) == "failed"
    outcome = one(db, "SELECT outcome FROM damson.alerts WHERE alert = %s", alert)
    assert re.match('step promote: version 2 of model "m" does not pass the gate', outcome), outcome
    assert db.execute("SELECT alias, version FROM damson.aliases ORDER BY 1").fetchall() == [("challenger", 2), ("production", 1)]
    # It was trained on the rows of before, so it is no better; and that is what monitors goes by.
    assert one(db, "SELECT state FROM damson.monitors") == "alarm"


def test_what_calls_a_function_goes_wrong_alone(db):
    db.execute(f"CREATE TABLE mine AS {ROWS}; CREATE TABLE shifted AS {SHIFTED}")
    train(db)
    db.execute("CREATE FUNCTION wrong(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1 / 0'")
    db.execute("CALL damson.monitor('m', 'shifted', NULL, on_alert => 'wrong')")
    alert = run_at(db, "m")[3]
    job = one(db, "SELECT call_job FROM damson.alerts WHERE alert = %s", alert)
    wait_for(lambda: "zero" in (one(db, "SELECT coalesce(error, '') FROM damson.jobs WHERE job = %s", job)), "the error")
    assert one(db, "SELECT state FROM damson.drift_history") == "alarm"
    db.execute("CREATE OR REPLACE FUNCTION wrong(jsonb) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    assert finished(db, job)[0] == "succeeded"


def test_a_monitor_that_waits_costs_nothing(db):
    db.execute(f"CREATE TABLE mine AS {ROWS}")
    train(db)
    db.execute("CALL damson.monitor('m', 'mine', '@daily')")
    wait_for(lambda: [w for w in workers(db) if "clock" not in w] == [] and workers(db), "all but the clock to end")
    held = "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'damson%%' AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)"
    wait_for(lambda: one(db, held) == 0, "the clock to have begun")


def test_a_lost_right_is_lost_to_a_monitor(db, alice):
    db.execute(f"CREATE TABLE public.shared AS {ROWS}; GRANT SELECT ON public.shared TO monitor_alice")
    alice.execute("CALL damson.monitor('m', 'public.shared', '@daily')")
    due = "UPDATE damson_catalog.schedules SET next_due = now() WHERE name = 'monitor m'"

    def ran():
        db.execute(due)
        before = one(db, "SELECT coalesce(max(job), 0) FROM damson.jobs")
        job = wait_for(lambda: one(db, "SELECT max(job) FROM damson.jobs WHERE job > %s", before), "the job")
        return finished(db, job)

    assert ran()[0] == "succeeded"
    db.execute("REVOKE SELECT ON public.shared FROM monitor_alice")
    state, _, error = ran()
    assert (state, error) == ("failed", "permission denied for table shared")
    assert alice.execute("SELECT state, error FROM damson.monitors").fetchone() == ("failed", "permission denied for table shared")
    # It does not fail quietly.
    told = "SELECT version, message FROM damson.alerts"
    assert wait_for(lambda: alice.execute(told).fetchall(), "the alert") == [(None, "the monitor failed: permission denied for table shared")]
    # A model that is another's by now is neither trained nor read.
    alice.execute("CALL damson.monitor('m', 'now', NULL, action => 'retrain', name => 'two')")
    db.execute("UPDATE damson_catalog.models SET owner = 'postgres'::regrole")
    with pytest.raises(DENIED):
        run_at(alice, "two")


def test_nobody_runs_what_another_role_chose(db, alice, connect, role):
    """Whoever runs a monitor runs its source and its function: a superuser must not be led to."""
    role("monitor_mallory")
    db.execute("CREATE SCHEMA evil AUTHORIZATION monitor_mallory; GRANT USAGE ON SCHEMA evil TO PUBLIC")
    mallory = connect(user="monitor_mallory")
    mallory.execute("CREATE TABLE evil.caught (who text); GRANT INSERT ON evil.caught TO PUBLIC")
    mallory.execute("CREATE FUNCTION evil.trap() RETURNS int LANGUAGE plpgsql AS"
                    " $$ BEGIN INSERT INTO evil.caught VALUES (current_user); RETURN 1; END $$")
    mallory.execute(f"CREATE VIEW evil.rows AS {ROWS}")
    alice.execute("CALL damson.grant_model('m', 'monitor_mallory')")
    mallory.execute("CALL damson.monitor('m', 'SELECT *, evil.trap() FROM evil.rows', NULL, name => 'trap')")
    for run in ["SELECT damson.run_monitor('trap')", "CALL damson.call_on_alert(1)"]:
        with pytest.raises((DENIED, psycopg.errors.UndefinedObject)):
            db.execute(run)
        with pytest.raises(psycopg.errors.UndefinedObject):
            alice.execute(run)
    for change in ["CALL damson.monitor('m', 'now', NULL, name => 'trap')", "CALL damson.drop_monitor('trap')"]:
        with pytest.raises((DENIED, psycopg.errors.UndefinedObject)):
            alice.execute(change)
    assert one(alice, "SELECT count(*) FROM damson.monitors") == 0
    # A grant to score is no right to train or deploy.
    for action in ["action => 'retrain'", "action => 'promote', gate => 'rmse > 0'"]:
        with pytest.raises(DENIED):
            mallory.execute(f"CALL damson.monitor('m', 'evil.rows', NULL, {action})")
    for table in ("monitors", "measurements", "findings", "alerts"):
        for sql in [f"SELECT * FROM damson_drift.{table}", f"UPDATE damson_drift.{table} SET role = 10", f"DELETE FROM damson_drift.{table}"]:
            with pytest.raises(DENIED):
                mallory.execute(sql)
    # A member who changes a monitor makes it his own: it is not he who acts as its maker.
    db.execute("GRANT monitor_mallory TO monitor_alice")
    alice.execute("CALL damson.monitor('m', 'now', NULL, name => 'trap')")
    assert one(db, "SELECT role::text FROM damson.monitors") == "monitor_alice"
    assert one(mallory, "SELECT count(*) FROM damson.monitors") == 0
    assert one(db, "SELECT count(*) FROM evil.caught WHERE who <> 'monitor_mallory'") == 0


def test_a_function_that_another_could_write_is_not_called(db, alice, connect, role):
    role("monitor_mallory")
    db.execute("CREATE SCHEMA evil AUTHORIZATION monitor_mallory; GRANT USAGE, CREATE ON SCHEMA evil TO PUBLIC")
    mallory = connect(user="monitor_mallory")
    mallory.execute("CREATE TABLE evil.caught (who text); GRANT INSERT, SELECT ON evil.caught TO PUBLIC")
    trap = " RETURNS void LANGUAGE sql AS 'INSERT INTO evil.caught VALUES (current_user)'"
    mallory.execute(f"CREATE FUNCTION evil.tell(jsonb) {trap}")
    with pytest.raises(DENIED, match='belongs to role "monitor_mallory"'):
        alice.execute("CALL damson.monitor('m', 'now', NULL, on_alert => 'evil.tell')")
    mallory.execute("ALTER FUNCTION evil.tell(jsonb) SECURITY DEFINER")
    alice.execute("CALL damson.monitor('m', 'now', NULL, on_alert => 'evil.tell')")
    # It runs as who wrote it, and so it was meant.
    alert = run_at(alice, "m")[3]
    job = one(alice, "SELECT call_job FROM damson.alerts WHERE alert = %s", alert)
    assert finished(alice, job)[0] == "succeeded"
    assert one(db, "SELECT array_agg(DISTINCT who) FROM evil.caught") == ["monitor_mallory"]
    # Hers at first; then the owner of the schema puts his own in its place, under its name.
    alice.execute("CREATE FUNCTION evil.notify(jsonb) RETURNS void LANGUAGE sql AS 'SELECT'")
    alice.execute("CALL damson.monitor('m', 'now', NULL, on_alert => 'evil.notify')")
    mallory.execute("DROP FUNCTION evil.notify(jsonb)")
    mallory.execute(f"CREATE FUNCTION evil.notify(jsonb) {trap}")
    alert = run_at(alice, "m")[3]
    with pytest.raises(DENIED, match="evil.notify"):
        alice.execute("CALL damson.call_on_alert(%s)", [alert])
    job = one(alice, "SELECT call_job FROM damson.alerts WHERE alert = %s", alert)
    wait_for(lambda: "monitor_mallory" in (one(db, "SELECT coalesce(error, '') FROM damson.jobs WHERE job = %s", job)), "its refusal")
    assert one(db, "SELECT array_agg(DISTINCT who) FROM evil.caught") == ["monitor_mallory"]
    # Nor by an overload, or by names that a search path of another day finds.
    alice.execute("CREATE FUNCTION hers.page(jsonb) RETURNS void LANGUAGE sql AS 'SELECT'")
    alice.execute("CALL damson.monitor('m', 'now', NULL, on_alert => 'page')")
    mallory.execute(f"CREATE FUNCTION evil.page(jsonb) {trap}")
    alice.execute("SET search_path = evil, hers")
    alert = run_at(alice, "m")[3]
    alice.execute("CALL damson.call_on_alert(%s)", [alert])
    assert one(db, "SELECT count(*) FROM evil.caught WHERE who <> 'monitor_mallory'") == 0


def test_names_of_a_source_mean_what_they_meant(db, alice):
    """Tables, operators and functions that others plant in a search path are not found, or run with nobody's rights."""
    alice.execute("CALL damson.monitor('m', 'mine', NULL)")
    db.execute(f"CREATE SCHEMA planted; CREATE TABLE planted.mine AS {SHIFTED}; GRANT USAGE ON SCHEMA planted TO PUBLIC;"
               " GRANT SELECT ON planted.mine TO PUBLIC; CREATE TABLE planted.caught (who text); GRANT INSERT ON planted.caught TO PUBLIC")
    db.execute("CREATE FUNCTION planted.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS"
               " $$ BEGIN INSERT INTO planted.caught VALUES (current_user); RETURN true; END $$;"
               " CREATE OPERATOR planted.= (LEFTARG = text, RIGHTARG = text, PROCEDURE = planted.eq);"
               " CREATE FUNCTION planted.pg_notify(text, text) RETURNS void LANGUAGE sql AS $$ INSERT INTO planted.caught VALUES (current_user) $$")
    alice.execute("SET search_path = planted, pg_catalog, hers")
    assert run_at(alice, "m")[0] == "silent"
    alice.execute("CALL damson.monitor('m', 'hers.now', NULL)")
    assert run_at(alice, "m")[0] == "alarm"
    alice.execute("CALL damson.drop_monitor('m')")
    assert one(db, "SELECT count(*) FROM planted.caught WHERE who <> 'monitor_alice'") == 0
    assert one(db, "SELECT count(*) FROM planted.caught") == 0


def test_only_the_owners_measurements_open_a_gate(db, alice, connect, role):
    role("monitor_mallory")
    mallory = connect(user="monitor_mallory")
    alice.execute("CALL damson.grant_model('m', 'monitor_mallory')")
    train(alice)
    # He says that all is well.
    mallory.execute(f"CALL damson.monitor('m', $${ROWS}$$, NULL, name => 'his')")
    mallory.execute("SELECT damson.run_monitor('his', version => 2)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no drift of version 2"):
        alice.execute("CALL damson.deploy('m', 2, gate => 'drift_share < 0.1')")
    alice.execute("CALL damson.monitor('m', 'now', NULL)")
    alice.execute("SELECT damson.run_monitor('m', version => 2)")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="does not pass"):
        alice.execute("CALL damson.deploy('m', 2, gate => 'drift_share < 0.1')")
    alice.execute("CALL damson.monitor('m', 'mine', NULL)")
    alice.execute("SELECT damson.run_monitor('m', version => 2)")
    alice.execute("CALL damson.deploy('m', 2, gate => 'drift_share < 0.1')")
    assert one(mallory, "SELECT count(*) FROM damson.drift_history") == 1


def test_a_dump_carries_monitors_and_their_history(db, server):
    db.execute(f"CREATE TABLE mine AS {ROWS}; CREATE TABLE shifted AS {SHIFTED}")
    db.execute("CREATE FUNCTION tell(jsonb) RETURNS void LANGUAGE sql AS 'SELECT'")
    train(db)
    db.execute("CALL damson.monitor('m', 'shifted', '@yearly', on_alert => 'tell')")
    run_at(db, "m")
    views = ["SELECT monitor, model, cron, state, drift_share FROM damson.monitors", "SELECT run, state, culprits FROM damson.drift_history",
             "SELECT * FROM damson.drift_findings", "SELECT alert, message FROM damson.alerts"]
    before = [db.execute(sql).fetchall() for sql in views]
    with server.copied(db) as copy, server.connect(dbname=copy) as restored:
        assert [restored.execute(sql).fetchall() for sql in views] == before
        assert run_at(restored, "m")[:4] == ("alarm", *run_at(db, "m")[1:3], 2)
        assert one(restored, "SELECT max(run) FROM damson.drift_history") == 2
