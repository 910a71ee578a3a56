"""Functions and views made for models: other roles, traps, dumps, and clients that know no "any"."""

import psycopg
import pytest
from conftest import one

DENIED = psycopg.errors.InsufficientPrivilege
ROWS = "SELECT i * 37 % 101 AS size, 'z' || i % 4 AS zip, 1 + i % 5 AS rooms, 2.5 * (i * 37 % 101) + i % 5 AS price FROM generate_series(1, 200) i"


@pytest.fixture
def alice(db, connect, role):
    """A connection of a role that owns the model price (version 1 of size and zip, 2 of zip and rooms) and the table homes."""
    role("scorer_alice")
    db.execute("CREATE SCHEMA hers AUTHORIZATION scorer_alice; GRANT USAGE ON SCHEMA hers TO PUBLIC")
    connection = connect(user="scorer_alice")
    connection.execute("SET search_path = hers")
    connection.execute(f"CREATE TABLE homes AS {ROWS}")
    for columns in ("size, zip", "zip, rooms"):
        connection.execute("SELECT damson.train('price', %s, 'price', 'ridge')", [f"SELECT {columns}, price FROM homes"])
    return connection


@pytest.fixture
def bob(db, connect, role, alice):
    """A connection of a role that may score with the model, with a schema of its own."""
    role("scorer_bob")
    db.execute("CREATE SCHEMA his AUTHORIZATION scorer_bob; GRANT USAGE ON SCHEMA his TO PUBLIC")
    alice.execute("CALL damson.grant_model('price', 'scorer_bob')")
    connection = connect(user="scorer_bob")
    connection.execute("SET search_path = his")
    return connection


def owner(connection, function):
    return one(connection, "SELECT proowner::regrole::text FROM pg_proc WHERE oid = %s::regproc", function)


def test_who_calls_a_function_or_reads_a_view_needs_the_model(db, alice, connect, role):
    role("scorer_carol")
    carol = connect(user="scorer_carol")
    alice.execute("SELECT damson.create_scorer('price'), damson.create_scored_view('valued', 'price', 'homes')")
    alice.execute("GRANT SELECT ON valued TO PUBLIC")
    for sql in ["SELECT hers.price(10, 'z1')", "SELECT prediction FROM hers.valued"]:
        with pytest.raises(DENIED, match='model "price"'):
            carol.execute(sql)
    alice.execute("CALL damson.grant_model('price', 'scorer_carol')")
    assert one(carol, "SELECT hers.price(10, 'z1')") == one(carol, "SELECT damson.predict('price', 10, 'z1')")
    # A view reads its source with its owner's rights, as all views do.
    with pytest.raises(DENIED):
        carol.execute("SELECT * FROM hers.homes")
    assert one(carol, "SELECT count(prediction) FROM hers.valued") == 200


@pytest.mark.parametrize("source", [
    "SELECT * FROM homes;", "SELECT *, ';' AS \"no;end\" FROM homes; -- all; of them", " SELECT * FROM homes -- all of them",
    "/* all */ SELECT * FROM homes /* of; them */ ; \n ", "(TABLE homes) ; ; ",
])
def test_what_ends_a_source_is_not_in_the_way_of_what_is_made_of_it(alice, source):
    alice.execute("SELECT damson.create_scored_view('valued', 'price', %s)", [source])
    assert one(alice, "SELECT count(prediction) FROM valued") == 200
    assert one(alice, "SELECT \"rows\" FROM damson.score_into('filled', 'price', %s)", source) == 200
    alice.execute("ALTER TABLE homes ADD at timestamptz DEFAULT now() - interval '90 min'")
    alice.execute("CALL damson.monitor('price', %s, time_column => 'at', window_size => '1 hour')", [source])
    assert one(alice, "SELECT \"rows\" FROM damson.run_monitor('price', until => (now() - interval '1 hour')::text)") == 200
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="2 statements"):
        alice.execute("SELECT damson.create_scored_view('other', 'price', %s)", ["SELECT 1; SELECT 2"])


