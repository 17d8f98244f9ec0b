#!/usr/bin/env python3
"""Digests of what the program writes: the net under changes that must not change a bit of it.

    tests/digests/digests.py SARM OUT.json [GROUP ..]     digests of the program SARM, all or those whose names start with GROUP
    tests/digests/digests.py SARM --fixtures DIR          what an old program leaves behind, written anew by SARM

Needs numpy and h5py. OUT.json is one object, name -> short text: a number as it is, or the first digits of a SHA-256 with what
it is of. Contents are digested (data sets, tensors, losses), never paths, times, versions or how many threads
there were. "same" is what two runs that must agree should say. Of JSON and TOML only the keys that are known here are looked at: a
program may say more.

`4e76801.json` holds the digests of commit 4e76801, `old/` files that it wrote: a later program must read them and go on with them.
tests/cli/digests.rs compares. Names under `platform` say what the numbers may depend on besides the program: logarithms, powers and
exponentials in double precision come from the system's mathematical library, and others round another last bit. They go into
trainings (where they start, their schedule), priors, D+D levels, likelihoods and evaluations, not into the images of a D+C model.

Random weights and toy images come from the raw words of PCG64 by exact arithmetic: the same bits everywhere.
"""

import gzip
import hashlib
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
OLD = Path(__file__).resolve().parent / "old"


def sha(content):
    return hashlib.sha256(content).hexdigest()[:16]


def sha_json(value):
    return sha(json.dumps(value, sort_keys=True).encode())


class Lab:
    """A folder with the shipped data in it, and the program."""

    def __init__(self, sarm, folder):
        self.binary, self.folder = str(Path(sarm).resolve()), Path(folder)
        for name in ("jets", "muons"):
            (self.folder / f"{name}.h5").symlink_to(ROOT / f"data/{name}-sample.h5")

    def __truediv__(self, name):
        return self.folder / name

    def start(self, line, threads=2, **options):
        # The program is called `sarm` wherever it lies: what it writes quotes its command line.
        words = ["sarm", *line.split(), "--quiet"]
        if not line.startswith(("info", "pack")):
            words += ["--device", "cpu", "--threads", str(threads)]
        return subprocess.Popen(
            words, executable=self.binary, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
        )

    def sarm(self, line, threads=2):
        """Standard output of a line that must succeed."""
        process = self.start(line, threads)
        out, error = process.communicate()
        if process.returncode != 0:
            sys.exit(f"sarm {line}: exit code {process.returncode}\n{error.decode()}")
        return out.decode()


# Reading what the program wrote -----------------------------------------------------------------------------------

# Root attributes of data files and scores that follow from what is in them.
ATTRIBUTES = (
    "layout format_version height width units axes seed first_image count arithmetic condition_sha256 conditions unit data "
    "log_prior_of"
).split()


def of_h5(path, put, name, attributes=ATTRIBUTES):
    """Data sets: how they are stored and their bytes; and the root attributes that say what they are."""
    with h5py.File(path) as file:
        for key in file:
            d = file[key]
            filters = [f for f in ("shuffle" if d.shuffle else "", f"{d.compression or ''} {d.compression_opts or ''}".strip()) if f]
            shape, how = "x".join(map(str, d.shape)), "+".join(filters) or "plain"
            numbers = sha(np.ascontiguousarray(d[()]).tobytes())
            put(f"{name}/{key}", f"{d.dtype.str} {shape} chunks={d.chunks} {how} {numbers}")
        for key in attributes:
            if key in file.attrs:
                value = str(file.attrs[key])
                put(f"{name}/@{key}", value if len(value) < 40 else sha(value.encode()))


def content(path):
    """The data sets of a file, to be compared with others."""
    with h5py.File(path) as file:
        return {key: file[key][()] for key in file}


def same(a, b):
    equal = a.keys() == b.keys() and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )
    return "same" if equal else "differs"


def read_safetensors(path):
    """Metadata and tensors: name -> (dtype, shape, bytes), in the order of the file."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header, data = json.loads(raw[8 : 8 + length]), raw[8 + length :]
    metadata = header.pop("__metadata__")
    order = sorted(header, key=lambda n: header[n]["data_offsets"])
    return metadata, {n: (header[n]["dtype"], header[n]["shape"], data[slice(*header[n]["data_offsets"])]) for n in order}


CONFIG = "image order stage likelihood input condition train".split()
RECORD = "data select constants images epochs train_nll validation_nll".split()
PROGRESS = "epoch steps_in_epoch nll_sum best_epoch best_nll data_checksum".split()


def of_config(config, put, name):
    for key in CONFIG:
        if key in config:
            put(f"{name}/config.{key}", sha_json(config[key]))


def of_record(record, put, name):
    for key in RECORD:
        put(f"{name}/record.{key}", json.dumps(record[key], sort_keys=True))


def of_prior(prior, put, name):
    for key in ("names", "values", "images"):
        put(f"{name}/prior.labels.{key}", json.dumps(prior["labels"][key]))
    for i, density in enumerate(prior["densities"]):
        put(f"{name}/prior.{i}.range", f"{density['range']['name']} {sha_json(density['range'])}")
        put(f"{name}/prior.{i}.nll", json.dumps(density["nll"]))
        if "config" in density:
            of_config(density["config"], put, f"{name}/prior.{i}")


def of_checkpoint(path, put, name):
    """Tensors and metadata of a model or of a training's state."""
    metadata, tensors = read_safetensors(path)
    if "progress" in metadata:
        # A state of that commit has no prior, a later one the model's: of_run compares them.
        metadata.pop("prior", None)
        tensors = {tensor: values for tensor, values in tensors.items() if not tensor.startswith("prior.")}
    for tensor, (dtype, shape, numbers) in tensors.items():
        put(f"{name}/{tensor}", f"{dtype} {'x'.join(map(str, shape))} {sha(numbers)}")
    put(f"{name}/order of the tensors", sha("\n".join(tensors).encode()))
    for key in ("format", "format_version", "packed", "steps"):
        if key in metadata:
            put(f"{name}/{key}", metadata[key])
    of_config(json.loads(metadata["config"]), put, name)
    of_record(json.loads(metadata["record"]), put, name)
    if "prior" in metadata:
        of_prior(json.loads(metadata["prior"]), put, name)
    if "train" in metadata:
        put(f"{name}/train", sha_json(json.loads(metadata["train"])))
    if "progress" in metadata:
        progress = json.loads(metadata["progress"])
        for key in PROGRESS:
            put(f"{name}/progress.{key}", json.dumps(progress[key]))
        put(f"{name}/progress.history", sha_json(without_times(progress["history"])))


