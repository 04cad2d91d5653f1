"""``python -m keras_skd.train``: distil a student from a teacher with ``model.fit``."""

import argparse
import sys
from collections.abc import Sequence


def parser() -> argparse.ArgumentParser:
    """The command's arguments; every default is :class:`~keras_skd.training.TrainingConfig`'s."""
    from keras_skd.training.settings import add_arguments

    result = argparse.ArgumentParser(
        prog="python -m keras_skd.train",
        description="Distils a light student from a teacher on a folder of images.",
    )
    add_arguments(result)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors, resumable
    from keras_skd.quiet import import_tensorflow, quiet
    from keras_skd.training.settings import config_of
    from keras_skd.training.strategies import make_deterministic, make_strategy

    given = vars(parser().parse_args(arguments))
    with reported_errors("keras_skd.train"):
        config = config_of(given)
        with quiet():
            # Before TensorFlow's first operation, which the next line runs.
            strategy = make_strategy(config.strategy)
    import_tensorflow()
    make_deterministic(config.jit_compile)
    from keras_skd.training import Training

    errors = reported_errors("keras_skd.train")
    with resumable(), errors, Training(config, strategy) as training:
        print(training.fit())
    return 0


if __name__ == "__main__":
    sys.exit(main())
