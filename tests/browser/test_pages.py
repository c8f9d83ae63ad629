"""The built book in a real browser. Without one these tests are skipped with a sentence; in CI they never are."""

import functools
import http.server
import os
import re
import shutil
import threading

import pytest
from playwright.sync_api import sync_playwright

BROWSER = next(filter(None, map(shutil.which, ["chromium", "chromium-browser", "google-chrome"])), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None and not os.environ.get("COURSE_BROWSER_REQUIRED"),
    reason="no Chromium here: apt-get install chromium, or install Chrome, to run the browser tests",
)
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=QUIET.split())
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def html(built):
    return built / "_build/html"


@pytest.fixture(scope="module")
def pages(built):
    contents = (built / "_toc.yml").read_text(encoding="utf8")
    return ["index", *re.findall(r"file: (\S+)", contents)]


@pytest.fixture(scope="module")
def server(html):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_opens_from_a_file_without_error_or_foreign_request(browser, html, pages, scheme):
    context = browser.new_context(color_scheme=scheme)
    for name in pages:
        page = context.new_page()
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)  # noqa: B023
        page.on("pageerror", lambda error: wrong.append(str(error)))  # noqa: B023
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))  # noqa: B023
        page.goto((html / f"{name}.html").as_uri())
        page.wait_for_load_state("networkidle")
        assert not wrong, (name, wrong)
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.close()


def test_recorded_numbers_can_be_read_in_the_dark(browser, html):
    """The theme puts HTML outputs on a light card in dark mode, and light text on it."""
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((html / "notebooks/05b-image-classification.html").as_uri())
    backgrounds = page.eval_on_selector_all(
        "div.cell_output div.text_html", "cards => cards.map(card => getComputedStyle(card).backgroundColor)"
    )
    assert backgrounds
    assert set(backgrounds) == {"rgba(0, 0, 0, 0)"}


def test_no_page_scrolls_sideways_on_a_phone(browser, html, pages):
    page = browser.new_context(viewport={"width": 360, "height": 740}).new_page()
    for name in pages:
        page.goto((html / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


@pytest.mark.parametrize(
    ("query", "target"),
    [
        ("反向传播", "book/glossary"),
        ("学习率", "notebooks/05b-image-classification"),
        ("毛利率", "book/glossary"),
        ("盈亏平衡点", "book/05-project"),
        ("衫", "book/05-project"),
        ("softmax把", "notebooks/05b-image-classification"),
        ("Fashion-MNIST", "book/05-project"),
    ],
)
def test_search_finds_chinese(browser, server, query, target):
    page = browser.new_page()
    page.goto(f"{server}/search.html?q={query}")
    page.wait_for_selector("#search-results ul.search li a")
    page.wait_for_function("!document.querySelector('#search-results h2').textContent.includes('…')")
    links = page.eval_on_selector_all("#search-results li a", "links => links.map(link => link.href)")
    assert any(target in link for link in links), links
    page.close()


def test_search_finds_nothing_where_nothing_is(browser, server):
    page = browser.new_page()
    page.goto(f"{server}/search.html?q=量子纠缠")
    page.wait_for_timeout(1500)
    assert page.locator("#search-results li a").count() == 0


def test_links_inside_the_book_lead_somewhere(html, pages):
    for name in pages:
        file = html / f"{name}.html"
        for link in re.findall(r'href="([^"#:?]*)(?:#([^"]*))?"', file.read_text(encoding="utf8")):
            path, anchor = link
            target = (file.parent / path).resolve() if path else file
            assert target.exists(), (name, link)
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(encoding="utf8"), (name, link)
