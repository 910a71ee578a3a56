"""Reading 1M rows of 29 `real` into columns, against the floor (the server only takes the rows apart) and
against what users leave behind (COPY BINARY to a client)."""

from _measure import connect, medians, result, table

GOAL_FLOOR = 1.6
GOAL_COPY = 0.25

db = connect()
table(db, "bench_read_rows", [f"random()::real AS f{i}" for i in range(1, 30)])
# Only a library built with the feature `bench` has this function; the extension's SQL never does.
db.execute("""CREATE OR REPLACE FUNCTION bench_read(source text, what text) RETURNS bigint
              LANGUAGE c STRICT AS '$libdir/damson', 'bench_read_wrapper'""")


def read(what):
    db.execute("SELECT bench_read('bench_read_rows', %s)", [what]).fetchone()


def copy():
    with db.cursor().copy("COPY bench_read_rows TO STDOUT (FORMAT binary)") as rows:
        for _ in rows:
            pass


found = medians({
    "not looked at": lambda: read("scan"),
    "taken apart (the floor)": lambda: read("deform"),
    "into a frame": lambda: read("frame"),
    "COPY BINARY to psycopg": copy,
})
result("read-copy", found["into a frame"] / found["COPY BINARY to psycopg"], GOAL_COPY)
result("read", found["into a frame"] / found["taken apart (the floor)"], GOAL_FLOOR)
