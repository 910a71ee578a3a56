"""Boosting's quality beside LightGBM's on real sets, in cross-validation: same rows, same parameters, both trained here
and now.

`make quality` runs it and writes docs/quality.md. Sets that are not in DAMSON_DATA are left out with a message. The
result is the worst of all sets: how much of LightGBM's error Damson makes (1 - auc, 1 - accuracy, RMSE), as the mean of
the folds. Where the folds cannot tell the two apart (the mean of their differences is within its error at 95 %, by
Student's t of one side), it counts as 1.
"""

import os
import pathlib
import statistics

import lightgbm as lgb
import numpy as np
import pandas as pd
from sklearn import datasets, metrics

from _measure import connect, result

GOAL = 1.05
FOLDS = 5
# Student's t, 4 degrees of freedom, 95 % of one side.
T = 2.132
DATA = pathlib.Path(os.environ.get("DAMSON_DATA", "/nowhere"))
TABLE = pathlib.Path(__file__).resolve().parent.parent / "docs/quality.md"
PARAMS = {"n_estimators": 100, "num_leaves": 31, "learning_rate": 0.1}


def bundled(load):
    def read():
        found = load(as_frame=True)
        frame = found.data.copy()
        frame.columns = [f"x{i}" for i in range(frame.shape[1])]
        frame["target"] = found.target
        return frame
    return read


def csv(path, drop=(), **options):
    def read():
        frame = pd.read_csv(DATA / path, **options)
        return frame.drop(columns=list(drop))
    return read


def adult():
    names = ["age", "workclass", "fnlwgt", "education", "education_num", "marital", "occupation", "relationship",
             "race", "sex", "capital_gain", "capital_loss", "hours", "country", "income"]
    parts = [pd.read_csv(DATA / f"adult/adult.{part}.gz", names=names, skipinitialspace=True, na_values="?", skiprows=skip)
             for part, skip in (("data", 0), ("test", 1))]
    frame = pd.concat(parts, ignore_index=True)
    frame["income"] = frame["income"].str.strip(".")
    return frame


def flights():
    frame = pd.read_csv(DATA / "nycflights13/flights.csv.gz")
    # What is known at take-off: not when the flight arrived, nor how long it was in the air.
    frame = frame.dropna(subset=["arr_delay"]).drop(columns=["arr_time", "air_time", "year", "tailnum"])
    return frame.reset_index(drop=True)


# Name, reader, target, LightGBM's objective, more parameters.
SETS = [
    ("breast_cancer", bundled(datasets.load_breast_cancer), "target", "binary", {}),
    ("wine", bundled(datasets.load_wine), "target", "multiclass", {}),
    ("digits", bundled(datasets.load_digits), "target", "multiclass", {}),
    ("diabetes", bundled(datasets.load_diabetes), "target", "regression", {}),
    ("titanic", csv("titanic/titanic.csv", ["alive"]), "survived", "binary", {}),
    ("adult", adult, "income", "binary", {}),
    ("bank_marketing", csv("bank_marketing/bank_full.csv.gz"), "target", "binary", {}),
    ("california_housing", csv("california_housing/housing.csv.gz"), "median_house_value", "regression", {}),
    ("bike_sharing", csv("bike_sharing/hour.csv.gz", ["instant", "dteday", "casual", "registered"]), "cnt", "poisson", {}),
    ("nycflights13", flights, "arr_delay", "regression", {}),
    ("covertype", csv("covertype/covertype_16pct_int.csv.gz"), "Cover_Type", "multiclass", {}),
    # LightGBM's default diverges here; see the issue tracker of either.
    ("kddcup99", csv("kddcup99_10pct/kddcup.tsv.gz", sep="\t"), "target", "multiclass", {"min_sum_hessian_in_leaf": 1.0}),
]


def peer(frame, test, target, objective, params):
    """LightGBM's predictions of the test rows, or its probabilities with the classes."""
    x = frame.drop(columns=target)
    for name in x:
        if not pd.api.types.is_numeric_dtype(x[name]) or pd.api.types.is_bool_dtype(x[name]):
            x[name] = x[name].astype("category")
    kind = lgb.LGBMRegressor if objective in ("regression", "poisson") else lgb.LGBMClassifier
    model = kind(objective=objective, verbosity=-1, random_state=1, n_jobs=2, **PARAMS, **params)
    model.fit(x[~test], frame[target][~test])
    if kind is lgb.LGBMRegressor:
        return model.predict(x[test]), None
    return model.predict_proba(x[test]), model.classes_


