"""The whole book on paper and in an archive."""

import re
import subprocess
import sys
import zipfile

import pypdf
import pytest


@pytest.fixture(scope="module")
def pdf(browser, built):
    subprocess.run([sys.executable, "-m", "tools.pdf"], cwd=built, check=True)
    return pypdf.PdfReader(built / "_build/gradient-to-margin.pdf")


def test_every_chapter_stands_in_the_outline_and_leads_to_its_page(pdf, html, pages):
    def entries(outline):
        for entry in outline:
            if isinstance(entry, list):
                yield from entries(entry)
            else:
                yield entry

    listed = {entry.title: pdf.get_destination_page_number(entry) for entry in entries(pdf.outline)}
    for name in pages:
        text = (html / f"{name}.html").read_text(encoding="utf8")
        title = re.search(r"<h1>([^<]+)", text)[1].strip()
        page = pdf.pages[listed[title]].extract_text()
        assert title.replace(" ", "") in page.replace(" ", "").replace("\n", ""), title


def test_words_are_found_and_pages_are_numbered_and_tagged(pdf):
    texts = [page.extract_text() for page in pdf.pages]
    for word in [
        "毛利",
        "反向传播",
        "学习率",
        "小店的商品照片",
        "见",
        "长",
        "precision_of_every_class",
    ]:  # the last: folded
        assert any(word in text for text in texts), word
    assert not set(re.findall("[\u2e80-\u2fdf]", "".join(texts)))  # radicals, which no reader types
    assert all(re.search(rf"(^|\n)\s*{number}\s*(\n|$)", text) for number, text in enumerate(texts, start=1))
    assert pdf.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert "/StructTreeRoot" in pdf.trailer["/Root"]
    assert pdf.trailer["/Root"]["/Lang"].startswith("zh")


def test_links_in_the_printed_book_lead_somewhere(pdf, built):
    links = [
        annotation.get_object()
        for page in pdf.pages
        for annotation in page.get("/Annots", [])
        if annotation.get_object().get("/Subtype") == "/Link"
    ]
    outside = [link["/A"]["/URI"] for link in links if "/URI" in link.get("/A", {})]
    assert all(address.startswith("https://") for address in outside), outside  # no file of the machine that printed
    text = (built / "_build/print/_build/singlehtml/index.html").read_text(encoding="utf8")
    numbered = re.findall(r' id="([^"]*id\d+)"', text)
    assert len(numbered) == len(set(numbered))
    inside = [link["/Dest"] for link in links if "/Dest" in link]
    assert inside
    assert all(isinstance(target, list) or target in pdf.named_destinations for target in inside)


def test_archive_opens_without_anything_else(browser, built, tmp_path):
    subprocess.run([sys.executable, "-m", "tools.archive"], cwd=built, check=True)
    with zipfile.ZipFile(built / "_build/gradient-to-margin.zip") as archive:
        archive.extractall(tmp_path)
        assert not [name for name in archive.namelist() if name.endswith((".map", "fontawesome.js", ".po"))]
    page = browser.new_page()
    failed = []
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.goto((tmp_path / "gradient-to-margin/notebooks/05b-image-classification.html").as_uri())
    page.wait_for_load_state("networkidle")
    figure = page.locator("figure img").filter(visible=True).last
    figure.scroll_into_view_if_needed()
    assert figure.evaluate("image => image.decode().then(() => image.naturalWidth)")
    page.goto((tmp_path / "gradient-to-margin/search.html").as_uri() + "?q=反向传播")
    page.locator("#search-results li").first.wait_for()
    assert not failed
    assert page.evaluate("getComputedStyle(document.querySelector('article p')).lineHeight") != "normal"


def test_without_a_book_the_archive_says_what_to_do(built, tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "tools.archive"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(built)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "make book" in result.stderr


def test_without_a_browser_printing_says_what_to_do(built):
    result = subprocess.run(
        [sys.executable, "-m", "tools.pdf"], cwd=built, env={"PATH": ""}, capture_output=True, encoding="utf8"
    )
    assert result.returncode == 1
    assert "install Chromium" in result.stderr
