"""Mermaid diagrams drawn when the book is built: SVG for light and dark pages, no script.

```mermaid
flowchart LR
    accTitle: the caption; with it comes a number
    accDescr: words for readers who cannot see the picture
    %% name: fig-name-for-references
    photo[商品照片] --> model[分类模型]
```

All of this is Mermaid's own syntax, so GitHub and JupyterLab draw the same fence. The outputs of `course.diagrams`
become figures in the same way. A label is broken where it says `<br>`, and nowhere else.
"""

import json
import re
import unicodedata

from docutils import nodes
from merman import (
    MermanEngine,
    MermanEngineServices,
    MermanError,
    MermanTextMeasurementResultKind,
    MermanTextMeasurer,
    MermanTextMeasureResult,
)
from myst_nb.core.render import MimeRenderPlugin, load_mime_renders
from pictures import COLORS, two_mode_svg
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

logger = logging.getLogger(__name__)
MIME = "text/vnd.mermaid"
FONT = 'system-ui, "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif'
LINE = 1.5  # height of a line of text, in ems
OPTIONS = {
    "fontFamily": FONT,
    "htmlLabels": False,  # text that every reader of SVG can draw, not a piece of HTML inside it
    "layout": "dagre",  # the layout of GitHub and JupyterLab
    "look": "classic",
    "theme": "base",
    "flowchart": {
        "wrappingWidth": 10_000,
        "padding": 11,
        "nodeSpacing": 36,
        "rankSpacing": 40,
        "subGraphTitleMargin": {"top": 0, "bottom": 8},
    },
}
# It replaces Mermaid's own, in the light colours of pictures.py.
STYLE = f"""
text {{ fill: #1f2329; font: 16px {FONT}; }}
.node text {{ text-anchor: middle; }}
rect, circle, ellipse, polygon, .node path, .actor-man circle {{ fill: #eef3f8; stroke: #57606b; stroke-width: 1.2px; }}
.node path[fill="none"] {{ fill: none; }}
.node path[stroke="none"] {{ stroke: none; }}
.cluster rect {{ fill: none; stroke: #57606b; stroke-dasharray: 2 3; }}
.flowchart-link, line, .messageLine0, .messageLine1 {{ fill: none; stroke: #57606b; stroke-width: 1.2px; }}
.edge-pattern-dotted, .edge-pattern-dashed {{ stroke-dasharray: 3 3; }}
.edge-thickness-thick {{ stroke-width: 2.4px; }}
.edge-thickness-invisible {{ stroke: none; }}
marker path, marker circle {{ fill: #57606b; stroke: #57606b; }}
.edgeLabel rect {{ fill: #fefefe; stroke: none; }}
.loopLine {{ stroke-dasharray: 2 3; }}
.labelBox, .note {{ fill: #fefefe; }}
.messageText, .loopText, .sectionTitle {{ paint-order: stroke; stroke: #fefefe; stroke-width: 5px; }}
"""


class InvalidDiagram(Exception):
    """What is wrong with a diagram, and on which of its lines, counted from 0."""

    def __init__(self, reason: str, line: int = 0):
        super().__init__(f"this diagram cannot be drawn: {reason}")
        self.line = line


def character_width(character: str) -> float:
    """Return the width of a character, in ems, in the wider of the usual fonts."""
    if unicodedata.east_asian_width(character) in "WFA":
        return 1
    return 0.8 if character.isupper() else 0.62


class Roomy(MermanTextMeasurer):
    """Measure text generously, so that it stays within its box in whatever font the reader has."""

    def measure(self, request):
        lines = request.text.split("\n")
        ems = max(sum(map(character_width, line)) for line in lines)
        length, kind = ems * request.font_size, MermanTextMeasurementResultKind
        result = {"width": length, "height": len(lines) * LINE * request.font_size, "line_count": len(lines)}
        result |= dict.fromkeys(["bbox_left", "bbox_right", "raw_width"]) | {"length": length}
        operation = request.operation.name
        if operation in ("MEASURE", "WRAPPED", "MERMAID_CALCULATE_TEXT_DIMENSIONS"):
            return MermanTextMeasureResult(result_kind=kind.METRICS, **result)
        if operation == "COMPUTED_LENGTH" or operation.endswith("WIDTH"):
            return MermanTextMeasureResult(result_kind=kind.LENGTH, **result)
        return None  # merman's own measure is right for the rest, offsets from the baseline


