"""Seconds to the validation loss of a usual small GPT on 三国演义: a ladder from nanoGPT to the notebook.

The first rung stands in for nanoGPT's recipe for a small computer (its train.py, model.py and
config/train_shakespeare_char.py with the settings of its README): 4 layers, 4 heads, 128 wide, context 64, 2,000
batches of 12 random windows, AdamW at 0.001 falling to 0.0001 along a cosine after 100 steps of warm-up, betas 0.9 and
0.99, weight decay 0.1 on matrices, gradients clipped at 1, no dropout; LayerNorm with gains, GELU, learned positions,
one table for reading and writing, no biases. Every further rung changes one thing and keeps what came before it; its
number of steps was sought on seed 0, so that it ends at the first rung's loss. Only training is timed. The loss is the
mean over the whole last tenth of the novel in windows of 64, for every rung alike. The rungs take turns, so that a
machine whose speed drifts is fair to all.

The table is stored in book/data/language_model_ladder.toml, where notebook 06a reads it.
"""

import argparse
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from course.data import three_kingdoms
from course.device import describe_machine
from course.models import GPTBlock, rms_norm, rotate

CONTEXT, WIDTH, HEADS = 64, 128, 4
TABLE = Path(__file__).parents[1] / "book/data/language_model_ladder.toml"


@dataclass(frozen=True)
class Recipe:
    """All that a rung may change; the defaults are the usual recipe."""

    name: str = "nanoGPT's recipe for a small computer"
    steps: int = 2000
    layers: int = 4
    batch: int = 12
    random_windows: bool = True  # else every character once before any twice
    learned_positions: bool = True  # else rotary
    layer_norm: bool = True  # else RMS norms without gains, also after the table and on queries and keys
    gelu: bool = True  # else the squared ReLU
    tied: bool = True  # one table for reading and writing
    from_unigram: bool = False  # projections and head start at zero, the head's bias at the logarithms of frequencies
    lr: float = 1e-3
    cosine: bool = True  # with 100 steps of warm-up, clipped at 1; else flat for two fifths, then a line down to zero
    count_pairs: bool = False  # both tables start from counted pairs
    frequent: int = 0  # two-level softmax: so many frequent characters, and one class of rare ones


