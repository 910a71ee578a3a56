"""Records what statsmodels and scikit-learn find, for the tests of families, links, penalties and standard errors.

    pip install scikit-learn statsmodels && python glm_families.py

Writes glm_families.json beside itself, and data/fair.csv, data/star98.csv (features, then the target; both sets are in the
public domain and come with statsmodels). Reads data/diabetes.csv, data/breast_cancer.csv, which glm.py wrote, and
with DAMSON_DATA also bike_sharing and california_housing, whose rows are not committed.
"""

import csv
import gzip
import json
import os
import pathlib
import warnings

import numpy as np
import scipy.optimize
import scipy.special
import sklearn
import statsmodels
import statsmodels.api as sm
from sklearn import linear_model as lm
from statsmodels.miscmodels.ordinal_model import OrderedModel

warnings.simplefilter("ignore")
here = pathlib.Path(__file__).parent


def write(name, x, y):
    with open(here / "data" / f"{name}.csv", "w") as f:
        for row, target in zip(x, y):
            f.write(",".join(repr(float(v)) for v in row) + f",{float(target)!r}\n")


def read(name):
    a = np.loadtxt(here / "data" / f"{name}.csv", delimiter=",")
    return a[:, :-1], a[:, -1]


fair = sm.datasets.fair.load_pandas().data
# Every fourth row: 1,592 of 6,366.
fair = fair.iloc[::4]
write("fair", fair[["rate_marriage", "age", "yrs_married", "religious", "educ"]].to_numpy(), fair["affairs"])
star = sm.datasets.star98.load_pandas()
trials = star.endog.sum(1).to_numpy()
write(
    "star98",
    np.column_stack([star.exog.iloc[:, :6].to_numpy() / 10, trials]),
    star.endog.iloc[:, 0].to_numpy() / trials,
)
sets = {n: read(n) for n in ["diabetes", "breast_cancer", "wine", "fair", "star98"]}
data = os.environ.get("DAMSON_DATA")
if data:
    with gzip.open(pathlib.Path(data) / "bike_sharing/hour.csv.gz", "rt") as f:
        rows = list(csv.DictReader(f))
    columns = ["hr", "workingday", "temp", "hum", "windspeed"]
    sets["bike_sharing"] = (
        np.array([[float(r[c]) for c in columns] for r in rows]),
        np.array([float(r["cnt"]) for r in rows]),
    )
    with gzip.open(pathlib.Path(data) / "california_housing/housing.csv.gz", "rt") as f:
        rows = list(csv.DictReader(f))
    columns = ["longitude", "latitude", "housing_median_age", "median_income"]
    sets["california_housing"] = (
        np.array([[float(r[c]) for c in columns] for r in rows]),
        np.array([float(r["median_house_value"]) for r in rows]) / 1e5,
    )

cases = []


def rows_of(data, columns, weighted, offset, clustered):
    x, y = sets[data]
    x = x[:, columns] if columns is not None else x
    n = len(y)
    i = np.arange(n)
    # Weights, offsets and groups that any language computes the same way.
    w = 1.0 + i % 3 if weighted is True else sets[data][0][:, weighted] if weighted is not None else None
    o = 0.1 * (i % 5) if offset else None
    g = i % 40 if clustered else None
    return x, y, w, o, g


def case(data, algorithm, params, fit, columns=None, y=None, weighted=None, offset=False, clustered=False, standardise=False):
    if data not in sets:
        return
    x, target, w, o, g = rows_of(data, columns, weighted, offset, clustered)
    if standardise:
        x = (x - x.mean(0)) / x.std(0)
    if y is not None:
        target = y(target)
    found = fit(x, target, w, o, g)
    columns = list(range(x.shape[1])) if columns is None else columns
    record = dict(data=data, algorithm=algorithm, params=params, columns=columns, standardise=standardise)
    record |= dict(weighted=weighted, offset=offset, clustered=clustered, transform=Y.get(y), **found)
    cases.append(record)
    print(algorithm, data, params)


def shift(y):
    return y - y.min() + 1


def binary(y):
    return (y > 0).astype(float)


def terciles(y):
    return np.searchsorted([100.0, 180.0], y).astype(float)


