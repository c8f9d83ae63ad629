"""What the sliders' extension says when a page or the table is wrong, and the chart that it compiles."""

import copy
import tomllib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import sliders
import vl_convert
from altair.expr.core import ConstExpression
from docutils import nodes
from slider_charts import CHARTS

from course.economics import Desk, account

TABLES = tomllib.loads(Path("book/data/sliders.toml").read_text(encoding="utf8"))
MARGIN = TABLES["margin"]
SLIDERS = {name: row for name, row in MARGIN["values"].items() if "maximum" in row}


class DirectiveError(Exception):
    pass


def directive(name, tables, monkeypatch, noted=None):
    noted = [] if noted is None else noted
    monkeypatch.setattr(sliders, "read_table", lambda env, table: copy.deepcopy(tables))
    return sliders.Sliders.run(
        SimpleNamespace(
            arguments=[name],
            content=["利用率与毛利。"],
            env=SimpleNamespace(note_dependency=noted.append),
            error=DirectiveError,
            parse_inline=lambda text: ([nodes.Text(text)], []),
        )
    )


def changed(part, row, **values):
    tables = copy.deepcopy(TABLES)
    tables["margin"][part].setdefault(row, {}).update(values)
    return tables


def without(part, row, key):
    tables = copy.deepcopy(TABLES)
    del tables["margin"][part][row][key]
    return tables


@pytest.mark.parametrize(
    ("name", "tables", "message"),
    [
        ("profit", TABLES, "there are no sliders 'profit' in extensions/slider_charts.py; there are margin"),
        ("margin", {}, r"book/data/sliders.toml holds no \[margin\]"),
        ("margin", {"margin": {"alt": "词"}}, "holds no .margin. with alt, values and results"),
        ("margin", without("values", "utilization", "step"), "margin: utilization has no step"),
        ("margin", without("values", "acquisition_usd", "value"), "margin: acquisition_usd has no value"),
        ("margin", without("results", "gross_margin", "unit"), "margin: gross_margin has no unit"),
        ("margin", without("results", "payback_months", "otherwise"), "margin: payback_months has no otherwise"),
        ("margin", changed("values", "utilization", step=0), "utilization has a step of 0; it must be above zero"),
        ("margin", changed("values", "utilization", value=1.2), "utilization stands at 1.2, outside 0.05 to 1"),
        (
            "margin",
            changed("values", "utilization", value=0.305),
            "utilization stands at 0.305, between two steps of 0.01",
        ),
        (
            "margin",
            changed("results", "profit", label="利润", format=".0f", unit="美元"),
            "margin: nothing computes profit",
        ),
        (
            "margin",
            changed("values", "discount", label="折扣", value=0, format=".0%", unit=""),
            "margin: nobody uses discount",
        ),
    ],
)
def test_what_cannot_be_shown_is_named(monkeypatch, name, tables, message):
    with pytest.raises(DirectiveError, match=message):
        directive(name, tables, monkeypatch)


def test_the_page_is_built_again_when_a_formula_changes(monkeypatch):
    noted = []
    directive("margin", TABLES, monkeypatch, noted)
    assert {Path(file).name for file in noted} == {"slider_charts.py", "economics.py"}


def test_a_value_that_the_chart_needs_is_asked_for(monkeypatch):
    tables = copy.deepcopy(TABLES)
    del tables["margin"]["values"]["utilization"]
    with pytest.raises(DirectiveError, match="margin: the chart needs utilization"):
        directive("margin", tables, monkeypatch)


@pytest.mark.parametrize(
    ("row", "value", "words"),
    [
        ("gross_margin", 0.8042, "80%"),
        ("contribution_usd_per_month", -1234.4, "−1,234美元"),
        ("contribution_usd_per_month", -0.4, "0美元"),
        ("break_even_utilization", 1.0, "100%"),
        ("break_even_utilization", 1.01, "满负荷也不够"),
        ("payback_months", float("inf"), "收不回"),
    ],
)
def test_values_are_said_with_their_units_in_the_page_and_in_the_browser(row, value, words):
    result = MARGIN["results"][row]
    assert sliders.said(result, value) == words
    here = {"name": "here", "update": str(value).replace("inf", "1 / 0")}
    text = {"type": "text", "encode": {"update": {"text": {"signal": sliders.said_by_vega(result, "here")}}}}
    scene = vl_convert.vega_to_scenegraph({"signals": [here], "marks": [text]})["scenegraph"]
    assert [node["text"] for node in find(scene, lambda node: "text" in node)] == [words]


def test_the_figure_on_paper_says_what_it_shows_and_what_it_comes_to(monkeypatch):
    [figure] = directive("margin", TABLES, monkeypatch)
    words = figure.next_node(nodes.paragraph).astext()
    result = account(Desk(**{name: row["value"] for name, row in MARGIN["values"].items()}))
    for name, row in MARGIN["values"].items():
        assert f"{row['label']}{sliders.said(row, row['value'])}" in words, name
    for name, row in MARGIN["results"].items():
        assert f"{row['label']}{sliders.said(row, getattr(result, name))}" in words, name
    assert figure.next_node(nodes.caption).astext() == "利用率与毛利。"


def test_every_slider_has_a_label_and_its_range(monkeypatch):
    [figure] = directive("margin", TABLES, monkeypatch)
    html = figure.next_node(nodes.raw).astext()
    for name, row in SLIDERS.items():
        assert f'<label for="margin-{name}">{row["label"]}</label>' in html
        assert f'id="margin-{name}" name="{name}" min="{row["minimum"]}" max="{row["maximum"]}"' in html
    assert html.count('type="range"') == len(SLIDERS) == 8


def find(node, wanted):
    if wanted(node):
        yield node
    for child in node.get("items", []):
        yield from find(child, wanted)


def test_the_top_of_the_drawn_costs_is_what_a_conversation_costs():
    """The picture itself, point by point: its pixels turned back into dollars."""
    chart = CHARTS["margin"]
    vega = sliders.compile_to_vega(sliders.declare(chart, MARGIN), width=1000, height=1000)
    desk = Desk(**{name: row["value"] for name, row in MARGIN["values"].items()})
    dollars = 1.6 * max(desk.usd_per_conversation, account(desk).break_even_usd_per_conversation)
    ends = MARGIN["values"]["utilization"]
    scene = vl_convert.vega_to_scenegraph(vega)["scenegraph"]
    areas = [area for area in find(scene, lambda node: node.get("marktype") == "area") if area["items"]]
    tops = {}
    for point in (point for area in areas for point in area["items"]):
        tops[point["x"]] = min(point["y"], tops.get(point["x"], 1000))
    assert len(tops) > 90
    for x, y in tops.items():
        utilization = ends["minimum"] + x / 1000 * (ends["maximum"] - ends["minimum"])
        cost = account(replace(desk, utilization=min(1, utilization))).break_even_usd_per_conversation
        assert (1000 - y) / 1000 * dollars == pytest.approx(cost, rel=1e-6)


def test_colors_follow_the_page():
    text = sliders.in_both_modes({"fill": "#0072b2", "words": "</script>"})
    assert text == r'{"fill":"light-dark(#0072b2,#58a9dd)","words":"<\/script>"}'


def test_formulas_take_any_name_for_a_value():
    names = {name: ConstExpression(name) for name in MARGIN["values"]}
    column = CHARTS["margin"].compute({**names, "utilization": ConstExpression("datum.utilization")})
    signal = CHARTS["margin"].compute(names)
    assert str(column["gross_margin"]) == str(signal["gross_margin"]).replace("utilization", "datum.utilization")