class Block(GPTBlock):
    """The course's block with its norms, positions and activation as the recipe has them."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__(WIDTH, HEADS)
        self.recipe = recipe
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH, bias=False) for _ in range(2 * recipe.layer_norm))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        before_attention, before_network = self.norms or (rms_norm, rms_norm)
        q, k, v = self.qkv(before_attention(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        if not self.recipe.learned_positions:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if not self.recipe.layer_norm:
            q, k = rms_norm(q), rms_norm(k)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        hidden = self.up(before_network(x))
        return x + self.down(F.gelu(hidden) if self.recipe.gelu else hidden.relu().square())


class LanguageModel(nn.Module):
    """The network of any rung; the characters' numbers go from the most frequent to the rarest."""

    def __init__(self, recipe: Recipe, ids: Tensor, vocabulary: int) -> None:
        super().__init__()
        self.recipe = recipe
        self.table = nn.Embedding(vocabulary, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)  # like `rare`, without effect where the recipe does not use it
        self.blocks = nn.ModuleList(Block(recipe) for _ in range(recipe.layers))
        self.norm = nn.LayerNorm(WIDTH, bias=False) if recipe.layer_norm else rms_norm
        self.head = nn.Linear(WIDTH, vocabulary, bias=not recipe.tied)
        self.rare = nn.Linear(WIDTH, 1)  # the score of "one of the rare"
        angles = torch.arange(CONTEXT)[:, None] * 10_000.0 ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                into_the_stream = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * recipe.layers) if into_the_stream else 0.02)
        if recipe.tied:
            self.head.weight = self.table.weight
        if recipe.from_unigram:
            self.start_at_the_unigram(ids)
        if recipe.count_pairs:
            self.start_from_pairs(ids)

    @torch.no_grad()
    def start_at_the_unigram(self, ids: Tensor) -> None:
        counts = torch.bincount(ids, minlength=len(self.head.bias)) + 0.5
        self.head.bias.copy_((counts / counts.sum()).log())
        self.rare.bias.copy_(self.head.bias[self.recipe.frequent :].logsumexp(0))
        for layer in [self.head, self.rare] + [part for block in self.blocks for part in (block.output, block.down)]:
            nn.init.zeros_(layer.weight)

    @torch.no_grad()
    def start_from_pairs(self, ids: Tensor, prior: float = 200.0) -> None:
        """As in notebook 06a: the best low-rank picture of how much likelier a pair is than chance."""
        pairs = torch.zeros(len(self.head.bias), len(self.head.bias))
        pairs.index_put_((ids[:-1], ids[1:]), torch.ones(()), accumulate=True)
        p = self.head.bias.exp()
        root = p.sqrt()[:, None]
        u, s, v = torch.svd_lowrank(root * torch.log1p(pairs / (prior * p)) * root.T, q=WIDTH + 8, niter=1)
        read, follow = ((side * s.sqrt() / root)[:, :WIDTH] for side in (u, v))
        self.table.weight.copy_(rms_norm(read))
        self.head.weight.copy_(follow * (p @ read.norm(dim=1)) / WIDTH**0.5)

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Return the mean of -ln p over targets (batch, time)."""
        x = self.table(ids)
        if not self.recipe.layer_norm:
            x = rms_norm(x)
        if self.recipe.learned_positions:
            x = x + self.positions.weight
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        x, targets, n = self.norm(x).flatten(0, 1), targets.flatten(), self.recipe.frequent
        if not n:
            return F.cross_entropy(self.head(x), targets)
        weight = torch.cat([self.head.weight[:n], self.rare.weight])
        bias = torch.cat([self.head.bias[:n], self.rare.bias])
        first = F.cross_entropy(F.linear(x, weight, bias), targets.clamp(max=n), reduction="sum")
        tail = (targets >= n).nonzero().squeeze(1)
        scores = F.linear(x[tail], self.head.weight[n:], self.head.bias[n:])
        return (first + F.cross_entropy(scores, targets[tail] - n, reduction="sum")) / len(targets)


def numbered_text() -> tuple[Tensor, Tensor, int]:
    """Return the first nine tenths, the last tenth, and how many kinds of characters there are."""
    text = "".join(three_kingdoms())
    number = {character: i for i, character in enumerate(sorted(set(text)))}
    ids = torch.tensor([number[character] for character in text])
    train = len(ids) * 9 // 10
    rank = torch.bincount(ids[:train], minlength=len(number)).argsort(descending=True, stable=True).argsort()
    ids = rank[ids]
    return ids[:train], ids[train:], len(number)


def batches(recipe: Recipe, ids: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and targets (batch, CONTEXT), targets one later, a step each."""
    starts = torch.empty(0, dtype=torch.long)
    for _ in range(recipe.steps):
        if recipe.random_windows:
            chosen = torch.randint(len(ids) - CONTEXT, (recipe.batch,))
        else:
            if len(starts) < recipe.batch:
                starts = torch.arange(int(torch.randint(CONTEXT, ())), len(ids) - CONTEXT, CONTEXT)
                starts = starts[torch.randperm(len(starts))]
            chosen, starts = starts[: recipe.batch], starts[recipe.batch :]
        rows = ids[chosen[:, None] + torch.arange(CONTEXT + 1)]
        yield rows[:, :-1], rows[:, 1:]


def share_of_lr(step: int, recipe: Recipe) -> float:
    if not recipe.cosine:
        return min(1.0, (1 - step / recipe.steps) / 0.6)
    if step < 100:
        return (step + 1) / 101
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (step - 100) / (recipe.steps - 100)))