def prior_of(path):
    """Header and tensors of the distribution of the conditions."""
    metadata, tensors = read_safetensors(path)
    return metadata.get("prior"), {name: values for name, values in tensors.items() if name.startswith("prior.")}


def without_times(history):
    return [{k: v for k, v in epoch.items() if k not in ("seconds", "images_per_second")} for epoch in history]


def of_run(folder, put, name):
    """A run directory."""
    of_checkpoint(folder / "model.safetensors", put, f"{name}/model")
    of_checkpoint(folder / "state.safetensors", put, f"{name}/state")
    priors = [prior_of(folder / f"{file}.safetensors") for file in ("model", "state")]
    if priors[1] != (None, {}) and priors[0] != priors[1]:
        put(f"{name}/state/prior", "is not the model's")
    for line in (folder / "metrics.csv").read_text().splitlines():
        epoch = line.split(",")[0]
        put(f"{name}/metrics/{epoch}", line.rsplit(",", 2)[0])  # the last two are times
    of_config(tomllib.loads((folder / "config.toml").read_text()), put, f"{name}/asked")


def run_content(folder):
    """What of a run directory must not depend on how it came about, to be compared with others."""
    found = {"metrics": [line.rsplit(",", 2)[0] for line in (folder / "metrics.csv").read_text().splitlines()]}
    for name in ("model", "state"):
        metadata, tensors = read_safetensors(folder / f"{name}.safetensors")
        if "progress" in metadata:
            progress = json.loads(metadata["progress"])
            progress.pop("start_nll", None)  # a state of that commit has none
            metadata["progress"] = {**progress, "history": without_times(progress["history"])}
            metadata["train"] = {k: v for k, v in json.loads(metadata["train"]).items() if k != "epochs"}
        found[name] = metadata, tensors
    return found


# Making models and images --------------------------------------------------------------------------------------------


