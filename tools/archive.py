"""Pack the built book for a classroom without a network: python -m tools.archive"""

import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

HTML = Path("_build/html")
ARCHIVE = Path("_build/gradient-to-margin.zip")


def pack() -> Path:
    """Write the pages, and every file that a page names, into one archive, in one folder; return the archive."""
    pages = [page for page in HTML.rglob("*.html") if "_static" not in page.parts]  # there lie the theme's templates
    if not pages:
        sys.exit("No book is built yet: make book")
    text = "".join(page.read_text(encoding="utf8") for page in pages)
    with ZipFile(ARCHIVE, "w", ZIP_DEFLATED) as archive:
        for file in sorted(HTML.rglob("*")):
            if file in pages or (file.is_file() and file.name in text):
                archive.write(file, Path(ARCHIVE.stem) / file.relative_to(HTML))
    return ARCHIVE


if __name__ == "__main__":
    print(f"Unpack and open index.html: {pack()}")
