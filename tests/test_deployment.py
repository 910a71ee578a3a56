"""Gates, approvals, as-of scoring and retention over real connections: what one session only could never show."""

import datetime
import random
import time

import psycopg
import pytest
from conftest import Background, one, scored, train_shifted, wait_for
from test_jobs import finished
from test_standby import standby  # noqa: F401 - a fixture

ROWS = "SELECT array_agg(damson.predict(%s::text, i / 7.0) ORDER BY i) FROM generate_series(1, 40) i"


def train_wavy(connection, seed):
    """A model whose scores are no round numbers."""
    source = f"SELECT i / 7.0 AS x, sin(i * {seed}) + i / 40.0 AS y FROM generate_series(1, 200) i"
    sql = "SELECT version FROM damson.train('m', %s, target => 'y', algorithm => 'boosting', params => '{\"trees\": 20}', split => 'none')"
    return one(connection, sql, source)


def waits(connection, other):
    """Whether a connection waits for a lock, as another one sees it."""
    sql = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
    return lambda: one(other, sql, connection.info.backend_pid)


# Gates ---------------------------------------------------------------------------------------------------------------


def test_a_gate_compares_with_what_is_production_when_it_commits(db, connect):
    """Two deployments at once: the second one must see the first, whatever it saw when it began."""
    # The smaller the noise, the better: version 2 is best.
    for noise in (2, 1, 3):
        source = f"SELECT i::float8 AS x, i + {noise} * sin(i * 37) AS y FROM generate_series(1, 300) i"
        db.execute("SELECT * FROM damson.train('m', %s, 'y', 'linear', seed => 1)", [source])
    db.execute("CALL damson.deploy('m', 3)")
    better = "CALL damson.deploy('m', 1, gate => 'rmse < production.rmse')"
    for end, outcome in (("ROLLBACK", None), ("COMMIT", psycopg.errors.ObjectNotInPrerequisiteState)):
        first, second, watcher = connect(), connect(), connect()
        first.execute("BEGIN")
        first.execute("CALL damson.deploy('m', 2)")
        second.execute("BEGIN")
        work = Background(lambda: second.execute(better))
        wait_for(waits(second, watcher), "the second deployment to wait")
        first.execute(end)
        found = work.result()
        assert isinstance(found, outcome or psycopg.Cursor), found
        second.execute("ROLLBACK")
    # Under an older snapshot the second one fails, as all writers do.
    first, second, watcher = connect(), connect(), connect()
    db.execute("CALL damson.deploy('m', 3)")
    second.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    second.execute("SELECT 1")
    first.execute("CALL damson.deploy('m', 2)")
    with pytest.raises(psycopg.errors.SerializationFailure):
        second.execute(better)


# Approvals -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def team(db, connect, role):
    """Connections of an owner, an approver, somebody of both, and a stranger; model `m` of the owners' group awaits approval."""
    names = ["dep_owners", "dep_risk", "dep_alice", "dep_bob", "dep_both", "dep_mallory"]
    for name in names:
        role(name)
    db.execute("GRANT dep_owners TO dep_alice; GRANT dep_risk TO dep_bob; GRANT dep_owners, dep_risk TO dep_both")
    db.execute("GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC")
    people = {name[4:]: connect(user=name) for name in names[2:]}
    alice = people["alice"]
    alice.execute("SET ROLE dep_owners")
    for shift in (1, 2, 3):
        train_shifted(alice, shift)
    alice.execute("CALL damson.set_policy('m', approver => 'dep_risk')")
    alice.execute("RESET ROLE")
    return people


def refused(connection, sql, match="awaits the approval of role dep_risk"):
    with pytest.raises((psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege), match=match):
        connection.execute(sql)


