"""A hot standby serves what the primary deployed, also to sessions that were open before."""

import shutil
import socket

import psycopg
import pytest
from conftest import one, scored, train_shifted, wait_for


@pytest.fixture
def standby(server, db):
    """A function that connects to a standby of the server, which it follows by streaming."""
    folder = server.scratch / "standby"
    data = folder / "data"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir(mode=0o700)
    if server.os_user:
        shutil.chown(folder, server.os_user)
    primary = ["-h", db.info.host, "-p", db.info.port, "-U", db.info.user]
    server.program(
        "pg_basebackup", *primary, "-D", data, "--write-recovery-conf", "--checkpoint=fast", "--no-sync", as_server=True
    )
    # The settings of a private cluster lie beside its data folder, and postgresql.conf includes them.
    settings = (server.scratch.parent / "settings.conf").read_text()
    settings += f"port = {port}\nunix_socket_directories = '{folder}'\n"
    (folder / "settings.conf").write_text(settings)
    (folder / "settings.conf").chmod(0o644)
    server.program("pg_ctl", "start", "--wait", "-D", data, "-l", folder / "log", as_server=True)
    opened = []

    def connect():
        opened.append(psycopg.connect(host=str(folder), port=port, user="postgres", dbname=db.info.dbname, autocommit=True))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
    server.program("pg_ctl", "stop", "--mode=immediate", "-D", data, as_server=True)
    shutil.rmtree(folder)


def test_a_standby_follows_deploys(db, standby, role):
    for shift in (1, 2, 3):
        train_shifted(db, shift)
    early = standby()

    def replayed():
        """Waits until the standby has what the primary has committed by now."""
        db.execute("SET synchronous_commit = on")
        db.execute("CREATE TABLE flush ()")
        db.execute("DROP TABLE flush")
        position = one(db, "SELECT pg_current_wal_flush_lsn()")
        sql = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_for(lambda: one(early, sql, position), "the standby to catch up")

    replayed()
    assert scored(early) == 1
    prepared = "SELECT damson.predict('m', 0.0)"
    early.execute(prepared, prepare=True)
    db.execute("BEGIN")
    db.execute("CALL damson.deploy('m', 2)")
    assert scored(early) == 1
    db.execute("COMMIT")
    replayed()
    assert scored(early) == 2
    assert round(early.execute(prepared, prepare=True).fetchone()[0]) == 2000
    assert scored(standby()) == 2

    snapshot = standby()
    snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert scored(snapshot) == 2
    db.execute("CALL damson.deploy('m', 3)")
    replayed()
    assert (scored(snapshot), scored(early)) == (2, 3)
    snapshot.execute("COMMIT")
    assert scored(snapshot) == 3
    db.execute("CALL damson.rollback('m')")
    train_shifted(db, 4)
    replayed()
    assert (scored(snapshot), scored(early, "m@4")) == (2, 4)
    assert one(early, "SELECT count(*) FROM damson.versions") == 4

    reader = role("standby_reader")
    db.execute(f"CALL damson.grant_model('m', '{reader}')")
    replayed()
    early.execute(f"SET ROLE {reader}")
    assert scored(early) == 2
    db.execute(f"CALL damson.revoke_model('m', '{reader}')")
    replayed()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        scored(early)
    early.execute("RESET ROLE")

    for statement in [
        "SELECT * FROM damson.train('m', 'SELECT 1.0 AS x, 2.0 AS y', 'y', 'linear')",
        "CALL damson.deploy('m', 1)",
        "CALL damson.drop_model('m')",
        "CALL damson.grant_model('m', 'public')",
    ]:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            early.execute(statement)
    evaluated = "SELECT value FROM damson.evaluate('m', 'SELECT i AS x, i + 2000 AS y FROM generate_series(1, 9) i')"
    assert early.execute(evaluated).fetchone()
    db.execute("CALL damson.drop_model('m')")
    replayed()
    with pytest.raises(psycopg.errors.UndefinedObject):
        scored(early)


def test_a_standby_scores_by_functions_and_shows_what_monitors_saw(db, standby):
    rows = "SELECT i::float8 AS x, i + 1000::float8 AS y FROM generate_series(1, 50) i"
    train_shifted(db, 1)
    db.execute("SELECT damson.create_scorer('m', name => 'score')")
    db.execute("SELECT damson.create_scored_view('scored', 'm', %s)", [rows])
    db.execute("CALL damson.monitor('m', %s, NULL)", [rows])
    assert one(db, "SELECT state FROM damson.run_monitor('m')") == "silent"
    there = standby()
    wait_for(lambda: one(there, "SELECT count(*) FROM damson.drift_history"), "the standby to catch up")
    assert round(one(there, "SELECT score(0.0)")) == 1000
    assert one(there, "SELECT count(*) FROM scored WHERE abs(prediction - y) < 0.1") == 50
    assert there.execute("SELECT monitor, state FROM damson.monitors").fetchall() == [("m", "silent")]
    assert one(there, "SELECT count(*) FROM damson.scorers") == 2
    for statement in ["SELECT damson.run_monitor('m')", "CALL damson.monitor('m', 'scored')", "CALL damson.drop_monitor('m')",
                      "SELECT damson.create_scorer('m')", "SELECT damson.create_scored_view('v', 'm', 'scored')"]:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            there.execute(statement)


def test_a_standby_scores_in_batches(db, standby):
    """And a plan that is kept there is made anew when a network's alias becomes that of a line."""
    db.execute("SET damson.progress = off")
    db.execute("CREATE TABLE x AS SELECT i::float8 AS x, i::float8 AS y FROM generate_series(1, 300) i")
    train = "SELECT version FROM damson.train('m', 'x', target => 'y', algorithm => %s, split => 'none', params => %s)"
    one(db, train, "cnn", '{"architecture": "mlp", "epochs": 1}')
    one(db, train, "linear", "{}")
    expected = one(db, "SELECT sum(damson.predict('m', x)) FROM x")
    there = standby()
    wait_for(lambda: one(there, "SELECT count(*) FROM damson.versions") == 2, "the standby to catch up")
    there.execute("PREPARE ask AS SELECT sum(damson.predict('m', x)) FROM x")

    def batched():
        return any("Damson Batch" in row[0] for row in there.execute("EXPLAIN EXECUTE ask"))

    assert batched()
    assert one(there, "EXECUTE ask") == expected
    db.execute("CALL damson.deploy('m', version => 2)")
    wait_for(lambda: not batched(), "the plan to be made anew")
    assert round(one(there, "EXECUTE ask")) == 45150
