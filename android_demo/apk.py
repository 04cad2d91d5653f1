"""``make apk``: the app as a signed debug APK, without the Android SDK and without Gradle.

What an SDK would give comes as ordinary Maven artifacts, fetched by ``pom.xml``: Android's classes
to compile against, aapt2 with the framework's resources, D8, the signer, TensorFlow Lite. The steps
are those of every Android build: resources, Java, dex, archive, signature.
"""

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from android_demo.bundle import (
    ROOT,
    TASKS,
    bundled_students,
    own_student,
    write_bundle,
)
from keras_skd.errors import FailedCheckError, InputError

HERE = ROOT / "android_demo"
BUILD = HERE / "build"
MAIN = HERE / "app" / "src" / "main"
PACKAGE = "org.kerasskd.demo"
MIN_SDK, TARGET_SDK = 24, 35
VERSION_CODE, VERSION_NAME = 1, "1.0"
ABIS = ("arm64-v8a", "x86_64")
APK = BUILD / "kerasskd-demo.apk"
KEYSTORE = Path.home() / ".cache" / "keras_skd" / "debug.keystore"
PAGE = 16384  # bytes: libraries are mapped from the APK, on phones with large pages too
_AAPT2 = {"Linux": "linux/aapt2_64", "Darwin": "macosx/aapt2_64", "Windows": "windows/aapt2_64.exe"}


def missing_tools():
    """What is not installed of what the build needs: a list of sentences, empty if all is there."""
    missing = []
    if shutil.which("mvn") is None:
        missing.append("Maven (mvn) is not installed; on Debian and Ubuntu: apt-get install maven")
    javac = shutil.which("javac")
    found = re.search(r"\d+", _output([javac, "-version"])) if javac else None
    if found is None or int(found[0]) < 17:
        missing.append(
            "a JDK of 17 or later is not installed; on Debian and Ubuntu: "
            "apt-get install openjdk-17-jdk-headless"
        )
    return missing


def require_tools():
    """Checks that Maven and a JDK are there.

    Raises:
        InputError: One is not; the message says which and how to install it.
    """
    missing = missing_tools()
    if missing:
        raise InputError("; ".join(missing) + ".")


def run(*parts):
    """Runs a program of the build.

    Args:
        *parts: Lists that make up program and arguments.

    Raises:
        FailedCheckError: It failed; the message holds the end of what it said.
    """
    command = [str(word) for part in parts for word in part]
    result = subprocess.run(command, text=True, capture_output=True, cwd=HERE)
    if result.returncode:
        said = (result.stdout + result.stderr).strip()[-3000:]
        raise FailedCheckError(f"{Path(command[0]).name} failed: {said}")


def maven(*goals):
    """Runs Maven on the app's pom, quietly; see :func:`run`."""
    run(["mvn", "--batch-mode", "--quiet", *goals])


def fetch_parts():
    """Downloads what the build needs, 700 MB the first time, and unpacks aapt2."""
    stamp = BUILD / "parts" / "stamp"
    pom = (HERE / "pom.xml").read_bytes()
    if not stamp.exists() or stamp.read_bytes() != pom:
        maven("process-sources")
        with zipfile.ZipFile(BUILD / "parts" / "apktool-lib.jar") as jar:
            name = f"prebuilt/{_AAPT2[platform.system()]}"
            aapt2().write_bytes(jar.read(name))
            aapt2().chmod(0o755)
            framework().write_bytes(jar.read("prebuilt/android-framework.jar"))
        stamp.write_bytes(pom)


def aapt2():
    """Path of the program that compiles resources."""
    return BUILD / "parts" / Path(_AAPT2[platform.system()]).name


def framework():
    """Path of the framework's resources."""
    return BUILD / "parts" / "android-framework.jar"


def link_resources(assets):
    """Compiles manifest, resources and assets.

    Writes ``build/res.apk`` and the class ``R``.

    Args:
        assets: Folder of the app's assets.
    """
    # Gradle adds both, and refuses them in the manifest; aapt2 takes it as it is.
    manifest = (MAIN / "AndroidManifest.xml").read_text(encoding="utf-8")
    manifest = manifest.replace("<manifest ", f'<manifest package="{PACKAGE}" ', 1)
    mapped = '<application android:extractNativeLibs="false" '
    manifest = re.sub(r"<application\s+", mapped, manifest, count=1)
    (BUILD / "AndroidManifest.xml").write_text(manifest, encoding="utf-8")
    compiled = BUILD / "resources.zip"
    run([aapt2(), "compile", "--dir", MAIN / "res", "-o", compiled])
    sources = BUILD / "generated-sources" / "r"
    sources.mkdir(parents=True, exist_ok=True)
    run(
        [aapt2(), "link", "-o", BUILD / "res.apk", "-I", framework(), "--debug-mode"],
        ["--manifest", BUILD / "AndroidManifest.xml", "--java", sources, "-A", assets],
        ["--min-sdk-version", MIN_SDK, "--target-sdk-version", TARGET_SDK],
        ["--version-code", VERSION_CODE, "--version-name", VERSION_NAME],
        ["--compile-sdk-version-code", TARGET_SDK, "--compile-sdk-version-name", "15"],
        ["-0", ".tflite", compiled],
    )


