"""Networks whose training is killed, cancelled or diverges: what is kept of it, for whom, and how it goes on."""

import os
import signal

import psycopg
import pytest
from conftest import Background, kill, one, wait_for

POINTS = """CREATE TABLE points AS SELECT i AS id, sin(i) AS a, cos(i * 1.7) AS b, sin(i * 0.3) AS c,
    CASE WHEN sin(i) * cos(i * 1.7) > 0 THEN 'in' ELSE 'out' END AS label FROM generate_series(1, 6000) i"""
NETWORK = '{"architecture": "mlp", "epochs": %s, "ema_decay": 0.9, "optimizer": "adamw"%s}'


def train(model="m", epochs=40, more="", source="SELECT a, b, c, label FROM points ORDER BY id", arguments=""):
    params = NETWORK % (epochs, more)
    return f"SELECT version FROM damson.train('{model}', '{source}', 'label', 'cnn', '{params}', seed => 7{arguments})"


RESUME = ", resume => true"


@pytest.fixture
def points(db):
    # The test server commits asynchronously; what was committed, by jobs too, must outlive a crash.
    db.execute(f"ALTER DATABASE {db.info.dbname} SET synchronous_commit = on; SET synchronous_commit = on")
    db.execute(POINTS)
    return db


def epoch(connection):
    """After which epoch the only checkpoint is."""
    return connection.execute("SELECT epoch FROM damson.checkpoints").fetchone()


def begin(connection, sql, at_epoch=2, witness=None):
    """Begins a training that keeps every epoch, and waits until some are kept."""
    connection.execute("SET damson.checkpoint_interval = 0")
    work = Background(lambda: connection.execute(sql).fetchall())
    wait_for(lambda: (epoch(witness) or [0])[0] >= at_epoch or work.ended, "a checkpoint")
    assert not work.ended, work.outcome
    return work


def cancel(connection, sql, witness, at_epoch=2):
    work = begin(connection, sql, at_epoch, witness)
    connection.cancel()
    assert isinstance(work.result(), psycopg.errors.QueryCanceled)
    return epoch(witness)[0]


def said(connection, sql):
    """The notices and warnings of a statement."""
    heard = []
    connection.add_notice_handler(lambda d: heard.append(f"{d.severity}: {d.message_primary}"))
    connection.execute(sql)
    return "\n".join(heard)


def artifact(connection, model):
    return one(connection, """SELECT v.artifact_sha256 FROM damson_catalog.versions v JOIN damson_catalog.models m
        ON m.id = v.model WHERE m.name = %s ORDER BY v.version DESC LIMIT 1""", model)


def metrics(connection, model):
    return connection.execute("""SELECT q.split, q.round, q.name, q.value FROM damson_catalog.metrics q
        JOIN damson_catalog.runs r ON r.id = q.run JOIN damson_catalog.models m ON m.id = r.model
        WHERE m.name = %s ORDER BY 1, 2, 3""", [model]).fetchall()


def file(connection):
    """The path of the only checkpoint, in the data directory."""
    folder = one(connection, "SELECT 'pgsql_tmp_damson/' || oid FROM pg_database WHERE datname = current_database()")
    return f"{folder}/{one(connection, 'SELECT pg_ls_dir(%s)', folder)}"


def shell(connection, command):
    connection.execute("COPY (SELECT 1) TO PROGRAM '%s'" % command.replace("'", "''"))


def test_a_killed_training_goes_on_to_the_very_model_of_an_unbroken_one(points, connect):
    points.execute(train("whole"))
    doomed = connect()
    work = begin(doomed, train("broken"), 5, points)
    db = kill(doomed, points, connect)
    assert isinstance(work.result(), psycopg.OperationalError)
    kept = epoch(db)[0]
    assert 5 <= kept < 40
    assert one(db, "SELECT count(*) FROM damson.models WHERE name = 'broken'") == 0
    assert f"goes on after round {kept}" in said(db, train("broken", arguments=RESUME))
    assert artifact(db, "broken") == artifact(db, "whole")
    assert metrics(db, "broken") == metrics(db, "whole")
    assert epoch(db) is None


