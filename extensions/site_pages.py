"""The pages that no chapter is: search, and what is shown where nothing is.

Search looks for the reader's words themselves in the text of every section, so it finds any Chinese word without
knowing where one ends, and it needs no server: the text is a script that only the search page loads.
"""

import json
import re
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from sphinx.application import Sphinx

UNREAD = re.compile(r'<(svg|script|style)\b.*?</\1>|<a class="headerlink".*?</a>', re.DOTALL)
FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
BETWEEN = {"mtr": " ", "mtable": ";"}  # cells, rows
SIGNS = {"mfrac": "/", "msup": "^", "msub": "_", "msubsup": "_^", "munder": "_", "mover": "^", "munderover": "_^"}


class Sections(HTMLParser):
    """Collect (id, heading, text) of every section of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self.open: list[list[str]] = []
        self.in_heading = self.in_dark_page = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        if tag == "section":
            self.open.append([values.get("id") or "", "", ""])
            self.found.append(self.open[-1])
        self.in_heading = self.in_heading or bool(re.fullmatch("h[1-6]", tag))
        if tag == "a":
            self.in_dark_page = values.get("class") == "dark-page"  # the same picture once more
        if tag == "img" and not self.in_dark_page:
            self.handle_data(values.get("alt") or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "section":
            self.open.pop()
        if tag == "a":
            self.in_dark_page = False
        if re.fullmatch("h[1-6]", tag):
            self.in_heading = False
        elif tag in ("p", "li", "td", "th", "pre", "dt", "dd", "figcaption"):
            self.handle_data(" ")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1][1 if self.in_heading else 2] += data


def in_one_line(formula: ElementTree.Element) -> str:
    """Write MathML as plain text: c/m, (a+b)/2, x^2."""
    parts = [in_one_line(part) for part in formula] or [formula.text or ""]
    tag = formula.tag.split("}")[-1]
    signs = SIGNS.get(tag)
    if not signs:
        return BETWEEN.get(tag, "").join(parts)
    first, *others = (part if part.isalnum() or len(part) < 2 else f"({part})" for part in parts)
    return first + "".join(sign + part for sign, part in zip(signs, others, strict=True))


def read_sections(html: str) -> list[list[str]]:
    """Return [id, heading, text] of every section of a built page, white space squeezed."""
    parser = Sections()
    article = re.search(r"<article\b.*?</article>", html, re.DOTALL)
    text = UNREAD.sub("", article[0]) if article else ""
    parser.feed(FORMULA.sub(lambda formula: escape(in_one_line(ElementTree.fromstring(formula[0]))), text))
    return [[" ".join(part.replace("\u2060", "").split()) for part in section] for section in parser.found]


def collect_pages(app: Sphinx) -> Iterator[tuple[str, dict, str]]:
    """Write the text of the whole book for the search page; the pages of the chapters stand by now."""
    if app.builder.name != "html":
        return
    texts = []
    for name in sorted(app.env.found_docs):
        file = Path(app.outdir, f"{name}.html")
        if file.exists():
            texts += [[f"{name}.html", *section] for section in read_sections(file.read_text(encoding="utf8"))]
    text = json.dumps(texts, ensure_ascii=False, separators=(",", ":"))
    Path(app.outdir, "search-texts.js").write_text(f"const sections = {text};\n", encoding="utf8")
    yield "search", {}, "search.html"
    yield "404", {"home": app.config.html_baseurl}, "404.html"


def setup(app: Sphinx) -> dict:
    app.connect("builder-inited", lambda app: setattr(app.builder, "search", False))  # Sphinx's own finds no Chinese
    app.connect("html-collect-pages", collect_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
