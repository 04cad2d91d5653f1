"""Draws the logs of runs that follow one another.

``python -m results.plot_log runs/FIRST/log.csv runs/SECOND/log.csv curve.png``
"""

import csv
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(logs, picture):
    """Plots the training loss and the validation PSNR over all epochs of ``logs``."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    done = 0
    for log in logs:
        with open(log, newline="") as file:
            rows = list(csv.DictReader(file))
        epochs = [done + int(row["epoch"]) for row in rows]
        done = epochs[-1]
        for axis, name in ((left, "loss"), (right, "val_psnr")):
            axis.plot(epochs, [float(row[name]) for row in rows], marker=".", label=Path(log).name)
    for axis, label in ((left, "training loss"), (right, "validation PSNR, dB")):
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    if len(logs) > 1:
        right.legend()
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1:-1], sys.argv[-1])
