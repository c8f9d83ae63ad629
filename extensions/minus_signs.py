"""A minus sign, not a hyphen, before the negative numbers that a page takes from a notebook."""

import re

from docutils import nodes
from sphinx.application import Sphinx

HYPHEN = re.compile(r"(?<![A-Za-z0-9_-])-(?=\d)")  # not that of 2026-11-25, GPT-3 or 1e-5


def set_minus_signs(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    for pasted in doctree.findall(nodes.inline):
        if "pasted-text" in pasted["classes"]:
            for text in list(pasted.findall(nodes.Text)):
                text.parent.replace(text, nodes.Text(HYPHEN.sub("−", text)))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-resolved", set_minus_signs)
    return {"parallel_read_safe": True}
