"""An event program without Pythia: what tests/tools/simulate.rs puts in its place. Rows depend on the seed alone, as they must.

Environment: FAKE_LOG, a file that every finished block adds a line to; FAKE_SECONDS, how long a block takes; FAKE_FAIL, a
word in the output's name that makes it fail; FAKE_SHORT, one that makes it write half of what it should.
"""

import json
import os
import sys
import time

import numpy as np

study, rest = sys.argv[1], sys.argv[2:]
rest = [word for word in rest if word != "--no-veto"]
options = dict(zip(rest[::2], rest[1::2]))
out, count, seed = options["--out"], int(options["--count"]), int(options["--seed"])
name = os.path.basename(out)
if os.environ.get("FAKE_FAIL", "\0") in name:
    sys.exit("no such particle")
columns, pixels = {"jets": (["jet_pt", "tau_21"], 625), "muons": (["muon_pt", "n_pileup"], 1024), "pool": ([], 0)}[study]
repeat = int(options.get("--repeat", 1))
if repeat > 1:
    columns = [*columns, "event"]
if options.get("--image") == "both":
    pixels *= 2
seconds = float(os.environ.get("FAKE_SECONDS", 0))
for tenth in range(10):
    print("progress", count * tenth // 10, flush=True)
    time.sleep(seconds / 10)
width = len(columns) + pixels
if width:
    row, column = np.arange(count)[:, None], np.arange(width)[None, :]
    hashed = (seed * 7919 + row * 104729 + column * 1299709 + row * column) % 1000
    body = np.where((column < len(columns)) | (hashed % 20 == 0), (hashed + 1) / 8, 0).astype(np.float32)
    if repeat > 1:
        body[:, len(columns) - 1] = 1 + np.arange(count) // repeat
else:
    body = np.zeros(count, np.float32)
header = {"format": 1, "count": count, "columns": columns, "pixels": pixels, "seed": seed, "tried": 3 * count, "vetoed": count,
          "failed": 0, "seconds": seconds, "cpu_seconds": seconds, "pythia": "8.fake", "fastjet": "3.fake"}
body = body.tobytes()
if os.environ.get("FAKE_SHORT", "\0") in name:
    body = body[: len(body) // 2]
with open(f"{out}.{os.getpid()}", "wb") as file:
    file.write(json.dumps(header).encode() + b"\n" + body)
os.replace(file.name, out)
if "FAKE_LOG" in os.environ:
    with open(os.environ["FAKE_LOG"], "a") as log:
        log.write(name + "\n")
