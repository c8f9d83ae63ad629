"""What can be checked by reading the files alone, in one place: python -m tools.lint

One line a problem: file, line, rule, what is wrong. A paragraph, cell or line is exempt from a rule where a comment in
it, or just above it, says so with a reason: `lint-ok RULE: reason`.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.repository import colab_address, current_address

RULES = {
    "alt": "a picture needs words for readers who cannot see it",
    "paths": "a path of one machine means nothing on another",
    "stderr": "a stored output holds stderr, a warning every reader would see",
    "order": "the notebook was not run from top to bottom in one go",
    "licence": "the first cell must say where the data come from (数据) and under which licence (许可)",
    "colab": "the Colab link and the set-up cell must carry the address that _config.yml holds",
    "markdown": "Colab draws neither roles nor directives",
    "figures": "an SVG differs from one Matplotlib to the next: tag its cell nbval-ignore-output",
    "fetch": "on a new machine a loader says what it fetches: tag its cell nbval-ignore-output",
    "asserts": "more cells are exempt from comparison than there are assertions",
    "numbers": "a number in prose comes from a run (glue), a source (cite), the shop, or is marked as an assumption",
    "terms": "the glossary knows another word for it",
    "quiz": "a question has one right option, and every option says why: it begins with 对。 or 不对。",
}
MEASURED = re.compile(
    r"\d+\.\d+|\d[\d,]*\s*[%％‰]|[¥￥$€]\s*\d|\d[\d,]*\s*(?:秒|毫秒|分钟|小时|天|倍|个?百分点|个点|点|元|美元|万|亿|[GMT]B|FLOP|焦|瓦|W\b|ms\b|s\b)"
)
SOURCED = re.compile(r"\{glue|\{cite|\{shop\}|\{seeds\}|假设(?!不|落|对|错)")
MACHINE_PATH = re.compile(r"/(?:home|root|Users|tmp|work)/|[A-Z]:\\\\?Users")  # lint-ok paths: the pattern itself
ROLE_OR_DIRECTIVE = re.compile(r"\{[\w:+-]+\}`|^\s*(?:```+|:::+)\s*\{")
OPTION = re.compile(r"^:::+\{dropdown\} [甲乙丙丁戊]　.*\n(:class-container: quiz\n)?((?:.*\n)*?):::+$", re.M)
REASON = re.compile(r"(对|不对)。.*\S")
LOADER = re.compile(r"^def (\w+)\((?:(?!^def ).)*?cannot be had or stored", re.M | re.S)  # so its docstring says
LOADERS = LOADER.findall((Path(__file__).parents[1] / "course/data.py").read_text(encoding="utf8"))
EXEMPT = re.compile(r"lint-ok (\w+):[ \t]*(\w?)")


@dataclass(frozen=True)
class Problem:
    file: Path
    line: int
    rule: str
    detail: str = ""

    def __str__(self) -> str:
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.file.as_posix()}:{self.line}: {self.rule}: {RULES[self.rule]}{detail}"


def is_exempt(rule: str, text: str) -> bool:
    """Say whether `text` holds an exemption from `rule` with a reason."""
    return any(name == rule and reason for name, reason in EXEMPT.findall(text))


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of each paragraph of Markdown, code left out, a comment joined to what follows it."""
    start, lines = 1, []
    fences: list[bool] = []  # for each fence that is open: does it hold code? a directive's content is prose
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        fence = re.match(r"\s*(`{3,}|~{3,}|:{3,})\s*(\S*)", line)
        if fence:
            marker, opened = fence.groups()
            if opened:
                fences.append(not opened.startswith("{") or opened.startswith(("{code", "{math", "{mermaid")))
            elif fences:
                fences.pop()
            elif marker[0] != ":":
                fences.append(True)
        elif any(fences):
            continue
        elif line.strip():
            start = start if lines else number
            lines.append(line)
        elif lines and not lines[-1].rstrip().endswith("-->"):
            yield start, "\n".join(lines)
            lines = []


def check_quiz(file: Path, text: str) -> Iterator[Problem]:
    """Check each question of a page's quiz: what stands between two runs of options."""
    end, questions = 0, []
    for option in OPTION.finditer(text):
        if not questions or text[end : option.start()].strip():
            questions.append((text[: option.start()].count("\n") + 1, text[end : option.start()], []))
        questions[-1][2].append(option[1] and REASON.match(option[2].strip()))
        end = option.end()
    for line, question, reasons in questions:
        if is_exempt("quiz", question):
            continue
        if not all(reasons) or [reason[1] for reason in reasons].count("对") != 1 or len(reasons) < 2:
            yield Problem(file, line, "quiz")


