"""One small style sheet for every page, code without needless marks, and scripts that wait until the text is there.

The theme brings half a megabyte of style, for parts that this book does not have, and 2,000 icons. `book.css` keeps the
rules whose classes occur in the pages or scripts, the properties that those rules use, a font of the icons they name.
"""

import io
import logging
import re
from base64 import b64encode
from pathlib import Path

import tinycss2
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from sphinx.application import Sphinx

logging.getLogger("fontTools").setLevel(logging.WARNING)  # it reports every table of a font
# In the order in which the pages would load them.
STYLES = [
    "basic.css",
    "styles/pydata-sphinx-theme.css",
    "pygments.css",
    "styles/sphinx-book-theme.css",
    "togglebutton.css",
    "copybutton.css",
    "mystnb.*.css",
    "sphinx-design.min.css",
]
OWN_STYLE = "book/_static/course.css"
# Scripts, and what on a page asks for them: the first three serve Sphinx's own search, which the book does not use.
ASKED_FOR_BY = {
    "doctools.js": None,
    "sphinx_highlight.js": None,
    "translations.js": None,
    "clipboard.min.js": 'class="highlight',
    "copybutton.js": 'class="highlight',
    "design-tabs.js": "sd-tab-",
    "sliders.js": "data-runtime",
    "togglebutton.js": "toggle|dropdown",
}
# Names, punctuation and blanks in code, which have the colour of the text around them: a quarter of a long notebook.
UNCOLOURED = re.compile(r'<span class="[npw]">([^<]*)</span>')
NAME = re.compile(r"[.#](-?[A-Za-z_][\w-]*)")
FONT = re.compile(r"url\([^)]*/([\w-]+)\.woff2\)[^,]*,url\([^)]*\.ttf\) format\(\"truetype\"\)")


def keep_used(rules: list[tinycss2.ast.Node], words: set[str]) -> str:
    """Serialise the rules, without the selectors whose classes or ids occur nowhere."""
    kept = []
    for rule in rules:
        if rule.type == "at-rule" and rule.lower_at_keyword in ("media", "supports"):
            inner = tinycss2.parse_rule_list(rule.content, skip_comments=True, skip_whitespace=True)
            kept.append(f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude)}{{{keep_used(inner, words)}}}")
        elif rule.type == "qualified-rule":
            used = [selector for selector in split_selectors(rule.prelude) if names(selector) <= words]
            if used:
                kept.append(f"{','.join(used)}{{{tinycss2.serialize(rule.content)}}}")
        else:
            kept.append(rule.serialize())
    return "\n".join(kept)


def split_selectors(prelude: list[tinycss2.ast.Node]) -> list[str]:
    """Split a rule's prelude at its commas; commas inside :is(…) are not among its tokens."""
    parts: list[list[tinycss2.ast.Node]] = [[]]
    for token in prelude:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return [tinycss2.serialize(part).strip() for part in parts]


def names(selector: str) -> set[str]:
    """Return the classes and ids that a selector asks for; what stands in :not(…) or :is(…) need not occur."""
    while (plain := re.sub(r"\([^()]*\)|\[[^\]]*\]", "", selector)) != selector:
        selector = plain
    return set(NAME.findall(selector.replace("\\", "")))


def icon_font(file: Path, icons: list[str]) -> str:
    """Return the few icons of a font as a data address."""
    font = TTFont(file)
    subsetter = Subsetter(Options(layout_features=[], name_IDs=[], notdef_outline=False))
    subsetter.populate(text="".join(icons))
    subsetter.subset(font)
    data = io.BytesIO()
    font.save(data)
    return f'url("data:font/ttf;base64,{b64encode(data.getvalue()).decode()}") format("truetype")'


def write_style_sheet(app: Sphinx, exception: Exception | None) -> None:
    if exception or app.builder.format != "html":
        return
    static = Path(app.outdir, "_static")
    sources = [file for pattern in STYLES for file in sorted(static.glob(pattern))]
    sources.append(Path(app.srcdir, OWN_STYLE))  # not its copy, which a change in it alone does not renew
    foreign = re.compile(r"bootstrap|fontawesome|vega-")
    scripts = [file for file in static.rglob("*.js") if not foreign.match(file.name)]
    pages_and_scripts = [*Path(app.outdir).rglob("*.html"), *scripts]
    words = {word for file in pages_and_scripts for word in re.findall(r"[\w-]+", file.read_text(encoding="utf8"))}
    css = "\n".join(source.read_text(encoding="utf8") for source in sources)
    css = keep_used(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True), words)
    used = set(re.findall(r"var\(\s*(--[\w-]+)", css))
    css = re.sub(r"(--[\w-]+):[^;{}\"']*;", lambda property: property[0] if property[1] in used else "", css)
    icons = re.findall("[\ue000-\uf8ff]", css)  # characters for private use
    fonts = static / "vendor" / "fontawesome" / "webfonts"
    css = FONT.sub(lambda found: icon_font(fonts / f"{found[1]}.ttf", icons), css)
    (static / "book.css").write_text(css, encoding="utf8")


def lighten(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Leave to book.css what it holds, load what the page asks for, and let nothing needless hold up the text."""
    held = [*STYLES, Path(OWN_STYLE).name]
    context["css_files"] = [
        file for file in context["css_files"] if not any(Path(str(file.filename)).match(style) for style in held)
    ]
    context["body"] = UNCOLOURED.sub(r"\1", context.get("body", ""))
    scripts = []
    for script in context["script_files"]:
        mark = ASKED_FOR_BY.get(Path(str(script.filename or "")).name, "")
        if mark is not None and re.search(mark, context["body"]):
            if script.filename != "_static/documentation_options.js":  # the page's own lines wait for it
                script.attributes["defer"] = "defer"
            scripts.append(script)
    context["script_files"] = scripts


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", lighten, priority=900)
    app.connect("build-finished", write_style_sheet, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
