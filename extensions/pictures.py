"""SVG pictures for light and dark pages: one drawing, two files, no script.

Figures and diagrams are drawn in the light colours of COLORS. For a dark page the same drawing is written a second
time with each of them exchanged, and the style sheet shows the one that suits. Any other colour stays: a photograph,
the cells of a heat map, text in plain black or white upon them.
"""

import hashlib
import re
from pathlib import Path

from docutils import nodes
from nbformat import NotebookNode
from sphinx.application import Sphinx

SVG = "image/svg+xml"
# light: dark. The accents are Okabe and Ito's, safe for colour-blind readers; blue is lighter where the page is dark.
COLORS = {
    "#fefefe": "#14181d",  # paper
    "#1f2329": "#dce1e7",  # ink
    "#57606b": "#a3adb8",  # quiet ink
    "#dfe3e8": "#39424d",  # lines
    "#eef3f8": "#1f2a36",  # fill
    "#0072b2": "#58a9dd",  # blue
    "#d55e00": "#e8803a",  # vermilion
    "#009e73": "#2fb890",  # green
}


class two_mode_svg(nodes.General, nodes.Element):
    """A drawing: `svg` its source in light colours, `alt` its words."""


def figure_picture(output: NotebookNode) -> two_mode_svg:
    """Turn a stored figure of `course.figures.show` into a drawing.

    Raises:
        ValueError: it has no words, or no viewBox that says how large it is.
    """
    alt = output.metadata.get(SVG, {}).get("alt", "")
    if not alt:
        raise ValueError("a figure has no words: use course.figures.show")
    size(output.data[SVG])  # or it would fail when the page is written, where no cell can be named
    return two_mode_svg("", svg=output.data[SVG], alt=alt)


def size(svg: str) -> dict[str, int]:
    """Return width and height in pixels; Matplotlib counts in points.

    Raises:
        ValueError: there is no viewBox of four numbers.
    """
    box = re.search(r"""viewBox=["']([^"']+)""", svg)
    numbers = re.split(r"[\s,]+", box[1].strip()) if box else []
    if len(numbers) != 4:
        raise ValueError("an SVG has no viewBox that says how large it is")
    scale = 4 / 3 if re.search(r'<svg[^>]*\swidth="[^"]*pt"', svg) else 1
    return {"width": round(float(numbers[2]) * scale), "height": round(float(numbers[3]) * scale)}


def darken(svg: str) -> str:
    """Exchange every colour of the light page for its partner."""
    return re.sub("|".join(COLORS), lambda color: COLORS[color[0].lower()], svg, flags=re.IGNORECASE)


def visit_html(self, node: two_mode_svg) -> None:
    folder = Path(self.builder.outdir, self.builder.imagedir)
    folder.mkdir(parents=True, exist_ok=True)
    image = {"alt": node["alt"], "loading": "lazy", **size(node["svg"])}
    for mode, svg in (("light", node["svg"]), ("dark", darken(node["svg"]))):
        name = f"{hashlib.sha256(svg.encode()).hexdigest()[:16]}.svg"
        (folder / name).write_text(svg, encoding="utf8")
        address = f"{self.builder.imgpath}/{name}"
        # on a phone a picture is small: it leads to itself, where it can be enlarged
        self.body.append(self.starttag(node, "a", "", CLASS=f"{mode}-page", href=address))
        self.body.append(self.emptytag(node, "img", "", CLASS="dark-light", src=address, **image))
        self.body.append("</a>")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict:
    app.add_node(two_mode_svg, html=(visit_html, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