def store(db, name, frame):
    """The rows as a table, with a column that says which fold tests them: every fifth row, from each of the first five."""
    frame = frame.assign(fold=np.arange(len(frame)) % FOLDS)
    kinds = {"b": "boolean", "i": "bigint", "u": "bigint", "f": "double precision"}
    columns = ", ".join(f'"{c}" {kinds.get(getattr(frame[c].dtype, "kind", "O"), "text")}' for c in frame)
    db.execute(f"DROP TABLE IF EXISTS quality_{name}")
    db.execute(f"CREATE UNLOGGED TABLE quality_{name} ({columns})")
    with db.cursor().copy(f"COPY quality_{name} FROM STDIN (FORMAT csv)") as copy:
        copy.write(frame.to_csv(index=False, header=False))


def measured(db, name, frame, fold, target, objective, params):
    """The metric's name, Damson's value, LightGBM's value, of the rows of a fold."""
    test = np.arange(len(frame)) % FOLDS == fold
    given = {**PARAMS, **params}
    task = "regression" if objective in ("regression", "poisson") else "classification"
    if task == "regression":
        given["objective"] = objective
    columns = ", ".join(f'"{c}"' for c in frame)
    rows = f"SELECT {columns} FROM quality_{name} WHERE fold "
    version = db.execute(
        "SELECT version FROM damson.train(%s, %s, %s, 'boosting', params => %s::text, task => %s, split => 'none')",
        [f"quality_{name}", f"{rows} <> {fold}", target, pd.Series(given).to_json(), task]).fetchone()[0]
    found = dict(db.execute("SELECT metric, value FROM damson.evaluate(%s, %s)",
                            [f"quality_{name}@{version}", f"{rows} = {fold}"]).fetchall())
    y = frame[target][test]
    out, classes = peer(frame, test, target, objective, params)
    if task == "regression":
        return "rmse", found["rmse"], float(np.sqrt(np.mean((out - y) ** 2)))
    if len(classes) == 2:
        return "auc", found["auc"], metrics.roc_auc_score(y == classes[1], out[:, 1])
    return "accuracy", found["accuracy"], metrics.accuracy_score(y, classes[out.argmax(1)])


db = connect()
lines, worst = [], 0.0
for name, read, target, objective, params in SETS:
    try:
        frame = read()
    except FileNotFoundError as missing:
        print(f"  {name}: skipped, there is no {missing.filename}")
        continue
    store(db, name, frame)
    folds = [measured(db, name, frame, fold, target, objective, params) for fold in range(FOLDS)]
    db.execute(f"DROP TABLE quality_{name}")
    metric = folds[0][0]
    ours, theirs = (statistics.fmean(fold[side] for fold in folds) for side in (1, 2))
    sign = 1 if metric == "rmse" else -1
    more = [sign * (fold[1] - fold[2]) for fold in folds]
    uncertain = T * statistics.stdev(more) / FOLDS**0.5
    error = (lambda v: v) if metric == "rmse" else (lambda v: 1 - v)
    worst = max(worst, 1.0 if statistics.fmean(more) <= uncertain else error(ours) / error(theirs))
    print(f"  {name:20} {objective:12} {metric:9} Damson {ours:12.5f}   LightGBM {theirs:12.5f} +- {uncertain:.5f}")
    more = ", ".join(f"{k} {v:g}" for k, v in params.items())
    lines.append(f"| {name} | {len(frame)} | {objective}{', ' + more if more else ''} | {metric} "
                 f"| {ours:.5f} | {theirs:.5f} | {uncertain:.5f} |")

TABLE.write_text(f"""# Quality of boosting beside LightGBM

Written by `make quality` (bench/quality.py), which trains both on the same rows with the same parameters
({', '.join(f'{k} {v}' for k, v in PARAMS.items())}; all else as each has it by default), Damson by SQL, LightGBM {lgb.__version__} in Python.
Each fifth of the rows is held out in turn; the metric is the mean of the five. auc and accuracy are better when larger,
rmse when smaller. Of a difference smaller than the last column (95 %, one side, by the five differences) the folds cannot
say which one is better.

| set | rows | objective | metric | Damson | LightGBM | error of the difference |
|---|---|---|---|---|---|---|
""" + "\n".join(lines) + "\n")
result("quality", worst, GOAL)
