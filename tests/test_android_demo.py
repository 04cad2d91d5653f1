"""What can be checked of the Android app without Java; `make test-app` checks the rest."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from android_demo import apk, bundle
from keras_skd.errors import InputError, MissingFileError

ROOT = Path(__file__).resolve().parents[1]
APP = ROOT / "android_demo" / "app"
JAVA = APP / "src" / "main" / "java" / "org" / "kerasskd" / "demo"

# What knows nothing of Android, so that it can be tested and reused anywhere.
PLAIN = [
    "BigCores",
    "Execution",
    "JpegBlocks",
    "JpegWriter",
    "ModelFile",
    "ModelRunner",
    "PhotoException",
    "PhotoHeader",
    "PhotoWriter",
    "PngWriter",
    "TileCheck",
    "Tiling",
]


def sources():
    """All Java files."""
    return sorted(APP.rglob("*.java"))


def test_no_file_is_long():
    assert len(sources()) > 30
    for path in sources():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 300, path


@pytest.mark.parametrize("name", PLAIN)
def test_plain_classes_import_nothing_of_android(name):
    imports = re.findall(r"^import (?:static )?(\S+);", (JAVA / f"{name}.java").read_text(), re.M)
    assert not [one for one in imports if one.startswith(("android.", "androidx.", "org.json"))]


def test_the_restorer_knows_nothing_of_views():
    for name in ("Restorer", "Photo", "PhotoFile", "Models", "Result", "JobFile"):
        text = (JAVA / f"{name}.java").read_text()
        assert not re.search(r"android\.(view|widget|app)\b|\bR\.", text), name


def strings(folder):
    """Name to text of a language's strings and plurals."""
    root = ElementTree.parse(APP / "src" / "main" / "res" / folder / "strings.xml").getroot()
    found = {one.get("name"): one.text for one in root.iter("string")}
    for plural in root.iter("plurals"):
        for item in plural.iter("item"):
            found[plural.get("name"), item.get("quantity")] = item.text
    return found


def test_german_says_all_that_english_says():
    english, german = strings("values"), strings("values-de")
    assert set(english) == set(german)
    for name, text in english.items():
        placeholders = re.compile(r"%\d\$[.\d]*[a-z]|\\n")
        assert sorted(placeholders.findall(text)) == sorted(placeholders.findall(german[name])), (
            name
        )


def test_every_string_is_used():
    used = "".join(path.read_text() for path in sources() if path.parent == JAVA)
    used += "".join(path.read_text() for path in (APP / "src" / "main").rglob("*.xml"))
    for name in strings("values"):
        name = name[0] if isinstance(name, tuple) else name
        assert re.search(rf"(R\.(string|plurals)\.|@string/){name}\b", used), name


def test_both_builds_agree():
    gradle = (APP / "build.gradle").read_text()
    for key, value in (
        ("minSdk", apk.MIN_SDK),
        ("targetSdk", apk.TARGET_SDK),
        ("compileSdk", apk.TARGET_SDK),
        ("versionCode", apk.VERSION_CODE),
        ("versionName", f"'{apk.VERSION_NAME}'"),
        ("namespace", f"'{apk.PACKAGE}'"),
        ("applicationId", f"'{apk.PACKAGE}'"),
        ("abiFilters", ", ".join(f"'{abi}'" for abi in apk.ABIS)),
    ):
        assert re.search(rf"\b{key} (= )?{re.escape(str(value))}\n", gradle), key
    catalogue = (ROOT / "android_demo" / "gradle" / "libs.versions.toml").read_text()
    versions = dict(re.findall(r'^(\S+) = "([\d.]+)"', catalogue, re.M))
    pom = (ROOT / "android_demo" / "pom.xml").read_text()
    assert f"<tflite.version>{versions['tflite']}</tflite.version>" in pom
    gpu_api = versions["tflite-gpu-api"]
    assert f"<artifactId>tensorflow-lite-gpu-api</artifactId><version>{gpu_api}</version>" in pom


