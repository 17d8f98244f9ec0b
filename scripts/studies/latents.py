"""The page of `scripts/study latents`: what the numbers of a VAE's code do to its images, as figures 12 to 24 of arXiv 2009.04842.

OUT/NAME/CLASS/latents has the records of every step, and what was kept of the images of each: their observables and their
average, in `.npz` files. The images themselves are removed: a study draws hundreds of files.
"""

import shutil
from dataclasses import dataclass, field

from .config import StudyError
from .page import GENERATED, OBSERVABLES, Table, conditioned, configurations, decimals, grouped, heading, how_it_was_made, metrics_link
from .picture import sheet
from .runs import Result, arrays, epochs, tell

# Lower ends of the eight intervals, and how wide they are.
EDGES, WIDTH = tuple(i / 4 for i in range(-4, 4)), 0.25
VALUES = tuple(range(-3, 4))
# Of a sweep, images that are drawn of each code by a decoder that gives probabilities: one in so many of --count.
SHARE = 25
SHOWN = ("jet_mass", "jet_pt", "tau_21")
CUTS = ("jet_mass", "jet_pt")
TOGETHER = "all"
# GeV, where the colours of a figure begin and end.
COLOURS = (0.01, 100)


# What a classifier says of an image, the chance that it is of the upper class.
ANSWER = "classifier"


def digits(observable):
    return 4 if observable in ("tau_21", ANSWER) else 2


def with_error(pair, places):
    return " ± ".join(decimals(float(x), places) for x in pair)


def mean(x):
    return x.mean(), x.std() / len(x) ** 0.5


def width(x):
    """Standard deviation, and its error by the fourth moment."""
    s = x.std()
    fourth = ((x - x.mean()) ** 4).mean()
    return s, (max(0.0, fourth - s ** 4) / len(x)) ** 0.5 / (2 * s) if s > 0 else 0.0


def auc(numpy, signal, background):
    """Area under the ROC curve of a cut, ties counted half, and its error (DeLong's)."""
    def below(x, others):
        others = numpy.sort(others)
        return (numpy.searchsorted(others, x, "left") + numpy.searchsorted(others, x, "right")) / (2 * len(others))
    parts = below(signal, background), 1 - below(background, signal)
    return parts[0].mean(), sum(p.var() / len(p) for p in parts) ** 0.5


@dataclass
class Drawn:
    """What a model's steps of one class found."""
    result: Result
    whole: dict
    codes: list
    """Divergence of each number of the code."""
    sweep: dict
    intervals: dict = field(default_factory=dict)
    """Observables, answers of the classifier and average image by (number of the code or TOGETHER, lower end)."""
    true: dict = field(default_factory=dict)
    """The classifier's answers to true images."""


