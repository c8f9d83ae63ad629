"""Unit economics: properties that hold for every desk, closed forms against simulation, a published day, bad input."""

import math
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
import scipy.stats
from conftest import defined_in
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from course.compute import accelerator
from course.economics import (
    Account,
    Desk,
    TokenPrices,
    TokenUse,
    account,
    bill_usd,
    blended_usd_per_million,
    break_even_utilization,
    crossing_tokens_per_month,
    gross_margin,
    hosting_usd_per_month,
    lifetime_value,
    markup,
    owned_usd_per_gpu_hour,
    payback_months,
    serving_usd_per_million_tokens,
    users_above,
)

_, tornado, simulate = defined_in("06f-unit-economics", "check_ranges", "tornado", "simulate")

DAY = TokenUse(input_tokens=608e9, output_tokens=168e9, cache_hit_rate=342 / 608)
R1 = TokenPrices(input_usd_per_million=0.55, cached_input_usd_per_million=0.14, output_usd_per_million=2.19)
DESK = Desk(
    usd_per_conversation=0.05,
    conversations_per_month=6000,
    input_tokens=1500,
    output_tokens=500,
    cache_hit_rate=0.3,
    usd_per_gpu_hour=2.0,
    utilization=0.4,
    input_tokens_per_gpu_second=3000,
    output_tokens_per_gpu_second=500,
    fixed_usd_per_month=100,
    monthly_churn=0.03,
    acquisition_usd=500,
)

settings.register_profile("course", deadline=None, derandomize=True, database=None)
settings.load_profile("course")
positive = st.floats(1e-3, 1e6)
share = st.floats(0, 1)
desks = st.builds(
    Desk,
    usd_per_conversation=st.floats(1e-4, 10),
    conversations_per_month=st.floats(1, 1e6),
    input_tokens=st.floats(1, 1e5),
    output_tokens=st.floats(1, 1e4),
    cache_hit_rate=share,
    usd_per_gpu_hour=st.floats(0.1, 20),
    utilization=st.floats(0.01, 1),
    input_tokens_per_gpu_second=st.floats(10, 1e5),
    output_tokens_per_gpu_second=st.floats(1, 1e4),
    fixed_usd_per_month=st.floats(0, 1e5),
    monthly_churn=st.floats(0.001, 0.9),
    acquisition_usd=st.floats(0, 1e5),
)


def contribution(desk):
    return account(desk).contribution_usd_per_month


# DeepSeek, 2025-02-27/28: github.com/deepseek-ai/open-infra-index, 202502OpenSourceWeek, day 6


def test_the_published_cost_to_the_dollar():
    gpu_seconds = 226.75 * 8 * 24 * 3600
    tokens_per_gpu_second = 1000  # any rate gives the same bill
    usd_per_million = serving_usd_per_million_tokens(2.0, tokens_per_gpu_second)
    assert round(usd_per_million * gpu_seconds * tokens_per_gpu_second / 1e6) == 87_072


def test_the_published_revenue_within_the_rounding_of_the_counts():
    low, high = (
        bill_usd(TokenUse(fresh + cached, output, cached / (fresh + cached)), R1)
        for fresh, cached, output in ((265e9, 341.5e9, 167.5e9), (267e9, 342.5e9, 168.5e9))
    )
    assert low < 562_027 < high
    assert abs(bill_usd(DAY, R1) / 562_027 - 1) < 1e-3


def test_545_per_cent_is_profit_over_cost():
    assert round(100 * markup(562_027, 87_072)) == 545
    assert round(100 * gross_margin(562_027, 87_072), 1) == 84.5


# Properties


@given(desks, st.floats(1.01, 10))
def test_margin_falls_when_cost_rises(desk, times):
    dearer = replace(desk, usd_per_gpu_hour=desk.usd_per_gpu_hour * times)
    assert account(dearer).gross_margin < account(desk).gross_margin
    assert contribution(dearer) <= contribution(desk)  # equal where rounding swallows a cost beside a vast support


