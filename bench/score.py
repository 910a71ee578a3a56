"""Scoring a linear model of 28 features over 1M rows, against the same dot product written in SQL: by separate
columns, and by a stored `real[]`."""

from _measure import connect, medians, missing, result, table

GOAL_COLUMNS = 1.0
GOAL_ARRAY = 0.5
N = range(1, 29)

db = connect()
table(db, "bench_score_rows", [f"random() AS f{i}" for i in N])
columns = ", ".join(f"f{i}" for i in N)
if missing(db, "bench_score_arrays"):
    arrays = f"SELECT ARRAY[{columns}]::real[] AS x FROM bench_score_rows"
    db.execute(f"CREATE UNLOGGED TABLE bench_score_arrays AS {arrays}")
db.execute("VACUUM (FREEZE, ANALYZE) bench_score_arrays")

dot = " + ".join(f"{0.1 * i:.1f}::float8 * f{i}" for i in N)
source = f"SELECT {columns}, {dot} AS y FROM bench_score_rows LIMIT 20000"
db.execute("SELECT damson.train('bench_score', %s, target => 'y', algorithm => 'linear')", [source])


def total(expression, rows="bench_score_rows t"):
    return lambda: db.execute(f"SELECT sum({expression}) FROM {rows}").fetchone()[0]


by_sql = total(dot)
by_columns = total(f"damson.predict('bench_score', {columns})")
by_array = total("damson.predict('bench_score', x)", "bench_score_arrays")
for scored in (by_columns, by_array):
    assert abs(scored() / by_sql() - 1) < 1e-5, "the model does not compute the dot product"

found = medians({
    "sum of one column (the floor)": total("f28"),
    "dot product in SQL": by_sql,
    "predict, by columns": by_columns,
    "predict, by a stored real[]": by_array,
    "predict, by the whole row": total("damson.predict('bench_score', t)"),
})
result("score-array", found["predict, by a stored real[]"] / found["dot product in SQL"], GOAL_ARRAY)
result("score-columns", found["predict, by columns"] / found["dot product in SQL"], GOAL_COLUMNS)
