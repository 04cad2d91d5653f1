"""A training that is killed once it has a checkpoint."""

import os
import signal
import subprocess
import sys
import time


def train_and_kill(arguments, run):
    """Starts ``keras_skd.train`` and kills it with SIGKILL after its first checkpoint.

    Args:
        arguments: Of the command, a list of words.
        run: Path of the run's folder.
    """
    command = [sys.executable, "-m", "keras_skd.train", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (run / "checkpoint.npz").exists():
        assert process.poll() is None, "the run ended without a checkpoint"
        assert time.monotonic() < deadline, "no checkpoint within ten minutes"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
