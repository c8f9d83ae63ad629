import ast
import inspect
import math
import random
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from course import autograd
from course.autograd import MLP, Layer, Neuron, Value
from course.exercises import EXERCISES

NAN = math.nan

# Each works on Values and on PyTorch's numbers alike, so that PyTorch can be asked what is right.
EXPRESSIONS = {
    "a + b": lambda a, b: a + b,
    "a - b": lambda a, b: a - b,
    "a * b": lambda a, b: a * b,
    "a / b": lambda a, b: a / b,
    "2 + a": lambda a, b: 2 + a,
    "2 - a": lambda a, b: 2 - a,
    "2 * a": lambda a, b: 2 * a,
    "2 / a": lambda a, b: 2 / a,
    "a + 2": lambda a, b: a + 2,
    "a - 2": lambda a, b: a - 2,
    "a / 2": lambda a, b: a / 2,
    "-a": lambda a, b: -a,
    "a ** 3": lambda a, b: a**3,
    "a ** -2": lambda a, b: a**-2,
    "a ** 0": lambda a, b: a**0 + a,
    "(a * a) ** 0.5": lambda a, b: (a * a) ** 0.5,
    "exp": lambda a, b: a.exp(),
    "tanh": lambda a, b: a.tanh(),
    "relu": lambda a, b: a.relu(),
    "relu of minus": lambda a, b: (-a).relu(),
    "a used twice": lambda a, b: a * a,
    "a used thrice, on paths of different length": lambda a, b: a * (a * b + a.exp()).tanh() + a,
    "a diamond": lambda a, b: (a + b) * (a - b) / ((a + b) ** 2 + 1),
}


def value_gradients(expression, numbers):
    leaves = [Value(number) for number in numbers]
    result = expression(*leaves)
    result.backward()
    return result.data, [leaf.grad for leaf in leaves]


@pytest.mark.parametrize("numbers", [(1.3, -0.7), (-0.4, 2.1)])
@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_every_operation_agrees_with_pytorch(expression, numbers):
    tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in numbers]
    expected = expression(*tensors)
    expected.backward()
    data, gradients = value_gradients(expression, numbers)
    assert data == pytest.approx(expected.item(), rel=1e-12)
    assert gradients == pytest.approx([0.0 if t.grad is None else t.grad.item() for t in tensors], rel=1e-12)


@pytest.mark.parametrize("seed", range(10))
def test_random_expressions_agree_with_pytorch_and_central_differences(seed):
    rng = random.Random(seed)
    steps = [(rng.randrange(6), rng.randrange(3 + i), rng.randrange(3 + i)) for i in range(12)]

    def expression(*leaves):
        numbers = list(leaves)
        for kind, i, j in steps:
            a, b = numbers[i], numbers[j]
            numbers.append([a + b, a - b, a * b.tanh(), a / (b**2 + 1), (a * 0.5) ** 3, a.tanh().exp()][kind])
        return numbers[-1] * numbers[-2] + numbers[-3]

    start = [rng.uniform(-1.5, 1.5) for _ in range(3)]
    _, gradients = value_gradients(expression, start)
    tensors = [torch.tensor(number, dtype=torch.float64, requires_grad=True) for number in start]
    expected = torch.autograd.grad(expression(*tensors), tensors, materialize_grads=True)
    assert gradients == pytest.approx([g.item() for g in expected], rel=1e-10, abs=1e-12)
    for i in range(3):
        nudged = [[n + h * (k == i) for k, n in enumerate(start)] for h in (1e-5, -1e-5)]
        up, down = (value_gradients(expression, numbers)[0] for numbers in nudged)
        assert gradients[i] == pytest.approx((up - down) / 2e-5, rel=1e-6, abs=1e-6)


def test_slope_of_relu_at_zero_is_that_of_pytorch():
    x = Value(0.0)
    x.relu().backward()
    tensor = torch.tensor(0.0, requires_grad=True)
    torch.relu(tensor).backward()
    assert x.grad == tensor.grad == 0


def test_second_backward_adds_as_in_pytorch():
    x = Value(3.0)
    inner = x * x
    outer = inner * x
    outer.backward()
    outer.backward()
    tensor = torch.tensor(3.0, requires_grad=True)
    cube = tensor * tensor * tensor
    cube.backward(retain_graph=True)
    cube.backward()
    assert x.grad == tensor.grad == 54
    assert inner.grad == 6
    assert outer.grad == 2


def test_deep_chain_needs_no_recursion():
    x = total = Value(1.0)
    for _ in range(10_000):
        total = total + x
    total.backward()
    assert x.grad == 10_001


