"""What `pytest --nbval` must catch, seen on small notebooks."""

import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output


def nbval(folder, source, printed, tags=()):
    cell = new_code_cell(source, execution_count=1, metadata={"tags": list(tags)})
    cell.outputs = [new_output("stream", name="stdout", text=printed)]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[cell], metadata=metadata), folder / "some.ipynb")
    shutil.copy(ROOT / "pyproject.toml", folder)  # the project's own options
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "no:cacheprovider", "some.ipynb"]
    return subprocess.run(command, cwd=folder, capture_output=True, encoding="utf8")


@pytest.mark.parametrize(
    ("source", "printed", "tags", "passes"),
    [
        ("print(1 + 1)", "2\n", (), True),
        ("print(1 + 1)", "3\n", (), False),
        ("print(1 + 1)", "3\n", ("nbval-ignore-output",), True),
        ("print(2)\nassert 1 == 2", "2\n", ("nbval-ignore-output",), False),
    ],
    ids=["fresh", "stale", "stale but exempt", "claim that fails"],
)
def test_compares_outputs_and_runs_claims(tmp_path, source, printed, tags, passes):
    result = nbval(tmp_path, source, printed, tags)
    assert (result.returncode == 0) == passes
    assert passes or "some.ipynb::Cell 0" in result.stdout


def test_make_calls_nbval():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    for target in ("test", "robust"):
        recipe = makefile.split(f"\n{target}: ")[1].split("\n\n")[0]
        assert "pytest --nbval " in recipe
