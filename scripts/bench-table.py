#!/usr/bin/env python3
"""The README's speed table from what `sarm bench --json` wrote.

    scripts/bench-table.py benches/results/2026-11-21-amd-epyc-2-cores/sarm-bench.json
"""

import json
import sys

report = json.load(open(sys.argv[1]))
machine = report["machine"]
rows = {}
for s in report["sampling"]:
    rows.setdefault(s["config"], {})[s["sampler"]] = s
training = {t["config"]: t["images_per_second"] for t in report["training"]}


def grouped(x):
    return f"{x:,.0f}".replace(",", " ")


print(f"{machine['processor']}, {machine['threads']} threads ({machine['engine'].split(', ')[-1]}), "
      f"f32 matrix rate {report['gemm_gflops']:.0f} GFLOP/s, sarm {report['version']}.\n")
print("| images/s | sarm | events per core-hour | of the bound | naive, same program | ratio | paper, 4 TITAN X | training, batch 128 |")
print("|---|--:|--:|--:|--:|--:|--:|--:|")
for name, s in rows.items():
    fast, naive = s["incremental"], s.get("naive")
    rate = fast["images_per_second"]
    cells = [
        grouped(rate),
        f"{fast['images_per_core_hour'] / 1e6:.0f} M",
        f"{100 * rate / fast['bound_images_per_second']:.0f} %",
        f"{naive['images_per_second']:.1f}" if naive else "",
        grouped(rate / naive["images_per_second"]) if naive else "",
        grouped(fast["paper_images_per_second"]),
        grouped(training[name]),
    ]
    print(f"| {name} | " + " | ".join(cells) + " |")
