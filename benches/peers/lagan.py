#!/usr/bin/env python3
"""LAGAN (de Oliveira, Paganini, Nachman, arXiv:1701.05927) as one writes it in PyTorch: trained on our files, images in our layout.

    benches/peers/lagan.py train jets.h5 --epochs 50 --out lagan.pt      one line an epoch; --limit N for fewer images
    benches/peers/lagan.py generate lagan.pt --count 100000 --out l.h5   prints images a second; `sarm evaluate` reads the file
    benches/peers/lagan.py speed --threads 1                             random weights, nothing written: a JSON object a line
    benches/peers/lagan.py --check                                       on the CPU: shapes, sizes, a few steps

The recipe is that of hep-lbdl/adversarial-jets: 200 normal numbers times an embedding of the class, layers whose weights differ from
place to place, minibatch discrimination (20 features of 10 numbers), a second head that tells the class, labels flipped with 5 and 9 %,
Adam (2e-4, 0.5), batches of 100, images in units of 100 GeV, pixels below 1e-3 GeV zero. Paper: 470 images/s on a laptop's CPU,
7 200 on a K80. Needs torch, and h5py for files.
"""

import argparse
import statistics
import sys
import time

import torch
import torch.nn.functional as F

from common import OCCUPANCY, rate, say, write_images

LATENTS, UNIT, LOWER = 200, 100.0, 1e-3


class Local(torch.nn.Module):
    """A convolution whose weights differ from place to place."""

    def __init__(self, channels, filters, size, side, stride=1, padding=0, bias=True):
        super().__init__()
        self.side, self.stride, self.padding = side, stride, padding
        self.out = (size + 2 * padding - side) // stride + 1
        fan = channels * side * side
        self.weight = torch.nn.Parameter(torch.empty(self.out**2, fan, filters).uniform_(-1, 1) * (6 / (fan + filters)) ** 0.5)
        self.bias = torch.nn.Parameter(torch.zeros(self.out**2, filters)) if bias else None

    def forward(self, x):
        # Places first: each has a matrix product of its own. Unfolding windows and turning them round takes three times as long.
        x = F.pad(x, (self.padding,) * 4).permute(2, 3, 0, 1).contiguous()
        weights = self.weight.unflatten(1, (self.side, self.side, -1))
        y = None
        for i in range(self.side):
            for j in range(self.side):
                rows, columns = (slice(at, at + self.stride * (self.out - 1) + 1, self.stride) for at in (i, j))
                term = torch.bmm(x[rows, columns].flatten(0, 1), weights[:, i, j])
                y = term if y is None else y + term
        if self.bias is not None:
            y = y + self.bias[:, None]
        return y.permute(1, 2, 0).unflatten(2, (self.out, self.out))