def test_a_version_goes_live_when_a_second_role_consents(db, team):
    alice, bob, mallory = team["alice"], team["bob"], team["mallory"]
    refused(alice, "CALL damson.deploy('m', 2)")
    refused(db, "CALL damson.deploy('m', 2)")
    for somebody in (alice, mallory):
        refused(somebody, "CALL damson.approve('m', 2)", "permission denied to approve")
    with pytest.raises(psycopg.errors.UndefinedObject):
        bob.execute("CALL damson.approve('m', 9)")
    bob.execute("CALL damson.approve('m', 2)")
    refused(bob, "CALL damson.deploy('m', 2)", "permission denied to deploy")
    refused(alice, "CALL damson.deploy('m', 3)")
    alice.execute("CALL damson.deploy('m', 3, 'challenger')")
    refused(alice, "CALL damson.promote('m')")
    refused(alice, "CALL damson.canary('m', 0.1)")
    alice.execute("CALL damson.deploy('m', 2)")
    assert scored(alice) == 2
    alice.execute("CALL damson.rollback('m')")
    assert scored(alice) == 1
    assert alice.execute("SELECT version, role, session_role FROM damson.approvals").fetchall() == [(2, "dep_bob", "dep_bob")]
    # Of who left the approver no approval counts.
    db.execute("REVOKE dep_risk FROM dep_bob")
    refused(alice, "CALL damson.deploy('m', 2)")
    db.execute("GRANT dep_risk TO dep_bob")
    alice.execute("CALL damson.deploy('m', 2)")
    # Nor does it leave who was asked with nothing: the policy is the approver's.
    for sql in ("CALL damson.set_policy('m', approver => '')", "CALL damson.set_policy('m', gate => 'train.rmse > 0')",
                "CALL damson.drop_model('m')", "CALL damson.rename_model('m', 'n')"):
        refused(alice, sql, "permission denied")
    alice.execute("CALL damson.set_policy('m', keep_versions => 5)")
    refused(bob, "CALL damson.set_policy('m', keep_versions => 6)", "permission denied")
    bob.execute("CALL damson.set_policy('m', gate => 'train.rmse >= 0')")
    assert alice.execute("SELECT gate, approver, keep_versions FROM damson.policies").fetchone() == ("train.rmse >= 0", "dep_risk", 5)
    bob.execute("CALL damson.set_policy('m', approver => '')")
    alice.execute("CALL damson.deploy('m', 3)")
    story = alice.execute("SELECT action, role, session_role FROM damson.audit WHERE action IN ('approve', 'set_policy') ORDER BY at").fetchall()
    assert story == [("set_policy", "dep_owners", "dep_alice"), ("approve", "dep_bob", "dep_bob"),
                     ("set_policy", "dep_alice", "dep_alice"), ("set_policy", "dep_bob", "dep_bob"), ("set_policy", "dep_bob", "dep_bob")]
    assert one(mallory, "SELECT count(*) FROM damson.audit") == 0
    assert one(bob, "SELECT count(*) FROM damson.audit") == 3


def test_nobody_approves_his_own_deployment(db, team, connect):
    alice, both, mallory = team["alice"], team["both"], team["mallory"]
    # As himself, by SET ROLE on either side, and by a job that logs in as the role that was set.
    both.execute("CALL damson.approve('m', 2)")
    refused(both, "CALL damson.deploy('m', 2)")
    both.execute("SET ROLE dep_owners")
    refused(both, "CALL damson.deploy('m', 2)")
    both.execute("SET ROLE dep_risk")
    both.execute("CALL damson.approve('m', 2)")
    job = one(both, "SELECT damson.submit('CALL damson.approve(''m'', 2)')")
    assert finished(both, job)[0] == "succeeded"
    both.execute("SET ROLE dep_owners")
    refused(both, "CALL damson.deploy('m', 2)")
    job = one(both, "SELECT damson.submit('CALL damson.deploy(''m'', 2)')")
    assert "awaits the approval of role dep_risk" in finished(both, job)[2]
    both.execute("RESET ROLE")
    # By code that somebody else runs unawares: a trigger of a table that the superuser fills.
    for name, verb in (("approve_trap", "approve"), ("deploy_trap", "deploy")):
        both.execute(f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
                     f" $$ BEGIN CALL damson.{verb}('m', 2); RETURN NEW; END $$")
        both.execute(f"CREATE TABLE {name} (i int); CREATE TRIGGER t BEFORE INSERT ON {name} FOR EACH ROW EXECUTE FUNCTION {name}()")
    db.execute("INSERT INTO approve_trap VALUES (1)")
    assert one(both, "SELECT count(*) FROM damson.approvals WHERE session_role = 'postgres'::regrole AND role = 'dep_both'::regrole") == 1
    refused(both, "CALL damson.deploy('m', 2)")
    refused(db, "INSERT INTO deploy_trap VALUES (1)")
    # By what the server runs as a table's owner.
    both.execute("CREATE FUNCTION approve_it() RETURNS void LANGUAGE plpgsql AS $$ BEGIN CALL damson.approve('m', 2); END $$")
    both.execute("CREATE FUNCTION approve_index(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
                 " $$ BEGIN PERFORM public.approve_it(); RETURN i; END $$; CREATE TABLE bait (i int); INSERT INTO bait VALUES (1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied to approve"):
        both.execute("CREATE INDEX ON bait (approve_index(i))")
        db.execute("REINDEX TABLE bait")
    # Somebody of both may approve for another one all the same, when that one acts as himself.
    alice.execute("CALL damson.deploy('m', 2)")
    alice.execute("CALL damson.rollback('m')")
    assert scored(alice) == 1
    # The superuser is nobody's second self either.
    db.execute("CALL damson.approve('m', 3)")
    refused(db, "CALL damson.deploy('m', 3)")
    alice.execute("CALL damson.deploy('m', 3)")
    refused(mallory, "CALL damson.deploy('m', 2)", "permission denied")


