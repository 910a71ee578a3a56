"""SQL objects and library that were not made for each other: an error that says what to do, where arguments that are not
there would be read."""

import psycopg
import pytest
from conftest import one, train_shifted

STALE = psycopg.errors.ObjectNotInPrerequisiteState
MESSAGE = "the SQL objects of extension damson in this database do not fit its library"
STAMP = "SELECT proname FROM pg_proc WHERE pronamespace = 'damson_catalog'::regnamespace AND proname ~ '^sql_[0-9a-f]{16}$'"


@pytest.fixture
def stamp(db):
    """The name of the function that says which library the SQL is for. Found without calling one of ours."""
    return one(db, STAMP)


def rename(connection, name, new_name):
    connection.execute(f"ALTER FUNCTION damson_catalog.{name}() RENAME TO {new_name}")


def refused(connection, sql):
    with pytest.raises(STALE, match=MESSAGE) as caught:
        connection.execute(sql)
    hint = "ALTER EXTENSION damson UPDATE; where that was done after this session began, connect again."
    assert caught.value.diag.message_hint == hint


CALLS = [
    "SELECT damson.version()",
    "SELECT * FROM damson.train('m', 'pg_class', 'relname')",
    "SELECT damson.predict('m', 1.0)",
    "CALL damson.deploy('m', 1)",
    "SELECT damson.fit('ridge', 1.0, i) FROM generate_series(1, 9) i",
]


def test_a_new_session_refuses_older_sql(db, connect, stamp):
    rename(db, stamp, "sql_0123456789abcdef")
    for sql in CALLS:
        # A session of its own for each: every function must be the first one called.
        session = connect()
        refused(session, sql)
        refused(session, sql)
        assert one(session, "SELECT 1") == 1
    session = connect()
    refused(session, CALLS[0])
    rename(db, "sql_0123456789abcdef", stamp)
    assert one(session, CALLS[0])


def test_an_old_session_refuses_newer_sql(db, connect, stamp):
    train_shifted(db, 1)
    session = connect()
    assert one(session, "SELECT damson.predict('m', 1.0)") == pytest.approx(1001)
    session.execute("PREPARE p AS SELECT damson.predict('m', 1.0)")
    session.execute("EXECUTE p")
    rename(db, stamp, "sql_0123456789abcdef")
    refused(session, "EXECUTE p")
    for sql in CALLS:
        refused(session, sql)
    # What shows tables alone does without the library.
    assert one(session, "SELECT count(*) FROM damson.versions") == 1
    rename(db, "sql_0123456789abcdef", stamp)
    assert one(session, "EXECUTE p") == pytest.approx(1001)


def test_the_guard_follows_the_transaction(db, stamp):
    with db.transaction():
        rename(db, stamp, "sql_0123456789abcdef")
        with pytest.raises(STALE), db.transaction():
            db.execute("SELECT damson.version()")
        db.execute("ALTER FUNCTION damson_catalog.sql_0123456789abcdef() RENAME TO " + stamp)
        assert one(db, "SELECT damson.version()")


def test_a_preloaded_library_is_guarded(db, connect, database, stamp):
    rename(db, stamp, "sql_0123456789abcdef")
    db.execute(f'ALTER DATABASE "{database}" SET session_preload_libraries = damson')
    for sql in CALLS:
        session = connect()
        assert one(session, "SELECT count(*) FROM generate_series(1, 9)") == 9
        refused(session, sql)
    rename(db, "sql_0123456789abcdef", stamp)
    assert one(session, CALLS[0])


def test_tables_can_be_dropped_while_the_update_waits(db, connect, stamp):
    """The event trigger fires for every table of the database, whoever drops it: it warns and lets go."""
    db.execute("CREATE TABLE homes AS SELECT i AS x, 2 * i AS y FROM generate_series(1, 50) i")
    db.execute("SELECT * FROM damson.train('m', 'homes', 'y', 'linear')")
    db.execute("CALL damson.deploy('m', 1)")
    old = connect()
    assert one(old, "SELECT damson.version()")
    rename(db, stamp, "sql_0123456789abcdef")
    for session in [connect(), old]:
        heard = []
        session.add_notice_handler(lambda notice: heard.append(notice.message_primary))
        session.execute("CREATE TABLE other (x int)")
        for sql in ["ALTER TABLE other ADD y int", "DROP TABLE other"]:
            session.execute(sql)
            assert len(heard) == 1 and heard[0].startswith(MESSAGE) and heard[0].endswith(
                "not looked after until ALTER EXTENSION damson UPDATE"), heard
            heard.clear()
        refused(session, CALLS[0])
        session.execute("SET damson.protect_sources = off; CREATE TABLE other (x int); DROP TABLE other")
        assert heard == []
    rename(db, "sql_0123456789abcdef", stamp)
    heard = []
    session = connect()
    session.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    session.execute("ALTER TABLE homes RENAME TO houses")
    assert len(heard) == 1 and "homes" in heard[0], heard


def test_a_stale_extension_can_be_made_anew(db, connect, stamp):
    rename(db, stamp, "sql_0123456789abcdef")
    session = connect()
    refused(session, CALLS[0])
    session.execute("DROP EXTENSION damson")
    session.execute("CREATE EXTENSION damson")
    assert one(session, CALLS[0])
    assert one(session, STAMP) == stamp
