"""The page of `scripts/study papers`: the tables of arXiv 2009.14017 and arXiv 2009.04842, the papers' numbers beside those measured here.

OUT/jets and OUT/muons have a directory for each row and class, as other studies have.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from .classification import TOGETHER, transfer
from .config import StudyError, read_toml
from .fidelity import means
from .gathered import Gatherer, absent, shipped, speeds, trainings
from .page import (
    GENERATED, OBSERVABLES, Table, asked, boosted_auc, conditioned, configurations, decimals, duration, figures, grouped, heading,
    metrics_link, of_class, steps, training_seconds, truth, truth_floors,
)
from .runs import ROOT, Data, read_json, tell

SARM, VAE = "arXiv 2009.14017", "arXiv 2009.04842"
ARXIV = {"SARM": SARM, "VAE": VAE}
TRUTH = "Pythia"
# Rows: the papers' model that each is set beside (none: ours alone), and where it comes from.
ROWS = {
    "jets": {
        "jets-dd": ("SARM-2, D+D", "configs/paper/jets-dd.toml"),
        "jets-dc": ("SARM-2, D+C", "configs/paper/jets-dc.toml"),
        "jets-dd-1": ("SARM-1, D+D", "configs/paper/jets-dd-1.toml"),
        "jets-dc-1": ("SARM-1, D+C", "configs/paper/jets-dc-1.toml"),
        "jets": (None, "configs/jets.toml"),
        "vae": ("VAE", "configs/paper/vae.toml"),
        "jets-vae": (None, "configs/jets-vae.toml"),
        "jets-sparse-vae": (None, "configs/jets-sparse-vae.toml"),
        "lagan": ("LAGAN", "benches/peers/lagan.py"),
        "pixelcnn": ("Pixel CNN++", "benches/peers/pixelcnn.py"),
    },
    "muons": {
        "muons-dd": ("SARM-2, D+D", "configs/paper/muons-dd.toml"),
        "muons-dc": ("SARM-2, D+C", "configs/paper/muons-dc.toml"),
        "muons": (None, "configs/muons.toml"),
        "muons-lagan": ("LAGAN (mode collapse)", "benches/peers/lagan.py"),
        "muons-pixelcnn": ("Pixel CNN++", "benches/peers/pixelcnn.py"),
    },
}
SIMULATION = {"jets": "pythia", "muons": "muons-pythia"}
DISTANCES = ("jet_pt", "jet_mass")
EVENTS = 300_000
HOUR = 3600
OURS = "here"


class Kind:
    """Images of one kind: what was judged of them, what the papers say, what was measured."""

    def __init__(self, name, numbers, classes, runner, results, of_speeds, told):
        self.name, self.numbers, self.classes, self.runner, self.real = name, numbers, classes, runner, results
        self.speeds, self.told = of_speeds, told
        judged = {r.job.name for r in results}
        # Of other rows' speeds and trainings, those without images stand where they belong alone.
        self.rows = list(dict.fromkeys((*ROWS[name], *(r.job.name for r in results))))
        self.missing = [r for n in self.rows if n not in judged for r in absent(n, self.classes, self.why(n))]
        self.results = sorted([*results, *self.missing], key=lambda r: self.rows.index(r.job.name))

    def why(self, name):
        """Why a row was not judged."""
        source = ROWS[self.name].get(name, (None, ""))[1]
        if self.runner is None:
            return f"no true {self.name} were given"
        return "no images of it were given" if source.endswith(".py") or not source else "no trained model of it was given, nor a report"

    def of(self, name):
        return [r for r in self.results if r.job.name == name]

    def and_of(self, more):
        """The rows, and what `more` has of this kind."""
        return list(dict.fromkeys((*self.rows, *(n for n in more if kind_of(n) == self.name and n != SIMULATION[self.name]))))

    def pairs(self, table, more=()):
        """(label, the paper's entry, None) and (label, None, our row's name) in the page's order: the papers' rows before ours."""
        entries = self.numbers.get(table, [])
        label = lambda e: e["model"].removeprefix("paper: ")
        left = list(entries)
        for name in self.and_of(more):
            paper, _ = ROWS[self.name].get(name, (None, ""))
            for e in [e for e in left if label(e) == paper]:
                yield paper, e, None
                left.remove(e)
            yield (f"{paper.partition(' (')[0]}, `{name}`" if paper else f"`{name}`"), None, name
        for e in left:
            if label(e) != TRUTH:
                yield label(e), e, None

    def of_truth(self, table):
        return [e for e in self.numbers.get(table, []) if e["model"] == f"paper: {TRUTH}"]


def kind_of(name):
    return "muons" if name.startswith("muons") else "jets"


def source(entry):
    return ARXIV[entry.get("paper", "SARM")]


def distances(kind, title):
    """Tables 1, 3 and 5 of the SARM paper, and how well images are told from truth."""
    columns = [f"{heading(o)}, {c.name}" for o in DISTANCES for c in kind.classes]
    table = Table("model", "from", *columns, *(f"AUC, {c.name}" for c in kind.classes), "images a side", words=2)

    def w1(r, key, error):
        return tuple(table.of(r.metrics["all"].get(o), key, lambda x: decimals(x, OBSERVABLES[o][2]), error) for o in DISTANCES)

    for label, row in truth_floors(table, kind.real, kind.classes, lambda r: w1(r, "w1_floor", "w1_floor_std")):
        table.row(label.replace("truth against truth", f"{TRUTH}, against itself"), OURS, *(row[c][o] for o in range(len(DISTANCES)) for c in range(len(kind.classes))),
                  *([""] * len(kind.classes)), "")
    for label, entry, name in kind.pairs("w1"):
        if entry:
            # Two decimals, as printed there.
            cells = [decimals(entry[o][c.name], 2) for o in DISTANCES for c in kind.classes]
            table.row(label, source(entry), *cells, *([""] * len(kind.classes)), "")
            continue
        rows = kind.of(name)
        cells = [w1(r, "w1", "w1_error") for r in rows]
        sizes = dict.fromkeys(grouped(sum(of_class(r, "boosting", r.cls)["images"].values())) for r in rows if of_class(r, "boosting", r.cls).get("images"))
        table.row(label, OURS, *(c[o] for o in range(len(DISTANCES)) for c in cells), *(boosted_auc(table, r, r.cls) for r in rows), ", ".join(sizes))
    return (
        f"## {title}\n\nW1 between generated and true images, with its bootstrap error, and the AUC of boosted trees that tell generated images from truth by some 70 observables: 0.5 is guessing, and "
        f"more images are told apart better. The papers' values: {kind.numbers['source']}; the papers give no such AUC. {kind.numbers['remark']}\n\n{table}"
    )


def averages(kind):
    """Tables 1 and 3 of the VAE's paper."""
    numbers = (("mean_image_mse", "mse", "MSE / GeV²", figures), ("mean_image_ssim", "ssim", "SSIM", lambda x: decimals(x, 5)))
    table = Table("model", "from", *(f"{label}, {c.name}" for _, _, label, _ in numbers for c in kind.classes), words=2)
    place = lambda r: r.metrics.get("images", {}).get("all")
    if kind.real:
        halves = [(place(next(r for r in kind.real if r.cls == c)) or {}).get("halves") for c in kind.classes]
        table.row(f"{TRUTH}, halves of it", OURS, *(table.of(h, key, form) for key, _, _, form in numbers for h in halves))
    for label, entry, name in kind.pairs("average"):
        if entry:
            table.row(label, source(entry), *(cell for _, short, _, _ in numbers for cell in (f"{decimals(entry[short], 2)} (of both)", *[""] * (len(kind.classes) - 1))))
        else:
            table.row(label, OURS, *(table.of(place(r), key, form) for key, _, _, form in numbers for r in kind.of(name)))
    return (
        f"## Average images ({VAE}, tables 1 and 3)\n\nSSIM and mean squared difference of the average image of each class from the true one. The paper has one value for both classes. It does not state the window of its SSIM nor "
        f"the unit of its pixels: compare its rows with each other, and ours with each other.\n\n{table}"
    )


