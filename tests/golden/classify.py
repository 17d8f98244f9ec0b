"""Writes classify.json: golden values of src/classify, by scikit-learn, SciPy and NumPy in float64.

Run: python3 tests/golden/classify.py   (numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1; the tests need none of them)
"""

import json
import pathlib

import numpy as np
from scipy.special import xlogy
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score, roc_curve

rng = np.random.default_rng(20261122)


def delong(scores, labels):
    """The error of an area from its definition, every pair looked at."""
    pairs = scores[labels][:, None] - scores[~labels][None, :]
    wins = (pairs > 0) + 0.5 * (pairs == 0)

    def variance(x):
        return x.var(ddof=1) if len(x) > 1 else 0.0

    return np.sqrt(variance(wins.mean(1)) / len(wins) + variance(wins.mean(0)) / wins.shape[1])


def curves():
    labels = rng.random(80) < 0.4
    samples = {
        "continuous": (rng.normal(0, 1, 80) + labels, labels),
        "ties": (rng.integers(0, 6, 80) + 1.0 * labels, labels),
        "constant": (np.full(80, 0.3), labels),
        "apart": (labels * 2.0 + rng.random(80), labels),
        "the wrong way round": (-2.0 * labels + rng.normal(0, 1, 80), labels),
        "one positive": (rng.normal(0, 1, 20), np.arange(20) == 7),
    }
    for name, (scores, labels) in samples.items():
        scores = scores.astype(np.float32).astype(np.float64)
        fpr, tpr, thresholds = roc_curve(labels, scores, drop_intermediate=False)
        yield {
            "name": name,
            "scores": scores.tolist(),
            "labels": labels.tolist(),
            "auc": float(roc_auc_score(labels, scores)),
            "auc_error": float(delong(scores, labels)),
            "false_positive": fpr.tolist(),
            "true_positive": tpr.tolist(),
            "thresholds": [float(t) if np.isfinite(t) else None for t in thresholds],
        }


def isotonic():
    labels = rng.random(60) < 0.5
    samples = {
        "continuous": (rng.normal(0, 1, 60) + labels, labels),
        "ties": (rng.integers(0, 7, 60) + 1.0 * labels, labels),
        "constant": (np.full(60, 0.3), labels),
        "falling": (-3.0 * labels + rng.random(60), labels),
        "apart": (3.0 * labels + rng.random(60), labels),
    }
    for name, (scores, labels) in samples.items():
        scores = scores.astype(np.float32).astype(np.float64)
        at = np.concatenate([scores[:20], rng.uniform(scores.min() - 1, scores.max() + 1, 40)])
        at = at.astype(np.float32).astype(np.float64)
        # As CaloChallenge's evaluate.py.
        fit = IsotonicRegression(out_of_bounds="clip", y_min=1e-6, y_max=1.0 - 1e-6)
        fit.fit(scores, labels.astype(np.float64))
        yield {
            "name": name,
            "scores": scores.tolist(),
            "labels": labels.tolist(),
            "at": at.tolist(),
            "value": fit.predict(at).tolist(),
        }


def entropies():
    for low, high in [(0.45, 0.55), (0.01, 0.99), (1e-6, 1 - 1e-6)]:
        probability = rng.uniform(low, high, 50)
        probability[:2] = low, high
        labels = rng.random(50) < probability
        p, y = probability, labels.astype(np.float64)
        bits = -(xlogy(y, p) + xlogy(1 - y, 1 - p)) / np.log(2)
        yield {
            "probability": probability.tolist(),
            "labels": labels.tolist(),
            "jsd": float(1 - bits.mean()),
            "error": float(bits.std(ddof=1) / np.sqrt(50)),
        }


def convolve(x, weight, bias):
    """3 x 3, stride 1, no padding, then ReLU. x [n, c, h, w], weight [f, c, 3, 3]."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3))
    return np.maximum(np.einsum("nchwij,fcij->nfhw", windows, weight) + bias[:, None, None], 0)


def pool(x):
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(2, 3)).max((4, 5))


def loss(parameters, x, y):
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5, w6, b6 = parameters
    x = pool(convolve(convolve(x, w1, b1), w2, b2))
    x = pool(convolve(convolve(x, w3, b3), w4, b4))
    logits = ((x.reshape(len(x), -1) @ w5 + b5) @ w6 + b6)[:, 0]
    return logits, np.mean(np.logaddexp(0, logits) - y * logits)


def network():
    """Logits, loss and its derivatives by central differences of the 2-block CNN, 3 filters, 15 x 14 pixels."""
    f, hidden, side = 3, 4, (15, 14)
    places = (side[0] - 12) * (side[1] - 12)
    shapes = [(f, 1, 3, 3), (f,), (f, f, 3, 3), (f,), (f, f, 3, 3), (f,), (1, f, 3, 3), (1,)]
    shapes += [(places, hidden), (hidden,), (hidden, 1), (1,)]

    def single(x):
        return x.astype(np.float32).astype(np.float64)

    # Mostly positive weights: every unit is on somewhere, so every derivative is tested.
    parameters = [single(rng.normal(0.1, 0.4, s)) for s in shapes]
    x = single(rng.exponential(1.0, (5, 1) + side) * (rng.random((5, 1) + side) < 0.4))
    y = np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    logits, value = loss(parameters, x, y)
    gradients = []
    for p in parameters:
        gradient = np.zeros(p.size)
        flat = p.reshape(-1)
        for i in range(p.size):
            keep, step = flat[i], 1e-6
            flat[i] = keep + step
            above = loss(parameters, x, y)[1]
            flat[i] = keep - step
            gradient[i] = (above - loss(parameters, x, y)[1]) / (2 * step)
            flat[i] = keep
        gradients.append(gradient.tolist())
    return {
        "filters": f,
        "hidden": hidden,
        "height": side[0],
        "width": side[1],
        "parameters": [p.reshape(-1).tolist() for p in parameters],
        "inputs": x.reshape(-1).tolist(),
        "labels": y.tolist(),
        "logits": logits.tolist(),
        "loss": float(value),
        "gradients": gradients,
    }


out = pathlib.Path(__file__).with_name("classify.json")
golden = {
    "curves": list(curves()),
    "isotonic": list(isotonic()),
    "entropies": list(entropies()),
    "network": network(),
}
out.write_text(json.dumps(golden) + "\n")
