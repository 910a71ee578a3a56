"""Records warm_start.json: LightGBM's trainings that go on from a model (`init_model`) on other rows.

Run: python warm_start.py > warm_start.json
"""

import json

import lightgbm as lgb
import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine


def categories():
    """600 rows: two numbers, one with missing values, and a category of 8 levels. Each row stands there twice, once for
    each model, with other targets."""
    i = np.arange(600) // 2
    a = 1 + (i * 7919 % 1009) / 100.0
    b = 1 + (i * 104729 % 997) / 50.0
    b[i * 31 % 7 == 0] = np.nan
    c = i * 17 % 23 % 8
    y = np.sin(a) * 3 + np.where(np.isnan(b), 2.5, 0.2 * b) + np.array([0, 2, -1, 3, 0.5, -2, 1, 2.5])[c]
    return np.column_stack([a, b, c]), y + np.arange(600) % 2 * np.cos(a) * c


def case(name, objective, x, y, rounds=10, category=(), **params):
    """The first model learns from the even rows, the second one goes on with the odd ones."""
    params = {"objective": objective, "verbosity": -1, "num_leaves": 7, "min_data_in_leaf": 10, "learning_rate": 0.2,
              "min_data_per_group": 10, "deterministic": True, "seed": 1, "force_col_wise": True,
              "num_threads": 1} | params
    data = lambda part: lgb.Dataset(x[part::2], y[part::2], categorical_feature=list(category), params=params,
                                    free_raw_data=False)
    first = lgb.train(params, data(0), num_boost_round=rounds)
    both = lgb.train(params, data(1), num_boost_round=rounds, init_model=first)
    assert both.num_trees() == 2 * first.num_trees()
    raw = lambda model: [float(f"{v:.9g}") for v in model.predict(x, raw_score=True).ravel()]
    return {"name": name, "classes": int(params.get("num_class", 2 if objective == "binary" else 0)),
            "rounds": rounds, "category": list(category),
            "x": [[None if np.isnan(v) else float(f"{v:.12g}") for v in row] for row in x.tolist()], "y": y.tolist(),
            "first": raw(first), "both": raw(both)}


diabetes, cancer, wine = (load(return_X_y=True) for load in (load_diabetes, load_breast_cancer, load_wine))
print(json.dumps({
    "lightgbm": lgb.__version__,
    "cases": [
        case("diabetes", "regression", diabetes[0][:, :5].round(6), diabetes[1]),
        case("diabetes_poisson", "poisson", diabetes[0][:, 2:5].round(6), diabetes[1]),
        case("breast_cancer", "binary", cancer[0][:, :6], cancer[1].astype(float)),
        case("wine", "multiclass", wine[0][:, :6], wine[1].astype(float), num_class=3),
        case("categories", "regression", *categories(), category=(2,)),
    ],
}))
