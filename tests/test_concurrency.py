"""Many sessions at once on the same models."""

import random
import threading
import time

import psycopg
import pytest
from conftest import Background, Chaos, one, train_shifted

SECONDS = 8


def test_sessions_that_train_one_model_at_once_get_consecutive_numbers(connect):
    sessions = [connect() for _ in range(8)]
    start = threading.Barrier(len(sessions))

    def train(session, shift):
        start.wait()
        return [train_shifted(session, shift) for _ in range(3)]

    work = [Background(lambda s=s, i=i: train(s, i)) for i, s in enumerate(sessions)]
    versions = [w.result() for w in work]
    assert sorted(v for vs in versions for v in vs) == list(range(1, 25)), versions
    for vs in versions:
        assert vs == sorted(vs)
    db = connect()
    assert one(db, "SELECT newest FROM damson.models") == 24
    assert one(db, "SELECT count(*) FROM damson.runs") == 24
    for shift, vs in enumerate(versions):
        for version in vs:
            assert round(one(db, f"SELECT damson.predict('m@{version}', 0.0)")) == 1000 * shift


def test_scores_are_of_deployed_versions_while_others_change_the_model(connect, measured):
    errors = psycopg.errors
    setup = connect()
    for shift in (1, 2, 3):
        train_shifted(setup, shift)
    setup.execute("CREATE FUNCTION score() RETURNS float8 LANGUAGE plpgsql AS $$ DECLARE v float8; BEGIN"
                  " v := damson.predict('m', 0.0); RETURN round(v) / 1000; END $$")
    missing = errors.UndefinedObject

    def scorer(session, sql, prepare):
        def step():
            found = {row[0] for row in session.execute(sql, prepare=prepare)}
            assert len(found) == 1 and found <= {1.0, 2.0, 3.0}, f"{sql}: {found}"
        return step

    def deployer(session):
        def step():
            version = random.randint(1, 3)
            session.execute("BEGIN")
            try:
                session.execute("CALL damson.deploy('m', %s)", [version])
                found = round(one(session, "SELECT damson.predict('m', 0.0)")) / 1000
                assert found == version, f"deployed {version}, scored {found}"
                session.execute(random.choice(["COMMIT", "ROLLBACK"]))
            finally:
                if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                    session.execute("ROLLBACK")
        return step

    def roller(session):
        return lambda: session.execute("CALL damson.rollback('m')")

    def dropper(session):
        def step():
            time.sleep(random.random() * 0.5)
            session.execute("CALL damson.drop_model('m')")
            for shift in (1, 2, 3):
                assert train_shifted(session, shift) == shift
        return step

    rows = "SELECT round(damson.predict('m', i * 0.0)) / 1000 FROM generate_series(1, 300) i"
    plans = [
        ("score rows", lambda s: scorer(s, rows, False), missing),
        ("score prepared", lambda s: scorer(s, rows, True), missing),
        ("score function", lambda s: scorer(s, "SELECT score()", True), missing),
        ("describe", lambda s: lambda: s.execute("SELECT * FROM damson.describe('m')").fetchall(), missing),
        ("deploy", deployer, missing),
        ("deploy 2", deployer, missing),
        ("rollback", roller, (missing, errors.ObjectNotInPrerequisiteState)),
        ("drop", dropper, ()),
    ]
    chaos = Chaos(SECONDS)
    counts = chaos.run(plans, connect)
    measured(str(chaos))
    for name, _, _ in plans:
        assert counts.get(f"{name} ok"), counts
    assert one(setup, "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid <> pg_backend_pid()"
                      " AND relation::regclass::text LIKE 'damson_catalog.%'") == 0


def test_sessions_that_change_different_models_do_not_wait(connect):
    one_session, other = connect(), connect()
    train_shifted(one_session, 1, "a")
    train_shifted(one_session, 1, "b")
    train_shifted(one_session, 2, "b")
    one_session.execute("BEGIN")
    train_shifted(one_session, 2, "a")
    other.execute("SET lock_timeout = '5s'")
    other.execute("CALL damson.deploy('b', 2)")
    assert train_shifted(other, 3, "b") == 3
    with pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute("SET lock_timeout = '100ms'; CALL damson.deploy('a', 1)")
    one_session.execute("COMMIT")
