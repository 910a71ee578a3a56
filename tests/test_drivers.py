"""How drivers send parameters and take results: psycopg in all of its ways, COPY, and ODBC where there is one."""

from decimal import Decimal

import psycopg
import pytest
from conftest import one
from psycopg.types.json import Jsonb

# x is a number, kind a category: value = 1000 * x + (10 for b).
SOURCE = """SELECT i::float8 AS x, CASE WHEN i % 2 = 0 THEN 'a' ELSE 'b' END AS kind,
    1000.0 * i + CASE WHEN i % 2 = 0 THEN 0 ELSE 10 END AS y FROM generate_series(1, 40) i"""


@pytest.fixture
def model(db):
    db.execute("SELECT * FROM damson.train('m', %s, 'y', 'linear', split => 'none')", [SOURCE])
    db.execute("SELECT * FROM damson.train('n', %s, 'y', 'linear', split => 'none', features => ARRAY['x'])",
               ["SELECT i::float8 AS x, i * 1000.0 AS y FROM generate_series(1, 40) i"])
    db.execute(f"CREATE TABLE points AS {SOURCE}")
    return db


@pytest.mark.parametrize("binary", [False, True])
def test_numbers_of_all_types_bind(model, binary):
    mark = "%b" if binary else "%t"
    for value in [2.0, 2, Decimal("2"), Decimal("2.000"), True, 70000, 3_000_000_000]:
        for prepare in (False, True):
            with model.cursor(binary=binary) as cursor:
                cursor.execute(f"SELECT damson.predict('n', {mark})", [value], prepare=prepare)
                assert cursor.fetchone()[0] == pytest.approx(1000 * float(value), abs=1e-3), (value, prepare)


def test_text_wants_a_cast_and_says_so(model):
    """psycopg sends str and None without a type, which an argument of any type cannot give them."""
    for value in ["a", None]:
        with pytest.raises(psycopg.errors.IndeterminateDatatype):
            model.execute("SELECT damson.predict('m', 2.0, %s)", [value])
    score = "SELECT round(damson.predict('m', %s::float8, %s::text))"
    assert [one(model, score, 2, "a"), one(model, score, 2, "b")] == [2000, 2010]
    assert one(model, score, 2, None) is not None
    assert one(model, score, None, "a") is not None
    assert one(model, "SELECT damson.predict(%s, 2.0, 'a')", None) is None


def test_the_model_s_name_may_be_a_parameter(model):
    for name in ["n", "n@production", "n@1"]:
        assert round(one(model, "SELECT damson.predict(%s, %s)", name, 3.0)) == 3000
    with pytest.raises(psycopg.errors.UndefinedObject):
        one(model, "SELECT damson.predict(%s, %s)", "nobody", 3.0)


def test_client_side_parameters_are_literals(model):
    cursor = psycopg.ClientCursor(model)
    for x in [2, 2.0, Decimal("2")]:
        cursor.execute("SELECT round(damson.predict(%s, %s, %s))", ["m", x, "b"])
        assert cursor.fetchone()[0] == 2010
    cursor.execute("SELECT damson.predict(%s, %s, %s)", ["m", None, None])
    assert cursor.fetchone()[0] is not None


def test_documents_and_arrays_bind(model):
    assert round(one(model, "SELECT damson.predict('m', %s)", Jsonb({"x": 2, "kind": "b", "more": [1]}))) == 2010
    assert round(one(model, "SELECT damson.predict('m', %s::jsonb)", '{"x": 2, "kind": "a"}')) == 2000
    assert round(one(model, "SELECT damson.predict('n', %s)", [2.0])) == 2000
    assert round(one(model, "SELECT damson.predict('n', %s)", [2])) == 2000
    for prepare in (False, True):
        for x in (1, 2, 3):
            row = model.execute("SELECT damson.predict('n', %s::float8[])", [[x]], prepare=prepare).fetchone()
            assert round(row[0]) == 1000 * x


def test_one_prepared_statement_takes_all_values_and_models(model):
    sql = "SELECT round(damson.predict(%s::text, %s::float8))"
    for name, x, expected in [("n", 1, 1000), ("n", 2, 2000), ("n@1", 3, 3000), ("n", None, None), ("n", 4, 4000)] * 3:
        found = model.execute(sql, [name, x], prepare=True).fetchone()[0]
        assert expected is None or found == expected
    with model.cursor() as cursor:
        cursor.executemany(sql, [("n", x) for x in range(50)], returning=True)
        found = [cursor.fetchone()[0]]
        while cursor.nextset():
            found.append(cursor.fetchone()[0])
    assert found == [1000 * x for x in range(50)]


