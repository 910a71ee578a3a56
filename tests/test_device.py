"""Networks scored by the worker of a device, with the CPU in the device's place: batches of many sessions, and whatever
can go wrong between a session and the worker."""

import os
import pathlib
import signal
import threading
import time

import psycopg
import pytest
from conftest import Background, one, wait_for
from test_standby import standby  # noqa: F401, a fixture

SESSIONS = 32
PICTURES = """CREATE TABLE pictures AS
    SELECT i AS id, CASE WHEN i % 2 = 0 THEN 'left' ELSE 'right' END AS side,
           (SELECT string_agg(set_byte('\\x00', 0, CASE WHEN (k % 8 < 4) = (i % 2 = 0) THEN 200 + (i * 7 + k) % 50
                                                        ELSE (i * 13 + k * 3) % 60 END), '' ORDER BY k)
            FROM generate_series(0, 63) k) AS image
    FROM generate_series(1, 200) i;
    ALTER TABLE pictures ADD PRIMARY KEY (id)"""
TRAIN = """SELECT version FROM damson.train(%s, 'SELECT image, side FROM pictures', 'side', 'cnn', split => 'none',
    preprocess => '{"image": [8, 8, 1]}', params => '{"epochs": 2, "batch_size": 32}')"""
ONE = "SELECT damson.probability('side', 'left', image) FROM pictures WHERE id = %s"
ALL = "SELECT array_agg(damson.probability('side', 'left', image) ORDER BY id) FROM pictures"


@pytest.fixture
def pictures(db):
    """The scores of all pictures by a network, as the session's CPU gives them."""
    db.execute(PICTURES)
    one(db, TRAIN, "side")
    db.execute("SET damson.device = cpu")
    return one(db, ALL)


@pytest.fixture
def system(server):
    """A function that sets a setting of the whole server until the test is over."""
    changed = []

    def change(name, value):
        with server.connect() as admin:
            admin.execute("LOAD 'damson'")
            admin.execute(f"ALTER SYSTEM SET {name} = {value}")
            admin.execute("SELECT pg_reload_conf()")
        changed.append(name)

    yield change
    with server.connect() as admin:
        admin.execute("LOAD 'damson'")
        for name in changed:
            admin.execute(f"ALTER SYSTEM RESET {name}")
        admin.execute("SELECT pg_reload_conf()")


@pytest.fixture
def device(connect):
    """A function that connects with the worker's CPU as the device; what the server warns of is in `warnings`."""

    def open_one(**settings):
        connection = connect(**settings)
        connection.execute("SET damson.device = software")
        connection.warnings = []
        connection.add_notice_handler(lambda notice: connection.warnings.append(notice.message_primary))
        return connection

    return open_one


def found(connection):
    """What the view tells of the device."""
    columns = "state, pid, models, model_memory, requests, rows, batches, largest_batch, batch_sizes"
    row = connection.execute(f"SELECT {columns} FROM damson.devices WHERE device = 'software'").fetchone()
    return dict(zip(columns.split(", "), row))


def workers(connection):
    """The workers of this database's devices."""
    sql = """SELECT a.pid FROM pg_stat_activity a, pg_database d
        WHERE d.datname = current_database() AND a.backend_type = 'damson device software ' || d.oid"""
    return [pid for (pid,) in connection.execute(sql)]


def test_a_device_scores_as_the_session_does(pictures, device):
    session = device()
    assert one(session, ALL) == pictures
    told = found(session)
    assert (told["state"], told["models"], told["rows"]) == ("ready", 1, 200)
    # The plan's node sends what it collected, 16 rows first and then more.
    assert told["requests"] < 10
    assert "Device: software" in "\n".join(line for (line,) in session.execute("EXPLAIN " + ALL))
    assert session.warnings == []


