#!/usr/bin/env python3
"""What a trained VAE of sarm draws, and the loss of images, from its checkpoint and nothing but numpy, in double precision.

    docs/vae.py runs/vae/model.safetensors draw 20 --seed 7 --given 1 > drawn.csv
    docs/vae.py runs/vae/model.safetensors loss images.npy conditions.npy > losses.csv
    docs/vae.py runs/vae/model.safetensors codes images.npy conditions.npy > codes.csv
    docs/vae.py runs/sparse-vae/model.safetensors bound 64 images.npy conditions.npy > bounds.csv

`draw` prints images 0, 1, .. as `sarm generate --seed 7 --given signal=1` draws them, one a line, 625 pixels in GeV; --given has a value
for each condition. `loss` prints perceptual term, divergence, Bernoulli term and their weighted sum for each image, its code drawn with
the noise that the validation has; with a sparse decoder -ln p of the pixels stands in the place of the Bernoulli term. `codes` prints the
means of an image's code and their log variances, as `sarm encode` finds them, and of a model with a classifier its answer. `bound` prints
the evidence bound and its importance-weighted version over 64 codes of each image, nats, as `sarm score` does of rows 0, 1, .. of a file. images.npy has the shape (n, height, width) in GeV, conditions.npy (n, conditions) and the values of
data files. docs/formats.md (Checkpoint) explains the file.
"""

import argparse
import json
import os
import sys

import numpy as np

# Philox's purposes: drawing, training a VAE, its bounds
DRAW, TRAIN, BOUND = 0, 11, 14
# How far the logarithm of an image's scale goes either way, where it is told its total: over the root of its pixels, and at the most
SPREAD, WIDEST = 2.0, 0.5


