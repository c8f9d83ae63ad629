from pathlib import Path

import pytest

from tools import lint
from tools.repository import current_address, write_address

NEW = "https://github.com/someone/something"


def test_new_address_is_written_wherever_the_old_one_stood(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    old = current_address()
    changed = write_address(NEW)
    assert current_address() == NEW
    assert {Path("_config.yml"), Path("CITATION.cff")} <= set(changed)
    for notebook in Path("notebooks").glob("*.ipynb"):
        assert notebook in changed
        assert not [p for p in lint.check_notebook(notebook, {}, NEW) if p.rule == "colab"]
        assert old not in notebook.read_text(encoding="utf8")


@pytest.mark.parametrize(
    "address",
    [
        "",
        "github.com/a/b",
        "https://gitlab.com/a/b",
        "https://github.com/a",
        f"{NEW}/tree/main",
        f"{NEW}.git",
        f"{NEW}/..",
    ],
)
def test_what_is_no_address_is_refused(copy_of_project, monkeypatch, address):
    monkeypatch.chdir(copy_of_project)
    with pytest.raises(ValueError, match="is not of the form https://github"):
        write_address(address)
