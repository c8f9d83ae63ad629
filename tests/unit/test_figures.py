import matplotlib.pyplot as plt
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from course.figures import show


@pytest.fixture(autouse=True)
def shell():
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_picture_carries_its_words_and_is_closed():
    plt.style.use("course.course")
    figure, axis = plt.subplots()
    axis.plot([1, 2])
    with capture_output() as captured:
        show(figure, alt="一条上升的线")
    assert captured.outputs[0].metadata["image/svg+xml"]["alt"] == "一条上升的线"
    assert captured.outputs[0].data["image/svg+xml"]
    assert not plt.get_fignums()


def test_same_values_give_the_same_bytes():
    """Whatever the style: a notebook run again changes nothing in its file."""
    svgs = []
    for _ in range(2):
        figure, axis = plt.subplots()
        axis.plot([1, 2])
        axis.imshow([[1]])
        with capture_output() as captured:
            show(figure, alt="一条上升的线")
        svgs.append(captured.outputs[0].data["image/svg+xml"])
    assert svgs[0] == svgs[1]


def test_picture_without_words_is_refused():
    with pytest.raises(ValueError, match="say in words what the figure shows"):
        show(plt.figure(), alt=" ")
    plt.close("all")
