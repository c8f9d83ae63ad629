import base64
import io
import re
from itertools import pairwise

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import build
from fontTools.ttLib import TTFont

NOTEBOOK = "notebooks/05b-image-classification"
MODES = ["light", "dark"]
ONE_OF_EACH_KIND = ["index", "book/05-project", NOTEBOOK, "search"]


@pytest.mark.parametrize("scheme", MODES)
def test_every_page_opens_from_a_file_without_error_or_foreign_request(browser, html, pages, scheme):
    context = browser.new_context(color_scheme=scheme)
    for name in [*pages, "search", "404"]:
        page = context.new_page()
        wrong = []
        page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)  # noqa: B023
        page.on("pageerror", lambda error: wrong.append(str(error)))  # noqa: B023
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else wrong.append(r.url))  # noqa: B023
        page.goto((html / f"{name}.html").as_uri())
        page.wait_for_load_state("networkidle")
        assert not wrong, (name, wrong)
        if name != "404":
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
        page.close()


@pytest.mark.parametrize("scheme", MODES)
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_breaks_a_rule_of_accessibility(browser, html, pages, scheme, width):
    """WCAG 2.0 to 2.2, levels A and AA, as axe-core can check them; every page once in each mode and at each width."""
    every_page = (width, scheme) in [(360, "light"), (1280, "dark")]
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    for name in [*pages, "search", "404"] if every_page else ONE_OF_EACH_KIND:
        query = "?q=准确率" if name == "search" else ""
        page.goto((html / f"{name}.html").as_uri() + query)
        page.wait_for_load_state("networkidle")
        found = Axe().run(page, options={"runOnly": rules})
        assert found.violations_count == 0, f"{name}: {found.generate_report()}"


@pytest.mark.parametrize("scheme", MODES)
def test_figures_suit_the_page(browser, html, scheme):
    """In either mode one of two drawings is seen, on the page's own paper, with ink that stands out."""
    page = browser.new_context(color_scheme=scheme).new_page()
    page.goto((html / f"{NOTEBOOK}.html").as_uri())
    seen = page.locator("figure img").filter(visible=True)
    assert seen.count() == page.locator("figure").count() >= 6
    classes = seen.evaluate_all("images => images.map(image => image.parentElement.className)")
    assert all(f"{scheme}-page" in names for names in classes)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    red, green, blue = re.findall(r"\d+", paper)
    svg = (html / "notebooks" / seen.last.get_attribute("src")).read_text(encoding="utf8")
    points = float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
    assert int(seen.last.get_attribute("width")) == round(points * 96 / 72)
    assert seen.last.get_attribute("loading") == "lazy"  # or the picture for the other mode would be loaded too
    assert f"#{int(red):02x}{int(green):02x}{int(blue):02x}" in svg.lower()


