"""Fixtures of the client tests. `make test` starts the server and tells where it is by the environment:

DAMSON_DSN        superuser's connection string, through the unix socket, database `postgres`
DAMSON_TCP_DSN    the same over loopback, which wants DAMSON_PASSWORD
DAMSON_TEMPLATE   a database that holds nothing but the extension
DAMSON_BINDIR     the server's programs; DAMSON_OS_USER, when set, is whom the server's ones must run as
DAMSON_SCRATCH    a folder that the server's user may write
DAMSON_DATA       the folder of the real data sets; unset on most machines
"""

import itertools
import os
import pathlib
import subprocess

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

NUMBER = itertools.count()


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
        log = self.scratch / f"{name}.{next(NUMBER)}.log"
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
def data():
    """The folder of the real data sets; a test that wants it is skipped where there is none."""
    folder = os.environ.get("DAMSON_DATA")
    if not folder:
        pytest.skip("DAMSON_DATA is not set")
    return pathlib.Path(folder)
