"""Figures numbered by chapter: 图 5-1; in the notebook 5b 图 5b-1, in a chapter's only notebook 图 3n-1."""

import re

from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment


def number_by_chapter(app: Sphinx, env: BuildEnvironment) -> None:
    """Renumber what Sphinx counted through the book; after the environment is stored, so that it stays comparable."""
    for docname, kinds in env.toc_fignumbers.items():
        folder, _, name = docname.rpartition("/")
        chapter = re.match(r"0?(\d+)([a-z]?)-", name)
        letter = chapter and (chapter[2] or ("n" if folder == "notebooks" else ""))
        prefix = f"{chapter[1]}{letter}-" if chapter else ""
        for numbers in kinds.values():
            in_order = sorted(numbers, key=numbers.get)
            numbers.update({anchor: (f"{prefix}{i}",) for i, anchor in enumerate(in_order, start=1)})


def setup(app: Sphinx) -> dict:
    app.connect("env-check-consistency", number_by_chapter)
    return {"parallel_read_safe": True}
