import pytest
import torch

from course.device import autocast_dtype, describe_machine, pick_device, set_seed


def test_picks_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert pick_device().type == expected
    assert pick_device("cpu").type == "cpu"


def test_unknown_device_is_refused_with_the_choice():
    with pytest.raises(ValueError, match=r"No device 'tpu' here\. Choose one of: .*cpu"):
        pick_device("tpu")


def test_seed_repeats_the_draw_and_another_does_not():
    draws = []
    for seed in (3, 3, 4):
        set_seed(seed)
        draws.append(torch.rand(4))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_best_device_comes_first(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device().type == "cuda"


def test_processor_with_bfloat16_uses_it(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert autocast_dtype(torch.device("cpu")) is torch.bfloat16


def test_environment_overrides_the_seed(monkeypatch):
    monkeypatch.setenv("COURSE_SEED", "41")
    assert set_seed(0) == 41


def test_seed_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv("COURSE_SEED", "lucky")
    with pytest.raises(ValueError, match="COURSE_SEED is 'lucky'; it must be a whole number"):
        set_seed()


def test_autocast_type_multiplies_on_this_processor():
    dtype = autocast_dtype(torch.device("cpu"))
    assert dtype in (torch.bfloat16, None)
    with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == (dtype or torch.float32)


def test_processor_without_bfloat16_stays_in_float32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True}, raising=False)
    assert autocast_dtype(torch.device("cpu")) is None


def test_machine_is_one_line():
    line = describe_machine(torch.device("cpu"))
    assert torch.__version__ in line
    assert "\n" not in line