def test_a_killed_training_goes_on_more_than_once(points, connect):
    points.execute(train("whole"))
    db, reached = points, 0
    for _ in range(3):
        doomed = connect()
        arguments = RESUME if reached else ""
        begin(doomed, train("broken", arguments=arguments), reached + 3, db)
        db = kill(doomed, db, connect)
        assert epoch(db)[0] > reached
        reached = epoch(db)[0]
    db.execute(train("broken", arguments=RESUME))
    assert artifact(db, "broken") == artifact(db, "whole")


def test_a_job_whose_worker_is_killed_goes_on_by_itself(points, connect):
    points.execute(train("whole"))
    points.execute("SET damson.checkpoint_interval = 0")
    job = one(points, train("broken", arguments=", wait => false").replace("SELECT version", "SELECT job"))
    wait_for(lambda: (epoch(points) or [0])[0] >= 3, "a checkpoint")
    os.kill(one(points, "SELECT pid FROM damson.jobs WHERE job = %s", job), signal.SIGKILL)

    def again():
        try:
            return connect()
        except psycopg.OperationalError:
            return None

    def ended():
        try:
            points.execute("SELECT 1")
        except psycopg.OperationalError:
            return True

    wait_for(ended, "the server to learn of the death")
    db = wait_for(again, "the server to recover")
    state = "SELECT state FROM damson.jobs WHERE job = %s"
    wait_for(lambda: one(db, state, job) not in ("running", "waiting"), "the job to end")
    assert db.execute("SELECT state, attempt FROM damson.jobs WHERE job = %s", [job]).fetchone() == ("succeeded", 2)
    assert artifact(db, "broken") == artifact(db, "whole")
    assert epoch(db) is None


def test_a_checkpoint_is_of_its_role_rows_and_arguments(points, connect, role):
    alice, bob = role("ckpt_alice"), role("ckpt_bob")
    points.execute(f"GRANT SELECT ON points TO {alice}, {bob}")
    hers, his = connect(user=alice), connect(user=bob)
    kept = cancel(hers, train(), points, 3)
    row = "SELECT model, algorithm, epoch, role::text, source FROM damson.checkpoints"
    assert hers.execute(row).fetchall() == [
        ("m", "cnn", kept, alice, "SELECT a, b, c, label FROM points ORDER BY id")]
    assert his.execute(row).fetchall() == []
    # Nobody goes on from another's, not even a superuser.
    for other in (his, points):
        assert 'NOTICE: no checkpoint of model "m"' in said(other, train("m", arguments=RESUME))
        other.execute("CALL damson.drop_model('m')")
    heard = said(hers, train(epochs=41, arguments=RESUME))
    assert "WARNING: no checkpoint of this training" in heard and "with other params: it begins anew" in heard
    source = "SELECT a, b, c, label FROM points ORDER BY id DESC"
    assert "of another source: it begins anew" in said(hers, train(source=source, arguments=RESUME))
    # The same rows in another order are another training.
    points.execute("UPDATE points SET id = -id")
    assert "the rows are not those of the checkpoint" in said(hers, train(arguments=RESUME))
    points.execute("UPDATE points SET id = -id")


def test_a_training_that_is_rolled_back_leaves_its_checkpoint(points):
    points.execute("SET damson.checkpoint_interval = 0")
    points.execute("BEGIN")
    points.execute(train(epochs=5))
    points.execute("ROLLBACK")
    assert epoch(points) == (4,)
    assert "goes on after round 4" in said(points, train(epochs=5, arguments=RESUME))
    assert epoch(points) is None