class Steps:
    """The steps of one model and class."""

    def __init__(self, runner, job, cls, checked):
        self.numpy, self.h5py = arrays()
        self.runner, self.job, self.cls = runner, job, cls
        self.file, self.trained, self.info = runner.model(job, cls, checked)
        self.directory = runner.out / job.name / cls.name / "latents"
        self.directory.mkdir(parents=True, exist_ok=True)
        self.conditions, self.told = runner.conditions(self.file, self.info, cls)
        self.latents = self.info["config"]["network"]["latents"]
        self.classifier = None
        # One image of a code, or as many as one likes.
        self.draws = max(1, runner.options.count // SHARE) if "likelihood" in self.info["config"] else 1
        self.records = []

    def step(self, name, key, work, condense):
        """Do `work`, which writes NAME.h5, and keep what `condense` makes of it."""
        large, kept = self.directory / f"{name}.h5", self.directory / f"{name}.npz"

        def whole():
            done = work(large)
            with self.h5py.File(large) as file:
                self.numpy.savez_compressed(kept, **condense(file))
            large.unlink()
            return done

        record = self.runner.step(self.directory, name, {"model": self.info["sha256"], **key}, [kept], whole, kind="generate")
        self.records.append(record)
        with self.numpy.load(kept) as file:
            return dict(file)

    def generate(self, name, count, key, words, condense):
        options = self.runner.options
        around = ["--range", options.range] if options.range else []
        return self.step(name, {"count": count, "seed": options.seed, "range": options.range, **self.told, **key}, lambda out: self.runner.sarm.long(
            "generate", "--model", self.file, "--count", count, "--seed", options.seed, *self.conditions, *words, *around,
            "--out", out, "--json", "--force"), condense)

    def encode(self):
        """The divergence of each number of the codes of true images, nats."""
        runner, limit, numpy = self.runner, self.runner.options.count, self.numpy
        select = runner.test.selecting(self.cls.select)

        def condense(file):
            codes = [(file[f"mean_{k}"][:], file[f"log_variance_{k}"][:]) for k in range(self.latents)]
            return {"divergence": [(m ** 2 + numpy.exp(v) - 1 - v).mean() / 2 for m, v in codes], "images": len(codes[0][0])}

        return self.step("codes", {"truth": runner.test.sha256, "select": select, "limit": limit}, lambda out: (runner.sarm.long(
            "encode", "--model", self.file, "--data", runner.test.path, *select, "--limit", limit, "--out", out, "--force")[0], ""), condense)

    def answers(self, path, *select):
        """What the classifier says of a file's images; nothing without one."""
        if not self.classifier:
            return {}
        of_images = self.directory / "answers.h5"
        self.runner.sarm.long("encode", "--model", self.classifier.file, "--data", path, *select, "--out", of_images, "--force")
        with self.h5py.File(of_images) as file:
            found = file[ANSWER][:]
        of_images.unlink()
        return {ANSWER: found}

    def by(self):
        """The classifier's part of a key."""
        return {"classifier": self.classifier.info["sha256"]} if self.classifier else {}

    def truth(self):
        """The classifier's answers to true images."""
        if not self.classifier:
            return {}
        runner, limit, file = self.runner, self.runner.options.count, self.classifier.file
        select = runner.test.selecting(self.cls.select)
        return self.step("answers-truth", {"truth": runner.test.sha256, "select": select, "limit": limit, **self.by()}, lambda out: (runner.sarm.long(
            "encode", "--model", file, "--data", runner.test.path, *select, "--limit", limit, "--out", out, "--force")[0], ""), lambda file: {ANSWER: file[ANSWER][:]})

    def observables(self, file):
        return {o: file[o][:].astype(float) for o in SHOWN}

    def draw(self, name, words):
        return self.generate(name, self.runner.options.count, {"codes": words, **self.by()}, words,
                             lambda file: {**self.observables(file), **self.answers(file.filename), "average": file["image"][:].mean(0)})

    def interval(self, number, low):
        numbers = range(self.latents) if number == TOGETHER else [number]
        words = ["--latent", ",".join(f"{k}={low:g}..{low + WIDTH:g}" for k in numbers)]
        return self.draw(f"{number}={low:g}..{low + WIDTH:g}", words)

    def sweep(self):
        """Each number of the code at each of VALUES, the others 0: arrays of (number, value, image of this code)."""
        places = (self.latents, len(VALUES))
        codes = self.numpy.zeros((*places, self.latents), "f4")
        for k in range(self.latents):
            codes[k, :, k] = VALUES
        path = self.directory / "sweep-codes.h5"
        with self.h5py.File(path, "w") as file:
            for k in range(self.latents):
                file.create_dataset(f"mean_{k}", data=codes[..., k].ravel())

        def condense(file):
            # Image i has row i of the codes, which start again after the last.
            by_code = lambda x: self.numpy.moveaxis(x.reshape(self.draws, *places, *x.shape[1:]), 0, 2)
            return {**{o: by_code(x) for o, x in self.observables(file).items()}, "average": by_code(file["image"][:]).mean(2)}

        return self.generate("sweep", codes[..., 0].size * self.draws, {"values": VALUES, "draws": self.draws}, ["--codes", path], condense)

    def first(self):
        result = Result(self.job, self.cls, self.directory, self.info, self.trained, epochs(self.file), {})
        found = Drawn(result, self.draw("whole", []), self.encode(), self.sweep())
        found.intervals = {(k, low): self.interval(k, low) for k in range(self.latents) for low in (EDGES[0], EDGES[-1])}
        result.generate = self.records[0]
        found.true = self.truth()
        return found


def moved(drawn, observable, number):
    """An observable's mean in the last interval of a number less that in the first, and its error: images of one place differ in the number alone."""
    first, last = (drawn.intervals[number, low][observable] for low in (EDGES[0], EDGES[-1]))
    return mean(last - first)


def chosen(both):
    """Numbers of the code for the intervals, and why each."""
    number = range(len(both[0].codes["divergence"]))
    reasons = {}
    ranks = {"has the largest divergence": lambda k: sum(d.codes["divergence"][k] for d in both)}
    for o in SHOWN:
        ranks[f"moves {OBSERVABLES[o][0]} most"] = lambda k, o=o: sum(abs(moved(d, o, k)[0]) for d in both)
    for reason, rank in ranks.items():
        reasons.setdefault(max(number, key=rank), []).append(reason)
    return dict(sorted(reasons.items()))


def numbers_table(both, classes):
    columns = [f"divergence / nats, {c.name}" for c in classes] + [f"{heading(o)}, {c.name}" for o in SHOWN for c in classes]
    table = Table("number", *columns)
    for k in range(len(both[0].codes["divergence"])):
        moves = [with_error(moved(d, o, k), digits(o)) for o in SHOWN for d in both]
        table.row(k, *(decimals(float(d.codes["divergence"][k]), 3) for d in both), *moves)
    return str(table)


def sweep_table(both, classes, numbers):
    table = Table("number", "its value", *(f"{heading(o)}, {c.name}" for o in SHOWN for c in classes), words=2)
    for k in numbers:
        for i, value in enumerate(VALUES):
            cells = []
            for x, o in ((d.sweep[o][k, i], o) for o in SHOWN for d in both):
                cells.append(with_error(mean(x), digits(o)) if len(x) > 1 else decimals(float(x[0]), digits(o)))
            table.row(k, decimals(value, 0), *cells)
    return str(table)


def named(low):
    return f"{decimals(low, 2)} to {decimals(low + WIDTH, 2)}"


def intervals_table(drawn, numbers):
    table = Table("number", "between", *(f"{heading(o)}, {w}" for o in SHOWN for w in ("mean", "width")), words=2)
    row = lambda *label, found: table.row(*label, *(with_error(f(found[o]), digits(o)) for o in SHOWN for f in (mean, width)))
    row("none", "", found=drawn.whole)
    for k in numbers:
        for low in EDGES:
            row(k, named(low), found=drawn.intervals[k, low])
    return str(table)


def cuts_table(numpy, both, numbers, observable, label):
    signal, background = both
    table = Table("number", *map(named, EDGES))
    for k in numbers:
        table.row(k, *(with_error(auc(numpy, signal.intervals[k, low][observable], background.intervals[k, low][observable]), 4) for low in EDGES))
    whole = with_error(auc(numpy, signal.whole[observable], background.whole[observable]), 4)
    return f"A cut on {label}; {whole} where no number is held to an interval.\n\n{table}"


def answers_table(both, classes, numbers):
    """Figure 21: means of the classifier's answers."""
    table = Table("number", "between", *(c.name for c in classes), words=2)
    row = lambda *label, found: table.row(*label, *(with_error(mean(f[ANSWER]), digits(ANSWER)) for f in found))
    row("truth", "", found=[d.true for d in both])
    row("none", "", found=[d.whole for d in both])
    for k in numbers:
        for low in EDGES:
            row(k, named(low), found=[d.intervals[k, low] for d in both])
    return str(table)


def classified(numpy, both, classes, numbers, by):
    """The part of the page on the classifier's answers."""
    if not by:
        return []
    of_truth = with_error(auc(numpy, *(d.true[ANSWER] for d in both)), 4)
    return [
        f"### A classifier's answers within an interval\n\nMean of the chance that the classifier of {by} gives a jet to be of the {classes[0].name} (figure 21 of the paper shows how these chances are distributed). It learnt from true jets.",
        answers_table(both, classes, numbers),
        cuts_table(numpy, both, numbers, ANSWER, f"these answers, which has an area of {of_truth} for true jets"),
    ]


def of_model(name, both, classes, folder, page, by):
    """The part of the page on one model."""
    numpy, _ = arrays()
    reasons = chosen(both)
    numbers = [*reasons, TOGETHER]
    everything = range(len(both[0].codes["divergence"]))
    apart = " The classes have models of their own, so a number does not mean the same in both." if len({d.result.info["sha256"] for d in both}) > 1 else ""

    def figure(what, rows, columns, images, caption):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}-{what}.png").write_bytes(sheet(numpy, images, [str(r) for r in rows], columns, *COLOURS))
        return f"{caption}\n\n![{what}, {name}](figures/{page.stem}/{name}-{what}.png)"

    left = f"{classes[0].name} on the left, {classes[1].name} on the right"
    averages = [[d.intervals[k, low]["average"] for d in both for low in EDGES] for k in numbers]
    draws = both[0].sweep["jet_pt"].shape[2]
    each = "A code gives one image." if draws == 1 else f"Means and averages of {grouped(draws)} images of each code."
    encoded = ", ".join(f"{c.name}: {grouped(int(d.codes['images']))}" for c, d in zip(classes, both))
    taken = "; ".join(f"{k} {' and '.join(why)}" for k, why in reasons.items())
    parts = [
        f"## {name}\n\n### What each number does\n\nThe divergence is that of the numbers that the encoder finds for true images ({encoded}) from the normal distribution: near 0 "
        f"the model does not use the number. The other columns are the mean of an observable where the number lies between {named(EDGES[-1])} less that where it lies between {named(EDGES[0])}; all others are "
        f"drawn, the same for both, and the error is that of the difference.{apart}",
        numbers_table(both, classes),
        f"Of both classes together, number {taken}. These are shown below.",
        f"### One number at a time, all others 0\n\n{each}",
        figure("sweep", everything, [f"{v}" for d in both for v in VALUES], [[i for d in both for i in d.sweep["average"][k]] for k in everything],
               f"The images: a row for each number, a column for each of its values, {left}."),
        sweep_table(both, classes, reasons),
        f"### Numbers within intervals\n\n{grouped(len(both[0].whole['jet_pt']))} images of each class in each interval. In the rows `{TOGETHER}` every number of the code lies in the interval, in the others the "
        "one number alone, while the rest are drawn from all of the normal distribution; in the row `none` all are.",
        figure("intervals", numbers, [f"{low:g}" for d in both for low in EDGES], averages, f"Average images: a row for each number, a column for each interval by its lower end, {left}."),
        *(f"#### {c.name}\n\n{intervals_table(d, numbers)}" for c, d in zip(classes, both)),
        f"### {classes[0].name} against {classes[1].name} within an interval\n\nArea under the ROC curve: the chance that a jet of the {classes[0].name} has the larger value than one of the {classes[1].name}. "
        "0.5 separates nothing; below 0.5 the cut has to be turned round.",
        *(cuts_table(numpy, both, numbers, o, OBSERVABLES[o][0]) for o in CUTS),
        *classified(numpy, both, classes, numbers, by),
    ]
    return [p.strip() for p in parts]


