"""Records what SciPy and pandas say of the data sets that come with scikit-learn: statistics.json, kstwo.txt."""

import json
import pathlib

import numpy as np
from scipy import stats
from sklearn.datasets import load_breast_cancer, load_iris, load_wine

here = pathlib.Path(__file__).parent
iris, wine, cancer = load_iris(), load_wine(), load_breast_cancer()
out = {}


def column(data, j):
    return data.data[:, j]


def keep(name, x, groups, found):
    out[name] = {"x": [float(v) for v in x], "by": [int(g) for g in groups], "found": {k: float(v) for k, v in found.items()}}


two = wine.target < 2
x, g = column(wine, 0)[two], wine.target[two]
a, b = x[g == 0], x[g == 1]
for name, equal in (("t", True), ("welch", False)):
    found = stats.ttest_ind(a, b, equal_var=equal)
    ci = found.confidence_interval()
    keep(name, x, g, {"statistic": found.statistic, "p_value": found.pvalue, "df": found.df,
                      "lower (95 %)": ci.low, "upper (95 %)": ci.high})
found = stats.ks_2samp(a, b)
keep("ks", x, g, {"statistic": found.statistic, "p_value": found.pvalue})
found = stats.mannwhitneyu(a, b)
keep("mann_whitney", x, g, {"statistic": found.statistic, "p_value": found.pvalue})
small = np.concatenate([np.arange(5) * 1.1, np.arange(9) * 0.97 + 1.3])
gs = np.array([0] * 5 + [1] * 9)
found = stats.mannwhitneyu(small[gs == 0], small[gs == 1], method="exact")
keep("mann_whitney exact", small, gs, {"statistic": found.statistic, "p_value": found.pvalue})
x = column(iris, 1)
found = stats.f_oneway(*[x[iris.target == k] for k in range(3)])
keep("anova", x, iris.target, {"statistic": found.statistic, "p_value": found.pvalue})
for name, x, g in (("chi_square", (column(iris, 0) * 2).astype(int), iris.target),
                   ("chi_square 2x2", (column(cancer, 1) > 19).astype(int), cancer.target)):
    table = np.array([[np.sum((x == v) & (g == k)) for k in np.unique(g)] for v in np.unique(x)])
    found = stats.chi2_contingency(table)
    keep(name, x, g, {"statistic": found.statistic, "p_value": found.pvalue, "df": found.dof,
                      "least expected rows": found.expected_freq.min()})
g = np.random.default_rng(5)
x = np.concatenate([g.normal(size=1001), g.normal(0.08, 1.0, size=1300)])
by = np.array([0] * 1001 + [1] * 1300)
found = stats.ks_2samp(x[by == 0], x[by == 1])
keep("ks large", np.round(x, 6), by, {
    "statistic": stats.ks_2samp(np.round(x, 6)[by == 0], np.round(x, 6)[by == 1]).statistic,
    "p_value": stats.ks_2samp(np.round(x, 6)[by == 0], np.round(x, 6)[by == 1]).pvalue})

pairs = {}
a, b = column(iris, 0), column(iris, 2)
for name, test in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr), ("kendall", stats.kendalltau)):
    kwargs = {"method": "asymptotic"} if name == "kendall" else {}
    found = test(a, b, **kwargs)
    pairs[name] = [float(found.statistic), float(found.pvalue)]
out["correlation"] = {"a": a.tolist(), "b": b.tolist(), "found": pairs}
out["summary"] = {"x": a.tolist(), "found": [float(a.mean()), float(a.std(ddof=1)), *map(float, np.quantile(a, [0, .25, .5, .75, 1]))],
                  "distinct": int(len(np.unique(a)))}
(here / "statistics.json").write_text(json.dumps(out) + "\n")

cases = [(n, x) for n in (5, 20, 100, 140, 141, 1000, 5000, 20000, 200000)
         for x in (0.6 / n, 0.95 / n, 0.4 / n**0.5, 0.7 / n**0.5, 1.0 / n**0.5, 1.36 / n**0.5, 1.6 / n**0.5, 2.5 / n**0.5, 4.0 / n**0.5)
         if x < 1]
text = ",\n".join(f"    ({float(n)!r}, {x!r}, {float(stats.kstwo.sf(x, n))!r})" for n, x in cases)
(here / "kstwo.txt").write_text(f"&[\n{text},\n]\n")