def of_files(rows):
    """Images a second of the processor's time, up to the written file, of all classes together; or why not."""
    records = [r.generate for r in rows]
    if not records or not all(records):
        return None, "no images of it were drawn by `sarm generate`"
    if not all(g.get("cpu_seconds") for g in records):
        return None, "the record of its images does not tell the processor's time"
    if not all(g["printed"]["device"].startswith("cpu") for g in records):
        return None, "its images were drawn on a card"
    return sum(g["printed"]["images_drawn"] for g in records) / sum(g["cpu_seconds"] for g in records), ""


def speed(kind, title):
    """Tables 2 and 4 of the SARM paper, and table 4 of the VAE's."""
    table = Table("model", "from", "on", "images/s", "images/s, to a file", "images per core-hour", f"{grouped(EVENTS)} images", "by", words=3)

    in_seconds = lambda s: f"{grouped(s)} s" if s >= 10 else f"{figures(s)} s"

    def paper(label, e):
        table.row(label, source(e), e["machine"], grouped(e["images_per_second"]), "", "", in_seconds(e["seconds"]) if "seconds" in e else "", "")

    def row(label, name):
        rows = kind.of(name)
        rate_of_files, why = of_files(rows)
        drawn = [r.generate for r in rows if r.generate]
        machines = "; ".join(dict.fromkeys(f"{g['machine']}; {g['printed']['device']}" for g in drawn))
        for s in kind.speeds.get(name, [None]):
            rate = s.images_per_second if s else None
            best = rate or (rate_of_files if not s or not s.card else None)
            reason = (s.reason if s else "") or "no file of --speeds tells it"
            table.row(
                label, OURS, s.on if s else machines,
                figures(rate) if rate else table.missing(reason),
                figures(rate_of_files) if rate_of_files else table.missing(why),
                "" if s and s.card else figures(HOUR * best) if best else table.missing("nothing was measured"),
                in_seconds(EVENTS / best) if best else table.missing("nothing was measured"),
                s.by if s else "`sarm generate`" if best else "",
            )

    for e in kind.of_truth("speed"):
        paper(TRUTH, e)
    row(TRUTH, SIMULATION[kind.name])
    for label, entry, name in kind.pairs("speed", kind.speeds):
        paper(label, entry) if entry else row(label, name)
    return (
        f"## {title}\n\nOurs: images a second of the time that one processor spent, which other work on the machine disturbs least (on a card: of the clock). \"images/s\" are kept in memory; \"to a file\" is the whole command "
        "that drew the images judged above, starting it and writing them included. The last two numbers come from the first of these that is there. A simulation makes both classes; its number is that of all images in "
        f"all seconds. The papers' numbers are of their machines.\n\n{table}"
    )


