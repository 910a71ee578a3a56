"""A backend that is killed: the server recovers, and the catalog has all of a change or nothing."""

import random
import time

import psycopg
from conftest import Background, kill, one, scored, train_shifted, wait_for

LONG = """SELECT * FROM damson.train('m', 'SELECT sin(i) AS x, cos(i) AS y FROM generate_series(1, 200000) i',
    'y', 'boosting', '{"n_estimators": 100000}', split => 'none')"""


def state(connection):
    """Everything that the catalog's tables refer to each other by."""
    broken = """SELECT
        (SELECT count(*) FROM damson_catalog.versions v WHERE NOT EXISTS (SELECT FROM damson_catalog.models m
            WHERE m.id = v.model AND m.last_version >= v.version))
      + (SELECT count(*) FROM damson_catalog.versions v WHERE v.artifact_size <>
            (SELECT sum(length(bytes)) FROM damson_catalog.artifacts a WHERE a.version = v.id))
      + (SELECT count(*) FROM damson_catalog.artifacts a WHERE NOT EXISTS
            (SELECT FROM damson_catalog.versions v WHERE v.id = a.version))
      + (SELECT count(*) FROM damson_catalog.versions v WHERE NOT EXISTS
            (SELECT FROM damson_catalog.runs r WHERE r.id = v.run AND r.model = v.model))
      + (SELECT count(*) FROM damson_catalog.metrics q WHERE NOT EXISTS
            (SELECT FROM damson_catalog.runs r WHERE r.id = q.run))
      + (SELECT count(*) FROM damson_catalog.aliases a WHERE NOT EXISTS (SELECT FROM damson_catalog.deployments d
            WHERE d.id = a.deployment AND d.version = a.version AND d.model = a.model AND d.alias = a.alias))
      + (SELECT count(*) FROM damson_catalog.aliases a WHERE NOT EXISTS
            (SELECT FROM damson_catalog.versions v WHERE v.id = a.version AND v.model = a.model))"""
    assert one(connection, broken) == 0
    tables = ["models", "versions", "runs", "artifacts", "aliases", "deployments"]
    return [one(connection, f"SELECT count(*) FROM damson_catalog.{table}") for table in tables]


def prepare(db):
    # The test server commits asynchronously; this brings what was committed to disk.
    db.execute("SET synchronous_commit = on")
    assert [train_shifted(db, v) for v in (1, 2)] == [1, 2]
    return state(db)


def test_a_kill_in_the_middle_of_a_training_leaves_the_models_as_they_were(db, connect):
    before = prepare(db)
    doomed = connect()
    work = Background(lambda: doomed.execute(LONG))
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.progress") or work.ended, "the training to begin")
    assert not work.ended, work.outcome
    after = kill(doomed, db, connect)
    assert isinstance(work.result(), psycopg.OperationalError)
    assert state(after) == before
    assert (scored(after), scored(after, "m@2")) == (1, 2)
    assert train_shifted(after, 3) == 3


def test_a_kill_in_the_middle_of_a_deploy_leaves_the_old_version(db, connect):
    before = prepare(db)
    doomed = connect()
    doomed.execute("BEGIN")
    doomed.execute("CALL damson.deploy('m', 2)")
    assert train_shifted(doomed, 3) == 3
    doomed.execute("CALL damson.deploy('m', 3)")
    doomed.execute("CALL damson.grant_model('m', 'public')")
    assert scored(doomed) == 3
    after = kill(doomed, db, connect)
    assert state(after) == before
    assert scored(after) == 1
    after.execute("CALL damson.deploy('m', 2)")
    assert (scored(after), train_shifted(after, 3)) == (2, 3)


def test_a_kill_at_any_moment_of_many_changes_leaves_whole_ones(db, connect):
    prepare(db)
    doomed = connect()
    doomed.execute("SET synchronous_commit = on")
    done = []

    def change():
        for shift in range(3, 1000):
            version = train_shifted(doomed, shift)
            doomed.execute("CALL damson.deploy('m', %s)", [version])
            done.append(shift)

    work = Background(change)
    wait_for(lambda: len(done) > 2, "some changes")
    time.sleep(random.random() * 0.1)
    after = kill(doomed, db, connect)
    assert isinstance(work.result(), psycopg.OperationalError)
    state(after)
    # What was confirmed is there; the change under way may have come through.
    assert scored(after) in (done[-1], done[-1] + 1)
    assert one(after, "SELECT newest FROM damson.models") in (done[-1], done[-1] + 1)
