"""What a token, a conversation and a customer bring and cost. Pure arithmetic: every price and rate is the caller's.

USD throughout, units in the names. A million tokens is the unit of the price lists, a month that of the accounts.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np

MILLION = 1_000_000
SECONDS_PER_HOUR = 3600
HOURS_PER_MONTH = 730  # 8,760 hours a year over twelve

Range = tuple[float, float, float]  # low, most likely, high


@dataclass(frozen=True)
class TokenPrices:
    """What a vendor lists, in USD per million tokens: input read anew, input found in its cache, output."""

    input_usd_per_million: float
    cached_input_usd_per_million: float
    output_usd_per_million: float

    def __post_init__(self) -> None:
        _require("not negative", **asdict(self))


@dataclass(frozen=True)
class TokenUse:
    """Tokens of a conversation, a user, a day; `cache_hit_rate` is the share of the input that the cache held."""

    input_tokens: float
    output_tokens: float
    cache_hit_rate: float = 0.0

    def __post_init__(self) -> None:
        _require("not negative", input_tokens=self.input_tokens, output_tokens=self.output_tokens)
        _require("a share", cache_hit_rate=self.cache_hit_rate)


def bill_usd(use: TokenUse, prices: TokenPrices) -> float:
    """Return what the use costs at the listed prices."""
    hit = use.cache_hit_rate
    per_input = (1 - hit) * prices.input_usd_per_million + hit * prices.cached_input_usd_per_million
    return (use.input_tokens * per_input + use.output_tokens * prices.output_usd_per_million) / MILLION


def blended_usd_per_million(use: TokenUse, prices: TokenPrices) -> float:
    """Return the bill over all tokens, input and output, per million of them; ValueError where there are none."""
    tokens = use.input_tokens + use.output_tokens
    _require("positive", tokens=tokens)
    return bill_usd(use, prices) / tokens * MILLION


def serving_usd_per_million_tokens(
    usd_per_gpu_hour: float, tokens_per_gpu_second: float, utilization: float = 1.0
) -> float:
    """Return the rent that a million tokens take: usd_per_gpu_hour × 10⁶ / (3,600 × tokens_per_gpu_second × use).

    `tokens_per_gpu_second` is the rate of a GPU that is never idle, `utilization` the share of the rented time in
    which it works at that rate. ValueError: a negative rent, no tokens, a utilisation outside (0, 1].
    """
    _require("not negative", usd_per_gpu_hour=usd_per_gpu_hour)
    _require("positive", tokens_per_gpu_second=tokens_per_gpu_second)
    _require("a utilisation", utilization=utilization)
    return usd_per_gpu_hour * MILLION / (SECONDS_PER_HOUR * tokens_per_gpu_second * utilization)


def break_even_utilization(
    usd_per_gpu_hour: float, tokens_per_gpu_second: float, usd_per_million_tokens: float
) -> float:
    """Return the utilisation at which tokens sold at this price just pay the rent; above 1: they never do."""
    _require("positive", usd_per_million_tokens=usd_per_million_tokens)
    return serving_usd_per_million_tokens(usd_per_gpu_hour, tokens_per_gpu_second) / usd_per_million_tokens


def gross_margin(revenue: float, cost: float) -> float:
    """Return (revenue − cost) / revenue: what is left of every dollar taken."""
    _require("positive", revenue=revenue)
    return (revenue - cost) / revenue


def markup(revenue: float, cost: float) -> float:
    """Return (revenue − cost) / cost, profit over cost: a markup k is a gross margin k / (1 + k)."""
    _require("positive", cost=cost)
    return (revenue - cost) / cost


def lifetime_value(contribution_per_month: float, monthly_churn: float, monthly_discount: float = 0.0) -> float:
    """Return Σ contribution × ((1 − churn) / (1 + discount))^t over t = 0, 1, …: contribution / churn undiscounted.

    The first month is paid in full, and every month loses the same share of those left: an assumption.
    ValueError: churn outside [0, 1), a negative discount, or both zero, where the sum has no end.
    """
    _require("a churn", monthly_churn=monthly_churn)
    _require("not negative", monthly_discount=monthly_discount)
    if monthly_churn + monthly_discount == 0:
        raise ValueError("Neither churn nor discount: a customer who never leaves has no finite worth. Give one.")
    return contribution_per_month * (1 + monthly_discount) / (monthly_churn + monthly_discount)


def payback_months(acquisition_cost: float, contribution_per_month: float, monthly_churn: float = 0.0) -> float:
    """Return the months m until contribution × (1 − (1 − churn)^m) / churn repays the acquisition; inf where never."""
    _require("not negative", acquisition_cost=acquisition_cost)
    _require("a churn", monthly_churn=monthly_churn)
    if acquisition_cost == 0:
        return 0.0
    if contribution_per_month <= 0 or acquisition_cost * monthly_churn >= contribution_per_month:
        return math.inf
    months = acquisition_cost / contribution_per_month
    return math.log1p(-months * monthly_churn) / math.log1p(-monthly_churn) if monthly_churn else months


@dataclass(frozen=True)
class Desk:
    """A vendor's service desk for one customer. Rates are those of a GPU at full use; support is the fixed cost."""

    usd_per_conversation: float
    conversations_per_month: float
    input_tokens: float
    output_tokens: float
    cache_hit_rate: float
    usd_per_gpu_hour: float
    utilization: float
    input_tokens_per_gpu_second: float
    output_tokens_per_gpu_second: float
    fixed_usd_per_month: float
    monthly_churn: float
    acquisition_usd: float

    def __post_init__(self) -> None:
        rules = {"utilization": "a utilisation", "monthly_churn": "a churn", "cache_hit_rate": "a share"}
        rules |= dict.fromkeys(("fixed_usd_per_month", "acquisition_usd", "usd_per_gpu_hour"), "not negative")
        for name, value in asdict(self).items():
            _require(rules.get(name, "positive"), **{name: value})