def each(rows, form, apart=False):
    """A number of every model of a row: one, or one for each class where these differ or are to stand `apart`."""
    cells = [cell for _, cell in dict.fromkeys((r.info["sha256"], form(r)) for r in rows if r.info)]
    return " / ".join(cells if apart else dict.fromkeys(cells))


def parameters(kinds):
    """Table 6 of the SARM paper."""
    table = Table("images", "model", "from", "parameters", "of these not masked", words=3)
    for kind in kinds:
        for label, entry, name in kind.pairs("parameters", (n for n, of in kind.speeds.items() if any(s.parameters for s in of))):
            if entry:
                table.row(kind.name, label, source(entry), f"{entry['millions']} M", "")
                continue
            rows = kind.of(name)
            told = next((s.parameters for s in kind.speeds.get(name, []) if s.parameters), None)
            if any(r.info for r in rows):
                cells = each(rows, lambda r: grouped(r.info["parameters"])), each(rows, lambda r: grouped(r.info["unmasked_parameters"]))
            else:
                cells = grouped(told) if told else table.missing("neither a model nor its program's `speed` tells it"), ""
            table.row(kind.name, label, OURS, *cells)
    return (
        f"## Parameters ({SARM}, table 6)\n\nOf one model; where the models of both classes differ, of each. Masked parameters are always zero; which of the two the paper counts we do not know. A VAE's are those of encoder, decoder and, where its loss "
        f"has one, its classifier; a GAN's those of its generator.\n\n{table}"
    )


