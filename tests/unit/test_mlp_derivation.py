import ast
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier


def notebook_definitions():
    """Run the functions of chapter 4's NumPy network, and nothing else of the notebook."""
    notebook = nbformat.read(Path("notebooks/04-mlp-derivation.ipynb"), as_version=4)
    names = {"relu", "logsumexp", "log_softmax", "softmax", "one_hot", "cross_entropy"}
    names |= {"numeric_gradient", "new_layers", "forward", "backward", "reliability", "calibration_error"}
    names |= {"sigmoid", "log_sigmoid"}
    namespace = {"np": np, "math": math, "pairwise": pairwise, "Callable": Callable}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            for node in ast.parse(cell.source).body:
                is_named = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("Layers", "PAIRINGS")
                if is_named or (isinstance(node, ast.FunctionDef) and node.name in names):
                    exec(ast.unparse(node), namespace)
    return SimpleNamespace(**{name: namespace[name] for name in [*names, "PAIRINGS"]})


mlp = notebook_definitions()
LAYERS = [(np.ones((4, 3)), np.zeros(3)), (np.ones((3, 2)), np.zeros(2))]


@pytest.mark.parametrize("size", [1.0, 30.0, 1e3, 1e30])
def test_log_softmax_equals_torch_at_any_size(size):
    logits = size * np.random.default_rng(0).normal(size=(20, 7))
    assert_allclose(mlp.log_softmax(logits), torch.from_numpy(logits).log_softmax(1), atol=1e-12)
    assert_allclose(mlp.logsumexp(logits)[:, 0], torch.from_numpy(logits).logsumexp(1))
    assert_allclose(mlp.softmax(logits).sum(axis=1), 1)


def test_cross_entropy_equals_scikit_learn():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    assert_allclose(mlp.cross_entropy(logits, labels), log_loss(labels, mlp.softmax(logits), labels=range(4)))


def test_gradient_is_the_step_that_scikit_learn_takes():
    rng = np.random.default_rng(0)
    inputs, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    network = MLPClassifier(
        (8, 6), solver="sgd", alpha=0, momentum=0, nesterovs_momentum=False, learning_rate_init=0.1, random_state=0
    )
    network.partial_fit(inputs, labels, classes=range(3))
    layers = [(w.copy(), b.copy()) for w, b in zip(network.coefs_, network.intercepts_, strict=True)]
    network.partial_fit(inputs, labels)  # one more step of plain gradient descent on all 60

    activations = mlp.forward(inputs, layers)
    output_gradient = (mlp.softmax(activations[-1]) - mlp.one_hot(labels, activations[-1])) / 60
    gradients = mlp.backward(activations, output_gradient, layers)
    assert_allclose(network.loss_, mlp.cross_entropy(activations[-1], labels))
    for (weights, bias), (dw, db), after, bias_after in zip(
        layers, gradients, network.coefs_, network.intercepts_, strict=True
    ):
        assert_allclose((weights - after) / 0.1, dw, atol=1e-12)
        assert_allclose((bias - bias_after) / 0.1, db, atol=1e-12)


@pytest.mark.parametrize("sizes", [[4, 3], [4, 5, 3], [4, 6, 5, 4, 3]])
def test_gradient_equals_finite_differences_at_any_depth(sizes):
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(7, 4)), rng.integers(0, 3, 7)
    layers = mlp.new_layers(sizes, rng)
    activations = mlp.forward(inputs, layers)
    assert [a.shape for a in activations] == [(7, size) for size in sizes]
    output_gradient = (mlp.softmax(activations[-1]) - mlp.one_hot(labels, activations[-1])) / 7
    gradients = mlp.backward(activations, output_gradient, layers)
    for pair, gradient_pair in zip(layers, gradients, strict=True):
        for array, gradient in zip(pair, gradient_pair, strict=True):
            measured = mlp.numeric_gradient(lambda: mlp.cross_entropy(mlp.forward(inputs, layers)[-1], labels), array)
            assert_allclose(measured, gradient, atol=1e-8)


def test_precision_is_kept():
    layers = [(w.astype(np.float32), b.astype(np.float32)) for w, b in LAYERS]
    logits = mlp.forward(np.ones((2, 4), np.float32), layers)[-1]
    assert logits.dtype == mlp.one_hot([0, 1], logits).dtype == np.float32


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: mlp.forward(np.ones((5, 6)), LAYERS),
            r"inputs \(5, 6\) do not fit weights \(4, 3\); \(n, 4\)",
        ),
        (lambda: mlp.forward(np.ones(4), LAYERS), r"Layer 1: inputs \(4,\) do not fit"),
        (lambda: mlp.forward(np.ones((5, 4)), [LAYERS[0], LAYERS[0]]), r"Layer 2: inputs \(5, 3\) do not fit"),
        (lambda: mlp.forward(np.ones((5, 4)), [(np.ones((4, 3)), np.zeros(1))]), r"bias \(1,\), but \(3,\) is needed"),
        (
            lambda: mlp.backward(mlp.forward(np.ones((5, 4)), LAYERS), np.ones((4, 2)), LAYERS),
            r"gradient \(4, 2\) has not the shape of the logits, \(5, 2\)",
        ),
        (lambda: mlp.cross_entropy(np.ones((3, 2)), [0, 1]), "2 labels for 3 rows of logits"),
        (lambda: mlp.cross_entropy(np.ones((2, 2)), [0, 2]), "go from 0 to 2, but 2 classes are numbered 0 to 1"),
        (lambda: mlp.cross_entropy(np.ones((2, 2)), [-1, 1]), "Labels go from -1 to 1"),
        (lambda: mlp.cross_entropy(np.ones((0, 2)), []), "The batch is empty"),
    ],
)
def test_bad_input_is_refused(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55, 1.0])
    right = np.array([True, False, True, False, True])
    # three in the last bin, confidence 2.9 / 3, right 2 / 3; two in the sixth, 0.55 against 0.5
    expected = 3 / 5 * abs(2.9 / 3 - 2 / 3) + 2 / 5 * abs(0.55 - 0.5)
    assert math.isclose(mlp.calibration_error(mlp.reliability(confidence, right)), expected)


def test_log_sigmoid_overflows_nowhere():
    z = np.array([-1e3, -30.0, 0.0, 30.0, 1e3])
    assert_allclose(mlp.log_sigmoid(z), torch.nn.functional.logsigmoid(torch.from_numpy(z)), atol=1e-300)


@pytest.mark.parametrize("name", list(mlp.PAIRINGS))
def test_gradient_of_every_pairing_is_that_of_autograd(name):
    losses = {
        "softmax + cross-entropy": lambda z, y: -(y * z.log_softmax(1)).sum(1),
        "sigmoid + binary CE": lambda z, y: torch.nn.functional.binary_cross_entropy_with_logits(
            z, y, reduction="none"
        ).sum(1),
        "identity + squared error": lambda z, y: 0.5 * ((z - y) ** 2).sum(1),
        "sigmoid + CE (article)": lambda z, y: -(y * torch.nn.functional.logsigmoid(z)).sum(1),
    }
    rng = np.random.default_rng(0)
    logits, labels = rng.uniform(-30, 30, (40, 10)), rng.integers(0, 10, 40)
    Y = mlp.one_hot(labels, logits)
    z = torch.from_numpy(logits).requires_grad_()
    theirs = losses[name](z, torch.from_numpy(Y))
    theirs.sum().backward()
    _, loss, gradient = mlp.PAIRINGS[name]
    assert_allclose(loss(logits, Y), theirs.detach(), atol=1e-12)
    assert_allclose(gradient(logits, Y), z.grad, atol=1e-12)
