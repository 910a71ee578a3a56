"""Records what scikit-learn and statsmodels find, for the tests of the GLM family.

    pip install scikit-learn statsmodels && python glm.py

Writes data/*.csv (features, then the target) and glm.json beside itself.
"""

import json
import pathlib

import numpy as np
import sklearn
import statsmodels
import statsmodels.api as sm
from sklearn import datasets
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

here = pathlib.Path(__file__).parent
(here / "data").mkdir(exist_ok=True)
sets = {}
for name in ["diabetes", "breast_cancer", "wine", "iris"]:
    x, y = getattr(datasets, "load_" + name)(return_X_y=True)
    sets[name] = x, y
    with open(here / "data" / f"{name}.csv", "w") as f:
        for row, target in zip(x, y):
            f.write(",".join(f"{v!r}" for v in row.tolist()) + f",{float(target):g}\n")

cases = []


def case(data, algorithm, params, fit, columns=None, standardise=True, weighted=False, **more):
    x, y = sets[data]
    columns = list(range(x.shape[1])) if columns is None else columns
    x = x[:, columns]
    if standardise:
        x = (x - x.mean(0)) / x.std(0)
    # Weights that any language computes the same way.
    w = 1.0 + np.arange(len(y)) % 3 if weighted else None
    intercept, coef, out = fit(x, y, w)
    cases.append(
        dict(data=data, algorithm=algorithm, params=params, columns=columns, standardise=standardise)
        | dict(weighted=weighted, intercept=np.atleast_1d(intercept).tolist())
        | dict(coefficients=np.atleast_2d(coef).tolist(), scores=np.asarray(out)[:20].ravel().tolist())
        | more
    )


def sk(model, centre=False):
    def fit(x, y, w):
        m = model.fit(x, y, sample_weight=w)
        out = m.predict_proba(x) if hasattr(m, "predict_proba") else m.predict(x)
        coef, intercept = np.atleast_2d(m.coef_), np.atleast_1d(m.intercept_)
        if centre:
            coef, intercept = coef - coef.mean(0), intercept - intercept.mean()
        return intercept, coef, out

    return fit


def wls(x, y, w):
    m = sm.WLS(y, sm.add_constant(x), weights=np.ones(len(y)) if w is None else w).fit()
    return m.params[0], m.params[1:], m.fittedvalues


def logit(x, y, w):
    m = sm.Logit(y, sm.add_constant(x)).fit(method="newton", tol=1e-14, maxiter=200, disp=0)
    p = m.predict()
    return m.params[0], m.params[1:], np.stack([1 - p, p], 1)


def mnlogit(x, y, w):
    m = sm.MNLogit(y, sm.add_constant(x)).fit(method="newton", tol=1e-14, maxiter=200, disp=0)
    beta = np.hstack([np.zeros((m.params.shape[0], 1)), m.params]).T
    beta = beta - beta.mean(0)
    return beta[:, 0], beta[:, 1:], m.predict()


def newton(C=1.0, **k):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-13, max_iter=1000, **k)


case("diabetes", "linear", {}, sk(LinearRegression()), standardise=False)
case("diabetes", "linear", {}, wls, standardise=False, weighted=True)
case("diabetes", "linear", {"fit_intercept": False}, sk(LinearRegression(fit_intercept=False)), standardise=False)
case("diabetes", "ridge", {"alpha": 1.0}, sk(Ridge(1.0, solver="svd")), standardise=False)
case("diabetes", "ridge", {"alpha": 25.0}, sk(Ridge(25.0, solver="svd")), weighted=True)
case("diabetes", "ridge", {"alpha": 0.1, "fit_intercept": False}, sk(Ridge(0.1, solver="svd", fit_intercept=False)))
case("breast_cancer", "logistic", {}, sk(newton()))
case("breast_cancer", "logistic", {"C": 0.01}, sk(newton(0.01)), weighted=True)
case("breast_cancer", "logistic", {"C": 100.0, "fit_intercept": False}, sk(newton(100.0, fit_intercept=False)))
case("breast_cancer", "logistic", {"C": 1.0}, sk(newton()), columns=[0, 1, 4, 8], standardise=False)
case("breast_cancer", "logistic", {"penalty": "none"}, logit, columns=[0, 1, 4, 8])
case("wine", "multinomial", {}, sk(newton(), True))
case("wine", "multinomial", {"C": 0.05}, sk(newton(0.05), True), weighted=True)
case("wine", "multinomial", {"penalty": "none"}, mnlogit, columns=[1, 2, 3])
case("iris", "multinomial", {}, sk(newton(), True), standardise=False)
case("iris", "multinomial", {"C": 10.0, "fit_intercept": False}, sk(newton(10.0, fit_intercept=False), True))

with open(here / "glm.json", "w") as f:
    made = f"glm.py, scikit-learn {sklearn.__version__}, statsmodels {statsmodels.__version__}"
    f.write('{"made_by": ' + json.dumps(made) + ', "cases": [\n')
    f.write(",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
