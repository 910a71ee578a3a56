"""Long trainings that are ended from outside: how fast, and what they leave behind."""

import os
import random
import socket
import time

import psycopg
import pytest
from conftest import Background, one, wait_for

# Noisy machines: what the tests refuse is far above the 100 ms that is the goal; the summary shows what was measured.
PATIENCE = 2.0
TRIES = 3
ROWS = 300_000

NUMBERS = ", ".join(f"sin(i * 0.37 * {k})::real AS x{k}" for k in range(1, 13))
FEATURES = ", ".join(f"x{k}" for k in range(1, 13))
TABLE = f"""CREATE TABLE big AS SELECT {NUMBERS}, cos(i * 0.11)::real AS y, 'c' || i % 2 AS yes, 'c' || i % 5 AS class
    FROM generate_series(1, {ROWS}) i"""
IMAGES = """CREATE TABLE images AS SELECT 'c' || i % 3 AS class,
    ARRAY(SELECT sin(i * 0.3 + k)::real FROM generate_series(1, 784) k) AS pixels FROM generate_series(1, 1500) i"""

# Each algorithm on work that lasts minutes: what learns in one pass is cross-validated.
LONG = {
    "linear": ("y", '{}', "folds => 100"),
    "ridge": ("y", '{}', "folds => 100"),
    "logistic": ("yes", '{"max_iter": 100000, "tol": 1e-14}', "folds => 100"),
    "multinomial": ("class", '{"max_iter": 100000, "tol": 1e-14}', "folds => 100"),
    "kmeans": (None, '{"n_clusters": 200, "n_init": 1000}', "split => 'none'"),
    "kmeans by mini-batches": (None, '{"n_clusters": 200, "n_init": 1000, "batch_size": 1000}', "split => 'none'"),
    "boosting": ("class", '{"n_estimators": 100000}', "split => 'none'"),
    "cnn": ("class", '{"epochs": 10000, "shape": [28, 28, 1], "batch_size": 2048}', "split => 'none'"),
}


@pytest.fixture(scope="module")
def database(server):
    """A database with a large table, for all tests of this file."""
    name = server.create_database()
    with server.connect(dbname=name) as connection:
        connection.execute(TABLE)
        connection.execute(IMAGES)
    yield name
    server.drop_database(name)


def long_training(algorithm, model="m"):
    target, params, more = LONG[algorithm]
    columns = ("pixels" if algorithm == "cnn" else FEATURES) + (f", {target}" if target else "")
    target = f"'{target}'" if target else "NULL"
    source = f"'SELECT {columns} FROM {'images' if algorithm == 'cnn' else 'big'}'"
    return f"SELECT * FROM damson.train('{model}', {source}, {target}, '{algorithm.split()[0]}', '{params}', {more})"


