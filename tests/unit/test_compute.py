import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

import gguf
import pytest
import torch
from conftest import ROOT
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTBigCodeConfig,
    GPTBigCodeForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from course.compute import (
    Accelerator,
    Model,
    TransformerConfig,
    Work,
    accelerator,
    accelerators,
    experts_touched,
    gpu_hours,
    model,
    model_flops_utilization,
    models,
    training_flop,
    training_flop_per_token,
    training_usd,
)
from course.data import smollm2_file

TINY = TransformerConfig(layers=2, width=24, heads=3, vocabulary=50, positions=16)


LLAMA = TransformerConfig(
    layers=2,
    width=24,
    heads=6,
    vocabulary=50,
    positions=16,
    feed_forward=40,
    kv_heads=2,
    gated=True,
    biases=False,
    rotary=True,
    tied_head=False,
)
MIXTRAL = replace(LLAMA, experts=5, experts_per_token=2)


def reference(config, **changes):
    """The same Llama or Mixtral, made by transformers."""
    shape = {
        "vocab_size": config.vocabulary,
        "hidden_size": config.width,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": config.positions,
        "tie_word_embeddings": config.tied_head,
        "attn_implementation": "eager",
    }
    if config.experts > 1:
        experts = {"num_local_experts": config.experts, "num_experts_per_tok": config.experts_per_token}
        return MixtralForCausalLM(MixtralConfig(**shape, **experts, **changes))
    return LlamaForCausalLM(LlamaConfig(**shape, **changes))


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


def test_llama_parameters_equal_those_of_the_packaged_file():
    """SmolLM2-135M: the shape that its file states gives the numbers that its file holds."""
    reader = gguf.GGUFReader(smollm2_file())
    stated = {key.partition(".")[2]: reader.fields[key].contents() for key in reader.fields if key.startswith("llama")}
    config = TransformerConfig(
        layers=stated["block_count"],
        width=stated["embedding_length"],
        heads=stated["attention.head_count"],
        vocabulary=stated["vocab_size"],
        positions=stated["context_length"],
        feed_forward=stated["feed_forward_length"],
        kv_heads=stated["attention.head_count_kv"],
        gated=True,
        biases=False,
        rotary=True,
    )
    with torch.device("meta"):
        assert config.parameters == count(reference(config))
    assert config.parameters == sum(tensor.n_elements for tensor in reader.tensors)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 2, 3, 6])
@pytest.mark.parametrize("config", [LLAMA, MIXTRAL], ids=["llama", "mixtral"])
def test_grouped_queries_and_experts_are_counted_as_the_reference_counts_them(config, kv_heads, tied):
    config = replace(config, kv_heads=kv_heads, tied_head=tied)
    with torch.device("meta"):
        assert config.parameters == count(reference(config))


def test_one_key_head_with_biases_is_counted_as_the_reference_counts_it():
    shape = GPTBigCodeConfig(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=3, multi_query=True)
    with torch.device("meta"):
        assert replace(TINY, kv_heads=1).parameters == count(GPTBigCodeForCausalLM(shape))


def test_a_gated_network_with_biases_is_counted_as_the_reference_counts_it():
    with torch.device("meta"):
        theirs = count(reference(LLAMA, attention_bias=True, mlp_bias=True))
    shifts = (2 * LLAMA.layers + 1) * LLAMA.width  # of the normalisations, which Llama never has
    assert replace(LLAMA, biases=True).parameters == theirs + shifts


def test_a_mixture_works_with_as_many_parameters_as_one_with_only_the_chosen_experts():
    with torch.device("meta"):
        chosen_only = count(reference(replace(MIXTRAL, experts=MIXTRAL.experts_per_token)))
    router = (MIXTRAL.experts - MIXTRAL.experts_per_token) * MIXTRAL.width * MIXTRAL.layers
    assert MIXTRAL.active_parameters == chosen_only + router
    assert LLAMA.active_parameters == LLAMA.parameters


@pytest.mark.parametrize("config", [LLAMA, replace(LLAMA, kv_heads=6, tied_head=True)])
def test_training_flop_equal_those_that_torch_counts_forward_and_backward(config):
    tokens = torch.zeros(3, 12, dtype=torch.int64)
    theirs = reference(config)
    with FlopCounterMode(display=False) as counter:
        theirs(tokens, labels=tokens, use_cache=False).loss.backward()
    assert config.training(3, 12).flop == counter.get_total_flops()


