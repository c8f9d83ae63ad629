import itertools
import sys
from types import SimpleNamespace

import merman
import pytest
import requests
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from mermaid.flowchart import FlowChart, Link, Node
from mermaid.flowchart.link import LINK_HEADS, LINK_SHAPES
from mermaid.style import Style

from course.diagrams import RESERVED, show, to_mermaid

PHOTO, SHELF = Node("photo", "商品照片"), Node("shelf", "自动上架<br>不经店员", shape="rhombus")


@pytest.fixture(autouse=True)
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.fixture
def asked(monkeypatch):
    """The addresses that were asked, and the answer that they get."""
    answer = SimpleNamespace(text="<svg/>", raise_for_status=lambda: None, addresses=[], error=None)

    def get(address, timeout):
        answer.addresses.append(address)
        if answer.error:
            raise answer.error
        return answer

    monkeypatch.setattr(requests, "get", get)
    return answer


def chart(*links, title="从照片到货架", nodes=(PHOTO, SHELF)):
    return FlowChart(title, list(nodes), list(links) or [Link(PHOTO, SHELF, message="有把握")], "LR")


def is_valid(source):
    return merman.Merman().validate(source, None).valid


def shown(**options):
    with capture_output() as captured:
        show(chart(**options), alt="照片经过模型\n到达货架")
    return captured.outputs[0].data


def test_source_is_mermaid_and_keeps_its_words_for_readers_who_cannot_see_it(asked):
    data = shown(title="成本: 一张图")
    source = data["text/vnd.mermaid"]
    assert "accTitle: 成本: 一张图\n" in source
    assert "accDescr: 照片经过模型 到达货架\n" in source
    assert 'photo["商品照片"]' in source
    assert is_valid(source)
    assert data["text/plain"] == source
    assert "text/html" not in data
    assert not asked.addresses


def test_colab_shows_the_picture_of_the_service(asked, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    assert "<svg/>" in shown()["text/html"]
    assert len(asked.addresses) == 1


def refuse():
    raise requests.HTTPError("503: the picture service is out of order")


@pytest.mark.parametrize("error", [requests.ConnectionError(), requests.Timeout(), None])
def test_colab_without_a_picture_shows_the_text(asked, monkeypatch, error):
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace())
    asked.error = error
    asked.raise_for_status = refuse
    data = shown()
    assert "text/html" not in data
    assert "商品照片" in data["text/plain"]


def test_styles_come_in_one_order():
    styles = [Style(name, stroke="#d55e00") for name in "abcdef"]
    nodes = [Node(f"n{style.name}", "甲", styles=[style]) for style in styles]
    source = to_mermaid(FlowChart("图", nodes), alt="六个点")
    assert [line.split()[1] for line in source.splitlines() if "classDef" in line] == list("abcdef")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (chart(title=" "), "give it a title"),
        (chart(nodes=[Node("训练"), Node("推理")]), "Two nodes have the id '__'"),
        (chart(nodes=[Node("group", "组", sub_nodes=[PHOTO]), PHOTO, SHELF]), "Two nodes have the id 'photo'"),
        (chart(nodes=[PHOTO]), "'shelf', which is not among the nodes"),
        (chart(nodes=[PHOTO, SHELF, Node("a", '说"好"')]), "straight quotation mark"),
        (chart(Link(PHOTO, SHELF, message='"好"')), "straight quotation mark"),
        (FlowChart("图", [PHOTO], config="theme"), "Leave `config` out"),
    ],
)
def test_what_mermaid_could_not_read_is_refused(broken, message):
    with pytest.raises(ValueError, match=message):
        to_mermaid(broken, alt="词")


def test_chart_without_words_is_refused():
    with pytest.raises(ValueError, match="say in words what the chart shows"):
        show(chart(), alt=" ")


@pytest.mark.parametrize("word", sorted(RESERVED))
def test_reserved_ids_are_refused_and_cannot_be_drawn(word):
    with pytest.raises(ValueError, match="a word of Mermaid's"):
        to_mermaid(chart(nodes=[Node(word.title()), PHOTO, SHELF]), alt="词")
    assert not is_valid(f'flowchart LR\n    {word}["a"]\n    a --> {word}\n')


def test_refused_are_the_links_that_cannot_be_drawn_and_no_others():
    for shape, left, right in itertools.product(LINK_SHAPES, LINK_HEADS, LINK_HEADS):
        link = Link(PHOTO, SHELF, shape, left, right)
        drawable = is_valid(f'flowchart LR\n    photo["a"]\n    shelf["b"]\n    {link}\n')
        if drawable:
            assert is_valid(to_mermaid(chart(link), alt="词"))
        else:
            with pytest.raises(ValueError, match="cannot be drawn"):
                to_mermaid(chart(link), alt="词")
