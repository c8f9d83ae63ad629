"""What a language model takes to train and to run: parameters, FLOP, bytes, accelerators, time and money.

One FLOP is one floating-point operation, so a multiply-add is two. The figures of models and accelerators, each with
source and date, stand in book/data/models.toml and book/data/hardware.toml.
"""

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from course.tables import read_table

SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class TransformerConfig:
    """The shape of a BERT, a GPT, a Llama or a Mixtral: blocks between token tables, one normalisation beside theirs.

    A GPT is what the defaults describe; a Llama is gated, rotary and without biases, and may group its queries.

    Attributes:
        layers, width, heads: number of blocks, numbers per token, attention heads per block.
        vocabulary, positions: rows of the two embedding tables; `positions` is the longest context.
        feed_forward: hidden units of a block's two-layer network; by default four times the width;
            `dataclasses.replace` keeps what stands there, so give it anew with another width.
        token_types: rows of BERT's table of sentence A or B; 0 for none.
        pooler: BERT's dense layer over the first token.
        tied_head: the output layer is the token table once more; otherwise it adds vocabulary × width weights.
        causal: GPT (normalise before each sublayer, look only back) or BERT (normalise after, look both ways).
        kv_heads: heads of keys and values, each shared by a group of query heads; 0 for as many as `heads`.
        gated: the feed-forward network has a third matrix, whose output multiplies the hidden units (SwiGLU).
        biases: linear layers have biases and normalisations a shift; Llama has neither.
        rotary: positions turn queries and keys and have no table; `positions` is then only the longest context.
        experts, experts_per_token: feed-forward networks in a block, and how many a router picks for a token.

    Raises:
        ValueError: a size is not positive, the heads do not divide the width, the key heads not the heads, or a token
            would use more experts than there are.
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
    kv_heads: int = 0
    gated: bool = False
    biases: bool = True
    rotary: bool = False
    experts: int = 1
    experts_per_token: int = 1

    def __post_init__(self) -> None:
        for name in ("layers", "width", "heads", "vocabulary", "positions", "experts", "experts_per_token"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.width % self.heads:
            raise ValueError(f"{self.heads} heads do not divide the width {self.width}. Choose a divisor of it.")
        if self.kv_heads < 0 or self.heads % (self.kv_heads or 1):
            raise ValueError(f"{self.kv_heads} key heads do not divide {self.heads} heads. Choose a divisor of them.")
        if self.experts_per_token > self.experts:
            raise ValueError(f"{self.experts_per_token} experts a token: there are only {self.experts}.")
        if self.token_types < 0 or self.feed_forward < 0:
            raise ValueError(f"token_types {self.token_types}, feed_forward {self.feed_forward}: neither is negative.")
        if not self.feed_forward:
            object.__setattr__(self, "feed_forward", 4 * self.width)

    @property
    def embedding_parameters(self) -> int:
        """Numbers in the tables that are looked up: tokens, positions, token types."""
        return (self.vocabulary + (not self.rotary) * self.positions + self.token_types) * self.width

    @property
    def kv_width(self) -> int:
        """Numbers in the keys, and as many in the values, of one token and layer."""
        return self.width // self.heads * (self.kv_heads or self.heads)

    @property
    def parameters(self) -> int:
        """All parameters, exactly."""
        return self._parameters(self.experts)

    @property
    def active_parameters(self) -> int:
        """Parameters that work on one token: all but the experts that its router passes over."""
        return self._parameters(self.experts_per_token)

    def _parameters(self, experts: float) -> float:
        d, kv = self.width, self.kv_width
        attention = 2 * (d * d + d * kv) + self.biases * 2 * (d + kv)  # queries and output, keys and values
        norm = (1 + self.biases) * d
        block = attention + self._router_weights + experts * self._expert_parameters + 2 * norm
        total = self.embedding_parameters + norm + self.layers * block
        return total + self.pooler * (d * d + d) + (not self.tied_head) * self.vocabulary * d

    @property
    def _expert_parameters(self) -> int:
        """Of one feed-forward network in one layer."""
        d, f = self.width, self.feed_forward
        return (2 + self.gated) * d * f + self.biases * ((1 + self.gated) * f + d)

    @property
    def _router_weights(self) -> int:
        return (self.experts > 1) * self.width * self.experts

    def forward_flop_per_token(self, context: int | None = None, head: bool = True) -> int:
        """Matrix products of one forward pass, per token: 2 a weight, and attention's 4 × width × context a layer.

        Element-wise work and look-ups are not counted, nor is the causal mask: attention counts as if every token saw
        the whole context (by default the longest one). `head` says whether the logits are computed.

        Raises:
            ValueError: the context is shorter than 1 or longer than the positions.
        """
        context = self._checked(context)
        network = self.experts_per_token * (2 + self.gated) * self.width * self.feed_forward
        block = 2 * self.width * (self.width + self.kv_width) + self._router_weights + network
        weights = self.layers * block + head * self.vocabulary * self.width
        return 2 * weights + 4 * self.layers * self.width * context

    def kv_cache_bytes_per_token(self, bytes_per_number: float = 2) -> float:
        """Return what one token leaves in the cache: a key and a value in every layer.

        Raises:
            ValueError: the size of a number is not positive.
        """
        return 2 * self.layers * self.kv_width * _positive(bytes_per_number, "bytes a cached number")

    def training_bytes(self) -> int:
        """Return the memory that training holds beside activations: 16 bytes a parameter.

        Weights and gradients in 16 bits, a copy of the weights and Adam's two moments in 32 (Rajbhandari et al. 2019).
        """
        return (2 + 2 + 4 + 4 + 4) * self.parameters

    def training(self, batch: int, context: int | None = None) -> "Work":
        """Return one training step, forward and backward: 3 times the FLOP of a forward pass; `training_bytes` once.

        Raises:
            ValueError: no sequence, or a context that is too long.
        """
        tokens = _positive(batch, "sequences in the batch") * self._checked(context)
        return Work(tokens, 3 * tokens * self.forward_flop_per_token(context), self.training_bytes())

    def prefill(
        self, batch: int, context: int | None = None, bytes_per_weight: float = 2, bytes_per_number: float = 2
    ) -> "Work":
        """Return the pass that reads `batch` prompts of `context` tokens, fills the cache and gives one token each.

        Bytes: every weight that is used, once, and the cache written once. Only the last token's logits are computed.

        Raises:
            ValueError: no sequence, a context that is too long, or numbers without size.
        """
        context = self._checked(context)
        tokens = _positive(batch, "sequences in the batch") * context
        flop = tokens * self.forward_flop_per_token(context, head=False) + 2 * batch * self.vocabulary * self.width
        weights = self._weights_read(tokens) * _positive(bytes_per_weight, "bytes a weight")
        return Work(tokens, flop, weights + tokens * self.kv_cache_bytes_per_token(bytes_per_number))

    def decode(
        self, batch: int, context: int | None = None, bytes_per_weight: float = 2, bytes_per_number: float = 2
    ) -> "Work":
        """Return the pass that adds one token to each of `batch` sequences, which then hold `context` tokens.

        Bytes: every weight that is used, once for the whole batch, and the cache of every sequence. Activations stay
        on the chip. FLOP follow the experts that a token uses, bytes the union of those that the batch uses.

        Raises:
            ValueError: no sequence, a context that is too long, or numbers without size.
        """
        flop = _positive(batch, "sequences in the batch") * self.forward_flop_per_token(context)
        weights = self._weights_read(batch) * _positive(bytes_per_weight, "bytes a weight")
        cache = batch * self._checked(context) * self.kv_cache_bytes_per_token(bytes_per_number)
        return Work(batch, flop, weights + cache)

    def largest_batch(
        self, memory_bytes: float, context: int | None = None, bytes_per_weight: float = 2, bytes_per_number: float = 2
    ) -> int:
        """Return how many sequences of `context` tokens fit into memory beside the weights.

        Raises:
            ValueError: not even one fits, a context that is too long, or numbers without size.
        """
        weights = self.parameters * _positive(bytes_per_weight, "bytes a weight")
        sequence = self._checked(context) * self.kv_cache_bytes_per_token(bytes_per_number)
        if _positive(memory_bytes, "bytes of memory") < weights + sequence:
            raise ValueError(
                f"{memory_bytes / 1e9:.1f} GB of memory: the weights take {weights / 1e9:.1f} GB, a sequence "
                f"{sequence / 1e9:.1f} GB. Use more memory, fewer bytes a weight or a shorter context."
            )
        return int((memory_bytes - weights) // sequence)

    def _weights_read(self, tokens: float) -> float:
        """Weights that a pass over so many tokens reads: of tables only the head, of experts the union."""
        touched = experts_touched(self.experts, self.experts_per_token, tokens)
        return self._parameters(touched) - self.embedding_parameters + self.tied_head * self.vocabulary * self.width

    def _checked(self, context: int | None) -> int:
        context = self.positions if context is None else context
        if not 0 < context <= self.positions:
            raise ValueError(f"A context of {context} tokens: it must be from 1 to {self.positions}.")
        return context


@dataclass(frozen=True)
class Work:
    """What one pass asks of a machine: the tokens that it reads or makes, its FLOP, the bytes that it moves."""

    tokens: float
    flop: float
    bytes: float

    def __post_init__(self) -> None:
        for name in ("tokens", "flop", "bytes"):
            _positive(getattr(self, name), name)

    @property
    def flop_per_byte(self) -> float:
        """Arithmetic intensity: below the machine's own FLOP per byte, memory is what the pass waits for."""
        return self.flop / self.bytes

    def seconds(self, flop_per_second: float, bytes_per_second: float | None) -> float:
        """Return the roofline's time: the longer of arithmetic and memory, each at full speed (Williams et al. 2009).

        It is a bound from below: launches, communication, activations and imperfect overlap come on top.

        Raises:
            ValueError: a speed is not positive, or the bandwidth missing, as for chips whose bandwidth the table lacks.
        """
        return max(self._seconds(flop_per_second, bytes_per_second))

    def bound(self, flop_per_second: float, bytes_per_second: float | None) -> str:
        """Return which of the two takes longer, "arithmetic" or "bandwidth"; raises as `seconds` does."""
        arithmetic, memory = self._seconds(flop_per_second, bytes_per_second)
        return "arithmetic" if arithmetic > memory else "bandwidth"

    def tokens_per_second(self, flop_per_second: float, bytes_per_second: float | None) -> float:
        """Return the roofline's throughput; raises as `seconds` does."""
        return self.tokens / self.seconds(flop_per_second, bytes_per_second)

    def _seconds(self, flop_per_second: float, bytes_per_second: float | None) -> tuple[float, float]:
        if bytes_per_second is None:
            raise ValueError("The table has no bandwidth for this accelerator: give bytes_per_second yourself.")
        return (
            self.flop / _positive(flop_per_second, "FLOP a second"),
            self.bytes / _positive(bytes_per_second, "bytes a second"),
        )


