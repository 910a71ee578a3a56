"""What another role may do, over connections of its own: nothing but what it was granted."""

import psycopg
import pytest
from conftest import one, scored, train_shifted

DENIED = psycopg.errors.InsufficientPrivilege
POINTS = "SELECT i::float8 AS x, i + 1000.0::float8 AS y FROM generate_series(1, 50) i"


@pytest.fixture
def bob(role):
    return role("bob")


@pytest.fixture
def model(db):
    """The first connection, a superuser's, with the model `m` and a table `secret`."""
    train_shifted(db, 1)
    train_shifted(db, 2)
    db.execute(f"CREATE TABLE secret AS {POINTS}")
    return db


def train(connection, source, model="mine", **more):
    arguments = "".join(f", {k} => {v}" for k, v in more.items())
    sql = f"SELECT train_rows FROM damson.train('{model}', %s, 'y', 'linear', split => 'none'{arguments})"
    return one(connection, sql, source)


def test_a_role_trains_only_on_rows_that_it_may_read(model, connect, bob):
    his = connect(user=bob)
    assert train(his, POINTS) == 50
    for source in ["secret", "SELECT * FROM secret", "SELECT (s).* FROM (SELECT s FROM secret s) t"]:
        with pytest.raises(DENIED, match="permission denied for table secret"):
            train(his, source)
        with pytest.raises(DENIED, match="permission denied for table secret"):
            his.execute("SELECT * FROM damson.evaluate('mine', %s)", [source])
    model.execute(f"GRANT SELECT (y) ON secret TO {bob}")
    with pytest.raises(DENIED):
        train(his, "secret")
    model.execute(f"GRANT SELECT ON secret TO {bob}")
    assert train(his, "secret") == 50
    model.execute(f"CREATE POLICY few ON secret TO {bob} USING (x <= 20)")
    model.execute("ALTER TABLE secret ENABLE ROW LEVEL SECURITY")
    assert train(his, "secret") == 20
    assert train(model, "secret", "hers") == 50
    model.execute("CREATE FUNCTION train_as_owner() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS"
                  " $$ SELECT train_rows FROM damson.train('definer', 'secret', 'y', 'linear', split => 'none') $$")
    assert one(his, "SELECT train_as_owner()") == 50
    assert one(model, "SELECT owner::text FROM damson.models WHERE name = 'definer'") == "postgres"
    model.execute("SET ROLE bob")
    assert train(model, "secret", "mine") == 20


def test_a_source_runs_as_its_caller(model, connect, bob):
    his = connect(user=bob)
    his.execute("CREATE TEMP TABLE seen (who text)")
    his.execute("""CREATE FUNCTION pg_temp.who(float8) RETURNS float8 LANGUAGE plpgsql AS
        $$ BEGIN RAISE WARNING 'who: % %', current_user, session_user; RETURN $1; END $$""")
    heard = []
    his.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    train(his, "SELECT pg_temp.who(x) AS x, y FROM (SELECT i::float8 AS x, i::float8 AS y FROM generate_series(1, 9) i) t")
    assert set(heard) == {"who: bob bob"}


def test_a_model_that_was_not_granted_is_closed(model, connect, bob):
    his = connect(user=bob)
    for sql in [
        "SELECT damson.predict('m', 0.0)",
        "SELECT damson.predict('m@1', 0.0)",
        "SELECT damson.predict('m', '{\"x\": 1}'::jsonb)",
        f"SELECT * FROM damson.evaluate('m', '{POINTS}')",
        "SELECT * FROM damson.describe('m')",
        "CALL damson.deploy('m', 2)",
        "CALL damson.rollback('m')",
        "CALL damson.rename_model('m', 'n')",
        "CALL damson.drop_model('m')",
        "CALL damson.grant_model('m', 'bob')",
        "CALL damson.revoke_model('m', 'bob')",
        f"SELECT * FROM damson.train('m', '{POINTS}', 'y', 'linear')",
    ]:
        with pytest.raises(DENIED, match='model "m"'):
            his.execute(sql)
    for view in ["models", "versions", "aliases", "deployments", "runs", "metrics"]:
        assert one(his, f"SELECT count(*) FROM damson.{view}") == 0
    assert one(model, "SELECT newest FROM damson.models") == 2


