"""Markdown: numbers, tables, the part of a page that says how it was made."""

import math

from .config import write_toml
from .runs import ROOT, shown, shown_command

# Observables of the tables: name, unit, decimals of distances.
OBSERVABLES = {
    "jet_pt": ("pT", "GeV", 3),
    "jet_mass": ("mass", "GeV", 3),
    "multiplicity": ("multiplicity", "", 3),
    "tau_21": ("tau_21", "", 5),
}

COUNT_BELOW = "count_below_"


def soft_observables(results):
    """Observables of soft pixels: name, decimals of distances. Which thresholds there are depends on the truth."""
    counts = {k.removeprefix(COUNT_BELOW) for r in results for k in r.metrics["all"] if k.startswith(COUNT_BELOW)}
    units = [r.metrics["all"].get("intensity", {}).get("unit", "GeV") for r in results]
    named = {f"{COUNT_BELOW}{t}": (f"counts below {t} {units[0]}", 4) for t in sorted(counts, key=float)}
    return {"ln_pixel_intensity": ("ln intensity", 5), **named}


def heading(observable):
    label, unit, _ = OBSERVABLES[observable]
    return f"{label} / {unit}" if unit else label


def decimals(x, n):
    return f"{x:.{n}f}".replace("-", "−", 1) if x < 0 else f"{x:.{n}f}"


def figures(x, n=3):
    """With n significant digits; thousands set apart."""
    if x == 0:
        return "0"
    places = n - 1 - math.floor(math.log10(abs(x)))
    if places > 7 or places < n - 10:
        return f"{x:.{n - 1}e}"
    return decimals(x, places) if places > 0 else f"{round(x, places):,.0f}".replace(",", " ")


def grouped(n):
    return f"{n:,.0f}".replace(",", " ")


def duration(seconds):
    if seconds < 120:
        return f"{seconds:.{int(seconds < 10)}f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def conditioned(results):
    """What a reader has to know of models that know more than the class of the images they draw; "" of others."""
    told = {}
    for r in (r for r in results if r.info):
        more = [n for n in r.info["config"]["condition"]["names"] if n != r.cls.column]
        if more:
            told.setdefault((bool(r.info.get("prior")), tuple(more)), []).append(r.job.name)
    likelihood = "The likelihood is that of an image given these values and cannot be compared with that of models without these conditions."
    drawn = "Given only the class, like every model here, they first draw these values from the distribution that they have learnt, and then an image with these conditions."
    given = (
        "Each image is generated with the values of one of the training images, so the distribution of these values is that of the training file, not learnt. "
        "Models with fewer conditions, such as the paper's, learn it too: their rows answer a harder question."
    )
    return "\n\n".join(
        f"Conditioned on {', '.join(f'`{n}`' for n in names)}: {', '.join(dict.fromkeys(jobs))}. {drawn if learnt else given} {likelihood}"
        for (learnt, names), jobs in told.items()
    )


class Table:
    """Rows of text under columns, with the reasons of what is not available below."""

    def __init__(self, *columns, words=1):
        # The first `words` columns are words, the others numbers.
        self.columns, self.words, self.rows, self.reasons = columns, words, [], []

    def row(self, *cells):
        assert len(cells) == len(self.columns), cells
        self.rows.append([str(c).replace("|", "\\|") for c in cells])

    def missing(self, reason):
        if reason not in self.reasons:
            self.reasons.append(reason)
        return f"not available ({self.reasons.index(reason) + 1})"

    def of(self, place, key, form, error=None):
        """A number of an object of metrics.json, with its error; why it is not there, where it is null."""
        if not place or place.get(key) is None:
            return self.missing(((place or {}).get("reasons") or {}).get(key, "not in this report's metrics.json"))
        number = form(place[key])
        return number if place.get(error) is None else f"{number} ± {form(place[error])}"

    def __str__(self):
        lines = ["| " + " | ".join(self.columns) + " |"]
        lines.append("|" + "|".join("---" if i < self.words else "--:" for i in range(len(self.columns))) + "|")
        lines += ["| " + " | ".join(r) + " |" for r in self.rows]
        if self.reasons:
            lines += ["", "Not available: " + "; ".join(f"({i}) {r}" for i, r in enumerate(self.reasons, 1)) + "."]
        return "\n".join(lines) + "\n"


