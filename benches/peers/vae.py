#!/usr/bin/env python3
"""The jet VAE of configs/paper/vae.toml as one writes it in PyTorch: speed of its decoder and of a training step.

    benches/peers/vae.py --sarm target/release/sarm     on one thread, in turns with `sarm bench --config jets-vae`
    benches/peers/vae.py --check                        on the CPU: shapes and parameters are those of the paper
    benches/peers/vae.py --device cuda                  on a card

Prints a JSON object a line. On the CPU, rates are images a second of the process' own time on a processor, which other work on the
machine disturbs least; the median of --rounds. Weights are random, images have a tenth of their pixels; nothing is written.

    eager             float32
    channels-last     float32, numbers of a pixel side by side
    compiled          float32, torch.compile, channels last
    bf16              bfloat16 autocast, channels last

A training step is the paper's: encoder, decoder, perceptual loss by two convolutions of a frozen classifier, divergence, Bernoulli
term, Adam. The authors' TensorFlow has 24 209 images a second on a K80, and 2 176 on a CPU (arXiv:2009.04842, table 4).
"""

import argparse
import json
import statistics
import subprocess

import torch
import torch.nn.functional as F

from common import OCCUPANCY, rate, say

LATENTS, CONDITIONS, SLOPE = 12, 1, 0.3


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = torch.nn.Linear(LATENTS + CONDITIONS, 7 * 7 * 128)
        self.first = torch.nn.ConvTranspose2d(128, 64, 3, 2, padding=1, output_padding=1)
        self.second = torch.nn.ConvTranspose2d(64, 32, 3, 2, padding=1, output_padding=1)
        self.pixels = torch.nn.Conv2d(32, 1, 4)

    def forward(self, code):
        x = self.dense(code).unflatten(1, (128, 7, 7))
        x = F.leaky_relu(self.first(x), SLOPE)
        x = F.leaky_relu(self.second(x), SLOPE)
        return F.relu(self.pixels(x))


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1 + CONDITIONS, 32, 3, 1, padding=1)
        self.second = torch.nn.Conv2d(32, 64, 3, 2, padding=1)
        self.third = torch.nn.Conv2d(64, 128, 3, 2, padding=1)
        self.codes = torch.nn.Linear(7 * 7 * 128, 2 * LATENTS)

    def forward(self, x):
        for layer in (self.first, self.second, self.third):
            x = F.leaky_relu(layer(x), SLOPE)
        return self.codes(x.flatten(1)).chunk(2, dim=1)


class Features(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 32, 11, 2, padding=5)
        self.second = torch.nn.Conv2d(32, 64, 5, 2, padding=2)

    def forward(self, x):
        first = F.leaky_relu(self.first(x), SLOPE)
        return first, F.leaky_relu(self.second(first), SLOPE)


class Training:
    def __init__(self, batch, device, channels_last, compiled):
        torch.manual_seed(1)
        self.batch = batch
        there = torch.rand(batch, 1, 25, 25, device=device) < OCCUPANCY
        self.images = torch.where(there, torch.rand(batch, 1, 25, 25, device=device), 0.0)
        self.told = torch.ones(batch, CONDITIONS, device=device)
        networks = [Encoder(), Decoder(), Features()]
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.encoder, self.decoder, self.features = (n.to(device, memory_format=layout) for n in networks)
        self.features.requires_grad_(False)
        learning = [*self.encoder.parameters(), *self.decoder.parameters()]
        self.adam = torch.optim.Adam(learning, lr=1e-3, fused=True)
        self.loss_of = torch.compile(self.loss) if compiled else self.loss

    def loss(self, x, told):
        planes = told[:, :, None, None].expand(-1, -1, 25, 25)
        mean, variance = self.encoder(torch.cat([x, planes], dim=1))
        code = mean + torch.exp(0.5 * variance) * torch.randn_like(mean)
        p = self.decoder(torch.cat([code, told], dim=1))
        differences = zip(self.features(x), self.features(p))
        perceptual = sum(((a - b) ** 2).flatten(1).mean(1).sum() / 2 for a, b in differences)
        divergence = 0.5 * (variance.exp() + mean**2 - 1 - variance).sum()
        bernoulli = F.binary_cross_entropy(p.clamp(1e-7, 1 - 1e-7), x, reduction="sum")
        return (perceptual + divergence + bernoulli) / self.batch

    def step(self):
        self.adam.zero_grad(set_to_none=True)
        self.loss_of(self.images, self.told).backward()
        self.adam.step()


