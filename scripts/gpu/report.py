"""What a report of scripts/gpu-check tells: bounds and ratios beside what was measured, and the page."""

from .phases import CLOCKS


def bound(operations, bytes_moved, rates):
    """Seconds that arithmetic and memory need at the card's own measured rates: the larger, and which it is."""
    arithmetic = operations / (rates["bf16_teraflops"] * 1e12)
    memory = bytes_moved / (rates["copy_terabytes_per_second"] * 1e12)
    return max((arithmetic, "arithmetic"), (memory, "memory"))


def derive(figures):
    """Bounds, fractions and ratios, beside the figures that they come from."""
    rates = figures.get("rates")
    own = figures.get("sarm_rates")
    # Without PyTorch's large product a bound is of what our own instruction reaches: no share of the card's matrix rate.
    matrix_rate = rates["bf16_teraflops"] if rates else None
    if not rates and own:
        figures["rates_by"] = "sarm bench"
        rates = figures["rates"] = {"bf16_teraflops": own["matrix_teraflops"], "copy_terabytes_per_second": own["copy_gigabytes"] / 1e3}
    for t in figures.get("sarm", []):
        if rates:
            second, by = bound(t["operations_per_image"] * t["batch"], t["bytes_per_step"], rates)
            t |= {"bound_microseconds": 1e6 * second, "bound_by": by, "fraction_of_bound": 1e6 * second / t["step_microseconds"]}
        if matrix_rate:
            t["fraction_of_matrix_rate"] = t["teraflops"] / matrix_rate
        for peer in figures.get("peers", []):
            if peer.get("images_per_second") and (peer["config"], peer["batch"]) == (t["config"], t["batch"]):
                t.setdefault("times_faster_than", {})[peer["way"]] = t["images_per_second"] / peer["images_per_second"]
    for s in figures.get("sampling", []):
        ours = s["on_card"][-1]["images_per_second"]
        # The best of each kind, whatever its batch: naive, and incremental. Their images stay on the card, as those of ours here.
        for kind, of_kind in (("naive", lambda way: way.startswith("naive")), ("incremental", lambda way: not way.startswith("naive"))):
            peers = [p for p in figures.get("sampling_peers", []) if p["config"] == s["config"] and of_kind(p["way"]) and p.get("images_per_second")]
            if peers:
                best = max(peers, key=lambda p: p["images_per_second"])
                s.setdefault("times_faster_than", {})[kind] = ours / best["images_per_second"]
                s.setdefault("best_peers", {})[kind] = f"{best['way']}, {best['batch']}"
    for p in figures.get("vae_peers", []):
        # Ours: drawn on the card alone, up to a million images; steps of the same batch.
        drawn = [s["on_card"][-1]["images_per_second"] for s in figures.get("sampling", []) if s["config"] == "jets-vae"]
        trained = [t["images_per_second"] for t in figures.get("sarm", []) if (t["config"], t["batch"]) == ("jets-vae", p["batch"])]
        ours = drawn if p["what"] == "drawing" else trained
        if ours and p.get("images_per_second"):
            p["sarm_over_this"] = ours[0] / p["images_per_second"]
    for k in figures.get("kernels", []):
        if rates and ("matrix_operations" in k or "bytes" in k):
            second, by = bound(k.get("matrix_operations", 0), k.get("bytes", 0), rates)
            k |= {"bound_seconds": second, "bound_by": by, "fraction_of_bound": second / k["seconds"]}


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "--:|" * (len(heads) - 1)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n\n"


