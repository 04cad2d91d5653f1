"""``python -m keras_skd.compare``: the same student by several methods, seeds and sizes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import InputError
from keras_skd.files import (
    locked,
    output_folder,
    replaced,
    write_csv,
    write_json,
    write_text,
)

if TYPE_CHECKING:
    from keras_skd.data import ImagePairs
    from keras_skd.hints import Group, PathLike, Row
    from keras_skd.training import TrainingConfig

_MACS_SIZE = 256  # pixels of a side, at which MACs are counted
_CROP = 96  # pixels of a side
_SMALLEST = 11  # pixels of a side: the window of SSIM
_SCORES = "scores.json"
# Settings of a comparison that may grow, and of a run that it sets itself.
_SET_PER_RUN = ("run", "student", "method", "seed", "strategy")


@dataclass(frozen=True)
class Comparison:
    """What is compared, all on the same data, in the same order, for as many steps.

    Attributes:
        training: A :class:`keras_skd.training.TrainingConfig`, of which ``run``, ``student``,
            ``method`` and ``seed`` are replaced.
        test: Folder of test images, as ``--data`` of ``evaluate``.
        methods: Trained with every seed.
        ablations: More methods, trained with the first seed only.
        students: Presets or files.
        seeds: Of weights, patches and noise: with one seed, every method starts from the same
            weights and sees the same batches.
    """

    training: TrainingConfig
    test: str
    methods: tuple = ("none", "output", "feature", "fakd", "skd")
    ablations: tuple = ()
    students: tuple = ("restormer_tiny",)
    seeds: tuple = (0, 1, 2)

    def __post_init__(self) -> None:
        """Checks the names."""
        from keras_skd.distillation import METHODS

        for method in (*self.methods, *self.ablations):
            if method not in METHODS:
                raise InputError(f"method must be one of {', '.join(METHODS)}; got {method!r}.")
        for name in ("methods", "students", "seeds"):
            values = getattr(self, name)
            if not values:
                raise InputError(f"--{name} must name at least one.")
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            if twice:
                raise InputError(f"--{name} names {', '.join(twice)} twice; leave one out.")

    @property
    def folder(self) -> Path:
        """The comparison's folder."""
        return Path(self.training.run)

    def runs(self) -> list[TrainingConfig]:
        """A :class:`TrainingConfig` for each run, seed by seed, so that all methods have as many
        seeds whenever the comparison is interrupted."""
        labels = self.labels()
        return [
            self.training.for_run(
                run=str(self.folder / labels[student] / f"{method}_{seed}"),
                student=student,
                method=method,
                seed=seed,
            )
            for seed in self.seeds
            for student in self.students
            for method in self.methods + (self.ablations if seed == self.seeds[0] else ())
        ]

    def labels(self) -> dict[str, str]:
        """What each student is called in tables and folders: its stem, and where two share one, as
        many of its folders as tell them apart."""
        paths = {student: Path(student).with_suffix("") for student in self.students}
        labels = {}
        for student, path in paths.items():
            parts = path.parts[-1:]
            for depth in range(1, len(path.parts) + 1):
                parts = path.parts[-depth:]
                others = (other for name, other in paths.items() if name != student)
                if all(other.parts[-depth:] != parts for other in others):
                    break
            labels[student] = "_".join(part.strip("/") or "root" for part in parts)
        return labels


def compare(comparison: Comparison, report: Callable[[str], object] = print) -> list[Row]:
    """Trains and measures what is not yet there, one run after another, and writes the tables.

    Every student, teacher and method is built and checked before anything is written. Interrupted
    at any moment, the same call resumes. Every finished run updates ``runs.csv`` and ``table.md``
    in the folder; the plots come at the end: ``psnr_by_method.png``, ``psnr_against_macs.png`` and
    ``crops.png``.

    Args:
        comparison: A :class:`Comparison`.
        report: Called with a line for each run.

    Returns:
        The rows of ``runs.csv``: dicts of ``student``, ``method``, ``seed``, ``psnr`` and ``ssim``
        (means over the test images, dB), ``parameters``, ``macs`` and ``seconds`` (training, of
        the last start).

    Raises:
        InputError: The folder holds a comparison of other settings, another process is at work in
            it, or an input is wrong.
        MissingFileError: A folder or file does not exist.
    """
    from keras_skd.data import find_groups

    groups = find_groups(comparison.test, comparison.training.task, "test")
    _check_settings(comparison)
    _check_runs(comparison, groups)
    with output_folder(comparison.folder), locked(comparison.folder, "compares"):
        return _compare(comparison, groups, report)