def test_values_apart_from_the_graph_keep_their_gradients():
    x, other = Value(2.0), Value(5.0)
    other.grad = 7.0
    user = x * other
    (x * 3).backward()
    assert (x.grad, other.grad, user.grad) == (3, 7, 0)


def test_users_come_before_what_they_use():
    a, b = Value(1.0), Value(2.0)
    c = a * b
    d = c + a
    e = d * c
    order = e.topological_order()
    assert set(order) == {a, b, c, d, e}
    assert len(order) == 5
    for node in order:
        assert all(order.index(parent) > order.index(node) for parent in node.parents)


def cycle_of_two():
    leaves = [Value(1.0, label="leaf") for _ in range(30)]  # they feed the cycle and are not on it
    b = leaves[0] * 2
    c = b + 1
    b.label, c.label = "b", "c"
    b.parents, c.parents = (*leaves, c), (*leaves, b)
    return c + 5


def cycle_of_one():
    x = Value(1.0, label="x")
    x.parents, x.slopes = (x,), (1.0,)
    return x


def cycle_far_below():
    deep = cycle_of_two()
    leaf = Value(2.0, label="leaf")
    for _ in range(5_000):
        deep = deep + leaf
    return deep


@pytest.mark.parametrize(("make", "names"), [(cycle_of_two, "bc"), (cycle_of_one, "x"), (cycle_far_below, "bc")])
def test_cycle_made_by_hand_is_refused_by_name(make, names):
    output = make()
    with pytest.raises(ValueError, match=rf"The graph has a cycle: Value\([{names}]: .*depends on itself"):
        output.backward()
    assert output.grad == 0  # nothing was changed halfway


@pytest.mark.parametrize(
    ("act", "error", "words"),
    [
        (lambda: Value("3"), TypeError, r"Value needs a number, not str \('3'\)"),
        (lambda: Value(None), TypeError, "Value needs a number, not NoneType"),
        (lambda: Value([1]), TypeError, "Value needs a number, not list"),
        (lambda: Value(1) + "a", TypeError, r"Value needs a number, not str \('a'\)"),
        (lambda: "a" * Value(1), TypeError, "Value needs a number, not str"),
        (lambda: Value(NAN), ValueError, r"Value\(nan\): only finite numbers"),
        (lambda: Value(1e200) * 1e200, ValueError, r"Value\(inf\): only finite numbers"),
        (lambda: Value(3) / 0, ZeroDivisionError, r"Value\(data=3, grad=0\) cannot be divided by zero"),
        (lambda: 1 / Value(0, label="x"), ZeroDivisionError, "cannot be divided by zero"),
        (lambda: Value(3) / (Value(1) - 1), ZeroDivisionError, "cannot be divided by zero"),
        (lambda: Value(2) ** Value(3), TypeError, r"exponent of \*\* must be a plain number, not Value"),
        (lambda: Value(2) ** "3", TypeError, r"exponent of \*\* must be a plain number, not str"),
        (lambda: Value(-2) ** 0.5, ValueError, r"-2.0 \*\* 0.5 is no real number"),
        (lambda: Value(0) ** -1, ZeroDivisionError, r"0 \*\* -1 has no finite slope"),
        (lambda: Value(0) ** 0.5, ZeroDivisionError, r"0 \*\* 0.5 has no finite slope"),
        (lambda: Value(2) ** 5000, OverflowError, r"2.0 \*\* 5000 is too large for a float"),
        (lambda: Value(1e-200) ** -1.5, OverflowError, "is too large for a float"),
        (lambda: Value(0) / 1e-320, ValueError, "step '÷' has no finite slope at 0.0"),
        (lambda: Value(709.5).exp(), OverflowError, r"exp\(709.5\) is too large"),
        (lambda: Value(1, (Value(2),)).backward(), ValueError, "shorter"),  # slopes and parents must pair
        (lambda: MLP([2, 1], "gelu", random.Random(0)), ValueError, "No activation 'gelu' for hidden layers"),
        (lambda: MLP([2, 3, 1], "linear", random.Random(0)), ValueError, "No activation 'linear' for hidden"),
        (lambda: Value(1000).exp(), OverflowError, r"exp\(1000.0\) is too large"),
        (lambda: Neuron(0, "tanh", random.Random(0)), ValueError, "at least one input, not 0"),
        (lambda: Neuron(2, "gelu", random.Random(0)), ValueError, "No activation 'gelu': tanh, relu or linear"),
        (lambda: Layer(2, 0, "tanh", random.Random(0)), ValueError, "at least one neuron, not 0"),
        (lambda: MLP([2], "tanh", random.Random(0)), ValueError, r"sizes \[2\]: inputs and at least one layer"),
        (lambda: Neuron(2, "tanh", random.Random(0))([1.0]), ValueError, "2 inputs are needed, not 1"),
        (lambda: Layer(2, 3, "tanh", random.Random(0))([1.0] * 3), ValueError, "2 inputs are needed, not 3"),
        (lambda: MLP([2, 3, 1], "tanh", random.Random(0))([]), ValueError, "2 inputs are needed, not 0"),
    ],
)
def test_bad_input_is_refused_with_a_reason(act, error, words):
    with pytest.raises(error, match=words):
        act()


