"""Nobody gains a right through a job, a schedule or a pipeline, and a right that is lost is lost to jobs too."""

import time

import psycopg
import pytest
from conftest import one, wait_for
from test_jobs import finished, submit


@pytest.fixture
def alice(db, connect, role):
    """A connection of a role that may create objects; `db` is the superuser."""
    role("job_alice")
    db.execute("GRANT CREATE ON SCHEMA public TO job_alice")
    return connect(user="job_alice")


def test_a_job_is_its_role_and_nothing_else(db, alice):
    db.execute("CREATE TABLE secret AS SELECT 1 AS i")
    alice.execute("CREATE TABLE seen (who text, session text, super text)")
    assert finished(alice, submit(alice, "INSERT INTO seen SELECT current_user, session_user, current_setting('is_superuser')"))[0] == "succeeded"
    assert alice.execute("SELECT * FROM seen").fetchall() == [("job_alice", "job_alice", "off")]
    for escape in ["SELECT * FROM secret", "RESET ROLE; SELECT * FROM secret", "RESET SESSION AUTHORIZATION; SELECT * FROM secret",
                   "SET ROLE postgres", "SET SESSION AUTHORIZATION postgres", "SELECT * FROM damson_catalog.jobs",
                   "UPDATE damson_catalog.jobs SET role = 10", "COPY seen TO PROGRAM 'id'",
                   "DO $$ BEGIN SET LOCAL ROLE postgres; END $$"]:
        state, _, error = finished(alice, submit(alice, escape))
        assert state == "failed" and ("permission denied" in error or "must be" in error), (escape, state, error)
    assert finished(alice, submit(alice, "COMMIT"))[2].startswith("a job cannot begin, commit or roll back")


def test_what_a_job_leaves_in_its_session_does_not_touch_how_it_is_ended(db, alice):
    """Operators, functions and tables of the search path must not run with the rights of the catalog's owner."""
    db.execute("CREATE SCHEMA evil AUTHORIZATION job_alice")
    alice.execute("CREATE TABLE caught (who text)")
    alice.execute("CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS"
                  " $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN now(); END $$")
    alice.execute("CREATE FUNCTION evil.eq(bigint, bigint) RETURNS boolean LANGUAGE plpgsql AS"
                  " $$ BEGIN INSERT INTO public.caught VALUES (current_user); RETURN true; END $$")
    alice.execute("CREATE OPERATOR evil.= (LEFTARG = bigint, RIGHTARG = bigint, PROCEDURE = evil.eq)")
    alice.execute("SET search_path = evil, pg_catalog")
    job = submit(alice, "CREATE TEMP TABLE jobs (id bigint); SET search_path = pg_temp, evil, pg_catalog; SELECT 1")
    assert finished(db, job)[0] == "succeeded"
    alice.execute("CALL damson.schedule('hers', '@daily', 'SELECT 1')")
    assert finished(db, submit(alice, "SELECT 1 / 0"))[0] == "failed"
    assert one(db, "SELECT count(*) FROM public.caught WHERE who <> 'job_alice'") == 0


def test_names_in_a_job_mean_what_they_meant_where_it_was_submitted(db, alice):
    db.execute("CREATE SCHEMA trusted; CREATE TABLE trusted.t AS SELECT 'trusted' AS word; CREATE TABLE public.t AS SELECT 'planted' AS word")
    db.execute("SET search_path = trusted")
    job = submit(db, "SELECT word FROM t")
    assert finished(db, job)[1] == {"word": "trusted"}


def test_a_right_that_is_lost_is_lost_to_jobs_that_wait(db, alice):
    db.execute("CREATE TABLE private AS SELECT i::float8 AS x, i::float8 AS y FROM generate_series(1, 50) i")
    db.execute("GRANT SELECT ON private TO job_alice")
    command = "CREATE TABLE copy_{} AS SELECT * FROM private"
    assert finished(alice, submit(alice, command.format(1)))[0] == "succeeded"
    waiting = submit(alice, command.format(2), delay=0.7)
    training = one(alice, "SELECT job FROM damson.train('m', 'SELECT * FROM private', 'y', 'linear', wait => false)")
    assert finished(alice, training)[0] == "succeeded"
    db.execute("REVOKE SELECT ON private FROM job_alice")
    training = one(alice, "SELECT job FROM damson.train('m', 'private', 'y', 'linear', wait => false)")
    for job in (waiting, training):
        state, _, error = finished(alice, job)
        assert (state, error) == ("failed", "permission denied for table private")
    # The model is given away between the submission and the run.
    db.execute("CREATE TABLE open AS SELECT * FROM private; GRANT SELECT ON open TO job_alice")
    alice.execute("BEGIN")
    job = one(alice, "SELECT job FROM damson.train('m', 'open', 'y', 'linear', wait => false)")
    db.execute("UPDATE damson_catalog.models SET owner = 'postgres'::regrole")
    alice.execute("COMMIT")
    assert finished(alice, job)[2].startswith('permission denied to train model "m"')