def test_a_reader_can_choose_the_dark_page_and_keep_it(browser, server):
    page = browser.new_context(color_scheme="light").new_page()
    page.goto(f"{server}/index.html")
    for _ in range(3):  # light, dark, the system's: at most two steps away
        if page.evaluate("document.documentElement.dataset.theme") == "dark":
            break
        page.locator(".bd-header-article .theme-switch-button").click()
    page.goto(f"{server}/{NOTEBOOK}.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert page.locator("figure .dark-page img").first.is_visible()


def test_a_dark_page_is_printed_black_on_white(browser, html):
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((html / f"{NOTEBOOK}.html").as_uri())
    page.emulate_media(media="print")
    inks, paper = page.evaluate("""() => [
        Array.from(document.querySelectorAll("article :is(h1, h2, p, li)"), (e) => getComputedStyle(e).color),
        getComputedStyle(document.body).backgroundColor,
    ]""")
    assert set(inks) <= {"rgb(0, 0, 0)", "rgb(31, 35, 41)", "rgb(87, 96, 107)"}  # headings, text, captions
    assert paper == "rgb(255, 255, 255)"
    assert page.locator("figure .light-page img").first.is_visible()
    assert not page.locator("figure .dark-page img").first.is_visible()


def test_recorded_numbers_can_be_read_in_the_dark(browser, html):
    """The theme puts HTML outputs on a light card in dark mode, and light text on it."""
    page = browser.new_context(color_scheme="dark").new_page()
    page.goto((html / f"{NOTEBOOK}.html").as_uri())
    backgrounds = page.eval_on_selector_all(
        "div.cell_output div.text_html", "cards => cards.map(card => getComputedStyle(card).backgroundColor)"
    )
    assert backgrounds
    assert set(backgrounds) == {"rgba(0, 0, 0, 0)"}


def test_no_page_scrolls_sideways_on_a_phone(browser, html, pages):
    page = browser.new_context(viewport={"width": 360, "height": 740}).new_page()
    for name in [*pages, "search", "404"]:
        page.goto((html / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name


def test_a_line_holds_about_forty_characters(browser, html):
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto((html / "book/05-project.html").as_uri())
    width, size = page.evaluate("""() => {
        const paragraph = document.querySelector("article section > p");
        return [paragraph.clientWidth, parseFloat(getComputedStyle(paragraph).fontSize)];
    }""")
    assert 36 <= width / size <= 46


def test_a_page_is_light_before_its_pictures(browser, server, pages):
    """At most 1 MB, uncompressed, and at most one style sheet holds up the text."""
    for name in pages:
        page = browser.new_page()
        responses = []
        page.on("response", lambda response: responses.append(response))  # noqa: B023
        page.goto(f"{server}/{name}.html")
        page.wait_for_load_state("networkidle")
        sizes = {response.url: len(response.body()) for response in responses}
        weight = sum(size for url, size in sizes.items() if "/_images/" not in url)
        assert weight <= 1_000_000, (name, weight)
        assert sum(size for url, size in sizes.items() if url.endswith("book.css")) <= 180_000  # the theme's: 530,000
        assert sum(url.split("?")[0].endswith(".css") for url in sizes) == 1, (name, list(sizes))
        page.close()


def test_every_icon_has_a_picture_in_its_font(html):
    style = (html / "_static/book.css").read_text(encoding="utf8")
    drawn = set()
    for data in re.findall(r"data:font/ttf;base64,([^\"]+)", style):
        drawn |= set(TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap())
    named = {ord(icon) for icon in re.findall(r'\.fa-[\w-]+:before\{content:"(.)"', style)}
    assert len(named) >= 10
    assert named <= drawn


def test_storage_that_is_forbidden_breaks_nothing(browser, server):
    page = browser.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.add_init_script("""Object.defineProperty(window, "localStorage", {
        configurable: true, get() { throw new DOMException("denied", "SecurityError"); },
    })""")
    page.goto(f"{server}/index.html")
    page.wait_for_load_state("networkidle")
    before = page.evaluate("document.documentElement.dataset.mode")
    page.locator(".bd-header-article .theme-switch-button").click()
    assert page.evaluate("document.documentElement.dataset.mode") != before
    assert not errors


def test_without_javascript_the_page_is_whole(browser, html):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto((html / f"{NOTEBOOK}.html").as_uri())
    assert page.locator("figure .light-page img").first.is_visible()
    assert not page.locator("figure .dark-page img").first.is_visible()
    assert page.locator("article p").first.is_visible()


MOVING = """
:::{admonition} 提示
:class: dropdown
藏起来的话
:::

::::{tab-set}
:::{tab-item} 甲
甲的话
:::
:::{tab-item} 乙
乙的话
:::
::::

```python
print("可以复制")
```
"""


def test_what_can_be_clicked_works(browser, built_copy):
    """Folded asides, tabs, the button that copies code: their scripts come with the pages that ask for them."""
    page_file = built_copy / "book/references.md"
    page_file.write_text(page_file.read_text(encoding="utf8") + MOVING, encoding="utf8")
    assert build(built_copy).returncode == 0
    page = browser.new_page()
    page.goto((built_copy / "_build/html/book/references.html").as_uri())
    page.wait_for_load_state("networkidle")
    assert not page.get_by_text("藏起来的话").is_visible()
    page.locator(".admonition.dropdown .admonition-title").click()
    page.get_by_text("藏起来的话").wait_for(state="visible")
    page.get_by_text("乙", exact=True).click()
    assert page.get_by_text("乙的话").is_visible()
    assert page.locator("button.copybtn").count() == 1


def test_notebook_pages_lead_to_colab_download_and_source(browser, html, built):
    address = re.search(r"^\s+url: (\S+)$", (built / "_config.yml").read_text(encoding="utf8"), re.M)[1]
    page = browser.new_page()
    page.goto((html / f"{NOTEBOOK}.html").as_uri())
    links = page.eval_on_selector_all(
        ".article-header-buttons a", "links => links.map(a => [a.innerText, a.getAttribute('href')])"
    )
    colab = address.replace("https://github.com/", "https://colab.research.google.com/github/")
    download = f"../_sources/{NOTEBOOK}.ipynb"
    assert links == [
        ["在Colab中打开", f"{colab}/blob/main/{NOTEBOOK}.ipynb"],
        ["下载", download],
        ["源代码", f"{address}/blob/main/{NOTEBOOK}.ipynb"],
    ]
    assert (html / "notebooks" / download).read_bytes() == (built / f"{NOTEBOOK}.ipynb").read_bytes()


def test_every_page_says_where_it_is_and_what_it_is_about(html, pages):
    descriptions = []
    for name in pages:
        text = (html / f"{name}.html").read_text(encoding="utf8")
        address = re.search(r'<link rel="canonical" href="([^"]+)"', text)[1]
        assert address.endswith(f"/{name}.html"), address
        assert f'<meta property="og:url" content="{address}"' in text
        descriptions.append(re.search(r'<meta name="description" content="([^"]{10,120})"', text)[1])
    assert len(set(descriptions)) == len(pages)


def test_lost_readers_are_led_back(html):
    text = (html / "404.html").read_text(encoding="utf8")
    assert "没有这一页" in text
    assert re.findall(r'<a href="(https://[^"]+/)"', text)  # an address that holds wherever the page is shown


def test_no_english_is_left_in_the_frame_of_a_page(browser, html, pages):
    """What the theme says around the text: menus, buttons, their hints."""
    page = browser.new_page()
    allowed = re.compile(r"Ctrl|K|CC BY|MIT|PyTorch|Colab|CPU|GPU")
    for name in [*pages, "search"]:
        page.goto((html / f"{name}.html").as_uri())
        words = page.evaluate("""() => {
            const said = Array.from(document.querySelectorAll("body [title], body [aria-label], body [placeholder]"))
                .filter((e) => !e.closest(".math, a[href*='references.html#']"))  // a cited work's title is as it is
                .flatMap((e) => [e.title, e.ariaLabel, e.placeholder]);
            const frame = Array.from(document.querySelectorAll("header, footer, nav, button, .bd-header-article"))
                .filter((e) => !e.closest("article")).map((e) => e.innerText);
            return [...said, ...frame].filter(Boolean);
        }""")
        english = [word for word in words if re.search("[A-Za-z]{3,}", allowed.sub("", word))]
        assert not [word for word in english if not re.search("[\u4e00-\u9fff]", word)], name


def test_headings_go_down_one_step_at_a_time(browser, html, pages):
    page = browser.new_page()
    for name in pages:
        page.goto((html / f"{name}.html").as_uri())
        levels = page.eval_on_selector_all(
            "article :is(h1, h2, h3, h4, h5)", "all => all.map(heading => Number(heading.tagName[1]))"
        )
        assert levels[0] == 1, name
        assert all(after - before <= 1 for before, after in pairwise(levels)), (name, levels)


def test_links_inside_the_book_lead_somewhere(html, pages):
    for name in [*pages, "search"]:
        file = html / f"{name}.html"
        for link in re.findall(r'href="([^"#:?]*)(?:#([^"]*))?"', file.read_text(encoding="utf8")):
            path, anchor = link
            target = (file.parent / path).resolve() if path else file
            assert target.exists(), (name, link)
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(encoding="utf8"), (name, link)
