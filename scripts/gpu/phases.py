"""The phases of scripts/gpu-check, in the order of what we most want to know, and what runs their commands."""

import csv
import glob
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

CLOCKS = "clocks.sm,clocks.mem,power.draw,temperature.gpu"
CARD = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current,clocks_throttle_reasons.active"
USUAL = ["/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/nsight-compute/*"]
CUT_SHORT = "cut short"
# Losses of the first epochs on card and processor: the limit that tests/cuda/imitation.rs holds the emulation to.
APART = 0.01


class Problem(Exception):
    """Why a phase failed. `late`: its time was over; `output` is what it had said by then."""

    def __init__(self, why, late=False, output=""):
        super().__init__(why)
        self.late, self.output = late, output


def tail(text, lines=80):
    return "\n".join(text.strip().splitlines()[-lines:])


@dataclass
class Phase:
    name: str
    limit: int
    """Seconds."""
    work: Callable
    """Takes the Check, puts figures into it, and returns an outcome other than "passed", or None."""
    always: bool = False
    """Done by every call: later phases need what it finds."""


class Check:
    """Runs the commands of a phase."""

    def __init__(self, kit, out, work, python, tiny, figures):
        self.kit, self.out, self.work, self.tiny, self.figures = kit, out, work, tiny, figures
        # Commands run in another folder. The path stays as it is: what a virtual environment's link leads to is not the environment.
        self.python = os.path.abspath(python) if os.sep in python else python
        self.environment = dict(os.environ, SARM_TEST_DEVICE="cuda", CRITERION_HOME=str(work / "criterion"))
        if tiny:
            self.environment["SARM_TEST_CASE"] = "gather"
        self.commands, self.deadline, self.clocks, self.watcher = [], 0.0, [], None

    def begin(self, seconds):
        self.commands, self.deadline = [], time.monotonic() + seconds

    def end(self):
        """The clocks that were seen since the phase began."""
        if self.watcher:
            stop, thread = self.watcher
            stop.set()
            thread.join(timeout=6)
            self.watcher = None
        seen, self.clocks = self.clocks, []
        return seen

    @property
    def left(self):
        return self.deadline - time.monotonic()

    def program(self, name):
        return str(self.kit / "bin" / name)

    def config(self, name):
        """A configuration of the kit; in a rehearsal one with fewer units."""
        path = self.kit / "configs" / f"{name}.toml"
        if not self.tiny:
            return path
        text = path.read_text()
        for pattern, small in ((r"(units_per_pixel) *= *\d+", r"\1 = 1"), (r"(layers) *= *\d+", r"\1 = 1"), (r"(filters) *= *\[[^]]*\]", r"\1 = [4, 4, 4]")):
            text = re.sub(pattern, small, text)
        small = self.work / path.name
        small.write_text(text)
        return small

    def command(self, words):
        """Run a command of the phase: its standard output."""
        words = [str(w) for w in words]
        self.commands.append(" ".join(words))
        if not shutil.which(words[0]):
            raise Problem(f"{words[0]} is not on this machine")
        limit = max(self.left, 1)
        try:
            # A group of its own: sanitizers and profilers start the program that works on the card.
            process = subprocess.Popen(
                words, cwd=self.work, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                text=True, errors="replace", start_new_session=True,
            )  # fmt: skip
        except OSError as problem:
            raise Problem(f"cannot be run: {problem}") from None
        try:
            said, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            self.end_group(process)
            said, _ = process.communicate()
            raise Problem(f"not done after {limit:.0f} s\n{tail(said)}", late=True, output=said) from None
        except BaseException:
            self.end_group(process)
            raise
        if process.returncode != 0:
            raise Problem(f"exit code {process.returncode}\n{tail(said)}\n{tail(errors)}", output=said)
        return said

    @staticmethod
    def end_group(process):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def tool(self, name):
        """A tool of the toolkit, in PATH or where it usually lies."""
        usual = (path for folder in USUAL for path in sorted(glob.glob(f"{folder}/{name}"), reverse=True))
        return shutil.which(name) or next((path for path in usual if os.access(path, os.X_OK)), name)

    def tests(self, *words, before=()):
        """Tests of the kit on the card: what was said. A test binary that ran nothing has shown nothing."""
        said = self.command([*before, self.program("cuda"), *words])
        found = re.search(r"test result: ok\. (\d+) passed", said)
        if not found or int(found.group(1)) == 0:
            raise Problem(f"no test ran\n{tail(said)}")
        return said

    @property
    def card(self):
        """Arguments of nvidia-smi for the card that is measured: it counts cards in another order than CUDA does."""
        cards = self.figures.get("devices", {}).get("cuda") or [{}]
        uuid = cards[0].get("uuid") or "0"
        # It does not take an instance of MIG; then there is usually one card.
        return f"--id={'0' if uuid.startswith('MIG') else uuid}"

    def watch_clocks(self):
        """From now to the end of the phase: clocks, power and temperature once a second, as they are under way."""
        stop = threading.Event()

        def watch():
            while not stop.wait(1.0):
                try:
                    query = ["nvidia-smi", f"--query-gpu={CLOCKS}", "--format=csv,noheader,nounits", self.card]
                    line = subprocess.run(query, capture_output=True, text=True, timeout=5).stdout
                    self.clocks.append([float(v) for v in line.strip().split(",")])
                except ValueError:
                    # "[N/A]": this card does not tell one of them.
                    continue
                except (OSError, subprocess.TimeoutExpired):
                    return

        thread = threading.Thread(target=watch, daemon=True)
        self.watcher = stop, thread
        thread.start()


