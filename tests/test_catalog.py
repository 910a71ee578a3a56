"""The catalog between sessions: what others see of a deploy, who waits for whom, what a crash and a dump leave."""

import shutil
import time

import psycopg
import pytest
from conftest import Background, address, kill, one

TRAIN = "SELECT version FROM damson.train('m', 'flowers', target => 'label', algorithm => 'logistic', seed => %s)"


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
    after = kill(doomed, flowers, connect)
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


@pytest.mark.parametrize("how", ["--format=plain", "--jobs=2"])
def test_dump_and_restore_carry_everything(flowers, server, role, how):
    owner = role('"Owner of ""it"""')
    flowers.execute(f"GRANT ALL ON flowers TO {owner}")
    flowers.execute(f"SET ROLE {owner}")
    sql = "SELECT version FROM damson.train('hers', 'flowers', target => 'label', algorithm => 'logistic')"
    flowers.execute(sql)
    flowers.execute(sql)
    flowers.execute("CALL damson.deploy('hers', 2)")
    flowers.execute("CALL damson.grant_model('hers', 'public')")
    flowers.execute("RESET ROLE")
    with server.copied(flowers, how) as copy, server.connect(dbname=copy) as restored:
        for table in ["models", "runs", "versions", "artifacts", "deployments", "aliases", "metrics", "grants"]:
            rows = f"SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM damson_catalog.{table} t"
            assert one(restored, rows) == one(flowers, rows), table
        assert means(restored, "hers") == 2
        restored.execute(f"SET ROLE {owner}")
        assert one(restored, sql) == 3
        restored.execute("CALL damson.rollback('hers')")
        assert means(restored, "hers") == 1


@pytest.fixture
def slopes(db):
    """A model of two versions: version v predicts v times x."""
    db.execute("CREATE TABLE lines AS SELECT i::float8 AS x, i * 2.0::float8 AS y FROM generate_series(1, 50) i")
    for slope in ["y / 2", "y"]:
        source = f"SELECT x, {slope} AS target FROM lines"
        db.execute(
            "SELECT damson.train('slope', %s, target => 'target', algorithm => 'linear', split => 'none')", (source,)
        )
    return db


SCORE = "SELECT round(damson.predict('slope', 1::float8))::int"
# A PL/pgSQL loop of expressions alone: it locks no table, so it takes no invalidation messages by itself.
WATCH = """DO $$
    DECLARE version int; until timestamptz = clock_timestamp() + '20 s';
    BEGIN
        WHILE clock_timestamp() < until LOOP
            version := round(damson.predict('slope', 1::float8))::int;
            IF version <> 1 THEN
                RETURN;
            END IF;
        END LOOP;
        RAISE 'the new version was never seen';
    END $$"""


def test_scoring_follows_the_transaction(slopes, connect):
    other = connect()
    assert one(other, SCORE) == 1
    slopes.execute("BEGIN")
    slopes.execute("CALL damson.deploy('slope', 2)")
    assert (one(slopes, SCORE), one(other, SCORE)) == (2, 1)
    slopes.execute("ROLLBACK")
    assert one(slopes, SCORE) == 1
    slopes.execute("CALL damson.deploy('slope', 2)")
    assert one(other, SCORE) == 2


def test_scoring_in_plpgsql_follows_deploys_and_savepoints(slopes):
    slopes.execute("CREATE TABLE seen (version int)")
    slopes.execute(
        """DO $$
        DECLARE version int;
        BEGIN
            FOR i IN 1..3 LOOP
                version := round(damson.predict('slope', 1::float8))::int;
                INSERT INTO seen VALUES (version);
                BEGIN
                    CALL damson.deploy('slope', 2);
                    version := round(damson.predict('slope', 1::float8))::int;
                    INSERT INTO seen VALUES (version) ;
                    IF i = 1 THEN
                        RAISE division_by_zero;
                    END IF;
                EXCEPTION WHEN division_by_zero THEN
                    NULL;
                END;
            END LOOP;
        END $$"""
    )
    assert [row[0] for row in slopes.execute("TABLE seen")] == [1, 1, 2, 2, 2]


def test_a_running_loop_sees_what_others_commit(slopes, connect):
    other = connect()
    assert one(other, SCORE) == 1
    loop = Background(lambda: other.execute(WATCH))
    time.sleep(0.3)
    slopes.execute("CALL damson.deploy('slope', 2)")
    assert not isinstance(loop.result(), Exception)


def test_a_cursor_keeps_the_version_of_its_snapshot(slopes, connect):
    with connect(autocommit=False) as reader:
        with reader.cursor("c") as cursor:
            cursor.itersize = 1
            cursor.execute("SELECT round(damson.predict('slope', x) / x)::int FROM lines")
            assert cursor.fetchone() == (1,)
            slopes.execute("CALL damson.deploy('slope', 2)")
            assert set(cursor.fetchall()) == {(1,)}


def test_a_grant_taken_back_ends_scoring(slopes, connect, role):
    reader = connect(user=role("reader"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(SCORE)
    slopes.execute("CALL damson.grant_model('slope', 'reader')")
    assert one(reader, SCORE) == 1
    slopes.execute("CALL damson.revoke_model('slope', 'reader')")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(SCORE)


def test_parallel_workers_score_the_uncommitted_version_of_their_leader(slopes):
    for setting in ["parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"]:
        slopes.execute(f"SET {setting} = 0")
    slopes.execute("CREATE TABLE many AS SELECT i::float8 AS x FROM generate_series(1, 20000) i")
    slopes.execute("ANALYZE many")
    sql = "SELECT sum(round(damson.predict('slope', x) / x)) / count(*) FROM many"
    plan = "\n".join(row[0] for row in slopes.execute(f"EXPLAIN {sql}"))
    assert "Parallel Seq Scan" in plan
    slopes.execute("BEGIN")
    slopes.execute("CALL damson.deploy('slope', 2)")
    assert one(slopes, sql) == 2
    slopes.execute("ROLLBACK")
    assert one(slopes, sql) == 1


def test_a_standby_serves_what_was_replayed(slopes, server, database):
    folder = server.scratch / f"standby_{database}"
    server.program(
        "pg_basebackup", *address(slopes), "--pgdata", folder, "--write-recovery-conf", "--checkpoint", "fast",
        "--wal-method", "stream", as_server=True,
    )
    # The data folder includes `../settings.conf`. Then only the socket's folder tells the standby from its primary.
    shutil.copy(server.scratch.parent / "settings.conf", server.scratch)
    options = f"-c unix_socket_directories={server.scratch} -c listen_addresses= -c hot_standby=on"
    control = ["--pgdata", folder, "--wait", "--silent", "--log", server.scratch / f"{folder.name}.log"]
    server.program("pg_ctl", "start", *control, "--options", options, as_server=True)
    try:
        with server.connect(dbname=database, host=str(server.scratch)) as standby:
            assert one(standby, SCORE) == 1
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                standby.execute("CALL damson.deploy('slope', 2)")
            loop = Background(lambda: standby.execute(WATCH))
            time.sleep(0.3)
            slopes.execute("SET synchronous_commit = on")
            slopes.execute("CALL damson.deploy('slope', 2)")
            assert not isinstance(loop.result(), Exception)
            assert one(standby, SCORE) == 2
            slopes.execute("CALL damson.rollback('slope')")
            position = one(slopes, "SELECT pg_current_wal_flush_lsn()::text")
            for _ in range(500):
                if one(standby, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position):
                    break
                time.sleep(0.02)
            assert one(standby, SCORE) == 1
    finally:
        server.program("pg_ctl", "stop", *control[:4], "--mode", "immediate", as_server=True)