def train(recipe: Recipe, ids: Tensor, vocabulary: int, seed: int) -> tuple[LanguageModel, float]:
    """Return the trained model and the seconds that it took, from the first random number to the last step."""
    torch.manual_seed(seed)
    start_s = time.perf_counter()
    model = LanguageModel(recipe, ids, vocabulary)
    groups = [
        {"params": [p for p in model.parameters() if p.ndim == 2]},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, recipe.lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_lr(step, recipe))
    for x, y in batches(recipe, ids):
        model.loss(x, y).backward()
        if recipe.cosine:
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
    return model, time.perf_counter() - start_s


@torch.no_grad()
def validation_loss(model: LanguageModel, ids: Tensor) -> float:
    """Return the mean of -ln p over all of ids, in windows that do not overlap."""
    end = (len(ids) - 1) // CONTEXT * CONTEXT
    x, y = ids[:end].view(-1, CONTEXT), ids[1 : end + 1].view(-1, CONTEXT)
    total = sum(model.loss(a, b) * len(a) for a, b in zip(x.split(64), y.split(64), strict=True))
    return float(total / len(x))


CHANGES: list[dict[str, Any]] = [
    {"name": "every character once before any twice", "random_windows": False, "steps": 1790},
    {"name": "rotary positions", "learned_positions": False, "steps": 1230},
    {"name": "RMS norms without gains, also on table, queries and keys", "layer_norm": False, "steps": 1470},
    {"name": "squared ReLU", "gelu": False, "steps": 1290},
    {"name": "four times the rate, down to zero in a straight line", "lr": 4e-3, "cosine": False, "steps": 660},
    {"name": "two tables, one for reading, one for writing", "tied": False, "steps": 380},
    {"name": "projections and head start at zero, the bias at the unigram", "from_unigram": True, "steps": 405},
    {"name": "two layers", "layers": 2, "steps": 440},
    {"name": "batches of 24", "batch": 24, "steps": 245},
    {"name": "both tables start from counted pairs (the notebook)", "count_pairs": True, "lr": 6e-3, "steps": 192},
    {"name": "two-level softmax: 1,000 frequent characters, the rare as one class", "frequent": 1000, "steps": 187},
]


def ladder() -> list[Recipe]:
    """Return the rungs, each the one before with its change."""
    rungs = [Recipe()]
    for change in CHANGES:
        rungs.append(replace(rungs[-1], **change))
    return rungs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rungs", type=int, nargs="+", help="numbers from 0; without it all, and the table is stored")
    options = parser.parse_args()
    rungs = ladder()
    chosen = options.rungs or range(len(rungs))
    ids, held_out, vocabulary = numbered_text()
    train(replace(rungs[-1], steps=2), ids, vocabulary, 0)  # the first call pays for starting threads
    seconds, losses = ({number: [] for number in chosen} for _ in range(2))
    for seed in options.seeds:
        for number in chosen:
            model, took = train(rungs[number], ids, vocabulary, seed)
            seconds[number].append(took)
            losses[number].append(validation_loss(model, held_out))
            print(f"seed {seed}, rung {number}: {took:6.1f} s, loss {losses[number][-1]:.4f}", flush=True)
    if options.rungs:
        return
    lines = ["# Written by benchmarks/language_model.py (make bench): medians over the seeds."]
    lines += [f'machine = "{describe_machine(torch.device("cpu"))}"', f"date = {datetime.now(UTC).date()}"]
    lines += [f"seeds = {options.seeds}"]
    for number, rung in enumerate(rungs):
        lines += ["", "[[rung]]", f'name = "{rung.name}"', f"steps = {rung.steps}", f"batch = {rung.batch}"]
        lines += [f"seconds = {median(seconds[number]):.1f}", f"loss = {median(losses[number]):.4f}"]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf8")
    print(f"stored: {TABLE.name}")


if __name__ == "__main__":
    main()
