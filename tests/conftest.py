import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def copy_of_project(tmp_path):
    """A copy of the files that git tracks or would track, in a folder with a space and Chinese in its path."""
    return copy_project(tmp_path / "课程 copy")


def copy_project(target):
    command = ["git", "-c", "core.quotePath=false", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf8", check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    return target


def build(project):
    command = [Path(sys.executable).parent / "jupyter-book", "build", ".", "-n", "-W", "--keep-going"]
    return subprocess.run(command, cwd=project, capture_output=True, encoding="utf8")


def plain(result):
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A copy of the project with its book built, for tests that only look."""
    project = copy_project(tmp_path_factory.mktemp("built") / "课程 copy")
    result = build(project)
    assert result.returncode == 0, plain(result)
    return project
