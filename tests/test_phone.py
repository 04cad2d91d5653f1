"""``python -m keras_skd.phone`` against an adb that plays a phone: none is here."""

import json
import os
import stat
import sys
import textwrap

import numpy as np
import pytest

from keras_skd import phone
from keras_skd.export.phone_check import app_task, check_tile, write_check

ADB = """
    import json, os, pathlib, shutil, sys

    root = pathlib.Path(os.environ["FAKE_PHONE"])
    settings = json.loads((root / "settings.json").read_text())
    arguments = sys.argv[1:]
    with open(root / "calls.txt", "a") as file:
        file.write(json.dumps(arguments) + chr(10))
    if arguments == ["devices"]:
        print("List of devices attached")
        for name, state in settings["devices"].items():
            print(f"{name}\\t{state}")
        sys.exit()
    assert arguments[:2] == ["-s", "phone1"], arguments
    command, arguments = arguments[2], arguments[3:]
    place = lambda name: root / name.lstrip("/")
    if command == "install":
        if settings.get("refuses"):
            sys.exit("Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE]")
        (root / "installed").touch()
    elif command == "push":
        shutil.copytree(arguments[0], place(arguments[1]))
    elif arguments[0] == "run-as":
        assert arguments[1] == "org.kerasskd.demo"
        if not (root / "installed").exists():
            sys.exit("run-as: unknown package: org.kerasskd.demo")
        name, arguments = arguments[2], arguments[3:]
        app = lambda path: place(path) if path.startswith("/") else root / "app" / path
        if name == "mkdir":
            app(arguments[1]).mkdir(parents=True, exist_ok=True)
        elif name == "cp":
            shutil.copytree(app(arguments[1]), app(arguments[2]))
        elif name == "cat":
            if not app(arguments[0]).exists():
                sys.exit("cat: No such file or directory")
            print(app(arguments[0]).read_text())
        elif name == "rm":
            shutil.rmtree(app(arguments[1]))
    elif arguments[0] == "rm":
        shutil.rmtree(place(arguments[2]))
    elif arguments[:2] == ["am", "start"]:
        folder = root / "app" / "files" / "selfcheck" / arguments[arguments.index("folder") + 1]
        entry = json.loads((folder / "models.json").read_text())
        assert (folder / entry["file"]).exists() and (folder / entry["check"]).exists()
        answer = settings["answer"]
        if answer is not None:
            if "reports" in answer:
                for key in ("task", "scheme", "sha256"):
                    answer["reports"][0][key] = entry[key]
                answer["reports"][0]["model"] = entry["name"]
            (folder / "result.json").write_text(json.dumps(answer))
        print("Status: ok")
"""

ROWS = [
    {"way": "gpu float16", "ran": True, "right": True, "residual_psnr": 57.2, "median_ms": 38.4}
    | {"operations": 441, "delegated": 441, "threads": 1},
    {"way": "gpu float32", "ran": False, "error": "no OpenCL"},
    {"way": "cpu float32", "ran": True, "right": True, "residual_psnr": 120.0, "median_ms": 90.1}
    | {"operations": 441, "delegated": 0, "threads": 4},
]


