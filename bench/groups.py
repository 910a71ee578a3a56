"""Models a group: 10,000 groups of 100 rows, trained by damson.train with group_by and by damson.fit with GROUP BY.

The peer is what users write: a loop over pandas' groupby with scikit-learn's LinearRegression, on a frame in memory.
Prints the seconds of each against the goal of 20 s, and what scoring a million rows over all groups costs beside an
ungrouped model.
"""

import time

import pandas
from sklearn.linear_model import LinearRegression, Ridge

from _measure import connect, medians, missing, result, table

GROUPS = 10_000
FEATURES = 5
GOAL = 20.0

connection = connect()
table(
    connection,
    "bench_groups",
    [f"g % {GROUPS} AS k", f"'shop ' || g % {GROUPS} AS shop"]
    + [f"random()::float8 AS x{i}" for i in range(1, FEATURES + 1)],
    GROUPS * 100,
)
if missing(connection, "bench_groups_y"):
    connection.execute(
        f"""CREATE UNLOGGED TABLE bench_groups_y AS SELECT *, x1 * (k % 7) - x2 * (k % 3) + 0.1 * random() AS y,
        x1 + 0.5 * random() > 0.75 AS label FROM bench_groups"""
    )
connection.execute("VACUUM (FREEZE, ANALYZE) bench_groups_y")
features = [f"x{i}" for i in range(1, FEATURES + 1)]
names = "{" + ",".join(features) + "}"


def train(algorithm, target="y", group_by="{shop}", params="{}", name="bench_groups"):
    """Seconds of a whole training in SQL, from the table to the stored version."""
    started = time.perf_counter()
    connection.execute(
        "SELECT * FROM damson.train(%s, 'bench_groups_y', %s, %s, params => %s, features => %s, group_by => %s,"
        " split => 'none')",
        [f"{name}_{algorithm}", target, algorithm, params, names, group_by],
    )
    return time.perf_counter() - started


def peer(model):
    """Seconds of the loop, the frame already in memory."""
    rows = connection.execute(f"SELECT shop, y, {', '.join(features)} FROM bench_groups_y").fetchall()
    frame = pandas.DataFrame(rows, columns=["shop", "y", *features])
    started = time.perf_counter()
    models = {shop: model().fit(rows[features], rows["y"]) for shop, rows in frame.groupby("shop")}
    assert len(models) == GROUPS
    return time.perf_counter() - started


def fit(algorithm, params="{}"):
    """Seconds of the aggregate."""
    started = time.perf_counter()
    count = connection.execute(
        f"""SELECT count(m) FROM (SELECT damson.fit_with('{algorithm}', '{params}', y, {', '.join(features)}) AS m
        FROM bench_groups_y GROUP BY shop) s"""
    ).fetchone()[0]
    assert count == GROUPS
    return time.perf_counter() - started


print(f"{GROUPS} groups of 100 rows, {FEATURES} features; seconds")
small = '{"trees": 10, "num_leaves": 8}'
print(f"  train boosting, 10 trees            {train('boosting', params=small):8.2f}   (goal {GOAL:.0f})")
print(f"  train logistic                      {train('logistic', 'label'):8.2f}   (goal {GOAL:.0f})")
print(f"  fit ridge                           {fit('ridge'):8.2f}   (goal {GOAL:.0f})")
ridge, ridge_peer = train("ridge"), peer(Ridge)
print(f"  train ridge                         {ridge:8.2f}   (goal {GOAL:.0f}; loop over Ridge {ridge_peer:.2f})")
linear, linear_peer = train("linear"), peer(LinearRegression)
print(f"  train linear                        {linear:8.2f}   (goal {GOAL:.0f}; loop over LinearRegression {linear_peer:.2f})")
result("groups-linear", linear / GOAL, 1.0)
result("groups-linear-loop", linear / linear_peer, 0.5)

connection.execute(
    "SELECT * FROM damson.train('bench_groups_one', 'bench_groups_y', 'y', 'linear', features => %s, split => 'none')",
    [names],
)
listed = ", ".join(features)
found = medians(
    {
        "scoring, one model": lambda: connection.execute(
            f"SELECT sum(damson.predict('bench_groups_one', {listed})) FROM bench_groups_y"
        ).fetchone(),
        "scoring, a model a group": lambda: connection.execute(
            f"SELECT sum(damson.predict('bench_groups_linear', shop, {listed})) FROM bench_groups_y"
        ).fetchone(),
    },
    runs=5,
)
result("groups-scoring", found["scoring, a model a group"] / found["scoring, one model"], 2.0)
