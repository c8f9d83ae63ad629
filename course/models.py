"""Networks that more than one notebook uses; each is built before the reader's eyes where it first appears."""

import torch
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


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to what went in."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()  # nothing to do where the shape stays
        if stride > 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Turn (n, channels_in, h, w) into (n, channels, h/stride, w/stride)."""
        return torch.relu(self.residual(x) + self.shortcut(x))


class ResNet(nn.Sequential):
    """Residual network (He et al. 2016) for 28 × 28 pictures; gives logits."""

    def __init__(self, width: int = 16, depth: int = 1, classes: int = 10) -> None:
        stem = nn.Conv2d(1, width, 3, stride=2, padding=1, bias=False)
        blocks, channels_in = [], width
        for channels in (width, 2 * width, 4 * width):  # 14 → 7 → 4 pixels wide
            for i in range(depth):
                stride = 2 if i == 0 and channels > width else 1
                blocks.append(ResidualBlock(channels_in, channels, stride))
                channels_in = channels
        head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4 * width, classes)]
        super().__init__(stem, nn.BatchNorm2d(width), nn.ReLU(), *blocks, *head)