def plus_one(y):
    return y + 1


def whole(y):
    return np.floor(y)


Y = {None: None, shift: "shift", binary: "binary", terciles: "terciles", plus_one: "plus_one", whole: "floor"}


def table(res, order, facts, params=None):
    """Estimates and errors, the intercept first."""
    ci = np.asarray(res.conf_int())
    pick = lambda a: np.asarray(a)[order].tolist()
    return dict(
        estimate=pick(res.params if params is None else params), std_error=pick(res.bse), statistic=pick(res.tvalues),
        p_value=pick(res.pvalues), lower=pick(ci[:, 0]), upper=pick(ci[:, 1]), facts=facts,
    )  # fmt: skip


def glm(family, cov_type="nonrobust", intercept=True, **start):
    def fit(x, y, w, o, g):
        x = sm.add_constant(x) if intercept else x
        m = sm.GLM(y, x, family=family, freq_weights=w, offset=o)
        kwds = dict(cov_kwds={"groups": g}) if cov_type == "cluster" else {}
        r = m.fit(tol=1e-13, maxiter=300, tol_criterion="params", cov_type=cov_type, **kwds)
        facts = {
            "deviance": r.deviance, "null deviance": r.null_deviance, "pearson chi2": r.pearson_chi2,
            "scale": r.scale, "residual df": float(r.df_resid),
        }  # fmt: skip
        if not isinstance(family, sm.families.Tweedie):
            facts |= {"log likelihood": r.llf, "aic": r.aic, "bic": r.bic_llf}
        return table(r, range(x.shape[1]), facts)

    return fit


def trials(x, y, w, o, g):
    """Shares of trials: the weights are the trials."""
    m = sm.GLM(np.column_stack([y * w, w - y * w]), sm.add_constant(x), family=sm.families.Binomial())
    r = m.fit(tol=1e-13, maxiter=300, tol_criterion="params")
    facts = {"deviance": r.deviance, "pearson chi2": r.pearson_chi2, "log likelihood": r.llf, "aic": r.aic}
    return table(r, range(x.shape[1] + 1), facts)


def ols(cov_type="nonrobust"):
    def fit(x, y, w, o, g):
        kwds = dict(cov_kwds={"groups": g}) if cov_type == "cluster" else {}
        if w is not None:
            # Weights are frequencies: rows repeated.
            rows = np.repeat(np.arange(len(y)), w.astype(int))
            x, y, g = x[rows], y[rows], None if g is None else g[rows]
        r = sm.OLS(y, sm.add_constant(x)).fit(cov_type=cov_type, **kwds)
        facts = {
            "log likelihood": r.llf, "aic": r.aic, "bic": r.bic, "r2": r.rsquared, "adjusted r2": r.rsquared_adj,
            "residual df": float(r.df_model and len(y) - x.shape[1] - 1), "scale": r.scale,
        }  # fmt: skip
        if cov_type == "nonrobust":
            facts |= {"f statistic": r.fvalue, "f p-value": r.f_pvalue}
        return table(r, range(x.shape[1] + 1), facts)

    return fit


def sandwich(family, kind):
    """HC1, HC2 and HC3 of models that statsmodels gives HC0 only: its scores and its information, in full."""

    def fit(x, y, w, o, g):
        x = sm.add_constant(x)
        m = sm.GLM(y, x, family=family, freq_weights=w, offset=o)
        r = m.fit(tol=1e-13, maxiter=300, tol_criterion="params")
        w = np.ones(len(y)) if w is None else w
        s = m.score_factor(r.params, scale=1.0) / w
        e = m.hessian_factor(r.params, scale=1.0, observed=False)
        h = e / w * np.einsum("ij,jk,ik->i", x, np.linalg.inv((x.T * e) @ x), x)
        n, k = w.sum(), x.shape[1]
        by = {"HC1": (n / (n - k)) ** 0.5, "HC2": (1 - h) ** -0.5, "HC3": 1 / (1 - h)}[kind]
        bread = np.linalg.inv(-m.hessian(r.params, scale=1.0))
        z = x * (s * by * np.sqrt(w))[:, None]
        return dict(estimate=r.params.tolist(), std_error=np.sqrt(np.diag(bread @ z.T @ z @ bread)).tolist(), facts={})

    return fit