@pytest.mark.parametrize("context", [1, 12])
def test_prefill_and_decode_flop_equal_those_that_torch_counts(context):
    theirs = reference(LLAMA)
    prompt = torch.zeros(3, context, dtype=torch.int64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        cache = theirs(prompt, logits_to_keep=1).past_key_values
    prefill = LLAMA.prefill(3, context)
    assert (prefill.tokens, prefill.flop) == (3 * context, counter.get_total_flops())
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        theirs(prompt[:, :1], cache=cache)
    decode = LLAMA.decode(3, context + 1)  # the new token is in the context
    assert (decode.tokens, decode.flop) == (3, counter.get_total_flops())


def test_mixture_flop_equal_those_that_torch_counts():
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        reference(MIXTRAL, experts_implementation="eager")(torch.zeros(1, 12, dtype=torch.int64))
    assert MIXTRAL.forward_flop_per_token(12) * 12 == counter.get_total_flops()


@pytest.mark.parametrize("config", [LLAMA, replace(LLAMA, kv_heads=6), replace(LLAMA, kv_heads=1)])
def test_cache_bytes_equal_those_of_a_real_cache(config):
    with torch.no_grad():
        cache = reference(config).bfloat16()(torch.zeros(3, 12, dtype=torch.int64)).past_key_values
    held = sum(tensor.nbytes for layer in cache.layers for tensor in (layer.keys, layer.values))
    assert config.kv_cache_bytes_per_token(bytes_per_number=2) * 3 * 12 == held


def test_a_decoding_pass_reads_the_weights_that_take_part_and_the_cache():
    """Weights: all that get a gradient when one token's logits do, but for tables that are only looked up."""
    theirs = reference(LLAMA)
    theirs(torch.zeros(1, 1, dtype=torch.int64)).logits.sum().backward()
    used = sum(p.numel() for name, p in theirs.named_parameters() if p.grad is not None and "embed" not in name)
    one = LLAMA.decode(1, 10, bytes_per_weight=4, bytes_per_number=2)
    assert one.bytes == 4 * used + 10 * LLAMA.kv_cache_bytes_per_token()
    assert LLAMA.decode(7, 10, 4).bytes - one.bytes == 6 * 10 * LLAMA.kv_cache_bytes_per_token()  # weights once
    assert replace(LLAMA, tied_head=True).decode(1, 10).bytes == LLAMA.decode(1, 10).bytes  # the head is the table


def test_prefill_moves_the_weights_once_and_writes_the_cache():
    assert LLAMA.prefill(3, 10).bytes == LLAMA.decode(3, 10).bytes


def test_training_bytes_are_those_of_mixed_precision_with_adam():
    weights = [p.bfloat16() for p in reference(LLAMA).parameters()]
    gradients = [torch.zeros_like(w) for w in weights]
    masters = [torch.nn.Parameter(w.float()) for w in weights]
    for master in masters:
        master.grad = torch.zeros_like(master)
    optimizer = torch.optim.AdamW(masters)
    optimizer.step()
    moments = [state[name] for state in optimizer.state.values() for name in ("exp_avg", "exp_avg_sq")]
    held = sum(tensor.nbytes for tensor in [*weights, *gradients, *masters, *moments])
    assert LLAMA.training_bytes() == LLAMA.training(1).bytes == held


@pytest.mark.parametrize(("experts", "active", "tokens"), [(256, 8, 32), (256, 8, 1), (8, 2, 5), (64, 6, 40)])
def test_experts_touched_agree_with_simulation(experts, active, tokens):
    generator = torch.Generator().manual_seed(0)
    trials = 2_000
    scores = torch.rand(trials, tokens, experts, generator=generator)
    used = torch.zeros(trials, experts).scatter_(1, scores.topk(active).indices.flatten(1), 1).sum(1)
    error = used.std() / trials**0.5
    assert abs(experts_touched(experts, active, tokens) - used.mean()) <= 4 * error + 1e-4


def test_experts_touched_are_163_of_256_at_a_batch_of_32():
    assert round(experts_touched(256, 8, 32)) == 163
    assert experts_touched(256, 8, 1) == 8
    assert experts_touched(1, 1, 9) == 1
    assert experts_touched(256, 8, 10_000) == pytest.approx(256)


def test_bytes_of_a_mixture_follow_the_union_and_flop_the_chosen():
    one, four = MIXTRAL.decode(1, 10), MIXTRAL.decode(4, 10)
    assert four.flop == 4 * one.flop
    expert = 3 * MIXTRAL.width * MIXTRAL.feed_forward
    more = experts_touched(5, 2, 4) - 2
    cache = 3 * 10 * MIXTRAL.kv_cache_bytes_per_token()
    assert four.bytes - one.bytes == pytest.approx(2 * MIXTRAL.layers * more * expert + cache)


@pytest.mark.parametrize(("flop", "seconds", "bound"), [(10, 2, "bandwidth"), (400, 4, "arithmetic")])
def test_roofline_is_the_slower_of_arithmetic_and_memory(flop, seconds, bound):
    work = Work(tokens=8, flop=flop, bytes=20)
    assert work.flop_per_byte == flop / 20
    assert work.seconds(flop_per_second=100, bytes_per_second=10) == seconds
    assert work.bound(100, 10) == bound
    assert work.tokens_per_second(100, 10) == 8 / seconds


def test_the_bound_changes_where_the_intensity_meets_the_machine():
    chip = accelerator("h100")
    machine = (chip.peak(), chip.bandwidth_bytes_per_second)
    long = replace(LLAMA, positions=10_000)
    for batch in (1, 10, 100, 1_000, 10_000):
        work = long.decode(batch, 1)
        above = work.flop_per_byte > chip.peak() / chip.bandwidth_bytes_per_second
        assert work.bound(*machine) == ("arithmetic" if above else "bandwidth")


def test_the_largest_batch_fits_and_one_more_does_not():
    batch = LLAMA.largest_batch(1e6, context=16)
    needed = [2 * LLAMA.parameters + n * 16 * LLAMA.kv_cache_bytes_per_token() for n in (batch, batch + 1)]
    assert needed[0] <= 1e6 < needed[1]


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
        (lambda: replace(TINY, experts=0), "experts is 0; it must be at least 1"),
        (lambda: replace(TINY, kv_heads=2), "2 key heads do not divide 3 heads"),
        (lambda: replace(TINY, kv_heads=-1), "-1 key heads do not divide 3 heads"),
        (lambda: replace(TINY, experts=2, experts_per_token=3), "3 experts a token: there are only 2"),
        (lambda: TINY.decode(0, 4), "0 sequences in the batch: it must be a positive number"),
        (lambda: TINY.decode(1, 17), "A context of 17 tokens: it must be from 1 to 16"),
        (lambda: TINY.decode(1, 4, bytes_per_weight=0), "0 bytes a weight"),
        (lambda: TINY.prefill(1, 4, bytes_per_number=-1), "-1 bytes a cached number"),
        (lambda: TINY.prefill(-1), "-1 sequences in the batch"),
        (lambda: TINY.training(math.nan), "nan sequences in the batch"),
        (lambda: TINY.largest_batch(float("inf")), "inf bytes of memory: it must be a positive number"),
        (lambda: TINY.largest_batch(1e3), r"0\.0 GB of memory: the weights take .* Use more memory"),
        (lambda: Work(0, 1, 1), "0 tokens: it must be a positive number"),
        (lambda: Work(1, 1, math.inf), "inf bytes: it must be a positive number"),
        (lambda: Work(1, 1, 1).seconds(0, 1), "0 FLOP a second"),
        (lambda: Work(1, 1, 1).bound(1, -1), "-1 bytes a second"),
        (lambda: Work(1, 1, 1).tokens_per_second(1, None), "The table has no bandwidth .* give bytes_per_second"),
        (lambda: experts_touched(256, 0, 1), "0 active experts of 256: from 1 to all"),
        (lambda: experts_touched(8, 9, 1), "9 active experts of 8"),
        (lambda: experts_touched(8, 2, -1), "-1 tokens: it cannot be negative"),
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
