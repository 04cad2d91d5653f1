"""Draws the validation of a comparison's runs over the minutes that they take.

``python -m results.plot_minutes runs/compare/restormer_tiny/* --cache-seconds 97 curves.png``

A run's log has no times, because other work on the machine would be in them. So a step counts what
it takes alone, by ``benchmarks/teacher_cache.csv``, and a run with a cache starts when the cache is
ready.
"""

import argparse
import csv
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "teacher_cache.csv"
COLOURS = {"none": "tab:grey", "output": "tab:orange", "skd": "tab:blue"}


def milliseconds(patches, side):
    """Form of a step, as the benchmark calls it, to its milliseconds."""
    with open(BENCHMARK, newline="") as file:
        return {
            row["form"]: float(row["ms_a_step"])
            for row in csv.DictReader(file)
            if (int(row["patches"]), int(row["side"])) == (patches, side)
        }


def curve(run, cache_seconds):
    """Method, seed, steps, and the minutes and PSNR of a run's validations."""
    config = json.loads((run / "config.json").read_text())
    method, cached = config["method"], config["teacher_cache"] is not None
    times = milliseconds(config["batch_size"], config["patch_size"])
    step = times[f"{method}, cached" if cached else method] / 1000
    with open(run / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    steps = config["steps"] / len(rows)
    start = cache_seconds if cached else 0
    minutes = [(start + int(row["epoch"]) * steps * step) / 60 for row in rows]
    scores = [float(row["val_psnr"]) for row in rows]
    return method, config["seed"], config["steps"], minutes, scores


def main():
    """Draws one line a run."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folders of runs")
    options.add_argument("picture", type=Path, help="the PNG to write")
    options.add_argument("--cache-seconds", type=float, required=True, help="to build the cache")
    options = options.parse_args()
    figure, axis = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for run in options.runs:
        method, seed, steps, minutes, scores = curve(run, options.cache_seconds)
        label = f"{method}, {steps:,} steps" if seed == 0 else None
        style = {10000: "-", 4000: "-"}.get(steps, "--")
        axis.plot(minutes, scores, style, color=COLOURS.get(method), alpha=0.8, label=label)
        axis.plot(minutes[-1], scores[-1], "o", color=COLOURS.get(method), alpha=0.8)
    axis.set_xlabel("minutes on one core, cache included")
    axis.set_ylabel("PSNR of the held-out photographs, dB")
    axis.grid(alpha=0.3)
    axis.legend()
    figure.savefig(options.picture, dpi=100)


if __name__ == "__main__":
    main()