def test_the_manifest_names_the_phones_opencl():
    manifest = (APP / "src" / "main" / "AndroidManifest.xml").read_text()
    for name in ("libOpenCL.so", "libOpenCL-pixel.so", "libGLES_mali.so"):
        assert f'android:name="{name}"' in manifest
    assert "android.permission.INTERNET" not in manifest


def test_no_key_is_kept():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert not re.search(r"\.(keystore|jks|p12|pem|apk|aar|so)$", listed, re.M)
    assert not apk.KEYSTORE.is_relative_to(ROOT)


@pytest.fixture
def students(tmp_path):
    """A project that holds results of two tasks and what the demo made."""
    for task in ("derain", "denoise"):
        name = f"restormer_tiny_{task}"
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        (folder / f"{name}_fp16.tflite").write_bytes(task.encode())
    demo = tmp_path / "runs" / "demo"
    demo.mkdir(parents=True)
    (demo / "student_fp16.tflite").write_bytes(b"demo")
    return tmp_path


def test_results_go_before_the_demo(students):
    found = bundle.bundled_students(students)
    assert [one.task for one in found] == ["denoise", "derain"]
    for path in (students / "results").rglob("*.tflite"):
        path.unlink()
    (one,) = bundle.bundled_students(students)
    assert one.path.name == "student_fp16.tflite"
    one.path.unlink()
    assert bundle.bundled_students(students) == []


def test_nothing_to_bundle(tmp_path):
    with pytest.raises(InputError, match="make demo"):
        bundle.write_bundle([], tmp_path)


def test_own_student(students, tmp_path):
    path = tmp_path / "mine.tflite"
    with pytest.raises(MissingFileError, match="no such student"):
        bundle.own_student(path, "derain", tmp_path)
    path.touch()
    assert bundle.own_student(path, "derain", tmp_path) == bundle.Student("derain", path)
    with pytest.raises(InputError, match="denoise, camera, derain, deblur"):
        bundle.own_student(path, "colourise", tmp_path)


def test_a_file_that_is_no_student(tmp_path):
    path = tmp_path / "mine.tflite"
    path.write_bytes(b"This is no model.")
    with pytest.raises(InputError, match=r"not a \.tflite model"):
        bundle.write_bundle([bundle.Student("denoise", path)], tmp_path / "assets")
    assert not (tmp_path / "assets" / "models.json").exists()


def test_a_bundle_is_made_once(tmp_path, monkeypatch):
    path = tmp_path / "mine.tflite"
    path.write_bytes(b"model")
    calls = []

    def write_check(path, task, folder):
        calls.append(task)
        return {"task": task, "sha256": bundle.sha256(path)}

    monkeypatch.setattr(bundle, "write_check", write_check)
    assets = tmp_path / "assets"
    for _ in range(2):
        bundle.write_bundle([bundle.Student("denoise", path)], assets)
    assert calls == ["denoise"]
    path.write_bytes(b"another model")
    bundle.write_bundle([bundle.Student("denoise", path)], assets)
    assert calls == ["denoise", "denoise"]
    assert len(json.loads((assets / "models.json").read_text())) == 1


def run(module, tmp_path, **environment):
    """Runs a command of the app where neither Maven nor Java is installed."""
    (tmp_path / "empty").mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )


def test_without_java_the_tests_are_skipped_with_the_reason(tmp_path):
    result = run("android_demo.test_app", tmp_path)
    assert result.returncode == 0
    assert "skipped: Maven (mvn) is not installed" in result.stdout
    assert "openjdk-17" in result.stdout


def test_without_java_ci_fails(tmp_path):
    result = run("android_demo.test_app", tmp_path, REQUIRE_APP="1")
    assert result.returncode == 2
    assert "Maven" in result.stderr


def test_without_java_there_is_no_apk(tmp_path):
    result = run("android_demo.apk", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("make apk: error: Maven (mvn) is not installed")
    assert len(result.stderr.strip().splitlines()) == 1
