"""What recording the lineage of a training costs: reading the source's tree, the rows' digest, the columns in numbers,
and the rows of the catalog. All of it happens in the training's own time and transaction.

Part of it is found out on a second thread while the rows are read. So what reading the same rows without that takes is
measured too, and what a training's reading takes longer counts.

Prints the share of the whole training, for a table of a million rows and for a small one; the goal is 5 %. Beside it,
without a goal: the share with the drift baseline, which every training records too.
"""

import os
import re
import statistics
import time

from _measure import connect, result, table

RUNS = int(os.environ.get("RUNS", "7"))
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
# Only a library built with the feature `bench` has this function; the extension's SQL never does.
connection.execute("""CREATE OR REPLACE FUNCTION bench_read_columns(source text, columns text[]) RETURNS bigint
                      LANGUAGE c STRICT AS '$libdir/damson', 'bench_read_columns_wrapper'""")
written = {"lineage": [], "baseline": []}


def heard(notice):
    for what, seconds in re.findall(r"(lineage|baseline) written in ([0-9.]+) s", notice.message_primary or ""):
        written[what].append(float(seconds))


connection.add_notice_handler(heard)


def plain(source, columns):
    """Seconds of reading columns of a source into memory, as a training does, and nothing else."""
    columns = "{" + ",".join(columns) + "}"
    return connection.execute("SELECT bench_read_columns(%s, %s)", [source, columns]).fetchone()[0] / 1e6


def share(source, target, algorithm, **more):
    """The share of a training that its lineage took; the medians of some runs."""
    wholes, parts, baselines, reads, plains = [], [], [], [], []
    columns = [f"x{i}" for i in range(1, FEATURES + 1)] + [target, *more.values()]
    for _ in range(RUNS):
        plains.append(plain(source, columns))
        written["lineage"].clear()
        written["baseline"].clear()
        started = time.perf_counter()
        arguments = "".join(f", {name} => %({name})s" for name in more)
        connection.execute(
            f"SELECT * FROM damson.train('bench_lineage_{algorithm}', %(source)s, %(target)s, %(algorithm)s,"
            f" features => %(names)s{arguments})",
            {"source": source, "target": target, "algorithm": algorithm, "names": names, **more},
        )
        wholes.append(time.perf_counter() - started)
        timings = connection.execute("SELECT timings FROM damson.runs ORDER BY run DESC LIMIT 1").fetchone()[0]
        parts.append(timings["lineage"] + sum(written["lineage"]))
        baselines.append(timings["baseline"] + sum(written["baseline"]))
        reads.append(timings["read"])
    whole, baseline = statistics.median(wholes), statistics.median(baselines)
    longer = max(0.0, statistics.median(reads) - statistics.median(plains))
    part = statistics.median(parts) + longer
    print(
        f"  {algorithm:9} {source:20} {whole * 1e3:8.1f} ms; lineage {part * 1e3:6.2f} ms, of them {longer * 1e3:5.2f} in"
        f" reading: {100 * part / whole:5.2f} %; with the baseline {100 * (part + baseline) / whole:5.2f} %"
    )
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
