"""Print the whole book as one PDF with outline, tags and page numbers: python -m tools.pdf"""

import logging
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pypdf
from playwright.sync_api import sync_playwright

from tools.browser import find_browser, launch

logging.getLogger("pypdf").setLevel(logging.ERROR)  # Chromium counts its objects wrongly; the file written is right
PRINT = Path("_build/print")
PDF = Path("_build/gradient-to-margin.pdf")
FOOTER = '<div style="font-size: 8pt; text-align: center; width: 100%"><span class="pageNumber"></span></div>'
OPEN_AND_LOAD = """async () => {
    document.querySelectorAll("details").forEach((details) => { details.open = true; });
    document.querySelectorAll("a.light-page").forEach((link) => { link.removeAttribute("href"); });
    await Promise.all(Array.from(document.querySelectorAll(".light-page img"), (image) => {
        image.loading = "eager";
        return image.decode();
    }));
}"""

# Simplified characters that share their glyph with a radical of their own; of the other radicals Unicode itself knows.
SIMPLIFIED = (
    "⺟母⺠民⻁虎⻄西⻅见⻆角⻉贝⻋车⻓长⻔门⻘青⻙韦⻚页⻛风⻜飞⻝食⻢马⻣骨⻤鬼⻥鱼⻦鸟⻨麦⻩黄⻬齐⻮齿⻰龙⻳龟"
)
CHARACTER_OF = dict(zip(SIMPLIFIED[::2], SIMPLIFIED[1::2], strict=True))


def name_apart(html: str) -> str:
    """Give every chapter its own numbered anchors: on pages of their own each begins with id1."""
    first, *chapters = re.split(r'(?=<span id="document-)', html)
    parts = [first]
    for number, chapter in enumerate(chapters, start=1):
        parts.append(re.sub(r'(id="|href="#)(id\d+")', rf"\1chapter{number}-\2", chapter))
    return "".join(parts)


def unify(code: int) -> str:
    """Return the character that a radical stands for, in the hexadecimal digits of a PDF."""
    character = CHARACTER_OF.get(chr(code)) or unicodedata.normalize("NFKC", chr(code))
    return f"<{ord(character):04X}>"


def unify_map(table: str) -> str:
    """Exchange the radicals in a font's table from glyphs to characters, ranges written out one by one."""

    def one(line: re.Match) -> str:
        return f"{line[1]} {unify(int(line[2], 16))}"

    def many(line: re.Match) -> str:
        first, last, code = (int(digits, 16) for digits in line.groups())
        return f"<{line[1]}> <{line[2]}> [{' '.join(unify(code + i) for i in range(last - first + 1))}]"

    table = re.sub(r"^(<\w+>) <(2[EF]\w\w)>$", one, table, flags=re.MULTILINE)
    return re.sub(r"^<(\w+)> <(\w+)> <(2[EF]\w\w)>$", many, table, flags=re.MULTILINE)


def make_searchable(pdf: Path) -> None:
    """Let 毛利 be found: the browser writes a character as the radical ⽑ where a font draws both with one glyph."""
    writer = pypdf.PdfWriter(clone_from=pdf)
    for page in writer.pages:
        for font in page["/Resources"].get("/Font", {}).values():
            if "/ToUnicode" in font.get_object():
                stream = font.get_object()["/ToUnicode"].get_object()
                stream.set_data(unify_map(stream.get_data().decode("ascii")).encode("ascii"))
    writer.write(pdf)


def print_book() -> Path:
    """Build the book as one page, print it, and return the PDF.

    Raises:
        SystemExit: no browser is installed, or the book does not build.
    """
    if not find_browser():
        sys.exit("make pdf needs a browser: install Chromium (apt-get install chromium) or Chrome.")
    book = [
        Path(sys.executable).parent / "jupyter-book",
        "build",
        ".",
        "--path-output",
        PRINT,
        "--builder",
        "singlehtml",
    ]
    if subprocess.run([*book, "--quiet", "-n", "-W", "--keep-going"]).returncode:
        sys.exit("The book does not build; see above.")
    page_file = PRINT / "_build" / "singlehtml" / "index.html"
    page_file.write_text(name_apart(page_file.read_text(encoding="utf8")), encoding="utf8")
    with sync_playwright() as playwright:
        page = launch(playwright).new_page(color_scheme="light")
        page.goto(page_file.resolve().as_uri())
        page.evaluate(OPEN_AND_LOAD)
        margin = {"top": "18mm", "bottom": "18mm", "left": "20mm", "right": "20mm"}
        page.pdf(
            path=PDF,
            format="A4",
            margin=margin,
            outline=True,
            tagged=True,
            display_header_footer=True,
            header_template="<span></span>",
            footer_template=FOOTER,
            print_background=True,
        )
    make_searchable(PDF)
    return PDF


if __name__ == "__main__":
    print(f"The book on paper: {print_book()}")
