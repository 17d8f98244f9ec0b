#!/usr/bin/env python3
"""Golden vectors of whole models: likelihoods and gradients in float64 by PyTorch's automatic differentiation.

    pip install torch          # any version with float64 on the CPU; not needed to run the tests
    python3 tests/golden/network.py

writes tests/golden/*.safetensors, which tests/model/golden_network.rs reads. Written from the formulas in docs/formats.md (Checkpoint),
not from the Rust code: masks come from degrees, the spiral from turning a matrix, the truncated logistic from its
survival function, gradients from autograd. The same PyTorch writes the same bytes.

A file is a checkpoint (the program can score with it) that also holds

    images      [n, height, width] F32, GeV
    conditions  [n, conditions] F32, standardised; absent without conditions
    nll         [n] F64: -ln p in nats, a density per GeV for every positive pixel
    grad.NAME   F64: derivative of the mean of `nll` over the images by parameter NAME, 0 where masked
    order.S     [pixels of stage S] I32: row-major pixel indices in drawing order
"""

import json
import math
import struct
from pathlib import Path

import torch
from torch.nn.functional import logsigmoid, softplus

torch.set_default_dtype(torch.float64)


# ---- order

def inward_spiral(height, width):
    """Clockwise from the top-left corner: take the top row off, turn what is left, again and again."""
    left = torch.arange(height * width).reshape(height, width)
    way = []
    while left.numel():
        way += left[0].tolist()
        left = torch.rot90(left[1:], 1)
    return way


def philox(seed, counter):
    """Philox4x32-10 (Salmon et al., SC'11)."""
    word = 0xFFFFFFFF
    k0, k1 = seed & word, seed >> 32
    x0, x1, x2, x3 = counter
    for _ in range(10):
        a, b = 0xD2511F53 * x0, 0xCD9E8D57 * x2
        x0, x1, x2, x3 = (b >> 32) ^ x1 ^ k0, b & word, (a >> 32) ^ x3 ^ k1, a & word
        k0, k1 = (k0 + 0x9E3779B9) & word, (k1 + 0xBB67AE85) & word
    return x0, x1, x2, x3


