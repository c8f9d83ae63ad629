"""What a token, a conversation and a customer bring and cost: arithmetic in USD, every price and rate the caller's.

Price lists count in millions of tokens, accounts in months. Refused numbers raise ValueError with the reason.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

from course.compute import SECONDS_PER_HOUR

MILLION = 1_000_000
HOURS_PER_MONTH = 730  # 8,760 hours a year over twelve

_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "not negative": (lambda value: value >= 0, "it cannot be negative."),
    "positive": (lambda value: value > 0, "it must be above zero."),
    "share": (lambda value: 0 <= value <= 1, "it is a share of [0, 1]: 30 per cent is 0.3."),
    "utilization": (lambda value: 0 < value <= 1, "it is a share of (0, 1]: 40 per cent is 0.4."),
    "churn": (lambda value: 0 <= value < 1, "it is the share of [0, 1) that leaves in a month: 3 per cent is 0.03."),
}


def _require(rule: str, **values: float) -> None:
    holds, sentence = _RULES[rule]
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} is {value}; it must be a finite number.")
        if not holds(value):
            raise ValueError(f"{name} is {value:,}; {sentence}")


@dataclass(frozen=True)
class TokenPrices:
    """What a vendor lists, USD per million tokens: input read anew, input found in its cache, output."""

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
        _require("share", cache_hit_rate=self.cache_hit_rate)


def bill_usd(use: TokenUse, prices: TokenPrices) -> float:
    """Return what the use costs at the listed prices."""
    hit = use.cache_hit_rate
    per_input = (1 - hit) * prices.input_usd_per_million + hit * prices.cached_input_usd_per_million
    return (use.input_tokens * per_input + use.output_tokens * prices.output_usd_per_million) / MILLION


def blended_usd_per_million(use: TokenUse, prices: TokenPrices) -> float:
    """Return the bill per million tokens, input and output together."""
    _require("positive", tokens=(tokens := use.input_tokens + use.output_tokens))
    return bill_usd(use, prices) / tokens * MILLION


def serving_usd_per_million_tokens(
    usd_per_gpu_hour: float, tokens_per_gpu_second: float, utilization: float = 1.0
) -> float:
    """Return rent × 10⁶ / (3,600 × rate × utilisation): the rate is that of a GPU never idle, the rent goes on."""
    _require("not negative", usd_per_gpu_hour=usd_per_gpu_hour)
    _require("positive", tokens_per_gpu_second=tokens_per_gpu_second)
    _require("utilization", utilization=utilization)
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
    _require("not negative", cost=cost)
    return (revenue - cost) / revenue


def markup(revenue: float, cost: float) -> float:
    """Return (revenue − cost) / cost, profit over cost: a markup k is a gross margin k / (1 + k)."""
    _require("positive", cost=cost)
    _require("not negative", revenue=revenue)
    return (revenue - cost) / cost


def lifetime_value(contribution_per_month: float, monthly_churn: float, monthly_discount: float = 0.0) -> float:
    """Return Σ contribution × ((1 − churn) / (1 + discount))^t, t = 0, 1, …: undiscounted, contribution / churn."""
    _require("churn", monthly_churn=monthly_churn)
    _require("not negative", monthly_discount=monthly_discount)
    if monthly_churn + monthly_discount == 0:
        raise ValueError("Neither churn nor discount: a customer who never leaves has no finite worth. Give one.")
    return contribution_per_month * (1 + monthly_discount) / (monthly_churn + monthly_discount)


def payback_months(acquisition_cost: float, contribution_per_month: float, monthly_churn: float = 0.0) -> float:
    """Return the months m until contribution × (1 − (1 − churn)^m) / churn repays the acquisition; inf where never."""
    _require("not negative", acquisition_cost=acquisition_cost)
    _require("churn", monthly_churn=monthly_churn)
    if not acquisition_cost:
        return 0.0
    if contribution_per_month <= 0:
        return math.inf
    months = acquisition_cost / contribution_per_month
    if months * monthly_churn >= 1:  # customers leave too soon
        return math.inf
    return math.log1p(-months * monthly_churn) / math.log1p(-monthly_churn) if monthly_churn else months


@dataclass(frozen=True)
class Desk:
    """A vendor's service desk for one customer, with the rates of a GPU at full use; support is the fixed cost."""

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
        rules = {"utilization": "utilization", "monthly_churn": "churn", "cache_hit_rate": "share"}
        rules |= dict.fromkeys(("fixed_usd_per_month", "acquisition_usd", "usd_per_gpu_hour"), "not negative")
        for name, value in asdict(self).items():
            _require(rules.get(name, "positive"), **{name: value})