def of_class(result, key, cls):
    """What a report says under `key` of a class: it stands under `all` where the file has no classes."""
    found = result.metrics.get(key) or {}
    return found.get(cls.name) or found.get("all") or {}


def boosted_auc(table, result, cls):
    """AUC of boosted trees that tell generated images from truth."""
    trees = of_class(result, "boosting", cls)
    absent = {"reasons": {"auc": "not in this report's metrics.json"}}
    return table.of(trees if "auc" in trees else absent, "auc", lambda x: decimals(x, 4), "auc_error")


def by_class(results, classes):
    for cls in classes:
        yield cls, [r for r in results if r.cls == cls]


def truth_floors(table, results, classes, cells, truth="truth against truth"):
    """Rows of truth, where it takes the place of the generated images: one, or one for each set of sizes that differ."""
    rows = {}
    for name in dict.fromkeys(r.job.name for r in results):
        of_job = {r.cls: r for r in results if r.job.name == name}
        rows.setdefault(tuple(cells(of_job[c]) for c in classes), []).append(name)
    for row, names in rows.items():
        label = truth + (f" (as {', '.join(names)})" if len(rows) > 1 else "")
        yield label, row


def nll(table, result, part):
    if result.is_vae:
        return table.missing("a VAE's loss is no likelihood")
    return table.of(result.metrics.get("nll") or {"reasons": {part: "the model's record has no such NLL"}}, part, lambda x: decimals(x, 3))


def test_nll(table, result):
    if not result.has_likelihood:
        return table.missing("a VAE whose decoder makes one image of a code has no likelihood")
    told = result.score["printed"]
    # NLL is minus the mean log-likelihood.
    mean = told.get("mean_log_likelihood_bound" if result.is_vae else "mean_log_likelihood")
    place = {"mean": -mean, "error": told.get("error_of_mean")} if mean is not None else {
        "reasons": {"mean": "`sarm score` gave none"}}
    cell = table.of(place, "mean", lambda x: decimals(x, 3), "error")
    return f"≤ {cell}" if result.is_vae and mean is not None else cell


def training_seconds(result):
    """As the training's own table adds up."""
    return sum(float(e["seconds"]) for e in result.epochs)


def likelihood_and_speed(results, classes):
    table = Table("class", "model", "parameters", "epochs", "NLL, training", "NLL, held out", "NLL, test", "training",
                  "training images/s", "generated images/s", "of the sampler alone", words=2)
    for cls, rows in by_class(results, classes):
        for r in rows:
            drawn = r.generate["printed"]
            seconds = training_seconds(r)
            images = r.info["record"]["images"][0] * len(r.epochs)
            absent = "no metrics.csv beside the model"
            table.row(
                cls.name, r.job.name, grouped(r.info["unmasked_parameters"]), r.info["record"]["epochs"],
                nll(table, r, "train"), nll(table, r, "validation"), test_nll(table, r),
                duration(seconds) if r.epochs else table.missing(absent),
                grouped(images / seconds) if seconds else table.missing(absent),
                figures(drawn["images_per_second"]), figures(drawn["sampler_images_per_second"]),
            )
    return (
        f"{table}\nOnly unmasked parameters are counted, and epochs up to the model that was kept. NLL is in nats per image, lower is better: for the "
        "training it is taken from the model's record, for the test file from `sarm score` (≤: at most, by a VAE's importance-weighted bound). The training time is that of the epochs. Generated images/s "
        "are measured up to the written file, and for the sampler alone.\n"
    )


def asked(argv):
    """A study's command line without what the page does not depend on."""
    words, rest = [], iter(argv)
    for word in rest:
        if word in ("--again", "--sarm", "--threads"):
            next(rest, None)
        elif word != "--quiet" and not word.startswith(("--again=", "--sarm=", "--threads=")):
            words.append(word)
    return shown_command(["scripts/study", *words])


def how_it_was_made(runner, results, argv, drawn=None):
    """`drawn` says what was generated, where it is not --count images of each class to be compared with truth."""
    lines = ["## How this page was made", "", "```", asked(argv), "```", "", *steps(runner, results, drawn), "", "## The truth", "", *truth(runner)]
    return "\n".join(lines).rstrip() + "\n"


