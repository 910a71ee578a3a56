"""Dumps carry models to other databases, and to newer servers: they score there as they did here."""

import shutil
import socket

import psycopg
import pytest
from conftest import address, one, train_shifted

SCORES = """SELECT damson.predict('m', 0.5), damson.predict('m@champion', 0.5), damson.predict('m@1', 0.5),
    (SELECT string_agg(damson.probabilities('flowers', f)::text, ' ' ORDER BY f.id) FROM flowers f)"""


def fill(connection, reader):
    for shift in (1, 2, 3):
        train_shifted(connection, shift)
    connection.execute("""CREATE TABLE flowers AS SELECT i AS id, (i * 37 % 101)::float8 AS petal, 'k' || i % 3 AS kind,
        CASE WHEN i * 37 % 101 < 50 THEN 'no' ELSE 'yes' END AS label FROM generate_series(1, 60) i""")
    connection.execute("SELECT * FROM damson.train('flowers', 'flowers', 'label', 'logistic')")
    connection.execute("CALL damson.deploy('m', 2)")
    connection.execute("CALL damson.deploy('m', 3, 'champion')")
    connection.execute(f"CALL damson.grant_model('m', '{reader}')")
    connection.execute(f"GRANT USAGE ON SCHEMA public TO {reader}")
    connection.execute("CREATE VIEW scored AS SELECT id, damson.classify('flowers', f) FROM flowers f")


def check(restored, scores, reader):
    assert restored.execute(SCORES).fetchone() == scores
    assert one(restored, "SELECT count(*) FROM scored") == 60
    assert restored.execute("SELECT alias, version FROM damson.aliases WHERE model = 'm' ORDER BY 1").fetchall() == [
        ("champion", 3), ("production", 2)]
    restored.execute(f"SET ROLE {reader}")
    assert round(one(restored, "SELECT damson.predict('m', 0.0)")) == 2000
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        restored.execute("SELECT damson.classify('flowers', 1.0, 'k1')")
    restored.execute("RESET ROLE")
    restored.execute("CALL damson.rollback('m')")
    assert round(one(restored, "SELECT damson.predict('m', 0.0)")) == 1000
    assert train_shifted(restored, 4) == 4


def test_a_restored_database_scores_as_before(db, server, role):
    reader = role("dump_reader")
    fill(db, reader)
    scores = db.execute(SCORES).fetchone()
    with server.copied(db) as copy:
        with server.connect(dbname=copy) as restored:
            check(restored, scores, reader)
        # Over a database that has models of its own already.
        server.program(
            "pg_restore", *address(db), "--clean", "--if-exists", "--exit-on-error", "--single-transaction",
            "--dbname", copy, server.scratch / f"{copy}.dump",
        )
        with server.connect(dbname=copy) as restored:
            check(restored, scores, reader)
            restored.execute("DROP EXTENSION damson CASCADE")
            restored.execute("CREATE EXTENSION damson")
            assert train_shifted(restored, 9) == 1


@pytest.fixture
def older(server):
    """A connection to a server of PostgreSQL 15 with the extension, of its own; where the tests of 15 have left one."""
    home = server.scratch.parents[2] / "pg15" / "server"
    found = list(home.glob("**/bin/initdb"))
    if server.major <= 15 or not found or not list(home.glob("**/extension/damson.control")):
        pytest.skip("there is no older server with the extension beside this one")
    bindir, folder = found[0].parent, server.scratch / "older"
    folder.mkdir(mode=0o700)
    if server.os_user:
        shutil.chown(folder, server.os_user)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data = folder / "data"
    run = lambda name, *arguments: server.program(bindir / name, *arguments, as_server=True)
    run("initdb", "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "-D", data)
    options = f"-p {port} -k {folder} -c listen_addresses= -c fsync=off"
    run("pg_ctl", "start", "--wait", "-D", data, "-l", folder / "log", "-o", options)
    try:
        with psycopg.connect(host=str(folder), port=port, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute("CREATE EXTENSION damson")
            connection.bindir = bindir
            yield connection
    finally:
        run("pg_ctl", "stop", "--mode=immediate", "-D", data)
        shutil.rmtree(folder)


def test_an_older_server_s_models_score_the_same_here(db, server, role, older):
    reader = role("older_reader")
    older.execute(f"CREATE ROLE {reader}")
    fill(older, reader)
    scores = older.execute(SCORES).fetchone()
    dump = server.scratch / "older.sql"
    # By the older server's own pg_dump: a newer one of an earlier minor release may not know all that it has.
    server.program(older.bindir / "pg_dump", *address(older), "--clean", "--if-exists", "--file", dump, "postgres")
    server.program("psql", "-X", *address(db), "-v", "ON_ERROR_STOP=1", "--dbname", db.info.dbname, "--file", dump)
    check(db, scores, reader)
