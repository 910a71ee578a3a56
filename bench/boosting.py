"""Training gradient boosting by one SQL call, from reading the table to the stored version, against LightGBM's `fit`
on arrays that are in memory already: time, quality on rows held out, memory, and time by rows. Two threads each.

BOOSTING=higgs,kddcup,... runs some of it; RUNS sets how often each side is measured."""

import os

import lightgbm
import numpy as np
import pandas as pd
from _data import HIGGS_COLUMNS, covertype, flights, higgs_table, kddcup, real, store
from _measure import connect, medians, peak, result
from sklearn.metrics import accuracy_score, mean_squared_error, roc_auc_score

GOAL_TIME = 1.0
GOAL_MEMORY = 2.5
GOAL_ROWS = 4.4
RUNS = int(os.environ.get("RUNS", "3"))
WANTED = os.environ.get("BOOSTING", "higgs,kddcup,flights,covertype,memory,rows").split(",")
PARAMS = {"n_estimators": 100, "num_leaves": 63, "learning_rate": 0.1, "max_bin": 255, "min_data_in_leaf": 20}

db = connect()
db.execute("SET damson.threads = 2")
db.execute("SET damson.progress = off")


def train(model, source, target, params, task=None, session=db):
    session.execute("CALL damson.drop_model(%s, missing_ok => true)", [model])
    arguments = ", ".join(f'"{k}": {v}' for k, v in {**PARAMS, **params}.items())
    session.execute(
        "SELECT damson.train(%s, %s, target => %s, task => %s, params => %s, split => 'none')",
        [model, source, target, task, "{" + arguments + "}"],
    )


def peer(kind, params):
    return kind(**{**PARAMS, **params}, min_child_samples=20, num_threads=2, verbose=-1)


def compare(name, table, columns, target, frame, params, task, quality, folds=1):
    """Times of both sides on the rows whose id is not a multiple of 5; quality on the others, and then on each other
    fifth in turn where there are more `folds`."""
    x, y, fifth = frame[columns], frame[target], frame["id"].to_numpy() % 5
    for column in columns:
        if str(x[column].dtype) in ("object", "str"):
            x = x.assign(**{column: x[column].astype("category")})
    if not any(str(x[c].dtype) == "category" for c in columns):
        x = x.to_numpy()
    kind = lightgbm.LGBMRegressor if task == "regression" else lightgbm.LGBMClassifier
    listed = ", ".join(f'"{c}"' for c in columns)
    rows_of = f'SELECT {listed}, "{target}" FROM {table} WHERE id % 5'
    fitted = []

    def lightgbm_fit(x, y):
        fitted[:] = [peer(kind, params).fit(x, y)]

    def sql_fit(fold):
        train(name, f"{rows_of} <> {fold}", target, params, task)

    def found(fold):
        """Quality of both sides on a fold."""
        rows, y_test = x[fifth == fold], y[fifth == fold]
        classes = np.array(sorted(set(y[fifth != fold])))
        theirs = fitted[0].predict(rows) if task == "regression" else fitted[0].predict_proba(rows)
        ours = scores(name, table, listed, task, classes, fold)
        return quality(y_test, ours, classes), quality(y_test, theirs, classes)

    x_train, y_train = x[fifth != 0], y[fifth != 0]
    times = medians(
        {f"{name}, LightGBM": lambda: lightgbm_fit(x_train, y_train), f"{name}, SQL": lambda: sql_fit(0)}, RUNS
    )
    all_of_it = [found(0)]
    for fold in range(1, folds):
        lightgbm_fit(x[fifth != fold], y[fifth != fold])
        sql_fit(fold)
        all_of_it.append(found(fold))
    for fold, (ours, theirs) in enumerate(all_of_it):
        print(f"  {name}, fifth {fold}: {quality.__name__} {ours:.5f}, LightGBM {theirs:.5f}")
    ours, theirs = np.mean(all_of_it, axis=0)
    print(f"  {name}: {quality.__name__} {ours:.5f}, LightGBM {theirs:.5f}")
    result(f"boosting-{name}", times[f"{name}, SQL"] / times[f"{name}, LightGBM"], GOAL_TIME)


def scores(model, table, columns, task, classes, fold):
    where = f"FROM {table} WHERE id % 5 = {fold} ORDER BY id"
    if task == "regression":
        rows = db.execute(f"SELECT damson.predict('{model}', {columns}) {where}").fetchall()
        return np.array([row[0] for row in rows])
    rows = db.execute(f"SELECT damson.probabilities('{model}', {columns}) {where}").fetchall()
    return np.array([[row[0][str(c)] for c in classes] for row in rows])


def auc(y, chances, classes):
    return roc_auc_score(y, chances[:, 1])


def accuracy(y, chances, classes):
    return accuracy_score(y, classes[chances.argmax(axis=1)])


def rmse(y, values, classes):
    return mean_squared_error(y, values) ** 0.5


if {"higgs", "memory", "rows"} & set(WANTED):
    x, y, table = higgs_table(db)
    columns = ", ".join(HIGGS_COLUMNS)
    if "higgs" in WANTED:
        frame = pd.DataFrame(x, columns=HIGGS_COLUMNS).assign(id=np.arange(1, len(y) + 1), y=y)
        compare("higgs", table, HIGGS_COLUMNS, "y", frame, {}, "classification", auc)
        del frame
    if "memory" in WANTED:
        with connect() as session:
            session.execute("SET damson.threads = 2")
            source = f"SELECT {columns}, y FROM {table}"
            train("bench_memory", source, "y", {"n_estimators": 1}, "classification", session)
            grown = peak(session, lambda: train("bench_memory", source, "y", {}, "classification", session))
        print(f"  memory: the peak grows by {grown / 2**20:.0f} MiB, the binned table is {x.size / 2**20:.0f} MiB")
        result("boosting-memory", grown / x.size, GOAL_MEMORY)
    if "rows" in WANTED:
        part = f"SELECT {columns}, y FROM {table} WHERE id <= {len(y) // 4}"
        found = medians(
            {
                "a quarter of the rows": lambda: train("bench_rows", part, "y", {}, "classification"),
                "all rows": lambda: train("bench_rows", f"SELECT {columns}, y FROM {table}", "y", {}, "classification"),
            },
            RUNS,
        )
        result("boosting-rows", found["all rows"] / found["a quarter of the rows"], GOAL_ROWS)
    del x, y

REAL = {
    "kddcup": ("kddcup99_10pct/kddcup.tsv.gz", kddcup, {"min_sum_hessian_in_leaf": 1.0}, "classification", accuracy),
    "flights": ("nycflights13/flights.csv.gz", flights, {}, "regression", rmse),
    "covertype": ("covertype/covertype_16pct_int.csv.gz", covertype, {}, "classification", accuracy),
}
for name, (path, load, params, task, quality) in REAL.items():
    file = real(path) if name in WANTED else None
    if file:
        frame, target = load(file)
        store(db, f"bench_{name}", frame)
        features = [c for c in frame.columns if c not in ("id", target)]
        compare(name, f"bench_{name}", features, target, frame, params, task, quality, folds=5)
