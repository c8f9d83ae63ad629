"""What notebook 06c defines, against brute force, scikit-learn, exact enumeration and bad input."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import defined_in
from scipy import integrate, stats
from sklearn.metrics import ndcg_score
from sklearn.metrics.pairwise import cosine_similarity

from course import data
from course.exercises import EXERCISES

NAMES = (
    "movielens",
    "checked",
    "bag",
    "ranks",
    "hit_rate",
    "ndcg",
    "interval",
    "popularity",
    "count_steps",
    "what_follows",
    "padded",
    "transformer",
    "fold_in",
    "item_knn",
    "ease",
    "half_step",
    "matrix_factorisation",
    "TwoTower",
    "two_tower",
    "sampled_hit_rate",
    "recommend",
    "gini",
    "history_of",
    "number_of",
    "visitors_per_arm",
    "experiments",
    "alarms",
    "break_even_lift",
    "visible_lift",
)
book = dict(zip(NAMES, defined_in("06c-recommender", *NAMES), strict=True))
FILMS = 12
SHA256 = {"recbole/dataset_example/ml-100k/ml-100k.inter": "0" * 64}
ITEM_KNN, EASE, MATRIX = book["item_knn"], book["ease"], book["matrix_factorisation"]
BUILDERS = [
    (book["popularity"], ()),
    (book["what_follows"], ()),
    (ITEM_KNN, (3, 1)),
    (EASE, (2.0,)),
    (MATRIX, (3, 2)),
    (book["two_tower"], (4, 0.0)),
    (book["transformer"], (8, False, 1)),
]
NAMES_OF_BUILDERS = [build.__name__ for build, _ in BUILDERS]


@pytest.fixture(autouse=True)
def notebook(monkeypatch):
    """What the notebook sets up before, small and seeded."""
    torch.manual_seed(0)
    there = {
        "FILMS": FILMS,
        "CONTEXT": 6,
        "NEGATIVES": 5,
        "FOLDER": "recbole/dataset_example/ml-100k/ml-100k",
        "SHA256": SHA256,
        "device": torch.device("cpu"),
        "rng": np.random.default_rng(0),
        "genres": torch.eye(FILMS)[:, :3],
        "films": pd.DataFrame({"title": ["Alien", "Brazil"]}),
        "seen_in_order": [np.array([1, 2]), np.array([3])],
        "RUNS": 4_000,
        "BASE": 0.1,
        "VISITORS_PER_DAY": 1_000,
        "YUAN_PER_ORDER": 100,
        "MARGIN": 0.2,
        "YUAN_PER_YEAR": 73_000,
    }
    for name, value in there.items():
        monkeypatch.setitem(book["bag"].__globals__, name, value)
    for name, value in book.items():
        monkeypatch.setitem(book["bag"].__globals__, name, value)


@pytest.fixture
def histories():
    random = np.random.default_rng(1)
    return [random.permutation(FILMS)[: random.integers(3, 9)] for _ in range(30)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: book["bag"]([np.array([1]), np.array([], dtype=int)]), r"Person 1 of 2 has no history\. Show what"),
        (lambda: book["bag"]([np.array([FILMS])]), r"film that is unknown: films are numbered 0 to 11\. Leave it out"),
        (lambda: book["bag"]([np.array([2, -1])]), r"Person 0 has seen a film that is unknown"),
        (lambda: book["history_of"](3), r"User 3 is unknown: they are numbered 1 to 2\. Show what is popular"),
        (lambda: book["history_of"](0), r"User 0 is unknown"),
        (lambda: book["number_of"]("Titanic 2"), r"Film 'Titanic 2' is unknown\. Write it as in films\.title\."),
        (lambda: book["visitors_per_arm"](0.0, 0.1), r"Shares 0 and 0: both must lie between 0 and 1"),
        (lambda: book["visitors_per_arm"](0.6, 1.0), r"Shares 0\.6 and 1\.2: both must lie between 0 and 1"),
        (lambda: book["visitors_per_arm"](0.1, 0.0), r"No lift can never be seen\. Name the least that matters\."),
        (lambda: book["visitors_per_arm"](0.1, 0.1, power=1.0), r"alpha and power must lie between 0 and 1"),
    ],
    ids=["no history", "unknown", "negative", "no user", "zero", "no film", "no base", "over 1", "no lift", "certain"],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(("build", "setting"), BUILDERS, ids=NAMES_OF_BUILDERS)
def test_every_model_refuses_strangers_and_scores_all_films(build, setting, histories):
    model = build(histories, *setting)
    assert model(histories[:4]).shape == (4, FILMS)
    for wrong, message in (([], "has no history"), ([FILMS], "is unknown")):
        with pytest.raises(ValueError, match=message):
            model([np.array(wrong, dtype=int)])


def test_damaged_ratings_are_named_and_never_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: lambda folder: None)
    file = tmp_path / next(iter(SHA256))
    file.parent.mkdir(parents=True)
    file.write_bytes(b"user_id\titem_id, but cut")
    with pytest.warns(UserWarning, match=r"inter is damaged"), pytest.raises(data.DataError, match="MovieLens"):
        book["movielens"]()


@pytest.mark.parametrize("seed", range(3))
def test_metrics_agree_with_scikit_learn_and_sorting(seed):
    random = np.random.default_rng(seed)
    scores = torch.tensor(random.permutation(FILMS)[None].astype(np.float32))
    shown, hidden = np.array([0, 5]), np.array([2, 7, 9])
    found = book["ranks"](scores, [shown], [hidden])
    marks = []
    for film, rank in zip(hidden, found[0], strict=True):
        left = [film, *sorted(set(range(FILMS)) - {0, 5, 2, 7, 9})]
        values = scores[0, left].numpy()
        assert rank == 1 + np.flatnonzero(np.argsort(-values) == 0)[0]
        marks.append(ndcg_score(np.eye(len(left))[:1], values[None], k=3))
    assert book["ndcg"](found, k=3)[0] == pytest.approx(np.mean(marks))
    assert book["hit_rate"](found, k=3)[0] == pytest.approx(np.mean(np.array(marks) > 0))


def test_same_score_for_all_wins_nothing():
    found = book["ranks"](torch.zeros(1, FILMS), [np.array([0])], [np.array([1])])
    assert found[0].tolist() == [FILMS - 1]  # last among itself and ten rivals


def test_interval_agrees_with_the_normal_one():
    values = np.random.default_rng(3).normal(2.0, 1.0, 400)
    low, high = book["interval"](values)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.009)


def test_hidden_and_shown_make_up_the_history_in_order(histories):
    for whole, shown, hidden in zip(histories, *book["fold_in"](histories), strict=True):
        assert len(hidden) == len(whole) // 5
        assert sorted([*shown, *hidden]) == sorted(whole)
        assert shown.tolist() == [film for film in whole if film in shown]


def test_table_of_what_follows_counts_steps():
    train = [np.array([0, 1, 2]), np.array([3, 1, 2]), np.array([1, 0])]
    scores = book["what_follows"](train)([np.array([5, 1])])[0]
    assert scores[2] == pytest.approx(2 + 2e-4)
    assert scores[0] == pytest.approx(1 + 2e-4)
    assert scores[3] == pytest.approx(1e-4)  # never followed; one person has seen it


def test_popularity_counts_people(histories):
    counted = [sum(film in history for history in histories) for film in range(FILMS)]
    assert book["popularity"](histories)(histories[:1])[0].tolist() == counted


def test_nearest_films_are_those_of_scikit_learn(histories):
    x = book["bag"](histories).numpy()
    like = cosine_similarity(x.T)
    np.fill_diagonal(like, 0)
    expected = x[:5] @ like  # k = all films: nothing is cut
    np.testing.assert_allclose(ITEM_KNN(histories, FILMS, 0)(histories[:5]), expected, rtol=1e-5)


def test_only_the_nearest_count(histories):
    one = np.array([0])
    wide, narrow = (ITEM_KNN(histories, k, 0)([one])[0] for k in (FILMS, 1))
    assert torch.all((narrow == 0) | (narrow == wide))
    assert (narrow > 0).sum() < (wide > 0).sum()


def test_ease_is_ridge_regression_of_each_film_on_the_others(histories):
    x = book["bag"](histories).double().numpy()
    strength, expected = 2.0, np.zeros((FILMS, FILMS))
    for j in range(FILMS):
        rest = np.delete(x, j, axis=1)
        w = np.linalg.solve(rest.T @ rest + strength * np.eye(FILMS - 1), rest.T @ x[:, j])
        expected[np.arange(FILMS) != j, j] = w
    np.testing.assert_allclose(EASE(histories, strength)(histories), x @ expected, atol=1e-4)


def test_half_step_minimises_the_weighted_squares():
    x, other = (torch.rand(4, FILMS) < 0.4).float(), torch.randn(FILMS, 3)
    best = book["half_step"](x, other, 2.0, 0.5).requires_grad_()
    loss = ((1 + 2.0 * x) * (x - best @ other.T) ** 2).sum() + 0.5 * (best**2).sum()
    loss.backward()
    assert best.grad.abs().max() < 1e-4


def test_factorisation_recovers_two_tastes():
    train = [np.array([0, 1, 2, 3, 4, 5])[np.arange(6) != i % 6] for i in range(30)]
    train += [history + 6 for history in train]
    scores = MATRIX(train, 2, 4)([np.array([0, 1]), np.array([7, 8])])
    assert scores[0, 2:6].min() > scores[0, 6:].max()
    assert scores[1, [6, 9, 10, 11]].min() > scores[1, :6].max()


def test_two_towers_learn_two_tastes():
    train = [np.random.default_rng(i).permutation(6)[:5] + 6 * (i % 2) for i in range(120)]
    scores = book["two_tower"](train, 8, 0.0)([np.array([0, 1])])
    assert scores[0, 2:6].min() > scores[0, 6:].max()


def test_a_tower_reads_the_bag_not_its_size():
    model = book["TwoTower"](torch.eye(FILMS), torch.zeros(FILMS), 4, 0.0)
    seen = (torch.rand(3, FILMS) < 0.5).float()
    torch.testing.assert_close(model(seen), model(7 * seen))


def test_padding_comes_last_and_films_start_at_one():
    assert book["padded"]([np.array([0, 4]), np.array([2])]).tolist() == [[1, 5], [3, 0]]


def test_transformer_learns_a_fixed_order_and_ignores_padding():
    train = [np.roll(np.arange(FILMS), -i)[:6] for i in range(FILMS)] * 60
    model = book["transformer"](train, 16, False, 8)
    asked = [np.array([3, 4, 5]), np.array([9])]
    assert model(asked).argmax(1).tolist() == [6, 10]
    torch.testing.assert_close(model(asked)[1:], model(asked[1:]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rank", [1, 4, 8, 12])
def test_sampled_hits_agree_with_listing_every_sample(rank):
    rivals = range(2, 14)  # places of twelve rivals around ours, ours being taken out
    places = [place for place in range(1, 14) if place != rank]
    samples = list(itertools.combinations(places, 5))
    hit = np.mean([sum(place < rank for place in sample) < 3 for sample in samples])
    found = book["sampled_hit_rate"](np.array([rank]), np.array([len(rivals)]), k=3)
    assert found[0] == pytest.approx(hit)


def test_recommended_are_the_best_not_yet_seen():
    scores = torch.arange(FILMS, dtype=torch.float32) - FILMS  # a film's own score may be negative
    listed = book["recommend"](lambda histories: scores.repeat(len(histories), 1), [np.array([11, 9])], k=3)
    assert listed.tolist() == [[10, 8, 7]]


@pytest.mark.parametrize("counts", [[1, 2, 3, 10], [0, 0, 5], [4, 4]], ids=str)
def test_gini_is_half_the_relative_mean_difference(counts):
    x = np.array(counts)
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert book["gini"](x) == pytest.approx(expected)


@pytest.mark.parametrize(("base", "lift"), [(0.1, 0.2), (0.5, -0.1), (0.03, 0.5)])
def test_visitors_give_the_power_asked_for(base, lift):
    n = book["visitors_per_arm"](base, lift)
    random, changed = np.random.default_rng(0), base * (1 + lift)
    old, new = random.binomial(n, base, 40_000) / n, random.binomial(n, changed, 40_000) / n
    error = np.sqrt((old * (1 - old) + new * (1 - new)) / n)
    assert np.mean(np.abs(new - old) > 1.96 * error) == pytest.approx(0.8, abs=0.015)


def test_experiments_grow_day_by_day_towards_the_lift():
    z, lift = book["experiments"](0.2, 5, 2_000)
    assert z.shape == lift.shape == (4_000, 5)
    assert lift[:, -1].mean() == pytest.approx(0.2, abs=0.02)
    p, n = 0.11, 10_000
    expected = 0.02 / math.sqrt(2 * p * (1 - p) / n)
    assert z[:, -1].mean() == pytest.approx(expected, rel=0.03)


def test_more_looks_more_false_alarms_as_integration_says():
    walk = np.random.default_rng(0).normal(size=(60_000, 4)).cumsum(1) / np.sqrt(np.arange(1, 5))
    passed = integrate.quad(  # first look quiet, second quiet
        lambda s: (
            stats.norm.pdf(s) * (stats.norm.cdf(1.96 * math.sqrt(2) - s) - stats.norm.cdf(-1.96 * math.sqrt(2) - s))
        ),
        -1.96,
        1.96,
    )[0]
    assert book["alarms"](walk, 1.96, 1) == pytest.approx(0.05, abs=0.004)
    assert book["alarms"](walk, 1.96, 2) == pytest.approx(1 - passed, abs=0.005)
    assert book["alarms"](walk, 1.96, 4) > book["alarms"](walk, 1.96, 2) + 0.02
    assert book["alarms"](walk, np.array([9, 9, 9, 1.96]), 4) == book["alarms"](walk, 1.96, 1)


def test_break_even_pays_the_cost_to_the_yuan():
    lift = book["break_even_lift"](1_000)
    orders_more = 365 * 1_000 * 0.1 * lift
    assert orders_more * 100 * 0.2 == pytest.approx(73_000)


def test_visible_lift_needs_just_the_visitors_there_are():
    lift = book["visible_lift"](5_000, days=10)
    assert book["visitors_per_arm"](0.1, lift) == pytest.approx(25_000, rel=1e-3)


@pytest.mark.parametrize("case", EXERCISES["06c-worst-rank"].cases, ids=str)
def test_worst_rank_is_the_last_that_the_hypergeometric_allows(case):
    rivals, drawn, chance = int(case[0]), int(case[1]), float(case[2])
    rank = EXERCISES["06c-worst-rank"].expected(case)
    assert stats.hypergeom(rivals, rank - 1, drawn).cdf(9) >= chance > stats.hypergeom(rivals, rank, drawn).cdf(9)


@pytest.mark.parametrize("case", EXERCISES["06c-boast"].cases, ids=str)
def test_expected_boast_is_that_of_simulated_tests(case):
    alpha, power = case.tolist()
    limit = stats.norm.isf(alpha / 2)
    effect = limit + stats.norm.isf(1 - power)
    z = np.random.default_rng(0).normal(effect, 1, 1_000_000)
    assert np.mean(z > limit) == pytest.approx(power, abs=0.002)
    assert EXERCISES["06c-boast"].expected(case) == pytest.approx(z[z > limit].mean() / effect, rel=0.003)