def steps(runner, results, drawn=None):
    """Lines about the machine, what was generated, and the commands."""
    records = [x for r in results for x in r.records]
    some = lambda values: ", ".join(dict.fromkeys(v for v in values if v))
    dates = sorted(x["finished"] for x in records)
    ours = [r for r in results if r.generate]
    devices = some(r.generate["printed"]["device"] for r in ours)
    lines = [
        f"- Machine: {some(x['machine'] for x in records)}{f'; images drawn on: {devices}' if devices else ''}.",
        f"- Versions: {some(x['version'] for x in records)}; commit {some(x['commit'] for x in records) or 'not known'} (+: with changes).",
        f"- The steps ended on {some(d[:10] for d in (dates[0], dates[-1]))}.",
        drawn or f"- Generated: {some(grouped(r.generate['key']['count']) for r in ours)} images per class, seed {some(str(r.generate['key']['seed']) for r in ours)}; "
        f"compared with {some(c.name + ': ' + grouped(r.judged_by) for c in runner.classes for r in results if r.cls == c)} true images.",
    ]
    if runner.test.select or (runner.train_data and runner.train_data.select):
        rows = [f"{n} {' '.join(d.select)}" for n, d in (("training", runner.train_data), ("test", runner.test)) if d and d.select]
        lines.append(f"- Rows used: {'; '.join(rows)}.")
    given = [f"{r.job.name}, {r.cls.name}: SHA-256 `{r.info['sha256']}`, trained by sarm {r.info['record']['version']}" for r in results if r.info and r.train is None]
    if given:
        lines.append(f"- Models that were given, not trained by this command (the machine that their training speed was measured on is not recorded): {'; '.join(given)}.")
    return [*lines, "", "The commands of every step:", "", "```", *dict.fromkeys(x["command"] for x in records), "```"]


def truth(runner):
    """Lines about the files of true images."""
    lines = []
    for name, data in (("Training", runner.train_data), ("Test", runner.test)):
        if data:
            about = data.about
            classes = ", ".join(f"{grouped(n)} with signal = {k}" for k, n in (about.get("classes") or {}).items())
            lines.append(f"- {name}: `{shown(data.path)}`, {grouped(about['images'])} images of {about['height']} x {about['width']}"
                         f"{' (' + classes + ')' if classes else ''}, {100 * about['zero_fraction']:.1f} % zeros, SHA-256 `{data.sha256}`.")
    attributes = runner.test.about.get("attributes") or {}
    if attributes:
        table = Table("attribute of the test file", "value", words=2)
        for key, value in sorted(attributes.items()):
            if key != "command":
                table.row(f"`{key}`", " ".join(str(value).split()))
        lines += ["", str(table)]
    return lines


def configurations(runner, results):
    """The configurations as they were used."""
    lines = ["## Configurations", ""]
    # In the job's directory, wherever the study that trained it has that.
    place = lambda r: next(p for p in r.directory.parents if p.name == r.job.name)
    texts = {r.job.name: (place(r) / "config.toml").read_text() for r in results if r.train}
    for r in results:
        if not r.train and r.info:
            # Of a model that was given: what it is, not how it was trained.
            text = write_toml({k: v for k, v in r.info["config"].items() if k != "condition" or v["names"]})
            texts.setdefault(r.job.name, text)
    for name, text in texts.items():
        text = text.strip()
        lines += [f"<details><summary>{name}</summary>", "", "```toml", text, "```", "", "</details>", ""]
    if runner.options.epochs and any(r.train for r in results):
        lines += [f"`--epochs {runner.options.epochs}` replaced their number of epochs.", ""]
    return "\n".join(lines) if len(lines) > 2 else ""


GENERATED = "<!-- Written by scripts/study; every number comes from files that the commands below wrote. Do not edit. -->"
METRICS = "docs/metrics.md"


def metrics_link(page):
    """Link from a page to the definitions of the metrics; their path alone from pages elsewhere."""
    try:
        depth = len(page.resolve().parent.relative_to(ROOT).parts)
    except ValueError:
        return f"`{METRICS}`"
    return f"[{METRICS}]({'../' * depth}{METRICS})"