def test_a_damaged_checkpoint_is_not_gone_on_from(points, connect):
    points.execute(train("whole"))
    cancel(connect(), train("broken"), points)
    path = file(points)
    shell(points, f"printf x | dd of={path} bs=1 seek=5000 conv=notrunc 2>/dev/null")
    assert "damaged: its checksum does not match; the training begins anew" in said(
        points, train("broken", arguments=RESUME))
    assert artifact(points, "broken") == artifact(points, "whole")


def test_what_was_good_before_a_training_diverged_is_kept(points):
    # The rate rises through the first third of the training.
    wild = ', "learning_rate": 1e1, "schedule": "one_cycle"'
    with pytest.raises(psycopg.errors.DataException) as error:
        points.execute(train(more=wild).replace('"adamw"', '"sgd"'))
    assert "the training diverged in epoch" in str(error.value)
    kept = epoch(points)[0]
    assert f"What it was after epoch {kept} is kept: resume => true" in error.value.diag.message_hint
    calm = wild.replace("1e1", "1e-3")
    heard = said(points, train(more=calm, arguments=RESUME).replace('"adamw"', '"sgd"'))
    assert f"goes on after round {kept}" in heard and f"the rounds up to {kept} had learning_rate 10" in heard
    warnings = one(points, "SELECT array_to_string(warnings, ' ') FROM damson_catalog.runs ORDER BY id DESC LIMIT 1")
    assert "had learning_rate 10" in warnings


def test_room_and_age_are_bounded(points, connect, server):
    points.execute("SET damson.checkpoint_space = '10kB'")
    points.execute("SET damson.checkpoint_interval = 0")
    assert "no checkpoint of the training is kept: it takes 1 MB, more than damson.checkpoint_space" in said(
        points, train("roomless", epochs=4))
    points.execute("RESET damson.checkpoint_space")
    size = cancel(connect(), train("a"), points) and one(points, "SELECT bytes FROM damson.checkpoints")
    points.execute(f"SET damson.checkpoint_space = '{size * 3 // 2 // 1024}kB'")
    # The older one makes room.
    points.execute("BEGIN")
    points.execute(train("b", epochs=3))
    points.execute("ROLLBACK")
    assert points.execute("SELECT model FROM damson.checkpoints").fetchall() == [("b",)]
    shell(points, f"touch -d '8 days ago' {file(points)}")
    points.execute(train("c", epochs=1))
    assert epoch(points) is None
    # That of a database that is gone goes too.
    other = server.create_database()
    with server.connect(dbname=other) as there, server.connect(dbname=other) as doomed:
        there.execute(POINTS)
        cancel(doomed, train(), there)
        folder = one(there, "SELECT oid::text FROM pg_database WHERE datname = current_database()")
    server.drop_database(other)
    folders = "SELECT array_agg(f) FROM pg_ls_dir('pgsql_tmp_damson') f"
    assert folder in one(points, folders)
    points.execute(train("d", epochs=1))
    assert folder not in one(points, folders)


def test_nothing_is_written_where_nothing_is_to_be_kept(points):
    points.execute("SET damson.keep_checkpoints = 0")
    points.execute("SET damson.checkpoint_interval = 0")
    points.execute("BEGIN")
    points.execute(train(epochs=4))
    points.execute("ROLLBACK")
    assert epoch(points) is None
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="no checkpoints are kept"):
        points.execute(train(arguments=RESUME))


def test_base_backups_leave_checkpoints_out(points, connect, server):
    cancel(connect(), train(), points)
    assert "pgsql_tmp_damson" in one(points, "SELECT array_agg(f) FROM pg_ls_dir('.') f")
    folder = server.scratch / "backup_without_checkpoints"
    primary = ["-h", points.info.host, "-p", points.info.port, "-U", points.info.user]
    server.program("pg_basebackup", *primary, "-D", folder, "--checkpoint=fast", "--no-sync", as_server=True)
    listed = one(points, "SELECT array_agg(f) FROM pg_ls_dir(%s) f", str(folder))
    assert "base" in listed and "pgsql_tmp_damson" not in listed
