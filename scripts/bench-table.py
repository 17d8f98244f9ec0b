#!/usr/bin/env python3
"""The README's speed tables from what `sarm bench --json` wrote: of the CPU, and of a card where one was measured.

    scripts/bench-table.py benches/results/2026-11-21-amd-epyc-2-cores/sarm-bench.json
"""

import json
import sys

report = json.load(open(sys.argv[1]))


def grouped(x):
    return f"{x:,.0f}".replace(",", " ")


def cpu():
    machine = report["machine"]
    rows = {}
    for s in report["sampling"]:
        rows.setdefault(s["config"], {})[s["sampler"]] = s
    training = {t["config"]: t["images_per_second"] for t in report["training"]}
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


def card(card):
    print(f"{card['device']}, bf16 mma.sync rate {card['matrix_teraflops']:.0f} TFLOP/s, sarm {report['version']}.\n")
    print("| images/s | into memory | on the card alone | of the bound | onto disk | events per GPU-hour | images per joule | one image | paper, 4 TITAN X |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|")
    for s in card["sampling"]:
        joule = s["images_per_joule"]
        cells = [
            grouped(s["into_memory"][-1]["images_per_second"]),
            grouped(s["on_card"][-1]["images_per_second"]),
            f"{100 * s['fraction_of_bound']:.0f} %",
            grouped(s["onto_disk"][-1]["images_per_second"]),
            f"{s['events_per_gpu_hour'] / 1e9:.1f} G",
            grouped(joule) if joule else "",
            f"{s['one_image_milliseconds']:.2f} ms",
            grouped(s["paper_images_per_second"]),
        ]
        print(f"| {s['config']} | " + " | ".join(cells) + " |")


if report["sampling"]:
    cpu()
if report.get("card"):
    card(report["card"])
