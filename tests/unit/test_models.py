import ast
import inspect
from pathlib import Path

import nbformat
import pytest
import torch

from course import models


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
    ],
    ids=["MLP", "CNN", "CNN of depth 2"],
)
def test_parameters_counted_by_hand(model, parameters):
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert model(torch.zeros(3, 1, 28, 28)).shape == (3, 10)


def definitions(source):
    return {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize("name", ["MLP", "CNN"])
def test_notebook_builds_the_same_network(name):
    notebook = nbformat.read(Path("notebooks/05b-image-classification.ipynb"), as_version=4)
    source = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    ours = definitions(inspect.getsource(models))[name]
    assert ast.dump(definitions(source)[name]) == ast.dump(ours)
