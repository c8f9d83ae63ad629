"""Citations as Chinese books print them: （Xiao等，2017）, and names in the bibliography joined by 、."""

import functools
from dataclasses import dataclass, field

import pybtex.plugin
from docutils import nodes
from pybtex.plugin import register_plugin as register_pybtex_plugin
from pybtex.style.formatting.unsrt import Style
from pybtex.style.template import names, sentence
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.writers.html5 import HTML5Translator
from sphinxcontrib.bibtex.plugin import register_plugin
from sphinxcontrib.bibtex.style.referencing import BracketStyle, PersonStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle


def brackets() -> BracketStyle:
    return BracketStyle(left="（", right="）", sep="；")


@dataclass
class ChineseReferences(AuthorYearReferenceStyle):
    bracket_parenthetical: BracketStyle = field(default_factory=brackets)
    bracket_textual: BracketStyle = field(default_factory=brackets)
    person: PersonStyle = field(default_factory=lambda: PersonStyle(sep="、", sep2="、", last_sep="、", other="等"))
    author_year_sep: str = "，"
    text_reference_sep: str = ""


class ChineseBibliography(Style):
    default_sorting_style = "author_year_title"

    def format_names(self, role, as_sentence=True):
        listed = names(role, sep="、", sep2="、", last_sep="、")
        return sentence[listed] if as_sentence else listed


def shorten_lists(app: Sphinx, env: BuildEnvironment, docnames: list[str]) -> None:
    """Turn BibTeX's "and others" into 等 after the last author who is named."""
    for entry in env.get_domain("cite").bibdata.data.entries.values():
        for people in entry.persons.values():
            if str(people[-1]) == "others":
                people.pop()
                people[-1].last_names[-1] += "等"


def visit_entry(self, node: nodes.citation) -> None:
    self.body.append(self.starttag(node, "div", CLASS="citation"))


def depart_entry(self, node: nodes.citation) -> None:
    self.body.append("</div>\n")


def visit_label(self, node: nodes.label) -> None:
    if isinstance(node.parent, nodes.citation):
        raise nodes.SkipNode  # the text cites by author and year: a number says nothing
    HTML5Translator.visit_label(self, node)


def setup(app: Sphinx) -> dict:
    register_plugin("sphinxcontrib.bibtex.style.referencing", "chinese", ChineseReferences)
    register_pybtex_plugin("pybtex.style.formatting", "chinese", ChineseBibliography)
    # at every citation it would look through all installed packages for the same plugin
    pybtex.plugin._load_entry_point = functools.cache(pybtex.plugin._load_entry_point)
    app.connect("env-before-read-docs", shorten_lists)
    app.add_node(nodes.citation, override=True, html=(visit_entry, depart_entry))
    app.add_node(nodes.label, override=True, html=(visit_label, HTML5Translator.depart_label))
    return {"parallel_read_safe": True}
