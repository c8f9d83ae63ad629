"""What a language model takes to train: parameters, FLOP, accelerators, their utilisation, time and money.

One FLOP is one floating-point operation, so a multiply-add is two. The figures of models and accelerators, each with
source and date, stand in book/data/models.toml and book/data/hardware.toml.
"""

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a BERT or a GPT: learned positions, biases everywhere, one normalisation beside those of the blocks.

    Attributes:
        layers, width, heads: number of blocks, numbers per token, attention heads per block.
        vocabulary, positions: rows of the two embedding tables; `positions` is the longest context.
        feed_forward: hidden units of a block's two-layer network; by default four times the width;
            `dataclasses.replace` keeps what stands there, so give it anew with another width.
        token_types: rows of BERT's table of sentence A or B; 0 for none.
        pooler: BERT's dense layer over the first token.
        tied_head: the output layer is the token table once more; otherwise it adds vocabulary × width weights.
        causal: GPT (normalise before each sublayer, look only back) or BERT (normalise after, look both ways).

    Raises:
        ValueError: a size is not positive, or the heads do not divide the width.
    """

    layers: int
    width: int
    heads: int
    vocabulary: int
    positions: int
    feed_forward: int = 0
    token_types: int = 0
    pooler: bool = False
    tied_head: bool = True
    causal: bool = True

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "vocabulary", "positions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.width}. Choose a divisor of it.")
        if self.token_types < 0 or self.feed_forward < 0:
            raise ValueError(f"token_types {self.token_types}, feed_forward {self.feed_forward}: neither is negative.")
        if not self.feed_forward:
            object.__setattr__(self, "feed_forward", 4 * self.width)

    @property
    def embedding_parameters(self) -> int:
        """Numbers in the tables that are looked up: tokens, positions, token types."""
        return (self.vocabulary + self.positions + self.token_types) * self.width

    @property
    def parameters(self) -> int:
        """All parameters, exactly."""
        d, f = self.width, self.feed_forward
        attention = 4 * (d * d + d)  # queries, keys, values, output
        network = (d * f + f) + (f * d + d)
        norm = 2 * d  # a scale and a shift
        total = self.embedding_parameters + norm + self.layers * (attention + network + 2 * norm)
        return total + self.pooler * (d * d + d) + (not self.tied_head) * self.vocabulary * d

    def forward_flop_per_token(self, context: int | None = None, head: bool = True) -> int:
        """Matrix products of one forward pass, per token: 2 a weight, and attention's 4 × width × context a layer.

        Element-wise work and look-ups are not counted, nor is the causal mask: attention counts as if every token saw
        the whole context (by default the longest one). `head` says whether the logits are computed.

        Raises:
            ValueError: the context is shorter than 1 or longer than the positions.
        """
        context = self.positions if context is None else context
        if not 0 < context <= self.positions:
            raise ValueError(f"A context of {context} tokens: it must be from 1 to {self.positions}.")
        weights = self.layers * (4 * self.width**2 + 2 * self.width * self.feed_forward)
        return 2 * (weights + head * self.vocabulary * self.width) + 4 * self.layers * self.width * context


@dataclass(frozen=True)
class Model:
    """One row of book/data/models.toml; what was not published is None. `source` holds keys of references.bib."""

    name: str
    label: str
    released: datetime.date
    parameters: int
    source: tuple[str, ...]
    active_parameters: int | None = None
    tokens: int | None = None
    multiply_adds_per_example: int | None = None
    examples: int | None = None
    training_flop: float | None = None
    layers: int | None = None
    attention_width: int | None = None
    context: int | None = None
    accelerator: str | None = None
    accelerator_hours: float | None = None
    chips: int | None = None
    tokens_per_second: float | None = None
    achieved_flop_per_second: float | None = None
    note: str = ""

    @property
    def working_parameters(self) -> int:
        """Parameters that work on a token: all of them, or a mixture's active ones."""
        return self.active_parameters or self.parameters

    @property
    def compute_flop(self) -> float | None:
        """FLOP of the training: as published; else 6 a multiply-add and example; else 6ND; else None."""
        if self.training_flop:
            return self.training_flop
        if self.multiply_adds_per_example and self.examples:
            return 6 * self.multiply_adds_per_example * self.examples
        return training_flop(self.working_parameters, self.tokens) if self.tokens else None


@dataclass(frozen=True)
class Accelerator:
    """One row of book/data/hardware.toml: dense peaks by precision, memory, power, rent; None where not found."""

    name: str
    label: str
    announced: int
    peak_flop_per_second: Mapping[str, float] = field(hash=False)
    source: tuple[str, ...]
    memory_bytes: float | None = None
    bandwidth_bytes_per_second: float | None = None
    power_watts: float | None = None
    usd_per_hour: float | None = None
    usd_per_hour_low: float | None = None
    usd_per_hour_high: float | None = None
    rent_date: str | None = None
    rent_source: str | None = None
    rent_range_source: str | None = None
    rent_note: str = ""

    def peak(self, precision: str = "bf16") -> float:
        """Return the dense peak in FLOP/s; where bfloat16 is asked for and unknown to the chip, float16's.

        Raises:
            ValueError: the table has no such precision for this accelerator.
        """
        peaks = self.peak_flop_per_second
        if precision == "bf16" and "bf16" not in peaks and "fp16" in peaks:
            return peaks["fp16"]
        if precision not in peaks:
            raise ValueError(f"{self.label} has no peak for {precision!r}. There are: {', '.join(peaks)}.")
        return peaks[precision]


