"""Pack the built book for a classroom without a network: python -m tools.archive"""

import sys
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

HTML = Path("_build/html")
ARCHIVE = Path("_build/gradient-to-margin.zip")


def is_needed(file: Path) -> bool:
    """Say whether a page asks for the file; the theme also brings maps of its code, and 2,000 icons."""
    return (
        file.is_file()
        and file.suffix != ".map"
        and file.name not in ("bootstrap.js", "fontawesome.js")
        and "vendor" not in file.parts
    )


def pack() -> Path:
    """Write every file that the pages need into one archive, in one folder, and return the archive."""
    if not (HTML / "index.html").exists():
        sys.exit("No book is built yet: make book")
    with ZipFile(ARCHIVE, "w", ZIP_DEFLATED) as archive:
        for file in sorted(filter(is_needed, HTML.rglob("*"))):
            archive.write(file, Path(ARCHIVE.stem) / file.relative_to(HTML))
    return ARCHIVE


if __name__ == "__main__":
    print(f"Unpack and open index.html: {pack()}")
