import __future__

import ast
import filecmp
import functools
import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from playwright.sync_api import sync_playwright

from tools.browser import find_browser, launch

ROOT = Path(__file__).parent.parent


def statements_of(notebook):
    """Return the syntax trees of a notebook's statements, in order."""
    cells = nbformat.read(ROOT / f"notebooks/{notebook}.ipynb", as_version=4).cells
    return ast.parse("\n".join(cell.source for cell in cells if cell.cell_type == "code")).body


def defined_in(notebook, *names):
    """Return what these names are in a notebook, from their definitions and the imports that these use."""
    body = statements_of(notebook)
    wanted = [node for node in body if getattr(node, "name", None) in names]
    used = {node.id for definition in wanted for node in ast.walk(definition) if isinstance(node, ast.Name)}
    imports = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = [node for node in imports if used & {(alias.asname or alias.name).split(".")[0] for alias in node.names}]
    annotations_are_read_later = __future__.annotations.compiler_flag
    found = {}
    exec(compile(ast.Module([*imports, *wanted], []), notebook, "exec", annotations_are_read_later), found)
    return tuple(found[name] for name in names)


@pytest.fixture
def copy_of_project(tmp_path):
    """A copy of the files that git tracks or would track, in a folder with a space and Chinese in its path."""
    return copy_project(tmp_path / "课程 copy")


def copy_project(target):
    command = ["git", "-c", "core.quotePath=false", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf8", check=True)
    for name in listed.stdout.splitlines():
        here, there = ROOT / name, target / name
        if here.is_file() and not (there.is_file() and filecmp.cmp(here, there, shallow=False)):
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(here, there)
    return target


def build(project):
    command = [Path(sys.executable).parent / "jupyter-book", "build", ".", "-n", "-W", "--keep-going"]
    return subprocess.run(command, cwd=project, capture_output=True, encoding="utf8")


def plain(result):
    return re.sub(r"\x1b\[[0-9;]*m", "", result.stdout + result.stderr)


def built_project(folder):
    """A copy of the project with its book built, in a folder with a space and Chinese in its path."""
    project = copy_project(folder / "课程 copy")
    result = build(project)
    assert result.returncode == 0, plain(result)
    return project


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A built copy of the project, for tests that only look."""
    return built_project(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """A built copy of the project, to be broken on purpose."""
    return built_project(tmp_path_factory.mktemp("workshop"))


@pytest.fixture
def built_copy(workshop):
    """A copy whose book is built, so that a change costs only the pages it touches; mended after the test."""
    yield workshop
    copy_project(workshop)


@pytest.fixture(scope="session")
def browser():
    """A real browser. Without one the tests are skipped with a sentence; in CI they never are."""
    if find_browser() is None and not os.environ.get("COURSE_BROWSER_REQUIRED"):
        pytest.skip("no Chromium here: apt-get install chromium, or install Chrome, to run the browser tests")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def html(built):
    return built / "_build/html"


@pytest.fixture(scope="session")
def pages(built):
    contents = (built / "_toc.yml").read_text(encoding="utf8")
    return ["index", *re.findall(r"file: (\S+)", contents)]


@pytest.fixture(scope="session")
def server(html):
    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Handler, directory=html)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