def trained_on(kinds):
    """What was cut short shows here."""
    table = Table("images", "model", "from", "images trained on", "epochs", "of the configuration", "kept", "training", "changed there", words=3)
    for kind in kinds:
        if "training" in kind.numbers:
            sizes = ", ".join(f"{c} {grouped(n)}" for c, n in kind.numbers["training"].items())
            table.row(kind.name, "the paper's SARMs", SARM, sizes, "", "", "", "", "")
        for name in kind.and_of(kind.told):
            rows, told = kind.of(name), kind.told.get(name)
            if any(r.info for r in rows):
                epochs = read_toml(shipped(name)).get("train", {}).get("epochs") if shipped(name) else None
                seconds = lambda r: duration(training_seconds(r)) if r.epochs else table.missing("no metrics.csv beside the model")
                table.row(
                    kind.name, f"`{name}`", OURS, each(rows, lambda r: grouped(r.info["record"]["images"][0]), apart=True),
                    each(rows, lambda r: str(len(r.epochs)) if r.epochs else table.missing("no metrics.csv beside the model")),
                    epochs or table.missing("no configuration of this name ships"), each(rows, lambda r: str(r.info["record"]["epochs"])), each(rows, seconds, apart=True), ", ".join(kind.runner.changed.get(name, [])),
                )
            elif told:
                table.row(
                    kind.name, f"`{name}`", OURS, grouped(told["images"]) if "images" in told else table.missing("its training did not tell"),
                    told["epoch"], "", told["epoch"], duration(told["seconds"]) if "seconds" in told else table.missing("its training did not tell"), "",
                )
            else:
                judged = any(r in kind.real for r in rows)
                nothing = table.missing("no file of --trainings tells it" if judged else kind.why(name))
                table.row(kind.name, f"`{name}`", OURS, nothing, nothing, "", nothing, nothing, "")
    return (
        "## What the models were trained on\n\nFrom the checkpoints, the tables of their trainings, and what other programs printed. A model with fewer epochs than its configuration has was cut short or ended early; \"kept\" is the epoch "
        f"of the model that was judged. Two numbers of images or times are of a model for each class; one model for both has one. \"Changed there\" is what "
        f"the training's configuration has otherwise than the one that ships (in brackets).\n\n{table}"
    )


def transferred(kind, wanted):
    """Results of the evaluations of both classes together, where there are any: asked for, or left by `scripts/study classification`."""
    found = []
    for name in dict.fromkeys(r.job.name for r in kind.real):
        rows = [r for r in kind.real if r.job.name == name]
        if name in wanted:
            continue
        place = next(p for p in rows[0].directory.parents if p.name == name) / TOGETHER
        record, metrics = read_json(place / "evaluate.json"), read_json(place / "report/metrics.json")
        # Of the same models as the reports of each class.
        what = lambda key: (key.get("model"), key.get("images"), key.get("count"), key.get("seed"))
        models = [what(r.evaluate["key"]) for r in rows]
        drawn = [what(k) for k in (record or {}).get("key", {}).get("drawn", [])]
        if metrics and "transfer" in metrics and kind.runner.of_this_truth(record) and drawn == models:
            found += [replace(r, directory=place, metrics=metrics, evaluate=record) for r in rows]
    return found


def without_classifiers(words):
    """Arguments of `sarm evaluate` for one class alone: what says how classifiers are trained is for the transfer test."""
    kept, rest = [], iter(words)
    for word in rest:
        if word in ("--classifier-images", "--classifier-network"):
            next(rest, None)
        elif word != "--classifiers":
            kept.append(word)
    return kept


def classified(kind, jobs, options):
    """`sarm evaluate --classifiers` of the rows that --transfer names."""
    if not (kind.runner and jobs):
        return []
    # As `scripts/study classification` asks, so that neither does again what the other has done.
    kind.runner.options.evaluate = ["--classifiers", *(w for w in options.evaluate if w != "--classifiers")]
    return kind.runner.all(jobs, TOGETHER)


def transfer_test(kind, results):
    if results:
        return transfer(results, kind.classes).replace("## Signal against background", f"## Transfer test of {kind.name} ({SARM}, {'figure 9' if kind.name == 'jets' else 'figure 14'})")
    return (
        f"## Transfer test of {kind.name}\n\nNot done: none of the reports has it (`scripts/study classification` and `--transfer` do it; eight trainings for each model)."
    )


def prepared(name, sarm, options, classes, jobs):
    """What judges images of one kind; None where there are no true ones. Mistakes show before hours of work."""
    if name == "jets":
        files, half_width = (options.truth_train, options.truth_test), options.range
    else:
        files, half_width = (options.muons_train, options.muons_test), options.muons_range
    if not files[1]:
        if jobs:
            raise StudyError(f"'{jobs[0].name}' is a model of muons (its name says so), but there are no true ones; give --muons-test")
        return None
    own = {"out": str(Path(options.out) / name), "range": half_width, "evaluate": without_classifiers(options.evaluate)}
    select = (options.select_train, options.select_test) if name == "jets" else ([], [])
    train = Data(sarm, files[0], select[0]) if files[0] else None
    runner = Gatherer(sarm, argparse.Namespace(**{**vars(options), **own}), train, Data(sarm, files[1], select[1]), classes)
    runner.check(jobs)
    return runner