def check_prose(file: Path, text: str, avoid: dict[str, str], first_line: int = 1) -> Iterator[Problem]:
    """Check Markdown: a page, or one cell of a notebook."""
    for picture in re.finditer(r"^```+\{(?:figure|image)\}.*?^```", text, re.M | re.S):
        if ":alt:" not in picture[0]:
            yield Problem(file, first_line + text[: picture.start()].count("\n"), "alt")
    for offset, paragraph in paragraphs(text):
        line = first_line + offset - 1
        without_code = re.sub(r"`[^`]*`|\$[^$\u4e00-\u9fff]+\$|https?://\S+", "", paragraph)
        if re.search(r"!\[\s*\]\(|<img(?![^>]*\balt=[\"'][^\"'])", paragraph) and not is_exempt("alt", paragraph):
            yield Problem(file, line, "alt")
        for word, better in avoid.items():
            if word in without_code and not is_exempt("terms", paragraph):
                yield Problem(file, line, "terms", f"{word} → {better}")
        if file.parent.name == "book" and not SOURCED.search(paragraph) and not is_exempt("numbers", paragraph):
            for number in MEASURED.findall(without_code):
                yield Problem(file, line, "numbers", number.strip())


def check_notebook(file: Path, avoid: dict[str, str], address: str) -> Iterator[Problem]:
    """Check a notebook: its Markdown, its stored outputs, its ties to the repository."""
    raw = file.read_text(encoding="utf8")
    raw_lines = raw.splitlines()
    cells = json.loads(raw)["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    loads = re.compile(rf"(?<!def )\b(?:{'|'.join([*LOADERS, *LOADER.findall(code)])})\(")
    position, compared_not, assertions, counts = 0, 0, 0, []
    for cell in cells:
        source = "".join(cell["source"])
        # the line in the file where the cell's source begins, so that an editor can jump to it
        first = json.dumps(cell["source"][0], ensure_ascii=False) if cell["source"] else ""
        position = next((i for i in range(position + 1, len(raw_lines)) if first in raw_lines[i]), position)
        line = position + 1
        if cell["cell_type"] == "markdown":
            yield from check_prose(file, source, avoid, line)
            if any(ROLE_OR_DIRECTIVE.search(text) for text in source.splitlines()):
                yield Problem(file, line, "markdown")
            continue
        if cell["cell_type"] == "code" and source.strip():
            counts.append(cell["execution_count"])
            is_exempted = bool({"nbval-ignore-output", "nbval-skip"} & set(cell["metadata"].get("tags", [])))
            figures = [output for output in cell["outputs"] if "image/svg+xml" in output.get("data", {})]
            if figures and not is_exempted:
                yield Problem(file, line, "figures")
            if loads.search(source) and not is_exempted:
                yield Problem(file, line, "fetch")
            shows_only_figures = figures and figures == cell["outputs"]
            compared_not += is_exempted and not shows_only_figures
            assertions += len(re.findall(r"^\s*assert |assert_close|assert_allclose", source, re.M))
            for output in cell["outputs"]:
                if output.get("name") == "stderr" and not is_exempt("stderr", source):
                    yield Problem(file, line, "stderr", "".join(output["text"]).strip()[:80])
                pictures = [mime for mime in output.get("data", {}) if mime.startswith("image/")]
                words = [output.get("metadata", {}).get(mime, {}).get("alt") for mime in pictures]
                if not all(words) and not is_exempt("alt", source):
                    yield Problem(file, line, "alt", "use course.figures.show(figure, alt)")
    if counts != list(range(1, len(counts) + 1)):
        yield Problem(file, 1, "order")
    if compared_not > assertions:
        yield Problem(file, 1, "asserts", f"{compared_not} cells against {assertions} assertions")
    head = "".join(cells[0]["source"]) if cells else ""
    if "数据" not in head or "许可" not in head:
        yield Problem(file, 1, "licence")
    link = f"{colab_address(address)}/blob/main/{file.as_posix()}"
    if link not in head or f'"git+{address}"' not in raw.replace('\\"', '"'):
        yield Problem(file, 1, "colab")


def check_all() -> list[Problem]:
    """Check every file that git tracks or would track."""
    listed = subprocess.run(
        ["git", "-c", "core.quotePath=false", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        encoding="utf8",
        check=True,
    )
    glossary = tomllib.loads(Path("book/data/glossary.toml").read_text(encoding="utf8"))
    avoid = {word: term["zh"] for term in glossary["term"] for word in term["avoid"]}
    address = current_address()
    problems = []
    for file in (Path(name) for name in listed.stdout.splitlines()):
        if not file.exists() or file.suffix not in {".md", ".ipynb", ".py", ".toml", ".yml", ".json", ".cff"}:
            continue
        text = file.read_text(encoding="utf8")
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE_PATH.search(line) and not is_exempt("paths", line):
                problems.append(Problem(file, number, "paths", MACHINE_PATH.search(line)[0]))
        if file.suffix == ".md":
            problems += [*check_prose(file, text, avoid), *check_quiz(file, text)]
        elif file.suffix == ".ipynb":
            problems += check_notebook(file, avoid, address)
    return problems


if __name__ == "__main__":
    found = check_all()
    print(*found, sep="\n", end="\n" if found else "")
    print(f"lint: {len(found)} problem{'s' * (len(found) != 1)}")
    sys.exit(bool(found))