def test_the_catalogs_tables_are_closed(model, connect, bob):
    his = connect(user=bob)
    model.execute("CALL damson.grant_model('m', 'bob')")
    tables = [row[0] for row in model.execute(
        "SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE nspname IN ('damson_catalog', 'damson_lineage', 'damson_drift') AND relkind IN ('r', 'v', 'S')")]
    assert len(tables) > 10
    for table in tables:
        for sql in [f"SELECT * FROM {table}", f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES"]:
            with pytest.raises(DENIED):
                his.execute(sql)
    for view in ["models", "versions", "aliases", "deployments", "runs", "metrics", "progress"]:
        with pytest.raises((DENIED, psycopg.errors.ObjectNotInPrerequisiteState)):
            his.execute(f"DELETE FROM damson.{view}")
    with pytest.raises(DENIED):
        his.execute("CREATE FUNCTION damson.predict(text, float8) RETURNS float8 LANGUAGE sql AS 'SELECT 1.0::float8'")
    with pytest.raises(DENIED):
        his.execute("COMMENT ON SCHEMA damson IS 'mine'")


def test_a_grant_opens_and_a_revoke_closes_what_is_cached_too(model, connect, bob):
    his = connect(user=bob)
    his.execute("""CREATE FUNCTION pg_temp.score() RETURNS float8 LANGUAGE plpgsql AS
        $$ DECLARE v float8; BEGIN v := damson.predict('m', 0.0); RETURN v; END $$""")
    prepared = "SELECT damson.predict('m', 0.0)"
    ways = [prepared, "SELECT pg_temp.score()"]

    def open_to_him():
        for sql in ways:
            assert round(his.execute(sql, prepare=True).fetchone()[0]) == 1000

    def closed_to_him():
        for sql in ways:
            with pytest.raises(DENIED):
                his.execute(sql, prepare=True)

    closed_to_him()
    for grantee in ["bob", "public"]:
        model.execute("CALL damson.grant_model('m', %s)", [grantee])
        open_to_him()
        assert his.execute(f"SELECT * FROM damson.evaluate('m', '{POINTS}')").fetchone()
        assert one(his, "SELECT value FROM damson.describe('m') WHERE property = 'version'") == "1"
        assert his.execute("SELECT name, owner::text FROM damson.models").fetchall() == [("m", "postgres")]
        assert one(his, "SELECT source IS NULL FROM damson.runs LIMIT 1")
        for sql in ["CALL damson.deploy('m', 2)", "CALL damson.drop_model('m')", "CALL damson.grant_model('m', 'public')",
                    f"SELECT * FROM damson.train('m', '{POINTS}', 'y', 'linear')"]:
            with pytest.raises(DENIED):
                his.execute(sql)
        model.execute("CALL damson.revoke_model('m', %s)", [grantee])
        closed_to_him()
    his.execute("BEGIN")
    model.execute("CALL damson.grant_model('m', 'bob')")
    open_to_him()
    model.execute("CALL damson.revoke_model('m', 'bob')")
    with pytest.raises(DENIED):
        his.execute("SELECT pg_temp.score()")
    his.execute("ROLLBACK")


def test_a_change_of_role_in_one_session_changes_its_rights(model, bob):
    model.execute("CREATE FUNCTION score() RETURNS float8 LANGUAGE plpgsql AS"
                  " $$ DECLARE v float8; BEGIN v := damson.predict('m', 0.0); RETURN v; END $$")
    model.execute("CREATE FUNCTION score_as_owner() RETURNS float8 LANGUAGE plpgsql SECURITY DEFINER AS"
                  " $$ DECLARE v float8; BEGIN v := damson.predict('m', 0.0); RETURN v; END $$")
    model.execute("BEGIN")
    assert round(one(model, "SELECT score()")) == 1000
    model.execute("SET LOCAL ROLE bob")
    assert round(one(model, "SELECT score_as_owner()")) == 1000
    with pytest.raises(DENIED):
        one(model, "SELECT score()")
    model.execute("ROLLBACK")
    assert round(one(model, "SELECT score()")) == 1000


def test_the_right_to_score_comes_by_membership_and_goes_with_it(model, connect, role, bob):
    team = role("team")
    his = connect(user=bob)
    model.execute(f"CALL damson.grant_model('m', '{team}')")
    with pytest.raises(DENIED):
        scored(his)
    model.execute(f"GRANT {team} TO {bob}")
    assert scored(his) == 1
    model.execute(f"REVOKE {team} FROM {bob}")
    with pytest.raises(DENIED):
        scored(his)


def test_a_planted_search_path_gains_nothing(model, connect, bob):
    """Functions, operators, casts and tables of bob's that shadow what the extension's own SQL uses."""
    his = connect(user=bob)
    model.execute("CREATE SCHEMA trap AUTHORIZATION bob")
    his.execute("""
        SET search_path = trap, pg_catalog;
        CREATE TABLE trap.caught (who text);
        CREATE FUNCTION trap.spring() RETURNS void LANGUAGE sql AS
            $$ INSERT INTO trap.caught SELECT current_user WHERE current_user <> 'bob' $$;
        CREATE FUNCTION trap.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE FUNCTION trap.pg_has_role(oid, oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE FUNCTION trap.pg_has_role(oid, text) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE FUNCTION trap.eq(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE FUNCTION trap.eq(bigint, bigint) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE FUNCTION trap.eq(regrole, regrole) RETURNS boolean LANGUAGE sql AS $$ SELECT trap.spring(); SELECT true $$;
        CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.eq);
        CREATE OPERATOR trap.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = trap.eq);
        CREATE OPERATOR trap.= (LEFTARG = regrole, RIGHTARG = regrole, FUNCTION = trap.eq);
        CREATE FUNCTION trap.plus(bigint, integer) RETURNS bigint LANGUAGE sql AS $$ SELECT trap.spring(); SELECT 1::bigint $$;
        CREATE OPERATOR trap.+ (LEFTARG = bigint, RIGHTARG = integer, FUNCTION = trap.plus);
        CREATE DOMAIN trap.regrole AS text;
        CREATE TEMP TABLE models (id bigint, name text, owner regrole, task text, description text, last_version bigint);
        CREATE TEMP TABLE grants (model bigint, grantee regrole, privilege text);
        CREATE TEMP TABLE aliases (model bigint, alias text, version bigint, deployment bigint);
        CREATE TEMP TABLE pg_roles (oid oid, rolname name);
        CREATE TEMP TABLE pg_class (oid oid, relname name);
        SET search_path = trap, pg_temp, pg_catalog, damson_catalog;
    """)
    for sql in ["SELECT damson.predict('m', 0.0::float8)", "SELECT * FROM damson.describe('m')", "CALL damson.deploy('m', 2::bigint)",
                "CALL damson.grant_model('m', 'bob')", "CALL damson.drop_model('m')"]:
        with pytest.raises(DENIED):
            his.execute(sql)
    points = "SELECT i::float8 AS x, i::float8 AS y FROM pg_catalog.generate_series(1, 9) i"
    train_his = "SELECT * FROM damson.train('his', %s, 'y', 'linear')"
    his.execute(train_his, [points])
    his.execute(train_his, [points])
    his.execute("CALL damson.deploy('his', 2::bigint)")
    his.execute("CALL damson.grant_model('his', 'public')")
    his.execute("SELECT damson.predict('his', 0.0::float8)")
    his.execute("SELECT * FROM damson.describe('his')")
    for view in ["models", "versions", "aliases", "deployments", "runs", "metrics", "progress"]:
        names = {row[0] for row in his.execute(f"SELECT v.{'name' if view == 'models' else 'model'} FROM damson.{view} v")}
        assert "m" not in names
    his.execute("CALL damson.drop_model('his')")
    # The superuser with bob's search path, which an attacker hopes for.
    model.execute("SET search_path = trap, pg_catalog, public")
    assert round(one(model, "SELECT damson.predict('m', 0.0::float8)")) == 1000
    model.execute("CALL damson.deploy('m', 2::bigint)")
    model.execute("SELECT * FROM damson.describe('m')")
    model.execute("RESET search_path")
    assert model.execute("SELECT * FROM trap.caught").fetchall() == []


def test_functions_of_a_source_reach_no_other_rights(model, connect, bob):
    """Code of the user that runs inside the extension's work must not find the owner's rights there."""
    his = connect(user=bob)
    his.execute("""CREATE FUNCTION pg_temp.reach() RETURNS float8 LANGUAGE plpgsql AS $$ BEGIN
        BEGIN PERFORM count(*) FROM damson_catalog.models; RAISE WARNING 'reached the catalog';
        EXCEPTION WHEN insufficient_privilege THEN NULL; END;
        BEGIN PERFORM set_config('transaction_read_only', 'off', false); CREATE TEMP TABLE written (); RAISE WARNING 'wrote';
        EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN PERFORM set_config('role', 'postgres', false); RAISE WARNING 'became postgres';
        EXCEPTION WHEN OTHERS THEN NULL; END;
        RETURN 1; END $$""")
    heard = []
    his.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    train(his, "SELECT pg_temp.reach() AS x, i::float8 AS y FROM generate_series(1, 5) i")
    assert not [text for text in heard if text.startswith(("reached", "wrote", "became"))], heard
    assert his.execute("SELECT current_user, current_setting('transaction_read_only')").fetchone() == ("bob", "off")


def test_a_lookalike_of_the_schema_is_another_schema(model, connect, bob):
    """Without rights on the database bob cannot make one; with them he gets his own and not the extension's."""
    his = connect(user=bob)
    with pytest.raises(DENIED):
        his.execute('CREATE SCHEMA "Damson"')
    his.execute("CREATE FUNCTION pg_temp.predict(text, float8) RETURNS float8 LANGUAGE sql AS 'SELECT -1.0::float8'")
    model.execute("SET search_path = pg_temp, damson, public")
    assert scored(model) == 1
    with pytest.raises(DENIED):
        his.execute("ALTER FUNCTION damson.train OWNER TO bob")