@given(desks)
def test_profit_is_zero_at_the_break_even_price(desk):
    price = account(desk).break_even_usd_per_conversation
    revenue = price * desk.conversations_per_month
    assert abs(contribution(replace(desk, usd_per_conversation=price))) <= 1e-9 * revenue


@given(desks)
def test_profit_is_zero_at_the_break_even_utilization(desk):
    utilization = account(desk).break_even_utilization
    revenue = desk.usd_per_conversation * desk.conversations_per_month
    if utilization <= 1:
        assert abs(contribution(replace(desk, utilization=utilization))) <= 1e-9 * revenue
    else:
        assert contribution(replace(desk, utilization=1.0)) <= 1e-9 * revenue  # even a GPU never idle loses


@given(desks, st.floats(1e-3, 1e3))
def test_another_currency_changes_amounts_and_no_ratio(desk, rate):
    money = [field.name for field in fields(Desk) if "usd" in field.name]
    here, there = account(desk), account(replace(desk, **{name: getattr(desk, name) * rate for name in money}))
    turnover = (desk.usd_per_conversation + here.break_even_usd_per_conversation) * desk.conversations_per_month
    assume(abs(here.contribution_usd_per_month) > 1e-6 * turnover)  # near zero, rounding decides between late and never
    for name, value in asdict(here).items():
        expected = value * rate if "usd" in name else value
        assert getattr(there, name) == expected or math.isclose(getattr(there, name), expected, rel_tol=1e-6), name


@given(desks, st.floats(1e-3, 1e3))
def test_tokens_and_rates_in_another_unit_cancel(desk, per):
    counts = [field.name for field in fields(Desk) if "tokens" in field.name]
    scaled = account(replace(desk, **{name: getattr(desk, name) * per for name in counts}))
    assert math.isclose(scaled.usd_cost_per_conversation, account(desk).usd_cost_per_conversation, rel_tol=1e-9)


@given(positive, positive, share)
def test_a_bill_lies_between_nothing_and_everything_cached(fresh, output, hit):
    none, some, every = (bill_usd(TokenUse(fresh, output, rate), R1) for rate in (0, hit, 1))
    assert every - 1e-9 * none <= some <= none + 1e-9 * none


@given(positive, positive, share)
def test_the_blended_price_lies_between_the_cheapest_and_the_dearest(tokens, output, hit):
    use = TokenUse(tokens, output, hit)
    assert 0.14 - 1e-9 <= blended_usd_per_million(use, R1) <= 2.19 + 1e-9
    assert math.isclose(blended_usd_per_million(use, R1) * (tokens + output) / 1e6, bill_usd(use, R1))


@given(positive, positive)
def test_markup_and_margin_say_the_same(revenue, cost):
    k = markup(revenue, cost)
    assert math.isclose(gross_margin(revenue, cost), k / (1 + k), rel_tol=1e-6, abs_tol=1e-6)


@given(st.floats(0.1, 100), st.floats(1, 1e5), st.floats(0.01, 100))
def test_at_the_break_even_utilization_a_token_costs_its_price(rent, rate, price):
    utilization = break_even_utilization(rent, rate, price)
    if utilization <= 1:
        assert math.isclose(serving_usd_per_million_tokens(rent, rate, utilization), price)
    else:
        assert serving_usd_per_million_tokens(rent, rate) > price


@given(st.floats(0.05, 20), st.floats(1e6, 1e10), st.floats(0.1, 10), st.floats(0, 1e5))
def test_the_crossing_is_the_first_volume_at_which_hosting_is_no_dearer(price, per_gpu, rent, staff):
    crossing = crossing_tokens_per_month(price, per_gpu, rent, staff)
    if math.isinf(crossing):
        for gpus in (1, 10, 10_000):  # even a full GPU costs at least what its tokens fetch
            full = gpus * per_gpu
            assert hosting_usd_per_month(full, per_gpu, rent, staff) >= full * price / 1e6 * (1 - 1e-9)
        return
    for volume in np.linspace(0, crossing, 50)[1:-1]:
        assert hosting_usd_per_month(volume, per_gpu, rent, staff) >= volume * price / 1e6 * (1 - 1e-9)
    hosted = hosting_usd_per_month(crossing * (1 - 1e-12), per_gpu, rent, staff)
    assert math.isclose(hosted, crossing * price / 1e6, rel_tol=1e-9)


