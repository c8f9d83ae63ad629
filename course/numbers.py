"""Numbers that a notebook measured, shown to its reader and handed to the prose."""

import html
import math

from IPython.display import display


def record(name: str, value: float | int | str) -> None:
    """Show `name = value` in the notebook and store the value under `name` in its outputs.

    The prose takes it up with myst-nb's role, e.g. ``{glue:text}`../notebooks/NOTEBOOK::name:.1f` ``; the metadata
    is what myst-nb's own `glue` writes, without importing myst-nb, which Colab lacks.

    Raises:
        TypeError: `value` is not a plain number or string, so that a format could not be applied to it.
        ValueError: `value` is NaN or infinite.
    """
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        raise TypeError(f"record({name!r}): a plain float, int or str is needed, not {type(value).__name__}.")
    if isinstance(value, float):
        value = float(value)  # NumPy's float64 is a float whose repr nobody can read back
        if not math.isfinite(value):
            raise ValueError(f"record({name!r}): {value} is no measurement.")
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    bundle = {"text/plain": repr(value), "text/html": f"<code>{html.escape(f'{name} = {shown}')}</code>"}
    display(bundle, raw=True, metadata={"scrapbook": {"name": name, "mime_prefix": ""}})
