"""Networks that more than one notebook uses; each is built before the reader's eyes where it first appears."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MLP(nn.Module):
    """Multi-layer perceptron with one hidden layer."""

    def __init__(self, pixels: int = 784, hidden: int = 256, classes: int = 10) -> None:
        super().__init__()
        self.hidden = nn.Linear(pixels, hidden)
        self.output = nn.Linear(hidden, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (n, 1, height, width) into logits (n, classes)."""
        return self.output(torch.relu(self.hidden(images.flatten(1))))


class CNN(nn.Module):
    """Three stages of convolution and pooling, for 28 × 28 pictures."""

    def __init__(self, width: int = 32, depth: int = 1, classes: int = 10, dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 1
        for channels in (width, 2 * width, 4 * width):  # 28 → 14 → 7 → 3 pixels wide
            for i in range(depth):
                kernel = 3 if layers else 5
                layers.append(nn.Conv2d(channels_in, channels, kernel, padding="same", bias=False))
                if i == 0:
                    layers.append(nn.MaxPool2d(2))
                layers += [nn.BatchNorm2d(channels), nn.ReLU()]
                channels_in = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(4 * width * 3 * 3, classes))

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (n, 1, 28, 28) into logits (n, classes)."""
        return self.classifier(self.features(images))


def rms_norm(x: Tensor) -> Tensor:
    """Scale each vector to a mean square of 1 (Zhang, Sennrich 2019); no gains."""
    return F.rms_norm(x, x.shape[-1:])


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn pairs of numbers by their position's angles (Su et al. 2021).

    Args:
        x: (batch, heads, time, size).
        cos, sin: (time, size / 2).
    """
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos + b * sin, b * cos - a * sin], dim=-1)


class GPTBlock(nn.Module):
    """Causal attention, then a two-layer network, each added to what went in."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        nn.init.zeros_(self.output.weight)  # at the start a block changes nothing
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: list[Tensor] | None = None) -> Tensor:
        """x: (batch, time, width); cache: keys and values so far, extended here."""
        qkv = self.qkv(rms_norm(x)).unflatten(-1, (3, self.heads, -1))
        # qkv: (batch, time, 3, heads, size); q, k, v: (batch, heads, time, size)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        q, k = rms_norm(rotate(q, cos, sin)), rms_norm(rotate(k, cos, sin))
        if cache:
            k, v = torch.cat([cache[0], k], dim=2), torch.cat([cache[1], v], dim=2)
        if cache is not None:
            cache[:] = k, v
        whole = q.shape[2] == k.shape[2]  # else one new token, which may see all
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=whole)
        x = x + self.output(mixed.transpose(1, 2).flatten(2))
        return x + self.down(self.up(rms_norm(x)).relu().square())


class GPT(nn.Module):
    """Language model; untrained, it predicts each token with its frequency.

    Args:
        log_frequency: (vocabulary,), the head's bias; zeros where not known.
        context: the longest text, in tokens.
    """

    def __init__(
        self, log_frequency: Tensor, layers: int = 2, heads: int = 4, width: int = 128, context: int = 64
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(len(log_frequency), width)
        self.blocks = nn.ModuleList(GPTBlock(width, heads) for _ in range(layers))
        self.head = nn.Linear(width, len(log_frequency))
        nn.init.zeros_(self.head.weight)
        with torch.no_grad():
            self.head.bias.copy_(log_frequency)
        size = width // heads
        speeds = 10_000.0 ** (-torch.arange(0, size, 2) / size)
        angles = torch.arange(context)[:, None] * speeds
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, ids: Tensor, cache: list[list[Tensor]] | None = None) -> Tensor:
        """Turn ids (batch, time) into logits (batch, time, vocabulary).

        Args:
            cache: a list a block, empty at first; later calls bring one token.

        Raises:
            ValueError: too long for the context, or more than one later token.
        """
        past = cache[0][0].shape[2] if cache and cache[0] else 0
        end, context = past + ids.shape[1], len(self.cos)
        if end > context:
            raise ValueError(f"{end} tokens: at most {context} fit. Shorten the text.")
        if past and ids.shape[1] > 1:
            raise ValueError("With a cache, give later tokens one at a time.")
        x = rms_norm(self.table(ids))
        for i, block in enumerate(self.blocks):
            here = None if cache is None else cache[i]
            x = block(x, self.cos[past:end], self.sin[past:end], here)
        return self.head(rms_norm(x))
