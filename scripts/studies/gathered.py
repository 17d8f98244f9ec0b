"""What `scripts/study papers` takes from elsewhere: images of other programs, reports of other studies, speeds, trainings."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from .config import StudyError, flat, value_text
from .runs import ROOT, Data, Job, Result, Runner, epochs, read_json, sha256, shown


class Gatherer(Runner):
    """A runner that also judges images of other programs. Likelihoods, which take long for some models, are left out."""

    def __init__(self, *words):
        super().__init__(*words)
        self.files, self.changed = {}, {}

    def check(self, jobs):
        for job in (j for j in jobs if j.images):
            for cls in self.classes:
                self.outside(job, cls)
        return super().check([j for j in jobs if not j.images])

    def outside(self, job, cls):
        """The file of another program's images of one class."""
        path = job.images.get(cls.name, job.images.get(""))
        if not path:
            raise StudyError(f"no images of '{job.name}' for class {cls.name} (--images names none); give them as {job.name}/{cls.name}=FILE")
        if path not in self.files:
            self.files[path] = Data(self.sarm, path, [])
        data = self.files[path]
        if data.size != self.test.size:
            raise StudyError(f"images of '{path}' are {data.size[0]}x{data.size[1]}, of '{self.test.path}' {self.test.size[0]}x{self.test.size[1]} (they must be of one kind); mend --images")
        if "" in job.images:
            data.check(cls)
        return data

    def draw(self, job, cls, checked):
        if not job.images:
            return super().draw(job, cls, checked)
        data, directory = self.outside(job, cls), self.out / job.name / cls.name
        directory.mkdir(parents=True, exist_ok=True)
        return None, data.path, {"images": data.sha256}, Result(job, cls, directory, None, None, [], None)

    def compare(self, name, model):
        """What the configuration beside a model has otherwise than the one of its name that ships, once for each row."""
        ran, ships = Path(model).with_name("config.toml"), shipped(name)
        if ships and ran.is_file():
            mine, theirs = (dict(flat(self.sarm.info(p))) for p in (ran, ships))
            told = [f"`{k}` {value_text(mine[k])} ({value_text(theirs[k])})" for k in mine if k in theirs and mine[k] != theirs[k]]
            self.changed.setdefault(name, {}).update(dict.fromkeys(told))

    def judge(self, job, cls, checked):
        model, drawn, key, result = self.draw(job, cls, checked)
        if model:
            self.compare(job.name, model)
        more = ["--model", model] if model else ["--select-generated", cls.select] if "" in job.images else []
        result.evaluate, result.metrics = self.evaluate(
            result.directory, {**key, "truth": self.test.sha256, "select": [*self.test.select, cls.select]},
            "--truth", self.test.path, *self.test.selecting(cls.select), "--generated", drawn, *more)
        return result

    def of_this_truth(self, evaluate, *more):
        """Whether an evaluation's record is of the true images that are judged by here."""
        key = (evaluate or {}).get("key", {})
        asked = (self.test.sha256, [*self.test.select, *more], self.options.range)
        return (key.get("truth"), key.get("select"), key.get("range")) == asked

    def earlier(self, place):
        """Results of a job that another study left in the directory `place`; none unless all classes are there, of the same truth."""
        results = []
        for cls in self.classes:
            directory = place / cls.name
            evaluate, generate = (read_json(directory / f"{step}.json") for step in ("evaluate", "generate"))
            metrics = read_json(directory / "report/metrics.json")
            if not (metrics and "all" in metrics and self.of_this_truth(evaluate, cls.select)):
                return []
            model, info = self.model_of(directory, generate)
            if model:
                self.compare(place.name, model)
            train = read_json(model.parents[1] / "train.json") if model and place in model.parents else None
            results.append(Result(Job(place.name), cls, directory, info, train, epochs(model) if model else [], generate, None, metrics, evaluate))
        return results

    def model_of(self, directory, generate):
        """The model that drew a directory's images, and what it is; None where it is not there any more."""
        if not generate:
            return None, None
        words = shlex.split(generate["command"])
        named = words[words.index("--model") + 1]
        for path in (directory / "run/model.safetensors", directory.parent / "all/run/model.safetensors", Path(named)):
            if path.is_file() and sha256(path) == generate["key"]["model"]:
                return path, self.sarm.info(path)
        return None, None


def shipped(name):
    """The configuration that ships under a name; None where there is none."""
    return next((p for p in (ROOT / f"configs/paper/{name}.toml", ROOT / f"configs/{name}.toml") if p.is_file()), None)


