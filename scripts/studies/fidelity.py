"""The page of `scripts/study fidelity`: tables 1 and 3 of the paper, tables 1 to 3 of arXiv 2009.04842, and figures."""

import shutil

from .config import read_toml
from .page import (
    GENERATED, OBSERVABLES, Table, boosted_auc, by_class, conditioned, configurations, decimals, figures, grouped, heading, how_it_was_made, of_class,
    likelihood_and_speed, metrics_link, soft_observables, truth_floors,
)
from .runs import ROOT, tell

FIGURES = ("jet_pt", "jet_mass", "tau_21", "multiplicity", "pixel_spectrum", "pixel_spectrum_log", "average_image",
           "zero_fraction", "samples", "training")
# Files of the reports' figures that are not those of all images.
DRAWN = {"training": "training.svg", "roc": "classifiers-transfer.svg"}


def papers(size):
    """The paper's numbers for images of this size."""
    for name, numbers in read_toml(ROOT / "scripts/paper-numbers.toml").items():
        if (numbers["height"], numbers["width"]) == size:
            return numbers
    return {"source": "", "remark": "The paper has no values for images of this size."}


def w1(results, classes, paper):
    columns = [f"{heading(o)}, {c.name}" for o in OBSERVABLES for c in classes]
    table, floors = Table("model", *columns), Table("model", *columns)
    for name in dict.fromkeys(r.job.name for r in results):
        of_class = {r.cls: r.metrics["all"] for r in results if r.job.name == name}
        cells, ratios = [], []
        for observable, (_, _, digits) in OBSERVABLES.items():
            for cls in classes:
                place = of_class[cls].get(observable)
                cells.append(table.of(place, "w1", lambda x: decimals(x, digits), "w1_error"))
                if place and place.get("w1") is not None and place.get("w1_floor"):
                    ratios.append(decimals(place["w1"] / place["w1_floor"], 2))
                else:
                    ratios.append(floors.missing("W1 or its floor is not available, or the floor is 0"))
        table.row(name, *cells)
        floors.row(name, *ratios)

    def floor(result):
        return tuple(
            table.of(result.metrics["all"].get(o), "w1_floor", lambda x: decimals(x, digits), "w1_floor_std")
            for o, (_, _, digits) in OBSERVABLES.items()
        )

    for label, row in truth_floors(table, results, classes, floor):
        table.row(label, *(row[c][o] for o in range(len(OBSERVABLES)) for c in range(len(classes))))
    for numbers in paper.get("w1", []):
        # Two decimals, as printed there.
        cells = [numbers.get(o, {}).get(c.name) for o in OBSERVABLES for c in classes]
        table.row(numbers["model"], *("" if x is None else decimals(x, 2) for x in cells))
    source = f"The paper's values: {paper['source']}. " if paper.get("w1") else ""
    return (
        f"## Distances of the observables\n\nW1 between generated and true images, with its bootstrap error. \"Truth against truth\" is what W1 would be "
        f"if the generated images were truth (`w1_floor`, ± its spread). {source}{paper['remark']}\n\n{table}\n"
        f"The same in units of the floor: 1 on average for a perfect generator.\n\n{floors}"
    )


def soft_pixels(results, classes):
    observables = soft_observables(results)
    columns = [name for name, _ in observables.values()]
    table, floors = Table("class", "model", *columns, words=2), Table("class", "model", *columns, words=2)
    for cls, rows in by_class(results, classes):
        for r in rows:
            places = [r.metrics["all"].get(o) for o in observables]
            form = lambda digits: lambda x: decimals(x, digits)
            digits = [d for _, d in observables.values()]
            table.row(cls.name, r.job.name, *(table.of(p, "w1", form(d), "w1_error") for p, d in zip(places, digits)))
            floors.row(cls.name, r.job.name, *(
                decimals(p["w1"] / p["w1_floor"], 2) if p and p.get("w1") is not None and p.get("w1_floor") else
                floors.missing("W1 or its floor is not available, or the floor is 0") for p in places
            ))
        floor = lambda r: tuple(
            table.of(r.metrics["all"].get(o), "w1_floor", lambda x: decimals(x, d), "w1_floor_std") for o, (_, d) in observables.items()
        )
        for label, (row,) in truth_floors(table, rows, [cls], floor):
            table.row(cls.name, label, *row)
    return (
        f"## Soft pixels\n\nW1 of the natural logarithm of the nonzero pixels, of all images together, and of the number of an image's nonzero pixels below a "
        f"threshold, with its error; images are resampled, not pixels.\n\n{table}\nThe same in units of the floor.\n\n{floors}"
    )