@pytest.mark.parametrize("number", [3, 3.0, True, np.float32(3), np.float64(3), np.int64(3)])
def test_numbers_of_every_kind_are_welcome(number):
    assert type(Value(number).data) is float


def test_zero_to_the_power_zero_and_one():
    for exponent, slope in ((0, 0), (1, 1), (2, 0)):
        x = Value(0.0)
        (x**exponent).backward()
        assert x.grad == slope


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_network_agrees_with_pytorch(activation):
    network = MLP([3, 5, 4, 2], activation, random.Random(0))
    parameters = [torch.tensor(p.data, dtype=torch.float64, requires_grad=True) for p in network.parameters()]
    assert len(parameters) == 4 * 5 + 6 * 4 + 5 * 2
    left, x = iter(parameters), torch.tensor([0.3, -1.2, 2.0], dtype=torch.float64)
    for i, layer in enumerate(network.layers):
        outputs = []
        for neuron in layer.neurons:
            weights = torch.stack([next(left) for _ in neuron.weights])
            outputs.append(weights @ x + next(left))
        x = torch.stack(outputs)
        x = getattr(torch, activation)(x) if i < 2 else x
    first, second = network([0.3, -1.2, 2.0])
    assert [first.data, second.data] == pytest.approx(x.tolist(), rel=1e-12)

    (first * second).backward()
    expected = torch.autograd.grad(x.prod(), parameters)
    assert [p.grad for p in network.parameters()] == pytest.approx([g.item() for g in expected], rel=1e-10)


def test_weights_have_the_promised_variance_and_follow_the_generator():
    weights = [w.data for w in Neuron(4_000, "tanh", random.Random(1)).weights]
    assert np.std(weights) * math.sqrt(4_000) == pytest.approx(1, abs=0.05)
    assert weights == [w.data for w in Neuron(4_000, "tanh", random.Random(1)).weights]
    assert weights != [w.data for w in Neuron(4_000, "tanh", random.Random(2)).weights]


def definitions(source):
    named = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node for node in ast.parse(source).body if isinstance(node, named)}


@pytest.mark.parametrize("name", ["Value", "as_value", "Neuron", "Layer", "MLP"])
def test_notebook_builds_the_same_engine(name):
    notebook = nbformat.read(Path("notebooks/03-backpropagation.ipynb"), as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    ours = definitions(inspect.getsource(autograd))[name]
    assert ast.dump(definitions(source)[name]) == ast.dump(ours)


def test_slope_exercise_expects_what_the_engine_computes():
    price = Value(60)
    ((price - 40) * (400 * (price / -40).exp())).backward()
    assert EXERCISES["03-slope"].expected == pytest.approx(price.grad)


def test_sigmoid_exercise_expects_what_pytorch_computes_and_leaves_its_cases_alone():
    exercise = EXERCISES["03-sigmoid"]
    for case in exercise.cases:
        for _ in range(2):  # asked twice, the answer is the same
            height = torch.sigmoid(case)
            torch.testing.assert_close(exercise.expected(case), height * (1 - height))
        assert not case.requires_grad


def test_backward_cost_exercise_counts_as_pytorch_does():
    network = torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    loss = F.cross_entropy(network(torch.zeros(1, 784)), torch.tensor([3]))
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert EXERCISES["03-backward-cost"].expected == counter.get_total_flops() / 2


def test_exp_reaches_as_far_as_a_float():
    assert Value(709).exp().data == math.exp(709)


def test_bias_starts_at_zero_and_a_step_is_named_in_the_graph():
    assert Neuron(2, "tanh", random.Random(0)).bias.data == 0
    assert repr(Value(1.23456) * 1) == "Value(×: data=1.23456, grad=0)"
