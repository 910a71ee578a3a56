"""What the queue of a device's worker adds to a row: one session scores one row after the other, by itself and through a
worker whose device is the CPU, too, so that the way there and back is all that differs."""

import statistics
import time

from _measure import connect, result

GOAL = 200.0
ROWS = 2000
RUNS = 9

db = connect()
db.execute("CALL damson.drop_model('bench_device', missing_ok => true)")
db.execute(
    "SELECT damson.train('bench_device', 'SELECT g::float8 AS x, (g % 7)::float8 AS y FROM generate_series(1, 500) g',"
    " target => 'y', algorithm => 'cnn', split => 'none', params => '{\"epochs\": 1, \"architecture\": \"mlp\"}')"
)
loop = f"""DO $$ BEGIN
    FOR i IN 1..{ROWS} LOOP PERFORM damson.predict('bench_device', i::float8); END LOOP;
END $$"""


def microseconds(device):
    db.execute(f"SET damson.device = {device}")
    db.execute("SELECT damson.predict('bench_device', 1.0::float8)")
    started = time.perf_counter()
    db.execute(loop)
    return (time.perf_counter() - started) * 1e6 / ROWS


times = {"cpu": [], "software": []}
for _ in range(RUNS):
    for device in times:
        times[device].append(microseconds(device))
for device, found in times.items():
    print(f"  {device:10} {statistics.median(found):8.1f} us a row   (best {min(found):.1f})")
state, requests = db.execute("SELECT state, requests FROM damson.devices WHERE device = 'software'").fetchone()
assert state == "ready" and requests >= ROWS, "the worker did not answer"
added = statistics.median(times["software"]) - statistics.median(times["cpu"])
print(f"  the queue adds {added:.1f} us")
result("device-queue", added / GOAL, 1.0)