def means(results, classes, paper):
    observables = ("jet_mass", "jet_pt", "tau_21")
    table = Table("class", "images", *(f"{heading(o)}, {w}" for o in observables for w in ("mean", "width")), words=2)
    for cls, rows in by_class(results, classes):
        sides = [("truth", rows[0], "truth")] + [(r.job.name, r, "generated") for r in rows]
        for label, r, side in sides:
            cells = []
            for o in observables:
                form = lambda x: decimals(x, 4 if o == "tau_21" else 2)
                place = r.metrics["all"].get(o)
                cells += [table.of(place, f"{side}_{w}", form, f"{side}_{w}_error") for w in ("mean", "std")]
            table.row(cls.name, label, *cells)
        for numbers in (n for n in paper.get("means", []) if n["class"] == cls.name):
            cells = [decimals(x, 2) for o in observables for x in numbers[o]]
            table.row(cls.name, numbers["images"], *cells)
    source = f" Its own values, of its own truth, are those called paper: {paper['means_source']}." if paper.get("means") else ""
    return f"## Means and widths\n\nAs in table 2 of arXiv 2009.04842.{source}\n\n{table}"


def with_halves(table, results, classes, place_of, cells):
    """Rows of every class and model, then truth against itself."""
    for cls, rows in by_class(results, classes):
        for r in rows:
            table.row(cls.name, r.job.name, *cells(table, place_of(r), r))
        halves = (place_of(rows[0]) or {}).get("halves")
        table.row(cls.name, "halves of truth", *cells(table, halves or {"reasons": {}}, None))


def images(results, classes):
    table = Table("class", "model", "SSIM", "MSE / GeV²", "largest difference / GeV", "zeros, true / %", "zeros, generated / %",
                  "chi² of zero fractions", "separation, pixel spectrum", "the same, logarithmic", "chi² of the logarithmic spectrum", words=2)

    def cells(table, place, result):
        numbers = [("mean_image_ssim", 5), ("mean_image_mse", 3), ("mean_image_max_abs_difference", 3)]
        row = [table.of(place, k, lambda x: decimals(x, n) if n == 5 else figures(x)) for k, n in numbers]
        zeros = (place or {}).get("sparsity") if result else None
        row += [decimals(100 * zeros[side], 2) for side in ("truth", "generated")] if zeros else ["", ""]
        return row + [table.of(place, k, figures) for k in ("zero_fraction_chi2", "pixel_spectrum_separation", "pixel_spectrum_log_separation",
                                                          "pixel_spectrum_log_chi2")]

    with_halves(table, results, classes, lambda r: r.metrics.get("images", {}).get("all"), cells)
    return f"## Average images, zeros, pixels\n\nSSIM and MSE are those of the average images.\n\n{table}"


def separation(results, classes):
    names = {o: v[0] for o, v in {**OBSERVABLES, **soft_observables(results)}.items()}
    table = Table("class", "model", *names.values(), words=2)
    for cls, rows in by_class(results, classes):
        for r in rows:
            table.row(cls.name, r.job.name, *(table.of(r.metrics["all"].get(o), "separation", figures) for o in names))
        halves = [(rows[0].metrics["all"].get(o) or {}).get("halves") for o in names]
        table.row(cls.name, "halves of truth", *(table.of(h, "separation", figures) for h in halves))
    return f"## Separation power\n\n0 for equal histograms, 1 for histograms that share no bin.\n\n{table}"


def features(results, classes):
    table = Table("class", "model", "FPD", "KPD", "precision", "recall", "density", "coverage", words=2)

    def cells(table, place, _):
        row = []
        for key in ("fpd", "kpd"):
            inner = (place or {}).get(key) or {"reasons": {"value": ((place or {}).get("reasons") or {}).get(key, "not in this report's metrics.json")}}
            row.append(table.of(inner, "value", figures, "error"))
        inner = (place or {}).get("neighbours")
        reason = ((place or {}).get("reasons") or {}).get("neighbours", "not in this report's metrics.json")
        near = ("precision", "recall", "density", "coverage")
        return row + [table.of(inner or {"reasons": {k: reason}}, k, lambda x: decimals(x, 4)) for k in near]

    with_halves(table, results, classes, lambda r: r.metrics.get("features", {}).get("all"), cells)
    return f"## Distances of vectors of features\n\n{table}"


