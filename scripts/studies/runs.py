"""Trainings, generations and evaluations of a study: each done once and remembered.

A class of a configuration has the directory OUT/CONFIGURATION/CLASS with `run/` (of `sarm train`), `generated.h5` and
`report/` (of `sarm evaluate`), and beside them `train.json`, `generate.json`, `score.json`, `evaluate.json`: what each
step was asked, what it printed, when and on which machine. A step whose record asks the same is not done again.
"""

import csv
import datetime
import hashlib
import json
import os
import platform
import re
import resource
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from .config import StudyError, flat, write_toml

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("train", "generate", "score", "evaluate")


def tell(text):
    print(f"study: {text}", file=sys.stderr, flush=True)


def shown(path):
    """A path as a page may name it: inside this directory as it is, else the file's name alone."""
    path = os.path.normpath(path)
    if os.path.isabs(path):
        inside = os.path.relpath(path)
        path = inside if not inside.startswith("..") else os.path.basename(path)
    return os.path.basename(path) if path.startswith("..") else path


def shown_command(words):
    """A command line without the places of files that lie elsewhere."""
    return " ".join(shlex.quote(re.sub(r"(?:\.\.|(?<![\w.\-/]))/[^,=\s]*", lambda m: shown(m[0]), w)) for w in words)


def write_whole(path, text):
    """Under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text(text)
    temporary.replace(path)


def read_json(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def machine():
    processor = platform.processor() or platform.machine()
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        processor = names[0] if names else processor
    except OSError:
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{processor}, {cores} core{'s' if cores != 1 else ''}, {platform.system()}"


def processors_time():
    """Seconds that the programs which were started and have ended spent on processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def arrays():
    """numpy and h5py, which some studies want and the others do without."""
    try:
        import h5py
        import numpy
    except ImportError as e:
        raise StudyError(f"Python has no {e.name} (this study reads and writes images with it); run: make setup, and PATH=.tools/venv/bin:$PATH") from None
    return numpy, h5py


def commit():
    """The checkout's commit, with + where files were changed; None without git."""
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=True).stdout.strip()
    try:
        return git("rev-parse", "--short=10", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


class Sarm:
    """The program."""

    def __init__(self, path, threads=None, device=None, quiet=False):
        built = ROOT / "target/release/sarm"
        found = path or (str(built) if built.exists() else shutil.which("sarm"))
        if not (found and shutil.which(found)):
            raise StudyError(
                f"cannot run '{path}' (there is no such program); give --sarm a built one" if path
                else "sarm not found (neither target/release/sarm nor in PATH); run: make build"
            )
        self.path, self.device, self.quiet = shutil.which(found), device, quiet
        self.common = ["--threads", str(threads)] if threads else []
        self.version = self.call("--version")[1].strip()

    def call(self, *words, told=True):
        """Run it; (what was run, its standard output)."""
        command = [self.path, *map(str, words)]
        # The program's own error names the problem; it goes through.
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, stderr=None if told else subprocess.PIPE)
        if done.returncode != 0:
            why = "see its message above" if told else (done.stderr.strip().splitlines() or ["no message"])[0]
            raise StudyError(f"`{shlex.join(command)}` failed (exit code {done.returncode}) {why}")
        return ["sarm", *map(str, words)], done.stdout

    def long(self, verb, *words, device=True):
        quiet = ["--quiet"] if self.quiet else []
        on = ["--device", self.device] if device and self.device else []
        return self.call(verb, *words, *on, *self.common, *quiet)

    def info(self, path):
        if not os.path.isfile(path):
            raise StudyError(f"cannot read '{path}' (there is no such file); check the path")
        return json.loads(self.call("info", "--json", path, told=False)[1])


class Data:
    """A file of true images, and the rows of it that a study uses."""

    def __init__(self, sarm, path, select):
        self.path, self.select = path, select
        self.about = sarm.info(path)
        if "images" not in self.about or self.about.get("problem"):
            raise StudyError(f"'{path}' holds no images ({self.about.get('problem') or 'not a data file'}); give an HDF5 file of docs/formats.md")
        self.size = (self.about["height"], self.about["width"])
        self.sha256 = sha256(path)

    def check(self, cls):
        if all(d["name"] != cls.column for d in self.about["datasets"]):
            raise StudyError(f"'{self.path}' has no data set '{cls.column}' (class {cls.select} needs it); choose others with --classes")
        classes = self.about.get("classes") or {}
        if cls.column == "signal" and not any(float(k) == cls.value for k in classes):
            there = ", ".join(f"{n} with signal={k}" for k, n in classes.items()) or "none"
            raise StudyError(f"no image of '{self.path}' has {cls.select} (there are {there}); choose others with --classes")

    def selecting(self, *more):
        return [w for s in (*self.select, *more) for w in ("--select", s)]


