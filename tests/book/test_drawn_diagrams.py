"""Mermaid in prose and in notebooks becomes pictures when the book is built; a broken one is named."""

import json
import re
from pathlib import Path

from conftest import build, plain

PAGE = "book/references.md"
NOTEBOOK = "notebooks/05b-image-classification.ipynb"
SHELF = """
看{numref}`fig-shelf`。

```mermaid
flowchart LR
    accTitle: 一件新品怎样上架
    accDescr: 照片先由模型分类，没有把握的由店员看过再上架。
    %% name: fig-shelf
    photo[商品照片] --> model[颜色 color: 蓝] -->|有把握| shelf[自动上架]
    style shelf stroke:#D55E00
```

```mermaid
flowchart LR
    accDescr: 甲到乙，没有标题
    a[甲] --> b[乙]
```
"""
# what is wrong, and on which line of its fence
BROKEN = [
    ("Unterminated node label", 2, "flowchart LR\n    accDescr: 词\n    a[甲 --> b"),
    ("No Mermaid diagram type detected", 0, "flowchat LR\n    a --> b"),
    ("`accDescr: …` must say in words", 0, "flowchart LR\n    accTitle: 题\n    a --> b"),
    ("only flowchart and sequenceDiagram", 0, 'pie\n    "甲": 3'),
    (
        "a coloured `rect` has no place",
        0,
        "sequenceDiagram\n    accDescr: 词\n    rect rgb(255,0,0)\n    a->>b: 问\n    end",
    ),
    ("#ff0000 is no colour", 0, "flowchart LR\n    accDescr: 词\n    a --> b\n    style a fill:#ff0000"),
]


def add_to_page(project, text):
    """Append to the page, and return the number of the last line that was there before."""
    file = project / PAGE
    before = file.read_text(encoding="utf8")
    file.write_text(before + text, encoding="utf8")
    return before.count("\n")


def add_cell(project, diagram, **metadata):
    """Append a cell with a diagram as its output, and return the cell's number."""
    file = project / NOTEBOOK
    notebook = json.loads(file.read_text(encoding="utf8"))
    data = {"text/vnd.mermaid": diagram, "text/plain": "the source"}
    output = {"output_type": "display_data", "metadata": {}, "data": data}
    cell = {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "source": ["chart"],
        "outputs": [output],
    }
    notebook["cells"].append(cell | {"id": f"diagram-{len(notebook['cells'])}"})
    file.write_text(json.dumps(notebook), encoding="utf8")
    return len(notebook["cells"])


def figures(file: Path):
    return re.findall(r"<figure.*?</figure>", file.read_text(encoding="utf8"), re.DOTALL)


def test_diagrams_are_figures_in_both_modes(built_copy):
    add_to_page(built_copy, SHELF)
    diagram = "flowchart LR\n    accTitle: 笔记本里的图\n    accDescr: 丙到丁\n    c[丙] --> d[丁]\n"
    add_cell(built_copy, diagram)
    add_cell(built_copy, diagram, mystnb={"figure": {"name": "fig-cell", "caption": "元数据里的标题"}})
    result = build(built_copy)
    assert result.returncode == 0, plain(result)

    html = built_copy / "_build/html"
    page = html / PAGE.replace(".md", ".html")
    shelf, untitled = figures(page)
    assert re.search(r'id="fig-shelf".*图 \d+ .*一件新品怎样上架', shelf, re.DOTALL)
    assert re.search(r'href="#fig-shelf"><span class="std std-numref">图 \d+<', page.read_text(encoding="utf8"))
    assert "figcaption" not in untitled
    assert shelf.count('alt="照片先由模型分类，没有把握的由店员看过再上架。"') == 2
    files = re.findall(r'src="([^"]+\.svg)"', shelf)
    light, dark = ((page.parent / file).read_text(encoding="utf8") for file in files)
    assert "自动上架" in light
    assert "#1f2329" in light
    assert "#dce1e7" in dark
    assert not re.search("#1f2329|#d55e00", dark)
    assert not re.search("<script|<foreignObject|https?://(?!www.w3.org)", light)

    titled, bare = figures(html / NOTEBOOK.replace(".ipynb", ".html"))[-2:]
    assert re.search(r'alt="丙到丁".*图 5b-\d+ .*笔记本里的图', titled, re.DOTALL)
    assert re.search(r'id="fig-cell".*alt="丙到丁".*图 5b-\d+ .*元数据里的标题', bare, re.DOTALL)
    assert "笔记本里的图" not in bare


def test_broken_diagrams_fail_the_build_and_are_named(built_copy):
    expected = []
    for reason, line, diagram in BROKEN:
        last = add_to_page(built_copy, f"\n```mermaid\n{diagram}\n```\n")
        expected.append(f"{PAGE}:{last + 3 + line}: WARNING: this diagram cannot be drawn: .*{reason}")
    cell = add_cell(built_copy, "flowchart LR\n    a[甲 --> b")
    expected.append(rf"{NOTEBOOK}:? WARNING: cell {cell}: this diagram cannot be drawn: .*Unterminated node label")
    result = build(built_copy)
    assert result.returncode != 0
    for message in expected:
        assert re.search(message, plain(result)), (message, plain(result))
