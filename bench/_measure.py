"""What the benchmarks share: a connection, timings in turn, the line with the result."""

import os
import statistics
import time
from pathlib import Path

import psycopg

RUNS = 7


def connect():
    """A session of one process: no parallel workers, no JIT compilation."""
    connection = psycopg.connect(os.environ["DAMSON_DSN"], autocommit=True)
    for setting in ("max_parallel_workers_per_gather = 0", "jit = off", "client_min_messages = error"):
        connection.execute(f"SET {setting}")
    return connection


def medians(jobs, runs=RUNS):
    """Milliseconds of each job, the median of runs that take turns, so that noise hits all alike."""
    times = {name: [] for name in jobs}
    for _ in range(runs):
        for name, job in jobs.items():
            started = time.perf_counter()
            job()
            times[name].append((time.perf_counter() - started) * 1e3)
    found = {name: statistics.median(all_of_it) for name, all_of_it in times.items()}
    for name, milliseconds in found.items():
        print(f"  {name:32} {milliseconds:8.0f} ms   (best {min(times[name]):.0f})")
    return found


def peak(session, job):
    """Bytes by which a job raises the peak of its process's own memory; the server's buffers do not count."""
    pid = session.info.backend_pid

    def kilobytes(name):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))

    def shared():
        return kilobytes("RssShmem") + kilobytes("RssFile")

    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = kilobytes("VmHWM") - shared()
    job()
    # Each reading of a table touches more of the server's buffers, which stay mapped.
    return (kilobytes("VmHWM") - shared() - before) * 1024


def result(name, ratio, goal, sign="<=", digits=2):
    """The line that `make bench` gathers."""
    print(f"{name}: ratio {ratio:.{digits}f} (goal {sign} {goal:.{digits}f})")


def missing(connection, name):
    """Whether a table has still to be made. One without rows has: a server's crash empties the unlogged ones."""
    if connection.execute("SELECT to_regclass(%s)", [name]).fetchone()[0] is not None:
        if connection.execute(f"SELECT EXISTS (SELECT FROM {name})").fetchone()[0]:
            return False
        connection.execute(f"DROP TABLE {name} CASCADE")
    return True


def table(connection, name, columns, rows=1_000_000):
    """A table of `columns`, a list of SQL expressions with names, made once."""
    if missing(connection, name):
        print(f"  making {name} ...")
        connection.execute(
            f"CREATE UNLOGGED TABLE {name} AS SELECT {', '.join(columns)} FROM generate_series(1, {rows}) g"
        )
    connection.execute(f"VACUUM (FREEZE, ANALYZE) {name}")