@dataclass(frozen=True)
class Class:
    """Rows with one value of a data set."""
    select: str

    @property
    def column(self):
        return self.select.partition("=")[0]

    @property
    def value(self):
        return float(self.select.partition("=")[2])

    @property
    def name(self):
        known = {("signal", 1.0): "signal", ("signal", 0.0): "background"}
        return known.get((self.column, self.value), self.select.replace("=", "-"))

    @staticmethod
    def parse(text):
        classes = [Class(w.strip()) for w in text.split(",") if w.strip()]
        for c in classes:
            if not re.fullmatch(r"\w+=[-+.\deE]+", c.select):
                raise StudyError(f"'{c.select}' is no class (it is not NAME=NUMBER); write e.g. signal=1,signal=0")
        if not classes or len({c.name for c in classes}) < len(classes):
            raise StudyError(f"'{text}' names no classes or one twice (each has a directory of its own); write e.g. signal=1,signal=0")
        return classes


@dataclass
class Job:
    """A model to judge: trained from a configuration, or given."""
    name: str
    config: dict | None = None
    models: dict = field(default_factory=dict)
    """Checkpoints by class name; '' serves all classes."""
    images: dict = field(default_factory=dict)
    """Files of images that another program made, by class name; '' holds all classes."""
    note: str = ""
    """What the table says of it."""
    limit: int | None = None
    """Training images at the most, where it differs from the command's."""

    def model(self, cls):
        return self.models.get(cls.name, self.models.get(""))


@dataclass
class Result:
    """What the commands wrote about one class of one job."""
    job: Job
    cls: Class
    directory: Path
    info: dict | None
    """None where another program made the images."""
    train: dict | None
    epochs: list
    generate: dict | None
    score: dict | None = None
    metrics: dict = field(default_factory=dict)
    evaluate: dict | None = None
    more: list = field(default_factory=list)
    """Records of other steps."""

    @property
    def judged_by(self):
        """True images of the class."""
        of_class = self.metrics.get("images", {}).get(self.cls.name)
        return of_class["count"]["truth"] if of_class else self.metrics["meta"]["images"]["truth"]

    @property
    def is_vae(self):
        return (self.info or {}).get("family") == "vae"

    @property
    def has_likelihood(self):
        """Or a bound of it."""
        return self.info is not None and (not self.is_vae or "likelihood" in self.info["config"])

    @property
    def records(self):
        return [r for r in (self.train, self.generate, self.score, self.evaluate, *self.more) if r]