def negative_binomial(cov_type="nonrobust"):
    def fit(x, y, w, o, g):
        m = sm.NegativeBinomial(y, sm.add_constant(x), loglike_method="nb2", offset=o)
        kwds = dict(cov_kwds={"groups": g}) if cov_type == "cluster" else {}
        r = m.fit(method="newton", maxiter=0, disp=0, start_params=solve(m))
        r = m.fit(method="newton", maxiter=1, disp=0, start_params=solve(m), cov_type=cov_type, **kwds)
        facts = {"log likelihood": r.llf, "aic": r.aic, "bic": r.bic, "dispersion": r.params[-1]}
        return table(r, range(x.shape[1] + 2), facts)

    return fit


def solve(m):
    """The root of the score, closer than the optimisers of statsmodels go."""
    start = m.fit(disp=0, maxiter=500).params
    for _ in range(50):
        start = start - np.linalg.solve(m.hessian(start), m.score(start))
    return start


def logit(cov_type="nonrobust"):
    def fit(x, y, w, o, g):
        return glm(sm.families.Binomial(), cov_type)(x, y, w, o, g)

    return fit


def mnlogit(x, y, w, o, g):
    r = sm.MNLogit(y, sm.add_constant(x)).fit(method="newton", tol=1e-14, maxiter=300, disp=0)
    order = range(r.params.size)
    flat = lambda a: np.asarray(a).T.ravel()
    ci = np.asarray(r.conf_int()).reshape(-1, 2)
    facts = {"log likelihood": r.llf, "aic": r.aic, "bic": r.bic, "pseudo r2": r.prsquared}
    return dict(
        estimate=flat(r.params).tolist(), std_error=flat(r.bse).tolist(), statistic=flat(r.tvalues).tolist(),
        p_value=flat(r.pvalues).tolist(), lower=ci[:, 0].tolist(), upper=ci[:, 1].tolist(), facts=facts,
    )  # fmt: skip


def ordered(distr):
    """OrderedModel's fit, then Newton's method on its likelihood by complex steps: its own Hessian is numeric."""
    f = (lambda z: 1 / (1 + np.exp(-z))) if distr == "logit" else (lambda z: scipy.special.erfc(-z / np.sqrt(2)) / 2)

    def fit(x, y, w, o, g):
        m = OrderedModel(y, x, distr=distr)
        p = m.fit(method="bfgs", disp=0, maxiter=2000, gtol=1e-9).params
        d, k, c = x.shape[1], len(np.unique(y)) - 1, y.astype(int)
        q = np.concatenate([p[:d], m.transform_threshold_params(p)[1:-1]])

        def likelihood(q):
            upto = f(q[d:][None, :] - (x @ q[:d])[:, None])
            upto = np.column_stack([np.zeros(len(y)), upto, np.ones(len(y))])
            i = np.arange(len(y))
            return np.log(upto[i, c + 1] - upto[i, c]).sum()

        def gradient(q):
            return np.array([likelihood(q + 1e-30j * e).imag / 1e-30 for e in np.eye(d + k)])

        def hessian(q):
            h = 1e-4 * np.maximum(np.abs(q), 1)
            # The central difference of an exact gradient, and Richardson's step.
            rows = [
                (8 * (gradient(q + e) - gradient(q - e)) - (gradient(q + 2 * e) - gradient(q - 2 * e))) / (12 * h[j])
                for j, e in enumerate(np.diag(h))
            ]
            return np.array(rows)

        for _ in range(6):
            q = q - np.linalg.solve(hessian(q), gradient(q))
        llf = likelihood(q)
        error = np.sqrt(np.diag(np.linalg.inv(-hessian(q)))).tolist()
        return dict(estimate=q.tolist(), std_error=error, facts={"log likelihood": llf, "aic": 2 * (d + k) - 2 * llf})

    return fit


