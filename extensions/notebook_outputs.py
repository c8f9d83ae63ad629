"""Stored outputs: an error in them fails the build, and a picture brings its alternative text to the page."""

import hashlib
from base64 import b64decode
from pathlib import PurePosixPath

import nbformat
from docutils.nodes import document, image
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def read_outputs(app: Sphinx, doctree: document) -> None:
    path = app.env.doc2path(app.env.docname)
    if not path.endswith(".ipynb"):
        return
    alt_of_file = {}  # myst-nb names a picture's file by the SHA-256 of its bytes
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                logger.warning("cell %d ended in %s: %s", number, output.ename, output.evalue, location=app.env.docname)
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if alt:
                alt_of_file[hashlib.sha256(b64decode(output.data["image/png"])).hexdigest()] = alt
    for node in doctree.findall(image):
        node["alt"] = node.get("alt") or alt_of_file.get(PurePosixPath(node["uri"]).stem, "")


def setup(app: Sphinx) -> dict:
    app.connect("doctree-read", read_outputs)
    return {"parallel_read_safe": True}
