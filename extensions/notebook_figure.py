"""A notebook's figure on a page of prose, with its words and its caption: no second copy to grow stale.

```{notebook-figure} 05b-image-classification fig-05b-money
A caption of the page's own; without one, the notebook's.
```
"""

from pathlib import Path

import nbformat
from docutils import nodes
from pictures import SVG, figure_picture
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class NotebookFigure(SphinxDirective):
    required_arguments = 2  # the notebook, and the name in the figure cell's metadata
    has_content = True

    def run(self) -> list[nodes.Node]:
        notebook, name = self.arguments
        source = Path(self.env.srcdir)
        path = source / "notebooks" / f"{notebook}.ipynb"
        if not path.exists():
            raise self.error(f"there is no notebook {notebook!r}")
        self.env.note_dependency(str(path))
        for cell in nbformat.read(path, as_version=4).cells:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            if figure.get("name") == name:
                break
        else:
            raise self.error(f"the notebook {notebook!r} holds no figure named {name!r}")
        drawn = [output for output in cell.get("outputs", []) if SVG in output.get("data", {})]
        if not drawn:
            raise self.error(f"{name!r} in {notebook!r} holds no SVG: run the notebook, with course.figures.show")
        try:
            picture = figure_picture(drawn[0])
        except ValueError as error:
            raise self.error(f"{name!r} in {notebook!r}: {error}") from None
        inline, messages = self.parse_inline("\n".join(self.content) or figure.get("caption", ""))
        return [nodes.figure("", picture, nodes.caption("", "", *inline)), *messages]


def setup(app: Sphinx) -> dict:
    app.add_directive("notebook-figure", NotebookFigure)
    return {"parallel_read_safe": True}
