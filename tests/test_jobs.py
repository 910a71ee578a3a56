"""Jobs: a queue that goes on whatever dies, with the rights of those who submit."""

import os
import random
import signal
import time

import psycopg
import pytest
from conftest import one, train_shifted, wait_for

ENDED = ("succeeded", "failed", "cancelled", "skipped")


def submit(connection, command, **terms):
    named = "".join(f", {name} => {value}" for name, value in terms.items())
    return one(connection, f"SELECT damson.submit(%s{named})", command)


def finished(connection, job, seconds=60):
    """The state, result and error of a job that has ended."""
    state = one(connection, "SELECT damson.wait_for_job(%s, %s)", job, float(seconds))
    assert state in ENDED, f"job {job} is {state}"
    return connection.execute("SELECT state, result, error FROM damson.jobs WHERE job = %s", [job]).fetchone()


def workers(connection):
    """The extension's processes of this database, and those of none."""
    sql = "SELECT backend_type FROM pg_stat_activity WHERE backend_type LIKE 'damson%%' AND (datname = current_database()" \
          " OR backend_type = 'damson clock ' || (SELECT oid FROM pg_database WHERE datname = current_database()))"
    return sorted(row[0] for row in connection.execute(sql))


def test_a_training_runs_as_a_job_and_gives_what_it_would_have_given(db):
    source = "SELECT i::float8 AS x, i * 2.0 + 1 AS y FROM generate_series(1, 50) i"
    sql = "SELECT version, job FROM damson.train('m', %s, 'y', 'ridge', params => '{{\"alpha\": 2}}', split => 'none'{})"
    version, job = db.execute(sql.format(", wait => false"), [source]).fetchone()
    assert version is None
    state, result, error = finished(db, job)
    assert (state, error) == ("succeeded", None)
    assert (result["model"], result["version"], result["train_rows"]) == ("m", 1, 50)
    db.execute(sql.format(""), [source])
    # The same bytes, and the run says the same of its arguments.
    assert one(db, "SELECT count(DISTINCT artifact_sha256) FROM damson_catalog.versions") == 1
    assert one(db, "SELECT count(DISTINCT arguments) FROM damson_catalog.runs") == 1


def test_a_training_that_cannot_succeed_is_refused_before_it_is_a_job(db):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        db.execute("SELECT * FROM damson.train('m', 'x', 'y', 'ridge', params => '{\"alpha\": -2}', wait => false)")
    assert one(db, "SELECT count(*) FROM damson.jobs") == 0


def test_a_job_begins_when_its_transaction_commits_and_not_if_it_does_not(db):
    db.execute("CREATE TABLE t (i int)")
    db.execute("BEGIN")
    submit(db, "INSERT INTO t VALUES (1)")
    db.execute("ROLLBACK")
    db.execute("BEGIN")
    job = submit(db, "INSERT INTO t VALUES (2) RETURNING i AS given, 'x'::text AS word, true AS flag, '{\"a\": [1]}'::jsonb AS doc")
    time.sleep(0.3)
    assert one(db, "SELECT state FROM damson.jobs") == "waiting"
    db.execute("COMMIT")
    assert finished(db, job) == ("succeeded", {"given": 2, "word": "x", "flag": True, "doc": {"a": [1]}}, None)
    assert one(db, "SELECT array_agg(i) FROM t") == [2]


def test_an_error_undoes_the_job_and_is_tried_again_as_often_as_asked(db):
    db.execute("CREATE TABLE t (i int); CREATE SEQUENCE tries")
    command = "INSERT INTO t VALUES (1); SELECT 1 / (nextval('tries') - 2) AS found"
    state, _, error = finished(db, submit(db, command.replace("2)", "nextval('tries') + 1)")))
    assert (state, error) == ("failed", "division by zero")
    db.execute("ALTER SEQUENCE tries RESTART 2")
    job = submit(db, command, retries=2)
    assert finished(db, job)[0] == "succeeded"
    assert one(db, "SELECT attempt FROM damson.jobs WHERE job = %s", job) == 2
    assert one(db, "SELECT count(*) FROM t") == 1