def devices(check):
    found = json.loads(check.command([check.program("sarm"), "info", "--devices", "--json"]))
    if found["without_cuda"]:
        raise Problem(found["without_cuda"])
    before = check.figures.get("devices")
    of_kind = lambda devices: {k: v for k, v in devices["cuda"][0].items() if k != "uuid"}
    if before and of_kind(before) != of_kind(found):
        sys.exit(f"gpu-check: error: the report in {check.out} is of another card ({before['cuda'][0]['name']}); choose another --out")
    if before and before["cuda"][0]["uuid"] != found["cuda"][0]["uuid"]:
        check.figures.setdefault("other_cards", []).append(before["cuda"][0]["uuid"])
    check.figures["devices"] = found


def card(check):
    said = check.command(["nvidia-smi", f"--query-gpu={CARD}", "--format=csv,nounits", check.card])
    rows = list(csv.reader(said.splitlines(), skipinitialspace=True))
    if len(rows) < 2:
        raise Problem(f"nvidia-smi told nothing\n{tail(said)}")
    check.figures["card"] = dict(zip(rows[0], rows[1]))


def tests(*words, tiny=()):
    """`words` name tests; `tiny` fewer of the same, for a rehearsal, which also asks whether the others are there."""

    def work(check):
        if check.tiny:
            listed = check.command([check.program("cuda"), *words, "--list"])
            if ": test" not in listed:
                raise Problem(f"there is no test {words[0]}")
        check.tests(*(tiny if check.tiny and tiny else words))

    return work


# What compute-sanitizer ends with where it looked at something and found nothing.
CLEAN = re.compile(r"SUMMARY: 0 (errors|hazards displayed \(0 errors, 0 warnings\))")


def sanitized(tool):
    def work(check):
        said = check.tests(*ONCE, before=[check.tool("compute-sanitizer"), "--tool", tool, "--error-exitcode", "9"])
        if not CLEAN.search(said):
            raise Problem(f"it does not say that it found nothing\n{tail(said)}")

    return work


# Every case of the kernels' tests once, small shapes.
ONCE = ("kernels::operations_once", "--ignored", "--test-threads=1")


def bench(check, seconds, *words):
    tiny = ["--tiny"] if check.tiny else []
    said = check.command([check.program("sarm"), "bench", "--device", "cuda", "--json", "--seconds", 0.01 if check.tiny else seconds, *words, *tiny])
    try:
        found = json.loads(said).get("card") or {}
    except ValueError as problem:
        raise Problem(f"its output is not JSON: {problem}") from None
    for name, key in (("sarm", "training"), ("sampling", "sampling")):
        of_config = lambda entry: (entry["config"], entry.get("batch"))
        new = found.pop(key, [])
        # What the headline measured stands until it is measured again.
        kept = [e for e in check.figures.get(name, []) if of_config(e) not in map(of_config, new)]
        check.figures[name] = kept + new
    check.figures["sarm_rates"] = found


