"""Full-text search that finds any Chinese word: pairs of characters are indexed, and a query is cut in the same way.

Sphinx's own Chinese search asks a dictionary where a word ends, and the browser's side asks none, so most words are
never found. Pairs need no dictionary: 反向传播 is found where 反向, 向传 and 传播 are.
"""

import re
from itertools import pairwise
from typing import ClassVar

from sphinx.application import Sphinx
from sphinx.search import SearchLanguage, languages

RUNS = re.compile(r"[\u4e00-\u9fff]+|[A-Za-z0-9_]+")

# `var`, not `const`: searchtools.js looks for the name on the window
SPLIT_QUERY = r"""
var splitQuery = function (query) {
  return (query.match(/[\u4e00-\u9fff]+|[A-Za-z0-9_]+/g) || []).flatMap(function (run) {
    if (run.length < 2 || !/[\u4e00-\u9fff]/.test(run)) return [run];
    return Array.from(run).slice(1).map(function (character, i) { return run[i] + character; });
  });
};
"""


class ChineseSearch(SearchLanguage):
    lang = "zh"
    language_name = "Chinese"
    js_stemmer_code = "var Stemmer = function () { this.stemWord = function (word) { return word; }; };"
    js_splitter_code = SPLIT_QUERY
    stopwords: ClassVar[set[str]] = set()

    def split(self, input: str) -> list[str]:
        words = []
        for run in RUNS.findall(input):
            if "\u4e00" <= run[0] <= "\u9fff":
                words += [*run, *(a + b for a, b in pairwise(run))]
            else:
                words.append(run)
        return words

    def stem(self, word: str) -> str:
        return word.lower()

    def word_filter(self, word: str) -> bool:
        return True


def setup(app: Sphinx) -> dict:
    languages["zh"] = ChineseSearch
    return {"parallel_read_safe": True}
