"""The way through Colab: an environment with the package's own dependencies, each notebook alone in an empty folder.

The repository's address is pointed at a copy of this checkout, so nothing has to be published first. By default two
notebooks run whole; with COURSE_COLAB=all every one does.
"""

import hashlib
import os
import shutil
import subprocess
import tomllib
import venv

import nbformat
import pytest
from conftest import ROOT, copy_project

from tools.check_lock import locked_packages
from tools.repository import current_address

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
WHOLE = NOTEBOOKS if os.environ.get("COURSE_COLAB") == "all" else NOTEBOOKS[:2]
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=1800, kernel_name="python3").execute()
"""


@pytest.fixture(scope="module")
def colab_python():
    """The interpreter of an environment like Colab's, made once and kept in _build/colab."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    pins = locked_packages(ROOT / "requirements.txt")
    key = hashlib.sha256((pins + repr(project["dependencies"])).encode()).hexdigest()[:12]
    folder = ROOT / "_build/colab" / key
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "complete").exists():
        shutil.rmtree(folder.parent, ignore_errors=True)
        venv.create(folder, with_pip=True)
        (folder / "pins.txt").write_text(pins, encoding="utf8")
        packages = [*project["dependencies"], "ipykernel", "nbclient"]
        command = [python, "-m", "pip", "install", "--quiet", "--constraint", folder / "pins.txt", *packages]
        subprocess.run(command, check=True)
        (folder / "complete").touch()
    return python


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Environment variables that send git to a copy of this checkout wherever the repository's address is asked for."""
    published = copy_project(tmp_path_factory.mktemp("published") / "repository")
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "--quiet"], ["add", "--all"], [*identity, "commit", "--quiet", "--message=published"]):
        subprocess.run(["git", *command], cwd=published, check=True)
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return inherited | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{published.as_posix()}.insteadOf",
        "GIT_CONFIG_VALUE_0": current_address(),
    }


def run_alone(notebook, folder, python, environment):
    """Run a notebook in an empty folder, in an environment that lacks the course, and return what was said."""
    uninstall = [python, "-m", "pip", "uninstall", "--quiet", "--yes", "gradient-to-margin"]
    subprocess.run(uninstall, check=True, capture_output=True)
    nbformat.write(notebook, folder / "alone.ipynb")
    command = [python, "-c", RUN, "alone.ipynb"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, encoding="utf8")


def torch_installed(python):
    """Return where torch lies and when it was installed."""
    site = next(python.parent.parent.glob("[Ll]ib/**/torch-*.dist-info/RECORD"))
    return site, site.stat().st_mtime


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_set_up_and_imports(path, tmp_path, colab_python, environment):
    before = torch_installed(colab_python)
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    imports = next(n for n, cell in enumerate(code) if "from course" in cell.source)
    notebook.cells = code[: imports + 1]
    result = run_alone(notebook, tmp_path, colab_python, environment)
    assert result.returncode == 0, result.stderr[-2000:]
    assert torch_installed(colab_python) == before  # Colab's own torch is left alone


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.stem)
def test_whole(path, tmp_path, colab_python, environment):
    result = run_alone(nbformat.read(path, as_version=4), tmp_path, colab_python, environment)
    assert result.returncode == 0, result.stderr[-2000:]


def test_address_that_is_not_set_says_what_to_do(tmp_path, colab_python, environment):
    notebook = nbformat.read(NOTEBOOKS[0], as_version=4)
    notebook.cells = [cell for cell in notebook.cells if cell.cell_type == "code"][:1]
    nowhere = environment | {"GIT_CONFIG_KEY_0": f"url.{tmp_path}/absent.insteadOf"}
    result = run_alone(notebook, tmp_path, colab_python, nowhere)
    assert result.returncode != 0
    assert "make repository URL=" in result.stderr