def test_sessions_are_batched_and_lose_nothing_when_the_worker_is_ended(db, pictures, device, system):
    system("damson.device_latency", 20_000)
    sessions = [device() for _ in range(SESSIONS)]
    before = one(sessions[0], ONE, 1), found(sessions[0])
    assert before[0] == pictures[0]
    stop, wrong, answered = threading.Event(), [], [0] * SESSIONS

    def ask(number):
        session = sessions[number]
        while not stop.is_set():
            row = (number * 31 + answered[number]) % 200
            score = one(session, ONE, row + 1)
            if score != pictures[row]:
                wrong.append((number, row, score))
            answered[number] += 1

    threads = [Background(lambda number=number: ask(number)) for number in range(SESSIONS)]
    largest, pids = [], set()

    def batched():
        told = found(db)
        return told["state"] == "ready" and told["largest_batch"] > 8 and told["pid"] not in pids and told

    db.execute("SET damson.device = software")
    try:
        for round in range(3):
            told = wait_for(batched, "a batch of more than 8")
            largest.append(told["largest_batch"])
            pids.add(told["pid"])
            if round < 2:
                assert one(db, "SELECT pg_terminate_backend(%s)", told["pid"])
                done = list(answered)
                wait_for(lambda: all(a > b + 2 for a, b in zip(answered, done)), "all sessions to go on")
    finally:
        stop.set()
    outcomes = [thread.result() for thread in threads]
    assert [o for o in outcomes if o is not None] == []
    assert wrong == []
    assert len(pids) == 3 and min(largest) > 8
    assert min(answered) > 5
    assert any("died" in w for s in sessions for w in s.warnings)


@pytest.mark.parametrize("ends", ["cancel", "timeout", "terminate"])
def test_who_asks_can_be_ended_while_the_worker_is_busy(db, pictures, device, ends):
    session, other = device(), device()
    assert one(session, ONE, 1) == pictures[0]
    pid, asking = found(session)["pid"], session.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        if ends == "timeout":
            session.execute("SET statement_timeout = '300ms'")
        work = Background(lambda: one(session, ONE, 2))
        waits = "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = %s"
        wait_for(lambda: one(db, waits, asking), "the session to wait")
        begun = time.monotonic()
        if ends == "cancel":
            one(db, "SELECT pg_cancel_backend(%s)", asking)
        elif ends == "terminate":
            one(db, "SELECT pg_terminate_backend(%s)", asking)
        outcome = work.result()
        assert work.ended - begun < 2
        expected = psycopg.errors.AdminShutdown if ends == "terminate" else psycopg.errors.QueryCanceled
        assert isinstance(outcome, (expected, psycopg.OperationalError)), outcome
    finally:
        os.kill(pid, signal.SIGCONT)
    assert one(other, ALL) == pictures
    if ends != "terminate":
        session.execute("SET statement_timeout = 0")
        assert one(session, ALL) == pictures
        assert session.warnings == []
    assert found(other)["pid"] == pid


def test_a_worker_that_dies_with_a_request_leaves_it_to_the_session(db, pictures, device):
    session = device()
    assert one(session, ONE, 1) == pictures[0]
    pid = found(session)["pid"]
    os.kill(pid, signal.SIGSTOP)
    work = Background(lambda: one(session, ONE, 2))
    waits = "SELECT wait_event = 'Extension' FROM pg_stat_activity WHERE pid = %s"
    wait_for(lambda: one(db, waits, session.info.backend_pid), "the session to wait")
    one(db, "SELECT pg_terminate_backend(%s)", pid)
    os.kill(pid, signal.SIGCONT)
    assert work.result() == pictures[1]
    assert session.warnings == ["networks are scored by the CPU: the worker of the device died"]

    def recovered():
        assert one(session, ONE, 3) == pictures[2]
        told = found(session)
        return told["pid"] != pid and told["requests"]

    wait_for(recovered, "another worker")
    assert len(session.warnings) == 1


def test_a_worker_ends_when_it_is_idle_and_another_one_starts(db, pictures, device, system):
    system("damson.device_idle", 1)
    session = device()
    assert one(session, ONE, 1) == pictures[0]
    (first,) = workers(db)
    wait_for(lambda: not workers(db), "the worker to end")
    assert one(session, ALL) == pictures
    assert workers(db) not in ([], [first])
    assert session.warnings == []