def test_nothing_is_made_or_dropped_where_the_caller_may_not(db, alice, bob):
    with pytest.raises(DENIED, match="schema hers"):
        bob.execute("SELECT damson.create_scorer('price', name => 'hers.price')")
    with pytest.raises(DENIED):
        bob.execute("SELECT damson.create_scorer('price', name => 'damson.price')")
    with pytest.raises(DENIED):
        bob.execute("SELECT damson.create_scored_view('hers.v', 'price', 'SELECT 1 AS size, ''z1'' AS zip')")
    with pytest.raises(DENIED, match="table homes"):
        bob.execute("SELECT damson.create_scored_view('v', 'price', 'hers.homes')")
        bob.execute("SELECT * FROM v")
    alice.execute("CALL damson.revoke_model('price', 'scorer_bob')")
    with pytest.raises(DENIED):
        bob.execute("SELECT damson.create_scorer('price')")


def test_what_others_made_does_not_keep_an_owner_from_deploying(db, alice, bob):
    """It stays as it is, and never takes a value for that of another column."""
    bob.execute("SELECT damson.create_scorer('price', name => 'worth')")
    bob.execute("CREATE VIEW uses AS SELECT worth(10, 'z1')")
    alice.execute("SELECT damson.create_scorer('price')")
    alice.execute("CALL damson.deploy('price', 2)")
    assert one(alice, "SELECT pg_get_function_identity_arguments('hers.price'::regproc)") == "zip text, rooms integer"
    assert one(alice, "SELECT pg_get_function_identity_arguments('his.worth'::regproc)") == "size integer, zip text"
    with pytest.raises(psycopg.errors.UndefinedColumn, match='no column "rooms"'):
        bob.execute("SELECT worth(10, 'z1')")
    with pytest.raises(psycopg.errors.DependentObjectsStillExist):
        bob.execute("SELECT damson.create_scorer('price', name => 'worth')")
    bob.execute("DROP VIEW uses")
    assert one(bob, "SELECT damson.create_scorer('price', name => 'worth')") == "his.worth(zip text, rooms integer)"
    assert one(bob, "SELECT worth('z1', 3)") == one(bob, "SELECT damson.predict('price', 'z1', 3)")
    alice.execute("CALL damson.drop_model('price')")
    assert one(db, "SELECT count(*) FROM pg_proc WHERE proname = 'worth'") == 1
    with pytest.raises(psycopg.errors.UndefinedObject):
        bob.execute("SELECT worth('z1', 3)")


def test_a_member_of_the_owner_deploys_and_the_function_stays_the_owners(db, alice, connect, role):
    role("scorer_member")
    db.execute("GRANT scorer_alice TO scorer_member")
    member = connect(user="scorer_member")
    alice.execute("SELECT damson.create_scorer('price')")
    alice.execute("REVOKE ALL ON FUNCTION price FROM PUBLIC")
    member.execute("CALL damson.deploy('price', 2)")
    assert owner(db, "hers.price") == "scorer_alice"
    assert one(db, "SELECT typowner::regrole::text FROM pg_type WHERE oid = 'hers.price_row'::regtype") == "scorer_alice"
    assert one(alice, "SELECT price('z1', 3)") is not None
    assert not one(db, "SELECT EXISTS (SELECT FROM aclexplode((SELECT proacl FROM pg_proc WHERE proname = 'price')) WHERE grantee = 0)")


def test_a_function_that_pretends_to_be_a_scorer_gains_nothing(db, alice, bob):
    """Comments are what scorers are known by, and everybody can write them on his own objects."""
    model = one(db, "SELECT id FROM damson_catalog.models")
    bob.execute("CREATE FUNCTION his.bait(int) RETURNS int LANGUAGE sql AS 'SELECT 1'")
    for line in [f"Made by damson.create_scorer: {model} {{\"alias\":\"production\",\"verb\":\"predict\",\"class\":null}}",
                 f"Made by damson.create_scorer: {model} {{\"alias\":\"production\",\"verb\":\"drop\"}}",
                 f"Made by damson.create_scorer: {model} {{not json",
                 "Made by damson.create_scorer: 99999999999999999999 {}"]:
        bob.execute(psycopg.sql.SQL("COMMENT ON FUNCTION his.bait(int) IS {}").format(psycopg.sql.Literal("Bait.\n" + line)))
        db.execute("CALL damson.deploy('price', 2)")
        db.execute("CALL damson.rollback('price')")
        alice.execute("CALL damson.deploy('price', 2)")
        alice.execute("CALL damson.rollback('price')")
        assert owner(db, "his.bait") == "scorer_bob"
        db.execute("SELECT * FROM damson.scorers")
    # Nor does a view of another that stands where one of hers stood.
    alice.execute("SELECT damson.create_scored_view('valued', 'price', 'homes')")
    alice.execute("DROP VIEW valued; CREATE VIEW valued AS SELECT 1 AS own")
    db.execute("CALL damson.drop_model('price')")
    assert one(alice, "SELECT own FROM valued") == 1
    assert one(bob, "SELECT his.bait(1)") == 1


