"""Where a training runs: one device, several, or several machines (``tf.distribute``)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from keras_skd.errors import InputError

if TYPE_CHECKING:
    import tensorflow as tf

STRATEGIES = ("none", "mirrored", "multi-worker")


def make_strategy(name: str) -> tf.distribute.Strategy | None:
    """Makes a ``tf.distribute`` strategy.

    ``multi-worker`` has to be made before TensorFlow runs its first operation, so the commands call
    this first. Every machine runs the same command, with ``TF_CONFIG`` in the environment::

        TF_CONFIG='{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]},
                    "task": {"type": "worker", "index": 0}}'

    with its own index. Worker 0 writes the run folder, which all must be able to read.

    Args:
        name: ``none``; ``mirrored``, all GPUs of this machine (or its logical CPUs); or
            ``multi-worker``.

    Returns:
        The strategy, or None for ``none``.

    Raises:
        InputError: The name is unknown, or ``TF_CONFIG`` is missing or has no workers.
    """
    if name not in STRATEGIES:
        raise InputError(f"--strategy must be one of {', '.join(STRATEGIES)}; got {name!r}.")
    if name == "none":
        return None
    import tensorflow as tf

    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    try:
        config = json.loads(os.environ.get("TF_CONFIG", "{}"))
        known = config["cluster"]["worker"] and config["task"]["index"] is not None
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise InputError(
            "--strategy multi-worker needs the environment variable TF_CONFIG with the addresses "
            "of all workers and the index of this one, such as "
            '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        )
    return tf.distribute.MultiWorkerMirroredStrategy()


def writes_files(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one that writes the run folder: worker 0, or the only one."""
    resolver = getattr(strategy, "cluster_resolver", None)
    if resolver is None or not resolver.cluster_spec():
        return True
    return resolver.task_type == "chief" or (
        resolver.task_id == 0 and "chief" not in resolver.cluster_spec().jobs
    )


def make_deterministic(jit_compile: bool) -> None:
    """Makes the same seed give the same bits, on CPUs.

    GPUs would pay for it with much of their speed, and XLA does not support it.

    Args:
        jit_compile: Whether XLA compiles the step.
    """
    import tensorflow as tf

    if not jit_compile and not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()
