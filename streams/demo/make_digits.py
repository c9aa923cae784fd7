"""Make `digits.csv`, the outcome matrix that ships with the demo: ``python -m streams.demo.make_digits``.

Five scikit-learn classifiers predict every image of scikit-learn's handwritten-digits data (1 797 images of 8 x 8 pixels)
by ten-fold cross-validation: no image is predicted by a model that was fitted to it. A row holds, for each model, whether
it named the digit, and the milliseconds its `predict` took for that one image (median of three calls). The
splits and fits are seeded, so the right-or-wrong columns come out the same every time; the latencies are this machine's.

Needs the extra `data`; the demo itself only reads the file.
"""

from __future__ import annotations

import csv
import sys
import warnings
from pathlib import Path
from statistics import mean, median
from time import perf_counter_ns
from typing import Any

from sklearn.datasets import load_digits
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedKFold
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

FOLDS = 10
SEED = 0
CALLS = 3
TARGET = Path(__file__).with_name("digits.csv")


def classifiers() -> dict[str, Any]:
    """Unfitted models by name: five families, from the plainest to the strongest."""
    return {
        "naive-bayes": GaussianNB(),
        "decision-tree": DecisionTreeClassifier(random_state=SEED),
        "nearest-centroid": NearestCentroid(),
        "ridge": RidgeClassifier(),
        "svm": SVC(gamma=0.001),
    }


def timed_predict(model: Any, image: Any) -> tuple[Any, float]:
    """The label of one image, shape (1, 64), and the median milliseconds of a call."""
    elapsed_ns = []
    for _ in range(CALLS):
        begin = perf_counter_ns()
        label = model.predict(image)[0]
        elapsed_ns.append(perf_counter_ns() - begin)
    return label, median(elapsed_ns) / 1e6


def outcomes(model: Any, images: Any, labels: Any) -> tuple[list[int], list[float]]:
    """For every image, right (1) or wrong (0) and milliseconds, each from the fold that did not train on it."""
    right, latency_ms = [0] * len(labels), [0.0] * len(labels)
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=SEED).split(images, labels):
        model.fit(images[train], labels[train])
        timed_predict(model, images[test[:1]])
        for i in test:
            label, latency_ms[i] = timed_predict(model, images[i : i + 1])
            right[i] = int(label == labels[i])
    return right, latency_ms


def main() -> None:
    """Write `digits.csv` beside this file and report each model."""
    # Pixels at the border are constant within a class; NearestCentroid warns of it and needs no variance to predict.
    warnings.filterwarnings("ignore", message="self.within_class_std_dev_", category=UserWarning)
    images, labels = load_digits(return_X_y=True)
    models = classifiers()
    columns: list[list[Any]] = []
    for name, model in models.items():
        right, latency_ms = outcomes(model, images, labels)
        columns += [right, [f"{value:.3f}" for value in latency_ms]]
        sys.stdout.write(f"{name:20} accuracy {mean(right):.4f}   latency {median(latency_ms):.3f} ms\n")
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([column for name in models for column in (name, f"{name}.latency_ms")])
        writer.writerows(zip(*columns, strict=True))


if __name__ == "__main__":
    main()