@pytest.fixture
def play(tmp_path, monkeypatch):
    """``play(...)`` sets the phone up; returns its folder."""
    tools = tmp_path / "tools"
    tools.mkdir()
    adb = tools / "adb"
    adb.write_text(f"#!{sys.executable}\n" + textwrap.dedent(ADB))
    adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    root = tmp_path / "phone"
    root.mkdir()
    monkeypatch.setenv("FAKE_PHONE", str(root))
    (tmp_path / "app.apk").touch()

    def set_up(devices=None, rows=ROWS, **settings):
        report = {"phone": "Maker Model", "android": "15", "chip": "Chip", "gpu_driver": "GPU 1"}
        settings.setdefault("answer", {"reports": [{**report, "results": rows}]})
        settings["devices"] = {"phone1": "device"} if devices is None else devices
        (root / "settings.json").write_text(json.dumps(settings))
        return root

    return set_up


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small ``.tflite`` of one convolution."""
    import keras
    import tensorflow as tf

    inputs = keras.Input((64, 64, 3), batch_size=1)
    outputs = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, outputs))
    path = tmp_path_factory.mktemp("models") / "small.tflite"
    path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def oblong_model(tmp_path_factory):
    """The same of tiles that are not square."""
    import keras
    import tensorflow as tf

    inputs = keras.Input((64, 32, 3), batch_size=1)
    outputs = keras.layers.Conv2D(3, 3, padding="same")(inputs)
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(inputs, outputs))
    path = tmp_path_factory.mktemp("models") / "oblong.tflite"
    path.write_bytes(converter.convert())
    return path


def run(tmp_path, model, *arguments):
    options = ["--apk", str(tmp_path / "app.apk"), *arguments]
    return phone.main([str(model), *options])


def failure(capsys, call, code=2):
    with pytest.raises(SystemExit) as error:
        call()
    assert error.value.code == code
    message = capsys.readouterr().err.strip()
    assert "\n" not in message
    return message


def test_installs_runs_prints_and_tidies(play, tmp_path, model, capsys):
    root = play()
    output = tmp_path / "reports.json"
    assert run(tmp_path, model, "--output", str(output)) == 0
    said = capsys.readouterr().out
    assert "Maker Model, Android 15, Chip" in said
    lines = {line[:11]: line for line in said.splitlines()}
    assert "57.2" in lines["gpu float16"]
    assert "441 of 441" in lines["gpu float16"]
    assert "does not run: no OpenCL" in lines["gpu float32"]
    assert "4 threads" in lines["cpu float32"]
    assert json.loads(output.read_text())[0]["results"][0]["median_ms"] == 38.4
    assert (root / "installed").exists()
    assert not list((root / "app" / "files" / "selfcheck").iterdir())
    assert not list((root / "data" / "local" / "tmp").iterdir())


def test_without_installing(play, tmp_path, model, capsys):
    play()
    message = failure(capsys, lambda: run(tmp_path, model, "--no-install"))
    assert "not on the phone" in message
    assert "--no-install" in message


def test_a_wrong_gpu_is_a_failed_check(play, tmp_path, model, capsys):
    rows = [ROWS[0] | {"right": False, "residual_psnr": 8.0}, *ROWS[1:]]
    play(rows=rows)
    message = failure(capsys, lambda: run(tmp_path, model), code=1)
    assert "computed wrongly" in message
    assert "gpu float16" in message


def test_operations_that_are_not_told_or_partial():
    report = {"model": "m", "scheme": "fp16", "task": "denoise"}
    rows = [ROWS[0] | {"delegated": -1}, ROWS[0] | {"delegated": 430}]
    lines = phone.table({**report, "results": rows})
    assert lines[2].endswith("not told")
    assert lines[3].endswith("430 of 441")


@pytest.mark.parametrize(
    ("devices", "words"),
    [
        ({}, "no phone is connected"),
        ({"phone1": "unauthorized"}, "allow this computer"),
        ({"phone1": "offline"}, "offline"),
        ({"phone1": "device", "phone2": "device"}, "--serial"),
    ],
)
def test_phones_that_are_not_ready(play, tmp_path, model, capsys, devices, words):
    play(devices)
    assert words in failure(capsys, lambda: run(tmp_path, model))


def test_one_of_several_phones(play, tmp_path, model):
    play({"phone2": "device", "phone1": "device"})
    assert run(tmp_path, model, "--serial", "phone1") == 0


def test_no_adb(tmp_path, monkeypatch, model, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ANDROID_HOME", raising=False)
    monkeypatch.delenv("ANDROID_SDK_ROOT", raising=False)
    assert "adb" in failure(capsys, lambda: run(tmp_path, model))


def test_adb_of_an_sdk(play, tmp_path, monkeypatch):
    play()
    sdk = tmp_path / "sdk"
    (sdk / "platform-tools").mkdir(parents=True)
    os.rename(tmp_path / "tools" / "adb", sdk / "platform-tools" / "adb")
    monkeypatch.setenv("ANDROID_HOME", str(sdk))
    assert phone.find_adb() == str(sdk / "platform-tools" / "adb")


def test_no_apk(play, tmp_path, model, capsys):
    play()
    (tmp_path / "app.apk").unlink()
    assert "make apk" in failure(capsys, lambda: run(tmp_path, model))


def test_an_apk_that_is_refused(play, tmp_path, model, capsys):
    play(refuses=True)
    assert "adb uninstall" in failure(capsys, lambda: run(tmp_path, model))


def test_a_self_check_that_fails(play, tmp_path, model, capsys):
    play(answer={"error": "No value for sha256"})
    assert "sha256" in failure(capsys, lambda: run(tmp_path, model), code=1)


def test_a_self_check_without_end(play, tmp_path, model, capsys):
    root = play(answer=None)
    message = failure(capsys, lambda: run(tmp_path, model, "--timeout", "1"), code=1)
    assert "did not end within 1 s" in message
    assert not list((root / "data" / "local" / "tmp").iterdir())


def test_no_such_model(play, tmp_path, capsys):
    play()
    assert "no such .tflite" in failure(capsys, lambda: run(tmp_path, tmp_path / "none.tflite"))


def test_check_holds_the_tile_and_the_output(tmp_path, model):
    from keras_skd.runners import TFLiteRunner

    entry = write_check(model, None, tmp_path)
    values = np.fromfile(tmp_path / entry["check"], "<f4").reshape(2, 64, 64, 3)
    np.testing.assert_array_equal(values[0], check_tile("denoise", 64))
    np.testing.assert_array_equal(values[1], TFLiteRunner(model)(values[0]))
    assert entry["tile"] == 64
    assert entry["task"] == "denoise"


def test_check_tiles_are_of_their_task():
    tiles = {task: check_tile(task, 48) for task in ("denoise", "camera", "derain", "deblur")}
    assert len({tile.tobytes() for tile in tiles.values()}) == 4
    assert check_tile("denoise", 600).shape == (600, 600, 3)


@pytest.mark.parametrize(
    ("metadata", "task"),
    [
        ({}, "denoise"),
        ({"task": "derain"}, "derain"),
        ({"task": "denoise", "noise": "gaussian"}, "denoise"),
        ({"task": "denoise", "noise": "camera"}, "camera"),
    ],
)
def test_app_task(metadata, task):
    assert app_task(metadata) == task


def test_models_that_are_not_for_the_app(play, tmp_path, oblong_model, capsys):
    root = play()
    message = failure(capsys, lambda: run(tmp_path, oblong_model))
    assert "square float32 RGB tiles" in message
    assert "32x64x3" in message
    assert not (root / "data").exists()
