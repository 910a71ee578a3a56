"""The extension as a whole: made, moved and removed, over the connections that clients use."""

import os

import psycopg
import pytest


def test_library_and_extension_have_one_version(db):
    library, extension = db.execute(
        "SELECT damson.version(), extversion FROM pg_extension WHERE extname = 'damson'"
    ).fetchone()
    assert library == extension


def test_drop_leaves_nothing_and_create_brings_it_back(db):
    count = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'damson%'"
    before = db.execute(count).fetchone()[0]
    db.execute("DROP EXTENSION damson")
    owned = db.execute(
        "SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname LIKE 'damson%'"
    ).fetchone()[0]
    assert owned == 0
    db.execute("CREATE EXTENSION damson")
    assert db.execute(count).fetchone()[0] == before


def test_loopback_wants_the_password(server, database):
    with psycopg.connect(server.tcp_dsn, dbname=database, password=server.password) as connection:
        assert connection.execute("SELECT damson.version()").fetchone()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.tcp_dsn, dbname=database, password="wrong")


def test_servers_run_without_backtraces(db, server):
    """A backtrace on every error would cost more than the error: RUST_BACKTRACE stays unset."""
    pid = db.execute("SELECT pg_backend_pid()").fetchone()[0]
    with open(f"/proc/{pid}/environ", "rb") as file:
        names = [entry.split(b"=")[0] for entry in file.read().split(b"\0")]
    assert b"RUST_BACKTRACE" not in names
    assert os.path.basename(os.readlink(f"/proc/{pid}/exe")) == "postgres"