# Closed forms against simulation


@pytest.mark.parametrize(("churn", "discount"), [(0.03, 0.0), (0.2, 0.01), (0.5, 0.1), (0.0, 0.05)])
def test_lifetime_value_is_the_mean_of_simulated_customers(churn, discount):
    random = np.random.default_rng(0)
    months = random.geometric(churn, 200_000) if churn else np.full(1, 3_000)
    if discount:
        q = 1 / (1 + discount)
        worth = (1 - q**months) / (1 - q)
    else:
        worth = months
    error = worth.std() / math.sqrt(len(worth))
    assert abs(lifetime_value(7.0, churn, discount) - 7 * worth.mean()) <= 7 * 4 * error + 1e-9


@pytest.mark.parametrize("churn", [0.0, 0.03, 0.2])
def test_payback_is_the_month_in_which_the_cohort_has_repaid(churn):
    months = payback_months(120.0, 40.0, churn)
    repaid = np.cumsum(40 * (1 - churn) ** np.arange(100))
    assert math.ceil(months - 1e-9) == 1 + np.argmax(repaid >= 120 - 1e-9)


def test_payback_never_comes_once_the_customer_is_worth_less_than_he_cost():
    assert payback_months(1000.0, 40.0, 0.05) == math.inf  # worth 800
    assert payback_months(10.0, -1.0) == math.inf
    assert payback_months(0.0, -1.0) == 0
    assert lifetime_value(40.0, 0.05) == pytest.approx(800)


@given(st.floats(1, 100), st.floats(0.001, 0.9), st.sampled_from([0, 1, 2]))
def test_payback_holds_to_the_last_digit_of_the_lifetime_value(contribution, churn, side):
    worth = contribution / churn
    acquisition = (worth, math.nextafter(worth, 0), math.nextafter(worth, math.inf))[side]
    assert payback_months(acquisition, contribution, churn) > 15 / -math.log(1 - churn)  # rounding: late or never


@pytest.mark.parametrize("deviations", [2.0, 6.0, 8.0, 12.0, 30.0])
def test_the_heaviest_users_are_few_but_no_rounding(deviations):
    share, mean = users_above(math.exp(deviations - 0.5), 1.0, 1.0)
    tail = scipy.stats.norm.sf([deviations, deviations - 1])
    assert (share, mean) == (pytest.approx(tail[0], rel=1e-9, abs=0), pytest.approx(tail[1] / tail[0], rel=1e-9))


@pytest.mark.parametrize(("use", "sigma"), [(0.0, 1.0), (8.0, 1.2), (30.0, 0.5), (15.0, 2.0)])
def test_the_users_above_a_use_against_a_million_draws(use, sigma):
    draws = np.random.default_rng(0).lognormal(math.log(15) - sigma**2 / 2, sigma, 1_000_000)
    chosen = draws[draws > use]
    chosen_share, mean = users_above(use, 15, sigma)
    assert chosen_share == pytest.approx(len(chosen) / len(draws), abs=0.002)
    assert mean == pytest.approx(chosen.mean(), abs=5 * chosen.std() / math.sqrt(len(chosen)))


def test_a_flat_price_above_the_average_cost_loses_on_those_who_choose_it():
    flat, cost_per_unit, price_per_unit = 20.0, 1.0, 2.5
    everybody = gross_margin(flat, cost_per_unit * users_above(0, 15, 1.2)[1])
    chosen = gross_margin(flat, cost_per_unit * users_above(flat / price_per_unit, 15, 1.2)[1])
    assert chosen < 0 < everybody