def pixel_order(config):
    height, width = config["image"]["height"], config["image"]["width"]
    pixels = height * width
    kind = config["order"]["kind"]
    if kind == "rows":
        way = list(range(pixels))
    elif kind == "columns":
        way = torch.arange(pixels).reshape(height, width).T.flatten().tolist()
    elif kind == "random":
        # Purpose 4 (order), stream 0; the first two words are the sort key, the pixel breaks ties.
        way = sorted(range(pixels), key=lambda i: (philox(config["order"]["seed"], (i, 0, 0, 4))[:2], i))
    else:
        way = inward_spiral(height, width)
        if kind == "spiral":
            way.reverse()
    stages = []
    for stage in config["stage"]:
        inside = set(way)
        if "square" in stage:
            side = stage["square"]
            top, left = math.ceil((height - side) / 2), math.floor((width - side) / 2)
            inside = {p for p in way if top <= p // width < top + side and left <= p % width < left + side}
        stages.append([p for p in way if p in inside])
        way = [p for p in way if p not in inside]
    return stages


# ---- shapes and masks

def shapes_and_masks(config, order):
    """Name -> (shape, mask or None)."""
    kind = config["likelihood"]["kind"]
    values = 3 * config["likelihood"]["components"] if kind == "dc" else config["likelihood"]["latents"]
    conditions = len(config["condition"]["names"])
    tensors = {}
    earlier = 0
    for s, (stage, pixels) in enumerate(zip(config["stage"], order)):
        n, u = len(pixels), stage["units_per_pixel"]
        # Degree of an input: its place in the stage; everything that came before the stage is below all.
        inputs = torch.tensor([-1] * (conditions + earlier) + list(range(n)))
        unit = torch.arange(n).repeat_interleave(u)
        pixel = torch.arange(n)
        add = lambda name, shape, mask=None: tensors.__setitem__(f"stage.{s}.{name}", (shape, mask))
        add("input.weight", (n * u, len(inputs)), inputs[None, :] < unit[:, None])
        add("input.bias", (n * u,))
        for layer in range(stage["layers"]):
            add(f"hidden.{layer}.weight", (n * u, n * u), unit[None, :] <= unit[:, None])
            add(f"hidden.{layer}.bias", (n * u,))
        reads = unit[None, :] <= pixel[:, None]
        add("gate.weight", (n, n * u), reads)
        add("gate.bias", (n,))
        add("value.weight", (n, values, n * u), reads[:, None, :].expand(n, values, n * u))
        add("value.bias", (n, values))
        if kind == "dd":
            add("levels.weight", (config["likelihood"]["levels"], values))
            add("levels.bias", (config["likelihood"]["levels"],))
        earlier += n
    return tensors


# ---- the network and its likelihood

def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def grid(likelihood):
    """Levels in GeV and the edges of their cells."""
    n, p = likelihood["levels"], likelihood["power"]
    step = likelihood["maximum"] ** (1 / p) / n
    k = torch.arange(1, n + 1)
    edges = torch.cat([torch.zeros(1), ((k + 0.5) * step) ** p])
    return (k * step) ** p, edges


def truncated_logistic(x, mean, log_scale, upper):
    """ln of the density at x of a logistic restricted to (0, upper)."""
    scale = torch.exp(log_scale.clamp(-9, 9))
    z = (x - mean) / scale
    # The logistic density is sigmoid(z) sigmoid(-z) / scale.
    log_density = logsigmoid(z) + logsigmoid(-z) - torch.log(scale)
    if upper is None:
        return log_density - logsigmoid(mean / scale)
    # Mass between 0 and the upper end, from the survival function: precise for means far below zero.
    above_zero, above_upper = logsigmoid(mean / scale), logsigmoid((mean - upper) / scale)
    return log_density - above_zero - torch.log1p(-torch.exp(above_upper - above_zero))


def shown(config, images):
    """What the network sees of pixels in GeV."""
    x = images
    if config["likelihood"]["kind"] == "dd":
        levels, edges = grid(config["likelihood"])
        x = torch.where(x > 0, levels[level_of(edges, x)], x)
    y = x / config["input"]["unit"]
    return {"raw": lambda: y, "log1p": lambda: torch.log1p(y), "sqrt": lambda: torch.sqrt(y)}[
        config["input"]["transform"]
    ]()


def level_of(edges, x):
    level = torch.searchsorted(edges, x.contiguous(), right=True) - 1
    assert int(level.max()) < len(edges) - 1, "a pixel beyond the grid"
    return level.clamp(min=0)


def nll(config, order, parameters, images, conditions):
    """-ln p of each image."""
    images = images.flatten(1)
    likelihood = config["likelihood"]
    everything = [p for stage in order for p in stage]
    context = torch.cat([conditions, shown(config, images)[:, everything]], dim=1)
    total = torch.zeros(len(images))
    end = conditions.shape[1]
    for s, (stage, pixels) in enumerate(zip(config["stage"], order)):
        get = lambda name: parameters[f"stage.{s}.{name}"]
        end += len(pixels)
        h = gelu(context[:, :end] @ get("input.weight").T + get("input.bias"))
        for layer in range(stage["layers"]):
            h = gelu(h @ get(f"hidden.{layer}.weight").T + get(f"hidden.{layer}.bias"))
        gate = h @ get("gate.weight").T + get("gate.bias")
        value = torch.einsum("bh,nvh->bnv", h, get("value.weight")) + get("value.bias")
        x = images[:, pixels]
        positive = x > 0
        total = total + torch.where(positive, softplus(gate), softplus(-gate)).sum(1)
        if likelihood["kind"] == "dc":
            unit, upper = likelihood["unit"], likelihood.get("upper")
            logits, mean, log_scale = value.chunk(3, dim=2)
            y = (x / unit)[:, :, None]
            parts = torch.log_softmax(logits, 2)
            parts = parts + truncated_logistic(y, mean, log_scale, None if upper is None else upper / unit)
            log_value = torch.logsumexp(parts, 2) - math.log(unit)
        else:
            _, edges = grid(likelihood)
            logits = value @ get("levels.weight").T + get("levels.bias")
            level = level_of(edges, x)
            log_value = torch.log_softmax(logits, 2).gather(2, level[:, :, None])[:, :, 0]
            log_value = log_value - torch.log(edges[1:] - edges[:-1])[level]
        total = total - torch.where(positive, log_value, 0.0).sum(1)
    return total


# ---- models

def made_up(config, order, generator):
    """Parameters that make every part of the model matter, exact in F32."""
    parameters = {}
    kind = config["likelihood"]["kind"]
    for name, (shape, mask) in shapes_and_masks(config, order).items():
        x = torch.randn(shape, generator=generator)
        if name.endswith("weight"):
            x = x * {"input": 0.5, "hidden": 1.7, "gate": 1.1, "value": 0.6, "levels": 0.8}[name.split(".")[2]]
            x = x / math.sqrt(shape[-1])
        if name.endswith("value.bias") and kind == "dc":
            k = config["likelihood"]["components"]
            unit = config["likelihood"]["unit"]
            x[:, k : 2 * k] = x[:, k : 2 * k] * 6 / unit + 4 / unit
            x[:, 2 * k :] = 0.5 * x[:, 2 * k :] + 1.0 - math.log(unit)
            # Scales outside the range they are held in, on either side: no derivative may come back from there.
            if len(x) > 2:
                x[1, 2 * k] = 12.0
                x[2, 2 * k + 1], x[2, k + 1] = -12.0, 9.0
        if mask is not None:
            x = torch.where(mask, x, 0.0)
        parameters[name] = x.float().double()
    return parameters


def made_up_images(config, count, generator):
    height, width = config["image"]["height"], config["image"]["width"]
    shape = (count, height, width)
    x = -8.0 * torch.log(1 - torch.rand(shape, generator=generator))
    largest = config["likelihood"].get("upper") or config["likelihood"].get("maximum") or 200.0
    x = x.clamp(max=0.99 * largest)
    zero = torch.rand(shape, generator=generator) < 0.6
    zero[0], zero[1] = True, False  # the emptiest and the fullest image
    x = torch.where(zero, 0.0, x)
    x[2, 0, 0] = 1e-3  # a soft pixel, far below the first level of any grid
    return x.float().double()


def config(height, width, order, stages, likelihood, transform="raw", unit=1.0, condition=()):
    return {
        "image": {"height": height, "width": width},
        "order": {"kind": order, "seed": 5},
        "stage": stages,
        "likelihood": likelihood,
        "input": {"transform": transform, "unit": unit},
        "condition": {
            "names": [name for name, _, _ in condition],
            "mean": [mean for _, mean, _ in condition],
            "scale": [scale for _, _, scale in condition],
        },
    }


def stage(units_per_pixel, layers, square=None):
    rest = {"units_per_pixel": units_per_pixel, "layers": layers}
    return rest if square is None else {"square": square, **rest}


def dc(components, unit=1.0, upper=None):
    rest = {"kind": "dc", "components": components, "unit": unit}
    return rest if upper is None else {**rest, "upper": upper}


def dd(latents, levels, power, maximum):
    return {"kind": "dd", "latents": latents, "levels": levels, "power": power, "maximum": maximum}


MODELS = {
    "dc-one-stage-rows": config(3, 3, "rows", [stage(2, 2)], dc(2)),
    "dc-two-stages-conditions": config(
        5, 5, "spiral", [stage(2, 2, square=3), stage(1, 1)], dc(3, upper=60.0),
        condition=[("signal", 0.5, 0.5), ("jet_pt", 275.0, 14.5)],
    ),
    "dd-two-stages": config(5, 5, "spiral", [stage(2, 1, square=3), stage(1, 2)], dd(4, 12, 2.0, 45.0)),
    "dc-three-stages-oblong": config(
        6, 7, "spiral", [stage(3, 2, square=2), stage(1, 0, square=4), stage(1, 1)], dc(2, unit=2.5)
    ),
    "dd-log1p-random": config(
        4, 5, "random", [stage(1, 1, square=2), stage(2, 1)], dd(5, 20, 1.0, 50.0), transform="log1p", unit=2.0,
        condition=[("signal", 0.5, 0.5)],
    ),
    "dc-sqrt-reverse-spiral": config(4, 3, "reverse-spiral", [stage(2, 1)], dc(2, upper=90.0), transform="sqrt"),
    "dc-columns": config(3, 4, "columns", [stage(1, 2, square=1), stage(2, 1)], dc(2)),
}


# ---- safetensors: length of the header, the header in JSON, the numbers

TYPES = {torch.float32: "F32", torch.float64: "F64", torch.int32: "I32"}


def write(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, t in tensors.items():
        raw = t.contiguous().numpy().tobytes()
        header[name] = {"dtype": TYPES[t.dtype], "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def main():
    folder = Path(__file__).parent
    for number, (name, model) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(100 + number)
        order = pixel_order(model)
        parameters = made_up(model, order, generator)
        images = made_up_images(model, 5, generator)
        conditions = torch.randn(len(images), len(model["condition"]["names"]), generator=generator).float().double()
        for p in parameters.values():
            p.requires_grad_()
        cost = nll(model, order, parameters, images, conditions)
        cost.mean().backward()
        # Masked weights have a derivative of the formula; of the model they do not.
        masks = {k: mask for k, (_, mask) in shapes_and_masks(model, order).items()}
        tensors = {k: p.detach().float() for k, p in parameters.items()}
        for k, p in parameters.items():
            tensors[f"grad.{k}"] = p.grad if masks[k] is None else torch.where(masks[k], p.grad, 0.0)
        tensors["images"] = images.float()
        if conditions.numel():
            tensors["conditions"] = conditions.float()
        tensors["nll"] = cost.detach()
        for s, pixels in enumerate(order):
            tensors[f"order.{s}"] = torch.tensor(pixels, dtype=torch.int32)
        assert all(bool(t.isfinite().all()) for t in tensors.values()), name
        metadata = {"format": "sarm", "format_version": "1", "config": json.dumps(model), "record": "{}"}
        path = folder / f"{name}.safetensors"
        write(path, tensors, metadata)
        print(f"{path.name}: {path.stat().st_size} bytes, nll {[round(v, 3) for v in cost.tolist()]}")


if __name__ == "__main__":
    main()
