import numpy as np
import pytest
import torch
from course.tables.exercises import Exercise

from course import exercises
from course.exercises import check

DOUBLE = Exercise(
    expected=lambda x: 2 * x, cases=(torch.tensor([1.0]), torch.tensor([3.0])), hint_zh="乘以二", hint_en="by two"
)
SEVEN = Exercise(expected=7, hint_zh="一周的天数", hint_en="days in a week")


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(exercises, "EXERCISES", {"double": DOUBLE, "seven": SEVEN})


@pytest.mark.parametrize(
    ("name", "answer", "words"),
    [
        ("seven", 7, ["正确", "Right"]),
        ("seven", 7.0, ["正确", "Right"]),
        ("seven", 8, ["不对", "得到 8，应为 7", "一周的天数", "got 8, expected 7", "days in a week"]),
        ("seven", "7", ["不对", "Not right"]),
        ("seven", 7.001, ["不对", "Not right"]),
        ("seven", np.int64(7), ["正确"]),
        ("seven", torch.tensor(7), ["正确"]),
        ("double", lambda x: x.mul_(2), ["正确"]),
        ("double", lambda x: x.mul_(5) * 0 + 1, ["不对", "expected tensor([2.])"]),
        ("double", lambda x: "x", ["不对"]),
        ("double", lambda x: torch.cat([2 * x, 2 * x]), ["不对"]),
        ("seven", None, ["还没有作答", "Not answered yet"]),
        ("double", lambda x: x + x, ["正确", "Right"]),
        ("double", lambda x: x + 1, ["不对", "乘以二", "expected tensor([6.])"]),
        ("double", lambda x: torch.ones(2), ["不对"]),
        ("double", lambda x: None, ["还没有作答"]),
        ("double", None, ["还没有作答"]),
    ],
)
def test_says_right_wrong_or_not_yet(capsys, name, answer, words):
    check(name, answer)
    printed = capsys.readouterr().out
    assert all(word in printed for word in words)


def test_number_where_a_function_is_wanted_is_refused():
    with pytest.raises(TypeError, match="'double' wants a function, not int"):
        check("double", 4)


def test_unknown_exercise_is_refused_with_the_choice():
    with pytest.raises(KeyError, match=r"No exercise 'six'\. There are: double, seven"):
        check("six", 6)