class Dice:
    """Uniform numbers in [0, 1), multiples of 2^-24, from raw words: no library's way to make floats of them."""

    def __init__(self, seed):
        self.words = np.random.PCG64(seed)

    def roll(self, *shape):
        count = math.prod(shape)
        halves = self.words.random_raw((count + 1) // 2).astype("<u8").view("<u4")[:count]
        return ((halves >> 8).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)

    def spread(self, width, *shape):
        """Uniform between -width and width; exact but for one rounding."""
        return ((self.roll(*shape) - np.float32(0.5)) * np.float32(2 * width)).astype("<f4")


def power_of_two(x):
    return 2.0 ** round(math.log2(x))


def random_model(path, seed, config):
    """A checkpoint of `config` (the metadata's), weights random: 2 to 10 % of its pixels are not zero."""
    dice, tensors, before = Dice(seed), {}, 0
    height, width = config["image"]["height"], config["image"]["width"]
    conditions, channels = len(config["condition"]["names"]), 1 + len(config["input"].get("also", []))
    likelihood = config["likelihood"]
    dc = likelihood["kind"] == "dc"
    P = 3 * likelihood["components"] if dc else likelihood["latents"]
    for s, stage in enumerate(config["stage"]):
        square = stage.get("square")
        n = (square * square if square else height * width) - before
        u, context = stage["units_per_pixel"], conditions + channels * before
        h = n * u
        degree, pixel = np.arange(h) // u, np.arange(n)

        def put(name, numbers):
            tensors[f"stage.{s}.{name}"] = numbers.astype("<f4")

        def weight(name, rows, columns, read, gain, shape=None):
            """Rows read prefixes of these lengths."""
            numbers = dice.spread(1, rows, columns) * (np.arange(columns) < read[:, None])
            scale = np.array([gain * power_of_two(1 / math.sqrt(max(r, 1))) for r in read], np.float32)
            put(name, (numbers * scale[:, None]).reshape(shape or (rows, columns)))

        # Pixels of hundreds of GeV must not open every gate behind them.
        weight("input.weight", h, context + channels * n, context + channels * degree, 2 if dc else 2 / 64)
        put("input.bias", dice.spread(1, h))
        for layer in range(stage["layers"]):
            weight(f"hidden.{layer}.weight", h, h, (degree + 1) * u, 2)
            put(f"hidden.{layer}.bias", dice.spread(1, h))
        weight("gate.weight", n, h, (pixel + 1) * u, 2)
        put("gate.bias", dice.spread(1, n) + np.float32(3 if before or not square else 0.5))
        weight("value.weight", n * P, h, np.repeat((pixel + 1) * u, P), 1, (n, P, h))
        bias = dice.spread(1, n, P)
        if dc:  # logits, means, logarithms of scales
            bias[:, P // 3 : 2 * P // 3] += np.float32(2)
        put("value.bias", bias)
        if not dc:
            weight("levels.weight", likelihood["levels"], P, np.full(likelihood["levels"], P), 4)
            put("levels.bias", dice.spread(2, likelihood["levels"]))
        before += n
    record = {"data": "dice", "select": [], "constants": {}, "images": [1, 0], "epochs": 1}
    metadata = {
        "format": "sarm",
        "format_version": "1",
        "config": json.dumps(config),
        "record": json.dumps({**record, "train_nll": None, "validation_nll": None, "version": "0"}),
    }
    header, end = {"__metadata__": metadata}, 0
    for name, numbers in tensors.items():
        header[name] = {"dtype": "F32", "shape": numbers.shape, "data_offsets": [end, end := end + numbers.nbytes]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for numbers in tensors.values():
            file.write(numbers.tobytes())


def complete(toml, height, width, **more):
    """The configuration of a checkpoint from that of a TOML file, defaults as the documentation has them."""
    of_kind = {"dc": {"components": 5, "unit": 1.0}, "dd": {"latents": 10, "levels": 300, "power": 1.0, "maximum": 300.0}}
    likelihood = toml.get("likelihood", {"kind": "dc"})
    return {
        "image": {"height": height, "width": width},
        "order": {"seed": 0, **toml["order"]},
        "stage": toml["stage"],
        "likelihood": {**of_kind[likelihood["kind"]], **likelihood},
        "input": {"transform": "raw", "unit": 1.0, **toml.get("input", {})},
        "condition": {"names": [], **toml.get("condition", {})},
        **more,
    }


PAPER = {"jets-dc": (25, 25), "jets-dd": (25, 25), "muons-dc": (32, 32), "muons-dd": (32, 32)}

# What the paper's models do not have.
ODD = {
    "total": {
        "order": {"kind": "reverse-spiral"},
        "stage": [
            {"square": 3, "units_per_pixel": 4, "layers": 1},
            {"square": 5, "units_per_pixel": 3, "layers": 0},
            {"units_per_pixel": 2, "layers": 2},
        ],
        "likelihood": {"kind": "dc", "components": 3, "unit": 4.0, "upper": 90.0},
        "input": {
            "unit": 32.0,
            "also": [
                {"transform": "log1p", "unit": 0.5, "scale": 0.25},
                {"transform": "sqrt", "unit": 2.0, "scale": 0.5},
            ],
        },
        "condition": {
            "names": ["signal", "jet_pt", "intensity"],
            "total": "intensity",
            "mean": [0.5, 275.0, 40.0],
            "scale": [0.5, 12.5, 16.0],
        },
    },
    "random-dd": {
        "order": {"kind": "random", "seed": 11},
        "stage": [{"square": 4, "units_per_pixel": 3, "layers": 2}, {"units_per_pixel": 1, "layers": 3}],
        "likelihood": {"kind": "dd", "latents": 6, "levels": 50, "power": 2.0, "maximum": 128.0},
        "input": {"transform": "log1p", "unit": 2.0},
        "condition": {"names": ["n_pileup"], "mean": [8.0], "scale": [4.0]},
    },
    "columns-dc": {
        "order": {"kind": "columns"},
        "stage": [{"units_per_pixel": 2, "layers": 2}],
        "likelihood": {"kind": "dc", "components": 1, "unit": 2.0},
        "input": {"transform": "sqrt", "unit": 4.0},
    },
    "rows-cubic-dd": {
        "order": {"kind": "rows"},
        "stage": [{"units_per_pixel": 3, "layers": 1}],
        "likelihood": {"kind": "dd", "latents": 3, "levels": 33, "power": 3.0, "maximum": 100.0},
    },
}
TOY_SIZE = (8, 7)


def paper(lab, name):
    path = lab / f"{name}.safetensors"
    if not path.exists():
        toml = tomllib.loads((ROOT / f"configs/paper/{name}.toml").read_text())
        random_model(path, 1, complete(toml, *PAPER[name]))
    return path.name


def odd(lab, name):
    path = lab / f"{name}.safetensors"
    if not path.exists():
        random_model(path, 2, complete(ODD[name], *TOY_SIZE))
    return path.name


def toy(lab, height, width, count=400, seed=3):
    """Images that get sparser outwards, with what their conditions are called; all numbers are multiples of 1/64."""
    path = lab / f"toy{height}x{width}.h5"
    if path.exists():
        return path.name
    dice = Dice(seed)
    row, column = np.arange(height)[:, None], np.arange(width)
    far = np.maximum(abs(2 * row - height + 1), abs(2 * column - width + 1))
    busy = dice.roll(count)
    hit = dice.roll(count, height, width) * (far + 1) < 1.5 * busy[:, None, None] + 0.25
    grid = lambda x: np.floor(x * 64).astype(np.float32) / 64
    image = np.where(hit, grid(dice.roll(count, height, width) * (40 - 3 * far)) + np.float32(1 / 64), 0).astype("<f4")
    columns = {
        "signal": (np.arange(count) % 2).astype("<f4"),
        "n_pileup": np.floor(busy * 24),
        "jet_pt": 250 + grid(busy * 32 + dice.roll(count) * 18),
        "jet_mass": 60 + grid(dice.roll(count) * 40),
    }
    with h5py.File(path, "w") as file:
        file["image"] = image
        for name, values in columns.items():
            file[name] = values.astype("<f4")
    return path.name


# Trainings: data, options, configuration.
TRAININGS = {
    # Everything that came after the paper.
    "total": (
        "toy",
        "",
        """
        order = {kind = "spiral"}
        stage = [{square = 3, units_per_pixel = 4, layers = 1}, {square = 5, units_per_pixel = 2, layers = 2}, {layers = 1}]
        likelihood = {kind = "dc", components = 3, unit = 4.0, upper = 100.0}
        condition = {names = ["signal", "n_pileup", "jet_pt", "intensity"], total = "intensity"}
        [input]
        transform = "raw"
        unit = 50.0
        also = [{transform = "log1p", unit = 0.5, scale = 0.25}]
        [train]
        epochs = 3
        batch = 32
        learning_rate = 3e-3
        validation = 0.2
        schedule = "cosine"
        weight_decay = 0.5
        running_sums = 2.0
        """,
    ),
    "dd": (
        "toy",
        "--select row=20..369 --seed 5",
        """
        order = {kind = "random", seed = 7}
        stage = [{square = 4, units_per_pixel = 2, layers = 2}, {layers = 1}]
        likelihood = {kind = "dd", latents = 5, levels = 40, power = 2.0}
        input = {transform = "sqrt", unit = 2.0}
        condition = {names = ["jet_mass", "signal"]}
        [train]
        epochs = 3
        batch = 37
        learning_rate = 5e-3
        halve_every = 1
        validation = 0.15
        patience = 2
        """,
    ),
    # Too fast: it stops early, and an epoch before the last is the best.
    "early": (
        "toy",
        "--select jet_pt=260..300",
        """
        stage = [{square = 5, units_per_pixel = 3, layers = 1}, {units_per_pixel = 2, layers = 1}]
        likelihood = {kind = "dd", latents = 8, levels = 80}
        order = {kind = "rows"}
        input = {transform = "log1p", unit = 1.0}
        [train]
        epochs = 12
        batch = 16
        learning_rate = 3e-2
        validation = 0.3
        patience = 2
        """,
    ),
    # No condition, one class: what all images have in common is kept.
    "plain": (
        "toy",
        "--select signal=1 --limit 150",
        """
        order = {kind = "columns"}
        likelihood = {kind = "dc", components = 2, unit = 2.0}
        [train]
        epochs = 2
        batch = 16
        learning_rate = 1e-3
        """,
    ),
    "jets": (
        "jets.h5",
        "--limit 150",
        """
        stage = [{square = 3, units_per_pixel = 5, layers = 2}, {layers = 1}]
        likelihood = {kind = "dc", components = 2, unit = 20.0}
        input = {transform = "raw", unit = 300.0}
        condition = {names = ["signal", "jet_pt"]}
        [train]
        epochs = 1
        batch = 32
        learning_rate = 2e-3
        validation = 0.1
        """,
    ),
    "muons": (
        "muons.h5",
        "--select row=100..299",
        """
        stage = [{square = 7, units_per_pixel = 2, layers = 1}, {layers = 0}]
        likelihood = {kind = "dd", latents = 3, levels = 60}
        condition = {names = ["signal", "cone_40", "n_pileup"]}
        [train]
        epochs = 1
        batch = 64
        validation = 0.1
        """,
    ),
}


def train_line(lab, name, out):
    data, options, toml = TRAININGS[name]
    (lab / f"{name}.toml").write_text(toml)
    data = toy(lab, *TOY_SIZE) if data == "toy" else data
    return f"train --data {data} {options} --config {name}.toml --out {out}"


def trained(lab, name):
    """A run directory."""
    if not (lab / f"run-{name}").exists():
        lab.sarm(train_line(lab, name, f"run-{name}"))
    return f"run-{name}"


# What is digested ----------------------------------------------------------------------------------------------------

GROUPS = {}


def group(name):
    def register(function):
        GROUPS[name] = function

    return register


@group("platform")
def _(lab, put):
    """What the system's mathematical library makes of some numbers."""
    x = np.concatenate([Dice(9).roll(3000), 300 * Dice(10).roll(3000)]).astype(float) + 2.0**-30
    for f in (math.exp, math.log, math.log1p, math.expm1, math.tanh, math.cos, math.sin, math.cbrt):
        put(f"platform/{f.__name__}", sha(np.array([f(v) for v in x.tolist()]).tobytes()))
    put("platform/pow", sha(np.array([v**0.37 for v in x.tolist()]).tobytes()))


@group("generate/jets-w")
def _(lab, put):
    line = "generate --model jets-w --seed 7 --first 1000 --count 300"
    lab.sarm(f"{line} --out w.h5")
    of_h5(lab / "w.h5", put, "generate/jets-w", [*ATTRIBUTES, "model_sha256"])


@group("generate/ways")
def _(lab, put):
    """Shards, layouts and threads are ways to the same images."""
    line = "generate --model jets-w --seed 7 --observables"
    lab.sarm(f"{line} --first 1000 --count 300 --out w-dense.h5")
    lab.sarm(f"{line} --first 1000 --count 300 --layout sparse --out w-sparse.h5", threads=1)
    lab.sarm(f"{line} --first 1000 --count 190 --out w-0.h5", threads=1)
    lab.sarm(f"{line} --first 1190 --count 110 --out w-1.h5")
    dense, sparse = content(lab / "w-dense.h5"), content(lab / "w-sparse.h5")
    parts = [content(lab / f"w-{i}.h5") for i in (0, 1)]
    put("generate/ways/shards", same(dense, {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}))
    image = np.zeros((300, 625), np.float32)
    indptr = sparse.pop("indptr").astype(int)
    image[np.repeat(np.arange(300), np.diff(indptr)), sparse.pop("index")] = sparse.pop("value")
    put("generate/ways/layouts", same(dense, {**sparse, "image": image.reshape(300, 25, 25)}))
    of_h5(lab / "w-sparse.h5", put, "generate/ways/sparse")


@group("generate/jets-qcd")
def _(lab, put):
    lab.sarm("generate --model jets-qcd --seed 3 --count 300 --layout sparse --out qcd.h5")
    of_h5(lab / "qcd.h5", put, "generate/jets-qcd", [*ATTRIBUTES, "model_sha256"])


@group("generate/given")
def _(lab, put):
    for name, options in {
        "all": "--given jet_pt=270,jet_mass=80,intensity=285 --count 60",
        "part": "--given jet_mass=90.5 --first 7 --count 60",
        "the class too": "--given signal=1,jet_pt=255 --count 60 --layout sparse",
        "beyond the values drawn": "--given jet_pt=262 --first 1000020 --count 30 --layout sparse",
        "from rows": "--given-from jets.h5 --select row=100..199",
        "from rows, round and round": "--given-from jets.h5 --select row=100..139 --first 30 --count 60 --layout sparse --observables",
    }.items():
        lab.sarm(f"generate --model jets-w --seed 5 {options} --out given.h5 --force")
        of_h5(lab / "given.h5", put, f"generate/given/{name}")


@group("generate/paper")
def _(lab, put):
    for name in PAPER:
        lab.sarm(f"generate --model {paper(lab, name)} --seed 2 --first 5 --count 200 --layout sparse --out paper.h5 --force")
        of_h5(lab / "paper.h5", put, f"generate/paper/{name}", [*ATTRIBUTES, "model_sha256"])


@group("generate/odd")
def _(lab, put):
    data = toy(lab, *TOY_SIZE)
    for name, options in {
        "total": "--given signal=1,jet_pt=262.5,intensity=31",
        "random-dd": "--given n_pileup=9 --layout sparse",
        "columns-dc": "--range 0.4",
        "rows-cubic-dd": "--observables false",
    }.items():
        lab.sarm(f"generate --model {odd(lab, name)} --seed 1 --first 100 --count 300 {options} --out odd.h5 --force")
        of_h5(lab / "odd.h5", put, f"generate/odd/{name}", [*ATTRIBUTES, "model_sha256"])
        line = f"generate --model {odd(lab, name)} --seed 1 --first 100 --count 300 {options} --out odd-1.h5 --force"
        lab.sarm(line, threads=1)
        put(f"generate/odd/{name}/threads", same(content(lab / "odd.h5"), content(lab / "odd-1.h5")))
    # Numbers that fill more than one word of the counter.
    lab.sarm(f"generate --model {odd(lab, 'columns-dc')} --seed {2**63 + 5} --first {2**40 + 3} --count 50 --out odd.h5 --force")
    of_h5(lab / "odd.h5", put, "generate/odd/far numbers")
    lab.sarm(f"generate --model {odd(lab, 'total')} --given-from {data} --layout sparse --out odd.h5 --force")
    of_h5(lab / "odd.h5", put, "generate/odd/total from rows")


for _name in TRAININGS:

    @group(f"train/{_name}")
    def _(lab, put, name=_name):
        of_run(lab / trained(lab, name), put, f"train/{name}")
        # Its images, and its conditions drawn.
        model = f"run-{name}/model.safetensors"
        lab.sarm(f"generate --model {model} --seed 4 --first 9 --count 80 --layout sparse --observables --out drawn.h5 --force")
        of_h5(lab / "drawn.h5", put, f"train/{name}/drawn")


@group("resume")
def _(lab, put):
    """On one thread what was trained on two, stopped and gone on with, killed and gone on with."""
    for name in ("total", "dd"):
        whole = run_content(lab / trained(lab, name))
        lab.sarm(train_line(lab, name, f"one-{name}"), threads=1)
        put(f"resume/{name}/threads", "same" if run_content(lab / f"one-{name}") == whole else "differs")
        line = train_line(lab, name, f"killed-{name}") + " --checkpoint-every 0"
        process = lab.start(line)
        while process.poll() is None and not (lab / f"killed-{name}/state.safetensors").exists():
            time.sleep(0.002)
        process.kill()
        process.communicate()
        lab.sarm(f"{line} --resume", threads=1)
        put(f"resume/{name}/killed", "same" if run_content(lab / f"killed-{name}") == whole else "differs")
    # A cosine ends with the last epoch, halving does not.
    lab.sarm(train_line(lab, "dd", "longer") + " --epochs 1")
    lab.sarm(train_line(lab, "dd", "longer") + " --epochs 3 --resume")
    put("resume/dd/longer", "same" if run_content(lab / "longer") == run_content(lab / trained(lab, "dd")) else "differs")


@group("pack")
def _(lab, put):
    for name in ("total", "dd"):
        lab.sarm(f"pack --model {trained(lab, name)}/model.safetensors --out packed-{name}.safetensors")
        of_checkpoint(lab / f"packed-{name}.safetensors", put, f"pack/{name}")
        lab.sarm(f"generate --model packed-{name}.safetensors --count 50 --layout sparse --out packed.h5 --force")
        of_h5(lab / "packed.h5", put, f"pack/{name}/drawn")


def scores(lab, put, name, options):
    """As text, as a file, as a summary."""
    text = lab.sarm(f"score {options}")
    put(f"{name}/text", f"{len(text.split())} numbers, first {text.split()[0]}, {sha(text.encode())}")
    summary = json.loads(lab.sarm(f"score {options} --out scores.h5 --force --json", threads=1))
    of_h5(lab / "scores.h5", put, name)
    agree = content(lab / "scores.h5")["log_likelihood"].tolist() == [float(v) for v in text.split()]
    put(f"{name}/threads", "same" if agree else "differs")
    for key in ("images", "mean_log_likelihood", "error_of_mean", "mean_log_prior"):
        put(f"{name}/{key}", json.dumps(summary[key]))


@group("score/jets-w")
def _(lab, put):
    scores(lab, put, "score/jets-w", "--model jets-w --data jets.h5 --select signal=1 --limit 60")


@group("score/jets-qcd")
def _(lab, put):
    scores(lab, put, "score/jets-qcd", "--model jets-qcd --data jets.h5 --given jet_pt=265 --select row=50..99")


@group("score/paper")
def _(lab, put):
    for name in PAPER:
        data = name.split("-")[0]
        scores(lab, put, f"score/paper/{name}", f"--model {paper(lab, name)} --data {data}.h5 --limit 24")


@group("score/odd")
def _(lab, put):
    data = toy(lab, *TOY_SIZE)
    for name in ODD:
        scores(lab, put, f"score/odd/{name}", f"--model {odd(lab, name)} --data {data} --limit 100")


@group("score/trained")
def _(lab, put):
    for name in TRAININGS:
        data = toy(lab, *TOY_SIZE) if TRAININGS[name][0] == "toy" else TRAININGS[name][0]
        scores(lab, put, f"score/trained/{name}", f"--model {trained(lab, name)}/model.safetensors --data {data} --limit 70")
    # The documentation's own way to the same numbers. It multiplies matrices in float64 as numpy's library pleases: no digest.
    for name in ("total", "dd", "plain"):
        data, model = toy(lab, *TOY_SIZE), f"{trained(lab, name)}/model.safetensors"
        found = subprocess.run(
            [sys.executable, ROOT / "docs/loglikelihood.py", model, data], cwd=lab.folder, capture_output=True, text=True
        )
        far = math.inf
        if found.returncode == 0:
            wanted = [float(v) for v in lab.sarm(f"score --model {model} --data {data}").split()]
            numbers = [float(v) for v in found.stdout.split()]
            if len(numbers) == len(wanted):
                far = max(abs(a - b) for a, b in zip(numbers, wanted))
        # Single precision of some 50 terms of a size of 10: found were 3e-5.
        put(f"score/trained/{name}/loglikelihood.py", "same" if far < 1e-3 else f"differs by {far}")


def judged(lab, put, name, options):
    out = name.replace("/", "-")
    lab.sarm(f"evaluate {options} --out {out}")
    metrics = json.loads((lab / out / "metrics.json").read_text())
    for key in "files selection images seed bootstrap floor_splits".split():
        put(f"{name}/meta.{key}", json.dumps(metrics["meta"][key], sort_keys=True))
    if "nll" in metrics:
        put(f"{name}/nll", json.dumps(metrics["nll"], sort_keys=True))
    for part, values in metrics.items():
        if part not in ("meta", "nll"):
            for key, found in values.items():
                put(f"{name}/{part}/{key}", sha_json(found))
    # Pictures of pixels have letters of the machine's fonts in them; comments and the page name versions.
    for path in sorted((lab / out / "figures").glob("*.svg")):
        put(f"{name}/figures/{path.stem}", sha(re.sub("<!--.*?-->", "", path.read_text(), flags=re.S).encode()))
    passing = r"<!--.*?-->|data:image/png;base64,[A-Za-z0-9+/=]*|<dd>sarm \d[^;]*"
    page = re.sub(passing, "", (lab / out / "index.html").read_text(), flags=re.S)
    put(f"{name}/page", sha(page.encode()))


@group("evaluate/jets-w")
def _(lab, put):
    lab.sarm("generate --model jets-w --seed 8 --count 250 --out judged-w.h5 --force")
    truth = "--truth jets.h5 --select signal=1 --select row=0..499"
    judged(lab, put, "evaluate/jets-w", f"{truth} --generated judged-w.h5 --bootstrap 40 --seed 3")


@group("evaluate/trained")
def _(lab, put):
    data, model = toy(lab, *TOY_SIZE), f"{trained(lab, 'total')}/model.safetensors"
    lab.sarm(f"generate --model {model} --seed 8 --count 300 --out judged.h5 --force")
    lab.sarm(f"generate --model {model} --seed 8 --first 300 --count 100 --layout sparse --out judged-1.h5 --force")
    options = f"--generated judged.h5 --generated judged-1.h5 --select-generated signal=0..1 --model {model}"
    judged(lab, put, "evaluate/trained", f"--truth {data} {options} --bootstrap 40 --range 0.4")


@group("info")
def _(lab, put):
    def checkpoint(file, name, fixed):
        found = json.loads(lab.sarm(f"info --json {file}"))
        keys = ("kind", "parameters", "unmasked_parameters", "tensors", *(["sha256"] if fixed else []))
        for key in keys:
            text = json.dumps(found[key])
            put(f"{name}/{key}", text if len(text) < 40 else sha_json(found[key]))
        of_config(found["config"], put, name)
        of_record(found["record"], put, name)
        if found["prior"]:
            of_prior(found["prior"], put, name)

    checkpoint("jets-w", "info/jets-w", True)
    checkpoint(odd(lab, "total"), "info/odd", True)
    checkpoint(f"{trained(lab, 'dd')}/model.safetensors", "info/dd", False)
    lab.sarm("generate --model jets-w --seed 7 --count 30 --layout sparse --out info.h5 --force")
    for file in ("jets.h5", "muons.h5", "info.h5"):
        found = json.loads(lab.sarm(f"info --json {file}"))
        for key in ("layout", "images", "height", "width", "zero_fraction", "sampled", "classes", "problem"):
            put(f"info/{file}/{key}", json.dumps(found[key]))
        # How much room compression leaves is the HDF5 library's affair.
        for d in found["datasets"]:
            put(f"info/{file}/{d['name']}", json.dumps([d[k] for k in ("kind", "shape", "filters")]))
    for path in sorted((ROOT / "configs").glob("**/*.toml")):
        if path.name == "demo.toml":  # another one since
            continue
        of_config(json.loads(lab.sarm(f"info --json {path}")), put, f"info/{path.relative_to(ROOT / 'configs')}")


# Files of an old program -----------------------------------------------------------------------------------------------

OLD_SIZE = (5, 5)
OLD_CONFIGS = {
    "dc": """
        stage = [{square = 3, units_per_pixel = 2, layers = 1}, {layers = 1}]
        likelihood = {kind = "dc", components = 2, unit = 4.0, upper = 100.0}
        condition = {names = ["signal", "jet_pt", "intensity"], total = "intensity"}
        input = {transform = "raw", unit = 50.0, also = [{transform = "log1p", unit = 0.5, scale = 0.25}]}
        [train]
        epochs = 3
        batch = 16
        learning_rate = 3e-3
        validation = 0.1
        weight_decay = 0.1
        running_sums = 2.0
        """,
    "dd": """
        order = {kind = "random", seed = 3}
        stage = [{layers = 1}]
        likelihood = {kind = "dd", latents = 4, levels = 24, power = 2.0, maximum = 128.0}
        [train]
        epochs = 2
        batch = 16
        learning_rate = 3e-3
        """,
}
OLD_RUN = "--config dc.toml --epochs 2 --seed 6 --checkpoint-every 0"
DENSE = "generate --model old/dc.safetensors --seed 1 --count 40"
JOURNAL = "generate --model old/dc.safetensors --seed 9 --first 40 --count 12000 --given signal=1 --layout sparse --out"


def old(lab):
    """The old files, and what the program needs to go on with them."""
    if not (lab / "old").exists():
        shutil.copytree(OLD, lab / "old")
        for packed in (lab / "old").glob("*.gz"):
            packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    for name, text in OLD_CONFIGS.items():
        (lab / f"{name}.toml").write_text(text)
    return toy(lab, *OLD_SIZE)


def fixtures(lab, folder):
    """Write them."""
    out = lab / "old"
    out.mkdir()
    for name, text in OLD_CONFIGS.items():
        (lab / f"{name}.toml").write_text(text)
    data = toy(lab, *OLD_SIZE)
    for name in OLD_CONFIGS:
        lab.sarm(f"train --data {data} --config {name}.toml --out run-{name}")
        shutil.copy(lab / f"run-{name}/model.safetensors", out / f"{name}.safetensors")
    lab.sarm("pack --model old/dc.safetensors --out old/packed.safetensors")
    lab.sarm(f"{DENSE} --out old/dense.h5")
    lab.sarm("generate --model old/dc.safetensors --seed 1 --first 40 --count 40 --layout sparse --out old/sparse.h5")
    # A training killed in its second epoch.
    while True:
        shutil.rmtree(lab / "run", ignore_errors=True)
        process = lab.start(f"train --data {data} {OLD_RUN} --out run")
        while process.poll() is None and "2" not in metrics_epochs(lab / "run"):
            time.sleep(0.001)
            if "1" in metrics_epochs(lab / "run"):
                time.sleep(0.01)
                break
        process.kill()
        process.communicate()
        progress = json.loads(read_safetensors(lab / "run/state.safetensors")[0]["progress"])
        if progress["epoch"] == 1 and progress["steps_in_epoch"] > 0:
            break
    (out / "run").mkdir()
    for name in ("model.safetensors", "state.safetensors", "config.toml", "metrics.csv"):
        shutil.copy(lab / "run" / name, out / "run" / name)
    # A generation stopped by Ctrl-C.
    while True:
        (lab / "j.h5").unlink(missing_ok=True)
        process = lab.start(f"{JOURNAL} j.h5", threads=1)
        journal = lab / "j.h5.partial"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > 1000):
            time.sleep(0.0005)
        process.send_signal(signal.SIGINT)
        process.communicate()
        if process.returncode == 130:
            break
    # Cut inside a block, as a power cut leaves it.
    (out / "unfinished.journal").write_bytes(journal.read_bytes()[:45000])
    # The sparse layout sets room aside for many pixels.
    for name in ("dense.h5", "sparse.h5"):
        (out / f"{name}.gz").write_bytes(gzip.compress((out / name).read_bytes(), mtime=0))
        (out / name).unlink()
    shutil.copytree(out, folder, dirs_exist_ok=True)


def metrics_epochs(run):
    try:
        return [line.split(",")[0] for line in (run / "metrics.csv").read_text().splitlines()]
    except FileNotFoundError:
        return []


@group("old/models")
def _(lab, put):
    data = old(lab)
    for name, given in {"dc": "--given jet_pt=260", "dd": "", "packed": ""}.items():
        model = f"old/{name}.safetensors"
        lab.sarm(f"generate --model {model} --seed 2 --first 50 --count 100 {given} --out old.h5 --force")
        of_h5(lab / "old.h5", put, f"old/models/{name}", [*ATTRIBUTES, "model_sha256"])
        for file in (data, "old/dense.h5", "old/sparse.h5"):
            scores(lab, put, f"old/models/{name}/{file}", f"--model {model} --data {file}")


@group("old/images")
def _(lab, put):
    old(lab)
    put("old/images/dense/ending", json.loads(lab.sarm(f"{DENSE} --out old/dense.h5 --resume --json"))["ending"])
    for name in ("dense", "sparse"):
        of_h5(lab / f"old/{name}.h5", put, f"old/images/{name}")
        found = json.loads(lab.sarm(f"info --json old/{name}.h5"))
        for key in ("layout", "images", "zero_fraction", "classes"):
            put(f"old/images/{name}/info.{key}", json.dumps(found[key]))
        lab.sarm(f"generate --model old/dc.safetensors --given-from old/{name}.h5 --out again.h5 --force")
        of_h5(lab / "again.h5", put, f"old/images/{name}/given from it")
        lab.sarm(f"train --data old/{name}.h5 --config dd.toml --epochs 1 --out of-{name}")
        put(f"old/images/{name}/trained on it", (lab / f"of-{name}/metrics.csv").read_text().splitlines()[1].rsplit(",", 2)[0])


@group("old/run")
def _(lab, put):
    """A training that the old program left in the middle of an epoch ends as one from the start."""
    data = old(lab)
    shutil.copytree(lab / "old/run", lab / "went-on")
    lab.sarm(f"train --data {data} {OLD_RUN} --out went-on --resume")
    lab.sarm(f"train --data {data} {OLD_RUN} --out straight")
    of_run(lab / "went-on", put, "old/run")

    def tensors(run):
        found = run_content(lab / run)
        return found["metrics"], found["model"][1], found["state"][1], found["state"][0]["progress"]

    put("old/run/from the start", "same" if tensors("went-on") == tensors("straight") else "differs")


@group("old/journal")
def _(lab, put):
    old(lab)
    shutil.copy(lab / "old/unfinished.journal", lab / "went-on.h5.partial")
    report = json.loads(lab.sarm(f"{JOURNAL} went-on.h5 --resume --json"))
    put("old/journal/images_taken_over", json.dumps(report["images_taken_over"]))
    lab.sarm(f"{JOURNAL} straight.h5")
    of_h5(lab / "went-on.h5", put, "old/journal")
    put("old/journal/from the start", same(content(lab / "went-on.h5"), content(lab / "straight.h5")))


def main(sarm, out, *wanted):
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(sarm, folder)
        if out == "--fixtures":
            return fixtures(lab, wanted[0])
        digests = {}

        def put(name, value):
            assert name not in digests, name
            digests[name] = value

        for name, function in GROUPS.items():
            if not wanted or name.startswith(wanted):
                began = time.perf_counter(), sum(os.times()[:4])
                function(lab, put)
                if "SARM_DIGESTS_TIMES" in os.environ:
                    took = time.perf_counter() - began[0], sum(os.times()[:4]) - began[1]
                    print(f"{name:24} {took[0]:6.2f} s, {took[1]:6.2f} s of processor", file=sys.stderr)
    Path(out).write_text(json.dumps(digests, indent=0, sort_keys=True, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