ENGINE = MermanEngine(json.dumps({"site_config": OPTIONS}), MermanEngineServices().with_text_measurer(Roomy()))


def draw(source: str) -> str:
    """Return the diagram as SVG in the light colours of the palette."""
    svg = ENGINE.render_svg(source, None)
    svg = re.sub(r"<(style|filter|linearGradient|symbol)\b.*?</\1>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (fill|stroke)="(?!none)[^"]*"', "", svg)
    svg = re.sub(r"(<svg[^>]*>)", rf"\1<style>{STYLE}</style>", svg, count=1)
    # Mermaid's lines are 1.1 em high, too close for Chinese
    row = r'y="([-.\d]+)em" dy="1.1em"'
    svg = re.sub(row, lambda y: f'y="{LINE * round((float(y[1]) + 0.1) / 1.1) + 1.15:.2f}em"', svg)
    styles = STYLE + " ".join(re.findall(r'style="([^"]*)"', svg)).lower()
    foreign = set(re.findall(r"(?:fill|stroke|color):\s*([^;! ]+)", styles)) - {*COLORS, "none"}
    if foreign:
        raise InvalidDiagram(f"{', '.join(sorted(foreign))} is no colour of extensions/pictures.py")
    return svg


def read(source: str) -> tuple[two_mode_svg, str | None]:
    """Return the picture of a diagram, and its title."""
    try:
        model = json.loads(ENGINE.parse_json(source, None))
        if model["type"] not in ("flowchart-v2", "sequence"):
            raise InvalidDiagram(f"only flowchart and sequenceDiagram have the book's style, not {model['type']}")
        if re.search(r"^\s*rect\s", source, re.MULTILINE) and model["type"] == "sequence":
            raise InvalidDiagram("a coloured `rect` has no place in the book's style; use `loop`, `opt` or a note")
        picture = two_mode_svg("", svg=draw(source), alt=model["accDescr"])
    except MermanError as error:
        span = error.diagnostic and error.diagnostic.span
        line = source.encode()[: span.start].count(b"\n") if span else 0
        raise InvalidDiagram(error.message, line) from None
    if not picture["alt"]:
        raise InvalidDiagram("`accDescr: …` must say in words what it shows")
    return picture, model["accTitle"]


def figure(source: str, document: nodes.document) -> nodes.figure:
    """Return the diagram as a figure, with caption, number and name where it has them."""
    picture, title = read(source)
    result = nodes.figure("", picture)
    if title:
        result += nodes.caption("", title)
    name = re.search(r"^\s*%%\s*name:\s*(\S+)", source, re.MULTILINE)
    if name:
        result["names"].append(nodes.fully_normalize_name(name[1]))
        document.note_explicit_target(result)
    return result


class MermaidFence(SphinxDirective):
    has_content = True

    def run(self) -> list[nodes.Node]:
        try:
            return [figure("\n".join(self.content), self.state.document)]
        except InvalidDiagram as error:
            logger.warning(error, location=(self.env.docname, self.lineno + 1 + error.line))
            return []


class MermaidOutput(MimeRenderPlugin):
    mime_priority_overrides = (("*", MIME, 1),)

    @staticmethod
    def handle_mime(renderer, data, inline):
        if data.mime_type != MIME:
            return None
        page = renderer.renderer
        try:
            if "figure" in data.cell_metadata.get("mystnb", {}):  # the cell brings a figure and its caption
                return [read(data.string)[0]]
            return [figure(data.string, page.document)]
        except InvalidDiagram as error:
            logger.warning("cell %d: %s", data.cell_index + 1, error, location=page.sphinx_env.docname)
            return []


def setup(app: Sphinx) -> dict:
    app.add_directive("mermaid", MermaidFence)
    load_mime_renders().append(MermaidOutput)  # the cached list: an entry point would need a package of its own
    return {"parallel_read_safe": True}
