"""Training a random forest by one SQL call, from reading the table to the stored version, against scikit-learn's
`fit` on arrays that are in memory already: 100 trees of depth 10 on 800k rows of 28 features, two threads each.

The peer takes minutes: RUNS sets how often each side is measured (1)."""

import os

import numpy as np
from _data import HIGGS_COLUMNS, higgs_table
from _measure import connect, medians, result
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score

GOAL = 0.15
RUNS = int(os.environ.get("RUNS", "1"))
PARAMS = '{"n_estimators": 100, "max_depth": 10}'

db = connect()
db.execute("SET damson.threads = 2")
db.execute("SET damson.progress = off")
x, y, table = higgs_table(db)
test = np.arange(1, len(y) + 1) % 5 == 0
columns = ", ".join(HIGGS_COLUMNS)
source = f"SELECT {columns}, y FROM {table} WHERE id % 5 <> 0"
fitted = []


def peer():
    model = RandomForestClassifier(n_estimators=100, max_depth=10, n_jobs=2, random_state=1)
    fitted[:] = [model.fit(x[~test], y[~test])]


def train(name, algorithm="random_forest", params=PARAMS):
    db.execute("CALL damson.drop_model(%s, missing_ok => true)", [name])
    db.execute(
        "SELECT damson.train(%s, %s, target => 'y', task => 'classification', algorithm => %s, params => %s, "
        "split => 'none')",
        [name, source, algorithm, params],
    )


def area(name):
    rows = db.execute(f"SELECT damson.probability('{name}', '1', {columns}) FROM {table} WHERE id % 5 = 0 ORDER BY id")
    return roc_auc_score(y[test], [row[0] for row in rows])


train("bench_forest", params='{"n_estimators": 1, "max_depth": 1}')  # The library is loaded, the table in memory.
found = medians({"random forest, SQL": lambda: train("bench_forest"), "random forest, scikit-learn": peer}, RUNS)
others = {
    "decision tree, SQL": lambda: train("bench_tree", "decision_tree", '{"max_depth": 10}'),
    "extra trees, SQL": lambda: train("bench_extra", "extra_trees"),
}
medians(others, 1)
theirs = roc_auc_score(y[test], fitted[0].predict_proba(x[test])[:, 1])
print(f"  AUC on {test.sum()} rows held out: {area('bench_forest'):.5f}, scikit-learn {theirs:.5f}")
result("forest", found["random forest, SQL"] / found["random forest, scikit-learn"], GOAL)
