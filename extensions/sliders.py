"""Sliders that redraw a chart in the reader's browser: no server, no other host, nothing to install.

```{sliders} margin
The caption.
```

`slider_charts.CHARTS` declares what the chart computes and draws, `book/data/sliders.toml` where its sliders stand and
how far they go. When the book is built, vl-convert compiles the declaration to Vega's own form; what it draws at the
first values is the figure on paper and where no script runs. The reader's browser loads Vega, which vl-convert brings,
when the figure comes near; book/_static/sliders.js hands the values to it, and the texts to the page.
"""

import json
import re
from collections.abc import Set
from dataclasses import asdict, fields
from html import escape
from inspect import getfile
from pathlib import Path

import slider_charts
import vl_convert
from altair.expr.core import ConstExpression
from book_tables import read_table
from diagrams import FONT
from docutils import nodes
from pictures import COLORS, two_mode_svg
from slider_charts import CHARTS, MovingChart
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

VEGA = vl_convert.get_vega_version()
RUNTIME = f"vega-{VEGA}.js"
STILL_SIZE = {"width": 560, "height": 250}
_, INK, QUIET, LINES, *_ = COLORS
CONFIG = {
    "aria": False,  # the chart is one picture, and the page has its words
    "background": None,
    "font": FONT,
    "view": {"stroke": None},
    "text": {"fontSize": 14, "color": INK},
    "axis": {
        **{"labelColor": QUIET, "labelFontSize": 13, "labelFlush": False, "titleColor": QUIET, "titleFontSize": 14},
        **{"titleFontWeight": "normal", "domainColor": QUIET, "tickColor": QUIET, "gridColor": LINES},
    },
    "axisY": {
        **{"domain": False, "labelPadding": 5, "ticks": False},
        **{"titleAlign": "left", "titleAngle": 0, "titleX": 0, "titleY": -14},
    },
    "legend": {"labelColor": INK, "labelFontSize": 14, "orient": "bottom", "symbolType": "square"},
}


class InvalidSliders(Exception):
    """What is wrong with a chart's rows in book/data/sliders.toml."""


def check(table: dict, used: Set[str], computed: Set[str]) -> None:
    """Raise InvalidSliders where a row is missing, is not needed or cannot be shown."""
    values, results = table["values"], table["results"]
    for name, row in (values | results).items():
        needed = {"label", "format", "unit"} | ({"value"} if name in values else set())
        needed |= ({"minimum", "step"} if "maximum" in row else set()) | ({"otherwise"} if "largest" in row else set())
        if missing := sorted(needed - row.keys()):
            raise InvalidSliders(f"{name} has no {', '.join(missing)}")
        if "maximum" in row:
            low, high, step, value = (row[key] for key in ("minimum", "maximum", "step", "value"))
            if step <= 0:
                raise InvalidSliders(f"{name} has a step of {step}; it must be above zero")
            if not low <= value <= high:
                raise InvalidSliders(f"{name} stands at {value}, outside {low} to {high}")
            if abs((value - low) / step - round((value - low) / step)) > 1e-6:  # the browser would move it
                raise InvalidSliders(f"{name} stands at {value}, between two steps of {step} from {low}")
    for wrong, sentence in (
        (used - values.keys(), "the chart needs"),
        (values.keys() - used, "nobody uses"),
        (results.keys() - computed, "nothing computes"),
    ):
        if wrong:
            raise InvalidSliders(f"{sentence} {', '.join(sorted(wrong))}")


def said(row: dict, value: float) -> str:
    """Say a value as the page says it."""
    if "largest" in row and not value <= row["largest"]:
        return row["otherwise"]
    text = format(value, f"z{row['format']}")  # z: no minus before a zero, as in Vega
    return text.replace("-", "−") + row["unit"]


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def said_by_vega(row: dict, signal: str) -> str:
    """Return `said` as an expression of Vega's."""
    text = f"format({signal}, {quoted(row['format'])}) + {quoted(row['unit'])}"
    if "largest" in row:
        return f"{signal} <= {row['largest']} ? {text} : {quoted(row['otherwise'])}"
    return text


def declare(chart: MovingChart, table: dict) -> dict:
    """Return the chart in Vega-Lite, each value, each result and each of their texts a parameter of its own."""
    values, results = table["values"], table["results"]
    names = {field.name: ConstExpression(field.name) for field in fields(chart.values)}
    computed = {name: str(expression) for name, expression in chart.compute(names).items()}
    check(table, names.keys(), computed.keys())
    texts = {f"{name}_text": said_by_vega(row, name) for name, row in (values | results).items()}
    texts["all_results_text"] = " + '；' + ".join(
        f"{quoted(row['label'])} + {name}_text" for name, row in results.items()
    )
    parameters = [{"name": name, "value": row["value"]} for name, row in values.items()]
    parameters += [{"name": name, "expr": expression} for name, expression in (computed | texts).items()]
    return {**chart.draw(names, values).to_dict(), "params": parameters, "config": CONFIG}


