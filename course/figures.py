"""One style for every figure (`plt.style.use("course.course")`) and alternative text for readers who cannot see it."""

import io

import matplotlib.pyplot as plt
from IPython.display import display
from matplotlib.figure import Figure

SVG = "image/svg+xml"


def show(figure: Figure, alt: str) -> None:
    """Display `figure` as an SVG with alternative text in its metadata, then close it.

    The same values give the same bytes, as long as Matplotlib is the same. A figure of many thousand points wants
    `rasterized=True` where it plots them.

    Args:
        figure: the figure.
        alt: what a reader who cannot see the figure needs to know, in the language of the page.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("show(figure, alt): say in words what the figure shows.")
    svg = io.StringIO()
    with plt.rc_context({"svg.hashsalt": "course"}):  # names inside the SVG that do not change from run to run
        figure.savefig(svg, format="svg", metadata={"Date": None})
    display({SVG: svg.getvalue(), "text/plain": alt}, raw=True, metadata={SVG: {"alt": alt}})
    plt.close(figure)