def test_a_model_that_changes_its_owner_is_the_new_owner_s(db, team):
    alice, bob, mallory = team["alice"], team["bob"], team["mallory"]
    bob.execute("CALL damson.approve('m', 2)")
    db.execute("UPDATE damson_catalog.models SET owner = 'dep_mallory'::regrole")
    for sql in ("CALL damson.deploy('m', 2)", "CALL damson.promote('m', 'production')", "CALL damson.canary('m', 0.5)",
                "CALL damson.set_policy('m', keep_days => 3)", "SELECT damson.expire_versions('m')"):
        refused(alice, sql, "permission denied")
    refused(alice, "SELECT damson.route('m', 'k')", "permission denied")
    assert one(alice, "SELECT count(*) FROM damson.policies") == 0
    mallory.execute("CALL damson.deploy('m', 2)")
    assert one(mallory, "SELECT count(*) > 3 FROM damson.audit")


def test_planted_objects_are_never_called_with_more_rights(db, team):
    mallory = team["mallory"]
    db.execute("CREATE SCHEMA dep_traps AUTHORIZATION dep_mallory")
    mallory.execute("CREATE TABLE caught (who text); GRANT ALL ON caught TO PUBLIC")
    body = "LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN"
    for statement in [
        f"CREATE FUNCTION dep_traps.now() RETURNS timestamptz {body} 'epoch'; END $$",
        f"CREATE FUNCTION dep_traps.clock_timestamp() RETURNS timestamptz {body} 'epoch'; END $$",
        f"CREATE FUNCTION dep_traps.pg_has_role(oid, oid, text) RETURNS boolean {body} true; END $$",
        f"CREATE FUNCTION dep_traps.jsonb_strip_nulls(jsonb) RETURNS jsonb {body} $1; END $$",
        f"CREATE FUNCTION dep_traps.eq(bigint, bigint) RETURNS boolean {body} true; END $$",
        f"CREATE FUNCTION dep_traps.text_eq(text, text) RETURNS boolean {body} true; END $$",
        f"CREATE FUNCTION dep_traps.less(timestamptz, timestamptz) RETURNS boolean {body} true; END $$",
        "CREATE OPERATOR dep_traps.= (LEFTARG = bigint, RIGHTARG = bigint, FUNCTION = dep_traps.eq)",
        "CREATE OPERATOR dep_traps.= (LEFTARG = text, RIGHTARG = text, FUNCTION = dep_traps.text_eq)",
        "CREATE OPERATOR dep_traps.<= (LEFTARG = timestamptz, RIGHTARG = timestamptz, FUNCTION = dep_traps.less)",
        "CREATE TEMP TABLE models (id bigint, name text); CREATE TEMP TABLE policies (model bigint); CREATE TEMP TABLE audit (id bigint)",
        "SET search_path = dep_traps, pg_temp, pg_catalog, public",
    ]:
        mallory.execute(statement)
    source = "SELECT i::float8 AS x, i + 1000.0 AS y FROM pg_catalog.generate_series(1, 50) i"
    for version in (1, 2, 3):
        mallory.execute("SELECT * FROM damson.train('hers', %s, 'y', 'linear', split => 'none')", [source])
    for statement in [
        "CALL damson.set_policy('hers', gate => 'train.rmse >= 0', keep_versions => 2, keep_days => 5)",
        "CALL damson.deploy('hers', 2, gate => 'production.train.rmse >= 0')", "CALL damson.deploy('hers', 3, 'challenger')",
        "CALL damson.canary('hers', 0.5)", "SELECT damson.route('hers', 'k')", "CALL damson.promote('hers')", "CALL damson.rollback('hers')",
        "SELECT * FROM damson.expire_versions()", "SELECT * FROM damson.shadow('hers', 'SELECT 1.0 AS x')",
        "SELECT * FROM damson.audit", "SELECT * FROM damson.policies", "SELECT * FROM damson.approvals",
    ]:
        mallory.execute(statement)
    for reference in ("hers@2026-01-31", "hers@2026-01-31 12:00"):
        with pytest.raises(psycopg.errors.UndefinedObject):
            mallory.execute("SELECT damson.predict(%s::text, 1.0::float8)", [reference])
    mallory.execute("RESET search_path")
    assert mallory.execute("SELECT DISTINCT who FROM public.caught WHERE who <> 'dep_mallory'").fetchall() == []
    for table in ("policies", "approvals", "canaries", "audit"):
        for statement in (f"SELECT * FROM damson_catalog.{table}", f"DELETE FROM damson_catalog.{table}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                mallory.execute(statement)


# As-of scoring -------------------------------------------------------------------------------------------------------


AUDITED = "SELECT count(*) FROM damson.audit"


def replay(connection, seen):
    """Scores as of each moment that was seen, by text, prepared, and in one loop."""
    sql = "SELECT array_agg(damson.predict(%s::text, i / 7.0) ORDER BY i) FROM generate_series(1, 40) i"
    for prepare in (False, True):
        for at, scores in seen:
            found = connection.execute(sql, [f"m@{at}"], prepare=prepare).fetchone()[0]
            assert found == scores, at


def act_and_remember(db, other, steps):
    """Random deployments; after each, what another session's production answers, and when."""
    seen = []
    newest = one(db, "SELECT newest FROM damson.models")
    for step in range(steps):
        if random.random() < 0.3 and step > 3:
            try:
                db.execute("CALL damson.rollback('m')")
            except psycopg.errors.ObjectNotInPrerequisiteState:
                pass
        else:
            db.execute("CALL damson.deploy('m', %s)", [random.randint(1, newest)])
        other.execute("BEGIN")
        at, scores = str(one(other, "SELECT clock_timestamp()")), one(other, ROWS, "m")
        other.execute("COMMIT")
        seen.append((at, scores))
    return seen


def test_as_of_scoring_returns_what_was_returned_then(db, connect, server, standby):  # noqa: F811
    for seed in (1, 2, 3, 4):
        train_wavy(db, seed)
    other = connect()
    seen = act_and_remember(db, other, 40)
    assert len({tuple(scores) for _, scores in seen}) == 4
    random.shuffle(seen)
    other.execute("SET timezone = 'Asia/Kolkata'")
    for session in (db, other, connect()):
        replay(session, seen)
    # What comes later does not change it, nor do a new name and a repacked table.
    db.execute("CALL damson.deploy('m', 1)")
    train_wavy(db, 5)
    db.execute("CALL damson.deploy('m', 5)")
    db.execute("VACUUM FULL damson_catalog.deployments")
    replay(other, seen)
    db.execute("CALL damson.rename_model('m', 'n'); CALL damson.rename_model('n', 'm')")
    replay(other, seen)
    # A dump carries it, and so does a standby.
    with server.copied(db) as copy, server.connect(dbname=copy) as restored:
        replay(restored, seen)
        assert one(restored, AUDITED) == one(db, AUDITED) > 0
    follower = standby()
    db.execute("SET synchronous_commit = on; CREATE TABLE flush ()")
    position = one(db, "SELECT pg_current_wal_flush_lsn()")
    wait_for(lambda: one(follower, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", position), "the standby to catch up")
    replay(follower, seen)
    # It does not pretend to know what it has not replayed.
    time.sleep(0.1)
    now = str(one(follower, "SELECT clock_timestamp()"))
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="this standby does not know yet"):
        one(follower, ROWS, f"m@{now}")


def test_a_deployment_counts_from_its_commit(db, connect):
    for shift in (1, 2, 3):
        train_shifted(db, shift)
    other = connect()
    before = str(one(db, "SELECT clock_timestamp()"))
    db.execute("BEGIN")
    db.execute("CALL damson.deploy('m', 2)")
    db.execute("SAVEPOINT s")
    db.execute("CALL damson.deploy('m', 3)")
    time.sleep(0.2)
    during = str(one(other, "SELECT clock_timestamp()"))
    assert (scored(other), scored(other, f"m@{during}")) == (1, 1)
    db.execute("ROLLBACK TO SAVEPOINT s")
    time.sleep(0.2)
    db.execute("COMMIT")
    after = str(one(other, "SELECT clock_timestamp()"))
    for session in (db, other, connect()):
        assert [scored(session, f"m@{at}") for at in (before, during, after)] == [1, 1, 2]
    # An older snapshot cannot know what came after it, and does not guess.
    other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    other.execute("SELECT 1")
    db.execute("CALL damson.deploy('m', 3)")
    time.sleep(0.05)
    now = str(one(db, "SELECT clock_timestamp()"))
    assert scored(db, f"m@{now}") == 3
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after the beginning of the transaction"):
        scored(other, f"m@{now}")
    other.execute("ROLLBACK")
    assert scored(other, f"m@{now}") == 3


def test_a_prepared_transaction_counts_from_its_preparation(db, connect):
    for shift in (1, 2):
        train_shifted(db, shift)
    db.execute("BEGIN")
    db.execute("CALL damson.deploy('m', 2)")
    time.sleep(0.2)
    during = str(one(connect(), "SELECT clock_timestamp()"))
    db.execute("PREPARE TRANSACTION 'deploy'")
    db.execute("COMMIT PREPARED 'deploy'")
    time.sleep(0.01)
    after = str(one(db, "SELECT clock_timestamp()"))
    db.execute("CALL damson.deploy('m', 1)")
    assert [scored(db, reference) for reference in ("m", f"m@{during}", f"m@{after}")] == [1, 1, 2]


def test_yesterday_is_a_day_of_each_session(db, connect):
    for shift in (1, 2):
        train_shifted(db, shift)
    db.execute("CALL damson.deploy('m', 2)")
    sql = "UPDATE damson_catalog.deployments SET at = %s WHERE action = %s"
    db.execute(sql, ["2026-01-30 12:00+00", "train"])
    db.execute(sql, ["2026-01-31 20:00+00", "deploy"])
    east, west = connect(), connect()
    east.execute("SET timezone = 'Asia/Tokyo'")
    west.execute("SET timezone = 'America/Los_Angeles'")
    # 20:00 UTC is the first of February in Tokyo.
    assert [scored(s, "m@2026-01-31") for s in (east, west, east)] == [1, 2, 1]
    east.execute("SET timezone = 'UTC'")
    assert scored(east, "m@2026-01-31") == 2
    today = datetime.date.today() + datetime.timedelta(days=2)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="is not over"):
        scored(west, f"m@{today}")


# Retention -----------------------------------------------------------------------------------------------------------


def test_statements_that_run_finish_with_a_version_that_expires(db, connect):
    for shift in (1, 2, 3):
        train_shifted(db, shift)
    db.execute("CALL damson.deploy('m', 3)")
    db.execute("CALL damson.deploy('m', 2)")
    other, snapshot = connect(), connect()
    other.execute("BEGIN")
    other.execute("DECLARE c CURSOR FOR SELECT round(damson.predict('m@1', i * 0.0)) / 1000 FROM generate_series(1, 100) i")
    snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    snapshot.execute("SELECT 1")
    fresh = connect()
    assert scored(fresh, "m@1") == 1
    db.execute("CALL damson.set_policy('m', keep_versions => 1)")
    assert {row[0] for row in other.execute("FETCH ALL FROM c")} == {1}
    assert scored(snapshot, "m@1") == 1
    snapshot.execute("COMMIT")
    for session in (other, snapshot, fresh, db):
        if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            session.execute("COMMIT")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match='version 1 of model "m" expired at'):
            scored(session, "m@1")
    assert [scored(fresh, f"m@{v}") for v in (2, 3)] == [2, 3]