def drawing(way, batch, device):
    torch.manual_seed(1)
    decoder = Decoder().to(device).requires_grad_(False)
    if way != "eager":
        decoder = decoder.to(memory_format=torch.channels_last)
    if way == "compiled":
        decoder = torch.compile(decoder)

    def run():
        code = torch.randn(batch, LATENTS + CONDITIONS, device=device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=way == "bf16"):
            decoder(code)

    return run


def sarm(program, seconds):
    """Rates of `sarm bench`, by what was measured."""
    command = [program, "bench", "--config", "jets-vae", "--threads", "1", "--device", "cpu", "--seconds", str(seconds), "--json"]
    report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "drawing": report["sampling"][0]["images_per_cpu_second"],
        "training": report["training"][0]["images_per_cpu_second"],
        "gemm_gflops": report["gemm_gflops"],
    }


def check():
    counts = [[p.numel() for p in network().parameters()] for network in (Encoder, Decoder, Features)]
    pairs = [[a + b for a, b in zip(c[::2], c[1::2])] for c in counts]
    # The authors' notebook tells the class as two numbers, this script as one.
    assert pairs == [[608, 18496, 73856, 150552], [87808, 73792, 18464, 513], [3904, 51264]], pairs
    training = Training(3, torch.device("cpu"), False, False)
    assert training.decoder(torch.randn(3, LATENTS + CONDITIONS)).shape == (3, 1, 25, 25)
    assert [f.shape[1:] for f in training.features(training.images)] == [(32, 13, 13), (64, 7, 7)]
    before = training.loss(training.images, training.told).item()
    for _ in range(20):
        training.step()
    after = training.loss(training.images, training.told).item()
    assert after < before, (before, after)
    say({"check": "jets-vae", "loss": [before, after]})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--training-batch", type=int, default=100)
    parser.add_argument("--ways", nargs="+", default=["eager", "channels-last", "compiled", "bf16"])
    parser.add_argument("--sarm", help="the program, measured in turns with PyTorch")
    parser.add_argument("--check", action="store_true", help="on the CPU: shapes, parameters and a few steps")
    arguments = parser.parse_args()
    if arguments.check:
        return check()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    say({"torch": torch.__version__, "device": name, "capability": torch.backends.cpu.get_cpu_capability(), "threads": arguments.threads})
    runs = {}
    for batch in arguments.batch:
        for way in arguments.ways:
            runs["drawing", way, batch] = drawing(way, batch, device)
    for way in arguments.ways:
        if way != "bf16":
            training = Training(arguments.training_batch, device, way != "eager", way == "compiled")
            runs["training", way, arguments.training_batch] = training.step
    for key, run in list(runs.items()):
        try:
            for _ in range(3):
                run()
        except Exception as problem:  # A way that fails (a compiler that is not there) leaves the others.
            say({"what": key[0], "way": key[1], "batch": key[2], "error": f"{type(problem).__name__}: {problem}".splitlines()[0][:300]})
            del runs[key]
    rates = {key: [] for key in runs}
    ours = []
    for _ in range(arguments.rounds):
        for key, run in runs.items():
            rates[key].append(rate(run, key[2], arguments.seconds, device))
        if arguments.sarm:
            ours.append(sarm(arguments.sarm, arguments.seconds))
    for (what, way, batch), of_rounds in rates.items():
        record = {"what": what, "way": way, "batch": batch, "images_per_second": statistics.median(of_rounds)}
        if ours:
            ratios = [one[what] / peer for one, peer in zip(ours, of_rounds)]
            record["sarm_over_this"] = statistics.median(ratios)
        say(record)
    for what in ("drawing", "training", "gemm_gflops") if ours else ():
        say({"sarm": what, "median": statistics.median(one[what] for one in ours)})


if __name__ == "__main__":
    main()
