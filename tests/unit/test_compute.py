import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

from course.compute import (
    Accelerator,
    Model,
    TransformerConfig,
    accelerator,
    accelerators,
    gpu_hours,
    model,
    model_flops_utilization,
    models,
    training_flop,
    training_flop_per_token,
    training_usd,
)

TINY = TransformerConfig(layers=2, width=24, heads=3, vocabulary=50, positions=16)


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("layers", "width", "heads"), [(2, 24, 3), (12, 768, 12), (96, 12_288, 96)])
def test_gpt_parameters_equal_the_reference_to_the_unit(layers, width, heads):
    config = TransformerConfig(layers, width, heads, vocabulary=50_257, positions=1_024)
    with torch.device("meta"):
        theirs = GPT2LMHeadModel(GPT2Config(n_layer=layers, n_embd=width, n_head=heads))
    assert config.parameters == count(theirs)
    untied = replace(config, tied_head=False)
    assert untied.parameters == config.parameters + 50_257 * width


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize(("layers", "width", "hidden"), [(1, 32, 64), (12, 768, 3_072), (24, 1_024, 4_096)])
def test_bert_parameters_equal_the_reference_to_the_unit(layers, width, hidden, pooler):
    config = TransformerConfig(
        layers, width, 4, 30_522, 512, feed_forward=hidden, token_types=2, pooler=pooler, causal=False
    )
    theirs = BertConfig(num_hidden_layers=layers, hidden_size=width, num_attention_heads=4, intermediate_size=hidden)
    with torch.device("meta"):
        assert config.parameters == count(BertModel(theirs, add_pooling_layer=pooler))