@dataclass(frozen=True)
class Account:
    """A desk's month: the gross margin before the fixed cost; contribution and both break-evens after it."""

    usd_cost_per_conversation: float
    gross_margin: float
    contribution_usd_per_month: float
    break_even_usd_per_conversation: float
    break_even_utilization: float  # above 1, or inf: never
    lifetime_value_usd: float
    payback_months: float


def account(desk: Desk) -> Account:
    """Return the month's account; cached input is taken to cost the server nothing, a simplification.

    A desk without churn is refused: its customer, who never leaves, has no finite lifetime value.
    """
    fresh = desk.input_tokens * (1 - desk.cache_hit_rate)
    gpu_seconds = fresh / desk.input_tokens_per_gpu_second + desk.output_tokens / desk.output_tokens_per_gpu_second
    busy_cost = desk.usd_per_gpu_hour / SECONDS_PER_HOUR * gpu_seconds  # were the GPU never idle
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


def hosting_usd_per_month(
    tokens_per_month: float, tokens_per_gpu_month: float, usd_per_gpu_hour: float, staff_usd_per_month: float
) -> float:
    """Return the month's cost of serving the tokens oneself: whole GPUs, rented or owned, and the staff."""
    _require("not negative", tokens_per_month=tokens_per_month, usd_per_gpu_hour=usd_per_gpu_hour)
    _require("not negative", staff_usd_per_month=staff_usd_per_month)
    _require("positive", tokens_per_gpu_month=tokens_per_gpu_month)
    gpus = math.ceil(tokens_per_month / tokens_per_gpu_month)
    return gpus * usd_per_gpu_hour * HOURS_PER_MONTH + staff_usd_per_month


def crossing_tokens_per_month(
    usd_per_million: float, tokens_per_gpu_month: float, usd_per_gpu_hour: float, staff_usd_per_month: float
) -> float:
    """Return the least volume that costs no more hosted than by an API, (k × rent + staff) / price; inf: none does.

    Just beyond what k GPUs serve, one more stands nearly idle: there hosting may be the dearer once more.
    """
    _require("positive", usd_per_million=usd_per_million, tokens_per_gpu_month=tokens_per_gpu_month)
    _require("not negative", usd_per_gpu_hour=usd_per_gpu_hour, staff_usd_per_month=staff_usd_per_month)
    rent = usd_per_gpu_hour * HOURS_PER_MONTH
    gain_per_gpu = tokens_per_gpu_month * usd_per_million / MILLION - rent
    if gain_per_gpu <= 0:
        return math.inf
    gpus = max(1, math.ceil(staff_usd_per_month / gain_per_gpu))  # the first k that serves so many
    return (gpus * rent + staff_usd_per_month) / usd_per_million * MILLION


def users_above(use: float, mean_use: float, sigma: float) -> tuple[float, float]:
    """Return the share of users above this use, and their mean use, where use is log-normal (sd `sigma` of its log).

    Φ(z) and mean × Φ(z + σ) / Φ(z), z = (ln(mean / use) − σ²/2) / σ. Adverse selection: whoever may also pay by the
    unit takes a flat price where use > flat / unit price, so `gross_margin(flat, cost × mean above)` is its margin.
    """
    _require("not negative", use=use)
    _require("positive", mean_use=mean_use, sigma=sigma)
    if use == 0:
        return 1.0, mean_use
    z = (math.log(mean_use / use) - sigma**2 / 2) / sigma
    share, share_of_use = (math.erfc(-end / math.sqrt(2)) / 2 for end in (z, z + sigma))  # exact in the far tail too
    if not share:
        raise ValueError(f"Nobody uses more than {use:,}: those above it have no mean. Give a smaller use.")
    return share, mean_use * share_of_use / share
