"""Networks, whole: images a second of `damson.train` and of scoring by a plain SELECT, against PyTorch on the same machine.

Damson's time is that of the statement: reading the table, all epochs, measuring the model, storing it. PyTorch has its
images in memory as floats already, in channels_last, and its best epoch counts. DAMSON_TORCH is a Python that has torch.
DAMSON_BENCH_NETWORKS names some of the cases, DAMSON_THREADS the threads (2). With DAMSON_ISA=avx2 in the environment of the
server too, both sides go without AVX-512.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from _measure import connect, missing, result

# Name, side, channels, rows, epochs, and the ratios of images a second that are asked for: training, scoring.
CASES = {
    "cnn_small-32": ("cnn_small", 32, 3, 8192, 4, 1.8, 2.0),
    "cnn_small-28": ("cnn_small", 28, 1, 8192, 4, 1.8, 2.0),
    "resnet9-32": ("resnet9", 32, 3, 512, 3, 1.3, None),
}
threads = int(os.environ.get("DAMSON_THREADS", "2"))
plain = os.environ.get("DAMSON_ISA") == "avx2"
wanted = os.environ.get("DAMSON_BENCH_NETWORKS", ",".join(CASES)).split(",")
torch = os.environ.get("DAMSON_TORCH", sys.executable)
if subprocess.run([torch, "-c", "import torch"], capture_output=True).returncode != 0:
    sys.exit("DAMSON_TORCH must name a Python that has torch")


def pytorch(*arguments):
    environment = dict(os.environ)
    if plain:
        environment |= {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
    script = Path(__file__).with_name("_networks_torch.py")
    done = subprocess.run([torch, script, *map(str, arguments)], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


db = connect()
db.execute(f"SET damson.threads = {threads}")
for case in wanted:
    name, side, channels, rows, epochs, train_goal, score_goal = CASES[case]
    size = side * side * channels
    images = f"bench_images_{size}"
    if missing(db, images):
        digest = "string_agg(sha256((g * 1000 + i)::text::bytea), ''::bytea ORDER BY i)"
        db.execute(f"""CREATE UNLOGGED TABLE {images} AS SELECT (g % 10)::text AS label, (SELECT substr({digest}, 1, {size})
            FROM generate_series(1, {size // 32 + 1}) i) AS image FROM generate_series(1, {max(rows, 8192)}) g""")
    db.execute(f"VACUUM (FREEZE, ANALYZE) {images}")
    params = json.dumps({"architecture": name, "epochs": epochs})
    preprocess = json.dumps({"image": [side, side, channels]})
    source = f"SELECT image, label FROM {images} LIMIT {rows}"
    started = time.perf_counter()
    db.execute("SELECT * FROM damson.train('bench_net', %s, 'label', 'cnn', %s, preprocess => %s, split => 'none')",
               [source, params, preprocess])
    trained = rows * epochs / (time.perf_counter() - started)
    version = db.execute("SELECT newest FROM damson.models WHERE name = 'bench_net'").fetchone()[0]
    scoring = []
    for _ in range(3):
        started = time.perf_counter()
        db.execute(f"SELECT count(damson.classify('bench_net@{version}', image)) FROM (SELECT image FROM {images} LIMIT {rows}) s")
        scoring.append(rows / (time.perf_counter() - started))
    peer = pytorch(name, side, channels, rows, epochs, threads)
    db.execute("CALL damson.drop_model('bench_net')")
    print(f"  {case}: training {trained:.0f} images/s, PyTorch {peer['torch']} {peer['train']:.0f}; scoring {max(scoring):.0f}, "
          f"PyTorch {peer['score']:.0f}")
    result(f"networks-train-{case}", trained / peer["train"], 1.0 if plain else train_goal, ">=")
    if score_goal:
        result(f"networks-score-{case}", max(scoring) / peer["score"], 1.0 if plain else score_goal, ">=")
