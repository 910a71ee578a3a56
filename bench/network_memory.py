"""Memory of training networks, and images that have no room in it.

The peak of a training's process beside what it was forecast to take, with all images in memory and with those in a temporary
file; and how many images a second the second way takes of the first. The forecast is that of the error which refuses a
training: without images, which are added where they are in memory. DAMSON_BENCH_NETWORKS names some of the cases, RUNS sets how
often speeds are measured."""

import json
import os
import re

import psycopg
from _measure import connect, medians, missing, peak, result

GOAL_MEMORY = 1.2
GOAL_SPEED = 0.95
RUNS = int(os.environ.get("RUNS", "3"))
# Name: rows, and epochs of the training that is timed.
CASES = {"cnn_small": (8192, 1), "resnet9": (1024, 0)}
wanted = os.environ.get("DAMSON_BENCH_NETWORKS", ",".join(CASES)).split(",")
SIDE, CHANNELS = 32, 3
SIZE = SIDE * SIDE * CHANNELS


def train(session, name, rows, epochs, memory):
    session.execute("SELECT set_config('damson.max_memory', %s, false)", [memory])
    params = json.dumps({"architecture": name, "epochs": epochs})
    session.execute(
        "SELECT * FROM damson.train('bench_memory', %s, 'label', 'cnn', %s, preprocess => %s, split => 'none')",
        [f"SELECT image, label FROM bench_images_{SIZE} LIMIT {rows}", params, json.dumps({"image": [SIDE, SIDE, CHANNELS]})],
    )


def forecast(session, name, rows):
    """Bytes of a training without its images, and the forecast's parts. What is refused before a row is read does not count rows."""
    needed, parts = 1 << 20, ""
    for _ in range(2):
        try:
            train(session, name, rows, 1, f"{needed // 1024}kB")
        except psycopg.errors.OutOfMemory as refused:
            needed = int(re.search(r"needs about (\d+) MiB", str(refused))[1]) << 20
            parts = refused.diag.message_detail
    return needed, parts


db = connect()
table = f"bench_images_{SIZE}"
if missing(db, table):
    digest = "string_agg(sha256((g * 1000 + i)::text::bytea), ''::bytea ORDER BY i)"
    db.execute(f"""CREATE UNLOGGED TABLE {table} AS SELECT (g % 10)::text AS label, (SELECT substr({digest}, 1, {SIZE})
        FROM generate_series(1, {SIZE // 32 + 1}) i) AS image FROM generate_series(1, 8192) g""")
db.execute(f"VACUUM (FREEZE, ANALYZE) {table}")
for name in wanted:
    rows, epochs = CASES[name]
    with connect() as session:
        session.execute("SET damson.threads = 2")
        beside, parts = forecast(session, name, rows)
        print(f"  {name}: {parts}")
        images = rows * SIZE
        # Room for half of the images.
        memory = {"held": (1 << 40, beside + images), "streamed": (beside + images // 2, beside)}
        few = {way: f"{room // 1024}kB" for way, (room, _) in memory.items()}
        for way, (_, forecasted) in memory.items():
            # What a first run touches does not count.
            train(session, name, rows, 1, few[way])
            grown = peak(session, lambda way=way: train(session, name, rows, 1, few[way]))
            print(f"  {name}, {way}: the peak grows by {grown / 2**20:.0f} MiB, forecast {forecasted / 2**20:.0f} MiB")
            result(f"networks-memory-{name}-{way}", grown / forecasted, GOAL_MEMORY)
        if epochs:
            found = medians(
                {f"{name}, {way}": lambda way=way: train(session, name, rows, epochs, few[way]) for way in memory}, RUNS
            )
            result(f"networks-streamed-{name}", found[f"{name}, held"] / found[f"{name}, streamed"], GOAL_SPEED, ">=")
        session.execute("CALL damson.drop_model('bench_memory')")