def judged(runner, jobs):
    """Results of the jobs, and of the reports of other studies."""
    if not runner:
        return []
    results, taken = runner.all(jobs), {j.name for j in jobs}
    for folder in runner.options.reports:
        for place in sorted(p for p in Path(folder).iterdir() if p.is_dir() and p.name not in taken):
            found = runner.earlier(place)
            if found:
                tell(f"{place}: taken as it is")
                results, taken = results + found, taken | {place.name}
    return results


def papers(sarm, options, classes, jobs, page, argv):
    for folder in options.reports:
        if not Path(folder).is_dir():
            raise StudyError(f"'{folder}' is no folder (reports of another study are taken from its --out); mend --reports")
    numbers = read_toml(ROOT / "scripts/paper-numbers.toml")
    (rates, of_speeds), (told, of_trainings) = speeds(options.speeds), trainings(options.trainings)
    wanted = {w for w in options.transfer.split(",") if w}
    unknown = wanted - {j.name for j in jobs}
    if unknown:
        raise StudyError(f"--transfer names {', '.join(sorted(unknown))} (there is no model and no images of that name); give them with --models or --images")
    of_kind = {k: [j for j in jobs if kind_of(j.name) == k] for k in ROWS}
    runners = {k: prepared(k, sarm, options, classes, of_kind[k]) for k in ROWS}
    kinds = [Kind(k, numbers[k], classes, runners[k], judged(runners[k], of_kind[k]), rates, told) for k in ROWS]
    tests = {k.name: classified(k, [j for j in of_kind[k.name] if j.name in wanted], options) + transferred(k, wanted) for k in kinds}
    jets, muons = kinds
    in_order = [r for r in jets.results if r in jets.real]
    of_means = means(in_order + jets.missing, classes, jets.numbers).replace("## Means and widths", f"## Means and widths of jets ({VAE}, table 2)")
    known = [r for k in kinds for r in k.real]
    parts = [
        f"# {options.title or 'Both papers, table by table'}",
        f"{GENERATED}\n\nThe tables of Y. Lu, J. Collado, D. Whiteson and P. Baldi ({SARM}: SARM) and of K. Dohi ({VAE}: a VAE), with the papers' numbers, and beside them what was measured here on our own simulated images. "
        f"Rows \"{OURS}\" are of this machine and of models as far as they were trained: \"What the models were trained on\" tells how far. What was not trained or measured has no number but a note. "
        f"Every metric is defined in {metrics_link(page)}.",
        conditioned(known),
        distances(jets, f"Jets: distances from truth ({SARM}, table 1)"),
        of_means,
        averages(jets),
        transfer_test(jets, tests["jets"]),
        speed(jets, f"Speed of jets ({SARM}, table 2; {VAE}, table 4)"),
        distances(muons, f"Muons: distances from truth ({SARM}, tables 3 and 5)"),
        transfer_test(muons, tests["muons"]) if muons.real else "",
        speed(muons, f"Speed of muons ({SARM}, table 4)"),
        parameters(kinds),
        trained_on(kinds),
        configurations(jets.runner, known),
        made(kinds, tests, of_speeds, of_trainings, argv),
    ]
    tell(f"the page: {page}")
    return "\n\n".join(p.strip() for p in parts if p) + "\n"


def made(kinds, tests, of_speeds, of_trainings, argv):
    lines = ["## How this page was made", "", "```", asked(argv), "```", ""]
    if of_speeds:
        lines.append(f"- Speeds: {'; '.join(of_speeds)}.")
    if of_trainings:
        lines.append(f"- Trainings of other programs: {'; '.join(of_trainings)}.")
    for kind in kinds:
        if not kind.runner:
            continue
        results = kind.real + [replace(r, info=None, train=None, generate=None, score=None) for r in tests[kind.name]]
        lines += ["", f"### {kind.name.capitalize()}", ""]
        outside = [f"{r.job.name}, {r.cls.name}: SHA-256 `{r.evaluate['key']['images']}`" for r in kind.real if "images" in r.evaluate["key"]]
        if outside:
            lines.append(f"- Images of other programs: {'; '.join(outside)}.")
        lines += [*(steps(kind.runner, results) if results else []), "", f"The true {kind.name}:", "", *truth(kind.runner)]
    return "\n".join(lines).rstrip() + "\n"
