"""Fifty sessions deploy, promote, roll back, route, score, expire and drop one model at once.

Each score is compared with what the very statement that scored sees as deployed. 20 seconds;
DAMSON_CHAOS_SECONDS=300 for the long run.
"""

import os
import random
import time

import psycopg
from conftest import Chaos, one, train_shifted

SECONDS = float(os.environ.get("DAMSON_CHAOS_SECONDS", "20"))
SHIFTS = (1, 2, 3, 4)

ALIAS = "(SELECT version FROM damson.aliases WHERE model = 'm' AND alias = '{}')"
PRODUCTION = ALIAS.format("production")

# What a row scored, and what it should have: both of the statement's own snapshot.
STATEMENTS = {
    "rows": f"SELECT round(damson.predict('m', i * 0.0)) / 1000, {PRODUCTION} FROM generate_series(1, 60) i",
    "alias": f"SELECT round(damson.predict('m@challenger', i * 0.0)) / 1000, {ALIAS.format('challenger')} FROM generate_series(1, 60) i",
    "function": f"SELECT score(), {PRODUCTION}",
    "routed": f"""SELECT round(damson.predict(r.way, r.i * 0.0)) / 1000,
        CASE r.way WHEN 'm@production' THEN {PRODUCTION} WHEN 'm@challenger' THEN {ALIAS.format('challenger')} END
        FROM (SELECT i, damson.route('m', i::text) AS way FROM generate_series(1, 60) i) r""",
}
AS_OF = """SELECT round(damson.predict('m@' || %(at)s, i * 0.0)) / 1000,
    (SELECT d.version FROM damson.deployments d WHERE d.model = 'm' AND d.alias = 'production' AND d.at <= %(at)s::timestamptz
     ORDER BY d.at DESC LIMIT 1)
    FROM generate_series(1, 20) i"""


def ended(session):
    if session.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        session.execute("ROLLBACK")


def scorer(session, sql, prepare, isolation=None):
    def step():
        try:
            if isolation:
                session.execute(f"BEGIN ISOLATION LEVEL {isolation}")
            for _ in range(3 if isolation else 1):
                for score, version in session.execute(sql, prepare=prepare):
                    assert score == version, f"scored {score} where {version} was deployed: {sql}"
        finally:
            ended(session)
    return step


def replayer(session):
    def step():
        at = one(session, "SELECT (clock_timestamp() - random() * interval '3 s')::text")
        for score, version in session.execute(AS_OF, {"at": at}):
            assert score == version, f"scored {score} as of {at}, where {version} was deployed"
    return step


def deployer(session, isolation="READ COMMITTED", gate=None):
    def step():
        version = random.choice(SHIFTS)
        session.execute(f"BEGIN ISOLATION LEVEL {isolation}")
        try:
            session.execute("CALL damson.deploy('m', %s, %s, %s)", [version, random.choice(["production", "challenger"]), gate])
            session.execute("CALL damson.deploy('m', %s)", [version])
            found = round(one(session, "SELECT damson.predict('m', 0.0)")) / 1000
            assert found == version, f"deployed {version}, scored {found}"
            session.execute(random.choice(["COMMIT", "ROLLBACK"]))
        finally:
            ended(session)
    return step


def caller(session, *statements):
    return lambda: session.execute(random.choice(statements))


def dropper(session):
    def step():
        time.sleep(random.random() * 3)
        whole = random.random() < 0.5
        try:
            if whole:
                session.execute("BEGIN")
            session.execute("CALL damson.drop_model('m')")
            for shift in SHIFTS:
                assert train_shifted(session, shift) == shift
            if whole:
                session.execute("COMMIT")
        finally:
            ended(session)
    return step


def test_every_score_is_of_a_version_deployed_in_its_snapshot(connect, measured):
    errors = psycopg.errors
    gone, unready, stale = errors.UndefinedObject, errors.ObjectNotInPrerequisiteState, errors.SerializationFailure
    setup = connect()
    for shift in SHIFTS:
        train_shifted(setup, shift)
    setup.execute("CREATE FUNCTION score() RETURNS float8 LANGUAGE plpgsql STABLE AS $$ DECLARE v float8; BEGIN"
                  " v := damson.predict('m', 0.0); RETURN round(v) / 1000; END $$")
    plans = []
    for what, sql in STATEMENTS.items():
        for number in range(5):
            # The server's numbers of a prepared statement may not be kept by it when it is of another transaction.
            isolation = "REPEATABLE READ" if number == 4 else None
            plans.append((f"score {what}", lambda s, q=sql, n=number, i=isolation: scorer(s, q, n % 2 == 0, i), gone))
    plans += [("as of", replayer, (gone, unready))] * 6
    plans += [("deploy", deployer, gone)] * 5
    plans += [("deploy by snapshot", lambda s: deployer(s, "REPEATABLE READ"), (gone, stale))] * 2
    for gate in ("train.rmse >= 0 and production.train.rmse >= 0", "train.rmse > 1e9", "challenger.train.rmse >= 0"):
        plans.append((f"gate {gate}", lambda s, g=gate: deployer(s, gate=g), (gone, unready, errors.InvalidParameterValue)))
    plans += [("rollback", lambda s: caller(s, "CALL damson.rollback('m')", "CALL damson.rollback('m', 'challenger')"), (gone, unready))] * 5
    plans += [("promote", lambda s: caller(s, "CALL damson.promote('m')"), gone)] * 3
    plans += [("canary", lambda s: caller(s, *(f"CALL damson.canary('m', {x})" for x in (0, 0.2, 0.7))), gone)] * 2
    plans += [("expire", lambda s: caller(s, "CALL damson.set_policy('m', keep_versions => 1)", "CALL damson.set_policy('m', keep_versions => 0)",
                                         "SELECT damson.expire_versions('m')"), gone)]
    plans += [("look", lambda s: caller(s, "SELECT * FROM damson.versions", "SELECT * FROM damson.audit ORDER BY at DESC LIMIT 5",
                                       "SELECT * FROM damson.describe('m')"), gone)] * 2
    plans += [("drop", dropper, ())]
    assert len(plans) == 50
    # Versions that expired cannot be deployed or come back.
    plans = [(n, m, (e if isinstance(e, tuple) else (e,)) + (unready,) if n.split()[0] in ("deploy", "promote") else e) for n, m, e in plans]
    chaos = Chaos(SECONDS)
    counts = chaos.run(plans, connect)
    measured(str(chaos))
    for name in {name for name, _, _ in plans} - {"gate train.rmse > 1e9"}:
        assert counts.get(f"{name} ok"), (name, counts)
    assert one(setup, "SELECT count(*) FROM pg_locks WHERE locktype = 'relation' AND pid <> pg_backend_pid()"
                      " AND relation::regclass::text LIKE 'damson_catalog.%'") == 0
    # Nothing of models that were dropped is left.
    for table in ("policies", "canaries", "aliases", "deployments"):
        assert one(setup, f"SELECT count(*) FROM damson_catalog.{table} t WHERE NOT EXISTS"
                          " (SELECT FROM damson_catalog.models m WHERE m.id = t.model)") == 0
    assert one(setup, "SELECT count(*) FROM damson_catalog.artifacts a JOIN damson_catalog.versions v ON v.id = a.version"
                      " WHERE v.expired IS NOT NULL") == 0
