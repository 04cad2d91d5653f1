"""Installs the GPU delegate of Android's TensorFlow Lite where this computer can run it.

``make classic-gpu``, or ``python android_demo/host/install.py``. Debian or Ubuntu, x86_64. The
result lies in :func:`keras_skd.export.gpu.classic.folder`; what is there already is left as it is.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path

from keras_skd.command import reported_errors
from keras_skd.errors import FailedCheckError, InputError
from keras_skd.export.gpu import classic
from keras_skd.files import sha256

HERE = Path(__file__).resolve().parent

# What a command or file is the sign of, and the package of Debian that brings it.
PACKAGES = {
    "gcc": "gcc",
    "nm": "binutils",
    "mvn": "maven",
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/include/CL/cl.h": "opencl-c-headers",
    "/usr/lib/x86_64-linux-gnu/libOpenCL.so.1": "ocl-icd-libopencl1",
    "/etc/OpenCL/vendors/pocl.icd": "pocl-opencl-icd",
}
# The Android package's libraries as they lie in it, x86_64, and their sha256.
LIBRARIES = {
    classic.RUNTIME: "21f2570e650fc120ad28a379d927392c1883f9738895a3fd5efa0a32ae784507",
    classic.DELEGATE: "376d69bd344f3be8af7d7aa4a402c4ad403fc89cdd8d2bcc1847fade20ef48ca",
}
# The libraries that Android's ask for, all of which bionic.c stands for.
STAND_IN = "libc.so"
ALIASES = ("libm.so", "libdl.so", "liblog.so", "libEGL.so", "libGLESv3.so")
VERSION = "@LIBC"


def main():
    """Installs, and says where.

    Raises:
        InputError: The machine is no x86_64 Linux, or a package is missing and cannot be installed.
        FailedCheckError: A download or a compilation failed.
    """
    folder = classic.folder()
    digest = _digest()
    if _installed_digest(folder) == digest:
        print(f"the classic GPU delegate is installed in {folder}")
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise InputError("the classic GPU delegate runs on x86_64 Linux only.")
    _install_packages()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        build = Path(temporary) / "build"
        _download(build)
        _link(build)
        shutil.copy(HERE / "half.cl", build)
        (build / classic.STAMP).write_text(json.dumps({"sources": digest}) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        build.rename(folder)
    print(f"installed the classic GPU delegate in {folder}")


def _digest():
    names = ("pom.xml", "install.py", "bionic.c", "opencl.c", "half.cl")
    return hashlib.sha256(b"".join((HERE / name).read_bytes() for name in names)).hexdigest()


def _installed_digest(folder):
    try:
        return json.loads((folder / classic.STAMP).read_text())["sources"]
    except (OSError, ValueError, KeyError):
        return None


def _install_packages():
    missing = [
        package
        for sign, package in PACKAGES.items()
        if not (Path(sign).exists() if sign.startswith("/") else shutil.which(sign))
    ]
    if not missing:
        return
    root = ["sudo"] if os.geteuid() else []
    if not all(shutil.which(command) for command in [*root, "apt-get"]):
        raise InputError(f"missing packages; install them as root: {' '.join(missing)}")
    for goal in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        _run([*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", *goal])


def _download(build):
    """Takes the two libraries out of their archives, byte for byte."""
    archives = build / "archives"
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
    _run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", goal, f"-DoutputDirectory={archives}"])
    for archive in archives.glob("*.aar"):
        with zipfile.ZipFile(archive) as files:
            for name in files.namelist():
                if name.startswith("jni/x86_64/"):
                    (build / Path(name).name).write_bytes(files.read(name))
    shutil.rmtree(archives)
    for name, digest in LIBRARIES.items():
        if sha256(build / name) != digest:
            raise FailedCheckError(f"{name} is not that of tensorflow-lite 2.16.1")


def _link(build):
    symbols = set()
    for library in LIBRARIES:
        output = _run(["nm", "-D", "--undefined-only", build / library])
        symbols |= {line.split()[-1] for line in output.splitlines()}
    (build / "forward.S").write_text(_forwards(symbols))
    (build / "versions").write_text("LIBC {};\n")
    compiler = ["gcc", "-O1", "-shared", "-fPIC", "-Wall", "-Wno-unused-result"]
    link = f"-Wl,-soname,{STAND_IN},--version-script,{build / 'versions'},-z,defs"
    sources = [HERE / "bionic.c", build / "forward.S"]
    _run([*compiler, link, "-o", build / STAND_IN, *sources, "-lm", "-ldl"])
    for alias in ALIASES:
        (build / alias).symlink_to(STAND_IN)
    link = "-Wl,-soname,libOpenCL.so,--no-as-needed"
    libraries = ["-l:libOpenCL.so.1", "-ldl"]
    _run([*compiler, link, "-o", build / "libOpenCL.so", HERE / "opencl.c", *libraries])
    for name in ("forward.S", "versions"):
        (build / name).unlink()


def _forwards(symbols):
    """An assembler file: each of Android's functions jumps to glibc's.

    Functions of EGL and OpenGL give 0: the delegate asks whether OpenGL is in use, no more.
    """
    own = set(re.findall(r"SYMBOL\((\w+)\)", (HERE / "bionic.c").read_text()))
    lines = []
    for symbol in sorted(symbols):
        name = symbol.removesuffix(VERSION)
        if re.match(r"(egl|gl)[A-Z]", name):
            lines += [f".globl {name}", f"{name}: xor %eax, %eax", "ret"]
        elif symbol.endswith(VERSION) and name not in own:
            lines += [
                f".globl android_{name}",
                f"android_{name}: jmp *{name}@GOTPCREL(%rip)",
                f".symver android_{name}, {symbol}",
            ]
    return "\n".join([".text", *lines, '.section .note.GNU-stack,"",@progbits']) + "\n"


def _run(command):
    process = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if process.returncode:
        lines = (process.stderr.strip() or process.stdout.strip()).splitlines()
        raise FailedCheckError(f"{command[0]} failed: {' | '.join(lines[-5:])}")
    return process.stdout


if __name__ == "__main__":
    with reported_errors("classic-gpu"):
        main()
