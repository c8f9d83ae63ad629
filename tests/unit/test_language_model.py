"""What notebook 06a defines, against counting by hand and against bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from conftest import defined_in

from course.exercises import EXERCISES
from course.models import GPT

NAMES = "NGram", "look_up", "encode", "decode", "rms_norm", "start_from_pairs", "shaped", "write"
NGram, _, encode, decode, _, start_from_pairs, shaped, write = defined_in("06a-language-model", *NAMES)
CHARACTERS = "。一人国山水"
encode.__globals__.update(  # what the notebook reads from the novel
    number_of={character: i for i, character in enumerate(CHARACTERS)}, characters=CHARACTERS, VOCABULARY=4
)


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = GPT(torch.zeros(len(CHARACTERS)), layers=1, heads=2, width=8, context=10)
    torch.nn.init.normal_(model.head.weight)
    torch.nn.init.normal_(model.blocks[0].output.weight)
    return model


def test_text_comes_back_from_its_numbers():
    assert encode("山水一人。").tolist() == [4, 5, 1, 2, 0]
    assert decode(encode("山水一人。")) == "山水一人。"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"The text is empty\. Give at least one character\."),
        ("AI", "Not in the novel, so without a number: AI"),
        ("山上有人，山", "Not in the novel, so without a number: 上有，"),
    ],
)
def test_text_without_numbers_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        encode(text)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0.0}, r"temperature 0\.0: it must be above 0\."),
        ({"temperature": -0.5}, r"temperature -0\.5: it must be above 0\."),
        ({"temperature": math.nan}, "temperature nan: it must be above 0"),
        ({"top_p": 0.0}, r"top_p 0\.0: it must be above 0 and at most 1\."),
        ({"top_p": -0.1}, r"top_p -0\.1: it must be above 0 and at most 1\."),
        ({"top_p": 1.5}, r"top_p 1\.5: it must be above 0 and at most 1\."),
        ({"top_p": math.nan}, "top_p nan: it must be above 0 and at most 1"),
    ],
    ids=str,
)
def test_nothing_to_draw_from_is_refused(model, settings, message):
    with pytest.raises(ValueError, match=message):
        shaped(torch.zeros(1, 6), **settings)
    with pytest.raises(ValueError, match=message):
        write(model, encode("山水")[None], 3, **settings)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [(0.01, [0, 1, 0, 0]), (0.45, [0, 1, 0, 0]), (0.6, [0, 1, 1, 0]), (0.9, [1, 1, 1, 0]), (1.0, [1, 1, 1, 1])],
)
def test_top_p_keeps_the_fewest_that_reach_it(top_p, kept):
    p = torch.tensor([0.15, 0.5, 0.3, 0.05])
    expected = p * torch.tensor(kept)
    torch.testing.assert_close(shaped(p.log()[None], top_p=top_p)[0], expected / expected.sum())


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_temperature_is_a_power_of_the_probabilities(temperature):
    p = torch.tensor([0.15, 0.5, 0.3, 0.05])
    torch.testing.assert_close(shaped(p.log(), temperature), p ** (1 / temperature) / (p ** (1 / temperature)).sum())


@pytest.mark.parametrize(
    ("prompt", "length", "message"),
    [
        (0, 3, r"The prompt is empty\. Give at least one character\."),
        (11, 1, r"11 characters and 1 more: at most 10 fit\. Shorten the prompt\."),
        (8, 3, r"8 characters and 3 more: at most 10 fit\. Shorten the prompt\."),
    ],
)
@pytest.mark.parametrize("cached", [True, False])
def test_prompt_that_does_not_fit_is_refused(model, prompt, length, message, cached):
    with pytest.raises(ValueError, match=message):
        write(model, torch.zeros(1, prompt, dtype=torch.long), length, cached=cached)


def test_writing_continues_the_prompt_and_is_the_same_with_a_cache(model):
    prompts = torch.stack([encode("山水一"), encode("人国。")])
    written = write(model, prompts, 7, temperature=0.9, top_p=0.95)
    assert written.shape == (2, 10)
    assert torch.equal(written[:, :3], prompts)
    assert torch.equal(written, write(model, prompts, 7, temperature=0.9, top_p=0.95, cached=False))
    assert not torch.equal(written[0, 3:], written[1, 3:])


def test_greedy_writing_takes_the_likeliest_every_time(model):
    ids = encode("山水")[None]
    written = write(model, ids, 5, top_p=1e-6)
    for _ in range(5):
        ids = torch.cat([ids, model(ids)[:, -1:].argmax(dim=-1)], dim=1)
    assert torch.equal(written, ids)


def kneser_ney_bigram(ids, before, after, vocabulary, discount):
    """By hand, from the definition: pairs counted once each for the shorter model."""
    pairs = list(pairwise(ids))
    kinds = set(pairs)
    followed = [b for _, b in kinds]
    different = len(set(followed))
    shorter = max(followed.count(after) - discount, 0) / len(kinds) + discount * different / len(kinds) / vocabulary
    total = sum(a == before for a, _ in pairs)
    if not total:
        return shorter
    own = max(pairs.count((before, after)) - discount, 0) / total
    return own + discount * sum(a == before for a, _ in kinds) / total * shorter


@pytest.mark.parametrize("discount", [0.5, 0.75])
def test_bigram_is_kneser_ney_counted_by_hand(discount):
    ids = [0, 1, 2, 0, 1, 1, 0, 2, 0, 1]  # 3 never occurs
    model = NGram(torch.tensor(ids), 2, discount)
    rows = np.array([(a, b) for a in range(4) for b in range(4)])
    expected = [kneser_ney_bigram(ids, a, b, 4, discount) for a, b in rows.tolist()]
    np.testing.assert_allclose(model.probability(rows), expected)
    np.testing.assert_allclose(model.probability(rows).reshape(4, 4).sum(axis=1), 1)


def test_unigram_is_discounted_frequency():
    p = NGram(torch.tensor([0, 0, 0, 1]), 1).probability(np.arange(4)[:, None])
    shared = 0.75 * 2 / 4 / 4
    np.testing.assert_allclose(p, [2.25 / 4 + shared, 0.25 / 4 + shared, shared, shared])


def test_network_that_starts_from_pairs_prefers_what_followed():
    ids = torch.tensor([0, 1, 2, 3, 4, 5] * 200)
    frequency = torch.full((6,), 1 / 6).log()
    model = GPT(frequency, layers=1, heads=2, width=6, context=10)
    start_from_pairs(model, ids, prior=1.0)
    with torch.no_grad():
        assert model(torch.arange(6)[None])[0].argmax(dim=-1).tolist() == [1, 2, 3, 4, 5, 0]


@pytest.mark.parametrize("case", EXERCISES["06a-nucleus-size"].cases, ids=str)
def test_nucleus_size_is_what_sampling_keeps(case):
    p, probabilities = case[0].item(), case[1:]
    kept = (shaped(probabilities.log()[None], top_p=p) > 0).sum().item()
    assert EXERCISES["06a-nucleus-size"].expected(case) == kept


@pytest.mark.parametrize("case", EXERCISES["06a-mixture"].cases, ids=str)
def test_mixture_is_a_sum_of_exponentials(case):
    share, one, two = case.double()
    parts = torch.stack([share.log() + one.log(), (1 - share).log() + two.log()])
    assert math.isclose(EXERCISES["06a-mixture"].expected(case), -parts.logsumexp(0).item())
