"""Pages that compare variants of one configuration: generation order, size of the model, ablations."""

import copy
import math
import re

from .config import StudyError, flat, put, read_toml, remove, value_text
from .page import (
    GENERATED, OBSERVABLES, Table, boosted_auc, by_class, conditioned, configurations, decimals, grouped, heading, how_it_was_made,
    likelihood_and_speed, metrics_link, nll, soft_observables, test_nll, truth_floors,
)
from .runs import Job, tell

ORDERS = ("spiral", "reverse-spiral", "rows", "columns", "random")


def changed(base, sets=(), removed=()):
    config = copy.deepcopy(base)
    for key in removed:
        remove(config, key)
    for key, value in sets:
        put(config, key, value)
    return config


def stages(config):
    """The stages, written out: a configuration without any has one."""
    return config.setdefault("stage", []) or config["stage"].append({}) or config["stage"]


def order_jobs(base, options):
    jobs = []
    if not options.keep_stages:
        # With a centre of its own, the centre comes first in every order.
        last = {k: v for k, v in stages(base)[-1].items() if k != "square"}
        base["stage"] = [last]
    for kind in options.orders.split(","):
        if kind not in ORDERS:
            raise StudyError(f"'{kind}' is no order (there are {', '.join(ORDERS)}); choose of these with --orders")
        jobs.append(Job(kind, changed(base, [("order.kind", kind)]), note=kind))
    return jobs


def size_jobs(base, options):
    jobs = []
    for size in options.sizes.split(","):
        found = re.fullmatch(r"(\d+(?:\.\d+)?)x(\d+)", size)
        if not found or not float(found[1]):
            raise StudyError(f"'{size}' is no size (it is not FACTORxLAYERS); write e.g. --sizes 0.5x1,1x1,2x1")
        factor, layers = float(found[1]), int(found[2])
        config = copy.deepcopy(base)
        for stage in stages(config):
            stage["layers"] = layers
            stage["units_per_pixel"] = max(1, math.floor(factor * stage.get("units_per_pixel", 1) + 0.5))
        jobs.append(Job(size, config, note=f"{found[1]} times the units, {layers} layer{'s' if layers != 1 else ''}"))
    return jobs


def ablation_jobs(base, options):
    return [Job("base", base, note="the configuration as it is"), *variant_jobs(base, options.variants)]


def variant_jobs(base, path):
    """What a file of [[variant]]s makes of a configuration."""
    jobs = []
    variants = read_toml(path).get("variant")
    if not isinstance(variants, list) or not variants:
        raise StudyError(f"'{path}' has no [[variant]] (each has a name, and `set` or `remove`); see scripts/study ablation --help")
    for i, variant in enumerate(variants):
        name, sets, removed = variant.get("name"), variant.get("set", {}), variant.get("remove", [])
        unknown = set(variant) - {"name", "set", "remove", "note"}
        if not (isinstance(name, str) and re.fullmatch(r"[\w.+-]+", name)) or unknown or not isinstance(sets, dict) or not isinstance(removed, list):
            raise StudyError(
                f"variant {i + 1} of '{path}' is wrong ({'it knows no ' + ', '.join(sorted(unknown)) if unknown else 'its name is no plain word, or set no table, or remove no list'})"
                " write: name = \"..\", remove = [\"KEY\"], set = { \"KEY\" = VALUE }"
            )
        sets = list(flat(sets))
        words = [f"no `{k}`" for k in removed] + [f"`{k} = {value_text(v)}`" for k, v in sets]
        try:
            jobs.append(Job(name, changed(base, sets, removed), note=variant.get("note") or ", ".join(words)))
        except StudyError as e:
            raise StudyError(f"variant '{name}' of '{path}': {e}") from None
    return jobs


def curve_jobs(base, options):
    jobs = []
    for size in options.images.split(","):
        if not size.isdecimal() or int(size) < 1:
            raise StudyError(f"'{size}' is no number of images (it is not a whole number of at least 1); write e.g. --images 15000,30000")
        jobs.append(Job(f"{size}-images", base, note=f"{grouped(int(size))} images", limit=int(size)))
    return jobs


STUDIES = {
    "curve": (curve_jobs, "Learning curve", "One configuration, trained on more and more images; some of them are held out."),
    "order": (order_jobs, "Generation order", "One network, trained on the pixels in several orders, one run each."),
    "size": (size_jobs, "Size of the model", "Hidden units per pixel of every stage, as a multiple of the configuration's, and layers of every stage."),
    "ablation": (ablation_jobs, "Ablation", "One configuration, and variants of it in which something is removed or changed."),
}


def check_names(jobs):
    names = [j.name for j in jobs]
    for name in names:
        if names.count(name) > 1:
            raise StudyError(f"'{name}' stands twice (each has a directory of its own); name them differently")
    return jobs


def compare(kind, runner, jobs, page, argv):
    _, title, about = STUDIES[kind]
    results, classes = runner.all(jobs), runner.classes
    parts = [
        f"# {runner.options.title or title}",
        f"{GENERATED}\n\n{about} Each variant was trained once, so differences as small as those between two seeds mean nothing. Every metric is defined in {metrics_link(page)}.",
        conditioned(results),
    ]
    columns = {o: (heading(o), digits) for o, (_, _, digits) in OBSERVABLES.items()} | soft_observables(results)
    for cls, rows in by_class(results, classes):
        table = Table("model", "what it is", "parameters", "NLL, held out", "NLL, test",
                      "AUC, boosted trees", *(f"W1 {name}" for name, _ in columns.values()), words=2)
        for r in rows:
            distances = (
                table.of(r.metrics["all"].get(o), "w1", lambda x: decimals(x, digits), "w1_error")
                for o, (_, digits) in columns.items()
            )
            table.row(r.job.name, r.job.note, grouped(r.info["unmasked_parameters"]), nll(table, r, "validation"), test_nll(table, r), boosted_auc(table, r, cls), *distances)
        floor = lambda r: tuple(
            table.of(r.metrics["all"].get(o), "w1_floor", lambda x: decimals(x, digits), "w1_floor_std")
            for o, (_, digits) in columns.items()
        )
        for label, (row,) in truth_floors(table, rows, [cls], floor):
            table.row(label, "", "", "", "", "", *row)
        parts.append(f"## {cls.name.capitalize()}\n\n{table}")
    parts += [
        "## Likelihood and speed\n\n" + likelihood_and_speed(results, classes),
        configurations(runner, results),
        how_it_was_made(runner, results, argv),
    ]
    tell(f"the page: {page}")
    return "\n\n".join(p.strip() for p in parts if p) + "\n"
