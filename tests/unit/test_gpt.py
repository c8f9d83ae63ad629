"""The GPT of course.models, against the same network in transformers and against what attention must do."""

import pytest
import torch
from transformers import NanoChatConfig, NanoChatForCausalLM

from course.models import GPT, rms_norm, rotate

VOCABULARY, WIDTH, HEADS, CONTEXT = 30, 16, 2, 12


@pytest.fixture
def model():
    """A network whose blocks and head do something; a new one starts with both at zero."""
    torch.manual_seed(0)
    model = GPT(torch.zeros(VOCABULARY), layers=2, heads=HEADS, width=WIDTH, context=CONTEXT)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model.eval()


@pytest.fixture
def ids():
    return torch.randint(VOCABULARY, (3, CONTEXT), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_logits_and_layers_are_those_of_nanochat(model, ids):
    config = NanoChatConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        max_position_embeddings=CONTEXT,
        final_logit_softcapping=None,
        rms_norm_eps=torch.finfo(torch.float32).eps,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
    )
    reference = NanoChatForCausalLM(config).eval()
    weights = {"model.embed_tokens.weight": model.table.weight, "lm_head.weight": model.head.weight}
    for i, block in enumerate(model.blocks):
        q, k, v = block.qkv.weight.chunk(3)
        projections = {"q": q, "k": k, "v": v, "o": block.output.weight}
        weights |= {f"model.layers.{i}.self_attn.{name}_proj.weight": weight for name, weight in projections.items()}
        weights[f"model.layers.{i}.mlp.fc1.weight"] = block.up.weight
        weights[f"model.layers.{i}.mlp.fc2.weight"] = block.down.weight
    reference.load_state_dict(weights)
    reference.lm_head.bias = model.head.bias

    theirs = reference(ids, output_hidden_states=True)
    x = rms_norm(model.table(ids))
    torch.testing.assert_close(x, theirs.hidden_states[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.blocks[0](x, model.cos, model.sin), theirs.hidden_states[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(ids), theirs.logits, rtol=1e-4, atol=1e-5)


def test_untrained_it_predicts_the_frequencies(ids):
    log_frequency = torch.rand(VOCABULARY).log_softmax(0)
    logits = GPT(log_frequency, layers=1, heads=HEADS, width=WIDTH, context=CONTEXT)(ids)
    torch.testing.assert_close(logits, log_frequency.expand_as(logits))


@torch.no_grad()
@pytest.mark.parametrize("changed", range(1, CONTEXT))
def test_a_later_token_changes_no_earlier_logit(model, ids, changed):
    other = ids.clone()
    other[:, changed] = (other[:, changed] + 1) % VOCABULARY
    before, after = model(ids), model(other)
    torch.testing.assert_close(after[:, :changed], before[:, :changed], rtol=0, atol=1e-6)
    assert ((after - before)[:, changed:].abs().amax(dim=-1) > 1e-5).all()  # and every later one


@pytest.mark.parametrize("place", [0, 5, CONTEXT - 1])
def test_gradients_reach_every_token_before_and_none_after(model, ids, place):
    x = rms_norm(model.table(ids[:1])).detach().requires_grad_()
    hidden = x
    for block in model.blocks:
        hidden = block(hidden, model.cos, model.sin)
    (gradient,) = torch.autograd.grad(hidden[0, place].sum(), x)
    reached = (gradient[0] != 0).any(dim=-1)
    assert reached.tolist() == [i <= place for i in range(CONTEXT)]


@torch.no_grad()
@pytest.mark.parametrize("prompt", [1, 4, CONTEXT - 1])
def test_with_a_cache_the_logits_are_the_same(model, ids, prompt):
    cache = [[] for _ in model.blocks]
    parts = [model(ids[:, :prompt], cache)]
    parts += [model(ids[:, i : i + 1], cache) for i in range(prompt, CONTEXT)]
    torch.testing.assert_close(torch.cat(parts, dim=1), model(ids), rtol=1e-4, atol=1e-5)
    assert cache[0][0].shape == (3, HEADS, CONTEXT, WIDTH // HEADS)


def test_rotary_scores_depend_on_the_distance_only(model):
    size = WIDTH // HEADS
    q, k = torch.randn(2, size, generator=torch.Generator().manual_seed(2))
    q, k = (rotate(x.expand(1, 1, CONTEXT, size), model.cos, model.sin)[0, 0] for x in (q, k))
    scores = q @ k.T
    for distance in range(-CONTEXT + 1, CONTEXT):
        same = scores.diagonal(distance)
        torch.testing.assert_close(same, same[:1].expand_as(same), rtol=1e-4, atol=1e-5)
    assert scores[0].std() > 0.1  # and they do depend on it


def test_rotary_turns_every_pair_as_a_complex_number(model):
    x = torch.randn(CONTEXT, WIDTH // HEADS, generator=torch.Generator().manual_seed(3))
    angles = torch.arange(CONTEXT)[:, None] / torch.tensor([1.0, 10_000.0 ** (2 / 8), 100.0, 10_000.0 ** (6 / 8)])
    turned = torch.complex(*x.chunk(2, dim=-1)) * torch.polar(torch.ones_like(angles), -angles)
    torch.testing.assert_close(rotate(x, model.cos, model.sin), torch.cat([turned.real, turned.imag], dim=-1))


def test_rms_norm_makes_the_mean_square_one():
    x = torch.randn(4, 7, generator=torch.Generator().manual_seed(4)) * torch.tensor([[0.1], [1.0], [5.0], [100.0]])
    torch.testing.assert_close(rms_norm(x).square().mean(dim=-1), torch.ones(4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rms_norm(x), x / x.square().mean(dim=-1, keepdim=True).sqrt(), rtol=1e-4, atol=1e-4)


def full_cache(model, ids):
    cache = [[] for _ in model.blocks]
    model(ids, cache)
    return cache


@torch.no_grad()
@pytest.mark.parametrize(
    ("read", "given", "message"),
    [
        (0, CONTEXT + 1, "13 tokens: at most 12 fit. Shorten the text."),
        (CONTEXT, 1, "13 tokens: at most 12 fit. Shorten the text."),
        (3, 2, "With a cache, give later tokens one at a time."),
    ],
    ids=["too long", "too long with what the cache holds", "two after a cache"],
)
def test_what_cannot_be_read_is_refused(model, ids, read, given, message):
    cache = full_cache(model, ids[:, :read]) if read else None
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(3, given, dtype=torch.long), cache)
