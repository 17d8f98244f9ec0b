"""What the scripts of this folder share: the networks of configs/paper/jets-dc.toml and jets-dd.toml as one writes them in PyTorch, and clocks."""

import dataclasses
import json
import math
import time

import torch
import torch.nn.functional as F

COMPONENTS, LATENTS, LEVELS, MAXIMUM = 5, 10, 300, 285.0
OCCUPANCY = 0.1


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Pixels of the first stage and in all, units per pixel of both stages, masked layers after the input layer."""

    square: int = 9
    pixels: int = 625
    units: tuple = (5, 1)
    layers: int = 5


JETS = Sizes()


class Masked(torch.nn.Module):
    """A linear layer whose row r reads the first reads[r] columns: weight times mask, as the reference code does."""

    def __init__(self, columns, reads):
        super().__init__()
        rows = len(reads)
        self.weight = torch.nn.Parameter(torch.randn(rows, columns) / math.sqrt(columns))
        self.bias = torch.nn.Parameter(torch.zeros(rows))
        mask = (torch.arange(columns) < torch.as_tensor(reads)[:, None]).float()
        self.register_buffer("mask", mask)

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class Stage(torch.nn.Module):
    """Pixels [earlier, earlier + n) given all before."""

    def __init__(self, earlier, n, units, layers, values, levels):
        super().__init__()
        h = n * units
        self.earlier, self.n, self.units, self.values = earlier, n, units, values
        degree = torch.arange(h) // units
        self.input = Masked(earlier + n, earlier + degree)
        self.hidden = torch.nn.ModuleList(Masked(h, (degree + 1) * units) for _ in range(layers))
        pixel = torch.arange(n)
        self.gate = Masked(h, (pixel + 1) * units)
        self.value = Masked(h, ((pixel + 1) * units).repeat_interleave(values))
        self.levels = torch.nn.Linear(values, levels) if levels else None

    def numbers(self, shown):
        """Gate and values of all pixels of the stage."""
        h = F.gelu(self.input(shown[:, : self.earlier + self.n]), approximate="tanh")
        for layer in self.hidden:
            h = F.gelu(layer(h), approximate="tanh")
        return self.gate(h), self.value(h).unflatten(1, (self.n, self.values))

    def map(self):
        """D+D's shared map and its bias; None for D+C."""
        return self.levels and (self.levels.weight, self.levels.bias)

    def forward(self, shown, target, mask):
        gate, value = (number.float() for number in self.numbers(shown))
        there = slice(self.earlier, self.earlier + self.n)
        nonzero, target = mask[:, there], target[:, there]
        gates = torch.where(nonzero, F.softplus(gate), F.softplus(-gate)).sum()
        if self.levels is None:
            log_f = log_density(target, value)
            return gates - torch.where(nonzero, log_f, 0.0).sum()
        # Logits of the positive pixels alone: of all of them they would not fit. A fixed room for them, so that a graph can be
        # captured; what is left over counts for nothing.
        room = int(1.5 * OCCUPANCY * nonzero.numel()) + 64
        at = torch.nonzero_static(nonzero.flatten(), size=room, fill_value=-1).squeeze(1)
        taken = at >= 0
        at = at.clamp(min=0)
        logits = self.levels(value.flatten(0, 1)[at]).float()
        log_f = -F.cross_entropy(logits, target.flatten()[at].long(), reduction="none")
        return gates - torch.where(taken, log_f, 0.0).sum()


def log_density(x, value):
    """ln f of a mixture of logistics truncated to x > 0."""
    logits, mean, log_scale = value.chunk(3, dim=-1)
    log_scale = log_scale.clamp(-9, 9)
    z = (x[..., None] - mean) * torch.exp(-log_scale)
    low = -mean * torch.exp(-log_scale)
    terms = logits - z - 2 * F.softplus(-z) - log_scale + F.softplus(low)
    return torch.logsumexp(terms, -1) - torch.logsumexp(logits, -1)


class Network(torch.nn.Module):
    def __init__(self, kind, sizes=JETS):
        super().__init__()
        values, levels = (3 * COMPONENTS, 0) if kind == "dc" else (LATENTS, LEVELS)
        parts = [(0, sizes.square), (sizes.square, sizes.pixels - sizes.square)]
        self.stages = torch.nn.ModuleList(
            Stage(earlier, n, units, sizes.layers, values, levels) for (earlier, n), units in zip(parts, sizes.units)
        )

    def forward(self, shown, target):
        mask = shown > 0
        return sum(stage(shown, target, mask) for stage in self.stages) / len(shown)

    def unmasked(self):
        return int(sum(m.mask.sum() for m in self.modules() if isinstance(m, Masked)))


def elapsed(device, run, repeats):
    """Seconds of one of `repeats` runs."""
    if device.type == "cpu":
        start = time.perf_counter()
        for _ in range(repeats):
            run()
        return (time.perf_counter() - start) / repeats
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    for _ in range(repeats):
        run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / repeats


def rate(run, batch, seconds, device):
    """Images a second: of the process' time on the CPU, of the clock on a card."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    started, images = clock(), 0
    while clock() - started < seconds:
        run()
        if cuda:
            torch.cuda.synchronize()
        images += batch
    return images / (clock() - started)


def write_images(path, images, signal):
    """Images in GeV and their classes, in the layout that `sarm` reads."""
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("image", data=images.numpy(), compression="gzip", shuffle=True)
        file.create_dataset("signal", data=signal.numpy())


def say(record):
    print(json.dumps(record), flush=True)
