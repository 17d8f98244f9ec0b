#!/usr/bin/env python3
"""Pixel CNN++ (Salimans, Karpathy, Chen, Kingma, arXiv:1701.05517) as one writes it in PyTorch: trained on our files, images in our layout.

    benches/peers/pixelcnn.py train jets.h5 --epochs 10 --out pixelcnn.pt      one line an epoch; --limit N for fewer images
    benches/peers/pixelcnn.py generate pixelcnn.pt --count 1000 --out p.h5     prints images a second; `sarm evaluate` reads the file
    benches/peers/pixelcnn.py speed --threads 1                                random weights, nothing written: a JSON object a line
    benches/peers/pixelcnn.py --check                                          on the CPU: both samplers agree, the network is causal

The network is that of openai/pixel-cnn: a stream of the rows above and one of the pixels to the left, shifted convolutions of 2 x 3 and
2 x 2, gated residual blocks with concat_elu, three resolutions (25, 13 and 7 pixels) with skip connections, convolutions with stride 2
down and transposed ones up, weight normalisation, data-dependent initialisation, and a bias of the class in each block. Sizes are those
to which the SARM paper (arXiv:2009.14017) compares: 20 filters and 3 blocks for jets; --filters 10 --blocks 5 for its muons. In this
layout these are 0.54 M parameters; that paper, which does not describe its layout, says 0.7 M.

Pixels (GeV) are one of 256 levels: 0 is zero, the others are logarithmic, 1e-3 to 285 GeV, 5 % each: in equal steps of 1.1 GeV more than
half of a jet's nonzero pixels would vanish. Their distribution is a mixture of 10 discretised logistics, as in the original. A drawn pixel
lies anywhere in its level. Adam (1e-3, 0.95, 0.9995), rate times 0.999995 a step, averaged weights (0.9995), no dropout.

Two samplers draw the same images: the naive one runs the whole network for each pixel; the other keeps each layer's state (Ramachandran
et al., arXiv:1704.06001): the stream of the rows above is computed once a row, with all that it and the row above add to the other
stream; a pixel costs one new column of each layer. `speed` prints both. The SARM paper has 50 images/s on 4 TITAN X. Needs torch, and
h5py for files.
"""

import argparse
import contextlib
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from common import MAXIMUM, OCCUPANCY, rate, say, write_images

COMPONENTS, LOWER, TOP = 10, 1e-3, 255
ABOVE, LEFT = (2, 3), (2, 2)
RESOLUTIONS = 3


def to_levels(images):
    place = torch.log(images.clamp(min=LOWER) / LOWER) / math.log(MAXIMUM / LOWER)
    return torch.where(images < LOWER, 0.0, 1 + (place * TOP).floor().clamp(max=TOP - 1))


def to_gev(levels, within):
    """`within` in [0, 1): where in its level a pixel lies."""
    return torch.where(levels == 0, 0.0, LOWER * (MAXIMUM / LOWER) ** ((levels - 1 + within) / TOP))


def concat_elu(x, dim=1):
    return F.elu(torch.cat([x, -x], dim), inplace=True)


