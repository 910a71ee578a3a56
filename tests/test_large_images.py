"""Images that damson.max_memory leaves no room: what becomes of their temporary file, and of the training."""

import psycopg
import pytest
from conftest import Background, kill, one, wait_for

SCANS = """CREATE TABLE scans AS SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'left' ELSE 'right' END AS side, decode(repeat(
    repeat(to_hex(90 + i * 31 % 60 + 60 * (1 - i % 2)), 48) || repeat(to_hex(90 + i * 17 % 60 + 60 * (i % 2)), 48), 96), 'hex') AS image
    FROM generate_series(1, 2600) i"""
NETWORK = """{"layers": [{"type": "conv2d", "filters": 4, "kernel_size": 8, "stride": 16}, {"type": "relu"}, {"type": "flatten"}],
    "epochs": %s, "batch_size": 8, "ema_decay": 0.9}"""


def train(model, epochs=60, source="SELECT side, image FROM scans ORDER BY id", arguments=""):
    return f"""SELECT version FROM damson.train('{model}', '{source}', 'side', 'cnn', '{NETWORK % epochs}',
        preprocess => '{{"image": [96, 96, 1]}}', seed => 7{arguments})"""


@pytest.fixture
def scans(db):
    db.execute(f"ALTER DATABASE {db.info.dbname} SET synchronous_commit = on; SET synchronous_commit = on")
    db.execute(SCANS)
    db.execute("ANALYZE scans")
    return db


def files(connection):
    return one(connection, "SELECT count(*) FROM pg_ls_tmpdir()")


def epoch(connection):
    return (connection.execute("SELECT epoch FROM damson.checkpoints").fetchone() or [0])[0]


def artifact(connection, model):
    return one(connection, """SELECT v.artifact_sha256 FROM damson_catalog.versions v JOIN damson_catalog.models m
        ON m.id = v.model WHERE m.name = %s ORDER BY v.version DESC LIMIT 1""", model)


def small(connection):
    connection.execute("SET damson.max_memory = '20MB'")
    connection.execute("SET damson.checkpoint_interval = 0")
    return connection


def begin(connection, sql, witness, at_epoch=3):
    work = Background(lambda: small(connection).execute(sql).fetchall())
    wait_for(lambda: epoch(witness) >= at_epoch or work.ended, "a checkpoint")
    assert not work.ended, work.outcome
    assert files(witness) == 1
    return work


def test_a_killed_training_goes_on_from_a_file_to_the_very_model_in_memory(scans, connect):
    scans.execute(train("whole"))
    doomed, db = connect(), scans
    begin(doomed, train("broken"), db)
    db = kill(doomed, db, connect)
    kept = epoch(db)
    assert 3 <= kept < 60 and files(db) == 0
    # Once more, then to the end.
    doomed = connect()
    begin(doomed, train("broken", arguments=", resume => true"), db, kept + 3)
    db = kill(doomed, db, connect)
    assert kept < epoch(db) < 60
    small(db).execute(train("broken", arguments=", resume => true"))
    assert artifact(db, "broken") == artifact(db, "whole")
    assert files(db) == 0
    # A training in memory goes on from one of a file as well.
    doomed = connect()
    begin(doomed, train("mixed"), db)
    doomed.cancel()
    wait_for(lambda: files(db) == 0, "the file to go")
    db.execute("RESET damson.max_memory")
    db.execute(train("mixed", arguments=", resume => true"))
    assert artifact(db, "mixed") == artifact(db, "whole")


@pytest.mark.parametrize("how", ["cancel", "terminate", "timeout"])
def test_a_training_that_is_ended_leaves_no_file(scans, connect, how):
    doomed = connect()
    if how == "timeout":
        doomed.execute("SET statement_timeout = '5s'")
    work = begin(doomed, train("m", 10_000), scans)
    if how == "cancel":
        doomed.cancel()
    elif how == "terminate":
        scans.execute("SELECT pg_terminate_backend(%s)", [doomed.info.backend_pid])
    assert isinstance(work.result(), psycopg.OperationalError)
    wait_for(lambda: files(scans) == 0, "the file to go")
    assert one(scans, "SELECT count(*) FROM damson.models") == 0


def test_a_cancel_while_rows_are_read_leaves_no_file(scans, connect):
    doomed = small(connect())
    source = "SELECT side, image FROM scans WHERE id < 1000 OR pg_sleep(0.05) IS NOT NULL"
    work = Background(lambda: doomed.execute(train("m", source=source)).fetchall())
    wait_for(lambda: files(scans) == 1 or work.ended, "the file")
    assert not work.ended, work.outcome
    doomed.cancel()
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)
    assert files(scans) == 0


def test_the_file_goes_with_the_training_not_with_its_transaction(scans):
    small(scans).execute("BEGIN")
    scans.execute(train("m", 2))
    assert files(scans) == 0
    scans.execute("SAVEPOINT s")
    with pytest.raises(psycopg.errors.ConfigurationLimitExceeded) as error:
        scans.execute("SET LOCAL temp_file_limit = '2MB'")
        scans.execute(train("m", 2))
    assert "more than the 2048 kB that temp_file_limit allows" in str(error.value)
    scans.execute("ROLLBACK TO s")
    assert files(scans) == 0
    scans.execute("COMMIT")
    assert one(scans, "SELECT newest FROM damson.models WHERE name = 'm'") == 1
