"""Fixtures of the client tests. `make test` starts the server and tells where it is by the environment:

DAMSON_DSN        superuser's connection string, through the unix socket, database `postgres`
DAMSON_TCP_DSN    the same over loopback, which wants DAMSON_PASSWORD
DAMSON_TEMPLATE   a database that holds nothing but the extension
DAMSON_BINDIR     the server's programs; DAMSON_OS_USER, when set, is whom the server's ones must run as
DAMSON_SCRATCH    a folder that the server's user may write
DAMSON_DATA       the folder of the real data sets; unset on most machines
"""

import contextlib
import itertools
import os
import pathlib
import signal
import subprocess
import threading
import time

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

NUMBER = itertools.count()
MEASURED = []


def pytest_terminal_summary(terminalreporter):
    for line in MEASURED:
        terminalreporter.write_line(f"measured: {line}")


def one(connection, sql, *arguments):
    """The only value of a query."""
    return connection.execute(sql, arguments or None).fetchone()[0]


def train_shifted(connection, shift, model="m"):
    """Trains y = x + 1000 * shift, so that a score at 0 tells which version it came from. Gives the version."""
    source = f"SELECT i::float8 AS x, i + 1000 * {shift}::float8 AS y FROM generate_series(1, 50) i"
    sql = "SELECT version FROM damson.train(%s, %s, target => 'y', algorithm => 'linear', split => 'none')"
    return one(connection, sql, model, source)


def scored(connection, reference="m"):
    """The shift of the version that a reference means, by scoring with it."""
    return round(one(connection, "SELECT damson.predict(%s::text, 0.0)", reference)) / 1000


