#!/usr/bin/env python3
"""The networks of configs/paper/jets-dc.toml and jets-dd.toml, drawn from in PyTorch: speed, on this machine.

    benches/peers/sample.py                  on the card
    benches/peers/sample.py --seconds 60     stop to begin new measurements after that long
    benches/peers/sample.py --check          on the CPU: all ways draw the same images from the same random numbers

Prints a JSON object a line, as soon as it is measured. Images stay on the card, dense; random numbers are drawn within the time,
compilation and recording are not. Weights are masked once, before.

    naive-tf32, naive-bf16    the papers' loop: a full forward pass of a stage for every pixel
    graph                     exact and incremental, as docs/sampling.md: history as matrix products, the steps inside a block one
                              after another, the whole image one CUDA graph; bfloat16 weights, activations and sums of the history
    graph-gate-first          the same, values drawn for the images whose gate opened: room for as many as a run before had, and a
                              test afterwards that it was enough
    compiled-graph            the same with what a pixel needs, from its units to its value, compiled into one kernel: PyTorch's best
                              (D+D: values by gate first)
"""

import argparse
import time

import torch
import torch.nn.functional as F

from common import COMPONENTS, JETS, LEVELS, MAXIMUM, OCCUPANCY, Network, Sizes, elapsed, say

OUTER, INNER = 64, 8  # pixels: of a block of the history, and of a block whose steps are done one after another


def network(kind, sizes, device, dtype):
    """Random weights, masked; about OCCUPANCY of the pixels are drawn nonzero."""
    torch.manual_seed(1)
    made = Network(kind, sizes)
    with torch.no_grad():
        for stage in made.stages:
            for layer in [stage.input, *stage.hidden, stage.gate, stage.value]:
                layer.weight.mul_(layer.mask)
                layer.mask.fill_(1.0)
                layer.bias.add_(0.1 * torch.randn_like(layer.bias))
            stage.gate.bias.add_(torch.tensor(1.0 / OCCUPANCY - 1.0).log())
            if stage.levels:
                stage.levels.bias.sub_(torch.arange(LEVELS) / 3.0)
    return made.to(device, dtype).requires_grad_(False)


def mixture_value(value, pick, place):
    """D+C: GeV of nonzero pixels from their 3 K numbers, rows of images, and two uniform numbers: a component, then its quantile."""
    logits, means, scales = value[:COMPONENTS], value[COMPONENTS : 2 * COMPONENTS], value[2 * COMPONENTS :]
    # Written out, as scans would be kernels of their own.
    largest = logits[0]
    for logit in logits[1:]:
        largest = torch.maximum(largest, logit)
    weights = [torch.exp(logit - largest) for logit in logits]
    total = sum(weights)
    mean, log_scale, below = means[0], scales[0], weights[0]
    for k in range(1, COMPONENTS):
        later = pick * total >= below
        mean, log_scale = torch.where(later, means[k], mean), torch.where(later, scales[k], log_scale)
        below = below + weights[k]
    scale = torch.exp(log_scale.clamp(-9, 9))
    zero = torch.sigmoid(-mean / scale)  # what the truncation cuts off
    quantile = (zero + place * (1.0 - zero)).clamp(1e-7, 1.0 - 1e-7)
    return (mean + scale * (torch.log(quantile) - torch.log1p(-quantile))).clamp(min=1e-6)


def level_value(value, pick, weight, bias):
    """D+D: GeV of nonzero pixels from their latents, [U, images], and a uniform number."""
    logits = torch.addmm(bias[:, None], weight, value).to(pick.dtype)
    below = torch.softmax(logits, 0).cumsum(0)
    level = (below < pick * below[-1]).sum(0)
    return (level + 1).to(pick.dtype) * (MAXIMUM / LEVELS)


def pixel_value(value, uniform, levels):
    """GeV of nonzero pixels from their numbers and uniform numbers; levels: D+D's map and its bias, None for D+C."""
    if levels is None:
        return mixture_value(value.to(uniform.dtype), uniform[1], uniform[2])
    return level_value(value, uniform[1], *levels)