def test_a_cancelled_job_ends_within_a_second_and_leaves_nothing(db, connect):
    db.execute("CREATE TABLE t (i int)")
    jobs = [submit(db, "INSERT INTO t VALUES (1); SELECT pg_sleep(60)"),
            one(db, "SELECT job FROM damson.train('slow', 'SELECT sin(i) AS x, cos(i) AS y FROM generate_series(1, 200000) i',"
                    " 'y', params => '{\"n_estimators\": 100000}', split => 'none', wait => false)")]
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.jobs WHERE state = 'running' AND pid IS NOT NULL") == 2, "both")
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.progress WHERE model = 'slow'"), "the training")
    for job in jobs:
        begun = time.monotonic()
        db.execute("CALL damson.cancel_job(%s)", [job])
        wait_for(lambda: f"damson job {job}" not in workers(db), "the worker to end")
        assert time.monotonic() - begun < 1
        assert finished(db, job)[0] == "cancelled"
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="was cancelled"):
            db.execute("CALL damson.cancel_job(%s)", [job])
    assert one(db, "SELECT count(*) FROM t") == one(db, "SELECT count(*) FROM damson.models") == 0
    waiting = submit(db, "SELECT 1", delay=60)
    db.execute("CALL damson.cancel_job(%s)", [waiting])
    assert finished(db, waiting)[0] == "cancelled"


def test_a_timeout_ends_a_job(db):
    begun = time.monotonic()
    state, _, error = finished(db, submit(db, "SELECT pg_sleep(60)", timeout=0.5))
    assert (state, error) == ("failed", "the job ran into its timeout of 0.5 s")
    assert time.monotonic() - begun < 5
    wait_for(lambda: not [w for w in workers(db) if "job" in w], "the worker to end")


def test_priorities_and_limits_decide_who_goes_first(db, database, connect, role):
    role("job_limited")
    db.execute(f"ALTER DATABASE {database} SET damson.max_jobs = 2")
    db.execute(f"ALTER DATABASE {database} SET damson.max_jobs_per_role = 1")
    db.execute("CREATE TABLE log (role name DEFAULT session_user, what text, at timestamptz DEFAULT clock_timestamp(),"
               " others int)")
    db.execute("GRANT INSERT ON log TO job_limited")
    db.execute("CREATE FUNCTION busy() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS"
               " $$ SELECT count(*) FROM damson_catalog.jobs WHERE state = 'running' $$")
    other = connect(user="job_limited")
    for session in (db, other):
        session.execute("BEGIN")
        for i in range(4):
            submit(session, f"INSERT INTO log (what, others) SELECT '{i}', busy() FROM pg_sleep(0.1)", priority=i)
        session.execute("COMMIT")
    wait_for(lambda: one(db, "SELECT count(*) FROM damson.jobs WHERE state = 'succeeded'") == 8, "all jobs")
    assert one(db, "SELECT max(others) FROM log") == 2
    by_role = one(db, "SELECT array_agg(s) FROM (SELECT string_agg(what, '' ORDER BY at) AS s FROM log GROUP BY role) q")
    assert by_role == ["3210", "3210"]


def test_nothing_is_left_running_when_nothing_is_to_be_done(db, server, database):
    finished(db, submit(db, "SELECT 1"))
    wait_for(lambda: not workers(db), "the launcher to end", 5)
    # With something to do later only a clock is left, which is connected to no database.
    submit(db, "SELECT 1", delay=3600)
    db.execute("CALL damson.schedule('yearly', '@yearly', 'SELECT 1')")
    wait_for(lambda: workers(db) == [w for w in workers(db) if w.startswith("damson clock")] != [], "the clock alone", 5)
    time.sleep(0.5)
    clock = "SELECT pid, backend_xmin FROM pg_stat_activity WHERE backend_type = 'damson clock ' ||" \
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
    [(pid, xmin)] = db.execute(clock).fetchall()
    assert workers(db) == [w for w in workers(db) if w.startswith("damson clock")]
    assert xmin is None

    def woken():
        status = open(f"/proc/{pid}/status").read()
        return int(status.split("nonvoluntary_ctxt_switches")[0].split("voluntary_ctxt_switches:")[1])

    before = woken()
    time.sleep(2)
    assert woken() - before <= 1
    db.close()
    with server.connect() as admin:
        admin.execute(f"DROP DATABASE {database}")


