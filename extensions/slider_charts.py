"""The charts that a reader can move, and what they compute: declarations, of which `sliders` makes a part of a page.

A formula stands here once. Of the names of sliders it makes an expression that the reader's browser evaluates, of a
column of a table a curve. tests/browser/test_sliders.py finds both equal to `course.economics`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
from altair.expr.core import ConstExpression, Expression
from pictures import COLORS

from course.economics import Desk, account

PAPER, INK, QUIET, _, _, BLUE, VERMILION, GREEN = COLORS
NEVER = ConstExpression("(1 / 0)")  # infinity: Vega has no name for it
ROOM = 1.6  # how far the chart reaches above price and cost, for the words there

Expressions = dict[str, Expression]


@dataclass(frozen=True)
class MovingChart:
    """A chart with sliders, and the part of `course` that it repeats."""

    compute: Callable[[Mapping[str, Expression]], Expressions]  # from values to results
    draw: Callable[[Mapping[str, Expression], Mapping[str, dict]], alt.LayerChart]  # from values, with their rows
    values: type  # a dataclass of numbers: what `compute` takes
    account: Callable[[Any], Any]  # from it to a dataclass of results: what `compute` gives


def desk_costs(desk: Mapping[str, Expression]) -> Expressions:
    """Return the three parts of what a conversation costs, from the bottom of the chart to the top."""
    usd_per_gpu_second = desk["usd_per_gpu_hour"] / 3600 / desk["utilization"]
    fresh_tokens = desk["input_tokens"] * (1 - desk["cache_hit_rate"])
    return {
        "固定费用": desk["fixed_usd_per_month"] / desk["conversations_per_month"],
        "读入": fresh_tokens / desk["input_tokens_per_gpu_second"] * usd_per_gpu_second,
        "写出": desk["output_tokens"] / desk["output_tokens_per_gpu_second"] * usd_per_gpu_second,
    }


def desk_account(desk: Mapping[str, Expression]) -> Expressions:
    """Return `course.economics.account`, for churn and acquisition above zero."""
    fixed, reading, writing = desk_costs(desk).values()
    serving, price, churn = reading + writing, desk["usd_per_conversation"], desk["monthly_churn"]
    contribution = desk["conversations_per_month"] * (price - serving - fixed)
    lost = desk["acquisition_usd"] * churn / contribution
    months = alt.expr.log(1 - lost) / alt.expr.log(1 - churn)
    return {
        "usd_cost_per_conversation": serving,
        "gross_margin": (price - serving) / price,
        "contribution_usd_per_month": contribution,
        "break_even_usd_per_conversation": serving + fixed,
        "break_even_utilization": alt.expr.if_(price > fixed, serving * desk["utilization"] / (price - fixed), NEVER),
        "lifetime_value_usd": contribution / churn,
        "payback_months": alt.expr.if_((contribution > 0) & (lost < 1), months, NEVER),
    }


def draw_desk(desk: Mapping[str, Expression], values: Mapping[str, dict]) -> alt.LayerChart:
    """Draw what a conversation costs at each utilisation, the price across it, and where they meet."""
    low, high, step = (values["utilization"][end] for end in ("minimum", "maximum", "step"))
    price, here, result = desk["usd_per_conversation"], desk["utilization"], desk_account(desk)
    top = ROOM * alt.expr.max(price, result["break_even_usd_per_conversation"])
    x = alt.X(
        "utilization:Q",
        title="显卡的利用率",
        scale=alt.Scale(domain=[low, high], nice=False),
        axis=alt.Axis(format=".0%", grid=False, tickCount=5),
    )
    y = alt.Y(
        "usd:Q",
        title="一次对话，美元",
        scale=alt.Scale(domainMin=0, domainMax=alt.ExprRef(str(top)), nice=False),
        axis=alt.Axis(tickCount=5),
    )
    parts = desk_costs({**desk, "utilization": alt.datum.utilization})
    stack = (
        alt.Chart(alt.sequence(low, high + step / 2, step, as_="utilization"))
        .transform_calculate(**{part: str(usd) for part, usd in parts.items()})
        .transform_fold([*parts], as_=["part", "usd"])
        .transform_calculate(place=f"indexof({[*parts]}, datum.part)")
        .mark_area(clip=True)
        .encode(
            x,
            y,
            alt.Color("part:N", title=None, scale=alt.Scale(domain=[*parts], range=[QUIET, BLUE, GREEN])),
            alt.Opacity("part:N", title=None, scale=alt.Scale(domain=[*parts], range=[0.3, 0.75, 0.75])),
            alt.Order("place:Q"),
        )
    )

    def mark(**columns: object) -> alt.Chart:
        return alt.Chart(alt.Data(values=[{}])).transform_calculate(**{n: str(value) for n, value in columns.items()})

    def words(where: alt.Chart, *channels: object, **style: object) -> alt.LayerChart:
        """Write words that can be read on any ground."""
        text = where.encode(alt.Text("words:N"), *channels)
        return text.mark_text(**style, stroke=PAPER, strokeWidth=5) + text.mark_text(**style)

    gain = price - result["break_even_usd_per_conversation"]
    price_line = mark(usd=price, utilization=high, words="'价格' + usd_per_conversation_text")
    now = mark(
        utilization=here,
        words="['现在' + utilization_text + '：毛利率' + gross_margin_text, "
        f"({gain} < 0 ? '每次对话亏' : '每次对话净赚') + format(abs({gain}), '.3f') + '美元']",
    )
    meeting = mark(
        utilization=result["break_even_utilization"], usd=price, words="'保本' + break_even_utilization_text"
    )
    meeting = meeting.transform_filter(f"datum.utilization >= {low} && datum.utilization <= {high}")
    side = alt.ExprRef("break_even_utilization > 0.6 ? 'right' : 'left'")
    corner = [alt.XValue("width"), alt.YValue(2)]
    return alt.layer(
        stack,
        now.mark_rule(color=INK, strokeDash=[4, 4]).encode(x),
        words(price_line, x, y, align="right", dy=-9),
        price_line.mark_rule(color=INK, strokeWidth=2).encode(y),
        words(now, *corner, align="right", baseline="top", lineHeight=20),
        meeting.mark_point(color=VERMILION, filled=True, opacity=1, size=90).encode(x, y),
        words(meeting, x, y, align=side, color=VERMILION, dy=-26),
    )


CHARTS = {"margin": MovingChart(desk_account, draw_desk, Desk, account)}