def _compare(comparison, groups, report):
    write_json(comparison.folder / "comparison.json", _settings(comparison))
    rows = []
    configs, labels = comparison.runs(), comparison.labels()
    for number, config in enumerate(configs, 1):
        row = _trained_and_measured(config, labels[config.student], groups)
        rows.append(row)
        write_tables(comparison.folder, rows)
        report(
            f"{number}/{len(configs)}  {row['student']} {row['method']} seed {row['seed']}: "
            f"{row['psnr']:.3f} dB  {row['ssim']:.4f}"
        )
    teacher = _teacher(comparison, groups)
    plot_bars(comparison.folder / "psnr_by_method.png", rows)
    plot_macs(comparison.folder / "psnr_against_macs.png", rows, teacher)
    _plot_crops(comparison, groups, teacher is not None)
    return rows


def _settings(comparison):
    """What all runs share, as JSON holds it."""
    settings = comparison.training.resolved()
    settings["distillation"] = dataclasses.asdict(comparison.training.distillation)
    settings = {name: value for name, value in settings.items() if name not in _SET_PER_RUN}
    return json.loads(json.dumps({**settings, "test": str(comparison.test)}))


def _check_settings(comparison):
    path = comparison.folder / "comparison.json"
    if not path.exists():
        return
    earlier = json.loads(path.read_text())
    differing = [
        f"{name} {earlier.get(name)!r}, now {value!r}"
        for name, value in _settings(comparison).items()
        if earlier.get(name) != value
    ]
    if differing:
        raise InputError(
            f"{comparison.folder} holds a comparison of other settings "
            f"({'; '.join(differing)}); choose another --run, or remove the folder."
        )


def _check_runs(comparison, groups):
    """Builds every student with every method once, so that no run fails after others trained."""
    import keras

    from keras_skd.training import building

    test_pairs(comparison.training, groups).check_sizes(_SMALLEST)
    parts, _ = building.find_images(comparison.training)
    images = [group for groups, _ in parts for group in groups]
    checked = set()
    for config in comparison.runs():
        if (config.student, config.method) in checked or _scores(config).exists():
            continue
        checked.add((config.student, config.method))
        task, _ = building.find_task(config, images)
        building.make_distiller(config, *building.load_models(config, task))
    keras.backend.clear_session()


def _scores(config):
    return Path(config.run) / _SCORES


def _trained_and_measured(config, label, groups):
    """Trains and measures one run; or reads what was measured."""
    import time

    import keras

    from keras_skd.models import load_model
    from keras_skd.training import Training

    scores = _scores(config)
    if not scores.exists():
        started = time.monotonic()
        with Training(config) as training:
            student_file = training.fit()
        seconds = time.monotonic() - started
        keras.backend.clear_session()  # or every run's graphs would stay in memory
        row = {
            "student": label,
            "method": config.method,
            "seed": config.seed,
            **_measured(load_model(student_file), groups, config),
            "seconds": round(seconds, 1),
        }
        write_json(scores, row)
    return json.loads(scores.read_text())


def _measured(model, groups, config):
    from keras_skd.evaluate import evaluate
    from keras_skd.profile import profile

    images = evaluate(model, test_pairs(config, groups), config.goal.channel)
    try:
        macs = profile(model, (_MACS_SIZE, _MACS_SIZE)).total_macs
    except InputError:  # a teacher of other layers than ours
        macs = None
    return {
        "psnr": statistics.mean(image["psnr"] for image in images),
        "ssim": statistics.mean(image["ssim"] for image in images),
        "parameters": model.count_params(),
        "macs": macs,
    }


def test_pairs(config: TrainingConfig, groups: Sequence[Group]) -> ImagePairs:
    """The test images as :class:`~keras_skd.data.ImagePairs`, degraded as in validation."""
    from keras_skd.data import ImagePairs

    _, degradation = config.goal.for_groups(groups)
    return ImagePairs(groups, degradation and degradation.fixed())


def _teacher_name(comparison):
    return comparison.training.teacher_for(comparison.training.goal)