class Convolution(torch.nn.Conv2d):
    """Reads this row and those above; of three columns the middle one is here, of two the right one."""

    def forward(self, x):
        height, width = self.kernel_size
        return super().forward(F.pad(x, (width // 2, (width - 1) // 2, height - 1, 0)))


class Upsampling(torch.nn.ConvTranspose2d):
    """Twice the rows and columns, less what an odd size has too many."""

    def forward(self, x, like):
        first = (self.kernel_size[1] - 1) // 2
        return super().forward(x)[:, :, : like.shape[2], first : first + like.shape[3]]


def convolution(channels, filters, kernel=(1, 1), stride=1):
    return weight_norm(Convolution(channels, filters, kernel, stride))


class Block(torch.nn.Module):
    def __init__(self, filters, kernel, skips):
        super().__init__()
        self.first = convolution(2 * filters, filters, kernel)
        self.skip = convolution(2 * filters * skips, filters) if skips else None
        self.second = convolution(2 * filters, 2 * filters, kernel)
        self.classes = torch.nn.Embedding(2, 2 * filters)
        torch.nn.init.normal_(self.classes.weight, std=0.05)

    def forward(self, x, signal, *skips):
        y = self.first(concat_elu(x))
        if skips:
            y = y + self.skip(torch.cat([concat_elu(skip) for skip in skips], 1))
        return x + F.glu(self.second(concat_elu(y)) + self.classes(signal)[:, :, None, None], 1)


class Resolution(torch.nn.Module):
    """The blocks of one resolution, down (before) and up (after) the lower one, which it holds."""

    def __init__(self, filters, blocks, left):
        super().__init__()
        of = lambda count, kernel, skips: torch.nn.ModuleList(Block(filters, kernel, skips) for _ in range(count))
        after = blocks + 1 if left else blocks
        self.above_down, self.left_down = of(blocks, ABOVE, 0), of(blocks, LEFT, 1)
        self.above_up, self.left_up = of(after, ABOVE, 1), of(after, LEFT, 2)
        self.lower = Resolution(filters, blocks, left - 1) if left else None
        if left:
            self.shrink_above, self.shrink_left = (convolution(filters, filters, kernel, 2) for kernel in (ABOVE, LEFT))
            self.grow_above, self.grow_left = (weight_norm(Upsampling(filters, filters, kernel, 2), dim=1) for kernel in (ABOVE, LEFT))

    def forward(self, above, left, signal):
        skips = [(above, left)]
        for block_above, block_left in zip(self.above_down, self.left_down):
            above = block_above(above, signal)
            left = block_left(left, signal, above)
            skips.append((above, left))
        if self.lower:
            lower = self.lower(self.shrink_above(above), self.shrink_left(left), signal)
            above, left = self.grow_above(lower[0], above), self.grow_left(lower[1], left)
        else:
            skips.pop()
        for block_above, block_left in zip(self.above_up, self.left_up):
            skip_above, skip_left = skips.pop()
            above = block_above(above, signal, skip_above)
            left = block_left(left, signal, above, skip_left)
        return above, left


class Network(torch.nn.Module):
    def __init__(self, size=25, filters=20, blocks=3):
        super().__init__()
        self.sizes = {"size": size, "filters": filters, "blocks": blocks}
        self.rows_above, self.row_above = convolution(2, filters, (2, 3)), convolution(2, filters, (1, 3))
        self.column_left = convolution(2, filters, (2, 1))
        self.resolutions = Resolution(filters, blocks, RESOLUTIONS - 1)
        self.numbers = convolution(filters, 3 * COMPONENTS)

    def forward(self, levels, signal):
        """Numbers of the mixture of each pixel, [images, numbers, rows, columns]."""
        x = levels[:, None] * (2 / TOP) - 1
        x = torch.cat([x, torch.ones_like(x)], 1)  # Ones tell the image from what is around it.
        down, right = (lambda y: F.pad(y, (0, 0, 1, -1))), (lambda y: F.pad(y, (1, -1)))
        left = down(self.row_above(x)) + right(self.column_left(x))
        return self.numbers(F.elu(self.resolutions(down(self.rows_above(x)), left, signal)[1]))

    @torch.no_grad()
    def initialise(self, levels, signal):
        """Scales and biases such that what a convolution gives for these images has mean 0 and variance 1, 0.01 before a gate."""

        def scale(layer, wanted):
            def hook(_, inputs, output):
                deviation, mean = torch.std_mean(output, (0, 2, 3))
                factor = wanted / (deviation + 1e-8)
                norm = layer.parametrizations.weight.original0
                norm.mul_(factor.view_as(norm))
                layer.bias.copy_((layer.bias - mean) * factor)
                return (output - mean[:, None, None]) * factor[:, None, None]

            return layer.register_forward_hook(hook)

        layers = [(name, layer) for name, layer in self.named_modules() if isinstance(layer, (Convolution, Upsampling))]
        hooks = [scale(layer, 0.1 if name.endswith(".second") else 1.0) for name, layer in layers]
        self(levels, signal)
        for hook in hooks:
            hook.remove()


def log_probability(levels, numbers, dim=1):
    """Of levels, under mixtures whose numbers lie along `dim`."""
    logits, mean, log_scale = numbers.chunk(3, dim)
    levels = levels.unsqueeze(dim)
    inverse = torch.exp(-log_scale.clamp(min=-7))
    low = (levels * (2 / TOP) - 1 - 1 / TOP - mean) * inverse
    width = (2 / TOP) * inverse
    # s(b) - s(a) = s(b) s(-a) (1 - exp(a - b)) for the logistic function s; the first and last level have no outer side.
    up, down, inner = F.logsigmoid(low + width), F.logsigmoid(-low), torch.log(-torch.expm1(-width))
    first, last = levels == 0, levels == TOP
    terms = torch.where(last, 0.0, up) + torch.where(first, 0.0, down) + torch.where(first | last, 0.0, inner)
    return torch.logsumexp(F.log_softmax(logits, dim) + terms, dim)


def pick(numbers, chances):
    """Levels of one pixel of all images: numbers [numbers, images], two chances each."""
    logits, mean, log_scale = numbers.chunk(3)
    which = (F.softmax(logits, 0).cumsum(0) < chances[0]).sum(0, keepdim=True).clamp(max=COMPONENTS - 1)
    value = mean.gather(0, which) + log_scale.gather(0, which).clamp(min=-7).exp() * torch.logit(chances[1])
    return ((value[0] + 1) * (TOP / 2)).round().clamp(0, TOP)


@torch.inference_mode()
def naive(network, signal, chances):
    """A whole pass for each pixel. `chances` are [2, rows, columns, images]."""
    _, rows, columns, images = chances.shape
    levels = chances.new_zeros(images, rows, columns)
    with parametrize.cached():
        for row in range(rows):
            for column in range(columns):
                levels[:, row, column] = pick(network(levels, signal)[:, :, row, column].T, chances[:, row, column])
    return levels


# State of the cached sampler. All is [columns, channels, images]: neighbours of a pixel are then one matrix, and images lie side by side.


def times(weight, columns, bias):
    """The same matrix for each column."""
    return torch.baddbmm(bias, weight.expand(len(columns), -1, -1), columns)


def windows(seen, columns, stride):
    """A view of `seen` as matrices of so many neighbouring columns, each `stride` further."""
    one, images = seen[0].numel(), seen.shape[-1]
    count = (len(seen) - columns) // stride + 1
    return seen.as_strided((count, columns * one // images, images), (stride * one, images, 1))


class Rows:
    """A convolution of the stream of the rows above: a whole row at a time."""

    def __init__(self, layer, width, images):
        self.weight, self.bias = layer.weight.permute(0, 3, 2, 1).flatten(1), layer.bias[:, None]
        self.seen = self.bias.new_zeros(width + 2, layer.kernel_size[0], layer.in_channels, images)
        self.windows = windows(self.seen, 3, layer.stride[0])

    def push(self, row):
        self.seen[:, :-1] = self.seen[:, 1:]
        self.seen[1:-1, -1] = row
        return self

    def row(self):
        return times(self.weight, self.windows, self.bias)


class Columns:
    """A convolution of the other stream: what the row above adds is computed with the row, then a column at a time."""

    def __init__(self, layer, width, images):
        (self.upper, self.weight), self.bias = layer.weight.permute(2, 0, 3, 1).flatten(2), layer.bias[:, None]
        self.seen = self.bias.new_zeros(width + 1, layer.in_channels, images)
        self.windows, self.here = windows(self.seen, 2, layer.stride[0]), self.seen[1:].unbind()
        self.pairs = self.windows.unbind()

    def start(self, more=0.0):
        self.known = times(self.upper, self.windows, self.bias + more).unbind()

    def put(self, column, value):
        """concat_elu of value."""
        there = torch.cat([value, -value], out=self.here[column])
        return F.elu(there, inplace=True)

    def at(self, column):
        return torch.addmm(self.known[column], self.weight, self.pairs[column])


class BlockRows:
    def __init__(self, block, width, images, signal):
        self.first, self.second = (Rows(layer, width, images) for layer in (block.first, block.second))
        self.skip = block.skip and (block.skip.weight.flatten(1), block.skip.bias[:, None])
        self.condition = block.classes(signal).T

    def row(self, x, skip=None):
        y = self.first.push(concat_elu(x)).row()
        if skip is not None:
            y += times(self.skip[0], concat_elu(skip), self.skip[1])
        return x + F.glu(self.second.push(concat_elu(y)).row() + self.condition, 1)


class BlockColumns:
    def __init__(self, block, width, images, signal):
        self.first, self.second = (Columns(layer, width, images) for layer in (block.first, block.second))
        weight = block.skip.weight.flatten(1)
        self.of_above, self.of_skip = weight[:, : block.first.in_channels], weight[:, block.first.in_channels :]
        self.bias, self.condition = block.skip.bias[:, None], block.classes(signal).T

    def start(self, above):
        self.first.start(times(self.of_above, concat_elu(above), self.bias))
        self.second.start(self.condition)

    def at(self, column, x, skip=None):
        """`skip` and what is put are after concat_elu."""
        self.first.put(column, x)
        y = self.first.at(column)
        if skip is not None:
            y.addmm_(self.of_skip, skip)
        self.second.put(column, y)
        return F.glu(self.second.at(column), 0).add_(x)


class ResolutionState:
    def __init__(self, resolution, width, images, signal):
        of = lambda state, blocks: [state(block, width, images, signal) for block in blocks]
        self.above_down, self.left_down = of(BlockRows, resolution.above_down), of(BlockColumns, resolution.left_down)
        self.above_up, self.left_up = of(BlockRows, resolution.above_up), of(BlockColumns, resolution.left_up)
        self.lower, self.width = None, width
        if resolution.lower:
            self.shrink_above = Rows(resolution.shrink_above, width, images)
            self.shrink_left = Columns(resolution.shrink_left, width, images)
            grow = lambda layer: (layer.weight.permute(2, 3, 1, 0), layer.bias[:, None])
            self.grow_above, self.grow_left = grow(resolution.grow_above), grow(resolution.grow_left)
            self.lower = ResolutionState(resolution.lower, (width + 1) // 2, images, signal)
            self.of_lower = [None] * self.lower.width

    def row(self, row, above):
        """The stream of the rows above, and all that it adds to the other one in this row."""
        skips = [above]
        for block_above, block_left in zip(self.above_down, self.left_down):
            above = block_above.row(above)
            block_left.start(above)
            skips.append(above)
        if self.lower:
            self.shrink_above.push(above)
            if row % 2 == 0:
                self.shrink_left.start()
                self.above_of_lower = self.lower.row(row // 2, self.shrink_above.row())
            # Column c is 2 j + tap - 1: an even one has the middle tap, an odd one the last tap of its left and the first of its right.
            weight, bias = self.grow_above[0][row % 2], self.grow_above[1]
            here, above = self.above_of_lower, torch.empty_like(above)
            above[::2] = times(weight[1], here, bias)
            above[1::2] = times(weight[2], here, bias)[: self.width // 2]
            right = here[1:] if self.width % 2 else F.pad(here[1:], (0, 0, 0, 0, 0, 1))
            above[1::2] += weight[0] @ right
        else:
            skips.pop()
        for block_above, block_left in zip(self.above_up, self.left_up):
            above = block_above.row(above, skips.pop())
            block_left.start(above)
        return above

    def at(self, row, column, left):
        for block in self.left_down:
            left = block.at(column, left)
        skips = [block.first.here[column] for block in self.left_down]
        if self.lower:
            skips.append(concat_elu(left, 0))
            self.shrink_left.here[column].copy_(left)
            half = column // 2
            if row % 2 == 0 and column % 2 == 0:
                self.of_lower[half] = self.lower.at(row // 2, half, self.shrink_left.at(half))
            left = torch.addmm(self.grow_left[1], self.grow_left[0][row % 2, column % 2], self.of_lower[half])
        for block in self.left_up:
            left = block.at(column, left, skips.pop())
        return left


@torch.inference_mode()
def cached(network, signal, chances):
    """The images of `naive`, each layer's state kept: a pixel is one column of each layer."""
    _, rows, columns, images = chances.shape
    state = ResolutionState(network.resolutions, columns, images, signal)
    rows_above, row_above = (Rows(layer, columns, images) for layer in (network.rows_above, network.row_above))
    (upper, here), bias = network.column_left.weight.permute(2, 0, 3, 1).flatten(2), network.column_left.bias[:, None]
    weight, numbers_bias = network.numbers.weight.flatten(1), network.numbers.bias[:, None]
    # A row and a column of zeros around the image; the second channel tells it from these.
    shown = chances.new_zeros(rows + 1, columns + 1, 2, images)
    shown[1:, 1:, 1] = 1
    levels, nothing = chances.new_empty(rows, columns, images), chances.new_zeros(columns, len(bias), images)
    for row in range(rows):
        above, left = (layer.push(shown[row, 1:]).row() if row else nothing.clone() for layer in (rows_above, row_above))
        left[1:] += times(upper, shown[row, 1:-1], bias)
        state.row(row, above)
        for column in range(columns):
            x = torch.addmm(left[column], here, shown[row + 1, column])
            numbers = torch.addmm(numbers_bias, weight, F.elu(state.at(row, column, x), inplace=True))
            level = pick(numbers, chances[:, row, column])
            levels[row, column] = level
            shown[row + 1, column + 1, 0] = level * (2 / TOP) - 1
    return levels.permute(2, 0, 1)


class Training:
    def __init__(self, network, device):
        self.network = network.to(device)
        self.adam = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.95, 0.9995))
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.adam, 0.999995)
        self.average = {name: value.detach().clone() for name, value in network.state_dict().items()}
        self.steps = 0

    def step(self, levels, signal):
        """Nats an image."""
        self.adam.zero_grad(set_to_none=True)
        loss = -log_probability(levels, self.network(levels, signal)).sum() / len(levels)
        loss.backward()
        self.adam.step()
        self.schedule.step()
        self.steps += 1
        # A shorter memory at first: the average then does not remember where training began.
        share = 1 - min(0.9995, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.average.values()), [value.detach() for value in self.network.state_dict().values()], share)
        return loss.item()


def train(arguments):
    import h5py

    torch.set_num_threads(arguments.threads)
    with h5py.File(arguments.data) as file:
        rows = slice(None, arguments.limit)
        levels = to_levels(torch.tensor(file["image"][rows]).float())
        signal = torch.tensor(file["signal"][rows]).long()
    device = torch.device(arguments.device)
    torch.manual_seed(arguments.seed)
    network = Network(levels.shape[1], arguments.filters, arguments.blocks).to(device)
    first = torch.randperm(len(levels))[:100]
    network.initialise(levels[first].to(device), signal[first].to(device))
    training, started = Training(network, device), time.monotonic()
    for epoch in range(arguments.epochs):
        order, losses, of_epoch = torch.randperm(len(levels)), [], time.monotonic()
        for batch in order.split(arguments.batch)[: len(levels) // arguments.batch]:
            losses.append(training.step(levels[batch].to(device), signal[batch].to(device)))
        now, loss = time.monotonic(), statistics.mean(losses)
        bits = loss / math.log(2) / levels[0].numel()
        rate = len(losses) * arguments.batch / (now - of_epoch)
        say({"epoch": epoch + 1, "images": len(levels), "nll": loss, "bits_per_pixel": bits, "seconds": now - started, "images_per_second": rate})
        torch.save({"sizes": network.sizes, "weights": training.average}, arguments.out)


def generate(arguments):
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    model = torch.load(arguments.model, weights_only=True, map_location=device)
    network = Network(**model["sizes"]).to(device).requires_grad_(False)
    network.load_state_dict(model["weights"])
    started, made, classes, size = time.monotonic(), [], [], model["sizes"]["size"]
    torch.manual_seed(arguments.seed)
    for first in range(0, arguments.count, arguments.batch):
        images = min(arguments.batch, arguments.count - first)
        signal = torch.randint(2, (images,), device=device)
        if arguments.signal is not None:
            signal.fill_(arguments.signal)
        levels = cached(network, signal, torch.rand(2, size, size, images, device=device))
        made.append(to_gev(levels, torch.rand_like(levels)).cpu())
        classes.append(signal.float().cpu())
    seconds = time.monotonic() - started
    write_images(arguments.out, torch.cat(made), torch.cat(classes))
    say({"images": arguments.count, "images_per_second": arguments.count / seconds})


def speed(arguments):
    """Images a second: of the process' own time on the CPU, of the clock on a card. The naive sampler's is that of one pass, by pixels."""
    torch.set_num_threads(arguments.threads)
    device, size = torch.device(arguments.device), arguments.size
    cuda = device.type == "cuda"
    network = Network(size, arguments.filters, arguments.blocks).to(device)
    levels = to_levels(torch.rand(100, size, size) * (torch.rand(100, size, size) < OCCUPANCY)).to(device)
    signal = torch.randint(2, (100,), device=device)
    network.initialise(levels, signal)
    training = Training(network, device)
    parameters = sum(p.numel() for p in network.parameters())
    name = torch.cuda.get_device_name() if cuda else "cpu"
    say({"torch": torch.__version__, "device": name, "threads": arguments.threads, "parameters": parameters, **network.sizes})

    def one_pass(batch):
        shown, classes = levels[torch.arange(batch) % 100], signal[torch.arange(batch) % 100]
        chances = torch.rand(2, batch, device=device)

        def run():
            with torch.inference_mode():
                pick(network(shown, classes)[:, :, 0, 0].T, chances)

        return run, batch / size**2

    def whole(batch):
        classes = signal[torch.arange(batch) % 100]
        return lambda: cached(network, classes, torch.rand(2, size, size, batch, device=device)), batch

    runs = {("training", 100): (lambda: training.step(levels, signal), 100)}
    runs |= {("naive", batch): one_pass(batch) for batch in arguments.batch}
    runs |= {("cached", batch): whole(batch) for batch in arguments.batch}
    for (what, batch), (run, images) in runs.items():
        # A naive drawing normalises its weights once.
        with parametrize.cached() if what == "naive" else contextlib.nullcontext():
            run()
            rates = [rate(run, images, arguments.seconds, device) for _ in range(arguments.rounds)]
        say({"what": what, "batch": batch, "images_per_second": statistics.median(rates)})


def check():
    torch.set_num_threads(1)
    torch.manual_seed(1)
    # Levels: zero stays zero, others come back to within their level.
    gev = torch.tensor([0, 5e-4, 1e-3, 0.4, 1.0, 100.0, 284.9, 400])
    back = to_gev(to_levels(gev), torch.full((8,), 0.5))
    assert back[:2].tolist() == [0, 0] and ((back[2:-1] / gev[2:-1]).log().abs() < 0.025).all() and back[-1] < MAXIMUM
    assert torch.equal(to_levels(to_gev(torch.arange(256.0), torch.rand(256))), torch.arange(256.0))
    # Probabilities of all levels sum to 1, broad and narrow, inside and outside; drawn levels have them.
    numbers = torch.randn(3 * COMPONENTS, 500, dtype=torch.float64) * torch.tensor([2.0, 1.0, 4.0]).repeat_interleave(COMPONENTS)[:, None]
    of_levels = log_probability(torch.arange(256, dtype=torch.float64)[:, None].expand(-1, 500), numbers.expand(256, -1, -1)).exp()
    assert ((of_levels.sum(0) - 1).abs() < 1e-9).all()
    drawn = pick(numbers[:, :1].expand(-1, 200_000), torch.rand(2, 200_000, dtype=torch.float64)).long()
    assert (torch.bincount(drawn, minlength=256) / 200_000 - of_levels[:, 0]).abs().max() < 0.005
    for size, filters, blocks in ((25, 3, 1), (8, 3, 3), (7, 4, 2), (6, 3, 1), (5, 3, 1)):
        images, signal = 2, torch.tensor([0, 1])
        network = Network(size, filters, blocks).double().requires_grad_(False)
        shown = torch.randint(256, (images, size, size)).double() * (torch.rand(images, size, size) < 0.5)
        network.initialise(shown, signal)
        # Causal: what a pixel is changes nothing before it, nor there, but something after it.
        before = network(shown, signal)
        assert before.shape == (images, 3 * COMPONENTS, size, size)
        for place in {0, 1, size, size * (size // 2) + size // 2, size * size - 2, size * size - 1, *torch.randint(size * size, (4,)).tolist()}:
            other = shown.clone()
            other.flatten(1)[:, place] = (other.flatten(1)[:, place] + 100) % 256
            changed = (network(other, signal) != before).any(1).any(0).flatten()
            assert not changed[: place + 1].any() and (place == size * size - 1 or changed[place + 1 :].any()), (size, place)
        assert not torch.equal(before, network(shown, 1 - signal))
        chances = torch.rand(2, size, size, images, dtype=torch.float64)
        levels = naive(network, signal, chances)
        assert torch.equal(levels, cached(network, signal, chances)), size
        assert len(levels.unique()) > 10 and (levels[0] != levels[1]).any()
    network = Network()
    parameters = sum(p.numel() for p in network.parameters())
    images = torch.rand(6, 25, 25) * 100 * (torch.rand(6, 25, 25) < OCCUPANCY)
    levels, signal = to_levels(images), torch.randint(2, (6,))
    network.initialise(levels, signal)
    training = Training(network, "cpu")
    losses = [training.step(levels, signal) for _ in range(6)]
    assert losses[-1] < losses[0], losses
    say({"check": "pixelcnn", "parameters": parameters, "nll": [losses[0], losses[-1]]})


def main():
    if "--check" in sys.argv:
        return check()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    ways = parser.add_subparsers(dest="way", required=True)
    train_way, generate_way, speed_way = (ways.add_parser(name) for name in ("train", "generate", "speed"))
    for way in (train_way, generate_way, speed_way):
        way.add_argument("--threads", type=int, default=torch.get_num_threads() if way is not speed_way else 1)
    for way in (train_way, speed_way):
        way.add_argument("--filters", type=int, default=20)
        way.add_argument("--blocks", type=int, default=3)
    for way in (train_way, generate_way):
        way.add_argument("--seed", type=int, default=0)
        way.add_argument("--out", required=True)
    train_way.add_argument("data")
    train_way.add_argument("--epochs", type=int, default=10)
    train_way.add_argument("--limit", type=int)
    train_way.add_argument("--batch", type=int, default=100)
    generate_way.add_argument("model")
    generate_way.add_argument("--count", type=int, required=True)
    generate_way.add_argument("--signal", type=int, choices=(0, 1))
    generate_way.add_argument("--batch", type=int, default=100)
    speed_way.add_argument("--seconds", type=float, default=2)
    speed_way.add_argument("--rounds", type=int, default=5)
    speed_way.add_argument("--size", type=int, default=25)
    speed_way.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64, 256])
    arguments = parser.parse_args()
    {"train": train, "generate": generate, "speed": speed}[arguments.way](arguments)


if __name__ == "__main__":
    main()