def test_a_schedule_makes_jobs_and_follows_the_clock_of_its_zone(db):
    db.execute("CREATE TABLE t (at timestamptz DEFAULT clock_timestamp())")
    db.execute("CALL damson.schedule('nightly', '30 2 * * *', 'SELECT 1', time_zone => 'America/New_York')")
    hour = "SELECT to_char(next_due AT TIME ZONE 'America/New_York', 'HH24:MI') FROM damson.schedules"
    assert one(db, hour) == "02:30"
    assert one(db, "SELECT next_due > now() AND next_due < now() + interval '26 hours' FROM damson.schedules")
    db.execute("CALL damson.schedule('often', '* * * * *', 'INSERT INTO t DEFAULT VALUES')")
    # A minute is long for a test: its time is made to have come, thrice over.
    db.execute("UPDATE damson_catalog.schedules SET next_due = now() - interval '3 minutes' WHERE name = 'often'")
    submit(db, "SELECT 1")
    wait_for(lambda: one(db, "SELECT last_state FROM damson.schedules WHERE name = 'often'") == "succeeded", "its job")
    assert one(db, "SELECT count(*) FROM t") == 1
    assert one(db, "SELECT next_due > now() AND next_due <= now() + interval '1 minute' FROM damson.schedules WHERE name = 'often'")
    for bad, error in [("'x', '61 * * * *', 'SELECT 1'", psycopg.errors.InvalidParameterValue),
                       ("'x', '0 0 31 2 *', 'SELECT 1'", psycopg.errors.InvalidParameterValue),
                       ("'x', '@daily', 'SELECT 1', 'Mars/Olympus'", psycopg.errors.InvalidParameterValue)]:
        with pytest.raises(error):
            db.execute(f"CALL damson.schedule({bad})")
    db.execute("CALL damson.unschedule('often')")
    with pytest.raises(psycopg.errors.UndefinedObject):
        db.execute("CALL damson.unschedule('often')")


