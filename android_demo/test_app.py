"""``make test-app``: builds the app and runs its tests on the JVM, the screens included.

Without Maven or a JDK they are skipped, with the reason, unless ``REQUIRE_APP=1`` is set, as CI
does.
"""

import os
import subprocess
import sys

from android_demo import apk, fixtures
from keras_skd.command import FAILED_CHECK, reported_errors


def write_test_configuration():
    """Tells Robolectric where aapt2's resources and the manifest are."""
    folder = apk.BUILD / "test-configuration" / "com" / "android" / "tools"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        f"android_merged_manifest={(apk.BUILD / 'AndroidManifest.xml').as_posix()}",
        f"android_resource_apk={(apk.BUILD / 'res.apk').as_posix()}",
        f"android_custom_package={apk.PACKAGE}",
    ]
    (folder / "test_config.properties").write_text("\n".join(lines) + "\n")


def main():
    """Runs the command; returns the exit code."""
    missing = apk.missing_tools()
    if missing and not os.environ.get("REQUIRE_APP"):
        print(f"the app's tests are skipped: {'; '.join(missing)}")
        return 0
    with reported_errors("make test-app"):
        apk.require_tools()
        students = fixtures.write_all(apk.BUILD)
        apk.build(students, apk.BUILD / "test.apk", apk.BUILD / "test-assets")
        write_test_configuration()
    command = ["mvn", "--batch-mode", "--no-transfer-progress", "test", *sys.argv[1:]]
    code = subprocess.run(command, cwd=apk.HERE).returncode
    return FAILED_CHECK if code else 0


if __name__ == "__main__":
    sys.exit(main())