def make_dex():
    """Translates the app's classes, and TensorFlow Lite's, for Android: ``build/dex``."""
    classes = BUILD / "classes.jar"
    with zipfile.ZipFile(classes, "w", zipfile.ZIP_STORED) as jar:
        for path in sorted((BUILD / "classes").rglob("*.class")):
            jar.write(path, path.relative_to(BUILD / "classes").as_posix())
    shutil.rmtree(BUILD / "dex", ignore_errors=True)
    (BUILD / "dex").mkdir()
    java_home = Path(os.path.realpath(shutil.which("javac"))).parents[1]
    run(
        ["java", "-cp", BUILD / "parts" / "r8.jar", "com.android.tools.r8.D8", "--debug"],
        ["--min-api", MIN_SDK, "--lib", BUILD / "parts" / "android-all.jar"],
        ["--lib", java_home, "--output", BUILD / "dex", classes],
    )


def write_archive(path):
    """Puts the APK together, unsigned.

    Args:
        path: The file. Libraries and models are stored, so that they are mapped from it; the signer
            aligns them.
    """
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as apk,
        zipfile.ZipFile(BUILD / "res.apk") as resources,
    ):
        for entry in resources.infolist():
            apk.writestr(entry.filename, resources.read(entry), entry.compress_type)
        for dex in sorted((BUILD / "dex").glob("*.dex")):
            apk.write(dex, dex.name)
        for folder in ("tensorflow-lite", "tensorflow-lite-gpu"):
            for abi in ABIS:
                for library in sorted((BUILD / "aar" / folder / "jni" / abi).glob("*.so")):
                    apk.write(library, f"lib/{abi}/{library.name}", zipfile.ZIP_STORED)


def debug_key():
    """Makes the key that signs debug APKs, once; a later build then updates an installed app."""
    if not KEYSTORE.exists():
        KEYSTORE.parent.mkdir(parents=True, exist_ok=True)
        run(
            ["keytool", "-genkeypair", "-keystore", KEYSTORE, "-storetype", "PKCS12"],
            ["-storepass", "android", "-alias", "debug", "-dname", "CN=Debug"],
            ["-keyalg", "RSA", "-keysize", "2048", "-validity", "10000"],
        )
    return KEYSTORE


def build(students, output=APK, assets=BUILD / "assets"):
    """Builds the APK.

    Args:
        students: A list of :class:`~android_demo.bundle.Student`.
        output: The file.
        assets: Folder for the app's assets.

    Returns:
        ``output``.

    Raises:
        InputError: Maven or a JDK is missing, or a student is not for the app.
        FailedCheckError: A step failed.
    """
    require_tools()
    BUILD.mkdir(parents=True, exist_ok=True)
    write_bundle(students, assets)
    fetch_parts()
    link_resources(assets)
    maven("process-classes")
    make_dex()
    unsigned = BUILD / "unsigned.apk"
    write_archive(unsigned)
    run(
        ["java", "-cp", BUILD / "parts" / "apksig.jar", HERE / "Sign.java"],
        [unsigned, output, debug_key(), MIN_SDK],
    )
    unsigned.unlink()
    return output


def _output(command):
    result = subprocess.run(command, text=True, capture_output=True)
    return result.stdout + result.stderr


def main(arguments=None):
    """Runs the command; returns the exit code."""
    from keras_skd.command import reported_errors

    parser = argparse.ArgumentParser(prog="make apk", description="Builds the Android app.")
    parser.add_argument("--student", metavar="FILE", help=".keras or .tflite file")
    parser.add_argument(
        "--task", default="denoise", help=f"what it removes: {', '.join(TASKS)} (default: denoise)"
    )
    parser.add_argument("--assets", action="store_true", help="the assets alone, for Gradle")
    options = parser.parse_args(arguments)
    with reported_errors("make apk"):
        if not options.assets:
            require_tools()
        students = bundled_students()
        if options.student:
            own = own_student(options.student, options.task, BUILD / "converted")
            students = [one for one in students if one.task != own.task] + [own]
            students.sort(key=lambda one: TASKS.index(one.task))
        if options.assets:
            write_bundle(students, BUILD / "assets")
            print(f"{(BUILD / 'assets').relative_to(ROOT)}: the app's students")
            return 0
        apk = build(students)
    names = ", ".join(f"{one.task} ({one.path.name})" for one in students)
    print(f"{apk.relative_to(ROOT)}: {apk.stat().st_size / 1e6:.1f} MB, {names}")
    print("install it with: adb install -r " + str(apk.relative_to(ROOT)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