def families(runner, jobs):
    """(jobs of VAEs, names of the others)."""
    def is_vae(job):
        if job.config is not None:
            return (job.config.get("model") or {}).get("family") == "vae"
        return all(runner.sarm.info(path).get("family") == "vae" for path in job.models.values())
    vaes = [j for j in jobs if is_vae(j)]
    if not vaes:
        raise StudyError(f"none of {', '.join(j.name for j in jobs)} is a VAE (other models have no codes); give one with --configs or --models")
    return vaes, [j.name for j in jobs if j not in vaes]


def answered(judge):
    if judge:
        return f"Its figure 21 is \"a classifier's answers\": of the classifier that `{judge.job.name}` learnt its images from, for all models."
    return "Its figure 21, a classifier's answers in each interval, is missing: none of these models has a classifier that knows enough of all images (its encoder's conditions must be among those of every model)."


def latents(runner, jobs, page, argv):
    classes, options = runner.classes, runner.options
    vaes, others = families(runner, jobs)
    checked = runner.check(vaes)
    folder = page.parent / "figures" / page.stem
    shutil.rmtree(folder, ignore_errors=True)
    bodies, results, records = [], [], []
    of_jobs = [(job, [Steps(runner, job, cls, checked.get(job.name)) for cls in classes]) for job in vaes]
    # One for all models, so that their numbers can be compared.
    told = [set(s.info["config"]["condition"]["names"]) for _, steps in of_jobs for s in steps]
    # Its encoder wants to know what it is told of images, those of other models too.
    fits = lambda s: s.info["config"]["loss"]["perceptual"] > 0 and set(s.info["config"]["condition"]["names"]) <= set.intersection(*told)
    judge = next((s for _, steps in of_jobs for s in steps if fits(s)), None)
    by = f"`{judge.job.name}`" if judge else None
    for job, steps in of_jobs:
        if len({s.latents for s in steps}) > 1:
            raise StudyError(f"the models of '{job.name}' have codes of different lengths (their numbers are compared); give one model for both classes")
        both = []
        for s in steps:
            tell(f"{job.name}, {s.cls.name}")
            s.classifier = judge
            both.append(s.first())
        numbers = [*chosen(both), TOGETHER]
        for s, d in zip(steps, both):
            tell(f"{job.name}, {s.cls.name}: numbers {', '.join(map(str, numbers))}")
            d.intervals |= {(k, low): s.interval(k, low) for k in numbers for low in EDGES if (k, low) not in d.intervals}
            # Of the intervals one command of one number and one of all stand for the rest.
            d.result.more = [*s.records[1:4], s.records[-1]]
            records += s.records
        results += [d.result for d in both]
        bodies += of_model(job.name, both, classes, folder, page, by)
    skipped = f" Left out, because they are no VAEs: {', '.join(others)}." if others else ""
    parts = [
        f"# {options.title or 'Codes of the variational autoencoders'}",
        f"{GENERATED}\n\nA VAE makes an image of a code, a few numbers (latents) that are drawn from the normal distribution. This page moves them, as figures 12 to 24 of arXiv 2009.04842 do: figures 12 to 14 and 22 to 24 "
        "are \"one number at a time\", 15 to 20 \"numbers within intervals\". "
        f"The intervals are cut by the value of a number, not by quantiles: eight of {WIDTH:g} each from {decimals(EDGES[0], 0)} to {decimals(EDGES[-1] + WIDTH, 0)}, "
        "within which the number has the normal distribution. Of the paper's eight we know that the last is 0.75 to 1, and of its numbers we do not know which were moved. "
        f"{answered(judge)}{skipped} All observables are computed from the pixels, see {metrics_link(page)}.",
        "Means, widths and areas have the error of the finite number of images. Numbers of the code that are left alone are the same in every interval and class, so differences between rows are better known than these errors say. Figures are "
        f"logarithmic, from {COLOURS[0]:g} to {COLOURS[1]:g} GeV; white is less.",
        conditioned(results),
        *bodies,
        configurations(runner, results),
        how_it_was_made(runner, results, argv, f"- Generated: {grouped(options.count)} images of each class and interval, seed {options.seed}, by {grouped(len(records))} commands. Those of the intervals differ in "
                        "their `--latent` alone; one of a single number and one of all of them are listed."),
    ]
    tell(f"the page: {page}")
    return "\n\n".join(p.strip() for p in parts if p) + "\n"
