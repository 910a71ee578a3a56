"""Scoring 1M rows of 28 features with 100 trees of 63 leaves: one SQL statement in two processes, against LightGBM's
`predict` on an array in memory with two threads."""

import lightgbm
import numpy as np
from _data import HIGGS_COLUMNS, higgs_table
from _measure import connect, medians, result

GOAL = 0.7

db = connect()
db.execute("SET damson.threads = 2")
db.execute("SET max_parallel_workers_per_gather = 1")
x, y, table = higgs_table(db)
columns = ", ".join(HIGGS_COLUMNS)
train = np.arange(1, len(y) + 1) % 5 == 0
db.execute("CALL damson.drop_model('bench_trees', missing_ok => true)")
db.execute(
    "SELECT damson.train('bench_trees', %s, target => 'y', task => 'classification', split => 'none', params => %s)",
    [f"SELECT {columns}, y FROM {table} WHERE mod(id, 5) = 0", '{"n_estimators": 100, "num_leaves": 63}'],
)
peer = lightgbm.LGBMClassifier(n_estimators=100, num_leaves=63, num_threads=2, verbose=-1).fit(x[train], y[train])
scored = f"SELECT avg(damson.probability('bench_trees', '1', {columns})) FROM {table}"
plan = " ".join(row[0] for row in db.execute(f"EXPLAIN {scored}"))
assert "Workers Planned: 1" in plan, f"the plan is not parallel: {plan}"
ours, theirs = db.execute(scored).fetchone()[0], peer.predict_proba(x)[:, 1].mean()
assert abs(ours - theirs) < 0.01, f"the mean probability is {ours}, LightGBM's {theirs}"

found = medians(
    {
        "LightGBM predict": lambda: peer.predict(x, raw_score=True),
        "SQL": lambda: db.execute(scored).fetchone(),
        "SQL, sum of one column": lambda: db.execute(f"SELECT sum(x28) FROM {table}").fetchone(),
    },
    5,
)
result("score-trees", found["SQL"] / found["LightGBM predict"], GOAL)
