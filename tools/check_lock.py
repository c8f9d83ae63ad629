"""Show that requirements.txt resolves to wheels on every promised system: python -m tools.check_lock"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

PLATFORMS = ["x86_64-manylinux_2_35", "aarch64-apple-darwin", "x86_64-pc-windows-msvc"]
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


def locked_packages(lock: Path) -> str:
    """Return the lock without the line that installs the project itself."""
    lines = lock.read_text(encoding="utf8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("-e"))


def main() -> None:
    packages = locked_packages(Path("requirements.txt"))
    environment = os.environ | {"MACOSX_DEPLOYMENT_TARGET": "14.0"}  # the oldest macOS that torch has wheels for
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "packages.txt")
        file.write_text(packages, encoding="utf8")
        for platform in PLATFORMS:
            for python in PYTHONS:
                command = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
                command += ["--only-binary", ":all:", "--python-platform", platform, "--python-version", python]
                command += ["--target", f"{scratch}/target", "--requirements", str(file)]
                result = subprocess.run(command, env=environment, capture_output=True, encoding="utf8")
                if result.returncode:
                    sys.exit(f"{platform}, Python {python}: {result.stderr.strip()}")
                print(f"{platform}, Python {python}: wheels for every package")


if __name__ == "__main__":
    main()
