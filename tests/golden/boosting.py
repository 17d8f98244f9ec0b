"""Writes boosting.json: events of two classes, and what scikit-learn's HistGradientBoostingClassifier makes of them.

Every column has fewer than 255 different values, so that both programs have one bin for each value and grow the same
trees, but for rounding and equally good splits.

Run: python3 tests/golden/boosting.py   (numpy 2.4.6, scikit-learn 1.9.1; the tests need neither)
"""

import json
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

PARTS = {"train": 2000, "validation": 600, "test": 1400}
TREES, PATIENCE = 500, 20


def events(random, count):
    """Columns that tell the classes apart only together, by a width, by a shift, and not at all; the label."""
    label = random.random(count) < 0.5
    x = random.normal(size=(count, 4))
    x[:, 1] = np.where(label, 0.6, -0.6) * x[:, 0] + 0.8 * x[:, 1]
    x[:, 2] *= np.where(label, 1.3, 1.0)
    x[:, 3] = np.where(random.random(count) < 0.5, 0.2 * label, 1.0) + 0.3 * x[:, 3]
    return np.clip(np.rint(25 * x), -100, 100).astype(int), label.astype(int)


def main():
    random = np.random.default_rng(11)
    data = {name: events(random, count) for name, count in PARTS.items()}
    trees = HistGradientBoostingClassifier(
        max_iter=TREES, learning_rate=0.1, max_leaf_nodes=31, min_samples_leaf=20, l2_regularization=1.0, early_stopping=False
    ).fit(*data["train"])
    assert max(len(np.unique(column)) for column in data["train"][0].T) < 255
    x, label = data["validation"]
    least, kept = np.inf, 0
    for k, chance in enumerate(trees.staged_predict_proba(x), 1):
        loss = log_loss(label, chance[:, 1])
        if loss < least:
            least, kept = loss, k
        if k == kept + PATIENCE:
            break
    x, label = data["test"]
    chance = list(trees.staged_predict_proba(x))[kept - 1][:, 1]
    result = {
        "auc": roc_auc_score(label, chance),
        "validation_loss": least,
        "trees": kept,
        "logits": [round(float(z), 5) for z in np.log(chance / (1 - chance))[:50]],
    }
    for name, (x, label) in data.items():
        result[name] = {"columns": x.T.tolist(), "labels": label.tolist()}
    text = json.dumps(result, separators=(",", ":")) + "\n"
    Path(__file__).with_name("boosting.json").write_text(text)
    print(f"AUC {result['auc']:.5f}, loss {least:.5f}, {kept} trees, {len(text)} bytes")


if __name__ == "__main__":
    main()
