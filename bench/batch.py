"""Scoring 10,000 images by a plain SELECT, against the engine's own batches on rows in memory; then row by row, and
boosting by the node and without it, which decides what the node is used for."""

import os

from _data import HIGGS_COLUMNS, higgs_table
from _measure import connect, medians, missing, result

GOAL = 0.9
IMAGES = 10_000
RUNS = 3

db = connect()
# Only a library built with the feature `bench` has this function; the extension's SQL never does.
db.execute("""CREATE OR REPLACE FUNCTION bench_score(source text, model text) RETURNS double precision
              LANGUAGE c STRICT AS '$libdir/damson', 'bench_score_wrapper'""")
if missing(db, "bench_images"):
    db.execute(f"""CREATE UNLOGGED TABLE bench_images AS SELECT i AS id, 'c' || i % 10 AS class,
        (SELECT string_agg(sha256((i || '/' || k)::bytea), '' ORDER BY k) FROM generate_series(1, 96) k) AS image
        FROM generate_series(1, {IMAGES}) i""")
    db.execute("ALTER TABLE bench_images ALTER image SET STORAGE EXTERNAL")
db.execute("VACUUM (FREEZE, ANALYZE) bench_images")
db.execute("CALL damson.drop_model('bench_batch', missing_ok => true)")
db.execute("""SELECT damson.train('bench_batch', 'SELECT class, image FROM bench_images LIMIT 640', target => 'class',
    algorithm => 'cnn', split => 'none', preprocess => '{"image": [32, 32, 3]}', params => '{"epochs": 1}')""")
db.execute("SET damson.batch_scoring = on")
engine = []


def engine_alone():
    engine.append(db.execute("SELECT bench_score('SELECT image FROM bench_images', 'bench_batch')").fetchone()[0])


def select(batches, limit=IMAGES):
    db.execute(f"SET damson.batch_scoring = {batches}")
    db.execute(f"SELECT id, damson.classify('bench_batch', image) FROM bench_images LIMIT {limit}").fetchall()


print(f"  {IMAGES} images of 32x32x3, {os.cpu_count()} cores")
found = medians({
    "read and scored by the engine": engine_alone,
    "SELECT, in batches": lambda: select("on"),
    "SELECT, 1,000 rows row by row": lambda: select("off", 1000),
}, RUNS)
alone = sorted(engine)[len(engine) // 2]
print(f"  {'the engine alone':32} {alone:8.0f} ms")
print(f"  row by row takes {found['SELECT, 1,000 rows row by row'] * IMAGES / 1000 / found['SELECT, in batches']:.1f} times as long")
result("batch-images", alone / found["SELECT, in batches"], GOAL, ">=")
