"""Formulas drawn when the book is built: SVG for the eye, MathML for screen readers, no script and no font to load."""

import functools
import re
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
SIZE = 18  # pixels for one em while drawing; the page scales the picture with its text
ziamath.config.svg2 = False  # outlines in place: shared symbols would repeat their ids on the page


def draw(latex: str, block: bool, node: nodes.Node) -> str:
    """Return one formula as HTML; what cannot be drawn fails the build with file and line."""
    if re.search(r"[\u3000-\u9fff\uff00-\uffef]", latex):
        logger.warning("Chinese inside a formula cannot be drawn: %s", latex, location=node)
    if block and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        return picture_and_words(latex, block)
    except Exception as error:
        logger.warning("this formula cannot be drawn (%s): %s", error, latex, location=node)
        return f"<code>{latex}</code>"


@functools.cache  # a page says n and W many times
def picture_and_words(latex: str, block: bool) -> str:
    """Return the outlines of a formula, and its MathML for screen readers."""
    picture = ziamath.Latex(latex, size=SIZE, color="currentColor", inline=not block).svgxml()
    # latex2mathml knows the table of `aligned` under another name
    mathml = convert(latex.replace("{aligned}", "{align*}"), display="block" if block else "inline")
    ElementTree.fromstring(mathml)  # what it does not know it may copy, and break the page
    picture.set("aria-hidden", "true")
    _, top, width, height = (float(number) / SIZE for number in picture.get("viewBox").split())
    below = top + height  # how far the picture reaches below the baseline
    picture.set("style", f"width:{width:.3f}em;height:{height:.3f}em;vertical-align:{-below:.3f}em")
    for pixels in ("width", "height"):
        picture.attrib.pop(pixels)
    for path in picture.iter():
        if "d" in path.attrib:
            path.set("d", shorter(path.get("d")))
    svg = ziamath.zmath.ET.tostring(picture, encoding="unicode")
    return f'{svg}<span class="mathml">{mathml}</span>'


def shorter(outline: str) -> str:
    """Round coordinates to a tenth of a pixel, 1/180 em, and drop what can be dropped: a third less to load."""
    rounded = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), outline)
    packed = re.sub(r"\s*([A-Za-z])\s*|\s+(?=-)", r"\1", rounded).strip()
    return re.sub(r"(M([^A-Z]+))L\2(?=[A-Z])", r"\1", packed)  # a line to where one stands


def visit_inline(self, node: nodes.math) -> None:
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate"))
    self.body.append(f"{draw(node.astext(), False, node)}</span>")
    after = node.next_node(nodes.Text, descend=False, siblings=True)
    if after and after.astext()[0] in "，。；：、）”？！":
        self.body.append("\u2060")  # no line begins with the punctuation behind a formula
    raise nodes.SkipNode


def visit_block(self, node: nodes.math_block) -> None:
    # a long formula scrolls on a phone, so the keyboard must reach it
    self.body.append(self.starttag(node, "div", CLASS="math notranslate", tabindex="0"))
    self.body.append(draw(node.astext(), True, node))
    if node["number"]:
        self.body.append(f'<span class="eqno">({node["number"]})')
        self.add_permalink_ref(node, "本式的链接")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_html_math_renderer("svg", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
