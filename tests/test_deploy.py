"""What scores say of a deploy: in other sessions, prepared statements, cursors, functions, snapshots."""

import psycopg
import pytest
from conftest import one, scored, train_shifted

SCORE = "SELECT round(damson.predict('m', 0.0)) / 1000"

FUNCTION = f"""
CREATE FUNCTION score() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN RETURN ({SCORE}); END $$;
CREATE FUNCTION score_stable() RETURNS float8 LANGUAGE sql STABLE AS $$ {SCORE} $$;
CREATE FUNCTION score_assigned(m text) RETURNS float8 LANGUAGE plpgsql AS $$
DECLARE v float8; BEGIN v := damson.predict(m, 0.0); RETURN round(v) / 1000; END $$;
"""


@pytest.fixture
def model(db):
    """The first connection; the model `m` has versions 1 to 3, whose scores are their numbers."""
    assert [train_shifted(db, v) for v in (1, 2, 3)] == [1, 2, 3]
    db.execute(FUNCTION)
    return db


def ways(connection):
    """The score by every way that may keep something: text, prepared, functions."""
    found = {scored(connection)}
    for sql in [SCORE, "SELECT score()", "SELECT score_stable()", "SELECT score_assigned('m')"]:
        found.add(connection.execute(sql, prepare=True).fetchone()[0])
    assert len(found) == 1, found
    return found.pop()


def test_scores_follow_a_deploy_at_commit_and_not_before(model, connect):
    other = connect()
    assert (ways(model), ways(other)) == (1, 1)
    model.execute("BEGIN")
    model.execute("CALL damson.deploy('m', 2)")
    assert (ways(model), ways(other)) == (2, 1)
    model.execute("SAVEPOINT s")
    model.execute("CALL damson.deploy('m', 3)")
    assert (ways(model), ways(other)) == (3, 1)
    model.execute("ROLLBACK TO SAVEPOINT s")
    assert (ways(model), ways(other)) == (2, 1)
    model.execute("ROLLBACK")
    assert (ways(model), ways(other)) == (1, 1)
    model.execute("CALL damson.deploy('m', 3)")
    assert (ways(model), ways(other)) == (3, 3)
    model.execute("CALL damson.rollback('m')")
    assert (ways(model), ways(other)) == (1, 1)


def test_a_savepoint_of_a_subtransaction_that_fails_takes_its_deploy_back(model):
    model.execute("BEGIN")
    model.execute("""DO $$ BEGIN
        BEGIN CALL damson.deploy('m', 2); PERFORM score(); RAISE division_by_zero;
        EXCEPTION WHEN division_by_zero THEN NULL; END;
    END $$""")
    assert ways(model) == 1
    model.execute("COMMIT")
    assert ways(model) == 1


def test_one_function_sees_the_deploys_between_its_statements(model):
    model.execute("""CREATE FUNCTION story() RETURNS float8[] LANGUAGE plpgsql AS $$
        DECLARE a float8[]; v float8; BEGIN
            FOR i IN 1..3 LOOP
                CALL damson.deploy('m', i);
                v := damson.predict('m', 0.0);
                a := a || (round(v) / 1000);
            END LOOP;
            CALL damson.rollback('m');
            RETURN a || (round(damson.predict('m', 0.0)) / 1000);
        END $$""")
    assert one(model, "SELECT story()") == [1, 2, 3, 2]
    assert one(model, "SELECT story()") == [1, 2, 3, 2]


def test_an_open_cursor_keeps_its_version(model, connect):
    other = connect()
    other.execute("BEGIN")
    other.execute("DECLARE c CURSOR FOR SELECT round(damson.predict('m', i * 0.0)) / 1000 FROM generate_series(1, 500) i")
    assert one(other, "FETCH c") == 1
    model.execute("CALL damson.deploy('m', 2)")
    assert ways(other) == 2
    assert {row[0] for row in other.execute("FETCH 100 FROM c")} == {1}
    model.execute("CALL damson.drop_model('m')")
    assert {row[0] for row in other.execute("FETCH ALL FROM c")} == {1}
    other.execute("COMMIT")
    with pytest.raises(psycopg.errors.UndefinedObject):
        ways(other)


def test_a_cursor_opened_before_the_deploy_keeps_its_version_from_the_first_row_on(model, connect):
    other = connect()
    other.execute("BEGIN")
    other.execute("DECLARE c CURSOR FOR SELECT round(damson.predict('m', i * 0.0)) / 1000 FROM generate_series(1, 50) i")
    model.execute("CALL damson.deploy('m', 2)")
    assert ways(other) == 2
    assert {row[0] for row in other.execute("FETCH ALL FROM c")} == {1}
    other.execute("COMMIT")


def test_a_repeatable_read_snapshot_keeps_its_version(model, connect):
    other = connect()
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")
    model.execute("CALL damson.deploy('m', 3)")
    assert (ways(model), ways(other)) == (3, 1)
    model.execute("CALL damson.drop_model('m')")
    assert ways(other) == 1
    other.execute("COMMIT")
    with pytest.raises(psycopg.errors.UndefinedObject):
        scored(other)


def test_another_database_with_the_same_name_is_not_touched(model, server):
    name = server.create_database()
    try:
        with server.connect(dbname=name) as other:
            train_shifted(other, 7)
            assert scored(other) == 7
            model.execute("CALL damson.deploy('m', 2)")
            assert (scored(model), scored(other)) == (2, 7)
            other.execute("CALL damson.drop_model('m')")
            assert scored(model) == 2
    finally:
        server.drop_database(name)


def test_the_extension_can_be_made_anew_in_a_session_that_has_scored(model, connect):
    other = connect()
    sql = "SELECT damson.predict(%s::text, %s::float8)"

    def score(connection):
        return round(connection.execute(sql, ["m", 0], prepare=True).fetchone()[0]) / 1000

    assert (score(model), score(other)) == (1, 1)
    model.execute("DROP EXTENSION damson CASCADE")
    with pytest.raises((psycopg.errors.InvalidSchemaName, psycopg.errors.UndefinedFunction)):
        score(other)
    model.execute("CREATE EXTENSION damson")
    with pytest.raises(psycopg.errors.UndefinedObject, match='model "m" does not exist'):
        score(other)
    assert train_shifted(model, 5) == 1
    assert (score(model), score(other)) == (5, 5)


def test_a_database_with_models_can_be_dropped(server):
    name = server.create_database()
    with server.connect(dbname=name) as other:
        train_shifted(other, 1)
        assert scored(other) == 1
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {name}")
