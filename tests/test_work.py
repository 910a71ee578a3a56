"""Long work in a session: it can be stopped, it tells how far it is, it gives its memory back, and it reads only what
its user may read."""

import threading
import time

import psycopg
import pytest

#: k-means of many clusters from many starts: minutes of work, in thousands of short rounds.
LONG = """SELECT * FROM damson.train('long', 'points', algorithm => 'kmeans',
          params => '{"n_clusters": 300, "n_init": 1000, "max_iter": 100000, "tol": 0}')"""


def one(connection, sql, *arguments):
    return connection.execute(sql, arguments or None).fetchone()[0]


@pytest.fixture
def points(db):
    db.execute("""CREATE TABLE points AS SELECT random() AS a, random() AS b, random() AS c, random() AS d
                  FROM generate_series(1, 200000)""")


def works(watcher, pid):
    """What a session says that it works on, once it trains."""
    for _ in range(1000):
        name = one(watcher, "SELECT application_name FROM pg_stat_activity WHERE pid = %s", pid)
        if name.startswith("damson: train long, "):
            return name
        time.sleep(0.01)
    raise AssertionError(f"it never said that it trains: {name}")


class Training(threading.Thread):
    """A long training in a session of its own, that ends by an error; `ended` is when."""

    def __init__(self, connection):
        super().__init__()
        self.connection, self.error, self.ended = connection, None, None
        self.start()

    def run(self):
        try:
            self.connection.execute(LONG)
        except psycopg.Error as error:
            self.error = error
        self.ended = time.perf_counter()


def test_a_cancel_ends_a_training_at_once_and_leaves_nothing(connect, db, points):
    session = connect()
    pid, delays = session.info.backend_pid, []
    for _ in range(3):
        training = Training(session)
        works(db, pid)
        cancelled = time.perf_counter()
        db.execute("SELECT pg_cancel_backend(%s)", [pid])
        training.join(30)
        assert isinstance(training.error, psycopg.errors.QueryCanceled)
        delays.append(training.ended - cancelled)
        assert one(db, "SELECT application_name FROM pg_stat_activity WHERE pid = %s", pid) == ""
    # The best of three: other work on the machine is not the training's fault.
    assert min(delays) < 0.1, delays
    assert one(db, "SELECT count(*) FROM damson.models") == 0
    assert one(session, "SELECT 1") == 1
    version = one(session, "SELECT version FROM damson.train('long', 'points', algorithm => 'kmeans')")
    assert version == 1


def test_a_timeout_ends_a_training(connect, points):
    session = connect()
    session.execute("SET statement_timeout = '1500ms'")
    started = time.perf_counter()
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(LONG)
    assert time.perf_counter() - started < 3


def test_a_terminated_session_goes_at_once(connect, db, points):
    session = connect()
    pid = session.info.backend_pid
    training = Training(session)
    works(db, pid)
    db.execute("SELECT pg_terminate_backend(%s)", [pid])
    training.join(30)
    assert isinstance(training.error, psycopg.errors.AdminShutdown)
    for _ in range(500):
        if not one(db, "SELECT count(*) FROM pg_stat_activity WHERE pid = %s", pid):
            break
        time.sleep(0.01)
    else:
        raise AssertionError("the session is still there")


def test_notices_tell_how_far_it_is_unless_they_are_off(connect, db, points):
    session, heard = connect(), []
    session.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    session.execute("SET statement_timeout = '4s'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(LONG)
    assert heard and heard[0].startswith("train long: "), heard
    heard.clear()
    session.execute("SET damson.progress = off")
    with pytest.raises(psycopg.errors.QueryCanceled):
        session.execute(LONG)
    assert not heard


def test_memory_returns_to_the_system(connect, db):
    def resident(pid):
        with open(f"/proc/{pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("RssAnon:")) // 1024

    session = connect()
    train = "SELECT * FROM damson.train('m', 'SELECT i::float8 AS a, random() AS b, random() AS c FROM" \
        " generate_series(1, %s) i', algorithm => 'kmeans', params => '{\"max_iter\": 2}')"
    session.execute(train.replace("%s", "1000"))
    pid = session.info.backend_pid
    before = resident(pid)
    for _ in range(2):
        session.execute(train.replace("%s", "2000000"))
    # The rows alone are 46 MiB.
    assert resident(pid) - before < 24


def test_row_level_security_holds_for_a_source(connect, db, role):
    alice = role("work_alice")
    db.execute("CREATE TABLE orders AS SELECT i AS x, 2.0 * i AS y, CASE WHEN i <= 100 THEN 'work_alice' ELSE 'other' END AS owner"
               " FROM generate_series(1, 300) i")
    train = "SELECT train_rows FROM damson.train('mine', %s, target => 'y', algorithm => 'linear', features => '{x}', split => 'none')"
    session = connect(user=alice)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute(train, ["orders"])
    db.execute("GRANT SELECT ON orders TO work_alice")
    assert one(session, train, "orders") == 300
    db.execute("ALTER TABLE orders ENABLE ROW LEVEL SECURITY")
    db.execute("CREATE POLICY own ON orders USING (owner = current_user)")
    assert one(session, train, "orders") == 100
    assert one(session, train, "SELECT * FROM orders") == 100
