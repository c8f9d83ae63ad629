"""The commands that run notebooks and store what they measured."""

import json
import tomllib
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook

from tools import run_notebooks, run_records


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Return a function that writes notebooks/some.ipynb with the given cells, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    for folder in ("notebooks", "book/data/runs"):
        Path(folder).mkdir(parents=True)

    def write(*sources):
        path = Path("notebooks/some.ipynb")
        nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
        return path

    return write


SEED = "import os\nfrom course.numbers import record\nseed = int(os.environ.get('COURSE_SEED', 0))"


def test_outputs_are_fresh_and_carry_no_clock(notebook):
    executed = run_notebooks.execute(notebook("print(6 * 7)"))
    assert executed.cells[0].outputs[0].text == "42\n"
    assert "execution" not in executed.cells[0].metadata


def test_failure_names_notebook_and_cell(notebook):
    with pytest.raises(SystemExit, match=r"(?s)some\.ipynb, cell 2: .*on purpose"):
        run_notebooks.execute(notebook("1", "raise ValueError('on purpose')", "2"))


def test_notebook_that_does_not_exist_is_named(notebook):
    with pytest.raises(SystemExit, match=r"No such notebook: .*absent\.ipynb"):
        run_notebooks.notebook_files(["notebooks/absent.ipynb"])


def test_every_seed_stands_in_the_table(notebook):
    path = notebook(SEED, "record('ten_times', 10 * seed)\nrecord('word', 'Shirt')")
    run_records.main([str(path)])
    (file,) = Path("book/data/runs").glob("some.*.json")
    table = json.loads(file.read_text(encoding="utf8"))
    assert table["seeds"] == [0, 1, 2, 3, 4]
    assert table["numbers"]["ten_times"] == [0, 10, 20, 30, 40]
    assert len(table["numbers"]["notebook_seconds"]) == 5
    assert "word" not in table["numbers"]
    stored = nbformat.read(path, as_version=4)
    assert run_records.recorded_numbers(stored) == {"ten_times": 0}  # the outputs of seed 0


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("assert seed < 3", r"some\.ipynb, cell 2"),
        ("if seed < 3:\n    record('a', 1)", "not every seed recorded the same numbers"),
    ],
    ids=["a claim that fails for one seed", "a number that is missing for one seed"],
)
def test_failing_seed_changes_nothing(notebook, source, message):
    path = notebook(SEED, source)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=message):
        run_records.main([str(path)])
    assert path.read_bytes() == before
    assert not list(Path("book/data/runs").iterdir())


def test_lock_holds_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    lock = (ROOT / "requirements.txt").read_text(encoding="utf8")
    extras = project["optional-dependencies"]
    for requirement in [*project["dependencies"], *extras["book"], *extras["dev"]]:
        name = requirement.split(">")[0].split("=")[0]
        assert f"\n{name}==" in lock
    assert "\ntorch==2.15.0" in lock
    assert "\ntorchvision==0.29.2" in lock
    assert "://" not in lock  # no registry's address