def headline(check):
    check.watch_clocks()
    bench(check, 0.5, "--config", "jets-dc")


def all_configs(check):
    check.watch_clocks()
    # One at a time: what was measured before its time was over stays.
    for config in ("jets-dc", "jets-dd", "jets-vae", "jets-sparse-vae", "muons-dc", "muons-dd"):
        bench(check, 0.8, "--config", config)


def peer(name, script, *words, tiny=("--tiny",)):
    """Records of a script of PyTorch's that name a way; those of an earlier phase stand where it tells nothing of the same."""

    def work(check):
        check.watch_clocks()
        # What it does not begin any more it says itself; the rest of its limit is for what it is at then.
        of_time = ["--seconds", f"{max(check.left - 30, 10):.0f}"] if "--rounds" not in words else []
        more = [*tiny, "--device", "cpu"] if check.tiny else []
        late = None
        try:
            said = check.command([check.python, check.kit / "peers" / script, *words, *of_time, *more])
        except Problem as problem:
            late, said = problem, problem.output
        records = []
        for line in said.splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                pass
        for record in records:
            check.figures.update({k: record[k] for k in ("rates", "torch") if k in record})
        ways = [r for r in records if "way" in r]
        of = lambda r: tuple(r.get(k) for k in ("config", "what", "batch", "way"))
        measured = {of(r) for r in ways if "images_per_second" in r}
        earlier = [r for r in check.figures.get(name, []) if of(r) not in measured]
        names = {of(r) for r in earlier}
        check.figures[name] = earlier + [r for r in ways if of(r) not in names or of(r) in measured]
        if late and not (late.late and measured):
            raise late
        if ways and not measured:
            raise Problem("nothing was measured: " + "; ".join(sorted({str(r.get("error") or r.get("skipped")) for r in ways})))
        # What was measured before its time was over counts.
        return CUT_SHORT if late or any("skipped" in r for r in ways) else None

    return work


def curve(check, config, of):
    """The same short training on both devices: losses must lie together. That gradients are right is for the tests."""
    sample, losses = check.kit / "data" / "jets-sample.h5", {}
    amount = ["--limit", "16", "--epochs", "1", "--set", "train.batch=16"] if check.tiny else ["--limit", "2000", "--epochs", "3"]
    for device in ("cpu", "cuda"):
        out = check.work / f"run-{config}-{device}"
        check.command([
            check.program("sarm"), "train", "--quiet", "--device", device, "--data", sample, *of, *amount,
            "--config", check.config(config), "--out", out,
        ])  # fmt: skip
        with open(out / "metrics.csv") as file:
            losses[device] = [float(row["train_nll"]) for row in csv.DictReader(file)]
    check.figures.setdefault("loss_curves", {})[config] = losses
    apart = max(abs(a - b) / abs(a) for a, b in zip(losses["cpu"], losses["cuda"]))
    if not apart < APART:
        raise Problem(f"losses of {config} differ by {apart:.2%} (at most {APART:.0%}): {losses}")


def curves(check):
    curve(check, "jets-dc", ["--select", "signal=1"])
    curve(check, "jets-sparse-vae", [])


