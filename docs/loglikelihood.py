#!/usr/bin/env python3
"""The exact log-likelihood of images under a trained SARM, from its checkpoint and nothing but numpy.

    docs/loglikelihood.py runs/w/model.safetensors jets.h5 > lnp.txt
    docs/loglikelihood.py runs/w/model.safetensors images.npy [conditions.npy]

prints ln p(image) in nats, one line per image, as `sarm score` does: densities per GeV for positive pixels. The checkpoint
may be packed. An HDF5 file has `image` (n, height, width) in GeV, the sparse layout or the CaloChallenge's, and the model's
conditions by name (reading it needs h5py); conditions.npy has the shape (n, conditions) and the values of data files.
docs/formats.md (Checkpoint) explains every line.
"""

import json
import os
import sys

import numpy as np


def read_checkpoint(path):
    """Configuration and parameters. safetensors: length of a JSON header, the header, the values."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(path) - 8:
            raise ValueError(f"{path} is no safetensors file, or was cut short")
        header = json.loads(file.read(length))
        data = file.read()
    config = json.loads(header.pop("__metadata__")["config"])
    # bfloat16, of packed weights, is the upper half of a float32
    bits = {"F32": lambda b: np.frombuffer(b, "<u4"), "BF16": lambda b: np.frombuffer(b, "<u2").astype("u4") << 16}
    values = lambda t: bits[t["dtype"]](data[slice(*t["data_offsets"])]).view("f4").reshape(t["shape"]).astype(float)
    return config, {name: values(t) for name, t in header.items() if name.startswith("stage.")}


def masked(weight, mask):
    """Weights without the masked ones. A packed file holds the others alone, row after row."""
    if weight.ndim > 1:
        return weight * mask
    whole = np.zeros(mask.shape)
    whole[mask] = weight
    return whole


def philox(seed, n):
    """Key that a random order sorts pixel n by: two words of Philox4x32-10 at counter (n, 0, 0, 4), then n."""
    k, c, low = [seed & 0xFFFFFFFF, seed >> 32], [n, 0, 0, 4], 0xFFFFFFFF
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & low, a >> 32 ^ c[3] ^ k[1], a & low]
        k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
    return c[0], c[1], n


def pixel_order(config):
    """Row-major pixel indices of each stage, in drawing order."""
    (height, width), kind = (config["image"][k] for k in ("height", "width")), config["order"]["kind"]
    left, way = np.arange(height * width).reshape(height, width), []
    if kind == "random":
        way = sorted(left.ravel(), key=lambda n: philox(config["order"]["seed"], int(n)))
    elif kind in ("rows", "columns"):
        way = list((left if kind == "rows" else left.T).ravel())
    else:  # a spiral, clockwise inwards: take the top row off, turn the rest, again and again
        while left.size:
            way, left = way + list(left[0]), np.rot90(left[1:])
        way = way[::-1] if kind == "spiral" else way
    for stage in config["stage"]:  # each takes what lies in its centred square, the last one the rest
        side = stage.get("square", max(height, width))
        top, start = max(-((side - height) // 2), 0), max((width - side) // 2, 0)
        inside = {p for p in way if 0 <= p // width - top < side and 0 <= p % width - start < side}
        yield [p for p in way if p in inside]
        way = [p for p in way if p not in inside]


softplus = lambda x: np.logaddexp(0, x)
log_sum_exp = lambda x: np.logaddexp.reduce(x, axis=1)
gelu = lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def log_density_dc(x, value, left, takes_all, unit, upper=np.inf, space="linear", lower=0, **_):
    """ln f of a mixture of logistics truncated to (0, upper), or to (lower, upper) in ln(e^(x / unit) - 1). x: (m,) GeV, value: (m, 3K).

    left: (m,) GeV that were left of the image's total, infinite without a total; takes_all: x is all of it, which counts if
    it is within the range: the same rules as `Mixture::within` of src/families/sarm/likelihood/total.rs."""
    logits, mean, log_scale = np.split(value, 3, axis=1)
    scale = np.exp(np.clip(log_scale, -9, 9))
    shared = np.isfinite(left) & (left <= upper)  # the first component is all that is left
    if space == "log":  # a pixel leaves nothing or no less than the smallest one
        bend = lambda x: np.log(-np.expm1(-x / unit))
        certain, floor, slope = left < 2 * lower, lower / unit + bend(lower), unit * np.exp(bend(x))
        most = np.maximum(np.minimum(upper, left - lower), lower)
        y, mean = x / unit + bend(x) - floor, mean - floor
        end = np.maximum(most / unit + bend(most) - floor, 1e-4)
    else:
        certain, slope = np.zeros(len(x), bool), unit
        y, end = x / unit, np.minimum(upper, np.maximum(left, 1e-30)) / unit
    y, end = y[:, None], end[:, None]
    z, low, high = (y - mean) / scale, -mean / scale, (end - mean) / scale
    log_mass = -softplus(-high) - softplus(low) + np.log(-np.expm1(-end / scale))
    terms = logits - z - 2 * softplus(-z) - np.log(scale) - log_mass
    terms[shared, 0] = -np.inf
    density = log_sum_exp(terms) - np.log(slope)
    return np.where(certain, 0, np.where(takes_all & shared, logits[:, 0], density) - log_sum_exp(logits))


def functions_of_what_is_left(left, mean, count):
    """(.., count): the share of the mean total, then Chebyshev polynomials in a logarithm. left: (..) GeV."""
    share = left / mean
    t = np.clip(1 + 2 / 19 * np.log2(np.maximum(share, 1e-30)), -1, 1.25)
    functions = [share, t, 2 * t**2 - 1]
    while len(functions) < count:
        functions.append(2 * t * functions[-1] - functions[-2])
    return np.stack(functions[:count], axis=-1)


def grid(x, levels, power, maximum, **_):
    """Level 1 .. N of positive pixels, its GeV, and the width of its cell; the first cell begins at 0. Of a pixel beyond
    the last cell the infinite level, which has no probability."""
    step = maximum ** (1 / power) / levels
    k = np.maximum(np.floor(x ** (1 / power) / step + 0.5), 1)
    low, high = np.where(k == 1, 0, k - 0.5), k + 0.5
    return np.where(k > levels, np.inf, k), (k * step) ** power, (high * step) ** power - (low * step) ** power


def log_likelihood(config, parameters, images, conditions):
    """ln p of images (n, height, width) in GeV, given conditions (n, c), standardised."""
    density = network_log_likelihood(config, parameters, images, conditions)
    if config.get("symmetry", {}).get("mirror"):  # an image and its mirror image are one
        mirrored = images[:, :, ::-1]
        other = network_log_likelihood(config, parameters, mirrored, conditions)
        density = np.where((images == mirrored).all(axis=(1, 2)), density, np.logaddexp(density, other))
    return density


def network_log_likelihood(config, parameters, images, conditions):
    """The same of images as the network draws them."""
    likelihood, images = config["likelihood"], images.reshape(len(images), -1)
    inputs = images.copy()  # inputs of the network: pixels (in D+D the GeV of their levels), transformed
    if likelihood["kind"] == "dd":
        inputs[images > 0] = grid(images[images > 0], **likelihood)[1]
    transforms = {"raw": np.array, "log1p": np.log1p, "sqrt": np.sqrt}
    channels = [config["input"], *config["input"].get("also", [])]
    inputs = np.stack([c.get("scale", 1.0) * transforms[c["transform"]](inputs / c["unit"]) for c in channels], axis=2)

    # What is left of the total, and the amount that counts as nothing, in single precision as for whoever draws images.
    condition, left, nothing = config["condition"], np.full(len(images), np.inf), -np.inf
    if "total" in condition:
        i = condition["names"].index(condition["total"])
        mean, scale = np.array(condition["mean"], "f4")[i], np.array(condition["scale"], "f4")[i]
        left = mean + scale * conditions[:, i].astype("f4")
        nothing = (2.0**-19 * max(1, images.shape[1] / 625) ** 0.5 * np.maximum(left, 0.0) + 2.0**-21 * (abs(mean) + scale))[:, None]

    total, seen = np.zeros(len(images)), conditions
    for s, (stage, order) in enumerate(zip(config["stage"], pixel_order(config))):
        get = lambda name: parameters[f"stage.{s}.{name}"]
        # The masks: a unit of degree d reads everything before the stage, the stage's pixels below d and units up to d;
        # pixel i reads units up to i.
        pixel = np.arange(len(order))
        unit = np.repeat(pixel, stage["units_per_pixel"])
        degree = np.r_[np.full(seen.shape[1], -1), np.repeat(pixel, len(channels))]
        seen = np.concatenate([seen, inputs[:, order].reshape(len(images), -1)], axis=1)
        h = gelu(seen @ masked(get("input.weight"), degree < unit[:, None]).T + get("input.bias"))
        for layer in range(stage["layers"]):
            weight = masked(get(f"hidden.{layer}.weight"), unit <= unit[:, None])
            h = gelu(h @ weight.T + get(f"hidden.{layer}.bias"))
        gate = h @ masked(get("gate.weight"), unit <= pixel[:, None]).T + get("gate.bias")
        reads = np.broadcast_to(unit <= pixel[:, None, None], (*get("value.bias").shape, len(unit)))
        value = np.tensordot(h, masked(get("value.weight"), reads), (1, 2)) + get("value.bias")

        steps = np.concatenate([left[:, None], images[:, order]], axis=1).astype("f4")
        steps = np.subtract.accumulate(steps, axis=1)  # pixel by pixel
        before, after, left = steps[:, :-1].astype(float), steps[:, 1:], steps[:, -1]
        if functions := config["input"].get("left", 0):
            shown = functions_of_what_is_left(before, condition["mean"][i], functions)
            weight = get("left.weight").reshape(len(order), -1, functions)
            more = np.einsum("mif,ivf->miv", shown, weight)
            gate, value = gate + more[:, :, 0], value + more[:, :, 1:]
        image, place = np.nonzero(images[:, order])
        x, value = images[:, order][image, place], value[image, place]
        if likelihood["kind"] == "dc":
            log_f = log_density_dc(x, value, before[image, place], (after <= nothing)[image, place], **likelihood)
        else:
            level, _, width = grid(x, **likelihood)
            every = np.ones((len(get("levels.bias")), value.shape[1]), bool)
            logits = value @ masked(get("levels.weight"), every).T + get("levels.bias")
            column = np.where(level < np.inf, level, 1).astype(int) - 1
            log_f = logits[np.arange(len(x)), column] - log_sum_exp(logits) - np.log(width)
        gate_cost = np.where(images[:, order] > 0, softplus(gate), softplus(-gate))
        total -= np.where(before <= nothing, 0, gate_cost).sum(axis=1)
        # Once nothing is left all is certain; what is too small to be distinguished from rounding counts as nothing.
        np.add.at(total, image, np.where((before <= nothing)[image, place], 0, log_f))
    # Beyond the range there is no probability; a rounding beyond its end is none.
    if likelihood["kind"] == "dd":
        beyond = np.isinf(grid(images, **likelihood)[0])
    else:
        beyond = images > likelihood.get("upper", np.inf) * (1 + 2.0**-21)
        beyond |= (images > 0) & (images < likelihood.get("lower", 0) * (1 - 2.0**-21))
    return np.where(beyond.any(axis=1), -np.inf, total)


def read_images(file, size):
    """(n, height, width) in GeV, of any layout."""
    if "image" in file:
        return file["image"][:]
    if "showers" in file:  # the CaloChallenge's: in MeV, flat
        return file["showers"][:].reshape(-1, *size) / 1e3
    ends = file["indptr"][:].astype(int)
    images = np.zeros((len(ends) - 1, size[0] * size[1]))
    images[np.repeat(np.arange(len(images)), np.diff(ends)), file["index"][:]] = file["value"][:]
    return images.reshape(-1, *size)


def main(model, data, conditions=None):
    config, parameters = read_checkpoint(model)
    names, mean, scale = (config["condition"].get(k, []) for k in ("names", "mean", "scale"))
    if names and data.endswith(".npy") and conditions is None:
        raise ValueError(f"the model is conditioned on {', '.join(names)}: give conditions.npy")
    if data.endswith(".npy"):
        images, given = np.load(data), list(np.load(conditions).T) if names else []
    else:
        import h5py

        with h5py.File(data) as file:
            # A quantity that was a condition and is also computed from the image is given_NAME and NAME.
            stored = [f"given_{name}" if f"given_{name}" in file else name for name in names]
            total, size = config["condition"].get("total"), (config["image"]["height"], config["image"]["width"])
            images, showers = read_images(file, size), "image" not in file and "showers" in file
            gev = {"incident_energies": 1e3} if showers else {}
            column = lambda name, at: file[at][:].reshape(-1) / gev.get(name, 1.0)
            given = [np.zeros(len(images)) if name == total else column(name, at) for name, at in zip(names, stored)]
    if "total" in config["condition"]:  # not read, but the sum of the pixels
        given[names.index(config["condition"]["total"])] = images.sum(axis=(1, 2), dtype=float).astype("f4").astype(float)
    given = [np.log(g) if name in config["condition"].get("log", []) else g for name, g in zip(names, given)]
    given = (np.reshape(given, (len(names), len(images))).T - mean) / scale if names else np.empty((len(images), 0))
    for first in range(0, len(images), 500):
        some = slice(first, first + 500)
        for value in log_likelihood(config, parameters, images[some].astype(float), given[some]):
            print(f"{value:.10g}")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__.strip())
    try:
        main(*sys.argv[1:])
    except (OSError, KeyError, ValueError) as problem:
        sys.exit(f"error: {problem}")
