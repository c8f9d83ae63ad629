"""Figures numbered by chapter, as Chinese books do: 图 5-1, and 图 5b-1 in the notebook 5b."""

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> None:
    """Renumber what Sphinx counted through the book; after the environment is stored, so that it stays comparable."""
    for docname, kinds in env.toc_fignumbers.items():
        chapter = re.match(r"0?(\d+[a-z]?)-", docname.rpartition("/")[2])
        prefix = f"{chapter[1]}-" if chapter else ""
        for numbers in kinds.values():
            in_order = sorted(numbers, key=numbers.get)
            numbers.update({anchor: (f"{prefix}{i}",) for i, anchor in enumerate(in_order, start=1)})


def setup(app: Sphinx) -> dict:
    app.connect("env-check-consistency", number_by_chapter)
    return {"parallel_read_safe": True}
