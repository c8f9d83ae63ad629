from xml.etree import ElementTree

import pytest
from latex2mathml.converter import convert
from minus_signs import HYPHEN
from sharing import first_words
from site_pages import in_one_line, read_sections

from tools.pdf import name_apart, unify_map

PAGE = """<nav>目录</nav><article><section id="top"><h1>标题<a class="headerlink" href="#top">#</a></h1>
<p>第一段，公式<span><svg><path></path></svg><math><mi>a</mi><mo>=</mo><mn>1</mn></math></span>。</p>
<figure><a class="light-page"><img alt="一条线"></a><a class="dark-page"><img alt="一条线"></a></figure>
<section id="deep"><h2>小节</h2><pre>x &lt; 1</pre><p>第二段</p></section>
<p>回到上面</p></section></article><footer>页脚</footer>"""


def test_every_section_has_its_own_words():
    top, deep = read_sections(PAGE)
    assert top == ["top", "标题", "第一段，公式a=1。 一条线 回到上面"]
    assert deep == ["deep", "小节", "x < 1 第二段"]


def test_formulas_are_written_in_one_line():
    def line(latex):
        return in_one_line(ElementTree.fromstring(convert(latex)))

    assert line(r"a^\ast = 1-\frac{c}{m}").replace("*", "∗") == "a^∗=1−c/m"
    assert line(r"W_{1}^{2}") == "W_1^2"
    assert line(r"\begin{pmatrix}a&b\\c&d\end{pmatrix}") == "(a b;c d)"
    assert line(r"\frac{a+b}{2}") == "(a+b)/2"


def test_description_is_the_first_words():
    assert first_words("<h1>题</h1><p>一句<b>短</b>话。</p>", at_least=3) == "一句短话。"
    assert first_words("<p>短。</p><p>再来一段。</p>", at_least=5) == "短。再来一段。"
    assert len(first_words(f"<p>{'长' * 500}</p>")) == 120
    assert first_words("") == ""
    assert first_words("<p>a &lt; b</p>", at_least=1) == "a < b"


def test_chapters_on_one_page_keep_their_anchors_apart():
    one = '<span id="document-a"></span><section id="id1"><a href="#id1">'
    two = '<span id="document-b"></span><section id="id1"><a href="#id1"><a href="#fig-name">'
    assert name_apart(one + two) == (one.replace("id1", "chapter1-id1") + two.replace("id1", "chapter2-id1"))


def test_radicals_become_the_characters_that_readers_type():
    assert unify_map("<3B> <2F51>\n<59> <4ECE>\n<60> <2ED3>") == "<3B> <6BDB>\n<59> <4ECE>\n<60> <957F>"
    assert unify_map("<01> <03> <2F00>") == "<01> <03> [<4E00> <4E28> <4E36>]"
    assert unify_map("<2F51> <0041>") == "<2F51> <0041>"  # a glyph's number, not a character


@pytest.mark.parametrize(
    ("text", "set_text"),
    [("-32到-26", "−32到−26"), ("差-5", "差−5"), ("2026-11-25", "2026-11-25"), ("GPT-3", "GPT-3"), ("1e-5", "1e-5")],
)
def test_a_minus_sign_stands_before_negative_numbers_only(text, set_text):
    assert HYPHEN.sub("−", text) == set_text
