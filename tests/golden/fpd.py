"""Writes fpd.json: what the fit of jetnet.evaluation.fpd makes of points at several scales.

Run: python3 tests/golden/fpd.py   (the tests need none of this)
Made with Python 3.11, numpy 2.4.6, scipy 1.17.1; the fit is that of jetnet 0.2.5 (evaluation/gen_metrics.py).

The fit ends early where distances are small: at an intercept of 5e-5 and a slope of 3, the size of a good model's
distances, it gives the mean of the points.
"""

import json
import pathlib

import numpy as np
from scipy.optimize import curve_fit

rng = np.random.default_rng(20261129)


def linear(x, intercept, slope):
    return intercept + slope * x


def sizes(first, last):
    """As jetnet: regular intervals in 1/N."""
    return (1 / np.linspace(1.0 / first, 1.0 / last, 10)).astype("int32")


cases = [
    # first and last size, intercept, slope, noise
    (20_000, 50_000, 5e-5, 3.0, 0.0),
    (20_000, 50_000, 5e-5, 3.0, 1e-6),
    (20_000, 50_000, 1e-5, 1.5, 2e-6),
    (20_000, 50_000, 0.0, 1.5, 2e-6),
    (20_000, 50_000, 2e-4, 0.0, 1e-5),
    (20_000, 50_000, 2e-3, 10.0, 1e-5),
    (20_000, 50_000, 1e-2, 30.0, 1e-4),
    (20_000, 50_000, 0.0923, 5.0, 1e-4),
    (20_000, 50_000, 5e-5, 300.0, 1e-6),
    (20_000, 50_000, 1.5, 200.0, 1e-3),
    (20_000, 50_000, 3e-3, -20.0, 1e-5),
    (20_000, 50_000, -1e-3, 100.0, 1e-5),
    (480, 1_200, 5e-3, 3.0, 1e-4),
    (480, 1_200, 0.3, 1.0, 1e-3),
    (4_000, 10_000, 1e-4, 2.0, 1e-5),
]
out = []
for first, last, intercept, slope, noise in cases:
    n = sizes(first, last)
    y = [float(f"{v:.6g}") for v in intercept + slope / n + noise * rng.normal(size=10)]
    parameters, covariance = curve_fit(linear, 1 / n, y, bounds=([0, 0], [np.inf, np.inf]))
    out.append(
        {
            "sizes": n.tolist(),
            "distances": y,
            "intercept": intercept,
            "slope": slope,
            "value": float(parameters[0]),
            "fitted_slope": float(parameters[1]),
            "error": float(np.sqrt(covariance[0, 0])),
        }
    )

path = pathlib.Path(__file__).with_name("fpd.json")
path.write_text(json.dumps(out, indent=1) + "\n")