def huber(model):
    """scikit-learn's fit, then the root of its own gradient, closer than its optimiser goes."""

    def fit(x, y, w, o, g):
        from sklearn.linear_model._huber import _huber_loss_and_gradient as loss

        r = model.fit(x, y, sample_weight=w)
        w = np.ones(len(y)) if w is None else w
        start = np.concatenate([r.coef_, [r.intercept_, r.scale_]])
        slope = lambda p: loss(p, x, y, model.epsilon, model.alpha, w)[1]
        root = scipy.optimize.root(slope, start, tol=1e-14)
        assert np.abs(slope(root.x)).max() < 1e-7
        return dict(estimate=[root.x[-2]] + root.x[:-2].tolist(), facts={"scale": root.x[-1]})

    return fit


def sk(model):
    """A penalised model: coefficients alone."""

    def fit(x, y, w, o, g):
        r = model.fit(x, y, sample_weight=w)
        return dict(estimate=[float(np.ravel(r.intercept_)[0])] + np.ravel(r.coef_).tolist(), facts={})

    return fit


def path(criterion):
    """The best of a hundred strengths by LassoLarsIC's criterion, with its estimate of the variance."""

    def fit(x, y, w, o, g):
        n, d = x.shape
        mean = x.mean(0)
        alphas, coefs, _ = lm.lasso_path(x - mean, y - y.mean(), eps=1e-3, n_alphas=100, tol=1e-14, max_iter=1000000)
        full = sm.OLS(y, sm.add_constant(x)).fit()
        factor = 2 if criterion == "aic" else np.log(n)
        mse = ((y[:, None] - y.mean() - (x - mean) @ coefs) ** 2).sum(0)
        cost = n * np.log(2 * np.pi * full.scale) + mse / full.scale + factor * (coefs != 0).sum(0)
        best = cost.argmin()
        b = coefs[:, best]
        facts = {"alpha": float(alphas[best]), criterion: float(cost[best])}
        return dict(estimate=[float(y.mean() - mean @ b)] + b.tolist(), facts=facts)

    return fit


def proximal(alpha, l1_ratio):
    """An elastic net on Poisson's deviance, solved as a smooth bounded problem in the positive and negative parts."""

    def fit(x, y, w, o, g):
        d = x.shape[1]
        x1 = sm.add_constant(x)

        def value(p):
            b = np.concatenate([p[:1], p[1 : d + 1] - p[d + 1 :]])
            mu = np.exp(x1 @ b)
            g = x1.T @ (mu - y) / len(y)
            l1, l2 = alpha * l1_ratio, alpha * (1 - l1_ratio)
            f = np.mean(mu - y * (x1 @ b)) + l1 * p[1:].sum() + 0.5 * l2 * (b[1:] ** 2).sum()
            g1 = g[1:] + l2 * b[1:]
            return f, np.concatenate([g[:1], g1 + l1, -g1 + l1])

        bounds = [(None, None)] + [(0, None)] * (2 * d)
        start = np.concatenate([[np.log(y.mean())], np.zeros(2 * d)])
        r = scipy.optimize.minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds,
                                    options=dict(ftol=1e-16, gtol=1e-11, maxiter=100000, maxfun=200000))  # fmt: skip
        b = np.concatenate([r.x[:1], r.x[1 : d + 1] - r.x[d + 1 :]])
        return dict(estimate=b.tolist(), facts={})

    return fit


def quantile(tau):
    """The linear programme itself, by HiGHS; statsmodels' QuantReg approaches it to 1e-6."""

    def fit(x, y, w, o, g):
        n, x1 = len(y), sm.add_constant(x)
        d = x1.shape[1]
        w = np.ones(n) if w is None else w
        cost = np.concatenate([np.zeros(d), tau * w, (1 - tau) * w])
        from scipy import sparse

        a = sparse.hstack([sparse.csc_matrix(x1), sparse.eye(n), -sparse.eye(n)])
        bounds = [(None, None)] * d + [(0, None)] * (2 * n)
        r = scipy.optimize.linprog(cost, A_eq=a, b_eq=y, bounds=bounds, method="highs-ds",
                                   options=dict(primal_feasibility_tolerance=1e-10, dual_feasibility_tolerance=1e-10))  # fmt: skip
        near = sm.QuantReg(y, x1).fit(tau, p_tol=1e-12, max_iter=20000).params if w.max() == 1 else None
        return dict(estimate=r.x[:d].tolist(), facts={}, quantreg=None if near is None else near.tolist())

    return fit


