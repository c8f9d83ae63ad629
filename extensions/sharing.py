"""What a link to a page shows where it is shared: the page's own address, its title, its first words."""

import html
import re

from sphinx.application import Sphinx
from sphinx.config import Config

NOT_WORDS = re.compile(r"<(svg|math)\b.*?</\1>|<[^>]+>", re.DOTALL)


def give_address(app: Sphinx, config: Config) -> None:
    """Where the book is published: GitHub's pages of its repository, unless _config.yml says otherwise."""
    repository = re.fullmatch(r"https://github\.com/([^/]+)/([^/]+)", config.html_theme_options["repository_url"])
    if repository and not config.html_baseurl:
        config.html_baseurl = "https://{}.github.io/{}/".format(*repository.groups())


def first_words(body: str, at_least: int = 30, at_most: int = 120) -> str:
    """Return the page's first paragraphs as plain text, enough of them to say what it is about."""
    words = ""
    for paragraph in re.findall(r"<p>(.*?)</p>", body, re.DOTALL):
        if len(words) >= at_least:
            break
        words += " ".join(html.unescape(NOT_WORDS.sub("", paragraph)).split())
    return words if len(words) <= at_most else words[: at_most - 1] + "…"


def describe(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: object) -> None:
    context["description"] = first_words(context.get("body", "")) or context["docstitle"]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", give_address)
    app.connect("html-page-context", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
