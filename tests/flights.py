"""The flights that left New York in 2013, for tests over real tables."""

import gzip

import pytest

TYPES = {"year": "int2", "month": "int2", "day": "int2", "dep_time": "int2", "dep_delay": "float4", "arr_time": "int2",
         "arr_delay": "float4", "carrier": "text", "tailnum": "text", "flight": "int4", "origin": "text", "dest": "text",
         "air_time": "float4", "distance": "float8", "hour": "float4", "minute": "float4"}


def load_flights(connection, data):
    """Makes the table flights of all flights that arrived; the test is skipped where the file is missing."""
    file = data / "nycflights13/flights.csv.gz"
    if not file.exists():
        pytest.skip(f"DAMSON_DATA has no {file.name}")
    text = gzip.decompress(file.read_bytes())
    names = text[:text.index(b"\n")].decode().strip().split(",")
    connection.execute(f"CREATE TEMP TABLE loaded ({', '.join(f'{n} text' for n in names)})")
    with connection.cursor().copy("COPY loaded FROM STDIN (FORMAT csv, HEADER)") as copy:
        copy.write(text)
    columns = ", ".join(f"nullif(nullif({n}, 'NA'), '')::float8::{t} AS {n}" if t != "text" else f"nullif({n}, 'NA') AS {n}"
                        for n, t in TYPES.items())
    connection.execute(f"CREATE TABLE flights AS SELECT row_number() OVER () AS id, {columns} FROM loaded"
                       " WHERE arr_delay NOT IN ('', 'NA')")
    connection.execute("DROP TABLE loaded")
    connection.execute("ANALYZE flights")