def markdown(report):
    figures, text = report["figures"], "# sarm on a card\n\n"
    text += f"{report['date']}, sarm {report['kit']['version']}, by `scripts/gpu-check`. {report['seconds']:.0f} s.\n\n"
    if figures.get("other_cards"):
        text += f"More than one card of this kind: earlier calls ran on {', '.join(figures['other_cards'])}.\n\n"
    if report["kit"].get("profile", "release") != "release":
        text += f"The programs were built with the profile {report['kit']['profile']}: what the host does is slow.\n\n"
    if report["kit"]["tiny"]:
        text += "**A rehearsal**: small shapes, to see that everything runs. Its figures say nothing.\n\n"
    text += table(["card", ""], figures.get("card", {}).items())
    if report["clocks"]:
        names = CLOCKS.split(",")
        spans = [(n, f"{min(v):.0f} .. {max(v):.0f}") for n, v in zip(names, zip(*report["clocks"]))]
        text += "While benches ran (MHz, W, deg C):\n\n" + table(["reading", "range"], spans)
    text += headline(figures)
    text += "## What ran\n\n"
    text += table(["phase", "outcome", "seconds"], [(p["phase"], ", ".join([p["outcome"], *(f"{b['outcome']} before" for b in p.get("before", []))]), p["seconds"]) for p in report["phases"]])
    left_out = [p["phase"] for p in report["phases"] if p["outcome"] in ("left out", "cut short")]
    if left_out:
        text += f"**Not all was checked**: left out or cut short, as the time was over: {', '.join(left_out)}. The exit code is 1, as for a failure.\n\n"
    rates = figures.get("rates")
    if rates:
        by, products = f"PyTorch {figures.get('torch')}", "8192^3, random data"
        if "rates_by" in figures:
            by, products = figures["rates_by"], "mma.sync out of registers, some 62 % of a Hopper's peak; PyTorch's rate is missing"
        text += f"Measured by {by} in this run: bf16 products {rates['bf16_teraflops']:.0f} TFLOP/s ({products}), "
        text += f"copies {rates['copy_terabytes_per_second']:.2f} TB/s (read and written).\n\n"
    part = lambda v: "-" if v is None else f"{100 * v:.1f} %"
    ratio = lambda t, way: f"{t['times_faster_than'][way]:.1f}" if way in t.get("times_faster_than", {}) else "-"
    if figures.get("sarm"):
        text += "## Training\n\n*Bound*: the larger of unmasked operations at the matrix rate and parameters at the copy rate.\n\n"
        heads = ["network, batch", "images/s", "us a step", "bound, us", "by", "of the bound", "of the matrix rate"]
        rows = [
            (f"{t['config']}, {t['batch']}", f"{t['images_per_second']:.0f}", f"{t['step_microseconds']:.1f}",
             f"{t['bound_microseconds']:.1f}" if "bound_microseconds" in t else "-", t.get("bound_by", "-"),
             part(t.get("fraction_of_bound")), part(t.get("fraction_of_matrix_rate")))
            for t in figures["sarm"]
        ]  # fmt: skip
        text += table(heads, rows)
        heads = ["times faster than PyTorch", "eager", "compiled", "compiled-graph"]
        text += table(heads, [(f"{t['config']}, {t['batch']}", *(ratio(t, way) for way in heads[1:])) for t in figures["sarm"]])
    if figures.get("sampling"):
        text += sampling(figures["sampling"], part)
    for title, name in (("PyTorch, training", "peers"), ("PyTorch, sampling", "sampling_peers"), ("PyTorch, the VAE", "vae_peers")):
        if not figures.get(name):
            continue
        said = lambda p: f"{p['images_per_second']:.0f}" if "images_per_second" in p else p.get("error") or p.get("skipped")
        of = lambda p: p.get("config") or f"jets-vae, {p['what']}"
        more = lambda p: [f"{p['sarm_over_this']:.1f}" if "sarm_over_this" in p else "-"] if name == "vae_peers" else []
        rows = [(f"{of(p)}, {p['batch']}, {p['way']}", said(p), *more(p)) for p in figures[name]]
        text += f"## {title}\n\n" + table(["network, batch, way", "images/s", *(["ours over this"] if name == "vae_peers" else [])], rows)
    if figures.get("kernels"):
        rows = [
            (k["name"], f"{1e6 * k['seconds']:.2f}", f"{1e6 * k['bound_seconds']:.2f}" if "bound_seconds" in k else "-", k.get("bound_by", "-"),
             part(k.get("fraction_of_bound")))
            for k in figures["kernels"]
        ]  # fmt: skip
        text += "## Kernels\n\n" + table(["kernel", "us", "bound, us", "by", "of the bound"], rows)
    if figures.get("profile"):
        text += f"## The sampler's kernel under ncu\n\n```\n{figures['profile']}\n```\n\n"
    failures = [p for p in report["phases"] if p.get("why")]
    text += "## Failures\n\n" if failures else ""
    failures += [{**b, "phase": f"{p['phase']}, earlier"} for p in report["phases"] for b in p.get("before", []) if b.get("why")]
    for p in failures:
        command = f" `{p['commands'][-1]}`" if p["commands"] else ""
        text += f"**{p['phase']}**: {p['outcome']}.{command}\n\n```\n{p['why']}\n```\n\n"
    return text