def has_begun(watcher, pid):
    """Whether the rows are read and the learning has begun."""
    return one(watcher, "SELECT count(*) FROM damson.progress WHERE pid = %s", pid) == 1


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def own_memory(pid):
    """Megabytes of a process that are its own, so without the server's shared buffers."""
    with open(f"/proc/{pid}/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("RssAnon"))


def registered(connection):
    tables = ["models", "versions", "runs", "artifacts", "metrics", "deployments", "aliases"]
    return [one(connection, f"SELECT count(*) FROM damson_catalog.{table}") for table in tables]


def begin(watcher, session, sql):
    """Begins a training; gives it once the rows are read and the learning goes on."""
    work = Background(lambda: session.execute(sql))
    wait_for(lambda: has_begun(watcher, session.info.backend_pid) or work.ended, "the training to begin")
    assert not work.ended, work.outcome
    return work


def end_from_outside(session, watcher, sql, function):
    """Begins a training, ends it at a chance moment, and gives what it raised and after how many seconds."""
    pid = session.info.backend_pid
    work = begin(watcher, session, sql)
    time.sleep(random.random() * 0.4)
    assert not work.ended, f"it ended before it could be cancelled: {work.outcome}"
    clock = time.monotonic()
    assert one(watcher, f"SELECT {function}(%s)", pid)
    return work.result(), work.ended - clock


def shown(name, seconds):
    seconds = sorted(seconds)
    ms = [f"{s * 1000:.0f}" for s in seconds]
    return f"{name}: median {ms[len(ms) // 2]} ms, most {ms[-1]} ms of {len(ms)}"


@pytest.mark.parametrize("algorithm", LONG)
def test_cancel_ends_a_training_at_once_and_leaves_nothing(connect, measured, algorithm):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    pid = session.info.backend_pid
    session.execute("SELECT * FROM damson.models")
    before, threads_before, memory_before = registered(watcher), threads(pid), own_memory(pid)
    taken = []
    for _ in range(TRIES):
        error, seconds = end_from_outside(session, watcher, long_training(algorithm), "pg_cancel_backend")
        assert isinstance(error, psycopg.errors.QueryCanceled), error
        assert threads(pid) == threads_before
        taken.append(seconds)
    measured(shown(f"cancel of {algorithm}", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == before
    assert not has_begun(watcher, pid)
    grown = own_memory(pid) - memory_before
    measured(f"memory kept after {TRIES} cancelled trainings of {algorithm}: {grown:.0f} MB")
    assert grown < 40
    assert one(session, "SELECT 1") == 1


def test_cancel_ends_a_training_by_group_at_once_and_leaves_nothing(connect, measured):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    pid = session.info.backend_pid
    session.execute("SELECT * FROM damson.models")
    before, threads_before = registered(watcher), threads(pid)
    source = f"SELECT class, yes, {FEATURES} FROM big"
    for params, more in [('{"n_estimators": 100000}', ""), ('{"n_estimators": 100000}', ", unknown_group => 'global'")]:
        sql = f"SELECT * FROM damson.train('m', '{source}', 'yes', 'boosting', '{params}', group_by => '{{class}}', split => 'none'{more})"
        taken = []
        for _ in range(TRIES):
            error, seconds = end_from_outside(session, watcher, sql, "pg_cancel_backend")
            assert isinstance(error, psycopg.errors.QueryCanceled), error
            assert threads(pid) == threads_before
            taken.append(seconds)
        measured(shown(f"cancel of boosting by group{more}", taken))
        assert max(taken) < PATIENCE
    assert registered(watcher) == before
    assert one(session, "SELECT 1") == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_cancel_ends_a_fit_as_an_aggregate(connect, measured, workers):
    watcher, session, taken = connect(), connect(options="-c client_min_messages=warning"), []
    session.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    session.execute("SELECT set_config('max_parallel_workers_per_gather', %s, false)", [str(workers)])
    sql = f"SELECT class, damson.fit_with('boosting', '{{\"n_estimators\": 100000}}', yes, {FEATURES}) FROM big GROUP BY class"
    for _ in range(TRIES):
        work = Background(lambda: session.execute(sql))
        # Among the first moments are those in which rows are collected, among the last those of the learning.
        time.sleep(0.1 + random.random() * 2)
        assert not work.ended, work.outcome
        clock = time.monotonic()
        assert one(watcher, "SELECT pg_cancel_backend(%s)", session.info.backend_pid)
        assert isinstance(work.result(), psycopg.errors.QueryCanceled), work.outcome
        taken.append(work.ended - clock)
        assert threads(session.info.backend_pid) == 1
    measured(shown(f"cancel of damson.fit, {workers} workers", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7
    # The session goes on, and no memory context of the aggregate is left half made.
    fitted = f"SELECT damson.fit('ridge', y, {FEATURES}) FROM (SELECT * FROM big LIMIT 100) few"
    assert one(session, fitted).startswith("damson:")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("algorithm", ["kmeans", "boosting"])
def test_cancel_ends_a_training_by_aggregate(connect, measured, algorithm, workers):
    watcher, session, taken = connect(), connect(options="-c client_min_messages=warning"), []
    session.execute("SET damson.runner = 'aggregate'; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0")
    session.execute("SELECT set_config('max_parallel_workers_per_gather', %s, false)", [str(workers)])
    for _ in range(TRIES):
        work = Background(lambda: session.execute(long_training(algorithm)))
        time.sleep(0.5 + random.random() * 0.4)
        assert not work.ended, work.outcome
        clock = time.monotonic()
        assert one(watcher, "SELECT pg_cancel_backend(%s)", session.info.backend_pid)
        assert isinstance(work.result(), psycopg.errors.QueryCanceled), work.outcome
        taken.append(work.ended - clock)
        assert threads(session.info.backend_pid) == 1
    measured(shown(f"cancel of {algorithm} by aggregate, {workers} workers", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7


@pytest.mark.parametrize("function", ["pg_cancel_backend", "pg_terminate_backend"])
def test_cancel_ends_a_reading_that_a_second_thread_helps(connect, measured, function):
    watcher, taken = connect(), []
    # Some 30 microseconds a row: the second thread begins after a second, the rows end much later.
    slow = "(SELECT count(*) FROM generate_series(1, 300) g WHERE g > x1) > 0"
    sql = f"SELECT damson.train('m', 'SELECT {FEATURES}, y FROM big WHERE {slow}', 'y', 'linear')"
    for _ in range(TRIES):
        session = connect(options="-c client_min_messages=warning -c damson.threads=2")
        session.execute("SELECT * FROM damson.models")
        pid = session.info.backend_pid
        work = Background(lambda: session.execute(sql))
        wait_for(lambda: threads(pid) == 2 or work.ended, "the second thread")
        assert not work.ended, work.outcome
        assert not has_begun(watcher, pid), "the rows are still read"
        time.sleep(random.random() * 0.4)
        clock = time.monotonic()
        assert one(watcher, f"SELECT {function}(%s)", pid)
        error = work.result()
        taken.append(work.ended - clock)
        if function == "pg_cancel_backend":
            assert isinstance(error, psycopg.errors.QueryCanceled), error
            assert threads(pid) == 1
            assert one(session, "SELECT 1") == 1
        else:
            assert isinstance(error, psycopg.errors.AdminShutdown), error
    measured(shown(f"{function} while rows are read on two threads", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7


def test_statement_timeout_ends_a_training(connect, measured):
    session = connect(options="-c client_min_messages=warning")
    late = []
    for timeout in [1.0, 1.2, 1.5]:
        session.execute(f"SET statement_timeout = '{timeout}s'")
        clock = time.monotonic()
        with pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"):
            session.execute(long_training("boosting"))
        late.append(time.monotonic() - clock - timeout)
    measured(shown("statement_timeout of boosting, lateness", late))
    assert max(late) < PATIENCE
    assert registered(connect()) == [0] * 7


def test_terminate_ends_a_training_and_its_process(connect, measured):
    watcher, taken = connect(), []
    for _ in range(TRIES):
        session = connect()
        pid = session.info.backend_pid
        error, seconds = end_from_outside(session, watcher, long_training("boosting"), "pg_terminate_backend")
        assert isinstance(error, psycopg.OperationalError), error
        wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the process to end", PATIENCE)
        taken.append(seconds)
    measured(shown("terminate of boosting", taken))
    assert max(taken) < PATIENCE
    assert registered(watcher) == [0] * 7
    locks = "SELECT count(*) FROM pg_locks WHERE pid <> pg_backend_pid() AND database IS NOT NULL AND relation IN" \
            " (SELECT oid FROM pg_class WHERE relnamespace = 'damson_catalog'::regnamespace)"
    assert one(watcher, locks) == 0


def test_a_client_that_goes_away_ends_its_training(connect):
    """As a notebook does whose kernel is stopped."""
    watcher, session = connect(), connect()
    if one(watcher, "SHOW server_version_num").startswith("13"):
        pytest.skip("client_connection_check_interval is of PostgreSQL 14")
    session.execute("SET client_connection_check_interval = '100ms'")
    pid = session.info.backend_pid
    begin(watcher, session, long_training("boosting"))
    with socket.socket(fileno=os.dup(session.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the process to end", 10)
    assert registered(watcher) == [0] * 7


def test_cancelled_and_failed_trainings_burn_no_number(connect):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    sql = "SELECT version FROM damson.train('n', 'SELECT x1, y FROM big LIMIT 1000', 'y', 'linear')"
    assert one(session, sql) == 1
    error, _ = end_from_outside(session, watcher, long_training("linear", "n"), "pg_cancel_backend")
    assert isinstance(error, psycopg.errors.QueryCanceled)
    with pytest.raises(psycopg.Error, match="no column"):
        session.execute(sql.replace("'y'", "'nothing'"))
    session.execute("BEGIN")
    assert one(session, sql) == 2
    session.execute("SAVEPOINT s")
    assert one(session, sql) == 3
    session.execute("ROLLBACK TO s")
    assert one(session, sql) == 3
    session.execute("ROLLBACK")
    assert [one(session, sql), one(session, sql)] == [2, 3]
    versions = watcher.execute("SELECT version FROM damson.versions WHERE model = 'n' ORDER BY 1").fetchall()
    assert versions == [(1,), (2,), (3,)]
    assert one(watcher, "SELECT count(*) FROM damson.runs WHERE model = 'n'") == 3
    session.execute("CALL damson.drop_model('n')")
    assert registered(watcher) == [0] * 7


def test_a_cancel_inside_an_exception_block_leaves_the_session_as_it_was(connect):
    watcher, session = connect(), connect(options="-c client_min_messages=warning")
    settings = "SELECT current_user, current_setting('search_path'), current_setting('transaction_read_only')," \
               " current_setting('max_parallel_workers_per_gather'), current_setting('synchronize_seqscans')"
    before = session.execute(settings).fetchone()
    body = long_training("boosting").replace("SELECT *", "PERFORM", 1)
    sql = f"DO $do$ BEGIN {body}; EXCEPTION WHEN query_canceled THEN CREATE TABLE caught (); END $do$"
    session.execute("BEGIN")
    work = begin(watcher, session, sql)
    assert one(watcher, "SELECT pg_cancel_backend(%s)", session.info.backend_pid)
    assert not isinstance(work.result(), psycopg.Error)
    assert session.execute(settings).fetchone() == before
    session.execute("COMMIT")
    assert one(session, "SELECT count(*) FROM caught") == 0
    session.execute("DROP TABLE caught")
    assert threads(session.info.backend_pid) == 1