# Dumps ---------------------------------------------------------------------------------------------------------------


def test_a_dump_carries_rules_approvals_and_canaries(db, team, server):
    alice, bob = team["alice"], team["bob"]
    bob.execute("CALL damson.approve('m', 2)")
    bob.execute("CALL damson.approve('m', 3)")
    alice.execute("CALL damson.set_policy('m', keep_versions => 2)")
    alice.execute("CALL damson.deploy('m', 2)")
    alice.execute("CALL damson.deploy('m', 3, 'challenger')")
    alice.execute("CALL damson.canary('m', 0.25)")
    sql = """SELECT (SELECT jsonb_agg(p) FROM damson.policies p)::text, (SELECT jsonb_agg(a) FROM damson.approvals a)::text,
        (SELECT jsonb_agg(a ORDER BY a.at) FROM damson.audit a)::text, (SELECT string_agg(damson.route('m', i::text), ' ' ORDER BY i) FROM generate_series(1, 99) i)"""
    expected = db.execute(sql).fetchone()
    with server.copied(db, "--jobs=2") as copy, server.connect(dbname=copy, user="dep_alice") as restored:
        assert server.connect(dbname=copy).execute(sql).fetchone() == expected
        refused(restored, "CALL damson.deploy('m', 1)")
        restored.execute("CALL damson.promote('m')")
        assert scored(restored) == 3
