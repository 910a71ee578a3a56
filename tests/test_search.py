"""Searches over real connections: ended from outside, resumed, watched."""

import random
import time

import psycopg
import pytest
from conftest import Background, one, wait_for
from test_cancel import PATIENCE, TRIES, begin, end_from_outside, has_begun, registered, shown, threads

SMALL = """CREATE TABLE small AS SELECT sin(i * 0.37)::real AS x1, cos(i * 0.71)::real AS x2, sin(i * 1.3)::real AS x3,
    (sin(i * 0.37) * 3 + cos(i * 0.71) + sin(i * 7.7) / 2)::real AS y FROM generate_series(1, 400) i"""
LARGE = """CREATE TABLE large AS SELECT sin(i * 0.37)::real AS x1, cos(i * 0.71)::real AS x2, sin(i * 1.3)::real AS x3,
    (sin(i * 0.37) * 3 + cos(i * 0.71) + sin(i * 7.7) / 2)::real AS y FROM generate_series(1, 100000) i"""

TRIALS = "SELECT count(*) FROM damson_catalog.trials"
MANY = "SELECT * FROM damson.search('m', '{}', 'y', space => '{{\"num_leaves\": {{\"int\": [2, 255]}}}}', trials => 10000{})"


@pytest.fixture(scope="module")
def database(server):
    """A database with a small and a large table, for all tests of this file."""
    name = server.create_database()
    with server.connect(dbname=name) as connection:
        connection.execute(SMALL)
        connection.execute(LARGE)
    yield name
    server.drop_database(name)


@pytest.mark.parametrize("table", ["small", "large"])
@pytest.mark.parametrize("more", ["", ", time_limit => 3600", ", method => 'random', outer_folds => 5"])
def test_cancel_ends_a_search_at_once_and_leaves_nothing(connect, measured, table, more):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    taken = []
    for _ in range(TRIES):
        error, seconds = end_from_outside(session, watcher, MANY.format(table, more), "pg_cancel_backend")
        assert isinstance(error, psycopg.errors.QueryCanceled), error
        assert threads(session.info.backend_pid) == 1
        taken.append(seconds)
    measured(shown(f"cancel of a search in {table} rows{more}", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7 and one(watcher, TRIALS) == 0


def test_cancel_ends_auto_at_once(connect, measured):
    watcher, session, taken = connect(), connect(options="-c client_min_messages=warning"), []
    sql = "SELECT * FROM damson.train('a', 'large', 'y', 'auto', '{\"time_limit\": 3600, \"trials\": 1000}')"
    for _ in range(TRIES):
        error, seconds = end_from_outside(session, watcher, sql, "pg_cancel_backend")
        assert isinstance(error, psycopg.errors.QueryCanceled), error
        taken.append(seconds)
    measured(shown("cancel of auto", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7 and one(watcher, TRIALS) == 0


def test_progress_of_a_search_is_seen_by_others(connect):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    work = begin(watcher, session, MANY.format("small", ""))
    sql = "SELECT work, model, step, total FROM damson.progress WHERE done > 1"
    wait_for(lambda: watcher.execute(sql).fetchone() == ("search", "m", "trial", 10000), "trials to be counted")
    assert one(watcher, "SELECT pg_cancel_backend(%s)", session.info.backend_pid)
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)
    assert not has_begun(watcher, session.info.backend_pid)


def test_a_search_that_a_time_limit_ended_is_resumed(connect):
    session = connect(options="-c client_min_messages=warning")
    arguments = "'r', 'small', 'y', 'ridge', method => 'random'"
    clock = time.monotonic()
    session.execute(f"SELECT * FROM damson.search({arguments}, trials => 10000, time_limit => 1.5)")
    assert time.monotonic() - clock < 1.5 + PATIENCE
    trials = "SELECT count(*) FILTER (WHERE status = 'succeeded') FROM damson.trials WHERE model = 'r' AND version = %s"
    assert one(session, "SELECT bool_and(limited) FROM damson.leaderboard WHERE model = 'r'")
    tried = one(session, trials, 1)
    assert 0 < tried < 10000
    more = min(tried + 20, 10000)
    session.execute(f"SELECT * FROM damson.search({arguments}, trials => {more}, resume => true)")
    assert one(session, trials, 2) == more
    reused = "SELECT count(*) FROM damson.trials WHERE model = 'r' AND version = 2 AND reused"
    assert one(session, reused) == tried
    assert not one(session, "SELECT bool_or(limited) FROM damson.leaderboard WHERE model = 'r' AND version = 2")
    # The same as a search that was never ended.
    session.execute(f"SELECT * FROM damson.search({arguments.replace('r', 'w', 1)}, trials => {more})")
    differ = """SELECT count(*) FROM damson.trials a FULL JOIN damson.trials b USING (trial)
        WHERE a.model = 'r' AND a.version = 2 AND b.model = 'w' AND (a.params, a.value) IS DISTINCT FROM (b.params, b.value)"""
    assert one(session, differ) == 0
    artifacts = "SELECT count(DISTINCT artifact_sha256) FROM damson_catalog.versions v JOIN damson_catalog.models m" \
                " ON m.id = v.model WHERE m.name IN ('r', 'w') AND (m.name, v.version) <> ('r', 1)"
    assert one(session, artifacts) == 1
    for model in "rw":
        session.execute(f"CALL damson.drop_model('{model}')")
    assert registered(session) == [0] * 7 and one(session, TRIALS) == 0


def test_a_cancelled_search_has_nothing_to_resume(connect):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    session.execute("SELECT * FROM damson.train('m', 'small', 'y', 'linear')")
    work = begin(watcher, session, MANY.format("small", ""))
    time.sleep(random.random())
    assert one(watcher, "SELECT pg_cancel_backend(%s)", session.info.backend_pid)
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no search of model \"m\""):
        session.execute(MANY.format("small", ", resume => true"))
    session.execute("CALL damson.drop_model('m')")


def test_searches_side_by_side_number_their_versions(connect):
    sessions = [connect(options="-c client_min_messages=warning") for _ in range(3)]
    sql = "SELECT * FROM damson.search('both', 'small', 'y', 'ridge', trials => 12)"
    for work in [Background(lambda s=s: s.execute(sql)) for s in sessions]:
        assert not isinstance(work.result(), psycopg.Error), work.outcome
    found = sessions[0].execute("SELECT version, count(*), count(DISTINCT run) FROM damson.trials GROUP BY 1 ORDER BY 1")
    assert found.fetchall() == [(v, 12, 1) for v in (1, 2, 3)]
    values = "SELECT count(DISTINCT (trial, params, value)) FROM damson.trials"
    assert one(sessions[0], values) == 12
    sessions[0].execute("CALL damson.drop_model('both')")
