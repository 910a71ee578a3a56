"""A pipeline of six steps over real flights: it fails in the middle, is mended and goes on from there, and is cancelled."""

import json
import time

import pytest
from conftest import one, wait_for
from flights import load_flights
from test_jobs import workers
from test_pipelines import ended, states

COLUMNS = "dep_delay, carrier, origin, distance, hour, arr_delay"
STEPS = [
    {"name": "rows", "sql": f"CREATE TABLE learn AS SELECT {COLUMNS} FROM flights WHERE month < ${{parameters.month}}::int ORDER BY id"},
    {"name": "fit", "do": "train", "with": {"model": "delay", "source": "learn", "target": "arr_delay", "params": {"n_estimators": 40}}},
    {"name": "check", "do": "evaluate", "with": {
        "model": "delay@${fit.version}", "source": f"SELECT {COLUMNS} FROM flights WHERE month = ${{parameters.month}}::int"}},
    {"name": "drift", "do": "drift", "with": {
        "model": "delay@${fit.version}", "source": f"SELECT {COLUMNS} FROM flights WHERE month = ${{parameters.month}}::int"}},
    {"name": "fill", "do": "score_into", "with": {
        "table_name": "scores", "model": "delay@${fit.version}", "mode": "merge", "key": ["id"],
        "source": f"SELECT id, {COLUMNS} FROM flights WHERE month = ${{parameters.month}}::int"}},
    {"name": "live", "do": "deploy", "with": {"model": "delay", "version": "${fit.version}", "alias": "champion"}},
]


@pytest.fixture
def flights(db, data):
    load_flights(db, data)
    return db


def pipeline(db, steps, **parameters):
    return one(db, "SELECT damson.pipeline('nightly', %s, %s)", json.dumps({"parameters": {"month": 4}, "steps": steps}),
               json.dumps(parameters))


def test_six_steps_over_flights_fail_are_mended_and_go_on(flights, measured):
    db = flights
    bad = [*STEPS]
    bad[3] = {**STEPS[3], "with": {**STEPS[3]["with"], "method": "guess"}}
    run = pipeline(db, bad)
    assert ended(db, run) == "failed"
    # psql shows how it stands at a glance.
    name, steps, error = db.execute("SELECT name, steps, error FROM damson.pipelines WHERE run = %s", [run]).fetchone()
    assert (name, steps) == ("nightly", "rows ok, fit ok, check ok, drift failed, fill skipped, live skipped")
    assert error.startswith('drift: method is "guess", expected one of ks')
    jobs = "SELECT step, job FROM damson.steps WHERE run = %s AND state = 'succeeded' ORDER BY job"
    done = db.execute(jobs, [run]).fetchall()
    one(db, "SELECT damson.pipeline('nightly', %s, run => false)", json.dumps({"parameters": {"month": 4}, "steps": STEPS}))
    assert one(db, "SELECT damson.rerun_pipeline(%s)", run) == 3
    begun = time.monotonic()
    assert ended(db, run) == "succeeded", db.execute("SELECT * FROM damson.steps").fetchall()
    measured(f"the last three of six steps over flights: {time.monotonic() - begun:.1f} s")
    assert one(db, "SELECT steps FROM damson.pipelines WHERE run = %s", run) == "rows ok, fit ok, check ok, drift ok, fill ok, live ok"
    # What had succeeded was not done again.
    assert db.execute(jobs, [run]).fetchall()[:3] == done
    assert one(db, "SELECT count(*) FROM damson.versions") == 1
    # Each step did what it says.
    r2 = one(db, "SELECT (result ->> 'r2')::float8 FROM damson.steps WHERE step = 'check'")
    assert r2 > 0.7
    assert one(db, "SELECT (result ->> 'rows')::int FROM damson.steps WHERE step = 'fill'") == one(db, "SELECT count(*) FROM flights WHERE month = 4")
    assert one(db, "SELECT corr(s.prediction, f.arr_delay) FROM scores s JOIN flights f USING (id)") ** 2 == pytest.approx(r2, abs=0.05)
    assert one(db, "SELECT version FROM damson.aliases WHERE alias = 'champion'") == 1


def test_six_steps_over_flights_are_cancelled_within_a_second(flights):
    db = flights
    endless = [*STEPS]
    endless[1] = {**STEPS[1], "with": {**STEPS[1]["with"], "params": {"n_estimators": 100000}}}
    run = pipeline(db, endless, month=13)
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.progress WHERE model = 'delay' AND step IS NOT NULL"), "the training")
    begun = time.monotonic()
    assert one(db, "SELECT damson.cancel_pipeline(%s)", run) == 5
    wait_for(lambda: not [w for w in workers(db) if "job" in w], "the workers to end")
    assert time.monotonic() - begun < 1
    assert ended(db, run) == "cancelled"
    assert states(db, run) == {"rows": "succeeded", **{s: "cancelled" for s in ("fit", "check", "drift", "fill", "live")}}
    assert one(db, "SELECT count(*) FROM damson.models") == 0
