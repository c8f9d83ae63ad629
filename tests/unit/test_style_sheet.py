from pathlib import Path

import matplotlib.pyplot as plt
import tinycss2
from light_pages import keep_used
from matplotlib.colors import to_hex
from pictures import COLORS, darken

PAPER, INK, QUIET, LINES = [*COLORS][:4]
FIGURE_COLORS = {
    **dict.fromkeys(["figure.facecolor", "axes.facecolor"], PAPER),
    **dict.fromkeys(["text.color", "axes.labelcolor"], INK),
    **dict.fromkeys(["axes.edgecolor", "xtick.color", "ytick.color"], QUIET),
    "grid.color": LINES,
}


def kept(css, words):
    return keep_used(tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True), words)


def test_rules_that_no_page_asks_for_are_left_out():
    assert kept(".carousel{color:red}", {"table"}) == ""
    assert kept(".table{color:red}", {"table"}) == ".table{color:red}"
    assert kept("p{color:red}", set()) == "p{color:red}"
    assert kept(".table,.carousel{color:red}", {"table"}) == ".table{color:red}"
    assert kept("#menu .item{color:red}", {"menu"}) == ""
    assert kept(r".gap-1\.5{gap:1px}", {"gap-1", "5"}) == r".gap-1\.5{gap:1px}"


def test_what_is_denied_or_offered_need_not_occur():
    assert kept("p:not(.absent){color:red}", set())
    assert kept(":is(.absent,p) b{color:red}", set())
    assert kept('a[href="#top.html"]{color:red}', set())


def test_rules_inside_media_are_judged_alike():
    css = "@media print{.table{color:red}.carousel{color:red}}"
    assert kept(css, {"table"}) == "@media print{.table{color:red}}"


def test_other_rules_stay():
    assert kept("@font-face{font-family:A}", set()) == "@font-face{font-family:A}"
    assert kept("@keyframes turn{to{rotate:1turn}}", set())


def luminance(color):
    """Relative luminance by WCAG 2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted([luminance(one), luminance(other)], reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_ink_and_accents_stand_out_in_both_modes():
    paper, ink, quiet, _, fill, *accents = COLORS
    for mode in (dict.fromkeys(COLORS), COLORS):
        color = {light: dark or light for light, dark in mode.items()}
        for ground in (paper, fill):
            assert contrast(color[ink], color[ground]) >= 7  # text, level AAA
            assert contrast(color[quiet], color[ground]) >= 4.5
        for accent in accents:
            assert contrast(color[accent], color[paper]) >= 3  # lines and marks


def test_a_dark_drawing_keeps_what_is_no_color_of_the_page():
    assert darken("fill: #1F2329; stroke: #000000; fill: #fefefe") == "fill: #dce1e7; stroke: #000000; fill: #14181d"


def test_page_figures_and_diagrams_share_one_palette():
    """The style sheet and the figures' style name the same pairs."""
    style = Path("book/_static/course.css").read_text(encoding="utf8")
    light, dark = style.split('html[data-theme="dark"] {')[:2]
    names = ["--paper", "--ink", "--quiet", "--line", "--fill", "--blue"]
    for name, (in_light, in_dark) in zip(names, COLORS.items(), strict=False):
        assert f"{name}: {in_light};" in light
        assert f"{name}: {in_dark};" in dark.split("}")[0]
    with plt.style.context("course.course"):
        rc = {name: to_hex(plt.rcParams[name]) for name in FIGURE_COLORS}
    assert rc == FIGURE_COLORS