def models() -> dict[str, Model]:
    """Return every model of the table, name → Model, in the table's order."""
    return {name: Model(name=name, **_frozen(row)) for name, row in _table("models").items()}


def accelerators() -> dict[str, Accelerator]:
    """Return every accelerator of the table, name → Accelerator."""
    return {name: Accelerator(name=name, **_frozen(row)) for name, row in _table("hardware").items()}


def model(name: str) -> Model:
    """Return the model called `name`.

    Raises:
        ValueError: the table has no such model; the message lists those it has.
    """
    return _pick(models(), name, "model")


def accelerator(name: str) -> Accelerator:
    """Return the accelerator called `name`.

    Raises:
        ValueError: the table has no such accelerator; the message lists those it has.
    """
    return _pick(accelerators(), name, "accelerator")


def training_flop(parameters: float, tokens: float) -> float:
    """Return 6 × parameters × tokens: 2 FLOP a parameter and token forward, twice that backward.

    Raises:
        ValueError: a negative number.
    """
    if not (parameters >= 0 and tokens >= 0):  # so NaN is refused too
        raise ValueError(f"{parameters:,} parameters and {tokens:,} tokens: neither can be negative.")
    return 6 * parameters * tokens


def training_flop_per_token(parameters: float, layers: int = 0, attention_width: int = 0, context: int = 0) -> float:
    """Return 6N + 12LHQT, the FLOP of training per token with attention (Chowdhery et al. 2023, appendix B).

    Args:
        parameters: N; of a mixture of experts the active ones.
        layers: L.
        attention_width: HQ, the number of heads times the size of one.
        context: T, the tokens of a sequence; the causal mask is not deducted.

    Raises:
        ValueError: a negative number.
    """
    if min(layers, attention_width, context) < 0:
        raise ValueError(
            f"layers {layers}, attention width {attention_width}, context {context}: none can be negative."
        )
    return training_flop(parameters, 1) + 12 * layers * attention_width * context


def model_flops_utilization(flop: float, accelerator_hours: float, peak_flop_per_second: float) -> float:
    """Return the model FLOPs utilisation (MFU): the FLOP that the model needs over what the chips could do in the time.

    Work done twice, such as activations computed again to save memory, does not count as needed. A result above 1 says
    that an input is wrong.

    Raises:
        ValueError: hours or peak are not positive, or the FLOP are negative.
    """
    if not (accelerator_hours > 0 and peak_flop_per_second > 0):
        raise ValueError(
            f"{accelerator_hours:,} accelerator hours at {peak_flop_per_second:,} FLOP/s: both must be positive."
        )
    if not flop >= 0:
        raise ValueError(f"{flop:,} FLOP: it cannot be negative.")
    return flop / (accelerator_hours * SECONDS_PER_HOUR * peak_flop_per_second)


def gpu_hours(flop: float, peak_flop_per_second: float, utilization: float) -> float:
    """Return how many hours of one accelerator, GPU or TPU, `flop` take at this utilisation: the MFU turned round.

    Raises:
        ValueError: the utilisation is outside (0, 1], the peak not positive, or the FLOP negative.
    """
    if not 0 < utilization <= 1:
        raise ValueError(f"A utilisation of {utilization} is outside (0, 1]. 40 per cent is 0.4.")
    if not (flop >= 0 and peak_flop_per_second > 0):
        raise ValueError(
            f"{flop:,} FLOP at {peak_flop_per_second:,} FLOP/s: FLOP cannot be negative, the peak must be positive."
        )
    return flop / (peak_flop_per_second * utilization) / SECONDS_PER_HOUR


def training_usd(accelerator_hours: float, usd_per_hour: float | None) -> float:
    """Return what the accelerators' hours cost in rent: nothing else, no staff, data, trials or storage.

    Raises:
        ValueError: a negative number, or no rent, as for accelerators whose rent the table lacks.
    """
    if usd_per_hour is None:
        raise ValueError("The table has no rent for this accelerator: give usd_per_hour yourself.")
    if not (accelerator_hours >= 0 and usd_per_hour >= 0):
        raise ValueError(f"{accelerator_hours:,} hours at {usd_per_hour:,} USD: neither can be negative.")
    return accelerator_hours * usd_per_hour


def _table(name: str) -> dict[str, dict]:
    return tomllib.loads((resources.files("course.tables") / f"{name}.toml").read_text(encoding="utf8"))


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"source": tuple(row["source"])}


def _pick(table: dict[str, Any], name: str, kind: str) -> Any:
    if name not in table:
        raise ValueError(f"No {kind} {name!r} in the table. There are: {', '.join(table)}.")
    return table[name]
