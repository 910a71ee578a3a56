"""Drift as other clients see it: Evidently's own report on the same rows, other roles, a dump, a cancel."""

import gzip
import io
import os
import pathlib
import time

import psycopg
import pytest
from conftest import one

DENIED = psycopg.errors.InsufficientPrivilege
ROWS = "SELECT i::float8 AS x, 'k' || i % 3 AS c, i * 2.0::float8 AS y FROM generate_series(1, 200) i"


@pytest.fixture
def watched(db):
    """The first connection, a superuser's, with the model `m` over rows that only it may read."""
    db.execute(f"CREATE TABLE mine AS {ROWS}")
    db.execute("ANALYZE mine")
    db.execute("SELECT damson.train('m', 'mine', 'y', 'linear', split => 'none')")
    return db


def test_another_role_learns_nothing_of_a_models_rows(watched, connect, role):
    bob = role("drift_bob")
    his = connect(user=bob)
    calls = [
        f"SELECT * FROM damson.drift('m', $${ROWS}$$)",
        "SELECT * FROM damson.drift_quick('m', 'pg_class')",
        f"SELECT * FROM damson.data_quality($${ROWS}$$, model => 'm')",
        f"SELECT * FROM damson.performance_drift('m', $${ROWS}$$)",
        f"SELECT * FROM damson.concept_drift('m', $${ROWS}$$, order_by => 'x')",
    ]
    for sql in calls:
        with pytest.raises(DENIED, match='model "m"'):
            his.execute(sql)
    assert one(his, "SELECT count(*) FROM damson.baselines") == 0
    for sql in ["SELECT * FROM damson_drift.baselines", "DELETE FROM damson_drift.baselines"]:
        with pytest.raises(DENIED):
            his.execute(sql)
    watched.execute(f"CALL damson.grant_model('m', '{bob}')")
    # With the model he has its drift, but not the rows of others, nor what the planner knows of them.
    for sql in calls[:1] + calls[2:]:
        his.execute(sql)
    assert one(his, "SELECT count(*) FROM damson.baselines") == 4
    with pytest.raises(DENIED, match="table mine"):
        his.execute("SELECT * FROM damson.drift('m', 'mine')")
    with pytest.raises(psycopg.errors.DataException, match="no statistics"):
        his.execute("SELECT * FROM damson.drift_quick('m', 'mine')")
    watched.execute(f"GRANT SELECT (x) ON mine TO {bob}")
    assert his.execute("SELECT \"column\" FROM damson.drift_quick('m', 'mine')").fetchall() == [(None,), ("x",)]
    watched.execute(f"GRANT SELECT ON mine TO {bob}")
    watched.execute(f"CREATE POLICY few ON mine TO {bob} USING (x <= 20)")
    watched.execute("ALTER TABLE mine ENABLE ROW LEVEL SECURITY")
    with pytest.raises(psycopg.errors.DataException, match="no statistics"):
        his.execute("SELECT * FROM damson.drift_quick('m', 'mine')")
    # He sees the twenty rows that the policy leaves him.
    assert one(his, "SELECT drifted FROM damson.drift('m', 'mine', columns => '{x}') WHERE role = 'feature'")


def test_a_source_cannot_take_over(watched, connect, role):
    """Functions and operators of the caller's schemas run as the caller, and not in the catalog's statements."""
    bob = role("drift_mallory")
    watched.execute(f"CREATE SCHEMA evil AUTHORIZATION {bob}")
    watched.execute(f"CALL damson.grant_model('m', '{bob}')")
    his = connect(user=bob)
    his.execute("""CREATE FUNCTION evil.eq(oid, oid) RETURNS boolean LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'taken over as %', current_user; END $$""")
    his.execute("CREATE OPERATOR evil.= (FUNCTION = evil.eq, LEFTARG = oid, RIGHTARG = oid)")
    his.execute("SET search_path = evil, pg_catalog, public")
    his.execute(f"CREATE TABLE evil.own AS {ROWS}")
    his.execute("ANALYZE evil.own")
    assert len(his.execute("SELECT * FROM damson.drift_quick('m', 'own')").fetchall()) == 4
    assert len(his.execute("SELECT * FROM damson.drift('m', 'own')").fetchall()) == 5


def test_a_dump_carries_baselines(watched, server):
    before = watched.execute("SELECT * FROM damson.drift('m', 'mine')").fetchall()
    with server.copied(watched) as copy, server.connect(dbname=copy) as restored:
        assert restored.execute("SELECT * FROM damson.drift('m', 'mine')").fetchall() == before


def test_drift_is_cancelled(watched):
    watched.execute("SET statement_timeout = '300ms'")
    rows = "SELECT ('k' || i % 2) AS c FROM generate_series(1, 300000) i"
    started = time.monotonic()
    with pytest.raises(psycopg.errors.QueryCanceled):
        watched.execute("SELECT * FROM damson.drift_between(%s, %s, method => 'tvd')", [rows, rows])
    assert time.monotonic() - started < 5


def bikes():
    folder = os.environ.get("DAMSON_DATA")
    file = pathlib.Path(folder or "") / "bike_sharing/hour.csv.gz"
    if not folder or not file.exists():
        pytest.skip("DAMSON_DATA names no folder with bike_sharing")
    return gzip.decompress(file.read_bytes())


def test_evidentlys_report_has_the_same_numbers(db):
    evidently = pytest.importorskip("evidently", reason="evidently is not installed")
    pandas = pytest.importorskip("pandas")
    from evidently.core.datasets import DataDefinition, Dataset
    from evidently.presets import DataDriftPreset

    text = bikes()
    table = pandas.read_csv(io.BytesIO(text), float_precision="round_trip")
    columns = [c for c in table.columns if c not in ("instant", "dteday")]
    # One of the file's counters has a control character before it: a text, then.
    types = ", ".join(f'"{c}" {dict(i="int4", f="float8").get(table[c].dtype.kind, "text")}' for c in table.columns)
    db.execute(f"CREATE TABLE bikes ({types})")
    with db.cursor().copy("COPY bikes FROM STDIN (FORMAT csv, HEADER)") as copy:
        copy.write(text)
    sides = [f"SELECT {', '.join(columns)} FROM bikes WHERE dteday LIKE '2011-{month}%'" for month in ("01", "02")]
    found = {row[0]: row[1:] for row in db.execute(
        "SELECT \"column\", coalesce(p_value, statistic), drifted FROM damson.drift_between(%s, %s)", sides)}
    definition = DataDefinition(numerical_columns=columns)
    frames = [table[table.dteday.str.startswith(f"2011-{month}")][columns] for month in ("01", "02")]
    reference, current = (Dataset.from_pandas(f.reset_index(drop=True), data_definition=definition) for f in frames)
    report = evidently.Report([DataDriftPreset()]).run(reference_data=reference, current_data=current)
    compared = 0
    for metric in report.dict()["metrics"]:
        config = metric.get("config", {})
        if "ValueDrift" in config.get("type", metric.get("metric_name", "")):
            assert found[config["column"]][0] == pytest.approx(float(metric["value"]), abs=1e-6), config["column"]
            compared += 1
        elif "DriftedColumnsCount" in config.get("type", metric.get("metric_name", "")):
            share = one(db, "SELECT statistic FROM damson.drift_between(%s, %s) WHERE role = 'dataset'", *sides)
            assert share == pytest.approx(metric["value"]["share"])
            compared += 1
    assert compared == len(columns) + 1