def value_where_open(opens, value, uniform, levels, room):
    """GeV of a pixel in all images, computed in at most `room` of them; and a number below the count of images if that was too few."""
    images = len(opens)
    # A fixed room, so that a graph can be recorded; what is left over goes to an image beyond the last.
    at = torch.nonzero_static(opens, size=room, fill_value=images).squeeze(1)
    taken = at.clamp(max=images - 1)
    x = pixel_value(value[:, taken], uniform[:, taken], levels)
    return torch.zeros(images + 1, device=x.device, dtype=x.dtype).index_copy(0, at, x)[:-1], at[-1]


class Naive:
    """Full forward passes."""

    def __init__(self, network):
        self.network = network

    def draw(self, uniform):
        """Images [pixels, images] in GeV from uniform numbers [pixels, 3, images]: gate, component or level, quantile."""
        pixels, _, images = uniform.shape
        shown = torch.zeros(images, pixels, device=uniform.device, dtype=self.network.stages[0].gate.bias.dtype)
        drawn = torch.zeros(pixels, images, device=uniform.device, dtype=uniform.dtype)
        for stage in self.network.stages:
            for i in range(stage.n):
                place = stage.earlier + i
                gate, value = stage.numbers(shown)
                opens = uniform[place, 0] >= torch.sigmoid(gate[:, i].to(uniform.dtype))
                x = pixel_value(value[:, i].T.contiguous(), uniform[place], stage.map())
                drawn[place] = torch.where(opens, x, 0.0)
                shown[:, place] = torch.log1p(drawn[place]).to(shown.dtype)
        return drawn


def gelu(x):
    return F.gelu(x, approximate="tanh")


def pixel_numbers(sums, history, seen, weights, own):
    """A pixel's units, layer after layer, then its numbers, all of them rows of images, in blocks with one unit a pixel.

    sums: what finished blocks give each row; history, seen: layers and pixels of this block, of which weights [rows, INNER] take what
    is finished; own [rows]: weights of the unit just computed.
    """

    def add(sum, row, finished):
        # Written out, as a reduction would be a kernel of its own.
        for weight, of in zip(weights[row], finished):
            sum = sum + weight * of
        return sum

    units = [gelu(add(sums[0], 0, seen))]
    layers = len(history)
    for layer in range(1, layers):
        units.append(gelu(add(sums[layer], layer, history[layer - 1]) + own[layer] * units[-1]))
    numbers = [add(z, layers + r, history[-1]) + own[layers + r] * units[-1] for r, z in enumerate(sums[layers])]
    return units, numbers


def pixel_of_dc(sums, history, seen, weights, own, uniform):
    """The same to its end: units, GeV, and what the next pixels are shown."""
    units, numbers = pixel_numbers(sums, history, seen, weights, own)
    gate, value = numbers[0].to(uniform.dtype), [number.to(uniform.dtype) for number in numbers[1:]]
    x = torch.where(uniform[0] >= torch.sigmoid(gate), mixture_value(value, uniform[1], uniform[2]), 0.0)
    return [unit.to(seen.dtype) for unit in units], x, torch.log1p(x).to(seen.dtype)


def pixel_of_dd(sums, history, seen, weights, own, uniform):
    """Units, whether the gate opens, latents."""
    units, numbers = pixel_numbers(sums, history, seen, weights, own)
    opens = uniform[0] >= torch.sigmoid(numbers[0].to(uniform.dtype))
    return [unit.to(seen.dtype) for unit in units], opens, torch.stack(numbers[1:]).to(seen.dtype)


