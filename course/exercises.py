"""Exercises that check themselves, without a network. What they expect stands in book/data/exercises.py."""

import math

import torch

from course.tables.exercises import EXERCISES


def check(name: str, answer: object) -> None:
    """Print whether `answer` to the exercise is right; if not, what was expected, and a hint. Chinese, then English.

    An answer of None (or a function that returns None) counts as not given yet.

    Raises:
        KeyError: there is no such exercise.
        TypeError: the exercise wants a function and was given something else.
    """
    if name not in EXERCISES:
        raise KeyError(f"No exercise {name!r}. There are: {', '.join(EXERCISES)}.")
    exercise = EXERCISES[name]
    pairs = [(answer, exercise.expected, "")]
    if callable(exercise.expected) and answer is not None:
        if not callable(answer):
            raise TypeError(f"Exercise {name!r} wants a function, not {type(answer).__name__}.")
        pairs = [(answer(case.clone()), exercise.expected(case), f" ({case.tolist()})") for case in exercise.cases]
    if any(given is None for given, _, _ in pairs):
        print("还没有作答。 / Not answered yet.")
        return
    for given, expected, where in pairs:
        if not _equal(given, expected):
            print(f"不对{where}：得到 {given}，应为 {expected}。提示：{exercise.hint_zh}")
            print(f"Not right{where}: got {given}, expected {expected}. Hint: {exercise.hint_en}")
            return
    print("正确。 / Right.")


def _equal(given: object, expected: object) -> bool:
    if isinstance(expected, torch.Tensor):
        try:
            given = torch.as_tensor(given, dtype=expected.dtype)
        except (TypeError, ValueError, RuntimeError):
            return False
        return given.shape == expected.shape and torch.allclose(given, expected, rtol=1e-4)
    if getattr(given, "shape", None) == ():  # a number that came out of NumPy or PyTorch
        given = given.item()
    return isinstance(given, int | float) and math.isclose(given, expected, rel_tol=1e-6)
