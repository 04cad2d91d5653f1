"""Draws a run's log: ``python results/plot_log.py runs/NAME/log.csv curve.png``."""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(log, picture):
    """Plots the training loss and the validation PSNR over the epochs of ``log``."""
    with open(log, newline="") as file:
        rows = list(csv.DictReader(file))
    epochs = [int(row["epoch"]) for row in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6))
    for axis, name, label in (
        (left, "loss", "training loss"),
        (right, "val_psnr", "validation PSNR, dB"),
    ):
        axis.plot(epochs, [float(row[name]) for row in rows], marker=".")
        axis.set_xlabel("epoch")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
