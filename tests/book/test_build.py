"""The book is built as a reader builds it, in a folder with a space and Chinese in its path, and broken on purpose."""

import json
import re

import pytest
from conftest import build, plain

NOTEBOOK = "notebooks/05b-image-classification.ipynb"
PAGE = "_build/html/book/05-project.html"


def edit(file, old, new):
    text = file.read_text(encoding="utf8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf8")


def page(project, name=PAGE):
    return (project / name).read_text(encoding="utf8")


def test_book_is_chinese_and_every_page_is_there(built):
    assert '<html lang="zh-CN"' in page(built, "_build/html/index.html")
    contents = (built / "_toc.yml").read_text(encoding="utf8")
    for name in re.findall(r"file: (\S+)", contents):
        assert (built / "_build/html" / f"{name}.html").exists()


def test_unchanged_book_reads_nothing_again(built):
    assert "0 added, 0 changed, 0 removed" in plain(build(built))


def test_changed_number_reaches_a_distant_page(built_copy):
    """A page of prose does not change, the notebook does: the second build must take up the new number."""
    distant = built_copy / "book/references.md"  # it has no other tie to the notebook
    glue = f"{{glue:text}}`../{NOTEBOOK}::cnn_test_accuracy:.3%`"
    distant.write_text(f"{distant.read_text(encoding='utf8')}\n{glue}\n", encoding="utf8")
    build(built_copy)
    assert "12.345%" not in page(built_copy, "_build/html/book/references.html")

    notebook = json.loads((built_copy / NOTEBOOK).read_text(encoding="utf8"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    recorded = next(o for o in outputs if o.get("metadata", {}).get("scrapbook", {}).get("name") == "cnn_test_accuracy")
    recorded["data"]["text/plain"] = ["0.12345"]
    (built_copy / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf8")
    result = build(built_copy)
    assert result.returncode == 0, plain(result)
    assert "0 added, 4 changed, 0 removed" in plain(result)  # the notebook and the three pages that draw on it
    assert "12.345%" in page(built_copy, "_build/html/book/references.html")


def test_changed_claim_reaches_its_pages(built_copy):
    build(built_copy)
    edit(built_copy / "book/data/claims.toml", 'id = "C16"', 'id = "C99"')
    build(built_copy)
    assert "C99" in page(built_copy)
    assert "C99" in page(built_copy, "_build/html/book/fact-check.html")


# What is missing, and what the build must say: a file, an edit, the warning.
MISSING = [
    ("book/05-project.md", "::cnn_test_accuracy:", "::nobody_recorded_this:", r"05-project.*nobody_recorded_this"),
    ("book/05-project.md", "{shop}`new_products_per_year`", "{shop}`unheard_of`", "no figure 'unheard_of'"),
    ("book/05-project.md", "{shop-table} shelves", "{shop-table} cellar", "one of desk, shelves, not 'cellar'"),
    ("book/05-project.md", "{cite}`xiao2017fashion`", "{cite}`nobody1999`", "nobody1999"),
    ("book/05-project.md", "{seeds}`05b-image-classification::", "{seeds}`05b-absent::", "no number 'cnn_"),
    ("book/05-project.md", "fig-05b-steps", "fig-05b-nothing", "no figure named 'fig-05b-nothing'"),
    (NOTEBOOK, '"alt": "斜线为', '"long": "斜线为', "fig-05b-money.*has no words: use course.figures.show"),
    (NOTEBOOK, 'viewBox=\\"', 'box=\\"', r"cell \d+: an SVG has no viewBox"),
    ("book/05-project.md", "```{claims}", "```{claim}", "Unknown directive type: 'claim'"),
    ("book/05-project.md", r"1-\frac{c}{m}.", r"1-\frac{准确率}{m}.", "Chinese inside a formula cannot be drawn"),
    ("book/05-project.md", r"$N(1-a)m$", r"$\begin{matrix$", "this formula cannot be drawn"),
    ("_toc.yml", "book/references", "book/absent", "absent"),
]


def test_what_is_missing_fails_the_build_and_is_named(built_copy):
    """In one build, as it takes long: with -W each of these warnings fails it."""
    for file, old, new, _ in MISSING:
        edit(built_copy / file, old, new)
    result = build(built_copy)
    assert result.returncode != 0
    warnings = [line for line in plain(result).splitlines() if re.search("WARNING|ERROR|CRITICAL", line)]
    for *_, message in MISSING:
        assert any(re.search(message, line) for line in warnings), (message, warnings)


def test_stored_error_fails_the_build_and_names_notebook_and_cell(built_copy):
    notebook = json.loads((built_copy / NOTEBOOK).read_text(encoding="utf8"))
    number, cell = next((n, c) for n, c in enumerate(notebook["cells"], 1) if c["cell_type"] == "code")
    error = {"output_type": "error", "ename": "ValueError", "evalue": "on purpose", "traceback": []}
    cell["outputs"] = [error]
    (built_copy / NOTEBOOK).write_text(json.dumps(notebook), encoding="utf8")
    result = build(built_copy)
    assert result.returncode != 0
    assert re.search(rf"05b-image-classification.*cell {number} ended in ValueError: on purpose", plain(result))


def test_negative_numbers_from_notebooks_have_a_minus_sign(built):
    pasted = re.findall(r'"pasted-text">([^<]*)<', page(built, "_build/html/book/06-business-models.html"))
    assert any(text.startswith("−") for text in pasted)
    assert not [text for text in pasted if re.match(r"-\d", text)]


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("book/03-backpropagation", "3-"),
        ("notebooks/03-backpropagation", "3n-"),
        ("notebooks/05a-article-code", "5a-"),
        (NOTEBOOK[:-6], "5b-"),
        ("index", ""),
    ],
)
def test_figures_are_numbered_by_chapter(built, name, prefix):
    html = page(built, f"_build/html/{name}.html")
    numbers = re.findall(r'class="caption-number">图 ([^<]*?) ?</span>', html)
    assert numbers == [f"{prefix}{i}" for i in range(1, len(numbers) + 1)]
    assert numbers
    assert set(re.findall(r'class="std std-numref">图 ([^<]*)</span>', html)) <= set(numbers)


def test_raster_pictures_bring_their_words_too(built_copy):
    """The second of two equal pictures has words of its own."""
    file = built_copy / NOTEBOOK
    notebook = json.loads(file.read_text(encoding="utf8"))
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
    cell = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    cell["outputs"] = [
        {"output_type": "display_data", "data": {"image/png": pixel}, "metadata": {"image/png": {"alt": words}}}
        for words in ("一个点", "又一个点")
    ]
    file.write_text(json.dumps(notebook), encoding="utf8")
    assert build(built_copy).returncode == 0
    html = page(built_copy, f"_build/html/{NOTEBOOK.replace('.ipynb', '.html')}")
    assert 'alt="一个点"' in html
    assert 'alt="又一个点"' in html


def test_citations_read_as_chinese(built):
    html = page(built)
    assert re.search(r'（<a[^>]*href="references.html#cite-xiao2017fashion"[^>]*>Xiao等，2017</a>）', html)
    listed = page(built, "_build/html/book/references.html")
    assert "Han Xiao、Kashif Rasul、Roland Vollgraf" in listed
    assert "Erik Brynjolfsson、Danielle Li、Lindsey" in listed
    assert re.search("Ouyang、Jeff Wu、Xu.Jiang等", listed)
    assert not re.search(r"\[\d+\]|\bet al\b|、others", re.sub(r"<[^>]+>", "", listed[listed.index("<article") :]))


def test_no_two_sources_are_cited_alike(built):
    keys = {}
    for file in (built / "_build/html").rglob("*.html"):
        for key, label in re.findall(r'href="[^"]*#cite-([^"]+)"[^>]*>([^<]+)</a>', file.read_text(encoding="utf8")):
            keys.setdefault(label, set()).add(key)
    assert len(keys) > 200
    assert not {label: found for label, found in keys.items() if len(found) > 1}


def test_no_mark_up_is_left_in_the_text(built, pages):
    """Two asterisks between a Chinese full stop and a character are no end of bold, and stay as they are."""
    for name in pages:
        article = page(built, f"_build/html/{name}.html").partition("<article")[2]
        words = re.sub(r"<[^>]+>", "", re.sub(r"<(pre|code|script)\b.*?</\1>", "", article, flags=re.S))
        assert not re.findall(r".{10}\*\*.{10}", words), name


def test_pictures_bring_their_words(built):
    html = page(built, f"_build/html/{NOTEBOOK.replace('.ipynb', '.html')}")
    pictures = re.findall(r"<img[^>]*_images/[^>]*>", html)
    assert len(pictures) >= 5
    assert all(re.search(r'alt="[^"]*[\u4e00-\u9fff]', picture) for picture in pictures)


def test_formulas_are_drawn_and_can_be_read_aloud(built):
    html = page(built)
    formulas = re.findall(r'<(?:span|div) class="math notranslate"[^>]*>(.*?)</(?:span></span|div)>', html, re.S)
    assert len(formulas) > 10
    assert all("<svg" in formula and 'aria-hidden="true"' in formula and "<math" in formula for formula in formulas)
    assert not re.search(r"<script[^>]*mathjax", html, re.I)


def test_aligned_formulas_have_words_too(built_copy):
    edit(built_copy / "book/05-project.md", r"a^\ast = 1-\frac{c}{m}.", r"a &= b \\ &= 1-\frac{c}{m}.")
    result = build(built_copy)
    assert result.returncode == 0, plain(result)
    assert "<mtable" in page(built_copy)


def test_every_claim_is_on_the_fact_check_page(built):
    html = page(built, "_build/html/book/fact-check.html")
    assert all(f"C{n:02}" in html for n in range(1, 50))


def test_run_records_say_what_no_gpu_has_run(built):
    devices = [json.loads(p.read_text(encoding="utf8"))["device"] for p in (built / "book/data/runs").glob("*.json")]
    html = page(built, "_build/html/book/run-records.html")
    assert "<code" in html
    assert ("还没有在GPU上跑过" in html) == ("cuda" not in devices)
