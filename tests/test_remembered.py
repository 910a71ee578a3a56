"""What a session remembers of references between statements must never outlive what it was read from."""

import psycopg
import pytest
from conftest import one, scored, train_shifted


@pytest.fixture
def model(db):
    """The first connection; the model `m` has versions 1 to 3, whose scores are their numbers."""
    assert [train_shifted(db, v) for v in (1, 2, 3)] == [1, 2, 3]
    return db


def test_an_answer_of_an_old_snapshot_does_not_serve_a_newer_one(model, connect):
    other = connect()
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")
    model.execute("CALL damson.deploy('m', 3)")
    assert (scored(other), scored(other)) == (1, 1)
    other.execute("COMMIT")
    assert scored(other) == 3


def test_an_answer_of_a_new_snapshot_does_not_serve_an_older_one(model, connect):
    other = connect()
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("DECLARE c CURSOR FOR SELECT round(damson.predict('m', i * 0.0)) / 1000 FROM generate_series(1, 5) i")
    other.execute("COMMIT")
    assert (scored(other), scored(other)) == (1, 1)
    other.execute("BEGIN")
    other.execute("DECLARE c CURSOR FOR SELECT round(damson.predict('m', i * 0.0)) / 1000 FROM generate_series(1, 5) i")
    other.execute("CALL damson.deploy('m', 2)")
    assert scored(other) == 2
    assert {row[0] for row in other.execute("FETCH ALL FROM c")} == {1}
    assert scored(other) == 2
    other.execute("ROLLBACK")
    assert scored(other) == 1


def test_an_answer_of_a_transaction_leaves_with_it(model, connect):
    other = connect()
    for end, expected in (("ROLLBACK", 1), ("COMMIT", 2)):
        model.execute("BEGIN")
        model.execute("CALL damson.deploy('m', 2)")
        assert (scored(model), scored(model), scored(other)) == (2, 2, 1)
        model.execute("SAVEPOINT s")
        model.execute("CALL damson.deploy('m', 3)")
        assert (scored(model), scored(model), scored(other)) == (3, 3, 1)
        model.execute("ROLLBACK TO SAVEPOINT s")
        assert (scored(model), scored(model), scored(other)) == (2, 2, 1)
        model.execute(end)
        assert (scored(model), scored(other)) == (expected, expected)


def test_rows_that_moved_are_found_again_and_places_used_anew_are_not_believed(model, connect):
    other = connect()
    assert (scored(other), scored(other, "m@2")) == (1, 2)
    for table in ("models", "versions", "aliases"):
        model.execute(f"VACUUM FULL damson_catalog.{table}")
    assert (scored(other), scored(other, "m@2")) == (1, 2)
    # A model of the same name takes the places of the first one's rows.
    model.execute("CALL damson.drop_model('m')")
    for table in ("models", "versions", "aliases"):
        model.execute(f"VACUUM damson_catalog.{table}")
    with pytest.raises(psycopg.errors.UndefinedObject):
        scored(other)
    for shift in (7, 8):
        train_shifted(model, shift)
    assert (scored(other), scored(other, "m@2")) == (7, 8)
    model.execute("CALL damson.rename_model('m', 'n')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        scored(other)
    assert scored(other, "n") == 7


def test_a_right_that_was_taken_away_is_not_remembered(model, connect, role):
    bob, group = role("bob_remembers"), role("group_remembers")
    session = connect(user=bob)
    score = "SELECT round(damson.predict('m', 0.0)) / 1000"
    model.execute(f"CALL damson.grant_model('m', '{bob}')")
    assert (one(session, score), one(session, score)) == (1, 1)
    # A snapshot that still sees the grant may use it; what it found must not serve the next statement.
    session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    session.execute("SELECT 1")
    model.execute(f"CALL damson.revoke_model('m', '{bob}')")
    assert one(session, score) == 1
    session.execute("COMMIT")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        one(session, score)
    model.execute(f"CALL damson.grant_model('m', '{group}')")
    model.execute(f"GRANT {group} TO {bob}")
    assert (one(session, score), one(session, score)) == (1, 1)
    model.execute(f"REVOKE {group} FROM {bob}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        one(session, score)


def test_users_of_one_session_have_answers_of_their_own(model, role):
    bob = role("bob_shares")
    assert scored(model) == 1
    model.execute(f"SET ROLE {bob}")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        scored(model)
    model.execute("RESET ROLE")
    assert scored(model) == 1


def test_a_model_that_left_the_cache_is_loaded_again(model):
    model.execute("SET damson.cache_memory = 0")
    assert (scored(model), scored(model, "m@3"), scored(model)) == (1, 3, 1)