def wait_for(condition, what, seconds=60):
    """Waits until `condition()` holds and gives what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.01)
    raise AssertionError(f"waited {seconds} s for {what}")


def kill(connection, witness, connect):
    """Kills a connection's process, waits for the server to recover, and gives a new connection.

    The server ends all other sessions when it learns of the death: the witness is one of them.
    """
    os.kill(connection.info.backend_pid, signal.SIGKILL)

    def ended():
        try:
            witness.execute("SELECT 1")
        except psycopg.OperationalError:
            return True

    def connected():
        try:
            return connect()
        except psycopg.OperationalError:
            return None

    wait_for(ended, "the server to learn of the death")
    return wait_for(connected, "the server to recover")


class Background:
    """A statement in a thread of its own; `result()` gives what it returned, or the server's error."""

    def __init__(self, work):
        self.outcome = None
        self.ended = None
        self.thread = threading.Thread(target=self.run, args=(work,))
        self.thread.start()

    def run(self, work):
        try:
            self.outcome = work()
        except psycopg.Error as error:
            self.outcome = error
        self.ended = time.monotonic()

    def result(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.outcome


class Chaos:
    """Sessions that work until the time is up, or one meets what it did not expect."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.end = time.monotonic() + seconds
        self.counts = {}
        self.unexpected = []
        self.lock = threading.Lock()

    def loop(self, name, step, expected):
        while time.monotonic() < self.end and not self.unexpected:
            try:
                step()
                outcome = "ok"
            except expected as error:
                outcome = type(error).__name__
            except Exception as error:  # Of any kind: the test shows it.
                self.unexpected.append(f"{name}: {type(error).__name__} {error}")
                return
            with self.lock:
                key = f"{name} {outcome}"
                self.counts[key] = self.counts.get(key, 0) + 1

    def run(self, plans, connect):
        """Each plan in a thread and a session of its own: a name, what makes a step of a session, the errors it expects.
        Gives how often each came to what."""
        threads = [
            threading.Thread(target=self.loop, args=(name, make(connect()), expected)) for name, make, expected in plans
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(self.seconds + 120)
            assert not thread.is_alive(), "a session hangs"
        assert not self.unexpected, "\n".join(self.unexpected[:5])
        return self.counts

    def __str__(self):
        return f"{self.seconds:.0f} s of chaos: " + ", ".join(f"{k} {v}" for k, v in sorted(self.counts.items()))


def address(connection):
    """What the server's programs need to reach a connection's server."""
    info = connection.info
    return ["--host", info.host, "--port", info.port, "--username", info.user]


class Server:
    """The private server under test."""

    dsn = os.environ.get("DAMSON_DSN", "")
    tcp_dsn = os.environ.get("DAMSON_TCP_DSN", "")
    password = os.environ.get("DAMSON_PASSWORD", "")
    bindir = pathlib.Path(os.environ.get("DAMSON_BINDIR", "."))
    scratch = pathlib.Path(os.environ.get("DAMSON_SCRATCH", "."))
    major = int(os.environ.get("DAMSON_PG_MAJOR", "0"))
    template = os.environ.get("DAMSON_TEMPLATE", "")
    os_user = os.environ.get("DAMSON_OS_USER")

    def connect(self, dbname="postgres", autocommit=True, **settings):
        """A new connection through the socket; `user=` for another role."""
        return psycopg.connect(make_conninfo(self.dsn, dbname=dbname, **settings), autocommit=autocommit)

    def program(self, name, *arguments, as_server=False, check=True):
        """Runs one of the server's programs (pg_dump, pg_basebackup, pg_ctl ...) and returns its stdout.

        `as_server` runs it as the server's user, which whatever touches a data folder needs. Its output
        goes through files: a server that it starts would keep a pipe open.
        """
        user = self.os_user if as_server else None
        log = self.scratch / f"{pathlib.Path(name).name}.{next(NUMBER)}.log"
        with open(log, "w+b") as out:
            done = subprocess.run(
                [str(self.bindir / name), *map(str, arguments)],
                stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                cwd=self.scratch, user=user, group=user, extra_groups=[] if user else None,
            )
        text = log.read_text(errors="replace")
        if check and done.returncode != 0:
            raise AssertionError(f"{name} failed with {done.returncode}:\n{text}")
        return text

    def create_database(self, template=None):
        """A new database with the extension in it; the caller drops it."""
        name = f"client_{next(NUMBER)}"
        with self.connect() as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template or self.template}")
        return name

    def drop_database(self, name):
        with self.connect() as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    @contextlib.contextmanager
    def copied(self, connection, *options):
        """Dumps the connection's database and restores it under another name, which it gives; dropped afterwards.
        `options` are pg_restore's; of a plain dump, which psql restores, `--format=plain`."""
        plain = "--format=plain" in options
        copy = f"client_{next(NUMBER)}"
        dump = self.scratch / f"{copy}.dump"
        kind = "plain" if plain else "custom"
        text = self.program("pg_dump", *address(connection), "--format", kind, "--file", dump, connection.info.dbname)
        assert "warning" not in text
        with self.connect() as admin:
            admin.execute(f"CREATE DATABASE {copy}")
        try:
            if plain:
                self.program("psql", *address(connection), "-v", "ON_ERROR_STOP=1", "--dbname", copy, "--file", dump)
            else:
                self.program("pg_restore", *address(connection), "--exit-on-error", *options, "--dbname", copy, dump)
            yield copy
        finally:
            self.drop_database(copy)


@pytest.fixture(scope="session")
def server():
    """The server under test."""
    if not Server.dsn:
        pytest.exit("these tests want a server: run `make test`, or `make test ONLY=name`", returncode=2)
    return Server()


@pytest.fixture
def database(server):
    """The name of a fresh database that holds the extension, dropped afterwards."""
    name = server.create_database()
    yield name
    server.drop_database(name)


@pytest.fixture
def connect(server, database):
    """A function that opens connections to the fresh database: `connect()`, `connect(user="alice")`."""
    opened = []

    def open_one(**settings):
        settings.setdefault("dbname", database)
        opened.append(server.connect(**settings))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.close()


@pytest.fixture
def db(connect):
    """One autocommit superuser connection to the fresh database."""
    return connect()


@pytest.fixture
def role(server):
    """A function that makes a login role, dropped with what it owns after the test."""
    made = []

    def make(name):
        with server.connect() as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN")
        made.append(name)
        return name

    yield make
    with server.connect() as admin:
        names = [row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE datallowconn AND datname LIKE 'client_%'")]
    for name in made:
        for database in ["postgres", *names]:
            with server.connect(dbname=database) as admin:
                admin.execute(f"DROP OWNED BY {name} CASCADE")
        with server.connect() as admin:
            admin.execute(f"DROP ROLE {name}")


@pytest.fixture(scope="session")
def measured():
    """A function that notes a measurement, printed with the summary."""
    return MEASURED.append


@pytest.fixture(scope="session")
def data():
    """The folder of the real data sets; a test that wants it is skipped where there is none."""
    folder = os.environ.get("DAMSON_DATA")
    if not folder:
        pytest.skip("DAMSON_DATA is not set")
    return pathlib.Path(folder)