class Generator(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = torch.nn.Embedding(2, LATENTS)
        self.dense = torch.nn.Linear(LATENTS, 7 * 7 * 128)
        self.first, self.norm_1 = torch.nn.Conv2d(128, 64, 5, padding=2), torch.nn.BatchNorm2d(64)
        self.second, self.norm_2 = Local(64, 6, 14, 5, padding=2), torch.nn.BatchNorm2d(6)
        self.third, self.fourth = Local(6, 6, 28, 3), Local(6, 1, 26, 2, bias=False)

    def forward(self, z, signal):
        x = self.dense(z * self.classes(signal)).unflatten(1, (128, 7, 7))
        x = F.interpolate(self.norm_1(F.leaky_relu(self.first(x), 0.3)), scale_factor=2)
        x = F.interpolate(self.norm_2(F.leaky_relu(self.second(x), 0.3)), scale_factor=2)
        return F.relu(self.fourth(F.leaky_relu(self.third(x), 0.3)))


class Discriminator(torch.nn.Module):
    def __init__(self, features=20, numbers=10):
        super().__init__()
        self.first = torch.nn.Conv2d(1, 32, 5, padding=2)
        self.second, self.norm_2 = Local(32, 8, 25, 5, 2, 2), torch.nn.BatchNorm2d(8)
        self.third, self.norm_3 = Local(8, 8, 13, 5, 1, 2), torch.nn.BatchNorm2d(8)
        self.fourth, self.norm_4 = Local(8, 8, 13, 3, 2, 1), torch.nn.BatchNorm2d(8)
        self.minibatch = torch.nn.Linear(8 * 3 * 3, features * numbers, bias=False)
        self.shape = (features, numbers)
        self.heads = torch.nn.Linear(8 * 3 * 3 + features, 2)

    def forward(self, x):
        x = F.dropout(F.leaky_relu(self.first(x), 0.3), 0.2, self.training)
        for layer, norm in ((self.second, self.norm_2), (self.third, self.norm_3), (self.fourth, self.norm_4)):
            x = norm(F.leaky_relu(layer(x), 0.3))
        x = F.avg_pool2d(x, 2).flatten(1)
        # How near an image's features are to those of the others of its batch.
        m = self.minibatch(x).unflatten(1, self.shape)
        near = torch.exp(-(m[:, None] - m[None]).abs().sum(3)).sum(1)
        return self.heads(torch.cat([x, near], dim=1)).unbind(1)


def noise(count, device="cpu"):
    return torch.randn(count, LATENTS, device=device), torch.randint(2, (count,), device=device)


class Training:
    def __init__(self, device="cpu"):
        self.generator, self.discriminator = Generator().to(device), Discriminator().to(device)
        adam = lambda network: torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.adams = adam(self.generator), adam(self.discriminator)
        self.device = device

    def loss(self, images, signal, wanted):
        real, of_class = self.discriminator(images)
        return F.binary_cross_entropy_with_logits(real, wanted) + F.binary_cross_entropy_with_logits(of_class, signal.float())

    def step(self, images, signal):
        count = len(images)
        flipped = lambda label, chance: (torch.rand(count, device=self.device) < chance).float() * (1 - 2 * label) + label
        z, wanted = noise(count, self.device)
        with torch.no_grad():
            made = self.generator(z, wanted)
        self.adams[1].zero_grad(set_to_none=True)
        of_discriminator = self.loss(images, signal, flipped(1.0, 0.05)) + self.loss(made, wanted, flipped(0.0, 0.05))
        of_discriminator.backward()
        self.adams[1].step()
        # As many images for the generator as the discriminator has seen.
        self.adams[0].zero_grad(set_to_none=True)
        of_generator = 0
        for _ in range(2):
            z, wanted = noise(count, self.device)
            told = torch.where(torch.rand(count, device=self.device) < 0.09, 1 - wanted, wanted)
            of_generator = of_generator + self.loss(self.generator(z, wanted), told, torch.ones(count, device=self.device))
        of_generator.backward()
        self.adams[0].step()
        return of_discriminator.item(), of_generator.item()


def train(arguments):
    import h5py

    with h5py.File(arguments.data) as file:
        rows = slice(None, arguments.limit)
        images = torch.tensor(file["image"][rows]).reshape(-1, 1, 25, 25).float()
        signal = torch.tensor(file["signal"][rows]).long()
    images = torch.where(images < LOWER, 0.0, images) / UNIT
    device = torch.device(arguments.device)
    training, started = Training(device), time.monotonic()
    for epoch in range(arguments.epochs):
        order, losses = torch.randperm(len(images)), []
        for batch in order.split(100)[: len(images) // 100]:
            losses.append(training.step(images[batch].to(device), signal[batch].to(device)))
        of_discriminator, of_generator = (statistics.mean(side) for side in zip(*losses))
        seconds = time.monotonic() - started
        say({"epoch": epoch + 1, "images": len(images), "discriminator": of_discriminator, "generator": of_generator, "seconds": seconds})
        torch.save(training.generator.state_dict(), arguments.out)


def generate(arguments):
    device = torch.device(arguments.device)
    generator = Generator().to(device).eval()
    generator.load_state_dict(torch.load(arguments.model, weights_only=True, map_location=device))
    started, made, classes = time.monotonic(), [], []
    torch.manual_seed(arguments.seed)
    with torch.no_grad():
        for first in range(0, arguments.count, 1000):
            z, signal = noise(min(1000, arguments.count - first), device)
            if arguments.signal is not None:
                signal.fill_(arguments.signal)
            images = generator(z, signal)[:, 0] * UNIT
            made.append(torch.where(images < LOWER, 0.0, images).cpu())
            classes.append(signal.float().cpu())
    seconds = time.monotonic() - started
    write_images(arguments.out, torch.cat(made), torch.cat(classes))
    say({"images": arguments.count, "images_per_second": arguments.count / seconds})


def speed(arguments):
    """Images a second: of the process' own time on the CPU, of the clock on a card."""
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    cuda = device.type == "cuda"
    training = Training(device)
    generator = training.generator.eval()

    def draw(count):
        with torch.no_grad():
            generator(*noise(count, device))

    say({"torch": torch.__version__, "device": torch.cuda.get_device_name() if cuda else "cpu", "threads": arguments.threads,
         "parameters": sum(p.numel() for p in generator.parameters())})
    images = torch.rand(100, 1, 25, 25, device=device) * (torch.rand(100, 1, 25, 25, device=device) < OCCUPANCY)
    signal = torch.randint(2, (100,), device=device)
    runs = {("drawing", batch): (lambda batch=batch: draw(batch)) for batch in (64, 1000)}
    runs["training", 100] = lambda: training.step(images, signal)
    for (what, batch), run in runs.items():
        run()
        rates = [rate(run, batch, arguments.seconds, device) for _ in range(5)]
        say({"what": what, "batch": batch, "images_per_second": statistics.median(rates)})


def check():
    torch.manual_seed(1)
    training = Training()
    z, signal = noise(6)
    made = training.generator(z, signal)
    assert made.shape == (6, 1, 25, 25) and made.min() >= 0
    # A layer of its own weights at each place is a convolution where these are the same.
    local, plain = Local(3, 4, 9, 3, 2, 1), torch.nn.Conv2d(3, 4, 3, 2, 1, bias=False)
    local.weight.data[:] = plain.weight.data.permute(2, 3, 1, 0).flatten(0, 2)
    x = torch.randn(2, 3, 9, 9)
    assert torch.allclose(local(x), plain(x), atol=1e-5)
    images = torch.rand(20, 1, 25, 25) * (torch.rand(20, 1, 25, 25) < OCCUPANCY)
    losses = [training.step(images, torch.randint(2, (20,)))[0] for _ in range(12)]
    assert losses[-1] < losses[0], losses
    say({"check": "lagan", "discriminator": [losses[0], losses[-1]]})


def main():
    if "--check" in sys.argv:
        return check()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    ways = parser.add_subparsers(dest="way", required=True)
    way = ways.add_parser("train")
    way.add_argument("data")
    way.add_argument("--epochs", type=int, default=50)
    way.add_argument("--limit", type=int)
    way.add_argument("--out", required=True)
    way = ways.add_parser("generate")
    way.add_argument("model")
    way.add_argument("--count", type=int, required=True)
    way.add_argument("--signal", type=int, choices=(0, 1))
    way.add_argument("--seed", type=int, default=0)
    way.add_argument("--out", required=True)
    way = ways.add_parser("speed")
    way.add_argument("--threads", type=int, default=1)
    way.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    {"train": train, "generate": generate, "speed": speed}[arguments.way](arguments)


if __name__ == "__main__":
    main()
