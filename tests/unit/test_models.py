import ast
import inspect

import pytest
import torch
from conftest import defined_in, statements_of

from course import models

ResidualBlock, ResNet = defined_in("05d-what-pays", "ResidualBlock", "ResNet")


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        (models.MLP(hidden=3), 784 * 3 + 3 + 3 * 10 + 10),
        # every convolution has in × out × k² weights and a scale and a shift for each output of its normalisation
        (models.CNN(width=2), 25 * 2 + 4 + 2 * 4 * 9 + 8 + 4 * 8 * 9 + 16 + 8 * 9 * 10 + 10),
        (
            models.CNN(width=1, depth=2),
            25 + 2 + 9 + 2 + 18 + 4 + 36 + 4 + 72 + 8 + 144 + 8 + 4 * 9 * 10 + 10,
        ),
        # a stem of 3 × 3; the first block keeps its shape, the others add a projection of 1 × 1 to their shortcut
        (
            ResNet(width=2),
            (9 * 2 + 4)
            + 2 * (2 * 2 * 9 + 4)
            + (2 * 4 * 9 + 8)
            + (4 * 4 * 9 + 8)
            + (2 * 4 + 8)
            + (4 * 8 * 9 + 16)
            + (8 * 8 * 9 + 16)
            + (4 * 8 + 16)
            + (8 * 10 + 10),
        ),
        # depth adds blocks that keep their shape
        (
            ResNet(width=1, depth=2),
            (9 + 2)
            + 4 * (9 + 2)
            + (2 * 9 + 4)
            + (4 * 9 + 4)
            + (2 + 4)
            + 2 * (4 * 9 + 4)
            + (8 * 9 + 8)
            + (16 * 9 + 8)
            + (8 + 8)
            + 2 * (16 * 9 + 8)
            + (4 * 10 + 10),
        ),
    ],
    ids=["MLP", "CNN", "CNN of depth 2", "ResNet", "ResNet of depth 2"],
)
def test_parameters_counted_by_hand(model, parameters):
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def definitions(statements):
    return {node.name: node for node in statements if isinstance(node, ast.ClassDef | ast.FunctionDef)}


@pytest.mark.parametrize(("stride", "channels"), [(1, 3), (1, 5), (2, 3)])
def test_residual_block_adds_its_input(stride, channels):
    torch.manual_seed(0)
    block = ResidualBlock(3, channels, stride).eval()
    for weight in block.residual.parameters():
        torch.nn.init.zeros_(weight)  # then only what went in is left
    x = torch.randn(2, 3, 8, 8)
    expected = x if (stride, channels) == (1, 3) else block.shortcut[0](x)
    torch.testing.assert_close(block(x), expected.relu(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "notebook"),
    [
        ("MLP", "05b-image-classification"),
        ("CNN", "05b-image-classification"),
        *((name, "06a-language-model") for name in ("rms_norm", "rotate", "GPTBlock", "GPT")),
    ],
)
def test_notebook_builds_the_same_network(name, notebook):
    ours = definitions(ast.parse(inspect.getsource(models)).body)[name]
    assert ast.dump(definitions(statements_of(notebook))[name]) == ast.dump(ours)
