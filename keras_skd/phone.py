"""``python -m keras_skd.phone``: runs students on a connected phone, and tells whether it is right.

Installs the Android app, hands it the ``.tflite`` files with a tile and its expected output each,
has its self-check measure them on the phone's GPU and CPU, and prints the table. What the app
itself bundles is measured by its own screen.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from keras_skd.errors import FailedCheckError, InputError, MissingFileError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from keras_skd.hints import PathLike

PACKAGE = "org.kerasskd.demo"
APK = Path("android_demo") / "build" / "kerasskd-demo.apk"
_HOW_TO_INSTALL = "on Debian and Ubuntu: apt-get install adb"
_STAGING = "/data/local/tmp"  # of a phone: what adb may write and apps may read


def find_adb() -> str:
    """Path of adb: on the path, or in the Android SDK that ``ANDROID_HOME`` names.

    Raises:
        InputError: There is none.
    """
    sdk = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
    places = [os.environ.get("PATH", ""), *([str(Path(sdk) / "platform-tools")] if sdk else [])]
    found = shutil.which("adb", path=os.pathsep.join(places))
    if found is None:
        raise InputError(f"adb, which talks to the phone, is not installed; {_HOW_TO_INSTALL}.")
    return found


class Phone:
    """A connected phone.

    Args:
        adb: Path of adb.
        serial: Which one, as ``adb devices`` names it; None for the only one.

    Attributes:
        serial: As above.

    Raises:
        InputError: None is connected, it is not ready, or there are several and none is named.
    """

    def __init__(self, adb: PathLike, serial: str | None = None):
        self._adb = adb
        states = dict(
            line.split()[:2]
            for line in self._run("devices").splitlines()[1:]
            if len(line.split()) >= 2
        )
        if serial is None:
            ready = [name for name, state in states.items() if state == "device"]
            if len(ready) > 1:
                raise InputError(
                    f"several phones are connected; choose one with --serial: {', '.join(ready)}."
                )
            serial = (ready or list(states) or [None])[0]
        if serial is None:
            raise InputError(
                "no phone is connected; switch on USB debugging in its developer options and plug "
                "it in."
            )
        if states.get(serial) != "device":
            state = states.get(serial, "not connected")
            hint = "; allow this computer on its screen" if state == "unauthorized" else ""
            raise InputError(f"phone {serial} is {state}{hint}.")
        self.serial = serial

    def install(self, apk: PathLike) -> None:
        """Installs or updates the app.

        Raises:
            MissingFileError: There is no such APK.
            InputError: The phone refuses it.
        """
        if not Path(apk).exists():
            raise MissingFileError(f"{apk}: no such APK; `make apk` builds it.")
        try:
            self._on_phone("install", "-r", "-t", apk)
        except FailedCheckError as error:
            raise InputError(
                f"the phone does not take {apk} ({error}); if an older one is in the way: "
                f"adb uninstall {PACKAGE}."
            ) from None

    def check(
        self, model: PathLike, task: str | None = None, timeout: float = 300
    ) -> dict[str, Any]:
        """Runs the app's self-check with a student.

        Args:
            model: A ``.tflite`` file.
            task: See :func:`keras_skd.export.phone_check.write_check`.
            timeout: Seconds to wait for the phone.

        Returns:
            The app's report, a dict: ``phone``, ``android``, ``chip``, ``gpu_driver``, ``model``,
            and ``results``, a list of dicts: ``way`` (``gpu float16``, ``gpu float32``,
            ``cpu float32``), ``ran``, ``right``, ``residual_psnr`` (dB, against LiteRT's CPU
            kernels on this computer), ``median_ms`` (of 20 tiles), ``operations``, ``delegated``,
            or ``error``.

        Raises:
            InputError: The file is not for the app, or the app is not on the phone.
            FailedCheckError: The self-check does not come to an end.
        """
        from keras_skd.export.phone_check import write_check

        name = f"desk-{uuid.uuid4().hex[:12]}"
        place = f"files/selfcheck/{name}"
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / name
            folder.mkdir()
            entry = write_check(model, task, folder)
            (folder / "models.json").write_text(json.dumps(entry), encoding="utf-8")
            self._on_phone("push", folder, f"{_STAGING}/{name}")
        try:
            self._in_app("mkdir", "-p", "files/selfcheck")
            self._in_app("cp", "-r", f"{_STAGING}/{name}", place)
            activity = f"{PACKAGE}/.SelfCheckActivity"
            said = self._shell("am", "start", "-S", "-W", "-n", activity, "--es", "folder", name)
            if "Error" in said:
                raise InputError(f"the app does not start ({_line(said)}).")
            return self._wait(f"{place}/result.json", timeout)
        finally:
            self._tidy(place, name)

    def _wait(self, place, timeout):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            try:
                # Complete as soon as it is there: the app renames it.
                report = json.loads(self._in_app("cat", place))
            except (FailedCheckError, InputError, ValueError):
                time.sleep(min(1, timeout / 10))
                continue
            if "error" in report:
                raise FailedCheckError(f"the app's self-check failed: {report['error']}")
            return report["reports"][0]
        raise FailedCheckError(
            f"the app's self-check did not end within {timeout} s; is the phone's screen on?"
        )

    def _tidy(self, place, name):
        for command in (
            ("run-as", PACKAGE, "rm", "-rf", place),
            ("rm", "-rf", f"{_STAGING}/{name}"),
        ):
            subprocess.run(
                [self._adb, "-s", self.serial, "shell", *command], capture_output=True, timeout=60
            )

    def _in_app(self, *command):
        """Runs a command as the app, in its folder; debug builds alone allow it."""
        try:
            return self._shell("run-as", PACKAGE, *command)
        except FailedCheckError as error:
            if "unknown package" in str(error) or "not debuggable" in str(error):
                raise InputError(
                    f"the app is not on the phone, or is no debug build ({error}); leave out "
                    "--no-install."
                ) from None
            raise

    def _shell(self, *command):
        return self._on_phone("shell", *command)

    def _on_phone(self, *command):
        return self._run("-s", self.serial, *command)

    def _run(self, *command):
        result = subprocess.run(
            [self._adb, *map(str, command)], text=True, capture_output=True, timeout=600
        )
        if result.returncode:
            raise FailedCheckError(_line(result.stderr + result.stdout) or "adb failed")
        return result.stdout


def _line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def table(report: Mapping[str, Any]) -> list[str]:
    """A report as lines of text.

    Args:
        report: What :meth:`Phone.check` returned.

    Returns:
        A list of lines.
    """
    lines = [f"{report['model']} {report['scheme']}".strip() + f" ({report['task']})"]
    lines.append(f"{'':14}{'residual dB':>12}{'ms a tile':>11}  operations")
    for row in report["results"]:
        if not row["ran"]:
            lines.append(f"{row['way']:14}does not run: {row['error']}")
            continue
        operations = ""
        if row["way"].startswith("gpu"):
            taken = row["delegated"]
            operations = "not told" if taken < 0 else f"{taken} of {row['operations']}"
        elif row.get("threads"):
            operations = f"{row['threads']} threads"
        wrong = "" if row["right"] else "  WRONG"
        lines.append(
            f"{row['way']:14}{row['residual_psnr']:12.1f}{row['median_ms']:11.1f}  "
            f"{operations}{wrong}"
        )
    return lines


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = argparse.ArgumentParser(
        prog="python -m keras_skd.phone",
        description="Runs students on a connected phone's GPU and CPU by the Android app's "
        "self-check, and compares with this computer. Exit code 1 if one is computed wrongly.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    result.add_argument("models", metavar="MODEL", nargs="+", help=".tflite file")
    result.add_argument("--task", help="what they remove; without it what the files remember")
    result.add_argument(
        "--apk", metavar="FILE", default=APK, help="the app, as `make apk` builds it"
    )
    result.add_argument("--no-install", action="store_true", help="the app is on the phone already")
    result.add_argument("--serial", help="which phone, if several are connected")
    result.add_argument(
        "--timeout", type=int, default=300, metavar="SECONDS", help="for each model"
    )
    result.add_argument("--output", metavar="FILE", help="JSON file of the reports")
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors
    from keras_skd.files import write_json

    options = parser().parse_args(arguments)
    with reported_errors("keras_skd.phone"):
        if options.timeout < 1:
            raise InputError(f"--timeout must be at least 1 second; got {options.timeout}.")
        for model in options.models:
            if not Path(model).exists():
                raise MissingFileError(f"{model}: no such .tflite file.")
        phone = Phone(find_adb(), options.serial)
        if not options.no_install:
            phone.install(options.apk)
        reports = []
        for model in options.models:
            report = phone.check(model, options.task, options.timeout)
            if not reports:
                print(f"{report['phone']}, Android {report['android']}, {report['chip']}")
                print(report["gpu_driver"])
            print("\n".join(["", *table(report)]), flush=True)
            reports.append(report)
        if options.output:
            write_json(options.output, reports)
        wrong = [
            f"{report['model']} ({row['way']})"
            for report in reports
            for row in report["results"]
            if row["ran"] and not row["right"]
        ]
        if wrong:
            raise FailedCheckError(f"computed wrongly: {', '.join(wrong)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
