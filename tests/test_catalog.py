"""The catalog between sessions: what others see of a deploy, who waits for whom, what a crash and a dump leave."""

import os
import signal
import threading
import time

import psycopg
import pytest

TRAIN = "SELECT version FROM damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', seed => %s)"


def one(connection, sql, *arguments):
    return connection.execute(sql, arguments or None).fetchone()[0]


def train(connection, seed=0):
    return one(connection, TRAIN, seed)


def means(connection, reference="m"):
    sql = "SELECT value FROM damson.describe(%s) WHERE property = 'version'"
    return int(one(connection, sql, reference))


def sha256(connection):
    return one(connection, "SELECT value FROM damson.describe('m') WHERE property = 'artifact sha256'")


def make_flowers(connection):
    connection.execute(
        "CREATE TABLE flowers AS SELECT i::float8 AS x, CASE WHEN i % 7 < 3 THEN 'no' ELSE 'yes' END AS label"
        " FROM generate_series(1, 200) i"
    )


def waits_for_lock(watcher, connection):
    """Whether another session's statement comes to wait for a lock."""
    for _ in range(500):
        sql = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
        if one(watcher, sql, connection.info.backend_pid) == "Lock":
            return True
        time.sleep(0.02)
    return False


def reconnect(connect):
    """A connection after a crash, as soon as the server takes one again."""
    for _ in range(300):
        try:
            return connect()
        except psycopg.OperationalError:
            time.sleep(0.1)
    return connect()


