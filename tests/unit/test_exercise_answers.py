"""What an exercise expects, against something that does not know the exercise."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.integrate import quad
from scipy.stats import lognorm, norm
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2Model

from course.compute import accelerator, gpu_hours, training_flop, training_usd
from course.economics import TokenPrices, TokenUse, bill_usd, gross_margin
from course.exercises import EXERCISES
from course.models import MLP


def cases(name):
    return [pytest.param(case, id=f"{name}-{i}") for i, case in enumerate(EXERCISES[name].cases)]


def test_token_table_is_that_of_the_reference():
    with torch.device("meta"):
        assert EXERCISES["01-token-table"].expected == GPT2Model(GPT2Config()).wte.weight.numel()


@pytest.mark.parametrize("case", cases("01-training-days"))
def test_training_days_follow_from_the_hours(case):
    parameters, tokens, chips, utilization = case.tolist()
    hours = gpu_hours(training_flop(parameters, tokens), accelerator("h100").peak(), utilization)
    assert math.isclose(EXERCISES["01-training-days"].expected(case), hours / chips / 24)


@pytest.mark.parametrize("case", cases("02-test-set-size"))
def test_a_test_set_of_that_size_yields_that_gain(case):
    n, gain = case.tolist()
    size = EXERCISES["02-test-set-size"].expected(case)
    assert math.isclose(math.sqrt(0.25 / size) * math.sqrt(2 * math.log(n)), gain)


@pytest.mark.parametrize("groups", cases("02-split"))
def test_split_takes_whole_groups_until_a_fifth_is_reached(groups):
    chosen, taken = set(), 0
    for group in sorted(set(groups.tolist())):
        if 5 * taken < len(groups):
            chosen.add(group)
            taken += groups.tolist().count(group)
    assert EXERCISES["02-split"].expected(groups).tolist() == [g in chosen for g in groups.tolist()]


def test_multiply_adds_are_half_the_flop_that_torch_counts():
    pictures = torch.zeros(100, 1, 28, 28)
    with FlopCounterMode(display=False) as counter:
        MLP()(pictures).sum().backward()
    assert 2 * EXERCISES["04-multiply-adds"].expected == counter.get_total_flops()


@pytest.mark.parametrize("scores", cases("04-squared-softmax"))
def test_squared_softmax_gradient_is_that_of_autograd(scores):
    z = scores.clone().requires_grad_()
    right = F.one_hot(torch.tensor(0), len(z))
    ((z.softmax(0) - right) ** 2).sum().backward()
    torch.testing.assert_close(EXERCISES["04-squared-softmax"].expected(scores), z.grad)


@pytest.mark.parametrize("side", cases("05a-slipping-batch"))
def test_slipping_batch_is_the_first_that_a_real_view_accepts(side):
    stages = torch.nn.Sequential(torch.nn.MaxPool2d(2), torch.nn.MaxPool2d(2))
    for batch in range(1, 100):
        features = stages(torch.empty(batch, 128, side, side, device="meta"))
        try:
            features.view(-1, 128 * 6 * 6)
        except RuntimeError:
            continue
        break
    assert EXERCISES["05a-slipping-batch"].expected(side) == batch


@pytest.mark.parametrize("case", cases("05a-decoding-processes"))
def test_one_process_fewer_would_keep_the_card_waiting(case):
    picture_ms, batch_ms, pictures = case.tolist()
    processes = EXERCISES["05a-decoding-processes"].expected(case)
    assert processes * batch_ms >= pictures * picture_ms > (processes - 1) * batch_ms


@pytest.mark.parametrize("case", cases("05c-break-even-batch"))
def test_at_the_break_even_batch_many_are_as_fast_as_one(case):
    flop_per_s, bytes_per_s, n = case.tolist()
    batch, parameters = EXERCISES["05c-break-even-batch"].expected(case).item(), 25_557_032
    one = training_flop(parameters, batch) / flop_per_s
    turns = 2 * (n - 1) * (4 * parameters / n) / bytes_per_s  # a ring passes on one chunk a turn
    assert math.isclose(one / n + turns, one)


@pytest.mark.parametrize("case", cases("05c-hour-saved"))
@pytest.mark.parametrize("hours", [4, 100])
def test_an_hour_saved_costs_the_extra_rent(case, hours):
    usd_per_hour, gpus, efficiency = case.tolist()
    waiting = hours / (gpus * efficiency)
    extra_usd = training_usd(gpus * waiting, usd_per_hour) - training_usd(hours, usd_per_hour)
    assert math.isclose(EXERCISES["05c-hour-saved"].expected(case).item(), extra_usd / (hours - waiting))


@pytest.mark.parametrize("case", cases("05b-clerk-band"))
def test_the_clerk_looks_where_he_is_the_cheapest_of_three(case):
    missed, returned, clerk = case.tolist()
    q = torch.linspace(0, 1, 100_001, dtype=torch.float64)
    cheapest = torch.stack([q * missed, (1 - q) * returned, torch.full_like(q, clerk)]).argmin(0)
    ends = [(cheapest == 0).double().mean(), 1 - (cheapest == 1).double().mean()]  # shirts' shelf below, coats' above
    torch.testing.assert_close(EXERCISES["05b-clerk-band"].expected(case), torch.stack(ends), atol=1e-4, rtol=0)


@pytest.mark.parametrize("case", cases("05d-seeds"))
def test_fewer_seeds_would_not_do(case):
    s, h = case.tolist()
    n = EXERCISES["05d-seeds"].expected(case)
    half_widths = [norm.ppf(0.975) * s / math.sqrt(m) for m in (n - 1, n) if m]
    assert half_widths[-1] <= h < half_widths[0] or n == 1


@pytest.mark.parametrize("case", cases("05d-views"))
def test_at_break_even_both_have_cost_the_same(case):
    training_s, views, view_s = case.tolist()
    pictures = EXERCISES["05d-views"].expected(case)
    assert math.isclose(training_s + pictures * view_s, pictures * views * view_s)


@pytest.mark.parametrize("case", cases("06f-contract-price"))
def test_a_contract_at_that_price_leaves_the_margin(case):
    margin, fold, years = case.tolist()
    price = EXERCISES["06f-contract-price"].expected(case)
    cost, _ = quad(lambda year: fold**-year, 0, years)  # one conversation a unit of time
    assert math.isclose(gross_margin(price * years, cost), margin)


@pytest.mark.parametrize("case", cases("06f-paid-share"))
def test_with_that_share_paid_for_the_day_has_the_margin(case):
    v3_share, night_share, night_discount, margin = case.tolist()
    paid = EXERCISES["06f-paid-share"].expected(case)
    revenue = 0
    for share, prices in ((1 - v3_share, (0.55, 0.14, 2.19)), (v3_share, (0.27, 0.07, 1.10))):
        for hours, discount in ((1 - night_share, 0), (night_share, night_discount)):
            tokens = paid * share * hours
            use = TokenUse(608e9 * tokens, 168e9 * tokens, 342 / 608)
            revenue += bill_usd(use, TokenPrices(*(usd * (1 - discount) for usd in prices)))
    assert math.isclose(gross_margin(revenue, 226.75 * 8 * 24 * 2), margin, abs_tol=1e-12)


@pytest.mark.parametrize("case", cases("06f-flat-price"))
def test_flat_margin_is_that_of_those_who_come(case):
    price, mean, sigma, meter = case.tolist()
    cost = lognorm(sigma, scale=mean * math.exp(-(sigma**2) / 2))
    mean_of_takers = cost.expect(lb=price / meter, conditional=True)
    assert math.isclose(EXERCISES["06f-flat-price"].expected(case), 1 - mean_of_takers / price, rel_tol=1e-6)


@pytest.mark.parametrize("case", cases("06f-history"))
def test_history_is_what_is_sent_turn_by_turn(case):
    start, question, answer, turns = map(int, case.tolist())
    prompt, seen, sent, cached = "s" * start, start, 0, 0
    for _ in range(turns):
        prompt += "q" * question
        sent, cached = sent + len(prompt), cached + seen
        prompt += "a" * answer
        seen = len(prompt)
    assert EXERCISES["06f-history"].expected(case).tolist() == pytest.approx([sent, cached / sent])