def killed(pid):
    """Kills a process, unless it has ended."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def crash(server, *options):
    """Stops the server as a crash does, and starts it again."""
    with server.connect() as admin:
        data = one(admin, "SHOW data_directory")
    server.program("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop", as_server=True)
    server.program("pg_ctl", "-D", data, "-l", server.scratch / "crash.log", *options, "-w", "start", as_server=True)


def reconnected(db, connect):
    """A new connection, once the old one is gone and the server is back; none where the old one stays, as the process
    that was killed had ended by itself a moment before."""
    def gone():
        try:
            db.execute("SELECT 1")
        except psycopg.OperationalError:
            return True

    def connected():
        try:
            return connect()
        except psycopg.OperationalError:
            return None

    try:
        wait_for(gone, "the server to learn of it", 3)
    except AssertionError:
        return None
    return wait_for(connected, "the server to recover")


def mixed_jobs(db, count):
    """Jobs of mixed kinds, whose outcome does not depend on their order. Gives their numbers."""
    db.execute("CREATE TABLE IF NOT EXISTS done (job int PRIMARY KEY, value float8)")
    jobs = []
    for i in range(count):
        kind = i % 5
        if kind == 0:
            sql = f"INSERT INTO done SELECT {i}, sum(sqrt(g)) FROM generate_series(1, 20000) g"
        elif kind == 1:
            sql = f"INSERT INTO done SELECT {i}, 1 FROM pg_sleep(1)"
        elif kind == 2:
            sql = f"SELECT 1 / 0 AS job_{i}"
        elif kind == 3:
            sql = f"SELECT * FROM damson.summarize('SELECT i::float8 AS x FROM generate_series(1, 2000) i')"
        else:
            source = f"SELECT sin(i + {i}) AS x, cos(i * {i}) AS y FROM generate_series(1, 2000) i"
            jobs.append(one(db, "SELECT job FROM damson.train(%s, %s, 'y', params => '{\"n_estimators\": 20}', split => 'none',"
                                " wait => false)", f"m{i}", source))
            continue
        jobs.append(submit(db, sql))
    return jobs


def outcome(db):
    """What all jobs left: states, results but for times, rows, artifacts."""
    jobs = db.execute("SELECT job, state, result - 'seconds', error FROM damson.jobs ORDER BY job").fetchall()
    rows = db.execute("SELECT * FROM done ORDER BY 1").fetchall()
    models = db.execute("SELECT m.name, v.version, v.artifact_sha256 FROM damson_catalog.versions v"
                        " JOIN damson_catalog.models m ON m.id = v.model ORDER BY 1, 2").fetchall()
    return jobs, rows, models


def test_no_job_is_lost_or_done_twice_whatever_is_killed(server, connect, measured):
    jobs, kills, crashes = (int(n) for n in os.environ.get("DAMSON_JOBS_CHAOS", "60 8 1").split())
    quiet = server.create_database()
    try:
        with server.connect(dbname=quiet) as db:
            mixed_jobs(db, jobs)
            wait_for(lambda: one(db, "SELECT bool_and(state IN ('succeeded', 'failed')) FROM damson.jobs"), "quiet jobs", 300)
            undisturbed = outcome(db)
    finally:
        server.drop_database(quiet)
    db = connect()
    # The test server commits asynchronously; what was confirmed must be on disk before a crash.
    db.execute("SET synchronous_commit = on")
    begun = time.monotonic()
    mixed_jobs(db, jobs)
    blows = ["kill"] * kills + ["crash"] * crashes
    random.shuffle(blows)
    running = "SELECT pid FROM damson.jobs WHERE state = 'running' AND pid IS NOT NULL ORDER BY random() LIMIT 1"
    over = "SELECT bool_and(state IN ('succeeded', 'failed')) FROM damson.jobs"
    for blow in blows:
        time.sleep(random.random() * 0.2)
        if blow == "crash":
            crash(server)
            db = reconnected(db, connect)
        else:
            # One that ends by itself at that moment is none.
            while True:
                victim = wait_for(lambda: db.execute(running).fetchone() or one(db, over) and (None,), "a worker to kill")[0]
                assert victim, "the jobs ended before all blows were struck"
                if killed(victim) and (new := reconnected(db, connect)):
                    db = new
                    break
        # The session that looks also brings back what the restart of the server ended.
        one(db, "SELECT count(*) FROM damson.jobs")
    wait_for(lambda: one(db, over), "all jobs", 300)
    disturbed = outcome(db)
    assert len(disturbed[0]) == jobs
    for what, found, wanted in zip(("jobs", "rows", "models"), disturbed, undisturbed):
        assert [pair for pair in zip(found, wanted) if pair[0] != pair[1]] == [], what
    assert disturbed == undisturbed
    again = one(db, "SELECT sum(interruptions)::bigint FROM damson_catalog.jobs")
    measured(f"{jobs} jobs, {kills} kills, {crashes} crashes, {again} jobs begun again: {time.monotonic() - begun:.0f} s")


def test_preloaded_the_server_goes_on_by_itself_where_a_crash_ended_it(server, db):
    """No session looks at the jobs: what the job leaves is a file."""
    db.execute("SET synchronous_commit = on")
    trace = server.scratch / "preloaded"
    trace.unlink(missing_ok=True)
    job = submit(db, f"DO $$ BEGIN PERFORM pg_sleep(1); COPY (SELECT 7) TO '{trace}'; END $$")
    wait_for(lambda: one(db, "SELECT pid FROM damson.jobs WHERE job = %s", job), "the worker")
    db.close()
    try:
        crash(server, "-o", "-c shared_preload_libraries=damson")
        with server.connect() as admin:
            assert one(admin, "SHOW shared_preload_libraries") == "damson"
        assert wait_for(lambda: trace.exists() and trace.read_text(), "the job's file") == "7\n"
    finally:
        crash(server)


def test_a_worker_that_is_ended_is_begun_again(db):
    db.execute("CREATE TABLE t (i int)")
    job = submit(db, "INSERT INTO t SELECT 1 FROM pg_sleep(0.5)")
    pid = wait_for(lambda: one(db, "SELECT pid FROM damson.jobs WHERE job = %s", job), "the worker")
    assert one(db, "SELECT pg_terminate_backend(%s)", pid)
    assert finished(db, job)[0] == "succeeded"
    assert one(db, "SELECT interruptions FROM damson_catalog.jobs WHERE id = %s", job) == 1
    assert one(db, "SELECT count(*) FROM t") == 1
