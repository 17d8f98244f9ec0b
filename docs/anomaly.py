#!/usr/bin/env python3
"""How well likelihoods separate two classes of jets: an anomaly cut, and what is wrong with the naive one.

    sarm score --model jets-qcd --given signal=0 --data data/jets-sample.h5 --out as-qcd.h5
    sarm score --model jets-w   --given signal=1 --data data/jets-sample.h5 --out as-w.h5
    docs/anomaly.py data/jets-sample.h5 as-qcd.h5 as-w.h5

prints the AUC of W jets (signal = 1) against QCD jets for -ln p of QCD alone, for the ratio of both models, and for the
ratio with the density of the conditions. Needs numpy and h5py.
"""

import sys

import h5py
import numpy as np


def auc(score, signal):
    """Probability that a signal image has a larger score than a background image; ties count half."""
    values, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    n = signal.sum()
    return (rank[signal].sum() - n * (n + 1) / 2) / n / (~signal).sum()


def main(data, background, signal):
    with h5py.File(background) as b, h5py.File(signal) as s, h5py.File(data) as d:
        if not np.array_equal(b["row"], s["row"]):
            sys.exit(f"error: {background} and {signal} hold scores of different rows")
        label = d["signal"][:][b["row"][:].astype(int)] == 1
        image = [file["log_likelihood"][:] for file in (b, s)]
        whole = [i + file["log_prior"][:] for i, file in zip(image, (b, s))]
    # Outside the range of its training images a model gives a condition no probability at all.
    whole = [np.where(np.isfinite(w), w, -1e4) for w in whole]
    print(f"-ln p of the background alone    AUC {auc(-image[0], label):.3f}")
    print(f"ratio of the two models          AUC {auc(image[1] - image[0], label):.3f}")
    print(f"ratio, conditions' density too   AUC {auc(whole[1] - whole[0], label):.3f}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__.strip())
    try:
        main(*sys.argv[1:])
    except (OSError, KeyError) as problem:
        sys.exit(f"error: {problem}")