def experts_touched(experts: int, active: int, tokens: float) -> float:
    """Return how many of `experts` at least one of `tokens` uses, if each picks `active` at random: E(1 − (1 − k/E)^B).

    Raises:
        ValueError: no expert, more active ones than there are, or a negative number of tokens.
    """
    if not 0 < active <= experts:
        raise ValueError(f"{active} active experts of {experts}: from 1 to all of them.")
    if not tokens >= 0:
        raise ValueError(f"{tokens} tokens: it cannot be negative.")
    return experts * (1 - (1 - active / experts) ** tokens)


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
    return {name: Model(name=name, **_frozen(row)) for name, row in read_table("models").items()}


def accelerators() -> dict[str, Accelerator]:
    """Return every accelerator of the table, name → Accelerator."""
    return {name: Accelerator(name=name, **_frozen(row)) for name, row in read_table("hardware").items()}


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


def _positive(value: float, what: str) -> float:
    if not 0 < value < math.inf:
        raise ValueError(f"{value} {what}: it must be a positive number.")
    return value


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"source": tuple(row["source"])}


def _pick(table: dict[str, Any], name: str, kind: str) -> Any:
    if name not in table:
        raise ValueError(f"No {kind} {name!r} in the table. There are: {', '.join(table)}.")
    return table[name]
