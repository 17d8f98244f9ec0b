"""The page of `scripts/study classification`: the paper's transfer test (figures 9 and 14), and the two-sample test."""

from .fidelity import pictures, two_sample
from .page import (
    GENERATED, Table, conditioned, configurations, decimals, figures, grouped, how_it_was_made, metrics_link,
    truth_floors,
)
from .runs import tell

# Where the evaluation of both classes together lies, in the directory of a job.
TOGETHER = "classification"
SIDES = {"generated": "generated images", "truth": "truth"}


def side_of(result, side):
    """Of the transfer test, with the reasons of what is not there."""
    found = result.metrics.get("transfer")
    if not found:
        why = (result.metrics.get("reasons") or {}).get("transfer")
        return {"reasons": {k: why for k in ("auc", "rejection", "epochs") if why}}
    return {**found[side], "reasons": {"rejection": found[side].get("reason")}}


def transfer(results, classes):
    table = Table("model", "trained on", "AUC", "rejection of background at half of the signal", "epochs, kept", words=2)

    def cells(result, side):
        place = side_of(result, side)
        kept = f"{place['epochs']}, {place['best_epoch']}" if "epochs" in place else table.of(place, "epochs", str)
        return (table.of(place, "auc", lambda x: decimals(x, 4), "auc_error"), table.of(place, "rejection", figures, "rejection_error"), kept)

    of_job = {r.job.name: r for r in results}
    for name, r in of_job.items():
        table.row(name, SIDES["generated"], *cells(r, "generated"))
    for label, (row,) in truth_floors(table, results, classes[:1], lambda r: cells(r, "truth"), "truth"):
        table.row(label, SIDES["truth"], *row)
    told = dict.fromkeys(
        f"The classifier is `{f['options']['network']}`; {grouped(f['images']['train'])} images of either class train it, {grouped(f['images']['validation'])} choose the epoch, "
        f"{grouped(f['images']['test'])} true ones that were used in neither training test it."
        for f in (r.metrics.get("transfer") for r in of_job.values()) if f
    )
    return (
        "## Signal against background\n\nA classifier learns to tell signal from background, on generated images or on truth, and is tested on truth: the same true images for both."
        f"{' '.join(['', *told])} Errors are those of the finite test sample, which is the same for all rows, so most of each error is common to all; another training would give other values, too. The paper shows such curves in its figures 9 and 14; "
        f"we do not know their values.\n\n{table}"
    )


def classification(runner, jobs, page, argv):
    results, classes = runner.all(jobs, TOGETHER), runner.classes
    parts = [
        f"# {runner.options.title or 'Classification: ' + page.stem}",
        f"{GENERATED}\n\nHow well a classifier trained on generated images works on truth, and whether a classifier can tell generated images from truth. Every metric is defined in {metrics_link(page)}.",
        conditioned(results),
        transfer(results, classes),
        two_sample(results, classes),
        pictures(results, page, ["roc"]),
        configurations(runner, results),
        how_it_was_made(runner, results, argv),
    ]
    tell(f"the page: {page}")
    return "\n\n".join(p.strip() for p in parts if p) + "\n"