def two_sample(results, classes):
    table = Table("class", "model", "AUC", "JSD", "AUC, truth against truth", "JSD, truth against truth", words=2)
    some, sizes = False, set()
    for cls, rows in by_class(results, classes):
        for r in rows:
            told = r.metrics.get("two_sample") or {}
            # A class that was judged alone stands under its own name where the file names it and as `all` where it does not.
            name = cls.name if cls.name in told else "all"
            why = (told.get("reasons") or {}).get(name)
            told = told.get(name) or {}
            some |= bool(told or why)
            sizes.update(f"{grouped(told[side]['images']['train'])} images of either side" for side in ("generated",) if told)
            form = lambda x: decimals(x, 4)
            reasons = {k: told.get("truth_reason") or why or "not in this report's metrics.json" for k in ("auc", "jsd")}
            place = [told.get(side) or {"reasons": reasons} for side in ("generated", "truth")]
            table.row(cls.name, r.job.name, *(table.of(p, k, form, f"{k}_error") for p in place for k in ("auc", "jsd")))
    text = str(table) if some else "These evaluations trained no classifiers, so there are no results of the two-sample test.\n"
    trained = f" Trained on {', '.join(sorted(sizes))}; with more images it separates better." if sizes else ""
    return f"## Two-sample test\n\nA classifier is trained to tell generated images from truth; the best possible AUC is 0.5.{trained}\n\n{text}"


def boosted(results, classes):
    """What boosted trees on observables find, and whether training images are repeated."""
    table = Table("class", "model", "AUC", "images a side", "what they look at most", "nearest neighbour in training", words=2)
    for cls, rows in by_class(results, classes):
        for r in rows:
            trees, repeated = of_class(r, "boosting", cls), of_class(r, "memorising", cls)
            form = lambda x: decimals(x, 4)
            sizes = trees.get("images") or {}
            most = ", ".join(f"`{f['name']}`" for f in (trees.get("features") or [])[:4])
            table.row(
                cls.name, r.job.name,
                boosted_auc(table, r, cls),
                grouped(sum(sizes.values())) if sizes else "",
                most,
                table.of(repeated or {"reasons": {"share": "not in this report's metrics.json"}}, "share", form, "error"),
            )
    return (
        "## Boosted trees on observables\n\nTrees are trained to tell generated images from truth by their observables; 0.5 is guessing."
        " The last column is the share of generated images whose nearest neighbour is a training image and not one of as many unseen"
        f" ones: 0.5 where nothing is memorised.\n\n{table}"
    )


def pictures(results, page, wanted):
    """Copies of the reports' figures, and the text that shows them."""
    folder = page.parent / "figures" / page.stem
    shutil.rmtree(folder, ignore_errors=True)
    text, absent = [], []
    for figure in wanted:
        shown = []
        for r in results:
            source = r.directory / "report/figures" / DRAWN.get(figure, f"all-{figure}.svg")
            # The curves of signal and background are one figure for both.
            whose = [r.job.name] if figure == "roc" else [r.job.name, r.cls.name]
            if not source.exists():
                absent.append(f"{figure} of {', '.join(whose)}")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            name = "-".join([*whose, figure]) + ".svg"
            shutil.copyfile(source, folder / name)
            shown.append(f"![{', '.join([figure, *whose])}](figures/{page.stem}/{name})")
        if shown:
            caption = OBSERVABLES.get(figure, (figure.replace("_", " "),))[0]
            text += [f"### {caption}", "", *dict.fromkeys(shown), ""]
    if absent:
        text += [f"Not drawn by the reports: {'; '.join(dict.fromkeys(absent))}.", ""]
    return "## Figures\n\n" + "\n".join(text) if text else ""


def fidelity(runner, jobs, page, argv):
    results, classes, options = runner.all(jobs), runner.classes, runner.options
    paper = papers(runner.test.size)
    wanted = [] if options.figures == "none" else [f for f in options.figures.split(",") if f]
    parts = [
        f"# {options.title or 'Fidelity: ' + page.stem}",
        f"{GENERATED}\n\nThis page compares generated images with the true images of the test file. Every metric is defined in {metrics_link(page)}.",
        conditioned(results),
        w1(results, classes, paper),
        means(results, classes, paper),
        images(results, classes),
        soft_pixels(results, classes),
        separation(results, classes),
        features(results, classes),
        boosted(results, classes),
        two_sample(results, classes),
        "## Likelihood and speed\n\n" + likelihood_and_speed(results, classes),
        pictures(results, page, wanted),
        configurations(runner, results),
        how_it_was_made(runner, results, argv),
    ]
    tell(f"the page: {page}")
    return "\n\n".join(p.strip() for p in parts if p) + "\n"