class Runner:
    def __init__(self, sarm, options, train, test, classes):
        self.sarm, self.options, self.train_data, self.test, self.classes = sarm, options, train, test, classes
        self.out = Path(options.out)
        self.machine, self.commit = machine(), commit()
        if train and train.size != test.size:
            raise StudyError(
                f"images of '{train.path}' are {train.size[0]}x{train.size[1]}, of '{test.path}' {test.size[0]}x{test.size[1]} "
                "(they must be of one kind); give two files of the same kind"
            )
        if train and (train.sha256, train.select) == (test.sha256, test.select):
            raise StudyError(
                f"'{train.path}' and '{test.path}' hold the same events (a model is judged by events that it has not seen) "
                "give another file, or other rows with --select-train row=0..7999 and --select-test row=8000..9999"
            )
        for data in (train, test):
            for cls in classes if data else ():
                data.check(cls)

    def step(self, directory, name, key, files, work, precious=False, kind=None):
        """Do `work` unless its record asks the same and its files are there; `kind` is the name that --again has for it."""
        record, old = directory / f"{name}.json", None
        if (kind or name) not in self.options.again:
            old = read_json(record)
        if old and all(f.exists() for f in files):
            # Through JSON, which makes lists of tuples.
            was, asked = (dict(flat(json.loads(json.dumps(k)))) for k in (old["key"], key))
            if was == asked:
                tell(f"    {name}: done already")
                return old
            if precious:
                changed = ", ".join(sorted(k for k in was | asked if was.get(k) != asked.get(k)))
                raise StudyError(
                    f"'{directory}' holds a model of another training ({changed} differs); choose another --out, or add --again {name}"
                )
        tell(f"    {name} ..")
        record.unlink(missing_ok=True)
        started, on_processors = datetime.datetime.now(datetime.timezone.utc), processors_time()
        command, printed = work()
        finished = datetime.datetime.now(datetime.timezone.utc)
        new = {
            "key": key,
            "command": shown_command(w for w in command if w != "--quiet"),
            "printed": json.loads(printed) if printed.strip() else None,
            "finished": finished.isoformat(timespec="seconds"),
            "seconds": round((finished - started).total_seconds(), 3),
            "cpu_seconds": round(processors_time() - on_processors, 3),
            "machine": self.machine,
            "version": self.sarm.version,
            "commit": self.commit,
        }
        write_whole(record, json.dumps(new, indent=1) + "\n")
        return read_json(record)

    def completed(self, job):
        """The configuration as the program understands it; written down on the way."""
        path = self.out / job.name / "config.toml"
        write_whole(path, write_toml(job.config))
        try:
            about = self.sarm.info(path)
        except StudyError as e:
            raise StudyError(f"configuration '{job.name}': {e}") from None
        return path, about

    def train(self, job, cls, config, about):
        """The model's file, and the training's record."""
        # A model with the class among its conditions learns all classes at once.
        shared = cls.column in (about.get("condition") or {}).get("names", [])
        directory = self.out / job.name / ("all" if shared else cls.name)
        select = [] if shared else [cls.select]
        run, model = directory / "run", directory / "run/model.safetensors"
        limit = job.limit or self.options.limit
        # As it was written, not as the program completes it: a newer program may know more keys.
        key = {"configuration": job.config, "epochs": self.options.epochs, "seed": self.options.train_seed,
               "limit": limit, "data": self.train_data.sha256, "select": [*self.train_data.select, *select]}
        again = "train" in self.options.again and directory not in self.trained

        def work():
            words = ["--data", self.train_data.path, *self.train_data.selecting(*select), "--config", config, "--out", run]
            for option, value in (("--epochs", self.options.epochs), ("--seed", self.options.train_seed), ("--limit", limit)):
                words += [option, value] if value is not None else []
            if (run / "state.safetensors").exists() and not again:
                words.append("--resume")
            elif run.exists():
                words.append("--force")
            return self.sarm.long("train", *words)

        if directory in self.trained:
            return model, read_json(directory / "train.json")
        record = self.step(directory, "train", key, [model], work, precious=True)
        self.trained.add(directory)
        return model, record

    def model(self, job, cls, checked):
        """A job's model of one class: (its file, the record of its training, what `sarm info` says of it)."""
        given = job.model(cls)
        model, record = (Path(given), None) if given else self.train(job, cls, *checked)
        info = self.sarm.info(model)
        size = (info["config"]["image"]["height"], info["config"]["image"]["width"])
        if size != self.test.size:
            raise StudyError(f"'{model}' draws images of {size[0]}x{size[1]}, '{self.test.path}' holds others ({self.test.size[0]}x{self.test.size[1]}); give a model of the same images")
        return model, record, info

    def conditions(self, model, info, cls):
        """What images of one class are told: options of `sarm generate`, and their part of a key."""
        names = info["config"]["condition"]["names"]
        if not names:
            return [], {}
        if info.get("prior"):
            # Told the class alone: the rest it draws itself.
            words = ["--given", cls.select] if cls.column in names else []
            return words, {"given": ["drawn", *words]}
        # From the training file: the events of the judgement stay unseen.
        if not self.train_data:
            raise StudyError(f"'{model}' has conditions (it needs them to draw images); give --truth-train, whose rows have them")
        words = ["--given-from", self.train_data.path, *self.train_data.selecting(cls.select)]
        return words, {"given": [self.train_data.sha256, *self.train_data.select, cls.select]}

    def draw(self, job, cls, checked):
        """Images of one class of one job: (model, their file, the key that says how they were drawn, Result not yet judged)."""
        directory = self.out / job.name / cls.name
        model, record, info = self.model(job, cls, checked)
        drawn = directory / "generated.h5"
        directory.mkdir(parents=True, exist_ok=True)
        conditions, told = self.conditions(model, info, cls)
        key = {"model": info["sha256"], "count": self.options.count, "seed": self.options.seed, **told}
        generate = self.step(directory, "generate", key, [drawn], lambda: self.sarm.long(
            "generate", "--model", model, "--count", self.options.count, "--seed", self.options.seed, *conditions,
            "--layout", "sparse", "--out", drawn, "--json", "--force"))
        return model, drawn, key, Result(job, cls, directory, info, record, epochs(model), generate)

    def evaluate(self, directory, key, *words):
        """The record of an evaluation, and what it found."""
        report = directory / "report"
        half_width = ["--range", self.options.range] if self.options.range else []
        key = {**key, "range": self.options.range, "arguments": self.options.evaluate}
        record = self.step(directory, "evaluate", key, [report / "metrics.json"], lambda: (self.sarm.long(
            "evaluate", *words, *half_width, *self.options.evaluate, "--out", report, "--force", device=False)[0], ""))
        metrics = read_json(report / "metrics.json")
        if not metrics or "all" not in metrics:
            raise StudyError(f"'{report / 'metrics.json'}' is no report of an evaluation (it is damaged); add --again evaluate")
        return record, metrics

    def judge(self, job, cls, checked):
        """Everything about one class of one job."""
        model, drawn, key, result = self.draw(job, cls, checked)
        select = [*self.test.select, cls.select]
        truth = {"truth": self.test.sha256, "select": select}
        # A VAE whose decoder makes one image of a code gives no probabilities.
        if result.has_likelihood:
            # A decoder's pass for each code of each image: as many as take minutes.
            samples = ["--samples", 10] if result.is_vae else []
            key_of_score = {"model": result.info["sha256"], **truth} | ({"samples": samples} if samples else {})
            result.score = self.step(result.directory, "score", key_of_score, [], lambda: self.sarm.long(
                "score", "--model", model, "--data", self.test.path, *self.test.selecting(cls.select), *samples, "--json", device=False))
        result.evaluate, result.metrics = self.evaluate(
            result.directory, {**key, **truth}, "--truth", self.test.path, *self.test.selecting(cls.select), "--generated", drawn, "--model", model)
        return result

    def judge_together(self, drawn, name):
        """One evaluation of all classes of a job, in a directory of its own: the results are told what it found of all."""
        results = [result for *_, result in drawn]
        directory = self.out / results[0].job.name / name
        directory.mkdir(parents=True, exist_ok=True)
        key = {"drawn": [key for _, _, key, _ in drawn], "truth": self.test.sha256, "select": self.test.select}
        files = [w for path in dict.fromkeys(path for _, path, _, _ in drawn) for w in ("--generated", path)]
        record, metrics = self.evaluate(directory, key, "--truth", self.test.path, *self.test.selecting(), *files)
        for result in results:
            result.directory, result.metrics = directory, metrics
        # It was the last step of all.
        results[-1].evaluate = record
        return results

    def check(self, jobs):
        """Before anything is trained: what `train` needs of every job without models, by its name."""
        self.trained = set()
        self.out.mkdir(parents=True, exist_ok=True)
        checked = {}
        # Every mistake in a configuration shows before hours of training.
        for job in jobs:
            if any(not job.model(c) for c in self.classes):
                if job.config is None:
                    missing = next(c.name for c in self.classes if not job.model(c))
                    raise StudyError(f"no model of '{job.name}' for class {missing} (neither --configs nor --models has one); give it as {job.name}/{missing}=FILE")
                if not self.train_data:
                    raise StudyError("nothing to train on (there is no --truth-train); give the training file, or models with --models")
                checked[job.name] = self.completed(job)
        return checked

    def all(self, jobs, together=None):
        """Results of every job and class, jobs outermost; with a directory's name the classes of a job are judged together, there."""
        checked = self.check(jobs)
        results, total = [], len(jobs) * len(self.classes)
        for job in jobs:
            drawn = []
            for cls in self.classes:
                tell(f"[{len(results) + len(drawn) + 1}/{total}] {job.name}, {cls.name}")
                if together:
                    drawn.append(self.draw(job, cls, checked.get(job.name)))
                else:
                    results.append(self.judge(job, cls, checked.get(job.name)))
            if together:
                results += self.judge_together(drawn, together)
        return results


def epochs(model):
    """Rows of the training's own table beside a model; empty where there is none."""
    try:
        with open(Path(model).with_name("metrics.csv"), newline="") as f:
            return list(csv.DictReader(f))
    except OSError:
        return []
