import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from myst_nb import glue

from course.numbers import record


@pytest.fixture(autouse=True)
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


@pytest.mark.parametrize("value", [0.923456789, 42, "Shirt"])
def test_writes_what_myst_nb_reads(value):
    with capture_output() as ours:
        record("name", value)
    with capture_output() as theirs:
        glue("name", value)
    assert ours.outputs[0].metadata == theirs.outputs[0].metadata
    assert ours.outputs[0].data["text/plain"] == theirs.outputs[0].data["text/plain"]
    assert "name = " in ours.outputs[0].data["text/html"]


def test_number_of_numpy_can_be_read_back():
    with capture_output() as captured:
        record("name", np.float64(0.5))
    assert captured.outputs[0].data["text/plain"] == "0.5"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_was_not_measured_is_refused(value):
    with pytest.raises(ValueError, match="is no measurement"):
        record("name", value)


def test_html_is_escaped():
    with capture_output() as captured:
        record("a<b", "<script>")
    assert "<script>" not in captured.outputs[0].data["text/html"]


@pytest.mark.parametrize("value", [None, [1.0], True])
def test_what_cannot_be_formatted_is_refused(value):
    with pytest.raises(TypeError, match="a plain float, int or str is needed"):
        record("name", value)
