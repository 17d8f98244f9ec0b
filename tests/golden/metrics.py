"""Writes metrics.json: golden values of the evaluation's distances, by independent implementations.

Run: python3 tests/golden/metrics.py   (the tests need none of this)
Made with Python 3.11, numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1, scikit-image 0.26.0.

- W1 in batches, Frechet and kernel physics distances: JetNet's conventions (jetnet.evaluation), written
  out in numpy and SciPy; what depends on random draws is given as mean and spread over many seeds
- the Frechet distance: SciPy's sqrtm; the line: SciPy's curve_fit
- the kernel: scikit-learn's polynomial_kernel
- precision, recall, density, coverage: the formulas of arXiv 1904.06991 and 2002.09797 with
  scikit-learn's distances
- structural similarity: scikit-image; separation power: numpy
"""

import json
import pathlib

import numpy as np
from scipy.linalg import sqrtm
from scipy.optimize import curve_fit
from scipy.stats import iqr, wasserstein_distance
from skimage.metrics import structural_similarity
from sklearn.metrics import pairwise_distances
from sklearn.metrics.pairwise import polynomial_kernel

rng = np.random.default_rng(20261122)


def numbers(array):
    """Few digits: what the file holds is what is computed with."""
    return np.round(array, 3)


def listed(array):
    return [float(f"{v:.3f}") for v in np.asarray(array).ravel()]


# 3 features of different scale, correlated, of 1 200 points a side, nearly the same distribution.
mix = np.array([[3.0, 0.0, 0.0], [1.0, 2.0, 0.0], [0.5, -0.3, 0.4]])
truth = numbers(rng.normal(size=(1200, 3)) @ mix + np.array([40.0, 0.0, 1.0]))
generated = numbers(rng.normal(size=(1200, 3)) @ mix * 1.1 + np.array([40.4, 0.3, 1.0]))
out = {"dimensions": 3, "truth": listed(truth), "generated": listed(generated)}

# --- W1 in batches of 50 000
batches = [
    wasserstein_distance(
        rng.choice(truth[:, 0].astype(np.float32), 50_000).astype(float),
        rng.choice(generated[:, 0].astype(np.float32), 50_000).astype(float),
    )
    for _ in range(300)
]
out["w1_jetnet"] = {"mean": float(np.mean(batches)), "std": float(np.std(batches))}

# --- separation power: five bins between the edges, two outside
edges = np.array([35.0, 37.0, 39.0, 41.0, 43.0, 45.0])
wide = np.concatenate([[-np.inf], edges, [np.inf]])
h = [np.histogram(x[:, 0].astype(np.float32), wide)[0] for x in (truth, generated)]
p, q = (x / x.sum() for x in h)
out["separation"] = {"edges": edges.tolist(), "value": float(0.5 * np.sum((p - q) ** 2 / (p + q)))}

# --- structural similarity
images = [numbers(rng.exponential(1.0, (11, 13))) for _ in range(2)]
images.append(numbers(images[0] + 0.05 * images[1]))
out["ssim"] = []
for a, b in [(0, 1), (0, 2), (0, 0)]:
    a, b = images[a], images[b]
    data_range = max(a.max(), b.max()) - min(a.min(), b.min())
    value = structural_similarity(a, b, data_range=data_range)
    out["ssim"].append(
        {"height": 11, "width": 13, "a": listed(a), "b": listed(b), "value": float(value)}
    )


# --- Frechet distance of two samples as they are, and with a constant and a doubled dimension
def frechet(x, y):
    s, t = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    apart = x.mean(axis=0) - y.mean(axis=0)
    root = sqrtm(s @ t)
    return float(apart @ apart + np.trace(s) + np.trace(t) - 2 * np.trace(root.real))


out["frechet"] = frechet(truth, generated)
# With a constant dimension it is the distance of the others.
out["frechet_two"] = frechet(truth[:, :2], generated[:, :2])


# --- the line through the points
def linear(x, intercept, slope):
    return intercept + slope * x


def fit(x, y):
    parameters, covariance = curve_fit(linear, x, y, bounds=([0, 0], [np.inf, np.inf]))
    return float(parameters[0]), float(np.sqrt(covariance[0, 0]))


out["lines"] = []
for intercept, slope in [(2.0, 3.0), (-1.0, 4.0), (5.0, -1.0)]:
    x = numbers(np.linspace(0.5, 2.0, 10))
    y = numbers(intercept + slope * x + rng.normal(0, 0.1, 10))
    value, error = fit(x, y)
    out["lines"].append({"x": listed(x), "y": listed(y), "value": value, "error": error})

# --- FPD: sizes 480 to 1 200, as many as there are; JetNet's seeds become many
most = np.abs(truth).max(axis=0)
X, Y = truth / most, generated / most
sizes = (1 / np.linspace(1 / 480, 1 / 1200, 10)).astype("int32")
runs = []
for _ in range(40):
    points = [
        np.mean([frechet(X[rng.choice(1200, n)], Y[rng.choice(1200, n)]) for _ in range(20)])
        for n in sizes
    ]
    runs.append((*fit(1 / sizes, points), *points))
runs = np.array(runs)
out["fpd"] = {
    "sizes": sizes.tolist(),
    "value": float(runs[:, 0].mean()),
    "value_std": float(runs[:, 0].std()),
    "error": float(runs[:, 1].mean()),
    "distances": runs[:, 2:].mean(axis=0).tolist(),
    "distances_std": runs[:, 2:].std(axis=0).tolist(),
}


# --- KPD: batches of 1 200
def mmd(x, y):
    xx, yy, xy = (polynomial_kernel(a, b, degree=4, coef0=1) for a, b in [(x, x), (y, y), (x, y)])
    n, m = len(x), len(y)
    return (
        (xx.sum() - np.trace(xx)) / (n * (n - 1))
        + (yy.sum() - np.trace(yy)) / (m * (m - 1))
        - 2 * xy.mean()
    )


out["mmd"] = float(mmd(X[:300], Y[:250]))
runs = []
for _ in range(40):
    values = [mmd(X[rng.choice(1200, 1200)], Y[rng.choice(1200, 1200)]) for _ in range(10)]
    runs.append((np.median(values), iqr(values, rng=(16.275, 83.725)) / 2))
runs = np.array(runs)
out["kpd"] = {
    "value": float(runs[:, 0].mean()),
    "value_std": float(runs[:, 0].std()),
    "error": float(runs[:, 1].mean()),
    "error_std": float(runs[:, 1].std()),
}
values = rng.normal(size=10).round(3)
out["quantiles"] = {
    "values": sorted(values.tolist()),
    "of": [16.275, 50.0, 83.725],
    "are": [float(np.percentile(values, q)) for q in (16.275, 50.0, 83.725)],
}

# --- precision, recall, density, coverage of 400 against 300 points, k = 5
a, b = truth[:400], generated[:300]
mean, std = a.mean(axis=0), a.std(axis=0)
a, b = (a - mean) / std, (b - mean) / std
k = 5
radius_a = np.sort(pairwise_distances(a, a), axis=1)[:, k]
radius_b = np.sort(pairwise_distances(b, b), axis=1)[:, k]
between = pairwise_distances(a, b)
out["neighbours"] = {
    "precision": float((between < radius_a[:, None]).any(axis=0).mean()),
    "recall": float((between < radius_b[None, :]).any(axis=1).mean()),
    "density": float((between < radius_a[:, None]).sum(axis=0).mean() / k),
    "coverage": float((between.min(axis=1) < radius_a).mean()),
}

path = pathlib.Path(__file__).with_name("metrics.json")
path.write_text(json.dumps(out) + "\n")