@dataclass(frozen=True)
class Account:
    """A desk's month. The gross margin is before, the contribution after the fixed cost."""

    usd_cost_per_conversation: float
    gross_margin: float
    contribution_usd_per_month: float
    break_even_usd_per_conversation: float
    break_even_utilization: float
    lifetime_value_usd: float
    payback_months: float


def account(desk: Desk) -> Account:
    """Return the month's account; cached input is taken to cost the server nothing, a simplification.

    The break-even price covers the fixed cost too, as does the break-even utilisation: above 1, or inf, never.
    """
    fresh = desk.input_tokens * (1 - desk.cache_hit_rate)
    gpu_seconds = fresh / desk.input_tokens_per_gpu_second + desk.output_tokens / desk.output_tokens_per_gpu_second
    busy_cost = desk.usd_per_gpu_hour / SECONDS_PER_HOUR * gpu_seconds  # of a conversation on a GPU never idle
    cost = busy_cost / desk.utilization
    fixed = desk.fixed_usd_per_month / desk.conversations_per_month
    contribution = desk.conversations_per_month * (desk.usd_per_conversation - cost - fixed)
    left_for_rent = desk.usd_per_conversation - fixed
    return Account(
        usd_cost_per_conversation=cost,
        gross_margin=gross_margin(desk.usd_per_conversation, cost),
        contribution_usd_per_month=contribution,
        break_even_usd_per_conversation=cost + fixed,
        break_even_utilization=busy_cost / left_for_rent if left_for_rent > 0 else math.inf,
        lifetime_value_usd=lifetime_value(contribution, desk.monthly_churn),
        payback_months=payback_months(desk.acquisition_usd, contribution, desk.monthly_churn),
    )


def owned_usd_per_gpu_hour(purchase_usd: float, months: float, watts: float, usd_per_kwh: float) -> float:
    """Return what an hour of one's own GPU costs: the purchase spread evenly over its months, and its power."""
    _require("not negative", purchase_usd=purchase_usd, watts=watts, usd_per_kwh=usd_per_kwh)
    _require("positive", months=months)
    return purchase_usd / (months * HOURS_PER_MONTH) + watts / 1000 * usd_per_kwh


def hosting_usd_per_month(tokens: float, tokens_per_gpu_month: float, usd_per_gpu_hour: float, staff: float) -> float:
    """Return the month's cost of serving the tokens oneself: whole GPUs, rented or owned, and the staff (USD)."""
    _require("not negative", tokens=tokens, usd_per_gpu_hour=usd_per_gpu_hour, staff=staff)
    _require("positive", tokens_per_gpu_month=tokens_per_gpu_month)
    return math.ceil(tokens / tokens_per_gpu_month) * usd_per_gpu_hour * HOURS_PER_MONTH + staff