def _teacher(comparison, groups):
    """The teacher's measures, or None where no method has one."""
    from keras_skd.models import load_model

    if set(comparison.methods + comparison.ablations) == {"none"}:
        return None
    scores = comparison.folder / "teacher.json"
    if not scores.exists():
        model = load_model(_teacher_name(comparison))
        measured = _measured(model, groups, comparison.training)
        write_json(scores, measured)
    return json.loads(scores.read_text())


# --- tables ---


def summarise(rows: Sequence[Row]) -> list[Row]:
    """Mean and spread of every student and method.

    Args:
        rows: As :func:`compare` returns them.

    Returns:
        A list of dicts, in order of first appearance: ``student``, ``method``, ``seeds`` (how
        many), ``psnr``, ``psnr_spread`` (sample standard deviation; None for one seed), ``ssim``,
        ``ssim_spread``, ``gain`` (mean difference in dB to ``none`` of the same student and seed;
        None without) and ``gain_spread``.
    """
    groups, baseline = {}, {}
    for row in rows:
        groups.setdefault((row["student"], row["method"]), []).append(row)
        if row["method"] == "none":
            baseline[row["student"], row["seed"]] = row["psnr"]
    summary = []
    for (student, method), group in groups.items():
        gains = [
            row["psnr"] - baseline[student, row["seed"]]
            for row in group
            if method != "none" and (student, row["seed"]) in baseline
        ]
        columns = {"psnr": [r["psnr"] for r in group], "ssim": [r["ssim"] for r in group]}
        result = {"student": student, "method": method, "seeds": len(group)}
        for name, values in {**columns, "gain": gains}.items():
            result[name] = statistics.mean(values) if values else None
            result[f"{name}_spread"] = statistics.stdev(values) if len(values) > 1 else None
        summary.append(result)
    return summary


