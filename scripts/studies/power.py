"""The page of `scripts/study power`: what the two-sample tests of `sarm evaluate` find in samples that are known to differ.

Truth is compared with other truth whose energy scale is smeared: every image times 1 + sigma N(0, 1). OUT/SIZE-SIGMA has
`truth.h5`, `smeared.h5` and `report/`, and `evaluate.json`, the record that a finished step is known by.
"""

import datetime
import json
import shutil
from pathlib import Path

from .config import StudyError
from .page import GENERATED, Table, decimals, grouped, metrics_link
from .runs import arrays, commit, machine, read_json, sha256, shown, shown_command, tell, write_whole


def numbers(text, kind, least):
    """The numbers of a list, each once."""
    try:
        found = list(dict.fromkeys(kind(word) for word in text.split(",")))
    except ValueError:
        raise StudyError(f"'{text}' is not a list of numbers (a comma stands between two); mend it") from None
    if min(found) < least:
        raise StudyError(f"'{text}' has a number below {least} (nothing can be compared so); mend it")
    return found


class Truth:
    """Images of one file, in memory."""

    def __init__(self, path, select):
        numpy, h5py = arrays()
        self.numpy, self.h5py = numpy, h5py
        try:
            with h5py.File(path) as file:
                rows = numpy.ones(len(file["image"]), bool)
                for word in select:
                    name, separator, value = word.partition("=")
                    if not separator or name not in file:
                        raise StudyError(f"'{word}' selects nothing (it is not NAME=VALUE of a data set); mend --select")
                    rows &= file[name][:] == float(value)
                self.images = file["image"][:][rows]
        except (OSError, KeyError, ValueError) as e:
            raise StudyError(f"cannot read images from '{path}' ({e}); give a file with a data set 'image'") from None

    def write(self, path, first, count, sigma=0.0, seed=0):
        """Images `first ..`, smeared; factors below 0 would be no energies and become 0."""
        images = self.images[first:first + count]
        if sigma:
            factors = 1 + sigma * self.numpy.random.default_rng(seed).normal(size=count)
            images = images * self.numpy.clip(factors, 0, None)[:, None, None].astype(images.dtype)
        with self.h5py.File(path, "w") as file:
            file.create_dataset("image", data=images, compression="gzip", compression_opts=1)


def evaluated(sarm, truth, place, key, again):
    """The metrics of one pair of samples; `key` says all that they depend on."""
    record = place / "evaluate.json"
    done = read_json(record)
    if again or not done or done["key"] != key:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        size = key["size"]
        truth.write(place / "truth.h5", 0, size)
        truth.write(place / "smeared.h5", size, size, key["sigma"], key["seed"])
        tell(f"{place.name}: {grouped(size)} images a side, smeared by {100 * key['sigma']:g} %")
        command, _ = sarm.long(
            "evaluate", "--truth", place / "truth.h5", "--generated", place / "smeared.h5", *key["evaluate"],
            "--out", place / "report", device=False,
        )
        done = {
            "key": key, "command": shown_command(command), "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "version": sarm.version, "commit": commit(), "machine": machine(),
        }
        write_whole(record, json.dumps(done, indent=1) + "\n")
    metrics = read_json(place / "report/metrics.json")
    if metrics is None:
        raise StudyError(f"'{place / 'report'}' holds no metrics.json (it was removed); give --again")
    return done, metrics


def row(table, size, sigma, metrics):
    boosting = metrics.get("boosting") or {}
    test = boosting.get("all") or {"reasons": {"auc": (boosting.get("reasons") or {}).get("all", "--skip-boosting was given")}}
    single = test.get("observable") or {"reasons": test.get("reasons")}
    network = (metrics.get("two_sample") or {}).get("all")
    cells = [table.of(place, "auc", lambda x: decimals(x, 4), "auc_error") for place in (test, single)]
    by = {"value": "", "distance": ", distance from the median"}.get(single.get("by"), "")
    cells.append(f"`{single['name']}`{by}" if "name" in single else "-")
    headline = metrics["headline"]["all"]["conclusion"].replace("_", " ")
    if network:
        found = network["generated"]
        cells.append(table.of(found, "auc", lambda x: decimals(x, 4), "auc_error") + ("" if found["learnt"] else ", has learnt nothing"))
    w1 = metrics["all"]["intensity"]
    floors = w1["w1"] / w1["w1_floor"] if w1.get("w1") is not None and w1.get("w1_floor") else None
    table.row(grouped(size), f"{100 * sigma:g} %", *cells, "-" if floors is None else decimals(floors, 1), headline)


def power(sarm, options, argv_shown):
    sizes, sigmas = numbers(options.sizes, int, 100), numbers(options.smear, float, 0.0)
    truth = Truth(options.truth, options.select)
    found, most = len(truth.images), max(sizes)
    if found < 2 * most:
        raise StudyError(f"'{options.truth}' has {found} images of this selection ({2 * most} are wanted: {most} a side); lower --sizes")
    page, digest = Path(options.page), sha256(options.truth)
    network = "--classifiers" in options.evaluate
    columns = ["images a side", "smeared by", "AUC, boosted trees", "AUC, best observable", "which"]
    table = Table(*columns, *(["AUC, network"] if network else []), "W1 of the sum, in floors", "all tests together", words=1)
    records = []
    for size in sizes:
        for sigma in sigmas:
            key = {"truth": digest, "select": options.select, "size": size, "sigma": sigma, "seed": options.seed, "evaluate": options.evaluate}
            record, metrics = evaluated(sarm, truth, Path(options.out) / f"{size}-{sigma:g}", key, options.again)
            records.append(record)
            row(table, size, sigma, metrics)
    some = lambda name: ", ".join(dict.fromkeys(str(r[name]) for r in records if r[name]))
    parts = [
        f"# {options.title or 'What the two-sample tests find'}",
        f"{GENERATED}\n\nTruth against other truth, as it is and with a smeared energy scale: every image of one side is multiplied by 1 + sigma N(0, 1), a new "
        f"number for each image. So it is known how much two samples differ, and the table says what `sarm evaluate` finds. Every metric is defined in {metrics_link(page)}.",
        str(table),
        "An AUC of 0.5 is guessing; its error is that of the finite test sample. Where nothing is smeared the samples are equal. `told apart` wants an AUC above 0.5 by more "
        "than three errors: the smallest smearing that has it is what so many images show.",
        "## How this page was made",
        f"```\n{argv_shown}\n```",
        f"- Truth: `{shown(options.truth)}`, SHA-256 `{digest}`" + (f", rows {' '.join(options.select)}" if options.select else "") + ".\n"
        f"- Machine: {some('machine')}.\n- Versions: {some('version')}; commit {some('commit') or 'not known'} (+: with changes).\n"
        f"- The steps ended on {max(r['finished'] for r in records)[:10]}.",
        "The commands of every step:",
        "```\n" + "\n".join(r["command"] for r in records) + "\n```",
    ]
    tell(f"the page: {page}")
    write_whole(page, "\n\n".join(p.strip() for p in parts) + "\n")
