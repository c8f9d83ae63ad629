from types import SimpleNamespace

import pytest
from figure_numbers import number_by_chapter


@pytest.mark.parametrize(
    ("docname", "first"),
    [
        ("book/03-backpropagation", "3-1"),
        ("notebooks/03-backpropagation", "3n-1"),
        ("notebooks/05b-image-classification", "5b-1"),
        ("book/10-some", "10-1"),
        ("index", "1"),
    ],
)
def test_figures_are_numbered_by_chapter_in_the_order_of_the_page(docname, first):
    env = SimpleNamespace(toc_fignumbers={docname: {"figure": {"late": (9,), "early": (7,)}}})
    number_by_chapter(None, env)
    assert env.toc_fignumbers[docname]["figure"]["early"] == (first,)
