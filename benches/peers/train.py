#!/usr/bin/env python3
"""The networks of configs/paper/jets-dc.toml and jets-dd.toml, trained in PyTorch as one writes them there: speed, on this machine.

    benches/peers/train.py                        on the card
    benches/peers/train.py --seconds 300          stop to begin new measurements after that long
    benches/peers/train.py --device cpu --tiny    a smoke test

Prints a JSON object a line, as soon as it is measured: first the card's own rates (matrix products and copies of random data),
then images/s of each way to train. What is alike everywhere: weights times masks in every forward pass, the data set in device
memory, a batch gathered by random rows in every step, fused Adam. Times are CUDA events around many steps after a warm-up;
compilation is not in them.

    eager-fp32       plain, float32 products in float32
    eager-tf32       the same with TF32 tensor cores
    eager            bfloat16 autocast: what `sarm` is compared with
    compiled         torch.compile(mode="reduce-overhead") of forward and backward, which runs them as CUDA graphs
    compiled-graph   torch.compile of the whole step, Adam too, captured as one CUDA graph by hand: PyTorch's best
"""

import argparse
import time

import torch

from common import JETS, LEVELS, MAXIMUM, OCCUPANCY, Network, elapsed, say


class Data:
    """Random sparse images in device memory, and the next batch of them."""

    def __init__(self, kind, count, device):
        there = torch.rand(count, JETS.pixels, device=device) < OCCUPANCY
        energy = -10.0 * torch.log(1.0 - torch.rand(count, JETS.pixels, device=device))
        self.shown = torch.where(there, torch.log1p(energy), 0.0)
        level = (energy / MAXIMUM * LEVELS).clamp(0, LEVELS - 1).int()
        self.target = torch.where(there, energy, 0.0) if kind == "dc" else torch.where(there, level, 0)

    def batch(self, size):
        rows = torch.randint(0, len(self.shown), (size,), device=self.shown.device)
        return self.shown[rows], self.target[rows]


def seconds_of(device, run):
    """Median of five, each of about 0.15 s, after a warm-up."""
    for _ in range(3):
        run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    once = elapsed(device, run, 3)
    repeats = max(3, min(3000, int(0.15 / once)))
    return sorted(elapsed(device, run, repeats) for _ in range(5))[2]


def stepper(way, kind, batch, data, device):
    """A function that makes one training step."""
    torch.manual_seed(1)
    torch.set_float32_matmul_precision("high" if way == "eager-tf32" else "highest")
    cuda, low = device.type == "cuda", way not in ("eager-fp32", "eager-tf32")
    network = Network(kind).to(device)
    adam = torch.optim.Adam(network.parameters(), lr=1e-4, fused=cuda, capturable=cuda)

    def loss_of(shown, target):
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            return network(shown, target)

    def step(loss_of=loss_of):
        shown, target = data.batch(batch)
        adam.zero_grad(set_to_none=True)
        loss_of(shown, target).backward()
        adam.step()

    if way == "compiled":
        compiled = torch.compile(loss_of, mode="reduce-overhead" if cuda else "default")

        def run():
            torch.compiler.cudagraph_mark_step_begin()
            step(compiled)

        return run
    if way == "compiled-graph":
        compiled = torch.compile(loss_of)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step(compiled)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step(compiled)
        return graph.replay
    return step


def rates(device):
    """This card's matrix and copy rates, on random data."""
    n = 8192
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(a)
    product = seconds_of(device, lambda: torch.mm(a, b, out=out))
    source = torch.randint(-128, 127, (1 << 30,), device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    copy = seconds_of(device, lambda: target.copy_(source))
    return {"rates": {"bf16_teraflops": 2 * n**3 / product / 1e12, "copy_terabytes_per_second": 2 * 2**30 / copy / 1e12}}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=240)
    parser.add_argument("--tiny", action="store_true", help="small batches of few ways, to see that it runs")
    parser.add_argument("--headline", action="store_true", help="jets D+C alone, at the paper's batch and at one that fills a card, few ways")
    arguments = parser.parse_args()
    device, started = torch.device(arguments.device), time.monotonic()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    say({"torch": torch.__version__, "device": name})
    if device.type == "cuda" and not arguments.tiny:
        say(rates(device))
    # What the project's aims name comes first; the rest as time allows.
    best = ["eager", "compiled", "compiled-graph"]
    plan = [("dc", batch, best) for batch in (128, 8192, 1024)] + [("dc", 128, ["eager-tf32", "eager-fp32"])]
    plan += [("dd", batch, best) for batch in (128, 8192, 1024)] + [("dc", 8192, ["eager-tf32", "eager-fp32"])]
    if arguments.headline:
        plan = [("dc", 128, ["eager", "compiled-graph"]), ("dc", 8192, ["eager", "compiled"])]
    if arguments.tiny:
        ways = ["eager", "compiled"] if device.type == "cpu" else best
        plan = [(kind, 4, ways) for kind in ("dc", "dd")]
    for kind, batch, ways in plan:
        data = Data(kind, 4 * batch if arguments.tiny else 32768, device)
        for way in ways:
            record = {"config": f"jets-{kind}", "batch": batch, "way": way}
            if time.monotonic() - started > arguments.seconds:
                say(record | {"skipped": f"{arguments.seconds:g} s were over"})
                continue
            begun = time.monotonic()
            try:
                run = stepper(way, kind, batch, data, device)
                run()
                prepared = time.monotonic() - begun
                second = seconds_of(device, run)
            except Exception as problem:  # One way that fails (memory, a version of torch) leaves the others.
                say(record | {"error": f"{type(problem).__name__}: {problem}".splitlines()[0][:300]})
                continue
            unmasked = Network(kind).unmasked()
            say(
                record
                | {
                    "images_per_second": batch / second,
                    "step_microseconds": 1e6 * second,
                    "prepared_seconds": prepared,
                    "unmasked_weights": unmasked,
                }
            )
            if device.type == "cuda":
                del run
                torch._dynamo.reset()
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
