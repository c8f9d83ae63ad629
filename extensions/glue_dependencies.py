"""Keep distant pages fresh: a page that glues a number from a notebook is rebuilt when the notebook changes."""

from docutils.nodes import document
from myst_nb.ext.glue.utils import PendingGlueReference
from sphinx.application import Sphinx


def note_notebooks(app: Sphinx, doctree: document) -> None:
    for reference in doctree.findall(PendingGlueReference):
        app.env.note_dependency(app.env.doc2path(reference.refdoc))


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", note_notebooks)
    return {"parallel_read_safe": True}