f = sm.families
log, identity = f.links.Log(), f.links.Identity()
case("diabetes", "linear", {}, ols())
for kind in ["HC0", "HC1", "HC2", "HC3"]:
    case("diabetes", "linear", {"cov_type": kind}, ols(kind))
case("diabetes", "linear", {"cov_type": "cluster"}, ols("cluster"), clustered=True)
case("diabetes", "linear", {}, ols(), weighted=True)
case("diabetes", "linear", {"cov_type": "HC3"}, ols("HC3"), weighted=True)

case("diabetes", "glm", {}, glm(f.Gaussian()))
case("diabetes", "glm", {"link": "log"}, glm(f.Gaussian(log)), offset=True)
case("diabetes", "glm", {"link": "inverse", "cov_type": "HC0"}, glm(f.Gaussian(f.links.InversePower()), "HC0"))
case("diabetes", "glm", {"fit_intercept": False, "link": "log"}, glm(f.Gaussian(log), intercept=False))
few = [0, 1, 4, 8]
for link, name in [(f.links.Logit(), "logit"), (f.links.Probit(), "probit"), (f.links.CLogLog(), "cloglog")]:
    case("breast_cancer", "glm", {"family": "binomial", "link": name}, glm(f.Binomial(link)), columns=few)
case("breast_cancer", "glm", {"family": "binomial", "link": "probit", "cov_type": "HC0"}, glm(f.Binomial(f.links.Probit()), "HC0"), columns=few)
case("star98", "glm", {"family": "binomial"}, trials, columns=[0, 1, 2, 3, 4, 5], weighted=6)
case("star98", "glm", {"family": "binomial", "cov_type": "HC1"}, sandwich(f.Binomial(), "HC1"), columns=[0, 1, 2, 3, 4, 5], weighted=6)
case("breast_cancer", "logistic", {"penalty": "none"}, logit(), columns=few)
case("breast_cancer", "logistic", {"penalty": "none", "cov_type": "HC0"}, logit("HC0"), columns=few)
case("breast_cancer", "logistic", {"penalty": "none", "cov_type": "HC3"}, sandwich(f.Binomial(), "HC3"), columns=few)
case("breast_cancer", "logistic", {"penalty": "none", "cov_type": "cluster"}, logit("cluster"), columns=few, clustered=True)
case("breast_cancer", "logistic", {"penalty": "none"}, logit(), columns=few, weighted=True, offset=True)
case("breast_cancer", "logistic", {"penalty": "l1", "C": 0.1}, sk(lm.LogisticRegression(C=0.1, l1_ratio=1.0, solver="saga", tol=1e-10, max_iter=1000000)), standardise=True)
case("breast_cancer", "logistic", {"penalty": "elasticnet", "C": 0.2, "l1_ratio": 0.5}, sk(lm.LogisticRegression(C=0.2, l1_ratio=0.5, solver="saga", tol=1e-10, max_iter=1000000)), standardise=True)

