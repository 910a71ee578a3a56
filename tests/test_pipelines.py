"""Pipelines over real tables: results passed on, failures mended and run again from there, cancelled at once."""

import json
import time

import psycopg
import pytest
from conftest import one, wait_for
from test_jobs import workers

STEPS = [
    {"name": "rows", "sql": "CREATE TABLE learn AS SELECT * FROM sales WHERE day < ${parameters.until}::date"},
    {"name": "count", "sql": "SELECT count(*) AS n FROM learn"},
    {"name": "fit", "do": "train", "with": {"model": "sale", "source": "learn", "target": "amount", "algorithm": "ridge"}},
    {"name": "check", "do": "evaluate",
     "with": {"model": "sale@${fit.version}", "source": "SELECT * FROM sales WHERE day >= ${parameters.until}::date"}},
    {"name": "note", "sql": "INSERT INTO notes VALUES (${count.n}, ${fit.version}, ${check.r2}, ${parameters.word})",
     "after": ["check"]},
    {"name": "live", "do": "deploy", "with": {"model": "sale", "version": "${fit.version}", "alias": "checked"}},
]


@pytest.fixture
def sales(db):
    db.execute("CREATE TABLE notes (n bigint, version bigint, r2 float8, word text)")
    db.execute("CREATE TABLE sales AS SELECT date '2026-01-01' + i % 60 AS day, i % 7 AS shop, i % 100 AS staff,"
               " 3.0 * (i % 100) + i % 7 AS amount FROM generate_series(1, 3000) i")
    return db


def pipeline(db, steps, **parameters):
    definition = {"parameters": {"until": "2026-02-10", "word": "it's"}, "steps": steps}
    return one(db, "SELECT damson.pipeline('nightly', %s, %s)", json.dumps(definition), json.dumps(parameters))


def ended(db, run):
    state = "SELECT state FROM damson.pipelines WHERE run = %s"
    return wait_for(lambda: (s := one(db, state, run)) != "running" and s, "the run to end")


def states(db, run):
    return dict(db.execute("SELECT step, state FROM damson.steps WHERE run = %s", [run]).fetchall())


def test_results_and_parameters_are_passed_on(sales):
    run = pipeline(sales, STEPS)
    assert ended(sales, run) == "succeeded", sales.execute("SELECT * FROM damson.steps").fetchall()
    n, version, r2, word = sales.execute("SELECT * FROM notes").fetchone()
    assert (n, version, word) == (one(sales, "SELECT count(*) FROM learn"), 1, "it's")
    assert r2 > 0.99
    assert one(sales, "SELECT version FROM damson.aliases WHERE alias = 'checked'") == 1
    shown = sales.execute("SELECT name, steps, error FROM damson.pipelines").fetchone()
    assert shown == ("nightly", "rows ok, count ok, fit ok, check ok, note ok, live ok", None)


def test_a_run_is_mended_and_goes_on_where_it_failed(sales):
    bad = [*STEPS]
    bad[3] = {**STEPS[3], "with": {**STEPS[3]["with"], "target": "no_such_column"}}
    run = pipeline(sales, bad, word="again")
    assert ended(sales, run) == "failed"
    assert states(sales, run) == {"rows": "succeeded", "count": "succeeded", "fit": "succeeded", "check": "failed",
                                  "note": "skipped", "live": "skipped"}
    assert "no_such_column" in one(sales, "SELECT error FROM damson.pipelines")
    assert one(sales, "SELECT damson.rerun_pipeline(%s)", run) == 3
    assert ended(sales, run) == "failed"
    one(sales, "SELECT damson.pipeline('nightly', %s, run => false)", json.dumps({"parameters": {"until": "x", "word": "y"}, "steps": STEPS}))
    assert one(sales, "SELECT damson.rerun_pipeline(%s)", run) == 3
    assert ended(sales, run) == "succeeded"
    # The steps that had succeeded were not done again, and the run kept its parameters.
    assert one(sales, "SELECT count(*) FROM damson.versions") == 1
    assert one(sales, "SELECT array_agg(word) FROM notes") == ["again"]
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        one(sales, "SELECT damson.rerun_pipeline(%s)", run)


def test_cancel_stops_a_run_within_a_second(sales):
    run = pipeline(sales, [{"name": "a", "sql": "INSERT INTO notes SELECT 1 FROM pg_sleep(60)"},
                           {"name": "b", "sql": "SELECT pg_sleep(60)", "after": []},
                           {"name": "c", "sql": "SELECT 1", "after": ["a", "b"]}])
    wait_for(lambda: one(sales, "SELECT count(*) FROM damson.jobs WHERE pid IS NOT NULL") == 2, "two steps side by side")
    begun = time.monotonic()
    assert one(sales, "SELECT damson.cancel_pipeline(%s)", run) == 3
    wait_for(lambda: not [w for w in workers(sales) if "job" in w], "the workers to end")
    assert time.monotonic() - begun < 1
    assert ended(sales, run) == "cancelled"
    assert set(states(sales, run).values()) == {"cancelled"}
    assert one(sales, "SELECT count(*) FROM notes") == 0


def test_independent_steps_go_on_when_one_fails(sales):
    run = pipeline(sales, [{"name": "bad", "sql": "SELECT 1 / 0"},
                           {"name": "after_bad", "sql": "SELECT 1"},
                           {"name": "good", "sql": "INSERT INTO notes VALUES (1)", "after": []},
                           {"name": "lost", "sql": "SELECT ${good.nothing}"}])
    assert ended(sales, run) == "failed"
    assert states(sales, run) == {"bad": "failed", "after_bad": "skipped", "good": "succeeded", "lost": "failed"}
    assert one(sales, "SELECT error FROM damson.steps WHERE step = 'lost'") == "there is no value ${good.nothing}"
    assert one(sales, "SELECT count(*) FROM notes") == 1
