"""What an exercise expects, against something that does not know the exercise."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config, GPT2Model

from course.compute import accelerator, gpu_hours, training_flop
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