def read_checkpoint(path):
    """Configuration and parameters. safetensors: length of a JSON header, the header, the values."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > os.path.getsize(path) - 8:
            raise ValueError(f"{path} is no safetensors file, or was cut short")
        header = json.loads(file.read(length))
        data = file.read()
    config = json.loads(header.pop("__metadata__")["config"])
    if "network" not in config:
        raise ValueError(f"{path} is no VAE")
    # bfloat16, of packed weights, is the upper half of a float32
    bits = {"F32": lambda b: np.frombuffer(b, "<u4"), "BF16": lambda b: np.frombuffer(b, "<u2").astype("u4") << 16}
    values = lambda t: bits[t["dtype"]](data[slice(*t["data_offsets"])]).view("f4").reshape(t["shape"]).astype(float)
    return config, {name: values(t) for name, t in header.items()}


def philox(seed, counter):
    """Four words of Philox4x32-10."""
    k, c, low = [seed & 0xFFFFFFFF, seed >> 32], list(counter), 0xFFFFFFFF
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & low, a >> 32 ^ c[3] ^ k[1], a & low]
        k = [k[0] + 0x9E3779B9 & low, k[1] + 0xBB67AE85 & low]
    return c


def normal(seed, purpose, image, count, first=0):
    """`count` normal numbers of an image, two from four words by Box and Muller, from pair number `first` on."""
    numbers = []
    for pair in range(first, first + (count + 1) // 2):
        w = philox(seed, (image & 0xFFFFFFFF, image >> 32, pair, purpose))
        u, v = (((w[i] << 32 | w[i + 1]) >> 12) + 0.5 for i in (0, 2))
        radius, angle = np.sqrt(-2 * np.log(u / 2**52)), 2 * np.pi * v / 2**52
        numbers += [radius * np.cos(angle), radius * np.sin(angle)]
    return np.float32(numbers[:count]).astype(float)


def parts(seed, purpose, images, item):
    words = [philox(seed, (image, 0, (1 << 31) + item, purpose)) for image in range(images)]
    return np.array([((w[0] << 32 | w[1]) >> 12) + 0.5 for w in words]) / 2**52


leaky = lambda x: np.where(x > 0, x, 0.3 * x)
relu = lambda x: np.maximum(x, 0)
same = lambda x: x


def before(length, side, stride):
    """Windows along a side, and zeros before the first, of a "same" convolution."""
    count = -(-length // stride)
    return count, max((count - 1) * stride + side - length, 0) // 2


def convolution(x, weight, bias, stride, pad):
    """x (n, height, width, channels), weight (side, side, channels, filters)."""
    side = weight.shape[0]
    counts, starts = zip(*(before(length, side, stride) if pad else (length - side + 1, 0) for length in x.shape[1:3]))
    wide = np.pad(x, ((0, 0), *((start, side + stride) for start in starts), (0, 0)))
    y = np.zeros((len(x), *counts, weight.shape[3])) + bias
    for i in range(side):
        for j in range(side):
            y += wide[:, i : i + stride * counts[0] : stride, j : j + stride * counts[1] : stride] @ weight[i, j]
    return y


def deconvolution(x, weight, bias, stride):
    """The transpose of a "same" convolution; weight (channels, side, side, filters)."""
    side, (n, height, width) = weight.shape[1], x.shape[:3]
    starts = [before(stride * length, side, stride)[1] for length in (height, width)]
    y = np.zeros((n, stride * height + side, stride * width + side, weight.shape[3]))
    for i in range(side):
        for j in range(side):
            y[:, i : i + stride * height : stride, j : j + stride * width : stride] += x @ weight[:, i, j]
    return y[:, starts[0] : starts[0] + stride * height, starts[1] : starts[1] + stride * width] + bias


class Vae:
    def __init__(self, path):
        self.config, self.tensors = read_checkpoint(path)
        self.shape = tuple(self.config["image"][k] for k in ("height", "width"))
        self.latents = self.config["network"]["latents"]
        self.unit = np.float32(self.config["loss"]["unit"]).astype(float)

    def of(self, layer):
        return self.tensors[f"{layer}.weight"], self.tensors[f"{layer}.bias"]

    def conditions(self, values):
        told = self.config["condition"]
        values = np.array(values, float).reshape(len(values), len(told["names"]))
        for i, name in enumerate(told["names"]):
            if name in told.get("log", ()):
                values[:, i] = np.log(values[:, i])
        return (values - told.get("mean", ())) / told.get("scale", 1)

    def encode(self, x, told):
        planes = np.broadcast_to(told[:, None, None, :], (*x.shape, told.shape[1]))
        y = np.concatenate([x[..., None], planes], axis=3)
        for i, stride in enumerate((1, 2, 2)):
            y = leaky(convolution(y, *self.of(f"encoder.{i}"), stride, True))
        weight, bias = self.of("encoder.3")
        return np.split(y.reshape(len(y), -1) @ weight + bias, 2, axis=1)

    def decode(self, codes, told):
        weight, bias = self.of("decoder.0")
        y = np.concatenate([codes, told], axis=1) @ weight + bias
        y = y.reshape(len(y), *(-(-length // 4) for length in self.shape), -1)
        for i in (1, 2):
            y = leaky(deconvolution(y, *self.of(f"decoder.{i}"), 2))
        y = convolution(y, *self.of("decoder.3"), 1, False)
        return y if "likelihood" in self.config else relu(y)[..., 0]

    def lower(self):
        """Where the mixtures end: of images that are scaled to a total there is room below their smallest pixel."""
        return self.config["likelihood"]["lower"] * (np.exp(-WIDEST) if self.config["condition"].get("total") else 1.0)

    def nll(self, x, outputs):
        """-ln p of images in GeV: gates, and truncated logistics in x / unit or, with space = "log", in ln(e^(x / unit) - 1)."""
        chosen = self.config["likelihood"]
        gate, (logits, means, scales) = outputs[..., 0], np.split(outputs[..., 1:], 3, axis=3)
        there, unit, end = x > 0, chosen.get("unit", 1.0), chosen.get("upper") or np.inf
        r = np.where(there, x, 1.0)[..., None] / unit
        y, end, slope = r, end / unit, np.log(unit)
        if chosen.get("space") == "log":
            bent = lambda r: r + np.log(-np.expm1(-r))
            floor = bent(self.lower() / unit)
            y, slope, means = bent(r) - floor, np.log(unit) + np.log(-np.expm1(-r[..., 0])), means - floor
            end = bent(end) - floor if np.isfinite(end) else end
        s = np.exp(np.clip(scales, -9, 9))
        z, low, high = (y - means) / s, -means / s, (end - means) / s
        softplus = lambda v: np.logaddexp(0, v)
        mass = -softplus(-high) - softplus(low) + np.log(-np.expm1(-(high - low)))
        log_f = np.logaddexp.reduce(logits - z - 2 * softplus(-z) - np.log(s) - mass, axis=3) - np.logaddexp.reduce(logits, axis=3) - slope
        return np.where(there, softplus(gate) - log_f, softplus(-gate)).sum((1, 2))

    def shape_nll(self, x, outputs, part):
        """`nll`, or of images that are told their total what a bound takes in its place, seen at a part of their scales."""
        if not self.config["condition"].get("total"):
            return self.nll(x, outputs)
        n, total = (x > 0).sum((1, 2)), x.sum((1, 2))
        most = np.minimum(SPREAD / np.sqrt(np.maximum(n, 1)), WIDEST)
        log_s = np.where(n > 0, (2 * part - 1) * most, 0)
        beside = np.log(np.where(n > 0, total, 1)) + n * log_s + np.log(2 * most)
        return self.nll(x * np.exp(log_s)[:, None, None], outputs) - np.where(n > 0, beside, 0)

    def draw_sparse(self, outputs, seed, total=None):
        """Gates, then a component of each open pixel and its quantile, by three words of the pixel's own. Scaled to a total."""
        chosen, images = self.config["likelihood"], np.zeros(outputs.shape[:3])
        unit, end, log = chosen.get("unit", 1.0), chosen.get("upper") or np.inf, chosen.get("space") == "log"
        bent = lambda r: r + np.log(-np.expm1(-r))
        floor = bent(self.lower() / unit) if log else 0.0
        end = end if np.isinf(end) else bent(end / unit) - floor if log else end / unit
        sigmoid = lambda v: 1 / (1 + np.exp(-v))
        units = lambda image, pixel: [((word >> 9) + 0.5) / 2**23 for word in philox(seed, (image, 0, (1 << 20) + pixel, DRAW))[:3]]
        # With a total, where all gates would stay closed, the likeliest opens.
        closed = lambda image, gates: all(units(image, pixel)[0] < sigmoid(gate) for pixel, gate in enumerate(gates))
        gates = outputs[..., 0].reshape(len(outputs), -1)
        forced = {} if total is None else {i: g.argmin() for i, g in enumerate(gates) if closed(i, g)}
        for image, row, column in np.ndindex(images.shape):
            pixel, numbers = row * self.shape[1] + column, outputs[image, row, column]
            gate, pick, place = units(image, pixel)
            if gate < sigmoid(numbers[0]) and pixel != forced.get(image):
                continue
            logits, means, scales = np.split(numbers[1:], 3)
            weights = np.cumsum(np.exp(logits - logits.max()))
            k = np.searchsorted(weights, pick * weights[-1], side="right")
            mean, s = means[k] - floor, np.exp(np.clip(scales[k], -9, 9))
            # The share `place` of the component's mass lies above; from the other end where the mean is near that.
            turned = np.isfinite(end) and mean > end / 2
            mean, place = (end - mean, 1 - place) if turned else (mean, place)
            above = sigmoid((mean - end) / s) + place * (sigmoid(mean / s) - sigmoid((mean - end) / s))
            y = mean + s * np.log((1 - above) / above)
            y = end - y if turned else y
            images[image, row, column] = unit * (np.logaddexp(0, y + floor) if log else max(y, 1e-6))
        if total is None:
            return images
        scaled = lambda images: images * (total / images.sum((1, 2)))[:, None, None]
        images = scaled(images)
        # What comes too small is a zero, and the others take what it had.
        least = np.minimum(chosen.get("lower") or 0, images.max((1, 2)))
        return scaled(np.where(images < least[:, None, None], 0, images))

    def draw(self, count, seed, given):
        told = self.conditions(np.tile(given, (count, 1)))
        codes = np.array([normal(seed, DRAW, i, self.latents) for i in range(count)])
        if "likelihood" in self.config:
            names, total = self.config["condition"]["names"], self.config["condition"].get("total")
            total = np.full(count, given[names.index(total)], float) if total else None
            return self.draw_sparse(self.decode(codes, told), seed, total)
        images = self.decode(codes, told) * self.unit
        return np.where(images < self.config["loss"]["lower"], 0, images)

    def classify(self, images):
        """The classifier's answers: chances that images are of the upper of its two classes; none of a model without one."""
        if "features.0.weight" not in self.tensors:
            return np.zeros((len(images), 0))
        y = (images / self.unit)[..., None]
        for layer in ("features.0", "features.1", "head.0"):
            y = leaky(convolution(y, *self.of(layer), 2, True))
        y = y.reshape(len(y), -1)
        for layer in ("head.1", "head.2", "head.3"):
            weight, bias = self.of(layer)
            y = (same if layer == "head.3" else leaky)(y @ weight + bias)
        return 1 / (1 + np.exp(-y))

    def loss(self, images, values):
        x, told, weights = images / self.unit, self.conditions(values), self.config["loss"]
        mean, log_variance = self.encode(x, told)
        noise = np.array([normal(2**64 - 1, TRAIN, i, self.latents) for i in range(len(x))])
        divergence = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum(1)
        p = self.decode(mean + np.exp(log_variance / 2) * noise, told)
        if "likelihood" in self.config:
            pixels = self.shape_nll(images, p, parts(2**64 - 1, TRAIN, len(x), 0))
            return np.array([0 * pixels, divergence, pixels, weights["divergence"] * divergence + pixels]).T
        q, t = np.clip(p, 1e-7, 1 - 1e-7), np.minimum(x, 1)
        bernoulli = -(t * np.log(q) + (1 - t) * np.log1p(-q)).sum((1, 2))
        perceptual = np.zeros(len(x))
        if weights["perceptual"] > 0:
            of_x, of_p = x[..., None], p[..., None]
            for i in range(2):
                of_x, of_p = (leaky(convolution(y, *self.of(f"features.{i}"), 2, True)) for y in (of_x, of_p))
                perceptual += ((of_x - of_p) ** 2).sum((1, 2, 3)) / (2 * of_x[0].size)
        terms = [perceptual, divergence, bernoulli]
        names = ["perceptual", "divergence", "bernoulli"]
        return np.array([*terms, sum(weights[name] * term for name, term in zip(names, terms))]).T

    def bound(self, images, values, samples):
        told = self.conditions(values)
        mean, log_variance = self.encode(images / self.unit, told)
        weights = []
        for k in range(samples):
            noise = np.array([normal(0, BOUND, i, self.latents, k * ((self.latents + 1) // 2)) for i in range(len(images))])
            z = mean + np.exp(log_variance / 2) * noise
            of_codes = 0.5 * (noise**2 + log_variance - z**2).sum(1)
            weights.append(of_codes - self.shape_nll(images, self.decode(z, told), parts(0, BOUND, len(images), k)))
        return np.array([np.mean(weights, axis=0), np.logaddexp.reduce(weights, axis=0) - np.log(samples)]).T


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    ways = parser.add_subparsers(dest="way", required=True)
    draw = ways.add_parser("draw")
    draw.add_argument("count", type=int)
    draw.add_argument("--seed", type=int, default=0)
    draw.add_argument("--given", type=float, nargs="*", default=[])
    loss, codes, bound = (ways.add_parser(name) for name in ("loss", "codes", "bound"))
    bound.add_argument("samples", type=int)
    for way in (loss, codes, bound):
        way.add_argument("images")
        way.add_argument("conditions", nargs="?")
    options = parser.parse_args()
    vae = Vae(options.model)
    if options.way == "draw":
        rows = vae.draw(options.count, options.seed, options.given).reshape(options.count, -1)
    else:
        images = np.load(options.images).astype(float)
        values = np.load(options.conditions) if options.conditions else np.zeros((len(images), 0))
        if options.way == "loss":
            rows = vae.loss(images, values)
        elif options.way == "codes":
            rows = np.concatenate([*vae.encode(images / vae.unit, vae.conditions(values)), vae.classify(images)], axis=1)
        else:
            rows = vae.bound(images, values, options.samples)
    np.savetxt(sys.stdout, rows, fmt="%.9g", delimiter=",")


if __name__ == "__main__":
    main()
