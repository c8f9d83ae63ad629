"""Every rule of the lint has been seen to speak, at the right line, and to keep silent."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools import lint

ADDRESS = "https://github.com/someone/something"
HEAD = (
    "# 题目\n[Colab](https://colab.research.google.com/github/someone/something/blob/main/notebooks/some.ipynb)\n"
    "数据：某。许可：MIT。"
)
SETUP = f'source = "git+{ADDRESS}"'


def write_notebook(cells, head=HEAD):
    """Write notebooks/some.ipynb with a head, a set-up cell and `cells`: (source, outputs, tags) or Markdown text."""
    content = [{"cell_type": "markdown", "metadata": {}, "source": head.splitlines(keepends=True)}]
    for count, cell in enumerate([(SETUP, [], []), *cells], start=1):
        if isinstance(cell, str):
            content.append({"cell_type": "markdown", "metadata": {}, "source": [cell]})
            continue
        source, outputs, tags = cell
        content.append(
            {
                "cell_type": "code",
                "metadata": {"tags": tags},
                "source": source.splitlines(keepends=True),
                "outputs": outputs,
                "execution_count": count,
            }
        )
    file = Path("notebooks/some.ipynb")
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({"cells": content}, indent=1, ensure_ascii=False), encoding="utf8")
    return file


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rules(problems):
    return [problem.rule for problem in problems]


PICTURE = {"output_type": "display_data", "data": {"image/png": ""}, "metadata": {}}
DESCRIBED = PICTURE | {"metadata": {"image/png": {"alt": "一条线"}}}
DRAWN = {"output_type": "display_data", "data": {"image/svg+xml": ""}, "metadata": {"image/svg+xml": {"alt": "线"}}}
OWN_LOADER = 'def movies():\n    """Raises:\n        DataError: the films cannot be had or stored.\n    """\n\n\n'
WARNED = {"output_type": "stream", "name": "stderr", "text": ["a warning"]}


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (("1", [PICTURE], []), ["alt"]),
        (("1", [DESCRIBED], []), []),
        (("1  # lint-ok alt: a blank page on purpose", [PICTURE], []), []),
        (("1", [DRAWN | {"metadata": {}}], ["nbval-ignore-output"]), ["alt"]),
        (("1", [DRAWN], ["nbval-ignore-output"]), []),  # a figure needs no assertion
        (("1", [DRAWN], []), ["figures"]),
        (("1", [DRAWN, DESCRIBED], ["nbval-ignore-output"]), ["asserts"]),
        (("chapters = three_kingdoms()", [], []), ["fetch"]),
        (("assert three_kingdoms()", [], ["nbval-ignore-output"]), []),
        (("from course.data import three_kingdoms", [], []), []),
        ((f"{OWN_LOADER}films = movies()", [], []), ["fetch"]),
        ((f"{OWN_LOADER}assert movies()", [], ["nbval-ignore-output"]), []),
        ((OWN_LOADER, [], []), []),
        ((f"{OWN_LOADER}def other():\n    pass\n\n\nother()", [], []), []),
        (("1", [WARNED], []), ["stderr"]),
        (("1  # lint-ok stderr: the warning is the lesson", [WARNED], []), []),
        (("1  # lint-ok stderr:", [WARNED], []), ["stderr"]),
        (("print(1)", [], ["nbval-ignore-output"]), ["asserts"]),
        (("print(1)\nassert True", [], ["nbval-ignore-output"]), []),
    ],
)
def test_notebook_outputs(cell, expected):
    assert rules(lint.check_notebook(write_notebook([cell]), {}, ADDRESS)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("见{doc}`别处`。", ["markdown"]),
        ("```{note}\n注意\n```", ["markdown"]),
        ("![](picture.png)", ["alt"]),
        ('<img src="a.png">', ["alt"]),
        ('<img src="a.png" alt="">', ["alt"]),
        ("<img src='a.png' alt='线'>", []),
        ("校集上的结果。", ["terms"]),
        ("`校集` 是代码。", []),
        ("结果是 $x^{2}$ 和 `{}`。", []),
    ],
)
def test_notebook_markdown(text, expected):
    assert rules(lint.check_notebook(write_notebook([text]), {"校集": "验证集"}, ADDRESS)) == expected


def test_notebook_run_out_of_order():
    file = write_notebook([("1", [], [])])
    content = json.loads(file.read_text(encoding="utf8"))
    content["cells"][-1]["execution_count"] = 7
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf8")
    assert rules(lint.check_notebook(file, {}, ADDRESS)) == ["order"]


def test_page_with_a_figure_without_words():
    page = Path("book/page.md")
    text = "# 题目\n\n```{figure} a.png\n标题\n```\n"
    (problem,) = lint.check_prose(page, text, {})
    assert (problem.rule, problem.line) == ("alt", 3)
    assert not list(lint.check_prose(page, text.replace("标题", ":alt: 一条线\n标题"), {}))


def test_set_up_cell_with_another_address():
    file = write_notebook([])
    file.write_text(file.read_text(encoding="utf8").replace(f"git+{ADDRESS}", "git+elsewhere"), encoding="utf8")
    assert rules(lint.check_notebook(file, {}, ADDRESS)) == ["colab"]


def test_whole_project_is_looked_at(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    subprocess.run(["git", "init", "--quiet"], check=True)
    assert lint.check_all() == []
    page = f"# 题目\n\n校验集上涨了5%，在{Path('/', 'home', 'me')}。\n"
    Path("book/05-project.md").write_text(page, encoding="utf8")
    assert sorted(rules(lint.check_all())) == ["numbers", "paths", "terms"]
    result = subprocess.run([sys.executable, "-m", "tools.lint"], capture_output=True, encoding="utf8")
    assert result.returncode == 1
    assert "book/05-project.md:3: numbers: " in result.stdout


def test_notebook_without_licence_or_address():
    assert rules(lint.check_notebook(write_notebook([], head="# 题目"), {}, ADDRESS)) == ["licence", "colab"]
    assert rules(lint.check_notebook(write_notebook([]), {}, ADDRESS + "-moved")) == ["colab"]


def test_problem_names_file_and_line():
    file = write_notebook([("1", [], []), "校集"])
    (problem,) = lint.check_notebook(file, {"校集": "验证集"}, ADDRESS)
    line = file.read_text(encoding="utf8").splitlines()[problem.line - 1]
    assert "校集" in line
    assert str(problem).startswith(f"notebooks/some.ipynb:{problem.line}: terms: ")


@pytest.mark.parametrize(
    ("paragraph", "numbers"),
    [
        ("准确率是92.4%。", ["92.4"]),
        ("准确率是92%。", ["92%"]),
        ("训练了35秒，涨了4个百分点，贵了22倍。", ["35秒", "4个百分点", "22倍"]),
        ("一年要¥3，或30,000元。", ["¥3", "30,000元"]),
        ("准确率是92.4%{cite}`someone2020`。", []),
        ("准确率是{glue:text}`n.ipynb::a:.1%`，上下0.5%。", []),
        ("假设一件赔3元。", []),
        ("2017年，28×28像素，60,000张，十类，$a = 0.5$，`0.5`。", []),
        ("<!-- lint-ok numbers: worked by hand from the line above -->\n所以是2.5元。", []),
        ("<!-- lint-ok numbers: worked by hand from the line above -->\n\n所以是2.5元。", []),
        ("```python\nx = 2.5\n```", []),
        ("```\nx = 2.5\n```\n\n又快了3倍。", ["3倍"]),
        ("~~~\nx = 2.5\n~~~", []),
        ("```{math}\nx = 2.5\n```", []),
        ("小店{shop}`a`，平均3元。", []),
        ("五次里{seeds}`n::a:.1%`，上下0.5%。", []),
        ("用了12TB，35W，3 ms。", ["12TB", "35W", "3 ms"]),
        ("售价$3，成本$5。", ["$3", "$5"]),
        ("这个假设不对，准确率92%。", ["92%"]),
        ("<!-- lint-ok numbers: -->\n所以是2.5元。", ["2.5"]),
        ("```{note}\n快了3倍。\n```", ["3倍"]),
    ],
)
def test_numbers_typed_by_hand(paragraph, numbers):
    page = Path("book/page.md")
    problems = list(lint.check_prose(page, f"# 题目\n\n{paragraph}\n", {}))
    assert [problem.detail for problem in problems] == numbers
    assert all(problem.rule == "numbers" and problem.line >= 3 for problem in problems)


def test_numbers_are_looked_at_in_the_book_only():
    assert not list(lint.check_prose(Path("README.md"), "安装要2分钟。", {}))


@pytest.mark.parametrize("path", ["/home/me/data", "/root/x", "/Users/me", "C:\\Users\\me"])  # lint-ok paths: the test
def test_path_of_one_machine(path):
    assert lint.MACHINE_PATH.search(f"data in {path} here")
    assert not lint.MACHINE_PATH.search("see https://example.org/users/me and a/b")


RIGHT = ":::{dropdown} 甲　二\n:class-container: quiz\n对。一加一。\n:::\n"
WRONG = ":::{dropdown} 乙　三\n:class-container: quiz\n不对。多了一。\n\n还有一段。\n:::\n"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        (RIGHT + WRONG, []),
        (WRONG + RIGHT + "\n**二**　再问？\n\n" + RIGHT + WRONG, []),
        (WRONG + WRONG, [3]),  # none is right
        (RIGHT + RIGHT, [3]),
        (RIGHT, [3]),  # no choice
        (RIGHT + WRONG.replace(":class-container: quiz\n", ""), [3]),  # it would not look like an option
        ("<!-- lint-ok quiz: two are right on purpose -->\n" + RIGHT + RIGHT, []),
        (":::{dropdown} 一张表\n表\n:::\n", []),  # no option
        (RIGHT + WRONG.replace("不对。多了一。", "多了一。"), [3]),
        (RIGHT + WRONG.replace("多了一。\n\n还有一段。", ""), [3]),  # no reason
        (RIGHT + WRONG + "\n**二**　再问？\n\n" + WRONG, [16]),
    ],
)
def test_quiz(options, lines):
    problems = list(lint.check_quiz(Path("book/page.md"), f"**一**　问？\n\n{options}"))
    assert [problem.line for problem in problems] == lines
    assert set(rules(problems)) <= {"quiz"}


def test_quiz_at_the_top_of_a_page():
    assert not list(lint.check_quiz(Path("book/page.md"), RIGHT + WRONG))


def test_quizzes_of_all_pages_are_read(copy_of_project, monkeypatch):
    monkeypatch.chdir(copy_of_project)
    subprocess.run(["git", "init", "--quiet"], check=True)
    page = Path("book/05-project.md")
    page.write_text(f"# 题目\n\n**一**　问？\n\n{WRONG}{WRONG}", encoding="utf8")
    assert "quiz" in rules(lint.check_all())