def test_simulated_contribution_has_the_mean_and_spread_of_its_triangle():
    low, likely, high = 0.03, 0.05, 0.09  # contribution is linear in the price
    drawn = simulate(contribution, DESK, {"usd_per_conversation": (low, likely, high)}, draws=20_000)
    slope = DESK.conversations_per_month
    mean = contribution(DESK) + slope * ((low + likely + high) / 3 - DESK.usd_per_conversation)
    variance = (low**2 + likely**2 + high**2 - low * likely - low * high - likely * high) / 18
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / math.sqrt(20_000))
    assert drawn.std() == pytest.approx(slope * math.sqrt(variance), rel=0.03)


def test_simulation_draws_fields_alone_and_repeats_with_its_seed():
    ranges = {"usd_per_conversation": (0.03, 0.05, 0.09), "conversations_per_month": (3000.0, 6000.0, 9000.0)}
    assert (simulate(contribution, DESK, ranges, 50) == simulate(contribution, DESK, ranges, 50)).all()
    assert (simulate(contribution, DESK, ranges, 50, seed=1) != simulate(contribution, DESK, ranges, 50)).any()
    revenue = simulate(lambda desk: desk.usd_per_conversation * desk.conversations_per_month, DESK, ranges, 20_000)
    assert revenue.mean() == pytest.approx(0.17 / 3 * 6000, rel=0.01)  # independent: the means multiply


def test_tornado_sorts_by_swing_and_moves_one_field_at_a_time():
    ranges = {"utilization": (0.2, 0.4, 0.6), "usd_per_conversation": (0.03, 0.05, 0.09)}
    (first, low, high), (second, *_) = tornado(contribution, DESK, ranges)
    assert (first, second) == ("usd_per_conversation", "utilization")
    assert low == contribution(replace(DESK, usd_per_conversation=0.03))
    assert high == contribution(replace(DESK, usd_per_conversation=0.09))


# A desk by hand


def test_the_account_of_a_desk_by_hand():
    # 1,050 fresh tokens take 0.35 s, 500 written ones 1 s: 1.35 s of 2 USD an hour, at 40 % use
    cost = 1.35 * 2 / 3600 / 0.4
    left = 6000 * (0.05 - cost) - 100
    expected = Account(
        usd_cost_per_conversation=cost,
        gross_margin=1 - cost / 0.05,
        contribution_usd_per_month=left,
        break_even_usd_per_conversation=cost + 100 / 6000,
        break_even_utilization=0.4 * cost / (0.05 - 100 / 6000),
        lifetime_value_usd=left / 0.03,
        payback_months=math.log(1 - 500 * 0.03 / left) / math.log(0.97),
    )
    assert asdict(account(DESK)) == pytest.approx(asdict(expected))


def test_own_hardware_by_hand():
    # 35,040 USD over 48 months of 730 hours is 1 USD an hour; 1,500 W at 0.1 USD a kWh 0.15
    assert owned_usd_per_gpu_hour(35_040, 48, 1500, 0.1) == pytest.approx(1.15)


def test_without_staff_the_first_gpu_is_what_hosting_has_to_pay():
    # 730 USD a month against 1 USD a million tokens
    assert crossing_tokens_per_month(1, 1e9, 1, 0) == pytest.approx(730e6)


# Bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TokenPrices(-0.1, 0, 0), r"input_usd_per_million is -0\.1; it cannot be negative"),
        (lambda: TokenUse(10, 10, 1.3), r"cache_hit_rate is 1\.3; it is a share of \[0, 1\]: 30 per cent is 0\.3"),
        (lambda: TokenUse(-1, 10), r"input_tokens is -1; it cannot be negative"),
        (lambda: blended_usd_per_million(TokenUse(0, 0), R1), r"tokens is 0; it must be above zero"),
        (lambda: serving_usd_per_million_tokens(2, 0), r"tokens_per_gpu_second is 0; it must be above zero"),
        (lambda: serving_usd_per_million_tokens(2, 10, 1.2), r"utilization is 1\.2; .*40 per cent is 0\.4"),
        (lambda: serving_usd_per_million_tokens(2, 10, 0), r"utilization is 0; it is a share of \(0, 1\]"),
        (lambda: serving_usd_per_million_tokens(-2, 10), r"usd_per_gpu_hour is -2; it cannot be negative"),
        (lambda: serving_usd_per_million_tokens(math.nan, 10), r"usd_per_gpu_hour is nan; it must be a finite number"),
        (lambda: break_even_utilization(2, 10, 0), r"usd_per_million_tokens is 0; it must be above zero"),
        (lambda: gross_margin(0, 1), r"revenue is 0; it must be above zero"),
        (lambda: markup(1, 0), r"cost is 0; it must be above zero"),
        (lambda: lifetime_value(1, 1.0), r"monthly_churn is 1\.0; .*leaves in a month: 3 per cent is 0\.03"),
        (lambda: lifetime_value(1, 0.0), r"Neither churn nor discount: .* Give one"),
        (lambda: lifetime_value(1, 0.1, -0.1), r"monthly_discount is -0\.1; it cannot be negative"),
        (lambda: payback_months(-1, 1), r"acquisition_cost is -1; it cannot be negative"),
        (lambda: replace(DESK, usd_per_conversation=-1), r"usd_per_conversation is -1; it must be above zero"),
        (lambda: replace(DESK, utilization=1.01), r"utilization is 1\.01; it is a share of \(0, 1\]"),
        (lambda: replace(DESK, cache_hit_rate=1.3), r"cache_hit_rate is 1\.3; it is a share"),
        (lambda: replace(DESK, monthly_churn=3), r"monthly_churn is 3; .*3 per cent is 0\.03"),
        (lambda: replace(DESK, fixed_usd_per_month=-1), r"fixed_usd_per_month is -1; it cannot be negative"),
        (lambda: owned_usd_per_gpu_hour(1, 0, 1, 1), r"months is 0; it must be above zero"),
        (lambda: hosting_usd_per_month(-1, 1, 1, 1), r"tokens_per_month is -1; it cannot be negative"),
        (lambda: hosting_usd_per_month(math.inf, 1, 1, 1), r"tokens_per_month is inf; it must be a finite number"),
        (lambda: crossing_tokens_per_month(0, 1, 1, 1), r"usd_per_million is 0; it must be above zero"),
        (lambda: crossing_tokens_per_month(1, 0, 1, 1), r"tokens_per_gpu_month is 0; it must be above zero"),
        (lambda: gross_margin(1, -1), r"cost is -1; it cannot be negative"),
        (lambda: gross_margin(1, math.nan), r"cost is nan; it must be a finite number"),
        (lambda: markup(-1, 1), r"revenue is -1; it cannot be negative"),
        (lambda: crossing_tokens_per_month(1, 1, 1, -1), r"staff_usd_per_month is -1; it cannot be negative"),
        (lambda: users_above(1, 0, 1), r"mean_use is 0; it must be above zero"),
        (lambda: users_above(1, 1, -1), r"sigma is -1; it must be above zero"),
        (lambda: users_above(-1, 1, 1), r"use is -1; it cannot be negative"),
        (lambda: users_above(1e300, 1, 1), r"Nobody uses more than 1e\+300: .* Give a smaller use"),
        (lambda: users_above(math.inf, 1, 1), r"use is inf; it must be a finite number"),
        (lambda: account(replace(DESK, monthly_churn=0)), r"Neither churn nor discount"),
        (lambda: simulate(contribution, DESK, {}, 9), r"No ranges: give at least one field its low"),
        (lambda: tornado(contribution, DESK, {"use": (0, 1, 2)}), r"No field use\. There are: usd_per_conversation, "),
        (
            lambda: tornado(contribution, DESK, {"utilization": (0.6, 0.4, 0.2)}),
            r"utilization ranges over 0\.6, 0\.4, 0\.2: give low ≤ most likely ≤ high",
        ),
        (lambda: tornado(contribution, DESK, {"utilization": (0.2, 0.6, 0.4)}), r"over 0\.2, 0\.6, 0\.4: give low"),
        (lambda: simulate(contribution, DESK, {"utilization": (0.4, 0.4, 0.4)}, 9), r"over 0\.4, .* not all one"),
        (lambda: accelerator("h900"), r"No accelerator 'h900' in the table\. There are: .*h800"),
    ],
)
def test_bad_input_says_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
