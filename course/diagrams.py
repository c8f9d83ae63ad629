"""Flow charts built with mermaid-py that draw themselves: in JupyterLab and in the book without a network."""

import base64
import re
import sys
from collections import Counter
from collections.abc import Iterator

import requests
from IPython.display import display
from mermaid.flowchart import FlowChart, Node

PICTURE_SERVICE = "https://mermaid.ink/svg/"  # mermaid-py's own
RESERVED = {"class", "click", "direction", "end", "flowchart", "graph", "style", "subgraph"}
DRAWABLE_LINK = re.compile(r"[<ox]?(--[>ox]|==[>ox]|-\.-[>ox]?)|~~~")


def show(chart: FlowChart, alt: str) -> None:
    """Display `chart`. Its title is the caption; it takes the colours of the page, so it needs no `Config`.

    Colab does not know Mermaid: there mermaid-py's picture service draws it; without a network its text is shown.

    Args:
        chart: the flow chart; its nodes have ids in ASCII and labels in any language, with `<br>` between lines.
        alt: what a reader who cannot see the chart needs to know, in the language of the page.

    Raises:
        ValueError: `alt` or the title is empty, or Mermaid could not read what mermaid-py writes for this chart.
    """
    source = to_mermaid(chart, alt)
    bundle = {"text/vnd.mermaid": source, "text/plain": source}
    if "google.colab" in sys.modules and (picture := fetch_picture(source)):
        bundle["text/html"] = f'<div style="background: white">{picture}</div>'
    display(bundle, raw=True)


def to_mermaid(chart: FlowChart, alt: str) -> str:
    """Return the Mermaid source of `chart`, with its title and `alt` as Mermaid keeps them for accessibility.

    It does not start from `chart.script`, which writes the title as YAML that `: ` breaks, and styles in random order.

    Raises:
        ValueError: as for `show`.
    """
    if not alt.strip():
        raise ValueError("show(chart, alt): say in words what the chart shows.")
    if not chart.title.strip():
        raise ValueError("FlowChart(title, …): give it a title, which becomes the caption.")
    check(chart)
    statements = [
        f"accTitle: {' '.join(chart.title.split())}",
        f"accDescr: {' '.join(alt.split())}",
        *sorted(str(style) for style in chart.styles),
        *(str(node) for node in chart.nodes),
        *(str(link) for link in chart.links),
    ]
    return "\n    ".join([f"flowchart {chart.orientation}", *statements]) + "\n"


def check(chart: FlowChart) -> None:
    """Refuse what mermaid-py accepts and Mermaid cannot read, or would draw as something else.

    Raises:
        ValueError: with what is wrong and what to write instead.
    """
    nodes = list(with_sub_nodes(chart.nodes))
    ids = Counter(node.id_ for node in nodes)
    for node in nodes:
        if ids[node.id_] > 1:
            raise ValueError(f"Two nodes have the id {node.id_!r}: give each an ASCII id, Node('price', '价格').")
        if node.id_ in RESERVED:
            raise ValueError(f"The id {node.id_!r} is a word of Mermaid's: choose another.")
    for link in chart.links:
        for node in (link.origin, link.end):
            if node.id_ not in ids:
                raise ValueError(f"A link leads to {node.id_!r}, which is not among the nodes of the chart.")
        arrow = f"{link.head_left}{link.shape}{link.head_right}"
        if not DRAWABLE_LINK.fullmatch(arrow):
            raise ValueError(
                f"The link {link.origin.id_} {arrow} {link.end.id_} cannot be drawn: without a head it must be dotted "
                "or hidden, and a hidden one has none."
            )
    for label in [node.content for node in nodes] + [link.message for link in chart.links]:
        if '"' in label:
            raise ValueError(f"The label {label!r} holds a straight quotation mark: write “ and ”.")
    if chart.config:
        raise ValueError("Leave `config` out: the chart takes its colours from the page.")


def with_sub_nodes(nodes: list[Node]) -> Iterator[Node]:
    """Yield `nodes` and all nodes inside them."""
    for node in nodes:
        yield node
        yield from with_sub_nodes(node.sub_nodes)


def fetch_picture(source: str) -> str | None:
    """Return the SVG that the picture service draws, or None without it.

    `mermaid.Mermaid` would ask the same service, but twice, and wait for ever.
    """
    try:
        answer = requests.get(PICTURE_SERVICE + base64.urlsafe_b64encode(source.encode()).decode(), timeout=10)
        answer.raise_for_status()
    except requests.RequestException:
        return None
    return answer.text