@pytest.mark.parametrize("head", [True, False])
def test_forward_flop_equal_those_that_torch_counts_in_the_reference(head):
    context = 12
    shape = GPT2Config(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=3, attn_implementation="eager")
    theirs = GPT2LMHeadModel(shape)
    tokens = torch.zeros(1, context, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        (theirs if head else theirs.transformer)(tokens)
    assert TINY.forward_flop_per_token(context, head=head) * context == counter.get_total_flops()
    assert TINY.forward_flop_per_token() == TINY.forward_flop_per_token(16)  # by default the longest context


def test_feed_forward_is_four_times_the_width_unless_it_is_given():
    assert TINY.feed_forward == 96
    assert replace(TINY, feed_forward=10).parameters == TINY.parameters - 2 * (2 * 24 * 86 + 86)


def test_palm_utilization_is_what_its_paper_prints():
    palm = model("palm")
    peak = accelerator(palm.accelerator).peak()
    with_attention = training_flop_per_token(palm.parameters, palm.layers, palm.attention_width, palm.context)
    for flop, printed in ((with_attention, 0.462), (training_flop(palm.parameters, 1), 0.457)):
        hours = palm.chips / 3600  # of one second
        assert round(model_flops_utilization(flop * palm.tokens_per_second, hours, peak), 3) == printed


def test_hours_and_utilization_are_inverse():
    hours = gpu_hours(3e23, 1e15, 0.4)
    assert math.isclose(hours, 3e23 / 4e14 / 3600)
    assert math.isclose(model_flops_utilization(3e23, hours, 1e15), 0.4)
    assert training_usd(hours, 2) == 2 * hours


def test_published_compute_of_llama_agrees_with_its_parameters_and_tokens():
    assert f"{model('llama-3.1-405b').compute_flop:.1e}" == "3.8e+25"  # the report's own figure


@pytest.mark.parametrize(
    ("row", "flop"),
    [
        ({}, None),
        ({"tokens": 7}, 6 * 10 * 7),
        ({"tokens": 7, "active_parameters": 2}, 6 * 2 * 7),
        ({"multiply_adds_per_example": 5, "examples": 3}, 6 * 5 * 3),
        ({"tokens": 7, "training_flop": 99.0}, 99.0),
    ],
)
def test_compute_of_a_model_is_taken_from_what_is_published(row, flop):
    assert Model("m", "M", date(2026, 1, 1), 10, ("key",), **row).compute_flop == flop


def test_peaks_are_dense_and_agree_with_those_of_torch():
    device_info = pytest.importorskip("torch._inductor.analysis.device_info")
    for name, theirs in (("a100", "NVIDIA A100"), ("h100", "NVIDIA H100"), ("b200", "NVIDIA B200")):
        dense = device_info.datasheet_tops(torch.bfloat16, device_name=theirs)
        if dense is not None:  # it is not a public interface
            assert math.isclose(accelerator(name).peak(), dense * 1e12, rel_tol=0.005)


def test_float16_stands_in_where_a_chip_has_no_bfloat16():
    assert accelerator("v100").peak() == accelerator("v100").peak("fp16") == 125e12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(TINY, heads=5), "5 heads do not divide the width 24"),
        (lambda: replace(TINY, layers=0), "layers is 0; it must be at least 1"),
        (lambda: model("gpt-5"), r"No model 'gpt-5' in the table\. There are: lenet-5, .*deepseek-v4-pro"),
        (lambda: accelerator("tpu"), r"No accelerator 'tpu' in the table\. There are: v100, .*tpu-v4"),
        (lambda: accelerator("v100").peak("fp8"), r"NVIDIA V100 has no peak for 'fp8'\. There are: fp16"),
        (lambda: replace(TINY, token_types=-5), "token_types -5, feed_forward 96: neither is negative"),
        (lambda: TINY.forward_flop_per_token(17), "A context of 17 tokens: it must be from 1 to 16"),
        (lambda: TINY.forward_flop_per_token(0), "A context of 0 tokens"),
        (lambda: training_usd(10, accelerator("a100").usd_per_hour), "The table has no rent .* give usd_per_hour"),
        (lambda: training_flop(math.nan, 1), "nan parameters and 1 tokens"),
        (lambda: training_flop(10, -1), "-1 tokens: neither can be negative"),
        (lambda: training_flop(-10, 1), "-10 parameters and 1 tokens: neither can be negative"),
        (lambda: training_flop_per_token(10, layers=-1), "layers -1.*none can be negative"),
        (lambda: model_flops_utilization(1, 0, 1), "0 accelerator hours.*both must be positive"),
        (lambda: model_flops_utilization(1, -2, 1), "-2 accelerator hours.*both must be positive"),
        (lambda: model_flops_utilization(1, 1, 0), "0 FLOP/s: both must be positive"),
        (lambda: model_flops_utilization(-1, 1, 1), "-1 FLOP: it cannot be negative"),
        (lambda: gpu_hours(1, 1, 0), r"A utilisation of 0 is outside \(0, 1\]"),
        (lambda: gpu_hours(1, 1, 40), r"outside \(0, 1\]\. 40 per cent is 0\.4"),
        (lambda: gpu_hours(-1, 1, 0.5), "-1 FLOP at 1 FLOP/s"),
        (lambda: training_usd(-1, 2), "-1 hours at 2 USD: neither can be negative"),
    ],
)
def test_bad_input_is_refused_with_a_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_row_names_sources_that_the_bibliography_holds():
    known = set(re.findall(r"^@\w+\{(.+?),$", Path("book/references.bib").read_text(encoding="utf8"), re.M))
    rows = [*models().values(), *accelerators().values()]
    assert len(rows) > 20
    for row in rows:
        assert row.source, row.name
        assert set(row.source) <= known, row.name
        if isinstance(row, Accelerator) and row.usd_per_hour:
            assert row.rent_date, row.name
            assert {row.rent_source, row.rent_range_source or row.rent_source} <= known, row.name


def test_every_accelerator_that_a_model_names_is_in_the_table():
    named = {row.accelerator for row in models().values()} - {None}
    assert named <= set(accelerators())


def test_module_needs_no_torch():
    """So that the book's tables can be drawn where only the book's own dependencies are installed."""
    program = "import sys, course.compute; sys.exit(bool({'torch', 'matplotlib', 'requests'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_rents_and_parameters_are_in_order():
    for row in accelerators().values():
        rents = [row.usd_per_hour_low, row.usd_per_hour, row.usd_per_hour_high]
        assert [r for r in rents if r] == sorted(r for r in rents if r), row.name
    for row in models().values():
        assert row.working_parameters <= row.parameters, row.name
        assert (row.layers is None) == (row.attention_width is None) == (row.context is None), row.name


def test_utilization_of_a_whole_run_fits_the_steps_that_its_report_measured():
    """41 per cent a step and more than nine tenths of the time effective, says the report on Llama 3.1 405B."""
    row = model("llama-3.1-405b")
    flop = row.tokens * training_flop_per_token(row.parameters, row.layers, row.attention_width, row.context)
    whole_run = model_flops_utilization(flop, row.accelerator_hours, accelerator(row.accelerator).peak())
    assert 0.9 < whole_run / 0.41 < 1