def test_a_pipeline_goes_on_after_an_error(model):
    with pytest.raises(psycopg.errors.UndefinedObject):
        with model.pipeline():
            model.execute("SELECT damson.predict('nobody', 1.0)")
    assert round(one(model, "SELECT damson.predict('n', 1.0)")) == 1000


@pytest.mark.parametrize("form", ["text", "csv", "binary"])
def test_copy_takes_scores_out(model, form):
    sql = f"COPY (SELECT round(damson.predict('m', p)) AS y FROM points p ORDER BY x) TO STDOUT (FORMAT {form})"
    with model.cursor().copy(sql) as copy:
        if form == "binary":
            copy.set_types(["float8"])
            rows = [row[0] for row in copy.rows()]
        else:
            rows = [float(line) for line in b"".join(copy).split()]
    assert rows == [row[0] for row in model.execute("SELECT y FROM points ORDER BY x")]


def test_results_are_plain_scalars_for_drivers(model):
    model.execute("SELECT * FROM damson.train('k', 'SELECT x, kind FROM points', 'kind', 'logistic')")
    cursor = model.execute("""SELECT damson.predict('n', 1.0), damson.classify('k', 1.0), damson.probability('k', 'a', 1.0),
        damson.probabilities('k', 1.0)""")
    types = [model.adapters.types[column.type_code].name for column in cursor.description]
    assert types == ["float8", "text", "float8", "jsonb"]
    number, label, share, shares = cursor.fetchone()
    assert label in ("a", "b") and 0 <= share <= 1 and shares["a"] == pytest.approx(share)


def test_an_embedding_is_an_array_of_real(model):
    model.execute("SELECT * FROM damson.train('e', 'SELECT x, y FROM points', algorithm => 'pca')")
    for binary in (False, True):
        cursor = model.cursor(binary=binary).execute("SELECT damson.embed('e', x, y) FROM points ORDER BY x")
        assert model.adapters.types[cursor.description[0].type_code].name == "float4"
        rows = [row[0] for row in cursor.fetchall()]
        assert len(rows) == 40 and all(len(row) == 2 for row in rows)
        assert [abs(sum(column)) for column in zip(*rows)] == pytest.approx([0, 0], abs=0.1)
    assert one(model, "SELECT damson.embed('e', %s)", Jsonb({"x": 1, "y": 1010})) == pytest.approx(rows[0], abs=1e-3)
    assert one(model, "SELECT damson.embed('e', %s)", [1.0, 1010.0]) == pytest.approx(rows[0], abs=1e-3)


def test_a_server_side_cursor_streams_scores(model):
    with model.transaction(), model.cursor(name="stream") as cursor:
        cursor.itersize = 7
        cursor.execute("SELECT round(damson.predict('m', p)), y FROM points p")
        rows = cursor.fetchall()
    assert len(rows) == 40 and all(found == expected for found, expected in rows)


def test_odbc_scores(model):
    """psqlODBC prepares with parameters of no type, so they want a cast; or it is told to write them as literals."""
    pyodbc = pytest.importorskip("pyodbc")
    drivers = [name for name in pyodbc.drivers() if "postgresql" in name.lower()]
    if not drivers:
        pytest.skip("there is no ODBC driver for PostgreSQL")
    info = model.info
    driver = next((name for name in drivers if "unicode" in name.lower()), drivers[0])
    text = f"Driver={{{driver}}};Server={info.host};Port={info.port};Database={info.dbname};Uid={info.user}"
    for settings, mark in [("", "CAST(? AS {})"), (";UseServerSidePrepare=0", "?")]:
        number, label = mark.format("float8"), mark.format("text")
        with pyodbc.connect(text + settings, autocommit=True) as connection:
            cursor = connection.cursor()
            assert round(cursor.execute("SELECT damson.predict('n', 2.0)").fetchval()) == 2000
            assert round(cursor.execute(f"SELECT damson.predict('n', {number})", 2.0).fetchval()) == 2000
            assert round(cursor.execute(f"SELECT damson.predict('m', {number}, {label})", 2.0, "b").fetchval()) == 2010
            assert cursor.execute(f"SELECT damson.predict('m', {number}, {label})", None, None).fetchval() is not None
            rows = cursor.execute("SELECT damson.predict('m', p) AS score FROM points p").fetchall()
            assert len(rows) == 40 and cursor.description[0][1] is float
