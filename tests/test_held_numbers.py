"""Trainings that read their numbers again: what happens to them between two readings."""

import os
import time

import psycopg
import pytest
from conftest import Background, one, wait_for

ROWS = 20_000
PATIENCE = 2.0
# It may be called stable, as it gives the same every time; each reading of the table takes a second.
SLOW = """CREATE FUNCTION slow(i int) RETURNS real LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF i % 40 = 0 THEN PERFORM pg_sleep(0.001); END IF;
    RETURN i % 11;
END $$"""
SOURCE = "SELECT a, b, slow(id) AS c, y FROM numbers"
TRAIN = f"""SELECT version FROM damson.train('m', '{SOURCE}', 'y', params => '{{"n_estimators": 5}}', split => 'none')"""


@pytest.fixture
def session(connect):
    session = connect(options="-c client_min_messages=error")
    session.execute(SLOW)
    session.execute(
        f"""CREATE TABLE numbers AS SELECT i AS id, sin(i * 0.3)::real AS a, cos(i * 0.7) AS b, i * 7 % 5 > 1 AS y
        FROM generate_series(1, {ROWS}) i"""
    )
    yield session
    session.execute("DROP TABLE IF EXISTS numbers")
    session.execute("DROP FUNCTION slow")
    session.execute("CALL damson.drop_model('m', missing_ok => true)")


def begin(watcher, session):
    """Begins a training; gives it once the first reading is over."""
    work = Background(lambda: session.execute(TRAIN).fetchone()[0])
    begun = "SELECT count(*) FROM damson.progress WHERE pid = %s"
    wait_for(lambda: one(watcher, begun, session.info.backend_pid) == 1 or work.ended, "the training to begin")
    assert not work.ended, work.outcome
    return work


@pytest.mark.parametrize("after", [0.1, 0.7, 1.5])
def test_cancel_ends_a_later_reading_at_once(connect, session, after):
    watcher, pid = connect(), session.info.backend_pid
    session.execute("SET damson.held_numbers = 0")
    threads = len(os.listdir(f"/proc/{pid}/task"))
    work = begin(watcher, session)
    time.sleep(after)
    assert not work.ended, work.outcome
    clock = time.monotonic()
    watcher.execute("SELECT pg_cancel_backend(%s)", [pid])
    error = work.result()
    assert isinstance(error, psycopg.errors.QueryCanceled), error
    assert work.ended - clock < PATIENCE
    assert len(os.listdir(f"/proc/{pid}/task")) == threads
    assert one(session, "SELECT count(*) FROM damson.models WHERE name = 'm'") == 0
    assert one(session, "SELECT sum(y::int) > 0 FROM numbers")


def test_what_others_change_meanwhile_is_not_seen(connect, session):
    watcher = connect()
    session.execute("SET damson.held_numbers = '1TB'")
    held = session.execute(TRAIN).fetchone()[0]
    session.execute("SET damson.held_numbers = 0")
    work = begin(watcher, session)
    time.sleep(0.3)
    watcher.execute("UPDATE numbers SET a = a + 1, y = NOT y WHERE id % 2 = 0")
    watcher.execute("DELETE FROM numbers WHERE id % 3 = 0")
    watcher.execute("INSERT INTO numbers SELECT id, 5, 5, true FROM numbers")
    assert not work.ended, work.outcome
    again = work.result()
    artifacts = session.execute(
        """SELECT count(*), count(DISTINCT v.artifact_sha256) FROM damson_catalog.versions v
        JOIN damson_catalog.models m ON m.id = v.model WHERE m.name = 'm' AND v.version IN (%s, %s)""",
        [held, again],
    )
    assert artifacts.fetchone() == (2, 1)
