"""Write the repository's address into _config.yml and every notebook: python -m tools.repository https://github.com/…"""

import re
import sys
from pathlib import Path

ADDRESS = re.compile(r"https://github\.com/[\w-]+/[\w.-]*[\w-](?<!\.git)")


def current_address() -> str:
    """Return the address that _config.yml holds."""
    line = re.search(r"^\s+url: (\S+)$", Path("_config.yml").read_text(encoding="utf8"), re.M)
    if line is None:
        sys.exit("_config.yml holds no repository url")
    return line[1]


def colab_address(address: str) -> str:
    """Return where Colab shows the files of the repository."""
    return address.replace("https://github.com/", "https://colab.research.google.com/github/")


def write_address(new: str) -> list[Path]:
    """Replace the present address by `new` wherever it stands and return the files that changed.

    Raises:
        ValueError: `new` is no address of a repository on GitHub, which is where Colab looks.
    """
    if not ADDRESS.fullmatch(new):
        raise ValueError(f"{new!r} is not of the form https://github.com/ACCOUNT/REPOSITORY.")
    old = current_address()
    # _config.yml, which knows the old address, comes last: an interrupted change can be made again
    files = [*Path("notebooks").glob("*.ipynb"), *Path().glob("README*.md"), Path("CITATION.cff"), Path("_config.yml")]
    changed = []
    for file in files:
        text = file.read_text(encoding="utf8")
        fresh = text.replace(old, new).replace(colab_address(old), colab_address(new))
        if fresh != text:
            file.write_text(fresh, encoding="utf8", newline="\n")
            changed.append(file)
    return changed


if __name__ == "__main__":
    try:
        print("Changed:", *write_address(sys.argv[1] if len(sys.argv) > 1 else ""))
    except ValueError as error:
        sys.exit(f"{error} Usage: make repository URL=https://github.com/ACCOUNT/REPOSITORY")
