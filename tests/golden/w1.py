"""Writes w1.json: golden values of the one-dimensional Wasserstein distance, by SciPy.

Run: python3 tests/golden/w1.py   (needs numpy and scipy; the tests need neither)
"""

import json
import pathlib

import numpy as np
from scipy.stats import wasserstein_distance

rng = np.random.default_rng(20260401)
pairs = {
    "equal sizes": (rng.normal(80, 7, 200), rng.normal(79, 9, 200)),
    "unequal sizes": (rng.normal(0, 1, 137), rng.exponential(2, 61)),
    "one against many": (np.array([3.5]), rng.normal(0, 1, 40)),
    "ties within and between": (
        rng.integers(0, 12, 150).astype(float),
        rng.integers(3, 15, 70).astype(float),
    ),
    "apart": (np.array([1.0, 2.0, 4.0]), np.array([10.0, 12.0])),
    "same": (np.array([1.0, 5.0, 5.0, 9.0]), np.array([9.0, 5.0, 1.0, 5.0])),
    "large offset": (1e6 + rng.normal(0, 1e-1, 50), 1e6 + rng.normal(0.05, 1e-1, 55)),
}
cases = []
for name, (a, b) in pairs.items():
    a, b = a.astype(np.float32), b.astype(np.float32)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    cases.append(
        {
            "name": name,
            "a": a64.tolist(),
            "b": b64.tolist(),
            "w1": float(wasserstein_distance(a64, b64)),
        }
    )
out = pathlib.Path(__file__).with_name("w1.json")
out.write_text(json.dumps(cases) + "\n")