def test_a_database_can_be_dropped_and_has_a_worker_of_its_own(server, pictures, device, database):
    session = device()
    assert one(session, ONE, 1) == pictures[0]
    name = server.create_database()
    with server.connect(dbname=name) as other:
        other.execute(PICTURES)
        one(other, TRAIN, "side")
        other.execute("SET damson.device = software")
        assert one(other, "SELECT count(damson.classify('side', image)) FROM pictures") == 200
        assert found(other)["pid"] != found(session)["pid"]
        (pid,) = workers(other)
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {name}")
        assert one(admin, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid) == 1
        one(admin, "SELECT pg_terminate_backend(%s)", pid)
    assert one(session, ALL) == pictures


def test_a_standby_has_a_worker_of_its_own(db, pictures, standby):  # noqa: F811
    reader = standby()
    warnings = []
    reader.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    reader.execute("SET damson.device = software")
    assert one(reader, "SELECT pg_is_in_recovery()")
    assert one(reader, ALL) == pictures
    assert found(reader)["rows"] == 200
    assert warnings == []


def test_no_driver_means_the_cpu_and_one_warning(pictures, device):
    if pathlib.Path("/dev/nvidiactl").exists():
        pytest.skip("this machine has a GPU")
    session = device()
    session.execute("SET damson.device = cuda")
    assert one(session, ALL) == pictures
    assert one(session, ALL) == pictures
    assert session.warnings == ["networks are scored by the CPU: no CUDA driver found"]
    sql = "SELECT state, reason FROM damson.devices WHERE device = 'cuda'"
    assert session.execute(sql).fetchone() == ("none", "no CUDA driver found")
    session.execute("SET damson.device = auto")
    assert one(session, ALL) == pictures
    assert session.execute(sql).fetchone() == ("none", "the system knows no GPU")
    assert len(session.warnings) == 1


def test_memory_is_capped(db, device, system):
    system("damson.device_memory", "'1MB'")
    db.execute("CREATE TABLE numbers AS SELECT i AS x, i % 7 AS y FROM generate_series(1, 50) i")
    sql = """SELECT version FROM damson.train(%s, 'SELECT x, y::float8 AS y FROM numbers', 'y', 'cnn', split => 'none',
        params => %s)"""

    def train(name, units):
        layers = ", ".join(f'{{"type": "dense", "units": {units}}}, {{"type": "relu"}}' for _ in range(2))
        one(db, sql, name, f'{{"epochs": 1, "layers": [{layers}]}}')

    for name in ("a", "b"):
        train(name, 384)
    train("large", 1024)
    score = "SELECT sum(damson.predict('{}', x)) FROM numbers"
    by_cpu = {name: one(db, score.format(name)) for name in ("a", "b", "large")}
    session = device()
    for name in ("a", "b", "a"):
        assert one(session, score.format(name)) == by_cpu[name]
        told = found(session)
        assert told["models"] == 1 and 0 < told["model_memory"] <= 1 << 20
    assert session.warnings == []
    assert one(session, score.format("large")) == by_cpu["large"]
    assert len(session.warnings) == 1 and "damson.device_memory is 1048576" in session.warnings[0]
    assert one(session, score.format("large")) == by_cpu["large"]
    assert one(session, score.format("b")) == by_cpu["b"]
    assert len(session.warnings) == 1


def test_a_model_in_the_device_is_still_its_owners(db, pictures, device, role):
    session = device()
    assert one(session, ALL) == pictures
    db.execute("GRANT SELECT ON pictures TO PUBLIC")
    stranger = device(user=role("device_stranger"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        one(stranger, ALL)
    assert stranger.execute("SELECT models FROM damson.devices WHERE device = 'software'").fetchone() == (1,)
    db.execute("CALL damson.grant_model('side', 'device_stranger')")
    assert one(stranger, ALL) == pictures
    db.execute("CALL damson.drop_model('side')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        one(stranger, ALL)


def test_parallel_plans_score_by_the_device(db, pictures, device):
    session = device()
    session.execute("ALTER TABLE pictures SET (parallel_workers = 2)")
    for setting in ("parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0"):
        session.execute(f"SET {setting}")
    sql = "SELECT sum(damson.probability('side', 'left', image)) FROM pictures"
    assert "Parallel" in str(session.execute(f"EXPLAIN {sql}").fetchall())
    assert one(session, sql) == pytest.approx(sum(pictures), rel=1e-12)
    assert found(session)["rows"] == 200
