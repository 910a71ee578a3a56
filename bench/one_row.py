"""One row a statement, prepared, by two clients of pgbench: scored with 100 trees of 63 leaves, against the sum of the
same 28 values written in SQL."""

import os
import statistics
import subprocess
import tempfile
from pathlib import Path

from _data import HIGGS_COLUMNS, higgs_table
from _measure import connect, result

GOAL = 0.8
RUNS = 5
SECONDS = 4

db = connect()
_, _, table = higgs_table(db, 100_000)
columns = ", ".join(HIGGS_COLUMNS)
db.execute("CALL damson.drop_model('bench_one_row', missing_ok => true)")
db.execute(
    "SELECT damson.train('bench_one_row', %s, target => 'y', task => 'regression', split => 'none', params => %s)",
    [f"SELECT {columns}, y FROM {table}", '{"n_estimators": 100, "num_leaves": 63}'],
)
bin_dir = db.execute("SELECT setting FROM pg_catalog.pg_config() WHERE name = 'BINDIR'").fetchone()[0]
values = [f":v{i}::float8" for i in range(28)]
draws = "".join(f"\\set v{i} random(-200, 200) / 100.0\n" for i in range(28))
scripts = {
    "sum of 28 values": f"SELECT {' + '.join(values)};",
    "predict, 100 trees": f"SELECT damson.predict('bench_one_row', {', '.join(values)});",
}


def per_second(script):
    command = [f"{bin_dir}/pgbench", "-n", "-M", "prepared", "-c", "2", "-j", "1", "-T", str(SECONDS), "-f", script]
    printed = subprocess.run([*command, os.environ["DAMSON_DSN"]], check=True, capture_output=True, text=True).stdout
    return float(next(line.split()[2] for line in printed.splitlines() if line.startswith("tps = ")))


with tempfile.TemporaryDirectory() as folder:
    rates = {name: [] for name in scripts}
    for name, statement in scripts.items():
        Path(folder, name.replace(" ", "_")).write_text(draws + statement + "\n")
    for _ in range(RUNS):
        for name in scripts:
            rates[name].append(per_second(str(Path(folder, name.replace(" ", "_")))))
found = {name: statistics.median(all_of_it) for name, all_of_it in rates.items()}
for name, rate in found.items():
    print(f"  {name:32} {rate:8.0f} a second")
result("one-row", found["predict, 100 trees"] / found["sum of 28 values"], GOAL, ">=")
