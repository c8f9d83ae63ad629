"""The tables of the book, installed as `course.tables`, so that notebooks and prose read the same figures."""

import tomllib
from importlib import resources


def read_table(name: str) -> dict:
    """Return the table NAME.toml."""
    return tomllib.loads((resources.files(__name__) / f"{name}.toml").read_text(encoding="utf8"))