def test_names_are_what_they_are_whatever_the_search_path(db, alice, bob):
    bob.execute("CREATE DOMAIN his.int4 AS pg_catalog.int4 CHECK (current_user = 'scorer_bob')")
    bob.execute("CREATE DOMAIN his.text AS pg_catalog.text CHECK (current_user = 'scorer_bob')")
    alice.execute("SET search_path = his, pg_catalog, hers")
    assert one(alice, "SELECT damson.create_scorer('price', name => 'hers.price')") == "hers.price(size integer, zip text)"
    types = "SELECT proargtypes::regtype[]::text FROM pg_proc WHERE oid = 'hers.price'::regproc"
    db.execute("SET search_path = pg_catalog")
    assert one(db, types) == "[0:1]={integer,text}"
    alice.execute("CALL damson.deploy('price', 2)")
    assert one(db, types) == "[0:1]={text,integer}"
    assert one(alice, "SELECT hers.price('z1'::pg_catalog.text, 3)") is not None
    alice.execute("CALL damson.drop_model('price')")
    assert one(db, "SELECT count(*) FROM pg_proc WHERE proname = 'price'") == 0


def test_a_scorer_is_found_wherever_its_owner_puts_it(db, alice):
    alice.execute("SELECT damson.create_scorer('price')")
    db.execute("CREATE SCHEMA elsewhere AUTHORIZATION scorer_alice")
    alice.execute("ALTER FUNCTION price SET SCHEMA elsewhere")
    alice.execute("ALTER FUNCTION elsewhere.price RENAME TO worth")
    assert one(alice, "SELECT object FROM damson.scorers") == "elsewhere.worth(size integer, zip text)"
    alice.execute("CALL damson.deploy('price', 2)")
    assert one(alice, "SELECT elsewhere.worth('z1', 3)") is not None
    alice.execute("CALL damson.drop_model('price')")
    assert one(db, "SELECT count(*) FROM pg_proc WHERE proname = 'worth'") == 0


def test_a_dump_carries_scorers_that_follow_on(db, server, alice):
    alice.execute("SELECT damson.create_scorer('price'), damson.create_scored_view('valued', 'price', 'homes')")
    score = one(alice, "SELECT price(10, 'z1')")
    with server.copied(db) as copy, server.connect(dbname=copy) as restored:
        assert one(restored, "SELECT hers.price(10, 'z1')") == score
        assert one(restored, "SELECT count(prediction) FROM hers.valued") == 200
        restored.execute("CALL damson.deploy('price', 2)")
        assert one(restored, "SELECT hers.price('z1', 3)") is not None
        assert owner(restored, "hers.price") == "scorer_alice"
        restored.execute("CALL damson.drop_model('price')")
        assert one(restored, "SELECT count(*) FROM damson.scorers") == 0


def test_clients_call_it_as_any_function(db, alice):
    """Drivers that say no types of their parameters, and tools that ask the catalog for them."""
    alice.execute("SELECT damson.create_scorer('price')")
    expected = one(alice, "SELECT damson.predict('price', 10, 'z1')")
    assert one(alice, "SELECT hers.price(%s, %s)", 10, "z1") == expected
    assert one(alice, "SELECT hers.price(%s, %s)", "10", "z1") == expected
    described = alice.execute("SELECT hers.price(size, zip) AS score FROM homes").description[0]
    assert (described.name, described.type_code) == ("score", 701)
    columns = "SELECT parameter_name, data_type FROM information_schema.parameters WHERE specific_schema = 'hers' ORDER BY ordinal_position"
    assert alice.execute(columns).fetchall() == [("size", "integer"), ("zip", "text")]
    for _ in range(7):
        # Prepared, with a generic plan in the end.
        assert alice.execute("SELECT hers.price(%s, %s)", [10, "z1"], prepare=True).fetchone()[0] == expected
