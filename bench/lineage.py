"""What recording the lineage of a training costs: reading the source's tree, the rows' digest, the columns in numbers,
and the rows of the catalog. All of it happens in the training's own time and transaction.

Prints the share of the whole training, for a table of a million rows and for a small one; the goal is 5 %.
"""

import re
import statistics
import time

from _measure import connect, result, table

RUNS = 3
connection = connect()
connection.execute("SET client_min_messages = debug1")
FEATURES = 28
table(
    connection,
    "bench_lineage",
    ["g AS id"] + [f"random()::float4 AS x{i}" for i in range(1, FEATURES + 1)] + ["(g % 3 = 0) AS label", "random()::float8 AS y"],
)
connection.execute("CREATE OR REPLACE VIEW bench_lineage_view AS SELECT * FROM bench_lineage WHERE x1 >= 0")
connection.execute("DROP TABLE IF EXISTS bench_lineage_small; CREATE TABLE bench_lineage_small AS SELECT * FROM bench_lineage LIMIT 10000")
names = "{" + ",".join(f"x{i}" for i in range(1, FEATURES + 1)) + "}"
written = []


def heard(notice):
    found = re.search(r"lineage written in ([0-9.]+) s", notice.message_primary or "")
    if found:
        written.append(float(found.group(1)))


connection.add_notice_handler(heard)


def share(source, target, algorithm, **more):
    """The share of a training that its lineage took, and the seconds of both; the medians of some runs."""
    wholes, parts = [], []
    for _ in range(RUNS):
        written.clear()
        started = time.perf_counter()
        arguments = "".join(f", {name} => %({name})s" for name in more)
        connection.execute(
            f"SELECT * FROM damson.train('bench_lineage_{algorithm}', %(source)s, %(target)s, %(algorithm)s,"
            f" features => %(names)s{arguments})",
            {"source": source, "target": target, "algorithm": algorithm, "names": names, **more},
        )
        wholes.append(time.perf_counter() - started)
        gathered = connection.execute("SELECT (timings ->> 'lineage')::float8 FROM damson.runs ORDER BY run DESC LIMIT 1").fetchone()[0]
        parts.append(gathered + sum(written))
    whole, part = statistics.median(wholes), statistics.median(parts)
    print(f"  {algorithm:12} {source:22} {whole * 1e3:9.1f} ms, lineage {part * 1e3:7.2f} ms   {100 * part / whole:5.2f} %")
    return part / whole


print(f"{FEATURES} features, {RUNS} runs")
shares = [
    share("bench_lineage_view", "label", "boosting"),
    share("bench_lineage_view", "label", "logistic"),
    share("bench_lineage_view", "y", "linear"),
    share("bench_lineage_view", "label", "logistic", key_column="id"),
    share("bench_lineage_small", "label", "boosting"),
    share("bench_lineage_small", "label", "logistic"),
]
result("lineage_share_boosting_1M", shares[0], 0.05)
result("lineage_share_logistic_1M", shares[1], 0.05)
result("lineage_share_linear_1M", shares[2], 0.05)
result("lineage_and_keys_share_logistic_1M", shares[3], 0.05)
result("lineage_share_boosting_10k", shares[4], 0.05)
result("lineage_share_logistic_10k", shares[5], 0.05)