def headline(figures):
    """The figures that decide most, beside what docs/kernels.md derives for an H100."""
    steps = {t["batch"]: t for t in figures.get("sarm", []) if t["config"] == "jets-dc"}
    drawn = next((s["on_card"][-1] for s in figures.get("sampling", []) if s["config"] == "jets-dc"), None)
    rows = []
    for batch, predicted in ((128, "105 to 125"), (8192, "800 to 900")):
        if batch in steps:
            t = steps[batch]
            rows.append((f"training jets D+C, batch {batch}: us a step", f"{t['step_microseconds']:.1f}", predicted))
            faster = t.get("times_faster_than", {})
            # Beside the faster of its compiled ways.
            for what, ways, aim in (("eager", ["eager"], "20"), ("compiled", ["compiled", "compiled-graph"], "5")):
                ratios = [faster[way] for way in ways if way in faster]
                rows.append((f"the same, times faster than PyTorch {what}", f"{min(ratios):.1f}" if ratios else "-", aim))
    if drawn:
        rows.append(("drawing jets D+C on the card: images/s", f"{drawn['images_per_second']:.3g}", "4.5e+06 to 5e+06"))
    return "## Headline\n\n" + table(["figure", "measured", "derived for an H100"], rows) if rows else ""


def sampling(figures, part):
    """The report's part on sampling."""
    rate = lambda r: f"{r['images_per_second']:.0f}" + (f" ({r['drawn']} drawn)" if r["drawn"] < r["images"] else "")
    known = lambda v, form="{:.0f}": "-" if v is None else form.format(v)
    text = "## Sampling\n\n"
    rows = [
        (f"{s['config']}, {card['images']}", rate(card), rate(memory), rate(disk))
        for s in figures
        for card, memory, disk in zip(s["on_card"], s["into_memory"], s["onto_disk"])
    ]
    text += table(["network, images at a time", "on the card, images/s", "into memory", "onto disk"], rows)
    heads = ["network", "one image, ms", "times the paper's", "events per GPU-hour", "images per joule", "W", "MB/s to disk"]
    rows = [
        (s["config"], f"{s['one_image_milliseconds']:.2f}", f"{s['into_memory'][-1]['images_per_second'] / s['paper_images_per_second']:.0f}",
         f"{s['events_per_gpu_hour']:.2e}", known(s["images_per_joule"]), known(s["watts"]), f"{s['disk_bytes_per_second'] / 1e6:.0f}")
        for s in figures
    ]  # fmt: skip
    text += table(heads, rows)
    text += "*Bounds*, images/s: weights out of the second-level cache, products at the rate of `mma.sync`, and as many images as the card\n"
    text += "holds in the time of one alone. *Times faster* than the best of PyTorch's ways of a kind, both on the card alone.\n\n"
    heads = ["network", "by weights", "by products", "by latency", "of the lowest", "times faster than naive", "than incremental", "which was"]
    faster = lambda s, kind: known(s.get("times_faster_than", {}).get(kind), "{:.1f}")
    rows = [
        (s["config"], *(f"{s['bounds'][name]:.2e}" for name in ("weights", "matrix", "latency")), part(s["fraction_of_bound"]),
         faster(s, "naive"), faster(s, "incremental"), s.get("best_peers", {}).get("incremental", "-"))
        for s in figures
    ]  # fmt: skip
    return text + table(heads, rows)
