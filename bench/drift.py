"""Drift of 28 numeric columns between two tables of 1M rows, by one SQL call that reads both, against Evidently's
preset on frames that are in memory already; then against a model's baseline, by the planner's statistics, and what
recording the baseline costs a training.

Evidently's environment is its own: EVIDENTLY names a Python that has evidently==0.7.23 and pandas<3.1."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _data import HIGGS_COLUMNS, higgs_table
from _measure import connect, medians, missing, result

GOAL = 1 / 50
PEER = """
import json, sys, time
import numpy as np, pandas as pd
from evidently import Report
from evidently.core.datasets import Dataset, DataDefinition
from evidently.presets import DataDriftPreset
columns = [f"x{i}" for i in range(1, 29)]
sides = [pd.DataFrame(np.load(p), columns=columns) for p in sys.argv[1:3]]
definition = DataDefinition(numerical_columns=columns)
data = [Dataset.from_pandas(side, data_definition=definition) for side in sides]
started = time.perf_counter()
found = Report([DataDriftPreset()]).run(reference_data=data[0], current_data=data[1])
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "metrics": len(found.dict()["metrics"])}))
"""

db = connect()
db.execute("SET damson.threads = 2")
db.execute("SET damson.progress = off")
x, y, table = higgs_table(db)
columns = ", ".join(HIGGS_COLUMNS)
shifted = f"{table}_shifted"
if missing(db, shifted):
    moved = ", ".join(f"(x{i} * {1 + 0.01 * (i % 3)})::real AS x{i}" for i in range(1, 29))
    db.execute(f"CREATE UNLOGGED TABLE {shifted} AS SELECT id, {moved}, y FROM {table}")
db.execute(f"VACUUM (FREEZE, ANALYZE) {shifted}")
before, after = f"SELECT {columns} FROM {table}", f"SELECT {columns} FROM {shifted}"

PARAMS = '{"n_estimators": 100}'


def train(name, algorithm="boosting", params=PARAMS):
    db.execute("CALL damson.drop_model(%s, missing_ok => true)", [name])
    sql = "SELECT damson.train(%s, %s, target => 'y', task => 'classification', algorithm => %s, params => %s)"
    db.execute(sql, [name, f"SELECT {columns}, y FROM {table}", algorithm, params])
    sql = "SELECT timings FROM damson.runs WHERE model = %s ORDER BY run DESC LIMIT 1"
    timings = db.execute(sql, [name]).fetchone()[0]
    sql = "SELECT seconds::float8 FROM damson.runs WHERE model = %s ORDER BY run DESC LIMIT 1"
    seconds = db.execute(sql, [name]).fetchone()[0]
    share = timings["baseline"] / seconds
    print(f"  {algorithm}: baseline {timings['baseline'] * 1e3:.0f} ms of {seconds * 1e3:.0f} ms, {share:.2%}")
    return share


share = train("bench_drift")
train("bench_drift_linear", "logistic", "{}")
found = medians({
    "two tables": lambda: db.execute("SELECT * FROM damson.drift_between(%s, %s)", [before, after]).fetchall(),
    "baseline": lambda: db.execute("SELECT * FROM damson.drift('bench_drift', %s, predictions => false)", [after]).fetchall(),
    "planner": lambda: db.execute("SELECT * FROM damson.drift_quick('bench_drift', %s)", [shifted]).fetchall(),
}, int(os.environ.get("RUNS", "3")))
result("drift quick, ms", found["planner"], 20)
result("drift baseline, share of a training", share, 0.05)
peer = os.environ.get("EVIDENTLY")
if not peer:
    sys.exit("drift: skipped the peer, EVIDENTLY names no Python")
with tempfile.TemporaryDirectory() as folder:
    paths = [str(Path(folder) / f"{name}.npy") for name in ("before", "after")]
    scale = np.array([1 + 0.01 * (i % 3) for i in range(1, 29)])
    np.save(paths[0], x.astype(np.float64))
    np.save(paths[1], (x * scale).astype(np.float32).astype(np.float64))
    theirs = json.loads(subprocess.run([peer, "-c", PEER, *paths], check=True, capture_output=True, text=True).stdout)
print(f"  {'Evidently':32} {theirs['seconds'] * 1e3:8.0f} ms")
result("drift", found["two tables"] / (theirs["seconds"] * 1e3), GOAL)
