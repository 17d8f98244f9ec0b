#!/bin/sh
# jetnet 0.2.5: `fpd` gives the mean of its points, not their extrapolation, where distances are small.
#
# `jetnet.evaluation.fpd` fits a line in 1/N through Frechet distances at 10 sample sizes and reports the intercept, the distance
# of samples without end. The fit is scipy's `curve_fit` with bounds (intercept and slope at least 0). It starts at 1 and 1 and
# ends once the gradient is below gtol = 1e-8. With 1/N of some 3e-5 the slope's part of the gradient is below that for slopes
# of up to about 10, as those of a few features: the fit ends with a slope near 0 and the mean of the points.
#
# This script takes that function out of the published source (without torch and energyflow, which it does not need), and calls
# it on two samples of one distribution, of 60 000 events each with 9 features. It also calls the fit alone on exact points.
#
# Seen (Python 3.11, numpy 2.4.6, scipy 1.17.1, jetnet 0.2.5):
#   points on the line 5e-5 + 3/N: fit 1.560e-04 +- 3.85e-05, slope 0.0005; mean of the points 1.550e-04; line 5.000e-05
#   two samples of one distribution: fit 1.715e-04 +- 4.32e-05, slope 0.0010; mean of the points 1.709e-04; line 5.500e-05
# Expected by the definition of the distance: the intercept, 5e-5.
# Exit code 0: as described; 1: the behaviour has changed.
set -eu

python=${PYTHON:-python3}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$python" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1
"$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --no-binary :all: --no-build-isolation \
    --dest "$folder" jetnet==0.2.5 2>/dev/null ||
    "$folder/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps --dest "$folder" jetnet==0.2.5
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import ast
import glob
import logging
import sys
import tarfile
import warnings
import zipfile

import numpy as np
import scipy
from scipy import linalg
from scipy.optimize import curve_fit

# The source as published: the functions that fpd calls, and it.
archive = sorted(glob.glob("jetnet-0.2.5*"))[0]
if archive.endswith(".whl"):
    source = zipfile.ZipFile(archive).read("jetnet/evaluation/gen_metrics.py").decode()
else:
    name = "jetnet-0.2.5/jetnet/evaluation/gen_metrics.py"
    source = tarfile.open(archive).extractfile(name).read().decode()
wanted = {"_calculate_frechet_distance", "_normalise_features", "_linear", "fpd"}
tree = ast.parse(source)
tree.body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name in wanted]
assert len(tree.body) == 4, "jetnet's source is another one"
for function in tree.body:
    function.returns = None
    for argument in function.args.args:
        argument.annotation = None
fits = []


def recorded(*arguments, **options):
    found = curve_fit(*arguments, **options)
    fits.append((np.asarray(arguments[1]), np.asarray(arguments[2]), found))
    return found


names = {
    "np": np,
    "linalg": linalg,
    "curve_fit": recorded,
    "warnings": warnings,
    "logger": logging.getLogger("jetnet"),
    "logging": logging,
    "_check_get_ndarray": lambda *arrays: arrays,
}
exec(compile(tree, archive, "exec"), names)
print(f"Python {sys.version.split()[0]}, numpy {np.__version__}, scipy {scipy.__version__}, {archive}")


def shown(what, x, y, value, error, slope):
    line = np.polyfit(x, y, 1)
    print(
        f"{what}: fit {value:.3e} +- {error:.2e}, slope {slope:.4f}; "
        f"mean of the points {np.mean(y):.3e}; line {line[1]:.3e}"
    )
    return abs(value / np.mean(y) - 1) < 0.1 and value > 1.5 * line[1] and slope < 0.1 * line[0]


# 1. Exact points.
sizes = (1 / np.linspace(1 / 20_000, 1 / 50_000, 10)).astype("int32")
y = 5e-5 + 3 / sizes
parameters, covariance = curve_fit(names["_linear"], 1 / sizes, y, bounds=([0, 0], [np.inf] * 2))
flat = shown("points on the line 5e-5 + 3/N", 1 / sizes, y, parameters[0], covariance[0, 0] ** 0.5, parameters[1])

# 2. jetnet's function on two samples of one distribution.
rng = np.random.default_rng(1)
a, b = (rng.normal(size=(60_000, 9)) for _ in range(2))
value, error = names["fpd"](a, b)
x, y, (parameters, _) = fits[-1]
assert parameters[0] == value
also = shown("two samples of one distribution", x, y, value, error, parameters[1])

if not (flat and also):
    print("the behaviour has changed")
    sys.exit(1)
print("as described: the mean of the points where the intercept is meant")
PYTHON
