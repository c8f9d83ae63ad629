"""One style for every figure (`plt.style.use("course.course")`) and alternative text for readers who cannot see it."""

import io

import matplotlib.pyplot as plt
from IPython.display import Image, display
from matplotlib.figure import Figure


def show(figure: Figure, alt: str) -> None:
    """Display `figure` as a PNG with alternative text in its metadata, then close it.

    Args:
        figure: the figure.
        alt: what a reader who cannot see the figure needs to know, in the language of the page.

    Raises:
        ValueError: `alt` is empty.
    """
    if not alt.strip():
        raise ValueError("show(figure, alt): say in words what the figure shows.")
    png = io.BytesIO()
    figure.savefig(png, format="png")
    display(Image(png.getvalue(), alt=alt, width=round(figure.get_figwidth() * 100)))
    plt.close(figure)