class Everywhere(dict):
    """The same under every key."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def get(self, key, default=None):
        return self.value

    def __bool__(self):
        return True


def absent(name, classes, reason):
    """Results of what was not judged: every number is missing, for one reason."""
    nothing = {"auc": None, "reasons": Everywhere(reason)}
    metrics = {"all": Everywhere(nothing), "images": {"all": nothing}, "boosting": {"all": nothing}}
    return [Result(Job(name), c, None, None, None, [], None, None, metrics) for c in classes]


def objects(path):
    """The JSON objects of a file, one after another."""
    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as e:
        raise StudyError(f"cannot read '{path}' ({e}); give a file of JSON lines") from None
    decoder, at, found = json.JSONDecoder(), 0, []
    while text[at:].strip():
        at += len(text[at:]) - len(text[at:].lstrip())
        try:
            one, at = decoder.raw_decode(text, at)
        except ValueError as e:
            raise StudyError(f"'{path}' is not JSON ({e}); give what a program printed, nothing else") from None
        if not isinstance(one, dict):
            raise StudyError(f"'{path}' holds no JSON objects ({type(one).__name__} stands there); give what a program printed")
        found.append(one)
    return found


def named_files(text, option):
    """`NAME=FILE,..` as pairs; the name may be missing."""
    for word in filter(None, text.split(",")):
        name, _, path = word.rpartition("=")
        if not path:
            raise StudyError(f"'{word}' names no file (it is not NAME=FILE); mend {option}")
        yield name, path


@dataclass
class Speed:
    """How fast images come, as a program measured it."""
    name: str
    images_per_second: float | None
    on: str
    by: str
    card: bool = False
    parameters: int | None = None
    reason: str = ""
    """Why there is no rate."""


def speeds(text):
    """(speeds by the row they belong to, lines about the files)."""
    rows, about = {}, []
    for name, path in named_files(text, "--speeds"):
        found = objects(path)
        benches = [o for o in found if "sampling" in o]
        told = [s for o in benches for s in of_bench(o)] if benches else of_peer(name or Path(path).stem, found, path)
        for one in told:
            rows.setdefault(one.name, []).append(one)
        machines = ", ".join(dict.fromkeys(one.on for one in told))
        about.append(f"`{shown(path)}` ({', '.join(dict.fromkeys(s.name for s in told))}; {machines}), SHA-256 `{sha256(path)}`")
    return rows, about


def of_bench(report):
    """Of `sarm bench --json`."""
    machine, threads = report["machine"]["processor"], report["machine"]["threads"]
    by = f"`sarm bench` {report['version']}, random weights"
    for s in report["sampling"]:
        if s["sampler"] != "naive":
            rate = s.get("images_per_cpu_second")
            yield Speed(s["config"], rate, f"{machine}, {threads} thread{'s' if threads != 1 else ''}", by,
                        reason="" if rate else "this `sarm bench` did not measure the processor's time")
    for s in (report.get("card") or {}).get("sampling", []):
        yield Speed(s["config"], s["into_memory"][-1]["images_per_second"], report["card"]["device"], by, card=True)


def of_peer(name, found, path):
    """Of a script of benches/peers, the fastest of each sampler that it measured; or of `tools/simulate/simulate --json`."""
    made = [o for o in found if o.get("what") == "simulation"]
    if made:
        # Of the processor's time, which older programs did not tell.
        seconds = "cpu_seconds" if all("cpu_seconds" in o for o in made) else "seconds"
        rate = sum(o["images"] for o in made) / sum(o[seconds] for o in made)
        processes = made[0]["processes"]
        pool = ", without its minimum-bias events, made once" if made[0].get("study") == "muons" else ""
        by = f"`{made[0]['program']}`, {' and '.join(o['class'] for o in made)}{pool}"
        return [Speed(name, rate, f"cpu, {processes} process{'es' if processes != 1 else ''}", by)]
    head = next((o for o in found if "torch" in o), {})
    device, threads = head.get("device", "cpu"), head.get("threads")
    on = device + (f", {threads} thread{'s' if threads != 1 else ''}" if threads and device == "cpu" else "")
    best = {}
    for o in found:
        if "images_per_second" in o and o.get("what", "training") != "training":
            best[o["what"]] = max(best.get(o["what"], o), o, key=lambda o: o["images_per_second"])
    if best:
        told = lambda o: [f"PyTorch {head.get('torch', '')}".strip(), *(o[k] for k in ("what", "way") if o.get(k, "drawing") != "drawing"), *([f"batch {o['batch']}"] if "batch" in o else [])]
        return [Speed(name, o["images_per_second"], on, ", ".join(told(o)), device != "cpu", head.get("parameters")) for o in best.values()]
    raise StudyError(f"'{path}' holds no speeds (no line has \"images_per_second\"); give what `sarm bench --json` or `speed` of benches/peers printed")


def trainings(text):
    """What the scripts of benches/peers printed while they trained, by row: the last epoch's line. And lines about the files."""
    rows, about = {}, []
    for name, path in named_files(text, "--trainings"):
        lines = [o for o in objects(path) if "epoch" in o]
        if not lines:
            raise StudyError(f"'{path}' tells of no epoch (a training that has begun prints a line for each); give what `train` of benches/peers printed")
        rows[name or Path(path).stem] = lines[-1]
        about.append(f"`{shown(path)}`, SHA-256 `{sha256(path)}`")
    return rows, about