class Background:
    """A statement in a thread of its own; `result()` gives what it returned or raised."""

    def __init__(self, work):
        self.outcome = None
        self.thread = threading.Thread(target=self.run, args=(work,))
        self.thread.start()

    def run(self, work):
        try:
            self.outcome = work()
        except psycopg.Error as error:
            self.outcome = error

    def result(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.outcome


@pytest.fixture
def flowers(db):
    """The first connection, with a table to train on and a model of three versions."""
    make_flowers(db)
    assert [train(db), train(db), train(db)] == [1, 2, 3]
    return db


def test_deploy_is_seen_at_commit_and_not_before(flowers, connect):
    other = connect()
    flowers.execute("BEGIN")
    flowers.execute("CALL damson.deploy('m', 2)")
    assert (means(flowers), means(other)) == (2, 1)
    flowers.execute("SAVEPOINT s")
    flowers.execute("CALL damson.deploy('m', 3)")
    assert (means(flowers), means(other)) == (3, 1)
    flowers.execute("ROLLBACK TO s")
    assert means(flowers) == 2
    flowers.execute("COMMIT")
    assert means(other) == 2
    flowers.execute("BEGIN")
    flowers.execute("CALL damson.rollback('m')")
    assert (means(flowers), means(other)) == (1, 2)
    flowers.execute("ROLLBACK")
    assert (means(flowers), means(other)) == (2, 2)


def test_another_database_has_its_own_models(flowers, server):
    name = server.create_database()
    try:
        with server.connect(dbname=name) as other:
            make_flowers(other)
            assert train(other, 9) == 1
            flowers.execute("CALL damson.deploy('m', 3)")
            assert (means(flowers), means(other)) == (3, 1)
    finally:
        server.drop_database(name)


def test_repeatable_read_keeps_its_version(flowers, connect):
    other = connect()
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    assert means(other) == 1
    flowers.execute("CALL damson.deploy('m', 3)")
    assert (means(flowers), means(other)) == (3, 1)
    with pytest.raises(psycopg.errors.SerializationFailure):
        other.execute("CALL damson.deploy('m', 2)")
    other.execute("ROLLBACK")
    assert means(other) == 3


def test_repeatable_read_changes_no_model_that_changed_meanwhile(flowers, connect):
    other = connect()
    for statement in ["CALL damson.drop_model('m')", "CALL damson.grant_model('m', 'public')", TRAIN % 0]:
        other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert means(other, "m@1") == 1
        flowers.execute("CALL damson.deploy('m', 2, 'a' || txid_current())")
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute(statement)
        other.execute("ROLLBACK")


def test_deploys_queue_behind_each_other(flowers, connect):
    other = connect()
    flowers.execute("BEGIN")
    flowers.execute("CALL damson.deploy('m', 2)")
    second = Background(lambda: other.execute("CALL damson.deploy('m', 3)"))
    assert waits_for_lock(flowers, other)
    flowers.execute("COMMIT")
    assert not isinstance(second.result(), Exception)
    assert means(flowers) == 3
    flowers.execute("CALL damson.rollback('m')")
    assert means(flowers) == 2


def test_trainings_of_one_model_get_different_numbers(flowers, connect):
    other = connect()
    flowers.execute("BEGIN")
    assert train(flowers) == 4
    second = Background(lambda: train(other))
    assert waits_for_lock(connect(), other)
    flowers.execute("COMMIT")
    assert second.result() == 5


def test_a_rolled_back_training_frees_its_number(flowers, connect):
    other = connect()
    flowers.execute("BEGIN")
    assert train(flowers) == 4
    second = Background(lambda: train(other))
    assert waits_for_lock(connect(), other)
    flowers.execute("ROLLBACK")
    assert second.result() == 4
    assert one(flowers, "SELECT count(*) FROM damson.runs") == 4


def test_two_sessions_create_one_model(db, connect):
    make_flowers(db)
    other = connect()
    db.execute("BEGIN")
    assert train(db) == 1
    second = Background(lambda: train(other))
    assert waits_for_lock(connect(), other)
    db.execute("COMMIT")
    assert second.result() == 2
    assert means(db) == 1
    assert one(db, "SELECT count(*) FROM damson.deployments") == 1


def test_a_crash_leaves_all_or_nothing(flowers, connect):
    # The test server commits asynchronously; this commit brings all before it to disk.
    flowers.execute("SET synchronous_commit = on")
    flowers.execute("CALL damson.deploy('m', 3)")
    doomed = connect()
    doomed.execute("BEGIN")
    assert train(doomed) == 4
    doomed.execute("CALL damson.deploy('m', 4)")
    doomed.execute("CALL damson.deploy('m', 2, 'champion')")
    os.kill(doomed.info.backend_pid, signal.SIGKILL)
    after = reconnect(connect)
    assert means(after) == 3
    assert after.execute("SELECT alias FROM damson.aliases").fetchall() == [("production",)]
    tables = ["models", "runs", "versions", "artifacts", "deployments", "aliases"]
    counts = [one(after, f"SELECT count(*) FROM damson_catalog.{table}") for table in tables]
    assert counts == [1, 3, 3, 3, 2, 1]
    assert train(after) == 4


def test_a_recreated_extension_is_not_mistaken_for_the_old_one(flowers, connect):
    other = connect()
    assert means(other, "m@2") == 2
    flowers.execute("DROP EXTENSION damson CASCADE")
    flowers.execute("CREATE EXTENSION damson")
    assert train(flowers, 5) == 1
    assert sha256(other) == sha256(flowers)
    flowers.execute("BEGIN")
    flowers.execute("DROP EXTENSION damson CASCADE")
    flowers.execute("CREATE EXTENSION damson")
    assert train(flowers, 6) == 1
    inside = sha256(flowers)
    flowers.execute("ROLLBACK")
    assert sha256(flowers) == sha256(other) != inside


def test_a_damaged_artifact_is_an_error(flowers, connect):
    flowers.execute("UPDATE damson_catalog.artifacts SET bytes = set_byte(bytes, 50, get_byte(bytes, 50) # 1)")
    with pytest.raises(psycopg.errors.DataCorrupted, match="SHA-256"):
        means(connect())
    flowers.execute("DELETE FROM damson_catalog.artifacts")
    with pytest.raises(psycopg.errors.DataCorrupted, match="has 0 bytes"):
        means(connect())


@pytest.mark.parametrize("how", ["plain", "custom"])
def test_dump_and_restore_carry_everything(flowers, server, database, role, how):
    owner = role('"Owner of ""it"""')
    flowers.execute(f"GRANT ALL ON flowers TO {owner}")
    flowers.execute(f"SET ROLE {owner}")
    sql = "SELECT version FROM damson.train('hers', 'flowers', target => 'label', algorithm => 'logistic')"
    flowers.execute(sql)
    flowers.execute(sql)
    flowers.execute("CALL damson.deploy('hers', 2)")
    flowers.execute("CALL damson.grant_model('hers', 'public')")
    flowers.execute("RESET ROLE")
    dump = server.scratch / f"{database}.{how}"
    copy = f"{database}_copy"
    address = ["--host", flowers.info.host, "--port", flowers.info.port, "--username", flowers.info.user]
    text = server.program("pg_dump", *address, "--format", how, "--file", dump, database)
    assert "warning" not in text
    try:
        with server.connect() as admin:
            admin.execute(f"CREATE DATABASE {copy}")
        if how == "plain":
            server.program("psql", *address, "-v", "ON_ERROR_STOP=1", "--dbname", copy, "--file", dump)
        else:
            server.program("pg_restore", *address, "--exit-on-error", "--jobs", 2, "--dbname", copy, dump)
        with server.connect(dbname=copy) as restored:
            for table in ["models", "runs", "versions", "artifacts", "deployments", "aliases", "metrics", "grants"]:
                rows = f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM damson_catalog.{table} t"
                assert one(restored, rows) == one(flowers, rows), table
            assert means(restored, "hers") == 2
            restored.execute(f"SET ROLE {owner}")
            assert one(restored, sql) == 3
            restored.execute("CALL damson.rollback('hers')")
            assert means(restored, "hers") == 1
    finally:
        server.drop_database(copy)
