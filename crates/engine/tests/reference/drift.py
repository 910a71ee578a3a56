"""Records what Evidently 0.7.23 says of two sides of data sets, by its own functions for one column: drift.json. And
what river 0.26 detects in streams: drift_stream.json.

The sets of scikit-learn lie beside this script; the larger ones come from the folder DAMSON_DATA. Needs
evidently==0.7.23, pandas<3.1 and river==0.26.1.
"""

import json
import math
import os
import pathlib
import warnings

import numpy as np
import pandas as pd
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from river import drift
from scipy import stats

warnings.filterwarnings("ignore")
here = pathlib.Path(__file__).parent
folder = pathlib.Path(os.environ["DAMSON_DATA"])
NUMBERS = ["ks", "wasserstein", "jensenshannon", "psi", "kl_div", "hellinger", "t_test", "mannw", "anderson",
           "cramer_von_mises", "ed"]
CATEGORIES = ["chisquare", "z", "jensenshannon", "psi", "kl_div", "hellinger", "TVD"]
SLOW = 3000  # Permutations of more rows take Evidently minutes.


def score(reference, current, kind, method):
    """As `get_one_column_drift` does: infinite and missing values go, then the test is chosen and called."""
    clean = [side.replace([-np.inf, np.inf], np.nan).dropna() if kind == ColumnType.Numerical else side.dropna()
             for side in (reference, current)]
    if any(side.empty for side in clean):
        return None  # Evidently raises an error.
    test = get_stattest(*clean, kind, method)
    try:
        found = test(*[side.copy() for side in clean], kind, None)
    except ValueError:  # SciPy's, where the statistic is undefined.
        return {"method": test.name.lower(), "score": None, "threshold": test.default_threshold, "drifted": False}
    except TypeError:  # Evidently's copy of SciPy's exact test fails under NumPy 2: SciPy's own, then.
        value = stats.cramervonmises_2samp(*clean).pvalue
        return {"method": test.name.lower(), "score": value, "threshold": test.default_threshold,
                "drifted": bool(value <= test.default_threshold)}
    value = float(found.drift_score)
    return {"method": test.name.lower(), "score": None if math.isnan(value) else value,
            "threshold": found.actual_threshold, "drifted": bool(found.drifted)}


def compare(reference, current, kinds, methods=True):
    out = {}
    for column, kind in kinds.items():
        a, b = reference[column], current[column]
        columns = out[column] = {"kind": kind, "found": []}
        typed = ColumnType.Numerical if kind == "numbers" else ColumnType.Categorical
        default = score(a, b, typed, None)
        columns["default"] = default
        if default is None or not methods:
            continue
        for method in NUMBERS if kind == "numbers" else CATEGORIES:
            if method == "TVD" and len(a) + len(b) > SLOW:
                continue
            columns["found"].append(score(a, b, typed, method))
    return out


def kinds_of(frame):
    return {c: "numbers" if pd.api.types.is_numeric_dtype(t) else "categories" for c, t in frame.dtypes.items()}


cases = {}


def add(name, data, reference, current, kinds, methods=True):
    print(name, len(reference), len(current), flush=True)
    cases[name] = {"data": data, "columns": compare(reference, current, kinds, methods)}


def beside(name):
    return pd.read_csv(here / "data" / f"{name}.csv", header=None, float_precision="round_trip").rename(columns=str)


for name, cut in {"breast_cancer": 300, "wine": 90, "iris": 60, "diabetes": 220}.items():
    frame = beside(name)
    add(name, {"file": name, "cut": cut}, frame[:cut], frame[cut:], {c: "numbers" for c in frame.columns})
    as_text = frame[[frame.columns[-1]]].map(lambda v: f"c{int(v) % 7}")
    add(f"{name} labels", {"file": name, "cut": cut, "labels": 7}, as_text[:cut], as_text[cut:],
        {frame.columns[-1]: "categories"})


# Edges, made by arithmetic that the test repeats.
def edge(name, reference, current, kind):
    sides = {"reference": reference, "current": current}
    plain = {k: [None if isinstance(v, float) and math.isnan(v) else
                 ("inf" if v == math.inf else v) for v in side] for k, side in sides.items()}
    frames = [pd.DataFrame({"x": pd.Series(side)}) for side in sides.values()]
    print(name)
    cases[f"edge {name}"] = {"data": plain, "columns": compare(*frames, {"x": kind})}


def sequence(n, step, modulo, scale):
    return [(i * step % modulo) / scale for i in range(n)]


