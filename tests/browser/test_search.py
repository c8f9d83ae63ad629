import unicodedata
from urllib.parse import quote

import pytest


def search(page, address, query):
    page.goto(f"{address}?q={query}")
    page.wait_for_function("document.querySelector('#search-summary').textContent")
    return page.eval_on_selector_all(
        "#search-results li", "hits => hits.map(hit => [hit.querySelector('a').href, hit.querySelector('p').innerText])"
    )


@pytest.fixture(params=["file", "server"])
def address(request, html):
    """Search works from a file as it does from a server."""
    place = (html / "search.html").as_uri()
    return place if request.param == "file" else f"{request.getfixturevalue('server')}/search.html"


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("反向传播", "book/glossary"),
        ("学习率", "notebooks/05b-image-classification"),
        ("毛利率", "book/glossary"),
        ("盈亏平衡点", "book/05-project"),
        ("衫", "book/05-project"),
        ("softmax把", "notebooks/05b-image-classification"),
        ("SOFTMAX 把", "notebooks/05b-image-classification"),
        ("fashion-mnist", "book/05-project"),
        ("ＣＮＮ", "book/05-project"),
        ("，窗口里的", "book/05-project"),
        ("1−c/m", "book/05-project"),
        ("衬衫 召回率", "book/05-project"),
        ("cross_entropy(", "notebooks/05b-image-classification"),
    ],
)
def test_search_finds_the_words_and_shows_them(browser, address, query, target):
    page = browser.new_page()
    hits = search(page, address, query)
    assert any(target in link for link, _ in hits), hits
    in_text = [text for link, text in hits if target in link]
    first_word = unicodedata.normalize("NFKC", query.split()[0].lower())
    shown = [unicodedata.normalize("NFKC", text.lower().replace(" ", "")) for text in in_text]
    assert any(first_word in text for text in shown), in_text
    page.close()


def test_a_hit_leads_to_its_section(browser, address):
    page = browser.new_page()
    link, _ = search(page, address, "召回率")[0]
    page.locator("#search-results a").first.click()
    page.wait_for_load_state()
    heading = page.locator(f"[id='{link.split('#')[1]}'] >> :is(h1, h2, h3)").first
    assert "召回率" in page.locator(f"[id='{link.split('#')[1]}']").inner_text()
    assert heading.is_visible()
    page.close()


def test_better_hits_come_first(browser, address):
    page = browser.new_page()
    hits = search(page, address, "测试集")
    page.goto(hits[0][0])
    assert "测试集" in page.locator(":target :is(h1, h2, h3)").first.inner_text()
    page.close()


@pytest.mark.parametrize(
    "query", ["量子纠缠", "衬衫 量子纠缠", "[a-z]+", "$1x", "<img src=x onerror=alert()>", "长" * 2000]
)
def test_search_finds_nothing_where_nothing_is(browser, address, query):
    """A query is words, neither a pattern nor a piece of the page."""
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    assert search(page, address, quote(query)) == []
    assert query in page.inner_text("#search-summary")
    assert not errors
    page.close()


def test_search_is_reached_by_keyboard_from_any_page(browser, server):
    page = browser.new_page()
    page.goto(f"{server}/book/05-project.html")
    page.wait_for_load_state("networkidle")
    page.keyboard.press("Control+k")
    page.keyboard.type("学习率")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    page.wait_for_function("document.querySelector('#search-summary').textContent")
    assert page.locator("#search-results li").count()
    page.close()