case("fair", "poisson", {}, glm(f.Poisson()))
case("fair", "poisson", {"cov_type": "HC0"}, glm(f.Poisson(), "HC0"))
case("fair", "poisson", {"cov_type": "HC2"}, sandwich(f.Poisson(), "HC2"))
case("fair", "poisson", {"cov_type": "cluster"}, glm(f.Poisson(), "cluster"), clustered=True)
case("fair", "poisson", {}, glm(f.Poisson()), offset=True, weighted=True)
case("diabetes", "poisson", {"link": "sqrt"}, glm(f.Poisson(f.links.Sqrt())))
case("diabetes", "poisson", {"link": "identity"}, glm(f.Poisson(identity)), columns=[2, 3])
case("fair", "poisson", {"alpha": 0.5}, sk(lm.PoissonRegressor(alpha=0.5, tol=1e-12, max_iter=10000, solver="newton-cholesky")))
case("fair", "poisson", {"alpha": 0.1, "l1_ratio": 0.7}, proximal(0.1, 0.7), standardise=True)
case("diabetes", "gamma", {}, glm(f.Gamma(log)), y=plus_one)
case("diabetes", "gamma", {"cov_type": "HC0"}, glm(f.Gamma(log), "HC0"))
case("diabetes", "gamma", {"link": "inverse"}, glm(f.Gamma(f.links.InversePower())), columns=[0, 1, 2, 3])
case("diabetes", "gamma", {"link": "identity"}, glm(f.Gamma(identity)), columns=[2, 3])
case("diabetes", "gamma", {"alpha": 0.01}, sk(lm.GammaRegressor(alpha=0.01, tol=1e-12, max_iter=10000, solver="newton-cholesky")), standardise=True)
case("fair", "tweedie", {"power": 1.5}, glm(f.Tweedie(log, var_power=1.5)))
case("fair", "tweedie", {"power": 1.2, "cov_type": "HC0"}, glm(f.Tweedie(log, var_power=1.2), "HC0"))
case("fair", "tweedie", {"power": 1.5, "alpha": 0.1}, sk(lm.TweedieRegressor(power=1.5, link="log", alpha=0.1, tol=1e-12, max_iter=10000, solver="newton-cholesky")), standardise=True)
case("fair", "negative_binomial", {"dispersion": 0.8}, glm(f.NegativeBinomial(alpha=0.8)))
case("fair", "negative_binomial", {}, negative_binomial(), y=whole)
case("fair", "negative_binomial", {"cov_type": "HC0"}, negative_binomial("HC0"), y=whole, offset=True)
case("bike_sharing", "poisson", {}, glm(f.Poisson()))
case("bike_sharing", "negative_binomial", {}, negative_binomial())
case("california_housing", "gamma", {}, glm(f.Gamma(log)))
case("california_housing", "gamma", {"cov_type": "cluster"}, glm(f.Gamma(log), "cluster"), clustered=True)
case("california_housing", "tweedie", {"power": 1.7}, glm(f.Tweedie(log, var_power=1.7)))

case("wine", "multinomial", {"penalty": "none"}, mnlogit, columns=[1, 2, 3])
case("diabetes", "ordinal", {"link": "logit"}, ordered("logit"), y=terciles)
case("diabetes", "ordinal", {"link": "probit"}, ordered("probit"), y=terciles)

case("diabetes", "lasso", {"alpha": 0.5}, sk(lm.Lasso(0.5, tol=1e-14, max_iter=1000000)), standardise=True)
case("diabetes", "lasso", {"alpha": 2.0}, sk(lm.Lasso(2.0, tol=1e-14, max_iter=1000000)), standardise=True, weighted=True)
case("diabetes", "elastic_net", {"alpha": 0.3, "l1_ratio": 0.4}, sk(lm.ElasticNet(0.3, l1_ratio=0.4, tol=1e-14, max_iter=1000000)), standardise=True)
case("diabetes", "lasso", {"criterion": "bic"}, path("bic"), standardise=True)
case("diabetes", "lasso", {"criterion": "aic"}, path("aic"), standardise=True)

for tau in [0.1, 0.5, 0.9]:
    case("diabetes", "quantile", {"quantile": tau}, quantile(tau))
case("diabetes", "quantile", {"quantile": 0.75}, quantile(0.75), weighted=True)
case("diabetes", "quantile", {"quantile": 0.3, "alpha": 0.05}, sk(lm.QuantileRegressor(quantile=0.3, alpha=0.05)), standardise=True)
for epsilon in [1.35, 1.1]:
    case("diabetes", "huber", {"epsilon": epsilon}, huber(lm.HuberRegressor(epsilon=epsilon, tol=1e-10, max_iter=100000)), standardise=True)
case("diabetes", "huber", {"alpha": 1.0}, huber(lm.HuberRegressor(alpha=1.0, tol=1e-10, max_iter=100000)), standardise=True, weighted=True)

with open(here / "glm_families.json", "w") as out:
    made = f"glm_families.py, scikit-learn {sklearn.__version__}, statsmodels {statsmodels.__version__}"
    out.write('{"made_by": ' + json.dumps(made) + ', "cases": [\n')
    out.write(",\n".join(json.dumps(c) for c in cases) + "\n]}\n")