def markdown(summary: Sequence[Row]) -> str:
    """The summary as a Markdown table."""

    def cell(result, name, form):
        value, spread = result[name], result[f"{name}_spread"]
        if value is None:
            return "-"
        return format(value, form) + ("" if spread is None else f" ± {spread:{form.strip('+')}}")

    lines = [
        "| student | method | seeds | PSNR (dB) | SSIM | gain over none, same seed (dB) |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for each in summary:
        cells = (
            each["student"],
            each["method"],
            str(each["seeds"]),
            cell(each, "psnr", ".3f"),
            cell(each, "ssim", ".4f"),
            cell(each, "gain", "+.3f"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write_tables(folder: Path, rows: Sequence[Row]) -> None:
    """Writes ``runs.csv``, a row a run, and ``table.md``, mean and spread (standard deviation)."""
    write_csv(folder / "runs.csv", rows)
    write_text(folder / "table.md", markdown(summarise(rows)))


# --- plots ---


def _figure(width, height):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")


def _save(figure, path):
    import matplotlib.pyplot as plt

    with replaced(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")
    plt.close(figure)


def plot_bars(path: PathLike, rows: Sequence[Row]) -> None:
    """PSNR by method: bars of the mean, whiskers of the spread, a dot for every seed."""
    summary = summarise(rows)
    figure, axis = _figure(1.5 + 1.1 * len(summary), 4)
    students = {row["student"] for row in rows}
    for place, each in enumerate(summary):
        values = [
            row["psnr"]
            for row in rows
            if (row["student"], row["method"]) == (each["student"], each["method"])
        ]
        axis.bar(place, each["psnr"], yerr=each["psnr_spread"], capsize=4, color="#8fb3d9")
        axis.plot([place] * len(values), values, "k.", markersize=4)
    labels = [
        each["method"] if len(students) == 1 else f"{each['method']}\n{each['student']}"
        for each in summary
    ]
    axis.set_xticks(range(len(summary)), labels, rotation=20, ha="right")
    scores = [row["psnr"] for row in rows]
    # Bars from zero would hide differences of a tenth of a dB; the axis says where it starts.
    margin = max(0.05, 0.3 * (max(scores) - min(scores)))
    axis.set_ylim(min(scores) - margin, max(scores) + margin)
    axis.set_ylabel("PSNR (dB)")
    axis.set_title("mean over seeds, standard deviation, every seed; axis not from zero", size=9)
    _save(figure, path)


def plot_macs(path: PathLike, rows: Sequence[Row], teacher: Row | None = None) -> None:
    """PSNR against MACs of a 256x256 image, students by method and the teacher."""
    figure, axis = _figure(6, 4)
    macs = {row["student"]: row["macs"] for row in rows}
    methods = {}
    for each in summarise(rows):
        if macs[each["student"]]:
            points = methods.setdefault(each["method"], [])
            points.append((macs[each["student"]] / 1e9, each["psnr"]))
    for method, points in methods.items():
        axis.plot(*zip(*sorted(points), strict=True), "o-", label=method)
    if teacher and teacher["macs"]:
        axis.plot(teacher["macs"] / 1e9, teacher["psnr"], "k*", markersize=12, label="teacher")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter("{x:g}")
    axis.xaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel(f"GMACs of a {_MACS_SIZE}x{_MACS_SIZE} image")
    axis.set_ylabel("PSNR (dB)")
    axis.grid(alpha=0.3)
    axis.legend()
    _save(figure, path)


def _plot_crops(comparison, groups, with_teacher):
    """Central crops of the first test images: input, every method's first seed, teacher, target."""
    import numpy as np

    from keras_skd.metrics import psnr
    from keras_skd.models import load_model

    config = comparison.training
    student = comparison.students[0]
    models = {
        run.method: Path(run.run) / "student.keras"
        for run in comparison.runs()
        if run.student == student and run.seed == comparison.seeds[0]
    }
    models = {name: load_model(file) for name, file in models.items()}
    if with_teacher:
        models["teacher"] = load_model(_teacher_name(comparison))
    rows = []
    for pair in test_pairs(config, groups[:3]):
        degraded, target = pair.degraded, pair.clean
        side = min(_CROP, *(length // 8 * 8 for length in target.shape[:2]))
        top, left = ((length - side) // 2 for length in target.shape[:2])
        degraded, target = (x[top : top + side, left : left + side] for x in (degraded, target))
        restored = {
            name: model(degraded[None], training=False)[0].numpy() for name, model in models.items()
        }
        rows.append({"input": degraded, **restored, "ground truth": target})
    figure, axes = _figure(1, 1)
    axes.remove()
    figure.set_size_inches(1.9 * len(rows[0]), 2.2 * len(rows))
    grid = figure.subplots(len(rows), len(rows[0]), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axis, (name, image) in zip(line, row.items(), strict=True):
            image = np.clip(image, 0, 1)
            score = "" if name == "ground truth" else f"\n{psnr(image, row['ground truth']):.2f} dB"
            axis.imshow(image, interpolation="none")
            axis.set_title(name.replace("skd_without_", "without ") + score, size=8)
            axis.axis("off")
    _save(figure, comparison.folder / "crops.png")


# --- command ---


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    from keras_skd.distillation import METHODS
    from keras_skd.training.settings import add_arguments

    result = argparse.ArgumentParser(
        prog="python -m keras_skd.compare",
        description="Trains the same student by several methods and seeds, one run after another, "
        "and writes tables and plots. The same command resumes where it was interrupted.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = {
        field.name: field.default
        for field in dataclasses.fields(Comparison)
        if field.default is not dataclasses.MISSING
    }
    choices = {"choices": METHODS, "metavar": "METHOD"}
    add_arguments(result, leave_out=("student", "method", "seed", "strategy"))
    for name, more in {
        "methods": {**choices, "help": f"trained with every seed: {', '.join(METHODS)}"},
        "ablations": {**choices, "help": "methods trained with the first seed only"},
        "students": {"metavar": "NAME_OR_FILE", "help": "presets or .keras files"},
        "seeds": {"type": int, "metavar": "SEED", "help": "of weights, patches and noise"},
    }.items():
        result.add_argument(f"--{name}", nargs="+", default=defaults[name], **more)
    result.add_argument(
        "--test", metavar="DIR", required=True, help="test images, measured as evaluate does"
    )
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors, resumable
    from keras_skd.quiet import import_tensorflow, quiet
    from keras_skd.training.settings import config_of
    from keras_skd.training.strategies import make_deterministic

    with quiet():
        command = parser()
    options = vars(command.parse_args(arguments))
    import_tensorflow()
    make_deterministic(options.get("jit_compile", False))
    lists = {
        name: tuple(options.pop(name)) for name in ("methods", "ablations", "students", "seeds")
    }
    with resumable(), reported_errors("keras_skd.compare"):
        test = options.pop("test")
        training = config_of(options, lists["methods"] + lists["ablations"])
        comparison = Comparison(test=test, training=training, **lists)
        compare(comparison, report=lambda line: print(line, flush=True))
    print((comparison.folder / "table.md").read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