nan = math.nan
edge("constant", [1.5] * 30, [1.5] * 40, "numbers")
edge("two constants", [1.5] * 30, [2.5] * 40, "numbers")
edge("constant whole", [3] * 30, [3] * 40, "numbers")
edge("all missing", [nan] * 10, [1.0, 2.0], "numbers")
edge("missing now", [1.0, 2.0, 3.0], [nan] * 4, "numbers")
edge("two values", [0.0, 1.0] * 20, [0.0, 1.0, 1.0] * 15, "numbers")
edge("two whole values", [0, 1] * 20, [0, 1, 1] * 15, "numbers")
edge("three values", [0, 1, 2] * 20, [0, 1, 1, 2] * 15, "numbers")
edge("some missing", [1.0, nan, 3.0, 4.5, 2.5, math.inf, 7.0] * 5, [nan, 1.0, 8.0, 2.0, 9.0, 11.5] * 4, "numbers")
edge("few rows", [1.0, 2.0, 4.0], [3.0, 5.0, 7.0, 8.0], "numbers")
edge("few rows with ties", [1.0, 2.0, 2.0, 5.0, 6.0], [2.0, 2.0, 3.0, 7.0, 8.0, 9.0], "numbers")
edge("twenty one values", sequence(84, 5, 21, 1), sequence(90, 4, 21, 1), "numbers")
edge("whole, wide", [int(v) for v in sequence(200, 37, 991, 1)], [int(v) for v in sequence(300, 41, 1013, 1)], "numbers")
edge("whole, narrow", [int(v) for v in sequence(200, 37, 30, 1)], [int(v) for v in sequence(300, 41, 27, 1)], "numbers")
edge("large", [v * 1e12 for v in sequence(100, 7, 97, 3)], [v * 1e12 for v in sequence(120, 7, 89, 3)], "numbers")
edge("categories", ["a", "b", "a", "c"] * 20, ["a", "b", "c", "c"] * 25, "categories")
edge("unseen category", ["a", "b", "a"] * 20, ["a", "b", "d"] * 25, "categories")
edge("vanished category", ["a", "b", "d"] * 20, ["a", "b", "a"] * 25, "categories")
edge("two categories", ["yes", "no", "no"] * 20, ["no", "yes"] * 25, "categories")
edge("one category", ["yes"] * 20, ["yes"] * 25, "categories")
edge("one category each", ["yes"] * 20, ["no"] * 25, "categories")
edge("missing categories", ["a", None, "b"] * 20, [None, "a", "c", "b"] * 20, "categories")
for n in (1000, 1001):
    edge(f"{n} rows", sequence(n, 7919, 1009, 10), sequence(1200, 7907, 1013, 10.5), "numbers")
    edge(f"{n} rows, few values", [float(v) for v in sequence(n, 3, 4, 1)], sequence(1100, 7, 5, 1), "numbers")
    edge(f"{n} rows, categories", [f"k{int(v)}" for v in sequence(n, 3, 4, 1)],
         [f"k{int(v)}" for v in sequence(1100, 7, 5, 1)], "categories")

bikes = pd.read_csv(folder / "bike_sharing/hour.csv.gz", float_precision="round_trip")
bikes = bikes[bikes.dteday < "2011-03-01"]
kinds = {c: k for c, k in kinds_of(bikes).items() if c not in ("instant", "dteday")}
january, february = (bikes[bikes.dteday.str.startswith(f"2011-{m}")] for m in ("01", "02"))
add("bikes", {"real": "bike_sharing/hour.csv.gz"}, january, february, kinds)

names = ["age", "workclass", "fnlwgt", "education", "education_num", "marital_status", "occupation", "relationship",
         "race", "sex", "capital_gain", "capital_loss", "hours_per_week", "native_country", "income"]
adult = [pd.read_csv(folder / f"adult/adult.{part}.gz", header=None, names=names, na_values="?", skipinitialspace=True,
                     keep_default_na=False) for part in ("data", "test")]
adult[1]["income"] = adult[1]["income"].str.rstrip(".")
add("adult", {"real": "adult/adult.data.gz"}, *adult, kinds_of(adult[0]))

flights = pd.read_csv(folder / "nycflights13/flights.csv.gz", float_precision="round_trip")
kinds = {c: k for c, k in kinds_of(flights).items() if c not in ("year", "month")}
months = dict(list(flights.groupby("month")))
add("flights 2", {"real": "nycflights13/flights.csv.gz", "month": 2}, months[1], months[2], kinds)
for month in range(3, 13):
    add(f"flights {month}", {"real": "nycflights13/flights.csv.gz", "month": month}, months[1], months[month], kinds,
        methods=False)

(here / "drift.json").write_text(json.dumps(cases, indent=0, separators=(",", ":")) + "\n")

# Streams: the bits of a small generator that the test repeats.
streams = []


def stream(kind, seed, n, cuts):
    state, out = seed, []
    for i in range(n):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        u = (state >> 33) / 2**31
        level = next(v for end, v in cuts if i < end)
        out.append(float(u < level) if kind == "bits" else u + level)
    return out


for kind, seed, n, cuts in [
    ("bits", 1, 4000, [(1500, 0.2), (3000, 0.5), (4000, 0.1)]), ("bits", 2, 3000, [(3000, 0.3)]),
    ("reals", 3, 5000, [(2000, 0.0), (3500, 0.4), (5000, 0.1)]), ("reals", 4, 20000, [(10000, 0.0), (20000, 0.03)]),
]:
    values = stream(kind, seed, n, cuts)
    for method, make, params in [
        ("adwin", drift.ADWIN, {}), ("adwin", drift.ADWIN, {"delta": 0.05, "clock": 1, "max_buckets": 3}),
        ("adwin", drift.ADWIN, {"min_window_length": 20, "grace_period": 200}),
        ("page_hinkley", drift.PageHinkley, {}), ("page_hinkley", drift.PageHinkley, {"threshold": 10.0, "delta": 0.05}),
        ("page_hinkley", drift.PageHinkley, {"threshold": 8.0, "alpha": 0.99, "mode": "up"}),
        ("page_hinkley", drift.PageHinkley, {"threshold": 12.0, "min_instances": 100, "mode": "down"}),
    ]:
        detector, places = make(**params), []
        for i, x in enumerate(values):
            detector.update(x)
            if detector.drift_detected:
                places.append(i)
        streams.append({"kind": kind, "seed": seed, "n": n, "cuts": cuts, "method": method, "params": params,
                        "places": places})
(here / "drift_stream.json").write_text(json.dumps(streams, indent=0, separators=(",", ":")) + "\n")