def test_a_role_that_may_not_log_in_or_connect_or_is_gone_runs_nothing(db, alice, connect, role, database):
    role("job_group")
    db.execute("ALTER ROLE job_group NOLOGIN")
    db.execute("GRANT job_group TO job_alice")
    alice.execute("SET ROLE job_group")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="may not log in"):
        submit(alice, "SELECT 1")
    alice.execute("RESET ROLE")
    job = submit(alice, "SELECT 1", delay=0.5)
    db.execute("ALTER ROLE job_alice NOLOGIN")
    assert finished(db, job) == ("failed", None, 'role "job_alice" may not log in any more')
    db.execute("ALTER ROLE job_alice LOGIN")
    job = submit(alice, "SELECT 1", delay=0.5)
    db.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    assert finished(db, job) == ("failed", None, 'role "job_alice" may not connect to this database any more')
    db.execute(f"GRANT CONNECT ON DATABASE {database} TO PUBLIC")
    db.execute("CREATE ROLE job_brief LOGIN")
    brief = connect(user="job_brief")
    job = submit(brief, "SELECT 1", delay=0.5)
    brief.close()
    db.execute("DROP ROLE job_brief")
    assert finished(db, job) == ("failed", None, "the role that submitted the job does not exist any more")


def test_jobs_of_others_are_neither_seen_nor_touched(db, alice, connect, role):
    role("job_bob")
    bob = connect(user="job_bob")
    job = submit(alice, "SELECT 'her secret'", delay=60)
    run = one(alice, "SELECT damson.pipeline('hers', '{\"steps\": [{\"name\": \"a\", \"sql\": \"SELECT pg_sleep(60)\"}]}')")
    alice.execute("CALL damson.schedule('hers', '@yearly', 'SELECT 1')")
    for view in ("jobs", "schedules", "pipelines", "steps"):
        assert one(bob, f"SELECT count(*) FROM damson.{view}") == 0
        assert one(alice, f"SELECT count(*) FROM damson.{view}") > 0
    for sql in ["CALL damson.cancel_job({job})", "SELECT damson.wait_for_job({job}, 0)", "SELECT damson.rerun_pipeline({run})",
                "SELECT damson.cancel_pipeline({run})", "CALL damson.drop_pipeline('hers')", "SELECT damson.pipeline('hers')",
                "CALL damson.unschedule('hers')"]:
        with pytest.raises(psycopg.errors.UndefinedObject):
            bob.execute(sql.format(job=job, run=run))
    for sql in ["CALL damson.schedule('hers', '@daily', 'SELECT 2')",
                "SELECT damson.pipeline('hers', '{\"steps\": [{\"name\": \"a\", \"sql\": \"SELECT 1\"}]}')"]:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute(sql)
    for setting in ("max_jobs", "max_jobs_per_role", "keep_jobs"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            bob.execute(f"SET damson.{setting} = 9")
    alice.execute("SELECT damson.cancel_pipeline(%s)", [run])


def test_a_security_definer_function_submits_as_its_owner_and_a_restricted_operation_not_at_all(db, alice):
    db.execute("CREATE TABLE private AS SELECT 1 AS i")
    alice.execute("CREATE FUNCTION trap(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS"
                  " $$ BEGIN PERFORM damson.submit('TABLE private'); RETURN i; END $$")
    alice.execute("CREATE TABLE bait (i int); INSERT INTO bait VALUES (1)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="security-restricted"):
        alice.execute("CREATE INDEX ON bait (trap(i))")
        db.execute("REINDEX TABLE bait")
    db.execute("CREATE FUNCTION helper() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET search_path = public AS"
               " $$ SELECT damson.submit('SELECT current_user::text AS who FROM private') $$")
    job = one(alice, "SELECT helper()")
    assert finished(db, job)[1] == {"who": "postgres"}
    assert one(alice, "SELECT count(*) FROM damson.jobs WHERE job = %s", job) == 0


def test_a_role_that_reads_only_by_default_can_have_jobs(db, alice):
    db.execute("ALTER ROLE job_alice SET default_transaction_read_only = on")
    db.execute("ALTER ROLE job_alice SET default_transaction_isolation = 'serializable'")
    alice.execute("SET default_transaction_read_only = off")
    assert finished(alice, submit(alice, "SELECT 1 AS i"))[1] == {"i": 1}