def criterion(check):
    check.watch_clocks()
    place = check.work / "criterion"
    # In a rehearsal every kernel runs once, and is not measured.
    late = None
    try:
        check.command([check.program("kernels-bench"), "--bench", "--noplot", *(["--test"] if check.tiny else [])])
    except Problem as problem:
        late = problem
    needs = json.loads((place / "work.json").read_text()) if (place / "work.json").is_file() else {}
    found = []
    for file in sorted(place.glob("**/new/estimates.json")):
        about = json.loads((file.parent / "benchmark.json").read_text())
        estimate = json.loads(file.read_text())
        nanoseconds = (estimate.get("slope") or estimate["mean"])["point_estimate"]
        found.append({"name": about["full_id"], "seconds": nanoseconds / 1e9, "throughput": about.get("throughput"), **needs.get(about["full_id"], {})})
    names = {k["name"] for k in found}
    check.figures["kernels"] = [k for k in check.figures.get("kernels", []) if k["name"] not in names] + found
    if late and not (late.late and found):
        raise late
    if late:
        return CUT_SHORT
    if not (needs if check.tiny else found):
        raise Problem("it measured nothing")


# What the sampler waits for, and whether its instructions fit the caches (docs/kernels.md).
METRICS = ",".join((
    "sm__cycles_active.avg", "sm__inst_executed.avg", "launch__registers_per_thread", "sm__warps_active.avg.pct_of_peak_sustained_active",
    "smsp__average_warps_issue_stalled_no_instruction_per_issue_active.ratio", "smsp__average_warps_issue_stalled_barrier_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_long_scoreboard_per_issue_active.ratio", "smsp__average_warps_issue_stalled_short_scoreboard_per_issue_active.ratio",
    "smsp__average_warps_issue_stalled_wait_per_issue_active.ratio", "smsp__average_warps_issue_stalled_math_pipe_throttle_per_issue_active.ratio",
    "lts__t_sectors_op_read.sum", "l1tex__data_bank_conflicts_pipe_lsu.sum",
))  # fmt: skip


def profile(check):
    """The sampler's kernel under ncu, as text: which of its numbers is missing on a card is the reader's to see."""
    # Without this ncu sets the card's clocks.
    words = [check.tool("ncu"), "--clock-control", "none", "--metrics", METRICS, "--kernel-name", "regex:^sample", "--launch-skip", "1", "--launch-count", "1"]
    said = check.command([*words, check.program("sarm"), "bench", "--device", "cuda", "--config", "jets-dc", "--seconds", "0.05", *(["--tiny"] if check.tiny else [])])
    if "sample" not in said:
        raise Problem(f"it profiled nothing\n{tail(said)}")
    check.figures["profile"] = tail(said, 60)


# By their limits, the first ten end within 8 minutes, all within 25.
PHASES = [
    Phase("devices", 15, devices, always=True),
    Phase("card", 15, card),
    Phase("kernels", 50, tests("kernels::operations_agree", tiny=ONCE)),
    Phase("headline", 50, headline),
    Phase("memcheck", 60, sanitized("memcheck")),
    Phase("racecheck", 60, sanitized("racecheck")),
    # Tests of what is said where memory is short run on an emulation, which needs the sources and a compiler.
    Phase("engine beside the CPU's", 50, tests("engine::", "--skip", "memory", tiny=("engine::weights_decay",))),
    Phase("sampler beside the CPU's", 50, tests("sampler::", "--skip", "memory", tiny=("sampler::levels_without_a_number",))),
    Phase("VAEs beside the CPU's", 50, tests("vae::", "vae_training::", "--skip", "memory", tiny=("vae::images_add_up",))),
    Phase("PyTorch, headline", 80, peer("peers", "train.py", "--headline")),
    Phase("loss curves", 80, curves),
    Phase("sarm bench", 130, all_configs),
    Phase("PyTorch, sampling", 120, peer("sampling_peers", "sample.py")),
    Phase("PyTorch, training", 140, peer("peers", "train.py")),
    Phase("PyTorch, VAE", 150, peer("vae_peers", "vae.py", "--device", "cuda", "--batch", "1024", "65536", "--training-batch", "128", "--rounds", "3", "--seconds", "0.5", tiny=("--batch", "2", "--training-batch", "2", "--rounds", "1", "--seconds", "0.01", "--ways", "eager"))),
    Phase("criterion", 150, criterion),
    # No initcheck: all memory is filled when it is allocated, with zeros or, for results under test, with NaNs. It could find nothing.
    Phase("synccheck", 60, sanitized("synccheck")),
    Phase("profile of the sampler", 60, profile),
]  # fmt: skip