def compile_to_vega(declaration: dict, **size: object) -> dict:
    """Return what Vega itself can draw."""
    version = re.search(r"/v(\d+\.\d+)", declaration["$schema"])[1]
    return vl_convert.vegalite_to_vega({**declaration, **size}, vl_version=version)


def in_both_modes(vega: dict) -> str:
    """Return Vega's form as JSON, where each colour of the palette follows the page."""
    text = json.dumps(vega, ensure_ascii=False, separators=(",", ":")).replace("</", r"<\/")
    return re.sub("|".join(COLORS), lambda color: f"light-dark({color[0]},{COLORS[color[0]]})", text)


def slider(chart: str, name: str, row: dict) -> str:
    ends = f'min="{row["minimum"]}" max="{row["maximum"]}" step="{row["step"]}" value="{row["value"]}"'
    return (
        f'<div><label for="{chart}-{name}">{escape(row["label"])}</label><data data-signal="{name}"></data>'
        f'<input type="range" id="{chart}-{name}" name="{name}" {ends} autocomplete="off"></div>'
    )


def moving_part(name: str, table: dict, vega: dict) -> str:
    """Return the HTML that the script brings to life."""
    moved = {key: row for key, row in table["values"].items() if "maximum" in row}
    fixed = [f"{row['label']}{said(row, row['value'])}" for key, row in table["values"].items() if key not in moved]
    results = (
        f'<div><dt>{escape(row["label"])}</dt><dd><data data-signal="{key}"></data></dd></div>'
        for key, row in table["results"].items()
    )
    return f"""<div class="moving" data-runtime="{RUNTIME}" hidden>
<dl>{"".join(results)}</dl>
<div class="chart" role="img" aria-label="{escape(table["alt"])}"><div aria-hidden="true"></div></div>
<div class="knobs" role="group" aria-label="改变图中的数">{"".join(slider(name, *item) for item in moved.items())}
<p>不动的数：{"，".join(fixed)}。所有的数都是假设。</p>
<p><button type="button">恢复原来的数</button></p></div>
<p role="status"></p>
<script type="application/json">{in_both_modes(vega)}</script>
</div>"""


def still_words(chart: MovingChart, table: dict) -> str:
    """Say which values the figure shows and what they come to."""
    result = asdict(chart.account(chart.values(**{name: row["value"] for name, row in table["values"].items()})))
    values = "，".join(f"{row['label']}{said(row, row['value'])}" for row in table["values"].values())
    results = "，".join(f"{row['label']}{said(row, result[name])}" for name, row in table["results"].items())
    return f"图中的数都是假设：{values}。算出来：{results}。"


class Sliders(SphinxDirective):
    required_arguments = 1  # a name in CHARTS
    has_content = True

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        if name not in CHARTS:
            raise self.error(
                f"there are no sliders {name!r} in extensions/slider_charts.py; there are {', '.join(CHARTS)}"
            )
        chart, table = CHARTS[name], read_table(self.env, "sliders").get(name)
        for source in (slider_charts.__file__, getfile(chart.account)):
            self.env.note_dependency(source)
        if not table or not {"alt", "values", "results"} <= table.keys():
            raise self.error(f"book/data/sliders.toml holds no [{name}] with alt, values and results")
        try:
            declaration = declare(chart, table)
        except InvalidSliders as error:
            raise self.error(f"book/data/sliders.toml, {name}: {error}") from None
        still = vl_convert.vega_to_svg(compile_to_vega(declaration, **STILL_SIZE))
        fit = {"autosize": {"type": "fit-x", "contains": "padding"}}
        vega = compile_to_vega(declaration, width="container", height=STILL_SIZE["height"], **fit)
        words, messages = self.parse_inline("\n".join(self.content))
        return [
            nodes.figure(
                "",
                two_mode_svg("", svg=still, alt=table["alt"]),
                nodes.raw("", moving_part(name, table, vega), format="html"),
                nodes.paragraph("", still_words(chart, table), classes=["still"]),
                nodes.caption("", "", *words),
                classes=["sliders"],
            ),
            *messages,
        ]


def bring_runtime(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    """Write Vega beside the other scripts, once, where a page asks for it."""
    file = Path(app.outdir, "_static", RUNTIME)
    if RUNTIME in context.get("body", "") and not file.exists():
        # the address of a module inside vl-convert; the function keeps Vega's own names out of the page's
        bundle = vl_convert.javascript_bundle(
            f'import {{View, parse}} from "/npm/vega@{VEGA}/+esm"; window.vega = {{View, parse}};'
        )
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"(() => {{{bundle}}})();", encoding="utf8")


def setup(app: Sphinx) -> dict:
    app.add_directive("sliders", Sliders)
    app.add_js_file("sliders.js")  # light_pages leaves it out where nothing asks for it
    app.connect("html-page-context", bring_runtime)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