def crossing_tokens_per_month(
    usd_per_million: float, tokens_per_gpu_month: float, usd_per_gpu_hour: float, staff: float
) -> float:
    """Return the least monthly volume at which hosting costs no more than an API at this price; inf where none does.

    With k GPUs the lines cross at (k × rent + staff) / price; the first k whose tokens reach that far is the answer.
    """
    _require("positive", usd_per_million=usd_per_million)
    rent = hosting_usd_per_month(1, tokens_per_gpu_month, usd_per_gpu_hour, 0)
    _require("not negative", staff=staff)
    gain_per_gpu = tokens_per_gpu_month * usd_per_million / MILLION - rent
    if gain_per_gpu <= 0:
        return math.inf
    gpus = max(1, math.ceil(staff / gain_per_gpu))
    return (gpus * rent + staff) / usd_per_million * MILLION


def price_after(usd: float, fold_per_year: float, years: float) -> float:
    """Return usd / fold_per_year^years: a price that becomes so many times smaller every year."""
    _require("positive", fold_per_year=fold_per_year)
    return usd / fold_per_year**years


@dataclass(frozen=True)
class LogNormalUse:
    """Use that differs between users by factors: its logarithm is normal with standard deviation `sigma`."""

    mean: float
    sigma: float

    def __post_init__(self) -> None:
        _require("positive", mean=self.mean, sigma=self.sigma)

    def share_above(self, use: float) -> float:
        """Return the share of users who use more than this: Φ(z), z = (ln mean − σ²/2 − ln use) / σ."""
        return NormalDist().cdf(self._z(use)) if use > 0 else 1.0

    def mean_above(self, use: float) -> float:
        """Return the mean use of those who use more than this: mean × Φ(z + σ) / Φ(z); at 0, the mean of all."""
        return self.mean * NormalDist().cdf(self._z(use) + self.sigma) / self.share_above(use) if use > 0 else self.mean

    def _z(self, use: float) -> float:
        return (math.log(self.mean / use) - self.sigma**2 / 2) / self.sigma


def flat_price_margin(flat_usd: float, usd_cost_per_unit: float, use: LogNormalUse, joins_above: float = 0.0) -> float:
    """Return the gross margin of a flat price that only those take who use more than `joins_above`.

    Adverse selection: whoever could pay by the unit joins above flat_usd / usd_price_per_unit; 0 is everybody.
    """
    _require("not negative", usd_cost_per_unit=usd_cost_per_unit, joins_above=joins_above)
    return gross_margin(flat_usd, usd_cost_per_unit * use.mean_above(joins_above))


def tornado(result: Callable[[Any], float], base: Any, ranges: Mapping[str, Range]) -> list[tuple[str, float, float]]:
    """Return (field, result at its low end, at its high end), one field moved at a time, the widest swing first."""
    swings = [
        (name, result(replace(base, **{name: low})), result(replace(base, **{name: high})))
        for name, (low, _, high) in ranges.items()
    ]
    return sorted(swings, key=lambda swing: -abs(swing[2] - swing[1]))


def simulate(
    result: Callable[[Any], float], base: Any, ranges: Mapping[str, Range], draws: int, seed: int = 0
) -> np.ndarray:
    """Return `draws` results with every field drawn at once, each alone, from the triangular distribution of its range.

    The triangle's density rises from the low end to the likely value and falls to the high end; both need a `base`
    that is a dataclass, such as a Desk.
    """
    _require("positive", draws=draws)
    random = np.random.default_rng(seed)
    columns = {name: random.triangular(*ends, size=draws) for name, ends in ranges.items()}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return np.array([result(replace(base, **dict(zip(columns, row, strict=True)))) for row in rows])


_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "not negative": (lambda value: value >= 0, "it cannot be negative."),
    "positive": (lambda value: value > 0, "it must be above zero."),
    "a share": (lambda value: 0 <= value <= 1, "it is a share of [0, 1]: 30 per cent is 0.3."),
    "a utilisation": (lambda value: 0 < value <= 1, "it is a share of (0, 1]: 40 per cent is 0.4."),
    "a churn": (lambda value: 0 <= value < 1, "it is the share of [0, 1) that leaves in a month: 3 per cent is 0.03."),
}


def _require(rule: str, **values: float) -> None:
    holds, sentence = _RULES[rule]
    for name, value in values.items():
        if not holds(value):  # NaN fails every rule
            raise ValueError(f"{name} is {value:,}; {sentence}")
