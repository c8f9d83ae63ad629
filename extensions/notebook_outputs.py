"""A notebook's cells: a stored error fails the build, a figure brings its words, a fold says what it is."""

import hashlib
import os
from base64 import b64decode
from collections import defaultdict
from pathlib import PurePosixPath

import nbformat
from docutils.nodes import document, image
from myst_nb.sphinx_ import HideCodeCellNode, depart_HideCellInput
from pictures import SVG, figure_picture
from sphinx.application import Sphinx
from sphinx.util import logging

FOLDED = {"content": "看答案", "source": "看代码", "outputs": "看输出"}  # what myst-nb calls the parts of a cell
logger = logging.getLogger(__name__)


def read_outputs(app: Sphinx, doctree: document) -> None:
    path = app.env.doc2path(app.env.docname)
    if not path.endswith(".ipynb"):
        return
    pictures = defaultdict(list)  # myst-nb names a picture's file by the SHA-256 of its bytes
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells, start=1):
        for output in cell.get("outputs", []):
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                logger.warning("cell %d ended in %s: %s", number, output.ename, output.evalue, location=app.env.docname)
            for mime, content in output.get("data", {}).items():
                if mime.startswith("image/"):
                    pictures[hashlib.sha256(as_bytes(mime, content)).hexdigest()].append((number, mime, output))
    for node in list(doctree.findall(image)):
        if not (same_bytes := pictures.get(PurePosixPath(node["uri"]).stem)):
            continue
        number, mime, output = same_bytes.pop(0)
        if mime == SVG:
            try:
                node.replace_self(figure_picture(output))
            except ValueError as error:
                logger.warning("cell %d: %s", number, error, location=app.env.docname)
        else:
            node["alt"] = node.get("alt") or output.metadata.get(mime, {}).get("alt", "")


def as_bytes(mime: str, content: str) -> bytes:
    """Return a stored picture as myst-nb writes it."""
    return os.linesep.join(content.splitlines()).encode() if mime == SVG else b64decode(content)


def visit_folded(self, node: HideCodeCellNode) -> None:
    """As myst-nb has it, without the English words that hide the fold's own from screen readers."""
    self.body.append(f'<details class="admonition hide {" ".join(node["classes"])}">\n<summary>\n')
    for state, words in (("collapsed", FOLDED[node["prompt_show"]]), ("expanded", node["prompt_hide"])):
        self.body.append(f'<p class="{state} admonition-title">{words}</p>\n')
    self.body.append("</summary>\n")


def setup(app: Sphinx) -> dict:
    app.add_node(HideCodeCellNode, override=True, html=(visit_folded, depart_HideCellInput))
    app.connect("doctree-read", read_outputs)
    return {"parallel_read_safe": True}