class Incremental:
    """Each unit once: a triangular solve in blocks, images along the rows of every matrix."""

    def __init__(self, network, kind, images, rooms=None, compiled=False):
        """rooms: for how many images each pixel's value is drawn, None: for all."""
        self.network, self.kind, self.rooms = network, kind, rooms
        self.device, self.dtype = network.stages[0].gate.bias.device, network.stages[0].gate.bias.dtype
        self.pixels = sum(stage.n for stage in network.stages)
        # Where the pixels of each stage are shown: from a multiple of 16 bytes on, as tensor cores want their columns.
        starts = [0]
        for stage in network.stages:
            starts.append((starts[-1] + stage.n + 7) // 8 * 8)
        row = lambda rows, dtype=self.dtype: torch.zeros(rows, images, device=self.device, dtype=dtype)
        self.shown, self.images = row(starts[-1]), images
        self.drawn = row(self.pixels, torch.float64 if self.dtype == torch.float64 else torch.float32)
        # The last image whose value each pixel had room for: none, if the room was enough.
        self.last = torch.full((self.pixels,), images, device=self.device)
        self.compiled, self.where_open = None, value_where_open
        if compiled:
            torch._dynamo.config.recompile_limit = 64
            torch._inductor.config.max_fusion_size = 512
            pixel = pixel_of_dc if kind == "dc" else pixel_of_dd
            self.compiled = torch.compile(pixel, dynamic=False, fullgraph=True)
            self.where_open = torch.compile(value_where_open, dynamic=False, fullgraph=True)
            # One room for all, which is compiled once.
            self.rooms = rooms and [max(rooms)] * len(rooms)
        self.plans = []
        for stage, start in zip(network.stages, starts):
            self.plans.append(self.plan(stage, start, row))

    def plan(self, stage, start, row):
        layers, per_pixel = [stage.input, *stage.hidden], 1 + stage.values
        # A pixel's gate and values in rows one after another.
        weight = torch.cat([stage.gate.weight[:, None], stage.value.weight.unflatten(0, (stage.n, stage.values))], 1).flatten(0, 1)
        bias = torch.cat([stage.gate.bias[:, None], stage.value.bias.unflatten(0, (stage.n, stage.values))], 1).flatten()
        outer = min(OUTER, stage.n)
        seen = torch.zeros(len(stage.input.weight), start + (stage.n + 7) // 8 * 8, device=self.device, dtype=self.dtype)
        for earlier in [*self.plans, {"stage": stage, "start": start}]:
            first, n = earlier["stage"].earlier, earlier["stage"].n
            seen[:, earlier["start"] : earlier["start"] + n] = stage.input.weight[:, first : first + n]
        plan = {
            "stage": stage,
            "start": start,
            "weights": [seen] + [layer.weight for layer in stage.hidden] + [weight.contiguous()],
            "biases": [layer.bias for layer in layers] + [bias.contiguous()],
            "rows": [stage.units] * len(layers) + [per_pixel],
            "history": [row(stage.n * stage.units) for _ in layers],
            "sums": [row(outer * stage.units) for _ in layers] + [row(outer * per_pixel)],
        }
        if self.compiled and stage.units == 1 and stage.n % INNER == 0:
            plan["packed"] = [self.pack(plan, i) for i in range(stage.n)]
        return plan

    def pack(self, plan, i):
        """Weights of pixel i inside its block: of finished pixels [rows, INNER], and of its own unit [rows]."""
        start = i // INNER * INNER
        inside, own = [], []
        for number, (weight, rows) in enumerate(zip(plan["weights"], plan["rows"])):
            offset = plan["start"] if number == 0 else 0
            part = weight[i * rows : (i + 1) * rows, offset + start : offset + start + INNER].clone()
            own.append(part[:, i - start].clone())
            part[:, i - start] = 0.0
            inside.append(part)
        # Rows of a multiple of 16 bytes: what is compiled would copy others first.
        own = torch.cat(own)
        return torch.cat(inside), F.pad(own, (0, -len(own) % 8))

    def read(self, plan, number, first, last):
        """What layer `number` reads of pixels first .. last of its stage, and which columns of its weights do; first None: from the
        very first on, pixels of earlier stages too."""
        stage = plan["stage"]
        if number == 0:
            columns = slice(0 if first is None else plan["start"] + first, plan["start"] + last)
            return columns, self.shown[columns]
        columns = slice((first or 0) * stage.units, last * stage.units)
        return columns, plan["history"][number - 1][columns]

    def add(self, plan, first, last, outer, read):
        """To the sums of pixels first .. last, in the block of pixel `outer`, add what earlier ones, `read`, give them. A block starts
        from its biases, with all that came before it."""
        for number, (weight, bias, rows) in enumerate(zip(plan["weights"], plan["biases"], plan["rows"])):
            sums = plan["sums"][number][(first - outer) * rows : (last - outer) * rows]
            here = slice(first * rows, last * rows)
            columns, below = self.read(plan, number, *read)
            if read[0] is not None:
                sums.addmm_(weight[here, columns], below)
            elif len(below):
                torch.addmm(bias[here, None], weight[here, columns], below, out=sums)
            else:
                sums.copy_(bias[here, None].expand_as(sums))

    def draw(self, uniform):
        for plan in self.plans:
            n = plan["stage"].n
            for outer in range(0, n, OUTER):
                after = min(outer + OUTER, n)
                self.add(plan, outer, after, outer, (None, outer))
                for start in range(outer, after, INNER):
                    end = min(start + INNER, after)
                    if start > outer:
                        self.add(plan, start, end, outer, (outer, start))
                    for i in range(start, end):
                        self.step(plan, i, start, outer, uniform)
        return self.drawn

    def step(self, plan, i, start, outer, uniform):
        stage, place = plan["stage"], plan["stage"].earlier + i
        sums = [z[(i - outer) * rows : (i - outer + 1) * rows] for z, rows in zip(plan["sums"], plan["rows"])]
        if "packed" in plan:
            weights, own = plan["packed"][i]
            block = slice(start, start + INNER)
            seen = self.shown[plan["start"] + start : plan["start"] + start + INNER]
            finished = [h[block] for h in plan["history"]]
            arguments = [z[0] for z in sums[:-1]] + [list(sums[-1])], finished, seen, weights, own, uniform[place]
            units, *rest = self.compiled(*arguments)
            torch._foreach_copy_([h[i] for h in plan["history"]], units)
            if self.kind == "dc":
                self.drawn[place].copy_(rest[0])
                self.shown[plan["start"] + i].copy_(rest[1])
                return
            opens, value = rest
        else:
            gate, value = self.numbers(plan, i, start, sums)
            opens = uniform[place, 0] >= torch.sigmoid(gate.to(uniform.dtype))
        x = self.values(stage, place, opens, value, uniform[place])
        self.drawn[place].copy_(x)
        self.shown[plan["start"] + i].copy_(torch.log1p(x))

    def numbers(self, plan, i, start, sums):
        """Units of pixel i, layer after layer, then its gate and values."""
        for number, (z, weight, rows) in enumerate(zip(sums, plan["weights"], plan["rows"])):
            # A unit reads pixels before its own, and units of its own too.
            columns, below = self.read(plan, number, start, i if number == 0 else i + 1)
            if len(below):
                z.addmm_(weight[i * rows : (i + 1) * rows, columns], below)
            if number < len(plan["history"]):
                plan["history"][number][i * rows : (i + 1) * rows] = gelu(z)
        return z[0], z[1:]

    def values(self, stage, place, opens, value, uniform):
        """GeV of a pixel in all images."""
        if self.rooms is None:
            return torch.where(opens, pixel_value(value, uniform, stage.map()), 0.0)
        x, self.last[place] = self.where_open(opens, value, uniform, stage.map(), self.rooms[place])
        return x

    def check_rooms(self):
        if self.rooms is not None and not bool((self.last == self.images).all()):
            raise RuntimeError("the room for nonzero pixels was too small: what was drawn is not exact")


def rooms_of(drawn):
    """Room for a pixel's values, from images that were drawn before."""
    count = (drawn > 0).sum(1).double()
    return [min(int(room), drawn.shape[1]) + 1 for room in 1.1 * count + 8 * count.sqrt() + 32]


def runner(way, kind, images, device, sizes):
    """A function that draws a batch, what it draws into, and what to look at afterwards."""
    precise = way == "naive-tf32"
    torch.set_float32_matmul_precision("high")
    made = network(kind, sizes, device, torch.float32 if precise else torch.bfloat16)
    uniform = torch.empty(sizes.pixels, 3, images, device=device)
    if way.startswith("naive"):
        naive = Naive(made)
        return lambda: naive.draw(uniform.uniform_()), lambda: None
    rooms = None
    if way == "graph-gate-first" or (way, kind) == ("compiled-graph", "dd"):
        rooms = rooms_of(Incremental(made, kind, images).draw(uniform.uniform_()))
    sampler = Incremental(made, kind, images, rooms, compiled=way == "compiled-graph")
    run = lambda: sampler.draw(uniform.uniform_())
    if device.type == "cpu":
        return run, sampler.check_rooms
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        drawn = run()

    def replay():
        graph.replay()
        return drawn

    return replay, sampler.check_rooms


def measure(way, kind, images, device, sizes):
    begun = time.monotonic()
    run, check = runner(way, kind, images, device, sizes)
    drawn = run()
    once = elapsed(device, run, 1)
    prepared = time.monotonic() - begun
    # The naive loop takes seconds for a batch: once, and warm, is enough.
    second = once if once > 0.5 else sorted(elapsed(device, run, max(1, int(0.15 / once))) for _ in range(3))[1]
    check()
    occupancy = float((drawn > 0).double().mean())
    if not 0.3 * OCCUPANCY < occupancy < 3 * OCCUPANCY:
        raise RuntimeError(f"{occupancy:.3f} of the pixels are nonzero: these are no images")
    return {"images_per_second": images / second, "batch_milliseconds": 1e3 * second, "prepared_seconds": prepared, "occupancy": occupancy}


def check_ways(kind):
    """All ways draw the same images from the same random numbers, float64, two stages, several blocks."""
    sizes, images = Sizes(square=4, pixels=4 + 9 * INNER, units=(3, 1), layers=2), 40
    made = network(kind, sizes, torch.device("cpu"), torch.float64)
    uniform = torch.rand(sizes.pixels, 3, images, dtype=torch.float64)
    with torch.no_grad():
        wanted = Naive(made).draw(uniform)
        occupancy = float((wanted > 0).double().mean())
        assert 0.03 < occupancy < 0.4, occupancy
        # Other random numbers are other images: the comparison can fail.
        assert not torch.equal(wanted > 0, Naive(made).draw(uniform.roll(1, 2)) > 0)
        ways = {
            "graph": Incremental(made, kind, images),
            "graph-gate-first": Incremental(made, kind, images, rooms_of(wanted)),
            "compiled-graph": Incremental(made, kind, images, rooms_of(wanted) if kind == "dd" else None, compiled=True),
        }
        for way, sampler in ways.items():
            for again in range(2):  # What a batch leaves behind must not reach the next.
                found = sampler.draw(uniform)
                assert torch.equal(found > 0, wanted > 0), f"{kind} {way}: other pixels are nonzero"
                assert torch.allclose(found, wanted, rtol=1e-9), f"{kind} {way}: other values"
            sampler.check_rooms()
        small = Incremental(made, kind, images, [1] * sizes.pixels)
        small.draw(uniform)
        try:
            small.check_rooms()
            raise AssertionError("too small a room was not seen")
        except RuntimeError:
            pass
    say({"check": f"jets-{kind}", "ways": list(ways), "occupancy": occupancy})


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--check", action="store_true", help="on the CPU: that all ways draw the same images")
    parser.add_argument("--tiny", action="store_true", help="tiny networks and batches, to see that it runs")
    arguments = parser.parse_args()
    if arguments.check:
        return [check_ways(kind) for kind in ("dc", "dd")]
    device, started = torch.device(arguments.device), time.monotonic()
    name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
    say({"torch": torch.__version__, "device": name})
    # What the project's aims name comes first; the rest as time allows.
    plan = [
        ("dc", "compiled-graph", [65536, 16384]),
        ("dc", "naive-bf16", [4096]),
        ("dd", "compiled-graph", [65536, 16384]),
        ("dd", "naive-bf16", [4096]),
        ("dc", "graph", [65536]),
        ("dc", "graph-gate-first", [65536]),
        ("dd", "graph-gate-first", [65536]),
        ("dc", "naive-bf16", [16384, 1024]),
        ("dc", "naive-tf32", [4096]),
        ("dd", "graph", [65536]),
        ("dd", "naive-bf16", [16384, 1024]),
        ("dd", "naive-tf32", [4096]),
    ]
    sizes = JETS
    if arguments.tiny:
        sizes = Sizes(square=4, pixels=4 + 9 * INNER, units=(3, 1), layers=2)
        plan = [(kind, way, [64]) for kind, way, _ in plan]
    for kind, way, batches in plan:
        for images in batches:
            record = {"config": f"jets-{kind}", "way": way, "batch": images}
            if time.monotonic() - started > arguments.seconds:
                say(record | {"skipped": f"{arguments.seconds:g} s were over"})
                continue
            try:
                with torch.no_grad():
                    say(record | measure(way, kind, images, device, sizes))
            except Exception as problem:  # One way that fails (memory, a version of torch) leaves the others.
                say(record | {"error": f"{type(problem).__name__}: {problem}".splitlines()[0][:300]})
            if device.type == "cuda":
                torch._dynamo.reset()
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
